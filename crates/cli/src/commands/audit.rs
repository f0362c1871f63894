//! `dualmd attack` and `dualmd audit`: models trained anywhere.

use crate::args::{AttackArgs, AuditArgs, Global, ScoreArgs};
use crate::bail_usage;
use crate::choices::Order;
use crate::engine::Engine;
use crate::progress::{Progress, ProgressEvent};
use crate::stages::attack::{failures, weight_set, write_exposed};
use crate::stages::pictures::tensor_of_all;
use crate::stages::sample::{
    Generator, Prompts, Side, write_nearest, write_prompts, write_samples,
};
use crate::stages::score::{Drawing, Kept, Label, Scored, Subject, check_name, score};
use crate::stages::similar::{self, needs_images};
use crate::stages::text::{Encoded, captions_of};
use crate::stages::{
    RunFolder, blind, copies, create_folder, remove, sets, train::view, utility, write_json,
};
use crate::{choices, machine, signals};
use anyhow::{Context, Result, bail};
use dualmd_attack::nn::BlackBox;
use dualmd_attack::similarity::Similarity;
use dualmd_attack::{Needs, check_prompts, needs, nn};
use dualmd_audit::write_scores;
use dualmd_data::{ImageSet, LoadOptions, Record, Split, dedupe, load};
use dualmd_diffusion::sampler::initial_noise;
use dualmd_metrics::Extractor;
use dualmd_torch::weights::read_npy;
use dualmd_torch::{Device, Tensor};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Images an audit draws from the model for the black-box attack.
const GENERATED: usize = 256;
/// The same from a text-to-image model: so many for each caption (Pang and Wang 2025), ...
const PER_PROMPT: usize = 3;
/// ... at this guidance.
const GUIDANCE: f64 = 7.5;
/// Steps of those images, ...
const STEPS: usize = 50;
/// ... of this sampler, ...
const SAMPLER: choices::Sampler = choices::Sampler::Ddim;
/// ... by a pair of which this model begins.
const ORDER: Order = Order::First;

/// Everything both commands need.
struct Case {
    engine: Engine,
    generator: Generator,
    reference: Option<Generator>,
    members: ImageSet,
    nonmembers: ImageSet,
    labels: Vec<Label>,
    x: Tensor,
    /// Of every sample, for a text-to-image model.
    captions: Option<Vec<Vec<String>>>,
    split: Option<Split>,
    /// What images are compared by, and where its weights are.
    features: (choices::Features, Option<PathBuf>),
}

impl Case {
    fn open(global: &Global, args: &ScoreArgs) -> Result<Self> {
        let engine = Engine::exact(global)?;
        let generator = Generator::open(&args.models(), weight_set(args.weights), &engine)?;
        let reference = match &args.reference {
            Some(folder) => {
                let set = weight_set(args.weights);
                let reference = Generator::open(std::slice::from_ref(folder), set, &engine)?;
                check_reference(&generator, &reference, folder)?;
                Some(reference)
            }
            None => None,
        };
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
            channels: shape.and_then(|s| u8::try_from(s[0]).ok()).or(Some(3)),
            split: split.as_ref(),
            group_column: args.group_column.as_deref(),
            caption_column: args.caption_column.as_deref(),
            ..LoadOptions::default()
        };
        let (members, nonmembers) = (
            undoubled(&args.members, &options)?,
            undoubled(&args.nonmembers, &options)?,
        );
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
        let x = Tensor::cat(&[tensor_of_all(&members), tensor_of_all(&nonmembers)], 0);
        let captions = match generator.first().text() {
            Some(_) => Some(
                [&members, &nonmembers]
                    .into_iter()
                    .flat_map(|set| set.records.iter().map(move |r| (set, r)))
                    .map(|(set, record)| Ok(captions_of(set, record)?.to_vec()))
                    .collect::<Result<Vec<_>>>()?,
            ),
            None => None,
        };
        Ok(Self {
            engine,
            generator,
            reference,
            captions,
            members,
            nonmembers,
            labels,
            x,
            split,
            features: (args.features, args.features_weights.clone()),
        })
    }
}

/// An image set without exact duplicates.
///
/// # Errors
/// It cannot be read or holds no images.
pub fn undoubled(data: &str, options: &LoadOptions<'_>) -> Result<ImageSet> {
    let mut set = load(data, options)?;
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
}

impl Case {
    /// The captions of every sample.
    fn texts(&self) -> Option<Vec<&[String]>> {
        let captions = self.captions.as_ref()?;
        Some(captions.iter().map(Vec::as_slice).collect())
    }

