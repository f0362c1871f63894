//! Work that several processes share, through the real binary: what they leave and one call merges is, byte for byte, what one process
//! writes.

mod common;

use common::{Images, dualmd, json, succeed, text};
use dualmd_torch::weights::read_safetensors_as_is;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden")).join(name)
}

fn strings(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

/// `args` with others behind them.
fn with<'a>(args: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    let args = args.iter().map(String::as_str);
    args.chain(more.iter().copied()).collect()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs it; gives what it says.
fn call(args: &[String], more: &[&str]) -> String {
    said(&succeed(&with(args, more)))
}

/// Runs it; it is refused with this exit code; gives what it says.
fn refused(args: &[String], more: &[&str], code: i32) -> String {
    let output = dualmd(&with(args, more)).output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(code), "{more:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// Parts `a` and `b` side by side.
fn both(args: &[String], a: &str, b: &str) {
    let start = |part: &str| {
        let mut command = dualmd(&with(args, &["--part", part]));
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    for child in [start(a), start(b)] {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
}

impl Images {
    /// An attack that has a formula, one that learns, and one that compares generated images.
    fn command(&self, what: &str, batch: &str, out: &Path) -> Vec<String> {
        strings(&[
            what,
            text(&golden("tiny-ddpm")),
            "--members",
            text(&self.members),
            "--nonmembers",
            text(&self.others),
            "--attacks",
            "sima,gsa1,nn",
            "--known-fraction",
            "0.4",
            "--images",
            "6",
            "--steps",
            "2",
            "--features",
            "none",
            "--batch",
            batch,
            "--threads",
            "1",
            "-o",
            text(out),
        ])
    }

    /// What one process writes.
    fn alone(&self, batch: &str) -> String {
        let out = self.at(&format!("alone-{batch}/scores.csv"));
        call(&self.command("attack", batch, &out), &[]);
        let csv = std::fs::read_to_string(out).unwrap();
        assert!(["sima", "gsa1", "nn"].iter().all(|a| csv.contains(a)));
        csv
    }
}

/// Names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let all = dualmd_files::list(folder).unwrap();
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    all.iter().map(name).collect()
}

#[test]
fn three_parts_of_an_attack_are_the_attack() {
    let given = Images::new();
    let alone = given.alone("5");
    let out = given.at("parts/scores.csv");
    let attack = given.command("attack", "5", &out);
    both(&attack, "1/3", "3/3");
    let said = call(&attack, &["--part", "2/3"]);
    assert!(
        said.contains("part 2/3: 2 of its 2 batches made now; 5 of 5 batches are there"),
        "{said}"
    );
    assert!(said.contains("left to the call without --part") && said.contains("for it: nn"));
    // Nothing is written but parts, and a second time nothing is made.
    let there = names(&given.at("parts"));
    assert_eq!(there, [".scores.csv.lock", "scores.parts"]);
    let said = call(&attack, &["--part", "1/3"]);
    assert!(said.contains("0 of its 2 batches made now"), "{said}");
    let said = call(&attack, &[]);
    assert!(
        said.contains("all 5 batches of the parts are there"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(&out).unwrap(), alone);
    assert_eq!(names(&given.at("parts")), ["scores.csv", "scores.json"]);
    let calls = |name: &str| json(&given.at(name))["network_calls_made"].clone();
    assert_eq!(
        calls("parts/scores.json"),
        calls("alone-5/scores.json"),
        "what other processes did counts, too"
    );
    // All is there: a part has nothing to do, and makes no folder.
    let said = call(&attack, &["--part", "1/3"]);
    assert!(said.contains("nothing to do"), "{said}");
    assert!(!given.at("parts/scores.parts").exists());
}

#[test]
fn eight_parts_of_an_attack_are_the_attack() {
    let given = Images::new();
    let alone = given.alone("2");
    let out = given.at("parts/scores.csv");
    let attack = given.command("attack", "2", &out);
    for [a, b] in [
        ["8/8", "1/8"],
        ["2/8", "7/8"],
        ["6/8", "3/8"],
        ["4/8", "5/8"],
    ] {
        both(&attack, a, b);
    }
    let said = call(&attack, &[]);
    assert!(
        said.contains("all 12 batches of the parts are there"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(&out).unwrap(), alone);
}

#[test]
fn the_last_call_makes_what_lacks() {
    let given = Images::new();
    let alone = given.alone("5");
    let out = given.at("parts/scores.csv");
    let attack = given.command("attack", "5", &out);
    call(&attack, &["--part", "3/3"]);
    let folder = given.at("parts/scores.parts");
    assert_eq!(names(&folder), ["2.safetensors", "of", "shared"]);
    // Half a file, as a broken disk may leave it, is none.
    let part = folder.join("2.safetensors");
    let bytes = std::fs::read(&part).unwrap();
    std::fs::write(folder.join("4.safetensors"), &bytes[..bytes.len() / 2]).unwrap();
    let said = call(&attack, &[]);
    assert!(
        said.contains("2 of 5 batches of the parts are there; the others are made now"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(&out).unwrap(), alone);
}

#[test]
fn a_part_that_is_killed_leaves_whole_batches() {
    let given = Images::new();
    let alone = given.alone("1");
    let out = given.at("parts/scores.csv");
    let attack = given.command("attack", "1", &out);
    let folder = given.at("parts/scores.parts");
    let mut child = dualmd(&with(&attack, &["--part", "1/2"]))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    let batches = |folder: &Path| -> Vec<PathBuf> {
        let all = dualmd_files::list(folder).unwrap_or_default();
        let is_batch = |path: &PathBuf| path.extension().is_some_and(|e| e == "safetensors");
        all.into_iter().filter(is_batch).collect()
    };
    while batches(&folder).len() < 2 && child.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < Duration::from_secs(120), "it hangs");
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = child.kill();
    child.wait().unwrap();
    let left = batches(&folder);
    assert!(left.len() >= 2, "{left:?}");
    for path in &left {
        read_safetensors_as_is(path).unwrap();
    }
    // Whoever comes next is not held up by its lock: the same part, another one, and the last call.
    both(&attack, "1/2", "2/2");
    let said = call(&attack, &[]);
    assert!(
        said.contains("all 24 batches of the parts are there"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(&out).unwrap(), alone);
    assert_eq!(names(&given.at("parts")), ["scores.csv", "scores.json"]);
}

#[test]
fn parts_of_other_arguments_are_refused_and_kept() {
    let given = Images::new();
    let out = given.at("parts/scores.csv");
    let attack = given.command("attack", "5", &out);
    call(&attack, &["--part", "1/2"]);
    let folder = given.at("parts/scores.parts");
    let before = names(&folder);
    let fewer: Vec<String> = attack
        .iter()
        .map(|arg| arg.replace("sima,gsa1,nn", "sima"))
        .collect();
    for (args, more) in [
        (&attack, &["--seed", "5", "--part", "2/2"][..]),
        (&attack, &["--seed", "5"][..]),
        (&fewer, &["--part", "2/2"][..]),
        (&given.command("attack", "6", &out), &["--part", "2/2"][..]),
    ] {
        let said = refused(args, more, 2);
        assert!(
            said.contains("scores.parts") && said.contains("other arguments"),
            "{said}"
        );
        assert_eq!(names(&folder), before, "{more:?}");
        assert!(!out.exists());
    }
    for wrong in ["0/2", "3/2", "1/0", "2", "x/2"] {
        let said = refused(&attack, &["--part", wrong], 2);
        assert!(said.contains("--part"), "{said}");
    }
    // A call that asks the network nothing has no use for them, and leaves them.
    let compared: Vec<String> = attack
        .iter()
        .map(|arg| arg.replace("sima,gsa1,nn", "nn"))
        .collect();
    let said = call(&compared, &[]);
    assert!(
        said.contains("warning") && said.contains("had no use for it"),
        "{said}"
    );
    assert_eq!(names(&folder), before);
    call(&attack, &[]);
    assert!(!folder.exists());
}

/// Parts share what they work on; the last call has it alone.
#[test]
fn the_last_call_and_parts_keep_each_other_out() {
    let given = Images::new();
    let out = given.at("scores.csv");
    let attack = given.command("attack", "5", &out);
    let who = "dualmd attack --part 1/2";
    let part = dualmd_files::Lock::share_file(&out, who).unwrap();
    let said = refused(&attack, &[], 1);
    assert!(
        said.contains("scores.csv is in use by") && said.contains(who),
        "{said}"
    );
    call(&attack, &["--part", "2/2"]);
    drop(part);
    let last = dualmd_files::Lock::of_file(&out, "dualmd attack").unwrap();
    let said = refused(&attack, &["--part", "1/2"], 1);
    assert!(said.contains("in use by process"), "{said}");
    drop(last);
    call(&attack, &[]);
    assert!(out.exists());
}

#[test]
fn parts_of_an_audit_are_the_audit() {
    let given = Images::new();
    let (alone, out) = (given.at("alone"), given.at("audit"));
    call(&given.command("audit", "5", &alone), &[]);
    let audit = given.command("audit", "5", &out);
    both(&audit, "1/2", "2/2");
    assert_eq!(names(&out), [".lock", "scores"]);
    assert_eq!(names(&out.join("scores")), ["model.parts"]);
    refused(&audit, &["--check", "--part", "1/2"], 2);
    let said = call(&audit, &[]);
    assert!(
        said.contains("model: all 5 batches of the parts are there"),
        "{said}"
    );
    for file in ["scores/model.csv", "samples/model/samples.npy"] {
        let of = |folder: &Path| std::fs::read(folder.join(file)).unwrap();
        assert_eq!(of(&out), of(&alone), "{file}");
    }
    assert_eq!(names(&out), names(&alone));
    assert_eq!(names(&out.join("scores")), names(&alone.join("scores")));
}

/// All files of a folder by name.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |name: String| {
        let bytes = std::fs::read(folder.join(&name)).unwrap();
        (name, bytes)
    };
    names(folder).into_iter().map(read).collect()
}

/// Parts of a call of `dualmd sample`, one of them left to the last call, and that call; against one process. 7 images in batches of 3.
fn sampled(dir: &Path, model: &[&str], more: &[&str]) {
    let command = |out: &Path| {
        let rest = ["-n", "7", "--batch", "3", "--steps", "2", "--threads", "1"];
        strings(&[&["sample"], model, &rest[..], more, &["-o", text(out)]].concat())
    };
    let (alone, out) = (dir.join("alone"), dir.join("parts"));
    call(&command(&alone), &[]);
    let sample = command(&out);
    both(&sample, "3/3", "1/3");
    assert_eq!(names(&out), [".lock", "samples.parts"]);
    let folder = out.join("samples.parts");
    let there = ["0.safetensors", "6.safetensors", "of", "shared"];
    assert_eq!(names(&folder), there);
    let said = refused(&sample, &["--seed", "4", "--part", "2/3"], 2);
    assert!(
        said.contains("samples.parts") && said.contains("other arguments"),
        "{said}"
    );
    refused(&sample, &["--seed", "4"], 2);
    assert_eq!(names(&folder), there);
    refused(&sample, &["--part", "4/3"], 2);
    let said = call(&sample, &["--part", "3/3"]);
    assert!(
        said.contains("part 3/3: 0 of its 1 batches made now; 2 of 3 batches are there"),
        "{said}"
    );
    let said = call(&sample, &[]);
    assert!(
        said.contains("2 of 3 batches of the parts are there; the others are made now"),
        "{said}"
    );
    assert!(files(&alone).contains_key("0006.png"));
    assert_eq!(files(&out), files(&alone));
}

#[test]
fn parts_of_images_are_the_images() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (golden("tiny-grey"), golden("tiny-grey-2"));
    let pair = [text(&first), text(&second)];
    // Every image tosses its own coins: its number counts, not its place among those of its process.
    sampled(
        &dir.path().join("pair"),
        &pair,
        &["--order", "random-step", "--sampler", "ddpm"],
    );
}

/// Latents are decoded four at a time, and batches have three.
#[test]
fn parts_of_latents_are_decoded_as_one_process_does_it() {
    let dir = tempfile::tempdir().unwrap();
    let prompts = dir.path().join("prompts.txt");
    std::fs::write(&prompts, "a cat\na dog\n").unwrap();
    let model = golden("conditional/sd1");
    let more = ["--prompts", text(&prompts), "--guidance", "2"];
    sampled(&dir.path().join("text"), &[text(&model)], &more);
}
