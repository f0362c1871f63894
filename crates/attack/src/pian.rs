//! PIAN: PIA with the starting noise brought to the scale of real noise.
//!
//! *Paper*: Kong et al. 2024 (arXiv 2305.18355), the normalised variant, as in its public code.
//!
//! *Equation*: e0 = eps(x, 0) sqrt(2/pi) / mean |eps(x, 0)|, the mean over channels and pixels of one sample, so that
//! E |e0| is that of a standard normal; then as PIA: x_t = sqrt(abar_t) x + sqrt(1 - abar_t) e0,
//! score = -sum |e0 - eps(x_t, t)|^p.
//!
//! *Threat model*: as PIA; no gradients, no randomness.
//!
//! *Queries per sample*: 2, of which eps(x, 0) is shared with PIA and SecMI.
//!
//! *What the score means*: how well the model recognises noise of the right amount whose *pattern* it chose itself.
//!
//! *What it misses*: where eps(x, 0) is numerical dust, scaling blows the dust up; the pattern then says little. And
//! as PIA, it does not know how hard an image is.

use crate::pia::proximal_score;
use crate::reduce::mean_of_powers;
use crate::{Access, Attack, AttackInfo, Batch, Result};
use dualmd_record::AttackParameters;
use dualmd_torch::{Kind, Tensor};
use std::f64::consts::FRAC_2_PI;

/// PIAN. Default: t = 200, p = 4, as PIA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pian {
    /// Timestep, 0-based.
    pub t: i64,
    /// Exponent, at least 1.
    pub p: u32,
}

impl Default for Pian {
    fn default() -> Self {
        Self { t: 200, p: 4 }
    }
}

impl Pian {
    /// For latents (Stable Diffusion): t = 100, p = 4, as [`crate::Pia::latent`].
    #[must_use]
    pub const fn latent() -> Self {
        Self { t: 100, p: 4 }
    }
}

impl Attack for Pian {
    fn info(&self) -> AttackInfo {
        AttackInfo {
            name: "pian".into(),
            title: "PIAN (PIA, normalised)".into(),
            paper: "Kong et al. 2024, arXiv 2305.18355",
            access: Access::WhiteBox,
            formula: "-sum |e0 - eps(sqrt(abar_t) x + sqrt(1 - abar_t) e0, t)|^p, \
                      e0 = eps(x, 0) sqrt(2/pi) / mean |eps(x, 0)|"
                .into(),
            network_calls_per_sample: 2,
            parameters: AttackParameters {
                t: Some(self.t),
                p: Some(self.p),
                ..AttackParameters::default()
            },
            misses: "does not know how hard an image is for a model that never saw it; scales up rounding error where \
                     eps(x, 0) is almost zero",
        }
    }

    fn score(&self, batch: &mut Batch<'_>) -> Result<Vec<f64>> {
        let e0 = batch.eps_clean(0)?;
        // A mean of exactly 0 makes the scale infinite and the score NaN: reported, as it should be.
        let scale: Vec<f64> = mean_of_powers(&e0, 1)?
            .into_iter()
            .map(|m| FRAC_2_PI.sqrt() / m)
            .collect();
        let scale = Tensor::from_slice(&scale)
            .to_kind(Kind::Float)
            .to_device(e0.device())
            .view([-1, 1, 1, 1]);
        proximal_score("pian", batch, &(e0 * scale), self.t, self.p)
    }
}
