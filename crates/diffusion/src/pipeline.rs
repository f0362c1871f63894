//! Pipeline folders in the diffusers layout: `model_index.json`, `unet/`, `scheduler/` (or, as in old repositories, the files of
//! both beside the index).
//!
//! Those of latents without a text are an `LDMPipeline`'s, with the autoencoder in `vqvae/`. Those of transformers are a `DiTPipeline`'s,
//! with the network in `transformer/` and the autoencoder in `vae/`. diffusers has no class for a transformer of pixels: in the folder of
//! one `vae` is null, and in Python its parts are used by themselves.
//!
//! Folders written here open in Python with `DDPMPipeline.from_pretrained(folder)`; folders written by Python open here. That class
//! samples with whatever scheduler the index names: a flow's is `FlowMatchEulerDiscreteScheduler`. It tells its network no class: one
//! that is told a class is used in Python by its own call, `pipe.unet(x, t, class_labels=...)`.

use crate::backbone::{TRANSFORMER, UNET};
use crate::denoiser::no_flow;
use crate::index::{Index, Kind, network_folder, raw_network_folder, scheduler_file};
use crate::json::read_json;
use crate::latent::files::{DIFFUSERS, file_error, read_weights_to, write_json};
use crate::schedule::SchedulerConfig;
use crate::vae::Autoencoder;
use crate::{Backbone, BackboneConfig, Condition, Denoiser, Labels, NoiseSchedule, Result};
use dualmd_torch::device::Precision;
use dualmd_torch::weights::Halves;
use dualmd_torch::{Device, Tensor, weights};
use serde_json::Value;
use std::path::{Path, PathBuf};

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
/// The part that `LDMPipeline` has its autoencoder in.
pub(crate) const AUTOENCODER: &str = "vqvae";
/// The part that `DiTPipeline` has it in.
pub(crate) const DIT_AUTOENCODER: &str = "vae";

/// A network with its noise schedule.
#[derive(Debug)]
pub struct Pipeline {
    /// The network.
    pub network: Backbone,
    /// Its schedule.
    pub schedule: NoiseSchedule,
    /// Its classes, of a network that is told one.
    pub labels: Option<Labels>,
    /// What makes latents of images, of a network that sees latents.
    pub autoencoder: Option<Autoencoder>,
}

/// What a folder holds beside a network and its schedule.
#[derive(Debug, Clone, Copy, Default)]
pub struct Beside<'a> {
    /// The network's classes.
    pub labels: Option<&'a Labels>,
    /// Its autoencoder.
    pub autoencoder: Option<&'a Autoencoder>,
}

/// Takes the index away from a model folder that is about to be written over: until the new one is there, it is no model.
pub(crate) fn remove_index(folder: &Path) -> Result<()> {
    let path = folder.join("model_index.json");
    // Away for good: a power cut does not bring it back to other weights.
    dualmd_files::remove_folder(&path).map_err(|e| file_error(&path, e))
}

/// Which weights of a folder to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightSet {
    /// `unet/` (of a transformer `transformer/`): the exponential moving average (what attacks use).
    Ema,
    /// `unet_raw/` (`transformer_raw/`): the weights without averaging; only folders written here have them.
    Raw,
}

impl WeightSet {
    /// Where these weights lie: at `own`, or at `raw`.
    ///
    /// # Errors
    /// There are no raw weights.
    pub(crate) fn among(self, own: PathBuf, raw: PathBuf) -> Result<PathBuf> {
        if self == Self::Ema {
            return Ok(own);
        }
        if !raw.exists() {
            return Err(file_error(
                &raw,
                "is missing: this folder has no raw weights; use --weights ema",
            ));
        }
        Ok(raw)
    }
}

impl Pipeline {
    /// Opens a folder.
    ///
    /// # Errors
    /// What is missing or does not fit, naming the file; folders of other pipelines.
    pub fn load(folder: &Path, set: WeightSet, device: Device) -> Result<Self> {
        Self::load_as(folder, set, Halves::Widened, device)
    }

    /// As [`Self::load`], for a model that is asked and neither trained nor written. With [`Halves::Kept`] a network whose weights are in
    /// half precision is held in bf16 and computes in it ([`Backbone::from_halves`]), and an autoencoder is held as its file has it
    /// ([`Autoencoder::load_as`]).
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_as(folder: &Path, set: WeightSet, halves: Halves, device: Device) -> Result<Self> {
        let index = Index::read(folder)?;
        if index.kind()? == Kind::TextToImage {
            return Err(index.error(
                "is a text-to-image pipeline; an unconditional one (DDPMPipeline, DDIMPipeline, DiTPipeline) is needed here",
            ));
        }
        let own = network_folder(folder);
        let weights_folder = set.among(own.clone(), raw_network_folder(folder))?;
        let config_path = own.join("config.json");
        let config = BackboneConfig::read(&read_json(&config_path)?)
            .map_err(|e| file_error(&config_path, e))?;
        if index.part(config.part()).is_none() {
            let reason = format!(
                "is of a {}, which the folder's model_index.json names no part for",
                config.class()
            );
            return Err(file_error(&config_path, reason));
        }
        let tensors = read_weights_to(&weights_folder, DIFFUSERS, halves, device)?;
        let network = match halves {
            Halves::Widened => Backbone::from_weights(&config, tensors, device),
            Halves::Kept => Backbone::from_halves(&config, tensors, device),
        };
        let network = network.map_err(|e| file_error(&weights_folder, e))?;
        let scheduler_path = scheduler_file(folder);
        let file: Value = read_json(&scheduler_path)?;
        let schedule = SchedulerConfig::read(&file, index.part("scheduler"))
            .and_then(NoiseSchedule::new)
            .map_err(|e| file_error(&scheduler_path, e))?;
        let labels = match config.is_told() {
            true => {
                let names = Labels::names_of(index.value()).map_err(|e| index.error(e))?;
                config.labels(names).map_err(|e| index.error(e))?
            }
            false => None,
        };
        let mut parts = [AUTOENCODER, DIT_AUTOENCODER].into_iter();
        let autoencoder = match parts.find(|part| index.part(part).is_some()) {
            Some(part) => {
                let part = folder.join(part);
                let autoencoder = Autoencoder::load_as(&part, halves, device)?;
                autoencoder
                    .check(&config)
                    .map_err(|e| file_error(&part, e))?;
                Some(autoencoder)
            }
            None => None,
        };
        Ok(Self {
            network,
            schedule,
            labels,
            autoencoder,
        })
    }

