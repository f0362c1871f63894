//! Does the memory of a training grow with the number of its images? Colour images of 32 px are generated, written to a file as
//! a run's prepared images are, and some steps of a network are trained on all of them. Printed is the most memory that the process
//! has held (VmHWM) before the training and at its end.
//!
//! `cargo run --release -p dualmd-defense --example many_images -- IMAGES [PRESET [STEPS [FOLDER]]]`: `small`, 5 steps, and a file without
//! a name in the folder for temporary files, where nothing is given. It takes 3 kB for each image.

mod common;

use common::{Outcome, run, trainer};
use dualmd_data::{Pixels, stream};
use dualmd_defense::{Images, Plain, TrainOptions};
use dualmd_torch::tch;
use rand::RngCore;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::Instant;

const BATCH: usize = 64;
/// Channels, height, width.
const SHAPE: [usize; 3] = [3, 32, 32];

fn main() -> Outcome<()> {
    let mut given = std::env::args().skip(1);
    let n: usize = given.next().ok_or("give a number of images")?.parse()?;
    let name = given.next().unwrap_or_else(|| "small".into());
    let steps: u64 = given.next().map_or(Ok(5), |n| n.parse())?;
    let folder = given.next().map_or_else(std::env::temp_dir, PathBuf::from);
    tch::set_num_threads(1);
    let began = Instant::now();
    let say = |what: &str| {
        let seconds = began.elapsed().as_secs_f64();
        println!("{n} images, {what}: {} MiB at most, {seconds:.1} s", peak());
    };
    let mut file = BufWriter::with_capacity(1 << 20, tempfile::tempfile_in(&folder)?);
    let mut picture = vec![0_u8; SHAPE.iter().product()];
    let mut rng = stream(1, "images", 0);
    for _ in 0..n {
        rng.fill_bytes(&mut picture);
        file.write_all(&picture)?;
    }
    let pixels = Pixels::stored(file.into_inner()?, &folder, SHAPE, n)?;
    say("written");
    let recipe = Plain::new((0..n).collect(), 1)?;
    let options = TrainOptions {
        steps,
        batch: BATCH,
        ..TrainOptions::default()
    };
    let checkpoints = tempfile::tempdir()?;
    let images = Images::Filed(pixels);
    let trainer = trainer(
        checkpoints.path(),
        (name.as_str(), 32),
        images,
        &recipe,
        options,
    )?;
    run(trainer, &|| ())?;
    say(&format!("{steps} steps of {name}, {BATCH} images each"));
    Ok(())
}

/// Most memory of this process, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| {
        let number = line.trim().trim_end_matches("kB").trim();
        number.parse::<u64>().ok()
    });
    kib.unwrap_or(0) / 1024
}
