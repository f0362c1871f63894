//! What the loop trains: an unconditional network, or one that is told a text.

use crate::Result;
use dualmd_diffusion::nn::Parameters;
use dualmd_diffusion::{Condition, Denoiser, DiffusionError, UNet2d, UNet2dCondition};
use dualmd_torch::device::Precision;
use dualmd_torch::{Device, Tensor};
use std::collections::BTreeMap;

/// A network that can be trained. As a [`Denoiser`] it answers with its output as it is, without dropout.
pub trait Network: Denoiser {
    /// What training changes.
    fn parameters(&self) -> &Parameters;

    /// The output in training mode, with dropout and gradients: [B, C, H, W].
    ///
    /// # Errors
    /// Shapes the network cannot take; a conditional network without a condition.
    fn forward_training(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor>;

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

impl Network for UNet2d {
    fn parameters(&self) -> &Parameters {
        self.parameters()
    }

    fn forward_training(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor> {
        if condition.is_some() {
            return Err(DiffusionError::Config(
                "this network takes no text: train it without captions".into(),
            )
            .into());
        }
        Ok(self.forward(x_t, t, true)?)
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
        let network = Self::from_weights(self.config(), weights, device)?;
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
    ) -> Result<Tensor> {
        let condition = condition.ok_or_else(|| {
            DiffusionError::Config(
                "this network needs a text for every image: the images have no captions".into(),
            )
        })?;
        Ok(self.forward(x_t, t, &condition.embedding, true)?)
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
