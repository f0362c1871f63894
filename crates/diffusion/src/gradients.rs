//! Norms of the gradients of losses, one for each parameter tensor.

use crate::{DiffusionError, Result};
use dualmd_torch::{Kind, Tensor, tch};

/// Parameters by which losses are differentiated: by all of them, or by none. Dropped, they take gradients where they did before.
#[derive(Debug)]
pub struct Gradients(Vec<(Tensor, bool)>);

impl Gradients {
    /// By these tensors, which share storage with the network. From now on what the network computes can be differentiated.
    ///
    /// # Errors
    /// A tensor that can have no gradient, such as one of integers.
    pub fn by(parameters: Vec<Tensor>) -> Result<Self> {
        let mut all = Self(Vec::with_capacity(parameters.len()));
        for parameter in parameters {
            let before = parameter.requires_grad();
            all.0.push((parameter.f_set_requires_grad(true)?, before));
        }
        Ok(all)
    }

    /// Norms of the gradients of `losses` \[K\], f32, which were computed with gradients (`tch::with_grad`). For each of the parameter
    /// tensors, in their order: the L2 norm of the gradient of the mean loss; and the mean over the K losses of the norm of each
    /// one's gradient. Without `each` (one backward pass in place of K) the second is the first again. A parameter that takes no
    /// part has norm 0. The gradients of a parameter in half precision are rounded to it, each once; their sum is not.
    ///
    /// # Errors
    /// Losses that depend on no parameter at all; what the engine refuses.
    pub fn norms(&self, losses: &Tensor, each: bool) -> Result<[Vec<f64>; 2]> {
        if !losses.requires_grad() {
            return Err(DiffusionError::Config(
                "the model's answer was computed without gradients: it must depend on its parameters, and not be made within no_grad"
                    .into(),
            ));
        }
        tch::with_grad(|| self.differentiated(losses, each))
    }

    fn differentiated(&self, losses: &Tensor, each: bool) -> Result<[Vec<f64>; 2]> {
        let k = losses.numel();
        let parameters: Vec<&Tensor> = self.0.iter().map(|(p, _)| p).collect();
        let backward = |loss: &Tensor, keep: bool| -> Result<Vec<Tensor>> {
            Ok(Tensor::f_run_backward(&[loss], &parameters, keep, false)?)
        };
        if !each {
            let of_mean = norms(&backward(&losses.f_mean(Kind::Float)?, false)?)?;
            return Ok([of_mean.clone(), of_mean]);
        }
        let mut sum: Option<Vec<Tensor>> = None;
        let mut mean_of = vec![0.0; parameters.len()];
        for i in 0..k {
            let gradients = backward(&losses.f_select(0, i as i64)?, i + 1 < k)?;
            for (total, norm) in mean_of.iter_mut().zip(norms(&gradients)?) {
                *total += norm / k as f64;
            }
            sum = Some(match sum {
                None => gradients.into_iter().map(single).collect::<Result<_>>()?,
                Some(sum) => sum
                    .into_iter()
                    .zip(gradients)
                    .map(|(a, b)| added(a, b))
                    .collect::<Result<_>>()?,
            });
        }
        let of_mean = norms(&sum.unwrap_or_default())?
            .into_iter()
            .map(|n| n / k as f64)
            .collect();
        Ok([of_mean, mean_of])
    }
}

impl Drop for Gradients {
    fn drop(&mut self) {
        for (parameter, before) in &self.0 {
            let _ = parameter.f_set_requires_grad(*before);
        }
    }
}

/// A gradient, which may be none, as others are added to it: in f32 at least.
fn single(gradient: Tensor) -> Result<Tensor> {
    Ok(
        match gradient.defined() && gradient.kind() != Kind::Double {
            true => gradient.f_to_kind(Kind::Float)?,
            false => gradient,
        },
    )
}

/// The sum of two gradients, of which either may be none.
fn added(a: Tensor, b: Tensor) -> Result<Tensor> {
    Ok(match (a.defined(), b.defined()) {
        (true, true) => a.f_add(&b)?,
        (false, true) => single(b)?,
        _ => a,
    })
}

/// The L2 norm of each tensor, f64.
fn norms(gradients: &[Tensor]) -> Result<Vec<f64>> {
    gradients
        .iter()
        .map(|g| -> Result<f64> {
            // A parameter that takes no part in the answer has no gradient.
            if !g.defined() {
                return Ok(0.0);
            }
            let squares = g.f_to_kind(Kind::Double)?.f_square()?.f_sum(Kind::Double)?;
            Ok(f64::try_from(&squares)?.sqrt())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_torch::Device;

    /// 256 + 1 is no number of bf16.
    #[test]
    fn gradients_in_bf16_are_added_in_f32() {
        let w = Tensor::from_slice(&[0.5f32]).to_kind(Kind::BFloat16);
        let by = Gradients::by(vec![w.shallow_clone()]).unwrap();
        let losses = tch::with_grad(|| Tensor::from_slice(&[256.0f32, 1.0]) * &w);
        let [of_mean, mean_of] = by.norms(&losses, true).unwrap();
        assert_eq!([of_mean, mean_of], [[128.5], [128.5]]);
    }

    /// Losses w x_k^2 + v x_k of x = 1, -2: by w the gradients are 1 and 4, by v 1 and -2, by what takes no part none.
    #[test]
    fn norms_by_hand_and_parameters_are_left_as_they_were() {
        let (w, v) = (
            Tensor::from_slice(&[0.5f32]),
            Tensor::from_slice(&[2.0f32]).set_requires_grad(true),
        );
        let unused = Tensor::from_slice(&[1.0f32]);
        let x = Tensor::from_slice(&[1.0f32, -2.0]);
        let all = || vec![w.shallow_clone(), v.shallow_clone(), unused.shallow_clone()];
        for each in [true, false] {
            let by = Gradients::by(all()).unwrap();
            let losses = tch::with_grad(|| x.square() * &w + &x * &v);
            let [of_mean, mean_of] = dualmd_torch::no_grad(|| by.norms(&losses, each)).unwrap();
            assert_eq!(of_mean, [2.5, 0.5, 0.0]);
            assert_eq!(
                mean_of,
                if each {
                    [2.5, 1.5, 0.0]
                } else {
                    [2.5, 0.5, 0.0]
                }
            );
            drop(by);
            assert!(!w.requires_grad() && v.requires_grad() && !unused.requires_grad());
        }
        let by = Gradients::by(all()).unwrap();
        let blind = dualmd_torch::no_grad(|| x.square() * &w);
        let error = by.norms(&blind, true).unwrap_err().to_string();
        assert!(error.contains("without gradients"), "{error}");
        drop(by);
        // What can have no gradient leaves those before it as they were.
        let whole = Tensor::zeros([1], (Kind::Int64, Device::Cpu));
        assert!(Gradients::by(vec![w.shallow_clone(), whole]).is_err());
        assert!(!w.requires_grad());
    }
}
