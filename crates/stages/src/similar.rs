//! Attacks by what the samples' captions draw: images as any user gets them, or in several rounds of a pair, compared with
//! the samples.

use super::features::{unit, vectors};
use super::generator::{self, Sampling};
use super::hashes::hash_tensor;
use super::score::subject::Subject;
use super::text::{Encoded, Prompts};
use crate::choices::{Order, Sampler};
use crate::session::Session;
use anyhow::{Context, Result, anyhow, bail};
use dualmd_attack::captions::combined;
use dualmd_attack::similarity::{channel_similarities, learnt, sim_mean};
use dualmd_attack::{AttackError, AttackInfo, Known};
use dualmd_diffusion::sampler::initial_noise;
use dualmd_metrics::{Extractor, Places};
use dualmd_names::{AttackSpec, Drawn, Rounds, Similarity};
use dualmd_torch::{Device, Tensor};
use serde::Serialize;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::time::Instant;

/// Samples whose places are compared at once: with three generations each, 49 places of 1,280 f64 take 2 MB a sample.
const CHUNK: i64 = 16;

/// One attack that is to be run.
pub struct Asked<'a> {
    /// The attack.
    pub spec: &'a AttackSpec,
    /// How it compares, and what is drawn for it.
    pub drawn: Drawn,
    /// The same in words.
    pub info: AttackInfo,
    /// What its scores depend on.
    pub fingerprint: String,
}

/// One thing that scores depend on, as it stands in what is hashed.
#[derive(Serialize)]
#[serde(untagged)]
pub enum DependsOn {
    /// The hash of images, of an encoder's answer, or of a shadow model; nothing without one.
    Hash(Option<String>),
    /// Images that are still to be drawn: how many for each caption, in how many steps, at which guidance.
    Drawing(usize, usize, f64),
    /// The same with the sampler and the order of the models.
    DrawingInOrder(usize, usize, f64, &'static str, &'static str),
    /// Share of samples whose membership is known; nothing for an attack that does not learn from them.
    Known(Option<f64>),
}

/// What one attack came to: scores of all samples, or of those that it did not learn from; and how long that took.
pub struct Answer {
    /// Positions of the samples that were scored, and their scores.
    pub scores: Result<(Vec<usize>, Vec<f64>)>,
    /// Seconds.
    pub seconds: f64,
}

/// Compares samples with images.
pub struct Comparison<'a> {
    subject: &'a Subject<'a>,
    extractor: &'a dyn Extractor,
    texts: &'a Encoded,
    /// Of all samples, [N, C, H, W] in [-1, 1].
    x: &'a Tensor,
    known: Result<&'a Known, String>,
    session: &'a Session,
    /// The same of a shadow model and its samples, and the truth about these.
    shadow: Option<(Box<Self>, &'a [bool])>,
    /// The samples' features, once they were asked for.
    query: OnceCell<Tensor>,
    /// Images for the first captions by how they were drawn, and what the `pw` attacks see in them.
    drawn: BTreeMap<Option<Rounds>, Seen>,
    /// How like each sample images for its captions are, the first caption first, by how they were drawn.
    likenesses: BTreeMap<Option<Rounds>, Vec<Vec<f64>>>,
}

/// Each row once, in their order.
fn distinct(rows: &[usize]) -> Vec<usize> {
    let mut out = Vec::new();
    for row in rows {
        if !out.contains(row) {
            out.push(*row);
        }
    }
    out
}

struct Seen {
    images: Tensor,
    channels: Option<Tensor>,
}

impl<'a> Comparison<'a> {
    /// Nothing is drawn yet. `extractor`: what images are compared by; `texts`: the captions of the samples `x`. What the
    /// subject's model drew are images for the samples' own captions, as many in a row for each.
    pub fn new(
        subject: &'a Subject<'a>,
        extractor: &'a dyn Extractor,
        texts: &'a Encoded,
        x: &'a Tensor,
        known: Result<&'a Known, String>,
        session: &'a Session,
    ) -> Self {
        Self {
            subject,
            extractor,
            texts,
            x,
            known,
            session,
            shadow: None,
            query: OnceCell::new(),
            drawn: BTreeMap::new(),
            likenesses: BTreeMap::new(),
        }
    }

