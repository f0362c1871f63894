//! Which attacks.

use super::audited::Audited;
use super::generated::is_enough;
use super::options::ScoreOptions;
use crate::bail_usage;
use crate::session::Session;
use crate::stages::beforehand::impossible;
use anyhow::Result;
use dualmd_diffusion::Model;
use dualmd_experiment::attacks;
use dualmd_names::{AttackSpec, BaseAttack, Needs, Similarity};

/// The attacks that are named; all usual ones that fit if none are. `reference`: there is a reference model. Of a pair, what it generates is
/// attacked and what both models together would give away; the attacks on one model only if they are asked for.
pub fn asked(
    args: &ScoreOptions,
    audited: &Audited,
    text: bool,
    black_box: bool,
    reference: bool,
) -> Result<Vec<AttackSpec>> {
    let named = &args.attacks;
    let pair = audited.is_pair();
    // Nothing is there of the model but images.
    let unseen = audited.images.is_some();
    if unseen {
        if args.reference.is_some() || args.shadow.is_some() {
            bail_usage!(
                "--reference and --shadow are compared with what the model answers: name the model too"
            );
        }
        if let Some(spec) = named.iter().find(|spec| !is_enough(spec)) {
            bail_usage!(
                "attack {spec} asks the model, and only images that it generated are there (--generated): name the model too, or nn, nn-features, density"
            );
        }
    }
    if unseen && named.is_empty() {
        return Ok(vec![BaseAttack::Nearest.into()]);
    }
    if named.is_empty() {
        let fits = |a: &BaseAttack| match a.needs() {
            Needs::Nothing | Needs::Known => !pair,
            Needs::Pair => pair,
            Needs::Reference => !pair && reference,
            // No attack of the table is one of these: they are variants of those that learn.
            Needs::Shadow => false,
        };
        let usual = dualmd_attack::ALL.into_iter();
        let mut all: Vec<AttackSpec> = usual
            .filter(|a| a.is_usual(text) && fits(a))
            .map(AttackSpec::from)
            .collect();
        if args.shadow.is_some() {
            let on_shadow = |a: &AttackSpec| a.clone().on_shadow();
            let taught: Vec<AttackSpec> = all.iter().filter_map(on_shadow).collect();
            all.extend(taught);
            if text && attacks::has_places(args.features) {
                let forms = Similarity::ALL.map(|form| AttackSpec::from(form.attack()));
                all.extend(forms.into_iter().filter_map(AttackSpec::on_shadow));
            }
        }
        if black_box || pair {
            all.push(BaseAttack::Nearest.into());
            if text {
                all.push(BaseAttack::SimMean.into());
            }
        }
        if pair && !text {
            let possible = (2..=3).filter(|rounds| *rounds <= args.draw.steps);
            all.extend(possible.map(AttackSpec::in_rounds));
        }
        return used(args, all);
    }
    for spec in named {
        attacks::check(spec, text, args.features, args.draw.steps)?;
        if spec.takes_pair() && !pair {
            bail_usage!(
                "attack {spec} takes the two models of a DualMD pair: name both model folders (--pair MODEL1 MODEL2)"
            );
        }
        if spec.needs() == Needs::Reference && !reference {
            bail_usage!(
                "attack {spec} compares with a reference model, trained like this one on other images: name it (--reference MODEL)"
            );
        }
        if spec.is_shadowed() && args.shadow.is_none() {
            bail_usage!(
                "attack {spec} is learnt on a shadow model, trained like this one on other images: name it and its images (--shadow \
                 MODEL --shadow-members DATA --shadow-nonmembers DATA)"
            );
        }
    }
    used(args, named.clone())
}

/// Says which attacks the model's noise schedule does not allow, before anything is generated. Some that fail leave scores of the others.
///
/// # Errors
/// No other is left.
pub fn check_schedule(attacks: &[AttackSpec], model: &Model, session: &Session) -> Result<()> {
    let late = impossible(attacks, model.schedule(), model.is_latent());
    if !late.is_empty() && late.len() == attacks.len() {
        bail_usage!("{}", late.join("; "));
    }
    for said in late {
        session.warn(&format!("warning: {said}"));
    }
    Ok(())
}

/// A shadow model that no attack learns on was named in vain.
fn used(args: &ScoreOptions, attacks: Vec<AttackSpec>) -> Result<Vec<AttackSpec>> {
    if args.shadow.is_some() && !attacks.iter().any(AttackSpec::is_shadowed) {
        let names: Vec<String> = attacks.iter().map(ToString::to_string).collect();
        bail_usage!(
            "--shadow: none of these attacks is learnt on a shadow model: {}; name one that ends with +shadow (--attacks)",
            names.join(", ")
        );
    }
    Ok(attacks)
}
