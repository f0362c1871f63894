//! What the paper leaves open about its Algorithm 2, one choice at a time.

use super::cell::{Cell, strongest};
use super::names::{self, BASELINE};
use super::paper::Metric;
use super::read::{Evidence, Set};
use super::table::{Record, Table, intervals};
use anyhow::Result;

/// The student with every choice as this program makes it.
const DEFAULT: &str = "student";

/// (model as the study names it, what differs from the default).
const CHOICES: [(&str, &str); 6] = [
    (BASELINE, "No defense"),
    (DEFAULT, "DistillMD, our defaults"),
    ("example", "a batch mixes both halves (Figure 1)"),
    ("raw", "teachers answer with raw weights, not averaged ones"),
    ("dropout", "teachers answer with dropout on"),
    (
        "shared",
        "the student begins with teacher 1's initial weights",
    ),
];

/// A column: an attack's AUC, or a quality.
const COLUMNS: [(Option<&str>, Metric); 5] = [
    (Some("loss"), Metric::Auc),
    (Some("secmi"), Metric::Auc),
    (Some("pia"), Metric::Auc),
    (Some("sima"), Metric::Auc),
    (None, Metric::Excess),
];

/// The table of all sets, and a sentence per choice and column that can be told from the default.
///
/// # Errors
/// A number that is not finite.
pub fn build(evidence: &Evidence) -> Result<(Table, Vec<String>)> {
    let title = "Choices that the paper leaves open";
    let mut table = Table::new(title, &["Image set", "Student"]);
    let heads = COLUMNS.map(|(attack, metric)| head(attack, metric, evidence));
    table.columns.extend(heads);
    let mut facts = Vec::new();
    let mut comparisons = 0;
    for set in &evidence.sets {
        for (model, method) in CHOICES {
            let mut numbers = Vec::new();
            for (attack, metric) in COLUMNS {
                let mut cell = Cell::metric(set, model, attack, metric)?;
                if model != DEFAULT && model != BASELINE {
                    let told = to_default(set, &cell, attack, metric)?.told();
                    comparisons += usize::from(told.is_some());
                    cell.note = (told == Some(true)).then(|| "*".to_owned());
                }
                let record = Record::new(set, model, method, attack, metric.key(), cell);
                numbers.push((record, metric.digits()));
            }
            table.numbers(&[set.name.clone(), method.to_owned()], numbers, &[]);
        }
        facts.extend(matters(set, evidence)?);
    }
    table.notes = vec![
        intervals(evidence),
        format!(
            "Our defaults: Algorithm 2 as printed (one half per iteration), teachers answer with averaged weights and without dropout, the \
             student draws its own initial weights. Every other row changes that one choice; the teachers of a seed are the same for all rows. \
             {}",
            match comparisons {
                0 => "One seed tells no difference from chance.".to_owned(),
                n => format!(
                    "A star: over the seeds, the difference to our defaults on the same images has a 95 % interval without 0 ({n} such \
                     comparisons, of which {:.1} would have one by chance). No star says only that so many seeds do not tell the \
                     difference from 0: how large it may be stands in the intervals below.",
                    n as f64 / 20.0
                ),
            }
        ),
    ];
    Ok((table, facts))
}

fn head(attack: Option<&str>, metric: Metric, evidence: &Evidence) -> String {
    match attack {
        Some(attack) => format!("AUC {}", names::attack(attack)),
        None => names::column(metric, evidence),
    }
}

/// A number less that of the default.
fn to_default(set: &Set, cell: &Cell, attack: Option<&str>, metric: Metric) -> Result<Cell> {
    cell.less(&Cell::metric(set, DEFAULT, attack, metric)?)
}

/// A sentence for each choice: how far the strongest attack moves, and which columns are told from the default.
fn matters(set: &Set, evidence: &Evidence) -> Result<Vec<String>> {
    let mut out = Vec::new();
    for (model, method) in &CHOICES[2..] {
        let mut told = Vec::new();
        let mut largest: Option<(String, Cell)> = None;
        for (attack, metric) in COLUMNS {
            let own = Cell::metric(set, model, attack, metric)?;
            let less = to_default(set, &own, attack, metric)?;
            let Some(mean) = less.mean() else {
                continue;
            };
            let name = head(attack, metric, evidence);
            if less.told() == Some(true) {
                told.push(format!("{name} {}", less.text(metric.digits())));
            }
            let further = |c: &Cell| c.mean().is_some_and(|m| m.abs() >= mean.abs());
            if attack.is_some() && !largest.as_ref().is_some_and(|(_, c)| further(c)) {
                largest = Some((name, less));
            }
        }
        let Some((name, largest)) = largest else {
            continue;
        };
        let verdict = match told.as_slice() {
            [] if largest.between().is_none() => {
                "one seed cannot tell it from the default".to_owned()
            }
            [] => "not told from the default in any column".to_owned(),
            some => format!("differs from the default in {}", some.join(", ")),
        };
        out.push(format!(
            "{}, {method}: {verdict}; largest difference of an attack: {name} {}.",
            set.name,
            largest.text(3)
        ));
    }
    if let (Some((a, none)), Some((b, ours))) =
        (strongest(set, BASELINE)?, strongest(set, DEFAULT)?)
    {
        out.push(format!(
            "{}, for scale: the defence itself moves the strongest attack from {} ({}) to {} ({}).",
            set.name,
            none.text(3),
            names::attack(&a),
            ours.text(3),
            names::attack(&b)
        ));
    }
    Ok(out)
}
