//! Folders without a model_index.json: what they are, and how they become a model.

use crate::adapter::AdapterFolder;
use crate::backbone::{TRANSFORMER, UNET};
use crate::dit;
use crate::json::read_json;
use crate::pipeline::{AUTOENCODER, DIT_AUTOENCODER, WeightSet};
use dualmd_files::shown;
use serde_json::Value;
use std::path::Path;

/// The pipeline's own file, which these folders lack.
const INDEX: &str = "model_index.json";
const SCHEDULER: &str = "scheduler_config.json";

/// What a folder without a model_index.json is, and what helps.
pub(crate) fn instead(folder: &Path) -> String {
    let has = |name: &str| folder.join(name).exists();
    let named = shown(folder);
    if !folder.exists() {
        return "there is no such folder".into();
    }
    if !folder.is_dir() {
        return "is a file; name a pipeline folder (weights alone: dualmd import unet FILE.safetensors --config config.json -o NEW)".into();
    }
    if has("plan.json") && has("models") {
        return "is the folder of a run; name one of its models, models/NAME".into();
    }
    let state = [
        "optimizer.bin",
        "random_states_0.pkl",
        "scheduler.bin",
        "sampler.bin",
    ];
    let checkpoint = state.iter().any(|name| has(name));
    if AdapterFolder::of(folder, WeightSet::Ema).is_ok_and(|found| found.is_some()) {
        return format!(
            "holds an adapter and no model; make one folder of it and its base first: dualmd export copy {named} -o NEW"
        );
    }
    if has("pytorch_lora_weights.safetensors")
        || has("adapter_config.json")
        || has("adapter_model.safetensors")
    {
        return "holds a LoRA, not a model: it is added to the model that it was trained on. In Python: \
                pipeline = StableDiffusionPipeline.from_pretrained(MODEL); pipeline.load_lora_weights(FOLDER); pipeline.fuse_lora(); \
                pipeline.unload_lora_weights(); pipeline.save_pretrained(NEW)"
            .into();
    }
    if checkpoint {
        let part = ["unet_ema", UNET].into_iter().find(|part| has(part));
        let class = part.and_then(|part| class_of(&folder.join(part)));
        let what = "is a checkpoint of a training with accelerate, not a pipeline";
        return match (part, class.as_deref()) {
            (Some(part), Some("UNet2DConditionModel")) => format!(
                "{what}. In Python: unet = UNet2DConditionModel.from_pretrained(\"{named}\", subfolder=\"{part}\"); \
                 StableDiffusionPipeline.from_pretrained(BASE, unet=unet).save_pretrained(NEW)"
            ),
            (Some(part), _) => format!(
                "{what}: dualmd import unet {named}/{part}/diffusion_pytorch_model.safetensors \
                 --config {named}/{part}/config.json --scheduler SCHEDULER_CONFIG.json -o NEW"
            ),
            (None, _) => format!(
                "{what}, and has no network of diffusers in it; save the trained pipeline in Python: pipeline.save_pretrained(NEW)"
            ),
        };
    }
    if let Some(class) = class_of(folder) {
        return alone(folder, &class);
    }
    if has(SCHEDULER) {
        return format!(
            "holds a noise schedule alone ({SCHEDULER}) and no network; name the pipeline folder that it is a part of"
        );
    }
    if has("diffusion_pytorch_model.safetensors") && !has("config.json") {
        return format!(
            "holds weights without the config.json that says of which network they are; with it, dualmd import unet {named} --config \
             config.json --scheduler SCHEDULER_CONFIG.json -o NEW"
        );
    }
    let mut parts = [UNET, TRANSFORMER]
        .map(|part| folder.join(part))
        .into_iter();
    let part = parts.find(|part| class_of(part).is_some_and(|class| is_network(&class)));
    match part {
        Some(part) => format!(
            "has no {INDEX}, which says what its parts are; they become a model by themselves: {}",
            Import::of(&part).command()
        ),
        None => format!(
            "is not a pipeline folder: it has no {INDEX} (in Python: pipeline.save_pretrained(folder))"
        ),
    }
}

/// Is it a network that opens without a text?
fn is_network(class: &str) -> bool {
    matches!(class, "UNet2DModel" | dit::CLASS | dit::OLD_CLASS)
}

