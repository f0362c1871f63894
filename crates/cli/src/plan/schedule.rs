//! Which models are trained, after which others, and how the machine is shared.

use crate::choices::Defense;
use crate::experiment::{Experiment, Run, TEACHERS};
use serde::{Deserialize, Serialize};

/// What a training is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum JobKind {
    /// All members, true noise.
    Baseline,
    /// One half of the members, true noise (Algorithm 1).
    Teacher {
        /// 1 or 2.
        half: u8,
    },
    /// All members, each answered by the teacher that never saw it (Algorithm 2).
    Student,
    /// All members, answered by one ordinary model.
    Kd {
        /// Name of that model.
        teacher: String,
    },
}

/// One training.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Folder under `models/`.
    pub name: String,
    /// What it is.
    #[serde(flatten)]
    pub kind: JobKind,
    /// Models that must be finished before.
    pub needs: Vec<String>,
    /// Seed of everything random in it; see [`training_seed`].
    pub seed: u64,
}

/// One model, or pair of models, to sample from and to audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Name of its files under `samples/` and `scores/`.
    pub name: String,
    /// `none`, `dualmd`, `distillmd`, `kd`, or `teacher`.
    pub defense: String,
    /// Models it was made from.
    pub needs: Vec<String>,
    /// Model folders to load: itself, or the two teachers that alternate.
    pub parts: Vec<String>,
    /// Attacks on it. A pair has no one network to ask, so only its images are attacked (`nn`).
    pub attacks: Vec<String>,
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
pub fn jobs(experiment: &Experiment) -> Vec<Job> {
    let teachers = || TEACHERS.map(String::from).to_vec();
    let job = |name: &str, offset: u64, kind: JobKind, needs: Vec<String>| Job {
        name: name.to_owned(),
        kind,
        needs,
        seed: training_seed(experiment.seed, offset, name),
    };
    let mut jobs: Vec<Job> = Vec::new();
    for model in &experiment.models {
        if needs_teachers(model.defense)
            && !jobs
                .iter()
                .any(|job| matches!(job.kind, JobKind::Teacher { .. }))
        {
            for (half, name) in (1..).zip(TEACHERS) {
                jobs.push(job(name, 0, JobKind::Teacher { half }, Vec::new()));
            }
        }
        let (kind, needs) = match model.defense {
            // The pair is no training of its own.
            Defense::Dualmd => continue,
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
        };
        jobs.push(job(&model.name, model.seed_offset, kind, needs));
    }
    let needed: Vec<String> = jobs.iter().flat_map(|job| job.needs.clone()).collect();
    // Nothing is needed by what itself needs something, so this order also honours the needs. The sort is stable.
    jobs.sort_by_key(|job| (!job.needs.is_empty(), !needed.contains(&job.name)));
    jobs
}

/// All models to audit, in the order of the file; the teachers before the first model that is made from them.
pub fn targets(experiment: &Experiment) -> Vec<Target> {
    let audit = &experiment.audit;
    let black_box = audit.black_box.then(|| "nn".to_owned());
    // Some attacks compare the two models of a pair, all others take one model.
    let named = |pair: bool| {
        let all = audit.attacks.iter();
        all.filter(move |a| dualmd_attack::needs_pair(a) == pair)
            .cloned()
    };
    let single = |name: &str, defense: &str, needs: Vec<String>| Target {
        name: name.to_owned(),
        defense: defense.to_owned(),
        needs,
        parts: vec![name.to_owned()],
        attacks: named(false).chain(black_box.clone()).collect(),
    };
    let teachers = || TEACHERS.map(String::from).to_vec();
    let mut targets: Vec<Target> = Vec::new();
    for model in &experiment.models {
        if needs_teachers(model.defense)
            && !targets.iter().any(|target| target.defense == "teacher")
        {
            targets.extend(TEACHERS.map(|name| single(name, "teacher", Vec::new())));
        }
        let (name, defense) = (&model.name, model.defense.as_str());
        targets.push(match model.defense {
            Defense::None => single(name, defense, Vec::new()),
            Defense::Distillmd => single(name, defense, teachers()),
            Defense::Kd => single(name, defense, vec![model.kd_teacher().to_owned()]),
            Defense::Dualmd => Target {
                parts: teachers(),
                attacks: named(true).chain(black_box.clone()).collect(),
                ..single(name, defense, teachers())
            },
        });
    }
    targets
}

fn needs_teachers(defense: Defense) -> bool {
    matches!(defense, Defense::Dualmd | Defense::Distillmd)
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
