//! Text-to-image models: folders in the layout of diffusers' `StableDiffusionPipeline` and `StableDiffusionXLPipeline`, guidance,
//! sampling.
//!
//! Folders written here open in Python with `from_pretrained(folder)` of the pipeline that they name, those of models of pixels part by
//! part, because diffusers has no pipeline for them; folders written by Python open here. Every part
//! but network and schedule is optional: attacks on latents and embeddings that were computed before need neither
//! autoencoder nor text encoder. [`export`] writes a pair of models for Python.

mod delayed;
pub mod export;
pub(crate) mod files;
mod generate;
mod load;
mod preset;
pub mod sail;
mod text;

pub use delayed::{Delayed, Early};
pub use generate::{Guided, LatentSampling, sample_latents};
pub use preset::{LATENT_PRESETS, LatentPreset};
pub use text::{SecondEncoder, TextEncoder};

use crate::adapter::AdapterFolder;
use crate::clip::PROJECTS;
use crate::index::{Index, Kind, XL};
use crate::lora;
use crate::pipeline::{WeightSet, remove_index};
use crate::schedule::SchedulerConfig;
use crate::unet2d::ImageSize;
use crate::{
    AutoencoderKl, Condition, Denoiser, DiffusionError, NoiseSchedule, Result, UNet2dCondition,
};
use dualmd_torch::device::Precision;
use dualmd_torch::weights::Halves;
use dualmd_torch::{Device, Tensor, no_grad, tch, weights};
use files::{DIFFUSERS, TRANSFORMERS, create, file_error, write_json};
use load::Whose;
use serde_json::json;
use std::path::Path;

/// Most bytes of a scheduler_config.json.
const LARGEST_SCHEDULER: u64 = 1 << 24;

/// Which optional parts of a folder to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// The autoencoder.
    pub vae: bool,
    /// Tokenizer and text encoder.
    pub text: bool,
}

impl Parts {
    /// Everything.
    pub const ALL: Self = Self {
        vae: true,
        text: true,
    };
    /// The network and its schedule alone.
    pub const UNET: Self = Self {
        vae: false,
        text: false,
    };
}

/// A conditional network with its schedule and, if they were read, autoencoder and text encoder.
#[derive(Debug)]
pub struct TextToImage {
    /// The network.
    pub unet: UNet2dCondition,
    /// Its schedule, as diffusers' pipeline would sample with it.
    pub schedule: NoiseSchedule,
    /// Images to latents and back. `None`: not read, or a model of pixels.
    pub vae: Option<AutoencoderKl>,
    /// Prompts to what the network is told. `None`: not read, or not there.
    pub text: Option<TextEncoder>,
    /// scheduler_config.json as it was read, byte for byte: other schedulers have keys that this program has no use for, and
    /// numbers (-Infinity) that JSON has no word for.
    scheduler: String,
    /// The network sees latents: its folder has an autoencoder, read or not.
    latent: bool,
    /// A part of the folder that was not read, if there is one.
    unread: Option<&'static str>,
}

impl TextToImage {
    /// Puts a model together. Without an autoencoder it is a model of pixels.
    ///
    /// # Errors
    /// Parts that do not fit each other.
    pub fn new(
        unet: UNet2dCondition,
        schedule: SchedulerConfig,
        vae: Option<AutoencoderKl>,
        text: Option<TextEncoder>,
    ) -> Result<Self> {
        let scheduler = serde_json::to_string_pretty(&schedule)
            .map(|text| text + "\n")
            .map_err(|e| DiffusionError::Config(format!("scheduler: {e}")))?;
        let model = Self {
            unet,
            schedule: NoiseSchedule::new(schedule)?,
            latent: vae.is_some(),
            vae,
            text,
            scheduler,
            unread: None,
        };
        model.check()?;
        Ok(model)
    }

    /// Opens a folder: a model's, or an adapter's with the base that it names ([`AdapterFolder`]), added up.
    ///
    /// # Errors
    /// What is missing or does not fit, naming the file; folders of other pipelines; parts asked for that are not there, a
    /// missing autoencoder excepted (a model of pixels).
    pub fn load(folder: &Path, set: WeightSet, parts: Parts, device: Device) -> Result<Self> {
        Self::load_as(folder, set, parts, Halves::Widened, device)
    }

