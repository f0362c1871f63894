//! `config.json`, key for key that of transformers' `BlipConfig`, `BlipVisionConfig` and `BlipTextConfig`.

use crate::{Result, file_error};
use dualmd_encoders::files::{Others, check_others, read_json, sized};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use std::path::Path;

/// The class whose folders are read.
pub const ARCHITECTURE: &str = "BlipForConditionalGeneration";
/// `config.json`. Keys that are missing have transformers' defaults.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct BlipConfig {
    /// Only `blip`.
    pub model_type: String,
    /// Classes the file was written for, where it says so.
    pub architectures: Option<Vec<String>>,
    /// The vision transformer.
    #[serde(deserialize_with = "null_is_default")]
    pub vision_config: BlipVisionConfig,
    /// The text decoder.
    #[serde(deserialize_with = "null_is_default")]
    pub text_config: BlipTextConfig,
    /// Keys without a field here; [`Self::load`] refuses those that would change the computation.
    #[serde(flatten)]
    pub others: Others,
}

/// `vision_config`: the vision transformer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct BlipVisionConfig {
    /// Width of the embedding.
    pub hidden_size: i64,
    /// Inner width of the feed-forward layers.
    pub intermediate_size: i64,
    /// Transformer layers.
    pub num_hidden_layers: i64,
    /// Attention heads.
    pub num_attention_heads: i64,
    /// Side of the square image, in pixels.
    pub image_size: Sides,
    /// Side of a square patch, in pixels.
    pub patch_size: Sides,
    /// Only `gelu`.
    pub hidden_act: String,
    /// Epsilon of every layer normalisation.
    pub layer_norm_eps: f64,
    /// Keys without a field here.
    #[serde(flatten)]
    pub others: Others,
}

/// `text_config`: the text decoder.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct BlipTextConfig {
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
    /// Most tokens of a caption, with the start token and the prompt.
    pub max_position_embeddings: i64,
    /// Only `gelu`.
    pub hidden_act: String,
    /// Epsilon of every layer normalisation.
    pub layer_norm_eps: f64,
    /// Only true: without it there is no attention to the image.
    pub is_decoder: bool,
    /// The token every caption starts with, BLIP's `[DEC]`.
    pub bos_token_id: Option<i64>,
    /// The token that ends a caption, BERT's `[SEP]`. (transformers ignores `eos_token_id` here.)
    pub sep_token_id: Option<i64>,
    /// What fills up captions that ended before others of the batch.
    pub pad_token_id: Option<i64>,
    /// Keys without a field here.
    #[serde(flatten)]
    pub others: Others,
}

/// One side of a square, or height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "image_size and patch_size: only a number or [height, width] is supported"
)]
pub enum Sides {
    /// Both.
    Square(i64),
    /// Height and width.
    HeightWidth([i64; 2]),
}

impl Sides {
    /// The side of a square; None for anything else.
    #[must_use]
    pub fn square(self) -> Option<i64> {
        let (Self::Square(h) | Self::HeightWidth([h, _])) = self;
        let (Self::Square(w) | Self::HeightWidth([_, w])) = self;
        (h == w).then_some(h)
    }
}

fn null_is_default<'de, D, T>(deserializer: D) -> std::result::Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Default for BlipConfig {
    /// transformers' defaults.
    fn default() -> Self {
        Self {
            model_type: "blip".into(),
            architectures: None,
            vision_config: BlipVisionConfig::default(),
            text_config: BlipTextConfig::default(),
            others: Others::new(),
        }
    }
}

impl Default for BlipVisionConfig {
    /// transformers' defaults.
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: Sides::Square(384),
            patch_size: Sides::Square(16),
            hidden_act: "gelu".into(),
            layer_norm_eps: 1e-5,
            others: Others::new(),
        }
    }
}

impl Default for BlipTextConfig {
    /// transformers' defaults.
    fn default() -> Self {
        Self {
            vocab_size: 30_524,
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 512,
            hidden_act: "gelu".into(),
            layer_norm_eps: 1e-12,
            is_decoder: true,
            bos_token_id: Some(30_522),
            sep_token_id: Some(102),
            pad_token_id: Some(0),
            others: Others::new(),
        }
    }
}

/// Keys that change no caption: about training, other heads, and how transformers saves, runs and (in files up to version
/// 4.26, which wrote all of them) generates; how captions are generated is said by [`crate::CaptionOptions`].
const HARMLESS: &[&str] = &[
    "architectures",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "bos_token_id",
    "chunk_size_feed_forward",
    "diversity_penalty",
    "do_sample",
    "dropout",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "hidden_dropout_prob",
    "id2label",
    "image_text_hidden_size",
    "initializer_factor",
    "initializer_range",
    "is_encoder_decoder",
    "label2id",
    "label_smoothing",
    "length_penalty",
    "logit_scale_init_value",
    "max_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "projection_dim",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "use_bfloat16",
    "use_cache",
];

type Check = std::result::Result<(), String>;

