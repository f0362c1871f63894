//! DistillMD (paper Algorithm 2): a student learns from two teachers; each image's target comes from the teacher that
//! never saw it.
//!
//! * even steps draw from D1 and ask teacher 2, odd steps draw from D2 and ask teacher 1 ([`Routing::Iteration`], the
//!   paper's algorithm; "even" counts from 0);
//! * [`Routing::Example`] (the paper's Figure 1) mixes both halves in a batch and routes every image by itself: the
//!   same in expectation.
//!
//! The fresh noise only builds x_t; the student never sees the true noise as a target. Teachers: EMA weights, dropout
//! off (the paper does not say; attacks.md 6.3). Guarantee: none; cost: two teachers, the student, and one teacher
//! forward per student step.

use crate::indices::Among;
use crate::order::EpochOrder;
use crate::recipe::{Draw, Recipe, Target, by_teacher};
use crate::{DefenseError, Indices, Result};
use dualmd_diffusion::{Condition, Denoiser};
use dualmd_torch::Tensor;

pub use dualmd_record::recipe::Routing;

/// Index of teacher 1 (trained on D1) and teacher 2 in [`Target::Teacher`].
pub const TEACHER_1: usize = 0;
/// See [`TEACHER_1`].
pub const TEACHER_2: usize = 1;

/// Algorithm 2.
pub struct DistillMd {
    d1: EpochOrder,
    d2: EpochOrder,
    both: EpochOrder,
    in_d1: Among,
    routing: Routing,
    teachers: [Box<dyn Denoiser>; 2],
}

impl DistillMd {
    /// `teachers`: trained on D1, trained on D2.
    ///
    /// # Errors
    /// An empty half, or halves that share an image.
    pub fn new(
        d1: Vec<usize>,
        d2: Vec<usize>,
        teachers: [Box<dyn Denoiser>; 2],
        routing: Routing,
        seed: u64,
    ) -> Result<Self> {
        let in_d1: Among = d1.iter().copied().collect();
        if d1.is_empty() || d2.is_empty() {
            return Err(DefenseError::Setting(
                "DistillMD needs two halves with at least one image each".into(),
            ));
        }
        if let Some(i) = d2.iter().find(|&&i| in_d1.has(i)) {
            return Err(DefenseError::Setting(format!(
                "D1 and D2 share image {i}: the halves must be disjoint"
            )));
        }
        let both: Indices = d1.iter().chain(&d2).copied().collect();
        Ok(Self {
            d1: EpochOrder::new(d1, seed, "train/order-d1"),
            d2: EpochOrder::new(d2, seed, "train/order-d2"),
            both: EpochOrder::new(both, seed, "train/order"),
            in_d1,
            routing,
            teachers,
        })
    }
}

impl Recipe for DistillMd {
    fn members(&self) -> Indices {
        self.both.pool().clone()
    }

    fn draw(&self, step: u64, batch: usize) -> Draw {
        match self.routing {
            Routing::Iteration => {
                let (half, teacher) = if step.is_multiple_of(2) {
                    (&self.d1, TEACHER_2)
                } else {
                    (&self.d2, TEACHER_1)
                };
                Draw {
                    images: half.draw(step / 2, batch),
                    target: Target::Teacher(vec![teacher; batch]),
                }
            }
            Routing::Example => {
                let images = self.both.draw(step, batch);
                let who = images
                    .iter()
                    .map(|&i| {
                        if self.in_d1.has(i) {
                            TEACHER_2
                        } else {
                            TEACHER_1
                        }
                    })
                    .collect();
                Draw {
                    images,
                    target: Target::Teacher(who),
                }
            }
        }
    }

    fn teach(
        &self,
        which: &[usize],
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor> {
        by_teacher(which, x_t, t, condition, &self.teachers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_torch::{Device, Kind};

    struct Constant(f64);
    impl Denoiser for Constant {
        fn predict_noise(
            &self,
            x_t: &Tensor,
            _: &Tensor,
            _: Option<&Condition>,
        ) -> dualmd_diffusion::Result<Tensor> {
            Ok(x_t.full_like(self.0))
        }
    }

    fn recipe(routing: Routing) -> DistillMd {
        let teachers: [Box<dyn Denoiser>; 2] = [Box::new(Constant(1.0)), Box::new(Constant(2.0))];
        DistillMd::new((0..10).collect(), (10..20).collect(), teachers, routing, 7).unwrap()
    }

    #[test]
    fn no_image_ever_meets_the_teacher_that_saw_it() {
        for routing in [Routing::Iteration, Routing::Example] {
            let recipe = recipe(routing);
            let mut seen = [0usize; 20];
            for step in 0..50 {
                let draw = recipe.draw(step, 8);
                let Target::Teacher(who) = &draw.target else {
                    panic!("a distilled step has teachers")
                };
                for (&image, &teacher) in draw.images.iter().zip(who) {
                    assert_eq!(teacher, if image < 10 { TEACHER_2 } else { TEACHER_1 });
                    seen[image] += 1;
                }
                let x = Tensor::zeros([8, 1, 2, 2], (Kind::Float, Device::Cpu));
                let t = Tensor::zeros([8], (Kind::Int64, Device::Cpu));
                let target = recipe.teach(who, &x, &t, None).unwrap();
                for (row, &teacher) in who.iter().enumerate() {
                    assert_eq!(
                        target.double_value(&[row as i64, 0, 1, 1]),
                        teacher as f64 + 1.0
                    );
                }
            }
            assert_eq!(seen, [20; 20], "both halves equally often");
        }
    }

    #[test]
    fn overlapping_halves_are_refused() {
        let teachers: [Box<dyn Denoiser>; 2] = [Box::new(Constant(1.0)), Box::new(Constant(2.0))];
        assert!(DistillMd::new(vec![1, 2], vec![2, 3], teachers, Routing::Iteration, 0).is_err());
    }
}
