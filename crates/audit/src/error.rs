//! What can go wrong when a run folder is read or a report is written.

use dualmd_files::shown;
use std::path::{Path, PathBuf};

/// Errors of this crate. Every message names the file and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A file that the report cannot do without could not be read.
    #[error("{cause}; {remedy}")]
    Read {
        /// Which file or folder, and why.
        cause: dualmd_files::Error,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A file could not be written.
    #[error("{0}; check that the disk has room and that the folder may be written to")]
    Write(dualmd_files::Error),
    /// A JSON file is damaged or has a field of another type than the contract says.
    #[error(
        "{} is not the JSON that is expected here: {}; {remedy}",
        shown(path),
        shown(message)
    )]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and what, as the parser says it.
        message: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A score file lacks a column or holds a value that cannot be used.
    #[error(
        "{}, line {line}, column {}: {}; {remedy}",
        shown(path),
        shown(column),
        shown(problem)
    )]
    Scores {
        /// The file.
        path: PathBuf,
        /// Line number, counted from 1 (the header).
        line: u64,
        /// Name of the column.
        column: String,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// There is nothing to report on.
    #[error(
        "{} holds no scores; run the attacks first (`dualmd attack` or `dualmd run`), then build the report",
        shown(path)
    )]
    NoScores {
        /// The folder that was searched.
        path: PathBuf,
    },
    /// Audits that cannot stand beside each other.
    #[error("{}; {}", shown(problem), shown(remedy))]
    Compared {
        /// What is wrong.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// A file or folder that is no evidence, or none that may be used or written.
    #[error("{}: {}; {remedy}", shown(path), shown(problem))]
    Evidence {
        /// Which one.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A salt, or the key to an image, that is none or not the right one.
    #[error("{}; {remedy}", shown(problem))]
    Salt {
        /// What is wrong.
        problem: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The statistics refused their input.
    #[error("{}: {source}", shown(what))]
    Stats {
        /// Which scores were being summarised.
        what: String,
        /// Why they were refused.
        source: dualmd_stats::StatsError,
    },
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, AuditError>;

impl AuditError {
    /// A file that cannot be written.
    pub fn write(path: &Path, source: std::io::Error) -> Self {
        Self::Write(dualmd_files::Error::Io {
            doing: "write",
            path: path.into(),
            source,
        })
    }

    /// A file that cannot be read, and what to do about it.
    pub fn read(cause: dualmd_files::Error, remedy: &'static str) -> Self {
        Self::Read { cause, remedy }
    }
}
