//! NumPy arrays: `.npy`, and `.npz` archives of them. Nothing here reads pickles.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use super::{About, Collector, extension};
use crate::decode::{flatten, shows};
use crate::npy::{Header, Unreadable, exactly};
use crate::{Error, Picture, Result};

/// Names an archive's pictures may have, in order of preference.
const NAMES: [&str; 3] = ["arr_0", "x", "images"];

pub(super) fn read(path: &Path, into: &mut Collector<'_>) -> Result<()> {
    let place = path.display().to_string();
    let file = dualmd_files::open(path)?;
    let length = file.metadata().map_err(|e| Error::read(path, e))?.len();
    if extension(path) == "npy" {
        return read_pictures(BufReader::new(file), None, &place, into);
    }
    let mut archive = open_archive(path)?;
    let Some(name) = NAMES
        .into_iter()
        .find(|n| archive.index_for_name(&format!("{n}.npy")).is_some())
    else {
        let found: Vec<&str> = archive.file_names().collect();
        let problem = format!(
            "no array {} in it (it has {})",
            NAMES.join(", "),
            found.join(", ")
        );
        return Err(Error::format(
            place,
            problem,
            "save the pictures as `images`",
        ));
    };
    let entry = archive
        .by_name(&format!("{name}.npy"))
        .map_err(|e| broken(&place, &e))?;
    read_pictures(entry, Some(length), &format!("{place}, array {name}"), into)
}

/// `packed`: bytes of the archive that the array is in.
fn read_pictures(
    mut stream: impl Read,
    packed: Option<u64>,
    place: &str,
    into: &mut Collector<'_>,
) -> Result<()> {
    let header = header(&mut stream, place)?;
    if header.dtype.plain() != Some(('u', 1)) {
        let problem = format!("its values are {}, not uint8", header.dtype.descr());
        return Err(Error::format(
            place,
            problem,
            "save pictures as uint8 from 0 to 255",
        ));
    }
    let shape = &header.shape;
    let (count, height, width, channels) = match shape[..] {
        [n, h, w] => (n, h, w, 1),
        [n, h, w, c @ (1 | 3 | 4)] => (n, h, w, c),
        _ => {
            let transposed = matches!(shape[..], [_, 1 | 3, _, _]);
            let remedy = if transposed {
                "put the channels last: array.transpose(0, 2, 3, 1)"
            } else {
                "pictures are [N, H, W] or [N, H, W, C] with 1, 3 or 4 channels"
            };
            return Err(Error::format(
                place,
                format!("its shape is {shape:?}"),
                remedy,
            ));
        }
    };
    into.check_count(count, place)?;
    let side = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let (width, height) = (side(width), side(height));
    crate::decode::check_pixels(width, height, place, into.options)?;
    let size = u64::from(height) * u64::from(width) * channels;
    let total = size.saturating_mul(count);
    match packed {
        Some(packed) => into.check_budget(total, packed, place)?,
        None => into.check_table(total, place)?,
    }
    for row in 0..count {
        let place = format!("{place}, picture {row}");
        let mut pixels = exactly(&mut stream, size).map_err(|e| broken(&place, &e))?;
        if channels == 4 {
            if shows::<4>(&pixels) {
                into.note_transparent();
            }
            pixels = flatten::<4>(&pixels, into.options.alpha);
        }
        let channels = if channels == 1 { 1 } else { 3 };
        let about = About {
            name: row.to_string(),
            ..About::default()
        };
        into.add(
            Picture {
                width,
                height,
                channels,
                pixels,
            },
            &place,
            about,
        )?;
    }
    Ok(())
}

/// The first number of the shape of a `.npy` file; 0 of a single number.
pub(crate) fn rows(path: &Path) -> Result<u64> {
    let fail =
        |e: dualmd_files::Error| Error::read(path, std::io::Error::new(e.kind(), e.to_string()));
    let file = dualmd_files::open(path).map_err(fail)?;
    let header = header(BufReader::new(file), &path.display().to_string())?;
    Ok(header.shape.first().copied().unwrap_or(0))
}

/// A one-dimensional int64 array from an `.npz`, as published member lists are kept.
pub(crate) fn read_npz_i64(path: &Path, key: &str) -> Result<Vec<i64>> {
    let place = format!("{}, array {key}", path.display());
    let mut archive = open_archive(path)?;
    let name = format!("{key}.npy");
    if archive.index_for_name(&name).is_none() {
        let found = archive.file_names().collect::<Vec<_>>().join(", ");
        return Err(Error::format(
            place,
            format!("there is no such array (found: {found})"),
            "check the file's origin",
        ));
    }
    let mut entry = archive.by_name(&name).map_err(|e| broken(&place, &e))?;
    let header = header(&mut entry, &place)?;
    if header.dtype.plain() != Some(('i', 8)) || header.shape.len() != 1 {
        let problem = format!("{} of shape {:?}", header.dtype.descr(), header.shape);
        return Err(Error::format(
            place,
            problem,
            "member lists are one-dimensional int64",
        ));
    }
    // A list of a hundred million members is far above honest use.
    let entry = dualmd_files::limited(entry, 1 << 30);
    header.integers(entry).map_err(|e| broken(&place, &e))
}

fn open_archive(path: &Path) -> Result<zip::ZipArchive<BufReader<File>>> {
    let file = dualmd_files::open(path)?;
    zip::ZipArchive::new(BufReader::new(file)).map_err(|e| broken(&path.display().to_string(), &e))
}

/// The header of an `.npy` array, at the beginning of `stream`, which is left at the first value. `place` names it in messages.
///
/// # Errors
/// What is no such header, a pickle, Fortran order, a shape whose product overflows.
pub fn header(stream: impl Read, place: &str) -> Result<Header> {
    let header = Header::read(stream).map_err(|e| match e {
        Unreadable::Pickle => objects(place),
        Unreadable::Broken(reason) => broken(place, &reason),
    })?;
    if header.dtype.has_objects() {
        return Err(objects(place));
    }
    if header.fortran_order && header.shape.len() > 1 {
        return Err(Error::format(
            place,
            "the array is in Fortran order",
            "save numpy.ascontiguousarray(array)",
        ));
    }
    Ok(header)
}

fn objects(place: &str) -> Error {
    Error::format(
        place,
        "it holds Python's objects (a pickle), which are never opened, since opening them runs code",
        "save pictures as one array of uint8: numpy.save(path, numpy.stack(pictures).astype(numpy.uint8))",
    )
}

fn broken(place: &str, error: &dyn std::fmt::Display) -> Error {
    Error::format(
        place,
        format!("the file is cut short or broken ({error})"),
        "write or download it again",
    )
}
