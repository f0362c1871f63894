//! `dualmd attack` and `dualmd audit`: models trained anywhere.

mod asked;
mod case;
mod drawn;

pub use case::undoubled;

use crate::args::{AttackArgs, AuditArgs, Global, ScoreArgs};
use crate::bail_usage;
use crate::plan::SHADOW;
use crate::progress::Progress;
use crate::stages::attack::{failures, write_exposed};
use crate::stages::held::Held;
use crate::stages::sample::{Side, write_nearest};
use crate::stages::score::{self, Kept, Scored, Shadow, Subject, parts, score};
use crate::stages::similar::needs_images;
use crate::stages::{
    RunFolder, blind, copies, create_folder, remove, sets, shadow, train::view, utility, write_json,
};
use crate::{choices, machine, signals};
use anyhow::{Result, bail};
use case::{Case, Sides};
use drawn::{drawing, drawn, generate};
use dualmd_attack::nn::BlackBox;
use dualmd_data::{ImageSet, Record};
use dualmd_metrics::Extractor;
use dualmd_torch::Tensor;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

/// Name of what is audited, in files.
fn name_of(args: &ScoreArgs) -> &'static str {
    if args.model2.is_some() {
        "dualmd"
    } else {
        "model"
    }
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
    let _held = Held::file(&args.out)?;
    // Before hours of work, not after.
    dualmd_files::check_target(&args.out)?;
    let case = Case::open(global, &args.score)?;
    let stop = signals::stop_flag()?;
    let text = case.generator.first().text().is_some();
    let attacks = asked::attacks(&args.score, text, false)?;
    let mut progress = Progress::new(view(global.quiet, global.log_format));
    let seed = global.seed.unwrap_or(0);
    let drawn =
        |a: &String| BlackBox::parse(a).is_some_and(BlackBox::takes_drawn) || needs_images(a);
    let mut draw = |model, images, seed| {
        let (args, progress) = (&args.score, &mut progress);
        generate(&case.engine, model, images, args, seed, progress, &stop)
    };
    let generated = match attacks.iter().any(drawn) {
        true => Some(draw(&case.generator, &case.images, seed)?),
        false => None,
    };
    let of_shadow = match &case.shadow {
        Some((model, images)) if shadow::draws(&attacks) => {
            Some(draw(model, images, shadow::seed(seed))?)
        }
        _ => None,
    };
    let texts = Texts::of(&case);
    let extractor = case.comparing(&attacks)?;
    let generated = [generated.as_ref(), of_shadow.as_ref()];
    let parts = parts::beside(&args.out);
    let subject = subject(
        &case,
        &args.score,
        &attacks,
        generated,
        &texts,
        extractor.as_deref(),
        seed,
        &parts,
    );
    let json = args.out.with_extension("json");
    let description = scored(&case, &subject, &args.out, &json, &mut progress, &stop)?;
    progress.finish(subject.name, &format!("scores in {}", args.out.display()));
    tell_costs(global, &description);
    report_failures(&description)?;
    Ok(ExitCode::SUCCESS)
}

/// Captions of all samples, and of those of the shadow model.
struct Texts<'a> {
    own: Option<Vec<&'a [String]>>,
    shadow: Option<Vec<&'a [String]>>,
}

impl<'a> Texts<'a> {
    fn of(case: &'a Case) -> Self {
        Self {
            own: case.images.texts(),
            shadow: case.shadow.as_ref().and_then(|(_, images)| images.texts()),
        }
    }
}

/// `generated`: by the model, and by its shadow; `parts`: a folder for what is done on the way.
#[allow(clippy::too_many_arguments)]
fn subject<'a>(
    case: &'a Case,
    args: &ScoreArgs,
    attacks: &'a [String],
    generated: [Option<&'a Tensor>; 2],
    texts: &'a Texts<'a>,
    extractor: Option<&'a dyn Extractor>,
    seed: u64,
    parts: &'a Path,
) -> Subject<'a> {
    let pair = args.model2.is_some();
    Subject {
        name: name_of(args),
        defense: if pair { "dualmd" } else { "unknown" },
        attacks,
        generator: &case.generator,
        reference: case.reference.as_ref(),
        shadow: case.shadow.as_ref().map(|(generator, images)| Shadow {
            generator,
            x: &images.x,
            labels: &images.labels,
            captions: texts.shadow.as_deref(),
            generated: generated[1],
        }),
        generated: generated[0],
        captions: texts.own.as_deref(),
        extractor,
        drawing: drawing(&args.draw),
        known: args.known_fraction,
        batch: args.batch,
        seed,
        weights: args.weights,
        parts,
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
        mut description,
        kept,
    } = score(
        subject,
        &case.images.x,
        &case.images.labels,
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
    let unlike = case.images.unlike();
    if let Some(said) = &unlike {
        progress.say(&format!("warning: {said}"));
    }
    if let Some(warnings) = description["warnings"].as_array_mut() {
        for said in unlike.into_iter().chain(case.images.notes()) {
            if !warnings.iter().any(|w| *w == said) {
                warnings.push(said.into());
            }
        }
    }
    score::write(csv, json, &rows, &description)?;
    parts::remove(csv)?;
    Ok(description)
}

/// With `-v`: what each attack cost.
fn tell_costs(global: &Global, description: &serde_json::Value) {
    if global.verbose == 0 {
        return;
    }
    for attack in description["attacks"].as_array().into_iter().flatten() {
        tell!(
            "{}: {:.1} s, {} network calls a sample alone",
            attack["attack"].as_str().unwrap_or("?"),
            attack["seconds"].as_f64().unwrap_or(0.0),
            attack["network_calls_per_sample"]
        );
    }
    tell!(
        "network calls: {} made, {} saved by sharing",
        description["network_calls_made"],
        description["network_calls_saved"]
    );
}

