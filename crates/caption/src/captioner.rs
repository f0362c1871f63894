//! From a folder and pictures to captions.

use crate::{BlipModel, CaptionError, CaptionOptions, Result, file_error};
use dualmd_data::Picture;
use dualmd_encoders::{ImageProcessor, WordPieceTokenizer};
use dualmd_torch::Device;
use std::path::Path;

/// A BLIP folder, ready to write captions.
#[derive(Debug)]
pub struct Captioner {
    model: BlipModel,
    processor: ImageProcessor,
    tokenizer: WordPieceTokenizer,
}

impl Captioner {
    /// Opens a folder: `config.json`, `model.safetensors` or its shards, `preprocessor_config.json` or
    /// `processor_config.json`, `tokenizer.json` or `vocab.txt`. Computes in f32 on `device`.
    ///
    /// # Errors
    /// What is missing, does not fit, or does not go together, naming the file and the key or tensor.
    pub fn load(folder: &Path, device: Device) -> Result<Self> {
        let config = folder.join("config.json");
        if !config.exists() {
            return Err(file_error(
                folder,
                "is not a model folder: it has no config.json (in Python: BlipForConditionalGeneration \
                 .from_pretrained(..).save_pretrained(FOLDER), and the same with BlipProcessor)",
            ));
        }
        // Small files first: what is wrong with them should not take reading the weights to be seen.
        let processor = ImageProcessor::load(folder)?;
        let tokenizer = WordPieceTokenizer::load(folder)?;
        let model = BlipModel::load(folder, device)?;
        let (seen, prepared) = (
            model.config().vision_config.side(),
            i64::from(processor.side()),
        );
        if seen != prepared {
            return Err(file_error(
                processor.path(),
                format!(
                    "size: images are brought to {prepared} pixels, but vision_config.image_size in config.json is {seen}"
                ),
            ));
        }
        let text = &model.config().text_config;
        let tokens = tokenizer.vocabulary_size();
        if tokens > text.vocab_size {
            return Err(file_error(
                folder,
                format!(
                    "the tokenizer has {tokens} tokens, but text_config.vocab_size in config.json is {}: it belongs to \
                     another model",
                    text.vocab_size
                ),
            ));
        }
        if let Some(id) = text.sep_token_id
            && tokenizer.token(id).is_none()
        {
            return Err(file_error(
                folder,
                format!(
                    "the tokenizer has no token {id}, which is text_config.sep_token_id in config.json: it belongs to \
                     another model"
                ),
            ));
        }
        Ok(Self {
            model,
            processor,
            tokenizer,
        })
    }

    /// The networks.
    #[must_use]
    pub fn model(&self) -> &BlipModel {
        &self.model
    }

    /// What prepares the pictures.
    #[must_use]
    pub fn processor(&self) -> &ImageProcessor {
        &self.processor
    }

    /// The tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &WordPieceTokenizer {
        &self.tokenizer
    }

    /// Writes `n` captions for each picture: `captions[picture][draw]`. Pictures may be of any size, grey or colour; they
    /// are best given unresized. `ids` name them, and seed their draws ([`BlipModel::generate`]): content ids, file names,
    /// or numbers. Draws of one picture may turn out the same.
    ///
    /// # Errors
    /// Not as many ids as pictures; a picture whose pixels are not as many as it says; as [`BlipModel::generate`].
    pub fn caption(
        &self,
        images: &[&Picture],
        ids: &[&str],
        n: usize,
        options: &CaptionOptions,
    ) -> Result<Vec<Vec<String>>> {
        options.check()?;
        if images.len() != ids.len() {
            return Err(CaptionError::Options(format!(
                "{} images with {} ids",
                images.len(),
                ids.len()
            )));
        }
        let prompt = self.tokenizer.encode(&options.prompt)?;
        let given = self.tokenizer.decode(&prompt)?;
        let mut captions = Vec::with_capacity(images.len());
        for (images, ids) in images.chunks(options.batch).zip(ids.chunks(options.batch)) {
            let seen = self.model.see(&self.processor.pixels(images)?)?;
            for draws in self.model.generate(&seen, ids, n, &prompt, options)? {
                let words = draws.iter().map(|tokens| {
                    let text = self.tokenizer.decode(&tokens[1..])?;
                    let cut = text.strip_prefix(&given).filter(|_| !options.keep_prompt);
                    Ok(cut.unwrap_or(&text).trim().to_owned())
                });
                captions.push(words.collect::<Result<Vec<_>>>()?);
            }
        }
        Ok(captions)
    }
}
