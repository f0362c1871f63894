//! Guidance and sampling.

use crate::{Condition, Denoiser, DiffusionError, NoiseSchedule, Question, Result, StepInfo};
use dualmd_torch::{Kind, Tensor};

/// Classifier-free guidance (Ho and Salimans 2022) as diffusers does it: eps(told nothing) + scale * (eps(told) - eps(told nothing)),
/// both in one batch; of a flow the same with velocities. A scale of 1 is the model itself and costs half. (diffusers takes any scale
/// below 1 for 1.)
#[derive(Debug)]
pub struct Guided<D> {
    /// Asked twice for every image.
    pub model: D,
    /// What stands for telling nothing, one row: the embedding of the empty (or a negative) prompt, [1, tokens, width], or the label of
    /// no class, \[1\].
    pub unconditional: Condition,
    /// Guidance scale; Stable Diffusion's default is 7.5.
    pub scale: f64,
}

impl<D: Denoiser> Guided<D> {
    fn answer(&self, question: Question<'_>) -> Result<Tensor> {
        let Some(condition) = question.condition.filter(|_| self.scale != 1.0) else {
            return question.put_to(&self.model);
        };
        let batch = condition.len();
        if let Some(text) = &condition.text {
            let (_, tokens, width) = text.size3()?;
            let got = self.unconditional.text.as_ref().map(Tensor::size);
            let got = got.unwrap_or_default();
            if got != [1, tokens, width] {
                return Err(DiffusionError::Shape {
                    what: "unconditional embedding",
                    expected: format!("[1, {tokens}, {width}]"),
                    got,
                });
            }
        }
        let device = condition.device();
        let none = self.unconditional.each(|row| row.to_device(device));
        let both = none.expand(batch)?.then(condition)?;
        let step = question.step;
        let images = step.map(|s| [s.images, s.images].concat());
        let twice = step.zip(images.as_deref()).map(|(step, images)| StepInfo {
            index: step.index,
            images,
        });
        let x = Tensor::f_cat(&[question.x, question.x], 0)?;
        let level = Tensor::f_cat(&[question.level, question.level], 0)?;
        let both = Question {
            velocity: question.velocity,
            x: &x,
            level: &level,
            condition: Some(&both),
            step: twice,
        };
        let answer = both.put_to(&self.model)?;
        let without = answer.narrow(0, 0, batch);
        let with = answer.narrow(0, batch, batch);
        Ok(&without + (with - &without) * self.scale)
    }
}

impl<D: Denoiser> Denoiser for Guided<D> {
    crate::answers_alike!();

    fn weights(&self) -> Option<Vec<Tensor>> {
        self.model.weights()
    }
}

/// How to sample.
#[derive(Debug, Clone, Copy)]
pub struct LatentSampling {
    /// Number of denoising steps, 1..=T.
    pub steps: usize,
    /// Rows per network call; guidance doubles them.
    pub batch: usize,
    /// Clip the predicted clean image to [-c, c]: [`crate::TextToImage::clip`].
    pub clip: Option<f64>,
}

