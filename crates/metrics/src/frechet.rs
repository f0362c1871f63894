//! The Frechet distance between two sets of features ("FID" when, and only when, the features are the 2048 of the FID
//! Inception network).
//!
//! Two Gaussians with means m and covariances S are as far apart as (Dowson and Landau, 1982; Heusel et al., 2017)
//!
//! ```text
//! |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)
//! ```
//!
//! **What it misses.** Everything but two moments; whether the samples are copies of the training images (copies score
//! best); how they differ. **Bias.** The estimate is too large by an amount that falls roughly as 1/n and depends on
//! the model, so distances at different n do not compare. Below n = D + 1 the covariance has no full rank and most of
//! the value can be bias. **Smallest useful n**: more than D on both sides for the value itself; with fewer, only
//! beside the distance between real and real images at the same n ([`crate::fd_with_interval`]).

use std::cell::OnceCell;

pub use dualmd_record::utility::{Frechet, MemorisationGap};

use rand::seq::SliceRandom as _;

use crate::error::Result;
use crate::features::{Features, draw};
use crate::gaussian::Gaussian;
use crate::kid::shares;
use crate::linalg::{self, Matrix};

/// A distance from its parts: |m1 - m2|^2, tr S1 + tr S2, and tr (S1 S2)^(1/2).
fn distance(mean_term: f64, traces: f64, root: f64, n: [Option<usize>; 2], dim: usize) -> Frechet {
    Frechet {
        // Rounding can leave the distance of a set from itself a little below 0.
        value: (mean_term + traces - 2.0 * root).max(0.0),
        mean_term,
        n,
        dim,
        rank_deficient: n.iter().flatten().any(|&n| n <= dim),
    }
}

/// Distance of two Gaussians. tr (S1 S2)^(1/2) is taken as the sum of the square roots of the eigenvalues of R' S2 R
/// with S1 = R R' (the same numbers as those of S1^(1/2) S2 S1^(1/2), a symmetric problem). Eigenvalues below 0 count
/// as 0, and so do those beyond the rank that n allows, which are rounding.
///
/// At D = 2048 this takes two eigenvalue problems of that size.
///
/// # Errors
/// [`crate::MetricsError::Mismatch`] for different widths or extractors, [`crate::MetricsError::Decomposition`].
pub fn frechet_distance(a: &Gaussian, b: &Gaussian) -> Result<Frechet> {
    a.check_comparable(b)?;
    let d = a.dim();
    let rank = |g: &Gaussian| g.n.map_or(d, |n| d.min(n - 1));
    let (first, second) = if rank(a) <= rank(b) { (a, b) } else { (b, a) };
    let (values, vectors) = linalg::eigen(&first.covariance)?;
    let kept: Vec<usize> = (d - rank(first)..d).filter(|&k| values[k] > 0.0).collect();
    let factor = Matrix::from_fn(d, kept.len(), |i, k| {
        vectors[(i, kept[k])] * values[kept[k]].sqrt()
    });
    let product = linalg::congruent(&second.covariance, &factor);
    let mut squares = linalg::eigenvalues(&product)?;
    let root = squares
        .drain(squares.len() - squares.len().min(rank(second))..)
        .map(|s| s.max(0.0).sqrt())
        .sum();
    let trace = |g: &Gaussian| (0..d).map(|i| g.covariance[(i, i)]).sum::<f64>();
    let mean_term = squared_distance(&a.mean, &b.mean);
    Ok(distance(
        mean_term,
        trace(a) + trace(b),
        root,
        [a.n, b.n],
        d,
    ))
}

/// Distance of two sets of features.
///
/// With no more than D images on either side the covariances are never formed: for centred tables X and Y, tr (S1
/// S2)^(1/2) is the sum of the singular values of X Y', divided by the square root of (n1 - 1)(n2 - 1). That is as
/// exact as [`frechet_distance`] of [`Gaussian::of`] either side, and cheaper.
///
/// # Errors
/// [`crate::MetricsError::Mismatch`] for different extractors, [`crate::MetricsError::Decomposition`].
pub fn frechet_of_features(a: &Features, b: &Features) -> Result<Frechet> {
    let pair = Pair::new(a, b)?;
    let all = |f: &Features| (0..f.count()).collect::<Vec<_>>();
    pair.distance(&all(a), &all(b))
}

