//! Pixels of many pictures in one file, read picture by picture.
//!
//! They are read and not mapped into memory. What is asked for again and again the operating system keeps in memory either way, as
//! long as nothing else needs the room. But a mapped file that somebody cuts ends the process with a signal, where a read is an error that names
//! the file; and no `unsafe` is needed.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Error, Picture, Result};

const REMEDY: &str = "remove it, and repeat the command that made it";

/// Where the pixels of a picture are, and whether they are grey there: in a set where some pictures are in colour, grey ones become
/// colour when they are read. Twice the first byte's number, and one more if they are grey.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place(u64);

impl Place {
    /// Of a picture that begins at byte `at`.
    pub fn new(at: u64, channels: u8) -> Self {
        Self(2 * at + u64::from(channels == 1))
    }

    fn at(self) -> u64 {
        self.0 / 2
    }

    fn channels(self) -> u8 {
        if self.0 % 2 == 1 { 1 } else { 3 }
    }
}

/// Where some pictures are.
#[derive(Debug, Clone)]
enum Places {
    /// So many, one after the other from the file's beginning, each with all of its channels.
    All(usize),
    /// These of pictures that lie so.
    Rows(Vec<u32>),
    /// Anywhere.
    Each(Vec<Place>),
}

impl Places {
    fn len(&self) -> usize {
        match self {
            Self::All(n) => *n,
            Self::Rows(of) => of.len(),
            Self::Each(of) => of.len(),
        }
    }
}

/// Pictures of one size, without what else is known of them: no memory for each where they fill a file, four bytes where they are some of
/// those, else eight.
#[derive(Debug, Clone)]
pub struct Pixels {
    file: Arc<File>,
    /// The file, or the folder of one without a name.
    path: PathBuf,
    /// Channels, height, width.
    shape: [usize; 3],
    places: Places,
}

impl Pixels {
    /// `path`: how errors call the file. Grey pictures become colour where `shape` has three channels.
    pub(crate) fn new(file: File, path: PathBuf, shape: [usize; 3], places: Vec<Place>) -> Self {
        Self {
            file: Arc::new(file),
            path,
            shape,
            places: Places::Each(places),
        }
    }

