//! Whole runs that are killed, that meet, and that fill their disk: the same command, called again, ends at the same bytes as
//! a run that nothing happened to, and leaves nothing unfinished behind.
//!
//! `cargo test` kills a few after delays; `cargo xtask test` also kills at system calls, with strace, and fills disks, as root.
//!
//! A few of each; `DUALMD_KILLS=200` asks for 200 kills of a run and a tenth as many pairs, `DUALMD_KILLS_SEED=N`
//! for others, and `DUALMD_KILLS_BINARY=FILE` for another build of the program.
#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;
mod inject;

use common::chance::{draw, kills, say};
use common::same::{Snapshot, assert_same, snapshot};
use common::text;
use inject::{Disk, Kill, calls, dualmd, kill};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

/// Six steps of each training.
const STEPS: &str = "steps = 6\neval_every = 3\nsample_every = 4";

/// What every test begins with: images, an experiment, and what an unbroken run of it comes to.
struct Given {
    given: common::Given,
    whole: Snapshot,
    /// How long the run took.
    took: Duration,
    /// Kilobytes that it left.
    kib: u64,
}

/// Made once for all tests that run side by side.
fn given() -> Arc<Given> {
    static GIVEN: Mutex<Weak<Given>> = Mutex::new(Weak::new());
    let mut known = GIVEN.lock().unwrap();
    if let Some(given) = known.upgrade() {
        return given;
    }
    let given = common::Given::new(&common::MANY.replace("TRAIN", STEPS));
    let out = given.out("unbroken");
    let began = Instant::now();
    succeed(&strings(&given.args(&out)));
    let given = Arc::new(Given {
        took: began.elapsed(),
        whole: snapshot(&out),
        kib: size(&out),
        given,
    });
    *known = Arc::downgrade(&given);
    given
}

impl Given {
    /// The command of a run in the folder NAME/run.
    fn run(&self, name: &str) -> (Vec<String>, PathBuf) {
        let out = self.given.out(name);
        (strings(&self.given.args(&out)), out)
    }
}

fn strings(args: &[&str]) -> Vec<String> {
    args.iter().map(|a| (*a).to_owned()).collect()
}

/// Kilobytes of pages that the files of a folder take.
fn size(folder: &Path) -> u64 {
    let paths = dualmd_files::list(folder).unwrap().into_iter();
    let of = |path: PathBuf| match path.is_dir() {
        true => size(&path),
        false => path.metadata().unwrap().len().div_ceil(4096) * 4,
    };
    paths.map(of).sum()
}

