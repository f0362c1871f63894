//! How far an AUC is from chance: its interval, and what an audit of this size can see at all.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::binomial::{normal_quantile, two_sided_z};
use crate::error::{StatsError, check_open_unit, check_scores};
use crate::ranks::{mean, placements, variance};

/// An AUC and where the true one lies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AucInterval {
    /// Mann-Whitney estimate, in [0, 1].
    pub auc: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Confidence of the interval, e.g. 0.95.
    pub confidence: f64,
    /// How it was computed.
    pub method: IntervalMethod,
}

/// How an AUC interval was computed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IntervalMethod {
    /// Hull of DeLong's interval on the logit scale and Newcombe's method 5.
    #[default]
    DelongNewcombe,
    /// Newcombe's method 5 alone: DeLong's variance is zero or undefined.
    Newcombe,
}

/// Interval of the AUC: the hull of DeLong's interval on the logit scale and Newcombe's method 5.
///
/// - DeLong's variance (DeLong et al., Biometrics 44, 1988) assumes no shape, but is an estimate: near 0 and 1 it
///   collapses, and at perfect separation the plain interval would be [1, 1]. The logit keeps it inside (0, 1)
///   (Pepe, "The Statistical Evaluation of Medical Tests", 2003).
/// - Newcombe's method 5 (Statistics in Medicine 25, 2006, part 2) inverts |auc - theta| = z sqrt(V(theta)) with a
///   variance that depends on theta and the sizes alone. It never collapses (64 of 64 members above all 512 non-members
///   give [0.983, 1]), and at theta = 0.5 its variance is the exact null variance; but it assumes a shape.
///
/// Each fails where the other holds. In 4,000 simulated audits of each of seven score shapes, five AUCs and five
/// sizes (the ignored test `auc_study`), the lowest coverage of a 95 % interval was 27 % for plain DeLong, 68 % on
/// the logit scale, 81 % for method 5 and 90 % for the hull, which covered at least 92 % in all other cases (the 90 %
/// are 32 members at AUC 0.95 of which all but about three stand far apart). The price: 1 % of width at AUC 0.5,
/// coverage near 99 % at AUC 0.99, and an interval half again too wide when few members are far less spread than many
/// non-members.
///
/// Because the hull contains the interval of method 5, `low > 0.5` implies that the Wilcoxon-Mann-Whitney test
/// (in its normal approximation) rejects as well. `tests/coverage.rs` keeps watch.
///
/// # Errors
/// [`StatsError::Empty`], [`StatsError::NotANumber`], or [`StatsError::OutOfRange`] for `confidence` outside (0, 1).
pub fn auc_interval(
    members: &[f64],
    nonmembers: &[f64],
    confidence: f64,
) -> Result<AucInterval, StatsError> {
    check_scores(members, nonmembers)?;
    check_open_unit("confidence", confidence)?;
    Ok(Components::new(members, nonmembers).interval(confidence))
}

/// DeLong's structural components of one AUC.
pub(crate) struct Components {
    pub auc: f64,
    /// Share of non-members below each member (V10).
    pub of_members: Vec<f64>,
    /// Share of members above each non-member (V01).
    pub of_nonmembers: Vec<f64>,
    /// DeLong's variance; 0 under perfect separation, NaN when a side has a single score.
    pub variance: f64,
}

impl Components {
    /// For scores that passed [`check_scores`].
    pub fn new(members: &[f64], nonmembers: &[f64]) -> Self {
        let of_members = placements(members, nonmembers);
        let of_nonmembers: Vec<f64> = placements(nonmembers, members)
            .into_iter()
            .map(|below| 1.0 - below)
            .collect();
        let auc = mean(&of_members);
        let variance = variance_of_mean(&of_members) + variance_of_mean(&of_nonmembers);
        Self {
            auc,
            of_members,
            of_nonmembers,
            variance,
        }
    }

    pub fn interval(&self, confidence: f64) -> AucInterval {
        let z = two_sided_z(confidence);
        let [mut low, mut high] =
            newcombe(self.auc, self.of_members.len(), self.of_nonmembers.len(), z);
        let mut method = IntervalMethod::Newcombe;
        // At 0 and 1 there is no logit, whatever rounding makes of the variance.
        if self.variance > 0.0 && self.auc > 0.0 && self.auc < 1.0 {
            let [logit_low, logit_high] = logit_interval(self.auc, self.variance, z);
            low = low.min(logit_low);
            high = high.max(logit_high);
            method = IntervalMethod::DelongNewcombe;
        }
        AucInterval {
            auc: self.auc,
            low,
            high,
            confidence,
            method,
        }
    }

