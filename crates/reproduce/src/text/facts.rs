//! What agrees with the paper's text-to-image tables: sentences computed from the numbers.

use super::super::cell::{Cell, decimal};
use super::super::facts::verdict;
use super::super::layouts::{Captions, FIRST_BEGINS, LIKENESS, Layout, SECOND_BEGINS, rounds};
use super::super::names;
use super::super::paper::{self, Metric};
use super::super::read::{Evidence, Set};
use anyhow::Result;

/// Sentences for table 4, 5, 7, 8 or 9.
///
/// # Errors
/// A number that is not finite.
pub fn facts(layout: &Layout, evidence: &Evidence) -> Result<Vec<String>> {
    let (table, kinds) = (layout.number, layout.captions);
    let mut out = Vec::new();
    for set in &evidence.sets {
        match table {
            4 | 8 => {
                for &captions in kinds {
                    for attack in ["secmi", "pia"] {
                        out.extend(defended(table, set, attack, "student", captions)?);
                    }
                }
                out.extend(pia_fails(set)?);
                if table == 8 {
                    let models = ["baseline", "student"];
                    out.extend(several_captions(set, &models, &["loss", "sima"])?);
                }
            }
            5 => {
                for model in ["dualmd", "student"] {
                    for &captions in kinds {
                        out.extend(defended(table, set, LIKENESS, model, captions)?);
                    }
                }
                out.extend(diversified(set)?);
                let models = ["baseline", "dualmd", "student"];
                out.extend(several_captions(set, &models, &[LIKENESS])?);
            }
            7 => out.extend(quality(set, evidence)?),
            _ => {
                for &captions in kinds {
                    out.extend(rounds_grow(set, captions)?);
                }
            }
        }
    }
    Ok(out)
}

/// An AUC that is not worth an attack.
const SMALL: f64 = 0.55;

/// What an interval says about a level.
fn against(cell: &Cell, level: f64) -> &'static str {
    match cell.interval() {
        Some([low, _]) if low > level => "above",
        Some([_, high]) if high < level => "below",
        _ => "not told from",
    }
}

/// Does the defence bring the attack nearer to chance, as in the paper? Open where there was nothing to take away: here, or in the
/// paper.
fn defended(
    table: u8,
    set: &Set,
    attack: &str,
    model: &str,
    captions: Captions,
) -> Result<Option<String>> {
    let none = Cell::auc(set, &captions.model("baseline"), attack)?;
    let defended = Cell::auc(set, &captions.model(model), attack)?;
    let (Some(a), Some(b)) = (none.mean(), defended.mean()) else {
        return Ok(None);
    };
    let of_paper = |model| paper::of(table, Some(attack), &captions.model(model), "auc");
    let nearer = |a: f64, b: f64| (b - 0.5).abs() < (a - 0.5).abs();
    let pairs: Vec<(f64, f64)> = of_paper("baseline")
        .into_iter()
        .zip(of_paper(model))
        .map(|((_, x), (_, y))| (x, y))
        .collect();
    let found = || pairs.iter().filter(|(x, _)| *x > 0.5);
    let agree = found()
        .filter(|(x, y)| nearer(*x, *y) == nearer(a, b))
        .count();
    let less = none.less(&defended)?;
    let told = less.told();
    let why = if against(&none, 0.5) != "above" {
        Some("here the attack finds no members of the undefended model")
    } else if found().next().is_none() {
        Some("in the paper it finds no members of the undefended model")
    } else {
        None
    };
    let verdict = match (agree, why, told) {
        (_, Some(_), _) | (_, _, Some(false)) => "open",
        (0, ..) => "no",
        (n, ..) if n == found().count() => "yes",
        _ => "partly",
    };
    let theirs: Vec<String> = pairs
        .iter()
        .map(|(x, y)| format!("{} to {}", names::printed(*x), names::printed(*y)))
        .collect();
    let difference = match told {
        Some(told) => format!(
            "; no defence less {}: {}{}",
            names::method(model),
            less.text(3),
            if told { "" } else { ", not told from 0" }
        ),
        None => "; one seed".into(),
    };
    Ok(Some(format!(
        "{verdict}: {}, {}, {}: {} moves the AUC from {} to {}, {} 0.5{difference}; paper {}{}.",
        set.name,
        captions.title(),
        names::attack(attack),
        names::method(model),
        none.text(3),
        defended.text(3),
        against(&defended, 0.5),
        theirs.join(", "),
        why.map(|why| format!("; {why}")).unwrap_or_default(),
    )))
}

