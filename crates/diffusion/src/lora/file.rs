//! `pytorch_lora_weights.safetensors`.

use super::keys::{Layer, Part, Role, is_of_two, parse};
use super::metadata::{self, Scaling};
use super::{Given, Lora, blocks};
use crate::latent::files::{create, file_error};
use crate::nn::Parameters;
use crate::{DiffusionError, Result, UNet2dCondition};
use dualmd_files::limit;
use dualmd_torch::{Kind, Tensor, weights};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// diffusers' name for a file of LoRA layers.
pub const LORA_FILE: &str = "pytorch_lora_weights.safetensors";

/// PEFT's name for it.
pub const PEFT_FILE: &str = "adapter_model.safetensors";

/// PEFT's name for what is said of it, beside it.
pub const PEFT_CONFIG: &str = "adapter_config.json";

/// The file itself, or that of a folder: diffusers', or PEFT's where there is none of diffusers'.
#[must_use]
pub fn path_of(path: &Path) -> PathBuf {
    if !path.is_dir() {
        return path.to_owned();
    }
    let (own, peft) = (path.join(LORA_FILE), path.join(PEFT_FILE));
    if peft.exists() && !own.exists() {
        peft
    } else {
        own
    }
}

/// All that a LoRA depends on, in the file or folder `path`: the file, and PEFT's configuration where the file is PEFT's.
#[must_use]
pub fn files_of(path: &Path) -> Vec<PathBuf> {
    let file = path_of(path);
    let config = file.with_file_name(PEFT_CONFIG);
    let told = file.ends_with(PEFT_FILE) && config.is_file();
    let mut files = vec![file];
    files.extend(told.then_some(config));
    files
}

/// What a file has of one layer, each with its key.
#[derive(Default)]
struct Found {
    a: Option<(String, Tensor)>,
    b: Option<(String, Tensor)>,
    alpha: Option<(String, Tensor)>,
}

impl Found {
    /// Takes the tensor `key`.
    fn take(&mut self, role: Role, key: String, tensor: Tensor) -> Result<()> {
        let place = match role {
            Role::A => &mut self.a,
            Role::B => &mut self.b,
            Role::Alpha => &mut self.alpha,
        };
        if let Some((other, _)) = place {
            return Err(DiffusionError::Config(format!(
                "\"{other}\" and \"{key}\" are the same tensor"
            )));
        }
        *place = Some((key, tensor.to_kind(Kind::Float)));
        Ok(())
    }
}

/// The layers of a file, by their names.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// Those of the U-Net.
    pub(super) unet: BTreeMap<String, Given>,
    /// Those of the text encoder, or of the first of two.
    pub(super) text: BTreeMap<String, Given>,
    /// Those of the second.
    pub(super) second: BTreeMap<String, Given>,
}

/// The layers of a file for a U-Net with these parameters, and for the text encoders beside it. `texts`: none where they cannot be
/// changed, or are not there; a file that changes them is refused then.
///
/// # Errors
/// As [`crate::UNet2dCondition::load_lora`].
pub(super) fn read(
    path: &Path,
    unet: &UNet2dCondition,
    texts: [Option<&Parameters>; 2],
) -> Result<Layers> {
    let tensors = weights::read_safetensors(path)?;
    let header = match header(path)? {
        None => beside(path)?,
        found => found,
    };
    layers(tensors, header.as_deref(), unet, texts).map_err(|e| file_error(path, e))
}

/// The layers of a file, whatever network they are of, by names that have underscores for dots, and `unet_` or `text_` in front.
///
/// # Errors
/// As [`crate::lora::singular_values`].
pub(super) fn read_alone(path: &Path) -> Result<BTreeMap<String, Given>> {
    let tensors = weights::read_safetensors(path)?;
    let header = match header(path)? {
        None => beside(path)?,
        found => found,
    };
    alone(tensors, header.as_deref()).map_err(|e| file_error(path, e))
}

fn alone(
    tensors: BTreeMap<String, Tensor>,
    header: Option<&str>,
) -> Result<BTreeMap<String, Given>> {
    let fail = |reason: String| Err(DiffusionError::Config(reason));
    if tensors.is_empty() {
        return fail("has no tensors".into());
    }
    // By flat names, with the name that the file has.
    let mut found: BTreeMap<(Part, String), (String, Found)> = BTreeMap::new();
    for (key, tensor) in tensors {
        let (part, layer, role) = parse(&key)?;
        let (Layer::Name(name) | Layer::Flat(name)) = layer;
        let entry = found.entry((part, name.replace('.', "_"))).or_default();
        entry.0 = name;
        entry.1.take(role, key, tensor)?;
    }
    let mut layers = BTreeMap::new();
    for ((part, flat), (name, found)) in found {
        let scaling = match header {
            Some(header) => Scaling::read(header, part)?,
            None => None,
        };
        let of = match part {
            Part::Unet => "unet",
            Part::Text => "text",
            Part::Second => "text_2",
        };
        let given = whole(&name, found, scaling.as_ref())?;
        layers.insert(format!("{of}_{flat}"), given);
    }
    Ok(layers)
}

