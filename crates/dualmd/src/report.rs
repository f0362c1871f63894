//! The report of a folder.

use anyhow::Result;
use dualmd_audit::Report;
use std::path::{Path, PathBuf};

/// A report that was written.
#[derive(Debug)]
pub struct Written {
    /// What it says.
    pub report: Report,
    /// The page.
    pub html: PathBuf,
}

/// Builds `report.html`, `report.json` and `findings.csv` from the files of a run or an audit. No model and no image is read.
///
/// # Errors
/// A folder without scores; a file that is damaged, which the message names.
pub fn report(folder: &Path) -> Result<Written> {
    let report = dualmd_audit::build(folder)?;
    let html = dualmd_audit::write(folder, &report)?.html;
    Ok(Written { report, html })
}
