//! The readers, and the choice between them.

mod bundled;
mod cifar;
mod columns;
mod folder;
mod idx;
mod npy;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(not(feature = "parquet"))]
#[path = "no_parquet.rs"]
mod parquet;
mod parts;
mod webdataset;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub(crate) use columns::ID;
pub use npy::header as npy_header;
pub(crate) use npy::{read_npz_i64, rows as npy_rows};

use crate::decode::{Alpha, check_pixels, decode_whole};
use crate::listing::Spool;
use crate::{
    BUNDLED, Error, FileFacts, Half, LoadOptions, Picture, Record, Result, SampleId, Side,
};

/// Collects records: every picture of every form passes through here, members and non-members alike.
pub(crate) struct Collector<'a> {
    pub options: &'a LoadOptions<'a>,
    pub records: Vec<Record>,
    /// Where pixels go that are not to stay in memory.
    pub spool: Option<&'a mut Spool>,
    /// The side of the options' split that is wanted, as a source names it; none: all pictures are.
    pub side: Option<&'a str>,
    /// Names of the parts that are wanted of a folder; empty: it has one.
    pub parts: Vec<String>,
    /// Names of the columns or keys that were there to choose from, in any part of the source.
    columns: BTreeSet<String>,
    /// By reason, how many files or entries were left out, and the first of them.
    skipped: BTreeMap<String, (usize, Vec<String>)>,
    /// What else is to be said.
    said: Vec<String>,
    /// How many pictures would be others with another [`Alpha`].
    transparent: usize,
    /// How many pictures were brought to another size, and the size that the first of them had.
    resized: Option<(usize, [u32; 2])>,
    /// How many pictures were brought to other channels.
    recoloured: usize,
}

/// How many names a note lists.
const NAMED: usize = 3;

/// What a reader knows of a picture besides its pixels.
#[derive(Default)]
pub(crate) struct About {
    pub name: String,
    pub captions: Vec<String>,
    pub label: Option<String>,
    pub group: Option<String>,
    /// What the user calls it, in place of `name`.
    pub called: Option<String>,
    /// Filled in by [`Collector::add_encoded`].
    pub file: Option<FileFacts>,
}

impl<'a> Collector<'a> {
    pub fn new(options: &'a LoadOptions<'a>) -> Self {
        Self {
            options,
            records: Vec::new(),
            spool: None,
            side: None,
            parts: Vec::new(),
            columns: BTreeSet::new(),
            skipped: BTreeMap::new(),
            said: Vec::new(),
            transparent: 0,
            resized: None,
            recoloured: 0,
        }
    }

    /// Notes that a file or entry is left out, and why: nothing is left out in silence.
    pub fn skip(&mut self, why: &str, name: impl Into<String>) {
        let (count, names) = self.skipped.entry(why.to_owned()).or_default();
        *count += 1;
        if names.len() < NAMED {
            names.push(name.into());
        }
    }

    /// Notes something that a reader of the set should know.
    pub fn say(&mut self, note: String) {
        self.said.push(note);
    }

    /// Notes a picture that would be another one with another [`Alpha`].
    pub fn note_transparent(&mut self) {
        self.transparent += 1;
    }

    /// Whether a picture is of the side that is wanted: nothing need be said of what becomes of the others.
    fn is_wanted(&self, id: &SampleId) -> bool {
        let (Some(wanted), Some(split)) = (self.side, self.options.split) else {
            return true;
        };
        split.side(id.as_str()).is_some_and(|side| match side {
            Side::NonMember => wanted == "nonmember",
            Side::Member(Half::First) => ["member", "d1"].contains(&wanted),
            Side::Member(Half::Second) => ["member", "d2"].contains(&wanted),
        })
    }

    /// Notes what becomes of a picture that is of another size, or of other channels, than the options ask for.
    fn note_changes(&mut self, picture: &Picture) {
        let LoadOptions {
            image_size,
            channels,
            tell_changes,
            ..
        } = *self.options;
        if !tell_changes {
            return;
        }
        let size = [picture.width, picture.height];
        if image_size.is_some_and(|side| size != [side, side]) {
            let (count, _) = self.resized.get_or_insert((0, size));
            *count += 1;
        }
        if channels.is_some_and(|channels| channels != picture.channels) {
            self.recoloured += 1;
        }
    }

