//! Folders in half precision that are opened to be asked in bf16: what is held, and what it answers.

use dualmd_diffusion::latent::{Parts, TextEncoder};
use dualmd_diffusion::nn::Parameters;
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::{Condition, Denoiser, Model, TextToImage};
use dualmd_torch::device::Precision;
use dualmd_torch::weights::{Halves, read_safetensors, read_weights, write_safetensors};
use dualmd_torch::{Device, Kind, Tensor, no_grad, noise, shim};
use std::path::{Path, PathBuf};

const HALVES: [Kind; 2] = [Kind::Half, Kind::BFloat16];

fn golden(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden")).join(name)
}

/// Copies a model's folder, its weights in `kind`.
fn halve(from: &Path, to: &Path, kind: Kind) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let place = to.join(path.file_name().unwrap());
        let is = |ending: &str| path.extension().is_some_and(|e| e == ending);
        if path.is_dir() {
            halve(&path, &place, kind);
        } else if is("safetensors") && path.with_file_name("config.json").exists() {
            let tensors: Vec<(String, Tensor)> = read_safetensors(&path)
                .unwrap()
                .into_iter()
                .map(|(name, t)| match t.is_floating_point() {
                    true => (name, t.to_kind(kind)),
                    false => (name, t),
                })
                .collect();
            let named = tensors.iter().map(|(name, t)| (name.as_str(), t));
            write_safetensors(&place, named, &[]).unwrap();
        } else if is("json") || is("txt") {
            std::fs::copy(&path, &place).unwrap();
        }
    }
}

fn ask_in(precision: Precision, folder: &Path) -> Model {
    Model::load_to_ask(folder, WeightSet::Ema, precision, Device::Cpu).unwrap()
}

/// All of them are held in `kind`, and so in two bytes for each number, or in four.
fn held_in(kind: Kind, parameters: &Parameters) {
    let bytes = |t: &Tensor| match t.kind() {
        Kind::Half | Kind::BFloat16 => 2 * t.numel(),
        Kind::Float => 4 * t.numel(),
        other => panic!("{other:?}"),
    };
    let all: usize = parameters.named().map(|(_, t)| bytes(t)).sum();
    let each = if kind == Kind::Float { 4 } else { 2 };
    assert_eq!(all, each * parameters.count());
    assert!(parameters.named().all(|(_, t)| t.kind() == kind));
}

fn normal(purpose: &str, shape: &[i64]) -> Tensor {
    noise::normal(&mut dualmd_data::stream(7, purpose, 0), shape, Device::Cpu)
}

/// Noisy images or latents for the model, and their timesteps.
fn noisy(model: &Model) -> [Tensor; 2] {
    let [c, h, w] = model.sample_shape().unwrap();
    let t = Tensor::from_slice(&[900i64, 500, 10]);
    [normal("x", &[3, c, h, w]), t]
}

fn answer(model: &Model, told: Option<&Condition>) -> Tensor {
    let [x, t] = noisy(model);
    no_grad(|| model.predict_noise(&x, &t, told)).unwrap()
}

/// The network is held in bf16: it answers as that of `wide` does in f32, up to rounding, and where bf16 is left out bit for bit if its
/// weights are the same.
fn answers_as(wide: &Model, held: &Model, told: Option<&Condition>, same: bool) {
    let (ours, theirs) = (answer(held, told), answer(wide, told));
    assert_eq!(ours.kind(), Kind::Float);
    let error = (&ours - &theirs).square().mean(Kind::Float) / theirs.square().mean(Kind::Float);
    let error = error.double_value(&[]).sqrt();
    assert!(error > 1e-6 && error < 0.1, "{error:e}");
    if same {
        assert_eq!(shim::without_autocast(|| answer(held, told)), theirs);
    }
}

/// The autoencoder is held in another way: it makes the same of images and of latents.
fn encodes_as(wide: &Model, held: &Model) {
    let [c, h, w] = wide.image_shape().unwrap();
    let images = normal("images", &[2, c, h, w]).clamp(-1.0, 1.0);
    let both = |model: &Model| {
        let latents = model.encode(&images).unwrap();
        (model.decode(&latents).unwrap(), latents)
    };
    assert_eq!(both(held), both(wide));
}

