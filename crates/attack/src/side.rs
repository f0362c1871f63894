//! SIDE: steering an unconditional model towards what it draws again and again.
//!
//! *Paper*: Chen, Wang, Zou and Ma 2024, "Extracting Training Data from Unconditional Diffusion Models" (Surrogate condItional Data
//! Extraction, arXiv 2410.02467). Models that are told something give more training images out than models that are told nothing. So an
//! attacker makes a condition of his own: he generates images, puts like to like, and lets a classifier that knows noisy images lead the
//! model to each group.
//!
//! ```text
//! pool    <- images of the model
//! y       <- groups of the pool by k-means of unit features; those whose images lie close together are kept
//! p(y|x_t) <- a classifier, trained on  x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps  of the kept images, t uniform
//! eps'    =  eps(x_t, t) - s sqrt(1 - abar_t) grad log p(y|x_t)                   s: the scale; y: every group in turn
//! ```
//!
//! The last line is the guidance of Dhariwal and Nichol 2021 (arXiv 2105.05233, Algorithm 2).
//!
//! *Threat model*: who can take the model's steps apart, and has no training image. Which groups there are is decided by generated images
//! alone.
//!
//! *What is ours.* The paper's abstract was read, and neither its settings nor code could be had: the idea is theirs, every number here is
//! ours. Features are whatever images are compared by, less their mean, because features without a sign are all alike in angle. Groups
//! begin with images that are far apart, and there are no more of them than differ. The classifier is two convolutions and a linear layer on
//! 4 x 4 cells: it is to tell groups of a pool of thousands of small images, and to be trained in seconds.
//!
//! *What it misses*: an image that is not in the pool, or alone in it, is no group; nothing leads to it.

use crate::adam::AdamW;
use crate::{AttackError, Result};
use dualmd_data::stream;
use dualmd_diffusion::{Condition, Denoiser, DiffusionError, NoiseSchedule, StepInfo};
use dualmd_names::{SIDE_CLUSTERS, SIDE_SCALE};
use dualmd_torch::{Device, Kind, Tensor, noise, tch};
use rand::Rng;

/// How a model is steered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Side {
    /// Groups of the pool, at most (100).
    pub clusters: usize,
    /// Mean cosine of a group's features to its middle from which on it is kept (0.5).
    pub cohesion: f64,
    /// Steps of the classifier's training (600), of 64 images.
    pub steps: u64,
    /// How strongly the classifier leads (1: Bayes' rule).
    pub scale: f64,
}

impl Default for Side {
    fn default() -> Self {
        Self {
            clusters: SIDE_CLUSTERS,
            cohesion: 0.5,
            steps: 600,
            scale: SIDE_SCALE,
        }
    }
}

/// Images that a group has at least.
const LEAST: usize = 4;
/// Cosine from which on two images are no two beginnings of groups.
const ALIKE: f64 = 0.9;
/// Rounds of k-means, at most.
const ROUNDS: usize = 50;
/// Images of a step of the classifier's training.
const BATCH: usize = 64;
/// Adam's learning rate of it.
const RATE: f64 = 1e-3;
/// Channels of its two convolutions.
const WIDTHS: [i64; 2] = [32, 64];
/// Rows and columns of cells that the last layer sees.
const CELLS: i64 = 4;
/// Sines, and as many cosines, that tell it how much noise there is.
const WAVES: i64 = 8;

/// Groups of generated images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clusters {
    /// The group of each image, from 0 on; none of an image whose group was not kept.
    pub of: Vec<Option<usize>>,
    /// Groups that were kept.
    pub kept: usize,
    /// Groups that were found.
    pub found: usize,
}

