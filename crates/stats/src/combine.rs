//! A learnt combination of attacks: logistic regression on their scores.
//!
//! A serious attacker does not choose one score. From images whose membership is known - those of shadow models, or the
//! known part of a target's - a logistic regression learns how to weigh them all; other images are judged. Nothing here
//! looks at the membership of an image that is judged.
//!
//! ```text
//! minimise over w, b   sum_i weight_i logloss(y_i, b + w z_i) + (penalty / 2) |w|^2
//! ```
//!
//! z are the columns standardised by mean and standard deviation of the known images. Members and non-members weigh one half
//! each, whatever their numbers. The intercept is free. Solved by Newton's method, which is iteratively reweighted least
//! squares. The penalty is the one of [`PENALTIES`] with the smallest log-loss in five-fold cross-validation within the
//! known images. scikit-learn's `LogisticRegression` solves the same problem with C = 1 / penalty and these weights.

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::error::{StatsError, check_finite};
use crate::linalg::solve;
use crate::ranks::mean;

/// Penalties tried, strongest first; of equals the first is taken.
pub const PENALTIES: [f64; 6] = [10.0, 1.0, 0.1, 0.01, 1e-3, 1e-4];

/// Folds of the cross-validation.
const FOLDS: usize = 5;
const NEWTON_STEPS: usize = 100;
/// Largest entry of a gradient that counts as 0.
const FLAT: f64 = 1e-13;

/// Largest entry of a gradient from which on whole steps are taken.
const NEAR: f64 = 1e-7;

/// A fitted logistic regression.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Logistic {
    /// Weight of each column, once standardised: comparable with one another.
    pub weights: Vec<f64>,
    /// Log-odds of an image with the mean of every column.
    pub intercept: f64,
    /// The penalty it was fitted with.
    pub penalty: f64,
    /// Mean of each column over the known images.
    pub means: Vec<f64>,
    /// Standard deviation of each (divisor n); 1 for a constant column, whose weight is 0.
    pub deviations: Vec<f64>,
}

impl Logistic {
    /// Fits the regression to `rows`, one per known image, with a given penalty.
    ///
    /// # Errors
    /// [`StatsError::OutOfRange`] for a penalty that is not positive, [`StatsError::Empty`] when a side is missing,
    /// [`StatsError::Lengths`] for rows of different lengths, [`StatsError::NotFinite`] (numbered by row), or
    /// [`StatsError::TooFew`] for rows without columns.
    pub fn fit(rows: &[Vec<f64>], member: &[bool], penalty: f64) -> Result<Self, StatsError> {
        check_known(rows, member)?;
        if !(penalty > 0.0 && penalty.is_finite()) {
            return Err(StatsError::OutOfRange {
                name: "penalty",
                value: penalty,
                expected: "a positive number",
            });
        }
        let scale = Scale::new(rows);
        let fit = minimum(&scale.of(rows), member, penalty);
        Ok(scale.with(fit, penalty))
    }

    /// Fits the regression to `rows`, one per known image and one column per attack, with the penalty of [`PENALTIES`] that
    /// cross-validates best. Gives each penalty and its cross-validated log-loss in nats per image, too: none when a side had too few
    /// images to hold any back, and the strongest penalty was taken. `seed` deals the rows into folds, and nothing else is random.
    ///
    /// ```
    /// let row = |a: f64, b: f64| vec![a, b];
    /// let known = [row(2.0, 0.1), row(1.8, 0.3), row(0.2, 0.2), row(0.1, 0.1)];
    /// let (rule, _) = dualmd_stats::Logistic::learn(&known, &[true, true, false, false], 0)?;
    /// let scores = rule.scores(&[row(1.9, 0.2), row(0.0, 0.2)]);
    /// assert!(scores[0] > 0.0 && scores[1] < 0.0);
    /// # Ok::<(), dualmd_stats::StatsError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::fit`].
    pub fn learn(
        rows: &[Vec<f64>],
        member: &[bool],
        seed: u64,
    ) -> Result<(Self, Vec<(f64, f64)>), StatsError> {
        check_known(rows, member)?;
        let scale = Scale::new(rows);
        let rows = scale.of(rows);
        let losses = cross_validated(&rows, member, seed);
        let first = (PENALTIES[0], f64::INFINITY);
        let better = |best: (f64, f64), &one: &(f64, f64)| if one.1 < best.1 { one } else { best };
        let (penalty, _) = losses.iter().fold(first, better);
        Ok((scale.with(minimum(&rows, member, penalty), penalty), losses))
    }

