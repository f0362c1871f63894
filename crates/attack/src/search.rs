//! Embedding search: what must a text-to-image model be told to generate one image?
//!
//! *Paper*: *Finding DoRI* (ICML 2026, arXiv 2507.16880): models from which memorised images were thought to be removed still give them
//! out for an embedding that is searched for. Its code could not be had; this is the idea as it stands there, with numbers of our own.
//!
//! ```text
//! y <- the embedding of the image's caption
//! repeat:  y <- Adam step against  mean over draws |eps - eps(x_t, t, y)|^2        x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps
//! ```
//!
//! with timesteps drawn uniformly and fresh noise for each draw. Images are then generated with y.
//!
//! *Threat model*: white box, and the attacker holds the image: this asks whether the model can give it out, not whether somebody would
//! find it. An embedding has so many values that it can describe an image that the model never saw. So a search says something only
//! beside the same search for such images.
//!
//! *What it misses*: embeddings that more steps, or another start, would find.

use crate::adam::AdamW;
use crate::{AttackError, Result};
use dualmd_data::stream_for_id;
use dualmd_diffusion::{Condition, Denoiser, NoiseSchedule};
use dualmd_names::SEARCH_STEPS;
use dualmd_torch::{Device, Kind, Tensor, noise, tch};

/// How far to search. The numbers are ours: the rate is that of Wen's remedy, which changes the same embeddings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Search {
    /// Updates (50).
    pub steps: usize,
    /// Timesteps and noises of each image in an update (4).
    pub draws: usize,
    /// Adam's learning rate (0.05).
    pub learning_rate: f64,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            steps: SEARCH_STEPS,
            draws: 4,
            learning_rate: 0.05,
        }
    }
}

/// Searches an embedding for each of the images `x0` [N, C, H, W], as the network sees them, from `text` [N, tokens, width] on; `ids`: of
/// each image, from which all that is drawn follows, whatever is searched beside it. Returns [N, tokens, width] f32.
///
/// # Errors
/// Shapes that do not fit, settings that make no sense, a model without a gradient by its text, a loss that is not finite.
pub fn search(
    denoiser: &dyn Denoiser,
    schedule: &NoiseSchedule,
    [x0, text]: [&Tensor; 2],
    ids: &[&str],
    seed: u64,
    options: &Search,
) -> Result<Tensor> {
    let (size, told) = (x0.size(), text.size());
    let n = ids.len() as i64;
    if size.len() != 4 || told.len() != 3 || size[0] != n || told[0] != n || n < 1 {
        return Err(AttackError::Samples(format!(
            "embedding search: images of shape {size:?}, texts of {told:?} and {n} ids: expected [N, C, H, W], [N, tokens, width] and N"
        )));
    }
    let rate = options.learning_rate;
    if options.draws < 1 || !(rate > 0.0 && rate.is_finite()) {
        return Err(AttackError::Samples(format!(
            "embedding search with {} draws and learning rate {rate}: choose at least 1 draw (4) and a positive rate (0.05)",
            options.draws
        )));
    }
    let (device, draws) = (x0.device(), options.draws as i64);
    let each = |x: &Tensor| x.f_repeat_interleave_self_int(draws, 0_i64, None::<i64>);
    let clean = each(x0)?;
    let shape = [&[draws], &size[1..]].concat();
    let stream = |id: &&str| stream_for_id(seed, "extract/search", id);
    let mut streams: Vec<_> = ids.iter().map(stream).collect();
    let text = text.f_detach()?.f_to_kind(Kind::Float)?;
    let mut adam = AdamW::new(&text.f_to_device(device)?, rate, 0.0)?;
    for _ in 0..options.steps {
        let (mut times, mut noises) = (Vec::new(), Vec::new());
        for rng in &mut streams {
            let (timesteps, cpu) = (schedule.len() as i64, Device::Cpu);
            times.push(noise::integers(rng, timesteps, options.draws, cpu));
            noises.push(noise::normal(rng, &shape, cpu));
        }
        let t = Tensor::f_cat(&times, 0)?.f_to_device(device)?;
        let eps = Tensor::f_cat(&noises, 0)?.f_to_device(device)?;
        let x_t = schedule.add_noise(&clean, &eps, &t);
        let embedding = adam.value.f_detach()?.f_set_requires_grad(true)?;
        let (loss, gradient) = tch::with_grad(|| -> Result<(f64, Tensor)> {
            let told = Condition::of_text(each(&embedding)?);
            let off = denoiser.predict_noise(&x_t, &t, Some(&told))? - &eps;
            let rows = off.f_square()?.f_flatten(1, -1)?;
            let rows = rows.f_mean_dim([1i64].as_slice(), false, Kind::Float)?;
            // Each image's mean over its draws: the sum over images keeps their gradients apart.
            let loss = rows.f_sum(Kind::Float)?.f_div_scalar(draws as f64)?;
            if !loss.requires_grad() {
                return Err(no_gradient());
            }
            let value = loss.double_value(&[]);
            let gradients = Tensor::f_run_backward(&[loss], &[&embedding], false, false)?;
            let gradient = gradients.into_iter().next().filter(Tensor::defined);
            Ok((value, gradient.ok_or_else(no_gradient)?))
        })?;
        if !loss.is_finite() {
            return Err(AttackError::Samples(format!(
                "embedding search: the loss is {loss}; check the weights or work in f32"
            )));
        }
        adam.step(&gradient)?;
    }
    Ok(adam.value)
}