    /// Variance of the AUC when the true one is `theta`, by method 5's model.
    pub fn model_variance(&self, theta: f64) -> f64 {
        newcombe_variance(theta, self.of_members.len(), self.of_nonmembers.len())
    }
}

/// Variance of a mean, s^2 / n.
pub(crate) fn variance_of_mean(values: &[f64]) -> f64 {
    variance(values) / values.len() as f64
}

pub(crate) fn logit_interval(auc: f64, variance: f64, z: f64) -> [f64; 2] {
    let logit = (auc / (1.0 - auc)).ln();
    let half = z * variance.sqrt() / (auc * (1.0 - auc));
    let inverse = |x: f64| 1.0 / (1.0 + (-x).exp());
    [inverse(logit - half), inverse(logit + half)]
}

/// V(theta) of Newcombe's method 5: Hanley & McNeil's (1982) variance for exponential scores with both sizes
/// replaced by their mean inside the brackets. At 0.5 it is (n1 + n0 + 1) / (12 n1 n0) exactly.
fn newcombe_variance(theta: f64, n1: usize, n0: usize) -> f64 {
    let (n1, n0) = (n1 as f64, n0 as f64);
    let rest = (n1 + n0) / 2.0 - 1.0;
    let shape = (1.0 - theta) / (2.0 - theta) + theta / (1.0 + theta);
    theta * (1.0 - theta) * (1.0 + rest * shape) / (n1 * n0)
}

/// All theta with |auc - theta| <= z sqrt(V(theta)).
pub(crate) fn newcombe(auc: f64, n1: usize, n0: usize, z: f64) -> [f64; 2] {
    let admits = |theta: f64| (auc - theta).abs() <= z * newcombe_variance(theta, n1, n0).sqrt();
    // V is zero at 0 and 1 and positive at the estimate: one change of sign on either side.
    let bound = |end: f64| {
        let (mut inside, mut outside) = (auc, end);
        for _ in 0..60 {
            let middle = (inside + outside) / 2.0;
            if admits(middle) {
                inside = middle;
            } else {
                outside = middle;
            }
        }
        inside
    };
    [bound(0.0), bound(1.0)]
}

/// Standard error of the AUC when membership means nothing: sqrt((n1 + n0 + 1) / (12 n1 n0)) (Mann & Whitney, 1947).
///
/// Exact for scores without ties, an upper limit with them. Infinite when a side is empty.
pub fn null_auc_se(n_members: usize, n_nonmembers: usize) -> f64 {
    let (n1, n0) = (n_members as f64, n_nonmembers as f64);
    if n_members == 0 || n_nonmembers == 0 {
        return f64::INFINITY;
    }
    ((n1 + n0 + 1.0) / (12.0 * n1 * n0)).sqrt()
}

/// The smallest measured AUC above 0.5 that a two-sided test at level `alpha` tells from chance: 0.5 + z null_se, at
/// most 1.
///
/// "With 64 members and 512 non-members, an AUC below 0.575 would not have been told from chance." A leak whose *true*
/// AUC is exactly this is seen in about every second audit only (44 % when a few members leak and the others do not);
/// [`minimum_detectable_auc_with_power`] asks for more. For several attacks divide `alpha` by their number. `alpha` is
/// clamped to `[1e-12, 1]`.
pub fn minimum_detectable_auc(n_members: usize, n_nonmembers: usize, alpha: f64) -> f64 {
    minimum_detectable_auc_with_power(n_members, n_nonmembers, alpha, 0.5)
}

