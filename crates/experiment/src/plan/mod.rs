//! What will be done: an experiment with everything resolved, printed before work starts and kept as `plan.json`.
//!
//! - `captions`: whether prompt diversification has captions to choose from
//! - `schedule`: which models are trained, after which others, how many side by side; what is audited
//! - `resume`: whether a run folder may be gone on with
//! - `describe`: the plan in words

mod captions;
mod describe;
mod resume;
mod schedule;
#[cfg(test)]
mod tests;

pub use crate::experiment::{BASE, REFERENCE, SHADOW};
pub use captions::CaptionFacts;
pub use dualmd_files::grouped;
pub use schedule::{Job, JobKind, Target, training_seed};

use crate::choices::{Features, SplitMethod};
use crate::experiment::{Audit, Distill, Experiment, Sample, Train, epochs};
use crate::suggest::nearest;
use crate::{attacks, bail_usage};
use anyhow::{Context as _, Result, bail};
use dualmd_files::limit;
use dualmd_names::BaseAttack;
pub use dualmd_record::plan::Versions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Version of `plan.json`; fields may be added without changing it.
const SCHEMA: u32 = 1;

/// The images, once they are read and split.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DataFacts {
    /// As the experiment names it.
    pub source: String,
    /// Side in pixels.
    pub image_size: u32,
    /// 1 or 3.
    pub channels: u8,
    /// Images in the source after exact duplicates were dropped.
    pub records: usize,
    /// Exact duplicates dropped.
    pub duplicates_dropped: usize,
    /// Groups of at least two pictures that look almost the same.
    pub near_duplicate_groups: usize,
    /// Members.
    pub members: usize,
    /// Non-members.
    pub nonmembers: usize,
    /// Members in the first half.
    pub d1: usize,
    /// Members in the second half.
    pub d2: usize,
    /// Licence of the images, where the source states one.
    pub licence: Option<String>,
    /// Captions of the members, of text-to-image models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub captions: Option<CaptionFacts>,
    /// BLAKE3 over the content ids, captions and groups of all images of the source, in their order: by it a run knows its
    /// images again in another place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The same of `pretrain.source`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pretrain_content: Option<String>,
}

/// The network, once its configuration is built.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NetworkFacts {
    /// Name of the preset it started from.
    pub preset: String,
    /// Trainable parameters.
    pub parameters: u64,
    /// It is told a text.
    #[serde(default)]
    pub text: bool,
    /// Names of the classes, of networks that are told one: the number of a class is its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// Hash of the folder that training starts from (`model.base`, `model.start`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Hash of the autoencoder whose latents the network sees, of one that is told no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoencoder: Option<String>,
    /// The whole `unet/config.json`.
    pub config: serde_json::Value,
}

/// All that an experiment does not say and a plan needs.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Name of the run.
    pub name: String,
    /// Now, RFC 3339.
    pub created: String,
    /// One line that repeats the run.
    pub command: String,
    /// Who makes it, if they say.
    pub auditor: Option<String>,
    /// Versions.
    pub versions: Versions,
    /// The processor.
    pub cpu: String,
    /// Cores (or `--threads`) to divide among trainings.
    pub cores: usize,
    /// Memory in GB, where known.
    pub memory_gb: Option<f64>,
    /// `cpu` or `cuda:N`: `auto` is resolved.
    pub device: String,
    /// `f32`, `tf32` or `bf16`: `auto` is resolved.
    pub dtype: String,
    /// The images.
    pub data: DataFacts,
    /// Hash of the split file.
    pub split_hash: String,
    /// The network.
    pub network: NetworkFacts,
}

/// The machine and each training's share of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hardware {
    /// The processor.
    pub cpu: String,
    /// Cores to divide.
    pub cores: usize,
    /// Memory in GB, where known.
    pub memory_gb: Option<f64>,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// `f32`, `tf32` or `bf16`.
    pub dtype: String,
    /// Threads of each training. Sums are split among threads, so last digits depend on it.
    pub threads_per_model: usize,
    /// Trainings side by side.
    pub parallel_models: usize,
}

/// What will be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// Version of the file's form.
    pub schema: u32,
    /// Name of the run.
    pub name: String,
    /// When the run began, RFC 3339.
    pub created: String,
    /// One line that repeats it.
    pub command: String,
    /// Who made the run, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auditor: Option<String>,
    /// Versions.
    pub versions: Versions,
    /// The machine.
    pub hardware: Hardware,
    /// The experiment's seed.
    pub seed: u64,
    /// The images.
    pub data: DataFacts,
    /// Hash of the split file.
    pub split_hash: String,
    /// The network.
    pub model: NetworkFacts,
    /// The recipe.
    pub train: Train,
    /// Passes of that recipe over all members; each training has its own, over the images that it learns from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// Choices of the distillations.
    pub distill: Distill,
    /// Models to train, each after those it needs.
    pub trainings: Vec<Job>,
    /// Models to sample from and to audit; the pair `dualmd` is one of them and the teachers are too.
    pub models: Vec<Target>,
    /// Generated images.
    pub sample: Sample,
    /// Attacks.
    pub audit: Audit,
    /// What a reader should know before the run starts.
    pub warnings: Vec<String>,
    /// The experiment, defaults written out.
    pub experiment_toml: String,
}

