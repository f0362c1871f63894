//! Are two AUCs of the same samples (two models, two attacks) different?

use serde::Serialize;

use crate::auc::{AucInterval, Components, variance_of_mean};
use crate::binomial::two_sided_p;
use crate::error::{StatsError, check_open_unit, check_scores};

/// First AUC minus second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AucDifference {
    /// AUC of the first scores.
    pub first: f64,
    /// AUC of the second scores.
    pub second: f64,
    /// `first - second`.
    pub difference: f64,
    /// Lower end of the difference's interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Two-sided, of the hypothesis that the true AUCs are equal.
    pub p_value: f64,
    /// Correlation of the two estimates by DeLong's covariance.
    pub correlation: f64,
}

/// DeLong's test for two scores of the same samples: `members_b[i]` must belong to the sample of `members_a[i]`.
///
/// The p-value is that of DeLong et al. (1988). The interval joins the two single intervals of
/// [`crate::auc_interval`] by the MOVER rule with DeLong's correlation (Zou, 2007), because plain DeLong is too
/// narrow when one AUC is near 1 - the usual case when a defence is compared with an undefended model. Near p = 0.05
/// the two may therefore disagree. When DeLong's variance is zero (both AUCs at 0 or 1), the test uses the model
/// variance at the mean of the two AUCs, without correlation.
///
/// # Errors
/// [`StatsError::Unpaired`] for different lengths, else as [`crate::auc_interval`].
pub fn delong_paired(
    members_a: &[f64],
    nonmembers_a: &[f64],
    members_b: &[f64],
    nonmembers_b: &[f64],
    confidence: f64,
) -> Result<AucDifference, StatsError> {
    check_scores(members_a, nonmembers_a)?;
    check_scores(members_b, nonmembers_b)?;
    check_open_unit("confidence", confidence)?;
    for (side, a, b) in [
        ("member", members_a, members_b),
        ("non-member", nonmembers_a, nonmembers_b),
    ] {
        if a.len() != b.len() {
            return Err(StatsError::Unpaired {
                side,
                first: a.len(),
                second: b.len(),
            });
        }
    }
    let (a, b) = (
        Components::new(members_a, nonmembers_a),
        Components::new(members_b, nonmembers_b),
    );
    // The variance of the difference straight from the samples' own differences: Var a + Var b - 2 Cov without
    // cancellation.
    let differences =
        |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x - y).collect::<Vec<_>>();
    let variance = variance_of_mean(&differences(&a.of_members, &b.of_members))
        + variance_of_mean(&differences(&a.of_nonmembers, &b.of_nonmembers));
    let covariance = (a.variance + b.variance - variance) / 2.0;
    let scale = (a.variance * b.variance).sqrt();
    let correlation = if scale > 0.0 {
        (covariance / scale).clamp(-1.0, 1.0)
    } else {
        0.0
    };
    Ok(difference(&a, &b, variance, correlation, confidence))
}

fn difference(
    a: &Components,
    b: &Components,
    variance: f64,
    correlation: f64,
    confidence: f64,
) -> AucDifference {
    let difference = a.auc - b.auc;
    let (low, high) = mover(a.interval(confidence), b.interval(confidence), correlation);
    let variance = if variance > 0.0 {
        variance
    } else {
        let common = (a.auc + b.auc) / 2.0;
        a.model_variance(common) + b.model_variance(common)
    };
    let p_value = if difference == 0.0 {
        1.0
    } else {
        two_sided_p(difference / variance.sqrt())
    };
    AucDifference {
        first: a.auc,
        second: b.auc,
        difference,
        low: low.max(-1.0),
        high: high.min(1.0),
        p_value,
        correlation,
    }
}

/// "Method of variance estimates recovery": the distances of the single bounds stand in for z times the standard error.
fn mover(a: AucInterval, b: AucInterval, correlation: f64) -> (f64, f64) {
    // Rounding may leave a correlation of 1 a hair below zero.
    let join = |x: f64, y: f64| (x * x + y * y - 2.0 * correlation * x * y).max(0.0).sqrt();
    let difference = a.auc - b.auc;
    (
        difference - join(a.auc - a.low, b.high - b.auc),
        difference + join(a.high - a.auc, b.auc - b.low),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const M: [f64; 3] = [0.9, 0.8, 0.4];
    const N: [f64; 4] = [0.7, 0.4, 0.2, 0.1];

    #[test]
    fn a_score_does_not_differ_from_itself() {
        let d = delong_paired(&M, &N, &M, &N, 0.95).unwrap();
        assert_eq!((d.difference, d.p_value), (0.0, 1.0));
        assert!((d.correlation - 1.0).abs() < 1e-12);
        assert!(d.low <= 0.0 && d.high >= 0.0);
    }

    #[test]
    fn by_hand() {
        // Second score: members 2, 3, 1 against 0, 1.5, 0, 0: placements 1, 1, 0.75; and 1, 2/3, 1, 1.
        let d = delong_paired(&M, &N, &[2.0, 3.0, 1.0], &[0.0, 1.5, 0.0, 0.0], 0.95).unwrap();
        assert!((d.second - 11.0 / 12.0).abs() < 1e-15);
        // Differences of members: 0, 0, -1/8; of non-members: -1/3, 1/6, 0, 0.
        let members = (2.0 * (1.0_f64 / 24.0).powi(2) + (1.0_f64 / 12.0).powi(2)) / 2.0 / 3.0;
        let shifted = [-1.0 / 3.0, 1.0 / 6.0, 0.0, 0.0].map(|x: f64| (x + 1.0 / 24.0).powi(2));
        let variance = members + shifted.iter().sum::<f64>() / 3.0 / 4.0;
        let expected = two_sided_p(1.0 / 24.0 / variance.sqrt());
        assert!(
            (d.p_value - expected).abs() < 1e-12,
            "{} {expected}",
            d.p_value
        );
    }

    #[test]
    fn two_perfect_attacks_differ_by_an_unknown_little() {
        let (m, n) = ([5.0, 6.0, 7.0], [1.0, 2.0, 3.0]);
        let same = delong_paired(&m, &n, &m.map(|x| -1.0 / x), &n.map(|x| -1.0 / x), 0.95).unwrap();
        assert_eq!((same.difference, same.p_value), (0.0, 1.0));
        assert!(same.low < -0.2 && same.high > 0.2, "{same:?}");
        let opposite = delong_paired(&m, &n, &n, &m, 0.95).unwrap();
        assert_eq!(opposite.difference, 1.0);
        assert!(
            opposite.p_value > 0.001 && opposite.p_value < 0.05,
            "{opposite:?}"
        );
        assert!(opposite.low > 0.0 && opposite.high == 1.0);
    }

    #[test]
    fn pairs_must_be_pairs() {
        let error = delong_paired(&M, &N, &M[..2], &N, 0.95).unwrap_err();
        assert_eq!(
            error,
            StatsError::Unpaired {
                side: "member",
                first: 3,
                second: 2
            }
        );
    }
}
