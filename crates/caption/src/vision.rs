//! BLIP's vision transformer in the layout of transformers' `BlipVisionModel`: same parameter names, same arithmetic.

use crate::Result;
use crate::config::BlipVisionConfig;
use dualmd_diffusion::nn::{Builder, Conv, Init, LayerNorm, Linear, attend};
use dualmd_torch::Tensor;

#[derive(Debug)]
struct Layer {
    norm1: LayerNorm,
    qkv: Linear,
    projection: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    heads: i64,
}

impl Layer {
    fn new(b: &Builder, name: &str, config: &BlipVisionConfig) -> Result<Self> {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let linear = |layer: &str, input: i64, output: i64| {
            Linear::new(b, &format!("{name}.{layer}"), input, output)
        };
        let norm = |layer: &str| {
            let name = format!("{name}.{layer}");
            LayerNorm::new(b, &name, width, config.layer_norm_eps)
        };
        Ok(Self {
            norm1: norm("layer_norm1")?,
            qkv: linear("self_attn.qkv", width, 3 * width)?,
            projection: linear("self_attn.projection", width, width)?,
            norm2: norm("layer_norm2")?,
            fc1: linear("mlp.fc1", width, inner)?,
            fc2: linear("mlp.fc2", inner, width)?,
            heads: config.num_attention_heads,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let qkv = self.qkv.forward(&self.norm1.forward(x)).chunk(3, -1);
        let mixed = attend(&qkv[0], &qkv[1], &qkv[2], self.heads, false)?;
        let x = x + self.projection.forward(&mixed);
        let h = self.fc1.forward(&self.norm2.forward(&x)).gelu("none");
        Ok(&x + self.fc2.forward(&h))
    }
}

/// The vision transformer.
#[derive(Debug)]
pub struct VisionTransformer {
    class: Tensor,
    positions: Tensor,
    patches: Conv,
    layers: Vec<Layer>,
    norm: LayerNorm,
}

impl VisionTransformer {
    /// Takes its weights, named `vision_model.*`, out of `b`.
    ///
    /// # Errors
    /// Missing or misshapen tensors, by name.
    pub fn new(b: &Builder, config: &BlipVisionConfig) -> Result<Self> {
        let (width, patch) = (config.hidden_size, config.patch());
        let tokens = (config.side() / patch).pow(2) + 1;
        let embedding = |name: &str, rows: i64| {
            let name = format!("vision_model.embeddings.{name}");
            b.get(&name, &[1, rows, width], Init::Normal(0.02))
        };
        Ok(Self {
            class: embedding("class_embedding", 1)?,
            positions: embedding("position_embedding", tokens)?,
            patches: Conv::new(
                b,
                "vision_model.embeddings.patch_embedding",
                [3, width],
                patch,
                patch,
                0,
                1.0,
            )?,
            layers: (0..config.num_hidden_layers)
                .map(|i| Layer::new(b, &format!("vision_model.encoder.layers.{i}"), config))
                .collect::<Result<_>>()?,
            norm: LayerNorm::new(
                b,
                "vision_model.post_layernorm",
                width,
                config.layer_norm_eps,
            )?,
        })
    }

    /// Preprocessed pixels [B, 3, S, S] f32 (S the configuration's `image_size`) to [B, 1 + patches, hidden_size], the
    /// class token first.
    ///
    /// # Errors
    /// What libtorch refuses.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let patches = self.patches.forward(pixels).flatten(2, -1).transpose(1, 2);
        let class = self.class.expand([pixels.size()[0], 1, -1], false);
        let mut h = Tensor::f_cat(&[class, patches], 1)?.f_add(&self.positions)?;
        for layer in &self.layers {
            h = layer.forward(&h)?;
        }
        Ok(self.norm.forward(&h))
    }
}
