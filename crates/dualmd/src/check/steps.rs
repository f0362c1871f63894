//! Timing: a few calls of the network, and a few optimiser steps of every kind of training as the run makes them, on random images.

use crate::choices::{self, CaptionChoice};
use crate::engine::Engine;
use crate::estimate::{IMAGE_BY_IMAGE, at_a_time, timed};
use crate::experiment::{Experiment, Train};
use crate::plan::{Job, JobKind, Plan};
use crate::stages::lesson::{cutout, distill_of, privacy, routing, train_of};
use crate::stages::train::options;
use crate::stages::{RunFolder, text};
use anyhow::{Context, Result, bail};
use dualmd_data::stream;
use dualmd_defense::{
    Additions, Against, Ambient, Captions, DistillMd, Distillation, DpSgd, Iterative, KWay,
    Network, Plain, Privacy, Recipe, Smp, TrainOptions, Trainer, TrainingSet,
};
use dualmd_diffusion::{
    Backbone, BackboneConfig, Condition, Denoiser, NoiseSchedule, TextToImage, UNet2dCondition,
};
use dualmd_torch::ranks::Group;
use dualmd_torch::weights::Halves;
use dualmd_torch::{Kind, Tensor, no_grad, noise};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

/// Steps that are timed, after a first one.
pub(super) const STEPS: u64 = 3;
/// No further step is timed after so long.
const ENOUGH: Duration = Duration::from_secs(4);
/// Seconds that a timed step may take: of one that takes longer fewer images are timed.
const LONGEST: f64 = 1.5;
/// A gradient and the call that it is of, in calls.
const GRADIENT: f64 = 3.0;

/// Network calls, as attacks and drawing make them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Called {
    /// Seconds of one image.
    pub seconds: f64,
    /// Were as many images asked at a time as attacks do?
    pub whole: bool,
}

/// Times a few calls of the network of the experiment, for images of `shape` [C, H, W].
///
/// # Errors
/// A network that cannot be built or opened; what the device refuses.
pub(super) fn call(
    experiment: &Experiment,
    plan: &Plan,
    shape: [usize; 3],
    engine: &Engine,
) -> Result<Called> {
    let device = engine.device;
    let (network, told, seen, parameters): (Box<dyn Denoiser>, Option<Condition>, [i64; 3], usize) =
        if plan.model.text {
            let origin = text::origin(experiment, shape, Halves::Widened, device)?;
            let told = no_grad(|| origin.told(&["a picture"]))?;
            let seen = origin.sample_shape().unwrap_or(shape.map(|d| d as i64));
            let parameters = origin.unet.parameters().count();
            let network = origin.unet.with_precision(engine.precision);
            (Box::new(network), Some(told), seen, parameters)
        } else {
            let config = BackboneConfig::read(&plan.model.config).context("[model]")?;
            let network = Backbone::fresh(&config, 0, device)?.with_precision(engine.precision);
            let parameters = network.parameters().count();
            let seen = shape.map(|d| d as i64);
            (Box::new(network), class(plan, engine), seen, parameters)
        };
    let scored = plan.data.members + plan.data.nonmembers;
    let asked = plan.audit.batch.min(scored).max(1);
    let batch = at_a_time(asked, parameters, device.is_cuda(), plan.model.text);
    let n = batch as i64;
    let size = [n, seen[0], seen[1], seen[2]];
    let x = Tensor::f_zeros(&size[..], (Kind::Float, device))?;
    let t = Tensor::f_full(&[n][..], 500_i64, (Kind::Int64, device))?;
    let told = match told {
        Some(one) => Some(one.expand(n)?),
        None => None,
    };
    let seconds = timed(device.is_cuda(), || {
        let eps = no_grad(|| network.predict_noise(&x, &t, told.as_ref()))?;
        Ok(eps.f_sum(Kind::Float)?.double_value(&[]))
    })?;
    Ok(Called {
        seconds: seconds / batch as f64,
        whole: batch == asked,
    })
}

/// A class, for a network that is told one.
fn class(plan: &Plan, engine: &Engine) -> Option<Condition> {
    let first = Tensor::from_slice(&[0_i64]).to_device(engine.device);
    let labels = plan.model.labels.as_ref();
    labels.map(|_| Condition::of_labels(first))
}

