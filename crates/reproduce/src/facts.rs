//! What agrees with the paper: sentences computed from the numbers.

use super::cell::{Cell, decimal, strongest};
use super::names;
use super::paper::{self, Metric};
use super::read::{Evidence, Set};
use super::tables::{compared_with, metrics};
use anyhow::Result;
use dualmd_names::BaseAttack;

/// A method with its number.
struct Ranked<'a> {
    model: &'a str,
    value: f64,
}

/// Sentences for table 2, 3 or 10; each begins with yes, no, partly or open.
///
/// # Errors
/// A number that is not finite.
pub fn facts(table: u8, evidence: &Evidence) -> Result<Vec<String>> {
    let mut out = Vec::new();
    let attacks: &[Option<&str>] = match table {
        2 => &[None],
        3 => &[Some("secmi"), Some("pia")],
        _ => &[Some("secmi")],
    };
    for set in &evidence.sets {
        for &attack in attacks {
            for &metric in metrics(table) {
                out.extend(order(table, set, attack, metric, evidence)?);
            }
            if let Some(attack) = attack {
                out.extend(above_chance(table, set, attack)?);
            }
        }
        if table == 3 {
            out.extend(stronger_attack(set)?);
        }
        if table != 2 {
            out.extend(best_attacks(set)?);
        }
    }
    Ok(out)
}

