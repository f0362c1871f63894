//! From the files of a run folder to a report that a person can read.
//!
//! Everything here works on files: scores, plan, split, logs, pictures. There are no tensors and no models, so a report
//! can be rebuilt anywhere, years later, and by someone who only holds the scores.
//!
//! | module | what it does |
//! |---|---|
//! | [`scores`] | reads and writes `scores.csv` |
//! | [`files`] | the other files of a run as types |
//! | `run`, `disk` | reads a folder leniently; embeds pictures; writes atomically |
//! | `measure` | every call to the statistics crate, and what counts as a finding of one attack |
//! | [`conclusion`] | what follows for a model: the one rule that all sections, files and exit codes state |
//! | `integrity` | do scores, split and models belong together? |
//! | `findings`, `compare` | joins files and statistics into a [`Report`] |
//! | `catalogue` | which attacks can be run on a model, from the facts of `dualmd_names` |
//! | `samples` | which samples several attacks have in common |
//! | `merged` | several audits of the same images as one report |
//! | `chosen` | the best attack, chosen on one half and measured on the other; how many images prove use |
//! | `halves` | which samples chose and which reported: drawn from ids, or noted where these are sealed |
//! | `epsilon` | lower bounds on epsilon, from a transferred threshold and from coin flips |
//! | `repeats` | one recipe trained several times |
//! | `compat` | what the public codes would have printed |
//! | `controls` | would the audit see a leak where there is none? |
//! | [`release`] | what weights, queries and generated images give away, and what to do |
//! | `verdict`, `untested`, `words` | the numbers in words, and what they are silent on |
//! | `table`, `terminal` | terminal, CSV and `dualmd roc` |
//! | `edpb` | what EDPB Opinion 28/2024 asks for, and what an audit answers |
//! | `html` | the page |
//! | `places` | a report without the places of folders and files |
//! | [`facts`] | single facts of a report, as people read them |
//!
//! ```no_run
//! # fn main() -> dualmd_audit::Result<()> {
//! let run = std::path::Path::new("runs/demo");
//! let report = dualmd_audit::build(run)?;
//! print!("{}", report.terminal_table());
//! let written = dualmd_audit::write(run, &report)?;
//! println!("{}", written.html.display());
//! # Ok(()) }
//! ```

#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

mod captions;
mod catalogue;
pub mod cells;
mod chosen;
mod compare;
mod compat;
pub mod conclusion;
mod controls;
mod disk;
mod edpb;
mod epochs;
mod epsilon;
mod error;
pub mod facts;
pub mod files;
mod findings;
pub mod format;
mod grouped;
mod halves;
mod html;
mod integrity;
mod measure;
mod merged;
mod places;
pub mod release;
mod repeats;
pub mod report;
mod run;
mod samples;
pub mod scores;
mod table;
mod terminal;
mod untested;
mod verdict;
mod words;

use std::path::{Path, PathBuf};

pub use disk::{Png, is_plain_name};
pub use error::{AuditError, Result};
pub use findings::with_halves;
pub use html::page;
pub use merged::{compare, stem};
pub use release::UNSEEN;
pub use report::{Conclusion, Finding, Report, View};
pub use run::HALVES;
pub use scores::{ScoreRow, ScoresFile, read_scores, write_scores};
pub use table::{compat_table, roc_findings, roc_table};
pub use untested::{NotRun, not_run};

/// Where a report was written.
#[derive(Debug, Clone)]
pub struct Written {
    /// `report.html`: one file, no network.
    pub html: PathBuf,
    /// `report.json`: schema 1.
    pub json: PathBuf,
    /// `findings.csv`: one row per model, attack and set of members.
    pub csv: PathBuf,
}

/// Reads a run folder and computes everything the report says.
///
/// # Errors
/// When the folder cannot be read, `plan.json` or a score file is damaged, or there are no scores. Other files may be
/// missing: the report says what it lacks.
pub fn build(run_dir: &Path) -> Result<Report> {
    findings::assemble(files::RunFiles::read(run_dir)?)
}

/// Version of `report.json`; fields may be added without changing it.
pub(crate) const SCHEMA: u32 = 1;

/// Reads a `report.json`. It has no pictures and no curves.
///
/// # Errors
/// The file cannot be read, is damaged, or was written by a newer version of this program.
pub fn read(report: &Path) -> Result<Report> {
    let bytes = dualmd_files::read(report, dualmd_files::limit::TABLE)
        .map_err(|e| AuditError::read(e, "name the report.json of a run folder"))?;
    dualmd_record::check_version(&bytes, SCHEMA)
        .and_then(|()| Ok(serde_json::from_slice(&bytes)?))
        .map_err(|e| AuditError::Json {
            path: report.into(),
            message: e.to_string(),
            remedy: "write it again with `dualmd report FOLDER`",
        })
}

/// The JSON schema of `report.json`.
#[must_use]
pub fn schema() -> dualmd_record::schemas::Schema {
    dualmd_record::schemas::other::<Report>("report", "report.json")
}

/// Writes `report.json`, `findings.csv` and `report.html` into the run folder, each atomically.
///
/// # Errors
/// When a file cannot be written.
pub fn write(run_dir: &Path, report: &Report) -> Result<Written> {
    let written = Written {
        html: run_dir.join("report.html"),
        json: run_dir.join("report.json"),
        csv: run_dir.join("findings.csv"),
    };
    let json = serde_json::to_vec_pretty(report)
        .map_err(|e| AuditError::write(&written.json, e.into()))?;
    disk::write(&written.csv, report.findings_csv().as_bytes())?;
    disk::write(&written.html, html::page(report).as_bytes())?;
    // Last: a run that has it is taken for finished.
    disk::write(&written.json, &json)?;
    Ok(written)
}
