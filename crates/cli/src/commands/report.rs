//! `dualmd report` and `dualmd roc`: statistics of files.

use crate::args::{CompareArgs, FailArgs, Global, ReportArgs, RocArgs};
use crate::progress::Terminal;
use crate::session::short_session;
use anyhow::{Result, bail};
use dualmd::bail_usage;
use dualmd::choices::FailOn;
use dualmd::report::{Written, exit_code, exit_code_of};
use dualmd::reporter::Reporter;
use dualmd::stages::held::Held;
use dualmd_audit::report::Verdict;
use dualmd_files::shown;
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;

/// Rebuilds report.html, report.json and findings.csv from a run's files.
pub fn report(global: &Global, args: &ReportArgs) -> Result<ExitCode> {
    // What is not there is told by whoever reads it.
    let reporter = Terminal::new(global);
    let held = args.run.is_dir().then(|| Held::run(&args.run, &reporter));
    let _held = held.transpose()?;
    let written = dualmd::report(&args.run, args.fail.report())?;
    print(&written, &args.fail)?;
    Ok(exit([&written.report.verdict], &args.fail, &reporter))
}

/// Several audits as one report.
pub fn compare(global: &Global, args: &CompareArgs) -> Result<ExitCode> {
    let session = short_session(global)?.by(args.auditor.clone());
    let written = dualmd::compare(&session, &args.audits, &args.out, args.fail.report())?;
    print(&written, &args.fail)?;
    let verdict = [&written.report.verdict];
    Ok(exit(verdict, &args.fail, session.reporter.as_ref()))
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

/// Prints a report's table and where it is, with --summary three lines, or with --json its verdict in one line.
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
        out!("{}", written.report.terminal_table())?;
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
