//! What a model draws for a report, and for attacks that look at images: of the models of a run and of an audit alike.

use super::batches::InBatches;
use super::generator::{Generator, Sampling, decoded};
use super::score::parts::Folder;
use super::score::subject::Drawing;
use super::text::{Encoded, Prompts, Told, in_turn};
use crate::reporter::{ProgressEvent, Work};
use crate::room;
use crate::session::Session;
use anyhow::Result;
use dualmd_diffusion::sampler::initial_noise;
use dualmd_diffusion::{Asked, DiffusionError, Foreign};
use dualmd_torch::{Device, Tensor};
use std::time::Instant;

/// What is drawn from one model.
pub struct Draw<'a> {
    /// The model, or the pair.
    pub generator: &'a Generator,
    /// For progress: the name that a report has of it.
    pub name: &'a str,
    /// What is told of every sample: its captions, for the first of which a text-to-image model draws, or its class, which a class-conditional
    /// model takes in turn.
    pub words: Option<&'a [&'a [String]]>,
    /// Guidance scale of a class-conditional model; 1 is none.
    pub label_guidance: f64,
    /// [C, H, W] of the images, for a network that does not say what it sees.
    pub shape: [usize; 3],
    /// How many, and how.
    pub drawing: Drawing,
    /// Images at a time.
    pub batch: usize,
    /// All that is random follows from it.
    pub seed: u64,
}

impl Draw<'_> {
    /// The images, [N, C, H, W] in [-1, 1] on the CPU, where attacks compare them. `parts`: where batches are kept that an earlier call
    /// drew before it was stopped; of a model that draws in its own way there are none.
    ///
    /// # Errors
    /// More than the machine holds; what the model refuses; a stop that was asked for.
    pub fn images(&self, session: &Session, parts: Option<&Folder>) -> Result<Tensor> {
        let (model, device) = (self.generator.first(), session.engine.device);
        let captions = self.words.filter(|_| Told::by(model) == Told::Captions);
        let n = captions.map_or(self.drawing.n, |all| all.len() * self.drawing.per_prompt);
        let shape = model
            .sample_shape()
            .unwrap_or_else(|| self.shape.map(|d| d as i64));
        room::check(model, n, self.batch, shape)?;
        let began = Instant::now();
        let go_on = |done: usize| {
            let event = ProgressEvent::images(self.name, done, n, began).of(Work::Generate);
            session.reporter.progress(&event);
            !session.stopped()
        };
        if let Some(foreign) = model.foreign().filter(|f| f.generates()) {
            return self.in_its_own_way(foreign, n, captions, go_on);
        }
        let noise = initial_noise(self.seed, n, shape, device);
        let how = Sampling {
            sampler: self.drawing.sampler,
            steps: self.drawing.steps,
            order: self.drawing.order,
            batch: self.batch,
            seed: self.seed,
        };
        let prompts = || self.prompts(n);
        let images = match parts {
            Some(parts) => {
                let in_batches = InBatches {
                    name: self.name,
                    generator: self.generator,
                    noise: &noise,
                    known: None,
                    steering: None,
                    how,
                    parts,
                };
                let made = in_batches.gather(prompts, session)?;
                decoded(model, &made.f_to_device(device)?)?
            }
            None => self
                .generator
                .sample(&noise, &how, prompts()?.as_ref(), go_on)?,
        };
        Ok(images.f_to_device(Device::Cpu)?)
    }

    /// What the model is told, for each of `n` images.
    fn prompts(&self, n: usize) -> Result<Option<Prompts>> {
        let model = self.generator.first();
        match (Told::by(model), self.words) {
            (Told::Captions, Some(captions)) => {
                let encoded = Encoded::of(model, captions)?;
                Ok(Some(Prompts {
                    condition: encoded.main(self.drawing.per_prompt),
                    nothing: encoded.nothing(),
                    guidance: self.drawing.guidance,
                }))
            }
            (Told::Class, Some(classes)) => {
                Ok(Some(in_turn(model, classes, n, self.label_guidance)?))
            }
            _ => Ok(None),
        }
    }

    /// Images of a model elsewhere that draws by itself, as its users get them.
    fn in_its_own_way(
        &self,
        model: &dyn Foreign,
        n: usize,
        captions: Option<&[&[String]]>,
        go_on: impl Fn(usize) -> bool,
    ) -> Result<Tensor> {
        let texts = captions.map(|captions| main_texts(captions, self.drawing.per_prompt));
        let mut parts = Vec::new();
        let mut done = 0;
        while done < n {
            let count = self.batch.min(n - done);
            let told = texts.as_deref().and_then(|all| all.get(done..done + count));
            parts.push(model.generate(&Asked {
                seed: self.seed,
                first: done as u64,
                count,
                steps: self.drawing.steps,
                texts: told.map(|texts| (texts, self.drawing.guidance)),
            })?);
            done += count;
            if !go_on(done) && done < n {
                return Err(DiffusionError::Stopped.into());
            }
        }
        Ok(Tensor::f_cat(&parts, 0)?)
    }
}

/// The main caption of every sample, each `times` times.
fn main_texts<'a>(captions: &[&'a [String]], times: usize) -> Vec<&'a str> {
    let main = |own: &&'a [String]| own.first().map_or("", String::as_str);
    let each = captions.iter().map(main);
    each.flat_map(|text| std::iter::repeat_n(text, times))
        .collect()
}
