//! Two models as one: what a model learnt when it was fine-tuned, made stronger.
//!
//! Wu, Zhang and Wu 2025, "Leveraging Model Guidance to Extract Training Data from Personalized Diffusion Models" (FineXtract, ICML, arXiv
//! 2410.03039): a fine-tuned model draws between what its base draws and what it learnt, and a step further along that line lies nearer to
//! the images that it was fine-tuned on.

use crate::{Denoiser, DiffusionError, Question, Result};
use dualmd_torch::Tensor;

/// eps = eps_base + w (eps_tuned - eps_base). 1 is the fine-tuned model, 0 its base. Of flows the same with velocities.
#[derive(Debug)]
pub struct Contrasted<T, B> {
    /// The fine-tuned model.
    pub tuned: T,
    /// The model that it was fine-tuned from.
    pub base: B,
    /// w. The paper finds 3 to 5 the best for models that are told a text, where it acts beside guidance.
    pub weight: f64,
}

impl<T, B> Contrasted<T, B> {
    fn of(&self, tuned: &Tensor, base: &Tensor) -> Result<Tensor> {
        if tuned.size() != base.size() {
            return Err(DiffusionError::Shape {
                what: "noise that the base predicts",
                expected: format!("{:?}", tuned.size()),
                got: base.size(),
            });
        }
        let further = tuned.f_sub(base)?.f_mul_scalar(self.weight)?;
        Ok(base.f_add(&further)?)
    }
}

impl<T: Denoiser, B: Denoiser> Contrasted<T, B> {
    fn answer(&self, question: Question<'_>) -> Result<Tensor> {
        let tuned = question.put_to(&self.tuned)?;
        self.of(&tuned, &question.put_to(&self.base)?)
    }
}

impl<T: Denoiser, B: Denoiser> Denoiser for Contrasted<T, B> {
    crate::answers_alike!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::{SampleOptions, Sampler, initial_noise, sample};
    use crate::{Condition, GaussianDenoiser, MemorisedDenoiser, NoiseSchedule, StepInfo};
    use dualmd_torch::{Device, Kind};

    const SHAPE: [i64; 3] = [1, 2, 2];

    fn gaussian(mean: &[f64]) -> GaussianDenoiser {
        let covariance = Tensor::eye(4, (Kind::Double, Device::Cpu)) * 0.05;
        let mean = Tensor::from_slice(mean);
        GaussianDenoiser::new(&mean, &covariance, NoiseSchedule::default()).unwrap()
    }

    /// The denoiser of a Gaussian is linear in its mean: w steps from one mean towards another are the denoiser of a Gaussian there.
    #[test]
    fn two_gaussians_are_a_third() {
        let (base, tuned) = ([0.1, -0.2, 0.0, 0.3], [0.2, -0.1, 0.1, 0.1]);
        let x = initial_noise(3, 5, SHAPE, Device::Cpu);
        let t = Tensor::from_slice(&[0_i64, 10, 300, 700, 999]);
        for weight in [0.0, 1.0, 4.0, -0.5] {
            let step = |(b, t): (&f64, &f64)| b + weight * (t - b);
            let mean: Vec<f64> = base.iter().zip(&tuned).map(step).collect();
            let contrasted = Contrasted {
                tuned: gaussian(&tuned),
                base: gaussian(&base),
                weight,
            };
            let images = [0, 1, 2, 3, 4];
            let step = StepInfo {
                index: 0,
                images: &images,
            };
            let expected = gaussian(&mean).predict_noise(&x, &t, None).unwrap();
            for found in [
                contrasted.predict_noise(&x, &t, None).unwrap(),
                contrasted
                    .predict_noise_in_step(&x, &t, None, step)
                    .unwrap(),
            ] {
                let off = (&found - &expected).abs().max().double_value(&[]);
                assert!(off < 1e-4, "{weight}: {off}");
            }
        }
    }

