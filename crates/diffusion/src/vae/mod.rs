//! The autoencoder between images and latent images in the layout of diffusers' `AutoencoderKL`: same parameter names, same
//! arithmetic. With a codebook: [`VqModel`]. Either of them: [`Autoencoder`].

mod config;
mod either;
mod vq;

pub use config::AutoencoderKlConfig;
pub use either::Autoencoder;
pub use vq::{VqModel, VqModelConfig};

use crate::blocks::{Attention, Downsample, Residual, ResidualOptions, Start, Upsample};
use crate::nn::{Builder, Conv, GroupNorm, Parameters, check_count};
use crate::{DiffusionError, Result};
use dualmd_torch::{Device, Tensor};
use std::collections::BTreeMap;

/// Epsilon of every group normalisation (diffusers' encoder and decoder).
const EPS: f64 = 1e-6;

/// The Gaussian over latent images that the encoder gives for a batch of images: mean and log-variance,
/// [B, latent channels, H / r, W / r] each, where r is [`AutoencoderKlConfig::reduction`]. Not scaled.
#[derive(Debug)]
pub struct Moments {
    /// The mode, which is the mean.
    pub mean: Tensor,
    /// Logarithm of the variance, clamped to [-30, 20] as diffusers does.
    pub log_variance: Tensor,
}

impl Moments {
    /// mean + standard deviation * `noise`, where `noise` is standard normal of the mean's shape.
    pub fn sample(&self, noise: &Tensor) -> Tensor {
        &self.mean + (&self.log_variance * 0.5).exp() * noise
    }
}

#[derive(Debug)]
struct Middle {
    first: Residual,
    attention: Option<(GroupNorm, Attention)>,
    second: Residual,
}

