//! Tests on whole sets, to `sets/NAME.json`: were these images, together, part of the training?
//!
//! One image can be a hard case; a hundred are not. The first test asks whether members and non-members differ in the model's
//! error space: every image is the vector of its scores under the attacks that score everybody. The second asks the same by a classifier
//! on these vectors, and how many images of one person it takes (dataset inference). The third whether what the
//! model draws lies nearer to the members, in features that know nothing of the model. All are permutation tests and look at
//! one image per group.

use super::score::subject::Label;
use super::{RunFolder, create_folder, remove};
use crate::plan::Plan;
use crate::reporter::{Reporter, meanwhile};
use anyhow::Result;
use dualmd_audit::{ScoresFile, read_scores};
use dualmd_data::stream;
use dualmd_names::{AttackSpec, BaseAttack, Kind, ModelKind};
use dualmd_record::controls::{BlindBaseline, Controls};
use dualmd_record::sets::{Inference, SetTest, Sets};
use dualmd_record::utility::Utility;
use dualmd_stats::{dataset_inference, inference_power, mmd_permutation};
use rand::seq::SliceRandom;
use std::collections::{BTreeMap, BTreeSet};

const PERMUTATIONS: usize = 999;
/// Images on either side below which nothing is inferred of a set.
const FEWEST: usize = 20;
/// Most images of a side that the test of the whole set looks at, drawn by seed: it fits a regression for every relabelling and fold. CDI
/// asks for 70.
const MOST: usize = 100;
/// Folds of the regression, as in CDI.
const FOLDS: usize = 5;
/// Level at which k images prove use, as of the curve by single scores.
const ALPHA: f64 = 0.05;
/// Numbers of images that are tried.
const IMAGES: [usize; 4] = [10, 20, 40, 70];
/// Relabellings of each set of k: the fewest for which the level is one in 20 exactly, and not more than that.
const EACH: usize = 99;
/// Share of sets that makes a number of images enough.
const POWER: f64 = 0.8;

/// Tests every model of a plan that is not a teacher. What cannot be tested (too few images, one attack) is left out.
pub fn all(run: &RunFolder, plan: &Plan, labels: &[Label], reporter: &dyn Reporter) -> Result<()> {
    for target in plan.models.iter().filter(|t| t.defense != ModelKind::Part) {
        let csv = run.scores(&target.name, "csv");
        if csv.exists() {
            write(run, &target.name, labels, plan.seed, reporter)?;
        }
    }
    Ok(())
}

/// Tests one model whose scores are there.
pub fn write(
    run: &RunFolder,
    name: &str,
    labels: &[Label],
    seed: u64,
    reporter: &dyn Reporter,
) -> Result<()> {
    meanwhile(reporter, name, "set tests", || {
        tested(run, name, labels, seed)
    })
}

