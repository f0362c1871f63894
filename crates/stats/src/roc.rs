//! The exact ROC curve of a score, and operating points on it.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::CONFIDENCE;
use crate::binomial::two_sided;
use crate::error::{StatsError, check_rate, check_scores};

/// The exact step ROC: one point for every distinct score, tied scores entering together.
///
/// Public attack codes sample 2,000 or 10,000 evenly spaced thresholds, or take the point whose FPR is *nearest* to
/// the target (SecMI, GSA), which may exceed it. Here nothing is interpolated and a target FPR is never exceeded.
#[derive(Debug, Clone, PartialEq)]
pub struct Roc {
    points: Vec<RocPoint>,
    n_members: usize,
    n_nonmembers: usize,
}

/// What calling every score at or above `threshold` a member finds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RocPoint {
    /// False-positive rate `fp / n_nonmembers`.
    pub fpr: f64,
    /// True-positive rate `tp / n_members`.
    pub tpr: f64,
    /// Samples with `score >= threshold` are called members.
    pub threshold: f64,
    /// Members found.
    pub tp: usize,
    /// Non-members called members.
    pub fp: usize,
}

/// A threshold that JSON cannot hold.
fn or_infinite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::INFINITY))
}

/// The most members that can be found without exceeding a false-positive rate.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OperatingPoint {
    /// The FPR asked for.
    pub fpr: f64,
    /// The FPR at the threshold: the largest reachable one not above `fpr`.
    pub realised_fpr: f64,
    /// Samples with `score >= threshold` are called members. When no sample may be called, the smallest number above
    /// all scores; null in files where that is infinite.
    #[serde(deserialize_with = "or_infinite")]
    pub threshold: f64,
    /// Members found.
    pub tp: usize,
    /// Non-members called members.
    pub fp: usize,
    /// Members in all.
    pub n_members: usize,
    /// Non-members in all.
    pub n_nonmembers: usize,
    /// True-positive rate `tp / n_members`.
    pub tpr: f64,
    /// Exact (Clopper-Pearson) 95 % interval of the TPR at this threshold. The threshold depends on the non-members
    /// only, so the binomial model of `tp` holds although the threshold was picked from these data.
    pub tpr_ci: [f64; 2],
    /// Exact 95 % interval of the FPR at this threshold. The threshold is an order statistic of the non-members: the
    /// upper end is exact in spite of the choice, the lower end conservative.
    pub fpr_ci: [f64; 2],
    /// Whether `fpr * n_nonmembers >= 1`. Below that no single false positive is allowed, and the FPR cannot be told
    /// from 0.
    pub measurable: bool,
    /// Stratified bootstrap 95 % interval of the TPR with the threshold estimated anew in each replicate: wider than
    /// `tpr_ci`, because it answers for the FPR asked for and not for the threshold found. Filled in by
    /// [`crate::summarise`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpr_ci_bootstrap: Option<[f64; 2]>,
}

