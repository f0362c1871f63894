//! What the loop trains: an unconditional network, or one that is told a class or a text.

use crate::Result;
use dualmd_diffusion::nn::Parameters;
use dualmd_diffusion::{
    Backbone, Condition, Denoiser, DiffusionError, Keep, Pass, UNet2dCondition,
};
use dualmd_torch::device::Precision;
use dualmd_torch::{Device, Tensor};
use std::collections::BTreeMap;

/// A network that can be trained. As a [`Denoiser`] it answers with its output as it is, without dropout.
pub trait Network: Denoiser {
    /// What training changes.
    fn parameters(&self) -> &Parameters;

    /// A pass in training mode, with dropout, of which a gradient can be had.
    ///
    /// # Errors
    /// Shapes the network cannot take; a conditional network without its condition.
    fn forward_training(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
        keep: Keep,
    ) -> Result<Pass<'_>>;

    /// Does it drop anything in training mode?
    fn has_dropout(&self) -> bool;

    /// The same network over other weights (storage shared).
    ///
    /// # Errors
    /// Weights of another network.
    fn over(
        &self,
        weights: BTreeMap<String, Tensor>,
        device: Device,
        precision: Precision,
    ) -> Result<Box<dyn Network>>;
}

/// The label that a network of images is told in training.
///
/// # Errors
/// A condition with a text.
fn label(condition: Option<&Condition>) -> Result<Option<&Tensor>> {
    if condition.is_some_and(|told| told.text.is_some()) {
        return Err(DiffusionError::Config(
            "this network takes no text: train it without captions".into(),
        )
        .into());
    }
    Ok(condition.and_then(|told| told.label.as_ref()))
}

impl Network for Backbone {
    fn parameters(&self) -> &Parameters {
        self.parameters()
    }

    fn forward_training(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
        keep: Keep,
    ) -> Result<Pass<'_>> {
        let label = label(condition)?;
        Ok(self.forward_training(x_t, t, label, keep)?)
    }

    fn has_dropout(&self) -> bool {
        self.config().dropout() > 0.0
    }

    fn over(
        &self,
        weights: BTreeMap<String, Tensor>,
        device: Device,
        precision: Precision,
    ) -> Result<Box<dyn Network>> {
        let network = Self::from_weights(&self.config(), weights, device)?;
        Ok(Box::new(network.with_precision(precision)))
    }
}

/// With LoRA layers only these are trained.
impl Network for UNet2dCondition {
    fn parameters(&self) -> &Parameters {
        self.lora_parameters().unwrap_or_else(|| self.parameters())
    }

    fn forward_training(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
        keep: Keep,
    ) -> Result<Pass<'_>> {
        let condition = condition.ok_or_else(|| {
            DiffusionError::Config(
                "this network needs a text for every image: the images have no captions".into(),
            )
        })?;
        Ok(self.forward_training(x_t, t, condition, keep)?)
    }

    fn has_dropout(&self) -> bool {
        self.config().dropout > 0.0
    }

    fn over(
        &self,
        weights: BTreeMap<String, Tensor>,
        device: Device,
        precision: Precision,
    ) -> Result<Box<dyn Network>> {
        let network = match self.lora_parameters() {
            Some(_) => self.over_lora(weights)?,
            None => Self::from_weights(self.config(), weights, device)?,
        };
        Ok(Box::new(network.with_precision(precision)))
    }
}