fn output(args: &[String]) -> Output {
    dualmd(args).stderr(Stdio::piped()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn succeed(args: &[String]) -> String {
    let output = output(args);
    let said = said(&output);
    assert!(
        output.status.success(),
        "{args:?}: {}\n{said}",
        output.status
    );
    said
}

/// Kill number `index` of what takes `took` and makes `made`.
fn drawn(what: &str, index: usize, made: &[inject::Call], took: Duration) -> Kill {
    let all = draw(&format!("{what} all"), index, 3) == 0;
    let by_time = made.is_empty() || draw(&format!("{what} how"), index, 5) == 0;
    if by_time {
        let share = draw(&format!("{what} when"), index, 1000) as f64 / 1000.0;
        return Kill::After(took.mul_f64(share), all);
    }
    let which = draw(&format!("{what} which"), index, made.len());
    Kill::At(made[which].clone(), all)
}

/// Kills `args` `n` times, each time in another place: with strace at system calls and after delays, without it after delays
/// only. The same command then ends as if nothing had been. `place` gives the command and its folder, `check` looks at that.
fn killed(
    what: &str,
    n: usize,
    strace: Option<&Path>,
    took: Duration,
    place: &dyn Fn(&str) -> (Vec<String>, PathBuf),
    check: &dyn Fn(&Path, &str),
) {
    let logs = tempfile::tempdir().unwrap();
    let log = |name: &str| logs.path().join(name);
    let made = strace.map_or_else(Vec::new, |strace| {
        calls(
            strace,
            &place(&format!("{what}-counted")).0,
            &log("counted"),
        )
    });
    let (mut at, mut after, mut through, mut together) = (0, 0, 0, 0);
    for index in 0..n {
        let how = drawn(what, index, &made, took);
        let (args, out) = place(&format!("{what}-{index}"));
        let left = kill(&how, strace, &args, &log(&index.to_string()));
        match (&how, left.hit) {
            (_, false) => through += 1,
            (Kill::At(..), true) => at += 1,
            (Kill::After(..), true) => after += 1,
        }
        together += usize::from(matches!(how, Kill::At(_, true) | Kill::After(_, true)));
        let how = format!("{what} {index}, killed {how:?}");
        let again = output(&args);
        assert!(
            again.status.success(),
            "{how}: {}\n{}",
            again.status,
            said(&again)
        );
        left.wait();
        check(&out, &how);
        std::fs::remove_dir_all(out.parent().unwrap()).unwrap();
    }
    say(&format!(
        "{what}: {n} kills tried: {at} at a system call (of {} that it makes), {after} after a delay, {through} came too late; \
         {together} of them ended all its processes",
        made.len()
    ));
    assert!(2 * (at + after) >= n, "most kills came too late");
}

fn kill_runs(what: &str, n: usize, strace: Option<&Path>) {
    let given = given();
    killed(
        what,
        n,
        strace,
        given.took,
        &|name| given.run(name),
        &|out, how| assert_same(&snapshot(out), &given.whole, how),
    );
}

#[test]
fn a_run_that_is_killed_after_a_delay_ends_as_if_nothing_had_been() {
    kill_runs("run-delayed", (kills() / 5).max(2), None);
}

mod needs_strace {
    use super::*;

    fn strace() -> PathBuf {
        std::env::var_os("DUALMD_TEST_STRACE")
            .map(PathBuf::from)
            .expect("DUALMD_TEST_STRACE names a strace that may trace; `cargo xtask test` sets it")
    }

    #[test]
    #[ignore = "needs strace: `cargo xtask test` where it is installed"]
    fn a_run_that_is_killed_at_a_system_call_ends_as_if_nothing_had_been() {
        kill_runs("run", kills(), Some(&strace()));
    }

    #[test]
    #[ignore = "needs strace: `cargo xtask test` where it is installed"]
    fn so_do_an_attack_an_audit_and_an_export() {
        kill_short_commands(&strace());
    }
}

/// The commands that need no run: each killed a few times.
fn kill_short_commands(strace: &Path) {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/tiny-ddpm");
    let dir = tempfile::tempdir().unwrap();
    let (members, others) = common::sides(dir.path(), 12);
    let sides = [
        text(&model),
        "--members",
        text(&members),
        "--nonmembers",
        text(&others),
        "--attacks",
        "loss,sima",
        "--batch",
        "8",
        "--threads",
        "1",
    ];
    let few = (kills() / 5).max(2);
    let out = |name: &str| dir.path().join("killed").join(name).join("out");
    type Place<'a> = Box<dyn Fn(&str) -> (Vec<String>, PathBuf) + 'a>;
    let commands: [(&str, Place<'_>); 3] = [
        (
            "attack",
            Box::new(|name| {
                let out = out(name);
                let csv = out.join("scores.csv");
                let args = [&["attack"][..], &sides, &["-o", text(&csv)]].concat();
                (strings(&args), out)
            }),
        ),
        (
            "audit",
            Box::new(|name| {
                let out = out(name);
                let more = ["--images", "4", "--steps", "2", "-o", text(&out)];
                (strings(&[&["audit"][..], &sides, &more].concat()), out)
            }),
        ),
        (
            "export",
            Box::new(|name| {
                let out = out(name);
                let args = ["export", "copy", text(&model), "-o", text(&out)];
                (strings(&args), out)
            }),
        ),
    ];
    for (what, place) in &commands {
        let (args, whole) = place(&format!("{what}-unbroken"));
        let began = Instant::now();
        succeed(&args);
        let took = began.elapsed();
        let expected = snapshot(&whole);
        killed(what, few, Some(strace), took, place, &|out, how| {
            if *what == "attack" {
                // In a folder that may be others', too, what is unfinished goes when it is old.
                for path in dualmd_files::list(out).unwrap() {
                    if path.display().to_string().contains(dualmd_files::HIDDEN) {
                        dualmd_files::remove_folder(&path).unwrap();
                    }
                }
            }
            assert_same(&snapshot(out), &expected, how);
        });
    }
}

#[test]
fn of_two_runs_that_meet_one_is_refused_and_the_other_ends() {
    let given = given();
    let pairs = (kills() / 10).max(2);
    let mut met = 0;
    for index in 0..pairs {
        let (args, out) = given.run(&format!("pair-{index}"));
        let later = Duration::from_millis(draw("pair", index, 2000) as u64);
        let start = || dualmd(&args).stderr(Stdio::piped()).spawn().unwrap();
        let ended = |child: Child| (child.wait_with_output().unwrap(), Instant::now());
        let first = start();
        let first = std::thread::spawn(move || ended(first));
        std::thread::sleep(later);
        let began = Instant::now();
        let (second, second_end) = ended(start());
        let (first, first_end) = first.join().unwrap();
        let how = format!("pair {index}, {later:?} apart");
        if first.status.success() && second.status.success() {
            assert!(
                first_end <= began + Duration::from_millis(50),
                "{how}: both worked at once"
            );
        } else {
            met += 1;
            let (refused, at, end) = match first.status.success() {
                true => (second, second_end, first_end),
                false => (first, first_end, second_end),
            };
            let said = said(&refused);
            assert!(
                refused.status.code() == Some(1) && at < end,
                "{how}: {said}"
            );
            let own = format!("error: {} is in use by process ", out.display());
            assert!(
                said.starts_with(&own) && said.contains("since 20"),
                "{how}: {said}"
            );
            assert_eq!(said.trim_end().lines().count(), 1, "{how}: {said}");
        }
        assert_same(&snapshot(&out), &given.whole, &how);
    }
    say(&format!(
        "{pairs} pairs of runs on one folder, {met} of them met"
    ));
    assert!(met > 0);
}

#[test]
fn whoever_works_in_a_folder_works_there_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/tiny-ddpm");
    std::fs::write(path("tiny.toml"), common::TINY).unwrap();
    let runs = path("studies/cpu/fashion-16/seed-0");
    std::fs::create_dir_all(&runs).unwrap();
    std::fs::create_dir_all(path("run")).unwrap();
    let (run, toml, studies, csv) = (
        path("run"),
        path("tiny.toml"),
        path("studies"),
        path("run/x.csv"),
    );
    let (run, toml, model, csv) = (text(&run), text(&toml), text(&model), text(&csv));
    let data = ["--members", "fashion", "--nonmembers", "emoji"];
    let who = "a test";
    let held = [
        dualmd_files::Lock::take(&path("run"), who).unwrap(),
        dualmd_files::Lock::take(&runs, who).unwrap(),
    ];
    let file = dualmd_files::Lock::of_file(Path::new(csv), who).unwrap();
    let refused: [Vec<&str>; 10] = [
        vec!["run", toml, "--out", run],
        vec!["run", toml, "--out", run, "--seeds", "2"],
        vec!["train", toml, "--model", "baseline", "--out", run],
        vec!["report", run],
        vec!["lira", toml, "--out", run],
        vec!["sample", model, "-n", "1", "-o", run],
        [&["audit", model, "-o", run][..], &data].concat(),
        [&["attack", model, "-o", csv][..], &data].concat(),
        vec!["memorisation", model, "--memorised", toml, "-o", run],
        vec![
            "reproduce",
            "table3",
            "--only",
            "fashion-16",
            "--out",
            text(&studies),
        ],
    ];
    for args in &refused {
        let output = output(&strings(args));
        let said = said(&output);
        let own = format!("is in use by process {} ({who})", std::process::id());
        assert!(
            output.status.code() == Some(1) && said.contains(&own) && said.contains("wait for it"),
            "{args:?}: {said}"
        );
    }
    drop((held, file));
    // Nothing was written, and nothing is left of those that were refused.
    assert!(dualmd_files::list(&path("run")).unwrap().is_empty());
    assert!(dualmd_files::list(&runs).unwrap().is_empty());
}

mod needs_root {
    #[test]
    #[ignore = "needs root, to mount a small disk: `cargo xtask test` as root"]
    fn a_full_disk_is_an_error_and_with_room_the_run_goes_on() {
        super::fill_disks();
    }
}

fn fill_disks() {
    let given = given();
    let fillings = (kills() / 5).max(2);
    for index in 0..fillings {
        // What a run needs at most lies above what it leaves: its last checkpoints go at the end, each as large as three models.
        let share = (index as f64 + 0.5) / fillings as f64;
        let kib = (given.kib as f64 * share) as u64;
        let (args, out) = given.run(&format!("full-{index}"));
        let disk = Disk::mount(out.parent().unwrap(), kib.max(64));
        let how = format!("full disk {index}, {kib} of {} KiB", given.kib);
        let full = output(&args);
        let words = said(&full);
        assert!(
            full.status.code() == Some(1)
                && words.contains("No space left")
                && !words.contains("panicked"),
            "{how}: {}\n{words}",
            full.status
        );
        disk.grow();
        succeed(&args);
        assert_same(&snapshot(&out), &given.whole, &how);
        drop(disk);
    }
    say(&format!(
        "{fillings} full disks, of {} KiB that a run leaves",
        given.kib
    ));
}
