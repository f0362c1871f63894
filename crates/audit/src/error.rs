//! What can go wrong when a run folder is read or a report is written.

use std::path::{Path, PathBuf};

/// Errors of this crate. Every message names the file and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A file that the report cannot do without could not be read.
    #[error("cannot read {path}: {source}; {remedy}")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A file could not be written.
    #[error(
        "cannot write {path}: {source}; check that the disk has room and that the folder may be written to"
    )]
    Write {
        /// The file that was being written.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A JSON file is damaged or has a field of another type than the contract says.
    #[error("{path} is not the JSON that is expected here: {message}; {remedy}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and what, as the parser says it.
        message: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A score file lacks a column or holds a value that cannot be used.
    #[error("{path}, line {line}, column {column}: {problem}; {remedy}")]
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
        "{path} holds no scores; run the attacks first (`dualmd attack` or `dualmd run`), then build the report"
    )]
    NoScores {
        /// The folder that was searched.
        path: PathBuf,
    },
    /// The statistics refused their input.
    #[error("{what}: {source}")]
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
    pub(crate) fn read(path: &Path, source: std::io::Error, remedy: &'static str) -> Self {
        Self::Read {
            path: path.into(),
            source,
            remedy,
        }
    }

    pub(crate) fn write(path: &Path, source: std::io::Error) -> Self {
        Self::Write {
            path: path.into(),
            source,
        }
    }
}
