//! Residual blocks, attention, and the time embedding, as in diffusers.

use crate::nn::{Builder, Conv, GroupNorm, Linear};
use crate::unet2d::UNet2dConfig;
use crate::{DiffusionError, Result};
use dualmd_torch::{Kind, Tensor};

/// The sinusoid of diffusers' `get_timestep_embedding`: \[B\] to [B, `width`].
pub(super) fn sinusoid(t: &Tensor, width: i64, flip_sin_to_cos: bool, freq_shift: i64) -> Tensor {
    let half = width / 2;
    let scale = -(10_000f64.ln()) / (half - freq_shift) as f64;
    let frequencies: Vec<f32> = (0..half).map(|i| (i as f64 * scale).exp() as f32).collect();
    let frequencies = Tensor::from_slice(&frequencies).to_device(t.device());
    let angles = t.to_kind(Kind::Float).unsqueeze(1) * frequencies.unsqueeze(0);
    let (sin, cos) = (angles.sin(), angles.cos());
    let both = if flip_sin_to_cos {
        [cos, sin]
    } else {
        [sin, cos]
    };
    let embedding = Tensor::cat(&both, 1);
    if width % 2 == 1 {
        embedding.constant_pad_nd([0, 1])
    } else {
        embedding
    }
}

/// Two layers behind the sinusoid.
#[derive(Debug)]
pub(super) struct TimeEmbedding {
    first: Linear,
    second: Linear,
}

