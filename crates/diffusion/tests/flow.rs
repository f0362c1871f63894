//! Flow matching: exact flows against the oracles, sampling, folders, and the numbers of diffusers (tests/golden/flow, made by
//! interop/make_flow_golden.py).

use dualmd_data::stream;
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::preset::preset;
use dualmd_diffusion::sampler::{
    SampleOptions, Sampler, Start, initial_noise, sample, sample_in_rounds,
};
use dualmd_diffusion::schedule::SchedulerConfig;
use dualmd_diffusion::{
    Beside, Condition, Denoiser, DualDenoiser, GaussianDenoiser, MemorisedDenoiser, ModelOrder,
    NoiseSchedule, Pipeline, Result, UNet2d,
};
use dualmd_torch::weights::read_npy;
use dualmd_torch::{Device, Kind, Tensor, no_grad, noise};
use std::cell::RefCell;
use std::path::{Path, PathBuf};

fn shifted(shift: f64) -> NoiseSchedule {
    NoiseSchedule::new(SchedulerConfig {
        shift: Some(shift),
        ..SchedulerConfig::flow()
    })
    .unwrap()
}

fn normal(purpose: &str, shape: &[i64]) -> Tensor {
    noise::normal(&mut stream(5, purpose, 0), shape, Device::Cpu)
}

fn away(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a - b).abs().max().double_value(&[])
}

fn options(steps: usize) -> SampleOptions {
    SampleOptions {
        sampler: Sampler::Ddim,
        steps,
        batch: 3,
        seed: 2,
        clip: None,
        unbounded: false,
    }
}

/// The velocity of the exact flow at x [B, C, H, W] and s \[B\], from the mean of x_0 given y = x_0 + sigma eps (y [B, D], sigma
/// [B, 1], f64): x_s = (1 - s) (x_0 + s / (1 - s) eps), and eps - x_0 = (x_s - x_0) / s.
fn exact(x: &Tensor, s: &Tensor, mean: &dyn Fn(&Tensor, &Tensor) -> Tensor) -> Tensor {
    let flat = x.to_kind(Kind::Double).flatten(1, -1);
    let s = s.to_kind(Kind::Double).view([-1, 1]);
    let clean = -&s + 1.0;
    let x0 = mean(&(&flat / &clean), &(&s / &clean));
    ((flat - x0) / s).view_as(x).to_kind(Kind::Float)
}

/// What a flow's network answers at the places of its path means the noise that the oracle of the same images sees at DDPM's.
fn agrees(oracle: &dyn Denoiser, mean: &dyn Fn(&Tensor, &Tensor) -> Tensor, x0: &Tensor) {
    let flow = NoiseSchedule::flow();
    let t = Tensor::from_slice(&[0i64, 1, 20, 100, 258, 500, 900, 999]);
    let x_t = flow.add_noise(x0, &normal("eps", &x0.size()), &t);
    let (x, time) = flow.question(&x_t, &t);
    let velocity = exact(&x, &(time / 1000.0), mean);
    let eps = flow.noise_of_output(velocity.shallow_clone(), &x_t, &t);
    let expected = oracle.predict_noise(&x_t, &t, None).unwrap();
    assert!(away(&eps, &expected) < 1e-3, "{}", away(&eps, &expected));
    // The velocity is no noise: without the conversion they are far apart.
    assert!(away(&velocity, &expected) > 0.1);
}

#[test]
fn the_exact_flow_of_a_memorised_set_is_its_oracle() {
    let set = normal("set", &[5, 1, 2, 3]).clamp(-1.0, 1.0);
    let flat = set.to_kind(Kind::Double).flatten(1, -1);
    let mean = |y: &Tensor, sigma: &Tensor| {
        let apart = (y.unsqueeze(1) - flat.unsqueeze(0)).square();
        let squares = apart.sum_dim_intlist([2i64].as_slice(), false, Kind::Double);
        (squares / (sigma * sigma * -2.0))
            .softmax(1, Kind::Double)
            .matmul(&flat)
    };
    let oracle = MemorisedDenoiser::new(&set, NoiseSchedule::default()).unwrap();
    let rows = Tensor::from_slice(&[0i64, 1, 2, 3, 4, 0, 1, 2]);
    agrees(&oracle, &mean, &set.index_select(0, &rows));
}

#[test]
fn the_exact_flow_of_a_gaussian_is_its_oracle() {
    let root = normal("root", &[6, 6]).to_kind(Kind::Double) * 0.5;
    let covariance = root.matmul(&root.tr()) + Tensor::eye(6, (Kind::Double, Device::Cpu)) * 0.1;
    let centre = Tensor::from_slice(&[0.1, -0.2, 0.3, 0.0, 0.5, -0.7]);
    let (values, vectors) = covariance.linalg_eigh("L");
    let mean = |y: &Tensor, sigma: &Tensor| {
        let values = values.unsqueeze(0);
        let shrunk = &values / (&values + sigma * sigma);
        ((y - &centre).matmul(&vectors) * shrunk).matmul(&vectors.tr()) + &centre
    };
    let oracle = GaussianDenoiser::new(&centre, &covariance, NoiseSchedule::default()).unwrap();
    agrees(&oracle, &mean, &normal("x0", &[8, 1, 2, 3]));
}

