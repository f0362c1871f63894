//! The fused GroupNorm+SiLU against the library's composition: values and all gradients, in both memory layouts.

use dualmd_torch::shim::{group_norm_silu, to_channels_last};
use dualmd_torch::{Device, Kind, Tensor, noise};

/// Values and gradients of x, add, weight, beta for a fixed random projection of the output, from `f`.
fn run(
    leaves: &[Tensor; 4],
    projection: &Tensor,
    f: impl Fn(&Tensor, &Tensor, &Tensor, &Tensor) -> Tensor,
) -> Vec<Tensor> {
    let leaves: Vec<Tensor> = leaves
        .iter()
        .map(|t| t.detach().copy().set_requires_grad(true))
        .collect();
    let y = f(&leaves[0], &leaves[1], &leaves[2], &leaves[3]);
    (&y * projection).sum(y.kind()).backward();
    std::iter::once(y.detach())
        .chain(leaves.iter().map(Tensor::grad))
        .map(|t| t.to_kind(Kind::Double))
        .collect()
}

/// The same of the library's composition, in f64.
fn composed(leaves: &[Tensor; 4], projection: &Tensor, groups: i64, silu: bool) -> Vec<Tensor> {
    let doubles = [0, 1, 2, 3].map(|i: usize| leaves[i].to_kind(Kind::Double));
    run(
        &doubles,
        &projection.to_kind(Kind::Double),
        |x, add, w, b| {
            let u = x + add.unsqueeze(-1).unsqueeze(-1);
            let y = u.group_norm(groups, Some(w), Some(b), 1e-5, false);
            if silu { y.silu() } else { y }
        },
    )
}

#[test]
fn fused_equals_composed_in_values_and_gradients() {
    let mut rng = dualmd_data::stream(1, "test", 0);
    for (shape, groups) in [
        ([3, 8, 5, 7], 4),
        ([2, 16, 4, 4], 8),
        ([2, 24, 1, 3], 1),
        ([1, 6, 9, 9], 6),
    ] {
        let [n, c, _, _] = shape;
        let mut draw = |shape: &[i64]| noise::normal(&mut rng, shape, Device::Cpu);
        // A large offset shows whether the statistics lose digits.
        let leaves = [
            draw(&shape) * 2.0 + 30.0,
            draw(&[n, c]),
            draw(&[c]),
            draw(&[c]),
        ];
        let projection = draw(&shape);
        for silu in [true, false] {
            let exact = composed(&leaves, &projection, groups, silu);
            for channels_last in [false, true] {
                let fused = run(&leaves, &projection, |x, add, w, b| {
                    let x = if channels_last {
                        to_channels_last(x).unwrap()
                    } else {
                        x.shallow_clone()
                    };
                    group_norm_silu(&x, Some(add), w, b, groups, 1e-5, silu).unwrap()
                });
                for (what, (a, b)) in ["y", "dx", "dadd", "dweight", "dbeta"]
                    .iter()
                    .zip(fused.iter().zip(&exact))
                {
                    let scale = b.abs().max().double_value(&[]).max(1.0);
                    let error = (a - b).abs().max().double_value(&[]) / scale;
                    assert!(
                        error < 2e-5,
                        "{what} {shape:?} groups {groups} silu {silu} cl {channels_last}: {error:e}"
                    );
                }
            }
        }
    }
}

/// What goes in is given to both in bf16, so that the rounding of what comes out is all that may differ: half a unit in the last of 8 binary
/// digits, and as much again where gradients of bf16 are made from it.
#[test]
fn in_bf16_only_what_comes_out_is_rounded() {
    let mut rng = dualmd_data::stream(2, "test", 0);
    for (shape, groups) in [([3, 8, 5, 7], 4), ([2, 24, 1, 3], 1), ([1, 6, 9, 9], 6)] {
        let [n, c, _, _] = shape;
        let mut draw = |shape: &[i64]| noise::normal(&mut rng, shape, Device::Cpu);
        let halved = |t: Tensor| t.to_kind(Kind::BFloat16).to_kind(Kind::Float);
        let leaves = [
            halved(draw(&shape) * 2.0 + 3.0),
            draw(&[n, c]),
            draw(&[c]),
            draw(&[c]),
        ];
        let projection = halved(draw(&shape));
        for silu in [true, false] {
            let exact = composed(&leaves, &projection, groups, silu);
            for channels_last in [false, true] {
                let fused = run(&leaves, &projection, |x, add, w, b| {
                    let x = x.to_kind(Kind::BFloat16);
                    let x = if channels_last {
                        to_channels_last(&x).unwrap()
                    } else {
                        x
                    };
                    let y = group_norm_silu(&x, Some(add), w, b, groups, 1e-5, silu).unwrap();
                    assert_eq!(y.kind(), Kind::BFloat16);
                    y
                });
                for ((what, bound), (a, b)) in [
                    ("y", 2.0_f64.powi(-8)),
                    ("dx", 2.0_f64.powi(-8)),
                    ("dadd", 2e-5),
                    ("dweight", 2e-5),
                    ("dbeta", 2e-5),
                ]
                .into_iter()
                .zip(fused.iter().zip(&exact))
                {
                    // Rounding is by the size of each number, and of sums by the largest.
                    let scale = match what {
                        "y" | "dx" => b.abs() + 1e-2,
                        _ => b.abs().max().clamp_min(1.0),
                    };
                    let error = ((a - b).abs() / scale).max().double_value(&[]);
                    assert!(
                        error < bound * 1.02,
                        "{what} {shape:?} groups {groups} silu {silu} cl {channels_last}: {error:e}"
                    );
                }
            }
        }
    }
}

#[test]
fn groups_that_do_not_divide_and_nan_are_not_hidden() {
    let x = Tensor::ones([1, 6, 2, 2], (Kind::Float, Device::Cpu));
    let (w, b) = (
        Tensor::ones([6], (Kind::Float, Device::Cpu)),
        Tensor::zeros([6], (Kind::Float, Device::Cpu)),
    );
    assert!(group_norm_silu(&x, None, &w, &b, 4, 1e-5, true).is_err());
    let broken = x.shallow_clone() * f64::NAN;
    let y = group_norm_silu(&broken, None, &w, &b, 3, 1e-5, true).unwrap();
    assert!(y.isnan().all().double_value(&[]) == 1.0);
}
