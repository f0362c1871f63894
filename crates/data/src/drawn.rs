//! Folders of generated images, as `dualmd sample` and runs leave them: `NNNN.png`, and beside them the same as `samples.npy`, a
//! sheet of the first ones (`grid.png`) and what training images they lie near (`nearest/`).
//!
//! Only the numbered pictures are images. A reader that takes every picture counts the sheet, the members in `nearest/`, and what an
//! earlier call left behind: so the writer clears such a folder ([`room`]) and the reader takes what `samples.npy` speaks of
//! (`images`). The array is written first: a folder without it has no pictures of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::decode::{READABLE, UNREADABLE};
use crate::read::npy_rows;
use crate::{Error, Result};

/// All images as one array, written first.
pub const ARRAY: &str = "samples.npy";
/// A sheet of some of them.
pub const SHEET: &str = "grid.png";
/// Folder of the training images that they lie nearest to.
pub const NEAREST: &str = "nearest";
/// What else describes the images of one call.
const ABOUT: [&str; 2] = ["nearest.json", "prompts.json"];

/// Name of the image with this number.
#[must_use]
pub fn image_name(number: usize) -> String {
    format!("{number:04}.png")
}

/// The number in such a name.
fn number(name: &str) -> Option<usize> {
    let number = name.strip_suffix(".png")?.parse().ok()?;
    (image_name(number) == name).then_some(number)
}

fn is_picture(path: &Path) -> bool {
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    let ending = ending.unwrap_or_default();
    READABLE.contains(&ending.as_str()) || UNREADABLE.contains(&ending.as_str())
}

/// The files of a folder that an earlier call wrote, by their names, and that a new one must not leave; none where there is no
/// folder. Nothing is removed yet, so that this can be asked before hours of work.
///
/// # Errors
/// The folder cannot be read, or holds pictures that no earlier call wrote: they are not deleted, and not mixed with.
pub fn stale(folder: &Path, ours: &dyn Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let entries = match dualmd_files::list(folder) {
        Ok(entries) => entries,
        Err(e) if e.is_absent() => return Ok(Vec::new()),
        Err(e) => return Err(unreadable(folder, &e)),
    };
    let mut found = Vec::new();
    for path in entries {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
        if path.is_dir() && name.as_deref() != Some(NEAREST) {
            continue;
        }
        if name.as_deref().is_some_and(ours) {
            found.push(path);
        } else if is_picture(&path) {
            return Err(Error::format(
                dualmd_files::shown(&path).to_string(),
                "this picture is not of an earlier call, and new ones would be mixed with it",
                "name another folder, or take it out of this one",
            ));
        }
    }
    Ok(found)
}

/// [`stale`] for generated images. A folder is known as one of ours by its `samples.npy`, or by its place (`own`: within a run's
/// folder).
///
/// # Errors
/// As [`stale`].
pub fn room(folder: &Path, own: bool) -> Result<Vec<PathBuf>> {
    let own = own || folder.join(ARRAY).is_file();
    let ours = |name: &str| {
        own && (number(name).is_some()
            || [ARRAY, SHEET, NEAREST].contains(&name)
            || ABOUT.contains(&name))
    };
    let mut found = stale(folder, &ours)?;
    // The array last: a folder that is half cleared is still known as one of ours.
    found.sort_by_key(|path| path.ends_with(ARRAY));
    Ok(found)
}

/// Removes what [`stale`] or [`room`] found.
///
/// # Errors
/// A file cannot be removed.
pub fn clear(stale: &[PathBuf]) -> Result<()> {
    for path in stale {
        let removed = match path.is_dir() && !path.is_symlink() {
            true => dualmd_files::remove_folder(path).map_err(std::io::Error::other),
            false => std::fs::remove_file(path),
        };
        if let Err(e) = removed
            && e.kind() != std::io::ErrorKind::NotFound
        {
            let text = format!("cannot remove {}: {e}", dualmd_files::shown(path));
            return Err(Error::Write(std::io::Error::new(e.kind(), text)));
        }
    }
    Ok(())
}