    /// Log-odds of membership of each row, higher for members. As many columns as it was fitted with; a row of another
    /// length gives NaN.
    #[must_use]
    pub fn scores(&self, rows: &[Vec<f64>]) -> Vec<f64> {
        let score = |row: &Vec<f64>| {
            if row.len() != self.weights.len() {
                return f64::NAN;
            }
            let standard = row.iter().zip(&self.means).zip(&self.deviations);
            let terms = standard.zip(&self.weights);
            self.intercept + terms.map(|(((v, m), d), w)| w * (v - m) / d).sum::<f64>()
        };
        rows.iter().map(score).collect()
    }
}

/// Refuses rows of another length and numbers that are not finite.
pub(crate) fn check_rows(
    rows: &[Vec<f64>],
    columns: usize,
    what: &'static str,
) -> Result<(), StatsError> {
    for (index, row) in rows.iter().enumerate() {
        if row.len() != columns {
            return Err(StatsError::Lengths {
                what: "scores in a row",
                got: row.len(),
                expected: columns,
                per: "column of the first row",
            });
        }
        if check_finite(what, row).is_err() {
            return Err(StatsError::NotFinite { what, index });
        }
    }
    Ok(())
}

fn check_known(rows: &[Vec<f64>], member: &[bool]) -> Result<(), StatsError> {
    if rows.len() != member.len() {
        return Err(StatsError::Lengths {
            what: "memberships",
            got: member.len(),
            expected: rows.len(),
            per: "known image",
        });
    }
    for (side, wanted) in [("member", true), ("non-member", false)] {
        if !member.contains(&wanted) {
            return Err(StatsError::Empty { side });
        }
    }
    let columns = rows[0].len();
    if columns == 0 {
        return Err(StatsError::TooFew {
            what: "scores of an image",
            got: 0,
            needed: 1,
            remedy: "give the scores of at least one attack",
        });
    }
    check_rows(rows, columns, "some score of known image")
}

/// Mean and standard deviation of each column.
pub(crate) struct Scale {
    means: Vec<f64>,
    deviations: Vec<f64>,
}

impl Scale {
    /// Of `rows`, of which there is one at least.
    pub(crate) fn new(rows: &[Vec<f64>]) -> Self {
        let columns = 0..rows[0].len();
        let (means, deviations) = columns
            .map(|j| {
                let values: Vec<f64> = rows.iter().map(|row| row[j]).collect();
                let centre = mean(&values);
                let squares: Vec<f64> = values.iter().map(|v| (v - centre).powi(2)).collect();
                let constant = values.iter().all(|&v| v == values[0]);
                let deviation = mean(&squares).sqrt();
                // What never varies tells nothing and is not to be divided by its deviation.
                if constant || deviation == 0.0 {
                    (values[0], 1.0)
                } else {
                    (centre, deviation)
                }
            })
            .unzip();
        Self { means, deviations }
    }

    /// The rows in these units, with a 1 for the intercept at their end.
    pub(crate) fn of(&self, rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let standard = |row: &Vec<f64>| {
            let scales = self.means.iter().zip(&self.deviations);
            let values = row.iter().zip(scales).map(|(v, (m, d))| (v - m) / d);
            values.chain([1.0]).collect()
        };
        rows.iter().map(standard).collect()
    }

    fn with(self, mut fit: Vec<f64>, penalty: f64) -> Logistic {
        let intercept = fit.pop().unwrap_or_default();
        Logistic {
            weights: fit,
            intercept,
            penalty,
            means: self.means,
            deviations: self.deviations,
        }
    }
}

