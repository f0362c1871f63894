//! The kernel two-sample test: do two lists of feature vectors come from one distribution?

use rand::SeedableRng as _;
use rand::seq::{SliceRandom as _, index};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::error::{StatsError, check_finite, check_repetitions};
use crate::ranks::{mean, variance};

/// Rows per side above which [`mmd_permutation`] draws a subsample: its kernel matrix grows with their square.
pub const MMD_ROWS: usize = 1500;

/// Result of [`mmd_permutation`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MmdTest {
    /// Unbiased squared maximum mean discrepancy; often negative when nothing differs.
    pub mmd2: f64,
    /// Share of relabellings with at least this `mmd2`, the true labels counted as one of them.
    pub p_value: f64,
    /// Relabellings drawn.
    pub permutations: usize,
    /// Width of the kernel: the median distance of the standardised rows.
    pub bandwidth: f64,
    /// Rows given on either side.
    pub rows: [usize; 2],
    /// Rows compared on either side: fewer than `rows` when a side had more than [`MMD_ROWS`].
    pub compared: [usize; 2],
}

/// Permutation test of "both lists of rows come from one distribution" by the maximum mean discrepancy (Gretton et al.,
/// "A Kernel Two-Sample Test", JMLR 13, 2012).
///
/// Columns are standardised by mean and standard deviation of all rows (a constant column counts for nothing), the
/// kernel is `exp(-d^2 / (2 h^2))` with h the median distance between different rows of the pooled sample. With m and n
/// rows
///
/// ```text
/// MMD^2 = mean over i != j of k(a_i, a_j) + mean over i != j of k(b_i, b_j) - 2 mean of k(a_i, b_j)
/// p     = (1 + relabellings with MMD^2 at least as large) / (1 + relabellings)
/// ```
///
/// Scale and h ignore the labels, so the false-alarm rate never exceeds the level. Rows must be independent: several
/// crops of one picture are not. Above [`MMD_ROWS`] rows on a side, that many are drawn with `seed`, and `compared` says
/// so; the kernel matrix of two full sides takes 36 MB, twice that while its width is sought.
///
/// # Errors
/// [`StatsError::TooFew`] for fewer than two rows on a side, [`StatsError::Lengths`] for rows of different lengths,
/// [`StatsError::NotFinite`] (numbered by row, `a` before `b`), or [`StatsError::OutOfRange`] for no permutations.
pub fn mmd_permutation(
    a: &[Vec<f64>],
    b: &[Vec<f64>],
    permutations: usize,
    seed: u64,
) -> Result<MmdTest, StatsError> {
    check_repetitions("number of permutations", permutations)?;
    check_rows(a, b)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut pick = |rows: &[Vec<f64>]| {
        let amount = rows.len().min(MMD_ROWS);
        let mut drawn = index::sample(&mut rng, rows.len(), amount).into_vec();
        drawn.sort_unstable();
        drawn
            .into_iter()
            .map(|i| rows[i].clone())
            .collect::<Vec<_>>()
    };
    let (mut pooled, second) = (pick(a), pick(b));
    let compared = [pooled.len(), second.len()];
    pooled.extend(second);
    standardise(&mut pooled);
    let kernel = Kernel::new(&pooled);

    // The smaller side is the one that is summed.
    let small = compared[0].min(compared[1]);
    let mut order: Vec<usize> = (0..pooled.len()).collect();
    if compared[1] < compared[0] {
        order.rotate_left(compared[0]);
    }
    let mmd2 = kernel.mmd2(&order[..small]);
    let as_large = (0..permutations)
        .filter(|_| {
            let (dealt, _) = order.partial_shuffle(&mut rng, small);
            dealt.sort_unstable();
            // Sums in another order differ in their last digits: equal values must count as equal.
            kernel.mmd2(dealt) >= mmd2 - 1e-12
        })
        .count();
    Ok(MmdTest {
        mmd2,
        p_value: (as_large + 1) as f64 / (permutations + 1) as f64,
        permutations,
        bandwidth: kernel.bandwidth,
        rows: [a.len(), b.len()],
        compared,
    })
}

