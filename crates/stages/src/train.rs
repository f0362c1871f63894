//! Training one model of a plan in this process.

use super::brought::Brought;
use super::lesson::{Beginning, Lesson, cutout, secret, spent};
use super::prepare::pretraining_images;
use super::text::Told;
use super::train_images::TrainImages;
use super::{RunFolder, held, pictures, prepare, text};
use crate::choices::{self, LoraSave, Optimizer};
use crate::engine::Engine;
use crate::experiment::{Experiment, Train, epochs};
use crate::plan::{Job, JobKind, Plan};
use crate::reporter::{ProgressEvent, Work};
use crate::session::Session;
use anyhow::{Context, Result, bail};
use dualmd_defense::{Captions, Finished, Network, Objective, Observer, TrainOptions, Trainer};
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::{
    AdapterFolder, Autoencoder, Backbone, BackboneConfig, Beside, Labels, LoraForm, NoiseSchedule,
    Pipeline, TextToImage, UNet2dCondition, adapter,
};
use dualmd_files::Building;
use dualmd_names::ModelKind;
use dualmd_record::folder::TRAINING;
use dualmd_record::training::Training;
use dualmd_torch::ranks::{Group, Place};
use dualmd_torch::{Device, Tensor};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Is the model's folder complete and of this run?
///
/// # Errors
/// It was trained on another split.
pub fn finished(run: &RunFolder, plan: &Plan, name: &str) -> Result<bool> {
    let training: Training = match dualmd_record::read(&run.training(name)) {
        Err(e) if e.is_absent() => return Ok(false),
        other => other?,
    };
    let hash = training.split_hash.as_deref().unwrap_or_default();
    if hash != plan.split_hash {
        bail!(
            "{} was trained on another split (hash {hash}, this run's is {}): its members are not those listed here; \
             choose another folder (--out)",
            run.model(name).display(),
            plan.split_hash
        );
    }
    let folder = run.model(name);
    Ok(folder.join("model_index.json").exists() || AdapterFolder::is_one(&folder))
}

