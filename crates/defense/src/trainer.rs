//! The one training loop.
//!
//! ```text
//! for step in resumed..steps:
//!     images, target  <- recipe.draw(step)            which images, what to predict
//!     text            <- captions.drawn(step)         what the network is told, if it is told anything
//!     t, noise        <- streams (seed, "train/...", step)
//!     x_t             <- sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise          (Eq. 2)
//!     loss            <- mean (target - eps(x_t, t, text))^2                (Eq. 3 or 7)
//!     clip, Adam, EMA
//! ```
//!
//! With the objective of a flow ([`crate::objective`]) the steps in between are
//!
//! ```text
//!     s, noise        <- streams (seed, "train/level", step) and (seed, "train/noise", step)
//!     x_s             <- (1 - s) x_0 + s noise
//!     loss            <- mean (target - v(x_s, 1000 s, text))^2, the target being noise - x_0 or a teacher's velocity
//! ```
//!
//! A recipe that promises differential privacy ([`crate::dp`]) has the gradient of each image clipped, and their sum noised;
//! early stopping ([`crate::early`]) watches the evaluations and keeps the best averages; an attacker may learn along and be in the loss
//! ([`crate::smp`]). The loop is the same.
//!
//! Several ranks ([`Trainer::ranks`]) each take their rows of every batch; gradients and losses are summed before anything else is
//! done with them. So is the wish to stop: all ranks leave after the same step.

use crate::checkpoint::{self, LossSoFar, Stand};
use crate::indices::Among;
use crate::journal::{Journal, LogLine};
use crate::optimizer::Optimizer;
use crate::options::{self, rate};
use crate::recipe::Recipe;
use crate::step::Done;
use crate::unread::{Read, Reading, Unread};
use crate::{
    Captions, DefenseError, Images, Indices, KeptAt, Network, Result, TrainOptions, augment, early,
};
use dualmd_diffusion::schedule::PredictionType;
use dualmd_diffusion::{Denoiser, NoiseSchedule};
pub use dualmd_record::recipe::Additions;
use dualmd_torch::device::{self, Precision};
use dualmd_torch::ranks::Group;
use dualmd_torch::{Device, Kind, Tensor};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Images a run may touch.
pub struct TrainingSet {
    /// Images, or the means of their latents, in memory or in a file.
    pub images: Images,
    /// Standard deviation of each image's latents, shaped like `images` and on the training device: a step then draws from that Gaussian, as diffusers'
    /// script does. Without it the images are what they are.
    pub deviation: Option<Tensor>,
    /// `images` and `deviation` of the mirrored pictures, for [`TrainOptions::flip`]: mirrored latents are no latents.
    pub mirrored: Option<(Tensor, Tensor)>,
    /// Texts of the images, for a network that is told one.
    pub captions: Option<Captions>,
    /// Indices that no model of the run ever trains on, for the held-out loss.
    pub heldout: Indices,
}

impl Default for TrainingSet {
    /// Nothing at all.
    fn default() -> Self {
        Self {
            images: Tensor::zeros([0, 1, 1, 1], (Kind::Float, Device::Cpu)).into(),
            deviation: None,
            mirrored: None,
            captions: None,
            heldout: Indices::default(),
        }
    }
}

/// Noise-prediction losses of the EMA weights, at the schedule's timesteps; of a flow those of the noise that its velocity means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// On (up to 256 of) the recipe's members.
    pub member_loss: f64,
    /// On as many held-out images, with the same timesteps and noise.
    pub heldout_loss: f64,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub total: u64,
    /// Loss of the last step; on a GPU of the last one whose loss was read, which is once in many steps.
    pub loss: f64,
    /// Images per second since this invocation began.
    pub images_per_second: f64,
}

