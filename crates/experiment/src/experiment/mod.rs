//! What was asked: the typed form of an experiment file.
//!
//! An experiment is written in layers - a preset or a file, then `--set a.b=value` - and read by [`Experiment::load`]. What
//! will be *done* is [`crate::plan::Plan`]. The sections below are the sections of the file; every key has a default except
//! `data.source`, `data.members`, `data.nonmembers` and the name and defence of each `[[models]]`.
//!
//! A key is one field below, or of [`Distill`], which `training.json` has, too: its doc comment, default and range are read from there, by the
//! check, by `dualmd list keys`, and by `docs/experiment.md`.
//!
//! - `keys`: the table of keys, made from the fields, and the nearest one to a misspelt key
//! - `layers`: file, preset, `--set`
//! - `check`: ranges, names, and what contradicts what
//! - `epochs`: passes over the images as the unit of a training's length

mod check;
pub mod epochs;
mod keys;
mod layers;
#[cfg(test)]
mod tests;

pub use check::{BASE, REFERENCE, SHADOW, TEXT_NETWORKS};
pub use dualmd_record::recipe::Distill;
pub use keys::{Key, markdown, table as keys};
pub use layers::Source;

use crate::choices::{
    Alpha, CaptionChoice, Copies, Dtype, Features, Levels, LoraSave, NearDuplicates, Objective,
    Optimizer, Order, Reference, ResizeFilter, Sampler, SplitMethod, Weights,
};
use anyhow::{Context, Result, bail};
use dualmd_names::{AttackSpec, BaseAttack, Defense};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// An experiment file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Experiment {
    /// Everything random follows from it. TOML's integers are signed, so that it ends at 2^63 - 1.
    #[schemars(range(max = 9_223_372_036_854_775_807_u64), extend("x-needed" = "a number from 0 to 9223372036854775807"))]
    pub seed: u64,
    /// Which images, and which of them are members.
    pub data: Data,
    /// The network.
    pub model: Network,
    /// A model that all others start from, for text-to-image models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pretrain: Option<Pretrain>,
    /// The recipe, the same for every model.
    pub train: Train,
    /// Choices of the two distillations.
    pub distill: Distill,
    /// Images generated from every model.
    pub sample: Sample,
    /// Attacks.
    pub audit: Audit,
    /// Use of the machine.
    pub run: Run,
    /// What to train and audit.
    pub models: Vec<ModelEntry>,
}

/// `[data]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Data {
    /// `fashion`, `emoji`, or a path (folder, parquet, tar, CIFAR, IDX, npz, npy); relative to the working directory.
    pub source: String,
    /// Side in pixels that images are resized to.
    #[schemars(range(min = 4, max = 4096), extend("x-needed" = "a side of 4 to 4096 pixels"))]
    pub image_size: u32,
    /// 1 (grey) or 3 (colour); without it, grey sets stay grey.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<u8>,
    /// Images to train on; D1 and D2 are halves of them.
    #[schemars(range(min = 2), extend("x-needed" = "an even number of at least 2"))]
    pub members: usize,
    /// Images of the same source that no model sees.
    #[schemars(range(min = 1), extend("x-needed" = "at least 1, because without images that no model saw nothing can be measured,"))]
    pub nonmembers: usize,
    /// How members are drawn. With `coin-flip` only the sum of `members` and `nonmembers` counts: so many images are taken
    /// and a fair coin says which of them are members.
    pub method: SplitMethod,
    /// Whether pictures that look almost the same stay together.
    pub near_duplicates: NearDuplicates,
    /// Resizing filter.
    pub filter: ResizeFilter,
    /// What becomes of transparency.
    pub alpha: Alpha,
    /// Tell the networks the class of each image (class-conditional models): the folder that it lies in, or `label` of its metadata, its
    /// table, its archive. Not for text-to-image models.
    pub labels: bool,
    /// Column of the labels; `label` unless named, and without such a column the folder that an image lies in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_column: Option<String>,
    /// Column of the captions, where the set has several that may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caption_column: Option<String>,
    /// A file of captions, as `dualmd caption` writes it, that take the place of those of the set: a JSON object in each line, with an
    /// image's content id as `id` and its captions as `text`, the main one first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub captions: Option<String>,
    /// Column of the set's table that says what belongs together (patient, artist); `group` unless named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_column: Option<String>,
    /// Column of the images' names in split, scores and report; the file's name or the row's number unless named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_column: Option<String>,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            source: String::new(),
            image_size: 32,
            channels: None,
            members: 0,
            nonmembers: 0,
            method: SplitMethod::default(),
            near_duplicates: NearDuplicates::default(),
            filter: ResizeFilter::default(),
            alpha: Alpha::default(),
            labels: false,
            label_column: None,
            caption_column: None,
            captions: None,
            group_column: None,
            id_column: None,
        }
    }
}

