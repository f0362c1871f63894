//! The way through the samples, batch by batch: a batch that an earlier run left is read, another one is looked at and left.

use crate::parts::Part;
use crate::{
    Attack, AttackError, AttackResult, Batch, Learned, Method, Others, Result, RunOptions, Samples,
    Shadow, Share, clean_noise,
};
use dualmd_data::stream;
use dualmd_diffusion::{Denoiser, NoiseSchedule};
use dualmd_torch::device::bring;
use dualmd_torch::{Device, Kind, Tensor};
use rand::seq::SliceRandom;
use std::collections::HashSet;
use std::time::Instant;

/// A run while it goes through the samples. Which batch is looked at in which order is the caller's.
pub(crate) struct Pass<'a, 'o> {
    model: (&'a dyn Denoiser, &'a NoiseSchedule),
    samples: &'a Samples,
    attacks: &'a [Method],
    pub(crate) options: RunOptions<'o>,
    /// One per attack. The scores of one that fails on a batch become the reason, and it is not asked again.
    pub(crate) results: Vec<AttackResult>,
    /// Scores done; a score is one sample under one attack.
    pub(crate) done: usize,
    /// Scores that are to be done.
    pub(crate) total: usize,
}

impl<'a, 'o> Pass<'a, 'o> {
    /// `share`: the batches that the caller will go through, for the progress.
    pub(crate) fn new(
        model: (&'a dyn Denoiser, &'a NoiseSchedule),
        samples: &'a Samples,
        attacks: &'a [Method],
        options: RunOptions<'o>,
        share: Share,
    ) -> Result<Self> {
        let n = samples.ids().len();
        let results: Vec<AttackResult> = attacks
            .iter()
            .map(|a| AttackResult {
                info: a.info(),
                scores: Ok(vec![0.0; n]),
                rows: (0..n).collect(),
                seconds: 0.0,
                network_calls: 0,
            })
            .collect();
        let mut names = HashSet::new();
        if let Some(twice) = results.iter().find(|r| !names.insert(r.info.name.as_str())) {
            return Err(AttackError::Repeated(twice.info.name.clone()));
        }
        drop(names);
        let mut pass = Self {
            model,
            samples,
            attacks,
            options,
            results,
            done: 0,
            total: 0,
        };
        let batch = pass.batch_size();
        pass.total = share.samples(n, batch) * attacks.len();
        if let Some(shadow) = pass.shadow() {
            check_shadow(&shadow, samples)?;
            let shadowed = attacks.iter().filter(|a| is_shadowed(a)).count();
            pass.total += share.samples(shadow.samples.ids().len(), batch) * shadowed;
        }
        Ok(pass)
    }

    /// Samples per batch, at least 1.
    pub(crate) fn batch_size(&self) -> usize {
        self.options.batch.max(1)
    }

    /// The positions of the samples in the order in which they are cut into batches.
    pub(crate) fn order(&self) -> Vec<usize> {
        shuffled(self.samples.ids().len(), self.options.seed, "attack/order")
    }

    /// The same of the shadow model's samples, which are mixed as those of the target are; none if no attack looks at them.
    pub(crate) fn shadow_order(&self) -> Vec<usize> {
        self.shadow().map_or_else(Vec::new, |shadow| {
            let n = shadow.samples.ids().len();
            shuffled(n, self.options.seed, "attack/shadow-order")
        })
    }

