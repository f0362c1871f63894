//! Every attack against numbers worked out by hand, on an image of two pixels.

mod common;

use common::{Linear, assert_close};
use dualmd_attack::loss_grid::RATIOS;
use dualmd_attack::{
    Attack, AttackError, Batch, Combined, Learned, Loss, LossGrid, Pfami, Pia, Pian, ReDiffuse,
    SecMi, SimA,
};
use dualmd_data::{stream, stream_for_id};
use dualmd_diffusion::NoiseSchedule;
use dualmd_torch::{Device, Tensor, noise};

const X: [f64; 2] = [0.5, -0.25];
/// Slope of the linear denoiser eps(x, t) = A x.
const A: f64 = 0.5;
/// The schedule and the attacks compute in f32, these checks in f64.
const F32: f64 = 2e-5;

fn image() -> Tensor {
    Tensor::from_slice(&X.map(|v| v as f32)).view([1, 1, 1, 2])
}

fn scored<T>(slope: f64, offset: f64, attack: impl Fn(&mut Batch<'_>) -> T) -> T {
    let (denoiser, schedule, ids) = (
        Linear { slope, offset },
        NoiseSchedule::default(),
        ["a".to_owned()],
    );
    attack(&mut Batch::new(&denoiser, &schedule, &image(), &ids, 3).unwrap())
}

/// The score of one image under eps(x, t) = A x, with given noise.
fn scored_with(x: &Tensor, draws: &[Tensor], attack: &dyn Attack) -> f64 {
    let (denoiser, schedule, ids) = (
        Linear {
            slope: A,
            offset: 0.0,
        },
        NoiseSchedule::default(),
        ["a".to_owned()],
    );
    let mut batch = Batch::new(&denoiser, &schedule, x, &ids, 3)
        .and_then(|b| b.with_draws(draws))
        .unwrap();
    attack.score(&mut batch).unwrap()[0]
}

/// sqrt(abar_t), sqrt(1 - abar_t) of the DDPM schedule, from its definition.
fn coefficients(t: usize) -> (f64, f64) {
    let abar: f64 = (0..=t)
        .map(|i| 1.0 - (1e-4 + (0.02 - 1e-4) * i as f64 / 999.0))
        .product();
    (abar.sqrt(), (1.0 - abar).sqrt())
}

fn sum_x(power: i32) -> f64 {
    X.iter().map(|v| v.abs().powi(power)).sum()
}

#[test]
fn sima_is_the_fourth_power_of_the_predicted_noise() {
    let score = scored(A, 0.0, |b| SimA::default().score(b).unwrap())[0];
    // (0.5 * 0.5)^4 + (0.5 * 0.25)^4 = 0.00390625 + 0.000244140625
    assert_close(score, -0.004_150_390_625, 1e-12, "sima");
}

/// eps(x_t, t) = A x_t, so the residual is (1 - b A) e - a A x, whose logarithm of the mean square over the shared noises is the feature.
#[test]
fn loss_grid_of_a_linear_model() {
    let features = scored(A, 0.0, |b| LossGrid::default().features(b).unwrap());
    assert_eq!(features.size(), [1, 8]);
    let shared: Vec<Vec<f64>> = (0..4)
        .map(|k| {
            let draw = noise::normal(
                &mut stream(3, "attack/loss-grid", k),
                &[1, 1, 2],
                Device::Cpu,
            );
            let draw: Vec<f32> = draw.view(-1).try_into().unwrap();
            draw.into_iter().map(f64::from).collect()
        })
        .collect();
    for (j, ratio) in RATIOS.into_iter().enumerate() {
        let off = |t: &usize| {
            let (a, b) = coefficients(*t);
            ((a / b).powi(2) / ratio).ln().abs()
        };
        let t = (0..1000).min_by(|s, t| off(s).total_cmp(&off(t))).unwrap();
        let (a, b) = coefficients(t);
        let error = shared.iter().flat_map(|e| {
            e.iter()
                .zip(X)
                .map(|(e, x)| ((1.0 - b * A) * e - a * A * x).powi(2))
        });
        let mean = error.sum::<f64>() / 8.0;
        assert_close(
            features.double_value(&[0, j as i64]),
            mean.ln(),
            F32,
            "loss-grid",
        );
    }
}

/// The scores of the seven attacks, in this order.
#[test]
fn a_combination_looks_at_the_scores_of_its_parts() {
    let features = scored(A, 0.0, |b| Combined::default().features(b).unwrap());
    let all: [Box<dyn Attack>; 7] = [
        Box::new(Loss::default()),
        Box::new(SecMi::default()),
        Box::new(Pia::default()),
        Box::new(Pian::default()),
        Box::new(SimA::default()),
        Box::new(Pfami::default()),
        Box::new(ReDiffuse::default()),
    ];
    assert_eq!(features.size(), [1, 7]);
    for (j, attack) in all.iter().enumerate() {
        let alone = scored(A, 0.0, |b| attack.score(b).unwrap())[0];
        assert_eq!(features.double_value(&[0, j as i64]), alone, "{j}");
    }
}

#[test]
fn pia_of_a_linear_model() {
    let (a, b) = coefficients(200);
    // e0 = A x, x_t = (a + b A) x, so the residual is A (1 - a - b A) x.
    let expected = -(A * (1.0 - a - b * A)).powi(4) * sum_x(4);
    assert_close(
        scored(A, 0.0, |b| Pia::default().score(b).unwrap())[0],
        expected,
        F32,
        "pia",
    );
    // p = 1 and another timestep: -|A (1 - a - b A)| sum |x|.
    let (a, b) = coefficients(50);
    let expected = -(A * (1.0 - a - b * A)).abs() * sum_x(1);
    assert_close(
        scored(A, 0.0, |b| Pia { t: 50, p: 1 }.score(b).unwrap())[0],
        expected,
        F32,
        "pia, p = 1",
    );
}

#[test]
fn pian_of_a_linear_model() {
    let (a, b) = coefficients(200);
    // mean |x| = 0.375, so e0 = c x with c = sqrt(2 / pi) / 0.375, whatever A.
    let c = (2.0 / std::f64::consts::PI).sqrt() / 0.375;
    let expected = -(c - A * (a + b * c)).powi(4) * sum_x(4);
    assert_close(
        scored(A, 0.0, |b| Pian::default().score(b).unwrap())[0],
        expected,
        F32,
        "pian",
    );
}

#[test]
fn secmi_of_a_linear_model_by_the_two_moves_of_the_paper() {
    // D(z; s -> t) = g(s, t) z for a linear model.
    let g = |s: usize, t: usize| {
        let ((a, b), (a_t, b_t)) = (coefficients(s), coefficients(t));
        a_t * (1.0 - b * A) / a + b_t * A
    };
    let z = (0..9).map(|i| g(10 * i, 10 * i + 10)).product::<f64>();
    let w = z * g(90, 100) * g(100, 90);
    let expected = -(z - w).powi(2) * sum_x(2);
    let (score, calls) = scored(A, 0.0, |b| {
        (SecMi::default().score(b).unwrap()[0], b.calls())
    });
    assert_close(score, expected, F32, "secmi");
    assert_eq!((calls.made, calls.saved), (11, 0));
}

#[test]
fn loss_of_a_linear_model() {
    let draws = [[1.0, -2.0], [0.5, 0.25]];
    let tensors =
        draws.map(|d: [f64; 2]| Tensor::from_slice(&d.map(|v| v as f32)).view([1, 1, 1, 2]));
    let (a, b) = coefficients(200);
    let squared = |n: f64, x: f64| (n - A * (a * x + b * n)).powi(2);
    // Mean over two draws of the mean over two pixels.
    let expected = -draws
        .iter()
        .flat_map(|d| d.iter().zip(X).map(|(&n, x)| squared(n, x)))
        .sum::<f64>()
        / 4.0;
    let attack = Loss::default();
    let given = |draws: &[Tensor]| {
        let attack = Loss {
            draws: draws.len(),
            ..attack
        };
        scored_with(&image(), draws, &attack)
    };
    assert_close(given(&tensors), expected, F32, "loss");

    // The attack's own noise is the sample's: drawn from (seed, draw, id).
    let own: Vec<Tensor> = (0..8)
        .map(|k| {
            noise::normal(
                &mut stream_for_id(3, &format!("attack/loss/{k}"), "a"),
                &[1, 1, 1, 2],
                Device::Cpu,
            )
        })
        .collect();
    let by_hand = vec![given(&own)];
    assert_eq!(scored(A, 0.0, |b| attack.score(b).unwrap()), by_hand);
}

/// eps(x, t) = A x: the loss of an image, and of its enlarged middle, by hand. A flat image does not change when cropped.
#[test]
fn pfami_of_a_linear_model() {
    let side = [0.5f32, 0.1, -0.3, 0.4];
    let x = Tensor::from_slice(&side).view([1, 1, 1, 4]);
    let n = [1.0f32, -0.5, 0.25, 2.0];
    let score = |x: &Tensor| {
        let noise = Tensor::from_slice(&n).view([1, 1, 1, 4]);
        let attack = Pfami {
            timesteps: vec![100, 200],
            crops: vec![0.5],
        };
        scored_with(x, &[noise], &attack)
    };
    // The middle two, 0.1 and -0.3, enlarged without aligned corners: weights 1, 3/4, 1/4, 0 of the first.
    let cropped = [0.1, 0.0, -0.2, -0.3];
    let error = |x: [f64; 4], t: usize| {
        let (a, b) = coefficients(t);
        (0..4)
            .map(|i| (f64::from(n[i]) - A * (a * x[i] + b * f64::from(n[i]))).powi(2))
            .sum::<f64>()
            / 4.0
    };
    let fluctuation = |t| error(side.map(f64::from), t) - error(cropped, t);
    let expected = -f64::midpoint(fluctuation(100), fluctuation(200));
    assert_close(score(&x), expected, F32 * 10.0, "pfami");
    assert_close(1.0 + score(&x.full_like(0.3)), 1.0, F32, "flat");
}

/// One variation by hand, and none that differs from the image if eps is the noise that was added.
#[test]
fn rediffuse_of_a_linear_model() {
    let g = |s: usize, t: usize| {
        let ((a, b), (a_t, b_t)) = (coefficients(s), coefficients(t));
        a_t * (1.0 - b * A) / a + b_t * A
    };
    let n = [1.0, -2.0];
    let (a, b) = coefficients(200);
    let expected = -X
        .iter()
        .zip(n)
        .map(|(x, n)| (x - g(100, 0) * g(200, 100) * (a * x + b * n)).abs())
        .sum::<f64>()
        / 2.0;
    let noise = Tensor::from_slice(&n.map(|v| v as f32)).view([1, 1, 1, 2]);
    let attack = ReDiffuse {
        draws: 1,
        ..ReDiffuse::default()
    };
    assert_close(
        scored_with(&image(), &[noise], &attack),
        expected,
        F32,
        "rediffuse",
    );
}

/// If the prediction depends on neither x nor t, the trajectory is a straight line and nothing is left over.
#[test]
fn constant_noise_leaves_no_error() {
    assert_eq!(
        scored(0.0, 0.7, |b| SecMi::default().score(b).unwrap()),
        [0.0]
    );
    assert_eq!(
        scored(0.0, 0.7, |b| Pia::default().score(b).unwrap()),
        [0.0]
    );
    // PIAN leaves the difference to real noise's scale: 0.7 against sqrt(2 / pi).
    let expected = -2.0 * (0.7 - (2.0 / std::f64::consts::PI).sqrt()).powi(4);
    assert_close(
        scored(0.0, 0.7, |b| Pian::default().score(b).unwrap())[0],
        expected,
        F32,
        "pian",
    );
}

#[test]
fn parameters_that_make_no_sense_say_what_to_choose() {
    let message =
        |attack: &dyn Attack| scored(A, 0.0, |b| attack.score(b).unwrap_err().to_string());
    assert!(message(&SecMi { t_sec: 95, k: 10 }).contains("multiple"));
    assert!(message(&SecMi { t_sec: 100, k: 0 }).contains("at least 1"));
    assert!(message(&Pia { t: 200, p: 0 }).contains("at least 1"));
    assert!(message(&Loss { t: 200, draws: 0 }).contains("at least 1"));
    let crops = vec![1.5];
    assert!(
        message(&Pfami {
            crops,
            ..Pfami::default()
        })
        .contains("between 0 and 1")
    );
    assert!(
        message(&ReDiffuse {
            stride: 150,
            ..ReDiffuse::default()
        })
        .contains("multiple")
    );
    assert_eq!(
        message(&SimA { t: 1000, p: 4 }),
        "timestep 1000 is outside the model's schedule: choose 0 to 999"
    );
    assert!(message(&Pian { t: -1, p: 4 }).contains("choose 0 to 999"));
}

#[test]
fn a_batch_checks_what_it_is_given() {
    let (denoiser, schedule) = (
        Linear {
            slope: A,
            offset: 0.0,
        },
        NoiseSchedule::default(),
    );
    let none: [String; 0] = [];
    let result = Batch::new(&denoiser, &schedule, &image(), &none, 0);
    assert!(matches!(result, Err(AttackError::Samples(m)) if m.contains("1 samples but 0 ids")));
    let flat = image().view([1, 2]);
    assert!(Batch::new(&denoiser, &schedule, &flat, &["a".to_owned()], 0).is_err());
}