/// `[model]`: a preset, and any key of diffusers' configuration of its network that should differ from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Network {
    /// `tiny`, `small`, `medium` or `ddpm-cifar10`; a transformer: `dit-tiny`; for text to image `t2i-pixels-32`, `t2i-latent-small` or
    /// `t2i-xl-small`.
    #[serde(default = "Network::default_preset")]
    pub preset: String,
    /// A text-to-image folder in diffusers' layout that every model starts from, in place of a preset: fine-tuning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// A folder in diffusers' layout of a model that is told no text (`DDPMPipeline`, `LDMPipeline`, `DiTPipeline`), which every model starts
    /// from in place of a preset, with its noise schedule, autoencoder and classes: fine-tuning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// The folder of an `AutoencoderKL` or a `VQModel`, or a pipeline's that has one: the networks of the preset see its latents of the
    /// images, and it stays as it is. Not for text-to-image models, which have their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoencoder: Option<String>,
    /// Keys that replace the preset's. TOML has no null: write `"null"` where diffusers has it.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    #[serde(flatten)]
    pub config: toml::Table,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            preset: Self::default_preset(),
            base: None,
            start: None,
            autoencoder: None,
            config: toml::Table::new(),
        }
    }
}

impl Network {
    fn default_preset() -> String {
        "small".into()
    }

    /// The overrides as they would stand in the network's config.json.
    ///
    /// # Errors
    /// A value that JSON does not have (a date, an infinite number).
    pub fn overrides(&self) -> Result<serde_json::Map<String, serde_json::Value>> {
        let json = |(key, value): (&String, &toml::Value)| {
            let value = match value {
                toml::Value::String(text) if text == "null" => serde_json::Value::Null,
                other => serde_json::to_value(other).with_context(|| {
                    format!("model.{key} = {other} cannot be part of a network's config.json")
                })?,
            };
            Ok((key.clone(), value))
        };
        self.config.iter().map(json).collect()
    }
}

/// `[pretrain]`: what the model learns first that all others start from ("Stable Diffusion" in small).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pretrain {
    /// Its images, with captions: other images than those of `[data]`.
    pub source: String,
    /// Keys of `[train]` that differ for it.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    pub train: toml::Table,
}

impl Pretrain {
    /// Its recipe: `common` with its own keys, and as many steps where it names none.
    ///
    /// # Errors
    /// A value of the wrong type; epochs, because its images are other ones than the members and not counted yet.
    pub fn recipe(&self, common: &Train) -> Result<Train> {
        if self.train.contains_key("epochs") {
            bail!(
                "pretrain.train.epochs: an epoch is a pass over the members, and the base learns other images; give pretrain.train.steps"
            );
        }
        let common = Train {
            epochs: None,
            ..common.clone()
        };
        merged(&common, &self.train).context("pretrain.train")
    }
}

/// A section with some keys of its own.
fn merged<T: Serialize + DeserializeOwned>(common: &T, own: &toml::Table) -> Result<T> {
    let mut table = toml::Table::try_from(common).context("a section cannot be written as TOML")?;
    table.extend(own.clone());
    Ok(table.try_into()?)
}

