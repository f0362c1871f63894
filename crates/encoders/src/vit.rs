//! Vision transformers as encoders of pictures: ViT (Dosovitskiy et al. 2021) and DeiT (Touvron et al. 2021, with or without its
//! distillation token), from a folder that the user brings (transformers' `ViTModel`, `DeiTModel`, or a classifier made of
//! one, such as facebook/deit-base-distilled-patch16-384). Same parameter names, same arithmetic.

use crate::encoder::{Layer, Names};
use crate::files::{Others, check_others, file_error, read_json, read_weights, sized};
use crate::{EncoderError, ImageProcessor, Result};
use dualmd_data::Picture;
use dualmd_diffusion::nn::{Builder, Conv, Init, LayerNorm};
use dualmd_torch::{Device, Tensor, no_grad};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// The classes in Python, for errors.
const CLASS: &str = "AutoModel";
/// Heads and the pooler: the last hidden state needs none of them.
const UNUSED: [&str; 4] = [
    "pooler.",
    "classifier.",
    "cls_classifier.",
    "distillation_classifier.",
];

/// `config.json`; missing keys have transformers' defaults.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Config {
    model_type: String,
    hidden_size: i64,
    intermediate_size: i64,
    num_hidden_layers: i64,
    num_attention_heads: i64,
    num_channels: i64,
    image_size: u32,
    patch_size: u32,
    hidden_act: String,
    layer_norm_eps: f64,
    #[serde(flatten)]
    others: Others,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            model_type: String::new(),
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: 224,
            patch_size: 16,
            hidden_act: "gelu".into(),
            layer_norm_eps: 1e-12,
            others: Others::new(),
        }
    }
}

/// Keys that change nothing here: dropout is off, and heads are not used.
const HARMLESS: &[&str] = &[
    "architectures",
    "attention_probs_dropout_prob",
    "dtype",
    "encoder_stride",
    "finetuning_task",
    "hidden_dropout_prob",
    "id2label",
    "initializer_range",
    "label2id",
    "pooler_act",
    "pooler_output_size",
    "problem_type",
    "torch_dtype",
    "transformers_version",
];

impl Config {
    fn check(&self) -> std::result::Result<(), String> {
        if !matches!(self.model_type.as_str(), "vit" | "deit") {
            return Err(format!(
                "model_type: \"{}\" is not supported: only vit and deit are",
                self.model_type
            ));
        }
        let sizes = [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.num_attention_heads),
            ("image_size", self.image_size.into()),
            ("patch_size", self.patch_size.into()),
        ];
        sized(&sizes)?;
        if self.hidden_size % self.num_attention_heads != 0 {
            return Err("hidden_size must be a multiple of num_attention_heads".into());
        }
        if self.hidden_act != "gelu" {
            return Err(format!(
                "hidden_act: {} is not supported: only gelu is",
                self.hidden_act
            ));
        }
        if self.num_channels != 3 || !self.image_size.is_multiple_of(self.patch_size) {
            return Err(format!(
                "{} channels, {} pixels in patches of {}: only 3 channels and whole patches are supported",
                self.num_channels, self.image_size, self.patch_size
            ));
        }
        check_others("", &self.others, &[("qkv_bias", json!(true))], &[HARMLESS])
    }
}

const NAMES: Names = Names {
    norms: ["layernorm_before", "layernorm_after"],
    attention: [
        "attention.attention.query",
        "attention.attention.key",
        "attention.attention.value",
        "attention.output.dense",
    ],
    perceptron: ["intermediate.dense", "output.dense"],
};

/// The encoder, with what prepares its pictures.
#[derive(Debug)]
pub struct Vit {
    config: Config,
    processor: ImageProcessor,
    /// The class token, and DeiT's distillation token after it.
    tokens: Vec<Tensor>,
    positions: Tensor,
    patches: Conv,
    layers: Vec<Layer>,
    norm: LayerNorm,
    device: Device,
}

