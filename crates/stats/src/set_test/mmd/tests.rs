use rand_distr::{Distribution as _, StandardNormal};

use super::*;

fn rows(n: usize, scale: f64, rng: &mut ChaCha8Rng) -> Vec<Vec<f64>> {
    let mut normal = || -> f64 { StandardNormal.sample(rng) };
    (0..n)
        .map(|_| vec![scale * normal(), 100.0 * normal(), 7.0])
        .collect()
}

/// The formula of the documentation, pair by pair.
fn by_definition(rows: &[Vec<f64>], m: usize, bandwidth: f64) -> f64 {
    let k = |i: usize, j: usize| {
        let d: f64 = rows[i]
            .iter()
            .zip(&rows[j])
            .map(|(x, y)| (x - y).powi(2))
            .sum();
        (-d / (2.0 * bandwidth * bandwidth)).exp()
    };
    let n = rows.len();
    let mean_over = |from: std::ops::Range<usize>, to: std::ops::Range<usize>| {
        let (mut sum, mut pairs) = (0.0, 0.0);
        for i in from {
            for j in to.clone().filter(|&j| j != i) {
                sum += k(i, j);
                pairs += 1.0;
            }
        }
        sum / pairs
    };
    mean_over(0..m, 0..m) + mean_over(m..n, m..n) - 2.0 * mean_over(0..m, m..n)
}

#[test]
fn the_sums_are_the_definition() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for (m, n) in [(5, 9), (9, 5), (2, 2)] {
        let (a, b) = (rows(m, 1.0, &mut rng), rows(n, 2.0, &mut rng));
        let test = mmd_permutation(&a, &b, 1, 0).unwrap();
        let mut pooled: Vec<_> = a.into_iter().chain(b).collect();
        standardise(&mut pooled);
        let expected = by_definition(&pooled, m, test.bandwidth);
        assert!((test.mmd2 - expected).abs() < 1e-12, "{test:?} {expected}");
    }
}

#[test]
fn by_hand_in_one_column() {
    // 0 and 0 against 2 and 2: standard deviation sqrt(4/3), distance between the sides sqrt(3), within them 0.
    let column = |x: f64| vec![vec![x]; 2];
    let test = mmd_permutation(&column(0.0), &column(2.0), 600, 0).unwrap();
    assert!((test.bandwidth - 3.0_f64.sqrt()).abs() < 1e-12);
    assert!((test.mmd2 - (2.0 - 2.0 * (-0.5_f64).exp())).abs() < 1e-12);
    // 2 of the 6 labellings are as extreme (4 standard errors).
    assert!((test.p_value - 1.0 / 3.0).abs() < 0.08, "{test:?}");
    let same = mmd_permutation(&column(5.0), &column(5.0), 20, 0).unwrap();
    assert_eq!((same.mmd2, same.p_value), (0.0, 1.0));
}

/// Level 0.05 in 200 tests of nothing: at most 19 rejections in all but 1 of 300 seeds. Four times the
/// spread in one column, same mean, is found nearly always.
#[test]
fn level_and_power() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut rejected = |scale: f64, tests: u64| {
        let found = (0..tests).filter(|&seed| {
            let (a, b) = (rows(30, scale, &mut rng), rows(40, 1.0, &mut rng));
            mmd_permutation(&a, &b, 99, seed).unwrap().p_value <= 0.05
        });
        found.count()
    };
    let level = rejected(1.0, 200);
    assert!(level <= 19, "{level}");
    let power = rejected(4.0, 20);
    assert!(power >= 17, "{power}");
}

#[test]
fn large_sides_are_subsampled_and_say_so() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let (a, b) = (rows(MMD_ROWS + 100, 1.0, &mut rng), rows(20, 1.0, &mut rng));
    let test = mmd_permutation(&a, &b, 20, 5).unwrap();
    assert_eq!((test.rows, test.compared), ([1600, 20], [MMD_ROWS, 20]));
    assert_eq!(test, mmd_permutation(&a, &b, 20, 5).unwrap());
    assert_ne!(test.mmd2, mmd_permutation(&a, &b, 20, 6).unwrap().mmd2);
}

#[test]
fn nonsense_is_refused() {
    let ok = vec![vec![1.0, 2.0]; 2];
    let short = vec![vec![1.0, 2.0], vec![1.0]];
    let infinite = vec![vec![1.0, 2.0], vec![1.0, f64::INFINITY]];
    assert!(mmd_permutation(&ok, &ok, 0, 0).is_err());
    assert!(mmd_permutation(&ok, &short, 9, 0).is_err());
    let error = mmd_permutation(&ok, &ok[..1], 9, 0).unwrap_err();
    assert!(
        error.to_string().contains("1 rows in the second list"),
        "{error}"
    );
    let error = mmd_permutation(&ok, &infinite, 9, 0).unwrap_err();
    assert!(error.to_string().contains("row 3 is not"), "{error}");
}
