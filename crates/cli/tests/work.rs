//! Trainings that several processes share: whatever happens to these, the run ends at the bytes that one process comes to.
#![cfg(target_os = "linux")]

mod common;

use common::chance::{draw, kills, say};
use common::same::{Snapshot, assert_same, snapshot};
use common::{Given, MANY, TINY, dualmd, fail, json, succeed, text, weights};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Nothing here takes this long; what does hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// Many checkpoints of each training.
const STEPS: &str = "steps = 40\neval_every = 10";

/// One model and what is distilled from it.
const PAIR: &str = r#"
seed = 3
[data]
source = "fashion"
image_size = 8
members = 8
nonmembers = 12
[model]
preset = "tiny"
block_out_channels = [4, 8]
norm_num_groups = 4
attention_head_dim = 8
[train]
steps = 6
batch = 4
warmup = 0
dtype = "f32"
checkpoint_every = 2
eval_every = 0
[sample]
n = 4
steps = 2
features = "none"
copies = "pixels"
[audit]
attacks = ["loss"]
[run]
jobs = 2
threads_per_model = 1
[[models]]
name = "baseline"
defense = "none"
[[models]]
name = "kd"
defense = "kd"
teacher = "baseline"
"#;

/// Two teachers, a student, an ordinary model, one distilled from it, and the pair.
fn many() -> Given {
    Given::new(&MANY.replace("TRAIN", STEPS))
}

fn run(given: &Given, out: &Path, more: &[&str]) -> String {
    said(&[&given.args(out)[..], more].concat())
}

fn prepared(given: &Given, name: &str) -> PathBuf {
    let out = given.out(name);
    run(given, &out, &["--until", "split"]);
    out
}

/// Runs `dualmd`; gives what it says.
fn said(args: &[&str]) -> String {
    String::from_utf8_lossy(&succeed(args).stderr).into_owned()
}

fn worker(run: &Path, more: &[&str]) -> Command {
    let args = ["work", text(run), "--lease", "2", "--threads", "1"];
    dualmd(&[&args[..], more].concat())
}

fn start(run: &Path) -> Child {
    let mut command = worker(run, &[]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Waits for a worker, which ends well.
fn ended(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}\n{said}", output.status);
    said
}

/// What stands in a folder of a run about its jobs, claims only: (model, process).
fn claims(run: &Path) -> Vec<(String, u64)> {
    let all = dualmd_files::list(&run.join("jobs")).unwrap_or_default();
    let of = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_suffix(".claim")?;
        // It may be given up at this moment.
        let claim: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
        Some((name.to_owned(), claim["pid"].as_u64()?))
    };
    all.into_iter().filter_map(of).collect()
}

/// A claim of a process on another machine, in its own words; `beat` shows that it lives.
fn claim(run: &Path, model: &str, beat: u64) {
    let text = format!(
        r#"{{"host":"elsewhere","machine":"another","pid":7,"since":"2026-11-30T00:00:00Z","every":0.2,"locked":true,"beat":{beat}}}"#
    );
    std::fs::create_dir_all(run.join("jobs")).unwrap();
    let path = run.join("jobs").join(format!("{model}.claim"));
    dualmd_files::write(&path, text.as_bytes()).unwrap();
}

/// The jobs of a folder by name, with their states.
fn states(run: &Path) -> Vec<(String, String)> {
    let output = succeed(&["jobs", text(run), "--json"]);
    let jobs: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |job: &serde_json::Value, key: &str| job[key].as_str().unwrap().to_owned();
    let jobs = jobs.as_array().unwrap().iter();
    jobs.map(|job| (text(job, "model"), text(job, "state")))
        .collect()
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
        .collect()
}