/// Puts like to like: images with these features [N, D]. Where no group is close together, all that are large enough are kept.
///
/// # Errors
/// Another rank; too few images for a group; what libtorch refuses.
pub fn clusters(features: &Tensor, options: &Side) -> Result<Clusters> {
    let size = features.size();
    let n = match size.as_slice() {
        [n, d] if *d > 0 => usize::try_from(*n).unwrap_or(0),
        _ => 0,
    };
    if n < LEAST {
        return Err(AttackError::Samples(format!(
            "side: features of shape {size:?}: expected [N, D] of at least {LEAST} generated images"
        )));
    }
    let all = features.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?;
    let middle = all.f_mean_dim([0i64].as_slice(), true, Kind::Double)?;
    let unit = unit(&(all - middle))?;
    let mut centres = beginnings(&unit, options.clusters.min(n / 2).max(1))?;
    let mut of: Vec<i64> = Vec::new();
    for _ in 0..ROUNDS {
        let (_, index) = unit
            .f_matmul(&centres.f_transpose(0, 1)?)?
            .f_max_dim(1, false)?;
        let now = Vec::<i64>::try_from(&index)?;
        if now == of {
            break;
        }
        of = now;
        centres = self::unit(&centres.f_zeros_like()?.f_index_add(0, &index, &unit)?)?;
    }
    let own = Tensor::from_slice(&of);
    let cosines = (&unit * centres.f_index_select(0, &own)?).f_sum_dim_intlist(
        [1i64].as_slice(),
        false,
        Kind::Double,
    )?;
    let cosines = Vec::<f64>::try_from(&cosines)?;
    let found = usize::try_from(centres.size()[0]).unwrap_or(0);
    let mut sums = vec![(0usize, 0.0_f64); found];
    let places: Vec<usize> = of
        .iter()
        .map(|i| usize::try_from(*i).unwrap_or(0))
        .collect();
    for (place, cosine) in places.iter().zip(&cosines) {
        if let Some((count, sum)) = sums.get_mut(*place) {
            *count += 1;
            *sum += cosine;
        }
    }
    let large = |(count, _): &(usize, f64)| *count >= LEAST;
    let close = |own: &(usize, f64)| large(own) && own.1 / own.0 as f64 >= options.cohesion;
    let any = sums.iter().any(close);
    let mut number = 0;
    let names: Vec<Option<usize>> = sums
        .iter()
        .map(|own| {
            let kept = match any {
                true => close(own),
                false => large(own),
            };
            kept.then(|| {
                number += 1;
                number - 1
            })
        })
        .collect();
    if number == 0 {
        return Err(AttackError::Samples(format!(
            "side: no {LEAST} of {n} generated images belong together: generate more (--images), or ask for fewer groups (--clusters)"
        )));
    }
    Ok(Clusters {
        of: places
            .iter()
            .map(|place| names.get(*place).copied().flatten())
            .collect(),
        kept: number,
        found: sums.iter().filter(|(count, _)| *count > 0).count(),
    })
}

/// Rows of length 1; a row of zeros stays.
fn unit(rows: &Tensor) -> Result<Tensor> {
    let squares = rows.f_square()?;
    let lengths = squares.f_sum_dim_intlist([1i64].as_slice(), true, Kind::Double)?;
    Ok(rows / lengths.f_sqrt()?.f_clamp_min(1e-12)?)
}

/// Rows of `unit` that are far apart: the first, and then always the one that is farthest from all before it, up to `most`.
fn beginnings(unit: &Tensor, most: usize) -> Result<Tensor> {
    let mut nearest: Vec<f64> = Vec::new();
    let (mut centres, mut row) = (Vec::new(), 0);
    loop {
        let centre = unit.f_narrow(0, row, 1)?;
        let cosines = unit
            .f_matmul(&centre.f_transpose(0, 1)?)?
            .f_flatten(0, -1)?;
        let cosines = Vec::<f64>::try_from(&cosines)?;
        nearest = match nearest.is_empty() {
            true => cosines,
            false => nearest
                .iter()
                .zip(&cosines)
                .map(|(a, b)| a.max(*b))
                .collect(),
        };
        centres.push(centre);
        let far = nearest
            .iter()
            .enumerate()
            .min_by(|a, b| a.1.total_cmp(b.1).then(a.0.cmp(&b.0)));
        match far {
            Some((next, cosine)) if centres.len() < most && *cosine < ALIKE => {
                row = next as i64;
            }
            _ => break,
        }
    }
    Ok(Tensor::f_cat(&centres, 0)?)
}

/// A classifier of noisy images: p(y | x_t).
#[derive(Debug)]
pub struct Classifier {
    /// All weights, one after the other, f32.
    weights: Tensor,
    channels: i64,
    classes: i64,
}

