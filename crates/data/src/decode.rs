//! Encoded pictures (PNG, JPEG, WebP, BMP, GIF) to [`Picture`]s.

use std::io::Cursor;

use image::{ColorType, DynamicImage, ImageDecoder, ImageReader, Limits};

use crate::{Error, FileFacts, LoadOptions, Picture, Result};

/// Endings of the files this module reads.
pub(crate) const READABLE: [&str; 6] = ["png", "jpg", "jpeg", "webp", "bmp", "gif"];
/// Endings of pictures it does not read; finding one is an error, since to skip it would change the set in silence.
pub(crate) const UNREADABLE: [&str; 8] =
    ["tif", "tiff", "heic", "avif", "jp2", "ppm", "pgm", "svg"];

/// Decodes one picture. `place` is what messages call it.
///
/// Transparency is composited over white, 16-bit values are reduced to 8, the orientation noted in EXIF is applied,
/// and of an animation the first frame is taken. A picture stored as grey stays one channel; everything else has three.
///
/// # Errors
/// Larger than the caps of `options` (read from the header, before anything is decoded), or not a sound picture.
pub fn decode(bytes: &[u8], place: &str, options: &LoadOptions<'_>) -> Result<Picture> {
    decode_file(bytes, place, options).map(|(picture, _)| picture)
}

/// As [`decode`], with what the encoded form was like.
///
/// # Errors
/// As [`decode`].
pub fn decode_file(
    bytes: &[u8],
    place: &str,
    options: &LoadOptions<'_>,
) -> Result<(Picture, FileFacts)> {
    check_size(bytes.len() as u64, place, options)?;
    let failed = |e: image::ImageError| Error::Picture {
        place: place.to_owned(),
        reason: e.to_string(),
    };
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|e| Error::Picture {
            place: place.to_owned(),
            reason: e.to_string(),
        })?;
    let mut limits = Limits::default();
    // The decoder's own buffers, at the widest pixel (4 x 16 bit) and twice over.
    limits.max_alloc = Some(
        options
            .max_pixels
            .saturating_mul(16)
            .saturating_add(1 << 20),
    );
    reader.limits(limits);
    let format = reader.format();
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    check_pixels(width, height, place, options)?;
    let grey = matches!(
        decoder.original_color_type(),
        image::ExtendedColorType::L1 | image::ExtendedColorType::L2 | image::ExtendedColorType::L4
    ) || matches!(
        decoder.color_type(),
        ColorType::L8 | ColorType::L16 | ColorType::La8 | ColorType::La16
    );
    let facts = FileFacts::new(bytes, format, &mut decoder);
    let orientation = decoder.orientation().map_err(failed)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(failed)?;
    image.apply_orientation(orientation);
    let (width, height) = (image.width(), image.height());
    let pixels = if grey {
        image
            .into_luma_alpha8()
            .into_raw()
            .chunks_exact(2)
            .map(|p| over_white(p[0], p[1]))
            .collect()
    } else {
        image
            .into_rgba8()
            .into_raw()
            .chunks_exact(4)
            .flat_map(|p| [0, 1, 2].map(|c| over_white(p[c], p[3])))
            .collect()
    };
    let picture = Picture {
        width,
        height,
        channels: if grey { 1 } else { 3 },
        pixels,
    };
    Ok((picture, facts))
}

pub(crate) fn over_white(value: u8, alpha: u8) -> u8 {
    let (v, a) = (u32::from(value), u32::from(alpha));
    ((v * a + 255 * (255 - a) + 127) / 255) as u8
}

pub(crate) fn check_size(bytes: u64, place: &str, options: &LoadOptions<'_>) -> Result<()> {
    if bytes > options.max_file_bytes {
        return Err(Error::TooLarge {
            place: place.to_owned(),
            found: format!("a picture file of {bytes} bytes"),
            limit: format!("{} bytes", options.max_file_bytes),
            key: "max_file_bytes",
        });
    }
    Ok(())
}

