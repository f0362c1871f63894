//! Pipeline folders in the diffusers layout: `model_index.json`, `unet/`, `scheduler/`.
//!
//! Folders written here open in Python with `DDPMPipeline.from_pretrained(folder)`; folders written by Python open here.

use crate::schedule::{PredictionType, SchedulerConfig};
use crate::unet2d::ImageSize;
use crate::{Condition, Denoiser, DiffusionError, NoiseSchedule, Result, UNet2d, UNet2dConfig};
use dualmd_files::limit;
use dualmd_torch::device::Precision;
use dualmd_torch::{Device, Tensor, weights};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::Path;

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
const INDEX: &str = "diffusion_pytorch_model.safetensors.index.json";

/// A network with its noise schedule.
#[derive(Debug)]
pub struct Pipeline {
    /// The network.
    pub unet: UNet2d,
    /// Its schedule.
    pub schedule: NoiseSchedule,
}

fn file_error(path: &Path, reason: impl std::fmt::Display) -> DiffusionError {
    DiffusionError::File {
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = dualmd_files::read_text(path, limit::SETTINGS)?;
    serde_json::from_str(&text).map_err(|e| file_error(path, e))
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| file_error(path, e))?;
    text.push(b'\n');
    Ok(dualmd_files::write(path, &text)?)
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
        let index_path = folder.join("model_index.json");
        if !index_path.exists() {
            return Err(file_error(
                folder,
                "is not a pipeline folder: it has no model_index.json (in Python: pipeline.save_pretrained(folder))",
            ));
        }
        let index: serde_json::Value = read_json(&index_path)?;
        let class = index
            .get("_class_name")
            .and_then(|v| v.as_str())
            .unwrap_or("");
        if index.get("unet_2").is_some() {
            return Err(file_error(
                &index_path,
                "is a pair of models, exported for Python; open the two folders that it was made from",
            ));
        }
        if index.get("vae").is_some() || index.get("text_encoder").is_some() {
            return Err(file_error(
                &index_path,
                format!(
                    "{class} is a text-to-image pipeline; only unconditional pipelines (DDPMPipeline, DDIMPipeline) can be opened yet"
                ),
            ));
        }
        let unet_folder = folder.join(match set {
            WeightSet::Ema => "unet",
            WeightSet::Raw => "unet_raw",
        });
        if set == WeightSet::Raw && !unet_folder.exists() {
            return Err(file_error(
                &unet_folder,
                "is missing: this folder has no raw weights; use --weights ema",
            ));
        }
        let config_path = folder.join("unet").join("config.json");
        let config: UNet2dConfig = read_json(&config_path)?;
        config.check().map_err(|e| file_error(&config_path, e))?;
        let tensors = read_weights(&unet_folder)?;
        let unet = UNet2d::from_weights(&config, tensors, device)
            .map_err(|e| file_error(&unet_folder, e))?;
        let scheduler_path = folder.join("scheduler").join("scheduler_config.json");
        let schedule: SchedulerConfig = read_json(&scheduler_path)?;
        let schedule = NoiseSchedule::new(schedule).map_err(|e| file_error(&scheduler_path, e))?;
        Ok(Self { unet, schedule })
    }

    /// Writes the folder: `ema` becomes `unet/`, `raw` (if given) `unet_raw/`.
    ///
    /// # Errors
    /// What writing gives, naming the file.
    pub fn save(
        folder: &Path,
        config: &UNet2dConfig,
        schedule: &NoiseSchedule,
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
        write_json(&scheduler.join("scheduler_config.json"), schedule.config())?;
        // The index goes last: a folder that has it is complete.
        write_json(
            &folder.join("model_index.json"),
            &serde_json::json!({
                "_class_name": "DDPMPipeline",
                "_diffusers_version": config.diffusers_version,
                "scheduler": ["diffusers", schedule.config().class_name],
                "unet": ["diffusers", "UNet2DModel"],
            }),
        )
    }

    /// Chooses f32 or bf16 autocast.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        Self {
            unet: self.unet.with_precision(precision),
            schedule: self.schedule,
        }
    }

    /// [C, H, W] of the images this model was made for; `None` if its configuration does not say.
    #[must_use]
    pub fn image_shape(&self) -> Option<[i64; 3]> {
        let config = self.unet.config();
        let [h, w] = match config.sample_size? {
            ImageSize::Side(s) => [s, s],
            ImageSize::HeightWidth(hw) => hw,
        };
        Some([config.in_channels, h, w])
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
        let out = self.unet.predict_noise(x_t, t, condition)?;
        Ok(match self.schedule.prediction() {
            PredictionType::Epsilon => out,
            // v = a eps - b x_0 and x_t = a x_0 + b eps give eps = a v + b x_t.
            PredictionType::Velocity => {
                let (a, b) = self.schedule.coefficients(t);
                out * a + x_t * b
            }
            PredictionType::Sample => {
                let (a, b) = self.schedule.coefficients(t);
                (x_t - out * a) / b
            }
        })
    }

    fn weights(&self) -> Option<Vec<Tensor>> {
        self.unet.weights()
    }
}

fn read_weights(folder: &Path) -> Result<BTreeMap<String, Tensor>> {
    let single = folder.join(WEIGHTS);
    let index = folder.join(INDEX);
    if single.exists() {
        return Ok(weights::read_safetensors(&single)?);
    }
    if index.exists() {
        return crate::read_shards(&index);
    }
    let pickle = folder.join("diffusion_pytorch_model.bin");
    if pickle.exists() {
        // Gives the reason and the remedy.
        return Ok(weights::read_safetensors(&pickle)?);
    }
    Err(file_error(
        &single,
        "is missing: the folder has no weights as safetensors",
    ))
}
