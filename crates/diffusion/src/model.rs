//! A pipeline folder of either kind: unconditional, or text to image. Or a model that is no folder: [`Foreign`].

use crate::adapter::AdapterFolder;
use crate::index::{Index, Kind};
use crate::latent::files::file_error;
use crate::pipeline::WeightSet;
use crate::schedule::flow;
use crate::{
    Condition, Denoiser, DiffusionError, GradientQuestion, Labels, NoiseSchedule, Pipeline, Result,
    TextToImage, latent::Parts,
};
use dualmd_torch::device::Precision;
use dualmd_torch::weights::Halves;
use dualmd_torch::{Device, Tensor};
use std::path::Path;

/// A model that this program does not compute itself: it is asked elsewhere.
pub trait Foreign: Denoiser + std::fmt::Debug {
    /// The noise schedule at whose timesteps it answers.
    fn schedule(&self) -> &NoiseSchedule;

    /// Is it told a text? Unless it says so, no.
    fn is_told(&self) -> bool {
        false
    }

    /// What stands for texts in a [`Condition`], [K, 1, width] f32: a row for each, the same for the same text, and different ones for
    /// different texts. Asked of models that are told a text alone.
    ///
    /// # Errors
    /// What it could not do.
    fn text_embeddings(&self, texts: &[&str]) -> Result<Tensor> {
        let _ = texts;
        Err(DiffusionError::Config(
            "this model is told no text".to_owned(),
        ))
    }

    /// [C, H, W] of what the network sees: images or latents.
    fn sample_shape(&self) -> [i64; 3];

    /// [C, H, W] of its images; those that the network sees unless it says so.
    fn image_shape(&self) -> [i64; 3] {
        self.sample_shape()
    }

    /// Does the network see latents? They are of another shape than the images.
    fn is_latent(&self) -> bool {
        self.sample_shape() != self.image_shape()
    }

    /// Latents of images [B, C, H, W] in [-1, 1]; asked of latent models alone.
    ///
    /// # Errors
    /// What it could not do.
    fn encode(&self, images: &Tensor) -> Result<Tensor> {
        Ok(images.shallow_clone())
    }

    /// Images of latents; asked of latent models alone.
    ///
    /// # Errors
    /// What it could not do.
    fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        Ok(latents.shallow_clone())
    }

    /// The sampler's clipping of the predicted clean image.
    fn clip(&self) -> Option<f64> {
        None
    }

    /// Scalar parameters of the network; `None` where they are not known.
    fn parameter_count(&self) -> Option<usize> {
        None
    }

    /// What it is, for a plan: an object of JSON.
    fn describe(&self) -> serde_json::Value;

    /// What a reader of its scores must know.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Does it draw images itself? Unless it says so, no.
    fn generates(&self) -> bool {
        false
    }

    /// Images in [-1, 1], drawn in its own way: [count, C, H, W] f32.
    ///
    /// # Errors
    /// What it could not do; of a model that does not draw, always.
    fn generate(&self, asked: &Asked<'_>) -> Result<Tensor> {
        let _ = asked;
        Err(DiffusionError::Config(
            "this model draws nothing by itself".to_owned(),
        ))
    }
}

/// Images that are asked of a model elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// What the images depend on, with `first`.
    pub seed: u64,
    /// Number of the first of them among all that belong to the seed.
    pub first: u64,
    /// How many.
    pub count: usize,
    /// Denoising steps of each.
    pub steps: usize,
    /// A text for each, and how strongly it is followed; for a model that is told one.
    pub texts: Option<(&'a [&'a str], f64)>,
}

/// Whatever cannot have LoRA layers.
fn no_lora(path: &Path) -> DiffusionError {
    file_error(
        path,
        "LoRA layers are read for the U-Nets of text-to-image folders (Stable Diffusion 1, 2 and XL); other models are audited \
         from Python with the adapter loaded there (dualmd.audit)",
    )
}

/// A network with what belongs to it.
#[derive(Debug)]
pub enum Model {
    /// A network of images alone or of their latents, perhaps with their classes.
    Unconditional(Box<Pipeline>),
    /// A network that is told a text.
    TextToImage(Box<TextToImage>),
    /// A model that is asked elsewhere.
    Foreign(Box<dyn Foreign>),
}

impl Model {
    /// Opens a folder, with all its parts.
    ///
    /// # Errors
    /// As [`Pipeline::load`] and [`TextToImage::load`].
    pub fn load(folder: &Path, set: WeightSet, device: Device) -> Result<Self> {
        Self::load_as(folder, set, Halves::Widened, device)
    }

