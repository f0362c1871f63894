//! The readers, and the choice between them.

mod bundled;
mod cifar;
mod columns;
mod folder;
mod idx;
mod npy;
mod parquet;
mod webdataset;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub(crate) use npy::{read_npz_i64, rows as npy_rows};

use crate::decode::{check_pixels, decode_file};
use crate::{BUNDLED, Error, FileFacts, LoadOptions, Picture, Record, Result};

/// Collects records: every picture of every form passes through here, members and non-members alike.
pub(crate) struct Collector<'a> {
    pub options: &'a LoadOptions<'a>,
    pub records: Vec<Record>,
    /// Names of the columns or keys that were there to choose from, in any part of the source.
    columns: BTreeSet<String>,
}

/// What a reader knows of a picture besides its pixels.
#[derive(Default)]
pub(crate) struct About {
    pub name: String,
    pub captions: Vec<String>,
    pub label: Option<String>,
    pub group: Option<String>,
    /// Filled in by [`Collector::add_encoded`].
    pub file: Option<FileFacts>,
}

impl<'a> Collector<'a> {
    pub fn new(options: &'a LoadOptions<'a>) -> Self {
        Self {
            options,
            records: Vec::new(),
            columns: BTreeSet::new(),
        }
    }

    /// Notes the columns of a table, for [`Collector::check_columns`].
    pub fn note_columns<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) {
        for name in names {
            if !self.columns.contains(name) {
                self.columns.insert(name.to_owned());
            }
        }
    }

    /// Refuses a column that the user named and no part of the source has.
    pub fn check_columns(&self, source: &str) -> Result<()> {
        let wishes = [
            ("caption_column", self.options.caption_column),
            ("group_column", self.options.group_column),
        ];
        for (key, name) in wishes {
            let Some(name) = name.filter(|n| !self.columns.contains(*n)) else {
                continue;
            };
            let list: Vec<&str> = self.columns.iter().map(String::as_str).collect();
            let there = if list.is_empty() {
                "it has no columns".to_owned()
            } else {
                format!("the columns are: {}", list.join(", "))
            };
            return Err(Error::format(
                source,
                format!("no column `{name}` ({there})"),
                format!("correct `{key}`, or leave it out"),
            ));
        }
        Ok(())
    }

    /// Adds an encoded picture (PNG, JPEG...). `place` is what messages call it.
    pub fn add_encoded(&mut self, bytes: &[u8], place: &str, mut about: About) -> Result<()> {
        let (picture, file) = decode_file(bytes, place, self.options)?;
        about.file = Some(file);
        self.add(picture, place, about)
    }

    /// Adds a picture as it is in the source; id first, then size and channels.
    pub fn add(&mut self, picture: Picture, place: &str, about: About) -> Result<()> {
        check_pixels(picture.width, picture.height, place, self.options)?;
        self.check_count(self.records.len() as u64 + 1, place)?;
        let id = picture.id();
        let picture = match self.options.image_size {
            Some(size) => picture
                .to_square(size, self.options.resize, self.options.max_pixels)
                .map_err(|e| Error::Picture {
                    place: place.to_owned(),
                    reason: e.to_string(),
                })?,
            None => picture,
        };
        let picture = match self.options.channels {
            Some(channels) => picture.with_channels(channels),
            None => picture,
        };
        let About {
            name,
            captions,
            label,
            group,
            file,
        } = about;
        self.records.push(Record {
            id,
            picture,
            captions,
            group,
            label,
            name,
            file,
        });
        Ok(())
    }

    /// Refuses more pictures than the limit; called with a count that a header promises before room is made for it.
    pub fn check_count(&self, count: u64, place: &str) -> Result<()> {
        if count > self.options.max_records as u64 {
            return Err(Error::TooLarge {
                place: place.to_owned(),
                found: format!("{count} pictures"),
                limit: format!("{} pictures", self.options.max_records),
                key: "max_records",
            });
        }
        Ok(())
    }

    /// Refuses an unpacked table over the limit.
    pub fn check_table(&self, bytes: u64, place: &str) -> Result<()> {
        if bytes > self.options.max_table_bytes {
            return Err(Error::TooLarge {
                place: place.to_owned(),
                found: format!("{bytes} bytes when unpacked"),
                limit: format!("{} bytes", self.options.max_table_bytes),
                key: "max_table_bytes",
            });
        }
        Ok(())
    }
}