/// Deterministic DDIM (eta 0) from `x_t` [N, c, h, w]. Unlike [`crate::sampler::sample`] it returns what the network sees, not
/// clipped: latents have no bounds. `condition`: one embedding per row. `go_on` is told the number of finished rows after
/// each batch; false ends the run.
///
/// # Errors
/// Step counts the schedule does not have; what the model refuses; [`DiffusionError::Stopped`].
pub fn sample_latents(
    denoiser: &dyn Denoiser,
    schedule: &NoiseSchedule,
    x_t: &Tensor,
    condition: &Condition,
    options: &LatentSampling,
    mut go_on: impl FnMut(usize) -> bool,
) -> Result<Tensor> {
    let (size, rows) = (x_t.size(), condition.len());
    if size.len() != 4 || size.first() != Some(&rows) {
        return Err(DiffusionError::Shape {
            what: "initial noise and rows of the condition",
            expected: "[N, c, h, w] and N".into(),
            got: [size, vec![rows]].concat(),
        });
    }
    let _guard = dualmd_torch::tch::no_grad_guard();
    let timesteps = schedule.sampling_timesteps(options.steps)?;
    let (total, batch) = (size[0], options.batch.max(1) as i64);
    let mut done = Vec::new();
    let mut start = 0;
    while start < total {
        let n = batch.min(total - start);
        let images: Vec<u64> = (start..start + n).map(|i| i as u64).collect();
        let part = condition.narrow(start, n);
        let mut x = x_t.narrow(0, start, n);
        for (index, &t) in timesteps.iter().enumerate() {
            let times = NoiseSchedule::timestep_tensor(t, n, x.device());
            let step = StepInfo {
                index,
                images: &images,
            };
            let eps = denoiser.predict_noise_in_step(&x, &times, Some(&part), step)?;
            let next = timesteps.get(index + 1);
            let a = next.map_or_else(|| schedule.final_alpha_bar(), |&s| schedule.alpha_bar(s));
            let mut x0 = schedule.predict_x0(&x, &eps, t);
            if let Some(c) = options.clip {
                x0 = x0.clamp(-c, c);
            }
            x = x0 * a.sqrt() + eps * (1.0 - a).sqrt();
        }
        crate::sampler::check_finite(&x)?;
        done.push(x);
        start += n;
        if !go_on(start as usize) {
            return Err(DiffusionError::Stopped);
        }
    }
    if done.is_empty() {
        return Ok(Tensor::zeros(&size, (Kind::Float, x_t.device())));
    }
    Ok(Tensor::cat(&done, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_torch::Device;

    /// A denoiser that shows what guidance asks of it.
    struct Shows;

    impl Denoiser for Shows {
        fn predict_noise(
            &self,
            x_t: &Tensor,
            _t: &Tensor,
            condition: Option<&Condition>,
        ) -> Result<Tensor> {
            let condition = condition.unwrap();
            let value = match (&condition.text, &condition.label) {
                (Some(text), None) => text.mean_dim([1i64, 2].as_slice(), false, Kind::Float),
                (None, Some(label)) => label.to_kind(Kind::Float),
                other => panic!("one of the two is told: {other:?}"),
            };
            Ok(x_t * 0.0 + value.view([-1, 1, 1, 1]))
        }

        fn predict_noise_in_step(
            &self,
            x_t: &Tensor,
            t: &Tensor,
            condition: Option<&Condition>,
            step: StepInfo<'_>,
        ) -> Result<Tensor> {
            assert_eq!(step.images.len() as i64, x_t.size()[0]);
            self.predict_noise(x_t, t, condition)
        }

        fn predict_velocity(
            &self,
            x_s: &Tensor,
            s: &Tensor,
            condition: Option<&Condition>,
        ) -> Result<Tensor> {
            self.predict_noise(x_s, s, condition)
        }
    }

    #[test]
    fn guidance_extrapolates_from_no_text_to_text() {
        let full = |n: i64, value: f64| Tensor::full([n, 2, 3], value, (Kind::Float, Device::Cpu));
        let x = Tensor::zeros([2, 1, 1, 1], (Kind::Float, Device::Cpu));
        let t = Tensor::from_slice(&[0i64, 0]);
        let text = Condition::of_text(Tensor::cat(&[full(1, 1.0), full(1, 2.0)], 0));
        for (scale, expected) in [(3.0, [2.0, 5.0]), (1.0, [1.0, 2.0]), (0.0, [0.5, 0.5])] {
            let guided = Guided {
                model: Shows,
                unconditional: Condition::of_text(full(1, 0.5)),
                scale,
            };
            let step = StepInfo {
                index: 0,
                images: &[4, 9],
            };
            for eps in [
                guided.predict_noise(&x, &t, Some(&text)).unwrap(),
                guided
                    .predict_noise_in_step(&x, &t, Some(&text), step)
                    .unwrap(),
            ] {
                assert_eq!(Vec::<f64>::try_from(eps.flatten(0, -1)).unwrap(), expected);
            }
        }
        let wrong = Guided {
            model: Shows,
            unconditional: Condition::of_text(full(2, 0.5)),
            scale: 2.0,
        };
        let error = wrong.predict_noise(&x, &t, Some(&text)).unwrap_err();
        assert!(error.to_string().contains("[1, 2, 3]"), "{error}");
    }
    /// A label is followed as a text is, in a flow's velocity as in the noise.
    #[test]
    fn guidance_extrapolates_from_no_label_to_the_label() {
        let x = Tensor::zeros([2, 1, 1, 1], (Kind::Float, Device::Cpu));
        let t = Tensor::from_slice(&[0i64, 0]);
        let labels = Condition::of_labels(Tensor::from_slice(&[1i64, 2]));
        let guided = Guided {
            model: Shows,
            unconditional: Condition::of_labels(Tensor::from_slice(&[4i64])),
            scale: 2.0,
        };
        for answer in [
            guided.predict_noise(&x, &t, Some(&labels)).unwrap(),
            guided.predict_velocity(&x, &t, Some(&labels)).unwrap(),
        ] {
            let values = Vec::<f64>::try_from(answer.flatten(0, -1)).unwrap();
            assert_eq!(values, [-2.0, 0.0]);
        }
        let text = Condition::of_text(Tensor::zeros([2, 2, 3], (Kind::Float, Device::Cpu)));
        assert!(guided.predict_noise(&x, &t, Some(&text)).is_err());
    }
}
