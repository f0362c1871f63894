//! From a name or a path to an [`ImageSet`].

use std::path::Path;

use crate::read::{self, Collector};
use crate::split::{Side, Split};
use crate::{Error, Filter, Half, ImageSet, Result};

/// Names of the sets that are part of the program.
pub const BUNDLED: [&str; 2] = ["fashion", "emoji"];

/// How to load. The limits guard against decompression bombs and mistaken paths, and are far above honest use.
#[derive(Debug, Clone)]
pub struct LoadOptions<'a> {
    /// Side of the square to bring every picture to, in pixels; None keeps the sizes, which must then be all the same.
    pub image_size: Option<u32>,
    /// 1 (grey) or 3 (colour); None keeps grey if every picture is grey.
    pub channels: Option<u8>,
    /// The antialiased filter for resizing.
    pub resize: Filter,
    /// The split that `#member`, `#nonmember`, `#d1` and `#d2` refer to.
    pub split: Option<&'a Split>,
    /// Most pixels of one picture, before resizing.
    pub max_pixels: u64,
    /// Most bytes of one encoded picture.
    pub max_file_bytes: u64,
    /// Most bytes of an unpacked array or table (IDX, CIFAR, npy, a row group of parquet).
    pub max_table_bytes: u64,
    /// Most pictures of a set.
    pub max_records: usize,
}

impl Default for LoadOptions<'_> {
    fn default() -> Self {
        Self {
            image_size: None,
            channels: None,
            resize: Filter::Bilinear,
            split: None,
            max_pixels: 64_000_000,
            max_file_bytes: 256 << 20,
            max_table_bytes: 4 << 30,
            max_records: 2_000_000,
        }
    }
}

/// Loads a set: a bundled name (`fashion`, `emoji`) or a path, whose form is recognised by its content:
///
/// - a folder of PNG, JPEG, WebP, BMP or GIF files, at any depth and in sorted order. Captions come from
///   `metadata.jsonl` (`file_name`, `text` as string or list, `group`, `label`) or from `NAME.txt` beside `NAME.png`,
///   one to a line; the folder a picture lies in is its label;
/// - parquet: a file or a folder of them, with an `image` column (`img` also) of bytes or `{bytes, path}`, and
///   optionally `text` or `caption` (string or list), `label`, `group`;
/// - WebDataset: a `.tar` or a folder of them, with `.txt`, `.json`, `.cls` beside the pictures;
/// - CIFAR-10/100 in the binary version: a file, or the folder (its training files, in the official order);
/// - IDX images (`.gz` too): a file, or the folder (its training images); labels beside them are used;
/// - `.npz` / `.npy`: uint8 `[N, H, W, C]` or `[N, H, W]`; in an archive the array `arr_0`, `x` or `images`.
///
/// `DATA#member`, `DATA#nonmember`, `DATA#d1`, `DATA#d2` select a side of `options.split`.
///
/// # Errors
/// No such source, a broken or oversized picture (named; nothing is skipped in silence), a form that is not understood,
/// options that do not fit, or a split made from other data.
pub fn load(source: &str, options: &LoadOptions<'_>) -> Result<ImageSet> {
    if !matches!(options.channels, None | Some(1 | 3)) {
        return Err(Error::options(
            "`channels` is neither 1 nor 3",
            "use 1 for grey, 3 for colour",
        ));
    }
    let (base, part) = match source.rsplit_once('#') {
        Some((base, part)) if !Path::new(source).exists() => (base, Some(part)),
        _ => (source, None),
    };
    let mut collector = Collector::new(options);
    let licence = read::read(base, &mut collector)?;
    let mut set = ImageSet::new(source.to_owned(), licence, collector.records)?;
    if let Some(part) = part {
        keep_part(&mut set, part, options)?;
    }
    Ok(set)
}

fn keep_part(set: &mut ImageSet, part: &str, options: &LoadOptions<'_>) -> Result<()> {
    let wanted: fn(Side) -> bool = match part {
        "member" => |s| matches!(s, Side::Member(_)),
        "nonmember" => |s| s == Side::NonMember,
        "d1" => |s| s == Side::Member(Half::First),
        "d2" => |s| s == Side::Member(Half::Second),
        _ => {
            return Err(Error::options(
                format!("`#{part}` is not a side of a split"),
                "use #member, #nonmember, #d1 or #d2",
            ));
        }
    };
    let Some(split) = options.split else {
        return Err(Error::options(
            format!("`{}` needs a split", set.source),
            "name the split file with --split",
        ));
    };
    let selected = split.select(set)?;
    let order = match part {
        "member" => selected.members,
        "nonmember" => selected.nonmembers,
        "d1" => selected.d1,
        _ => selected.d2,
    };
    debug_assert!(
        order
            .iter()
            .all(|&i| split.side(set.records[i].id.as_str()).is_some_and(wanted))
    );
    set.records = order.iter().map(|&i| set.records[i].clone()).collect();
    Ok(())
}
