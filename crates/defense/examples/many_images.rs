//! Does the memory of a training grow with the number of its images? Colour images of 32 px are generated, and written by another process as a
//! run's prepared images are: pixels, `images.json` and `split.json`. Nine in ten are members. Then both files are read as a training reads them,
//! and some steps of a network are trained on all members. Printed is the most memory that this process has held (VmHWM) before it read, when it
//! had read, and at its end.
//!
//! `cargo run --release -p dualmd-defense --example many_images -- IMAGES [PRESET [STEPS [FOLDER]]]`: `small`, 5 steps, and the folder for
//! temporary files, where nothing is given. It takes 3.5 kB there for each image, and the other process about 1 kB of memory.

mod common;

use common::{Outcome, run, trainer};
use dualmd_data::{
    Groups, Ids, ImageSet, Picture, Pixels, Placed, Record, SampleId, Split, stream,
};
use dualmd_defense::{Images, Plain, TrainOptions};
use dualmd_record::prepared::{Prepared, PreparedRecord};
use dualmd_torch::tch;
use rand::RngCore;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const BATCH: usize = 64;
/// Channels, height, width.
const SHAPE: [usize; 3] = [3, 32, 32];
/// What this program is asked for when it is to write the images.
const PREPARE: &str = "--prepare";
const INDEX: &str = "images.json";
const SPLIT: &str = "split.json";
const PIXELS: &str = "all.pixels";

fn main() -> Outcome<()> {
    let mut given = std::env::args().skip(1);
    let first = given.next().ok_or("give a number of images")?;
    if first == PREPARE {
        let n: usize = given.next().ok_or("give a number of images")?.parse()?;
        return prepare(n, Path::new(&given.next().ok_or("give a folder")?));
    }
    let n: usize = first.parse()?;
    let name = given.next().unwrap_or_else(|| "small".into());
    let steps: u64 = given.next().map_or(Ok(5), |n| n.parse())?;
    let folder = given.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(folder)?;
    tch::set_num_threads(1);
    let began = Instant::now();
    let say = |what: &str| {
        let seconds = began.elapsed().as_secs_f64();
        println!("{n} images, {what}: {} MiB at most, {seconds:.1} s", peak());
    };
    let mut other = Command::new(std::env::current_exe()?);
    other.arg(PREPARE).arg(n.to_string()).arg(folder.path());
    if !other.status()?.success() {
        return Err("the images were not written".into());
    }
    say("written by another process");
    let (images, members) = read(folder.path())?;
    say("read");
    let recipe = Plain::new((0..members).collect(), 1)?;
    let options = TrainOptions {
        steps,
        batch: BATCH,
        ..TrainOptions::default()
    };
    let checkpoints = tempfile::tempdir()?;
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

/// As a training does: the members, and after them the non-members; and how many are members.
fn read(folder: &Path) -> Outcome<(Images, usize)> {
    let mut numbers = Vec::new();
    let found = Prepared::read_each(&folder.join(INDEX), |record| {
        numbers.extend(SampleId::number(&record.id));
    })?;
    let path = folder.join(&found.pixels);
    let pixels = Pixels::stored(
        dualmd_files::open(&path)?,
        &path,
        found.shape,
        numbers.len(),
    )?;
    let placed = Placed::load(&folder.join(SPLIT), &Ids::new(numbers), &found.source)?;
    let sides = placed.selected;
    let order = [&sides.members[..], &sides.nonmembers].concat();
    Ok((Images::Filed(pixels.at(&order)?), sides.members.len()))
}

/// Writes `n` images of noise as a run's prepared images are written.
fn prepare(n: usize, folder: &Path) -> Outcome<()> {
    let [channels, height, width] = SHAPE;
    let mut file = BufWriter::with_capacity(1 << 20, std::fs::File::create(folder.join(PIXELS))?);
    let mut rng = stream(1, "images", 0);
    let mut records = Vec::with_capacity(n);
    for i in 0..n {
        let mut picture = Picture {
            width: width as u32,
            height: height as u32,
            channels: channels as u8,
            pixels: vec![0; SHAPE.iter().product()],
        };
        rng.fill_bytes(&mut picture.pixels);
        file.write_all(&picture.pixels)?;
        let id = picture.id();
        picture.pixels = Vec::new();
        records.push(Record {
            id,
            picture,
            captions: Vec::new(),
            group: None,
            label: None,
            name: format!("{i}.png"),
            file: None,
        });
    }
    file.flush()?;
    let record = |record: &Record| PreparedRecord {
        id: record.id.to_string(),
        name: record.name.clone(),
        captions: Vec::new(),
        group: None,
        label: None,
    };
    let prepared = Prepared {
        source: "noise".into(),
        licence: None,
        shape: SHAPE,
        pixels: PIXELS.into(),
        records: records.iter().map(record).collect(),
        outside: Vec::new(),
    };
    dualmd_record::write(&folder.join(INDEX), &prepared)?;
    drop(prepared);
    let set = ImageSet::new("noise".into(), None, records)?;
    let held_out = (n / 10).max(1);
    let members = n.saturating_sub(held_out);
    let split = Split::half(&set, &Groups::given(&set), members, Some(held_out), 1)?;
    Ok(split.save(&folder.join(SPLIT))?)
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
