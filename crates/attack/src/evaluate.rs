//! Runs attacks over samples: one code path for members and non-members.
//!
//! The caller passes both kinds mixed in one list and this module does not know which is which. Batches are cut from
//! a seeded permutation of the list, so that no batch holds one kind only, should anything depend on the batch after
//! all (batch-size effects of the engine's kernels, drift of a machine). Only attacks that learn are told about anybody:
//! about the known samples, which they do not score, or about the samples of a shadow model, which are none of these.

use crate::batch::check_shape;
use crate::parts::{Part, Parts};
use crate::{
    Attack, AttackError, AttackInfo, Batch, CleanNoise, Known, Learned, Method, Others, Prompts,
    Result, clean_noise,
};
use dualmd_data::stream;
use dualmd_diffusion::{Denoiser, NoiseSchedule};
use dualmd_torch::{Device, Kind, Tensor, tch};
use rand::seq::SliceRandom;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The samples under attack.
#[derive(Debug)]
pub struct Samples {
    x: Tensor,
    ids: Vec<String>,
    prompts: Option<Prompts>,
}

impl Samples {
    /// `x`: [N, C, H, W] f32, in [-1, 1] (latents have no bounds); `ids`: one per sample, all different.
    ///
    /// # Errors
    /// Shapes that do not fit, an id that appears twice, an image that is not finite.
    pub fn new(x: Tensor, ids: Vec<String>) -> Result<Self> {
        check_shape(&x, ids.len())?;
        let mut seen = HashSet::new();
        if let Some(twice) = ids.iter().find(|id| !seen.insert(id.as_str())) {
            return Err(AttackError::Samples(format!(
                "sample {twice} is listed twice: an image cannot be member and non-member, and counting it twice \
                 makes intervals too narrow; drop duplicates first"
            )));
        }
        let finite = x
            .f_flatten(1, -1)?
            .f_isfinite()?
            .f_all_dim(1, false)?
            .f_to_kind(Kind::Int64)?;
        let finite = Vec::<i64>::try_from(&finite)?;
        if let Some(broken) = finite.iter().position(|&f| f == 0) {
            return Err(AttackError::Samples(format!(
                "sample {} holds NaN or infinity: check the image",
                ids[broken]
            )));
        }
        Ok(Self {
            x,
            ids,
            prompts: None,
        })
    }

    /// Captions, for a text-to-image model: it is then asked with each sample's own caption, at guidance 1. `prompts` lists
    /// the samples in the same order.
    ///
    /// # Errors
    /// Captions of another number of samples.
    pub fn with_prompts(mut self, prompts: Prompts) -> Result<Self> {
        if prompts.len() != self.ids.len() {
            return Err(AttackError::Samples(format!(
                "captions of {} samples for {}: give every sample its own",
                prompts.len(),
                self.ids.len()
            )));
        }
        self.prompts = Some(prompts);
        Ok(self)
    }

    /// [N, C, H, W].
    pub fn x(&self) -> &Tensor {
        &self.x
    }

    /// One id per sample.
    #[must_use]
    pub fn ids(&self) -> &[String] {
        &self.ids
    }

    /// The captions, of samples that have some.
    #[must_use]
    pub fn prompts(&self) -> Option<&Prompts> {
        self.prompts.as_ref()
    }
}

/// A model that was trained like the target on other samples, by the attacker: the truth about those is known.
#[derive(Clone, Copy)]
pub struct Shadow<'a> {
    /// The model.
    pub denoiser: &'a dyn Denoiser,
    /// Its schedule.
    pub schedule: &'a NoiseSchedule,
    /// Samples of which it was trained on some; none of them is under attack.
    pub samples: &'a Samples,
    /// Which: one for each.
    pub member: &'a [bool],
}

/// How to run.
pub struct RunOptions<'a> {
    /// Samples per forward pass; 0 counts as 1.
    pub batch: usize,
    /// Seed of the attacks' noise and of the order of samples.
    pub seed: u64,
    /// Where the model is.
    pub device: Device,
    /// Models beside the target, for the attacks that compare with them.
    pub others: Others<'a>,
    /// The samples that attacks which learn are told about. All others never learn who is a member.
    pub known: Option<&'a Known>,
    /// What the attacks learn from that are learnt on a shadow model.
    pub shadow: Option<Shadow<'a>>,
    /// Where what is done is left batch by batch, and taken from if an earlier run was cut off.
    pub parts: Option<&'a dyn Parts>,
    /// Told (scores done, scores in all) after each attack on each batch; a score is one sample under one attack.
    pub progress: &'a mut dyn FnMut(usize, usize),
    /// Asked between attacks; true ends the run with [`AttackError::Stopped`].
    pub stop: &'a dyn Fn() -> bool,
}