impl TimeEmbedding {
    pub(super) fn new(b: &Builder, input: i64, width: i64) -> Result<Self> {
        Ok(Self {
            first: Linear::new(b, "time_embedding.linear_1", input, width)?,
            second: Linear::new(b, "time_embedding.linear_2", width, width)?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        self.second.forward(&self.first.forward(x).silu())
    }
}

/// GN-SiLU-conv, + time embedding, GN-SiLU-dropout-conv, + shortcut (diffusers' `ResnetBlock2D`).
#[derive(Debug)]
pub(super) struct Residual {
    norm1: GroupNorm,
    conv1: Conv,
    time: Linear,
    norm2: GroupNorm,
    conv2: Conv,
    shortcut: Option<Conv>,
    scale_shift: bool,
    dropout: f64,
    divisor: f64,
}

impl Residual {
    pub(super) fn new(
        b: &Builder,
        name: &str,
        config: &UNet2dConfig,
        [input, output]: [i64; 2],
        time_width: i64,
        divisor: f64,
    ) -> Result<Self> {
        let scale_shift = config.resnet_time_scale_shift == "scale_shift";
        let (groups, eps) = (config.norm_num_groups, config.norm_eps);
        Ok(Self {
            norm1: GroupNorm::new(b, &format!("{name}.norm1"), input, groups, eps)?,
            conv1: Conv::new(b, &format!("{name}.conv1"), [input, output], 3, 1, 1, 1.0)?,
            time: Linear::new(
                b,
                &format!("{name}.time_emb_proj"),
                time_width,
                if scale_shift { 2 * output } else { output },
            )?,
            norm2: GroupNorm::new(b, &format!("{name}.norm2"), output, groups, eps)?,
            conv2: Conv::new(b, &format!("{name}.conv2"), [output, output], 3, 1, 1, 1e-5)?,
            shortcut: if input == output {
                None
            } else {
                Some(Conv::new(
                    b,
                    &format!("{name}.conv_shortcut"),
                    [input, output],
                    1,
                    1,
                    0,
                    1.0,
                )?)
            },
            scale_shift,
            dropout: config.dropout,
            divisor,
        })
    }

    /// `time`: SiLU of the time embedding, [B, width] - the same for every block, computed once.
    pub(super) fn forward(&self, x: &Tensor, time: &Tensor, train: bool) -> Result<Tensor> {
        let h = self.conv1.forward(&self.norm1.forward_silu(x)?);
        let time = self.time.forward(time);
        let h = if self.scale_shift {
            let parts = time.unsqueeze(-1).unsqueeze(-1).chunk(2, 1);
            (self.norm2.forward(&h)? * (&parts[0] + 1.0) + &parts[1]).silu()
        } else {
            self.norm2.forward_silu_after(&h, &time)?
        };
        let h = if train && self.dropout > 0.0 {
            h.dropout(self.dropout, true)
        } else {
            h
        };
        let h = self.conv2.forward(&h);
        let sum = match &self.shortcut {
            Some(conv) => conv.forward(x) + h,
            None => x + h,
        };
        Ok(if self.divisor == 1.0 {
            sum
        } else {
            sum / self.divisor
        })
    }
}

/// Self-attention over all positions, residual (diffusers' `Attention` with a group norm in front).
#[derive(Debug)]
pub(super) struct SelfAttention {
    norm: GroupNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    heads: i64,
    divisor: f64,
}

impl SelfAttention {
    pub(super) fn new(
        b: &Builder,
        name: &str,
        channels: i64,
        head_width: i64,
        groups: i64,
        eps: f64,
        divisor: f64,
    ) -> Result<Self> {
        let heads = (channels / head_width.max(1)).max(1);
        if channels % heads != 0 {
            return Err(DiffusionError::Config(format!(
                "attention_head_dim = {head_width} gives {heads} heads, which do not divide the {channels} channels of {name}"
            )));
        }
        Ok(Self {
            norm: GroupNorm::new(b, &format!("{name}.group_norm"), channels, groups, eps)?,
            q: Linear::new(b, &format!("{name}.to_q"), channels, channels)?,
            k: Linear::new(b, &format!("{name}.to_k"), channels, channels)?,
            v: Linear::new(b, &format!("{name}.to_v"), channels, channels)?,
            out: Linear::new(b, &format!("{name}.to_out.0"), channels, channels)?,
            heads,
            divisor,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, channels, height, width) = x.size4()?;
        let tokens = self
            .norm
            .forward(x)?
            .view([batch, channels, height * width])
            .transpose(1, 2);
        let split = |y: Tensor| {
            y.view([batch, height * width, self.heads, channels / self.heads])
                .transpose(1, 2)
        };
        let (q, k, v) = (
            split(self.q.forward(&tokens)),
            split(self.k.forward(&tokens)),
            split(self.v.forward(&tokens)),
        );
        let mixed = Tensor::scaled_dot_product_attention(
            &q,
            &k,
            &v,
            None::<&Tensor>,
            0.0,
            false,
            None,
            false,
        );
        let mixed = mixed
            .transpose(1, 2)
            .reshape([batch, height * width, channels]);
        let out = self
            .out
            .forward(&mixed)
            .transpose(1, 2)
            .reshape([batch, channels, height, width]);
        let sum = out + x;
        Ok(if self.divisor == 1.0 {
            sum
        } else {
            sum / self.divisor
        })
    }
}

/// Strided 3x3 convolution.
#[derive(Debug)]
pub(super) struct Downsample {
    conv: Conv,
    asymmetric: bool,
}

impl Downsample {
    pub(super) fn new(b: &Builder, name: &str, channels: i64, padding: i64) -> Result<Self> {
        Ok(Self {
            conv: Conv::new(
                b,
                &format!("{name}.conv"),
                [channels, channels],
                3,
                2,
                padding,
                1.0,
            )?,
            asymmetric: padding == 0,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        if self.asymmetric {
            self.conv.forward(&x.constant_pad_nd([0, 1, 0, 1]))
        } else {
            self.conv.forward(x)
        }
    }
}

/// Nearest-neighbour doubling, then a 3x3 convolution.
#[derive(Debug)]
pub(super) struct Upsample(Conv);

impl Upsample {
    pub(super) fn new(b: &Builder, name: &str, channels: i64) -> Result<Self> {
        Ok(Self(Conv::new(
            b,
            &format!("{name}.conv"),
            [channels, channels],
            3,
            1,
            1,
            1.0,
        )?))
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = x.size4()?;
        Ok(self
            .0
            .forward(&x.upsample_nearest2d([2 * height, 2 * width], None, None)))
    }
}
