//! The scheduler's configuration.

use super::flow;
use crate::ranges::{self, Range, real, whole};
use crate::{DiffusionError, Result};
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
    /// `linear` (DDPM), `scaled_linear` (Stable Diffusion: linear in sqrt(beta)), `squaredcos_cap_v2` or `sigmoid`.
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
    /// `fixed_small` or `fixed_large` variance of ancestral sampling; `learned` or `learned_range` of a network that predicts it, whose
    /// half of the output is not used: such models are sampled by DDIM.
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
    /// Of a flow alone ([`super::flow`]): how the levels of its sampling run are shifted, 1 for not at all. `None` of a schedule of
    /// betas. A flow's own configuration has no key about betas: those here are DDPM's, at whose timesteps attacks ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shift: Option<f64>,
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
            shift: None,
        }
    }
}

/// Most timesteps: a hundred times those of the published models.
const MOST_TIMESTEPS: i32 = 100_000;

/// Ranges of the numbers.
pub(super) const RANGES: &[(&str, Range)] = &[
    ("num_train_timesteps", whole(2, MOST_TIMESTEPS)),
    ("beta_start", real(0.0, 1.0)),
    ("beta_end", real(0.0, 1.0)),
    ("clip_sample_range", real(1e-6, 1e6)),
    ("steps_offset", whole(0, MOST_TIMESTEPS)),
];

/// A number as JSON, which has no word for those that are not finite.
pub(super) fn number(value: f64) -> serde_json::Value {
    serde_json::Number::from_f64(value).map_or_else(|| value.to_string().into(), Into::into)
}

impl SchedulerConfig {
    /// Checks what would compute something else, or nothing at all. (Names of schedules and prediction types are checked where
    /// they are used.)
    ///
    /// # Errors
    /// The first key whose value is out of its range or not implemented.
    pub(super) fn check(&self) -> Result<()> {
        let fail = |reason: String| Err(DiffusionError::Config(reason));
        let n = i64::try_from(self.num_train_timesteps).unwrap_or(i64::MAX);
        let numbers = serde_json::json!({
            "num_train_timesteps": n,
            "beta_start": number(self.beta_start),
            "beta_end": number(self.beta_end),
            "clip_sample_range": number(self.clip_sample_range),
            "steps_offset": self.steps_offset,
        });
        ranges::check(&numbers, RANGES)?;
        self.check_flow()?;
        if self.steps_offset >= n {
            return fail(format!(
                "steps_offset = {}: must be below num_train_timesteps = {n}",
                self.steps_offset
            ));
        }
        for (key, value) in [
            ("rescale_betas_zero_snr", self.rescale_betas_zero_snr),
            ("thresholding", self.thresholding),
        ] {
            if value {
                return fail(format!(
                    "{key} = true is not supported: results would be wrong without it"
                ));
            }
        }
        for (key, value, known) in [
            (
                "timestep_spacing",
                &self.timestep_spacing,
                &["leading", "trailing", "linspace"][..],
            ),
            (
                "variance_type",
                &self.variance_type,
                &[
                    "fixed_small",
                    "fixed_small_log",
                    "fixed_large",
                    "learned",
                    "learned_range",
                ],
            ),
        ] {
            if !known.contains(&value.as_str()) {
                return fail(format!(
                    "{key} \"{value}\" is not known: use {}",
                    known.join(", ")
                ));
            }
        }
        Ok(())
    }

    /// Is the variance of a step back the network's to predict?
    #[must_use]
    pub fn variance_is_learned(&self) -> bool {
        self.variance_type.starts_with("learned")
    }

    /// The class of the folder's own sampler where this program has another in its place: it samples by DDIM or as DDPM, whatever
    /// the class, and flows by Euler steps. Noise schedule and attacks do not depend on the sampler.
    #[must_use]
    pub fn other_sampler(&self) -> Option<&str> {
        let own = [
            "DDPMScheduler",
            "DDPMParallelScheduler",
            "DDIMScheduler",
            "DDIMParallelScheduler",
            flow::CLASS,
        ];
        (!own.contains(&self.class_name.as_str())).then_some(&self.class_name)
    }

    /// DDPM's schedule for latents, which have no bounds to be clipped to; sampled by DDIM, as the `DDIMScheduler` that diffusers'
    /// pipelines of latents come with.
    #[must_use]
    pub fn of_latents() -> Self {
        Self {
            class_name: "DDIMScheduler".into(),
            clip_sample: false,
            ..Self::default()
        }
    }

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
