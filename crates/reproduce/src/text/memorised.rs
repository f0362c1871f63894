//! Table 1 (how like its training images a model draws, and what a remedy at drawing time does) and figure 3 (the t-error of
//! prompts): `dualmd memorisation` on the models of every run, kept beside them in `memorisation/NAME/`.

use super::super::Drawn;
use super::super::cell::Cell;
use super::super::names;
use super::super::read::{Evidence, Measured, Set};
use super::super::study::{Planned, Study};
use super::super::tables::{Record, Row, Table, intervals};
use crate::{ReproduceOptions, What};
use anyhow::{Context, Result};
use dualmd::Session;
use dualmd::choices::Features;
use dualmd::experiment::Experiment;
use dualmd::memorisation::{MemorisationOptions, PromptSource, measured};
use dualmd::stages::attack::weight_set;
use dualmd::stages::copies::SscdFiles;
use dualmd::stages::held::Held;
use dualmd::stages::sample::fingerprint;
use dualmd::stages::{fit, utility};
use dualmd_attack::memorisation::Mitigation;
use dualmd_metrics::SscdForm;
use dualmd_plot::{self as svg, Panel};
use dualmd_record::memorisation::{Memorisation, Spread};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A row of the table.
struct Method {
    /// Folder of the measurement.
    folder: &'static str,
    /// Model folders: one, or two that take turns.
    models: &'static [&'static str],
    /// With Wen's remedy.
    remedy: bool,
    /// For people.
    name: &'static str,
    /// The paper's SSCD similarity and CLIP score.
    paper: [f64; 2],
}

const ROWS: [Method; 4] = [
    Method {
        folder: "baseline",
        models: &["baseline"],
        remedy: false,
        name: "No mitigation",
        paper: [0.60, 0.26],
    },
    Method {
        folder: "baseline-wen",
        models: &["baseline"],
        remedy: true,
        name: "Wen et al. 2024",
        paper: [0.28, 0.25],
    },
    Method {
        folder: "dualmd",
        models: &["teacher-1", "teacher-2"],
        remedy: false,
        name: "DualMD",
        paper: [0.52, 0.27],
    },
    Method {
        folder: "student",
        models: &["student"],
        remedy: false,
        name: "DistillMD",
        paper: [0.27, 0.28],
    },
];

/// Wen's target, for four latents of Stable Diffusion.
const TARGET: f64 = 3.0;
/// What part of the loss that a memorised prompt begins with that is: theirs is typically 9.6.
const TARGET_SHARE: f64 = TARGET / 9.6;

/// Makes the measurements that are missing.
///
/// # Errors
/// What `dualmd memorisation` refuses; a stop that was asked for.
pub fn measure(study: &Study, session: &Session, args: &ReproduceOptions) -> Result<()> {
    let only_baseline = args.what == What::Fig3;
    for planned in study.datasets.iter().flat_map(|set| &set.runs) {
        for method in ROWS {
            if only_baseline && method.folder != "baseline" {
                continue;
            }
            let mut asked = MemorisationOptions {
                clip: args.clip.clone(),
                ..arguments(planned, &method)
            };
            // The undefended model was measured before: it is the first row.
            if let Some(remedy) = &mut asked.remedy
                && planned.experiment.model.base.is_none()
            {
                remedy.target = target(planned)?;
            }
            if same(&asked, planned)? {
                continue;
            }
            session.say(&asked.out.display().to_string());
            let _held = Held::run(&planned.folder.0, session.reporter.as_ref())?;
            // From the noise that the run's samples began with.
            measured(session, &asked)?;
        }
    }
    Ok(())
}

