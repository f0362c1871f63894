//! Encoded pictures (PNG, JPEG, WebP, BMP, GIF) to [`Picture`]s.

use std::io::{Cursor, Read};

use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use serde::{Deserialize, Serialize};

use crate::{Error, FileFacts, LoadOptions, Picture, Result, entropy};

/// Endings of the files this module reads; what they hold is found out from their content.
pub(crate) const READABLE: [&str; 14] = [
    "png", "jpg", "jpeg", "webp", "bmp", "gif", "jpe", "jfif", "jfi", "jif", "pjpeg", "pjp", "mpo",
    "apng",
];
/// Endings of pictures it does not read, of cameras' raw files too; finding one is an error, since to skip it would change
/// the set in silence.
pub(crate) const UNREADABLE: [&str; 73] = [
    "tif", "tiff", "heic", "heics", "heif", "heifs", "hif", "avif", "avifs", "jxl", "jp2", "j2k",
    "j2c", "jpc", "jpx", "jpf", "jph", "jxr", "wdp", "hdp", "ppm", "pgm", "pbm", "pnm", "pam",
    "pfm", "svg", "svgz", "tga", "icb", "vda", "vst", "dib", "ico", "icns", "cur", "psd", "psb",
    "xcf", "exr", "hdr", "dds", "qoi", "pcx", "dcx", "sgi", "rgb", "rgba", "bw", "ras", "xbm",
    "xpm", "wbmp", "fits", "fit", "dcm", "nii", "flif", "ff", "emf", "wmf", "eps", "dng", "cr2",
    "cr3", "nef", "nrw", "arw", "orf", "rw2", "raf", "pef", "srw",
];

/// What becomes of transparency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Alpha {
    /// The picture is laid over white, as it is seen on a page.
    #[default]
    White,
    /// Transparency is dropped and the colours under it show, as by Pillow's `convert("RGB")`, which most training scripts
    /// call.
    Drop,
}

impl Alpha {
    /// One value, of transparency `alpha` (0: none of it is seen, 255: all).
    pub(crate) fn value(self, value: u8, alpha: u8) -> u8 {
        match self {
            Self::White => over_white(value, alpha),
            Self::Drop => value,
        }
    }
}

/// A picture as it was in a file.
pub(crate) struct Decoded {
    pub picture: Picture,
    pub facts: FileFacts,
    /// Whether it is another picture with another [`Alpha`].
    pub transparent: bool,
}

/// Decodes one picture. `place` is what messages call it.
///
/// Transparency becomes what `options.alpha` says, 16-bit values are reduced to 8, the orientation noted in EXIF is applied,
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
    decode_whole(bytes, place, options).map(|d| (d.picture, d.facts))
}

pub(crate) fn decode_whole(
    bytes: &[u8],
    place: &str,
    options: &LoadOptions<'_>,
) -> Result<Decoded> {
    check_size(bytes.len() as u64, place, options)?;
    let broken = |reason: String| Error::Picture {
        place: place.to_owned(),
        reason,
    };
    let failed = |e: image::ImageError| broken(e.to_string());
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|e| broken(e.to_string()))?;
    let format = reader.format();
    // The decoder's own buffers, at the widest pixel (4 x 16 bit) and twice over, and what is no picture.
    let mut most = options.max_pixels;
    if let Some((width, height)) = png_size(bytes) {
        // The PNG decoder unpacks metadata before it can be asked for the size.
        check_pixels(width, height, place, options)?;
        check_profile(bytes, place, options)?;
        most = u64::from(width) * u64::from(height);
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(
        most.saturating_mul(16)
            .saturating_add(options.max_metadata_bytes)
            .saturating_add(1 << 20),
    );
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    check_pixels(width, height, place, options)?;
    if format == Some(ImageFormat::Jpeg) && entropy::is_cut_short(bytes) {
        return Err(broken(
            "the file is cut short: a part of the picture is missing".into(),
        ));
    }
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
    let alpha = options.alpha;
    let (pixels, transparent) = if grey {
        let values = image.into_luma_alpha8().into_raw();
        (flatten::<2>(&values, alpha), shows::<2>(&values))
    } else {
        let values = image.into_rgba8().into_raw();
        (flatten::<4>(&values, alpha), shows::<4>(&values))
    };
    Ok(Decoded {
        picture: Picture {
            width,
            height,
            channels: if grey { 1 } else { 3 },
            pixels,
        },
        facts,
        transparent,
    })
}