/// The paper's PIA finds nothing on fine-tuned models.
fn pia_fails(set: &Set) -> Result<Option<String>> {
    let pia = Cell::auc(set, names::BASELINE, "pia")?;
    if pia.mean().is_none() {
        return Ok(None);
    }
    let told = against(&pia, 0.5);
    let code = Cell::auc(set, names::BASELINE, "pia-sd-2024")?;
    let code = match code.mean() {
        Some(_) => format!(
            ", as its public code computes it {} ({} 0.5)",
            code.text(3),
            against(&code, 0.5)
        ),
        None => String::new(),
    };
    Ok(Some(format!(
        "{}: {}, PIA cannot attack a fine-tuned model: on No defense {} ({told} 0.5){code}; paper 0.46, 0.45, 0.45, 0.47.",
        match (told, pia.interval()) {
            ("above", _) => "no",
            // Chance, and little more at most.
            (_, Some([_, high])) if high < SMALL => "yes",
            _ => "open",
        },
        set.name,
        pia.text(3),
    )))
}

/// Asking with several captions, which prompt diversification invites.
fn several_captions(set: &Set, models: &[&str], attacks: &[&str]) -> Result<Vec<String>> {
    let mut out = Vec::new();
    for model in models {
        for attack in attacks {
            let model = Captions::Any.model(model);
            let one = Cell::auc(set, &model, attack)?;
            let many = Cell::auc(set, &model, &format!("{attack}+captions"))?;
            let less = many.less(&one)?;
            let Some(mean) = less.mean() else {
                continue;
            };
            let noise = noise(&less);
            // As it is printed: a difference of 0.000 is no more.
            let more = format!("{mean:.3}").parse::<f64>().is_ok_and(|m| m > 0.0);
            out.push(format!(
                "{}, {model}: asked with all captions of an image instead of the first, {} finds {} ({} instead of {}; \
                 difference {}{noise}).",
                set.name,
                names::attack(attack),
                if more { "more" } else { "no more" },
                many.text(3),
                one.text(3),
                less.text(3),
            ));
        }
    }
    Ok(out)
}

/// What is to be said about a difference beside its size.
fn noise(less: &Cell) -> &'static str {
    match less.told() {
        Some(false) => ", not told from 0",
        Some(true) => "",
        None => ", one seed",
    }
}

/// Does prompt diversification alone protect against the black-box attack?
fn diversified(set: &Set) -> Result<Option<String>> {
    let one = Cell::auc(set, "baseline", LIKENESS)?;
    let any = Cell::auc(set, &Captions::Any.model("baseline"), LIKENESS)?;
    if one.mean().is_none() || any.mean().is_none() {
        return Ok(None);
    }
    let less = one.less(&any)?;
    let told = against(&any, 0.5);
    Ok(Some(format!(
        "{}: {}, prompt diversification alone brings No defense from {} to {}, {told} 0.5 (difference {}); paper 0.90 to 0.45.",
        match (less.between(), told) {
            (Some([low, _]), "above") if low > 0.0 => "partly",
            (Some([low, _]), _) if low > 0.0 => "yes",
            (Some([_, high]), _) if high < 0.0 => "no",
            (None, _) => "one seed",
            _ => "open",
        },
        set.name,
        one.text(3),
        any.text(3),
        less.text(3),
    )))
}

