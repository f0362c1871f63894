//! Several processes that train one model, started as torchrun, srun and `dualmd run --ranks` start them.

mod common;

use common::{Given, MANY, TINY, dualmd, fail, succeed, text, weights};
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
    command.env(TIMEOUT, "120");
    as_rank(&mut command);
    command
        .stdin(Stdio::null())
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

/// An experiment on few images: it is prepared in a moment, also where the others wait half a minute for it only.
fn few() -> Given {
    Given::new(&MANY.replace("TRAIN", "steps = 6\neval_every = 0"))
}

/// Ranks of this machine, each with a folder of its own, as if two file systems had one name. What they say at their end.
fn of_folders(experiment: &Path, outs: [&Path; 2], seconds: &str) -> [String; 2] {
    let port = ranks::free_port().unwrap();
    let children = [0, 1].map(|rank| {
        start(&train(experiment, "baseline", outs[rank]), |command| {
            ranks::local(command, rank, 2, port);
            command.env(TIMEOUT, seconds);
        })
    });
    children.map(|child| {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        said
    })
}

#[test]
fn ranks_that_see_different_folders_refuse_to_begin() {
    let given = few();
    let experiment = given.experiment.as_path();
    let path = |name: &str| given.dir.path().join(name);
    let (here, none, other) = (path("here"), path("none"), path("other"));
    // Rank 1 does not see what rank 0 prepares, and looks for it for half of the timeout.
    let began = Instant::now();
    let said = of_folders(experiment, [&here, &none], "30");
    assert!(began.elapsed() < Duration::from_secs(60));
    assert!(
        said[0].contains("rank 1 of 2 on ") && said[0].contains("differ in what they see in "),
        "{said:?}"
    );
    assert!(
        said[1].contains("does not see what rank 0 prepared in ") && said[1].contains(text(&none)),
        "{said:?}"
    );
    // Rank 1 sees another run.
    let prepare = ["run", text(experiment), "--until", "split", "-q"];
    let prepare = [&prepare[..], &["--set", "seed=4", "--out", text(&other)]].concat();
    succeed(&prepare);
    let all = of_folders(experiment, [&here, &other], "120");
    for said in said.iter().chain(&all) {
        assert!(said.contains("see the same folder"), "{said}");
    }
    for said in &all {
        assert!(
            said.contains("rank 1 of 2 on ")
                && said.contains("differ in the plan in the run's folder"),
            "{said}"
        );
    }
    assert!(!here.join("checkpoints").exists() && !none.exists());
}

mod needs_network {
    use super::*;
    use std::collections::BTreeMap;
    use std::ffi::OsString;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Of the ends of the cable.
    const ADDRESSES: [&str; 2] = ["10.77.0.1", "10.77.0.2"];

    /// Two network namespaces with a cable between them. Dropped, they go.
    struct Nodes([String; 2]);

