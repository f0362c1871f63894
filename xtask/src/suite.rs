//! `cargo xtask test`: all tests, and an honest account of those that could not run.
//!
//! A test that needs what not every machine has is `#[ignore = "needs ..."]` and lies in a module that is named after the
//! need, such as `needs_python`. Plain `cargo test` ignores it. This module runs it with `--include-ignored` where the thing is
//! found, tells it by a variable such as `DUALMD_TEST_PYTHON` where that is, and skips it with a word of it elsewhere.
//!
//! All tests together run as [`crate::lanes`] says; where something else is asked for, `cargo test` runs it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::engine::{self, Choice, Engine};
use crate::interop;
use crate::lanes::{self, Job};
use crate::workspace::{self, FRONT, Scratch, Workspace};
use crate::{Usage, minilm, sscd};

/// What the user asked of `cargo xtask test`.
#[derive(Debug, Default, PartialEq)]
pub struct Options {
    /// Install Python's torch and diffusers first.
    interop: bool,
    /// Tests that were left out are a failure.
    all: bool,
    /// Check the Python package beside the tests.
    wheel: bool,
    /// Count the instructions of a training step beside the tests.
    instructions: bool,
    /// For `cargo test`.
    rest: Vec<String>,
}

impl Options {
    /// Takes our own flags; everything else, and everything from `--` on, is for `cargo test`.
    pub fn parse(args: &[String]) -> Self {
        let mut options = Self {
            all: std::env::var("CI").is_ok_and(|ci| ci == "true"),
            ..Self::default()
        };
        let ours = args.iter().position(|a| a == "--").unwrap_or(args.len());
        for (index, arg) in args.iter().enumerate() {
            match arg.as_str() {
                "--interop" if index < ours => options.interop = true,
                "--all" if index < ours => options.all = true,
                "--wheel" if index < ours => options.wheel = true,
                "--instructions" if index < ours => options.instructions = true,
                _ => options.rest.push(arg.clone()),
            }
        }
        options
    }
}

/// Sums over the `test result:` lines of all test programs.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// The names of those that failed.
    names: Vec<String>,
}

