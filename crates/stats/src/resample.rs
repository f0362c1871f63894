//! Bootstrap intervals of a rate.
//!
//! Members and non-members are resampled separately (stratified): their numbers are part of the design.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Beta, Binomial, Distribution as _};
use serde::Serialize;

use crate::error::{StatsError, check_open_unit, check_rate, check_repetitions};
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

/// Stratified percentile bootstrap of the TPR at `target_fpr`, the threshold estimated anew in every replicate, without
/// resampling a score. Use 1,000 replicates or more.
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
/// [`StatsError::Empty`], [`StatsError::NotANumber`], [`StatsError::OutOfRange`] for `replicates` = 0, a `confidence` outside
/// (0, 1) or a `target_fpr` outside [0, 1].
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

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng as _;

    /// The plain stratified percentile bootstrap, which the shortcut is compared with.
    fn bootstrap(
        members: &[f64],
        nonmembers: &[f64],
        replicates: usize,
        confidence: f64,
        seed: u64,
        statistic: impl Fn(&[f64], &[f64]) -> f64,
    ) -> Result<BootstrapInterval, StatsError> {
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
        assert!((4..9).any(|seed| with(3) != with(seed)));
    }

    #[test]
    fn all_may_be_called() {
        let all = bootstrap_tpr_at_fpr(&[0.0, 1.0], &[2.0], 1.0, 10, 0.95, 0).unwrap();
        assert_eq!((all.low, all.high), (1.0, 1.0));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(bootstrap_tpr_at_fpr(&[1.0], &[2.0], 0.1, 0, 0.95, 0).is_err());
        assert!(bootstrap_tpr_at_fpr(&[1.0], &[2.0], -0.1, 5, 0.95, 0).is_err());
    }
}
