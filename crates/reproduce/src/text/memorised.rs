//! Table 1: how like its training images a model draws, and what a remedy at drawing time does.

use super::super::cell::Cell;
use super::super::names;
use super::super::paper;
use super::super::read::{Evidence, Measured, Set};
use super::super::table::{Record, Table, intervals};
use super::measured::{ROWS, folder, read};
use super::notes::what_was_run;
use anyhow::Result;
use dualmd_record::memorisation::{Memorisation, Spread};
use std::collections::BTreeSet;

/// A column for every image set.
struct Column {
    head: &'static str,
    /// Of a measurement.
    of: fn(&Memorisation) -> Option<Spread>,
    /// Key of its records, and of the paper's numbers.
    key: &'static str,
}

/// What is drawn for the members' prompts is like their images.
const OWN: Column = Column {
    head: "similarity to the prompt's image",
    of: |m| m.similarity.as_ref()?.own.memorised,
    key: "similarity_own",
};
/// So much of that is what a caption says.
const UNSEEN: Column = Column {
    head: "for prompts never seen",
    of: |m| m.similarity.as_ref()?.own.others,
    key: "similarity_own_unseen",
};
const CLIP: Column = Column {
    head: "CLIP score",
    of: |m| m.clip_score.as_ref()?.scores.memorised,
    key: "clip_score",
};

const COLUMNS: [Column; 5] = [
    OWN,
    UNSEEN,
    Column {
        head: "to the nearest held-out image",
        of: |m| m.similarity.as_ref()?.nearest_heldout.memorised,
        key: "similarity_heldout",
    },
    CLIP,
    Column {
        head: "fit of image and prompt",
        of: |m| m.fit.as_ref()?.measured()?.relative.drawn.memorised,
        key: "fit_relative",
    },
];

impl Column {
    /// The mean over prompts, over the seeds.
    fn cell(&self, set: &Set, method: &str) -> Result<Cell> {
        let mut numbers = Vec::new();
        for run in &set.runs {
            let found = read(&folder(&run.folder, method))?.and_then(|found| (self.of)(&found));
            numbers.extend(found.map(|spread| (run.seed, measured_mean(spread))));
        }
        Cell::new(&numbers, set.runs.len())
    }
}

/// A mean over prompts with its 95 % interval (normal, from the spread).
fn measured_mean(spread: Spread) -> Measured {
    let Spread { mean, std, n, .. } = spread;
    let half = std.map(|std| 1.96 * std / (n as f64).sqrt());
    (mean, half.map(|h| [mean - h, mean + h]))
}

/// Table 1 and its sentences.
///
/// # Errors
/// A measurement that cannot be read.
pub fn build(evidence: &Evidence) -> Result<(Table, Vec<String>)> {
    let mut table = Table::new("Table 1: memorisation", &["Method"]);
    for set in &evidence.sets {
        let heads = COLUMNS.map(|column| format!("{} {}", set.name, column.head));
        table.columns.extend(heads);
    }
    let papers = ["paper SSCD", "paper CLIP score"];
    table.columns.extend(papers.map(str::to_owned));
    for method in ROWS {
        let mut numbers = Vec::new();
        for set in &evidence.sets {
            for column in COLUMNS {
                let cell = column.cell(set, method.folder)?;
                let record = Record {
                    paper: paper::of(1, None, method.folder, column.key),
                    ..Record::new(set, method.folder, method.name, None, column.key, cell)
                };
                numbers.push((record, 3));
            }
        }
        let papers = [OWN, CLIP].map(|column| of_paper(method.folder, column.key));
        let papers = papers.map(names::printed);
        table.numbers(&[method.name.to_owned()], numbers, &papers);
    }
    let mut facts = Vec::new();
    let mut features: BTreeSet<String> = BTreeSet::new();
    for set in &evidence.sets {
        facts.extend(order(set)?);
        for run in &set.runs {
            for method in ROWS {
                let found = read(&folder(&run.folder, method.folder))?;
                features.extend(found.and_then(|r| r.similarity).map(|s| s.features));
            }
        }
    }
    let features = Vec::from_iter(features).join(", ");
    table.notes = vec![
        intervals(evidence),
        what_was_run(evidence),
        notes(evidence, &table, &features),
    ];
    Ok((table, facts))
}

