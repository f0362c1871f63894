//! Both networks with their weights: transformers' `BlipForConditionalGeneration`.

use crate::config::{ARCHITECTURE, BlipConfig};
use crate::text::TextDecoder;
use crate::vision::VisionTransformer;
use crate::{CaptionError, Result, file_error};
use dualmd_diffusion::nn::Builder;
use dualmd_encoders::EncoderError;
use dualmd_encoders::files::read_weights;
use dualmd_torch::{Device, Kind, Tensor, no_grad};
use std::collections::BTreeMap;
use std::path::Path;

/// Tensors that are one in the network, under the name that is kept and the one that files may have too or instead.
const TIED: [[&str; 2]; 2] = [
    [
        "text_decoder.bert.embeddings.word_embeddings.weight",
        "text_decoder.cls.predictions.decoder.weight",
    ],
    [
        "text_decoder.cls.predictions.bias",
        "text_decoder.cls.predictions.decoder.bias",
    ],
];

/// The vision transformer and the text decoder.
#[derive(Debug)]
pub struct BlipModel {
    config: BlipConfig,
    vision: VisionTransformer,
    text: TextDecoder,
    parameters: usize,
    device: Device,
}

impl BlipModel {
    /// Opens `config.json` and the weights of a folder, computing in f32 on `device`.
    ///
    /// # Errors
    /// What is missing or does not fit, naming the file and the key or tensor.
    pub fn load(folder: &Path, device: Device) -> Result<Self> {
        let config = BlipConfig::load(&folder.join("config.json"))?;
        let mut weights = read_weights(folder, ARCHITECTURE)?;
        let of_folder = |e: CaptionError| match e {
            CaptionError::Network(_)
            | CaptionError::Options(_)
            | CaptionError::Encoder(EncoderError::Network(_) | EncoderError::Options(_)) => {
                file_error(folder, e)
            }
            other => other,
        };
        tie(&mut weights).map_err(of_folder)?;
        // 0, 1, 2, ..: a buffer that transformers wrote until 4.31.
        weights.remove("text_decoder.bert.embeddings.position_ids");
        Self::build(config, Builder::loaded(weights, device), device).map_err(of_folder)
    }

    fn build(config: BlipConfig, b: Builder, device: Device) -> Result<Self> {
        let vision = VisionTransformer::new(&b, &config.vision_config)?;
        let text = TextDecoder::new(&b, &config.text_config, config.vision_config.hidden_size)?;
        let parameters = b.finish()?.count();
        Ok(Self {
            config,
            vision,
            text,
            parameters,
            device,
        })
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &BlipConfig {
        &self.config
    }

    /// Where it computes.
    #[must_use]
    pub fn device(&self) -> Device {
        self.device
    }

    /// Number of scalar parameters, the tied ones once.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.parameters
    }

    /// The text decoder.
    #[must_use]
    pub fn text(&self) -> &TextDecoder {
        &self.text
    }

    /// Preprocessed pixels [B, 3, S, S] f32 ([`dualmd_encoders::ImageProcessor`]) to image tokens [B, patches + 1, width], without
    /// gradients.
    ///
    /// # Errors
    /// Another shape or kind; what libtorch refuses.
    pub fn see(&self, pixels: &Tensor) -> Result<Tensor> {
        let (size, side) = (pixels.size(), self.config.vision_config.side());
        if size.len() != 4 || size[0] < 1 || size[1..] != [3, side, side] {
            return Err(CaptionError::Options(format!(
                "pixels of shape {size:?}: this model sees [B, 3, {side}, {side}]"
            )));
        }
        if pixels.kind() != Kind::Float {
            return Err(CaptionError::Options(format!(
                "pixels are {:?}: they must be f32",
                pixels.kind()
            )));
        }
        no_grad(|| self.vision.forward(&pixels.to_device(self.device)))
    }

    /// Logits [B, T, vocab_size] of the token behind each of `ids` [B, T] i64, for image tokens [B, ..] of [`Self::see`];
    /// without gradients.
    ///
    /// # Errors
    /// Token ids beyond the vocabulary, too many tokens; what libtorch refuses.
    pub fn logits(&self, images: &Tensor, ids: &Tensor) -> Result<Tensor> {
        let vocabulary = self.config.text_config.vocab_size;
        if ids.numel() == 0
            || ids.min().int64_value(&[]) < 0
            || ids.max().int64_value(&[]) >= vocabulary
        {
            return Err(CaptionError::Options(format!(
                "token ids must be there, and from 0 to below vocab_size = {vocabulary}"
            )));
        }
        no_grad(|| {
            let ids = ids.to_device(self.device);
            self.text.forward(&ids, &mut self.text.start(images))
        })
    }
}

/// Leaves each tied tensor once, under its first name.
fn tie(weights: &mut BTreeMap<String, Tensor>) -> Result<()> {
    for [kept, other] in TIED {
        let Some(tensor) = weights.remove(other) else {
            continue;
        };
        match weights.get(kept) {
            None => {
                weights.insert(kept.to_owned(), tensor);
            }
            Some(first)
                if first.size() == tensor.size()
                    && first.kind() == tensor.kind()
                    && first.equal(&tensor) => {}
            Some(_) => {
                return Err(CaptionError::Options(format!(
                    "tensors \"{kept}\" and \"{other}\" differ in the weights file, but tie_word_embeddings makes them \
                     one; models with separate output weights are not supported"
                )));
            }
        }
    }
    Ok(())
}
