//! Loss and gradient norm of steps, read one by one or, on a GPU, many at once.
//!
//! To read a number off a GPU is to wait until it has done all that it was asked before, and it then stands still until it is asked for more. So
//! a step there leaves its numbers where they are ([`Reading::Late`]), and they are read together: for a line of the log, before weights are
//! evaluated, shown or written anywhere, and otherwise after [`MOST`] steps. What is read is what would have been read at once, in the same
//! order: logs and checkpoints do not depend on it. A step whose loss or gradient is no number is then found out late, and the steps after it
//! were for nothing, but nothing of them leaves the loop.

use crate::trainer::Trainer;
use crate::{DefenseError, Result};
use dualmd_torch::{Device, Kind, Tensor};

/// Steps after which numbers are read that nothing has asked for.
const MOST: usize = 100;

/// When the numbers of a step are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// In the step: nothing is changed by one whose loss or gradient is no number.
    Each,
    /// When they are needed.
    Late,
}

impl Reading {
    /// How this training reads: late on a GPU. Several ranks sum their losses in the memory of the processor, and read each.
    pub(crate) fn of(trainer: &Trainer<'_>) -> Self {
        match trainer.device.is_cuda() && trainer.ranks.is_alone() {
            true => Self::Late,
            false => Self::Each,
        }
    }
}

/// A number of a step.
#[derive(Debug)]
pub(crate) enum Number {
    /// One that was read, and is finite.
    Known(f64),
    /// One that lies on the device, without axes.
    There(Tensor),
}

/// The numbers of steps that were not read yet, or not used.
#[derive(Debug, Default)]
pub(crate) struct Unread(Vec<(u64, Option<Number>, Number)>);

/// What was read of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Read {
    /// Mean loss; none where no image was drawn, or all were left out.
    pub loss: Option<f64>,
    /// Gradient norm before clipping.
    pub grad_norm: f64,
}

impl Unread {
    /// Loss and gradient norm of step `step`, which comes after those before.
    pub(crate) fn add(&mut self, step: u64, loss: Option<Number>, grad_norm: Number) {
        self.0.push((step, loss, grad_norm));
    }

