//! Dataset inference: were these images, as a set, used for training?

use rand::SeedableRng as _;
use rand::seq::{SliceRandom as _, index};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::{PowerPoint, interval};
use crate::combine::{Scale, check_rows, deal, log_odds, minimum, outside};
use crate::error::{StatsError, check_open_unit, check_repetitions};
use crate::ranks::mean;

/// Penalty of the regression: for the hundred or two images of a claim about scikit-learn's default C = 1, which CDI's
/// code has.
const PENALTY: f64 = 0.01;

/// Sets drawn per k and kind in [`inference_power`].
const SETS: usize = 100;

/// Result of [`dataset_inference`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DatasetInference {
    /// Mean score of the suspect images minus that of the unpublished ones, each score from a regression that has not seen
    /// the image: between -1 and 1, about 0 where nothing differs.
    pub difference: f64,
    /// Share of relabellings with at least this difference, the true labels among them.
    pub p_value: f64,
    /// Relabellings looked at, the true labels not counted.
    pub relabellings: usize,
    /// Whether these were all there are; otherwise they were drawn.
    pub exact: bool,
    /// Scores of the suspect images: the probability of being one of them.
    pub suspect_scores: Vec<f64>,
    /// Scores of the unpublished images.
    pub unpublished_scores: Vec<f64>,
    /// Images on either side.
    pub images: [usize; 2],
}

/// Permutation test of "the suspect images are like the unpublished ones", by a classifier on the features of single
/// images (the plan of CDI: Dubinski, Kowalczuk, Boenisch & Dziedzic, "CDI: Copyrighted Data Identification in Diffusion
/// Models", CVPR 2025, arXiv 2411.12858).
///
/// One row per image, one column per feature (the scores of attacks). The unpublished images are of the same kind as the
/// suspect ones and were certainly not used. Then only training can make the two differ: **a small p-value is evidence of use
/// only if the sets could have been exchanged before**. Two sets of different origin differ anyway.
///
/// ```text
/// rows standardised over both sets; images dealt into folds, each side evenly
/// score of an image = probability of "suspect" by the logistic regression of the other folds
/// T = mean score of the suspect - mean score of the unpublished
/// p = (1 + relabellings with T at least as large) / (1 + relabellings)
/// ```
///
/// Labels are exchanged *before* fitting: every relabelling is fitted anew. The p-value is valid for any classifier,
/// however it over-fits; CDI's t-test takes cross-fitted scores as independent, which they are not. When there are no more
/// relabellings than `permutations`, all are looked at (`exact`, and the p-value is their share); else that many are drawn
/// with `seed`, which also deals the folds. The smallest p-value is 1 / (1 + `relabellings`).
///
/// A relabelling of 140 images with 26 features takes some milliseconds with 5 folds.
///
/// # Errors
/// [`StatsError::TooFew`] for fewer images on a side than folds, or rows without features; [`StatsError::OutOfRange`] for
/// fewer than two folds or no permutations; [`StatsError::Lengths`]; [`StatsError::NotFinite`].
pub fn dataset_inference(
    suspect: &[Vec<f64>],
    unpublished: &[Vec<f64>],
    folds: usize,
    permutations: usize,
    seed: u64,
) -> Result<DatasetInference, StatsError> {
    check(suspect, unpublished, folds, permutations)?;
    let all: Vec<&Vec<f64>> = suspect.iter().chain(unpublished).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let test = Test::new(&all, folds, &mut rng);
    let mut labels: Vec<bool> = (0..all.len()).map(|i| i < suspect.len()).collect();
    let scores = test.scores(&labels);
    let difference = difference(&scores, &labels);
    // Sums in another order differ in their last digits: equal values must count as equal.
    let bar = difference - 1e-9;
    let images = [suspect.len(), unpublished.len()];
    let count = choose(all.len(), suspect.len()).filter(|&n| n - 1 <= permutations);
    let (mut as_large, relabellings) = (0, count.map_or(permutations, |n| n - 1));
    if count.is_some() {
        let mut places: Vec<usize> = (0..suspect.len()).collect();
        while next_choice(&mut places, all.len()) {
            labels.fill(false);
            places.iter().for_each(|&i| labels[i] = true);
            as_large += usize::from(test.statistic(&labels) >= bar);
        }
    } else {
        for _ in 0..permutations {
            labels.shuffle(&mut rng);
            as_large += usize::from(test.statistic(&labels) >= bar);
        }
    }
    let (suspect_scores, unpublished_scores) = scores.split_at(suspect.len());
    Ok(DatasetInference {
        difference,
        p_value: (as_large + 1) as f64 / (relabellings + 1) as f64,
        relabellings,
        exact: count.is_some(),
        suspect_scores: suspect_scores.to_vec(),
        unpublished_scores: unpublished_scores.to_vec(),
        images,
    })
}

