//! What pure noise says of a prompt, worked out by hand on models that are linear in image and text.

mod common;

use common::assert_close;
use dualmd_attack::memorisation::{FromNoise, Generation, from_noise};
use dualmd_data::stream;
use dualmd_diffusion::{Condition, Denoiser, NoiseSchedule, Result};
use dualmd_torch::{Device, Kind, Tensor, noise};

/// eps(x, t, c) = base + w (push + slope x), w the mean of the text's embedding: 0 of the empty prompt, 1 of any other here. `base` and
/// `push` are one number for each of two channels. Remembers the timesteps that it was asked about.
struct Told {
    base: [f32; 2],
    push: [f32; 2],
    slope: f64,
    asked: std::cell::RefCell<Vec<i64>>,
}

impl Denoiser for Told {
    fn predict_noise(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor> {
        self.asked.borrow_mut().push(t.int64_value(&[0]));
        let told = condition.unwrap().texts().unwrap();
        let w = told
            .mean_dim([1i64, 2].as_slice(), false, Kind::Float)
            .view([-1, 1, 1, 1]);
        let channels = |values: &[f32; 2]| Tensor::from_slice(values).view([1, 2, 1, 1]);
        Ok(x_t * 0.0 + channels(&self.base) + w * (channels(&self.push) + x_t * self.slope))
    }
}

const N: i64 = 3;
const STEPS: usize = 10;

fn measured(base: [f32; 2], push: [f32; 2], slope: f64) -> (FromNoise, Tensor, Vec<i64>) {
    let model = Told {
        base,
        push,
        slope,
        asked: std::cell::RefCell::default(),
    };
    let x = noise::normal(&mut stream(1, "x", 0), &[N, 2, 4, 4], Device::Cpu);
    let full = |n: i64, value: f64| {
        let text = Tensor::full([n, 5, 6], value, (Kind::Float, Device::Cpu));
        Condition::of_text(text)
    };
    let found = from_noise(
        &model,
        &NoiseSchedule::default(),
        &Generation {
            noise: &x,
            text: &full(N, 1.0),
            empty: &full(1, 0.0),
            guidance: 7.5,
            steps: STEPS,
            clip: None,
            first: 0,
        },
    )
    .unwrap();
    (found, x, model.asked.into_inner())
}

/// delta = (3, 4) in every pixel, without a text (1, 0): |delta| = 5 sqrt 16, the cosine 3 / 5. Nothing bends.
#[test]
fn a_constant_pull_has_a_norm_an_angle_and_no_sharpness() {
    let (found, _, asked) = measured([1.0, 0.0], [3.0, 4.0], 0.0);
    for i in 0..N as usize {
        assert_close(found.alignment[i], 0.6, 1e-6, "cosine");
        assert_close(found.anisotropy[i], 20.0 + 2.0 * 0.6, 1e-6, "anisotropy");
        assert!(found.sharpness[i].abs() < 1e-3, "{found:?}");
    }
    // The third-last of the steps, and the first.
    let times = NoiseSchedule::default().sampling_timesteps(STEPS).unwrap();
    assert_eq!(asked, [times[7], times[0], times[0], times[0]]);
}

/// delta = x / 2: s = -x / (2 sigma), J_s = -1 / (2 sigma), so that |J_s s| = |x| / (4 sigma^2).
#[test]
fn a_linear_pull_is_as_sharp_as_its_slope() {
    let (found, x, _) = measured([0.0, 0.0], [0.0, 0.0], 0.5);
    let schedule = NoiseSchedule::default();
    let t = schedule.sampling_timesteps(STEPS).unwrap()[0];
    let variance = 1.0 - schedule.alpha_bar(t);
    for (i, sharpness) in found.sharpness.iter().enumerate() {
        let length = x.get(i as i64).norm().double_value(&[]);
        assert_close(*sharpness, length / (4.0 * variance), 1e-3, "sharpness");
    }
    // Without a direction of its own the prediction has no angle to the pull.
    assert!(found.alignment.iter().all(|c| c.abs() < 1e-6), "{found:?}");
}

#[test]
fn a_prompt_without_pull_is_nothing() {
    let (found, _, _) = measured([1.0, 1.0], [0.0, 0.0], 0.0);
    for list in [&found.alignment, &found.anisotropy, &found.sharpness] {
        assert!(list.iter().all(|v| *v == 0.0), "{found:?}");
    }
}