impl Plan {
    /// Resolves an experiment on this machine and these images.
    ///
    /// # Errors
    /// An attack does not exist; prompt diversification of images with one caption each. (The experiment itself was checked when it was read.)
    pub fn resolve(experiment: &Experiment, context: &Context) -> Result<Self> {
        check_attacks(experiment)?;
        let mut trainings = schedule::jobs(experiment)?;
        for job in &mut trainings {
            let train = job.train.as_ref().unwrap_or(&experiment.train);
            job.epochs = schedule::passes(&job.kind, train, &context.data);
        }
        check_dropout(experiment, &trainings, &context.network.config)?;
        let cuda = context.device.starts_with("cuda");
        let (parallel_models, threads_per_model) = schedule::share(
            &trainings,
            &experiment.run,
            &schedule::Machine {
                cores: context.cores,
                memory_gb: context.memory_gb,
                parameters: context.network.parameters,
                cuda,
            },
        );
        let hardware = Hardware {
            cpu: context.cpu.clone(),
            cores: context.cores,
            memory_gb: context.memory_gb,
            device: context.device.clone(),
            dtype: context.dtype.clone(),
            threads_per_model,
            parallel_models,
        };
        let mut warnings = warnings(experiment, &context.data, &hardware);
        if let Some(facts) = context.data.captions {
            warnings.extend(captions::check(&trainings, &experiment.train, facts)?);
        }
        let models = schedule::targets(experiment);
        warnings.extend(without_a_model(&experiment.audit, &models));
        Ok(Self {
            schema: SCHEMA,
            name: context.name.clone(),
            created: context.created.clone(),
            command: context.command.clone(),
            auditor: context.auditor.clone(),
            versions: context.versions.clone(),
            warnings,
            hardware,
            seed: experiment.seed,
            data: context.data.clone(),
            split_hash: context.split_hash.clone(),
            model: context.network.clone(),
            train: experiment.train.clone(),
            epochs: epochs::passes(
                experiment.train.steps,
                experiment.train.batch,
                context.data.members,
            ),
            distill: experiment.distill.clone(),
            trainings,
            models,
            sample: experiment.sample.clone(),
            audit: experiment.audit.clone(),
            experiment_toml: experiment.to_toml()?,
        })
    }

    /// The training of that name.
    ///
    /// # Errors
    /// The plan has none; the message lists those it has.
    pub fn training(&self, name: &str) -> Result<&Job> {
        self.trainings
            .iter()
            .find(|job| job.name == name)
            .with_context(|| {
                let names: Vec<_> = self.trainings.iter().map(|job| job.name.as_str()).collect();
                let pair = self.models.iter().find(|target| target.name == name);
                match (pair, nearest(name, names.iter().copied())) {
                    (Some(pair), _) => {
                        format!(
                            "{name} is not trained: it is the pair of {}; train these",
                            pair.parts.join(" and ")
                        )
                    }
                    (None, Some(near)) => {
                        format!("no model {name} in this experiment: did you mean {near}?")
                    }
                    (None, None) => format!(
                        "no model {name} in this experiment: it trains {}",
                        names.join(", ")
                    ),
                }
            })
    }

    /// Trainings whose needs are all in `finished`, without those for which `started` says true.
    pub fn ready<'a>(
        &'a self,
        finished: &'a [String],
        started: impl Fn(&str) -> bool + 'a,
    ) -> impl Iterator<Item = &'a Job> {
        self.trainings.iter().filter(move |job| {
            !started(&job.name)
                && !finished.contains(&job.name)
                && job
                    .needs
                    .iter()
                    .chain(&job.starts_from)
                    .all(|need| finished.contains(need))
        })
    }

    /// The recipe of a training: its own, or that of all.
    pub fn train_of<'a>(&'a self, job: &'a Job) -> &'a Train {
        job.train.as_ref().unwrap_or(&self.train)
    }

    /// How a training's model is distilled, if it is: its own way, or that of all.
    pub fn distill_of<'a>(&'a self, job: &'a Job) -> &'a Distill {
        job.distill.as_ref().unwrap_or(&self.distill)
    }

    /// Writes `plan.json`: whole or not at all.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn save(&self, path: &Path) -> Result<()> {
        Ok(dualmd_record::write_json(path, self)?)
    }

    /// Reads `plan.json`.
    ///
    /// # Errors
    /// The file cannot be read, or was written by a version with another form of it.
    pub fn load(path: &Path) -> Result<Self> {
        let text = dualmd_files::read_text(path, limit::SETTINGS)?;
        let plan: Self = serde_json::from_str(&text).with_context(|| {
            format!(
                "{} is no plan of this version of dualmd: start again in another folder (--out)",
                path.display()
            )
        })?;
        if plan.schema != SCHEMA {
            bail!(
                "{} has schema {}, this dualmd knows {SCHEMA}: use the version that began the run ({})",
                path.display(),
                plan.schema,
                plan.versions.dualmd
            );
        }
        Ok(plan)
    }
}