impl Counts {
    /// Adds a line like `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s`, or like
    /// `---- needs_python::a_test stdout ----`, which begins what a failed test said.
    fn add_line(&mut self, line: &str) {
        let said = line.strip_prefix("---- ");
        if let Some(name) = said.and_then(|rest| rest.strip_suffix(" stdout ----")) {
            self.names.push(name.to_owned());
        }
        let Some((_, counts)) = line
            .strip_prefix("test result: ")
            .and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for part in counts.split("; ") {
            let Some((number, what)) = part.split_once(' ') else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// What some tests need, and what to do for it.
struct Need {
    /// The module of those tests, in any crate.
    module: &'static str,
    /// What tells them where it is.
    variable: Option<&'static str>,
    tests: &'static str,
    remedy: &'static str,
}

const NEEDS: [Need; 8] = [
    Need {
        module: "needs_chromium",
        variable: Some("DUALMD_TEST_CHROMIUM"),
        tests: "the report in a real browser",
        remedy: "install Chromium (Debian: apt install chromium), or set DUALMD_TEST_CHROMIUM to a Chrome",
    },
    Need {
        module: "needs_python",
        variable: Some("DUALMD_TEST_PYTHON"),
        tests: "parity with Python's torch and diffusers",
        remedy: "cargo xtask test --interop, or set DUALMD_TEST_PYTHON to a Python that has both, transformers, peft, dp-accounting and onnxruntime",
    },
    Need {
        module: "needs_sscd",
        variable: Some("DUALMD_TEST_SSCD"),
        tests: "SSCD in ONNX Runtime",
        remedy: "cargo xtask features, or set DUALMD_TEST_SSCD to a folder like the one that it fills",
    },
    Need {
        module: "needs_minilm",
        variable: Some("DUALMD_TEST_MINILM"),
        tests: "how images fit prompts, by MiniLM",
        remedy: "cargo xtask features, or set DUALMD_TEST_MINILM to a folder of all-MiniLM-L6-v2",
    },
    Need {
        module: "needs_strace",
        variable: Some("DUALMD_TEST_STRACE"),
        tests: "kills at chosen system calls",
        remedy: "install strace (Debian: apt install strace), where it may trace, or set DUALMD_TEST_STRACE to one",
    },
    Need {
        module: "needs_root",
        variable: None,
        tests: "full disks",
        remedy: "run as root, or where sudo asks nothing: a small disk is mounted",
    },
    Need {
        module: "needs_network",
        variable: None,
        tests: "two network namespaces as two machines",
        remedy: "install iproute2 (Debian: apt install iproute2), and run as root, or where sudo asks nothing",
    },
    Need {
        module: "needs_slurm",
        variable: None,
        tests: "a Slurm of one node",
        remedy: "install Slurm (Debian: apt install slurmctld slurmd slurm-client munge), and run as root, or where sudo asks nothing",
    },
];

/// A group of tests that cannot run here.
#[derive(Debug, PartialEq)]
struct LeftOut {
    tests: String,
    remedy: &'static str,
}

/// Runs everything; fails if a test failed, or if one was left out and that is not allowed.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let start = Instant::now();
    let engine = engine::ensure(workspace, Choice::Keep)?;
    let python = if options.interop {
        Some(interop::ensure(workspace)?)
    } else {
        interop::find(workspace)
    };
    if (options.wheel || options.instructions) && !options.rest.is_empty() {
        bail!(Usage(
            "--wheel and --instructions run beside all tests: name none, or call `cargo xtask wheel --check` and \
             `cargo xtask bench --instructions`"
                .into()
        ));
    }
    let mut variables = Vec::new();
    let mut left_out = Vec::new();
    let mut skipped = Vec::new();
    for need in &NEEDS {
        let found = match need.module {
            "needs_chromium" => find_chromium(),
            "needs_python" => python.clone(),
            "needs_sscd" => sscd::find(&workspace.cache),
            "needs_minilm" => minilm::find(&workspace.cache),
            "needs_strace" => find_strace(),
            "needs_slurm" => find_slurm(),
            "needs_network" => find_network(),
            _ => find_mount(),
        };
        match found {
            Some(path) => {
                eprintln!("{}: with {}", need.tests, path.display());
                variables.extend(need.variable.map(|variable| (variable, path)));
            }
            None => {
                skipped.push(need.module);
                left_out.push(LeftOut {
                    tests: need.tests.into(),
                    remedy: need.remedy,
                });
            }
        }
    }
    let arguments = arguments(&options.rest, &skipped);
    let features = engine.cargo_features();
    let mut broken = Vec::new();
    let counts = if options.rest.is_empty() {
        let jobs = jobs(workspace, &engine, &arguments, options)?;
        let built = start.elapsed().as_secs_f64();
        eprintln!("set-up and build {built:.0} s; {} programs", jobs.len());
        side_by_side(workspace, jobs, &variables, &mut broken)?
    } else {
        let mut command = workspace.cargo(&["test", "--workspace", "--no-fail-fast"]);
        command.args(features).args(arguments);
        for (name, path) in &variables {
            command.env(name, path);
        }
        let (counts, status) = stream(command, &mut std::io::stdout())?;
        if !status.success() && counts.failed == 0 {
            broken.push(format!("`cargo test` ({status})"));
        }
        counts
    };
    if counts.ignored > 0 {
        let tests = format!("tests that are marked as ignored ({})", counts.ignored);
        left_out.push(LeftOut {
            tests,
            remedy: "cargo test --workspace -- --ignored",
        });
    }
    print!(
        "{}",
        summary(&counts, &left_out, start.elapsed().as_secs_f64())
    );
    verdict(&counts, &broken, &left_out, options.all)
}

/// All test programs, the tests of the documentation, and what else is asked for. `arguments`: those of `cargo test`, of which the test
/// programs get what stands behind `--`.
fn jobs(
    workspace: &Workspace,
    engine: &Engine,
    arguments: &[String],
    options: &Options,
) -> Result<Vec<Job>> {
    let theirs = arguments.iter().skip_while(|a| *a != "--").skip(1);
    let mut jobs = Vec::new();
    for program in lanes::built(workspace, engine.cargo_features())? {
        let mut command = Command::new(&program.path);
        command
            .args(theirs.clone())
            .current_dir(&program.package)
            // What cargo sets, too.
            .env("CARGO_MANIFEST_DIR", &program.package);
        if std::env::var_os("LIBTORCH").is_none() {
            command.env("LIBTORCH", workspace.root.join(".cargo/libtorch"));
        }
        jobs.push(Job {
            name: program.source,
            command,
        });
    }
    let own = std::env::current_exe().context("xtask does not know where it lies")?;
    // Of the program that the tests start; a release build would take longer than all of them.
    let program = workspace.target.join("debug").join(FRONT);
    let mut others = Vec::new();
    for (asked, words) in [
        (options.wheel, &["wheel", "--check"][..]),
        (options.instructions, &["bench", "--instructions"][..]),
    ] {
        if asked {
            let mut command = Command::new(&own);
            command
                .args(words)
                .arg("--program")
                .arg(&program)
                .current_dir(&workspace.root);
            others.push(Job {
                name: format!("cargo xtask {}", words.join(" ")),
                command,
            });
        }
    }
    let mut command = workspace.cargo(&["test", "--workspace", "--doc", "--no-fail-fast"]);
    command.args(engine.cargo_features()).args(arguments);
    others.push(Job {
        name: "tests of the documentation".into(),
        command,
    });
    // They take minutes, but not as many as the longest.
    let place = jobs.len().min(2);
    jobs.splice(place..place, others);
    Ok(jobs)
}

/// Runs them and shows what each printed. Of those that ended badly without a failed test the names go into `broken`.
fn side_by_side(
    workspace: &Workspace,
    mut jobs: Vec<Job>,
    variables: &[(&str, PathBuf)],
    broken: &mut Vec<String>,
) -> Result<Counts> {
    for job in &mut jobs {
        for (name, path) in variables {
            job.command.env(name, path);
        }
        for (name, value) in [("RUST_TEST_THREADS", "1"), ("OMP_WAIT_POLICY", "PASSIVE")] {
            if std::env::var_os(name).is_none() {
                job.command.env(name, value);
            }
        }
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let scratch = Scratch::new(&workspace.target, "tests")?;
    let (mut counts, mut took) = (Counts::default(), Vec::new());
    let began = Instant::now();
    lanes::run(&scratch, jobs, cores, |ended| {
        let before = counts.failed;
        for line in String::from_utf8_lossy(&ended.output).lines() {
            counts.add_line(line);
        }
        if !ended.success && counts.failed == before {
            broken.push(ended.name.clone());
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "\n== {} ({:.1} s)", ended.name, ended.seconds)
            .and_then(|()| out.write_all(&ended.output))
            .context("cannot write to the terminal")?;
        took.push((ended.name, ended.seconds));
        Ok(())
    })?;
    print!("{}", slowest(took, cores, began.elapsed().as_secs_f64()));
    Ok(counts)
}

/// Where the time went: the programs that took longest, and how much of the cores' time all of them had.
fn slowest(mut took: Vec<(String, f64)>, cores: usize, seconds: f64) -> String {
    took.sort_by(|a, b| b.1.total_cmp(&a.1));
    let sum: f64 = took.iter().map(|(_, seconds)| seconds).sum();
    let mut text = format!(
        "\n{} programs took {sum:.0} s, {cores} at a time {seconds:.0} s; the slowest:\n",
        took.len()
    );
    for (name, seconds) in took.iter().take(15) {
        text += &format!("{seconds:7.1} s  {name}\n");
    }
    text
}

/// The user's arguments of `cargo test`, and behind the `--` those that run what plain `cargo test` ignores, but for the
/// modules in `skipped`.
fn arguments(rest: &[String], skipped: &[&str]) -> Vec<String> {
    let split = rest.iter().position(|a| a == "--").unwrap_or(rest.len());
    let (mut all, theirs) = (rest[..split].to_vec(), rest.get(split + 1..).unwrap_or(&[]));
    all.push("--".into());
    all.extend_from_slice(theirs);
    // The test programs take one of the two.
    if !theirs
        .iter()
        .any(|a| a == "--ignored" || a == "--include-ignored")
    {
        all.push("--include-ignored".into());
    }
    for module in skipped {
        all.extend(["--skip".to_owned(), format!("{module}::")]);
    }
    all
}

/// Runs `cargo test`, passing its output on and counting.
fn stream(mut command: Command, out: &mut impl Write) -> Result<(Counts, ExitStatus)> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start `cargo test`")?;
    let mut counts = Counts::default();
    if let Some(pipe) = child.stdout.take() {
        // Bytes, because a test may print anything.
        for line in BufReader::new(pipe).split(b'\n') {
            let line = line.context("cannot read the output of `cargo test`")?;
            counts.add_line(&String::from_utf8_lossy(&line));
            out.write_all(&line)
                .and_then(|()| out.write_all(b"\n"))
                .context("cannot write to the terminal")?;
        }
    }
    let status = child.wait().context("cannot wait for `cargo test`")?;
    Ok((counts, status))
}

fn summary(counts: &Counts, left_out: &[LeftOut], seconds: f64) -> String {
    let mut text = String::from("\n");
    for name in &counts.names {
        text += &format!("failed: {name}\n");
    }
    for LeftOut { tests, remedy } in left_out {
        text += &format!("left out: {tests}; to get them: {remedy}\n");
    }
    text += &format!(
        "{:.0} s with set-up and build\n{} passed, {} failed\n",
        seconds, counts.passed, counts.failed
    );
    text
}

/// `broken`: what ended badly, whatever its tests did.
fn verdict(counts: &Counts, broken: &[String], left_out: &[LeftOut], all: bool) -> Result<()> {
    let mut wrong = Vec::new();
    if counts.failed > 0 {
        wrong.push(format!("{} tests failed", counts.failed));
    }
    if !broken.is_empty() {
        wrong.push(format!(
            "{} failed: the build, or a program that died, is shown above",
            broken.join(", ")
        ));
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("; "));
    }
    if all && !left_out.is_empty() {
        let groups: Vec<_> = left_out.iter().map(|group| group.tests.as_str()).collect();
        bail!(
            "left out although all tests were asked for (--all or CI=true): {}",
            groups.join("; ")
        );
    }
    Ok(())
}

fn find_chromium() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("DUALMD_TEST_CHROMIUM").filter(|value| !value.is_empty()) {
        return Some(path.into());
    }
    let names = [
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
    ];
    let folders: Vec<_> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    let candidates = names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    candidates.filter(|path| path.is_file()).find(|path| {
        // A distribution's placeholder that only tells how to install the real one fails here.
        let mut command = Command::new(path);
        command.arg("--version");
        workspace::output(command).is_ok()
    })
}

