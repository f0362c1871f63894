//! The loss attack: members have a lower training loss.
//!
//! *Paper*: Matsumoto, Miura and Yanai 2023, "Membership Inference Attacks against Diffusion Models" (arXiv
//! 2302.03262); "naive attack" in PIA's code. Averaging over draws as in Carlini et al. 2023 (arXiv 2301.13188).
//!
//! *Equation*: x_t = sqrt(abar_t) x + sqrt(1 - abar_t) eps_k with eps_k ~ N(0, I);
//! score = -(1/K) sum_k mean (eps_k - eps(x_t, t))^2, the mean over channels and pixels.
//!
//! *Threat model*: evaluates the noise predictor at inputs of the attacker's choice; no gradients, no other model.
//!
//! *Queries per sample*: K (8). One draw is PIA's version; the draw's own luck then drowns most of the difference.
//!
//! *What the score means*: minus the training objective at one timestep, in units of the noise variance: 0 is a
//! perfect prediction, -1 is what predicting 0 would get.
//!
//! *What it misses*: it has no reference for how hard an image is: a flat image scores high whether member or not.
//! Likelihood ratios against shadow models (LiRA) repair that and are far stronger at low false-positive rates.
//!
//! The noise belongs to the sample (its id, the draw's number and the seed), so that every model is attacked with the
//! same noise whatever the batch size: differences between models are then not differences between draws.

use crate::reduce::{mean_of_powers, negated};
use crate::{Access, Attack, AttackError, AttackInfo, Batch, Result};
use dualmd_data::stream_for_id;
use dualmd_torch::{Tensor, noise};
use serde_json::json;

/// The loss attack. Default: t = 200 (PIA's primary timestep for CIFAR-10, so that the two can be compared), K = 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// Timestep, 0-based.
    pub t: i64,
    /// K, noise draws to average over.
    pub draws: usize,
}

impl Default for Loss {
    fn default() -> Self {
        Self { t: 200, draws: 8 }
    }
}

impl Loss {
    /// The score with given noise: `draws` holds K tensors shaped like the samples.
    ///
    /// # Errors
    /// No draws, a draw of another shape, or as [`Batch::eps`].
    pub fn score_with_noise(&self, batch: &mut Batch<'_>, draws: &[Tensor]) -> Result<Vec<f64>> {
        if draws.is_empty() {
            return Err(AttackError::Parameter {
                attack: "loss",
                reason: "draws = 0: choose at least 1".into(),
            });
        }
        let mut total = vec![0.0; batch.ids().len()];
        for noise in draws {
            if noise.size() != batch.x().size() {
                return Err(AttackError::Samples(format!(
                    "noise of shape {:?} for samples of shape {:?}: they must agree",
                    noise.size(),
                    batch.x().size()
                )));
            }
            let x_t = batch.schedule().add_noise_at(batch.x(), noise, self.t);
            let residual = noise - batch.eps(&x_t, self.t)?;
            for (sum, error) in total.iter_mut().zip(mean_of_powers(&residual, 2)?) {
                *sum += error;
            }
        }
        Ok(negated(
            total
                .into_iter()
                .map(|sum| sum / draws.len() as f64)
                .collect(),
        ))
    }

    /// Draw number `k` for every sample of the batch.
    fn draw(&self, batch: &Batch<'_>, k: usize) -> Result<Tensor> {
        let x = batch.x();
        let purpose = format!("attack/loss/{k}");
        let rows: Vec<Tensor> = batch
            .ids()
            .iter()
            .map(|id| {
                noise::normal(
                    &mut stream_for_id(batch.seed(), &purpose, id),
                    &x.size()[1..],
                    x.device(),
                )
            })
            .collect();
        Ok(Tensor::f_stack(&rows, 0)?)
    }
}

impl Attack for Loss {
    fn info(&self) -> AttackInfo {
        AttackInfo {
            name: "loss".into(),
            title: "Training loss",
            paper: "Matsumoto et al. 2023, arXiv 2302.03262",
            access: Access::WhiteBox,
            formula: "-(1/K) sum_k mean (eps_k - eps(sqrt(abar_t) x + sqrt(1 - abar_t) eps_k, t))^2",
            network_calls_per_sample: self.draws,
            parameters: json!({ "t": self.t, "draws": self.draws }),
            misses: "does not know how hard an image is for a model that never saw it; an attack calibrated with \
                     shadow models would find more",
        }
    }

    fn score(&self, batch: &mut Batch<'_>) -> Result<Vec<f64>> {
        let draws = (0..self.draws)
            .map(|k| self.draw(batch, k))
            .collect::<Result<Vec<_>>>()?;
        self.score_with_noise(batch, &draws)
    }
}
