//! Fidelity and diversity apart, by nearest neighbours in the space of the features.
//!
//! With B(x) the closed ball around x that reaches to its k-th nearest neighbour in its own set (itself not counted):
//!
//! ```text
//! precision = share of generated images in some B(real)       recall   = share of real images in some B(generated)
//! density   = mean over generated of #{real: in B(real)} / k   coverage = share of B(real) that hold a generated image
//! ```
//!
//! Precision and recall: Kynkaanniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models",
//! 2019 (k = 3). Density and coverage: Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models",
//! 2020 (k = 5); the public code leaves the rim of the ball out, we follow the papers and count it, which differs for
//! exact copies only.
//!
//! **What they miss.** One outlier among the real images has a huge ball and raises precision; density and coverage
//! bear that better. Copies of the training images score 1. All four depend on n: compare at equal n on both sides,
//! beside real against real. **Smallest useful n**: some hundred per side; the papers use 10,000 and more.
//!
//! Distances are computed in blocks in f64; only the radii and counts are kept. Two numbers that differ by less than
//! 1e-12 of the squared lengths involved count as equal, so that a copy is a copy whatever the order of summation.

pub use dualmd_record::utility::{DensityCoverage, PrecisionRecall};

use crate::error::{MetricsError, Result};
use crate::features::Features;
use crate::linalg::{self, BLOCK};

/// Slack of comparisons, as a part of the squared lengths of the two rows.
const SLACK: f64 = 1e-12;

/// Improved precision and recall with `k` neighbours (3 in the paper).
///
/// # Errors
/// [`MetricsError::OutOfRange`] for k = 0, [`MetricsError::TooFew`] for no more than k images on a side,
/// [`MetricsError::Mismatch`].
pub fn precision_recall(
    generated: &Features,
    real: &Features,
    k: usize,
) -> Result<PrecisionRecall> {
    check(generated, real, k)?;
    let inside = Inside::count(generated, real, &radii(real, k));
    let outside = Inside::count(real, generated, &radii(generated, k));
    Ok(PrecisionRecall {
        precision: inside.share_of_points(),
        recall: outside.share_of_points(),
        k,
        n: [generated.count(), real.count()],
    })
}

/// Density and coverage with `k` neighbours (5 in the paper).
///
/// # Errors
/// As [`precision_recall`].
pub fn density_coverage(
    generated: &Features,
    real: &Features,
    k: usize,
) -> Result<DensityCoverage> {
    check(generated, real, k)?;
    let inside = Inside::count(generated, real, &radii(real, k));
    let balls: usize = inside.balls_of_point.iter().sum();
    let filled = inside.filled.iter().filter(|&&f| f).count();
    Ok(DensityCoverage {
        density: balls as f64 / (k * generated.count()) as f64,
        coverage: filled as f64 / real.count() as f64,
        k,
        n: [generated.count(), real.count()],
    })
}

fn check(generated: &Features, real: &Features, k: usize) -> Result<()> {
    generated.check_comparable(real)?;
    if k == 0 {
        return Err(MetricsError::OutOfRange {
            name: "k",
            value: 0,
            expected: "at least 1",
        });
    }
    for (what, side) in [("generated images", generated), ("real images", real)] {
        if side.count() <= k {
            return Err(MetricsError::TooFew {
                what,
                got: side.count(),
                needed: k + 1,
                remedy: "each needs k neighbours of its own kind; ask for fewer neighbours",
            });
        }
    }
    Ok(())
}

/// Which points lie in which balls.
struct Inside {
    /// For each point the balls it lies in.
    balls_of_point: Vec<usize>,
    /// For each ball whether a point lies in it.
    filled: Vec<bool>,
}

impl Inside {
    fn count(points: &Features, centres: &Features, radii: &[f64]) -> Self {
        let mut found = Self {
            balls_of_point: vec![0; points.count()],
            filled: vec![false; centres.count()],
        };
        each_distance(points, centres, |point, centre, distance, slack| {
            if distance <= radii[centre] + slack {
                found.balls_of_point[point] += 1;
                found.filled[centre] = true;
            }
        });
        found
    }

    fn share_of_points(&self) -> f64 {
        let inside = self.balls_of_point.iter().filter(|&&b| b > 0).count();
        inside as f64 / self.balls_of_point.len() as f64
    }
}

/// Squared distance of each row to its k-th nearest other row.
fn radii(features: &Features, k: usize) -> Vec<f64> {
    // The k smallest so far, ascending.
    let mut nearest = vec![Vec::with_capacity(k + 1); features.count()];
    each_distance(features, features, |i, j, distance, _| {
        let list: &mut Vec<f64> = &mut nearest[i];
        if i == j || (list.len() == k && distance >= list[k - 1]) {
            return;
        }
        list.insert(list.partition_point(|&d| d <= distance), distance);
        list.truncate(k);
    });
    nearest.into_iter().map(|list| list[k - 1]).collect()
}