    /// Fine-tuned on one image, a little: its Gaussian moved a quarter of the way there. Four times as far lies the image.
    #[test]
    fn what_was_learnt_a_little_is_drawn() {
        let image = [0.8, -0.8, 0.8, -0.8];
        let narrow = |mean: &[f64]| {
            let covariance = Tensor::eye(4, (Kind::Double, Device::Cpu)) * 1e-4;
            let mean = Tensor::from_slice(mean);
            GaussianDenoiser::new(&mean, &covariance, NoiseSchedule::default()).unwrap()
        };
        let contrasted = Contrasted {
            tuned: narrow(&image.map(|v| v / 4.0)),
            base: narrow(&[0.0; 4]),
            weight: 4.0,
        };
        let options = SampleOptions {
            sampler: Sampler::Ddim,
            steps: 20,
            batch: 8,
            seed: 0,
            clip: Some(1.0),
            unbounded: false,
        };
        let schedule = NoiseSchedule::default();
        let noise = initial_noise(1, 8, SHAPE, Device::Cpu);
        let drawn = sample(&contrasted, &schedule, &noise, None, &options, |_| true).unwrap();
        let off = drawn.view([8, 4]) - Tensor::from_slice(&image).to_kind(Kind::Float);
        let off = off.abs().max().double_value(&[]);
        assert!(off < 0.1, "{off}");
    }

    /// A flow that drifts by a number: towards noise, and in a step twice as fast.
    struct Drifts(f64);
    impl Denoiser for Drifts {
        fn predict_noise(&self, x: &Tensor, _: &Tensor, _: Option<&Condition>) -> Result<Tensor> {
            Ok(x.full_like(100.0))
        }

        fn predict_velocity(
            &self,
            x: &Tensor,
            _: &Tensor,
            _: Option<&Condition>,
        ) -> Result<Tensor> {
            Ok(x.full_like(self.0))
        }

        fn predict_velocity_in_step(
            &self,
            x: &Tensor,
            _: &Tensor,
            _: Option<&Condition>,
            _: StepInfo<'_>,
        ) -> Result<Tensor> {
            Ok(x.full_like(2.0 * self.0))
        }
    }

    /// Two flows: 1 + 4 (3 - 1) = 9, within a step twice that.
    #[test]
    fn of_flows_the_velocities_are_followed() {
        let contrasted = Contrasted {
            tuned: Drifts(3.0),
            base: Drifts(1.0),
            weight: 4.0,
        };
        let x = Tensor::zeros([2, 1, 2, 2], (Kind::Float, Device::Cpu));
        let s = Tensor::from_slice(&[0.25_f32, 0.75]);
        let step = StepInfo {
            index: 0,
            images: &[0, 1],
        };
        let outside = contrasted.predict_velocity(&x, &s, None).unwrap();
        let within = contrasted.predict_velocity_in_step(&x, &s, None, step);
        assert_eq!(outside, x.full_like(9.0));
        assert_eq!(within.unwrap(), x.full_like(18.0));
    }

    #[test]
    fn models_of_other_shapes_are_refused() {
        /// Always four pictures.
        struct Four;
        impl Denoiser for Four {
            fn predict_noise(
                &self,
                _: &Tensor,
                _: &Tensor,
                _: Option<&Condition>,
            ) -> Result<Tensor> {
                Ok(Tensor::zeros([4, 1, 2, 2], (Kind::Float, Device::Cpu)))
            }
        }
        let one = Tensor::zeros([1, 1, 2, 2], (Kind::Float, Device::Cpu));
        let contrasted = Contrasted {
            tuned: MemorisedDenoiser::new(&one, NoiseSchedule::default()).unwrap(),
            base: Four,
            weight: 2.0,
        };
        let t = Tensor::from_slice(&[5_i64]);
        let said = contrasted.predict_noise(&one, &t, None).unwrap_err();
        assert!(said.to_string().contains("the base predicts"), "{said}");
    }
}
