//! `dualmd run` and `dualmd demo`: all stages of an experiment.

use crate::session::{session, short_session};
use crate::signals;
use anyhow::Result;
use dualmd::check::Checked;
use dualmd::choices::Stage;
use dualmd::launcher::{Launcher, Program, Spread};
use dualmd::reporter::duration;
use dualmd::run::Ran;
use dualmd::{RunOptions, Session, bail_usage};
use dualmd_front::args::{FailArgs, Global, RunArgs, Workers};
use dualmd_front::commands::report;
use dualmd_front::outln;
use dualmd_front::output::lines;
use dualmd_reproduce::own_frontier;
use dualmd_torch::ranks::Place;
use std::path::Path;
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
    // Before hours of work, not after.
    for also in &args.fail.also {
        also.check(&out)?;
    }
    let name = source.name();
    let options = RunOptions {
        source,
        sets: (args.set.iter().cloned().chain(global.sets()))
            .chain(args.jobs())
            .collect(),
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
    if args.check {
        let checked = dualmd::check(&short_session(global)?, &options)?;
        return told(&checked, &args.fail);
    }
    let session = session(global)?.by(args.auditor.clone());
    let session = Session {
        launcher: launcher(args, &session)?,
        ..session
    };
    let Some(ran) = dualmd::run(&session, &options)? else {
        return Ok(signals::stopped(&options.out, session.reporter.as_ref()));
    };
    if args.until < Stage::Report {
        return Ok(ExitCode::SUCCESS);
    }
    let told = Told {
        name: &name,
        out: &options.out,
        sets: &args.set,
        fail: &args.fail,
        began,
    };
    told.of(&ran, &session)
}

/// How the trainings are started.
fn launcher(args: &RunArgs, session: &Session) -> Result<Arc<dyn Launcher>> {
    let program = Program::this()?.with_ranks(args.ranks);
    let Some(Workers::On(devices)) = &args.workers else {
        return Ok(Arc::new(program));
    };
    if args.ranks > 1 {
        bail_usage!(
            "--workers gives each training one GPU, and with --ranks {} each has several: leave out one of the two",
            args.ranks
        );
    }
    if !session.engine.device.is_cuda() {
        bail_usage!(
            "--workers {}: the run is planned for {} (--device), and GPUs calculate otherwise: name a GPU there, too",
            devices.join(","),
            session.engine.device_name()
        );
    }
    for device in devices {
        dualmd_torch::device::parse(device)?;
    }
    Ok(Arc::new(Spread::over(program, devices.clone())))
}

/// Prints what was found out before a run; the code to leave with says whether something would stop it.
pub(super) fn told(checked: &Checked, how: &FailArgs) -> Result<ExitCode> {
    if how.json {
        outln!("{}", serde_json::to_string_pretty(&checked.found)?)?;
    } else if how.summary {
        lines(checked.summary())?;
    } else {
        lines(checked.lines())?;
    }
    Ok(match checked.found.problems.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// What is told of runs that are done.
pub(super) struct Told<'a> {
    /// The experiment.
    pub(super) name: &'a str,
    /// The folder.
    pub(super) out: &'a Path,
    /// What was changed in the experiment.
    pub(super) sets: &'a [String],
    /// The report.
    pub(super) fail: &'a FailArgs,
    /// When the command began.
    pub(super) began: Instant,
}

impl Told<'_> {
    /// Prints the verdicts, writes the frontier, and gives the code to leave with.
    pub(super) fn of(&self, ran: &Ran, session: &Session) -> Result<ExitCode> {
        for run in &ran.runs {
            if let Some(report) = &run.report {
                report::print(report, self.fail)?;
            }
        }
        self.frontier(ran, session)?;
        session.say(&format!("all in {}", duration(self.began.elapsed())));
        let verdicts = ran.runs.iter().filter_map(|run| run.report.as_ref());
        Ok(report::exit(
            verdicts.map(|written| &written.report.verdict),
            self.fail,
            session.reporter.as_ref(),
        ))
    }

    fn frontier(&self, ran: &Ran, session: &Session) -> Result<()> {
        let Some(path) = own_frontier(self.out, self.name, &ran.runs, self.sets)? else {
            return Ok(());
        };
        let said = format!("privacy against quality: {}", path.display());
        match self.fail.json {
            true => session.say(&said),
            false => outln!("{said}")?,
        }
        Ok(())
    }
}
