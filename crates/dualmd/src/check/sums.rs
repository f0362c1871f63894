//! What single steps and calls come to: by the clock, and on the disk.

use crate::choices::LoraSave;
use crate::plan::{Job, JobKind, Plan};

/// Bytes of a weight in f32.
const WEIGHT: f64 = 4.0;
/// Tensors as large as the weights in a checkpoint: the weights, their average, Adam's two moments.
const CHECKPOINT: f64 = 4.0;
/// In a model's folder: the average and the weights as training left them.
const MODEL: f64 = 2.0;
/// In the folder of an adapter: the same two, and the average once more for other programs.
const ADAPTER: f64 = 3.0;
/// Bytes of a value of a generated image: f32 in samples.npy, and at most about one in its PNG.
const DRAWN: f64 = 5.0;

/// A training that is still to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    /// The model.
    pub name: String,
    /// Models that must be there before.
    pub needs: Vec<String>,
    /// Seconds.
    pub seconds: f64,
}

impl Item {
    /// Of a job that takes so long.
    pub fn new(job: &Job, seconds: f64) -> Self {
        Self {
            name: job.name.clone(),
            needs: job.needs.iter().chain(&job.starts_from).cloned().collect(),
            seconds,
        }
    }
}

/// Seconds by the clock of trainings of which so many run side by side, in their order, each after those that it needs. What is needed and
/// not among them is there.
pub(super) fn by_the_clock(items: &[Item], side_by_side: usize) -> f64 {
    let mut waiting: Vec<&Item> = items.iter().collect();
    let mut running: Vec<(f64, &Item)> = Vec::new();
    let mut now = 0.0;
    loop {
        let mut left = Vec::new();
        for item in &waiting {
            let comes = |need: &String| {
                let mut others = waiting.iter().chain(running.iter().map(|(_, item)| item));
                others.any(|other| other.name == *need)
            };
            let ready = running.len() < side_by_side.max(1) && !item.needs.iter().any(comes);
            match ready {
                true => running.push((now + item.seconds, *item)),
                false => left.push(*item),
            }
        }
        waiting = left;
        let ends = running.iter().enumerate();
        let Some((first, _)) = ends.min_by(|(_, a), (_, b)| a.0.total_cmp(&b.0)) else {
            return now;
        };
        now = running.swap_remove(first).0;
    }
}

/// Bytes that one training writes, of so many weights that it trains, in a network of so many.
pub(super) fn of_training(plan: &Plan, job: &Job, trained: usize, network: usize) -> f64 {
    let t = plan.train_of(job);
    let (trained, network) = (trained as f64, network as f64);
    let adapts = t.lora_rank > 0 && job.kind != JobKind::Pretrain;
    let model = match (adapts, t.lora_save) {
        (true, LoraSave::Adapter) => ADAPTER * trained,
        (true, LoraSave::Merged) => MODEL * network + trained,
        (false, _) => MODEL * network,
    };
    // One more is there while it is written.
    let checkpoints = (t.keep_checkpoints + 1) as f64 * CHECKPOINT * trained;
    WEIGHT * (model + checkpoints)
}

/// Bytes of the images of one run, of `shape` [C, H, W]: those that trainings read, and those that models draw.
pub(super) fn of_images(plan: &Plan, shape: [usize; 3], outside: usize) -> f64 {
    let values = shape.iter().product::<usize>() as f64;
    let scored = plan.data.members + plan.data.nonmembers;
    let drawn = match plan.model.text {
        true => plan.sample.per_prompt * scored,
        false => plan.sample.n,
    };
    values * ((scored + outside) as f64 + DRAWN * (drawn * plan.models.len()) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str, needs: &[&str], seconds: f64) -> Item {
        Item {
            name: name.into(),
            needs: needs.iter().map(|need| (*need).into()).collect(),
            seconds,
        }
    }

    #[test]
    fn trainings_wait_for_what_they_need_and_for_room() {
        let run = [
            item("teacher-1", &[], 10.0),
            item("teacher-2", &[], 20.0),
            item("baseline", &[], 5.0),
            item("student", &["teacher-1", "teacher-2"], 10.0),
        ];
        assert_eq!(by_the_clock(&run, 1), 45.0);
        // The baseline follows the first teacher; the student begins at 20.
        assert_eq!(by_the_clock(&run, 2), 30.0);
        assert_eq!(by_the_clock(&run, 9), 30.0);
        // The teachers are there.
        assert_eq!(by_the_clock(&run[2..], 1), 15.0);
        assert_eq!(by_the_clock(&run[2..], 2), 10.0);
        assert_eq!(by_the_clock(&[], 2), 0.0);
        // No plan has such; it ends all the same.
        let round = [item("a", &["b"], 1.0), item("b", &["a"], 1.0)];
        assert_eq!(by_the_clock(&round, 2), 0.0);
    }
}
