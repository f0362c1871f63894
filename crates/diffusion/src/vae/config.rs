//! The autoencoder's configuration, key for key that of diffusers' `AutoencoderKL`.

use crate::latent::files::{Others, check_others};
use crate::ranges::{self, Range, real, whole};
use crate::unet2d::WIDEST;
use crate::{DiffusionError, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// `vae/config.json`. Keys that are missing have diffusers' defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AutoencoderKlConfig {
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
    /// Channels of the latent image.
    pub latent_channels: i64,
    /// Groups of every group normalisation.
    pub norm_num_groups: i64,
    /// What the diffusion model sees is `scaling_factor` times the latent image. 0.18215 for Stable Diffusion 1 and 2, whose
    /// files may lack the key.
    pub scaling_factor: f64,
    /// A 1x1 convolution behind the encoder.
    pub use_quant_conv: bool,
    /// A 1x1 convolution before the decoder.
    pub use_post_quant_conv: bool,
    /// Attention in the middle of encoder and decoder.
    pub mid_block_add_attention: bool,
    /// Keys without a field here; [`Self::check`] refuses those that would change the computation.
    #[serde(flatten)]
    pub others: Others,
}

impl Default for AutoencoderKlConfig {
    /// diffusers' defaults.
    fn default() -> Self {
        Self {
            class_name: "AutoencoderKL".into(),
            diffusers_version: "0.35.0".into(),
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec!["DownEncoderBlock2D".into()],
            up_block_types: vec!["UpDecoderBlock2D".into()],
            block_out_channels: vec![64],
            layers_per_block: 1,
            act_fn: "silu".into(),
            latent_channels: 4,
            norm_num_groups: 32,
            scaling_factor: 0.18215,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
            others: Others::new(),
        }
    }
}

/// Keys that change nothing here: `sample_size` is for tiles, `force_upcast` for f16.
const HARMLESS: &[&str] = &["sample_size", "force_upcast"];

/// Ranges of the numbers.
const RANGES: &[(&str, Range)] = &[
    ("in_channels", whole(1, WIDEST)),
    ("out_channels", whole(1, WIDEST)),
    ("block_out_channels", whole(1, WIDEST).or_list()),
    ("layers_per_block", whole(1, 64)),
    ("latent_channels", whole(1, WIDEST)),
    ("norm_num_groups", whole(1, WIDEST)),
    ("scaling_factor", real(1e-6, 1e6)),
];

impl AutoencoderKlConfig {
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
        let wrong =
            |key: &str, reason: String| Err(DiffusionError::Config(format!("{key}: {reason}")));
        if self.class_name != "AutoencoderKL" {
            return wrong(
                "_class_name",
                format!(
                    "{} is not supported: an AutoencoderKL is needed here",
                    self.class_name
                ),
            );
        }
        let neutral = [
            ("shift_factor", Value::Null),
            ("latents_mean", Value::Null),
            ("latents_std", Value::Null),
            ("double_z", json!(true)),
        ];
        check_others(&self.others, &neutral, HARMLESS)?;
        if !matches!(self.act_fn.as_str(), "silu" | "swish") {
            return wrong(
                "act_fn",
                format!("{} is not supported: use silu", self.act_fn),
            );
        }
        let levels = self.block_out_channels.len();
        if levels == 0
            || self.down_block_types.len() != levels
            || self.up_block_types.len() != levels
        {
            return wrong(
                "block_out_channels",
                format!(
                    "has {levels} levels, down_block_types {}, up_block_types {}: they must be equal",
                    self.down_block_types.len(),
                    self.up_block_types.len()
                ),
            );
        }
        for (key, names, only) in [
            (
                "down_block_types",
                &self.down_block_types,
                "DownEncoderBlock2D",
            ),
            ("up_block_types", &self.up_block_types, "UpDecoderBlock2D"),
        ] {
            if let Some(name) = names.iter().find(|n| *n != only) {
                return wrong(key, format!("\"{name}\" is not supported: use {only}"));
            }
        }
        Ok(())
    }

    /// Side of an image over side of its latent image; image sides must be a multiple of it.
    #[must_use]
    pub fn reduction(&self) -> i64 {
        1 << self.block_out_channels.len().saturating_sub(1).min(30)
    }
}