/// The colours of pixels of `N` values, the last being their transparency.
pub(crate) fn flatten<const N: usize>(values: &[u8], alpha: Alpha) -> Vec<u8> {
    let (pixels, _) = values.as_chunks::<N>();
    let colours = pixels.iter().flat_map(|p| {
        let (colour, a) = (&p[..N - 1], p[N - 1]);
        colour.iter().map(move |&v| alpha.value(v, a))
    });
    colours.collect()
}

/// Whether some pixel is another one with another [`Alpha`].
pub(crate) fn shows<const N: usize>(values: &[u8]) -> bool {
    let (pixels, _) = values.as_chunks::<N>();
    pixels.iter().any(|p| {
        let (colour, a) = (&p[..N - 1], p[N - 1]);
        a < 255 && colour.iter().any(|&v| over_white(v, a) != v)
    })
}

fn over_white(value: u8, alpha: u8) -> u8 {
    let (v, a) = (u32::from(value), u32::from(alpha));
    ((v * a + 255 * (255 - a) + 127) / 255) as u8
}

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Width and height from the header of a PNG; None for other files.
fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let header = bytes.strip_prefix(PNG)?.get(4..16)?.strip_prefix(b"IHDR")?;
    let (width, height) = header.split_at_checked(4)?;
    Some((
        u32::from_be_bytes(width.try_into().ok()?),
        u32::from_be_bytes(height.try_into().ok()?),
    ))
}

