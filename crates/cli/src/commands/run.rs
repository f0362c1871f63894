//! `dualmd run` and `dualmd demo`: all stages of an experiment.

use crate::args::{Global, RunArgs};
use crate::choices::{Dtype, Stage};
use crate::engine::Engine;
use crate::experiment::Experiment;
use crate::progress::duration;
use crate::stages::{RunFolder, attack, prepare, sample, train, trainings, utility};
use crate::{machine, signals};
use anyhow::{Context, Result};
use dualmd_torch::device::Precision;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// Runs, or goes on with, an experiment.
pub fn run(global: &Global, args: &RunArgs) -> Result<ExitCode> {
    let began = Instant::now();
    let (source, out) = args.resolve()?;
    let sets: Vec<String> = args.set.iter().cloned().chain(global.sets()).collect();
    let experiment = Experiment::load(&source, &sets)?;
    let run = RunFolder(out);
    let stop = signals::stop_flag()?;
    if !stages(global, &experiment, &run, args.until, &stop)? {
        return Ok(signals::stopped(&run.0));
    }
    if args.until < Stage::Report {
        return Ok(ExitCode::SUCCESS);
    }
    super::report::write(&run.0)?;
    if !global.quiet {
        eprintln!("all in {}", duration(began.elapsed()));
    }
    Ok(ExitCode::SUCCESS)
}

/// All stages before the report, those after `until` left out. Returns false if asked to stop before the end; the same
/// call goes on then.
pub fn stages(
    global: &Global,
    experiment: &Experiment,
    run: &RunFolder,
    until: Stage,
    stop: &AtomicBool,
) -> Result<bool> {
    let engine = Engine::new(global, experiment.train.dtype, machine::cores())?;
    let view = train::view(global.quiet, global.log_format);
    let (plan, images) = prepare::prepare(experiment, run, &engine, command_line())
        .with_context(|| format!("preparing {} failed", run.0.display()))?;
    if !global.quiet {
        eprint!("{}", plan.describe());
    }
    // Attacks and samples are made in f32 unless --dtype bf16 was typed: they compare small differences.
    let exact = Engine {
        precision: match global.dtype {
            Some(Dtype::Bf16) => engine.precision,
            _ => Precision::F32,
        },
        ..engine
    };
    let stages: [(Stage, &dyn Fn() -> Result<bool>); 3] = [
        (Stage::Train, &|| {
            trainings::all(run, &plan, &engine, view, stop)
        }),
        (Stage::Sample, &|| {
            Ok(sample::all(run, &plan, &images, &exact, view, stop)?
                && utility::all(run, &plan, &images, exact.device, view, stop)?)
        }),
        (Stage::Attack, &|| {
            attack::all(run, &plan, &images, &exact, view, stop)
        }),
    ];
    for (stage, work) in stages {
        if until < stage {
            return Ok(true);
        }
        let at = Instant::now();
        if !work()? {
            return Ok(false);
        }
        if !global.quiet {
            eprintln!("{:<12} done in {}", stage.as_str(), duration(at.elapsed()));
        }
    }
    Ok(true)
}

/// The command that repeats this run, as one would type it.
pub fn command_line() -> String {
    let quote = |a: String| {
        let plain = a
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_./=,:@+".contains(c))
            && !a.is_empty();
        if plain {
            a
        } else {
            format!("'{}'", a.replace('\'', r"'\''"))
        }
    };
    std::iter::once("dualmd".to_owned())
        .chain(std::env::args().skip(1).map(quote))
        .collect::<Vec<_>>()
        .join(" ")
}
