//! Several processes that train one model, started as torchrun, srun and `dualmd run --ranks` start them.

mod common;

use common::{TINY, dualmd, fail, succeed, text, weights};
use dualmd_torch::ranks::{self, TIMEOUT};
use dualmd_torch::weights::read_safetensors;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn experiment(folder: &Path) -> PathBuf {
    let path = folder.join("tiny.toml");
    std::fs::write(&path, TINY).unwrap();
    path
}

fn train<'a>(experiment: &'a Path, model: &'a str, out: &'a Path) -> Vec<&'a str> {
    let (file, out) = (text(experiment), text(out));
    vec![
        "train",
        file,
        "--model",
        model,
        "--threads",
        "1",
        "--out",
        out,
        "-q",
    ]
}

/// One rank, its output caught.
fn start(args: &[&str], as_rank: impl FnOnce(&mut Command)) -> Child {
    let mut command = dualmd(args);
    as_rank(&mut command);
    let command = command.env(TIMEOUT, "120").stdin(Stdio::null());
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Ranks of this machine, with torchrun's variables.
fn ranks_of(args: &[&str], world: usize) -> Vec<Child> {
    let port = ranks::free_port().unwrap();
    (0..world)
        .map(|rank| start(args, |c| ranks::local(c, rank, world, port)))
        .collect()
}

fn outputs(children: Vec<Child>) -> Vec<Output> {
    children
        .into_iter()
        .map(|child| child.wait_with_output().unwrap())
        .collect()
}

fn well(children: Vec<Child>) -> Vec<String> {
    let said = |output: Output| {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {text}", output.status);
        text
    };
    outputs(children).into_iter().map(said).collect()
}

/// The largest difference between two models' averaged weights.
fn furthest(one: &Path, other: &Path, model: &str) -> f64 {
    let read = |run: &Path| {
        let folder = run.join("models").join(model).join("unet");
        read_safetensors(&folder.join("diffusion_pytorch_model.safetensors")).unwrap()
    };
    let (one, other) = (read(one), read(other));
    assert!(one.keys().eq(other.keys()));
    let away = one
        .values()
        .zip(other.values())
        .map(|(a, b)| (a - b).abs().max().double_value(&[]));
    away.fold(0.0, f64::max)
}

/// Weights of 60 steps at the default rate: rounding grows with every step.
const NEAR: f64 = 1e-4;

#[test]
fn ranks_train_the_model_of_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let (experiment, one) = (experiment(dir.path()), dir.path().join("one"));
    succeed(&train(&experiment, "baseline", &one));
    let recorded = |run: &Path| {
        let text = std::fs::read(run.join("models/baseline/training.json")).unwrap();
        let training: serde_json::Value = serde_json::from_slice(&text).unwrap();
        training["ranks"].clone()
    };
    assert!(recorded(&one).is_null());
    let mut before = None;
    for name in ["two", "again"] {
        let out = dir.path().join(name);
        let said = well(ranks_of(&train(&experiment, "baseline", &out), 2));
        assert!(furthest(&one, &out, "baseline") < NEAR);
        assert_eq!(recorded(&out), 2);
        let own = weights(&out, "baseline");
        assert!(
            before
                .replace(own.clone())
                .is_none_or(|before| before == own),
            "twice two ranks"
        );
        assert_eq!(said[1], "", "rank 0 speaks for all");
    }
}

/// `srun` sets these, and nothing of torchrun's. Two tasks on one machine.
#[test]
fn tasks_of_slurm_find_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (experiment, out) = (experiment(dir.path()), dir.path().join("run"));
    let mut args = train(&experiment, "baseline", &out);
    args.retain(|arg| *arg != "-q");
    let port = ranks::free_port().unwrap().to_string();
    let task = |rank: usize| {
        start(&args, |command| {
            ranks::alone(command);
            for (name, value) in [
                ("SLURM_JOB_ID", "4711"),
                ("SLURM_NTASKS", "2"),
                ("SLURM_STEP_NUM_TASKS", "2"),
                ("SLURM_STEP_TASKS_PER_NODE", "2"),
                ("SLURM_STEP_NODELIST", "localhost"),
                ("SLURM_NODEID", "0"),
                ("SLURM_PROCID", if rank == 0 { "0" } else { "1" }),
                ("SLURM_LOCALID", if rank == 0 { "0" } else { "1" }),
                // Slurm's own would be a fixed one for this job.
                ("MASTER_PORT", port.as_str()),
            ] {
                command.env(name, value);
            }
        })
    };
    let said = well(vec![task(0), task(1)]);
    assert!(
        said[0].contains("2 ranks on 1 machine (Slurm job 4711)"),
        "{}",
        said[0]
    );
    assert!(said[0].contains("batch 8 = 4 each"), "{}", said[0]);
    weights(&out, "baseline");
}

