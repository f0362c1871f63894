//! Networks that are told a class, that also predict a variance, and that see latents without a text: the numbers of diffusers
//! (tests/golden/families, made by interop/make_families_golden.py).

use dualmd_diffusion::latent::Guided;
use dualmd_diffusion::latent::export::export_pair;
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::preset::preset;
use dualmd_diffusion::sampler::{SampleOptions, Sampler, sample};
use dualmd_diffusion::{
    Autoencoder, Beside, Condition, Denoiser, DualDenoiser, Labels, Model, ModelOrder,
    NoiseSchedule, Pipeline, UNet2d, VqModel, VqModelConfig,
};
use dualmd_torch::weights::{read_npy, write_npy};
use dualmd_torch::{Device, Kind, Tensor, no_grad};
use std::path::{Path, PathBuf};

const LATENT: [&str; 2] = ["vq", "kl"];

fn golden(name: &str) -> PathBuf {
    let all = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/families");
    PathBuf::from(all).join(name)
}

fn open(folder: &Path) -> Model {
    Model::load(folder, WeightSet::Ema, Device::Cpu).unwrap()
}

fn npy(name: &str, file: &str) -> Tensor {
    read_npy(&golden(name).join(format!("{file}.npy"))).unwrap()
}

/// Largest difference, of the largest value.
fn away(ours: &Tensor, theirs: &Tensor) -> f64 {
    assert_eq!(ours.size(), theirs.size());
    let largest = theirs.abs().max().double_value(&[]);
    (ours - theirs).abs().max().double_value(&[]) / largest
}

fn sampling(model: &Model, steps: usize) -> SampleOptions {
    SampleOptions {
        sampler: Sampler::Ddim,
        steps,
        batch: 2,
        seed: 0,
        clip: model.clip(),
        unbounded: model.is_latent(),
    }
}

#[test]
fn a_class_is_told_as_diffusers_tells_it() {
    let model = open(&golden("classes"));
    let labels = model.labels().unwrap();
    assert_eq!(labels.names(), ["cat", "dog", "owl"]);
    assert_eq!(labels.none(), Some(3));
    assert!(!model.is_told());
    let told = model.told(&["owl", "cat", "1", ""]).unwrap();
    assert_eq!(told.label.as_ref().unwrap(), &npy("classes", "label"));
    let (x, t) = (npy("classes", "x_t"), npy("classes", "t"));
    let eps = no_grad(|| model.predict_noise(&x, &t, Some(&told))).unwrap();
    let error = away(&eps, &npy("classes", "eps"));
    assert!(error < 1e-5, "{error:e}");
    // Another class is another answer; none at all is none.
    let other = model.told(&["dog", "cat", "1", ""]).unwrap();
    let other = no_grad(|| model.predict_noise(&x, &t, Some(&other))).unwrap();
    assert!(away(&other.get(0), &eps.get(0)) > 1e-3);
    assert!(away(&other.get(1), &eps.get(1)) == 0.0);
    let said = model.predict_noise(&x, &t, None).unwrap_err().to_string();
    assert!(said.contains("told a class"), "{said}");
    for wrong in [[4i64, 0, 0, 0], [-1, 0, 0, 0]] {
        let wrong = Condition::of_labels(Tensor::from_slice(&wrong));
        assert!(model.predict_noise(&x, &t, Some(&wrong)).is_err());
    }
    let few = Condition::of_labels(Tensor::from_slice(&[1i64]));
    assert!(model.predict_noise(&x, &t, Some(&few)).is_err());
}

#[test]
fn ten_guided_steps_are_those_of_diffusers() {
    let model = open(&golden("classes"));
    let guided = Guided {
        model: &model,
        unconditional: model.told(&[""]).unwrap(),
        scale: 3.0,
    };
    let told = model.told(&["owl", "cat", "dog"]).unwrap();
    let ours = sample(
        &guided,
        model.schedule(),
        &npy("classes", "x_T"),
        Some(&told),
        &sampling(&model, 10),
        |_| true,
    );
    let error = away(&ours.unwrap(), &npy("classes", "sample"));
    assert!(error < 1e-4, "{error:e}");
}