/// The paper's number of a row.
fn of_paper(method: &str, key: &str) -> f64 {
    let all = paper::of(1, None, method, key);
    all.first().map_or(f64::NAN, |(_, value)| *value)
}

/// How table 1 is to be read: what was compared by what, and what Wen's target was, as the runs had it.
fn notes(evidence: &Evidence, table: &Table, features: &str) -> String {
    let known = |key: &str| table.records.iter().any(|r| r.metric == key);
    let mut out = format!(
        "Cosines of {features} features of the images drawn for the members' captions, mean over images and prompts; intervals of one run are over prompts. \
         The paper's are of another SSCD network{}: the order can be compared, the numbers cannot. What is drawn for a caption that no model saw is \
         like that caption's image by as much as a caption says; only what lies above that is memory.",
        match evidence.sets.iter().all(|s| s.brought) {
            true => "",
            false => " on other pictures",
        }
    );
    if !known("clip_score") {
        out.push_str(" A CLIP score needs a CLIP folder of yours (--clip).");
    }
    if known("fit_relative") {
        out.push_str(
            " The fit of image and prompt is by a head between MiniLM's sentences and EfficientNet-Lite0's features, learnt from captioned \
             images of the same kind without the members, the non-members and their captions; 0 is what a strange caption reaches, 1 what real \
             images reach with their own, on pairs that were kept for it.",
        );
    }
    if evidence.sets.iter().any(|s| s.brought) {
        out.push_str(
            " Wen's target is 3 for four latents, as for Stable Diffusion in their paper.",
        );
    }
    if evidence.sets.iter().any(|s| !s.brought) {
        out.push_str(
            " Wen's target is 3 for four latents of Stable Diffusion, which is 0.31 of what memorised prompts typically begin with there; a small \
             model has the same part of the median that its members' prompts begin with.",
        );
    }
    out
}

/// The order of the methods, and how much of the similarity is memory.
fn order(set: &Set) -> Result<Vec<String>> {
    let mut ours = Vec::new();
    for method in ROWS {
        let [own, unseen] = [OWN, UNSEEN].map(|column| column.cell(set, method.folder));
        let (own, unseen) = (own?, unseen?);
        if let (Some(value), Some(_)) = (own.mean(), unseen.mean()) {
            let mut less = own.less(&unseen)?;
            // One run: members' prompts and the others are two independent samples of prompts.
            if let (Some(a), Some(b)) = (own.image_ci, unseen.image_ci)
                && let Some(mean) = less.mean()
            {
                let half = (a[1] - a[0]).hypot(b[1] - b[0]) / 2.0;
                less.image_ci = Some([mean - half, mean + half]);
            }
            let paper = of_paper(method.folder, OWN.key);
            ours.push((method.name, value, paper, less));
        }
    }
    if ours.len() < 2 {
        return Ok(Vec::new());
    }
    let sorted = |by: fn(&(&'static str, f64, f64, Cell)) -> f64| {
        let mut list: Vec<_> = ours.iter().collect();
        list.sort_by(|a, b| by(b).total_cmp(&by(a)));
        list.into_iter().map(|m| m.0).collect::<Vec<_>>()
    };
    let (here, paper) = (sorted(|m| m.1), sorted(|m| m.2));
    let memory: Vec<String> = ours
        .iter()
        .map(|(method, _, _, less)| format!("{method} {}", less.text(3)))
        .collect();
    Ok(vec![
        format!(
            "{}: {}, most to least alike: here {}; paper {}.",
            if here == paper { "yes" } else { "no" },
            set.name,
            here.join(", "),
            paper.join(", ")
        ),
        format!(
            "{}, similarity to the prompt's image less that for prompts never seen (what is memory): {}.",
            set.name,
            memory.join(", ")
        ),
    ])
}
