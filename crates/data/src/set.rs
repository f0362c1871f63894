//! Image sets: what every reader returns and everything else works on.

use crate::{Error, FileFacts, Picture, Result, SampleId};

/// One picture with what is known about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Content id of the picture as decoded, before resizing.
    pub id: SampleId,
    /// The picture, resized and with the set's number of channels.
    pub picture: Picture,
    /// Captions, the first being the main one; may be empty.
    pub captions: Vec<String>,
    /// What the user said belongs together (an artist, a patient, a burst); never split over two sides.
    pub group: Option<String>,
    /// Class label as text.
    pub label: Option<String>,
    /// File name relative to the source, or row number in it.
    pub name: String,
    /// What the picture was like as a file; None for sources that hold bare pixels (CIFAR, IDX, npy).
    pub file: Option<FileFacts>,
}

/// A set of pictures of one size and one number of channels. [`crate::load()`] guarantees that; whoever changes the
/// records must keep it.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageSet {
    /// Where it came from, as the user wrote it.
    pub source: String,
    /// Licence of the pictures where the source says so.
    pub licence: Option<String>,
    /// The pictures, in the source's order.
    pub records: Vec<Record>,
    /// What reading it was like, for people: files that were left out and why, which of a folder's files were read, how many
    /// pictures are transparent. One clause each; empty where nothing is to be said.
    pub notes: Vec<String>,
}

impl ImageSet {
    /// A set from records; grey pictures become colour where at least one is in colour.
    ///
    /// # Errors
    /// Pictures that differ in size, or none at all.
    pub fn new(source: String, licence: Option<String>, mut records: Vec<Record>) -> Result<Self> {
        let channels = records
            .iter()
            .map(|r| r.picture.channels)
            .max()
            .unwrap_or(1);
        for record in &mut records {
            if record.picture.channels != channels {
                let picture = std::mem::replace(&mut record.picture, Picture::filled(0, 0, 1, 0));
                record.picture = picture.with_channels(channels);
            }
        }
        let Some(first) = records.first() else {
            return Err(Error::format(
                source,
                "there is no picture in it",
                "check the path, or what it should hold",
            ));
        };
        let size = |r: &Record| (r.picture.width, r.picture.height);
        if let Some(other) = records.iter().find(|r| size(r) != size(first)) {
            let found = format!(
                "{} is {}x{}, {} is {}x{}",
                first.name,
                first.picture.width,
                first.picture.height,
                other.name,
                other.picture.width,
                other.picture.height
            );
            return Err(Error::Sizes {
                place: source,
                found,
            });
        }
        Ok(Self {
            source,
            licence,
            records,
            notes: Vec::new(),
        })
    }

    /// Number of pictures.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are no pictures.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// `[channels, height, width]` of every picture; zeros for an empty set.
    #[must_use]
    pub fn shape(&self) -> [usize; 3] {
        self.records.first().map_or([0; 3], |r| {
            [
                usize::from(r.picture.channels),
                r.picture.height as usize,
                r.picture.width as usize,
            ]
        })
    }

    /// The pictures at `indices` as one `[N, C, H, W]` block of floats in [-1, 1]: `x / 127.5 - 1`.
    ///
    /// # Panics
    /// An index past the end: indices are made by the program, not by users.
    #[must_use]
    pub fn to_f32(&self, indices: &[usize]) -> Vec<f32> {
        let [c, h, w] = self.shape();
        let mut out = Vec::with_capacity(indices.len() * c * h * w);
        for &i in indices {
            self.records[i].picture.extend_f32(&mut out);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(picture: Picture) -> Record {
        Record {
            id: picture.id(),
            picture,
            captions: vec![],
            group: None,
            label: None,
            name: "x".into(),
            file: None,
        }
    }

    #[test]
    fn floats_are_channels_first() {
        let picture = Picture {
            width: 2,
            height: 1,
            channels: 3,
            pixels: vec![0, 51, 255, 255, 102, 0],
        };
        let set = ImageSet::new("s".into(), None, vec![record(picture)]).unwrap();
        assert_eq!(set.shape(), [3, 1, 2]);
        let want = [-1.0, 1.0, -0.6, -0.2, 1.0, -1.0];
        assert!(
            set.to_f32(&[0])
                .iter()
                .zip(want)
                .all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6)
        );
        assert_eq!(set.to_f32(&[0, 0]).len(), 12);
        assert_eq!(
            Picture::from_f32(&set.to_f32(&[0]), 3, 1, 2).unwrap(),
            set.records[0].picture
        );
    }

    #[test]
    fn mixed_channels_become_colour_and_mixed_sizes_an_error() {
        let mixed = vec![
            record(Picture::filled(2, 2, 1, 5)),
            record(Picture::filled(2, 2, 3, 5)),
        ];
        let set = ImageSet::new("s".into(), None, mixed).unwrap();
        assert_eq!(set.records[0].picture, set.records[1].picture);
        let sizes = vec![
            record(Picture::filled(2, 2, 1, 5)),
            record(Picture::filled(3, 2, 1, 5)),
        ];
        assert!(
            ImageSet::new("s".into(), None, sizes)
                .unwrap_err()
                .to_string()
                .contains("image_size")
        );
        assert!(ImageSet::new("s".into(), None, vec![]).is_err());
    }
}
