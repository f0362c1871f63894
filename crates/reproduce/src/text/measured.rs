//! `dualmd memorisation` on models: made once, and kept. Those of a run lie beside its models, in `memorisation/NAME/`.

use super::super::study::{Planned, Study};
use crate::{ReproduceOptions, What};
use anyhow::{Context, Result};
use dualmd::Session;
use dualmd::choices::{Features, Order, Weights};
use dualmd::experiment::Experiment;
use dualmd::memorisation::{MemorisationOptions, PromptSource, measured};
use dualmd::stages::copies::SscdFiles;
use dualmd::stages::generator::{fingerprint, weight_set};
use dualmd::stages::held::Held;
use dualmd::stages::{fit, utility};
use dualmd_attack::memorisation::Mitigation;
use dualmd_metrics::SscdForm;
use dualmd_record::memorisation::Memorisation;
use std::path::{Path, PathBuf};

/// A row of table 1.
pub struct Method {
    /// Folder of the measurement; the model of the paper's numbers.
    pub folder: &'static str,
    /// For people.
    pub name: &'static str,
    /// Model folders: one, or two that take turns.
    models: &'static [&'static str],
    /// With Wen's remedy.
    remedy: bool,
}

/// The rows of table 1. The undefended model comes first: what follows may depend on what was measured of it.
pub const ROWS: [Method; 4] = [
    plainly("baseline", "No mitigation", &["baseline"]),
    Method {
        remedy: true,
        ..plainly("baseline-wen", "Wen et al. 2024", &["baseline"])
    },
    plainly("dualmd", "DualMD", &["teacher-1", "teacher-2"]),
    plainly("student", "DistillMD", &["student"]),
];

const fn plainly(
    folder: &'static str,
    name: &'static str,
    models: &'static [&'static str],
) -> Method {
    Method {
        folder,
        name,
        models,
        remedy: false,
    }
}

/// Wen's target, for four latents of Stable Diffusion.
const TARGET: f64 = 3.0;
/// What part of the loss that a memorised prompt begins with that is: theirs is typically 9.6.
const TARGET_SHARE: f64 = TARGET / 9.6;

/// Name of a measurement's file.
const FILE: &str = "memorisation.json";

/// Makes the measurements that are missing.
///
/// # Errors
/// What `dualmd memorisation` refuses; a stop that was asked for.
pub fn measure(study: &Study, session: &Session, args: &ReproduceOptions) -> Result<()> {
    let only_baseline = args.what == What::Fig3;
    for planned in study.datasets.iter().flat_map(|set| &set.runs) {
        for method in ROWS {
            if only_baseline && method.folder != "baseline" {
                continue;
            }
            let mut asked = MemorisationOptions {
                clip: args.clip.clone(),
                ..arguments(planned, &method)
            };
            if let Some(remedy) = &mut asked.remedy
                && planned.experiment.model.base.is_none()
            {
                remedy.target = target(planned)?;
            }
            if is_there(&asked)? {
                continue;
            }
            session.say(&asked.out.display().to_string());
            let _held = Held::run(&planned.folder.0, session.reporter.as_ref())?;
            // From the noise that the run's samples began with.
            measured(session, &asked)?;
        }
    }
    Ok(())
}

/// The t-errors and norms of prompts, and nothing else: 4 images each as Wen et al. draw, 50 steps, guidance 7.5.
pub fn plain(
    models: Vec<PathBuf>,
    prompts: PromptSource,
    seed: u64,
    out: PathBuf,
) -> MemorisationOptions {
    MemorisationOptions {
        models,
        prompts,
        n: 4,
        steps: 50,
        guidance: 7.5,
        t_sec: None,
        order: Order::First,
        features: Features::None,
        features_weights: None,
        clip: None,
        fit: Vec::new(),
        fit_if_possible: false,
        fit_head: None,
        remedy: None,
        seed,
        weights: Weights::Ema,
        batch: 16,
        out,
    }
}

