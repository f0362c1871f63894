//! The parts of a run. Each reads its inputs from the run's folder and writes its outputs into it, whole files only; a
//! part whose outputs are there is passed over.

pub mod attack;
pub mod blind;
pub mod copies;
pub mod fit;
pub mod held;
pub mod lesson;
pub mod memorisation;
pub mod mitigation;
pub mod nearer;
pub mod pictures;
pub mod prepare;
pub mod prepared;
pub mod sample;
pub mod score;
pub mod sets;
pub mod shadow;
pub mod similar;
pub mod text;
pub mod train;
pub mod trainings;
pub mod utility;
pub mod vit;
pub mod watched;

use anyhow::{Context, Result, bail};
use dualmd_files::shown;
pub use dualmd_record::RunFolder;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// BLAKE3 over the contents of files, in this order.
pub fn hash_files(files: &[PathBuf]) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for path in files {
        let explain = || format!("cannot read {}", shown(path));
        let file = dualmd_files::open(path)?;
        // The length keeps the end of one file and the beginning of the next apart.
        let length = file.metadata().with_context(explain)?.len();
        hasher.update(&length.to_le_bytes());
        let before = hasher.count();
        // One byte more than the length tells a file that grows, or whose entry says less than it gives.
        let whole = file.take(length.saturating_add(1));
        hasher.update_reader(whole).with_context(explain)?;
        if hasher.count() - before != length {
            bail!(
                "{}: its length changed while it was read; start again when nobody writes to it",
                shown(path)
            );
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// The files right in a folder that `wanted` takes, by name.
pub fn files_in(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
    let mut files = dualmd_files::list(folder)?;
    files.retain(|path| path.is_file() && wanted(path));
    Ok(files)
}

/// Makes a folder and those above it.
pub fn create_folder(path: &Path) -> Result<()> {
    Ok(dualmd_files::create_folder(path)?)
}

/// Removes a file that an earlier call may have left.
pub fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", shown(path)))
        }
        _ => Ok(()),
    }
}
