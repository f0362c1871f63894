//! Which models are trained, after which others, and how the machine is shared.

use super::DataFacts;
use crate::choices::{Init, Reference};
use crate::experiment::{BASE, Distill, Experiment, ModelEntry, REFERENCE, Run, Train, epochs};
use anyhow::Result;
use dualmd_names::{AttackSpec, BaseAttack, Defense, MadeFrom, ModelKind, Needs, Part};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use dualmd_record::planned::JobKind;

/// One training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// Folder under `models/`.
    pub name: String,
    /// What it is.
    #[serde(flatten)]
    pub kind: JobKind,
    /// Models that it learns from, which must be finished before.
    pub needs: Vec<String>,
    /// The model of the plan whose weights it starts from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_from: Option<String>,
    /// Seed of everything random in it; see [`training_seed`].
    pub seed: u64,
    /// Passes over the images that it learns from; `null` where their number is not known before the training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// Its recipe, where it is not the plan's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<Train>,
    /// How it is distilled, where that is not the plan's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distill: Option<Distill>,
    /// Seed of the random weights it begins with, where that is not [`Self::seed`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_seed: Option<u64>,
}

impl Job {
    /// Seed of the random weights it begins with.
    pub fn init_seed(&self) -> u64 {
        self.init_seed.unwrap_or(self.seed)
    }
}

/// One model, or pair of models, to sample from and to audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// Name of its files under `samples/` and `scores/`.
    pub name: String,
    /// A defence as `[[models]]` names it, or `teacher`.
    #[schemars(with = "String")]
    pub defense: ModelKind,
    /// An earlier model of the file that differs from this one by name and seed alone: the same recipe, trained again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat_of: Option<String>,
    /// Models it was made from.
    pub needs: Vec<String>,
    /// Model folders to load: itself, the two teachers that alternate, or the shards' models that are averaged.
    pub parts: Vec<String>,
    /// Attacks on it. A pair has no one network to ask, so only its images are attacked (`nn`, `sim-mean`, `rounds@2`).
    #[schemars(with = "Vec<String>")]
    pub attacks: Vec<AttackSpec>,
}

/// Passes that a training of this recipe makes over the images that it learns from; `None` where their number is not known yet.
pub fn passes(kind: &JobKind, train: &Train, data: &DataFacts) -> Option<f64> {
    let (images, batch) = match kind {
        JobKind::Pretrain => return None,
        JobKind::Teacher { half: 1 } => (data.d1, train.batch),
        JobKind::Teacher { .. } => (data.d2, train.batch),
        // Shards differ by an image or a group.
        JobKind::Shard { shards, .. } => {
            let all = epochs::passes(train.steps, train.batch, data.members);
            return all.map(|passes| passes * *shards as f64);
        }
        JobKind::Synthetic { images } => (images.unwrap_or(data.members), train.batch),
        // Each image by its own coin: at most all of them in a step.
        JobKind::DpSgd { .. } => (data.members, train.batch.min(data.members)),
        JobKind::Baseline
        | JobKind::Student
        | JobKind::Reference
        | JobKind::Kd { .. }
        | JobKind::EarlyStopping { .. }
        | JobKind::KWay { .. }
        | JobKind::Iterative { .. }
        | JobKind::Ambient { .. }
        | JobKind::Smp { .. } => (data.members, train.batch),
    };
    epochs::passes(train.steps, batch, images)
}

/// The seed of a training: the first 53 bits of blake3("dualmd training seed", seed, offset, name), so that models differ
/// in their noise, do not depend on which others the experiment names, and every JSON reader keeps the number whole.
pub fn training_seed(seed: u64, offset: u64, name: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"dualmd training seed");
    hasher.update(&seed.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(name.as_bytes());
    let mut first = [0_u8; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first) >> 11
}

