//! Conditional models of a run: what training starts from, and the images' texts or classes.

use super::hashes::{hash_tensor, hash_values};
use super::train_images::TrainImages;
use crate::RunFolder;
use crate::engine::Engine;
use crate::experiment::Experiment;
use crate::plan::{BASE, Job, JobKind, Plan};
use anyhow::{Context, Result, anyhow, bail};
use dualmd_data::{ImageSet, Record};
use dualmd_defense::Captions;
use dualmd_diffusion::latent::{Parts, TextEncoder, TextToImage};
use dualmd_diffusion::nn::Parameters;
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::{
    Autoencoder, AutoencoderKl, Condition, Labels, LoraConfig, Model, UNet2dCondition,
    UNet2dConditionConfig, VqModel,
};
use dualmd_torch::device::Precision;
use dualmd_torch::weights::{Halves, read_safetensors, write_safetensors};
use dualmd_torch::{Device, Tensor, no_grad};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Prompts encoded at a time.
const CHUNK: usize = 64;
/// Images through the autoencoder at a time: at 512 px one of Stable Diffusion's activations takes 134 MB an image.
const IMAGES: i64 = 4;

/// What conditional models are told while they draw.
pub struct Prompts {
    /// A text or a class for each image, N rows.
    pub condition: Condition,
    /// The empty text, or no label, one row.
    pub nothing: Condition,
    /// Guidance scale.
    pub guidance: f64,
}

impl Prompts {
    /// Images that there are prompts for.
    pub fn count(&self) -> usize {
        usize::try_from(self.condition.len()).unwrap_or(0)
    }

    /// The prompts of `n` images from `first` on.
    pub fn part(&self, first: i64, n: i64) -> Self {
        Self {
            condition: self.condition.narrow(first, n),
            nothing: self.nothing.again(),
            guidance: self.guidance,
        }
    }
}

/// What all models of an experiment start from, if no model of its own is trained first: the folder `model.base`, or a fresh
/// model of the preset with the experiment's changes. Text encoder and autoencoder are the same for all of them. `halves`: whether a
/// network in half precision is held as it is.
///
/// # Errors
/// A folder that cannot be opened, changes that make no network, images of another shape.
pub fn origin(
    experiment: &Experiment,
    shape: [usize; 3],
    halves: Halves,
    device: Device,
) -> Result<TextToImage> {
    let [channels, height, width] = shape;
    let model = match &experiment.model.base {
        Some(folder) => {
            let folder = Path::new(folder);
            TextToImage::load_as(folder, WeightSet::Ema, Parts::ALL, halves, device).context(
                "model.base takes a text-to-image folder (that of a model that is told no text is model.start)",
            )?
        }
        None => fresh(experiment, channels as i64, height as i64, device)?,
    };
    let Some([seen, h, w]) = model.sample_shape() else {
        bail!("unet/config.json of the base gives no sample_size; add it");
    };
    let (expected, times) = match &model.vae {
        Some(vae) => (vae.config().in_channels, vae.config().reduction()),
        None => (seen, 1),
    };
    if (channels as i64, height as i64, width as i64) != (expected, h * times, w * times) {
        bail!(
            "the network is made for images of {expected} channels and {}x{} pixels, the images have {channels} and \
             {height}x{width}: set data.image_size and data.channels",
            h * times,
            w * times
        );
    }
    Ok(model)
}

fn fresh(experiment: &Experiment, channels: i64, side: i64, device: Device) -> Result<TextToImage> {
    let preset = &experiment.model.preset;
    let plain = TextToImage::fresh(preset, channels, experiment.seed, device)?;
    let mut overrides = experiment.model.overrides()?;
    let latent = plain.vae.as_ref();
    let side = latent.map_or(side, |vae| side / vae.config().reduction());
    overrides.insert("sample_size".into(), side.into());
    let mut value = serde_json::to_value(plain.unet.config())?;
    let Some(keys) = value.as_object_mut() else {
        bail!("a network configuration is a table")
    };
    keys.extend(overrides);
    let config = UNet2dConditionConfig::read(&value).context("[model]")?;
    let unet = UNet2dCondition::fresh(&config, experiment.seed, device)?;
    let schedule = plain.schedule.config().clone();
    Ok(TextToImage::new(unet, schedule, plain.vae, plain.text)?)
}

