//! `dualmd reproduce defenses`: every defence against every kind of attacker, with the quality of the images and what it costs.
//!
//! - `collect`: finished runs, of this study or of any experiment, as one set; where each number was read
//! - `attackers`: kinds of attackers, and what each finds of a model
//! - `view`: the table, its cells one by one, and the figure
//!
//! Models that share no training have runs of their own, so that rows are made one by one and later, and a row that is added
//! trains nothing else again.

mod attackers;
pub mod collect;
#[cfg(test)]
mod stored;
#[cfg(test)]
mod tests;
mod view;

use super::names::BASELINE;
use super::study::{Piece, Study};
use super::write::{Outcome, Place, Source};
use super::{EQUAL, Made, state};
use crate::{ReproduceOptions, What};
use anyhow::Result;
use collect::{Collected, Expected, Taken};
use dualmd::experiment::Experiment;
use dualmd::extraction::ExtractOptions;
use dualmd::plan::{Plan, Target};
use dualmd::stages::RunFolder;
use dualmd::stages::generator::stopped;
use dualmd::suggest::nearest;
use dualmd::{Session, bail_usage};
use dualmd_names::{Defense, ModelKind};
use std::collections::BTreeSet;
use std::path::PathBuf;
use view::Drawn;

/// Models that share a run, because they share trainings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// Folder of its runs.
    pub name: String,
    /// Names of the models, in the order of the study.
    pub models: Vec<String>,
}

/// Name of the family of the undefended model at other lengths of training. They are no rows, but what rows are compared with.
const LENGTHS: &str = "lengths";

/// Models of a family, by its name. Every other model is a family by itself.
const FAMILIES: &[(&str, &[&str])] = &[
    ("ordinary", &[BASELINE, "kd"]),
    ("teachers", &["dualmd", "student", "synthetic"]),
    ("shards", &["k-way-4", "ensemble-4"]),
    (
        LENGTHS,
        &[
            "baseline-e100",
            "baseline-e400",
            "baseline-e1000",
            "baseline-e2000",
        ],
    ),
];

/// Generated images of an extraction for each one that a model is sampled for: 2,048 beside the study's 256.
const BUDGET: usize = 8;

