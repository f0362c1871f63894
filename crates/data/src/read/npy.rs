//! NumPy arrays: `.npy`, and `.npz` archives of them. Nothing here reads pickles.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use npyz::{DType, NpyFile, NpyHeader, Order, TypeChar};

use super::{About, Collector, extension};
use crate::decode::{flatten, shows};
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
    if !is_type(&header, TypeChar::Uint, 1) {
        let problem = format!("its values are {}, not uint8", header.dtype().descr());
        return Err(Error::format(
            place,
            problem,
            "save pictures as uint8 from 0 to 255",
        ));
    }
    let shape = header.shape().to_vec();
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
                into.note_transparent(&place);
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
    Ok(header.shape().first().copied().unwrap_or(0))
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
    if !is_type(&header, TypeChar::Int, 8) || header.shape().len() != 1 {
        let problem = format!("{} of shape {:?}", header.dtype().descr(), header.shape());
        return Err(Error::format(
            place,
            problem,
            "member lists are one-dimensional int64",
        ));
    }
    // Not more room than what is really there: the header's count is only a promise.
    let mut values = Vec::new();
    // A list of a hundred million members is far above honest use.
    let entry = dualmd_files::limited(entry, 1 << 30);
    for value in NpyFile::with_header(header, entry)
        .data::<i64>()
        .map_err(|e| broken(&place, &e))?
    {
        values.push(value.map_err(|e| broken(&place, &e))?);
    }
    Ok(values)
}

fn open_archive(path: &Path) -> Result<zip::ZipArchive<BufReader<File>>> {
    let file = dualmd_files::open(path)?;
    zip::ZipArchive::new(BufReader::new(file)).map_err(|e| broken(&path.display().to_string(), &e))
}

/// The next `n` bytes; room is made as they come and not on a header's word.
pub(super) fn exactly(stream: &mut impl Read, n: u64) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(n.min(1 << 20) as usize);
    if stream.take(n).read_to_end(&mut out)? as u64 == n {
        Ok(out)
    } else {
        Err(std::io::ErrorKind::UnexpectedEof.into())
    }
}

/// Longer than NumPy writes for any array of numbers.
const MAX_HEADER: u32 = 1 << 20;

/// The header of an `.npy` array, at the beginning of `stream`, which is left at the first value. `place` names it in messages.
/// Its text is looked at first: what holds Python's objects is a pickle, whose reason is another one than damage, and its length is
/// a number of the file's.
///
/// # Errors
/// What is no such header, a pickle, Fortran order, a shape whose product overflows.
pub fn header(mut stream: impl Read, place: &str) -> Result<NpyHeader> {
    let broken = |e: &dyn std::fmt::Display| broken(place, e);
    let mut start = exactly(&mut stream, 8).map_err(|e| broken(&e))?;
    if start.starts_with(b"\x80") {
        return Err(objects(place));
    }
    let length = match start[..] {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _] => {
            let bytes = exactly(&mut stream, 2).map_err(|e| broken(&e))?;
            start.extend(&bytes);
            bytes.iter().rev().fold(0, |n, &b| n << 8 | u32::from(b))
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', _, _] => {
            let bytes = exactly(&mut stream, 4).map_err(|e| broken(&e))?;
            start.extend(&bytes);
            bytes.iter().rev().fold(0, |n, &b| n << 8 | u32::from(b))
        }
        _ => return Err(broken(&"it does not begin as .npy files do")),
    };
    if length > MAX_HEADER {
        return Err(broken(&format!("a header of {length} bytes")));
    }
    let text = exactly(&mut stream, length.into()).map_err(|e| broken(&e))?;
    // 'descr': '|O', or a field of it.
    if ["'|O'", "\"|O\"", "'O'", "\"O\"", "'|O8'"]
        .iter()
        .any(|o| String::from_utf8_lossy(&text).contains(o))
    {
        return Err(objects(place));
    }
    // The library multiplies the sides without looking.
    if !countable(&String::from_utf8_lossy(&text)) {
        return Err(broken(&"its shape has more values than can be counted"));
    }
    start.extend(text);
    let header = NpyHeader::from_reader(start.as_slice()).map_err(|e| broken(&e))?;
    if header.order() == Order::Fortran && header.shape().len() > 1 {
        return Err(Error::format(
            place,
            "the array is in Fortran order",
            "save numpy.ascontiguousarray(array)",
        ));
    }
    Ok(header)
}

/// Whether the numbers in the parentheses of a header, the sides of its shape, have a product.
fn countable(header: &str) -> bool {
    let after = header.split_once("shape").map_or("", |(_, rest)| rest);
    let inside = after.split_once('(').map_or("", |(_, rest)| rest);
    let shape = inside.split_once(')').map_or(inside, |(shape, _)| shape);
    let sides = shape.split(',').filter_map(|side| {
        let digits = side.trim().trim_end_matches('L');
        (!digits.is_empty()).then(|| digits.parse::<u64>().ok())
    });
    // Room for the bytes of a value, too.
    let product = sides
        .into_iter()
        .try_fold(256_u64, |n, side| n.checked_mul(side?));
    product.is_some()
}

fn objects(place: &str) -> Error {
    Error::format(
        place,
        "it holds Python's objects (a pickle), which are never opened, since opening them runs code",
        "save pictures as one array of uint8: numpy.save(path, numpy.stack(pictures).astype(numpy.uint8))",
    )
}

fn is_type(header: &NpyHeader, kind: TypeChar, bytes: u64) -> bool {
    matches!(header.dtype(), DType::Plain(t) if t.type_char() == kind && t.size_field() == bytes)
}

fn broken(place: &str, error: &dyn std::fmt::Display) -> Error {
    Error::format(
        place,
        format!("the file is cut short or broken ({error})"),
        "write or download it again",
    )
}
