//! Tables 2, 3 and 10 of the paper, from the runs: one builder, three layouts.

use super::cell::{Cell, strongest};
use super::names;
use super::paper::{self, Metric};
use super::read::{Evidence, Set};
use crate::What;
use anyhow::Result;
use serde::Serialize;

/// A table, as text and as numbers.
#[derive(Debug, Default)]
pub struct Table {
    /// Heading.
    pub title: String,
    /// Heads of the columns.
    pub columns: Vec<String>,
    /// Rows.
    pub rows: Vec<Row>,
    /// How to read it.
    pub notes: Vec<String>,
    /// The numbers behind the cells.
    pub records: Vec<Record>,
}

/// A row.
#[derive(Debug, PartialEq)]
pub enum Row {
    /// As many cells as there are columns.
    Cells(Vec<String>),
    /// A heading across.
    Heading(String),
}

/// One number with what it is of.
#[derive(Debug, Serialize)]
pub struct Record {
    /// Image set.
    pub dataset: String,
    /// Attack; none for image quality and cost.
    pub attack: Option<String>,
    /// Model as the study names it.
    pub model: String,
    /// Its name in the table.
    pub method: String,
    /// What the number is.
    pub metric: &'static str,
    /// The number over seeds.
    #[serde(flatten)]
    pub cell: Cell,
    /// The paper's numbers by image set.
    pub paper: Vec<(&'static str, f64)>,
}

/// Attacks of table 3 beside the paper's.
const OTHERS: [&str; 7] = [
    "secmi-nn",
    "secmi-nn+shadow",
    "loss",
    "sima",
    "reference",
    "gsa2",
    "gsa2+shadow",
];

/// What stands in a row.
struct Line {
    /// Attack; none in table 2.
    attack: Option<String>,
    model: String,
    /// Take the strongest attack instead of a named one.
    strongest: bool,
}

/// Number of a table in the paper.
pub fn number(what: What) -> Option<u8> {
    match what {
        What::Table2 => Some(2),
        What::Table3 => Some(3),
        What::Table10 => Some(10),
        _ => None,
    }
}

/// The numbers that a table has of a row.
pub fn metrics(table: u8) -> &'static [Metric] {
    match table {
        2 => &[Metric::Fd, Metric::Is],
        _ => &[Metric::Auc, Metric::Tpr],
    }
}

/// The paper's image sets that a set of ours is compared with: itself, else all that the table has.
pub fn compared_with(table: u8, set: &Set) -> Vec<&'static str> {
    let there = |d: &&'static str| {
        paper::numbers()
            .iter()
            .any(|n| n.table == table && n.dataset == *d)
    };
    match set.paper {
        Some(own) => std::iter::once(own).filter(there).collect(),
        None => paper::DATASETS.into_iter().filter(there).collect(),
    }
}

/// Builds table 2, 3 or 10.
///
/// # Errors
/// A number that is not finite.
pub fn build(table: u8, evidence: &Evidence) -> Result<Table> {
    let mut out = Table {
        title: match table {
            2 => "Table 2: quality of the generated images".into(),
            3 => "Table 3: white-box attacks".into(),
            _ => "Table 10: SecMI against distillation".into(),
        },
        ..Table::default()
    };
    out.columns = columns(table, evidence);
    out.fill(layout(table, evidence), |line, records| {
        row(table, line, evidence, records)
    })?;
    out.notes = notes(table, evidence, out.rows.is_empty());
    Ok(out)
}

impl Table {
    /// Adds the rows that `row` makes of lines, section by section. A line that no set has a number for is left out, and so is a heading
    /// above none.
    ///
    /// # Errors
    /// As `row`.
    pub fn fill<H: Into<String>, L>(
        &mut self,
        sections: Vec<(Option<H>, Vec<L>)>,
        row: impl Fn(&L, &mut Vec<Record>) -> Result<Option<Vec<String>>>,
    ) -> Result<()> {
        for (heading, lines) in sections {
            let mut rows = Vec::new();
            for line in lines {
                rows.extend(row(&line, &mut self.records)?.map(Row::Cells));
            }
            if !rows.is_empty() {
                self.rows.extend(heading.map(|h| Row::Heading(h.into())));
                self.rows.append(&mut rows);
            }
        }
        Ok(())
    }
}

/// The paper's numbers as one cell.
pub fn in_one(numbers: impl Iterator<Item = f64>) -> String {
    let texts: Vec<String> = numbers.map(names::printed).collect();
    match texts.is_empty() {
        true => "-".into(),
        false => texts.join(" / "),
    }
}

