//! DDIM (Song et al. 2021, eta 0) and ancestral (Ho et al. 2020) sampling with single-step updates. The deterministic steps of a flow are
//! Euler's along its path, which are DDIM's with the path's coefficients ([`crate::schedule::flow`]). Images of which a part is given are
//! completed by the same steps ([`Known`]).

mod known;

use crate::{Condition, Denoiser, DiffusionError, NoiseSchedule, Result, StepInfo};
use dualmd_data::stream;
use dualmd_torch::{Device, Kind, Tensor, noise};

pub use known::Known;

/// The update rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampler {
    /// Deterministic; of a flow Euler steps, at the levels of diffusers' `FlowMatchEulerDiscreteScheduler`.
    Ddim,
    /// Draws from q(x_{t-1} | x_t, x_0). Not for flows.
    Ancestral {
        /// Variance beta_t ("fixed large") instead of the posterior's ("fixed small").
        large_variance: bool,
    },
}

/// Where a run's steps begin, the noisiest first.
#[derive(Debug, Clone)]
enum Way {
    /// Timesteps of the schedule.
    Timesteps(Vec<i64>),
    /// Levels of a flow's path.
    Levels(Vec<f64>),
}

impl Way {
    fn of(schedule: &NoiseSchedule, options: &SampleOptions) -> Result<Self> {
        if !schedule.is_flow() {
            if let Sampler::Ancestral { .. } = options.sampler
                && schedule.config().variance_is_learned()
            {
                return Err(DiffusionError::Config(format!(
                    "the sampler ddpm draws with a variance that this model's network predicts (variance_type \"{}\"), and that half of its \
                     output is not used here: choose ddim",
                    schedule.config().variance_type
                )));
            }
            return Ok(Self::Timesteps(schedule.sampling_timesteps(options.steps)?));
        }
        match options.sampler {
            Sampler::Ddim => Ok(Self::Levels(schedule.sampling_levels(options.steps)?)),
            Sampler::Ancestral { .. } => Err(DiffusionError::Config(
                "the sampler ddpm is not for models of flow matching, which have no ancestral steps: choose ddim, which takes Euler \
                 steps along their path"
                    .into(),
            )),
        }
    }

    /// From step `first` on.
    fn tail(&self, first: usize) -> Self {
        match self {
            Self::Timesteps(all) => Self::Timesteps(all[first..].to_vec()),
            Self::Levels(all) => Self::Levels(all[first..].to_vec()),
        }
    }

    fn steps(&self) -> usize {
        match self {
            Self::Timesteps(all) => all.len(),
            Self::Levels(all) => all.len(),
        }
    }

    /// The weights of image and noise in what step `index` takes; after the last step the image alone.
    fn mix(&self, schedule: &NoiseSchedule, index: usize) -> [f64; 2] {
        let mix = match self {
            Self::Timesteps(all) => all.get(index).map(|&t| {
                let kept = schedule.alpha_bar(t);
                [kept.sqrt(), (1.0 - kept).sqrt()]
            }),
            Self::Levels(all) => all.get(index).map(|&s| [1.0 - s, s]),
        };
        mix.unwrap_or([1.0, 0.0])
    }

    /// The image `x` with noise, as step `index` takes it.
    fn noised(&self, schedule: &NoiseSchedule, x: &Tensor, noise: &Tensor, index: usize) -> Tensor {
        match self {
            Self::Timesteps(all) => schedule.add_noise_at(x, noise, all[index]),
            Self::Levels(all) => x * (1.0 - all[index]) + noise * all[index],
        }
    }
}

/// How to sample.
#[derive(Debug, Clone)]
pub struct SampleOptions {
    /// The update rule.
    pub sampler: Sampler,
    /// Number of denoising steps, 1..=T.
    pub steps: usize,
    /// Images per network call.
    pub batch: usize,
    /// Seed of the ancestral noise.
    pub seed: u64,
    /// Clip the predicted clean image to [-c, c]; `None` for no clipping.
    pub clip: Option<f64>,
    /// What is made has no bounds (latents): the result is not clipped to [-1, 1].
    pub unbounded: bool,
}

/// What images are generated from.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// [N, C, H, W] standard normal.
    pub x_t: &'a Tensor,
    /// The number of each row. All that is random about an image comes from streams of its number, so that it does not depend on
    /// which others are drawn with it, and two images share no noise.
    pub images: &'a [u64],
    /// What a conditional model is told for each row.
    pub condition: Option<&'a Condition>,
    /// What is given of the images; nothing where all of them is to be made.
    pub known: Option<Known<'a>>,
}

