//! The transformer: what it computes, what it begins as, what trains it, and its folders.

use dualmd_diffusion::latent::Guided;
use dualmd_diffusion::latent::export::export_pair;
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::sampler::{SampleOptions, Sampler, sample};
use dualmd_diffusion::{
    Autoencoder, AutoencoderKl, AutoencoderKlConfig, BackboneConfig, Beside, Condition, Denoiser,
    Dit, DitConfig, Keep, Labels, Model, NoiseSchedule, Pipeline, network_folder,
    raw_network_folder,
};
use dualmd_torch::weights::{read_npy, write_npy};
use dualmd_torch::{Device, Kind, Tensor, no_grad, noise, tch};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Two blocks of width 16 for images of one channel and 8 px, told one of three classes.
fn config() -> DitConfig {
    DitConfig {
        num_attention_heads: 2,
        attention_head_dim: 8,
        in_channels: 1,
        out_channels: Some(1),
        num_layers: 2,
        sample_size: 8,
        patch_size: 2,
        num_embeds_ada_norm: 3,
        ..DitConfig::default()
    }
}

fn normal(purpose: &str, shape: &[i64]) -> Tensor {
    noise::normal(&mut dualmd_data::stream(5, purpose, 0), shape, Device::Cpu)
}

/// A network in which nothing is zero, as after a training.
fn shaken(config: &DitConfig) -> Dit {
    let network = Dit::fresh(config, 3, Device::Cpu).unwrap();
    no_grad(|| {
        for (name, t) in network.parameters().named() {
            let mut weights = t.shallow_clone();
            weights += normal(name, &t.size()) * 0.1;
        }
    });
    network
}

/// Four noisy images, their timesteps and classes; the last is told no label.
fn asked(side: i64) -> [Tensor; 3] {
    [
        normal("x", &[4, 1, side, side]),
        Tensor::from_slice(&[0i64, 250, 600, 999]),
        Tensor::from_slice(&[2i64, 0, 2, 3]),
    ]
}

fn largest(t: &Tensor) -> f64 {
    t.abs().max().double_value(&[])
}

/// Largest difference, of the largest value.
fn away(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    largest(&(a - b)) / largest(b)
}

#[test]
fn a_fresh_network_answers_exactly_nothing() {
    let [x, t, labels] = asked(8);
    let variance = DitConfig {
        out_channels: Some(2),
        ..config()
    };
    let untold = DitConfig {
        num_embeds_ada_norm: 0,
        activation_fn: "geglu".into(),
        norm_elementwise_affine: true,
        attention_bias: false,
        ..config()
    };
    for (config, labels, channels) in [
        (config(), Some(&labels), 1),
        (variance, Some(&labels), 2),
        (untold, None, 1),
    ] {
        let network = Dit::fresh(&config, 3, Device::Cpu).unwrap();
        let out = no_grad(|| network.forward(&x, &t, labels, false)).unwrap();
        assert_eq!(
            (out.size(), out.kind()),
            (vec![4, channels, 8, 8], Kind::Float)
        );
        assert_eq!(largest(&out), 0.0);
        let told = labels.map(|l| Condition::of_labels(l.shallow_clone()));
        let eps = no_grad(|| network.predict_noise(&x, &t, told.as_ref())).unwrap();
        assert_eq!(eps.size(), x.size());
        // That is no property of the network, but of how it begins.
        let later = shaken(&config);
        let out = no_grad(|| later.forward(&x, &t, labels, false)).unwrap();
        assert!(largest(&out) > 1e-3);
    }
}

