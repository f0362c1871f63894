//! Tests on sets instead of single samples: do two sets of features differ, and can a person prove use with k images?
//!
//! - [`mmd_permutation`] compares two lists of feature vectors - members and non-members before training, for example.
//!   If they differ already, an attack may recognise the set and not the membership.
//! - [`power_against_k`] asks for the evidence of one person: single scores may be near chance and still prove use
//!   when k of them are averaged.
//! - [`dataset_inference`] asks whether a set of images was used, by all features of its images at once, against a set
//!   that certainly was not; [`inference_power`] how many images that takes.

mod inference;
mod mmd;

use rand::SeedableRng as _;
use rand::seq::{SliceRandom as _, index};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::CONFIDENCE;
use crate::binomial::two_sided;
use crate::error::{StatsError, check_open_unit, check_repetitions, check_scores};

pub use inference::{DatasetInference, dataset_inference, inference_power};
pub use mmd::{MMD_ROWS, MmdTest, mmd_permutation};

/// Subsets drawn per k and kind in [`power_against_k`].
const SUBSETS: usize = 2000;

/// How often k images prove that their owner's pictures were used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PowerPoint {
    /// Images of one person.
    pub k: usize,
    /// Share of sets of k members that the test calls used.
    pub power: f64,
    /// 95 % interval of the power over the draw of the members, for the non-members at hand.
    pub ci: [f64; 2],
    /// The same share for sets of k non-members that the test has not seen; `alpha` at most, on average.
    pub false_alarm: f64,
    /// 95 % interval of the false-alarm rate, likewise.
    pub false_alarm_ci: [f64; 2],
}

/// Power of the test "these k images were used" against k, at false-alarm rate `alpha`.
///
/// **k images means k members drawn at random.** A person's own pictures resemble each other: their scores are
/// correlated, and the power for them is that of fewer independent images. The number is for a person of average
/// exposure whose k images were all used.
///
/// The non-members are split in half by `seed`. The statistic of a set is its mean rank score: the mean over its k
/// images of the mid-rank among the *reference* half, so no distribution is assumed. Under the null, k images are
/// drawn from the reference half itself and ranked among the others of it; for any other set as many of the reference
/// half are left out at random, so that a set of new non-members has exactly the null's distribution. (Ranked among
/// all of the reference half, the error of the reference would raise the false alarms as k grows.) A set is called
/// used above the 1 - alpha quantile of 2,000 null draws; `false_alarm` is measured on the half of the non-members
/// that set no threshold. For one split it scatters around `alpha` as `false_alarm_ci` says.
///
/// The subsets overlap, so they are not 2,000 trials. The intervals are Clopper-Pearson with n/k trials, n being the
/// number of samples: the mean over all subsets varies no more than that over disjoint ones (Hoeffding, 1963, section
/// 5), so they are conservative. `alpha` below 1/2001 is never reached.
///
/// # Errors
/// [`StatsError::TooFew`] when a k exceeds the members, a quarter of the non-members or is served by too few of them;
/// [`StatsError::OutOfRange`] for k = 0 or `alpha` outside (0, 1); [`StatsError::Empty`], [`StatsError::NotANumber`].
pub fn power_against_k(
    members: &[f64],
    nonmembers: &[f64],
    ks: &[usize],
    alpha: f64,
    seed: u64,
) -> Result<Vec<PowerPoint>, StatsError> {
    check_scores(members, nonmembers)?;
    check_open_unit("alpha", alpha)?;
    for &k in ks {
        check_repetitions("number of images", k)?;
        for (what, got, needed) in [
            ("members", members.len(), k),
            ("non-members", nonmembers.len(), 4 * k),
        ] {
            if got < needed {
                let remedy = "ask for fewer images, or score more samples";
                return Err(StatsError::TooFew {
                    what,
                    got,
                    needed,
                    remedy,
                });
            }
        }
    }
    let mut shuffled = nonmembers.to_vec();
    shuffled.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let (check, reference) = shuffled.split_at(nonmembers.len() / 2);
    let reference = Reference::new(reference);
    let point = |&k: &usize| {
        // A stream per k: its numbers do not depend on which other ks are asked for.
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(k as u64);
        let mut null: Vec<u64> = (0..SUBSETS).map(|_| reference.null(k, &mut rng)).collect();
        null.sort_unstable();
        let place = ((1.0 - alpha) * (SUBSETS + 1) as f64).ceil() as usize;
        let bar = null.get(place.max(1) - 1).copied().unwrap_or(u64::MAX);
        let mut share = |from: &[f64]| {
            let called = (0..SUBSETS).filter(|_| reference.of(from, k, &mut rng) > bar);
            called.count() as f64 / SUBSETS as f64
        };
        let (power, false_alarm) = (share(members), share(check));
        PowerPoint {
            k,
            power,
            ci: interval(power, members.len() / k),
            false_alarm,
            false_alarm_ci: interval(false_alarm, check.len() / k),
        }
    };
    Ok(ks.iter().map(point).collect())
}

