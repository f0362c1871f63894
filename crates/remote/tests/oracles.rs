//! Closed-form models of every kind of prediction, asked over the socket: what has memorised its images is caught by every attack, and
//! a Gaussian gives nothing away. The served networks know nothing of this crate's conversions: each is the mean of x_0 given what it
//! sees, at its own level.

#[path = "../../attack/tests/common/mod.rs"]
mod common;

use common::{aucs, covariance, gaussian_images, images, null_error, samples};
use dualmd_diffusion::{Denoiser as _, MemorisedDenoiser, NoiseSchedule};
use dualmd_remote::serve::{Served, serve};
use dualmd_remote::{Place, Prediction, RemoteDenoiser};
use dualmd_torch::{Kind, Tensor};
use std::os::unix::net::UnixListener;
use std::time::Duration;

/// Two-sided 99.9 % of a normal distribution: each of the 35 comparisons with chance fails by luck with probability 0.1 %, all
/// together with at most 3.5 %. The seeds are fixed, so a green test stays green.
const Z999: f64 = 3.29;
const MEMBERS: usize = 24;

/// The mean of x_0 given y = x_0 + sigma eps: y [B, D] f64, sigma [B, 1] f64.
type Mean = Box<dyn Fn(&Tensor, &Tensor) -> Tensor + Send>;

fn of_set(set: &Tensor) -> Mean {
    let set = set.to_kind(Kind::Double).flatten(1, -1);
    Box::new(move |y, sigma| {
        let apart = (y.unsqueeze(1) - set.unsqueeze(0)).square();
        let squares = apart.sum_dim_intlist([2i64].as_slice(), false, Kind::Double);
        (squares / (sigma * sigma * -2.0))
            .softmax(1, Kind::Double)
            .matmul(&set)
    })
}

fn of_gaussian(covariance: &Tensor) -> Mean {
    let (values, vectors) = covariance.to_kind(Kind::Double).linalg_eigh("L");
    let values = values.clamp_min(0.0).unsqueeze(0);
    Box::new(move |y, sigma| {
        let shrunk = &values / (&values + sigma * sigma);
        (y.matmul(&vectors) * shrunk).matmul(&vectors.tr())
    })
}

/// What an exact network answers to x [B, ...] f32 at its level.
fn answer(prediction: Prediction, mean: &Mean, x: &Tensor, level: &Tensor) -> Tensor {
    let flat = x.to_kind(Kind::Double).flatten(1, -1);
    let column = |t: Tensor| t.to_kind(Kind::Double).view([-1, 1]);
    let out = match prediction {
        Prediction::Edm => mean(&flat, &column(level.shallow_clone())),
        Prediction::Flow => {
            // x_s = (1 - s) (x_0 + s / (1 - s) eps), dx_s / ds = eps - x_0 = (x_s - x_0) / s.
            let s = column(level.shallow_clone());
            let clean = -&s + 1.0;
            let x0 = mean(&(&flat / &clean), &(&s / &clean));
            (flat - x0) / s
        }
        _ => {
            let (a, b) = NoiseSchedule::default().coefficients(level);
            let (a, b) = (column(a), column(b));
            let x0 = mean(&(&flat / &a), &(&b / &a));
            let eps = (&flat - &x0 * &a) / &b;
            match prediction {
                Prediction::Eps => eps,
                Prediction::V => eps * a - x0 * b,
                _ => x0,
            }
        }
    };
    out.view_as(x).to_kind(Kind::Float)
}

/// `work` with the denoiser that a thread serves.
fn remotely<T>(prediction: Prediction, mean: Mean, work: impl FnOnce(&RemoteDenoiser) -> T) -> T {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || {
        let model = Served {
            name: "an oracle".into(),
            fingerprint: None,
            shape: [1, 8, 8],
            prediction,
            schedule: None,
            predict: Box::new(move |x, level| Ok(answer(prediction, &mean, x, level))),
            generate: None,
            weights: None,
        };
        serve(listener.accept().unwrap().0, &model).unwrap();
    });
    let remote = RemoteDenoiser::open(&Place::Socket(path), Duration::from_secs(60)).unwrap();
    let out = work(&remote);
    drop(remote);
    server.join().unwrap();
    out
}

/// As in the tests of the attacks: PFAMI measures a difference, in which a fresh image may beat a member.
#[test]
fn a_memorised_set_is_caught_by_every_attack_whatever_the_network_predicts() {
    let (members, fresh) = (
        images(0, "members", MEMBERS as i64, 1.0),
        images(0, "fresh", 100, 1.0),
    );
    let both = samples(&members, &fresh);
    for prediction in Prediction::ALL {
        let found = remotely(prediction, of_set(&members), |remote| {
            aucs(remote, &both, MEMBERS)
        });
        assert!(found.len() >= 7, "{found:?}");
        for (name, auc) in found {
            match name.as_str() {
                "pfami" => assert!(auc > 0.85, "{name}, {}: {auc}", prediction.name()),
                _ => assert_eq!(auc, 1.0, "{name}, {}", prediction.name()),
            }
        }
    }
}

#[test]
fn a_gaussian_gives_nothing_away_whatever_the_network_predicts() {
    let n = 200;
    let both = samples(
        &gaussian_images(5, "called members", n),
        &gaussian_images(5, "fresh", n),
    );
    let n = n as usize;
    for prediction in Prediction::ALL {
        for (name, auc) in remotely(prediction, of_gaussian(&covariance()), |remote| {
            aucs(remote, &both, n)
        }) {
            let apart = (auc - 0.5).abs();
            assert!(
                apart < Z999 * null_error(n, n),
                "{name}, {}: {auc}",
                prediction.name()
            );
        }
    }
}

/// The noise that every kind means is that of the program's own oracle. EDM's is blown up by 1 / sigma, a hundredfold at t = 0: an answer
/// in f32 has no more digits.
#[test]
fn all_kinds_give_the_noise_of_the_native_oracle() {
    let set = images(1, "members", MEMBERS as i64, 1.0);
    let native = MemorisedDenoiser::new(&set, NoiseSchedule::default()).unwrap();
    let t = Tensor::from_slice(&[0i64, 1, 20, 100, 258, 500, 900, 999]);
    let noise = gaussian_images(9, "noise", 8).randn_like();
    let x = NoiseSchedule::default().add_noise(&images(2, "fresh", 8, 1.0), &noise, &t);
    let here = native.predict_noise(&x, &t, None).unwrap();
    for prediction in Prediction::ALL {
        let there = remotely(prediction, of_set(&set), |remote| {
            remote.predict_noise(&x, &t, None).unwrap()
        });
        let apart = ((&there - &here).abs() / (here.abs() + 1.0))
            .max()
            .double_value(&[]);
        let limit = match prediction {
            Prediction::X0 | Prediction::Edm => 3e-5,
            _ => 3e-6,
        };
        assert!(apart < limit, "{}: {apart:e}", prediction.name());
    }
}