/// Warns of failed attacks; an error if none succeeded.
fn report_failures(description: &serde_json::Value) -> Result<()> {
    let failed = failures(description);
    for failure in &failed {
        tell!("warning: {failure}");
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
    (generated, per_prompt): (&Tensor, usize),
    for_members: &Tensor,
    seed: u64,
) -> Result<()> {
    let Sides {
        members: inside,
        nonmembers: outside,
        x,
        ..
    } = &case.images;
    let sides = case.images.sides();
    let (features, weights) = case.features();
    let device = case.engine.device;
    let (n, others) = (inside.len() as i64, outside.len() as i64);
    if n.min(others) < 2 {
        return Ok(());
    }
    let members = x.narrow(0, 0, n);
    let heldout = x.narrow(0, n, others);
    let mut measured = json!({});
    if let Some(extractor) = utility::extractor(features, weights, sides, device)? {
        let features = |x: &Tensor| utility::extract(extractor.as_ref(), &x.to_device(device));
        let real = utility::Real {
            heldout: features(&heldout)?.features,
            members: Some(features(&members)?.features),
        };
        measured = utility::measure(&features(for_members)?, &real, seed);
    }
    let likened = copies::likenesses(choices::Copies::Auto, None, sides)?;
    let ids: Vec<&str> = inside.records.iter().map(|r| r.id.as_str()).collect();
    let per_prompt = case.images.texts().map(|_| per_prompt);
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
    let _held = Held::run(&args.out)?;
    let case = Case::open(global, &args.score)?;
    let stop = signals::stop_flag()?;
    let text = case.generator.first().text().is_some();
    let attacks = asked::attacks(&args.score, text, true)?;
    let run = RunFolder(args.out.clone());
    // An earlier audit's plan is not to speak of what this one has drawn and scored when it is stopped.
    remove(&run.plan())?;
    create_folder(&run.0.join("scores"))?;
    let mut progress = Progress::new(view(global.quiet, global.log_format));
    let seed = global.seed.unwrap_or(0);
    let mut draw = |model, images, folder: &Path, seed| {
        let (args, progress) = (&args.score, &mut progress);
        drawn(
            &case.engine,
            model,
            images,
            args,
            folder,
            seed,
            progress,
            &stop,
        )
    };
    let folder = run.samples(name_of(&args.score));
    let generated = draw(&case.generator, &case.images, &folder, seed)?;
    let of_shadow = match &case.shadow {
        Some((model, images)) if shadow::draws(&attacks) => {
            let folder = run.0.join(SHADOW);
            create_folder(&folder)?;
            Some(draw(model, images, &folder, shadow::seed(seed))?)
        }
        _ => None,
    };
    let texts = Texts::of(&case);
    let extractor = case.comparing(&attacks)?;
    let both = [Some(&generated), of_shadow.as_ref()];
    let name = name_of(&args.score);
    let (csv, json) = (run.scores(name, "csv"), run.scores(name, "json"));
    let parts = parts::beside(&csv);
    let subject = subject(
        &case,
        &args.score,
        &attacks,
        both,
        &texts,
        extractor.as_deref(),
        seed,
        &parts,
    );
    // As in a run: what is drawn for strangers' captions says nothing about what was learnt.
    let for_members = if text {
        generated.narrow(
            0,
            0,
            (case.images.members.len() * args.score.draw.per_prompt) as i64,
        )
    } else {
        generated.shallow_clone()
    };
    // Attacks do not wait for what the images are worth.
    let drawn = (&generated, args.score.draw.per_prompt);
    if let Err(error) = write_utility(&case, &run, subject.name, drawn, &for_members, seed) {
        progress.say(&format!(
            "warning: what the images are worth was not measured: {error:#}"
        ));
        let _ = remove(&utility_file(&run, subject.name));
    }
    let description = scored(&case, &subject, &csv, &json, &mut progress, &stop)?;
    tell_costs(global, &description);
    report_failures(&description)?;
    let everything = |set: &ImageSet| (0..set.len()).collect::<Vec<_>>();
    let Sides {
        members,
        nonmembers,
        labels,
        ..
    } = &case.images;
    let (inside, outside) = (everything(members), everything(nonmembers));
    write_nearest(
        &run.samples(subject.name),
        &for_members,
        Side {
            set: members,
            positions: &inside,
        },
        Side {
            set: nonmembers,
            positions: &outside,
        },
    )?;
    let known: Vec<&Record> = members.records.iter().collect();
    write_exposed(&run, &[subject.name], &known)?;
    sets::write(&run, subject.name, labels, seed)?;
    // In the order of the labels.
    let records: Vec<&Record> = known.into_iter().chain(&nonmembers.records).collect();
    blind::write(&run.0.join("controls.json"), &records, labels, seed)?;
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
                "image_size": members.shape()[1], "channels": members.shape()[0],
                "members": members.len(), "nonmembers": nonmembers.len(),
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
            "shadow": case.shadow.as_ref().map(|(model, images)| json!({
                "weights_blake3": model.fingerprint(), "members": images.members.len(), "nonmembers": images.nonmembers.len(),
            })),
        }),
    )?;
    super::report::write(&run.0)?;
    Ok(ExitCode::SUCCESS)
}
