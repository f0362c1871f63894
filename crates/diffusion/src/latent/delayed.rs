//! Guidance that begins late (*Classifier-Free Guidance inside the Attraction Basin May Cause Memorization*, Jain et al. 2025, CVPR,
//! arXiv:2411.16738): a prompt that a model has memorised pulls every drawing towards its image while there is much noise, and guidance
//! pulls the harder. Without guidance at first, or with the opposite of it, the drawing leaves this basin; from then on the prompt is
//! followed as ever.

use super::Guided;
use crate::{Denoiser, Question, Result};
use dualmd_torch::Tensor;

/// What applies at first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Early {
    /// At timesteps above this one. The paper's static form has 500, or 650 with opposite guidance, of 1000.
    pub above: i64,
    /// Guidance scale there: 0 leaves the prompt out, below 0 turns away from it (opposite guidance).
    pub scale: f64,
}

/// Two guidances of one model: the first at timesteps above [`Early::above`], the second at the others.
#[derive(Debug)]
pub struct Delayed<D> {
    /// While there is much noise.
    pub early: Guided<D>,
    /// Afterwards.
    pub late: Guided<D>,
    /// The last timestep of the early part is above this.
    pub above: i64,
    /// The same on the path of a flow: the level with the signal-to-noise ratio of that timestep ([`crate::NoiseSchedule::level`]). Levels
    /// above it are early.
    pub level: f64,
}

impl<D: Denoiser> Delayed<D> {
    fn answer(&self, question: Question<'_>) -> Result<Tensor> {
        // Which rows are early, [B] bool.
        let early = match question.velocity {
            true => question.level.f_gt(self.level)?,
            false => question.level.f_gt(self.above)?,
        };
        if early.f_any()?.int64_value(&[]) == 0 {
            return question.put_to(&self.late);
        }
        if early.f_all()?.int64_value(&[]) != 0 {
            return question.put_to(&self.early);
        }
        // Only questions outside a drawing mix them.
        let early = early.f_view([-1, 1, 1, 1])?;
        let (first, second) = (question.put_to(&self.early)?, question.put_to(&self.late)?);
        Ok(first.f_where_self(&early, &second)?)
    }
}

impl<D: Denoiser> Denoiser for Delayed<D> {
    crate::answers_alike!();

