//! What an encoded picture was like as a file: facts that survive no matter what the pixels look like, and by which two
//! sets may be told apart without looking at a single pixel.

use image::{ImageDecoder, ImageFormat};
use serde::{Deserialize, Serialize};

/// Facts about the encoded form of a picture, from its headers, before orientation and resizing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FileFacts {
    /// Size of the encoded picture in bytes.
    pub bytes: u64,
    /// Format by content, whatever the file's name says: `png`, `jpeg`, `webp`, `gif` or `bmp`.
    pub format: String,
    /// Width in pixels as stored.
    pub width: u32,
    /// Height in pixels as stored.
    pub height: u32,
    /// How a JPEG was compressed; None for other formats.
    #[serde(default)]
    pub jpeg: Option<JpegFacts>,
    /// Whether there is an EXIF block (in a PNG: before the pixels).
    #[serde(default)]
    pub exif: bool,
    /// Whether there is an ICC colour profile.
    #[serde(default)]
    pub icc: bool,
}

/// How a JPEG was compressed, from its quantisation tables and frame header (ITU-T T.81, B.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JpegFacts {
    /// The quality from 1 to 100 if the first table is one that libjpeg makes for luminance; None for the tables of
    /// cameras and of programs with tables of their own.
    pub quality: Option<u8>,
    /// The first 16 hexadecimal digits of a BLAKE3 hash over the quantisation tables: files of one encoder at one
    /// setting share it.
    pub tables: String,
    /// `grey`, `4:4:4`, `4:2:2`, `4:2:0`, `4:4:0`, `4:1:1`, or else the sampling factors of the components such as
    /// `2x2 2x1 2x1`.
    pub subsampling: String,
    /// Whether the picture is stored in several scans from coarse to fine.
    pub progressive: bool,
}

impl FileFacts {
    /// From the encoded bytes and a decoder that has read their header. A block of metadata that is there but broken
    /// counts as absent: the picture can be read without it.
    pub(crate) fn new(
        bytes: &[u8],
        format: Option<ImageFormat>,
        decoder: &mut impl ImageDecoder,
    ) -> Self {
        let (width, height) = decoder.dimensions();
        let name = match format {
            Some(ImageFormat::Png) => "png",
            Some(ImageFormat::Jpeg) => "jpeg",
            Some(ImageFormat::WebP) => "webp",
            Some(ImageFormat::Gif) => "gif",
            Some(ImageFormat::Bmp) => "bmp",
            // None that this crate's decoders read.
            Some(other) => other.to_mime_type(),
            None => "",
        };
        Self {
            bytes: bytes.len() as u64,
            format: name.to_owned(),
            width,
            height,
            jpeg: (format == Some(ImageFormat::Jpeg))
                .then(|| jpeg(bytes))
                .flatten(),
            exif: decoder.exif_metadata().is_ok_and(|block| block.is_some()),
            icc: decoder.icc_profile().is_ok_and(|block| block.is_some()),
        }
    }
}

/// The luminance table of T.81, table K.1, in zigzag order, as files have it.
const LUMINANCE: [u16; 64] = [
    16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40, 26, 24, 22, 22, 24, 49, 35, 37,
    29, 40, 58, 51, 61, 60, 57, 51, 56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81,
    87, 95, 98, 103, 104, 103, 62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99,
];

/// A component of the frame: its sampling factors across and down, and the number of its quantisation table.
struct Component {
    across: u8,
    down: u8,
    table: usize,
}

