//! `model_index.json`: what kind of pipeline a folder holds, and where its parts lie.

use crate::backbone::{TRANSFORMER, UNET};
use crate::bare::instead;
use crate::dit;
use crate::json::read_json;
use crate::pipeline::{AUTOENCODER, DIT_AUTOENCODER};
use crate::{DiffusionError, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

const NAME: &str = "model_index.json";
const SCHEDULER: &str = "scheduler_config.json";

/// diffusers' pipelines of an unconditional network of pixels. All sample x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps.
const UNCONDITIONAL: &[&str] = &["DDPMPipeline", "DDIMPipeline", "PNDMPipeline"];
/// That of such a network of latents, of which there is one class.
const LATENT: &str = "LDMPipeline";
/// What its autoencoder may be.
const AUTOENCODERS: &[&str] = &["VQModel", "AutoencoderKL"];
/// That of a transformer that is told a class, of latents, or, as this program writes it, of pixels.
const DIT: &str = "DiTPipeline";
/// What its network may be: the second is the first's name in the published files.
const TRANSFORMERS: &[&str] = &[dit::CLASS, dit::OLD_CLASS];
/// Those of a text-to-image network. (The second is the first, begun with an image.)
const TEXT_TO_IMAGE: &[&str] = &["StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"];
/// Those with two text encoders, the first of them as it is written here.
const TEXT_TO_IMAGE_XL: &[&str] = &[XL, "StableDiffusionXLImg2ImgPipeline"];
pub(crate) const XL: &str = "StableDiffusionXLPipeline";
/// The network of the first two: its part and its class.
const PLAIN: (&str, &[&str]) = (UNET, &["UNet2DModel"]);
/// That of a text-to-image network.
const TOLD_A_TEXT: (&str, &[&str]) = (UNET, &["UNet2DConditionModel"]);
/// Parts of each.
const UNCONDITIONAL_PARTS: &[&str] = &[UNET, "scheduler"];
const LATENT_PARTS: &[&str] = &[UNET, "scheduler", AUTOENCODER];
const DIT_PARTS: &[&str] = &[TRANSFORMER, "scheduler", DIT_AUTOENCODER];
const TEXT_TO_IMAGE_PARTS: &[&str] = &[UNET, "scheduler", "vae", "text_encoder", "tokenizer"];
const TEXT_TO_IMAGE_XL_PARTS: &[&str] = &[
    UNET,
    "scheduler",
    "vae",
    "text_encoder",
    "tokenizer",
    "text_encoder_2",
    "tokenizer_2",
];
/// Parts that change no prediction: a filter behind the model, and what feeds it.
const BESIDE: &[&str] = &["safety_checker", "feature_extractor", "image_encoder"];

/// What other pipelines are, by the beginning of their names.
const OTHERS: &[(&str, &str)] = &[
    (
        "LDM",
        "it is told a text by another encoder, or begins with an image",
    ),
    (
        "LatentDiffusionUncond",
        "LDMPipeline is what diffusers calls it today: put that name there",
    ),
    (
        "ScoreSdeVe",
        "it is of a score SDE, which has no betas of this kind",
    ),
    (
        "KarrasVe",
        "its noise levels are sigmas of Karras et al. 2022, not betas",
    ),
    (
        "Consistency",
        "it is of a consistency model, which predicts no noise",
    ),
    (
        "LatentConsistency",
        "it is of a distilled model, which is sampled in few steps",
    ),
    (
        "StableDiffusionXL",
        "it begins with more than a text and noise",
    ),
    ("StableDiffusion3", "it is of flow matching"),
    ("Flux", "it is of flow matching"),
    (
        "IF",
        "its network also predicts a variance and is told a text by T5",
    ),
];

/// What a folder can be opened as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Unconditional,
    TextToImage,
}

/// A folder's model_index.json.
#[derive(Debug)]
pub(crate) struct Index {
    path: PathBuf,
    value: Value,
}

