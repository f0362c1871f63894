//! The noise schedule: x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps, timesteps 0-based.
//!
//! Note that abar_0 is not 1 (0.9999 for the DDPM schedule): the clean image is *treated as* x at t = 0 by every
//! attack, as in the public code. Tables are f64; coefficients meet tensors as f64 scalars.

use crate::{DiffusionError, Result};
use dualmd_torch::{Device, Kind, Tensor};
use serde::{Deserialize, Serialize};

/// diffusers' `scheduler_config.json`, the part that defines the forward process and sampling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SchedulerConfig {
    /// Class that diffusers instantiates.
    #[serde(rename = "_class_name", default = "ddpm_class")]
    pub class_name: String,
    /// diffusers version the folder claims.
    #[serde(rename = "_diffusers_version", default = "diffusers_version")]
    pub diffusers_version: String,
    /// T.
    #[serde(default = "thousand")]
    pub num_train_timesteps: usize,
    /// beta_0.
    #[serde(default = "beta_start")]
    pub beta_start: f64,
    /// beta_{T-1}.
    #[serde(default = "beta_end")]
    pub beta_end: f64,
    /// `linear` (DDPM) or `scaled_linear` (Stable Diffusion: linear in sqrt(beta)).
    #[serde(default = "linear")]
    pub beta_schedule: String,
    /// Explicit betas, if the folder gives them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained_betas: Option<Vec<f64>>,
    /// `epsilon`, `v_prediction` or `sample`: what the network's output means.
    #[serde(default = "epsilon")]
    pub prediction_type: String,
    /// Clip the predicted x_0 while sampling.
    #[serde(default = "yes")]
    pub clip_sample: bool,
    /// Clip to [-range, range].
    #[serde(default = "one")]
    pub clip_sample_range: f64,
    /// `fixed_small` or `fixed_large` variance of ancestral sampling.
    #[serde(default = "fixed_small")]
    pub variance_type: String,
    /// The last DDIM step goes to abar = 1 (true) or abar_0.
    #[serde(default = "yes")]
    pub set_alpha_to_one: bool,
    /// Added to the sampling timesteps (1 for Stable Diffusion).
    #[serde(default)]
    pub steps_offset: i64,
    /// Spacing of the sampling timesteps: `leading`, `trailing` or `linspace`.
    #[serde(default = "leading")]
    pub timestep_spacing: String,
    /// Must not be true: betas rescaled to zero terminal signal are not implemented.
    #[serde(default, skip_serializing_if = "is_false")]
    pub rescale_betas_zero_snr: bool,
    /// Must not be true: dynamic thresholding is not implemented.
    #[serde(default, skip_serializing_if = "is_false")]
    pub thresholding: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn ddpm_class() -> String {
    "DDPMScheduler".into()
}
fn diffusers_version() -> String {
    "0.35.0".into()
}
fn thousand() -> usize {
    1000
}
fn beta_start() -> f64 {
    1e-4
}
fn beta_end() -> f64 {
    0.02
}
fn linear() -> String {
    "linear".into()
}
fn epsilon() -> String {
    "epsilon".into()
}
fn fixed_small() -> String {
    "fixed_small".into()
}
fn leading() -> String {
    "leading".into()
}
fn yes() -> bool {
    true
}
fn one() -> f64 {
    1.0
}

impl Default for SchedulerConfig {
    /// The DDPM schedule of Ho et al. 2020 and of the SecMI code: linear betas 1e-4..0.02, T = 1000.
    fn default() -> Self {
        Self {
            class_name: ddpm_class(),
            diffusers_version: diffusers_version(),
            num_train_timesteps: thousand(),
            beta_start: beta_start(),
            beta_end: beta_end(),
            beta_schedule: linear(),
            trained_betas: None,
            prediction_type: epsilon(),
            clip_sample: true,
            clip_sample_range: 1.0,
            variance_type: "fixed_large".into(),
            set_alpha_to_one: true,
            steps_offset: 0,
            timestep_spacing: leading(),
            rescale_betas_zero_snr: false,
            thresholding: false,
        }
    }
}

