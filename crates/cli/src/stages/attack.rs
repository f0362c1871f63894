//! Attacks: one code path for members and non-members, scores to files.

use super::prepare::Images;
use super::sample::{Generator, read_samples};
use super::{RunFolder, blind, create_folder, write_json};
use crate::choices::{Order, Weights};
use crate::engine::Engine;
use crate::plan::{Plan, Target};
use crate::progress::{Progress, ProgressEvent, View, duration};
use anyhow::Result;
use dualmd_attack::nn::{self, nearest};
use dualmd_attack::{Attack, AttackError, RunOptions, Samples, by_name};
use dualmd_audit::{ScoreRow, read_scores, write_scores};
use dualmd_data::{Record, save_png};
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_torch::{Device, Tensor};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Exposed members kept per model.
const EXPOSED: usize = 8;

/// A sample under attack: its id, its near-duplicate or personal group, and the truth.
#[derive(Debug, Clone)]
pub struct Label {
    /// Content id.
    pub id: String,
    /// Group.
    pub group: Option<String>,
    /// Member?
    pub member: bool,
}

/// What is attacked, and with what.
pub struct Subject<'a> {
    /// Name in files.
    pub name: &'a str,
    /// Defence, for the record.
    pub defense: &'a str,
    /// Attacks by name; `nn` is the black-box one.
    pub attacks: &'a [String],
    /// The model.
    pub generator: &'a Generator,
    /// Images it generated, for `nn`.
    pub generated: Option<&'a Tensor>,
    /// For a pair: who answers at which timestep.
    pub timesteps: Vec<i64>,
    /// Samples per batch.
    pub batch: usize,
    /// Seed of the attacks' noise.
    pub seed: u64,
    /// Which weights were loaded.
    pub weights: Weights,
}

/// Scores all samples and returns the rows of the CSV and the description beside it.
pub fn score(
    subject: &Subject<'_>,
    x: &Tensor,
    labels: &[Label],
    engine: &Engine,
    progress: &mut Progress,
    stop: &AtomicBool,
) -> Result<(Vec<ScoreRow>, Value)> {
    let mut rows = Vec::new();
    let mut described = Vec::new();
    let ids: Vec<String> = labels.iter().map(|l| l.id.clone()).collect();
    let mut add = |name: &str, scores: &[f64]| {
        rows.extend(labels.iter().zip(scores).map(|(label, &score)| ScoreRow {
            sample_id: label.id.clone(),
            group: label.group.clone(),
            member: label.member,
            attack: name.to_owned(),
            score,
        }));
    };
    let error_attacks: Vec<Box<dyn Attack>> = subject
        .attacks
        .iter()
        .filter(|a| *a != nn::NAME)
        .map(|a| by_name(a))
        .collect::<Result<_, _>>()?;
    let (mut made, mut saved, mut warnings) = (0, 0, Vec::new());
    // Also refuses an image that is on both sides.
    let samples = Samples::new(x.shallow_clone(), ids)?;
    if !error_attacks.is_empty() {
        let denoiser =
            subject
                .generator
                .denoiser(Order::First, subject.timesteps.clone(), subject.seed);
        let began = std::time::Instant::now();
        let outcome = dualmd_attack::run(
            denoiser.as_ref(),
            &subject.generator.first().schedule,
            &samples,
            &error_attacks,
            RunOptions {
                batch: subject.batch,
                seed: subject.seed,
                device: engine.device,
                teachers: subject.generator.pair(),
                progress: &mut |done, total| {
                    progress.update(&ProgressEvent {
                        model: subject.name.to_owned(),
                        step: done as u64,
                        total: total as u64,
                        loss: None,
                        images_per_second: done as f64
                            / error_attacks.len() as f64
                            / began.elapsed().as_secs_f64(),
                    });
                },
                stop: &|| stop.load(Ordering::Relaxed),
            },
        )?;
        for result in &outcome.results {
            let info = &result.info;
            let (status, reason) = match &result.scores {
                Ok(scores) => {
                    add(&info.name, scores);
                    ("ok", None)
                }
                Err(reason) => ("failed", Some(reason)),
            };
            described.push(json!({
                "attack": info.name, "title": info.title, "paper": info.paper, "access": info.access,
                "formula": info.formula, "misses": info.misses,
                "network_calls_per_sample": info.network_calls_per_sample,
                "seconds": result.seconds, "status": status, "reason": reason, "parameters": info.parameters,
            }));
        }
        (made, saved, warnings) = (
            outcome.network_calls_made,
            outcome.network_calls_saved,
            outcome.warnings,
        );
    }
    if subject.attacks.iter().any(|a| a == nn::NAME)
        && let Some(generated) = subject.generated
    {
        let began = std::time::Instant::now();
        let info = nn::info(usize::try_from(generated.size()[0]).unwrap_or(0));
        let (status, reason) = match nearest(x, generated) {
            Ok(found) => {
                add(
                    nn::NAME,
                    &found.iter().map(nn::Nearest::score).collect::<Vec<_>>(),
                );
                ("ok", None)
            }
            Err(reason) => ("failed", Some(reason.to_string())),
        };
        described.push(json!({
            "attack": info.name, "title": info.title, "paper": info.paper, "access": info.access,
            "formula": info.formula, "misses": info.misses, "network_calls_per_sample": 0,
            "seconds": began.elapsed().as_secs_f64(), "status": status, "reason": reason,
            "parameters": info.parameters,
        }));
    }
    let description = json!({
        "model": subject.name, "defense": subject.defense, "attacks": described,
        "network_calls_made": made, "network_calls_saved": saved, "warnings": warnings,
        "weights": subject.weights.as_str(), "dtype": engine.precision.name(),
    });
    Ok((rows, description))
}

