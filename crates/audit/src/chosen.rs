//! The best of several attacks, without the luck of the best.
//!
//! A table's bold number was picked because it is the largest, on the very images it describes. Here one half of the
//! images chooses the attack and sets the threshold, and the other half says what they are worth. An attacker is in the
//! same position: the images on which a threshold can be set are not the ones it is used on.

use std::collections::HashMap;

use dualmd_record::evidence::Purpose;
use dualmd_stats::{Halves, calibration_half, power_against_k, select_and_report};

use crate::halves::{Deal, Half};
use crate::report::{AttackResult, Chosen, EpsilonBound, View};
use crate::samples::{FEWEST, Key, Samples, common, on, samples, unit};
use crate::scores::ScoresFile;

/// False-alarm rate of the threshold that is carried over.
pub const FPR: f64 = 0.01;
/// False-alarm rate of the test whether a person's images were used.
pub const ALPHA: f64 = 0.05;
/// Numbers of images a person may have.
const IMAGES: [usize; 7] = [1, 2, 3, 5, 10, 20, 50];
/// Power from which on a test is called able to see.
const POWER: f64 = 0.8;
/// Chooses and measures, on the samples that the attacks have in common; `None` where these are too few.
///
/// `results` are the model's attacks; those that gave no result are passed over.
pub fn chosen(
    scores: &ScoresFile,
    results: &[AttackResult],
    view: View,
    halves: &HashMap<String, u8>,
    delta: f64,
    deal: &Deal<'_>,
) -> Option<Chosen> {
    let seed = deal.seed();
    let ok: Vec<&AttackResult> = results.iter().filter(|r| r.pooled.is_some()).collect();
    let all: Vec<Samples<'_>> = ok
        .iter()
        .map(|r| samples(scores, &r.attack, view, halves))
        .collect();
    let (kept, keys) = common(&all, FEWEST)?;
    let pairs: Vec<(Vec<f64>, Vec<f64>)> = kept.iter().map(|&i| on(&all[i], &keys)).collect();
    let split = divide(&all[*kept.first()?], &keys, deal, None);
    let slices: Vec<(&[f64], &[f64])> = pairs.iter().map(|(m, n)| (&m[..], &n[..])).collect();
    // Too few groups to split: there is nothing to report then, and the table above still stands.
    let selection = select_and_report(&slices, &split, FPR, seed).ok()?;
    let result = ok[kept[selection.chosen]];
    let (m, n) = &pairs[selection.chosen];
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
    let left_out = (0..ok.len()).filter(|i| !kept.contains(i));
    Some(Chosen {
        attack: result.attack.clone(),
        title: result.title.clone(),
        compared: kept.len(),
        left_out: left_out.map(|i| ok[i].attack.clone()).collect(),
        images_needed: power.iter().find(|p| p.power >= POWER).map(|p| p.k),
        epsilon: EpsilonBound::at(&selection.transferred, delta),
        selection,
        power,
    })
}

