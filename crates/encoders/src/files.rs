//! The files of a transformers folder: JSON, and weights in one file or several.

use crate::{EncoderError, Result};
use dualmd_diffusion::nn::unwrapped;
use dualmd_torch::{Tensor, weights};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

const WEIGHTS: &str = "model.safetensors";
/// What a folder of half precision has in place of it.
const HALF: &str = "model.fp16.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The error of a file or folder that cannot be used.
pub fn file_error(path: &Path, reason: impl std::fmt::Display) -> EncoderError {
    EncoderError::File {
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
}

/// Reads a file of JSON, as Python writes it.
///
/// # Errors
/// A missing, oversized or malformed file, or one of other fields.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    Ok(dualmd_diffusion::read_json(path)?)
}

/// Reads the weights of `folder`, f16 and bf16 widened to f32: `model.safetensors`, or the shards of its index. `class`: what
/// saves such folders in Python.
///
/// # Errors
/// No weights, or weights as pickles, with the remedy; a damaged file.
pub fn read_weights(folder: &Path, class: &str) -> Result<BTreeMap<String, Tensor>> {
    let single = folder.join(WEIGHTS);
    if single.exists() {
        return Ok(unwrapped(weights::read_safetensors(&single)?));
    }
    let index = folder.join(INDEX);
    if index.exists() {
        return Ok(unwrapped(dualmd_diffusion::read_shards(&index)?));
    }
    let half = folder.join(HALF);
    if half.exists() {
        return Ok(unwrapped(weights::read_safetensors(&half)?));
    }
    for pickle in ["pytorch_model.bin", "pytorch_model.bin.index.json"] {
        let path = folder.join(pickle);
        if path.exists() {
            return Err(file_error(
                &path,
                format!(
                    "these weights are pickles, which can run code when opened; save them as safetensors in Python: \
                     {class}.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)"
                ),
            ));
        }
    }
    Err(file_error(
        &single,
        "is missing: the folder has no weights as safetensors (in Python: model.save_pretrained(FOLDER))",
    ))
}

/// Largest width, count or size: far above every model, and small enough that products fit i64.
pub const LARGEST: i64 = 1 << 20;

/// Refuses sizes that no model has; each with its key.
///
/// # Errors
/// The key and its size.
pub fn sized(sizes: &[(&str, i64)]) -> std::result::Result<(), String> {
    match sizes.iter().find(|(_, n)| !(1..=LARGEST).contains(n)) {
        Some((key, n)) => Err(format!("{key}: {n} must be from 1 to {LARGEST}")),
        None => Ok(()),
    }
}

/// Keys of a JSON file without a field here.
pub type Others = BTreeMap<String, Value>;

/// Refuses keys that might change what is computed; `place` is put before their names. `neutral` are known keys with the
/// one value that is implemented, `harmless` keys that change nothing. Keys that begin with an underscore are let through,
/// and so are unknown ones that are null.
///
/// # Errors
/// The key and its value.
pub fn check_others(
    place: &str,
    others: &Others,
    neutral: &[(&str, Value)],
    harmless: &[&[&str]],
) -> std::result::Result<(), String> {
    for (key, value) in others {
        if key.starts_with('_') || harmless.iter().any(|list| list.contains(&key.as_str())) {
            continue;
        }
        match neutral.iter().find(|(k, _)| k == key) {
            Some((_, allowed)) if same(allowed, value) => {}
            Some((_, allowed)) => {
                return Err(format!(
                    "{place}{key} = {value} is not supported: only {allowed} is"
                ));
            }
            None if value.is_null() => {}
            None => {
                return Err(format!(
                    "{place}{key} = {value} is not known to this program and might change what is computed; \
                     if it does not, remove the key"
                ));
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