/// Calls `with(i, j, squared distance, slack)` for every row of `a` and every row of `b`.
pub(crate) fn each_distance(
    a: &Features,
    b: &Features,
    mut with: impl FnMut(usize, usize, f64, f64),
) {
    let (n, m, d) = (a.count(), b.count(), a.dim());
    // Without the common mean the squared lengths are of the size of the distances, and less is lost in their
    // difference.
    let shift = linalg::mean(b);
    let block = |f: &Features, from: usize, count: usize| {
        let rows = linalg::shifted(f, from, (from + BLOCK).min(count), &shift);
        let lengths = rows.chunks_exact(d).map(|r| r.iter().map(|x| x * x).sum());
        let lengths: Vec<f64> = lengths.collect();
        (rows, lengths)
    };
    for i in (0..n).step_by(BLOCK) {
        let (rows_a, lengths_a) = block(a, i, n);
        for j in (0..m).step_by(BLOCK) {
            let (rows_b, lengths_b) = block(b, j, m);
            let products = linalg::inner_products(&rows_a, &rows_b, d);
            for (q, length_b) in lengths_b.iter().enumerate() {
                for (p, length_a) in lengths_a.iter().enumerate() {
                    let lengths = length_a + length_b;
                    let distance = (lengths - 2.0 * products[(p, q)]).max(0.0);
                    with(i + p, j + q, distance, SLACK * lengths);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::gaussian;

    fn of(values: &[f32]) -> Features {
        Features::new("toy", 1, values.to_vec()).unwrap()
    }

    /// Real 0, 1, 3, 10 with k = 1: balls [-1, 1], [0, 2], [1, 5], [3, 17].
    #[test]
    fn by_hand() {
        let real = of(&[0.0, 1.0, 3.0, 10.0]);
        assert_eq!(radii(&real, 1), [1.0, 1.0, 4.0, 49.0]);
        assert_eq!(radii(&real, 2), [9.0, 4.0, 9.0, 81.0]);
        // 2.0 lies on the rim of the second ball and inside the third; 20 nowhere.
        let generated = of(&[2.0, 20.0]);
        let pr = precision_recall(&generated, &real, 1).unwrap();
        // Balls of the generated: [-16, 20] and [2, 38] hold all real images.
        assert_eq!((pr.precision, pr.recall, pr.n), (0.5, 1.0, [2, 4]));
        let dc = density_coverage(&generated, &real, 1).unwrap();
        assert_eq!((dc.density, dc.coverage), (1.0, 0.5));
    }

    #[test]
    fn copies_are_found_whatever_their_order() {
        let real = gaussian(BLOCK + 40, 3, 4.0, 1.0, 1);
        let turned: Vec<usize> = (0..real.count()).rev().collect();
        let copies = real.select(&turned).unwrap();
        let pr = precision_recall(&copies, &real, 3).unwrap();
        assert_eq!((pr.precision, pr.recall), (1.0, 1.0));
        let dc = density_coverage(&copies, &real, 5).unwrap();
        // Each ball holds its k neighbours and its centre.
        assert_eq!((dc.density, dc.coverage), (6.0 / 5.0, 1.0));
        // One picture over and over: every radius is 0.
        let same = Features::new("toy", 3, vec![0.1; 30]).unwrap();
        let pr = precision_recall(&same, &same, 3).unwrap();
        assert_eq!((pr.precision, pr.recall), (1.0, 1.0));
        let stuck = precision_recall(&same, &real, 3).unwrap();
        assert_eq!(stuck.recall, 0.0);
    }

    #[test]
    fn equal_distributions_and_strangers() {
        let real = gaussian(300, 4, 0.0, 1.0, 1);
        let twin = gaussian(300, 4, 0.0, 1.0, 2);
        let pr = precision_recall(&twin, &real, 3).unwrap();
        assert!(pr.precision > 0.6 && pr.recall > 0.6, "{pr:?}");
        // E[density] = 1 and E[coverage] = 1 - 2^-k for large equal n (Naeem et al., section 3.3).
        let dc = density_coverage(&twin, &real, 5).unwrap();
        assert!((0.85..1.15).contains(&dc.density), "{dc:?}");
        assert!((dc.coverage - (1.0 - 1.0 / 32.0)).abs() < 0.04, "{dc:?}");
        let far = gaussian(300, 4, 50.0, 1.0, 3);
        let pr = precision_recall(&far, &real, 3).unwrap();
        assert_eq!((pr.precision, pr.recall), (0.0, 0.0));
        assert_eq!(density_coverage(&far, &real, 5).unwrap().coverage, 0.0);
    }

    #[test]
    fn nonsense_is_refused() {
        let (a, b) = (of(&[0.0, 1.0, 2.0]), of(&[0.0, 1.0, 2.0, 3.0]));
        assert!(precision_recall(&a, &b, 0).is_err());
        let error = density_coverage(&a, &b, 3).unwrap_err().to_string();
        assert!(
            error.contains("3 generated images") && error.contains("4"),
            "{error}"
        );
        assert!(precision_recall(&gaussian(9, 2, 0.0, 1.0, 1), &b, 1).is_err());
    }
}
