//! `dualmd report` and `dualmd roc`: statistics of files.

use crate::args::{CompareArgs, FailArgs, Global, ReportArgs, RocArgs};
use crate::progress::Terminal;
use crate::session::short_session;
use anyhow::{Result, bail};
use dualmd::bail_usage;
use dualmd::choices::FailOn;
use dualmd::report::Written;
use dualmd::reporter::Reporter;
use dualmd::stages::held::Held;
use dualmd_audit::Finding;
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

/// Exit code where a finding was named with `--fail-on`.
const FOUND: u8 = 3;
/// Exit code where `void` was and the report is.
const VOID: u8 = 4;

/// Tells programs what was found, and gives the exit code of reports: 3 if one has a finding that `--fail-on` names, else 4 if it names void and one is void, else 0. The
/// reason goes to stderr.
pub fn exit<'a>(
    verdicts: impl IntoIterator<Item = &'a Verdict>,
    fail: &FailArgs,
    reporter: &dyn Reporter,
) -> ExitCode {
    let verdicts: Vec<&Verdict> = verdicts.into_iter().collect();
    let asked = |finding| names(&fail.fail_on, finding);
    let mut code = 0;
    for model in verdicts.iter().flat_map(|v| &v.models) {
        reporter.concluded(&model.model, model.finding.name());
    }
    for model in verdicts.iter().flat_map(|v| &v.models) {
        if model.finding != Finding::Void && asked(model.finding) {
            reporter.warn(&format!(
                "--fail-on: {}: {}",
                shown(&model.model),
                model.conclusion.words()
            ));
            code = FOUND;
        }
    }
    let void = verdicts.iter().any(|v| v.void.is_some());
    if void && asked(Finding::Void) {
        reporter.warn("--fail-on: the report is void");
        code = if code == 0 { VOID } else { code };
    } else if void && !fail.fail_on.is_empty() {
        reporter.warn(
            "warning: the report is void, so that --fail-on could find nothing in it; name void as well",
        );
    }
    ExitCode::from(code)
}

fn names(fail_on: &[FailOn], finding: Finding) -> bool {
    fail_on.iter().any(|f| match f {
        FailOn::Leak => finding == Finding::Leak,
        FailOn::Inverted => finding == Finding::Inverted,
        FailOn::Set => finding == Finding::Set,
        FailOn::Copies => finding == Finding::Copies,
        FailOn::Void => finding == Finding::Void,
    })
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
    let (mut code, reporter) = (0, Terminal::new(global));
    for (attack, finding) in dualmd_audit::roc_findings(&scores)? {
        if names(&args.fail_on, finding) {
            reporter.warn(&format!(
                "--fail-on: {}: {}",
                shown(&attack),
                finding.words()
            ));
            code = FOUND;
        }
    }
    Ok(ExitCode::from(code))
}