/// Attacks every audited model of a plan. Returns false if asked to stop before the end.
pub fn all(
    run: &RunFolder,
    plan: &Plan,
    images: &Images,
    engine: &Engine,
    view: View,
    stop: &AtomicBool,
) -> Result<bool> {
    create_folder(&run.0.join("scores"))?;
    let s = &images.selected;
    let positions: Vec<usize> = s.members.iter().chain(&s.nonmembers).copied().collect();
    let x = images.tensor(&positions, Device::Cpu);
    // The groups the split kept together, near-duplicates included.
    let split = &images.split;
    let groups: BTreeMap<&str, Option<String>> = split
        .members()
        .iter()
        .map(|m| (m.id.as_str(), m.group.clone()))
        .chain(
            split
                .nonmembers()
                .iter()
                .map(|n| (n.id.as_str(), n.group.clone())),
        )
        .collect();
    let labels: Vec<Label> = positions
        .iter()
        .enumerate()
        .map(|(place, &i)| Label {
            id: images.set.records[i].id.as_str().to_owned(),
            group: groups
                .get(images.set.records[i].id.as_str())
                .cloned()
                .flatten(),
            member: place < s.members.len(),
        })
        .collect();
    let mut progress = Progress::new(view);
    for target in &plan.models {
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        if complete(run, &target.name) {
            continue;
        }
        if target.attacks.is_empty() {
            continue;
        }
        let began = std::time::Instant::now();
        let scored = attack_one(run, plan, target, &x, &labels, engine, &mut progress, stop);
        match scored {
            Ok(description) => failures(&description)
                .iter()
                .for_each(|f| progress.say(&format!("warning: {}: {f}", target.name))),
            Err(error) if matches!(error.downcast_ref(), Some(AttackError::Stopped { .. })) => {
                return Ok(false);
            }
            Err(error) => return Err(error.context(format!("attacking {} failed", target.name))),
        }
        progress.finish(
            &target.name,
            &format!("attacked in {}", duration(began.elapsed())),
        );
    }
    let pictures: Vec<_> = positions
        .iter()
        .map(|&i| &images.set.records[i].picture)
        .collect();
    blind::write(&run.0.join("controls.json"), &pictures, &labels, plan.seed)?;
    let members: Vec<&Record> = s.members.iter().map(|&i| &images.set.records[i]).collect();
    let names: Vec<&str> = plan.models.iter().map(|t| t.name.as_str()).collect();
    write_exposed(run, &names, &members)?;
    Ok(true)
}

