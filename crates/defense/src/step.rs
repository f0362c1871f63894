//! One step of the loop in [`crate::trainer`]: what is shown to the network, and the gradient.

use crate::dp::{ClippedSum, DpSgd};
use crate::optimizer::Optimizer;
use crate::recipe::{Draw, Target};
use crate::trainer::{Additions, Trainer};
use crate::{DefenseError, Objective, Result};
use dualmd_data::stream;
use dualmd_diffusion::{Condition, Keep, NoiseSchedule};
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
            told: self.told.as_ref().map(|c| Condition {
                embedding: rows(&c.embedding),
            }),
            target: rows(&self.target),
        }
    }
}

/// What became of a step.
pub(crate) struct Done {
    /// Mean loss; none where no image was drawn, or all were left out, and the weights are as they were.
    pub loss: Option<f64>,
    /// Gradient norm before clipping; 0 without a loss.
    pub grad_norm: f64,
    /// Images left out because the network remembers them.
    pub left_out: u64,
}

impl Trainer<'_> {
    /// One optimiser step.
    pub(crate) fn one_step(
        &self,
        optimizer: &mut Optimizer,
        step: u64,
        additions: &Additions,
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
            if whole == 0 {
                return Ok(Done {
                    loss: None,
                    grad_norm: 0.0,
                    left_out,
                });
            }
            let loss = match &batch {
                Some(batch) => self.backward_in_parts(batch, whole, step),
                None => Ok(0.0),
            };
            let loss = self.together(loss, step)?;
            let gradients = self.summed_gradients(optimizer)?;
            // After the sum: every rank sees the same norm.
            let clip = (options.clip > 0.0).then_some(options.clip);
            return Ok(Done {
                loss: Some(loss),
                grad_norm: optimizer.step_along(&gradients, clip, step, options)?,
                left_out,
            });
        };
        let (loss, gradient) = self.private_gradient(private, optimizer, &draw, step, additions)?;
        Ok(Done {
            loss,
            // Each image's gradient has been clipped: clipping the noisy mean again would only hide how much noise there is.
            grad_norm: optimizer.step_along(&gradient, None, step, options)?,
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

    /// Adds the clipped gradient of each of this rank's images; returns the sum of their losses.
    fn clipped(
        &self,
        private: &DpSgd,
        optimizer: &mut Optimizer,
        draw: &Draw,
        step: u64,
        additions: &Additions,
        sum: &mut ClippedSum,
    ) -> Result<f64> {
        let own = self.ranks.share(draw.images.len());
        let mut total = 0.0;
        if own.is_empty() {
            return Ok(total);
        }
        let copies = private.privacy().noise_multiplicity;
        let all = self.batch(draw, copies, private.seed(), step, additions)?;
        let k = copies as i64;
        for image in 0..own.len() as i64 {
            total += self.backward(&all.rows(image * k, k), 1.0, step)?;
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
        let keep = |all: Tensor| kept(&all, &own_rows).to_device(self.device);
        let rows = keep(Tensor::from_slice(&indices));
        let drawn = |all: &Tensor| all.index_select(0, &rows);
        let mirror = self.options.flip.then(|| {
            let mut rng = stream(seed, "train/flip", step);
            let coins: Vec<bool> = (0..n).map(|_| rng.random()).collect();
            keep(Tensor::from_slice(&coins)).view([-1, 1, 1, 1])
        });
        let mut x0 = drawn(&self.set.images);
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
            let mask = cutout.mask(&mut rng, n, (height as usize, width as usize), Device::Cpu);
            x0 = x0.f_mul(&keep(mask))?;
        }
        let eps = normal("train/noise");
        let (x_t, t) = match self.options.objective {
            Objective::Ddpm => {
                let mut rng = stream(seed, "train/t", step);
                let t = noise::integers(&mut rng, self.schedule.len() as i64, n, Device::Cpu);
                let t = keep(t);
                (self.schedule.add_noise(&x0, &eps, &t), t)
            }
            Objective::Flow(levels) => {
                let s = levels.draw(&mut stream(seed, "train/level", step), n, Device::Cpu);
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

    /// Adds the gradient of the batch's mean loss, times `share`, to the parameters'; returns the loss.
    fn backward(&self, batch: &Batch, share: f64, step: u64) -> Result<f64> {
        let keep = if self.options.gradient_checkpointing {
            Keep::Checkpoints
        } else {
            Keep::Everything
        };
        let pass =
            self.network
                .forward_training(&batch.x_t, &batch.t, batch.told.as_ref(), keep)?;
        let loss = pass
            .output()
            .f_mse_loss(&batch.target, tch::Reduction::Mean)?;
        let value = loss.double_value(&[]);
        if !value.is_finite() {
            return Err(DefenseError::NotFinite {
                step,
                what: "loss",
                value,
            });
        }
        // Times 1 would change nothing and cost a little.
        let loss = if share < 1.0 { loss * share } else { loss };
        pass.backward(&loss)?;
        Ok(value)
    }
}

/// These rows of a tensor.
fn kept(all: &Tensor, rows: &Range<usize>) -> Tensor {
    all.narrow(0, rows.start as i64, rows.len() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Captions, DistillMd, KWay, Levels, Privacy, Recipe, Routing, TrainOptions, TrainingSet,
    };
    use dualmd_diffusion::unet2d_condition::PerLevel;
    use dualmd_diffusion::{
        Denoiser, DiffusionError, UNet2d, UNet2dCondition, UNet2dConditionConfig, preset::preset,
    };
    use dualmd_torch::device::Precision;
    use dualmd_torch::ranks::Group;
    use std::rc::Rc;

    const IMAGES: usize = 8;
    const COPIES: usize = 3;

    fn network() -> UNet2d {
        UNet2d::fresh(&preset("tiny", 1, 8).unwrap(), 3, Device::Cpu).unwrap()
    }

    fn recipe(clip: f64) -> DpSgd {
        let privacy = Privacy {
            noise_multiplier: 0.0,
            clip,
            noise_multiplicity: COPIES,
        };
        DpSgd::new((0..IMAGES).collect(), privacy, "secret").unwrap()
    }

    fn trainer(recipe: &dyn Recipe) -> Trainer<'_> {
        let mut rng = stream(1, "images", 0);
        Trainer {
            network: Box::new(network()),
            schedule: NoiseSchedule::default(),
            set: TrainingSet {
                images: noise::normal(&mut rng, &[IMAGES as i64, 1, 8, 8], Device::Cpu),
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
        let s = Levels::Uniform.draw(&mut stream(seed, "train/level", step), IMAGES, Device::Cpu);
        let rows: Vec<i64> = draw.images.iter().map(|&i| i as i64).collect();
        let x0 = trainer
            .set
            .images
            .index_select(0, &Tensor::from_slice(&rows));
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
    fn flat(gradients: &[Tensor]) -> Vec<f64> {
        let flat: Vec<Tensor> = gradients.iter().map(|g| g.reshape([-1])).collect();
        Vec::try_from(Tensor::cat(&flat, 0).to_kind(Kind::Double)).unwrap()
    }

    fn norm(vector: &[f64]) -> f64 {
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
                        .forward(&rows(&all.x_t), &rows(&all.t), true)
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
        assert!(flat(&optimizer.gradients()).iter().all(|&g| g == 0.0));
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
        let (images, still) = (pixels.set.images.copy(), pixels.set.images.zeros_like());
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

    /// A network that is told one of two texts with each of the images, or nothing, and the norm by which the text moves its answer
    /// for each image of the first step.
    fn told(recipe: &crate::Plain, limit: f64) -> (Trainer<'_>, Batch, Vec<f64>) {
        let config = UNet2dConditionConfig {
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
        };
        let mut trainer = trainer(recipe);
        trainer.network = Box::new(UNet2dCondition::fresh(&config, 3, Device::Cpu).unwrap());
        trainer.set.captions = Some(Captions {
            embeddings: noise::normal(&mut stream(1, "texts", 0), &[3, 4, 8], Device::Cpu),
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
            .one_step(&mut optimizer, 0, &Additions::default())
            .unwrap();
        assert_eq!((done.loss, done.left_out), (None, IMAGES as u64));
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
