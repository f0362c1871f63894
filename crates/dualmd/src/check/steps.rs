//! Timing: a few calls of the network, and a few optimiser steps of every kind of training as the run makes them, on random images.

use super::begun::{Begun, class, images, recipe, teachers};
use crate::engine::Engine;
use crate::estimate::{IMAGE_BY_IMAGE, at_a_time, timed};
use crate::experiment::{Experiment, Train};
use crate::plan::{Job, JobKind, Plan};
use crate::stages::lesson::{cutout, privacy};
use crate::stages::train::options;
use crate::stages::{RunFolder, beforehand, text};
use anyhow::{Context, Result};
use dualmd_defense::{Additions, TrainOptions, Trainer};
use dualmd_diffusion::{Backbone, BackboneConfig, Condition, Denoiser};
use dualmd_torch::ranks::Group;
use dualmd_torch::weights::Halves;
use dualmd_torch::{Kind, Tensor, no_grad};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

/// Steps that are timed, after a first one.
pub(super) const STEPS: u64 = 3;
/// No further step is timed after so long.
const ENOUGH: Duration = Duration::from_secs(4);
/// Seconds that a timed step may take: of one that takes longer fewer images are timed.
const LONGEST: f64 = 1.5;
/// A gradient and the call that it is of, in calls.
const GRADIENT: f64 = 3.0;

/// Network calls, as attacks and drawing make them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Called {
    /// Seconds of one image.
    pub seconds: f64,
    /// Were as many images asked at a time as attacks do?
    pub whole: bool,
}

/// Times a few calls of the network of the experiment, for images of `shape` [C, H, W].
///
/// # Errors
/// A network that cannot be built or opened; what the device refuses.
pub(super) fn call(
    experiment: &Experiment,
    plan: &Plan,
    shape: [usize; 3],
    engine: &Engine,
) -> Result<Called> {
    let device = engine.device;
    let (network, told, seen, parameters): (Box<dyn Denoiser>, Option<Condition>, [i64; 3], usize) =
        if plan.model.text {
            let origin = text::origin(experiment, shape, Halves::Widened, device)?;
            beforehand::check_schedule(experiment, &origin.schedule, origin.is_latent())?;
            let told = no_grad(|| origin.told(&["a picture"]))?;
            let seen = origin.sample_shape().unwrap_or(shape.map(|d| d as i64));
            let parameters = origin.unet.parameters().count();
            let network = origin.unet.with_precision(engine.precision);
            (Box::new(network), Some(told), seen, parameters)
        } else {
            let config = BackboneConfig::read(&plan.model.config).context("[model]")?;
            let network = Backbone::fresh(&config, 0, device)?.with_precision(engine.precision);
            let parameters = network.parameters().count();
            let seen = shape.map(|d| d as i64);
            (Box::new(network), class(plan, engine), seen, parameters)
        };
    let scored = plan.data.members + plan.data.nonmembers;
    let asked = plan.audit.batch.min(scored).max(1);
    let batch = at_a_time(asked, parameters, device.is_cuda(), plan.model.text);
    let n = batch as i64;
    let size = [n, seen[0], seen[1], seen[2]];
    let x = Tensor::f_zeros(&size[..], (Kind::Float, device))?;
    let t = Tensor::f_full(&[n][..], 500_i64, (Kind::Int64, device))?;
    let told = match told {
        Some(one) => Some(one.expand(n)?),
        None => None,
    };
    let seconds = timed(device.is_cuda(), || {
        let eps = no_grad(|| network.predict_noise(&x, &t, told.as_ref()))?;
        Ok(eps.f_sum(Kind::Float)?.double_value(&[]))
    })?;
    Ok(Called {
        seconds: seconds / batch as f64,
        whole: batch == asked,
    })
}

/// What trainings have in common that take the same time a step.
///
/// # Errors
/// Settings that JSON does not have.
pub(super) fn kind(plan: &Plan, job: &Job) -> Result<String> {
    let recipe = Train {
        steps: 0,
        epochs: None,
        ..plan.train_of(job).clone()
    };
    let taught = teachers(&job.kind) > 0;
    let kind = match &job.kind {
        kind if is_plain(kind) => "plain".to_owned(),
        JobKind::Kd { .. } => "kd".to_owned(),
        // Whether there is a step for every turn depends on how many there are.
        JobKind::Iterative { .. } => format!(
            "{} {}",
            serde_json::to_string(&job.kind)?,
            plan.train_of(job).steps
        ),
        other => serde_json::to_string(other)?,
    };
    Ok(serde_json::to_string(&(
        kind,
        recipe,
        job.kind == JobKind::Pretrain,
        taught.then(|| plan.distill_of(job)),
    ))?)
}

