//! BLIP's text decoder in the layout of transformers' `BlipTextLMHeadModel`: BERT with a causal mask and attention to the
//! image, its output weights being the token embeddings. Same parameter names, same arithmetic.

use crate::Result;
use crate::config::BlipTextConfig;
use dualmd_diffusion::nn::{Builder, Init, LayerNorm, Linear, attend};
use dualmd_encoders::bert::{Attention, Perceptron, Sizes};
use dualmd_torch::Tensor;

/// Attention of the decoder: to its own tokens or to the image.
#[derive(Debug)]
struct Reading(Attention);

impl Reading {
    /// `source`: width of what keys and values are made from.
    fn new(b: &Builder, name: &str, config: &BlipTextConfig, source: i64) -> Result<Self> {
        Ok(Self(Attention::new(b, name, &sizes(config), source)?))
    }

    /// To this and earlier tokens. `past`: keys and values so far, to which those of `x` are added.
    fn to_text(&self, x: &Tensor, past: &mut Option<[Tensor; 2]>) -> Result<Tensor> {
        let [mut k, mut v] = self.0.seen(x);
        // Several tokens come only at the start, where the mask is the triangle; a single one sees everything.
        let causal = past.is_none();
        if let Some([keys, values]) = past.take() {
            (k, v) = (
                Tensor::f_cat(&[keys, k], 1)?,
                Tensor::f_cat(&[values, v], 1)?,
            );
        }
        let mixed = attend(&self.0.query.forward(x), &k, &v, self.0.heads, causal)?;
        *past = Some([k, v]);
        Ok(self.0.behind(&mixed, x))
    }

    /// To the image. `x` [B n, T, C] holds `n` captions of each of the B images one after the other; their queries
    /// are put in one row, so that an image's keys and values are neither repeated nor copied.
    fn to_image(&self, x: &Tensor, [k, v]: &[Tensor; 2]) -> Result<Tensor> {
        let (images, width) = (k.size()[0], *x.size().last().unwrap_or(&0));
        let q = self.0.query.forward(x).f_view([images, -1, width])?;
        let mixed = attend(&q, k, v, self.0.heads, false)?;
        Ok(self.0.behind(&mixed.f_view(x.size().as_slice())?, x))
    }
}

fn sizes(config: &BlipTextConfig) -> Sizes {
    Sizes {
        width: config.hidden_size,
        inner: config.intermediate_size,
        heads: config.num_attention_heads,
        epsilon: config.layer_norm_eps,
    }
}

#[derive(Debug)]
struct Layer {
    attention: Reading,
    cross: Reading,
    perceptron: Perceptron,
}

impl Layer {
    fn new(b: &Builder, name: &str, config: &BlipTextConfig, image_width: i64) -> Result<Self> {
        let width = config.hidden_size;
        Ok(Self {
            attention: Reading::new(b, &format!("{name}.attention"), config, width)?,
            cross: Reading::new(b, &format!("{name}.crossattention"), config, image_width)?,
            perceptron: Perceptron::new(b, name, &sizes(config))?,
        })
    }

    fn forward(
        &self,
        x: &Tensor,
        past: &mut Option<[Tensor; 2]>,
        image: &[Tensor; 2],
    ) -> Result<Tensor> {
        let x = self.attention.to_text(x, past)?;
        let x = self.cross.to_image(&x, image)?;
        Ok(self.perceptron.forward(&x))
    }
}

/// What the decoder remembers between tokens: keys and values of the images (made once) and of the tokens so far.
#[derive(Debug)]
pub struct Memory {
    images: Vec<[Tensor; 2]>,
    tokens: Vec<Option<[Tensor; 2]>>,
    length: i64,
}

/// The text decoder.
#[derive(Debug)]
pub struct TextDecoder {
    words: Tensor,
    positions: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
    head: Linear,
    head_norm: LayerNorm,
    bias: Tensor,
}

impl TextDecoder {
    /// Takes its weights, named `text_decoder.*`, out of `b`; `image_width` is the width of the image's tokens.
    ///
    /// # Errors
    /// Missing or misshapen tensors, by name.
    pub fn new(b: &Builder, config: &BlipTextConfig, image_width: i64) -> Result<Self> {
        let (width, eps) = (config.hidden_size, config.layer_norm_eps);
        let embedding = |name: &str, rows: i64| {
            let name = format!("text_decoder.bert.embeddings.{name}.weight");
            b.get(&name, &[rows, width], Init::Normal(0.02))
        };
        let head = "text_decoder.cls.predictions";
        Ok(Self {
            words: embedding("word_embeddings", config.vocab_size)?,
            positions: embedding("position_embeddings", config.max_position_embeddings)?,
            norm: LayerNorm::new(b, "text_decoder.bert.embeddings.LayerNorm", width, eps)?,
            layers: (0..config.num_hidden_layers)
                .map(|i| {
                    let name = format!("text_decoder.bert.encoder.layer.{i}");
                    Layer::new(b, &name, config, image_width)
                })
                .collect::<Result<_>>()?,
            head: Linear::new(b, &format!("{head}.transform.dense"), width, width)?,
            head_norm: LayerNorm::new(b, &format!("{head}.transform.LayerNorm"), width, eps)?,
            bias: b.get(&format!("{head}.bias"), &[config.vocab_size], Init::Zeros)?,
        })
    }

    /// The memory before the first token of captions of `images` [B, patches + 1, image width].
    #[must_use]
    pub fn start(&self, images: &Tensor) -> Memory {
        let made = |layer: &Layer| layer.cross.0.seen(images);
        Memory {
            images: self.layers.iter().map(made).collect(),
            tokens: self.layers.iter().map(|_| None).collect(),
            length: 0,
        }
    }

    /// Adds `ids` [B n, T] i64 (`n` captions of each image, one after the other) to `memory`; returns the logits of the
    /// token behind each of them, [B n, T, vocab_size]. T may be above 1 only at the start.
    ///
    /// # Errors
    /// More tokens than positions; what libtorch refuses.
    pub fn forward(&self, ids: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        let h = self.hidden(ids, memory)?;
        Ok(self.logits(&h))
    }

    /// As [`Self::forward`], for the last token only: [B n, vocab_size].
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn forward_last(&self, ids: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        let h = self.hidden(ids, memory)?;
        Ok(self.logits(&h.select(1, -1)))
    }

    fn hidden(&self, ids: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        let (_, tokens) = ids.size2()?;
        let words = Tensor::f_embedding(&self.words, ids, -1, false, false)?;
        let positions = self.positions.f_narrow(0, memory.length, tokens)?;
        let mut h = self.norm.forward(&(words + positions));
        for ((layer, image), past) in self
            .layers
            .iter()
            .zip(&memory.images)
            .zip(&mut memory.tokens)
        {
            h = layer.forward(&h, past, image)?;
        }
        memory.length += tokens;
        Ok(h)
    }

    fn logits(&self, h: &Tensor) -> Tensor {
        let h = self.head_norm.forward(&self.head.forward(h).gelu("none"));
        h.linear(&self.words, Some(&self.bias))
    }
}
