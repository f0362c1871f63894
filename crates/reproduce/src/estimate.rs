//! For `--dry-run`: about how long a study takes on this machine. The time of a network call and of a training step is measured on a few
//! of them; everything else is counted. An estimate, and printed as one.

use anyhow::Result;
use dualmd::Session;
use dualmd::estimate::{Questions, at_a_time, timed};
use dualmd::experiment::Experiment;
use dualmd::plan::{Job, JobKind, Plan, grouped};
use dualmd::reporter::duration;
use dualmd::stages::{prepare, text};
use dualmd_attack::Space;
use dualmd_defense::Network;
use dualmd_diffusion::{Condition, Keep, UNet2d};
use dualmd_names::{AttackSpec, Defense};
use dualmd_torch::{Kind, Tensor, no_grad};
use std::time::Duration;

/// Seconds of one image.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    /// A call of the network.
    pub call: f64,
    /// The call and its gradient in training.
    pub training: f64,
    /// Images at a time while it was measured.
    pub batch: usize,
}

/// Network calls of one run, each of one image.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Work {
    /// Optimiser steps of all models.
    pub steps: u64,
    /// Images in training steps, a gradient each.
    pub gradients: f64,
    /// Calls in training without a gradient: teachers that answer, losses that are watched.
    pub answers: f64,
    /// Calls that draw images.
    pub drawing: f64,
    /// Calls and drawings of attacks; a gradient counts as three calls.
    pub attacks: f64,
}

impl Work {
    /// Seconds: of training, drawing and attacking.
    pub fn seconds(&self, speed: &Speed) -> [f64; 3] {
        [
            self.gradients * speed.training + self.answers * speed.call,
            self.drawing * speed.call,
            self.attacks * speed.call,
        ]
    }

    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            steps: self.steps + other.steps,
            gradients: self.gradients + other.gradients,
            answers: self.answers + other.answers,
            drawing: self.drawing + other.drawing,
            attacks: self.attacks + other.attacks,
        }
    }
}

/// With four draws an image a step of DP-SGD was measured to take twelve times as long as an ordinary one when it went image by image
/// (small network, two cores), as it still does with gradient checkpointing. All images at once take less: this is the most.
const IMAGE_BY_IMAGE: f64 = 3.0;

/// Images that a measurement during training looks at on either side, at most.
const WATCHED: usize = 256;

/// What a run does; `captions`: of an image, in the mean.
pub fn work(plan: &Plan, captions: f64) -> Work {
    let mut out = Work::default();
    for job in &plan.trainings {
        out = out.and(training(plan, job));
    }
    let asked = questions(plan, captions);
    for model in &plan.models {
        let networks = match model.defense.is(Defense::Ensemble) {
            true => model.parts.len().max(1) as f64,
            false => 1.0,
        };
        out.drawing += networks * asked.drawing();
        for attack in &model.attacks {
            out.attacks += networks * asked.attack(attack);
        }
    }
    // Attacks learnt on a shadow model: every training once more.
    if plan.audit.attacks.iter().any(AttackSpec::is_shadowed) {
        let again = plan.trainings.iter().map(|job| training(plan, job));
        out = again.fold(out, Work::and);
    }
    out
}

fn training(plan: &Plan, job: &Job) -> Work {
    let t = job.train.as_ref().unwrap_or(&plan.train);
    let images = t.steps as f64 * t.batch as f64;
    let taught = match &job.kind {
        JobKind::Student | JobKind::Kd { .. } => 1.0,
        // The errors of as many other images.
        JobKind::Smp { .. } => 1.0,
        JobKind::KWay { shards } => shards.saturating_sub(1) as f64,
        _ => 0.0,
    };
    let times = match &job.kind {
        JobKind::DpSgd {
            noise_multiplicity, ..
        } => IMAGE_BY_IMAGE * *noise_multiplicity as f64,
        _ => 1.0,
    };
    let looks = t.steps.checked_div(t.eval_every).unwrap_or(1) as f64;
    let looked_at = plan.data.members.min(WATCHED) + plan.data.nonmembers.min(WATCHED);
    Work {
        steps: t.steps,
        gradients: times * images,
        answers: taught * images + looks * looked_at as f64,
        ..Work::default()
    }
}