fn columns(table: u8, evidence: &Evidence) -> Vec<String> {
    let mut out: Vec<String> = match table {
        2 => vec!["Method".into()],
        _ => vec!["Attack".into(), "Method".into()],
    };
    for set in &evidence.sets {
        for &metric in metrics(table) {
            out.push(format!(
                "{} {}{}",
                set.name,
                names::column(metric, evidence),
                match table {
                    2 => otherwise_drawn(set),
                    _ => String::new(),
                }
            ));
            if let Some(own) = set.paper.filter(|_| !compared_with(table, set).is_empty()) {
                out.push(format!("paper {own} {}", names::paper_column(metric)));
            }
        }
        if table == 2 {
            out.push(format!(
                "{} {}",
                set.name,
                names::column(Metric::Excess, evidence)
            ));
        }
    }
    // A set that is not in the paper has all of the paper's beside it, once.
    if let Some(set) = evidence.sets.iter().find(|s| s.paper.is_none()) {
        let sets = compared_with(table, set);
        let sets = match sets.as_slice() {
            [one] => (*one).to_owned(),
            all => all
                .iter()
                .map(|d| names::short(d))
                .collect::<Vec<_>>()
                .join(" / "),
        };
        for &metric in metrics(table) {
            out.push(format!("paper {} ({sets})", names::paper_column(metric)));
        }
    }
    out
}

/// How the images of one of the paper's own sets were drawn, where that is not the paper's way: 25,000 images, ancestral sampling of
/// 1,000 steps. Sets that are not the paper's are compared with it by their order only, which the notes say.
fn otherwise_drawn(set: &Set) -> String {
    let mut differs: Vec<String> = Vec::new();
    for run in set.runs.iter().filter(|_| set.paper.is_some()) {
        let sample = &run.sample;
        let (Some(steps), Some(n)) = (sample["steps"].as_u64(), sample["n"].as_u64()) else {
            continue;
        };
        let sampler = sample["sampler"].as_str().unwrap_or("ddim");
        let mut own = Vec::new();
        if (sampler, steps) != ("ddpm", 1000) {
            own.push(format!("{steps} steps of {sampler}"));
        }
        if n != 25_000 {
            own.push(format!("{n} images"));
        }
        let own = own.join(", ");
        if !own.is_empty() && !differs.contains(&own) {
            differs.push(own);
        }
    }
    match differs.as_slice() {
        [] => String::new(),
        some => format!(" ({})", some.join("; ")),
    }
}

