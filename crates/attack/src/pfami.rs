//! PFAMI: members sit in a dip of the loss, so it rises when the image is changed a little.
//!
//! *Paper*: Fu, Wang, Gao, Liu, Li and Jiang 2023, "A Probabilistic Fluctuation based Membership Inference Attack for
//! Diffusion Models" (arXiv 2308.12143), its statistic; timesteps and crop as in the public codes of SimA and CLiD.
//!
//! *Equation*: with L_t(x) = mean (eps - eps(sqrt(abar_t) x + sqrt(1 - abar_t) eps, t))^2,
//! score = -(mean_t L_t(x) - mean_(t, c) L_t(crop_c(x))), where crop_c keeps the middle c of each side and enlarges it
//! back (bilinear).
//!
//! *Threat model*: evaluates the noise predictor at inputs of the attacker's choice; no gradients, no other model.
//!
//! *Queries per sample*: 2 per timestep and crop: 20 with one crop. The loss of the image itself at t = 200 is shared
//! with the loss attack. Both images of a pair get the same noise, so that its luck cancels.
//!
//! *What the score means*: by how much the training objective grows, in units of the noise variance, when the image is
//! enlarged by 1/c. The image's neighbours serve as a reference for how hard it is.
//!
//! *On latents* the crop is one of the latent: its middle, enlarged back. That is not the latent of a cropped image (the
//! autoencoder is not linear), but it needs no autoencoder and changes the input by as much. The score means the same, on
//! another neighbourhood.
//!
//! *Unlike the public codes*: the image and its crops share one draw of noise, at all timesteps; SimA's code draws anew for each
//! loss, CLiD's for each image and each crop, and crops the picture before it is encoded, at t = 1, 51, ..., 451.
//!
//! *What it misses*: models trained on random crops, whose dip is wide; images with an empty border, which a crop changes
//! more than others, member or not.

use crate::batch::Model;
use crate::reduce::{add_mean_squares, negated};
use crate::{Access, Attack, AttackError, AttackInfo, Batch, Result};
use dualmd_record::AttackParameters;
use dualmd_torch::Tensor;

/// PFAMI. Default: t = 0, 50, ..., 450 (SimA's code) and one crop to 0.825 (CLiD's code; SimA's has ten from 0.95 to 0.70,
/// at 110 queries).
#[derive(Debug, Clone, PartialEq)]
pub struct Pfami {
    /// Timesteps, 0-based.
    pub timesteps: Vec<i64>,
    /// Share of each side that a crop keeps, in (0, 1).
    pub crops: Vec<f64>,
}

impl Default for Pfami {
    fn default() -> Self {
        Self {
            timesteps: (0..10).map(|i| 50 * i).collect(),
            crops: vec![0.825],
        }
    }
}

impl Pfami {
    fn check(&self) -> Result<()> {
        let reason = if self.timesteps.is_empty() {
            "no timesteps: choose at least one"
        } else if self.crops.is_empty() || self.crops.iter().any(|c| !(*c > 0.0 && *c < 1.0)) {
            "crops: choose at least one, each between 0 and 1 (0.825 keeps 82.5 % of each side)"
        } else {
            return Ok(());
        };
        Err(AttackError::Parameter {
            attack: "pfami",
            reason: reason.into(),
        })
    }
}

/// The middle of `x` [B, C, H, W], `share` of each side, enlarged back. Whole pixels are kept, at least one: what is left over
/// is cut off, as `int(side * share)` does in the public codes (64 keeps 52 at 0.825, and not 53).
fn crop(x: &Tensor, share: f64) -> Result<Tensor> {
    let size = x.size();
    let keep = |side: i64| ((side as f64 * share) as i64).clamp(1, side);
    let (h, w) = (keep(size[2]), keep(size[3]));
    let middle = x
        .f_narrow(2, (size[2] - h) / 2, h)?
        .f_narrow(3, (size[3] - w) / 2, w)?;
    Ok(middle.f_upsample_bilinear2d([size[2], size[3]].as_slice(), false, None, None)?)
}

impl Attack for Pfami {
    fn info(&self) -> AttackInfo {
        AttackInfo {
            name: "pfami".into(),
            title: "PFAMI (fluctuation under crops)".into(),
            paper: "Fu et al. 2023, arXiv 2308.12143",
            access: Access::WhiteBox,
            formula:
                "-(mean_t L_t(x) - mean_(t, c) L_t(crop_c(x))), L_t(x) = mean (eps - eps(x_t, t))^2"
                    .into(),
            network_calls_per_sample: self.timesteps.len() * (1 + self.crops.len()),
            parameters: AttackParameters {
                timesteps: Some(self.timesteps.clone()),
                crops: Some(self.crops.clone()),
                ..AttackParameters::default()
            },
            misses: "models trained on random crops; images with an empty border, which a crop changes more than others",
        }
    }

    fn score(&self, batch: &mut Batch<'_>) -> Result<Vec<f64>> {
        self.check()?;
        let noise = batch.draw(0)?;
        let cropped = self
            .crops
            .iter()
            .map(|&c| crop(batch.x(), c))
            .collect::<Result<Vec<_>>>()?;
        let mut fluctuation = vec![0.0; batch.ids().len()];
        let (times, crops) = (self.timesteps.len() as f64, cropped.len() as f64);
        for &t in &self.timesteps {
            let residual = &noise - batch.eps_noisy(Model::Target, 0, t)?;
            add_mean_squares(&mut fluctuation, &batch.residual(residual)?, 1.0 / times)?;
            for image in &cropped {
                let x_t = batch.schedule().add_noise_at(image, &noise, t);
                let residual = &noise - batch.eps(&x_t, t)?;
                add_mean_squares(
                    &mut fluctuation,
                    &batch.residual(residual)?,
                    -1.0 / (times * crops),
                )?;
            }
        }
        Ok(negated(fluctuation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_torch::{Device, Kind};

    /// int(side * share) of the public code, for sides where rounding would keep another number of pixels, and where not.
    #[test]
    fn a_crop_keeps_whole_pixels_and_rounds_none_up() {
        for (side, kept) in [
            (4, 3),
            (8, 6),
            (16, 13),
            (28, 23),
            (32, 26),
            (40, 33),
            (64, 52),
        ] {
            // A picture whose value is the distance from its edge: the crop's corner says how much was cut.
            let edge: Vec<f32> = (0..side).map(|i| i.min(side - 1 - i) as f32).collect();
            let row = Tensor::from_slice(&edge);
            let x = row
                .minimum(&row.view([side as i64, 1]))
                .view([1, 1, side as i64, side as i64]);
            let corner = crop(&x, 0.825).unwrap().double_value(&[0, 0, 0, 0]);
            assert_eq!(corner, ((side - kept) / 2) as f64, "{side} pixels");
        }
        let one = Tensor::zeros([1, 1, 1, 1], (Kind::Float, Device::Cpu));
        assert_eq!(crop(&one, 0.1).unwrap().size(), [1, 1, 1, 1]);
    }
}
