//! Augmentation beyond the mirror of [`crate::TrainOptions`]: cutout (DeVries & Taylor 2017).
//!
//! An image that is never shown twice in the same form is harder to learn by heart. No guarantee follows from it.

use crate::{DefenseError, Result};
use dualmd_torch::{Device, Tensor};
use rand::Rng;

pub use dualmd_record::recipe::Cutout;

/// Refuses squares that do not fit images of `height` x `width`.
///
/// # Errors
/// A square that does not fit, or a probability outside [0, 1].
pub fn check(cutout: &Cutout, height: usize, width: usize) -> Result<()> {
    if cutout.side == 0 || cutout.side > height.min(width) {
        return Err(DefenseError::Setting(format!(
            "cutout.side = {}: must be 1 to {}, the images' smaller side",
            cutout.side,
            height.min(width)
        )));
    }
    if !(0.0..=1.0).contains(&cutout.probability) {
        return Err(DefenseError::Setting(format!(
            "cutout.probability = {}: must be between 0 and 1",
            cutout.probability
        )));
    }
    Ok(())
}

/// 1 where an image stays and 0 where it is cut: [n, 1, H, W] f32.
pub(crate) fn mask(
    cutout: &Cutout,
    rng: &mut impl Rng,
    n: usize,
    (height, width): (usize, usize),
    device: Device,
) -> Tensor {
    let mut mask = vec![1f32; n * height * width];
    for image in mask.chunks_exact_mut(height * width) {
        // All three numbers are drawn whatever the coin says: an image's place does not depend on the others' coins.
        let cut = rng.random_bool(cutout.probability);
        let top = rng.random_range(0..=height - cutout.side);
        let left = rng.random_range(0..=width - cutout.side);
        if cut {
            for row in image.chunks_exact_mut(width).skip(top).take(cutout.side) {
                row[left..left + cutout.side].fill(0.0);
            }
        }
    }
    Tensor::from_slice(&mask)
        .view([n as i64, 1, height as i64, width as i64])
        .to_device(device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_data::stream;

    #[test]
    fn one_square_of_the_right_size_anywhere_inside() {
        let cutout = Cutout {
            side: 3,
            probability: 0.5,
        };
        let n = 400;
        let mask = mask(&cutout, &mut stream(1, "cutout", 0), n, (6, 8), Device::Cpu);
        let values: Vec<f32> = Vec::try_from(mask.view([-1])).unwrap();
        let (mut cut, mut places) = (0i32, std::collections::BTreeSet::new());
        for image in values.chunks_exact(48) {
            let holes: Vec<usize> = (0..48).filter(|&i| image[i] == 0.0).collect();
            let Some(&first) = holes.first() else {
                continue;
            };
            cut += 1;
            let (top, left) = (first / 8, first % 8);
            let square: Vec<usize> = (top..top + 3)
                .flat_map(|y| (left..left + 3).map(move |x| y * 8 + x))
                .collect();
            assert_eq!(holes, square);
            places.insert((top, left));
        }
        // 400 fair coins: 200, standard deviation 10. 4 x 6 places.
        assert!((cut - 200).abs() < 50, "{cut}");
        assert_eq!(places.len(), 24, "every place");
    }

    #[test]
    fn squares_that_do_not_fit_are_refused() {
        let fits = |side, probability| check(&Cutout { side, probability }, 6, 8).is_ok();
        assert!(fits(6, 1.0) && fits(1, 0.0));
        assert!(!fits(7, 0.5) && !fits(0, 0.5) && !fits(3, 1.5) && !fits(3, f64::NAN));
    }
}
