//! Training: one model in this process, or all of a plan in processes side by side.
//!
//! Each training is a process of its own with its own share of the cores: one that dies takes no other with it, and
//! libtorch's thread pool is never shared.

use super::prepare::{Images, outside_for};
use super::sample::Generator;
use super::{RunFolder, create_folder, pictures, write_json};
use crate::choices::{self, LogFormat};
use crate::engine::Engine;
use crate::experiment::{Experiment, Train};
use crate::plan::{Job, JobKind, Plan, REFERENCE};
use crate::progress::{Progress, ProgressEvent, View, duration};
use anyhow::{Context, Result, anyhow, bail};
use dualmd_defense::dp::accountant;
use dualmd_defense::{
    Additions, Cutout, DistillMd, Distillation, DpSgd, EarlyStopping, Finished, KWay, Observer,
    Plain, Privacy, Recipe, Routing, TrainOptions, Trainer, TrainingSet, kway,
};
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::sampler::initial_noise;
use dualmd_diffusion::{Denoiser, NoiseSchedule, Pipeline, UNet2d, UNet2dConfig};
use dualmd_torch::Tensor;
use dualmd_torch::device::Precision;
use rand::TryRngCore;
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
    let options = options(plan, job);
    let s = &images.selected;
    // Positions within the tensor: members first, then non-members, then what nobody else sees.
    let near = experiment(plan)?.data.near_duplicates;
    // What a reference model learns from, or what early stopping watches: images that nobody else sees.
    let outside = images.outside(outside_for(&job.kind, s.members.len()), near, plan.seed)?;
    let order: Vec<usize> = s
        .members
        .iter()
        .chain(&s.nonmembers)
        .chain(&outside)
        .copied()
        .collect();
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
    let (members, heldout) = (places(&s.members), places(&s.nonmembers));
    let mut set = TrainingSet {
        images: images.tensor(&order, engine.device),
        heldout,
    };
    let recipe: Box<dyn Recipe> = match &job.kind {
        JobKind::Baseline | JobKind::EarlyStopping { .. } => {
            Box::new(Plain::new(members, job.seed)?)
        }
        JobKind::Teacher { half } => Box::new(Plain::new(
            places(if *half == 1 { &s.d1 } else { &s.d2 }),
            job.seed,
        )?),
        JobKind::Reference => Box::new(Plain::new(places(&outside), job.seed)?),
        JobKind::Student => {
            let [first, second] = job.needs.as_slice() else {
                bail!("DistillMD needs two teachers")
            };
            let teachers = [teacher(first)?, teacher(second)?];
            let (d1, d2) = (places(&s.d1), places(&s.d2));
            Box::new(DistillMd::new(d1, d2, teachers, routing(plan), job.seed)?)
        }
        JobKind::Kd { teacher: name } => {
            Box::new(Distillation::new(members, teacher(name)?, job.seed)?)
        }
        JobKind::DpSgd { .. } => {
            let secret = secret(&run.checkpoints(&job.name))?;
            let privacy = privacy(&job.kind, &options, members.len())?;
            Box::new(DpSgd::new(members, privacy, &secret)?)
        }
        JobKind::Shard { shards, shard } => {
            let all = shards_of(images, &members, *shards, plan.seed)?;
            Box::new(Plain::new(all[shard - 1].clone(), job.seed)?)
        }
        JobKind::KWay { shards } => {
            let all = shards_of(images, &members, *shards, plan.seed)?;
            let teachers = job
                .needs
                .iter()
                .map(|t| teacher(t))
                .collect::<Result<Vec<_>>>()?;
            Box::new(KWay::new(all, teachers, routing(plan), job.seed)?)
        }
        JobKind::Synthetic { images: n } => {
            let drawn = drawn_in_turns(run, plan, job, n.unwrap_or(members.len()), images, engine)?;
            let shift = usize::try_from(drawn.size()[0]).unwrap_or(0);
            set = TrainingSet {
                images: Tensor::f_cat(&[&drawn, &set.images], 0)?,
                heldout: set.heldout.iter().map(|i| i + shift).collect(),
            };
            let watched = members.iter().map(|i| i + shift).collect();
            Box::new(Plain::new((0..shift).collect(), job.seed)?.watching(watched))
        }
    };
    let early_stopping = match job.kind {
        JobKind::EarlyStopping { patience } => Some(EarlyStopping {
            calibration: places(&outside),
            patience,
        }),
        _ => None,
    };
    let additions = Additions {
        cutout: cutout(plan, job),
        early_stopping,
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
    let outcome = trainer.run_with(
        &additions,
        &mut Observer {
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
        },
    );
    let outcome = outcome.with_context(|| format!("training of {} failed", job.name))?;
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
    } = outcome.finished
    else {
        return Ok(false);
    };
    let optimizer = &outcome.optimizer;
    // Weights that early stopping passed over are not the model's.
    let raw = outcome.kept.is_none().then(|| optimizer.raw());
    let folder = run.model(&job.name);
    Pipeline::save(
        &folder,
        &config,
        &schedule,
        &optimizer.result(),
        raw.as_deref(),
    )?;
    write_json(
        &folder.join("training.json"),
        &serde_json::json!({
            "name": job.name,
            "defense": defense(plan, &job.name),
            "steps": outcome.steps,
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
            "images_per_second": outcome.steps as f64 * options.batch as f64 / seconds,
            "threads": engine.threads,
            "dtype": engine.precision.name(),
            "peak_rss_mb": crate::machine::peak_rss_mb(),
            "teachers": job.needs,
            "privacy": spent(&job.kind, &options, trained_on)?,
            "kept": outcome.kept,
            "additions": additions,
            "recipe": options,
            "wall_seconds_of_last_invocation": began.elapsed().as_secs_f64(),
        }),
    )?;
    Ok(true)
}

