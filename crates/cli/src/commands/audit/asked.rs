//! Which attacks.

use crate::args::ScoreArgs;
use crate::bail_usage;
use crate::errors::usage;
use crate::stages::score::check_name;
use crate::stages::similar;
use anyhow::Result;
use dualmd_attack::nn::{self, BlackBox};
use dualmd_attack::shadow::SUFFIX as SHADOWED;
use dualmd_attack::similarity::Similarity;
use dualmd_attack::{Needs, check_prompts, needs};

/// Attacks by name; all usual ones that fit if none are named. Of a pair, what it generates is attacked and what both models
/// together would give away; the attacks on one model only if they are asked for.
pub fn attacks(args: &ScoreArgs, pair: bool, text: bool, black_box: bool) -> Result<Vec<String>> {
    let named = &args.attacks;
    if named.is_empty() {
        let fits = |a: &dualmd_attack::catalogue::Entry| match a.needs {
            Needs::Nothing | Needs::Known => !pair,
            Needs::Pair => pair,
            Needs::Reference => !pair && args.reference.is_some(),
            // No attack of the table is one of these: they are variants of those that learn.
            Needs::Shadow => false,
        };
        let learns = |a: &dualmd_attack::catalogue::Entry| a.needs == Needs::Known;
        let mut all: Vec<String> = dualmd_attack::ALL
            .iter()
            .filter(|a| (a.usual || text && a.usual_with_prompts) && fits(a))
            .map(|a| a.name.to_owned())
            .collect();
        if args.shadow().is_some() {
            let learnt = dualmd_attack::ALL
                .iter()
                .filter(|a| learns(a) && all.iter().any(|n| n == a.name));
            let taught: Vec<String> = learnt.map(|a| format!("{}{SHADOWED}", a.name)).collect();
            all.extend(taught);
            if text && similar::has_places(args.features) {
                let forms = Similarity::ALL.into_iter().filter(|form| form.learns());
                all.extend(forms.map(|form| format!("{}{SHADOWED}", form.name())));
            }
        }
        if black_box || pair {
            all.push(nn::NAME.into());
            if text {
                all.push(Similarity::Mean.name().into());
            }
        }
        if pair && !text {
            let possible = (2..=3).filter(|rounds| *rounds <= args.draw.steps);
            all.extend(possible.map(|rounds| format!("rounds@{rounds}")));
        }
        return used(args, all);
    }
    for name in named {
        check_name(name).map_err(usage)?;
        let by_captions =
            similar::check(name, text, args.features, args.draw.steps).map_err(usage)?;
        if !by_captions && BlackBox::parse(name).is_none() {
            check_prompts(name, text).map_err(|e| usage(e.into()))?;
        }
        if crate::plan::takes_pair(name) && !pair {
            bail_usage!(
                "attack {name} takes the two models of a DualMD pair: name both model folders (--pair MODEL1 MODEL2)"
            );
        }
        if needs(name) == Needs::Reference && args.reference.is_none() {
            bail_usage!(
                "attack {name} compares with a reference model, trained like this one on other images: name it (--reference MODEL)"
            );
        }
        if needs(name) == Needs::Shadow && args.shadow().is_none() {
            bail_usage!(
                "attack {name} is learnt on a shadow model, trained like this one on other images: name it and its images (--shadow \
                 MODEL --shadow-members DATA --shadow-nonmembers DATA)"
            );
        }
    }
    used(args, named.clone())
}

/// A shadow model that no attack learns on was named in vain.
fn used(args: &ScoreArgs, attacks: Vec<String>) -> Result<Vec<String>> {
    if args.shadow().is_some() && !attacks.iter().any(|a| needs(a) == Needs::Shadow) {
        bail_usage!(
            "--shadow: none of these attacks is learnt on a shadow model: {}; name one that ends with +shadow (--attacks)",
            attacks.join(", ")
        );
    }
    Ok(attacks)
}
