//! From a picture to what the network sees, as transformers' `BlipImageProcessor`: stretched to a square with Pillow's
//! bicubic filter (bit for bit), scaled to [0, 1], normalised per channel.

use crate::files::{Others, check_others, file_error, read_json};
use crate::resize::{Filter, to_square};
use crate::{EncoderError, Result};
use dualmd_data::Picture;
use dualmd_torch::Tensor;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Where transformers keeps the settings since version 5, under [`NESTED`].
const WHOLE: &str = "processor_config.json";
const NESTED: &str = "image_processor";
/// Where it kept them before.
const ALONE: &str = "preprocessor_config.json";
/// Pillow's numbers of its filters.
const BILINEAR: i64 = 2;
const BICUBIC: i64 = 3;

#[derive(Deserialize)]
#[serde(default)]
struct Settings {
    size: Size,
    resample: i64,
    rescale_factor: f64,
    image_mean: [f64; 3],
    image_std: [f64; 3],
    #[serde(flatten)]
    others: Others,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(
    untagged,
    expecting = "size: only {\"height\": .., \"width\": ..} or one number is supported"
)]
enum Size {
    Sides { height: u32, width: u32 },
    Square(u32),
}

impl Default for Settings {
    /// transformers' defaults; mean and deviation are CLIP's.
    fn default() -> Self {
        Self {
            size: Size::Square(384),
            resample: BICUBIC,
            rescale_factor: 1.0 / 255.0,
            image_mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            image_std: [0.268_629_54, 0.261_302_58, 0.275_777_11],
            others: Others::new(),
        }
    }
}

/// Keys that change nothing here: how the file came to be, how arrays are handed over, sizes of steps that are off.
const HARMLESS: &[&str] = &[
    "crop_size",
    "data_format",
    "device",
    "disable_grouping",
    "do_convert_rgb",
    "feature_extractor_type",
    "image_processor_type",
    "input_data_format",
    "pad_size",
    "processor_class",
    "return_tensors",
    "size_divisor",
];

/// The settings of a `ViTImageProcessor` or `DeiTImageProcessor`. What has no default here is always in their files.
#[derive(Deserialize)]
struct VitSettings {
    size: Size,
    #[serde(default)]
    do_center_crop: Option<bool>,
    #[serde(default)]
    crop_size: Option<Size>,
    resample: i64,
    #[serde(default)]
    rescale_factor: Option<f64>,
    image_mean: [f64; 3],
    image_std: [f64; 3],
    #[serde(flatten)]
    others: Others,
}

/// Prepares pictures for the vision transformer.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageProcessor {
    path: PathBuf,
    /// Pictures are stretched to this square.
    stretched: u32,
    /// Its middle that is seen; the whole without a crop.
    side: u32,
    filter: Filter,
    scale: f64,
    mean: [f64; 3],
    deviation: [f64; 3],
}

impl ImageProcessor {
    /// Opens the settings of a folder: `processor_config.json` with an `image_processor` in it, or
    /// `preprocessor_config.json`.
    ///
    /// # Errors
    /// A folder with neither; the first key whose value this program does not implement, with file and key.
    pub fn load(folder: &Path) -> Result<Self> {
        let whole = folder.join(WHOLE);
        if whole.exists() {
            let value: Value = read_json(&whole)?;
            if let Some(nested) = value.get(NESTED).filter(|v| !v.is_null()) {
                let settings =
                    serde_json::from_value(nested.clone()).map_err(|e| file_error(&whole, e))?;
                return Self::new(settings, &whole, &format!("{NESTED}."));
            }
        }
        let alone = folder.join(ALONE);
        if !alone.exists() {
            return Err(file_error(
                &alone,
                "is missing: it says how images are prepared (in Python: BlipProcessor.save_pretrained(FOLDER))",
            ));
        }
        Self::new(read_json(&alone)?, &alone, "")
    }

