//! Checks of the audit itself: would it have seen a leak where there is none?

use dualmd_record::controls;
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use crate::files::ModelFiles;
use crate::measure::{measure, null_auc_se};
use crate::report::{BlindBaseline, BlindFamily, NullControl};

/// Permutations of the null control.
const REDRAWS: usize = 1000;

/// Sets that differ void the audit when the whole 95 % interval of the most telling family lies above this AUC. A smaller
/// difference cannot explain what the attacks claim, but is said.
pub const VOID_ABOVE: f64 = 0.55;

/// Judges the blind baseline. Whether the sets differ at all is decided by the baseline's own test (1 % false alarms, all families of
/// features together), by how much from the most telling family. Files of earlier versions have no test: there the interval decides.
pub fn blind(file: controls::BlindBaseline) -> BlindBaseline {
    let telling = file
        .families
        .iter()
        .filter(|f| f.telling)
        .max_by(|a, b| a.auc.total_cmp(&b.auc));
    let (auc, auc_ci) = telling.map_or((file.auc, file.auc_ci), |f| (f.auc, f.auc_ci));
    let differ = file.void.unwrap_or(auc_ci[0] > 0.5);
    let outcome = match (differ, auc_ci[0] > VOID_ABOVE) {
        (true, true) => "void",
        (true, false) => "warning",
        (false, _) => "passed",
    };
    let outcome = outcome.into();
    BlindBaseline {
        auc,
        auc_ci,
        features: file.features,
        method: file.method,
        p_value: file.p_value,
        families: file.families.into_iter().map(BlindFamily::of).collect(),
        why: file.why,
        outcome,
    }
}

/// Redraws the labels of the strongest attack: with labels that mean nothing its AUC must be 0.5.
/// `None` when no attack gave scores on both sides.
pub fn null(models: &[ModelFiles], seed: u64) -> Option<NullControl> {
    let (model, attack, auc) = models
        .iter()
        .flat_map(|m| {
            m.scores
                .iter()
                .flat_map(move |s| s.attacks().into_iter().map(move |a| (m, s, a)))
        })
        .filter_map(|(model, scores, attack)| {
            let (members, nonmembers) = scores.sides(&attack);
            Some((
                model,
                attack,
                measure(&members, &nonmembers, 1, &[], seed).ok()?.auc,
            ))
        })
        .max_by(|a, b| a.2.total_cmp(&b.2))?;
    let (members, nonmembers) = model.scores.as_ref()?.sides(&attack);
    let (n1, n0) = (members.len(), nonmembers.len());
    let mut ranks = midranks(&members, &nonmembers);
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x6e75_6c6c);
    let mut aucs: Vec<f64> = (0..REDRAWS)
        .map(|_| {
            // Only the first n1 places, the redrawn members, matter.
            let (drawn, _) = ranks.partial_shuffle(&mut rng, n1);
            (drawn.iter().sum::<f64>() - (n1 * (n1 + 1)) as f64 / 2.0) / (n1 * n0) as f64
        })
        .collect();
    aucs.sort_by(f64::total_cmp);
    let mean = aucs.iter().sum::<f64>() / REDRAWS as f64;
    let at = |q: f64| aucs[((REDRAWS - 1) as f64 * q).round() as usize];
    let se = null_auc_se(n1, n0);
    let beyond = aucs
        .iter()
        .filter(|a| (*a - 0.5).abs() >= (auc - 0.5).abs() - 1e-12)
        .count();
    let auc_ci = [at(0.025), at(0.975)];
    Some(NullControl {
        model: model.name.clone(),
        attack,
        redraws: REDRAWS,
        seed,
        auc: mean,
        auc_ci,
        expected_ci: [0.5 - 1.96 * se, 0.5 + 1.96 * se],
        p_value: (beyond + 1) as f64 / (REDRAWS + 1) as f64,
        // The mean of 1,000 permutations is off by more than 4 of its standard errors once in 16,000 audits.
        passed: auc_ci[0] <= 0.5
            && auc_ci[1] >= 0.5
            && (mean - 0.5).abs() < 4.0 * se / (REDRAWS as f64).sqrt(),
    })
}

/// Ranks of all scores from 1, ties sharing their mean rank, members first.
fn midranks(members: &[f64], nonmembers: &[f64]) -> Vec<f64> {
    let all: Vec<f64> = members.iter().chain(nonmembers).copied().collect();
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|&a, &b| all[a].total_cmp(&all[b]));
    let mut ranks = vec![0.0; all.len()];
    let mut start = 0;
    while start < order.len() {
        let mut end = start;
        while end < order.len() && all[order[end]] == all[order[start]] {
            end += 1;
        }
        for &i in &order[start..end] {
            ranks[i] = (start + end + 1) as f64 / 2.0;
        }
        start = end;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scores::{ScoreRow, ScoresFile};

    #[test]
    fn midranks_share_ties() {
        assert_eq!(midranks(&[2.0, 1.0], &[2.0, 3.0]), [2.5, 1.0, 2.5, 4.0]);
    }

    #[test]
    fn redrawn_labels_of_a_perfect_attack_are_at_chance() {
        let row = |i: usize| ScoreRow {
            sample_id: i.to_string(),
            name: None,
            group: None,
            member: i < 40,
            attack: "loss".into(),
            score: -(i as f64),
        };
        let model = ModelFiles {
            name: "m".into(),
            scores: Some(ScoresFile {
                rows: (0..200).map(row).collect(),
            }),
            ..ModelFiles::default()
        };
        let control = null(&[model], 3).expect("scores");
        assert!(control.passed, "{control:?}");
        assert!(
            (control.auc_ci[0] - control.expected_ci[0]).abs() < 0.02,
            "{control:?}"
        );
        assert!(control.p_value < 0.002);
    }

    #[test]
    fn the_blind_baseline_voids_only_beyond_its_margin() {
        let file = |low: f64| controls::BlindBaseline {
            auc: low + 0.05,
            auc_ci: [low, low + 0.1],
            features: None,
            method: None,
            p_value: None,
            void: None,
            families: Vec::new(),
            why: String::new(),
            file_findings: Vec::new(),
        };
        assert_eq!(blind(file(0.45)).outcome, "passed");
        assert_eq!(blind(file(0.52)).outcome, "warning");
        assert_eq!(blind(file(0.80)).outcome, "void");
    }

    /// The baseline's own test decides whether the sets differ, its most telling family by how much.
    #[test]
    fn a_baseline_with_families_is_judged_by_the_most_telling_one() {
        let family = |name: &str, auc: f64, telling| controls::BlindFamily {
            name: name.into(),
            auc,
            auc_ci: [auc - 0.04, auc + 0.04],
            p_value: None,
            telling,
        };
        let file = |void, jpeg| controls::BlindBaseline {
            auc: 0.58,
            auc_ci: [0.54, 0.62],
            features: None,
            method: None,
            p_value: Some(0.0025),
            void: Some(void),
            families: vec![family("pixels", 0.7, false), family("jpeg", jpeg, void)],
            why: "JPEG".into(),
            file_findings: Vec::new(),
        };
        let judged = blind(file(true, 0.9));
        assert_eq!((&*judged.outcome, judged.auc), ("void", 0.9));
        assert_eq!(blind(file(true, 0.57)).outcome, "warning");
        assert_eq!(blind(file(false, 0.57)).outcome, "passed");
    }
}
