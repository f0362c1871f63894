//! Parts of a pass over the samples, in a folder beside the score file until that is written.
//!
//! The folder is built hidden with its key in it, and renamed away before it is deleted: whatever moment a process is killed
//! at, what has the folder's name is whole, or not there.
//!
//! Several processes can fill it side by side (`--part K/N`): each makes batches of its own, and the one that makes the folder first gives
//! it the key that the others must have. What they left is hours of several machines: it is not deleted for another key, as that of
//! one process is, but refused. They hold the lock of what is made together ([`Held::share`](super::super::held::Held::share)), and
//! whoever deletes the folder holds it alone.

use crate::bail_usage;
use anyhow::{Result, bail};
use dualmd_attack::Parts;
use dualmd_files::{Building, HIDDEN, limit, read_text, remove_folder, shown};
use dualmd_torch::Tensor;
use dualmd_torch::weights::{read_safetensors_as_is, write_safetensors};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// File with the hash of all that the parts depend on.
const KEY: &str = "of";
/// Empty file of a folder that several processes fill.
const SHARED: &str = "shared";
/// How often a folder that another process made is looked for, and how long is waited each time: a machine may see the files of another
/// one late.
const LOOKS: usize = 600;
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// What a call finds that several others did parts for.
pub fn of_parts(there: usize, all: usize) -> String {
    if there >= all {
        format!("all {all} batches of the parts are there")
    } else {
        format!("{there} of {all} batches of the parts are there; the others are made now")
    }
}

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

/// As [`remove`], of parts that this call had no use for: those that several processes made stay. True if they are there.
///
/// # Errors
/// As [`remove`].
pub fn remove_unused(csv: &Path) -> Result<bool> {
    let folder = beside(csv);
    if is_shared(&folder) {
        return Ok(true);
    }
    clear(&folder)?;
    Ok(false)
}

/// Did several processes fill the folder?
pub fn is_shared(folder: &Path) -> bool {
    folder.join(SHARED).is_file()
}

/// What the parts of a folder depend on; `None` where there is no such folder.
fn key_of(folder: &Path) -> Option<String> {
    read_text(&folder.join(KEY), limit::SETTINGS).ok()
}

/// Says that several processes filled the folder for something else.
fn refuse_others(folder: &Path) -> Result<()> {
    bail_usage!(
        "{} holds what calls with --part and other arguments left (another model, other images or attacks, another --batch, --seed or \
         --dtype; with texts or latents also another number of threads or kind of processor): repeat the arguments of those calls, name another place (-o), or \
         delete the folder",
        shown(folder)
    )
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
            "{} is in the way, and is not of this program: what is done is kept there until all is; choose another name (-o)",
            shown(folder)
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
    let prefixes = ["shadow-", "search-"];
    let number = prefixes.iter().find_map(|of| part.strip_prefix(*of));
    let number = number.unwrap_or(part);
    name.starts_with(HIDDEN) || number.parse::<u32>().is_ok()
}

/// Parts that depend on one key.
pub struct Folder(PathBuf);

impl Folder {
    /// Opens the folder; parts of one process that depend on something else are deleted. To be called by who holds alone what is
    /// made of the parts.
    ///
    /// # Errors
    /// Parts of several processes that depend on something else; a folder that is somebody's own, or cannot be written to.
    pub fn open(path: &Path, key: &str) -> Result<Self> {
        if key_of(path).as_deref() != Some(key) {
            if is_shared(path) {
                refuse_others(path)?;
            }
            check_own(path)?;
            let building = Building::new(path)?;
            dualmd_files::write(&building.path().join(KEY), key.as_bytes())?;
            building.finish()?;
        }
        Ok(Self(path.to_path_buf()))
    }

    /// Opens the folder as one of several processes that fill it.
    ///
    /// # Errors
    /// Parts that depend on something else, whoever made them: they are left alone, since another process may be filling them; a folder
    /// that is somebody's own, or cannot be written to.
    pub fn share(path: &Path, key: &str) -> Result<Self> {
        for _ in 0..LOOKS {
            // In this order: a folder of ours has its key from its first moment on.
            let there = dualmd_files::list(path).is_ok_and(|all| !all.is_empty());
            match key_of(path) {
                Some(found) if found == key => {
                    // One that a single process left before it was killed is shared from now on.
                    if !is_shared(path) {
                        dualmd_files::write(&path.join(SHARED), b"")?;
                    }
                    return Ok(Self(path.to_path_buf()));
                }
                Some(_) => refuse_others(path)?,
                None if there => bail!(
                    "{} is in the way: it does not say what the parts in it are of; delete it, or name another place (-o)",
                    shown(path)
                ),
                None => {}
            }
            let building = Building::new(path)?;
            dualmd_files::write(&building.path().join(KEY), key.as_bytes())?;
            dualmd_files::write(&building.path().join(SHARED), b"")?;
            if building.finish_unless_there()? {
                return Ok(Self(path.to_path_buf()));
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
        bail!(
            "{}: another process made this folder, and it is not seen here: is it on a file system that all machines share?",
            shown(path)
        )
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

    fn has(&self, name: &str) -> bool {
        self.file(name).is_file()
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
    #[test]
    fn parts_of_several_processes_are_not_deleted_for_another_key() {
        let dir = tempfile::tempdir().unwrap();
        let csv = dir.path().join("model.csv");
        let folder = beside(&csv);
        let part = BTreeMap::from([("0".to_owned(), Tensor::from_slice(&[1.5, 2.5]))]);
        // Several at once make one folder.
        std::thread::scope(|scope| {
            for name in ["0", "1", "2"] {
                let (folder, part) = (&folder, part.iter());
                let part: BTreeMap<String, Tensor> =
                    part.map(|(n, t)| (n.clone(), t.copy())).collect();
                scope.spawn(move || {
                    let own = Folder::share(folder, "one").unwrap();
                    own.write(name, &part).unwrap();
                });
            }
        });
        let merged = Folder::open(&folder, "one").unwrap();
        assert!(["0", "1", "2"].iter().all(|name| merged.has(name)));
        assert_eq!(merged.read("2").unwrap(), part);
        for refused in [
            Folder::share(&folder, "other").err(),
            Folder::open(&folder, "other").err(),
        ] {
            let error = refused.unwrap();
            assert_eq!(crate::errors::exit_code(&error), 2);
            let said = error.to_string();
            assert!(
                said.contains("model.parts") && said.contains("other arguments"),
                "{said}"
            );
        }
        assert!(merged.has("0") && remove_unused(&csv).unwrap() && merged.has("0"));
        remove(&csv).unwrap();
        assert!(!remove_unused(&csv).unwrap());
        assert!(dualmd_files::list(dir.path()).unwrap().is_empty());
    }

    /// What one process left is another's to go on with, and not to delete.
    #[test]
    fn parts_of_one_process_are_shared_by_key() {
        let dir = tempfile::tempdir().unwrap();
        let csv = dir.path().join("model.csv");
        let folder = beside(&csv);
        drop(Folder::open(&folder, "one").unwrap());
        assert!(Folder::share(&folder, "other").is_err());
        assert!(!is_shared(&folder));
        drop(Folder::share(&folder, "one").unwrap());
        assert!(is_shared(&folder));
        remove(&csv).unwrap();
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("thesis.tex"), b"").unwrap();
        let said = Folder::share(&folder, "one").err().unwrap().to_string();
        assert!(said.contains("is in the way"), "{said}");
        assert!(folder.join("thesis.tex").exists());
    }
}
