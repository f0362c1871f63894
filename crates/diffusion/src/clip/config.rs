//! The text model's configuration, key for key that of transformers' `CLIPTextConfig`.

use crate::latent::files::{Others, check_others};
use crate::ranges::{self, Range, real, whole};
use crate::unet2d::WIDEST;
use crate::{DiffusionError, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// `text_encoder/config.json`. Keys that are missing have transformers' defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipTextConfig {
    /// Only `clip_text_model`.
    pub model_type: String,
    /// Number of tokens the model knows.
    pub vocab_size: i64,
    /// Width of the embedding.
    pub hidden_size: i64,
    /// Inner width of the feed-forward layers.
    pub intermediate_size: i64,
    /// Transformer layers.
    pub num_hidden_layers: i64,
    /// Attention heads.
    pub num_attention_heads: i64,
    /// Most tokens of a prompt.
    pub max_position_embeddings: i64,
    /// `quick_gelu` (OpenAI's CLIP) or `gelu` (OpenCLIP).
    pub hidden_act: String,
    /// Epsilon of every layer normalisation.
    pub layer_norm_eps: f64,
    /// Keys without a field here; [`Self::check`] refuses those that would change the computation.
    #[serde(flatten)]
    pub others: Others,
}

impl Default for ClipTextConfig {
    /// transformers' defaults.
    fn default() -> Self {
        Self {
            model_type: "clip_text_model".into(),
            vocab_size: 49_408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: "quick_gelu".into(),
            layer_norm_eps: 1e-5,
            others: Others::new(),
        }
    }
}

/// transformers' class of models that also project the text as a whole.
pub(crate) const PROJECTS: &str = "CLIPTextModelWithProjection";

/// Keys that do not touch the hidden states: about training, pooling, the projection behind the pooled output
/// ([`ClipTextConfig::projection`]), and how transformers saves and runs models.
const HARMLESS: &[&str] = &[
    "architectures",
    "attention_dropout",
    "bos_token_id",
    "dropout",
    "dtype",
    "eos_token_id",
    "id2label",
    "initializer_factor",
    "initializer_range",
    "label2id",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "problem_type",
    "projection_dim",
    "return_dict",
    "tie_word_embeddings",
    "torch_dtype",
    "transformers_version",
    "use_cache",
];

/// Between the two feed-forward layers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Activation {
    /// x sigmoid(1.702 x).
    QuickGelu,
    /// x Phi(x).
    Gelu,
}

/// Ranges of the numbers.
const RANGES: &[(&str, Range)] = &[
    ("vocab_size", whole(1, 1 << 24)),
    ("hidden_size", whole(1, WIDEST)),
    ("intermediate_size", whole(1, 1 << 20)),
    ("num_hidden_layers", whole(1, 1024)),
    ("num_attention_heads", whole(1, WIDEST)),
    ("max_position_embeddings", whole(2, WIDEST)),
    ("layer_norm_eps", real(1e-20, 1.0)),
    ("projection_dim", whole(1, WIDEST).or_null()),
];

/// transformers' defaults of two keys without a field.
const PROJECTION: i64 = 512;
const END: i64 = 49_407;
/// The id that older files give for the end of a prompt, whatever their tokenizer says: the highest id of the prompt is meant.
const LEGACY_END: i64 = 2;

impl ClipTextConfig {
    /// The configuration that a config.json stands for, checked.
    ///
    /// # Errors
    /// The first key whose value is of another type or out of its range; as [`Self::check`].
    pub fn read(file: &Value) -> Result<Self> {
        ranges::read(file, RANGES, Self::check)
    }

    /// Checks what would silently compute something else.
    ///
    /// # Errors
    /// The first key whose value is out of its range or not implemented, or that contradicts another.
    pub fn check(&self) -> Result<()> {
        self.activation().map(|_| ())
    }

    /// Width of the text as a whole, behind its projection; `None` of a model that has none. Which it is, `architectures` says.
    #[must_use]
    pub fn projection(&self) -> Option<i64> {
        let classes = self.others.get("architectures")?.as_array()?;
        if !classes.iter().any(|class| class == PROJECTS) {
            return None;
        }
        let width = self.others.get("projection_dim").and_then(Value::as_i64);
        Some(width.unwrap_or(PROJECTION))
    }

    /// The id of the token that stands for a prompt as a whole; `None`: the highest of the prompt.
    pub(super) fn end(&self) -> Option<i64> {
        let given = self.others.get("eos_token_id").and_then(Value::as_i64);
        Some(given.unwrap_or(END)).filter(|&id| id != LEGACY_END)
    }

    pub(super) fn activation(&self) -> Result<Activation> {
        let wrong =
            |key: &str, reason: String| Err(DiffusionError::Config(format!("{key}: {reason}")));
        if self.model_type != "clip_text_model" {
            return wrong(
                "model_type",
                format!(
                    "\"{}\" is not supported: use clip_text_model",
                    self.model_type
                ),
            );
        }
        check_others(&self.others, &[("is_decoder", json!(false))], HARMLESS)?;
        let keys = serde_json::to_value(self).map_err(|e| DiffusionError::Config(e.to_string()))?;
        ranges::check(&keys, RANGES)?;
        if self.hidden_size % self.num_attention_heads != 0 {
            return wrong(
                "num_attention_heads",
                format!(
                    "{} does not divide hidden_size = {}",
                    self.num_attention_heads, self.hidden_size
                ),
            );
        }
        match self.hidden_act.as_str() {
            "quick_gelu" => Ok(Activation::QuickGelu),
            "gelu" => Ok(Activation::Gelu),
            other => wrong(
                "hidden_act",
                format!("\"{other}\" is not supported: use quick_gelu or gelu"),
            ),
        }
    }
}
