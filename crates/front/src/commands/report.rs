//! `dualmd report`, `compare` and `roc`: statistics of files; and how every command prints a report.

use crate::args::{CompareArgs, FailArgs, Global, ReportArgs, RocArgs};
use crate::output;
use crate::progress::Terminal;
use anyhow::{Result, bail};
use dualmd_audit::report::Verdict;
use dualmd_experiment::bail_usage;
use dualmd_experiment::choices::FailOn;
use dualmd_experiment::plan::Versions;
use dualmd_files::shown;
use dualmd_runs::held::Held;
use dualmd_runs::report::{Maker, Written, exit_code, exit_code_of};
use dualmd_runs::reporter::{Reporter, meanwhile};
use dualmd_runs::{machine, report};
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;

/// Rebuilds report.html, report.json and findings.csv from a run's files.
///
/// # Errors
/// Files that are missing or damaged; another process works in the folder.
pub fn report(global: &Global, args: &ReportArgs) -> Result<ExitCode> {
    // What is not there is told by whoever reads it.
    let reporter = Terminal::new(global);
    let held = args.run.is_dir().then(|| Held::run(&args.run, &reporter));
    let _held = held.transpose()?;
    let mut options = args.fail.report();
    // What was made to be passed on does not get its images back by the way.
    if options.images && !args.with_images && report::is_redacted(&args.run) {
        options.images = false;
        reporter.warn(&format!(
            "note: the report in {} was written without images and stays so (--with-images puts them back)",
            shown(&args.run)
        ));
    }
    let written = meanwhile(&reporter, "", "report", || {
        report::report(&args.run, options)
    })?;
    print(&written, &args.fail)?;
    Ok(exit([&written.report.verdict], &args.fail, &reporter))
}

/// Several audits as one report, made by a program of these versions.
///
/// # Errors
/// Audits of other images; files that are missing or damaged; a folder that cannot be written to.
pub fn compare(global: &Global, args: &CompareArgs, versions: Versions) -> Result<ExitCode> {
    let maker = Maker {
        command: machine::call(),
        auditor: args.auditor.clone(),
        versions,
    };
    let reporter = Terminal::new(global);
    let another = report::holds_another(&args.out, &maker);
    let written = meanwhile(&reporter, "", "report", || {
        report::compare(&maker, &args.audits, &args.out, args.fail.report())
    })?;
    if another {
        reporter.warn(&format!(
            "warning: {} held an earlier comparison, made by another command: its report was written over (-o names another folder)",
            shown(&args.out)
        ));
    }
    print(&written, &args.fail)?;
    let verdict = [&written.report.verdict];
    Ok(exit(verdict, &args.fail, &reporter))
}

/// Of a report, for programs.
#[derive(Serialize)]
struct Concluded<'a> {
    /// The page.
    html: &'a Path,
    /// All of it.
    json: &'a Path,
    /// As in report.json.
    verdict: &'a Verdict,
}

/// Prints a report's table, as wide as the terminal has room for, and where it is, with --summary three lines, or with --json its verdict in one line.
///
/// # Errors
/// What cannot be written.
pub fn print(written: &Written, how: &FailArgs) -> Result<()> {
    for also in &how.also {
        also.write(&written.report)?;
    }
    if how.json {
        let concluded = Concluded {
            html: &written.html,
            json: &written.json,
            verdict: &written.report.verdict,
        };
        return outln!("{}", serde_json::to_string(&concluded)?);
    }
    if how.summary {
        for line in written.report.summary() {
            outln!("{line}")?;
        }
    } else {
        out!("{}", written.report.terminal_table_in(output::columns()))?;
    }
    outln!("report: {}", written.html.display())
}

/// The exit code of reports, as `--fail-on` asks for it.
pub fn exit<'a>(
    verdicts: impl IntoIterator<Item = &'a Verdict>,
    fail: &FailArgs,
    reporter: &dyn Reporter,
) -> ExitCode {
    ExitCode::from(exit_code(verdicts, &fail.fail_on, reporter))
}

/// Statistics of any score file.
///
/// # Errors
/// A file that holds no scores; a finding that scores alone say nothing about.
pub fn roc(global: &Global, args: &RocArgs) -> Result<ExitCode> {
    for what in &args.fail_on {
        if !matches!(what, FailOn::Leak | FailOn::Inverted) {
            bail_usage!(
                "--fail-on {what}: scores alone say nothing about that; `dualmd roc` knows leak and inverted"
            );
        }
    }
    let scores = dualmd_audit::read_scores(&args.scores)?;
    if scores.rows.is_empty() {
        bail!(
            "{}: holds no scores: below the header a row for each sample is expected",
            shown(&args.scores)
        );
    }
    let table = match args.compat {
        Some(rule) => dualmd_audit::compat_table(&scores, rule, &args.fpr, args.json)?,
        None => dualmd_audit::roc_table(&scores, &args.fpr, args.json)?,
    };
    out!("{table}")?;
    if args.fail_on.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let findings = dualmd_audit::roc_findings(&scores)?;
    let found = findings
        .iter()
        .map(|(attack, finding)| (attack.as_str(), *finding, finding.words()));
    let code = exit_code_of(found, &args.fail_on, &Terminal::new(global));
    Ok(ExitCode::from(code))
}
