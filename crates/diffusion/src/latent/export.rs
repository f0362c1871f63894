//! A DualMD pair as one folder for Python: `unet/` and `unet_2/`, the parts both models share, and a pipeline class of its
//! own, `pipeline.py`, with which diffusers samples the pair:
//!
//! ```python
//! pipe = DiffusionPipeline.from_pretrained(folder, custom_pipeline=folder, trust_remote_code=True)
//! ```
//!
//! The class does what [`crate::DualDenoiser`] does here in the order of the paper: the first model takes the first step,
//! then they take turns; under guidance one model does both halves of its step.

use super::files::{DIFFUSERS, create, file_error, read_json, write_json};
use super::load::{Whose, as_the_pipeline_samples};
use super::{Parts, TextToImage, save_part};
use crate::AdapterFolder;
use crate::backbone::TRANSFORMER;
use crate::index::{Index, Kind};
use crate::nn::wrapper_of;
use crate::pipeline::{AUTOENCODER, WeightSet};
use crate::schedule::SchedulerConfig;
use crate::{DiffusionError, NoiseSchedule, Result, UNet2dConditionConfig, UNet2dConfig};
use dualmd_files::Building;
use dualmd_torch::{Device, weights};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The pipeline's Python code.
const PIPELINE: &str = include_str!("../../../../interop/dualmd_pipeline.py");

/// Parts that a pair has once.
const SHARED: [&str; 4] = ["vae", "text_encoder", "tokenizer", "scheduler"];

/// Writes the pair of the folders `first` and `second` (their `unet/`, the exponential moving average) to `out`, which must
/// be new or empty. Both are text-to-image folders, with an autoencoder or of pixels, or both are unconditional ones. For a folder of an
/// adapter alone it is the base and the adapter added up. Other weights are copied as they are (safetensors only). The scheduler becomes
/// DDIM with the settings with which this program samples the first folder, whatever class it names: a solver with a history would mix
/// both models' predictions. Other parts of the folders (a safety checker) stay behind.
///
/// # Errors
/// Folders that are not of such models; shared parts, or sizes of the networks, that differ (names what does); a folder
/// given twice; `out` with something in it; what copying gives, naming the file.
pub fn export_pair(first: &Path, second: &Path, out: &Path) -> Result<()> {
    if dualmd_files::list(out).is_ok_and(|entries| !entries.is_empty()) {
        return Err(file_error(
            out,
            "is not empty: name a new folder for the pair",
        ));
    }
    let canonical = |path: &Path| path.canonicalize().map_err(|e| file_error(path, e));
    if canonical(first)? == canonical(second)? {
        return Err(file_error(
            first,
            "is given twice: a pair needs two models, trained on different halves of the data",
        ));
    }
    let (whole, other) = (whole_of(first)?, whole_of(second)?);
    let (one, two) = (Half::open(&whole)?, Half::open(&other)?);
    one.agree_with(&two)?;
    let schedule = one.schedule()?;

    // A new folder is whole, or not there.
    let building = (!out.exists()).then(|| Building::new(out)).transpose();
    let building = building.map_err(|e| file_error(out, e))?;
    let named = out;
    let out = building.as_ref().map_or(out, Building::path);
    let networks = [(first, &whole, "unet"), (second, &other, "unet_2")];
    let shared = SHARED.iter().filter(|p| **p != "scheduler" && one.has(p));
    let shared: Vec<_> = shared.map(|&part| (whole.join(part), part)).collect();
    let copied = shared.iter().map(|(part, _)| part.clone());
    for part in copied.chain(networks.map(|(_, folder, _)| folder.join("unet"))) {
        check_weights(&part)?;
    }
    for (given, folder, name) in networks {
        if given == folder {
            copy(&folder.join("unet"), &out.join(name))?;
        } else {
            let model = TextToImage::load(given, WeightSet::Ema, Parts::UNET, Device::Cpu)?;
            let (config, weights) = (model.unet.config(), &model.unet.parameters().0);
            save_part(&out.join(name), DIFFUSERS, config, weights)?;
        }
    }
    for (part, name) in &shared {
        copy(part, &out.join(name))?;
    }
    create(&out.join("scheduler"))?;
    write_json(&out.join("scheduler/scheduler_config.json"), &schedule)?;
    let code = out.join("pipeline.py");
    dualmd_files::write(&code, PIPELINE.as_bytes())?;
    // The index goes last: a folder that has it is complete.
    write_json(&out.join("model_index.json"), &one.pair_index())?;
    match building {
        Some(building) => building.finish().map_err(|e| file_error(named, e)),
        None => Ok(()),
    }
}

