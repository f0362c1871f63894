//! From scores to numbers: everything that calls `dualmd-stats`, and the binning of figures.

use dualmd_stats::{OperatingPoint, Roc, StatsError};

use crate::report::{Figures, Finding, Histogram, Measurement};

/// False-positive rates of the tables.
pub const FPRS: [f64; 3] = [0.1, 0.01, 0.001];

/// Chance of calling a model leaky when nothing leaks, over all of its attacks together.
pub const FAMILY_ALPHA: f64 = 0.05;

/// Where even a leak of this AUC would not be told from chance, there are too few images for anything to be said: an attacker who is
/// right 19 times in 20 could have gone unseen.
const TOO_FEW: f64 = 0.95;

/// Bins of a histogram.
const BINS: usize = 28;

/// Statistics of one attack on one set of members.
///
/// `comparisons` is the number of looks in its family: all attacks on the pooled members are one family, all attacks on
/// the two halves another. A *leak* is claimed
/// when the AUC's two-sided interval at confidence `1 - 0.05/comparisons` lies above 0.5, or when the number of members
/// found at the lowest measurable FPR has an exact one-sided p-value below `0.025/comparisons`. Each of the two tests
/// spends half of the 5 %, so within a family a model that leaks nothing is called leaky at most once in 20 audits. Which rates
/// are asked for (`fprs`) changes what is shown and not what is found: the finding looks at the lowest measurable one of [`FPRS`].
/// Where nothing is found among so few images that nothing could have been, the finding is unknown.
pub fn measure(
    members: &[f64],
    nonmembers: &[f64],
    comparisons: usize,
    fprs: &[f64],
    seed: u64,
) -> Result<Measurement, StatsError> {
    let summary = dualmd_stats::summarise(members, nonmembers, fprs, seed)?;
    let alpha = FAMILY_ALPHA / comparisons.max(1) as f64;
    let adjusted = dualmd_stats::auc_interval(members, nonmembers, 1.0 - alpha)?;
    let roc = Roc::new(members, nonmembers)?;
    let fixed = fixed_points(&roc)?;
    let exceedance_p = lowest_measurable(&fixed)
        .map(|p| exceedance_p(members.len(), nonmembers.len(), p.tp, p.fp));
    let finding = if adjusted.low > 0.5 || exceedance_p.is_some_and(|p| p < alpha / 2.0) {
        Finding::Leak
    } else if adjusted.high < 0.5 {
        Finding::Inverted
    } else if minimum_detectable_auc(members.len(), nonmembers.len(), comparisons) > TOO_FEW {
        Finding::Unknown
    } else {
        Finding::Chance
    };
    Ok(Measurement {
        n_members: members.len(),
        n_nonmembers: nonmembers.len(),
        auc: summary.auc,
        auc_ci: summary.auc_ci,
        auc_ci_method: summary.auc_ci_method,
        auc_ci_adjusted: [adjusted.low, adjusted.high],
        tpr_at_fpr: summary.tpr_at_fpr,
        balanced_accuracy: summary.balanced_accuracy,
        exceedance_p,
        finding,
    })
}

/// What is found at the rates of the tables, [`FPRS`].
pub fn fixed_points(roc: &Roc) -> Result<Vec<OperatingPoint>, StatsError> {
    let points = FPRS.into_iter().map(|fpr| roc.operating_point(fpr));
    points.collect()
}

/// The point of the lowest rate of false alarms that can be measured, where a leak of few members shows first.
pub fn lowest_measurable(points: &[OperatingPoint]) -> Option<&OperatingPoint> {
    let measurable = points.iter().filter(|p| p.measurable);
    measurable.min_by(|a, b| a.fpr.total_cmp(&b.fpr))
}

