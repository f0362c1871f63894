//! The autoencoder with a codebook, in the layout of diffusers' `VQModel` (Esser et al. 2021): same parameter names, same arithmetic. A
//! diffusion model of its latents sees what the encoder gives; the codebook's entries stand in their place when they are decoded.

use super::{AutoencoderKlConfig, Decoder, Encoder};
use crate::latent::files::{Others, check_others};
use crate::nn::{Builder, Init, Parameters, check_count};
use crate::ranges::{self, Range, real, whole};
use crate::unet2d::WIDEST;
use crate::{DiffusionError, Result};
use dualmd_torch::{Device, Kind, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// `vqvae/config.json`. Keys that are missing have diffusers' defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VqModelConfig {
    /// diffusers' class.
    #[serde(rename = "_class_name")]
    pub class_name: String,
    /// diffusers version the file claims.
    #[serde(rename = "_diffusers_version")]
    pub diffusers_version: String,
    /// Image channels in.
    pub in_channels: i64,
    /// Image channels out.
    pub out_channels: i64,
    /// Encoder blocks, finest first: `DownEncoderBlock2D`.
    pub down_block_types: Vec<String>,
    /// Decoder blocks, coarsest first: `UpDecoderBlock2D`.
    pub up_block_types: Vec<String>,
    /// Channels per level, finest first.
    pub block_out_channels: Vec<i64>,
    /// Residual blocks per level of the encoder; the decoder has one more.
    pub layers_per_block: i64,
    /// Only `silu`.
    pub act_fn: String,
    /// Channels inside, between encoder or decoder and the convolutions beside the codebook.
    pub latent_channels: i64,
    /// Entries of the codebook.
    pub num_vq_embeddings: i64,
    /// Groups of every group normalisation.
    pub norm_num_groups: i64,
    /// Channels of the latent image and of the codebook's entries; null: `latent_channels`.
    pub vq_embed_dim: Option<i64>,
    /// What the diffusion model sees is `scaling_factor` times the latent image.
    pub scaling_factor: f64,
    /// Only `group`.
    pub norm_type: String,
    /// Attention in the middle of encoder and decoder.
    pub mid_block_add_attention: bool,
    /// Keys without a field here; [`Self::check`] refuses those that would change the computation.
    #[serde(flatten)]
    pub others: Others,
}

impl Default for VqModelConfig {
    /// diffusers' defaults.
    fn default() -> Self {
        Self {
            class_name: "VQModel".into(),
            diffusers_version: "0.35.0".into(),
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec!["DownEncoderBlock2D".into()],
            up_block_types: vec!["UpDecoderBlock2D".into()],
            block_out_channels: vec![64],
            layers_per_block: 1,
            act_fn: "silu".into(),
            latent_channels: 3,
            num_vq_embeddings: 256,
            norm_num_groups: 32,
            vq_embed_dim: None,
            scaling_factor: 0.18215,
            norm_type: "group".into(),
            mid_block_add_attention: true,
            others: Others::new(),
        }
    }
}

/// Most entries of a codebook.
const MOST_ENTRIES: i32 = 1 << 20;
/// Keys that change nothing here: `sample_size` is for people, `force_upcast` for f16.
const HARMLESS: &[&str] = &["sample_size", "force_upcast"];
/// Ranges of the numbers that [`AutoencoderKlConfig`] does not have too.
const RANGES: &[(&str, Range)] = &[
    ("num_vq_embeddings", whole(1, MOST_ENTRIES)),
    ("vq_embed_dim", whole(1, WIDEST).or_null()),
    ("scaling_factor", real(1e-6, 1e6)),
];

impl VqModelConfig {
    /// The configuration that a config.json stands for, checked.
    ///
    /// # Errors
    /// The first key whose value is of another type or out of its range; as [`Self::check`].
    pub fn read(file: &Value) -> Result<Self> {
        ranges::read(file, RANGES, Self::check)
    }