#[test]
fn each_image_is_answered_by_itself_and_by_its_own_class() {
    let network = shaken(&config());
    let [x, t, labels] = asked(8);
    let ask = |x: &Tensor, t: &Tensor, labels: &Tensor| {
        no_grad(|| network.forward(x, t, Some(labels), false)).unwrap()
    };
    let all = ask(&x, &t, &labels);
    for row in 0..4 {
        let of = |all: &Tensor| all.narrow(0, row, 1);
        let alone = ask(&of(&x), &of(&t), &of(&labels));
        assert!(away(&alone, &of(&all)) < 1e-5, "row {row}");
    }
    let other = ask(&x, &t, &Tensor::from_slice(&[1i64, 0, 2, 3]));
    assert!(away(&other.get(0), &all.get(0)) > 1e-3);
    assert_eq!(away(&other.narrow(0, 1, 3), &all.narrow(0, 1, 3)), 0.0);
    // No label is a row of its own, and a place is one, too: an image of equal pixels is not answered by equal pixels.
    let none = ask(&x, &t, &Tensor::from_slice(&[3i64, 0, 2, 3]));
    assert!(away(&none.get(0), &all.get(0)) > 1e-3);
    let flat = ask(&x.ones_like(), &t, &labels);
    let squares = flat.get(0).unfold(1, 2, 2).unfold(2, 2, 2);
    assert!(away(&squares.get(0).get(0).get(1), &squares.get(0).get(0).get(0)) > 1e-3);
    // Of other sizes than the network was made for.
    for side in [4, 16] {
        let [x, t, labels] = asked(side);
        assert_eq!(ask(&x, &t, &labels).size(), x.size());
    }
}

#[test]
fn what_the_network_cannot_take_is_refused() {
    let network = shaken(&config());
    let [x, t, labels] = asked(8);
    let refused = |x: &Tensor, t: &Tensor, labels: Option<&Tensor>| {
        let out = network.forward(x, t, labels, false);
        out.unwrap_err().to_string()
    };
    assert!(refused(&x, &t, None).contains("told a class"));
    let of = |labels: [i64; 4]| refused(&x, &t, Some(&Tensor::from_slice(&labels)));
    assert!(of([4, 0, 0, 0]).contains("class 4 of 4"));
    assert!(of([-1, 0, 0, 0]).contains("no label"));
    let wide = normal("x", &[4, 1, 8, 10]);
    assert!(refused(&wide, &t, Some(&labels)).contains("H = W"));
    let odd = normal("x", &[4, 1, 7, 7]);
    assert!(refused(&odd, &t, Some(&labels)).contains("multiple of 2"));
    assert!(refused(&x, &t.narrow(0, 0, 3), Some(&labels)).contains("timesteps"));
}

#[test]
fn every_parameter_is_trained_once_the_layers_that_begin_as_nothing_have_moved() {
    let network = Dit::fresh(&config(), 3, Device::Cpu).unwrap();
    let [x, t, labels] = asked(8);
    let target = normal("target", &x.size());
    let parameters = &network.parameters().0;
    for (_, p) in parameters {
        let _ = p.set_requires_grad(true);
    }
    // A step of gradient descent; which parameters had a gradient.
    let step = || -> Vec<&str> {
        let pass = network.forward_training(&x, &t, Some(&labels), Keep::Everything);
        let pass = pass.unwrap();
        let loss = pass.output().mse_loss(&target, tch::Reduction::Mean);
        pass.backward(&loss).unwrap();
        let moved = parameters.iter().filter(|(_, p)| {
            let gradient = p.grad();
            gradient.defined() && largest(&gradient) > 0.0
        });
        let moved = moved.map(|(name, _)| name.as_str()).collect();
        for (_, p) in parameters {
            let mut weights = p.shallow_clone();
            if p.grad().defined() {
                no_grad(|| weights -= p.grad());
            }
            weights.zero_grad();
        }
        moved
    };
    // Behind weights of zero nothing has a gradient: first the last layer moves, then what weighs the blocks, then all else.
    assert_eq!(step(), ["proj_out_2.weight", "proj_out_2.bias"]);
    let second = step();
    assert!(second.contains(&"transformer_blocks.1.norm1.linear.weight"));
    assert!(!second.contains(&"transformer_blocks.1.attn1.to_v.weight"));
    let third = step();
    for (name, _) in parameters {
        // A number that is added to all keys changes no attention: the gradient is zero in theory.
        let moved = third.contains(&name.as_str()) || name.ends_with("to_k.bias");
        assert!(moved, "{name} is not trained");
    }
}