/// The true AUC above 0.5 that a two-sided test at level `alpha` sees with probability `power`:
/// 0.5 + (z_(1 - alpha/2) + z_power) null_se, at most 1.
///
/// Uses the null's standard error for the alternative as well (Noether, 1987): near 0.5, where the question is asked,
/// they differ little for a shift, more when few members leak. `power` is clamped to `[0.5, 1 - 1e-12]`, `alpha` to
/// `[1e-12, 1]`.
pub fn minimum_detectable_auc_with_power(
    n_members: usize,
    n_nonmembers: usize,
    alpha: f64,
    power: f64,
) -> f64 {
    let critical = normal_quantile(1.0 - alpha.clamp(1e-12, 1.0) / 2.0);
    let reserve = normal_quantile(power.clamp(0.5, 1.0 - 1e-12));
    let se = null_auc_se(n_members, n_nonmembers);
    if se.is_finite() {
        (0.5 + (critical + reserve) * se).min(1.0)
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delong_by_hand_with_a_tie() {
        let c = Components::new(&[0.9, 0.8, 0.4], &[0.7, 0.4, 0.2, 0.1]);
        assert_eq!(c.of_members, [1.0, 1.0, 0.625]);
        assert!((c.of_nonmembers[0] - 2.0 / 3.0).abs() < 1e-15);
        assert!((c.of_nonmembers[1] - 2.5 / 3.0).abs() < 1e-15);
        assert_eq!(c.auc, 0.875);
        // (2 * 0.125^2 + 0.25^2) / 2 / 3  +  ((5/24)^2 + (1/24)^2 + 2 * 0.125^2) / 3 / 4
        let expected = 0.09375 / 6.0 + (26.0 / 576.0 + 0.03125) / 12.0;
        assert!((c.variance - expected).abs() < 1e-15, "{}", c.variance);
    }

    #[test]
    fn newcombe_solves_its_equation() {
        for (auc, n1, n0) in [
            (0.5, 64, 512),
            (0.9, 50, 50),
            (0.999, 64, 512),
            (0.2, 10, 3),
        ] {
            for theta in newcombe(auc, n1, n0, 1.96) {
                let distance = (auc - theta).abs() / newcombe_variance(theta, n1, n0).sqrt();
                assert!((distance - 1.96).abs() < 1e-6, "{auc} {theta}: {distance}");
            }
        }
    }

    #[test]
    fn the_model_is_exact_under_the_null() {
        for (n1, n0) in [(64, 512), (50, 50), (1, 1), (3, 17)] {
            let model = newcombe_variance(0.5, n1, n0).sqrt();
            assert!((model - null_auc_se(n1, n0)).abs() < 1e-15);
        }
    }

    #[test]
    fn perfect_separation_is_not_certainty() {
        let nonmembers: Vec<f64> = (0..512).map(f64::from).collect();
        let members: Vec<f64> = (1000..1064).map(f64::from).collect();
        let top = auc_interval(&members, &nonmembers, 0.95).unwrap();
        assert_eq!(
            (top.auc, top.high, top.method),
            (1.0, 1.0, IntervalMethod::Newcombe)
        );
        assert!(top.low > 0.982 && top.low < 0.984, "{top:?}");
        // Turned round, the mirror image.
        let bottom = auc_interval(&nonmembers, &members, 0.95).unwrap();
        assert_eq!((bottom.auc, bottom.low), (0.0, 0.0));
        assert!((bottom.high - (1.0 - top.low)).abs() < 1e-12);
    }

    #[test]
    fn no_information_is_not_certainty_either() {
        let flat = auc_interval(&[1.0; 50], &[1.0; 50], 0.95).unwrap();
        assert_eq!((flat.auc, flat.method), (0.5, IntervalMethod::Newcombe));
        assert!(flat.low < 0.4 && flat.high > 0.6);
        let single = auc_interval(&[1.0], &[0.0], 0.95).unwrap();
        assert_eq!(single.method, IntervalMethod::Newcombe);
        assert!(single.low < 0.25, "{single:?}");
    }

    #[test]
    fn what_64_members_can_show() {
        let se = null_auc_se(64, 512);
        assert!((se - (577.0_f64 / 393_216.0).sqrt()).abs() < 1e-15, "{se}");
        assert!((minimum_detectable_auc(64, 512, 0.05) - 0.575_080).abs() < 1e-5);
        let with_power = minimum_detectable_auc_with_power(64, 512, 0.05, 0.8);
        assert!((with_power - 0.607_319).abs() < 1e-5, "{with_power}");
        // The paper's Pokemon split: 0.5 +- 0.039.
        assert!((minimum_detectable_auc(416, 417, 0.05) - 0.539).abs() < 5e-4);
        assert_eq!(minimum_detectable_auc(1, 1, 0.05), 1.0);
        assert_eq!(minimum_detectable_auc(0, 10, 0.05), 1.0);
    }
}
