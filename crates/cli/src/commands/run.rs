//! `dualmd run` and `dualmd demo`: all stages of an experiment.

use super::report;
use crate::args::{Global, RunArgs};
use crate::session::session;
use crate::signals;
use anyhow::Result;
use dualmd::choices::Stage;
use dualmd::launcher::Program;
use dualmd::reporter::duration;
use dualmd::{RunOptions, Session, bail_usage};
use dualmd_reproduce::own_frontier;
use dualmd_torch::ranks::Place;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

/// Runs, or goes on with, an experiment.
pub fn run(global: &Global, args: &RunArgs) -> Result<ExitCode> {
    let began = Instant::now();
    let (source, out) = args.resolve()?;
    if args.until < Stage::Report && !args.fail.fail_on.is_empty() {
        bail_usage!(
            "--fail-on is about the report, which --until {} leaves out",
            args.until
        );
    }
    if args.seeds > 1 && !args.fail.also.is_empty() {
        bail_usage!(
            "--also: {} seeds have a report each, which would all be written to one place: `dualmd report RUN/seed-S --also ...` writes one",
            args.seeds
        );
    }
    let name = source.name();
    let options = RunOptions {
        source,
        sets: args.set.iter().cloned().chain(global.sets()).collect(),
        out,
        until: args.until,
        seeds: args.seeds,
        report: args.fail.report(),
    };
    if let Ok(Some(place)) = Place::read(|name| std::env::var(name).ok())
        && place.world > 1
    {
        bail_usage!(
            "{} started {} processes, and `dualmd run` is one: start `dualmd train ... --model NAME` with it, or `dualmd run --ranks {}` alone",
            place.launcher,
            place.world,
            place.local_world
        );
    }
    let session = Session {
        launcher: Arc::new(Program::this()?.with_ranks(args.ranks)),
        ..session(global)?.by(args.auditor.clone())
    };
    let Some(ran) = dualmd::run(&session, &options)? else {
        return Ok(signals::stopped(&options.out, session.reporter.as_ref()));
    };
    if args.until < Stage::Report {
        return Ok(ExitCode::SUCCESS);
    }
    for run in &ran.runs {
        if let Some(report) = &run.report {
            report::print(report, &args.fail)?;
        }
    }
    if let Some(path) = own_frontier(&options.out, &name, &ran.runs, &args.set)? {
        let said = format!("privacy against quality: {}", path.display());
        match args.fail.json {
            true => session.say(&said),
            false => outln!("{said}")?,
        }
    }
    session.say(&format!("all in {}", duration(began.elapsed())));
    let verdicts = ran.runs.iter().filter_map(|run| run.report.as_ref());
    Ok(report::exit(
        verdicts.map(|written| &written.report.verdict),
        &args.fail,
        session.reporter.as_ref(),
    ))
}