/// x_T for images `0..n`: each image's noise comes from its own stream (seed, "sample/noise", i), so the i-th image of
/// every model starts from the same noise, whatever the batch size. [n, C, H, W] f32.
pub fn initial_noise(seed: u64, n: usize, [c, h, w]: [i64; 3], device: Device) -> Tensor {
    let images: Vec<Tensor> = (0..n as u64)
        .map(|i| {
            noise::normal(
                &mut stream(seed, "sample/noise", i),
                &[1, c, h, w],
                Device::Cpu,
            )
        })
        .collect();
    if images.is_empty() {
        return Tensor::zeros([0, c, h, w], (Kind::Float, device));
    }
    Tensor::cat(&images, 0).to_device(device)
}

/// Generates one image per row of `x_t` ([N, C, H, W] standard normal). Returns [N, C, H, W] f32, clipped to [-1, 1] unless
/// [`SampleOptions::unbounded`].
/// `go_on` is told the number of finished images after each batch; false ends the run.
///
/// # Errors
/// Step counts the schedule does not have; what the model refuses; [`DiffusionError::Stopped`].
pub fn sample(
    denoiser: &dyn Denoiser,
    schedule: &NoiseSchedule,
    x_t: &Tensor,
    condition: Option<&Condition>,
    options: &SampleOptions,
    go_on: impl FnMut(usize) -> bool,
) -> Result<Tensor> {
    let images: Vec<u64> = (0..x_t.size()[0]).map(|i| i as u64).collect();
    let start = Start {
        x_t,
        images: &images,
        condition,
        known: None,
    };
    sample_in_rounds(denoiser, schedule, &start, options, 1, go_on)
}

/// As [`sample`], several times over: what someone does to a pair of models that take turns (DualMD paper, A.5) who can choose
/// where a generation starts.
///
/// Round r = 1, 2, ... goes from the r-th timestep to the image; between rounds the finished image gets fresh noise of the
/// level of the next timestep. Every round begins with the same model of a pair, so after R rounds that model has done the
/// R noisiest steps, in which an image is decided. One round is [`sample`].
///
/// [`sample`] numbers the rows from 0.
///
/// # Errors
/// As [`sample`]; no rounds, or more rounds than steps; another number of `images` than rows; a given part of another shape.
pub fn sample_in_rounds(
    denoiser: &dyn Denoiser,
    schedule: &NoiseSchedule,
    from: &Start<'_>,
    options: &SampleOptions,
    rounds: usize,
    mut go_on: impl FnMut(usize) -> bool,
) -> Result<Tensor> {
    let Start {
        x_t,
        images,
        condition,
        known,
    } = *from;
    if rounds < 1 || rounds > options.steps {
        return Err(DiffusionError::Config(format!(
            "{rounds} rounds of {} denoising steps: choose 1 to {}",
            options.steps, options.steps
        )));
    }
    let total = x_t.size()[0];
    if images.len() as i64 != total {
        return Err(DiffusionError::Config(format!(
            "{} numbers for {total} images: number each",
            images.len()
        )));
    }
    if let Some(known) = &known {
        known.check(&x_t.size())?;
    }
    let _guard = dualmd_torch::tch::no_grad_guard();
    let way = Way::of(schedule, options)?;
    let mut done = Vec::new();
    let mut start = 0;
    while start < total {
        let n = (options.batch.max(1) as i64).min(total - start);
        let condition = condition.map(|c| c.narrow(start, n));
        let images = &images[start as usize..(start + n) as usize];
        let begun = x_t.narrow(0, start, n);
        let own = known.map(|k| (k.images.narrow(0, start, n), k.given));
        let part = Start {
            x_t: &begun,
            images,
            condition: condition.as_ref(),
            known: own.as_ref().map(|(images, given)| Known { images, given }),
        };
        let mut x = begun.shallow_clone();
        for round in 0..rounds {
            if round > 0 {
                let shape = [&[1], &x.size()[1..]].concat();
                let fresh: Vec<Tensor> = images
                    .iter()
                    .map(|&i| {
                        let mut rng = stream(options.seed, &format!("sample/round-{round}"), i);
                        noise::normal(&mut rng, &shape, x.device())
                    })
                    .collect();
                x = way.noised(schedule, &x, &Tensor::f_cat(&fresh, 0)?, round);
            }
            x = sample_batch(denoiser, schedule, &x, &part, options, &way.tail(round))?;
        }
        done.push(x);
        start += n;
        if !go_on(start as usize) {
            return Err(DiffusionError::Stopped);
        }
    }
    Ok(if done.is_empty() {
        x_t.copy()
    } else {
        Tensor::cat(&done, 0)
    })
}

