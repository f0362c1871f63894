//! `config.json` of a CLIP folder.

use crate::Result;
use crate::files::{file_error, read_json, sized};
use dualmd_diffusion::ClipTextConfig;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::Path;

/// `config.json` as it stands.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    model_type: String,
    #[serde(default = "projection")]
    projection_dim: i64,
    #[serde(default)]
    text_config: Map<String, Value>,
    #[serde(default)]
    vision_config: Map<String, Value>,
    // Old files: what stands here goes before what stands above.
    #[serde(default)]
    text_config_dict: Option<Map<String, Value>>,
    #[serde(default)]
    vision_config_dict: Option<Map<String, Value>>,
}

fn projection() -> i64 {
    512
}

/// Of the text; missing keys have transformers' defaults.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct Text {
    pub(super) vocab_size: i64,
    pub(super) hidden_size: i64,
    pub(super) intermediate_size: i64,
    pub(super) num_hidden_layers: i64,
    pub(super) num_attention_heads: i64,
    pub(super) max_position_embeddings: i64,
    pub(super) hidden_act: String,
    pub(super) layer_norm_eps: f64,
    pub(super) eos_token_id: i64,
}

impl Default for Text {
    fn default() -> Self {
        let d = ClipTextConfig::default();
        Self {
            vocab_size: d.vocab_size,
            hidden_size: d.hidden_size,
            intermediate_size: d.intermediate_size,
            num_hidden_layers: d.num_hidden_layers,
            num_attention_heads: d.num_attention_heads,
            max_position_embeddings: d.max_position_embeddings,
            hidden_act: d.hidden_act,
            layer_norm_eps: d.layer_norm_eps,
            eos_token_id: 49_407,
        }
    }
}

/// Of the vision transformer; missing keys have transformers' defaults.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct Vision {
    pub(super) hidden_size: i64,
    pub(super) intermediate_size: i64,
    pub(super) num_hidden_layers: i64,
    pub(super) num_attention_heads: i64,
    pub(super) num_channels: i64,
    pub(super) image_size: u32,
    pub(super) patch_size: u32,
    pub(super) hidden_act: String,
    pub(super) layer_norm_eps: f64,
}

impl Default for Vision {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: 224,
            patch_size: 32,
            hidden_act: "quick_gelu".into(),
            layer_norm_eps: 1e-5,
        }
    }
}

impl Vision {
    fn check(&self) -> std::result::Result<(), String> {
        let sizes = [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.num_attention_heads),
            ("image_size", self.image_size.into()),
            ("patch_size", self.patch_size.into()),
        ];
        sized(&sizes).map_err(|reason| format!("vision_config.{reason}"))?;
        if self.hidden_size % self.num_attention_heads != 0 {
            return Err(
                "vision_config: hidden_size must be a multiple of num_attention_heads".into(),
            );
        }
        if !matches!(self.hidden_act.as_str(), "quick_gelu" | "gelu") {
            return Err(format!(
                "vision_config.hidden_act: {} is not supported: only quick_gelu and gelu are",
                self.hidden_act
            ));
        }
        if self.num_channels != 3 || !self.image_size.is_multiple_of(self.patch_size) {
            return Err(format!(
                "vision_config: {} channels, {} pixels in patches of {}: only 3 channels and whole patches are supported",
                self.num_channels, self.image_size, self.patch_size
            ));
        }
        Ok(())
    }
}

/// `config.json`, what is needed of it.
pub(super) struct Config {
    pub(super) text: Text,
    pub(super) vision: Vision,
    /// Width of the common embedding.
    pub(super) projection: i64,
}

impl Config {
    /// Reads and checks it.
    pub(super) fn load(path: &Path) -> Result<Self> {
        let file: File = read_json(path)?;
        if file.model_type != "clip" {
            return Err(file_error(
                path,
                format!(
                    "model_type: {:?} is not supported: only \"clip\" (CLIPModel) is",
                    file.model_type
                ),
            ));
        }
        let merged = |mut own: Map<String, Value>, older: Option<Map<String, Value>>| {
            own.extend(older.unwrap_or_default());
            own.retain(|_, value| !value.is_null());
            Value::Object(own)
        };
        let text = serde_json::from_value(merged(file.text_config, file.text_config_dict))
            .map_err(|e| file_error(path, format!("text_config: {e}")))?;
        let vision: Vision =
            serde_json::from_value(merged(file.vision_config, file.vision_config_dict))
                .map_err(|e| file_error(path, format!("vision_config: {e}")))?;
        vision.check().map_err(|e| file_error(path, e))?;
        sized(&[("projection_dim", file.projection_dim)]).map_err(|e| file_error(path, e))?;
        Ok(Self {
            text,
            vision,
            projection: file.projection_dim,
        })
    }
}
