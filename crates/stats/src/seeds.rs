//! Several trainings with different seeds: how far do their results scatter, and where is the mean?
//!
//! One training gives one AUC, and its interval says how well these samples measure *that model*. Another seed gives
//! another model. The two uncertainties are different things and are reported side by side, never added up: the
//! between-seed interval speaks of the training procedure on these samples, the within-seed standard error of the
//! sampling of members and non-members - which, when all seeds are evaluated on the same samples, no number of seeds
//! makes smaller.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use statrs::function::beta::beta_reg;

use crate::CONFIDENCE;
use crate::error::{StatsError, check_finite};
use crate::ranks::{mean, variance};

/// A metric over training seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SeedSummary {
    /// Seeds.
    pub n: usize,
    /// Mean of the metric over the seeds.
    pub mean: f64,
    /// Standard deviation between seeds (divisor n - 1), the scatter of the evaluation included; `None` for one seed.
    pub between_sd: Option<f64>,
    /// 95 % interval of the mean over seeds, mean +- t sd / sqrt(n) with n - 1 degrees of freedom. Not cut at the ends
    /// of the metric's range. `None` for one seed: one training says nothing about the next.
    pub between_ci: Option<[f64; 2]>,
    /// Root mean square of the standard errors within the seeds, that of one typical seed; `None` when none were given.
    pub within_se: Option<f64>,
}

/// Combines a metric of several training seeds; `within_se` holds the standard error of each value, or nothing.
///
/// With three seeds the t quantile is 4.3: the interval is wide because three values hardly tell their own scatter. It
/// assumes that seeds scatter about normally.
///
/// ```
/// let aucs = dualmd_stats::combine_seeds(&[0.58, 0.61, 0.60], &[0.02, 0.02, 0.02])?;
/// assert!((aucs.mean - 0.5967).abs() < 1e-4);
/// assert!(aucs.between_ci.is_some_and(|[low, high]| low < 0.56 && high > 0.63));
/// # Ok::<(), dualmd_stats::StatsError>(())
/// ```
///
/// # Errors
/// [`StatsError::TooFew`] without values, [`StatsError::Lengths`] for standard errors that do not fit them,
/// [`StatsError::NotFinite`], or [`StatsError::OutOfRange`] for a negative standard error.
pub fn combine_seeds(values: &[f64], within_se: &[f64]) -> Result<SeedSummary, StatsError> {
    check_finite("value of seed", values)?;
    check_finite("standard error of seed", within_se)?;
    let n = values.len();
    if n == 0 {
        return Err(StatsError::TooFew {
            what: "seeds",
            got: 0,
            needed: 1,
            remedy: "give the metric of at least one training",
        });
    }
    if !within_se.is_empty() && within_se.len() != n {
        return Err(StatsError::Lengths {
            what: "standard errors",
            got: within_se.len(),
            expected: n,
            per: "seed",
        });
    }
    if let Some(&value) = within_se.iter().find(|&&se| se < 0.0) {
        return Err(StatsError::OutOfRange {
            name: "standard error",
            value,
            expected: "at least 0",
        });
    }
    let centre = mean(values);
    let between_sd = (n > 1).then(|| variance(values).sqrt());
    let squares: Vec<f64> = within_se.iter().map(|se| se * se).collect();
    Ok(SeedSummary {
        n,
        mean: centre,
        between_sd,
        between_ci: between_sd.map(|sd| {
            let half = t_quantile(n - 1, CONFIDENCE) * sd / (n as f64).sqrt();
            [centre - half, centre + half]
        }),
        within_se: (!squares.is_empty()).then(|| mean(&squares).sqrt()),
    })
}

/// The t that Student's distribution stays within (on both sides of 0) with probability `confidence`.
///
/// P[|T| > t] is the incomplete beta function I_x(df / 2, 1 / 2) at x = df / (df + t^2), which falls as t grows.
fn t_quantile(df: usize, confidence: f64) -> f64 {
    let df = df as f64;
    let outside = |t: f64| beta_reg(df / 2.0, 0.5, df / (df + t * t));
    let (mut low, mut high) = (0.0, 1.0);
    while outside(high) > 1.0 - confidence {
        (low, high) = (high, 2.0 * high);
    }
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if outside(middle) > 1.0 - confidence {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of every textbook; one degree of freedom has the closed form tan(0.475 pi).
    #[test]
    fn t_quantiles() {
        let tangent = (0.475 * std::f64::consts::PI).tan();
        for (df, expected) in [
            (1, tangent),
            (2, 4.302_653),
            (4, 2.776_445),
            (9, 2.262_157),
            (100, 1.983_972),
        ] {
            let t = t_quantile(df, 0.95);
            assert!((t - expected).abs() < 1e-6, "{df}: {t}");
        }
    }

    #[test]
    fn three_seeds_by_hand() {
        let s = combine_seeds(&[0.5, 0.6, 0.7], &[0.03, 0.04, 0.0]).unwrap();
        assert_eq!(s.n, 3);
        assert!((s.mean - 0.6).abs() < 1e-15);
        assert!((s.between_sd.unwrap() - 0.1).abs() < 1e-15);
        let half = 4.302_653 * 0.1 / 3.0_f64.sqrt();
        let [low, high] = s.between_ci.unwrap();
        assert!((low - 0.6 + half).abs() < 1e-7 && (high - 0.6 - half).abs() < 1e-7);
        assert!((s.within_se.unwrap() - (0.0025_f64 / 3.0).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn one_seed_has_no_interval() {
        let s = combine_seeds(&[0.7], &[]).unwrap();
        assert_eq!(
            (s.mean, s.between_sd, s.between_ci, s.within_se),
            (0.7, None, None, None)
        );
        let json = serde_json::to_value(s).unwrap();
        assert!(json["between_ci"].is_null());
    }

    /// 2,000 means of four normal values: the 95 % interval covers the truth in 0.935 to 0.965 (3 standard errors,
    /// false alarm 0.2 %). A normal quantile in place of t would cover 85 %.
    #[test]
    fn the_interval_covers() {
        use rand::SeedableRng as _;
        use rand_distr::{Distribution as _, Normal};
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(9);
        let normal = Normal::new(0.6, 0.02).unwrap();
        let covered = (0..2000).filter(|_| {
            let values: Vec<f64> = (0..4).map(|_| normal.sample(&mut rng)).collect();
            let [low, high] = combine_seeds(&values, &[]).unwrap().between_ci.unwrap();
            low <= 0.6 && 0.6 <= high
        });
        let coverage = covered.count() as f64 / 2000.0;
        assert!((0.935..=0.965).contains(&coverage), "{coverage}");
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(combine_seeds(&[], &[]).is_err());
        assert!(combine_seeds(&[0.5, f64::NAN], &[]).is_err());
        assert!(combine_seeds(&[0.5], &[-0.1]).is_err());
        let error = combine_seeds(&[0.5, 0.6], &[0.1]).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("there are 1 standard errors, but 2 are needed"),
            "{error}"
        );
    }
}