    /// Opens a folder with all its parts to be asked in `precision`, neither trained nor written: with bf16 parts whose weights are in half
    /// precision stay so, in half the memory of f32 ([`Pipeline::load_as`], [`TextToImage::load_as`]).
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_to_ask(
        folder: &Path,
        set: WeightSet,
        precision: Precision,
        device: Device,
    ) -> Result<Self> {
        let halves = match precision {
            Precision::F32 | Precision::Tf32 => Halves::Widened,
            Precision::Bf16 => Halves::Kept,
        };
        Ok(Self::load_as(folder, set, halves, device)?.with_precision(precision))
    }

    fn load_as(folder: &Path, set: WeightSet, halves: Halves, device: Device) -> Result<Self> {
        if AdapterFolder::of(folder, set)?.is_some() {
            let model = TextToImage::load_as(folder, set, Parts::ALL, halves, device)?;
            return Ok(Self::TextToImage(Box::new(model)));
        }
        Ok(match Index::read(folder)?.kind()? {
            Kind::TextToImage => {
                let model = TextToImage::load_as(folder, set, Parts::ALL, halves, device)?;
                Self::TextToImage(Box::new(model))
            }
            Kind::Unconditional => {
                Self::Unconditional(Box::new(Pipeline::load_as(folder, set, halves, device)?))
            }
        })
    }

    /// With the LoRA of a file, or of a folder's `pytorch_lora_weights.safetensors`, added to its weights.
    ///
    /// # Errors
    /// As [`TextToImage::with_lora`]; a model that is told no text, or is computed elsewhere.
    pub fn with_lora(self, path: &Path) -> Result<Self> {
        match self {
            Self::TextToImage(t) => Ok(Self::TextToImage(Box::new(t.with_lora(path)?))),
            Self::Unconditional(_) | Self::Foreign(_) => Err(no_lora(path)),
        }
    }

    /// As [`Self::with_lora`], for one of several models that are told the same: a file that changes the text encoder is refused.
    ///
    /// # Errors
    /// As [`crate::UNet2dCondition::load_lora`]; a model that is told no text, or is computed elsewhere.
    pub fn with_network_lora(self, path: &Path) -> Result<Self> {
        match self {
            Self::TextToImage(mut t) => {
                t.unet = t.unet.load_lora(path)?.fuse()?;
                Ok(Self::TextToImage(t))
            }
            Self::Unconditional(_) | Self::Foreign(_) => Err(no_lora(path)),
        }
    }

    /// Two models over this one's weights, which are there once: each has the LoRA of its file as low-rank additions. The first keeps
    /// text encoder and autoencoder.
    ///
    /// # Errors
    /// As [`TextToImage::adapted`]; a model that is told no text, or is computed elsewhere.
    pub fn adapted_twice(self, [first, second]: [&Path; 2]) -> Result<[Self; 2]> {
        let Self::TextToImage(mut base) = self else {
            return Err(no_lora(first));
        };
        let other = base.adapted(second)?;
        base.unet = base.adapted(first)?.unet;
        Ok([base, Box::new(other)].map(Self::TextToImage))
    }

