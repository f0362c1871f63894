//! Folders that hold an adapter alone, and name the model that it is added to: PEFT's form.
//!
//! Such a folder has `adapter_config.json`, whose `base_model_name_or_path` is the folder of the base, and LoRA layers as diffusers or
//! PEFT write them ([`crate::lora`]). It takes megabytes, and opens as base and adapter together.

use crate::Result;
use crate::latent::files::{file_error, read_json};
use crate::lora::{LORA_FILE, PEFT_CONFIG, PEFT_FILE, path_of};
use crate::pipeline::WeightSet;
use std::path::{Path, PathBuf};

/// Folder of the raw weights' layers within that of an adapter, whose own are the moving average.
pub const RAW: &str = "raw";

/// An adapter and its base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterFolder {
    /// The folder of the model that the layers are added to.
    pub base: PathBuf,
    /// The file of the layers.
    pub lora: PathBuf,
}

impl AdapterFolder {
    /// Is `folder` one of an adapter alone? (One that also holds the sum is a model.)
    #[must_use]
    pub fn is_one(folder: &Path) -> bool {
        let has = |name: &str| folder.join(name).is_file();
        has(PEFT_CONFIG) && !has("model_index.json") && (has(LORA_FILE) || has(PEFT_FILE))
    }

    /// What `folder` names; `None` of a folder that is none of an adapter alone, or whose adapter names no base.
    ///
    /// # Errors
    /// A configuration that cannot be read; a base that is no folder here; `set` names raw weights and the folder has none.
    pub fn of(folder: &Path, set: WeightSet) -> Result<Option<Self>> {
        #[derive(serde::Deserialize)]
        struct Config {
            #[serde(default)]
            base_model_name_or_path: Option<String>,
        }
        if !Self::is_one(folder) {
            return Ok(None);
        }
        let path = folder.join(PEFT_CONFIG);
        let config: Config = read_json(&path)?;
        let named = config.base_model_name_or_path.unwrap_or_default();
        if named.is_empty() {
            return Ok(None);
        }
        // From here, as this program writes it, or as it was given to whoever wrote it.
        let places = [folder.join(&named), PathBuf::from(&named)];
        let Some(base) = places.into_iter().find(|place| place.is_dir()) else {
            return Err(file_error(
                &path,
                format!(
                    "base_model_name_or_path = \"{named}\" is no folder here: put the base there, write its folder into the file, or name it \
                     (BASE --lora {})",
                    folder.display()
                ),
            ));
        };
        if Self::is_one(&base) {
            return Err(file_error(
                &path,
                format!(
                    "base_model_name_or_path = \"{named}\" is an adapter itself, and not a model"
                ),
            ));
        }
        let lora = set.among(path_of(folder), folder.join(RAW).join(LORA_FILE))?;
        Ok(Some(Self { base, lora }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_an_adapter_names_its_base() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let adapter = at("models/one");
        std::fs::create_dir_all(&adapter).unwrap();
        std::fs::create_dir_all(at("models/base")).unwrap();
        let of = |set| AdapterFolder::of(&adapter, set);
        let says = |text: &str| std::fs::write(adapter.join(PEFT_CONFIG), text).unwrap();
        assert_eq!(of(WeightSet::Ema).unwrap(), None, "an empty folder");
        says(r#"{"base_model_name_or_path": "../base"}"#);
        assert_eq!(of(WeightSet::Ema).unwrap(), None, "no layers");
        std::fs::write(adapter.join(PEFT_FILE), b"").unwrap();
        let found = of(WeightSet::Ema).unwrap().unwrap();
        assert_eq!(found.lora, adapter.join(PEFT_FILE));
        assert_eq!(
            found.base.canonicalize().unwrap(),
            at("models/base").canonicalize().unwrap()
        );
        std::fs::write(adapter.join(LORA_FILE), b"").unwrap();
        let found = of(WeightSet::Ema).unwrap().unwrap();
        assert_eq!(found.lora, adapter.join(LORA_FILE));
        let refused = of(WeightSet::Raw).unwrap_err().to_string();
        assert!(refused.contains("--weights ema"), "{refused}");
        // A name of a repository, and a folder that is an adapter again.
        for (base, why) in [("someone/model", "--lora"), (".", "an adapter itself")] {
            says(&format!("{{\"base_model_name_or_path\": \"{base}\"}}"));
            let refused = of(WeightSet::Ema).unwrap_err().to_string();
            assert!(refused.contains(base) && refused.contains(why), "{refused}");
        }
        says("{}");
        assert_eq!(of(WeightSet::Ema).unwrap(), None, "no base");
        says(r#"{"base_model_name_or_path": "../base"}"#);
        std::fs::write(adapter.join("model_index.json"), b"{}").unwrap();
        assert_eq!(of(WeightSet::Ema).unwrap(), None, "a model");
    }
}
