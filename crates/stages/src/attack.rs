//! The attack stage of a run: scores of every audited model to files.

use super::generator::{Generator, weight_set};
use super::prepare::Images;
use super::sample::{drawing_of, early_of, read_samples};
use super::score::{self, Kept, Label, Subject, parts, score};
use super::shadow::{Shadow, draws};
use super::text::{self, Told};
use super::{RunFolder, blind, create_folder, files_in, remove, sets, utility};
use crate::choices::Reference;
use crate::errors::stopped;
use crate::plan::{Plan, REFERENCE, Target};
use crate::reporter::{duration, meanwhile};
use crate::session::Session;
use anyhow::{Context, Result};
use dualmd_audit::read_scores;
use dualmd_data::{Record, save_png};
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_metrics::Extractor;
use dualmd_names::{AttackSpec, BlackBox, Needs};
use dualmd_record::exposed::Exposed;
use dualmd_record::scores::Scores;
use dualmd_torch::{Device, Tensor};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Exposed members kept per model.
const EXPOSED: usize = 8;

/// Attacks every audited model of a plan. `shadow`: where some attacks learn. Returns false if asked to stop before the end.
pub fn all(
    run: &RunFolder,
    plan: &Plan,
    images: &Images,
    shadow: Option<&Shadow>,
    session: &Session,
) -> Result<bool> {
    create_folder(&run.0.join("scores"))?;
    let told = Told::in_run(plan);
    let attacked = Attacked::of(images, told)?;
    let of_shadow = shadow
        .map(|shadow| Attacked::of(&shadow.images, told))
        .transpose()?;
    let named = |a: &AttackSpec| BlackBox::of(a).is_some_and(BlackBox::compares_features);
    let features = plan.models.iter().any(|t| t.attacks.iter().any(named));
    let extractor = if plan.model.text || features {
        Some(comparing(plan, images, session.engine.device)?)
    } else {
        None
    };
    let compared_by = extractor.as_deref().map(Extractor::name);
    for target in &plan.models {
        if session.stopped() {
            return Ok(false);
        }
        if target.attacks.is_empty() {
            continue;
        }
        if complete(run, plan, target, compared_by.as_deref())? {
            parts::remove(&run.scores(&target.name, "csv"))?;
            continue;
        }
        let began = std::time::Instant::now();
        let scored = meanwhile(session.reporter.as_ref(), &target.name, "attacks", || {
            attack_one(
                run,
                plan,
                target,
                &attacked,
                shadow.zip(of_shadow.as_ref()),
                extractor.as_deref(),
                session,
            )
        });
        match scored {
            Ok(description) => failures(&description)
                .iter()
                .for_each(|f| session.say(&format!("warning: {}: {f}", target.name))),
            Err(error) if stopped(&error) => return Ok(false),
            Err(error) => return Err(error.context(format!("attacking {} failed", target.name))),
        }
        session.reporter.finished(
            &target.name,
            &format!("attacked in {}", duration(began.elapsed())),
        );
    }
    Ok(true)
}

/// The controls of a run that is attacked, and the members that its attacks find: the blind baseline, tests of whole sets,
/// `exposed.json`.
///
/// # Errors
/// Images that cannot be read, files that cannot be written.
pub fn controls(run: &RunFolder, plan: &Plan, images: &Images, session: &Session) -> Result<()> {
    let labels = labels(images);
    let (held, members) = images.held()?;
    let records: Vec<&Record> = held.records.iter().collect();
    blind::write(&run.controls(), &records, &labels, plan.seed, session)?;
    sets::all(run, plan, &labels, session.reporter.as_ref())?;
    let names: Vec<&str> = plan.models.iter().map(|t| t.name.as_str()).collect();
    write_exposed(run, &names, &records[..members])
}

/// Members and non-members as attacks take them.
struct Attacked {
    /// [N, C, H, W] in [-1, 1].
    x: Tensor,
    labels: Vec<Label>,
    /// What a conditional model is told of each: its captions, or its class.
    words: Option<Vec<Vec<String>>>,
}

