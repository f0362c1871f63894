//! The paper's tables on text-to-image models, from runs that train every model without and with prompt diversification:
//! one builder, five layouts.

mod facts;
mod figures;
mod memorised;
mod paper;
mod prompts;
#[cfg(test)]
mod tests;

pub use facts::facts;
pub use figures::{curves, grids};
pub use memorised::{build as memorisation, histograms, measure};
pub use prompts::figure as prompts_figure;

use super::cell::{Cell, strongest};
use super::names;
use super::paper::Metric;
use super::read::{Evidence, Set};
use super::tables::{Record, Table, in_one, intervals};
use crate::What;
use anyhow::Result;
use paper::Captions;

/// Black-box attacks, in the order of the tables: the first is the one that is compared with the paper's.
const BLACK_BOX: [&str; 10] = [
    "sim-mean",
    "sim-mean+captions",
    "sim-mean+captions-mean",
    "pw-threshold",
    "pw-distribution",
    "pw-classifier",
    "pw-threshold+shadow",
    "pw-distribution+shadow",
    "pw-classifier+shadow",
    "nn",
];

/// Attacks on a pair with one round and more, every round beginning with the first model as in the paper, and their labels.
const FIRST_BEGINS: [(&str, &str); 4] = [
    ("sim-mean", "1 (as in Table 5)"),
    ("rounds@2", "2"),
    ("rounds@3", "3"),
    ("rounds@6", "6"),
];

/// The same with the second model.
const SECOND_BEGINS: [(&str, &str); 4] = [
    ("rounds@1+second", "1"),
    ("rounds@2+second", "2"),
    ("rounds@3+second", "3"),
    ("rounds@6+second", "6"),
];

/// The first model begins, and images are drawn for all captions.
const EVERY_CAPTION: [(&str, &str); 2] = [
    ("sim-mean+captions", "1 (as in Table 5)"),
    ("rounds@3+captions", "3"),
];

/// White-box attacks beside those of the paper.
const OTHERS: [&str; 12] = [
    "pia-sd-2024",
    "loss",
    "sima",
    "pian",
    "clid-gap",
    "clid",
    "clid+shadow",
    "secmi-nn",
    "secmi-nn+shadow",
    "wen",
    "loss+captions",
    "sima+captions",
];

/// Numbers of the tables in the paper.
pub fn number(what: What) -> Option<u8> {
    match what {
        What::Table4 => Some(4),
        What::Table5 => Some(5),
        What::Table7 => Some(7),
        What::Table8 => Some(8),
        What::Table9 => Some(9),
        _ => None,
    }
}

/// A row of a table: a number for each kind of captions and each metric.
struct Line {
    attack: Option<String>,
    model: &'static str,
    /// Cells before the numbers.
    labels: Vec<String>,
    /// Take the strongest attack on each model instead of a named one.
    strongest: bool,
}

/// With and without prompt diversification, as far as a table has it.
fn kinds(table: u8) -> &'static [Captions] {
    match table {
        4 => &[Captions::One],
        _ => &[Captions::One, Captions::Any],
    }
}

fn metrics(table: u8) -> &'static [Metric] {
    match table {
        7 => &[Metric::Fd, Metric::Is, Metric::Excess],
        9 => &[Metric::Auc, Metric::Tpr, Metric::D1, Metric::D2],
        _ => &[Metric::Auc, Metric::Tpr],
    }
}

/// Name of a model in the study: with prompt diversification it ends in -any.
fn name(model: &str, captions: Captions) -> String {
    match captions {
        Captions::One => model.to_owned(),
        Captions::Any => format!("{model}-any"),
    }
}

/// For heads of columns.
fn title(captions: Captions) -> &'static str {
    match captions {
        Captions::One => "w/o PD",
        Captions::Any => "w/ PD",
    }
}