/// strace that is installed and allowed to trace: some containers forbid it.
fn find_strace() -> Option<PathBuf> {
    let own = std::env::var_os("DUALMD_TEST_STRACE").filter(|value| !value.is_empty());
    let path = PathBuf::from(own.unwrap_or_else(|| "strace".into()));
    let mut command = Command::new(&path);
    command.args(["-f", "-o", "/dev/null", "-e", "trace=?fsync", "true"]);
    workspace::output(command).is_ok().then_some(path)
}

/// The words that make a command root's: none, or sudo where it asks nothing.
fn root() -> Option<&'static [&'static str]> {
    let id = Command::new("id").arg("-u").output().ok()?;
    Some(match id.stdout.trim_ascii() {
        b"0" => &[],
        _ => &["sudo", "--non-interactive"],
    })
}

/// The controller of Slurm, where root may start it and all that belongs to it.
fn find_slurm() -> Option<PathBuf> {
    let words = [root()?, &["true"]].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    workspace::output(command).ok()?;
    let folders = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    let find = |name: &str| {
        let mut paths = folders.iter().map(|folder| Path::new(folder).join(name));
        paths.find(|path| path.is_file())
    };
    let rest = ["slurmd", "munged", "sbatch", "srun", "squeue"];
    let all = rest.iter().all(|name| find(name).is_some());
    all.then(|| find("slurmctld")).flatten()
}

