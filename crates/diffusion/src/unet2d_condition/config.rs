//! The network's configuration, key for key that of diffusers' `UNet2DConditionModel`.

use crate::blocks::SIZES;
use crate::latent::files::{EMA, Others, check_others};
use crate::ranges::{self, Range, real, whole};
use crate::unet2d::{ImageSize, LARGEST_SIDE, WIDEST};
use crate::{DiffusionError, Result};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

/// One number for all levels, or one for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PerLevel {
    /// The same at every level.
    All(i64),
    /// Finest level first.
    Each(Vec<i64>),
}

impl PerLevel {
    /// The number of level `level`, 0 the finest; `None` beyond the list.
    #[must_use]
    pub fn at(&self, level: usize) -> Option<i64> {
        match self {
            Self::All(n) => Some(*n),
            Self::Each(list) => list.get(level).copied(),
        }
    }
}

/// `unet/config.json`. Keys that are missing have diffusers' defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UNet2dConditionConfig {
    /// diffusers' class.
    #[serde(rename = "_class_name")]
    pub class_name: String,
    /// diffusers version the file claims.
    #[serde(rename = "_diffusers_version")]
    pub diffusers_version: String,
    /// Side of the (latent) image (advisory: the network takes any size its down-samplings divide).
    pub sample_size: Option<ImageSize>,
    /// Channels in.
    pub in_channels: i64,
    /// Channels out.
    pub out_channels: i64,
    /// Map the input from [0, 1] to [-1, 1] inside the network.
    pub center_input_sample: bool,
    /// cos before sin in the time embedding.
    pub flip_sin_to_cos: bool,
    /// Shift of the sinusoid's frequency exponent.
    pub freq_shift: i64,
    /// Encoder blocks, finest first: `CrossAttnDownBlock2D` or `DownBlock2D`.
    pub down_block_types: Vec<String>,
    /// Decoder blocks, coarsest first: `UpBlock2D` or `CrossAttnUpBlock2D`.
    pub up_block_types: Vec<String>,
    /// Channels per level, finest first.
    pub block_out_channels: Vec<i64>,
    /// Residual blocks per level.
    pub layers_per_block: i64,
    /// Transformer blocks per transformer.
    pub transformer_layers_per_block: PerLevel,
    /// Padding of the strided convolution; 0 pads asymmetrically (right, bottom).
    pub downsample_padding: i64,
    /// Divisor of the middle block's residual sums.
    pub mid_block_scale_factor: f64,
    /// Dropout before each residual block's second convolution, training only.
    pub dropout: f64,
    /// Only `silu`.
    pub act_fn: String,
    /// Groups of every group normalisation.
    pub norm_num_groups: i64,
    /// Epsilon of the residual blocks' normalisation.
    pub norm_eps: f64,
    /// Width of the text embedding.
    pub cross_attention_dim: i64,
    /// In spite of its name the *number* of heads: a naming mistake that diffusers keeps for the sake of the files.
    pub attention_head_dim: PerLevel,
    /// Linear layers instead of 1x1 convolutions at both ends of a transformer (Stable Diffusion 2).
    pub use_linear_projection: bool,
    /// Attention in f32 within an f16 network (Stable Diffusion 2.1). Changes nothing here: networks compute in f32 or
    /// under bf16 autocast, whose range is f32's. (null is false.)
    #[serde(deserialize_with = "null_is_false")]
    pub upcast_attention: bool,
    /// `default` (add the time embedding) or `scale_shift`.
    pub resnet_time_scale_shift: String,
    /// `text_time`: the network is told a pooled text and the size of the image beside the text (Stable Diffusion XL). `None`: it is
    /// not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addition_embed_type: Option<String>,
    /// With `text_time`: width of the sinusoid of each of the six numbers of a size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addition_time_embed_dim: Option<i64>,
    /// With `text_time`: width of the pooled text and six times that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub projection_class_embeddings_input_dim: Option<i64>,
    /// Keys without a field here; [`Self::check`] refuses those that would change the computation.
    #[serde(flatten)]
    pub others: Others,
}

