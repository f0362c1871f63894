//! Parts of a pass over the samples, in a folder beside the score file until that is written.

use super::super::create_folder;
use anyhow::{Context, Result, bail};
use dualmd_attack::Parts;
use dualmd_torch::Tensor;
use dualmd_torch::weights::{read_safetensors, write_safetensors};
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
    if !folder.exists() {
        return Ok(());
    }
    if !folder.join(KEY).is_file() {
        bail!(
            "{} is in the way, and is not of this program: scores are kept there until all are made; choose another name (-o)",
            folder.display()
        );
    }
    std::fs::remove_dir_all(folder).with_context(|| format!("cannot delete {}", folder.display()))
}

/// Parts that depend on one key.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Opens the folder; parts that depend on something else are deleted.
    pub(super) fn open(path: &Path, key: &str) -> Result<Self> {
        let file = path.join(KEY);
        if dualmd_files::read_text(&file, dualmd_files::limit::SETTINGS)
            .ok()
            .as_deref()
            != Some(key)
        {
            clear(path)?;
            create_folder(path)?;
            dualmd_files::write(&file, key.as_bytes())?;
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
        file.exists().then(|| read_safetensors(&file).ok())?
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
        // Somebody's own folder of that name stays.
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("thesis.tex"), b"").unwrap();
        assert!(Folder::open(&folder, "one").is_err() && remove(&csv).is_err());
        assert!(folder.join("thesis.tex").exists());
    }
}
