//! Do generated images lie nearer to training images than to images that no model saw?
//!
//! Of two sets the larger has the nearer neighbour by chance, so distances to 64 members and to 512 others say nothing about
//! copying. Here both sides have the same number of images: all of the smaller side, against as many of the larger.

use rand::seq::index;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::CONFIDENCE;
use crate::error::{StatsError, check_finite, check_repetitions};

/// Result of [`nearer`]. Distances are in the unit of the input.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Nearer {
    /// Real images on either side: as many as the smaller side has.
    pub n: usize,
    /// Generated images compared.
    pub generated: usize,
    /// Draws of `n` images from the larger side.
    pub draws: usize,
    /// Seed of the draws.
    pub seed: u64,
    /// Median distance of a generated image to the nearest of `n` members, mean over the draws.
    pub median_members: f64,
    /// The same to the nearest of `n` others.
    pub median_others: f64,
    /// Share of generated images that are nearer to a member than to any of the others, over all ways to draw `n`; equal
    /// distances count half. 0.5 is chance.
    pub share: f64,
    /// Central 95 % of that share over the draws, each with the generated images resampled.
    pub share_ci: [f64; 2],
    /// Share of relabellings of the real images with at least this `share`, the true labels counted in.
    pub p_value: f64,
    /// Relabellings.
    pub relabellings: usize,
}

/// Compares the distances of each generated image to the members and to the other real images, at equal numbers.
///
/// `members[g]` and `others[g]` hold the distances of generated image `g` to every member and to every other image, each in
/// the same order for all `g`. With n images on the smaller side, `share` is the mean over the generated images of the chance
/// that the nearest of n members is nearer than the nearest of n others, all draws of n from the larger side being equally
/// likely (hypergeometric, no simulation). Medians and interval are over `draws` seeded draws. The p-value relabels the real
/// images: if it makes no difference whether an image was trained on, every choice of who the members are is equally likely, so the
/// false-alarm rate never exceeds the level. It takes the real images for independent of each other; copies among the
/// generated ones do no harm.
///
/// # Errors
/// [`StatsError::TooFew`] without a generated image or with fewer than two real images on a side, [`StatsError::Lengths`] for rows of
/// different lengths, [`StatsError::NotFinite`], [`StatsError::OutOfRange`] for no draws or no relabellings.
pub fn nearer(
    members: &[Vec<f64>],
    others: &[Vec<f64>],
    draws: usize,
    relabellings: usize,
    seed: u64,
) -> Result<Nearer, StatsError> {
    check_repetitions("number of draws", draws)?;
    check_repetitions("number of relabellings", relabellings)?;
    let (m, u) = check_rows(members, others)?;
    let n = m.min(u);
    // The smaller side comes first and is looked for; the share is turned round at the end if that side is not the members'.
    let (first, second, turned) = match m <= u {
        true => (members, others, false),
        false => (others, members, true),
    };
    let rows: Vec<Row> = first
        .iter()
        .zip(second)
        .map(|(a, b)| Row::new(a, b))
        .collect();
    let missed = missed(m.max(u), n);
    let of_members = |share: f64| if turned { 1.0 - share } else { share };
    let share_of = |chosen: &[bool]| {
        let sum: f64 = rows.iter().map(|row| row.share(chosen, &missed)).sum();
        of_members(sum / rows.len() as f64)
    };
    let mut chosen = vec![false; m + u];
    chosen[..n].fill(true);
    let share = share_of(&chosen);

    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut shares = Vec::with_capacity(draws);
    let (mut near_first, mut near_second) = (0.0, 0.0);
    for _ in 0..draws {
        let mut drawn = vec![false; m + u];
        for i in index::sample(&mut rng, m.max(u), n) {
            drawn[n + i] = true;
        }
        let pairs: Vec<(f64, f64)> = rows.iter().map(|row| row.nearest(n, &drawn)).collect();
        near_first += median(pairs.iter().map(|p| p.0).collect());
        near_second += median(pairs.iter().map(|p| p.1).collect());
        let sum: f64 = (0..pairs.len())
            .map(|_| wins(pairs[rng.random_range(0..pairs.len())]))
            .sum();
        shares.push(of_members(sum / pairs.len() as f64));
    }
    let mut medians = [near_first, near_second].map(|sum| sum / draws as f64);
    if turned {
        medians.reverse();
    }
    shares.sort_unstable_by(f64::total_cmp);
    let at = |q: f64| shares[((draws - 1) as f64 * q).round() as usize];
    let tail = (1.0 - CONFIDENCE) / 2.0;

    let as_large = (0..relabellings)
        .filter(|_| {
            chosen.fill(false);
            for i in index::sample(&mut rng, m + u, n) {
                chosen[i] = true;
            }
            // Sums in another order differ in their last digits: equal values must count as equal.
            share_of(&chosen) >= share - 1e-12
        })
        .count();
    Ok(Nearer {
        n,
        generated: rows.len(),
        draws,
        seed,
        median_members: medians[0],
        median_others: medians[1],
        share,
        share_ci: [at(tail), at(1.0 - tail)],
        p_value: (as_large + 1) as f64 / (relabellings + 1) as f64,
        relabellings,
    })
}