impl Index {
    /// Reads it.
    ///
    /// # Errors
    /// A folder that has none, with what the folder is instead where that can be told; a file that cannot be read.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(NAME);
        if !path.exists() {
            return Err(error(folder, instead(folder)));
        }
        let value = read_json(&path)?;
        Ok(Self { path, value })
    }

    /// The class of a part; `None` if the pipeline does not have it. Its library is not asked for.
    pub(crate) fn part(&self, name: &str) -> Option<&str> {
        self.value.get(name)?.get(1)?.as_str()
    }

    /// Is it of Stable Diffusion XL's kind, with two text encoders?
    pub(crate) fn is_xl(&self) -> bool {
        let class = self.value.get("_class_name").and_then(Value::as_str);
        class.is_some_and(|class| TEXT_TO_IMAGE_XL.contains(&class))
    }

    /// Is an empty text told as zeros? diffusers' default of such a pipeline, unless the index says otherwise.
    pub(crate) fn zeros_for_nothing(&self) -> bool {
        let told = self.value.get("force_zeros_for_empty_prompt");
        told.and_then(Value::as_bool).unwrap_or(true)
    }

    /// The index as it was read.
    pub(crate) fn value(&self) -> &Value {
        &self.value
    }

    /// A refusal that names the file.
    pub(crate) fn error(&self, reason: impl std::fmt::Display) -> DiffusionError {
        error(&self.path, reason)
    }

    /// What the folder can be opened as.
    ///
    /// # Errors
    /// Pipelines of other classes, by name; parts that such a pipeline does not have; a network of another class.
    pub(crate) fn kind(&self) -> Result<Kind> {
        if self.part("unet_2").is_some() {
            return Err(self.error(
                "is a pair of models, exported for Python; open the two folders that it was made from",
            ));
        }
        let class = match self.value.get("_class_name") {
            Some(Value::String(class)) => class.as_str(),
            _ => return Err(self.error("names no class of pipeline (_class_name)")),
        };
        let (kind, (network, classes), parts) = if UNCONDITIONAL.contains(&class) {
            (Kind::Unconditional, PLAIN, UNCONDITIONAL_PARTS)
        } else if class == LATENT {
            self.demand(AUTOENCODER, AUTOENCODERS)?;
            (Kind::Unconditional, PLAIN, LATENT_PARTS)
        } else if class == DIT {
            if self.part(DIT_AUTOENCODER).is_some() {
                self.demand(DIT_AUTOENCODER, AUTOENCODERS)?;
            }
            (Kind::Unconditional, (TRANSFORMER, TRANSFORMERS), DIT_PARTS)
        } else if TEXT_TO_IMAGE.contains(&class) {
            (Kind::TextToImage, TOLD_A_TEXT, TEXT_TO_IMAGE_PARTS)
        } else if TEXT_TO_IMAGE_XL.contains(&class) {
            (Kind::TextToImage, TOLD_A_TEXT, TEXT_TO_IMAGE_XL_PARTS)
        } else {
            let why = OTHERS.iter().find(|(start, _)| class.starts_with(start));
            return Err(self.error(format!(
                "{} is not supported{}; pipelines that can be opened are {} with a UNet2DModel, {DIT} with a \
                 {} and {} with a UNet2DConditionModel",
                dualmd_files::shown(class),
                why.map_or(String::new(), |(_, why)| format!(": {why}")),
                [UNCONDITIONAL, &[LATENT]].concat().join(", "),
                dit::CLASS,
                [TEXT_TO_IMAGE, TEXT_TO_IMAGE_XL].concat().join(", "),
            )));
        };
        if self.part("text_encoder_2").is_some() && !self.is_xl() {
            return Err(self.error(format!(
                "has two text encoders, as a {XL} has them and a {class} has not: the folder holds another kind of model"
            )));
        }
        if self.value.get("requires_aesthetics_score") == Some(&Value::Bool(true)) {
            return Err(self.error(
                "is of a refiner, which is told how pleasing its image is and finishes what another model began; open that other model",
            ));
        }
        let names = self.value.as_object().into_iter().flat_map(|o| o.keys());
        for name in names.map(String::as_str) {
            let known = parts.contains(&name) || BESIDE.contains(&name) || name.starts_with('_');
            if let Some(own) = self.part(name)
                && !known
            {
                return Err(self.error(format!(
                    "has a part {} ({}), which a {class} does not have: the folder holds another kind of model",
                    dualmd_files::shown(name),
                    dualmd_files::shown(own)
                )));
            }
        }
        self.demand(network, classes)?;
        if self.part("scheduler").is_none() {
            return Err(self.error("names no scheduler, and so no noise schedule"));
        }
        Ok(kind)
    }

    /// Checks that a part is there and of one of these classes, in diffusers' or transformers' own code.
    ///
    /// # Errors
    /// As said.
    pub(crate) fn demand(&self, part: &str, classes: &[&str]) -> Result<()> {
        let wanted = classes.join(" or ");
        let Some(class) = self.part(part) else {
            return Err(self.error(format!("names no {part}; a {wanted} is needed")));
        };
        let library = self.value[part]
            .get(0)
            .and_then(Value::as_str)
            .unwrap_or("");
        if !classes.contains(&class) || !matches!(library, "diffusers" | "transformers") {
            return Err(self.error(format!(
                "its {part} is a {} of {}; only a {wanted} of diffusers or transformers is supported",
                dualmd_files::shown(class),
                dualmd_files::shown(library),
            )));
        }
        Ok(())
    }
}

