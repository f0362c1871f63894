//! The files of a pipeline folder's parts: JSON, weights in one file or several, and keys of a config.json that this
//! program has no field for.

pub(crate) use crate::json::read_json;
use crate::{DiffusionError, Result};
use dualmd_torch::weights::{self, Halves};
use dualmd_torch::{Device, Tensor};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Base name of the weights of a diffusers part.
pub(crate) const DIFFUSERS: &str = "diffusion_pytorch_model";
/// Base name of the weights of a transformers part.
pub(crate) const TRANSFORMERS: &str = "model";

pub(crate) fn file_error(path: &Path, reason: impl std::fmt::Display) -> DiffusionError {
    DiffusionError::File {
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
}

pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| file_error(path, e))?;
    text.push(b'\n');
    Ok(dualmd_files::write(path, &text)?)
}

pub(crate) fn create(folder: &Path) -> Result<()> {
    Ok(dualmd_files::create_folder(folder)?)
}

/// Reads the safetensors `base` of `folder`, f16 and bf16 widened to f32: one file, or the shards of an index; the `fp16`
/// variants of both where the plain ones are missing.
pub(crate) fn read_weights(folder: &Path, base: &str) -> Result<BTreeMap<String, Tensor>> {
    read_weights_to(folder, base, Halves::Widened, Device::Cpu)
}

/// As [`read_weights`], with a choice of what becomes of f16 and bf16, and moved to `device` one by one.
pub(crate) fn read_weights_to(
    folder: &Path,
    base: &str,
    halves: Halves,
    device: Device,
) -> Result<BTreeMap<String, Tensor>> {
    let single = folder.join(format!("{base}.safetensors"));
    for (name, in_shards) in [
        (format!("{base}.safetensors"), false),
        (format!("{base}.safetensors.index.json"), true),
        (format!("{base}.fp16.safetensors"), false),
        // As versions of diffusers and transformers have named it.
        (format!("{base}.safetensors.index.fp16.json"), true),
        (format!("{base}.safetensors.fp16.index.json"), true),
        (format!("{base}.fp16.safetensors.index.json"), true),
    ] {
        let path = folder.join(name);
        if !path.exists() {
            continue;
        }
        return if in_shards {
            shards(&path, halves, device)
        } else {
            Ok(weights::read_weights_to(&path, halves, device)?)
        };
    }
    for name in [format!("{base}.bin"), format!("pytorch_{base}.bin")] {
        let pickle = folder.join(name);
        if pickle.exists() {
            // Refuses with the reason and the remedy.
            return Ok(weights::read_safetensors(&pickle)?);
        }
    }
    Err(file_error(
        &single,
        "is missing: the folder has no weights as safetensors (in Python: save_pretrained(folder, safe_serialization=True))",
    ))
}

/// Reads the weights of a folder of a network of diffusers': one file of safetensors, or the shards of an index.
///
/// # Errors
/// What is missing or cannot be read, by name.
pub fn read_network(folder: &Path) -> Result<BTreeMap<String, Tensor>> {
    read_weights(folder, DIFFUSERS)
}

/// Reads the shards that an index (`*.safetensors.index.json`) names, which lie beside it.
///
/// # Errors
/// An index or a shard that cannot be read, a shard outside the folder; by name.
pub fn read_shards(index: &Path) -> Result<BTreeMap<String, Tensor>> {
    shards(index, Halves::Widened, Device::Cpu)
}

fn shards(index: &Path, halves: Halves, device: Device) -> Result<BTreeMap<String, Tensor>> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, PathBuf>,
    }
    let map: Index = read_json(index)?;
    let mut files: Vec<_> = map.weight_map.values().collect();
    files.sort();
    files.dedup();
    let mut all = BTreeMap::new();
    for file in files {
        if file.file_name() != Some(file.as_os_str()) || file.to_string_lossy().contains('\\') {
            return Err(file_error(
                index,
                format!("names a shard outside its folder: {}", file.display()),
            ));
        }
        let shard = index.with_file_name(file);
        all.extend(weights::read_weights_to(&shard, halves, device)?);
    }
    Ok(all)
}