/// Is the measurement there, and the one that is asked for? Whether of these prompts, it does not say.
///
/// # Errors
/// It, or a model, cannot be read.
pub fn is_there(asked: &MemorisationOptions) -> Result<bool> {
    let Some(found) = read(&asked.out)? else {
        return Ok(false);
    };
    let features = found.similarity.map(|s| s.features).unwrap_or_default();
    let features = (features == "sscd-512") == (asked.features == Features::Sscd);
    let clip = asked.clip.is_none() || found.clip_score.is_some();
    let fit = asked.fit.is_empty() || found.fit.is_some();
    let target = asked.remedy.as_ref().map(|o| o.target);
    Ok(features
        && clip
        && fit
        && found.weights_blake3 == fingerprint(&asked.models, weight_set(asked.weights))?
        && found.seed == asked.seed
        && found.generations == asked.n
        && found.steps == asked.steps
        && found.guidance == asked.guidance
        && found.mitigation.map(|m| m.target) == target)
}

/// The measurement in a folder; none where it was not made.
///
/// # Errors
/// It cannot be read, with what helps.
pub fn read(folder: &Path) -> Result<Option<Memorisation>> {
    let path = folder.join(FILE);
    if !path.exists() {
        return Ok(None);
    }
    let found = dualmd_record::read(&path);
    let found =
        found.with_context(|| format!("remove {}, and it is made again", path.display()))?;
    Ok(Some(found))
}

/// Folder of a measurement of a run.
pub fn folder(run: &Path, name: &str) -> PathBuf {
    run.join("memorisation").join(name)
}

/// Wen's target for a model that is no Stable Diffusion: the same part of what members' prompts begin with on the undefended model, which
/// is the norm over all images of a prompt.
fn target(planned: &Planned) -> Result<f64> {
    let found = read(&folder(&planned.folder.0, ROWS[0].folder))?.unwrap_or_default();
    let norm = found.first_norm.spread.memorised;
    let norm = norm.context("table 1: the undefended model's norms were not measured")?;
    Ok(TARGET_SHARE * norm.median * (planned.experiment.sample.per_prompt as f64).sqrt())
}

/// The measurement of a run's models on its own prompts, drawn as the run's samples are.
fn arguments(planned: &Planned, method: &Method) -> MemorisationOptions {
    let Experiment {
        data,
        sample,
        audit,
        seed,
        ..
    } = &planned.experiment;
    let run = &planned.folder;
    let models = method.models.iter().map(|name| run.model(name));
    let prompts = PromptSource::Images {
        members: format!("{}#member", data.source),
        nonmembers: Some(format!("{}#nonmember", data.source)),
        split: Some(run.split()),
        caption_column: data.caption_column.clone(),
    };
    let out = folder(&run.0, method.folder);
    MemorisationOptions {
        n: sample.per_prompt,
        steps: sample.steps,
        guidance: sample.guidance,
        order: sample.order,
        // The paper's, where set-up has fetched it.
        features: match SscdFiles::of(SscdForm::Full, None) {
            Some(files) if files.are_there() => Features::Sscd,
            _ => Features::Auto,
        },
        fit: pairs(&planned.experiment),
        fit_if_possible: true,
        fit_head: Some(folder(&run.0, "fit.safetensors")),
        remedy: method.remedy.then(|| Mitigation {
            steps: 10,
            target: TARGET,
            ..Mitigation::default()
        }),
        weights: audit.weights,
        batch: sample.batch,
        ..plain(models.collect(), prompts, *seed, out)
    }
}

/// Captioned images that a fit can be learnt from, where its networks are at hand: those of the run's source that it does not touch,
/// and those of its base. A run without a base uses up its source, and so do sets that users bring.
fn pairs(experiment: &Experiment) -> Vec<String> {
    let there = fit::sentences().is_some() && utility::efflite0_weights().is_some();
    match &experiment.pretrain {
        Some(pretrain) if there => vec![experiment.data.source.clone(), pretrain.source.clone()],
        _ => Vec::new(),
    }
}