/// Refuses a PNG whose colour profile unpacks to more than a profile has: the decoder would make room for it.
fn check_profile(bytes: &[u8], place: &str, options: &LoadOptions<'_>) -> Result<()> {
    let mut rest = bytes.get(PNG.len()..).unwrap_or_default();
    while let Some((head, body)) = rest.split_at_checked(8) {
        let (length, kind) = head.split_at(4);
        let length = length.iter().fold(0, |n, &b| n << 8 | usize::from(b));
        if kind == b"IDAT" {
            break;
        }
        let Some((chunk, after)) = body.split_at_checked(length) else {
            break;
        };
        if kind == b"iCCP" {
            // A name, a zero, the method (zlib is the only one), the profile.
            let packed = chunk
                .iter()
                .position(|&b| b == 0)
                .and_then(|i| chunk.get(i + 2..));
            let limit = options.max_metadata_bytes;
            let profile = flate2::read::ZlibDecoder::new(packed.unwrap_or_default());
            // A profile that does not unpack is left to the decoder.
            let unpacked = std::io::copy(&mut profile.take(limit + 1), &mut std::io::sink());
            if unpacked.is_ok_and(|n| n > limit) {
                return Err(Error::TooLarge {
                    place: place.to_owned(),
                    found: "a colour profile that is larger when unpacked".into(),
                    limit: format!("{limit} bytes"),
                    key: "max_metadata_bytes",
                });
            }
        }
        rest = after.get(4..).unwrap_or_default();
    }
    Ok(())
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
    fn transparency_can_be_dropped() {
        let drop = LoadOptions {
            alpha: Alpha::Drop,
            ..LoadOptions::default()
        };
        // As Pillow's convert("RGB") and convert("L") of these pixels.
        let clear = encoded(
            image::RgbaImage::from_pixel(1, 1, Rgba([10, 20, 30, 0])),
            ImageFormat::Png,
        );
        let grey = encoded(
            image::GrayAlphaImage::from_pixel(1, 1, image::LumaA([40, 128])),
            ImageFormat::Png,
        );
        assert_eq!(decode(&clear, "x", &drop).unwrap().pixels, [10, 20, 30]);
        assert_eq!(decode(&grey, "x", &drop).unwrap().pixels, [40]);
        for (pixel, differs) in [
            ([10, 20, 30, 0], true),
            ([10, 20, 30, 255], false),
            ([255, 255, 255, 0], false),
            ([255, 254, 255, 100], true),
        ] {
            let png = encoded(
                image::RgbaImage::from_pixel(1, 1, Rgba(pixel)),
                ImageFormat::Png,
            );
            for options in [&drop, &LoadOptions::default()] {
                assert_eq!(
                    decode_whole(&png, "x", options).unwrap().transparent,
                    differs,
                    "{pixel:?}"
                );
            }
        }
    }

    /// A picture whose every part matters to the file: of no format two prefixes that decode give the same pixels by chance.
    fn busy() -> image::RgbImage {
        image::RgbImage::from_fn(48, 40, |x, y| {
            let noise = (x * 7919 + y * 104_729) ^ (x * y * 31);
            Rgb([noise as u8, (noise >> 3) as u8, (x * 5) as u8])
        })
    }

    /// Pictures by Pillow (interop/make_pictures_golden.py), of forms that Rust's encoders do not write.
    fn golden(name: &str) -> Vec<u8> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/pictures");
        std::fs::read(std::path::Path::new(folder).join(name)).unwrap()
    }

    /// Every beginning of a file must be refused or give the whole picture. Returns the lengths that are accepted.
    fn accepted(bytes: &[u8], name: &str) -> Vec<usize> {
        let options = LoadOptions::default();
        let whole = decode(bytes, name, &options).unwrap();
        let lengths = 0..bytes.len();
        let taken = lengths.filter(|&n| match decode(&bytes[..n], name, &options) {
            Ok(part) => {
                assert!(part == whole, "{name} cut at {n} of {}", bytes.len());
                true
            }
            Err(e) => {
                assert!(e.to_string().contains(name), "{e}");
                false
            }
        });
        taken.collect()
    }

    #[test]
    fn what_is_cut_short_is_refused_or_whole() {
        for format in [
            ImageFormat::Png,
            ImageFormat::WebP,
            ImageFormat::Bmp,
            ImageFormat::Jpeg,
            ImageFormat::Gif,
        ] {
            let bytes = encoded(busy(), format);
            // What may be missing: end markers and checksums.
            let taken = accepted(&bytes, &format!("{format:?}"));
            assert!(taken.len() <= 20, "{format:?}: {taken:?}");
        }
        for name in [
            "progressive.jpg",
            "grey-progressive.jpg",
            "restarts.jpg",
            "subsampled.jpg",
            "lossy.webp",
            "alpha.webp",
            "interlaced.gif",
        ] {
            let taken = accepted(&golden(name), name);
            assert!(taken.len() <= 4, "{name}: {taken:?}");
        }
    }

    #[test]
    fn of_a_jpeg_only_the_end_marker_may_be_missing() {
        for name in [
            "progressive.jpg",
            "grey-progressive.jpg",
            "restarts.jpg",
            "subsampled.jpg",
        ] {
            let bytes = golden(name);
            let n = bytes.len();
            assert_eq!(accepted(&bytes, name), [n - 2, n - 1], "{name}");
            // An end marker after a part of the data makes it no better.
            let options = LoadOptions::default();
            let whole = decode(&bytes, name, &options).unwrap();
            for part in [75, 50] {
                let mended = [&bytes[..n * part / 100], &[0xff, 0xd9]].concat();
                match decode(&mended, name, &options) {
                    Ok(picture) => assert!(name.contains("progressive") && picture != whole),
                    // Half of so small a file is its header.
                    Err(e) => assert!(part == 50 || e.to_string().contains("cut short"), "{e}"),
                }
            }
            // Nor does anything behind the end matter.
            let longer = [&bytes[..], b"trailing"].concat();
            assert_eq!(decode(&longer, name, &options).unwrap(), whole);
        }
        for percent in [75, 50, 29] {
            let bytes = encoded(busy(), ImageFormat::Jpeg);
            let error = decode(
                &bytes[..bytes.len() * percent / 100],
                "x",
                &LoadOptions::default(),
            );
            assert!(error.is_err(), "{percent}");
        }
    }

    #[test]
    fn profiles_that_unpack_to_too_much_are_refused() {
        let with_profile = |size: usize| {
            let mut png = Vec::new();
            let mut encoder = image::codecs::png::PngEncoder::new(&mut png);
            image::ImageEncoder::set_icc_profile(&mut encoder, vec![0; size]).unwrap();
            busy().write_with_encoder(encoder).unwrap();
            png
        };
        let options = LoadOptions {
            max_metadata_bytes: 1 << 20,
            ..LoadOptions::default()
        };
        assert!(decode(&with_profile(1 << 20), "x", &options).is_ok());
        let bomb = with_profile((1 << 20) + 1);
        assert!(bomb.len() < 20_000);
        let error = decode(&bomb, "bomb.png", &options).unwrap_err().to_string();
        assert!(
            error.contains("bomb.png") && error.contains("max_metadata_bytes"),
            "{error}"
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
