//! The commands that need no libtorch.

pub mod list;
pub mod program;
pub mod report;
pub mod verify;

use crate::Build;
use crate::args::{About, Global, Reading};
use anyhow::Result;
use std::process::ExitCode;

/// Reads files of runs and audits, and says what they come to.
///
/// # Errors
/// Files that are missing or damaged; what cannot be written.
pub fn reading(global: &Global, command: &Reading, build: &Build) -> Result<ExitCode> {
    match command {
        Reading::Roc(roc) => report::roc(global, roc),
        Reading::Report(report) => report::report(global, report),
        Reading::Compare(compare) => report::compare(global, compare, build.versions()),
        Reading::Verify(asked) => verify::verify(global, asked),
    }
}

/// Says or writes what is known of the program.
///
/// # Errors
/// What is no preset; what cannot be written.
pub fn about(command: &About, build: &Build) -> Result<ExitCode> {
    match command {
        About::New(new) => program::new(new),
        About::Completions(asked) => program::completions(asked.shell, build.version),
        About::Man(man) => program::man(&man.folder, build.version),
        About::List(asked) => list::list(asked),
    }
}
