//! The network's configuration, key for key that of diffusers' `UNet2DModel`.

use crate::latent::files::{EMA, Others, check_others};
use crate::ranges::{self, Range, real, whole};
use crate::{DiffusionError, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// `unet/config.json`. Keys that are missing have diffusers' defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UNet2dConfig {
    /// diffusers' class.
    #[serde(rename = "_class_name")]
    pub class_name: String,
    /// diffusers version the file claims.
    #[serde(rename = "_diffusers_version")]
    pub diffusers_version: String,
    /// Image side in pixels (advisory: the network takes any size its down-samplings divide).
    pub sample_size: Option<ImageSize>,
    /// Image channels in.
    pub in_channels: i64,
    /// Channels out: those of the images, or twice as many of a network that also predicts the variance of a step back (Nichol and
    /// Dhariwal 2021), whose half is not used.
    pub out_channels: i64,
    /// Map the input from [0, 1] to [-1, 1] inside the network.
    pub center_input_sample: bool,
    /// Only `positional`.
    pub time_embedding_type: String,
    /// Shift of the sinusoid's frequency exponent.
    pub freq_shift: i64,
    /// cos before sin.
    pub flip_sin_to_cos: bool,
    /// Encoder blocks, finest first.
    pub down_block_types: Vec<String>,
    /// Decoder blocks, coarsest first.
    pub up_block_types: Vec<String>,
    /// Channels per level, finest first.
    pub block_out_channels: Vec<i64>,
    /// Residual blocks per level.
    pub layers_per_block: i64,
    /// Divisor of the middle block's residual sums.
    pub mid_block_scale_factor: f64,
    /// Padding of the strided convolution; 0 pads asymmetrically (right, bottom), as DDPM's TensorFlow code did.
    pub downsample_padding: i64,
    /// Only `conv`.
    pub downsample_type: String,
    /// Only `conv`.
    pub upsample_type: String,
    /// Dropout before each residual block's second convolution, training only.
    pub dropout: f64,
    /// Only `silu`.
    pub act_fn: String,
    /// Channels per attention head; null: one head.
    pub attention_head_dim: Option<i64>,
    /// Groups of every group normalisation.
    pub norm_num_groups: i64,
    /// Groups of the middle attention's normalisation; null: as `norm_num_groups`.
    pub attn_norm_num_groups: Option<i64>,
    /// Epsilon of every group normalisation.
    pub norm_eps: f64,
    /// `default` (add the time embedding) or `scale_shift`.
    pub resnet_time_scale_shift: String,
    /// Attention in the middle block.
    pub add_attention: bool,
    /// Must be null: an embedding for each class is looked up in a table.
    pub class_embed_type: Option<String>,
    /// Classes whose embeddings the network has; null: it is told no class.
    pub num_class_embeds: Option<i64>,
    /// Must be null.
    pub num_train_timesteps: Option<i64>,
    /// Keys without a field here; [`Self::check`] refuses those that would change the computation.
    #[serde(flatten)]
    pub others: Others,
}

/// Most pixels on a side.
pub(crate) const LARGEST_SIDE: i32 = 4096;
/// Most channels of a level, or features of an embedding.
pub(crate) const WIDEST: i32 = 1 << 16;

/// Ranges of the numbers.
const RANGES: &[(&str, Range)] = &[
    ("sample_size", whole(1, LARGEST_SIDE).or_list().or_null()),
    ("in_channels", whole(1, WIDEST)),
    ("out_channels", whole(1, WIDEST)),
    ("freq_shift", whole(0, WIDEST)),
    ("block_out_channels", whole(1, WIDEST).or_list()),
    ("layers_per_block", whole(1, 64)),
    ("mid_block_scale_factor", real(1e-6, 1e6)),
    ("downsample_padding", whole(0, 1)),
    ("dropout", real(0.0, 1.0)),
    ("attention_head_dim", whole(1, WIDEST).or_null()),
    ("norm_num_groups", whole(1, WIDEST)),
    ("attn_norm_num_groups", whole(1, WIDEST).or_null()),
    ("norm_eps", real(1e-20, 1.0)),
    ("num_class_embeds", whole(1, WIDEST).or_null()),
];

/// Side of a square image, or [height, width].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ImageSize {
    /// Square.
    Side(i64),
    /// Height, width.
    HeightWidth([i64; 2]),
}