/// Exact chance that the `tp + fp` highest scores hold at least `tp` members when all orders are equally likely.
///
/// The threshold of an operating point is set by the non-members alone, so finding at least `tp` members means that
/// of the first `tp + fp` places at least `tp` go to members: a hypergeometric tail (Fisher's one-sided test).
fn exceedance_p(n1: usize, n0: usize, tp: usize, fp: usize) -> f64 {
    if tp == 0 {
        return 1.0;
    }
    let places = tp + fp;
    let mut ln_factorial = vec![0.0; n1 + n0 + 1];
    for i in 1..ln_factorial.len() {
        ln_factorial[i] = ln_factorial[i - 1] + (i as f64).ln();
    }
    let ln_choose = |n: usize, k: usize| ln_factorial[n] - ln_factorial[k] - ln_factorial[n - k];
    let ln_all = ln_choose(n1 + n0, places);
    (tp..=places.min(n1))
        .filter(|k| places - k <= n0)
        .map(|k| (ln_choose(n1, k) + ln_choose(n0, places - k) - ln_all).exp())
        .sum::<f64>()
        .min(1.0)
}

/// Difference of two AUCs on the same samples.
pub struct Difference {
    /// First minus second.
    pub difference: f64,
    /// 95 % interval.
    pub ci: [f64; 2],
    /// Two-sided.
    pub p_value: f64,
}

/// DeLong's test for two attacks or models on the same samples, given in the same order on both sides.
pub fn paired(
    members_a: &[f64],
    nonmembers_a: &[f64],
    members_b: &[f64],
    nonmembers_b: &[f64],
) -> Result<Difference, StatsError> {
    let d = dualmd_stats::delong_paired(members_a, nonmembers_a, members_b, nonmembers_b, 0.95)?;
    Ok(Difference {
        difference: d.difference,
        ci: [d.low, d.high],
        p_value: d.p_value,
    })
}

/// The smallest AUC that a two-sided test at 5 %, corrected for `comparisons` looks, would have told from 0.5.
pub fn minimum_detectable_auc(n_members: usize, n_nonmembers: usize, comparisons: usize) -> f64 {
    dualmd_stats::minimum_detectable_auc(
        n_members,
        n_nonmembers,
        FAMILY_ALPHA / comparisons.max(1) as f64,
    )
}

/// Standard error of the AUC when membership means nothing.
pub fn null_auc_se(n_members: usize, n_nonmembers: usize) -> f64 {
    dualmd_stats::null_auc_se(n_members, n_nonmembers)
}

/// ROC curve and histogram for the page.
pub fn figures(members: &[f64], nonmembers: &[f64]) -> Result<Figures, StatsError> {
    let roc = Roc::new(members, nonmembers)?;
    let mut points: Vec<[f64; 2]> = vec![[0.0, 0.0]];
    points.extend(roc.points().iter().map(|p| [p.fpr, p.tpr]));
    let band = roc
        .band(0.95)
        .iter()
        .map(|p| [p.fpr, p.low, p.high])
        .collect();
    Ok(Figures {
        histogram: histogram(members, nonmembers),
        roc: points,
        band,
    })
}