/// Of the files below a folder those that are to be read: in folders of generated images the numbered pictures and what is no
/// picture, everywhere else all.
///
/// # Errors
/// More or fewer pictures than `samples.npy` speaks of: left by an earlier call, put there by someone, or not all written.
pub(crate) fn images(files: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
    let there: BTreeSet<&Path> = files.iter().map(PathBuf::as_path).collect();
    let mut folders = BTreeMap::new();
    for array in files.iter().filter(|f| f.ends_with(ARRAY)) {
        let folder = array.parent().unwrap_or(Path::new("")).to_path_buf();
        let signs = [SHEET.to_owned(), image_name(0)];
        if signs.iter().any(|s| there.contains(&*folder.join(s))) {
            let rows = usize::try_from(npy_rows(array)?).unwrap_or(usize::MAX);
            folders.insert(folder, (rows, 0_usize));
        }
    }
    if folders.is_empty() {
        return Ok(files);
    }
    let mut kept = Vec::new();
    for file in files {
        let Some(folder) = file.ancestors().skip(1).find(|a| folders.contains_key(*a)) else {
            kept.push(file);
            continue;
        };
        let below = file.strip_prefix(folder).unwrap_or(&file);
        if [ARRAY, SHEET].iter().any(|n| below == Path::new(n)) || below.starts_with(NEAREST) {
            continue;
        }
        if is_picture(&file) {
            let (folder, name) = (folder.to_path_buf(), below.to_string_lossy());
            let Some((rows, seen)) = folders.get_mut(&folder) else {
                continue;
            };
            if number(&name).is_none_or(|n| n >= *rows) {
                return Err(Error::format(
                    dualmd_files::shown(&file).to_string(),
                    format!("not one of the {rows} images of {ARRAY} beside it"),
                    "an earlier call may have left it: take it out, or draw the images into a new folder",
                ));
            }
            *seen += 1;
        }
        kept.push(file);
    }
    match folders.iter().find(|(_, (rows, seen))| seen != rows) {
        Some((folder, (rows, seen))) => Err(Error::format(
            dualmd_files::shown(folder).to_string(),
            format!("{seen} images of the {rows} that {ARRAY} holds"),
            "the call that drew them did not end: repeat it",
        )),
        None => Ok(kept),
    }
}

fn unreadable(path: &Path, error: &dualmd_files::Error) -> Error {
    Error::read(path, std::io::Error::new(error.kind(), error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ImageSet, LoadOptions, Picture, load, save_png};

    /// `samples.npy` of n rows, as numpy writes it.
    fn array(folder: &Path, n: usize) {
        let mut header =
            format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({n}, 3, 2, 2), }}");
        while (header.len() + 11) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
        bytes.extend(header.into_bytes());
        bytes.extend(vec![0; 48 * n]);
        std::fs::write(folder.join(ARRAY), bytes).unwrap();
    }

    fn picture(path: &Path, value: u8) {
        save_png(path, &Picture::filled(2, 2, 3, value)).unwrap();
    }

    /// Six images with all that a run leaves beside them.
    fn drawn() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        array(dir.path(), 6);
        for i in 0..6 {
            picture(&dir.path().join(image_name(i)), i as u8);
        }
        picture(&dir.path().join(SHEET), 99);
        std::fs::create_dir(dir.path().join(NEAREST)).unwrap();
        picture(&dir.path().join(NEAREST).join("abc.png"), 98);
        std::fs::write(dir.path().join("nearest.json"), "{}").unwrap();
        dir
    }

    fn read(dir: &Path) -> Result<ImageSet> {
        load(&dir.display().to_string(), &LoadOptions::default())
    }

    #[test]
    fn six_images_are_six() {
        let dir = drawn();
        let set = read(dir.path()).unwrap();
        let first: Vec<u8> = set.records.iter().map(|r| r.picture.pixels[0]).collect();
        assert_eq!(first, [0, 1, 2, 3, 4, 5]);
        // Also in a folder of such folders.
        let above = tempfile::tempdir().unwrap();
        std::fs::rename(dir.path(), above.path().join("student")).unwrap();
        assert_eq!(read(above.path()).unwrap().len(), 6);
        // A sheet of someone's own is a picture like any other.
        let own = tempfile::tempdir().unwrap();
        picture(&own.path().join(SHEET), 1);
        picture(&own.path().join("a.png"), 2);
        assert_eq!(read(own.path()).unwrap().len(), 2);
    }

    #[test]
    fn images_of_an_earlier_call_are_refused_by_the_reader_and_cleared_by_the_writer() {
        let dir = drawn();
        array(dir.path(), 4);
        let said = read(dir.path()).unwrap_err().to_string();
        assert!(
            said.contains("0004.png") && said.contains("4 images"),
            "{said}"
        );
        array(dir.path(), 7);
        let said = read(dir.path()).unwrap_err().to_string();
        assert!(said.contains("6 images of the 7"), "{said}");
        let found = room(dir.path(), false).unwrap();
        assert_eq!(found.len(), 6 + 4, "{found:?}");
        assert!(found.last().unwrap().ends_with(ARRAY));
        clear(&found).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(room(&dir.path().join("new"), false).unwrap().is_empty());
    }

    #[test]
    fn pictures_of_others_are_neither_deleted_nor_mixed_with() {
        let dir = tempfile::tempdir().unwrap();
        picture(&dir.path().join("0001.png"), 1);
        std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
        let said = room(dir.path(), false).unwrap_err().to_string();
        assert!(
            said.contains("0001.png") && said.contains("another folder"),
            "{said}"
        );
        // In a run's folder the name says whose it is.
        assert_eq!(room(dir.path(), true).unwrap().len(), 1);
        array(dir.path(), 1);
        picture(&dir.path().join("holiday.png"), 1);
        assert!(
            room(dir.path(), true)
                .unwrap_err()
                .to_string()
                .contains("holiday.png")
        );
        // Without a sheet or an image 0 the array is someone's own: both pictures are read.
        assert_eq!(read(dir.path()).unwrap().len(), 2);
    }
}