/// Builds table 4, 5, 7, 8 or 9.
///
/// # Errors
/// A number that is not finite.
pub fn build(table: u8, evidence: &Evidence) -> Result<Table> {
    let mut out = Table {
        title: match table {
            4 => "Table 4: white-box attacks on text-to-image models",
            5 => "Table 5: black-box attacks, without and with prompt diversification",
            7 => "Table 7 and the right of Table 2: quality of the images for the members' prompts",
            8 => "Table 8: white-box attacks, without and with prompt diversification",
            _ => "Table 9: the adaptive attack of A.5 on DualMD",
        }
        .into(),
        columns: columns(table, evidence),
        ..Table::default()
    };
    out.fill(layout(table), |line, records| {
        row(table, line, evidence, records)
    })?;
    out.notes = notes(table, evidence);
    Ok(out)
}

fn columns(table: u8, evidence: &Evidence) -> Vec<String> {
    let mut out: Vec<String> = match table {
        7 => vec!["Method".into()],
        9 => vec!["Rounds".into()],
        _ => vec!["Attack".into(), "Method".into()],
    };
    let kind = |captions| match kinds(table) {
        [_] => String::new(),
        _ => format!(" {}", title(captions)),
    };
    for set in &evidence.sets {
        for &captions in kinds(table) {
            for &metric in metrics(table) {
                let column = names::column(metric, evidence);
                out.push(format!("{}{} {column}", set.name, kind(captions)));
            }
        }
    }
    for &captions in kinds(table) {
        for metric in printed(table, captions) {
            let name = names::paper_column(metric);
            out.push(format!("paper{} {name}", kind(captions)));
        }
    }
    out
}

/// The metrics of which the paper has numbers.
fn printed(table: u8, captions: Captions) -> Vec<Metric> {
    let there = |metric: &Metric| {
        paper::numbers()
            .iter()
            .any(|n| (n.table, n.captions, n.metric) == (table, captions, *metric))
    };
    metrics(table).iter().copied().filter(there).collect()
}

/// Sections of a table: an optional heading, and the rows.
fn layout(table: u8) -> Vec<(Option<&'static str>, Vec<Line>)> {
    let line = |attack: &str, model: &'static str| Line {
        attack: Some(attack.to_owned()),
        model,
        labels: vec![names::attack(attack), names::method(model)],
        strongest: false,
    };
    let all = |attacks: &[&str], models: &[&'static str]| -> Vec<Line> {
        let pairs = attacks
            .iter()
            .flat_map(|a| models.iter().map(move |m| (*a, *m)));
        pairs.map(|(attack, model)| line(attack, model)).collect()
    };
    let best = |models: &[&'static str]| -> Vec<Line> {
        let of = |model: &&'static str| Line {
            attack: None,
            labels: vec!["strongest".into(), names::method(model)],
            strongest: true,
            model,
        };
        models.iter().map(of).collect()
    };
    let models = ["baseline", "dualmd", "student"];
    match table {
        4 | 8 => {
            let single = ["baseline", "student"];
            vec![
                (None, all(&["secmi", "pia"], &single)),
                (
                    Some("other attacks, not in the paper's table"),
                    all(&OTHERS, &single),
                ),
                (Some("the strongest attack on each model"), best(&single)),
            ]
        }
        5 => vec![
            (None, all(&BLACK_BOX[..1], &models)),
            (
                Some("other black-box attacks"),
                all(&BLACK_BOX[1..], &models),
            ),
        ],
        7 => {
            let of = |model: &&'static str| Line {
                attack: None,
                labels: vec![names::method(model)],
                strongest: false,
                model,
            };
            vec![(None, models.iter().map(of).collect())]
        }
        _ => {
            let of = |(attack, label): &(&str, &str)| Line {
                attack: Some((*attack).to_owned()),
                model: "dualmd",
                labels: vec![(*label).to_owned()],
                strongest: false,
            };
            let of = |rows: &[(&str, &str)]| rows.iter().map(of).collect();
            vec![
                (None, of(&FIRST_BEGINS)),
                (
                    Some("every round begins with the second model"),
                    of(&SECOND_BEGINS),
                ),
                (
                    Some("asked with every caption, the best likeness"),
                    of(&EVERY_CAPTION),
                ),
            ]
        }
    }
}