/// Clopper-Pearson for a share that need not be a whole number of `trials`.
fn interval(share: f64, trials: usize) -> [f64; 2] {
    let successes = share * trials as f64;
    let tail = (1.0 - CONFIDENCE) / 2.0;
    let low = two_sided(successes.floor() as u64, trials as u64, tail)[0];
    let high = two_sided(successes.ceil() as u64, trials as u64, tail)[1];
    [low, high]
}

/// The half of the non-members that ranks are taken in.
struct Reference {
    sorted: Vec<f64>,
}

impl Reference {
    fn new(scores: &[f64]) -> Self {
        let mut sorted = scores.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        Self { sorted }
    }

    /// Statistic of k reference non-members among the others. Only sets of equal k are compared, so the mean rank
    /// score is kept as its integer numerator, twice the Mann-Whitney U.
    fn null(&self, k: usize, rng: &mut ChaCha8Rng) -> u64 {
        let set = self.draw(k, rng);
        self.among_others(&set, &set)
    }

    /// Statistic of k of `scores` among the reference without k at random.
    fn of(&self, scores: &[f64], k: usize, rng: &mut ChaCha8Rng) -> u64 {
        let set: Vec<f64> = index::sample(rng, scores.len(), k)
            .iter()
            .map(|i| scores[i])
            .collect();
        let left_out = self.draw(k, rng);
        self.among_others(&set, &left_out)
    }

    /// k reference scores in ascending order.
    fn draw(&self, k: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
        let mut places = index::sample(rng, self.sorted.len(), k).into_vec();
        places.sort_unstable();
        places.into_iter().map(|i| self.sorted[i]).collect()
    }

    fn among_others(&self, set: &[f64], left_out: &[f64]) -> u64 {
        twice_u(set, &self.sorted) - twice_u(set, left_out)
    }
}

/// Sum over `set` of twice the number of `sorted` scores below, ties counting once.
fn twice_u(set: &[f64], sorted: &[f64]) -> u64 {
    let twice = |x: f64| sorted.partition_point(|&y| y < x) + sorted.partition_point(|&y| y <= x);
    set.iter().map(|&x| twice(x) as u64).sum()
}

#[cfg(test)]
mod tests {
    use rand_distr::{Distribution as _, StandardNormal};

    use super::*;

    fn draw(n: usize, shift: f64, rng: &mut ChaCha8Rng) -> Vec<f64> {
        let normal = |_| -> f64 { StandardNormal.sample(rng) };
        let standard: Vec<f64> = (0..n).map(normal).collect();
        standard.into_iter().map(|x| x + shift).collect()
    }

    #[test]
    fn statistics_by_hand() {
        // Twice the pairs won, a tie counting 1: 2 + 1 for the 2, 4 for the 3.
        assert_eq!(twice_u(&[2.0, 3.0], &[1.0, 2.0]), 3 + 4);
        assert_eq!(twice_u(&[2.0, 3.0], &[2.0, 3.0]), 4);
        let reference = Reference::new(&[3.0, 1.0, 4.0, 2.0]);
        // 2.5 and 5 among 1, 2, 3, 4 without 1 and 4.
        assert_eq!(reference.among_others(&[2.5, 5.0], &[1.0, 4.0]), 2 + 4);
        assert_eq!(interval(0.5, 4), two_sided(2, 4, (1.0 - CONFIDENCE) / 2.0));
        assert!(interval(0.05, 12)[0] == 0.0 && interval(0.05, 12)[1] > 0.05);
    }

