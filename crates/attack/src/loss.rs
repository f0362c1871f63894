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
//! The noise belongs to the sample: see [`Batch::draw`].

use crate::batch::Model;
use crate::reduce::{add_mean_squares, negated};
use crate::{Access, Attack, AttackError, AttackInfo, Batch, Result};
use dualmd_record::AttackParameters;

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
    /// The mean squared error of `model` at timestep `t` over noise draws 0..`draws`, one per sample.
    pub(crate) fn error(
        batch: &mut Batch<'_>,
        model: Model,
        t: i64,
        draws: usize,
    ) -> Result<Vec<f64>> {
        let mut total = vec![0.0; batch.ids().len()];
        for k in 0..draws {
            let residual = batch.draw(k)? - batch.eps_noisy(model, k, t)?;
            let residual = batch.residual(residual)?;
            add_mean_squares(&mut total, &residual, 1.0)?;
        }
        Ok(total.into_iter().map(|sum| sum / draws as f64).collect())
    }

    /// The logarithm of [`Loss::error`]. An error of exactly 0 (a closed-form model) must not become an infinite score.
    pub(crate) fn ln_error(
        batch: &mut Batch<'_>,
        model: Model,
        t: i64,
        draws: usize,
    ) -> Result<Vec<f64>> {
        let errors = Self::error(batch, model, t, draws)?;
        Ok(errors
            .into_iter()
            .map(|error| error.max(f64::MIN_POSITIVE).ln())
            .collect())
    }

    pub(crate) fn check_draws(attack: &'static str, draws: usize) -> Result<()> {
        if draws == 0 {
            return Err(AttackError::Parameter {
                attack,
                reason: "draws = 0: choose at least 1".into(),
            });
        }
        Ok(())
    }
}

impl Attack for Loss {
    fn info(&self) -> AttackInfo {
        AttackInfo {
            name: "loss".into(),
            title: "Training loss".into(),
            paper: "Matsumoto et al. 2023, arXiv 2302.03262",
            access: Access::WhiteBox,
            formula:
                "-(1/K) sum_k mean (eps_k - eps(sqrt(abar_t) x + sqrt(1 - abar_t) eps_k, t))^2"
                    .into(),
            network_calls_per_sample: self.draws,
            parameters: AttackParameters {
                t: Some(self.t),
                draws: Some(self.draws),
                ..AttackParameters::default()
            },
            misses: "does not know how hard an image is for a model that never saw it; an attack calibrated with \
                     shadow models would find more",
        }
    }

    fn score(&self, batch: &mut Batch<'_>) -> Result<Vec<f64>> {
        Self::check_draws("loss", self.draws)?;
        Ok(negated(Self::error(
            batch,
            Model::Target,
            self.t,
            self.draws,
        )?))
    }
}