fn tested(run: &RunFolder, name: &str, labels: &[Label], seed: u64) -> Result<()> {
    let scores = read_scores(&run.scores(name, "csv"))?;
    let mut file = Sets::default();
    let attacks: Vec<String> = scores
        .attacks()
        .into_iter()
        .filter(|a| scores_all(a))
        .collect();
    if attacks.len() > 1 {
        let sides = vectors(&scores, &attacks, labels);
        if let Some(test) = error_space(&sides, seed) {
            let of = format!("ranks of the scores of {}", attacks.join(", "));
            file.features = Some(of.into());
            file.tests.push(test);
        }
        let controls: Option<Controls> = dualmd_record::read_if_usable(&run.controls())?;
        let blind = controls.and_then(|c| c.blind_baseline);
        if let Some((test, inference)) = inferred(&sides, attacks, blind.as_ref(), seed) {
            file.tests.extend(test);
            file.inference = Some(inference);
        }
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

/// Attacks of a score file that score everybody by asking the model, be it for images of their own text.
fn scores_all(attack: &str) -> bool {
    let Ok(spec) = attack.parse::<AttackSpec>() else {
        return BaseAttack::of(attack).is_none_or(|base| base.can_be_asked() && !base.learns());
    };
    !spec.learns() && !matches!(spec.base().facts().kind, Kind::Nearest | Kind::Rounds)
}

/// The images of members and of non-members, one of each group, as vectors of ranks.
fn vectors(scores: &ScoresFile, attacks: &[String], labels: &[Label]) -> [Vec<Vec<f64>>; 2] {
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
    [side(true), side(false)]
}

fn error_space([members, others]: &[Vec<Vec<f64>>; 2], seed: u64) -> Option<SetTest> {
    let test = mmd_permutation(members, others, PERMUTATIONS, seed).ok()?;
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

/// Why nothing may be inferred of a set: what tells the sets apart without the model would pass for use.
fn refused(blind: Option<&BlindBaseline>) -> Option<String> {
    match blind {
        None => Some(
            "the blind baseline was not measured, and a difference of the sets themselves would pass for use"
                .into(),
        ),
        Some(blind) if blind.void.unwrap_or(blind.auc_ci[0] > 0.5) => Some(
            "the blind baseline tells the sets apart without the model, which would pass for use".into(),
        ),
        Some(_) => None,
    }
}

/// Dataset inference: the test of the whole set, and how many images prove use. `None` where the images are too few.
fn inferred(
    [members, others]: &[Vec<Vec<f64>>; 2],
    attacks: Vec<String>,
    blind: Option<&BlindBaseline>,
    seed: u64,
) -> Option<(Option<SetTest>, Inference)> {
    if members.len().min(others.len()) < FEWEST {
        return None;
    }
    let mut inference = Inference {
        features: attacks,
        refused: refused(blind),
        alpha: ALPHA,
        relabellings: EACH,
        ..Inference::default()
    };
    if inference.refused.is_some() {
        return Some((None, inference));
    }
    let some = |side: &[Vec<f64>], index| -> Vec<Vec<f64>> {
        let mut all = side.to_vec();
        all.shuffle(&mut stream(seed, "sets/inference", index));
        all.truncate(MOST);
        all
    };
    let (suspect, unpublished) = (some(members, 0), some(others, 1));
    let test = dataset_inference(&suspect, &unpublished, FOLDS, PERMUTATIONS, seed).ok()?;
    // Sets of more than half of the members, or of the non-members twice, would be the same images again and again.
    let ks: Vec<usize> = IMAGES
        .into_iter()
        .filter(|k| 2 * k <= members.len() && 4 * k <= others.len())
        .collect();
    inference.power = inference_power(members, others, &ks, ALPHA, EACH, seed).ok()?;
    let enough = inference.power.iter().find(|p| p.power >= POWER);
    inference.images_needed = enough.map(|p| p.k);
    let test = SetTest {
        name: "dataset-inference".into(),
        title: "Dataset inference: members against images that were not used".into(),
        what: format!(
            "difference of the mean score of a logistic regression on the same ranks, fitted anew for every relabelling; {FOLDS} folds{}",
            if test.exact { "; all relabellings" } else { "" }
        ),
        members: test.images[0],
        nonmembers: test.images[1],
        statistic: test.difference,
        p_value: test.p_value,
        permutations: test.relabellings,
    };
    Some((Some(test), inference))
}

/// Relabellings of the Fréchet distances in files of earlier versions.
const BY_FRECHET: usize = 99;

fn generated(utility: Utility) -> Option<SetTest> {
    let images = utility.images?;
    let gap = images.gap?;
    let p_value = gap.p_value?;
    let (distance, found) = match gap.kernel_gap {
        Some(found) => ("kernel distance (KID)", found),
        None => ("Fréchet distance", gap.gap),
    };
    let tested = gap.tested.unwrap_or(gap.n);
    Some(SetTest {
        name: "generated-gap".into(),
        title: "Generated images: nearer to members than to non-members?".into(),
        what: format!(
            "{distance} to non-members less that to as many members, features {}",
            images.features
        ),
        members: tested,
        nonmembers: tested,
        statistic: -found,
        p_value,
        permutations: gap.relabellings.unwrap_or(BY_FRECHET),
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
        let sides = |shift| vectors(&scores(shift), &attacks, &labels());
        let test = |shift| error_space(&sides(shift), 1).unwrap();
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

    fn blind(void: bool) -> BlindBaseline {
        BlindBaseline {
            auc: 0.5,
            auc_ci: [0.4, 0.6],
            p_value: None,
            void: Some(void),
            families: Vec::new(),
            why: String::new(),
            features: None,
            method: None,
            file_findings: Vec::new(),
        }
    }

    /// Use is inferred of a shifted set and not of an equal one, and nothing is where the sets differ without the model.
    #[test]
    fn use_is_inferred_where_only_training_can_explain_it() {
        let attacks = || ["loss", "sima"].map(String::from).to_vec();
        let made = |shift, blind: Option<&BlindBaseline>| {
            let sides = vectors(&scores(shift), &attacks(), &labels());
            inferred(&sides, attacks(), blind, 1).unwrap()
        };
        let sound = blind(false);
        let (test, inference) = made(0.9, Some(&sound));
        assert!(test.unwrap().p_value < 0.01);
        let ks: Vec<usize> = inference.power.iter().map(|p| p.k).collect();
        assert_eq!(ks, [10], "39 members and 80 others");
        assert_eq!(inference.images_needed, Some(10), "{inference:?}");
        let (test, inference) = made(0.0, Some(&sound));
        assert!(test.unwrap().p_value > 0.05);
        assert_eq!(inference.images_needed, None, "{inference:?}");
        for (control, said) in [
            (Some(blind(true)), "without the model"),
            (None, "not measured"),
        ] {
            let (test, inference) = made(0.9, control.as_ref());
            assert!(test.is_none() && inference.power.is_empty());
            assert!(inference.refused.unwrap().contains(said));
        }
        let few = [vec![vec![0.0]; 5], vec![vec![0.0]; 50]];
        assert!(inferred(&few, attacks(), Some(&sound), 1).is_none());
    }

    /// The test says by which distance it was made and of how many relabellings; files of earlier versions have neither.
    #[test]
    fn the_test_of_generated_images_says_what_it_is_of() {
        let test = |gap: serde_json::Value| {
            let file =
                serde_json::json!({"features": "toy-2", "n_generated": 9, "n_real": 9, "gap": gap});
            generated(serde_json::from_value(file).unwrap())
        };
        let new = test(
            serde_json::json!({"to_members": 1.0, "to_nonmembers": 3.0, "gap": -2.0, "n": 50,
            "kernel_gap": -0.5, "tested": 40, "relabellings": 999, "p_value": 0.001}),
        )
        .unwrap();
        assert_eq!(
            (new.members, new.permutations, new.statistic),
            (40, 999, 0.5)
        );
        assert!(
            new.what
                .starts_with("kernel distance (KID) to non-members less"),
            "{}",
            new.what
        );
        let old = test(
            serde_json::json!({"to_members": 1.0, "to_nonmembers": 3.0, "gap": -2.0, "n": 50, "p_value": 0.01}),
        );
        let old = old.unwrap();
        assert_eq!(
            (old.members, old.permutations, old.statistic),
            (50, 99, 2.0)
        );
        assert!(old.what.starts_with("Fréchet distance"), "{}", old.what);
        assert!(test(serde_json::json!({"gap": -2.0, "n": 50})).is_none());
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
