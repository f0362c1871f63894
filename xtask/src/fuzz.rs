//! `cargo xtask fuzz`: libFuzzer over the readers of this program, one after the other.
//!
//! What is fuzzed is in `crates/fuzz`, the two programs in `fuzz/`. They are built by cargo-fuzz, whose flags a stable
//! compiler takes when `RUSTC_BOOTSTRAP` is set. No sanitizer: it would watch memory that safe Rust does not touch wrongly,
//! and cannot be linked with libtorch's prebuilt libraries. Panics, overflows, aborts, hangs and memory are what is looked for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::Usage;
use crate::engine::{self, Choice};
use crate::workspace::{self, Scratch, Workspace};

/// The version that these arguments are for.
const CARGO_FUZZ: &str = "0.13.2";
/// One input may take so many seconds,
const TIMEOUT: u32 = 20;
/// and the process hold so many MB.
const MEMORY: u32 = 2_048;
/// Most bytes of an input that is made up.
const LENGTH: u32 = 65_536;

/// What was asked for.
#[derive(Debug, PartialEq)]
pub struct Options {
    /// For each target.
    seconds: u64,
    /// All if empty.
    targets: Vec<String>,
}

impl Options {
    /// Reads `[--seconds N] [TARGET...]`.
    pub fn parse(args: &[String]) -> Result<Self> {
        let mut options = Self {
            seconds: 60,
            targets: Vec::new(),
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--seconds" => {
                    let number = args.next().and_then(|n| n.parse().ok()).filter(|&n| n > 0);
                    let Some(seconds) = number else {
                        bail!(Usage("--seconds wants a whole number above 0".into()))
                    };
                    options.seconds = seconds;
                }
                flag if flag.starts_with('-') => bail!(Usage(format!("fuzz has no {flag}"))),
                target => options.targets.push(target.to_owned()),
            }
        }
        Ok(options)
    }
}

/// A target as `fuzz/targets.txt` lists it.
#[derive(Debug, PartialEq)]
struct Target {
    name: String,
    /// Which of the two programs has it.
    program: &'static str,
}

/// The targets, which `crates/fuzz` lists in a file because this program does not link it.
fn targets(workspace: &Workspace) -> Result<Vec<Target>> {
    let path = workspace.root.join("fuzz/targets.txt");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(parse_targets(&text))
}

fn parse_targets(text: &str) -> Vec<Target> {
    let target = |line: &str| {
        let (program, name) = line.split_once(' ')?;
        let program = if program == "models" {
            "models"
        } else {
            "files"
        };
        Some(Target {
            name: name.to_owned(),
            program,
        })
    };
    text.lines().filter_map(target).collect()
}

/// Builds what is needed and runs each target for its time. What is found lies under `fuzz/artifacts/`.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let all = targets(workspace)?;
    if let Some(unknown) = options
        .targets
        .iter()
        .find(|name| all.iter().all(|t| &t.name != *name))
    {
        let known: Vec<&str> = all.iter().map(|t| t.name.as_str()).collect();
        bail!(Usage(format!(
            "no fuzz target {unknown}: there are {}",
            known.join(", ")
        )));
    }
    let chosen: Vec<Target> = all
        .into_iter()
        .filter(|t| options.targets.is_empty() || options.targets.contains(&t.name))
        .collect();
    check_cargo_fuzz()?;
    for program in ["files", "models"] {
        if chosen.iter().any(|target| target.program == program) {
            build(workspace, program)?;
        }
    }
    let mut found = Vec::new();
    for target in &chosen {
        eprintln!("\n== {} for {} s", target.name, options.seconds);
        if !one(workspace, target, options.seconds)? {
            found.push(target.name.as_str());
        }
    }
    if !found.is_empty() {
        bail!(
            "inputs were found for {}: they lie under fuzz/artifacts/. Mend the reader, and keep the input as \
             fuzz/corpus/TARGET/found-...",
            found.join(", ")
        );
    }
    Ok(())
}

fn check_cargo_fuzz() -> Result<()> {
    let mut command = Command::new("cargo-fuzz");
    command.arg("--version");
    workspace::output(command).map(drop).with_context(|| {
        format!("fuzzing needs cargo-fuzz: cargo install cargo-fuzz --version {CARGO_FUZZ} --locked (two minutes)")
    })
}

fn build(workspace: &Workspace, program: &str) -> Result<()> {
    let mut command =
        workspace.cargo(&["fuzz", "build", "--fuzz-dir", "fuzz", "--sanitizer", "none"]);
    command.env("RUSTC_BOOTSTRAP", "1");
    if program == "models" {
        let engine = engine::ensure(workspace, Choice::Keep)?;
        command
            .args(["--features", "models"])
            .env("LIBTORCH", &engine.path);
    }
    command.arg(program);
    workspace::run(command)
}

/// Where cargo-fuzz leaves a program.
fn program(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => workspace.root.join("fuzz/target"),
    };
    let mut triples = fs::read_dir(&target)
        .with_context(|| format!("cannot look into {}", target.display()))?
        .flatten()
        .map(|entry| entry.path().join("release").join(name));
    triples.find(|path| path.is_file()).with_context(|| {
        format!(
            "cargo-fuzz left no program {name} under {}",
            target.display()
        )
    })
}

/// Runs one target; false if an input was found.
fn one(workspace: &Workspace, target: &Target, seconds: u64) -> Result<bool> {
    let fuzz = workspace.root.join("fuzz");
    let artifacts = fuzz.join("artifacts").join(&target.name);
    // What is learnt in a run is worth keeping for the next, but is not for the repository.
    let grown = program(workspace, target.program)?
        .with_file_name("corpus")
        .join(&target.name);
    for folder in [&artifacts, &grown] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    // For the files that targets write: in memory where the system has some.
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() {
        memory
    } else {
        &workspace.target
    };
    let scratch = Scratch::new(parent, "dualmd-fuzzing")?;
    let mut command = Command::new(program(workspace, target.program)?);
    command
        .arg(&grown)
        .arg(fuzz.join("corpus").join(&target.name))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={TIMEOUT}"))
        .arg(format!("-rss_limit_mb={MEMORY}"))
        .arg(format!("-max_len={LENGTH}"))
        .arg("-print_final_stats=1")
        .env("DUALMD_FUZZ", &target.name)
        .env("OMP_NUM_THREADS", "1")
        .env("TMPDIR", &scratch.0);
    let status = command
        .status()
        .with_context(|| format!("cannot start the fuzzer {}", target.program))?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options> {
        Options::parse(&args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_are_seconds_and_targets() {
        assert_eq!(
            parse(&[]).unwrap(),
            Options {
                seconds: 60,
                targets: vec![]
            }
        );
        let options = parse(&["png", "--seconds", "5", "lora"]).unwrap();
        assert_eq!(
            options,
            Options {
                seconds: 5,
                targets: vec!["png".into(), "lora".into()]
            }
        );
        for wrong in [&["--seconds"][..], &["--seconds", "0"], &["--second", "5"]] {
            assert!(parse(wrong).unwrap_err().is::<Usage>(), "{wrong:?}");
        }
    }

    #[test]
    fn every_target_has_a_corpus() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
        let all = parse_targets(&fs::read_to_string(root.join("targets.txt")).unwrap());
        assert!(
            all.len() > 20 && all.iter().any(|t| t.program == "files"),
            "{all:?}"
        );
        for target in all {
            assert!(
                root.join("corpus").join(&target.name).is_dir(),
                "{}",
                target.name
            );
        }
    }
}
