//! Against numbers that Python's diffusers computed for saved checkpoints (tests/golden, made by interop/make_golden.py).

use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::sampler::{SampleOptions, Sampler, sample};
use dualmd_diffusion::{Denoiser, DualDenoiser, ModelOrder, Pipeline};
use dualmd_torch::weights::read_npy;
use dualmd_torch::{Device, Tensor, no_grad};
use std::path::PathBuf;

const CHECKPOINTS: [&str; 3] = ["tiny-grey", "tiny-grey-2", "tiny-ddpm"];

fn golden(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden")).join(name)
}

fn open(name: &str) -> Pipeline {
    Pipeline::load(&golden(name), WeightSet::Ema, Device::Cpu).unwrap()
}

fn npy(name: &str, file: &str) -> Tensor {
    read_npy(&golden(name).join(file)).unwrap()
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a - b).abs().max().double_value(&[])
}

#[test]
fn predictions_equal_those_of_diffusers() {
    for name in CHECKPOINTS {
        let eps =
            no_grad(|| open(name).predict_noise(&npy(name, "x_t.npy"), &npy(name, "t.npy"), None))
                .unwrap();
        let error = largest_difference(&eps, &npy(name, "eps.npy"));
        assert!(error < 1e-5, "{name}: {error:e}");
    }
}

#[test]
fn ten_ddim_steps_equal_those_of_diffusers() {
    for name in CHECKPOINTS {
        let pipeline = open(name);
        for (file, clip) in [("ddim_10.npy", None), ("ddim_10_clip.npy", Some(1.0))] {
            let options = SampleOptions {
                sampler: Sampler::Ddim,
                steps: 10,
                batch: 3,
                seed: 0,
                clip,
                unbounded: false,
            };
            let ours = sample(
                &pipeline,
                &pipeline.schedule,
                &npy(name, "x_T.npy"),
                None,
                &options,
                |_| true,
            )
            .unwrap();
            let error = largest_difference(&ours, &npy(name, file).clamp(-1.0, 1.0));
            assert!(error < 1e-4, "{name} {file}: {error:e}");
        }
    }
}

#[test]
fn two_checkpoints_alternate_as_in_python() {
    let (first, second) = (open("tiny-grey"), open("tiny-grey-2"));
    let timesteps = first.schedule.sampling_timesteps(10).unwrap();
    let noise = npy("dual", "x_T.npy");
    let options = SampleOptions {
        sampler: Sampler::Ddim,
        steps: 10,
        batch: 64,
        seed: 0,
        clip: None,
        unbounded: false,
    };
    for (order, file) in [
        (ModelOrder::FirstStarts, "first_starts.npy"),
        (ModelOrder::SecondStarts, "second_starts.npy"),
    ] {
        let dual = DualDenoiser::new(&first, &second, order, timesteps.clone(), 0);
        let ours = sample(&dual, &first.schedule, &noise, None, &options, |_| true).unwrap();
        let error = largest_difference(&ours, &npy("dual", file).clamp(-1.0, 1.0));
        assert!(error < 1e-4, "{file}: {error:e}");
    }
    // The pair of a model with itself is the model, bit for bit, in every order.
    let plain = sample(&first, &first.schedule, &noise, None, &options, |_| true).unwrap();
    for order in [ModelOrder::FirstStarts, ModelOrder::SecondStarts] {
        let dual = DualDenoiser::new(&first, &first, order, timesteps.clone(), 0);
        let ours = sample(&dual, &first.schedule, &noise, None, &options, |_| true).unwrap();
        assert_eq!(largest_difference(&ours, &plain), 0.0);
    }
    // With random orders rows go to either model; per-row results stay those of a run of one image at a time.
    let dual = DualDenoiser::new(&first, &second, ModelOrder::RandomEachStep, timesteps, 5);
    let together = sample(&dual, &first.schedule, &noise, None, &options, |_| true).unwrap();
    let singly = SampleOptions {
        batch: 1,
        ..options
    };
    let apart = sample(&dual, &first.schedule, &noise, None, &singly, |_| true).unwrap();
    assert!(largest_difference(&together, &apart) < 1e-4);
}

#[test]
fn the_cifar_preset_has_the_papers_parameter_count() {
    let config = dualmd_diffusion::preset::preset("ddpm-cifar10", 3, 32).unwrap();
    let unet = dualmd_diffusion::UNet2d::fresh(&config, 0, Device::Cpu).unwrap();
    assert_eq!(unet.parameters().count(), 35_746_307);
}

#[test]
fn a_folder_comes_back_as_it_was_written_and_a_broken_one_names_the_file() {
    let pipeline = open("tiny-ddpm");
    let dir = tempfile::tempdir().unwrap();
    let named: Vec<(String, Tensor)> = pipeline
        .network
        .parameters()
        .named()
        .map(|(n, t)| (n.to_owned(), t.shallow_clone()))
        .collect();
    Pipeline::save(
        dir.path(),
        pipeline.network.config(),
        &pipeline.schedule,
        pipeline.beside(),
        &named,
        None,
    )
    .unwrap();
    let back = Pipeline::load(dir.path(), WeightSet::Ema, Device::Cpu).unwrap();
    let (x, t) = (npy("tiny-ddpm", "x_t.npy"), npy("tiny-ddpm", "t.npy"));
    let difference = no_grad(|| {
        largest_difference(
            &back.predict_noise(&x, &t, None).unwrap(),
            &pipeline.predict_noise(&x, &t, None).unwrap(),
        )
    });
    assert_eq!(difference, 0.0);

    let weights = dir.path().join("unet/diffusion_pytorch_model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() - 9]).unwrap();
    let error = Pipeline::load(dir.path(), WeightSet::Ema, Device::Cpu)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("diffusion_pytorch_model.safetensors"),
        "{error}"
    );
    let error = Pipeline::load(dir.path(), WeightSet::Raw, Device::Cpu)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("unet_raw") && error.contains("--weights ema"),
        "{error}"
    );
}