#[test]
fn text_encoders_and_autoencoder_stay_halves_and_answer_the_same() {
    let xl = tempfile::tempdir().unwrap();
    let fresh = TextToImage::fresh("t2i-xl-small", 3, 1, Device::Cpu).unwrap();
    fresh.save(xl.path(), None, None).unwrap();
    for (from, encoders) in [
        (golden("conditional/sd1"), 1),
        (golden("conditional/sd2"), 1),
        (xl.path().to_owned(), 2),
    ] {
        for kind in HALVES {
            let dir = tempfile::tempdir().unwrap();
            halve(&from, dir.path(), kind);
            let held = ask_in(Precision::Bf16, dir.path());
            let wide = ask_in(Precision::F32, dir.path());
            for (model, network, parts) in [
                (&held, Kind::BFloat16, kind),
                (&wide, Kind::Float, Kind::Float),
            ] {
                let own = model.text().unwrap();
                held_in(network, own.unet.parameters());
                held_in(parts, own.vae.as_ref().unwrap().parameters());
                let texts: Vec<_> = own.text.iter().flat_map(TextEncoder::models).collect();
                assert_eq!(texts.len(), encoders);
                for text in texts {
                    held_in(parts, text.parameters());
                }
            }
            let prompts = ["a cat", "a red dog, 42!", ""];
            let (ours, theirs) = (held.told(&prompts).unwrap(), wide.told(&prompts).unwrap());
            for (a, b) in ours.parts().into_iter().zip(theirs.parts()) {
                assert_eq!(a, b);
                assert!(a.is_none_or(|a| a.kind() == Kind::Float));
            }
            encodes_as(&wide, &held);
            answers_as(&wide, &held, Some(&ours), kind == Kind::BFloat16);
        }
    }
}

/// Python would open them in half precision again, beside a network in f32.
#[test]
fn text_encoders_and_autoencoder_are_written_in_f32() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    halve(&golden("conditional/sd1"), dir.path(), Kind::Half);
    let set = WeightSet::Ema;
    let model =
        TextToImage::load_as(dir.path(), set, Parts::ALL, Halves::Kept, Device::Cpu).unwrap();
    model.save(out.path(), None, None).unwrap();
    for part in [
        "text_encoder/model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ] {
        let written = read_weights(&out.path().join(part), Halves::Kept).unwrap();
        assert!(!written.is_empty());
        for (name, tensor) in &written {
            assert_eq!(tensor.kind(), Kind::Float, "{part} {name}");
        }
    }
    // Names may be those of another version of the libraries, so weights are compared where they are used.
    let again =
        TextToImage::load_as(out.path(), set, Parts::ALL, Halves::Kept, Device::Cpu).unwrap();
    let parameters = |model: &TextToImage| {
        let texts = model.text.iter().flat_map(TextEncoder::models);
        let parts: Vec<&Parameters> = texts
            .map(|text| text.parameters())
            .chain([model.vae.as_ref().unwrap().parameters()])
            .collect();
        let tensors = parts.iter().flat_map(|part| part.named());
        tensors
            .map(|(name, tensor)| (name.to_owned(), tensor.to_kind(Kind::Float)))
            .collect::<Vec<_>>()
    };
    assert_eq!(parameters(&again), parameters(&model));
}

#[test]
fn networks_that_are_told_no_text_are_held_in_bf16_and_their_autoencoders_as_they_are() {
    for name in [
        "tiny-ddpm",
        "tiny-scale-shift",
        "families/classes",
        "families/variance",
        "families/vq",
        "families/kl",
        "dit/plain",
        "dit/geglu",
        "dit/latents",
    ] {
        for kind in HALVES {
            let dir = tempfile::tempdir().unwrap();
            halve(&golden(name), dir.path(), kind);
            let held = ask_in(Precision::Bf16, dir.path());
            let wide = ask_in(Precision::F32, dir.path());
            for (model, network, parts) in [
                (&held, Kind::BFloat16, kind),
                (&wide, Kind::Float, Kind::Float),
            ] {
                let Model::Unconditional(own) = model else {
                    panic!("{name} is told a text");
                };
                held_in(network, own.network.parameters());
                if let Some(autoencoder) = &own.autoencoder {
                    held_in(parts, autoencoder.parameters());
                }
            }
            let labels = Tensor::from_slice(&[2i64, 0, 1]);
            let told = wide.labels().map(|_| Condition::of_labels(labels));
            answers_as(&wide, &held, told.as_ref(), kind == Kind::BFloat16);
            if wide.is_latent() {
                encodes_as(&wide, &held);
            }
        }
    }
}

/// One tensor in f32 among halves: then nothing is rounded.
#[test]
fn a_network_of_which_not_all_is_in_half_precision_is_in_f32() {
    let dir = tempfile::tempdir().unwrap();
    halve(&golden("tiny-ddpm"), dir.path(), Kind::Half);
    let path = dir.path().join("unet/diffusion_pytorch_model.safetensors");
    let mut tensors = read_weights(&path, Halves::Kept).unwrap();
    for (name, tensor) in &mut tensors {
        if name == "conv_out.bias" {
            *tensor = tensor.to_kind(Kind::Float);
        }
    }
    let named = tensors.iter().map(|(name, t)| (name.as_str(), t));
    write_safetensors(&path, named, &[]).unwrap();
    let Model::Unconditional(own) = ask_in(Precision::Bf16, dir.path()) else {
        panic!("told a text");
    };
    held_in(Kind::Float, own.network.parameters());
}