fn check_rows(members: &[Vec<f64>], others: &[Vec<f64>]) -> Result<(usize, usize), StatsError> {
    let (m, u) = (
        members.first().map_or(0, Vec::len),
        others.first().map_or(0, Vec::len),
    );
    for (what, got, needed, remedy) in [
        ("generated images", members.len(), 1, "draw some"),
        ("members", m, 2, "give more images"),
        ("other images", u, 2, "give more images"),
    ] {
        if got < needed {
            return Err(StatsError::TooFew {
                what,
                got,
                needed,
                remedy,
            });
        }
    }
    let lengths = |what, got, expected, per| match got == expected {
        true => Ok(()),
        false => Err(StatsError::Lengths {
            what,
            got,
            expected,
            per,
        }),
    };
    lengths(
        "rows of distances",
        others.len(),
        members.len(),
        "generated image",
    )?;
    for (row, expected) in (members.iter().map(|r| (r, m))).chain(others.iter().map(|r| (r, u))) {
        lengths("distances", row.len(), expected, "real image")?;
        check_finite("distance", row)?;
    }
    Ok((m, u))
}

/// One generated image: the real images in the order of their distance, and the distances.
struct Row {
    order: Vec<u32>,
    distances: Vec<f64>,
}

impl Row {
    fn new(first: &[f64], second: &[f64]) -> Self {
        let distances = [first, second].concat();
        let mut order: Vec<u32> = (0..).take(distances.len()).collect();
        order.sort_by(|&a, &b| distances[a as usize].total_cmp(&distances[b as usize]));
        Self { order, distances }
    }

    fn distance(&self, place: usize) -> f64 {
        self.distances[self.order[place] as usize]
    }

    /// Chance that the nearest chosen image is nearer than the nearest of as many drawn from the rest.
    fn share(&self, chosen: &[bool], missed: &[f64]) -> f64 {
        let Some(found) = self.order.iter().position(|&i| chosen[i as usize]) else {
            return 0.0;
        };
        let nearest = self.distance(found);
        // Of the rest: how many lie nearer, and how many no further.
        let start = (0..found)
            .rev()
            .take_while(|&p| self.distance(p) == nearest)
            .count();
        let before = found - start;
        let level = (found..self.order.len())
            .take_while(|&p| self.distance(p) == nearest)
            .filter(|&p| !chosen[self.order[p] as usize])
            .count();
        let (none_nearer, none_level) = (missed[before], missed[before + start + level]);
        0.5 * (none_nearer + none_level)
    }

    /// Distance to the nearest of the first `n` images, and of those drawn.
    fn nearest(&self, n: usize, drawn: &[bool]) -> (f64, f64) {
        let least = |wanted: &dyn Fn(usize) -> bool| {
            let mut places = self.order.iter().map(|&i| i as usize);
            places
                .find(|&i| wanted(i))
                .map_or(f64::INFINITY, |i| self.distances[i])
        };
        (least(&|i| i < n), least(&|i| drawn[i]))
    }
}

fn wins((first, second): (f64, f64)) -> f64 {
    match first.total_cmp(&second) {
        std::cmp::Ordering::Less => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Greater => 0.0,
    }
}

