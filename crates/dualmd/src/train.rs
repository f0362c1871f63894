//! Training one model of an experiment.

use crate::experiment::{Experiment, Source};
use crate::session::Session;
use crate::stages::held::{self, Held};
use crate::stages::{RunFolder, prepare, train};
use anyhow::Result;
use std::path::PathBuf;

/// What is to be trained.
#[derive(Debug, Clone)]
pub struct TrainOptions {
    /// The experiment.
    pub source: Source,
    /// Changes of its keys, `train.steps=600`.
    pub sets: Vec<String>,
    /// The model: a name of the experiment, `teacher-1` or `teacher-2`.
    pub model: String,
    /// The run's folder.
    pub out: PathBuf,
    /// Save and return after so many steps; the same call goes on.
    pub max_steps_now: Option<u64>,
}

/// Trains (or goes on training) one model in this process. Returns whether it is finished: if not, a checkpoint is written, and
/// the same call goes on.
///
/// # Errors
/// An experiment that cannot be run; a model that it does not have, or whose teachers are not trained yet.
pub fn train(session: &Session, options: &TrainOptions) -> Result<bool> {
    let run = RunFolder(options.out.clone());
    let experiment = Experiment::load(&options.source, &options.sets)?;
    let _held = Held::run(&run.0, session.reporter.as_ref())?;
    let (plan, images) = prepare::prepare(&experiment, &run, session)?;
    // The plan's share, whatever the machine has: sums, and so the weights' last bits, depend on it.
    let threads = plan.hardware.threads_per_model;
    dualmd_torch::device::set_threads(threads);
    let mut engine = session.engine.to_train(experiment.train.dtype)?;
    engine.threads = threads;
    let job = plan.training(&options.model)?.clone();
    let lock = held::training(&run, &job.name, session.reporter.as_ref(), &session.stop)?;
    let Some(_lock) = lock else {
        return Ok(false);
    };
    train::one(
        &run,
        &plan,
        &images,
        &job,
        options.max_steps_now,
        &session.with_engine(engine),
    )
}