#[test]
fn three_workers_two_of_which_are_killed_come_to_what_one_process_comes_to() {
    let given = many();
    let whole = given.out("whole");
    run(&given, &whole, &[]);
    let expected: Snapshot = snapshot(&whole);

    let out = prepared(&given, "shared");
    assert!(!out.join("models").exists(), "only prepared");
    let mut workers = [start(&out), start(&out), start(&out)];
    let began = Instant::now();
    for (index, least) in [(0, 1), (1, 3)] {
        // While it trains, and after so many checkpoints of that model: at no moment in particular.
        let pid = u64::from(workers[index].id());
        loop {
            assert!(began.elapsed() < PATIENCE, "no worker trains");
            if workers[index].try_wait().unwrap().is_some() {
                // The others were quicker.
                break;
            }
            let own = claims(&out).into_iter().find(|(_, of)| *of == pid);
            let written = own.and_then(|(model, _)| {
                dualmd_files::list(&out.join("checkpoints").join(model)).ok()
            });
            if written.is_some_and(|all| all.len() >= least) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = workers[index].kill();
        workers[index].wait().unwrap();
        workers[index] = start(&out);
    }
    for worker in workers {
        let told = ended(worker);
        assert!(told.contains("every model is trained"), "{told}");
    }
    assert!(claims(&out).is_empty());
    for model in ["baseline", "teacher-1", "teacher-2", "student", "kd"] {
        assert_eq!(weights(&out, model), weights(&whole, model), "{model}");
    }
    // The run finds all of it done, and goes on.
    let told = run(&given, &out, &[]);
    assert!(!told.contains("trained in"), "{told}");
    assert_same(&snapshot(&out), &expected, "three workers");
    assert!(!out.join("jobs").exists());
    assert!(expected.contains_key("report.json"));
    let told = said(&["work", text(&out)]);
    assert!(
        told.contains("0 trained here; every model is trained"),
        "{told}"
    );
}

/// Three workers, of which now one and now another is killed. `DUALMD_KILLS=200` asks for twenty such runs.
#[test]
fn runs_by_workers_that_are_killed_at_random_come_to_the_same_bytes() {
    let given = many();
    let whole = given.out("whole");
    let began = Instant::now();
    run(&given, &whole, &[]);
    let took = began.elapsed();
    let expected = snapshot(&whole);
    let runs = (kills() / 10).max(2);
    let (mut tried, mut hit) = (0, 0);
    for index in 0..runs {
        let out = prepared(&given, &format!("shared-{index}"));
        let mut workers = [start(&out), start(&out), start(&out)];
        for kill in 0..1 + draw("how many kills", index, 4) {
            let of = |what: &str| format!("{what}, run {index} of three workers");
            let share = draw(&of("when"), kill, 1000) as f64 / 1000.0;
            std::thread::sleep(took.mul_f64(share / 2.0));
            let worker = &mut workers[draw(&of("which"), kill, 3)];
            tried += 1;
            hit += usize::from(worker.try_wait().unwrap().is_none());
            let _ = worker.kill();
            worker.wait().unwrap();
            *worker = start(&out);
        }
        workers.into_iter().for_each(|worker| drop(ended(worker)));
        let how = format!("run {index} of three workers");
        // Who was killed between the last byte of a model and the end of its claim leaves a claim, which nobody waits for.
        for (model, state) in states(&out) {
            assert_eq!(state, "done", "{model}, {how}");
        }
        run(&given, &out, &[]);
        assert!(!out.join("jobs").exists(), "{how}");
        let found = snapshot(&out);
        assert!(found["report.json"] == expected["report.json"], "{how}");
        assert_same(&found, &expected, &how);
        std::fs::remove_dir_all(out.parent().unwrap()).unwrap();
    }
    say(&format!(
        "{runs} runs by three workers: {tried} kills tried, {hit} of a worker that was there"
    ));
    assert!(hit >= runs, "most kills came too late");
}

#[test]
fn a_claim_without_a_sign_of_life_is_taken_over_and_one_that_lives_is_not() {
    let given = Given::new(PAIR);
    let out = prepared(&given, "gone");
    claim(&out, "baseline", 4);
    assert_eq!(
        states(&out),
        pairs(&[("baseline", "at-work"), ("kd", "waiting")])
    );
    let listed = String::from_utf8(succeed(&["jobs", text(&out)]).stdout).unwrap();
    assert!(
        listed.contains("at work by elsewhere:7 since 2026-11-30T00:00:00Z")
            && listed.contains("waiting for baseline"),
        "{listed}"
    );
    let began = Instant::now();
    let output = worker(&out, &["--once"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    assert!(
        began.elapsed() >= Duration::from_secs(2),
        "before the lease"
    );
    assert!(
        told.contains("baseline: taken over from elsewhere:7") && told.contains("1 trained here"),
        "{told}"
    );
    assert_eq!(states(&out), pairs(&[("baseline", "done"), ("kd", "free")]));

    let out = prepared(&given, "lives");
    claim(&out, "baseline", 0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for beat in 1.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                claim(&out, "baseline", beat);
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        let waited = worker(&out, &["--wait", "5"]).output();
        // Nor does a command that wants the folder for itself go on.
        let args = ["run", text(&given.experiment), "--out", text(&out)];
        let alone = dualmd(&args).output();
        stop.store(true, Ordering::Relaxed);
        let waited = waited.unwrap();
        let told = String::from_utf8_lossy(&waited.stderr).into_owned();
        assert!(waited.status.success(), "{told}");
        assert!(
            told.contains("0 trained here; others are at work on baseline"),
            "{told}"
        );
        let alone = alone.unwrap();
        let told = String::from_utf8_lossy(&alone.stderr).into_owned();
        assert_eq!(alone.status.code(), Some(1), "{told}");
        assert!(
            told.contains("dualmd work") && told.contains("elsewhere:7"),
            "{told}"
        );
    });
    assert!(!out.join("models").exists());
    assert!(out.join("jobs/baseline.claim").exists());
}

#[test]
fn a_run_is_refused_while_a_worker_is_there_and_a_worker_while_a_run_is() {
    let given = Given::new(PAIR);
    let out = prepared(&given, "one");
    let args = ["run", text(&given.experiment), "--out", text(&out)];
    let lock = dualmd_files::Lock::share(&out, "dualmd work one").unwrap();
    let told = fail(&args);
    assert!(
        told.contains("run is in use by") && told.contains("dualmd work one"),
        "{told}"
    );
    drop(lock);
    let lock = dualmd_files::Lock::take(&out, "dualmd run").unwrap();
    let told = fail(&["work", text(&out)]);
    assert!(told.contains("in use by process"), "{told}");
    drop(lock);
    said(&["work", text(&out), "--threads", "1"]);
    assert_eq!(states(&out), pairs(&[("baseline", "done"), ("kd", "done")]));
}

#[test]
fn a_training_that_fails_is_told_and_not_tried_again() {
    let wild = "warmup = 0\nlearning_rate = 1e30\nclip = 0.0";
    let given = Given::new(&PAIR.replace("warmup = 0", wild));
    let out = prepared(&given, "wild");
    let told = fail(&["work", text(&out), "--threads", "1"]);
    assert!(
        told.contains("the training of baseline failed")
            && told.contains("not trained for want of them: kd")
            && told.contains("dualmd jobs"),
        "{told}"
    );
    let file = out.join("jobs/baseline.failed");
    let reason = std::fs::read_to_string(&file).unwrap();
    assert!(reason.contains("learning_rate"), "{reason}");
    assert_eq!(
        states(&out),
        pairs(&[("baseline", "failed"), ("kd", "waiting")])
    );
    let listed = String::from_utf8(succeed(&["jobs", text(&out)]).stdout).unwrap();
    assert!(
        listed.contains("failed: the training of baseline failed")
            && listed.contains("learning_rate"),
        "{listed}"
    );
    // Nobody tries again, until the file is gone.
    let told = fail(&["work", text(&out), "--threads", "1"]);
    assert!(!told.contains("claimed"), "{told}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), reason);
    std::fs::remove_file(&file).unwrap();
    let told = fail(&["work", text(&out), "--threads", "1", "--once"]);
    assert!(
        told.contains("baseline: claimed") && told.contains("baseline.failed is deleted"),
        "{told}"
    );
    assert!(file.exists());
    assert!(claims(&out).is_empty());
}

#[test]
fn a_worker_that_is_stopped_leaves_a_checkpoint_and_its_job() {
    let given = Given::new(&PAIR.replace("steps = 6", "steps = 4000"));
    let out = prepared(&given, "stopped");
    let child = start(&out);
    let began = Instant::now();
    let written = || {
        let all = dualmd_files::list(&out.join("checkpoints/baseline")).unwrap_or_default();
        all.iter()
            .any(|path| path.to_string_lossy().contains("/checkpoint-"))
    };
    while !written() {
        assert!(began.elapsed() < PATIENCE, "it does not train");
        std::thread::sleep(Duration::from_millis(5));
    }
    let killed = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status();
    assert!(killed.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(told.contains("stopped; nothing is lost"), "{told}");
    assert!(written() && claims(&out).is_empty());
    assert_eq!(
        states(&out),
        pairs(&[("baseline", "free"), ("kd", "waiting")])
    );
}

#[test]
fn workers_of_a_run_are_as_many_as_asked_for() {
    let given = many();
    for n in ["1", "3"] {
        let out = given.out(n);
        run(&given, &out, &["--until", "split", "--workers", n]);
        let plan = json(&out.join("plan.json"));
        assert_eq!(plan["hardware"]["parallel_models"].to_string(), n);
    }
    // GPUs do not go on with what was planned for a processor, nor do they share what each has alone.
    let out = given.out("gpus");
    for (more, known) in [
        (["--device", "cpu"], "--device"),
        (["--ranks", "2"], "--ranks 2"),
    ] {
        let gpus = ["--workers", "cuda:0,cuda:1"];
        let output = dualmd(&[&given.args(&out)[..], &gpus, &more].concat())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(known) && told.contains("--workers"), "{told}");
    }
    assert!(!out.exists());
}

/// A worker that was suspended for an hour has lost its job: by now another one has trained the model, and others learn from it.
#[test]
fn a_model_that_another_one_has_finished_meanwhile_stays_as_it_is() {
    let short = Given::new(PAIR);
    let other = short.out("other");
    run(&short, &other, &["--until", "train"]);
    let slow = PAIR.replace("steps = 6\nbatch", "steps = 3000\nbatch");
    let given = Given::new(&slow.replace("checkpoint_every = 2", "checkpoint_every = 100"));
    let out = prepared(&given, "slow");
    let mut child = worker(&out, &["--once"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while !out.join("checkpoints/baseline/checkpoint-100").exists() {
        assert!(child.try_wait().unwrap().is_none() && began.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(1));
    }
    let models = out.join("models");
    std::fs::create_dir_all(&models).unwrap();
    let copied = Command::new("cp")
        .args(["-r", text(&other.join("models/baseline")), text(&models)])
        .status();
    assert!(copied.unwrap().success());
    let trains = child.try_wait().unwrap().is_none();
    assert!(trains, "the copy came too late");
    let told = ended(child);
    assert!(told.contains("1 trained here"), "{told}");
    assert!(weights(&out, "baseline") == weights(&other, "baseline"));
    let training = json(&models.join("baseline/training.json"));
    assert_eq!(training["steps"], 6);
}

#[test]
fn a_folder_that_is_not_prepared_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let none = dir.path().join("none");
    for command in ["work", "jobs"] {
        for folder in [dir.path(), none.as_path()] {
            let output = dualmd(&[command, text(folder)]).output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{told}");
            assert!(
                told.contains("not prepared") && told.contains("--until split"),
                "{told}"
            );
        }
    }
    assert!(!none.exists());
    assert_eq!(
        dualmd_files::list(dir.path()).unwrap(),
        Vec::<PathBuf>::new()
    );
}

#[test]
fn a_script_for_slurm_is_one_that_a_shell_reads() {
    let given = many();
    let out = given.dir.path().join("it's a run");
    run(&given, &out, &["--until", "split"]);
    let script = succeed(&["jobs", text(&out), "--slurm"]).stdout;
    let script = String::from_utf8(script).unwrap();
    // baseline and the two teachers can be trained at once.
    for wanted in [
        "--array=1-3",
        "--requeue",
        "--signal=TERM@120",
        "--cpus-per-task=1",
        "srun dualmd work \"$run\"",
        "--dependency=afterany:\"$trainings\"",
        "srun dualmd run --out \"$run\"",
    ] {
        assert!(script.contains(wanted), "{wanted} is missing in\n{script}");
    }
    let path = given.dir.path().join("trainings.sh");
    std::fs::write(&path, &script).unwrap();
    let read = Command::new("bash").arg("-n").arg(&path).status().unwrap();
    assert!(read.success(), "{script}");
    // With an sbatch that shows what it is given.
    let bin = given.dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let sbatch = bin.join("sbatch");
    std::fs::write(&sbatch, "#!/bin/bash\necho \"$@\" >&2\ncat >&2\necho 42\n").unwrap();
    let status = Command::new("chmod").arg("+x").arg(&sbatch).status();
    assert!(status.unwrap().success());
    let known = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("bash")
        .arg(&path)
        .arg("--time=1:00:00")
        .env("PATH", format!("{}:{known}", bin.display()))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    let quoted = text(&out).replace('\'', r"'\''");
    assert!(
        told.contains("--dependency=afterany:42")
            && told.matches("--time=1:00:00").count() == 2
            && told.matches(&format!("run='{quoted}'\n")).count() == 2,
        "{told}"
    );
}

/// The shadow of a run is prepared with it, and its models are jobs like the others.
#[test]
fn models_of_a_shadow_are_jobs_too() {
    let given = Given::new(&PAIR.replace(r#"["loss"]"#, r#"["loss", "gsa1+shadow"]"#));
    let out = prepared(&given, "shadowed");
    assert_eq!(
        states(&out),
        pairs(&[
            ("baseline", "free"),
            ("kd", "waiting"),
            ("baseline", "free"),
            ("kd", "waiting")
        ])
    );
    let told = said(&["work", text(&out), "--threads", "1"]);
    assert!(
        told.contains("shadow/kd: claimed") && told.contains("4 trained here"),
        "{told}"
    );
    let told = run(&given, &out, &[]);
    assert!(!told.contains("trained in"), "{told}");
    assert!(json(&out.join("report.json"))["models"].is_array());
}

/// The runs of a repetition are shared as one run is.
#[test]
fn runs_of_lira_are_jobs_too() {
    let toml = TINY.replace("steps = 60", "steps = 4").replace(
        "[[models]]\nname = \"dualmd\"\ndefense = \"dualmd\"\n[[models]]\nname = \"student\"\ndefense = \"distillmd\"\n",
        "",
    );
    let given = Given::new(&toml);
    let out = given.dir.path().join("lira");
    let args = ["lira", text(&given.experiment), "--models", "4"];
    let args = [&args[..], &["--pool", "60", "--out", text(&out)]].concat();
    said(&[&args[..], &["--prepare"]].concat());
    assert!(!out.join("shadow-000/models").exists());
    let jobs = succeed(&["jobs", text(&out), "--json"]).stdout;
    let jobs: serde_json::Value = serde_json::from_slice(&jobs).unwrap();
    let jobs = jobs.as_array().unwrap();
    assert!(jobs.len() >= 4 && jobs.iter().all(|job| job["state"] == "free"));
    assert_eq!(jobs[0]["run"], "shadow-000");
    let script = succeed(&["jobs", text(&out), "--slurm"]).stdout;
    let script = String::from_utf8(script).unwrap();
    assert!(
        script.contains(&format!("--array=1-{}", jobs.len())),
        "{script}"
    );
    let both = [start(&out), start(&out)];
    for worker in both {
        ended(worker);
    }
    let trained = || {
        let path = |i: usize| out.join(format!("shadow-{i:03}/models/baseline/training.json"));
        [0, 1, 2, 3].map(|i| std::fs::read(path(i)).unwrap())
    };
    let before = trained();
    said(&args);
    assert!(trained() == before, "trained once more");
    assert!(out.join("lira.json").exists());
}

mod needs_slurm {
    use super::*;

    /// The script that `dualmd jobs --slurm` prints, handed to a Slurm of one node.
    #[test]
    #[ignore = "needs Slurm and root: `cargo xtask test` where slurmctld, slurmd and munge are installed"]
    fn the_script_is_one_that_slurm_works_off() {
        let given = Given::new(&MANY.replace("TRAIN", "steps = 6\neval_every = 0"));
        let whole = given.out("whole");
        run(&given, &whole, &[]);
        let out = prepared(&given, "shared");
        let script = given.dir.path().join("trainings.sh");
        let printed = succeed(&["jobs", text(&out), "--slurm"]).stdout;
        std::fs::write(&script, printed).unwrap();
        let told = given.dir.path().join("told-%A-%a");
        let queue = r#"set -e; bash "$1" --time=10 --output="$2"
            while [ -n "$(squeue --noheader)" ]; do sleep 0.5; done; scontrol show job"#;
        let one_node = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slurm/one-node.sh");
        let program = Path::new(env!("CARGO_BIN_EXE_dualmd")).parent().unwrap();
        let known = std::env::var("PATH").unwrap_or_default();
        let mut command = common::as_root("env");
        command
            .arg(format!("PATH={}:{known}", program.display()))
            .args(["OMP_NUM_THREADS=1", "DUALMD_SSCD=no-such-folder", "bash"])
            .arg(one_node)
            .arg(given.dir.path().join("slurm"))
            .args(["bash", "-c", queue, "bash", text(&script), text(&told)]);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}\n{wrong}");
        // Three trainings at once, and what comes after them.
        assert_eq!(said.matches("JobState=COMPLETED").count(), 4, "{said}");
        for model in ["baseline", "teacher-1", "teacher-2", "student", "kd"] {
            assert_eq!(weights(&out, model), weights(&whole, model), "{model}");
        }
        let models = |run: &Path| {
            json(&run.join("report.json"))["models"]
                .as_array()
                .unwrap()
                .len()
        };
        assert_eq!(models(&out), models(&whole));
        assert!(states(&out).iter().all(|(_, state)| state == "done"));
    }
}