    /// With what a shadow model draws for the captions of its own samples.
    pub fn with_shadow(mut self, shadow: Option<(Self, &'a [bool])>) -> Self {
        self.shadow = shadow.map(|(own, member)| (Box::new(own), member));
        self
    }

    /// What an attack is, with its parameters.
    pub fn info(&self, drawn: Drawn) -> AttackInfo {
        let encoder = match (drawn.form.learns(), self.extractor.places()) {
            (true, Some(places)) => places.name(),
            _ => self.extractor.name(),
        };
        dualmd_attack::drawn::info(drawn, self.subject.drawing.per_prompt, &encoder)
    }

    /// What the scores of an attack depend on beside samples, captions and model. `shadow`: what stands for a shadow model.
    ///
    /// # Errors
    /// What the encoder refuses.
    pub fn depends_on(&self, drawn: Drawn, shadow: Option<String>) -> Result<Vec<DependsOn>> {
        let d = self.subject.drawing;
        let images = match (drawn.rounds, self.subject.generated) {
            (None, Some(images)) => DependsOn::Hash(Some(hash_tensor(images)?)),
            _ => DependsOn::Drawing(d.per_prompt, d.steps, d.guidance),
        };
        // What the encoder makes of two images stands for its weights.
        let two = self.x.narrow(0, 0, self.x.size()[0].min(2));
        let encoder = if drawn.form.learns() {
            hash_tensor(&self.places()?.features(&unit(&two))?)?
        } else {
            hash_tensor(&self.vectors(&two)?)?
        };
        let known = (drawn.form.learns() && !drawn.shadow).then_some(self.subject.known);
        let mut rest = vec![
            images,
            DependsOn::Hash(Some(encoder)),
            DependsOn::Known(known),
        ];
        if drawn.shadow {
            rest.push(DependsOn::Hash(shadow));
        }
        if drawn.captions.is_some() {
            // As images for further captions are drawn.
            rest.push(DependsOn::DrawingInOrder(
                d.per_prompt,
                d.steps,
                d.guidance,
                d.sampler.as_str(),
                d.order.as_str(),
            ));
        }
        Ok(rest)
    }

    /// Runs one attack.
    ///
    /// # Errors
    /// A stop that was asked for. What else goes wrong is part of the answer.
    pub fn run(&mut self, drawn: Drawn) -> Result<Answer> {
        let began = Instant::now();
        let scores = match self.scores(drawn) {
            Err(error) if generator::stopped(&error) => return Err(error),
            scores => scores,
        };
        Ok(Answer {
            scores,
            seconds: began.elapsed().as_secs_f64(),
        })
    }

    fn scores(&mut self, drawn: Drawn) -> Result<(Vec<usize>, Vec<f64>)> {
        let n = self.x.size()[0] as usize;
        match (drawn.form, drawn.captions) {
            (Similarity::Mean, None) => {
                let images = self.seen(drawn.rounds)?.images.shallow_clone();
                Ok(((0..n).collect(), self.likeness(None, &images)?))
            }
            (Similarity::Mean, Some(over)) => {
                let all = self.with_every_caption(drawn.rounds)?;
                let scores = all
                    .iter()
                    .map(|likenesses| combined(over, likenesses))
                    .collect();
                Ok(((0..n).collect(), scores))
            }
            (form, _) if drawn.shadow => {
                let Some((shadow, member)) = &mut self.shadow else {
                    return Err(AttackError::NoShadow.into());
                };
                let (taught, member) = (shadow.channels(drawn.rounds)?, *member);
                let judged = self.channels(drawn.rounds)?;
                let scores = learnt(form, (&taught, member), &judged, self.subject.seed)?;
                Ok(((0..n).collect(), scores))
            }
            (form, _) => {
                let known = self.known.clone().map_err(|reason| anyhow!(reason))?;
                let channels = self.channels(drawn.rounds)?;
                let of = |rows: &[usize]| -> Result<Tensor> {
                    let rows: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
                    let rows = Tensor::from_slice(&rows).f_to_device(channels.device())?;
                    Ok(channels.f_index_select(0, &rows)?)
                };
                let rest = known.rest(n);
                let taught = (&of(known.rows())?, known.member());
                let scores = learnt(form, taught, &of(&rest)?, self.subject.seed)?;
                Ok((rest, scores))
            }
        }
    }

    /// `sim-mean` of the samples at `places`, or of all, and images, the same number in a row for each of them.
    fn likeness(&self, places: Option<&[i64]>, images: &Tensor) -> Result<Vec<f64>> {
        let all = match self.query.get() {
            Some(all) => all,
            None => {
                let all = self.vectors(self.x)?;
                self.query.get_or_init(|| all)
            }
        };
        let query = match places {
            Some(places) => all.f_index_select(0, &Tensor::from_slice(places))?,
            None => all.shallow_clone(),
        };
        let [n, _, width] = query.size()[..] else {
            bail!("features of one image are one vector")
        };
        let generated = self.vectors(images)?.f_view([n, -1, 1, width])?;
        Ok(sim_mean(&query, &generated)?)
    }

    /// How like each sample images for each of its captions are, the first caption first; a caption that is there twice counts
    /// once. Images of one further caption at a time are held, so that it takes no more memory than the first did.
    fn with_every_caption(&mut self, rounds: Option<Rounds>) -> Result<&[Vec<f64>]> {
        if !self.likenesses.contains_key(&rounds) {
            let images = self.seen(rounds)?.images.shallow_clone();
            let first = self.likeness(None, &images)?;
            let mut all: Vec<Vec<f64>> = first.into_iter().map(|s| vec![s]).collect();
            let captions: Vec<Vec<usize>> =
                self.texts.of.iter().map(|rows| distinct(rows)).collect();
            let most = captions.iter().map(Vec::len).max().unwrap_or(0);
            for k in 1..most {
                let asked: Vec<(usize, usize)> = captions
                    .iter()
                    .enumerate()
                    .filter_map(|(sample, rows)| Some((sample, *rows.get(k)?)))
                    .collect();
                let images = self.draw(rounds, &asked)?;
                let places: Vec<i64> = asked.iter().map(|(sample, _)| *sample as i64).collect();
                let found = self.likeness(Some(&places), &images)?;
                for ((sample, _), score) in asked.into_iter().zip(found) {
                    all[sample].push(score);
                }
            }
            self.likenesses.insert(rounds, all);
        }
        let found = self.likenesses.get(&rounds);
        Ok(found.context("nothing was drawn")?)
    }

    /// The images of an attack; drawn when they are first asked for.
    fn seen(&mut self, rounds: Option<Rounds>) -> Result<&Seen> {
        if !self.drawn.contains_key(&rounds) {
            let images = match (rounds, self.subject.generated) {
                (None, Some(images)) => images.shallow_clone(),
                (None, None) => bail!("no images were drawn for the captions"),
                (rounds, _) => {
                    let first = |(sample, rows): (usize, &Vec<usize>)| (sample, rows[0]);
                    let asked: Vec<_> = self.texts.of.iter().enumerate().map(first).collect();
                    self.draw(rounds, &asked)?
                }
            };
            let (n, m) = (self.x.size()[0], images.size()[0]);
            if m == 0 || m % n != 0 {
                bail!("{m} images for {n} captions: draw as many for each");
            }
            let channels = None;
            self.drawn.insert(rounds, Seen { images, channels });
        }
        self.drawn.get(&rounds).context("nothing was drawn")
    }

    /// What the model draws for captions, given as (sample, row of the caption), as any user gets it or in several rounds of a
    /// pair; [N k, C, H, W] on the CPU. The r-th image for any caption of a sample starts from the same noise, which is that of
    /// the plain images for the first captions.
    fn draw(&self, rounds: Option<Rounds>, asked: &[(usize, usize)]) -> Result<Tensor> {
        let Subject {
            generator,
            drawing,
            seed,
            batch,
            ..
        } = *self.subject;
        if rounds.is_some() && generator.pair().is_none() {
            bail!(
                "repeated rounds favour one of two models that take turns: name both model folders"
            );
        }
        let each = drawing.per_prompt;
        let prompts = Prompts {
            condition: self.texts.rows(asked.iter().map(|(_, row)| *row), each),
            nothing: self.texts.nothing(),
            guidance: drawing.guidance,
        };
        let size = self.x.size();
        let shape = generator.first().sample_shape();
        let noise = initial_noise(
            seed,
            size[0] as usize * each,
            shape.unwrap_or([size[1], size[2], size[3]]),
            self.session.engine.device,
        );
        let places: Vec<i64> = asked
            .iter()
            .flat_map(|(sample, _)| (0..each).map(move |r| (sample * each + r) as i64))
            .collect();
        // Noise belongs to the sample, whichever others are asked with this caption.
        let numbers: Vec<u64> = places.iter().map(|&p| p as u64).collect();
        let places = Tensor::from_slice(&places).to_device(self.session.engine.device);
        let (sampler, order, rounds) = match rounds {
            None => (drawing.sampler, drawing.order, 1),
            Some(Rounds { rounds, second }) => {
                let order = if second { Order::Second } else { Order::First };
                (Sampler::Ddim, order, rounds)
            }
        };
        let images = generator.sample_in_rounds(
            &noise.f_index_select(0, &places)?,
            &numbers,
            &Sampling {
                sampler,
                steps: drawing.steps,
                order,
                batch,
                seed,
            },
            rounds,
            Some(&prompts),
            |_| !self.session.stopped(),
        )?;
        Ok(images.to_device(Device::Cpu))
    }

    /// One vector for each image, [N, 1, D].
    fn vectors(&self, images: &Tensor) -> Result<Tensor> {
        Ok(vectors(self.extractor, images)?.unsqueeze(1))
    }

    fn places(&self) -> Result<&'a dyn Places> {
        let extractor = self.extractor;
        extractor.places().with_context(|| {
            format!(
                "it compares place by place, and {} has one vector an image: use efflite0 or pixels",
                extractor.name()
            )
        })
    }

    /// The feature of the `pw` attacks, [N, channels].
    fn channels(&mut self, rounds: Option<Rounds>) -> Result<Tensor> {
        let encoder = self.places()?;
        self.seen(rounds)?;
        let seen = self.drawn.get_mut(&rounds).context("nothing was drawn")?;
        if let Some(channels) = &seen.channels {
            return Ok(channels.shallow_clone());
        }
        let n = self.x.size()[0];
        let each = seen.images.size()[0] / n;
        let mut parts = Vec::new();
        for start in (0..n).step_by(CHUNK as usize) {
            if self.session.stopped() {
                return Err(dualmd_diffusion::DiffusionError::Stopped.into());
            }
            let length = (n - start).min(CHUNK);
            let query = encoder.features(&unit(&self.x.narrow(0, start, length)))?;
            let images = seen.images.narrow(0, start * each, length * each);
            let (places, channels) = (query.size()[1], query.size()[2]);
            let generated = encoder
                .features(&unit(&images))?
                .f_view([length, each, places, channels])?;
            parts.push(channel_similarities(&query, &generated)?);
        }
        let channels = Tensor::f_cat(&parts, 0)?;
        seen.channels = Some(channels.shallow_clone());
        Ok(channels)
    }
}