impl Attacked {
    /// Of a run whose models are `told` this.
    fn of(images: &Images, told: Told) -> Result<Self> {
        let s = &images.selected;
        let positions: Vec<usize> = s.members.iter().chain(&s.nonmembers).copied().collect();
        let set = images.set();
        let words = || positions.iter().map(|&i| told.words(set, &set.records[i]));
        let conditional = told != Told::Nothing;
        Ok(Self {
            x: images.tensor(&positions, Device::Cpu)?,
            words: conditional.then(|| words().collect()).transpose()?,
            labels: labels(images),
        })
    }

    /// The words of every sample.
    fn words(&self) -> Option<Vec<&[String]>> {
        let words = self.words.as_ref()?;
        Some(words.iter().map(Vec::as_slice).collect())
    }
}

/// What is true of the images of a run that are attacked, members first.
pub fn labels(images: &Images) -> Vec<Label> {
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
    let s = &images.selected;
    let places = s.members.iter().chain(&s.nonmembers);
    places
        .enumerate()
        .map(|(place, &i)| {
            let record = &images.set().records[i];
            Label {
                id: record.id.as_str().to_owned(),
                name: record.name.clone(),
                group: groups.get(record.id.as_str()).cloned().flatten(),
                member: place < s.members.len(),
            }
        })
        .collect()
}

fn attack_one(
    run: &RunFolder,
    plan: &Plan,
    target: &Target,
    attacked: &Attacked,
    shadow: Option<(&Shadow, &Attacked)>,
    extractor: Option<&dyn Extractor>,
    session: &Session,
) -> Result<Scores> {
    let open = |run: &RunFolder, names: &[String]| -> Result<Generator> {
        let folders: Vec<PathBuf> = names.iter().map(|p| run.model(p)).collect();
        let set = weight_set(plan.audit.weights);
        // Attacks that draw do so as the run does.
        Ok(Generator::open(&folders, set, &session.engine)?.delayed(early_of(plan)))
    };
    let generator = open(run, &target.parts)?;
    let compares = |a: &AttackSpec| a.needs() == Needs::Reference;
    let reference = if target.attacks.iter().any(compares) {
        Some(match plan.audit.reference {
            Reference::Trained => open(run, &[REFERENCE.into()])?,
            Reference::Base => {
                let base = text::base_of(run, plan)?;
                let base =
                    base.context("audit.reference = \"base\": the models start from none")?;
                Generator::open(&[base], WeightSet::Ema, &session.engine)?
            }
        })
    } else {
        None
    };
    let generated = if target.attacks.iter().any(AttackSpec::needs_images) {
        Some(read_samples(run, &target.name)?)
    } else {
        None
    };
    let shadow = match shadow {
        Some((shadow, attacked)) if target.attacks.iter().any(AttackSpec::is_shadowed) => {
            let generated = draws(&target.attacks).then(|| read_samples(&shadow.run, &target.name));
            let labels = shadow.labels(&target.parts, &attacked.labels);
            Some((
                open(&shadow.run, &target.parts)?,
                attacked,
                labels,
                generated.transpose()?,
                attacked.words(),
            ))
        }
        _ => None,
    };
    let (csv, json) = (
        run.scores(&target.name, "csv"),
        run.scores(&target.name, "json"),
    );
    let parts = parts::beside(&csv);
    let words = attacked.words();
    let subject = Subject {
        name: &target.name,
        defense: target.defense.clone(),
        attacks: &target.attacks,
        generator: &generator,
        reference: reference.as_ref(),
        shadow: shadow
            .as_ref()
            .map(
                |(generator, attacked, labels, generated, words)| score::Shadow {
                    generator,
                    x: &attacked.x,
                    labels,
                    captions: words.as_deref(),
                    generated: generated.as_ref(),
                },
            ),
        generated: generated.as_ref(),
        captions: words.as_deref(),
        extractor,
        drawing: drawing_of(plan),
        known: plan.audit.known_fraction,
        batch: plan.audit.batch,
        seed: plan.seed,
        weights: plan.audit.weights,
        parts: &parts,
    };
    let kept = Kept::read(&csv, &json)?;
    let (x, labels) = (&attacked.x, &attacked.labels);
    let scored = score(&subject, x, labels, kept, session)?;
    score::write(&csv, &json, &scored.rows, &scored.description)?;
    parts::remove(&csv)?;
    Ok(scored.description)
}

