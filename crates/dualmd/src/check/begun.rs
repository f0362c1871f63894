//! What a timed training learns from: random images, and the recipe of its kind, with random weights in its teachers' place.

use crate::choices::{self, CaptionChoice};
use crate::engine::Engine;
use crate::plan::{Job, JobKind, Plan};
use crate::stages::{RunFolder, text};
use anyhow::{Context, Result, bail};
use dualmd_data::stream;
use dualmd_defense::{
    Against, Ambient, Captions, DistillMd, Distillation, DpSgd, Iterative, KWay, Network, Plain,
    Privacy, Recipe, Smp, TrainOptions, TrainingSet,
};
use dualmd_diffusion::{
    Backbone, BackboneConfig, Condition, Denoiser, NoiseSchedule, TextToImage, UNet2dCondition,
};
use dualmd_torch::{Tensor, no_grad, noise};

/// A class, for a network that is told one.
pub(super) fn class(plan: &Plan, engine: &Engine) -> Option<Condition> {
    let first = Tensor::from_slice(&[0_i64]).to_device(engine.device);
    let labels = plan.model.labels.as_ref();
    labels.map(|_| Condition::of_labels(first))
}

/// How many models answer in its steps.
pub(super) fn teachers(kind: &JobKind) -> usize {
    match kind {
        JobKind::Student => 2,
        JobKind::Kd { .. } => 1,
        JobKind::KWay { shards } => *shards,
        _ => 0,
    }
}

/// Random images, or latents, of which a training draws from the first `n`.
pub(super) fn images(
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
    let t = plan.train_of(job);
    set.captions = begun.told.as_ref().map(|told| Captions {
        told: told.again(),
        of: std::iter::repeat_n(vec![0], all).collect(),
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
pub(super) fn recipe(
    plan: &Plan,
    job: &Job,
    n: usize,
    steps: u64,
    teachers: Vec<Box<dyn Denoiser>>,
) -> Result<Box<dyn Recipe>> {
    let (seed, routing) = (job.seed, plan.distill_of(job).routing);
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
pub(super) struct Begun {
    /// What is trained.
    pub network: Box<dyn Network>,
    /// Its noise schedule.
    pub schedule: NoiseSchedule,
    /// Models that answer in its steps, with random weights or those of the base.
    pub teachers: Vec<Box<dyn Denoiser>>,
    /// What the network is told of an image.
    told: Option<Condition>,
    /// What it sees: [C, H, W].
    seen: [i64; 3],
    /// Are these latents?
    latent: bool,
    /// Of the whole network.
    pub parameters: usize,
    /// Held as long as the training holds it.
    _base: Option<TextToImage>,
}

impl Begun {
    /// As the training would begin, but for a base of the run's own, in whose place a fresh network stands.
    pub fn of(
        run: &RunFolder,
        plan: &Plan,
        job: &Job,
        shape: [usize; 3],
        engine: &Engine,
    ) -> Result<Self> {
        let (device, precision) = (engine.device, engine.precision);
        let dropout = plan.distill_of(job).teacher_dropout;
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
            schedule: match plan.train_of(job).objective {
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
}
