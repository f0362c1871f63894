//! Which prompts does a text-to-image model remember images for? And what its owner can do about one.
//!
//! * [`guided_trajectory`] and [`Trajectory::mean_norms`]: the detection metric of Wen, Liu, Chen and Lyu 2024 (ICLR, arXiv
//!   2407.21720) over a guided DDIM generation.
//! * [`from_noise`]: anisotropy and sharpness, at pure noise.
//! * [`mitigate`]: their remedy at inference time, which changes the prompt's embedding.
//! * [`t_errors`]: SecMI's t-error of what prompts generated, the DualMD paper's Fig. 3.
//!
//! Membership of samples is another question; [`crate::Wen`] makes an attack of the first of these.

mod errors;
mod mitigation;
mod noise;

pub use errors::t_errors;
pub use mitigation::{Mitigated, Mitigation, mitigate};
pub use noise::{FromNoise, from_noise};

use crate::reduce::sum_of_powers;
use crate::{AttackError, Result};
use dualmd_diffusion::{Condition, Denoiser, NoiseSchedule, StepInfo};
use dualmd_torch::{Tensor, no_grad};

/// A guided generation, with what the metric needs of it.
#[derive(Debug)]
pub struct Trajectory {
    /// For each denoising step its timestep and what the model was shown, [N, C, H, W] f32; noisiest first.
    pub path: Vec<(i64, Tensor)>,
    /// For each step |eps(x_t, t, text) - eps(x_t, t, empty)|_2 of every image.
    pub norms: Vec<Vec<f64>>,
    /// What was generated, [N, C, H, W] f32: latents of a latent model.
    pub end: Tensor,
}

impl Trajectory {
    /// Wen's metric per image: the mean of the norms over all steps. Higher = memorised. (The paper averages the four
    /// images of a prompt on top: [`per_prompt`].)
    #[must_use]
    pub fn mean_norms(&self) -> Vec<f64> {
        mean_over_steps(&self.norms)
    }

    /// Its one-step form: the norms at the first step. The noise alone is seen there.
    #[must_use]
    pub fn first_norms(&self) -> Vec<f64> {
        self.norms.first().cloned().unwrap_or_default()
    }
}

/// The mean over steps of the norms of every image; none of no steps.
#[must_use]
pub fn mean_over_steps(norms: &[Vec<f64>]) -> Vec<f64> {
    let images = norms.iter().map(Vec::len).min().unwrap_or(0);
    (0..images)
        .map(|i| norms.iter().map(|step| step[i]).sum::<f64>() / norms.len() as f64)
        .collect()
}

/// Means over the generations of each prompt, which lie one after the other, `generations` (at least 1) of each.
#[must_use]
pub fn per_prompt(values: &[f64], generations: usize) -> Vec<f64> {
    values
        .chunks(generations.max(1))
        .map(|of_one| of_one.iter().sum::<f64>() / of_one.len() as f64)
        .collect()
}

/// What to generate.
#[derive(Debug, Clone, Copy)]
pub struct Generation<'a> {
    /// Where to start: [N, C, H, W] f32, standard normal.
    pub noise: &'a Tensor,
    /// What the model is told of each image: N rows, with a text [N, tokens, width].
    pub text: &'a Condition,
    /// The same of the empty prompt, one row.
    pub empty: &'a Condition,
    /// Scale of classifier-free guidance: 7.5 in the papers.
    pub guidance: f64,
    /// Denoising steps: 50 in the papers.
    pub steps: usize,
    /// Clip the predicted clean image to [-c, c]; `None` for latents.
    pub clip: Option<f64>,
    /// Number of the first image among all that are generated, on which a pair's turns may depend.
    pub first: u64,
}