    /// What images that captions draw, and those of `nn-features`, are compared by: pixels where `--features` gives nothing.
    fn comparing(&self, attacks: &[String]) -> Result<Option<Box<dyn Extractor>>> {
        if self.captions.is_none() && !attacks.iter().any(|a| a == nn::FEATURES) {
            return Ok(None);
        }
        let [_, height, width] = self.members.shape();
        let (features, weights) = (self.features.0, self.features.1.as_deref());
        let sides = [height, width];
        utility::extractor_or_pixels(features, weights, sides, self.engine.device).map(Some)
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

/// A reference model answers the same questions as the target.
fn check_reference(target: &Generator, reference: &Generator, folder: &Path) -> Result<()> {
    let (a, b) = (target.first(), reference.first());
    if a.schedule().config() != b.schedule().config() {
        bail_usage!(
            "{} has another noise schedule than the model: their losses at one timestep are not comparable",
            folder.display()
        );
    }
    if a.sample_shape() != b.sample_shape() {
        bail_usage!(
            "{} takes inputs of shape {:?}, the model of {:?}",
            folder.display(),
            b.sample_shape(),
            a.sample_shape()
        );
    }
    if target.fingerprint() == reference.fingerprint() {
        bail_usage!(
            "{} is the model itself: a reference model is one that was trained on other images",
            folder.display()
        );
    }
    Ok(())
}

/// Attacks by name; all usual ones that fit if none are named. Of a pair, what it generates is attacked and what both models
/// together would give away; the attacks on one model only if they are asked for.
fn attacks(args: &ScoreArgs, text: bool, black_box: bool) -> Result<Vec<String>> {
    let (named, pair) = (&args.attacks, args.model2.is_some());
    if named.is_empty() {
        let fits = |a: &dualmd_attack::catalogue::Entry| match a.needs {
            Needs::Nothing | Needs::Known => !pair,
            Needs::Pair => pair,
            Needs::Reference => !pair && args.reference.is_some(),
        };
        let mut all: Vec<String> = dualmd_attack::ALL
            .iter()
            .filter(|a| (a.usual || text && a.usual_with_prompts) && fits(a))
            .map(|a| a.name.to_owned())
            .collect();
        if black_box || pair {
            all.push(nn::NAME.into());
            if text {
                all.push(Similarity::Mean.name().into());
            }
        }
        if pair && !text {
            all.extend(["rounds@2", "rounds@3"].map(String::from));
        }
        return Ok(all);
    }
    for name in named {
        check_name(name)?;
        let by_captions = similar::check(name, text, args.features, STEPS)?;
        if !by_captions && BlackBox::parse(name).is_none() {
            check_prompts(name, text)?;
        }
        if crate::plan::takes_pair(name) && !pair {
            bail_usage!(
                "attack {name} takes the two models of a DualMD pair: name both model folders"
            );
        }
        if needs(name) == Needs::Reference && args.reference.is_none() {
            bail_usage!(
                "attack {name} compares with a reference model, trained like this one on other images: name it (--reference MODEL)"
            );
        }
    }
    Ok(named.clone())
}

fn generate(
    case: &Case,
    batch: usize,
    seed: u64,
    progress: &mut Progress,
    stop: &AtomicBool,
) -> Result<Tensor> {
    let model = case.generator.first();
    let prompts = match (model.text(), case.texts()) {
        (Some(text), Some(captions)) => {
            let encoded = Encoded::new(text, &captions)?;
            Some(Prompts {
                condition: encoded.main(PER_PROMPT),
                nothing: encoded.nothing(),
                guidance: GUIDANCE,
            })
        }
        _ => None,
    };
    let n = prompts
        .as_ref()
        .map_or(GENERATED, |p| p.condition.embedding.size()[0] as usize);
    let shape = model
        .sample_shape()
        .unwrap_or_else(|| case.members.shape().map(|d| d as i64));
    let noise = initial_noise(seed, n, shape, case.engine.device);
    let began = std::time::Instant::now();
    let generated = case.generator.sample(
        &noise,
        SAMPLER,
        STEPS,
        ORDER,
        batch,
        seed,
        prompts.as_ref(),
        |done| {
            progress.update(&ProgressEvent {
                model: "sample".into(),
                step: done as u64,
                total: n as u64,
                loss: None,
                images_per_second: done as f64 / began.elapsed().as_secs_f64(),
            });
            !stop.load(Ordering::Relaxed)
        },
    )?;
    // The attack compares on the CPU, where the samples are.
    Ok(generated.to_device(Device::Cpu))
}

/// Name of what is audited, in files.
fn name_of(args: &ScoreArgs) -> &'static str {
    if args.model2.is_some() {
        "dualmd"
    } else {
        "model"
    }
}

/// The images that an audit looks at, drawn now or by an earlier call that drew the same ones: in `folder`, with what they depend
/// on and, of a text-to-image model, what each was drawn for.
fn drawn(
    case: &Case,
    args: &ScoreArgs,
    folder: &Path,
    seed: u64,
    progress: &mut Progress,
    stop: &AtomicBool,
) -> Result<Tensor> {
    let captions = case.captions.as_ref().map(|all| {
        let first = all.iter().map(|own| own.first());
        first.collect::<Vec<_>>()
    });
    let of = json!({
        "weights_blake3": case.generator.fingerprint(), "weights": args.weights.as_str(), "dtype": case.engine.precision.name(),
        "seed": seed, "images": GENERATED, "steps": STEPS, "guidance": GUIDANCE, "per_prompt": PER_PROMPT, "captions": captions,
        "shape": case.members.shape(),
    });
    let description = folder.join("drawn.json");
    let before = std::fs::read(&description).ok();
    let before = before.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    if before.as_ref() == Some(&of)
        && let Ok(images) = read_npy(&folder.join("samples.npy"))
    {
        progress.say("the images that an earlier call drew are used again");
        return Ok(images);
    }
    let generated = generate(case, args.batch, seed, progress, stop)?;
    // Until the new images are whole it must not speak of them.
    remove(&description)?;
    write_samples(folder, &generated)?;
    if let Some(captions) = &case.captions {
        let each = case.labels.iter().zip(captions);
        let asked = each.map(|(label, own)| (label.id.as_str(), label.member, &own[..]));
        write_prompts(folder, asked, PER_PROMPT)?;
    }
    write_json(&description, &of)?;
    Ok(generated)
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
    let text = case.generator.first().text().is_some();
    let attacks = attacks(&args.score, text, false)?;
    let mut progress = Progress::new(view(global.quiet, global.log_format));
    let seed = global.seed.unwrap_or(0);
    let drawn =
        |a: &String| BlackBox::parse(a).is_some_and(BlackBox::takes_drawn) || needs_images(a);
    let generated = if attacks.iter().any(drawn) {
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
    let captions = case.texts();
    let extractor = case.comparing(&attacks)?;
    let subject = subject(
        &case,
        &args.score,
        &attacks,
        generated.as_ref(),
        captions.as_deref(),
        extractor.as_deref(),
        seed,
    );
    let json = args.out.with_extension("json");
    let description = scored(&case, &subject, &args.out, &json, &mut progress, &stop)?;
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
    captions: Option<&'a [&'a [String]]>,
    extractor: Option<&'a dyn Extractor>,
    seed: u64,
) -> Subject<'a> {
    let pair = args.model2.is_some();
    Subject {
        name: name_of(args),
        defense: if pair { "dualmd" } else { "unknown" },
        attacks,
        generator: &case.generator,
        reference: case.reference.as_ref(),
        generated,
        captions,
        extractor,
        drawing: Drawing {
            n: GENERATED,
            steps: STEPS,
            sampler: SAMPLER,
            order: ORDER,
            per_prompt: PER_PROMPT,
            guidance: GUIDANCE,
        },
        known: args.known_fraction,
        batch: args.batch,
        seed,
        weights: args.weights,
    }
}