impl Vit {
    /// Opens a folder: `config.json`, `preprocessor_config.json`, `model.safetensors` or its shards. Computes in f32 on `device`.
    ///
    /// # Errors
    /// What is missing or does not fit, naming the file and the key or tensor.
    pub fn load(folder: &Path, device: Device) -> Result<Self> {
        let path = folder.join("config.json");
        if !path.exists() {
            return Err(file_error(
                folder,
                "is not a model folder: it has no config.json (in Python: AutoModel.from_pretrained(..).save_pretrained(FOLDER), and the \
                 same with AutoImageProcessor)",
            ));
        }
        let config: Config = read_json(&path)?;
        config.check().map_err(|reason| file_error(&path, reason))?;
        let processor = ImageProcessor::vit(folder)?;
        if processor.side() != config.image_size {
            return Err(file_error(
                processor.path(),
                format!(
                    "pictures of {} pixels, and config.json has image_size {}: positions of other sizes are not supported",
                    processor.side(),
                    config.image_size
                ),
            ));
        }
        let weights = read_weights(folder, CLASS)?;
        let of_folder = |e: EncoderError| match e {
            EncoderError::Network(_) => file_error(folder, e),
            other => other,
        };
        Self::build(config, processor, weights, device).map_err(of_folder)
    }

    fn build(
        config: Config,
        processor: ImageProcessor,
        weights: BTreeMap<String, Tensor>,
        device: Device,
    ) -> Result<Self> {
        // A classifier has the encoder under the name of its kind.
        let inner = format!("{}.", config.model_type);
        let weights: BTreeMap<String, Tensor> = weights
            .into_iter()
            .map(|(name, tensor)| match name.strip_prefix(&inner) {
                Some(plain) => (plain.to_owned(), tensor),
                None => (name, tensor),
            })
            .filter(|(name, _)| !UNUSED.iter().any(|unused| name.starts_with(unused)))
            .collect();
        let distilled = weights.contains_key("embeddings.distillation_token");
        let b = Builder::loaded(weights, device);
        let (width, patch) = (config.hidden_size, i64::from(config.patch_size));
        let sizes = (width, config.intermediate_size, config.layer_norm_eps);
        let embedding = |name: &str, rows: i64| {
            let name = format!("embeddings.{name}");
            b.get(&name, &[1, rows, width], Init::Normal(0.02))
        };
        let mut tokens = vec![embedding("cls_token", 1)?];
        if distilled {
            tokens.push(embedding("distillation_token", 1)?);
        }
        let places = (i64::from(config.image_size) / patch).pow(2) + tokens.len() as i64;
        let model = Self {
            positions: embedding("position_embeddings", places)?,
            patches: Conv::new(
                &b,
                "embeddings.patch_embeddings.projection",
                [3, width],
                patch,
                patch,
                0,
                1.0,
            )?,
            layers: (0..config.num_hidden_layers)
                .map(|i| Layer::new(&b, &format!("encoder.layer.{i}"), &NAMES, sizes))
                .collect::<Result<_>>()?,
            norm: LayerNorm::new(&b, "layernorm", width, config.layer_norm_eps)?,
            tokens,
            config,
            processor,
            device,
        };
        b.finish()?;
        Ok(model)
    }

