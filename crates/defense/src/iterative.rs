//! Iterative ensemble training (IET; Liu et al. 2024, IET-AGC, arXiv:2407.15328): one model, trained on K disjoint shards in turn, whose
//! weights are averaged at the end of every round, as in federated learning.
//!
//! ```text
//! for round in 1..=rounds:
//!     for shard in 1..=K:                 from the round's first weights, steps / (rounds K) steps on this shard alone
//!     weights <- sum of n_shard / n times the shard's weights; the moving average likewise
//! ```
//!
//! Of the defences that divide the images it is the closest to DualMD: there the halves' models take turns while sampling, here while
//! training. It costs what ordinary training costs, and what is released is one model. In the paper's code the shards' optimisers live
//! on from round to round; here each turn begins with fresh moments, so that no shard's gradients reach into another's turn, and memory
//! does not grow with K. All shards of a round have the same learning rates. Guarantee: none.

use crate::indices::Among;
use crate::optimizer::Optimizer;
use crate::order::EpochOrder;
use crate::recipe::{Draw, Recipe, Target};
use crate::{DefenseError, Indices, Result};
use dualmd_diffusion::Condition;
use dualmd_torch::Tensor;

/// Shards in turn, averaged after every round.
#[derive(Debug)]
pub struct Iterative {
    shards: Vec<EpochOrder>,
    rounds: u64,
    steps: u64,
    images: usize,
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    round: u64,
    shard: usize,
    /// Steps of this turn before it.
    within: u64,
}

impl Iterative {
    /// `steps`: of the whole training. The paper's code has 10 rounds of 10 shards.
    ///
    /// # Errors
    /// Fewer than two shards, an empty one, shards that share an image; no round; fewer steps than turns.
    pub fn new(shards: Vec<Vec<usize>>, rounds: u64, steps: u64, seed: u64) -> Result<Self> {
        let fail = |text: String| Err(DefenseError::Setting(text));
        if shards.len() < 2 || shards.iter().any(Vec::is_empty) {
            return fail("iet needs two or more shards with at least one image each".into());
        }
        let mut seen = Among::default();
        if let Some(image) = shards.iter().flatten().find(|&&i| !seen.insert(i)) {
            return fail(format!(
                "two shards share image {image}: they must be disjoint"
            ));
        }
        let turns = rounds.saturating_mul(shards.len() as u64);
        if turns == 0 || steps < turns {
            return fail(format!(
                "iet with {rounds} rounds of {} shards needs at least one round and as many steps as turns, {turns}; there are {steps}: choose \
                 fewer rounds or shards, or a longer training",
                shards.len()
            ));
        }
        Ok(Self {
            images: shards.iter().map(Vec::len).sum(),
            shards: shards
                .into_iter()
                .enumerate()
                .map(|(i, images)| {
                    EpochOrder::new(images, seed, &format!("train/order-d{}", i + 1))
                })
                .collect(),
            rounds,
            steps,
        })
    }

    /// The first step of the turn `turn`, counted over all rounds; turns differ by a step at most.
    fn begins(&self, turn: u64) -> u64 {
        let turns = u128::from(self.rounds) * self.shards.len() as u128;
        let first = u128::from(turn) * u128::from(self.steps) / turns.max(1);
        u64::try_from(first).unwrap_or(u64::MAX)
    }

    fn place(&self, step: u64) -> Place {
        let k = self.shards.len() as u64;
        let turns = self.rounds * k;
        // The last turn that begins at this step or before it.
        let (mut low, mut high) = (0, turns);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.begins(middle) <= step {
                low = middle;
            } else {
                high = middle;
            }
        }
        Place {
            round: low / k,
            shard: (low % k) as usize,
            within: step - self.begins(low),
        }
    }

    /// The step whose learning rate and decay this one has: the same for all shards of a round.
    pub(crate) fn clock(&self, step: u64) -> u64 {
        let k = self.shards.len() as u64;
        let place = self.place(step);
        let first = self.begins(place.round * k);
        (first + place.within * k).min(self.steps.saturating_sub(1))
    }

    /// What a shard's turn ends with after step `step`: its share of the images, and whether it is the round's last. None within a turn.
    fn ends(&self, step: u64) -> Option<(f64, bool)> {
        let place = self.place(step);
        let k = self.shards.len() as u64;
        if step + 1 != self.begins(place.round * k + place.shard as u64 + 1) {
            return None;
        }
        let share = self.shards[place.shard].len() as f64 / self.images as f64;
        Some((share, place.shard + 1 == self.shards.len()))
    }

    /// Before the first step: remembers what the round begins with.
    pub(crate) fn before(&self, optimizer: &mut Optimizer, step: u64) {
        if step == 0 {
            optimizer.begin_round();
        }
    }

    /// After step `step`: hands over to the next shard, or averages.
    pub(crate) fn after(&self, optimizer: &mut Optimizer, step: u64) -> Result<()> {
        match self.ends(step) {
            Some((share, last)) => optimizer.end_turn(share, last),
            None => Ok(()),
        }
    }
}

