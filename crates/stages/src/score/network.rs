//! What is asked of the network, by one process or by several that each look at some of the batches.

use super::depends::Base;
use super::parts;
use super::samples::{Taught, samples};
use super::subject::{Label, Subject};
use crate::choices::Order;
use crate::engine::Engine;
use crate::reporter::{ProgressEvent, Work, meanwhile};
use crate::session::Session;
use crate::text::Encoded;
use anyhow::Result;
use dualmd_attack::{AttackError, AttackInfo, Known, Method, Others, RunOptions, Samples, Space};
use dualmd_diffusion::{Denoiser, NoiseSchedule};
use dualmd_names::{AttackSpec, BlackBox};
use dualmd_torch::Tensor;
use std::time::Instant;

/// What parts depend on: all that scores do, which attack is which in them, and which samples a batch has.
pub(super) fn key<'a>(
    fingerprints: impl Iterator<Item = &'a String>,
    subject: &Subject<'_>,
) -> String {
    let of: Vec<&str> = fingerprints.map(String::as_str).collect();
    format!("{of:?} {} {}", subject.batch, subject.seed)
}

/// What the model under attack sees.
pub(super) fn space(subject: &Subject<'_>) -> Space {
    match subject.generator.first().is_latent() {
        true => Space::Latent,
        false => Space::Pixels,
    }
}

/// A subject's samples as attacks look at them, and what scores depend on.
pub(super) struct Ready<'a> {
    samples: Samples,
    pub(super) texts: Option<Encoded>,
    pub(super) base: Base,
    pub(super) taught_by: Option<Taught<'a>>,
    /// Whose membership attacks that learn are told; why it cannot be drawn.
    pub(super) known: Result<Known, AttackError>,
}

impl<'a> Ready<'a> {
    /// # Errors
    /// As [`samples`]; an image that is also the shadow model's.
    pub(super) fn new(
        subject: &Subject<'a>,
        x: &Tensor,
        labels: &[Label],
        engine: &Engine,
    ) -> Result<Self> {
        let (samples, texts) = samples(subject, x, labels, engine)?;
        let mut base = Base::new(subject, samples.x(), texts.as_ref(), labels, engine)?;
        let taught_by = subject
            .shadow
            .map(|shadow| Taught::new(subject, shadow, labels, engine))
            .transpose()?;
        if let Some(taught) = &taught_by {
            let shadow = &taught.shadow;
            base = base.with_shadow(shadow, taught.samples.x(), taught.texts.as_ref())?;
        }
        let keys: Vec<String> = labels.iter().map(Label::key).collect();
        let truth: Vec<bool> = labels.iter().map(|l| l.member).collect();
        Ok(Self {
            known: Known::draw(&keys, &truth, subject.known, subject.seed),
            samples,
            texts,
            base,
            taught_by,
        })
    }

    /// Does the attack compare images, and not ask the network about the samples?
    pub(super) fn is_compared(&self, spec: &AttackSpec) -> bool {
        BlackBox::of(spec).is_some() || (self.texts.is_some() && spec.drawn().is_some())
    }

    /// An attack on the network, and the hash of all that its scores depend on. `shadow`: what stands for the shadow model in it.
    pub(super) fn method(
        &self,
        subject: &Subject<'_>,
        spec: &AttackSpec,
        shadow: Option<&String>,
    ) -> Result<(Method, AttackInfo, String)> {
        let method = dualmd_attack::method(spec, space(subject))?;
        let info = method.info();
        let fingerprint = self.base.network(&info, spec.needs(), subject, shadow)?;
        Ok((method, info, fingerprint))
    }

    /// Why the attack cannot be tried.
    pub(super) fn lacks(&self, method: &Method) -> Option<String> {
        match (method, &self.known) {
            (Method::Shadowed(_), _) if self.taught_by.is_none() => {
                Some(AttackError::NoShadow.to_string())
            }
            (Method::Learned(_), Err(reason)) => Some(reason.to_string()),
            _ => None,
        }
    }

    /// Asks the network all that `methods` ask: what `go` makes of it. Parts are read from and left in `parts`.
    pub(super) fn ask<T>(
        &self,
        subject: &Subject<'_>,
        methods: &[Method],
        parts: &parts::Folder,
        session: &Session,
        go: impl FnOnce(
            &dyn Denoiser,
            &NoiseSchedule,
            &Samples,
            &[Method],
            RunOptions<'_>,
        ) -> dualmd_attack::Result<T>,
    ) -> Result<T> {
        let Self {
            samples,
            taught_by,
            known,
            ..
        } = self;
        let model = subject.generator.first();
        let timesteps = model.schedule().sampling_timesteps(subject.drawing.steps)?;
        let denoiser = subject
            .generator
            .denoiser(Order::First, timesteps.clone(), subject.seed);
        let of_shadow = taught_by.as_ref().map(|taught| {
            let generator = taught.shadow.generator;
            generator.denoiser(Order::First, timesteps, subject.seed)
        });
        let began = Instant::now();
        let asked = || {
            go(
                denoiser.as_ref(),
                model.schedule(),
                samples,
                methods,
                RunOptions {
                    batch: subject.batch,
                    seed: subject.seed,
                    device: session.engine.device,
                    others: Others {
                        teachers: subject.generator.pair(),
                        reference: subject.reference.map(|r| r.first() as _),
                    },
                    known: known.as_ref().ok(),
                    shadow: taught_by.as_ref().zip(of_shadow.as_deref()).map(
                        |(taught, denoiser)| dualmd_attack::Shadow {
                            denoiser,
                            schedule: taught.shadow.generator.first().schedule(),
                            samples: &taught.samples,
                            member: &taught.member,
                        },
                    ),
                    parts: Some(parts),
                    progress: &mut |done, total| {
                        session.reporter.progress(&ProgressEvent {
                            model: subject.name.to_owned(),
                            stage: Work::Attack,
                            task: None,
                            step: done as u64,
                            total: total as u64,
                            epoch: None,
                            loss: None,
                            images_per_second: done as f64
                                / methods.len() as f64
                                / began.elapsed().as_secs_f64(),
                            run_seconds_left: None,
                            run_left_without: Vec::new(),
                        });
                    },
                    stop: &|| session.stopped(),
                },
            )
        };
        let reporter = session.reporter.as_ref();
        Ok(meanwhile(reporter, subject.name, "attacks", asked)?)
    }
}
