//! What a run would do, what it would take, and what speaks against beginning: found out in seconds, before hours of work.

mod outline;
mod place;
mod steps;
mod sums;
mod words;

use crate::choices::Stage;
use crate::estimate;
use crate::experiment::Experiment;
use crate::machine;
use crate::plan::{JobKind, Plan};
use crate::run::{RunOptions, folders};
use crate::session::Session;
use crate::stages::lesson::train_of;
use crate::stages::prepare::{self, Resolved};
use crate::stages::{RunFolder, shadow};
use crate::whole;
use anyhow::Result;
use dualmd_files::{free_bytes, shown};
use dualmd_record::run_check::{
    DiskRoom, ImagesFound, MemoryHeld, RunCheck, StageTime, TrainingTime, VERSION,
};
use dualmd_record::scores::Scores;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use steps::{Called, Steps};
use sums::Item;

/// What was found out.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// All of it.
    pub found: RunCheck,
}

impl Checked {
    /// In lines for people: problems first, then what it takes.
    pub fn lines(&self) -> Vec<String> {
        words::lines(&self.found)
    }

    /// In three lines: what would be done, what it takes, what to look at.
    pub fn summary(&self) -> [String; 3] {
        words::summary(&self.found)
    }
}

/// Looks at the folder of a run, reads its images where that takes seconds, and times a few network calls and a few steps of every kind
/// of training: what would stop the run, and about how long it takes, how much memory and disk. Nothing is written. The number of threads
/// of the session's engine is set for libtorch at the end.
///
/// # Errors
/// An experiment that cannot be read, with the key that is wrong; nothing else could be checked then. All other trouble is in
/// [`RunCheck::problems`].
pub fn check(session: &Session, options: &RunOptions) -> Result<Checked> {
    let experiment = Experiment::load(&options.source, &options.sets)?;
    let mut found = RunCheck {
        schema: VERSION,
        folder: shown(&options.out).to_string(),
        seeds: options.seeds,
        ..RunCheck::default()
    };
    let (run, there) = folder(options, &experiment, &mut found);
    let known = Known::of(&experiment, &run, there.as_deref(), session, &mut found);
    if let Some(known) = known {
        let timed = Timed::of(&experiment, &run, &known, session, &mut found);
        dualmd_torch::device::set_threads(session.engine.threads);
        if let Some(timed) = timed {
            estimated(&run, &known, &timed, options, there.as_deref(), &mut found);
        }
    }
    found.problems.dedup();
    Ok(Checked { found })
}

/// An error on one line.
fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text.replace('\n', " ")
}

/// The folder of the first run, and one on its disk that is there, in which a file can be made.
fn folder(
    options: &RunOptions,
    experiment: &Experiment,
    found: &mut RunCheck,
) -> (RunFolder, Option<PathBuf>) {
    let mut all: Vec<PathBuf> = match folders(&options.out, experiment.seed, options.seeds) {
        Ok(runs) => runs.into_iter().map(|(_, folder)| folder).collect(),
        Err(error) => {
            found.problems.push(told(&error));
            vec![options.out.clone()]
        }
    };
    if options.seeds > 1 {
        all.push(options.out.clone());
        found.unchecked.push(format!(
            "images and what the folder holds of the {} runs after the first: other seeds draw other images of the same source",
            options.seeds - 1
        ));
    }
    let mut there = None;
    for folder in &all {
        match place::usable(folder) {
            Ok(usable) => {
                there.get_or_insert(usable);
            }
            Err(problem) if !found.problems.contains(&problem) => found.problems.push(problem),
            Err(_) => {}
        }
    }
    let first = all.into_iter().next();
    let first = first.unwrap_or_else(|| options.out.clone());
    (RunFolder(first), there)
}

/// What is known of a run without timing anything.
struct Known {
    plan: Plan,
    /// Channels, height, width.
    shape: [usize; 3],
    /// Captions of an image, in the mean.
    captions: f64,
    /// Images that nobody else sees.
    outside: usize,
}

