//! Scoring: one model, any attacks, members and non-members on one path; scores that are there already are kept.

use super::sample::Generator;
use super::similar::{Answer, Asked, Comparison, vectors};
use super::text::{self, Encoded};
use crate::choices::{self, Order, Weights};
use crate::engine::Engine;
use crate::progress::{Progress, ProgressEvent};
use anyhow::{Context, Result};
use dualmd_attack::nn::{self, BlackBox, feature_scores, nearest};
use dualmd_attack::{
    AttackInfo, Drawn, Known, Method, Needs, Others, Prompts, RunOptions, Samples, Space, by_name,
    by_name_for, needs, thirds,
};
use dualmd_audit::{ScoreRow, read_scores};
use dualmd_diffusion::sampler::initial_noise;
use dualmd_diffusion::{Model, TextToImage};
use dualmd_metrics::Extractor;
use dualmd_torch::{Device, Tensor};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Version of what a score depends on; a change of any attack's arithmetic raises it.
const SCORES: u32 = 1;

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

/// Images that black-box attacks draw for themselves.
#[derive(Debug, Clone, Copy)]
pub struct Drawing {
    /// How many.
    pub n: usize,
    /// Steps of each.
    pub steps: usize,
    /// How a step is made where the attack does not say: as in the images that are there already.
    pub sampler: choices::Sampler,
    /// Which model of a pair begins where the attack does not say.
    pub order: Order,
    /// For each caption of a text-to-image model, in place of `n`.
    pub per_prompt: usize,
    /// At this guidance.
    pub guidance: f64,
}

/// What is attacked, and with what.
pub struct Subject<'a> {
    /// Name in files.
    pub name: &'a str,
    /// Defence, for the record.
    pub defense: &'a str,
    /// Attacks by name.
    pub attacks: &'a [String],
    /// The model.
    pub generator: &'a Generator,
    /// A model of the same kind that saw none of the samples.
    pub reference: Option<&'a Generator>,
    /// Images it generated, [n, C, H, W] in [-1, 1], for `nn`, `nn-features` and `sim-mean`; of a text-to-image model k in a row
    /// for each sample's caption.
    pub generated: Option<&'a Tensor>,
    /// The captions of every sample, the main one first, for a text-to-image model.
    pub captions: Option<&'a [&'a [String]]>,
    /// What `nn-features` and the attacks by captions compare by.
    pub extractor: Option<&'a dyn Extractor>,
    /// How other black-box attacks draw theirs.
    pub drawing: Drawing,
    /// Share of the samples whose membership is known to attacks that learn.
    pub known: f64,
    /// Samples per batch.
    pub batch: usize,
    /// Seed of the attacks' noise.
    pub seed: u64,
    /// Which weights were loaded.
    pub weights: Weights,
}

/// Is there an attack of this name, of either kind?
///
/// # Errors
/// There is none; the message names the nearest.
pub fn check_name(name: &str) -> Result<()> {
    if BlackBox::parse(name).is_none() && Drawn::parse(name).is_none() {
        by_name(name)?;
    }
    Ok(())
}

/// The scores of an earlier run over the same files, by what they depend on.
#[derive(Default)]
pub struct Kept {
    scores: BTreeMap<String, (Value, Vec<ScoreRow>)>,
    /// What a reader of them must know.
    warnings: Vec<String>,
}

impl Kept {
    /// Scores and description as an earlier run left them; nothing if either is missing or damaged.
    pub fn read(csv: &Path, json: &Path) -> Self {
        let description = std::fs::read(json)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        let (Some(description), true) = (description, csv.exists()) else {
            return Self::default();
        };
        let Ok(scores) = read_scores(csv) else {
            return Self::default();
        };
        let mut rows: BTreeMap<&str, Vec<ScoreRow>> = BTreeMap::new();
        for row in &scores.rows {
            rows.entry(&row.attack).or_default().push(row.clone());
        }
        let attacks = description["attacks"].as_array().into_iter().flatten();
        let kept = attacks.filter(|a| a["status"] == "ok").filter_map(|a| {
            let rows = rows.remove(a["attack"].as_str()?)?;
            Some((a["fingerprint"].as_str()?.to_owned(), (a.clone(), rows)))
        });
        let said = description["warnings"].as_array().into_iter().flatten();
        Self {
            scores: kept.collect(),
            warnings: said.filter_map(|w| Some(w.as_str()?.to_owned())).collect(),
        }
    }

