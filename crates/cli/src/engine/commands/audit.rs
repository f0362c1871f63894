//! `dualmd attack` and `dualmd audit`: models trained anywhere.

use crate::asked::Asked as _;
use crate::session::{session, short_session};
use crate::signals;
use anyhow::Result;
use dualmd::audit::{attack_part, audit_part};
use dualmd_front::args::{AttackArgs, AuditArgs, Global};
use dualmd_front::commands::report;
use dualmd_front::outln;
use std::process::ExitCode;

/// Scores to a CSV file, with the description beside it; or a part of the way there.
pub fn attack(global: &Global, args: &AttackArgs) -> Result<ExitCode> {
    let (session, options) = (session(global)?, args.score.options(global));
    let done = match args.part.part {
        Some(share) => attack_part(&session, &options, &args.out, share).map(drop),
        None => dualmd::attack(&session, &options, &args.out).map(drop),
    };
    match done {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => signals::goes_on(error, &args.out, session.reporter.as_ref()),
    }
}

/// Attacks, controls and a report in a folder, of one model or several; or a part of the attacks.
pub fn audit(global: &Global, args: &AuditArgs) -> Result<ExitCode> {
    // Before hours of work, not after.
    for also in &args.fail.also {
        also.check(&args.out)?;
    }
    if args.check {
        let checked = dualmd::audit::check(&short_session(global)?, &args.options(global))?;
        if args.fail.json {
            outln!("{}", serde_json::to_string(&checked)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let lines = match args.fail.summary {
            true => checked.summary.as_slice(),
            false => checked.lines.as_slice(),
        };
        for line in lines {
            outln!("{line}")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let session = session(global)?.by(args.auditor.clone());
    let (options, reporter) = (args.options(global), session.reporter.as_ref());
    if let Some(share) = args.part.part {
        return match audit_part(&session, &options, share) {
            Ok(_) => Ok(ExitCode::SUCCESS),
            Err(error) => signals::goes_on(error, &args.out, reporter),
        };
    }
    let written = match dualmd::audit(&session, &options) {
        Ok(written) => written,
        Err(error) => return signals::goes_on(error, &args.out, reporter),
    };
    report::print(&written, &args.fail)?;
    let verdict = [&written.report.verdict];
    Ok(report::exit(verdict, &args.fail, reporter))
}
