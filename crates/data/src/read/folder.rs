//! Folders of pictures.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Read;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use dualmd_files::limit;
use serde_json::{Map, Value};

use super::columns::{Columns, keys, lines};
use super::{AN_ARRAY, About, Collector, Kind, NO_DATA, extension, kind, number};
use crate::decode::{READABLE, UNREADABLE, check_size};
use crate::{Error, Result};

/// Deeper than this is a loop of links, not a data set.
const MAX_DEPTH: usize = 32;

const HIDDEN: &str = "hidden, their names begin with a dot";
/// Endings of texts, which are not opened to see whether they are pictures after all.
const TEXTS: [&str; 8] = ["txt", "json", "jsonl", "csv", "md", "html", "xml", "yaml"];

/// Every file below `root`, hidden ones left out, sorted component by component (class folders, then files, as
/// torchvision's `ImageFolder` numbers them).
pub(super) fn walk(root: &Path, into: &mut Collector<'_>) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![(root.to_owned(), 0)];
    let mut visited = HashMap::new();
    while let Some((folder, depth)) = folders.pop() {
        if depth > MAX_DEPTH {
            return Err(Error::format(
                folder.display().to_string(),
                format!("folders are nested more than {MAX_DEPTH} deep"),
                "look for a link that points at its own folder",
            ));
        }
        // Links that fan out would be followed without end, and pictures counted twice.
        let found = std::fs::metadata(&folder).map_err(|e| Error::read(&folder, e))?;
        if let Some(before) = visited.insert((found.dev(), found.ino()), folder.clone()) {
            return Err(Error::format(
                folder.display().to_string(),
                format!("this is the folder {} once more", before.display()),
                "take out the link that leads to it: its pictures would count twice",
            ));
        }
        for path in dualmd_files::list(&folder)? {
            if path
                .file_name()
                .is_some_and(|n| n.to_string_lossy().starts_with('.'))
            {
                // Not worth a word: what file managers leave.
                if READABLE.contains(&extension(&path).as_str()) || path.is_dir() {
                    into.skip(HIDDEN, relative(root, &path));
                }
                continue;
            }
            // Links are followed: data sets are often folders of links.
            let kind = std::fs::metadata(&path)
                .map_err(|e| Error::read(&path, e))?
                .file_type();
            if kind.is_dir() {
                folders.push((path, depth + 1));
            } else {
                if !kind.is_file() {
                    // Refuses a pipe or a device, and says which it is.
                    dualmd_files::open(&path)?;
                }
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Refuses a file whose name says that it is a picture of a form that is not read.
pub(super) fn refuse_unreadable(path: &Path) -> Result<()> {
    let ending = extension(path);
    if UNREADABLE.contains(&ending.as_str()) {
        return Err(Error::format(
            path.display().to_string(),
            format!("pictures of the form .{ending} cannot be read"),
            "convert them to PNG, or take them out of the folder",
        ));
    }
    Ok(())
}

/// Whether a file is a picture by its first bytes, whatever it is called.
pub(super) fn holds_picture(path: &Path) -> Result<bool> {
    let mut start = Vec::new();
    let file = dualmd_files::open(path)?;
    file.take(16)
        .read_to_end(&mut start)
        .map_err(|e| Error::read(path, e))?;
    Ok(image::guess_format(&start).is_ok())
}

/// Reads the `chosen` pictures of `files`.
pub(super) fn read(
    root: &Path,
    files: &[PathBuf],
    chosen: &[PathBuf],
    into: &mut Collector<'_>,
) -> Result<()> {
    account(root, files, chosen, into)?;
    let mut described = metadata(root, files, into)?;
    for path in chosen {
        let place = path.display().to_string();
        let size = std::fs::metadata(path)
            .map_err(|e| Error::read(path, e))?
            .len();
        check_size(size, &place, into.options)?;
        let bytes = dualmd_files::read(path, into.options.max_file_bytes)?;
        let name = relative(root, path);
        let mut about = described.remove(path).unwrap_or_default();
        if about.captions.is_empty() {
            about.captions = sidecar(path)?;
        }
        if about.label.is_none() && into.options.label_column.is_none() {
            let parent = path
                .parent()
                .filter(|p| *p != root)
                .and_then(Path::file_name);
            about.label = parent.map(|p| p.to_string_lossy().into_owned());
        }
        about.name = name;
        into.add_encoded(&bytes, &place, about)?;
    }
    // What describes pictures of other parts is no mistake.
    let there: HashSet<&PathBuf> = files
        .iter()
        .filter(|f| kind(f) == Some(Kind::Picture))
        .collect();
    match described.into_keys().filter(|p| !there.contains(p)).min() {
        Some(missing) => Err(not_there(root, &missing)),
        None => Ok(()),
    }
}

/// Says what becomes of the files that are not among the `chosen` pictures, and refuses those that are pictures too.
fn account(
    root: &Path,
    files: &[PathBuf],
    chosen: &[PathBuf],
    into: &mut Collector<'_>,
) -> Result<()> {
    let read: HashSet<&Path> = chosen.iter().map(PathBuf::as_path).collect();
    let stems: HashSet<PathBuf> = files
        .iter()
        .filter(|f| kind(f) == Some(Kind::Picture) || read.contains(f.as_path()))
        .map(|f| f.with_extension(""))
        .collect();
    let mut others = 0;
    for file in files.iter().filter(|f| !read.contains(f.as_path())) {
        let ending = extension(file);
        let name = file
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default();
        let describes = matches!(name, "metadata.jsonl" | "metadata.csv")
            || ending == "txt" && stems.contains(&file.with_extension(""));
        match kind(file) {
            _ if describes => {}
            Some(Kind::Picture) => others += 1,
            Some(Kind::Npy) => into.skip(AN_ARRAY, relative(root, file)),
            _ => {
                refuse_unreadable(file)?;
                if !TEXTS.contains(&ending.as_str()) && !ending.is_empty() && holds_picture(file)? {
                    return Err(Error::format(
                        file.display().to_string(),
                        "by its content it is a picture, and by its name it is none",
                        "give it the ending of its form, such as .png, or take it out of the folder",
                    ));
                }
                into.skip(NO_DATA, relative(root, file));
            }
        }
    }
    if others > 0 {
        into.say(format!(
            "{} of {} pictures were read",
            number(chosen.len()),
            number(chosen.len() + others)
        ));
    }
    Ok(())
}

/// Why a picture that is described was not among those that were read.
fn not_there(root: &Path, path: &Path) -> Error {
    let below = path.strip_prefix(root).ok();
    let relative_only = "write `file_name` relative to the file it stands in";
    let (problem, remedy) = if below.is_none() {
        (
            "metadata.jsonl or metadata.csv names this picture by an absolute path, or one outside the folder",
            relative_only,
        )
    } else if path.to_string_lossy().contains('\\') {
        (
            "metadata.jsonl or metadata.csv names this picture with backslashes",
            "write `/` between folders in `file_name`",
        )
    } else if path.components().any(|c| c.as_os_str() == "..") {
        (
            "metadata.jsonl or metadata.csv names this picture by way of `..`",
            relative_only,
        )
    } else if path.is_file() {
        (
            "metadata.jsonl or metadata.csv names this file, and it is hidden or no picture",
            "correct `file_name`, or give the file the ending of its form",
        )
    } else {
        (
            "metadata.jsonl or metadata.csv names this picture, and it is not there",
            "correct `file_name` (it is relative to that file) or restore the picture",
        )
    };
    Error::format(path.display().to_string(), problem, remedy)
}

/// One line of a metadata file: where it is, and what it says by column.
type Line = (String, Map<String, Value>);

/// What the `metadata.jsonl` and `metadata.csv` files say, by full path.
fn metadata(
    root: &Path,
    files: &[PathBuf],
    into: &mut Collector<'_>,
) -> Result<HashMap<PathBuf, About>> {
    let mut out = HashMap::new();
    for file in files {
        let lines = match file.file_name().and_then(|n| n.to_str()) {
            Some("metadata.jsonl") => json_lines(file)?,
            Some("metadata.csv") => csv_lines(file)?,
            _ => continue,
        };
        let columns: BTreeSet<String> = lines
            .iter()
            .flat_map(|(_, object)| keys(object))
            .filter(|k| *k != "file_name")
            .map(str::to_owned)
            .collect();
        into.note_columns(columns.iter().map(String::as_str));
        let place = file.display().to_string();
        let names = columns.iter().map(String::as_str);
        let chosen = Columns::choose(into.options, names, &columns, &place)?;
        let folder = file.parent().unwrap_or(root);
        for (place, object) in lines {
            let Some(name) = object.get("file_name").and_then(|v| v.as_str()) else {
                return Err(Error::format(
                    place,
                    "no `file_name`",
                    "each line names its picture",
                ));
            };
            let about = chosen.about(&object, &place)?;
            if out.insert(folder.join(name), about).is_some() {
                return Err(Error::format(
                    place,
                    format!("`{name}` for the second time"),
                    "remove one of the lines",
                ));
            }
        }
    }
    Ok(out)
}

fn json_lines(file: &Path) -> Result<Vec<Line>> {
    let text = dualmd_files::read_text(file, limit::TABLE)?;
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, l)| !l.trim().is_empty());
    let object = |(number, line): (usize, &str)| {
        let place = format!("{}, line {}", file.display(), number + 1);
        match serde_json::from_str(line) {
            Ok(object) => Ok((place, object)),
            Err(e) => Err(Error::format(
                place,
                e.to_string(),
                "each line is one JSON object",
            )),
        }
    };
    lines.map(object).collect()
}

/// The first line names the columns. A cell that is a JSON list of strings counts as that list; an empty one as nothing.
fn csv_lines(file: &Path) -> Result<Vec<Line>> {
    let text = dualmd_files::read(file, limit::TABLE)?;
    let place = |line: Option<u64>| match line {
        Some(line) => format!("{}, line {line}", file.display()),
        None => file.display().to_string(),
    };
    let broken = |e: csv::Error| {
        Error::format(
            place(e.position().map(csv::Position::line)),
            e.to_string(),
            "each line has the columns of the first, in UTF-8, with quotes around text that holds commas",
        )
    };
    let mut reader = csv::Reader::from_reader(text.as_slice());
    let columns = reader.headers().map_err(broken)?.clone();
    let mut out = Vec::new();
    for row in reader.records() {
        let row = row.map_err(broken)?;
        let cells = columns
            .iter()
            .zip(&row)
            .filter(|(_, cell)| !cell.is_empty());
        let object = cells.map(|(name, cell)| (name.to_owned(), cell_value(cell)));
        let line = row.position().map(csv::Position::line);
        out.push((place(line), object.collect()));
    }
    Ok(out)
}

fn cell_value(cell: &str) -> Value {
    let list = Some(cell).filter(|c| c.starts_with('['));
    match list.and_then(|c| serde_json::from_str::<Vec<String>>(c).ok()) {
        Some(list) => list.into(),
        None => cell.into(),
    }
}

/// Captions from `NAME.txt` beside `NAME.png`, one to a line.
fn sidecar(picture: &Path) -> Result<Vec<String>> {
    let path = picture.with_extension("txt");
    match dualmd_files::read_text(&path, limit::SETTINGS) {
        Ok(text) => Ok(lines(&text)),
        Err(e) if e.is_absent() => Ok(Vec::new()),
        Err(e) => Err(e.into()),
    }
}

/// The path below the root with `/` between its parts, the same on every system.
pub(super) fn relative(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    below
        .components()
        .map(|c| c.as_os_str().to_string_lossy())
        .collect::<Vec<_>>()
        .join("/")
}
