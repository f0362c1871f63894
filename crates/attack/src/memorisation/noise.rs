//! What pure noise says of a prompt: two measures that need no generation.
//!
//! *Anisotropy*: Asthana et al. 2026 (ICLR, arXiv 2601.20642). With delta = eps(x_T, t, text) - eps(x_T, t, empty)
//!
//! ```text
//! alignment  = mean over pixels of the cosine, over channels, of eps(x_T, t', empty) and delta at t'
//! anisotropy = g1 |delta at T|_2 + g2 alignment
//! ```
//!
//! x_T is pure noise in both; t' is the timestep of the third-last step, so that the model takes noise for an image that is nearly
//! done. The public code has (g1, g2) = (1, 2) for Stable Diffusion 1, (1, 0.1) for 2 and (2, 1) for RealVis, chosen on the prompts
//! that it reports, and turns an AUC below 0.5 round. Here they are (1, 2) for every model, and `alignment` stands beside it.
//!
//! *Sharpness*: Jeon et al. 2025 (ICML; public code `sharpness_memorization_diffusion`). With the difference of the two scores
//!
//! ```text
//! s(x)      = -(eps(x, T, text) - eps(x, T, empty)) / sqrt(1 - abar_T)
//! sharpness = |J_s(x_T) s(x_T)|_2
//! ```
//!
//! how much the pull of the text changes along itself: where training images lie the density is sharp. The public code takes the
//! derivative by forward-mode differentiation, here it is a central difference with a step of a hundredth of |x_T|, which needs no
//! gradients and is exact for a score that is linear.
//!
//! Higher = memorised, all of them.

use super::{Both, Generation, norms_of};
use crate::Result;
use crate::similarity::cosines;
use dualmd_diffusion::{Denoiser, NoiseSchedule};
use dualmd_torch::{Kind, Tensor, no_grad};

/// g1 and g2 of [`FromNoise::anisotropy`].
const WEIGHTS: [f64; 2] = [1.0, 2.0];
/// Which step, counted from the last, lends its timestep to the alignment.
const FROM_LAST: usize = 3;
/// Step of the central difference, relative to the norm of the noise.
const STEP: f64 = 0.01;
/// Smallest norm that is divided by.
const TINY: f64 = 1e-12;

/// Measures of every image's noise with its prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct FromNoise {
    /// Mean cosine, between -1 and 1.
    pub alignment: Vec<f64>,
    /// The norm at the first step and twice the alignment.
    pub anisotropy: Vec<f64>,
    /// |J_s s|_2.
    pub sharpness: Vec<f64>,
}

/// Asks the model four times with and without the text of every image, about noise alone: guidance, clipping and all later steps
/// of the `generation` do not matter. A pair of models takes its turns.
///
/// # Errors
/// Shapes that do not fit, step counts the schedule does not have, what the model refuses.
pub fn from_noise(
    denoiser: &dyn Denoiser,
    schedule: &NoiseSchedule,
    generation: &Generation<'_>,
) -> Result<FromNoise> {
    let Generation {
        noise,
        text,
        empty,
        steps,
        first,
        ..
    } = *generation;
    let both = Both::new(denoiser, noise, text, empty, first)?;
    let times = schedule.sampling_timesteps(steps)?;
    let late = times.len().saturating_sub(FROM_LAST);
    let (Some(&t), Some(&t_late)) = (times.first(), times.get(late)) else {
        return Ok(FromNoise {
            alignment: Vec::new(),
            anisotropy: Vec::new(),
            sharpness: Vec::new(),
        });
    };
    no_grad(|| {
        let (with, without) = both.ask(noise, t_late, late)?;
        let alignment = mean_cosines(&without, &(with - &without))?;
        let change = |x: &Tensor| -> Result<Tensor> {
            let (with, without) = both.ask(x, t, 0)?;
            Ok(with - without)
        };
        let delta = change(noise)?;
        let norms = norms_of(&delta)?;
        let sigma = (1.0 - schedule.alpha_bar(t)).sqrt();
        let reach = norms_of(noise)?;
        let lengths: Vec<f64> = reach.iter().map(|r| STEP * r).collect();
        // Along s, which points against delta, a step of the given length.
        let scale = |of: &[f64]| -> Result<Tensor> {
            let values: Vec<f32> = of.iter().map(|&v| v as f32).collect();
            Ok(Tensor::from_slice(&values)
                .f_view([-1, 1, 1, 1])?
                .f_to_device(noise.device())?)
        };
        let along: Vec<f64> = lengths
            .iter()
            .zip(&norms)
            .map(|(length, norm)| -length / norm.max(TINY))
            .collect();
        let step = &delta * scale(&along)?;
        let bend = norms_of(&(change(&(noise + &step))? - change(&(noise - &step))?))?;
        // |J_s s| = |s| |s(x + h u) - s(x - h u)| / 2 h, and s is delta over sigma.
        let sharpness = bend
            .iter()
            .zip(&norms)
            .zip(&lengths)
            .map(|((bend, norm), length)| norm * bend / (2.0 * length.max(TINY) * sigma * sigma))
            .collect();
        let [g1, g2] = WEIGHTS;
        let anisotropy = norms
            .iter()
            .zip(&alignment)
            .map(|(norm, cosine)| g1 * norm + g2 * cosine)
            .collect();
        Ok(FromNoise {
            alignment,
            anisotropy,
            sharpness,
        })
    })
}

/// For each image the mean over its pixels of the cosine over channels.
fn mean_cosines(a: &Tensor, b: &Tensor) -> Result<Vec<f64>> {
    let (a, b) = (a.f_to_kind(Kind::Double)?, b.f_to_kind(Kind::Double)?);
    let means = cosines(&a, &b, 1)?.f_mean_dim([1i64, 2].as_slice(), false, Kind::Double)?;
    Ok(Vec::<f64>::try_from(&means)?)
}
