//! Differentially private training (DP-SGD; Abadi et al. 2016, for diffusion models Dockhorn et al. 2023).
//!
//! ```text
//! each image is drawn with probability q = batch / n, by its own coin        (an empty draw is a step like any other)
//! g_i    <- gradient of the loss of image i, averaged over K draws of (t, noise)
//! g_i    <- g_i min(1, C / |g_i|)                                             (global L2 norm over all weights)
//! g      <- (sum of g_i + N(0, sigma^2 C^2 I)) / batch
//! Adam, EMA
//! ```
//!
//! * [`DpSgd`]: the recipe: Poisson draws, noise, and what is spent; [`Privacy`] its settings.
//! * [`ClippedSum`]: per-image clipping.
//! * [`accountant`]: (epsilon, delta) of a number of steps.
//!
//! Guarantee: (epsilon, delta)-differential privacy of the weights (raw, averaged, any checkpoint) with respect to adding
//! or removing one image, as far as real Gaussian noise is what f32 arithmetic and a stream cipher make of it, and only
//! against those who do not know the run's secret (see [`DpSgd::new`]). It says nothing about groups of images (one person
//! on k of them: about k epsilon), about choices made by looking at members, or about logs, which hold unprotected losses.

pub mod accountant;
mod clipping;

pub use clipping::ClippedSum;

use crate::indices::Among;
use crate::recipe::{Draw, Recipe, Target};
use crate::{DefenseError, Indices, Result};
use dualmd_data::stream_for_id;
use dualmd_diffusion::Condition;
use dualmd_torch::{Device, Tensor, noise};
use rand::Rng;
use serde::{Deserialize, Serialize};

/// Settings of DP-SGD. The sampling rate is not among them: it is `train.batch` over the number of images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Privacy {
    /// sigma: standard deviation of the noise on the sum, in units of `clip`. 0 clips only, and guarantees nothing.
    pub noise_multiplier: f64,
    /// C: largest L2 norm of one image's gradient.
    pub clip: f64,
    /// K: draws of (t, noise) that one image's gradient averages over, before it is clipped. It costs time, not privacy.
    /// Default 8, as in Dockhorn et al. for CIFAR-10.
    pub noise_multiplicity: usize,
}

impl Default for Privacy {
    fn default() -> Self {
        Self {
            noise_multiplier: 1.0,
            clip: 1.0,
            noise_multiplicity: 8,
        }
    }
}

impl Privacy {
    /// # Errors
    /// The first value out of range.
    pub fn check(&self) -> Result<()> {
        let fail = |key: &str, value: &dyn std::fmt::Display, rule: &str| {
            Err(DefenseError::Setting(format!(
                "privacy.{key} = {value}: must be {rule}"
            )))
        };
        if !(self.noise_multiplier >= 0.0 && self.noise_multiplier.is_finite()) {
            return fail("noise_multiplier", &self.noise_multiplier, "0 or more");
        }
        if !(self.clip > 0.0 && self.clip.is_finite()) {
            return fail("clip", &self.clip, "a positive number");
        }
        if self.noise_multiplicity == 0 {
            return fail("noise_multiplicity", &self.noise_multiplicity, "at least 1");
        }
        Ok(())
    }
}

/// Ordinary training (true-noise targets) by DP-SGD.
///
/// It stands alone: a student that learns from teachers gets the members' information through the teachers as well, which
/// per-image clipping of the student's gradients does not bound. The trainer refuses the combination.
pub struct DpSgd {
    pool: Indices,
    privacy: Privacy,
    secret: String,
}

// By hand: the secret stays out of logs.
impl std::fmt::Debug for DpSgd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DpSgd")
            .field("images", &self.pool.len())
            .field("privacy", &self.privacy)
            .finish_non_exhaustive()
    }
}

