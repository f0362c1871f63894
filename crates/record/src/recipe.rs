//! How a training is set, as `training.json` records it. The training loop (`dualmd-defense`) and the experiment's `[distill]` use the same types.

use dualmd_names::choice;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Everything the loop needs besides the network, the images and the recipe. Defaults: the demo's. A file that lacks a setting which is
/// written only where it is on was trained without it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrainOptions {
    /// Optimiser steps.
    pub steps: u64,
    /// What the network learns.
    #[serde(default, skip_serializing_if = "is_ddpm")]
    pub objective: Objective,
    /// Images per step.
    pub batch: usize,
    /// Parts of the batch that go through the network one after the other, for less memory; the gradient is that of the whole
    /// batch.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub accumulate: usize,
    /// Keep little of a pass and compute the rest again for the gradient: less memory, more time, the same numbers up to
    /// rounding. DP-SGD then goes image by image, with least memory and several times as long.
    #[serde(default, skip_serializing_if = "is_false")]
    pub gradient_checkpointing: bool,
    /// Peak learning rate of Adam (betas 0.9, 0.999, eps 1e-8).
    pub learning_rate: f64,
    /// Steps of linear warm-up: the rate of step s is multiplied by min(s + 1, warmup) / warmup.
    /// (SecMI's code uses min(s, warmup) / warmup, whose very first step has rate 0.)
    pub warmup: u64,
    /// Last part of the run over which the rate falls linearly to zero, 0 to 1.
    pub decay_fraction: f64,
    /// EMA decay.
    pub ema: f64,
    /// Use min(ema, (1 + s) / (10 + s)) so that short runs do not average in the initial weights.
    pub ema_warmup: bool,
    /// Global gradient norm is clipped to this; 0 never clips.
    pub clip: f64,
    /// Weight decay: Adam's L2 term, or AdamW's where [`Self::decoupled`].
    pub weight_decay: f64,
    /// The decay multiplies the weights by 1 - rate x decay (AdamW) and is no part of the gradient.
    #[serde(default, skip_serializing_if = "is_false")]
    pub decoupled: bool,
    /// Mirror each drawn image with probability 1/2.
    pub flip: bool,
    /// For networks that are told a text: leave out of a step every image whose text moves the predicted noise by this much or more,
    /// ||eps(x_t, t, text) - eps(x_t, t, nothing)||_2 over all its values (Wen et al. 2024, with 2 for the latents of Stable
    /// Diffusion); 0: none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub drop_memorised: f64,
    /// Leave out of a step every image whose loss, times this, is below what is usual at its timestep (Liu et al. 2024; 2 in their
    /// code); 0: none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skip_easy: f64,
    /// Steps between checkpoints; 0: only at the end and on interruption.
    pub checkpoint_every: u64,
    /// How many checkpoints to keep.
    pub keep_checkpoints: usize,
    /// Steps between lines of the log.
    pub log_every: u64,
    /// Steps between measurements of member and held-out loss; 0: only at the end.
    pub eval_every: u64,
    /// Steps between sample sheets; 0: none.
    pub sample_every: u64,
}

// By reference, because serde's attribute calls them so.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_one(value: &usize) -> bool {
    *value == 1
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !value
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_ddpm(value: &Objective) -> bool {
    *value == Objective::Ddpm
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

fn one() -> usize {
    1
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            steps: 1800,
            objective: Objective::Ddpm,
            batch: 64,
            accumulate: 1,
            gradient_checkpointing: false,
            learning_rate: 2e-3,
            warmup: 50,
            decay_fraction: 0.4,
            ema: 0.999,
            ema_warmup: true,
            clip: 1.0,
            weight_decay: 0.0,
            decoupled: false,
            flip: false,
            drop_memorised: 0.0,
            skip_easy: 0.0,
            checkpoint_every: 500,
            keep_checkpoints: 2,
            log_every: 50,
            eval_every: 200,
            sample_every: 0,
        }
    }
}

/// What the network learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// What its noise schedule says: the noise, v, or the image, at uniform timesteps (paper Eq. 3).
    #[default]
    Ddpm,
    /// The velocity of a flow, at these levels.
    Flow(Levels),
}

impl Objective {
    /// Does the network learn a velocity?
    #[must_use]
    pub const fn is_flow(self) -> bool {
        matches!(self, Self::Flow(_))
    }
}

choice! {
    /// How the levels s of a flow's training are drawn.
    Levels {
        /// uniform in 0..1
        #[default]
        Uniform = "uniform",
        /// the logistic function of a standard normal, which favours the middle (Esser et al. 2024)
        LogitNormal = "logit-normal",
    }
}

choice! {
    /// Which caption of an image a text-to-image model is told in training.
    CaptionChoice {
        /// always the first
        #[default]
        First = "first",
        /// any of them, drawn each time: prompt diversification
        Any = "any",
    }
}

/// What a run may add to its options. They change results, so a fingerprint of the run must cover them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Additions {
    /// Grey squares in the drawn images.
    pub cutout: Option<Cutout>,
    /// Keep the averages with the lowest loss on calibration images.
    pub early_stopping: Option<EarlyStopping>,
}

/// One grey square per image: with `probability`, a square of `side` pixels at a seeded place wholly inside the image is set
/// to 0, the middle of [-1, 1], in all channels. (In the original (DeVries & Taylor 2017) the square may hang over the edge. The code of PIA means
/// something like this, side 4 and probability 0.1, but takes batch and channels for height and width, and paints -1.)
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cutout {
    /// Side of the square in pixels.
    pub side: usize,
    /// Chance of each drawn image.
    pub probability: f64,
}

/// When to stop, and what decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EarlyStopping {
    /// Indices into the training set: images that are neither trained on nor audited. Up to 256 of them are used, evenly
    /// spread over the list.
    pub calibration: Vec<usize>,
    /// Evaluations (every `eval_every` steps) without a new lowest loss after which the run ends; 0: it runs to its end,
    /// and the best weights are kept all the same.
    pub patience: u64,
}

/// `[distill]`: what the paper does not say about its Algorithm 2, for `distillmd`, `k-way` and `kd`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Distill {
    /// Which teacher answers for which image; `kd` has one teacher only.
    pub routing: Routing,
    /// The teachers' weights that answer.
    pub teacher_weights: Weights,
    /// Leave the teachers' dropout on while they answer, as code does that forgets to call `eval()`.
    pub teacher_dropout: bool,
    /// The random weights that the student begins with.
    pub init: Init,
}

choice! {
    /// Which teacher answers for which image in DistillMD.
    Routing {
        /// each iteration draws one half and asks the other half's teacher, as in the paper
        #[default]
        Iteration = "iteration",
        /// a batch mixes both halves; each image asks the teacher that never saw it
        Example = "example",
    }
}

choice! {
    /// The random weights that a distilled model begins with.
    Init {
        /// its own draw
        #[default]
        Independent = "independent",
        /// the draw that its (first) teacher began with
        Shared = "shared",
    }
}

choice! {
    /// Which of a model's two sets of weights.
    Weights {
        /// the moving average (`unet/`)
        #[default]
        Ema = "ema",
        /// the weights the optimiser left (`unet_raw/`)
        Raw = "raw",
    }
}
