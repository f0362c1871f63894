//! A pipeline folder of either kind: unconditional, or text to image.

use crate::index::{Index, Kind};
use crate::pipeline::WeightSet;
use crate::{
    Condition, Denoiser, DiffusionError, NoiseSchedule, Pipeline, Result, TextToImage,
    latent::Parts,
};
use dualmd_torch::device::Precision;
use dualmd_torch::{Device, Tensor};
use std::path::Path;

/// A network with what belongs to it.
#[derive(Debug)]
pub enum Model {
    /// A network of images alone.
    Unconditional(Box<Pipeline>),
    /// A network that is told a text.
    TextToImage(Box<TextToImage>),
}

impl Model {
    /// Opens a folder, with all its parts.
    ///
    /// # Errors
    /// As [`Pipeline::load`] and [`TextToImage::load`].
    pub fn load(folder: &Path, set: WeightSet, device: Device) -> Result<Self> {
        Ok(match Index::read(folder)?.kind()? {
            Kind::TextToImage => {
                let model = TextToImage::load(folder, set, Parts::ALL, device)?;
                Self::TextToImage(Box::new(model))
            }
            Kind::Unconditional => {
                Self::Unconditional(Box::new(Pipeline::load(folder, set, device)?))
            }
        })
    }

    /// Chooses f32 or bf16 autocast for the network.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        match self {
            Self::Unconditional(p) => Self::Unconditional(Box::new(p.with_precision(precision))),
            Self::TextToImage(t) => Self::TextToImage(Box::new(t.with_precision(precision))),
        }
    }

    /// Whether the network drops although it is not trained; see [`crate::UNet2d::with_dropout`].
    #[must_use]
    pub fn with_dropout(self, on: bool) -> Self {
        match self {
            Self::Unconditional(mut p) => {
                p.unet = p.unet.with_dropout(on);
                Self::Unconditional(p)
            }
            Self::TextToImage(mut t) => {
                t.unet = t.unet.with_dropout(on);
                Self::TextToImage(t)
            }
        }
    }

    /// The noise schedule.
    #[must_use]
    pub fn schedule(&self) -> &NoiseSchedule {
        match self {
            Self::Unconditional(p) => &p.schedule,
            Self::TextToImage(t) => &t.schedule,
        }
    }

    /// The sampler's clipping of the predicted clean image.
    #[must_use]
    pub fn clip(&self) -> Option<f64> {
        match self {
            Self::Unconditional(p) => p.clip(),
            Self::TextToImage(t) => t.clip(),
        }
    }

    /// [C, H, W] of what the network sees, images or latents; `None` if its configuration does not say.
    #[must_use]
    pub fn sample_shape(&self) -> Option<[i64; 3]> {
        match self {
            Self::Unconditional(p) => p.image_shape(),
            Self::TextToImage(t) => t.sample_shape(),
        }
    }

    /// [C, H, W] of the images; `None` if the configuration does not say.
    #[must_use]
    pub fn image_shape(&self) -> Option<[i64; 3]> {
        let [_, h, w] = self.sample_shape()?;
        match self {
            Self::Unconditional(p) => p.image_shape(),
            Self::TextToImage(t) => match &t.vae {
                Some(vae) => {
                    let config = vae.config();
                    let times = config.reduction();
                    Some([config.in_channels, h * times, w * times])
                }
                None => t.sample_shape(),
            },
        }
    }

    /// Channels of the network at full size, [`Self::sample_shape`]'s: what its largest tensors have.
    #[must_use]
    pub fn widest_channels(&self) -> i64 {
        let widths = match self {
            Self::Unconditional(p) => &p.unet.config().block_out_channels,
            Self::TextToImage(t) => &t.unet.config().block_out_channels,
        };
        widths.first().copied().unwrap_or(1)
    }

    /// Scalar parameters of the network.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        match self {
            Self::Unconditional(p) => p.unet.parameters().count(),
            Self::TextToImage(t) => t.unet.parameters().count(),
        }
    }

    /// The network's `config.json`.
    ///
    /// # Errors
    /// A value that JSON does not have.
    pub fn config(&self) -> Result<serde_json::Value> {
        match self {
            Self::Unconditional(p) => serde_json::to_value(p.unet.config()),
            Self::TextToImage(t) => serde_json::to_value(t.unet.config()),
        }
        .map_err(|e| DiffusionError::Config(format!("the network's configuration: {e}")))
    }

    /// The text-to-image model, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&TextToImage> {
        match self {
            Self::Unconditional(_) => None,
            Self::TextToImage(t) => Some(t),
        }
    }

    /// What the network sees of images [B, C, H, W] in [-1, 1]: the images, or the mean of their latents.
    ///
    /// # Errors
    /// Shapes the autoencoder cannot take.
    pub fn encode(&self, images: &Tensor) -> Result<Tensor> {
        match self {
            Self::Unconditional(_) => Ok(images.shallow_clone()),
            Self::TextToImage(t) => t.encode_images(images, None),
        }
    }

    /// Images of what the network made, clipped to [-1, 1].
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn decode(&self, made: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Unconditional(_) => made.shallow_clone(),
            Self::TextToImage(t) => t.decode_latents(made)?,
        }
        .clamp(-1.0, 1.0))
    }
}

impl Denoiser for Model {
    fn predict_noise(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor> {
        match self {
            Self::Unconditional(p) => p.predict_noise(x_t, t, condition),
            Self::TextToImage(m) => m.predict_noise(x_t, t, condition),
        }
    }

    fn weights(&self) -> Option<Vec<Tensor>> {
        match self {
            Self::Unconditional(p) => p.weights(),
            Self::TextToImage(t) => t.weights(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UNet2d;
    use crate::preset::preset;
    use dualmd_torch::Kind;

    #[test]
    fn a_model_drops_only_if_told_to() {
        let mut config = preset("tiny", 1, 8).unwrap();
        config.dropout = 0.5;
        // The first call of a fresh network predicts nearly nothing: its last layer is drawn anew.
        let unet = UNet2d::fresh(&config, 1, Device::Cpu).unwrap();
        let weights = unet.parameters().copies();
        let weights = weights.into_iter().map(|(name, w)| match name.as_str() {
            "conv_out.weight" => (name, w.ones_like()),
            _ => (name, w),
        });
        let unet = UNet2d::from_weights(&config, weights.collect(), Device::Cpu).unwrap();
        let model = Model::Unconditional(Box::new(Pipeline {
            unet,
            schedule: NoiseSchedule::default(),
        }));
        let x = Tensor::ones([1, 1, 8, 8], (Kind::Float, Device::Cpu));
        let t = Tensor::from_slice(&[500i64]);
        let twice = |model: &Model| {
            let ask = || model.predict_noise(&x, &t, None).unwrap();
            let (a, b) = (ask(), ask());
            (a - b).abs().max().double_value(&[])
        };
        assert_eq!(twice(&model), 0.0);
        let model = model.with_dropout(true);
        assert!(twice(&model) > 1e-3);
        assert_eq!(twice(&model.with_dropout(false)), 0.0);
    }
}