/// Checks that a folder says of itself that it is a text-to-image model's, with what prompts need: by its index alone, before anything
/// large is read.
///
/// # Errors
/// Another folder, with what it is; one without a text encoder or a tokenizer.
pub fn check_text_to_image(folder: &Path) -> Result<()> {
    let index = Index::read(folder)?;
    if index.kind()? == Kind::Unconditional {
        return Err(index.error("is of a model that is told no text; a text-to-image model (StableDiffusionPipeline) is needed here"));
    }
    if index.part("text_encoder").is_none() || index.part("tokenizer").is_none() {
        return Err(index.error(
            "names no text encoder or no tokenizer; prompts cannot be encoded with this folder",
        ));
    }
    Ok(())
}

fn error(path: &Path, reason: impl std::fmt::Display) -> DiffusionError {
    DiffusionError::File {
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
}

/// The part of a pipeline folder that holds its network; `None` of one without such a part.
fn network_part(folder: &Path) -> Option<&'static str> {
    let mut parts = [UNET, TRANSFORMER].into_iter();
    parts.find(|part| folder.join(part).is_dir())
}

/// Where the network of a pipeline folder lies: in `unet/` or `transformer/`, or, as in the repositories of 2022
/// (google/ddpm-cifar10-32), in the folder itself. That is where diffusers looks.
#[must_use]
pub fn network_folder(folder: &Path) -> PathBuf {
    match network_part(folder) {
        Some(part) => folder.join(part),
        None => folder.to_owned(),
    }
}

/// Where the raw weights of a pipeline folder lie, if it has them: in `unet_raw/` or `transformer_raw/`.
#[must_use]
pub fn raw_network_folder(folder: &Path) -> PathBuf {
    let part = network_part(folder).unwrap_or(UNET);
    folder.join(format!("{part}_raw"))
}