/// The model with which the training of `job` begins, and its network, which the training may change. A network in half precision of
/// which LoRA layers alone are trained in bf16 is held as it is.
///
/// # Errors
/// As [`origin`].
pub fn beginning(
    run: &RunFolder,
    plan: &Plan,
    job: &Job,
    shape: [usize; 3],
    engine: &Engine,
) -> Result<(TextToImage, UNet2dCondition)> {
    let experiment = Experiment::parse(&plan.experiment_toml, "plan.json", &[])?;
    let (t, device) = (plan.train_of(job), engine.device);
    let adapts = t.lora_rank > 0 && job.kind != JobKind::Pretrain;
    let halves = match engine.precision {
        Precision::Bf16 if adapts => Halves::Kept,
        _ => Halves::Widened,
    };
    let model = match &job.starts_from {
        Some(base) => {
            let base = run.model(base);
            TextToImage::load_as(&base, WeightSet::Ema, Parts::ALL, halves, device)?
        }
        None => origin(&experiment, shape, halves, device)?,
    };
    let config = model.unet.config();
    let from_nothing = job.starts_from.is_none() && experiment.model.base.is_none();
    let network = if from_nothing {
        UNet2dCondition::fresh(config, job.init_seed(), device)?
    } else {
        // The weights are there once: the model is saved with those that training gives, not with its own.
        UNet2dCondition::from_halves(config, model.unet.parameters().shared(), device)?
    };
    let network = if adapts {
        let plain = LoraConfig::new(i64::try_from(t.lora_rank)?);
        let alpha = if t.lora_alpha > 0.0 {
            t.lora_alpha
        } else {
            plain.alpha
        };
        let config = LoraConfig {
            alpha,
            targets: t.lora_targets.clone(),
            ..plain
        };
        network.with_lora(&config, job.seed)?
    } else {
        network
    };
    Ok((model, network))
}

/// The folder of what all models of a run start from, if they start from one: the user's, or that of the model that was trained first.
///
/// # Errors
/// A damaged plan.
pub fn base_of(run: &RunFolder, plan: &Plan) -> Result<Option<PathBuf>> {
    let experiment = Experiment::parse(&plan.experiment_toml, "plan.json", &[])?;
    let own = experiment.pretrain.map(|_| run.model(BASE));
    let brought = experiment.model.base.or(experiment.model.start);
    Ok(own.or(brought.map(PathBuf::from)))
}

/// The captions of a picture, the main one first.
///
/// # Errors
/// It has none.
pub fn captions_of<'a>(set: &ImageSet, record: &'a Record) -> Result<&'a [String]> {
    if record.captions.is_empty() {
        return Err(captionless(&set.source, &record.name));
    }
    Ok(&record.captions)
}

/// A picture of that name, from there, has no caption.
pub fn captionless(source: &str, name: &str) -> anyhow::Error {
    anyhow!(
        "{source}: picture {name} has no caption, and a text-to-image model needs one for each: add `text` to its line of metadata.jsonl (or name \
         the column in data.caption_column)"
    )
}

/// What a model is told of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Nothing.
    Nothing,
    /// A text: its captions.
    Captions,
    /// Its class, by name.
    Class,
}

impl Told {
    /// What this model is told.
    pub fn by(model: &Model) -> Self {
        match (model.is_told(), model.labels()) {
            (true, _) => Self::Captions,
            (false, Some(_)) => Self::Class,
            (false, None) => Self::Nothing,
        }
    }

    /// What the models of a run are told.
    pub fn in_run(plan: &Plan) -> Self {
        match (plan.model.text, &plan.model.labels) {
            (true, _) => Self::Captions,
            (false, Some(_)) => Self::Class,
            (false, None) => Self::Nothing,
        }
    }

    /// The words for a picture: its captions, the main one first, or its class; none where nothing is told.
    ///
    /// # Errors
    /// A picture without what is to be told.
    pub fn words(self, set: &ImageSet, record: &Record) -> Result<Vec<String>> {
        match self {
            Self::Nothing => Ok(Vec::new()),
            Self::Captions => Ok(captions_of(set, record)?.to_vec()),
            Self::Class => Ok(vec![class_of(set, record)?.to_owned()]),
        }
    }
}

