//! Training: one model in this process, or all of a plan in processes side by side.
//!
//! Each training is a process of its own with its own share of the cores: one that dies takes no other with it, and
//! libtorch's thread pool is never shared.

use super::prepare::Images;
use super::{RunFolder, create_folder, pictures, write_json};
use crate::choices::{self, LogFormat};
use crate::engine::Engine;
use crate::plan::{Job, JobKind, Plan};
use crate::progress::{Progress, ProgressEvent, View, duration};
use anyhow::{Context, Result, anyhow, bail};
use dualmd_defense::{
    DistillMd, Distillation, Finished, Observer, Plain, Recipe, Routing, TrainOptions, Trainer,
    TrainingSet,
};
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::{Denoiser, NoiseSchedule, Pipeline, UNet2d, UNet2dConfig};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Is the model's folder complete and of this run?
///
/// # Errors
/// It was trained on another split.
pub fn finished(run: &RunFolder, plan: &Plan, name: &str) -> Result<bool> {
    let path = run.model(name).join("training.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        return Ok(false);
    };
    let training: serde_json::Value = serde_json::from_str(&text)
        .with_context(|| format!("{}: damaged; remove it", path.display()))?;
    let hash = training
        .get("split_hash")
        .and_then(|h| h.as_str())
        .unwrap_or("");
    if hash != plan.split_hash {
        bail!(
            "{} was trained on another split (hash {hash}, this run's is {}): its members are not those listed here; \
             choose another folder (--out)",
            run.model(name).display(),
            plan.split_hash
        );
    }
    Ok(run.model(name).join("model_index.json").exists())
}

/// Trains one model of a plan in this process. Returns whether it is finished.
#[allow(clippy::too_many_arguments)]
pub fn one(
    run: &RunFolder,
    plan: &Plan,
    images: &Images,
    job: &Job,
    engine: &Engine,
    max_steps_now: Option<u64>,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(ProgressEvent),
) -> Result<bool> {
    if finished(run, plan, &job.name)? {
        return Ok(true);
    }
    let began = Instant::now();
    let _lock = lock(&run.checkpoints(&job.name))?;
    let config: UNet2dConfig =
        serde_json::from_value(plan.model.config.clone()).context("plan.json: model.config")?;
    let schedule = NoiseSchedule::default();
    let options = options(plan);
    let s = &images.selected;
    // Positions within the tensor: members first, then non-members.
    let order: Vec<usize> = s.members.iter().chain(&s.nonmembers).copied().collect();
    let place: BTreeMap<usize, usize> = order.iter().enumerate().map(|(at, &i)| (i, at)).collect();
    let places = |list: &[usize]| {
        list.iter()
            .filter_map(|i| place.get(i).copied())
            .collect::<Vec<_>>()
    };
    let teacher = |name: &str| -> Result<Box<dyn Denoiser>> {
        if !finished(run, plan, name)? {
            bail!(
                "model {} is taught by {name}, which is not trained yet: train it first",
                job.name
            );
        }
        let pipeline = Pipeline::load(&run.model(name), WeightSet::Ema, engine.device)?;
        Ok(Box::new(pipeline.with_precision(engine.precision)))
    };
    let recipe: Box<dyn Recipe> = match &job.kind {
        JobKind::Baseline => Box::new(Plain::new(places(&s.members), job.seed)?),
        JobKind::Teacher { half } => Box::new(Plain::new(
            places(if *half == 1 { &s.d1 } else { &s.d2 }),
            job.seed,
        )?),
        JobKind::Student => {
            let [first, second] = job.needs.as_slice() else {
                bail!("DistillMD needs two teachers")
            };
            let routing = match plan.distill.routing {
                choices::Routing::Iteration => Routing::Iteration,
                choices::Routing::Example => Routing::Example,
            };
            let teachers = [teacher(first)?, teacher(second)?];
            Box::new(DistillMd::new(
                places(&s.d1),
                places(&s.d2),
                teachers,
                routing,
                job.seed,
            )?)
        }
        JobKind::Kd { teacher: name } => Box::new(Distillation::new(
            places(&s.members),
            teacher(name)?,
            job.seed,
        )?),
    };
    let set = TrainingSet {
        images: images.tensor(&order, engine.device),
        heldout: places(&s.nonmembers),
    };
    let trained_on = recipe.members().len();
    let network = UNet2d::fresh(&config, job.seed, engine.device)?.with_precision(engine.precision);
    let fingerprint = fingerprint(plan, job, &options)?;
    let sheets = run.samples(&job.name).join("during-training");
    let shape = images.set.shape().map(|d| d as i64);
    let mut trouble: Option<anyhow::Error> = None;
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
        log: run.0.join("logs").join(format!("{}.jsonl", job.name)),
        tensorboard: run.0.join("tensorboard").join(&job.name),
        fingerprint,
    };
    let mut last_event = Instant::now() - Duration::from_secs(1);
    let outcome = trainer.run(&mut Observer {
        stop: &|| stop.load(Ordering::Relaxed),
        progress: &mut |p| {
            if p.step == p.total || last_event.elapsed() > Duration::from_millis(200) {
                last_event = Instant::now();
                tell(ProgressEvent {
                    model: job.name.clone(),
                    step: p.step,
                    total: p.total,
                    loss: Some(p.loss),
                    images_per_second: p.images_per_second,
                });
            }
        },
        sheet: &mut |step, network| {
            if let Err(e) = pictures::sheet(
                network,
                &schedule,
                shape,
                plan.seed,
                engine.device,
                &sheets.join(format!("{step}.png")),
            ) {
                trouble.get_or_insert(e);
            }
        },
        warn: &mut |text| eprintln!("warning: {text}"),
        max_steps_now,
    });
    let (outcome, optimizer) =
        outcome.with_context(|| format!("training of {} failed", job.name))?;
    if let Some(e) = trouble {
        eprintln!(
            "warning: {}: a sheet of samples was not written: {e:#}",
            job.name
        );
    }
    let Finished::Complete {
        train_loss,
        evaluation,
        seconds,
    } = outcome
    else {
        return Ok(false);
    };
    let folder = run.model(&job.name);
    Pipeline::save(
        &folder,
        &config,
        &schedule,
        &optimizer.ema(),
        Some(&optimizer.raw()),
    )?;
    write_json(
        &folder.join("training.json"),
        &serde_json::json!({
            "name": job.name,
            "defense": defense(plan, &job.name),
            "steps": options.steps,
            "batch": options.batch,
            "learning_rate": options.learning_rate,
            "seed": job.seed,
            "split_hash": plan.split_hash,
            "parameters": plan.model.parameters,
            "images": trained_on,
            "half": match job.kind {
                JobKind::Teacher { half } => Some(half),
                _ => None,
            },
            "train_loss": train_loss,
            "member_loss": evaluation.member_loss,
            "heldout_loss": evaluation.heldout_loss,
            "seconds": seconds,
            "images_per_second": options.steps as f64 * options.batch as f64 / seconds,
            "threads": engine.threads,
            "dtype": engine.precision.name(),
            "peak_rss_mb": crate::machine::peak_rss_mb(),
            "teachers": job.needs,
            "recipe": options,
            "wall_seconds_of_last_invocation": began.elapsed().as_secs_f64(),
        }),
    )?;
    Ok(true)
}