pub(crate) fn check_pixels(
    width: u32,
    height: u32,
    place: &str,
    options: &LoadOptions<'_>,
) -> Result<()> {
    if width == 0 || height == 0 {
        return Err(Error::Picture {
            place: place.to_owned(),
            reason: format!("{width} x {height} pixels"),
        });
    }
    if u64::from(width) * u64::from(height) > options.max_pixels {
        return Err(Error::TooLarge {
            place: place.to_owned(),
            found: format!("{width} x {height} pixels"),
            limit: format!("{} pixels", options.max_pixels),
            key: "max_pixels",
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageFormat, Luma, Rgb, Rgba};

    fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        image.into().write_to(&mut out, format).unwrap();
        out.into_inner()
    }

    #[test]
    fn every_format() {
        let source = image::RgbImage::from_fn(8, 6, |x, y| Rgb([x as u8 * 30, y as u8 * 40, 128]));
        for format in [
            ImageFormat::Png,
            ImageFormat::WebP,
            ImageFormat::Bmp,
            ImageFormat::Jpeg,
            ImageFormat::Gif,
        ] {
            let got = decode(
                &encoded(source.clone(), format),
                "x",
                &LoadOptions::default(),
            )
            .unwrap();
            assert_eq!(
                (got.width, got.height, got.channels),
                (8, 6, 3),
                "{format:?}"
            );
            if matches!(
                format,
                ImageFormat::Png | ImageFormat::WebP | ImageFormat::Bmp
            ) {
                assert_eq!(&got.pixels, source.as_raw());
            }
        }
    }

    #[test]
    fn grey_stays_grey_and_transparency_is_white() {
        let grey = encoded(
            image::GrayImage::from_pixel(2, 2, Luma([7])),
            ImageFormat::Png,
        );
        assert_eq!(
            decode(&grey, "x", &LoadOptions::default()).unwrap(),
            Picture::filled(2, 2, 1, 7)
        );
        let clear = encoded(
            image::RgbaImage::from_pixel(1, 1, Rgba([10, 20, 30, 0])),
            ImageFormat::Png,
        );
        assert_eq!(
            decode(&clear, "x", &LoadOptions::default()).unwrap().pixels,
            [255, 255, 255]
        );
        let half = encoded(
            image::RgbaImage::from_pixel(1, 1, Rgba([0, 100, 255, 51])),
            ImageFormat::Png,
        );
        assert_eq!(
            decode(&half, "x", &LoadOptions::default()).unwrap().pixels,
            [204, 224, 255]
        );
    }

    #[test]
    fn bombs_are_refused_from_the_header() {
        // A real PNG of 2 x 2 whose header is changed to claim 60,000 x 60,000 (with a right checksum).
        let mut png = encoded(image::GrayImage::new(2, 2), ImageFormat::Png);
        png[16..20].copy_from_slice(&60_000u32.to_be_bytes());
        png[20..24].copy_from_slice(&60_000u32.to_be_bytes());
        let mut crc = flate2::Crc::new();
        crc.update(&png[12..29]);
        png[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        let error = decode(&png, "bomb.png", &LoadOptions::default()).unwrap_err();
        assert!(
            matches!(
                &error,
                Error::TooLarge {
                    key: "max_pixels",
                    ..
                }
            ),
            "{error}"
        );
        assert!(error.to_string().contains("bomb.png"));
        let tiny = LoadOptions {
            max_file_bytes: 10,
            ..LoadOptions::default()
        };
        assert!(matches!(
            decode(&png, "x", &tiny),
            Err(Error::TooLarge {
                key: "max_file_bytes",
                ..
            })
        ));
    }

    #[test]
    fn broken_files_are_named() {
        let png = encoded(image::RgbImage::new(40, 40), ImageFormat::Png);
        for bytes in [&png[..png.len() / 2], b"not a picture", b""] {
            let error = decode(bytes, "a/b.png", &LoadOptions::default())
                .unwrap_err()
                .to_string();
            assert!(error.contains("a/b.png"), "{error}");
        }
    }
}
