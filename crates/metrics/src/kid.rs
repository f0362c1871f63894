//! Kernel Inception distance (Binkowski et al., "Demystifying MMD GANs", 2018), for features of any extractor.
//!
//! ```text
//! k(x, y) = (x.y / D + 1)^3
//! MMD^2   = mean over i != j of k(x_i, x_j) + mean over i != j of k(y_i, y_j) - 2 mean of k(x_i, y_j)
//! ```
//!
//! The estimate is unbiased at every n, and so can fall below 0: for small sets it is the number to look at first. The
//! field reports mean and standard deviation over random subsets (100 of 1,000); that standard deviation belongs to a
//! subset, not to the mean. [`Kid::full`] uses every pair once and has a standard error of its own.
//!
//! **What it misses.** A cubic kernel sees three moments; copies of the training images score best. **Smallest useful
//! n**: some 50 per side; look at the standard error.

pub use dualmd_record::utility::Kid;

use crate::error::{MetricsError, Result};
use crate::features::{Features, draw};
use crate::linalg::{self, BLOCK};

/// Subsets that the field draws.
pub const KID_SUBSETS: usize = 100;

/// Images per subset that the field draws.
pub const KID_SUBSET_SIZE: usize = 1000;

/// Kernel distance with `subsets` random subsets (usually [`KID_SUBSETS`]), drawn with `seed`.
///
/// # Errors
/// [`MetricsError::TooFew`] below 4 images on a side, [`MetricsError::OutOfRange`] for no subsets,
/// [`MetricsError::Mismatch`].
pub fn kid(a: &Features, b: &Features, subsets: usize, seed: u64) -> Result<Kid> {
    a.check_comparable(b)?;
    if subsets == 0 {
        return Err(MetricsError::OutOfRange {
            name: "subsets",
            value: 0,
            expected: "at least 1",
        });
    }
    let n = a.count().min(b.count());
    if n < 4 {
        return Err(MetricsError::TooFew {
            what: "images on one side",
            got: n,
            needed: 4,
            remedy: "subsets of half of them are compared",
        });
    }
    let subset_size = if n < KID_SUBSET_SIZE {
        n / 2
    } else {
        KID_SUBSET_SIZE
    };
    let draws = (0..subsets).map(|k| {
        let mut rng = dualmd_data::stream(seed, "kid subset", k as u64);
        [a, b].map(|side| draw(side.count(), subset_size, &mut rng))
    });
    let (mean, sd) = over_subsets(a, b, draws)?;
    let (full, full_se) = Sums::of(a, b).estimate();
    Ok(Kid {
        mean,
        sd,
        subsets,
        subset_size,
        full,
        full_se,
    })
}

fn over_subsets(
    a: &Features,
    b: &Features,
    draws: impl Iterator<Item = [Vec<usize>; 2]>,
) -> Result<(f64, f64)> {
    let values = draws
        .map(|[rows_a, rows_b]| {
            Ok(Sums::of(&a.select(&rows_a)?, &b.select(&rows_b)?)
                .estimate()
                .0)
        })
        .collect::<Result<Vec<f64>>>()?;
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    Ok((mean, variance.sqrt()))
}

/// Sums of the kernel per image: all that the estimate and its jackknife need.
struct Sums {
    /// Each image of `a` with the others of `a`, and of `b` likewise.
    within: [Vec<f64>; 2],
    /// Each image of `a` with all of `b`, and the other way round.
    across: [Vec<f64>; 2],
}

impl Sums {
    fn of(a: &Features, b: &Features) -> Self {
        let (across_a, across_b) = row_sums(a, b, false);
        Self {
            within: [row_sums(a, a, true).0, row_sums(b, b, true).0],
            across: [across_a, across_b],
        }
    }

