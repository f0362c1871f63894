//! End to end through the real binary: a whole run, then every other command on what it left.

mod common;

use common::{TINY, dualmd, fail, json, succeed, text};
use serde_json::Value;

#[test]
fn a_run_and_everything_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let experiment = dir.path().join("tiny.toml");
    std::fs::write(&experiment, TINY).unwrap();
    let run = dir.path().join("run");
    let output = succeed(&[
        "run",
        text(&experiment),
        "--out",
        text(&run),
        "--threads",
        "2",
    ]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("report.html"), "{told}");
    // So few images differ by chance: the report is void, and its numbers stand in the table of findings only.
    let findings = std::fs::read_to_string(run.join("findings.csv")).unwrap();
    for name in ["baseline", "teacher-1", "teacher-2", "student", "dualmd"] {
        let row = format!("\n{name},");
        assert!(findings.contains(&row), "{name} is missing in\n{findings}");
    }
    let report = json(&run.join("report.json"));
    assert_eq!(report["schema"], 1);
    let models = report["models"].as_array().unwrap();
    assert_eq!(models.len(), 5);
    assert!(run.join("report.html").exists() && run.join("findings.csv").exists());

    let copying = &models[0]["copying"][0];
    assert_eq!(
        (
            &copying["likeness"],
            &copying["n_generated"],
            &copying["n_members"]
        ),
        (&"rmse".into(), &8.into(), &8.into())
    );

    // The split is what the models say they were trained on: disjoint halves, no member outside.
    let split = json(&run.join("split.json"));
    let half = |n: u64| {
        split["members"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|m| m["half"] == n)
            .count()
    };
    assert_eq!((half(1), half(2)), (4, 4));
    for model in ["baseline", "teacher-1", "teacher-2", "student"] {
        let training = json(&run.join("models").join(model).join("training.json"));
        assert_eq!(training["split_hash"], split["hash"], "{model}");
    }

    // The same command again does nothing and says the same.
    let again = succeed(&[
        "run",
        text(&experiment),
        "--out",
        text(&run),
        "--threads",
        "2",
    ]);
    assert_eq!(String::from_utf8_lossy(&again.stdout), told);

    let model = run.join("models/student");
    let scores = dir.path().join("scores.csv");
    let split_file = run.join("split.json");
    succeed(&[
        "attack",
        text(&model),
        "--members",
        "fashion#member",
        "--nonmembers",
        "fashion#nonmember",
        "--split",
        text(&split_file),
        "--attacks",
        "loss,sima",
        "-o",
        text(&scores),
        "--seed",
        "3",
        "--threads",
        "1",
    ]);
    // One model, one set of images, one seed: the attack command and the run's attack stage give the same scores.
    let read = |path: &std::path::Path| {
        let text = std::fs::read_to_string(path).unwrap();
        let mut rows: Vec<(String, f64)> = text
            .lines()
            .skip(1)
            .map(|l| l.split(',').map(str::to_owned).collect::<Vec<_>>())
            .filter(|f| f[3] != "nn")
            .map(|f| (format!("{} {} {}", f[3], f[0], f[2]), f[4].parse().unwrap()))
            .collect();
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        rows
    };
    let (by_run, by_command) = (read(&run.join("scores/student.csv")), read(&scores));
    assert_eq!(by_run.len(), 2 * 48);
    assert_eq!(by_run.len(), by_command.len());
    for (a, b) in by_run.iter().zip(&by_command) {
        assert_eq!(a.0, b.0);
        assert!((a.1 - b.1).abs() <= 1e-4 * a.1.abs(), "{a:?} {b:?}");
    }

    let roc = succeed(&["roc", text(&scores), "--fpr", "0.1", "--json"]);
    assert!(serde_json::from_slice::<Value>(&roc.stdout).is_ok());

    // Another split is refused.
    let other = dir.path().join("other.json");
    succeed(&[
        "split",
        "fashion",
        "--members",
        "8",
        "--nonmembers",
        "8",
        "--seed",
        "9",
        "-o",
        text(&other),
    ]);
    let said = fail(&[
        "attack",
        text(&model),
        "--members",
        "fashion#member",
        "--nonmembers",
        "fashion#nonmember",
        "--split",
        text(&other),
        "-o",
        text(&scores),
    ]);
    assert!(said.contains("split"), "{said}");

    // Sampling one model and the pair; the pair of a model with itself draws what the model draws.
    let one = dir.path().join("one");
    let pair = dir.path().join("pair");
    succeed(&[
        "sample",
        text(&model),
        "-n",
        "4",
        "--steps",
        "5",
        "-o",
        text(&one),
        "--format",
        "npy",
    ]);
    succeed(&[
        "sample",
        text(&model),
        text(&model),
        "-n",
        "4",
        "--steps",
        "5",
        "-o",
        text(&pair),
        "--format",
        "npy",
    ]);
    assert_eq!(
        std::fs::read(one.join("samples.npy")).unwrap(),
        std::fs::read(pair.join("samples.npy")).unwrap()
    );

    let audit = dir.path().join("audit");
    succeed(&[
        "audit",
        text(&model),
        "--members",
        "fashion#member",
        "--nonmembers",
        "fashion#nonmember",
        "--split",
        text(&split_file),
        "--attacks",
        "sima",
        "-o",
        text(&audit),
    ]);
    assert_eq!(json(&audit.join("report.json"))["schema"], 1);
}