/// Takes the steps of `way` from `x`; `part`: what this batch began with.
fn sample_batch(
    denoiser: &dyn Denoiser,
    schedule: &NoiseSchedule,
    x: &Tensor,
    part: &Start<'_>,
    options: &SampleOptions,
    way: &Way,
) -> Result<Tensor> {
    let Start {
        images, condition, ..
    } = *part;
    let n = x.size()[0];
    // Puts what is given into what step `index` begins with.
    let with_known = |x: Tensor, index: usize| -> Result<Tensor> {
        match &part.known {
            None => Ok(x),
            Some(known) => known.put(&x, part.x_t, way.mix(schedule, index)),
        }
    };
    let mut noises: Vec<_> = images
        .iter()
        .map(|&i| stream(options.seed, "sample/ancestral", i))
        .collect();
    let mut x = with_known(x.shallow_clone(), 0)?;
    for index in 0..way.steps() {
        let step = StepInfo { index, images };
        let timesteps = match way {
            Way::Timesteps(timesteps) => timesteps,
            Way::Levels(levels) => {
                let next = levels.get(index + 1).copied().unwrap_or(0.0);
                let s = levels[index];
                let level = Tensor::full([n], s, (Kind::Float, x.device()));
                let v = denoiser.predict_velocity_in_step(&x, &level, condition, step)?;
                let mut x0 = &x - &v * s;
                if let Some(c) = options.clip {
                    x0 = x0.clamp(-c, c);
                }
                let eps = &x + v * (1.0 - s);
                x = with_known(x0 * (1.0 - next) + eps * next, index + 1)?;
                continue;
            }
        };
        let t = timesteps[index];
        let times = NoiseSchedule::timestep_tensor(t, n, x.device());
        let eps = denoiser.predict_noise_in_step(&x, &times, condition, step)?;
        let next = timesteps.get(index + 1).copied();
        let a = schedule.alpha_bar(t);
        let a_next = next.map_or_else(|| schedule.final_alpha_bar(), |s| schedule.alpha_bar(s));
        let mut x0 = schedule.predict_x0(&x, &eps, t);
        if let Some(c) = options.clip {
            x0 = x0.clamp(-c, c);
        }
        let made = match options.sampler {
            // diffusers keeps the network's own eps after clipping x_0 (use_clipped_model_output false).
            Sampler::Ddim => &x0 * a_next.sqrt() + eps * (1.0 - a_next).sqrt(),
            Sampler::Ancestral { large_variance } => {
                // q(x_s | x_t, x_0) between neighbouring scheduled timesteps s < t (Ho et al. Eq. 6-7); with all
                // T steps this is the textbook update. No noise is added at the last step.
                let a_next = next.map_or(1.0, |s| schedule.alpha_bar(s));
                let alpha = a / a_next;
                let beta = 1.0 - alpha;
                let mean = &x0 * (a_next.sqrt() * beta / (1.0 - a))
                    + &x * (alpha.sqrt() * (1.0 - a_next) / (1.0 - a));
                if next.is_none() {
                    mean
                } else {
                    let variance = if large_variance {
                        beta
                    } else {
                        beta * (1.0 - a_next) / (1.0 - a)
                    };
                    let shape = [&[1], &x.size()[1..]].concat();
                    let z: Vec<Tensor> = noises
                        .iter_mut()
                        .map(|rng| noise::normal(rng, &shape, Device::Cpu))
                        .collect();
                    mean + Tensor::cat(&z, 0).to_device(x.device()) * variance.sqrt()
                }
            }
        };
        x = with_known(made, index + 1)?;
    }
    check_finite(&x)?;
    Ok(if options.unbounded {
        x
    } else {
        x.clamp(-1.0, 1.0)
    })
}

