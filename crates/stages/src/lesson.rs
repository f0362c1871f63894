//! What a training learns from: its images, its targets, and what is added to its recipe.

use super::RunFolder;
use super::generator::{Generator, Sampling, weight_set};
use super::prepare::outside_for;
use super::text::{self, Encoder};
use super::train::finished;
use super::train_images::TrainImages;
use crate::choices;
use crate::engine::Engine;
use crate::plan::{Job, JobKind, Plan};
use anyhow::{Context, Result, bail};
use dualmd_defense::dp::accountant;
use dualmd_defense::{
    Additions, Against, Ambient, Cutout, DistillMd, Distillation, DpSgd, EarlyStopping, Images,
    Iterative, KWay, Plain, Privacy, Recipe, Smp, TrainOptions, TrainingSet, kway,
};
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::sampler::initial_noise;
use dualmd_diffusion::{AdapterFolder, Autoencoder, Denoiser, Labels, Model, TextToImage};
use dualmd_files::limit;
use dualmd_record::split::{Sample, SplitFile};
use dualmd_record::training::{Guarantee, Prv};
use dualmd_torch::Tensor;
use dualmd_torch::device::Precision;
use rand::TryRngCore;
use std::collections::BTreeMap;
use std::path::Path;

/// What a training begins with that says what its network is told, and what it sees of images.
#[derive(Clone, Copy)]
pub enum Beginning<'a> {
    /// A network that is told no text.
    Images {
        /// Its classes, of one that is told a class.
        labels: Option<&'a Labels>,
        /// What makes latents of images, of one that sees these.
        autoencoder: Option<&'a Autoencoder>,
    },
    /// A text-to-image model.
    Text(&'a TextToImage),
}

impl<'a> Beginning<'a> {
    /// What makes latents of images; none for a network of pixels.
    fn encoder(self) -> Option<Encoder<'a>> {
        match self {
            Self::Images { autoencoder, .. } => autoencoder.map(Encoder::from),
            Self::Text(model) => model.vae.as_ref().map(Encoder::Gaussian),
        }
    }
}

/// Images, targets and additions of one training.
pub struct Lesson {
    /// All images the loop may look at.
    pub set: TrainingSet,
    /// Which are drawn, and what is to be predicted.
    pub recipe: Box<dyn Recipe>,
    /// Cutout and early stopping.
    pub additions: Additions,
}