    /// As [`Self::load`], for a model that is asked and neither trained nor written. With [`Halves::Kept`] a network whose weights are in
    /// half precision is held in bf16 and computes in it ([`UNet2dCondition::from_halves`]); text encoders and autoencoder are held as their
    /// files have them, compute in f32 and answer as those of [`Self::load`].
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_as(
        folder: &Path,
        set: WeightSet,
        parts: Parts,
        halves: Halves,
        device: Device,
    ) -> Result<Self> {
        match AdapterFolder::of(folder, set)? {
            // What is added to the weights is added in f32.
            Some(AdapterFolder { base, lora }) => {
                Self::load_whole(&base, WeightSet::Ema, parts, Halves::Widened, device)?
                    .with_lora(&lora)
            }
            None => Self::load_whole(folder, set, parts, halves, device),
        }
    }

    fn load_whole(
        folder: &Path,
        set: WeightSet,
        parts: Parts,
        halves: Halves,
        device: Device,
    ) -> Result<Self> {
        let index = Index::read(folder)?;
        if index.kind()? == Kind::Unconditional {
            return Err(index.error(
                "is an unconditional pipeline without a UNet2DConditionModel; a text-to-image model (StableDiffusionPipeline) is \
                 needed here",
            ));
        }
        let has = |part: &str| index.part(part).is_some();
        let whose = Whose::of(has("vae"), index.is_xl());
        let unet = load::unet(folder, set, halves, device)?;
        let scheduler_path = folder.join("scheduler").join("scheduler_config.json");
        let scheduler = dualmd_files::read_text(&scheduler_path, LARGEST_SCHEDULER)?;
        let schedule = crate::json::parse(&scheduler)
            .map_err(|e| DiffusionError::Config(e.to_string()))
            .and_then(|file| load::as_the_pipeline_samples(&file, index.part("scheduler"), whose))
            .and_then(NoiseSchedule::new)
            .map_err(|e| file_error(&scheduler_path, e))?;
        let vae = if parts.vae && has("vae") {
            index.demand("vae", &["AutoencoderKL"])?;
            Some(load::vae(folder, halves, device)?)
        } else {
            None
        };
        let text = if parts.text {
            if !has("text_encoder") || !has("tokenizer") {
                return Err(index.error(
                    "names no text encoder or no tokenizer; prompts cannot be encoded with this folder",
                ));
            }
            Some(load::text(folder, &index, halves, device)?)
        } else {
            None
        };
        let model = Self {
            unet,
            schedule,
            vae,
            text,
            scheduler,
            latent: has("vae"),
            unread: if has("vae") && !parts.vae {
                Some("vae")
            } else if has("text_encoder") && !parts.text {
                Some("text_encoder")
            } else {
                None
            },
        };
        model.check().map_err(|e| file_error(folder, e))?;
        Ok(model)
    }

    /// The model with the LoRA of a file, or of a folder's, added to its weights: the network's, and the text encoders' where the file
    /// changes them too. Weights that it does not change are shared.
    ///
    /// # Errors
    /// As [`UNet2dCondition::load_lora`]; layers of the text encoder for a model that was opened without it.
    pub fn with_lora(mut self, path: &Path) -> Result<Self> {
        let first = self.text.as_ref().map(|text| &text.model);
        let second = self.text.as_ref().and_then(|text| text.second.as_ref());
        let texts = [first, second.map(|second| &second.model)];
        let changed = lora::changed(path, self.unet, texts)?;
        let [first, second] = changed.texts;
        self.unet = changed.unet.fuse()?;
        if let Some(text) = &mut self.text {
            if let Some(model) = first {
                text.model = model;
            }
            if let (Some(encoder), Some(model)) = (&mut text.second, second) {
                encoder.model = model;
            }
        }
        Ok(self)
    }

    /// The network with the LoRA of a file, or of a folder's, as low-rank additions over this model's own weights, which are shared: a
    /// second model takes as much memory as the file. Without text encoder and autoencoder.
    ///
    /// # Errors
    /// As [`UNet2dCondition::load_lora`]: a file that changes the text encoder is refused, because whoever takes turns is told the same.
    pub fn adapted(&self, path: &Path) -> Result<Self> {
        Ok(Self {
            unet: self.unet.shared()?.load_lora(path)?,
            schedule: self.schedule.clone(),
            vae: None,
            text: None,
            scheduler: self.scheduler.clone(),
            latent: self.latent,
            unread: Some("other parts"),
        })
    }

    fn check(&self) -> Result<()> {
        let config = self.unet.config();
        if let Some(vae) = &self.vae
            && vae.config().latent_channels != config.in_channels
        {
            return Err(DiffusionError::Config(format!(
                "the autoencoder has {} latent channels, the network takes {}",
                vae.config().latent_channels,
                config.in_channels
            )));
        }
        if let Some(text) = &self.text {
            text.check(config)?;
        }
        Ok(())
    }

