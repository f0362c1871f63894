//! Whole groups instead of images: patients, artists, near-duplicates, or classes.
//!
//! Images of one patient are no independent trials of the training, so an interval over images is too narrow. A group's mean score
//! is one number, and groups are independent of each other: the AUC of such numbers, and its interval, are what can be said of a
//! patient.

use std::collections::{BTreeMap, HashMap};

use dualmd_stats::Roc;

use crate::measure::fixed_points;
use crate::report::{AttackResult, ByGroup, View};
use crate::samples::{samples, unit};
use crate::scores::ScoresFile;

/// Groups of either kind below which nothing is said.
const FEWEST: usize = 5;

/// Every attack by groups; nothing where no group has more than one image of a side, or there are few groups. A group with
/// images on both sides, such as a class, counts on each.
pub fn by_groups(
    scores: &ScoresFile,
    results: &[AttackResult],
    primary: View,
    halves: &HashMap<String, u8>,
) -> Vec<ByGroup> {
    let mut out = Vec::new();
    for result in results.iter().filter(|r| r.view(primary).is_some()) {
        let scored = samples(scores, &result.attack, primary, halves);
        let mut sums: BTreeMap<(String, bool), (f64, usize)> = BTreeMap::new();
        for key in scored.keys() {
            if let Some(row) = scored.get(key) {
                let (sum, n) = sums.entry((unit(key, row), key.1)).or_default();
                *sum += row.score;
                *n += 1;
            }
        }
        let side = |member: bool| -> Vec<f64> {
            let own = sums.iter().filter(|((_, m), _)| *m == member);
            own.map(|(_, (sum, n))| sum / *n as f64).collect()
        };
        let (members, nonmembers) = (side(true), side(false));
        let alone = sums.values().all(|(_, n)| *n == 1);
        if alone || members.len() < FEWEST || nonmembers.len() < FEWEST {
            continue;
        }
        // Means of scores that were measured one by one before.
        let Ok(found) = dualmd_stats::auc_interval(&members, &nonmembers, 0.95) else {
            continue;
        };
        out.push(ByGroup {
            attack: result.attack.clone(),
            title: result.title.clone(),
            member_groups: members.len(),
            nonmember_groups: nonmembers.len(),
            auc: found.auc,
            auc_ci: [found.low, found.high],
            tpr_at_fpr: Roc::new(&members, &nonmembers)
                .and_then(|roc| fixed_points(&roc))
                .unwrap_or_default(),
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scores::ScoreRow;

    /// 6 patients with 5 images each on either side, whose scores are the patient's alone.
    fn file(grouped: bool) -> ScoresFile {
        let row = |patient: usize, image: usize| ScoreRow {
            sample_id: format!("{patient}-{image}"),
            name: None,
            group: grouped.then(|| format!("patient {patient}")),
            member: patient < 6,
            attack: "a".into(),
            // Members are at 3, 4, ..., others at 0.5, 1.5, ...
            score: match patient {
                p if p < 6 => 3.0 + p as f64,
                p => p as f64 - 5.5,
            },
        };
        let rows = (0..12).flat_map(|p| (0..5).map(move |i| (p, i)));
        ScoresFile {
            rows: rows.map(|(p, i)| row(p, i)).collect(),
        }
    }

    fn asked(scores: &ScoresFile) -> (AttackResult, Vec<ByGroup>) {
        let (m, n) = scores.sides("a");
        let result = AttackResult {
            pooled: crate::measure::measure(&m, &n, 1, &[0.1], 0).ok(),
            ..AttackResult::named("a")
        };
        let halves = HashMap::new();
        let found = by_groups(scores, std::slice::from_ref(&result), View::Pooled, &halves);
        (result, found)
    }

    #[test]
    fn patients_count_once() {
        let (by_image, found) = asked(&file(true));
        let [by_patient] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(
            (by_patient.member_groups, by_patient.nonmember_groups),
            (6, 6)
        );
        // Of the 36 pairs of patients the members at 3, 4 and 5 lose to 3, 2 and 1 of the others.
        assert!(
            (by_patient.auc - 30.0 / 36.0).abs() < 1e-12,
            "{by_patient:?}"
        );
        // One of six other patients may be called a member at 1 in 10: none at all, so that nothing can be said.
        assert!(by_patient.tpr_at_fpr.iter().all(|p| !p.measurable));
        let image = by_image.pooled.expect("measured");
        assert!((image.auc - by_patient.auc).abs() < 1e-12);
        let width = |ci: [f64; 2]| ci[1] - ci[0];
        assert!(width(by_patient.auc_ci) > 1.5 * width(image.auc_ci));
        assert!(asked(&file(false)).1.is_empty());
    }
}