    /// The attacks that are not among these, by name.
    fn beside(&self, asked: &[String]) -> Vec<String> {
        let names = self
            .scores
            .values()
            .filter_map(|(entry, _)| entry["attack"].as_str());
        let mut names: Vec<String> = names
            .filter(|name| check_name(name).is_ok() && !asked.iter().any(|a| a == name))
            .map(str::to_owned)
            .collect();
        names.sort();
        names
    }
}

/// Rows of the CSV and the description beside it.
pub struct Scored {
    /// All scores, attack by attack in the order asked for.
    pub rows: Vec<ScoreRow>,
    /// `scores/NAME.json`.
    pub description: Value,
    /// Attacks whose scores were kept from an earlier run.
    pub kept: usize,
}

/// What the samples' captions are to the model, with their parts where an attack compares them.
fn prompts(subject: &Subject<'_>, model: &Model, texts: &Encoded) -> Result<Prompts> {
    let reduces = |name: &String| {
        let base = name.split(['@', '+']).next();
        matches!(base, Some("clid" | "clid-vec"))
    };
    let (Some(text), Some(captions), true) = (
        model.text(),
        subject.captions,
        subject.attacks.iter().any(reduces),
    ) else {
        return Ok(Prompts::new(
            &texts.embeddings,
            texts.of.clone(),
            &texts.nothing(),
        )?);
    };
    let parts: Vec<Vec<String>> = captions
        .iter()
        .map(|own| own.first().map(|c| thirds(c)).unwrap_or_default())
        .collect();
    let lists: Vec<&[String]> = parts.iter().map(Vec::as_slice).collect();
    let parts = Encoded::new(text, &lists)?;
    let first = texts.embeddings.size()[0] as usize;
    let reduced = parts
        .of
        .iter()
        .map(|rows| rows.iter().map(|row| first + row).collect())
        .collect();
    let all = Tensor::f_cat(&[&texts.embeddings, &parts.embeddings], 0)?;
    Ok(Prompts::new(&all, texts.of.clone(), &texts.nothing())?.with_reduced(reduced)?)
}

