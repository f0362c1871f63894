//! `pytorch_lora_weights.safetensors`.

use super::keys::{Layer, Role, parse};
use super::metadata::{self, Scaling};
use super::{Given, Lora};
use crate::latent::files::{create, file_error};
use crate::nn::Parameters;
use crate::{DiffusionError, Result};
use dualmd_files::limit;
use dualmd_torch::{Kind, Tensor, weights};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// diffusers' name for a file of LoRA layers.
pub const LORA_FILE: &str = "pytorch_lora_weights.safetensors";

/// The file itself, or that of a folder.
#[must_use]
pub fn path_of(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.join(LORA_FILE)
    } else {
        path.to_owned()
    }
}

/// What a file has of one layer, each with its key.
#[derive(Default)]
struct Found {
    a: Option<(String, Tensor)>,
    b: Option<(String, Tensor)>,
    alpha: Option<(String, Tensor)>,
}

/// The layers of a file for a network with these parameters.
///
/// # Errors
/// As [`crate::UNet2dCondition::load_lora`].
pub(super) fn read(path: &Path, network: &Parameters) -> Result<BTreeMap<String, Given>> {
    let tensors = weights::read_safetensors(path)?;
    let header = header(path)?;
    layers(tensors, header.as_deref(), network).map_err(|e| file_error(path, e))
}

/// The header's text about LoRA, if it has one. A safetensors file begins with the header's length, 8 bytes with the
/// lowest first, and the header's JSON, where `__metadata__` holds texts by name.
fn header(path: &Path) -> Result<Option<String>> {
    #[derive(serde::Deserialize)]
    struct Header {
        #[serde(default, rename = "__metadata__")]
        metadata: BTreeMap<String, String>,
    }
    let mut file = dualmd_files::open(path)?;
    let mut length = [0; 8];
    file.read_exact(&mut length)
        .map_err(|e| file_error(path, e))?;
    let json = file.take(u64::from_le_bytes(length).min(limit::SETTINGS));
    let mut header: Header =
        serde_json::from_reader(std::io::BufReader::new(json)).map_err(|e| file_error(path, e))?;
    Ok(header.metadata.remove(metadata::KEY))
}

fn layers(
    tensors: BTreeMap<String, Tensor>,
    header: Option<&str>,
    network: &Parameters,
) -> Result<BTreeMap<String, Given>> {
    let fail = |reason: String| Err(DiffusionError::Config(reason));
    if tensors.is_empty() {
        return fail("has no tensors".into());
    }
    let scaling = header.map(Scaling::read).transpose()?;
    // Two names of the network with the same flat form would be a puzzle; diffusers' networks have none.
    let known: BTreeMap<String, &str> = network
        .named()
        .filter_map(|(name, _)| name.strip_suffix(".weight"))
        .map(|name| (name.replace('.', "_"), name))
        .collect();
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for (key, tensor) in tensors {
        let (layer, role) = parse(&key)?;
        let name = match &layer {
            Layer::Name(name) => known.get(&name.replace('.', "_")).filter(|n| *n == name),
            Layer::Flat(flat) => known.get(flat),
        };
        let Some(name) = name else {
            return fail(format!(
                "\"{key}\" belongs to a layer that the network does not have: the file belongs to another network"
            ));
        };
        let entry = found.entry((*name).to_owned()).or_default();
        let place = match role {
            Role::A => &mut entry.a,
            Role::B => &mut entry.b,
            Role::Alpha => &mut entry.alpha,
        };
        if let Some((other, _)) = place {
            return fail(format!("\"{other}\" and \"{key}\" are the same tensor"));
        }
        *place = Some((key, tensor.to_kind(Kind::Float)));
    }
    found
        .into_iter()
        .map(|(name, found)| {
            let given = whole(&name, found, scaling.as_ref())?;
            Ok((name, given))
        })
        .collect()
}

/// A layer's tensors, if they make one.
fn whole(name: &str, found: Found, scaling: Option<&Scaling>) -> Result<Given> {
    let fail = |reason: String| Err(DiffusionError::Config(reason));
    let ((key, a), (other, b)) = match (found.a, found.b) {
        (Some(a), Some(b)) => (a, b),
        (Some((key, _)), None) | (None, Some((key, _))) => {
            return fail(format!("\"{key}\" is there without its other half"));
        }
        (None, None) => {
            return fail(format!("layer {name} has an alpha and no tensors"));
        }
    };
    let (size_a, size_b) = (a.size(), b.size());
    for (key, size) in [(&key, &size_a), (&other, &size_b)] {
        if size.len() != 2 {
            return fail(format!(
                "\"{key}\" has shape {size:?} and belongs to a convolution: only linear layers can have LoRA here"
            ));
        }
    }
    let rank = size_a[0];
    if rank < 1 || size_b[1] != rank {
        return fail(format!(
            "\"{key}\" has shape {size_a:?} and \"{other}\" {size_b:?}: their ranks differ"
        ));
    }
    let alpha = match (found.alpha, scaling) {
        (Some((key, _)), Some(_)) => {
            return fail(format!(
                "\"{key}\" and the header's {} both give an alpha; remove one of them",
                metadata::KEY
            ));
        }
        (Some((key, tensor)), None) => {
            if tensor.numel() != 1 {
                return fail(format!(
                    "\"{key}\" has shape {:?}: an alpha is one number",
                    tensor.size()
                ));
            }
            tensor.reshape([1]).double_value(&[0])
        }
        (None, Some(scaling)) => scaling.alpha(name, rank),
        (None, None) => rank as f64,
    };
    if !alpha.is_finite() {
        return fail(format!(
            "\"{key}\" has alpha {alpha}: it must be a finite number"
        ));
    }
    Ok(Given { a, b, alpha, key })
}

/// Writes the file into `folder`.
///
/// # Errors
/// As [`crate::UNet2dCondition::save_lora`].
pub(super) fn write(
    folder: &Path,
    lora: &Lora,
    tensors: Option<&[(String, Tensor)]>,
) -> Result<()> {
    let path = folder.join(LORA_FILE);
    let own = &lora.parameters.0;
    let tensors = tensors.unwrap_or(own);
    let same =
        |(a, b): (&(String, Tensor), &(String, Tensor))| a.0 == b.0 && a.1.size() == b.1.size();
    if tensors.len() != own.len() || !own.iter().zip(tensors).all(same) {
        return Err(file_error(
            &path,
            "cannot be written: the given tensors are not named and shaped as the network's LoRA layers",
        ));
    }
    create(folder)?;
    let names: Vec<String> = tensors.iter().map(|(n, _)| format!("unet.{n}")).collect();
    let named = names.iter().map(String::as_str);
    let header = metadata::write(&lora.layers);
    weights::write_safetensors(
        &path,
        named.zip(tensors.iter().map(|(_, t)| t)),
        &[("format", "pt"), (metadata::KEY, &header)],
    )?;
    Ok(())
}