/// What trainings have in common that take the same time a step.
///
/// # Errors
/// Settings that JSON does not have.
pub(super) fn kind(plan: &Plan, job: &Job) -> Result<String> {
    let recipe = Train {
        steps: 0,
        epochs: None,
        ..train_of(plan, job).clone()
    };
    let taught = teachers(&job.kind) > 0;
    let kind = match &job.kind {
        kind if is_plain(kind) => "plain".to_owned(),
        JobKind::Kd { .. } => "kd".to_owned(),
        // Whether there is a step for every turn depends on how many there are.
        JobKind::Iterative { .. } => format!(
            "{} {}",
            serde_json::to_string(&job.kind)?,
            train_of(plan, job).steps
        ),
        other => serde_json::to_string(other)?,
    };
    Ok(serde_json::to_string(&(
        kind,
        recipe,
        job.kind == JobKind::Pretrain,
        taught.then(|| distill_of(plan, job)),
    ))?)
}

/// Is it ordinary training, on whichever images?
fn is_plain(kind: &JobKind) -> bool {
    matches!(
        kind,
        JobKind::Pretrain
            | JobKind::Baseline
            | JobKind::Teacher { .. }
            | JobKind::EarlyStopping { .. }
            | JobKind::Reference
            | JobKind::Shard { .. }
            | JobKind::Synthetic { .. }
    )
}

/// How many models answer in its steps.
fn teachers(kind: &JobKind) -> usize {
    match kind {
        JobKind::Student => 2,
        JobKind::Kd { .. } => 1,
        JobKind::KWay { shards } => *shards,
        _ => 0,
    }
}

/// About how many network calls an image of a step takes: only for how many images are timed.
fn weight(kind: &JobKind) -> f64 {
    match kind {
        JobKind::Student | JobKind::Kd { .. } | JobKind::Smp { .. } => GRADIENT + 1.0,
        JobKind::KWay { shards } => GRADIENT + shards.saturating_sub(1) as f64,
        JobKind::DpSgd {
            noise_multiplicity, ..
        } => GRADIENT * IMAGE_BY_IMAGE * *noise_multiplicity as f64,
        _ => GRADIENT,
    }
}

/// Steps of one kind of training.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps {
    /// Seconds of a whole step.
    pub seconds: f64,
    /// Images of a step as it was timed.
    pub batch: usize,
    /// Is that a whole one?
    pub whole: bool,
    /// Weights that are trained.
    pub parameters: usize,
}

/// Times a few steps of a training with its own recipe on random images. `call`: seconds of a network call of one image.
///
/// # Errors
/// Settings that the training would refuse; what the device refuses.
pub(super) fn steps(
    run: &RunFolder,
    plan: &Plan,
    job: &Job,
    shape: [usize; 3],
    call: f64,
    engine: &Engine,
) -> Result<Steps> {
    let (t, real) = (train_of(plan, job), options(plan, job));
    let members = plan.data.members;
    if matches!(job.kind, JobKind::DpSgd { .. }) {
        privacy(&job.kind, &real, members)?;
        if t.batch > members {
            bail!(
                "train.batch = {}: with DP-SGD at most the number of images, {members}, because each is drawn at most once in a step",
                t.batch
            );
        }
    }
    let begun = Begun::of(run, plan, job, shape, engine)?;
    let parameters = begun.network.parameters().count();
    let cuda = engine.device.is_cuda();
    let part = t.batch.div_ceil(t.accumulate.max(1));
    let at_once = at_a_time(part, begun.parameters, cuda, plan.model.text);
    let affordable = (LONGEST / (weight(&job.kind) * call).max(1e-12)) as usize;
    let whole = at_once == part && affordable >= t.batch;
    let batch = match whole {
        true => t.batch,
        false => at_once.min(affordable).max(1),
    };
    let settings = TrainOptions {
        batch,
        accumulate: if whole { t.accumulate } else { 1 },
        ..real
    };
    // Each image of a private step is drawn by its own coin: here all of them are.
    let n = match &job.kind {
        JobKind::DpSgd { .. } => batch,
        JobKind::KWay { shards } | JobKind::Iterative { shards, .. } => (2 * batch).max(2 * shards),
        _ => 2 * batch,
    };
    let set = images(plan, job, &begun, n, &settings, engine)?;
    let recipe = recipe(plan, job, n, settings.steps, begun.teachers)?;
    let trainer = Trainer {
        network: begun.network,
        schedule: begun.schedule,
        set,
        recipe: recipe.as_ref(),
        options: settings,
        seed: job.seed,
        evaluation_seed: plan.seed,
        device: engine.device,
        precision: engine.precision,
        checkpoints: PathBuf::new(),
        log: PathBuf::new(),
        tensorboard: PathBuf::new(),
        fingerprint: String::new(),
        ranks: Rc::new(Group::alone()),
    };
    let additions = Additions {
        cutout: cutout(plan, job),
        early_stopping: None,
    };
    let seconds = trainer.time_steps(&additions, STEPS, ENOUGH)?;
    Ok(Steps {
        seconds: seconds * t.batch as f64 / batch as f64,
        batch,
        whole,
        parameters,
    })
}