/// The class of a picture.
///
/// # Errors
/// It has none.
pub fn class_of<'a>(set: &ImageSet, record: &'a Record) -> Result<&'a str> {
    class_in(record.label.as_deref()).ok_or_else(|| unlabelled(&set.source, &record.name))
}

/// The class that a label names, if it names any.
pub fn class_in(label: Option<&str>) -> Option<&str> {
    label.map(str::trim).filter(|label| !label.is_empty())
}

/// A picture of that name, from there, has no label.
pub fn unlabelled(source: &str, name: &str) -> anyhow::Error {
    anyhow!(
        "{source}: picture {name} has no label, and a class-conditional model is told one for each: put the pictures of each class into a folder of its \
         name, or give `label` in metadata.jsonl or the table"
    )
}

/// The classes of a set, sorted: by number where all are numbers, else by name.
///
/// # Errors
/// A picture without a label.
pub fn classes_of(set: &ImageSet) -> Result<Vec<String>> {
    let of = |record| class_of(set, record);
    let names = set
        .records
        .iter()
        .map(of)
        .collect::<Result<BTreeSet<_>>>()?;
    let mut names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let number = |name: &String| name.parse::<u64>().ok();
    if names.iter().all(|name| number(name).is_some()) {
        names.sort_by_key(number);
    }
    Ok(names)
}

/// Prompts for `n` images of a class-conditional model: the classes that `words` has, sorted, in turn. `words`: the class of each of
/// some images.
///
/// # Errors
/// A class that the model does not have.
pub fn in_turn(model: &Model, words: &[&[String]], n: usize, guidance: f64) -> Result<Prompts> {
    let names: BTreeSet<&str> = words
        .iter()
        .flat_map(|own| own.first())
        .map(String::as_str)
        .collect();
    let names: Vec<&str> = names.into_iter().collect();
    if names.is_empty() {
        bail!("a class-conditional model draws images of a class, and no image has one");
    }
    let drawn: Vec<&str> = (0..n).map(|i| names[i % names.len()]).collect();
    Ok(Prompts {
        condition: model.told(&drawn)?,
        nothing: model.told(&[""])?,
        guidance,
    })
}

/// What a model is told of texts, some at a time; `tell` says it of some.
fn told(
    texts: &[&str],
    tell: impl Fn(&[&str]) -> dualmd_diffusion::Result<Condition>,
) -> Result<Condition> {
    let mut parts = texts.chunks(CHUNK).map(&tell);
    let first = parts.next().unwrap_or_else(|| tell(&[""]))?;
    Ok(parts.try_fold(first, |all, part| all.then(&part?))?)
}

/// What the frozen parts of a base made of a run's texts and images, on the disk: for the run's other trainings, and for one that
/// goes on.
pub struct Encodings(PathBuf);

impl Encodings {
    /// In the folder of a run.
    pub fn of(run: &RunFolder) -> Self {
        Self(run.0.join("encoded"))
    }

    /// The tensors called `names` that depend on what `key` is a hash of: read, or made and written. A damaged file is made
    /// again.
    fn tensors<const N: usize>(
        &self,
        what: &str,
        key: &str,
        names: [&str; N],
        make: impl FnOnce() -> Result<[Tensor; N]>,
    ) -> Result<[Tensor; N]> {
        let path = self.0.join(format!("{what}-{}.safetensors", &key[..16]));
        if let Ok(mut found) = read_safetensors(&path) {
            let found = names.map(|name| found.remove(name));
            if found.iter().all(Option::is_some) {
                return Ok(found.map(|t| t.unwrap_or_else(Tensor::new)));
            }
        }
        let made = make()?;
        dualmd_files::create_folder(&self.0)?;
        write_safetensors(&path, names.into_iter().zip(&made), &[("of", key)])?;
        Ok(made)
    }
}

/// Frozen weights by name and hash.
fn hashes_of(weights: &Parameters) -> Result<String> {
    let mut text = String::new();
    for (name, tensor) in &weights.0 {
        text += &format!("{name} {}\n", hash_tensor(tensor)?);
    }
    Ok(text)
}