/// The program that mounts, where it may.
fn find_mount() -> Option<PathBuf> {
    let sudo = root()?;
    let call = |words: &[&str], folder: &Path| {
        let words = [sudo, words].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(folder);
        workspace::output(command)
    };
    let folder = std::env::temp_dir().join(format!("dualmd-mount-{}", std::process::id()));
    std::fs::create_dir(&folder).ok()?;
    let mounted = call(
        &["mount", "-t", "tmpfs", "-o", "size=64k", "dualmd-kills"],
        &folder,
    );
    let may = mounted.is_ok() && call(&["umount"], &folder).is_ok();
    // Only an empty folder is removed.
    let _ = std::fs::remove_dir(&folder);
    may.then(|| "mount".into())
}

/// The program that makes network namespaces, where it may.
fn find_network() -> Option<PathBuf> {
    let sudo = root()?;
    let call = |words: &[&str]| {
        let words = [sudo, words].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        workspace::output(command).is_ok()
    };
    let name = format!("dualmd-network-{}", std::process::id());
    let cable = ["ip", "-n", &name, "link", "add", "cable0", "type", "veth"];
    let cable = [&cable[..], &["peer", "name", "cable1"]].concat();
    let made = call(&["ip", "netns", "add", &name]);
    let may = made && call(&cable) && call(&["unshare", "--uts", "true"]);
    // The cable goes with it.
    let removed = made && call(&["ip", "netns", "del", &name]);
    (may && removed).then(|| "ip".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(args: &[&str]) -> Vec<String> {
        args.iter().map(|a| (*a).to_owned()).collect()
    }

    #[test]
    fn flags_end_at_the_double_dash() {
        let options = Options::parse(&strings(&[
            "--interop",
            "-p",
            "dualmd-cli",
            "--all",
            "--wheel",
            "--instructions",
            "--",
            "--all",
        ]));
        assert!(options.interop && options.all && options.wheel && options.instructions);
        assert_eq!(options.rest, strings(&["-p", "dualmd-cli", "--", "--all"]));
    }

    #[test]
    fn ignored_tests_run_and_modules_of_missing_needs_are_skipped() {
        let rest = strings(&["-p", "dualmd-cli", "--", "--test-threads", "1"]);
        assert_eq!(
            arguments(&rest, &["needs_root"]),
            strings(&[
                "-p",
                "dualmd-cli",
                "--",
                "--test-threads",
                "1",
                "--include-ignored",
                "--skip",
                "needs_root::"
            ])
        );
        let own = strings(&["--", "--ignored"]);
        assert_eq!(arguments(&own, &[]), own);
        assert_eq!(arguments(&[], &[]), strings(&["--", "--include-ignored"]));
    }

    /// A test that is ignored for a need lies in the need's module, or it would run where the thing is not.
    #[test]
    fn every_ignored_test_lies_in_the_module_of_a_need() {
        fn walk(folder: &Path, seen: &mut usize) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, seen);
                    continue;
                }
                if path.extension().is_none_or(|e| e != "rs") {
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                let mut module = None;
                for line in text.lines() {
                    match line.strip_prefix("mod ") {
                        Some(rest) => module = rest.strip_suffix(" {").or(module),
                        None if line == "}" => module = None,
                        None => {}
                    }
                    if line.trim_start().starts_with("#[ignore") {
                        let known = NEEDS.iter().any(|need| Some(need.module) == module);
                        let reason = line.trim_start().starts_with("#[ignore = \"needs ");
                        assert!(known && reason, "{}: {line}", path.display());
                        *seen += 1;
                    }
                }
            }
        }
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
        let mut seen = 0;
        walk(&crates, &mut seen);
        assert!(seen >= 20, "{seen} ignored tests");
    }

    #[test]
    fn counts_are_summed_over_test_programs() {
        let mut counts = Counts::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s",
            "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.10s",
            "test result: nonsense",
            "---- needs_python::a stdout ----",
            "test needs_python::a ... FAILED",
        ] {
            counts.add_line(line);
        }
        assert_eq!(
            counts,
            Counts {
                passed: 7,
                failed: 2,
                ignored: 1,
                names: vec!["needs_python::a".into()],
            }
        );
    }

    #[test]
    fn what_was_left_out_is_said_and_fails_only_where_all_are_wanted() {
        let counts = Counts {
            passed: 7,
            ..Counts::default()
        };
        let left_out = [LeftOut {
            tests: "the browser".into(),
            remedy: "install one",
        }];
        let text = summary(&counts, &left_out, 61.2);
        assert_eq!(
            text,
            "\nleft out: the browser; to get them: install one\n61 s with set-up and build\n7 passed, 0 failed\n"
        );
        assert!(verdict(&counts, &[], &left_out, false).is_ok());
        assert!(
            verdict(&counts, &[], &left_out, true)
                .unwrap_err()
                .to_string()
                .contains("the browser")
        );
        assert!(verdict(&counts, &[], &[], true).is_ok());
        let died = ["crates/cli/tests/exit.rs".to_owned()];
        let said = verdict(&counts, &died, &[], false).unwrap_err().to_string();
        assert!(said.contains("exit.rs"), "{said}");
        let failed = Counts {
            failed: 1,
            names: vec!["needs_python::a".into()],
            ..Counts::default()
        };
        assert!(verdict(&failed, &[], &[], false).is_err());
        assert!(summary(&failed, &[], 1.0).starts_with("\nfailed: needs_python::a\n"));
    }

    #[test]
    fn the_slowest_come_first_and_fifteen_are_named() {
        let took = (0..20).map(|i| (format!("t{i}"), f64::from(i))).collect();
        let text = slowest(took, 2, 100.0);
        assert!(
            text.starts_with(
                "\n20 programs took 190 s, 2 at a time 100 s; the slowest:\n   19.0 s  t19\n"
            ),
            "{text}"
        );
        assert_eq!(text.lines().count(), 17, "{text}");
    }

    #[test]
    fn output_is_streamed_and_the_exit_status_kept() {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'; exit 1",
        ]);
        let mut shown = Vec::new();
        let (counts, status) = stream(command, &mut shown).unwrap();
        assert!(counts.passed == 2 && status.code() == Some(1) && shown.ends_with(b"0 ignored\n"));
    }
}
