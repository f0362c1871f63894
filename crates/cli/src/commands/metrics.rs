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
use dualmd_record::utility::{Copying, Frechet, ImageQuality, Utility};
use serde::Serialize;
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
    let mut measured = Measured {
        utility: Utility {
            missing: Some(Vec::new()),
            ..Utility::default()
        },
        frechet_to_statistics: None,
    };
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
        measured.utility = measure(&drawn, &sides, seed);
        if let Some(path) = &args.save_statistics {
            Gaussian::of(&sides.heldout).write_npz(path)?;
        }
        if let Some(path) = &args.statistics {
            let theirs = Gaussian::read_npz(path)?;
            let distance = frechet_distance(&Gaussian::of(&drawn.features), &theirs)
                .with_context(|| format!("the distance to {}", path.display()))?;
            measured.frechet_to_statistics = Some(ToStatistics {
                file: path.display().to_string(),
                n: theirs.n(),
                distance,
            });
        }
    } else if args.statistics.is_some() || args.save_statistics.is_some() {
        bail_usage!("--statistics are of features: choose some with --features");
    }
    if let Some(members) = members.filter(|_| counts) {
        let mut likened = copies::likenesses(args.copies, args.copies_weights.as_deref(), size)?;
        if let Some(differ) = &differ {
            likened.retain(|(_, likeness)| *likeness != Likeness::Rmse);
            let missing = measured.utility.missing.get_or_insert_default();
            missing.push(format!("copies by pixels: {differ}"));
        }
        let ids: Vec<&str> = members.records.iter().map(|r| r.id.as_str()).collect();
        let sides = Sides::new(likened, &bytes_of_all(&members), &bytes_of_all(&real))?;
        let copies = sides.measure(&bytes_of_all(&generated), None, &ids, seed)?;
        measured.utility.copies = Some(copies);
    }
    if args.json {
        // As a value, whose keys are in alphabetical order as in the files of a run.
        let measured = serde_json::to_value(&measured)?;
        outln!("{}", serde_json::to_string_pretty(&measured)?)?;
    } else {
        print(&measured)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is printed: what `utility/MODEL.json` of a run holds, and the distance to another program's statistics.
#[derive(Debug, Serialize)]
struct Measured {
    #[serde(flatten)]
    utility: Utility,
    #[serde(skip_serializing_if = "Option::is_none")]
    frechet_to_statistics: Option<ToStatistics>,
}

/// The distance of generated images to the statistics in a file.
#[derive(Debug, Serialize)]
struct ToStatistics {
    file: String,
    /// Images that the statistics are of, where the file says.
    n: Option<usize>,
    distance: Frechet,
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

fn print(measured: &Measured) -> Result<()> {
    let utility = &measured.utility;
    if let Some(images) = &utility.images {
        print_distances(images, measured.frechet_to_statistics.as_ref())?;
    }
    for found in utility.copies.iter().flatten() {
        print_copies(found)?;
    }
    for reason in utility.missing.iter().flatten() {
        outln!("not measured: {reason}")?;
    }
    Ok(())
}

fn print_copies(c: &Copying) -> Result<()> {
    let side = if c.likeness == Likeness::Rmse.name() {
        "below"
    } else {
        "above"
    };
    outln!(
        "copies by {}: {} of {} generated images, of {} different members ({} {side} {:.4}, passed by {:.2} % of real images it never saw; {:.1} % to {:.1} %)",
        c.features,
        c.found.copies,
        c.n_generated,
        c.found.distinct,
        c.likeness,
        c.found.threshold,
        100.0 * c.false_copy_rate,
        100.0 * c.found.share_ci[0],
        100.0 * c.found.share_ci[1],
    )?;
    outln!(
        "  at {} images a side: of members {}, of images it never saw {} (thresholds that {:.2} % of such images pass)",
        c.control.n,
        c.control.members.copies,
        c.control.heldout.copies,
        100.0 * c.control.false_copy_rate,
    )
}

fn print_distances(images: &ImageQuality, theirs: Option<&ToStatistics>) -> Result<()> {
    let line = |name: &str, value: f64, rest: String| outln!("{name:<24} {value:>10.4}  {rest}");
    outln!(
        "{} generated, {} real images, features {}",
        images.n_generated,
        images.n_real,
        images.features
    )?;
    if let Some(ToStatistics { file, distance, .. }) = theirs {
        line("FD to the statistics", distance.value, format!("({file})"))?;
    }
    if let Some(frechet) = &images.frechet {
        let [low, high] = frechet.ci;
        let range = format!("{low:.4} to {high:.4}");
        line("Frechet distance", frechet.distance.value, range)?;
        let floor = &frechet.floor;
        let n = format!("{} images a side", floor.n);
        line("  generated and real", floor.generated_real.mean, n.clone())?;
        line("  real and real", floor.real_real.mean, n.clone())?;
        line("  excess", floor.excess, n)?;
    }
    if let Some(kid) = &images.kid {
        let se = format!("unbiased; standard error {:.4}", kid.full_se);
        line("KID", kid.full, se)?;
    }
    if let Some(score) = &images.inception_score {
        let most = format!("one split, at most {}", score.upper_bound);
        line("Inception score", score.mean, most)?;
    }
    if let Some(found) = &images.precision_recall {
        line("precision", found.precision, String::new())?;
        line("recall", found.recall, String::new())?;
    }
    if let Some(found) = &images.density_coverage {
        line("density", found.density, String::new())?;
        line("coverage", found.coverage, String::new())?;
    }
    if let Some(found) = &images.gap {
        let p = found.p_value.map(|p| format!("p = {p:.3}"));
        let p = p.unwrap_or_default();
        line(
            "gap to members",
            found.gap,
            format!("below 0: nearer to members; {p}"),
        )?;
    }
    Ok(())
}
