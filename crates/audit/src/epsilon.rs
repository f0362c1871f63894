//! Lower bounds on the epsilon of differential privacy: what the training can no longer claim.
//!
//! Two of them. [`EpsilonBound`] takes the rates of one threshold that was set on other samples, and treats the images as
//! independent trials of the training; it is given for every attack. [`OneRun`] is the audit of Steinke, Nasr and Jagielski
//! (2023), which needs no such assumption, but memberships drawn by coin flips. A bound of 0 says that the attack proves
//! nothing. Neither is an upper bound.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use dualmd_record::evidence::Purpose;
use dualmd_record::split::SplitFile;
use dualmd_stats::{
    Guesses, Roc, StatsError, TransferredThreshold, calibration_half, clopper_pearson_epsilon,
    guess_membership, one_run_epsilon,
};

use crate::chosen::{FPR, divide};
use crate::halves::Deal;
use crate::report::{AttackResult, EpsilonBound, OneRun, View};
use crate::samples::{FEWEST, Key, Samples, on, samples, sides, unit};
use crate::scores::ScoresFile;

/// Delta where the plan has no `audit.delta`.
pub const DELTA: f64 = 1e-5;
/// Confidence of every bound.
pub const CONFIDENCE: f64 = 0.95;
/// Shares of the canaries that may be guessed "in", and those that may be guessed "out"; the calibration half says which.
const SHARES: [f64; 5] = [0.0, 0.05, 0.1, 0.25, 0.5];
/// The shares where the calibration half refutes nothing.
const NOTHING_SEEN: (f64, f64) = (0.1, 0.1);

impl EpsilonBound {
    /// From a threshold and what it does on samples that did not set it.
    pub fn at(t: &TransferredThreshold, delta: f64) -> Option<Self> {
        Self::from_counts(
            t.target_fpr,
            (t.tp, t.n_members),
            (t.fp, t.n_nonmembers),
            delta,
        )
    }

    fn from_counts(
        target_fpr: f64,
        (tp, n_members): (usize, usize),
        (fp, n_nonmembers): (usize, usize),
        delta: f64,
    ) -> Option<Self> {
        let (m, n) = (n_members as u64, n_nonmembers as u64);
        let bound = |tp: usize, fp: usize| {
            clopper_pearson_epsilon((tp as u64, m), (fp as u64, n), delta, CONFIDENCE).ok()
        };
        Some(Self {
            lower: bound(tp, fp)?,
            ceiling: bound(n_members, 0)?,
            delta,
            confidence: CONFIDENCE,
            target_fpr,
            tp,
            n_members,
            fp,
            n_nonmembers,
        })
    }

    /// For one attack, on its own samples. `None` with fewer than `FEWEST` of a kind or too few groups.
    pub fn of(samples: &Samples<'_>, attack: &str, delta: f64, deal: &Deal<'_>) -> Option<Self> {
        let keys = samples.keys();
        let (members, nonmembers) = sides(keys);
        if members < FEWEST || nonmembers < FEWEST {
            return None;
        }
        let halves = divide(samples, keys, deal, Some(attack));
        let (m, n) = on(samples, keys);
        let half = |scores: &[f64], flags: &[bool], calibration: bool| -> Vec<f64> {
            let kept = scores.iter().zip(flags).filter(|(_, c)| **c == calibration);
            kept.map(|(s, _)| *s).collect()
        };
        let fixed = Roc::new(
            &half(&m, &halves.members, true),
            &half(&n, &halves.nonmembers, true),
        )
        .and_then(|roc| roc.operating_point(FPR))
        .ok()?;
        let (m, n) = (
            half(&m, &halves.members, false),
            half(&n, &halves.nonmembers, false),
        );
        if m.is_empty() || n.is_empty() {
            return None;
        }
        let called = |scores: &[f64]| scores.iter().filter(|s| **s >= fixed.threshold).count();
        Self::from_counts(FPR, (called(&m), m.len()), (called(&n), n.len()), delta)
    }
}

