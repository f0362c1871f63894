//! The DDPM U-Net in the layout of diffusers' `UNet2DModel`: same parameter names, same arithmetic.

mod config;

pub use config::{ImageSize, UNet2dConfig};
pub(crate) use config::{LARGEST_SIDE, WIDEST};

use crate::blocks::{
    ClassEmbedding, ResidualOptions, SelfAttention, Start, TimeEmbedding, check_images,
    check_labels,
};
use crate::checkpointing::{Keep, Pass};
use crate::nn::{Builder, Conv, GroupNorm, Parameters, check_count};
use crate::unet::{Body, Levels, Mixer};
use crate::{Condition, Denoiser, DiffusionError, Result};
use dualmd_torch::device::Precision;
use dualmd_torch::{Device, Tensor};
use std::collections::BTreeMap;

impl Mixer for SelfAttention {
    fn mix(&self, h: &Tensor, _text: Option<&Tensor>) -> Result<Tensor> {
        self.forward(h)
    }
}

/// A U-Net that is told no text: unconditional, or told a class ([`crate::Labels`]).
#[derive(Debug)]
pub struct UNet2d {
    config: UNet2dConfig,
    parameters: Parameters,
    precision: Precision,
    drops: bool,
    body: Body<SelfAttention>,
}

impl UNet2d {
    /// A fresh network; every weight from its own stream of `seed`. Initialised as the DDPM reference code does:
    /// Xavier-uniform, zero biases, gain 1e-5 on each residual branch's last convolution and on the output.
    ///
    /// # Errors
    /// A configuration that cannot be built.
    pub fn fresh(config: &UNet2dConfig, seed: u64, device: Device) -> Result<Self> {
        // Sizes that no memory holds are told before it is asked for.
        let outline = Self::build(config, Builder::outline())?;
        check_count(outline.parameters.count())?;
        Self::build(config, Builder::fresh(seed, device))
    }

    /// A network with the given weights (moved to `device`, not copied if already there).
    ///
    /// # Errors
    /// Missing, surplus or misshapen tensors, by name.
    pub fn from_weights(
        config: &UNet2dConfig,
        weights: BTreeMap<String, Tensor>,
        device: Device,
    ) -> Result<Self> {
        Self::build(config, Builder::loaded(weights, device))
    }

    /// As [`Self::from_weights`], held in bf16 where all weights are in half precision: half the memory of f32. For a network that is asked,
    /// not trained: it computes in bf16 then, whatever [`Self::with_precision`] is told.
    ///
    /// # Errors
    /// As [`Self::from_weights`].
    pub fn from_halves(
        config: &UNet2dConfig,
        weights: BTreeMap<String, Tensor>,
        device: Device,
    ) -> Result<Self> {
        let network = Self::build(config, Builder::halves(weights, device))?;
        Ok(network.with_precision(Precision::F32))
    }