impl Known {
    /// Reads the images, or else takes the experiment at its word. `there`: a folder in which pixels can wait.
    fn of(
        experiment: &Experiment,
        run: &RunFolder,
        there: Option<&Path>,
        session: &Session,
        found: &mut RunCheck,
    ) -> Option<Self> {
        let sources = [
            ("data.source", Some(&experiment.data.source)),
            (
                "pretrain.source",
                experiment.pretrain.as_ref().map(|p| &p.source),
            ),
        ];
        let mut large = Vec::new();
        for (key, source) in sources {
            let Some(source) = source else { continue };
            if let Some(size) = place::large(source) {
                found.unchecked.push(format!(
                    "{key} = \"{}\": {}, more than is read here: whether all images can be read, and how many are duplicates",
                    shown(source),
                    size.why
                ));
                large.push((key, size));
            }
        }
        if large.is_empty() {
            let elsewhere = std::env::temp_dir();
            let pixels = there.unwrap_or(&elsewhere);
            match prepare::resolve(experiment, run, pixels, session) {
                Ok(resolved) => return Some(Self::read(run, resolved, found)),
                Err(error) => found.problems.push(told(&error)),
            }
        }
        let (plan, shape) = match outline::plan(experiment, session) {
            Ok(planned) => planned,
            Err(error) => {
                let problem = told(&error);
                // The same trouble may have been met before.
                if !found.problems.iter().any(|said| said.contains(&problem)) {
                    found.problems.push(problem);
                }
                return None;
            }
        };
        let outside = prepare::most_outside(&plan, plan.data.members);
        let data = &plan.data;
        let needed = data.members + data.nonmembers + outside;
        for (key, size) in &large {
            if let Some(pictures) = size
                .pictures
                .filter(|n| *key == "data.source" && *n < needed)
            {
                found.problems.push(format!(
                    "{key} = \"{}\" has {pictures} pictures, and {} members, {} non-members and {outside} others are asked for: ask for fewer \
                     (data.members, data.nonmembers)",
                    shown(&data.source),
                    data.members,
                    data.nonmembers
                ));
            }
        }
        found.unchecked.push(format!(
            "the split: estimates take the experiment at its word, for images of {} channels of {} px",
            shape[0], shape[1]
        ));
        Some(Self {
            plan,
            shape,
            captions: 1.0,
            outside,
        })
    }

    /// Of images that were read.
    fn read(run: &RunFolder, resolved: Resolved, found: &mut RunCheck) -> Self {
        let Resolved {
            plan,
            images,
            outside,
        } = resolved;
        if shadow::asked(&plan)
            && let Err(error) = shadow::enough(run, &plan, &images)
        {
            found.problems.push(told(&error));
        }
        found.images = Some(ImagesFound {
            records: plan.data.records,
            duplicates: plan.data.duplicates_dropped,
            members: plan.data.members,
            nonmembers: plan.data.nonmembers,
            outside: outside.len(),
        });
        Self {
            shape: images.set().shape(),
            captions: whole::captions(&plan, &images),
            outside: outside.len(),
            plan,
        }
    }
}

/// What was timed.
struct Timed {
    call: Called,
    /// Of trainings that are still to be done; of those that could not be timed there is none.
    steps: BTreeMap<String, Steps>,
    /// Could all of them be timed?
    complete: bool,
    /// The most memory that was held, in GB.
    held: Option<f64>,
}

