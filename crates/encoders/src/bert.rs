//! The parts of BERT's layers, which the encoder of sentences and BLIP's decoder in the crate `caption` share.

use crate::Result;
use dualmd_diffusion::nn::{Builder, LayerNorm, Linear};
use dualmd_torch::Tensor;

/// Sizes of a layer.
pub struct Sizes {
    /// Of a token.
    pub width: i64,
    /// Of the perceptron.
    pub inner: i64,
    /// Of the attention.
    pub heads: i64,
    /// Of the normalisations.
    pub epsilon: f64,
}

/// Attention with what BERT puts behind it: a projection, the residual, a layer normalisation.
#[derive(Debug)]
pub struct Attention {
    /// Queries of what attends.
    pub query: Linear,
    key: Linear,
    value: Linear,
    dense: Linear,
    norm: LayerNorm,
    /// How many.
    pub heads: i64,
}

impl Attention {
    /// Takes the attention `name` out of `b`. `source`: width of what keys and values are made from.
    ///
    /// # Errors
    /// Weights that are missing or do not fit, by name.
    pub fn new(b: &Builder, name: &str, sizes: &Sizes, source: i64) -> Result<Self> {
        let width = sizes.width;
        let linear =
            |layer: &str, input: i64| Linear::new(b, &format!("{name}.{layer}"), input, width);
        Ok(Self {
            query: linear("self.query", width)?,
            key: linear("self.key", source)?,
            value: linear("self.value", source)?,
            dense: linear("output.dense", width)?,
            norm: LayerNorm::new(b, &format!("{name}.output.LayerNorm"), width, sizes.epsilon)?,
            heads: sizes.heads,
        })
    }

    /// Keys and values of what is attended to.
    pub fn seen(&self, source: &Tensor) -> [Tensor; 2] {
        [self.key.forward(source), self.value.forward(source)]
    }

    /// What comes behind the attention of `x`.
    pub fn behind(&self, mixed: &Tensor, x: &Tensor) -> Tensor {
        self.norm.forward(&(self.dense.forward(mixed) + x))
    }
}

/// The perceptron of a layer, with residual and normalisation.
#[derive(Debug)]
pub struct Perceptron {
    up: Linear,
    down: Linear,
    norm: LayerNorm,
}

impl Perceptron {
    /// Takes the perceptron of the layer `name` out of `b`.
    ///
    /// # Errors
    /// Weights that are missing or do not fit, by name.
    pub fn new(b: &Builder, name: &str, sizes: &Sizes) -> Result<Self> {
        let (width, inner) = (sizes.width, sizes.inner);
        Ok(Self {
            up: Linear::new(b, &format!("{name}.intermediate.dense"), width, inner)?,
            down: Linear::new(b, &format!("{name}.output.dense"), inner, width)?,
            norm: LayerNorm::new(b, &format!("{name}.output.LayerNorm"), width, sizes.epsilon)?,
        })
    }

    /// `x` [B, T, width] to the same shape.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let h = self.down.forward(&self.up.forward(x).gelu("none"));
        self.norm.forward(&(h + x))
    }
}
