//! The readers of this crate's own file formats, for the fuzzers (`crates/fuzz`), which cannot reach what is private.

use std::path::Path;

use crate::experiment::Experiment;
use crate::plan::Plan;

/// Reads an experiment file's text with `sets` (`a.b=value`) over it, and writes it out again as a run folder keeps it.
///
/// # Errors
/// What the program would print.
pub fn experiment(text: &str, sets: &[String]) -> Result<(), String> {
    let words = |error: anyhow::Error| format!("{error:#}");
    let experiment = Experiment::parse(text, "input", sets).map_err(words)?;
    experiment.model.overrides().map_err(words)?;
    experiment.to_toml().map(drop).map_err(words)
}

/// Reads the `plan.json` of a run that is to go on.
///
/// # Errors
/// What the program would print.
pub fn plan(path: &Path) -> Result<(), String> {
    Plan::load(path)
        .map(|plan| drop(plan.describe()))
        .map_err(|error| format!("{error:#}"))
}
