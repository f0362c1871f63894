//! The conditional U-Net of Stable Diffusion in the layout of diffusers' `UNet2DConditionModel`: same parameter names, same
//! arithmetic.

mod config;
mod transformer;

pub use config::{PerLevel, UNet2dConditionConfig};

use crate::blocks::{
    Addition, AdditionOptions, ResidualOptions, Start, TimeEmbedding, check_images,
};
use crate::checkpointing::{Keep, Pass};
use crate::lora::Lora;
use crate::nn::{Builder, Conv, GroupNorm, Parameters, check_count};
use crate::unet::{Body, Levels, Mixer};
use crate::{Condition, Denoiser, DiffusionError, Result};
use dualmd_torch::device::Precision;
use dualmd_torch::{Device, Tensor};
use std::collections::BTreeMap;
use transformer::{Transformer, TransformerOptions};

impl Mixer for Transformer {
    fn mix(&self, h: &Tensor, text: Option<&Tensor>) -> Result<Tensor> {
        let text = text.ok_or_else(untold)?;
        self.forward(h, text)
    }
}

/// What a network is told that was asked without a text.
fn untold() -> DiffusionError {
    DiffusionError::Config(
        "this model is conditional: it needs a text embedding, and none was given".into(),
    )
}

/// A U-Net that is told a text embedding, and, as Stable Diffusion XL's is, a pooled text and the size of the image.
#[derive(Debug)]
pub struct UNet2dCondition {
    config: UNet2dConditionConfig,
    parameters: Parameters,
    pub(crate) lora: Option<Lora>,
    pub(crate) precision: Precision,
    drops: bool,
    body: Body<Transformer>,
}

impl UNet2dCondition {
    /// A fresh network with PyTorch's default initialisation, which is diffusers'; every weight from its own stream of
    /// `seed`.
    ///
    /// # Errors
    /// A configuration that cannot be built.
    pub fn fresh(config: &UNet2dConditionConfig, seed: u64, device: Device) -> Result<Self> {
        check_count(Self::build(config, Builder::outline())?.parameters.count())?;
        Self::build(config, Builder::fresh(seed, device))
    }

    /// As [`Self::fresh`], with the weights held in bf16: half the memory. For a network that is asked, not trained: it
    /// computes in bf16 whatever [`Self::with_precision`] is told, and the optimiser does not take it.
    ///
    /// # Errors
    /// A configuration that cannot be built.
    pub fn fresh_bf16(config: &UNet2dConditionConfig, seed: u64, device: Device) -> Result<Self> {
        check_count(Self::build(config, Builder::outline())?.parameters.count())?;
        let network = Self::build(config, Builder::fresh(seed, device).in_bf16())?;
        Ok(network.with_precision(Precision::Bf16))
    }

    /// A network with the given weights (moved to `device`, not copied if already there).
    ///
    /// # Errors
    /// Missing, surplus or misshapen tensors, by name.
    pub fn from_weights(
        config: &UNet2dConditionConfig,
        weights: BTreeMap<String, Tensor>,
        device: Device,
    ) -> Result<Self> {
        Self::build(config, Builder::loaded(weights, device))
    }

    /// As [`Self::from_weights`], held in bf16 where the weights are in half precision: half the memory of f32. It computes in bf16 then
    /// ([`Self::fresh_bf16`]); of other weights this is [`Self::from_weights`].
    ///
    /// # Errors
    /// As [`Self::from_weights`].
    pub fn from_halves(
        config: &UNet2dConditionConfig,
        weights: BTreeMap<String, Tensor>,
        device: Device,
    ) -> Result<Self> {
        let network = Self::build(config, Builder::halves(weights, device))?;
        Ok(network.with_precision(Precision::F32))
    }

    /// Names and shapes without memory for the weights, which are all zero ([`Builder::outline`]).
    ///
    /// # Errors
    /// A configuration that cannot be built.
    pub fn outline(config: &UNet2dConditionConfig) -> Result<Self> {
        Self::build(config, Builder::outline())
    }