    /// Writes the folder in diffusers' layout. `ema` becomes `unet/` (`None`: the network's own weights), `raw`, if given,
    /// `unet_raw/`. Text encoders and autoencoder are written in f32, however they are held: what Python opens in half precision
    /// does not go with a network in f32.
    ///
    /// # Errors
    /// A model of whose folder a part was not read, or whose network has LoRA layers: what is written would be another
    /// model. What writing gives, naming the file.
    pub fn save(
        &self,
        folder: &Path,
        ema: Option<&[(String, Tensor)]>,
        raw: Option<&[(String, Tensor)]>,
    ) -> Result<()> {
        let no_vae = (self.latent && self.vae.is_none()).then_some("vae");
        if let Some(part) = self.unread.or(no_vae) {
            return Err(file_error(
                folder,
                format!(
                    "cannot be written: the model was opened without its {part}; open it with all its parts"
                ),
            ));
        }
        if self.unet.lora_parameters().is_some() {
            return Err(file_error(
                folder,
                "cannot be written: the network has LoRA layers, for which a model folder has no place; \
                 fuse them into the network first, or write them alone (save_lora)",
            ));
        }
        remove_index(folder)?;
        let own = &self.unet.parameters().0;
        for (name, tensors) in [("unet", Some(ema.unwrap_or(own))), ("unet_raw", raw)] {
            let part = folder.join(name);
            match tensors {
                Some(tensors) => save_part(&part, DIFFUSERS, self.unet.config(), tensors)?,
                // Raw weights of a model that was here before are not this model's.
                None => dualmd_files::remove_folder(&part)?,
            }
        }
        let null = json!([null, null]);
        let mut index = json!({
            "_class_name": "StableDiffusionPipeline",
            "_diffusers_version": self.unet.config().diffusers_version,
            "feature_extractor": null, "image_encoder": null,
            "scheduler": ["diffusers", self.schedule.config().class_name],
            "text_encoder": null, "tokenizer": null, "vae": null,
            "unet": ["diffusers", "UNet2DConditionModel"],
        });
        if self.unet.config().pooled_width().is_some() {
            index["_class_name"] = json!(XL);
            index["text_encoder_2"] = json!(null);
            index["tokenizer_2"] = json!(null);
        } else {
            index["safety_checker"] = json!(null);
            index["requires_safety_checker"] = json!(false);
        }
        if let Some(vae) = &self.vae {
            let part = folder.join("vae");
            save_part(&part, DIFFUSERS, vae.config(), &vae.parameters().widened())?;
            index["vae"] = json!(["diffusers", "AutoencoderKL"]);
        }
        if let Some(text) = &self.text {
            let part = folder.join("text_encoder");
            let tensors = text.model.parameters().widened();
            save_part(&part, TRANSFORMERS, text.model.config(), &tensors)?;
            text.tokenizer.save(&folder.join("tokenizer"))?;
            index["text_encoder"] = json!(["transformers", "CLIPTextModel"]);
            index["tokenizer"] = json!(["transformers", "CLIPTokenizer"]);
            if let Some(second) = &text.second {
                let part = folder.join("text_encoder_2");
                let tensors = second.model.parameters().widened();
                save_part(&part, TRANSFORMERS, second.model.config(), &tensors)?;
                second.tokenizer.save(&folder.join("tokenizer_2"))?;
                index["text_encoder_2"] = json!(["transformers", PROJECTS]);
                index["tokenizer_2"] = json!(["transformers", "CLIPTokenizer"]);
                index["force_zeros_for_empty_prompt"] = json!(second.zeros_for_nothing);
            }
        }
        if let Some(entries) = index.as_object_mut() {
            for value in entries.values_mut().filter(|v| v.is_null()) {
                *value = null.clone();
            }
        }
        let scheduler = folder.join("scheduler");
        create(&scheduler)?;
        let path = scheduler.join("scheduler_config.json");
        dualmd_files::write(&path, self.scheduler.as_bytes()).map_err(|e| file_error(&path, e))?;
        // The index goes last: a folder that has it is complete.
        write_json(&folder.join("model_index.json"), &index)
    }

