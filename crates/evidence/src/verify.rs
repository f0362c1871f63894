//! From an evidence folder to what does not agree in it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use dualmd_files::{limit, shown};
use dualmd_record::evidence::Manifest;
use serde_json::Value;

use crate::differ::{Compared, differences};
use crate::{MANIFEST, REPORT, manifest, rows};
use dualmd_audit::Result;

/// Something in an evidence folder that does not agree with the rest of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The file, by its path below the folder.
    pub file: String,
    /// What does not agree, in words.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", shown(&self.file), self.what)
    }
}

/// What the check of an evidence folder came to.
#[derive(Debug)]
pub struct Verified {
    /// The hash over the whole folder as it is here, in 64 hexadecimal digits: to be compared with what the other party was told.
    pub root: String,
    /// Files that the manifest names.
    pub files: usize,
    /// Values of the report that were computed again and compared.
    pub values: usize,
    /// All that does not agree; empty where everything does.
    pub differences: Vec<Difference>,
}

impl Verified {
    /// Does everything agree?
    #[must_use]
    pub fn holds(&self) -> bool {
        self.differences.is_empty()
    }

    /// What the check came to, in a sentence.
    #[must_use]
    pub fn conclusion(&self) -> String {
        match self.differences.len() {
            0 => format!(
                "everything agrees: {} files, {} values computed again",
                self.files, self.values
            ),
            1 => "1 thing does not agree".into(),
            n => format!("{n} things do not agree"),
        }
    }

    /// The same, with the root that the other party was told beforehand: another one is a difference.
    #[must_use]
    pub fn against(mut self, told: &str) -> Self {
        if !self.root.eq_ignore_ascii_case(told.trim()) {
            let what = format!(
                "the root is {} here, and {} was told",
                self.root,
                shown(told.trim())
            );
            self.differences.insert(0, difference(MANIFEST, what));
        }
        self
    }
}

/// Compares the files of an evidence folder with its manifest, and its report with what follows from the other files. Neither model,
/// images nor salt are needed.
///
/// # Errors
/// The folder or its manifest cannot be read; something in it is a link, a device or a pipe; the manifest names files outside it.
/// What was changed in a file is no error but a [`Difference`].
pub fn verify(folder: &Path) -> Result<Verified> {
    // First of all: it refuses links, which would lead out of the folder.
    let there = manifest::files(folder)?;
    let manifest = manifest::read(folder)?;
    let mut found = files(folder, &manifest, &there);
    let root = manifest::root(&manifest);
    if root != manifest.root {
        let what = format!(
            "it says that the root is {}, and {root} follows from its lines",
            shown(&manifest.root)
        );
        found.push(difference(MANIFEST, what));
    }
    let values = report(folder, &mut found);
    if manifest.program != env!("CARGO_PKG_VERSION") && !found.is_empty() {
        let what = format!(
            "version {} of the program made the folder, and version {} checks it: their reports may differ in form",
            shown(&manifest.program),
            env!("CARGO_PKG_VERSION")
        );
        found.push(difference(MANIFEST, what));
    }
    Ok(Verified {
        root,
        files: manifest.files.len(),
        values,
        differences: found,
    })
}

/// Files against the manifest.
fn files(folder: &Path, manifest: &Manifest, there: &BTreeMap<String, u64>) -> Vec<Difference> {
    let mut found = Vec::new();
    for listed in &manifest.files {
        let Some(&bytes) = there.get(&listed.path) else {
            found.push(difference(&listed.path, "missing; the manifest names it"));
            continue;
        };
        let path = folder.join(&listed.path);
        match manifest::hash(&path) {
            Ok((_, hash)) if hash == listed.blake3 && bytes == listed.bytes => {}
            Ok(_) => {
                let what = match bytes == listed.bytes {
                    true => "its hash differs from the manifest".to_owned(),
                    false => format!(
                        "its hash differs from the manifest, and it has {bytes} bytes where {} were written",
                        listed.bytes
                    ),
                };
                found.push(difference(&listed.path, what));
            }
            Err(e) => found.push(difference(&listed.path, e.to_string())),
        }
        // Whatever the manifest says of the file as a whole.
        if listed.rows.is_some() {
            let changes = rows::changes(&path, listed.rows);
            found.extend(
                changes
                    .into_iter()
                    .map(|what| difference(&listed.path, what)),
            );
        }
    }
    for path in there.keys() {
        let listed = manifest.files.iter().any(|file| file.path == *path);
        if !listed {
            found.push(difference(path, "added; the manifest does not name it"));
        }
    }
    found
}

/// The report against what the other files give; how many values were compared.
fn report(folder: &Path, found: &mut Vec<Difference>) -> usize {
    let stored = dualmd_files::read(&folder.join(REPORT), limit::SETTINGS)
        .map_err(|e| e.to_string())
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).map_err(|e| e.to_string()));
    let computed = dualmd_audit::build(folder)
        .map_err(|e| e.to_string())
        .and_then(|r| serde_json::to_value(r.without_images()).map_err(|e| e.to_string()));
    match (stored, computed) {
        (Ok(stored), Ok(computed)) => {
            let (differ, values) = differences(&stored, &computed, Compared::Everything);
            found.extend(differ.into_iter().map(|d| {
                let what = format!("{} says {}, the files give {}", d.at, d.one, d.other);
                difference(REPORT, what)
            }));
            values
        }
        (stored, computed) => {
            if let Err(why) = stored {
                let what = format!("it cannot be read ({})", shown(&why));
                found.push(difference(REPORT, what));
            }
            if let Err(why) = computed {
                let what = format!(
                    "it cannot be computed from the other files: {}",
                    shown(&why)
                );
                found.push(difference(REPORT, what));
            }
            0
        }
    }
}

fn difference(file: &str, what: impl Into<String>) -> Difference {
    Difference {
        file: file.to_owned(),
        what: what.into(),
    }
}
