//! The test programs of the workspace, as many at a time as there are cores.
//!
//! `cargo test` runs one program after another, each with as many tests at a time as there are cores: while the last long test of a program
//! runs, the other cores wait. Here each program has one test at a time, so that as much runs at once as before, and another program begins
//! where one ends. The long ones begin first. What a program prints is kept and shown in one piece when it has ended.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::workspace::{Scratch, Workspace};

/// The programs that take longest, the longest first: where one of them begins last, the others wait for it.
const LONG: [&str; 2] = [
    "crates/cli/tests/denoiser.rs",
    "crates/cli/tests/kills/main.rs",
];

/// Something that is run to its end.
pub struct Job {
    /// What it is called.
    pub name: String,
    /// What it is; its output is taken here.
    pub command: Command,
}

/// A job that has ended.
pub struct Ended {
    /// What it is called.
    pub name: String,
    /// How long it took by the clock.
    pub seconds: f64,
    /// Whether its exit status was 0.
    pub success: bool,
    /// What it printed, standard output and standard error together.
    pub output: Vec<u8>,
}

/// A compiled test program.
#[derive(Debug, PartialEq)]
pub struct Program {
    /// Its source in the checkout, such as `crates/cli/tests/exit.rs`.
    pub source: String,
    /// The program.
    pub path: PathBuf,
    /// The folder of its package, where cargo would run it.
    pub package: PathBuf,
}