    fn build(config: &UNet2dConfig, b: Builder) -> Result<Self> {
        config.check()?;
        let widths = &config.block_out_channels;
        let (first, last) = (widths[0], widths[widths.len() - 1]);
        let time_width = 4 * first;
        let groups = config.norm_num_groups;
        let attention = |name: &str, channels: i64| {
            let head = config.attention_head_dim.unwrap_or(channels);
            SelfAttention::new(&b, name, channels, head, Some(groups), config.norm_eps, 1.0)
        };
        let options = ResidualOptions {
            time_width: Some(time_width),
            groups,
            eps: config.norm_eps,
            scale_shift: config.resnet_time_scale_shift == "scale_shift",
            dropout: config.dropout,
            divisor: 1.0,
            start: Start::Ddpm,
        };
        let levels = Levels {
            widths,
            layers: config.layers_per_block,
            options,
            padding: config.downsample_padding,
            divisor: config.mid_block_scale_factor,
        };

        let conv_in = Conv::new(&b, "conv_in", [config.in_channels, first], 3, 1, 1, 1.0)?;
        let time = TimeEmbedding::new(&b, first, time_width, Start::Ddpm)?;
        let classes = config
            .num_class_embeds
            .map(|classes| {
                let name = "class_embedding.weight";
                ClassEmbedding::new(&b, name, [classes, time_width], 1.0)
            })
            .transpose()?;

        let mixer = |name: &str, level: usize, kind: &str, with: &str| match kind == with {
            true => attention(name, widths[level]).map(Some),
            false => Ok(None),
        };
        let down = levels.down(&b, |name, level| {
            let kind = &config.down_block_types[level];
            mixer(name, level, kind, "AttnDownBlock2D")
        })?;
        let middle = levels.middle(&b, |name| {
            if !config.add_attention {
                return Ok(None);
            }
            let head = config.attention_head_dim.unwrap_or(last);
            // As diffusers' UNetMidBlock2D: with `scale_shift` there is no normalisation unless its groups are given.
            let plain = config.resnet_time_scale_shift == "default";
            let groups = config.attn_norm_num_groups.or(plain.then_some(groups));
            let (eps, divisor) = (config.norm_eps, levels.divisor);
            SelfAttention::new(&b, name, last, head, groups, eps, divisor).map(Some)
        })?;
        let up = levels.up(&b, |name, level| {
            let kind = &config.up_block_types[widths.len() - 1 - level];
            mixer(name, level, kind, "AttnUpBlock2D")
        })?;
        let norm_out = GroupNorm::new(&b, "conv_norm_out", first, groups, config.norm_eps)?;
        let conv_out = Conv::new(&b, "conv_out", [first, config.out_channels], 3, 1, 1, 1e-5)?;
        Ok(Self {
            config: config.clone(),
            parameters: b.finish().map_err(|e| older_folder(config, e))?,
            precision: Precision::F32,
            drops: false,
            body: Body {
                centres: config.center_input_sample,
                width: first,
                flip_sin_to_cos: config.flip_sin_to_cos,
                freq_shift: config.freq_shift,
                conv_in,
                time,
                classes,
                addition: None,
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

    /// Whether it also drops when it answers as a [`Denoiser`], which then depends on libtorch's generator: a module that
    /// nobody put into evaluation mode.
    #[must_use]
    pub fn with_dropout(mut self, on: bool) -> Self {
        self.drops = on;
        self
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &UNet2dConfig {
        &self.config
    }

    /// The parameters, in creation order.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Where the weights live.
    #[must_use]
    pub fn device(&self) -> Device {
        self.parameters.device()
    }

    /// One pass through the network: its whole output, [B, out_channels, H, W]. `label`: a class for each image, \[B\] i64, of a network
    /// that is told one; others do not look at it. `train` switches dropout on. Shapes as [`Denoiser::predict_noise`].
    ///
    /// # Errors
    /// Shapes the network cannot take; a class that it does not have, or none.
    pub fn forward(
        &self,
        x: &Tensor,
        t: &Tensor,
        label: Option<&Tensor>,
        train: bool,
    ) -> Result<Tensor> {
        let told = self.told(x, t, label)?;
        self.body.forward(self.precision, [x, t], &told, train)
    }

    /// As [`Self::forward`] with dropout, for a gradient; `keep` chooses between memory and time. Of a network that also predicts a
    /// variance the noise alone.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn forward_training(
        &self,
        x: &Tensor,
        t: &Tensor,
        label: Option<&Tensor>,
        keep: Keep,
    ) -> Result<Pass<'_>> {
        let told = self.told(x, t, label)?;
        let drops = self.config.dropout > 0.0;
        let pass = self.body.pass(self.precision, [x, t], &told, keep, drops)?;
        Ok(match self.config.predicts_variance() {
            true => pass.of_channels(self.config.in_channels),
            false => pass,
        })
    }

    /// What the network is told of images that it can take.
    fn told(&self, x: &Tensor, t: &Tensor, label: Option<&Tensor>) -> Result<Condition> {
        check_images(x, t, self.config.in_channels, self.config.size_multiple())?;
        let Some(classes) = self.config.num_class_embeds else {
            return Ok(Condition::default());
        };
        let label = check_labels(label, x.size()[0], classes)?;
        Ok(Condition::of_labels(label.shallow_clone()))
    }
}

/// Earlier versions of this program normalised before the middle block's attention under `scale_shift` too, which diffusers
/// does only if `attn_norm_num_groups` says so.
fn older_folder(config: &UNet2dConfig, error: DiffusionError) -> DiffusionError {
    let text = error.to_string();
    if config.resnet_time_scale_shift == "scale_shift"
        && config.attn_norm_num_groups.is_none()
        && text.contains("mid_block.attentions.0.group_norm")
    {
        return DiffusionError::Config(format!(
            "{text}; if an earlier version of this program trained it, set \"attn_norm_num_groups\": {} in config.json",
            config.norm_num_groups
        ));
    }
    error
}

impl Denoiser for UNet2d {
    /// The network's output as it is, without the variance that some networks predict beside it.
    fn predict_noise(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor> {
        let label = condition.and_then(|c| c.label.as_ref());
        let out = self.forward(x_t, t, label, self.drops)?;
        Ok(match self.config.predicts_variance() {
            true => out.narrow(1, 0, self.config.in_channels),
            false => out,
        })
    }

    fn weights(&self) -> Option<Vec<Tensor>> {
        Some(self.parameters.tensors())
    }
}
