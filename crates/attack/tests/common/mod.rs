//! What the tests of this crate share: small denoisers, images of a known distribution, and Mann-Whitney.
#![allow(dead_code, reason = "each test binary uses a part")]

use dualmd_attack::{Method, Others, Outcome, RunOptions, Samples, default_set, run};
use dualmd_data::stream;
use dualmd_diffusion::{Condition, Denoiser, NoiseSchedule, Result};
use dualmd_torch::{Device, Tensor, noise};
use std::cell::Cell;
use std::f64::consts::PI;

/// eps(x, t) = slope * x + offset: everything can be worked out by hand.
pub struct Linear {
    pub slope: f64,
    pub offset: f64,
}

impl Denoiser for Linear {
    fn predict_noise(
        &self,
        x_t: &Tensor,
        _t: &Tensor,
        _condition: Option<&Condition>,
    ) -> Result<Tensor> {
        Ok(x_t * self.slope + self.offset)
    }
}

/// Counts the samples that really went through the model.
pub struct Counting<D> {
    pub inner: D,
    pub samples: Cell<u64>,
}

impl<D: Denoiser> Denoiser for Counting<D> {
    fn predict_noise(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor> {
        self.samples.set(self.samples.get() + x_t.size()[0] as u64);
        self.inner.predict_noise(x_t, t, condition)
    }
}

/// Side of the oracle's images.
pub const SIDE: usize = 8;

/// [64, 9]: the nine lowest two-dimensional cosines, as columns.
pub fn cosines() -> Tensor {
    let wave = |k: usize, i: usize| (PI * k as f64 * (i as f64 + 0.5) / SIDE as f64).cos();
    let mut values = Vec::new();
    for row in 0..SIDE {
        for column in 0..SIDE {
            for k in 0..9 {
                values.push((wave(k / 3, row) * wave(k % 3, column)) as f32);
            }
        }
    }
    Tensor::from_slice(&values).view([(SIDE * SIDE) as i64, 9])
}

/// `n` smooth random images, [n, 1, 8, 8]: Gaussian, with [`covariance`].
pub fn gaussian_images(seed: u64, purpose: &str, n: i64) -> Tensor {
    let weights = noise::normal(&mut stream(seed, purpose, 0), &[n, 9], Device::Cpu) * AMPLITUDE;
    weights
        .matmul(&cosines().tr())
        .view([n, 1, SIDE as i64, SIDE as i64])
}

const AMPLITUDE: f64 = 0.25;

/// The covariance of [`gaussian_images`], [64, 64].
pub fn covariance() -> Tensor {
    cosines().matmul(&cosines().tr()) * (AMPLITUDE * AMPLITUDE)
}

/// The same, pushed into (-1, 1) and scaled by `contrast`.
pub fn images(seed: u64, purpose: &str, n: i64, contrast: f64) -> Tensor {
    (gaussian_images(seed, purpose, n) * (0.5 / AMPLITUDE)).tanh() * contrast
}

/// Members first, then fresh images, with ids that do not say which is which.
pub fn samples(members: &Tensor, fresh: &Tensor) -> Samples {
    let x = Tensor::cat(&[members, fresh], 0);
    let ids = (0..x.size()[0]).map(|i| format!("image-{i}")).collect();
    Samples::new(x, ids).unwrap()
}

/// To run without anybody watching, one model and nobody known.
pub fn quiet<'a>(batch: usize, seed: u64) -> RunOptions<'a> {
    RunOptions {
        batch,
        seed,
        device: Device::Cpu,
        others: Others::default(),
        known: None,
        shadow: None,
        parts: None,
        progress: Box::leak(Box::new(|_, _| ())),
        stop: &|| false,
    }
}

/// Runs `attacks` quietly.
pub fn attack(
    denoiser: &dyn Denoiser,
    samples: &Samples,
    attacks: &[Method],
    batch: usize,
    seed: u64,
) -> Outcome {
    run(
        denoiser,
        &NoiseSchedule::default(),
        samples,
        attacks,
        quiet(batch, seed),
    )
    .unwrap()
}

/// (attack, AUC) of the default set; the first `members` samples are members.
pub fn aucs(denoiser: &dyn Denoiser, samples: &Samples, members: usize) -> Vec<(String, f64)> {
    let outcome = attack(denoiser, samples, &default_set(), 16, 7);
    let auc_of = |scores: &[f64]| auc(&scores[..members], &scores[members..]);
    outcome
        .results
        .into_iter()
        .map(|r| (r.info.name, auc_of(&r.scores.unwrap())))
        .collect()
}

/// Mann-Whitney: the chance that a member scores higher than a non-member, ties counting half.
pub fn auc(members: &[f64], others: &[f64]) -> f64 {
    let beats = |m: f64, n: f64| {
        if m > n {
            1.0
        } else {
            f64::from(u8::from(m == n)) / 2.0
        }
    };
    let wins: f64 = members
        .iter()
        .flat_map(|&m| others.iter().map(move |&n| beats(m, n)))
        .sum();
    wins / (members.len() * others.len()) as f64
}

/// Standard error of the AUC of a score that knows nothing.
pub fn null_error(n1: usize, n0: usize) -> f64 {
    let (n1, n0) = (n1 as f64, n0 as f64);
    ((n1 + n0 + 1.0) / (12.0 * n1 * n0)).sqrt()
}

/// Fails unless `a` is `b` up to the relative `tolerance`.
pub fn assert_close(a: f64, b: f64, tolerance: f64, what: &str) {
    assert!(
        (a - b).abs() <= tolerance * b.abs(),
        "{what}: {a} is not {b} (relative {:e})",
        (a - b).abs() / b.abs()
    );
}
