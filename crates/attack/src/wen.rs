//! Wen's norm: what a text changes in the prediction at the very first step.
//!
//! *Paper*: Wen, Liu, Chen and Lyu 2024, "Detecting, Explaining, and Mitigating Memorization in Diffusion Models" (ICLR,
//! arXiv 2407.21720), the one-step form of its detection metric, as in its public code.
//!
//! *Equation*: score = (1/K) sum_k |eps(e_k, t, c) - eps(e_k, t, empty)|_2 over channels and pixels, at the first step's
//! timestep, with noise e_k ~ N(0, I) in place of an image. The form over all steps of a generation is
//! [`crate::memorisation::Trajectory::mean_norms`].
//!
//! *Threat model*: knows the caption, not the image; sees both predictions that guidance is made of.
//!
//! *Queries per sample*: 2 K (8).
//!
//! *What the score means*: at the first step there is nothing to see but noise. A text that decides there what the image
//! will be is a text that the model remembers an image for.
//!
//! *What it misses*: it asks whether a prompt is memorised, not whether an image is: images that share a caption share
//! the score, but for the luck of the noise, and an image remembered under another text goes unseen.

use crate::loss::Loss;
use crate::prompts::Caption;
use crate::reduce::sum_of_powers;
use crate::{Access, Attack, AttackInfo, Batch, Result};
use dualmd_record::AttackParameters;

/// Wen's norm. Default: t = 981, the first of 50 steps of Stable Diffusion, and K = 4, the paper's number of generations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wen {
    /// Timestep, 0-based.
    pub t: i64,
    /// K, noise draws to average over.
    pub draws: usize,
}

impl Default for Wen {
    fn default() -> Self {
        Self { t: 981, draws: 4 }
    }
}

impl Attack for Wen {
    fn info(&self) -> AttackInfo {
        AttackInfo {
            name: "wen".into(),
            title: "Prompt memorisation (Wen)".into(),
            paper: "Wen et al. 2024, arXiv 2407.21720",
            access: Access::WhiteBox,
            formula: "(1/K) sum_k |eps(e_k, t, c) - eps(e_k, t, empty)|_2 of pure noise e_k".into(),
            network_calls_per_sample: 2 * self.draws,
            parameters: AttackParameters {
                t: Some(self.t),
                draws: Some(self.draws),
                ..AttackParameters::default()
            },
            misses: "looks at the caption only: images that share one share the score, and an image remembered under another text \
                     goes unseen",
        }
    }

    fn score(&self, batch: &mut Batch<'_>) -> Result<Vec<f64>> {
        Loss::check_draws("wen", self.draws)?;
        let mut total = vec![0.0; batch.ids().len()];
        for k in 0..self.draws {
            let none = batch.with_caption(Caption::Empty, |b| b.eps_noise(k, self.t))?;
            let change = batch.eps_noise(k, self.t)? - none;
            let change = batch.residual(change)?;
            for (total, square) in total.iter_mut().zip(sum_of_powers(&change, 2)?) {
                *total += square.sqrt() / self.draws as f64;
            }
        }
        Ok(total)
    }
}
