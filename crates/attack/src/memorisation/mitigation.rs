//! Wen's remedy at inference time: an embedding that says the same but no longer calls up the image.

use super::norms_of;
use crate::adam::AdamW;
use crate::{AttackError, Result};
use dualmd_diffusion::{Condition, Denoiser, NoiseSchedule, StepInfo};
use dualmd_torch::{Kind, Tensor, no_grad, tch};

/// How far to go. Default: the public code's for Stable Diffusion.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mitigation {
    /// AdamW's learning rate (0.05).
    pub learning_rate: f64,
    /// AdamW's weight decay, PyTorch's default (0.01).
    pub weight_decay: f64,
    /// Most updates (10).
    pub steps: usize,
    /// Loss at which to stop (3), tested before each update. It is a norm over the whole batch: with other numbers of
    /// images or other sizes of latents than 4 of 4 x 64 x 64 another target means the same.
    pub target: f64,
}

impl Default for Mitigation {
    fn default() -> Self {
        Self {
            learning_rate: 0.05,
            weight_decay: 0.01,
            steps: 10,
            target: 3.0,
        }
    }
}

/// What the remedy came to.
#[derive(Debug)]
pub struct Mitigated {
    /// The changed embedding, [1, tokens, width] f32, to generate with from the same noise.
    pub embedding: Tensor,
    /// The loss before each update; the last is below the target if that was reached.
    pub losses: Vec<f64>,
    /// Was the target reached within the allowed updates? Tested before updates only, as in the public code: the loss
    /// after the last one is not known.
    pub reached: bool,
}

/// Changes the embedding of one prompt's tokens, [1, tokens, width] in `text`, by AdamW until the loss |eps(x, t, text) - eps(x, t,
/// empty)|_2, one norm over the whole batch, is at most the target. `x`: the noise that the images of this prompt start
/// from, [N, C, H, W] (N = 4 in the paper); `t`: the first timestep of the generation (981 of 50 steps); `empty`:
/// what the model is told of the empty prompt. What `text` tells beside the tokens (a pooled text, sizes) stays as it is.
///
/// The gradient of the first token, which is the same for all prompts, is set to 0; weight decay shrinks it all the same, as
/// in the public code. A pair of models is asked as in the first step of a generation.
///
/// # Errors
/// Shapes that do not fit, settings that make no sense, a model without a gradient by its condition, a loss that is not
/// finite.
pub fn mitigate(
    denoiser: &dyn Denoiser,
    x: &Tensor,
    t: i64,
    text: &Condition,
    empty: &Condition,
    options: &Mitigation,
) -> Result<Mitigated> {
    let (tokens, none) = (text.texts()?, empty.texts()?.size());
    let (size, told) = (x.size(), tokens.size());
    if size.len() != 4 || size[0] < 1 || told.len() != 3 || told[0] != 1 || none != told {
        return Err(AttackError::Samples(format!(
            "noise of shape {size:?} with a text of {told:?} and an empty prompt of {none:?}: expected [N, C, H, W] and twice [1, tokens, \
             width]"
        )));
    }
    if !(options.learning_rate > 0.0 && options.weight_decay >= 0.0) {
        return Err(AttackError::Samples(format!(
            "mitigation with learning rate {} and weight decay {}: choose a positive rate (0.05) and a decay of at least 0 (0.01)",
            options.learning_rate, options.weight_decay
        )));
    }
    let device = x.device();
    let images: Vec<u64> = (0..size[0].unsigned_abs()).collect();
    let times = NoiseSchedule::timestep_tensor(t, size[0], device);
    let here = |t: &Tensor| -> Result<Tensor> { Ok(t.f_detach()?.f_to_device(device)?) };
    let (whole, empty) = (text.try_each(here)?, empty.try_each(here)?);
    let ask = |of: &Condition| -> Result<Tensor> {
        let told = of.expand(size[0])?;
        let step = StepInfo {
            index: 0,
            images: &images,
        };
        Ok(denoiser.predict_noise_in_step(x, &times, Some(&told), step)?)
    };
    // The empty prompt's prediction does not change.
    let none = no_grad(|| ask(&empty))?;
    let (rate, decay) = (options.learning_rate, options.weight_decay);
    let mut adam = AdamW::new(&here(tokens)?.f_to_kind(Kind::Float)?, rate, decay)?;
    let mut losses = Vec::new();
    for _ in 0..options.steps {
        let embedding = adam.value.f_detach()?.f_set_requires_grad(true)?;
        let (loss, gradient) = tch::with_grad(|| -> Result<(f64, Option<Tensor>)> {
            let told = Condition {
                text: Some(embedding.shallow_clone()),
                ..whole.again()
            };
            let change = ask(&told)? - &none;
            let change = change.f_flatten(0, -1)?.f_unsqueeze(0)?;
            let loss = norms_of(&change.f_detach()?)?[0];
            if loss <= options.target || !loss.is_finite() {
                return Ok((loss, None));
            }
            let norm = change.f_square()?.f_sum(Kind::Float)?.f_sqrt()?;
            if !norm.requires_grad() {
                return Err(AttackError::NoGradients);
            }
            let mut gradients = Tensor::f_run_backward(&[norm], &[&embedding], false, false)?;
            Ok((loss, gradients.pop()))
        })?;
        if !loss.is_finite() {
            return Err(AttackError::Samples(format!(
                "mitigation: the loss is {loss} after {} updates; check the weights or work in f32",
                losses.len()
            )));
        }
        losses.push(loss);
        match gradient {
            None => break,
            Some(gradient) if !gradient.defined() => return Err(AttackError::NoGradients),
            Some(gradient) => {
                let _ = gradient.f_narrow(1, 0, 1)?.f_zero_()?;
                adam.step(&gradient)?;
            }
        }
    }
    Ok(Mitigated {
        embedding: adam.value,
        reached: losses.last().is_some_and(|&loss| loss <= options.target),
        losses,
    })
}
