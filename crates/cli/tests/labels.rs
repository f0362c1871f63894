//! Class-conditional models from the command line: a run, its folders, an audit and images of them.

mod common;

use common::{TINY, fail, json, succeed, text};
use dualmd_data::{LoadOptions, load, save_folder};
use dualmd_torch::weights::read_npy;
use std::path::Path;

/// The tiny experiment with classes, drawn with guidance: eight members of ten classes.
fn experiment() -> String {
    TINY.replace("[data]\n", "[data]\nlabels = true\n")
        .replace("[train]\n", "[train]\nlabel_dropout = 0.2\n")
        .replace("[sample]\n", "[sample]\nlabel_guidance = 2.0\n")
        .replace(
            "defense = \"distillmd\"\n",
            "defense = \"distillmd\"\n[[models]]\nname = \"early\"\ndefense = \"early-stopping\"\n",
        )
        .replace(
            "[\"loss\", \"sima\"]",
            "[\"loss\", \"sima\", \"loss-grid\", \"combined\", \"rounds@2\"]",
        )
}

fn samples(folder: &Path) -> Vec<f32> {
    let images = read_npy(&folder.join("samples.npy")).unwrap();
    Vec::try_from(&images.view([-1])).unwrap()
}

#[test]
fn a_run_with_classes_is_trained_drawn_attacked_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let (file, run) = (dir.path().join("labels.toml"), dir.path().join("run"));
    std::fs::write(&file, experiment()).unwrap();
    let planned = succeed(&["run", text(&file), "--out", text(&run)]);
    let said = [planned.stdout, planned.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("told one of 10 classes"), "{said}");
    let plan = json(&run.join("plan.json"));
    assert_eq!(plan["model"]["labels"].as_array().unwrap().len(), 10);
    assert_eq!(plan["model"]["config"]["num_class_embeds"], 11);
    for model in ["baseline", "teacher-1", "teacher-2", "student", "early"] {
        let folder = run.join("models").join(model);
        let index = json(&folder.join("model_index.json"));
        assert_eq!(index["id2label"].as_object().unwrap().len(), 10);
        let training = json(&folder.join("training.json"));
        assert!(training["member_loss"].as_f64().is_some_and(f64::is_finite));
    }
    for model in ["baseline", "dualmd", "student"] {
        assert!(run.join("samples").join(model).join("samples.npy").exists());
        let scores = json(&run.join("scores").join(format!("{model}.json")));
        for attack in scores["attacks"].as_array().unwrap() {
            assert_eq!(attack["status"], "ok", "{model}: {attack}");
        }
    }
    assert!(run.join("report.json").exists());

    // A class by name is the class by number, and another one is another picture.
    let model = run.join("models/baseline");
    let index = json(&model.join("model_index.json"));
    let first = index["id2label"]["0"].as_str().unwrap().to_owned();
    let draw = |name: &str, more: &[&str]| {
        let out = dir.path().join(name);
        let common = [
            "-n", "2", "--steps", "3", "--seed", "3", "--format", "npy", "-q", "-o",
        ];
        let mut args = vec!["sample", text(&model)];
        args.extend(more);
        args.extend(common);
        args.push(text(&out));
        succeed(&args);
        samples(&out)
    };
    let by_name = draw("name", &["--prompt", &first]);
    assert_eq!(by_name, draw("number", &["--prompt", "0"]));
    assert_ne!(by_name, draw("other", &["--prompt", "1"]));
    assert_ne!(
        by_name,
        draw("guided", &["--prompt", "0", "--guidance", "3"])
    );
    assert_ne!(by_name, draw("turns", &[]));
    let out = dir.path().join("none");
    let error = fail(&[
        "sample",
        text(&model),
        "--prompt",
        "spaceship",
        "-n",
        "1",
        "--steps",
        "2",
        "-q",
        "-o",
        text(&out),
    ]);
    assert!(
        error.contains("spaceship") && error.contains("classes are"),
        "{error}"
    );

    // An audit of the folder takes the classes from where the images say them.
    let options = LoadOptions {
        image_size: Some(8),
        ..LoadOptions::default()
    };
    let mut set = load("fashion", &options).unwrap();
    set.records.truncate(24);
    let mut others = set.clone();
    others.records = set.records.split_off(12);
    let (members, nonmembers) = (dir.path().join("members"), dir.path().join("others"));
    save_folder(&set, &members).unwrap();
    save_folder(&others, &nonmembers).unwrap();
    let audit = dir.path().join("audit");
    let sides = [
        "--members",
        text(&members),
        "--nonmembers",
        text(&nonmembers),
        "--attacks",
        "loss,nn",
        "--images",
        "6",
        "--steps",
        "3",
        "-q",
        "-o",
    ];
    let mut args = vec!["audit", text(&model)];
    args.extend(sides);
    args.push(text(&audit));
    succeed(&args);
    let report = json(&audit.join("report.json"));
    assert!(report.to_string().contains("\"loss\""));
    // Without a class an image cannot be asked about.
    let file = members.join("metadata.jsonl");
    let lines = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, lines.replace("\"label\"", "\"kind\"")).unwrap();
    let error = fail(&args);
    assert!(error.contains("has no label"), "{error}");
    args.extend(["--label-column", "kind"]);
    let error = fail(&args);
    assert!(error.contains("kind"), "{error}");
}

#[test]
fn contradictions_are_found_before_any_image_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.toml");
    for (from, to, words) in [
        (
            "labels = true\n",
            "",
            "train.label_dropout is for class-conditional models",
        ),
        ("label_dropout = 0.2\n", "", "sample.label_guidance = 2"),
        (
            "preset = \"tiny\"\n",
            "preset = \"tiny\"\nnum_class_embeds = 5\n",
            "num_class_embeds",
        ),
        (
            "defense = \"early-stopping\"",
            "defense = \"synthetic\"",
            "told no label",
        ),
    ] {
        std::fs::write(&file, experiment().replace(from, to)).unwrap();
        let error = fail(&["run", text(&file), "--out", text(&dir.path().join("run"))]);
        assert!(error.contains(words), "{error} lacks {words}");
    }
}