impl Timed {
    /// Times calls with all threads, and steps with those that a training gets; each kind of training once.
    fn of(
        experiment: &Experiment,
        run: &RunFolder,
        known: &Known,
        session: &Session,
        found: &mut RunCheck,
    ) -> Option<Self> {
        let (plan, shape) = (&known.plan, known.shape);
        let threads = plan.hardware.threads_per_model;
        let call = match steps::call(experiment, plan, shape, &session.engine) {
            Ok(call) => call,
            Err(error) => {
                found.problems.push(told(&error));
                return None;
            }
        };
        dualmd_torch::device::set_threads(threads);
        let engine = match session.engine.to_train(experiment.train.dtype) {
            Ok(engine) => engine,
            Err(error) => {
                found.problems.push(told(&error));
                return None;
            }
        };
        let slower = slower(&known.plan, session);
        let mut kinds: BTreeMap<String, Option<Steps>> = BTreeMap::new();
        let mut steps = BTreeMap::new();
        let mut complete = true;
        for job in &plan.trainings {
            if run.training(&job.name).exists() {
                continue;
            }
            let timed = steps::kind(plan, job).and_then(|kind| match kinds.get(&kind) {
                Some(before) => Ok(*before),
                None => {
                    let timed = steps::steps(run, plan, job, shape, call.seconds * slower, &engine);
                    kinds.insert(kind, timed.as_ref().ok().copied());
                    timed.map(Some)
                }
            });
            match timed {
                Ok(Some(timed)) => {
                    steps.insert(job.name.clone(), timed);
                }
                // Its kind has been told.
                Ok(None) => complete = false,
                Err(error) => {
                    complete = false;
                    found
                        .problems
                        .push(format!("model {}: {}", job.name, told(&error)));
                }
            }
        }
        Some(Self {
            call,
            steps,
            complete,
            held: machine::peak_rss_mb().map(|mb| mb / 1e3),
        })
    }
}

/// How much longer a network call takes with the threads of a training than with all of them, at most.
fn slower(plan: &Plan, session: &Session) -> f64 {
    let threads = plan.hardware.threads_per_model.max(1);
    (session.engine.threads as f64 / threads as f64).max(1.0)
}

/// Sums up what was timed, and compares it with the machine.
fn estimated(
    run: &RunFolder,
    known: &Known,
    timed: &Timed,
    options: &RunOptions,
    there: Option<&Path>,
    found: &mut RunCheck,
) {
    let (plan, captions) = (&known.plan, known.captions);
    let hardware = &plan.hardware;
    let call = timed.call.seconds;
    let alone = call * (hardware.cores as f64 / hardware.threads_per_model.max(1) as f64).max(1.0);
    found.side_by_side = hardware.parallel_models;
    found.threads = hardware.threads_per_model;
    found.look_at.extend(plan.warnings.iter().cloned());
    let shadowed = shadow::asked(plan);
    let of_shadow = shadow::folder(run);
    let until = options.until;
    let (mut items, mut again, mut bytes) = (Vec::new(), Vec::new(), 0.0);
    for job in plan.trainings.iter().filter(|_| until >= Stage::Train) {
        let Some(steps) = timed.steps.get(&job.name) else {
            continue;
        };
        let t = train_of(plan, job);
        let drawn = match &job.kind {
            JobKind::Synthetic { images } => {
                (images.unwrap_or(plan.data.members) * plan.sample.steps) as f64
            }
            _ => 0.0,
        };
        let seconds =
            steps.seconds * t.steps as f64 + alone * (estimate::watching(plan, job) + drawn);
        items.push(Item::new(job, seconds));
        let network = steps.parameters.max(plan.model.parameters as usize);
        bytes += sums::of_training(plan, job, steps.parameters, network);
        found.trainings.push(TrainingTime {
            name: job.name.clone(),
            steps: t.steps,
            batch: t.batch,
            timed_batch: steps.batch,
            step_seconds: steps.seconds,
            seconds,
        });
        // What all start from is not trained again.
        if shadowed && job.kind != JobKind::Pretrain && !of_shadow.training(&job.name).exists() {
            again.push(Item::new(job, seconds));
        }
    }
    let clock = |items: &[Item]| sums::by_the_clock(items, hardware.parallel_models);
    let trained = timed.complete.then(|| clock(&items) + clock(&again));
    let trainings = items.len() + again.len();
    let (mut drawing, mut drawn) = (0.0, 0);
    let (mut attacking, mut attacked) = (0.0, 0);
    let shadow_draws = shadowed && plan.models.iter().any(|t| shadow::draws(&t.attacks));
    for target in &plan.models {
        let calls = estimate::drawing(plan, target, captions).drawing;
        for (folder, asked) in [(run, true), (&of_shadow, shadow_draws)] {
            if asked && !folder.nearest(&target.name).exists() {
                drawing += calls;
                drawn += 1;
            }
        }
        let path = run.scores(&target.name, "json");
        let scores: Option<Scores> = match dualmd_record::read_if_usable(&path) {
            Ok(scores) => scores,
            Err(error) => {
                found.problems.push(told(&error.into()));
                None
            }
        };
        let mut left = 0;
        for attack in &target.attacks {
            let name = attack.to_string();
            let mut scored = scores.iter().flat_map(|s| &s.attacks);
            if !scored.any(|a| a.attack == name && !a.failed()) {
                attacking += estimate::attacking(plan, target, attack, captions).attacks;
                left += 1;
            }
        }
        attacked += usize::from(left > 0);
    }
    let stages = [
        (Stage::Train, trainings, trained),
        (Stage::Sample, drawn, Some(call * drawing)),
        (Stage::Attack, attacked, Some(call * attacking)),
    ];
    let asked = stages.into_iter().filter(|(stage, ..)| *stage <= until);
    let asked = asked.map(|(stage, models, seconds)| StageTime {
        stage: stage.as_str().to_owned(),
        models,
        seconds,
    });
    found.stages = asked.collect();
    let all: Option<f64> = found.stages.iter().map(|stage| stage.seconds).sum();
    found.seconds = all.map(|seconds| seconds * options.seeds as f64);
    bytes += sums::of_images(plan, known.shape, known.outside);
    let times = options.seeds as f64 * if shadowed { 2.0 } else { 1.0 };
    room(bytes * times, there, found);
    memory(plan, timed, found);
    found.method = format!(
        "at most {} steps of every kind of training were timed after a first one, with its own recipe, on random images, with {} of {} threads \
         and nothing beside it; generated images and attacks are counted in network calls, of which some were timed with all threads. Trainings side \
         by side may be slower. Not counted: reading images, checkpoints, image quality, copies, controls, statistics",
        steps::STEPS,
        hardware.threads_per_model,
        hardware.cores
    );
}

