//! Folders: written and read here, read by Python, and broken.

use crate::{FOLDERS, Golden, folder, open};
use dualmd_diffusion::latent::{LATENT_PRESETS, Parts};
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::{Denoiser, TextToImage};
use dualmd_torch::weights::{read_safetensors, write_safetensors};
use dualmd_torch::{Device, Kind, Tensor, no_grad, noise};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

#[test]
fn a_folder_comes_back_as_it_was_written() {
    for name in FOLDERS {
        let (golden, model) = (Golden::read(name), open(name));
        let dir = tempfile::tempdir().unwrap();
        model.save(dir.path(), None, None).unwrap();
        let back = TextToImage::load(dir.path(), WeightSet::Ema, Parts::ALL, Device::Cpu).unwrap();
        for (ours, theirs) in [
            (back.unet.parameters(), model.unet.parameters()),
            (
                back.vae.as_ref().unwrap().parameters(),
                model.vae.as_ref().unwrap().parameters(),
            ),
            (
                back.text.as_ref().unwrap().model.parameters(),
                model.text.as_ref().unwrap().model.parameters(),
            ),
        ] {
            assert_eq!(ours.0.len(), theirs.0.len());
            for ((a, x), (b, y)) in ours.named().zip(theirs.named()) {
                assert!(a == b && x.equal(y), "{name}: {a}, {b}");
            }
        }
        let prompts = golden.prompts();
        assert!(
            back.text_embeddings(&prompts)
                .unwrap()
                .equal(&model.text_embeddings(&prompts).unwrap())
        );
        // Nothing that another scheduler or a later diffusers needs is lost.
        for file in [
            "scheduler/scheduler_config.json",
            "unet/config.json",
            "vae/config.json",
        ] {
            let read = |folder: &Path| -> Value {
                serde_json::from_slice(&std::fs::read(folder.join(file)).unwrap()).unwrap()
            };
            let (before, after) = (read(&folder(name)), read(dir.path()));
            for (key, value) in before.as_object().unwrap() {
                let same = after[key] == *value || after[key].as_f64() == value.as_f64();
                assert!(same, "{name} {file} {key}: {value} became {}", after[key]);
            }
        }
    }
}

