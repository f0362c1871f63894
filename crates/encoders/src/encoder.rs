//! A layer of the vision transformers that have query, key and value apart: CLIP's and ViT's differ in names and activation.

use crate::Result;
use dualmd_diffusion::nn::{Builder, LayerNorm, Linear, attend};
use dualmd_torch::Tensor;

/// What its parts are called, after the layer's own name.
pub(crate) struct Names {
    /// Before the attention, and before the perceptron.
    pub(crate) norms: [&'static str; 2],
    /// Query, key, value, output.
    pub(crate) attention: [&'static str; 4],
    /// The perceptron's way up and down.
    pub(crate) perceptron: [&'static str; 2],
}

/// Width, inner width, epsilon of the normalisations.
pub(crate) type Sizes = (i64, i64, f64);

#[derive(Debug)]
pub(crate) struct Layer {
    norms: [LayerNorm; 2],
    attention: [Linear; 4],
    perceptron: [Linear; 2],
}

impl Layer {
    /// Takes the layer `name` out of `b`.
    pub(crate) fn new(b: &Builder, name: &str, names: &Names, sizes: Sizes) -> Result<Self> {
        let (width, inner, epsilon) = sizes;
        let linear = |part: &str, input: i64, output: i64| {
            Linear::new(b, &format!("{name}.{part}"), input, output)
        };
        let norm = |part: &str| LayerNorm::new(b, &format!("{name}.{part}"), width, epsilon);
        let [before, after] = names.norms;
        let [q, k, v, out] = names.attention;
        let [up, down] = names.perceptron;
        Ok(Self {
            norms: [norm(before)?, norm(after)?],
            attention: [
                linear(q, width, width)?,
                linear(k, width, width)?,
                linear(v, width, width)?,
                linear(out, width, width)?,
            ],
            perceptron: [linear(up, width, inner)?, linear(down, inner, width)?],
        })
    }

    pub(crate) fn forward(
        &self,
        x: &Tensor,
        heads: i64,
        activation: impl Fn(Tensor) -> Tensor,
    ) -> Result<Tensor> {
        let h = self.norms[0].forward(x);
        let [q, k, v, out] = &self.attention;
        let (q, k, v) = (q.forward(&h), k.forward(&h), v.forward(&h));
        let x = x + out.forward(&attend(&q, &k, &v, heads, false)?);
        let [up, down] = &self.perceptron;
        let h = activation(up.forward(&self.norms[1].forward(&x)));
        Ok(&x + down.forward(&h))
    }
}