/// What predicts a variance beside the noise is no part of what is trained.
#[test]
fn of_a_network_with_a_variance_the_noise_alone_is_trained() {
    let config = DitConfig {
        out_channels: Some(2),
        ..config()
    };
    let [x, t, labels] = asked(8);
    let target = normal("target", &x.size());
    let mut gradients = Vec::new();
    for keep in [Keep::Everything, Keep::Checkpoints] {
        let network = shaken(&config);
        let parameters = &network.parameters().0;
        for (_, p) in parameters {
            let _ = p.set_requires_grad(true);
        }
        let whole = no_grad(|| network.forward(&x, &t, Some(&labels), false)).unwrap();
        let pass = network.forward_training(&x, &t, Some(&labels), keep);
        let pass = pass.unwrap();
        let noise = whole.narrow(1, 0, 1);
        assert!(away(&pass.output().detach(), &noise) < 1e-6);
        let loss = pass.output().mse_loss(&target, tch::Reduction::Mean);
        pass.backward(&loss).unwrap();
        let last = parameters.iter().find(|(n, _)| n == "proj_out_2.weight");
        let gradient = last.unwrap().1.grad();
        // For each pixel of a square the row of its noise and that of its variance.
        let rows = gradient.view([4, 2, -1]);
        assert!(largest(&rows.select(1, 0)) > 0.0);
        assert_eq!(largest(&rows.select(1, 1)), 0.0);
        gradients.push(gradient.copy());
    }
    assert!(away(&gradients[0], &gradients[1]) < 1e-5);
}

#[test]
fn a_training_pass_without_dropout_answers_as_any_other() {
    for drops in [0.0, 0.5] {
        let config = DitConfig {
            dropout: drops,
            ..config()
        };
        let network = shaken(&config);
        let [x, t, labels] = asked(8);
        let plain = no_grad(|| network.forward(&x, &t, Some(&labels), false)).unwrap();
        let pass = network.forward_training(&x, &t, Some(&labels), Keep::Everything);
        let trained = pass.unwrap().output().detach();
        assert_eq!(away(&trained, &plain) > 1e-4, drops > 0.0);
        assert_eq!(trained == plain, drops == 0.0);
    }
}

/// DiT-XL/2 has 675,129,632 parameters by its authors' count, 256 x 1,152 of them the fixed table of places. diffusers' has no such
/// table, and in place of one embedding of timestep and class one for each of 28 blocks: 27 more.
#[test]
fn the_published_size() {
    let (width, embedding) = (1_152usize, |width: usize| {
        256 * width + width + width * width + width + 1_001 * width
    });
    let published = json!({"_class_name": "Transformer2DModel", "_diffusers_version": "0.12.0.dev0", "activation_fn": "gelu-approximate",
        "attention_bias": true, "attention_head_dim": 72, "cross_attention_dim": null, "dropout": 0.0, "in_channels": 4,
        "norm_elementwise_affine": false, "norm_num_groups": 32, "norm_type": "ada_norm_zero", "num_attention_heads": 16,
        "num_embeds_ada_norm": 1000, "num_layers": 28, "num_vector_embeds": null, "only_cross_attention": false, "out_channels": 8,
        "patch_size": 2, "sample_size": 32, "upcast_attention": false, "use_linear_projection": false});
    let config = DitConfig::read(&published).unwrap();
    assert_eq!(config.class_name, "DiTTransformer2DModel");
    assert!(config.others.is_empty() && config.predicts_variance());
    let network = Dit::outline(&config).unwrap();
    let count = network.parameters().count();
    assert_eq!(count, 675_129_632 - 256 * width + 27 * embedding(width));
}

#[test]
fn configurations_that_would_compute_something_else_are_refused() {
    for (key, value, words) in [
        ("_class_name", json!("PixArtTransformer2DModel"), "PixArt"),
        ("norm_type", json!("ada_norm_single"), "ada_norm_zero"),
        ("activation_fn", json!("swiglu"), "gelu-approximate"),
        ("attention_head_dim", json!(3), "multiple of 4"),
        ("patch_size", json!(3), "divide sample_size = 8"),
        ("out_channels", json!(3), "twice"),
        ("num_embeds_ada_norm", json!(null), "num_embeds_ada_norm"),
        ("num_layers", json!(0), "from 1 to"),
        ("caption_channels", json!(4096), "caption_channels"),
    ] {
        let mut file = serde_json::to_value(config()).unwrap();
        file[key] = value;
        let said = DitConfig::read(&file).unwrap_err().to_string();
        assert!(said.contains(words), "{said} lacks {words}");
    }
}