impl BlipConfig {
    /// Reads and checks a `config.json`.
    ///
    /// # Errors
    /// A file that cannot be read, or the first key whose value this program does not implement or that contradicts
    /// another, with file and key.
    pub fn load(path: &Path) -> Result<Self> {
        let config: Self = read_json(path)?;
        config.check().map_err(|reason| file_error(path, reason))?;
        Ok(config)
    }

    fn check(&self) -> Check {
        if self.model_type != "blip" {
            return Err(format!(
                "model_type: \"{}\" is not supported: bring a BLIP folder (blip)",
                self.model_type
            ));
        }
        if let Some(classes) = &self.architectures
            && !classes.iter().any(|class| class == ARCHITECTURE)
        {
            return Err(format!(
                "architectures: {classes:?} does not write captions: bring a {ARCHITECTURE}, such as \
                 Salesforce/blip-image-captioning-base"
            ));
        }
        let tied = ("tie_word_embeddings", json!(true));
        check_others("", &self.others, &[tied], &[HARMLESS])?;
        self.vision_config.check()?;
        self.text_config.check()
    }
}

impl BlipVisionConfig {
    /// Side of the square image, in pixels; 0 in a configuration that was not checked and is not square.
    #[must_use]
    pub fn side(&self) -> i64 {
        self.image_size.square().unwrap_or(0)
    }

    /// Side of a square patch, in pixels; 0 as for [`Self::side`].
    #[must_use]
    pub fn patch(&self) -> i64 {
        self.patch_size.square().unwrap_or(0)
    }

    fn check(&self) -> Check {
        let place = "vision_config.";
        check_others(
            place,
            &self.others,
            &[
                ("model_type", json!("blip_vision_model")),
                ("num_channels", json!(3)),
                ("add_cross_attention", json!(false)),
                ("is_decoder", json!(false)),
                ("pruned_heads", json!({})),
            ],
            // Nothing to tie: there are no words here.
            &[HARMLESS, &["tie_word_embeddings"]],
        )?;
        for (key, sides) in [
            ("image_size", self.image_size),
            ("patch_size", self.patch_size),
        ] {
            if sides.square().is_none() {
                return Err(format!("{place}{key}: only squares are supported"));
            }
        }
        within(
            place,
            &[
                ("hidden_size", self.hidden_size),
                ("intermediate_size", self.intermediate_size),
                ("num_hidden_layers", self.num_hidden_layers),
                ("num_attention_heads", self.num_attention_heads),
                ("image_size", self.side()),
                ("patch_size", self.patch()),
            ],
        )?;
        if self.patch() > self.side() {
            return Err(format!(
                "{place}patch_size: {} is larger than image_size = {}",
                self.patch(),
                self.side()
            ));
        }
        let (heads, width) = (self.num_attention_heads, self.hidden_size);
        layers(place, heads, width, &self.hidden_act, self.layer_norm_eps)
    }
}

impl BlipTextConfig {
    fn check(&self) -> Check {
        let place = "text_config.";
        check_others(
            place,
            &self.others,
            &[
                ("model_type", json!("blip_text_model")),
                ("add_cross_attention", json!(false)),
                ("pruned_heads", json!({})),
                ("tie_word_embeddings", json!(true)),
            ],
            // transformers overwrites it with the vision transformer's width, and so does this program.
            &[HARMLESS, &["encoder_hidden_size"]],
        )?;
        within(
            place,
            &[
                ("vocab_size", self.vocab_size),
                ("hidden_size", self.hidden_size),
                ("intermediate_size", self.intermediate_size),
                ("num_hidden_layers", self.num_hidden_layers),
                ("num_attention_heads", self.num_attention_heads),
                ("max_position_embeddings", self.max_position_embeddings),
            ],
        )?;
        let (heads, width) = (self.num_attention_heads, self.hidden_size);
        layers(place, heads, width, &self.hidden_act, self.layer_norm_eps)?;
        if !self.is_decoder {
            return Err(format!(
                "{place}is_decoder: false is not supported: such a model does not look at the image"
            ));
        }
        for (key, id) in [
            ("bos_token_id", self.bos_token_id),
            ("sep_token_id", self.sep_token_id),
            ("pad_token_id", self.pad_token_id),
        ] {
            match id {
                Some(id) if (0..self.vocab_size).contains(&id) => {}
                Some(id) => {
                    return Err(format!(
                        "{place}{key}: {id} is not below vocab_size = {}",
                        self.vocab_size
                    ));
                }
                None => return Err(format!("{place}{key}: null is not supported: give a token")),
            }
        }
        Ok(())
    }
}

fn within(place: &str, values: &[(&str, i64)]) -> Check {
    sized(values).map_err(|reason| format!("{place}{reason}"))
}

/// What both transformers have.
fn layers(place: &str, heads: i64, width: i64, activation: &str, eps: f64) -> Check {
    if width % heads != 0 {
        return Err(format!(
            "{place}num_attention_heads: {heads} does not divide hidden_size = {width}"
        ));
    }
    if activation != "gelu" {
        return Err(format!(
            "{place}hidden_act: \"{activation}\" is not supported: only gelu is"
        ));
    }
    if !(eps.is_finite() && eps > 0.0) {
        return Err(format!("{place}layer_norm_eps: {eps} must be above 0"));
    }
    Ok(())
}
