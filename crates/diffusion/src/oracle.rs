//! Closed-form denoisers: models whose privacy is known without training.
//!
//! * [`MemorisedDenoiser`]: the optimal denoiser of a finite image set. It has memorised everything, so every error
//!   attack must separate its images from fresh ones perfectly.
//! * [`GaussianDenoiser`]: the optimal denoiser of a Gaussian. It has memorised nothing, so every attack must be at
//!   chance on samples of that Gaussian.

use crate::{Condition, Denoiser, DiffusionError, NoiseSchedule, Result};
use dualmd_torch::{Kind, Tensor};

/// eps*(x_t, t) = (x_t - sqrt(abar) sum_i w_i y_i) / sqrt(1 - abar), w = softmax(-|x_t - sqrt(abar) y_i|^2 / 2(1 - abar)).
#[derive(Debug)]
pub struct MemorisedDenoiser {
    images: Tensor,
    schedule: NoiseSchedule,
}

impl MemorisedDenoiser {
    /// `images`: [M, C, H, W] in [-1, 1], M at least 1.
    ///
    /// # Errors
    /// An empty set or another rank.
    pub fn new(images: &Tensor, schedule: NoiseSchedule) -> Result<Self> {
        if images.dim() != 4 || images.size()[0] < 1 {
            return Err(DiffusionError::Shape {
                what: "memorised images",
                expected: "[M, C, H, W] with M >= 1".into(),
                got: images.size(),
            });
        }
        Ok(Self {
            images: images.to_kind(Kind::Double).flatten(1, -1),
            schedule,
        })
    }
}

fn flat(x_t: &Tensor, t: &Tensor, schedule: &NoiseSchedule) -> (Tensor, Tensor, Tensor) {
    let (a, b) = schedule.coefficients(t);
    (
        x_t.to_kind(Kind::Double).flatten(1, -1),
        a.to_kind(Kind::Double).view([-1, 1]),
        b.to_kind(Kind::Double).view([-1, 1]),
    )
}

impl Denoiser for MemorisedDenoiser {
    fn predict_noise(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        _condition: Option<&Condition>,
    ) -> Result<Tensor> {
        let (x, a, b) = flat(x_t, t, &self.schedule);
        // |x - a y|^2 = |x|^2 - 2 a x.y + a^2 |y|^2; |x|^2 cancels in the softmax.
        let products = x.matmul(&self.images.tr());
        let norms =
            (&self.images * &self.images).sum_dim_intlist([1i64].as_slice(), false, Kind::Double);
        let logits = (products * &a - norms.unsqueeze(0) * (&a * &a) * 0.5) / (&b * &b);
        let mean = logits.softmax(1, Kind::Double).matmul(&self.images);
        Ok(((x - mean * a) / b).view_as(x_t).to_kind(Kind::Float))
    }
}

/// eps*(x_t, t) = sqrt(1 - abar) (abar S + (1 - abar) I)^-1 (x_t - sqrt(abar) m) for images ~ N(m, S).
#[derive(Debug)]
pub struct GaussianDenoiser {
    mean: Tensor,
    eigenvalues: Tensor,
    eigenvectors: Tensor,
    schedule: NoiseSchedule,
}

impl GaussianDenoiser {
    /// `mean`: \[D\]; `covariance`: [D, D] symmetric positive semi-definite, D = C*H*W.
    ///
    /// # Errors
    /// Shapes that do not fit, or an eigenvalue decomposition that fails.
    pub fn new(mean: &Tensor, covariance: &Tensor, schedule: NoiseSchedule) -> Result<Self> {
        let d = mean.numel() as i64;
        if covariance.size() != [d, d] {
            return Err(DiffusionError::Shape {
                what: "covariance",
                expected: format!("[{d}, {d}]"),
                got: covariance.size(),
            });
        }
        let (eigenvalues, eigenvectors) = covariance.to_kind(Kind::Double).f_linalg_eigh("L")?;
        Ok(Self {
            mean: mean.to_kind(Kind::Double).view([1, d]),
            eigenvalues: eigenvalues.clamp_min(0.0).view([1, d]),
            eigenvectors,
            schedule,
        })
    }
}

impl Denoiser for GaussianDenoiser {
    fn predict_noise(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        _condition: Option<&Condition>,
    ) -> Result<Tensor> {
        let (x, a, b) = flat(x_t, t, &self.schedule);
        let variance = &self.eigenvalues * (&a * &a) + &b * &b;
        let centred = (x - &self.mean * a).matmul(&self.eigenvectors) / variance;
        Ok((centred.matmul(&self.eigenvectors.tr()) * b)
            .view_as(x_t)
            .to_kind(Kind::Float))
    }
}
