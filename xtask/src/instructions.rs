//! `cargo xtask bench --instructions`: how many instructions a tiny training step takes, counted by callgrind, beside the stored number.
//!
//! A count hangs on no clock, so that a busy machine gives what an idle one does. Two trainings of different lengths are counted, and the
//! difference is divided by that of their steps: loading libtorch, reading images and writing the model are not in it. The libraries are
//! told to use AVX2, the most that valgrind knows, so that machines choose the same kernels. Another libtorch or compiler has other counts.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::Usage;
use crate::engine::{self, Choice};
use crate::workspace::{self, ENGINE, Scratch, Workspace};

/// The stored count.
const FILE: &str = "bench/instructions.json";

/// The share by which a count may be off. More is a failure in either direction: a step that became cheaper is stored again, or the next
/// one that becomes dearer goes unseen.
const TOLERANCE: f64 = 0.02;

/// Steps of the two trainings.
const STEPS: [u64; 2] = [4, 14];

const EXPERIMENT: &str = r#"seed = 0
[data]
source = "fashion"
image_size = 16
members = 16
nonmembers = 8
[model]
preset = "tiny"
[train]
steps = STEPS
batch = 8
dtype = "f32"
log_every = 1000
eval_every = 0
checkpoint_every = 1000
[[models]]
name = "baseline"
defense = "none"
"#;

/// What the program tells its allocator, before which it starts itself once more: memory of tensors is kept.
pub const ALLOCATOR: [(&str, &str); 3] = [
    ("MALLOC_MMAP_THRESHOLD_", "4294967296"),
    ("MALLOC_TRIM_THRESHOLD_", "8589934592"),
    ("MALLOC_TOP_PAD_", "67108864"),
];

/// One thread, AVX2, and what the program would start itself once more for: valgrind would lose sight of it.
const VARIABLES: [(&str, &str); 6] = [
    ("DUALMD_SETTLED", "1"),
    ("OMP_NUM_THREADS", "1"),
    ("OMP_WAIT_POLICY", "PASSIVE"),
    ("ATEN_CPU_CAPABILITY", "avx2"),
    ("ONEDNN_MAX_CPU_ISA", "AVX2"),
    ("MKL_ENABLE_INSTRUCTIONS", "AVX2"),
];

/// Counts, and compares with the stored count, or with `--write` stores it.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    let write = match args {
        [] => false,
        [flag] if flag == "--write" => true,
        _ => bail!(Usage(
            "bench --instructions takes --write or nothing".into()
        )),
    };
    let engine = engine::ensure(workspace, Choice::Keep)?;
    workspace.build_release(&engine, &[])?;
    let scratch = Scratch::new(&workspace.target, "instructions")?;
    let [short, long] = STEPS.map(|steps| counted(workspace, &scratch.0, steps));
    let counted = per_step(short?, long?)?;
    eprintln!("{counted} instructions a step");
    let file = workspace.root.join(FILE);
    if write {
        let text = json!({ "per_step": counted, "libtorch": engine.version });
        return fs::write(&file, format!("{text}\n"))
            .with_context(|| format!("cannot write {}", file.display()));
    }
    let stored = fs::read_to_string(&file)
        .with_context(|| format!("cannot read {FILE}: --write stores a first count"))?;
    eprintln!("{}", compared(&stored, counted, &engine.version)?);
    Ok(())
}

/// Instructions of a training of so many steps, from its start to its end.
fn counted(workspace: &Workspace, folder: &Path, steps: u64) -> Result<u64> {
    let experiment = folder.join(format!("{steps}.toml"));
    fs::write(&experiment, EXPERIMENT.replace("STEPS", &steps.to_string()))
        .with_context(|| format!("cannot write {}", experiment.display()))?;
    let log = folder.join(format!("{steps}.callgrind"));
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", log.display()))
        .arg(workspace.program().with_file_name(ENGINE))
        .arg("train")
        .arg(&experiment)
        .args(["--model", "baseline", "--out"])
        .arg(folder.join(format!("run-{steps}")))
        .args(["--device", "cpu", "--threads", "1", "--quiet"])
        .envs(VARIABLES)
        .envs(ALLOCATOR);
    workspace::run(command).context("counting needs valgrind (Debian: apt install valgrind)")?;
    let text =
        fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
    total(&text).with_context(|| format!("{} has no total", log.display()))
}

/// The total of a file of callgrind's.
fn total(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))?;
    line.trim().parse().ok()
}

fn per_step(short: u64, long: u64) -> Result<u64> {
    match long.checked_sub(short) {
        Some(more) if more > 0 => Ok(more / (STEPS[1] - STEPS[0])),
        _ => bail!(
            "{} steps took {short} instructions and {} steps {long}: that counts no step",
            STEPS[0],
            STEPS[1]
        ),
    }
}

/// What is said of a count beside the stored one; a failure where it is off.
fn compared(stored: &str, counted: u64, libtorch: &str) -> Result<String> {
    let value: Value = serde_json::from_str(stored).context(FILE)?;
    let known = value.get("per_step").and_then(Value::as_u64);
    let known = known
        .filter(|n| *n > 0)
        .with_context(|| format!("{FILE}: `per_step` is no number above 0"))?;
    let of = value.get("libtorch").and_then(Value::as_str).unwrap_or("?");
    if of != libtorch {
        bail!(
            "{FILE} is of libtorch {of}, and this is {libtorch}: --write stores the count of today"
        );
    }
    let ratio = counted as f64 / known as f64;
    let said = format!("{ratio:.4} times the stored {known}");
    if (ratio - 1.0).abs() > TOLERANCE {
        bail!(
            "{said}, which is off by more than {:.0} %: find out why; --write stores it where it is meant",
            TOLERANCE * 100.0
        );
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_the_difference_of_two_trainings() {
        let file = "events: Ir\nsummary: 7\n\nfn=(1) main\n1 7\n\ntotals: 126559\n";
        assert_eq!(total(file), Some(126_559));
        assert_eq!(total("events: Ir\n"), None);
        assert_eq!(per_step(1_000, 6_000).unwrap(), 500);
        assert!(per_step(1_000, 1_000).is_err() && per_step(2, 1).is_err());
    }

    #[test]
    fn a_count_that_is_off_fails_in_either_direction() {
        let stored = r#"{"libtorch":"2.13.0","per_step":1000}"#;
        let beside = |counted| compared(stored, counted, "2.13.0");
        for near in [981, 1000, 1019] {
            assert!(beside(near).unwrap().contains("1000"), "{near}");
        }
        for off in [970, 1030] {
            let said = beside(off).unwrap_err().to_string();
            assert!(said.contains("2 %"), "{said}");
        }
        let said = compared(stored, 1000, "2.14.0").unwrap_err().to_string();
        assert!(
            said.contains("2.13.0") && said.contains("--write"),
            "{said}"
        );
        assert!(compared(r#"{"per_step":0}"#, 1, "2.13.0").is_err());
    }
}