/// Two sets of features of which many subsets will be compared.
pub(crate) struct Pair<'a> {
    a: &'a Features,
    b: &'a Features,
    /// Inner products of all rows of `a` with all of `b`, both shifted by one vector: subsets need only centre it.
    cross: Option<Matrix>,
    /// Statistics of all rows of either side, once some distance needed them.
    whole: [OnceCell<Gaussian>; 2],
}

impl<'a> Pair<'a> {
    pub(crate) fn new(a: &'a Features, b: &'a Features) -> Result<Self> {
        a.check_comparable(b)?;
        let cross = (a.count().max(b.count()) <= a.dim()).then(|| {
            // A common shift changes no distance; this one keeps the products small.
            let shift = linalg::mean(b);
            let rows = |f: &Features| linalg::shifted(f, 0, f.count(), &shift);
            linalg::inner_products(&rows(a), &rows(b), a.dim())
        });
        let whole = [OnceCell::new(), OnceCell::new()];
        Ok(Self { a, b, cross, whole })
    }

    /// Distance between some rows of either side; at least two each, no row twice.
    pub(crate) fn distance(&self, rows_a: &[usize], rows_b: &[usize]) -> Result<Frechet> {
        let Some(cross) = &self.cross else {
            let (mut part_a, mut part_b) = (None, None);
            return frechet_distance(
                self.moments(0, rows_a, &mut part_a)?,
                self.moments(1, rows_b, &mut part_b)?,
            );
        };
        let (a, b) = (self.a.select(rows_a)?, self.b.select(rows_b)?);
        let (n1, n2) = (rows_a.len(), rows_b.len());
        let mut part = Matrix::from_fn(n1, n2, |i, j| cross[(rows_a[i], rows_b[j])]);
        centre(&mut part);
        let scale = (((n1 - 1) * (n2 - 1)) as f64).sqrt();
        let root = linalg::nuclear_norm(&part)? / scale;
        let (mean_a, mean_b) = (linalg::mean(&a), linalg::mean(&b));
        Ok(distance(
            squared_distance(&mean_a, &mean_b),
            trace(&a, &mean_a) + trace(&b, &mean_b),
            root,
            [Some(n1), Some(n2)],
            a.dim(),
        ))
    }

    /// Statistics of some rows of a side: kept when they are all rows, else put into `part`.
    fn moments<'g>(
        &'g self,
        side: usize,
        rows: &[usize],
        part: &'g mut Option<Gaussian>,
    ) -> Result<&'g Gaussian> {
        let features = [self.a, self.b][side];
        if rows.len() == features.count() {
            return Ok(self.whole[side].get_or_init(|| Gaussian::of(features)));
        }
        Ok(part.insert(Gaussian::of(&features.select(rows)?)))
    }
}

/// Takes from each entry the means of its row and column and adds that of all.
fn centre(matrix: &mut Matrix) {
    let (n1, n2) = (matrix.rows(), matrix.cols());
    for j in 0..n2 {
        let mean = (0..n1).map(|i| matrix[(i, j)]).sum::<f64>() / n1 as f64;
        (0..n1).for_each(|i| matrix[(i, j)] -= mean);
    }
    for i in 0..n1 {
        let mean = (0..n2).map(|j| matrix[(i, j)]).sum::<f64>() / n2 as f64;
        (0..n2).for_each(|j| matrix[(i, j)] -= mean);
    }
}

/// Trace of the unbiased covariance.
fn trace(features: &Features, mean: &[f64]) -> f64 {
    let off = |row: &[f32]| {
        let terms = row.iter().zip(mean);
        terms.map(|(&x, m)| (f64::from(x) - m).powi(2)).sum::<f64>()
    };
    features.rows().map(off).sum::<f64>() / (features.count() - 1) as f64
}

fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum()
}

/// Real images of a side that the test of [`memorisation_gap`] looks at; of more, so many are drawn. Bounds its time.
const TESTED: usize = 4096;