fn defense<'a>(plan: &'a Plan, name: &str) -> &'a str {
    plan.models.iter().find(|t| t.name == name).map_or(
        if name == REFERENCE {
            "reference"
        } else {
            "teacher"
        },
        |t| &t.defense,
    )
}

/// The experiment that a plan was made of.
fn experiment(plan: &Plan) -> Result<Experiment> {
    Experiment::parse(&plan.experiment_toml, "plan.json", &[])
}

fn routing(plan: &Plan) -> Routing {
    match plan.distill.routing {
        choices::Routing::Iteration => Routing::Iteration,
        choices::Routing::Example => Routing::Example,
    }
}

/// The training's recipe: its own, or the plan's.
fn train_of<'a>(plan: &'a Plan, job: &'a Job) -> &'a Train {
    job.train.as_ref().unwrap_or(&plan.train)
}

fn cutout(plan: &Plan, job: &Job) -> Option<Cutout> {
    let t = train_of(plan, job);
    (t.cutout_side > 0).then_some(Cutout {
        side: t.cutout_side,
        probability: t.cutout_probability,
    })
}

/// What names the coins and the noise of DP-SGD: 32 bytes of the operating system's randomness, drawn once. Whoever knows them
/// can subtract the noise, so they stay with the checkpoints and out of everything that is published.
fn secret(checkpoints: &Path) -> Result<String> {
    let path = checkpoints.join("secret");
    if path.exists() {
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        return Ok(text.trim().to_owned());
    }
    let mut bytes = [0_u8; 32];
    rand::rngs::OsRng
        .try_fill_bytes(&mut bytes)
        .context("the operating system gives no random numbers")?;
    let text: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    dualmd_data::write_atomic(&path, text.as_bytes())?;
    Ok(text)
}

/// The settings of a DP-SGD training on `n` images.
fn privacy(kind: &JobKind, options: &TrainOptions, n: usize) -> Result<Privacy> {
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

/// What a training spends, for its record; `null` for one that promises nothing.
fn spent(kind: &JobKind, options: &TrainOptions, n: usize) -> Result<serde_json::Value> {
    let JobKind::DpSgd { delta, .. } = kind else {
        return Ok(serde_json::Value::Null);
    };
    let privacy = privacy(kind, options, n)?;
    let rate = (options.batch as f64 / n.max(1) as f64).min(1.0);
    // The steps that were planned, whatever became of them.
    let spent = accountant::spent(options.steps, rate, privacy.noise_multiplier, *delta)?;
    Ok(serde_json::json!({
        "epsilon": spent.epsilon, "delta": delta, "order": spent.order, "sampling_rate": rate,
        "noise_multiplier": privacy.noise_multiplier, "clip": privacy.clip, "noise_multiplicity": privacy.noise_multiplicity,
        "accountant": "RDP", "adjacency": "add or remove one image",
    }))
}

/// The members (positions in the training tensor) in K disjoint shards; near-duplicates and groups stay together.
fn shards_of(
    images: &Images,
    members: &[usize],
    shards: usize,
    seed: u64,
) -> Result<Vec<Vec<usize>>> {
    let mut units: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (member, &at) in images.split.members().iter().zip(members) {
        let key = member
            .group
            .clone()
            .unwrap_or_else(|| member.id.as_str().to_owned());
        units.entry(key).or_default().push(at);
    }
    let units: Vec<Vec<usize>> = units.into_values().collect();
    Ok(kway::divide(&units, shards, seed)?)
}

/// Images that two teachers drew in turns, [n, C, H, W]: drawn anew by whoever goes on with the training, from the same noise.
fn drawn_in_turns(
    run: &RunFolder,
    plan: &Plan,
    job: &Job,
    n: usize,
    images: &Images,
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
    let s = &plan.sample;
    // Not the noise of the images that are shown and attacked.
    let noise = initial_noise(
        job.seed,
        n,
        images.set.shape().map(|d| d as i64),
        engine.device,
    );
    generator.sample(
        &noise,
        s.sampler,
        s.steps,
        s.order,
        s.batch,
        job.seed,
        |_| true,
    )
}

fn options(plan: &Plan, job: &Job) -> TrainOptions {
    let t = train_of(plan, job);
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
        cutout(plan, job),
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