/// Sections of a table: an optional heading, and the rows.
fn layout(table: u8, evidence: &Evidence) -> Vec<(Option<String>, Vec<Line>)> {
    let compared = names::compared(evidence);
    let others = |first: &[&str]| -> Vec<String> {
        let rest = compared.iter().filter(|m| !first.contains(&m.as_str()));
        rest.cloned().collect()
    };
    let lines = |attack: Option<&str>, models: &[String]| -> Vec<Line> {
        let line = |model: &String| Line {
            attack: attack.map(str::to_owned),
            model: model.clone(),
            strongest: false,
        };
        models.iter().map(line).collect()
    };
    let own = |names: &[&str]| names.iter().map(|m| (*m).to_owned()).collect::<Vec<_>>();
    match table {
        2 => {
            let first = ["baseline", "dualmd", "student"];
            vec![
                (None, lines(None, &own(&first))),
                (
                    Some("not in the paper's table".into()),
                    lines(None, &others(&first)),
                ),
            ]
        }
        3 => {
            let first = ["baseline", "student"];
            let rest = others(&first);
            let of = |attacks: &[&str], models: &[String]| -> Vec<Line> {
                attacks
                    .iter()
                    .flat_map(|a| lines(Some(a), models))
                    .collect()
            };
            let best = compared.iter().map(|model| Line {
                attack: None,
                model: model.clone(),
                strongest: true,
            });
            vec![
                (None, of(&["secmi", "pia"], &own(&first))),
                (
                    Some("other methods, not in the paper's table".into()),
                    of(&["secmi", "pia"], &rest),
                ),
                (
                    Some("other attacks, not in the paper's table".into()),
                    of(&OTHERS, &compared),
                ),
                (
                    Some("the strongest attack on each model".into()),
                    best.collect(),
                ),
            ]
        }
        _ => {
            let first = ["baseline", "kd", "student"];
            vec![
                (None, lines(Some("secmi"), &own(&first))),
                (
                    Some("not in the paper's table".into()),
                    lines(Some("secmi"), &others(&first)),
                ),
                (
                    Some("with a classifier on the same differences".into()),
                    lines(Some("secmi-nn"), &compared),
                ),
                (
                    Some("with one that learnt on a shadow model".into()),
                    lines(Some("secmi-nn+shadow"), &compared),
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
    let method = names::method(&line.model);
    let mut cells = match (table, line.strongest) {
        (2, _) => vec![],
        (_, true) => vec!["strongest".into()],
        _ => vec![
            line.attack
                .as_deref()
                .map(names::attack)
                .unwrap_or_default(),
        ],
    };
    cells.push(method.clone());
    let mut found = Vec::new();
    let of_paper = |dataset: &str, attack: Option<&str>, metric| {
        paper::number(table, dataset, attack, &line.model, metric)
    };
    for set in &evidence.sets {
        let attack = match line.strongest {
            true => strongest(set, &line.model)?.map(|(attack, _)| attack),
            false => line.attack.clone(),
        };
        let mut wanted = metrics(table).to_vec();
        if table == 2 {
            wanted.push(Metric::Excess);
        }
        for metric in wanted {
            let missing = table != 2 && attack.is_none();
            let name = attack.as_deref().filter(|_| !missing);
            let mut cell = Cell::metric(set, &line.model, name, metric)?;
            if line.strongest && metric == Metric::Auc && cell.mean().is_some() {
                cell.note = attack.as_deref().map(names::attack);
            }
            cells.push(cell.shown(set, &line.model, name, metric)?);
            let sets = compared_with(table, set);
            let named = attack.as_deref().filter(|_| !line.strongest);
            let paper: Vec<_> = sets
                .iter()
                .filter(|_| !line.strongest)
                .filter_map(|d| Some((*d, of_paper(d, named, metric)?)))
                .collect();
            if set.paper.is_some() && !sets.is_empty() && metric != Metric::Excess {
                cells.push(
                    paper
                        .first()
                        .map_or("-".into(), |(_, v)| names::printed(*v)),
                );
            }
            if cell.mean().is_some() {
                found.push(Record {
                    dataset: set.name.clone(),
                    attack: attack.clone(),
                    model: line.model.clone(),
                    method: method.clone(),
                    metric: names::key(metric),
                    cell,
                    paper,
                });
            }
        }
    }
    if found.is_empty() {
        return Ok(None);
    }
    if let Some(set) = evidence.sets.iter().find(|s| s.paper.is_none()) {
        for &metric in metrics(table) {
            let sets = compared_with(table, set);
            let named = sets.iter().filter(|_| !line.strongest);
            cells.push(in_one(
                named.filter_map(|d| of_paper(d, line.attack.as_deref(), metric)),
            ));
        }
    }
    records.append(&mut found);
    Ok(Some(cells))
}

fn notes(table: u8, evidence: &Evidence, empty: bool) -> Vec<String> {
    let mut out = vec![intervals(evidence)];
    if table == 2 {
        if empty {
            out.push("No quality of images could be measured; `image_utility` of the runs' report.json says why.".into());
        }
        let features = evidence.features();
        match features.as_slice() {
            [] => out.push(
                "No run measured the quality of images: the weights of the features' network are missing (`cargo xtask features`); \
                 run the same command with another --out, or remove report.json of the runs, once they are there. FID needs those of --inception."
                    .into(),
            ),
            [one] if one == "inception-2048" && evidence.published_quality() => out.push(
                "FID is to all images of the run, members and others: with half of a data set on either side these are its training images, \
                 as in public codes. IS is the mean of ten splits. The excess is by held-out images alone."
                    .into(),
            ),
            [one] if one == "inception-2048" => {}
            some => out.push(format!(
                "Distances and scores are by the features {}, against held-out images: they are no FID or IS of the Inception network \
                 (--inception names its weights) and cannot be compared with the paper's numbers, only their order can. \"excess\" is the distance at equal numbers of \
                 images less that of real images to real images, 0 for a perfect model.",
                some.join(", ")
            )),
        }
    } else {
        out.push(
            "AUC 0.5 is chance. TPR@1%FPR: share of members found with at most 1 false alarm in 100. DualMD is not among the white-box \
             rows of SecMI and PIA: a pair of models has no one network to ask."
                .into(),
        );
        if evidence.sets.iter().any(|s| s.paper.is_none()) && table == 3 {
            out.push("Image sets of the paper: C10 CIFAR10, C100 CIFAR100, Tiny Tiny-ImageNet, STL STL10-Unlabeled.".into());
        }
        out.push(
            format!(
                "The paper says SecMIA; `secmi` is its statistic, `secmi-nn` a classifier on the same differences. The size of the paper's \
                 numbers suggests the latter{}.",
                match evidence.attacked_with("secmi-nn") {
                    true => "",
                    false => ", which was not run here (--set audit.attacks)",
                }
            ),
        );
    }
    out
}

/// How the intervals came about.
pub fn intervals(evidence: &Evidence) -> String {
    let runs = evidence
        .sets
        .iter()
        .map(|s| s.runs.len())
        .max()
        .unwrap_or(0);
    if runs > 1 {
        format!(
            "Mean over {runs} seeds [95 % interval between seeds, Student's t with {} degree{} of freedom; an AUC's or a share's is cut \
             at 0 and 1]; every seed draws images, split and weights anew.",
            runs - 1,
            if runs == 2 { "" } else { "s" }
        )
    } else {
        "One seed: (95 % interval over the images of that one run). It says nothing about another training; use --seeds 3.".into()
    }
}