impl Classifier {
    /// Learns the groups of `images` [N, C, H, W], which are as the network sees them, under the noise of every timestep. The same seed
    /// gives the same classifier on one machine.
    ///
    /// # Errors
    /// Groups of another number of images; what libtorch refuses.
    pub fn learn(
        images: &Tensor,
        clusters: &Clusters,
        schedule: &NoiseSchedule,
        options: &Side,
        seed: u64,
    ) -> Result<Self> {
        let size = images.size();
        let mut by: Vec<Vec<i64>> = vec![Vec::new(); clusters.kept];
        for (row, of) in clusters.of.iter().enumerate() {
            if let Some(own) = of.and_then(|of| by.get_mut(of)) {
                own.push(row as i64);
            }
        }
        let fits = size.len() == 4 && size[0] == clusters.of.len() as i64;
        if !fits || by.is_empty() || by.iter().any(Vec::is_empty) {
            return Err(AttackError::Samples(format!(
                "side: {} groups of {} images, and images of shape {size:?}: expected [N, C, H, W] and a group for some of them",
                clusters.kept,
                clusters.of.len()
            )));
        }
        let device = images.device();
        let mut classifier = Self {
            weights: Tensor::from_slice(&[0.0_f32]),
            channels: size[1],
            classes: clusters.kept as i64,
        };
        classifier.weights = classifier.fresh(seed)?.f_to_device(device)?;
        let shape = [&[BATCH as i64], &size[1..]].concat();
        let mut adam = AdamW::new(&classifier.weights, RATE, 0.0)?;
        for step in 0..options.steps {
            let mut rng = stream(seed, "extract/side/step", step);
            let (mut rows, mut labels) = (Vec::new(), Vec::new());
            for i in 0..BATCH as u64 {
                // Every group as often as any other.
                let label = (step * BATCH as u64 + i) % clusters.kept as u64;
                let own = &by[usize::try_from(label).unwrap_or(0)];
                rows.push(own[rng.random_range(0..own.len())]);
                labels.push(i64::try_from(label).unwrap_or(0));
            }
            let x_0 = images.f_index_select(0, &Tensor::from_slice(&rows).f_to_device(device)?)?;
            let t = noise::integers(&mut rng, schedule.len() as i64, BATCH, device);
            let eps = noise::normal(&mut rng, &shape, device);
            let x_t = schedule.add_noise(&x_0, &eps, &t);
            let labels = Tensor::from_slice(&labels).f_to_device(device)?;
            classifier.weights = adam.value.f_detach()?.f_set_requires_grad(true)?;
            let gradient = tch::with_grad(|| -> Result<Tensor> {
                let likely = classifier.log_likelihood(&x_t, &t, &labels, schedule)?;
                let loss = likely.f_mean(Kind::Float)?.f_neg()?;
                let found = Tensor::f_run_backward(&[loss], &[&classifier.weights], false, false)?;
                found.into_iter().next().ok_or_else(no_gradient)
            })?;
            adam.step(&gradient)?;
        }
        classifier.weights = adam.value.f_detach()?;
        Ok(classifier)
    }

    /// Shapes of the weights: of each convolution the kernel, its bias and what the noise adds; of the last layer weight and bias.
    fn shapes(&self) -> [Vec<i64>; 8] {
        let [a, b] = WIDTHS;
        let waves = 2 * WAVES;
        [
            vec![a, self.channels, 3, 3],
            vec![a],
            vec![a, waves],
            vec![b, a, 3, 3],
            vec![b],
            vec![b, waves],
            vec![self.classes, b * CELLS * CELLS],
            vec![self.classes],
        ]
    }

    /// PyTorch's initialisation: uniform within 1 / sqrt(fan-in). Biases are 0.
    fn fresh(&self, seed: u64) -> Result<Tensor> {
        let mut rng = stream(seed, "extract/side/init", 0);
        let part = |shape: &Vec<i64>| -> Result<Tensor> {
            let inside: i64 = shape.iter().skip(1).product();
            let bound = match shape.len() {
                1 => 0.0,
                _ => (inside as f64).powf(-0.5),
            };
            Ok(noise::uniform(&mut rng, bound, shape).f_flatten(0, -1)?)
        };
        let parts: Vec<Tensor> = self.shapes().iter().map(part).collect::<Result<_>>()?;
        Ok(Tensor::f_cat(&parts, 0)?)
    }