    fn ip(args: &[&str]) {
        let output = common::as_root("ip").args(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip {args:?}: {said}");
    }

    /// Of the user who runs the tests: `-u` or `-g`.
    fn id(which: &str) -> String {
        let output = Command::new("id").arg(which).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    impl Nodes {
        fn new() -> Self {
            static MADE: AtomicUsize = AtomicUsize::new(0);
            let made = MADE.fetch_add(1, Ordering::Relaxed);
            let name = |node| format!("dualmd-{}-{made}-{node}", std::process::id());
            let nodes = Self([0, 1].map(name));
            let [a, b] = nodes.0.each_ref().map(String::as_str);
            ip(&["netns", "add", a]);
            ip(&["netns", "add", b]);
            let cable = ["-n", a, "link", "add", "cable0", "type", "veth"];
            ip(&[&cable[..], &["peer", "name", "cable1", "netns", b]].concat());
            for (node, name) in nodes.0.iter().enumerate() {
                let (end, address) = (end(node), format!("{}/24", ADDRESSES[node]));
                ip(&["-n", name, "address", "add", &address, "dev", &end]);
                ip(&["-n", name, "link", "set", "lo", "up"]);
                ip(&["-n", name, "link", "set", &end, "up"]);
            }
            nodes
        }

        /// A rank on each of them, as torchrun's variables have it: one rank a machine, rank 0's address on the cable.
        fn start(&self, args: &[&str], with: impl Fn(usize, &mut Command)) -> Vec<Child> {
            let start = |node: usize| {
                let mut rank = dualmd(args);
                ranks::local(&mut rank, node, 2, 29_500);
                rank.env_remove("DUALMD_RANKS_LAUNCHER")
                    .env("LOCAL_RANK", "0")
                    .env("LOCAL_WORLD_SIZE", "1")
                    .env("MASTER_ADDR", ADDRESSES[0])
                    .env(TIMEOUT, "120");
                with(node, &mut rank);
                self.on(node, &rank)
                    .stdin(Stdio::null())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap()
            };
            (0..2).map(start).collect()
        }

        /// This command on one of them, with a name of the machine's own, by the user of the tests. Each program of the line takes the
        /// place of the one before it, so that the process is the command's own.
        fn on(&self, node: usize, command: &Command) -> Command {
            let mut variables: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
            for (name, value) in command.get_envs() {
                match value {
                    Some(value) => variables.insert(name.to_owned(), value.to_owned()),
                    None => variables.remove(name),
                };
            }
            let mut out = common::as_root("ip");
            out.args(["netns", "exec", &self.0[node], "unshare", "--uts"])
                .args(["bash", "-c", r#"hostname "$1"; shift; exec "$@""#, "bash"])
                .arg(format!("node-{node}"))
                .args(["setpriv", "--reuid", &id("-u"), "--regid", &id("-g")])
                .args(["--clear-groups", "env", "-i"]);
            for (mut pair, value) in variables {
                pair.push("=");
                pair.push(value);
                out.arg(pair);
            }
            out.arg(command.get_program()).args(command.get_args());
            out
        }

        /// Nothing comes through any more, and nobody is told.
        fn cut(&self) {
            ip(&["-n", &self.0[1], "link", "set", &end(1), "down"]);
        }
    }

    impl Drop for Nodes {
        fn drop(&mut self) {
            for name in &self.0 {
                let _ = common::as_root("ip").args(["netns", "del", name]).output();
            }
        }
    }

    /// The network interface of a node.
    fn end(node: usize) -> String {
        format!("cable{node}")
    }

    #[test]
    #[ignore = "needs root and iproute2, for network namespaces: `cargo xtask test` as root"]
    fn two_machines_train_the_model_of_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let (experiment, one) = (experiment(dir.path()), dir.path().join("one"));
        succeed(&train(&experiment, "baseline", &one));
        let (out, nodes) = (dir.path().join("two"), Nodes::new());
        let mut args = train(&experiment, "baseline", &out);
        args.retain(|arg| *arg != "-q");
        let said = well(nodes.start(&args, |_, _| ()));
        assert!(
            said[0].contains("2 ranks on 2 machines (torchrun)"),
            "{}",
            said[0]
        );
        assert!(furthest(&one, &out, "baseline") < NEAR);
    }

    #[test]
    #[ignore = "needs root and iproute2, for network namespaces: `cargo xtask test` as root"]
    fn a_cut_cable_is_told_of_after_the_timeout() {
        let (given, nodes) = (few(), Nodes::new());
        let out = given.out("cut");
        let args = long(&given.experiment, &out);
        // Enough to come together on a busy machine.
        let seconds = 30_u32;
        let mut children = nodes.start(&args, |node, rank| {
            rank.env(TIMEOUT, seconds.to_string())
                .env("GLOO_SOCKET_IFNAME", end(node));
        });
        under_way(&out, &mut children);
        nodes.cut();
        let began = Instant::now();
        let outputs = outputs(children);
        let took = began.elapsed().as_secs_f64();
        assert!(
            (f64::from(seconds) - 1.0..f64::from(seconds) + 30.0).contains(&took),
            "{took}"
        );
        for (rank, output) in outputs.iter().enumerate() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{said}");
            let me = format!("rank {rank} of 2 on node-{rank} waited ");
            let line = said.lines().find(|line| line.contains(&me));
            let line = line.unwrap_or_else(|| panic!("no line of rank {rank}: {said}"));
            let other = format!("rank {0} on node-{0} did not answer", 1 - rank);
            for known in [
                other.as_str(),
                "is the network between the machines up",
                TIMEOUT,
            ] {
                assert!(line.contains(known), "{known}: {said}");
            }
            assert!(!said.contains("frame #"), "{said}");
        }
        // One process goes on from the newest checkpoint.
        let said = succeed(&[&args[..], &["--max-steps-now", "1"]].concat());
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(!said.contains("damaged"), "{said}");
    }
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