impl Default for UNet2dConditionConfig {
    /// diffusers' defaults, but for `cross_attention_dim`, where every file has its own.
    fn default() -> Self {
        let names = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        Self {
            class_name: "UNet2DConditionModel".into(),
            diffusers_version: "0.35.0".into(),
            sample_size: None,
            in_channels: 4,
            out_channels: 4,
            center_input_sample: false,
            flip_sin_to_cos: true,
            freq_shift: 0,
            down_block_types: names(&[
                "CrossAttnDownBlock2D",
                "CrossAttnDownBlock2D",
                "CrossAttnDownBlock2D",
                "DownBlock2D",
            ]),
            up_block_types: names(&[
                "UpBlock2D",
                "CrossAttnUpBlock2D",
                "CrossAttnUpBlock2D",
                "CrossAttnUpBlock2D",
            ]),
            block_out_channels: vec![320, 640, 1280, 1280],
            layers_per_block: 2,
            transformer_layers_per_block: PerLevel::All(1),
            downsample_padding: 1,
            mid_block_scale_factor: 1.0,
            dropout: 0.0,
            act_fn: "silu".into(),
            norm_num_groups: 32,
            norm_eps: 1e-5,
            cross_attention_dim: 1280,
            attention_head_dim: PerLevel::All(8),
            use_linear_projection: false,
            upcast_attention: false,
            resnet_time_scale_shift: "default".into(),
            addition_embed_type: None,
            addition_time_embed_dim: None,
            projection_class_embeddings_input_dim: None,
            others: Others::new(),
        }
    }
}

fn null_is_false<'de, D: Deserializer<'de>>(file: D) -> std::result::Result<bool, D::Error> {
    Ok(Option::<bool>::deserialize(file)?.unwrap_or(false))
}

/// Ranges of the numbers.
const RANGES: &[(&str, Range)] = &[
    ("sample_size", whole(1, LARGEST_SIDE).or_list().or_null()),
    ("in_channels", whole(1, WIDEST)),
    ("out_channels", whole(1, WIDEST)),
    ("freq_shift", whole(0, WIDEST)),
    ("block_out_channels", whole(1, WIDEST).or_list()),
    ("layers_per_block", whole(1, 64)),
    ("transformer_layers_per_block", whole(1, 64).or_list()),
    ("downsample_padding", whole(0, 1)),
    ("mid_block_scale_factor", real(1e-6, 1e6)),
    ("dropout", real(0.0, 1.0)),
    ("norm_num_groups", whole(1, WIDEST)),
    ("norm_eps", real(1e-20, 1.0)),
    ("cross_attention_dim", whole(1, WIDEST)),
    ("attention_head_dim", whole(1, WIDEST).or_list()),
    ("addition_time_embed_dim", whole(1, WIDEST).or_null()),
    (
        "projection_class_embeddings_input_dim",
        whole(1, 8 * WIDEST).or_null(),
    ),
];

/// Keys of diffusers' class with the value that is implemented.
fn neutral() -> Vec<(&'static str, Value)> {
    vec![
        ("mid_block_type", json!("UNetMidBlock2DCrossAttn")),
        ("only_cross_attention", json!(false)),
        ("dual_cross_attention", json!(false)),
        ("attention_type", json!("default")),
        ("time_embedding_type", json!("positional")),
        ("resnet_skip_time_act", json!(false)),
        ("resnet_out_scale_factor", json!(1.0)),
        ("class_embeddings_concat", json!(false)),
        ("conv_in_kernel", json!(3)),
        ("conv_out_kernel", json!(3)),
        ("class_embed_type", Value::Null),
        ("num_class_embeds", Value::Null),
        ("encoder_hid_dim", Value::Null),
        ("encoder_hid_dim_type", Value::Null),
        ("time_cond_proj_dim", Value::Null),
        ("time_embedding_dim", Value::Null),
        ("time_embedding_act_fn", Value::Null),
        ("timestep_post_act", Value::Null),
        ("cross_attention_norm", Value::Null),
        ("num_attention_heads", Value::Null),
        ("reverse_transformer_layers_per_block", Value::Null),
    ]
}

/// Keys that matter only together with a value that is refused.
const HARMLESS: &[&str] = &[
    "addition_embed_type_num_heads",
    "mid_block_only_cross_attention",
];