    /// Chooses f32 or bf16 autocast for the network.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        match self {
            Self::Unconditional(p) => Self::Unconditional(Box::new(p.with_precision(precision))),
            Self::TextToImage(t) => Self::TextToImage(Box::new(t.with_precision(precision))),
            // Whoever computes it chooses.
            foreign @ Self::Foreign(_) => foreign,
        }
    }

    /// Whether the network drops although it is not trained; see [`crate::UNet2d::with_dropout`].
    #[must_use]
    pub fn with_dropout(self, on: bool) -> Self {
        match self {
            Self::Unconditional(mut p) => {
                p.network = p.network.with_dropout(on);
                Self::Unconditional(p)
            }
            Self::TextToImage(mut t) => {
                t.unet = t.unet.with_dropout(on);
                Self::TextToImage(t)
            }
            foreign @ Self::Foreign(_) => foreign,
        }
    }

    /// The noise schedule.
    #[must_use]
    pub fn schedule(&self) -> &NoiseSchedule {
        match self {
            Self::Unconditional(p) => &p.schedule,
            Self::TextToImage(t) => &t.schedule,
            Self::Foreign(f) => f.schedule(),
        }
    }

    /// The sampler's clipping of the predicted clean image.
    #[must_use]
    pub fn clip(&self) -> Option<f64> {
        match self {
            Self::Unconditional(p) => p.clip(),
            Self::TextToImage(t) => t.clip(),
            Self::Foreign(f) => f.clip(),
        }
    }

    /// [C, H, W] of what the network sees, images or latents; `None` if its configuration does not say.
    #[must_use]
    pub fn sample_shape(&self) -> Option<[i64; 3]> {
        match self {
            Self::Unconditional(p) => p.sample_shape(),
            Self::TextToImage(t) => t.sample_shape(),
            Self::Foreign(f) => Some(f.sample_shape()),
        }
    }

    /// [C, H, W] of the images; `None` if the configuration does not say.
    #[must_use]
    pub fn image_shape(&self) -> Option<[i64; 3]> {
        let [_, h, w] = self.sample_shape()?;
        match self {
            Self::Unconditional(p) => p.image_shape(),
            Self::TextToImage(t) => match &t.vae {
                Some(vae) => {
                    let config = vae.config();
                    let times = config.reduction();
                    Some([config.in_channels, h * times, w * times])
                }
                None => t.sample_shape(),
            },
            Self::Foreign(f) => Some(f.image_shape()),
        }
    }

    /// Channels of the network at full size, [`Self::sample_shape`]'s: what its largest tensors have. 1 of one that is computed
    /// elsewhere.
    #[must_use]
    pub fn widest_channels(&self) -> i64 {
        match self {
            Self::Unconditional(p) => p.network.config().widest_channels(),
            Self::TextToImage(t) => {
                let widths = &t.unet.config().block_out_channels;
                widths.first().copied().unwrap_or(1)
            }
            Self::Foreign(_) => 1,
        }
    }

    /// Scalar parameters of the network; `None` of one that is computed elsewhere and does not say.
    #[must_use]
    pub fn parameter_count(&self) -> Option<usize> {
        match self {
            Self::Unconditional(p) => Some(p.network.parameters().count()),
            Self::TextToImage(t) => Some(t.unet.parameters().count()),
            Self::Foreign(f) => f.parameter_count(),
        }
    }

    /// The network's `config.json`, or what stands for it.
    ///
    /// # Errors
    /// A value that JSON does not have.
    pub fn config(&self) -> Result<serde_json::Value> {
        match self {
            Self::Unconditional(p) => serde_json::to_value(p.network.config()),
            Self::TextToImage(t) => serde_json::to_value(t.unet.config()),
            Self::Foreign(f) => Ok(f.describe()),
        }
        .map_err(|e| DiffusionError::Config(format!("the network's configuration: {e}")))
    }

    /// The text-to-image model, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&TextToImage> {
        match self {
            Self::Unconditional(_) | Self::Foreign(_) => None,
            Self::TextToImage(t) => Some(t),
        }
    }

    /// Is it told a text?
    #[must_use]
    pub fn is_told(&self) -> bool {
        match self {
            Self::Unconditional(_) => false,
            Self::TextToImage(_) => true,
            Self::Foreign(f) => f.is_told(),
        }
    }

    /// Its classes, of a model that is told one.
    #[must_use]
    pub fn labels(&self) -> Option<&Labels> {
        match self {
            Self::Unconditional(p) => p.labels.as_ref(),
            Self::TextToImage(_) | Self::Foreign(_) => None,
        }
    }

    /// What the model is told for each of `words`: the embedding of a text, with what is told beside it ([`TextToImage::told`]), or, of a
    /// class-conditional model, the class of that name or number. An empty text tells nothing.
    ///
    /// # Errors
    /// As [`Self::text_embeddings`]; a text that names none of the classes.
    pub fn told(&self, words: &[&str]) -> Result<Condition> {
        if let Self::Unconditional(p) = self
            && let Some(labels) = &p.labels
        {
            let device = p.network.device();
            return Ok(labels.told(words)?.each(|t| t.to_device(device)));
        }
        if let Self::TextToImage(t) = self {
            return t.told(words);
        }
        Ok(Condition::of_text(self.text_embeddings(words)?))
    }

    /// Embeddings of texts, [K, tokens, width], for a [`Condition`].
    ///
    /// # Errors
    /// A model of images alone; what the tokenizer or the encoder refuses.
    pub fn text_embeddings(&self, texts: &[&str]) -> Result<Tensor> {
        match self {
            Self::Unconditional(_) => Err(DiffusionError::Config(
                "a model of images alone is told no text".into(),
            )),
            Self::TextToImage(t) => t.text_embeddings(texts),
            Self::Foreign(f) => f.text_embeddings(texts),
        }
    }

    /// The model elsewhere, if it is one.
    #[must_use]
    pub fn foreign(&self) -> Option<&dyn Foreign> {
        match self {
            Self::Unconditional(_) | Self::TextToImage(_) => None,
            Self::Foreign(f) => Some(f.as_ref()),
        }
    }

    /// What a reader of its scores must know.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        match self {
            Self::Unconditional(p) if p.schedule.is_flow() => vec![flow::NOTE.to_owned()],
            Self::Unconditional(_) | Self::TextToImage(_) => Vec::new(),
            Self::Foreign(f) => f.notes(),
        }
    }

    /// Does the network see latents of images, and not the images?
    #[must_use]
    pub fn is_latent(&self) -> bool {
        match self {
            Self::Unconditional(p) => p.autoencoder.is_some(),
            Self::TextToImage(t) => t.is_latent(),
            Self::Foreign(f) => f.is_latent(),
        }
    }

    /// What the network sees of images [B, C, H, W] in [-1, 1]: the images, or the mean of their latents.
    ///
    /// # Errors
    /// Shapes the autoencoder cannot take.
    pub fn encode(&self, images: &Tensor) -> Result<Tensor> {
        match self {
            Self::Foreign(f) if f.is_latent() => f.encode(images),
            Self::Foreign(_) => Ok(images.shallow_clone()),
            Self::Unconditional(p) => match &p.autoencoder {
                Some(autoencoder) => autoencoder.latents(images),
                None => Ok(images.shallow_clone()),
            },
            Self::TextToImage(t) => t.encode_images(images, None),
        }
    }

    /// Images of what the network made, clipped to [-1, 1].
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn decode(&self, made: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Foreign(f) if f.is_latent() => f.decode(made)?,
            Self::Foreign(_) => made.shallow_clone(),
            Self::Unconditional(p) => match &p.autoencoder {
                Some(autoencoder) => autoencoder.images(made)?,
                None => made.shallow_clone(),
            },
            Self::TextToImage(t) => t.decode_latents(made)?,
        }
        .clamp(-1.0, 1.0))
    }
}