    /// All notes, for [`crate::ImageSet::notes`].
    pub fn notes(&self) -> Vec<String> {
        let mut out = self.said.clone();
        for (why, (count, names)) in &self.skipped {
            let names = some(names, *count);
            out.push(format!("{} left out, {why}: {names}", number(*count)));
        }
        // Here and below without names: these may be all pictures, and reports that name none repeat it.
        if self.transparent > 0 {
            let done = match self.options.alpha {
                Alpha::White => {
                    "is laid over white (alpha = \"white\"); training scripts that call convert(\"RGB\") show the colours under it \
                     instead, and see other pictures: alpha = \"drop\" is as they do"
                }
                Alpha::Drop => {
                    "is dropped (alpha = \"drop\"), as convert(\"RGB\") does; laid over white they would be other pictures"
                }
            };
            out.push(format!(
                "transparency of {} {done}",
                counted(self.transparent)
            ));
        }
        if let (Some((count, [width, height])), Some(side)) =
            (self.resized, self.options.image_size)
        {
            out.push(format!(
                "{} brought to {side} x {side}, the model's size (the first from {width} x {height}): where the training did that in another \
                 way, attacks find less than there is; give them as the training saw them",
                counted(count)
            ));
        }
        if self.recoloured > 0 {
            let done = match self.options.channels {
                Some(1) => "in colour, and made grey as the model's images are",
                _ => "grey, and made colour as the model's images are",
            };
            out.push(format!(
                "{} {done}: check that the training did so too",
                counted(self.recoloured)
            ));
        }
        out
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
            ("label_column", self.options.label_column),
            ("group_column", self.options.group_column),
            ("id_column", self.options.id_column),
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
        let decoded = decode_whole(bytes, place, self.options)?;
        if decoded.transparent {
            self.note_transparent();
        }
        about.file = Some(decoded.facts);
        self.add(decoded.picture, place, about)
    }