fn check_rows(a: &[Vec<f64>], b: &[Vec<f64>]) -> Result<(), StatsError> {
    for (what, rows) in [
        ("rows in the first list", a),
        ("rows in the second list", b),
    ] {
        if rows.len() < 2 {
            return Err(StatsError::TooFew {
                what,
                got: rows.len(),
                needed: 2,
                remedy: "give the features of more samples",
            });
        }
    }
    let columns = a[0].len();
    for (index, row) in a.iter().chain(b).enumerate() {
        if row.len() != columns {
            return Err(StatsError::Lengths {
                what: "features in a row",
                got: row.len(),
                expected: columns,
                per: "column of the first row",
            });
        }
        if check_finite("feature", row).is_err() {
            let what = "some feature of row";
            return Err(StatsError::NotFinite { what, index });
        }
    }
    Ok(())
}

/// Columns to mean 0 and standard deviation 1 over all rows; constant ones to 0.
fn standardise(rows: &mut [Vec<f64>]) {
    for column in 0..rows[0].len() {
        let values: Vec<f64> = rows.iter().map(|row| row[column]).collect();
        let (centre, spread) = (mean(&values), variance(&values).sqrt());
        let constant = values.iter().all(|&v| v == values[0]);
        for row in rows.iter_mut() {
            row[column] = if constant {
                0.0
            } else {
                (row[column] - centre) / spread
            };
        }
    }
}

/// The kernel matrix above its diagonal, row by row, and its row sums without the diagonal.
struct Kernel {
    upper: Vec<f64>,
    row_sums: Vec<f64>,
    bandwidth: f64,
}

impl Kernel {
    fn new(rows: &[Vec<f64>]) -> Self {
        let n = rows.len();
        let mut upper = Vec::with_capacity(n * (n - 1) / 2);
        for (i, x) in rows.iter().enumerate() {
            let squares = |y: &Vec<f64>| x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum();
            upper.extend(rows[i + 1..].iter().map(squares).collect::<Vec<f64>>());
        }
        let mut distances: Vec<f64> = upper.iter().copied().filter(|&d| d > 0.0).collect();
        let half = distances.len() / 2;
        // All rows equal: any width gives the same kernel.
        let squared = if distances.is_empty() {
            1.0
        } else {
            *distances.select_nth_unstable_by(half, f64::total_cmp).1
        };
        let mut row_sums = vec![0.0; n];
        let mut place = 0;
        for i in 0..n {
            for j in i + 1..n {
                let k = (-upper[place] / (2.0 * squared)).exp();
                upper[place] = k;
                row_sums[i] += k;
                row_sums[j] += k;
                place += 1;
            }
        }
        Self {
            upper,
            row_sums,
            bandwidth: squared.sqrt(),
        }
    }

    /// Unbiased MMD^2 of the rows in `side` (ascending) against all others.
    ///
    /// With S the sum of k over ordered pairs within the side, R the sum of its rows and T the sum of all, the sum
    /// across the sides is R - S and that within the other one T - 2R + S: only the side's own pairs are visited.
    fn mmd2(&self, side: &[usize]) -> f64 {
        let n = self.row_sums.len();
        let mut within = 0.0;
        for (place, &i) in side.iter().enumerate() {
            // Row i starts after the n - 1, n - 2, ... entries of those before it.
            let row = &self.upper[i * (2 * n - i - 1) / 2..][..n - 1 - i];
            within += 2.0
                * side[place + 1..]
                    .iter()
                    .map(|&j| row[j - i - 1])
                    .sum::<f64>();
        }
        let rows: f64 = side.iter().map(|&i| self.row_sums[i]).sum();
        let all: f64 = self.row_sums.iter().sum();
        let (m, others) = (side.len() as f64, (n - side.len()) as f64);
        within / (m * (m - 1.0)) + (all - 2.0 * rows + within) / (others * (others - 1.0))
            - 2.0 * (rows - within) / (m * others)
    }
}

#[cfg(test)]
mod tests;
