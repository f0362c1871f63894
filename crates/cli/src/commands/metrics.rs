//! `dualmd metrics`: generated images against real ones.

use crate::args::{Global, MetricsArgs};
use crate::choices::Features as Choice;
use crate::engine::Engine;
use crate::stages::copies::{self, Sides};
use crate::stages::pictures::{self, bytes_of_all};
use crate::stages::utility::{Real, extract, extractor, measure};
use crate::{bail_usage, choices};
use anyhow::{Context, Result, bail};
use dualmd_data::{ImageSet, LoadOptions, Split};
use dualmd_metrics::{Gaussian, Likeness, frechet_distance};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Reads, compares, prints.
pub fn metrics(global: &Global, args: &MetricsArgs) -> Result<ExitCode> {
    let counts = args.members.is_some() && args.copies != choices::Copies::None;
    if args.features == Choice::Auto || (args.features == Choice::None && !counts) {
        bail_usage!(
            "--features {}: name what the images are compared by, or name --members to count copies of",
            args.features
        );
    }
    let engine = Engine::exact(global)?;
    let split = args.split.as_deref().map(Split::load).transpose()?;
    let load = |data: &str| read(data, args, split.as_ref());
    let (generated, real) = (load(&args.generated)?, load(&args.real)?);
    let members = args.members.as_deref().map(load).transpose()?;
    let sets: Vec<&ImageSet> = [&generated, &real].into_iter().chain(&members).collect();
    let differ = different_sizes(&sets);
    let pixels_asked =
        args.features == Choice::Pixels || (counts && args.copies == choices::Copies::Pixels);
    if let Some(differ) = differ.as_ref().filter(|_| pixels_asked) {
        bail!("{differ}");
    }
    let [_, height, width] = generated.shape();
    let size = [height, width];
    let seed = global.seed.unwrap_or(0);
    let mut measured = json!({ "missing": [] });
    if let Some(extractor) = extractor(args.features, args.weights.as_deref(), size, engine.device)?
    {
        let features = |set: &ImageSet| {
            extract(
                extractor.as_ref(),
                &bytes_of_all(set).to_device(engine.device),
            )
            .with_context(|| format!("features of {}", set.source))
        };
        let sides = Real {
            heldout: features(&real)?.features,
            members: members
                .as_ref()
                .map(features)
                .transpose()?
                .map(|m| m.features),
        };
        let drawn = features(&generated)?;
        measured = measure(&drawn, &sides, seed);
        if let Some(path) = &args.save_statistics {
            Gaussian::of(&sides.heldout).write_npz(path)?;
        }
        if let Some(path) = &args.statistics {
            let theirs = Gaussian::read_npz(path)?;
            let found = frechet_distance(&Gaussian::of(&drawn.features), &theirs)
                .with_context(|| format!("the distance to {}", path.display()))?;
            measured["frechet_to_statistics"] =
                json!({ "file": path, "n": theirs.n(), "distance": found });
        }
    } else if args.statistics.is_some() || args.save_statistics.is_some() {
        bail_usage!("--statistics are of features: choose some with --features");
    }
    if let Some(members) = members.filter(|_| counts) {
        let mut likened = copies::likenesses(args.copies, args.copies_weights.as_deref(), size)?;
        if let Some(differ) = &differ {
            likened.retain(|(_, likeness)| *likeness != Likeness::Rmse);
            miss(&mut measured, format!("copies by pixels: {differ}"));
        }
        let ids: Vec<&str> = members.records.iter().map(|r| r.id.as_str()).collect();
        let sides = Sides::new(likened, &bytes_of_all(&members), &bytes_of_all(&real))?;
        measured["copies"] = sides.measure(&bytes_of_all(&generated), None, &ids, seed)?;
    }
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&measured)?)?;
    } else {
        print(&measured)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Adds to what is not measured, and why.
fn miss(measured: &mut Value, reason: String) {
    if let Some(missing) = measured["missing"].as_array_mut() {
        missing.push(reason.into());
    }
}

/// What to say where not all sets have one size, and are compared pixel by pixel.
fn different_sizes(sets: &[&ImageSet]) -> Option<String> {
    let size = |set: &ImageSet| {
        let [_, height, width] = set.shape();
        (width, height)
    };
    let first = sets.first()?;
    let other = sets.iter().find(|set| size(set) != size(first))?;
    let ((w, h), (ow, oh)) = (size(first), size(other));
    Some(format!(
        "the pictures of {} are {w}x{h} and those of {} {ow}x{oh}; pixels compare between pictures of one size only, to which --image-size \
         brings all",
        first.source, other.source
    ))
}

/// A set as it is: at its own size and with its own channels. The networks see each picture as it is, as pytorch-fid has it; to
/// bring one set to the size or the grey of the other would measure something else (only `--image-size` does, to all alike).
fn read(data: &str, args: &MetricsArgs, split: Option<&Split>) -> Result<ImageSet> {
    let set = pictures::load(
        data,
        &LoadOptions {
            image_size: args.image_size,
            split,
            ..LoadOptions::default()
        },
    )?;
    if set.is_empty() {
        bail!("{data} holds no images");
    }
    Ok(set)
}

fn print(measured: &Value) -> Result<()> {
    if measured["features"].is_string() {
        print_distances(measured)?;
    }
    for found in measured["copies"].as_array().into_iter().flatten() {
        print_copies(found)?;
    }
    for reason in measured["missing"].as_array().into_iter().flatten() {
        outln!("not measured: {}", reason.as_str().unwrap_or("?"))?;
    }
    Ok(())
}

fn print_copies(found: &Value) -> Result<()> {
    let number = |pointer: &str| {
        found
            .pointer(pointer)
            .and_then(Value::as_f64)
            .unwrap_or(0.0)
    };
    let side = if found["likeness"] == "rmse" {
        "below"
    } else {
        "above"
    };
    outln!(
        "copies by {}: {} of {} generated images, of {} different members ({} {side} {:.4}, passed by {:.2} % of real images it never saw; {:.1} % to {:.1} %)",
        found["features"].as_str().unwrap_or("?"),
        number("/found/copies"),
        number("/n_generated"),
        number("/found/distinct"),
        found["likeness"].as_str().unwrap_or("?"),
        number("/found/threshold"),
        100.0 * number("/false_copy_rate"),
        100.0 * number("/found/share_ci/0"),
        100.0 * number("/found/share_ci/1"),
    )?;
    outln!(
        "  at {} images a side: of members {}, of images it never saw {} (thresholds that {:.2} % of such images pass)",
        number("/control/n"),
        number("/control/members/copies"),
        number("/control/heldout/copies"),
        100.0 * number("/control/false_copy_rate"),
    )
}

fn print_distances(measured: &Value) -> Result<()> {
    let number = |pointer: &str| measured.pointer(pointer).and_then(Value::as_f64);
    let line = |name: &str, value: Option<f64>, rest: String| match value {
        Some(value) => outln!("{name:<24} {value:>10.4}  {rest}"),
        None => Ok(()),
    };
    outln!(
        "{} generated, {} real images, features {}",
        measured["n_generated"],
        measured["n_real"],
        measured["features"].as_str().unwrap_or("?")
    )?;
    let file = measured["frechet_to_statistics"]["file"].as_str();
    line(
        "FD to the statistics",
        number("/frechet_to_statistics/distance/value"),
        file.map(|f| format!("({f})")).unwrap_or_default(),
    )?;
    let range = |low: &str, high: &str| match (number(low), number(high)) {
        (Some(low), Some(high)) => format!("{low:.4} to {high:.4}"),
        _ => String::new(),
    };
    line(
        "Frechet distance",
        number("/frechet/distance/value"),
        range("/frechet/ci/0", "/frechet/ci/1"),
    )?;
    let n = format!("{} images a side", measured["frechet"]["floor"]["n"]);
    line(
        "  generated and real",
        number("/frechet/floor/generated_real/mean"),
        n.clone(),
    )?;
    line(
        "  real and real",
        number("/frechet/floor/real_real/mean"),
        n.clone(),
    )?;
    line("  excess", number("/frechet/floor/excess"), n)?;
    line("KID", number("/kid/full"), {
        let se =
            number("/kid/full_se").map_or(String::new(), |se| format!("standard error {se:.4}"));
        format!("unbiased; {se}")
    })?;
    line("Inception score", number("/inception_score/mean"), {
        format!(
            "one split, at most {}",
            measured["inception_score"]["upper_bound"]
        )
    })?;
    line(
        "precision",
        number("/precision_recall/precision"),
        String::new(),
    )?;
    line("recall", number("/precision_recall/recall"), String::new())?;
    line(
        "density",
        number("/density_coverage/density"),
        String::new(),
    )?;
    line(
        "coverage",
        number("/density_coverage/coverage"),
        String::new(),
    )?;
    line("gap to members", number("/gap/gap"), {
        let p = number("/gap/p_value").map_or(String::new(), |p| format!("p = {p:.3}"));
        format!("below 0: nearer to members; {p}")
    })?;
    Ok(())
}
