//! `dualmd attack` and `dualmd audit`: models trained anywhere.

use super::report;
use crate::args::{AttackArgs, AuditArgs, Global};
use crate::session::{session, short_session};
use anyhow::Result;
use std::process::ExitCode;

/// Scores to a CSV file, with the description beside it.
pub fn attack(global: &Global, args: &AttackArgs) -> Result<ExitCode> {
    dualmd::attack(&session(global)?, &args.score.options(global), &args.out)?;
    Ok(ExitCode::SUCCESS)
}

/// Attacks, controls and a report in a folder, of one model or several.
pub fn audit(global: &Global, args: &AuditArgs) -> Result<ExitCode> {
    if args.check {
        for line in dualmd::audit::check(&short_session(global)?, &args.options(global))? {
            outln!("{line}")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let session = session(global)?.by(args.auditor.clone());
    let written = dualmd::audit(&session, &args.options(global))?;
    report::print(&written, &args.fail)?;
    let verdict = [&written.report.verdict];
    Ok(report::exit(verdict, &args.fail, session.reporter.as_ref()))
}
