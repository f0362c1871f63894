//! SimA: shown a clean image of its training set, the model finds little noise in it.
//!
//! *Paper*: Rao, Qu and Moyer 2025, "Score-based Membership Inference on Diffusion Models" (arXiv 2509.25003), as in
//! its public code.
//!
//! *Equation*: score = -sum |eps(x, t)|^p over channels and pixels, with the CLEAN x fed at timestep t: no noise is
//! added.
//!
//! *Threat model*: evaluates the noise predictor at inputs of the attacker's choice; no gradients, no randomness.
//!
//! *Queries per sample*: 1, the cheapest of all.
//!
//! *What the score means*: eps(x, t) is proportional to x minus a local average of the training images around it, so
//! its size is the distance to what the model remembers nearby; on a memorised image it is nearly 0.
//!
//! *What it misses*: flat images give little noise whether member or not. The public code reports the best of many
//! timesteps, chosen on the audited images; a fixed t is weaker and honest.

use crate::pia::check_exponent;
use crate::reduce::{negated, sum_of_powers};
use crate::{Access, Attack, AttackInfo, Batch, Result};
use dualmd_record::AttackParameters;

/// SimA. Default: t = 100, the middle of the code's grid 0..200, fixed in advance; p = 4, the code's exponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimA {
    /// Timestep, 0-based.
    pub t: i64,
    /// Exponent, at least 1.
    pub p: u32,
}

impl Default for SimA {
    fn default() -> Self {
        Self { t: 100, p: 4 }
    }
}

impl Attack for SimA {
    fn info(&self) -> AttackInfo {
        AttackInfo {
            name: "sima".into(),
            title: "SimA (size of the predicted noise)".into(),
            paper: "Rao et al. 2025, arXiv 2509.25003",
            access: Access::WhiteBox,
            formula: "-sum |eps(x, t)|^p of the clean image".into(),
            network_calls_per_sample: 1,
            parameters: AttackParameters {
                t: Some(self.t),
                p: Some(self.p),
                ..AttackParameters::default()
            },
            misses: "flat images score high whether member or not; does not know how hard an image is for a model \
                     that never saw it",
        }
    }

    fn score(&self, batch: &mut Batch<'_>) -> Result<Vec<f64>> {
        check_exponent("sima", self.p)?;
        let eps = batch.eps_clean(self.t)?;
        Ok(negated(sum_of_powers(&batch.residual(eps)?, self.p)?))
    }
}