    /// Without a leak, 60 audits of 128 and 256: power and false alarms scatter around alpha in each audit, but their
    /// means do not. Between 0.03 and 0.07, which is 4 standard errors
    /// for k = 8 (the measured spread between audits is 0.037). The intervals hold alpha in nine of ten audits or more.
    #[test]
    fn no_leak_no_power() {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let (mut power, mut alarm, mut held, audits) = ([0.0; 2], [0.0; 2], 0, 60);
        for audit in 0..audits {
            let (m, n) = (draw(128, 0.0, &mut rng), draw(256, 0.0, &mut rng));
            let points = power_against_k(&m, &n, &[1, 8], 0.05, audit).unwrap();
            for (i, p) in points.iter().enumerate() {
                power[i] += p.power / audits as f64;
                alarm[i] += p.false_alarm / audits as f64;
                for [low, high] in [p.ci, p.false_alarm_ci] {
                    held += usize::from(low <= 0.05 && 0.05 <= high);
                }
            }
        }
        for rate in power.into_iter().chain(alarm) {
            assert!((0.03..0.07).contains(&rate), "{power:?} {alarm:?}");
        }
        assert!(held >= 216, "{held} of 240");
    }

    /// AUC 0.6 (normals 0.358 apart): one image shows little, 32 nearly always suffice. The normal approximation of
    /// the power for k = 16 is P[Z > 1.645 - 4 * 0.358] = 0.42 for a known null; half is a generous limit around it.
    #[test]
    fn power_grows_with_k() {
        let mut rng = ChaCha8Rng::seed_from_u64(12);
        let (m, n) = (draw(1000, 0.358, &mut rng), draw(2000, 0.0, &mut rng));
        let ks = [1, 4, 16, 64];
        let points = power_against_k(&m, &n, &ks, 0.05, 0).unwrap();
        assert!(
            points.windows(2).all(|w| w[0].power < w[1].power),
            "{points:?}"
        );
        assert!((0.07..0.15).contains(&points[0].power), "{points:?}");
        assert!((0.3..0.55).contains(&points[2].power), "{points:?}");
        assert!(points[3].power > 0.8, "{points:?}");
        for p in &points {
            assert!(p.ci[0] <= p.power && p.power <= p.ci[1], "{p:?}");
            assert!(p.false_alarm_ci[0] <= 0.05, "{p:?}");
        }
    }

    #[test]
    fn seeds_repeat_and_ks_do_not_disturb_each_other() {
        let mut rng = ChaCha8Rng::seed_from_u64(13);
        let (m, n) = (draw(40, 0.5, &mut rng), draw(80, 0.0, &mut rng));
        let with = |ks: &[usize], seed| power_against_k(&m, &n, ks, 0.1, seed).unwrap();
        assert_eq!(with(&[2, 5], 1)[1], with(&[5], 1)[0]);
        assert_ne!(with(&[5], 1), with(&[5], 2));
    }

    #[test]
    fn constant_scores_prove_nothing() {
        let points = power_against_k(&[1.0; 20], &[1.0; 40], &[1, 10], 0.05, 0).unwrap();
        assert!(
            points
                .iter()
                .all(|p| (p.power, p.false_alarm) == (0.0, 0.0))
        );
    }

    #[test]
    fn nonsense_is_refused() {
        let (m, n) = ([1.0; 8], [0.0; 16]);
        assert!(power_against_k(&m, &n, &[4], 0.05, 0).is_ok());
        let error = power_against_k(&m, &n, &[5], 0.05, 0).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("16 non-members, but at least 20"),
            "{error}"
        );
        assert!(power_against_k(&m, &n, &[0], 0.05, 0).is_err());
        assert!(power_against_k(&m, &n, &[1], 1.0, 0).is_err());
        assert!(power_against_k(&m, &[], &[1], 0.05, 0).is_err());
    }
}