/// What images that captions draw, and those of `nn-features` and `density`, are compared by: the features of `sample.features` where they are
/// at hand, else pixels.
fn comparing(plan: &Plan, images: &Images, device: Device) -> Result<Box<dyn Extractor>> {
    let weights = plan.sample.features_weights.as_deref().map(Path::new);
    let [_, height, width] = images.set().shape();
    utility::extractor_or_pixels(plan.sample.features, weights, [height, width], device)
}

/// Are the scores of all attacks there? A model with a failed attack is attacked again, and so is one of whom other
/// attacks are asked now, or the same with another share of known images or other features; what can be kept is kept.
fn complete(
    run: &RunFolder,
    plan: &Plan,
    target: &Target,
    compared_by: Option<&str>,
) -> Result<bool> {
    let description: Option<Scores> =
        dualmd_record::read_if_usable(&run.scores(&target.name, "json"))?;
    let done = |d: &Scores| {
        let there = |attack: &AttackSpec| {
            let name = attack.to_string();
            d.attacks.iter().any(|a| a.attack == name)
        };
        failures(d).is_empty()
            && d.known_fraction == Some(plan.audit.known_fraction)
            && d.compared_by.as_deref() == compared_by
            && target.attacks.iter().all(there)
    };
    Ok(run.scores(&target.name, "csv").exists() && description.is_some_and(|d| done(&d)))
}

/// One sentence per attack that failed, from a description.
pub fn failures(description: &Scores) -> Vec<String> {
    let failed = description.attacks.iter().filter(|a| a.failed());
    failed
        .map(|a| {
            let reason = a.reason.as_deref().unwrap_or("?");
            format!("attack {} failed: {reason}", a.attack)
        })
        .collect()
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
            entries.push(Exposed {
                model: model.to_owned(),
                attack: "mean rank".into(),
                png: format!("exposed/{id}.png"),
                name: Some(record.name.clone()),
                id,
                score,
                rank: rank as u32 + 1,
            });
        }
    }
    dualmd_record::write_list(&run.exposed(), &entries)?;
    // Members that an earlier call showed, and this one does not.
    let listed: Vec<String> = entries.iter().map(|e| format!("{}.png", e.id)).collect();
    let others = files_in(&folder, |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let id = name.strip_suffix(".png").unwrap_or_default();
        let ours = id.len() >= 16 && id.bytes().all(|b| b.is_ascii_hexdigit());
        ours && !listed.iter().any(|l| *l == name)
    })?;
    others.iter().try_for_each(|path| remove(path))
}

/// Members by their mean rank over the attacks of a score file that scored them (1 = above every other sample), best first.
fn most_exposed(path: &Path) -> Result<Vec<(String, f64)>> {
    let scores = read_scores(path)?;
    // Sum of ranks and number of attacks: one that learns does not score the samples it learnt from.
    let mut sum: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for attack in &scores.attacks() {
        let mut rows: Vec<_> = scores.rows.iter().filter(|r| &r.attack == attack).collect();
        rows.sort_by(|a, b| a.score.total_cmp(&b.score));
        let n = rows.len().saturating_sub(1).max(1) as f64;
        for (rank, row) in rows.iter().enumerate() {
            if row.member {
                let (ranks, attacks) = sum.entry(&row.sample_id).or_default();
                *ranks += rank as f64 / n;
                *attacks += 1.0;
            }
        }
    }
    let mut ranked: Vec<(String, f64)> = sum
        .into_iter()
        .map(|(id, (ranks, n))| (id.to_owned(), ranks / n))
        .collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    ranked.truncate(EXPOSED);
    Ok(ranked)
}