impl UNet2dConditionConfig {
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
        if self.class_name != "UNet2DConditionModel" {
            return fail(
                "_class_name",
                &self.class_name,
                "a UNet2DConditionModel is needed here",
            );
        }
        check_others(&self.others, &neutral(), &[HARMLESS, EMA].concat())?;
        if !matches!(self.act_fn.as_str(), "silu" | "swish") {
            return fail("act_fn", &self.act_fn, "use silu");
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
        self.check_levels()?;
        self.check_addition()?;
        if self.out_channels != self.in_channels {
            return fail(
                "out_channels",
                &self.out_channels,
                "it must equal in_channels (inpainting, upscaling and variance-predicting models cannot be used)",
            );
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return fail("dropout", &self.dropout, "use a probability in [0, 1)");
        }
        Ok(())
    }

    fn check_addition(&self) -> Result<()> {
        let wrong =
            |key: &str, reason: String| Err(DiffusionError::Config(format!("{key}: {reason}")));
        match self.addition_embed_type.as_deref() {
            None => return Ok(()),
            Some("text_time") => {}
            Some(other) => {
                return wrong(
                    "addition_embed_type",
                    format!(
                        "\"{other}\" is not supported: use text_time (Stable Diffusion XL) or none"
                    ),
                );
            }
        }
        let Some(pooled) = self.pooled_width() else {
            return wrong(
                "addition_embed_type",
                "text_time needs addition_time_embed_dim and projection_class_embeddings_input_dim"
                    .into(),
            );
        };
        if pooled < 1 {
            return wrong(
                "projection_class_embeddings_input_dim",
                format!(
                    "{:?} leaves no room for a pooled text beside {SIZES} sinusoids of addition_time_embed_dim = {:?}: a network that is told \
                     other things (a refiner's aesthetic score) cannot be used",
                    self.projection_class_embeddings_input_dim, self.addition_time_embed_dim
                ),
            );
        }
        if self.addition_time_embed_dim.unwrap_or(0) / 2 <= self.freq_shift {
            return wrong(
                "addition_time_embed_dim",
                format!(
                    "{:?} must be more than twice freq_shift = {}",
                    self.addition_time_embed_dim, self.freq_shift
                ),
            );
        }
        Ok(())
    }

    /// Width of the pooled text that the network is told beside the text; `None` of one that is told none.
    #[must_use]
    pub fn pooled_width(&self) -> Option<i64> {
        self.addition_embed_type.as_ref()?;
        let sizes = SIZES * self.addition_time_embed_dim?;
        Some(self.projection_class_embeddings_input_dim? - sizes)
    }

    fn check_levels(&self) -> Result<()> {
        let levels = self.block_out_channels.len();
        let wrong =
            |key: &str, reason: String| Err(DiffusionError::Config(format!("{key}: {reason}")));
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
        if self.block_out_channels[0] / 2 <= self.freq_shift {
            return wrong(
                "freq_shift",
                format!(
                    "{} must be below half of the {} features of the time embedding",
                    self.freq_shift, self.block_out_channels[0]
                ),
            );
        }
        for (key, names, plain, cross) in [
            (
                "down_block_types",
                &self.down_block_types,
                "DownBlock2D",
                "CrossAttnDownBlock2D",
            ),
            (
                "up_block_types",
                &self.up_block_types,
                "UpBlock2D",
                "CrossAttnUpBlock2D",
            ),
        ] {
            if let Some(name) = names.iter().find(|n| *n != plain && *n != cross) {
                return wrong(
                    key,
                    format!("\"{name}\" is not supported: use {plain} or {cross}"),
                );
            }
        }
        for (key, value) in [
            ("attention_head_dim", &self.attention_head_dim),
            (
                "transformer_layers_per_block",
                &self.transformer_layers_per_block,
            ),
        ] {
            let fits = match value {
                PerLevel::All(n) => *n >= 1,
                PerLevel::Each(list) => list.len() == levels && list.iter().all(|&n| n >= 1),
            };
            if !fits {
                return wrong(
                    key,
                    format!("{value:?} must be a positive number, or {levels} of them"),
                );
            }
        }
        Ok(())
    }

    /// The image side must be a multiple of this.
    #[must_use]
    pub fn size_multiple(&self) -> i64 {
        1 << self.block_out_channels.len().saturating_sub(1).min(30)
    }
}