/// Members and non-members weigh one half each.
fn balanced(member: &[bool]) -> Vec<f64> {
    let members = member.iter().filter(|m| **m).count() as f64;
    let others = member.len() as f64 - members;
    let weight = |&m: &bool| 0.5 / if m { members } else { others };
    member.iter().map(weight).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Log-loss of log-odds `z`: softplus(z) - y z.
fn log_loss(z: f64, member: bool) -> f64 {
    z.max(0.0) + (-z.abs()).exp().ln_1p() - if member { z } else { 0.0 }
}

fn share(z: f64) -> f64 {
    if z >= 0.0 {
        1.0 / (1.0 + (-z).exp())
    } else {
        z.exp() / (1.0 + z.exp())
    }
}

/// The weights of the smallest penalised loss; the last belongs to the intercept, the 1 at the end of each row.
pub(crate) fn minimum(rows: &[Vec<f64>], member: &[bool], penalty: f64) -> Vec<f64> {
    let d = rows[0].len();
    let weight = balanced(member);
    let objective = |w: &[f64]| {
        let losses = rows.iter().zip(member).zip(&weight);
        let fit: f64 = losses.map(|((x, &m), v)| v * log_loss(dot(x, w), m)).sum();
        fit + penalty / 2.0 * w[..d - 1].iter().map(|v| v * v).sum::<f64>()
    };
    let mut w = vec![0.0; d];
    let mut before = objective(&w);
    for _ in 0..NEWTON_STEPS {
        let mut gradient: Vec<f64> = w.iter().map(|v| penalty * v).collect();
        gradient[d - 1] = 0.0;
        let mut curvature = vec![0.0; d * d];
        for ((x, &m), v) in rows.iter().zip(member).zip(&weight) {
            let p = share(dot(x, &w));
            let residual = v * (p - f64::from(u8::from(m)));
            let bend = v * p * (1.0 - p);
            for i in 0..d {
                gradient[i] += residual * x[i];
                let row = &mut curvature[i * d..=i * d + i];
                row.iter_mut()
                    .zip(x)
                    .for_each(|(c, y)| *c += bend * x[i] * y);
            }
        }
        for i in 0..d {
            // A trace on the intercept keeps the system regular when everything is told apart; the minimum is the same.
            curvature[i * d + i] += if i + 1 < d { penalty } else { 1e-12 };
            for j in 0..i {
                curvature[j * d + i] = curvature[i * d + j];
            }
        }
        if gradient.iter().all(|g| g.abs() < FLAT) {
            break;
        }
        let Some(step) = solve(&curvature, &gradient) else {
            break;
        };
        // Far from the minimum the logistic curve is flat and a whole step overshoots: halve it until the loss falls. Near it a whole step
        // is right, and the loss falls by less than its rounding: asking it would halve the step for nothing.
        let near = gradient.iter().all(|g| g.abs() < NEAR);
        let mut size = 1.0;
        let next = loop {
            let next: Vec<f64> = w.iter().zip(&step).map(|(w, s)| w - size * s).collect();
            if near {
                break next;
            }
            let value = objective(&next);
            if value <= before || size < 1e-6 {
                before = value;
                break next;
            }
            size /= 2.0;
        };
        if next == w {
            break;
        }
        w = next;
    }
    w
}

/// The log-odds of standardised rows.
pub(crate) fn log_odds(rows: &[Vec<f64>], w: &[f64]) -> Vec<f64> {
    rows.iter().map(|x| dot(x, w)).collect()
}

/// Each penalty with its log-loss over the held-out folds; nothing when a side has fewer samples than folds.
fn cross_validated(rows: &[Vec<f64>], member: &[bool], seed: u64) -> Vec<(f64, f64)> {
    let sizes = [true, false].map(|side| member.iter().filter(|m| **m == side).count());
    if sizes.iter().any(|&n| n < FOLDS) {
        return Vec::new();
    }
    let mut order: Vec<usize> = (0..member.len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let fold = deal(&order, member, FOLDS);
    let weight = balanced(member);
    let loss = |penalty: f64| -> f64 {
        (0..FOLDS)
            .map(|held| {
                let (x, y) = outside(rows, member, &fold, held);
                let w = minimum(&x, &y, penalty);
                let tested = (0..rows.len()).filter(|&i| fold[i] == held);
                tested
                    .map(|i| weight[i] * log_loss(dot(&rows[i], &w), member[i]))
                    .sum::<f64>()
            })
            .sum()
    };
    PENALTIES.map(|penalty| (penalty, loss(penalty))).to_vec()
}

/// The fold of each row: in this order, members are dealt out in turn, and non-members.
pub(crate) fn deal(order: &[usize], member: &[bool], folds: usize) -> Vec<usize> {
    let mut fold = vec![0; member.len()];
    let mut next = [0; 2];
    for &row in order {
        let side = usize::from(member[row]);
        fold[row] = next[side] % folds;
        next[side] += 1;
    }
    fold
}

/// Rows and labels of all folds but one.
pub(crate) fn outside(
    rows: &[Vec<f64>],
    member: &[bool],
    fold: &[usize],
    held: usize,
) -> (Vec<Vec<f64>>, Vec<bool>) {
    let kept = || (0..rows.len()).filter(|&i| fold[i] != held);
    (
        kept().map(|i| rows[i].clone()).collect(),
        kept().map(|i| member[i]).collect(),
    )
}

#[cfg(test)]
mod tests;