/// Random images, or latents, of which a training draws from the first `n`.
fn images(
    plan: &Plan,
    job: &Job,
    begun: &Begun,
    n: usize,
    settings: &TrainOptions,
    engine: &Engine,
) -> Result<TrainingSet> {
    // The attacker of smp has as many of its own.
    let all = match job.kind {
        JobKind::Smp { .. } => 2 * n,
        _ => n,
    };
    let [channels, height, width] = begun.seen;
    let random = |index: u64| -> Result<Tensor> {
        let mut draws = stream(plan.seed, "check/images", index);
        let size = [all as i64, channels, height, width];
        let values = noise::normal(&mut draws, &size, engine.device);
        Ok(values.f_clamp(-1.0, 1.0)?)
    };
    let mut set = TrainingSet {
        images: random(0)?.into(),
        ..TrainingSet::default()
    };
    if begun.latent {
        set.deviation = Some(random(1)?);
        if settings.flip {
            set.mirrored = Some((random(2)?, random(3)?));
        }
    }
    let t = train_of(plan, job);
    set.captions = begun.told.as_ref().map(|told| Captions {
        told: told.again(),
        of: vec![vec![0]; all],
        empty: 0,
        any: t.captions == CaptionChoice::Any,
        dropout: match plan.model.text {
            true => t.caption_dropout,
            false => t.label_dropout,
        },
    });
    Ok(set)
}

/// The recipe of a training of `steps` steps, over the first `n` images.
fn recipe(
    plan: &Plan,
    job: &Job,
    n: usize,
    steps: u64,
    teachers: Vec<Box<dyn Denoiser>>,
) -> Result<Box<dyn Recipe>> {
    let (seed, routing) = (job.seed, routing(distill_of(plan, job)));
    let all = || (0..n).collect::<Vec<usize>>();
    let mut teachers = teachers.into_iter();
    let recipe: Box<dyn Recipe> = match &job.kind {
        JobKind::Pretrain
        | JobKind::Baseline
        | JobKind::Teacher { .. }
        | JobKind::EarlyStopping { .. }
        | JobKind::Reference
        | JobKind::Shard { .. }
        | JobKind::Synthetic { .. } => Box::new(Plain::new(all(), seed)?),
        JobKind::Student => {
            let (Some(first), Some(second)) = (teachers.next(), teachers.next()) else {
                bail!("DistillMD needs two teachers")
            };
            let (d1, d2) = ((0..n / 2).collect(), (n / 2..n).collect());
            Box::new(DistillMd::new(d1, d2, [first, second], routing, seed)?)
        }
        JobKind::Kd { .. } => {
            let Some(teacher) = teachers.next() else {
                bail!("a distilled model needs a teacher")
            };
            Box::new(Distillation::new(all(), teacher, seed)?)
        }
        JobKind::KWay { shards } => {
            let shards = shards_of(n, *shards);
            Box::new(KWay::new(shards, teachers.collect(), routing, seed)?)
        }
        JobKind::DpSgd {
            clip,
            noise_multiplicity,
            ..
        } => {
            // How much noise there is takes no time, and nothing of what is learnt here is kept.
            let privacy = Privacy {
                noise_multiplier: 1.0,
                clip: *clip,
                noise_multiplicity: *noise_multiplicity,
            };
            Box::new(DpSgd::new(all(), privacy, "only timed")?)
        }
        JobKind::Iterative { shards, rounds } => {
            Box::new(Iterative::new(shards_of(n, *shards), *rounds, steps, seed)?)
        }
        JobKind::Ambient { own_noise } => Box::new(Ambient::new(all(), *own_noise, seed)?),
        JobKind::Smp {
            alpha,
            beta,
            attacker_rate,
            attacker_steps,
        } => {
            let against = Against {
                alpha: *alpha,
                beta: *beta,
                rate: *attacker_rate,
                steps: *attacker_steps,
            };
            Box::new(Smp::new(all(), (n..2 * n).collect(), against, seed)?)
        }
    };
    Ok(recipe)
}