    fn weights(&self) -> Option<Vec<Tensor>> {
        self.late.weights()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latent::{LatentSampling, sample_latents};
    use crate::sampler::{SampleOptions, Sampler, sample};
    use crate::{Condition, NoiseSchedule, StepInfo};
    use dualmd_torch::{Device, Kind};
    use std::cell::RefCell;

    /// Answers with the mean of the text, and notes how many rows it was asked for at which timestep.
    struct Notes(RefCell<Vec<(i64, i64)>>);

    impl Denoiser for Notes {
        fn predict_noise(
            &self,
            x_t: &Tensor,
            t: &Tensor,
            condition: Option<&Condition>,
        ) -> Result<Tensor> {
            self.0
                .borrow_mut()
                .push((t.int64_value(&[0]), x_t.size()[0]));
            let text = condition.unwrap().texts().unwrap();
            let value = text.mean_dim([1i64, 2].as_slice(), false, Kind::Float);
            Ok(x_t * 0.0 + value.view([-1, 1, 1, 1]))
        }

        /// Notes 1000 s.
        fn predict_velocity(
            &self,
            x_s: &Tensor,
            s: &Tensor,
            condition: Option<&Condition>,
        ) -> Result<Tensor> {
            let times = (s * 1000.0).round().to_kind(Kind::Int64);
            self.predict_noise(x_s, &times, condition)
        }
    }

    fn delayed(model: &Notes, early: f64) -> Delayed<&Notes> {
        let guided = |scale| Guided {
            model,
            unconditional: Condition::of_text(Tensor::full(
                [1, 2, 3],
                0.5,
                (Kind::Float, Device::Cpu),
            )),
            scale,
        };
        Delayed {
            early: guided(early),
            late: guided(3.0),
            above: 500,
            level: NoiseSchedule::flow().level(500),
        }
    }

    /// Of a text worth 1 and nothing worth 0.5: 0.5 + scale 0.5.
    #[test]
    fn the_prompt_is_followed_from_its_timestep_on() {
        let model = Notes(RefCell::default());
        let told = Condition::of_text(Tensor::ones([3, 2, 3], (Kind::Float, Device::Cpu)));
        let x = Tensor::zeros([3, 1, 1, 1], (Kind::Float, Device::Cpu));
        for (early, t, want) in [
            (0.0, [501, 999, 700], [0.5, 0.5, 0.5]),
            (-2.0, [501, 999, 700], [-0.5, -0.5, -0.5]),
            (0.0, [500, 0, 20], [2.0, 2.0, 2.0]),
            (-2.0, [501, 500, 0], [-0.5, 2.0, 2.0]),
        ] {
            let t = Tensor::from_slice(&t.map(i64::from));
            let eps = delayed(&model, early).predict_noise(&x, &t, Some(&told));
            let eps: Vec<f64> = Vec::try_from(eps.unwrap().view(-1)).unwrap();
            assert_eq!(eps, want, "{early}");
        }
    }

    /// A flow is followed from the level of the same signal-to-noise ratio on, whether it is asked for its velocity or for the noise.
    #[test]
    fn a_flow_is_followed_from_the_same_signal_to_noise_ratio_on() {
        let (model, flow) = (Notes(RefCell::default()), NoiseSchedule::flow());
        let told = Condition::of_text(Tensor::ones([3, 2, 3], (Kind::Float, Device::Cpu)));
        let x = Tensor::zeros([3, 1, 1, 1], (Kind::Float, Device::Cpu));
        let images = [0, 1, 2];
        let step = StepInfo {
            index: 0,
            images: &images,
        };
        for t in [[999_i64, 700, 502], [498, 200, 0], [999, 498, 502]] {
            let levels = Tensor::from_slice(&t.map(|t| flow.level(t) as f32));
            let (model, times) = (delayed(&model, -2.0), Tensor::from_slice(&t));
            let noise = model.predict_noise(&x, &times, Some(&told)).unwrap();
            for velocity in [
                model.predict_velocity(&x, &levels, Some(&told)).unwrap(),
                model
                    .predict_velocity_in_step(&x, &levels, Some(&told), step)
                    .unwrap(),
            ] {
                assert_eq!(velocity, noise, "{t:?}");
            }
            let late: Vec<f64> = Vec::try_from(noise.view(-1)).unwrap();
            let wanted = t.map(|t| if t > 500 { -0.5 } else { 2.0 });
            assert_eq!(late, wanted);
        }
    }

    #[test]
    fn a_drawing_of_a_flow_asks_by_its_levels() {
        let (model, flow) = (Notes(RefCell::default()), NoiseSchedule::flow());
        let told = Condition::of_text(Tensor::ones([2, 2, 3], (Kind::Float, Device::Cpu)));
        let x = Tensor::zeros([2, 1, 1, 1], (Kind::Float, Device::Cpu));
        let options = SampleOptions {
            sampler: Sampler::Ddim,
            steps: 10,
            batch: 2,
            seed: 0,
            clip: None,
            unbounded: true,
        };
        let late = delayed(&model, 1.0);
        let _ = sample(&late, &flow, &x, Some(&told), &options, |_| true).unwrap();
        let asked = model.0.take();
        assert_eq!(asked.len(), 10);
        let limit = 1000.0 * flow.level(500);
        let early = asked.iter().filter(|(s, _)| *s as f64 > limit);
        // Evenly spaced from 1 to 0.001: the first three of ten lie above 0.77.
        assert_eq!(early.count(), 3);
        for (s, rows) in asked {
            assert_eq!(rows, if s as f64 > limit { 2 } else { 4 }, "at {s}");
        }
    }

    #[test]
    fn a_drawing_asks_by_its_timesteps() {
        let model = Notes(RefCell::default());
        let schedule = NoiseSchedule::default();
        let told = Condition::of_text(Tensor::ones([2, 2, 3], (Kind::Float, Device::Cpu)));
        let x = Tensor::zeros([2, 1, 1, 1], (Kind::Float, Device::Cpu));
        let options = LatentSampling {
            steps: 10,
            batch: 2,
            clip: None,
        };
        // A guidance of 1 asks once for each image, any other twice.
        let late = delayed(&model, 1.0);
        let _ = sample_latents(&late, &schedule, &x, &told, &options, |_| true).unwrap();
        let asked = model.0.take();
        assert_eq!(asked.len(), 10);
        for (t, rows) in asked {
            assert_eq!(rows, if t > 500 { 2 } else { 4 }, "at {t}");
        }
    }
}
