//! Per-image clipping: the sum of gradients none of which is longer than C.

use crate::{DefenseError, Result};
#[cfg(doc)]
use dualmd_diffusion::ghost::PerImage;
use dualmd_torch::shim::clip_grad_norm;
use dualmd_torch::{Tensor, no_grad};

/// A running sum of clipped gradients, one tensor per parameter.
pub struct ClippedSum {
    clip: f64,
    sum: Vec<Tensor>,
}

impl ClippedSum {
    /// Zero, in the shapes of `parameters`. `clip`: largest L2 norm of a term, over all its tensors.
    #[must_use]
    pub fn new(parameters: &[Tensor], clip: f64) -> Self {
        Self {
            clip,
            sum: no_grad(|| parameters.iter().map(Tensor::zeros_like).collect()),
        }
    }

    /// Scales `gradients` in place to a norm of at most C and adds them. Returns their norm before. `step` is for the
    /// message only.
    ///
    /// # Errors
    /// A norm that is not finite: nothing is added then.
    pub fn add(&mut self, gradients: &mut [Tensor], step: u64) -> Result<f64> {
        // A hair below C, so that rounding in f32 cannot carry the scaled norm above it.
        let norm = clip_grad_norm(gradients, Some(self.clip * (1.0 - 1e-6)))?;
        check(norm, step)?;
        self.add_clipped(gradients)?;
        Ok(norm)
    }

    /// What a gradient of this norm is to be multiplied by, so that it is no longer than C, and not stretched. `step` is for the
    /// message only.
    ///
    /// # Errors
    /// A norm that is not finite.
    pub fn scale(&self, norm: f64, step: u64) -> Result<f64> {
        check(norm, step)?;
        // As in `add`. Five times its hair, for norms that were computed on another way than what is added ([`PerImage`]).
        Ok((self.clip * (1.0 - 5e-6) / norm).min(1.0))
    }

    /// Adds gradients that were clipped already, or a sum of such.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn add_clipped(&mut self, gradients: &[Tensor]) -> Result<()> {
        no_grad(|| {
            for (sum, gradient) in self.sum.iter_mut().zip(gradients) {
                let _ = sum.f_add_(gradient)?;
            }
            Ok(())
        })
    }

    /// The sum so far, sharing storage: for ranks that each clipped their own images.
    pub fn tensors(&self) -> &[Tensor] {
        &self.sum
    }

    /// The sum plus `noise` (one tensor per parameter), divided by `count`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn release(self, noise: &[Tensor], count: f64) -> Result<Vec<Tensor>> {
        no_grad(|| {
            self.sum
                .iter()
                .zip(noise)
                .map(|(sum, noise)| Ok(sum.f_add(noise)? / count))
                .collect()
        })
    }
}

/// Refuses a norm that is no number.
fn check(norm: f64, step: u64) -> Result<()> {
    if norm.is_finite() {
        return Ok(());
    }
    Err(DefenseError::NotFinite {
        step,
        what: "gradient norm of one image",
        value: norm,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn norm(tensors: &[Tensor]) -> f64 {
        let squares = tensors
            .iter()
            .map(|t| (t * t).sum(dualmd_torch::Kind::Double).double_value(&[]));
        squares.sum::<f64>().sqrt()
    }

    #[test]
    fn long_gradients_are_shortened_and_short_ones_are_left() {
        let parameters = [Tensor::from_slice(&[0f32; 2]), Tensor::from_slice(&[0f32])];
        let gradient = |scale: f64| {
            [
                Tensor::from_slice(&[2f32, -1.0]) * scale,
                Tensor::from_slice(&[2f32]) * scale,
            ]
        };
        let mut sum = ClippedSum::new(&parameters, 1.5);
        let mut long = gradient(10.0);
        assert!((sum.add(&mut long, 0).unwrap() - 30.0).abs() < 1e-5);
        assert!(norm(&long) <= 1.5 && norm(&long) > 1.5 - 1e-5);
        let mut short = gradient(0.1);
        assert!((sum.add(&mut short, 0).unwrap() - 0.3).abs() < 1e-6);
        assert!((norm(&short) - 0.3).abs() < 1e-6);
        // (1.5 + 0.3) (2, -1, 2) / 3 + noise (1, 1, 1), divided by 4.
        let noise = parameters.each_ref().map(Tensor::ones_like);
        let released = sum.release(&noise, 4.0).unwrap();
        let values: Vec<f32> = Vec::try_from(Tensor::cat(&released, 0)).unwrap();
        for (got, expected) in values.iter().zip([0.55, 0.1, 0.55]) {
            assert!((got - expected).abs() < 1e-5, "{values:?}");
        }
    }

    #[test]
    fn a_gradient_that_is_no_number_is_refused_before_it_spoils_the_sum() {
        let parameters = [Tensor::from_slice(&[0f32; 2])];
        let mut sum = ClippedSum::new(&parameters, 1.0);
        let mut bad = [Tensor::from_slice(&[f32::NAN, 0.0])];
        assert!(sum.add(&mut bad, 3).is_err());
        assert!(sum.scale(f64::NAN, 3).is_err() && sum.scale(f64::INFINITY, 3).is_err());
        // What is shorter is not stretched, not even nothing.
        assert_eq!([0.0, 0.5].map(|norm| sum.scale(norm, 3).unwrap()), [1.0; 2]);
        assert!(4.0 * sum.scale(4.0, 3).unwrap() < 1.0);
        let released = sum
            .release(&[Tensor::zeros_like(&parameters[0])], 1.0)
            .unwrap();
        assert_eq!(released[0], parameters[0]);
    }
}
