//! Reading the parts of a folder.

use super::files::{DIFFUSERS, TRANSFORMERS, file_error, read_json, read_weights_to};
use super::{SecondEncoder, TextEncoder};
use crate::clip::PROJECTS;
use crate::index::Index;
use crate::pipeline::WeightSet;
use crate::schedule::SchedulerConfig;
use crate::{
    AutoencoderKl, AutoencoderKlConfig, ClipTextConfig, ClipTextModel, ClipTokenizer,
    DiffusionError, Result, UNet2dCondition, UNet2dConditionConfig,
};
use dualmd_torch::Device;
use dualmd_torch::weights::Halves;
use serde_json::{Value, json};
use std::path::Path;

/// Whose pipeline samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// This program's own: diffusers has none for models of pixels.
    Pixels,
    /// `StableDiffusionPipeline`.
    StableDiffusion,
    /// `StableDiffusionXLPipeline`.
    Xl,
}

impl Whose {
    /// Of a folder with or without an autoencoder.
    pub(super) fn of(latent: bool, xl: bool) -> Self {
        match (latent, xl) {
            (false, _) => Self::Pixels,
            (true, false) => Self::StableDiffusion,
            (true, true) => Self::Xl,
        }
    }
}

/// The scheduler's configuration as diffusers' pipeline samples with it through DDIM: defaults that differ from class to class, for
/// latents no clipping, and steps_offset 1 where the pipeline insists on it, as Stable Diffusion 1's and 2's does.
pub(super) fn as_the_pipeline_samples(
    file: &Value,
    class: Option<&str>,
    whose: Whose,
) -> Result<SchedulerConfig> {
    let mut config = SchedulerConfig::read(file, class)?;
    if config.shift.is_some() {
        return Err(DiffusionError::Config(format!(
            "_class_name \"{}\" is of flow matching, and text-to-image models of that kind are audited from Python (dualmd.audit)",
            config.class_name
        )));
    }
    if whose != Whose::Pixels {
        config.clip_sample = false;
    }
    if whose == Whose::StableDiffusion {
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
    let part = set.among(folder.join("unet"), folder.join("unet_raw"))?;
    let path = folder.join("unet").join("config.json");
    let config =
        UNet2dConditionConfig::read(&read_json(&path)?).map_err(|e| file_error(&path, e))?;
    let tensors = read_weights_to(&part, DIFFUSERS, halves, device)?;
    let network = match halves {
        Halves::Widened => UNet2dCondition::from_weights(&config, tensors, device),
        Halves::Kept => UNet2dCondition::from_halves(&config, tensors, device),
    };
    network.map_err(|e| file_error(&part, e))
}

pub(super) fn vae(folder: &Path, halves: Halves, device: Device) -> Result<AutoencoderKl> {
    let part = folder.join("vae");
    let path = part.join("config.json");
    let config = AutoencoderKlConfig::read(&read_json(&path)?).map_err(|e| file_error(&path, e))?;
    let tensors = read_weights_to(&part, DIFFUSERS, halves, device)?;
    AutoencoderKl::from_weights(&config, tensors, device).map_err(|e| file_error(&part, e))
}

/// Tokenizer and text encoder; two of each where the pipeline has two.
pub(super) fn text(
    folder: &Path,
    index: &Index,
    halves: Halves,
    device: Device,
) -> Result<TextEncoder> {
    let encoder = |which, class| encoder(folder, index, [which, class], halves, device);
    let (tokenizer, model) = encoder("", "CLIPTextModel")?;
    let second = if index.is_xl() {
        let (tokenizer, model) = encoder("_2", PROJECTS)?;
        Some(SecondEncoder {
            tokenizer,
            model,
            zeros_for_nothing: index.zeros_for_nothing(),
        })
    } else {
        None
    };
    Ok(TextEncoder {
        tokenizer,
        model,
        second,
    })
}

/// One tokenizer and its encoder of `class`; `which`: the end of their names.
fn encoder(
    folder: &Path,
    index: &Index,
    [which, class]: [&str; 2],
    halves: Halves,
    device: Device,
) -> Result<(ClipTokenizer, ClipTextModel)> {
    let (encoder, tokenizer) = (format!("text_encoder{which}"), format!("tokenizer{which}"));
    index.demand(&encoder, &[class])?;
    index.demand(&tokenizer, &["CLIPTokenizer", "CLIPTokenizerFast"])?;
    let part = folder.join(encoder);
    let path = part.join("config.json");
    let mut config = ClipTextConfig::read(&read_json(&path)?).map_err(|e| file_error(&path, e))?;
    if class == PROJECTS {
        // What the index says of its parts counts.
        config.others.insert("architectures".into(), json!([class]));
    }
    let tensors = read_weights_to(&part, TRANSFORMERS, halves, device)?;
    let model =
        ClipTextModel::from_weights(&config, tensors, device).map_err(|e| file_error(&part, e))?;
    Ok((ClipTokenizer::load(&folder.join(tokenizer))?, model))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedulers_are_read_as_the_pipeline_samples_with_them() {
        let read =
            |scheduler: Value, whose| as_the_pipeline_samples(&scheduler, None, whose).unwrap();
        let sd = Whose::StableDiffusion;
        // The published files of Stable Diffusion: PNDM, whose last step goes to abar_0 unless they say otherwise.
        let pndm =
            json!({"_class_name": "PNDMScheduler", "steps_offset": 0, "skip_prk_steps": true});
        let config = read(pndm, sd);
        assert!(!config.set_alpha_to_one && !config.clip_sample);
        assert_eq!(
            (config.steps_offset, config.timestep_spacing.as_str()),
            (1, "leading")
        );
        let config = read(json!({"_class_name": "EulerDiscreteScheduler"}), sd);
        assert!(config.set_alpha_to_one);
        assert_eq!(config.timestep_spacing, "linspace");
        let config = read(
            json!({"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading"}),
            sd,
        );
        assert_eq!(config.timestep_spacing, "leading");
        let config = read(json!({"_class_name": "DDIMScheduler"}), Whose::Xl);
        assert!(!config.clip_sample && config.steps_offset == 0);
        // The published file of Stable Diffusion XL.
        let xl = json!({"_class_name": "EulerDiscreteScheduler", "_diffusers_version": "0.19.0.dev0", "beta_end": 0.012,
            "beta_schedule": "scaled_linear", "beta_start": 0.00085, "clip_sample": false, "interpolation_type": "linear",
            "num_train_timesteps": 1000, "prediction_type": "epsilon", "sample_max_value": 1.0, "set_alpha_to_one": false,
            "skip_prk_steps": true, "steps_offset": 1, "timestep_spacing": "leading", "trained_betas": null, "use_karras_sigmas": false});
        let config = read(xl, Whose::Xl);
        assert_eq!(
            (config.steps_offset, config.timestep_spacing.as_str()),
            (1, "leading")
        );
        assert!(!config.set_alpha_to_one && config.beta_start == 0.00085);
        let config = read(json!({"_class_name": "DDIMScheduler"}), Whose::Pixels);
        assert!(config.set_alpha_to_one && config.clip_sample && config.steps_offset == 0);
        assert!(as_the_pipeline_samples(&json!({"beta_start": "x"}), None, sd).is_err());
    }
}
