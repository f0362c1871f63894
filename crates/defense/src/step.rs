//! One step of the loop in [`crate::trainer`]: what is shown to the network, and the gradient.

mod against;

use crate::dp::{ClippedSum, DpSgd};
use crate::easy::Usual;
use crate::optimizer::Optimizer;
use crate::recipe::{Draw, Target};
use crate::trainer::{Additions, Trainer};
use crate::unread::{Number, Reading};
use crate::{DefenseError, Objective, Result, augment, objective};
use dualmd_data::stream;
use dualmd_diffusion::{Condition, Keep, NoiseSchedule, Pass, ghost};
use dualmd_torch::device::bring;
use dualmd_torch::{Device, Kind, Tensor, no_grad, noise, tch};
use rand::Rng;
use std::ops::Range;

/// What a step shows the network, and what it should answer: one row per image and draw.
struct Batch {
    /// x_t, or x_s of a flow.
    x_t: Tensor,
    /// What the network is told of it: t, or 1000 s.
    t: Tensor,
    told: Option<Condition>,
    target: Tensor,
    /// What the answer is multiplied by before it is compared, [rows, 1, 1, 1]; none: 1.
    scale: Option<Tensor>,
}

impl Batch {
    /// How many rows it has.
    fn len(&self) -> i64 {
        self.x_t.size().first().copied().unwrap_or(0)
    }

    /// `n` rows from `first` on.
    fn rows(&self, first: i64, n: i64) -> Self {
        self.each(|tensor| tensor.narrow(0, first, n))
    }

    /// The rows that `rows` [K] i64 names.
    fn only(&self, rows: &Tensor) -> Self {
        self.each(|tensor| tensor.index_select(0, rows))
    }

    fn each(&self, rows: impl Fn(&Tensor) -> Tensor) -> Self {
        Self {
            x_t: rows(&self.x_t),
            t: rows(&self.t),
            told: self.told.as_ref().map(|c| c.each(&rows)),
            target: rows(&self.target),
            scale: self.scale.as_ref().map(&rows),
        }
    }

    /// An answer of the network as it is compared with the target.
    fn compared(&self, out: &Tensor) -> Result<Tensor> {
        Ok(match &self.scale {
            Some(scale) => out.f_mul(scale)?,
            None => out.shallow_clone(),
        })
    }

    /// The squares of the errors of each row, [rows, values].
    fn errors(&self, out: &Tensor) -> Result<Tensor> {
        let squares = self.compared(out)?;
        let squares = squares.f_mse_loss(&self.target, tch::Reduction::None)?;
        Ok(squares.f_flatten(1, -1)?)
    }

    /// The mean square error of each row, \[rows\].
    fn losses(&self, out: &Tensor) -> Result<Tensor> {
        let errors = self.errors(out)?;
        Ok(errors.f_mean_dim([1i64].as_slice(), false, Kind::Float)?)
    }
}

/// What became of a step.
pub(crate) struct Done {
    /// Mean loss; none where no image was drawn, or all were left out, and the weights are as they were.
    pub loss: Option<Number>,
    /// Gradient norm before clipping; 0 without a loss.
    pub grad_norm: Number,
    /// Images left out because the network remembers them.
    pub left_out: u64,
}

