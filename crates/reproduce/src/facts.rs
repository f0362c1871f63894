//! What agrees with the paper: sentences computed from the numbers.

use super::cell::{Cell, decimal, strongest};
use super::names;
use super::paper::{self, Metric};
use super::read::{Evidence, Set};
use super::tables::compared_with;
use anyhow::Result;
use dualmd_names::BaseAttack;

/// A method with its number.
type Ranked = (&'static str, f64);

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
    let metrics = match table {
        2 => [Metric::Fd, Metric::Is],
        _ => [Metric::Auc, Metric::Tpr],
    };
    for set in &evidence.sets {
        for &attack in attacks {
            for metric in metrics {
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

/// The best first.
fn sorted(mut methods: Vec<Ranked>, metric: Metric) -> Vec<Ranked> {
    methods.sort_by(|a, b| match metric {
        Metric::Fd => a.1.total_cmp(&b.1),
        _ => b.1.total_cmp(&a.1),
    });
    methods
}

fn list(methods: &[Ranked], number: impl Fn(f64) -> String) -> String {
    let text = |m: &Ranked| format!("{} {}", names::method(m.0), number(m.1));
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
    let cell = Cell::auc(set, names::BASELINE, attack)?;
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
    let key = metric.key();
    let mut ours = Vec::new();
    for model in ["baseline", "dualmd", "kd", "student"] {
        let value = Cell::metric(set, model, attack, metric)?.mean();
        let named = !paper::of(table, attack, model, key).is_empty();
        ours.extend(value.filter(|_| named).map(|value| (model, value)));
    }
    let sets = compared_with(table, set);
    if ours.len() < 2 || sets.is_empty() {
        return Ok(None);
    }
    let ours = sorted(ours, metric);
    // Equal numbers have no order that could be the paper's.
    let tied = ours.windows(2).any(|pair| pair[0].1 == pair[1].1);
    let mut agree = 0;
    let mut theirs = Vec::new();
    for dataset in &sets {
        let numbers = ours.iter().filter_map(|(model, _)| {
            let value = paper::at(table, dataset, attack, model, key)?;
            Some((*model, value))
        });
        let sorted = sorted(numbers.collect(), metric);
        let same = sorted.iter().map(|m| m.0).eq(ours.iter().map(|m| m.0));
        agree += usize::from(same && !tied);
        theirs.push(format!("{dataset} {}", list(&sorted, names::printed)));
    }
    let digits = metric.digits();
    let mut differences = String::new();
    let (mut told, mut compared) = (true, false);
    for pair in ours.windows(2) {
        let [(a, _), (b, _)] = [pair[0], pair[1]];
        let first = Cell::metric(set, a, attack, metric)?;
        let less = first.less(&Cell::metric(set, b, attack, metric)?)?;
        if let Some(own) = less.told() {
            told &= own;
            compared = true;
            differences.push_str(&format!(
                " {} less {}: {}{}.",
                names::method(a),
                names::method(b),
                less.text(digits),
                if own { "" } else { ", not told from 0" }
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
    let cell = Cell::auc(set, "student", attack)?;
    let theirs: Vec<f64> = compared_with(table, set)
        .iter()
        .filter_map(|d| paper::at(table, d, Some(attack), "student", "auc"))
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
    let auc = |attack| Cell::auc(set, names::BASELINE, attack);
    let (secmi, pia) = (auc("secmi")?, auc("pia")?);
    let (Some(ours_a), Some(ours_b)) = (secmi.mean(), pia.mean()) else {
        return Ok(None);
    };
    let theirs: Vec<(f64, f64)> = compared_with(3, set)
        .iter()
        .filter_map(|d| {
            let of = |attack| paper::at(3, d, Some(attack), names::BASELINE, "auc");
            Some((of("secmi")?, of("pia")?))
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
    let noise = match less.told() {
        Some(false) if agree > 0 => " (within the noise of these seeds)",
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