impl DpSgd {
    /// `pool`: the images. `secret` names the streams of coins and noise, so that a run repeats and resumes: whoever knows
    /// it can draw the same noise and subtract it. For a model that is to be released it must come from the operating
    /// system's randomness (32 bytes as hex digits are plenty) and be kept like the images; a published seed is no secret.
    ///
    /// # Errors
    /// An empty pool, an image listed twice, an empty secret, or a setting out of range.
    pub fn new(pool: Vec<usize>, privacy: Privacy, secret: &str) -> Result<Self> {
        privacy.check()?;
        if pool.is_empty() {
            return Err(DefenseError::Setting(
                "no images to train on: the split's half is empty".into(),
            ));
        }
        let mut seen = Among::default();
        if let Some(i) = pool.iter().find(|&&i| !seen.insert(i)) {
            return Err(DefenseError::Setting(format!(
                "image {i} is listed twice: drawn twice in a step, it would count for twice the clip"
            )));
        }
        if secret.is_empty() {
            return Err(DefenseError::Setting(
                "DP-SGD needs a secret for its noise: without one, anybody can draw the noise again and subtract it".into(),
            ));
        }
        Ok(Self {
            pool: pool.into(),
            privacy,
            secret: secret.to_owned(),
        })
    }

    /// The settings.
    #[must_use]
    pub fn privacy(&self) -> &Privacy {
        &self.privacy
    }

    /// q: probability of each image in a step, for the expected batch size `batch`; at most 1.
    #[must_use]
    pub fn sampling_rate(&self, batch: usize) -> f64 {
        (batch as f64 / self.pool.len() as f64).min(1.0)
    }

    /// What `steps` steps spend at `delta`. Count the steps that were planned: a run that stopped early decided so by
    /// looking at its weights, which this accountant does not cover.
    ///
    /// # Errors
    /// `delta` outside (0, 1).
    pub fn spent(&self, steps: u64, batch: usize, delta: f64) -> Result<accountant::Spent> {
        let q = self.sampling_rate(batch);
        accountant::spent(steps, q, self.privacy.noise_multiplier, delta)
    }

    /// Seed of the streams that are not privacy noise (timesteps, diffusion noise, augmentation, dropout). They go by an
    /// image's place in the draw, which depends on the other images, so it hangs on the secret too.
    pub(crate) fn seed(&self) -> u64 {
        stream_for_id(0, "train/private", &self.secret).random()
    }

    fn secret_stream(&self, purpose: &str, step: u64) -> impl Rng + use<> {
        stream_for_id(step, purpose, &self.secret)
    }

    /// The noise of step `step` for tensors of these shapes, N(0, sigma^2 C^2); the shapes' order counts.
    pub(crate) fn noise(&self, step: u64, shapes: &[Vec<i64>], device: Device) -> Vec<Tensor> {
        let scale = self.privacy.noise_multiplier * self.privacy.clip;
        let mut rng = self.secret_stream("train/privacy-noise", step);
        shapes
            .iter()
            .map(|shape| noise::normal(&mut rng, shape, device) * scale)
            .collect()
    }
}

impl Recipe for DpSgd {
    fn members(&self) -> Indices {
        self.pool.clone()
    }

    /// Each image with probability `batch` / n: `batch` on average, now and then none.
    fn draw(&self, step: u64, batch: usize) -> Draw {
        let q = self.sampling_rate(batch);
        let mut rng = self.secret_stream("train/poisson", step);
        Draw {
            images: self
                .pool
                .iter()
                .filter(|_| rng.random::<f64>() < q)
                .collect(),
            target: Target::Noise,
        }
    }

    fn teach(&self, _: &[usize], _: &Tensor, _: &Tensor, _: Option<&Condition>) -> Result<Tensor> {
        Err(DefenseError::Setting("DP-SGD has no teacher".into()))
    }

    fn private(&self) -> Option<&DpSgd> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(n: usize, noise_multiplier: f64, secret: &str) -> DpSgd {
        let privacy = Privacy {
            noise_multiplier,
            clip: 0.5,
            noise_multiplicity: 1,
        };
        DpSgd::new((100..100 + n).collect(), privacy, secret).unwrap()
    }