#[allow(clippy::too_many_arguments)]
fn attack_one(
    run: &RunFolder,
    plan: &Plan,
    target: &Target,
    x: &Tensor,
    labels: &[Label],
    engine: &Engine,
    progress: &mut Progress,
    stop: &AtomicBool,
) -> Result<Value> {
    let folders: Vec<PathBuf> = target.parts.iter().map(|p| run.model(p)).collect();
    let set = weight_set(plan.audit.weights);
    let generator = Generator::open(&folders, set, engine)?;
    let generated = if target.attacks.iter().any(|a| a == nn::NAME) {
        Some(read_samples(run, &target.name)?)
    } else {
        None
    };
    let subject = Subject {
        name: &target.name,
        defense: &target.defense,
        attacks: &target.attacks,
        timesteps: generator
            .first()
            .schedule
            .sampling_timesteps(plan.sample.steps)?,
        generator: &generator,
        generated: generated.as_ref(),
        batch: plan.audit.batch,
        seed: plan.seed,
        weights: plan.audit.weights,
    };
    let (rows, description) = score(&subject, x, labels, engine, progress, stop)?;
    write_scores(&run.scores(&target.name, "csv"), &rows)?;
    write_json(&run.scores(&target.name, "json"), &description)?;
    Ok(description)
}

/// Are all scores there? A model with a failed attack is attacked again.
fn complete(run: &RunFolder, name: &str) -> bool {
    let description = std::fs::read(run.scores(name, "json"))
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    run.scores(name, "csv").exists() && description.is_some_and(|d| failures(&d).is_empty())
}

/// One sentence per attack that failed, from a description.
pub fn failures(description: &Value) -> Vec<String> {
    let attacks = description["attacks"].as_array();
    attacks
        .into_iter()
        .flatten()
        .filter(|a| a["status"] == "failed")
        .map(|a| {
            let text = |key: &str| a[key].as_str().unwrap_or("?").to_owned();
            format!("attack {} failed: {}", text("attack"), text("reason"))
        })
        .collect()
}

/// Which weights a choice means.
pub fn weight_set(weights: Weights) -> WeightSet {
    match weights {
        Weights::Ema => WeightSet::Ema,
        Weights::Raw => WeightSet::Raw,
    }
}

/// `exposed.json`: per model the members that its attacks rank highest on average.
pub fn write_exposed(run: &RunFolder, models: &[&str], members: &[&Record]) -> Result<()> {
    let by_id: BTreeMap<&str, &Record> = members.iter().map(|&r| (r.id.as_str(), r)).collect();
    let folder = run.0.join("exposed");
    create_folder(&folder)?;
    let mut entries = Vec::new();
    for &model in models {
        let path = run.scores(model, "csv");
        if !path.exists() {
            continue;
        }
        for (rank, (id, score)) in most_exposed(&path)?.into_iter().enumerate() {
            let Some(record) = by_id.get(id.as_str()) else {
                continue;
            };
            save_png(&folder.join(format!("{id}.png")), &record.picture)?;
            entries.push(json!({
                "model": model, "attack": "mean rank", "id": id, "png": format!("exposed/{id}.png"),
                "score": score, "rank": rank + 1,
            }));
        }
    }
    write_json(&run.0.join("exposed.json"), &entries)
}

/// Members by their mean rank over all attacks of a score file (1 = above every other sample), best first.
fn most_exposed(path: &Path) -> Result<Vec<(String, f64)>> {
    let scores = read_scores(path)?;
    let attacks = scores.attacks();
    let mut sum: BTreeMap<&str, f64> = BTreeMap::new();
    for attack in &attacks {
        let mut rows: Vec<_> = scores.rows.iter().filter(|r| &r.attack == attack).collect();
        rows.sort_by(|a, b| a.score.total_cmp(&b.score));
        let n = rows.len().saturating_sub(1).max(1) as f64;
        for (rank, row) in rows.iter().enumerate() {
            if row.member {
                *sum.entry(&row.sample_id).or_default() += rank as f64 / n / attacks.len() as f64;
            }
        }
    }
    let mut ranked: Vec<(String, f64)> =
        sum.into_iter().map(|(id, s)| (id.to_owned(), s)).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    ranked.truncate(EXPOSED);
    Ok(ranked)
}