fn defense<'a>(plan: &'a Plan, name: &str) -> &'a str {
    plan.models
        .iter()
        .find(|t| t.name == name)
        .map_or("teacher", |t| &t.defense)
}

fn options(plan: &Plan) -> TrainOptions {
    let t = &plan.train;
    TrainOptions {
        steps: t.steps,
        batch: t.batch,
        learning_rate: t.learning_rate,
        warmup: t.warmup,
        decay_fraction: t.decay_fraction,
        ema: t.ema,
        ema_warmup: t.ema_warmup,
        clip: t.clip,
        weight_decay: t.weight_decay,
        flip: t.flip,
        checkpoint_every: t.checkpoint_every,
        keep_checkpoints: t.keep_checkpoints,
        log_every: t.log_every,
        eval_every: t.eval_every,
        sample_every: t.sample_every,
    }
}

/// Hash of everything that defines a training; what may change between invocations is left out.
fn fingerprint(plan: &Plan, job: &Job, options: &TrainOptions) -> Result<String> {
    let mut fixed = options.clone();
    (
        fixed.checkpoint_every,
        fixed.keep_checkpoints,
        fixed.log_every,
    ) = (0, 0, 0);
    let text = serde_json::to_string(&(
        job,
        &fixed,
        &plan.model.config,
        &plan.split_hash,
        &plan.hardware.dtype,
        &plan.distill,
    ))?;
    Ok(blake3::hash(text.as_bytes()).to_hex().to_string())
}