/// Are generated images nearer to the training images than to others of the same kind?
///
/// The larger real side is cut at random (`seed`) to the size of the smaller: distances fall with n, and unequal sides
/// would make a gap of their own. With `permutations` > 0 the real images are relabelled that often; the test is exact
/// when members and non-members were divided at random, and says nothing when they were not. It is of the same gap in kernel distances
/// (KID) and not in Frechet distances: that is a sum over images, so a relabelling costs additions, and not two decompositions. With more than
/// 4,096 images a side, so many are drawn for it.
///
/// **What it misses.** Only what shifts the first moments: a model that copies a few images exactly shows no gap, and
/// a gap of 0 is no sign of privacy. Membership attacks and nearest neighbours look at single images. Use some hundred
/// images per side.
///
/// # Errors
/// [`crate::MetricsError::Mismatch`], [`crate::MetricsError::Decomposition`].
pub fn memorisation_gap(
    generated: &Features,
    members: &Features,
    nonmembers: &Features,
    permutations: usize,
    seed: u64,
) -> Result<MemorisationGap> {
    let n = members.count().min(nonmembers.count());
    let cut = |side: &Features, index| {
        let mut rng = dualmd_data::stream(seed, "memorisation gap", index);
        if side.count() == n {
            Ok(side.clone())
        } else {
            side.subsample(n, &mut rng)
        }
    };
    let real = cut(members, 0)?.concat(&cut(nonmembers, 1)?)?;
    let pair = Pair::new(generated, &real)?;
    let all: Vec<usize> = (0..generated.count()).collect();
    let rows: Vec<usize> = (0..2 * n).collect();
    let (first, second) = rows.split_at(n);
    let to_members = pair.distance(&all, first)?.value;
    let to_nonmembers = pair.distance(&all, second)?.value;
    let mut out = MemorisationGap {
        to_members,
        to_nonmembers,
        gap: to_members - to_nonmembers,
        n,
        ..MemorisationGap::default()
    };
    if permutations > 0 {
        relabel(&mut out, generated, &real, permutations, seed)?;
    }
    Ok(out)
}

