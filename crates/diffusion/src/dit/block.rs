//! What a block of the network is made of: what it is told of timestep and class, attention and feed-forward layers, whose inputs are
//! shifted and scaled and whose outputs are weighted by it (adaLN-zero).

use crate::blocks::{Attention, ClassEmbedding, Start};
use crate::nn::{Builder, Init, LayerNorm, Linear, standardised};
use crate::{DitConfig, Result};
use dualmd_torch::{Kind, Tensor};

/// Epsilon of normalisations without parameters (diffusers' `AdaLayerNormZero` and the network's last).
pub(super) const PLAIN_EPS: f64 = 1e-6;
/// Features of the sinusoid of the timestep (diffusers' `CombinedTimestepLabelEmbeddings`).
const SINUSOID: i64 = 256;
/// Standard deviation of fresh embeddings of timestep and class (the DiT reference code).
const DEVIATION: f64 = 0.02;

/// What the feed-forward layers have between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// GELU.
    Gelu,
    /// Its approximation by a tanh.
    GeluTanh,
    /// Values times the GELU of as many gates.
    Geglu,
    /// x sigmoid(1.702 x).
    GeluSigmoid,
}

impl Activation {
    /// By diffusers' `activation_fn`; `None` of another.
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "gelu" => Self::Gelu,
            "gelu-approximate" => Self::GeluTanh,
            "geglu" => Self::Geglu,
            "geglu-approximate" => Self::GeluSigmoid,
            _ => return None,
        })
    }

    fn forward(self, x: &Tensor) -> Tensor {
        match self {
            Self::Gelu => x.gelu("none"),
            Self::GeluTanh => x.gelu("tanh"),
            Self::Geglu => {
                let parts = x.chunk(2, -1);
                &parts[0] * parts[1].gelu("none")
            }
            Self::GeluSigmoid => x * (x * 1.702).sigmoid(),
        }
    }
}

/// Dropout, of a network that has it, in training.
fn dropped(x: Tensor, probability: f64, train: bool) -> Tensor {
    match train && probability > 0.0 {
        true => x.dropout(probability, true),
        false => x,
    }
}

/// Shift and scale, or these and weights, as a layer says them of what a block is told: `count` tensors [B, 1, width] f32.
pub(super) fn parts(layer: &Linear, told: &Tensor, count: i64) -> Vec<Tensor> {
    let all = layer.forward(told).to_kind(Kind::Float);
    all.unsqueeze(1).chunk(count, 2)
}

/// Normalised tokens, scaled and shifted.
pub(super) fn modulated(x: &Tensor, shift: &Tensor, scale: &Tensor) -> Tensor {
    x * (scale + 1.0) + shift
}

/// A linear layer that begins as nothing.
pub(super) fn nothing(b: &Builder, name: &str, io: [i64; 2]) -> Result<Linear> {
    Linear::with_inits(b, name, io, (Init::Zeros, Some(Init::Zeros)))
}

/// An embedding of timestep and class.
#[derive(Debug)]
pub(super) struct Told {
    first: Linear,
    second: Linear,
    classes: ClassEmbedding,
}

impl Told {
    pub(super) fn new(b: &Builder, name: &str, config: &DitConfig) -> Result<Self> {
        let width = config.width();
        let time = |layer: &str, input: i64| {
            let name = format!("{name}.timestep_embedder.{layer}");
            Linear::normal_init(b, &name, input, width, DEVIATION)
        };
        let table = format!("{name}.class_embedder.embedding_table.weight");
        Ok(Self {
            first: time("linear_1", SINUSOID)?,
            second: time("linear_2", width)?,
            classes: ClassEmbedding::new(b, &table, [config.embeddings(), width], DEVIATION)?,
        })
    }

    /// `time`: [`time`] of the timesteps; `labels` \[B\] i64. SiLU of the embedding, [B, width]: all that looks at it begins with that.
    pub(super) fn forward(&self, time: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let time = self.second.forward(&self.first.forward(time).silu());
        Ok((time + self.classes.forward(labels)?).silu())
    }
}

/// The sinusoid of timesteps \[B\], [B, 256] f32: cosines before sines, at 128 frequencies from 1 down to 1 / 10,000. They are computed
/// step by step in f32 as diffusers does: at high timesteps the last digit of a frequency can be seen.
pub(super) fn time(t: &Tensor) -> Tensor {
    let half = SINUSOID / 2;
    let exponents = Tensor::arange(half, (Kind::Float, t.device())) * -(10_000f64.ln());
    let frequencies = (exponents / (half - 1) as f64).exp();
    let angles = t.to_kind(Kind::Float).unsqueeze(1) * frequencies.unsqueeze(0);
    Tensor::cat(&[angles.cos(), angles.sin()], 1)
}

/// The normalisation before the feed-forward layers.
#[derive(Debug)]
enum Norm {
    Plain { width: i64, eps: f64 },
    Own(LayerNorm),
}

impl Norm {
    fn forward(&self, x: &Tensor) -> Tensor {
        match self {
            Self::Plain { width, eps } => standardised(x, *width, *eps),
            Self::Own(norm) => norm.forward(x),
        }
    }
}

/// Attention and feed-forward layers.
#[derive(Debug)]
pub(super) struct Block {
    /// Six times the width: shift, scale and weight of attention, then those of the feed-forward layers.
    modulation: Linear,
    attention: Attention,
    norm: Norm,
    widen: Linear,
    activation: Activation,
    narrow: Linear,
    width: i64,
    dropout: f64,
}

impl Block {
    pub(super) fn new(
        b: &Builder,
        name: &str,
        config: &DitConfig,
        activation: Activation,
    ) -> Result<Self> {
        let width = config.width();
        let inner = 4 * width;
        let widened = match activation {
            Activation::Geglu => 2 * inner,
            _ => inner,
        };
        let linear = |layer: &str, io: [i64; 2]| {
            let inits = (Init::Xavier(1.0), Some(Init::Zeros));
            Linear::with_inits(b, &format!("{name}.{layer}"), io, inits)
        };
        Ok(Self {
            modulation: nothing(b, &format!("{name}.norm1.linear"), [width, 6 * width])?,
            attention: Attention::new(
                b,
                &format!("{name}.attn1"),
                width,
                width,
                config.num_attention_heads,
                config.attention_bias,
                Start::Dit,
            )?,
            norm: match config.norm_elementwise_affine {
                true => {
                    let name = format!("{name}.norm3");
                    Norm::Own(LayerNorm::new(b, &name, width, config.norm_eps)?)
                }
                false => Norm::Plain {
                    width,
                    eps: config.norm_eps,
                },
            },
            widen: linear("ff.net.0.proj", [width, widened])?,
            activation,
            narrow: linear("ff.net.2", [inner, width])?,
            width,
            dropout: config.dropout,
        })
    }

    /// `x` [B, tokens, width], `told` [B, width] ([`Told`]) to the shape of `x`.
    pub(super) fn forward(&self, x: &Tensor, told: &Tensor, train: bool) -> Result<Tensor> {
        let parts = parts(&self.modulation, told, 6);
        let h = modulated(
            &standardised(x, self.width, PLAIN_EPS),
            &parts[0],
            &parts[1],
        );
        let h = dropped(self.attention.forward(&h, &h)?, self.dropout, train);
        let x = x + &parts[2] * h;
        let h = modulated(&self.norm.forward(&x), &parts[3], &parts[4]);
        let h = self.activation.forward(&self.widen.forward(&h));
        let h = self.narrow.forward(&dropped(h, self.dropout, train));
        Ok(x + &parts[5] * h)
    }
}