/// What a call of [`Trainer::run`] achieved.
#[derive(Debug, Clone, PartialEq)]
pub enum Finished {
    /// All steps are done, or early stopping ended the run.
    Complete {
        /// Mean training loss over the last log interval.
        train_loss: f64,
        /// Losses of the resulting weights: the final EMA weights, or those early stopping kept.
        evaluation: Evaluation,
        /// Seconds of training over all invocations.
        seconds: f64,
    },
    /// Asked to stop; a checkpoint was written.
    Stopped {
        /// Steps done.
        step: u64,
    },
}

/// What [`Trainer::run_with`] achieved.
pub struct Outcome {
    /// Complete or stopped.
    pub finished: Finished,
    /// Raw and averaged weights; [`Optimizer::result`] are those to save.
    pub optimizer: Optimizer,
    /// Optimiser steps done, fewer than planned if early stopping ended the run.
    pub steps: u64,
    /// Which averages early stopping kept.
    pub kept: Option<KeptAt>,
}

/// Everything one training needs.
pub struct Trainer<'a> {
    /// The network, fresh; its parameters are trained in place.
    pub network: Box<dyn Network>,
    /// Forward process.
    pub schedule: NoiseSchedule,
    /// Images.
    pub set: TrainingSet,
    /// The defence.
    pub recipe: &'a dyn Recipe,
    /// Settings.
    pub options: TrainOptions,
    /// Seed of this model's streams.
    pub seed: u64,
    /// Seed of the evaluations: the same for all models of a run, so that their losses are measured with the same noise.
    pub evaluation_seed: u64,
    /// Device of network and images.
    pub device: Device,
    /// Arithmetic of forward and backward.
    pub precision: Precision,
    /// Where checkpoints go.
    pub checkpoints: PathBuf,
    /// JSON-lines log.
    pub log: PathBuf,
    /// Folder of the TensorBoard events.
    pub tensorboard: PathBuf,
    /// Hash of what defines the run, see [`checkpoint::State`].
    pub fingerprint: String,
    /// The processes that train this model together; [`Group::alone`] for one. Rank 0 alone writes files and calls the observer's
    /// `progress`, `sheet` and `warn`.
    pub ranks: Rc<Group>,
}

/// Callbacks of a run.
pub struct Observer<'a> {
    /// Asked after every step, on every rank; true on one of them: all leave after this step, with a checkpoint.
    pub stop: &'a dyn Fn() -> bool,
    /// Told after every step.
    pub progress: &'a mut dyn FnMut(Progress),
    /// Given the EMA network every `sample_every` steps, and once more where a run goes on from such a step.
    pub sheet: &'a mut dyn FnMut(u64, &dyn Denoiser),
    /// Hears of broken checkpoints.
    pub warn: &'a mut dyn FnMut(String),
    /// Leave after this many steps of this invocation.
    pub max_steps_now: Option<u64>,
}