/// How often k suspect images, against k unpublished ones, pass [`dataset_inference`] at level `alpha`: how many images
/// prove use.
///
/// For each k, 100 sets of k suspect and k unpublished images are drawn with `seed` and tested with five folds and
/// `permutations` relabellings, and as many pairs of disjoint sets of k unpublished images for the false alarms. A test
/// stops early when it can no longer pass. `permutations` must be 1 / alpha - 1 at least; 99 serve for 0.05.
///
/// The sets overlap: the intervals are those of [`super::power_against_k`], with n/k trials, conservative.
///
/// # Errors
/// As [`dataset_inference`], and [`StatsError::TooFew`] when a k exceeds the suspect images or half of the unpublished,
/// [`StatsError::OutOfRange`] for a k below 5, `alpha` outside (0, 1) or `permutations` too few for it.
pub fn inference_power(
    suspect: &[Vec<f64>],
    unpublished: &[Vec<f64>],
    ks: &[usize],
    alpha: f64,
    permutations: usize,
    seed: u64,
) -> Result<Vec<PowerPoint>, StatsError> {
    const FOLDS: usize = 5;
    check(suspect, unpublished, FOLDS, permutations)?;
    check_open_unit("alpha", alpha)?;
    // p <= alpha: this many relabellings may reach the true difference.
    let allowed = (alpha * (permutations + 1) as f64 + 1e-9).floor() as usize;
    if allowed == 0 {
        return Err(StatsError::OutOfRange {
            name: "number of permutations",
            value: permutations as f64,
            expected: "at least 1 / alpha - 1, or no p-value is small enough",
        });
    }
    for &k in ks {
        if k < FOLDS {
            return Err(StatsError::OutOfRange {
                name: "number of images",
                value: k as f64,
                expected: "at least 5, one for each fold",
            });
        }
        for (what, got, needed) in [
            ("suspect images", suspect.len(), k),
            ("unpublished images", unpublished.len(), 2 * k),
        ] {
            if got < needed {
                let remedy = "ask for fewer images, or score more";
                return Err(StatsError::TooFew {
                    what,
                    got,
                    needed,
                    remedy,
                });
            }
        }
    }
    let passes = |a: &[&Vec<f64>], b: &[&Vec<f64>], rng: &mut ChaCha8Rng| {
        let all: Vec<&Vec<f64>> = a.iter().chain(b).copied().collect();
        let test = Test::new(&all, FOLDS, rng);
        let mut labels: Vec<bool> = (0..all.len()).map(|i| i < a.len()).collect();
        let bar = test.statistic(&labels) - 1e-9;
        let mut as_large = 1;
        for _ in 0..permutations {
            labels.shuffle(rng);
            as_large += usize::from(test.statistic(&labels) >= bar);
            if as_large > allowed {
                return false;
            }
        }
        true
    };
    let point = |&k: &usize| {
        // A stream per k: its numbers do not depend on which other ks are asked for.
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(k as u64);
        let draw = |from: &'_ [Vec<f64>], amount: usize, rng: &mut ChaCha8Rng| -> Vec<usize> {
            index::sample(rng, from.len(), amount).into_vec()
        };
        let (mut found, mut alarms) = (0, 0);
        for _ in 0..SETS {
            let ours = draw(suspect, k, &mut rng);
            let theirs = draw(unpublished, 2 * k, &mut rng);
            let ours: Vec<&Vec<f64>> = ours.iter().map(|&i| &suspect[i]).collect();
            let theirs: Vec<&Vec<f64>> = theirs.iter().map(|&i| &unpublished[i]).collect();
            let (first, second) = theirs.split_at(k);
            found += usize::from(passes(&ours, first, &mut rng));
            alarms += usize::from(passes(second, first, &mut rng));
        }
        let (power, false_alarm) = (found as f64 / SETS as f64, alarms as f64 / SETS as f64);
        PowerPoint {
            k,
            power,
            ci: interval(power, suspect.len() / k),
            false_alarm,
            false_alarm_ci: interval(false_alarm, unpublished.len() / (2 * k)),
        }
    };
    Ok(ks.iter().map(point).collect())
}