/// The test of a gap: `real` has as many members as non-members, one side after the other.
fn relabel(
    out: &mut MemorisationGap,
    generated: &Features,
    real: &Features,
    relabellings: usize,
    seed: u64,
) -> Result<()> {
    let n = real.count() / 2;
    let tested = n.min(TESTED);
    let mut rng = dualmd_data::stream(seed, "memorisation gap relabelled", 0);
    let mut rows = draw(n, tested, &mut rng);
    rows.extend(draw(n, tested, &mut rng).into_iter().map(|i| n + i));
    let mut own = shares(generated, &real.select(&rows)?);
    let gap = |own: &[f64]| -> f64 {
        let (first, second) = own.split_at(tested);
        first.iter().sum::<f64>() - second.iter().sum::<f64>()
    };
    let kernel_gap = gap(&own);
    // Sums in another order differ in their last digits: equal values must count as equal.
    let equal = 1e-12 * own.iter().map(|v| v.abs()).sum::<f64>();
    let mut as_low = 1;
    for _ in 0..relabellings {
        own.shuffle(&mut rng);
        as_low += usize::from(gap(&own) <= kernel_gap + equal);
    }
    out.kernel_gap = Some(kernel_gap);
    out.tested = Some(tested);
    out.relabellings = Some(relabellings);
    out.p_value = Some(as_low as f64 / (relabellings + 1) as f64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::gaussian;

    fn close(a: f64, b: f64, relative: f64) {
        assert!((a - b).abs() <= relative * a.abs().max(b.abs()), "{a} {b}");
    }

    fn of(mean: &[f64], variances: &[f64]) -> Gaussian {
        let d = mean.len();
        Gaussian {
            mean: mean.to_vec(),
            covariance: Matrix::from_fn(d, d, |i, j| if i == j { variances[i] } else { 0.0 }),
            n: None,
            extractor: None,
        }
    }

    /// Diagonal covariances: |dm|^2 plus the squared differences of the standard deviations.
    #[test]
    fn by_hand() {
        let (a, b) = (of(&[1.0, 2.0], &[4.0, 9.0]), of(&[4.0, 6.0], &[1.0, 25.0]));
        let d = frechet_distance(&a, &b).unwrap();
        close(d.value, 25.0 + 1.0 + 4.0, 1e-14);
        assert_eq!(
            (d.mean_term, d.rank_deficient, d.n),
            (25.0, false, [None; 2])
        );
        assert_eq!(frechet_distance(&a, &a).unwrap().value, 0.0);
        // A variance of 0 is a distance like any other.
        let flat = of(&[0.0], &[0.0]);
        close(
            frechet_distance(&flat, &of(&[0.0], &[9.0])).unwrap().value,
            9.0,
            1e-14,
        );
    }

    #[test]
    fn both_routes_agree() {
        for (n1, n2, dim) in [(20, 31, 40), (40, 12, 40), (30, 30, 30)] {
            let a = gaussian(n1, dim, 5.0, 1.0, 1);
            let b = gaussian(n2, dim, 5.3, 1.4, 2);
            let short = frechet_of_features(&a, &b).unwrap();
            let long = frechet_distance(&Gaussian::of(&a), &Gaussian::of(&b)).unwrap();
            close(short.value, long.value, 1e-7);
            close(short.mean_term, long.mean_term, 1e-12);
            assert!(short.rank_deficient && long.rank_deficient);
            assert_eq!(short.n, [Some(n1), Some(n2)]);
        }
    }

    #[test]
    fn symmetric_and_blind_to_shifts_and_order() {
        let a = gaussian(50, 6, 0.0, 1.0, 1);
        let b = gaussian(40, 6, 0.5, 2.0, 2);
        let d = frechet_of_features(&a, &b).unwrap();
        assert!(!d.rank_deficient);
        close(frechet_of_features(&b, &a).unwrap().value, d.value, 1e-12);
        let turned: Vec<usize> = (0..50).rev().collect();
        let again = frechet_of_features(&a.select(&turned).unwrap(), &b).unwrap();
        close(again.value, d.value, 1e-12);
        let moved = |f: &Features| {
            let values = f.rows().flatten().map(|&x| f64::from(x) * 2.0 + 8.0);
            Features::from_f64("toy", 6, &values.collect::<Vec<_>>()).unwrap()
        };
        let scaled = frechet_of_features(&moved(&a), &moved(&b)).unwrap();
        close(scaled.value, 4.0 * d.value, 1e-5);
        assert!(frechet_of_features(&a, &a).unwrap().value < 1e-12);
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let a = gaussian(10, 3, 0.0, 1.0, 1);
        assert!(frechet_of_features(&a, &gaussian(10, 4, 0.0, 1.0, 1)).is_err());
        let other = Features::new("other", 3, vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        let error = frechet_distance(&Gaussian::of(&a), &Gaussian::of(&other)).unwrap_err();
        assert!(error.to_string().contains("other (3 columns)"), "{error}");
    }

    #[test]
    fn copies_of_members_leave_a_gap_and_strangers_none() {
        let members = gaussian(60, 8, 0.0, 1.0, 1);
        let nonmembers = gaussian(90, 8, 0.0, 1.0, 2);
        let copied = memorisation_gap(&members, &members, &nonmembers, 999, 3).unwrap();
        assert!(copied.to_members < 1e-9 && copied.gap < 0.0);
        assert!(copied.kernel_gap < Some(0.0), "{copied:?}");
        assert_eq!((copied.n, copied.tested), (60, Some(60)));
        assert_eq!(
            (copied.relabellings, copied.p_value),
            (Some(999), Some(0.001))
        );
        let none = memorisation_gap(&gaussian(60, 8, 0.0, 1.0, 4), &members, &nonmembers, 0, 3);
        let none = none.unwrap();
        assert_eq!((none.p_value, none.kernel_gap), (None, None));
        // Where all images are alike every relabelling is as low.
        let flat = Features::from_f64("toy", 2, &[1.0; 20]).unwrap();
        let alike = memorisation_gap(&flat, &flat, &flat, 19, 3).unwrap();
        assert_eq!(alike.p_value, Some(1.0));
        // Equal and exchangeable: 40 p-values are spread evenly; 10 or more at or below 0.1 has probability 0.005.
        let low = (0..40).filter(|&k| {
            let [g, m, o] = [0, 1, 2].map(|s| gaussian(20, 4, 0.0, 1.0, 1000 + 3 * k + s));
            memorisation_gap(&g, &m, &o, 19, k).unwrap().p_value <= Some(0.1)
        });
        assert!(low.count() < 10);
    }
}