/// Generates by DDIM (eta 0) with classifier-free guidance and keeps the norms on the way. All N at once, two rows for
/// each (at any guidance: the metric needs both predictions), without gradients. A pair of models takes turns as in any
/// generation.
///
/// # Errors
/// Shapes that do not fit, step counts the schedule does not have, what the model refuses.
pub fn guided_trajectory(
    denoiser: &dyn Denoiser,
    schedule: &NoiseSchedule,
    generation: &Generation<'_>,
) -> Result<Trajectory> {
    let Generation {
        noise,
        text,
        empty,
        guidance,
        steps,
        clip,
        first,
    } = *generation;
    let both = Both::new(denoiser, noise, text, empty, first)?;
    let times = schedule.sampling_timesteps(steps)?;
    let mut x = noise.shallow_clone();
    let (mut path, mut norms) = (Vec::new(), Vec::new());
    for (index, &t) in times.iter().enumerate() {
        let (with, without) = no_grad(|| both.ask(&x, t, index))?;
        norms.push(norms_of(&(&with - &without))?);
        path.push((t, x.shallow_clone()));
        let eps = &without + (with - &without) * guidance;
        let next = times.get(index + 1);
        let a = next.map_or_else(|| schedule.final_alpha_bar(), |&s| schedule.alpha_bar(s));
        let mut x0 = schedule.predict_x0(&x, &eps, t);
        if let Some(c) = clip {
            x0 = x0.f_clamp(-c, c)?;
        }
        x = x0 * a.sqrt() + eps * (1.0 - a).sqrt();
    }
    Ok(Trajectory {
        path,
        norms,
        end: x,
    })
}

fn norms_of(change: &Tensor) -> Result<Vec<f64>> {
    Ok(sum_of_powers(change, 2)?
        .into_iter()
        .map(f64::sqrt)
        .collect())
}

/// Asks with and without a text in one call.
struct Both<'a> {
    denoiser: &'a dyn Denoiser,
    /// 2 N rows: of the empty prompt, then of the texts.
    condition: Condition,
    images: Vec<u64>,
}

impl<'a> Both<'a> {
    fn new(
        denoiser: &'a dyn Denoiser,
        x: &Tensor,
        text: &Condition,
        empty: &Condition,
        first: u64,
    ) -> Result<Self> {
        let (size, told, none) = (x.size(), text.texts()?.size(), empty.texts()?.size());
        let fits = size.len() == 4
            && told.len() == 3
            && told[0] == size[0]
            && none == [1, told[1], told[2]];
        if !fits {
            return Err(AttackError::Samples(format!(
                "inputs of shape {size:?} with texts of {told:?} and an empty prompt of {none:?}: expected [N, C, H, W], [N, tokens, \
                 width] and [1, tokens, width]"
            )));
        }
        let here = |t: &Tensor| t.f_to_device(x.device());
        let (text, empty) = (text.try_each(here)?, empty.try_each(here)?);
        let images: Vec<u64> = (first..first + size[0].unsigned_abs()).collect();
        Ok(Self {
            denoiser,
            condition: empty.expand(size[0])?.then(&text)?,
            images: [images.as_slice(), images.as_slice()].concat(),
        })
    }

    /// (eps with text, eps without) at `x` [N, C, H, W], in step `index` of a generation.
    fn ask(&self, x: &Tensor, t: i64, index: usize) -> Result<(Tensor, Tensor)> {
        let n = x.size()[0];
        let twice = Tensor::f_cat(&[x, x], 0)?;
        let times = NoiseSchedule::timestep_tensor(t, 2 * n, x.device());
        let step = StepInfo {
            index,
            images: &self.images,
        };
        let told = Some(&self.condition);
        let eps = self
            .denoiser
            .predict_noise_in_step(&twice, &times, told, step)?;
        Ok((eps.f_narrow(0, n, n)?, eps.f_narrow(0, 0, n)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_go_over_steps_and_over_generations() {
        let norms = [vec![1.0, 2.0, 3.0, 6.0], vec![3.0, 2.0, 5.0, 0.0]];
        let mean = mean_over_steps(&norms);
        assert_eq!(mean, [2.0, 2.0, 4.0, 3.0]);
        assert_eq!(per_prompt(&mean, 2), [2.0, 3.5]);
        assert!(mean_over_steps(&[]).is_empty());
    }
}
