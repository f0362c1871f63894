//! `dualmd metrics`: generated images against real ones.

use crate::args::{Global, MetricsArgs};
use crate::session::short_session;
use anyhow::Result;
use dualmd::metrics::{Measured, ToStatistics};
use dualmd_metrics::Likeness;
use dualmd_record::utility::{Copying, ImageQuality};
use std::process::ExitCode;

/// Compares and prints.
pub fn metrics(global: &Global, args: &MetricsArgs) -> Result<ExitCode> {
    let measured = dualmd::metrics(&short_session(global)?, &args.options(global))?;
    if args.json {
        // As a value, whose keys are in alphabetical order as in the files of a run.
        let measured = serde_json::to_value(&measured)?;
        outln!("{}", serde_json::to_string_pretty(&measured)?)?;
    } else {
        print(&measured)?;
    }
    Ok(ExitCode::SUCCESS)
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
        line("Fréchet distance", frechet.distance.value, range)?;
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
