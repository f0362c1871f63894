//! `dualmd attack` and `dualmd audit`: models trained anywhere. `folder` is the audit, this file what both share.

mod asked;
mod audited;
mod case;
mod drawn;
mod folder;

pub use case::undoubled;
pub use folder::audit;

use crate::args::{AttackArgs, Global, ScoreArgs};
use crate::bail_usage;
use crate::progress::Progress;
use crate::signals;
use crate::stages::attack::failures;
use crate::stages::held::Held;
use crate::stages::score::{self, Kept, Scored, Shadow, Subject, parts, score};
use crate::stages::similar::needs_images;
use crate::stages::{create_folder, shadow, train::view};
use anyhow::{Result, bail};
use audited::Audited;
use case::Case;
use drawn::{drawing, generate};
use dualmd_metrics::Extractor;
use dualmd_names::{AttackSpec, Defense, ModelKind};
use dualmd_record::Count;
use dualmd_record::scores::Scores;
use dualmd_torch::Tensor;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

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
    let audited = audited::only(&args.score)?;
    let _held = Held::file(&args.out)?;
    // Before hours of work, not after.
    dualmd_files::check_target(&args.out)?;
    let case = Case::open(global, &args.score, &audited)?;
    let stop = signals::stop_flag()?;
    let text = case.generator.first().is_told();
    let attacks = asked::attacks(&args.score, audited.is_pair(), text, false)?;
    let mut progress = Progress::new(view(global.quiet, global.log_format));
    let seed = global.seed.unwrap_or(0);
    let mut draw = |model, images, seed| {
        let (args, progress) = (&args.score, &mut progress);
        generate(&case.engine, model, images, args, seed, progress, &stop)
    };
    let generated = match attacks.iter().any(needs_images) {
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
        &audited,
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
    audited: &'a Audited,
    attacks: &'a [AttackSpec],
    generated: [Option<&'a Tensor>; 2],
    texts: &'a Texts<'a>,
    extractor: Option<&'a dyn Extractor>,
    seed: u64,
    parts: &'a Path,
) -> Subject<'a> {
    Subject {
        name: &audited.name,
        defense: match audited.is_pair() {
            true => Defense::Dualmd.into(),
            false => ModelKind::unknown(),
        },
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
) -> Result<Scores> {
    let kept = Kept::read(csv, json)?;
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
    let foreign = case.generator.first().foreign();
    let of_model = foreign.map(|f| f.notes()).unwrap_or_default();
    let notes = unlike.into_iter().chain(case.images.notes());
    for said in notes.chain(of_model) {
        if !description.warnings.contains(&said) {
            description.warnings.push(said);
        }
    }
    score::write(csv, json, &rows, &description)?;
    parts::remove(csv)?;
    Ok(description)
}

/// With `-v`: what each attack cost.
fn tell_costs(global: &Global, description: &Scores) {
    if global.verbose == 0 {
        return;
    }
    let count = |count: Option<Count>| count.map_or(0.0, Count::as_f64);
    for attack in &description.attacks {
        tell!(
            "{}: {:.1} s, {} network calls a sample alone",
            attack.attack,
            attack.seconds.unwrap_or(0.0),
            count(attack.network_calls_per_sample)
        );
    }
    tell!(
        "network calls: {} made, {} saved by sharing",
        count(description.network_calls_made),
        count(description.network_calls_saved)
    );
}

/// Warns of failed attacks; an error if none succeeded.
fn report_failures(description: &Scores) -> Result<()> {
    let failed = failures(description);
    for failure in &failed {
        tell!("warning: {failure}");
    }
    if !failed.is_empty() && failed.len() == description.attacks.len() {
        bail!("every attack failed; the reasons are above");
    }
    Ok(())
}
