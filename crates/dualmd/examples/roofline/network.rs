//! What a U-Net needs for one image, counted from the names and shapes of its weights, which are those of diffusers' `UNet2DModel`.

use serde::Serialize;
use std::collections::BTreeMap;

/// A convolution with a square kernel, padded so that stride 1 keeps the side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Convolution {
    /// Channels in.
    pub input: i64,
    /// Channels out.
    pub output: i64,
    /// Side of the kernel.
    pub kernel: i64,
    /// 1, or 2 where the side is halved.
    pub stride: i64,
    /// Side of what it gives.
    pub side: i64,
}

impl Convolution {
    /// Of one image.
    pub fn multiply_adds(&self) -> f64 {
        (self.input * self.output * self.kernel * self.kernel * self.side * self.side) as f64
    }
}

/// What one pass of a network is made of.
#[derive(Debug)]
pub struct Work {
    /// The convolutions, and how many there are of each shape.
    pub convolutions: BTreeMap<Convolution, usize>,
    /// Multiply-adds of fully connected layers, those of attention among them.
    pub products: f64,
    /// Multiply-adds of the products of queries, keys and values.
    pub attention: f64,
}

impl Work {
    /// `shapes`: those of all weights, by name; `levels`: how many sides the network works at, each half of the one before; `side`: of the images.
    ///
    /// # Errors
    /// A level that there is not.
    pub fn of(
        shapes: impl IntoIterator<Item = (String, Vec<i64>)>,
        levels: usize,
        side: i64,
    ) -> Result<Self, String> {
        let mut work = Self {
            convolutions: BTreeMap::new(),
            products: 0.0,
            attention: 0.0,
        };
        for (name, shape) in shapes {
            let level =
                level(&name, levels).ok_or_else(|| format!("{name}: there are {levels} levels"))?;
            let at = |level: usize| side >> level;
            match *shape.as_slice() {
                [output, input, kernel, _] => {
                    let (stride, side) = if name.contains(".downsamplers.") {
                        (2, at(level + 1))
                    } else if name.contains(".upsamplers.") {
                        // What it is given has the larger side already.
                        (1, at(level.saturating_sub(1)))
                    } else {
                        (1, at(level))
                    };
                    let convolution = Convolution {
                        input,
                        output,
                        kernel,
                        stride,
                        side,
                    };
                    *work.convolutions.entry(convolution).or_default() += 1;
                }
                [output, input] => {
                    // Attention looks at every pixel; the others look at the timestep.
                    let pixels = (at(level) * at(level)) as f64;
                    let rows = if name.contains(".attentions.") {
                        pixels
                    } else {
                        1.0
                    };
                    work.products += rows * (input * output) as f64;
                    if name.ends_with(".to_q.weight") {
                        work.attention += 2.0 * pixels * pixels * output as f64;
                    }
                }
                // Biases and what norms multiply by.
                _ => {}
            }
        }
        Ok(work)
    }

    /// Of all convolutions, for one image.
    pub fn in_convolutions(&self) -> f64 {
        let each =
            |(convolution, n): (&Convolution, &usize)| convolution.multiply_adds() * *n as f64;
        self.convolutions.iter().map(each).sum()
    }

    /// Of one pass, for one image.
    pub fn multiply_adds(&self) -> f64 {
        self.in_convolutions() + self.products + self.attention
    }
}

/// Where a weight lies: 0 at the images' side, one more for each halving.
fn level(name: &str, levels: usize) -> Option<usize> {
    let numbered = |kind: &str| -> Option<usize> {
        let rest = name.strip_prefix(kind)?;
        rest.split('.').next()?.parse().ok()
    };
    let last = levels.checked_sub(1)?;
    if let Some(down) = numbered("down_blocks.") {
        return (down <= last).then_some(down);
    }
    if let Some(up) = numbered("up_blocks.") {
        return last.checked_sub(up);
    }
    Some(if name.starts_with("mid_block.") {
        last
    } else {
        0
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CASES, work};

    #[test]
    fn a_small_network_is_counted_by_hand() {
        let shapes = [
            ("conv_in.weight", vec![4, 3, 3, 3]),
            ("conv_in.bias", vec![4]),
            ("time_embedding.linear_1.weight", vec![16, 4]),
            ("down_blocks.0.downsamplers.0.conv.weight", vec![4, 4, 3, 3]),
            ("mid_block.attentions.0.to_q.weight", vec![8, 8]),
            ("up_blocks.0.upsamplers.0.conv.weight", vec![8, 8, 3, 3]),
            (
                "up_blocks.1.resnets.0.conv_shortcut.weight",
                vec![4, 12, 1, 1],
            ),
        ];
        let shapes = shapes.map(|(name, shape)| (name.to_owned(), shape));
        let work = Work::of(shapes, 2, 8).unwrap();
        // Sides 8 and 4: in at 8, down to 4, up to 8, shortcut at 8.
        let convolutions = (4 * 3 * 9 + 8 * 8 * 9 + 4 * 12) * 64 + 4 * 4 * 9 * 16;
        assert_eq!(work.in_convolutions(), f64::from(convolutions));
        assert_eq!(work.products, f64::from(16 * 4 + 16 * 8 * 8));
        assert_eq!(work.attention, f64::from(2 * 16 * 16 * 8));
        assert_eq!(work.convolutions.values().sum::<usize>(), 4);
        let beyond = (
            "up_blocks.2.resnets.0.conv1.weight".to_owned(),
            vec![1, 1, 3, 3],
        );
        assert!(Work::of([beyond], 2, 8).is_err());
    }

    /// Fang et al. 2023 (Structural Pruning for Diffusion Models, table 1) give 6.1 billion multiply-adds for an image of 32 x 32 by the
    /// network of Ho et al. 2020; their counter leaves out the products of queries, keys and values.
    #[test]
    fn the_network_of_the_paper_needs_what_is_said_of_it() {
        let work = work(CASES[2]).unwrap();
        let billions = (work.in_convolutions() + work.products) / 1e9;
        assert!((6.05..6.15).contains(&billions), "{billions}");
        assert!(work.multiply_adds() > 6.2e9);
    }
}
