//! SSCD, a network made to find copies of an image, through ONNX Runtime.

#[cfg(not(feature = "onnx"))]
mod no_onnx;
#[cfg(feature = "onnx")]
mod onnx;

#[cfg(not(feature = "onnx"))]
pub use no_onnx::Sscd;
#[cfg(feature = "onnx")]
pub use onnx::Sscd;

/// Numbers per image.
const WIDTH: usize = 512;

/// Which of the two networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SscdForm {
    /// `sscd_disc_mixup`, a ResNet-50 in 8-bit integers, at 288 x 288.
    Full,
    /// A small student of it, at 224 x 224.
    Distilled,
}

impl SscdForm {
    /// Name of its features in files.
    #[must_use]
    pub const fn features(self) -> &'static str {
        match self {
            Self::Full => "sscd-512",
            Self::Distilled => "sscd-distilled-512",
        }
    }

    /// Name of its file in the folder that set-up leaves.
    #[must_use]
    pub const fn file(self) -> &'static str {
        match self {
            Self::Full => "sscd.onnx",
            Self::Distilled => "sscd_distilled.onnx",
        }
    }

    #[cfg(feature = "onnx")]
    const fn side(self) -> i64 {
        match self {
            Self::Full => 288,
            Self::Distilled => 224,
        }
    }
}
