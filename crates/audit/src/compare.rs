//! Attacks compared with each other member by member, and models with the undefended one.

use std::collections::HashMap;

use dualmd_names::{Defense, Part};

use crate::error::{AuditError, Result};
use crate::files::ModelFiles;
use crate::report::{Agreement, AttackResult, Comparison, FoundMember, SameImages, View};
use crate::samples::{Key, Samples, common, on, samples, sides};
use crate::scores::{ScoreRow, ScoresFile};

/// False-positive rate at which members count as found when attacks are compared member by member.
const AGREEMENT_FPR: f64 = 0.01;

/// Members that one, two or all attacks find at 1 % FPR, of the samples that all of them scored. `None` with fewer than
/// two attacks, too few non-members in common, or rows without ids.
pub fn agreement(
    scores: &ScoresFile,
    attacks: &[String],
    primary: View,
    halves: &HashMap<String, u8>,
) -> Option<Agreement> {
    let all: Vec<Samples<'_>> = attacks
        .iter()
        .map(|a| samples(scores, a, primary, halves))
        .collect();
    let (kept, keys) = common(&all, 1)?;
    // Without ids nobody knows that two rows are about the same image.
    if keys.iter().any(|k| k.0.is_empty()) {
        return None;
    }
    let (n_members, n_nonmembers) = sides(&keys);
    let allowed = (AGREEMENT_FPR * n_nonmembers as f64 + 1e-9).floor() as usize;
    if kept.len() < 2 || allowed < 1 {
        return None;
    }
    // Attacks that call a sample a member, sample by sample.
    let mut hits: Vec<Vec<usize>> = vec![Vec::new(); keys.len()];
    for &i in &kept {
        let mut nonmembers = on(&all[i], &keys).1;
        nonmembers.sort_by(|a, b| b.total_cmp(a));
        // Strictly above this score at most `allowed` non-members remain: the conservative rule of the ROC.
        let bar = *nonmembers.get(allowed)?;
        for (hit, key) in hits.iter_mut().zip(&keys) {
            if all[i].get(key).is_some_and(|r| r.score > bar) {
                hit.push(i);
            }
        }
    }
    let count = |member: bool, at_least: usize| {
        keys.iter()
            .zip(&hits)
            .filter(|(k, hits)| k.1 == member && hits.len() >= at_least)
            .count()
    };
    let mut found_by_several: Vec<FoundMember> = keys
        .iter()
        .zip(&hits)
        .filter(|(k, hits)| k.1 && hits.len() > 1)
        .map(|(k, hits)| FoundMember {
            id: k.0.to_owned(),
            name: kept.first().and_then(|&i| all[i].get(k)?.name.clone()),
            attacks: hits.iter().map(|&i| attacks[i].clone()).collect(),
        })
        .collect();
    // Of as many attacks in the order of the file: the sort is stable.
    found_by_several.sort_by_key(|m| std::cmp::Reverse(m.attacks.len()));
    Some(Agreement {
        attacks: kept.len(),
        n_members,
        by_one: count(true, 1),
        by_two: count(true, 2),
        by_all: count(true, kept.len()),
        nonmembers_by_one: count(false, 1),
        n_nonmembers,
        found_by_several,
    })
}

