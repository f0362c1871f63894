//! Sets of which the pixels stay in a file: what is needed to drop duplicates, find what looks alike and draw a split of more
//! pictures than memory holds.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::alike::{Looks, Pictures};
use crate::duplicates::Dropping;
use crate::pixels::Place;
use crate::{
    DedupeReport, Error, Groups, ImageSet, LoadOptions, NearDuplicateOptions, Picture, Pixels,
    Record, Result, export, load,
};

/// A file without a name that pixels are appended to.
pub(crate) struct Spool {
    folder: PathBuf,
    file: BufWriter<File>,
    length: u64,
    places: Vec<Place>,
}

/// Bytes that are collected before they go to the file.
const BUFFER: usize = 1 << 20;

impl Spool {
    pub fn new(folder: &Path) -> Result<Self> {
        Ok(Self {
            folder: folder.to_path_buf(),
            file: BufWriter::with_capacity(BUFFER, dualmd_files::scratch(folder)?),
            length: 0,
            places: Vec::new(),
        })
    }

    /// Takes the pixels out of a picture.
    pub fn keep(&mut self, picture: Picture) -> Result<Picture> {
        let failed = |source| unwritten(&self.folder, &source);
        self.file.write_all(&picture.pixels).map_err(failed)?;
        self.places.push(Place::new(self.length, picture.channels));
        self.length += picture.pixels.len() as u64;
        Ok(Picture {
            pixels: Vec::new(),
            ..picture
        })
    }
}

fn unwritten(folder: &Path, source: &std::io::Error) -> Error {
    Error::format(
        folder.display().to_string(),
        format!("the pixels of the images cannot be written there ({source})"),
        "make room, or choose a folder on another disk",
    )
}

/// A set whose pixels lie in a file, mostly one without a name, which goes with it: memory holds ids, names, captions and groups only.
#[derive(Debug)]
pub struct Listing {
    set: ImageSet,
    pixels: Pixels,
}

impl Listing {
    /// Reads a source as [`crate::load()`] does. Pixels go to a file in `folder`, which should lie on a disk.
    ///
    /// # Errors
    /// As [`crate::load()`]; a folder that cannot be written to, or is full.
    pub fn of(source: &str, options: &LoadOptions<'_>, folder: &Path) -> Result<Self> {
        let mut spool = Spool::new(folder)?;
        let (set, order) = load::spooled(source, options, &mut spool)?;
        let mut listing = Self::whole(set, spool)?;
        if let Some(order) = order {
            let part = listing.part(&order)?;
            let notes = std::mem::take(&mut listing.set.notes);
            listing = part;
            listing.set.notes = notes;
        }
        Ok(listing)
    }

    /// Of pictures that are made one by one, each with its record's other facts.
    ///
    /// # Errors
    /// As [`Listing::of`]; pictures that differ in size, or none at all.
    pub fn made(
        source: String,
        records: impl IntoIterator<Item = Record>,
        folder: &Path,
    ) -> Result<Self> {
        let mut spool = Spool::new(folder)?;
        let keep = |record: Record| -> Result<Record> {
            Ok(Record {
                picture: spool.keep(record.picture)?,
                ..record
            })
        };
        let records = records.into_iter().map(keep).collect::<Result<_>>()?;
        Self::whole(ImageSet::new(source, None, records)?, spool)
    }

    /// Of records whose pictures have a size and no pixels: those are `pixels`, in the same order.
    ///
    /// # Errors
    /// More or fewer pictures than records, or of another size.
    pub fn over(set: ImageSet, pixels: Pixels) -> Result<Self> {
        if (set.len(), set.shape()) != (pixels.len(), pixels.shape()) {
            return Err(Error::options(
                format!(
                    "{} records of shape {:?} and {} pictures of shape {:?}",
                    set.len(),
                    set.shape(),
                    pixels.len(),
                    pixels.shape()
                ),
                "give the records of these pictures",
            ));
        }
        Ok(Self { set, pixels })
    }

    fn whole(set: ImageSet, spool: Spool) -> Result<Self> {
        let Spool {
            folder,
            file,
            places,
            ..
        } = spool;
        let file = file.into_inner();
        let file = file.map_err(|e| unwritten(&folder, e.error()))?;
        let pixels = Pixels::new(file, folder, set.shape(), places);
        Ok(Self { set, pixels })
    }

    /// The records, with the size of their pictures and without their pixels: for splits, ids, captions and groups.
    #[must_use]
    pub fn set(&self) -> &ImageSet {
        &self.set
    }

    /// The same, to change captions, labels or groups. Which records there are, and their order, has to stay.
    pub fn set_mut(&mut self) -> &mut ImageSet {
        &mut self.set
    }

    /// The pixels, in the order of the records.
    #[must_use]
    pub fn pixels(&self) -> &Pixels {
        &self.pixels
    }

