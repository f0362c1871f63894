//! In place of the network, where ONNX Runtime was not built in.

use std::convert::Infallible;
use std::path::Path;

use dualmd_torch::tch::Tensor;

use super::{SscdForm, WIDTH};
use crate::error::{MetricsError, Result};
use crate::extract::{Extracted, Extractor};

/// SSCD, which this program was built without: there is no value of this type.
#[derive(Debug)]
pub struct Sscd(Infallible);

impl Sscd {
    /// Whether this program was built with what it runs in.
    pub const BUILT_IN: bool = false;

    /// Refuses, with the feature that is missing.
    ///
    /// # Errors
    /// [`MetricsError::NotBuilt`], always.
    pub fn load(_: SscdForm, _: &Path, _: &Path) -> Result<Self> {
        Err(MetricsError::NotBuilt {
            what: "ONNX Runtime, which SSCD runs in",
            feature: "onnx",
        })
    }
}

impl Extractor for Sscd {
    fn name(&self) -> String {
        match self.0 {}
    }

    fn dim(&self) -> usize {
        WIDTH
    }

    fn extract(&self, _: &Tensor) -> Result<Extracted> {
        match self.0 {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_feature_is_named() {
        let error = Sscd::load(SscdForm::Full, Path::new("a"), Path::new("b")).unwrap_err();
        assert!(error.to_string().contains("feature `onnx`"), "{error}");
    }
}
