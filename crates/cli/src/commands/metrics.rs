//! `dualmd metrics`: generated images against real ones.

use crate::args::{Global, MetricsArgs};
use crate::choices::Features as Choice;
use crate::engine::Engine;
use crate::stages::copies::{self, Sides};
use crate::stages::pictures::tensor_of_all;
use crate::stages::utility::{Real, extract, extractor, measure};
use crate::{bail_usage, choices};
use anyhow::{Context, Result, bail};
use dualmd_data::{ImageSet, LoadOptions, Split, load};
use dualmd_metrics::{Gaussian, frechet_distance};
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
    let generated = read(&args.generated, args, split.as_ref(), None)?;
    let shape = generated.shape();
    let real = read(&args.real, args, split.as_ref(), Some(shape))?;
    let members = args
        .members
        .as_deref()
        .map(|data| read(data, args, split.as_ref(), Some(shape)))
        .transpose()?;
    let size = [shape[1], shape[2]];
    let seed = global.seed.unwrap_or(0);
    let mut measured = json!({});
    if let Some(extractor) = extractor(args.features, args.weights.as_deref(), size, engine.device)?
    {
        let features = |set: &ImageSet| {
            extract(
                extractor.as_ref(),
                &tensor_of_all(set).to_device(engine.device),
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
        let likened = copies::likenesses(args.copies, args.copies_weights.as_deref(), size)?;
        let ids: Vec<&str> = members.records.iter().map(|r| r.id.as_str()).collect();
        let sides = Sides::new(likened, &tensor_of_all(&members), &tensor_of_all(&real))?;
        measured["copies"] = sides.measure(&tensor_of_all(&generated), None, &ids, seed)?;
    }
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&measured)?)?;
    } else {
        print(&measured)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read(
    data: &str,
    args: &MetricsArgs,
    split: Option<&Split>,
    like: Option<[usize; 3]>,
) -> Result<ImageSet> {
    // Every set is brought to the size of the generated images, or a difference of resolution would be measured.
    let side = args
        .image_size
        .or_else(|| like.and_then(|[_, h, w]| (h == w).then(|| u32::try_from(h).ok()).flatten()));
    let set = load(
        data,
        &LoadOptions {
            image_size: side,
            channels: like.map(|[c, _, _]| u8::try_from(c).unwrap_or(3)),
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
    for reason in measured["missing"].as_array().into_iter().flatten() {
        outln!("not measured: {}", reason.as_str().unwrap_or("?"))?;
    }
    Ok(())
}