/// The folder of the model that `folder` is of: itself, or the base of an adapter's.
fn whole_of(folder: &Path) -> Result<PathBuf> {
    let adapter = AdapterFolder::of(folder, WeightSet::Ema)?;
    Ok(adapter.map_or_else(|| folder.to_owned(), |adapter| adapter.base))
}

/// Copies the files of a part.
fn copy(part: &Path, to: &Path) -> Result<()> {
    create(to)?;
    for file in files_of(part)? {
        let mut from = dualmd_files::open(&part.join(&file))?;
        let target = to.join(&file);
        dualmd_files::write_with(&target, |to| std::io::copy(&mut from, to).map(drop))?;
    }
    Ok(())
}

/// One of the two folders.
struct Half<'a> {
    folder: &'a Path,
    index: Index,
    /// What both networks must have in common, by the key of `unet/config.json`.
    sizes: Vec<(&'static str, Value)>,
    conditional: bool,
}

impl<'a> Half<'a> {
    fn open(folder: &'a Path) -> Result<Self> {
        let index = Index::read(folder)?;
        let kind = index.kind()?;
        let conditional = kind == Kind::TextToImage;
        if index.part(TRANSFORMER).is_some() {
            return Err(index.error(
                "is of a transformer, for which the pair's pipeline has no place; here the pair is audited and sampled by its two folders",
            ));
        }
        if index.part(AUTOENCODER).is_some() {
            return Err(index.error(
                "is of a model of latents without a text, for which the pair's pipeline has no place; in Python load both folders and take \
                 turns with dualmd.DualMDPipeline(pipe_1, pipe_2)",
            ));
        }
        if index.is_xl() {
            return Err(index.error(
                "is of a model with two text encoders, for which the pair's pipeline has no place; in Python load both folders and take turns \
                 with dualmd.DualMDPipeline(pipe_1, pipe_2)",
            ));
        }
        let unet = folder.join("unet");
        if !unet.is_dir() {
            return Err(file_error(
                folder,
                "has its files in one folder, as old repositories do; write it anew first: dualmd export copy MODEL -o NEW",
            ));
        }
        let config = unet.join("config.json");
        let value: Value = read_json(&config)?;
        let sizes = match kind {
            Kind::TextToImage => {
                let unet =
                    UNet2dConditionConfig::read(&value).map_err(|e| file_error(&config, e))?;
                vec![
                    ("in_channels", json!(unet.in_channels)),
                    ("sample_size", json!(unet.sample_size)),
                    ("cross_attention_dim", json!(unet.cross_attention_dim)),
                ]
            }
            Kind::Unconditional => {
                let unet = UNet2dConfig::read(&value).map_err(|e| file_error(&config, e))?;
                if unet.num_class_embeds.is_some() || unet.predicts_variance() {
                    return Err(file_error(
                        &config,
                        "is of a network that is told classes or also predicts a variance, which the pair's pipeline does not know; here \
                         the pair is audited and sampled by its two folders",
                    ));
                }
                vec![
                    ("in_channels", json!(unet.in_channels)),
                    ("sample_size", json!(unet.sample_size)),
                ]
            }
        };
        let half = Self {
            folder,
            index,
            sizes,
            conditional,
        };
        let weights = files_of(&folder.join("unet"))?;
        if !weights
            .iter()
            .any(|f| f.extension().is_some_and(|e| e == "safetensors"))
        {
            return Err(file_error(
                &folder.join("unet"),
                "has no weights as safetensors (in Python: save_pretrained(folder, safe_serialization=True))",
            ));
        }
        Ok(half)
    }

    fn has(&self, part: &str) -> bool {
        self.index.part(part).is_some()
    }

    /// Refuses what cannot be a pair.
    fn agree_with(&self, other: &Self) -> Result<()> {
        let differ = |reason: String| Err(file_error(other.folder, reason));
        let first = self.folder.display();
        if self.conditional != other.conditional {
            return differ(format!(
                "and {first} cannot be a pair: one is told a text, the other is unconditional"
            ));
        }
        for ((key, ours), (_, theirs)) in self.sizes.iter().zip(&other.sizes) {
            if ours != theirs {
                return differ(format!(
                    "has {key} = {theirs} in unet/config.json, {first} has {ours}: a pair needs networks of the same shape"
                ));
            }
        }
        for part in SHARED {
            if self.has(part) != other.has(part) {
                let who = if self.has(part) { self } else { other };
                return differ(format!(
                    "and {first} cannot be a pair: only {} has a {part}",
                    who.folder.display()
                ));
            }
            if self.has(part) {
                same_files(&self.folder.join(part), &other.folder.join(part))?;
            }
        }
        Ok(())
    }

