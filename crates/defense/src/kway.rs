//! K-way DistillMD: the members are divided into K disjoint shards, one teacher is trained on each, and an image's target
//! is the average of the K - 1 teachers that never saw it. With K = 2 it is DistillMD (paper Algorithm 2), draw by draw.
//!
//! An average of several models errs less than one, so the targets get better with K; each teacher has fewer images and
//! learns them the more by heart. Guarantee: none; the K teachers must never be published. Cost: K teachers, the student,
//! and K - 1 teacher forwards per image of a student step.

use crate::order::EpochOrder;
use crate::recipe::{Draw, Recipe, Target, answer, rows_of};
use crate::{DefenseError, Indices, Result, Routing};
use dualmd_data::stream;
use dualmd_diffusion::{Condition, Denoiser};
use dualmd_torch::{Tensor, tch};
use rand::seq::SliceRandom;

/// Of an image that is in no shard.
const IN_NONE: u32 = u32::MAX;

/// A student of K shard models. In its [`Target::Teacher`] the number is the shard whose teacher is left out.
pub struct KWay {
    shards: Vec<EpochOrder>,
    all: EpochOrder,
    /// Of each image that is in one.
    shard_of: Vec<u32>,
    routing: Routing,
    teachers: Vec<Box<dyn Denoiser>>,
}

impl KWay {
    /// `teachers`: one per shard, in the order of `shards`, trained on that shard only. [`Routing::Iteration`] takes the
    /// shards in turn, [`Routing::Example`] mixes them.
    ///
    /// # Errors
    /// Fewer than two shards, an empty one, shards that share an image, or another number of teachers.
    pub fn new(
        shards: Vec<Vec<usize>>,
        teachers: Vec<Box<dyn Denoiser>>,
        routing: Routing,
        seed: u64,
    ) -> Result<Self> {
        let fail = |text: String| Err(DefenseError::Setting(text));
        if shards.len() < 2 || shards.iter().any(Vec::is_empty) {
            return fail(
                "a K-way split needs two or more shards with at least one image each".into(),
            );
        }
        if teachers.len() != shards.len() {
            return fail(format!(
                "{} shards need as many teachers, not {}",
                shards.len(),
                teachers.len()
            ));
        }
        let mut shard_of = Vec::new();
        for (shard, images) in (0_u32..).zip(&shards) {
            for &image in images {
                if image >= shard_of.len() {
                    shard_of.resize(image + 1, IN_NONE);
                }
                let other = std::mem::replace(&mut shard_of[image], shard);
                if other != IN_NONE && other != shard {
                    return fail(format!(
                        "shards {} and {} share image {image}: they must be disjoint",
                        other + 1,
                        shard + 1
                    ));
                }
            }
        }
        let all: Indices = shards.iter().flatten().copied().collect();
        Ok(Self {
            shards: shards
                .into_iter()
                .enumerate()
                .map(|(i, images)| {
                    EpochOrder::new(images, seed, &format!("train/order-d{}", i + 1))
                })
                .collect(),
            all: EpochOrder::new(all, seed, "train/order"),
            shard_of,
            routing,
            teachers,
        })
    }
}

impl Recipe for KWay {
    fn members(&self) -> Indices {
        self.all.pool().clone()
    }

    fn draw(&self, step: u64, batch: usize) -> Draw {
        let k = self.shards.len() as u64;
        let (images, left_out) = match self.routing {
            Routing::Iteration => {
                let shard = (step % k) as usize;
                let images = self.shards[shard].draw(step / k, batch);
                let left_out = vec![shard; images.len()];
                (images, left_out)
            }
            Routing::Example => {
                let images = self.all.draw(step, batch);
                let left_out = images.iter().map(|&i| self.shard_of[i] as usize);
                let left_out = left_out.collect();
                (images, left_out)
            }
        };
        Draw {
            images,
            target: Target::Teacher(left_out),
        }
    }