/// Trains one model of a plan in this process, which holds `checkpoints/NAME` ([`super::held::training`]). Returns whether it is
/// finished. Of several `ranks` the first holds the folder, and it alone writes; all return the same.
pub fn one(
    run: &RunFolder,
    plan: &Plan,
    images: TrainImages,
    job: &Job,
    max_steps_now: Option<u64>,
    session: &Session,
    ranks: Rc<Group>,
) -> Result<bool> {
    if ranks.any(ranks.leads() && finished(run, plan, &job.name)?)? {
        return Ok(true);
    }
    let (began, engine) = (Instant::now(), &session.engine);
    let images = match job.kind {
        JobKind::Pretrain => {
            let experiment = Experiment::parse(&plan.experiment_toml, "plan.json", &[])?;
            TrainImages::of(pretraining_images(&experiment, &run.0)?, Told::in_run(plan))
        }
        _ => images,
    };
    let shape = images.pixels.shape();
    let (kind, network) = Kind::of(run, plan, shape, job, engine)?;
    let schedule = kind.schedule();
    let options = options(plan, job);
    let lesson = || Lesson::of(run, plan, &images, job, &options, kind.beginning(), engine);
    // Rank 0 first: it writes what others read, encoded texts for example, or the secret of DP-SGD.
    let first = ranks.leads().then(lesson).transpose()?;
    ranks.barrier()?;
    let Lesson {
        set,
        recipe,
        additions,
    } = match first {
        Some(first) => first,
        None => lesson()?,
    };
    let trained_on = recipe.members().len();
    let passes = |steps| {
        let most = match job.kind {
            // Each image by its own coin: at most all of them in a step.
            JobKind::DpSgd { .. } => options.batch.min(trained_on),
            _ => options.batch,
        };
        epochs::passes(steps, most, trained_on)
    };
    let secret = match job.kind {
        JobKind::DpSgd { .. } => Some(secret(&run.checkpoints(&job.name))?),
        _ => None,
    };
    let texts = match &set.captions {
        Some(captions) => Some(texts(run, &images.split_hash, job, captions)?),
        None => None,
    };
    let fingerprint = fingerprint(plan, job, &options, secret.as_deref(), texts.as_deref())?;
    let latent = set.deviation.is_some();
    let sheets = run.samples(&job.name).join("during-training");
    let shape = shape.map(|d| d as i64);
    // From here on the lesson says it all.
    drop(images);
    let mut trouble: Option<anyhow::Error> = None;
    // The texts of the sheet's sixteen images: those of the first sixteen members.
    let shown: Vec<i64> = recipe.members().iter().take(16).map(|i| i as i64).collect();
    let told = set.captions.as_ref().map(|c| c.main(&shown));
    let trainer = Trainer {
        network,
        schedule: schedule.clone(),
        set,
        recipe: recipe.as_ref(),
        options: options.clone(),
        seed: job.seed,
        evaluation_seed: plan.seed,
        device: engine.device,
        precision: engine.precision,
        checkpoints: run.checkpoints(&job.name),
        log: run.log(&job.name),
        tensorboard: run.0.join("tensorboard").join(&job.name),
        fingerprint,
        ranks: Rc::clone(&ranks),
    };
    if ranks.leads() && !ranks.is_alone() {
        session.say(&shared_out(&job.name, &ranks, engine, options.batch));
    }
    let mut last_event = Instant::now() - Duration::from_secs(1);
    let outcome = trainer.run_with(
        &additions,
        &mut Observer {
            stop: &|| session.stopped(),
            progress: &mut |p| {
                if p.step == p.total || last_event.elapsed() > Duration::from_millis(200) {
                    last_event = Instant::now();
                    session.reporter.progress(&ProgressEvent {
                        model: job.name.clone(),
                        stage: Work::Train,
                        task: None,
                        step: p.step,
                        total: p.total,
                        epoch: passes(p.step),
                        loss: Some(p.loss),
                        images_per_second: p.images_per_second,
                        run_seconds_left: None,
                        run_left_without: Vec::new(),
                    });
                }
            },
            sheet: &mut |step, network| {
                let path = sheets.join(format!("{step}.png"));
                // Latents are no pictures; a run that goes on may have drawn it.
                if latent || path.exists() {
                    return;
                }
                if let Err(e) = pictures::sheet(
                    network,
                    &schedule,
                    told.as_ref(),
                    shape,
                    plan.seed,
                    engine.device,
                    &path,
                ) {
                    trouble.get_or_insert(e);
                }
            },
            warn: &mut |text| session.warn(&format!("warning: {text}")),
            max_steps_now,
        },
    );
    let outcome = outcome.with_context(|| format!("training of {} failed", job.name))?;
    if let Some(e) = trouble {
        session.warn(&format!(
            "warning: {}: a sheet of samples was not written: {e:#}",
            job.name
        ));
    }
    let Finished::Complete {
        train_loss,
        evaluation,
        seconds,
    } = outcome.finished
    else {
        return Ok(false);
    };
    if !ranks.leads() {
        // Finished is what is written.
        ranks.barrier()?;
        return Ok(true);
    }
    // A worker that was suspended lost its job to another one, which may have finished the model; others may be learning from that one.
    if finished(run, plan, &job.name)? {
        ranks.barrier()?;
        return Ok(true);
    }
    let optimizer = &outcome.optimizer;
    // Weights that early stopping passed over are not the model's.
    let raw = outcome.kept.is_none().then(|| optimizer.raw());
    // Weights and record together: a model's folder is complete, or not there.
    let building = Building::new(&run.model(&job.name))?;
    kind.save(building.path(), &optimizer.result(), raw.as_deref())?;
    let training = Training {
        name: job.name.clone(),
        defense: recorded_kind(plan, job),
        steps: Some(outcome.steps.into()),
        epochs: passes(outcome.steps),
        batch: Some(options.batch.into()),
        learning_rate: Some(options.learning_rate),
        seed: Some(job.seed),
        split_hash: Some(plan.split_hash.clone()),
        parameters: Some(plan.model.parameters.into()),
        images: Some(trained_on.into()),
        half: match job.kind {
            JobKind::Teacher { half } => Some(half),
            _ => None,
        },
        train_loss: Some(train_loss),
        member_loss: Some(evaluation.member_loss),
        heldout_loss: Some(evaluation.heldout_loss),
        seconds: Some(seconds),
        images_per_second: Some(outcome.steps as f64 * options.batch as f64 / seconds),
        threads: Some(engine.threads.into()),
        ranks: (!ranks.is_alone()).then(|| ranks.world().into()),
        dtype: Some(engine.precision.name().to_owned()),
        peak_rss_mb: crate::machine::peak_rss_mb(),
        teachers: job.needs.clone(),
        distill: (!job.needs.is_empty()).then(|| plan.distill_of(job).clone()),
        privacy: spent(&job.kind, &options, trained_on)?,
        kept: outcome.kept,
        additions: Some(additions),
        recipe: Some(options),
        wall_seconds_of_last_invocation: Some(began.elapsed().as_secs_f64()),
    };
    dualmd_record::write(&building.path().join(TRAINING), &training)?;
    building.finish()?;
    ranks.barrier()?;
    Ok(true)
}

