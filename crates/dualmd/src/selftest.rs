//! The self-test: a planted leak is found, a null is not.
//!
//! The two closed-form oracles stand in for models: one that has memorised its images, and a Gaussian that has
//! memorised nothing. If the auditor fails here, no report of this build on this machine should be believed.

use anyhow::Result;
use dualmd_attack::{Others, RunOptions, Samples, default_set, run};
use dualmd_data::stream;
use dualmd_diffusion::{Denoiser, GaussianDenoiser, MemorisedDenoiser, NoiseSchedule};
use dualmd_names::BaseAttack;
use dualmd_stats::AucInterval;
use dualmd_torch::{Device, Kind, Tensor, noise};
use serde::Serialize;

const MEMBERS: i64 = 64;
const NONMEMBERS: i64 = 256;
const SIDE: i64 = 8;
/// Five attacks at 99.9 % each: the self-test of a sound build fails by chance at most once in 200 seeds.
const CONFIDENCE: f64 = 0.999;

/// What one attack found on one of the oracles.
#[derive(Debug, Clone)]
pub struct Checked {
    /// `planted leak` or `null`.
    pub model: &'static str,
    /// The attack's name.
    pub attack: String,
    /// Its AUC with the 99.9 % interval, or why it gave no scores.
    pub auc: std::result::Result<AucInterval, String>,
    /// Is that what it must find?
    pub right: bool,
}

/// The same for programs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Told {
    /// As in [`Checked`].
    pub model: &'static str,
    /// The attack's name.
    pub attack: String,
    /// Its AUC; none where it gave no scores.
    pub auc: Option<f64>,
    /// The 99.9 % interval.
    pub auc_ci: Option<[f64; 2]>,
    /// Why it gave no scores.
    pub reason: Option<String>,
    /// Is that what it must find?
    pub right: bool,
}

impl Checked {
    /// For programs.
    #[must_use]
    pub fn told(&self) -> Told {
        let auc = self.auc.as_ref().ok();
        Told {
            model: self.model,
            attack: self.attack.clone(),
            auc: auc.map(|auc| auc.auc),
            auc_ci: auc.map(|auc| [auc.low, auc.high]),
            reason: self.auc.as_ref().err().cloned(),
            right: self.right,
        }
    }
}

/// Runs the default attacks on both oracles.
///
/// # Errors
/// What the engine refuses.
pub fn selftest(seed: u64) -> Result<Vec<Checked>> {
    let d = SIDE * SIDE;
    // Smooth random images: a fixed covariance that decays with the distance of two pixels.
    let place = |i: i64| ((i / SIDE) as f64, (i % SIDE) as f64);
    let covariance: Vec<f64> = (0..d * d)
        .map(|k| {
            let ((ay, ax), (by, bx)) = (place(k / d), place(k % d));
            0.2 * (-((ay - by).powi(2) + (ax - bx).powi(2)) / 8.0).exp()
                + if k / d == k % d { 0.01 } else { 0.0 }
        })
        .collect();
    let covariance = Tensor::from_slice(&covariance).view([d, d]);
    let root = covariance.linalg_cholesky(false);
    let n = MEMBERS + NONMEMBERS;
    let z = noise::normal(
        &mut stream(seed, "selftest/images", 0),
        &[n, d],
        Device::Cpu,
    )
    .to_kind(Kind::Double);
    let x = z
        .matmul(&root.tr())
        .to_kind(Kind::Float)
        .view([n, 1, SIDE, SIDE]);
    let schedule = NoiseSchedule::default();
    let memorised = MemorisedDenoiser::new(&x.narrow(0, 0, MEMBERS), schedule.clone())?;
    let gaussian = GaussianDenoiser::new(
        &Tensor::zeros([d], (Kind::Double, Device::Cpu)),
        &covariance,
        schedule.clone(),
    )?;
    let ids: Vec<String> = (0..n).map(|i| format!("{i}")).collect();
    let samples = Samples::new(x, ids)?;
    let mut all = Vec::new();
    let oracles: [(&'static str, &dyn Denoiser, bool); 2] = [
        ("planted leak", &memorised, true),
        ("null", &gaussian, false),
    ];
    for (name, denoiser, leaks) in oracles {
        let options = RunOptions {
            batch: 64,
            seed,
            // The oracles are on the CPU.
            device: Device::Cpu,
            others: Others::default(),
            known: None,
            shadow: None,
            parts: None,
            progress: &mut |_, _| {},
            stop: &|| false,
        };
        for result in run(denoiser, &schedule, &samples, &default_set(), options)?.results {
            let attack = result.info.name;
            let scores = match result.scores {
                Ok(scores) => scores,
                Err(reason) => {
                    all.push(Checked {
                        model: name,
                        attack,
                        auc: Err(reason),
                        right: false,
                    });
                    continue;
                }
            };
            let (inside, outside) = scores.split_at(MEMBERS as usize);
            let i = dualmd_stats::auc_interval(inside, outside, CONFIDENCE)?;
            let right = if leaks {
                // PFAMI measures a difference, in which a fresh image can win by luck (see docs/attacks/pfami.md).
                i.auc
                    > if BaseAttack::named(&attack) == Some(BaseAttack::Pfami) {
                        0.9
                    } else {
                        0.99
                    }
            } else {
                i.low <= 0.5 && i.high >= 0.5
            };
            all.push(Checked {
                model: name,
                attack,
                auc: Ok(i),
                right,
            });
        }
    }
    Ok(all)
}
