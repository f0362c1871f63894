//! The report of a folder, and several reports as one.

use crate::session::Session;
use crate::{bail_usage, machine};
use anyhow::Result;
use dualmd_files::shown;
use std::path::{Path, PathBuf};

pub use dualmd_runs::report::*;

/// Several audits, or runs, of the same images as one report in a new folder; `audits` with the names that they have in it, or none: those
/// of their folders.
///
/// # Errors
/// As [`dualmd_audit::compare`]; a folder `out` that holds a run or an audit.
pub fn compare(
    session: &Session,
    audits: &[(Option<String>, PathBuf)],
    out: &Path,
    options: ReportOptions,
) -> Result<Written> {
    if out.join("plan.json").exists() || out.join("scores").exists() {
        bail_usage!(
            "{} holds a run or an audit, whose report a comparison would overwrite: choose another folder (-o)",
            shown(out)
        );
    }
    let named: Vec<(String, PathBuf)> = audits
        .iter()
        .map(|(name, folder)| {
            let name = name.clone().unwrap_or_else(|| dualmd_audit::stem(folder));
            (name, folder.clone())
        })
        .collect();
    let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
    let made = serde_json::Map::from_iter([
        ("name".to_owned(), names.join(", ").into()),
        ("created".to_owned(), machine::now().into()),
        ("command".to_owned(), session.command.clone().into()),
        (
            "versions".to_owned(),
            serde_json::to_value(machine::versions())?,
        ),
        ("auditor".to_owned(), session.auditor.clone().into()),
    ]);
    let report = dualmd_audit::compare(&named, made)?;
    write(out, report, options)
}