    fn new(settings: Settings, path: &Path, place: &str) -> Result<Self> {
        let wrong = |reason: String| file_error(path, reason);
        let neutral = [
            ("do_center_crop", json!(false)),
            ("do_normalize", json!(true)),
            ("do_pad", json!(false)),
            ("do_rescale", json!(true)),
            ("do_resize", json!(true)),
            ("default_to_square", json!(true)),
        ];
        // null is how transformers writes "the default".
        let mut others = settings.others;
        others.retain(|_, value| !value.is_null());
        check_others(place, &others, &neutral, &[HARMLESS]).map_err(wrong)?;
        let side = match settings.size {
            Size::Square(side) => side,
            Size::Sides { height, width } if height == width => height,
            Size::Sides { height, width } => {
                return Err(wrong(format!(
                    "{place}size: {height} x {width} is not supported: only squares are"
                )));
            }
        };
        if side == 0 {
            return Err(wrong(format!("{place}size: 0 must be at least 1")));
        }
        if settings.resample != BICUBIC {
            return Err(wrong(format!(
                "{place}resample: {} is not supported: only {BICUBIC} (bicubic) is",
                settings.resample
            )));
        }
        let numbers = [&settings.image_mean[..], &[settings.rescale_factor]].concat();
        if numbers.iter().any(|v| !v.is_finite()) {
            return Err(wrong(format!(
                "{place}image_mean and {place}rescale_factor must be finite"
            )));
        }
        if !settings.image_std.iter().all(|v| *v > 0.0) {
            return Err(wrong(format!(
                "{place}image_std: {:?} must be above 0",
                settings.image_std
            )));
        }
        Ok(Self {
            path: path.to_owned(),
            stretched: side,
            side,
            filter: Filter::Bicubic,
            scale: settings.rescale_factor,
            mean: settings.image_mean,
            deviation: settings.image_std,
        })
    }

    /// For a CLIP model that sees squares of `side` pixels, as `CLIPImageProcessor` prepares square pictures: CLIP's mean and
    /// deviation, bicubic.
    ///
    /// # Errors
    /// A `preprocessor_config.json` in `folder` that says another mean, deviation or filter.
    pub(crate) fn clip(folder: &Path, side: u32) -> Result<Self> {
        #[derive(Deserialize)]
        struct Stated {
            image_mean: Option<[f64; 3]>,
            image_std: Option<[f64; 3]>,
            resample: Option<i64>,
        }
        let plain = Settings::default();
        let alone = folder.join(ALONE);
        if alone.exists() {
            let stated: Stated = read_json(&alone)?;
            let numbers = stated.image_mean.is_none_or(|m| m == plain.image_mean)
                && stated.image_std.is_none_or(|d| d == plain.image_std);
            if !numbers || stated.resample.is_some_and(|r| r != BICUBIC) {
                return Err(file_error(
                    &alone,
                    format!(
                        "image_mean, image_std, resample: only CLIP's own ({:?}, {:?}, {BICUBIC}) are supported",
                        plain.image_mean, plain.image_std
                    ),
                ));
            }
        }
        Ok(Self {
            path: alone,
            stretched: side,
            side,
            filter: Filter::Bicubic,
            scale: plain.rescale_factor,
            mean: plain.image_mean,
            deviation: plain.image_std,
        })
    }

