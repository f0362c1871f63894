//! Pipeline folders in the diffusers layout: `model_index.json`, `unet/`, `scheduler/` (or, as in old repositories, the files of
//! both beside the index).
//!
//! Those of latents without a text are an `LDMPipeline`'s, with the autoencoder in `vqvae/`.
//!
//! Folders written here open in Python with `DDPMPipeline.from_pretrained(folder)`; folders written by Python open here. That class
//! samples with whatever scheduler the index names: a flow's is `FlowMatchEulerDiscreteScheduler`. It tells its network no class: one
//! that is told a class is used in Python by its own call, `pipe.unet(x, t, class_labels=...)`.

use crate::denoiser::no_flow;
use crate::index::{Index, Kind, network_folder, scheduler_file};
use crate::json::read_json;
use crate::latent::files::{DIFFUSERS, file_error, read_weights, write_json};
use crate::schedule::SchedulerConfig;
use crate::unet2d::ImageSize;
use crate::vae::Autoencoder;
use crate::{
    Condition, Denoiser, DiffusionError, Labels, NoiseSchedule, Result, UNet2d, UNet2dConfig,
};
use dualmd_torch::device::Precision;
use dualmd_torch::{Device, Tensor, weights};
use serde_json::Value;
use std::path::Path;

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
/// The part that `LDMPipeline` has its autoencoder in.
pub(crate) const AUTOENCODER: &str = "vqvae";

/// A network with its noise schedule.
#[derive(Debug)]
pub struct Pipeline {
    /// The network.
    pub unet: UNet2d,
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
    /// `unet/`: the exponential moving average (what attacks use).
    Ema,
    /// `unet_raw/`: the weights without averaging; only folders written here have them.
    Raw,
}

impl Pipeline {
    /// Opens a folder.
    ///
    /// # Errors
    /// What is missing or does not fit, naming the file; folders of other pipelines.
    pub fn load(folder: &Path, set: WeightSet, device: Device) -> Result<Self> {
        let index = Index::read(folder)?;
        if index.kind()? == Kind::TextToImage {
            return Err(index.error(
                "is a text-to-image pipeline; an unconditional one (DDPMPipeline, DDIMPipeline) is needed here",
            ));
        }
        let own = network_folder(folder);
        let unet_folder = match set {
            WeightSet::Ema => own.clone(),
            WeightSet::Raw => folder.join("unet_raw"),
        };
        if set == WeightSet::Raw && !unet_folder.exists() {
            return Err(file_error(
                &unet_folder,
                "is missing: this folder has no raw weights; use --weights ema",
            ));
        }
        let config_path = own.join("config.json");
        let config = UNet2dConfig::read(&read_json(&config_path)?)
            .map_err(|e| file_error(&config_path, e))?;
        let tensors = read_weights(&unet_folder, DIFFUSERS)?;
        let unet = UNet2d::from_weights(&config, tensors, device)
            .map_err(|e| file_error(&unet_folder, e))?;
        let scheduler_path = scheduler_file(folder);
        let file: Value = read_json(&scheduler_path)?;
        let schedule = SchedulerConfig::read(&file, index.part("scheduler"))
            .and_then(NoiseSchedule::new)
            .map_err(|e| file_error(&scheduler_path, e))?;
        let labels = match config.num_class_embeds {
            Some(embeddings) => {
                let names = Labels::names_of(index.value()).map_err(|e| index.error(e))?;
                let labels = Labels::new(names, embeddings).map_err(|e| index.error(e))?;
                Some(labels)
            }
            None => None,
        };
        let part = folder.join(AUTOENCODER);
        let autoencoder = match index.part(AUTOENCODER) {
            Some(_) => Some(Autoencoder::load(&part, device)?),
            None => None,
        };
        if let Some(autoencoder) = &autoencoder
            && autoencoder.latent_channels() != config.in_channels
        {
            let reason = DiffusionError::Config(format!(
                "the autoencoder has {} latent channels, the network takes {}",
                autoencoder.latent_channels(),
                config.in_channels
            ));
            return Err(file_error(&part, reason));
        }
        Ok(Self {
            unet,
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

    /// Writes the folder: `ema` becomes `unet/`, `raw` (if given) `unet_raw/`.
    ///
    /// # Errors
    /// What writing gives, naming the file.
    pub fn save(
        folder: &Path,
        config: &UNet2dConfig,
        schedule: &NoiseSchedule,
        beside: Beside<'_>,
        ema: &[(String, Tensor)],
        raw: Option<&[(String, Tensor)]>,
    ) -> Result<()> {
        remove_index(folder)?;
        for (name, tensors) in [("unet", Some(ema)), ("unet_raw", raw)] {
            let unet = folder.join(name);
            let Some(tensors) = tensors else {
                // Raw weights of a model that was here before are not this model's.
                dualmd_files::remove_folder(&unet)?;
                continue;
            };
            dualmd_files::create_folder(&unet)?;
            weights::write_safetensors(
                &unet.join(WEIGHTS),
                tensors.iter().map(|(n, t)| (n.as_str(), t)),
                &[("format", "pt")],
            )?;
            write_json(&unet.join("config.json"), config)?;
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
            "_diffusers_version": config.diffusers_version,
            "scheduler": ["diffusers", schedule.config().class_name],
            "unet": ["diffusers", "UNet2DModel"],
        });
        if let Some(names) = beside.labels.and_then(Labels::id2label) {
            index["id2label"] = names;
        }
        if let Some(autoencoder) = beside.autoencoder {
            autoencoder.save(&folder.join(AUTOENCODER))?;
            index["_class_name"] = "LDMPipeline".into();
            index[AUTOENCODER] = serde_json::json!(["diffusers", autoencoder.class()]);
        }
        // The index goes last: a folder that has it is complete.
        write_json(&folder.join("model_index.json"), &index)
    }

    /// Chooses f32 or bf16 autocast.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        Self {
            unet: self.unet.with_precision(precision),
            ..self
        }
    }

    /// [C, H, W] of what the network was made for, images or latents; `None` if its configuration does not say.
    #[must_use]
    pub fn sample_shape(&self) -> Option<[i64; 3]> {
        let config = self.unet.config();
        let [h, w] = match config.sample_size? {
            ImageSize::Side(s) => [s, s],
            ImageSize::HeightWidth(hw) => hw,
        };
        Some([config.in_channels, h, w])
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
        let out = self.unet.predict_noise(&x, &time, condition)?;
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
        self.unet.predict_noise(x_s, &time, condition)
    }

    fn weights(&self) -> Option<Vec<Tensor>> {
        self.unet.weights()
    }
}
