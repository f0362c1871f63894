//! `dualmd train`: one model of an experiment, in one process or as one of the ranks that torchrun or srun started.

use crate::session::session;
use crate::signals;
use anyhow::Result;
use dualmd::experiment::Source;
use dualmd::reporter::{ProgressEvent, Reporter, Silent};
use dualmd::stages::{RunFolder, train as stage};
use dualmd::{Session, TrainOptions, bail_usage};
use dualmd_front::args::{Global, TrainArgs};
use dualmd_torch::ranks::Place;
use std::process::ExitCode;
use std::sync::Arc;

/// Trains (or goes on training) one model.
pub fn train(global: &Global, args: &TrainArgs) -> Result<ExitCode> {
    // Whoever started this process may have started others for the same model.
    let ranks = match Place::read(|name| std::env::var(name).ok()) {
        Ok(place) => place.filter(|place| place.world > 1),
        Err(error) => bail_usage!("{error}"),
    };
    let mut session = session(global)?;
    if ranks.as_ref().is_some_and(|place| place.rank > 0) {
        // Rank 0 speaks for all; errors are told by every one.
        session.reporter = Arc::new(Silent);
    }
    if args.progress_json {
        return child(session, args, ranks.as_ref());
    }
    let options = TrainOptions {
        source: Source::File(args.experiment.clone()),
        sets: args.set.iter().cloned().chain(global.sets()).collect(),
        model: args.model.clone(),
        out: args.out.clone(),
        max_steps_now: args.max_steps_now,
        ranks,
    };
    let done = dualmd::train(&session, &options)?;
    let note = if done {
        "trained"
    } else {
        "checkpoint written; the same command goes on"
    };
    session.reporter.finished(&args.model, note);
    // Of several ranks one was asked to stop, and all did.
    let asked = session.stopped() || (options.ranks.is_some() && args.max_steps_now.is_none());
    Ok(if !done && asked {
        signals::stopped(&args.out, session.reporter.as_ref())
    } else {
        ExitCode::SUCCESS
    })
}

/// A training of a run, which has prepared the folder and holds it, and reads this process's standard output.
fn child(session: Session, args: &TrainArgs, ranks: Option<&Place>) -> Result<ExitCode> {
    signals::stop_with_parent(std::io::stdin(), Arc::clone(&session.stop))?;
    let session = Session {
        reporter: Arc::new(Piped(Arc::clone(&session.reporter))),
        ..session
    };
    let run = RunFolder(args.out.clone());
    let wanted = || !orphaned(args.parent);
    stage::prepared(
        &run,
        &args.model,
        args.max_steps_now,
        &session,
        ranks,
        wanted,
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Progress as JSON lines on standard output, for the run that started this process; all else as the flags have it.
struct Piped(Arc<dyn Reporter>);

impl Reporter for Piped {
    fn progress(&self, event: &ProgressEvent) {
        // A parent that is gone closes the pipe; the training stops by its stdin then.
        let _ = event.write(&mut std::io::stdout());
    }
    fn finished(&self, model: &str, note: &str) {
        self.0.finished(model, note);
    }
    fn say(&self, text: &str) {
        self.0.say(text);
    }
    fn warn(&self, text: &str) {
        self.0.warn(text);
    }
    fn detail(&self, text: &str) {
        self.0.detail(text);
    }
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
