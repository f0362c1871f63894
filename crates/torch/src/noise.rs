//! Gaussian tensors from the project's named random streams ([`dualmd_data::stream()`]).
//!
//! The numbers are drawn in Rust, not by libtorch's generator: the same (seed, purpose, index) gives the same noise on
//! every device, thread count and libtorch version, and drawing never disturbs another stream.

use crate::device::bring;
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use tch::{Device, Tensor};

/// Standard normal f32 tensor of `shape` on `device`, drawn from `rng` in row-major order.
pub fn normal(rng: &mut impl Rng, shape: &[i64], device: Device) -> Tensor {
    let n = usize::try_from(shape.iter().product::<i64>()).unwrap_or(0);
    let values: Vec<f32> = StandardNormal.sample_iter(rng).take(n).collect();
    bring(&Tensor::from_slice(&values).reshape(shape), device)
}

/// Uniform integers in `0..high`, i64, shape `[n]`.
pub fn integers(rng: &mut impl Rng, high: i64, n: usize, device: Device) -> Tensor {
    let values: Vec<i64> = (0..n).map(|_| rng.random_range(0..high)).collect();
    bring(&Tensor::from_slice(&values), device)
}

/// Uniform f32 in `[-bound, bound)`, for weight initialisation.
pub fn uniform(rng: &mut impl Rng, bound: f64, shape: &[i64]) -> Tensor {
    let n = usize::try_from(shape.iter().product::<i64>()).unwrap_or(0);
    let bound = bound as f32;
    let values: Vec<f32> = (0..n)
        .map(|_| (rng.random::<f32>() * 2.0 - 1.0) * bound)
        .collect();
    Tensor::from_slice(&values).reshape(shape)
}
