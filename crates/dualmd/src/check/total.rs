//! What a run takes in all: by the clock, in memory and on the disk.

use super::known::Known;
use super::steps::STEPS;
use super::sums::{self, Item};
use super::timed::{Timed, is_left, slower};
use super::told;
use crate::choices::Stage;
use crate::estimate;
use crate::machine;
use crate::plan::{JobKind, Plan};
use crate::run::RunOptions;
use crate::stages::{RunFolder, shadow};
use dualmd_files::free_bytes;
use dualmd_record::run_check::{DiskRoom, MemoryHeld, RunCheck, StageTime, TrainingTime};
use dualmd_record::scores::Scores;
use std::path::Path;

/// Sums up what was timed, and compares it with the machine. `there`: a folder on the run's disk.
pub(super) fn estimated(
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
    let alone = call * slower(plan, hardware.cores);
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
        let t = plan.train_of(job);
        let drawn = match &job.kind {
            JobKind::Synthetic { images } => {
                (images.unwrap_or(plan.data.members) * plan.sample.steps) as f64
            }
            _ => 0.0,
        };
        let seconds =
            steps.seconds * t.steps as f64 + alone * (estimate::watching(plan, job) + drawn);
        // What all start from is not trained again.
        if shadowed && job.kind != JobKind::Pretrain && is_left(&of_shadow, &job.name) {
            again.push(Item::new(job, seconds));
        }
        if !is_left(run, &job.name) {
            continue;
        }
        items.push(Item::new(job, seconds));
        bytes += sums::of_training(plan, job, steps.trained, steps.network);
        found.trainings.push(TrainingTime {
            name: job.name.clone(),
            steps: t.steps,
            batch: t.batch,
            timed_batch: steps.batch,
            step_seconds: steps.seconds,
            seconds,
        });
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
        STEPS, hardware.threads_per_model, hardware.cores
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