#[test]
fn a_run_trains_all_its_models_with_ranks() {
    let dir = tempfile::tempdir().unwrap();
    let experiment = experiment(dir.path());
    let run = |name: &str, more: &[&str]| {
        let out = dir.path().join(name);
        let mut args = vec![
            "run",
            text(&experiment),
            "--until",
            "train",
            "--out",
            text(&out),
            "-q",
        ];
        args.extend(more);
        succeed(&args);
        out
    };
    let (one, two) = (
        run("one", &[]),
        run("two", &["--ranks", "2", "--set", "run.jobs=1"]),
    );
    // The student learns from teachers that ranks trained.
    for model in ["baseline", "student"] {
        let away = furthest(&one, &two, model);
        assert!(away < NEAR, "{model}: {away}");
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// Waits until the training has its first checkpoint.
fn under_way(out: &Path, children: &mut [Child]) {
    let began = Instant::now();
    while !out.join("checkpoints/baseline/checkpoint-10").exists() {
        let ended = children
            .iter_mut()
            .any(|child| child.try_wait().unwrap().is_some());
        assert!(!ended && began.elapsed() < Duration::from_secs(240));
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn long<'a>(experiment: &'a Path, out: &'a Path) -> Vec<&'a str> {
    let mut args = train(experiment, "baseline", out);
    args.extend([
        "--set",
        "train.steps=100000",
        "--set",
        "train.keep_checkpoints=100000",
    ]);
    args
}

#[test]
fn sigterm_to_one_rank_ends_all_after_the_same_step() {
    let dir = tempfile::tempdir().unwrap();
    let (experiment, out) = (experiment(dir.path()), dir.path().join("run"));
    let args = long(&experiment, &out);
    let mut children = ranks_of(&args, 2);
    under_way(&out, &mut children);
    signal(&children[1], "TERM");
    for output in outputs(children) {
        assert_eq!(
            output.status.code(),
            Some(130),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    // Another number of ranks goes on from there, and says so.
    let mut more: Vec<&str> = args.iter().copied().filter(|arg| *arg != "-q").collect();
    more.extend(["--max-steps-now", "1"]);
    let said = String::from_utf8_lossy(&succeed(&more).stderr).into_owned();
    assert!(
        said.contains("was trained by 2 ranks and goes on with 1 process"),
        "{said}"
    );
    assert!(!said.contains("damaged"), "{said}");
}

#[test]
fn a_killed_rank_is_told_of_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let (experiment, out) = (experiment(dir.path()), dir.path().join("run"));
    let mut children = ranks_of(&long(&experiment, &out), 2);
    under_way(&out, &mut children);
    children[1].kill().unwrap();
    let output = outputs(children).remove(0);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let line = said
        .lines()
        .find(|line| line.contains("rank 0 of 2 on "))
        .expect("a line of the rank");
    assert!(line.contains("a rank is gone (rank 1 on "), "{said}");
    assert!(!said.contains("frame #"), "{said}");
}

#[test]
fn wrong_variables_are_wrong_arguments() {
    let dir = tempfile::tempdir().unwrap();
    let (experiment, out) = (experiment(dir.path()), dir.path().join("run"));
    let mut command = dualmd(&train(&experiment, "baseline", &out));
    ranks::local(&mut command, 1, 2, 29_500);
    let output = command.env("RANK", "two").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("RANK = \"two\" is not a number"), "{said}");
    // A run is one process.
    let mut command = dualmd(&["run", text(&experiment), "--out", text(&out)]);
    ranks::local(&mut command, 1, 2, 29_500);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--ranks"), "{said}");
    assert!(fail(&["run", text(&experiment), "--ranks", "0"]).contains("--ranks"));
}

mod needs_python {
    use super::*;

    /// The launcher of PyPI's torch, beside the interpreter of the interop environment.
    #[test]
    #[ignore = "needs Python with torch and diffusers: `cargo xtask test --interop`"]
    fn torchrun_launches_it() {
        let python = std::env::var_os("DUALMD_TEST_PYTHON")
            .expect("DUALMD_TEST_PYTHON names a Python; `cargo xtask test --interop` sets it");
        let dir = tempfile::tempdir().unwrap();
        let (experiment, one) = (experiment(dir.path()), dir.path().join("one"));
        succeed(&train(&experiment, "baseline", &one));
        let out = dir.path().join("torchrun");
        let mut command = Command::new(python);
        ranks::alone(&mut command);
        let output = command
            .args([
                "-m",
                "torch.distributed.run",
                "--standalone",
                "--nproc-per-node",
                "2",
                "--no-python",
            ])
            .arg(env!("CARGO_BIN_EXE_dualmd"))
            .args(train(&experiment, "baseline", &out))
            .env(TIMEOUT, "120")
            .env_remove("LD_LIBRARY_PATH")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(furthest(&one, &out, "baseline") < NEAR);
    }
}