    /// The weights by layers.
    fn layers(&self) -> std::result::Result<Vec<Tensor>, DiffusionError> {
        let (mut out, mut from) = (Vec::new(), 0);
        for shape in self.shapes() {
            let length: i64 = shape.iter().product();
            let own = self.weights.f_narrow(0, from, length)?;
            out.push(own.f_view(shape.as_slice())?);
            from += length;
        }
        Ok(out)
    }

    /// log p(y | x_t) of each row: `x_t` [B, C, H, W], `t` \[B\] timesteps, `labels` \[B\] groups. Returns \[B\].
    ///
    /// # Errors
    /// What libtorch refuses.
    pub fn log_likelihood(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        labels: &Tensor,
        schedule: &NoiseSchedule,
    ) -> std::result::Result<Tensor, DiffusionError> {
        let (_, level) = schedule.coefficients(t);
        let waves = waves(&level.f_view([-1, 1])?)?;
        let layers = self.layers()?;
        let mut h = x_t.shallow_clone();
        // Of eight layers three are of each convolution, and two are left.
        for own in layers.chunks_exact(3).take(WIDTHS.len()) {
            let near = h.f_conv2d(
                &own[0],
                Some(&own[1]),
                [1i64; 2].as_slice(),
                [1i64; 2].as_slice(),
                [1i64; 2].as_slice(),
                1,
            )?;
            let told = waves.f_linear(&own[2], None::<&Tensor>)?;
            h = (near + told.f_unsqueeze(2)?.f_unsqueeze(3)?).f_silu()?;
        }
        let cells = h.f_adaptive_avg_pool2d([CELLS; 2].as_slice())?;
        let (weight, bias) = (&layers[layers.len() - 2], &layers[layers.len() - 1]);
        let odds = cells.f_flatten(1, -1)?.f_linear(weight, Some(bias))?;
        let all = odds.f_log_softmax(1, Kind::Float)?;
        let own = all.f_gather(1, &labels.f_view([-1, 1])?, false)?;
        Ok(own.f_flatten(0, -1)?)
    }

    /// The gradient of that by `x_t`, row by row: [B, C, H, W].
    ///
    /// # Errors
    /// As [`Self::log_likelihood`].
    pub fn gradient(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        labels: &Tensor,
        schedule: &NoiseSchedule,
    ) -> std::result::Result<Tensor, DiffusionError> {
        let x = x_t.f_detach()?.f_set_requires_grad(true)?;
        let found = tch::with_grad(|| -> std::result::Result<Vec<Tensor>, DiffusionError> {
            let all = self.log_likelihood(&x, t, labels, schedule)?;
            // Rows do not know of each other: the sum keeps their gradients apart.
            let sum = all.f_sum(Kind::Float)?;
            Ok(Tensor::f_run_backward(&[sum], &[&x], false, false)?)
        })?;
        match found.into_iter().next() {
            Some(gradient) => Ok(gradient.f_detach()?),
            None => Ok(x_t.f_zeros_like()?),
        }
    }
}

/// Sines and cosines of how much noise there is, sqrt(1 - abar) in [0, 1]: [B, 1] to [B, 2 WAVES].
fn waves(level: &Tensor) -> std::result::Result<Tensor, DiffusionError> {
    let speeds: Vec<f32> = (0..WAVES as i32)
        .map(|k| std::f32::consts::PI * 2f32.powi(k))
        .collect();
    let speeds = Tensor::from_slice(&speeds)
        .f_view([1, WAVES])?
        .f_to_device(level.device())?;
    let angles = level * speeds;
    Ok(Tensor::f_cat(&[angles.f_sin()?, angles.f_cos()?], 1)?)
}

fn no_gradient() -> AttackError {
    AttackError::Samples("side: the classifier has no gradient; work in f32".into())
}

/// A classifier that leads, and where to.
#[derive(Debug, Clone, Copy)]
pub struct Steering<'a> {
    /// The classifier.
    pub classifier: &'a Classifier,
    /// The group of each image, by its running number.
    pub labels: &'a [i64],
    /// How strongly.
    pub scale: f64,
}

