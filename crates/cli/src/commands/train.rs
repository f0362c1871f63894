//! `dualmd train`: one model of an experiment.

use crate::args::{Global, TrainArgs};
use crate::engine::Engine;
use crate::experiment::{Experiment, Source};
use crate::progress::{Progress, ProgressEvent};
use crate::stages::held::{self, Held};
use crate::stages::{RunFolder, prepare, train as stage};
use crate::{machine, signals};
use anyhow::Result;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Trains (or goes on training) one model.
pub fn train(global: &Global, args: &TrainArgs) -> Result<ExitCode> {
    let run = RunFolder(args.out.clone());
    let stop = signals::stop_flag()?;
    if args.progress_json {
        signals::stop_with_parent(std::io::stdin(), Arc::clone(&stop))?;
    }
    // The run that started this process holds the folder, and has asked for a model that there is.
    let own = |name: &str| held::training(&run, name, &stop);
    let (_held, _lock);
    let (plan, images, engine) = if args.progress_json {
        let Some(lock) = own(&args.model)?.filter(|_| !orphaned(args.parent)) else {
            return Ok(ExitCode::SUCCESS);
        };
        _lock = lock;
        // The parent has prepared the folder; its plan is the law.
        let (plan, experiment, images) = prepare::reopen(&run)?;
        let engine = Engine::new(
            global,
            experiment.train.dtype,
            plan.hardware.threads_per_model,
        )?;
        (plan, images, engine)
    } else {
        let sets: Vec<String> = args.set.iter().cloned().chain(global.sets()).collect();
        let experiment = Experiment::load(&Source::File(args.experiment.clone()), &sets)?;
        let engine = Engine::new(global, experiment.train.dtype, machine::cores())?;
        _held = Held::run(&run.0)?;
        let (plan, images) =
            prepare::prepare(&experiment, &run, &engine, super::run::command_line())?;
        // The plan's share, whatever the machine has: sums, and so the weights' last bits, depend on it.
        let threads = plan.hardware.threads_per_model;
        dualmd_torch::device::set_threads(threads);
        let Some(lock) = own(&plan.training(&args.model)?.name)? else {
            return Ok(signals::stopped(&args.out));
        };
        _lock = lock;
        (plan, images, Engine { threads, ..engine })
    };
    let job = plan.training(&args.model)?.clone();
    let mut bars = Progress::new(stage::view(global.quiet, global.log_format));
    let mut tell = |event: ProgressEvent| {
        if args.progress_json {
            // A parent that is gone closes the pipe; the training stops by its stdin then.
            let _ = event.write(&mut std::io::stdout());
        } else {
            bars.update(&event);
        }
    };
    let done = stage::one(
        &run,
        &plan,
        &images,
        &job,
        &engine,
        args.max_steps_now,
        &stop,
        &mut tell,
    )?;
    if !args.progress_json {
        let note = if done {
            "trained"
        } else {
            "checkpoint written; the same command goes on"
        };
        bars.finish(&job.name, note);
    }
    let interrupted = !done && stop.load(Ordering::Relaxed) && !args.progress_json;
    Ok(if interrupted {
        ExitCode::from(130)
    } else {
        ExitCode::SUCCESS
    })
}

/// Is the run that started this process gone? Whoever goes on with it waits for the trainings that hold their folders by then,
/// and this one has just come to hold its own.
fn orphaned(parent: Option<u32>) -> bool {
    #[cfg(unix)]
    {
        parent.is_some_and(|pid| pid != std::os::unix::process::parent_id())
    }
    #[cfg(not(unix))]
    {
        let _ = parent;
        false
    }
}