    /// `vit` or `deit`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.config.model_type
    }

    /// Numbers of a token.
    #[must_use]
    pub fn width(&self) -> i64 {
        self.config.hidden_size
    }

    /// Tokens of a picture: the class token, DeiT's distillation token, then the patches row by row.
    #[must_use]
    pub fn places(&self) -> i64 {
        self.positions.size()[1]
    }

    /// The last hidden state of pictures of any sizes, grey or colour: [N, [`places`](Self::places), [`width`](Self::width)] f32
    /// on the device.
    ///
    /// # Errors
    /// No picture; what libtorch refuses.
    pub fn encode(&self, pictures: &[&Picture]) -> Result<Tensor> {
        let pixels = self.processor.pixels(pictures)?.to_device(self.device);
        no_grad(|| {
            let patches = self.patches.forward(&pixels).flatten(2, -1).transpose(1, 2);
            let n = pixels.size()[0];
            let mut parts: Vec<Tensor> = self
                .tokens
                .iter()
                .map(|token| token.expand([n, 1, -1], false))
                .collect();
            parts.push(patches);
            let mut h = Tensor::f_cat(&parts, 1)?.f_add(&self.positions)?;
            for layer in &self.layers {
                h = layer.forward(&h, self.config.num_attention_heads, |h| h.gelu("none"))?;
            }
            Ok(self.norm.forward(&h))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_torch::weights::read_safetensors;
    use std::path::PathBuf;

    fn golden(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/golden/vit")
            .join(name)
    }

    fn pictures(golden: &BTreeMap<String, Tensor>) -> Vec<Picture> {
        (0..)
            .map_while(|i| golden.get(&format!("picture.{i}")))
            .map(|pixels| Picture {
                width: pixels.size()[1] as u32,
                height: pixels.size()[0] as u32,
                channels: 3,
                pixels: Vec::try_from(pixels.flatten(0, -1)).unwrap(),
            })
            .collect()
    }

    /// A plain ViT (bilinear, no crop) and a distilled DeiT saved as a classifier (bicubic, the middle cut out).
    #[test]
    fn hidden_states_equal_those_of_python() {
        for (name, places) in [("vit", 17), ("deit", 18)] {
            let folder = golden(name);
            let tensors = read_safetensors(&folder.join("golden.safetensors")).unwrap();
            let model = Vit::load(&folder, Device::Cpu).unwrap();
            assert_eq!(
                (model.kind(), model.places(), model.width()),
                (name, places, 16)
            );
            let made = pictures(&tensors);
            let made: Vec<&Picture> = made.iter().collect();
            let seen = model.processor.pixels(&made).unwrap();
            let off = (&seen - &tensors["pixels"]).abs().max().double_value(&[]);
            assert!(off < 1e-6, "{name}: pixels {off}");
            let states = model.encode(&made).unwrap();
            assert_eq!(states.size(), [made.len() as i64, places, 16]);
            let off = (&states - &tensors["states"]).abs().max().double_value(&[]);
            assert!(off < 1e-5, "{name}: states {off}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let copy = |change: &dyn Fn(&Path)| {
            let dir = tempfile::tempdir().unwrap();
            for file in [
                "config.json",
                "preprocessor_config.json",
                "model.safetensors",
            ] {
                std::fs::copy(golden("vit").join(file), dir.path().join(file)).unwrap();
            }
            change(dir.path());
            Vit::load(dir.path(), Device::Cpu).unwrap_err().to_string()
        };
        let edit = |file: &'static str, from: &'static str, to: &'static str| {
            move |dir: &Path| {
                let text = std::fs::read_to_string(dir.join(file)).unwrap();
                assert!(text.contains(from), "{text}");
                std::fs::write(dir.join(file), text.replace(from, to)).unwrap();
            }
        };
        let error = copy(&edit("config.json", "\"vit\"", "\"beit\""));
        assert!(
            error.contains("config.json") && error.contains("beit"),
            "{error}"
        );
        let error = copy(&edit(
            "config.json",
            "\"hidden_size\": 16",
            "\"hidden_size\": 20",
        ));
        assert!(error.contains("embeddings"), "{error}");
        let error = copy(&edit(
            "config.json",
            "\"image_size\": 16",
            "\"image_size\": 32",
        ));
        assert!(error.contains("preprocessor_config.json"), "{error}");
        let error =
            copy(&|dir| std::fs::remove_file(dir.join("preprocessor_config.json")).unwrap());
        assert!(error.contains("preprocessor_config.json"), "{error}");
        let error = copy(&|dir| std::fs::remove_file(dir.join("config.json")).unwrap());
        assert!(error.contains("AutoImageProcessor"), "{error}");
    }
}