/// The exact flow of one image; it notes the levels it is asked at.
struct Remembers {
    image: Tensor,
    asked: RefCell<Vec<f64>>,
}

impl Remembers {
    fn new(purpose: &str) -> Self {
        Self {
            image: normal(purpose, &[1, 1, 4, 4]).clamp(-1.0, 1.0),
            asked: RefCell::default(),
        }
    }
}

impl Denoiser for Remembers {
    fn predict_noise(&self, _: &Tensor, _: &Tensor, _: Option<&Condition>) -> Result<Tensor> {
        unreachable!("a flow is sampled by its velocity")
    }

    fn predict_velocity(&self, x: &Tensor, s: &Tensor, _: Option<&Condition>) -> Result<Tensor> {
        self.asked.borrow_mut().push(s.double_value(&[0]));
        Ok((x - &self.image) / s.view([-1, 1, 1, 1]))
    }
}

#[test]
fn sampling_the_exact_flow_of_one_image_ends_at_it() {
    let start = initial_noise(1, 5, [1, 4, 4], Device::Cpu);
    for shift in [1.0, 3.0] {
        for steps in [1, 4, 50] {
            let flow = Remembers::new("image");
            let schedule = shifted(shift);
            let drawn = sample(&flow, &schedule, &start, None, &options(steps), |_| true).unwrap();
            let image = flow.image.expand([5, 1, 4, 4], false);
            assert!(away(&drawn, &image) < 1e-5, "{shift}, {steps}");
            // Five images in batches of three.
            let levels = schedule.sampling_levels(steps).unwrap();
            let asked = flow.asked.into_inner();
            assert_eq!(asked.len(), 2 * steps);
            for (asked, level) in asked.iter().zip(levels.iter().chain(&levels)) {
                assert!((asked - level).abs() < 1e-6);
            }
        }
    }
}

#[test]
fn flows_take_turns_and_the_last_one_decides() {
    let start = initial_noise(1, 2, [1, 4, 4], Device::Cpu);
    let schedule = NoiseSchedule::flow();
    for (order, first) in [
        (ModelOrder::FirstStarts, false),
        (ModelOrder::SecondStarts, true),
    ] {
        let (a, b) = (Remembers::new("a"), Remembers::new("b"));
        assert!(away(&a.image, &b.image) > 0.5);
        let times = schedule.sampling_timesteps(4).unwrap();
        let pair = DualDenoiser::new(&a, &b, order, times, 0);
        let drawn = sample(&pair, &schedule, &start, None, &options(4), |_| true).unwrap();
        let last = if first { &a } else { &b };
        assert!(away(&drawn, &last.image.expand([2, 1, 4, 4], false)) < 1e-5);
        assert_eq!((a.asked.borrow().len(), b.asked.borrow().len()), (2, 2));
        let begins = if first { &b } else { &a };
        assert_eq!(begins.asked.borrow()[0], 1.0);
    }
}

#[test]
fn rounds_begin_one_level_later() {
    let flow = Remembers::new("image");
    let schedule = NoiseSchedule::flow();
    let start = Start {
        x_t: &initial_noise(1, 1, [1, 4, 4], Device::Cpu),
        images: &[7],
        condition: None,
        known: None,
    };
    let _ = sample_in_rounds(&flow, &schedule, &start, &options(3), 2, |_| true).unwrap();
    let levels = schedule.sampling_levels(3).unwrap();
    let expected = [&levels[..], &levels[1..]].concat();
    let asked = flow.asked.into_inner();
    assert_eq!(asked.len(), expected.len());
    for (asked, expected) in asked.iter().zip(&expected) {
        assert!((asked - expected).abs() < 1e-6, "{asked} is not {expected}");
    }
}

#[test]
fn what_is_no_flow_has_no_velocity_and_a_flow_no_ancestral_steps() {
    let images = normal("images", &[2, 1, 4, 4]);
    let oracle = MemorisedDenoiser::new(&images, NoiseSchedule::default()).unwrap();
    let x = initial_noise(1, 2, [1, 4, 4], Device::Cpu);
    let flow = NoiseSchedule::flow();
    let error = sample(&oracle, &flow, &x, None, &options(3), |_| true).unwrap_err();
    assert!(error.to_string().contains("no flow"), "{error}");
    let ancestral = SampleOptions {
        sampler: Sampler::Ancestral {
            large_variance: true,
        },
        ..options(3)
    };
    let error = sample(&Remembers::new("a"), &flow, &x, None, &ancestral, |_| true).unwrap_err();
    assert!(error.to_string().contains("ddim"), "{error}");
}