/// One place of the confidence band around a ROC curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BandPoint {
    /// False-positive rate of the ROC point.
    pub fpr: f64,
    /// Its true-positive rate.
    pub tpr: f64,
    /// Lower end of the TPR's interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Roc {
    /// Sorts the scores and counts.
    ///
    /// # Errors
    /// [`StatsError::Empty`] or [`StatsError::NotANumber`]. Infinite scores are allowed: they have a rank.
    pub fn new(members: &[f64], nonmembers: &[f64]) -> Result<Self, StatsError> {
        check_scores(members, nonmembers)?;
        let labelled = |scores: &[f64], member| scores.iter().map(move |&s| (s, member)).collect();
        let mut pooled: Vec<(f64, bool)> = labelled(members, true);
        pooled.extend::<Vec<_>>(labelled(nonmembers, false));
        pooled.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        let (mut tp, mut fp) = (0, 0);
        let points = pooled
            .chunk_by(|a, b| a.0 == b.0)
            .map(|tied| {
                let hits = tied.iter().filter(|(_, member)| *member).count();
                tp += hits;
                fp += tied.len() - hits;
                RocPoint {
                    fpr: fp as f64 / nonmembers.len() as f64,
                    tpr: tp as f64 / members.len() as f64,
                    threshold: tied[0].0,
                    tp,
                    fp,
                }
            })
            .collect();
        Ok(Self {
            points,
            n_members: members.len(),
            n_nonmembers: nonmembers.len(),
        })
    }

    /// The points from the highest threshold down, ending at (1, 1). The origin, where nothing is called, is not
    /// listed.
    pub fn points(&self) -> &[RocPoint] {
        &self.points
    }

    /// Area under the curve: the chance that a random member scores above a random non-member, ties counting 1/2
    /// (Mann-Whitney's U / (n1 n0), from integer counts).
    pub fn auc(&self) -> f64 {
        let (mut twice_u, mut tp, mut fp) = (0_u128, 0, 0);
        for point in &self.points {
            // Non-members of this step lie below the members before it and tie with those of it.
            twice_u += (point.fp - fp) as u128 * (tp + point.tp) as u128;
            (tp, fp) = (point.tp, point.fp);
        }
        twice_u as f64 / (2.0 * self.n_members as f64 * self.n_nonmembers as f64)
    }

    /// The largest TPR over all thresholds whose FPR is at most `target_fpr` (conservative: never interpolated).
    ///
    /// # Errors
    /// [`StatsError::OutOfRange`] when `target_fpr` is not in [0, 1].
    pub fn operating_point(&self, target_fpr: f64) -> Result<OperatingPoint, StatsError> {
        check_rate("target FPR", target_fpr)?;
        let (n1, n0) = (self.n_members, self.n_nonmembers);
        let allowed = allowed_false_positives(target_fpr, n0);
        // TPR and FPR only grow along the points: the last admissible one is the best.
        let admissible = self.points.partition_point(|point| point.fp <= allowed);
        let (threshold, tp, fp) = match admissible.checked_sub(1) {
            Some(last) => {
                let point = &self.points[last];
                (point.threshold, point.tp, point.fp)
            }
            None => (self.points[0].threshold.next_up(), 0, 0),
        };
        let tail = (1.0 - CONFIDENCE) / 2.0;
        Ok(OperatingPoint {
            fpr: target_fpr,
            realised_fpr: fp as f64 / n0 as f64,
            threshold,
            tp,
            fp,
            n_members: n1,
            n_nonmembers: n0,
            tpr: tp as f64 / n1 as f64,
            tpr_ci: two_sided(tp as u64, n1 as u64, tail),
            fpr_ci: two_sided(fp as u64, n0 as u64, tail),
            measurable: allowed >= 1,
            tpr_ci_bootstrap: None,
        })
    }

    /// Largest (TPR + 1 - FPR) / 2 over all thresholds, at least 0.5: the "attack success rate" of the SecMI line of
    /// papers.
    ///
    /// The threshold is picked on the very scores it is judged by, so this is biased upwards: with 64 and 512 scores
    /// that mean nothing its mean is about 0.54.
    pub fn balanced_accuracy(&self) -> f64 {
        self.points
            .iter()
            .map(|p| (p.tpr + 1.0 - p.fpr) / 2.0)
            .fold(0.5, f64::max)
    }

    /// Pointwise exact interval of the TPR at each threshold, for drawing; one entry per entry of [`Self::points`].
    ///
    /// Pointwise means that each interval alone has the confidence; the whole curve leaves the band more often.
    /// `confidence` is clamped to `[1e-6, 1 - 1e-6]`.
    pub fn band(&self, confidence: f64) -> Vec<BandPoint> {
        let tail = (1.0 - confidence.clamp(1e-6, 1.0 - 1e-6)) / 2.0;
        let mut band: Vec<BandPoint> = Vec::with_capacity(self.points.len());
        let mut last = (usize::MAX, [0.0, 1.0]);
        for point in &self.points {
            // Runs of non-members share their interval.
            if last.0 != point.tp {
                let (tp, n) = (point.tp as u64, self.n_members as u64);
                last = (point.tp, two_sided(tp, n, tail));
            }
            let [low, high] = last.1;
            band.push(BandPoint {
                fpr: point.fpr,
                tpr: point.tpr,
                low,
                high,
            });
        }
        band
    }
}

