//! What resampling answers: bootstrap intervals for any statistic, and the permutation test.
//!
//! Members and non-members are resampled separately (stratified): their numbers are part of the design.

use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Beta, Binomial, Distribution as _};
use serde::Serialize;

use crate::error::{StatsError, check_open_unit, check_rate, check_repetitions, check_scores};
use crate::ranks::midranks;
use crate::roc::{Roc, allowed_false_positives};

/// Percentile interval of a statistic.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BootstrapInterval {
    /// The statistic of the scores as they are.
    pub estimate: f64,
    /// Lower percentile.
    pub low: f64,
    /// Upper percentile.
    pub high: f64,
    /// Resamples drawn.
    pub replicates: usize,
}

/// Stratified percentile bootstrap of `statistic(members, nonmembers)`.
///
/// The resampled slices are not sorted. The statistic must do all of its choosing itself - a TPR at 1 % FPR has to
/// find its threshold in the resample, or the interval leaves that part out. Use 1,000 replicates or more.
///
/// # Errors
/// [`StatsError::Empty`], [`StatsError::NotANumber`], [`StatsError::OutOfRange`] for `replicates` = 0 or `confidence`
/// outside (0, 1), [`StatsError::Statistic`] when a replicate is NaN.
pub fn bootstrap(
    members: &[f64],
    nonmembers: &[f64],
    replicates: usize,
    confidence: f64,
    seed: u64,
    statistic: impl Fn(&[f64], &[f64]) -> f64,
) -> Result<BootstrapInterval, StatsError> {
    check_scores(members, nonmembers)?;
    check_repetitions("number of replicates", replicates)?;
    check_open_unit("confidence", confidence)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut redraw = |from: &[f64], into: &mut [f64]| {
        into.fill_with(|| from[rng.random_range(0..from.len())]);
    };
    let (mut m, mut n) = (members.to_vec(), nonmembers.to_vec());
    let mut values = Vec::with_capacity(replicates);
    for replicate in 0..replicates {
        redraw(members, &mut m);
        redraw(nonmembers, &mut n);
        let value = statistic(&m, &n);
        if value.is_nan() {
            return Err(StatsError::Statistic { replicate });
        }
        values.push(value);
    }
    Ok(percentiles(
        statistic(members, nonmembers),
        values,
        confidence,
    ))
}

/// [`bootstrap`] of the TPR at `target_fpr`, the threshold estimated anew in every replicate, without resampling a
/// score.
///
/// With k false positives allowed, the threshold of a resample lies just above its (k + 1)-th highest non-member.
/// Drawing n0 of the n0 sorted non-members at random puts that one at place floor(n0 B) from the top, B ~ Beta(k + 1,
/// n0 - k) being the (k + 1)-th smallest of n0 uniform numbers; the members of the resample above it are binomial.
/// This is the same distribution as that of the plain bootstrap, at two random numbers instead of a sort per
/// replicate.
///
/// With k = 0 the threshold is the highest non-member, and a bootstrap of an extreme is too narrow: see `measurable` of
/// [`crate::OperatingPoint`].
///
/// # Errors
/// As [`bootstrap`], and [`StatsError::OutOfRange`] for a `target_fpr` outside [0, 1].
pub fn bootstrap_tpr_at_fpr(
    members: &[f64],
    nonmembers: &[f64],
    target_fpr: f64,
    replicates: usize,
    confidence: f64,
    seed: u64,
) -> Result<BootstrapInterval, StatsError> {
    check_rate("target FPR", target_fpr)?;
    check_repetitions("number of replicates", replicates)?;
    check_open_unit("confidence", confidence)?;
    let estimate = Roc::new(members, nonmembers)?
        .operating_point(target_fpr)?
        .tpr;
    let (n1, n0) = (members.len(), nonmembers.len());
    let allowed = allowed_false_positives(target_fpr, n0);
    let Ok(place) = Beta::new((allowed + 1) as f64, n0.saturating_sub(allowed) as f64) else {
        // Every non-member may be called (k = n0): so is every member.
        return Ok(BootstrapInterval {
            estimate,
            low: estimate,
            high: estimate,
            replicates,
        });
    };
    let mut descending = nonmembers.to_vec();
    descending.sort_unstable_by(|a, b| b.total_cmp(a));
    let mut sorted = members.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut values = Vec::with_capacity(replicates);
    for replicate in 0..replicates {
        let drawn: f64 = place.sample(&mut rng);
        let bar = descending[((drawn * n0 as f64) as usize).min(n0 - 1)];
        let above = n1 - sorted.partition_point(|&score| score <= bar);
        let share = above as f64 / n1 as f64;
        let found = Binomial::new(n1 as u64, share)
            .map_err(|_| StatsError::Statistic { replicate })?
            .sample(&mut rng);
        values.push(found as f64 / n1 as f64);
    }
    Ok(percentiles(estimate, values, confidence))
}

/// Percentiles with linear interpolation (type 7).
fn percentiles(estimate: f64, mut values: Vec<f64>, confidence: f64) -> BootstrapInterval {
    values.sort_unstable_by(f64::total_cmp);
    let at = |q: f64| {
        let place = q * (values.len() - 1) as f64;
        let (below, above) = (
            values[place.floor() as usize],
            values[place.ceil() as usize],
        );
        // Equal neighbours stay exact, infinite ones too.
        if below == above {
            below
        } else {
            below + (above - below) * place.fract()
        }
    };
    let tail = (1.0 - confidence) / 2.0;
    let (low, high) = (at(tail), at(1.0 - tail));
    BootstrapInterval {
        estimate,
        low,
        high,
        replicates: values.len(),
    }
}

