//! `dualmd report` and `dualmd roc`: statistics of files.

use crate::args::{ReportArgs, RocArgs};
use crate::stages::held::Held;
use anyhow::{Result, bail};
use std::path::Path;
use std::process::ExitCode;

/// Rebuilds report.html, report.json and findings.csv from a run's files.
pub fn report(args: &ReportArgs) -> Result<ExitCode> {
    // What is not there is told by whoever reads it.
    let _held = args
        .run
        .is_dir()
        .then(|| Held::run(&args.run))
        .transpose()?;
    write(&args.run)?;
    Ok(ExitCode::SUCCESS)
}

/// Builds and writes the report, prints its table and where it is.
pub fn write(run: &Path) -> Result<()> {
    let report = dualmd_audit::build(run)?;
    let written = dualmd_audit::write(run, &report)?;
    out!("{}", report.terminal_table())?;
    outln!("report: {}", written.html.display())?;
    Ok(())
}

/// Statistics of any score file.
pub fn roc(args: &RocArgs) -> Result<ExitCode> {
    let scores = dualmd_audit::read_scores(&args.scores)?;
    if scores.rows.is_empty() {
        bail!(
            "{}: holds no scores: below the header a row for each sample is expected",
            dualmd_files::shown(&args.scores)
        );
    }
    let table = match args.compat {
        Some(rule) => dualmd_audit::compat_table(&scores, rule, &args.fpr, args.json)?,
        None => dualmd_audit::roc_table(&scores, &args.fpr, args.json)?,
    };
    out!("{table}")?;
    Ok(ExitCode::SUCCESS)
}
