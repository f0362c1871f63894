//! The report of a folder, and several reports as one.

use crate::machine;
use crate::session::Session;
use anyhow::Result;
use std::path::{Path, PathBuf};

pub use dualmd_runs::report::{
    Maker, ReportOptions, Written, exit_code, exit_code_of, report, write,
};

/// Several audits, or runs, of the same images as one report in a new folder; `audits` with the names that they have in it, or none: those
/// of their folders.
///
/// # Errors
/// As [`dualmd_runs::report::compare`].
pub fn compare(
    session: &Session,
    audits: &[(Option<String>, PathBuf)],
    out: &Path,
    options: ReportOptions,
) -> Result<Written> {
    let maker = Maker {
        command: session.command.clone(),
        auditor: session.auditor.clone(),
        versions: machine::versions(),
    };
    dualmd_runs::report::compare(&maker, audits, out, options)
}