/// Bins between the 0.5 % and 99.5 % quantiles of all scores; what lies beyond falls into the outer bins, so that one
/// outlier does not squeeze everything else into a single bar. Scores of one sign that span more than a factor of 20
/// (sums of fourth powers do) are binned by the logarithm of their size, which keeps their order.
fn histogram(members: &[f64], nonmembers: &[f64]) -> Histogram {
    let mut all: Vec<f64> = members.iter().chain(nonmembers).copied().collect();
    all.sort_by(f64::total_cmp);
    let quantile =
        |sorted: &[f64], q: f64| sorted[((sorted.len() - 1) as f64 * q).round() as usize];
    let (low, high) = (quantile(&all, 0.005), quantile(&all, 0.995));
    let same_sign = all.first().is_some_and(|&x| x > 0.0) || all.last().is_some_and(|&x| x < 0.0);
    let log = same_sign && (low / high).abs().max((high / low).abs()) > 20.0;
    let place = |x: f64| if log { x.signum() * (x.abs().ln()) } else { x };
    // -ln|x| of a negative score rises with the score; ln x of a positive one does too.
    let (low, high) = (place(low), place(high));
    let width = if high > low {
        (high - low) / BINS as f64
    } else {
        1.0
    };
    let shares = |scores: &[f64]| {
        let mut bins = vec![0.0; BINS];
        for &x in scores {
            let bin = ((place(x) - low) / width)
                .floor()
                .clamp(0.0, (BINS - 1) as f64) as usize;
            bins[bin] += 1.0 / scores.len() as f64;
        }
        bins
    };
    Histogram {
        members: shares(members),
        nonmembers: shares(nonmembers),
        log,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceedance_by_hand() {
        // 2 members, 2 non-members, both members on top: 1 of the 6 orders of two places.
        assert!((exceedance_p(2, 2, 2, 0) - 1.0 / 6.0).abs() < 1e-12);
        // At least one member among the top two: 1 - C(2,2)/6.
        assert!((exceedance_p(2, 2, 1, 1) - 5.0 / 6.0).abs() < 1e-12);
        assert_eq!(exceedance_p(5, 5, 0, 3), 1.0);
    }

    /// 0.5 + 1.96 sqrt((m + n + 1) / (12 m n)) is 1 for one against one, 0.999 for three against three, 0.92 for four against four; with
    /// ten attacks 1.96 becomes 2.81.
    #[test]
    fn a_few_images_say_nothing() {
        let of = |m: usize, n: usize, looks: usize| {
            let spread = |n: usize| {
                let even = (0..n).map(|i| (i as f64 + 0.5) / n as f64);
                even.collect::<Vec<f64>>()
            };
            measure(&spread(m), &spread(n), looks, &[0.01], 0)
                .expect("scores")
                .finding
        };
        assert_eq!(of(1, 1, 1), Finding::Unknown);
        assert_eq!(of(3, 3, 1), Finding::Unknown);
        assert_eq!(of(4, 4, 1), Finding::Chance);
        assert_eq!(of(4, 4, 10), Finding::Unknown);
        assert_eq!(of(3, 200, 1), Finding::Chance);
    }

    #[test]
    fn log_axes_keep_the_order_of_negative_scores() {
        // A higher score is nearer to zero; members must land on the right.
        let members: Vec<f64> = (1..=20).map(|i| -f64::from(i)).collect();
        let nonmembers: Vec<f64> = (1..=20).map(|i| -1000.0 * f64::from(i)).collect();
        let h = histogram(&members, &nonmembers);
        assert!(h.log);
        let centre = |bins: &[f64]| {
            bins.iter()
                .enumerate()
                .map(|(i, s)| i as f64 * s)
                .sum::<f64>()
        };
        assert!(centre(&h.members) > centre(&h.nonmembers));
        assert!((h.members.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn equal_scores_do_not_divide_by_zero() {
        let h = histogram(&[1.0; 4], &[1.0; 9]);
        assert!((h.nonmembers.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_model_that_leaks_nothing_is_rarely_called_leaky() {
        use rand::{Rng as _, SeedableRng as _};
        // 200 audits of five unrelated attacks, 64 members, 512 non-members, nothing to find. At the promised 5 % the
        // count is at most 19 in all but 1 of 300 such simulations; the seed makes the outcome the same every time.
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        let mut draw = |n: usize, shift: f64| -> Vec<f64> {
            (0..n).map(|_| rng.random::<f64>() + shift).collect()
        };
        let audits = 200;
        let leaky = (0..audits)
            .filter(|_| {
                (0..5).any(|_| {
                    let found = measure(&draw(64, 0.0), &draw(512, 0.0), 5, &[0.01], 0);
                    found.expect("scores").finding == Finding::Leak
                })
            })
            .count();
        assert!(leaky <= 19, "{leaky} of {audits}");
        // A shift of 0.2 on a uniform score is an AUC of 0.68: seen nearly always.
        let seen = measure(&draw(64, 0.2), &draw(512, 0.0), 5, &[0.01], 0).expect("scores");
        assert_eq!(seen.finding, Finding::Leak);
    }

    #[test]
    fn a_few_exposed_members_are_found_at_low_false_alarms() {
        // 8 of 64 members stand out, the others are spread like the non-members: the AUC alone would miss it.
        let nonmembers: Vec<f64> = (0..512).map(f64::from).collect();
        let mut members: Vec<f64> = (0..56).map(|i| f64::from(i) * 512.0 / 56.0 - 4.0).collect();
        members.extend([1000.0; 8]);
        let m = measure(&members, &nonmembers, 5, &FPRS, 0).expect("scores");
        assert!(m.auc_ci_adjusted[0] < 0.5, "{m:?}");
        assert_eq!(m.finding, Finding::Leak);
    }
}
