//! What was timed of a run: calls with all threads, and steps with those that a training gets, each kind of training once.

use super::known::Known;
use super::steps::{self, Called, Steps};
use super::told;
use crate::choices::Stage;
use crate::experiment::Experiment;
use crate::machine;
use crate::plan::Plan;
use crate::session::Session;
use crate::stages::{RunFolder, shadow};
use dualmd_record::run_check::RunCheck;
use std::collections::BTreeMap;

/// Calls and steps.
pub(super) struct Timed {
    /// Network calls.
    pub call: Called,
    /// Of trainings that are still to be done; of those that could not be timed there is none.
    pub steps: BTreeMap<String, Steps>,
    /// Could all of them be timed?
    pub complete: bool,
    /// The most memory that was held, in GB.
    pub held: Option<f64>,
}

impl Timed {
    /// Times what is to be done up to the stage `until`. The number of threads for libtorch is that of a training afterwards.
    pub fn of(
        experiment: &Experiment,
        run: &RunFolder,
        known: &Known,
        until: Stage,
        session: &Session,
        found: &mut RunCheck,
    ) -> Option<Self> {
        let (plan, shape) = (&known.plan, known.shape);
        let threads = plan.hardware.threads_per_model;
        let call = match steps::call(experiment, plan, shape, &session.engine) {
            Ok(call) => call,
            Err(error) => {
                found.problems.push(told(&error));
                return None;
            }
        };
        dualmd_torch::device::set_threads(threads);
        let engine = match session.engine.to_train(experiment.train.dtype) {
            Ok(engine) => engine,
            Err(error) => {
                found.problems.push(told(&error));
                return None;
            }
        };
        let of_shadow = shadow::folder(run);
        let slower = slower(plan, session.engine.threads);
        let mut kinds: BTreeMap<String, Option<Steps>> = BTreeMap::new();
        let mut steps = BTreeMap::new();
        let mut complete = true;
        for job in plan.trainings.iter().filter(|_| until >= Stage::Train) {
            let own = is_left(run, &job.name);
            let shadows = shadow::asked(plan) && is_left(&of_shadow, &job.name);
            if !(own || shadows) {
                continue;
            }
            let timed = steps::kind(plan, job).and_then(|kind| match kinds.get(&kind) {
                Some(before) => Ok(*before),
                None => {
                    let timed = steps::steps(run, plan, job, shape, call.seconds * slower, &engine);
                    kinds.insert(kind, timed.as_ref().ok().copied());
                    timed.map(Some)
                }
            });
            match timed {
                Ok(Some(timed)) => {
                    steps.insert(job.name.clone(), timed);
                }
                // Its kind has been told.
                Ok(None) => complete = false,
                Err(error) => {
                    complete = false;
                    found
                        .problems
                        .push(format!("model {}: {}", job.name, told(&error)));
                }
            }
        }
        Some(Self {
            call,
            steps,
            complete,
            held: machine::peak_rss_mb().map(|mb| mb / 1e3),
        })
    }
}

/// Is a model of this name still to be trained in a run?
pub(super) fn is_left(run: &RunFolder, name: &str) -> bool {
    !run.training(name).exists()
}

/// How much longer a network call takes with the threads of a training than with all of them, at most.
pub(super) fn slower(plan: &Plan, threads: usize) -> f64 {
    let own = plan.hardware.threads_per_model.max(1);
    (threads as f64 / own as f64).max(1.0)
}