/// `[train]`: defaults are those of the paper's code scaled to a short run; see the presets for whole recipes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Train {
    /// Optimiser steps per model.
    #[schemars(range(min = 1), extend("x-needed" = "at least 1"))]
    pub steps: u64,
    /// In place of steps: passes over all members of the run, `steps = ceil(epochs * members / batch)`, the same for every model.
    #[schemars(extend("exclusiveMinimum" = 0), extend("x-needed" = "a number above 0 (passes over all members)"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// What the networks learn: the noise, or the velocity of a flow (flow matching). The same for all models of an experiment; not
    /// for text-to-image models.
    pub objective: Objective,
    /// How the levels of a flow's training are drawn.
    pub levels: Levels,
    /// Images per step.
    #[schemars(range(min = 1), extend("x-needed" = "at least 1"))]
    pub batch: usize,
    /// Parts of the batch that go through the network one after the other, for less memory.
    #[schemars(range(min = 1), extend("x-needed" = "1 to train.batch"))]
    pub accumulate: usize,
    /// Compute most of a pass again for its gradient: less memory, more time, the same numbers up to rounding.
    pub gradient_checkpointing: bool,
    /// Adam's rate at its highest.
    #[schemars(extend("exclusiveMinimum" = 0), extend("x-needed" = "a number above 0"))]
    pub learning_rate: f64,
    /// Steps over which the rate rises linearly from 0.
    pub warmup: u64,
    /// Part of the run, at its end, over which the rate falls linearly to 0. 0 keeps it constant.
    #[schemars(range(min = 0.0, max = 1.0), extend("x-needed" = "a part of the run, 0 to 1,"))]
    pub decay_fraction: f64,
    /// Decay of the moving average of the weights, in [0, 1).
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1), extend("x-needed" = "a decay of at least 0 and below 1"))]
    pub ema: f64,
    /// Use min(ema, (1 + step) / (10 + step)) as the decay: in a short run the average would otherwise be mostly the
    /// initial weights.
    pub ema_warmup: bool,
    /// Largest norm of the gradient; 0 switches clipping off.
    #[schemars(range(min = 0.0), extend("x-needed" = "a norm, or 0 for no clipping,"))]
    pub clip: f64,
    /// Adam, or AdamW.
    pub optimizer: Optimizer,
    /// Weight decay, in the way of the optimiser.
    #[schemars(range(min = 0.0), extend("x-needed" = "a number of at least 0"))]
    pub weight_decay: f64,
    /// Mirror every other image at random. Attacks always look at the image as it is.
    pub flip: bool,
    /// Side in pixels of a grey square that is put over drawn images; 0: none.
    pub cutout_side: usize,
    /// Chance of each drawn image to get it.
    #[schemars(range(min = 0.0, max = 1.0), extend("x-needed" = "a chance, 0 to 1,"))]
    pub cutout_probability: f64,
    /// Which caption a text-to-image model is told with an image: always the first, or any (prompt diversification).
    pub captions: CaptionChoice,
    /// Chance that it is told nothing instead, which guidance needs.
    #[schemars(range(min = 0.0, max = 1.0), extend("x-needed" = "a chance, 0 to 1,"))]
    pub caption_dropout: f64,
    /// With `data.labels`: chance that a network is told no label in place of an image's, which guidance needs. 0.1 is usual.
    #[schemars(range(min = 0.0, max = 1.0), extend("x-needed" = "a chance, 0 to 1,"))]
    pub label_dropout: f64,
    /// For text-to-image models: leave out of a step the images whose text moves the prediction by this norm or more, because the
    /// model remembers them (Wen et al. 2024: 2 for Stable Diffusion); 0: none.
    #[schemars(range(min = 0.0), extend("x-needed" = "a norm above 0, or 0 for none,"))]
    pub drop_memorised: f64,
    /// Leave out of a step the images whose loss, times this, is below what is usual at their timestep, because the model knows them
    /// (Liu et al. 2024: 2); 0: none.
    #[schemars(range(min = 0.0), extend("x-needed" = "a ratio above 0, or 0 for none,"))]
    pub skip_easy: f64,
    /// For text-to-image models: train low-rank additions of this rank to the attention layers (LoRA), not all weights; 0: all
    /// weights.
    pub lora_rank: u64,
    /// alpha of these; 0: the rank.
    #[schemars(range(min = 0.0), extend("x-needed" = "a number above 0, or 0 for the rank,"))]
    pub lora_alpha: f64,
    /// Layers that get one: linear layers whose name is one of these, or ends in a dot and one of these. The default is that of
    /// diffusers' script: the projections of every attention.
    #[schemars(extend("x-needed" = "names of layers, or ends of them, at least one"))]
    pub lora_targets: Vec<String>,
    /// What the folder of such a model holds.
    pub lora_save: LoraSave,
    /// Number format of the heavy operations.
    pub dtype: Dtype,
    /// Steps between checkpoints.
    #[schemars(range(min = 1), extend("x-needed" = "at least 1"))]
    pub checkpoint_every: u64,
    /// Checkpoints kept per model, at least 1; older ones are removed.
    #[schemars(range(min = 1), extend("x-needed" = "at least 1"))]
    pub keep_checkpoints: usize,
    /// Steps between log lines.
    #[schemars(range(min = 1), extend("x-needed" = "at least 1"))]
    pub log_every: u64,
    /// Steps between measurements of member and held-out loss; 0: only at the end.
    pub eval_every: u64,
    /// Steps between sample grids during training; 0: never.
    pub sample_every: u64,
}

