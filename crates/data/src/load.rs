//! From a name or a path to an [`ImageSet`].

use std::path::Path;

use crate::decode::Alpha;
use crate::listing::Spool;
use crate::read::{self, Collector};
use crate::split::Split;
use crate::{Error, Filter, ImageSet, Result};

/// Names of the sets that are part of the program.
pub const BUNDLED: [&str; 2] = ["fashion", "emoji"];
/// Vendors whose drawings the set `emoji` has, in its order.
pub const VENDORS: [&str; 3] = ["google", "twitter", "fluent3d"];
/// Sides of a split that a source may end in.
const SIDES: [&str; 4] = ["member", "nonmember", "d1", "d2"];

/// How to load. The limits guard against decompression bombs and mistaken paths, and are far above honest use.
#[derive(Debug, Clone)]
pub struct LoadOptions<'a> {
    /// Side of the square to bring every picture to, in pixels; None keeps the sizes, which must then be all the same.
    pub image_size: Option<u32>,
    /// 1 (grey) or 3 (colour); None keeps grey if every picture is grey.
    pub channels: Option<u8>,
    /// The antialiased filter for resizing.
    pub resize: Filter,
    /// Whether the set's notes say which pictures were brought to another size or to other channels: for whoever shows them to a model
    /// that was trained by others, in their way.
    pub tell_changes: bool,
    /// Column or key that holds the captions; None takes the one of `text`, `caption`, `captions`, `prompt` that is there,
    /// and refuses to choose between several.
    pub caption_column: Option<&'a str>,
    /// Column or key whose value is the class of a picture; None takes `label` where it is there, and otherwise what the source has in
    /// its place: the folder a picture lies in, `.cls` in a WebDataset.
    pub label_column: Option<&'a str>,
    /// Column or key whose value says what belongs together; None takes `group` where it is there.
    pub group_column: Option<&'a str>,
    /// Column or key whose value is the pictures' name in what is written about them; None takes `original` where it is there, as
    /// [`crate::save_folder`] writes it, and otherwise the file's name or the row's number.
    pub id_column: Option<&'a str>,
    /// What becomes of transparency.
    pub alpha: Alpha,
    /// The split that `#member`, `#nonmember`, `#d1` and `#d2` refer to.
    pub split: Option<&'a Split>,
    /// Most pixels of one picture, before resizing.
    pub max_pixels: u64,
    /// Most bytes of one encoded picture.
    pub max_file_bytes: u64,
    /// Most bytes of an unpacked array or table (IDX, CIFAR, npy, a row group of parquet).
    pub max_table_bytes: u64,
    /// Most bytes that what is no picture in a picture's file, such as a colour profile, unpacks to.
    pub max_metadata_bytes: u64,
    /// Most bytes that a packed file (npz, `.gz`, parquet) unpacks to for each of its bytes, from 256 MiB on.
    pub max_unpacking: u64,
    /// Most pictures of a set.
    pub max_records: usize,
}

impl LoadOptions<'_> {
    /// Most bytes that a file of `packed` bytes may unpack to.
    #[must_use]
    pub fn budget(&self, packed: u64) -> u64 {
        packed
            .saturating_mul(self.max_unpacking)
            .max(256 << 20)
            .min(self.max_table_bytes)
    }
}

impl Default for LoadOptions<'_> {
    fn default() -> Self {
        Self {
            image_size: None,
            channels: None,
            resize: Filter::Bilinear,
            tell_changes: false,
            caption_column: None,
            label_column: None,
            group_column: None,
            id_column: None,
            alpha: Alpha::White,
            split: None,
            max_pixels: 64_000_000,
            max_file_bytes: 256 << 20,
            max_table_bytes: 4 << 30,
            max_metadata_bytes: 16 << 20,
            // Deflate reaches 1,032; of real pictures, flat drawings reach some fifty.
            max_unpacking: 64,
            max_records: 2_000_000,
        }
    }
}

/// Loads a set: a bundled name (`fashion`, `emoji`) or a path, whose form is recognised by its content:
///
/// - a folder of PNG, JPEG, WebP, BMP or GIF files, at any depth and in sorted order. Captions come from
///   `metadata.jsonl` or `metadata.csv` (`file_name`, captions, `group`, `label`) or, for pictures that have none there,
///   from `NAME.txt` beside `NAME.png`, one to a line; the folder a picture lies in is its label. Of a folder of generated
///   images ([`crate::drawn`]) the numbered ones are read, and not the sheet or what lies in `nearest/`;
/// - parquet: a file or a folder of them, with an `image` column (`img` also) of bytes or `{bytes, path}`, and
///   optionally captions, `label`, `group`;
/// - WebDataset: a `.tar` or a folder of them, with `.txt`, `.json` (captions, `label`, `group`), `.cls` beside the
///   pictures; tables without pictures beside the archives, as img2dataset writes them, are left out;
/// - CIFAR-10/100 in the binary version: a file, or the folder (its training files, in the official order; `DATA#test`: its
///   test file);
/// - IDX images (`.gz` too): a file, or the folder (its training images; `DATA#test`: its test images); labels beside them
///   are used;
/// - `.npz` / `.npy`: uint8 `[N, H, W, C]` or `[N, H, W]`; in an archive the array `arr_0`, `x` or `images`.
///
/// Captions are a string or a list of strings (in `metadata.csv`: a cell such as `["a", "b"]`), in the column
/// `options.caption_column`, or else in the one column of `text`, `caption`, `captions`, `prompt`. A caption is trimmed
/// and an empty one dropped. A label is in the column `options.label_column`, or else in `label`. In a WebDataset the `.txt` is the column `txt`, and comes before the `.json`.
///
/// A folder whose files or folders are called after different parts of a set (`train`, `test`...) is not read as one:
/// `DATA#train` is one of them and `DATA#test+train` are several, always in sorted order. `DATA#member`,
/// `DATA#nonmember`, `DATA#d1`, `DATA#d2` select a side of `options.split`. `emoji#google`, `emoji#twitter`,
/// `emoji#fluent3d` are the drawings of one vendor and `emoji#google+twitter` those of several, always in the order of
/// [`VENDORS`]; `emoji` alone is `emoji#google`. A side comes last: `emoji#fluent3d#member`.
///
/// What was left out, and why, is in the set's `notes`.
///
/// # Errors
/// No such source, a broken or oversized picture (named; nothing is skipped in silence), a form that is not understood,
/// several columns that may be the captions, several parts and none chosen, a column or part that is not there, options that
/// do not fit, or a split made from other data.
pub fn load(source: &str, options: &LoadOptions<'_>) -> Result<ImageSet> {
    let (base, side) = with_side(source);
    let mut set = collected(source, base, side, options, None)?;
    if let Some(side) = side {
        let order = of_side(&set, side, options)?;
        set.records = order.iter().map(|&i| set.records[i].clone()).collect();
    }
    Ok(set)
}