/// Scores to the two files, keeping what an earlier run left in them that still holds; returns the description.
fn scored(
    case: &Case,
    subject: &Subject<'_>,
    csv: &Path,
    json: &Path,
    progress: &mut Progress,
    stop: &AtomicBool,
) -> Result<serde_json::Value> {
    let kept = Kept::read(csv, json);
    let Scored {
        rows,
        description,
        kept,
    } = score(
        subject,
        &case.x,
        &case.labels,
        kept,
        &case.engine,
        progress,
        stop,
    )?;
    if kept > 0 {
        progress.say(&format!(
            "{kept} of {} attacks: scores of the earlier run kept, nothing they depend on has changed",
            subject.attacks.len()
        ));
    }
    write_scores(csv, &rows)?;
    write_json(json, &description)?;
    Ok(description)
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

/// What the generated images are worth, where the weights of a feature network are at hand, and how many are copies.
/// `for_members`: those drawn for members' captions, all of an unconditional model.
fn write_utility(
    case: &Case,
    run: &RunFolder,
    name: &str,
    generated: &Tensor,
    for_members: &Tensor,
    seed: u64,
) -> Result<()> {
    let [_, height, width] = case.members.shape();
    let (features, weights) = (case.features.0, case.features.1.as_deref());
    let device = case.engine.device;
    let (n, others) = (case.members.len() as i64, case.nonmembers.len() as i64);
    if n.min(others) < 2 {
        return Ok(());
    }
    let members = case.x.narrow(0, 0, n);
    let heldout = case.x.narrow(0, n, others);
    let mut measured = json!({});
    if let Some(extractor) = utility::extractor(features, weights, [height, width], device)? {
        let features = |x: &Tensor| utility::extract(extractor.as_ref(), &x.to_device(device));
        let real = utility::Real {
            heldout: features(&heldout)?.features,
            members: Some(features(&members)?.features),
        };
        measured = utility::measure(&features(for_members)?, &real, seed);
    }
    let likened = copies::likenesses(choices::Copies::Auto, None, [height, width])?;
    let ids: Vec<&str> = case.members.records.iter().map(|r| r.id.as_str()).collect();
    let per_prompt = case.captions.as_ref().map(|_| PER_PROMPT);
    measured["copies"] = copies::Sides::new(likened, &members, &heldout)?
        .measure(generated, per_prompt, &ids, seed)?;
    create_folder(&run.0.join("utility"))?;
    write_json(&utility_file(run, name), &measured)
}

fn utility_file(run: &RunFolder, name: &str) -> PathBuf {
    run.0.join("utility").join(format!("{name}.json"))
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
    let text = case.generator.first().text().is_some();
    let attacks = attacks(&args.score, text, true)?;
    let run = RunFolder(args.out.clone());
    create_folder(&run.0.join("scores"))?;
    let mut progress = Progress::new(view(global.quiet, global.log_format));
    let seed = global.seed.unwrap_or(0);
    let generated = drawn(
        &case,
        &args.score,
        &run.samples(name_of(&args.score)),
        seed,
        &mut progress,
        &stop,
    )?;
    let captions = case.texts();
    let extractor = case.comparing(&attacks)?;
    let subject = subject(
        &case,
        &args.score,
        &attacks,
        Some(&generated),
        captions.as_deref(),
        extractor.as_deref(),
        seed,
    );
    // As in a run: what is drawn for strangers' captions says nothing about what was learnt.
    let for_members = if text {
        generated.narrow(0, 0, (case.members.len() * PER_PROMPT) as i64)
    } else {
        generated.shallow_clone()
    };
    // Attacks do not wait for what the images are worth.
    if let Err(error) = write_utility(&case, &run, subject.name, &generated, &for_members, seed) {
        progress.say(&format!(
            "warning: what the images are worth was not measured: {error:#}"
        ));
        let _ = remove(&utility_file(&run, subject.name));
    }
    let (csv, json) = (
        run.scores(subject.name, "csv"),
        run.scores(subject.name, "json"),
    );
    let description = scored(&case, &subject, &csv, &json, &mut progress, &stop)?;
    tell_costs(global, &description);
    report_failures(&description)?;
    let everything = |set: &ImageSet| (0..set.len()).collect::<Vec<_>>();
    let (inside, outside) = (everything(&case.members), everything(&case.nonmembers));
    write_nearest(
        &run.samples(subject.name),
        &for_members,
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
    sets::write(&run, subject.name, &case.labels, seed)?;
    // In the order of the labels.
    let records: Vec<&Record> = case
        .members
        .records
        .iter()
        .chain(&case.nonmembers.records)
        .collect();
    blind::write(&run.0.join("controls.json"), &records, &case.labels, seed)?;
    match &case.split {
        Some(split) => split.save(&run.split())?,
        // An earlier call's halves are not this one's.
        None => remove(&run.split())?,
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
                "parameters": case.generator.first().parameter_count(),
                "config": case.generator.first().config()?,
            },
            "auditor": args.auditor,
            "models": [{
                "name": subject.name, "defense": subject.defense, "needs": [],
                "weights_blake3": case.generator.fingerprint(),
            }],
            "audit": {
                "attacks": attacks, "weights": args.score.weights.as_str(), "known_fraction": args.score.known_fraction,
                "compat": args.compat,
            },
        }),
    )?;
    super::report::write(&run.0)?;
    Ok(ExitCode::SUCCESS)
}
