//! The noise schedule: x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps, timesteps 0-based.
//!
//! Note that abar_0 is not 1 (0.9999 for the DDPM schedule): the clean image is *treated as* x at t = 0 by every
//! attack, as in the public code. Tables are f64; coefficients meet tensors as f64 scalars. [`flow`]: networks of flow matching, that are
//! asked at the same timesteps.

mod betas;
mod config;
pub mod flow;
mod read;

pub use config::SchedulerConfig;

use crate::{DiffusionError, Result};
use dualmd_torch::device::bring;
use dualmd_torch::{Device, Kind, Tensor};

/// What the network's output means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PredictionType {
    /// The noise.
    Epsilon,
    /// v = sqrt(abar) eps - sqrt(1 - abar) x_0 (Salimans and Ho 2022).
    Velocity,
    /// The clean image.
    Sample,
    /// The velocity eps - x_0 of a flow, asked at a place of its own path ([`flow`], [`NoiseSchedule::question`]).
    Flow,
}

/// The tables of one schedule.
#[derive(Debug, Clone)]
pub struct NoiseSchedule {
    config: SchedulerConfig,
    alphas_cumprod: Vec<f64>,
    prediction: PredictionType,
}

impl Default for NoiseSchedule {
    fn default() -> Self {
        Self::new(SchedulerConfig::default())
            .unwrap_or_else(|_| unreachable!("the default schedule is valid"))
    }
}

impl NoiseSchedule {
    /// Builds the tables.
    ///
    /// # Errors
    /// Schedules, spacings or prediction types this program does not know; numbers out of their range.
    pub fn new(config: SchedulerConfig) -> Result<Self> {
        config.check()?;
        let betas = betas::of(&config)?;
        let prediction = match config.prediction_type.as_str() {
            _ if config.shift.is_some() => PredictionType::Flow,
            "epsilon" => PredictionType::Epsilon,
            "v_prediction" => PredictionType::Velocity,
            "sample" => PredictionType::Sample,
            other => {
                return Err(DiffusionError::Config(format!(
                    "prediction_type \"{other}\" is not known: use epsilon, v_prediction or sample"
                )));
            }
        };
        let alphas_cumprod = betas
            .iter()
            .scan(1.0, |product, beta| {
                *product *= 1.0 - beta;
                Some(*product)
            })
            .collect();
        Ok(Self {
            config,
            alphas_cumprod,
            prediction,
        })
    }

    /// The configuration the tables were made from.
    #[must_use]
    pub fn config(&self) -> &SchedulerConfig {
        &self.config
    }

    /// What the network's output means.
    #[must_use]
    pub fn prediction(&self) -> PredictionType {
        self.prediction
    }

    /// T.
    #[must_use]
    pub fn len(&self) -> usize {
        self.alphas_cumprod.len()
    }

