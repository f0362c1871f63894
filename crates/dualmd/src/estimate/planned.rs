//! What a plan comes to, in network calls of one image.

use super::Questions;
use crate::plan::{Job, JobKind, Plan, Target};
use dualmd_attack::Space;
use dualmd_names::{AttackSpec, Defense};

/// With four draws an image a step of DP-SGD was measured to take twelve times as long as an ordinary one when it went image by image
/// (small network, two cores), as it still does with gradient checkpointing. All images at once take less: this is the most.
pub const IMAGE_BY_IMAGE: f64 = 3.0;

/// Images that a measurement during training looks at on either side, at most.
const WATCHED: usize = 256;

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

/// Network calls of one run or of a part of it, each of one image.
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

    /// Calls in all; a gradient counts as three.
    pub fn calls(&self) -> f64 {
        self.gradients * super::GRADIENT + self.answers + self.drawing + self.attacks
    }

    /// Both together.
    #[must_use]
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

/// What a run does; `captions`: of an image, in the mean.
pub fn work(plan: &Plan, captions: f64) -> Work {
    let mut out = Work::default();
    for job in &plan.trainings {
        out = out.and(training(plan, job));
    }
    for model in &plan.models {
        out = out.and(drawing(plan, model, captions));
        for attack in &model.attacks {
            out = out.and(attacking(plan, model, attack, captions));
        }
    }
    // Attacks learnt on a shadow model: every training once more.
    if plan.audit.attacks.iter().any(AttackSpec::is_shadowed) {
        let again = plan.trainings.iter().map(|job| training(plan, job));
        out = again.fold(out, Work::and);
    }
    out
}

/// What one training does.
pub fn training(plan: &Plan, job: &Job) -> Work {
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
    Work {
        steps: t.steps,
        gradients: times * images,
        answers: taught * images + watching(plan, job),
        ..Work::default()
    }
}

/// Calls of the measurements of losses while one training runs.
pub fn watching(plan: &Plan, job: &Job) -> f64 {
    let t = job.train.as_ref().unwrap_or(&plan.train);
    let looks = t.steps.checked_div(t.eval_every).unwrap_or(1) as f64;
    let looked_at = plan.data.members.min(WATCHED) + plan.data.nonmembers.min(WATCHED);
    looks * looked_at as f64
}

/// What the images of one model come to; `captions`: of an image, in the mean.
pub fn drawing(plan: &Plan, model: &Target, captions: f64) -> Work {
    Work {
        drawing: networks(model) * questions(plan, captions).drawing(),
        ..Work::default()
    }
}

/// What one attack on one model comes to; `captions`: of an image, in the mean.
pub fn attacking(plan: &Plan, model: &Target, attack: &AttackSpec, captions: f64) -> Work {
    Work {
        attacks: networks(model) * questions(plan, captions).attack(attack),
        ..Work::default()
    }
}

/// Networks that answer together.
fn networks(model: &Target) -> f64 {
    match model.defense.is(Defense::Ensemble) {
        true => model.parts.len().max(1) as f64,
        false => 1.0,
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