    /// Adds a picture as it is in the source; id first, then size and channels.
    pub fn add(&mut self, picture: Picture, place: &str, about: About) -> Result<()> {
        check_pixels(picture.width, picture.height, place, self.options)?;
        self.check_count(self.records.len() as u64 + 1, place)?;
        let id = picture.id();
        if self.is_wanted(&id) {
            self.note_changes(&picture);
        }
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
        let picture = match &mut self.spool {
            Some(spool) => spool.keep(picture)?,
            None => picture,
        };
        let About {
            name,
            captions,
            label,
            group,
            called,
            file,
        } = about;
        self.records.push(Record {
            id,
            picture,
            captions,
            group,
            label,
            name: called.unwrap_or(name),
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

    /// Refuses to unpack `bytes` from a file of `packed`.
    pub fn check_budget(&self, bytes: u64, packed: u64, place: &str) -> Result<()> {
        self.check_table(bytes, place)?;
        let budget = self.options.budget(packed);
        if bytes > budget {
            return Err(Error::TooLarge {
                place: place.to_owned(),
                found: format!("{bytes} bytes when unpacked, from {packed}"),
                limit: format!("{budget} bytes"),
                key: "max_unpacking",
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

/// A place without the way to its file, for notes, which reports repeat: "x.tar, entry a/1.png" of "/data/x.tar, entry a/1.png".
fn own_name(place: &str) -> String {
    let (path, rest) = place.split_at(place.find(", ").unwrap_or(place.len()));
    let name = Path::new(path).file_name().and_then(|n| n.to_str());
    format!("{}{rest}", name.unwrap_or(path))
}

/// 1200 as "1,200".
fn number(count: usize) -> String {
    dualmd_files::grouped(count as u64)
}

/// "1 picture", "1,200 pictures".
fn counted(pictures: usize) -> String {
    format!(
        "{} picture{}",
        number(pictures),
        if pictures == 1 { "" } else { "s" }
    )
}

/// Names as a note lists them: the first few, and how many more of `count`.
fn some(names: &[String], count: usize) -> String {
    let shown: Vec<String> = names
        .iter()
        .map(|n| dualmd_files::shown(n).to_string())
        .collect();
    match count.saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {} more", shown.join(", "), number(more)),
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

/// What img2dataset writes beside its archives, and where the pictures are.
const NO_PICTURES: &str = "tables without pictures";
/// Arrays in a folder are not a set of their own.
const AN_ARRAY: &str = "arrays are read when they are named themselves";
/// Sheets, and the training images that some lie near.
const BESIDE_DRAWN: &str = "beside generated images, and none of them";
const NO_DATA: &str = "by their names no pictures, and nothing that describes some";

fn read_folder(path: &Path, into: &mut Collector<'_>) -> Result<Option<String>> {
    let all = folder::walk(path, into)?;
    let files = crate::drawn::images(all.clone())?;
    let kept: BTreeSet<&Path> = files.iter().map(PathBuf::as_path).collect();
    for other in all.iter().filter(|f| !kept.contains(f.as_path())) {
        into.skip(BESIDE_DRAWN, folder::relative(path, other));
    }
    let of = |kinds: &[Kind]| -> Vec<PathBuf> {
        files
            .iter()
            .filter(|f| kind(f).is_some_and(|k| kinds.contains(&k)))
            .cloned()
            .collect()
    };
    let mut pictures = of(&[Kind::Picture]);
    let mut tables = of(&[Kind::Parquet]);
    let tars = of(&[Kind::Tar]);
    let arrays = of(&[Kind::Cifar, Kind::Idx]);
    // Files without an ending are pictures where their content says so.
    if tables.is_empty() && tars.is_empty() && arrays.is_empty() {
        for file in files.iter().filter(|f| f.extension().is_none()) {
            if folder::holds_picture(file)? {
                pictures.push(file.clone());
            }
        }
        pictures.sort();
    }
    if !(tables.is_empty() || pictures.is_empty() && tars.is_empty()) {
        tables = tables_with_pictures(path, tables, into)?;
    }
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
    if !tables.is_empty() || !tars.is_empty() {
        left_out(path, &files, &[Kind::Parquet, Kind::Tar], into)?;
    }
    if !tables.is_empty() {
        let mut licence = None;
        for table in &parts::choose(path, tables, into)? {
            licence = parquet::read_file(table, into)?.or(licence);
        }
        return Ok(licence);
    }
    if !tars.is_empty() {
        for tar in &parts::choose(path, tars, into)? {
            webdataset::read(tar, into)?;
        }
    } else if !arrays.is_empty() {
        if arrays.iter().any(|f| kind(f) == Some(Kind::Cifar)) {
            cifar::read_folder(path, &arrays, into)?;
        } else {
            idx::read_folder(path, &arrays, into)?;
        }
    } else {
        let chosen = parts::choose_pictures(path, &pictures, into)?;
        folder::read(path, &files, &chosen, into)?;
    }
    Ok(None)
}

/// Of tables beside pictures or archives, those that hold pictures themselves.
fn tables_with_pictures(
    root: &Path,
    tables: Vec<PathBuf>,
    into: &mut Collector<'_>,
) -> Result<Vec<PathBuf>> {
    let mut kept = Vec::new();
    for table in tables {
        let name = folder::relative(root, &table);
        if table.file_name().is_some_and(|n| n == "metadata.parquet") {
            return Err(Error::format(
                table.display().to_string(),
                "what describes pictures is not read from parquet",
                "write it as metadata.jsonl or metadata.csv, or take it out of the folder",
            ));
        }
        // One that cannot be read may hold anything.
        if parquet::has_pictures(&table)?.unwrap_or(true) {
            kept.push(table);
        } else {
            into.skip(NO_PICTURES, name);
        }
    }
    Ok(kept)
}

/// Notes the files of a folder that are of none of the `kinds` that are read; pictures among them are refused.
fn left_out(
    root: &Path,
    files: &[PathBuf],
    kinds: &[Kind],
    into: &mut Collector<'_>,
) -> Result<()> {
    for file in files {
        match kind(file) {
            Some(k) if kinds.contains(&k) => {}
            Some(Kind::Npy) => into.skip(AN_ARRAY, folder::relative(root, file)),
            _ => {
                folder::refuse_unreadable(file)?;
                into.skip(NO_DATA, folder::relative(root, file));
            }
        }
    }
    Ok(())
}

#[cfg(all(test, feature = "parquet"))]
mod tests;
