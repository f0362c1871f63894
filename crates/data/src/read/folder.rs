//! Folders of pictures.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{About, Collector, about_json, extension};
use crate::decode::{READABLE, UNREADABLE, check_size};
use crate::{Error, Result};

/// Deeper than this is a loop of links, not a data set.
const MAX_DEPTH: usize = 32;

/// Every file below `root`, hidden ones left out, sorted component by component (class folders, then files, as
/// torchvision's `ImageFolder` numbers them).
pub(super) fn walk(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        if depth > MAX_DEPTH {
            return Err(Error::format(
                folder.display().to_string(),
                format!("folders are nested more than {MAX_DEPTH} deep"),
                "look for a link that points at its own folder",
            ));
        }
        for entry in std::fs::read_dir(&folder).map_err(|e| Error::read(&folder, e))? {
            let path = entry.map_err(|e| Error::read(&folder, e))?.path();
            if path
                .file_name()
                .is_some_and(|n| n.to_string_lossy().starts_with('.'))
            {
                continue;
            }
            // Links are followed: data sets are often folders of links.
            if std::fs::metadata(&path)
                .map_err(|e| Error::read(&path, e))?
                .is_dir()
            {
                folders.push((path, depth + 1));
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

pub(super) fn read(root: &Path, files: &[PathBuf], into: &mut Collector<'_>) -> Result<()> {
    let mut described = metadata(root, files)?;
    for path in files {
        let ending = extension(path);
        if UNREADABLE.contains(&ending.as_str()) {
            return Err(Error::format(
                path.display().to_string(),
                format!("pictures of the form .{ending} cannot be read"),
                "convert them to PNG, or take them out of the folder",
            ));
        }
        if !READABLE.contains(&ending.as_str()) {
            continue;
        }
        let place = path.display().to_string();
        let size = std::fs::metadata(path)
            .map_err(|e| Error::read(path, e))?
            .len();
        check_size(size, &place, into.options)?;
        let bytes = std::fs::read(path).map_err(|e| Error::read(path, e))?;
        let name = relative(root, path);
        let mut about = described.remove(path).unwrap_or_default();
        if about.captions.is_empty() {
            about.captions = sidecar(path)?;
        }
        if about.label.is_none() {
            let parent = path
                .parent()
                .filter(|p| *p != root)
                .and_then(Path::file_name);
            about.label = parent.map(|p| p.to_string_lossy().into_owned());
        }
        about.name = name;
        into.add_encoded(&bytes, &place, about)?;
    }
    if let Some(missing) = described.into_keys().min() {
        return Err(Error::format(
            missing.display().to_string(),
            "metadata.jsonl names this picture, and it is not there",
            "correct `file_name` (it is relative to metadata.jsonl) or restore the file",
        ));
    }
    Ok(())
}

/// What the `metadata.jsonl` files say, by full path.
fn metadata(root: &Path, files: &[PathBuf]) -> Result<HashMap<PathBuf, About>> {
    let mut out = HashMap::new();
    for file in files
        .iter()
        .filter(|f| f.file_name().is_some_and(|n| n == "metadata.jsonl"))
    {
        let text = std::fs::read_to_string(file).map_err(|e| Error::read(file, e))?;
        let folder = file.parent().unwrap_or(root);
        for (number, line) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
        {
            let place = || format!("{}, line {}", file.display(), number + 1);
            let object: serde_json::Map<_, _> = serde_json::from_str(line).map_err(|e| {
                Error::format(place(), e.to_string(), "each line is one JSON object")
            })?;
            let Some(name) = object.get("file_name").and_then(|v| v.as_str()) else {
                return Err(Error::format(
                    place(),
                    "no `file_name`",
                    "each line names its picture",
                ));
            };
            let path = folder.join(name);
            if out
                .insert(path, about_json(String::new(), &object))
                .is_some()
            {
                return Err(Error::format(
                    place(),
                    format!("`{name}` for the second time"),
                    "remove one of the lines",
                ));
            }
        }
    }
    Ok(out)
}

/// Captions from `NAME.txt` beside `NAME.png`, one to a line.
fn sidecar(picture: &Path) -> Result<Vec<String>> {
    let path = picture.with_extension("txt");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text
            .lines()
            .map(|l| l.trim().to_owned())
            .filter(|l| !l.is_empty())
            .collect()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Error::read(&path, e)),
    }
}

/// The path below the root with `/` between its parts, the same on every system.
fn relative(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    below
        .components()
        .map(|c| c.as_os_str().to_string_lossy())
        .collect::<Vec<_>>()
        .join("/")
}
