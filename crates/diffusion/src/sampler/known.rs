//! Images of which a part is given, and the rest is made to fit (inpainting).
//!
//! Before the first step and after every one what is given is put back, under as much noise as the next step expects:
//!
//! ```text
//! where given:  x_s <- sqrt(abar_s) x_0 + sqrt(1 - abar_s) n         (1 - s) x_0 + s n of a flow
//! elsewhere:    x_s <- what the step made
//! ```
//!
//! This is RePaint (Lugmayr et al. 2022, arXiv 2201.09865, Algorithm 1) without its way back to more noise (resampling). n is the noise
//! that the image begins with, the same in every step, as in diffusers' `StableDiffusionInpaintPipeline` of networks that are shown no
//! mask; RePaint draws it anew. So all that is random follows from x_T. After the last step the given part is x_0 itself.

use crate::{DiffusionError, Result};
use dualmd_torch::Tensor;

/// What is given of the images that are made.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The images as the network sees them, [N, C, H, W] f32: images, or latents. Where they are not given they are not looked at.
    pub images: &'a Tensor,
    /// Where they are given, bool, [1, 1, H, W].
    pub given: &'a Tensor,
}

impl Known<'_> {
    /// Refuses what does not fit images of `size`, [N, C, H, W].
    pub(super) fn check(&self, size: &[i64]) -> Result<()> {
        let place = [&[1, 1][..], size.get(2..).unwrap_or_default()].concat();
        for (what, expected, got) in [
            (
                "images of which a part is given",
                size.to_vec(),
                self.images.size(),
            ),
            ("where they are given", place, self.given.size()),
        ] {
            if got != expected {
                return Err(DiffusionError::Shape {
                    what,
                    expected: format!("{expected:?}"),
                    got,
                });
            }
        }
        Ok(())
    }

    /// `x` with what is given in its place, under the noise `n`; `mix`: the weights of image and noise.
    pub(super) fn put(&self, x: &Tensor, n: &Tensor, [image, noise]: [f64; 2]) -> Result<Tensor> {
        let own = self.images.f_mul_scalar(image)?;
        let own = own.f_add(&n.f_mul_scalar(noise)?)?;
        Ok(own.f_where_self(self.given, x)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::{SampleOptions, Sampler, Start, initial_noise, sample, sample_in_rounds};
    use crate::{Condition, Denoiser, GaussianDenoiser, MemorisedDenoiser, NoiseSchedule};
    use dualmd_data::stream;
    use dualmd_torch::{Device, Kind, noise};
    use std::cell::RefCell;

    fn options(sampler: Sampler, steps: usize) -> SampleOptions {
        SampleOptions {
            sampler,
            steps,
            batch: 3,
            seed: 4,
            clip: None,
            unbounded: true,
        }
    }

    /// Given in the first `rows` of `height` rows.
    fn above(rows: i64, [height, width]: [i64; 2]) -> Tensor {
        let row = Tensor::arange(height, (Kind::Int64, Device::Cpu)).lt(rows);
        row.view([1, 1, height, 1])
            .expand([1, 1, height, width], false)
    }

    fn restored(
        denoiser: &dyn Denoiser,
        schedule: &NoiseSchedule,
        x_t: &Tensor,
        known: Option<Known<'_>>,
        options: &SampleOptions,
    ) -> Tensor {
        let images: Vec<u64> = (0..x_t.size()[0].unsigned_abs()).collect();
        let start = Start {
            x_t,
            images: &images,
            condition: None,
            known,
        };
        sample_in_rounds(denoiser, schedule, &start, options, 1, |_| true).unwrap()
    }

    fn away(a: &Tensor, b: &Tensor) -> f64 {
        (a - b).abs().max().double_value(&[])
    }

    /// Keeps what it is shown, and sees no noise.
    struct Keeps(RefCell<Vec<Tensor>>);

    impl Denoiser for Keeps {
        fn predict_noise(&self, x_t: &Tensor, _: &Tensor, _: Option<&Condition>) -> Result<Tensor> {
            self.0.borrow_mut().push(x_t.copy());
            Ok(x_t.zeros_like())
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

    /// Every step is shown the given rows at its own level of noise, and the result has them as they are.
    #[test]
    fn every_step_is_shown_what_is_given_under_its_noise() {
        let images = noise::normal(&mut stream(1, "images", 0), &[5, 2, 4, 3], Device::Cpu);
        let x_t = initial_noise(2, 5, [2, 4, 3], Device::Cpu);
        let given = above(1, [4, 3]);
        let known = Known {
            images: &images,
            given: &given,
        };
        for (schedule, sampler) in [
            (NoiseSchedule::default(), Sampler::Ddim),
            (
                NoiseSchedule::default(),
                Sampler::Ancestral {
                    large_variance: false,
                },
            ),
            (NoiseSchedule::flow(), Sampler::Ddim),
        ] {
            let mixes: Vec<[f64; 2]> = match schedule.is_flow() {
                true => {
                    let levels = schedule.sampling_levels(4).unwrap();
                    levels.into_iter().map(|s| [1.0 - s, s]).collect()
                }
                false => {
                    let times = schedule.sampling_timesteps(4).unwrap();
                    let mix = |t: &i64| {
                        let kept = schedule.alpha_bar(*t);
                        [kept.sqrt(), (1.0 - kept).sqrt()]
                    };
                    times.iter().map(mix).collect()
                }
            };
            let keeps = Keeps(RefCell::default());
            let how = options(sampler, 4);
            let made = restored(&keeps, &schedule, &x_t, Some(known), &how);
            let top = |x: &Tensor| x.narrow(2, 0, 1);
            assert_eq!(top(&made), top(&images));
            assert!(away(&made.narrow(2, 1, 3), &images.narrow(2, 1, 3)) > 0.1);
            // Three images, then two, four steps each.
            let shown = keeps.0.into_inner();
            assert_eq!(shown.len(), 8);
            for (batch, first) in shown.chunks(4).zip([0, 3]) {
                for (x, [image, noise]) in batch.iter().zip(&mixes) {
                    let rows = |all: &Tensor| top(all).narrow(0, first, x.size()[0]);
                    let wanted = rows(&images) * *image + rows(&x_t) * *noise;
                    assert!(away(&top(x), &wanted) < 1e-6);
                }
            }
        }
    }

    /// Where pixels know nothing of each other, the hidden ones are made as if nothing were given.
    #[test]
    fn what_does_not_hang_together_is_made_as_ever() {
        let variances: Vec<f64> = (0..8).map(|i| 0.02 + 0.03 * f64::from(i)).collect();
        let covariance = Tensor::from_slice(&variances).diag(0);
        let mean = Tensor::from_slice(&[0.2, -0.1, 0.0, 0.4, -0.3, 0.1, 0.3, -0.2]);
        let schedule = NoiseSchedule::default();
        let model = GaussianDenoiser::new(&mean, &covariance, schedule.clone()).unwrap();
        let x_t = initial_noise(3, 4, [1, 4, 2], Device::Cpu);
        let images = x_t.full_like(0.7);
        let given = above(2, [4, 2]);
        let known = Known {
            images: &images,
            given: &given,
        };
        let ancestral = Sampler::Ancestral {
            large_variance: true,
        };
        for sampler in [Sampler::Ddim, ancestral] {
            let how = options(sampler, 10);
            let plain = sample(&model, &schedule, &x_t, None, &how, |_| true).unwrap();
            let made = restored(&model, &schedule, &x_t, Some(known), &how);
            let below = |x: &Tensor| x.narrow(2, 2, 2);
            assert!(away(&below(&made), &below(&plain)) < 1e-5);
            assert!(away(&made, &plain) > 0.1);
        }
    }

    /// Two pixels of one Gaussian with variance v and covariance c, the first given as g: DDIM's steps by hand. With the matrix
    /// abar S + (1 - abar) I = [[p, q], [q, p]] the noise in the second is b (p h - q x) / (p^2 - q^2) of the pixels x and h.
    #[test]
    fn two_pixels_by_hand() {
        let (variance, covariance, given) = (0.5, 0.45, 0.9);
        let schedule = NoiseSchedule::default();
        let matrix = Tensor::from_slice(&[variance, covariance, covariance, variance]);
        let mean = Tensor::zeros([2], (Kind::Double, Device::Cpu));
        let model = GaussianDenoiser::new(&mean, &matrix.view([2, 2]), schedule.clone()).unwrap();
        let x_t = initial_noise(9, 3, [1, 2, 1], Device::Cpu);
        let images = x_t.full_like(given);
        let place = above(1, [2, 1]);
        let known = Known {
            images: &images,
            given: &place,
        };
        let how = options(Sampler::Ddim, 25);
        let made = restored(&model, &schedule, &x_t, Some(known), &how);
        let times = schedule.sampling_timesteps(25).unwrap();
        for row in 0..3 {
            let (n, mut h) = (
                x_t.double_value(&[row, 0, 0, 0]),
                x_t.double_value(&[row, 0, 1, 0]),
            );
            for (i, &t) in times.iter().enumerate() {
                let kept = schedule.alpha_bar(t);
                let (a, b) = (kept.sqrt(), (1.0 - kept).sqrt());
                let x = a * given + b * n;
                let (p, q) = (kept * variance + 1.0 - kept, kept * covariance);
                let eps = b * (p * h - q * x) / (p * p - q * q);
                let next = times.get(i + 1);
                let next = next.map_or(schedule.final_alpha_bar(), |&t| schedule.alpha_bar(t));
                h = (h - b * eps) / a * next.sqrt() + (1.0 - next).sqrt() * eps;
            }
            let found = made.double_value(&[row, 0, 1, 0]);
            assert!((found - h).abs() < 1e-4, "{found} and {h}");
            assert_eq!(made.double_value(&[row, 0, 0, 0]), f64::from(0.9_f32));
        }
    }

    /// A model that knows four images by heart has what is hidden of one of them in some of 24 attempts. (An attempt that was decided
    /// for another image before the given half could be made out stays with it: about a quarter.)
    #[test]
    fn what_was_memorised_is_restored() {
        let images = noise::normal(&mut stream(5, "known", 0), &[4, 1, 4, 4], Device::Cpu).tanh();
        let schedule = NoiseSchedule::default();
        let model = MemorisedDenoiser::new(&images, schedule.clone()).unwrap();
        let given = above(2, [4, 4]);
        let how = options(Sampler::Ddim, 20);
        for i in 0..4 {
            let one = images.narrow(0, i, 1).repeat([24, 1, 1, 1]);
            let x_t = initial_noise(i as u64, 24, [1, 4, 4], Device::Cpu);
            let known = Known {
                images: &one,
                given: &given,
            };
            let made = restored(&model, &schedule, &x_t, Some(known), &how);
            let off = (made - &one).abs().flatten(1, -1).amax([1i64], false);
            let right = off.lt(0.05).sum(Kind::Int64).int64_value(&[]);
            assert!(right >= 4, "{right} of 24 restored image {i}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (x_t, given) = (
            initial_noise(1, 2, [1, 4, 4], Device::Cpu),
            above(2, [4, 4]),
        );
        let other = initial_noise(1, 3, [1, 4, 4], Device::Cpu);
        let narrow = above(2, [4, 3]);
        let ask = |images: &Tensor, given: &Tensor| {
            let start = Start {
                x_t: &x_t,
                images: &[0, 1],
                condition: None,
                known: Some(Known { images, given }),
            };
            let model = Keeps(RefCell::default());
            let how = options(Sampler::Ddim, 2);
            let schedule = NoiseSchedule::default();
            sample_in_rounds(&model, &schedule, &start, &how, 1, |_| true)
        };
        assert!(ask(&x_t, &given).is_ok());
        let said = |made: Result<Tensor>| made.unwrap_err().to_string();
        assert!(said(ask(&other, &given)).contains("of which a part is given"));
        assert!(said(ask(&x_t, &narrow)).contains("where they are given"));
    }
}
