//! PIA, proximal initialisation: does the model, fed its own noise prediction, predict it again?
//!
//! *Paper*: Kong et al. 2024, "An Efficient Membership Inference Attack for the Diffusion Model by Proximal
//! Initialization" (ICLR, arXiv 2305.18355), as in its public code for DDPM.
//!
//! *Equation*: e0 = eps(x, 0); x_t = sqrt(abar_t) x + sqrt(1 - abar_t) e0; score = -sum |e0 - eps(x_t, t)|^p over
//! channels and pixels, without a root.
//!
//! *Threat model*: evaluates the noise predictor at inputs of the attacker's choice; no gradients, no randomness.
//!
//! *Queries per sample*: 2, of which eps(x, 0) is shared with SecMI and PIAN.
//!
//! *What the score means*: minus the residual of one self-consistency equation of the deterministic trajectory
//! through x; a memorised image lies where the trajectory is straight.
//!
//! *What it misses*: e0 stands in for noise, so it must look like noise. Where eps(x, 0) is far from unit variance
//! (see [`crate::CleanNoise`]) x_t is far too clean for its t, and PIA can fall below chance on exactly the images the
//! model knows best; [`crate::Pian`] repairs that.

use crate::reduce::{negated, sum_of_powers};
use crate::{Access, Attack, AttackError, AttackInfo, Batch, Result};
use dualmd_record::AttackParameters;
use dualmd_torch::Tensor;

/// PIA. Default: t = 200, p = 4, the paper's for CIFAR-10 and the code's exponent. The code prints thirty timesteps
/// with the best one first; choosing t on the audited images is what the fixed default avoids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pia {
    /// Timestep, 0-based.
    pub t: i64,
    /// Exponent, at least 1.
    pub p: u32,
}

impl Default for Pia {
    fn default() -> Self {
        Self { t: 200, p: 4 }
    }
}

impl Pia {
    /// For latents (Stable Diffusion): t = 100, p = 4, the middle of the grid 0, 10, ..., 190 that SimA's public code
    /// runs PIA over. PIA's own code for Stable Diffusion is another attack: see [`crate::PiaSd2024`].
    #[must_use]
    pub const fn latent() -> Self {
        Self { t: 100, p: 4 }
    }
}

/// -sum |e0 - eps(x_t, t)|^p with x_t made from `e0`.
pub(crate) fn proximal_score(
    attack: &'static str,
    batch: &mut Batch<'_>,
    e0: &Tensor,
    t: i64,
    p: u32,
) -> Result<Vec<f64>> {
    check_exponent(attack, p)?;
    let x_t = batch.schedule().add_noise_at(batch.x(), e0, t);
    let residual = e0 - batch.eps(&x_t, t)?;
    Ok(negated(sum_of_powers(&batch.residual(residual)?, p)?))
}

pub(crate) fn check_exponent(attack: &'static str, p: u32) -> Result<()> {
    if p == 0 {
        return Err(AttackError::Parameter {
            attack,
            reason: "p = 0: choose an exponent of at least 1".into(),
        });
    }
    Ok(())
}

impl Attack for Pia {
    fn info(&self) -> AttackInfo {
        AttackInfo {
            name: "pia".into(),
            title: "PIA (proximal initialisation)".into(),
            paper: "Kong et al. 2024, arXiv 2305.18355",
            access: Access::WhiteBox,
            formula: "-sum |e0 - eps(sqrt(abar_t) x + sqrt(1 - abar_t) e0, t)|^p, e0 = eps(x, 0)"
                .into(),
            network_calls_per_sample: 2,
            parameters: AttackParameters {
                t: Some(self.t),
                p: Some(self.p),
                ..AttackParameters::default()
            },
            misses: "needs eps(x, 0) to look like unit-variance noise; where it does not, PIA can fall below chance \
                     on the images the model knows best",
        }
    }

    fn score(&self, batch: &mut Batch<'_>) -> Result<Vec<f64>> {
        let e0 = batch.eps_clean(0)?;
        proximal_score("pia", batch, &e0, self.t, self.p)
    }
}
