//! What the measurements here train: a network on colour images, on the CPU, in f32, without a log.

use dualmd_defense::{Finished, Images, Observer, Recipe, TrainOptions, Trainer, TrainingSet};
use dualmd_diffusion::{Backbone, BackboneConfig, NoiseSchedule};
use dualmd_torch::Device;
use dualmd_torch::device::Precision;
use dualmd_torch::ranks::Group;
use std::path::Path;
use std::rc::Rc;

pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A training of the network called `preset` on images of `side` pixels, in one process. Of `options` what writes or evaluates before the end is left out.
pub fn trainer<'a>(
    folder: &Path,
    (name, side): (&str, i64),
    images: Images,
    recipe: &'a dyn Recipe,
    options: TrainOptions,
) -> Outcome<Trainer<'a>> {
    let device = Device::Cpu;
    Ok(Trainer {
        network: Box::new(Backbone::fresh(
            &BackboneConfig::preset(name, 3, side)?,
            1,
            device,
        )?),
        schedule: NoiseSchedule::default(),
        set: TrainingSet {
            images,
            ..TrainingSet::default()
        },
        recipe,
        options: TrainOptions {
            checkpoint_every: 0,
            log_every: 0,
            eval_every: 0,
            ..options
        },
        seed: 1,
        evaluation_seed: 1,
        device,
        precision: Precision::F32,
        checkpoints: folder.join("checkpoints"),
        log: folder.join("log.jsonl"),
        tensorboard: folder.join("tensorboard"),
        fingerprint: String::new(),
        ranks: Rc::new(Group::alone()),
    })
}

/// Runs it to its end; `after` is called after every step.
pub fn run(trainer: Trainer<'_>, after: &dyn Fn()) -> Outcome<()> {
    let stop = || {
        after();
        false
    };
    let (finished, _) = trainer.run(&mut Observer {
        stop: &stop,
        progress: &mut |_| (),
        sheet: &mut |_, _| (),
        warn: &mut |text| eprintln!("{text}"),
        max_steps_now: None,
    })?;
    match finished {
        Finished::Complete { .. } => Ok(()),
        Finished::Stopped { .. } => Err("stopped".into()),
    }
}
