//! What a network makes of images.

use super::hashes::hash_tensor;
use anyhow::Result;
use dualmd_metrics::{Extracted, Extractor};
use dualmd_torch::{Kind, Tensor};

/// [N, C, H, W] in [-1, 1] as [0, 1].
pub fn unit(x: &Tensor) -> Tensor {
    ((x + 1.0) / 2.0).clamp(0.0, 1.0)
}

/// Features of images, [N, C, H, W] in [-1, 1] or as uint8, at the size they have.
///
/// # Errors
/// What the extractor refuses.
pub fn extract(extractor: &dyn Extractor, x: &Tensor) -> Result<Extracted> {
    if x.kind() == Kind::Uint8 {
        return Ok(extractor.extract(x)?);
    }
    Ok(extractor.extract(&unit(x))?)
}

/// One vector for each of images [N, C, H, W] in [-1, 1], [N, D] f32. A single image will do.
///
/// # Errors
/// What the extractor refuses.
pub fn vectors(extractor: &dyn Extractor, images: &Tensor) -> Result<Tensor> {
    let n = images.size()[0];
    // A table of features has at least two rows.
    let twice = (n == 1).then(|| Tensor::cat(&[images, images], 0));
    let found = extract(extractor, twice.as_ref().unwrap_or(images))?.features;
    let flat: Vec<f32> = found.rows().flatten().copied().collect();
    let all = Tensor::from_slice(&flat).f_view([-1, found.dim() as i64])?;
    Ok(all.f_narrow(0, 0, n)?)
}

/// A hash of what a network makes of images, which tells its weights from others of the same kind.
pub fn hash_answer(extractor: &dyn Extractor, images: &Tensor) -> Result<String> {
    hash_tensor(&vectors(extractor, images)?)
}