    /// The shadow model, if an attack looks at it.
    fn shadow(&self) -> Option<Shadow<'o>> {
        let asked = self.attacks.iter().any(is_shadowed);
        self.options.shadow.filter(|_| asked)
    }

    /// What batch number `index`, the samples at `rows`, came to; and whether that was found out now.
    pub(crate) fn batch(&mut self, index: usize, rows: &[usize]) -> Result<(Part, bool)> {
        let name = own_name(index);
        let asked = vec![true; self.attacks.len()];
        let found = self.found(&name, rows.len(), &asked);
        let new = found.is_none();
        let part = match found {
            Some(part) => part,
            None => {
                let part = self.look_at(rows)?;
                self.leave(&name, &part)?;
                part
            }
        };
        self.done += rows.len() * self.attacks.len();
        if !new {
            (self.options.progress)(self.done, self.total);
        }
        Ok((part, new))
    }

    /// As [`Self::batch`], of the shadow model's samples.
    pub(crate) fn shadow_batch(&mut self, index: usize, rows: &[usize]) -> Result<(Part, bool)> {
        let Some(shadow) = self.shadow() else {
            return Err(AttackError::NoShadow);
        };
        let name = shadow_name(index);
        let asked: Vec<bool> = self.attacks.iter().map(is_shadowed).collect();
        let found = self.found(&name, rows.len(), &asked);
        let new = found.is_none();
        let part = match found {
            Some(part) => part,
            None => {
                let part = self.look_at_shadow(&shadow, rows)?;
                self.leave(&name, &part)?;
                part
            }
        };
        self.done += rows.len() * asked.iter().filter(|a| **a).count();
        (self.options.progress)(self.done, self.total);
        Ok((part, new))
    }

    /// The part of `n` samples that an earlier run left under `name`, if it is whole.
    fn found(&self, name: &str, n: usize, asked: &[bool]) -> Option<Part> {
        let part = Part::of(self.options.parts?.read(name)?);
        part.whole(n, &self.results, asked).then_some(part)
    }

    fn leave(&self, name: &str, part: &Part) -> Result<()> {
        match self.options.parts {
            Some(parts) => parts
                .write(name, part.tensors())
                .map_err(AttackError::NotKept),
            None => Ok(()),
        }
    }

    fn look_at(&mut self, rows: &[usize]) -> Result<Part> {
        let Self {
            model,
            samples,
            attacks,
            options,
            results,
            done,
            total,
        } = self;
        let (model, samples, attacks, done, total) = (*model, *samples, *attacks, *done, *total);
        let ways = Ways::of(options);
        let mut part = Part::default();
        ways.look(model, options.others, samples, rows, |batch| {
            let each = attacks.iter().zip(results.iter_mut()).enumerate();
            for (index, (attack, result)) in each {
                if (options.stop)() {
                    // As many as the progress has told.
                    let done = done + index * rows.len();
                    return Err(AttackError::Stopped { done, total });
                }
                if result.scores.is_err() {
                    continue;
                }
                let (start, before) = (Instant::now(), batch.calls().made);
                let outcome = match attack {
                    Method::Formula(attack) => {
                        score_batch(attack.as_ref(), &result.info.name, batch)
                            .map(|scores| Tensor::from_slice(&scores))
                    }
                    Method::Learned(_) if options.known.is_none() => Err(AttackError::NothingKnown),
                    Method::Learned(attack) => look(attack.as_ref(), batch),
                    Method::Shadowed(attack) => match &options.shadow {
                        Some(shadow) => attack
                            .teaches(model.0, shadow.denoiser)
                            .and_then(|()| look(attack.as_ref(), batch)),
                        None => Err(AttackError::NoShadow),
                    },
                };
                let (seconds, calls) = (start.elapsed().as_secs_f64(), batch.calls().made - before);
                match outcome {
                    Ok(values) => part.put(index, &values, seconds, calls),
                    Err(reason) => result.scores = Err(reason.to_string()),
                }
                (options.progress)(done + (index + 1) * rows.len(), total);
            }
            let clean = batch.remembered(0).map(clean_noise::rms).transpose()?;
            let calls = (batch.calls().made, batch.calls().saved);
            part.put_rest(clean.as_deref(), calls);
            Ok(())
        })?;
        Ok(part)
    }

    fn look_at_shadow(&mut self, shadow: &Shadow<'_>, rows: &[usize]) -> Result<Part> {
        let Self {
            attacks,
            options,
            results,
            done,
            total,
            ..
        } = self;
        let (attacks, done, total) = (*attacks, *done, *total);
        let ways = Ways::of(options);
        let mut part = Part::default();
        let (model, others) = ((shadow.denoiser, shadow.schedule), Others::default());
        ways.look(model, others, shadow.samples, rows, |batch| {
            let each = attacks.iter().zip(results.iter_mut()).enumerate();
            for (index, (attack, result)) in each {
                let (Method::Shadowed(attack), Ok(_)) = (attack, &result.scores) else {
                    continue;
                };
                if (options.stop)() {
                    return Err(AttackError::Stopped { done, total });
                }
                let (start, before) = (Instant::now(), batch.calls().made);
                match look(attack.as_ref(), batch) {
                    Ok(features) => part.put(
                        index,
                        &features,
                        start.elapsed().as_secs_f64(),
                        batch.calls().made - before,
                    ),
                    Err(reason) => {
                        result.scores = Err(format!("on the shadow model: {reason}"));
                    }
                }
            }
            part.put_rest(None, (batch.calls().made, batch.calls().saved));
            Ok(())
        })?;
        Ok(part)
    }
}

