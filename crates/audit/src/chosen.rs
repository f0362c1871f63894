//! The best of several attacks, without the luck of the best.
//!
//! A table's bold number was picked because it is the largest, on the very images it describes. Here one half of the
//! images chooses the attack and sets the threshold, and the other half says what they are worth. An attacker is in the
//! same position: the images on which a threshold can be set are not the ones it is used on.

use std::collections::HashMap;

use dualmd_stats::{calibration_half, power_against_k, select_and_report};
use serde::Serialize;

use crate::findings::in_view;
use crate::report::{AttackResult, View};
use crate::scores::{ScoreRow, ScoresFile};

/// False-alarm rate of the threshold that is carried over.
pub const FPR: f64 = 0.01;
/// False-alarm rate of the test whether a person's images were used.
pub const ALPHA: f64 = 0.05;
/// Numbers of images a person may have.
const IMAGES: [usize; 7] = [1, 2, 3, 5, 10, 20, 50];
/// Power from which on a test is called able to see.
const POWER: f64 = 0.8;
/// Samples of each kind below which halving leaves nothing to look at.
const FEWEST: usize = 20;

/// The attack that one half of the samples chose, measured on the other half.
#[derive(Debug, Clone, Serialize)]
pub struct Chosen {
    /// Name of the attack.
    pub attack: String,
    /// Name for people.
    pub title: String,
    /// Attacks it was chosen from.
    pub compared: usize,
    /// Choice, AUC on the other half, and the threshold carried over.
    #[serde(flatten)]
    pub selection: dualmd_stats::Selection,
    /// For k images of one person: how often averaging their scores proves that they were used.
    pub power: Vec<dualmd_stats::PowerPoint>,
    /// The smallest of these k with a power of at least 80 % at 5 % false alarms; `null` if none.
    pub images_needed: Option<usize>,
}