/// The study in parts, a family each; what `--rows` does not name is left out.
///
/// # Errors
/// A row that the study does not have.
pub fn pieces(whole: &Experiment, args: &ReproduceOptions) -> Result<Vec<Piece>> {
    let mut families: Vec<Family> = Vec::new();
    for entry in &whole.models {
        // A model that learns from one of the file is trained with it.
        let anchor = match entry.defense {
            Defense::Kd => entry.kd_teacher(),
            _ => entry.name.as_str(),
        };
        let name = family(anchor);
        match families.iter_mut().find(|f| f.name == name) {
            Some(own) => own.models.push(entry.name.clone()),
            None => families.push(Family {
                name: name.to_owned(),
                models: vec![entry.name.clone()],
            }),
        }
    }
    let mut asked: BTreeSet<String> = BTreeSet::new();
    for row in &args.rows {
        let found = matching(row, whole, &families);
        if found.is_empty() {
            let models = whole.models.iter().map(|m| m.name.as_str());
            let known: Vec<&str> = models
                .chain(families.iter().map(|f| f.name.as_str()))
                .collect();
            match nearest(row, known.iter().copied()) {
                Some(near) => bail_usage!("--rows: unknown row {row}: did you mean {near}?"),
                None => bail_usage!(
                    "--rows: unknown row {row}: the study has {}",
                    whole
                        .models
                        .iter()
                        .map(|m| m.name.as_str())
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            }
        }
        asked.extend(found);
    }
    let all = args.rows.is_empty() && args.from.is_empty() && !args.collect;
    let piece = |family: Family| Piece {
        epochs: None,
        left_out: !all && !asked.contains(&family.name),
        family: Some(family),
    };
    Ok(families.into_iter().map(piece).collect())
}

/// Name of a model's family.
fn family(model: &str) -> &str {
    let mut families = FAMILIES.iter();
    let own = families.find(|(_, models)| models.contains(&model));
    own.map_or(model, |(name, _)| *name)
}

/// Families with a row of this name: a model's, a family's, or a defence's.
fn matching(row: &str, whole: &Experiment, families: &[Family]) -> Vec<String> {
    let of = |wanted: &dyn Fn(&Family) -> bool| -> Vec<String> {
        let own = families.iter().filter(|f| wanted(f));
        own.map(|f| f.name.clone()).collect()
    };
    let has = |family: &Family, model: &str| family.models.iter().any(|m| m == model);
    let named = of(&|f: &Family| has(f, row) || f.name == row);
    if !named.is_empty() {
        return named;
    }
    of(&|f: &Family| {
        let mut models = whole.models.iter();
        models.any(|m| {
            // Without a defence of a name there are the undefended model, and whatever differs by its recipe.
            let meant = m.defense != Defense::None || m.name == BASELINE;
            m.defense.name() == row && meant && has(f, m.name.as_str())
        })
    })
}

/// Extracts from the models of runs that were asked for and are finished, draws the table of all that is there, and writes it.
///
/// # Errors
/// A run that cannot be read, or that is of other images; no run at all; a folder that cannot be written to.
pub fn made(session: &Session, study: &Study, args: &ReproduceOptions) -> Result<Made> {
    extract(session, study)?;
    let mut places: Vec<PathBuf> = Vec::new();
    for planned in study.datasets.iter().flat_map(|runs| &runs.runs) {
        if planned.report().exists() {
            state::same_experiment(planned)?;
            places.push(planned.folder.0.clone());
        }
    }
    places.extend(args.from.iter().cloned());
    if places.is_empty() {
        bail_usage!(
            "defenses: there is no finished run in {} yet: name rows that are to be made (--rows), or runs to collect (--from)",
            study.out.display()
        );
    }
    let (name, title) = study.datasets.first().map_or(("runs", "runs"), |runs| {
        (runs.dataset.name, runs.dataset.title)
    });
    let collected = Collected::read(name, title, &places, &expected(study))?;
    let stem = format!("{}-{}", What::Defenses.as_str(), study.scale.as_str());
    let save = |end: &str, content: &[u8]| -> Result<PathBuf> {
        let file = study.out.join(format!("{stem}{end}"));
        dualmd::stages::create_folder(&study.out)?;
        dualmd_files::write(&file, content)?;
        Ok(file)
    };
    let drawn = view::draw(&collected)?;
    let cells = save(
        "-cells.csv",
        &view::cells(&collected, &drawn.rows, &study.out)?,
    )?;
    let figure = save(".svg", drawn.figure.as_bytes())?;
    let outcome = outcome(drawn, format!("{stem}.svg"));
    let place = Place {
        folder: study.out.clone(),
        stem,
        what: What::Defenses.as_str(),
        of: title.to_owned(),
        scale: Some(study.scale.as_str()),
        runs: sources(name, &collected),
        sets: study.sets.clone(),
    };
    let text = outcome.text(&place.of, &[&outcome.table]);
    Ok(Made::Written {
        text,
        files: vec![outcome.write(&place)?, cells, figure],
    })
}

/// The table with its sentences, and the figure of this name.
fn outcome(drawn: Drawn, figure: String) -> Outcome {
    Outcome {
        table: drawn.table,
        heading: EQUAL,
        facts: drawn.facts,
        pictures: vec![("Privacy against quality, every defence".to_owned(), figure)],
    }
}

/// The runs that a table is made of, as its marks name them.
fn sources(name: &str, collected: &Collected) -> Vec<Source> {
    let places = collected.places.iter().enumerate();
    let source = |(i, taken): (usize, &Taken)| Source {
        dataset: name.to_owned(),
        title: format!("{}, seed {}", view::mark(i), taken.seed),
        seed: taken.seed,
        folder: taken.path.clone(),
    };
    places.map(source).collect()
}

/// The rows that the study would have: all models but the undefended one at other lengths.
fn expected(study: &Study) -> Vec<Expected> {
    let rows = study.datasets.iter().filter(|runs| {
        let family = runs.family.as_ref();
        family.is_none_or(|f| f.name != LENGTHS)
    });
    let first = rows.filter_map(|runs| runs.runs.first());
    first
        .flat_map(|planned| &planned.experiment.models)
        .map(|entry| Expected {
            name: entry.name.clone(),
            defense: entry.defense,
        })
        .collect()
}

/// `RUN/extraction/MODEL/` of every model that could be given out, where it is missing: images that the model generates, and how many
/// members are among them. A model that this cannot be done with stays without.
///
/// # Errors
/// A plan that cannot be read; a stop that was asked for.
fn extract(session: &Session, study: &Study) -> Result<()> {
    let rows = study.asked().filter(|runs| {
        let family = runs.family.as_ref();
        family.is_some_and(|f| f.name != LENGTHS)
    });
    for planned in rows.flat_map(|runs| &runs.runs) {
        let folder = &planned.folder;
        if !planned.report().exists() || !folder.0.join("models").is_dir() {
            continue;
        }
        let plan = Plan::load(&folder.plan())?;
        for target in plan.models.iter().filter(|t| can_be_drawn_from(t)) {
            let options = options(folder, &planned.experiment, target);
            if options.out.join("extraction.json").is_file() {
                continue;
            }
            session.say(&options.out.display().to_string());
            match dualmd::extract(session, &options) {
                Ok(_) => {}
                Err(error) if stopped(&error) => return Err(error),
                Err(error) => session.warn(&format!(
                    "{}: nothing was extracted from it, and its cell stays empty: {error:#}",
                    options.out.display()
                )),
            }
        }
    }
    Ok(())
}

/// Two folders are taken for a pair that alternates.
fn can_be_drawn_from(target: &Target) -> bool {
    let own = matches!(target.defense, ModelKind::Of(_));
    own && (target.parts.len() != 2 || target.defense.is(Defense::Dualmd))
}

/// How images are got out of a model of a run: as the run samples, and compared with its own split.
fn options(folder: &RunFolder, experiment: &Experiment, target: &Target) -> ExtractOptions {
    let (data, sample) = (&experiment.data, &experiment.sample);
    let side = |side: &str| format!("{}#{side}", data.source);
    let out = folder.0.join("extraction").join(&target.name);
    ExtractOptions {
        models: target.parts.iter().map(|part| folder.model(part)).collect(),
        split: Some(folder.split()),
        group_column: data.group_column.clone(),
        id_column: data.id_column.clone(),
        caption_column: data.caption_column.clone(),
        label_column: data.label_column.clone(),
        alpha: data.alpha.into(),
        images: BUDGET * sample.n,
        sampler: sample.sampler,
        steps: sample.steps,
        order: sample.order,
        weights: experiment.audit.weights,
        batch: sample.batch,
        seed: experiment.seed,
        ..ExtractOptions::new(side("member"), side("nonmember"), out)
    }
}
