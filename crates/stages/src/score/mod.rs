//! Scoring: one model, any attacks, members and non-members on one path; scores that are there already are kept.

mod depends;
mod kept;
mod network;
mod own;
pub mod parts;
mod samples;
mod shared;
pub mod subject;

pub use kept::{Kept, write};
pub use shared::{PartDone, score_part};
pub use subject::{Drawing, Label, Shadow, Subject};

use super::features::vectors;
use super::generator::Sampling;
use super::similar::{Answer, Asked, Comparison};
use super::text::{self, Told};
use crate::choices::{self, Order};
use crate::reporter::meanwhile;
use crate::session::Session;
use anyhow::{Context, Result, anyhow};
use dualmd_attack::nn::{self, feature_scores, nearest};
use dualmd_attack::{AttackError, AttackInfo, Known, Method, density};
use dualmd_audit::ScoreRow;
use dualmd_diffusion::sampler::initial_noise;
use dualmd_metrics::Extractor;
use dualmd_names::BlackBox;
use dualmd_names::{AttackSpec, BaseAttack};
use dualmd_record::scores::{FAILED, OK, ScoredAttack, Scores, TrainedOn};
use dualmd_torch::{Device, Tensor};
use network::{Ready, key};
use std::collections::BTreeMap;
use std::time::Instant;

