//! Ordinary training (paper Eq. 3) - and Algorithm 1, which is the same on one half of the data.
//!
//! Guarantee: none. A teacher sees half the images equally often twice over, so it leaks *more* about each of them than
//! the undefended model: teachers must never be published (see docs/defenses).

use crate::order::EpochOrder;
use crate::recipe::{Draw, Recipe, Target};
use crate::{DefenseError, Indices, Result};
use dualmd_diffusion::Condition;
use dualmd_torch::Tensor;

/// True-noise targets on a pool of images: all members, or D1, or D2.
#[derive(Debug)]
pub struct Plain {
    order: EpochOrder,
    watched: Option<Indices>,
}

impl Plain {
    /// # Errors
    /// An empty pool.
    pub fn new(pool: Vec<usize>, seed: u64) -> Result<Self> {
        if pool.is_empty() {
            return Err(DefenseError::Setting(
                "no images to train on: the split's half is empty".into(),
            ));
        }
        Ok(Self {
            order: EpochOrder::new(pool, seed, "train/order"),
            watched: None,
        })
    }

    /// Logs the loss on `members` as the member loss, not that on the pool. For a student of *generated* images (drawn by
    /// a DualMD pair, say): its pool is synthetic, but what it might give away are the real images behind it. It is never
    /// trained on them.
    #[must_use]
    pub fn watching(mut self, members: Vec<usize>) -> Self {
        self.watched = Some(members.into());
        self
    }
}

impl Recipe for Plain {
    fn members(&self) -> Indices {
        self.order.pool().clone()
    }

    fn draw(&self, step: u64, batch: usize) -> Draw {
        Draw {
            images: self.order.draw(step, batch),
            target: Target::Noise,
        }
    }

    fn watched(&self) -> Indices {
        self.watched.clone().unwrap_or_else(|| self.members())
    }

    fn teach(&self, _: &[usize], _: &Tensor, _: &Tensor, _: Option<&Condition>) -> Result<Tensor> {
        Err(DefenseError::Setting(
            "ordinary training has no teacher".into(),
        ))
    }
}