    fn teach(
        &self,
        left_out: &[usize],
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor> {
        let _guard = tch::no_grad_guard();
        let sum = x_t.zeros_like();
        for (index, teacher) in self.teachers.iter().enumerate() {
            let rows: Vec<i64> = (0..left_out.len())
                .filter(|&row| left_out[row] != index)
                .map(|row| row as i64)
                .collect();
            if rows.is_empty() {
                continue;
            }
            let rows = Tensor::from_slice(&rows).to_device(x_t.device());
            let said = answer(
                teacher.as_ref(),
                &x_t.index_select(0, &rows),
                &t.index_select(0, &rows),
                rows_of(condition, &rows).as_ref(),
            )?;
            let _ = sum.shallow_clone().f_index_add_(0, &rows, &said)?;
        }
        Ok(sum / (self.teachers.len() - 1) as f64)
    }
}

/// Divides `units` (groups of images that belong together: near-duplicates, one patient) into `k` shards of sizes as
/// equal as whole units allow: in a seeded order, large units first, each to the shard that is smallest so far. Each shard
/// is sorted.
///
/// # Errors
/// `k` below 2, or fewer units than shards.
pub fn divide(units: &[Vec<usize>], k: usize, seed: u64) -> Result<Vec<Vec<usize>>> {
    let mut units: Vec<&Vec<usize>> = units.iter().filter(|unit| !unit.is_empty()).collect();
    if k < 2 || units.len() < k {
        return Err(DefenseError::Setting(format!(
            "{} groups of images cannot be divided into {k} shards: choose 2 to {} shards",
            units.len(),
            units.len().max(2)
        )));
    }
    units.shuffle(&mut stream(seed, "shards", 0));
    units.sort_by_key(|unit| std::cmp::Reverse(unit.len()));
    let mut shards = vec![Vec::new(); k];
    for unit in units {
        if let Some(smallest) = shards.iter_mut().min_by_key(|shard| shard.len()) {
            smallest.extend(unit);
        }
    }
    shards.iter_mut().for_each(|shard| shard.sort_unstable());
    Ok(shards)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DistillMd;
    use dualmd_torch::{Device, Kind, noise};

    /// Predicts `a x_t + b`: who answered can be read off.
    struct Linear(f64, f64);
    impl Denoiser for Linear {
        fn predict_noise(
            &self,
            x_t: &Tensor,
            _: &Tensor,
            _: Option<&Condition>,
        ) -> dualmd_diffusion::Result<Tensor> {
            Ok(x_t * self.0 + self.1)
        }
    }

    fn teachers(k: usize) -> Vec<Box<dyn Denoiser>> {
        (0..k)
            .map(|i| Box::new(Linear(1.0 + i as f64, 10f64.powi(i as i32))) as Box<dyn Denoiser>)
            .collect()
    }

    fn input(n: i64) -> (Tensor, Tensor) {
        (
            noise::normal(&mut stream(1, "x", 0), &[n, 1, 2, 2], Device::Cpu),
            Tensor::zeros([n], (Kind::Int64, Device::Cpu)),
        )
    }

    #[test]
    fn two_shards_are_distillmd() {
        let (d1, d2): (Vec<usize>, Vec<usize>) = ((0..7).collect(), (7..13).collect());
        for routing in [Routing::Iteration, Routing::Example] {
            let [a, b] = <[_; 2]>::try_from(teachers(2)).ok().unwrap();
            let paper = DistillMd::new(d1.clone(), d2.clone(), [a, b], routing, 5).unwrap();
            let general = KWay::new(vec![d1.clone(), d2.clone()], teachers(2), routing, 5).unwrap();
            assert_eq!(paper.members(), general.members());
            let (x, t) = input(8);
            for step in 0..20 {
                let (p, g) = (paper.draw(step, 8), general.draw(step, 8));
                assert_eq!(p.images, g.images);
                let (Target::Teacher(p), Target::Teacher(g)) = (p.target, g.target) else {
                    panic!("a distilled step has teachers")
                };
                assert_eq!(
                    paper.teach(&p, &x, &t, None).unwrap(),
                    general.teach(&g, &x, &t, None).unwrap()
                );
            }
        }
    }

    #[test]
    fn the_target_is_the_average_of_those_who_never_saw_the_image() {
        let shards: Vec<Vec<usize>> = vec![vec![0, 1], vec![2, 3], vec![4, 5], vec![6, 7]];
        for routing in [Routing::Iteration, Routing::Example] {
            let recipe = KWay::new(shards.clone(), teachers(4), routing, 3).unwrap();
            let (x, t) = input(4);
            let mut seen = [0; 8];
            for step in 0..8 {
                let draw = recipe.draw(step, 4);
                let Target::Teacher(left_out) = &draw.target else {
                    panic!("a distilled step has teachers")
                };
                let target = recipe.teach(left_out, &x, &t, None).unwrap();
                for (row, &image) in draw.images.iter().enumerate() {
                    seen[image] += 1;
                    let own = image / 2;
                    assert_eq!(left_out[row], own);
                    let others = (0..4).filter(|&i| i != own);
                    let at = [row as i64, 0, 1, 0];
                    let expected = others
                        .map(|i| x.double_value(&at) * (1.0 + i as f64) + 10f64.powi(i as i32))
                        .sum::<f64>()
                        / 3.0;
                    let got = target.double_value(&at);
                    assert!((got - expected).abs() < 1e-4 * expected.abs().max(1.0));
                }
            }
            assert_eq!(seen, [4; 8], "all shards equally often");
        }
    }

    #[test]
    fn bad_shards_are_refused() {
        let make = |shards, k| KWay::new(shards, teachers(k), Routing::Example, 0).is_ok();
        assert!(make(vec![vec![0], vec![1], vec![2]], 3));
        assert!(!make(vec![vec![0]], 1), "one shard has no other teacher");
        assert!(!make(vec![vec![0], vec![]], 2));
        assert!(!make(vec![vec![0], vec![1]], 3));
        assert!(!make(vec![vec![0, 1], vec![2], vec![1]], 3), "shared image");
    }

    #[test]
    fn whole_units_in_shards_of_equal_size() {
        let mut units: Vec<Vec<usize>> = (0..20).map(|i| vec![i]).collect();
        units.push((20..25).collect());
        units.push((25..28).collect());
        let shards = divide(&units, 4, 9).unwrap();
        let mut sizes: Vec<usize> = shards.iter().map(Vec::len).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [7, 7, 7, 7]);
        let mut all: Vec<usize> = shards.concat();
        all.sort_unstable();
        assert_eq!(all, (0..28).collect::<Vec<_>>());
        for unit in &units {
            let homes = shards.iter().filter(|s| unit.iter().any(|i| s.contains(i)));
            assert_eq!(homes.count(), 1, "{unit:?} is divided");
        }
        assert_eq!(shards, divide(&units, 4, 9).unwrap());
        assert_ne!(shards, divide(&units, 4, 10).unwrap());
        assert!(divide(&units, 1, 9).is_err());
        assert!(divide(&units[..3], 4, 9).is_err());
    }
}