    /// The scheduler's configuration of the pair.
    fn schedule(&self) -> Result<Value> {
        let path = self.folder.join("scheduler").join("scheduler_config.json");
        let read: Value = read_json(&path)?;
        let class = self.index.part("scheduler");
        let config = if self.conditional {
            as_the_pipeline_samples(&read, class, Whose::of(self.has("vae"), false))
        } else {
            SchedulerConfig::read(&read, class)
        };
        let config = config
            .and_then(NoiseSchedule::new)
            .map_err(|e| file_error(&path, e))?;
        if config.is_flow() {
            return Err(file_error(
                &path,
                "is of flow matching, and the pair's pipeline samples with DDIM; in Python load both folders and take turns with \
                 dualmd.DualMDPipeline(pipe_1, pipe_2)",
            ));
        }
        let config = SchedulerConfig {
            class_name: "DDIMScheduler".into(),
            ..config.config().clone()
        };
        let mut value = serde_json::to_value(config).map_err(|e| file_error(&path, e))?;
        if let Some(keys) = value.as_object_mut() {
            // DDIM has no such key, and diffusers warns of keys that it does not know.
            keys.remove("variance_type");
        }
        Ok(value)
    }

    fn pair_index(&self) -> Value {
        let own = self.index.value();
        let mut index = json!({
            "_class_name": ["pipeline", "DualMDPipeline"],
            "_diffusers_version": own["_diffusers_version"],
            "scheduler": ["diffusers", "DDIMScheduler"],
            "unet": own["unet"],
            "unet_2": own["unet"],
        });
        if self.conditional {
            for part in ["vae", "text_encoder", "tokenizer"] {
                index[part] = if self.has(part) {
                    own[part].clone()
                } else {
                    json!([null, null])
                };
            }
        }
        index
    }
}

/// Files of a part that a pair needs, by their paths inside: configurations, vocabularies and safetensors, not pickles.
fn files_of(part: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    for path in dualmd_files::list(part)? {
        let known = path
            .extension()
            .is_some_and(|e| e == "json" || e == "txt" || e == "safetensors");
        if let Some(name) = path.file_name()
            && known
            && path.is_file()
        {
            files.insert(name.into());
        }
    }
    Ok(files)
}

/// Refuses weights that are no numbers, or that diffusers would not find under their names: they are copied as they are.
fn check_weights(part: &Path) -> Result<()> {
    for name in files_of(part)? {
        let path = part.join(name);
        if path.extension().is_none_or(|e| e != "safetensors") {
            continue;
        }
        let tensors = weights::read_safetensors(&path)?;
        if let Some(wrapper) = wrapper_of(tensors.keys()) {
            return Err(file_error(
                &path,
                format!(
                    "every name in it begins with \"{wrapper}\", which a wrapper of PyTorch put there and diffusers does not know; \
                     write the folder anew first: dualmd export copy MODEL -o NEW"
                ),
            ));
        }
    }
    Ok(())
}

/// Refuses a part that differs between the two folders.
fn same_files(ours: &Path, theirs: &Path) -> Result<()> {
    let (a, b) = (files_of(ours)?, files_of(theirs)?);
    if let Some(name) = a.symmetric_difference(&b).next() {
        let (has, lacks) = if a.contains(name) {
            (ours, theirs)
        } else {
            (theirs, ours)
        };
        return Err(file_error(
            &has.join(name),
            format!(
                "is not in {}: the models of a pair share this part, file for file",
                lacks.display()
            ),
        ));
    }
    for name in a {
        let (one, two) = (ours.join(&name), theirs.join(name));
        if !same_bytes(&one, &two)? {
            return Err(file_error(
                &two,
                format!(
                    "differs from {}: the models of a pair share this part, byte for byte",
                    one.display()
                ),
            ));
        }
    }
    Ok(())
}

fn same_bytes(one: &Path, two: &Path) -> Result<bool> {
    let open = |path: &Path| {
        let file = dualmd_files::open(path)?;
        let length = file.metadata().map_err(|e| file_error(path, e))?.len();
        Ok::<_, DiffusionError>((file, length))
    };
    let ((mut a, length), (mut b, other)) = (open(one)?, open(two)?);
    if length != other {
        return Ok(false);
    }
    const CHUNK: u64 = 1 << 20;
    let mut left = length;
    let (mut from_a, mut from_b) = (vec![0; CHUNK as usize], vec![0; CHUNK as usize]);
    while left > 0 {
        let n = left.min(CHUNK) as usize;
        a.read_exact(&mut from_a[..n])
            .map_err(|e| file_error(one, e))?;
        b.read_exact(&mut from_b[..n])
            .map_err(|e| file_error(two, e))?;
        if from_a[..n] != from_b[..n] {
            return Ok(false);
        }
        left -= n as u64;
    }
    Ok(true)
}