/// Halves of some samples, groups kept together: for the choice among attacks, or for the threshold of one (`attack`).
pub fn divide(
    samples: &Samples<'_>,
    keys: &[Key<'_>],
    deal: &Deal<'_>,
    attack: Option<&str>,
) -> Halves {
    let units = |member: bool| -> Vec<String> {
        keys.iter()
            .filter(|k| k.1 == member)
            .filter_map(|k| Some(unit(k, samples.get(k)?)))
            .collect()
    };
    fn strs(keys: &[String]) -> Vec<&str> {
        keys.iter().map(String::as_str).collect()
    }
    let (members, nonmembers) = (units(true), units(false));
    let purpose = attack.map_or(Purpose::Choice, |_| Purpose::Epsilon);
    let mut halves = deal.halves(purpose, attack, keys.len(), || {
        let drawn = calibration_half(&strs(&members), &strs(&nonmembers), deal.seed());
        let all = drawn.members.into_iter().chain(drawn.nonmembers);
        all.map(Some).collect()
    });
    let others = halves.split_off(members.len().min(halves.len()));
    let flags = |halves: Vec<Half>| halves.iter().map(|h| *h == Some(true)).collect();
    Halves {
        members: flags(halves),
        nonmembers: flags(others),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::halves::Book;
    use crate::scores::ScoreRow;

    const DELTA: f64 = 1e-5;

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
                    name: None,
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
                    pooled: crate::measure::measure(&m, &n, 1, &[0.1], 0).ok(),
                    ..AttackResult::named(&attack)
                }
            })
            .collect()
    }

    #[test]
    fn the_informed_attack_is_chosen_and_more_images_see_more() {
        let scores = file(200, 400, 9, 0.3);
        let chosen = chosen(
            &scores,
            &results(&scores),
            View::Pooled,
            &HashMap::new(),
            DELTA,
            &Book::new(1, None).of("m"),
        )
        .expect("enough samples");
        assert!(chosen.left_out.is_empty());
        assert_eq!((chosen.attack.as_str(), chosen.compared), ("a9", 10));
        // Half of the samples, and the AUC of a shift by 0.3 of a uniform: 1 - 0.7^2 / 2 = 0.755.
        assert_eq!(chosen.selection.transferred.n_members, 100);
        assert!((chosen.selection.auc.auc - 0.755).abs() < 0.08);
        let power = |k| chosen.power.iter().find(|p| p.k == k).map(|p| p.power);
        assert!(power(10) > power(1) && power(10) > Some(0.95));
        assert!(chosen.images_needed.is_some_and(|k| k <= 10));
    }

    /// One attack alone: the bound of the choice, whose threshold `dualmd-stats` carries over, is the attack's own.
    #[test]
    fn a_lone_attack_has_one_bound_on_epsilon() {
        let scores = file(200, 400, 0, 0.6);
        let halves = HashMap::new();
        let book = Book::new(5, None);
        let deal = book.of("m");
        let chosen = chosen(
            &scores,
            &results(&scores),
            View::Pooled,
            &halves,
            DELTA,
            &deal,
        );
        let chosen = chosen.and_then(|c| c.epsilon).expect("enough samples");
        let own = EpsilonBound::of(
            &samples(&scores, "a0", View::Pooled, &halves),
            "a0",
            DELTA,
            &deal,
        );
        let own = own.expect("enough samples");
        assert_eq!(
            (chosen.tp, chosen.fp, chosen.lower),
            (own.tp, own.fp, own.lower)
        );
        assert!(own.lower > 0.0);
    }

    #[test]
    fn too_few_samples_choose_nothing() {
        let scores = file(10, 400, 2, 0.5);
        let none = chosen(
            &scores,
            &results(&scores),
            View::Pooled,
            &HashMap::new(),
            DELTA,
            &Book::new(1, None).of("m"),
        );
        assert!(none.is_none());
    }

    /// An attack that learnt from some of the samples is compared on the others, one that scored a handful is left out.
    #[test]
    fn attacks_are_compared_on_common_samples() {
        let mut scores = file(200, 400, 2, 0.3);
        let number = |r: &ScoreRow| r.sample_id[1..].parse::<usize>().unwrap_or(0);
        scores.rows.retain(|r| match r.attack.as_str() {
            "a2" => !(0..40).contains(&number(r)) && !(200..280).contains(&number(r)),
            "a1" => (190..210).contains(&number(r)),
            _ => true,
        });
        let chosen = chosen(
            &scores,
            &results(&scores),
            View::Pooled,
            &HashMap::new(),
            DELTA,
            &Book::new(1, None).of("m"),
        )
        .expect("enough samples");
        assert_eq!((chosen.attack.as_str(), chosen.compared), ("a2", 2));
        assert_eq!(chosen.left_out, ["a1"]);
        let t = &chosen.selection.transferred;
        assert_eq!((t.n_members, t.n_nonmembers), (80, 160));
    }
}
