//! Against a reference model: does this model know the image better than one that cannot have seen it?
//!
//! *Paper*: difficulty calibration, Watson, Guo, Cormode and Sablayrolles 2022 (ICLR, arXiv 2111.08440), on the loss of a
//! diffusion model; the attack on a distilled student that section 3.10 of our notes asks for.
//!
//! *Equation*: R_m = (1/K) sum_k mean (eps_k - eps_m(x_t, t))^2 for the target and for a reference model of the same kind,
//! trained on other images of the same distribution; score = ln R_reference - ln R_target.
//!
//! *Threat model*: evaluates the model under attack, and can train one of the same kind on images of their own.
//!
//! *Queries per sample*: K (8), shared with the loss attack, and K of the reference model.
//!
//! *What the score means*: by what factor the target knows the image better. How hard an image is raises both errors and
//! cancels: what is left is what the training images did.
//!
//! *What it misses*: one reference model has its own luck with every image, and the better the two trainings agree the
//! more the attack finds. Many reference models are LiRA.

use crate::batch::Model;
use crate::loss::Loss;
use crate::{Access, Attack, AttackInfo, Batch, Result};
use dualmd_record::AttackParameters;

/// The reference attack. Default: t = 200, K = 8, as the loss attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference {
    /// Timestep, 0-based.
    pub t: i64,
    /// K, noise draws to average over.
    pub draws: usize,
}

impl Default for Reference {
    fn default() -> Self {
        Self { t: 200, draws: 8 }
    }
}

impl Attack for Reference {
    fn info(&self) -> AttackInfo {
        AttackInfo {
            name: "reference".into(),
            title: "Loss against a reference model".into(),
            paper: "Watson et al. 2022, arXiv 2111.08440",
            access: Access::WhiteBox,
            formula:
                "ln R_reference - ln R_target, R_m = (1/K) sum_k mean (eps_k - eps_m(x_t, t))^2"
                    .into(),
            network_calls_per_sample: 2 * self.draws,
            parameters: AttackParameters {
                t: Some(self.t),
                draws: Some(self.draws),
                ..AttackParameters::default()
            },
            misses: "one reference model has its own luck with every image; many of them (LiRA) find more",
        }
    }

    fn score(&self, batch: &mut Batch<'_>) -> Result<Vec<f64>> {
        Loss::check_draws("reference", self.draws)?;
        let target = Loss::ln_error(batch, Model::Target, self.t, self.draws)?;
        let reference = Loss::ln_error(batch, Model::Reference, self.t, self.draws)?;
        Ok(reference
            .into_iter()
            .zip(target)
            .map(|(r, t)| r - t)
            .collect())
    }
}
