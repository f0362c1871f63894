//! Captions against Python's transformers (tests/golden/blip, made by interop/make_blip_golden.py), and
//! against models that the Python of `DUALMD_TEST_PYTHON`, with torch and transformers, makes for this test.

mod common;

use common::{golden, pictures};
use dualmd_caption::generate::distribution;
use dualmd_caption::{CaptionOptions, Captioner, Method};
use dualmd_data::Picture;
use dualmd_torch::weights::read_safetensors;
use dualmd_torch::{Device, Tensor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

const FOLDERS: [&str; 2] = ["new", "old"];
const IDS: [&str; 5] = ["a", "b", "c", "d", "e"];

fn open(name: &str) -> Captioner {
    Captioner::load(&golden(name), Device::Cpu).unwrap()
}

fn tensors(name: &str) -> BTreeMap<String, Tensor> {
    read_safetensors(&golden(name).join("golden.safetensors")).unwrap()
}

fn settings(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(golden(name).join("golden.json")).unwrap()).unwrap()
}

fn of<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

/// Largest |a - b| / (1 + |b|).
fn error(ours: &Tensor, theirs: &Tensor) -> f64 {
    assert_eq!(ours.size(), theirs.size());
    ((ours - theirs).abs() / (theirs.abs() + 1.0))
        .max()
        .double_value(&[])
}

/// The images as the networks see them in Python.
fn seen(captioner: &Captioner) -> Tensor {
    captioner.model().see(&pictures().1).unwrap()
}

#[test]
fn prepared_pictures_equal_those_of_pillow_and_transformers() {
    let (pictures, theirs) = pictures();
    assert_eq!(
        pictures
            .iter()
            .map(|p| (p.width, p.height, p.channels))
            .collect::<Vec<_>>(),
        [
            (37, 29, 3),
            (11, 14, 3),
            (19, 50, 1),
            (16, 16, 3),
            (64, 7, 3)
        ]
    );
    for name in FOLDERS {
        let processor = open(name).processor().clone();
        let ours = processor
            .pixels(&pictures.iter().collect::<Vec<_>>())
            .unwrap();
        // One grey level is 1 / 255 / 0.28 = 0.014: this says that no pixel is off by one.
        let error = error(&ours, &theirs);
        assert!(error < 1e-6, "{name}: {error:e}");
    }
}

#[test]
fn image_tokens_and_logits_equal_those_of_transformers() {
    for name in FOLDERS {
        let (captioner, golden) = (open(name), tensors(name));
        let seen = seen(&captioner);
        let tokens = error(&seen, &golden["image_tokens"]);
        let logits = captioner.model().logits(&seen, &golden["ids"]).unwrap();
        let logits = error(&logits, &golden["logits"]);
        assert!(
            tokens < 1e-5 && logits < 1e-5,
            "{name}: {tokens:e} {logits:e}"
        );
        let parameters: usize = of(&settings(name)["parameters"]);
        assert_eq!(captioner.model().parameters(), parameters, "{name}");
    }
}

#[test]
fn greedy_captions_equal_those_of_transformers() {
    let (pictures, _) = pictures();
    let pictures: Vec<&Picture> = pictures.iter().collect();
    for name in FOLDERS {
        let captioner = open(name);
        let seen = seen(&captioner);
        let greedy: BTreeMap<String, Value> = of(&settings(name)["greedy"]);
        assert_eq!(greedy.len(), 4);
        for (key, theirs) in greedy {
            let (prompt, least) = key.split_once('|').unwrap();
            let options = CaptionOptions {
                prompt: prompt.into(),
                min_new_tokens: least.parse().unwrap(),
                // In batches of 2, 2 and 1: rows of one batch end at different lengths.
                batch: 2,
                ..CaptionOptions::greedy()
            };
            let prompt = captioner.tokenizer().encode(prompt).unwrap();
            let ours = captioner
                .model()
                .generate(&seen, &IDS, 1, &prompt, &options)
                .unwrap();
            assert_eq!(
                ours.concat(),
                of::<Vec<Vec<i64>>>(&theirs["ids"]),
                "{name} {key}"
            );
            let texts = captioner.caption(&pictures, &IDS, 1, &options).unwrap();
            assert_eq!(
                texts.concat(),
                of::<Vec<String>>(&theirs["text"]),
                "{name} {key}"
            );
        }
    }
}

#[test]
fn a_prompt_can_be_cut_off() {
    let (pictures, _) = pictures();
    let (captioner, first) = (open("old"), [&pictures[0]]);
    let mut options = CaptionOptions {
        prompt: "A picture  of".into(),
        ..CaptionOptions::greedy()
    };
    let whole = captioner.caption(&first, &["x"], 1, &options).unwrap();
    options.keep_prompt = false;
    let rest = captioner.caption(&first, &["x"], 1, &options).unwrap();
    assert!(!rest[0][0].is_empty());
    assert_eq!(format!("a picture of {}", rest[0][0]), whole[0][0]);
}