/// Is it ordinary training, on whichever images?
fn is_plain(kind: &JobKind) -> bool {
    matches!(
        kind,
        JobKind::Pretrain
            | JobKind::Baseline
            | JobKind::Teacher { .. }
            | JobKind::EarlyStopping { .. }
            | JobKind::Reference
            | JobKind::Shard { .. }
            | JobKind::Synthetic { .. }
    )
}

/// About how many network calls an image of a step takes: only for how many images are timed.
fn weight(kind: &JobKind) -> f64 {
    match kind {
        JobKind::Student | JobKind::Kd { .. } | JobKind::Smp { .. } => GRADIENT + 1.0,
        JobKind::KWay { shards } => GRADIENT + shards.saturating_sub(1) as f64,
        JobKind::DpSgd {
            noise_multiplicity, ..
        } => GRADIENT * IMAGE_BY_IMAGE * *noise_multiplicity as f64,
        _ => GRADIENT,
    }
}

/// Steps of one kind of training.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps {
    /// Seconds of a whole step.
    pub seconds: f64,
    /// Images of a step as it was timed.
    pub batch: usize,
    /// Is that a whole one?
    pub whole: bool,
    /// Weights that are trained.
    pub trained: usize,
    /// Weights of the whole network.
    pub network: usize,
}

/// Times a few steps of a training with its own recipe on random images. `call`: seconds of a network call of one image.
///
/// # Errors
/// Settings that the training would refuse; what the device refuses.
pub(super) fn steps(
    run: &RunFolder,
    plan: &Plan,
    job: &Job,
    shape: [usize; 3],
    call: f64,
    engine: &Engine,
) -> Result<Steps> {
    let (t, real) = (plan.train_of(job), options(plan, job));
    let members = plan.data.members;
    if matches!(job.kind, JobKind::DpSgd { .. }) {
        privacy(&job.kind, &real, members)?;
        beforehand::private_batch(plan, job)?;
    }
    let begun = Begun::of(run, plan, job, shape, engine)?;
    let (trained, network) = (begun.network.parameters().count(), begun.parameters);
    let cuda = engine.device.is_cuda();
    let part = t.batch.div_ceil(t.accumulate.max(1));
    let at_once = at_a_time(part, network, cuda, plan.model.text);
    let affordable = (LONGEST / (weight(&job.kind) * call).max(1e-12)) as usize;
    let whole = at_once == part && affordable >= t.batch;
    let batch = match whole {
        true => t.batch,
        false => at_once.min(affordable).max(1),
    };
    let settings = TrainOptions {
        batch,
        accumulate: if whole { t.accumulate } else { 1 },
        ..real
    };
    // Each image of a private step is drawn by its own coin: here all of them are.
    let n = match &job.kind {
        JobKind::DpSgd { .. } => batch,
        JobKind::KWay { shards } | JobKind::Iterative { shards, .. } => (2 * batch).max(2 * shards),
        _ => 2 * batch,
    };
    let set = images(plan, job, &begun, n, &settings, engine)?;
    let recipe = recipe(plan, job, n, settings.steps, begun.teachers)?;
    let trainer = Trainer {
        network: begun.network,
        schedule: begun.schedule,
        set,
        recipe: recipe.as_ref(),
        options: settings,
        seed: job.seed,
        evaluation_seed: plan.seed,
        device: engine.device,
        precision: engine.precision,
        checkpoints: PathBuf::new(),
        log: PathBuf::new(),
        tensorboard: PathBuf::new(),
        fingerprint: String::new(),
        ranks: Rc::new(Group::alone()),
    };
    let additions = Additions {
        cutout: cutout(plan, job),
        early_stopping: None,
    };
    let seconds = trainer.time_steps(&additions, STEPS, ENOUGH)?;
    Ok(Steps {
        seconds: seconds * t.batch as f64 / batch as f64,
        batch,
        whole,
        trained,
        network,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_longer_is_timed_with_fewer_images() {
        let private = JobKind::DpSgd {
            epsilon: None,
            noise_multiplier: Some(1.0),
            clip: 1.0,
            noise_multiplicity: 4,
            delta: 1e-5,
        };
        assert_eq!(weight(&private), 36.0);
        assert_eq!(weight(&JobKind::Baseline), 3.0);
        assert_eq!(weight(&JobKind::KWay { shards: 4 }), 6.0);
        assert_eq!((teachers(&JobKind::Student), teachers(&private)), (2, 0));
    }
}