/// A fresh network whose last layer is not nearly nothing.
fn network() -> UNet2d {
    let config = preset("tiny", 1, 8).unwrap();
    let unet = UNet2d::fresh(&config, 1, Device::Cpu).unwrap();
    let weights = unet.parameters().copies().into_iter();
    let weights = weights.map(|(name, w)| match name.as_str() {
        "conv_out.weight" => (name, normal("conv_out", &w.size()) * 0.1),
        _ => (name, w),
    });
    UNet2d::from_weights(&config, weights.collect(), Device::Cpu).unwrap()
}

fn read(path: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_folder_comes_back_as_a_flow_that_answers_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let unet = network();
    let named: Vec<(String, Tensor)> = unet
        .parameters()
        .named()
        .map(|(n, t)| (n.to_owned(), t.shallow_clone()))
        .collect();
    let schedule = shifted(3.0);
    let beside = Beside::default();
    Pipeline::save(dir.path(), unet.config(), &schedule, beside, &named, None).unwrap();
    let file = read(&dir.path().join("scheduler/scheduler_config.json"));
    assert_eq!(file["_class_name"], "FlowMatchEulerDiscreteScheduler");
    assert_eq!(file["shift"], 3.0);
    assert!(file.get("beta_start").is_none(), "{file}");
    let index = read(&dir.path().join("model_index.json"));
    assert_eq!(index["scheduler"][1], "FlowMatchEulerDiscreteScheduler");

    let back = Pipeline::load(dir.path(), WeightSet::Ema, Device::Cpu).unwrap();
    assert_eq!(back.schedule.config(), schedule.config());
    assert_eq!(back.clip(), None);
    let own = Pipeline {
        network: unet.into(),
        schedule,
        labels: None,
        autoencoder: None,
    };
    let (x, t) = (
        normal("x", &[3, 1, 8, 8]),
        Tensor::from_slice(&[0i64, 258, 999]),
    );
    let s = Tensor::from_slice(&[0.25f32, 0.5, 1.0]);
    let ask = |model: &Pipeline| {
        no_grad(|| {
            let eps = model.predict_noise(&x, &t, None).unwrap();
            (eps, model.predict_velocity(&x, &s, None).unwrap())
        })
    };
    assert_eq!(ask(&back), ask(&own));
    // The velocity is what the network says of 1000 s.
    let direct = no_grad(|| own.network.forward(&x, &(&s * 1000.0), None, false)).unwrap();
    assert_eq!(ask(&back).1, direct);
    assert!(direct.abs().max().double_value(&[]) > 0.01);
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden")).join(name)
}

fn npy(file: &str) -> Tensor {
    read_npy(&golden("flow").join(file)).unwrap()
}

/// The network of a checkpoint, its outputs taken for velocities.
fn as_flow(name: &str, shift: f64) -> Pipeline {
    let pipeline = Pipeline::load(&golden(name), WeightSet::Ema, Device::Cpu).unwrap();
    Pipeline {
        schedule: shifted(shift),
        ..pipeline
    }
}

#[test]
fn predictions_and_euler_steps_are_those_of_diffusers() {
    let one = as_flow("tiny-grey", 3.0);
    let eps = no_grad(|| one.predict_noise(&npy("x_t.npy"), &npy("t.npy"), None)).unwrap();
    let error = away(&eps, &npy("eps.npy"));
    assert!(error < 1e-5, "eps: {error:e}");

    let start = npy("x_T.npy");
    let two = as_flow("tiny-grey-2", 3.0);
    let times = one.schedule.sampling_timesteps(10).unwrap();
    let pair = DualDenoiser::new(&one, &two, ModelOrder::FirstStarts, times, 0);
    let single = as_flow("tiny-grey", 1.0);
    let cases: [(&dyn Denoiser, &NoiseSchedule, usize, &str, f64); 3] = [
        (&one, &one.schedule, 10, "euler_10.npy", 1e-4),
        (&pair, &one.schedule, 10, "pair_10.npy", 1e-4),
        (&single, &single.schedule, 1, "euler_1.npy", 1e-5),
    ];
    for (model, schedule, steps, file, limit) in cases {
        let how = SampleOptions {
            unbounded: true,
            ..options(steps)
        };
        let ours = sample(model, schedule, &start, None, &how, |_| true).unwrap();
        let error = away(&ours, &npy(file));
        assert!(error < limit, "{file}: {error:e}");
    }
    assert!(away(&npy("euler_10.npy"), &npy("pair_10.npy")) > 1e-2);
}