/// The scheduler's configuration of a pipeline folder: in `scheduler/`, or in the folder itself, as [`network_folder`].
#[must_use]
pub fn scheduler_file(folder: &Path) -> PathBuf {
    let own = folder.join("scheduler");
    if own.is_dir() { own } else { folder.to_owned() }.join(SCHEDULER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kind(value: Value) -> std::result::Result<Kind, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(NAME), value.to_string()).unwrap();
        let index = Index::read(dir.path()).unwrap();
        index.kind().map_err(|e| e.to_string())
    }

    fn ddpm() -> Value {
        json!({"_class_name": "DDPMPipeline", "scheduler": ["diffusers", "DDPMScheduler"], "unet": ["diffusers", "UNet2DModel"]})
    }

    #[test]
    fn pipelines_are_known_by_their_class_and_their_parts() {
        assert_eq!(kind(ddpm()), Ok(Kind::Unconditional));
        let text = json!({"_class_name": "StableDiffusionPipeline", "requires_safety_checker": true,
            "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"], "feature_extractor": ["transformers", "CLIPImageProcessor"],
            "scheduler": ["diffusers", "PNDMScheduler"], "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"], "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"], "image_encoder": [null, null]});
        assert_eq!(kind(text.clone()), Ok(Kind::TextToImage));
        let mut latent = ddpm();
        latent["_class_name"] = json!("LDMPipeline");
        let said = kind(latent.clone()).unwrap_err();
        assert!(said.contains("names no vqvae"), "{said}");
        for autoencoder in ["VQModel", "AutoencoderKL"] {
            latent["vqvae"] = json!(["diffusers", autoencoder]);
            assert_eq!(kind(latent.clone()), Ok(Kind::Unconditional));
        }
        latent["vqvae"] = json!(["diffusers", "AutoencoderTiny"]);
        assert!(kind(latent).unwrap_err().contains("AutoencoderTiny"));
        let mut dit = json!({"_class_name": "DiTPipeline", "id2label": {"0": "cat"}, "scheduler": ["diffusers", "DDIMScheduler"],
            "transformer": ["diffusers", "Transformer2DModel"], "vae": ["diffusers", "AutoencoderKL"]});
        assert_eq!(kind(dit.clone()), Ok(Kind::Unconditional));
        dit["transformer"] = json!(["diffusers", "DiTTransformer2DModel"]);
        for autoencoder in [json!([null, null]), json!(["diffusers", "VQModel"])] {
            dit["vae"] = autoencoder;
            assert_eq!(kind(dit.clone()), Ok(Kind::Unconditional));
        }
        for (part, class) in [
            ("transformer", "PixArtTransformer2DModel"),
            ("vae", "AutoencoderTiny"),
            ("unet", "UNet2DModel"),
        ] {
            let mut other = dit.clone();
            other[part] = json!(["diffusers", class]);
            assert!(kind(other).unwrap_err().contains(class));
        }
        for (class, why) in [
            ("LDMTextToImagePipeline", "another encoder"),
            ("ScoreSdeVePipeline", "score SDE"),
            ("KarrasVePipeline", "sigmas"),
            ("ConsistencyModelPipeline", "consistency"),
            ("StableDiffusionXLInpaintPipeline", "more than a text"),
            ("StableDiffusion3Pipeline", "flow matching"),
            ("StableDiffusionInpaintPipeline", "not supported"),
            ("MyPipeline", "not supported"),
        ] {
            let mut value = ddpm();
            value["_class_name"] = json!(class);
            let error = kind(value).unwrap_err();
            for part in [class, why, "DDPMPipeline, DDIMPipeline", NAME] {
                assert!(error.contains(part), "{error} lacks {part}");
            }
        }
        let changed = |base: &Value, key: &str, value: Value| {
            let mut base = base.clone();
            base[key] = value;
            kind(base).unwrap_err()
        };
        for (key, value, words) in [
            ("_class_name", json!(null), "no class"),
            (
                "vqvae",
                json!(["diffusers", "VQModel"]),
                "a part vqvae (VQModel)",
            ),
            ("vae", json!(["diffusers", "AutoencoderKL"]), "a part vae"),
            (
                "unet",
                json!(["diffusers", "UNet2DConditionModel"]),
                "UNet2DConditionModel",
            ),
            ("unet", json!(["my_code", "UNet2DModel"]), "my_code"),
            ("unet", json!([null, null]), "names no unet"),
            ("scheduler", json!(null), "no scheduler"),
            (
                "unet_2",
                json!(["diffusers", "UNet2DModel"]),
                "pair of models",
            ),
        ] {
            let error = changed(&ddpm(), key, value);
            assert!(error.contains(words), "{error} lacks {words}");
        }
        let second = json!(["transformers", "CLIPTextModelWithProjection"]);
        assert!(changed(&text, "text_encoder_2", second.clone()).contains("two text encoders"));
        let mut xl = text.clone();
        xl["_class_name"] = json!("StableDiffusionXLPipeline");
        xl["text_encoder_2"] = second;
        xl["tokenizer_2"] = json!(["transformers", "CLIPTokenizer"]);
        xl["force_zeros_for_empty_prompt"] = json!(true);
        assert_eq!(kind(xl.clone()), Ok(Kind::TextToImage));
        assert!(changed(&xl, "requires_aesthetics_score", json!(true)).contains("refiner"));
        let net = json!(["diffusers", "ControlNetModel"]);
        assert!(changed(&text, "controlnet", net).contains("ControlNetModel"));
    }

    #[test]
    fn what_is_no_pipeline_is_said_to_be_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let said = |files: &[(&str, &str)]| {
            let folder = tempfile::tempdir_in(dir.path()).unwrap();
            for (name, text) in files {
                let path = folder.path().join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            Index::read(folder.path()).unwrap_err().to_string()
        };
        let plain = r#"{"_class_name": "UNet2DModel"}"#;
        let dit = r#"{"_class_name": "DiTTransformer2DModel"}"#;
        let told = r#"{"_class_name": "UNet2DConditionModel", "x": NaN}"#;
        let latents = r#"{"_class_name": "DiTTransformer2DModel", "in_channels": 4}"#;
        let vae = r#"{"_class_name": "AutoencoderKL"}"#;
        for (files, words) in [
            (&[][..], "save_pretrained"),
            (&[("pytorch_lora_weights.safetensors", "")], "holds a LoRA"),
            (&[("adapter_config.json", "{}")], "fuse_lora"),
            (&[("config.json", plain)], "dualmd import unet"),
            (&[("config.json", dit)], "dualmd import unet"),
            (&[("config.json", dit)], "without its noise schedule"),
            (
                &[("config.json", plain), ("scheduler_config.json", "{}")],
                "UNet2DModel alone, without a model_index.json; with",
            ),
            (&[("config.json", latents)], "without its autoencoder"),
            (
                &[("config.json", latents)],
                "--autoencoder AUTOENCODER_FOLDER",
            ),
            (&[("config.json", told)], "UNet2DConditionModel alone"),
            (&[("config.json", told)], "unet=unet"),
            (&[("config.json", vae)], "model.autoencoder"),
            (&[("scheduler_config.json", "{}")], "a noise schedule alone"),
            (
                &[("diffusion_pytorch_model.safetensors", "")],
                "without the config.json",
            ),
            (
                &[("transformer/config.json", dit)],
                "which says what its parts are; they become a model",
            ),
            (&[("plan.json", "{}"), ("models/a/x", "")], "models/NAME"),
            (
                &[("optimizer.bin", ""), ("unet/config.json", plain)],
                "unet/diffusion_pytorch_model.safetensors",
            ),
            (
                &[
                    ("random_states_0.pkl", ""),
                    ("unet/config.json", plain),
                    ("unet_ema/config.json", plain),
                ],
                "unet_ema/config.json",
            ),
            (
                &[("optimizer.bin", ""), ("unet/config.json", told)],
                "unet=unet",
            ),
            (
                &[("optimizer.bin", ""), ("model.safetensors", "")],
                "checkpoint of a training",
            ),
            (
                &[
                    ("optimizer.bin", ""),
                    ("pytorch_lora_weights.safetensors", ""),
                ],
                "holds a LoRA",
            ),
        ] {
            let error = said(files);
            assert!(error.contains(words), "{error} lacks {words}");
        }
        // Parts that lie beside each other are named in the remedy; of a whole pipeline its folder.
        let parts = tempfile::tempdir_in(dir.path()).unwrap();
        let at = |name: &str, text: &str| {
            let path = parts.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        at("transformer/config.json", dit);
        at("vae/config.json", vae);
        at("scheduler/scheduler_config.json", "{}");
        let network = parts.path().join("transformer");
        let error = Index::read(&network).unwrap_err().to_string();
        for place in ["scheduler/scheduler_config.json", "vae"] {
            let place = parts.path().join(place).display().to_string();
            assert!(error.contains(&place), "{error} lacks {place}");
        }
        at("model_index.json", "{}");
        let error = Index::read(&network).unwrap_err().to_string();
        let whole = format!("of the pipeline folder {};", parts.path().display());
        assert!(error.contains(&whole), "{error} lacks {whole}");
        let missing = Index::read(&dir.path().join("none")).unwrap_err();
        assert!(missing.to_string().contains("no such folder"), "{missing}");
    }
}
