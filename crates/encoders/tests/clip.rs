//! CLIP scores against Python's transformers (tests/golden/clip, made by interop/make_clip_golden.py), and folders that do not fit.

#[path = "common/pictures.rs"]
mod pictures;

use dualmd_data::Picture;
use dualmd_encoders::ClipModel;
use dualmd_torch::weights::{read_safetensors, write_safetensors};
use dualmd_torch::{Device, Kind, Tensor};
use pictures::pictures_and;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn golden() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/golden/clip"
    ))
}

fn pictures() -> (Vec<Picture>, Tensor) {
    pictures_and("cosines", &golden().join("golden.safetensors"))
}

fn prompts() -> Vec<String> {
    let text = std::fs::read_to_string(golden().join("golden.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    serde_json::from_value(json["prompts"].clone()).unwrap()
}

/// Cosines [pictures, prompts] by the model of a folder.
fn cosines(folder: &Path) -> Tensor {
    let model = ClipModel::load(folder, Device::Cpu).unwrap();
    let (pictures, _) = pictures();
    let seen = model
        .pictures(&pictures.iter().collect::<Vec<_>>())
        .unwrap();
    seen.matmul(&model.texts(&prompts()).unwrap().tr())
}

/// A copy of the folder with another config.json.
fn changed(change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(golden()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = dir.path().join("config.json");
    let mut value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
    dir
}

#[test]
fn scores_agree_with_transformers() {
    let (_, expected) = pictures();
    let off = (cosines(&golden()) - &expected).abs().max();
    assert!(off.double_value(&[]) < 1e-5, "{off:?}");
    // Files of old: a second table that goes before the first, numbers of positions, and an end that has no number of its own.
    let old = changed(|json| {
        let text = json["text_config"].clone();
        json["text_config_dict"] = text;
        json["text_config_dict"]["eos_token_id"] = 2.into();
        json["text_config"]["hidden_size"] = 99.into();
    });
    let path = old.path().join("model.safetensors");
    let mut tensors = read_safetensors(&path).unwrap();
    let numbers = Tensor::arange(16, (Kind::Int64, Device::Cpu)).unsqueeze(0);
    tensors.insert("text_model.embeddings.position_ids".into(), numbers);
    write_safetensors(&path, tensors.iter().map(|(n, t)| (n.as_str(), t)), &[]).unwrap();
    let off = (cosines(old.path()) - &expected).abs().max();
    assert!(off.double_value(&[]) < 1e-5, "{off:?}");
}

#[test]
fn what_does_not_fit_is_named() {
    let refuse = |change: &dyn Fn(&mut Value), says: &str| {
        let dir = changed(change);
        let error = ClipModel::load(dir.path(), Device::Cpu)
            .unwrap_err()
            .to_string();
        assert!(error.contains(says), "{error}");
    };
    refuse(&|c| c["model_type"] = "blip".into(), "model_type");
    refuse(
        &|c| c["vision_config"]["hidden_act"] = "relu".into(),
        "hidden_act",
    );
    refuse(
        &|c| c["vision_config"]["patch_size"] = 5.into(),
        "whole patches",
    );
    refuse(
        &|c| c["vision_config"]["num_attention_heads"] = 3.into(),
        "multiple of",
    );
    refuse(
        &|c| c["projection_dim"] = 9.into(),
        "text_projection.weight",
    );
    refuse(
        &|c| c["vision_config"]["num_hidden_layers"] = 1.into(),
        "vision_model.encoder.layers.1",
    );
    let dir = changed(|_| ());
    let settings = json!({ "image_mean": [0.5, 0.5, 0.5] }).to_string();
    std::fs::write(dir.path().join("preprocessor_config.json"), settings).unwrap();
    let error = ClipModel::load(dir.path(), Device::Cpu)
        .unwrap_err()
        .to_string();
    assert!(error.contains("image_mean"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    let error = ClipModel::load(empty.path(), Device::Cpu)
        .unwrap_err()
        .to_string();
    assert!(error.contains("CLIPModel"), "{error}");
    let model = ClipModel::load(&golden(), Device::Cpu).unwrap();
    let wide = Picture {
        width: 2,
        height: 1,
        channels: 1,
        pixels: vec![0, 1],
    };
    assert!(
        model
            .pictures(&[&wide])
            .unwrap_err()
            .to_string()
            .contains("2 x 1")
    );
    assert!(model.texts::<String>(&[]).is_err() && model.pictures(&[]).is_err());
}