/// Walks over the segments up to the first scan; None if they are not well formed or the frame header is missing.
fn jpeg(bytes: &[u8]) -> Option<JpegFacts> {
    let mut rest = bytes.strip_prefix(&[0xff, 0xd8])?;
    let mut tables: [Option<[u16; 64]>; 4] = [None; 4];
    let mut frame = None;
    loop {
        // Any number of fill bytes may stand before a marker.
        let start = rest.iter().position(|b| *b != 0xff)?;
        let marker = *rest.get(start).filter(|_| start > 0)?;
        rest = &rest[start + 1..];
        if marker == 0x01 || (0xd0..=0xd7).contains(&marker) {
            continue;
        }
        let length = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
        let segment = rest.get(2..length)?;
        rest = &rest[length..];
        match marker {
            0xdb => quantisation(segment, &mut tables)?,
            // SOF0 to SOF15 without the Huffman (C4), extension (C8) and arithmetic (CC) segments.
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                let components = segment.get(6..)?.chunks_exact(3);
                let component = |c: &[u8]| Component {
                    across: c[1] >> 4,
                    down: c[1] & 15,
                    table: usize::from(c[2]),
                };
                let components: Vec<Component> = components.map(component).collect();
                frame = Some((marker, components));
            }
            0xda | 0xd9 => break,
            _ => {}
        }
    }
    let (kind, components) = frame?;
    let luminance = (*tables.get(components.first()?.table)?)?;
    let mut hasher = blake3::Hasher::new();
    for (number, table) in tables.iter().enumerate() {
        if let Some(table) = table {
            hasher.update(&[number as u8]);
            for value in table {
                hasher.update(&value.to_be_bytes());
            }
        }
    }
    Some(JpegFacts {
        quality: (1..=100).find(|&quality| libjpeg_table(quality) == luminance),
        tables: hasher.finalize().to_hex()[..16].to_owned(),
        subsampling: subsampling(&components),
        progressive: matches!(kind, 0xc2 | 0xc6 | 0xca | 0xce),
    })
}

/// Reads the tables of one DQT segment: per table a byte of precision and number, then 64 values of one or two bytes.
fn quantisation(mut segment: &[u8], tables: &mut [Option<[u16; 64]>; 4]) -> Option<()> {
    while let Some((&head, values)) = segment.split_first() {
        let width = if head >> 4 == 0 { 1 } else { 2 };
        let (values, rest) = values.split_at_checked(64 * width)?;
        let mut table = [0; 64];
        for (entry, bytes) in table.iter_mut().zip(values.chunks_exact(width)) {
            *entry = bytes.iter().fold(0, |v, b| v << 8 | u16::from(*b));
        }
        *tables.get_mut(usize::from(head & 15))? = Some(table);
        segment = rest;
    }
    Some(())
}

/// libjpeg's luminance table for a quality (`jpeg_quality_scaling`, `jpeg_add_quant_table` with 8-bit values).
fn libjpeg_table(quality: u8) -> [u16; 64] {
    let quality = u32::from(quality);
    let scale = if quality < 50 {
        5000 / quality
    } else {
        200 - 2 * quality
    };
    LUMINANCE.map(|v| ((u32::from(v) * scale + 50) / 100).clamp(1, 255) as u16)
}

