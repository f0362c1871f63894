//! State dicts in PyTorch's legacy format (before 1.6: a sequence of pickles followed by raw storages), for converting
//! weights that are published in no other form. The program itself never reads such a file; set-up's converter does,
//! once.
//!
//! A pickle is a program, and running it in Python can do anything. This reader is no interpreter of pickles: it knows
//! the 30 opcodes that a state dict is written with, four names (`collections.OrderedDict`,
//! `torch._utils._rebuild_tensor_v2`, `torch.FloatStorage`, `torch.LongStorage`), calls nothing, and refuses the rest.
//! Numbers of bytes and shapes are checked against what the file really holds before memory is reserved.

mod machine;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use dualmd_torch::tch::{Kind, Tensor};

use crate::error::{Result, file_error};
use machine::{Element, Machine, Value, View};

/// The first two pickles of the format: its magic number and its version, 1001.
const HEAD: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";

/// Reads every tensor (f32 or i64, made contiguous) of a legacy state dict, on the CPU.
///
/// # Errors
/// [`crate::MetricsError::File`] for a missing file, another format, an opcode or name that no state dict needs, a view
/// that leaves its storage, tensors that share a storage, or a file that is cut off.
pub fn read_legacy_state_dict(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let bytes = dualmd_files::read(path, dualmd_files::limit::WEIGHTS)?;
    parse(&bytes).map_err(|reason| file_error(path, reason))?
}

type Parsed<T> = std::result::Result<T, String>;

/// The outer error is the file's, the inner one libtorch's.
fn parse(bytes: &[u8]) -> Parsed<Result<BTreeMap<String, Tensor>>> {
    let rest = bytes.strip_prefix(HEAD).ok_or(
        "is no legacy PyTorch file; one that torch.save wrote since version 1.6 is a zip archive: save it as safetensors in Python",
    )?;
    let mut machine = Machine::new(rest);
    match machine.run()? {
        Value::Dict(system) if machine.says(system, "little_endian", true) => {}
        _ => return Err("was not written on a little-endian machine; save it again on one".into()),
    }
    let Value::Dict(state) = machine.run()? else {
        return Err("holds no dictionary of tensors; give a state dict".into());
    };
    let views = machine.views(state)?;
    let Value::List(keys) = machine.run()? else {
        return Err("has no list of storages behind its tensors; copy it again".into());
    };
    let keys = machine.texts(keys)?;
    let mut storages = HashMap::new();
    let mut data = machine.rest();
    for key in keys {
        let Some((element, numel)) = machine.storage(&key) else {
            return Err(format!("lists a storage {key} that no tensor has"));
        };
        let cut = || format!("ends within storage {key}; copy it again");
        let (count, rest) = data.split_first_chunk().ok_or_else(cut)?;
        if i64::from_le_bytes(*count) != numel as i64 {
            return Err(format!(
                "has {} numbers in storage {key}, but its tensors expect {numel}; copy it again",
                i64::from_le_bytes(*count)
            ));
        }
        let length = numel.checked_mul(element.size()).ok_or_else(cut)?;
        let (content, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        if storages.insert(key.to_string(), content).is_some() {
            return Err(format!("lists storage {key} twice; copy it again"));
        }
        data = rest;
    }
    if !data.is_empty() {
        return Err(format!("has {} bytes too many; copy it again", data.len()));
    }
    let mut tensors = Vec::new();
    for (name, view) in views {
        // Taken out, so that a small file cannot hold many tensors of one large storage.
        let content = storages.remove(&view.storage).ok_or_else(|| {
            format!("has no storage of its own for tensor {name}; tied weights are not read")
        })?;
        tensors.push((name, content, view));
    }
    Ok(tensors
        .into_iter()
        .map(|(name, content, view)| Ok((name, tensor(content, &view)?)))
        .collect())
}

/// [`Machine`] has checked that the view stays inside its storage.
fn tensor(content: &[u8], view: &View) -> Result<Tensor> {
    let kind = match view.element {
        Element::F32 => Kind::Float,
        Element::I64 => Kind::Int64,
    };
    let numel = (content.len() / view.element.size()) as i64;
    let storage = Tensor::f_from_data_size(content, &[numel], kind)?;
    let signed = |sizes: &[usize]| sizes.iter().map(|&s| s as i64).collect::<Vec<_>>();
    let view = storage.f_as_strided(
        signed(&view.shape),
        signed(&view.strides),
        view.offset as i64,
    )?;
    Ok(view.f_contiguous()?)
}

#[cfg(test)]
mod tests;
