//! IDX, the form of MNIST and Fashion-MNIST: big-endian magic 2051, count, rows, columns, then bytes.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::{About, Collector, some};
use crate::npy::exactly;
use crate::{Error, Picture, Result};

const IMAGES: u32 = 0x0803;
const LABELS: u32 = 0x0801;

/// The folder's training images; test images are read when named, or as the part `test`.
pub(super) fn read_folder(root: &Path, files: &[PathBuf], into: &mut Collector<'_>) -> Result<()> {
    let name = |f: &PathBuf| {
        f.file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let images: Vec<&PathBuf> = files
        .iter()
        .filter(|f| name(f).contains("images"))
        .collect();
    let of = |start: &[&str]| {
        let mut found = images
            .iter()
            .filter(|f| start.iter().any(|s| name(f).starts_with(s)));
        found.next().copied()
    };
    let file = match into.parts.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => of(&["train"]).or(match images[..] {
            [only] => Some(only),
            _ => None,
        }),
        ["train"] => of(&["train"]),
        ["test"] => of(&["t10k", "test"]),
        _ => None,
    };
    let Some(file) = file else {
        return Err(Error::format(
            root.display().to_string(),
            "no single file of such images among the IDX files",
            "name the file, such as train-images-idx3-ubyte.gz, or the part, #train or #test",
        ));
    };
    let others: Vec<String> = images
        .iter()
        .filter(|f| **f != file)
        .map(|f| name(f))
        .collect();
    if !others.is_empty() {
        into.say(format!(
            "{} was read, not {}",
            name(file),
            some(&others, others.len())
        ));
    }
    read(file, into)
}

pub(super) fn read(path: &Path, into: &mut Collector<'_>) -> Result<()> {
    let place = path.display().to_string();
    let packed = std::fs::metadata(path)
        .map_err(|e| Error::read(path, e))?
        .len();
    let mut stream = open(path)?;
    let [count, height, width] = header::<3>(&mut stream, IMAGES, &place)?;
    into.check_count(u64::from(count), &place)?;
    let size = u64::from(height) * u64::from(width);
    into.check_budget(size.saturating_mul(u64::from(count)), packed, &place)?;
    crate::decode::check_pixels(width, height, &place, into.options)?;
    let labels = labels_beside(path, count)?;
    for row in 0..count {
        let place = format!("{place}, picture {row}");
        let pixels = exactly(&mut stream, size).map_err(|e| broken(&place, &e))?;
        let label = labels.as_ref().map(|l| l[row as usize].to_string());
        let about = About {
            name: row.to_string(),
            label,
            ..About::default()
        };
        into.add(
            Picture {
                width,
                height,
                channels: 1,
                pixels,
            },
            &place,
            about,
        )?;
    }
    Ok(())
}

/// The labels of `...-images-idx3-ubyte` are in `...-labels-idx1-ubyte`, packed or not.
fn labels_beside(path: &Path, count: u32) -> Result<Option<Vec<u8>>> {
    let name = path
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    let other = name.replace("images", "labels").replace("idx3", "idx1");
    if other == name {
        return Ok(None);
    }
    let bare = other.strip_suffix(".gz").unwrap_or(&other);
    let candidates = [bare.to_owned(), format!("{bare}.gz")].map(|n| path.with_file_name(n));
    let Some(found) = candidates.into_iter().find(|p| p.is_file()) else {
        return Ok(None);
    };
    Ok(Some(labels(&found, count)?))
}

fn labels(path: &Path, count: u32) -> Result<Vec<u8>> {
    let place = path.display().to_string();
    let mut stream = open(path)?;
    let [n] = header::<1>(&mut stream, LABELS, &place)?;
    if n != count {
        let problem = format!("{n} labels for {count} pictures");
        return Err(Error::format(
            place,
            problem,
            "take both files from the same release",
        ));
    }
    exactly(&mut stream, n.into()).map_err(|e| broken(&place, &e))
}

fn open(path: &Path) -> Result<Box<dyn Read>> {
    let file = BufReader::new(dualmd_files::open(path)?);
    let packed = path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("gz"));
    Ok(if packed {
        Box::new(BufReader::new(flate2::read::GzDecoder::new(file)))
    } else {
        Box::new(file)
    })
}

/// The magic number, checked, and the N big-endian sizes after it.
fn header<const N: usize>(stream: &mut dyn Read, magic: u32, place: &str) -> Result<[u32; N]> {
    let mut word = || -> Result<u32> {
        let mut bytes = [0; 4];
        stream
            .read_exact(&mut bytes)
            .map_err(|e| broken(place, &e))?;
        Ok(u32::from_be_bytes(bytes))
    };
    let found = word()?;
    if found != magic {
        let what = if magic == IMAGES { "images" } else { "labels" };
        let problem = format!("it starts with {found}, and IDX {what} start with {magic}");
        return Err(Error::format(place, problem, "name a file of 8-bit images"));
    }
    let mut sizes = [0; N];
    for size in &mut sizes {
        *size = word()?;
    }
    Ok(sizes)
}

fn broken(place: &str, error: &std::io::Error) -> Error {
    Error::format(
        place,
        format!("the file is cut short or broken ({error})"),
        "download it again",
    )
}