impl Lesson {
    /// The lesson of `job`, which begins with `from`.
    ///
    /// # Errors
    /// A teacher that is not trained yet, too few images, settings that contradict each other.
    pub fn of(
        run: &RunFolder,
        plan: &Plan,
        images: &TrainImages,
        job: &Job,
        options: &TrainOptions,
        from: Beginning<'_>,
        engine: &Engine,
    ) -> Result<Self> {
        let s = &images.selected;
        // Positions within the training's images: members first, then non-members, then what nobody else sees.
        // What a reference model learns from, early stopping watches, or an attacker tells members from: images that nobody else sees.
        let outside = images.outside(outside_for(&job.kind, s.members.len()))?;
        let order: Vec<usize> = s
            .members
            .iter()
            .chain(&s.nonmembers)
            .chain(outside)
            .copied()
            .collect();
        let mut place: Vec<Option<u32>> = vec![None; images.pixels.len()];
        for (at, &i) in order.iter().enumerate() {
            place[i] = u32::try_from(at).ok();
        }
        let places = |list: &[usize]| {
            list.iter()
                .filter_map(|&i| Some(place.get(i).copied().flatten()? as usize))
                .collect::<Vec<_>>()
        };
        let distill = plan.distill_of(job);
        let weights = weight_set(distill.teacher_weights);
        let teacher = |name: &str| -> Result<Box<dyn Denoiser>> {
            if !finished(run, plan, name)? {
                bail!(
                    "model {} is taught by {name}, which is not trained yet: train it first",
                    job.name
                );
            }
            let folder = run.model(name);
            let model = match (from, AdapterFolder::of(&folder, weights)?) {
                // All start from one base, which is there once.
                (Beginning::Text(base), Some(own)) => {
                    Model::TextToImage(Box::new(base.adapted(&own.lora)?))
                }
                _ => Model::load(&folder, weights, engine.device)?,
            };
            let model = model
                .with_precision(engine.precision)
                .with_dropout(distill.teacher_dropout);
            Ok(Box::new(model))
        };
        let (members, heldout) = (places(&s.members), places(&s.nonmembers));
        let mut set = TrainingSet {
            images: Images::Filed(images.pixels.at(&order)?),
            heldout: heldout.into(),
            ..TrainingSet::default()
        };
        let t = plan.train_of(job);
        if let Beginning::Images {
            labels: Some(labels),
            ..
        } = from
        {
            let (dropout, device) = (t.label_dropout, engine.device);
            set.captions = Some(text::classes(labels, images, &order, dropout, device)?);
        }
        if let Beginning::Text(model) = from {
            let any = t.captions == choices::CaptionChoice::Any;
            let kept = text::Encodings::of(run);
            let captions = text::captions(&kept, model, images, &order, any, t.caption_dropout)?;
            set.captions = Some(captions);
        }
        if let Some(encoder) = from.encoder() {
            let kept = text::Encodings::of(run);
            let (pixels, device) = (&set.images, engine.device);
            let (latents, mirrored) = text::latents(&kept, encoder, pixels, t.flip, device)?;
            (set.images, set.deviation) = (Images::Held(latents.0), Some(latents.1));
            set.mirrored = mirrored;
        }
        let recipe: Box<dyn Recipe> = match &job.kind {
            JobKind::Pretrain | JobKind::Baseline | JobKind::EarlyStopping { .. } => {
                Box::new(Plain::new(members, job.seed)?)
            }
            JobKind::Teacher { half } => Box::new(Plain::new(
                places(if *half == 1 { &s.d1 } else { &s.d2 }),
                job.seed,
            )?),
            JobKind::Reference => Box::new(Plain::new(places(outside), job.seed)?),
            JobKind::Student => {
                let [first, second] = job.needs.as_slice() else {
                    bail!("DistillMD needs two teachers")
                };
                let teachers = [teacher(first)?, teacher(second)?];
                let (d1, d2) = (places(&s.d1), places(&s.d2));
                Box::new(DistillMd::new(d1, d2, teachers, distill.routing, job.seed)?)
            }
            JobKind::Kd { teacher: name } => {
                Box::new(Distillation::new(members, teacher(name)?, job.seed)?)
            }
            JobKind::DpSgd { .. } => {
                let secret = secret(&run.checkpoints(&job.name))?;
                let privacy = privacy(&job.kind, options, members.len())?;
                Box::new(DpSgd::new(members, privacy, &secret)?)
            }
            JobKind::Shard { shards, shard } => {
                let all = shards_of(run, &members, *shards, plan.seed)?;
                let own = shard.checked_sub(1).and_then(|i| all.into_iter().nth(i));
                let own = own
                    .with_context(|| format!("plan.json: there is no shard {shard} of {shards}"))?;
                Box::new(Plain::new(own, job.seed)?)
            }
            JobKind::KWay { shards } => {
                let all = shards_of(run, &members, *shards, plan.seed)?;
                let teachers = job
                    .needs
                    .iter()
                    .map(|t| teacher(t))
                    .collect::<Result<Vec<_>>>()?;
                Box::new(KWay::new(all, teachers, distill.routing, job.seed)?)
            }
            JobKind::Iterative { shards, rounds } => {
                let all = shards_of(run, &members, *shards, plan.seed)?;
                Box::new(Iterative::new(all, *rounds, options.steps, job.seed)?)
            }
            JobKind::Ambient { own_noise } => {
                Box::new(Ambient::new(members, *own_noise, job.seed)?)
            }
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
                Box::new(Smp::new(members, places(outside), against, job.seed)?)
            }
            JobKind::Synthetic { images: n } => {
                let n = n.unwrap_or(members.len());
                let drawn = drawn_in_turns(run, plan, job, n, images.pixels.shape(), engine)?;
                let shift = usize::try_from(drawn.size()[0]).unwrap_or(0);
                set = TrainingSet {
                    // What is drawn is in memory, and drawn again by whoever goes on.
                    images: Images::Both(Box::new(Images::Held(drawn)), Box::new(set.images)),
                    heldout: set.heldout.iter().map(|i| i + shift).collect(),
                    ..TrainingSet::default()
                };
                let watched = members.iter().map(|i| i + shift).collect();
                Box::new(Plain::new((0..shift).collect(), job.seed)?.watching(watched))
            }
        };
        let early_stopping = match job.kind {
            JobKind::EarlyStopping { patience } => Some(EarlyStopping {
                calibration: places(outside),
                patience,
            }),
            _ => None,
        };
        let additions = Additions {
            cutout: cutout(plan, job),
            early_stopping,
        };
        Ok(Self {
            set,
            recipe,
            additions,
        })
    }
}

/// The cutout that a job's training applies to its images, if any.
pub fn cutout(plan: &Plan, job: &Job) -> Option<Cutout> {
    let t = plan.train_of(job);
    (t.cutout_side > 0).then_some(Cutout {
        side: t.cutout_side,
        probability: t.cutout_probability,
    })
}