/// 0..n in the order that a stream of this name draws.
fn shuffled(n: usize, seed: u64, name: &str) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(&mut stream(seed, name, 0));
    order
}

/// Is the attack learnt on a shadow model?
pub(crate) fn is_shadowed(attack: &Method) -> bool {
    matches!(attack, Method::Shadowed(_))
}

/// Name of the part of batch number `index`.
pub(crate) fn own_name(index: usize) -> String {
    index.to_string()
}

/// The same of the shadow model's samples.
pub(crate) fn shadow_name(index: usize) -> String {
    format!("shadow-{index}")
}

/// How samples are looked at.
#[derive(Clone, Copy)]
struct Ways {
    device: Device,
    seed: u64,
}

impl Ways {
    fn of(options: &RunOptions<'_>) -> Self {
        Self {
            device: options.device,
            seed: options.seed,
        }
    }

    /// Looks at the samples at `rows` as one batch.
    fn look(
        self,
        (denoiser, schedule): (&dyn Denoiser, &NoiseSchedule),
        others: Others<'_>,
        samples: &Samples,
        rows: &[usize],
        look: impl FnOnce(&mut Batch<'_>) -> Result<()>,
    ) -> Result<()> {
        let index = Tensor::from_slice(&rows.iter().map(|&r| r as i64).collect::<Vec<_>>());
        let x = samples
            .x()
            .f_index_select(0, &index.to_device(samples.x().device()))?;
        let x = bring(&x, self.device);
        let all = samples.ids();
        let ids: Vec<String> = rows.iter().map(|&r| all[r].clone()).collect();
        let mut batch = Batch::new(denoiser, schedule, &x, &ids, self.seed)?.with_others(others);
        if let Some(prompts) = samples.prompts() {
            batch = batch.with_prompts(prompts, rows)?;
        }
        if let Some(mask) = samples.mask() {
            let of_rows = mask.f_index_select(0, &index.to_device(mask.device()))?;
            batch = batch.with_mask(bring(&of_rows, self.device));
        }
        look(&mut batch)
    }
}

/// What is learnt on a shadow model may not come from the samples that are judged.
fn check_shadow(shadow: &Shadow<'_>, samples: &Samples) -> Result<()> {
    let (ids, member) = (shadow.samples.ids(), shadow.member);
    if ids.len() != member.len() || !member.contains(&true) || !member.contains(&false) {
        return Err(AttackError::Samples(format!(
            "{} samples of the shadow model with {} labels: it needs samples that it was trained on and others",
            ids.len(),
            member.len()
        )));
    }
    let judged: HashSet<&str> = samples.ids().iter().map(String::as_str).collect();
    match ids.iter().find(|id| judged.contains(id.as_str())) {
        Some(both) => Err(AttackError::Samples(format!(
            "sample {both} is under attack and one of the shadow model's: what is learnt on a shadow model is judged on others; \
             remove it from one of them"
        ))),
        None => Ok(()),
    }
}

/// The scores of one batch, checked.
fn score_batch(attack: &dyn Attack, name: &str, batch: &mut Batch<'_>) -> Result<Vec<f64>> {
    let scores = attack.score(batch)?;
    if scores.len() != batch.ids().len() {
        return Err(AttackError::Samples(format!(
            "attack {name} gave {} scores for {} samples",
            scores.len(),
            batch.ids().len()
        )));
    }
    check_finite(&scores, batch.ids().iter())?;
    Ok(scores)
}

/// The features of one batch, on the CPU.
fn look(attack: &dyn Learned, batch: &mut Batch<'_>) -> Result<Tensor> {
    let features = attack.features(batch)?;
    if features.size().first() != Some(&(batch.ids().len() as i64)) {
        return Err(AttackError::Samples(format!(
            "features of shape {:?} for {} samples",
            features.size(),
            batch.ids().len()
        )));
    }
    Ok(features.f_to_kind(Kind::Float)?.f_to_device(Device::Cpu)?)
}

pub(crate) fn check_finite<'a>(
    scores: &[f64],
    ids: impl Iterator<Item = &'a String>,
) -> Result<()> {
    match scores.iter().zip(ids).find(|(score, _)| !score.is_finite()) {
        Some((&score, id)) => Err(AttackError::NotFinite {
            sample: id.clone(),
            score,
        }),
        None => Ok(()),
    }
}
