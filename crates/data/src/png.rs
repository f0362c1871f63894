//! Writing pictures.

use std::path::Path;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use crate::{Error, Picture, Result};

/// The bytes of a PNG file, grey or RGB.
///
/// # Errors
/// A picture whose pixels do not fit its size.
pub fn encode_png(picture: &Picture) -> Result<Vec<u8>> {
    let n = picture.width as usize * picture.height as usize * usize::from(picture.channels);
    if n == 0 || picture.pixels.len() != n || !matches!(picture.channels, 1 | 3) {
        return Err(Error::options(
            format!(
                "{} values are not {} x {} pixels",
                picture.pixels.len(),
                picture.width,
                picture.height
            ),
            "a picture has width x height x channels values",
        ));
    }
    let colour = if picture.channels == 1 {
        ExtendedColorType::L8
    } else {
        ExtendedColorType::Rgb8
    };
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Best, FilterType::Adaptive)
        .write_image(&picture.pixels, picture.width, picture.height, colour)
        .map_err(|e| {
            Error::options(
                format!("cannot encode a PNG: {e}"),
                "check the picture's size",
            )
        })?;
    Ok(bytes)
}

/// Writes a PNG file atomically.
///
/// # Errors
/// As [`encode_png`] and [`dualmd_files::write`].
pub fn save_png(path: &Path, picture: &Picture) -> Result<()> {
    Ok(dualmd_files::write(path, &encode_png(picture)?)?)
}

/// Pictures side by side, `columns` to a row, with `pad` white pixels between and around them. Cells have the size of
/// the largest picture; if one is in colour, the grid is.
#[must_use]
pub fn grid(pictures: &[Picture], columns: usize, pad: u32) -> Picture {
    let columns = columns.clamp(1, pictures.len().max(1));
    let rows = pictures.len().div_ceil(columns).max(1);
    let cell_width = pictures.iter().map(|p| p.width).max().unwrap_or(1);
    let cell_height = pictures.iter().map(|p| p.height).max().unwrap_or(1);
    let channels = pictures.iter().map(|p| p.channels).max().unwrap_or(1);
    let width = columns as u32 * (cell_width + pad) + pad;
    let height = rows as u32 * (cell_height + pad) + pad;
    let mut out = Picture::filled(width, height, channels, 255);
    let c = usize::from(channels);
    for (i, picture) in pictures.iter().enumerate() {
        let picture = picture.clone().with_channels(channels);
        let left = (pad + (i % columns) as u32 * (cell_width + pad)) as usize;
        let top = (pad + (i / columns) as u32 * (cell_height + pad)) as usize;
        let line = picture.width as usize * c;
        for (y, row) in picture.pixels.chunks_exact(line.max(1)).enumerate() {
            let start = ((top + y) * width as usize + left) * c;
            out.pixels[start..start + line].copy_from_slice(row);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LoadOptions;

    #[test]
    fn a_png_returns() {
        let folder = tempfile::tempdir().unwrap();
        for channels in [1, 3] {
            let mut picture = Picture::filled(5, 3, channels, 9);
            picture.pixels[4] = 200;
            let path = folder.path().join("a.png");
            save_png(&path, &picture).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(
                crate::decode::decode(&bytes, "a", &LoadOptions::default()).unwrap(),
                picture
            );
        }
        let error = save_png(
            &folder.path().join("no/a.png"),
            &Picture::filled(1, 1, 1, 0),
        )
        .unwrap_err();
        assert!(error.to_string().contains("a.png"), "{error}");
        assert!(
            encode_png(&Picture {
                width: 2,
                height: 2,
                channels: 1,
                pixels: vec![0]
            })
            .is_err()
        );
    }

    #[test]
    fn grids() {
        let got = grid(
            &[
                Picture::filled(1, 1, 1, 0),
                Picture::filled(1, 1, 3, 7),
                Picture::filled(1, 1, 1, 9),
            ],
            2,
            1,
        );
        assert_eq!((got.width, got.height, got.channels), (5, 5, 3));
        let grey: Vec<u8> = got.pixels.iter().step_by(3).copied().collect();
        let w = 255;
        assert_eq!(
            grey,
            [
                w, w, w, w, w, w, 0, w, 7, w, w, w, w, w, w, w, 9, w, w, w, w, w, w, w, w
            ]
        );
        assert_eq!(grid(&[], 4, 0), Picture::filled(1, 1, 1, 255));
    }
}
