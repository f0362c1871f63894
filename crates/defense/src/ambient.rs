//! Ambient training at high noise (*Does Generation Require Memorization? Creative Diffusion Models using Ambient Diffusion*, 2025,
//! arXiv:2502.21278; on Daras et al. 2023): the network sees an image as it is only where little noise lies on it. From a level s_n on it
//! is shown y = x_0 + s_n n in place of x_0, with noise n that is the image's own and the same in every step, so that there is nothing
//! cleaner than y to learn by heart.
//!
//! With s = sqrt((1 - abar) / abar), the noise at timestep t beside an image of size 1, and c = 1 - s_n^2 / s^2, or 1 where s < s_n:
//!
//! ```text
//! e    <- sqrt(1 - c) n + sqrt(c) z                       z: fresh noise
//! x_t  <- sqrt(abar) x_0 + sqrt(1 - abar) e               = sqrt(abar) (y + sqrt(s^2 - s_n^2) z) where s >= s_n
//! loss <- mean (c eps(x_t, t) - sqrt(c) z)^2
//! ```
//!
//! This is the paper's loss in terms of the noise: it predicts y by (s^2 - s_n^2) / s^2 x0(x) + s_n^2 / s^2 x, and differs from the ordinary
//! loss in the noise by this factor and this target alone. What eps learns is E[(x - x_0) / s | x], as without it. At s = s_n the weight
//! is 0. Guarantee: none.

use crate::order::EpochOrder;
use crate::recipe::{Draw, Recipe, Target};
use crate::{DefenseError, Indices, Result};
use dualmd_data::stream;
use dualmd_diffusion::{Condition, NoiseSchedule};
use dualmd_torch::device::bring;
use dualmd_torch::{Device, Tensor, noise};

/// Ordinary training below a level of noise, and on images with noise of their own above it.
#[derive(Debug)]
pub struct Ambient {
    order: EpochOrder,
    noise: f64,
    seed: u64,
}

impl Ambient {
    /// `noise`: s_n, the standard deviation of the images' own noise, for images in [-1, 1]; the paper's script has 0.5.
    ///
    /// # Errors
    /// An empty pool; a noise that is not above 0.
    pub fn new(pool: Vec<usize>, noise: f64, seed: u64) -> Result<Self> {
        if pool.is_empty() {
            return Err(DefenseError::Setting(
                "no images to train on: the split's half is empty".into(),
            ));
        }
        if !(noise > 0.0 && noise.is_finite()) {
            return Err(DefenseError::Setting(format!(
                "ambient training with noise {noise}: it must be above 0 (0.5 in the paper's script)"
            )));
        }
        Ok(Self {
            order: EpochOrder::new(pool, seed, "train/order"),
            noise,
            seed,
        })
    }

    /// c of the timesteps `t` \[B\], and sqrt(1 - c), both [B, 1, 1, 1] f32. (The second by itself: at much noise c is nearly 1.)
    pub(crate) fn shares(&self, schedule: &NoiseSchedule, t: &Tensor) -> Result<[Tensor; 2]> {
        let (signal, noise) = schedule.coefficients(t);
        // s_n^2 / s^2 = s_n^2 abar / (1 - abar).
        let own = (signal / noise).f_square()? * (self.noise * self.noise);
        let clean = own.f_gt(1.0)?;
        let fresh = (-&own + 1.0).f_masked_fill(&clean, 1.0)?;
        Ok([fresh, own.f_sqrt()?.f_masked_fill(&clean, 0.0)?])
    }

    /// The own noise n of these images, [B, C, H, W].
    pub(crate) fn own_noise(&self, images: &[i64], size: &[i64], device: Device) -> Result<Tensor> {
        let rows: Vec<Tensor> = images
            .iter()
            .map(|&image| {
                let mut rng = stream(self.seed, "train/ambient", image.unsigned_abs());
                noise::normal(&mut rng, size, Device::Cpu)
            })
            .collect();
        Ok(bring(&Tensor::f_stack(&rows, 0)?, device))
    }
}

impl Recipe for Ambient {
    fn members(&self) -> Indices {
        self.order.pool().clone()
    }

    fn draw(&self, step: u64, batch: usize) -> Draw {
        Draw {
            images: self.order.draw(step, batch),
            target: Target::Noise,
        }
    }

    fn teach(&self, _: &[usize], _: &Tensor, _: &Tensor, _: Option<&Condition>) -> Result<Tensor> {
        Err(DefenseError::Setting(
            "ambient training has no teacher".into(),
        ))
    }

    fn ambient(&self) -> Option<&Ambient> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_torch::Kind;

    #[test]
    fn shares_are_those_of_the_noise_beyond_the_images_own() {
        let schedule = NoiseSchedule::default();
        let ambient = Ambient::new(vec![0, 1], 0.5, 1).unwrap();
        let t = Tensor::arange(schedule.len() as i64, (Kind::Int64, Device::Cpu));
        let [shares, own] = ambient
            .shares(&schedule, &t)
            .unwrap()
            .map(|t| Vec::<f64>::try_from(t.flatten(0, -1)).unwrap());
        let mut above = 0;
        for (t, share) in shares.into_iter().enumerate() {
            let abar = schedule.alpha_bar(t as i64);
            let s2 = (1.0 - abar) / abar;
            let want = if s2 < 0.25 { 1.0 } else { 1.0 - 0.25 / s2 };
            assert!((share - want).abs() < 1e-5, "{t}: {share} and {want}");
            let rest = if s2 < 0.25 { 0.0 } else { 0.5 / s2.sqrt() };
            assert!((own[t] - rest).abs() < 1e-5 * rest.max(1e-3), "{t}");
            above += usize::from(share < 1.0);
        }
        // Most timesteps of the DDPM schedule are noisier than 0.5.
        assert!((500..1000).contains(&above), "{above}");
    }

    #[test]
    fn an_image_keeps_its_noise_and_shares_it_with_none() {
        let ambient = Ambient::new(vec![0, 1], 0.5, 1).unwrap();
        let of = |images: &[i64]| ambient.own_noise(images, &[1, 8, 8], Device::Cpu).unwrap();
        assert_eq!(of(&[3, 5]).get(1), of(&[5, 3]).get(0));
        assert_ne!(of(&[3]), of(&[5]));
        assert_eq!(of(&[3, 5]).size(), [2, 1, 8, 8]);
        for noise in [0.0, -1.0, f64::NAN] {
            assert!(Ambient::new(vec![0], noise, 1).is_err());
        }
        assert!(Ambient::new(vec![], 0.5, 1).is_err());
    }
}