    #[test]
    fn every_image_has_its_own_coin() {
        let recipe = recipe(40, 1.0, "a");
        let steps = 2000u64;
        let mut seen = [0u32; 40];
        let mut together = 0u32;
        for step in 0..steps {
            let draw = recipe.draw(step, 4);
            assert_eq!(draw, recipe.draw(step, 4), "a pure function of the step");
            assert!(draw.images.is_sorted_by(|a, b| a < b), "no image twice");
            draw.images.iter().for_each(|i| seen[i - 100] += 1);
            together += u32::from(draw.images.contains(&100) && draw.images.contains(&139));
        }
        // 2000 coins of 1/10: mean 200, standard deviation 13.4; 40 of them beyond 5 of those: chance below 1e-4.
        assert!(seen.iter().all(|&n| n.abs_diff(200) < 67), "{seen:?}");
        // 2000 pairs of coins: mean 20, standard deviation 4.4.
        assert!(together.abs_diff(20) < 22, "{together}");
    }

    #[test]
    fn draws_may_be_empty_and_may_be_whole() {
        let recipe = recipe(40, 1.0, "a");
        let empty = (0..200)
            .filter(|&s| recipe.draw(s, 1).images.is_empty())
            .count();
        // (1 - 1/40)^40 = 0.363 of 200 is 73, standard deviation 6.8.
        assert!(empty.abs_diff(73) < 35, "{empty}");
        let all: Vec<usize> = recipe.members().iter().collect();
        assert_eq!(recipe.draw(3, 40).images, all);
    }

    #[test]
    fn another_secret_is_another_run() {
        let (a, b) = (recipe(40, 1.0, "a"), recipe(40, 1.0, "b"));
        assert_ne!(a.draw(0, 20), b.draw(0, 20));
        assert_ne!(a.seed(), b.seed());
        let shapes = [vec![3, 2]];
        let draw = |r: &DpSgd, step| r.noise(step, &shapes, Device::Cpu).remove(0);
        assert_eq!(draw(&a, 0), draw(&a, 0));
        assert_ne!(draw(&a, 0), draw(&a, 1));
        assert_ne!(draw(&a, 0), draw(&b, 0));
        assert!(!format!("{a:?}").contains("secret"), "{a:?}");
    }

    #[test]
    fn noise_has_the_promised_size() {
        let noise = recipe(4, 3.0, "a").noise(9, &[vec![100, 100], vec![10_000]], Device::Cpu);
        for part in &noise {
            // sigma C = 1.5; of 10,000 draws the deviation is known to 0.7 % and the mean to 0.015.
            assert!((part.std(true).double_value(&[]) - 1.5).abs() < 0.05);
            assert!(
                part.mean(dualmd_torch::Kind::Double)
                    .double_value(&[])
                    .abs()
                    < 0.075
            );
        }
        assert_ne!(
            noise[0].view([-1]),
            noise[1],
            "one stream, not one per tensor"
        );
    }

    #[test]
    fn spends_what_the_accountant_says() {
        let recipe = recipe(1000, 1.5, "a");
        assert_eq!(recipe.sampling_rate(64), 0.064);
        let spent = recipe.spent(1800, 64, 1e-4).unwrap();
        assert!((spent.epsilon - 10.053_883).abs() < 1e-3);
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let with = |change: &dyn Fn(&mut Privacy)| {
            let mut privacy = Privacy::default();
            change(&mut privacy);
            DpSgd::new(vec![1], privacy, "a").is_err()
        };
        assert!(!with(&|_| ()));
        assert!(with(&|p| p.noise_multiplier = -1.0));
        assert!(with(&|p| p.clip = 0.0));
        assert!(with(&|p| p.clip = f64::INFINITY));
        assert!(with(&|p| p.noise_multiplicity = 0));
        assert!(DpSgd::new(vec![], Privacy::default(), "a").is_err());
        assert!(DpSgd::new(vec![1, 2, 1], Privacy::default(), "a").is_err());
        assert!(DpSgd::new(vec![1], Privacy::default(), "").is_err());
    }
}