/// A hash of what frozen weights are asked.
fn key(weights: &str, asked: &str) -> String {
    let hash = blake3::hash(format!("{weights}{asked}").as_bytes());
    hash.to_hex().to_string()
}

/// Texts or classes as a model is told them, each distinct one once.
pub struct Encoded {
    /// K rows.
    pub told: Condition,
    /// For each list of texts that was asked for: their rows.
    pub of: Vec<Vec<usize>>,
    /// Row of what tells nothing.
    pub empty: usize,
}

impl Encoded {
    /// The texts of `asked`, one list for each image.
    ///
    /// # Errors
    /// What the tokenizer or the encoder refuses.
    pub fn new(model: &TextToImage, asked: &[&[String]]) -> Result<Self> {
        Self::by(asked, |texts| told(texts, |part| model.told(part)))
    }

    /// As [`Self::new`], of any model that is told a text or a class.
    ///
    /// # Errors
    /// A model of images alone; as [`Self::new`].
    pub fn of(model: &Model, asked: &[&[String]]) -> Result<Self> {
        Self::by(asked, |texts| told(texts, |part| model.told(part)))
    }

    /// The classes of `asked`, one list for each image.
    ///
    /// # Errors
    /// A class that there is not.
    pub fn classes(labels: &Labels, asked: &[&[String]], device: Device) -> Result<Self> {
        Self::by(asked, |names| {
            Ok(labels.told(names)?.each(|t| t.to_device(device)))
        })
    }

    /// As [`Self::new`], where a training of the run has not encoded the same texts before.
    fn kept(kept: &Encodings, model: &TextToImage, asked: &[&[String]]) -> Result<Self> {
        Self::by(asked, |texts| {
            let mut weights = String::new();
            for encoder in model.text.iter().flat_map(TextEncoder::models) {
                weights += &hashes_of(encoder.parameters())?;
            }
            let made = || told(texts, |part| model.told(part));
            let second = model.text.as_ref().and_then(|text| text.second.as_ref());
            let told = match second {
                None => {
                    let key = key(&weights, &format!("{texts:?}"));
                    let [text] = kept.tensors("texts", &key, ["embeddings"], || {
                        Ok([made()?.texts()?.shallow_clone()])
                    })?;
                    Condition::of_text(text)
                }
                Some(second) => {
                    let (zeros, shape) = (second.zeros_for_nothing, model.sample_shape());
                    let key = key(&weights, &format!("{texts:?} {zeros} {shape:?}"));
                    let names = ["embeddings", "pooled", "size"];
                    let [text, pooled, size] = kept.tensors("texts", &key, names, || {
                        let told = made()?;
                        let (Some(text), Some(pooled), Some(size)) =
                            (told.text, told.pooled, told.size)
                        else {
                            bail!("the second text encoder of the base makes no pooled text");
                        };
                        Ok([text, pooled, size])
                    })?;
                    Condition {
                        pooled: Some(pooled),
                        size: Some(size),
                        ..Condition::of_text(text)
                    }
                }
            };
            let device = model.unet.device();
            Ok(told.each(|t| t.to_device(device)))
        })
    }

    fn by(asked: &[&[String]], encode: impl FnOnce(&[&str]) -> Result<Condition>) -> Result<Self> {
        let mut rows: BTreeMap<&str, usize> = BTreeMap::from([("", 0)]);
        let mut texts = vec![""];
        let of = asked
            .iter()
            .map(|list| {
                list.iter()
                    .map(|text| {
                        *rows.entry(text.as_str()).or_insert_with(|| {
                            texts.push(text);
                            texts.len() - 1
                        })
                    })
                    .collect()
            })
            .collect();
        Ok(Self {
            told: encode(&texts)?,
            of,
            empty: 0,
        })
    }

    /// The main text of every image, each `times` times.
    pub fn main(&self, times: usize) -> Condition {
        self.rows(self.of.iter().map(|list| list[0]), times)
    }

    /// The texts of rows, each `times` times.
    pub fn rows(&self, rows: impl Iterator<Item = usize>, times: usize) -> Condition {
        let rows: Vec<i64> = rows
            .flat_map(|row| std::iter::repeat_n(row as i64, times))
            .collect();
        let rows = Tensor::from_slice(&rows).to_device(self.told.device());
        self.told.select(&rows)
    }

