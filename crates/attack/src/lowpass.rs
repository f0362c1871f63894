//! Low frequencies only: a variant of every error attack.
//!
//! *Paper*: "Enhancing Membership Inference Attacks on Diffusion Models from a Frequency-Domain Perspective" (FreMIA, arXiv
//! 2505.20955), the filter as in its public code.
//!
//! *Equation*: the two sides of an attack's residual are transformed by a two-dimensional FFT per channel; frequencies
//! in -r..r-1 in both directions are kept, all others multiplied by 0.2; and transformed back, of which the real part
//! is taken. The transform is linear, so filtering the difference is the same as filtering both sides.
//!
//! *What it is for*: fine texture is hard for every diffusion model, whether it saw the image or not. It raises the
//! errors of textured members and lowers those of smooth strangers; with less of it the two sides come further apart.
//!
//! *What it misses*: a model so deeply over-trained that it knows the texture too gives that knowledge away in just
//! the part that is thrown out.

use crate::{Attack, AttackInfo, Batch, Result};
use dualmd_names::Variant;
use dualmd_record::parameters::LowPassParameters;
use dualmd_torch::{Kind, Tensor};

/// Half-width of the kept block at 32 pixels (the public code's default); other sizes in proportion.
const HALF_WIDTH_AT_32: f64 = 5.0;

/// What remains of the other frequencies (the public code's default).
const REMAINS: f64 = 0.2;

/// The filter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LowPass;

impl LowPass {
    /// Frequencies kept on either side of 0 in an image of `side` pixels.
    fn half_width(side: i64) -> i64 {
        ((HALF_WIDTH_AT_32 * side as f64 / 32.0).round() as i64).clamp(1, (side / 2).max(1))
    }

    /// The low frequencies of `x` [B, C, H, W], and a fifth of the others.
    pub(crate) fn apply(self, x: &Tensor) -> Result<Tensor> {
        let size = x.size();
        // One axis: 1 where the frequency lies in -r..r-1, in the order of the transform (0, 1, ..., -2, -1).
        let kept = |side: i64| {
            let r = Self::half_width(side);
            let kept: Vec<f64> = (0..side)
                .map(|k| if k < r || k >= side - r { 1.0 } else { 0.0 })
                .collect();
            Tensor::from_slice(&kept).to_device(x.device())
        };
        let block = kept(size[2]).f_unsqueeze(1)? * kept(size[3]).f_unsqueeze(0)?;
        let mask = block * (1.0 - REMAINS) + REMAINS;
        let frequencies = x.f_to_kind(Kind::Double)?.f_fft_fft2(
            None::<&[i64]>,
            [2i64, 3].as_slice(),
            "backward",
        )?;
        Ok((frequencies * mask)
            .f_fft_ifft2(None::<&[i64]>, [2i64, 3].as_slice(), "backward")?
            .f_real()?)
    }
}

/// An attack on low-passed residuals.
#[derive(Debug)]
pub(crate) struct LowPassed(pub(crate) Box<dyn Attack>);

impl Attack for LowPassed {
    fn info(&self) -> AttackInfo {
        let mut info = self.0.info();
        info.name += Variant::LowPass.suffix();
        info.title += ", low frequencies";
        info.parameters.lowpass = Some(LowPassParameters {
            half_width_at_32: HALF_WIDTH_AT_32,
            remains: REMAINS,
        });
        info
    }

    fn score(&self, batch: &mut Batch<'_>) -> Result<Vec<f64>> {
        batch.with_low_pass(LowPass, |batch| self.0.score(batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::PI;

    /// A cosine of frequency `k` along the rows of a 32 x 32 image.
    fn wave(k: f64) -> Tensor {
        let row: Vec<f64> = (0..32)
            .map(|i| (2.0 * PI * k * f64::from(i) / 32.0).cos())
            .collect();
        Tensor::from_slice(&row)
            .view([1, 1, 1, 32])
            .expand([1, 1, 32, 32], false)
    }

    fn share(k: f64) -> f64 {
        let x = wave(k);
        let y = LowPass.apply(&x).unwrap();
        // A pure frequency comes back scaled.
        let share = (&y * &x).sum(Kind::Double) / (&x * &x).sum(Kind::Double);
        let share = share.double_value(&[]);
        let rest = (y - x * share).abs().max().double_value(&[]);
        assert!(rest < 1e-12, "frequency {k}: {rest:e} of something else");
        share
    }

    #[test]
    fn low_frequencies_pass_and_a_fifth_of_the_others() {
        for (k, expected) in [(0.0, 1.0), (4.0, 1.0), (6.0, 0.2), (16.0, 0.2)] {
            assert!((share(k) - expected).abs() < 1e-12, "{k}: {}", share(k));
        }
        // The kept block is -5..4: of the two halves of a cosine of frequency 5 one is kept, as in the public code.
        assert!((share(5.0) - 0.6).abs() < 1e-12);
    }

    #[test]
    fn small_images_keep_something() {
        assert_eq!(
            [4, 8, 16, 32, 64].map(LowPass::half_width),
            [1, 1, 3, 5, 10]
        );
        assert_eq!(LowPass::half_width(1), 1);
        let tiny = Tensor::from_slice(&[0.5f32]).view([1, 1, 1, 1]);
        assert_eq!(
            LowPass.apply(&tiny).unwrap().double_value(&[0, 0, 0, 0]),
            0.5
        );
    }
}