    /// Are there so many that they are to be read now?
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= MOST
    }

    /// Reads all, waiting for the device once, in the order of their steps.
    ///
    /// # Errors
    /// The first loss or gradient norm that is not finite, with its step; what libtorch refuses.
    pub(crate) fn read(&mut self) -> Result<Vec<Read>> {
        let steps = std::mem::take(&mut self.0);
        let mut there = Vec::new();
        for (_, loss, grad_norm) in &steps {
            for number in loss.iter().chain([grad_norm]) {
                if let Number::There(tensor) = number {
                    there.push(tensor.f_detach()?.f_to_kind(Kind::Double)?);
                }
            }
        }
        let values = match there.is_empty() {
            true => Vec::new(),
            false => {
                let all = Tensor::f_stack(&there, 0)?.f_to_device(Device::Cpu)?;
                Vec::<f64>::try_from(&all)?
            }
        };
        let mut values = values.into_iter();
        let mut value = |number: &Number, step: u64, what: &'static str| {
            let value = match number {
                Number::Known(value) => *value,
                // As many as were stacked.
                Number::There(_) => values.next().unwrap_or(f64::NAN),
            };
            match value.is_finite() {
                true => Ok(value),
                false => Err(DefenseError::NotFinite { step, what, value }),
            }
        };
        let mut read = Vec::with_capacity(steps.len());
        for (step, loss, grad_norm) in &steps {
            let loss = match loss {
                Some(loss) => Some(value(loss, *step, "loss")?),
                None => None,
            };
            let grad_norm = value(grad_norm, *step, "gradient norm")?;
            read.push(Read { loss, grad_norm });
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::LogLine;
    use crate::step::tests::{IMAGES, trainer};
    use crate::trainer::{Additions, Finished, Observer, Outcome};
    use crate::{Images, Iterative, Plain, Recipe, TrainOptions, checkpoint};
    use std::path::Path;

    /// A training in `folder`, to its end or for `max` steps.
    fn train(
        folder: &Path,
        recipe: &dyn Recipe,
        options: &TrainOptions,
        reading: Reading,
        max: Option<u64>,
        broken: Option<i64>,
    ) -> Result<Outcome> {
        let mut trainer = trainer(recipe);
        if let Some(image) = broken {
            let Images::Held(images) = &trainer.set.images else {
                panic!("they are in memory")
            };
            let _ = images.get(image).fill_(f64::NAN);
        }
        trainer.options = options.clone();
        trainer.checkpoints = folder.join("checkpoints");
        trainer.log = folder.join("log.jsonl");
        trainer.tensorboard = folder.join("tensorboard");
        trainer.run_reading(
            &Additions::default(),
            &mut Observer {
                stop: &|| false,
                progress: &mut |_| (),
                sheet: &mut |_, _| (),
                warn: &mut |text| panic!("{text}"),
                max_steps_now: max,
            },
            reading,
        )
    }

    /// What a log says that no clock does.
    fn lines(folder: &Path) -> Vec<(u64, u64, u64, Option<u64>)> {
        let text = std::fs::read_to_string(folder.join("log.jsonl")).unwrap();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<LogLine>(line).unwrap());
        let bits = lines.map(|line| {
            (
                line.step,
                line.loss.to_bits(),
                line.grad_norm.to_bits(),
                line.member_loss.map(f64::to_bits),
            )
        });
        bits.collect()
    }

    fn loss_so_far(folder: &Path, step: u64) -> checkpoint::LossSoFar {
        let path = folder.join(format!("checkpoints/checkpoint-{step}/state.json"));
        let state: checkpoint::State =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        state.loss
    }

    fn options() -> TrainOptions {
        TrainOptions {
            steps: 9,
            batch: 4,
            learning_rate: 1e-3,
            warmup: 0,
            clip: 0.5,
            flip: true,
            log_every: 4,
            checkpoint_every: 0,
            ..TrainOptions::default()
        }
    }

    #[test]
    fn what_is_read_late_is_what_is_read_at_once_bit_for_bit() {
        let plain = Plain::new((0..IMAGES).collect(), 5).unwrap();
        let shards = vec![(0..3).collect(), (3..IMAGES).collect()];
        let iterative = Iterative::new(shards, 2, 9, 7).unwrap();
        let clipped = options();
        let parts = TrainOptions {
            accumulate: 3,
            clip: 0.0,
            eval_every: 2,
            ..options()
        };
        let cases: [(&dyn Recipe, &TrainOptions); 3] =
            [(&plain, &clipped), (&plain, &parts), (&iterative, &clipped)];
        for (recipe, options) in cases {
            let dir = tempfile::tempdir().unwrap();
            let folder = |reading: Reading| dir.path().join(format!("{reading:?}"));
            // Stopped between two lines of the log, so that the checkpoint holds a sum.
            for reading in [Reading::Each, Reading::Late] {
                let folder = folder(reading);
                let half = train(&folder, recipe, options, reading, Some(7), None).unwrap();
                assert_eq!(half.finished, Finished::Stopped { step: 7 });
            }
            let [each, late] = [Reading::Each, Reading::Late].map(folder);
            assert_eq!(loss_so_far(&each, 7), loss_so_far(&late, 7));
            assert!(loss_so_far(&each, 7).count > 0);
            let [each_end, late_end] = [(&each, Reading::Each), (&late, Reading::Late)]
                .map(|(folder, how)| train(folder, recipe, options, how, None, None).unwrap());
            assert_eq!(lines(&each), lines(&late));
            assert!(lines(&each).len() >= 3);
            let weights = |outcome: &Outcome| [outcome.optimizer.raw(), outcome.optimizer.ema()];
            assert_eq!(weights(&each_end), weights(&late_end));
        }
    }

    /// A loss that is no number ends the training with the step at which it came, whenever it is read, and leaves no checkpoint behind it.
    #[test]
    fn a_loss_that_is_no_number_is_found_before_anything_is_kept() {
        let plain = Plain::new((0..IMAGES).collect(), 5).unwrap();
        // The image that is drawn last in the first pass over them: not in the first step.
        let image = plain.draw(1, 4).images[3] as i64;
        for (every, good) in [(0, None), (1, Some(1))] {
            let options = TrainOptions {
                checkpoint_every: every,
                ..options()
            };
            let dir = tempfile::tempdir().unwrap();
            for reading in [Reading::Each, Reading::Late] {
                let folder = dir.path().join(format!("{reading:?}"));
                let failed = train(&folder, &plain, &options, reading, None, Some(image));
                let said = failed.err().unwrap().to_string();
                assert!(said.starts_with("step 1: the loss is NaN"), "{said}");
                let kept = checkpoint::list(&folder.join("checkpoints")).unwrap();
                assert_eq!(kept.last().map(|(step, _)| *step), good, "{reading:?}");
                assert!(lines(&folder).is_empty());
            }
        }
    }

    #[test]
    fn numbers_are_read_in_order_and_not_for_ever() {
        let there = |value: f64| Number::There(Tensor::from_slice(&[value]).get(0));
        let mut unread = Unread::default();
        unread.add(3, Some(there(0.5)), Number::Known(2.0));
        unread.add(4, None, there(1.5));
        unread.add(5, Some(Number::Known(0.25)), there(0.125));
        let read = |loss, grad_norm| Read { loss, grad_norm };
        let wanted = [
            read(Some(0.5), 2.0),
            read(None, 1.5),
            read(Some(0.25), 0.125),
        ];
        assert_eq!(unread.read().unwrap(), wanted);
        assert!(unread.read().unwrap().is_empty());
        unread.add(6, Some(there(0.5)), there(f64::INFINITY));
        unread.add(7, Some(there(f64::NAN)), there(1.0));
        let said = unread.read().unwrap_err().to_string();
        assert!(
            said.starts_with("step 6: the gradient norm is inf"),
            "{said}"
        );
        for step in 0..MOST as u64 {
            assert!(!unread.is_full());
            unread.add(step, None, Number::Known(0.0));
        }
        assert!(unread.is_full());
    }
}
