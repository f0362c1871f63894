//! What it costs to find the near-duplicates of many pictures and to draw a split of them:
//! `cargo run --release -p dualmd-data --no-default-features --example split_scale -- 1000000 FOLDER`. The pixels lie in a file in
//! FOLDER (3.1 GB for a million), and split.json is left there.
//!
//! Pictures of 32 px in colour are generated, not read: patterns of five sizes, coarse ones strongest, as in photographs. Of fifty
//! one is an earlier one mirrored, moved by a pixel, or made brighter.

use dualmd_data::{Filter, Listing, NearDuplicateOptions, Picture, Record, Split, stream};
use rand::Rng;
use std::time::Instant;

const SIDE: u32 = 32;

/// Sides of the patterns, and how strong they are.
const PATTERNS: [(u32, f32); 5] = [(1, 90.0), (2, 70.0), (4, 50.0), (8, 30.0), (16, 15.0)];

/// Picture number `index` of all that could be generated.
fn generated(index: u64) -> Picture {
    let mut rng = stream(0, "generated picture", index);
    if index % 50 == 49 {
        let original = generated(index - 1 - rng.random_range(0..index.min(48)));
        return changed(original, rng.random_range(0..3));
    }
    let mut sums = vec![128.0_f32; (SIDE * SIDE * 3) as usize];
    for (side, strength) in PATTERNS {
        let pixels = (0..side * side * 3).map(|_| rng.random()).collect();
        let pattern = Picture {
            width: side,
            height: side,
            channels: 3,
            pixels,
        };
        let Ok(large) = pattern.resize(SIDE, SIDE, Filter::Bilinear) else {
            continue;
        };
        for (sum, v) in sums.iter_mut().zip(&large.pixels) {
            *sum += (f32::from(*v) / 127.5 - 1.0) * strength;
        }
    }
    let pixels = sums
        .into_iter()
        .map(|v| v.clamp(0.0, 255.0) as u8)
        .collect();
    Picture {
        width: SIDE,
        height: SIDE,
        channels: 3,
        pixels,
    }
}

fn changed(mut picture: Picture, how: u32) -> Picture {
    let row = SIDE as usize * 3;
    match how {
        0 => {
            for line in picture.pixels.chunks_exact_mut(row) {
                for x in 0..SIDE as usize / 2 {
                    for c in 0..3 {
                        line.swap(x * 3 + c, row - 3 - x * 3 + c);
                    }
                }
            }
        }
        1 => picture.pixels.rotate_right(row),
        _ => picture
            .pixels
            .iter_mut()
            .for_each(|v| *v = v.saturating_add(3)),
    }
    picture
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let n: u64 = args.next().ok_or("give a number of pictures")?.parse()?;
    let folder = args.next().unwrap_or_else(|| ".".into());
    let began = Instant::now();
    let said = |what: &str, n: usize| {
        let seconds = began.elapsed().as_secs_f64();
        println!("{seconds:8.1} s, {:6} MiB at most: {what}, {n}", peak());
    };
    let records = (0..n).map(|i| {
        let picture = generated(i);
        Record {
            id: picture.id(),
            picture,
            captions: vec![],
            group: None,
            label: None,
            name: i.to_string(),
            file: None,
        }
    });
    let mut listing = Listing::made("generated".into(), records, folder.as_ref())?;
    said("generated", listing.set().len());
    let dropped = listing.dedupe()?.dropped.len();
    said("exact duplicates", dropped);
    let groups = listing.near_duplicates(&NearDuplicateOptions::default())?;
    said("groups of more than one", groups.shared());
    let set = listing.set();
    let split = Split::half(set, &groups, set.len() / 4 * 2, None, 0)?;
    said("members", split.members().len());
    split.save(&std::path::Path::new(&folder).join("split.json"))?;
    said("non-members, written", split.nonmembers().len());
    Ok(())
}

/// Most memory of this process, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| {
        line.trim()
            .trim_end_matches("kB")
            .trim()
            .parse::<u64>()
            .ok()
    });
    kib.unwrap_or(0) / 1024
}