impl Trainer<'_> {
    /// One optimiser step. A step whose images or gradients hang on numbers of its own reads these whatever `reading` says.
    pub(crate) fn one_step(
        &self,
        optimizer: &mut Optimizer,
        step: u64,
        additions: &Additions,
        reading: Reading,
    ) -> Result<Done> {
        let options = &self.options;
        let draw = self.recipe.draw(step, options.batch);
        let Some(private) = self.recipe.private() else {
            let own = self.ranks.share(draw.images.len());
            let (mut batch, mut left_out) = (None, 0);
            if !own.is_empty() {
                let all = self.batch(&draw, 1, self.seed, step, additions)?;
                (batch, left_out) = self.without_memorised(all)?;
            }
            let mut whole = draw.images.len() as i64;
            if options.drop_memorised > 0.0 {
                let kept = batch.as_ref().map_or(0, Batch::len);
                let mut counts = [kept as f64, left_out as f64];
                self.ranks.sum_f64(&mut counts)?;
                (whole, left_out) = (counts[0] as i64, counts[1] as u64);
            }
            let iterative = self.recipe.iterative();
            if let Some(iterative) = iterative {
                iterative.before(optimizer, step);
            }
            let loss = if whole == 0 {
                None
            } else if options.skip_easy > 0.0 {
                let places = (own.start, draw.images.len());
                let (loss, easy) =
                    self.backward_without_easy(batch.as_ref(), places, optimizer, step)?;
                left_out += easy;
                loss.map(Number::Known)
            } else if let Some(smp) = self.recipe.adversary() {
                let own = batch.as_ref();
                let loss = self.backward_against(smp, own, whole, optimizer, step, additions)?;
                Some(Number::Known(loss))
            } else if let (Some(batch), Reading::Late) = (&batch, reading) {
                Some(Number::There(self.backward_unread(batch, whole)?))
            } else {
                let own = match &batch {
                    Some(batch) => self.backward_in_parts(batch, whole, step),
                    None => Ok(0.0),
                };
                Some(Number::Known(self.together(own, step)?))
            };
            let grad_norm = match loss {
                Some(_) => {
                    let gradients = self.summed_gradients(optimizer)?;
                    let clock = iterative.map_or(step, |i| i.clock(step));
                    // After the sum: every rank sees the same norm.
                    let clip = (options.clip > 0.0).then_some(options.clip);
                    match reading {
                        Reading::Each => {
                            Number::Known(optimizer.step_along(&gradients, clip, clock, options)?)
                        }
                        Reading::Late => {
                            Number::There(optimizer.step_unread(&gradients, clip, clock, options)?)
                        }
                    }
                }
                None => Number::Known(0.0),
            };
            if let Some(iterative) = iterative {
                iterative.after(optimizer, step)?;
            }
            return Ok(Done {
                loss,
                grad_norm,
                left_out,
            });
        };
        let (loss, gradient) = self.private_gradient(private, optimizer, &draw, step, additions)?;
        // Each image's gradient has been clipped: clipping the noisy mean again would only hide how much noise there is.
        let grad_norm = optimizer.step_along(&gradient, None, step, options)?;
        Ok(Done {
            loss: loss.map(Number::Known),
            grad_norm: Number::Known(grad_norm),
            left_out: 0,
        })
    }

    /// The batch without the images that the network remembers by their texts, if that is asked for, and how many these are; no
    /// batch where they are all of it. (Wen et al. 2024, section 4.3, and their code.)
    fn without_memorised(&self, batch: Batch) -> Result<(Option<Batch>, u64)> {
        let limit = self.options.drop_memorised;
        let captions = self.set.captions.as_ref().filter(|_| limit > 0.0);
        let Some(captions) = captions else {
            return Ok((Some(batch), 0));
        };
        let n = batch.len();
        let mut kept = Vec::new();
        for (first, here) in self.parts(n) {
            let part = batch.rows(first, here);
            let nothing = captions.nothing(here);
            let norms = no_grad(|| -> Result<Vec<f64>> {
                let noise = |told: Option<&Condition>| -> Result<Tensor> {
                    let out = self.network.predict_noise(&part.x_t, &part.t, told)?;
                    Ok(match self.options.objective {
                        Objective::Ddpm => self.schedule.noise_of_output(out, &part.x_t, &part.t),
                        // eps = x_s + (1 - s) v.
                        Objective::Flow(_) => {
                            let s = &part.t / self.schedule.len() as f64;
                            &part.x_t + out * (-s + 1.0).view([-1, 1, 1, 1])
                        }
                    })
                };
                let moved = noise(part.told.as_ref())? - noise(Some(&nothing))?;
                let squares = (&moved * &moved).f_flatten(1, -1)?;
                let norms = squares.f_sum_dim_intlist(1, false, Kind::Double)?.sqrt();
                Ok(Vec::try_from(norms)?)
            })?;
            let rows = (first..).zip(norms);
            kept.extend(rows.filter(|(_, norm)| *norm < limit).map(|(row, _)| row));
        }
        let left_out = (n - kept.len() as i64) as u64;
        Ok(match kept.len() as i64 {
            0 => (None, left_out),
            all if all == n => (Some(batch), 0),
            _ => {
                let rows = Tensor::from_slice(&kept).to_device(self.device);
                (Some(batch.only(&rows)), left_out)
            }
        })
    }

    /// (first row, rows) of the parts in which a batch of `n` goes through the network.
    fn parts(&self, n: i64) -> Vec<(i64, i64)> {
        let parts = i64::try_from(self.options.accumulate).unwrap_or(n);
        let each = (n / parts.max(1)).max(1);
        (0..n)
            .step_by(each as usize)
            .map(|first| (first, each.min(n - first)))
            .collect()
    }

    /// The gradient of a DP-SGD step (see [`crate::dp`]) and the mean loss of the images drawn.
    fn private_gradient(
        &self,
        private: &DpSgd,
        optimizer: &mut Optimizer,
        draw: &Draw,
        step: u64,
        additions: &Additions,
    ) -> Result<(Option<f64>, Vec<Tensor>)> {
        if draw.target != Target::Noise {
            return Err(DefenseError::Setting(
                "DP-SGD cannot be combined with teachers: they carry the images' information into the targets, past the \
                 clipping and the noise; use it for ordinary training"
                    .into(),
            ));
        }
        let privacy = private.privacy();
        let mut sum = ClippedSum::new(optimizer.parameters(), privacy.clip);
        let mut loss = None;
        if !draw.images.is_empty() {
            let total = self.clipped(private, optimizer, draw, step, additions, &mut sum);
            let total = self.together(total, step)?;
            self.ranks.sum(sum.tensors())?;
            loss = Some(total / draw.images.len() as f64);
        }
        // Once, whatever the number of ranks: each of them draws the same.
        let shapes: Vec<Vec<i64>> = optimizer.parameters().iter().map(Tensor::size).collect();
        let noise = private.noise(step, &shapes, self.device);
        Ok((loss, sum.release(&noise, self.options.batch as f64)?))
    }

    /// Adds the clipped gradients of this rank's images to `sum`; returns the sum of their losses.
    fn clipped(
        &self,
        private: &DpSgd,
        optimizer: &mut Optimizer,
        draw: &Draw,
        step: u64,
        additions: &Additions,
        sum: &mut ClippedSum,
    ) -> Result<f64> {
        let images = self.ranks.share(draw.images.len()).len() as i64;
        let mut total = 0.0;
        if images == 0 {
            return Ok(total);
        }
        let copies = private.privacy().noise_multiplicity;
        let all = self.batch(draw, copies, private.seed(), step, additions)?;
        let k = copies as i64;
        for (first, here) in self.private_parts(images, k) {
            let part = all.rows(first * k, here * k);
            total += if self.options.gradient_checkpointing {
                self.image_by_image(&part, here, optimizer, sum, step)?
            } else {
                self.images_at_once(&part, here, optimizer, sum, step)?
            };
        }
        Ok(total)
    }

    /// (first image, images) of the parts in which the images of a private step go through the network, K rows each: about as many
    /// rows at once as an ordinary step has.
    fn private_parts(&self, images: i64, k: i64) -> Vec<(i64, i64)> {
        let rows = (self.options.batch / self.options.accumulate.max(1)) as i64;
        let each = (rows / k).max(1);
        (0..images)
            .step_by(each as usize)
            .map(|first| (first, each.min(images - first)))
            .collect()
    }

    /// Adds the clipped gradients of `images` images, whose rows are `part`, to `sum`, from one pass there and back
    /// ([`dualmd_diffusion::ghost`]); returns the sum of their losses.
    fn images_at_once(
        &self,
        part: &Batch,
        images: i64,
        optimizer: &Optimizer,
        sum: &mut ClippedSum,
        step: u64,
    ) -> Result<f64> {
        let (pass, recorded) = ghost::record(|| {
            let told = part.told.as_ref();
            self.network
                .forward_training(&part.x_t, &part.t, told, Keep::Everything)
        });
        let pass = pass?;
        let losses = part.losses(pass.output())?;
        let total = losses.f_sum(Kind::Float)? * (images as f64 / losses.numel() as f64);
        let value = finite_loss(total.double_value(&[]), step)?;
        let gradients = recorded.differentiate(&total, images, optimizer.parameters())?;
        let scales = gradients
            .norms()?
            .into_iter()
            .map(|norm| sum.scale(norm, step))
            .collect::<Result<Vec<f64>>>()?;
        sum.add_clipped(&gradients.weighted(&scales)?)?;
        Ok(value)
    }

    /// The same with a pass for every image, which keeps little and takes long.
    fn image_by_image(
        &self,
        part: &Batch,
        images: i64,
        optimizer: &mut Optimizer,
        sum: &mut ClippedSum,
        step: u64,
    ) -> Result<f64> {
        let k = part.x_t.size()[0] / images;
        let mut total = 0.0;
        for image in 0..images {
            total += self.backward(&part.rows(image * k, k), 1.0, step)?;
            sum.add(&mut optimizer.gradients(), step)?;
            optimizer.forget();
        }
        Ok(total)
    }

    /// The rows of one step: `copies` of each drawn image, each copy with its own mirror, square, timestep and noise from
    /// the streams of `seed`. Everything is drawn for the whole batch; of several ranks each keeps its own images' rows, before
    /// anything is calculated with them.
    fn batch(
        &self,
        draw: &Draw,
        copies: usize,
        seed: u64,
        step: u64,
        additions: &Additions,
    ) -> Result<Batch> {
        let indices: Vec<i64> = draw
            .images
            .iter()
            .flat_map(|&i| std::iter::repeat_n(i as i64, copies))
            .collect();
        let n = indices.len();
        let own = self.ranks.share(draw.images.len());
        let own_rows = own.start * copies..own.end * copies;
        let mine = indices.get(own_rows.clone()).unwrap_or_default();
        let keep = |all: Tensor| bring(&kept(&all, &own_rows), self.device);
        let rows = keep(Tensor::from_slice(&indices));
        let drawn = |all: &Tensor| all.index_select(0, &rows);
        let mirror = self.options.flip.then(|| {
            let mut rng = stream(seed, "train/flip", step);
            let coins: Vec<bool> = (0..n).map(|_| rng.random()).collect();
            keep(Tensor::from_slice(&coins)).view([-1, 1, 1, 1])
        });
        let mut x0 = self.set.images.rows(mine, self.device)?;
        let mut deviation = self.set.deviation.as_ref().map(drawn);
        if let Some(mask) = &mirror {
            match &self.set.mirrored {
                Some((means, deviations)) => {
                    x0 = drawn(means).where_self(mask, &x0);
                    deviation = deviation.map(|d| drawn(deviations).where_self(mask, &d));
                }
                None => x0 = x0.flip([3]).where_self(mask, &x0),
            }
        }
        let mut whole = x0.size();
        whole[0] = n as i64;
        let normal = |purpose: &str| {
            let mut rng = stream(seed, purpose, step);
            keep(noise::normal(&mut rng, &whole, Device::Cpu))
        };
        if let Some(deviation) = deviation {
            x0 += deviation * normal("train/latent");
        }
        if let Some(cutout) = &additions.cutout {
            let (_, _, height, width) = x0.size4()?;
            let mut rng = stream(seed, "train/cutout", step);
            let side = (height as usize, width as usize);
            let mask = augment::mask(cutout, &mut rng, n, side, Device::Cpu);
            x0 = x0.f_mul(&keep(mask))?;
        }
        let eps = normal("train/noise");
        let ambient = self.recipe.ambient();
        let own_noise = match ambient {
            Some(ambient) => {
                let noise = ambient.own_noise(mine, &x0.size()[1..], self.device)?;
                // It belongs to the picture, and is mirrored with it.
                Some(match &mirror {
                    Some(mask) => noise.flip([3]).where_self(mask, &noise),
                    None => noise,
                })
            }
            None => None,
        };
        let mut scale = None;
        let (x_t, t) = match self.options.objective {
            Objective::Ddpm => {
                let mut rng = stream(seed, "train/t", step);
                let t = noise::integers(&mut rng, self.schedule.len() as i64, n, Device::Cpu);
                let t = keep(t);
                let x_t = match ambient.zip(own_noise.as_ref()) {
                    Some((ambient, own)) => {
                        let [fresh, rest] = ambient.shares(&self.schedule, &t)?;
                        let both = own * rest + &eps * fresh.f_sqrt()?;
                        scale = Some(fresh);
                        self.schedule.add_noise(&x0, &both, &t)
                    }
                    None => self.schedule.add_noise(&x0, &eps, &t),
                };
                (x_t, t)
            }
            Objective::Flow(levels) => {
                let mut rng = stream(seed, "train/level", step);
                let s = objective::draw(levels, &mut rng, n, Device::Cpu);
                let s = keep(s);
                (NoiseSchedule::on_path(&x0, &eps, &s), s)
            }
        };
        let captions = self.set.captions.as_ref();
        let told = captions.map(|c| c.drawn(&indices, own_rows.clone(), seed, step));
        let taught = match &draw.target {
            Target::Noise => None,
            Target::Teacher(who) => {
                if self.network.has_dropout() {
                    // For teachers that drop; see below.
                    self.seed_dropout(seed, "train/teacher-dropout", step);
                }
                let who = who.get(own).unwrap_or_default();
                Some(self.recipe.teach(who, &x_t, &t, told.as_ref())?)
            }
        };
        let (t, target) = match self.options.objective {
            Objective::Ddpm => {
                let eps = taught.unwrap_or(eps);
                let eps = match &scale {
                    Some(share) => eps * share.f_sqrt()?,
                    None => eps,
                };
                let target = self.schedule.output_for_noise(eps, &x_t, &t);
                (t, target)
            }
            Objective::Flow(_) => {
                let target = taught.unwrap_or_else(|| eps - &x0);
                (self.schedule.time_of_level(&t), target)
            }
        };
        if self.network.has_dropout() {
            // Dropout masks are the one thing that libtorch's own generator is used for. Seeded anew each step, so that a
            // resumed run draws the same ones.
            self.seed_dropout(seed, "train/dropout", step);
        }
        Ok(Batch {
            x_t,
            t,
            told,
            target,
            scale,
        })
    }

    /// libtorch's own generator for the dropout of this step, on each rank another one: two ranks' images have no mask in common.
    fn seed_dropout(&self, seed: u64, purpose: &str, step: u64) {
        let mut rng = match self.ranks.rank() {
            0 => stream(seed, purpose, step),
            rank => stream(seed, &format!("{purpose}/rank-{rank}"), step),
        };
        tch::manual_seed(rng.random::<i64>());
    }

    /// Adds the gradient of the batch's part in the mean loss of `whole` rows to the parameters', a part of the batch at a time; returns
    /// that part of the loss.
    fn backward_in_parts(&self, batch: &Batch, whole: i64, step: u64) -> Result<f64> {
        let mut loss = 0.0;
        for (first, here) in self.parts(batch.len()) {
            let share = here as f64 / whole as f64;
            loss += share * self.backward(&batch.rows(first, here), share, step)?;
        }
        Ok(loss)
    }

    /// The batch on its way through the network.
    fn pass(&self, batch: &Batch) -> Result<Pass<'_>> {
        let keep = if self.options.gradient_checkpointing {
            Keep::Checkpoints
        } else {
            Keep::Everything
        };
        self.network
            .forward_training(&batch.x_t, &batch.t, batch.told.as_ref(), keep)
    }

    /// Adds this rank's part in the gradient of the mean loss of the images that are not easy ([`crate::easy`]) to the parameters';
    /// returns this loss, none where all are easy, and how many are, both of all ranks. `place`: the first of the rank's images among
    /// those of the step, and how many these are.
    fn backward_without_easy(
        &self,
        batch: Option<&Batch>,
        (first, images): (usize, usize),
        optimizer: &mut Optimizer,
        step: u64,
    ) -> Result<(Option<f64>, u64)> {
        let mut usual = Usual::of(optimizer, self.schedule.len());
        let mut rows = Vec::new();
        let own = match batch {
            Some(batch) => self.add_where_not_easy(batch, &usual, step, &mut rows),
            None => Ok(()),
        };
        self.together(own.map(|()| 0.0), step)?;
        // Loss and time of each image, in the order of the step, and a 1; zeros where an image was left out before.
        let mut all = vec![0.0; 3 * images];
        for (place, row) in all.chunks_exact_mut(3).skip(first).zip(&rows) {
            place.copy_from_slice(row);
        }
        self.ranks.sum_f64(&mut all)?;
        let (losses, times): (Vec<f64>, Vec<f64>) = all
            .chunks_exact(3)
            .filter(|place| place[2] > 0.0)
            .map(|place| (place[0], place[1]))
            .unzip();
        let keep = usual.kept(&losses, &times, self.options.skip_easy);
        usual.learn(&losses, &times);
        usual.carry(optimizer);
        let (mut sum, mut kept) = (0.0, 0_u32);
        for (loss, _) in losses.iter().zip(&keep).filter(|(_, keep)| **keep) {
            sum += loss;
            kept += 1;
        }
        let easy = losses.len() as u64 - u64::from(kept);
        if kept == 0 {
            return Ok((None, easy));
        }
        no_grad(|| -> Result<()> {
            // A rank that has kept no image has none yet in its first step.
            let gradients = optimizer.gradients().into_iter();
            for mut gradient in gradients.filter(Tensor::defined) {
                let _ = gradient.f_div_scalar_(f64::from(kept))?;
            }
            Ok(())
        })?;
        Ok((Some(sum / f64::from(kept)), easy))
    }

    /// Adds the gradient of the sum of the losses that are not easy to the parameters'; puts loss, time and a 1 of every row into `rows`.
    fn add_where_not_easy(
        &self,
        batch: &Batch,
        usual: &Usual,
        step: u64,
        rows: &mut Vec<[f64; 3]>,
    ) -> Result<()> {
        for (first, here) in self.parts(batch.len()) {
            let part = batch.rows(first, here);
            let pass = self.pass(&part)?;
            let each = part.losses(pass.output())?;
            let values: Vec<f64> = Vec::try_from(each.detach().f_to_kind(Kind::Double)?)?;
            let t: Vec<f64> = Vec::try_from(part.t.f_to_kind(Kind::Double)?)?;
            for &value in &values {
                finite_loss(value, step)?;
            }
            let keep = usual.kept(&values, &t, self.options.skip_easy);
            if keep.contains(&true) {
                let weights: Vec<f32> = keep.iter().map(|&k| f32::from(u8::from(k))).collect();
                let weights = Tensor::from_slice(&weights).to_device(self.device);
                pass.backward(&(each * weights).f_sum(Kind::Float)?)?;
            }
            rows.extend(values.iter().zip(&t).map(|(&loss, &t)| [loss, t, 1.0]));
        }
        Ok(())
    }

    /// As [`Self::backward_in_parts`], without waiting for the device: the loss stays there, an f64 of no axes.
    fn backward_unread(&self, batch: &Batch, whole: i64) -> Result<Tensor> {
        let mut sum = Tensor::zeros([], (Kind::Double, self.device));
        for (first, here) in self.parts(batch.len()) {
            let share = here as f64 / whole as f64;
            let (pass, loss) = self.pass_and_loss(&batch.rows(first, here))?;
            let value = loss.f_detach()?.f_to_kind(Kind::Double)?;
            sum = sum.f_add(&value.f_mul_scalar(share)?)?;
            go_back(pass, loss, share)?;
        }
        Ok(sum)
    }

    /// Adds the gradient of the batch's mean loss, times `share`, to the parameters'; returns the loss.
    fn backward(&self, batch: &Batch, share: f64, step: u64) -> Result<f64> {
        let (pass, loss) = self.pass_and_loss(batch)?;
        let value = finite_loss(loss.double_value(&[]), step)?;
        go_back(pass, loss, share)?;
        Ok(value)
    }

    /// The batch on its way through the network, and its mean loss.
    fn pass_and_loss(&self, batch: &Batch) -> Result<(Pass<'_>, Tensor)> {
        let pass = self.pass(batch)?;
        let loss = batch
            .compared(pass.output())?
            .f_mse_loss(&batch.target, tch::Reduction::Mean)?;
        Ok((pass, loss))
    }
}