/// Refuses images that are no numbers: weights that are finite can still overflow f32 on the way.
pub(crate) fn check_finite(x: &Tensor) -> Result<()> {
    if bool::try_from(x.f_isfinite()?.f_all()?)? {
        return Ok(());
    }
    Err(DiffusionError::Config(
        "what the model draws are no finite numbers: its predictions overflow; the training went wrong, or the noise schedule is not \
         the model's"
            .into(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DualDenoiser, ModelOrder};
    use std::cell::RefCell;

    /// Notes who was asked at which timestep, and sees no noise.
    struct Noting<'a>(char, &'a RefCell<Vec<(char, i64)>>);

    impl Denoiser for Noting<'_> {
        fn predict_noise(&self, x_t: &Tensor, t: &Tensor, _: Option<&Condition>) -> Result<Tensor> {
            self.1.borrow_mut().push((self.0, t.int64_value(&[0])));
            Ok(x_t.zeros_like())
        }
    }

    fn asked(rounds: usize) -> Result<(Vec<(char, i64)>, Tensor)> {
        let notes = RefCell::new(Vec::new());
        let schedule = NoiseSchedule::default();
        let options = SampleOptions {
            sampler: Sampler::Ddim,
            steps: 4,
            batch: 2,
            seed: 3,
            clip: None,
            unbounded: false,
        };
        let times = schedule.sampling_timesteps(options.steps)?;
        let order = ModelOrder::FirstStarts;
        let pair = DualDenoiser::new(Noting('A', &notes), Noting('B', &notes), order, times, 0);
        let noise = initial_noise(1, 1, [1, 4, 4], Device::Cpu);
        let start = Start {
            x_t: &noise,
            images: &[0],
            condition: None,
            known: None,
        };
        let image = sample_in_rounds(&pair, &schedule, &start, &options, rounds, |_| true)?;
        Ok((notes.into_inner(), image))
    }

    /// A.5 of the paper: round r owns the steps from the r-th timestep on, and every round begins with A.
    #[test]
    fn rounds_begin_one_step_later_with_the_same_model() {
        let t = NoiseSchedule::default().sampling_timesteps(4).unwrap();
        let turns = |models: &str, from: usize| -> Vec<(char, i64)> {
            models.chars().zip(t[from..].iter().copied()).collect()
        };
        assert_eq!(asked(1).unwrap().0, turns("ABAB", 0));
        let expected = [turns("ABAB", 0), turns("ABA", 1), turns("AB", 2)].concat();
        assert_eq!(asked(3).unwrap().0, expected);
        assert_ne!(asked(1).unwrap().1, asked(2).unwrap().1);
        assert_eq!(asked(2).unwrap().1, asked(2).unwrap().1);
        assert!(asked(0).is_err() && asked(5).unwrap_err().to_string().contains("1 to 4"));
    }

    /// Images in three rounds, all from one x_T, so that what differs is the noise between rounds.
    fn in_rounds(images: &[u64], batch: usize) -> Result<Tensor> {
        let notes = RefCell::new(Vec::new());
        let options = SampleOptions {
            sampler: Sampler::Ddim,
            steps: 4,
            batch,
            seed: 3,
            clip: None,
            unbounded: true,
        };
        let noise =
            initial_noise(1, 1, [1, 4, 4], Device::Cpu).repeat([images.len() as i64, 1, 1, 1]);
        let start = Start {
            x_t: &noise,
            images,
            condition: None,
            known: None,
        };
        let (model, schedule) = (Noting('A', &notes), NoiseSchedule::default());
        sample_in_rounds(&model, &schedule, &start, &options, 3, |_| true)
    }

    #[test]
    fn every_image_has_noise_of_its_own_between_rounds() {
        let all = in_rounds(&[0, 1, 2, 3, 4, 5, 6, 7], 3).unwrap();
        for i in 0..8 {
            for j in 0..i {
                // From one x_T, so equal noise between rounds would make equal images.
                let off = (all.get(i) - all.get(j)).abs().max().double_value(&[]);
                assert!(off > 0.1, "{i} and {j} share their noise");
            }
            // Whatever is drawn beside it, in whatever order.
            let others = in_rounds(&[9, i as u64, 40], 2).unwrap();
            assert_eq!(others.get(1), all.get(i), "{i}");
        }
        let said = in_rounds(&[], 1).unwrap();
        assert_eq!(said.size()[0], 0);
        let short = sample_in_rounds(
            &Noting('A', &RefCell::new(Vec::new())),
            &NoiseSchedule::default(),
            &Start {
                x_t: &initial_noise(1, 2, [1, 4, 4], Device::Cpu),
                images: &[0],
                condition: None,
                known: None,
            },
            &SampleOptions {
                sampler: Sampler::Ddim,
                steps: 4,
                batch: 1,
                seed: 0,
                clip: None,
                unbounded: false,
            },
            1,
            |_| true,
        );
        assert!(
            short
                .unwrap_err()
                .to_string()
                .contains("1 numbers for 2 images")
        );
    }
}