/// All trainings, those that others wait for first, else in the order of the file.
///
/// # Errors
/// A model's own recipe has a value of the wrong type.
pub fn jobs(experiment: &Experiment) -> Result<Vec<Job>> {
    let pretrained = experiment.pretrain.as_ref().map(|_| BASE.to_owned());
    let job = |name: &str, offset: u64, kind: JobKind, needs: Vec<String>| Job {
        name: name.to_owned(),
        kind,
        needs,
        starts_from: pretrained.clone(),
        seed: training_seed(experiment.seed, offset, name),
        epochs: None,
        train: None,
        distill: None,
        init_seed: None,
    };
    let mut jobs: Vec<Job> = Vec::new();
    if let Some(pretrain) = &experiment.pretrain {
        jobs.push(Job {
            starts_from: None,
            train: Some(pretrain.recipe(&experiment.train)?),
            ..job(BASE, 0, JobKind::Pretrain, Vec::new())
        });
    }
    for model in &experiment.models {
        let teachers = || teachers_of(model).to_vec();
        if model.defense.made_from() == MadeFrom::Teachers {
            for (half, name) in (1..).zip(teachers()) {
                if jobs.iter().all(|job| job.name != name) {
                    let mut teacher = job(&name, 0, JobKind::Teacher { half }, Vec::new());
                    if model.teachers.is_some() {
                        teacher.train = model.recipe(experiment)?;
                    }
                    jobs.push(teacher);
                }
            }
        }
        if model.defense.made_from() == MadeFrom::Shards {
            let shards = model.shards();
            for (shard, name) in (1..).zip(shard_names(shards)) {
                if jobs.iter().all(|job| job.name != name) {
                    jobs.push(job(&name, 0, JobKind::Shard { shards, shard }, Vec::new()));
                }
            }
        }
        let (kind, needs) = match model.defense {
            // What takes turns or is averaged is no training of its own.
            Defense::Dualmd | Defense::Ensemble => continue,
            Defense::None => (JobKind::Baseline, Vec::new()),
            Defense::Distillmd => (JobKind::Student, teachers()),
            Defense::Kd => {
                let teacher = model.kd_teacher().to_owned();
                (
                    JobKind::Kd {
                        teacher: teacher.clone(),
                    },
                    vec![teacher],
                )
            }
            Defense::DpSgd => (
                JobKind::DpSgd {
                    epsilon: model.epsilon,
                    noise_multiplier: model.noise_multiplier,
                    clip: model.clip.unwrap_or(1.0),
                    noise_multiplicity: model.noise_multiplicity.unwrap_or(8),
                    delta: experiment.audit.delta,
                },
                Vec::new(),
            ),
            Defense::EarlyStopping => (
                JobKind::EarlyStopping {
                    patience: model.patience.unwrap_or(0),
                },
                Vec::new(),
            ),
            Defense::KWay => (
                JobKind::KWay {
                    shards: model.shards(),
                },
                shard_names(model.shards()),
            ),
            Defense::Iet => (
                JobKind::Iterative {
                    shards: model.shards(),
                    rounds: model.rounds(),
                },
                Vec::new(),
            ),
            Defense::Ambient => (
                JobKind::Ambient {
                    own_noise: model.own_noise.unwrap_or(0.5),
                },
                Vec::new(),
            ),
            Defense::Smp => (
                JobKind::Smp {
                    alpha: model.alpha.unwrap_or(1.0),
                    beta: model.beta.unwrap_or(1.0),
                    attacker_rate: model.attacker_rate.unwrap_or(1e-5),
                    attacker_steps: model.attacker_steps.unwrap_or(1),
                },
                Vec::new(),
            ),
            Defense::Synthetic => (
                JobKind::Synthetic {
                    images: model.images,
                },
                teachers(),
            ),
        };
        let mut own = job(&model.name, model.seed_offset, kind, needs);
        own.train = model.recipe(experiment)?;
        own.distill = model.distillation(&experiment.distill)?;
        let distill = own.distill.as_ref().unwrap_or(&experiment.distill);
        if let (true, Some(teacher)) = (model.defense.facts().distilled, own.needs.first())
            && distill.init == Init::Shared
        {
            own.init_seed = Some(beginning(&jobs, experiment, teacher));
        }
        jobs.push(own);
    }
    if experiment.audit.reference == Reference::Trained
        && experiment
            .audit
            .attacks
            .iter()
            .any(|a| a.needs() == Needs::Reference)
    {
        jobs.push(job(REFERENCE, 0, JobKind::Reference, Vec::new()));
    }
    let needed: Vec<String> = jobs.iter().flat_map(|job| job.needs.clone()).collect();
    // Nothing is needed by what itself needs something, so this order also honours the needs. The sort is stable.
    jobs.sort_by_key(|job| {
        (
            job.kind != JobKind::Pretrain,
            !job.needs.is_empty(),
            !needed.contains(&job.name),
        )
    });
    Ok(jobs)
}

/// Seed of the weights that a teacher began with: the teachers of `jobs`, or a model of the file that comes later.
fn beginning(jobs: &[Job], experiment: &Experiment, teacher: &str) -> u64 {
    if let Some(job) = jobs.iter().find(|job| job.name == teacher) {
        return job.seed;
    }
    let entry = experiment.models.iter().find(|m| m.name == teacher);
    training_seed(experiment.seed, entry.map_or(0, |m| m.seed_offset), teacher)
}

/// The two models that a defence of this entry is made from.
pub fn teachers_of(model: &ModelEntry) -> [String; 2] {
    Part::teachers(model.teachers.as_deref()).map(|teacher| teacher.to_string())
}