/// How a network's folder becomes a model.
struct Import<'a> {
    network: &'a Path,
    /// The scheduler's file, where it was found.
    scheduler: Option<String>,
    /// The autoencoder's folder, where it was found.
    autoencoder: Option<String>,
    of_latents: bool,
}

impl<'a> Import<'a> {
    fn of(network: &'a Path) -> Self {
        let autoencoder = beside(network, &[DIT_AUTOENCODER, AUTOENCODER], "config.json");
        Self {
            network,
            scheduler: beside(network, &["scheduler"], SCHEDULER),
            of_latents: autoencoder.is_some() || sees_latents(network),
            autoencoder,
        }
    }

    /// What the folder lacks.
    fn missing(&self) -> String {
        let mut missing = vec![format!("a {INDEX}")];
        if self.scheduler.is_none() {
            missing.push(format!("its noise schedule ({SCHEDULER})"));
        }
        if self.of_latents && self.autoencoder.is_none() {
            missing.push("its autoencoder".into());
        }
        missing.join(", without ")
    }

    fn command(&self) -> String {
        let named = |found: &Option<String>, otherwise: &str| {
            found.clone().unwrap_or_else(|| otherwise.to_owned())
        };
        let autoencoder = match self.of_latents {
            true => format!(
                " --autoencoder {}",
                named(&self.autoencoder, "AUTOENCODER_FOLDER")
            ),
            false => String::new(),
        };
        format!(
            "dualmd import unet {} --scheduler {}{autoencoder} -o NEW",
            shown(self.network),
            named(&self.scheduler, "SCHEDULER_CONFIG.json")
        )
    }
}

/// What the folder of one part is, whose config.json names this class.
fn alone(folder: &Path, class: &str) -> String {
    let named = shown(folder);
    let whole = folder
        .parent()
        .filter(|parent| parent.join(INDEX).is_file());
    if let Some(whole) = whole {
        let whole = match whole.as_os_str().is_empty() {
            true => Path::new("."),
            false => whole,
        };
        return format!(
            "is one part ({}) of the pipeline folder {}; name that folder",
            shown(class),
            shown(whole)
        );
    }
    match class {
        _ if is_network(class) => {
            let import = Import::of(folder);
            format!(
                "is a {} alone, without {}; with what belongs to it it becomes a model: {}",
                shown(class),
                import.missing(),
                import.command()
            )
        }
        "UNet2DConditionModel" => format!(
            "is a UNet2DConditionModel alone: it has no {INDEX}, no noise schedule, no text encoder and no tokenizer. In Python, with the \
             folder that it was trained from as BASE: unet = UNet2DConditionModel.from_pretrained(\"{named}\"); \
             StableDiffusionPipeline.from_pretrained(BASE, unet=unet).save_pretrained(NEW)"
        ),
        "AutoencoderKL" | "VQModel" => format!(
            "is an autoencoder alone ({class}), which predicts no noise; experiments take it as model.autoencoder, for networks of its latents"
        ),
        _ => format!(
            "is a {} alone, without a {INDEX}; name the pipeline folder that it is a part of",
            shown(class)
        ),
    }
}

/// Where a file of a part lies that belongs to the network in `folder`: of one beside that folder its file, or, of an autoencoder, its
/// folder.
fn beside(folder: &Path, parts: &[&str], file: &str) -> Option<String> {
    if file == SCHEDULER && folder.join(file).is_file() {
        return Some(shown(&folder.join(file)).to_string());
    }
    let parent = folder.parent()?;
    let part = parts
        .iter()
        .map(|part| parent.join(part))
        .find(|part| part.join(file).is_file())?;
    Some(match file {
        SCHEDULER => shown(&part.join(file)).to_string(),
        _ => shown(&part).to_string(),
    })
}

/// Does the network take other channels than grey or colour images have?
fn sees_latents(folder: &Path) -> bool {
    let config: Option<Value> = read_json(&folder.join("config.json")).ok();
    let channels = config.and_then(|config| config.get("in_channels")?.as_i64());
    channels.is_some_and(|channels| !matches!(channels, 1 | 3))
}

/// The class that a folder's config.json names.
fn class_of(folder: &Path) -> Option<String> {
    let config: Value = read_json(&folder.join("config.json")).ok()?;
    config.get("_class_name")?.as_str().map(str::to_owned)
}