    /// The unbiased MMD^2 and its standard error by leaving out one image at a time on either side.
    fn estimate(&self) -> (f64, f64) {
        let n = self.within.each_ref().map(|s| s.len() as f64);
        let total = self.within.each_ref().map(|s| s.iter().sum::<f64>());
        let crossed: f64 = self.across[0].iter().sum();
        let mmd2 = total[0] / (n[0] * (n[0] - 1.0)) + total[1] / (n[1] * (n[1] - 1.0))
            - 2.0 * crossed / (n[0] * n[1]);
        let variance: f64 = [0, 1]
            .map(|side| {
                let (m, other) = (n[side], n[1 - side]);
                if m < 3.0 {
                    return f64::NAN;
                }
                // The terms that leaving out one image of this side changes.
                let images = self.within[side].iter().zip(&self.across[side]);
                let without: Vec<f64> = images
                    .map(|(inside, outside)| {
                        (total[side] - 2.0 * inside) / ((m - 1.0) * (m - 2.0))
                            - 2.0 * (crossed - outside) / ((m - 1.0) * other)
                    })
                    .collect();
                let mean = without.iter().sum::<f64>() / m;
                let squares: f64 = without.iter().map(|w| (w - mean).powi(2)).sum();
                squares * (m - 1.0) / m
            })
            .iter()
            .sum();
        (mmd2, variance.sqrt())
    }
}

/// What each of 2n real images adds, with its sign, to the kernel distance of the generated images to n of them less that to the other n.
///
/// With W the sum of k over ordered pairs within a side, A that of an image's mean kernel with the generated ones over the side, and G what
/// the generated images have among themselves, MMD^2 = G + W / (n (n - 1)) - 2 A / n. Let R_i be the sum of k of image i with all other real
/// ones: that over the first side less that over the second is W_1 - W_2, since the pairs across are in both. So the difference is
///
/// ```text
/// sum over the first side of v - sum over the second of v,   v_i = R_i / (n (n - 1)) - 2 A_i / n
/// ```
///
/// and the v_i do not depend on which side an image is on.
pub(crate) fn shares(generated: &Features, real: &Features) -> Vec<f64> {
    let n = (real.count() / 2) as f64;
    let drawn = generated.count() as f64;
    let (within, _) = row_sums(real, real, true);
    let (across, _) = row_sums(real, generated, false);
    let images = within.iter().zip(&across);
    images
        .map(|(within, across)| within / (n * (n - 1.0)) - 2.0 * across / (drawn * n))
        .collect()
}

