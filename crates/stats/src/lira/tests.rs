use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};

use super::*;
use crate::Roc;

fn close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-12, "{a} is not {b}");
}

/// Five models, one sample (the last with another spread): in 1, 3 and out 0, 4 for the target, model 0, at 2.
fn table() -> (Vec<Vec<f64>>, Vec<Vec<bool>>) {
    let first = [2.0, 1.0, 3.0, 0.0, 4.0];
    let second = [0.0, 5.0, 5.0, 1.0, 2.0];
    let phi = first.iter().zip(second).map(|(&a, b)| vec![a, b]).collect();
    let inside = [true, true, true, false, false].map(|x| vec![x; 2]);
    (phi, inside.to_vec())
}

#[test]
fn per_sample_by_hand() {
    let (phi, inside) = table();
    let lira = lira_scores(&phi, &inside, LiraVariance::PerSample).unwrap();
    // In: mean 2, variance 2; out: mean 2, variance 8. At 2 only the widths count: ln sqrt(8/2).
    close(lira.scores[0][0].unwrap(), 2.0_f64.ln());
    // In: both 5; out: 1 and 2, variance 1/2. phi = 0 is infinitely far from 5, and it shows.
    assert!(lira.scores[0][1].unwrap() < -1e50);
    // A target outside leaves one model on its own side: not enough.
    assert_eq!(lira.scores[3], [None, None]);
    assert_eq!((lira.needed, lira.missing), (2, 4));
}

#[test]
fn global_by_hand() {
    let (phi, inside) = table();
    let lira = lira_scores(&phi, &inside, LiraVariance::Global).unwrap();
    // Target 0: in (2 + 0) / 2 = 1, out (8 + 1/2) / 2 = 4.25.
    let out = |x: f64, mean: f64| -(x - mean).powi(2) / 8.5 - 4.25_f64.sqrt().ln();
    close(lira.scores[0][0].unwrap(), -out(2.0, 2.0));
    close(lira.scores[0][1].unwrap(), -12.5 - out(0.0, 1.5));
    // Target 3: one model on the "out" side of each sample gives means, but no variance.
    assert_eq!(lira.scores[3], [None, None]);
    let offline = lira_offline_scores(&phi, &inside, LiraVariance::Auto).unwrap();
    assert_eq!(offline.variance, LiraVariance::Global);
    close(offline.scores[0][1].unwrap(), -1.5 / 4.25_f64.sqrt());
}

#[test]
fn one_model_on_a_side_is_enough_for_the_global_variance() {
    // The second sample has out models 2 and 3 besides target 0, the first only model 3.
    let phi = vec![
        vec![5.0, 5.0],
        vec![4.0, 6.0],
        vec![6.0, 1.0],
        vec![1.0, 3.0],
    ];
    let inside = vec![
        vec![true, true],
        vec![true, true],
        vec![true, false],
        vec![false, false],
    ];
    let offline = lira_offline_scores(&phi, &inside, LiraVariance::Global).unwrap();
    close(offline.scores[0][0].unwrap(), (5.0 - 1.0) / 2.0_f64.sqrt());
    let alone = lira_offline_scores(&phi, &inside, LiraVariance::PerSample).unwrap();
    assert_eq!(alone.scores[0][0], None);
    assert!(alone.scores[0][1].is_some());
}

/// 16 models on halves of 400 samples that differ in hardness by three times the training noise; training on a sample
/// changes its statistic for three in ten only. At 1 % FPR the global threshold finds next to nothing, LiRA several
/// times as much, and online LiRA more than offline, because it knows which samples never change.
#[test]
fn lira_sees_past_hardness() {
    let (models, samples) = (16, 400);
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let normal = |rng: &mut ChaCha8Rng| -> f64 { StandardNormal.sample(rng) };
    let hardness: Vec<f64> = (0..samples).map(|_| 3.0 * normal(&mut rng)).collect();
    let gain: Vec<f64> = (0..samples)
        .map(|_| if rng.random_bool(0.3) { 3.0 } else { 0.0 })
        .collect();
    let inside: Vec<Vec<bool>> = (0..models)
        .map(|_| (0..samples).map(|_| rng.random()).collect())
        .collect();
    let mut of = |model: usize, i: usize| {
        let gained = if inside[model][i] { gain[i] } else { 0.0 };
        hardness[i] + normal(&mut rng) + gained
    };
    let phi: Vec<Vec<f64>> = (0..models)
        .map(|model| (0..samples).map(|i| of(model, i)).collect())
        .collect();
    let online = lira_scores(&phi, &inside, LiraVariance::Auto).unwrap();
    let offline = lira_offline_scores(&phi, &inside, LiraVariance::Auto).unwrap();
    let raw = LiraScores {
        scores: phi
            .iter()
            .map(|row| row.iter().map(|&x| Some(x)).collect())
            .collect(),
        ..online.clone()
    };
    assert_eq!((online.missing, offline.missing), (0, 0));
    // Mean over the targets of the TPR at 1 % FPR.
    let tpr = |scores: &LiraScores| {
        let of = |model| {
            let (m, n) = scores.of_model(model, &inside).unwrap();
            Roc::new(&m, &n).unwrap().operating_point(0.01).unwrap().tpr
        };
        (0..models).map(of).sum::<f64>() / models as f64
    };
    let (raw, offline, online) = (tpr(&raw), tpr(&offline), tpr(&online));
    assert!(raw < 0.05, "{raw}");
    assert!(offline > 3.0 * raw, "{raw} {offline}");
    assert!(online > offline, "{offline} {online}");
}

#[test]
fn auto_changes_at_32_models() {
    let at = |models: usize| {
        let phi: Vec<Vec<f64>> = (0..models).map(|m| vec![(m * m % 7) as f64]).collect();
        let inside: Vec<Vec<bool>> = (0..models).map(|m| vec![m % 2 == 0]).collect();
        lira_scores(&phi, &inside, LiraVariance::Auto)
            .unwrap()
            .variance
    };
    assert_eq!(
        (at(31), at(32)),
        (LiraVariance::Global, LiraVariance::PerSample)
    );
}

#[test]
fn nonsense_is_refused() {
    let (phi, inside) = table();
    let error = lira_scores(&phi[..2], &inside[..2], LiraVariance::Auto).unwrap_err();
    assert!(
        error.to_string().contains("at least 1 with and 1 without"),
        "{error}"
    );
    let error = lira_scores(&[], &[], LiraVariance::PerSample).unwrap_err();
    assert!(error.to_string().contains("at least 2 with"), "{error}");
    assert!(lira_scores(&phi, &inside[..4], LiraVariance::Auto).is_err());
    let mut ragged = inside.clone();
    ragged[2].pop();
    let error = lira_scores(&phi, &ragged, LiraVariance::Auto).unwrap_err();
    assert!(matches!(
        error,
        StatsError::Lengths {
            got: 1,
            expected: 2,
            ..
        }
    ));
    let mut broken = phi.clone();
    broken[3][1] = f64::NAN;
    let error = lira_scores(&broken, &inside, LiraVariance::Auto).unwrap_err();
    assert!(error.to_string().contains("model 3 is not"), "{error}");
    let lira = lira_scores(&phi, &inside, LiraVariance::Global).unwrap();
    assert_eq!(lira.of_model(5, &inside), None);
    assert_eq!(
        lira.of_model(0, &inside).map(|(m, n)| (m.len(), n.len())),
        Some((2, 0))
    );
}