/// Rows of the CSV and the description beside it.
pub struct Scored {
    /// All scores, attack by attack in the order asked for.
    pub rows: Vec<ScoreRow>,
    /// `scores/NAME.json`.
    pub description: Scores,
    /// Attacks whose scores were kept from an earlier run.
    pub kept: usize,
    /// Was the network asked, and the folder of parts used?
    pub asked_network: bool,
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
    session: &Session,
) -> Result<Scored> {
    let (engine, reporter) = (&session.engine, session.reporter.as_ref());
    let ready = meanwhile(reporter, subject.name, "preparing attacks", || {
        Ready::new(subject, x, labels, engine)
    })?;
    let Ready {
        texts,
        base,
        taught_by,
        known,
        ..
    } = &ready;

    let mut comparison = match (texts, subject.extractor) {
        (Some(texts), Some(extractor)) => {
            let known = known.as_ref().map_err(ToString::to_string);
            let of_shadow = taught_by
                .as_ref()
                .and_then(|taught| taught.comparison(extractor, session));
            let own = Comparison::new(subject, extractor, texts, x, known, session);
            Some(own.with_shadow(of_shadow))
        }
        _ => None,
    };

    let mut done: BTreeMap<&AttackSpec, (ScoredAttack, Vec<ScoreRow>)> = BTreeMap::new();
    let (mut methods, mut black_boxes, mut similar) = (Vec::new(), Vec::new(), Vec::new());
    let mut reused = 0;
    // Attacks that were scored before and are not asked for now: what they found stays, where it still holds.
    let others = kept.beside(subject.attacks);
    for (spec, asked) in subject
        .attacks
        .iter()
        .map(|spec| (spec, true))
        .chain(others.iter().map(|spec| (spec, false)))
    {
        // Scores that are not asked for now were learnt where they say.
        let shadow = match taught_by {
            Some(_) => base.shadow(spec),
            None => kept.shadow(spec),
        };
        if let (Some(drawn), Some(comparison)) = (spec.drawn(), &comparison) {
            let info = comparison.info(drawn);
            match comparison.depends_on(drawn, shadow) {
                Ok(rest) => {
                    let fingerprint = base.of(&info, &rest)?;
                    if let Some(found) = kept.scores.remove(&fingerprint) {
                        reused += usize::from(asked);
                        done.insert(spec, found);
                    } else if asked {
                        similar.push(Asked {
                            spec,
                            drawn,
                            info,
                            fingerprint,
                        });
                    }
                }
                Err(error) if asked => {
                    let reason = format!("{error:#}");
                    done.insert(spec, (failed(&info, reason), Vec::new()));
                }
                Err(_) => {}
            }
            continue;
        }
        let (info, fingerprint, what) = match BlackBox::of(spec) {
            Some(kind) => {
                let n = match (kind, subject.generated) {
                    (kind, Some(images)) if kind.takes_drawn() => images.size()[0] as usize,
                    _ => subject.drawing.n,
                };
                let encoder = subject.extractor.map(Extractor::name);
                let info = nn::info(kind, n, &encoder.unwrap_or_default());
                let fingerprint = base.black_box(kind, &info, subject)?;
                (info, fingerprint, Err(kind))
            }
            None => {
                let (method, info, fingerprint) = ready.method(subject, spec, shadow.as_ref())?;
                (info, fingerprint, Ok(method))
            }
        };
        if let Some(found) = kept.scores.remove(&fingerprint) {
            reused += usize::from(asked);
            done.insert(spec, found);
            continue;
        }
        if !asked {
            continue;
        }
        match what {
            Err(kind) => black_boxes.push((spec, kind, info, fingerprint)),
            Ok(method) => match ready.lacks(&method) {
                Some(reason) => {
                    done.insert(spec, (failed(&info, reason), Vec::new()));
                }
                None => methods.push((spec, method, fingerprint)),
            },
        }
    }
    let rows = |spec: &AttackSpec, places: &[usize], scores: &[f64]| -> Vec<ScoreRow> {
        let name = spec.to_string();
        let row = |(&place, &score): (&usize, &f64)| ScoreRow {
            sample_id: labels[place].id.clone(),
            name: Some(labels[place].name.clone()),
            group: labels[place].group.clone(),
            member: labels[place].member,
            attack: name.clone(),
            score,
        };
        places.iter().zip(scores).map(row).collect()
    };

    let learnt_there = |spec: &AttackSpec| {
        let of = base.shadow(spec);
        taught_by.as_ref().map(|taught| taught.described(of))
    };
    let (mut made, mut saved, mut warnings) = (0, 0, Vec::new());
    // Of the earlier scores some hold.
    let stands = done.values().any(|(entry, _)| entry.succeeded());
    let asked_network = !methods.is_empty();
    if asked_network {
        let (specs, methods): (Vec<_>, Vec<_>) = methods
            .into_iter()
            .map(|(spec, method, fingerprint)| ((spec, fingerprint), method))
            .unzip();
        let shared = parts::is_shared(subject.parts);
        let of = key(specs.iter().map(|(_, fingerprint)| fingerprint), subject);
        let parts = parts::Folder::open(subject.parts, &of)?;
        let outcome = ready.ask(
            subject,
            &methods,
            &parts,
            session,
            |denoiser, schedule, samples, methods, options| {
                if shared {
                    let [there, all] = dualmd_attack::there(samples, methods, &options);
                    session.say(&format!(
                        "{}: {}",
                        subject.name,
                        parts::of_parts(there, all)
                    ));
                }
                dualmd_attack::run(denoiser, schedule, samples, methods, options)
            },
        )?;
        for (((spec, fingerprint), method), result) in
            specs.iter().zip(&methods).zip(&outcome.results)
        {
            let entry = match &result.scores {
                Ok(scores) => {
                    let mut entry = described(&result.info, fingerprint, result.seconds);
                    match method {
                        Method::Formula(_) => {}
                        Method::Learned(_) => {
                            entry.trained_on = Some(trained_on(known.as_ref().ok()));
                        }
                        Method::Shadowed(_) => {
                            entry.shadow = learnt_there(spec);
                        }
                    }
                    (entry, rows(spec, &result.rows, scores))
                }
                Err(reason) => (failed(&result.info, reason.clone()), Vec::new()),
            };
            done.insert(spec, entry);
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
    for (spec, kind, info, fingerprint) in black_boxes {
        let began = Instant::now();
        let found = meanwhile(reporter, subject.name, &spec.to_string(), || {
            pool(subject, kind, x, session).and_then(|pool| match kind {
                BlackBox::Features => Ok((all.clone(), by_features(subject, x, &pool)?)),
                BlackBox::Density => by_density(subject, x, &pool, known),
                BlackBox::Nearest | BlackBox::Rounds(_) => {
                    let found = nearest(x, &pool)?;
                    Ok((all.clone(), found.iter().map(nn::Nearest::score).collect()))
                }
            })
        });
        let entry = match found {
            Ok((places, scores)) => {
                let mut entry = described(&info, &fingerprint, began.elapsed().as_secs_f64());
                if kind == BlackBox::Density {
                    entry.trained_on = Some(TrainedOn {
                        members: 0,
                        ..trained_on(known.as_ref().ok())
                    });
                }
                (entry, rows(spec, &places, &scores))
            }
            Err(error) if super::generator::stopped(&error) => return Err(error),
            Err(error) => (failed(&info, format!("{error:#}")), Vec::new()),
        };
        done.insert(spec, entry);
    }

    for asked in similar {
        let Some(comparison) = &mut comparison else {
            continue;
        };
        let name = asked.spec.to_string();
        let Answer { scores, seconds } = meanwhile(reporter, subject.name, &name, || {
            comparison.run(asked.drawn)
        })?;
        let entry = match scores {
            Ok((places, scores)) => {
                let mut entry = described(&asked.info, &asked.fingerprint, seconds);
                if asked.drawn.shadow {
                    entry.shadow = learnt_there(asked.spec);
                } else if asked.drawn.form.learns() {
                    entry.trained_on = Some(trained_on(known.as_ref().ok()));
                }
                (entry, rows(asked.spec, &places, &scores))
            }
            Err(error) => (failed(&asked.info, format!("{error:#}")), Vec::new()),
        };
        done.insert(asked.spec, entry);
    }

    if let Err(error) = own::score(subject, &mut done, session) {
        match error.downcast_ref() {
            Some(AttackError::Stopped { .. }) => return Err(error),
            _ => warnings.push(format!(
                "the model's own images could not be scored as a control: {error:#}"
            )),
        }
    }
    let (mut attacks, mut scored) = (Vec::new(), Vec::new());
    for spec in subject.attacks.iter().chain(&others) {
        if let Some((entry, rows)) = done.remove(spec) {
            attacks.push(entry);
            scored.extend(rows);
        }
    }
    let description = Scores {
        model: subject.name.to_owned(),
        defense: subject.defense.to_owned(),
        attacks,
        network_calls_made: Some(made.into()),
        network_calls_saved: Some(saved.into()),
        warnings,
        weights: Some(subject.weights.as_str().to_owned()),
        dtype: Some(engine.precision.name().to_owned()),
        weights_blake3: Some(subject.generator.fingerprint().to_owned()),
        known_fraction: Some(subject.known),
        compared_by: subject.extractor.map(Extractor::name),
    };
    Ok(Scored {
        rows: scored,
        description,
        kept: reused,
        asked_network,
    })
}

/// Why `nn-features` cannot be run without a network that makes features.
pub(crate) fn lacks_network() -> String {
    format!(
        "{} compares features of images, and there is no network for them: `cargo xtask features`, in a source checkout, \
         fetches one, or {} names its file (by pixels the attack is {})",
        BaseAttack::NearestFeatures.name(),
        super::utility::WEIGHTS,
        BaseAttack::Nearest.name()
    )
}

/// Scores of `nn-features`.
fn by_features(subject: &Subject<'_>, x: &Tensor, pool: &Tensor) -> Result<Vec<f64>> {
    let extractor = subject
        .extractor
        .filter(|e| !e.name().starts_with("pixels"))
        .with_context(lacks_network)?;
    Ok(feature_scores(
        &vectors(extractor, x)?,
        &vectors(extractor, pool)?,
    )?)
}

/// Scores of `density`, of the samples whose membership is not known: the known non-members are its reference.
fn by_density(
    subject: &Subject<'_>,
    x: &Tensor,
    pool: &Tensor,
    known: &Result<Known, AttackError>,
) -> Result<(Vec<usize>, Vec<f64>)> {
    let known = known.as_ref().map_err(|reason| anyhow!("{reason}"))?;
    let extractor = subject
        .extractor
        .context("there is nothing to compare images by")?;
    let features = vectors(extractor, x)?;
    let of = |places: &[usize]| -> Result<Tensor> {
        let places: Vec<i64> = places.iter().map(|&place| place as i64).collect();
        Ok(features.f_index_select(0, &Tensor::from_slice(&places))?)
    };
    let rest = known.rest(x.size()[0] as usize);
    let unseen: Vec<usize> = known
        .rows()
        .iter()
        .zip(known.member())
        .filter(|(_, member)| !**member)
        .map(|(&row, _)| row)
        .collect();
    let scores = density::scores(&of(&rest)?, &vectors(extractor, pool)?, &of(&unseen)?)?;
    Ok((rest, scores))
}

/// The images a black-box attack compares with.
fn pool(subject: &Subject<'_>, kind: BlackBox, x: &Tensor, session: &Session) -> Result<Tensor> {
    let rounds = match kind {
        BlackBox::Nearest | BlackBox::Features | BlackBox::Density => {
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
    let model = subject.generator.first();
    // Of latents the network makes smaller ones than the images are, and others in number.
    let shape = model.sample_shape().unwrap_or([size[1], size[2], size[3]]);
    let noise = initial_noise(
        subject.seed,
        subject.drawing.n,
        shape,
        session.engine.device,
    );
    // Half of the images favour the first model, half the second: their members are to be found alike.
    let n = noise.size()[0];
    let prompts = match (Told::by(model), subject.captions) {
        (Told::Class, Some(classes)) => Some(text::in_turn(model, classes, n as usize, 1.0)?),
        _ => None,
    };
    let half = n / 2;
    let mut drawn = Vec::new();
    for (order, start, length) in [(Order::First, 0, half), (Order::Second, half, n - half)] {
        // Numbered through both halves: an image of the second shares no noise with one of the first.
        let numbers: Vec<u64> = (start..start + length).map(|i| i as u64).collect();
        let images = subject.generator.sample_in_rounds(
            &noise.narrow(0, start, length),
            &numbers,
            &Sampling {
                sampler: choices::Sampler::Ddim,
                steps: subject.drawing.steps,
                order,
                batch: subject.batch,
                seed: subject.seed,
            },
            rounds,
            prompts.as_ref().map(|all| all.part(start, length)).as_ref(),
            |_| !session.stopped(),
        )?;
        // The attack compares on the CPU, where the samples are.
        drawn.push(images.to_device(Device::Cpu));
    }
    Ok(Tensor::f_cat(&drawn, 0)?)
}

/// How many samples an attack learnt from.
fn trained_on(known: Option<&Known>) -> TrainedOn {
    let [members, nonmembers] = known.map_or([0, 0], Known::counts);
    TrainedOn {
        members,
        nonmembers,
    }
}

fn described(info: &AttackInfo, fingerprint: &str, seconds: f64) -> ScoredAttack {
    ScoredAttack {
        attack: info.name.clone(),
        title: Some(info.title.clone()),
        paper: Some(info.paper.to_owned()),
        access: Some(info.access.name().to_owned()),
        formula: Some(info.formula.clone().into_owned()),
        misses: Some(info.misses.to_owned()),
        network_calls_per_sample: Some(info.network_calls_per_sample.into()),
        seconds: Some(seconds),
        status: Some(OK.to_owned()),
        reason: None,
        parameters: Some(info.parameters.clone()),
        fingerprint: Some(fingerprint.to_owned()),
        trained_on: None,
        shadow: None,
        own: None,
    }
}

fn failed(info: &AttackInfo, reason: String) -> ScoredAttack {
    ScoredAttack {
        status: Some(FAILED.to_owned()),
        reason: Some(reason),
        ..described(info, "", 0.0)
    }
}
