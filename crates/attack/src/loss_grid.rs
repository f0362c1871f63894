//! Losses at many noise levels, with noise that all samples share, and what they mean learnt.
//!
//! *Paper*: after Wu et al. 2025, "Winning the MIDST Challenge" (arXiv 2503.12008), whose attack won the four tracks of that challenge
//! on tabular diffusion models. There: losses at seven timesteps up to 100 with 300 noises, a network of 200 hidden units, learnt on 30 shadow
//! models. Here: few known images, so the losses are averaged over the noises and a logistic regression learns from the
//! levels alone; and the levels go as far as the image is still seen, because no one level leaks most under every training.
//!
//! *Equation*: f_j = ln (1/K) sum_k mean (e_k - eps(sqrt(abar) x + sqrt(1 - abar) e_k, t_j))^2 with e_k ~ N(0, I) the same for
//! every sample, t_j the timestep whose signal-to-noise ratio abar / (1 - abar) is nearest to [`RATIOS`]; score = log-odds by logistic
//! regression on f.
//!
//! *Threat model*: as the loss, and knows for a part of the images whether this model was trained on them; learnt on a shadow model
//! (`loss-grid+shadow`) nobody's.
//!
//! *Queries per sample*: 8 levels, 4 noises: 32.
//!
//! *What it misses*: what single pixels tell; and with a few dozen known samples eight weights are learnt badly.
//!
//! Shared noise takes a part of the luck out: the same e_k is hard or easy for everybody.

use crate::reduce::add_mean_squares;
use crate::{Access, AttackError, AttackInfo, Batch, Learned, Loss, Result, Rule, logistic};
use dualmd_data::stream;
use dualmd_record::AttackParameters;
use dualmd_torch::{Tensor, noise};

/// Signal-to-noise ratios of the levels, from little noise to much: each a quarter of the one before, around 1. Fixed before anything
/// was measured.
pub const RATIOS: [f64; 8] = [256.0, 64.0, 16.0, 4.0, 1.0, 0.25, 0.0625, 0.015625];

/// Losses at many noise levels. Default: K = 4.
#[derive(Debug, Clone, PartialEq)]
pub struct LossGrid {
    /// K, noise draws to average over.
    pub draws: usize,
    /// The only timestep, where one is asked for.
    pub t: Option<i64>,
}

impl Default for LossGrid {
    fn default() -> Self {
        Self { draws: 4, t: None }
    }
}

impl LossGrid {
    /// One timestep for each ratio; a schedule that does not reach as far gives its nearest.
    fn timesteps(&self, batch: &Batch<'_>) -> Vec<i64> {
        let schedule = batch.schedule();
        let last = schedule.len() as i64 - 1;
        let of = |ratio: f64| match schedule.timestep_at_snr(ratio) {
            Some(t) => t,
            None if ratio > schedule.snr(0) => 0,
            None => last,
        };
        let mut all = self.t.map_or_else(|| RATIOS.map(of).to_vec(), |t| vec![t]);
        // Two ratios beyond an end are one level.
        all.dedup();
        all
    }
}

impl Learned for LossGrid {
    fn info(&self) -> AttackInfo {
        AttackInfo {
            name: "loss-grid".into(),
            title: "Losses at many noise levels, learnt".into(),
            paper: "after Wu et al. 2025, arXiv 2503.12008",
            access: Access::WhiteBox,
            formula: "log-odds by logistic regression on ln (1/K) sum_k mean (e_k - eps(x_t, t))^2 at eight noise levels, e_k the same \
                      for all samples; learnt on known samples"
                .into(),
            network_calls_per_sample: self.t.map_or(RATIOS.len(), |_| 1) * self.draws,
            parameters: match self.t {
                Some(t) => AttackParameters {
                    timesteps: Some(vec![t]),
                    draws: Some(self.draws),
                    ..AttackParameters::default()
                },
                None => AttackParameters {
                    ratios: Some(RATIOS.to_vec()),
                    draws: Some(self.draws),
                    ..AttackParameters::default()
                },
            },
            misses: "learns from the known samples; with a few dozen of them there is little to learn",
        }
    }

    fn features(&self, batch: &mut Batch<'_>) -> Result<Tensor> {
        Loss::check_draws("loss-grid", self.draws)?;
        let (size, device) = (batch.x().size(), batch.x().device());
        let mut of_levels = Vec::new();
        for t in self.timesteps(batch) {
            batch.check_timestep(t)?;
            let mut total = vec![0.0; batch.ids().len()];
            for k in 0..self.draws {
                let mut rng = stream(batch.seed(), "attack/loss-grid", k as u64);
                let shared = noise::normal(&mut rng, &size[1..], device);
                let shared = shared.f_unsqueeze(0)?.f_expand_as(batch.x())?;
                let noisy = batch.schedule().add_noise_at(batch.x(), &shared, t);
                let residual = &shared - batch.eps(&noisy, t)?;
                add_mean_squares(&mut total, &residual, 1.0 / self.draws as f64)?;
            }
            // An error of exactly 0, of a closed-form model, must not become an infinite feature.
            let ln = |error: f64| error.max(f64::MIN_POSITIVE).ln();
            let ln: Vec<f64> = total.into_iter().map(ln).collect();
            if let Some(row) = ln.iter().position(|f| !f.is_finite()) {
                return Err(AttackError::NotFinite {
                    sample: batch.ids()[row].clone(),
                    score: ln[row],
                });
            }
            of_levels.push(Tensor::from_slice(&ln));
        }
        Ok(Tensor::f_stack(&of_levels, 1)?)
    }

    fn learn(&self, features: &Tensor, member: &[bool], seed: u64) -> Result<Rule> {
        logistic::learn("loss-grid", features, member, seed)
    }
}