impl Trainer<'_> {
    /// [`Trainer::run_with`] without additions. Returns the outcome and the optimiser, which holds raw and averaged
    /// weights.
    ///
    /// # Errors
    /// As [`Trainer::run_with`].
    pub fn run(self, observer: &mut Observer<'_>) -> Result<(Finished, Optimizer)> {
        let outcome = self.run_with(&Additions::default(), observer)?;
        Ok((outcome.finished, outcome.optimizer))
    }

    /// Trains from the newest checkpoint (or the start) to the end. On a GPU the process's libtorch is told meanwhile to compute as trainings
    /// want it ([`device::tuned`]).
    ///
    /// # Errors
    /// Settings, files, what the engine refuses, a loss that is not finite, or another rank that is gone or does not do the same.
    pub fn run_with(self, additions: &Additions, observer: &mut Observer<'_>) -> Result<Outcome> {
        let reading = Reading::of(&self);
        self.run_reading(additions, observer, reading)
    }

    /// The same with losses and gradient norms read when `reading` says.
    pub(crate) fn run_reading(
        mut self,
        additions: &Additions,
        observer: &mut Observer<'_>,
        reading: Reading,
    ) -> Result<Outcome> {
        self.check(additions)?;
        self.agree(additions)?;
        self.set.images.settle(self.device)?;
        let _tuned = device::tuned(self.precision, self.device)?;
        let options = &self.options;
        let ranks = &self.ranks;
        let fingerprint = self.full_fingerprint();
        let early = additions.early_stopping.as_ref();
        let over = |optimizer: &Optimizer, step: u64| {
            step >= options.steps
                || early.is_some_and(|e| {
                    early::is_over(e, optimizer.kept_at(), step, options.eval_every)
                })
        };
        let mut optimizer = Optimizer::new(self.network.parameters());
        let found = match ranks.leads() {
            true => checkpoint::resume(
                &self.checkpoints,
                &mut optimizer,
                &fingerprint,
                &mut *observer.warn,
            )?,
            false => None,
        };
        if let Some(state) = found.as_ref().filter(|s| s.ranks != ranks.world()) {
            (observer.warn)(format!(
                "checkpoint {} was trained by {} and goes on with {}: the last digits of what follows depend on that",
                state.step,
                processes(state.ranks),
                processes(ranks.world())
            ));
        }
        let begins = self.hand_on(&mut optimizer, found)?;
        let (first, earlier, mut mean) = (begins.step, begins.seconds, begins.loss);
        let journal = || Journal::open(&self.log, &self.tensorboard, first);
        let mut journal = ranks.leads().then(journal).transpose()?;
        let began = Instant::now();
        let seconds = |began: &Instant| earlier + began.elapsed().as_secs_f64();
        let mut since_log = (0u64, Instant::now());
        let mut left_out_since = 0;
        let mut unread = Unread::default();
        // Of the last step whose numbers were read.
        let mut latest = Read::default();
        let save = |optimizer: &Optimizer, step: u64, loss: LossSoFar| {
            self.still_the_same(optimizer, step)?;
            if !ranks.leads() {
                return Ok(());
            }
            let stand = Stand {
                seconds: seconds(&began),
                loss,
                ranks: ranks.world(),
            };
            let keep = options.keep_checkpoints;
            checkpoint::save(
                &self.checkpoints,
                optimizer,
                step,
                stand,
                &fingerprint,
                keep,
            )
        };
        let mut done = first;
        // The run may have been killed after this checkpoint and before its sheet.
        if ranks.leads()
            && first > 0
            && options.sample_every > 0
            && first % options.sample_every == 0
        {
            (observer.sheet)(first, &self.network_of(optimizer.ema())?);
        }
        while !over(&optimizer, done) {
            let step = done;
            let Done {
                loss,
                grad_norm,
                left_out,
            } = self.one_step(&mut optimizer, step, additions, reading)?;
            done += 1;
            unread.add(step, loss, grad_norm);
            let every = |n: u64| n > 0 && done % n == 0;
            // Before what is logged, evaluated, kept or shown.
            if reading == Reading::Each
                || every(options.log_every)
                || every(options.eval_every)
                || every(options.checkpoint_every)
                || every(options.sample_every)
                || done >= options.steps
                || unread.is_full()
            {
                take_in(&mut unread, &mut mean, &mut latest)?;
            }
            since_log.0 += 1;
            left_out_since += left_out;
            if ranks.leads() {
                (observer.progress)(Progress {
                    step: done,
                    total: options.steps,
                    loss: latest.loss.unwrap_or(mean.last),
                    images_per_second: (done - first) as f64 * options.batch as f64
                        / began.elapsed().as_secs_f64(),
                });
            }
            let (mut evaluation, mut calibration_loss) = (None, None);
            if every(options.eval_every) || done == options.steps {
                let averaged = self.network_of(optimizer.ema())?;
                evaluation = Some(self.evaluate(averaged.as_ref())?);
                if let Some(early) = early {
                    let loss = self.calibrate(averaged.as_ref(), early)?;
                    calibration_loss = Some(loss);
                    // Not finite: a run that went astray keeps what it had.
                    let least = optimizer
                        .kept_at()
                        .map_or(f64::INFINITY, |k| k.calibration_loss);
                    if loss < least {
                        optimizer.keep(KeptAt {
                            step: done,
                            calibration_loss: loss,
                        });
                    }
                }
            }
            let last = over(&optimizer, done);
            if every(options.log_every) || evaluation.is_some() {
                if mean.count > 0 {
                    mean.last = mean.sum / mean.count as f64;
                }
                (mean.sum, mean.count) = (0.0, 0);
                let line = LogLine {
                    step: done,
                    loss: mean.last,
                    lr: rate(options, step),
                    grad_norm: latest.grad_norm,
                    images_per_second: since_log.0 as f64 * options.batch as f64
                        / since_log.1.elapsed().as_secs_f64(),
                    seconds: seconds(&began),
                    member_loss: evaluation.map(|e| e.member_loss),
                    heldout_loss: evaluation.map(|e| e.heldout_loss),
                    gap: evaluation.map(|e| e.heldout_loss - e.member_loss),
                    calibration_loss,
                    left_out: (options.drop_memorised > 0.0 || options.skip_easy > 0.0).then(
                        || left_out_since as f64 / (since_log.0 * options.batch as u64) as f64,
                    ),
                };
                if let Some(journal) = &mut journal {
                    journal.write(&line)?;
                }
                since_log = (0, Instant::now());
                left_out_since = 0;
            }
            let enough = observer
                .max_steps_now
                .is_some_and(|max| done - first >= max);
            // A signal reaches the ranks at different steps: one who heard it speaks for all.
            let leave = !last && ranks.any((observer.stop)() || enough)?;
            if every(options.checkpoint_every) || leave || last {
                take_in(&mut unread, &mut mean, &mut latest)?;
                save(&optimizer, done, mean)?;
            }
            // After the checkpoint: a sheet that fails must not cost the steps before it.
            if ranks.leads() && every(options.sample_every) {
                (observer.sheet)(done, &self.network_of(optimizer.ema())?);
            }
            if leave {
                // The checkpoint is there once rank 0 comes.
                ranks.barrier()?;
                return Ok(Outcome {
                    finished: Finished::Stopped { step: done },
                    steps: done,
                    kept: optimizer.kept_at(),
                    optimizer,
                });
            }
        }
        let evaluation = self.evaluate(self.network_of(optimizer.result())?.as_ref())?;
        ranks.barrier()?;
        Ok(Outcome {
            finished: Finished::Complete {
                train_loss: mean.last,
                evaluation,
                seconds: seconds(&began),
            },
            steps: done,
            kept: optimizer.kept_at(),
            optimizer,
        })
    }

    /// Seconds of one optimiser step, as [`Trainer::run`] makes it: the mean of up to `most` after a first one, of fewer where these take
    /// `enough`. At least one is timed. No file is read or written, no loss is watched; the network's weights change.
    ///
    /// # Errors
    /// Settings, what the engine refuses, a loss that is not finite.
    pub fn time_steps(self, additions: &Additions, most: u64, enough: Duration) -> Result<f64> {
        self.check(additions)?;
        let mut optimizer = Optimizer::new(self.network.parameters());
        // The first one makes room in memory, and libraries choose their ways. A GPU is waited for in each: its time is what is asked.
        self.one_step(&mut optimizer, 0, additions, Reading::Each)?;
        let began = Instant::now();
        let mut steps = 0;
        while steps == 0 || (steps < most && began.elapsed() < enough) {
            steps += 1;
            self.one_step(&mut optimizer, steps, additions, Reading::Each)?;
        }
        Ok(began.elapsed().as_secs_f64() / steps as f64)
    }

    /// Settings that contradict each other or the images.
    pub(crate) fn check(&self, additions: &Additions) -> Result<()> {
        options::check(&self.options)?;
        if self.options.objective.is_flow() != self.schedule.is_flow() {
            return Err(DefenseError::Setting(
                "train.objective = \"flow\" and a noise schedule of flow matching go together: set both, or neither"
                    .into(),
            ));
        }
        let size = self.set.images.size();
        let side = |axis: usize| size.get(axis).map_or(0, |&n| n as usize);
        let members = self.recipe.members();
        if self.options.drop_memorised > 0.0 {
            let reason = match (&self.set.captions, self.recipe.private()) {
                (None, _) => Some("looks at what a text changes, and this network is told none"),
                (_, Some(_)) => Some(
                    "chooses images by what the network remembers of them, which no differentially private training may",
                ),
                _ => None,
            };
            if let Some(reason) = reason {
                return Err(DefenseError::Setting(format!(
                    "train.drop_memorised {reason}: leave it out"
                )));
            }
        }
        if self.options.skip_easy > 0.0 && self.recipe.private().is_some() {
            return Err(DefenseError::Setting(
                "train.skip_easy chooses images by what the network remembers of them, which no differentially private training may: leave it out"
                    .into(),
            ));
        }
        if self.recipe.ambient().is_some() {
            self.check_ambient(additions)?;
        }
        if let Some(smp) = self.recipe.adversary() {
            smp.check(&self.options, &self.set.heldout, side(0))?;
        }
        if let Some(captions) = &self.set.captions {
            captions.check(side(0))?;
        }
        if let Some(deviation) = &self.set.deviation {
            if deviation.size() != size {
                return Err(DefenseError::Setting(format!(
                    "latents of shape {size:?} with deviations of shape {:?}",
                    deviation.size()
                )));
            }
            if additions.cutout.is_some() {
                return Err(DefenseError::Setting(
                    "train.cutout_side changes images, and this model learns from latents that were computed once: leave it out"
                        .into(),
                ));
            }
            let mirrored = self.set.mirrored.as_ref();
            if self.options.flip
                && !mirrored.is_some_and(|(m, d)| m.size() == size && d.size() == size)
            {
                return Err(DefenseError::Setting(
                    "train.flip needs the latents of the mirrored images, shaped like the others"
                        .into(),
                ));
            }
        }
        if let Some(cutout) = &additions.cutout {
            augment::check(cutout, side(2), side(3))?;
        }
        if let Some(early) = &additions.early_stopping {
            let watched = self.recipe.watched();
            let seen: Among = members.iter().chain(watched.iter()).collect();
            let audited: Among = self.set.heldout.iter().collect();
            early::check(early, &seen, &audited, side(0), self.options.eval_every)?;
        }
        if self.recipe.private().is_some() && self.options.batch > members.len() {
            return Err(DefenseError::Setting(format!(
                "train.batch = {}: with DP-SGD at most the number of images, {}, because each is drawn at most once in a \
                 step",
                self.options.batch,
                members.len()
            )));
        }
        Ok(())
    }

    /// Settings that an ambient training cannot have.
    fn check_ambient(&self, additions: &Additions) -> Result<()> {
        let epsilon = self.schedule.prediction() == PredictionType::Epsilon;
        let reason = if !epsilon {
            "a network that predicts the noise"
        } else if self.set.deviation.is_some() {
            "pixels, not latents that are drawn anew in every step"
        } else if additions.cutout.is_some() {
            "images as they are: a grey square would show the noise under it; leave out train.cutout_side"
        } else {
            return Ok(());
        };
        Err(DefenseError::Setting(format!(
            "ambient training needs {reason}"
        )))
    }

    /// A network over these weights (shared storage).
    fn network_of(&self, weights: Vec<(String, Tensor)>) -> Result<Box<dyn Network>> {
        let weights = weights.into_iter().collect();
        self.network.over(weights, self.device, self.precision)
    }
}

/// Adds what was not read yet to the running mean; `latest` becomes what was read of the last step.
fn take_in(unread: &mut Unread, mean: &mut LossSoFar, latest: &mut Read) -> Result<()> {
    for step in unread.read()? {
        // A private step that drew no image has no loss, nor has one that left out all of them.
        if let Some(loss) = step.loss {
            mean.sum += loss;
            mean.count += 1;
        }
        *latest = step;
    }
    Ok(())
}

fn processes(n: usize) -> String {
    match n {
        1 => "1 process".into(),
        n => format!("{n} ranks"),
    }
}