impl SchedulerConfig {
    /// Stable Diffusion's schedule: scaled-linear betas 0.00085..0.012, T = 1000, sampling timesteps one later, the last
    /// step to abar_0, no clipping; eps-prediction.
    #[must_use]
    pub fn stable_diffusion() -> Self {
        Self {
            class_name: "DDIMScheduler".into(),
            beta_start: 0.00085,
            beta_end: 0.012,
            beta_schedule: "scaled_linear".into(),
            clip_sample: false,
            set_alpha_to_one: false,
            steps_offset: 1,
            ..Self::default()
        }
    }
}

/// What the network's output means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PredictionType {
    /// The noise.
    Epsilon,
    /// v = sqrt(abar) eps - sqrt(1 - abar) x_0 (Salimans and Ho 2022).
    Velocity,
    /// The clean image.
    Sample,
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
    /// Schedules or prediction types this program does not know.
    pub fn new(config: SchedulerConfig) -> Result<Self> {
        let n = config.num_train_timesteps;
        if n < 2 {
            return Err(DiffusionError::Config(format!(
                "num_train_timesteps = {n}: a schedule needs at least 2"
            )));
        }
        for (key, value) in [
            ("rescale_betas_zero_snr", config.rescale_betas_zero_snr),
            ("thresholding", config.thresholding),
        ] {
            if value {
                return Err(DiffusionError::Config(format!(
                    "{key} = true is not supported: results would be wrong without it"
                )));
            }
        }
        let line = |a: f64, b: f64, i: usize| a + (b - a) * i as f64 / (n - 1) as f64;
        let betas: Vec<f64> = match (&config.trained_betas, config.beta_schedule.as_str()) {
            (Some(betas), _) if betas.len() == n => betas.clone(),
            (Some(betas), _) => {
                return Err(DiffusionError::Config(format!(
                    "trained_betas has {} values but num_train_timesteps is {n}",
                    betas.len()
                )));
            }
            (None, "linear") => (0..n)
                .map(|i| line(config.beta_start, config.beta_end, i))
                .collect(),
            (None, "scaled_linear") => (0..n)
                .map(|i| line(config.beta_start.sqrt(), config.beta_end.sqrt(), i).powi(2))
                .collect(),
            (None, other) => {
                return Err(DiffusionError::Config(format!(
                    "beta_schedule \"{other}\" is not known: use linear or scaled_linear, or give trained_betas"
                )));
            }
        };
        if let Some((i, b)) = betas
            .iter()
            .enumerate()
            .find(|(_, b)| !(**b > 0.0 && **b < 1.0))
        {
            return Err(DiffusionError::Config(format!(
                "beta[{i}] = {b}: every beta must lie in (0, 1)"
            )));
        }
        let prediction = match config.prediction_type.as_str() {
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
        let shape = [-1, 1, 1, 1];
        let table = |f: &dyn Fn(f64) -> f64| {
            let values: Vec<f64> = self.alphas_cumprod.iter().map(|&a| f(a)).collect();
            Tensor::from_slice(&values)
                .to_device(t.device())
                .index_select(0, t)
                .to_kind(Kind::Float)
                .view(shape)
        };
        (table(&|a| a.sqrt()), table(&|a| (1.0 - a).sqrt()))
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

    /// eps of a network's output at x_t, whatever the network predicts; per-row timesteps `t` \[B\].
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
        }
    }

    /// The deterministic DDIM move from `from` to `to`, in either direction, without clipping:
    /// sqrt(abar_to) f(x, from) + sqrt(1 - abar_to) eps.
    pub fn ddim_move(&self, x: &Tensor, eps: &Tensor, from: i64, to: i64) -> Tensor {
        let b = self.alpha_bar(to);
        self.predict_x0(x, eps, from) * b.sqrt() + eps * (1.0 - b).sqrt()
    }

    /// The `steps` timesteps of a sampling run, largest first, as diffusers spaces them.
    ///
    /// # Errors
    /// More steps than timesteps, none, or an unknown spacing.
    pub fn sampling_timesteps(&self, steps: usize) -> Result<Vec<i64>> {
        let total = self.len();
        if steps == 0 || steps > total {
            return Err(DiffusionError::Config(format!(
                "{steps} sampling steps: choose 1 to {total}"
            )));
        }
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
