//! Whether the folder of a run can be used, and whether its images are few enough to be read in seconds.

use dualmd_data::BUNDLED;
use dualmd_files::{Lock, shown};
use std::path::{Path, PathBuf};

/// More files are not read for a check: near-duplicates of 30,000 images of 32 px were found in 6 s of processor time (docs/results/performance.md).
const MOST_FILES: usize = 30_000;
/// More bytes are not read for a check.
const MOST_BYTES: u64 = 200_000_000;
/// More files are not even counted.
const MOST_COUNTED: usize = 200_000;
/// Folders in folders.
const DEEPEST: usize = 32;
/// Endings of pictures.
const PICTURES: [&str; 6] = ["png", "jpg", "jpeg", "webp", "bmp", "gif"];
/// Endings of what may stand beside pictures.
const BESIDE: [&str; 4] = ["txt", "json", "jsonl", "csv"];

/// A folder that is there, in which the run's folder is, or would be made. Nothing is left there.
///
/// # Errors
/// What keeps a run from working in `out`, with the remedy.
pub(super) fn usable(out: &Path) -> Result<PathBuf, String> {
    const REMEDY: &str = "choose another folder (--out)";
    let there = dualmd_files::check_folder(out).map_err(|error| match error {
        dualmd_files::Error::NotAFolder { .. } => format!("{error}: {REMEDY}"),
        error => format!("{error}; make it writable, or {REMEDY}"),
    })?;
    match Lock::holder(out) {
        Some(who) => Err(format!(
            "{} is in use by {who}: wait for it, stop it, or {REMEDY}",
            shown(out)
        )),
        None => Ok(there),
    }
}

/// Images that are not read for a check.
#[derive(Debug, PartialEq)]
pub(super) struct Large {
    /// Why, in words.
    pub why: String,
    /// How many pictures there are, duplicates among them, where files are pictures and all were counted.
    pub pictures: Option<usize>,
}

/// Whether reading a source would take longer than a check may; none of one that is not there either: whoever reads it says so.
pub(super) fn large(source: &str) -> Option<Large> {
    let mut base = source;
    while !Path::new(base).exists()
        && let Some((rest, _)) = base.rsplit_once('#')
    {
        base = rest;
    }
    if BUNDLED.contains(&base) {
        return None;
    }
    let path = Path::new(base);
    let found = std::fs::metadata(path).ok()?;
    if !found.is_dir() {
        return (found.len() > MOST_BYTES).then(|| Large {
            why: format!("it has {:.1} GB", found.len() as f64 / 1e9),
            pictures: None,
        });
    }
    let count = Count::of(path);
    if count.whole && count.files <= MOST_FILES && count.bytes <= MOST_BYTES {
        return None;
    }
    let more = if count.whole { "" } else { "more than " };
    Some(Large {
        why: format!(
            "it has {more}{} files with {:.1} GB",
            count.files,
            count.bytes as f64 / 1e9
        ),
        // A part that is named is less than the folder.
        pictures: (count.whole && count.others == 0 && base == source).then_some(count.pictures),
    })
}

/// What lies in a folder, at any depth.
#[derive(Debug, Default)]
struct Count {
    files: usize,
    pictures: usize,
    /// What is neither a picture nor what may stand beside one.
    others: usize,
    bytes: u64,
    /// Was all of it counted?
    whole: bool,
}

impl Count {
    fn of(root: &Path) -> Self {
        let mut out = Self {
            whole: true,
            ..Self::default()
        };
        let mut folders = vec![(root.to_path_buf(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            let Ok(entries) = dualmd_files::list(&folder) else {
                out.whole = false;
                continue;
            };
            for path in entries {
                if out.files == MOST_COUNTED || depth > DEEPEST {
                    out.whole = false;
                    return out;
                }
                let name = path.file_name().unwrap_or_default();
                let Ok(found) = std::fs::metadata(&path) else {
                    continue;
                };
                if name.as_encoded_bytes().starts_with(b".") {
                    continue;
                }
                if found.is_dir() {
                    folders.push((path, depth + 1));
                    continue;
                }
                out.files += 1;
                out.bytes += found.len();
                let ending = path.extension().unwrap_or_default();
                let ending = ending.to_string_lossy().to_ascii_lowercase();
                if PICTURES.contains(&ending.as_str()) {
                    out.pictures += 1;
                } else if !BESIDE.contains(&ending.as_str()) {
                    out.others += 1;
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_folder_that_cannot_be_used_is_named_and_one_that_can_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, b"x").unwrap();
        let said = usable(&file).unwrap_err();
        assert!(said.contains("file is no folder: choose another"), "{said}");
        let below = file.join("runs/mine");
        let said = usable(&below).unwrap_err();
        assert!(
            said.contains("mine: ") && said.contains("file is no folder: choose another"),
            "{said}"
        );
        let out = dir.path().join("runs/mine");
        assert_eq!(usable(&out).unwrap(), dir.path());
        assert!(!dir.path().join("runs").exists());
        std::fs::create_dir_all(&out).unwrap();
        assert_eq!(usable(&out).unwrap(), out);
        let closed = dir.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        std::fs::set_permissions(&closed, Permissions::from_mode(0o500)).unwrap();
        // Root writes everywhere.
        if let Err(said) = usable(&closed.join("run")) {
            assert!(
                said.contains("closed") && said.contains("make it writable, or choose another"),
                "{said}"
            );
        }
        let held = Lock::take(&out, "dualmd run").unwrap();
        let said = usable(&out).unwrap_err();
        assert!(said.contains("in use by process"), "{said}");
        drop(held);
        assert!(dualmd_files::list(&out).unwrap().is_empty());
    }

    #[test]
    fn what_is_small_is_read_and_the_rest_is_counted() {
        assert_eq!(large("fashion"), None);
        assert_eq!(large("emoji#google+twitter"), None);
        assert_eq!(large("no/such/place"), None);
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("photos")).unwrap();
        for name in ["a.png", "b.JPG", "b.txt", ".hidden.png"] {
            std::fs::write(path("photos").join(name), b"1").unwrap();
        }
        let source = path("photos").display().to_string();
        assert_eq!(large(&source), None);
        // A hole in a file takes no room on the disk.
        let huge = std::fs::File::create(path("photos/c.png")).unwrap();
        huge.set_len(3 * MOST_BYTES).unwrap();
        let found = large(&source).unwrap();
        assert_eq!(found.pictures, Some(3));
        assert_eq!(found.why, "it has 4 files with 0.6 GB");
        assert_eq!(large(&format!("{source}#train")).unwrap().pictures, None);
        std::fs::write(path("photos/shard.tar"), b"1").unwrap();
        assert_eq!(large(&source).unwrap().pictures, None);
        let table = path("photos/c.png").display().to_string();
        assert_eq!(large(&table).unwrap().why, "it has 0.6 GB");
    }
}
