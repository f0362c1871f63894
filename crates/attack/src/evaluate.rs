//! Runs attacks over samples: one code path for members and non-members.
//!
//! The caller passes both kinds mixed in one list and this module does not know which is which. Batches are cut from
//! a seeded permutation of the list, so that no batch holds one kind only, should anything depend on the batch after
//! all (batch-size effects of the engine's kernels, drift of a machine). Only attacks that learn are told about anybody:
//! about the known samples, which they do not score, or about the samples of a shadow model, which are none of these.

use crate::batch::check_shape;
use crate::parts::Parts;
use crate::pass::{Pass, check_finite, is_shadowed, own_name, shadow_name};
use crate::{
    AttackError, AttackInfo, Batches, CleanNoise, Known, Learned, Method, Others, Prompts, Result,
    Share,
};
use dualmd_diffusion::{Denoiser, NoiseSchedule};
use dualmd_torch::{Device, Kind, Tensor, tch};
use std::collections::HashSet;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The samples under attack.
#[derive(Debug)]
pub struct Samples {
    x: Tensor,
    ids: Vec<String>,
    prompts: Option<Prompts>,
    mask: Option<Tensor>,
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
            mask: None,
        })
    }

    /// What of every sample counts under `+pullback`, of the shape of the samples ([`crate::pullback::mask`]).
    ///
    /// # Errors
    /// Another shape.
    pub fn with_mask(mut self, mask: Tensor) -> Result<Self> {
        if mask.size() != self.x.size() {
            return Err(AttackError::Samples(format!(
                "a mask of shape {:?} for samples of shape {:?}: they must agree",
                mask.size(),
                self.x.size()
            )));
        }
        self.mask = Some(mask);
        Ok(self)
    }

    /// That mask, where it was given.
    pub(crate) fn mask(&self) -> Option<&Tensor> {
        self.mask.as_ref()
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
    /// Told (scores done, scores in all) after each attack on each batch, and about once a second while attacks learn; a score is one sample
    /// under one attack, and one more when an attack that learns has learnt.
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
    let mut pass = Pass::new((denoiser, schedule), samples, attacks, options, Share::ALL)?;
    let batch = pass.batch_size();
    // Whoever learns is through with a sample when that is over.
    let learns = |a: &&Method| !matches!(a, Method::Formula(_));
    let learners = attacks.iter().filter(learns).count();
    pass.total += learners * n;
    let (mut made, mut saved) = (0, 0);
    let mut clean_rms = vec![f64::NAN; n];

    // What the attacks that learn on a shadow model have looked at there, in this order.
    let shadow_order = pass.shadow_order();
    let mut taught: Vec<Vec<Tensor>> = attacks.iter().map(|_| Vec::new()).collect();
    for (index, rows) in shadow_order.chunks(batch).enumerate() {
        let (part, _) = pass.shadow_batch(index, rows)?;
        let each = attacks.iter().zip(&mut pass.results).zip(&mut taught);
        for (index, ((attack, result), taught)) in each.enumerate() {
            if is_shadowed(attack) && result.scores.is_ok() {
                taught.extend(part.take(index, result)?);
            }
        }
        let (_, calls) = part.rest()?;
        (made, saved) = (made + calls.0, saved + calls.1);
    }

    // What the attacks that learn have looked at, batch by batch in the order of `order`.
    let order = pass.order();
    let mut looked: Vec<Vec<Tensor>> = attacks.iter().map(|_| Vec::new()).collect();
    for (index, rows) in order.chunks(batch).enumerate() {
        let (part, _) = pass.batch(index, rows)?;
        for (index, (attack, result)) in attacks.iter().zip(&mut pass.results).enumerate() {
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
    }

    let Pass {
        options,
        mut results,
        done,
        total,
        ..
    } = pass;
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
    let progress = options.progress;
    learn_all(lessons, &order, &samples.ids, options.seed, &mut |learnt| {
        progress(done + learnt * n, total);
    });
    if learners > 0 {
        // An attack that failed learns nothing.
        progress(total, total);
    }

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

/// What one of several processes did that go through the same samples.
#[derive(Debug, Clone, Default)]
pub struct Looked {
    /// Its batches and those of all.
    pub batches: Batches,
    /// Attacks that failed on one of its batches, with the reason. [`run`] tries them again.
    pub failed: Vec<(String, String)>,
}

/// Looks at the batches of a share and leaves them in [`RunOptions::parts`], as [`run`] would; nothing is learnt, and nobody has a score
/// yet. When all shares are done, [`run`] with the same samples, attacks and options finds every batch there: its scores are those of
/// one process.
///
/// # Errors
/// As [`run`]; a batch that cannot be left.
pub fn run_share(
    denoiser: &dyn Denoiser,
    schedule: &NoiseSchedule,
    samples: &Samples,
    attacks: &[Method],
    options: RunOptions<'_>,
    share: Share,
) -> Result<Looked> {
    let mut pass = Pass::new((denoiser, schedule), samples, attacks, options, share)?;
    let batch = pass.batch_size();
    let mut batches = Batches::default();
    let own = |(index, _): &(usize, &[usize])| share.has(*index);
    let order = pass.shadow_order();
    for (index, rows) in order.chunks(batch).enumerate().filter(own) {
        let (_, new) = pass.shadow_batch(index, rows)?;
        batches.count(new);
    }
    let order = pass.order();
    for (index, rows) in order.chunks(batch).enumerate().filter(own) {
        let (_, new) = pass.batch(index, rows)?;
        batches.count(new);
    }
    [batches.there, batches.all] = there(samples, attacks, &pass.options);
    let failed = pass.results.iter().filter_map(|result| {
        let reason = result.scores.as_ref().err()?;
        Some((result.info.name.clone(), reason.clone()))
    });
    Ok(Looked {
        failed: failed.collect(),
        batches,
    })
}

/// How many batches of a run are in [`RunOptions::parts`], and how many the run has, those of the shadow model's samples included.
#[must_use]
pub fn there(samples: &Samples, attacks: &[Method], options: &RunOptions<'_>) -> [usize; 2] {
    let batch = options.batch.max(1);
    let shadow = options.shadow.filter(|_| attacks.iter().any(is_shadowed));
    let of_shadow = shadow.map_or(0, |s| s.samples.ids.len().div_ceil(batch));
    let own = samples.ids.len().div_ceil(batch);
    let names = (0..of_shadow)
        .map(shadow_name)
        .chain((0..own).map(own_name));
    let found = match options.parts {
        Some(parts) => names.filter(|name| parts.has(name)).count(),
        None => 0,
    };
    [found, of_shadow + own]
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

/// Between two reports of how many attacks have learnt.
const BEAT: Duration = Duration::from_secs(1);

/// The attacks learn side by side, the threads divided among them: a classifier this small gains little from a second thread of its
/// own. `tell` hears how many have learnt, now and then while they do.
fn learn_all(
    lessons: Vec<Lesson<'_>>,
    order: &[usize],
    ids: &[String],
    seed: u64,
    tell: &mut dyn FnMut(usize),
) {
    if lessons.is_empty() {
        return;
    }
    let threads = tch::get_num_threads().max(1);
    let side_by_side = lessons.len().min(threads as usize);
    let queue = Mutex::new(lessons);
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let each = threads / side_by_side as i32;
    let work = |done: &Sender<()>| {
        tch::set_num_threads(each);
        while let Some(lesson) = next() {
            lesson.learn(order, ids, seed);
            // Nobody listens only where a thread has panicked, which ends the scope anyway.
            let _ = done.send(());
        }
    };
    let (done, heard) = mpsc::channel();
    std::thread::scope(|scope| {
        let work = &work;
        for _ in 0..side_by_side {
            let done = done.clone();
            scope.spawn(move || work(&done));
        }
        drop(done);
        let mut learnt = 0;
        loop {
            match heard.recv_timeout(BEAT) {
                Ok(()) => learnt += 1,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            tell(learnt);
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