/// Sums of the kernel over the rows of `b` for each row of `a`, and the other way round; without the pairs (i, i) when
/// both are the same table. Blocks of rows, so that no N x N matrix is made.
fn row_sums(a: &Features, b: &Features, same: bool) -> (Vec<f64>, Vec<f64>) {
    let (n, m, d) = (a.count(), b.count(), a.dim());
    let zero = vec![0.0; d];
    let (mut sums_a, mut sums_b) = (vec![0.0; n], vec![0.0; m]);
    for i in (0..n).step_by(BLOCK) {
        let rows_a = linalg::shifted(a, i, (i + BLOCK).min(n), &zero);
        for j in (0..m).step_by(BLOCK) {
            let rows_b = linalg::shifted(b, j, (j + BLOCK).min(m), &zero);
            let products = linalg::inner_products(&rows_a, &rows_b, d);
            for q in 0..products.cols() {
                for p in 0..products.rows() {
                    if same && i + p == j + q {
                        continue;
                    }
                    let kernel = (products[(p, q)] / d as f64 + 1.0).powi(3);
                    sums_a[i + p] += kernel;
                    sums_b[j + q] += kernel;
                }
            }
        }
    }
    (sums_a, sums_b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::gaussian;

    fn of(values: &[f32]) -> Features {
        Features::new("toy", 1, values.to_vec()).unwrap()
    }

    /// k(1, 2) = 27, k(0, 3) = 1, cross: k(1,0) = 1, k(1,3) = 64, k(2,0) = 1, k(2,3) = 343.
    #[test]
    fn by_hand() {
        let (mmd2, _) = Sums::of(&of(&[1.0, 2.0]), &of(&[0.0, 3.0])).estimate();
        assert_eq!(mmd2, 27.0 + 1.0 - 2.0 * (1.0 + 64.0 + 1.0 + 343.0) / 4.0);
        let draws = [[vec![0, 1], vec![0, 1]], [vec![0, 1], vec![1, 0]]];
        let (mean, sd) =
            over_subsets(&of(&[1.0, 2.0]), &of(&[0.0, 3.0]), draws.into_iter()).unwrap();
        assert_eq!((mean, sd), (mmd2, 0.0));
    }

    /// However the real images are divided, the sums are the difference of the two distances.
    #[test]
    fn shares_sum_to_the_difference_of_two_distances() {
        let (generated, real) = (gaussian(7, 3, 0.3, 1.0, 1), gaussian(10, 3, 0.0, 1.0, 2));
        let own = shares(&generated, &real);
        for first in [[0, 1, 2, 3, 4], [9, 1, 4, 6, 2]] {
            let second: Vec<usize> = (0..10).filter(|i| !first.contains(i)).collect();
            let distance = |side: &[usize]| {
                Sums::of(&generated, &real.select(side).unwrap())
                    .estimate()
                    .0
            };
            let wanted = distance(&first) - distance(&second);
            let sum = |side: &[usize]| side.iter().map(|&i| own[i]).sum::<f64>();
            let found = sum(&first) - sum(&second);
            assert!((found - wanted).abs() < 1e-9, "{found} {wanted}");
        }
    }

    #[test]
    fn blocks_change_nothing() {
        let (a, b) = (
            gaussian(BLOCK + 9, 2, 0.0, 1.0, 1),
            gaussian(30, 2, 0.0, 1.0, 2),
        );
        let kernel = |x: &[f32], y: &[f32]| {
            let dot: f64 = x
                .iter()
                .zip(y)
                .map(|(&u, &v)| f64::from(u) * f64::from(v))
                .sum();
            (dot / 2.0 + 1.0).powi(3)
        };
        let sums = Sums::of(&a, &b);
        let (i, x) = (BLOCK + 3, a.row(BLOCK + 3));
        let inside: f64 = (0..a.count())
            .filter(|&j| j != i)
            .map(|j| kernel(x, a.row(j)))
            .sum();
        let outside: f64 = b.rows().map(|y| kernel(x, y)).sum();
        assert!((sums.within[0][i] - inside).abs() < 1e-9 * inside.abs());
        assert!((sums.across[0][i] - outside).abs() < 1e-9 * outside.abs());
    }

    /// Unbiased: 200 pairs of equal distributions have mean 0 within 4 standard errors; and the jackknife's standard
    /// error is the spread between pairs, within 25 %, where the distributions differ.
    #[test]
    fn unbiased_with_the_right_standard_error() {
        let trials = 200_u64;
        let estimates = |shift: f64| -> Vec<(f64, f64)> {
            let one = |k| {
                let real = gaussian(30, 3, 0.0, 1.0, 2 * k);
                Sums::of(&gaussian(20, 3, shift, 1.0, 2 * k + 1), &real).estimate()
            };
            (0..trials).map(one).collect()
        };
        let moments = |of: &[(f64, f64)]| {
            let n = of.len() as f64;
            let mean = of.iter().map(|e| e.0).sum::<f64>() / n;
            let sd = (of.iter().map(|e| (e.0 - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
            let claimed = (of.iter().map(|e| e.1.powi(2)).sum::<f64>() / n).sqrt();
            (mean, sd, claimed)
        };
        let (mean, sd, _) = moments(&estimates(0.0));
        assert!(
            mean.abs() < 4.0 * sd / (trials as f64).sqrt(),
            "{mean} {sd}"
        );
        let (mean, sd, claimed) = moments(&estimates(0.7));
        assert!(
            mean > 0.5 && (0.75..1.35).contains(&(claimed / sd)),
            "{mean} {sd} {claimed}"
        );
    }

    #[test]
    fn sizes_seeds_and_refusals() {
        let (a, b) = (gaussian(20, 3, 0.0, 1.0, 1), gaussian(31, 3, 0.5, 1.0, 2));
        let found = kid(&a, &b, 10, 5).unwrap();
        assert_eq!((found.subsets, found.subset_size), (10, 10));
        assert_eq!(found, kid(&a, &b, 10, 5).unwrap());
        assert_ne!(found.mean, kid(&a, &b, 10, 6).unwrap().mean);
        assert_eq!(found.full, kid(&a, &b, 1, 6).unwrap().full);
        assert!(found.full_se > 0.0);
        assert!(kid(&a, &b, 0, 5).is_err());
        assert!(kid(&gaussian(3, 3, 0.0, 1.0, 1), &b, 1, 0).is_err());
        assert!(kid(&gaussian(20, 4, 0.0, 1.0, 1), &b, 1, 0).is_err());
    }
}
