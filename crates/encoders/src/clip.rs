//! CLIP: how well pictures fit texts, by a folder that the user brings (transformers' `CLIPModel`, such as
//! openai/clip-vit-large-patch14; Radford et al. 2021, arXiv:2103.00020).
//!
//! The CLIP score of a picture and a text is the cosine of their embeddings, as it is: not times 100, not cut off at 0.
//! Numbers of different CLIP models do not compare.

mod config;

use crate::encoder::{Layer, Names};
use crate::files::{file_error, read_weights};
use crate::{EncoderError, ImageProcessor, Result};
use config::{Config, Text, Vision};
use dualmd_data::Picture;
use dualmd_diffusion::nn::{Builder, Init, LayerNorm};
use dualmd_diffusion::{ClipTextConfig, ClipTextModel, ClipTokenizer};
use dualmd_torch::{Device, Tensor, no_grad, unit_rows};
use std::collections::BTreeMap;
use std::path::Path;

/// The class in Python, for errors.
const CLASS: &str = "CLIPModel";
/// A temperature of the training, and numbers 0, 1, 2, .. that transformers wrote until 4.31.
const UNUSED: [&str; 3] = [
    "logit_scale",
    "text_model.embeddings.position_ids",
    "vision_model.embeddings.position_ids",
];
/// transformers' `eos_token_id` before it was corrected: the end is then the token with the highest number.
const LEGACY_END: i64 = 2;

const NAMES: Names = Names {
    norms: ["layer_norm1", "layer_norm2"],
    attention: [
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.out_proj",
    ],
    perceptron: ["mlp.fc1", "mlp.fc2"],
};

/// Both transformers with their projections.
#[derive(Debug)]
pub struct ClipModel {
    text: ClipTextModel,
    tokenizer: ClipTokenizer,
    end: i64,
    vision: Vision,
    processor: ImageProcessor,
    class: Tensor,
    patches: Tensor,
    positions: Tensor,
    before: LayerNorm,
    layers: Vec<Layer>,
    after: LayerNorm,
    text_projection: Tensor,
    visual_projection: Tensor,
    device: Device,
}

impl ClipModel {
    /// Opens a folder: `config.json`, `model.safetensors` or its shards, and the tokenizer's files. Computes in f32 on `device`.
    ///
    /// # Errors
    /// What is missing or does not fit, naming the file and the key or tensor.
    pub fn load(folder: &Path, device: Device) -> Result<Self> {
        let path = folder.join("config.json");
        if !path.exists() {
            return Err(file_error(
                folder,
                "is not a model folder: it has no config.json (in Python: CLIPModel.from_pretrained(..).save_pretrained(FOLDER), and \
                 the same with CLIPProcessor)",
            ));
        }
        let Config {
            text,
            vision,
            projection,
        } = Config::load(&path)?;
        let tokenizer = ClipTokenizer::load(folder)?;
        let processor = ImageProcessor::clip(folder, vision.image_size)?;
        tokenizer
            .check_size(text.vocab_size)
            .map_err(|e| file_error(folder, e))?;
        let mut weights = read_weights(folder, CLASS)?;
        for name in UNUSED {
            weights.remove(name);
        }
        let of_folder = |e: EncoderError| match e {
            EncoderError::Network(_) => file_error(folder, e),
            other => other,
        };
        Self::build(
            &text,
            vision,
            projection,
            weights,
            (tokenizer, processor),
            device,
        )
        .map_err(of_folder)
    }

    fn build(
        text: &Text,
        vision: Vision,
        projection: i64,
        weights: BTreeMap<String, Tensor>,
        (tokenizer, processor): (ClipTokenizer, ImageProcessor),
        device: Device,
    ) -> Result<Self> {
        let (of_text, weights): (BTreeMap<_, _>, BTreeMap<_, _>) = weights
            .into_iter()
            .partition(|(name, _)| name.starts_with("text_model."));
        let config = ClipTextConfig {
            vocab_size: text.vocab_size,
            hidden_size: text.hidden_size,
            intermediate_size: text.intermediate_size,
            num_hidden_layers: text.num_hidden_layers,
            num_attention_heads: text.num_attention_heads,
            max_position_embeddings: text.max_position_embeddings,
            hidden_act: text.hidden_act.clone(),
            layer_norm_eps: text.layer_norm_eps,
            ..ClipTextConfig::default()
        };
        let text_model = ClipTextModel::from_weights(&config, of_text, device)?;
        let b = Builder::loaded(weights, device);
        let (width, patch) = (vision.hidden_size, i64::from(vision.patch_size));
        let sizes = (width, vision.intermediate_size, vision.layer_norm_eps);
        let places = i64::from(vision.image_size / vision.patch_size).pow(2) + 1;
        let embedding = |name: &str, shape: &[i64]| {
            let name = format!("vision_model.embeddings.{name}");
            b.get(&name, shape, Init::Normal(0.02))
        };
        let norm = |name: &str| {
            LayerNorm::new(
                &b,
                &format!("vision_model.{name}"),
                width,
                vision.layer_norm_eps,
            )
        };
        let project = |name: &str, input: i64| {
            b.get(
                &format!("{name}_projection.weight"),
                &[projection, input],
                Init::Normal(0.02),
            )
        };
        let model = Self {
            class: embedding("class_embedding", &[width])?,
            patches: embedding("patch_embedding.weight", &[width, 3, patch, patch])?,
            positions: embedding("position_embedding.weight", &[places, width])?,
            // transformers' own spelling.
            before: norm("pre_layrnorm")?,
            layers: (0..vision.num_hidden_layers)
                .map(|i| {
                    Layer::new(
                        &b,
                        &format!("vision_model.encoder.layers.{i}"),
                        &NAMES,
                        sizes,
                    )
                })
                .collect::<Result<_>>()?,
            after: norm("post_layernorm")?,
            text_projection: project("text", text.hidden_size)?,
            visual_projection: project("visual", width)?,
            text: text_model,
            tokenizer,
            end: text.eos_token_id,
            vision,
            processor,
            device,
        };
        b.finish()?;
        Ok(model)
    }