    /// Checks what would silently compute something else.
    ///
    /// # Errors
    /// The first key whose value is out of its range or not implemented, or that contradicts another.
    pub fn check(&self) -> Result<()> {
        let keys = serde_json::to_value(self).map_err(|e| DiffusionError::Config(e.to_string()))?;
        ranges::check(&keys, RANGES)?;
        if self.class_name != "VQModel" {
            return Err(DiffusionError::Config(format!(
                "_class_name: {} is not supported: a VQModel is needed here",
                self.class_name
            )));
        }
        if self.norm_type != "group" {
            return Err(DiffusionError::Config(format!(
                "norm_type = {:?} is not supported: only group is",
                self.norm_type
            )));
        }
        let neutral = [("lookup_from_codebook", json!(false))];
        check_others(&self.others, &neutral, HARMLESS)?;
        self.halves().check()
    }

    /// Encoder and decoder, which are those of an `AutoencoderKL`.
    fn halves(&self) -> AutoencoderKlConfig {
        AutoencoderKlConfig {
            in_channels: self.in_channels,
            out_channels: self.out_channels,
            down_block_types: self.down_block_types.clone(),
            up_block_types: self.up_block_types.clone(),
            block_out_channels: self.block_out_channels.clone(),
            layers_per_block: self.layers_per_block,
            act_fn: self.act_fn.clone(),
            latent_channels: self.latent_channels,
            norm_num_groups: self.norm_num_groups,
            mid_block_add_attention: self.mid_block_add_attention,
            ..AutoencoderKlConfig::default()
        }
    }

    /// Channels of the latent image.
    #[must_use]
    pub fn code_channels(&self) -> i64 {
        self.vq_embed_dim.unwrap_or(self.latent_channels)
    }

    /// Side of an image over side of its latent image; image sides must be a multiple of it.
    #[must_use]
    pub fn reduction(&self) -> i64 {
        self.halves().reduction()
    }
}

/// An autoencoder with a codebook.
#[derive(Debug)]
pub struct VqModel {
    config: VqModelConfig,
    parameters: Parameters,
    encoder: Encoder,
    /// [entries, code channels].
    codebook: Tensor,
    decoder: Decoder,
}

impl VqModel {
    /// A fresh, untrained autoencoder; every weight from its own stream of `seed`, the codebook's entries standard normal.
    ///
    /// # Errors
    /// A configuration that cannot be built.
    pub fn fresh(config: &VqModelConfig, seed: u64, device: Device) -> Result<Self> {
        check_count(Self::build(config, Builder::outline())?.parameters.count())?;
        Self::build(config, Builder::fresh(seed, device))
    }

    /// An autoencoder with the given weights. Those in half precision are held as they are ([`Builder::as_given`]).
    ///
    /// # Errors
    /// Missing, surplus or misshapen tensors, by name.
    pub fn from_weights(
        config: &VqModelConfig,
        weights: BTreeMap<String, Tensor>,
        device: Device,
    ) -> Result<Self> {
        Self::build(config, Builder::loaded(weights, device).as_given())
    }

    fn build(config: &VqModelConfig, b: Builder) -> Result<Self> {
        config.check()?;
        let (inside, code) = (config.latent_channels, config.code_channels());
        let halves = config.halves();
        let entries = [config.num_vq_embeddings, code];
        Ok(Self {
            config: config.clone(),
            encoder: Encoder::new(&b, &halves, inside, Some([inside, code]))?,
            codebook: b.get("quantize.embedding.weight", &entries, Init::Normal(1.0))?,
            decoder: Decoder::new(&b, &halves, Some([code, inside]))?,
            parameters: b.finish()?,
        })
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &VqModelConfig {
        &self.config
    }

    /// The parameters, in creation order.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Latent images, not scaled, before the codebook. `images`: [B, C, H, W] f32 in [-1, 1], sides multiples of
    /// [`VqModelConfig::reduction`]; returns [B, code channels, H / r, W / r].
    ///
    /// # Errors
    /// Shapes the network cannot take.
    pub fn encode(&self, images: &Tensor) -> Result<Tensor> {
        super::check_images(images, self.config.in_channels, self.config.reduction())?;
        self.encoder.forward(images)
    }

    /// Images of latent images that are *not* scaled: each latent pixel is replaced by the nearest entry of the codebook first. Shapes as
    /// [`Self::encode`]; about [-1, 1], not clipped.
    ///
    /// # Errors
    /// Shapes the network cannot take.
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        super::check_latents(latents, self.config.code_channels())?;
        self.decoder.forward(&self.quantized(latents)?)
    }

