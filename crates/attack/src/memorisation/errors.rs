//! The t-error of prompts.

use crate::prompts::Prompts;
use crate::{Attack, Batch, Result, SecMi};
use dualmd_diffusion::{Condition, Denoiser, NoiseSchedule};
use dualmd_torch::Tensor;

/// SecMI's error of each of `x` [N, C, H, W] with its own of the N texts; small = memorised.
///
/// The error of a prompt is that of an image which was generated from it. A prompt has no image of its own, and the DualMD
/// paper (Fig. 3) does not say which one it measures; this is the reading that needs no other data.
///
/// `empty`: the empty prompt, one row; `batch`: images at once; `secmi`: [`SecMi::latent`], whose error is at
/// t = 140, in the paper. The guidance is 1.
///
/// # Errors
/// Shapes that do not fit, timesteps the schedule lacks, what the model refuses.
pub fn t_errors(
    denoiser: &dyn Denoiser,
    schedule: &NoiseSchedule,
    x: &Tensor,
    text: &Condition,
    empty: &Condition,
    batch: usize,
    secmi: SecMi,
) -> Result<Vec<f64>> {
    let rows: Vec<usize> = (0..usize::try_from(text.len()).unwrap_or(0)).collect();
    let prompts = Prompts::of(text, rows.iter().map(|&i| vec![i]).collect(), empty)?;
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
