//! `dualmd lira`: the likelihood-ratio attack with the whole pipeline as the shadow.

use crate::session::session;
use crate::signals;
use anyhow::Result;
use dualmd::LiraOptions;
use dualmd::reporter::duration;
use dualmd_front::args::{FailArgs, Global, LiraArgs};
use dualmd_front::commands::report;
use dualmd_front::outln;
use dualmd_front::output::lines;
use std::process::ExitCode;
use std::time::Instant;

/// Trains the shadows, attacks, and prints what came of it.
pub fn lira(global: &Global, args: &LiraArgs) -> Result<ExitCode> {
    let began = Instant::now();
    let (source, out) = args.resolve()?;
    let options = LiraOptions {
        source,
        sets: args.set.iter().cloned().chain(global.sets()).collect(),
        out,
        models: args.models,
        targets: args.targets,
        pool: args.pool,
        jobs: args.jobs,
    };
    let session = session(global)?.by(args.auditor.clone());
    if args.prepare {
        let runs = dualmd::lira::prepare(&session, &options)?;
        session.say(&format!(
            "{runs} runs are prepared in {}: `dualmd work` on it trains them",
            options.out.display()
        ));
        return Ok(ExitCode::SUCCESS);
    }
    let Some(repeated) = dualmd::lira(&session, &options)? else {
        return Ok(signals::stopped(&options.out, session.reporter.as_ref()));
    };
    if args.json {
        // As a value, whose keys are in alphabetical order as in the file.
        let found = serde_json::to_value(&repeated.lira)?;
        outln!("{found}")?;
        return Ok(ExitCode::SUCCESS);
    }
    for written in &repeated.reports {
        report::print(written, &FailArgs::default())?;
    }
    lines(repeated.lines())?;
    session.say(&format!("all in {}", duration(began.elapsed())));
    Ok(ExitCode::SUCCESS)
}
