//! The order in which images are drawn: without replacement within an epoch, a pure function of the position.
//!
//! No step depends on the one before, so a run that continues from step k draws what an unbroken run would have drawn,
//! and sets smaller than a batch (208 images, batch 128) simply wrap into the next epoch.

use crate::Indices;
use dualmd_data::stream;
use rand::seq::SliceRandom;
use std::cell::RefCell;

/// Draws `batch` of `pool` for the `turn`-th time.
#[derive(Debug, Clone)]
pub struct EpochOrder {
    pool: Indices,
    seed: u64,
    purpose: String,
    /// The epoch that was drawn from last, and its permutation of the pool's places: of a million images it takes as long to make as many a step.
    last: RefCell<Option<(u64, Vec<u32>)>>,
}

impl EpochOrder {
    /// `pool`: indices into the training set, at most 2^32; `purpose` names the stream.
    #[must_use]
    pub fn new(pool: impl Into<Indices>, seed: u64, purpose: &str) -> Self {
        Self {
            pool: pool.into(),
            seed,
            purpose: purpose.to_owned(),
            last: RefCell::default(),
        }
    }

    /// Number of images in the pool.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pool.len()
    }

    /// No images.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pool.is_empty()
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> &Indices {
        &self.pool
    }

    /// Positions `turn * batch ..` of the endless concatenation of seeded permutations of the pool.
    #[must_use]
    pub fn draw(&self, turn: u64, batch: usize) -> Vec<usize> {
        let n = self.pool.len() as u64;
        if n == 0 {
            return Vec::new();
        }
        let start = turn * batch as u64;
        let mut out = Vec::with_capacity(batch);
        let mut last = self.last.borrow_mut();
        for position in start..start + batch as u64 {
            let epoch = position / n;
            if last.as_ref().is_none_or(|(of, _)| *of != epoch) {
                // Not both at once.
                *last = None;
                *last = Some((epoch, self.permutation(epoch)));
            }
            if let Some((_, permutation)) = last.as_ref() {
                let place = permutation.get((position % n) as usize);
                out.extend(place.and_then(|&at| self.pool.get(at as usize)));
            }
        }
        out
    }

    fn permutation(&self, epoch: u64) -> Vec<u32> {
        // Places are shuffled as what stands there would be.
        let mut order: Vec<u32> = (0..=u32::MAX).take(self.pool.len()).collect();
        order.shuffle(&mut stream(self.seed, &self.purpose, epoch));
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_shows_every_image_once_whatever_the_batch() {
        let pool: Vec<usize> = (10..17).collect();
        let order = EpochOrder::new(pool.clone(), 3, "order");
        let drawn: Vec<usize> = (0..14).flat_map(|turn| order.draw(turn, 4)).collect();
        for epoch in drawn.chunks_exact(7) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, pool);
        }
        let whole: Vec<usize> = (0..7).flat_map(|turn| order.draw(turn, 8)).collect();
        assert_eq!(
            drawn, whole,
            "the sequence does not depend on the batch size"
        );
        // Nor on what was drawn before.
        let alone = EpochOrder::new(pool, 3, "order");
        for turn in [5, 0, 13, 1] {
            assert_eq!(alone.draw(turn, 4), order.draw(turn, 4), "{turn}");
            assert_eq!(
                EpochOrder::clone(&alone).draw(turn, 4),
                drawn[turn as usize * 4..][..4]
            );
        }
        // What is drawn of images in any order is what shuffling them gives.
        let pool: Vec<usize> = vec![9, 2, 5, 70_000, 0];
        for epoch in 0..4 {
            let mut shuffled = pool.clone();
            shuffled.shuffle(&mut stream(3, "order", epoch));
            assert_eq!(
                EpochOrder::new(pool.clone(), 3, "order").draw(epoch, 5),
                shuffled
            );
        }
    }
}