impl Default for Train {
    fn default() -> Self {
        Self {
            steps: 4000,
            epochs: None,
            objective: Objective::default(),
            levels: Levels::default(),
            batch: 64,
            accumulate: 1,
            gradient_checkpointing: false,
            learning_rate: 1e-3,
            warmup: 100,
            decay_fraction: 0.4,
            ema: 0.999,
            ema_warmup: true,
            clip: 1.0,
            optimizer: Optimizer::default(),
            weight_decay: 0.0,
            flip: false,
            cutout_side: 0,
            cutout_probability: 0.5,
            captions: CaptionChoice::default(),
            caption_dropout: 0.0,
            label_dropout: 0.0,
            drop_memorised: 0.0,
            skip_easy: 0.0,
            lora_rank: 0,
            lora_alpha: 0.0,
            lora_targets: ["to_q", "to_k", "to_v", "to_out.0"]
                .map(str::to_owned)
                .to_vec(),
            lora_save: LoraSave::default(),
            dtype: Dtype::Auto,
            checkpoint_every: 500,
            keep_checkpoints: 2,
            log_every: 50,
            eval_every: 500,
            sample_every: 0,
        }
    }
}

/// `[sample]`: images generated from every model after training, for the grids and the black-box attack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sample {
    /// Images per model.
    #[schemars(range(min = 1), extend("x-needed" = "at least 1"))]
    pub n: usize,
    /// Sampler.
    pub sampler: Sampler,
    /// Network calls per image, 1 to 1000.
    #[schemars(range(min = 1, max = 1000), extend("x-needed" = "1 to 1000 steps"))]
    pub steps: usize,
    /// Which model takes which step in DualMD.
    pub order: Order,
    /// Images generated at a time.
    #[schemars(range(min = 1), extend("x-needed" = "at least 1"))]
    pub batch: usize,
    /// For text-to-image models: guidance scale; 1 is none.
    #[schemars(extend("x-needed" = "a number"))]
    pub guidance: f64,
    /// With `data.labels`: guidance scale; 1 is none. The images are of the classes in turn.
    #[schemars(extend("x-needed" = "a number"))]
    pub label_guidance: f64,
    /// For text-to-image models: the timestep from which on images are drawn with `guidance`; above it with `early_guidance` (Jain et al.
    /// 2025: 500 of 1000). Without it `guidance` applies throughout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance_from: Option<u32>,
    /// Guidance scale above `guidance_from`: 0 leaves the prompt out, below 0 turns away from it.
    #[schemars(extend("x-needed" = "a number"))]
    pub early_guidance: f64,
    /// For text-to-image models: images for each prompt, the prompts being the first captions of all members and
    /// non-members. `n` does not apply.
    #[schemars(range(min = 1), extend("x-needed" = "at least 1"))]
    pub per_prompt: usize,
    /// What the images' utility is measured by: distances of these features to real images that no model saw.
    pub features: Features,
    /// File of the features' network: needed for `inception-*`, else what set-up fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features_weights: Option<String>,
    /// What copies of members among the images are found by.
    pub copies: Copies,
    /// ONNX file of the network that copies are found by, in place of what set-up fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copies_weights: Option<String>,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            n: 256,
            sampler: Sampler::default(),
            steps: 50,
            order: Order::default(),
            batch: 64,
            guidance: 7.5,
            label_guidance: 1.0,
            guidance_from: None,
            early_guidance: 0.0,
            per_prompt: 3,
            features: Features::default(),
            features_weights: None,
            copies: Copies::default(),
            copies_weights: None,
        }
    }
}

