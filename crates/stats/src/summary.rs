//! Everything a row of a report says about one attack.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::CONFIDENCE;
use crate::auc::{IntervalMethod, auc_interval};
use crate::error::StatsError;
use crate::resample::bootstrap_tpr_at_fpr;
use crate::roc::{OperatingPoint, Roc};

/// Resamples behind the bootstrap intervals.
const REPLICATES: usize = 2000;

/// Statistics of one attack on one model; serialises with the names of `report.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttackSummary {
    /// Members scored.
    pub n_members: usize,
    /// Non-members scored.
    pub n_nonmembers: usize,
    /// Mann-Whitney AUC, ties counting 1/2; below 0.5 when the attack ranks the wrong way.
    pub auc: f64,
    /// 95 % interval, see [`crate::auc_interval`].
    pub auc_ci: [f64; 2],
    /// How the interval was computed.
    pub auc_ci_method: IntervalMethod,
    /// One entry per false-positive rate asked for, in that order.
    pub tpr_at_fpr: Vec<OperatingPoint>,
    /// Largest (TPR + 1 - FPR) / 2, chosen on these scores.
    pub balanced_accuracy: f64,
}

/// Bundles the statistics of one attack, with 95 % intervals. `seed` drives the bootstrap of the TPRs only.
///
/// # Errors
/// [`StatsError::Empty`], [`StatsError::NotANumber`], or [`StatsError::OutOfRange`] for a rate outside [0, 1].
pub fn summarise(
    members: &[f64],
    nonmembers: &[f64],
    fprs: &[f64],
    seed: u64,
) -> Result<AttackSummary, StatsError> {
    let roc = Roc::new(members, nonmembers)?;
    let interval = auc_interval(members, nonmembers, CONFIDENCE)?;
    let tpr_at_fpr = fprs
        .iter()
        .map(|&fpr| {
            let redrawn =
                bootstrap_tpr_at_fpr(members, nonmembers, fpr, REPLICATES, CONFIDENCE, seed)?;
            let mut point = roc.operating_point(fpr)?;
            point.tpr_ci_bootstrap = Some([redrawn.low, redrawn.high]);
            Ok(point)
        })
        .collect::<Result<Vec<_>, StatsError>>()?;
    Ok(AttackSummary {
        n_members: members.len(),
        n_nonmembers: nonmembers.len(),
        // From integer counts: exact where the interval's mean of placements is rounded.
        auc: roc.auc(),
        auc_ci: [interval.low, interval.high],
        auc_ci_method: interval.method,
        tpr_at_fpr,
        balanced_accuracy: roc.balanced_accuracy(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_the_report() {
        let summary = summarise(&[0.9, 0.8, 0.4], &[0.7, 0.4, 0.2, 0.1], &[0.25], 0).unwrap();
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["n_members"], 3);
        assert_eq!(json["n_nonmembers"], 4);
        assert_eq!(json["auc"], 0.875);
        assert_eq!(json["auc_ci"].as_array().unwrap().len(), 2);
        assert_eq!(json["auc_ci_method"], "delong-newcombe");
        let point = &json["tpr_at_fpr"][0];
        for key in ["fpr", "realised_fpr", "tpr", "threshold"] {
            assert!(point[key].is_f64(), "{key}: {point}");
        }
        assert_eq!((&point["tp"], &point["fp"]), (&2.into(), &1.into()));
        assert_eq!(point["measurable"], true);
        for key in ["tpr_ci", "fpr_ci", "tpr_ci_bootstrap"] {
            assert_eq!(point[key].as_array().unwrap().len(), 2, "{key}");
        }
    }

    #[test]
    fn no_rates_and_bad_rates() {
        assert!(
            summarise(&[1.0], &[0.0], &[], 0)
                .unwrap()
                .tpr_at_fpr
                .is_empty()
        );
        assert!(summarise(&[1.0], &[0.0], &[2.0], 0).is_err());
        assert!(summarise(&[], &[0.0], &[0.1], 0).is_err());
    }
}
