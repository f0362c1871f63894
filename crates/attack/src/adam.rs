//! AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), as PyTorch computes it, of one tensor: for attacks that change what a model is
//! told.

use crate::Result;
use dualmd_torch::Tensor;

/// PyTorch's defaults.
const BETAS: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;

/// A tensor on its way down a loss.
pub(crate) struct AdamW {
    /// Where it is.
    pub(crate) value: Tensor,
    mean: Tensor,
    square: Tensor,
    steps: i32,
    rate: f64,
    decay: f64,
}

impl AdamW {
    /// From `value` on; without a decay it is Adam.
    pub(crate) fn new(value: &Tensor, rate: f64, decay: f64) -> Result<Self> {
        Ok(Self {
            value: value.shallow_clone(),
            mean: value.f_zeros_like()?,
            square: value.f_zeros_like()?,
            steps: 0,
            rate,
            decay,
        })
    }

    /// One step against `gradient`, which is shaped as the value.
    pub(crate) fn step(&mut self, gradient: &Tensor) -> Result<()> {
        self.steps += 1;
        self.mean = &self.mean * BETAS[0] + gradient * (1.0 - BETAS[0]);
        self.square = &self.square * BETAS[1] + gradient.f_square()? * (1.0 - BETAS[1]);
        let bias = BETAS.map(|beta| 1.0 - beta.powi(self.steps));
        let spread = self.square.f_sqrt()? / bias[1].sqrt() + EPSILON;
        self.value = &self.value * (1.0 - self.rate * self.decay)
            - &self.mean / spread * (self.rate / bias[0]);
        Ok(())
    }
}
