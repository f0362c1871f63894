//! Parts of a pass over the samples, in a folder beside the score file until that is written.
//!
//! The folder is built hidden with its key in it, and renamed away before it is deleted: whatever moment a process is killed
//! at, what has the folder's name is whole, or not there.

use anyhow::{Result, bail};
use dualmd_attack::Parts;
use dualmd_files::{Building, HIDDEN, limit, read_text, remove_folder};
use dualmd_torch::Tensor;
use dualmd_torch::weights::{read_safetensors_as_is, write_safetensors};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// File with the hash of all that the parts depend on.
const KEY: &str = "of";

/// The folder of parts beside a score file.
pub fn beside(csv: &Path) -> PathBuf {
    csv.with_extension("parts")
}

/// Deletes the parts beside a score file, which holds all of it now.
///
/// # Errors
/// They cannot be deleted.
pub fn remove(csv: &Path) -> Result<()> {
    clear(&beside(csv))
}

/// Deletes a folder of parts.
fn clear(folder: &Path) -> Result<()> {
    check_own(folder)?;
    Ok(remove_folder(folder)?)
}

/// Is what has the folder's name, if anything has, of this program?
///
/// # Errors
/// It is somebody's own.
fn check_own(folder: &Path) -> Result<()> {
    if std::fs::symlink_metadata(folder).is_err() || folder.join(KEY).is_file() {
        return Ok(());
    }
    // Earlier versions made it, and deleted it, in place: what they left when they were killed has no key any more.
    let left = dualmd_files::list(folder).is_ok_and(|all| all.iter().all(|path| is_part(path)));
    if !left {
        bail!(
            "{} is in the way, and is not of this program: scores are kept there until all are made; choose another name (-o)",
            dualmd_files::shown(folder)
        );
    }
    Ok(())
}

/// Is a file called as parts are, or as what is not finished?
fn is_part(path: &Path) -> bool {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_str()
        .unwrap_or_default();
    let part = name.strip_suffix(".safetensors").unwrap_or_default();
    let number = part.strip_prefix("shadow-").unwrap_or(part);
    name.starts_with(HIDDEN) || number.parse::<u32>().is_ok()
}

/// Parts that depend on one key.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Opens the folder; parts that depend on something else are deleted.
    pub(super) fn open(path: &Path, key: &str) -> Result<Self> {
        let file = path.join(KEY);
        if read_text(&file, limit::SETTINGS).ok().as_deref() != Some(key) {
            check_own(path)?;
            let building = Building::new(path)?;
            dualmd_files::write(&building.path().join(KEY), key.as_bytes())?;
            building.finish()?;
        }
        Ok(Self(path.to_path_buf()))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.safetensors"))
    }
}

impl Parts for Folder {
    fn read(&self, name: &str) -> Option<BTreeMap<String, Tensor>> {
        let file = self.file(name);
        file.exists().then(|| read_safetensors_as_is(&file).ok())?
    }

    fn write(&self, name: &str, part: &BTreeMap<String, Tensor>) -> Result<(), String> {
        let tensors = part.iter().map(|(name, tensor)| (name.as_str(), tensor));
        write_safetensors(&self.file(name), tensors, &[]).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_something_else_are_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let csv = dir.path().join("model.csv");
        let folder = beside(&csv);
        let part = BTreeMap::from([("0".to_owned(), Tensor::from_slice(&[1.5, 2.5]))]);
        let first = Folder::open(&folder, "one").unwrap();
        first.write("0", &part).unwrap();
        let again = Folder::open(&folder, "one").unwrap();
        assert_eq!(again.read("0").unwrap(), part);
        assert!(again.read("1").is_none());
        // Half a file is none.
        std::fs::write(folder.join("1.safetensors"), b"half").unwrap();
        assert!(again.read("1").is_none());
        assert!(Folder::open(&folder, "other").unwrap().read("0").is_none());
        remove(&csv).unwrap();
        assert!(!folder.exists());
        remove(&csv).unwrap();
        // What a killed process of an older version left is no stranger's: an empty folder, or parts without the key.
        for left in [&[][..], &["0.safetensors", ".partial-x"]] {
            std::fs::create_dir(&folder).unwrap();
            for name in left {
                std::fs::write(folder.join(name), b"half").unwrap();
            }
            assert!(Folder::open(&folder, "one").unwrap().read("0").is_none());
            remove(&csv).unwrap();
            assert!(dualmd_files::list(dir.path()).unwrap().is_empty());
        }
        // Somebody's own folder of that name stays.
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("thesis.tex"), b"").unwrap();
        let said = format!("{:#}", remove(&csv).unwrap_err());
        assert!(said.contains("is in the way, and is not of this program"));
        assert!(Folder::open(&folder, "one").is_err());
        assert!(folder.join("thesis.tex").exists());
    }
}
