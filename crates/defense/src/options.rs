//! Settings of the training loop.

use crate::{DefenseError, Objective, Result};
use serde::{Deserialize, Serialize};

/// Everything the loop needs besides the network, the images and the recipe. Defaults: the demo's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainOptions {
    /// Optimiser steps.
    pub steps: u64,
    /// What the network learns.
    #[serde(skip_serializing_if = "is_ddpm")]
    pub objective: Objective,
    /// Images per step.
    pub batch: usize,
    /// Parts of the batch that go through the network one after the other, for less memory; the gradient is that of the whole
    /// batch.
    #[serde(skip_serializing_if = "is_one")]
    pub accumulate: usize,
    /// Keep little of a pass and compute the rest again for the gradient: less memory, more time, the same numbers up to
    /// rounding ([`dualmd_diffusion::checkpointing`]). DP-SGD then goes image by image, with least memory and several times as long.
    #[serde(skip_serializing_if = "is_false")]
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
    #[serde(skip_serializing_if = "is_false")]
    pub decoupled: bool,
    /// Mirror each drawn image with probability 1/2.
    pub flip: bool,
    /// For networks that are told a text: leave out of a step every image whose text moves the predicted noise by this much or more,
    /// ||eps(x_t, t, text) - eps(x_t, t, nothing)||_2 over all its values (Wen et al. 2024, with 2 for the latents of Stable
    /// Diffusion); 0: none.
    #[serde(skip_serializing_if = "is_zero")]
    pub drop_memorised: f64,
    /// Leave out of a step every image whose loss, times this, is below what is usual at its timestep (Liu et al. 2024; 2 in their
    /// code); 0: none.
    #[serde(skip_serializing_if = "is_zero")]
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

impl TrainOptions {
    /// # Errors
    /// The first value out of range.
    pub fn check(&self) -> Result<()> {
        let fail = |key: &str, value: &dyn std::fmt::Display, rule: &str| {
            Err(DefenseError::Setting(format!(
                "train.{key} = {value}: must be {rule}"
            )))
        };
        if self.steps == 0 {
            return fail("steps", &self.steps, "at least 1");
        }
        if self.batch == 0 {
            return fail("batch", &self.batch, "at least 1");
        }
        if !(1..=self.batch).contains(&self.accumulate) {
            return fail("accumulate", &self.accumulate, "1 to train.batch");
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return fail("learning_rate", &self.learning_rate, "a positive number");
        }
        if !(0.0..=1.0).contains(&self.decay_fraction) {
            return fail("decay_fraction", &self.decay_fraction, "between 0 and 1");
        }
        if !(0.0..1.0).contains(&self.ema) {
            return fail("ema", &self.ema, "in [0, 1)");
        }
        if !(self.clip >= 0.0 && self.weight_decay >= 0.0) {
            return fail("clip", &self.clip, "0 or more, like train.weight_decay");
        }
        if !(self.drop_memorised >= 0.0 && self.drop_memorised.is_finite()) {
            return fail("drop_memorised", &self.drop_memorised, "0 or more");
        }
        if !(self.skip_easy >= 0.0 && self.skip_easy.is_finite()) {
            return fail("skip_easy", &self.skip_easy, "0 or more");
        }
        Ok(())
    }

    /// Learning rate of step `step` (0-based).
    #[must_use]
    pub fn rate(&self, step: u64) -> f64 {
        let warm = if self.warmup == 0 {
            1.0
        } else {
            (step + 1).min(self.warmup) as f64 / self.warmup as f64
        };
        let tail = self.steps as f64 * self.decay_fraction;
        let left = (self.steps - step.min(self.steps)) as f64;
        let decay = if tail > 0.0 {
            (left / tail).min(1.0)
        } else {
            1.0
        };
        self.learning_rate * warm * decay
    }

    /// EMA decay of step `step` (0-based).
    #[must_use]
    pub fn ema_decay(&self, step: u64) -> f64 {
        if self.ema_warmup {
            self.ema.min((1.0 + step as f64) / (10.0 + step as f64))
        } else {
            self.ema
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_stays_and_falls() {
        let o = TrainOptions {
            steps: 100,
            warmup: 10,
            decay_fraction: 0.4,
            learning_rate: 1.0,
            ..Default::default()
        };
        assert_eq!(o.rate(0), 0.1);
        assert_eq!(o.rate(9), 1.0);
        assert_eq!(o.rate(60), 1.0);
        assert!((o.rate(80) - 0.5).abs() < 1e-12);
        assert!((o.rate(99) - 0.025).abs() < 1e-12);
    }
}