/// Keys of a config.json without a field here, kept so that the file is written back whole.
pub(crate) type Others = BTreeMap<String, Value>;

/// What diffusers' `EMAModel.save_pretrained` adds to a network's configuration: how the average was taken.
pub(crate) const EMA: &[&str] = &[
    "decay",
    "inv_gamma",
    "min_decay",
    "optimization_step",
    "power",
    "update_after_step",
    "use_ema_warmup",
];

/// Refuses keys that might change what a network computes. `neutral` are known keys with the one value that is
/// implemented; `harmless` are keys that change nothing. Keys that begin with an underscore are let through, and so are
/// unknown ones that are null.
pub(crate) fn check_others(
    others: &Others,
    neutral: &[(&str, Value)],
    harmless: &[&str],
) -> Result<()> {
    for (key, value) in others {
        if key.starts_with('_') || harmless.contains(&key.as_str()) {
            continue;
        }
        match neutral.iter().find(|(k, _)| k == key) {
            Some((_, allowed)) if same(allowed, value) => {}
            Some((_, allowed)) => {
                return Err(DiffusionError::Config(format!(
                    "{key} = {value} is not supported: only {allowed} is"
                )));
            }
            None if value.is_null() => {}
            None => {
                return Err(DiffusionError::Config(format!(
                    "{key} = {value} is not known to this program and might change what the network computes; \
                     if it does not, remove the key"
                )));
            }
        }
    }
    Ok(())
}

/// Equal JSON, 1 and 1.0 being the same.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn other_keys_are_let_through_refused_or_unknown_by_name() {
        let neutral = [("scale", json!(1.0)), ("dual", json!(false))];
        let check = |value: Value| {
            let others: Others = serde_json::from_value(value).unwrap();
            check_others(&others, &neutral, &["title"])
        };
        check(json!({"scale": 1, "dual": false, "title": "x", "new": null, "_commit_hash": "abc"}))
            .unwrap();
        let error = check(json!({"scale": 2})).unwrap_err().to_string();
        assert!(
            error.contains("scale = 2") && error.contains("1.0"),
            "{error}"
        );
        check(json!({"dual": null})).unwrap_err();
        let error = check(json!({"new": true})).unwrap_err().to_string();
        assert!(error.contains("new = true"), "{error}");
    }

    #[test]
    fn weights_come_from_one_file_from_shards_and_from_half_precision() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, tensors: &[(&str, &Tensor)]| {
            weights::write_safetensors(&dir.path().join(name), tensors.iter().copied(), &[])
                .unwrap();
        };
        let (a, b) = (
            Tensor::from_slice(&[1.0f32, 2.0]),
            Tensor::from_slice(&[3.0f32]),
        );
        let error = read_weights(dir.path(), "m").unwrap_err().to_string();
        assert!(error.contains("m.safetensors"), "{error}");
        write("m-00001-of-00002.safetensors", &[("a", &a)]);
        write("m-00002-of-00002.safetensors", &[("b", &b)]);
        let index = dir.path().join("m.safetensors.index.json");
        write_json(
            &index,
            &json!({"metadata": {}, "weight_map": {"a": "m-00001-of-00002.safetensors", "b": "m-00002-of-00002.safetensors"}}),
        )
        .unwrap();
        let all = read_weights(dir.path(), "m").unwrap();
        assert_eq!(all.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(f32::try_from(&all["b"].squeeze()).unwrap(), 3.0);
        write_json(&index, &json!({"weight_map": {"a": "../m.safetensors"}})).unwrap();
        let error = read_weights(dir.path(), "m").unwrap_err().to_string();
        assert!(error.contains("outside its folder"), "{error}");
        std::fs::remove_file(&index).unwrap();
        write("m.fp16.safetensors", &[("a", &a)]);
        assert_eq!(read_weights(dir.path(), "m").unwrap().len(), 1);
        std::fs::write(dir.path().join("pytorch_model.bin"), b"x").unwrap();
        let error = read_weights(dir.path(), "model").unwrap_err().to_string();
        assert!(error.contains("pickle"), "{error}");
    }
}
