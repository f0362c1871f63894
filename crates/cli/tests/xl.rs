//! A small random model of Stable Diffusion XL's kind from the command line: everything that a folder of Stable Diffusion is good for.

mod common;

use common::{json, predicted, succeed, text};
use dualmd_data::{LoadOptions, load, save_folder};
use dualmd_diffusion::TextToImage;
use dualmd_torch::weights::{read_npy, read_safetensors};
use dualmd_torch::{Device, Tensor};
use std::path::{Path, PathBuf};

/// Side of its images.
const SIDE: u32 = 64;

/// The model's folder.
fn base(dir: &Path) -> PathBuf {
    let folder = dir.join("base");
    let model = TextToImage::fresh("t2i-xl-small", 3, 1, Device::Cpu).unwrap();
    model.save(&folder, None, None).unwrap();
    folder
}

/// Drawings `from` to `to` of a vendor as a folder with captions.
fn images(from: usize, to: usize, path: &Path) -> PathBuf {
    let options = LoadOptions {
        image_size: Some(SIDE),
        ..LoadOptions::default()
    };
    let mut set = load("emoji#fluent3d", &options).unwrap();
    set.records.truncate(to);
    set.records.drain(..from);
    save_folder(&set, path).unwrap();
    path.to_owned()
}

fn far(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

#[test]
fn a_folder_is_sampled_attacked_and_audited() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (model, out) = (base(dir.path()), at("audit"));
    let (members, others) = (images(0, 8, &at("members")), images(8, 16, &at("others")));

    // What is drawn depends on the prompt and on guidance.
    let drawn = |name: &str, prompt: &str, guidance: &str| {
        let out = at(name);
        succeed(&[
            "sample",
            text(&model),
            "-n",
            "2",
            "--steps",
            "2",
            "--prompt",
            prompt,
            "--guidance",
            guidance,
            "--format",
            "npy",
            "-o",
            text(&out),
            "-q",
        ]);
        read_npy(&out.join("samples.npy")).unwrap()
    };
    let cat = drawn("cat", "a cat", "3");
    assert_eq!(cat.size(), [2, 3, i64::from(SIDE), i64::from(SIDE)]);
    assert_ne!(cat, drawn("dog", "a dog", "3"));
    assert_ne!(cat, drawn("plain", "a cat", "1"));

    let attacks = "loss,sima,clid-gap,wen,loss+captions";
    succeed(&[
        "audit",
        text(&model),
        "--members",
        text(&members),
        "--nonmembers",
        text(&others),
        "--attacks",
        attacks,
        "--steps",
        "2",
        "--per-prompt",
        "1",
        "--features",
        "none",
        "--threads",
        "2",
        "-q",
        "-o",
        text(&out),
    ]);
    let report = json(&out.join("report.json"));
    let results = report["models"][0]["results"].as_array().unwrap();
    for attack in attacks.split(',') {
        let found = results.iter().find(|r| r["attack"] == attack);
        assert_eq!(found.unwrap()["status"], "ok", "{attack}");
    }

    // What a file of scores says depends on both text encoders: another one has another fingerprint.
    let mark = |report: &serde_json::Value| report["run"]["models"][0]["weights_blake3"].clone();
    let weights = model.join("text_encoder_2/model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let last = bytes.len() - 4;
    bytes[last] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let again = at("again");
    succeed(&[
        "audit",
        text(&model),
        "--members",
        text(&members),
        "--nonmembers",
        text(&others),
        "--attacks",
        "loss",
        "--steps",
        "2",
        "--per-prompt",
        "1",
        "--features",
        "none",
        "-q",
        "-o",
        text(&again),
    ]);
    assert_ne!(mark(&report), mark(&json(&again.join("report.json"))));
}

#[test]
fn prompts_are_measured_and_remedied() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let model = base(dir.path());
    let (members, others) = (images(0, 2, &at("members")), images(2, 4, &at("others")));
    let measured = |name: &str, more: &[&str]| {
        let out = at(name);
        let own = [
            "memorisation",
            text(&model),
            "--members",
            text(&members),
            "--nonmembers",
            text(&others),
            "-n",
            "1",
            "--steps",
            "2",
            "--features",
            "pixels",
            "-q",
            "-o",
            text(&out),
        ];
        succeed(&[&own[..], more].concat());
        json(&out.join("memorisation.json"))
    };
    let plain = measured("plain", &[]);
    let remedy = [
        "--mitigate",
        "wen",
        "--mitigate-target",
        "0",
        "--mitigate-steps",
        "2",
    ];
    let remedied = measured("remedied", &remedy);
    assert_eq!(
        (&plain["n_memorised"], &plain["n_others"]),
        (&2.into(), &2.into())
    );
    assert_eq!(remedied["mitigation"]["reached"], 0);
}

#[test]
fn adapters_are_tuned_and_open_over_their_base() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let base = base(dir.path());
    let (pictures, out) = (images(0, 16, &at("images")), at("out"));
    let sets = [
        "train.steps=2",
        "train.batch=2",
        "train.dtype=f32",
        "train.learning_rate=0.05",
        "train.gradient_checkpointing=true",
        "data.near_duplicates=ignore",
        "sample.steps=2",
        "sample.per_prompt=1",
        "sample.guidance=2",
        "sample.features=none",
        "sample.copies=pixels",
        "audit.attacks=[\"loss\", \"reference\"]",
        "run.jobs=1",
        "run.threads_per_model=2",
    ];
    let mut command = vec![
        "tune",
        text(&base),
        "--images",
        text(&pictures),
        "-o",
        text(&out),
        "--members",
        "4",
        "--nonmembers",
        "4",
        "--rank",
        "2",
        "--threads",
        "2",
        "-q",
    ];
    command.extend(sets.iter().flat_map(|set| ["--set", *set]));
    succeed(&command);
    let report = json(&out.join("report.json"));
    for model in report["models"].as_array().unwrap() {
        for result in model["results"].as_array().unwrap() {
            assert_eq!(result["status"], "ok", "{model}");
        }
    }

    // Every form of the adapter is the same one over the base.
    let plain = out.join("models/plain");
    let ask = |model: &[&str]| predicted(dir.path(), 4, model);
    let (without, folder) = (ask(&[text(&base)]), ask(&[text(&plain)]));
    assert!(far(&without, &folder) > 1e-6);
    for file in [
        "pytorch_lora_weights.safetensors",
        "adapter_model.safetensors",
        "kohya.safetensors",
    ] {
        let over = ask(&[text(&base), "--lora", text(&plain.join(file))]);
        assert!(far(&over, &folder) < 1e-6, "{file}");
    }
    let kohya = read_safetensors(&plain.join("kohya.safetensors")).unwrap();
    assert!(kohya.keys().all(|key| !key.contains("down_blocks")));
    assert!(kohya.keys().any(|key| key.contains("input_blocks")));

    // Base and adapter as one folder name the pipeline that they are of.
    let whole = at("whole");
    succeed(&["export", "copy", text(&plain), "-o", text(&whole)]);
    let index = json(&whole.join("model_index.json"));
    assert_eq!(index["_class_name"], "StableDiffusionXLPipeline");
    assert!(far(&folder, &ask(&[text(&whole)])) < 1e-6);
}