fn weights(network: &Dit) -> Vec<(String, Tensor)> {
    let named = network.parameters().named();
    named
        .map(|(n, t)| (n.to_owned(), t.shallow_clone()))
        .collect()
}

fn open(folder: &Path) -> Model {
    Model::load(folder, WeightSet::Ema, Device::Cpu).unwrap()
}

/// A model of pixels with two named classes of three.
fn write_pixels(folder: &Path) -> Model {
    let network = shaken(&config());
    let labels = Labels::beside_none(vec!["cat".into(), "dog".into()], 3).unwrap();
    let beside = Beside {
        labels: Some(&labels),
        autoencoder: None,
    };
    let schedule = NoiseSchedule::default();
    let named = weights(&network);
    let raw = Some(named.as_slice());
    Pipeline::save(folder, network.config(), &schedule, beside, &named, raw).unwrap();
    open(folder)
}

/// A model of latents that also predicts a variance: images of 16 px, latents of 8.
fn write_latents(folder: &Path) -> Model {
    let config = DitConfig {
        in_channels: 3,
        out_channels: Some(6),
        num_embeds_ada_norm: 0,
        ..config()
    };
    let network = shaken(&config);
    let of = AutoencoderKlConfig {
        down_block_types: vec!["DownEncoderBlock2D".into(); 2],
        up_block_types: vec!["UpDecoderBlock2D".into(); 2],
        block_out_channels: vec![8, 8],
        norm_num_groups: 4,
        latent_channels: 3,
        ..AutoencoderKlConfig::default()
    };
    let kl = Autoencoder::Kl(AutoencoderKl::fresh(&of, 6, Device::Cpu).unwrap());
    let beside = Beside {
        labels: None,
        autoencoder: Some(&kl),
    };
    let schedule = NoiseSchedule::default();
    let named = weights(&network);
    Pipeline::save(folder, &config, &schedule, beside, &named, None).unwrap();
    open(folder)
}