/// The first `n` images in `k` shards.
fn shards_of(n: usize, k: usize) -> Vec<Vec<usize>> {
    let k = k.max(1);
    (0..k)
        .map(|shard| (shard..n).step_by(k).collect())
        .collect()
}

/// What a training begins with.
struct Begun {
    network: Box<dyn Network>,
    schedule: NoiseSchedule,
    /// Models that answer in its steps, with random weights or those of the base.
    teachers: Vec<Box<dyn Denoiser>>,
    /// What the network is told of an image.
    told: Option<Condition>,
    /// What it sees: [C, H, W].
    seen: [i64; 3],
    /// Are these latents?
    latent: bool,
    /// Of the whole network.
    parameters: usize,
    /// Held as long as the training holds it.
    _base: Option<TextToImage>,
}

impl Begun {
    /// As the training would begin, but for a base of the run's own, in whose place a fresh network stands.
    fn of(
        run: &RunFolder,
        plan: &Plan,
        job: &Job,
        shape: [usize; 3],
        engine: &Engine,
    ) -> Result<Self> {
        let (device, precision) = (engine.device, engine.precision);
        let dropout = distill_of(plan, job).teacher_dropout;
        let teachers = teachers(&job.kind) as u64;
        let seen = shape.map(|d| d as i64);
        if plan.model.text {
            let own = Job {
                starts_from: None,
                ..job.clone()
            };
            let (base, network) = text::beginning(run, plan, &own, shape, engine)?;
            let adapts = network.lora_parameters().is_some();
            let config = base.unet.config();
            let teacher = |seed: u64| -> Result<Box<dyn Denoiser>> {
                let teacher = match adapts {
                    // All start from one base, which is there once.
                    true => {
                        let shared = base.unet.parameters().shared();
                        UNet2dCondition::from_halves(config, shared, device)?
                    }
                    false => UNet2dCondition::fresh(config, seed, device)?,
                };
                let teacher = teacher.with_precision(precision).with_dropout(dropout);
                Ok(Box::new(teacher))
            };
            let teachers = (0..teachers).map(teacher).collect::<Result<Vec<_>>>()?;
            return Ok(Self {
                network: Box::new(network.with_precision(precision)),
                schedule: base.schedule.clone(),
                teachers,
                told: Some(no_grad(|| base.told(&["a picture"]))?),
                seen: base.sample_shape().unwrap_or(seen),
                latent: base.vae.is_some(),
                parameters: base.unet.parameters().count(),
                _base: Some(base),
            });
        }
        let config = BackboneConfig::read(&plan.model.config).context("[model]")?;
        let fresh = |seed: u64| -> Result<Backbone> {
            Ok(Backbone::fresh(&config, seed, device)?.with_precision(precision))
        };
        let teacher = |seed: u64| -> Result<Box<dyn Denoiser>> {
            Ok(Box::new(fresh(seed)?.with_dropout(dropout)))
        };
        let network = fresh(job.init_seed())?;
        Ok(Self {
            parameters: network.parameters().count(),
            network: Box::new(network),
            schedule: match train_of(plan, job).objective {
                choices::Objective::Ddpm => NoiseSchedule::default(),
                choices::Objective::Flow => NoiseSchedule::flow(),
            },
            teachers: (0..teachers).map(teacher).collect::<Result<Vec<_>>>()?,
            told: class(plan, engine),
            seen,
            latent: false,
            _base: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_nothing_and_have_all() {
        let shards = shards_of(7, 3);
        assert_eq!(shards, [vec![0, 3, 6], vec![1, 4], vec![2, 5]]);
    }

    #[test]
    fn what_takes_longer_is_timed_with_fewer_images() {
        let private = JobKind::DpSgd {
            epsilon: None,
            noise_multiplier: Some(1.0),
            clip: 1.0,
            noise_multiplicity: 4,
            delta: 1e-5,
        };
        assert_eq!(weight(&private), 36.0);
        assert_eq!(weight(&JobKind::Baseline), 3.0);
        assert_eq!(weight(&JobKind::KWay { shards: 4 }), 6.0);
        assert_eq!((teachers(&JobKind::Student), teachers(&private)), (2, 0));
    }
}
