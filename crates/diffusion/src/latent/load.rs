//! Reading the parts of a folder.

use super::TextEncoder;
use super::files::{DIFFUSERS, TRANSFORMERS, file_error, read_json, read_weights, read_weights_as};
use crate::pipeline::WeightSet;
use crate::schedule::SchedulerConfig;
use crate::{
    AutoencoderKl, AutoencoderKlConfig, ClipTextConfig, ClipTextModel, ClipTokenizer,
    DiffusionError, Result, UNet2dCondition, UNet2dConditionConfig,
};
use dualmd_torch::Device;
use dualmd_torch::weights::Halves;
use serde_json::Value;
use std::path::Path;

/// The scheduler's configuration as diffusers' `StableDiffusionPipeline` samples with it through DDIM: defaults that differ
/// from class to class, and for latent models no clipping and steps_offset 1, which the pipeline insists on.
pub(super) fn as_the_pipeline_samples(
    file: &Value,
    class: Option<&str>,
    latent: bool,
) -> Result<SchedulerConfig> {
    let mut config = SchedulerConfig::read(file, class)?;
    if config.shift.is_some() {
        return Err(DiffusionError::Config(format!(
            "_class_name \"{}\" is of flow matching, and text-to-image models of that kind are audited from Python (dualmd.audit)",
            config.class_name
        )));
    }
    if latent {
        config.clip_sample = false;
        config.steps_offset = 1;
    }
    Ok(config)
}

pub(super) fn unet(
    folder: &Path,
    set: WeightSet,
    halves: Halves,
    device: Device,
) -> Result<UNet2dCondition> {
    let part = folder.join(match set {
        WeightSet::Ema => "unet",
        WeightSet::Raw => "unet_raw",
    });
    if set == WeightSet::Raw && !part.exists() {
        return Err(file_error(
            &part,
            "is missing: this folder has no raw weights; use --weights ema",
        ));
    }
    let path = folder.join("unet").join("config.json");
    let config =
        UNet2dConditionConfig::read(&read_json(&path)?).map_err(|e| file_error(&path, e))?;
    let tensors = read_weights_as(&part, DIFFUSERS, halves)?;
    let network = match halves {
        Halves::Widened => UNet2dCondition::from_weights(&config, tensors, device),
        Halves::Kept => UNet2dCondition::from_halves(&config, tensors, device),
    };
    network.map_err(|e| file_error(&part, e))
}

pub(super) fn vae(folder: &Path, device: Device) -> Result<AutoencoderKl> {
    let part = folder.join("vae");
    let path = part.join("config.json");
    let config = AutoencoderKlConfig::read(&read_json(&path)?).map_err(|e| file_error(&path, e))?;
    let tensors = read_weights(&part, DIFFUSERS)?;
    AutoencoderKl::from_weights(&config, tensors, device).map_err(|e| file_error(&part, e))
}

pub(super) fn text(folder: &Path, device: Device) -> Result<TextEncoder> {
    let part = folder.join("text_encoder");
    let path = part.join("config.json");
    let config = ClipTextConfig::read(&read_json(&path)?).map_err(|e| file_error(&path, e))?;
    let tensors = read_weights(&part, TRANSFORMERS)?;
    let model =
        ClipTextModel::from_weights(&config, tensors, device).map_err(|e| file_error(&part, e))?;
    let tokenizer = ClipTokenizer::load(&folder.join("tokenizer"))?;
    Ok(TextEncoder { tokenizer, model })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn schedulers_are_read_as_the_pipeline_samples_with_them() {
        let read =
            |scheduler: Value, latent| as_the_pipeline_samples(&scheduler, None, latent).unwrap();
        // The published files of Stable Diffusion: PNDM, whose last step goes to abar_0 unless they say otherwise.
        let pndm =
            json!({"_class_name": "PNDMScheduler", "steps_offset": 0, "skip_prk_steps": true});
        let config = read(pndm, true);
        assert!(!config.set_alpha_to_one && !config.clip_sample);
        assert_eq!(
            (config.steps_offset, config.timestep_spacing.as_str()),
            (1, "leading")
        );
        let config = read(json!({"_class_name": "EulerDiscreteScheduler"}), true);
        assert!(config.set_alpha_to_one);
        assert_eq!(config.timestep_spacing, "linspace");
        let config = read(
            json!({"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading"}),
            true,
        );
        assert_eq!(config.timestep_spacing, "leading");
        let config = read(json!({"_class_name": "DDIMScheduler"}), false);
        assert!(config.set_alpha_to_one && config.clip_sample && config.steps_offset == 0);
        assert!(as_the_pipeline_samples(&json!({"beta_start": "x"}), None, true).is_err());
    }
}
