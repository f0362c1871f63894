//! The one training loop.
//!
//! ```text
//! for step in resumed..steps:
//!     images, target  <- recipe.draw(step)            which images, what to predict
//!     t, noise        <- streams (seed, "train/...", step)
//!     x_t             <- sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise          (Eq. 2)
//!     loss            <- mean (target - eps(x_t, t))^2                      (Eq. 3 or 7)
//!     clip, Adam, EMA
//! ```

use crate::checkpoint::{self, LossSoFar};
use crate::journal::{Journal, Line};
use crate::optimizer::Optimizer;
use crate::recipe::{Recipe, Target};
use crate::{DefenseError, Result, TrainOptions};
use dualmd_data::stream;
use dualmd_diffusion::{Denoiser, NoiseSchedule, UNet2d};
use dualmd_torch::device::Precision;
use dualmd_torch::{Device, Kind, Tensor, noise, tch};
use rand::Rng;
use rand::seq::SliceRandom;
use std::path::PathBuf;
use std::time::Instant;

/// Images a run may touch.
pub struct TrainingSet {
    /// [N, C, H, W] f32 in [-1, 1], on the training device.
    pub images: Tensor,
    /// Indices that no model of the run ever trains on, for the held-out loss.
    pub heldout: Vec<usize>,
}

/// Noise-prediction losses of the EMA weights.
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
    /// Loss of the last step.
    pub loss: f64,
    /// Images per second since this invocation began.
    pub images_per_second: f64,
}

/// What a call of [`Trainer::run`] achieved.
#[derive(Debug, Clone, PartialEq)]
pub enum Finished {
    /// All steps are done.
    Complete {
        /// Mean training loss over the last log interval.
        train_loss: f64,
        /// Losses of the final EMA weights.
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

/// Everything one training needs.
pub struct Trainer<'a> {
    /// The network, fresh; its parameters are trained in place.
    pub network: UNet2d,
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
}

/// Callbacks of a run.
pub struct Observer<'a> {
    /// Asked after every step; true: checkpoint and leave.
    pub stop: &'a dyn Fn() -> bool,
    /// Told after every step.
    pub progress: &'a mut dyn FnMut(Progress),
    /// Given the EMA network every `sample_every` steps.
    pub sheet: &'a mut dyn FnMut(u64, &UNet2d),
    /// Hears of broken checkpoints.
    pub warn: &'a mut dyn FnMut(String),
    /// Leave after this many steps of this invocation.
    pub max_steps_now: Option<u64>,
}

/// Draws of (t, noise) per image in an evaluation.
const EVALUATION_DRAWS: u64 = 4;
/// Images per side in an evaluation.
const EVALUATION_IMAGES: usize = 256;