impl Denoiser for Model {
    fn predict_noise(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor> {
        match self {
            Self::Unconditional(p) => p.predict_noise(x_t, t, condition),
            Self::TextToImage(m) => m.predict_noise(x_t, t, condition),
            Self::Foreign(f) => f.predict_noise(x_t, t, condition),
        }
    }

    fn predict_velocity(
        &self,
        x_s: &Tensor,
        s: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor> {
        match self {
            Self::Unconditional(p) => p.predict_velocity(x_s, s, condition),
            Self::TextToImage(m) => m.predict_velocity(x_s, s, condition),
            Self::Foreign(f) => f.predict_velocity(x_s, s, condition),
        }
    }

    fn weights(&self) -> Option<Vec<Tensor>> {
        match self {
            Self::Unconditional(p) => p.weights(),
            Self::TextToImage(t) => t.weights(),
            Self::Foreign(f) => f.weights(),
        }
    }

    fn gradient_norms(&self, question: &GradientQuestion<'_>) -> Option<Result<Tensor>> {
        match self {
            Self::Unconditional(_) | Self::TextToImage(_) => None,
            Self::Foreign(f) => f.gradient_norms(question),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UNet2d;
    use crate::preset::preset;
    use dualmd_torch::Kind;

    #[test]
    fn a_model_drops_only_if_told_to() {
        let mut config = preset("tiny", 1, 8).unwrap();
        config.dropout = 0.5;
        // The first call of a fresh network predicts nearly nothing: its last layer is drawn anew.
        let unet = UNet2d::fresh(&config, 1, Device::Cpu).unwrap();
        let weights = unet.parameters().copies();
        let weights = weights.into_iter().map(|(name, w)| match name.as_str() {
            "conv_out.weight" => (name, w.ones_like()),
            _ => (name, w),
        });
        let unet = UNet2d::from_weights(&config, weights.collect(), Device::Cpu).unwrap();
        let model = Model::Unconditional(Box::new(Pipeline {
            network: unet.into(),
            schedule: NoiseSchedule::default(),
            labels: None,
            autoencoder: None,
        }));
        let x = Tensor::ones([1, 1, 8, 8], (Kind::Float, Device::Cpu));
        let t = Tensor::from_slice(&[500i64]);
        let twice = |model: &Model| {
            let ask = || model.predict_noise(&x, &t, None).unwrap();
            let (a, b) = (ask(), ask());
            (a - b).abs().max().double_value(&[])
        };
        assert_eq!(twice(&model), 0.0);
        let model = model.with_dropout(true);
        // Another test may seed libtorch's generator, which all threads share, between two calls.
        assert!((0..8).any(|_| twice(&model) > 1e-3));
        assert_eq!(twice(&model.with_dropout(false)), 0.0);
    }
}