/// Non-members that a threshold may call without exceeding `fpr`.
///
/// The product is nudged up by a relative 1e-12, so that 0.29 of 100 (28.999999999999996 in binary) is 29.
pub(crate) fn allowed_false_positives(fpr: f64, n_nonmembers: usize) -> usize {
    (fpr * n_nonmembers as f64 * (1.0 + 1e-12)).floor() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBERS: [f64; 3] = [0.9, 0.8, 0.4];
    const NONMEMBERS: [f64; 4] = [0.7, 0.4, 0.2, 0.1];

    #[test]
    fn points_by_hand_with_a_tie() {
        let roc = Roc::new(&MEMBERS, &NONMEMBERS).unwrap();
        let counts: Vec<_> = roc
            .points()
            .iter()
            .map(|p| (p.threshold, p.tp, p.fp))
            .collect();
        let expected = [
            (0.9, 1, 0),
            (0.8, 2, 0),
            (0.7, 2, 1),
            (0.4, 3, 2),
            (0.2, 3, 3),
            (0.1, 3, 4),
        ];
        assert_eq!(counts, expected);
        assert_eq!(roc.auc(), 0.875); // 4 + 4 + 2.5 of 12 pairs
        assert_eq!(roc.balanced_accuracy(), (2.0 / 3.0 + 1.0) / 2.0);
    }

    #[test]
    fn operating_points_never_exceed_the_target() {
        let roc = Roc::new(&MEMBERS, &NONMEMBERS).unwrap();
        let at = |fpr| roc.operating_point(fpr).unwrap();
        let none = at(0.2);
        assert_eq!(
            (none.tp, none.fp, none.threshold, none.measurable),
            (2, 0, 0.8, false)
        );
        let one = at(0.25);
        assert_eq!(
            (one.tp, one.fp, one.threshold, one.measurable),
            (2, 1, 0.7, true)
        );
        assert_eq!(one.realised_fpr, 0.25);
        assert_eq!((at(0.49).tp, at(0.5).tp, at(1.0).fp), (2, 3, 4));
        assert!(roc.operating_point(1.5).is_err() && roc.operating_point(f64::NAN).is_err());
    }

    #[test]
    fn a_tie_at_the_top_leaves_no_threshold() {
        let point = Roc::new(&[1.0, 1.0], &[1.0, 0.0])
            .unwrap()
            .operating_point(0.0)
            .unwrap();
        assert_eq!((point.tp, point.fp, point.tpr_ci[0]), (0, 0, 0.0));
        assert!(point.threshold > 1.0 && point.threshold.is_finite());
    }

    #[test]
    fn decimal_rates_are_not_lost_to_rounding() {
        assert_eq!(allowed_false_positives(0.29, 100), 29);
        assert_eq!(allowed_false_positives(0.01, 512), 5);
        assert_eq!(allowed_false_positives(0.001, 999), 0);
        assert_eq!(allowed_false_positives(0.001, 1000), 1);
        assert_eq!(allowed_false_positives(1.0, 7), 7);
    }

    #[test]
    fn extremes() {
        assert_eq!(Roc::new(&[2.0, 3.0], &[1.0, 0.0]).unwrap().auc(), 1.0);
        assert_eq!(Roc::new(&[0.0], &[1.0]).unwrap().auc(), 0.0);
        let flat = Roc::new(&[1.0; 5], &[1.0; 3]).unwrap();
        assert_eq!(
            (flat.auc(), flat.points().len(), flat.balanced_accuracy()),
            (0.5, 1, 0.5)
        );
        assert_eq!(
            Roc::new(&[f64::INFINITY], &[f64::NEG_INFINITY, 0.0])
                .unwrap()
                .auc(),
            1.0
        );
        assert_eq!(Roc::new(&[0.0], &[-0.0]).unwrap().auc(), 0.5);
    }

    #[test]
    fn the_band_holds_the_curve() {
        let band = Roc::new(&MEMBERS, &NONMEMBERS).unwrap().band(0.95);
        assert_eq!(band.len(), 6);
        assert!(band.iter().all(|b| b.low <= b.tpr && b.tpr <= b.high));
        assert!(
            band.windows(2)
                .all(|w| w[0].low <= w[1].low && w[0].high <= w[1].high)
        );
    }
}