    /// `n` pictures of `shape` (channels, height, width) that fill a file, one after the other, 8 bits a value, row by row, channels
    /// last. `path`: how errors call it.
    ///
    /// # Errors
    /// Pictures without a size, or with neither 1 nor 3 channels; a file that holds more or less.
    pub fn stored(file: File, path: &Path, shape: [usize; 3], n: usize) -> Result<Self> {
        let held = file.metadata().map_err(|e| Error::read(path, e))?.len();
        let [channels, height, width] = shape;
        let each = [height, width]
            .into_iter()
            .try_fold(channels, usize::checked_mul)
            .filter(|each| *each > 0);
        let side = |n: usize| u32::try_from(n).is_ok();
        let sound = matches!(channels, 1 | 3) && side(height) && side(width);
        let all = each.filter(|_| sound).and_then(|each| each.checked_mul(n));
        if all.and_then(|all| u64::try_from(all).ok()) != Some(held) {
            return Err(Error::format(
                path.display().to_string(),
                format!("{held} bytes are not {n} pictures of {channels} x {height} x {width}"),
                REMEDY,
            ));
        }
        Ok(Self {
            file: Arc::new(file),
            path: path.to_path_buf(),
            shape,
            places: Places::All(n),
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Channels, height, width.
    #[must_use]
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Those at `positions`, over the same file.
    ///
    /// # Errors
    /// A position past the end.
    pub fn at(&self, positions: &[usize]) -> Result<Self> {
        let places = match self.rows(positions) {
            Some(rows) => Places::Rows(rows?),
            None => {
                let places = positions.iter().map(|&i| self.place(i));
                Places::Each(places.collect::<Result<_>>()?)
            }
        };
        Ok(Self {
            file: Arc::clone(&self.file),
            path: self.path.clone(),
            shape: self.shape,
            places,
        })
    }

    /// Those at `positions` by their number in the file; None if pictures lie anywhere in it, or four bytes do not hold such a number.
    fn rows(&self, positions: &[usize]) -> Option<Result<Vec<u32>>> {
        if matches!(self.places, Places::Each(_)) || u32::try_from(self.len()).is_err() {
            return None;
        }
        let row = |&i: &usize| {
            let row = match &self.places {
                Places::Rows(of) => of.get(i).copied(),
                _ => u32::try_from(i).ok().filter(|_| i < self.len()),
            };
            row.ok_or_else(|| self.absent(i))
        };
        Some(positions.iter().map(row).collect())
    }

    /// One picture.
    ///
    /// # Errors
    /// There are not so many; the file cannot be read, or has been cut.
    pub fn picture(&self, i: usize) -> Result<Picture> {
        let place = self.place(i)?;
        let [channels, height, width] = self.shape;
        let mut pixels = vec![0; height * width * usize::from(place.channels())];
        let read = self.file.read_exact_at(&mut pixels, place.at());
        read.map_err(|error| self.failed(i, error))?;
        let picture = Picture {
            width: width as u32,
            height: height as u32,
            channels: place.channels(),
            pixels,
        };
        Ok(picture.with_channels(channels as u8))
    }

    /// The pictures at `positions` as one `[N, C, H, W]` block of floats in [-1, 1], to the last bit what
    /// [`crate::ImageSet::to_f32`] makes of them in memory.
    ///
    /// # Errors
    /// As [`Pixels::picture`].
    pub fn to_f32(&self, positions: &[usize]) -> Result<Vec<f32>> {
        let each = self.shape.iter().product::<usize>();
        let mut out = Vec::with_capacity(positions.len() * each);
        let mut last = None;
        for &i in positions {
            // Several draws for one image stand side by side.
            if last == Some(i) {
                out.extend_from_within(out.len() - each..);
            } else {
                self.picture(i)?.extend_f32(&mut out);
                last = Some(i);
            }
        }
        Ok(out)
    }

    fn place(&self, i: usize) -> Result<Place> {
        let row = match &self.places {
            Places::All(n) => Some(i).filter(|i| i < n).map(|i| i as u64),
            Places::Rows(of) => of.get(i).map(|&row| u64::from(row)),
            Places::Each(of) => return of.get(i).copied().ok_or_else(|| self.absent(i)),
        };
        let row = row.ok_or_else(|| self.absent(i))?;
        let each = self.shape.iter().product::<usize>() as u64;
        Ok(Place::new(row * each, self.shape[0] as u8))
    }

    fn absent(&self, i: usize) -> Error {
        Error::options(
            format!("record {i} of {}", self.len()),
            "ask for one that is there",
        )
    }

    fn failed(&self, i: usize, error: std::io::Error) -> Error {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Error::format(
                self.path.display().to_string(),
                format!(
                    "it ends before picture {} of {}: it was cut while it was in use",
                    i + 1,
                    self.len()
                ),
                REMEDY,
            ),
            _ => Error::read(&self.path, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_length_and_one_that_is_cut_later_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("some.pixels");
        let bytes: Vec<u8> = (0..24).collect();
        std::fs::write(&path, &bytes).unwrap();
        let open = |shape, n| Pixels::stored(dualmd_files::open(&path).unwrap(), &path, shape, n);
        for (shape, n) in [
            ([3, 2, 2], 1),
            ([3, 2, 2], 3),
            ([2, 2, 3], 2),
            ([3, 0, 2], 2),
            ([3, usize::MAX, 2], 2),
        ] {
            let said = open(shape, n).unwrap_err().to_string();
            assert!(
                said.contains("some.pixels: 24 bytes are not") && said.contains("remove it"),
                "{said}"
            );
        }
        let pixels = open([3, 2, 2], 2).unwrap();
        assert_eq!((pixels.len(), pixels.shape()), (2, [3, 2, 2]));
        assert_eq!(pixels.picture(1).unwrap().pixels, bytes[12..]);
        let turned = pixels.at(&[1, 0, 1]).unwrap();
        assert_eq!(turned.picture(0).unwrap().pixels, bytes[12..]);
        assert_eq!(
            turned.to_f32(&[0, 0, 1]).unwrap(),
            pixels.to_f32(&[1, 1, 0]).unwrap()
        );
        assert!(pixels.picture(2).is_err() && pixels.at(&[2]).is_err());
        // Some of some, and none.
        let again = turned.at(&[2, 1]).unwrap();
        assert_eq!(again.len(), 2);
        assert_eq!(again.picture(0).unwrap().pixels, bytes[12..]);
        assert_eq!(again.picture(1).unwrap().pixels, bytes[..12]);
        let said = turned.at(&[3]).unwrap_err().to_string();
        assert!(said.contains("record 3 of 3"), "{said}");
        assert!(again.picture(2).is_err() && again.at(&[]).unwrap().is_empty());
        let said = again.to_f32(&[0, 9]).unwrap_err().to_string();
        assert!(said.contains("record 9 of 2"), "{said}");
        std::fs::write(&path, &bytes[..20]).unwrap();
        let said = pixels.to_f32(&[0, 1]).unwrap_err().to_string();
        assert!(
            said.contains("some.pixels: it ends before picture 2 of 2")
                && said.contains("repeat the command"),
            "{said}"
        );
    }
}
