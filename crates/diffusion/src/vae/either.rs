//! The autoencoder of a model of latents that is told no text: with a Gaussian, or with a codebook.

use super::{AutoencoderKl, AutoencoderKlConfig, VqModel, VqModelConfig};
use crate::BackboneConfig;
use crate::latent::files::{DIFFUSERS, create, file_error, read_json, read_weights_to, write_json};
use crate::nn::Parameters;
use crate::{DiffusionError, Result};
use dualmd_torch::weights::Halves;
use dualmd_torch::{Device, Tensor, no_grad, weights};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Where a pipeline folder has its autoencoder.
const PARTS: [&str; 2] = ["vae", "vqvae"];

/// An autoencoder of either kind.
#[derive(Debug)]
pub enum Autoencoder {
    /// diffusers' `AutoencoderKL`.
    Kl(AutoencoderKl),
    /// diffusers' `VQModel`.
    Vq(VqModel),
}

impl Autoencoder {
    /// Where the autoencoder of `folder` lies: in its part `vae/` or `vqvae/`, of a pipeline, or in the folder itself.
    ///
    /// # Errors
    /// A folder without one.
    pub fn folder(folder: &Path) -> Result<PathBuf> {
        let parts = PARTS.iter().map(|part| folder.join(part));
        let mut places = parts.chain([folder.to_owned()]);
        places
            .find(|place| place.join("config.json").is_file())
            .ok_or_else(|| {
                file_error(
                    folder,
                    "holds no autoencoder: name the folder of an AutoencoderKL or a VQModel, with its config.json, or a pipeline's folder that \
                     has one in vae/ or vqvae/",
                )
            })
    }

    /// Opens a part of a pipeline folder, in f32.
    ///
    /// # Errors
    /// What is missing or does not fit, naming the file; an autoencoder of another class.
    pub fn load(part: &Path, device: Device) -> Result<Self> {
        Self::load_as(part, Halves::Widened, device)
    }

    /// As [`Self::load`], with a choice of what becomes of weights in half precision. It computes in f32 in either case, and answers
    /// the same.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_as(part: &Path, halves: Halves, device: Device) -> Result<Self> {
        let path = part.join("config.json");
        let file: Value = read_json(&path)?;
        let wrong = |e: DiffusionError| file_error(&path, e);
        let tensors = || read_weights_to(part, DIFFUSERS, halves, device);
        let unfit = |e: DiffusionError| file_error(part, e);
        Ok(match file.get("_class_name").and_then(Value::as_str) {
            Some("VQModel") => {
                let config = VqModelConfig::read(&file).map_err(wrong)?;
                Self::Vq(VqModel::from_weights(&config, tensors()?, device).map_err(unfit)?)
            }
            _ => {
                let config = AutoencoderKlConfig::read(&file).map_err(wrong)?;
                Self::Kl(AutoencoderKl::from_weights(&config, tensors()?, device).map_err(unfit)?)
            }
        })
    }

    /// Writes it as a part of a pipeline folder.
    ///
    /// # Errors
    /// What writing gives, naming the file.
    pub fn save(&self, part: &Path) -> Result<()> {
        create(part)?;
        let path = part.join(format!("{DIFFUSERS}.safetensors"));
        weights::write_safetensors(&path, self.parameters().named(), &[("format", "pt")])?;
        let config = part.join("config.json");
        match self {
            Self::Kl(kl) => write_json(&config, kl.config()),
            Self::Vq(vq) => write_json(&config, vq.config()),
        }
    }

    /// diffusers' class.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::Kl(_) => "AutoencoderKL",
            Self::Vq(_) => "VQModel",
        }
    }

    /// The parameters, in creation order.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        match self {
            Self::Kl(kl) => kl.parameters(),
            Self::Vq(vq) => vq.parameters(),
        }
    }

    /// Channels of its images.
    #[must_use]
    pub fn image_channels(&self) -> i64 {
        match self {
            Self::Kl(kl) => kl.config().in_channels,
            Self::Vq(vq) => vq.config().in_channels,
        }
    }

    /// Channels of its latent images.
    #[must_use]
    pub fn latent_channels(&self) -> i64 {
        match self {
            Self::Kl(kl) => kl.config().latent_channels,
            Self::Vq(vq) => vq.config().code_channels(),
        }
    }

    /// Side of an image over side of its latent image.
    #[must_use]
    pub fn reduction(&self) -> i64 {
        match self {
            Self::Kl(kl) => kl.config().reduction(),
            Self::Vq(vq) => vq.config().reduction(),
        }
    }

    /// Checks that a network's latents are of as many channels.
    ///
    /// # Errors
    /// They are of others.
    pub fn check(&self, network: &BackboneConfig) -> Result<()> {
        let (own, seen) = (self.latent_channels(), network.in_channels());
        if own != seen {
            return Err(DiffusionError::Config(format!(
                "the autoencoder has {own} latent channels, the network takes {seen}"
            )));
        }
        Ok(())
    }

    fn scaling_factor(&self) -> f64 {
        match self {
            Self::Kl(kl) => kl.config().scaling_factor,
            Self::Vq(vq) => vq.config().scaling_factor,
        }
    }

    /// What a diffusion model sees of images [B, C, H, W] in [-1, 1], without gradient: their latents, scaled; of a Gaussian the mean.
    ///
    /// # Errors
    /// Shapes the network cannot take.
    pub fn latents(&self, images: &Tensor) -> Result<Tensor> {
        let latents = no_grad(|| -> Result<Tensor> {
            match self {
                Self::Kl(kl) => Ok(kl.encode(images)?.mean),
                Self::Vq(vq) => vq.encode(images),
            }
        })?;
        Ok(latents * self.scaling_factor())
    }

    /// Images of what a diffusion model made, about [-1, 1], not clipped; without gradient. The inverse of [`Self::latents`].
    ///
    /// # Errors
    /// Shapes the network cannot take.
    pub fn images(&self, latents: &Tensor) -> Result<Tensor> {
        let plain = latents / self.scaling_factor();
        no_grad(|| match self {
            Self::Kl(kl) => kl.decode(&plain),
            Self::Vq(vq) => vq.decode(&plain),
        })
    }
}