/// Trains all models of a plan. Returns false if asked to stop before the end.
pub fn all(
    run: &RunFolder,
    plan: &Plan,
    engine: &Engine,
    view: View,
    stop: &AtomicBool,
) -> Result<bool> {
    let mut done: Vec<String> = Vec::new();
    for job in &plan.trainings {
        if finished(run, plan, &job.name)? {
            done.push(job.name.clone());
        }
    }
    create_folder(&run.0.join("logs"))?;
    let mut progress = Progress::new(view);
    let mut running: Vec<Training> = Vec::new();
    let mut started: Vec<String> = Vec::new();
    let mut failure: Option<anyhow::Error> = None;
    let (send, receive) = mpsc::channel::<Message>();
    loop {
        let may_start = failure.is_none() && !stop.load(Ordering::Relaxed);
        if may_start {
            let next: Vec<Job> = plan
                .ready(&done, |name| started.iter().any(|s| s == name))
                .cloned()
                .collect();
            for job in next {
                if running.len() >= plan.hardware.parallel_models {
                    break;
                }
                // A training that is alone has the machine to itself only if its thread count does not matter: it
                // keeps its planned share, so that the result does not depend on what ran beside it.
                running.push(Training::start(run, &job.name, plan, engine, send.clone())?);
                started.push(job.name);
            }
        }
        if running.is_empty() {
            break;
        }
        match receive.recv_timeout(Duration::from_millis(200)) {
            Ok(Message::Event(event)) => progress.update(&event),
            Ok(Message::Said(text)) => progress.say(&text),
            Err(_) => {}
        }
        if failure.is_some() || stop.load(Ordering::Relaxed) {
            // Closing stdin asks a child to write a checkpoint and leave.
            running.iter_mut().for_each(|t| drop(t.child.stdin.take()));
        }
        let mut index = 0;
        while index < running.len() {
            let Some(status) = running[index]
                .child
                .try_wait()
                .context("cannot watch a training")?
            else {
                index += 1;
                continue;
            };
            let mut training = running.swap_remove(index);
            // Its last words first, or they would come after "failed".
            training
                .relays
                .drain(..)
                .for_each(|relay| drop(relay.join()));
            while let Ok(message) = receive.try_recv() {
                match message {
                    Message::Event(event) => progress.update(&event),
                    Message::Said(text) => progress.say(&text),
                }
            }
            if status.success() && finished(run, plan, &training.name)? {
                let took = duration(training.began.elapsed());
                progress.finish(&training.name, &format!("trained in {took}"));
                done.push(training.name);
            } else if status.success() {
                progress.finish(&training.name, "stopped, checkpoint written");
            } else {
                progress.finish(&training.name, "failed");
                failure.get_or_insert_with(|| {
                    anyhow!(
                        "the training of {} failed ({status}); its message is above",
                        training.name
                    )
                });
            }
        }
    }
    match failure {
        Some(error) => Err(error),
        None => Ok(done.len() == plan.trainings.len()),
    }
}

enum Message {
    Event(ProgressEvent),
    Said(String),
}

struct Training {
    name: String,
    child: Child,
    began: Instant,
    relays: Vec<JoinHandle<()>>,
}

impl Training {
    fn start(
        run: &RunFolder,
        name: &str,
        plan: &Plan,
        engine: &Engine,
        send: mpsc::Sender<Message>,
    ) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(program);
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt;
            // A group of its own: the terminal's Ctrl-C reaches the parent only, which then closes the child's stdin.
            // Otherwise the child would count two requests and leave without a checkpoint.
            command.process_group(0);
        }
        let mut child = command
            .arg("train")
            .arg(run.experiment())
            .args(["--model", name, "--progress-json"])
            .arg("--out")
            .arg(&run.0)
            .args(["--device", &engine.device_name()])
            .args(["--threads", &plan.hardware.threads_per_model.to_string()])
            .env(
                "OMP_NUM_THREADS",
                plan.hardware.threads_per_model.to_string(),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start the training of {name}"))?;
        let mut relays = Vec::new();
        if let Some(out) = child.stdout.take() {
            relays.push(relay(out, send.clone()));
        }
        if let Some(err) = child.stderr.take() {
            relays.push(relay(err, send));
        }
        Ok(Self {
            name: name.to_owned(),
            child,
            began: Instant::now(),
            relays,
        })
    }
}

/// Hands a child's lines on: progress events as such, anything else as text.
fn relay(stream: impl Read + Send + 'static, send: mpsc::Sender<Message>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let message = match ProgressEvent::parse(&line) {
                Some(event) => Message::Event(event),
                None => Message::Said(line),
            };
            if send.send(message).is_err() {
                break;
            }
        }
    })
}

/// Held while a model is trained: two trainers on one folder (a run restarted while an orphan of the killed one still
/// writes its checkpoint) would prune each other's files. Waits for the other one.
fn lock(checkpoints: &Path) -> Result<File> {
    create_folder(checkpoints)?;
    let path = checkpoints.join(".lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    if file.try_lock().is_err() {
        eprintln!("waiting: another training holds {}", path.display());
        file.lock()
            .with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}

/// How progress is shown, from the common flags.
pub fn view(quiet: bool, format: LogFormat) -> View {
    View::choose(quiet, format)
}
