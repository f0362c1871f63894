//! Between images and tokens: squares of pixels become tokens that know their place, and tokens become squares of pixels.

use crate::nn::{Builder, Conv};
use crate::{DitConfig, Result};
use dualmd_torch::device::bring;
use dualmd_torch::{Device, Tensor};

/// Squares of pixels to tokens.
#[derive(Debug)]
pub(super) struct Patches {
    projection: Conv,
}

impl Patches {
    /// Fresh weights are Xavier-uniform as those of the matrix between a square's numbers and the token's, which the DiT reference
    /// code asks for: of a convolution the outputs count once, and not once for each pixel of its kernel.
    pub(super) fn new(b: &Builder, config: &DitConfig) -> Result<Self> {
        let (channels, width, side) = (config.in_channels, config.width(), config.patch_size);
        let inputs = (channels * side * side) as f64;
        let outputs = width as f64;
        let gain = ((inputs + outputs * (side * side) as f64) / (inputs + outputs)).sqrt();
        let name = "pos_embed.proj";
        Ok(Self {
            projection: Conv::new(b, name, [channels, width], side, side, 0, gain)?,
        })
    }

    /// `x` [B, C, H, W] to [B, tokens, width], row by row; `places`: [`places`] of as many tokens.
    pub(super) fn forward(&self, x: &Tensor, places: &Tensor) -> Tensor {
        self.projection.forward(x).flatten(2, 3).transpose(1, 2) + places
    }
}

/// What tells tokens their places, [1, side side, width] f32: sine and cosine of the column in the first half, of the row in the other,
/// each at width / 4 frequencies from 1 down to 1 / 10,000 (diffusers' `get_2d_sincos_pos_embed`). `base`: tokens on a side at which
/// columns and rows count from 0 in steps of 1; where there are others, the same range is divided among them.
pub(super) fn places(side: i64, base: i64, width: i64, device: Device) -> Tensor {
    let quarter = width / 4;
    // In f32, as there.
    let step = (side as f64 / base as f64) as f32;
    let mut table = Vec::with_capacity((side * width / 2).max(0) as usize);
    for i in 0..side {
        let at = f64::from(i as f32 / step);
        let angle = |k: i64| at / 10_000f64.powf(k as f64 / quarter as f64);
        table.extend((0..quarter).map(|k| angle(k).sin() as f32));
        table.extend((0..quarter).map(|k| angle(k).cos() as f32));
    }
    let half = width / 2;
    let table = bring(&Tensor::from_slice(&table).view([side, half]), device);
    let size = [side, side, half];
    let columns = table.unsqueeze(0).expand(size, false);
    let rows = table.unsqueeze(1).expand(size, false);
    Tensor::cat(&[columns, rows], 2).view([1, side * side, width])
}

/// Tokens [B, side side, patch patch C] to an image [B, C, H, W].
pub(super) fn image(tokens: &Tensor, side: i64, patch: i64, channels: i64) -> Tensor {
    tokens
        .reshape([-1, side, side, patch, patch, channels])
        .permute([0, 5, 1, 3, 2, 4])
        .reshape([-1, channels, side * patch, side * patch])
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_torch::Kind;

    #[test]
    fn places_by_hand() {
        // Width 8: frequencies 1 and 1 / 100; the third token of a side of two is the first of the second row.
        let table = places(2, 2, 8, Device::Cpu);
        assert_eq!(table.size(), [1, 4, 8]);
        let of = |row: f64, column: f64| -> Vec<f64> {
            [column, row]
                .into_iter()
                .flat_map(|at| [at.sin(), (at / 100.0).sin(), at.cos(), (at / 100.0).cos()])
                .collect()
        };
        let near = |token: i64, table: &Tensor, want: &[f64]| {
            let got = Vec::<f64>::try_from(table.get(0).get(token).to_kind(Kind::Double)).unwrap();
            for (a, b) in got.iter().zip(want) {
                assert!((a - b).abs() < 1e-7, "token {token}: {got:?}, {want:?}");
            }
        };
        for (token, row, column) in [(0, 0.0, 0.0), (1, 0.0, 1.0), (2, 1.0, 0.0), (3, 1.0, 1.0)] {
            near(token, &table, &of(row, column));
        }
        // Four tokens on a side where the network was made for two: each counts half.
        let finer = places(4, 2, 8, Device::Cpu);
        near(4 + 3, &finer, &of(0.5, 1.5));
    }

    #[test]
    fn tokens_become_the_squares_that_they_came_from() {
        // An image of two channels, 4 by 4, whose numbers count; its squares of 2 by 2, row by row, channels last.
        let x = Tensor::arange(32i64, (Kind::Float, Device::Cpu)).view([1, 2, 4, 4]);
        let squares: Vec<Tensor> = (0..4)
            .map(|token| {
                let (row, column) = (2 * (token / 2), 2 * (token % 2));
                x.narrow(2, row, 2)
                    .narrow(3, column, 2)
                    .permute([0, 2, 3, 1])
                    .reshape([1, 1, 8])
            })
            .collect();
        let tokens = Tensor::cat(&squares, 1);
        assert_eq!(image(&tokens, 2, 2, 2), x);
    }
}