fn sorted(mut methods: Vec<Ranked<'_>>, high_first: bool) -> Vec<Ranked<'_>> {
    methods.sort_by(|a, b| match high_first {
        true => b.value.total_cmp(&a.value),
        false => a.value.total_cmp(&b.value),
    });
    methods
}

fn list(methods: &[Ranked<'_>], number: impl Fn(f64) -> String) -> String {
    let text = |m: &Ranked| format!("{} {}", names::method(m.model), number(m.value));
    methods.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// How many of the paper's numbers say the same, in a word.
pub fn verdict(agree: usize, of: usize) -> &'static str {
    match agree {
        0 => "no",
        n if n == of => "yes",
        _ => "partly",
    }
}

/// Is the attack no better than chance on the undefended model, as far as can be told? Then it compares no defences.
fn finds_nothing(set: &Set, attack: &str) -> Result<bool> {
    let cell = Cell::metric(set, names::BASELINE, Some(attack), Metric::Auc)?;
    Ok(cell.interval().is_some_and(|[low, _]| low <= 0.5))
}

/// Is the order of the methods that of the paper? Open where the attack finds nothing to begin with.
fn order(
    table: u8,
    set: &Set,
    attack: Option<&str>,
    metric: Metric,
    evidence: &Evidence,
) -> Result<Option<String>> {
    let high_first = metric != Metric::Fd;
    let models = ["baseline", "dualmd", "kd", "student"];
    let mut ours = Vec::new();
    for model in models {
        let named = paper::numbers()
            .into_iter()
            .any(|n| (n.table, n.attack, n.model, n.metric) == (table, attack, model, metric));
        let cell = Cell::metric(set, model, attack, metric)?;
        if let Some(value) = cell.mean().filter(|_| named) {
            ours.push(Ranked { model, value });
        }
    }
    let sets = compared_with(table, set);
    if ours.len() < 2 || sets.is_empty() {
        return Ok(None);
    }
    let ours = sorted(ours, high_first);
    // Equal numbers have no order that could be the paper's.
    let tied = ours.windows(2).any(|pair| pair[0].value == pair[1].value);
    let mut agree = 0;
    let mut theirs = Vec::new();
    for dataset in &sets {
        let numbers = ours.iter().filter_map(|m| {
            let value = paper::number(table, dataset, attack, m.model, metric)?;
            Some(Ranked {
                model: m.model,
                value,
            })
        });
        let sorted = sorted(numbers.collect(), high_first);
        let same = sorted
            .iter()
            .map(|m| m.model)
            .eq(ours.iter().map(|m| m.model));
        agree += usize::from(same && !tied);
        theirs.push(format!("{dataset} {}", list(&sorted, names::printed)));
    }
    let digits = names::digits(metric);
    let mut differences = String::new();
    let (mut told, mut compared) = (true, false);
    for pair in ours.windows(2) {
        let [a, b] = [&pair[0], &pair[1]];
        let first = Cell::metric(set, a.model, attack, metric)?;
        let less = first.less(&Cell::metric(set, b.model, attack, metric)?)?;
        if let Some([low, high]) = less.between() {
            let zero = low <= 0.0 && high >= 0.0;
            told &= !zero;
            compared = true;
            differences.push_str(&format!(
                " {} less {}: {}{}.",
                names::method(a.model),
                names::method(b.model),
                less.text(digits),
                if zero { ", not told from 0" } else { "" }
            ));
        }
    }
    let idle = match attack {
        Some(attack) => finds_nothing(set, attack)?,
        None => false,
    };
    let noise = match (idle, agree > 0, compared) {
        (true, ..) => " (the attack finds no members of the undefended model here)",
        (_, true, true) if !told => " (within the noise of these seeds)",
        (_, true, false) => " (one seed)",
        _ => "",
    };
    let verdict = if idle {
        "open"
    } else {
        verdict(agree, sets.len())
    };
    Ok(Some(format!(
        "{verdict}{noise}: {}{}, order by {}: here {}; paper: {}.{differences}",
        set.name,
        attack
            .map(|a| format!(", {}", names::attack(a)))
            .unwrap_or_default(),
        names::column(metric, evidence),
        list(&ours, |v| decimal(v, digits)),
        theirs.join("; "),
    )))
}

/// The paper's DistillMD stays above 0.5.
fn above_chance(table: u8, set: &Set, attack: &str) -> Result<Option<String>> {
    let cell = Cell::metric(set, "student", Some(attack), Metric::Auc)?;
    let theirs: Vec<f64> = compared_with(table, set)
        .iter()
        .filter_map(|d| paper::number(table, d, Some(attack), "student", Metric::Auc))
        .collect();
    let (Some(mean), false) = (cell.mean(), theirs.is_empty()) else {
        return Ok(None);
    };
    let ours = match cell.interval() {
        Some([low, _]) if low > 0.5 => "above",
        Some([_, high]) if high < 0.5 => "below",
        Some(_) => "not told apart from",
        None if mean > 0.5 => "above",
        None => "not above",
    };
    let paper_above = theirs.iter().filter(|v| **v > 0.5).count();
    let same = if (ours == "above") == (paper_above == theirs.len()) {
        "yes"
    } else {
        "no"
    };
    let numbers: Vec<String> = theirs.iter().map(|v| names::printed(*v)).collect();
    Ok(Some(format!(
        "{same}: {}, {}, AUC of DistillMD: here {}, {ours} 0.5; paper {}, above 0.5 in {paper_above} of {}.",
        set.name,
        names::attack(attack),
        cell.text(3),
        numbers.join(", "),
        theirs.len()
    )))
}

/// The paper's SecMIA finds more than PIA in the undefended model.
fn stronger_attack(set: &Set) -> Result<Option<String>> {
    let [secmi, pia] = ["secmi", "pia"].map(|a| {
        let ours = Cell::metric(set, names::BASELINE, Some(a), Metric::Auc);
        ours.map(|cell| (a, cell))
    });
    let ((a, secmi), (b, pia)) = (secmi?, pia?);
    let (Some(ours_a), Some(ours_b)) = (secmi.mean(), pia.mean()) else {
        return Ok(None);
    };
    let sets = compared_with(3, set);
    let theirs: Vec<(f64, f64)> = sets
        .iter()
        .filter_map(|d| {
            let of = |attack| paper::number(3, d, Some(attack), names::BASELINE, Metric::Auc);
            Some((of(a)?, of(b)?))
        })
        .collect();
    let agree = theirs
        .iter()
        .filter(|(x, y)| ours_a != ours_b && (x > y) == (ours_a > ours_b))
        .count();
    let numbers: Vec<String> = theirs
        .iter()
        .map(|(x, y)| format!("{} and {}", names::printed(*x), names::printed(*y)))
        .collect();
    let less = secmi.less(&pia)?;
    let noise = match less.between() {
        Some([low, high]) if agree > 0 && low <= 0.0 && high >= 0.0 => {
            " (within the noise of these seeds)"
        }
        _ => "",
    };
    Ok((!theirs.is_empty()).then(|| {
        format!(
            "{}{noise}: {}, No defense, which attack finds more: here SecMI {} and PIA {} (difference {}); paper {}.",
            verdict(agree, theirs.len()),
            set.name,
            decimal(ours_a, 3),
            decimal(ours_b, 3),
            less.text(3),
            numbers.join(", ")
        )
    }))
}

/// Are the paper's two attacks the strongest there are?
fn best_attacks(set: &Set) -> Result<Option<String>> {
    let mut parts = Vec::new();
    for model in [names::BASELINE, "student"] {
        let Some((attack, cell)) = strongest(set, model)? else {
            return Ok(None);
        };
        parts.push((model, attack, cell));
    }
    let papers = |attack: &str| {
        use BaseAttack::{Pia, SecMi, SecMiNn};
        matches!(BaseAttack::named(attack), Some(SecMi | SecMiNn | Pia))
    };
    let agree = parts.iter().filter(|(_, attack, _)| papers(attack)).count();
    let text: Vec<String> = parts
        .iter()
        .map(|(model, attack, cell)| {
            format!(
                "on {} {} with AUC {}",
                names::method(model),
                names::attack(attack),
                cell.text(3)
            )
        })
        .collect();
    Ok(Some(format!(
        "{}: {}, the paper's attacks are the strongest: of {} attacks the strongest is {}.",
        verdict(agree, parts.len()),
        set.name,
        set.attacks().len(),
        text.join(", ")
    )))
}