/// The probabilities from which transformers sampled, token for token along what it sampled: penalty, least length, top_k
/// and top_p in its order.
#[test]
fn nucleus_probabilities_equal_those_of_transformers() {
    for name in FOLDERS {
        let (captioner, golden) = (open(name), tensors(name));
        let options = CaptionOptions::nucleus(0);
        assert_eq!(options.min_new_tokens, 5);
        let text = &captioner.model().config().text_config;
        let end = text.sep_token_id.unwrap();
        let rows: Vec<Vec<i64>> = Vec::try_from(&golden["sampled"]).unwrap();
        let steps = golden["probabilities"].size()[0] as usize;
        let logits = captioner
            .model()
            .logits(
                &seen(&captioner),
                &golden["sampled"].narrow(1, 0, steps as i64),
            )
            .unwrap();
        let (mut worst, mut compared, mut cut) = (0.0f64, 0, 0);
        for (row, ids) in (0..).zip(&rows) {
            for step in (0..steps).filter(|&step| !ids[..=step].contains(&end)) {
                let logits: Vec<f32> = Vec::try_from(logits.get(row).get(step as i64)).unwrap();
                let ours = distribution(&logits, &ids[..=step], step, end, &options).unwrap();
                let theirs = golden["probabilities"].get(step as i64).get(row);
                let mut theirs: Vec<f32> = Vec::try_from(theirs).unwrap();
                assert_eq!(ours.len(), theirs.iter().filter(|p| **p > 0.0).count());
                cut += usize::from(ours.len() < 50);
                for (id, p) in &ours {
                    worst = worst.max((p - f64::from(theirs[*id as usize])).abs());
                    theirs[*id as usize] = 0.0;
                }
                assert!(theirs.iter().all(|p| *p == 0.0), "{name} {row} {step}");
                compared += 1;
            }
        }
        assert!(compared >= 30 && cut > 10, "{name}: {compared} {cut}");
        assert!(worst < 1e-5, "{name}: {worst:e}");
    }
}

#[test]
fn draws_depend_on_seed_id_and_number_but_not_on_the_batch() {
    let (pictures, _) = pictures();
    let pictures: Vec<&Picture> = pictures.iter().collect();
    let captioner = open("new");
    let draw = |indices: &[usize], n: usize, options: &CaptionOptions| {
        let images: Vec<&Picture> = indices.iter().map(|&i| pictures[i]).collect();
        let ids: Vec<&str> = indices.iter().map(|&i| IDS[i]).collect();
        captioner.caption(&images, &ids, n, options).unwrap()
    };
    // All tokens, so that draws differ.
    let options = CaptionOptions {
        method: Method::Nucleus {
            top_p: 1.0,
            top_k: 0,
        },
        ..CaptionOptions::nucleus(3)
    };
    let all = draw(&[0, 1, 2, 3, 4], 4, &options);
    assert!(all.iter().all(|draws| draws.len() == 4));
    assert_eq!(all, draw(&[0, 1, 2, 3, 4], 4, &options));
    let alone = CaptionOptions {
        batch: 1,
        ..options.clone()
    };
    assert_eq!(all, draw(&[0, 1, 2, 3, 4], 4, &alone));
    let reversed = draw(&[4, 2, 1], 2, &options);
    for (ours, index) in reversed.iter().zip([4, 2, 1]) {
        assert_eq!(ours[..], all[index][..2]);
    }
    for draws in &all {
        assert!(draws[1..].iter().all(|d| d != &draws[0]), "{draws:?}");
    }
    let other = draw(&[0, 1, 2, 3, 4], 4, &CaptionOptions { seed: 4, ..options });
    assert!(other.iter().zip(&all).all(|(a, b)| a != b));
    // The id, not the picture, is what names the stream.
    let nucleus = CaptionOptions::nucleus(3);
    let under = |id: &str| {
        captioner
            .caption(&[pictures[0]], &[id], 3, &nucleus)
            .unwrap()
    };
    assert_ne!(under("a"), under("z"));
}

#[test]
fn the_tokenizer_equals_that_of_transformers() {
    for name in FOLDERS {
        let (captioner, settings) = (open(name), settings(name));
        let encode: Vec<(String, Vec<i64>)> = of(&settings["encode"]);
        for (text, ids) in &encode {
            assert_eq!(
                &captioner.tokenizer().encode(text).unwrap(),
                ids,
                "{name} {text:?}"
            );
        }
        let decode: Vec<(Vec<i64>, String)> = of(&settings["decode"]);
        for (ids, text) in &decode {
            assert_eq!(
                &captioner.tokenizer().decode(ids).unwrap(),
                text,
                "{name} {ids:?}"
            );
        }
        assert!(encode.len() > 5 && decode.len() > 20);
    }
}

mod needs_python {
    use super::*;

    /// The same for weights that no file of this repository holds.
    #[test]
    #[ignore = "needs Python with torch and diffusers: `cargo xtask test --interop`"]
    fn logits_equal_those_of_a_model_that_python_makes_now() {
        let python = std::env::var_os("DUALMD_TEST_PYTHON")
            .expect("DUALMD_TEST_PYTHON names a Python; `cargo xtask test --interop` sets it");
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("blip");
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../interop/make_blip_golden.py"
        );
        let output = Command::new(python)
            .arg(script)
            .arg(&made)
            .arg("9")
            .env("OMP_NUM_THREADS", "1")
            .env_remove("LD_LIBRARY_PATH")
            .output()
            .expect("Python starts");
        let said = [output.stdout, output.stderr].concat();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&said)
        );
        let pixels = read_safetensors(&made.join("images.safetensors")).unwrap();
        for name in FOLDERS {
            let captioner = Captioner::load(&made.join(name), Device::Cpu).unwrap();
            let golden = read_safetensors(&made.join(name).join("golden.safetensors")).unwrap();
            assert_ne!(golden["logits"], tensors(name)["logits"], "{name}");
            let seen = captioner.model().see(&pixels["pixels"]).unwrap();
            let tokens = error(&seen, &golden["image_tokens"]);
            let logits = captioner.model().logits(&seen, &golden["ids"]).unwrap();
            let logits = error(&logits, &golden["logits"]);
            assert!(
                tokens < 1e-5 && logits < 1e-5,
                "{name}: {tokens:e} {logits:e}"
            );
        }
    }
}
