//! What DP-SGD costs in time: one thread's processor time per step of the `tiny` network on 16 x 16 colour images, private
//! and not; private steps of all images at once, and image by image with gradient checkpointing. Processor time, because it depends less than the clock on what else the machine does (Linux; elsewhere the
//! clock is read).
//!
//! `cargo run --release -p dualmd-defense --example dp_cost`

use dualmd_data::stream;
use dualmd_defense::{DpSgd, Finished, Observer, Plain, Privacy, Recipe};
use dualmd_defense::{TrainOptions, Trainer, TrainingSet};
use dualmd_diffusion::{NoiseSchedule, UNet2d, preset::preset};
use dualmd_torch::device::Precision;
use dualmd_torch::ranks::Group;
use dualmd_torch::{Device, noise, tch};
use std::time::Instant;

const IMAGES: usize = 256;
const BATCH: usize = 64;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    tch::set_num_threads(1);
    println!("one thread, {BATCH} images per step (expected), tiny network, 16 x 16 x 3");
    let pool: Vec<usize> = (0..IMAGES).collect();
    report("plain", (1, false), &Plain::new(pool.clone(), 1)?, 20)?;
    for noise_multiplicity in [1, 2, 4, 8] {
        let privacy = Privacy {
            noise_multiplicity,
            ..Privacy::default()
        };
        let recipe = DpSgd::new(pool.clone(), privacy, "a measurement needs no secret")?;
        report("DP-SGD", (noise_multiplicity, false), &recipe, 5)?;
        report("image by image", (noise_multiplicity, true), &recipe, 5)?;
    }
    Ok(())
}

/// `checkpointing`: little of a pass is kept, and private gradients are taken image by image.
fn report(
    name: &str,
    (draws, checkpointing): (usize, bool),
    recipe: &dyn Recipe,
    steps: u64,
) -> Outcome<()> {
    let seconds = |steps: u64| seconds(recipe, steps, checkpointing);
    // The first run pays for what libtorch sets up once.
    seconds(2)?;
    let (three, rest) = (seconds(3)?, seconds(3 + steps)?);
    let images: usize = (3..3 + steps)
        .map(|s| recipe.draw(s, BATCH).images.len())
        .sum();
    // Without what both runs share: evaluation, files.
    let taken = rest - three;
    println!(
        "{name}, {draws} draws per image: {:.1} ms per step, {:.3} ms per image, {:.3} ms per draw",
        1e3 * taken / steps as f64,
        1e3 * taken / images as f64,
        1e3 * taken / (images * draws) as f64
    );
    Ok(())
}

fn seconds(recipe: &dyn Recipe, steps: u64, gradient_checkpointing: bool) -> Outcome<f64> {
    let folder = tempfile::tempdir()?;
    let device = Device::Cpu;
    let trainer = Trainer {
        network: Box::new(UNet2d::fresh(&preset("tiny", 3, 16)?, 1, device)?),
        schedule: NoiseSchedule::default(),
        set: TrainingSet {
            images: noise::normal(
                &mut stream(1, "images", 0),
                &[IMAGES as i64, 3, 16, 16],
                device,
            ),
            ..TrainingSet::default()
        },
        recipe,
        options: TrainOptions {
            steps,
            batch: BATCH,
            gradient_checkpointing,
            checkpoint_every: 0,
            log_every: 0,
            eval_every: 0,
            ..TrainOptions::default()
        },
        seed: 1,
        evaluation_seed: 1,
        device,
        precision: Precision::F32,
        checkpoints: folder.path().join("checkpoints"),
        log: folder.path().join("log.jsonl"),
        tensorboard: folder.path().join("tensorboard"),
        fingerprint: String::new(),
        ranks: std::rc::Rc::new(Group::alone()),
    };
    let (clock, began) = (Instant::now(), processor_seconds());
    let (outcome, _) = trainer.run(&mut Observer {
        stop: &|| false,
        progress: &mut |_| (),
        sheet: &mut |_, _| (),
        warn: &mut |_| (),
        max_steps_now: None,
    })?;
    match outcome {
        Finished::Complete { .. } => Ok(match (began, processor_seconds()) {
            (Some(began), Some(now)) => now - began,
            _ => clock.elapsed().as_secs_f64(),
        }),
        Finished::Stopped { .. } => Err("stopped".into()),
    }
}

/// Seconds that this thread has spent on a processor. libtorch runs a CPU backward pass on the thread that asks for it.
fn processor_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds / 1e9)
}