fn subsampling(components: &[Component]) -> String {
    let factors: Vec<(u8, u8)> = components.iter().map(|c| (c.across, c.down)).collect();
    match factors[..] {
        [_] => "grey".into(),
        [(1, 1), (1, 1), (1, 1)] => "4:4:4".into(),
        [(2, 1), (1, 1), (1, 1)] => "4:2:2".into(),
        [(2, 2), (1, 1), (1, 1)] => "4:2:0".into(),
        [(1, 2), (1, 1), (1, 1)] => "4:4:0".into(),
        [(4, 1), (1, 1), (1, 1)] => "4:1:1".into(),
        _ => factors
            .iter()
            .map(|(h, v)| format!("{h}x{v}"))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LoadOptions;
    use crate::decode::decode_file;
    use image::codecs::jpeg::JpegEncoder;
    use image::codecs::png::PngEncoder;
    use image::{ExtendedColorType, ImageEncoder, RgbImage};
    use std::io::Cursor;

    fn facts(bytes: &[u8]) -> FileFacts {
        decode_file(bytes, "x", &LoadOptions::default()).unwrap().1
    }

    fn photo() -> RgbImage {
        RgbImage::from_fn(20, 10, |x, y| image::Rgb([x as u8 * 12, y as u8 * 25, 99]))
    }

    fn jpeg_of(quality: u8) -> Vec<u8> {
        let mut out = Vec::new();
        photo()
            .write_with_encoder(JpegEncoder::new_with_quality(&mut out, quality))
            .unwrap();
        out
    }

    #[test]
    fn every_format_by_content() {
        for (format, name) in [
            (ImageFormat::Png, "png"),
            (ImageFormat::Jpeg, "jpeg"),
            (ImageFormat::WebP, "webp"),
            (ImageFormat::Gif, "gif"),
            (ImageFormat::Bmp, "bmp"),
        ] {
            let mut out = Cursor::new(Vec::new());
            photo().write_to(&mut out, format).unwrap();
            let bytes = out.into_inner();
            let found = facts(&bytes);
            assert_eq!(
                (
                    found.format.as_str(),
                    found.width,
                    found.height,
                    found.bytes
                ),
                (name, 20, 10, bytes.len() as u64)
            );
            assert!(!found.exif && !found.icc, "{name}");
            assert_eq!(found.jpeg.is_some(), name == "jpeg");
        }
    }

    #[test]
    fn jpeg_quality_is_read_back() {
        for quality in [1, 20, 49, 50, 75, 90, 95, 100] {
            let found = facts(&jpeg_of(quality)).jpeg.unwrap();
            assert_eq!(found.quality, Some(quality));
            assert_eq!(
                (found.subsampling.as_str(), found.progressive),
                ("4:4:4", false)
            );
        }
        let [a, b, c] = [75, 76, 75].map(|q| facts(&jpeg_of(q)).jpeg.unwrap().tables);
        assert!(a != b && a == c && a.len() == 16);
        // No two qualities share a table, so that the first match is the only one.
        let mut all: Vec<_> = (1..=100).map(libjpeg_table).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 100);
    }

    #[test]
    fn other_tables_and_frames() {
        let standard = jpeg_of(75);
        let at = standard.windows(2).position(|w| w == [0xff, 0xdb]).unwrap();
        let mut own = standard.clone();
        own[at + 5] += 1;
        assert_eq!(jpeg(&own).unwrap().quality, None);
        assert_ne!(jpeg(&own).unwrap().tables, jpeg(&standard).unwrap().tables);
        let frame = standard.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
        for (luma, chroma, name) in [
            (0x22, 0x11, "4:2:0"),
            (0x21, 0x11, "4:2:2"),
            (0x12, 0x11, "4:4:0"),
            (0x41, 0x11, "4:1:1"),
            (0x22, 0x21, "2x2 2x1 2x1"),
        ] {
            let mut changed = standard.clone();
            changed[frame + 1] = 0xc2;
            for (component, factors) in [luma, chroma, chroma].into_iter().enumerate() {
                changed[frame + 11 + 3 * component] = factors;
            }
            let found = jpeg(&changed).unwrap();
            assert_eq!(
                (found.subsampling.as_str(), found.progressive),
                (name, true)
            );
        }
        // Cut anywhere in the header: no facts, and no panic.
        assert!((0..frame).all(|n| jpeg(&standard[..n]).is_none()));
        let mut grey = Vec::new();
        JpegEncoder::new_with_quality(&mut grey, 80)
            .write_image(&[7; 64], 8, 8, ExtendedColorType::L8)
            .unwrap();
        assert_eq!(facts(&grey).jpeg.unwrap().subsampling, "grey");
    }

    #[test]
    fn sixteen_bit_tables() {
        // Precision 1: two bytes a value.
        let mut segment = vec![0x10];
        segment.extend(LUMINANCE.iter().flat_map(|v| v.to_be_bytes()));
        let mut tables = [None; 4];
        quantisation(&segment, &mut tables).unwrap();
        assert_eq!(tables[0], Some(libjpeg_table(50)));
        assert_eq!(quantisation(&segment[..90], &mut tables), None);
    }

    #[test]
    fn metadata_blocks_are_noticed() {
        // A little-endian TIFF header with one entry: orientation 6, a quarter turn.
        let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec();
        let mut png = Vec::new();
        let mut encoder = PngEncoder::new(&mut png);
        encoder.set_icc_profile(vec![1; 200]).unwrap();
        encoder.set_exif_metadata(exif.clone()).unwrap();
        photo().write_with_encoder(encoder).unwrap();
        let (picture, found) = decode_file(&png, "x", &LoadOptions::default()).unwrap();
        assert!(found.exif && found.icc);
        // The facts are of the file as stored, the picture is turned.
        assert_eq!((found.width, found.height), (20, 10));
        assert_eq!((picture.width, picture.height), (10, 20));

        let mut out = Vec::new();
        let mut encoder = JpegEncoder::new(&mut out);
        encoder.set_exif_metadata(exif).unwrap();
        photo().write_with_encoder(encoder).unwrap();
        let found = facts(&out);
        assert!(found.exif && !found.icc && found.jpeg.is_some());
    }
}
