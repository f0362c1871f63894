//! From images to features.
//!
//! **What every extractor does first**: pictures become 8-bit (floats are multiplied by 255 and rounded to nearest),
//! because that is what anybody will ever see of them, and real images were 8-bit all along; grey is repeated to three
//! channels. The networks then run in f32, in batches, without gradients.
//!
//! **Resizing** is libtorch's bilinear interpolation in f32 with `align_corners=False` and without antialiasing, as
//! pytorch-fid does it. A picture that is *larger* than the network's input is therefore aliased (see Parmar et al.,
//! "On Aliased Resizing and Surprising Subtleties in GAN Evaluation", 2022): scale it down well beforehand, both sides
//! alike. The TF1-style bilinear of torch-fidelity and the antialiased bicubic of clean-fid give other numbers and are
//! not offered.

mod efflite0;
mod inception;
mod net;
mod pixels;
mod sscd;
mod torchscript;

use dualmd_torch::tch::{IndexOp as _, Kind, Tensor};
use dualmd_torch::{Device, no_grad};

pub use efflite0::EfficientNetLite0;
pub use inception::{InceptionFid, Layer};
pub use pixels::Pixels;
pub use sscd::{Sscd, SscdForm};
pub use torchscript::TorchScriptInception;

use crate::error::{MetricsError, Result};
use crate::features::Features;

/// Images per pass through a network. 32 at 299 x 299 take about a gigabyte in the first layers of Inception.
const BATCH: i64 = 32;

/// How far outside [0, 1] a float picture may lie before it counts as a mistake, and not as rounding.
const OUTSIDE: f64 = 1e-3;

/// What one extractor makes of some images.
#[derive(Debug, Clone, PartialEq)]
pub struct Extracted {
    /// One row per image, in their order.
    pub features: Features,
    /// For extractors that end in a classifier.
    pub logits: Option<Logits>,
}

/// What a classifier says before the softmax, one row per image.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits {
    /// As trained.
    pub biased: Features,
    /// Without the bias of the last layer: what the literature takes the Inception score of.
    pub unbiased: Features,
}

/// Something that makes features of images.
pub trait Extractor {
    /// Name of network and layer, as it will stand in [`Features::extractor`].
    fn name(&self) -> String;

    /// Columns of the features.
    fn dim(&self) -> usize;

    /// Features (and logits) of `images`: [N, C, H, W] with N >= 2 and C 1 or 3, uint8, or floats in [0, 1].
    ///
    /// # Errors
    /// [`MetricsError::Images`] for another shape or type or values outside [0, 1]; [`MetricsError::Features`] for a
    /// single image or weights that give no finite numbers; [`MetricsError::Tch`].
    fn extract(&self, images: &Tensor) -> Result<Extracted>;

    /// The same place by place, where the network has such features: for attacks that compare images so.
    fn places(&self) -> Option<&dyn Places> {
        None
    }

    /// Are features worth a file, to be read in place of making them anew? Not where making them is no work.
    fn is_worth_keeping(&self) -> bool {
        true
    }
}

/// Something that makes features of places in images.
pub trait Places {
    /// Name of network and layer, such as `efflite0-7x7x1280`.
    fn name(&self) -> String;

    /// Features of `images` (as [`Extractor::extract`] takes them, or a single one): [N, places, channels] f32 on the CPU,
    /// places row by row.
    ///
    /// # Errors
    /// [`MetricsError::Images`] as there; [`MetricsError::Tch`].
    fn features(&self, images: &Tensor) -> Result<Tensor>;
}

/// [N, places, channels] f32 on the CPU of maps [n, channels, H, W] that `network` makes of batches of images.
fn places_of(
    images: &Tensor,
    device: Device,
    network: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let shape = std::cell::Cell::new([0, 0]);
    let tables = in_batches(images, device, |x| {
        let places = network(x)?.f_flatten(2, 3)?.f_transpose(1, 2)?;
        shape.set([places.size()[1], places.size()[2]]);
        Ok(vec![places])
    })?;
    let values = tables.into_iter().next().unwrap_or_default();
    let [places, channels] = shape.get();
    Ok(Tensor::from_slice(&values).f_view([images.size()[0], places, channels])?)
}