    /// What tells nothing, one row.
    pub fn nothing(&self) -> Condition {
        self.told.narrow(self.empty as i64, 1)
    }
}

/// Captions of the pictures at `positions` for a training.
///
/// # Errors
/// A picture without a caption; what the encoder refuses.
pub fn captions(
    kept: &Encodings,
    model: &TextToImage,
    images: &TrainImages,
    positions: &[usize],
    any: bool,
    dropout: f64,
) -> Result<Captions> {
    let lists = positions.iter().map(|&i| images.words(i));
    let lists = lists.collect::<Result<Vec<_>>>()?;
    let encoded = Encoded::kept(kept, model, &lists)?;
    Ok(Captions {
        told: encoded.told,
        of: encoded.of.into(),
        empty: encoded.empty,
        any,
        dropout,
    })
}

/// Classes of the pictures at `positions` for a training; `dropout`: chance of no label in a class's place.
///
/// # Errors
/// A picture without a label; a class that there is not.
pub fn classes(
    labels: &Labels,
    images: &TrainImages,
    positions: &[usize],
    dropout: f64,
    device: Device,
) -> Result<Captions> {
    let lists = positions.iter().map(|&i| images.words(i));
    let lists = lists.collect::<Result<Vec<_>>>()?;
    let encoded = Encoded::classes(labels, &lists, device)?;
    Ok(Captions {
        told: encoded.told,
        of: encoded.of.into(),
        empty: encoded.empty,
        any: false,
        dropout,
    })
}

/// Means and standard deviations of latents, scaled as the network sees them.
pub type Latents = (Tensor, Tensor);

/// What makes latents of a run's images.
#[derive(Clone, Copy)]
pub enum Encoder<'a> {
    /// A Gaussian for each image.
    Gaussian(&'a AutoencoderKl),
    /// What a codebook is asked with: one latent for each image.
    Codebook(&'a VqModel),
}

impl<'a> From<&'a Autoencoder> for Encoder<'a> {
    fn from(autoencoder: &'a Autoencoder) -> Self {
        match autoencoder {
            Autoencoder::Kl(own) => Self::Gaussian(own),
            Autoencoder::Vq(own) => Self::Codebook(own),
        }
    }
}

impl Encoder<'_> {
    fn parameters(&self) -> &Parameters {
        match self {
            Self::Gaussian(own) => own.parameters(),
            Self::Codebook(own) => own.parameters(),
        }
    }

    fn scale(&self) -> f64 {
        match self {
            Self::Gaussian(own) => own.config().scaling_factor,
            Self::Codebook(own) => own.config().scaling_factor,
        }
    }

    /// Means and standard deviations of images [B, C, H, W] in [-1, 1], scaled, without gradient; one latent has a deviation of 0.
    fn moments(&self, images: &Tensor) -> Result<Latents> {
        let scale = self.scale();
        let (mean, deviation) = no_grad(|| -> dualmd_diffusion::Result<(Tensor, Tensor)> {
            match self {
                Self::Gaussian(own) => {
                    let moments = own.encode(images)?;
                    Ok((moments.mean, (moments.log_variance * 0.5).exp()))
                }
                Self::Codebook(own) => {
                    let latents = own.encode(images)?;
                    let none = latents.zeros_like();
                    Ok((latents, none))
                }
            }
        })?;
        Ok((mean * scale, deviation * scale))
    }
}