/// Is the measurement there, and the one that is asked for?
fn same(asked: &MemorisationOptions, planned: &Planned) -> Result<bool> {
    let path = asked.out.join(FILE);
    if !path.exists() {
        return Ok(false);
    }
    let found: Memorisation = read_file(&path)?;
    let features = found.similarity.map(|s| s.features).unwrap_or_default();
    let features = (features == "sscd-512") == (asked.features == Features::Sscd);
    let clip = asked.clip.is_none() || found.clip_score.is_some();
    let fit = asked.fit.is_empty() || found.fit.is_some();
    let target = asked.remedy.as_ref().map(|o| o.target);
    Ok(features
        && clip
        && fit
        && found.weights_blake3 == fingerprint(&asked.models, weight_set(asked.weights))?
        && found.seed == planned.experiment.seed
        && found.generations == asked.n
        && found.steps == asked.steps
        && found.guidance == asked.guidance
        && found.mitigation.map(|m| m.target) == target)
}

/// Name of a measurement's file.
pub const FILE: &str = "memorisation.json";

/// A measurement.
///
/// # Errors
/// It cannot be read, with what helps.
pub fn read_file(path: &Path) -> Result<Memorisation> {
    dualmd_record::read(path)
        .with_context(|| format!("remove {}, and it is made again", path.display()))
}

/// Wen's target for a model that is no Stable Diffusion: the same part of what members' prompts begin with on the undefended model, which
/// is the norm over all images of a prompt.
fn target(planned: &Planned) -> Result<f64> {
    let found = read(&planned.folder.0, ROWS[0].folder)?.unwrap_or_default();
    let norm = found.first_norm.spread.memorised;
    let norm = norm.context("table 1: the undefended model's norms were not measured")?;
    Ok(TARGET_SHARE * norm.median * (planned.experiment.sample.per_prompt as f64).sqrt())
}

fn folder(run: &Path, name: &str) -> PathBuf {
    run.join("memorisation").join(name)
}

/// The measurement of a run's models on its own prompts, drawn as the run's samples are.
fn arguments(planned: &Planned, method: &Method) -> MemorisationOptions {
    let Method { models, remedy, .. } = *method;
    let Experiment {
        data,
        sample,
        audit,
        ..
    } = &planned.experiment;
    let own = |name: &str| planned.folder.model(name);
    MemorisationOptions {
        models: models.iter().map(|name| own(name)).collect(),
        prompts: PromptSource::Images {
            members: format!("{}#member", data.source),
            nonmembers: Some(format!("{}#nonmember", data.source)),
            split: Some(planned.folder.split()),
            caption_column: data.caption_column.clone(),
        },
        n: sample.per_prompt,
        steps: sample.steps,
        guidance: sample.guidance,
        t_sec: None,
        order: sample.order,
        // The paper's, where set-up has fetched it.
        features: match SscdFiles::of(SscdForm::Full, None) {
            Some(files) if files.are_there() => Features::Sscd,
            _ => Features::Auto,
        },
        features_weights: None,
        clip: None,
        fit: pairs(&planned.experiment),
        fit_if_possible: true,
        fit_head: Some(folder(&planned.folder.0, "fit.safetensors")),
        remedy: remedy.then(|| Mitigation {
            steps: 10,
            target: TARGET,
            ..Mitigation::default()
        }),
        seed: planned.experiment.seed,
        weights: audit.weights,
        batch: sample.batch,
        out: folder(&planned.folder.0, method.folder),
    }
}

/// Captioned images that a fit can be learnt from, where its networks are at hand: those of the run's source that it does not touch,
/// and those of its base. A run without a base uses up its source, and so do sets that users bring.
fn pairs(experiment: &Experiment) -> Vec<String> {
    let there = fit::sentences().is_some() && utility::efflite0_weights().is_some();
    match &experiment.pretrain {
        Some(pretrain) if there => vec![experiment.data.source.clone(), pretrain.source.clone()],
        _ => Vec::new(),
    }
}

/// A measurement in a run's folder; none where it was not made.
fn read(run: &Path, name: &str) -> Result<Option<Memorisation>> {
    let path = folder(run, name).join(FILE);
    path.exists().then(|| read_file(&path)).transpose()
}

/// The mean of a spread, over the seeds.
fn cell(set: &Set, name: &str, of: Column) -> Result<Cell> {
    let mut numbers = Vec::new();
    for run in &set.runs {
        let found = read(&run.folder, name)?.and_then(|found| of(&found));
        numbers.extend(found.map(|spread| (run.seed, measured_mean(spread))));
    }
    Cell::new(&numbers, set.runs.len())
}