/// Names of the models of K shards.
fn shard_names(shards: usize) -> Vec<String> {
    let parts = Part::shards(shards).into_iter();
    parts.map(|shard| shard.to_string()).collect()
}

/// All models to audit, in the order of the file; the teachers before the first model that is made from them.
pub fn targets(experiment: &Experiment) -> Vec<Target> {
    let audit = &experiment.audit;
    let mut black_box: Vec<AttackSpec> = Vec::new();
    if audit.black_box {
        black_box.push(BaseAttack::Nearest.into());
        if experiment.is_text() {
            black_box.push(BaseAttack::SimMean.into());
        }
    }
    // What looks at drawn images alone can be run on whatever draws.
    for attack in audit.attacks.iter().filter(|a| a.needs_images()) {
        if !black_box.contains(attack) {
            black_box.push(attack.clone());
        }
    }
    // Some attacks take the two models of a pair, all others take one model.
    let named = |pair: bool| {
        let all = audit.attacks.iter().filter(|a| !a.needs_images());
        all.filter(move |a| a.takes_pair() == pair).cloned()
    };
    let single = |name: &str, defense: ModelKind, needs: Vec<String>| Target {
        name: name.to_owned(),
        defense,
        repeat_of: None,
        needs,
        parts: vec![name.to_owned()],
        attacks: named(false).chain(black_box.iter().cloned()).collect(),
    };
    let mut targets: Vec<Target> = Vec::new();
    for (place, model) in experiment.models.iter().enumerate() {
        let teachers = || teachers_of(model).to_vec();
        let earlier = experiment.models[..place].iter();
        let repeat_of = earlier
            .filter(|e| e.but_for_seed() == model.but_for_seed())
            .map(|e| e.name.clone())
            .next();
        if model.defense.made_from() == MadeFrom::Teachers {
            for name in teachers() {
                if targets.iter().all(|target| target.name != name) {
                    targets.push(single(&name, ModelKind::Part, Vec::new()));
                }
            }
        }
        let (name, defense) = (&model.name, ModelKind::Of(model.defense));
        let target = match model.defense {
            Defense::None => single(name, defense, Vec::new()),
            Defense::Distillmd => single(name, defense, teachers()),
            Defense::Kd => single(name, defense, vec![model.kd_teacher().to_owned()]),
            Defense::DpSgd
            | Defense::EarlyStopping
            | Defense::Iet
            | Defense::Ambient
            | Defense::Smp => single(name, defense, Vec::new()),
            Defense::Synthetic => single(name, defense, teachers()),
            Defense::KWay => single(name, defense, shard_names(model.shards())),
            Defense::Ensemble => Target {
                parts: shard_names(model.shards()),
                attacks: black_box.clone(),
                ..single(name, defense, shard_names(model.shards()))
            },
            Defense::Dualmd => Target {
                parts: teachers(),
                attacks: named(true).chain(black_box.iter().cloned()).collect(),
                ..single(name, defense, teachers())
            },
        };
        targets.push(Target {
            // A pair or an ensemble is not trained itself.
            repeat_of: repeat_of.filter(|_| target.parts == [name.clone()]),
            ..target
        });
    }
    targets
}

/// What [`share`] divides.
pub struct Machine {
    /// Cores.
    pub cores: usize,
    /// Memory in GB, where known.
    pub memory_gb: Option<f64>,
    /// Parameters of a network.
    pub parameters: u64,
    /// The trainings run on a GPU.
    pub cuda: bool,
}

/// Trainings side by side and threads of each.
///
/// On CPU a small network gains more from a core of its own than a training gains from a second thread, so there are as
/// many trainings as cores, models ready at the same time, and memory allow; the cores are divided among them. A GPU
/// gets one training at a time.
pub fn share(jobs: &[Job], asked: &Run, machine: &Machine) -> (usize, usize) {
    let first = jobs.iter().filter(|job| job.needs.is_empty()).count();
    let widest = first.max(jobs.len() - first).max(1);
    let parallel = match asked.jobs {
        0 if machine.cuda => 1,
        0 => machine.cores.min(widest).min(fit_in_memory(machine)).max(1),
        jobs => jobs.min(widest),
    };
    let threads = match asked.threads_per_model {
        0 => (machine.cores / parallel).max(1),
        threads => threads,
    };
    (parallel, threads)
}

/// How many trainings fit: each holds libtorch (0.5 GB) and, in f32, weights, gradients, Adam's two moments, the moving
/// average and a checkpoint being written (24 bytes a parameter); a third of the memory is left for activations and others.
fn fit_in_memory(machine: &Machine) -> usize {
    let Some(memory) = machine.memory_gb else {
        return usize::MAX;
    };
    let each = 0.5 + 24e-9 * machine.parameters as f64;
    (memory * 2.0 / 3.0 / each) as usize
}
