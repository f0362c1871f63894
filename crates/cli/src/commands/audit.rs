//! `dualmd attack` and `dualmd audit`: models trained anywhere.

use crate::args::{AttackArgs, AuditArgs, Global, ScoreArgs};
use crate::bail_usage;
use crate::choices::Order;
use crate::engine::Engine;
use crate::progress::{Progress, ProgressEvent};
use crate::stages::attack::{Label, Subject, failures, score, weight_set, write_exposed};
use crate::stages::sample::{Generator, Side, write_nearest, write_samples};
use crate::stages::{RunFolder, blind, create_folder, train::view, write_json};
use crate::{choices, machine, signals};
use anyhow::{Context, Result, bail};
use dualmd_attack::nn;
use dualmd_audit::write_scores;
use dualmd_data::{ImageSet, LoadOptions, Split, dedupe, load};
use dualmd_diffusion::sampler::initial_noise;
use dualmd_torch::{Device, Tensor};
use serde_json::json;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Images an audit draws from the model for the black-box attack.
const GENERATED: usize = 256;
/// DDIM steps of those images.
const STEPS: usize = 50;

/// Everything both commands need.
struct Case {
    engine: Engine,
    generator: Generator,
    members: ImageSet,
    nonmembers: ImageSet,
    labels: Vec<Label>,
    x: Tensor,
    split: Option<Split>,
}

impl Case {
    fn open(global: &Global, args: &ScoreArgs) -> Result<Self> {
        let engine = Engine::exact(global)?;
        let generator = Generator::open(&args.models(), weight_set(args.weights), &engine)?;
        let split = args.split.as_deref().map(Split::load).transpose()?;
        if let Some(split) = &split {
            refuse_foreign_split(args, split)?;
        }
        let shape = generator.first().image_shape();
        if let Some([_, h, w]) = shape
            && h != w
        {
            bail!("the model draws images of {w} x {h}: only square ones can be audited yet");
        }
        let options = LoadOptions {
            image_size: shape.and_then(|s| u32::try_from(s[1]).ok()),
            channels: Some(u8::try_from(generator.first().unet.config().in_channels).unwrap_or(3)),
            split: split.as_ref(),
            ..LoadOptions::default()
        };
        let read = |data: &str| -> Result<ImageSet> {
            let mut set = load(data, &options)?;
            let report = dedupe(&mut set);
            if !report.dropped.is_empty() {
                eprintln!(
                    "warning: {data}: {} exact duplicates dropped",
                    report.dropped.len()
                );
            }
            if set.is_empty() {
                bail!("{data} holds no images");
            }
            Ok(set)
        };
        let (members, nonmembers) = (read(&args.members)?, read(&args.nonmembers)?);
        if members.shape() != nonmembers.shape() {
            bail!(
                "members are {:?} and non-members {:?} (channels, height, width)",
                members.shape(),
                nonmembers.shape()
            );
        }
        let label = |set: &ImageSet, member: bool| {
            set.records
                .iter()
                .map(|r| Label {
                    id: r.id.as_str().to_owned(),
                    group: r.group.clone(),
                    member,
                })
                .collect::<Vec<_>>()
        };
        let labels = [label(&members, true), label(&nonmembers, false)].concat();
        let tensor = |set: &ImageSet| {
            let [c, h, w] = set.shape().map(|d| d as i64);
            let all: Vec<usize> = (0..set.len()).collect();
            Tensor::from_slice(&set.to_f32(&all)).view([-1, c, h, w])
        };
        let x = Tensor::cat(&[tensor(&members), tensor(&nonmembers)], 0);
        Ok(Self {
            engine,
            generator,
            members,
            nonmembers,
            labels,
            x,
            split,
        })
    }
}

/// A model that knows its split (trained here) is not attacked with another one.
fn refuse_foreign_split(args: &ScoreArgs, split: &Split) -> Result<()> {
    for model in args.models() {
        let path = model.join("training.json");
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let training: serde_json::Value =
            serde_json::from_str(&text).with_context(|| format!("{}: damaged", path.display()))?;
        let own = training
            .get("split_hash")
            .and_then(|h| h.as_str())
            .unwrap_or("");
        // Of a pair, each knows a half: together they know all members.
        if args.model2.is_none()
            && let Some(half) = training.get("half").and_then(serde_json::Value::as_u64)
            && args.members.ends_with("#member")
        {
            bail_usage!(
                "{} is a teacher that saw D{half} only: half of {} are strangers to it; use #d{half} in its place",
                model.display(),
                args.members
            );
        }
        if !own.is_empty() && own != split.hash() {
            bail_usage!(
                "{} was trained on the split {own}, the one given is {}: scores against the wrong members mean nothing; \
                 give the run's own split.json",
                model.display(),
                split.hash()
            );
        }
    }
    Ok(())
}