/// Who takes part in a training: `baseline: 8 ranks on 2 machines (Slurm job 123), 4 threads each; batch 128 = 16 each`. Of GPUs also
/// which way their sums go, which is not the one that people expect.
fn shared_out(name: &str, ranks: &Group, engine: &Engine, batch: usize) -> String {
    let shares = (0..ranks.world()).map(|rank| ranks.share_of(batch, rank).len());
    let (least, most) = (shares.clone().min(), shares.max());
    let each = match (least.unwrap_or(0), most.unwrap_or(0)) {
        (least, most) if least == most => format!("{least} each"),
        (least, most) => format!("{least} or {most} each"),
    };
    let way = match engine.device {
        Device::Cuda(_) => {
            "; gradients are summed in the memory of the processor (gloo), NCCL is not used"
        }
        _ => "",
    };
    format!(
        "{name}: {}, {} threads each; batch {batch} = {each}{way}",
        ranks.describe(),
        engine.threads
    )
}

/// Trains one model of a folder that a run has prepared; the folder's plan is the law, with its number of threads. The run holds
/// the folder, and this the model's own (see [`held`]). `wanted` is asked once that is held: whoever waited for it may have lost
/// the run that it trains for. Of several ranks (`place` is this one's) rank 0 holds it for all. Returns whether the training is finished.
///
/// # Errors
/// A folder that does not hold what its plan says; what [`one`] refuses.
pub fn prepared(
    run: &RunFolder,
    model: &str,
    max_steps_now: Option<u64>,
    session: &Session,
    place: Option<&Place>,
    wanted: impl FnOnce() -> bool,
) -> Result<bool> {
    let ranks = Rc::new(match place {
        Some(place) => Group::open(place, model)?,
        None => Group::alone(),
    });
    let mut lock = None;
    if ranks.leads() {
        let held = held::training(run, model, session.reporter.as_ref(), &session.stop)?;
        lock = held.filter(|_| wanted());
    }
    if ranks.any(ranks.leads() && lock.is_none())? {
        return Ok(false);
    }
    let (plan, experiment, images) = prepare::reopen_to_train(run)?;
    let mut engine = session.engine.to_train(experiment.train.dtype)?;
    if let Some(place) = place {
        // The threads that it was given are its own.
        engine = engine.for_rank(place, engine.threads * place.local_world);
    }
    let session = session.with_engine(engine);
    let job = plan.training(model)?.clone();
    one(run, &plan, images, &job, max_steps_now, &session, ranks)
}

/// What is trained, beside the network itself.
enum Kind {
    /// A network that is told no text.
    Images(Box<OfImages>),
    /// With what LoRA layers alone are trained on, if they are.
    Text(Box<TextToImage>, Option<Box<Adapted>>),
}

/// What belongs to a network that is told no text.
struct OfImages {
    config: BackboneConfig,
    schedule: NoiseSchedule,
    /// Its classes, if it is told one.
    labels: Option<Labels>,
    /// What makes latents of images, if it sees these.
    autoencoder: Option<Autoencoder>,
}

/// A network of which LoRA layers alone are trained.
struct Adapted {
    /// As training began.
    network: UNet2dCondition,
    /// The folder of its base as the layers' own folder names it, if that is to hold them alone.
    base: Option<String>,
}

impl Adapted {
    fn of(run: &RunFolder, plan: &Plan, job: &Job, network: UNet2dCondition) -> Result<Self> {
        let base = match (plan.train_of(job).lora_save, &job.starts_from) {
            (LoraSave::Merged, _) => None,
            // Beside it, so that the run can be moved.
            (LoraSave::Adapter, Some(base)) => Some(format!("../{base}")),
            (LoraSave::Adapter, None) => match text::base_of(run, plan)? {
                Some(folder) => Some(std::path::absolute(folder)?.display().to_string()),
                None => None,
            },
        };
        Ok(Self { network, base })
    }