#[test]
fn copies_in_folders_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let split = dir.path().join("split.json");
    let split = text(&split);
    succeed(&[
        "split",
        "fashion",
        "--members",
        "20",
        "--nonmembers",
        "30",
        "-o",
        split,
    ]);
    let [members, heldout] = ["member", "nonmember"].map(|side| {
        let folder = dir.path().join(side);
        let data = format!("fashion#{side}");
        succeed(&[
            "export",
            "images",
            &data,
            "--split",
            split,
            "-o",
            text(&folder),
        ]);
        folder
    });
    let count = |generated: &std::path::Path, more: &[&str]| {
        let sides = [
            "--real",
            text(&heldout),
            "--members",
            text(&members),
            "--features",
            "none",
        ];
        let args = [&["metrics", text(generated)], &sides[..], more].concat();
        String::from_utf8_lossy(&succeed(&args).stdout).into_owned()
    };
    // A model that draws its training images, and one that draws what it never saw.
    let counted = |generated| -> Value {
        let printed = count(generated, &["--copies", "pixels", "--json"]);
        serde_json::from_str::<Value>(&printed).unwrap()["copies"][0].clone()
    };
    let copier = counted(&members);
    assert_eq!(
        (
            &copier["found"]["copies"],
            &copier["found"]["distinct"],
            &copier["control"]["n"]
        ),
        (&20.into(), &20.into(), &20.into())
    );
    assert_eq!(copier["pairs"][0]["likeness"], 0.0);
    assert!(
        copier["control"]["heldout"]["copies"].as_u64().unwrap() <= 2,
        "{copier}"
    );
    let stranger = counted(&heldout);
    // None is nearer than the nearest of itself.
    assert_eq!(stranger["found"]["copies"], 0);
    let printed = count(&members, &[]);
    assert!(
        printed.starts_with(
            "copies by pixels-28x28: 20 of 20 generated images, of 20 different members"
        ),
        "{printed}"
    );
    // Statistics in the field's format: the distance to those of the same images is the distance to the images.
    let file = dir.path().join("real.npz");
    let by_pixels = |more: &[&str]| -> Value {
        let asked = ["metrics", text(&members), "--real", text(&heldout)];
        let how = ["--features", "pixels", "--json"];
        let printed = succeed(&[&asked[..], &how, more].concat()).stdout;
        serde_json::from_slice(&printed).unwrap()
    };
    by_pixels(&["--save-statistics", text(&file)]);
    let both = by_pixels(&["--statistics", text(&file)]);
    let value = |pointer: &str| both.pointer(pointer).and_then(Value::as_f64).unwrap();
    let (theirs, ours) = (
        value("/frechet_to_statistics/distance/value"),
        value("/frechet/distance/value"),
    );
    assert!((theirs - ours).abs() < 1e-6 * ours, "{theirs} and {ours}");
    let said = fail(&[
        "metrics",
        text(&members),
        "--real",
        text(&heldout),
        "--features",
        "none",
    ]);
    assert!(said.contains("--members"), "{said}");
}