/// Scores all samples [N, C, H, W] with every attack of the subject.
///
/// # Errors
/// An image on both sides, a stop that was asked for. An attack that fails is part of the description.
pub fn score(
    subject: &Subject<'_>,
    x: &Tensor,
    labels: &[Label],
    mut kept: Kept,
    engine: &Engine,
    progress: &mut Progress,
    stop: &AtomicBool,
) -> Result<Scored> {
    let ids: Vec<String> = labels.iter().map(|l| l.id.clone()).collect();
    // Also refuses an image that is on both sides.
    let model = subject.generator.first();
    let mut samples = Samples::new(seen(model, x, engine)?, ids)?;
    let texts = match (model.text(), subject.captions) {
        (Some(text), Some(captions)) => Some(Encoded::new(text, captions)?),
        (Some(_), None) => anyhow::bail!("a text-to-image model is attacked without captions"),
        (None, _) => None,
    };
    if let Some(texts) = &texts {
        samples = samples.with_prompts(prompts(subject, model, texts)?)?;
    }
    let space = match model.text() {
        Some(text) if text.is_latent() => Space::Latent,
        _ => Space::Pixels,
    };
    let base = Base::new(subject, samples.x(), texts.as_ref(), labels, engine)?;
    let keys: Vec<String> = labels
        .iter()
        .map(|l| {
            l.group
                .as_ref()
                .map_or_else(|| l.id.clone(), |g| format!("group {g}"))
        })
        .collect();
    let truth: Vec<bool> = labels.iter().map(|l| l.member).collect();
    let known = Known::draw(&keys, &truth, subject.known, subject.seed);

    let mut comparison = match (&texts, subject.extractor) {
        (Some(texts), Some(extractor)) => Some(Comparison::new(
            subject,
            extractor,
            texts,
            x,
            known.as_ref().map_err(ToString::to_string),
            engine,
            stop,
        )),
        _ => None,
    };

    let mut done: BTreeMap<&str, (Value, Vec<ScoreRow>)> = BTreeMap::new();
    let (mut methods, mut black_boxes, mut similar) = (Vec::new(), Vec::new(), Vec::new());
    let mut reused = 0;
    // Attacks that were scored before and are not asked for now: what they found stays, where it still holds.
    let others = kept.beside(subject.attacks);
    for (name, asked) in subject
        .attacks
        .iter()
        .map(|name| (name, true))
        .chain(others.iter().map(|name| (name, false)))
    {
        if let (Some(drawn), Some(comparison)) = (Drawn::parse(name), &comparison) {
            let info = comparison.info(drawn);
            match comparison.depends_on(drawn) {
                Ok(rest) => {
                    let fingerprint = base.of(&info, &rest);
                    if let Some(found) = kept.scores.remove(&fingerprint) {
                        reused += usize::from(asked);
                        done.insert(name, found);
                    } else if asked {
                        similar.push(Asked {
                            name,
                            drawn,
                            info,
                            fingerprint,
                        });
                    }
                }
                Err(error) if asked => {
                    let reason = Some(format!("{error:#}"));
                    done.insert(name, (failed(&info, reason), Vec::new()));
                }
                Err(_) => {}
            }
            continue;
        }
        let (info, fingerprint, what) = match BlackBox::parse(name) {
            Some(kind) => {
                let n = match (kind, subject.generated) {
                    (kind, Some(images)) if kind.takes_drawn() => images.size()[0] as usize,
                    _ => subject.drawing.n,
                };
                let encoder = subject.extractor.map(Extractor::name);
                let info = kind.info(n, &encoder.unwrap_or_default());
                let fingerprint = base.black_box(kind, &info, subject);
                (info, fingerprint, Err(kind))
            }
            None => {
                let method = by_name_for(name, space)?;
                let info = method.info();
                let fingerprint = base.network(&info, needs(name), subject);
                (info, fingerprint, Ok(method))
            }
        };
        if let Some(found) = kept.scores.remove(&fingerprint) {
            reused += usize::from(asked);
            done.insert(name, found);
            continue;
        }
        if !asked {
            continue;
        }
        match what {
            Err(kind) => black_boxes.push((name, kind, info, fingerprint)),
            Ok(Method::Learned(_)) if known.is_err() => {
                let reason = known.as_ref().err().map(ToString::to_string);
                done.insert(name, (failed(&info, reason), Vec::new()));
            }
            Ok(method) => methods.push((name, method, fingerprint)),
        }
    }
    let rows = |name: &str, places: &[usize], scores: &[f64]| -> Vec<ScoreRow> {
        let row = |(&place, &score): (&usize, &f64)| ScoreRow {
            sample_id: labels[place].id.clone(),
            group: labels[place].group.clone(),
            member: labels[place].member,
            attack: name.to_owned(),
            score,
        };
        places.iter().zip(scores).map(row).collect()
    };

    let (mut made, mut saved, mut warnings) = (0, 0, Vec::new());
    // Of the earlier scores some hold.
    let stands = done.values().any(|(entry, _)| entry["status"] == "ok");
    if !methods.is_empty() {
        let timesteps = subject
            .generator
            .first()
            .schedule()
            .sampling_timesteps(subject.drawing.steps)?;
        let denoiser = subject
            .generator
            .denoiser(Order::First, timesteps, subject.seed);
        let (names, methods): (Vec<_>, Vec<_>) = methods
            .into_iter()
            .map(|(name, method, fingerprint)| ((name, fingerprint), method))
            .unzip();
        let began = Instant::now();
        let outcome = dualmd_attack::run(
            denoiser.as_ref(),
            subject.generator.first().schedule(),
            &samples,
            &methods,
            RunOptions {
                batch: subject.batch,
                seed: subject.seed,
                device: engine.device,
                others: Others {
                    teachers: subject.generator.pair(),
                    reference: subject.reference.map(|r| r.first() as _),
                },
                known: known.as_ref().ok(),
                progress: &mut |done, total| {
                    progress.update(&ProgressEvent {
                        model: subject.name.to_owned(),
                        step: done as u64,
                        total: total as u64,
                        loss: None,
                        images_per_second: done as f64
                            / methods.len() as f64
                            / began.elapsed().as_secs_f64(),
                    });
                },
                stop: &|| stop.load(Ordering::Relaxed),
            },
        )?;
        for (((name, fingerprint), method), result) in
            names.iter().zip(&methods).zip(&outcome.results)
        {
            let entry = match &result.scores {
                Ok(scores) => {
                    let mut entry = described(&result.info, fingerprint, result.seconds);
                    if matches!(method, Method::Learned(_)) {
                        entry["trained_on"] = trained_on(known.as_ref().ok());
                    }
                    (entry, rows(name, &result.rows, scores))
                }
                Err(reason) => (failed(&result.info, Some(reason.clone())), Vec::new()),
            };
            done.insert(name, entry);
        }
        (made, saved, warnings) = (
            outcome.network_calls_made,
            outcome.network_calls_saved,
            outcome.warnings,
        );
    }
    // Scores that are kept are of the same weights and images, so what was said of those still holds.
    for warning in kept.warnings {
        if stands && !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    let all: Vec<usize> = (0..labels.len()).collect();
    for (name, kind, info, fingerprint) in black_boxes {
        let began = Instant::now();
        let found = pool(subject, kind, x, engine, stop).and_then(|pool| match kind {
            BlackBox::Features => by_features(subject, x, &pool),
            _ => Ok(nearest(x, &pool)?.iter().map(nn::Nearest::score).collect()),
        });
        let entry = match found {
            Ok(scores) => {
                let entry = described(&info, &fingerprint, began.elapsed().as_secs_f64());
                (entry, rows(name, &all, &scores))
            }
            Err(error) if super::sample::stopped(&error) => return Err(error),
            Err(error) => (failed(&info, Some(format!("{error:#}"))), Vec::new()),
        };
        done.insert(name, entry);
    }

    for asked in similar {
        let Some(comparison) = &mut comparison else {
            continue;
        };
        let Answer { scores, seconds } = comparison.run(asked.drawn)?;
        let entry = match scores {
            Ok((places, scores)) => {
                let mut entry = described(&asked.info, &asked.fingerprint, seconds);
                if asked.drawn.form.learns() {
                    entry["trained_on"] = trained_on(known.as_ref().ok());
                }
                (entry, rows(asked.name, &places, &scores))
            }
            Err(error) => (failed(&asked.info, Some(format!("{error:#}"))), Vec::new()),
        };
        done.insert(asked.name, entry);
    }

    let (mut attacks, mut scored) = (Vec::new(), Vec::new());
    for name in subject.attacks.iter().chain(&others) {
        if let Some((entry, rows)) = done.remove(name.as_str()) {
            attacks.push(entry);
            scored.extend(rows);
        }
    }
    let description = json!({
        "model": subject.name, "defense": subject.defense, "attacks": attacks,
        "network_calls_made": made, "network_calls_saved": saved, "warnings": warnings,
        "weights": subject.weights.as_str(), "dtype": engine.precision.name(),
        "weights_blake3": subject.generator.fingerprint(), "known_fraction": subject.known,
        "compared_by": subject.extractor.map(Extractor::name),
    });
    Ok(Scored {
        rows: scored,
        description,
        kept: reused,
    })
}

/// What the network sees of images [N, C, H, W]: the images, or their latents.
fn seen(model: &Model, x: &Tensor, engine: &Engine) -> Result<Tensor> {
    if !model.text().is_some_and(TextToImage::is_latent) {
        return Ok(x.shallow_clone());
    }
    let parts = text::in_parts(x, |part| {
        let latents = model.encode(&part.to_device(engine.device))?;
        Ok(latents.to_device(Device::Cpu))
    })?;
    Ok(Tensor::f_cat(&parts, 0)?)
}

/// Scores of `nn-features`.
fn by_features(subject: &Subject<'_>, x: &Tensor, pool: &Tensor) -> Result<Vec<f64>> {
    let extractor = subject
        .extractor
        .filter(|e| !e.name().starts_with("pixels"))
        .with_context(|| {
            format!(
                "{} compares features of images, and there is no network for them: `cargo xtask features` fetches one \
                 (by pixels the attack is {})",
                nn::FEATURES,
                nn::NAME
            )
        })?;
    Ok(feature_scores(
        &vectors(extractor, x)?,
        &vectors(extractor, pool)?,
    )?)
}

/// The images a black-box attack compares with.
fn pool(
    subject: &Subject<'_>,
    kind: BlackBox,
    x: &Tensor,
    engine: &Engine,
    stop: &AtomicBool,
) -> Result<Tensor> {
    let rounds = match kind {
        BlackBox::Nearest | BlackBox::Features => {
            let generated = subject.generated.context("no images were drawn for it")?;
            return Ok(generated.shallow_clone());
        }
        BlackBox::Rounds(rounds) => rounds,
    };
    if subject.generator.pair().is_none() {
        anyhow::bail!(
            "repeated rounds favour one of two models that take turns: name both model folders"
        );
    }
    let size = x.size();
    let noise = initial_noise(
        subject.seed,
        subject.drawing.n,
        [size[1], size[2], size[3]],
        engine.device,
    );
    // Half of the images favour the first model, half the second: their members are to be found alike.
    let n = noise.size()[0];
    let half = n / 2;
    let mut drawn = Vec::new();
    for (order, start, length) in [(Order::First, 0, half), (Order::Second, half, n - half)] {
        let images = subject.generator.sample_in_rounds(
            &noise.narrow(0, start, length),
            choices::Sampler::Ddim,
            subject.drawing.steps,
            order,
            rounds,
            subject.batch,
            subject.seed,
            None,
            |_| !stop.load(Ordering::Relaxed),
        )?;
        // The attack compares on the CPU, where the samples are.
        drawn.push(images.to_device(Device::Cpu));
    }
    Ok(Tensor::f_cat(&drawn, 0)?)
}

/// How many samples an attack learnt from.
fn trained_on(known: Option<&Known>) -> Value {
    let [members, nonmembers] = known.map_or([0, 0], Known::counts);
    json!({ "members": members, "nonmembers": nonmembers })
}

fn described(info: &AttackInfo, fingerprint: &str, seconds: f64) -> Value {
    json!({
        "attack": info.name, "title": info.title, "paper": info.paper, "access": info.access,
        "formula": info.formula, "misses": info.misses,
        "network_calls_per_sample": info.network_calls_per_sample,
        "seconds": seconds, "status": "ok", "reason": null, "parameters": info.parameters,
        "fingerprint": fingerprint,
    })
}

fn failed(info: &AttackInfo, reason: Option<String>) -> Value {
    let mut entry = described(info, "", 0.0);
    entry["status"] = "failed".into();
    entry["reason"] = reason.into();
    entry
}

/// What the scores of every attack of a subject depend on.
struct Base {
    model: Value,
    images: String,
    truth: String,
}

impl Base {
    fn new(
        subject: &Subject<'_>,
        x: &Tensor,
        texts: Option<&Encoded>,
        labels: &[Label],
        engine: &Engine,
    ) -> Result<Self> {
        let mut truth = blake3::Hasher::new();
        for label in labels {
            truth.update(format!("{} {:?} {}\n", label.id, label.group, label.member).as_bytes());
        }
        Ok(Self {
            model: json!({
                "scores": SCORES, "weights": subject.generator.fingerprint(), "seed": subject.seed,
                "set": subject.weights.as_str(), "dtype": engine.precision.name(),
            }),
            images: match texts {
                None => hash_tensor(x)?,
                Some(texts) => {
                    let embeddings = hash_tensor(&texts.embeddings)?;
                    format!("{} {embeddings} {:?}", hash_tensor(x)?, texts.of)
                }
            },
            truth: truth.finalize().to_hex().to_string(),
        })
    }

    fn of(&self, info: &AttackInfo, rest: &Value) -> String {
        let everything = json!([
            self.model,
            self.images,
            self.truth,
            info.name,
            info.formula,
            info.parameters,
            rest
        ]);
        blake3::hash(everything.to_string().as_bytes())
            .to_hex()
            .to_string()
    }

    fn network(&self, info: &AttackInfo, needs: Needs, subject: &Subject<'_>) -> String {
        let rest = match needs {
            Needs::Nothing | Needs::Pair => Value::Null,
            Needs::Known => json!(subject.known),
            Needs::Reference => json!(subject.reference.map(Generator::fingerprint)),
        };
        // A pair answers by the turn that covers the timestep.
        let turns = subject.generator.pair().map(|_| subject.drawing.steps);
        self.of(info, &json!([rest, turns]))
    }

    fn black_box(&self, kind: BlackBox, info: &AttackInfo, subject: &Subject<'_>) -> String {
        let generated = match (kind, subject.generated) {
            (kind, Some(generated)) if kind.takes_drawn() => hash_tensor(generated).ok(),
            _ => None,
        };
        // Other weights of the same features give another answer.
        let encoder = match (kind, subject.generated, subject.extractor) {
            (BlackBox::Features, Some(images), Some(extractor)) => {
                let some = images.narrow(0, 0, images.size()[0].min(2));
                vectors(extractor, &some).and_then(|v| hash_tensor(&v)).ok()
            }
            _ => None,
        };
        let mut rest = json!([generated, subject.drawing.n, subject.drawing.steps]);
        if let (Some(encoder), Value::Array(rest)) = (encoder, &mut rest) {
            rest.push(encoder.into());
        }
        self.of(info, &rest)
    }
}

/// BLAKE3 of the values as f32.
pub fn hash_tensor(x: &Tensor) -> Result<String> {
    let flat = x
        .f_to_device(Device::Cpu)?
        .f_to_kind(dualmd_torch::Kind::Float)?
        .f_flatten(0, -1)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{:?}", x.size()).as_bytes());
    for value in Vec::<f32>::try_from(&flat)? {
        hasher.update(&value.to_le_bytes());
    }
    Ok(hasher.finalize().to_hex().to_string())
}