/// [N, 3, H, W] uint8 of what [`Extractor::extract`] takes.
fn eight_bit(images: &Tensor) -> Result<Tensor> {
    let refuse = |reason: String| Err(MetricsError::Images { reason });
    let shape = images.size();
    if shape.len() != 4 || !matches!(shape[1], 1 | 3) || shape.iter().any(|&s| s < 1) {
        return refuse(format!(
            "their shape is {shape:?}; give [N, C, H, W] with 1 or 3 channels"
        ));
    }
    let bytes = match images.kind() {
        Kind::Uint8 => images.shallow_clone(),
        Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16 => {
            let floats = images.f_to_kind(Kind::Float)?;
            let low = floats.f_min()?.f_double_value(&[])?;
            let high = floats.f_max()?.f_double_value(&[])?;
            // Not a number fails the comparison too.
            if !(low >= -OUTSIDE && high <= 1.0 + OUTSIDE) {
                return refuse(format!(
                    "their values reach from {low} to {high}; floats must lie in [0, 1] ((x + 1)/2 turns [-1, 1] into that)"
                ));
            }
            let scaled = floats.f_mul_scalar(255.0)?.f_round()?;
            scaled.f_clamp(0.0, 255.0)?.f_to_kind(Kind::Uint8)?
        }
        other => {
            return refuse(format!(
                "their values are {other:?}; give uint8, or floats in [0, 1]"
            ));
        }
    };
    Ok(bytes.f_expand([shape[0], 3, shape[2], shape[3]], false)?)
}

/// Runs `network` over all images (as [`Extractor::extract`] takes them, or a single one) in batches. It gets [n, 3, H, W] f32 in
/// 0..=255 on `device` and returns tables of n rows, which come back joined, as row-major numbers. Public for extractors elsewhere.
///
/// # Errors
/// [`MetricsError::Images`] as there; [`MetricsError::Tch`]; what `network` says.
pub fn in_batches(
    images: &Tensor,
    device: Device,
    network: impl Fn(&Tensor) -> Result<Vec<Tensor>>,
) -> Result<Vec<Vec<f32>>> {
    no_grad(|| {
        let images = eight_bit(images)?;
        let n = images.size()[0];
        let mut tables: Vec<Vec<f32>> = Vec::new();
        for from in (0..n).step_by(BATCH as usize) {
            let batch = images.i(from..(from + BATCH).min(n));
            let batch = batch.f_to_device(device)?.f_to_kind(Kind::Float)?;
            let outputs = network(&batch)?;
            tables.resize_with(outputs.len(), Vec::new);
            for (table, output) in tables.iter_mut().zip(outputs) {
                let output = output
                    .f_to_device(Device::Cpu)?
                    .f_to_kind(Kind::Float)?
                    .f_contiguous()?
                    .f_flatten(0, -1)?;
                table.extend(Vec::<f32>::try_from(output)?);
            }
        }
        Ok(tables)
    })
}

/// Bilinear, corners not aligned, not antialiased: [n, 3, H, W] to [n, 3, side, side].
fn resize(images: &Tensor, side: i64) -> Result<Tensor> {
    Ok(images.f_upsample_bilinear2d([side, side], false, None, None)?)
}

/// Tables of a network that ends in a classifier: features, logits, logits without bias.
fn classified(
    tables: Vec<Vec<f32>>,
    (name, dim): (String, usize),
    logits: &str,
    classes: usize,
) -> Result<Extracted> {
    let mut tables = tables.into_iter();
    let features = Features::new(name, dim, tables.next().unwrap_or_default())?;
    let logits = match (tables.next(), tables.next()) {
        (Some(biased), Some(unbiased)) => Some(Logits {
            biased: Features::new(logits, classes, biased)?,
            unbiased: Features::new(format!("{logits}-unbiased"), classes, unbiased)?,
        }),
        _ => None,
    };
    Ok(Extracted { features, logits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_become_bytes_by_rounding() {
        let x =
            Tensor::from_slice(&[0.0f32, 0.4 / 255.0, 0.6 / 255.0, 1.0005]).reshape([1, 1, 2, 2]);
        let bytes = eight_bit(&x).unwrap();
        assert_eq!(bytes.size(), [1, 3, 2, 2]);
        let values = Vec::<u8>::try_from(bytes.contiguous().flatten(0, -1)).unwrap();
        assert_eq!(values, [0, 0, 1, 255].repeat(3));
        let bytes = x.to_kind(Kind::Uint8);
        assert_eq!(eight_bit(&bytes).unwrap().kind(), Kind::Uint8);
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        let text = |t: Tensor| eight_bit(&t).unwrap_err().to_string();
        let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, Device::Cpu));
        assert!(text(zeros(&[2, 2, 4, 4])).contains("[2, 2, 4, 4]"));
        assert!(text(zeros(&[3, 4, 4])).contains("[N, C, H, W]"));
        assert!(text(zeros(&[0, 3, 4, 4])).contains("[0, 3, 4, 4]"));
        assert!(text(zeros(&[1, 3, 2, 2]) - 1.0).contains("(x + 1)/2"));
        assert!(text(zeros(&[1, 3, 2, 2]) + f64::NAN).contains("NaN"));
        assert!(text(zeros(&[1, 3, 2, 2]).to_kind(Kind::Int64)).contains("Int64"));
    }
}