/// Attacks by name; all of the default set if none are named. Of a pair, what it generates is attacked and what both models
/// together would give away; the attacks on one model only if they are asked for.
fn attacks(named: &[String], black_box: bool, pair: bool) -> Result<Vec<String>> {
    if named.is_empty() {
        let mut all: Vec<String> = dualmd_attack::ALL
            .iter()
            .filter(|a| a.needs_pair == pair)
            .map(|a| a.name.to_owned())
            .collect();
        if black_box || pair {
            all.push(nn::NAME.into());
        }
        return Ok(all);
    }
    for name in named.iter().filter(|n| *n != nn::NAME) {
        dualmd_attack::by_name(name)?;
        if dualmd_attack::needs_pair(name) && !pair {
            bail_usage!(
                "attack {name} compares the two models of a DualMD pair: name both model folders"
            );
        }
    }
    Ok(named.to_vec())
}

fn generate(
    case: &Case,
    batch: usize,
    seed: u64,
    progress: &mut Progress,
    stop: &AtomicBool,
) -> Result<Tensor> {
    let [c, h, w] = case.members.shape().map(|d| d as i64);
    let noise = initial_noise(seed, GENERATED, [c, h, w], case.engine.device);
    let began = std::time::Instant::now();
    let generated = case.generator.sample(
        &noise,
        choices::Sampler::Ddim,
        STEPS,
        Order::First,
        batch,
        seed,
        |done| {
            progress.update(&ProgressEvent {
                model: "sample".into(),
                step: done as u64,
                total: GENERATED as u64,
                loss: None,
                images_per_second: done as f64 / began.elapsed().as_secs_f64(),
            });
            !stop.load(Ordering::Relaxed)
        },
    )?;
    // The attack compares on the CPU, where the samples are.
    Ok(generated.to_device(Device::Cpu))
}

/// Scores to a CSV file, with the description beside it.
pub fn attack(global: &Global, args: &AttackArgs) -> Result<ExitCode> {
    if args.out.extension().is_some_and(|e| e == "json") {
        bail_usage!(
            "{}: scores are written as CSV, with a description beside them as .json: name a .csv file",
            args.out.display()
        );
    }
    if let Some(folder) = args.out.parent() {
        create_folder(folder)?;
    }
    let case = Case::open(global, &args.score)?;
    let stop = signals::stop_flag()?;
    let attacks = attacks(&args.score.attacks, false, args.score.model2.is_some())?;
    let mut progress = Progress::new(view(global.quiet, global.log_format));
    let seed = global.seed.unwrap_or(0);
    let generated = if attacks.iter().any(|a| a == nn::NAME) {
        Some(generate(
            &case,
            args.score.batch,
            seed,
            &mut progress,
            &stop,
        )?)
    } else {
        None
    };
    let subject = subject(&case, &args.score, &attacks, generated.as_ref(), seed)?;
    let (rows, description) = score(
        &subject,
        &case.x,
        &case.labels,
        &case.engine,
        &mut progress,
        &stop,
    )?;
    write_scores(&args.out, &rows)?;
    write_json(&args.out.with_extension("json"), &description)?;
    progress.finish(subject.name, &format!("scores in {}", args.out.display()));
    tell_costs(global, &description);
    report_failures(&description)?;
    Ok(ExitCode::SUCCESS)
}

fn subject<'a>(
    case: &'a Case,
    args: &ScoreArgs,
    attacks: &'a [String],
    generated: Option<&'a Tensor>,
    seed: u64,
) -> Result<Subject<'a>> {
    let pair = args.model2.is_some();
    Ok(Subject {
        name: if pair { "dualmd" } else { "model" },
        defense: if pair { "dualmd" } else { "unknown" },
        attacks,
        timesteps: case.generator.first().schedule.sampling_timesteps(STEPS)?,
        generator: &case.generator,
        generated,
        batch: args.batch,
        seed,
        weights: args.weights,
    })
}