    /// `model`: the one that the network is of.
    fn save(
        &self,
        folder: &Path,
        model: &TextToImage,
        ema: &[(String, Tensor)],
        raw: Option<&[(String, Tensor)]>,
    ) -> Result<()> {
        let network = &self.network;
        network.save_lora(folder, Some(ema))?;
        let Some(base) = &self.base else {
            // The sum, which every program can open, and the additions beside it, which are small.
            let sum = |tensors: &[(String, Tensor)]| -> Result<Vec<(String, Tensor)>> {
                let tensors = tensors.iter().map(|(n, t)| (n.clone(), t.shallow_clone()));
                Ok(network.over_lora(tensors.collect())?.fuse()?.into_weights())
            };
            let raw = raw.map(sum).transpose()?;
            return Ok(model.save(folder, Some(&sum(ema)?), raw.as_deref())?);
        };
        if let Some(raw) = raw {
            network.save_lora(&folder.join(adapter::RAW), Some(raw))?;
        }
        network.save_lora_as(LoraForm::Kohya, folder, Some(ema))?;
        // What names the base goes last: a folder that has it is complete.
        Ok(network.save_lora_as(LoraForm::Peft { base }, folder, Some(ema))?)
    }
}

impl Kind {
    fn of(
        run: &RunFolder,
        plan: &Plan,
        shape: [usize; 3],
        job: &Job,
        engine: &Engine,
    ) -> Result<(Self, Box<dyn Network>)> {
        if plan.model.text {
            let (model, network) = text::beginning(run, plan, job, shape, engine)?;
            let network = network.with_precision(engine.precision);
            let adapted = match network.lora_parameters() {
                Some(own) => {
                    let network = network.over_lora(own.copies())?;
                    Some(Box::new(Adapted::of(run, plan, job, network)?))
                }
                None => None,
            };
            return Ok((Self::Text(Box::new(model), adapted), Box::new(network)));
        }
        let experiment = Experiment::parse(&plan.experiment_toml, "plan.json", &[])?;
        let brought = Brought::of(&experiment, engine.device)?;
        let schedule = brought.schedule(plan.train_of(job).objective)?;
        let (config, network) = match brought.network {
            Some(network) => (network.config(), network),
            None => {
                let config =
                    BackboneConfig::read(&plan.model.config).context("plan.json: model.config")?;
                let network = Backbone::fresh(&config, job.init_seed(), engine.device)?;
                (config, network)
            }
        };
        let labels = match (brought.labels, &plan.model.labels) {
            (Some(own), _) => Some(own),
            (None, Some(names)) => config.labels(names.clone())?,
            (None, None) => None,
        };
        let kind = Self::Images(Box::new(OfImages {
            config,
            schedule,
            labels,
            autoencoder: brought.autoencoder,
        }));
        Ok((kind, Box::new(network.with_precision(engine.precision))))
    }

    fn schedule(&self) -> NoiseSchedule {
        match self {
            Self::Images(own) => own.schedule.clone(),
            Self::Text(model, _) => model.schedule.clone(),
        }
    }

    fn beginning(&self) -> Beginning<'_> {
        match self {
            Self::Images(own) => Beginning::Images {
                labels: own.labels.as_ref(),
                autoencoder: own.autoencoder.as_ref(),
            },
            Self::Text(model, _) => Beginning::Text(model),
        }
    }

    fn save(
        &self,
        folder: &Path,
        ema: &[(String, Tensor)],
        raw: Option<&[(String, Tensor)]>,
    ) -> Result<()> {
        match self {
            Self::Images(own) => {
                let beside = Beside {
                    labels: own.labels.as_ref(),
                    autoencoder: own.autoencoder.as_ref(),
                };
                Pipeline::save(folder, &own.config, &own.schedule, beside, ema, raw)?;
            }
            Self::Text(model, None) => model.save(folder, Some(ema), raw)?,
            Self::Text(model, Some(adapted)) => adapted.save(folder, model, ema, raw)?,
        }
        Ok(())
    }
}

/// What a training is recorded as.
fn recorded_kind(plan: &Plan, job: &Job) -> ModelKind {
    match plan.models.iter().find(|t| t.name == job.name) {
        Some(target) => target.defense.clone(),
        None => match job.kind {
            JobKind::Reference => ModelKind::Reference,
            JobKind::Pretrain => ModelKind::Base,
            _ => ModelKind::Part,
        },
    }
}

