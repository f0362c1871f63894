//! A control: what attacks say of images that the model generated itself.
//!
//! An attack asks how much at home the model is on an image, and it is at home on what it generates. Where such images score as members do, a
//! threshold finds them too, and whoever audits images of which some may be generated counts them as trained on.

use super::super::hashes::hash_tensor;
use super::network::space;
use super::subject::Subject;
use crate::choices::Order;
use crate::reporter::{ProgressEvent, Work, meanwhile};
use crate::session::Session;
use anyhow::Result;
use dualmd_attack::{Method, Others, RunOptions, Samples};
use dualmd_audit::ScoreRow;
use dualmd_names::{AttackSpec, BlackBox};
use dualmd_record::scores::{OwnImages, ScoredAttack};
use std::collections::BTreeMap;
use std::time::Instant;

/// So many of the generated images are scored: the first.
const IMAGES: i64 = 64;

/// Adds the scores of the model's own images to what attacks by a formula `done`. Does nothing without generated images, and for a
/// text-to-image model, whose images belong to captions.
///
/// # Errors
/// A stop that was asked for; what a network refuses.
pub(super) fn score(
    subject: &Subject<'_>,
    done: &mut BTreeMap<&AttackSpec, (ScoredAttack, Vec<ScoreRow>)>,
    session: &Session,
) -> Result<()> {
    let (Some(generated), None) = (subject.generated, subject.captions) else {
        return Ok(());
    };
    let images = generated.narrow(0, 0, IMAGES.min(generated.size()[0]));
    let of = hash_tensor(&images)?;
    let (mut specs, mut methods) = (Vec::new(), Vec::new());
    for spec in subject.attacks {
        let there = done.get(spec).is_some_and(|(entry, _)| {
            let known = entry.own.as_ref().is_some_and(|own| own.of == of);
            entry.succeeded() && !known
        });
        if !there || BlackBox::of(spec).is_some() || spec.drawn().is_some() {
            continue;
        }
        if let method @ Method::Formula(_) = dualmd_attack::method(spec, space(subject))? {
            specs.push(spec);
            methods.push(method);
        }
    }
    if methods.is_empty() {
        return Ok(());
    }
    let model = subject.generator.first();
    let x = super::samples::seen(model, &images, &session.engine)?;
    let ids = (0..x.size()[0]).map(|i| format!("generated {i}")).collect();
    let timesteps = model.schedule().sampling_timesteps(subject.drawing.steps)?;
    let generator = subject.generator;
    let denoiser = generator.denoiser(Order::First, timesteps, subject.seed);
    let began = Instant::now();
    let asked = || {
        dualmd_attack::run(
            denoiser.as_ref(),
            model.schedule(),
            &Samples::new(x, ids)?,
            &methods,
            RunOptions {
                batch: subject.batch,
                seed: subject.seed,
                device: session.engine.device,
                others: Others {
                    teachers: generator.pair(),
                    reference: subject.reference.map(|r| r.first() as _),
                },
                known: None,
                shadow: None,
                parts: None,
                progress: &mut |step, total| {
                    let event = ProgressEvent::images(subject.name, step, total, began)
                        .of(Work::Attack)
                        .doing("own images");
                    // Scores are counted, and an image has one of each attack.
                    let images_per_second = event.images_per_second / methods.len() as f64;
                    session.reporter.progress(&ProgressEvent {
                        images_per_second,
                        ..event
                    });
                },
                stop: &|| session.stopped(),
            },
        )
    };
    let reporter = session.reporter.as_ref();
    let outcome = meanwhile(reporter, subject.name, "own images", asked)?;
    for (spec, result) in specs.into_iter().zip(outcome.results) {
        if let (Some((entry, _)), Ok(scores)) = (done.get_mut(spec), result.scores) {
            let of = of.clone();
            entry.own = Some(OwnImages { of, scores });
        }
    }
    Ok(())
}
