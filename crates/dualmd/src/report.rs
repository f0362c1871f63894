//! The report of a folder.

use anyhow::Result;
use dualmd_audit::Report;
use std::path::{Path, PathBuf};

/// What a report holds.
#[derive(Debug, Clone, Copy)]
pub struct ReportOptions {
    /// Pictures, texts, and which members are exposed most. Without them it can leave the house.
    pub images: bool,
}

impl Default for ReportOptions {
    fn default() -> Self {
        Self { images: true }
    }
}

/// A report that was written.
#[derive(Debug)]
pub struct Written {
    /// What it says.
    pub report: Report,
    /// The page.
    pub html: PathBuf,
    /// The same for programs.
    pub json: PathBuf,
}

/// Builds `report.html`, `report.json` and `findings.csv` from the files of a run or an audit. No model and no image is read.
///
/// # Errors
/// A folder without scores; a file that is damaged, which the message names.
pub fn report(folder: &Path, options: ReportOptions) -> Result<Written> {
    let mut report = dualmd_audit::build(folder)?;
    if !options.images {
        report = report.without_images();
    }
    let dualmd_audit::Written { html, json, .. } = dualmd_audit::write(folder, &report)?;
    Ok(Written { report, html, json })
}