fn index_of(folder: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(folder.join("model_index.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_folder_comes_back_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let model = write_pixels(dir.path());
    let index = index_of(dir.path());
    assert_eq!(index["_class_name"], "DiTPipeline");
    assert_eq!(
        index["transformer"],
        json!(["diffusers", "DiTTransformer2DModel"])
    );
    assert_eq!(index["vae"], json!([null, null]));
    assert_eq!(index["id2label"], json!({"0": "cat", "1": "dog"}));
    assert_eq!(network_folder(dir.path()), dir.path().join("transformer"));
    assert_eq!(
        raw_network_folder(dir.path()),
        dir.path().join("transformer_raw")
    );

    let labels = model.labels().unwrap();
    assert_eq!((labels.count(), labels.none()), (3, Some(3)));
    assert_eq!(labels.all(), ["cat", "dog", "2"]);
    assert!(!model.is_told() && !model.is_latent());
    assert_eq!(model.image_shape(), Some([1, 8, 8]));
    let [x, t, told] = asked(8);
    let by_name = model.told(&["2", "cat", "2", ""]).unwrap();
    assert_eq!(by_name.label.as_ref().unwrap(), &told);
    let there = no_grad(|| model.predict_noise(&x, &t, Some(&by_name))).unwrap();
    let here = no_grad(|| shaken(&config()).forward(&x, &t, Some(&told), false)).unwrap();
    assert_eq!(there, here);
    let raw = Model::load(dir.path(), WeightSet::Raw, Device::Cpu).unwrap();
    let raw = no_grad(|| raw.predict_noise(&x, &t, Some(&by_name))).unwrap();
    assert_eq!(raw, here);

    // Guided, as every model that has a row for no label.
    let guided = Guided {
        model: &model,
        unconditional: model.told(&[""]).unwrap(),
        scale: 2.0,
    };
    let twice = no_grad(|| guided.predict_noise(&x, &t, Some(&by_name))).unwrap();
    let nothing = model.told(&["", "", "", ""]).unwrap();
    let nothing = no_grad(|| model.predict_noise(&x, &t, Some(&nothing))).unwrap();
    assert!(away(&twice, &(&here * 2.0 - nothing)) < 1e-5);

    // A model of another kind in its place leaves nothing of it.
    let unet = BackboneConfig::preset("tiny", 1, 8).unwrap();
    let network = dualmd_diffusion::Backbone::fresh(&unet, 1, Device::Cpu).unwrap();
    let schedule = NoiseSchedule::default();
    let named = &network.parameters().0;
    Pipeline::save(dir.path(), unet, &schedule, Beside::default(), named, None).unwrap();
    assert_eq!(index_of(dir.path())["_class_name"], "DDPMPipeline");
    for gone in ["transformer", "transformer_raw", "unet_raw"] {
        assert!(!dir.path().join(gone).exists(), "{gone}");
    }
    assert!(open(dir.path()).labels().is_none());
}

#[test]
fn a_folder_of_latents_comes_back_with_its_autoencoder() {
    let dir = tempfile::tempdir().unwrap();
    let model = write_latents(dir.path());
    let index = index_of(dir.path());
    assert_eq!(index["_class_name"], "DiTPipeline");
    assert_eq!(index["vae"], json!(["diffusers", "AutoencoderKL"]));
    assert!(model.is_latent() && model.labels().is_none());
    assert_eq!(model.sample_shape(), Some([3, 8, 8]));
    assert_eq!(model.image_shape(), Some([3, 16, 16]));
    let images = Tensor::zeros([2, 3, 16, 16], (Kind::Float, Device::Cpu));
    let latents = model.encode(&images).unwrap();
    assert_eq!(latents.size(), [2, 3, 8, 8]);
    // Of a network that also predicts a variance the noise alone is asked for.
    let options = SampleOptions {
        sampler: Sampler::Ddim,
        steps: 3,
        batch: 2,
        seed: 0,
        clip: model.clip(),
        unbounded: true,
    };
    let made = sample(&model, model.schedule(), &latents, None, &options, |_| true);
    let made = model.decode(&made.unwrap()).unwrap();
    assert_eq!(made.size(), images.size());
    let other = tempfile::tempdir().unwrap();
    write_pixels(other.path());
    let pair = export_pair(dir.path(), other.path(), &other.path().join("pair"));
    assert!(pair.unwrap_err().to_string().contains("of a transformer"));
}

/// diffusers' pipeline takes it as it takes a Gaussian's.
#[test]
fn a_transformer_over_a_codebook_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let config = DitConfig {
        in_channels: 3,
        out_channels: Some(3),
        num_embeds_ada_norm: 0,
        ..config()
    };
    let vq = Autoencoder::load(&golden("../families/vq/vqvae"), Device::Cpu).unwrap();
    let beside = Beside {
        labels: None,
        autoencoder: Some(&vq),
    };
    let schedule = NoiseSchedule::default();
    let named = weights(&shaken(&config));
    Pipeline::save(dir.path(), &config, &schedule, beside, &named, None).unwrap();
    assert_eq!(index_of(dir.path())["vae"], json!(["diffusers", "VQModel"]));
    let model = open(dir.path());
    assert_eq!(model.image_shape(), Some([3, 16, 16]));
    let images = normal("images", &[2, 3, 16, 16]).tanh();
    let latents = model.encode(&images).unwrap();
    assert_eq!(latents.size(), [2, 3, 8, 8]);
    assert_eq!(latents, vq.latents(&images).unwrap());
    assert_eq!(model.decode(&latents).unwrap().size(), images.size());
    // It is found in the pipeline's folder and in its own.
    let part = dir.path().join("vae");
    for folder in [dir.path(), part.as_path()] {
        assert_eq!(Autoencoder::folder(folder).unwrap(), part);
    }
    let said = Autoencoder::folder(&dir.path().join("transformer_raw")).unwrap_err();
    assert!(said.to_string().contains("no autoencoder"), "{said}");
}

fn golden(name: &str) -> PathBuf {
    let all = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/dit");
    PathBuf::from(all).join(name)
}

fn npy(name: &str, file: &str) -> Tensor {
    read_npy(&golden(name).join(format!("{file}.npy"))).unwrap()
}

#[test]
fn predictions_are_those_of_diffusers() {
    for name in ["plain", "gelu", "geglu", "sigmoid", "larger", "latents"] {
        let model = open(&golden(name));
        let (x, t) = (npy(name, "x_t"), npy(name, "t"));
        let told = Condition::of_labels(npy(name, "label"));
        let eps = no_grad(|| model.predict_noise(&x, &t, Some(&told))).unwrap();
        let error = away(&eps, &npy(name, "eps"));
        assert!(error < 1e-5, "{name}: {error:e}");
    }
}

#[test]
fn latents_and_ten_guided_steps_are_those_of_diffusers() {
    let model = open(&golden("latents"));
    assert!(model.is_latent() && !model.is_told());
    assert_eq!(model.sample_shape(), Some([3, 8, 8]));
    assert_eq!(model.image_shape(), Some([3, 16, 16]));
    let labels = model.labels().unwrap();
    assert_eq!((labels.count(), labels.none()), (3, Some(3)));
    assert_eq!(
        [labels.of("dog"), labels.of("owl")].map(Result::unwrap),
        [1, 2]
    );
    let latents = model.encode(&npy("latents", "image")).unwrap();
    let error = away(&latents, &npy("latents", "latents"));
    assert!(error < 1e-5, "latents: {error:e}");
    let guided = Guided {
        model: &model,
        unconditional: model.told(&[""]).unwrap(),
        scale: 3.0,
    };
    let options = SampleOptions {
        sampler: Sampler::Ddim,
        steps: 10,
        batch: 2,
        seed: 0,
        clip: model.clip(),
        unbounded: true,
    };
    let told = model.told(&["owl", "cat"]).unwrap();
    let start = npy("latents", "x_T");
    let schedule = model.schedule();
    let made = sample(&guided, schedule, &start, Some(&told), &options, |_| true);
    let pictures = model.decode(&made.unwrap()).unwrap();
    // A guidance of 3 makes an error of an answer up to five times as large: nothing + 3 (told - nothing).
    let error = away(&pictures, &npy("latents", "sample"));
    assert!(error < 5e-4, "pictures: {error:e}");
}

mod needs_python {
    use super::*;
    use std::process::Command;

    const SCRIPT: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../interop/make_dit_golden.py"
    );

    /// Python's answers of a folder that was written here, for the inputs beside it.
    fn checked(folder: &Path) {
        let python = std::env::var_os("DUALMD_TEST_PYTHON")
            .expect("DUALMD_TEST_PYTHON names a Python; `cargo xtask test --interop` sets it");
        let output = Command::new(&python)
            .args([SCRIPT, "check"])
            .arg(folder)
            .env_remove("LD_LIBRARY_PATH")
            .output()
            .expect("Python starts");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success(), "{said}");
    }

    #[test]
    #[ignore = "needs Python with torch and diffusers: `cargo xtask test --interop`"]
    fn diffusers_computes_the_same_from_folders_written_here() {
        let write = |folder: &Path, arrays: &[(&str, &Tensor)]| {
            for (name, tensor) in arrays {
                write_npy(&folder.join(format!("{name}.npy")), tensor).unwrap();
            }
        };
        let dir = tempfile::tempdir().unwrap();
        let model = write_pixels(dir.path());
        let [x, t, label] = asked(8);
        let told = Condition::of_labels(label.shallow_clone());
        let eps = no_grad(|| model.predict_noise(&x, &t, Some(&told))).unwrap();
        let arrays = [("x_t", &x), ("t", &t), ("label", &label), ("eps", &eps)];
        write(dir.path(), &arrays);
        checked(dir.path());

        // Label 0 stands for all where there are no classes.
        let dir = tempfile::tempdir().unwrap();
        let model = write_latents(dir.path());
        let x = normal("x", &[4, 3, 8, 8]);
        let label = t.zeros_like();
        let eps = no_grad(|| model.predict_noise(&x, &t, None)).unwrap();
        let latents = normal("latents", &[2, 3, 8, 8]);
        let picture = model.decode(&latents).unwrap();
        let arrays = [
            ("x_t", &x),
            ("t", &t),
            ("label", &label),
            ("eps", &eps),
            ("latents", &latents),
            ("picture", &picture),
        ];
        write(dir.path(), &arrays);
        checked(dir.path());
    }
}
