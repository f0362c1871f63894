//! The pixels themselves: for tests, and for tiny images of one kind.

use dualmd_torch::Device;
use dualmd_torch::tch::Tensor;

use super::{Extracted, Extractor, Places, in_batches, places_of};
use crate::error::{MetricsError, Result};
use crate::features::Features;

/// Pixels as features, 0 to 1, channel by channel in rows; grey is repeated, so D = 3 H W. Distances of pixels know
/// nothing of shapes: a shift by one pixel is far, a blurred mean picture near.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pixels {
    /// H.
    pub height: usize,
    /// W.
    pub width: usize,
}

impl Extractor for Pixels {
    fn name(&self) -> String {
        format!("pixels-{}x{}", self.height, self.width)
    }

    fn dim(&self) -> usize {
        3 * self.height * self.width
    }

    fn extract(&self, images: &Tensor) -> Result<Extracted> {
        self.check(images)?;
        let tables = in_batches(images, Device::Cpu, |x| Ok(vec![x.f_div_scalar(255.0)?]))?;
        let values = tables.into_iter().next().unwrap_or_default();
        Ok(Extracted {
            features: Features::new(Extractor::name(self), self.dim(), values)?,
            logits: None,
        })
    }

    fn places(&self) -> Option<&dyn Places> {
        Some(self)
    }

    fn is_worth_keeping(&self) -> bool {
        false
    }
}

/// Every pixel is a place with three channels.
impl Places for Pixels {
    fn name(&self) -> String {
        format!("pixels-{}x{}x3", self.height, self.width)
    }

    fn features(&self, images: &Tensor) -> Result<Tensor> {
        self.check(images)?;
        places_of(images, Device::Cpu, |x| Ok(x.f_div_scalar(255.0)?))
    }
}

impl Pixels {
    /// Pictures of other sides are refused.
    fn check(&self, images: &Tensor) -> Result<()> {
        let shape = images.size();
        let sides = [self.height as i64, self.width as i64];
        if shape.len() == 4 && shape[2..] != sides {
            return Err(MetricsError::Images {
                reason: format!(
                    "they are {} x {} and not {} x {}; pixels compare between pictures of one size only",
                    shape[2], shape[3], self.height, self.width
                ),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_in_their_order() {
        let images = Tensor::from_slice(&[0u8, 51, 102, 255]).reshape([2, 1, 1, 2]);
        let pixels = Pixels {
            height: 1,
            width: 2,
        };
        let found = pixels.extract(&images).unwrap().features;
        let third = [0.0, 0.2].repeat(3);
        assert_eq!(found.rows().next().unwrap(), third);
        assert_eq!(found.rows().nth(1).unwrap(), [0.4, 1.0].repeat(3));
        assert_eq!((found.extractor(), found.dim()), ("pixels-1x2", 6));
        // Row by row, all colours of a place together.
        let places = pixels.places().unwrap();
        let values = places.features(&images).unwrap();
        assert_eq!(
            (places.name(), values.size()),
            ("pixels-1x2x3".into(), vec![2, 2, 3])
        );
        let values = Vec::<f32>::try_from(values.flatten(0, -1)).unwrap();
        let expected = [[0.0; 3], [0.2; 3], [0.4; 3], [1.0; 3]].concat();
        assert_eq!(values, expected);
        let wide = Tensor::zeros([2, 3, 1, 4], (dualmd_torch::Kind::Uint8, Device::Cpu));
        let error = pixels.extract(&wide).unwrap_err().to_string();
        assert!(error.contains("1 x 4"), "{error}");
    }
}