/// One row; none where no set has a number for it.
fn row(
    table: u8,
    line: &Line,
    evidence: &Evidence,
    records: &mut Vec<Record>,
) -> Result<Option<Vec<String>>> {
    let mut cells = line.labels.clone();
    let mut found = false;
    for set in &evidence.sets {
        for &captions in kinds(table) {
            let model = name(line.model, captions);
            let attack = match line.strongest {
                true => strongest(set, &model)?.map(|(attack, _)| attack),
                false => line.attack.clone(),
            };
            for &metric in metrics(table) {
                let mut cell = Cell::metric(set, &model, attack.as_deref(), metric)?;
                if line.strongest && metric == Metric::Auc && cell.mean().is_some() {
                    cell.note = attack.as_deref().map(names::attack);
                }
                cells.push(cell.shown(set, &model, attack.as_deref(), metric)?);
                if cell.mean().is_none() {
                    continue;
                }
                found = true;
                records.push(Record {
                    dataset: set.name.clone(),
                    attack: attack.clone(),
                    method: format!("{}, {}", names::method(line.model), title(captions)),
                    model: model.clone(),
                    metric: names::key(metric),
                    cell,
                    paper: numbers(table, line, captions, metric),
                });
            }
        }
    }
    for &captions in kinds(table) {
        for metric in printed(table, captions) {
            let numbers = numbers(table, line, captions, metric);
            cells.push(in_one(numbers.into_iter().map(|(_, v)| v)));
        }
    }
    Ok(found.then_some(cells))
}

/// What the paper has for a row.
fn numbers(table: u8, line: &Line, captions: Captions, metric: Metric) -> Vec<(&'static str, f64)> {
    if line.strongest {
        return Vec::new();
    }
    paper::of(table, line.attack.as_deref(), line.model, captions, metric)
}

fn notes(table: u8, evidence: &Evidence) -> Vec<String> {
    let mut out = vec![
        intervals(evidence),
        format!(
            "PD: prompt diversification, one of an image's captions drawn each time it is shown. {}",
            what_was_run(evidence)
        ),
    ];
    match table {
        4 => out.push(
            "The paper's columns: Pokemon SD 1.5 / Pokemon SD 2.1 / Naruto SD 1.5 / Naruto SD 2.1. Each image is asked about with its first \
             caption at guidance 1. `PIA` is the attack as its paper defines it, `pia-sd-2024` what its public code for Stable Diffusion computes. The strongest attack \
             is chosen by the numbers of these images, black-box ones among them; its interval does not know that it was chosen."
                .into(),
        ),
        7 => out.push(
            "The paper's columns: Pokemon SD 1.5 / Pokemon SD 2.1 / Naruto SD 1.5 / Naruto SD 2.1, without prompt diversification (tables 2 \
             and 7). Distances are between the images drawn for the members' prompts and held-out images, \"excess\" is what remains after \
             subtracting that of real images to real images."
                .into(),
        ),
        5 => out.push(
            "The paper names Pang and Wang's attack, but neither its form nor its features; AUCs below 0.5 fit a score that learns nothing, so the \
             paper's numbers stand at `sim-mean`. `+captions` draws images for every caption of an image and keeps the best likeness, \
             `+captions-mean` the mean: what an attacker does who knows of prompt diversification. The `pw` forms are told a fifth of the images; \
             `+shadow`: learnt on a second run on other images, which is made where such an attack is named (--set audit.attacks). Features are those that the runs' score files name (EfficientNet-Lite0, else pixels)."
                .into(),
        ),
        9 => out.push(
            "Every round begins again with the same model, so that its share of the image grows. The first model saw the members in D1, the second \
             those in D2: AUC D1 and AUC D2 are of these members alone against all non-members. The paper mixes both and does not say whether its \
             models had prompt diversification; its numbers near 0.5 stand in that column."
                .into(),
        ),
        _ => {}
    }
    if matches!(table, 5 | 7 | 9) {
        out.extend(drawing(evidence));
    }
    if kinds(table).contains(&Captions::Any) {
        out.extend(evidence.sets.iter().filter_map(undiversified));
    }
    out
}