impl OneRun {
    /// The audit, or the reason why there is none.
    pub fn of(
        scores: &ScoresFile,
        results: &[AttackResult],
        view: View,
        split: Option<&SplitFile>,
        delta: f64,
        deal: &Deal<'_>,
    ) -> Result<Self, String> {
        let split = split.ok_or("How members were drawn is not recorded (no split.json).")?;
        match split.method.as_str() {
            "coin-flip" => {}
            "half" => {
                return Err(
                    "Members and non-members were drawn in fixed numbers, not by a coin per image."
                        .into(),
                );
            }
            other => {
                return Err(format!(
                    "Nothing says that membership was a coin flip (the split's method is `{other}`)."
                ));
            }
        }
        if view != View::Pooled {
            return Err("A teacher's half of the members is drawn in a fixed number, not by a coin per image.".into());
        }
        // An attack that was told memberships drew them side by side: what is left is no longer a coin per image. The
        // same goes for an attack that lacks samples for whatever reason.
        let members = split.members.iter().map(|m| m.id.as_str());
        let nonmembers = split.nonmembers.iter().map(|m| m.id.as_str());
        let drawn: BTreeSet<&str> = members.chain(nonmembers).collect();
        let complete: Vec<(&AttackResult, Samples<'_>)> = results
            .iter()
            .filter(|r| r.pooled.is_some() && r.trained_on.is_none())
            .map(|r| (r, samples(scores, &r.attack, View::Pooled, &HashMap::new())))
            .filter(|(_, s)| {
                let ids: BTreeSet<&str> = s.keys().iter().map(|k| k.0).collect();
                s.len() == drawn.len() && ids == drawn
            })
            .collect();
        let Some((_, first)) = complete.first() else {
            return Err("No attack without a training part scored all images of the split; leaving some out would undo the coin flips.".into());
        };
        let all = first.keys();
        let halves = deal.halves(Purpose::OneRun, None, all.len(), || {
            // Which image of a group counts must not depend on its membership: the one with the smallest id.
            let mut coins: BTreeMap<String, Key<'_>> = BTreeMap::new();
            for key in all {
                let Some(row) = first.get(key) else { continue };
                let coin = coins.entry(unit(key, row)).or_insert(*key);
                *coin = (*coin).min(*key);
            }
            let names: Vec<&str> = coins.keys().map(String::as_str).collect();
            // All as one kind: the division must not know who is a member.
            let flags = calibration_half(&names, &[], deal.seed()).members;
            let dealt: HashMap<Key<'_>, bool> = coins.into_values().zip(flags).collect();
            all.iter().map(|key| dealt.get(key).copied()).collect()
        });
        let part = |calibration: bool| -> Vec<Key<'_>> {
            let kept = all.iter().zip(&halves);
            let kept = kept.filter(|(_, half)| **half == Some(calibration));
            kept.map(|(k, _)| *k).collect()
        };
        let (calibration, canaries) = (part(true), part(false));
        let (m, n) = sides(&calibration);
        if m < FEWEST || n < FEWEST || canaries.len() < 2 * FEWEST {
            return Err(format!(
                "Too few images: {} independent coin flips.",
                calibration.len() + canaries.len()
            ));
        }
        let refused = |e: StatsError| format!("The statistics refused it: {e}.");
        let mut best: Option<(f64, usize)> = None;
        for (i, (_, attack)) in complete.iter().enumerate() {
            let (m, n) = on(attack, &calibration);
            let auc = Roc::new(&m, &n).map_err(refused)?.auc();
            if best.is_none_or(|(highest, _)| auc > highest) {
                best = Some((auc, i));
            }
        }
        let (result, attack) = &complete[best.map_or(0, |b| b.1)];
        let places = |keys: &[Key<'_>], share: f64| (share * keys.len() as f64).floor() as usize;
        let guess = |keys: &[Key<'_>], (share_in, share_out): (f64, f64)| {
            let (m, n) = on(attack, keys);
            guess_membership(&m, &n, places(keys, share_in), places(keys, share_out))
                .map_err(refused)
        };
        let bound = |g: &Guesses, correct: u64| {
            one_run_epsilon(g.canaries, g.guesses, correct, delta, 1.0 - CONFIDENCE)
                .map_err(refused)
        };
        let (mut shares, mut highest) = (NOTHING_SEEN, 0.0);
        // The first choice is to guess nothing.
        for choice in SHARES.iter().flat_map(|&i| SHARES.map(|o| (i, o))).skip(1) {
            let g = guess(&calibration, choice)?;
            let epsilon = bound(&g, g.correct)?;
            if epsilon > highest {
                (shares, highest) = (choice, epsilon);
            }
        }
        let g = guess(&canaries, shares)?;
        Ok(Self {
            attack: result.attack.clone(),
            title: result.title.clone(),
            compared: complete.len(),
            canaries: g.canaries,
            guess_in: places(&canaries, shares.0),
            guess_out: places(&canaries, shares.1),
            correct: g.correct,
            lower: bound(&g, g.correct)?,
            ceiling: bound(&g, g.guesses)?,
            delta,
            confidence: CONFIDENCE,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::halves::Book;
    use crate::scores::ScoreRow;
    use dualmd_record::split::{Member, NonMember};
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    fn scores(n: usize, shift: f64, coin: bool, seed: u64) -> ScoresFile {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let rows = (0..n)
            .map(|i| {
                let member = if coin {
                    rng.random::<bool>()
                } else {
                    i.is_multiple_of(2)
                };
                ScoreRow {
                    sample_id: format!("{i:05}"),
                    name: None,
                    group: None,
                    member,
                    attack: "a".into(),
                    score: rng.random::<f64>() + if member { shift } else { 0.0 },
                }
            })
            .collect();
        ScoresFile { rows }
    }

    fn split(scores: &ScoresFile, method: &str) -> SplitFile {
        let side = |member: bool| {
            let rows = scores.rows.iter().filter(move |r| r.member == member);
            rows.map(|r| r.sample_id.clone())
        };
        SplitFile {
            method: method.into(),
            members: side(true)
                .map(|id| Member {
                    id,
                    name: None,
                    half: None,
                    group: None,
                })
                .collect(),
            nonmembers: side(false)
                .map(|id| NonMember {
                    id,
                    name: None,
                    group: None,
                })
                .collect(),
            ..SplitFile::default()
        }
    }

    fn result(scores: &ScoresFile) -> AttackResult {
        let (m, n) = scores.sides("a");
        AttackResult {
            pooled: crate::measure::measure(&m, &n, 1, &[], 0).ok(),
            ..AttackResult::named("a")
        }
    }

    fn one_run(scores: &ScoresFile, split: &SplitFile) -> Result<OneRun, String> {
        OneRun::of(
            scores,
            &[result(scores)],
            View::Pooled,
            Some(split),
            DELTA,
            &Book::new(3, None).of("m"),
        )
    }

    #[test]
    fn a_perfect_attack_reaches_its_ceiling() {
        let file = scores(400, 2.0, false, 1);
        let samples = samples(&file, "a", View::Pooled, &HashMap::new());
        let bound =
            EpsilonBound::of(&samples, "a", 0.0, &Book::new(1, None).of("m")).expect("enough");
        assert_eq!(
            (bound.tp, bound.n_members, bound.n_nonmembers),
            (100, 100, 100)
        );
        // 100 of 100 found, 0 of 100 false alarms, each bound at 2.5 %: p = 0.025^(1/100), epsilon = ln(p / (1 - p)).
        let p = 0.025_f64.powf(0.01);
        let expected = (p / (1.0 - p)).ln();
        assert!((bound.ceiling - expected).abs() < 1e-9, "{bound:?}");
        assert!(
            bound.fp > 0 || (bound.lower - bound.ceiling).abs() < 1e-12,
            "{bound:?}"
        );
        assert!(bound.lower > 2.0);
        let larger =
            EpsilonBound::of(&samples, "a", 0.1, &Book::new(1, None).of("m")).expect("enough");
        assert!(larger.lower < bound.lower, "a larger delta allows more");
    }

    /// 400 audits of an attack that knows nothing: the bound may lie above 0 in 5 % of them. Each audit is one trial, so
    /// at most 34 do in all but 1 of 900 such simulations.
    #[test]
    fn an_attack_that_knows_nothing_proves_nothing() {
        let wrong = (0..400)
            .filter(|&seed| {
                let file = scores(200, 0.0, true, seed);
                let samples = samples(&file, "a", View::Pooled, &HashMap::new());
                EpsilonBound::of(&samples, "a", 0.0, &Book::new(seed, None).of("m"))
                    .expect("enough")
                    .lower
                    > 0.0
            })
            .count();
        assert!(wrong <= 34, "{wrong} of 400");
    }

    /// The same for the one-run audit, attack and guesses chosen on the other half.
    #[test]
    fn one_run_rarely_refutes_a_private_training() {
        let wrong = (0..400)
            .filter(|&seed| {
                let file = scores(240, 0.0, true, 1000 + seed);
                one_run(&file, &split(&file, "coin-flip"))
                    .expect("applies")
                    .lower
                    > 0.0
            })
            .count();
        assert!(wrong <= 34, "{wrong} of 400");
    }

    #[test]
    fn one_run_sees_a_leak() {
        let file = scores(1200, 0.8, true, 7);
        let run = one_run(&file, &split(&file, "coin-flip")).expect("applies");
        assert_eq!((run.canaries, run.compared), (600, 1));
        assert!(run.lower > 1.0 && run.lower <= run.ceiling, "{run:?}");
        assert!(run.correct as usize <= run.guess_in + run.guess_out);
    }

    #[test]
    fn one_run_says_why_not() {
        let file = scores(200, 0.8, true, 7);
        let why = |split: &SplitFile, results: &[AttackResult], view| {
            OneRun::of(
                &file,
                results,
                view,
                Some(split),
                DELTA,
                &Book::new(1, None).of("m"),
            )
            .expect_err("does not apply")
        };
        let (coin, all) = (split(&file, "coin-flip"), [result(&file)]);
        assert!(why(&split(&file, "half"), &all, View::Pooled).contains("fixed numbers"));
        assert!(why(&split(&file, "import"), &all, View::Pooled).contains("`import`"));
        assert!(why(&coin, &all, View::D1).contains("teacher"));
        let mut more = split(&file, "coin-flip");
        more.nonmembers.push(NonMember {
            name: None,
            id: "not scored".into(),
            group: None,
        });
        assert!(why(&more, &all, View::Pooled).contains("leaving some out"));
        let learned = [AttackResult {
            trained_on: Some(dualmd_record::scores::TrainedOn {
                members: 5,
                nonmembers: 5,
            }),
            ..result(&file)
        }];
        assert!(why(&coin, &learned, View::Pooled).contains("training part"));
        let missing = OneRun::of(
            &file,
            &all,
            View::Pooled,
            None,
            DELTA,
            &Book::new(1, None).of("m"),
        );
        assert!(missing.expect_err("no split").contains("split.json"));
        let few = scores(60, 0.8, true, 7);
        let few = one_run(&few, &split(&few, "coin-flip")).expect_err("too few");
        assert!(few.contains("60 independent"), "{few}");
    }

    /// Images of one group share a coin: they count once.
    #[test]
    fn a_group_is_one_canary() {
        let mut file = scores(400, 0.8, true, 9);
        let twins: Vec<ScoreRow> = file.rows[..100]
            .iter_mut()
            .enumerate()
            .map(|(i, r)| {
                r.group = Some(format!("g{i}"));
                ScoreRow {
                    sample_id: format!("twin {i:03}"),
                    ..r.clone()
                }
            })
            .collect();
        file.rows.extend(twins);
        let run = one_run(&file, &split(&file, "coin-flip")).expect("applies");
        assert_eq!(run.canaries, 200);
    }
}