/// Chooses and measures; `None` where there is one attack with too few samples, or none.
pub fn chosen(
    scores: &ScoresFile,
    results: &[AttackResult],
    view: View,
    halves: &HashMap<String, u8>,
    seed: u64,
) -> Option<Chosen> {
    let rows = |attack: &str, member: bool| -> Vec<&ScoreRow> {
        scores
            .rows
            .iter()
            .filter(|r| {
                r.attack == attack
                    && r.member == member
                    && (!member || in_view(&r.sample_id, view, halves))
            })
            .collect()
    };
    let ok: Vec<&AttackResult> = results.iter().filter(|r| r.pooled.is_some()).collect();
    let first = ok.first()?;
    let (members, nonmembers) = (rows(&first.attack, true), rows(&first.attack, false));
    if members.len() < FEWEST || nonmembers.len() < FEWEST {
        return None;
    }
    let ids =
        |rows: &[&ScoreRow]| -> Vec<String> { rows.iter().map(|r| r.sample_id.clone()).collect() };
    let values = |rows: &[&ScoreRow]| -> Vec<f64> { rows.iter().map(|r| r.score).collect() };
    let order = (ids(&members), ids(&nonmembers));
    // An attack that scored other samples (one with a training part, say) cannot be compared on these.
    let comparable: Vec<(&AttackResult, Vec<f64>, Vec<f64>)> = ok
        .iter()
        .map(|r| (*r, rows(&r.attack, true), rows(&r.attack, false)))
        .filter(|(_, m, n)| (ids(m), ids(n)) == order)
        .map(|(r, m, n)| (r, values(&m), values(&n)))
        .collect();
    let keys = |rows: &[&ScoreRow], side: &str| -> Vec<String> {
        rows.iter()
            .enumerate()
            .map(|(i, r)| match (&r.group, r.sample_id.as_str()) {
                (Some(group), _) => format!("group {group}"),
                (None, "") => format!("{side} {i}"),
                (None, id) => id.to_owned(),
            })
            .collect()
    };
    let (member_keys, other_keys) = (keys(&members, "member"), keys(&nonmembers, "non-member"));
    fn strs(keys: &[String]) -> Vec<&str> {
        keys.iter().map(String::as_str).collect()
    }
    let split = calibration_half(&strs(&member_keys), &strs(&other_keys), seed);
    let pairs: Vec<(&[f64], &[f64])> = comparable
        .iter()
        .map(|(_, m, n)| (m.as_slice(), n.as_slice()))
        .collect();
    // Too few groups to split: there is nothing to report then, and the table above still stands.
    let selection = select_and_report(&pairs, &split, FPR, seed).ok()?;
    let (result, m, n) = &comparable[selection.chosen];
    let held_back = |scores: &[f64], calibration: &[bool]| -> Vec<f64> {
        scores
            .iter()
            .zip(calibration)
            .filter(|(_, c)| !**c)
            .map(|(s, _)| *s)
            .collect()
    };
    let (m, n) = (
        held_back(m, &split.members),
        held_back(n, &split.nonmembers),
    );
    // A k that the samples cannot serve is left out.
    let power: Vec<_> = IMAGES
        .iter()
        .filter_map(|&k| power_against_k(&m, &n, &[k], ALPHA, seed).ok())
        .flatten()
        .collect();
    Some(Chosen {
        attack: result.attack.clone(),
        title: result.title.clone(),
        compared: comparable.len(),
        images_needed: power.iter().find(|p| p.power >= POWER).map(|p| p.k),
        selection,
        power,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `useless` attacks that know nothing and one that shifts members by `shift`.
    fn file(members: usize, nonmembers: usize, useless: usize, shift: f64) -> ScoresFile {
        let mut state = 12_345_u64;
        let mut uniform = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let mut rows = Vec::new();
        for attack in 0..=useless {
            for i in 0..members + nonmembers {
                let member = i < members;
                let informed = attack == useless && member;
                rows.push(ScoreRow {
                    sample_id: format!("s{i}"),
                    group: None,
                    member,
                    attack: format!("a{attack}"),
                    score: uniform() + if informed { shift } else { 0.0 },
                });
            }
        }
        ScoresFile { rows }
    }

    fn results(scores: &ScoresFile) -> Vec<AttackResult> {
        scores
            .attacks()
            .into_iter()
            .map(|attack| {
                let (m, n) = scores.sides(&attack);
                AttackResult {
                    title: attack.clone(),
                    attack,
                    access: "white-box".into(),
                    network_calls_per_sample: None,
                    seconds: None,
                    status: "ok".into(),
                    reason: None,
                    parameters: serde_json::Value::Null,
                    pooled: crate::measure::measure(&m, &n, 1, &[0.1], 0).ok(),
                    d1: None,
                    d2: None,
                    halves_differ: false,
                    figures: None,
                }
            })
            .collect()
    }

    #[test]
    fn the_informed_attack_is_chosen_and_more_images_see_more() {
        let scores = file(200, 400, 9, 0.3);
        let chosen = chosen(&scores, &results(&scores), View::Pooled, &HashMap::new(), 1)
            .expect("enough samples");
        assert_eq!((chosen.attack.as_str(), chosen.compared), ("a9", 10));
        // Half of the samples, and the AUC of a shift by 0.3 of a uniform: 1 - 0.7^2 / 2 = 0.755.
        assert_eq!(chosen.selection.transferred.n_members, 100);
        assert!((chosen.selection.auc.auc - 0.755).abs() < 0.08);
        let power = |k| chosen.power.iter().find(|p| p.k == k).map(|p| p.power);
        assert!(power(10) > power(1) && power(10) > Some(0.95));
        assert!(chosen.images_needed.is_some_and(|k| k <= 10));
    }

    #[test]
    fn too_few_samples_choose_nothing() {
        let scores = file(10, 400, 2, 0.5);
        let none = chosen(&scores, &results(&scores), View::Pooled, &HashMap::new(), 1);
        assert!(none.is_none());
    }
}