/// What names the coins and the noise of DP-SGD: 32 bytes of the operating system's randomness, drawn once. Whoever knows them
/// can subtract the noise, so they stay with the checkpoints and out of everything that is published.
pub fn secret(checkpoints: &Path) -> Result<String> {
    let path = checkpoints.join("secret");
    if path.exists() {
        let text = dualmd_files::read_text(&path, limit::SETTINGS)?;
        return Ok(text.trim().to_owned());
    }
    let mut bytes = [0_u8; 32];
    rand::rngs::OsRng
        .try_fill_bytes(&mut bytes)
        .context("the operating system gives no random numbers")?;
    let text: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    dualmd_files::write_private(&path, text.as_bytes())?;
    Ok(text)
}

/// The settings of a DP-SGD training on `n` images.
pub fn privacy(kind: &JobKind, options: &TrainOptions, n: usize) -> Result<Privacy> {
    let JobKind::DpSgd {
        epsilon,
        noise_multiplier,
        clip,
        noise_multiplicity,
        delta,
    } = kind
    else {
        bail!("this training is not private")
    };
    let rate = (options.batch as f64 / n.max(1) as f64).min(1.0);
    let noise_multiplier = match (noise_multiplier, epsilon) {
        (Some(sigma), _) => *sigma,
        (None, Some(epsilon)) => {
            accountant::noise_multiplier_for(*epsilon, *delta, options.steps, rate)?
        }
        (None, None) => bail!("dp-sgd needs either epsilon or noise_multiplier"),
    };
    Ok(Privacy {
        noise_multiplier,
        clip: *clip,
        noise_multiplicity: *noise_multiplicity,
    })
}

/// What a training spends, for its record; nothing for one that promises nothing.
pub fn spent(kind: &JobKind, options: &TrainOptions, n: usize) -> Result<Option<Guarantee>> {
    let JobKind::DpSgd { delta, .. } = kind else {
        return Ok(None);
    };
    let privacy = privacy(kind, options, n)?;
    let rate = (options.batch as f64 / n.max(1) as f64).min(1.0);
    // The steps that were planned, whatever became of them.
    let sigma = privacy.noise_multiplier;
    let spent = accountant::spent(options.steps, rate, sigma, *delta)?;
    let by_distribution = accountant::by_distribution(options.steps, rate, sigma, *delta);
    Ok(Some(Guarantee {
        epsilon: Some(spent.epsilon),
        delta: Some(*delta),
        order: Some(spent.order),
        sampling_rate: Some(rate),
        noise_multiplier: Some(sigma),
        clip: Some(privacy.clip),
        noise_multiplicity: Some(privacy.noise_multiplicity.into()),
        accountant: Some("RDP".into()),
        prv: by_distribution.map(|e| Prv {
            lower: e.lower,
            estimate: e.estimate,
            upper: e.upper,
        }),
        adjacency: Some("add or remove one image".into()),
    }))
}

/// The members (positions in the training's images, in the split's order) in K disjoint shards; near-duplicates and groups stay together.
fn shards_of(
    run: &RunFolder,
    members: &[usize],
    shards: usize,
    seed: u64,
) -> Result<Vec<Vec<usize>>> {
    // The groups are in the split alone, of which no more than that is held.
    let mut units: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut places = members.iter();
    SplitFile::read_each(&run.split(), |sample| {
        if let Sample::Member(member) = sample {
            let unit = units.entry(member.group.unwrap_or(member.id));
            unit.or_default().extend(places.next());
        }
    })?;
    let units: Vec<Vec<usize>> = units.into_values().collect();
    Ok(kway::divide(&units, shards, seed)?)
}

/// Images that two teachers drew in turns, [n, C, H, W]: drawn anew by whoever goes on with the training, from the same noise.
fn drawn_in_turns(
    run: &RunFolder,
    plan: &Plan,
    job: &Job,
    n: usize,
    shape: [usize; 3],
    engine: &Engine,
) -> Result<Tensor> {
    for name in &job.needs {
        if !finished(run, plan, name)? {
            bail!(
                "model {} learns from images of {name}, which is not trained yet",
                job.name
            );
        }
    }
    let folders: Vec<_> = job.needs.iter().map(|name| run.model(name)).collect();
    let exact = Engine {
        precision: Precision::F32,
        ..*engine
    };
    let generator = Generator::open(&folders, WeightSet::Ema, &exact)?;
    // Not the noise of the images that are shown and attacked.
    let noise = initial_noise(job.seed, n, shape.map(|d| d as i64), engine.device);
    let s = &plan.sample;
    let how = Sampling {
        sampler: s.sampler,
        steps: s.steps,
        order: s.order,
        batch: s.batch,
        seed: job.seed,
    };
    generator.sample(&noise, &how, None, |_| true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_secret_is_its_owner_s() {
        let dir = tempfile::tempdir().unwrap();
        let first = secret(dir.path()).unwrap();
        assert_eq!((first.len(), secret(dir.path()).unwrap()), (64, first));
        let mode = std::fs::metadata(dir.path().join("secret")).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    }
}
