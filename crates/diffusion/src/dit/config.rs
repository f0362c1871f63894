//! The network's configuration, key for key that of diffusers' `DiTTransformer2DModel`.

use super::block::Activation;
use crate::latent::files::{EMA, Others, check_others};
use crate::ranges::{self, Range, real, whole};
use crate::unet2d::{LARGEST_SIDE, WIDEST};
use crate::{DiffusionError, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// diffusers' class.
pub(crate) const CLASS: &str = "DiTTransformer2DModel";
/// What it was before diffusers 0.28, and is in the published files of that time (facebook/DiT-XL-2-256).
pub(crate) const OLD_CLASS: &str = "Transformer2DModel";

/// `transformer/config.json`. Keys that are missing have diffusers' defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DitConfig {
    /// diffusers' class.
    #[serde(rename = "_class_name")]
    pub class_name: String,
    /// diffusers version the file claims.
    #[serde(rename = "_diffusers_version")]
    pub diffusers_version: String,
    /// Attention heads.
    pub num_attention_heads: i64,
    /// Channels per attention head; times the heads it is the width of the network, a multiple of 4.
    pub attention_head_dim: i64,
    /// Image channels in.
    pub in_channels: i64,
    /// Channels out: those of the images, or twice as many of a network that also predicts the variance of a step back, whose half is
    /// not used. null: as `in_channels`.
    pub out_channels: Option<i64>,
    /// Blocks.
    pub num_layers: i64,
    /// Dropout behind attention and in the feed-forward layers, training only.
    pub dropout: f64,
    /// No layer looks at it.
    pub norm_num_groups: i64,
    /// Biases of queries, keys and values.
    pub attention_bias: bool,
    /// Side in pixels of the square images that places are counted for. (Images of other sides are taken, too: their places are
    /// spread over the same range.)
    pub sample_size: i64,
    /// Side in pixels of the squares that become tokens.
    pub patch_size: i64,
    /// `gelu-approximate`, `gelu`, `geglu` or `geglu-approximate`.
    pub activation_fn: String,
    /// Classes that the network is told; it has one embedding more, for no label. 0: it is told none, and that embedding stands for
    /// all. (diffusers takes 0, too, and is told label 0 then.)
    pub num_embeds_ada_norm: i64,
    /// Attention in f32 within a network of half precision: changes nothing here.
    pub upcast_attention: bool,
    /// Only `ada_norm_zero`.
    pub norm_type: String,
    /// The normalisation before the feed-forward layers has scales and shifts of its own.
    pub norm_elementwise_affine: bool,
    /// Epsilon of that normalisation. (That of the others is 1e-6, whatever this says.)
    pub norm_eps: f64,
    /// Keys without a field here; [`Self::check`] refuses those that would change the computation.
    #[serde(flatten)]
    pub others: Others,
}

/// Ranges of the numbers.
const RANGES: &[(&str, Range)] = &[
    ("num_attention_heads", whole(1, WIDEST)),
    ("attention_head_dim", whole(1, WIDEST)),
    ("in_channels", whole(1, WIDEST)),
    ("out_channels", whole(1, WIDEST).or_null()),
    ("num_layers", whole(1, 256)),
    ("dropout", real(0.0, 1.0)),
    ("norm_num_groups", whole(0, WIDEST)),
    ("sample_size", whole(1, LARGEST_SIDE)),
    ("patch_size", whole(1, LARGEST_SIDE)),
    ("num_embeds_ada_norm", whole(0, WIDEST)),
    ("norm_eps", real(1e-20, 1.0)),
];

impl Default for DitConfig {
    /// diffusers' defaults: DiT-XL/2.
    fn default() -> Self {
        Self {
            class_name: CLASS.into(),
            diffusers_version: "0.35.0".into(),
            num_attention_heads: 16,
            attention_head_dim: 72,
            in_channels: 4,
            out_channels: None,
            num_layers: 28,
            dropout: 0.0,
            norm_num_groups: 32,
            attention_bias: true,
            sample_size: 32,
            patch_size: 2,
            activation_fn: "gelu-approximate".into(),
            num_embeds_ada_norm: 1000,
            upcast_attention: false,
            norm_type: "ada_norm_zero".into(),
            norm_elementwise_affine: false,
            norm_eps: 1e-5,
            others: Others::new(),
        }
    }
}

impl DitConfig {
    /// The configuration that a config.json stands for, checked. One of the class's old name is given the new one.
    ///
    /// # Errors
    /// The first key whose value is of another type or out of its range; as [`Self::check`].
    pub fn read(file: &Value) -> Result<Self> {
        ranges::check(file, RANGES)?;
        let mut config: Self = ranges::fields(file)?;
        if config.class_name == OLD_CLASS {
            // Keys of its other kinds, each with the one value that makes it a DiT.
            let neutral = [
                ("attention_type", json!("default")),
                ("caption_channels", Value::Null),
                ("cross_attention_dim", Value::Null),
                ("double_self_attention", json!(false)),
                ("interpolation_scale", Value::Null),
                ("num_vector_embeds", Value::Null),
                ("only_cross_attention", json!(false)),
                ("use_additional_conditions", Value::Null),
                ("use_linear_projection", json!(false)),
            ];
            check_others(&config.others, &neutral, EMA)?;
            let known = |key: &str| neutral.iter().any(|(name, _)| *name == key);
            config.others.retain(|key, _| !known(key));
            config.class_name = CLASS.into();
        }
        config.check()?;
        Ok(config)
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
        if self.class_name != CLASS {
            return fail(
                "_class_name",
                &self.class_name,
                "a DiTTransformer2DModel is needed here",
            );
        }
        check_others(&self.others, &[], EMA)?;
        if self.norm_type != "ada_norm_zero" {
            return fail("norm_type", &self.norm_type, "use ada_norm_zero");
        }
        if Activation::of(&self.activation_fn).is_none() {
            return fail(
                "activation_fn",
                &self.activation_fn,
                "use gelu-approximate, gelu, geglu or geglu-approximate",
            );
        }
        let width = self.width();
        if width % 4 != 0 || width > i64::from(WIDEST) {
            return Err(DiffusionError::Config(format!(
                "num_attention_heads = {} times attention_head_dim = {} is a width of {width}: it must be a multiple of 4, which places are \
                 written down in, and at most {WIDEST}",
                self.num_attention_heads, self.attention_head_dim
            )));
        }
        if self.sample_size % self.patch_size != 0 {
            return fail(
                "patch_size",
                &self.patch_size,
                &format!("it must divide sample_size = {}", self.sample_size),
            );
        }
        if self.channels_out() != self.in_channels && !self.predicts_variance() {
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

    /// Features of a token.
    #[must_use]
    pub fn width(&self) -> i64 {
        self.num_attention_heads
            .saturating_mul(self.attention_head_dim)
    }

    /// Channels of the network's output.
    #[must_use]
    pub fn channels_out(&self) -> i64 {
        self.out_channels.unwrap_or(self.in_channels)
    }

    /// Half of the network's output is the variance of a step back.
    #[must_use]
    pub fn predicts_variance(&self) -> bool {
        self.channels_out() == 2 * self.in_channels
    }

    /// Embeddings that the network has: one for each class, and one for no label.
    #[must_use]
    pub fn embeddings(&self) -> i64 {
        self.num_embeds_ada_norm + 1
    }
}