    /// What its folder holds beside network and schedule.
    #[must_use]
    pub fn beside(&self) -> Beside<'_> {
        Beside {
            labels: self.labels.as_ref(),
            autoencoder: self.autoencoder.as_ref(),
        }
    }

    /// Writes the folder: `ema` becomes `unet/`, `raw` (if given) `unet_raw/`; of a transformer `transformer/` and `transformer_raw/`.
    ///
    /// # Errors
    /// What writing gives, naming the file.
    pub fn save(
        folder: &Path,
        config: impl Into<BackboneConfig>,
        schedule: &NoiseSchedule,
        beside: Beside<'_>,
        ema: &[(String, Tensor)],
        raw: Option<&[(String, Tensor)]>,
    ) -> Result<()> {
        let config = config.into();
        remove_index(folder)?;
        for part in [UNET, TRANSFORMER] {
            let (ema, raw) = match part == config.part() {
                true => (Some(ema), raw),
                false => (None, None),
            };
            for (name, tensors) in [(part.to_owned(), ema), (format!("{part}_raw"), raw)] {
                let network = folder.join(name);
                let Some(tensors) = tensors else {
                    // A network of another kind that was here before, or its raw weights, are not this model's.
                    dualmd_files::remove_folder(&network)?;
                    continue;
                };
                dualmd_files::create_folder(&network)?;
                weights::write_safetensors(
                    &network.join(WEIGHTS),
                    tensors.iter().map(|(n, t)| (n.as_str(), t)),
                    &[("format", "pt")],
                )?;
                write_json(&network.join("config.json"), &config)?;
            }
        }
        let scheduler = folder.join("scheduler");
        dualmd_files::create_folder(&scheduler)?;
        let file = scheduler.join("scheduler_config.json");
        match schedule.config().flow_file() {
            Some(keys) => write_json(&file, &keys)?,
            None => write_json(&file, schedule.config())?,
        }
        let mut index = serde_json::json!({
            "_class_name": "DDPMPipeline",
            "_diffusers_version": config.diffusers_version(),
            "scheduler": ["diffusers", schedule.config().class_name],
        });
        index[config.part()] = serde_json::json!(["diffusers", config.class()]);
        // Where an autoencoder goes, and what the pipeline is called that has one.
        let (place, latent) = match config {
            BackboneConfig::UNet(_) => (AUTOENCODER, "LDMPipeline"),
            BackboneConfig::Dit(_) => {
                index["_class_name"] = "DiTPipeline".into();
                index[DIT_AUTOENCODER] = serde_json::json!([null, null]);
                (DIT_AUTOENCODER, "DiTPipeline")
            }
        };
        if let Some(names) = beside.labels.and_then(Labels::id2label) {
            index["id2label"] = names;
        }
        if let Some(autoencoder) = beside.autoencoder {
            autoencoder.save(&folder.join(place))?;
            index["_class_name"] = latent.into();
            index[place] = serde_json::json!(["diffusers", autoencoder.class()]);
        }
        // The index goes last: a folder that has it is complete.
        write_json(&folder.join("model_index.json"), &index)
    }

    /// Chooses f32 or bf16 autocast.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        Self {
            network: self.network.with_precision(precision),
            ..self
        }
    }

    /// [C, H, W] of what the network was made for, images or latents; `None` if its configuration does not say.
    #[must_use]
    pub fn sample_shape(&self) -> Option<[i64; 3]> {
        let config = self.network.config();
        let [h, w] = config.sample_size()?;
        Some([config.in_channels(), h, w])
    }

    /// [C, H, W] of the images this model was made for; `None` if its configuration does not say.
    #[must_use]
    pub fn image_shape(&self) -> Option<[i64; 3]> {
        let shape = self.sample_shape()?;
        let Some(autoencoder) = &self.autoencoder else {
            return Some(shape);
        };
        let ([_, h, w], times) = (shape, autoencoder.reduction());
        Some([autoencoder.image_channels(), h * times, w * times])
    }

    /// The sampler's clipping as the folder's scheduler asks for it.
    #[must_use]
    pub fn clip(&self) -> Option<f64> {
        let config = self.schedule.config();
        config.clip_sample.then_some(config.clip_sample_range)
    }
}

impl Denoiser for Pipeline {
    fn predict_noise(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor> {
        let (x, time) = self.schedule.question(x_t, t);
        let out = self.network.predict_noise(&x, &time, condition)?;
        Ok(self.schedule.noise_of_output(out, x_t, t))
    }

    fn predict_velocity(
        &self,
        x_s: &Tensor,
        s: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor> {
        if !self.schedule.is_flow() {
            return Err(no_flow());
        }
        let time = self.schedule.time_of_level(s);
        self.network.predict_noise(x_s, &time, condition)
    }

    fn weights(&self) -> Option<Vec<Tensor>> {
        self.network.weights()
    }
}
