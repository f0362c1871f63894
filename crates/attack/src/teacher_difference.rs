//! The difference of the two teachers: what someone finds who holds *both* models of a DualMD pair.
//!
//! *Source*: no paper; the obvious adaptive attack on DualMD (and on the teachers of DistillMD, should they leave the house).
//! Each model was trained without the other's half and is its perfect reference model, as in the calibrated attacks of
//! Watson et al. 2022 (arXiv 2111.08440).
//!
//! *Equation*: R_m = (1/K) sum_k mean (eps_k - eps_m(x_t, t))^2 for teacher m = 1, 2; score = |ln R_1 - ln R_2|. The ratio, not
//! the difference: how hard an image is multiplies both errors, and cancels.
//!
//! *Threat model*: holds the weights of both teachers, and evaluates them at inputs of their choice.
//!
//! *Queries per sample*: 2 K (16).
//!
//! *What the score means*: by what factor one model knows the image better than the other. The sign says which half a
//! member comes from; here it is not needed.
//!
//! *What it misses*: little, which is the point. DualMD protects what the pair generates, never the pair itself.

use crate::batch::Model;
use crate::loss::Loss;
use crate::{Access, Attack, AttackInfo, Batch, Result};
use dualmd_record::AttackParameters;

/// The difference of the two teachers. Default: t = 200, K = 8, as the loss attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TeacherDifference {
    /// Timestep, 0-based.
    pub t: i64,
    /// K, noise draws to average over.
    pub draws: usize,
}

impl Default for TeacherDifference {
    fn default() -> Self {
        Self { t: 200, draws: 8 }
    }
}

impl Attack for TeacherDifference {
    fn info(&self) -> AttackInfo {
        AttackInfo {
            name: "teacher-difference".into(),
            title: "Difference of the two teachers".into(),
            paper: "dualmd; reference models as in Watson et al. 2022, arXiv 2111.08440",
            access: Access::WhiteBox,
            formula: "|ln R_1 - ln R_2|, R_m = (1/K) sum_k mean (eps_k - eps_m(x_t, t))^2".into(),
            network_calls_per_sample: 2 * self.draws,
            parameters: AttackParameters {
                t: Some(self.t),
                draws: Some(self.draws),
                ..AttackParameters::default()
            },
            misses: "needs both models, which DualMD never hands out",
        }
    }

    fn score(&self, batch: &mut Batch<'_>) -> Result<Vec<f64>> {
        Loss::check_draws("teacher-difference", self.draws)?;
        let first = Loss::ln_error(batch, Model::Teacher1, self.t, self.draws)?;
        let second = Loss::ln_error(batch, Model::Teacher2, self.t, self.draws)?;
        Ok(first
            .into_iter()
            .zip(second)
            .map(|(a, b)| (a - b).abs())
            .collect())
    }
}
