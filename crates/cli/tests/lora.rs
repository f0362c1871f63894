//! LoRA files over a base, from the command line.

mod common;

use common::{fail, folder, json, succeed, text};
use dualmd_torch::Tensor;
use dualmd_torch::weights::read_npy;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn golden(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden")).join(path)
}

fn names(report: &Value) -> Vec<&str> {
    let models = report["models"].as_array().unwrap();
    models.iter().map(|m| m["name"].as_str().unwrap()).collect()
}

/// What a network predicts, with what is named besides the model.
fn predicted(dir: &Path, model: &Path, more: &[&str]) -> Tensor {
    common::predicted(dir, 4, &[&[text(model)][..], more].concat())
}

fn largest(x: &Tensor) -> f64 {
    x.abs().max().double_value(&[])
}

#[test]
fn loras_are_predicted_with_sampled_from_and_audited_over_their_base() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let base = golden("conditional/sd1");
    let (today, kohya) = (golden("lora/today"), golden("lora/kohya"));
    let file = kohya.join("pytorch_lora_weights.safetensors");

    // The folder and the file in it are the same LoRA, which changes what the network says.
    let plain = predicted(dir.path(), &base, &[]);
    let by_folder = predicted(dir.path(), &base, &["--lora", text(&kohya)]);
    let by_file = predicted(dir.path(), &base, &["--lora", text(&file)]);
    assert_eq!(by_folder, by_file);
    assert!(largest(&(&plain - &by_folder)) > 1e-4);

    // Two over one base take turns.
    let sample = |name: &str, loras: &[&Path]| {
        let out = at(name);
        let mut line = vec![
            "sample",
            text(&base),
            "-n",
            "2",
            "--steps",
            "4",
            "-o",
            text(&out),
        ];
        for lora in loras {
            line.extend(["--lora", text(lora)]);
        }
        succeed(&[&line[..], &["--format", "npy"]].concat());
        read_npy(&out.join("samples.npy")).unwrap()
    };
    let drawn = [
        sample("none", &[]),
        sample("one", &[&today]),
        sample("other", &[&kohya]),
        sample("both", &[&today, &kohya]),
    ];
    for (i, a) in drawn.iter().enumerate() {
        assert!(drawn[..i].iter().all(|b| a != b), "{i}");
    }

    // Several are audited beside each other; the base is the reference that costs nothing.
    folder("emoji", 20, &at("all"));
    let side = |name: &str, from: usize, n: usize| {
        let options = dualmd_data::LoadOptions::default();
        let mut set = dualmd_data::load(text(&at("all")), &options).unwrap();
        set.records = set.records[from..from + n].to_vec();
        dualmd_data::save_folder(&set, &at(name)).unwrap();
    };
    side("members", 0, 6);
    side("others", 6, 14);
    let (members, others, out) = (at("members"), at("others"), at("audit"));
    let images = ["--members", text(&members), "--nonmembers", text(&others)];
    let audit = |more: &[&str]| -> Vec<String> {
        let line = [&["audit", text(&base)][..], &images, more].concat();
        line.iter().map(|s| (*s).to_owned()).collect()
    };
    let run = |line: &[String]| succeed(&line.iter().map(String::as_str).collect::<Vec<_>>());
    let named = format!("other={}", text(&file));
    run(&audit(&[
        "--lora",
        text(&today),
        "--lora",
        &named,
        "--attacks",
        "loss,reference",
        "--steps",
        "2",
        "--per-prompt",
        "1",
        "--features",
        "none",
        "-o",
        text(&out),
    ]));
    let report = json(&out.join("report.json"));
    assert_eq!(names(&report), ["today", "other"]);
    let marks: Vec<&Value> = (0..2)
        .map(|i| &report["run"]["models"][i]["weights_blake3"])
        .collect();
    assert_ne!(marks[0], marks[1]);
    for model in report["models"].as_array().unwrap() {
        let results = model["results"].as_array().unwrap();
        let of = |name: &str| results.iter().find(|r| r["attack"] == name).unwrap();
        assert_eq!(of("reference")["status"], "ok", "{model}");
        assert_ne!(of("loss")["auc"], Value::Null);
    }
    // It is run without being named, too.
    let said = run(&audit(&[
        "--lora",
        text(&today),
        "--check",
        "-o",
        text(&at("x")),
    ]));
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(
        said.contains("reference") && said.contains("with "),
        "{said}"
    );

    // A file that is not there is what is said, whatever the model is.
    let nowhere = at("nowhere.safetensors");
    for model in [&base, &golden("tiny-ddpm")] {
        let said = fail(&[
            "sample",
            text(model),
            "--lora",
            text(&nowhere),
            "-n",
            "1",
            "-o",
            text(&at("nowhere")),
        ]);
        assert!(said.contains("nowhere.safetensors is not there"), "{said}");
    }
    let refused = |line: Vec<String>| fail(&line.iter().map(String::as_str).collect::<Vec<_>>());
    let said = refused(audit(&[
        "--lora",
        text(&today),
        "--lora",
        text(&golden("lora/today")),
        "-o",
        text(&at("x")),
    ]));
    assert!(said.contains("would both be called today"), "{said}");
    let ddpm = golden("tiny-ddpm");
    let said = fail(&[
        "sample",
        text(&ddpm),
        "-n",
        "1",
        "--lora",
        text(&today),
        "-o",
        text(&at("y")),
    ]);
    assert!(said.contains("LoRA layers are read for"), "{said}");
    let said = fail(&[
        "sample",
        text(&base),
        "-n",
        "1",
        "--lora",
        text(&today),
        "--lora",
        text(&today),
        "--lora",
        text(&today),
        "-o",
        text(&at("y")),
    ]);
    assert!(said.contains("3 files for 1 models"), "{said}");
    let said = refused(audit(&[
        "--model",
        "b=x",
        "--lora",
        text(&today),
        "-o",
        text(&at("x")),
    ]));
    assert!(
        said.contains("--lora is added to one model folder"),
        "{said}"
    );
}
