//! The files of an evidence folder, with hashes.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use blake3::Hasher;
use dualmd_files::{limit, shown};
use dualmd_record::evidence::{Listed, Manifest};

use crate::MANIFEST;
use crate::seal::failed;
use dualmd_audit::{AuditError, Result};

/// Folders within folders that an evidence folder has at most.
const DEEPEST: usize = 4;
/// Most files of an evidence folder.
const MOST: usize = 100_000;

/// All files of a folder but its manifest: their paths with `/` between the parts, and their lengths. No link is followed.
///
/// # Errors
/// A link, a device or a pipe, a name that is no text, folders too deep, too many files; what cannot be read.
pub(super) fn files(folder: &Path) -> Result<BTreeMap<String, u64>> {
    let mut found = BTreeMap::new();
    walk(folder, "", 0, &mut found)?;
    found.remove(MANIFEST);
    Ok(found)
}

fn walk(folder: &Path, below: &str, depth: usize, out: &mut BTreeMap<String, u64>) -> Result<()> {
    let remedy = "give an evidence folder as it was written: files of its own, and folders";
    let entries = dualmd_files::list(folder).map_err(|e| AuditError::read(e, remedy))?;
    for path in entries {
        let refused = |problem: &str| AuditError::Evidence {
            path: path.clone(),
            problem: problem.to_owned(),
            remedy,
        };
        let name = path.file_name().and_then(|n| n.to_str());
        let name = name.ok_or_else(|| refused("its name is no text"))?;
        let relative = match below {
            "" => name.to_owned(),
            below => format!("{below}/{name}"),
        };
        // Of the entry itself: a link is not followed, wherever it leads.
        let found = std::fs::symlink_metadata(&path).map_err(|e| failed("read", &path, e))?;
        let kind = found.file_type();
        if kind.is_dir() {
            if depth == DEEPEST {
                return Err(refused("too many folders within folders"));
            }
            walk(&path, &relative, depth + 1, out)?;
        } else if kind.is_file() {
            out.insert(relative, found.len());
            if out.len() > MOST {
                return Err(refused("too many files"));
            }
        } else if kind.is_symlink() {
            return Err(refused("this is a link, and it is not followed"));
        } else {
            return Err(refused("this is a device, a pipe or a socket"));
        }
    }
    Ok(())
}

/// The manifest of a folder. `rows`: of its score files, by path.
pub(super) fn of(
    folder: &Path,
    salt_blake3: String,
    rows: &BTreeMap<String, u64>,
) -> Result<Manifest> {
    let mut listed = Vec::new();
    for path in files(folder)?.into_keys() {
        let (bytes, blake3) = hash(&folder.join(&path))?;
        let rows = rows.get(&path).copied();
        listed.push(Listed {
            path,
            bytes,
            blake3,
            rows,
        });
    }
    let mut manifest = Manifest {
        program: env!("CARGO_PKG_VERSION").into(),
        salt_blake3,
        root: String::new(),
        files: listed,
    };
    manifest.root = root(&manifest);
    Ok(manifest)
}

/// Length and BLAKE3 of a file.
pub(super) fn hash(path: &Path) -> Result<(u64, String)> {
    let remedy = "give an evidence folder that may be read";
    let file = dualmd_files::open(path).map_err(|e| AuditError::read(e, remedy))?;
    let mut hasher = Hasher::new();
    hasher
        .update_reader(dualmd_files::limited(file, limit::TABLE))
        .map_err(|e| failed("read", path, e))?;
    Ok((hasher.count(), hasher.finalize().to_hex().to_string()))
}

/// The hash over everything that a manifest says, in its order.
pub(super) fn root(manifest: &Manifest) -> String {
    let mut hasher = Hasher::new();
    let mut line = |fields: &[&str]| {
        hasher.update(fields.join("\t").as_bytes()).update(b"\n");
    };
    line(&["dualmd evidence", &manifest.program, &manifest.salt_blake3]);
    for file in &manifest.files {
        let rows = file.rows.map_or(String::new(), |rows| rows.to_string());
        line(&[&file.blake3, &file.bytes.to_string(), &rows, &file.path]);
    }
    hasher.finalize().to_hex().to_string()
}

/// Reads the manifest of a folder that may be a stranger's.
///
/// # Errors
/// It is not there, is damaged or a link, or names a file outside the folder or one file twice.
pub(super) fn read(folder: &Path) -> Result<Manifest> {
    let path = folder.join(MANIFEST);
    let refused = |problem: String| AuditError::Evidence {
        path: path.clone(),
        problem,
        remedy: "ask for the folder again: its manifest cannot be used",
    };
    let bytes = dualmd_files::read(&path, limit::SETTINGS)
        .map_err(|e| AuditError::read(e, "give a folder that `dualmd export evidence` wrote"))?;
    let manifest: Manifest =
        dualmd_record::parse(&bytes).map_err(|e| refused(format!("damaged ({e})")))?;
    let mut before: Option<&str> = None;
    for file in &manifest.files {
        let name = file.path.as_str();
        let mut parts = Path::new(name).components();
        if name.is_empty() || !parts.all(|c| matches!(c, Component::Normal(_))) {
            return Err(refused(format!(
                "it names the file `{}`, which is not in the folder",
                shown(name)
            )));
        }
        if before.is_some_and(|before| before >= name) {
            return Err(refused(format!(
                "the file `{}` stands in it twice, or not in the order of names",
                shown(name)
            )));
        }
        before = Some(name);
    }
    Ok(manifest)
}