/// Adds the gradient of a loss, times `share`, to the parameters'.
fn go_back(pass: Pass<'_>, loss: Tensor, share: f64) -> Result<()> {
    // Times 1 would change nothing and cost a little.
    let loss = if share < 1.0 { loss * share } else { loss };
    Ok(pass.backward(&loss)?)
}

/// These rows of a tensor.
fn kept(all: &Tensor, rows: &Range<usize>) -> Tensor {
    all.narrow(0, rows.start as i64, rows.len() as i64)
}

/// Refuses a loss that is no number.
fn finite_loss(value: f64, step: u64) -> Result<f64> {
    if value.is_finite() {
        return Ok(value);
    }
    Err(DefenseError::NotFinite {
        step,
        what: "loss",
        value,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        Captions, DistillMd, KWay, Levels, Privacy, Recipe, Routing, TrainOptions, TrainingSet,
    };
    use dualmd_diffusion::unet2d_condition::PerLevel;
    use dualmd_diffusion::{
        Backbone, BackboneConfig, Denoiser, DiffusionError, DitConfig, LoraConfig, UNet2dCondition,
        UNet2dConditionConfig, UNet2dConfig, preset::preset,
    };
    use dualmd_torch::device::Precision;
    use dualmd_torch::ranks::Group;
    use std::rc::Rc;

    pub(crate) const IMAGES: usize = 8;
    const COPIES: usize = 3;

    fn network() -> Backbone {
        let config = BackboneConfig::preset("tiny", 1, 8).unwrap();
        Backbone::fresh(&config, 3, Device::Cpu).unwrap()
    }

    fn recipe(clip: f64) -> DpSgd {
        let privacy = Privacy {
            noise_multiplier: 0.0,
            clip,
            noise_multiplicity: COPIES,
        };
        DpSgd::new((0..IMAGES).collect(), privacy, "secret").unwrap()
    }

    pub(crate) fn trainer(recipe: &dyn Recipe) -> Trainer<'_> {
        let mut rng = stream(1, "images", 0);
        Trainer {
            network: Box::new(network()),
            schedule: NoiseSchedule::default(),
            set: TrainingSet {
                images: noise::normal(&mut rng, &[IMAGES as i64, 1, 8, 8], Device::Cpu).into(),
                ..TrainingSet::default()
            },
            recipe,
            options: TrainOptions {
                batch: IMAGES,
                flip: true,
                ..TrainOptions::default()
            },
            seed: 7,
            evaluation_seed: 8,
            device: Device::Cpu,
            precision: Precision::F32,
            checkpoints: Default::default(),
            log: Default::default(),
            tensorboard: Default::default(),
            fingerprint: String::new(),
            ranks: Rc::new(Group::alone()),
        }
    }

    /// All images of a trainer.
    fn images(trainer: &Trainer<'_>) -> Tensor {
        let all: Vec<i64> = (0..IMAGES as i64).collect();
        trainer.set.images.rows(&all, Device::Cpu).unwrap()
    }

    fn flow(recipe: &dyn Recipe) -> Trainer<'_> {
        let mut trainer = trainer(recipe);
        trainer.schedule = NoiseSchedule::flow();
        trainer.options.objective = Objective::Flow(Levels::Uniform);
        trainer.options.flip = false;
        trainer
    }

    /// A flow whose velocity is a number.
    struct Drifts(f64);
    impl Denoiser for Drifts {
        fn predict_noise(
            &self,
            _: &Tensor,
            _: &Tensor,
            _: Option<&Condition>,
        ) -> dualmd_diffusion::Result<Tensor> {
            Err(DiffusionError::Config("asked for its noise".into()))
        }

        fn predict_velocity(
            &self,
            x_s: &Tensor,
            _: &Tensor,
            _: Option<&Condition>,
        ) -> dualmd_diffusion::Result<Tensor> {
            Ok(x_s.full_like(self.0))
        }
    }

    #[test]
    fn a_flow_is_shown_its_path_and_learns_the_velocity_along_it() {
        let recipe = crate::Plain::new((0..IMAGES).collect(), 5).unwrap();
        let trainer = flow(&recipe);
        let none = Additions::default();
        trainer.check(&none).unwrap();
        let (seed, step) = (trainer.seed, 3);
        let draw = recipe.draw(step, IMAGES);
        let batch = trainer.batch(&draw, 1, seed, step, &none).unwrap();
        let mut rng = stream(seed, "train/level", step);
        let s = objective::draw(Levels::Uniform, &mut rng, IMAGES, Device::Cpu);
        let rows: Vec<i64> = draw.images.iter().map(|&i| i as i64).collect();
        let x0 = trainer.set.images.rows(&rows, Device::Cpu).unwrap();
        let mut rng = stream(seed, "train/noise", step);
        let eps = noise::normal(&mut rng, &x0.size(), Device::Cpu);
        let away = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]);
        assert!(away(&batch.t, &(&s * 1000.0)) < 1e-3);
        let s = s.view([-1, 1, 1, 1]);
        // From its place a step back along the velocity ends at the image, and a step ahead at the noise.
        assert!(away(&(&batch.x_t - &batch.target * &s), &x0) < 1e-5);
        assert!(away(&(&batch.x_t + &batch.target * (-&s + 1.0)), &eps) < 1e-5);
        assert!(away(&batch.target, &eps) > 0.1);
    }

    /// A recipe, and what it is taught of an image.
    type Case<'a> = (&'a dyn Recipe, &'a dyn Fn(usize) -> f64);

    #[test]
    fn a_student_of_flows_learns_the_velocity_of_the_teachers_that_never_saw_the_image() {
        let none = Additions::default();
        for routing in [Routing::Iteration, Routing::Example] {
            let teachers: [Box<dyn Denoiser>; 2] = [Box::new(Drifts(1.0)), Box::new(Drifts(2.0))];
            let halves = ((0..4).collect(), (4..IMAGES).collect());
            let two = DistillMd::new(halves.0, halves.1, teachers, routing, 7).unwrap();
            let shards: Vec<Vec<usize>> = (0..4).map(|i| vec![2 * i, 2 * i + 1]).collect();
            let teachers = [1.0, 2.0, 3.0, 4.0].map(|v| Box::new(Drifts(v)) as Box<dyn Denoiser>);
            let four = KWay::new(shards, teachers.into(), routing, 7).unwrap();
            // The sum of 1 to 4 without the shard's own, by 3.
            let of_four = |image: usize| (10.0 - (image / 2 + 1) as f64) / 3.0;
            let of_two = |image: usize| if image < 4 { 2.0 } else { 1.0 };
            let cases: [Case<'_>; 2] = [(&two, &of_two), (&four, &of_four)];
            for (recipe, expected) in cases {
                let trainer = flow(recipe);
                for step in 0..6 {
                    let draw = recipe.draw(step, 4);
                    let batch = trainer.batch(&draw, 1, trainer.seed, step, &none).unwrap();
                    for (row, &image) in draw.images.iter().enumerate() {
                        let target = batch.target.get(row as i64);
                        let off = (target - expected(image)).abs().max().double_value(&[]);
                        assert!(off < 1e-6, "{routing:?}, step {step}, image {image}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_objective_and_a_schedule_of_two_kinds_are_refused() {
        let recipe = crate::Plain::new((0..IMAGES).collect(), 5).unwrap();
        let (mut half, mut other) = (flow(&recipe), flow(&recipe));
        half.schedule = NoiseSchedule::default();
        other.options.objective = Objective::Ddpm;
        for trainer in [half, other] {
            let refused = trainer.check(&Additions::default()).unwrap_err();
            assert!(refused.to_string().contains("train.objective"), "{refused}");
        }
    }

    /// Gradients as one vector of f64.
    pub(super) fn flat(gradients: &[Tensor]) -> Vec<f64> {
        let flat: Vec<Tensor> = gradients.iter().map(|g| g.reshape([-1])).collect();
        Vec::try_from(Tensor::cat(&flat, 0).to_kind(Kind::Double)).unwrap()
    }

    pub(super) fn norm(vector: &[f64]) -> f64 {
        vector.iter().map(|v| v * v).sum::<f64>().sqrt()
    }

    /// The loss and gradient of every image, each from a network of its own.
    fn naive(trainer: &Trainer<'_>, recipe: &DpSgd, draw: &Draw) -> Vec<(f64, Vec<f64>)> {
        let all = trainer
            .batch(draw, COPIES, recipe.seed(), 0, &Additions::default())
            .unwrap();
        (0..draw.images.len())
            .map(|image| {
                let network = network();
                let optimizer = Optimizer::new(network.parameters());
                let mut losses = Vec::new();
                for copy in 0..COPIES {
                    let row = (image * COPIES + copy) as i64;
                    let rows = |t: &Tensor| t.narrow(0, row, 1);
                    let out = network
                        .forward(&rows(&all.x_t), &rows(&all.t), None, true)
                        .unwrap();
                    let error = out - rows(&all.target);
                    losses.push((&error * &error).mean(Kind::Float));
                }
                let loss = Tensor::stack(&losses, 0).mean(Kind::Float);
                loss.backward();
                (loss.double_value(&[]), flat(&optimizer.gradients()))
            })
            .collect()
    }

    #[test]
    fn the_private_gradient_is_the_sum_of_clipped_gradients_of_single_images() {
        let probe = recipe(1.0);
        let draw = probe.draw(0, IMAGES);
        assert_eq!(draw.images.len(), IMAGES);
        let single = naive(&trainer(&probe), &probe, &draw);
        let mut norms: Vec<f64> = single.iter().map(|(_, g)| norm(g)).collect();
        norms.sort_by(f64::total_cmp);
        // Between the norms, so that some are clipped and some are not.
        let clip = 0.5 * (norms[IMAGES / 2 - 1] + norms[IMAGES / 2]);
        assert!(
            norms[0] < 0.999 * clip && norms[IMAGES - 1] > 1.001 * clip,
            "{norms:?}"
        );

        let recipe = recipe(clip);
        let trainer = trainer(&recipe);
        let mut optimizer = Optimizer::new(trainer.network.parameters());
        let (loss, gradient) = trainer
            .private_gradient(&recipe, &mut optimizer, &draw, 0, &Additions::default())
            .unwrap();
        let got = flat(&gradient);
        let mut expected = vec![0.0; got.len()];
        for (_, g) in &single {
            let scale = (clip / norm(g)).min(1.0) / IMAGES as f64;
            expected
                .iter_mut()
                .zip(g)
                .for_each(|(e, g)| *e += scale * g);
        }
        let difference: Vec<f64> = got.iter().zip(&expected).map(|(a, b)| a - b).collect();
        assert!(
            norm(&difference) < 1e-4 * norm(&expected),
            "{} of {}",
            norm(&difference),
            norm(&expected)
        );
        let mean = single.iter().map(|(l, _)| l).sum::<f64>() / IMAGES as f64;
        assert!((loss.unwrap() - mean).abs() < 1e-5 * mean);
        // Nothing is left behind for the next step.
        let empty = |g: &Tensor| !g.defined() || g.abs().max().double_value(&[]) == 0.0;
        assert!(optimizer.gradients().iter().all(empty));
    }

    /// The gradient and the loss of a batch do not depend on the parts it goes through the network in, equal or not.
    #[test]
    fn parts_of_a_batch_add_up() {
        let recipe = recipe(1.0);
        let draw = recipe.draw(0, IMAGES);
        let of = |accumulate: usize| {
            let mut trainer = trainer(&recipe);
            trainer.options.accumulate = accumulate;
            let optimizer = Optimizer::new(trainer.network.parameters());
            let none = Additions::default();
            let batch = trainer.batch(&draw, 1, 5, 0, &none).unwrap();
            let loss = trainer.backward_in_parts(&batch, batch.len(), 0).unwrap();
            (loss, flat(&optimizer.gradients()))
        };
        let (loss, whole) = of(1);
        for accumulate in [2, 3, IMAGES] {
            let (other, parts) = of(accumulate);
            assert!(
                (loss - other).abs() < 1e-6 * loss,
                "{accumulate}: {loss} and {other}"
            );
            let difference: Vec<f64> = whole.iter().zip(&parts).map(|(a, b)| a - b).collect();
            assert!(norm(&difference) < 1e-5 * norm(&whole), "{accumulate}");
        }
    }

    #[test]
    fn checkpointing_changes_no_gradient() {
        let recipe = recipe(1.0);
        let draw = recipe.draw(0, IMAGES);
        let of = |checkpointing: bool| {
            let mut trainer = trainer(&recipe);
            trainer.options.gradient_checkpointing = checkpointing;
            trainer.options.accumulate = 2;
            let optimizer = Optimizer::new(trainer.network.parameters());
            let none = Additions::default();
            let batch = trainer.batch(&draw, 1, 5, 0, &none).unwrap();
            let loss = trainer.backward_in_parts(&batch, batch.len(), 0).unwrap();
            (loss, flat(&optimizer.gradients()))
        };
        let ((loss, kept), (other, again)) = (of(false), of(true));
        assert!((loss - other).abs() < 1e-6 * loss, "{loss} and {other}");
        let difference: Vec<f64> = kept.iter().zip(&again).map(|(a, b)| a - b).collect();
        assert!(norm(&difference) < 1e-5 * norm(&kept));
        assert!(norm(&kept) > 0.0);
    }

    /// Below its level of noise an ambient training shows what ordinary training shows. Above it, whatever is drawn, an image lies under
    /// the same noise of its own: what is shown minus the fresh noise is the image's noisy picture.
    #[test]
    fn above_its_level_an_ambient_training_shows_no_image_cleaner_than_its_noisy_picture() {
        let level = 0.5;
        let recipe = crate::Ambient::new((0..IMAGES).collect(), level, 5).unwrap();
        let trainer = trainer(&recipe);
        let none = Additions::default();
        trainer.check(&none).unwrap();
        let away = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]);
        let mut pictures: Vec<Vec<Tensor>> = (0..2 * IMAGES).map(|_| Vec::new()).collect();
        let mut clean = 0;
        for step in 0..8 {
            let draw = recipe.draw(step, IMAGES);
            let batch = trainer.batch(&draw, 1, trainer.seed, step, &none).unwrap();
            let share = batch.scale.as_ref().unwrap();
            let mut rng = stream(trainer.seed, "train/noise", step);
            let z = noise::normal(&mut rng, &batch.x_t.size(), Device::Cpu);
            assert!(away(&batch.target, &(&z * share.sqrt())) < 1e-6);
            let mut rng = stream(trainer.seed, "train/flip", step);
            for (row, &image) in draw.images.iter().enumerate() {
                let mirrored: bool = rng.random();
                let at = row as i64;
                let abar = trainer.schedule.alpha_bar(batch.t.int64_value(&[at]));
                let (s, r) = (
                    (1.0 - abar).sqrt() / abar.sqrt(),
                    share.double_value(&[at, 0, 0, 0]),
                );
                // x_t / sqrt(abar) without the fresh noise: x_0, or y.
                let seen = batch.x_t.get(at) / abar.sqrt() - z.get(at) * (s * r.sqrt());
                let x0 = images(&trainer).get(image as i64);
                let x0 = if mirrored { x0.flip([2]) } else { x0 };
                if s < level {
                    clean += 1;
                    assert!(away(&seen, &x0) < 1e-4, "step {step}, image {image}");
                } else {
                    pictures[2 * image + usize::from(mirrored)].push(seen - x0);
                }
            }
        }
        assert!(clean > 0);
        for (at, own) in pictures.iter().enumerate() {
            for other in own {
                assert!(away(other, &own[0]) < 1e-3, "image {}", at / 2);
                let spread = other.std(false).double_value(&[]);
                assert!((spread - level).abs() < 0.2, "{spread}");
            }
        }
        // A mirrored image's noise is mirrored with it.
        let both = pictures
            .chunks(2)
            .find(|p| p.iter().all(|side| !side.is_empty()));
        let both = both.unwrap();
        assert!(away(&both[0][0].flip([2]), &both[1][0]) < 1e-3);
    }

    #[test]
    fn an_ambient_training_with_what_shows_its_noise_is_refused() {
        let recipe = crate::Ambient::new((0..IMAGES).collect(), 0.5, 5).unwrap();
        let cut = Additions {
            cutout: Some(crate::Cutout {
                side: 2,
                probability: 0.5,
            }),
            ..Additions::default()
        };
        let refused = trainer(&recipe).check(&cut).unwrap_err().to_string();
        assert!(refused.contains("cutout_side"), "{refused}");
        let refused = flow(&recipe).check(&Additions::default()).unwrap_err();
        assert!(
            refused.to_string().contains("predicts the noise"),
            "{refused}"
        );
        let mut latent = trainer(&recipe);
        latent.options.flip = false;
        latent.set.deviation = Some(images(&latent).zeros_like());
        let refused = latent.check(&Additions::default()).unwrap_err();
        assert!(refused.to_string().contains("pixels"), "{refused}");
    }

    /// The step of the images that are not easy is that of these images alone; where all are easy the weights stay.
    #[test]
    fn easy_images_are_left_out() {
        let private = recipe(1.0);
        let recipe = crate::Plain::new((0..IMAGES).collect(), 5).unwrap();
        let none = Additions::default();
        let draw = recipe.draw(0, IMAGES);
        let mut trainer = trainer(&recipe);
        trainer.options.skip_easy = 2.0;
        trainer.check(&none).unwrap();
        let batch = trainer.batch(&draw, 1, trainer.seed, 0, &none).unwrap();
        let one = |row: i64| {
            let pass = trainer.pass(&batch.rows(row, 1)).unwrap();
            pass.output()
                .mse_loss(&batch.rows(row, 1).target, tch::Reduction::Mean)
                .double_value(&[])
        };
        let losses: Vec<f64> = (0..IMAGES as i64).map(one).collect();
        let t: Vec<f64> = Vec::try_from(batch.t.to_kind(Kind::Double)).unwrap();
        let timesteps = trainer.schedule.len();
        // As if the losses of the even rows had been five times as large so far, and those of the odd rows what they are.
        let taught = |optimizer: &mut Optimizer, times: [f64; 2]| {
            let mut usual = Usual::of(optimizer, timesteps);
            for row in 0..IMAGES {
                usual.learn(&[losses[row] * times[row % 2] * 5.0], &[t[row]]);
            }
            usual.carry(optimizer);
        };
        for accumulate in [1, 3] {
            trainer.options.accumulate = accumulate;
            let mut optimizer = Optimizer::new(trainer.network.parameters());
            taught(&mut optimizer, [5.0, 1.0]);
            let (loss, easy) = trainer
                .backward_without_easy(Some(&batch), (0, IMAGES), &mut optimizer, 0)
                .unwrap();
            assert_eq!(easy, IMAGES as u64 / 2);
            let got = flat(&optimizer.gradients());
            optimizer.forget();
            let odd: Vec<i64> = (1..IMAGES as i64).step_by(2).collect();
            let alone = batch.only(&Tensor::from_slice(&odd));
            let want = trainer.backward(&alone, 1.0, 0).unwrap();
            assert!((loss.unwrap() - want).abs() < 1e-5 * want);
            let want = flat(&optimizer.gradients());
            let off: Vec<f64> = got.iter().zip(&want).map(|(a, b)| a - b).collect();
            assert!(norm(&off) < 1e-5 * norm(&want) && norm(&want) > 0.0);
            optimizer.forget();
        }
        let mut optimizer = Optimizer::new(trainer.network.parameters());
        let before = flat(optimizer.parameters());
        taught(&mut optimizer, [5.0, 5.0]);
        let done = trainer
            .one_step(&mut optimizer, 0, &none, Reading::Each)
            .unwrap();
        assert!(done.loss.is_none());
        assert_eq!(done.left_out, IMAGES as u64);
        assert_eq!(flat(optimizer.parameters()), before);
        // What is usual came nearer to what was met: another such step would be none.
        let usual = Usual::of(&optimizer, timesteps);
        assert!(usual.kept(&losses, &t, 5.0).contains(&true));

        trainer.recipe = &private;
        let refused = trainer.check(&none).unwrap_err().to_string();
        assert!(refused.contains("train.skip_easy"), "{refused}");
    }

    /// Latents that do not vary are drawn, mirrored or not, as pixels are: with the same coins.
    #[test]
    fn latents_of_mirrored_images_take_the_place_of_mirrored_latents() {
        let recipe = recipe(1.0);
        let draw = recipe.draw(0, IMAGES);
        let batch = |trainer: &Trainer<'_>| {
            let none = Additions::default();
            trainer.batch(&draw, COPIES, 5, 0, &none).unwrap().x_t
        };
        let pixels = trainer(&recipe);
        let mut latent = trainer(&recipe);
        let images = images(&pixels);
        let still = images.zeros_like();
        latent.set.mirrored = Some((images.flip([3]), still.copy()));
        latent.set.deviation = Some(still.copy());
        let same = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]) < 1e-6;
        assert!(same(&batch(&pixels), &batch(&latent)));
        // The mirrored images' own latents are used, and not the latents mirrored.
        latent.set.mirrored = Some((images, still));
        let unlike = batch(&latent);
        assert!(!same(&batch(&pixels), &unlike));
        let mut plain = trainer(&recipe);
        plain.options.flip = false;
        assert!(same(&batch(&plain), &unlike));
        latent.set.mirrored = None;
        let refused = latent.check(&Additions::default()).unwrap_err();
        assert!(refused.to_string().contains("train.flip"), "{refused}");
    }

    /// A pass over all images gives what a pass for each gives, whatever the parts, the draws for an image and the network: with a
    /// text, LoRA layers alone, attention, and scales in place of sums.
    #[test]
    fn all_images_at_once_give_what_one_after_the_other_gives() {
        let ordinary = crate::Plain::new((0..IMAGES).collect(), 5).unwrap();
        let text = |lora: bool| {
            let (mut trainer, _, _) = told(&ordinary, 0.0);
            if lora {
                let config = told_config();
                let network = UNet2dCondition::fresh(&config, 3, Device::Cpu).unwrap();
                let network = network.with_lora(&LoraConfig::new(2), 4).unwrap();
                trainer.network = Box::new(network);
            }
            trainer.options.accumulate = 1;
            trainer
        };
        let unconditional = |scales: bool| {
            let mut trainer = trainer(&ordinary);
            let config = UNet2dConfig {
                resnet_time_scale_shift: if scales { "scale_shift" } else { "default" }.into(),
                down_block_types: vec!["DownBlock2D".into(), "AttnDownBlock2D".into()],
                up_block_types: vec!["AttnUpBlock2D".into(), "UpBlock2D".into()],
                add_attention: true,
                ..preset("tiny", 1, 8).unwrap()
            };
            trainer.network = Box::new(Backbone::fresh(&config.into(), 3, Device::Cpu).unwrap());
            trainer
        };
        // Half of the labels are left out, those of an image's copies one by one.
        let labelled = |config: BackboneConfig| {
            let mut trainer = trainer(&ordinary);
            trainer.network = Box::new(Backbone::fresh(&config, 3, Device::Cpu).unwrap());
            trainer.set.captions = config.is_told().then(|| Captions {
                told: Condition::of_labels(Tensor::from_slice(&[0i64, 1, 2])),
                of: (0..IMAGES).map(|i| vec![i % 2]).collect(),
                empty: 2,
                any: false,
                dropout: 0.5,
            });
            trainer
        };
        let classes = UNet2dConfig {
            num_class_embeds: Some(3),
            ..preset("tiny", 1, 8).unwrap()
        };
        let transformer = |classes: i64| DitConfig {
            num_attention_heads: 2,
            attention_head_dim: 4,
            in_channels: 1,
            out_channels: Some(1),
            num_layers: 2,
            sample_size: 8,
            num_embeds_ada_norm: classes,
            norm_elementwise_affine: classes == 0,
            ..DitConfig::default()
        };
        let cases = [
            ("sums", unconditional(false)),
            ("scales", unconditional(true)),
            ("classes", labelled(classes.into())),
            ("a transformer", labelled(transformer(0).into())),
            ("its classes", labelled(transformer(2).into())),
            ("text", text(false)),
            ("LoRA", text(true)),
        ];
        for (name, mut trainer) in cases {
            // Fresh networks have weights of zero or nearly so, behind which nothing has a gradient.
            for (name, tensor) in trainer.network.parameters().named() {
                let mut rng = stream(2, name, 0);
                let drawn = noise::normal(&mut rng, &tensor.size(), Device::Cpu) * 0.1;
                no_grad(|| {
                    let _ = tensor.shallow_clone().f_add_(&drawn).unwrap();
                });
            }
            let images = IMAGES as i64;
            let draw = ordinary.draw(0, IMAGES);
            let none = Additions::default();
            for copies in [1, COPIES] {
                let all = trainer.batch(&draw, copies, 5, 0, &none).unwrap();
                let mut optimizer = Optimizer::new(trainer.network.parameters());
                let k = copies as i64;
                let mut loss = 0.0;
                let single: Vec<Vec<f64>> = (0..images)
                    .map(|image| {
                        loss += trainer.backward(&all.rows(image * k, k), 1.0, 0).unwrap();
                        let one = flat(&optimizer.gradients());
                        optimizer.forget();
                        one
                    })
                    .collect();
                let norms: Vec<f64> = single.iter().map(|g| norm(g)).collect();
                let mut sorted = norms.clone();
                sorted.sort_by(f64::total_cmp);
                let clip = 0.5 * (sorted[IMAGES / 2 - 1] + sorted[IMAGES / 2]);
                let mut want = vec![0.0; single[0].len()];
                for (g, norm) in single.iter().zip(&norms) {
                    let scale = (clip / norm).min(1.0);
                    want.iter_mut().zip(g).for_each(|(w, g)| *w += scale * g);
                }
                let nothing: Vec<Tensor> = optimizer
                    .parameters()
                    .iter()
                    .map(Tensor::zeros_like)
                    .collect();
                // Of each tensor by itself, or an error in a small one would be lost among the others.
                let off = |sum: ClippedSum| -> f64 {
                    let got = sum.release(&nothing, 1.0).unwrap();
                    let mut place = 0;
                    let mut worst = 0.0_f64;
                    for got in got.iter().map(|g| flat(std::slice::from_ref(g))) {
                        let here = &want[place..place + got.len()];
                        place += got.len();
                        let off: Vec<f64> = got.iter().zip(here).map(|(a, b)| a - b).collect();
                        worst = worst.max(norm(&off) / norm(here).max(1e-2 * norm(&want)));
                    }
                    assert_eq!(place, want.len());
                    worst
                };

                let (pass, recorded) = ghost::record(|| trainer.pass(&all).unwrap());
                let total = all.losses(pass.output()).unwrap().sum(Kind::Float) / copies as f64;
                drop(pass);
                let gradients = recorded
                    .differentiate(&total, images, optimizer.parameters())
                    .unwrap();
                for (got, want) in gradients.norms().unwrap().iter().zip(&norms) {
                    assert!((got - want).abs() < 1e-5 * want, "{name}: {got}, {want}");
                }

                for accumulate in [1, 3] {
                    trainer.options.accumulate = accumulate;
                    let mut sum = ClippedSum::new(optimizer.parameters(), clip);
                    let mut total = 0.0;
                    for (first, here) in trainer.private_parts(images, k) {
                        let part = all.rows(first * k, here * k);
                        total += trainer
                            .images_at_once(&part, here, &optimizer, &mut sum, 0)
                            .unwrap();
                    }
                    assert!(
                        (total - loss).abs() < 1e-5 * loss,
                        "{name}: {total}, {loss}"
                    );
                    let off = off(sum);
                    // f32: 1.07e-5 of a LoRA's tensor was measured on one processor, less than 1e-5 on another.
                    assert!(off < 3e-5, "{name}, {copies} draws: off by {off}");
                }
                trainer.options.accumulate = 1;
                // So does the slow way, up to what its norm is kept away from 0 by.
                let mut sum = ClippedSum::new(optimizer.parameters(), clip);
                trainer
                    .image_by_image(&all, images, &mut optimizer, &mut sum, 0)
                    .unwrap();
                assert!(off(sum) < 1e-4, "{name}");
            }
        }
    }

    #[test]
    fn no_image_moves_the_sum_by_more_than_the_clip() {
        let recipe = recipe(1e-3);
        let trainer = trainer(&recipe);
        let mut optimizer = Optimizer::new(trainer.network.parameters());
        let none = Additions::default();
        let mut sum = |images: Vec<usize>| {
            let draw = Draw {
                images,
                target: Target::Noise,
            };
            let (_, gradient) = trainer
                .private_gradient(&recipe, &mut optimizer, &draw, 0, &none)
                .unwrap();
            // It is divided by the expected batch, not by the number of images drawn.
            flat(&gradient)
                .iter()
                .map(|g| g * IMAGES as f64)
                .collect::<Vec<f64>>()
        };
        assert!(norm(&sum(vec![5])) <= 1e-3, "one image, clipped");
        assert!(norm(&sum(vec![5])) > 0.99e-3, "and no shorter than need be");
        let with = sum(vec![1, 2, 5]);
        let without = sum(vec![1, 2]);
        let moved: Vec<f64> = with.iter().zip(&without).map(|(a, b)| a - b).collect();
        assert!(norm(&moved) <= 1e-3 * (1.0 + 1e-4));
        assert_eq!(norm(&sum(vec![])), 0.0);
    }

    fn told_config() -> UNet2dConditionConfig {
        UNet2dConditionConfig {
            in_channels: 1,
            out_channels: 1,
            block_out_channels: vec![8, 8],
            down_block_types: vec!["DownBlock2D".into(), "CrossAttnDownBlock2D".into()],
            up_block_types: vec!["CrossAttnUpBlock2D".into(), "UpBlock2D".into()],
            layers_per_block: 1,
            norm_num_groups: 4,
            cross_attention_dim: 8,
            attention_head_dim: PerLevel::All(2),
            ..UNet2dConditionConfig::default()
        }
    }

    /// A network that is told one of two texts with each of the images, or nothing, and the norm by which the text moves its answer
    /// for each image of the first step.
    fn told(recipe: &crate::Plain, limit: f64) -> (Trainer<'_>, Batch, Vec<f64>) {
        let config = told_config();
        let mut trainer = trainer(recipe);
        trainer.network = Box::new(UNet2dCondition::fresh(&config, 3, Device::Cpu).unwrap());
        trainer.set.captions = Some(Captions {
            told: Condition::of_text(noise::normal(
                &mut stream(1, "texts", 0),
                &[3, 4, 8],
                Device::Cpu,
            )),
            of: (0..IMAGES).map(|i| vec![i % 2]).collect(),
            empty: 2,
            any: false,
            dropout: 0.0,
        });
        trainer.options.flip = false;
        trainer.options.accumulate = 3;
        trainer.options.drop_memorised = limit;
        let draw = recipe.draw(0, IMAGES);
        let none = Additions::default();
        let batch = trainer.batch(&draw, 1, trainer.seed, 0, &none).unwrap();
        let norms = (0..IMAGES as i64)
            .map(|row| {
                let one = batch.rows(row, 1);
                let nothing = trainer.set.captions.as_ref().unwrap().nothing(1);
                let answer = |told: &Condition| {
                    let out = trainer.network.predict_noise(&one.x_t, &one.t, Some(told));
                    out.unwrap()
                };
                let moved = answer(one.told.as_ref().unwrap()) - answer(&nothing);
                moved.norm().double_value(&[])
            })
            .collect();
        (trainer, batch, norms)
    }

    /// Half of the images are beyond the limit: the step is that of the others alone. All of them: the weights stay.
    #[test]
    fn memorised_images_are_left_out() {
        let recipe = crate::Plain::new((0..IMAGES).collect(), 5).unwrap();
        let (_, _, norms) = told(&recipe, 0.0);
        let mut sorted = norms.clone();
        sorted.sort_by(f64::total_cmp);
        assert!(sorted[0] > 0.0, "{sorted:?}");
        let limit = 0.5 * (sorted[IMAGES / 2 - 1] + sorted[IMAGES / 2]);
        let (trainer, batch, _) = told(&recipe, limit);
        let (kept, left_out) = trainer.without_memorised(batch).unwrap();
        assert_eq!(left_out, IMAGES as u64 / 2);
        let few: Vec<i64> = (0..)
            .zip(&norms)
            .filter(|(_, norm)| **norm < limit)
            .map(|(row, _)| row)
            .collect();
        let (other, all, _) = told(&recipe, 0.0);
        let alone = all.only(&Tensor::from_slice(&few));
        let gradient = |trainer: &Trainer<'_>, batch: &Batch| {
            let optimizer = Optimizer::new(trainer.network.parameters());
            trainer.backward_in_parts(batch, batch.len(), 0).unwrap();
            flat(&optimizer.gradients())
        };
        let (with, without) = (gradient(&trainer, &kept.unwrap()), gradient(&other, &alone));
        assert_eq!(with, without);
        assert!(norm(&with) > 0.0);

        let weights = |optimizer: &Optimizer| flat(optimizer.parameters());
        let (trainer, _, _) = told(&recipe, 0.5 * sorted[0]);
        let mut optimizer = Optimizer::new(trainer.network.parameters());
        let before = weights(&optimizer);
        let done = trainer
            .one_step(&mut optimizer, 0, &Additions::default(), Reading::Each)
            .unwrap();
        assert!(done.loss.is_none());
        assert_eq!(done.left_out, IMAGES as u64);
        assert_eq!(weights(&optimizer), before);
    }

    #[test]
    fn what_a_text_moves_needs_a_text() {
        let recipe = crate::Plain::new((0..IMAGES).collect(), 5).unwrap();
        let (mut trainer, _, _) = told(&recipe, 2.0);
        trainer.check(&Additions::default()).unwrap();
        trainer.set.captions = None;
        let refused = trainer.check(&Additions::default()).unwrap_err();
        assert!(
            refused.to_string().contains("train.drop_memorised"),
            "{refused}"
        );
    }
}
