//! CLIP's text model in the layout of transformers' `CLIPTextModel` and `CLIPTextModelWithProjection`: same parameter names, same
//! arithmetic.

mod config;
mod tokenizer;

pub use config::ClipTextConfig;
pub(crate) use config::PROJECTS;
pub use tokenizer::ClipTokenizer;

use crate::nn::{Builder, Init, LayerNorm, Linear, Parameters, attend, check_count, unwrapped};
use crate::{DiffusionError, Result};
use config::Activation;
use dualmd_torch::{Device, Kind, Tensor};
use std::collections::BTreeMap;

/// transformers' files up to version 4 put this before every name; version 5 writes none and reads both.
const PREFIX: &str = "text_model.";
/// The one layer that has it not.
const PROJECTION: &str = "text_projection.weight";

#[derive(Debug)]
struct Layer {
    norm1: LayerNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    heads: i64,
    activation: Activation,
}

impl Layer {
    fn new(
        b: &Builder,
        name: &str,
        config: &ClipTextConfig,
        activation: Activation,
    ) -> Result<Self> {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        // Standard deviations of transformers' `CLIPPreTrainedModel._init_weights`.
        let (narrow, wide) = ((width as f64).powf(-0.5), (2.0 * width as f64).powf(-0.5));
        let deep = (2.0 * config.num_hidden_layers as f64).powf(-0.5);
        let norm = |layer: &str| {
            let name = format!("{name}.{layer}");
            LayerNorm::new(b, &name, width, config.layer_norm_eps)
        };
        let linear = |layer: &str, input: i64, output: i64, deviation: f64| {
            Linear::normal_init(b, &format!("{name}.{layer}"), input, output, deviation)
        };
        let attention =
            |layer: &str, deviation| linear(&format!("self_attn.{layer}"), width, width, deviation);
        Ok(Self {
            k: attention("k_proj", narrow * deep)?,
            v: attention("v_proj", narrow * deep)?,
            q: attention("q_proj", narrow * deep)?,
            out: attention("out_proj", narrow)?,
            norm1: norm("layer_norm1")?,
            fc1: linear("mlp.fc1", width, inner, wide)?,
            fc2: linear("mlp.fc2", inner, width, narrow * deep)?,
            norm2: norm("layer_norm2")?,
            heads: config.num_attention_heads,
            activation,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let h = self.norm1.forward(x);
        let (q, k, v) = (self.q.forward(&h), self.k.forward(&h), self.v.forward(&h));
        let x = x + self.out.forward(&attend(&q, &k, &v, self.heads, true)?);
        let h = self.fc1.forward(&self.norm2.forward(&x));
        let h = match self.activation {
            Activation::QuickGelu => &h * (&h * 1.702).sigmoid(),
            Activation::Gelu => h.gelu("none"),
        };
        Ok(&x + self.fc2.forward(&h))
    }
}

/// CLIP's text transformer.
#[derive(Debug)]
pub struct ClipTextModel {
    config: ClipTextConfig,
    parameters: Parameters,
    tokens: Tensor,
    positions: Tensor,
    layers: Vec<Layer>,
    norm: LayerNorm,
    /// [projection, hidden_size], of a model that has one.
    projection: Option<Tensor>,
}

/// What Stable Diffusion XL takes of a text.
#[derive(Debug)]
pub struct Penultimate {
    /// The state before the last layer, without the final layer norm: [B, tokens, hidden_size] f32.
    pub state: Tensor,
    /// The text as a whole, of a model that projects it: [B, projection] f32.
    pub pooled: Option<Tensor>,
}

impl ClipTextModel {
    /// A fresh, untrained model, initialised as transformers does; every weight from its own stream of `seed`.
    ///
    /// # Errors
    /// A configuration that cannot be built.
    pub fn fresh(config: &ClipTextConfig, seed: u64, device: Device) -> Result<Self> {
        check_count(Self::build(config, Builder::outline())?.parameters.count())?;
        Self::build(config, Builder::fresh(seed, device))
    }

    /// A model with the given weights, named with or without `text_model.` in front. Those in half precision are held as they are
    /// ([`Builder::as_given`]).
    ///
    /// # Errors
    /// Missing, surplus or misshapen tensors, by name.
    pub fn from_weights(
        config: &ClipTextConfig,
        weights: BTreeMap<String, Tensor>,
        device: Device,
    ) -> Result<Self> {
        let mut weights: BTreeMap<String, Tensor> = unwrapped(weights)
            .into_iter()
            .map(|(name, tensor)| {
                let name = if name.starts_with(PREFIX) || name == PROJECTION {
                    name
                } else {
                    format!("{PREFIX}{name}")
                };
                (name, tensor)
            })
            .collect();
        // 0, 1, 2, ..: a buffer that transformers wrote until 4.31.
        weights.remove("text_model.embeddings.position_ids");
        Self::build(config, Builder::loaded(weights, device).as_given())
    }

    /// Names and shapes without memory for the weights, which are all zero ([`Builder::outline`]).
    ///
    /// # Errors
    /// A configuration that cannot be built.
    pub fn outline(config: &ClipTextConfig) -> Result<Self> {
        Self::build(config, Builder::outline())
    }

    fn build(config: &ClipTextConfig, b: Builder) -> Result<Self> {
        let activation = config.activation()?;
        let width = config.hidden_size;
        let embedding = |name: &str, rows: i64| {
            let name = format!("{PREFIX}embeddings.{name}.weight");
            b.get(&name, &[rows, width], Init::Normal(0.02))
        };
        Ok(Self {
            config: config.clone(),
            tokens: embedding("token_embedding", config.vocab_size)?,
            positions: embedding("position_embedding", config.max_position_embeddings)?,
            layers: (0..config.num_hidden_layers)
                .map(|i| {
                    let name = format!("{PREFIX}encoder.layers.{i}");
                    Layer::new(&b, &name, config, activation)
                })
                .collect::<Result<_>>()?,
            norm: LayerNorm::new(
                &b,
                &format!("{PREFIX}final_layer_norm"),
                width,
                config.layer_norm_eps,
            )?,
            projection: match config.projection() {
                Some(output) => {
                    let init = Init::Normal((width as f64).powf(-0.5));
                    Some(b.get(PROJECTION, &[output, width], init)?)
                }
                None => None,
            },
            parameters: b.finish()?,
        })
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &ClipTextConfig {
        &self.config
    }

    /// The parameters, in creation order, named with `text_model.` in front (a projection without).
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The last hidden state behind the final layer norm, which is what Stable Diffusion 1 and 2 are conditioned on: the
    /// latter's "last layer but one" is the last of a file with 23 layers. `ids`: [B, tokens] i64. Returns
    /// [B, tokens, hidden_size] f32. Padding is not masked: Stable Diffusion was trained so.
    ///
    /// # Errors
    /// More tokens than positions, or token ids beyond the vocabulary.
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let [_, last] = self.states(ids)?;
        Ok(self.norm.forward(&last))
    }

    /// What Stable Diffusion XL is conditioned on. The text as a whole is the last hidden state behind the final layer norm at the end
    /// of the prompt, projected. `ids`: [B, tokens] i64.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn penultimate(&self, ids: &Tensor) -> Result<Penultimate> {
        let [state, last] = self.states(ids)?;
        let Some(projection) = &self.projection else {
            return Ok(Penultimate {
                state,
                pooled: None,
            });
        };
        let (rows, tokens, width) = last.size3()?;
        let ids = ids.f_to_device(last.device())?;
        // The first place of the highest value: the token of the highest id, or the first that is the end.
        let at = match self.config.end() {
            None => ids.f_argmax(1i64, false)?,
            Some(end) => ids
                .f_eq(end)?
                .f_to_kind(Kind::Int64)?
                .f_argmax(1i64, false)?,
        };
        let starts = Tensor::f_arange(rows, (Kind::Int64, last.device()))? * tokens;
        let whole = self.norm.forward(&last).f_reshape([rows * tokens, width])?;
        let whole = whole.f_index_select(0, &(starts + at))?;
        Ok(Penultimate {
            state,
            pooled: Some(whole.f_linear(&projection.f_to_kind(Kind::Float)?, None::<&Tensor>)?),
        })
    }

    /// The states before and behind the last layer, without the final layer norm: [B, tokens, hidden_size] each.
    fn states(&self, ids: &Tensor) -> Result<[Tensor; 2]> {
        let (size, most) = (ids.size(), self.config.max_position_embeddings);
        if size.len() != 2 || size[0] < 1 || size[1] < 1 || size[1] > most {
            return Err(DiffusionError::Shape {
                what: "token ids",
                expected: format!("[B, 1 to {most}]"),
                got: size,
            });
        }
        if ids.kind() != Kind::Int64 {
            return Err(DiffusionError::Config(format!(
                "token ids are {:?}: they must be i64",
                ids.kind()
            )));
        }
        let vocabulary = self.config.vocab_size;
        let (low, high) = (ids.min().int64_value(&[]), ids.max().int64_value(&[]));
        if low < 0 || high >= vocabulary {
            return Err(DiffusionError::Config(format!(
                "token ids from {low} to {high}, but vocab_size is {vocabulary}: this tokenizer belongs to another text encoder"
            )));
        }
        let ids = ids.to_device(self.tokens.device());
        let tokens = Tensor::embedding(&self.tokens, &ids, -1, false, false);
        let positions = self.positions.narrow(0, 0, size[1]);
        let mut h = tokens.to_kind(Kind::Float) + positions.to_kind(Kind::Float);
        let mut before = h.shallow_clone();
        for layer in &self.layers {
            before = h;
            h = layer.forward(&before)?;
        }
        Ok([before, h])
    }
}
