//! Ordinary distillation: one teacher that saw all members teaches a student on the same images (the "normal KD" of
//! the paper's Table 10). No defence in itself: the teacher's memory of each image is in its targets.

use crate::order::EpochOrder;
use crate::recipe::{Draw, Recipe, Target, by_teacher};
use crate::{DefenseError, Indices, Result};
use dualmd_diffusion::{Condition, Denoiser};
use dualmd_torch::Tensor;

/// One teacher, all members.
pub struct Distillation {
    order: EpochOrder,
    teacher: [Box<dyn Denoiser>; 1],
}

impl Distillation {
    /// # Errors
    /// An empty pool.
    pub fn new(pool: Vec<usize>, teacher: Box<dyn Denoiser>, seed: u64) -> Result<Self> {
        if pool.is_empty() {
            return Err(DefenseError::Setting("no images to distil on".into()));
        }
        Ok(Self {
            order: EpochOrder::new(pool, seed, "train/order"),
            teacher: [teacher],
        })
    }
}

impl Recipe for Distillation {
    fn members(&self) -> Indices {
        self.order.pool().clone()
    }

    fn draw(&self, step: u64, batch: usize) -> Draw {
        Draw {
            images: self.order.draw(step, batch),
            target: Target::Teacher(vec![0; batch]),
        }
    }

    fn teach(
        &self,
        which: &[usize],
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor> {
        by_teacher(which, x_t, t, condition, &self.teacher)
    }
}