#[test]
fn errors_name_the_thing_and_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("e.toml");
    std::fs::write(&path, TINY.replace("batch = 8", "batchs = 8")).unwrap();
    let said = fail(&["run", text(&path), "--out", text(&dir.path().join("r"))]);
    assert!(
        said.contains("train.batchs") && said.contains("train.batch"),
        "{said}"
    );
    let said = fail(&[
        "sample",
        text(dir.path()),
        "-n",
        "1",
        "-o",
        text(&dir.path().join("s")),
    ]);
    assert!(said.contains("model_index.json"), "{said}");
    let said = fail(&["roc", text(&dir.path().join("none.csv"))]);
    assert!(said.contains("none.csv"), "{said}");
    let said = fail(&[
        "run",
        "--preset",
        "dem",
        "--out",
        text(&dir.path().join("p")),
    ]);
    assert!(said.contains("demo"), "{said}");
    let said = fail(&[
        "predict",
        text(dir.path()),
        "--x",
        "x.npy",
        "--t",
        "t.npy",
        "-o",
        "e.npy",
        "--device",
        "cuda:7",
    ]);
    assert!(said.contains("cuda"), "{said}");
}

#[test]
fn the_selftest_passes() {
    let output = succeed(&["selftest"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("planted leak"));
    let printed = succeed(&["selftest", "--json"]).stdout;
    let found: serde_json::Value = serde_json::from_slice(&printed).unwrap();
    let results = found.as_array().unwrap();
    assert!(results.iter().all(|one| one["right"] == true), "{found}");
    assert!(
        results
            .iter()
            .any(|one| one["model"] == "null" && one["auc"].is_number()),
        "{found}"
    );
}

/// A copy in a shared folder would load the library that a stranger puts beside that folder.
#[test]
fn the_programs_look_for_libraries_in_no_relative_place() {
    for file in [
        env!("CARGO_BIN_EXE_dualmd"),
        env!("CARGO_BIN_EXE_dualmd-engine"),
    ] {
        let program = std::fs::read(file).unwrap();
        let holds = |text: &[u8]| program.windows(text.len()).any(|window| window == text);
        assert!(!holds(b"$ORIGIN"), "a relative place: {file}");
    }
}

/// A preset as a file is the preset, and a file that is there stays.
#[test]
fn presets_become_files_and_shells_complete() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.toml");
    let call = |args: &[&str]| dualmd(args).output().unwrap();
    let path = file.display().to_string();
    assert!(
        call(&["new", &path, "--preset", "fashion-32"])
            .status
            .success()
    );
    let preset = include_str!("../../experiment/presets/fashion-32.toml");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), preset);
    std::fs::write(&file, "mine").unwrap();
    let again = call(&["new", &path]);
    assert_eq!(again.status.code(), Some(2));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    let script = call(&["completions", "bash"]);
    let script = String::from_utf8(script.stdout).unwrap();
    assert!(script.contains("memorisation") && script.contains("--fail-on"));
    let pages = dir.path().join("man");
    assert!(call(&["man", text(&pages)]).status.success());
    let page = |name: &str| std::fs::read_to_string(pages.join(name)).unwrap();
    assert!(page("dualmd.1").contains("compare"));
    assert!(page("dualmd-export-images.1").contains("metadata.jsonl"));
    let keys = String::from_utf8(call(&["list", "keys"]).stdout).unwrap();
    assert!(keys.contains("train.steps = 4000 (at least 1)\n    Optimiser steps per model."));
}