/// `[audit]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// Attacks beside `nn`: `dualmd list attacks` has them. `reference` trains one more model, on images that are neither
    /// members nor non-members, unless `reference` below names another one.
    #[schemars(with = "Vec<String>")]
    pub attacks: Vec<AttackSpec>,
    /// What `reference` compares with.
    pub reference: Reference,
    /// Weights that are attacked.
    pub weights: Weights,
    /// Images scored at a time.
    #[schemars(range(min = 1), extend("x-needed" = "at least 1"))]
    pub batch: usize,
    /// Share of the images whose membership is known to attacks that learn (`secmi-nn`, `gsa1`, ...); they score the rest.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1), extend("x-needed" = "a share of the images between 0 and 1, such as 0.2,"))]
    pub known_fraction: f64,
    /// delta at which epsilon is stated: the bounds of the report, and what `dp-sgd` spends.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1), extend("x-needed" = "a number between 0 and 1, such as 1e-5,"))]
    pub delta: f64,
    /// Also attack the generated images by nearest-neighbour distance, the only attack that can be made on DualMD's pair: `nn` (with texts
    /// `sim-mean` too) on every model, whatever `attacks` names.
    pub black_box: bool,
}

impl Default for Audit {
    fn default() -> Self {
        use BaseAttack::{Loss, Pia, Pian, SecMi, SimA};
        Self {
            attacks: [Loss, SecMi, Pia, Pian, SimA]
                .map(AttackSpec::from)
                .to_vec(),
            reference: Reference::default(),
            weights: Weights::default(),
            batch: 64,
            known_fraction: dualmd_names::KNOWN_FRACTION,
            delta: 1e-5,
            black_box: true,
        }
    }
}

/// `[run]`: how the machine is shared. Changes how long a run takes; `threads_per_model` also changes last digits.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Run {
    /// Models trained side by side; 0: as many as there are cores and models ready.
    pub jobs: usize,
    /// Threads of each training; 0: the cores divided by `jobs`.
    pub threads_per_model: usize,
}