impl Middle {
    fn new(
        b: &Builder,
        name: &str,
        channels: i64,
        attention: bool,
        options: ResidualOptions,
    ) -> Result<Self> {
        let residual = |j: usize| {
            let name = format!("{name}.resnets.{j}");
            Residual::new(b, &name, [channels, channels], options)
        };
        let attention = if attention {
            let name = format!("{name}.attentions.0");
            let norm = format!("{name}.group_norm");
            Some((
                GroupNorm::new(b, &norm, channels, options.groups, EPS)?,
                Attention::new(b, &name, channels, channels, 1, true, Start::PyTorch)?,
            ))
        } else {
            None
        };
        Ok(Self {
            first: residual(0)?,
            attention,
            second: residual(1)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut h = self.first.forward(x, None, false)?;
        if let Some((norm, attention)) = &self.attention {
            let tokens = norm.forward(&h)?.flatten(2, 3).transpose(1, 2);
            let mixed = attention.forward(&tokens, &tokens)?;
            h = &h + mixed.transpose(1, 2).reshape_as(&h);
        }
        self.second.forward(&h, None, false)
    }
}

#[derive(Debug)]
struct Level<S> {
    residuals: Vec<Residual>,
    resample: Option<S>,
}

#[derive(Debug)]
struct Encoder {
    conv_in: Conv,
    levels: Vec<Level<Downsample>>,
    middle: Middle,
    norm_out: GroupNorm,
    conv_out: Conv,
    quant: Option<Conv>,
}

#[derive(Debug)]
struct Decoder {
    post_quant: Option<Conv>,
    conv_in: Conv,
    middle: Middle,
    levels: Vec<Level<Upsample>>,
    norm_out: GroupNorm,
    conv_out: Conv,
}

fn options(config: &AutoencoderKlConfig) -> ResidualOptions {
    ResidualOptions {
        time_width: None,
        groups: config.norm_num_groups,
        eps: EPS,
        scale_shift: false,
        dropout: 0.0,
        divisor: 1.0,
        start: Start::PyTorch,
    }
}

impl Encoder {
    /// With `outputs` channels; `quant`: channels into and out of a 1x1 convolution behind them.
    fn new(
        b: &Builder,
        config: &AutoencoderKlConfig,
        outputs: i64,
        quant: Option<[i64; 2]>,
    ) -> Result<Self> {
        let widths = &config.block_out_channels;
        let (first, last) = (widths[0], widths[widths.len() - 1]);
        let options = options(config);
        let conv_in =
            Conv::default_init(b, "encoder.conv_in", [config.in_channels, first], 3, 1, 1)?;
        let mut levels = Vec::new();
        let mut channels = first;
        for (level, &width) in widths.iter().enumerate() {
            let name = format!("encoder.down_blocks.{level}");
            let mut residuals = Vec::new();
            for j in 0..config.layers_per_block {
                let residual = format!("{name}.resnets.{j}");
                residuals.push(Residual::new(b, &residual, [channels, width], options)?);
                channels = width;
            }
            let resample = if level + 1 < widths.len() {
                let name = format!("{name}.downsamplers.0");
                Some(Downsample::new(b, &name, width, 0, Start::PyTorch)?)
            } else {
                None
            };
            levels.push(Level {
                residuals,
                resample,
            });
        }
        let attention = config.mid_block_add_attention;
        let middle = Middle::new(b, "encoder.mid_block", last, attention, options)?;
        let groups = config.norm_num_groups;
        Ok(Self {
            conv_in,
            levels,
            middle,
            norm_out: GroupNorm::new(b, "encoder.conv_norm_out", last, groups, EPS)?,
            conv_out: Conv::default_init(b, "encoder.conv_out", [last, outputs], 3, 1, 1)?,
            quant: match quant {
                Some(io) => Some(Conv::default_init(b, "quant_conv", io, 1, 1, 0)?),
                None => None,
            },
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut h = self.conv_in.forward(x);
        for level in &self.levels {
            for residual in &level.residuals {
                h = residual.forward(&h, None, false)?;
            }
            if let Some(down) = &level.resample {
                h = down.forward(&h);
            }
        }
        h = self.middle.forward(&h)?;
        h = self.conv_out.forward(&self.norm_out.forward_silu(&h)?);
        Ok(match &self.quant {
            Some(conv) => conv.forward(&h),
            None => h,
        })
    }
}

impl Decoder {
    /// `post_quant`: channels into and out of a 1x1 convolution before it.
    fn new(
        b: &Builder,
        config: &AutoencoderKlConfig,
        post_quant: Option<[i64; 2]>,
    ) -> Result<Self> {
        let widths = &config.block_out_channels;
        let (first, last) = (widths[0], widths[widths.len() - 1]);
        let (options, latent) = (options(config), config.latent_channels);
        let post_quant = match post_quant {
            Some(io) => Some(Conv::default_init(b, "post_quant_conv", io, 1, 1, 0)?),
            None => None,
        };
        let conv_in = Conv::default_init(b, "decoder.conv_in", [latent, last], 3, 1, 1)?;
        let attention = config.mid_block_add_attention;
        let middle = Middle::new(b, "decoder.mid_block", last, attention, options)?;
        let mut levels = Vec::new();
        let mut channels = last;
        for (i, &width) in widths.iter().rev().enumerate() {
            let name = format!("decoder.up_blocks.{i}");
            let mut residuals = Vec::new();
            for j in 0..=config.layers_per_block {
                let residual = format!("{name}.resnets.{j}");
                residuals.push(Residual::new(b, &residual, [channels, width], options)?);
                channels = width;
            }
            let resample = if i + 1 < widths.len() {
                let name = format!("{name}.upsamplers.0");
                Some(Upsample::new(b, &name, width, Start::PyTorch)?)
            } else {
                None
            };
            levels.push(Level {
                residuals,
                resample,
            });
        }
        let groups = config.norm_num_groups;
        let outputs = config.out_channels;
        Ok(Self {
            post_quant,
            conv_in,
            middle,
            levels,
            norm_out: GroupNorm::new(b, "decoder.conv_norm_out", first, groups, EPS)?,
            conv_out: Conv::default_init(b, "decoder.conv_out", [first, outputs], 3, 1, 1)?,
        })
    }

    fn forward(&self, z: &Tensor) -> Result<Tensor> {
        let h = match &self.post_quant {
            Some(conv) => conv.forward(z),
            None => z.shallow_clone(),
        };
        let mut h = self.middle.forward(&self.conv_in.forward(&h))?;
        for level in &self.levels {
            for residual in &level.residuals {
                h = residual.forward(&h, None, false)?;
            }
            if let Some(up) = &level.resample {
                h = up.forward(&h)?;
            }
        }
        Ok(self.conv_out.forward(&self.norm_out.forward_silu(&h)?))
    }
}

/// Refuses images of another shape than [B, channels, H, W] with sides that are multiples of `multiple`.
fn check_images(images: &Tensor, channels: i64, multiple: i64) -> Result<()> {
    let size = images.size();
    let fits = size.len() == 4
        && size[1] == channels
        && size[2..]
            .iter()
            .all(|&side| side > 0 && side % multiple == 0);
    if fits {
        return Ok(());
    }
    Err(DiffusionError::Shape {
        what: "images to encode",
        expected: format!("[B, {channels}, H, W] with H and W multiples of {multiple}"),
        got: size,
    })
}

/// Refuses latents of another shape than [B, channels, h, w].
fn check_latents(latents: &Tensor, channels: i64) -> Result<()> {
    let size = latents.size();
    if size.len() == 4 && size[1] == channels && size[2] > 0 && size[3] > 0 {
        return Ok(());
    }
    Err(DiffusionError::Shape {
        what: "latents to decode",
        expected: format!("[B, {channels}, h, w]"),
        got: size,
    })
}

/// An autoencoder with a Gaussian over latent images.
#[derive(Debug)]
pub struct AutoencoderKl {
    config: AutoencoderKlConfig,
    parameters: Parameters,
    encoder: Encoder,
    decoder: Decoder,
}

impl AutoencoderKl {
    /// A fresh, untrained autoencoder with PyTorch's default initialisation; every weight from its own stream of `seed`.
    ///
    /// # Errors
    /// A configuration that cannot be built.
    pub fn fresh(config: &AutoencoderKlConfig, seed: u64, device: Device) -> Result<Self> {
        check_count(Self::build(config, Builder::outline())?.parameters.count())?;
        Self::build(config, Builder::fresh(seed, device))
    }

    /// An autoencoder with the given weights. Those in half precision are held as they are ([`Builder::as_given`]).
    ///
    /// # Errors
    /// Missing, surplus or misshapen tensors, by name.
    pub fn from_weights(
        config: &AutoencoderKlConfig,
        weights: BTreeMap<String, Tensor>,
        device: Device,
    ) -> Result<Self> {
        Self::build(config, Builder::loaded(weights, device).as_given())
    }

    /// Names and shapes without memory for the weights, which are all zero ([`Builder::outline`]).
    ///
    /// # Errors
    /// A configuration that cannot be built.
    pub fn outline(config: &AutoencoderKlConfig) -> Result<Self> {
        Self::build(config, Builder::outline())
    }

    fn build(config: &AutoencoderKlConfig, b: Builder) -> Result<Self> {
        config.check()?;
        let (latent, moments) = (config.latent_channels, 2 * config.latent_channels);
        let quant = config.use_quant_conv.then_some([moments, moments]);
        let post_quant = config.use_post_quant_conv.then_some([latent, latent]);
        Ok(Self {
            config: config.clone(),
            encoder: Encoder::new(&b, config, moments, quant)?,
            decoder: Decoder::new(&b, config, post_quant)?,
            parameters: b.finish()?,
        })
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &AutoencoderKlConfig {
        &self.config
    }

    /// The parameters, in creation order.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The Gaussian over latent images. `images`: [B, C, H, W] f32 in [-1, 1], sides multiples of
    /// [`AutoencoderKlConfig::reduction`].
    ///
    /// # Errors
    /// Shapes the network cannot take.
    pub fn encode(&self, images: &Tensor) -> Result<Moments> {
        check_images(images, self.config.in_channels, self.config.reduction())?;
        let parts = self.encoder.forward(images)?.chunk(2, 1);
        Ok(Moments {
            mean: parts[0].shallow_clone(),
            log_variance: parts[1].clamp(-30.0, 20.0),
        })
    }

    /// Images of latent images that are *not* scaled: [B, latent channels, h, w] to [B, C, r h, r w], about [-1, 1], not
    /// clipped.
    ///
    /// # Errors
    /// Shapes the network cannot take.
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        check_latents(latents, self.config.latent_channels)?;
        self.decoder.forward(latents)
    }
}
