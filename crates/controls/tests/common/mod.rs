//! Simulated audits on the bundled images.

use std::io::Cursor;

use dualmd_controls::{BlindBaseline, Description, Subject, describe, judge};
use dualmd_data::{
    Filter, Groups, LoadOptions, NearDuplicateOptions, Picture, dedupe, load, near_duplicates,
    stream,
};
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, GrayImage, RgbImage};
use rand::Rng;
use rand::seq::SliceRandom;

/// What is done to the members.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Clean,
    /// A JPEG round trip at this quality.
    Jpeg(u8),
    /// So many grey levels brighter.
    Brighter(u8),
    /// Through another size and back.
    Resize(u32),
    /// Another mix of classes: so many percent of every other class are left out.
    Mix(u8),
}

pub fn alter(picture: &Picture, kind: Kind) -> Picture {
    match kind {
        Kind::Clean | Kind::Mix(_) => picture.clone(),
        Kind::Brighter(by) => Picture {
            pixels: picture
                .pixels
                .iter()
                .map(|v| v.saturating_add(by))
                .collect(),
            ..picture.clone()
        },
        Kind::Resize(size) => {
            let size = if picture.width == 32 {
                36 * size / 32
            } else {
                size
            };
            picture
                .resize(size, size, Filter::Bilinear)
                .unwrap()
                .resize(picture.width, picture.height, Filter::Bilinear)
                .unwrap()
        }
        Kind::Jpeg(quality) => {
            let (w, h, v) = (picture.width, picture.height, picture.pixels.clone());
            let image: DynamicImage = if picture.channels == 1 {
                GrayImage::from_raw(w, h, v).unwrap().into()
            } else {
                RgbImage::from_raw(w, h, v).unwrap().into()
            };
            let mut bytes = Cursor::new(Vec::new());
            image
                .write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, quality))
                .unwrap();
            let back = image::load_from_memory(bytes.get_ref()).unwrap();
            let pixels = if picture.channels == 1 {
                back.to_luma8().into_raw()
            } else {
                back.to_rgb8().into_raw()
            };
            Picture {
                pixels,
                ..picture.clone()
            }
        }
    }
}

pub struct Pool {
    pub pictures: Vec<Picture>,
    pub groups: Vec<Option<String>>,
    pub classes: Vec<String>,
    units: Vec<Vec<usize>>,
}

impl Pool {
    pub fn load(name: &str) -> Self {
        let mut set = load(name, &LoadOptions::default()).unwrap();
        dedupe(&mut set);
        let groups: Groups = near_duplicates(&set, &NearDuplicateOptions::default());
        Self {
            groups: (0..set.len())
                .map(|i| groups.name(i).map(str::to_owned))
                .collect(),
            classes: set
                .records
                .iter()
                .map(|r| r.captions.first().cloned().unwrap_or_default())
                .collect(),
            pictures: set.records.into_iter().map(|r| r.picture).collect(),
            units: groups.records(),
        }
    }

    /// Descriptions of all pictures as they are and as altered.
    pub fn altered(&self, kind: Kind) -> [Vec<Description>; 2] {
        [Kind::Clean, kind].map(|kind| {
            self.pictures
                .iter()
                .zip(&self.groups)
                .map(|(p, g)| {
                    let picture = alter(p, kind);
                    describe(&Subject {
                        picture: &picture,
                        group: g.as_deref(),
                        file: None,
                    })
                    .unwrap()
                })
                .collect()
        })
    }

    /// A random audit that keeps groups whole.
    pub fn audit(
        &self,
        [plain, altered]: &[Vec<Description>; 2],
        kind: Kind,
        n1: usize,
        n0: usize,
        seed: u64,
    ) -> BlindBaseline {
        let mut rng = stream(seed, "test/audit", 0);
        let mut order = self.units.clone();
        order.shuffle(&mut rng);
        let mut inside = Vec::new();
        let mut outside = Vec::new();
        let rare: Vec<&String> = {
            let mut c: Vec<&String> = self.classes.iter().collect();
            c.sort();
            c.dedup();
            c.into_iter().step_by(2).collect()
        };
        for unit in order {
            let skip = match kind {
                Kind::Mix(percent) => {
                    rare.contains(&&self.classes[unit[0]])
                        && rng.random_bool(f64::from(percent) / 100.0)
                }
                _ => false,
            };
            if inside.len() < n1 && !skip {
                inside.extend(unit);
            } else if outside.len() < n0 {
                outside.extend(unit);
            }
        }
        let a: Vec<&Description> = inside.iter().map(|&i| &altered[i]).collect();
        let b: Vec<&Description> = outside.iter().map(|&i| &plain[i]).collect();
        judge(&a, &b, seed).unwrap()
    }
}