    /// Records and pixels, each for itself.
    #[must_use]
    pub fn into_parts(self) -> (ImageSet, Pixels) {
        (self.set, self.pixels)
    }

    /// The picture of a record, as [`crate::load()`] has it.
    ///
    /// # Errors
    /// There is no such record; the file cannot be read.
    pub fn picture(&self, record: usize) -> Result<Picture> {
        self.pixels.picture(record)
    }

    /// As [`crate::dedupe`].
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn dedupe(&mut self) -> Result<DedupeReport> {
        let mut dropping = Dropping::default();
        let ids = (0..self.set.len()).map(|i| Ok(self.picture(i)?.id()));
        let ids = ids.collect::<Result<Vec<_>>>()?;
        let mut kept = Vec::new();
        let records = std::mem::take(&mut self.set.records);
        for (i, (record, id)) in records.into_iter().zip(ids).enumerate() {
            if dropping.offer(record, id) {
                kept.push(i);
            }
        }
        self.pixels = self.pixels.at(&kept)?;
        let (records, report) = dropping.end();
        self.set.records = records;
        Ok(report)
    }

    /// As [`crate::near_duplicates`].
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn near_duplicates(&self, options: &NearDuplicateOptions) -> Result<Groups> {
        let pairs = Looks::new(self, options)?.pairs()?;
        Ok(Groups::join(&self.set, pairs))
    }

    /// The records at `positions`, which must be there, as a listing of their own over the same file.
    ///
    /// # Errors
    /// No position at all, or one past the end.
    pub fn part(&self, positions: &[usize]) -> Result<Self> {
        let pixels = self.pixels.at(positions)?;
        Ok(Self {
            set: self.chosen(positions, |i| Ok(self.set.records[i].picture.clone()))?,
            pixels,
        })
    }

    /// The same with their pixels, in memory.
    ///
    /// # Errors
    /// As [`Listing::part`]; the file cannot be read.
    pub fn held(&self, positions: &[usize]) -> Result<ImageSet> {
        self.chosen(positions, |i| self.picture(i))
    }

    /// The records at `positions` with these pictures.
    fn chosen(
        &self,
        positions: &[usize],
        picture: impl Fn(usize) -> Result<Picture>,
    ) -> Result<ImageSet> {
        let record = |&i: &usize| -> Result<Record> {
            let Some(record) = self.set.records.get(i) else {
                return Err(Error::options(
                    format!("record {i} of {}", self.set.len()),
                    "ask for one that is there",
                ));
            };
            Ok(Record {
                picture: picture(i)?,
                ..record.clone()
            })
        };
        let records = positions.iter().map(record).collect::<Result<_>>()?;
        ImageSet::new(self.set.source.clone(), self.set.licence.clone(), records)
    }

    /// As [`crate::save_folder`].
    ///
    /// # Errors
    /// As [`crate::save_folder`]; the file cannot be read.
    pub fn save_folder(&self, folder: &Path) -> Result<()> {
        export::save(&self.set, &|i| Ok(Cow::Owned(self.picture(i)?)), folder)
    }
}

impl Pictures for Listing {
    type Failure = Error;

    fn count(&self) -> usize {
        self.set.len()
    }

    fn picture(&self, place: usize) -> Result<Cow<'_, Picture>> {
        Ok(Cow::Owned(Listing::picture(self, place)?))
    }
}

#[cfg(all(test, feature = "parquet"))]
mod tests {
    use super::*;
    use crate::{Split, dedupe, near_duplicates, save_folder};

    fn both(source: &str, options: &LoadOptions<'_>) -> (ImageSet, Listing) {
        let dir = tempfile::tempdir().unwrap();
        let listing = Listing::of(source, options, dir.path()).unwrap();
        // Nothing of it has a name, and the folder may go.
        assert!(dualmd_files::list(dir.path()).unwrap().is_empty());
        (crate::load(source, options).unwrap(), listing)
    }

    fn assert_same(set: &ImageSet, listing: &Listing) {
        assert_eq!(set.len(), listing.set().len());
        assert_eq!(
            (&set.source, &set.notes),
            (&listing.set.source, &listing.set.notes)
        );
        for (i, record) in set.records.iter().enumerate() {
            assert_eq!(listing.picture(i).unwrap(), record.picture);
            let listed = &listing.set().records[i];
            assert!(listed.picture.pixels.is_empty());
            let picture = record.picture.clone();
            assert_eq!(
                Record {
                    picture,
                    ..listed.clone()
                },
                *record
            );
        }
    }

