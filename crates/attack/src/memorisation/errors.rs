//! The t-error of prompts.

use super::Generation;
use crate::prompts::Prompts;
use crate::{Attack, Batch, Result, SecMi};
use dualmd_diffusion::latent::{Guided, LatentSampling, sample_latents};
use dualmd_diffusion::{Condition, Denoiser, NoiseSchedule};
use dualmd_torch::Tensor;

/// What prompts made, and SecMI's error of it.
#[derive(Debug)]
pub struct PromptErrors {
    /// What was generated, [N, C, H, W] f32: latents of a latent model.
    pub generated: Tensor,
    /// SecMI's error of each with its own prompt, a sum of squares; small = memorised.
    pub errors: Vec<f64>,
}

/// SecMI's error of prompts: an image is generated from each, and the error is that of the image with the prompt. A
/// prompt has no image of its own, and the DualMD paper (Fig. 3) does not say which one it measures; this is the reading
/// that needs no other data.
///
/// `generation`: its guidance counts for the generation only, the error is taken at 1; `batch`: images at once; `secmi`:
/// [`SecMi::latent`], whose error is at t = 140, in the paper.
///
/// # Errors
/// Shapes that do not fit, timesteps the schedule lacks, what the model refuses.
pub fn prompt_errors(
    denoiser: &dyn Denoiser,
    schedule: &NoiseSchedule,
    generation: &Generation<'_>,
    batch: usize,
    secmi: SecMi,
) -> Result<PromptErrors> {
    let Generation {
        noise,
        text,
        empty,
        guidance,
        steps,
        clip,
        first: _,
    } = *generation;
    let sampling = LatentSampling { steps, batch, clip };
    let guided = Guided {
        model: denoiser,
        unconditional: empty.shallow_clone(),
        scale: guidance,
    };
    let condition = Condition {
        embedding: text.f_to_device(noise.device())?,
    };
    let generated = sample_latents(&guided, schedule, noise, &condition, &sampling, |_| true)?;
    let errors = t_errors(denoiser, schedule, &generated, text, empty, batch, secmi)?;
    Ok(PromptErrors { generated, errors })
}

/// SecMI's error of each of `x` [N, C, H, W] with its own of the texts [N, tokens, width]; small = memorised. `empty`, `batch`,
/// `secmi`: as in [`prompt_errors`].
///
/// # Errors
/// As [`prompt_errors`].
pub fn t_errors(
    denoiser: &dyn Denoiser,
    schedule: &NoiseSchedule,
    x: &Tensor,
    text: &Tensor,
    empty: &Tensor,
    batch: usize,
    secmi: SecMi,
) -> Result<Vec<f64>> {
    let rows: Vec<usize> = (0..usize::try_from(text.size()[0]).unwrap_or(0)).collect();
    let prompts = Prompts::new(text, rows.iter().map(|&i| vec![i]).collect(), empty)?;
    let mut errors = Vec::with_capacity(rows.len());
    for part in rows.chunks(batch.max(1)) {
        // SecMI draws no noise, so ids and seed do not matter.
        let ids: Vec<String> = part.iter().map(|i| format!("prompt-{i}")).collect();
        let x = x.f_narrow(0, part[0] as i64, part.len() as i64)?;
        let mut batch =
            Batch::new(denoiser, schedule, &x, &ids, 0)?.with_prompts(&prompts, part)?;
        errors.extend(secmi.score(&mut batch)?.into_iter().map(|score| -score));
    }
    Ok(errors)
}
