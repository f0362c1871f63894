//! PIA as its public code for Stable Diffusion has it, mistakes included: for comparison with published rows, not for
//! audits.
//!
//! *Source*: the public code of Kong et al. 2024 (arXiv 2305.18355), `stable_diffusion/stable_attack.py`. Three things in
//! it differ from the paper, and each alone takes the model away from the inputs it was trained on:
//!
//! 1. the *latents* z are mapped by 2 z - 1, as if they were images in [0, 1];
//! 2. abar comes from betas linear between 0.00085 and 0.012, while Stable Diffusion's are linear in the square root;
//! 3. eps is guided: eps(empty) + 7.5 (eps(c) - eps(empty)), which no model was trained to predict noise with.
//!
//! (As published the script does not run; this is what it means to compute.)
//!
//! *Equation*: z' = 2 z - 1; e0 = guided eps(z', 0); z_t = sqrt(abar'_t) z' + sqrt(1 - abar'_t) e0; score = -sum |e0 -
//! guided eps(z_t, t)|^p.
//!
//! *Threat model*: as [`crate::Pia`]. *Queries per sample*: 4.
//!
//! *What it misses*: nearly everything. It may be why the DualMD paper finds PIA at chance on models that SecMI breaks. A
//! low result says nothing about the model.

use crate::pia::check_exponent;
use crate::prompts::Caption;
use crate::reduce::{negated, sum_of_powers};
use crate::{Access, Attack, AttackInfo, Batch, Result};
use dualmd_record::AttackParameters;
use dualmd_torch::Tensor;

/// Guidance scale of the public code.
const GUIDANCE: f64 = 7.5;
/// Ends of its linear betas: Stable Diffusion's, of another curve.
const BETAS: [f64; 2] = [0.00085, 0.012];

/// PIA for Stable Diffusion, as published in 2024. Default: t = 500, the last of the code's grid 10, 20, ..., 500, and p
/// = 4; the code documents neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PiaSd2024 {
    /// Timestep, 0-based.
    pub t: i64,
    /// Exponent, at least 1; 2 is the other one in use.
    pub p: u32,
}

impl Default for PiaSd2024 {
    fn default() -> Self {
        Self { t: 500, p: 4 }
    }
}

/// The code's abar at `t` of `timesteps`, at least 2.
fn alpha_bar(t: i64, timesteps: usize) -> f64 {
    let step = (BETAS[1] - BETAS[0]) / (timesteps - 1).max(1) as f64;
    (0..=t)
        .map(|i| 1.0 - (BETAS[0] + i as f64 * step))
        .product()
}

fn guided(batch: &mut Batch<'_>, z: &Tensor, t: i64) -> Result<Tensor> {
    let none = batch.with_caption(Caption::Empty, |batch| batch.eps(z, t))?;
    let text = batch.eps(z, t)?;
    Ok(&none + (text - &none) * GUIDANCE)
}

impl Attack for PiaSd2024 {
    fn info(&self) -> AttackInfo {
        AttackInfo {
            name: "pia-sd-2024".into(),
            title: "PIA for Stable Diffusion as published in 2024".into(),
            paper: "public code of Kong et al. 2024, arXiv 2305.18355",
            access: Access::WhiteBox,
            formula: "-sum |e0 - g(sqrt(abar_t) z + sqrt(1 - abar_t) e0, t)|^p, e0 = g(z, 0), z = 2 x - 1, g guided by 7.5, abar of linear \
                      betas".into(),
            network_calls_per_sample: 4,
            parameters: AttackParameters {
                t: Some(self.t),
                p: Some(self.p),
                guidance: Some(GUIDANCE),
                betas: Some(BETAS),
                ..AttackParameters::default()
            },
            misses: "keeps three mistakes of the public code for comparison; a low result says nothing about the model",
        }
    }

    fn score(&self, batch: &mut Batch<'_>) -> Result<Vec<f64>> {
        check_exponent("pia-sd-2024", self.p)?;
        batch.check_timestep(self.t)?;
        let z = batch.x() * 2.0 - 1.0;
        let e0 = guided(batch, &z, 0)?;
        let a = alpha_bar(self.t, batch.schedule().len());
        let z_t = z * a.sqrt() + &e0 * (1.0 - a).sqrt();
        let residual = &e0 - guided(batch, &z_t, self.t)?;
        Ok(negated(sum_of_powers(&batch.residual(residual)?, self.p)?))
    }
}

#[cfg(test)]
mod tests {
    use super::alpha_bar;

    /// The constants of attacks.md, section 1.
    #[test]
    fn betas_are_linear() {
        for (t, expected) in [(100, 0.86734), (200, 0.67326), (500, 0.16077)] {
            assert!(
                (alpha_bar(t, 1000) - expected).abs() < 5e-6,
                "{t}: {}",
                alpha_bar(t, 1000)
            );
        }
        assert!((alpha_bar(999, 1000) - 0.001_579_0).abs() < 5e-8);
    }
}