fn check(
    suspect: &[Vec<f64>],
    unpublished: &[Vec<f64>],
    folds: usize,
    permutations: usize,
) -> Result<(), StatsError> {
    check_repetitions("number of permutations", permutations)?;
    if folds < 2 {
        return Err(StatsError::OutOfRange {
            name: "number of folds",
            value: folds as f64,
            expected: "at least 2",
        });
    }
    for (what, rows) in [
        ("suspect images", suspect),
        ("unpublished images", unpublished),
    ] {
        if rows.len() < folds {
            return Err(StatsError::TooFew {
                what,
                got: rows.len(),
                needed: folds,
                remedy: "give the features of more images, or take fewer folds",
            });
        }
    }
    let columns = suspect[0].len();
    if columns == 0 {
        return Err(StatsError::TooFew {
            what: "features of an image",
            got: 0,
            needed: 1,
            remedy: "give the scores of at least one attack",
        });
    }
    check_rows(suspect, columns, "some feature of suspect image")?;
    check_rows(unpublished, columns, "some feature of unpublished image")
}

/// Images and folds of one test: a function of the labels alone.
struct Test {
    rows: Vec<Vec<f64>>,
    /// Both sides are dealt out in this order.
    order: Vec<usize>,
    folds: usize,
}

impl Test {
    fn new(all: &[&Vec<f64>], folds: usize, rng: &mut ChaCha8Rng) -> Self {
        let rows: Vec<Vec<f64>> = all.iter().map(|row| (*row).clone()).collect();
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.shuffle(rng);
        Self {
            rows: Scale::new(&rows).of(&rows),
            order,
            folds,
        }
    }

    /// Cross-fitted probabilities of "suspect".
    fn scores(&self, labels: &[bool]) -> Vec<f64> {
        let fold = deal(&self.order, labels, self.folds);
        let mut scores = vec![0.0; labels.len()];
        for held in 0..self.folds {
            let (x, y) = outside(&self.rows, labels, &fold, held);
            let w = minimum(&x, &y, PENALTY);
            let odds = log_odds(&self.rows, &w);
            for i in (0..labels.len()).filter(|&i| fold[i] == held) {
                scores[i] = 1.0 / (1.0 + (-odds[i]).exp());
            }
        }
        scores
    }

    fn statistic(&self, labels: &[bool]) -> f64 {
        difference(&self.scores(labels), labels)
    }
}

fn difference(scores: &[f64], labels: &[bool]) -> f64 {
    let side = |wanted: bool| {
        let kept = scores.iter().zip(labels).filter(|(_, l)| **l == wanted);
        mean(&kept.map(|(s, _)| *s).collect::<Vec<f64>>())
    };
    side(true) - side(false)
}

/// Ways to choose k of n; `None` where they are too many to count.
fn choose(n: usize, k: usize) -> Option<usize> {
    let mut ways: usize = 1;
    for i in 0..k.min(n - k) {
        ways = ways.checked_mul(n - i)? / (i + 1);
    }
    Some(ways)
}

/// The next set of places among n, in the order of a dictionary; false after the last.
fn next_choice(places: &mut [usize], n: usize) -> bool {
    let k = places.len();
    for i in (0..k).rev() {
        if places[i] < n - k + i {
            places[i] += 1;
            for j in i + 1..k {
                places[j] = places[j - 1] + 1;
            }
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests;
