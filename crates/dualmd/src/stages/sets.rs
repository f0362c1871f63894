//! Tests on whole sets, to `sets/NAME.json`: were these images, together, part of the training?
//!
//! One image can be a hard case; a hundred are not. The first test asks whether members and non-members differ in the model's
//! error space: every image is the vector of its scores under the attacks that score everybody. The second whether what the
//! model draws lies nearer to the members, in features that know nothing of the model. Both are permutation tests and look at
//! one image per group.

use super::score::Label;
use super::{RunFolder, create_folder, remove};
use crate::plan::Plan;
use anyhow::Result;
use dualmd_audit::{ScoresFile, read_scores};
use dualmd_names::{AttackSpec, BaseAttack, Kind, ModelKind};
use dualmd_record::sets::{SetTest, Sets};
use dualmd_record::utility::Utility;
use dualmd_stats::mmd_permutation;
use std::collections::{BTreeMap, BTreeSet};

const PERMUTATIONS: usize = 999;

/// Tests every model of a plan that is not a teacher. What cannot be tested (too few images, one attack) is left out.
pub fn all(run: &RunFolder, plan: &Plan, labels: &[Label]) -> Result<()> {
    for target in plan.models.iter().filter(|t| t.defense != ModelKind::Part) {
        let csv = run.scores(&target.name, "csv");
        if csv.exists() {
            write(run, &target.name, labels, plan.seed)?;
        }
    }
    Ok(())
}

/// Tests one model whose scores are there.
pub fn write(run: &RunFolder, name: &str, labels: &[Label], seed: u64) -> Result<()> {
    let scores = read_scores(&run.scores(name, "csv"))?;
    let mut file = Sets::default();
    let attacks: Vec<String> = scores
        .attacks()
        .into_iter()
        .filter(|a| scores_all(a))
        .collect();
    if attacks.len() > 1
        && let Some(test) = error_space(&scores, &attacks, labels, seed)
    {
        file.features = format!("ranks of the scores of {}", attacks.join(", ")).into();
        file.tests.push(test);
    }
    let utility = run.utility(name);
    if utility.exists() {
        file.tests.extend(generated(dualmd_record::read(&utility)?));
    }
    let path = run.sets(name);
    if file.tests.is_empty() {
        // Nothing of an earlier call is to stand for this one.
        return remove(&path);
    }
    create_folder(&run.0.join("sets"))?;
    Ok(dualmd_record::write(&path, &file)?)
}

/// Attacks of a score file that score everybody by asking the model.
fn scores_all(attack: &str) -> bool {
    let Ok(spec) = attack.parse::<AttackSpec>() else {
        return BaseAttack::of(attack).is_none_or(|base| base.can_be_asked() && !base.learns());
    };
    !spec.learns() && !matches!(spec.base().facts().kind, Kind::Nearest | Kind::Rounds)
}

fn error_space(
    scores: &ScoresFile,
    attacks: &[String],
    labels: &[Label],
    seed: u64,
) -> Option<SetTest> {
    let mut seen = BTreeSet::new();
    let one_per_group: Vec<&Label> = labels
        .iter()
        .filter(|l| l.group.as_ref().is_none_or(|g| seen.insert(g.clone())))
        .collect();
    // Ranks: the scores of some attacks have tails that would drown every other difference. They do not see the labels.
    let mut vectors: BTreeMap<&str, Vec<f64>> = one_per_group
        .iter()
        .map(|l| (l.id.as_str(), Vec::new()))
        .collect();
    for attack in attacks {
        let mut rows: Vec<_> = scores
            .rows
            .iter()
            .filter(|r| r.attack == *attack && vectors.contains_key(r.sample_id.as_str()))
            .collect();
        rows.sort_by(|a, b| a.score.total_cmp(&b.score));
        for (rank, row) in rows.iter().enumerate() {
            if let Some(vector) = vectors.get_mut(row.sample_id.as_str()) {
                vector.push(rank as f64);
            }
        }
    }
    let side = |member: bool| -> Vec<Vec<f64>> {
        let labels = one_per_group.iter().filter(|l| l.member == member);
        labels
            .filter_map(|l| vectors.get(l.id.as_str()))
            .filter(|v| v.len() == attacks.len())
            .cloned()
            .collect()
    };
    let test = mmd_permutation(&side(true), &side(false), PERMUTATIONS, seed).ok()?;
    Some(SetTest {
        name: "mmd-error-space".into(),
        title: "Members against non-members, by the model's errors".into(),
        what: "maximum mean discrepancy of the images' scores under the attacks that score everybody, as ranks; one image per group".into(),
        members: test.compared[0],
        nonmembers: test.compared[1],
        statistic: test.mmd2,
        p_value: test.p_value,
        permutations: test.permutations,
    })
}

fn generated(utility: Utility) -> Option<SetTest> {
    let images = utility.images?;
    let gap = images.gap?;
    Some(SetTest {
        name: "generated-gap".into(),
        title: "Generated images: nearer to members than to non-members?".into(),
        what: format!(
            "Fréchet distance to non-members less that to as many members, features {}",
            images.features
        ),
        members: gap.n,
        nonmembers: gap.n,
        statistic: -gap.gap,
        p_value: gap.p_value?,
        permutations: super::utility::RELABELLINGS,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_audit::ScoreRow;

    fn labels() -> Vec<Label> {
        (0..120)
            .map(|i| Label {
                id: format!("{i:03}"),
                name: format!("{i}.png"),
                group: (i / 2 == 7).then(|| "pair".to_owned()),
                member: i < 40,
            })
            .collect()
    }

    fn scores(shift: f64) -> ScoresFile {
        let noise = |i: usize, k: usize| ((i * 7919 + k * 104_729) % 1009) as f64 / 1009.0;
        let rows = labels()
            .iter()
            .enumerate()
            .flat_map(|(i, label)| {
                ["loss", "sima"]
                    .iter()
                    .enumerate()
                    .map(move |(k, attack)| ScoreRow {
                        sample_id: label.id.clone(),
                        name: None,
                        group: label.group.clone(),
                        member: label.member,
                        attack: (*attack).to_owned(),
                        score: noise(i, k) + if label.member { shift } else { 0.0 },
                    })
                    .collect::<Vec<_>>()
            })
            .collect();
        ScoresFile { rows }
    }

    #[test]
    fn a_shifted_set_is_seen_and_an_equal_one_is_not() {
        let attacks = ["loss", "sima"].map(String::from);
        let test = |shift| error_space(&scores(shift), &attacks, &labels(), 1).unwrap();
        let (seen, equal) = (test(0.5), test(0.0));
        assert_eq!(
            (seen.members, seen.nonmembers),
            (39, 80),
            "one image of the pair"
        );
        assert!(
            seen.p_value < 0.01 && equal.p_value > 0.05,
            "{seen:?} {equal:?}"
        );
    }

    #[test]
    fn attacks_that_learn_or_see_images_only_are_no_error_space() {
        let of = |name| scores_all(name);
        assert!(of("loss") && of("sima+flip") && of("teacher-difference"));
        assert!(
            !of("secmi-nn")
                && !of("nn")
                && !of("rounds@2")
                && !of("rounds@2+second")
                && !of("pw-threshold")
                && !of("lira-offline")
        );
    }
}