    /// Chooses f32 or bf16 autocast for the network; autoencoder and text encoders compute in f32.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.unet = self.unet.with_precision(precision);
        self
    }

    /// [C, h, w] of what the network sees, latents or pixels; `None` if its configuration does not say.
    #[must_use]
    pub fn sample_shape(&self) -> Option<[i64; 3]> {
        let config = self.unet.config();
        let [h, w] = match config.sample_size? {
            ImageSize::Side(s) => [s, s],
            ImageSize::HeightWidth(hw) => hw,
        };
        Some([config.in_channels, h, w])
    }

    /// The network sees latents, not pixels. (True also of a model whose autoencoder was not read.)
    #[must_use]
    pub fn is_latent(&self) -> bool {
        self.latent
    }

    /// The sampler's clipping: as the scheduler asks for pixels, never for latents, which have no bounds.
    #[must_use]
    pub fn clip(&self) -> Option<f64> {
        let config = self.schedule.config();
        (!self.latent && config.clip_sample).then_some(config.clip_sample_range)
    }

    /// What the network sees of images, without gradient. `images`: [B, C, H, W] f32 in [-1, 1]. With an autoencoder: its
    /// mean (`noise` `None`) or a draw from its Gaussian with the given standard normal `noise` [B, c, h, w], times
    /// `scaling_factor`. A model of pixels sees the images.
    ///
    /// # Errors
    /// A latent model that was opened without its autoencoder; shapes the network cannot take.
    pub fn encode_images(&self, images: &Tensor, noise: Option<&Tensor>) -> Result<Tensor> {
        let Some(vae) = self.autoencoder()? else {
            return Ok(images.shallow_clone());
        };
        no_grad(|| {
            let moments = vae.encode(images)?;
            let z = match noise {
                None => moments.mean,
                Some(noise) if noise.size() == moments.mean.size() => moments.sample(noise),
                Some(noise) => {
                    return Err(DiffusionError::Shape {
                        what: "noise of the latents",
                        expected: format!("{:?}", moments.mean.size()),
                        got: noise.size(),
                    });
                }
            };
            Ok(z * vae.config().scaling_factor)
        })
    }

    /// Images of what the network made, [B, C, H, W] f32, about [-1, 1], not clipped; without gradient. The inverse of
    /// [`Self::encode_images`].
    ///
    /// # Errors
    /// As [`Self::encode_images`].
    pub fn decode_latents(&self, latents: &Tensor) -> Result<Tensor> {
        match self.autoencoder()? {
            Some(vae) => no_grad(|| vae.decode(&(latents / vae.config().scaling_factor))),
            None => Ok(latents.shallow_clone()),
        }
    }

    /// The decoder's Jacobian at latents [B, c, h, w], transposed, times each of `directions` in the space of images, each
    /// [B, C, H, W] like the images that the latents are decoded to: [B, c, h, w] for each of them.
    ///
    /// # Errors
    /// A model of pixels, one that was opened without its autoencoder, directions of another shape.
    pub fn decoder_products(&self, latents: &Tensor, directions: &[Tensor]) -> Result<Vec<Tensor>> {
        let Some(vae) = self.autoencoder()? else {
            return Err(DiffusionError::Config(
                "this model sees pixels: it has no decoder to differentiate".into(),
            ));
        };
        tch::with_grad(|| {
            let z = latents.f_detach()?.f_set_requires_grad(true)?;
            let images = vae.decode(&(&z / vae.config().scaling_factor))?;
            let mut products = Vec::with_capacity(directions.len());
            for (index, direction) in directions.iter().enumerate() {
                if direction.size() != images.size() {
                    return Err(DiffusionError::Shape {
                        what: "a direction in the space of images",
                        expected: format!("{:?}", images.size()),
                        got: direction.size(),
                    });
                }
                let along = images.f_mul(direction)?.f_sum(dualmd_torch::Kind::Float)?;
                let keep = index + 1 < directions.len();
                let mut gradients = Tensor::f_run_backward(&[along], &[&z], keep, false)?;
                match gradients.pop() {
                    Some(gradient) if gradient.defined() => products.push(gradient),
                    _ => {
                        return Err(DiffusionError::Config(
                            "the decoder's images do not depend on the latents".into(),
                        ));
                    }
                }
            }
            Ok(products)
        })
    }

    fn autoencoder(&self) -> Result<Option<&AutoencoderKl>> {
        if self.latent && self.vae.is_none() {
            return Err(DiffusionError::Config(
                "this model was opened without its autoencoder: images cannot be encoded or decoded".into(),
            ));
        }
        Ok(self.vae.as_ref())
    }
}

impl Denoiser for TextToImage {
    /// eps, whatever the network predicts.
    fn predict_noise(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor> {
        let out = self.unet.predict_noise(x_t, t, condition)?;
        Ok(self.schedule.noise_of_output(out, x_t, t))
    }

    fn weights(&self) -> Option<Vec<Tensor>> {
        self.unet.weights()
    }
}

fn save_part(
    folder: &Path,
    base: &str,
    config: &impl serde::Serialize,
    tensors: &[(String, Tensor)],
) -> Result<()> {
    create(folder)?;
    weights::write_safetensors(
        &folder.join(format!("{base}.safetensors")),
        tensors.iter().map(|(n, t)| (n.as_str(), t)),
        &[("format", "pt")],
    )?;
    write_json(&folder.join("config.json"), config)
}