/// The settings of a training's loop.
pub fn options(plan: &Plan, job: &Job) -> TrainOptions {
    let t = plan.train_of(job);
    TrainOptions {
        steps: t.steps,
        objective: match (t.objective, t.levels) {
            (choices::Objective::Ddpm, _) => Objective::Ddpm,
            (choices::Objective::Flow, levels) => Objective::Flow(levels),
        },
        batch: t.batch,
        accumulate: t.accumulate,
        gradient_checkpointing: t.gradient_checkpointing,
        learning_rate: t.learning_rate,
        warmup: t.warmup,
        decay_fraction: t.decay_fraction,
        ema: t.ema,
        ema_warmup: t.ema_warmup,
        clip: t.clip,
        weight_decay: t.weight_decay,
        decoupled: t.optimizer == Optimizer::AdamW,
        flip: t.flip,
        drop_memorised: t.drop_memorised,
        skip_easy: t.skip_easy,
        checkpoint_every: t.checkpoint_every,
        keep_checkpoints: t.keep_checkpoints,
        log_every: t.log_every,
        eval_every: t.eval_every,
        sample_every: t.sample_every,
    }
}

/// Hash of everything that defines a training; what may change between invocations is left out.
fn fingerprint(
    plan: &Plan,
    job: &Job,
    options: &TrainOptions,
    secret: Option<&str>,
    texts: Option<&str>,
) -> Result<String> {
    let (t, cutout) = (plan.train_of(job), cutout(plan, job));
    let distill = plan.distill_of(job);
    // Its own recipe is in the options, its own way to be distilled below.
    let job = Job {
        epochs: None,
        train: None,
        distill: None,
        ..job.clone()
    };
    let mut fixed = options.clone();
    (
        fixed.checkpoint_every,
        fixed.keep_checkpoints,
        fixed.log_every,
    ) = (0, 0, 0);
    fixed.gradient_checkpointing = false;
    let text = serde_json::to_string(&(
        &job,
        &fixed,
        &plan.model.config,
        &plan.split_hash,
        &plan.hardware.dtype,
        distill,
        cutout,
        plan.model.text.then_some({
            (
                t.captions,
                t.caption_dropout,
                t.lora_rank,
                t.lora_alpha,
                &plan.model.base,
                texts,
            )
        }),
        secret.map(|s| blake3::hash(s.as_bytes()).to_hex().to_string()),
    ))?;
    // What only class-conditional trainings have is added to what there was before there were any.
    let text = match &plan.model.labels {
        Some(names) => serde_json::to_string(&(text, names, t.label_dropout, texts))?,
        None => text,
    };
    // So is what only those have that start from a folder, or see the latents of an autoencoder.
    let text = match (&plan.model.base, &plan.model.autoencoder) {
        (None, None) => text,
        (Some(_), None) if plan.model.text => text,
        brought => serde_json::to_string(&(text, brought))?,
    };
    // Other layers than the usual ones are another training.
    let text = match t.lora_targets == Train::default().lora_targets {
        true => text,
        false => format!("{text} {:?}", t.lora_targets),
    };
    Ok(blake3::hash(text.as_bytes()).to_hex().to_string())
}

/// Hash of what the training of a conditional model begins with and learns from beyond its split: the weights it starts from, the
/// images that a base learns, the captions or classes.
fn texts(run: &RunFolder, split_hash: &str, job: &Job, captions: &Captions) -> Result<String> {
    let base = job.starts_from.as_ref().map(|base| vec![run.model(base)]);
    let base = base.map(|folder| super::generator::fingerprint(&folder, WeightSet::Ema));
    let everything = serde_json::to_string(&(
        base.transpose()?,
        split_hash,
        super::hashes::hash_told(&captions.told)?,
        &captions.of,
    ))?;
    Ok(blake3::hash(everything.as_bytes()).to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_torch::device::Precision;

    #[test]
    fn ranks_on_gpus_say_which_way_their_sums_go() {
        let said = |device| {
            let engine = Engine {
                device,
                precision: Precision::F32,
                threads: 2,
            };
            shared_out("m", &Group::alone(), &engine, 8)
        };
        let plain = "m: 1 process, 2 threads each; batch 8 = 8 each";
        assert_eq!(said(Device::Cpu), plain);
        let on_gpus = said(Device::Cuda(1));
        assert!(
            on_gpus.starts_with(plain) && on_gpus.ends_with("NCCL is not used"),
            "{on_gpus}"
        );
    }
}
