//! Images whose lower half is hidden from the model, which is to restore it.

use crate::stages::features::unit;
use anyhow::{Result, bail};
use dualmd_torch::{Device, Kind, Tensor};

/// What is shown and hidden of images of one size: the first half of the rows is shown. (Many pictures are the same left and right, few
/// are above and below.)
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Hidden {
    /// Rows of an image that are shown.
    shown: i64,
    /// Rows of an image.
    rows: i64,
    /// Rows that are shown of what the network sees.
    seen: i64,
    /// Height and width of what the network sees.
    size: [i64; 2],
}

impl Hidden {
    /// Of images of `rows` rows, of which the network sees `size`, height and width: the images themselves, or latents.
    ///
    /// # Errors
    /// A size that has no halves.
    pub(super) fn half(rows: i64, size: [i64; 2]) -> Result<Self> {
        let [height, _] = size;
        let seen = height / 2;
        if seen < 1 || rows % height != 0 {
            bail!(
                "images of {rows} rows, of which the network sees {height}, cannot be divided into a half that is shown and one that is \
                 hidden: use --method generate"
            );
        }
        Ok(Self {
            shown: seen * (rows / height),
            rows,
            seen,
            size,
        })
    }

    /// Rows of an image that are shown, and all.
    pub(super) fn rows(&self) -> [usize; 2] {
        [self.shown, self.rows].map(|n| usize::try_from(n).unwrap_or(0))
    }

    /// Images [N, C, H, W] in [-1, 1] with grey in the place of what is hidden.
    pub(super) fn shown(&self, images: &Tensor) -> Result<Tensor> {
        let above = images.f_narrow(2, 0, self.shown)?;
        Ok(Tensor::f_cat(
            &[above, self.below(images)?.f_zeros_like()?],
            2,
        )?)
    }

    /// Where it is given what the network sees: bool, [1, 1, H, W].
    pub(super) fn given(&self, device: Device) -> Result<Tensor> {
        let [height, width] = self.size;
        let rows = Tensor::f_arange(height, (Kind::Int64, device))?.f_lt(self.seen)?;
        Ok(rows
            .f_view([1, 1, height, 1])?
            .f_expand([1, 1, height, width], false)?)
    }

    /// The hidden pixels of images [N, C, H, W] in [-1, 1]: [N, D], black is 0 and white is 1.
    pub(super) fn pixels(&self, images: &Tensor) -> Result<Tensor> {
        Ok(unit(&self.below(images)?).f_flatten(1, -1)?)
    }

    fn below(&self, images: &Tensor) -> Result<Tensor> {
        Ok(images.f_narrow(2, self.shown, self.rows - self.shown)?)
    }
}

/// Images that are to be restored.
pub(super) struct Restored {
    /// Which half is hidden.
    pub(super) hidden: Hidden,
    /// What is shown of each image, [N, C, H, W] in [-1, 1] with grey in the hidden half, on the CPU.
    pub(super) shown: Tensor,
}

impl Restored {
    /// How many.
    pub(super) fn count(&self) -> usize {
        usize::try_from(self.shown.size().first().copied().unwrap_or(0)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four rows of one pixel, worth 0 to 3 tenths.
    fn image() -> Tensor {
        Tensor::from_slice(&[0.0_f32, 0.1, 0.2, 0.3]).view([1, 1, 4, 1])
    }

    fn values(x: &Tensor) -> Vec<f32> {
        Vec::try_from(x.flatten(0, -1)).unwrap()
    }

    #[test]
    fn the_lower_half_is_hidden() {
        let hidden = Hidden::half(4, [4, 1]).unwrap();
        assert_eq!(hidden.rows(), [2, 4]);
        assert_eq!(
            values(&hidden.shown(&image()).unwrap()),
            [0.0, 0.1, 0.0, 0.0]
        );
        assert_eq!(values(&hidden.pixels(&image()).unwrap()), [0.6, 0.65]);
        let given = hidden.given(Device::Cpu).unwrap();
        assert_eq!(given.size(), [1, 1, 4, 1]);
        assert_eq!(values(&given.to_kind(Kind::Float)), [1.0, 1.0, 0.0, 0.0]);
        // Of three rows one is shown.
        assert_eq!(Hidden::half(3, [3, 3]).unwrap().rows(), [1, 3]);
    }

    /// An autoencoder makes one row of latents of two rows of pixels.
    #[test]
    fn latents_are_hidden_where_their_pixels_are() {
        let hidden = Hidden::half(6, [3, 3]).unwrap();
        assert_eq!(hidden.rows(), [2, 6]);
        let given = hidden.given(Device::Cpu).unwrap();
        assert_eq!(given.size(), [1, 1, 3, 3]);
        assert_eq!(values(&given.to_kind(Kind::Float)).iter().sum::<f32>(), 3.0);
        for (rows, height) in [(1, 1), (5, 2)] {
            let error = Hidden::half(rows, [height, height]).unwrap_err();
            assert!(error.to_string().contains("--method generate"), "{error}");
        }
    }
}
