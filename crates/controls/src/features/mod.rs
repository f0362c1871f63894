//! What the classifier sees of a picture, in families that each look for one kind of difference.

mod dct;
pub(crate) mod file;
mod jpeg;
mod pixels;
mod plane;
mod resize;
mod sink;
mod texture;

use dualmd_data::Picture;

use crate::{ControlsError, FileFacts, Subject};
use plane::Plane;
use sink::Sink;

/// Families that are computed from a picture; [`FILE`] and [`ALL`] come on top.
pub const PICTURE_FAMILIES: [&str; 4] = ["pixels", "texture", "jpeg", "resize"];
/// The family of facts about the original files.
pub const FILE: &str = "file";
/// All families together.
pub const ALL: &str = "all";

/// A picture as the classifier sees it. It does not know its side, so one description serves every audit of the picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// `[channels, height, width]`.
    pub(crate) shape: [usize; 3],
    /// In the order of [`PICTURE_FAMILIES`].
    pub(crate) families: [Vec<f64>; 4],
    pub(crate) group: Option<String>,
    pub(crate) file: Option<FileFacts>,
}

/// Computes the features of a picture: about 180 numbers for grey, 300 for colour.
///
/// # Errors
/// [`ControlsError::NotAPicture`] for a picture without pixels, of other than 1 or 3 channels, or with another number of
/// values than its size says; [`ControlsError::Data`] if it cannot be resized.
pub fn describe(subject: &Subject<'_>) -> Result<Description, ControlsError> {
    let p = subject.picture;
    let n = u128::from(p.width) * u128::from(p.height) * u128::from(p.channels);
    if n == 0 || n != p.pixels.len() as u128 || !matches!(p.channels, 1 | 3) {
        return Err(ControlsError::NotAPicture {
            width: p.width,
            height: p.height,
            channels: p.channels,
            values: p.pixels.len(),
        });
    }
    let mut sinks = <[Sink; 4]>::default();
    fill(p, &mut sinks)?;
    Ok(Description {
        shape: [usize::from(p.channels), p.height as usize, p.width as usize],
        families: sinks.map(|sink| sink.values),
        group: subject.group.map(str::to_owned),
        file: subject.file.clone(),
    })
}

/// Names of the features, family by family; the same for all pictures with as many channels.
pub(crate) fn names(channels: usize) -> Result<[Vec<String>; 4], ControlsError> {
    let blank = Picture::filled(8, 8, if channels == 1 { 1 } else { 3 }, 0);
    let mut sinks = std::array::from_fn(|_| Sink::named());
    fill(&blank, &mut sinks)?;
    Ok(sinks.map(|sink| sink.names.unwrap_or_default()))
}

fn fill(picture: &Picture, sinks: &mut [Sink; 4]) -> Result<(), ControlsError> {
    let planes = Plane::jfif(picture);
    let [pixels, texture, jpeg, resize] = sinks;
    pixels::describe(picture, &planes, pixels);
    texture::describe(&planes, texture);
    jpeg::describe(&planes, jpeg);
    resize::describe(picture, &planes, resize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn describe_size(width: u32, height: u32, channels: u8) -> Description {
        let mut picture = Picture::filled(width, height, channels, 0);
        for (i, v) in picture.pixels.iter_mut().enumerate() {
            *v = (i * i * 7 % 256) as u8;
        }
        describe(&Subject {
            picture: &picture,
            group: None,
            file: None,
        })
        .unwrap()
    }

    #[test]
    fn every_size_has_the_same_features_and_all_are_numbers() {
        for channels in [1, 3] {
            let names = names(usize::from(channels)).unwrap();
            for (width, height) in [(1, 1), (2, 5), (7, 9), (28, 28), (70, 40)] {
                let d = describe_size(width, height, channels);
                for (values, names) in d.families.iter().zip(&names) {
                    assert_eq!(values.len(), names.len(), "{width} x {height} x {channels}");
                    assert!(values.iter().all(|v| v.is_finite()));
                }
            }
        }
    }

    #[test]
    fn what_is_not_a_picture_is_refused() {
        for (width, height, channels, values) in [(0, 4, 1, 0), (2, 2, 1, 3), (1, 1, 2, 2)] {
            let picture = Picture {
                width,
                height,
                channels,
                pixels: vec![0; values],
            };
            let subject = Subject {
                picture: &picture,
                group: None,
                file: None,
            };
            let message = describe(&subject).unwrap_err().to_string();
            assert!(message.contains("dualmd_data::load"), "{message}");
        }
    }
}