    /// Never true: a schedule has at least two timesteps.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.alphas_cumprod.is_empty()
    }

    /// abar_t; past either end the nearest timestep's value.
    #[must_use]
    pub fn alpha_bar(&self, t: i64) -> f64 {
        let last = self.alphas_cumprod.len() - 1;
        self.alphas_cumprod[usize::try_from(t).unwrap_or(0).min(last)]
    }

    /// Signal-to-noise ratio abar_t / (1 - abar_t) of a timestep; infinite where no noise is added.
    #[must_use]
    pub fn snr(&self, t: i64) -> f64 {
        let kept = self.alpha_bar(t);
        kept / (1.0 - kept)
    }

    /// The timestep whose signal-to-noise ratio is nearest to `ratio`, by logarithm; `None` of a ratio that lies outside those of the
    /// schedule. 1, as much signal as noise, is at t = 258 of DDPM's linear schedule.
    #[must_use]
    pub fn timestep_at_snr(&self, ratio: f64) -> Option<i64> {
        let last = self.alphas_cumprod.len() as i64 - 1;
        if !(self.snr(last)..=self.snr(0)).contains(&ratio) {
            return None;
        }
        let off = |t: &i64| (self.snr(*t) / ratio).ln().abs();
        (0..=last).min_by(|a, b| off(a).total_cmp(&off(b)))
    }

    /// abar after the last denoising step (`set_alpha_to_one`).
    #[must_use]
    pub fn final_alpha_bar(&self) -> f64 {
        if self.config.set_alpha_to_one {
            1.0
        } else {
            self.alphas_cumprod[0]
        }
    }

    /// [B, 1, 1, 1] f32 tensors sqrt(abar_t), sqrt(1 - abar_t) for `t` \[B\] i64.
    pub fn coefficients(&self, t: &Tensor) -> (Tensor, Tensor) {
        let wide = |f: &dyn Fn(f64) -> f64| self.table(t, f).view([-1, 1, 1, 1]);
        (wide(&|a| a.sqrt()), wide(&|a| (1.0 - a).sqrt()))
    }

    /// f(abar_t) of timesteps `t` \[B\] i64: \[B\] f32 on their device.
    fn table(&self, t: &Tensor, f: &dyn Fn(f64) -> f64) -> Tensor {
        let values: Vec<f64> = self.alphas_cumprod.iter().map(|&a| f(a)).collect();
        bring(&Tensor::from_slice(&values), t.device())
            .index_select(0, t)
            .to_kind(Kind::Float)
    }

    /// x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise (paper Eq. 2), per-row timesteps `t` \[B\].
    pub fn add_noise(&self, x0: &Tensor, noise: &Tensor, t: &Tensor) -> Tensor {
        let (a, b) = self.coefficients(t);
        x0 * a + noise * b
    }

    /// x_t for one timestep shared by the batch.
    pub fn add_noise_at(&self, x0: &Tensor, noise: &Tensor, t: i64) -> Tensor {
        let a = self.alpha_bar(t);
        x0 * a.sqrt() + noise * (1.0 - a).sqrt()
    }

    /// f(x, t) = (x - sqrt(1 - abar_t) eps) / sqrt(abar_t), the predicted clean image.
    pub fn predict_x0(&self, x: &Tensor, eps: &Tensor, t: i64) -> Tensor {
        let a = self.alpha_bar(t);
        (x - eps * (1.0 - a).sqrt()) / a.sqrt()
    }

    /// eps of a network's output at x_t, whatever the network predicts; per-row timesteps `t` \[B\]. A flow's network is asked
    /// elsewhere: [`Self::question`].
    pub fn noise_of_output(&self, out: Tensor, x_t: &Tensor, t: &Tensor) -> Tensor {
        match self.prediction {
            PredictionType::Epsilon => out,
            // v = a eps - b x_0 and x_t = a x_0 + b eps give eps = a v + b x_t.
            PredictionType::Velocity => {
                let (a, b) = self.coefficients(t);
                out * a + x_t * b
            }
            PredictionType::Sample => {
                let (a, b) = self.coefficients(t);
                (x_t - out * a) / b
            }
            // x_s = x_t / (a + b), s = b / (a + b) and eps = x_s + (1 - s) v.
            PredictionType::Flow => {
                let (a, b) = self.coefficients(t);
                (x_t + out * &a) / (a + b)
            }
        }
    }

    /// The inverse of [`Self::noise_of_output`]: what a network should answer at x_t if the noise is `eps`.
    pub fn output_for_noise(&self, eps: Tensor, x_t: &Tensor, t: &Tensor) -> Tensor {
        match self.prediction {
            PredictionType::Epsilon => eps,
            PredictionType::Velocity => {
                let (a, b) = self.coefficients(t);
                (eps - x_t * b) / a
            }
            PredictionType::Sample => {
                let (a, b) = self.coefficients(t);
                (x_t - eps * b) / a
            }
            PredictionType::Flow => {
                let (a, b) = self.coefficients(t);
                (eps * (&a + b) - x_t) / a
            }
        }
    }

    /// The deterministic DDIM move from `from` to `to`, in either direction, without clipping:
    /// sqrt(abar_to) f(x, from) + sqrt(1 - abar_to) eps.
    pub fn ddim_move(&self, x: &Tensor, eps: &Tensor, from: i64, to: i64) -> Tensor {
        let b = self.alpha_bar(to);
        self.predict_x0(x, eps, from) * b.sqrt() + eps * (1.0 - b).sqrt()
    }

    /// The `steps` timesteps of a sampling run, largest first, as diffusers spaces them. Of a flow, which is sampled at
    /// [`Self::sampling_levels`], those that its steps cover: of a step the largest timestep whose level is not above the step's; the
    /// last step may cover none, and is then left out.
    ///
    /// # Errors
    /// More steps than timesteps, none, or an unknown spacing.
    pub fn sampling_timesteps(&self, steps: usize) -> Result<Vec<i64>> {
        self.check_steps(steps)?;
        if self.is_flow() {
            return Ok(self.timesteps_under(&self.sampling_levels(steps)?));
        }
        let total = self.len();
        let offset = self.config.steps_offset;
        let top = total as i64 - 1;
        let timesteps: Vec<i64> = match self.config.timestep_spacing.as_str() {
            "leading" => {
                let ratio = (total / steps) as i64;
                (0..steps as i64)
                    .rev()
                    .map(|i| (i * ratio + offset).min(top))
                    .collect()
            }
            "trailing" => {
                let ratio = total as f64 / steps as f64;
                (0..steps)
                    .map(|i| (total as f64 - i as f64 * ratio).round() as i64 - 1)
                    .collect()
            }
            "linspace" if steps == 1 => vec![0],
            "linspace" => (0..steps)
                .rev()
                .map(|i| (top as f64 * i as f64 / (steps - 1) as f64).round() as i64)
                .collect(),
            other => {
                return Err(DiffusionError::Config(format!(
                    "timestep_spacing \"{other}\" is not known: use leading, trailing or linspace"
                )));
            }
        };
        Ok(timesteps)
    }

    fn check_steps(&self, steps: usize) -> Result<()> {
        let total = self.len();
        if steps == 0 || steps > total {
            return Err(DiffusionError::Config(format!(
                "{steps} sampling steps: choose 1 to {total}"
            )));
        }
        Ok(())
    }

    /// `t` repeated `n` times, \[n\] i64 on `device`.
    pub fn timestep_tensor(t: i64, n: i64, device: Device) -> Tensor {
        Tensor::full([n], t, (Kind::Int64, device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64, tolerance: f64) {
        assert!((a - b).abs() <= tolerance, "{a} is not {b}");
    }

    #[test]
    fn noise_levels_are_found_under_every_schedule() {
        let ddpm = NoiseSchedule::default();
        assert_eq!(ddpm.timestep_at_snr(1.0), Some(258));
        let latent = SchedulerConfig {
            beta_schedule: "scaled_linear".into(),
            beta_start: 0.00085,
            beta_end: 0.012,
            ..SchedulerConfig::default()
        };
        assert_eq!(
            NoiseSchedule::new(latent).unwrap().timestep_at_snr(1.0),
            Some(354)
        );
        for t in [0, 1, 500, 999] {
            assert_eq!(ddpm.timestep_at_snr(ddpm.snr(t)), Some(t));
        }
        for beyond in [
            ddpm.snr(0) * 1.01,
            ddpm.snr(999) * 0.99,
            0.0,
            -1.0,
            f64::NAN,
        ] {
            assert_eq!(ddpm.timestep_at_snr(beyond), None, "{beyond}");
        }
    }

    /// Constants of attacks.md section 1, computed from the public code's definitions.
    #[test]
    fn ddpm_constants() {
        let s = NoiseSchedule::default();
        for (t, expected) in [
            (10, 0.99781),
            (90, 0.91326),
            (100, 0.89514),
            (200, 0.65635),
            (300, 0.39401),
        ] {
            close(s.alpha_bar(t), expected, 5e-6);
        }
        close(s.alpha_bar(0), 0.9999, 1e-12);
        close(s.alpha_bar(999), 4.036e-5, 5e-9);
    }

    #[test]
    fn stable_diffusion_constants() {
        let config = SchedulerConfig {
            beta_start: 0.00085,
            beta_end: 0.012,
            beta_schedule: "scaled_linear".into(),
            ..SchedulerConfig::default()
        };
        let s = NoiseSchedule::new(config.clone()).unwrap();
        for (t, expected) in [
            (10, 0.99043),
            (100, 0.89422),
            (140, 0.84176),
            (150, 0.82781),
            (200, 0.75369),
            (500, 0.27633),
        ] {
            close(s.alpha_bar(t), expected, 5e-6);
        }
        close(s.alpha_bar(999), 0.004_660_1, 5e-8);
        let wrong = NoiseSchedule::new(SchedulerConfig {
            beta_schedule: "linear".into(),
            ..config
        })
        .unwrap();
        close(wrong.alpha_bar(200), 0.67326, 5e-6);
    }

    #[test]
    fn timesteps_as_diffusers_spaces_them() {
        let s = NoiseSchedule::default();
        assert_eq!(s.sampling_timesteps(4).unwrap(), [750, 500, 250, 0]);
        assert_eq!(s.sampling_timesteps(50).unwrap()[0], 980);
        assert!(s.sampling_timesteps(0).is_err() && s.sampling_timesteps(1001).is_err());
        let trailing = NoiseSchedule::new(SchedulerConfig {
            timestep_spacing: "trailing".into(),
            ..SchedulerConfig::default()
        })
        .unwrap();
        assert_eq!(
            trailing.sampling_timesteps(4).unwrap(),
            [999, 749, 499, 249]
        );
    }

    #[test]
    fn ddim_up_then_down_with_constant_noise_is_the_identity() {
        let s = NoiseSchedule::default();
        let x = Tensor::from_slice(&[0.3f32, -0.8, 0.1, 0.9]).view([1, 1, 2, 2]);
        let eps = Tensor::from_slice(&[1.0f32, -1.0, 0.5, 0.2]).view([1, 1, 2, 2]);
        let back = s.ddim_move(&s.ddim_move(&x, &eps, 0, 100), &eps, 100, 0);
        assert!((back - x).abs().max().double_value(&[]) < 1e-6);
    }
}