/// Two models that take turns row by row are each told the classes of their own rows.
#[test]
fn a_pair_tells_each_of_its_models_the_classes_of_its_rows() {
    let model = open(&golden("classes"));
    let (x, t) = (npy("classes", "x_t"), npy("classes", "t"));
    let told = model.told(&["owl", "cat", "dog", ""]).unwrap();
    let alone = no_grad(|| model.predict_noise(&x, &t, Some(&told))).unwrap();
    let pair = DualDenoiser::new(
        &model,
        &model,
        ModelOrder::FirstStarts,
        vec![900, 400, 0],
        0,
    );
    let both = no_grad(|| pair.predict_noise(&x, &t, Some(&told))).unwrap();
    assert!(away(&both, &alone) < 1e-6);
}

fn weights(unet: &UNet2d) -> Vec<(String, Tensor)> {
    let named = unet.parameters().named();
    named
        .map(|(n, t)| (n.to_owned(), t.shallow_clone()))
        .collect()
}

/// The last layer of a fresh network begins near zero.
fn answering(unet: &UNet2d) {
    no_grad(|| {
        for (name, t) in unet.parameters().named() {
            if name.starts_with("conv_out") {
                let _ = t.shallow_clone().fill_(0.1);
            }
        }
    });
}

fn write_classes(folder: &Path) -> Model {
    let mut config = preset("tiny", 1, 8).unwrap();
    config.num_class_embeds = Some(3);
    let unet = UNet2d::fresh(&config, 5, Device::Cpu).unwrap();
    answering(&unet);
    let names = vec!["cat".to_owned(), "dog".to_owned()];
    let labels = Labels::new(names, 3).unwrap();
    let beside = Beside {
        labels: Some(&labels),
        autoencoder: None,
    };
    let schedule = NoiseSchedule::default();
    Pipeline::save(folder, &config, &schedule, beside, &weights(&unet), None).unwrap();
    open(folder)
}

#[test]
fn a_folder_of_classes_comes_back_with_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let model = write_classes(dir.path());
    let labels = model.labels().unwrap();
    assert_eq!((labels.names().len(), labels.none()), (2, Some(2)));
    let index = std::fs::read_to_string(dir.path().join("model_index.json")).unwrap();
    assert!(index.contains("id2label"), "{index}");
    let other = tempfile::tempdir().unwrap();
    let pair = export_pair(dir.path(), &golden("classes"), &other.path().join("pair"));
    let said = pair.unwrap_err().to_string();
    assert!(said.contains("told classes"), "{said}");
}

#[test]
fn the_half_of_an_answer_that_is_a_variance_is_left() {
    let model = open(&golden("variance"));
    let (x, t) = (npy("variance", "x_t"), npy("variance", "t"));
    let eps = no_grad(|| model.predict_noise(&x, &t, None)).unwrap();
    let error = away(&eps, &npy("variance", "eps"));
    assert!(error < 1e-5, "{error:e}");
    assert_eq!(model.schedule().config().variance_type, "learned_range");
    let ancestral = SampleOptions {
        sampler: Sampler::Ancestral {
            large_variance: false,
        },
        ..sampling(&model, 5)
    };
    let drawn = sample(&model, model.schedule(), &x, None, &ancestral, |_| true);
    let said = drawn.unwrap_err().to_string();
    assert!(
        said.contains("learned_range") && said.contains("ddim"),
        "{said}"
    );
    let drawn = sample(
        &model,
        model.schedule(),
        &x,
        None,
        &sampling(&model, 5),
        |_| true,
    );
    assert_eq!(drawn.unwrap().size(), x.size());
}

#[test]
fn latents_pictures_and_predictions_are_those_of_diffusers() {
    for name in LATENT {
        let model = open(&golden(name));
        assert!(model.is_latent() && !model.is_told());
        assert_eq!(model.sample_shape(), Some([3, 8, 8]));
        assert_eq!(model.image_shape(), Some([3, 16, 16]));
        let latents = model.encode(&npy(name, "image")).unwrap();
        let error = away(&latents, &(npy(name, "z") * 0.18215));
        assert!(error < 1e-5, "{name}, latents: {error:e}");
        let (x, t) = (npy(name, "x_t"), npy(name, "t"));
        let eps = no_grad(|| model.predict_noise(&x, &t, None)).unwrap();
        let error = away(&eps, &npy(name, "eps"));
        assert!(error < 1e-5, "{name}, eps: {error:e}");
        let made = sample(
            &model,
            model.schedule(),
            &npy(name, "x_T"),
            None,
            &sampling(&model, 10),
            |_| true,
        );
        let pictures = model.decode(&made.unwrap()).unwrap();
        let error = away(&pictures, &npy(name, "sample"));
        assert!(error < 1e-4, "{name}, pictures: {error:e}");
    }
}