/// Attacks that scored a part of the samples, each against the strongest of those that scored the most, on the samples
/// that both scored; left out where fewer than two of a kind are left.
pub fn same_images(
    scores: &ScoresFile,
    results: &[AttackResult],
    primary: View,
    halves: &HashMap<String, u8>,
) -> Result<Vec<SameImages>> {
    let measured: Vec<(&AttackResult, f64, Samples<'_>)> = results
        .iter()
        .filter_map(|r| {
            let auc = r.view(primary)?.auc;
            Some((r, auc, samples(scores, &r.attack, primary, halves)))
        })
        .collect();
    let most = measured.iter().map(|(_, _, s)| s.len()).max().unwrap_or(0);
    let strongest = measured
        .iter()
        .filter(|(_, _, s)| s.len() == most)
        .max_by(|a, b| a.1.total_cmp(&b.1));
    let Some((other, _, theirs)) = strongest else {
        return Ok(Vec::new());
    };
    let mut out = Vec::new();
    for (result, _, ours) in measured.iter().filter(|(_, _, s)| s.len() < most) {
        let keys: Vec<Key<'_>> = ours
            .keys()
            .iter()
            .filter(|k| !k.0.is_empty() && theirs.has(k))
            .copied()
            .collect();
        let (n_members, n_nonmembers) = sides(&keys);
        if n_members < 2 || n_nonmembers < 2 {
            continue;
        }
        let ((m, n), (m_other, n_other)) = (on(ours, &keys), on(theirs, &keys));
        let fail = |source| AuditError::Stats {
            what: format!("{} against {}, common samples", result.attack, other.attack),
            source,
        };
        let d = crate::measure::paired(&m, &n, &m_other, &n_other).map_err(fail)?;
        let auc = |m: &[f64], n: &[f64]| dualmd_stats::Roc::new(m, n).map(|roc| roc.auc());
        out.push(SameImages {
            attack: result.attack.clone(),
            other: other.attack.clone(),
            n_members,
            n_nonmembers,
            auc: auc(&m, &n).map_err(fail)?,
            other_auc: auc(&m_other, &n_other).map_err(fail)?,
            difference: d.difference,
            difference_ci: d.ci,
            p_value: d.p_value,
        });
    }
    Ok(out)
}

/// The undefended model against every other one, attack by attack, on the samples that both scored; where no defence is known of any
/// (models trained elsewhere), the first against the others. Repeats of a training are left out: they have a table of their own.
pub fn comparisons(models: &[ModelFiles]) -> Result<Vec<Comparison>> {
    let own = || {
        let scored = models.iter().filter(|m| m.scores.is_some());
        scored.filter(|m| m.repeat_of.is_none())
    };
    let foreign = own().all(|m| m.defense.is_unknown());
    let Some(baseline) = own().find(|m| m.defense.is(Defense::None) || foreign) else {
        return Ok(Vec::new());
    };
    let Some(reference) = &baseline.scores else {
        return Ok(Vec::new());
    };
    let mut out = Vec::new();
    for model in models
        .iter()
        .filter(|m| m.name != baseline.name && m.repeat_of.is_none())
        .filter(|m| Part::half(&m.name).is_none())
    {
        let Some(scores) = &model.scores else {
            continue;
        };
        for attack in reference.attacks() {
            let theirs: HashMap<&str, &ScoreRow> = scores
                .rows
                .iter()
                .filter(|r| r.attack == attack && !r.sample_id.is_empty())
                .map(|r| (r.sample_id.as_str(), r))
                .collect();
            let pairs: Vec<(&ScoreRow, &ScoreRow)> = reference
                .rows
                .iter()
                .filter(|r| r.attack == attack)
                .filter_map(|r| Some((r, *theirs.get(r.sample_id.as_str())?)))
                .filter(|(a, b)| a.member == b.member)
                .collect();
            let side = |member: bool, second: bool| -> Vec<f64> {
                pairs
                    .iter()
                    .filter(|(a, _)| a.member == member)
                    .map(|(a, b)| if second { b.score } else { a.score })
                    .collect()
            };
            if pairs.iter().filter(|(a, _)| a.member).count() < 2
                || pairs.iter().filter(|(a, _)| !a.member).count() < 2
            {
                continue;
            }
            let difference = crate::measure::paired(
                &side(true, false),
                &side(false, false),
                &side(true, true),
                &side(false, true),
            )
            .map_err(|source| AuditError::Stats {
                what: format!("{} against {}, attack {attack}", baseline.name, model.name),
                source,
            })?;
            out.push(Comparison {
                attack,
                baseline: baseline.name.clone(),
                model: model.name.clone(),
                difference: difference.difference,
                difference_ci: difference.ci,
                p_value: difference.p_value,
            });
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 10 members and 200 non-members; attack `a` finds all members, `b` the first five, and scores the first 8 only.
    fn file(ids: bool) -> ScoresFile {
        let row = |attack: &str, i: usize, score: f64| ScoreRow {
            sample_id: if ids { format!("s{i}") } else { String::new() },
            name: None,
            group: None,
            member: i < 10,
            attack: attack.into(),
            score,
        };
        let found = |i: usize, bar: usize| match i {
            _ if i < bar => 1000.0,
            _ if i < 10 => -1000.0,
            _ => -(i as f64),
        };
        let a = (0..210).map(|i| row("a", i, found(i, 10)));
        let b = (0..210).filter(|i| !(8..10).contains(i));
        let b = b.map(|i| row("b", i, found(i, 5)));
        ScoresFile {
            rows: a.chain(b).collect(),
        }
    }

    fn results(scores: &ScoresFile) -> Vec<AttackResult> {
        let result = |attack: &str| {
            let (m, n) = scores.sides(attack);
            AttackResult {
                pooled: crate::measure::measure(&m, &n, 2, &[0.1], 0).ok(),
                ..AttackResult::named(attack)
            }
        };
        vec![result("a"), result("b")]
    }

    #[test]
    fn attacks_meet_on_the_samples_that_both_scored() {
        let (scores, halves) = (file(true), HashMap::new());
        let attacks = ["a".to_owned(), "b".to_owned()];
        let met = agreement(&scores, &attacks, View::Pooled, &halves).expect("common samples");
        assert_eq!((met.n_members, met.by_one, met.by_all), (8, 8, 5));
        let several = &met.found_by_several;
        assert_eq!(several.len(), met.by_two);
        let counts: Vec<usize> = several.iter().map(|m| m.attacks.len()).collect();
        assert!(counts.is_sorted_by(|a, b| a >= b) && counts.iter().all(|&n| n > 1));
        let by_all = counts.iter().filter(|&&n| n == met.attacks).count();
        assert_eq!(by_all, met.by_all);
        let all = same_images(&scores, &results(&scores), View::Pooled, &halves);
        let all = all.expect("statistics");
        assert_eq!((all[0].attack.as_str(), all[0].other.as_str()), ("b", "a"));
        assert_eq!(
            (all[0].n_members, all[0].n_nonmembers, all[0].other_auc),
            (8, 200, 1.0)
        );
        assert_eq!(all.len(), 1);
    }

    #[test]
    fn rows_without_ids_are_never_paired() {
        let (scores, halves) = (file(false), HashMap::new());
        let attacks = ["a".to_owned(), "b".to_owned()];
        assert!(agreement(&scores, &attacks, View::Pooled, &halves).is_none());
        let all = same_images(&scores, &results(&scores), View::Pooled, &halves);
        assert!(all.expect("statistics").is_empty());
    }
}
