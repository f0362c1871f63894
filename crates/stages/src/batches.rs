//! Images that several processes generate: each some of the batches, which lie in a folder of parts until one call has all of them.
//!
//! A batch holds the images that it holds where one process generates all, so that its bytes are the same. It is kept as the network
//! made it: latents are decoded together in the end, as one process does it.

use super::generator::{Generator, Sampling};
use super::score::parts;
use super::text::Prompts;
use crate::reporter::{ProgressEvent, Work, meanwhile};
use crate::session::Session;
use anyhow::Result;
use dualmd_attack::side::Steering;
use dualmd_attack::{Batches, Parts, Share};
use dualmd_diffusion::DiffusionError;
use dualmd_diffusion::sampler::{Known, Start};
use dualmd_torch::{Device, Kind, Tensor};
use std::collections::BTreeMap;
use std::time::Instant;

/// Name of the only tensor of a part.
const IMAGES: &str = "images";

/// The images of one call, batch by batch.
pub struct InBatches<'a> {
    /// For progress: the name that a report has of the model; empty where there will be none.
    pub name: &'a str,
    /// The model, or the pair.
    pub generator: &'a Generator,
    /// What the images start from, [N, C, H, W].
    pub noise: &'a Tensor,
    /// What of them is given, where it is a part of them only that is generated.
    pub known: Option<Known<'a>>,
    /// What leads the model, where it is led; it is then told nothing.
    pub steering: Option<Steering<'a>>,
    /// How they are generated.
    pub how: Sampling,
    /// What is made of these.
    pub parts: &'a parts::Folder,
}

impl InBatches<'_> {
    /// Generates the batches of a share that are not there. `prompts` is asked if there are some.
    ///
    /// # Errors
    /// What the model refuses; a part that cannot be written; a stop that was asked for.
    pub fn share(
        &self,
        share: Share,
        prompts: impl FnOnce() -> Result<Option<Prompts>>,
        session: &Session,
    ) -> Result<Batches> {
        let starts = self.starts();
        let own = starts.iter().enumerate().filter(|(i, _)| share.has(*i));
        let own: Vec<i64> = own.map(|(_, start)| *start).collect();
        let lacks = |start: &i64| self.read(*start).is_none();
        let lacking: Vec<i64> = own.iter().copied().filter(lacks).collect();
        let mut batches = Batches {
            all: starts.len(),
            ..Batches::default()
        };
        own.iter()
            .for_each(|start| batches.count(lacking.contains(start)));
        self.generate(&lacking, prompts, session, |_, _| {})?;
        let there = |start: &&i64| self.parts.has(&start.to_string());
        batches.there = starts.iter().filter(there).count();
        Ok(batches)
    }

    /// All images as the network made them, on the CPU: those that are there, and the others, which are generated.
    ///
    /// # Errors
    /// As [`Self::share`].
    pub fn gather(
        &self,
        prompts: impl FnOnce() -> Result<Option<Prompts>>,
        session: &Session,
    ) -> Result<Tensor> {
        let starts = self.starts();
        let read = |&start: &i64| Some((start, self.read(start)?));
        let mut all: BTreeMap<i64, Tensor> = starts.iter().filter_map(read).collect();
        if !all.is_empty() {
            session.say(&parts::of_parts(all.len(), starts.len()));
        }
        let lacking: Vec<i64> = starts
            .into_iter()
            .filter(|start| !all.contains_key(start))
            .collect();
        self.generate(&lacking, prompts, session, |start, made| {
            all.insert(start, made);
        })?;
        let all: Vec<Tensor> = all.into_values().collect();
        Ok(Tensor::f_cat(&all, 0)?)
    }

    /// How many of the images lie there already.
    pub fn there(&self) -> usize {
        let starts = self.starts().into_iter();
        let there = starts.filter(|start| self.parts.has(&start.to_string()));
        there
            .map(|start| usize::try_from(self.length(start)).unwrap_or(0))
            .sum()
    }

    /// Are all batches there, and whole?
    pub fn is_whole(&self) -> bool {
        let starts = self.starts();
        starts.iter().all(|start| self.read(*start).is_some())
    }

    /// The number of the first image of each batch: its part's name.
    fn starts(&self) -> Vec<i64> {
        let n = self.noise.size().first().copied().unwrap_or(0);
        (0..n).step_by(self.how.batch.max(1)).collect()
    }

    /// How many images the batch has that begins with image `start`.
    fn length(&self, start: i64) -> i64 {
        let n = self.noise.size().first().copied().unwrap_or(0);
        (n - start).min(i64::try_from(self.how.batch.max(1)).unwrap_or(n))
    }

    /// A batch that is there, and whole.
    fn read(&self, start: i64) -> Option<Tensor> {
        let found = self.parts.read(&start.to_string())?.remove(IMAGES)?;
        let mut size = self.noise.size();
        *size.first_mut()? = self.length(start);
        (found.size() == size && found.kind() == Kind::Float).then_some(found)
    }

    /// Generates batches, leaves each, and hands it to `take`.
    fn generate(
        &self,
        starts: &[i64],
        prompts: impl FnOnce() -> Result<Option<Prompts>>,
        session: &Session,
        take: impl FnMut(i64, Tensor),
    ) -> Result<()> {
        if starts.is_empty() {
            return Ok(());
        }
        meanwhile(session.reporter.as_ref(), self.name, "generating", || {
            self.make(starts, prompts, session, take)
        })
    }

    fn make(
        &self,
        starts: &[i64],
        prompts: impl FnOnce() -> Result<Option<Prompts>>,
        session: &Session,
        mut take: impl FnMut(i64, Tensor),
    ) -> Result<()> {
        let prompts = prompts()?;
        let images = |start: &i64| usize::try_from(self.length(*start)).unwrap_or(0);
        let total: usize = starts.iter().map(images).sum();
        let (mut done, began) = (0, Instant::now());
        for start in starts {
            if session.stopped() {
                return Err(DiffusionError::Stopped.into());
            }
            let made = self.batch(*start, prompts.as_ref())?;
            let part = BTreeMap::from([(IMAGES.to_owned(), made.shallow_clone())]);
            self.parts
                .write(&start.to_string(), &part)
                .map_err(anyhow::Error::msg)?;
            done += images(start);
            let event = ProgressEvent::images(self.name, done, total, began).of(Work::Generate);
            session.reporter.progress(&match self.name {
                "" => event.doing("sample"),
                _ => event,
            });
            take(*start, made);
        }
        Ok(())
    }

    fn batch(&self, start: i64, prompts: Option<&Prompts>) -> Result<Tensor> {
        let length = self.length(start);
        let prompts = prompts.map(|all| all.part(start, length));
        let numbers: Vec<u64> = (start..start + length).map(i64::unsigned_abs).collect();
        let noise = self.noise.narrow(0, start, length);
        let prompts = prompts.as_ref();
        let own = self
            .known
            .map(|known| (known.images.narrow(0, start, length), known.given));
        let from = Start {
            x_t: &noise,
            images: &numbers,
            condition: None,
            known: own.as_ref().map(|(images, given)| Known { images, given }),
        };
        // Asked to stop, it leaves this batch first.
        let made = match self.steering {
            Some(steering) => self.generator.undecoded_led(&from, &self.how, steering)?,
            None => self
                .generator
                .undecoded(&from, &self.how, 1, prompts, |_| true)?,
        };
        Ok(made.f_to_device(Device::Cpu)?)
    }
}