/// A misspelt attack, or a variant that makes no sense, is found before the training and not after it.
fn check_attacks(experiment: &Experiment) -> Result<()> {
    let (text, sample) = (experiment.is_text(), &experiment.sample);
    for attack in &experiment.audit.attacks {
        attacks::check(attack, text, sample.features, sample.steps).context("audit.attacks")?;
        if attack.base() == BaseAttack::NearestFeatures
            && matches!(sample.features, Features::Pixels | Features::None)
        {
            bail_usage!(
                "audit.attacks: {attack} compares features of a network, and sample.features is \"{}\": choose a network, or leave the attack out \
                 (by pixels it is {})",
                sample.features,
                BaseAttack::Nearest.name()
            );
        }
    }
    Ok(())
}

/// Teachers cannot drop where the network has nothing to drop.
fn check_dropout(
    experiment: &Experiment,
    trainings: &[Job],
    network: &serde_json::Value,
) -> Result<()> {
    let drops = |job: &&Job| {
        job.distill
            .as_ref()
            .unwrap_or(&experiment.distill)
            .teacher_dropout
    };
    let none = network["dropout"].as_f64().is_some_and(|p| p == 0.0);
    if let Some(job) = trainings.iter().find(drops).filter(|_| none) {
        bail_usage!(
            "model {}: distill.teacher_dropout = true, and the network has no dropout: set model.dropout, e.g. to 0.1",
            job.name
        );
    }
    Ok(())
}

/// Attacks that are asked for and run on no model of the experiment.
fn without_a_model(audit: &Audit, models: &[Target]) -> Option<String> {
    let unused: Vec<String> = audit
        .attacks
        .iter()
        .filter(|attack| !models.iter().any(|model| model.attacks.contains(attack)))
        .map(ToString::to_string)
        .collect();
    (!unused.is_empty()).then(|| {
        format!(
            "audit.attacks: no model of this experiment is attacked by {}: rounds@R and teacher-difference take a DualMD pair, most others a model with \
             a network of its own",
            unused.join(", ")
        )
    })
}

fn warnings(experiment: &Experiment, data: &DataFacts, hardware: &Hardware) -> Vec<String> {
    let mut warnings = Vec::new();
    let threads = hardware.parallel_models * hardware.threads_per_model;
    if threads > hardware.cores && !hardware.device.starts_with("cuda") {
        warnings.push(format!(
            "{} trainings with {} threads each want {threads} cores, there are {}: threads that wait for a core can make a step many times slower (run.jobs, run.threads_per_model)",
            hardware.parallel_models, hardware.threads_per_model, hardware.cores
        ));
    }
    let counted = experiment.counted_members();
    if let Some(epochs) = experiment.train.epochs
        && experiment.data.method == SplitMethod::Half
        && counted != data.members
    {
        warnings.push(format!(
            "train.epochs = {epochs} was counted with data.members = {counted}, and the split has {} members: its {} steps are {} passes over these",
            data.members,
            experiment.train.steps,
            epochs::passes(experiment.train.steps, experiment.train.batch, data.members)
                .map_or("no".to_owned(), epochs::text)
        ));
    }
    if experiment.train.warmup >= experiment.train.steps {
        warnings.push(format!(
            "train.warmup = {} is not over when the training is ({} steps): the learning rate never reaches its value",
            experiment.train.warmup, experiment.train.steps
        ));
    }
    // A base of the user's may have learnt the empty text; what begins here has learnt it by caption_dropout only.
    let learnt = |t: &Train| t.caption_dropout > 0.0;
    let sample = &experiment.sample;
    let pretrained = experiment.pretrain.as_ref();
    let base_knows = pretrained
        .and_then(|p| p.recipe(&experiment.train).ok())
        .is_some_and(|t| learnt(&t));
    if experiment.is_text()
        && experiment.model.base.is_none()
        && !base_knows
        && !learnt(&experiment.train)
        && (sample.guidance != 1.0
            || sample.guidance_from.is_some() && sample.early_guidance != 1.0)
    {
        warnings.push(format!(
            "sample.guidance = {}: guidance asks the model with an empty text too, and none of these models learns one (train.caption_dropout, or \
             that of pretrain.train)",
            sample.guidance
        ));
    }
    if data.nonmembers < 100 {
        warnings.push(format!(
            "{} non-members cannot show a false-alarm rate of 1 %: at least 100 are needed (data.nonmembers)",
            data.nonmembers
        ));
    }
    warnings
}
