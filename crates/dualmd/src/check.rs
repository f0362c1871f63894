//! What a run would do, what it would take, and what speaks against beginning: found out in seconds, before hours of work.

mod begun;
mod known;
mod outline;
mod place;
mod steps;
mod sums;
mod timed;
mod total;
mod words;

use crate::choices::Stage;
use crate::experiment::Experiment;
use crate::run::{RunOptions, folders};
use crate::session::Session;
use crate::stages::{RunFolder, beforehand};
use anyhow::Result;
use dualmd_files::shown;
use dualmd_record::run_check::{RunCheck, VERSION};
use known::Known;
use std::path::PathBuf;
use timed::Timed;

/// What was found out.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// All of it.
    pub found: RunCheck,
}

impl Checked {
    /// In lines for people: problems first, then what it takes.
    pub fn lines(&self) -> Vec<String> {
        words::lines(&self.found)
    }

    /// In three lines: what would be done, what it takes, what to look at.
    pub fn summary(&self) -> [String; 3] {
        words::summary(&self.found)
    }
}

/// Looks at the folder of a run, reads its images where that takes seconds, and times a few network calls and a few steps of every kind
/// of training: what would stop the run, and about how long it takes, how much memory and disk. Nothing is written. The number of threads
/// of the session's engine is set for libtorch at the end.
///
/// # Errors
/// An experiment that cannot be read, with the key that is wrong; nothing else could be checked then. All other trouble is in
/// [`RunCheck::problems`].
pub fn check(session: &Session, options: &RunOptions) -> Result<Checked> {
    let experiment = Experiment::load(&options.source, &options.sets)?;
    let mut found = RunCheck {
        schema: VERSION,
        folder: shown(&options.out).to_string(),
        seeds: options.seeds,
        ..RunCheck::default()
    };
    let (run, there) = folder(options, &experiment, &mut found);
    let known = Known::of(&experiment, &run, there.as_deref(), session, &mut found);
    if let Some(known) = known {
        if options.until >= Stage::Sample
            && let Err(error) =
                beforehand::networks(&run, &known.plan, known.shape, session.engine.device)
        {
            found.problems.push(told(&error));
        }
        let timed = Timed::of(
            &experiment,
            &run,
            &known,
            options.until,
            session,
            &mut found,
        );
        dualmd_torch::device::set_threads(session.engine.threads);
        if let Some(timed) = timed {
            total::estimated(&run, &known, &timed, options, there.as_deref(), &mut found);
        }
    }
    found.problems.dedup();
    Ok(Checked { found })
}

/// An error on one line.
fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text.replace('\n', " ")
}

/// The folder of the first run, and one on its disk that is there, in which a file can be made.
fn folder(
    options: &RunOptions,
    experiment: &Experiment,
    found: &mut RunCheck,
) -> (RunFolder, Option<PathBuf>) {
    let mut all: Vec<PathBuf> = match folders(&options.out, experiment.seed, options.seeds) {
        Ok(runs) => runs.into_iter().map(|(_, folder)| folder).collect(),
        Err(error) => {
            found.problems.push(told(&error));
            vec![options.out.clone()]
        }
    };
    if options.seeds > 1 {
        all.push(options.out.clone());
        found.unchecked.push(format!(
            "images and what the folder holds of the {} runs after the first: other seeds draw other images of the same source",
            options.seeds - 1
        ));
    }
    let mut there = None;
    for folder in &all {
        match place::usable(folder) {
            Ok(usable) => {
                there.get_or_insert(usable);
            }
            Err(problem) if !found.problems.contains(&problem) => found.problems.push(problem),
            Err(_) => {}
        }
    }
    let first = all.into_iter().next();
    let first = first.unwrap_or_else(|| options.out.clone());
    (RunFolder(first), there)
}