/// What the columns with prompt diversification hide where some members have one caption only.
fn undiversified(set: &Set) -> Option<String> {
    let most = set.runs.iter().filter_map(|run| {
        let number = |key: &str| run.captions[key].as_u64();
        let (one, several) = (number("one")?, number("several")?);
        (one > 0).then_some((one, one + several))
    });
    let (one, all) = most.max()?;
    Some(format!(
        "{}: {one} of {all} members have one caption: of these the models with prompt diversification (PD) were shown that one, as those \
         without.",
        set.title
    ))
}

/// The paper's recipe: (optimiser steps, images a step).
const PAPER: (u64, u64) = (20_000, 16);

/// What was fine-tuned here, beside the paper: the sentence follows the runs.
pub fn what_was_run(evidence: &Evidence) -> String {
    let theirs = "The paper fine-tunes Stable Diffusion on 416 Pokemon or 610 Naruto pictures for 20,000 steps of 16";
    let mut own: Vec<String> = Vec::new();
    let mut alike = !evidence.sets.is_empty();
    for set in &evidence.sets {
        let mut lengths: Vec<(u64, u64)> = Vec::new();
        let mut members: Vec<u64> = Vec::new();
        for run in &set.runs {
            let of = |key: &str| run.train[key].as_u64();
            if let (Some(steps), Some(batch)) = (of("steps"), of("batch")) {
                lengths.push((steps, batch));
            }
            members.extend(run.members.map(|m| m as u64));
        }
        lengths.dedup();
        members.dedup();
        alike &= set.brought && lengths == [PAPER];
        let many = match members.as_slice() {
            [one] => format!("{one} pictures of "),
            _ => "pictures of ".to_owned(),
        };
        let long: Vec<String> = lengths
            .iter()
            .map(|(steps, batch)| format!("{steps} steps of {batch}"))
            .collect();
        let long = match long.as_slice() {
            [] => String::new(),
            some => format!(" for {}", some.join(" or ")),
        };
        let what = match set.brought {
            true => "the model of --base",
            false => "a small model",
        };
        own.push(format!(
            "{what} on {many}{} ({}){long}",
            set.title, set.name
        ));
    }
    let own = own.join("; ");
    match (alike, evidence.sets.iter().any(|s| s.brought)) {
        (true, _) => format!(
            "{theirs}; here {own}, the same recipe: whether pictures and base are the paper's, this program cannot know."
        ),
        (false, true) => format!(
            "{theirs}; here {own}: where the recipe is another, only the order of the methods can be compared."
        ),
        (false, false) => {
            format!(
                "{theirs}; here {own}: the order of the methods can be compared, the numbers cannot."
            )
        }
    }
}

/// How the images were drawn, beside Pang and Wang's settings: once, where all runs agree.
fn drawing(evidence: &Evidence) -> Option<String> {
    let mut all: Vec<(u64, u64, f64)> = evidence
        .sets
        .iter()
        .flat_map(|s| &s.runs)
        .filter_map(|run| {
            let number = |key: &str| run.sample[key].as_u64();
            let guidance = run.sample["guidance"].as_f64()?;
            Some((number("per_prompt")?, number("steps")?, guidance))
        })
        .collect();
    all.dedup();
    let [(images, steps, guidance)] = all.as_slice() else {
        return None;
    };
    Some(format!(
        "Drawn here: {images} image{} for each caption, {steps} denoising steps, guidance {guidance}. (Pang and Wang: 3 images, 50 steps of DDIM, guidance 7.5.)",
        if *images == 1 { "" } else { "s" }
    ))
}
