//! Only what the decoder makes much of: a variant of every error attack on latents.
//!
//! *Paper*: "Latent Diffusion Inversion Requires Understanding the Latent Space" (CVPR 2026, arXiv 2511.20592), the mask as in its public
//! code. There for SimA and other errors on latent models.
//!
//! *Equation*: how far the image moves with the latent's k-th number, by the decoder's Jacobian J at the latent itself,
//!
//! ```text
//! c_k = 1/2 ln mean over v of ((J^T v)_k)^2,     v ~ N(0, I) in the space of images, 8 draws
//! m_k = 1 where c_k is above the 40th percentile of this image's c, else 0
//! ```
//!
//! and every sum over the residual of an attack becomes one over m_k times the residual.
//!
//! *What it is for*: numbers of the latent that hardly show in the image carry noise of the encoder, which no training image fixes.
//!
//! *What it costs*: one pass through the decoder and 8 back for each image, once for all attacks; no network calls.
//!
//! *What it misses*: the mask looks at the autoencoder alone. Where that treats all numbers alike it only throws away 40 % of them.
//!
//! The public code reports the best of many timesteps; here they are those of the attack. Models of pixels have no decoder.

use crate::{Attack, AttackInfo, Batch, Result};
use dualmd_names::Variant;
use dualmd_record::parameters::PullbackParameters;
use dualmd_torch::{Device, Kind, Tensor};

/// Draws of v.
pub const DRAWS: usize = 8;
/// Share of an image's numbers that is left out.
const LEFT_OUT: f64 = 0.4;

/// The mask of latents [B, c, h, w] from the products J^T v of every draw, each [B, c, h, w]: 1 for what counts, else 0, in f64 on the
/// CPU.
///
/// # Errors
/// What the engine refuses.
pub fn mask(products: &[Tensor]) -> Result<Tensor> {
    let squares: Vec<Tensor> = products
        .iter()
        .map(|p| {
            Ok(p.f_to_device(Device::Cpu)?
                .f_to_kind(Kind::Double)?
                .f_square()?)
        })
        .collect::<Result<_>>()?;
    // The order of the sums is that of c.
    let sums =
        Tensor::f_stack(&squares, 0)?.f_sum_dim_intlist([0i64].as_slice(), false, Kind::Double)?;
    let size = sums.size();
    let images = usize::try_from(size.first().copied().unwrap_or(0)).unwrap_or(0);
    let all = Vec::<f64>::try_from(&sums.f_flatten(0, -1)?)?;
    let width = (all.len() / images.max(1)).max(1);
    let kept: Vec<f64> = all.chunks(width).flat_map(above).collect();
    Ok(Tensor::from_slice(&kept).f_view(size.as_slice())?)
}

/// 1 for the values above the percentile.
fn above(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let last = (LEFT_OUT * values.len() as f64).ceil() as usize;
    let bar = match last.checked_sub(1) {
        Some(place) => sorted[place.min(sorted.len() - 1)],
        None => f64::NEG_INFINITY,
    };
    values
        .iter()
        .map(|&v| f64::from(u8::from(v > bar)))
        .collect()
}

/// An attack on masked residuals.
#[derive(Debug)]
pub(crate) struct Masked(pub(crate) Box<dyn Attack>);

impl Attack for Masked {
    fn info(&self) -> AttackInfo {
        let mut info = self.0.info();
        info.name += Variant::Pullback.suffix();
        info.title += ", what the decoder shows";
        info.parameters.pullback = Some(PullbackParameters {
            draws: DRAWS,
            left_out: LEFT_OUT,
        });
        info
    }

    fn score(&self, batch: &mut Batch<'_>) -> Result<Vec<f64>> {
        batch.with_mask_on(|batch| self.0.score(batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten numbers: four are left out, whatever the signs; each image by its own.
    #[test]
    fn two_in_five_are_left_out() {
        let first: Vec<f64> = (1..=10).map(f64::from).collect();
        let second: Vec<f64> = first.iter().rev().map(|v| v * 100.0).collect();
        let product = Tensor::from_slice(&[first, second].concat()).view([2, 2, 5, 1]);
        let found = mask(&[product.shallow_clone(), product.neg()]).unwrap();
        assert_eq!(found.size(), [2, 2, 5, 1]);
        let flat = Vec::<f64>::try_from(&found.flatten(0, -1)).unwrap();
        let low = [0.0; 4].into_iter().chain([1.0; 6]);
        let expected: Vec<f64> = low.clone().chain(low.rev()).collect();
        assert_eq!(flat, expected);
    }

    #[test]
    fn draws_add_up() {
        // 3^2 + 0 against 2^2 + 2^2.
        let draw = |a: f64, b: f64| Tensor::from_slice(&[a, b, 0.0]).view([1, 1, 1, 3]);
        let found = mask(&[draw(3.0, 2.0), draw(0.0, -2.0)]).unwrap();
        assert_eq!(
            Vec::<f64>::try_from(&found.flatten(0, -1)).unwrap(),
            [1.0, 0.0, 0.0]
        );
    }
}