/// What one attack gave.
#[derive(Debug)]
pub struct AttackResult {
    /// The attack.
    pub info: AttackInfo,
    /// Scores in the order of [`AttackResult::rows`], or why there are none.
    pub scores: std::result::Result<Vec<f64>, String>,
    /// Positions of the scored samples, ascending: all of them, or those that an attack did not learn from.
    pub rows: Vec<usize>,
    /// Wall time. A network call that attacks share is paid by the first of them.
    pub seconds: f64,
    /// Network evaluations it made (per sample, summed); without those it got from memory.
    pub network_calls: u64,
}

/// What a run gave.
#[derive(Debug)]
pub struct Outcome {
    /// One per attack, in the order given.
    pub results: Vec<AttackResult>,
    /// Network evaluations made (per sample, summed).
    pub network_calls_made: u64,
    /// Network evaluations saved by sharing between attacks.
    pub network_calls_saved: u64,
    /// How much noise the model sees in the clean samples; `None` if no attack asked for eps(x, 0).
    pub clean_noise: Option<CleanNoise>,
    /// What a reader of the scores must know.
    pub warnings: Vec<String>,
}

/// Scores every sample with every attack. An attack that fails is reported with its reason; the others go on.
///
/// # Errors
/// The same attack twice, a stop that was asked for, or samples that cannot be brought to the device.
pub fn run(
    denoiser: &dyn Denoiser,
    schedule: &NoiseSchedule,
    samples: &Samples,
    attacks: &[Method],
    options: RunOptions<'_>,
) -> Result<Outcome> {
    let n = samples.ids.len();
    let mut results: Vec<AttackResult> = attacks
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

    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(&mut stream(options.seed, "attack/order", 0));
    let shadowed = attacks.iter().filter(|a| matches!(a, Method::Shadowed(_)));
    let of_shadow = options.shadow.map_or(0, |s| s.samples.ids.len()) * shadowed.count();
    let (mut done, total) = (0, of_shadow + n * attacks.len());
    let (mut made, mut saved) = (0, 0);
    let mut clean_rms = vec![f64::NAN; n];
    let ways = Ways {
        batch: options.batch.max(1),
        device: options.device,
        seed: options.seed,
    };

    let tell = |part: &Part, name: &str| match options.parts {
        Some(parts) => parts
            .write(name, part.tensors())
            .map_err(AttackError::NotKept),
        None => Ok(()),
    };
    let before = |name: &str| Some(Part::of(options.parts?.read(name)?));

    // What the attacks that learn on a shadow model have looked at there, in this order.
    let mut shadow_order: Vec<usize> = Vec::new();
    let mut taught: Vec<Vec<Tensor>> = attacks.iter().map(|_| Vec::new()).collect();
    if let (Some(shadow), true) = (options.shadow, of_shadow > 0) {
        check_shadow(&shadow, samples)?;
        // Mixed, as those of the target are.
        shadow_order = (0..shadow.samples.ids.len()).collect();
        shadow_order.shuffle(&mut stream(options.seed, "attack/shadow-order", 0));
        let asked: Vec<bool> = attacks
            .iter()
            .map(|a| matches!(a, Method::Shadowed(_)))
            .collect();
        for (index, rows) in shadow_order.chunks(ways.batch).enumerate() {
            let name = format!("shadow-{index}");
            let found = before(&name).filter(|part| part.whole(rows.len(), &results, &asked));
            let part = match found {
                Some(part) => part,
                None => {
                    let mut part = Part::default();
                    let (model, others) = ((shadow.denoiser, shadow.schedule), Others::default());
                    ways.look(model, others, shadow.samples, rows, |batch| {
                        let each = attacks.iter().zip(&mut results).enumerate();
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
                    tell(&part, &name)?;
                    part
                }
            };
            for (index, (result, taught)) in results.iter_mut().zip(&mut taught).enumerate() {
                if let (true, true) = (asked[index], result.scores.is_ok()) {
                    taught.extend(part.take(index, result)?);
                }
            }
            let (_, calls) = part.rest()?;
            (made, saved) = (made + calls.0, saved + calls.1);
            done += rows.len() * asked.iter().filter(|a| **a).count();
            (options.progress)(done, total);
        }
    }

    // What the attacks that learn have looked at, batch by batch in the order of `order`.
    let mut looked: Vec<Vec<Tensor>> = attacks.iter().map(|_| Vec::new()).collect();
    let asked = vec![true; attacks.len()];
    for (index, rows) in order.chunks(ways.batch).enumerate() {
        let name = index.to_string();
        let found = before(&name).filter(|part| part.whole(rows.len(), &results, &asked));
        let again = found.is_some();
        let part = match found {
            Some(part) => part,
            None => {
                let mut part = Part::default();
                let model = (denoiser, schedule);
                ways.look(model, options.others, samples, rows, |batch| {
                    let each = attacks.iter().zip(&mut results).enumerate();
                    for (index, (attack, result)) in each {
                        if (options.stop)() {
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
                            Method::Learned(_) if options.known.is_none() => {
                                Err(AttackError::NothingKnown)
                            }
                            Method::Shadowed(_) if options.shadow.is_none() => {
                                Err(AttackError::NoShadow)
                            }
                            Method::Learned(attack) | Method::Shadowed(attack) => {
                                look(attack.as_ref(), batch)
                            }
                        };
                        let (seconds, calls) =
                            (start.elapsed().as_secs_f64(), batch.calls().made - before);
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
                tell(&part, &name)?;
                part
            }
        };
        for (index, (attack, result)) in attacks.iter().zip(&mut results).enumerate() {
            if result.scores.is_err() {
                continue;
            }
            let Some(values) = part.take(index, result)? else {
                continue;
            };
            match (attack, &mut result.scores) {
                (Method::Formula(_), Ok(all)) => rows
                    .iter()
                    .zip(Vec::<f64>::try_from(values)?)
                    .for_each(|(&row, score)| all[row] = score),
                _ => looked[index].push(values),
            }
        }
        let (clean, calls) = part.rest()?;
        for (&row, rms) in rows.iter().zip(clean.into_iter().flatten()) {
            clean_rms[row] = rms;
        }
        (made, saved) = (made + calls.0, saved + calls.1);
        done += rows.len() * attacks.len();
        if again {
            (options.progress)(done, total);
        }
    }

    let mut lessons = Vec::new();
    for (((attack, result), looked), taught) in
        attacks.iter().zip(&mut results).zip(looked).zip(taught)
    {
        let (attack, teacher) = match (attack, options.known, options.shadow) {
            (Method::Learned(attack), Some(known), _) => (attack, Teacher::Known(known)),
            (Method::Shadowed(attack), _, Some(shadow)) => (
                attack,
                Teacher::Shadow {
                    taught,
                    member: shadow_order.iter().map(|&i| shadow.member[i]).collect(),
                },
            ),
            _ => continue,
        };
        if result.scores.is_ok() {
            lessons.push(Lesson {
                attack: attack.as_ref(),
                result,
                looked,
                teacher,
            });
        }
    }
    if !lessons.is_empty() && (options.stop)() {
        return Err(AttackError::Stopped { done, total });
    }
    learn_all(lessons, &order, &samples.ids, options.seed);

    let clean_noise = clean_rms
        .iter()
        .all(|r| r.is_finite())
        .then(|| CleanNoise::new(clean_rms));
    let warnings = clean_noise.iter().filter_map(CleanNoise::warning).collect();
    Ok(Outcome {
        results,
        network_calls_made: made,
        network_calls_saved: saved,
        clean_noise,
        warnings,
    })
}

/// How samples are looked at.
struct Ways {
    batch: usize,
    device: Device,
    seed: u64,
}

impl Ways {
    /// Looks at the samples at `rows` as one batch.
    fn look(
        &self,
        (denoiser, schedule): (&dyn Denoiser, &NoiseSchedule),
        others: Others<'_>,
        samples: &Samples,
        rows: &[usize],
        look: impl FnOnce(&mut Batch<'_>) -> Result<()>,
    ) -> Result<()> {
        let index = Tensor::from_slice(&rows.iter().map(|&r| r as i64).collect::<Vec<_>>());
        let x = samples
            .x
            .f_index_select(0, &index.to_device(samples.x.device()))?
            .f_to_device(self.device)?;
        let ids: Vec<String> = rows.iter().map(|&r| samples.ids[r].clone()).collect();
        let mut batch = Batch::new(denoiser, schedule, &x, &ids, self.seed)?.with_others(others);
        if let Some(prompts) = &samples.prompts {
            batch = batch.with_prompts(prompts, rows)?;
        }
        look(&mut batch)
    }
}

/// What is learnt on a shadow model may not come from the samples that are judged.
fn check_shadow(shadow: &Shadow<'_>, samples: &Samples) -> Result<()> {
    let (ids, member) = (&shadow.samples.ids, shadow.member);
    if ids.len() != member.len() || !member.contains(&true) || !member.contains(&false) {
        return Err(AttackError::Samples(format!(
            "{} samples of the shadow model with {} labels: it needs samples that it was trained on and others",
            ids.len(),
            member.len()
        )));
    }
    let judged: HashSet<&str> = samples.ids.iter().map(String::as_str).collect();
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

/// An attack that learns, its result, and what it looked at, batch by batch.
struct Lesson<'a> {
    attack: &'a dyn Learned,
    result: &'a mut AttackResult,
    looked: Vec<Tensor>,
    teacher: Teacher<'a>,
}

/// Who tells an attack the truth about whom.
enum Teacher<'a> {
    /// About some of the samples, which are then not judged.
    Known(&'a Known),
    /// About those of a shadow model, of whom this was seen there: all samples are judged.
    Shadow {
        taught: Vec<Tensor>,
        member: Vec<bool>,
    },
}

/// The attacks learn side by side, the threads divided among them: a classifier this small gains little from a second thread of its
/// own.
fn learn_all(lessons: Vec<Lesson<'_>>, order: &[usize], ids: &[String], seed: u64) {
    let threads = tch::get_num_threads().max(1);
    let side_by_side = lessons.len().min(threads as usize);
    let queue = Mutex::new(lessons);
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let work = || {
        while let Some(lesson) = next() {
            lesson.learn(order, ids, seed);
        }
    };
    if side_by_side < 2 {
        return work();
    }
    let each = threads / side_by_side as i32;
    std::thread::scope(|scope| {
        for _ in 0..side_by_side {
            scope.spawn(|| {
                tch::set_num_threads(each);
                work();
            });
        }
    });
    tch::set_num_threads(threads);
}

impl Lesson<'_> {
    /// Scores of the samples that the attack was not told about, by what it learns.
    fn learn(self, order: &[usize], ids: &[String], seed: u64) {
        let start = Instant::now();
        let Self {
            attack,
            result,
            looked,
            teacher,
        } = self;
        if let Teacher::Known(known) = teacher {
            result.rows = known.rest(order.len());
        }
        let rows = &result.rows;
        let scores = || -> Result<Vec<f64>> {
            let shuffled = Tensor::f_cat(&looked, 0)?;
            let mut place = vec![0; order.len()];
            order
                .iter()
                .enumerate()
                .for_each(|(at, &row)| place[row] = at as i64);
            let select = |rows: &[usize]| -> Result<Tensor> {
                let index: Vec<i64> = rows.iter().map(|&row| place[row]).collect();
                Ok(shuffled.f_index_select(0, &Tensor::from_slice(&index))?)
            };
            let rule = match &teacher {
                Teacher::Known(known) => {
                    attack.learn(&select(known.rows())?, known.member(), seed)?
                }
                Teacher::Shadow { taught, member } => {
                    attack.learn(&Tensor::f_cat(taught, 0)?, member, seed)?
                }
            };
            let scores = rule(&select(rows)?)?;
            check_finite(&scores, rows.iter().map(|&row| &ids[row]))?;
            Ok(scores)
        };
        let name = &result.info.name;
        let nothing = |reason: &dyn std::fmt::Display| format!("{name} learnt nothing: {reason}");
        result.scores = match dualmd_torch::caught(scores) {
            Ok(scores) => scores.map_err(|reason| nothing(&reason)),
            Err(thrown) => Err(nothing(&thrown)),
        };
        result.seconds += start.elapsed().as_secs_f64();
    }
}

fn check_finite<'a>(scores: &[f64], ids: impl Iterator<Item = &'a String>) -> Result<()> {
    match scores.iter().zip(ids).find(|(score, _)| !score.is_finite()) {
        Some((&score, id)) => Err(AttackError::NotFinite {
            sample: id.clone(),
            score,
        }),
        None => Ok(()),
    }
}