impl Default for UNet2dConfig {
    /// diffusers' defaults.
    fn default() -> Self {
        let names = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        Self {
            class_name: "UNet2DModel".into(),
            diffusers_version: "0.35.0".into(),
            sample_size: None,
            in_channels: 3,
            out_channels: 3,
            center_input_sample: false,
            time_embedding_type: "positional".into(),
            freq_shift: 0,
            flip_sin_to_cos: true,
            down_block_types: names(&[
                "DownBlock2D",
                "AttnDownBlock2D",
                "AttnDownBlock2D",
                "AttnDownBlock2D",
            ]),
            up_block_types: names(&[
                "AttnUpBlock2D",
                "AttnUpBlock2D",
                "AttnUpBlock2D",
                "UpBlock2D",
            ]),
            block_out_channels: vec![224, 448, 672, 896],
            layers_per_block: 2,
            mid_block_scale_factor: 1.0,
            downsample_padding: 1,
            downsample_type: "conv".into(),
            upsample_type: "conv".into(),
            dropout: 0.0,
            act_fn: "silu".into(),
            attention_head_dim: Some(8),
            norm_num_groups: 32,
            attn_norm_num_groups: None,
            norm_eps: 1e-5,
            resnet_time_scale_shift: "default".into(),
            add_attention: true,
            class_embed_type: None,
            num_class_embeds: None,
            num_train_timesteps: None,
            others: Others::new(),
        }
    }
}

impl UNet2dConfig {
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
        let fail = |key: &str, value: &dyn std::fmt::Debug, allowed: &str| {
            Err(DiffusionError::Config(format!(
                "{key} = {value:?} is not supported: {allowed}"
            )))
        };
        if self.class_name != "UNet2DModel" {
            return fail(
                "_class_name",
                &self.class_name,
                "a UNet2DModel is needed here",
            );
        }
        let neutral = [
            ("mid_block_type", json!("UNetMidBlock2D")),
            ("time_embedding_dim", Value::Null),
        ];
        check_others(&self.others, &neutral, EMA)?;
        if self.time_embedding_type != "positional" {
            return fail(
                "time_embedding_type",
                &self.time_embedding_type,
                "use positional",
            );
        }
        if !matches!(self.act_fn.as_str(), "silu" | "swish") {
            return fail("act_fn", &self.act_fn, "use silu");
        }
        if self.downsample_type != "conv" {
            return fail("downsample_type", &self.downsample_type, "use conv");
        }
        if self.upsample_type != "conv" {
            return fail("upsample_type", &self.upsample_type, "use conv");
        }
        if !matches!(
            self.resnet_time_scale_shift.as_str(),
            "default" | "scale_shift"
        ) {
            return fail(
                "resnet_time_scale_shift",
                &self.resnet_time_scale_shift,
                "use default or scale_shift",
            );
        }
        if let Some(kind) = &self.class_embed_type {
            return fail(
                "class_embed_type",
                kind,
                "only a table of embeddings is (null, with num_class_embeds)",
            );
        }
        if let Some(timesteps) = self.num_train_timesteps {
            return fail(
                "num_train_timesteps",
                &timesteps,
                "only learned time embeddings have it",
            );
        }
        let levels = self.block_out_channels.len();
        if levels == 0
            || self.down_block_types.len() != levels
            || self.up_block_types.len() != levels
        {
            return Err(DiffusionError::Config(format!(
                "block_out_channels has {levels} levels, down_block_types {}, up_block_types {}: they must be equal",
                self.down_block_types.len(),
                self.up_block_types.len()
            )));
        }
        for name in &self.down_block_types {
            if !matches!(name.as_str(), "DownBlock2D" | "AttnDownBlock2D") {
                return fail(
                    "down_block_types",
                    name,
                    "use DownBlock2D or AttnDownBlock2D",
                );
            }
        }
        for name in &self.up_block_types {
            if !matches!(name.as_str(), "UpBlock2D" | "AttnUpBlock2D") {
                return fail("up_block_types", name, "use UpBlock2D or AttnUpBlock2D");
            }
        }
        if self.block_out_channels[0] / 2 <= self.freq_shift {
            return fail(
                "freq_shift",
                &self.freq_shift,
                &format!(
                    "it must be below half of the {} features of the time embedding",
                    self.block_out_channels[0]
                ),
            );
        }
        if self.out_channels != self.in_channels && !self.predicts_variance() {
            return fail(
                "out_channels",
                &self.out_channels,
                "it must be in_channels, or twice that where the network also predicts a variance",
            );
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return fail("dropout", &self.dropout, "use a probability in [0, 1)");
        }
        Ok(())
    }

    /// Half of the network's output is the variance of a step back.
    #[must_use]
    pub fn predicts_variance(&self) -> bool {
        self.out_channels == 2 * self.in_channels
    }

    /// The image side must be a multiple of this.
    #[must_use]
    pub fn size_multiple(&self) -> i64 {
        1 << self.block_out_channels.len().saturating_sub(1).min(30)
    }
}
