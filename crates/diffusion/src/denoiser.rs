//! The one interface everything turns on.

use crate::Result;
use dualmd_torch::Tensor;

/// What a conditional model is told besides the noisy image.
#[derive(Debug)]
pub struct Condition {
    /// Text embedding, [B, tokens, width] f32.
    pub embedding: Tensor,
}

/// Where in a sampling run a call stands. Attacks, which ask at arbitrary timesteps, have no such place.
#[derive(Debug, Clone, Copy)]
pub struct StepInfo<'a> {
    /// Denoising step, 0 for the first (noisiest).
    pub index: usize,
    /// Running number of each image of the batch within the whole set that is being generated.
    pub images: &'a [u64],
}

/// A trained noise predictor eps(x_t, t, c): all that samplers and attacks may ask of a model.
pub trait Denoiser {
    /// `x_t`: [B, C, H, W] f32, in [-1, 1] at the clean end; `t`: \[B\] i64 in 0..T. Returns [B, C, H, W] f32.
    ///
    /// # Errors
    /// Shapes the network cannot take, or what the engine refuses.
    fn predict_noise(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor>;

    /// The same within a sampling run. Only a model that behaves differently from step to step
    /// ([`crate::DualDenoiser`]) has a reason to look at `step`.
    ///
    /// # Errors
    /// As [`Denoiser::predict_noise`].
    fn predict_noise_in_step(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
        step: StepInfo<'_>,
    ) -> Result<Tensor> {
        let _ = step;
        self.predict_noise(x_t, t, condition)
    }

    /// The tensors that training would change, sharing storage with the model, in a fixed order: for attacks that
    /// take gradients. `None` of a model that has none or does not show them.
    fn weights(&self) -> Option<Vec<Tensor>> {
        None
    }
}

impl<D: Denoiser + ?Sized> Denoiser for &D {
    fn predict_noise(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor> {
        (**self).predict_noise(x_t, t, condition)
    }

    fn predict_noise_in_step(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
        step: StepInfo<'_>,
    ) -> Result<Tensor> {
        (**self).predict_noise_in_step(x_t, t, condition, step)
    }

    fn weights(&self) -> Option<Vec<Tensor>> {
        (**self).weights()
    }
}

impl<D: Denoiser + ?Sized> Denoiser for Box<D> {
    fn predict_noise(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor> {
        (**self).predict_noise(x_t, t, condition)
    }

    fn predict_noise_in_step(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
        step: StepInfo<'_>,
    ) -> Result<Tensor> {
        (**self).predict_noise_in_step(x_t, t, condition, step)
    }

    fn weights(&self) -> Option<Vec<Tensor>> {
        (**self).weights()
    }
}
