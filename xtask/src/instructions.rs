//! `cargo xtask bench --instructions`: how many instructions a tiny training step takes, counted by callgrind, beside the stored number.
//!
//! A count hangs on no clock, so that a busy machine gives what an idle one does. Two trainings of different lengths are counted, and the
//! difference is divided by that of their steps: loading libtorch, reading images and writing the model are not in it. The libraries are
//! told to use AVX2, the most that valgrind knows, so that machines choose the same kernels. Another libtorch or compiler has other counts,
//! and so has another build: each kind has its own. CI counts those of the build that its tests start.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

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

/// What is stored.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Counts {
    /// Whose kernels were counted.
    libtorch: String,
    /// Instructions of a step, by the kind of build: `release` or `debug`.
    per_step: BTreeMap<String, u64>,
}

/// What was asked for.
#[derive(Debug, PartialEq)]
struct Options {
    /// Store the count in place of comparing it.
    write: bool,
    /// A program that is built already, with dualmd-engine beside it.
    program: Option<PathBuf>,
}

impl Options {
    /// Reads `[--write] [--program FILE]`.
    fn parse(args: &[String]) -> Result<Self> {
        let (mut write, mut program) = (false, None);
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--write" => write = true,
                "--program" => match args.next() {
                    Some(file) => program = Some(PathBuf::from(file)),
                    None => bail!(Usage("--program wants a file".into())),
                },
                other => bail!(Usage(format!(
                    "bench --instructions takes --write and --program FILE, not {other}"
                ))),
            }
        }
        Ok(Self { write, program })
    }
}

/// The kind of a build by the folder that cargo leaves it in.
fn kind(program: &Path) -> Result<String> {
    let folder = program.parent().and_then(Path::file_name);
    match folder.and_then(|name| name.to_str()) {
        Some(name @ ("debug" | "release")) => Ok(name.to_owned()),
        _ => bail!(
            "{}: the program must lie where cargo leaves it, in a folder debug or release",
            program.display()
        ),
    }
}

/// Counts, and compares with the stored count, or with `--write` stores it.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    let options = Options::parse(args)?;
    let engine = engine::ensure(workspace, Choice::Keep)?;
    let program = match options.program {
        Some(program) => program,
        None => {
            workspace.build_release(&engine, &[])?;
            workspace.program()
        }
    };
    let kind = kind(&program)?;
    let scratch = Scratch::new(&workspace.target, "instructions")?;
    let [short, long] = STEPS.map(|steps| counted(&program, &scratch.0, steps));
    let counted = per_step(short?, long?)?;
    eprintln!("{counted} instructions a step ({kind} build)");
    let file = workspace.root.join(FILE);
    let stored = fs::read_to_string(&file);
    if options.write {
        let text = with(stored.ok().as_deref(), &engine.version, kind, counted)?;
        return fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()));
    }
    let stored = stored.with_context(|| format!("cannot read {FILE}: --write stores a count"))?;
    eprintln!("{}", compared(&stored, &kind, counted, &engine.version)?);
    Ok(())
}

/// The file with this count in it. Counts of another libtorch go.
fn with(stored: Option<&str>, libtorch: &str, kind: String, counted: u64) -> Result<String> {
    let known = stored.map(serde_json::from_str::<Counts>).transpose();
    let known = known.context(FILE)?.filter(|of| of.libtorch == libtorch);
    let mut counts = known.unwrap_or(Counts {
        libtorch: libtorch.into(),
        per_step: BTreeMap::new(),
    });
    counts.per_step.insert(kind, counted);
    Ok(serde_json::to_string_pretty(&counts)? + "\n")
}

/// Instructions of a training of so many steps, from its start to its end.
fn counted(program: &Path, folder: &Path, steps: u64) -> Result<u64> {
    let experiment = folder.join(format!("{steps}.toml"));
    fs::write(&experiment, EXPERIMENT.replace("STEPS", &steps.to_string()))
        .with_context(|| format!("cannot write {}", experiment.display()))?;
    let log = folder.join(format!("{steps}.callgrind"));
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", log.display()))
        .arg(program.with_file_name(ENGINE))
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
fn compared(stored: &str, kind: &str, counted: u64, libtorch: &str) -> Result<String> {
    let stored: Counts = serde_json::from_str(stored).context(FILE)?;
    if stored.libtorch != libtorch {
        bail!(
            "{FILE} is of libtorch {}, and this is {libtorch}: --write stores the count of today",
            stored.libtorch
        );
    }
    let known = stored.per_step.get(kind).copied().filter(|n| *n > 0);
    let known = known.with_context(|| {
        format!("{FILE} has no count above 0 of a {kind} build: --write stores one")
    })?;
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
        let stored = with(None, "2.13.0", "debug".into(), 1000).unwrap();
        let beside = |counted| compared(&stored, "debug", counted, "2.13.0");
        for near in [981, 1000, 1019] {
            assert!(beside(near).unwrap().contains("1000"), "{near}");
        }
        for off in [970, 1030] {
            let said = beside(off).unwrap_err().to_string();
            assert!(said.contains("2 %"), "{said}");
        }
        let said = |kind, libtorch| {
            let error = compared(&stored, kind, 1000, libtorch).unwrap_err();
            error.to_string()
        };
        let other = said("debug", "2.14.0");
        assert!(
            other.contains("2.13.0") && other.contains("--write"),
            "{other}"
        );
        assert!(said("release", "2.13.0").contains("release build"));
        let nothing = stored.replace("1000", "0");
        assert!(compared(&nothing, "debug", 1, "2.13.0").is_err());
    }

    #[test]
    fn each_kind_of_build_has_its_count() {
        let of = |text: &str| serde_json::from_str::<Counts>(text).unwrap().per_step;
        let one = with(None, "2.13.0", "debug".into(), 7).unwrap();
        let two = with(Some(&one), "2.13.0", "release".into(), 5).unwrap();
        let both = [("debug".to_owned(), 7), ("release".to_owned(), 5)];
        assert_eq!(of(&two), BTreeMap::from(both));
        // Another libtorch begins anew.
        let newer = with(Some(&two), "2.14.0", "release".into(), 6).unwrap();
        assert_eq!(of(&newer), BTreeMap::from([("release".to_owned(), 6)]));
        assert_eq!(kind(Path::new("/w/target/debug/dualmd")).unwrap(), "debug");
        assert!(kind(Path::new("dualmd")).is_err());
        let args = ["--program", "target/debug/dualmd", "--write"].map(String::from);
        let options = Options::parse(&args).unwrap();
        assert!(options.write && options.program.is_some());
        assert!(Options::parse(&args[..1]).is_err());
        assert!(Options::parse(&["--read".to_owned()]).is_err());
    }
}
