//! WebDataset: a tar whose entries `KEY.jpg`, `KEY.txt`, `KEY.json`, `KEY.cls` belong together.

use std::collections::BTreeSet;
use std::io::{BufReader, Read};
use std::path::Path;

use serde_json::{Map, Value};

use super::columns::{Columns, keys, lines};
use super::{About, Collector, own_name};
use crate::decode::{READABLE, UNREADABLE, check_size};
use crate::{Error, Result};

/// Texts are never this long; more would be a bomb.
const MAX_TEXT: u64 = 16 << 20;
/// What `caption_column` calls the texts in entries of their own.
const TXT: &str = "txt";

const NOT_READ: &str = "of no ending that is read";
const NO_KEY: &str = "without an ending";
const NO_FILE: &str = "links and other entries that are no files";
const ALONE: &str = "samples without a picture, captions, label or group";

#[derive(Default)]
struct Sample {
    key: String,
    /// An entry that is a picture by the last of several endings, and no other has come.
    dotted: Option<String>,
    picture: Option<(String, Vec<u8>)>,
    captions: Vec<String>,
    label: Option<String>,
    /// The `.json`, with the place it is named by in messages.
    object: Option<(String, Map<String, Value>)>,
}

pub(super) fn read(path: &Path, into: &mut Collector<'_>) -> Result<()> {
    let file = dualmd_files::open(path)?;
    let mut archive = tar::Archive::new(BufReader::new(file));
    let broken = |e: std::io::Error| {
        Error::format(
            path.display().to_string(),
            e.to_string(),
            "copy the archive again",
        )
    };
    let mut sample = Sample::default();
    for entry in archive.entries().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let place = format!("{}, entry {name}", path.display());
        let kind = entry.header().entry_type();
        if !kind.is_file() {
            if !kind.is_dir() && !kind.is_pax_global_extensions() {
                into.skip(NO_FILE, own_name(&place));
            }
            continue;
        }
        // The key ends at the first dot of the last part: in the library webdataset `^((?:.*/|)[^.]+)[.]([^/]*)$`.
        let base = name.rfind('/').map_or(0, |i| i + 1);
        let Some(dot) = name[base..].find('.').filter(|d| *d > 0) else {
            into.skip(NO_KEY, own_name(&place));
            continue;
        };
        let (key, ending) = (&name[..base + dot], name[base + dot + 1..].to_lowercase());
        if key != sample.key {
            finish(std::mem::take(&mut sample), path, into)?;
            sample.key = key.to_owned();
        }
        let is_picture = READABLE.contains(&ending.as_str());
        if !is_picture && !matches!(ending.as_str(), "txt" | "json" | "cls") {
            let last = ending.rsplit('.').next().unwrap_or_default();
            if UNREADABLE.contains(&ending.as_str()) {
                return Err(Error::format(
                    place,
                    format!("pictures of the form .{ending} cannot be read"),
                    "convert them to PNG",
                ));
            }
            if READABLE.contains(&last) || UNREADABLE.contains(&last) {
                sample.dotted.get_or_insert_with(|| ending.clone());
            }
            into.skip(NOT_READ, own_name(&place));
            continue;
        }
        let size = entry.size();
        if is_picture {
            check_size(size, &place, into.options)?;
        } else if size > MAX_TEXT {
            return Err(Error::format(
                place,
                format!("a text of {size} bytes"),
                "texts stay below 16 MB",
            ));
        }
        let mut bytes = Vec::new();
        entry.take(size).read_to_end(&mut bytes).map_err(broken)?;
        if (bytes.len() as u64) < size {
            return Err(Error::format(
                place,
                "the archive ends inside this entry",
                "copy the archive again",
            ));
        }
        if is_picture {
            if let Some((other, _)) = &sample.picture {
                let problem = format!("two pictures for one sample ({other} is the other)");
                return Err(Error::format(place, problem, "keep one of them"));
            }
            sample.picture = Some((name, bytes));
        } else {
            describe(&mut sample, &ending, bytes, place)?;
        }
    }
    finish(sample, path, into)
}

fn describe(sample: &mut Sample, ending: &str, bytes: Vec<u8>, place: String) -> Result<()> {
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::format(&place, "the text is not UTF-8", "write captions in UTF-8"))?;
    match ending {
        "txt" => sample.captions = lines(&text),
        "cls" => sample.label = Some(text.trim().to_owned()),
        _ => {
            let object = serde_json::from_str(&text).map_err(|e| {
                Error::format(&place, e.to_string(), "the entry is one JSON object")
            })?;
            sample.object = Some((place, object));
        }
    }
    Ok(())
}

/// The columns of a sample are `txt` and the keys of its `.json`. Where the user names none, the `.txt` comes first:
/// programs that download such sets write the caption into both.
fn about(sample: &mut Sample, into: &mut Collector<'_>) -> Result<About> {
    let mut about = About::default();
    let captions = std::mem::take(&mut sample.captions);
    if !captions.is_empty() {
        into.note_columns([TXT]);
    }
    let of_text = into.options.caption_column.is_none_or(|name| name == TXT);
    if let Some((place, object)) = &sample.object {
        into.note_columns(keys(object));
        let all: BTreeSet<String> = keys(object).map(str::to_owned).collect();
        // Not asked where there is nothing to choose: the captions are those of the `.txt`.
        let offered = keys(object).filter(|_| !of_text || captions.is_empty());
        about = Columns::choose(into.options, offered, &all, place)?.about(object, place)?;
    }
    if of_text && !captions.is_empty() {
        about.captions = captions;
    }
    if into.options.label_column.is_none() {
        about.label = sample.label.take().or(about.label);
    }
    Ok(about)
}

fn finish(mut sample: Sample, path: &Path, into: &mut Collector<'_>) -> Result<()> {
    let has_text = !sample.captions.is_empty();
    let mut about = about(&mut sample, into)?;
    let Some((name, bytes)) = sample.picture else {
        if let Some(ending) = sample.dotted {
            let place = format!("{}, entry {}.{ending}", path.display(), sample.key);
            return Err(Error::format(
                place,
                format!(
                    "a WebDataset's key ends at the first dot: here it is `{}`, and `.{ending}` is no ending of a picture",
                    sample.key
                ),
                "write the archive again with keys that have no dots",
            ));
        }
        let known = has_text || !about.captions.is_empty();
        if !known && about.label.is_none() && about.group.is_none() {
            if sample.object.is_some() {
                let place = format!("{}, sample {}", path.display(), sample.key);
                into.skip(ALONE, own_name(&place));
            }
            return Ok(());
        }
        let place = format!("{}, sample {}", path.display(), sample.key);
        return Err(Error::format(
            place,
            "a caption or label without a picture",
            "add the picture or drop the text",
        ));
    };
    let place = format!("{}, entry {name}", path.display());
    about.name = name;
    into.add_encoded(&bytes, &place, about)
}
