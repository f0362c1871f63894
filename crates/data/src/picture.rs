//! Pixels in memory.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x3};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The content id of a picture: the first 32 hexadecimal digits of a BLAKE3 hash over width, height, channels and
/// pixels as decoded, before any resizing. The same picture has the same id in every file format that keeps its pixels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SampleId(String);

impl SampleId {
    /// The id's 32 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number that an id is in hexadecimal digits, sixteen bytes in place of a text; numbers have the order of their ids. None for a
    /// text that is no id: not 32 lower-case hexadecimal digits. Ids become file names, so that files are checked for it.
    #[must_use]
    pub fn number(id: &str) -> Option<u128> {
        let digit = |b| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if id.len() != 32 || !id.bytes().all(digit) {
            return None;
        }
        u128::from_str_radix(id, 16).ok()
    }
}

impl std::fmt::Display for SampleId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for SampleId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&str> for SampleId {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// The antialiased filter used to change a picture's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// Triangle filter widened by the scale, as in Pillow and torchvision's `Resize` on PIL images.
    #[default]
    Bilinear,
    /// Three-lobed Lanczos, sharper.
    Lanczos3,
}

/// An 8-bit picture, grey (1 channel) or RGB (3 channels).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// 1 or 3.
    pub channels: u8,
    /// `height * width * channels` values, row by row, channels last.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// A picture of one colour.
    #[must_use]
    pub fn filled(width: u32, height: u32, channels: u8, value: u8) -> Self {
        let n = width as usize * height as usize * usize::from(channels);
        Self {
            width,
            height,
            channels,
            pixels: vec![value; n],
        }
    }

    /// From one `[C, H, W]` block of floats in [-1, 1] (1 or 3 channels); values outside are clipped.
    ///
    /// # Errors
    /// A block that is not `channels * height * width` long, or another number of channels.
    pub fn from_f32(block: &[f32], channels: u8, height: u32, width: u32) -> Result<Self> {
        let plane = height as usize * width as usize;
        if !matches!(channels, 1 | 3) || block.len() != plane * usize::from(channels) {
            return Err(Error::options(
                format!(
                    "{} floats are not a picture of {channels} x {height} x {width}",
                    block.len()
                ),
                "pictures have 1 or 3 channels; give one sample at a time",
            ));
        }
        let mut pixels = Vec::with_capacity(block.len());
        for i in 0..plane {
            for c in 0..usize::from(channels) {
                // `as` saturates, and sends NaN to 0.
                pixels.push(((block[c * plane + i] + 1.0) * 127.5).round() as u8);
            }
        }
        Ok(Self {
            width,
            height,
            channels,
            pixels,
        })
    }

    /// Adds the values to `out`, one channel after the other, in [-1, 1]: `x / 127.5 - 1`.
    pub fn extend_f32(&self, out: &mut Vec<f32>) {
        let channels = usize::from(self.channels);
        for channel in 0..channels {
            let values = self.pixels.iter().skip(channel).step_by(channels);
            out.extend(values.map(|&v| f32::from(v) / 127.5 - 1.0));
        }
    }

    /// The content id; see [`SampleId`].
    #[must_use]
    pub fn id(&self) -> SampleId {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.width.to_le_bytes());
        hasher.update(&self.height.to_le_bytes());
        hasher.update(&[self.channels]);
        hasher.update(&self.pixels);
        SampleId(hasher.finalize().to_hex()[..32].to_owned())
    }

    /// The picture with 1 or 3 channels. Colour becomes grey by the luma of ITU-R BT.601 in 16-bit fixed point,
    /// as in Pillow's mode `L`; grey becomes colour by repetition.
    #[must_use]
    pub fn with_channels(self, channels: u8) -> Self {
        let pixels = match (self.channels, channels) {
            (3, 1) => self
                .pixels
                .chunks_exact(3)
                .map(|p| luma(p[0], p[1], p[2]))
                .collect(),
            (1, 3) => self.pixels.iter().flat_map(|&v| [v, v, v]).collect(),
            _ => return self,
        };
        Self {
            channels,
            pixels,
            ..self
        }
    }

    /// The picture as a square of `size` pixels: the shorter side is resized to `size` (the longer one to the whole
    /// number below its share), and the middle is cut out, both by the same rules as torchvision's `Resize(size)` and
    /// `CenterCrop(size)`.
    ///
    /// # Errors
    /// An empty picture, a size of 0, or a picture so elongated that the resized strip would pass `max_pixels`.
    pub fn to_square(&self, size: u32, filter: Filter, max_pixels: u64) -> Result<Self> {
        let short = u64::from(self.width.min(self.height));
        if short == 0 || size == 0 {
            return Err(Error::options(
                "a picture or an image size of 0 pixels",
                "sizes start at 1",
            ));
        }
        let long = u64::from(size) * u64::from(self.width.max(self.height)) / short;
        if long * u64::from(size) > max_pixels {
            return Err(Error::options(
                format!(
                    "{} x {} pixels are too elongated to crop",
                    self.width, self.height
                ),
                "cut the picture to the part that matters",
            ));
        }
        let long = long as u32;
        let (width, height) = if self.width < self.height {
            (size, long)
        } else {
            (long, size)
        };
        Ok(self.resize(width, height, filter)?.centre_crop(size))
    }

    /// The picture stretched to `width` x `height` with an antialiased filter.
    ///
    /// # Errors
    /// An empty picture, or one with other than 1 or 3 channels.
    pub fn resize(&self, width: u32, height: u32, filter: Filter) -> Result<Self> {
        if (width, height) == (self.width, self.height) {
            return Ok(self.clone());
        }
        let mut pixels = vec![0; width as usize * height as usize * usize::from(self.channels)];
        let from = (self.width, self.height, self.pixels.as_slice());
        let to = (width, height, pixels.as_mut_slice());
        let resized = if self.channels == 1 {
            convolve::<U8>(from, to, filter)
        } else {
            convolve::<U8x3>(from, to, filter)
        };
        resized.map_err(|e| {
            Error::options(
                format!("cannot resize {} x {} pixels: {e}", self.width, self.height),
                "check the picture",
            )
        })?;
        Ok(Self {
            width,
            height,
            channels: self.channels,
            pixels,
        })
    }

    /// The middle `size` x `size` pixels; the picture must be at least that large.
    fn centre_crop(self, size: u32) -> Self {
        if (self.width, self.height) == (size, size) {
            return self;
        }
        let (left, top) = (margin(self.width - size), margin(self.height - size));
        self.cut(left, top, size, size)
    }

    /// The `width` x `height` pixels from column `left` and row `top` on, which must lie inside.
    pub(crate) fn cut(&self, left: u32, top: u32, width: u32, height: u32) -> Self {
        let c = usize::from(self.channels);
        let mut pixels = Vec::with_capacity(width as usize * height as usize * c);
        for y in top..top + height {
            let start = (y as usize * self.width as usize + left as usize) * c;
            pixels.extend_from_slice(&self.pixels[start..start + width as usize * c]);
        }
        Self {
            width,
            height,
            channels: self.channels,
            pixels,
        }
    }

    /// Root mean squared difference per value on [0, 1]; None when the shapes differ.
    #[must_use]
    pub fn rmse(&self, other: &Self) -> Option<f64> {
        let same =
            (self.width, self.height, self.channels) == (other.width, other.height, other.channels);
        (same && !self.pixels.is_empty()).then(|| {
            let sum: u64 = self
                .pixels
                .iter()
                .zip(&other.pixels)
                .map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2))
                .sum();
            (sum as f64 / self.pixels.len() as f64).sqrt() / 255.0
        })
    }
}