/// What one model of the run is asked; `captions`: of an image, in the mean.
fn questions(plan: &Plan, captions: f64) -> Questions {
    let guided = plan.model.text && plan.sample.guidance != 1.0;
    Questions {
        scored: (plan.data.members + plan.data.nonmembers) as f64,
        captions,
        text: plan.model.text,
        space: Space::Pixels,
        calls_per_image: plan.sample.steps as f64 * if guided { 2.0 } else { 1.0 },
        images: plan.sample.n as f64,
        per_prompt: plan.sample.per_prompt as f64,
    }
}

/// Measures a few calls and steps of the experiment's network on random numbers.
///
/// # Errors
/// A network that cannot be built or opened; what the device refuses.
pub fn measure(experiment: &Experiment, shape: [usize; 3], session: &Session) -> Result<Speed> {
    let engine = session.engine.to_train(experiment.train.dtype)?;
    let (network, condition, input): (Box<dyn Network>, Option<Condition>, [i64; 3]) = if experiment
        .is_text()
    {
        let origin = text::origin(experiment, shape, engine.device)?;
        let told = no_grad(|| origin.text_embeddings(&["a picture"]))?;
        let seen = origin.sample_shape().unwrap_or(shape.map(|d| d as i64));
        let network = origin.unet.with_precision(engine.precision);
        let told = Condition::of_text(told);
        (Box::new(network), Some(told), seen)
    } else {
        // How many classes there are changes no time worth naming.
        let labels = experiment.data.labels;
        let config = prepare::network(experiment, shape, labels.then_some(1))?;
        let network = UNet2d::fresh(&config, 0, engine.device)?.with_precision(engine.precision);
        let first = Tensor::from_slice(&[0i64]).to_device(engine.device);
        let told = labels.then(|| Condition::of_labels(first));
        (Box::new(network), told, shape.map(|d| d as i64))
    };
    let cuda = engine.device.is_cuda();
    let whole = experiment
        .train
        .batch
        .div_ceil(experiment.train.accumulate.max(1));
    let parameters = network.parameters().count();
    let batch = at_a_time(whole, parameters, cuda, experiment.is_text());
    let size = [batch as i64, input[0], input[1], input[2]];
    let x = Tensor::f_randn(&size[..], (Kind::Float, engine.device))?;
    let t = Tensor::f_full(&[batch as i64][..], 500_i64, (Kind::Int64, engine.device))?;
    let told = match condition {
        Some(one) => Some(one.expand(batch as i64)?),
        None => None,
    };
    let call = timed(cuda, || {
        let eps = no_grad(|| network.predict_noise(&x, &t, told.as_ref()))?;
        Ok(eps.f_sum(Kind::Float)?.double_value(&[]))
    })?;
    for weight in network.parameters().tensors() {
        let _ = weight.f_set_requires_grad(true)?;
    }
    let keep = match experiment.train.gradient_checkpointing {
        true => Keep::Checkpoints,
        false => Keep::Everything,
    };
    let training = timed(cuda, || {
        let pass = network.forward_training(&x, &t, told.as_ref(), keep)?;
        let loss = pass.output().f_square()?.f_mean(Kind::Float)?;
        let value = loss.double_value(&[]);
        pass.backward(&loss)?;
        Ok(value)
    })?;
    Ok(Speed {
        call: call / batch as f64,
        training: training / batch as f64,
        batch,
    })
}

/// For people: steps, and hours by what was measured.
pub fn describe(what: &str, work: &Work, speed: &Speed, plan: &Plan) -> Vec<String> {
    let [train, draw, attack] = work.seconds(speed);
    let hours = |seconds: f64| duration(Duration::from_secs_f64(seconds.clamp(0.0, 1e9)));
    let private = plan
        .trainings
        .iter()
        .any(|j| matches!(j.kind, JobKind::DpSgd { .. }));
    let mut out = vec![format!(
        "{what}: {} training steps; estimated on this machine: {} of training, {} of drawing images, {} of attacks (one after the other, on what this \
         process may use; {:.2} ms an image for a network call and {:.2} ms in a training step, measured {} at a time)",
        grouped(work.steps),
        hours(train),
        hours(draw),
        hours(attack),
        1e3 * speed.call,
        1e3 * speed.training,
        speed.batch
    )];
    if private {
        out.push(format!(
            "{what}: {} is counted as {IMAGE_BY_IMAGE} times its draws an image of an ordinary step, as measured on a small network",
            Defense::DpSgd
        ));
    }
    if train > 0.0 && attack > 2.0 * train {
        out.push(format!(
            "{what}: the attacks take {:.1} times as long as the trainings; --set audit.attacks=[...] names fewer",
            attack / train
        ));
    }
    out
}
