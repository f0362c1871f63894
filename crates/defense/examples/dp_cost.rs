//! What DP-SGD costs in time: one thread's processor time per step of the `tiny` network on 16 x 16 colour images, private
//! and not; private steps of all images at once, and image by image with gradient checkpointing. Processor time, because it depends less than the clock on what else the machine does (Linux; elsewhere the
//! clock is read).
//!
//! `cargo run --release -p dualmd-defense --example dp_cost`

mod common;

use common::{Outcome, run, trainer};
use dualmd_data::stream;
use dualmd_defense::{DpSgd, Plain, Privacy, Recipe, TrainOptions};
use dualmd_torch::{Device, noise, tch};
use std::time::Instant;

const IMAGES: usize = 256;
const BATCH: usize = 64;

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
    let size = [IMAGES as i64, 3, 16, 16];
    let images = noise::normal(&mut stream(1, "images", 0), &size, Device::Cpu);
    let options = TrainOptions {
        steps,
        batch: BATCH,
        gradient_checkpointing,
        ..TrainOptions::default()
    };
    let trainer = trainer(folder.path(), ("tiny", 16), images.into(), recipe, options)?;
    let (clock, began) = (Instant::now(), processor_seconds());
    run(trainer, &|| ())?;
    Ok(match (began, processor_seconds()) {
        (Some(began), Some(now)) => now - began,
        _ => clock.elapsed().as_secs_f64(),
    })
}

/// Seconds that this thread has spent on a processor. libtorch runs a CPU backward pass on the thread that asks for it.
fn processor_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds / 1e9)
}