impl<'a> Steering<'a> {
    /// The model as it is led.
    pub fn around<'b>(self, denoiser: &'b dyn Denoiser, schedule: &'b NoiseSchedule) -> Steered<'b>
    where
        'a: 'b,
    {
        Steered {
            denoiser,
            schedule,
            steering: self,
        }
    }
}

/// A model that a classifier leads while it samples; asked outside of a sampling run it is the model itself.
pub struct Steered<'a> {
    denoiser: &'a dyn Denoiser,
    schedule: &'a NoiseSchedule,
    steering: Steering<'a>,
}

impl Denoiser for Steered<'_> {
    fn predict_noise(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> std::result::Result<Tensor, DiffusionError> {
        self.denoiser.predict_noise(x_t, t, condition)
    }

    fn predict_noise_in_step(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
        step: StepInfo<'_>,
    ) -> std::result::Result<Tensor, DiffusionError> {
        let eps = self
            .denoiser
            .predict_noise_in_step(x_t, t, condition, step)?;
        let Steering {
            classifier,
            labels,
            scale,
        } = self.steering;
        let label = |image: &u64| {
            let place = usize::try_from(*image).unwrap_or(usize::MAX);
            labels.get(place).copied().unwrap_or(0)
        };
        let own: Vec<i64> = step.images.iter().map(label).collect();
        let own = Tensor::from_slice(&own).f_to_device(x_t.device())?;
        let gradient = classifier.gradient(x_t, t, &own, self.schedule)?;
        let (_, level) = self.schedule.coefficients(t);
        Ok(eps - gradient * level * scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_diffusion::MemorisedDenoiser;
    use dualmd_diffusion::sampler::{SampleOptions, Sampler, Start, sample_in_rounds};

    fn rows(values: &[[f64; 2]]) -> Tensor {
        Tensor::from_slice(&values.concat()).view([-1, 2])
    }

    /// Two heaps far apart and one image by itself: the heaps are groups, and the image is none.
    #[test]
    fn like_is_put_to_like() {
        let mut points = vec![[1.0, 0.0], [1.0, 0.1], [1.1, 0.0], [0.9, 0.05]];
        points.extend([
            [-1.0, 0.0],
            [-1.0, 0.1],
            [-1.1, 0.0],
            [-0.9, 0.05],
            [-1.0, 0.07],
        ]);
        points.push([0.0, 9.0]);
        // The mean of all is near (-0.1, 0.9).
        let options = Side {
            clusters: 10,
            ..Side::default()
        };
        let found = clusters(&rows(&points), &options).unwrap();
        assert_eq!(found.kept, 2);
        let groups: Vec<usize> = found.of[..9].iter().map(|of| of.unwrap()).collect();
        assert!(groups[..4].iter().all(|g| *g == groups[0]));
        assert!(groups[4..].iter().all(|g| *g == groups[4]));
        assert_ne!(groups[0], groups[4]);
        assert!(clusters(&rows(&points[..3]), &options).is_err());
        // Nothing is close enough: what is large enough is kept all the same.
        let strict = Side {
            cohesion: 1.1,
            ..options
        };
        assert_eq!(clusters(&rows(&points), &strict).unwrap().kept, 2);
    }

    /// Eight copies each of three noise pictures.
    fn pool() -> (Tensor, Clusters) {
        let pictures: Vec<Tensor> = (0..3)
            .map(|i| {
                noise::normal(&mut stream(7, "side/test", i), &[1, 1, 8, 8], Device::Cpu)
                    .clamp(-1.0, 1.0)
            })
            .collect();
        let all: Vec<&Tensor> = (0..24).map(|i| &pictures[i % 3]).collect();
        let all = Tensor::cat(&all, 0);
        let options = Side::default();
        let found = clusters(&all.flatten(1, -1), &options).unwrap();
        assert_eq!((found.kept, found.found), (3, 3));
        (all, found)
    }

    fn learnt(seed: u64) -> (Tensor, Clusters, Classifier, NoiseSchedule) {
        let (all, found) = pool();
        let schedule = NoiseSchedule::default();
        let options = Side {
            steps: 250,
            ..Side::default()
        };
        let classifier = Classifier::learn(&all, &found, &schedule, &options, seed).unwrap();
        (all, found, classifier, schedule)
    }

    /// Under little noise it knows each picture; under nothing but noise it guesses. The same seed gives the same.
    #[test]
    fn the_classifier_knows_noisy_images() {
        let (all, found, classifier, schedule) = learnt(0);
        let labels: Vec<i64> = found.of.iter().map(|of| of.unwrap() as i64).collect();
        let labels = Tensor::from_slice(&labels);
        let eps = noise::normal(&mut stream(3, "side/test/eps", 0), &all.size(), Device::Cpu);
        let mean = |t: i64| {
            let x_t = schedule.add_noise_at(&all, &eps, t);
            let t = NoiseSchedule::timestep_tensor(t, 24, Device::Cpu);
            let likely = classifier
                .log_likelihood(&x_t, &t, &labels, &schedule)
                .unwrap();
            likely.exp().mean(Kind::Double).double_value(&[])
        };
        assert!(mean(50) > 0.8, "{}", mean(50));
        assert!(mean(999) < 0.6, "{}", mean(999));
        let again = learnt(0).2;
        assert!(again.weights.equal(&classifier.weights));
        assert!(!learnt(1).2.weights.equal(&classifier.weights));
    }

    /// The gradient is that of finite differences.
    #[test]
    fn the_gradient_is_the_slope() {
        let (all, _, classifier, schedule) = learnt(0);
        let x = all.narrow(0, 0, 1) * 0.5;
        let t = NoiseSchedule::timestep_tensor(300, 1, Device::Cpu);
        let label = Tensor::from_slice(&[1_i64]);
        let gradient = classifier.gradient(&x, &t, &label, &schedule).unwrap();
        let at = |x: &Tensor| {
            let likely = classifier.log_likelihood(x, &t, &label, &schedule).unwrap();
            likely.double_value(&[0])
        };
        let way = noise::normal(&mut stream(5, "side/test/way", 0), &x.size(), Device::Cpu);
        let slope = (at(&(&x + &way * 1e-2)) - at(&(&x - &way * 1e-2))) / 2e-2;
        let own = (gradient * way).sum(Kind::Double).double_value(&[]);
        assert!(
            (slope - own).abs() < 0.02 * (1.0 + own.abs()),
            "{slope} {own}"
        );
    }

    /// A model that has memorised three pictures, led to the second: it draws that one nearly always, and by itself one time in three.
    #[test]
    fn a_memoriser_is_led_to_what_is_asked_for() {
        let (all, found, classifier, schedule) = learnt(0);
        let known = all.narrow(0, 0, 3);
        let model = MemorisedDenoiser::new(&known, schedule.clone()).unwrap();
        let wanted = found.of[1].unwrap() as i64;
        let n = 24_i64;
        let x_t = noise::normal(
            &mut stream(9, "side/test/noise", 0),
            &[n, 1, 8, 8],
            Device::Cpu,
        );
        let images: Vec<u64> = (0..24).collect();
        let labels = vec![wanted; 24];
        let drawn = |scale: f64| -> usize {
            let steering = Steering {
                classifier: &classifier,
                labels: &labels,
                scale,
            };
            let led = steering.around(&model, &schedule);
            let options = SampleOptions {
                sampler: Sampler::Ddim,
                steps: 20,
                batch: 24,
                seed: 0,
                clip: Some(1.0),
                unbounded: false,
            };
            let from = Start {
                x_t: &x_t,
                images: &images,
                condition: None,
                known: None,
            };
            let made = sample_in_rounds(&led, &schedule, &from, &options, 1, |_| true).unwrap();
            let far = (made - known.narrow(0, 1, 1)).square().flatten(1, -1);
            let far = far.mean_dim([1i64].as_slice(), false, Kind::Double);
            let far = Vec::<f64>::try_from(&far).unwrap();
            far.into_iter().filter(|d| *d < 0.01).count()
        };
        let (alone, led) = (drawn(0.0), drawn(SIDE_SCALE));
        assert!((2..16).contains(&alone), "{alone} of 24");
        assert!(led > alone + 4, "{led} of 24, {alone} alone");
    }
}
