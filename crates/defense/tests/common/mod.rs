//! A network small enough to be trained in a moment.
#![allow(dead_code)]

use dualmd_data::stream;
use dualmd_defense::{
    Additions, DefenseError, Images, Observer, Outcome, Recipe, TrainOptions, Trainer, TrainingSet,
};
use dualmd_diffusion::{Backbone, NoiseSchedule, UNet2dConfig, preset::preset};
use dualmd_torch::device::Precision;
use dualmd_torch::ranks::Group;
use dualmd_torch::{Device, Tensor, noise};
use std::path::Path;
use std::rc::Rc;

/// Images of a run: 0..12 are trained on, 12..18 held out, 18..24 for calibration.
pub const HELDOUT: std::ops::Range<usize> = 12..18;
pub const CALIBRATION: std::ops::Range<usize> = 18..24;

pub fn images(seed: u64) -> Tensor {
    noise::normal(&mut stream(seed, "images", 0), &[24, 1, 8, 8], Device::Cpu).clamp(-1.0, 1.0)
}

pub fn options() -> TrainOptions {
    TrainOptions {
        steps: 6,
        batch: 4,
        learning_rate: 1e-3,
        warmup: 0,
        decay_fraction: 0.0,
        checkpoint_every: 0,
        log_every: 1,
        eval_every: 0,
        ..TrainOptions::default()
    }
}

pub fn config() -> UNet2dConfig {
    preset("tiny", 1, 8).unwrap()
}

pub fn trainer<'a>(
    folder: &Path,
    images: impl Into<Images>,
    recipe: &'a dyn Recipe,
    options: TrainOptions,
) -> Trainer<'a> {
    // Tests run side by side: one thread each.
    dualmd_torch::tch::set_num_threads(1);
    Trainer {
        network: Box::new(Backbone::fresh(&config().into(), 7, Device::Cpu).unwrap()),
        schedule: match options.objective.is_flow() {
            true => NoiseSchedule::flow(),
            false => NoiseSchedule::default(),
        },
        set: TrainingSet {
            images: images.into(),
            heldout: HELDOUT.collect(),
            ..TrainingSet::default()
        },
        recipe,
        options,
        seed: 7,
        evaluation_seed: 8,
        device: Device::Cpu,
        precision: Precision::F32,
        checkpoints: folder.join("checkpoints"),
        log: folder.join("log.jsonl"),
        tensorboard: folder.join("tensorboard"),
        fingerprint: "test".into(),
        ranks: Rc::new(Group::alone()),
    }
}

/// Runs to the end, or for `max` steps.
pub fn run(
    trainer: Trainer<'_>,
    additions: &Additions,
    max: Option<u64>,
) -> Result<Outcome, DefenseError> {
    trainer.run_with(
        additions,
        &mut Observer {
            stop: &|| false,
            progress: &mut |_| (),
            sheet: &mut |_, _| (),
            warn: &mut |text| panic!("{text}"),
            max_steps_now: max,
        },
    )
}

/// Are all weights the same, bit for bit?
pub fn same(a: &[(String, Tensor)], b: &[(String, Tensor)]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && a.1 == b.1)
}