/// A fresh model, and what it computes for the prompts of the golden folders.
fn write_preset_and_probe(preset: &str, folder: &Path) {
    let model = TextToImage::fresh(preset, 3, 1, Device::Cpu).unwrap();
    model.save(folder, None, None).unwrap();
    let prompts = Golden::read("sd1").prompts();
    let text = model.text.as_ref().unwrap();
    let ids = text.tokenizer.encode_all(&prompts, text.length()).unwrap();
    let told = model.told(&prompts).unwrap();
    let [c, h, w] = model.sample_shape().unwrap();
    let count = prompts.len() as i64;
    let mut rng = dualmd_data::stream(1, "test", 0);
    let x_t = noise::normal(&mut rng, &[count, c, h, w], Device::Cpu);
    let t = Tensor::arange(count, (Kind::Int64, Device::Cpu)) * 100;
    let output = no_grad(|| model.unet.forward(&x_t, &t, &told, false)).unwrap();
    let decoded = model.decode_latents(&x_t).unwrap();
    let mut named = vec![
        ("ids", &ids),
        ("text", told.texts().unwrap()),
        ("x_t", &x_t),
        ("t", &t),
        ("output", &output),
        ("decoded", &decoded),
    ];
    // Of two text encoders: the pooled text and the sizes, too.
    let more = [("pooled", &told.pooled), ("size", &told.size)];
    named.extend(
        more.into_iter()
            .filter_map(|(name, part)| Some((name, part.as_ref()?))),
    );
    write_safetensors(&folder.join("probe.safetensors"), named, &[]).unwrap();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn broken_folders_are_named() {
    let dir = tempfile::tempdir().unwrap();
    copy(&folder("sd1"), dir.path());
    let load = |parts| TextToImage::load(dir.path(), WeightSet::Ema, parts, Device::Cpu);
    let refusal = || load(Parts::ALL).unwrap_err().to_string();

    // A tensor too many, then one too few.
    let path = dir.path().join("unet/diffusion_pytorch_model.safetensors");
    let whole = read_safetensors(&path).unwrap();
    let extra = Tensor::zeros([1], (Kind::Float, Device::Cpu));
    let named = || whole.iter().map(|(n, t)| (n.as_str(), t));
    write_safetensors(&path, named().chain([("one.more", &extra)]), &[]).unwrap();
    let error = refusal();
    assert!(
        error.contains("one.more") && error.contains("unet"),
        "{error}"
    );
    write_safetensors(&path, named().filter(|(n, _)| *n != "conv_in.bias"), &[]).unwrap();
    assert!(refusal().contains("conv_in.bias"), "{}", refusal());
    write_safetensors(&path, named(), &[]).unwrap();

    let edit = |file: &str, key: &str, value: Value| {
        let path = dir.path().join(file);
        let mut json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        json[key] = value;
        std::fs::write(&path, json.to_string()).unwrap();
    };
    let error = TextToImage::load(dir.path(), WeightSet::Raw, Parts::ALL, Device::Cpu)
        .unwrap_err()
        .to_string();
    assert!(error.contains("unet_raw"), "{error}");

    // Parts that are not asked for may be missing.
    std::fs::remove_dir_all(dir.path().join("vae")).unwrap();
    assert!(refusal().contains("vae"), "{}", refusal());
    let model = load(Parts::UNET).unwrap();
    assert!(model.is_latent() && model.clip().is_none());
    let error = model.text_embeddings(&["a"]).unwrap_err().to_string();
    assert!(error.contains("text encoder"), "{error}");
    let other = dir.path().join("other");
    let error = model.save(&other, None, None).unwrap_err().to_string();
    assert!(error.contains("vae") && !other.exists(), "{error}");
    let images = Tensor::zeros([1, 3, 16, 16], (Kind::Float, Device::Cpu));
    let error = model.encode_images(&images, None).unwrap_err().to_string();
    assert!(error.contains("autoencoder"), "{error}");

    edit("model_index.json", "tokenizer", json!([null, null]));
    let error = load(Parts {
        vae: false,
        text: true,
    })
    .unwrap_err()
    .to_string();
    assert!(error.contains("tokenizer"), "{error}");
    edit(
        "model_index.json",
        "unet",
        json!(["diffusers", "UNet2DModel"]),
    );
    assert!(refusal().contains("UNet2DConditionModel"), "{}", refusal());
}

#[test]
fn presets_are_whole_models_that_repeat() {
    for preset in LATENT_PRESETS {
        let model = TextToImage::fresh(preset.name, 3, 1, Device::Cpu).unwrap();
        let [c, h, w] = model.sample_shape().unwrap();
        assert_eq!(model.is_latent(), preset.name != "t2i-pixels-32");
        let mut rng = dualmd_data::stream(1, "test", 0);
        let side = preset.image_size;
        let images = noise::normal(&mut rng, &[2, 3, side, side], Device::Cpu).tanh();
        let seen = model.encode_images(&images, None).unwrap();
        assert_eq!(seen.size(), [2, c, h, w]);
        assert_eq!(model.decode_latents(&seen).unwrap().size(), images.size());
        let text = model.told(&["a red cat", "a blue dog"]).unwrap();
        let width = model.unet.config().cross_attention_dim;
        assert_eq!(text.texts().unwrap().size(), [2, 77, width]);
        for part in [&text.text, &text.pooled].into_iter().flatten() {
            let apart = (part.get(0) - part.get(1)).abs().max().double_value(&[]);
            assert!(apart > 0.1, "{}: {apart}", preset.name);
        }
        let t = Tensor::from_slice(&[10i64, 900]);
        let eps = no_grad(|| model.predict_noise(&seen, &t, Some(&text))).unwrap();
        // The text matters.
        let swapped = text.each(|t| t.flip([0]));
        let other = no_grad(|| model.predict_noise(&seen, &t, Some(&swapped))).unwrap();
        assert!(!eps.allclose(&other, 1e-4, 1e-5, false));

        let dir = tempfile::tempdir().unwrap();
        let own = &model.unet.parameters().0;
        model.save(dir.path(), None, Some(own)).unwrap();
        let back = TextToImage::load(dir.path(), WeightSet::Raw, Parts::ALL, Device::Cpu).unwrap();
        assert_eq!(back.is_latent(), model.is_latent());
        assert_eq!(back.clip(), model.clip());
        let again = no_grad(|| back.predict_noise(&seen, &t, Some(&text))).unwrap();
        assert!(again.equal(&eps));
        let twin = TextToImage::fresh(preset.name, 3, 1, Device::Cpu).unwrap();
        for (a, b) in own.iter().zip(&twin.unet.parameters().0) {
            assert!(a.0 == b.0 && a.1.equal(&b.1));
        }
    }
    let error = TextToImage::fresh("t2i", 3, 1, Device::Cpu).unwrap_err();
    assert!(error.to_string().contains("t2i-pixels-32"), "{error}");
}

mod needs_python {
    use super::*;

    /// `DUALMD_TEST_PYTHON` names a Python with torch, diffusers and transformers.
    #[test]
    #[ignore = "needs Python with torch and diffusers: `cargo xtask test --interop`"]
    fn python_computes_the_same_from_folders_written_here() {
        let python = std::env::var_os("DUALMD_TEST_PYTHON")
            .expect("DUALMD_TEST_PYTHON names a Python; `cargo xtask test --interop` sets it");
        let dir = tempfile::tempdir().unwrap();
        for name in FOLDERS {
            open(name).save(&dir.path().join(name), None, None).unwrap();
        }
        for preset in LATENT_PRESETS {
            write_preset_and_probe(preset.name, &dir.path().join(preset.name));
        }
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../interop/make_conditional_golden.py"
        );
        let output = Command::new(python)
            .args([script, "check"])
            .args([&folder(""), dir.path()])
            .env_remove("LD_LIBRARY_PATH")
            .output()
            .expect("Python starts");
        let said = [output.stdout, output.stderr].concat();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&said)
        );
    }
}