/// With `-v`: what each attack cost.
fn tell_costs(global: &Global, description: &serde_json::Value) {
    if global.verbose == 0 {
        return;
    }
    for attack in description["attacks"].as_array().into_iter().flatten() {
        eprintln!(
            "{}: {:.1} s, {} network calls a sample alone",
            attack["attack"].as_str().unwrap_or("?"),
            attack["seconds"].as_f64().unwrap_or(0.0),
            attack["network_calls_per_sample"]
        );
    }
    eprintln!(
        "network calls: {} made, {} saved by sharing",
        description["network_calls_made"], description["network_calls_saved"]
    );
}

/// Warns of failed attacks; an error if none succeeded.
fn report_failures(description: &serde_json::Value) -> Result<()> {
    let failed = failures(description);
    for failure in &failed {
        eprintln!("warning: {failure}");
    }
    let all = description["attacks"].as_array().map_or(0, Vec::len);
    if !failed.is_empty() && failed.len() == all {
        bail!("every attack failed; the reasons are above");
    }
    Ok(())
}

/// Attacks, controls and a report in a folder.
pub fn audit(global: &Global, args: &AuditArgs) -> Result<ExitCode> {
    if args.out.join("experiment.toml").exists() {
        bail_usage!(
            "{} holds a run of `dualmd run`, whose plan an audit would overwrite: choose another folder (-o)",
            args.out.display()
        );
    }
    let case = Case::open(global, &args.score)?;
    let stop = signals::stop_flag()?;
    let attacks = attacks(&args.score.attacks, true, args.score.model2.is_some())?;
    let run = RunFolder(args.out.clone());
    create_folder(&run.0.join("scores"))?;
    let mut progress = Progress::new(view(global.quiet, global.log_format));
    let seed = global.seed.unwrap_or(0);
    let generated = generate(&case, args.score.batch, seed, &mut progress, &stop)?;
    let subject = subject(&case, &args.score, &attacks, Some(&generated), seed)?;
    write_samples(&run.samples(subject.name), &generated)?;
    let (rows, description) = score(
        &subject,
        &case.x,
        &case.labels,
        &case.engine,
        &mut progress,
        &stop,
    )?;
    write_scores(&run.scores(subject.name, "csv"), &rows)?;
    write_json(&run.scores(subject.name, "json"), &description)?;
    tell_costs(global, &description);
    report_failures(&description)?;
    let everything = |set: &ImageSet| (0..set.len()).collect::<Vec<_>>();
    let (inside, outside) = (everything(&case.members), everything(&case.nonmembers));
    write_nearest(
        &run.samples(subject.name),
        &generated,
        Side {
            set: &case.members,
            positions: &inside,
        },
        Side {
            set: &case.nonmembers,
            positions: &outside,
        },
    )?;
    write_exposed(
        &run,
        &[subject.name],
        &case.members.records.iter().collect::<Vec<_>>(),
    )?;
    // In the order of the labels.
    let pictures: Vec<_> = case
        .members
        .records
        .iter()
        .chain(&case.nonmembers.records)
        .map(|r| &r.picture)
        .collect();
    blind::write(&run.0.join("controls.json"), &pictures, &case.labels, seed)?;
    if let Some(split) = &case.split {
        split.save(&run.split())?;
    }
    let models: Vec<String> = args
        .score
        .models()
        .iter()
        .map(|m| m.display().to_string())
        .collect();
    write_json(
        &run.plan(),
        &json!({
            "schema": 1,
            "name": models.join(" + "),
            "created": machine::now(),
            "command": super::run::command_line(),
            "versions": { "dualmd": env!("CARGO_PKG_VERSION"), "libtorch": dualmd_torch::LIBTORCH_VERSION },
            "hardware": {
                "cpu": machine::cpu_name(), "cores": case.engine.threads, "memory_gb": machine::memory_gb(),
                "device": case.engine.device_name(), "dtype": case.engine.precision.name(),
            },
            "seed": seed,
            "data": {
                "source": format!("members {}, non-members {}", args.score.members, args.score.nonmembers),
                "image_size": case.members.shape()[1], "channels": case.members.shape()[0],
                "members": case.members.len(), "nonmembers": case.nonmembers.len(),
            },
            "split_hash": case.split.as_ref().map(|s| s.hash().to_owned()),
            "model": {
                "parameters": case.generator.first().unet.parameters().count(),
                "config": case.generator.first().unet.config(),
            },
            "models": [{ "name": subject.name, "defense": subject.defense, "needs": [] }],
            "audit": { "attacks": attacks, "weights": args.score.weights.as_str() },
        }),
    )?;
    super::report::write(&run.0)?;
    Ok(ExitCode::SUCCESS)
}