fn write_latent(folder: &Path) -> Model {
    let config = preset("tiny", 3, 8).unwrap();
    let unet = UNet2d::fresh(&config, 5, Device::Cpu).unwrap();
    answering(&unet);
    let of = VqModelConfig {
        down_block_types: vec!["DownEncoderBlock2D".into(); 2],
        up_block_types: vec!["UpDecoderBlock2D".into(); 2],
        block_out_channels: vec![8, 8],
        norm_num_groups: 4,
        num_vq_embeddings: 16,
        ..VqModelConfig::default()
    };
    let vq = Autoencoder::Vq(VqModel::fresh(&of, 6, Device::Cpu).unwrap());
    let beside = Beside {
        labels: None,
        autoencoder: Some(&vq),
    };
    let schedule = NoiseSchedule::default();
    Pipeline::save(folder, &config, &schedule, beside, &weights(&unet), None).unwrap();
    open(folder)
}

#[test]
fn a_folder_of_latents_comes_back_with_its_autoencoder() {
    let dir = tempfile::tempdir().unwrap();
    let model = write_latent(dir.path());
    let images = Tensor::zeros([1, 3, 16, 16], (Kind::Float, Device::Cpu));
    let latents = model.encode(&images).unwrap();
    assert_eq!(latents.size(), [1, 3, 8, 8]);
    assert_eq!(model.decode(&latents).unwrap().size(), images.size());
    let other = tempfile::tempdir().unwrap();
    let pair = export_pair(dir.path(), &golden("vq"), &other.path().join("pair"));
    assert!(pair.unwrap_err().to_string().contains("latents"));
}

mod needs_python {
    use super::*;
    use std::process::Command;

    /// Python's answers of a folder that was written here, for the inputs beside it.
    fn checked(folder: &Path) {
        let python = std::env::var_os("DUALMD_TEST_PYTHON")
            .expect("DUALMD_TEST_PYTHON names a Python; `cargo xtask test --interop` sets it");
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../interop/make_families_golden.py"
        );
        let output = Command::new(&python)
            .args([script, "check"])
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
        let dir = tempfile::tempdir().unwrap();
        let model = write_classes(dir.path());
        let put = |name: &str, tensor: &Tensor| {
            write_npy(&dir.path().join(format!("{name}.npy")), tensor).unwrap();
        };
        let x = npy("classes", "x_t");
        let t = npy("classes", "t");
        let told = model.told(&["dog", "cat", "", "1"]).unwrap();
        let eps = no_grad(|| model.predict_noise(&x, &t, Some(&told))).unwrap();
        let label = told.label.unwrap();
        for (name, tensor) in [("x_t", &x), ("t", &t), ("label", &label), ("eps", &eps)] {
            put(name, tensor);
        }
        checked(dir.path());

        let dir = tempfile::tempdir().unwrap();
        let model = write_latent(dir.path());
        let (x, t, latents) = (npy("vq", "x_t"), npy("vq", "t"), npy("vq", "x_T"));
        let Model::Unconditional(pipeline) = &model else {
            panic!("another kind");
        };
        let vq = pipeline.autoencoder.as_ref().unwrap();
        let picture = vq.images(&latents).unwrap();
        let eps = no_grad(|| model.predict_noise(&x, &t, None)).unwrap();
        for (name, tensor) in [
            ("x_t", &x),
            ("t", &t),
            ("eps", &eps),
            ("latents", &latents),
            ("picture", &picture),
        ] {
            write_npy(&dir.path().join(format!("{name}.npy")), tensor).unwrap();
        }
        checked(dir.path());
    }
}
