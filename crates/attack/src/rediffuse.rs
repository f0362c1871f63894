//! ReDiffuse: noised and denoised again, a member comes back as itself.
//!
//! *Paper*: Li, Dong, He, Chen and Bai 2024, "Towards Black-Box Membership Inference Attack for Diffusion Models" (arXiv
//! 2405.20771); timesteps and repetitions as in its public code for DDPM.
//!
//! *Equation*: x_t = sqrt(abar_t) x + sqrt(1 - abar_t) eps_k; g_k = DDIM steps t -> t - s -> ... -> 0 from x_t;
//! score = -mean |x - (1/K) sum_k g_k| over channels and pixels.
//!
//! *Threat model*: a service that offers variations of an image: it takes an image and a strength and returns the
//! denoised image. No parameters, no intermediate results.
//!
//! *Queries per sample*: K t / s (10 repetitions of 2 steps: 20), the first step of each shared with the loss attack.
//!
//! *What the score means*: minus the mean absolute difference, on the scale from -1 to 1, between an image and the average of
//! its variations. What the model does not know comes back as the average of many plausible images.
//!
//! *What it misses*: flat images come back whether member or not. The public code feeds the difference into a network
//! trained on a fifth of the true labels; this is the plain distance, which needs none and finds less.

use crate::batch::{Model, Product};
use crate::loss::Loss;
use crate::reduce::{mean_of_powers, negated};
use crate::{Access, Attack, AttackError, AttackInfo, Batch, Result};
use dualmd_record::AttackParameters;
use dualmd_torch::Tensor;

/// ReDiffuse. Default: t = 200, two DDIM steps of 100, K = 10, the code's values for DDPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReDiffuse {
    /// Timestep to noise to, 0-based; a multiple of `stride`.
    pub t: i64,
    /// Stride of the way back.
    pub stride: i64,
    /// K, variations to average.
    pub draws: usize,
}

impl Default for ReDiffuse {
    fn default() -> Self {
        Self {
            t: 200,
            stride: 100,
            draws: 10,
        }
    }
}

impl ReDiffuse {
    /// For latents (Stable Diffusion): t = 50 in one step, one draw, as in the public code. That code decodes the
    /// variations and compares images by SSIM; here the latents themselves are compared, with the distance used on
    /// pixels.
    #[must_use]
    pub const fn latent() -> Self {
        Self {
            t: 50,
            stride: 50,
            draws: 1,
        }
    }

    /// x minus the mean of its variations, [B, C, H, W].
    pub(crate) fn difference(&self, batch: &mut Batch<'_>) -> Result<Tensor> {
        Loss::check_draws("rediffuse", self.draws)?;
        if self.stride < 1 || self.t < self.stride || self.t % self.stride != 0 {
            return Err(AttackError::Parameter {
                attack: "rediffuse",
                reason: format!(
                    "t = {} with a stride of {}: t must be a multiple of the stride, at least once",
                    self.t, self.stride
                ),
            });
        }
        let mean = batch.product(
            Product::Variations(self.t, self.stride, self.draws),
            |batch| self.mean_variation(batch),
        )?;
        Ok(batch.x() - mean)
    }

    fn mean_variation(&self, batch: &mut Batch<'_>) -> Result<Tensor> {
        let schedule = batch.schedule();
        let mut sum = batch.x().zeros_like();
        for k in 0..self.draws {
            let mut eps = batch.eps_noisy(Model::Target, k, self.t)?;
            let noise = batch.draw(k)?;
            let mut z = schedule.add_noise_at(batch.x(), &noise, self.t);
            let mut at = self.t;
            loop {
                z = schedule.ddim_move(&z, &eps, at, at - self.stride);
                at -= self.stride;
                if at == 0 {
                    break;
                }
                eps = batch.eps(&z, at)?;
            }
            sum += z;
        }
        Ok(sum / self.draws as f64)
    }
}

impl Attack for ReDiffuse {
    fn info(&self) -> AttackInfo {
        let steps = usize::try_from(self.t / self.stride.max(1)).unwrap_or(0);
        AttackInfo {
            name: "rediffuse".into(),
            title: "ReDiffuse (variations of the image)".into(),
            paper: "Li et al. 2024, arXiv 2405.20771",
            access: Access::GreyBox,
            formula: "-mean |x - (1/K) sum_k g_k|, g_k = DDIM t -> 0 from sqrt(abar_t) x + sqrt(1 - abar_t) eps_k".into(),
            network_calls_per_sample: self.draws * steps,
            parameters: AttackParameters {
                t: Some(self.t),
                stride: Some(self.stride),
                draws: Some(self.draws),
                ..AttackParameters::default()
            },
            misses: "flat images come back whether member or not; the published attack adds a network trained on labels",
        }
    }

    fn score(&self, batch: &mut Batch<'_>) -> Result<Vec<f64>> {
        let difference = self.difference(batch)?;
        Ok(negated(mean_of_powers(&batch.residual(difference)?, 1)?))
    }
}
