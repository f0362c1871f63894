//! Layers that the conditional U-Net and the autoencoder share, initialised as PyTorch does.

use crate::nn::{Builder, Conv, GroupNorm, Linear, attend};
use crate::{DiffusionError, Result};
use dualmd_torch::Tensor;

/// Sizes of a [`Residual`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResidualOptions {
    /// Width of the time embedding; `None` for a block that has none.
    pub time_width: Option<i64>,
    pub groups: i64,
    pub eps: f64,
    /// The time embedding scales and shifts instead of being added.
    pub scale_shift: bool,
    pub dropout: f64,
    pub divisor: f64,
}

/// GN-SiLU-conv, + time embedding, GN-SiLU-dropout-conv, + shortcut (diffusers' `ResnetBlock2D`).
#[derive(Debug)]
pub(crate) struct Residual {
    norm1: GroupNorm,
    conv1: Conv,
    time: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv,
    shortcut: Option<Conv>,
    options: ResidualOptions,
}

impl Residual {
    pub(crate) fn new(
        b: &Builder,
        name: &str,
        [input, output]: [i64; 2],
        options: ResidualOptions,
    ) -> Result<Self> {
        let conv = |layer: &str, io: [i64; 2], kernel: i64| {
            Conv::default_init(b, &format!("{name}.{layer}"), io, kernel, 1, kernel / 2)
        };
        let norm = |layer: &str, channels: i64| {
            let layer = format!("{name}.{layer}");
            GroupNorm::new(b, &layer, channels, options.groups, options.eps)
        };
        let time_outputs = if options.scale_shift {
            2 * output
        } else {
            output
        };
        Ok(Self {
            norm1: norm("norm1", input)?,
            conv1: conv("conv1", [input, output], 3)?,
            time: match options.time_width {
                Some(width) => Some(Linear::default_init(
                    b,
                    &format!("{name}.time_emb_proj"),
                    width,
                    time_outputs,
                    true,
                )?),
                None => None,
            },
            norm2: norm("norm2", output)?,
            conv2: conv("conv2", [output, output], 3)?,
            shortcut: if input == output {
                None
            } else {
                Some(conv("conv_shortcut", [input, output], 1)?)
            },
            options,
        })
    }

    /// `time`: SiLU of the time embedding, [B, width], for a block that has one.
    pub(crate) fn forward(&self, x: &Tensor, time: Option<&Tensor>, train: bool) -> Result<Tensor> {
        let h = self.conv1.forward(&self.norm1.forward_silu(x)?);
        let time = self
            .time
            .as_ref()
            .zip(time)
            .map(|(layer, t)| layer.forward(t));
        let h = match time {
            Some(time) if self.options.scale_shift => {
                let parts = time.unsqueeze(-1).unsqueeze(-1).chunk(2, 1);
                (self.norm2.forward(&h)? * (&parts[0] + 1.0) + &parts[1]).silu()
            }
            Some(time) => self.norm2.forward_silu_after(&h, &time)?,
            None => self.norm2.forward_silu(&h)?,
        };
        let h = if train && self.options.dropout > 0.0 {
            h.dropout(self.options.dropout, true)
        } else {
            h
        };
        let h = self.conv2.forward(&h);
        let sum = match &self.shortcut {
            Some(conv) => conv.forward(x) + h,
            None => x + h,
        };
        Ok(if self.options.divisor == 1.0 {
            sum
        } else {
            sum / self.options.divisor
        })
    }
}

/// Projections to queries, keys and values, attention, and the projection back (diffusers' `Attention`).
#[derive(Debug)]
pub(crate) struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    heads: i64,
}

impl Attention {
    /// Queries of `channels` features; keys and values of `context` features. `bias` is that of the three projections in;
    /// the one out always has it.
    pub(crate) fn new(
        b: &Builder,
        name: &str,
        channels: i64,
        context: i64,
        heads: i64,
        bias: bool,
    ) -> Result<Self> {
        if heads < 1 || channels % heads != 0 {
            return Err(DiffusionError::Config(format!(
                "attention_head_dim gives {heads} heads, which do not divide the {channels} channels of {name}"
            )));
        }
        let linear = |layer: &str, input: i64, bias: bool| {
            Linear::default_init(b, &format!("{name}.{layer}"), input, channels, bias)
        };
        Ok(Self {
            q: linear("to_q", channels, bias)?,
            k: linear("to_k", context, bias)?,
            v: linear("to_v", context, bias)?,
            out: linear("to_out.0", channels, true)?,
            heads,
        })
    }

    /// `x` [B, N, channels], `context` [B, M, context width] to [B, N, channels].
    pub(crate) fn forward(&self, x: &Tensor, context: &Tensor) -> Result<Tensor> {
        let mixed = attend(
            &self.q.forward(x),
            &self.k.forward(context),
            &self.v.forward(context),
            self.heads,
            false,
        )?;
        Ok(self.out.forward(&mixed))
    }
}

/// Strided 3x3 convolution.
#[derive(Debug)]
pub(crate) struct Downsample {
    conv: Conv,
    asymmetric: bool,
}

impl Downsample {
    /// `padding` 0 pads on the right and at the bottom only.
    pub(crate) fn new(b: &Builder, name: &str, channels: i64, padding: i64) -> Result<Self> {
        let name = format!("{name}.conv");
        Ok(Self {
            conv: Conv::default_init(b, &name, [channels, channels], 3, 2, padding)?,
            asymmetric: padding == 0,
        })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        if self.asymmetric {
            self.conv.forward(&x.constant_pad_nd([0, 1, 0, 1]))
        } else {
            self.conv.forward(x)
        }
    }
}

/// Nearest-neighbour doubling, then a 3x3 convolution.
#[derive(Debug)]
pub(crate) struct Upsample(Conv);

impl Upsample {
    pub(crate) fn new(b: &Builder, name: &str, channels: i64) -> Result<Self> {
        let name = format!("{name}.conv");
        Ok(Self(Conv::default_init(
            b,
            &name,
            [channels, channels],
            3,
            1,
            1,
        )?))
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = x.size4()?;
        Ok(self
            .0
            .forward(&x.upsample_nearest2d([2 * height, 2 * width], None, None)))
    }
}