    /// For a ViT or DeiT folder: stretched to a square, of which the middle may be cut out; mean, deviation and filter (bilinear,
    /// bicubic) as its `preprocessor_config.json` says.
    ///
    /// # Errors
    /// No such file; the first key whose value this program does not implement.
    pub(crate) fn vit(folder: &Path) -> Result<Self> {
        let path = folder.join(ALONE);
        if !path.exists() {
            return Err(file_error(
                &path,
                "is missing: it says how images are prepared (in Python: AutoImageProcessor.from_pretrained(..).save_pretrained(FOLDER))",
            ));
        }
        let mut settings: VitSettings = read_json(&path)?;
        let wrong = |reason: String| file_error(&path, reason);
        let neutral = [
            ("do_normalize", json!(true)),
            ("do_pad", json!(false)),
            ("do_rescale", json!(true)),
            ("do_resize", json!(true)),
            ("default_to_square", json!(true)),
        ];
        settings.others.retain(|_, value| !value.is_null());
        check_others("", &settings.others, &neutral, &[HARMLESS]).map_err(wrong)?;
        let square = |size: Size, key: &str| match size {
            Size::Square(side) if side > 0 => Ok(side),
            Size::Sides { height, width } if height == width && height > 0 => Ok(height),
            _ => Err(wrong(format!("{key}: only squares are supported"))),
        };
        let stretched = square(settings.size, "size")?;
        let side = match (settings.do_center_crop, settings.crop_size) {
            (Some(true), Some(crop)) => square(crop, "crop_size")?,
            (Some(true), None) => return Err(wrong("do_center_crop needs a crop_size".into())),
            _ => stretched,
        };
        if side > stretched {
            return Err(wrong(format!(
                "crop_size {side} of pictures of size {stretched}: padding is not supported"
            )));
        }
        let filter = match settings.resample {
            BILINEAR => Filter::Bilinear,
            BICUBIC => Filter::Bicubic,
            other => {
                return Err(wrong(format!(
                    "resample: {other} is not supported: only {BILINEAR} (bilinear) and {BICUBIC} (bicubic) are"
                )));
            }
        };
        let sound = settings.image_mean.iter().all(|v| v.is_finite())
            && settings.image_std.iter().all(|v| v.is_finite() && *v > 0.0);
        if !sound {
            return Err(wrong("image_mean must be finite, image_std above 0".into()));
        }
        Ok(Self {
            stretched,
            side,
            filter,
            scale: settings.rescale_factor.unwrap_or(1.0 / 255.0),
            mean: settings.image_mean,
            deviation: settings.image_std,
            path,
        })
    }

    /// The file it was read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Side of the square that the network sees, in pixels.
    #[must_use]
    pub fn side(&self) -> u32 {
        self.side
    }

    /// The picture in colour, stretched to a square, of which the middle is kept: [side, side, 3] values, channels last.
    ///
    /// # Errors
    /// A picture with other than 1 or 3 channels, or whose pixels are not as many as it says.
    pub fn resize(&self, picture: &Picture) -> Result<Vec<u8>> {
        let (width, height) = (picture.width, picture.height);
        let sound = matches!(picture.channels, 1 | 3)
            && width > 0
            && height > 0
            && picture.pixels.len() as u64
                == u64::from(width) * u64::from(height) * u64::from(picture.channels);
        if !sound {
            return Err(EncoderError::Options(format!(
                "{} values are not a picture of {width} x {height} pixels and 1 or 3 channels (here {})",
                picture.pixels.len(),
                picture.channels
            )));
        }
        let pixels = picture.clone().with_channels(3).pixels;
        let size = [height as usize, width as usize];
        let (whole, side) = (self.stretched as usize, self.side as usize);
        let square = to_square(&pixels, size, whole, self.filter);
        if whole == side {
            return Ok(square);
        }
        let first = (whole - side) / 2;
        let rows = square.chunks_exact(whole * 3).skip(first).take(side);
        Ok(rows
            .flat_map(|row| &row[first * 3..(first + side) * 3])
            .copied()
            .collect())
    }

    /// Pictures of any sizes, grey or colour, as [B, 3, side, side] f32 on the CPU.
    ///
    /// # Errors
    /// No picture; as [`Self::resize`].
    pub fn pixels(&self, pictures: &[&Picture]) -> Result<Tensor> {
        if pictures.is_empty() {
            return Err(EncoderError::Options("no pictures to prepare".into()));
        }
        // 256 levels and 3 channels: every value there can be.
        let table: Vec<[f32; 256]> = self
            .mean
            .iter()
            .zip(&self.deviation)
            .map(|(mean, deviation)| {
                std::array::from_fn(|v| ((v as f64 * self.scale - mean) / deviation) as f32)
            })
            .collect();
        let side = self.side as usize;
        let mut values = Vec::with_capacity(pictures.len() * 3 * side * side);
        for picture in pictures {
            let resized = self.resize(picture)?;
            for (channel, table) in table.iter().enumerate() {
                let plane = resized[channel..].iter().step_by(3);
                values.extend(plane.map(|&v| table[usize::from(v)]));
            }
        }
        let shape = [pictures.len() as i64, 3, side as i64, side as i64];
        Ok(Tensor::from_slice(&values).f_reshape(shape)?)
    }
}