/// `[[models]]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// Folder under `models/`.
    pub name: String,
    /// How it is trained.
    #[schemars(with = "String")]
    pub defense: Defense,
    /// For `kd`: the model that teaches, `baseline` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<String>,
    /// Another draw of everything random in this model's training; 0 unless given.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub seed_offset: u64,
    /// For `dp-sgd`: what it may spend at `audit.delta`; the noise follows from it. Or give `noise_multiplier`.
    #[schemars(extend("exclusiveMinimum" = 0), extend("x-needed" = "a number above 0"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// For `dp-sgd`: standard deviation of the noise in units of the clip.
    #[schemars(range(min = 0.0), extend("x-needed" = "a number, 0 or more,"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise_multiplier: Option<f64>,
    /// For `dp-sgd`: largest norm of one image's gradient, 1 unless given. `train.clip` does not apply.
    #[schemars(extend("exclusiveMinimum" = 0), extend("x-needed" = "a number above 0"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
    /// For `dp-sgd`: draws of noise and timestep that one image's gradient averages over, 8 unless given.
    #[schemars(range(min = 1), extend("x-needed" = "at least 1"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise_multiplicity: Option<usize>,
    /// For `early-stopping`: measurements (`train.eval_every`) without improvement after which it ends; 0, the default: it trains
    /// to the end and the best weights are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
    /// For `k-way`, `ensemble` and `iet`: K, 4 unless given. Models of the first two with the same K share the shards' models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<usize>,
    /// For `iet`: rounds after each of which the weights are averaged, 10 unless given.
    #[schemars(range(min = 1), extend("x-needed" = "at least 1"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounds: Option<u64>,
    /// For `ambient`: standard deviation of the images' own noise, for pixels in [-1, 1]; 0.5 unless given.
    #[schemars(extend("exclusiveMinimum" = 0), extend("x-needed" = "a number above 0"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_noise: Option<f64>,
    /// For `smp`: weight of the attacker's surprise in what the loss is divided by, beta + alpha A; 1 unless given.
    #[schemars(extend("exclusiveMinimum" = 0), extend("x-needed" = "a number above 0"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// For `smp`: what the loss is divided by where the attacker is sure of the members; 1 unless given.
    #[schemars(range(min = 0.0), extend("x-needed" = "a number, 0 or more,"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beta: Option<f64>,
    /// For `smp`: Adam's learning rate of the attacker, 1e-5 unless given.
    #[schemars(extend("exclusiveMinimum" = 0), extend("x-needed" = "a number above 0"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attacker_rate: Option<f64>,
    /// For `smp`: steps of the attacker for each of the model's, 1 unless given.
    #[schemars(range(min = 1), extend("x-needed" = "at least 1"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attacker_steps: Option<u64>,
    /// For `synthetic`: generated images to train on; as many as there are members unless given.
    #[schemars(range(min = 2), extend("x-needed" = "at least 2"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<usize>,
    /// For models made from two teachers: a name for teachers of their own, trained with this model's recipe (`train`).
    /// Models with the same name here share them; without it all models share `teacher-1` and `teacher-2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teachers: Option<String>,
    /// Keys of `[train]` that differ for this model, e.g. `train = { weight_decay = 5e-4 }`.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    pub train: toml::Table,
    /// For distilled models: keys of `[distill]` that differ for this model, e.g. `distill = { routing = "example" }`.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    pub distill: toml::Table,
}

// By reference, because serde's attribute calls it so.
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl ModelEntry {
    /// The entry without what makes two trainings of one recipe differ.
    pub fn but_for_seed(&self) -> Self {
        Self {
            name: String::new(),
            seed_offset: 0,
            ..self.clone()
        }
    }

    /// The teacher of a `kd` model.
    pub fn kd_teacher(&self) -> &str {
        self.teacher.as_deref().unwrap_or("baseline")
    }

    /// K of a `k-way`, `ensemble` or `iet` model.
    pub fn shards(&self) -> usize {
        self.shards.unwrap_or(4)
    }

    /// Rounds of an `iet` model.
    pub fn rounds(&self) -> u64 {
        self.rounds.unwrap_or(10)
    }

    /// The recipe of this model: the experiment's with its own keys; `None` where it has none.
    ///
    /// # Errors
    /// A value of the wrong type; steps and epochs.
    pub fn recipe(&self, experiment: &Experiment) -> Result<Option<Train>> {
        if self.train.is_empty() {
            return Ok(None);
        }
        let recipe = Train::with_own(&experiment.train, &self.train, experiment.counted_members());
        Ok(Some(
            recipe.with_context(|| format!("model {}, train", self.name))?,
        ))
    }

    /// How this model is distilled: `common` with its own keys; `None` where it has none.
    ///
    /// # Errors
    /// A value of the wrong type.
    pub fn distillation(&self, common: &Distill) -> Result<Option<Distill>> {
        if self.distill.is_empty() {
            return Ok(None);
        }
        let own = merged(common, &self.distill);
        Ok(Some(own.with_context(|| {
            format!("model {}, distill", self.name)
        })?))
    }
}

impl Experiment {
    /// The whole experiment, defaults written out, as a file that gives the same run.
    ///
    /// # Errors
    /// A value TOML cannot express.
    pub fn to_toml(&self) -> Result<String> {
        let text = toml::to_string(self).context("the experiment cannot be written as TOML")?;
        // Steps that follow from epochs are not written: the file would name both. They are the first key of their section.
        let both = format!("[train]\nsteps = {}\n", self.train.steps);
        Ok(match self.train.epochs {
            Some(_) => text.replacen(&both, "[train]\n", 1),
            None => text,
        })
    }
}