    #[test]
    fn a_listing_comes_to_what_a_set_in_memory_comes_to() {
        let options = LoadOptions {
            image_size: Some(16),
            ..LoadOptions::default()
        };
        let (mut set, mut listing) = both("emoji#google+twitter", &options);
        // One twice, and one that only its size tells apart.
        set.records.extend_from_within(3..5);
        listing = listing
            .part(&(0..listing.set().len()).chain(3..5).collect::<Vec<_>>())
            .unwrap();
        set.notes.clear();
        assert_same(&set, &listing);
        let report = dedupe(&mut set);
        assert_eq!(listing.dedupe().unwrap(), report);
        assert_eq!(report.same_content, 2);
        assert_same(&set, &listing);
        let near = NearDuplicateOptions::default();
        let groups = near_duplicates(&set, &near);
        assert_eq!(listing.near_duplicates(&near).unwrap(), groups);
        assert!(groups.shared() > 0);
        let split = |set: &ImageSet| Split::half(set, &groups, 64, Some(64), 1).unwrap();
        let drawn = split(listing.set());
        assert_eq!(drawn.hash(), split(&set).hash());
        // And folders of a side.
        let dir = tempfile::tempdir().unwrap();
        let chosen = drawn.select(&set).unwrap().d1;
        let part = listing.part(&chosen).unwrap();
        part.save_folder(&dir.path().join("listed")).unwrap();
        let records = chosen.iter().map(|&i| set.records[i].clone()).collect();
        let whole = ImageSet::new(set.source.clone(), None, records).unwrap();
        save_folder(&whole, &dir.path().join("held")).unwrap();
        let files = |name: &str| {
            let files = dualmd_files::list(&dir.path().join(name)).unwrap();
            let read = |p: PathBuf| {
                (
                    p.file_name().unwrap().to_owned(),
                    std::fs::read(&p).unwrap(),
                )
            };
            files.into_iter().map(read).collect::<Vec<_>>()
        };
        assert_eq!(files("listed"), files("held"));
        assert_eq!(files("held").len(), chosen.len() + 1);
    }

    #[test]
    fn grey_pictures_become_colour_beside_others() {
        let dir = tempfile::tempdir().unwrap();
        for (name, channels) in [("a", 1), ("b", 3)] {
            let picture = Picture::filled(4, 4, channels, 7);
            crate::save_png(&dir.path().join(format!("{name}.png")), &picture).unwrap();
        }
        let source = dir.path().to_str().unwrap();
        let (set, mut listing) = both(source, &LoadOptions::default());
        assert_same(&set, &listing);
        assert_eq!(listing.dedupe().unwrap().same_resized, 1);
        assert!(listing.picture(1).is_err() && listing.part(&[1]).is_err());
    }

    /// Floats of the file are those of memory, bit by bit, in any order and more than once.
    #[test]
    fn pictures_come_back_with_their_pixels_and_as_the_same_floats() {
        let (set, listing) = both("emoji#google", &LoadOptions::default());
        let positions = [7, 0, 7, 7, 3];
        let floats = listing.pixels().to_f32(&positions).unwrap();
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&floats), bits(&set.to_f32(&positions)));
        assert!(listing.pixels().to_f32(&[set.len()]).is_err());
        let held = listing.held(&positions[..2]).unwrap();
        assert_eq!(
            held.records,
            [set.records[7].clone(), set.records[0].clone()]
        );
        assert!(listing.held(&[set.len()]).is_err());
        // Over another file with the same bytes.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("two.pixels");
        let two = [7, 0].map(|i| set.records[i].picture.pixels.clone());
        std::fs::write(&path, two.concat()).unwrap();
        let open = |n| {
            let file = dualmd_files::open(&path).unwrap();
            Pixels::stored(file, &path, set.shape(), n)
        };
        let part = listing.part(&[7, 0]).unwrap();
        let over = Listing::over(part.set().clone(), open(2).unwrap()).unwrap();
        assert_same(&held, &over);
        let wrong = Listing::over(listing.set().clone(), open(2).unwrap());
        assert!(wrong.unwrap_err().to_string().contains("2 pictures"));
    }

    #[test]
    fn a_full_disk_is_named() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        let mut spool = Spool {
            file: BufWriter::new(full.unwrap()),
            ..Spool::new(&std::env::temp_dir()).unwrap()
        };
        let large = Picture::filled(128, 128, 3, 1);
        let said = spool.keep(large).unwrap_err().to_string();
        assert!(
            said.contains("No space left") && said.contains("make room"),
            "{said}"
        );
    }

    #[test]
    fn a_side_of_a_split_can_be_listed() {
        let set = crate::load("fashion", &LoadOptions::default()).unwrap();
        let split = Split::half(&set, &Groups::given(&set), 8, Some(8), 0).unwrap();
        let options = LoadOptions {
            split: Some(&split),
            ..LoadOptions::default()
        };
        let (set, listing) = both("fashion#d2", &options);
        assert_eq!(set.len(), 4);
        assert_same(&set, &listing);
    }
}