fn no_gradient() -> AttackError {
    AttackError::Samples(
        "embedding search needs the gradient of the model's answer by its text, and this model offers none (one that is asked in another \
         process does not): name its folder"
            .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_data::stream;
    use dualmd_diffusion::schedule::SchedulerConfig;
    use dualmd_torch::no_grad;

    /// Takes what it is told for the image: eps = (x - sqrt(abar) y) / sqrt(1 - abar). An embedding is an image of it.
    struct Draws(NoiseSchedule);

    impl Draws {
        /// With a schedule that has as much signal as noise at every timestep: the loss is mean (x_0 - y)^2, whatever is drawn.
        fn level() -> Self {
            let betas = [&[0.5][..], &[1e-9; 999][..]].concat();
            let config = SchedulerConfig {
                trained_betas: Some(betas),
                ..SchedulerConfig::default()
            };
            Self(NoiseSchedule::new(config).unwrap())
        }
    }

    impl Denoiser for Draws {
        fn predict_noise(
            &self,
            x_t: &Tensor,
            t: &Tensor,
            condition: Option<&Condition>,
        ) -> dualmd_diffusion::Result<Tensor> {
            let (a, b) = self.0.coefficients(t);
            let told = condition.unwrap().texts()?.view_as(x_t);
            Ok((x_t - told * a) / b)
        }
    }

    fn images(n: i64) -> Tensor {
        noise::normal(&mut stream(3, "images", 0), &[n, 1, 2, 2], Device::Cpu).clamp(-1.0, 1.0)
    }

    /// Adam's first step is the rate in the direction of the image; in the end the image is found, although this model knows none.
    #[test]
    fn whatever_can_be_told_is_found() {
        let model = Draws::level();
        let x0 = images(3);
        let start = Tensor::zeros([3, 2, 2], (Kind::Float, Device::Cpu));
        let ids = ["a", "b", "c"];
        let find = |steps: usize, rate: f64| {
            let options = Search {
                steps,
                learning_rate: rate,
                ..Search::default()
            };
            search(&model, &model.0, [&x0, &start], &ids, 1, &options).unwrap()
        };
        let wanted = x0.view([3, 2, 2]);
        let off = (find(1, 0.01) - wanted.sign() * 0.01).abs();
        assert!(off.max().double_value(&[]) < 1e-5, "{off:?}");
        assert_eq!(find(0, 0.01), start);
        let off = (find(300, 0.05) - wanted).abs();
        assert!(off.max().double_value(&[]) < 0.05, "{off:?}");
    }

    #[test]
    fn images_are_searched_for_alone() {
        let model = Draws(NoiseSchedule::default());
        let (x0, options) = (images(3), Search::default());
        let start = Tensor::ones([3, 1, 4], (Kind::Float, Device::Cpu)) * 0.2;
        let all = search(
            &model,
            &model.0,
            [&x0, &start],
            &["a", "b", "c"],
            7,
            &options,
        );
        let all = all.unwrap();
        for (i, id) in ["a", "b", "c"].into_iter().enumerate() {
            let one = |x: &Tensor| x.narrow(0, i as i64, 1);
            let alone = [&one(&x0), &one(&start)];
            let found = search(&model, &model.0, alone, &[id], 7, &options).unwrap();
            let off = (found - one(&all)).abs().max().double_value(&[]);
            assert!(off < 1e-5, "{id}: {off}");
            let other = search(&model, &model.0, alone, &["d"], 7, &options).unwrap();
            assert_ne!(other, one(&all));
        }
    }

    #[test]
    fn what_cannot_be_searched_is_refused() {
        /// Gives no gradient.
        struct Elsewhere(Draws);
        impl Denoiser for Elsewhere {
            fn predict_noise(
                &self,
                x_t: &Tensor,
                t: &Tensor,
                condition: Option<&Condition>,
            ) -> dualmd_diffusion::Result<Tensor> {
                no_grad(|| self.0.predict_noise(x_t, t, condition))
            }
        }
        let model = Elsewhere(Draws(NoiseSchedule::default()));
        let (x0, start) = (images(2), images(2).view([2, 1, 4]));
        let said = |ids: &[&str], options: Search| {
            let found = search(&model, &model.0.0, [&x0, &start], ids, 0, &options);
            found.unwrap_err().to_string()
        };
        let plain = Search::default();
        assert!(said(&["a", "b"], plain).contains("gradient"));
        assert!(said(&["a"], plain).contains("1 ids"));
        let none = Search { draws: 0, ..plain };
        assert!(said(&["a", "b"], none).contains("0 draws"));
        let still = Search {
            learning_rate: 0.0,
            ..plain
        };
        assert!(said(&["a", "b"], still).contains("rate 0"));
    }
}