/// What a centre crop leaves out before the middle, of `rest` pixels too many: half of them, and of an odd number the half
/// that is even, as torchvision's `int(round(rest / 2.0))` rounds.
fn margin(rest: u32) -> u32 {
    let half = rest / 2;
    half + (rest % 2) * (half % 2)
}

fn luma(r: u8, g: u8, b: u8) -> u8 {
    ((u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471 + 0x8000) >> 16) as u8
}

/// Resizes the first picture (width, height, bytes) into the second. The pixel type is known when this is compiled: the library's call that
/// looks it up compiles its code for fourteen others, which was two thirds of this crate.
fn convolve<P: PixelTrait>(
    from: (u32, u32, &[u8]),
    to: (u32, u32, &mut [u8]),
    filter: Filter,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let from = TypedImageRef::<P>::from_buffer(from.0, from.1, from.2)?;
    let mut to = TypedImage::<P>::from_buffer(to.0, to.1, to.2)?;
    let filter = match filter {
        Filter::Bilinear => FilterType::Bilinear,
        Filter::Lanczos3 => FilterType::Lanczos3,
    };
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(filter))
        .use_alpha(false);
    Ok(Resizer::new().resize_typed(&from, &mut to, &options)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(width: u32, height: u32, channels: u8) -> Picture {
        let n = width * height * u32::from(channels);
        Picture {
            width,
            height,
            channels,
            pixels: (0..n).map(|i| (i * 7 % 256) as u8).collect(),
        }
    }

    #[test]
    fn numbers_of_ids() {
        let id = "05fae21589ce4ffbc9c6be81815cb8bc";
        let number = SampleId::number(id).unwrap();
        assert_eq!(format!("{number:032x}"), id);
        let larger = SampleId::number("05fae21589ce4ffbc9c6be81815cb8c0").unwrap();
        assert!(number < larger);
        let upper = id.to_uppercase();
        for other in [
            "",
            "5",
            &id[1..],
            &upper,
            "+5fae21589ce4ffbc9c6be81815cb8bc",
        ] {
            assert_eq!(SampleId::number(other), None, "{other}");
        }
    }

    #[test]
    fn ids_are_stable() {
        // Golden: a change here makes every split file ever written useless.
        assert_eq!(
            ramp(3, 2, 1).id().as_str(),
            "05fae21589ce4ffbc9c6be81815cb8bc"
        );
        assert_eq!(
            ramp(3, 2, 3).id().as_str(),
            "4f36a8378cdd16a37858d98942c161f6"
        );
        assert_ne!(ramp(3, 2, 1).id(), ramp(2, 3, 1).id());
    }

    #[test]
    fn bilinear_is_antialiased() {
        // Halving a one-pixel checkerboard must give its mean, not one of its colours.
        let board = Picture {
            width: 8,
            height: 8,
            channels: 1,
            pixels: (0..64).map(|i| ((i + i / 8) % 2 * 255) as u8).collect(),
        };
        let half = board.to_square(4, Filter::Bilinear, u64::MAX).unwrap();
        assert!(
            half.pixels.iter().all(|&v| v.abs_diff(128) <= 16),
            "{:?}",
            half.pixels
        );
    }

    #[test]
    fn the_middle_of_a_wide_picture_is_kept() {
        let mut wide = Picture::filled(12, 4, 1, 0);
        for y in 0..4 {
            for x in 4..8 {
                wide.pixels[y * 12 + x] = 200;
            }
        }
        assert_eq!(
            wide.to_square(4, Filter::Bilinear, u64::MAX).unwrap(),
            Picture::filled(4, 4, 1, 200)
        );
        assert!(
            Picture::filled(1000, 1, 1, 0)
                .to_square(32, Filter::Bilinear, 1_000_000)
                .is_err()
        );
    }

    #[test]
    fn the_middle_is_where_torchvision_finds_it() {
        // `int(round((side - 32) / 2.0))` for sides 32 to 48, by Python.
        let python = [0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 5, 6, 6, 6, 7, 8, 8];
        for (rest, &first) in python.iter().enumerate() {
            let side = 32 + rest as u32;
            // The value of a pixel is its position along the longer side: the first one kept is the margin.
            let wide = Picture {
                width: side,
                height: 32,
                channels: 1,
                pixels: (0..32).flat_map(|_| 0..side as u8).collect(),
            };
            let tall = Picture {
                width: 32,
                height: side,
                channels: 1,
                pixels: (0..side as u8).flat_map(|y| [y; 32]).collect(),
            };
            for picture in [wide, tall] {
                let square = picture.to_square(32, Filter::Bilinear, u64::MAX).unwrap();
                assert_eq!(square.pixels[0], first, "{side}");
                assert_eq!(*square.pixels.last().unwrap(), first + 31, "{side}");
            }
        }
    }

    #[test]
    fn the_longer_side_is_truncated_as_torchvision_does() {
        // `int(size * long / short)` in Python, then the margin: (width, height, size, longer side, margin).
        for (width, height, size, long, first) in [
            (70, 64, 32, 35, 2),
            (64, 70, 32, 35, 2),
            (101, 67, 32, 48, 8),
            (67, 101, 64, 96, 16),
            (500, 375, 28, 37, 4),
            (7, 5, 32, 44, 6),
        ] {
            let short = width.min(height);
            assert_eq!(size * width.max(height) / short, long);
            assert_eq!(margin(long - size), first);
            let square = ramp(width, height, 3).to_square(size, Filter::Bilinear, u64::MAX);
            let resized = if width < height {
                ramp(width, height, 3).resize(size, long, Filter::Bilinear)
            } else {
                ramp(width, height, 3).resize(long, size, Filter::Bilinear)
            };
            let (left, top) = if width < height {
                (0, first)
            } else {
                (first, 0)
            };
            assert_eq!(square.unwrap(), resized.unwrap().cut(left, top, size, size));
        }
    }

    #[test]
    fn grey_and_colour() {
        let red = Picture {
            width: 1,
            height: 1,
            channels: 3,
            pixels: vec![255, 0, 0],
        };
        assert_eq!(red.clone().with_channels(1).pixels, [76]);
        assert_eq!(red.clone().with_channels(3), red);
        assert_eq!(
            Picture::filled(1, 1, 1, 9).with_channels(3).pixels,
            [9, 9, 9]
        );
    }

    #[test]
    fn floats_return() {
        let p = Picture::from_f32(&[-1.0, 1.0, 0.0, 2.0, -7.0, f32::NAN], 3, 1, 2).unwrap();
        assert_eq!(p.pixels, [0, 128, 0, 255, 255, 0]);
        assert!(Picture::from_f32(&[0.0], 3, 1, 1).is_err());
    }

    #[test]
    fn rmse_on_unit_scale() {
        let (a, b) = (Picture::filled(2, 2, 1, 0), Picture::filled(2, 2, 1, 51));
        assert!((a.rmse(&b).unwrap() - 0.2).abs() < 1e-12);
        assert!(a.rmse(&Picture::filled(2, 1, 1, 0)).is_none());
    }
}