    pub(crate) fn build(config: &UNet2dConditionConfig, b: Builder) -> Result<Self> {
        config.check()?;
        let widths = &config.block_out_channels;
        let first = widths[0];
        let options = ResidualOptions {
            time_width: Some(4 * first),
            groups: config.norm_num_groups,
            eps: config.norm_eps,
            scale_shift: config.resnet_time_scale_shift == "scale_shift",
            dropout: config.dropout,
            divisor: 1.0,
            start: Start::PyTorch,
        };
        let levels = Levels {
            widths,
            layers: config.layers_per_block,
            options,
            padding: config.downsample_padding,
            divisor: config.mid_block_scale_factor,
        };
        let transformer = |name: &str, level: usize| {
            let options = TransformerOptions {
                channels: widths[level],
                context: config.cross_attention_dim,
                heads: config.attention_head_dim.at(level).unwrap_or(1),
                layers: config.transformer_layers_per_block.at(level).unwrap_or(1),
                groups: config.norm_num_groups,
                linear_projection: config.use_linear_projection,
            };
            Transformer::new(&b, name, options)
        };

        let conv_in = Conv::default_init(&b, "conv_in", [config.in_channels, first], 3, 1, 1)?;
        let time = TimeEmbedding::new(&b, first, 4 * first, Start::PyTorch)?;
        let addition = match (config.pooled_width(), config.addition_time_embed_dim) {
            (Some(pooled), Some(width)) => {
                let options = AdditionOptions {
                    pooled,
                    width,
                    flip_sin_to_cos: config.flip_sin_to_cos,
                    freq_shift: config.freq_shift,
                };
                Some(Addition::new(&b, 4 * first, options)?)
            }
            _ => None,
        };

        let mixer = |name: &str, level: usize, kind: &str, with: &str| match kind == with {
            true => transformer(name, level).map(Some),
            false => Ok(None),
        };
        let down = levels.down(&b, |name, level| {
            let kind = &config.down_block_types[level];
            mixer(name, level, kind, "CrossAttnDownBlock2D")
        })?;
        let coarsest = widths.len() - 1;
        let middle = levels.middle(&b, |name| transformer(name, coarsest).map(Some))?;
        let up = levels.up(&b, |name, level| {
            let kind = &config.up_block_types[coarsest - level];
            mixer(name, level, kind, "CrossAttnUpBlock2D")
        })?;
        let (groups, eps) = (config.norm_num_groups, config.norm_eps);
        let norm_out = GroupNorm::new(&b, "conv_norm_out", first, groups, eps)?;
        let conv_out = Conv::default_init(&b, "conv_out", [first, config.out_channels], 3, 1, 1)?;
        let lora = Lora::of(b.take_adapters()?);
        Ok(Self {
            config: config.clone(),
            parameters: b.finish()?,
            lora,
            precision: Precision::F32,
            drops: false,
            body: Body {
                centres: config.center_input_sample,
                width: first,
                flip_sin_to_cos: config.flip_sin_to_cos,
                freq_shift: config.freq_shift,
                conv_in,
                time,
                classes: None,
                addition,
                down,
                middle,
                up,
                norm_out,
                conv_out,
            },
        })
    }

    /// Chooses f32 or bf16 autocast for every later call.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = self.parameters.precision(precision);
        self
    }

    /// Are its own weights held in bf16 ([`Self::fresh_bf16`], [`Self::from_halves`])?
    #[must_use]
    pub fn is_held_in_bf16(&self) -> bool {
        self.parameters.are_bf16()
    }

    /// Whether it also drops when it answers as a [`Denoiser`], which then depends on libtorch's generator: a module that
    /// nobody put into evaluation mode.
    #[must_use]
    pub fn with_dropout(mut self, on: bool) -> Self {
        self.drops = on;
        self
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &UNet2dConditionConfig {
        &self.config
    }

    /// The parameters, in creation order; those of LoRA layers are [`Self::lora_parameters`].
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The weights by name, without the network.
    #[must_use]
    pub fn into_weights(self) -> Vec<(String, Tensor)> {
        self.parameters.0
    }

    /// Where the weights live.
    #[must_use]
    pub fn device(&self) -> Device {
        self.parameters.device()
    }

    /// One pass through the network. `x`: [B, C, H, W] f32; `t`: \[B\] i64; `told`: a text [B, tokens, cross_attention_dim] and, for a
    /// network that is told them, a pooled text and sizes. `train` switches dropout on. Returns [B, C, H, W] f32.
    ///
    /// # Errors
    /// Shapes the network cannot take.
    pub fn forward(&self, x: &Tensor, t: &Tensor, told: &Condition, train: bool) -> Result<Tensor> {
        self.check_input(x, t, told)?;
        self.body.forward(self.precision, [x, t], told, train)
    }

    /// As [`Self::forward`] with dropout, for a gradient; `keep` chooses between memory and time.
    ///
    /// # Errors
    /// Shapes the network cannot take.
    pub fn forward_training(
        &self,
        x: &Tensor,
        t: &Tensor,
        told: &Condition,
        keep: Keep,
    ) -> Result<Pass<'_>> {
        self.check_input(x, t, told)?;
        let drops = self.config.dropout > 0.0;
        self.body.pass(self.precision, [x, t], told, keep, drops)
    }

    fn check_input(&self, x: &Tensor, t: &Tensor, told: &Condition) -> Result<()> {
        check_images(x, t, self.config.in_channels, self.config.size_multiple())?;
        let (batch, width) = (x.size()[0], self.config.cross_attention_dim);
        let got = told.texts()?.size();
        if got.len() != 3 || got[0] != batch || got[1] < 1 || got[2] != width {
            return Err(DiffusionError::Shape {
                what: "text embedding",
                expected: format!("[{batch}, tokens, {width}]"),
                got,
            });
        }
        match &self.body.addition {
            Some(addition) => addition.check(told, batch),
            None => Ok(()),
        }
    }
}

impl Denoiser for UNet2dCondition {
    /// The network's output as it is: a v-prediction for a network that was trained for it. [`crate::TextToImage`] turns it
    /// into eps.
    fn predict_noise(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor> {
        let condition = condition.ok_or_else(untold)?;
        self.forward(x_t, t, condition, self.drops)
    }

    /// With LoRA layers theirs alone: the base is not trained.
    fn weights(&self) -> Option<Vec<Tensor>> {
        let trained = self.lora_parameters().unwrap_or(&self.parameters);
        Some(trained.tensors())
    }
}