/// Room on the disk for so many bytes.
fn room(bytes: f64, there: Option<&Path>, found: &mut RunCheck) {
    let free = there.and_then(free_bytes).map(|free| free as f64);
    if let Some(free) = free.filter(|free| *free < bytes) {
        found.problems.push(format!(
            "the run writes about {:.1} GB, and {:.1} GB are free where its folder is to be: make room, choose another disk (--out), or keep \
             fewer checkpoints (train.keep_checkpoints)",
            bytes / 1e9,
            free / 1e9
        ));
    }
    found.disk = Some(DiskRoom {
        needed_gb: bytes / 1e9,
        free_gb: free.map(|free| free / 1e9),
    });
}

/// Memory of trainings side by side, by what this process held. Of a GPU's own memory nothing is said.
fn memory(plan: &Plan, timed: &Timed, found: &mut RunCheck) {
    if plan.hardware.device != "cpu" {
        found.unchecked.push(format!(
            "memory of {}: the steps that were timed fitted in it, one training at a time",
            plan.hardware.device
        ));
    }
    let Some(one) = timed.held else {
        return;
    };
    let side_by_side = match found.trainings.len() {
        0 => 1,
        n => plan.hardware.parallel_models.min(n),
    };
    let held = MemoryHeld {
        one_gb: one,
        all_gb: one * side_by_side as f64,
        there_gb: machine::memory_gb(),
        whole: timed.call.whole && timed.steps.values().all(|steps| steps.whole),
    };
    if let Some(there) = held.there_gb.filter(|there| *there < held.all_gb) {
        found.problems.push(format!(
            "{side_by_side} trainings side by side hold about {:.1} GB, and this machine has {there:.1}: fewer at a time (run.jobs), a smaller \
             train.batch, train.accumulate, or train.gradient_checkpointing = true",
            held.all_gb
        ));
    }
    found.memory = Some(held);
}
