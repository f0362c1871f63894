//! An ensemble: the average of several models' predictions, for instance of models trained on disjoint shards.
//!
//! What one model remembers of an image of its shard is diluted by the others, who never saw it; the average also predicts
//! better than any of them, on members and unseen images alike. It is the plain alternative to taking turns
//! ([`dualmd_diffusion::DualDenoiser`]). Guarantee: none, and like a DualMD pair it protects only while the models
//! themselves stay secret. Cost: one network call per model and step.

use dualmd_diffusion::{Denoiser, Question};
use dualmd_torch::Tensor;

/// Averages what its models predict.
pub struct EnsembleDenoiser<D> {
    first: D,
    others: Vec<D>,
}

impl<D: Denoiser> EnsembleDenoiser<D> {
    /// The models must share one noise schedule and image shape.
    pub fn new(first: D, others: Vec<D>) -> Self {
        Self { first, others }
    }

    fn answer(&self, question: Question<'_>) -> dualmd_diffusion::Result<Tensor> {
        let mut sum = question.put_to(&self.first)?;
        for model in &self.others {
            sum = sum.f_add(&question.put_to(model)?)?;
        }
        Ok(sum / (1 + self.others.len()) as f64)
    }
}

impl<D: Denoiser> Denoiser for EnsembleDenoiser<D> {
    dualmd_diffusion::answers_alike!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_diffusion::{Condition, StepInfo};
    use dualmd_torch::{Device, Kind};

    /// Predicts a constant, and another one within a sampling run.
    struct Constant(f64, f64);
    impl Denoiser for Constant {
        fn predict_noise(
            &self,
            x_t: &Tensor,
            _: &Tensor,
            _: Option<&Condition>,
        ) -> dualmd_diffusion::Result<Tensor> {
            Ok(x_t.full_like(self.0))
        }

        fn predict_noise_in_step(
            &self,
            x_t: &Tensor,
            _: &Tensor,
            _: Option<&Condition>,
            _: StepInfo<'_>,
        ) -> dualmd_diffusion::Result<Tensor> {
            Ok(x_t.full_like(self.1))
        }

        fn predict_velocity(
            &self,
            x_s: &Tensor,
            _: &Tensor,
            _: Option<&Condition>,
        ) -> dualmd_diffusion::Result<Tensor> {
            Ok(x_s.full_like(-self.0))
        }
    }

    #[test]
    fn the_average_of_all_models_in_and_outside_a_sampling_run() {
        let others = vec![Constant(2.0, 20.0), Constant(6.0, 60.0)];
        let ensemble = EnsembleDenoiser::new(Constant(1.0, 10.0), others);
        let x = Tensor::zeros([2, 1, 2, 2], (Kind::Float, Device::Cpu));
        let t = Tensor::zeros([2], (Kind::Int64, Device::Cpu));
        let outside = ensemble.predict_noise(&x, &t, None).unwrap();
        assert_eq!(outside, x.full_like(3.0));
        let step = StepInfo {
            index: 0,
            images: &[0, 1],
        };
        let within = ensemble.predict_noise_in_step(&x, &t, None, step).unwrap();
        assert_eq!(within, x.full_like(30.0));
        let s = Tensor::from_slice(&[0.5f32, 1.0]);
        let velocity = ensemble
            .predict_velocity_in_step(&x, &s, None, step)
            .unwrap();
        assert_eq!(velocity, x.full_like(-3.0));
    }

    #[test]
    fn an_ensemble_of_one_is_that_model() {
        let x = Tensor::zeros([1, 1, 2, 2], (Kind::Float, Device::Cpu));
        let t = Tensor::zeros([1], (Kind::Int64, Device::Cpu));
        let one = EnsembleDenoiser::new(Constant(0.3, 0.3), Vec::new());
        assert_eq!(one.predict_noise(&x, &t, None).unwrap(), x.full_like(0.3));
    }
}