impl Recipe for Iterative {
    fn members(&self) -> Indices {
        let pools = self.shards.iter().flat_map(|shard| shard.pool().iter());
        pools.collect()
    }

    fn draw(&self, step: u64, batch: usize) -> Draw {
        let place = self.place(step);
        let k = self.shards.len() as u64;
        // Steps that the shard had in earlier rounds.
        let earlier: u64 = (0..place.round)
            .map(|round| {
                let turn = round * k + place.shard as u64;
                self.begins(turn + 1) - self.begins(turn)
            })
            .sum();
        Draw {
            images: self.shards[place.shard].draw(earlier + place.within, batch),
            target: Target::Noise,
        }
    }

    fn teach(&self, _: &[usize], _: &Tensor, _: &Tensor, _: Option<&Condition>) -> Result<Tensor> {
        Err(DefenseError::Setting("iet has no teacher".into()))
    }

    fn iterative(&self) -> Option<&Iterative> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TrainOptions;
    use dualmd_diffusion::nn::Parameters;

    fn three(rounds: u64, steps: u64) -> Iterative {
        let shards = vec![vec![0, 1, 2, 3], vec![4, 5], vec![6, 7]];
        Iterative::new(shards, rounds, steps, 1).unwrap()
    }

    /// Turns take up all steps, one after the other; each draws from its own shard only, without leaving an image out.
    #[test]
    fn shards_take_turns() {
        let recipe = three(2, 20);
        let mut turns = Vec::new();
        let mut drawn = vec![0; 8];
        for step in 0..20 {
            let place = recipe.place(step);
            if place.within == 0 {
                turns.push((place.round, place.shard));
            }
            let pool = recipe.shards[place.shard].pool();
            for image in recipe.draw(step, 2).images {
                assert!(pool.iter().any(|i| i == image), "step {step} draws {image}");
                drawn[image] += 1;
            }
        }
        assert_eq!(turns, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]);
        // Turns of 3, 3 and 4 steps twice over, two images each, without replacement within a shard's epochs.
        assert_eq!(drawn, [3, 3, 3, 3, 6, 6, 8, 8]);
        // All shards of a round have the same clock, and it goes on from round to round.
        let clock: Vec<u64> = (0..20).map(|s| recipe.clock(s)).collect();
        assert_eq!(clock[..10], [0, 3, 6, 0, 3, 6, 0, 3, 6, 9]);
        assert!(clock.iter().all(|&c| c < 20));
        assert_eq!(recipe.members().len(), 8);
    }

    /// At the end of a round the weights are the average of where the shards came to from the same beginning, by their sizes, whatever
    /// happened in between.
    #[test]
    fn a_round_ends_with_the_average_by_size() {
        let one = Tensor::from_slice(&[8.0f32]);
        let parameters = Parameters(vec![("w".into(), one.shallow_clone())]);
        let mut optimizer = Optimizer::new(&parameters);
        let recipe = three(2, 6);
        let now = |optimizer: &Optimizer| optimizer.raw()[0].1.double_value(&[0]);
        let mut seen = Vec::new();
        let options = TrainOptions {
            learning_rate: 1.0,
            warmup: 0,
            decay_fraction: 0.0,
            ema: 0.0,
            ema_warmup: false,
            ..TrainOptions::default()
        };
        for step in 0..6 {
            recipe.before(&mut optimizer, step);
            seen.push(now(&optimizer));
            // Adam's first step is the rate: up, up, down by 1 in a round, whatever the size of the gradient.
            let gradient = [-1.0f32, -3.0, 0.5][step as usize % 3];
            let gradients = [Tensor::from_slice(&[gradient])];
            optimizer
                .step_along(&gradients, None, step, &options)
                .unwrap();
            recipe.after(&mut optimizer, step).unwrap();
        }
        // Every shard begins where the round began; (4 x 9 + 2 x 9 + 2 x 7) / 8 = 8.5.
        let want = [8.0, 8.0, 8.0, 8.5, 8.5, 8.5];
        assert!(
            seen.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-5),
            "{seen:?}"
        );
        assert!((now(&optimizer) - 9.0).abs() < 1e-5);
        let averaged = optimizer.ema()[0].1.double_value(&[0]);
        assert!((averaged - 9.0).abs() < 1e-5, "{averaged}");
    }

    #[test]
    fn shards_that_share_and_trainings_that_are_too_short_are_refused() {
        let of = |shards: Vec<Vec<usize>>, rounds, steps| {
            Iterative::new(shards, rounds, steps, 1)
                .map(|_| ())
                .unwrap_err()
        };
        assert!(of(vec![vec![0]], 1, 9).to_string().contains("two or more"));
        assert!(
            of(vec![vec![0], vec![]], 1, 9)
                .to_string()
                .contains("two or more")
        );
        assert!(
            of(vec![vec![0], vec![0]], 1, 9)
                .to_string()
                .contains("disjoint")
        );
        assert!(
            of(vec![vec![0], vec![1]], 5, 9)
                .to_string()
                .contains("fewer rounds")
        );
        assert!(
            of(vec![vec![0], vec![1]], 0, 9)
                .to_string()
                .contains("rounds")
        );
    }
}
