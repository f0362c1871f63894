//! Properties on random scores, heavily tied ones among them.

mod common;

use dualmd_stats::{Roc, auc_interval, delong_paired, summarise};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Random sides of 1 to 60 scores, on a grid of 3 to 1,000 values.
fn cases() -> impl Iterator<Item = (Vec<f64>, Vec<f64>)> {
    (0..400).map(|seed| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let grid = [3.0, 10.0, 1000.0][rng.random_range(0..3)];
        let shift = rng.random_range(-0.5..1.0);
        let mut side = |shift: f64| -> Vec<f64> {
            let n = rng.random_range(1..60);
            (0..n)
                .map(|_| ((rng.random::<f64>() + shift) * grid).round())
                .collect()
        };
        (side(shift), side(0.0))
    })
}

#[test]
fn auc_is_mann_whitney() {
    for (m, n) in cases() {
        let mut wins = 0.0;
        for x in &m {
            for y in &n {
                wins += if x > y {
                    1.0
                } else if x == y {
                    0.5
                } else {
                    0.0
                };
            }
        }
        let expected = wins / (m.len() * n.len()) as f64;
        assert_eq!(Roc::new(&m, &n).unwrap().auc(), expected);
        assert!((auc_interval(&m, &n, 0.95).unwrap().auc - expected).abs() < 1e-14);
    }
}

#[test]
fn roc_is_monotone_and_ends_at_one_one() {
    for (m, n) in cases() {
        let roc = Roc::new(&m, &n).unwrap();
        for pair in roc.points().windows(2) {
            assert!(pair[0].threshold > pair[1].threshold);
            assert!(pair[0].tp <= pair[1].tp && pair[0].fp <= pair[1].fp);
            assert!(pair[0].tp + pair[0].fp < pair[1].tp + pair[1].fp);
        }
        let last = roc.points().last().unwrap();
        assert_eq!((last.tpr, last.fpr), (1.0, 1.0));
        // The trapezoids under the points are the AUC.
        let (mut area, mut from) = (0.0, (0.0, 0.0));
        for p in roc.points() {
            area += (p.fpr - from.0) * (p.tpr + from.1) / 2.0;
            from = (p.fpr, p.tpr);
        }
        assert!((area - roc.auc()).abs() < 1e-12);
    }
}

#[test]
fn operating_points_are_the_best_admissible_thresholds() {
    for (m, n) in cases() {
        let roc = Roc::new(&m, &n).unwrap();
        for target in [0.0, 0.01, 0.1, 0.33, 1.0] {
            let point = roc.operating_point(target).unwrap();
            // By brute force over every threshold, the empty one included.
            let count = |side: &[f64], t: f64| side.iter().filter(|&&s| s >= t).count();
            let best = m
                .iter()
                .chain(&n)
                .filter(|&&t| count(&n, t) as f64 / n.len() as f64 <= target)
                .map(|&t| count(&m, t))
                .max();
            assert_eq!(point.tp, best.unwrap_or(0));
            assert_eq!(count(&m, point.threshold), point.tp);
            assert_eq!(count(&n, point.threshold), point.fp);
            assert!(point.realised_fpr <= target && point.threshold.is_finite());
            assert!(point.tpr_ci[0] <= point.tpr && point.tpr <= point.tpr_ci[1]);
            assert!(point.fpr_ci[0] <= point.realised_fpr);
            assert!(point.realised_fpr <= point.fpr_ci[1]);
        }
    }
}

#[test]
fn monotone_transforms_change_nothing_but_thresholds() {
    for (m, n) in cases() {
        let stretch = |side: &[f64]| side.iter().map(|s| s.exp2().cbrt()).collect::<Vec<_>>();
        // On the grid of 1,000 the powers would overflow into ties.
        if m.iter().chain(&n).any(|s| s.abs() > 50.0) {
            continue;
        }
        let mut a = summarise(&m, &n, &[0.1], 1).unwrap();
        let mut b = summarise(&stretch(&m), &stretch(&n), &[0.1], 1).unwrap();
        a.tpr_at_fpr[0].threshold = 0.0;
        b.tpr_at_fpr[0].threshold = 0.0;
        assert_eq!(a, b);
    }
}

#[test]
fn turning_scores_round_mirrors_everything() {
    for (m, n) in cases() {
        let negate = |side: &[f64]| side.iter().map(|s| -s).collect::<Vec<_>>();
        let a = auc_interval(&m, &n, 0.95).unwrap();
        let b = auc_interval(&negate(&m), &negate(&n), 0.95).unwrap();
        assert!((a.auc + b.auc - 1.0).abs() < 1e-12);
        assert!((a.low + b.high - 1.0).abs() < 1e-9 && (a.high + b.low - 1.0).abs() < 1e-9);
    }
}

#[test]
fn intervals_hold_their_estimate_and_stay_in_range() {
    for (m, n) in cases() {
        for confidence in [0.5, 0.95, 0.9999] {
            let i = auc_interval(&m, &n, confidence).unwrap();
            assert!(
                0.0 <= i.low && i.low <= i.auc && i.auc <= i.high && i.high <= 1.0,
                "{i:?}"
            );
            assert!(i.high - i.low > 0.0, "{i:?}");
        }
        let reversed: Vec<f64> = m.iter().rev().copied().collect();
        let d = delong_paired(&m, &n, &reversed, &n, 0.95).unwrap();
        // The same scores on other samples: no difference, but not the same test as with themselves.
        assert!(d.difference.abs() < 1e-12 && (0.0..=1.0).contains(&d.p_value));
        assert!(d.low <= 0.0 && d.high >= 0.0 && d.correlation.abs() <= 1.0);
    }
}

/// 25,000 a side, the size of the paper's CIFAR-10 splits: counts, not timings, but it must not take minutes.
#[test]
fn large_audits() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (m, n) = common::binormal(25_000, 25_000, common::SHIFTS[1].1, &mut rng);
    let summary = summarise(&m, &n, &[0.01, 0.001], 0).unwrap();
    // 5 standard errors of 0.0025: false alarm once in 1.7 million seeds.
    assert!(
        (summary.auc - common::SHIFTS[1].0).abs() < 0.0125,
        "{summary:?}"
    );
    assert_eq!(summary.tpr_at_fpr[1].fp, 25);
    assert_eq!(Roc::new(&m, &n).unwrap().band(0.95).len(), 50_000);
}