/// What PEFT says of its file in another one.
fn beside(path: &Path) -> Result<Option<String>> {
    let config = path.with_file_name(PEFT_CONFIG);
    if !path.ends_with(PEFT_FILE) || !config.is_file() {
        return Ok(None);
    }
    Ok(Some(dualmd_files::read_text(&config, limit::SETTINGS)?))
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

/// Names of a network's layers by their flat form. Two names with the same one would be a puzzle; the networks here have none.
fn names(network: Option<&Parameters>) -> BTreeMap<String, &str> {
    let named = network.into_iter().flat_map(Parameters::named);
    named
        .filter_map(|(name, _)| name.strip_suffix(".weight"))
        .map(|name| (name.replace('.', "_"), name))
        .collect()
}

fn layers(
    tensors: BTreeMap<String, Tensor>,
    header: Option<&str>,
    unet: &UNet2dCondition,
    texts: [Option<&Parameters>; 2],
) -> Result<Layers> {
    let fail = |reason: String| Err(DiffusionError::Config(reason));
    if tensors.is_empty() {
        return fail("has no tensors".into());
    }
    let scaling = |part| -> Result<Option<Scaling>> {
        Ok(match header {
            Some(header) => Scaling::read(header, part)?,
            None => None,
        })
    };
    let scalings = [
        scaling(Part::Unet)?,
        scaling(Part::Text)?,
        scaling(Part::Second)?,
    ];
    let of_unet = names(Some(unet.parameters()));
    let [of_text, of_second] = texts.map(names);
    // kohya's trainer has other names for the blocks of XL's U-Net.
    let originals: BTreeMap<String, &str> = of_unet
        .values()
        .filter_map(|name| {
            let original = blocks::original(name, unet.config().layers_per_block)?;
            Some((original.replace('.', "_"), *name))
        })
        .collect();
    let mut found: BTreeMap<(Part, String), Found> = BTreeMap::new();
    for (key, tensor) in tensors {
        let (part, layer, role) = parse(&key)?;
        let known = match part {
            Part::Unet => &of_unet,
            Part::Text | Part::Second
                if texts[0].is_some() && texts[1].is_none() && is_of_two(&key, part) =>
            {
                return fail(format!(
                    "\"{key}\" belongs to one of two text encoders, as Stable Diffusion XL has them: the file belongs to another network"
                ));
            }
            Part::Text if texts[0].is_some() => &of_text,
            Part::Second if texts[1].is_some() => &of_second,
            Part::Text | Part::Second => {
                return fail(format!(
                    "\"{key}\" belongs to the text encoder, and here only a network's own layers can change; fuse the LoRA into \
                     its base in Python (pipeline.fuse_lora(), pipeline.unload_lora_weights(), save_pretrained)"
                ));
            }
        };
        let name = match &layer {
            // transformers 5 leaves out what its older versions put before all names of its text model.
            Layer::Name(name) if part != Part::Unet && !name.starts_with(TEXT_MODEL) => {
                known_by(known, &format!("{TEXT_MODEL}{name}")).or_else(|| known_by(known, name))
            }
            Layer::Name(name) => known_by(known, name),
            Layer::Flat(flat) => match known.get(flat) {
                None if part == Part::Unet => originals.get(flat).copied(),
                found => found.copied(),
            },
        };
        let Some(name) = name else {
            return fail(format!(
                "\"{key}\" belongs to a layer that the network does not have: the file belongs to another network"
            ));
        };
        let entry = found.entry((part, name.to_owned())).or_default();
        entry.take(role, key, tensor)?;
    }
    let mut layers = Layers::default();
    let [of_unet, of_text, of_second] = scalings;
    for ((part, name), found) in found {
        let (into, scaling) = match part {
            Part::Unet => (&mut layers.unet, &of_unet),
            Part::Text => (&mut layers.text, &of_text),
            Part::Second => (&mut layers.second, &of_second),
        };
        let given = whole(&name, found, scaling.as_ref())?;
        into.insert(name, given);
    }
    Ok(layers)
}

/// What the names of CLIP's text model begin with.
const TEXT_MODEL: &str = "text_model.";

/// The network's name for the layer `name`, if it has it.
fn known_by<'a>(known: &BTreeMap<String, &'a str>, name: &str) -> Option<&'a str> {
    let found = known.get(&name.replace('.', "_")).copied();
    found.filter(|own| *own == name)
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
    let tensors = of(lora, tensors, &path)?;
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

/// The tensors that are to be written for `lora` to `path`: its own, or others of the same names and shapes.
///
/// # Errors
/// Tensors of other names or shapes.
pub(super) fn of<'a>(
    lora: &'a Lora,
    tensors: Option<&'a [(String, Tensor)]>,
    path: &Path,
) -> Result<&'a [(String, Tensor)]> {
    let own = &lora.parameters.0;
    let tensors = tensors.unwrap_or(own);
    let same =
        |(a, b): (&(String, Tensor), &(String, Tensor))| a.0 == b.0 && a.1.size() == b.1.size();
    if tensors.len() != own.len() || !own.iter().zip(tensors).all(same) {
        return Err(file_error(
            path,
            "cannot be written: the given tensors are not named and shaped as the network's LoRA layers",
        ));
    }
    Ok(tensors)
}
