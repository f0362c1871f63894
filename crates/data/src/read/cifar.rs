//! CIFAR-10 and CIFAR-100, binary version: per picture one label byte (10) or two (100: coarse, fine), then 32x32 red,
//! green and blue planes.

use std::path::{Path, PathBuf};

use dualmd_files::limit;

use super::{About, Collector, some};
use crate::{Error, Picture, Result};

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;

/// The folder's training files (or as the part `test` its test file) in the official order, so that row numbers agree with published splits.
pub(super) fn read_folder(root: &Path, files: &[PathBuf], into: &mut Collector<'_>) -> Result<()> {
    let name = |f: &PathBuf| {
        f.file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let test = match into.parts.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["train"] => false,
        ["test"] => true,
        _ => {
            return Err(Error::format(
                root.display().to_string(),
                "CIFAR has the parts #train (its training files) and #test",
                "name one of them",
            ));
        }
    };
    let of_part = |f: &&PathBuf| match test {
        false => name(f).starts_with("data_batch") || name(f) == "train.bin",
        true => name(f) == "test_batch.bin" || name(f) == "test.bin",
    };
    let (chosen, others): (Vec<&PathBuf>, Vec<&PathBuf>) = files.iter().partition(of_part);
    if chosen.is_empty() {
        let wanted = if test {
            "test_batch.bin or test.bin"
        } else {
            "data_batch_N.bin or train.bin"
        };
        return Err(Error::format(
            root.display().to_string(),
            format!("no {wanted} in it"),
            "name the folder of the binary version, or one .bin file",
        ));
    }
    let names = |of: &[&PathBuf]| of.iter().map(|f| name(f)).collect::<Vec<_>>();
    if !others.is_empty() {
        let (read, left) = (names(&chosen), names(&others));
        into.say(format!(
            "{} were read, not {}",
            some(&read, read.len()),
            some(&left, left.len())
        ));
    }
    chosen.iter().try_for_each(|file| read_file(file, into))
}

pub(super) fn read_file(path: &Path, into: &mut Collector<'_>) -> Result<()> {
    let place = path.display().to_string();
    let length = std::fs::metadata(path)
        .map_err(|e| Error::read(path, e))?
        .len();
    into.check_table(length, &place)?;
    // What counts is what is read, not what the file's entry says.
    let bytes = dualmd_files::read(path, into.options.max_table_bytes)?;
    let length = bytes.len() as u64;
    let Some(label_bytes) = label_bytes(path, length) else {
        return Err(Error::format(
            place,
            format!(
                "{length} bytes are no whole number of CIFAR-10 (3,073) or CIFAR-100 (3,074) records"
            ),
            "download the binary version again",
        ));
    };
    let names = label_names(path, label_bytes)?;
    let stem = path
        .file_stem()
        .map(|s| s.to_string_lossy().into_owned())
        .unwrap_or_default();
    for (row, record) in bytes.chunks_exact(label_bytes + 3 * PLANE).enumerate() {
        let (labels, planes) = record.split_at(label_bytes);
        // The last label byte is the class itself; CIFAR-100's first is the super-class.
        let class = labels[label_bytes - 1];
        let label = names
            .get(usize::from(class))
            .cloned()
            .unwrap_or_else(|| class.to_string());
        let pixels = (0..PLANE)
            .flat_map(|i| [planes[i], planes[PLANE + i], planes[2 * PLANE + i]])
            .collect();
        let picture = Picture {
            width: SIDE as u32,
            height: SIDE as u32,
            channels: 3,
            pixels,
        };
        let about = About {
            name: format!("{stem}/{row}"),
            label: Some(label),
            ..About::default()
        };
        into.add(picture, &format!("{place}, picture {row}"), about)?;
    }
    Ok(())
}

/// 1 for CIFAR-10, 2 for CIFAR-100, by the official file names or else by the length.
fn label_bytes(path: &Path, length: u64) -> Option<usize> {
    let name = path.file_name()?.to_string_lossy().into_owned();
    let order = if name == "train.bin" || name == "test.bin" {
        [2, 1]
    } else {
        [1, 2]
    };
    order
        .into_iter()
        .find(|n| length > 0 && length.is_multiple_of(n + 3 * PLANE as u64))
        .map(|n| n as usize)
}

fn label_names(path: &Path, label_bytes: usize) -> Result<Vec<String>> {
    let file = if label_bytes == 1 {
        "batches.meta.txt"
    } else {
        "fine_label_names.txt"
    };
    // The names are a convenience: without them labels are numbers.
    let text = match dualmd_files::read_text(&path.with_file_name(file), limit::SETTINGS) {
        Err(e) if e.is_absent() => String::new(),
        other => other?,
    };
    let names = text.lines().map(|l| l.trim().to_owned());
    Ok(names.filter(|l| !l.is_empty()).collect())
}