/// A line of what cargo says of its work. Other kinds of lines have other fields.
#[derive(Deserialize)]
struct Message {
    reason: String,
    executable: Option<PathBuf>,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Target {
    src_path: PathBuf,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Compiles all test programs of the workspace, the long ones first, then those that start the program, then the others.
pub fn built(workspace: &Workspace, features: &[&str]) -> Result<Vec<Program>> {
    let mut command = workspace.cargo(&["test", "--workspace", "--no-run"]);
    // Mistakes are shown on the terminal as always.
    command
        .arg("--message-format=json-render-diagnostics")
        .args(features)
        .stderr(Stdio::inherit());
    let output = command.output().context("cannot start `cargo test`")?;
    if !output.status.success() {
        bail!("the tests do not compile: the reason is shown above");
    }
    let mut programs = programs(&String::from_utf8_lossy(&output.stdout), &workspace.root)?;
    programs.sort_by_key(|program| rank(&program.source));
    Ok(programs)
}

/// The test programs that cargo speaks of.
fn programs(messages: &str, root: &Path) -> Result<Vec<Program>> {
    let mut found = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Message =
            serde_json::from_str(line).context("cargo says what is not understood")?;
        if message.reason != "compiler-artifact" {
            continue;
        }
        let (Some(path), Some(manifest), Some(target), Some(Profile { test: true })) = (
            message.executable,
            message.manifest_path,
            message.target,
            message.profile,
        ) else {
            continue;
        };
        let package = manifest.parent().unwrap_or(root).to_owned();
        let source = target.src_path.strip_prefix(root);
        let source = source.unwrap_or(&target.src_path).display().to_string();
        found.push(Program {
            source,
            path,
            package,
        });
    }
    Ok(found)
}

/// Smaller for what begins earlier.
fn rank(source: &str) -> usize {
    match LONG.iter().position(|long| *long == source) {
        Some(position) => position,
        None if source.starts_with("crates/cli/tests/") => LONG.len(),
        None => LONG.len() + 1,
    }
}

/// Runs the jobs, begun in this order, `lanes` at a time. `told` hears of each in the order in which they end; where it fails, no more
/// jobs begin.
///
/// # Errors
/// What `told` says; a job that cannot be started.
pub fn run(
    scratch: &Scratch,
    jobs: Vec<Job>,
    lanes: usize,
    mut told: impl FnMut(Ended) -> Result<()>,
) -> Result<()> {
    let queue: Mutex<VecDeque<(usize, Job)>> = Mutex::new(jobs.into_iter().enumerate().collect());
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..lanes.max(1) {
            let (queue, sender) = (&queue, sender.clone());
            scope.spawn(move || {
                while let Some((number, job)) = next(queue) {
                    let output = scratch.0.join(format!("{number}.out"));
                    // Nobody listens any more: somebody failed.
                    if sender.send(finish(job, &output)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for ended in receiver {
            told(ended?)?;
        }
        Ok(())
    })
}

fn next(queue: &Mutex<VecDeque<(usize, Job)>>) -> Option<(usize, Job)> {
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    queue.pop_front()
}

/// Into a file and not into a pipe, whose end would wait for whatever a test leaves running.
fn finish(mut job: Job, output: &Path) -> Result<Ended> {
    let explain = || format!("cannot run {}", job.name);
    let began = Instant::now();
    let file = File::create(output).with_context(explain)?;
    job.command
        .stdin(Stdio::null())
        .stdout(file.try_clone().with_context(explain)?)
        .stderr(file);
    let status = job.command.status().with_context(explain)?;
    let seconds = began.elapsed().as_secs_f64();
    let printed = fs::read(output).with_context(explain)?;
    Ok(Ended {
        seconds,
        success: status.success(),
        output: printed,
        name: job.name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(name: &str, code: &str) -> Job {
        let mut command = Command::new("sh");
        command.args(["-c", code]);
        Job {
            name: name.into(),
            command,
        }
    }

    #[test]
    fn jobs_run_side_by_side_and_all_of_what_they_print_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(dir.path(), "lanes").unwrap();
        let mark = dir.path().join("mark").display().to_string();
        // The first ends only if the second runs beside it; the third begins when there is room.
        let jobs = vec![
            shell(
                "waits",
                &format!("until [ -e {mark} ]; do sleep 0.01; done; echo came; echo late >&2"),
            ),
            shell("comes", &format!("touch {mark}; exit 3")),
            shell("third", "true"),
        ];
        let mut ended = Vec::new();
        run(&scratch, jobs, 2, |one| {
            ended.push((
                one.name,
                one.success,
                String::from_utf8(one.output).unwrap(),
            ));
            Ok(())
        })
        .unwrap();
        ended.sort();
        let expected = [
            ("comes", false, ""),
            ("third", true, ""),
            ("waits", true, "came\nlate\n"),
        ];
        assert_eq!(
            ended,
            expected.map(|(name, good, text)| (name.to_owned(), good, text.to_owned()))
        );
    }

    #[test]
    fn whoever_fails_to_listen_ends_it() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(dir.path(), "lanes").unwrap();
        let jobs = (0..50)
            .map(|i| shell(&i.to_string(), "sleep 0.01"))
            .collect();
        let mut heard = 0;
        let error = run(&scratch, jobs, 1, |_| {
            heard += 1;
            bail!("a full disk")
        });
        assert_eq!(error.unwrap_err().to_string(), "a full disk");
        assert_eq!(heard, 1);
        let missing = Job {
            name: "nothing".into(),
            command: Command::new("/no/such/program"),
        };
        let error = run(&scratch, vec![missing], 1, |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("nothing"), "{error}");
    }

    #[test]
    fn test_programs_are_told_from_other_artifacts() {
        let of = |source: &str, test: bool, program: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"x","manifest_path":"/w/crates/cli/Cargo.toml","target":{{"kind":["test"],"name":"a","src_path":"/w/{source}"}},"profile":{{"opt_level":"1","test":{test}}},"features":[],"filenames":[],"executable":{program},"fresh":true}}"#
            )
        };
        let messages = [
            r#"{"reason":"build-script-executed","package_id":"x","linked_libs":[]}"#.to_owned(),
            of(
                "crates/cli/src/main.rs",
                false,
                "\"/w/target/debug/dualmd\"",
            ),
            of("crates/stats/src/lib.rs", false, "null"),
            of(
                "crates/cli/tests/exit.rs",
                true,
                "\"/w/target/debug/deps/exit-1\"",
            ),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ];
        let found = programs(&messages.join("\n"), Path::new("/w")).unwrap();
        assert_eq!(
            found,
            [Program {
                source: "crates/cli/tests/exit.rs".into(),
                path: "/w/target/debug/deps/exit-1".into(),
                package: "/w/crates/cli".into(),
            }]
        );
        assert!(programs("{", Path::new("/w")).is_err());
    }

    #[test]
    fn the_long_ones_begin_first_and_are_there() {
        let mut sources = [
            "crates/stats/src/lib.rs",
            "crates/cli/tests/exit.rs",
            LONG[1],
            LONG[0],
        ];
        sources.sort_by_key(|source| rank(source));
        assert_eq!(
            sources,
            [
                LONG[0],
                LONG[1],
                "crates/cli/tests/exit.rs",
                "crates/stats/src/lib.rs"
            ]
        );
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for source in LONG {
            assert!(root.join(source).is_file(), "{source}");
        }
    }
}