    /// Embeddings of square pictures, grey or colour, as vectors of length 1, [N, D] f64 on the CPU.
    ///
    /// # Errors
    /// No picture, one that is not square; what libtorch refuses.
    pub fn pictures(&self, pictures: &[&Picture]) -> Result<Tensor> {
        if let Some(wide) = pictures.iter().find(|p| p.width != p.height) {
            return Err(EncoderError::Options(format!(
                "a picture of {} x {} pixels: only square ones have a CLIP score here",
                wide.width, wide.height
            )));
        }
        let pixels = self.processor.pixels(pictures)?.to_device(self.device);
        no_grad(|| {
            let patch = i64::from(self.vision.patch_size);
            let h = pixels.f_conv2d(
                &self.patches,
                None::<&Tensor>,
                [patch; 2].as_slice(),
                [0i64; 2].as_slice(),
                [1i64; 2].as_slice(),
                1,
            )?;
            let h = h.f_flatten(2, -1)?.f_transpose(1, 2)?;
            let class = self.class.f_expand([h.size()[0], 1, -1], false)?;
            let h = Tensor::f_cat(&[class, h], 1)?.f_add(&self.positions)?;
            let mut h = self.before.forward(&h);
            let activation = |h: Tensor| match self.vision.hidden_act.as_str() {
                "gelu" => h.gelu("none"),
                _ => &h * (&h * 1.702).sigmoid(),
            };
            for layer in &self.layers {
                h = layer.forward(&h, self.vision.num_attention_heads, activation)?;
            }
            let pooled = self.after.forward(&h.f_select(1, 0)?);
            directions(&pooled.f_matmul(&self.visual_projection.f_tr()?)?)
        })
    }

    /// Embeddings of texts as vectors of length 1, [N, D] f64 on the CPU. What does not fit into the positions is cut off.
    ///
    /// # Errors
    /// No text; a tokenizer that belongs to another model; what libtorch refuses.
    pub fn texts<S: AsRef<str>>(&self, texts: &[S]) -> Result<Tensor> {
        if texts.is_empty() {
            return Err(EncoderError::Options("no texts to embed".into()));
        }
        let length = usize::try_from(self.text.config().max_position_embeddings).unwrap_or(0);
        let ids = self.tokenizer.encode_all(texts, length)?;
        let rows = Vec::<Vec<i64>>::try_from(&ids)?;
        let ends = rows
            .iter()
            .map(|row| {
                let end = match self.end {
                    LEGACY_END => row.iter().max().copied(),
                    end => Some(end),
                };
                let place = row.iter().position(|&id| Some(id) == end);
                place.map(|p| p as i64).ok_or_else(|| {
                    EncoderError::Options(format!(
                        "text_config.eos_token_id = {} is not what the tokenizer ends texts with: it belongs to another model",
                        self.end
                    ))
                })
            })
            .collect::<Result<Vec<i64>>>()?;
        no_grad(|| {
            let hidden = self.text.forward(&ids.to_device(self.device))?;
            let pooled = ends
                .iter()
                .enumerate()
                .map(|(row, &end)| hidden.f_select(0, row as i64)?.f_select(0, end))
                .collect::<std::result::Result<Vec<_>, _>>()?;
            let pooled = Tensor::f_stack(&pooled, 0)?;
            directions(&pooled.f_matmul(&self.text_projection.f_tr()?)?)
        })
    }
}

/// Vectors of length 1, f64 on the CPU.
fn directions(x: &Tensor) -> Result<Tensor> {
    Ok(unit_rows(&x.f_to_device(Device::Cpu)?)?)
}