/// Chance that `n` of `all` images, drawn at random, miss k given ones, for k from 0 to `all`.
fn missed(all: usize, n: usize) -> Vec<f64> {
    let mut out = vec![1.0];
    for k in 0..all {
        let left = (all - k) as f64;
        let last = out[k];
        out.push(last * (left - n as f64).max(0.0) / left);
    }
    out
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() % 2 {
        0 => (values[half - 1] + values[half]) / 2.0,
        _ => values[half],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points on a line: the distances of generated to real ones.
    fn distances(generated: &[f64], real: &[f64]) -> Vec<Vec<f64>> {
        let row = |g: &f64| real.iter().map(|r| (g - r).abs()).collect();
        generated.iter().map(row).collect()
    }

    fn uniform(rng: &mut ChaCha8Rng, n: usize) -> Vec<f64> {
        (0..n).map(|_| rng.random::<f64>()).collect()
    }

    #[test]
    fn the_share_by_hand() {
        // Two members, three others, of which two are drawn. Image 0: one other is nearer than its nearest member, so it counts
        // where that one is not drawn: 1 of 3 draws. Image 1: a member is nearest: 1. Image 2: a member and one other tie: the
        // other is drawn in 2 of 3, which counts half: 1 - 2/3/2.
        let members = [vec![2.0, 9.0], vec![1.0, 9.0], vec![1.0, 9.0]];
        let others = [
            vec![1.0, 5.0, 6.0],
            vec![4.0, 5.0, 6.0],
            vec![1.0, 5.0, 6.0],
        ];
        let found = nearer(&members, &others, 200, 99, 1).expect("distances");
        let by_hand = (1.0 / 3.0 + 1.0 + 2.0 / 3.0) / 3.0;
        assert!((found.share - by_hand).abs() < 1e-12, "{found:?}");
        assert_eq!((found.n, found.generated), (2, 3));
        // The median of 2, 1, 1 in every draw.
        assert_eq!(found.median_members, 1.0);
        // The same the other way round.
        let turned = nearer(&others, &members, 200, 99, 1).expect("distances");
        assert!((turned.share + by_hand - 1.0).abs() < 1e-12);
        assert_eq!(turned.median_others, 1.0);
    }

    #[test]
    fn missing_given_images_by_hand() {
        // 2 of 4 drawn: miss one in 1/2, two in 1/6, three never.
        let chance = missed(4, 2);
        for (k, expected) in [1.0, 0.5, 1.0 / 6.0, 0.0, 0.0].into_iter().enumerate() {
            assert!((chance[k] - expected).abs() < 1e-12, "{chance:?}");
        }
    }

    /// Eight times as many others have the nearer neighbour; at equal numbers the truth is seen.
    #[test]
    fn a_copier_is_seen_against_the_larger_set_and_a_stranger_is_not() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let (members, others) = (uniform(&mut rng, 64), uniform(&mut rng, 512));
        // Near a member each, but with neighbours among the others that are nearer still.
        let copies: Vec<f64> = (0..256)
            .map(|i| members[i % 64] + 0.004 * (rng.random::<f64>() - 0.5))
            .collect();
        let strangers = uniform(&mut rng, 256);
        let of = |generated: &[f64]| {
            let (m, u) = (
                distances(generated, &members),
                distances(generated, &others),
            );
            nearer(&m, &u, 500, 999, 7).expect("distances")
        };
        let nearest = |generated: &[f64], real: &[f64]| {
            let rows = distances(generated, real);
            let least = rows
                .iter()
                .map(|r| r.iter().copied().fold(f64::INFINITY, f64::min));
            median(least.collect())
        };
        assert!(
            nearest(&copies, &members) > 0.9 * nearest(&copies, &others),
            "the trap"
        );
        let (copier, stranger) = (of(&copies), of(&strangers));
        assert!(
            copier.share > 0.75 && copier.share_ci[0] > 0.65,
            "{copier:?}"
        );
        assert!(copier.median_members < copier.median_others && copier.p_value <= 0.001);
        assert!(copier.share_ci[0] < copier.share && copier.share < copier.share_ci[1]);
        assert!(stranger.p_value > 0.05, "{stranger:?}");
        assert_eq!(of(&copies), copier, "a seed repeats it");
    }

    /// 300 audits in which nothing was learnt: at 5 % the count is at most 28 in all but 1 of 700 such simulations. The
    /// generated images are few and alike, which a test over them alone would take for evidence.
    #[test]
    fn false_alarms_are_kept() {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let mut alarms = 0;
        for seed in 0..300 {
            let (members, others) = (uniform(&mut rng, 20), uniform(&mut rng, 60));
            let base = uniform(&mut rng, 3);
            let generated: Vec<f64> = (0..30).map(|i| base[i % 3] + 1e-5 * i as f64).collect();
            let (m, u) = (
                distances(&generated, &members),
                distances(&generated, &others),
            );
            let found = nearer(&m, &u, 20, 99, seed).expect("distances");
            alarms += usize::from(found.p_value <= 0.05);
        }
        assert!(alarms <= 28, "{alarms} of 300");
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let row = || vec![vec![1.0, 2.0]];
        assert!(nearer(&[], &[], 9, 9, 0).is_err());
        assert!(nearer(&row(), &[vec![1.0]], 9, 9, 0).is_err());
        assert!(nearer(&row(), &[vec![1.0, 2.0], vec![1.0, 2.0]], 9, 9, 0).is_err());
        assert!(nearer(&row(), &[vec![1.0, f64::NAN]], 9, 9, 0).is_err());
        assert!(nearer(&row(), &row(), 0, 9, 0).is_err());
        assert!(nearer(&row(), &row(), 9, 0, 0).is_err());
    }
}