    /// The nearest entries of the codebook.
    fn quantized(&self, latents: &Tensor) -> Result<Tensor> {
        let (batch, channels, height, width) = latents.size4()?;
        let pixels = latents.permute([0, 2, 3, 1]).reshape([-1, channels]);
        let codebook = self.codebook.f_to_kind(Kind::Float)?;
        let apart = Tensor::f_cdist(&pixels, &codebook, 2.0, None::<i64>)?;
        let nearest = apart.f_argmin(1i64, false)?;
        let entries = codebook.f_index_select(0, &nearest)?;
        let entries = entries.f_view([batch, height, width, channels])?;
        Ok(entries.permute([0, 3, 1, 2]).contiguous())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> VqModelConfig {
        VqModelConfig {
            down_block_types: vec!["DownEncoderBlock2D".into(); 2],
            up_block_types: vec!["UpDecoderBlock2D".into(); 2],
            block_out_channels: vec![8, 8],
            norm_num_groups: 4,
            num_vq_embeddings: 5,
            vq_embed_dim: Some(2),
            ..VqModelConfig::default()
        }
    }

    #[test]
    fn every_latent_pixel_becomes_the_nearest_entry() {
        let vq = VqModel::fresh(&config(), 1, Device::Cpu).unwrap();
        // [1, 2, 1, 3]: an entry moved a little, for each of three pixels.
        let entry = |entry: i64, c: i64| vq.codebook.double_value(&[entry, c]);
        let of = |c: i64| [4, 0, 2].map(|which| (entry(which, c) + 1e-3) as f32);
        let latents = Tensor::from_slice(&[of(0), of(1)].concat()).view([1, 2, 1, 3]);
        let found = vq.quantized(&latents).unwrap();
        assert_eq!(found.size(), latents.size());
        for (pixel, which) in (0..).zip([4, 0, 2]) {
            for c in 0..2 {
                let value = found.double_value(&[0, c, 0, pixel]);
                assert_eq!(value, entry(which, c));
            }
        }
    }

    #[test]
    fn images_go_there_and_back_and_other_shapes_are_refused() {
        let vq = VqModel::fresh(&config(), 1, Device::Cpu).unwrap();
        let images = Tensor::zeros([2, 3, 8, 8], (Kind::Float, Device::Cpu));
        let latents = vq.encode(&images).unwrap();
        assert_eq!(latents.size(), [2, 2, 4, 4]);
        assert_eq!(vq.decode(&latents).unwrap().size(), [2, 3, 8, 8]);
        assert!(vq.encode(&images.narrow(3, 0, 7)).is_err());
        assert!(vq.decode(&images).is_err());
        for (key, value) in [
            ("norm_type", json!("spatial")),
            ("lookup_from_codebook", json!(true)),
            ("num_vq_embeddings", json!(0)),
            ("down_block_types", json!(["X", "DownEncoderBlock2D"])),
            ("_class_name", json!("AutoencoderKL")),
        ] {
            let mut file = serde_json::to_value(config()).unwrap();
            file[key] = value;
            let said = VqModelConfig::read(&file).unwrap_err().to_string();
            assert!(said.contains(key), "{said}");
        }
    }
}