/// Result of [`permutation_test`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PermutationTest {
    /// The AUC of the labels as they are.
    pub auc: f64,
    /// Share of labellings whose AUC is at least as far from 0.5, the true labelling counted as one of them.
    pub p_value: f64,
    /// Labellings drawn.
    pub permutations: usize,
}

/// Two-sided permutation test of AUC = 0.5: labels are dealt out anew, ties and all.
///
/// With (b + 1) / (B + 1) as p-value (Phipson & Smyth, 2010) the false-alarm rate never exceeds the level, however few
/// permutations; the smallest p-value is 1 / (B + 1).
///
/// # Errors
/// [`StatsError::Empty`], [`StatsError::NotANumber`], or [`StatsError::OutOfRange`] for `permutations` = 0.
pub fn permutation_test(
    members: &[f64],
    nonmembers: &[f64],
    permutations: usize,
    seed: u64,
) -> Result<PermutationTest, StatsError> {
    check_scores(members, nonmembers)?;
    check_repetitions("number of permutations", permutations)?;
    let (n1, n0) = (members.len(), nonmembers.len());
    let mut ranks = midranks(members, nonmembers);
    // U = sum of the members' ranks - n1 (n1 + 1) / 2. Midranks are halves: the sums are exact, equality means
    // equality.
    let base = (n1 * (n1 + 1)) as f64 / 2.0;
    let chance = (n1 * n0) as f64 / 2.0;
    let u = ranks[..n1].iter().sum::<f64>() - base;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let as_far = (0..permutations)
        .filter(|_| {
            let (dealt, _) = ranks.partial_shuffle(&mut rng, n1);
            (dealt.iter().sum::<f64>() - base - chance).abs() >= (u - chance).abs()
        })
        .count();
    Ok(PermutationTest {
        auc: u / (n1 * n0) as f64,
        p_value: (as_far + 1) as f64 / (permutations + 1) as f64,
        permutations,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 60 members of which every fourth lies above the 300 non-members; every fifth score is rounded into ties.
    fn scores() -> (Vec<f64>, Vec<f64>) {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut draw = |i: usize, shift: f64| {
            let x: f64 = rng.random::<f64>() + shift;
            if i.is_multiple_of(5) {
                (x * 10.0).round() / 10.0
            } else {
                x
            }
        };
        let members = (0..60)
            .map(|i| draw(i, if i.is_multiple_of(4) { 0.6 } else { 0.1 }))
            .collect();
        (members, (0..300).map(|i| draw(i, 0.0)).collect())
    }

    #[test]
    fn the_shortcut_is_the_bootstrap() {
        let (m, n) = scores();
        for fpr in [0.1, 0.01] {
            let plain = bootstrap(&m, &n, 4000, 0.95, 1, |m, n| {
                Roc::new(m, n)
                    .and_then(|roc| roc.operating_point(fpr))
                    .map_or(f64::NAN, |p| p.tpr)
            })
            .unwrap();
            let quick = bootstrap_tpr_at_fpr(&m, &n, fpr, 4000, 0.95, 2).unwrap();
            assert_eq!(plain.estimate, quick.estimate);
            // One member is 0.017; the percentiles themselves jitter by about half of that.
            assert!((plain.low - quick.low).abs() < 0.026, "{plain:?} {quick:?}");
            assert!(
                (plain.high - quick.high).abs() < 0.026,
                "{plain:?} {quick:?}"
            );
            assert!(quick.low < quick.estimate && quick.estimate < quick.high);
        }
    }

    #[test]
    fn seeds_repeat_and_differ() {
        let (m, n) = scores();
        let with = |seed| bootstrap_tpr_at_fpr(&m, &n, 0.1, 500, 0.9, seed).unwrap();
        assert_eq!(with(3), with(3));
        let auc = |m: &[f64], n: &[f64]| Roc::new(m, n).map_or(f64::NAN, |r| r.auc());
        let with = |seed| bootstrap(&m, &n, 200, 0.9, seed, auc).unwrap();
        assert_eq!(with(3), with(3));
        assert_ne!(with(3), with(4));
    }

    #[test]
    fn all_may_be_called() {
        let all = bootstrap_tpr_at_fpr(&[0.0, 1.0], &[2.0], 1.0, 10, 0.95, 0).unwrap();
        assert_eq!((all.low, all.high), (1.0, 1.0));
    }

    #[test]
    fn nonsense_is_refused() {
        let constant = |value: f64| bootstrap(&[1.0], &[2.0], 3, 0.95, 0, move |_, _| value);
        assert_eq!(
            constant(f64::NAN),
            Err(StatsError::Statistic { replicate: 0 })
        );
        assert_eq!(constant(7.0).unwrap().high, 7.0);
        assert!(bootstrap(&[1.0], &[2.0], 0, 0.95, 0, |_, _| 0.0).is_err());
        assert!(permutation_test(&[1.0], &[2.0], 0, 0).is_err());
        assert!(bootstrap_tpr_at_fpr(&[1.0], &[2.0], -0.1, 5, 0.95, 0).is_err());
    }

    #[test]
    fn permutations_by_hand() {
        // 2 against 2, perfectly apart: 2 of the 6 labellings are as far from 0.5, so p is 1/3.
        let test = permutation_test(&[3.0, 4.0], &[1.0, 2.0], 20_000, 0).unwrap();
        assert_eq!(test.auc, 1.0);
        assert!((test.p_value - 1.0 / 3.0).abs() < 0.015, "{test:?}"); // 4.5 standard errors
        let flat = permutation_test(&[1.0; 3], &[1.0; 4], 50, 0).unwrap();
        assert_eq!((flat.auc, flat.p_value), (0.5, 1.0));
        let (m, n) = scores();
        assert!(permutation_test(&m, &n, 999, 0).unwrap().p_value <= 0.002);
    }
}