/// Reads `source` into the collector and returns its licence where the source states one. `vendors` are those wanted of
/// the emoji.
pub(crate) fn read(
    source: &str,
    vendors: &[&str],
    into: &mut Collector<'_>,
) -> Result<Option<String>> {
    if BUNDLED.contains(&source) {
        return bundled::read(source, vendors, into);
    }
    let path = Path::new(source);
    if path.is_dir() {
        return read_folder(path, into);
    }
    if !path.is_file() {
        return Err(Error::UnknownSource {
            name: source.to_owned(),
            bundled: BUNDLED.join(", "),
        });
    }
    match kind(path) {
        Some(Kind::Parquet) => return parquet::read_file(path, into),
        Some(Kind::Tar) => webdataset::read(path, into)?,
        Some(Kind::Npy) => npy::read(path, into)?,
        Some(Kind::Cifar) => cifar::read_file(path, into)?,
        Some(Kind::Idx) => idx::read(path, into)?,
        Some(Kind::Picture) => {
            return Err(Error::format(
                source,
                "this is one picture",
                "name the folder that holds the pictures",
            ));
        }
        None => {
            return Err(Error::format(
                source,
                "this form of data is not known",
                "use a folder of pictures, .parquet, WebDataset .tar, CIFAR .bin, IDX, .npz or .npy",
            ));
        }
    }
    Ok(None)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Parquet,
    Tar,
    Npy,
    Cifar,
    Idx,
    Picture,
}

/// The form of a file, by its name.
fn kind(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let bare = name.strip_suffix(".gz").unwrap_or(&name);
    match extension(path).as_str() {
        "parquet" => Some(Kind::Parquet),
        "tar" => Some(Kind::Tar),
        "npy" | "npz" => Some(Kind::Npy),
        "bin" => Some(Kind::Cifar),
        e if crate::decode::READABLE.contains(&e) => Some(Kind::Picture),
        _ if bare.ends_with("-ubyte") || bare.ends_with(".idx") || bare.contains("idx3") => {
            Some(Kind::Idx)
        }
        _ => None,
    }
}

/// The ending of a file's name in lower case, without the dot; empty if there is none.
fn extension(path: &Path) -> String {
    path.extension()
        .map(|e| e.to_string_lossy().to_lowercase())
        .unwrap_or_default()
}

fn read_folder(path: &Path, into: &mut Collector<'_>) -> Result<Option<String>> {
    let files = crate::drawn::images(folder::walk(path)?)?;
    let of = |kinds: &[Kind]| -> Vec<PathBuf> {
        files
            .iter()
            .filter(|f| kind(f).is_some_and(|k| kinds.contains(&k)))
            .cloned()
            .collect()
    };
    let pictures = of(&[Kind::Picture]);
    let tables = of(&[Kind::Parquet]);
    let tars = of(&[Kind::Tar]);
    let arrays = of(&[Kind::Cifar, Kind::Idx]);
    let found = [
        !pictures.is_empty(),
        !tables.is_empty(),
        !tars.is_empty(),
        !arrays.is_empty(),
    ];
    if found.iter().filter(|f| **f).count() > 1 {
        return Err(Error::format(
            path.display().to_string(),
            "the folder holds several forms of data (pictures, parquet, tar, binary arrays)",
            "name the file or sub-folder that is meant",
        ));
    }
    if !tables.is_empty() {
        let mut licence = None;
        for table in &tables {
            licence = parquet::read_file(table, into)?.or(licence);
        }
        return Ok(licence);
    }
    if !tars.is_empty() {
        for tar in &tars {
            webdataset::read(tar, into)?;
        }
    } else if !arrays.is_empty() {
        if arrays.iter().any(|f| kind(f) == Some(Kind::Cifar)) {
            cifar::read_folder(path, &arrays, into)?;
        } else {
            idx::read_folder(path, &arrays, into)?;
        }
    } else {
        folder::read(path, &files, into)?;
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
