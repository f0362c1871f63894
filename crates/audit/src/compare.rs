//! Attacks compared with each other member by member, and models with the undefended one.

use std::collections::{BTreeMap, HashMap};

use crate::error::{AuditError, Result};
use crate::files::ModelFiles;
use crate::findings::in_view;
use crate::report::{Agreement, Comparison, View};
use crate::scores::{ScoreRow, ScoresFile};

/// False-positive rate at which members count as found when attacks are compared member by member.
const AGREEMENT_FPR: f64 = 0.01;

/// Members that one, two or all attacks find at 1 % FPR. `None` with fewer than two attacks or too few non-members.
pub fn agreement(
    scores: &ScoresFile,
    attacks: &[String],
    primary: View,
    halves: &HashMap<String, u8>,
) -> Option<Agreement> {
    if attacks.len() < 2 {
        return None;
    }
    // sample -> (member, attacks that scored it, attacks that call it a member)
    let mut found: BTreeMap<&str, (bool, usize, usize)> = BTreeMap::new();
    for attack in attacks {
        let rows: Vec<&ScoreRow> = scores
            .rows
            .iter()
            .filter(|r| r.attack == *attack && !r.sample_id.is_empty())
            .collect();
        let mut nonmembers: Vec<f64> = rows.iter().filter(|r| !r.member).map(|r| r.score).collect();
        let allowed = (AGREEMENT_FPR * nonmembers.len() as f64 + 1e-9).floor() as usize;
        if allowed < 1 {
            return None;
        }
        nonmembers.sort_by(|a, b| b.total_cmp(a));
        // Strictly above this score at most `allowed` non-members remain: the conservative rule of the ROC.
        let bar = *nonmembers.get(allowed)?;
        for row in rows
            .iter()
            .filter(|r| !r.member || in_view(&r.sample_id, primary, halves))
        {
            let entry = found.entry(&row.sample_id).or_insert((row.member, 0, 0));
            entry.1 += 1;
            entry.2 += usize::from(row.score > bar);
        }
    }
    let complete: Vec<&(bool, usize, usize)> = found
        .values()
        .filter(|(_, scored, _)| *scored == attacks.len())
        .collect();
    let count = |member: bool, at_least: usize| {
        complete
            .iter()
            .filter(|(m, _, hits)| *m == member && *hits >= at_least)
            .count()
    };
    Some(Agreement {
        attacks: attacks.len(),
        n_members: count(true, 0),
        by_one: count(true, 1),
        by_two: count(true, 2),
        by_all: count(true, attacks.len()),
        nonmembers_by_one: count(false, 1),
        n_nonmembers: count(false, 0),
    })
}

/// The undefended model against every other one, attack by attack, on the samples that both scored.
pub fn comparisons(models: &[ModelFiles]) -> Result<Vec<Comparison>> {
    let Some(baseline) = models
        .iter()
        .find(|m| m.defense == "none" && m.scores.is_some())
    else {
        return Ok(Vec::new());
    };
    let Some(reference) = &baseline.scores else {
        return Ok(Vec::new());
    };
    let mut out = Vec::new();
    for model in models
        .iter()
        .filter(|m| m.name != baseline.name && !m.name.starts_with("teacher-"))
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