/// The latents of images and, where asked for, of their mirror images, on the device. The images go through the autoencoder some at a time;
/// their latents are held, 32 bits a value.
///
/// # Errors
/// Images that cannot be read; shapes the autoencoder cannot take.
pub fn latents(
    kept: &Encodings,
    encoder: Encoder<'_>,
    images: &dualmd_defense::Images,
    mirrored: bool,
    device: Device,
) -> Result<(Latents, Option<Latents>)> {
    let scale = encoder.scale();
    let seen = |x: Tensor, flip: bool| if flip { x.flip([3]) } else { x };
    let make = |flip: bool| -> Result<[Tensor; 2]> {
        let parts =
            images.in_parts(IMAGES as usize, device, |x| encoder.moments(&seen(x, flip)))?;
        let (means, deviations): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        Ok([Tensor::f_cat(&means, 0)?, Tensor::f_cat(&deviations, 0)?])
    };
    let hash = |flip: bool| -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("{:?}", images.size()).as_bytes());
        images.in_parts(IMAGES as usize, Device::Cpu, |x| {
            hash_values(&mut hasher, &seen(x, flip))
        })?;
        Ok(hasher.finalize().to_hex().to_string())
    };
    let weights = hashes_of(encoder.parameters())?;
    let of = |flip: bool| -> Result<Latents> {
        let key = key(&weights, &format!("{scale} {}", hash(flip)?));
        let both = kept.tensors("latents", &key, ["mean", "deviation"], || make(flip))?;
        let [means, deviations] = both.map(|t| t.to_device(device));
        Ok((means, deviations))
    };
    let mirror = mirrored.then(|| of(true)).transpose()?;
    Ok((of(false)?, mirror))
}

/// Takes images or latents [N, ...] through the autoencoder some at a time, in order.
///
/// # Errors
/// What `work` gives.
pub fn in_parts<T>(x: &Tensor, work: impl Fn(&Tensor) -> Result<T>) -> Result<Vec<T>> {
    let n = x.size()[0];
    (0..n)
        .step_by(IMAGES as usize)
        .map(|start| work(&x.narrow(0, start, (n - start).min(IMAGES))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experiments_name_the_networks_that_there_are() {
        let names = dualmd_diffusion::latent::LATENT_PRESETS
            .iter()
            .map(|p| p.name);
        assert!(names.eq(dualmd_experiment::experiment::TEXT_NETWORKS));
        let targets = crate::experiment::Train::default().lora_targets;
        assert_eq!(targets, LoraConfig::TARGETS);
    }

    #[test]
    fn classes_are_sorted_and_every_picture_has_one() {
        use dualmd_data::Picture;
        let set = |labels: &[Option<&str>]| {
            let record = |(i, label): (usize, &Option<&str>)| {
                let picture = Picture::filled(4, 4, 1, i as u8);
                Record {
                    id: picture.id(),
                    picture,
                    captions: vec!["a caption".into()],
                    group: None,
                    label: label.map(str::to_owned),
                    name: format!("{i}.png"),
                    file: None,
                }
            };
            let records = labels.iter().enumerate().map(record).collect();
            ImageSet::new("set".into(), None, records).unwrap()
        };
        let names = set(&[Some("dog"), Some("cat"), Some("dog ")]);
        assert_eq!(classes_of(&names).unwrap(), ["cat", "dog"]);
        let numbers = set(&[Some("10"), Some("9"), Some("0")]);
        assert_eq!(classes_of(&numbers).unwrap(), ["0", "9", "10"]);
        let words = Told::Class.words(&names, &names.records[2]).unwrap();
        assert_eq!(words, ["dog"]);
        for lacking in [set(&[Some("cat"), None]), set(&[Some("cat"), Some(" ")])] {
            let said = classes_of(&lacking).unwrap_err().to_string();
            assert!(said.contains("1.png has no label"), "{said}");
        }
    }

    /// Made once for a key, and again where the file is no longer whole.
    #[test]
    fn what_was_encoded_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Encodings(folder.path().join("encoded"));
        let ask = |asked: &str, value: f32| {
            let key = key("", asked);
            let make = || Ok([Tensor::from_slice(&[value, 2.0])]);
            let [found] = kept.tensors("texts", &key, ["embeddings"], make).unwrap();
            Vec::<f32>::try_from(&found).unwrap()
        };
        assert_eq!(ask("one", 1.0), [1.0, 2.0]);
        assert_eq!(ask("one", 7.0), [1.0, 2.0]);
        assert_eq!(ask("other", 7.0), [7.0, 2.0]);
        for file in std::fs::read_dir(&kept.0).unwrap() {
            std::fs::write(file.unwrap().path(), b"half a file").unwrap();
        }
        assert_eq!(ask("one", 3.0), [3.0, 2.0]);
        assert_eq!(ask("one", 4.0), [3.0, 2.0]);
    }
}
