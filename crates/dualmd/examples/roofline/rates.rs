//! How fast this machine multiplies, convolves and moves memory.

use crate::common::Outcome;
use crate::network::{Convolution, Work};
use crate::{Case, precisions};
use dualmd_torch::device::Precision;
use dualmd_torch::profile::Profile;
use dualmd_torch::{Device, Kind, Tensor, shim};
use serde::Serialize;
use std::time::Instant;

/// Side of the matrices that are multiplied: three of them are larger than any cache, and a product takes a fraction of a second.
const SIDE: i64 = 2048;

/// Values of the arrays that are copied: 256 MiB of f32 each, larger than any cache.
const VALUES: i64 = 1 << 26;

/// Seconds that each rate is looked for.
const BUDGET: f64 = 1.0;

/// Seconds of each convolution.
const SHORT: f64 = 0.05;

/// What the machine does at best.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// Threads of libtorch.
    pub threads: usize,
    /// By number format: 10^9 operations a second of a product of two matrices, a multiply-add being two.
    pub gflops: Vec<(&'static str, f64)>,
    /// 10^9 bytes a second that a copy reads and writes.
    pub copy: f64,
    /// The same of a = b + s (c - b), which reads two arrays and writes one.
    pub triad: f64,
}

/// A convolution of a network, in one layout and number format.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The preset.
    pub network: &'static str,
    /// Images.
    pub batch: i64,
    /// Threads of libtorch.
    pub threads: usize,
    /// `f32` or `bf16`.
    pub dtype: &'static str,
    /// `NCHW` or `NHWC`, which is channels-last.
    pub layout: &'static str,
    /// Its shape.
    pub shape: Convolution,
    /// How many of it the network has.
    pub times: usize,
    /// Seconds of a call forward.
    pub forward: f64,
    /// Seconds of the gradients of input, weight and bias.
    pub backward: f64,
}

fn kind(precision: Precision) -> Kind {
    match precision {
        Precision::F32 | Precision::Tf32 => Kind::Float,
        Precision::Bf16 => Kind::BFloat16,
    }
}

/// Seconds of the fastest call, of at least three within about `budget`; one more before is not counted.
fn fastest(budget: f64, mut call: impl FnMut() -> Outcome<()>) -> Outcome<f64> {
    call()?;
    let (began, mut calls, mut least) = (Instant::now(), 0, f64::INFINITY);
    while calls < 3 || began.elapsed().as_secs_f64() < budget {
        let at = Instant::now();
        call()?;
        least = least.min(at.elapsed().as_secs_f64());
        calls += 1;
    }
    Ok(least)
}

/// Peak rates and bandwidth with so many threads, which are set already.
///
/// # Errors
/// What libtorch refuses.
pub fn machine(threads: usize) -> Outcome<Machine> {
    let mut gflops = Vec::new();
    for precision in precisions() {
        let random =
            || Tensor::randn([SIDE, SIDE], (Kind::Float, Device::Cpu)).to_kind(kind(precision));
        let (a, b, out) = (random(), random(), random());
        let seconds = fastest(BUDGET, || {
            let _ = a.f_matmul_out(&out, &b)?;
            Ok(())
        })?;
        gflops.push((
            precision.name(),
            2.0 * (SIDE as f64).powi(3) / seconds / 1e9,
        ));
    }
    let ones = || Tensor::ones([VALUES], (Kind::Float, Device::Cpu));
    let (a, b, mut out) = (ones(), ones(), ones());
    let bytes = 4.0 * VALUES as f64;
    let copy = fastest(BUDGET, || {
        out.f_copy_(&a)?;
        Ok(())
    })?;
    let triad = fastest(BUDGET, || {
        let _ = a.f_lerp_scalar_out(&out, &b, 0.3)?;
        Ok(())
    })?;
    Ok(Machine {
        threads,
        gflops,
        copy: 2.0 * bytes / copy / 1e9,
        triad: 3.0 * bytes / triad / 1e9,
    })
}

/// Every convolution of a network, in both layouts.
///
/// # Errors
/// What libtorch refuses.
pub fn convolutions(
    (case, threads): (Case, usize),
    work: &Work,
    precision: Precision,
) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for (&shape, &times) in &work.convolutions {
        for layout in ["NCHW", "NHWC"] {
            let (forward, backward) = convolution(shape, case.batch, precision, layout == "NHWC")?;
            rows.push(Row {
                network: case.name,
                batch: case.batch,
                threads,
                dtype: precision.name(),
                layout,
                shape,
                times,
                forward,
                backward,
            });
        }
    }
    Ok(rows)
}

/// Seconds forward and backward, means of some calls after one that is not counted. Of both libtorch's own account of the convolution is
/// taken, without the sum that asks for the gradient.
fn convolution(
    shape: Convolution,
    batch: i64,
    precision: Precision,
    channels_last: bool,
) -> Outcome<(f64, f64)> {
    let Convolution {
        input,
        output,
        kernel,
        stride,
        side,
    } = shape;
    let random = |size: [i64; 4]| -> Outcome<Tensor> {
        let x = Tensor::randn(size, (Kind::Float, Device::Cpu)).to_kind(kind(precision));
        Ok(match channels_last {
            true => shim::to_channels_last(&x)?,
            false => x,
        })
    };
    let x = random([batch, input, side * stride, side * stride])?.set_requires_grad(true);
    let weight = random([output, input, kernel, kernel])?.set_requires_grad(true);
    let towards = random([batch, output, side, side])?;
    let bias = Tensor::zeros([output], (kind(precision), Device::Cpu)).set_requires_grad(true);
    let padding = kernel / 2;
    let call = || -> Outcome<()> {
        let y = x.f_conv2d(
            &weight,
            Some(&bias),
            [stride, stride],
            [padding, padding],
            [1, 1],
            1,
        )?;
        y.f_mul(&towards)?.f_sum(Kind::Float)?.f_backward()?;
        Ok(())
    };
    call()?;
    let (began, mut calls) = (Instant::now(), 0);
    let profile = Profile::begin()?;
    while calls < 2 || began.elapsed().as_secs_f64() < SHORT {
        call()?;
        calls += 1;
    }
    let (mut forward, mut backward) = (0.0, 0.0);
    for operation in profile.end()? {
        let name = operation.name.to_lowercase();
        if name.contains("conv") {
            match name.contains("backward") {
                true => backward += operation.seconds,
                false => forward += operation.seconds,
            }
        }
    }
    Ok((forward / f64::from(calls), backward / f64::from(calls)))
}
