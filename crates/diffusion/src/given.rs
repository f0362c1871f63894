//! A denoiser of the caller's own as a model.

use crate::model::Foreign;
use crate::{Condition, Denoiser, GradientQuestion, NoiseSchedule, Result};
use dualmd_torch::Tensor;

/// A denoiser of this process that is attacked as a model: an oracle, or whatever a program brings. It is told no text, and sees
/// images as they are.
pub struct Given {
    denoiser: Box<dyn Denoiser>,
    schedule: NoiseSchedule,
    shape: [i64; 3],
    name: String,
}

impl Given {
    /// `denoiser` predicts eps at the timesteps of `schedule` for images of `shape`, [C, H, W]; `name`: for the report.
    pub fn new(
        denoiser: Box<dyn Denoiser>,
        schedule: NoiseSchedule,
        shape: [i64; 3],
        name: impl Into<String>,
    ) -> Self {
        Self {
            denoiser,
            schedule,
            shape,
            name: name.into(),
        }
    }
}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Given")
            .field("name", &self.name)
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

impl Denoiser for Given {
    fn predict_noise(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor> {
        self.denoiser.predict_noise(x_t, t, condition)
    }

    fn weights(&self) -> Option<Vec<Tensor>> {
        self.denoiser.weights()
    }

    fn gradient_norms(&self, question: &GradientQuestion<'_>) -> Option<Result<Tensor>> {
        self.denoiser.gradient_norms(question)
    }
}

impl Foreign for Given {
    fn schedule(&self) -> &NoiseSchedule {
        &self.schedule
    }

    fn sample_shape(&self) -> [i64; 3] {
        self.shape
    }

    fn clip(&self) -> Option<f64> {
        Some(1.0)
    }

    fn describe(&self) -> serde_json::Value {
        serde_json::Value::from_iter([("name", self.name.as_str())])
    }
}
