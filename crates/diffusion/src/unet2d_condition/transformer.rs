//! The spatial transformer: pixels as tokens, self-attention, cross-attention to the text, feed-forward.

use crate::Result;
use crate::blocks::{Attention, Start};
use crate::nn::{Builder, Conv, GroupNorm, LayerNorm, Linear};
use dualmd_torch::Tensor;

/// The epsilon of the group norm in front, whatever `norm_eps` says (diffusers' `Transformer2DModel`).
const NORM_EPS: f64 = 1e-6;

#[derive(Debug)]
struct Block {
    norm1: LayerNorm,
    own: Attention,
    norm2: LayerNorm,
    cross: Attention,
    norm3: LayerNorm,
    /// Twice the inner width: values and gates (GEGLU).
    widen: Linear,
    narrow: Linear,
}

impl Block {
    fn new(b: &Builder, name: &str, channels: i64, context: i64, heads: i64) -> Result<Self> {
        let norm = |layer: &str| LayerNorm::new(b, &format!("{name}.{layer}"), channels, 1e-5);
        let attention = |layer: &str, context: i64| {
            let name = format!("{name}.{layer}");
            Attention::new(b, &name, channels, context, heads, false, Start::PyTorch)
        };
        let inner = 4 * channels;
        Ok(Self {
            norm1: norm("norm1")?,
            own: attention("attn1", channels)?,
            norm2: norm("norm2")?,
            cross: attention("attn2", context)?,
            norm3: norm("norm3")?,
            widen: Linear::default_init(
                b,
                &format!("{name}.ff.net.0.proj"),
                channels,
                2 * inner,
                true,
            )?,
            narrow: Linear::default_init(b, &format!("{name}.ff.net.2"), inner, channels, true)?,
        })
    }

    fn forward(&self, x: &Tensor, text: &Tensor) -> Result<Tensor> {
        let h = self.norm1.forward(x);
        let x = x + self.own.forward(&h, &h)?;
        let x = &x + self.cross.forward(&self.norm2.forward(&x), text)?;
        let parts = self.widen.forward(&self.norm3.forward(&x)).chunk(2, -1);
        let gated = &parts[0] * parts[1].gelu("none");
        Ok(&x + self.narrow.forward(&gated))
    }
}

/// The projection in and out: a 1x1 convolution on the image, or a linear layer on the tokens.
#[derive(Debug)]
enum Projection {
    Conv(Conv),
    Linear(Linear),
}

impl Projection {
    fn new(b: &Builder, name: &str, channels: i64, linear: bool) -> Result<Self> {
        Ok(if linear {
            Self::Linear(Linear::default_init(b, name, channels, channels, true)?)
        } else {
            Self::Conv(Conv::default_init(b, name, [channels, channels], 1, 1, 0)?)
        })
    }
}

/// diffusers' `Transformer2DModel` over images.
#[derive(Debug)]
pub(super) struct Transformer {
    norm: GroupNorm,
    proj_in: Projection,
    blocks: Vec<Block>,
    proj_out: Projection,
}

/// Sizes of a [`Transformer`].
#[derive(Debug, Clone, Copy)]
pub(super) struct TransformerOptions {
    pub channels: i64,
    /// Width of the text embedding.
    pub context: i64,
    pub heads: i64,
    pub layers: i64,
    pub groups: i64,
    pub linear_projection: bool,
}

impl Transformer {
    pub(super) fn new(b: &Builder, name: &str, o: TransformerOptions) -> Result<Self> {
        let projection = |layer: &str| {
            Projection::new(
                b,
                &format!("{name}.{layer}"),
                o.channels,
                o.linear_projection,
            )
        };
        Ok(Self {
            norm: GroupNorm::new(b, &format!("{name}.norm"), o.channels, o.groups, NORM_EPS)?,
            proj_in: projection("proj_in")?,
            blocks: (0..o.layers)
                .map(|i| {
                    let name = format!("{name}.transformer_blocks.{i}");
                    Block::new(b, &name, o.channels, o.context, o.heads)
                })
                .collect::<Result<_>>()?,
            proj_out: projection("proj_out")?,
        })
    }

    /// `x` [B, C, H, W], `text` [B, tokens, context] to [B, C, H, W].
    pub(super) fn forward(&self, x: &Tensor, text: &Tensor) -> Result<Tensor> {
        let (batch, channels, height, width) = x.size4()?;
        let to_tokens = |y: &Tensor| y.flatten(2, 3).transpose(1, 2);
        let to_image = |y: &Tensor| y.transpose(1, 2).reshape([batch, channels, height, width]);
        let h = self.norm.forward(x)?;
        let mut h = match &self.proj_in {
            Projection::Conv(conv) => to_tokens(&conv.forward(&h)),
            Projection::Linear(linear) => linear.forward(&to_tokens(&h)),
        };
        for block in &self.blocks {
            h = block.forward(&h, text)?;
        }
        let h = match &self.proj_out {
            Projection::Conv(conv) => conv.forward(&to_image(&h)),
            Projection::Linear(linear) => to_image(&linear.forward(&h)),
        };
        Ok(h + x)
    }
}