/// A mean over prompts with its 95 % interval (normal, from the spread).
fn measured_mean(spread: Spread) -> Measured {
    let Spread { mean, std, n, .. } = spread;
    let half = std.map(|std| 1.96 * std / (n as f64).sqrt());
    (mean, half.map(|h| [mean - h, mean + h]))
}

/// A spread of a measurement.
type Column = fn(&Memorisation) -> Option<Spread>;

/// Columns: (head, what it shows, key of records).
const COLUMNS: [(&str, Column, &str); 5] = [
    (
        "similarity to the prompt's image",
        |m| m.similarity.as_ref()?.own.memorised,
        "similarity_own",
    ),
    (
        "for prompts never seen",
        |m| m.similarity.as_ref()?.own.others,
        "similarity_own_unseen",
    ),
    (
        "to the nearest held-out image",
        |m| m.similarity.as_ref()?.nearest_heldout.memorised,
        "similarity_heldout",
    ),
    (
        "CLIP score",
        |m| m.clip_score.as_ref()?.scores.memorised,
        "clip_score",
    ),
    (
        "fit of image and prompt",
        |m| m.fit.as_ref()?.measured()?.relative.drawn.memorised,
        "fit_relative",
    ),
];

/// Table 1 and its sentences.
///
/// # Errors
/// A measurement that cannot be read.
pub fn build(evidence: &Evidence) -> Result<(Table, Vec<String>)> {
    let mut table = Table {
        title: "Table 1: memorisation".into(),
        columns: vec!["Method".into()],
        ..Table::default()
    };
    for set in &evidence.sets {
        for (head, ..) in COLUMNS {
            table.columns.push(format!("{} {head}", set.name));
        }
    }
    table
        .columns
        .extend(["paper SSCD", "paper CLIP score"].map(str::to_owned));
    let mut facts = Vec::new();
    for Method {
        folder: name,
        name: method,
        paper,
        ..
    } in ROWS
    {
        let mut cells = vec![method.to_owned()];
        let mut known = false;
        for set in &evidence.sets {
            for (_, column, key) in COLUMNS {
                let cell = cell(set, name, column)?;
                cells.push(cell.text(3));
                if cell.mean().is_none() {
                    continue;
                }
                known = true;
                let paper = match key {
                    "similarity_own" => Some(paper[0]),
                    "clip_score" => Some(paper[1]),
                    _ => None,
                };
                table.records.push(Record {
                    dataset: set.name.clone(),
                    attack: None,
                    model: name.to_owned(),
                    method: method.to_owned(),
                    metric: key,
                    cell,
                    paper: paper.map(|v| ("Pokemon 1.5", v)).into_iter().collect(),
                });
            }
        }
        cells.extend(paper.map(names::printed));
        if known {
            table.rows.push(Row::Cells(cells));
        }
    }
    for set in &evidence.sets {
        facts.extend(order(set)?);
    }
    let mut features: BTreeSet<String> = BTreeSet::new();
    for run in evidence.sets.iter().flat_map(|set| &set.runs) {
        for method in ROWS {
            let report = read(&run.folder, method.folder)?;
            features.extend(report.and_then(|r| r.similarity).map(|s| s.features));
        }
    }
    let features = Vec::from_iter(features).join(", ");
    table.notes = vec![
        intervals(evidence),
        super::what_was_run(evidence),
        notes(evidence, &table, &features),
    ];
    Ok((table, facts))
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
        let (own, unseen) = (
            cell(set, method.folder, COLUMNS[0].1)?,
            cell(set, method.folder, COLUMNS[1].1)?,
        );
        if let (Some(value), Some(_)) = (own.mean(), unseen.mean()) {
            let mut less = own.less(&unseen)?;
            // One run: members' prompts and the others are two independent samples of prompts.
            if let (Some(a), Some(b)) = (own.image_ci, unseen.image_ci)
                && let Some(mean) = less.mean()
            {
                let half = (a[1] - a[0]).hypot(b[1] - b[0]) / 2.0;
                less.image_ci = Some([mean - half, mean + half]);
            }
            ours.push((method.name, value, method.paper[0], less));
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

/// Figure 3 of every set.
///
/// # Errors
/// As [`histogram`]; a folder that cannot be written to.
pub fn histograms(study: &Study, evidence: &Evidence) -> Result<Drawn> {
    let mut table = Table {
        title: "Figure 3: t-error of prompts on No defense, first seed".into(),
        columns: HEADS.map(str::to_owned).to_vec(),
        ..Table::default()
    };
    let (mut facts, mut pictures) = (Vec::new(), Vec::new());
    for set in &evidence.sets {
        if let Some(mut found) = histogram(set)? {
            let file = study.drawing("fig3", set, "", &found.drawing)?;
            pictures.push((format!("t-error of prompts, {}", set.title), file));
            facts.push(found.fact);
            table.rows.append(&mut found.rows);
        }
    }
    Ok((table, facts, pictures))
}

/// Heads of figure 3's table.
pub const HEADS: [&str; 5] = ["Image set", "Prompts", "number", "median", "5 % to 95 %"];

/// Figure 3 of one model.
pub struct Histogram {
    /// The figure.
    pub drawing: String,
    /// What it shows.
    pub fact: String,
    /// Rows of its table: (set, prompts, their number, median, 5 % and 95 %).
    pub rows: Vec<Row>,
}

/// Histogram of the t-error of members' prompts and of others. None where nothing was measured.
///
/// # Errors
/// A measurement that cannot be read.
fn histogram(set: &Set) -> Result<Option<Histogram>> {
    let Some(run) = set.runs.first() else {
        return Ok(None);
    };
    let Some(report) = read(&run.folder, "baseline")? else {
        return Ok(None);
    };
    let labels = ["members' prompts", "prompts never seen"];
    let title = format!("{}, No defense", set.title);
    Ok(Some(histogram_of(&report, &set.name, &title, labels)))
}

/// Histogram of the t-errors of a measurement; `labels`: what its memorised prompts and the others are.
pub fn histogram_of(
    report: &Memorisation,
    name: &str,
    title: &str,
    labels: [&str; 2],
) -> Histogram {
    let errors = &report.t_error;
    let (counts, spread) = (&errors.histogram.counts, &errors.spread);
    let lines = [&counts.memorised, &counts.others].into_iter().enumerate();
    let panel = Panel {
        title: title.to_owned(),
        x_label: format!(
            "t-error of the image drawn for a prompt, t = {}",
            errors.t.unwrap_or_default()
        ),
        y_label: "prompts".into(),
        lines: lines
            .map(|(style, counts)| (style, outline(&errors.histogram.edges, counts)))
            .collect(),
        sides: true,
        ..Panel::default()
    };
    let legend = labels.map(str::to_owned);
    let row = |(title, side): (&String, Option<Spread>)| {
        let of = |number: fn(Spread) -> f64| side.map_or(f64::NAN, number);
        Row::Cells(vec![
            name.to_owned(),
            title.clone(),
            side.map_or(0, |s| s.n).to_string(),
            format!("{:.4}", of(|s| s.median)),
            format!("{:.4} to {:.4}", of(|s| s.q05), of(|s| s.q95)),
        ])
    };
    let rows = legend.iter().zip([spread.memorised, spread.others]);
    let rows = rows.map(row).collect();
    let fact = errors.detection.as_ref().map(|found| {
        let ([low, high], [ours, others]) = (found.auc_ci, labels);
        format!(
            "{name}: the t-error tells {ours} from {others} with AUC {:.3} ({low:.3}-{high:.3}); the paper shows two distributions that hardly \
             overlap, for 500 prompts that are known to be memorised and 500 others.",
            found.auc
        )
    });
    let drawing = svg::draw(&[panel], &legend, &format!("t-error of prompts, {title}"));
    Histogram {
        drawing,
        fact: fact.unwrap_or_default(),
        rows,
    }
}

/// The outline of bars from the ground to the ground.
fn outline(edges: &[f64], counts: &[u64]) -> Vec<(f64, f64)> {
    let mut out = Vec::new();
    for (pair, &count) in edges.windows(2).zip(counts) {
        out.extend([(pair[0], count as f64), (pair[1], count as f64)]);
    }
    if let (Some(first), Some(last)) = (out.first().copied(), out.last().copied()) {
        out.insert(0, (first.0, 0.0));
        out.push((last.0, 0.0));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::super::read::Run;
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn bars_have_an_outline() {
        assert_eq!(
            outline(&[0.0, 1.0, 2.0], &[3, 4]),
            [
                (0.0, 0.0),
                (0.0, 3.0),
                (1.0, 3.0),
                (1.0, 4.0),
                (2.0, 4.0),
                (2.0, 0.0)
            ]
        );
        assert!(outline(&[], &[]).is_empty());
    }

    /// (own, unseen) of the rows in order: memory is 0.4, 0.1, 0.3, 0.0.
    #[test]
    fn table_1_by_hand() {
        let dir = tempfile::tempdir().unwrap();
        let rows = [(0.8, 0.4), (0.5, 0.4), (0.7, 0.4), (0.4, 0.4)];
        for (method, (own, unseen)) in ROWS.iter().zip(rows) {
            let out = folder(dir.path(), method.folder);
            std::fs::create_dir_all(&out).unwrap();
            let report = json!({
                "similarity": {
                    "features": "efflite0-1280",
                    "own": { "memorised": { "mean": own }, "others": { "mean": unseen } },
                    "nearest_heldout": { "memorised": { "mean": 0.3 } },
                },
                "fit": { "memorised": null, "others": null, "relative": { "memorised": { "mean": own / 2.0 } } },
                "t_error": {
                    "t": 90, "memorised": { "n": 2, "median": 0.5, "q05": 0.25, "q95": 0.75 }, "histogram": { "edges": [0.0, 1.0, 2.0], "memorised": [2, 0], "others": [0, 2] },
                    "detection": {
                        "n_members": 2, "n_nonmembers": 2, "auc": 1.0, "auc_ci": [0.9, 1.0], "auc_ci_method": "delong-newcombe",
                        "tpr_at_fpr": [], "balanced_accuracy": 1.0,
                    },
                },
            });
            std::fs::write(out.join("memorisation.json"), report.to_string()).unwrap();
        }
        let set = Set {
            name: "toy".into(),
            title: "Toy".into(),
            paper: None,
            brought: false,
            epochs: None,
            runs: vec![Run {
                seed: 0,
                folder: dir.path().to_path_buf(),
                models: Vec::new(),
                sample: Value::Null,
                captions: Value::Null,
                train: Value::Null,
                members: None,
                text: true,
            }],
        };
        let Histogram {
            drawing,
            fact,
            rows,
        } = histogram(&set).unwrap().unwrap();
        let first = ["toy", "members' prompts", "2", "0.5000", "0.2500 to 0.7500"];
        assert_eq!(rows[0], Row::Cells(first.map(str::to_owned).to_vec()));
        assert!(drawing.contains("t = 90") && !drawing.contains("NaN"));
        assert!(
            fact.contains("members' prompts from prompts never seen with AUC 1.000 (0.900-1.000)"),
            "{fact}"
        );
        let (table, facts) = build(&Evidence { sets: vec![set] }).unwrap();
        let Row::Cells(wen) = &table.rows[1] else {
            panic!()
        };
        assert_eq!(
            wen[..],
            [
                "Wen et al. 2024",
                "0.500",
                "0.400",
                "0.300",
                "-",
                "0.250",
                "0.28",
                "0.25"
            ]
        );
        // The paper has Wen above DistillMD by a hair, as here.
        assert!(
            facts[0].starts_with("yes: toy, most to least alike: here No mitigation, DualMD, Wen et al. 2024, DistillMD"),
            "{facts:?}"
        );
        assert!(
            facts[1].contains(
                "No mitigation 0.400, Wen et al. 2024 0.100, DualMD 0.300, DistillMD 0.000"
            ),
            "{facts:?}"
        );
    }
}
