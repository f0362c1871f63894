//! What a network is told of prompts: their texts, and, of Stable Diffusion XL's kind, pooled texts and the size of the images beside
//! them.

use super::TextToImage;
use crate::{
    ClipTextModel, ClipTokenizer, Condition, DiffusionError, Result, UNet2dConditionConfig,
};
use dualmd_torch::{Tensor, no_grad};

/// Prompts to embeddings.
#[derive(Debug)]
pub struct TextEncoder {
    /// Prompts to token ids.
    pub tokenizer: ClipTokenizer,
    /// Token ids to embeddings.
    pub model: ClipTextModel,
    /// The second encoder of a model of Stable Diffusion XL's kind.
    pub second: Option<SecondEncoder>,
}

/// The second of two text encoders: its embeddings stand beside the first one's, token by token, and its pooled text is told as well.
/// Of both encoders it is the state before the last layer.
#[derive(Debug)]
pub struct SecondEncoder {
    /// Prompts to token ids, as many as the first one's.
    pub tokenizer: ClipTokenizer,
    /// Token ids to embeddings and, projected, to a pooled text.
    pub model: ClipTextModel,
    /// An empty prompt is told as zeros (diffusers' `force_zeros_for_empty_prompt`), and not as what the encoders make of it.
    pub zeros_for_nothing: bool,
}

impl TextEncoder {
    /// Tokens of every prompt: the tokenizer's limit (77 for Stable Diffusion), at most the model's.
    #[must_use]
    pub fn length(&self) -> usize {
        length(&self.tokenizer, &self.model)
    }

    /// The models: one, or two.
    pub fn models(&self) -> impl Iterator<Item = &ClipTextModel> {
        let second = self.second.as_ref().map(|second| &second.model);
        std::iter::once(&self.model).chain(second)
    }

    /// Width of the embeddings.
    fn width(&self) -> i64 {
        self.models().map(|model| model.config().hidden_size).sum()
    }

    /// Checks that it belongs to a network.
    ///
    /// # Errors
    /// What does not fit.
    pub(super) fn check(&self, network: &UNet2dConditionConfig) -> Result<()> {
        let wrong = |reason: String| Err(DiffusionError::Config(reason));
        if self.width() != network.cross_attention_dim {
            return wrong(format!(
                "the text encoder's embeddings are {} wide, the network's cross_attention_dim is {}",
                self.width(),
                network.cross_attention_dim
            ));
        }
        self.tokenizer.check_size(self.model.config().vocab_size)?;
        let Some(second) = &self.second else {
            return match network.pooled_width() {
                None => Ok(()),
                Some(_) => wrong(
                    "the network is told a pooled text (addition_embed_type), and there is no second text encoder that makes one"
                        .into(),
                ),
            };
        };
        second
            .tokenizer
            .check_size(second.model.config().vocab_size)?;
        let (made, told) = (second.model.config().projection(), network.pooled_width());
        if made.is_none() || made != told {
            return wrong(format!(
                "the second text encoder's pooled text is {} wide, and the network is told one of {}",
                made.map_or("not".into(), |n| n.to_string()),
                told.map_or("none".into(), |n| n.to_string())
            ));
        }
        let (one, other) = (self.length(), length(&second.tokenizer, &second.model));
        if one != other {
            return wrong(format!(
                "the first tokenizer makes {one} tokens of a prompt and the second {other}: they must make as many (model_max_length)"
            ));
        }
        Ok(())
    }

    /// Texts and, with a second encoder, pooled texts of prompts, without gradient.
    fn encode<S: AsRef<str>>(&self, prompts: &[S]) -> Result<Condition> {
        let ids = self.tokenizer.encode_all(prompts, self.length())?;
        let Some(second) = &self.second else {
            return Ok(Condition::of_text(no_grad(|| self.model.forward(&ids))?));
        };
        let others = second.tokenizer.encode_all(prompts, self.length())?;
        let (first, other) = no_grad(|| -> Result<_> {
            Ok((
                self.model.penultimate(&ids)?,
                second.model.penultimate(&others)?,
            ))
        })?;
        let text = Tensor::f_cat(&[&first.state, &other.state], 2)?;
        let told = Condition {
            pooled: other.pooled,
            ..Condition::of_text(text)
        };
        if !second.zeros_for_nothing {
            return Ok(told);
        }
        let kept = |prompt: &S| f32::from(u8::from(!prompt.as_ref().is_empty()));
        let kept: Vec<f32> = prompts.iter().map(kept).collect();
        let kept = Tensor::from_slice(&kept).f_to_device(told.device())?;
        told.try_each(|part| -> Result<Tensor> {
            let mut sides = vec![1i64; part.dim()];
            sides[0] = -1;
            Ok(part.f_mul(&kept.f_view(&sides[..])?)?)
        })
    }
}

/// Tokens of every prompt.
fn length(tokenizer: &ClipTokenizer, model: &ClipTextModel) -> usize {
    let most = usize::try_from(model.config().max_position_embeddings).unwrap_or(0);
    tokenizer.max_length().map_or(most, |n| n.min(most))
}

impl TextToImage {
    /// What the network is told for prompts, a row for each, without gradient. An empty prompt tells nothing, as guidance needs it: the
    /// embedding of an empty text, or zeros where the folder says so. Sizes are those of whole images of the network's own size.
    ///
    /// # Errors
    /// A model without a text encoder, or of Stable Diffusion XL's kind without its autoencoder or a `sample_size`; no prompts.
    pub fn told<S: AsRef<str>>(&self, prompts: &[S]) -> Result<Condition> {
        let text = self.text.as_ref().ok_or_else(|| {
            DiffusionError::Config(
                "this model was opened without its text encoder: prompts cannot be encoded".into(),
            )
        })?;
        let told = text.encode(prompts)?;
        if told.pooled.is_none() {
            return Ok(told);
        }
        let [height, width] = self.image_size()?.map(|side| side as f32);
        let row = Tensor::from_slice(&[height, width, 0.0, 0.0, height, width]).f_view([1, -1])?;
        let size = row.f_repeat([told.len(), 1])?.f_to_device(told.device())?;
        Ok(Condition {
            size: Some(size),
            ..told
        })
    }

    /// The text alone of [`Self::told`]: embeddings of prompts, [prompts, tokens, width] f32.
    ///
    /// # Errors
    /// As [`Self::told`].
    pub fn text_embeddings<S: AsRef<str>>(&self, prompts: &[S]) -> Result<Tensor> {
        Ok(self.told(prompts)?.texts()?.shallow_clone())
    }

    /// Height and width of the images, in pixels.
    fn image_size(&self) -> Result<[i64; 2]> {
        let Some([_, height, width]) = self.sample_shape() else {
            return Err(DiffusionError::Config(
                "unet/config.json gives no sample_size, and this network is told the size of its images: add it".into(),
            ));
        };
        let times = self
            .autoencoder()?
            .map_or(1, |vae| vae.config().reduction());
        Ok([height * times, width * times])
    }
}