/// The order of the methods by the quality of their images.
fn quality(set: &Set, evidence: &Evidence) -> Result<Vec<String>> {
    let mut out = Vec::new();
    for metric in [Metric::Fd, Metric::Is] {
        let mut ours = Vec::new();
        for model in ["baseline", "dualmd", "student"] {
            if let Some(value) = Cell::metric(set, model, None, metric)?.mean() {
                ours.push((model, value));
            }
        }
        if ours.len() < 2 {
            continue;
        }
        // Of equal ones all are the best.
        let best = |list: &[(&'static str, f64)]| -> Vec<&'static str> {
            let key = |v: f64| if metric == Metric::Fd { -v } else { v };
            let most = list.iter().map(|(_, v)| key(*v)).fold(f64::MIN, f64::max);
            let at = list.iter().filter(|(_, v)| key(*v) == most);
            at.map(|(model, _)| *model).collect()
        };
        let places = paper::places(7);
        let theirs: Vec<Vec<&str>> = places
            .iter()
            .map(|place| {
                let at = |model: &str| paper::at(7, place, None, model, metric.key());
                let there = ours.iter().filter_map(|(m, _)| Some((*m, at(m)?)));
                best(&there.collect::<Vec<_>>())
            })
            .collect();
        let own = best(&ours);
        let agree = theirs
            .iter()
            .filter(|t| own.iter().any(|m| t.contains(m)))
            .count();
        let list: Vec<String> = ours
            .iter()
            .map(|(m, v)| format!("{} {}", names::method(m), decimal(*v, metric.digits())))
            .collect();
        let best_of_paper: Vec<String> = places
            .iter()
            .zip(&theirs)
            .map(|(place, models)| {
                let models: Vec<String> = models.iter().map(|m| names::method(m)).collect();
                format!("{place} {}", models.join(" = "))
            })
            .collect();
        out.push(format!(
            "{}: {}, best by {}: here {}; paper {}.",
            verdict(agree, theirs.len()),
            set.name,
            names::column(metric, evidence),
            list.join(", "),
            best_of_paper.join(", "),
        ));
    }
    Ok(out)
}

/// Does the adaptive attack find more with every round? Of all members, and of those that the model which begins has seen.
fn rounds_grow(set: &Set, captions: Captions) -> Result<Vec<String>> {
    let model = captions.model("dualmd");
    let mut out = Vec::new();
    let (first, second) = ("the first model beginning", "the second model beginning");
    // Plain images, with which the comparison begins, have the first model first: D2 is compared from two rounds on.
    for (attacks, metric, whose) in [
        (FIRST_BEGINS, Metric::Auc, format!("all members, {first}")),
        (FIRST_BEGINS, Metric::D1, format!("members of D1, {first}")),
        (
            SECOND_BEGINS,
            Metric::D2,
            format!("members of D2, {second}"),
        ),
    ] {
        let mut found = Vec::new();
        for attack in attacks {
            let cell = Cell::metric(set, &model, Some(attack), metric)?;
            if cell.mean().is_some() {
                found.push((rounds(attack), cell));
            }
        }
        let [(_, first), .., (_, last)] = found.as_slice() else {
            continue;
        };
        let less = last.less(first)?;
        let grows = found
            .windows(2)
            .all(|pair| pair[1].1.mean() > pair[0].1.mean());
        let texts: Vec<String> = found.iter().map(|(_, c)| c.text(3)).collect();
        let counts: Vec<&str> = found.iter().map(|(label, _)| *label).collect();
        out.push(format!(
            "{}, {model}, {whose}: AUC {} with {} rounds ({}; last less first {}{}).",
            set.name,
            texts.join(", "),
            counts.join(", "),
            if grows {
                "it grows"
            } else {
                "it does not grow steadily"
            },
            less.text(3),
            noise(&less),
        ));
    }
    if !out.is_empty() {
        out.push(
            "The paper calls its 0.53 and 0.51 with 2 and 3 rounds close to 0.5, and its TPR at 1 % FPR grows: 0.014 (Table 5), 0.024, 0.048."
                .into(),
        );
    }
    Ok(out)
}
