//! The parts of a run. Each reads its inputs from the run's folder and writes its outputs into it, whole files only; a
//! part whose outputs are there is passed over.

pub mod attack;
pub mod blind;
pub mod copies;
pub mod fit;
pub mod lesson;
pub mod memorisation;
pub mod mitigation;
pub mod pictures;
pub mod prepare;
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

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Where things are in a run's folder.
#[derive(Debug, Clone)]
pub struct RunFolder(pub PathBuf);

impl RunFolder {
    /// `experiment.toml`
    pub fn experiment(&self) -> PathBuf {
        self.0.join("experiment.toml")
    }

    /// `plan.json`
    pub fn plan(&self) -> PathBuf {
        self.0.join("plan.json")
    }

    /// `split.json`
    pub fn split(&self) -> PathBuf {
        self.0.join("split.json")
    }

    /// `models/NAME`
    pub fn model(&self, name: &str) -> PathBuf {
        self.0.join("models").join(name)
    }

    /// `checkpoints/NAME`
    pub fn checkpoints(&self, name: &str) -> PathBuf {
        self.0.join("checkpoints").join(name)
    }

    /// `samples/NAME`
    pub fn samples(&self, name: &str) -> PathBuf {
        self.0.join("samples").join(name)
    }

    /// `scores/NAME.EXTENSION`
    pub fn scores(&self, name: &str, extension: &str) -> PathBuf {
        self.0.join("scores").join(format!("{name}.{extension}"))
    }
}

/// BLAKE3 over the contents of files, in this order.
pub fn hash_files(files: &[PathBuf]) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for path in files {
        let explain = || format!("cannot read {}", path.display());
        let file = std::fs::File::open(path).with_context(explain)?;
        // The length keeps the end of one file and the beginning of the next apart.
        hasher.update(&file.metadata().map_or(0, |m| m.len()).to_le_bytes());
        hasher.update_reader(file).with_context(explain)?;
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// The files right in a folder that `wanted` takes, by name.
pub fn files_in(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file() && wanted(path))
        .collect();
    files.sort();
    Ok(files)
}

/// Makes a folder and those above it.
pub fn create_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path)
        .with_context(|| format!("cannot make the folder {}", path.display()))
}

/// Removes a file that an earlier call may have left.
pub fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Writes JSON, whole or not at all.
pub fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value)
        .with_context(|| format!("cannot write {}", path.display()))?;
    text.push(b'\n');
    dualmd_data::write_atomic(path, &text)?;
    Ok(())
}
