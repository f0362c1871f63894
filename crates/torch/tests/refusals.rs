//! The shim reads raw memory: what does not fit is an error with the reason, and never a read past an end.

use dualmd_torch::shim::{
    AdamOptions, clip_grad_norm, clip_grad_norm_there, fused_adam, generator_state,
    group_norm_silu, lerp_all, set_generator_state, to_channels_last, with_precision,
};
use dualmd_torch::{Device, Kind, Tensor, device::Precision};

fn ones(shape: &[i64]) -> Tensor {
    Tensor::ones(shape, (Kind::Float, Device::Cpu))
}

/// The refusal's text, which begins with the operation and holds `reason`.
fn refused<T: std::fmt::Debug, E: std::fmt::Display>(result: Result<T, E>, reason: &str) {
    let error = result.map_err(|e| e.to_string()).unwrap_err();
    assert!(error.contains(reason), "{error} lacks {reason}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn group_norm_checks_shapes_kinds_and_numbers() {
    let x = ones(&[2, 6, 3, 3]);
    let (w, b, add) = (ones(&[6]), ones(&[6]), ones(&[2, 6]));
    let norm = |x: &Tensor, add: Option<&Tensor>, w: &Tensor, b: &Tensor, groups, eps| {
        group_norm_silu(x, add, w, b, groups, eps, true)
    };
    let _fits = norm(&x, Some(&add), &w, &b, 3, 1e-5).unwrap();
    for short in [&[5][..], &[1], &[0], &[6, 1], &[7]] {
        refused(
            norm(&x, None, &ones(short), &b, 3, 1e-5),
            "weight must be [6]",
        );
        refused(
            norm(&x, None, &w, &ones(short), 3, 1e-5),
            "beta must be [6]",
        );
    }
    for short in [&[2, 5][..], &[1, 6], &[6], &[2, 6, 1], &[0, 6]] {
        let add = ones(short);
        refused(norm(&x, Some(&add), &w, &b, 3, 1e-5), "add must be [2, 6]");
    }
    for shape in [&[2, 6, 3][..], &[6], &[2, 6, 3, 3, 1]] {
        refused(norm(&ones(shape), None, &w, &b, 3, 1e-5), "[B, C, H, W]");
    }
    let whole = Tensor::ones([6], (Kind::Int64, Device::Cpu));
    refused(norm(&x, None, &whole, &b, 3, 1e-5), "weight is Long");
    refused(norm(&x, None, &w, &whole, 3, 1e-5), "beta is Long");
    let whole = Tensor::ones([2, 6], (Kind::Int64, Device::Cpu));
    refused(norm(&x, Some(&whole), &w, &b, 3, 1e-5), "add is Long");
    refused(
        norm(&Tensor::new(), None, &w, &b, 3, 1e-5),
        "x is no tensor",
    );
    refused(
        norm(&x, None, &Tensor::new(), &b, 3, 1e-5),
        "weight is no tensor",
    );
    for groups in [0, -1, 4, i64::MAX] {
        refused(
            norm(&x, None, &w, &b, groups, 1e-5),
            "do not divide 6 channels",
        );
    }
    for eps in [-1e-5, f64::NAN, f64::INFINITY] {
        refused(norm(&x, None, &w, &b, 3, eps), "eps = ");
    }
}

/// Weights that are not f32, not contiguous, or a batch of nothing go through the composition and come out right.
#[test]
fn what_the_kernels_cannot_read_is_composed() {
    let x = ones(&[2, 6, 3, 3]) + Tensor::arange(9, (Kind::Float, Device::Cpu)).view([3, 3]);
    let (w, b) = (Tensor::arange(6, (Kind::Float, Device::Cpu)), ones(&[6]));
    let plain = group_norm_silu(&x, None, &w, &b, 3, 1e-5, true).unwrap();
    let strided = Tensor::stack(&[&w, &w], 1).select(1, 0);
    assert!(!strided.is_contiguous());
    let same = group_norm_silu(&x, None, &strided, &b, 3, 1e-5, true).unwrap();
    assert!(same.allclose(&plain, 1e-5, 1e-6, false));
    let none = group_norm_silu(&ones(&[0, 6, 3, 3]), None, &w, &b, 3, 1e-5, true).unwrap();
    assert_eq!(none.size(), [0, 6, 3, 3]);
}

#[test]
fn there_is_no_second_derivative_rather_than_a_wrong_one() {
    let x = Tensor::arange(54, (Kind::Float, Device::Cpu)).view([1, 6, 3, 3]);
    let x = x.set_requires_grad(true);
    let y = group_norm_silu(&x, None, &ones(&[6]), &ones(&[6]), 3, 1e-5, true).unwrap();
    let sum = y.square().sum(Kind::Float);
    Tensor::f_run_backward(&[&sum], &[&x], true, false).unwrap();
    let twice = Tensor::f_run_backward(&[&sum], &[&x], true, true);
    let error = twice.unwrap_err().to_string();
    assert!(error.contains("no second derivative"), "{error}");
}

fn adam(w: &Tensor, g: &Tensor, m: &Tensor, v: &Tensor, step: &Tensor) -> dualmd_torch::Result<()> {
    let options = AdamOptions {
        learning_rate: 0.1,
        beta1: 0.9,
        beta2: 0.999,
        weight_decay: 0.0,
        decoupled: false,
        eps: 1e-8,
    };
    let one = |t: &Tensor| [t.shallow_clone()];
    fused_adam(&one(w), &one(g), &one(m), &one(v), step, &options)
}

#[test]
fn adam_checks_what_libtorchs_kernel_does_not() {
    let zeros = |shape: &[i64]| ones(shape) * 0.0;
    let step = zeros(&[]);
    let (w, g, m) = (ones(&[4, 3]), ones(&[4, 3]), zeros(&[4, 3]));
    for other in [&[4][..], &[12], &[3, 4], &[4, 2]] {
        refused(
            adam(&w, &ones(other), &m, &m.copy(), &step),
            "gradient 0 has shape",
        );
        refused(
            adam(&w, &g, &zeros(other), &m, &step),
            "first moment 0 has shape",
        );
        refused(
            adam(&w, &g, &m, &zeros(other), &step),
            "second moment 0 has shape",
        );
    }
    let double = g.to_kind(Kind::Double);
    refused(adam(&w, &double, &m, &m.copy(), &step), "not f32");
    refused(
        adam(&w, &g, &m, &m.copy(), &zeros(&[2])),
        "step must be one f32",
    );
    refused(
        adam(&w, &Tensor::new(), &m, &m.copy(), &step),
        "a gradient is no tensor",
    );
    assert_eq!(step.double_value(&[]), 0.0);
    let turned = zeros(&[3, 4]).transpose(0, 1);
    refused(adam(&w, &g, &turned, &m, &step), "another order");
}

/// A gradient in another memory layout than its weight: every weight moves by its own gradient's sign.
#[test]
fn adam_follows_a_gradient_in_any_memory_layout() {
    let w = to_channels_last(&(ones(&[2, 3, 2, 2]) * 0.0)).unwrap();
    let g = (Tensor::arange(24, (Kind::Float, Device::Cpu)) - 11.5).view([2, 3, 2, 2]);
    assert!(g.is_contiguous() && !w.is_contiguous());
    let (m, v) = (w.zeros_like(), w.zeros_like());
    adam(&w, &g, &m, &v, &(ones(&[]) * 0.0)).unwrap();
    assert!((w + g.sign() * 0.1).abs().max().double_value(&[]) < 1e-6);
}

/// The norm that nobody waits for, and what becomes of the gradients: bit for bit those of the one that is read.
#[test]
fn gradients_are_clipped_the_same_whether_their_norm_is_read_or_not() {
    let gradients = |scale: f64| {
        let row = Tensor::arange(7, (Kind::Float, Device::Cpu)) * (0.37 * scale);
        let table = (Tensor::arange(6, (Kind::Float, Device::Cpu)) - 2.3) * (0.11 * scale);
        [row, table.view([2, 3])]
    };
    let bits = |of: &[Tensor]| -> Vec<u32> {
        let flat: Vec<Tensor> = of.iter().map(|g| g.reshape([-1])).collect();
        let values = Vec::<f32>::try_from(Tensor::cat(&flat, 0)).unwrap();
        values.into_iter().map(f32::to_bits).collect()
    };
    let length = clip_grad_norm(&gradients(1.0), None).unwrap();
    // Above the norm, just above it, at it, below it; and no clipping.
    let limits = [10.0 * length, length + 1e-7, length, 0.7 * length, 0.1];
    for limit in limits.map(Some).into_iter().chain([None]) {
        let (read, not) = (gradients(1.0), gradients(1.0));
        let norm = clip_grad_norm(&read, limit).unwrap();
        let there = clip_grad_norm_there(&not, limit).unwrap();
        assert_eq!(there.size(), [0i64; 0]);
        assert_eq!(there.double_value(&[]), norm);
        assert_eq!(bits(&read), bits(&not), "{limit:?}");
    }
    let broken = gradients(f64::NAN);
    let norm = clip_grad_norm_there(&broken, Some(1.0)).unwrap();
    assert!(norm.double_value(&[]).is_nan());
    refused(clip_grad_norm_there(&[], None), "no gradients");
    refused(
        clip_grad_norm_there(&gradients(1.0), Some(0.0)),
        "above 0 and finite",
    );
}

#[test]
fn averages_norms_layouts_and_generators_are_checked() {
    let one = |t: Tensor| [t];
    let lerp = |a: &[i64], b: &[i64]| lerp_all(&one(ones(a)), &one(ones(b)), 0.5);
    lerp(&[2, 3], &[2, 3]).unwrap();
    // libtorch would spread one row over all.
    refused(lerp(&[2, 3], &[1, 3]), "average 0 has shape");
    lerp_all(&[], &[], 0.5).unwrap();
    for norm in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        refused(
            clip_grad_norm(&one(ones(&[3])), Some(norm)),
            "above 0 and finite",
        );
    }
    assert_eq!(clip_grad_norm(&[], None).unwrap(), 0.0);
    refused(to_channels_last(&ones(&[2, 3])), "4 axes");
    refused(to_channels_last(&ones(&[2, 3, 4])), "4 axes");
    refused(to_channels_last(&Tensor::new()), "no tensor");
    assert!(set_generator_state(Device::Cpu, &ones(&[3])).is_err());
    refused(
        set_generator_state(Device::Cpu, &Tensor::new()),
        "no tensor",
    );
    refused(generator_state(Device::Cuda(256)), "cuda:256");
    refused(
        with_precision(Precision::Bf16, Device::Mps, || ()),
        "use cpu or cuda",
    );
}
