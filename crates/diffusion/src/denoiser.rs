//! The one interface everything turns on.

use crate::{DiffusionError, Result};
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

/// What a model without a velocity says to whoever asks for it.
pub(crate) fn no_flow() -> DiffusionError {
    DiffusionError::Config(
        "this model is no flow, and has no velocity: its scheduler is none of flow matching (FlowMatchEulerDiscreteScheduler)"
            .into(),
    )
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

    /// The velocity dx_s/ds = eps - x_0 of a flow at x_s = (1 - s) x_0 + s eps ([`crate::schedule::flow`]): what its sampler and its
    /// students ask for. `x_s`: [B, C, H, W] f32; `s`: \[B\] f32 in [0, 1], 0 at the image. Returns [B, C, H, W] f32.
    ///
    /// # Errors
    /// A model that is no flow; else as [`Denoiser::predict_noise`].
    fn predict_velocity(
        &self,
        x_s: &Tensor,
        s: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor> {
        let _ = (x_s, s, condition);
        Err(no_flow())
    }

    /// The same within a sampling run.
    ///
    /// # Errors
    /// As [`Denoiser::predict_velocity`].
    fn predict_velocity_in_step(
        &self,
        x_s: &Tensor,
        s: &Tensor,
        condition: Option<&Condition>,
        step: StepInfo<'_>,
    ) -> Result<Tensor> {
        let _ = step;
        self.predict_velocity(x_s, s, condition)
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

    fn predict_velocity(
        &self,
        x_s: &Tensor,
        s: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor> {
        (**self).predict_velocity(x_s, s, condition)
    }

    fn predict_velocity_in_step(
        &self,
        x_s: &Tensor,
        s: &Tensor,
        condition: Option<&Condition>,
        step: StepInfo<'_>,
    ) -> Result<Tensor> {
        (**self).predict_velocity_in_step(x_s, s, condition, step)
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

    fn predict_velocity(
        &self,
        x_s: &Tensor,
        s: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor> {
        (**self).predict_velocity(x_s, s, condition)
    }

    fn predict_velocity_in_step(
        &self,
        x_s: &Tensor,
        s: &Tensor,
        condition: Option<&Condition>,
        step: StepInfo<'_>,
    ) -> Result<Tensor> {
        (**self).predict_velocity_in_step(x_s, s, condition, step)
    }

    fn weights(&self) -> Option<Vec<Tensor>> {
        (**self).weights()
    }
}
