//! What images are compared by.

use super::hidden::Hidden;
use crate::stages::features::vectors;
use anyhow::Result;
use dualmd_metrics::Extractor;
use dualmd_torch::Tensor;

/// Features of whole images, or the pixels of the half that was hidden.
pub(super) enum Compared {
    Whole(Box<dyn Extractor>),
    Below(Hidden),
}

impl Compared {
    /// Its name in the result.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Whole(extractor) => extractor.name(),
            Self::Below(hidden) => {
                let [shown, rows] = hidden.rows();
                format!("pixels-below-{shown}-of-{rows}")
            }
        }
    }

    /// Of images [N, C, H, W] in [-1, 1], on the CPU: [N, D].
    ///
    /// # Errors
    /// What the features' network refuses.
    pub(super) fn of(&self, images: &Tensor) -> Result<Tensor> {
        match self {
            Self::Whole(extractor) => vectors(extractor.as_ref(), images),
            Self::Below(hidden) => hidden.pixels(images),
        }
    }
}
