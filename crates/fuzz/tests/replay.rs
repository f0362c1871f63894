//! The corpus of every target, and mutants of it, as an ordinary test.
//!
//! Every finding of a fuzzer becomes a file of the corpus, so that it stays mended. The mutants are few and always the
//! same ones: they are no fuzzing, but a reader that panics on the first changed byte shows without a fuzzer.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dualmd_fuzz::{Target, targets};
use rand::Rng;

/// Mutants of each input; `DUALMD_MUTANTS` asks for more, and `DUALMD_FUZZ` for one target.
const MUTANTS: u64 = 12;
/// What one input may take, in a build without optimisation and on a machine that does other things also.
const TIME: Duration = Duration::from_secs(20);
/// What the process may hold at most, libtorch and all templates included. Inputs are of some kilobytes.
const MEMORY_MB: u64 = 1_500;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

/// The inputs of a target by file name.
fn inputs(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = corpus().join(target.name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| {
        panic!(
            "{}: {error}: write it with the example `corpus`",
            folder.display()
        )
    });
    let mut inputs: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect();
    inputs.sort();
    inputs
}

/// The most memory that this process has held, in MB; 0 where the system does not say.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or(0) / 1_024
}

/// One change: a byte, a cut, a part doubled or taken out, or a number that is too large.
fn mutant(input: &[u8], name: &str, number: u64) -> Vec<u8> {
    let mut draws = dualmd_data::stream_for_id(number, "mutant", name);
    let mut mutant = input.to_vec();
    if input.is_empty() {
        return vec![draws.random()];
    }
    let at = draws.random_range(0..input.len());
    let end = (at + draws.random_range(1..64)).min(input.len());
    match number % 6 {
        0 => mutant[at] = draws.random(),
        1 => mutant[at] ^= 1 << draws.random_range(0..8),
        2 => mutant.truncate(at),
        3 => drop(mutant.drain(at..end)),
        4 => {
            let part = mutant[at..end].to_vec();
            mutant.splice(at..at, part);
        }
        _ => match input.iter().skip(at).position(u8::is_ascii_digit) {
            // In a text: the number that comes next.
            Some(ahead) => drop(mutant.splice(at + ahead..=at + ahead, *b"-4611686018427387904")),
            None => mutant[at..end].fill(0xff),
        },
    }
    mutant
}

fn replay(target: &Target) {
    let asked = std::env::var("DUALMD_MUTANTS").ok();
    let mutants = asked.map_or(MUTANTS, |asked| asked.parse().unwrap());
    let started = Instant::now();
    let inputs = inputs(target);
    assert!(!inputs.is_empty(), "{}: no inputs", target.name);
    let mut count = 0;
    for (name, input) in &inputs {
        for number in 0..=mutants {
            let (input, which) = match number {
                0 => (input.clone(), format!("{}/{name}", target.name)),
                n => (
                    mutant(input, name, n),
                    format!("{}/{name}, mutant {n}", target.name),
                ),
            };
            let start = Instant::now();
            let outcome = std::panic::catch_unwind(|| (target.read)(&input));
            assert!(outcome.is_ok(), "{which}: the reader panicked");
            let took = start.elapsed();
            assert!(took < TIME, "{which}: took {took:?}");
            let memory = peak();
            assert!(
                memory < MEMORY_MB,
                "{which}: the process has held {memory} MB"
            );
            count += 1;
        }
    }
    println!(
        "{}: {count} inputs in {:.1?}",
        target.name,
        started.elapsed()
    );
}

/// In one test, because memory is counted for the process.
#[test]
fn no_reader_panics_hangs_or_swells() {
    let only = std::env::var("DUALMD_FUZZ").ok();
    for target in targets() {
        if only.as_deref().is_none_or(|name| name == target.name) {
            replay(&target);
        }
    }
}

/// `cargo xtask fuzz` builds without this crate, and reads the list from a file.
#[cfg(feature = "models")]
#[test]
fn the_list_of_targets_is_up_to_date() {
    let list = std::fs::read_to_string(corpus().with_file_name("targets.txt")).unwrap();
    assert_eq!(
        list,
        dualmd_fuzz::list(),
        "write it with the example `corpus`"
    );
}

/// A folder without a target would be replayed by nobody.
#[test]
fn every_folder_of_the_corpus_has_a_target() {
    let known: Vec<&str> = targets().iter().map(|target| target.name).collect();
    let mut size = 0;
    for entry in std::fs::read_dir(corpus()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        if cfg!(feature = "models") {
            assert!(
                known.contains(&name.as_str()),
                "fuzz/corpus/{name} belongs to no target"
            );
        }
        for file in std::fs::read_dir(entry.path()).unwrap() {
            size += file.unwrap().metadata().unwrap().len();
        }
    }
    assert!(
        size < 1 << 20,
        "the corpus has {size} bytes: keep it below 1 MB"
    );
}