/// The same, with the pixels in the spool; with the places of a side, where the source names one.
pub(crate) fn spooled(
    source: &str,
    options: &LoadOptions<'_>,
    spool: &mut Spool,
) -> Result<(ImageSet, Option<Vec<usize>>)> {
    let (base, side) = with_side(source);
    let set = collected(source, base, side, options, Some(spool))?;
    let order = side.map(|side| of_side(&set, side, options)).transpose()?;
    Ok((set, order))
}

/// What stands before the side of a split that a source may end in, and the side.
fn with_side(source: &str) -> (&str, Option<&str>) {
    match cut(source) {
        Some((rest, part)) if SIDES.contains(&part) => (rest, Some(part)),
        _ => (source, None),
    }
}

/// All pictures of a source, with notes on those of a side where one is wanted; with a spool their pixels are there.
fn collected(
    source: &str,
    base: &str,
    side: Option<&str>,
    options: &LoadOptions<'_>,
    spool: Option<&mut Spool>,
) -> Result<ImageSet> {
    if !matches!(options.channels, None | Some(1 | 3)) {
        return Err(Error::options(
            "`channels` is neither 1 nor 3",
            "use 1 for grey, 3 for colour",
        ));
    }
    let (base, part) = match cut(base) {
        Some((rest, part)) => (rest, Some(part)),
        None => (base, None),
    };
    let mut collector = Collector::new(options);
    collector.spool = spool;
    collector.side = side;
    let mut chosen = vec![VENDORS[0]];
    if let Some(part) = part {
        if base != "emoji" && Path::new(base).is_dir() {
            collector.parts = parts(base, part)?;
        } else {
            chosen = vendors(base, part)?;
        }
    }
    let licence = read::read(base, &chosen, &mut collector)?;
    collector.check_columns(base)?;
    let notes = collector.notes();
    if collector.records.is_empty() && !notes.is_empty() {
        return Err(Error::format(
            source,
            format!("there is no picture in it ({})", notes.join("; ")),
            "check the path, or what it should hold",
        ));
    }
    let mut set = ImageSet::new(source.to_owned(), licence, collector.records)?;
    set.notes = notes;
    Ok(set)
}

/// What stands before and after the last `#`, unless that is how a file is called.
fn cut(source: &str) -> Option<(&str, &str)> {
    source
        .rsplit_once('#')
        .filter(|_| !Path::new(source).exists())
}

/// The parts of a folder that `part` names.
fn parts(base: &str, part: &str) -> Result<Vec<String>> {
    let names: Vec<String> = part.split('+').map(str::to_owned).collect();
    if names.iter().any(String::is_empty) {
        return Err(Error::options(
            format!("`#{part}` means nothing after `{base}`"),
            "use #member, #nonmember, #d1 or #d2 (sides of a split), or # and the name of a part, such as #train",
        ));
    }
    Ok(names)
}

/// The vendors that `part` names, in the set's order.
fn vendors(base: &str, part: &str) -> Result<Vec<&'static str>> {
    let emoji = base == "emoji";
    let named: Vec<&str> = part.split('+').collect();
    if !emoji || named.iter().any(|name| !VENDORS.contains(name)) {
        let mut remedy = "use #member, #nonmember, #d1 or #d2 (sides of a split)".to_owned();
        if emoji {
            let list = VENDORS.join(", ");
            remedy += &format!(", or # and vendors joined by + (of {list})");
        }
        let problem = format!("`#{part}` means nothing after `{base}`");
        return Err(Error::options(problem, remedy));
    }
    Ok(VENDORS.into_iter().filter(|v| named.contains(v)).collect())
}

/// The places of a side.
fn of_side(set: &ImageSet, side: &str, options: &LoadOptions<'_>) -> Result<Vec<usize>> {
    let Some(split) = options.split else {
        return Err(Error::options(
            format!("`{}` needs a split", set.source),
            "name the split file with --split",
        ));
    };
    let selected = split.select(set)?;
    Ok(match side {
        "member" => selected.members,
        "nonmember" => selected.nonmembers,
        "d1" => selected.d1,
        _ => selected.d2,
    })
}