impl Trainer<'_> {
    /// Trains from the newest checkpoint (or the start) to the end. Returns the outcome and the optimiser, which holds
    /// raw and averaged weights.
    ///
    /// # Errors
    /// Settings, files, what the engine refuses, or a loss that is not finite.
    pub fn run(self, observer: &mut Observer<'_>) -> Result<(Finished, Optimizer)> {
        let options = &self.options;
        options.check()?;
        let mut optimizer = Optimizer::new(self.network.parameters());
        let resumed = checkpoint::resume(
            &self.checkpoints,
            &mut optimizer,
            &self.fingerprint,
            &mut *observer.warn,
        )?;
        let (first, earlier, mut mean) = resumed.map_or((0, 0.0, LossSoFar::default()), |s| {
            (s.step, s.seconds, s.loss)
        });
        let mut journal = Journal::open(&self.log, &self.tensorboard, first)?;
        let began = Instant::now();
        let seconds = |began: &Instant| earlier + began.elapsed().as_secs_f64();
        let mut since_log = (0u64, Instant::now());
        let save = |optimizer: &Optimizer, step: u64, mean: LossSoFar| {
            let keep = options.keep_checkpoints;
            checkpoint::save(
                &self.checkpoints,
                optimizer,
                step,
                (seconds(&began), mean),
                &self.fingerprint,
                keep,
            )
        };
        for step in first..options.steps {
            let (loss, grad_norm) = self.one_step(&mut optimizer, step)?;
            let done = step + 1;
            mean.sum += loss;
            mean.count += 1;
            since_log.0 += 1;
            (observer.progress)(Progress {
                step: done,
                total: options.steps,
                loss,
                images_per_second: (done - first) as f64 * options.batch as f64
                    / began.elapsed().as_secs_f64(),
            });
            let last = done == options.steps;
            let every = |n: u64| n > 0 && done % n == 0;
            if every(options.log_every) || every(options.eval_every) || last {
                let evaluation = if every(options.eval_every) || last {
                    Some(self.evaluate(&optimizer)?)
                } else {
                    None
                };
                mean = LossSoFar {
                    sum: 0.0,
                    count: 0,
                    last: mean.sum / mean.count as f64,
                };
                journal.write(&Line {
                    step: done,
                    loss: mean.last,
                    lr: options.rate(step),
                    grad_norm,
                    images_per_second: since_log.0 as f64 * options.batch as f64
                        / since_log.1.elapsed().as_secs_f64(),
                    seconds: seconds(&began),
                    member_loss: evaluation.map(|e| e.member_loss),
                    heldout_loss: evaluation.map(|e| e.heldout_loss),
                    gap: evaluation.map(|e| e.heldout_loss - e.member_loss),
                })?;
                since_log = (0, Instant::now());
            }
            let leave = !last
                && ((observer.stop)()
                    || observer
                        .max_steps_now
                        .is_some_and(|max| done - first >= max));
            if every(options.checkpoint_every) || leave || last {
                save(&optimizer, done, mean)?;
            }
            // After the checkpoint: a sheet that fails must not cost the steps before it.
            if every(options.sample_every) {
                (observer.sheet)(done, &self.averaged(&optimizer)?);
            }
            if leave {
                return Ok((Finished::Stopped { step: done }, optimizer));
            }
        }
        let evaluation = self.evaluate(&optimizer)?;
        Ok((
            Finished::Complete {
                train_loss: mean.last,
                evaluation,
                seconds: seconds(&began),
            },
            optimizer,
        ))
    }

    /// One optimiser step; returns (loss, gradient norm).
    fn one_step(&self, optimizer: &mut Optimizer, step: u64) -> Result<(f64, f64)> {
        let options = &self.options;
        let draw = self.recipe.draw(step, options.batch);
        let n = draw.images.len();
        let indices: Vec<i64> = draw.images.iter().map(|&i| i as i64).collect();
        let mut x0 = self
            .set
            .images
            .index_select(0, &Tensor::from_slice(&indices).to_device(self.device));
        if options.flip {
            let mut rng = stream(self.seed, "train/flip", step);
            let mirrored: Vec<bool> = (0..n).map(|_| rng.random()).collect();
            let mask = Tensor::from_slice(&mirrored)
                .view([-1, 1, 1, 1])
                .to_device(self.device);
            x0 = x0.flip([3]).where_self(&mask, &x0);
        }
        let t = noise::integers(
            &mut stream(self.seed, "train/t", step),
            self.schedule.len() as i64,
            n,
            self.device,
        );
        let eps = noise::normal(
            &mut stream(self.seed, "train/noise", step),
            &x0.size(),
            self.device,
        );
        let x_t = self.schedule.add_noise(&x0, &eps, &t);
        let target = match &draw.target {
            Target::Noise => eps,
            Target::Teacher(who) => self.recipe.teach(who, &x_t, &t)?,
        };
        if self.network.config().dropout > 0.0 {
            // The one place where libtorch's own generator is used: dropout masks. Seeded anew each step, so that a
            // resumed run draws the same ones.
            tch::manual_seed(stream(self.seed, "train/dropout", step).random::<i64>());
        }
        let prediction = self.network.forward(&x_t, &t, true)?;
        let loss = prediction.f_mse_loss(&target, tch::Reduction::Mean)?;
        let value = loss.double_value(&[]);
        if !value.is_finite() {
            return Err(DefenseError::NotFinite {
                step,
                what: "loss",
                value,
            });
        }
        loss.f_backward()?;
        let norm = optimizer.step(step, options)?;
        Ok((value, norm))
    }

    /// A network over the averaged weights (shared storage).
    fn averaged(&self, optimizer: &Optimizer) -> Result<UNet2d> {
        let weights = optimizer.ema().into_iter().collect();
        Ok(
            UNet2d::from_weights(self.network.config(), weights, self.device)?
                .with_precision(self.precision),
        )
    }

    /// As many members as held-out images, through the same code, with the same timesteps and noise.
    fn evaluate(&self, optimizer: &Optimizer) -> Result<Evaluation> {
        let network = self.averaged(optimizer)?;
        let members = self.recipe.members();
        let heldout = &self.set.heldout;
        let n = if heldout.is_empty() {
            members.len()
        } else {
            members.len().min(heldout.len())
        };
        let n = n.min(EVALUATION_IMAGES);
        Ok(Evaluation {
            member_loss: self.noise_loss(&network, &spread(&members, n))?,
            heldout_loss: if heldout.is_empty() {
                f64::NAN
            } else {
                self.noise_loss(&network, &spread(heldout, n))?
            },
        })
    }

    fn noise_loss(&self, network: &UNet2d, images: &[usize]) -> Result<f64> {
        let _guard = tch::no_grad_guard();
        let (mut sum, mut count) = (0.0, 0usize);
        let total = self.schedule.len() as i64;
        for (chunk_index, chunk) in images.chunks(64).enumerate() {
            let indices: Vec<i64> = chunk.iter().map(|&i| i as i64).collect();
            let x0 = self
                .set
                .images
                .index_select(0, &Tensor::from_slice(&indices).to_device(self.device));
            for draw in 0..EVALUATION_DRAWS {
                let index = draw * 1_000_003 + chunk_index as u64;
                let mut rng = stream(self.evaluation_seed, "evaluate", index);
                // Timesteps are stratified, so that few images still cover the whole schedule; which image gets which
                // stratum is drawn anew each time.
                let n = chunk.len() as i64;
                let mut times: Vec<i64> = (0..n)
                    .map(|i| {
                        let (low, high) = (i * total / n, (i + 1) * total / n);
                        rng.random_range(low..high.max(low + 1))
                    })
                    .collect();
                times.shuffle(&mut rng);
                let t = Tensor::from_slice(&times).to_device(self.device);
                let eps = noise::normal(&mut rng, &x0.size(), self.device);
                let x_t = self.schedule.add_noise(&x0, &eps, &t);
                let error = network.predict_noise(&x_t, &t, None)? - eps;
                let per_image =
                    (&error * &error).mean_dim([1i64, 2, 3].as_slice(), false, Kind::Double);
                sum += per_image.sum(Kind::Double).double_value(&[]);
                count += chunk.len();
            }
        }
        Ok(sum / count.max(1) as f64)
    }
}

/// `n` of `all`, evenly spread over the list (which may hold one half after the other).
fn spread(all: &[usize], n: usize) -> Vec<usize> {
    (0..n.min(all.len()))
        .map(|i| all[i * all.len() / n])
        .collect()
}
