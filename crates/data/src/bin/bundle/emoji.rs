//! Noto emoji in colour, without skin tones and flags, with captions joined from three sources.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use dualmd_data::{Error, Filter, LoadOptions, Picture, Result, encode_png, load};
use serde_json::Value;

use crate::table::Row;

pub const LICENCE: &str = "Apache-2.0, (c) Google (Noto Emoji); captions Unicode-3.0 (Unicode CLDR) and MIT (emojilib, emojibase)";
const SIZE: u32 = 32;
const MAX_PIXELS: u64 = 1 << 24;

pub fn rows(folder: &Path) -> Result<Vec<Row>> {
    let google = package(folder, "emoji-datasource-google-")?;
    let flags = flags(&json(&google.join("emoji.json"))?);
    let captions = [
        cldr(&json(
            &package(folder, "cldr-annotations-full-")?.join("annotations/en/annotations.json"),
        )?),
        emojilib(&json(
            &package(folder, "emojilib-")?.join("dist/emoji-en-US.json"),
        )?),
        emojibase(&json(
            &package(folder, "emojibase-data-")?.join("en/data.json"),
        )?),
    ];
    let pictures = google.join("img/google/64");
    // In their own size: the shape is made square by padding, not by the loader's cropping.
    let set = load(
        &pictures.display().to_string(),
        &LoadOptions {
            channels: Some(3),
            ..LoadOptions::default()
        },
    )?;
    let (mut seen, mut rows) = (HashSet::new(), Vec::new());
    for record in set.records {
        let stem = record.name.trim_end_matches(".png").to_owned();
        let key = concept(&stem);
        if has_skin_tone(&stem) || flags.contains(&key) {
            continue;
        }
        let picture = padded(record.picture).to_square(SIZE, Filter::Lanczos3, MAX_PIXELS)?;
        if !seen.insert(picture.id()) {
            continue;
        }
        let mut texts: Vec<String> = Vec::new();
        for text in captions.iter().filter_map(|c| c.get(&key)).flatten() {
            if !texts.contains(text) {
                texts.push(text.clone());
            }
        }
        texts.truncate(4);
        if texts.is_empty() {
            return Err(wrong(
                format!("no caption for {stem}"),
                "take the package versions of assets/README.md",
            ));
        }
        rows.push(Row {
            png: encode_png(&picture)?,
            path: format!("{stem}.png"),
            captions: texts,
        });
    }
    Ok(rows)
}

fn wrong(problem: String, remedy: &str) -> Error {
    Error::Options {
        problem,
        remedy: remedy.into(),
    }
}

/// `FOLDER/<package>-<version>/package`.
fn package(folder: &Path, prefix: &str) -> Result<std::path::PathBuf> {
    let read = |source| Error::Read {
        path: folder.display().to_string(),
        source,
    };
    let entries = std::fs::read_dir(folder)
        .map_err(read)?
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(read)?;
    let found = entries
        .into_iter()
        .find(|e| e.file_name().to_string_lossy().starts_with(prefix));
    let path = found.map(|e| e.path().join("package"));
    path.ok_or_else(|| {
        wrong(
            format!("no package {prefix}* in {}", folder.display()),
            "unpack the npm packages there",
        )
    })
}

fn json(path: &Path) -> Result<Value> {
    let name = path.display().to_string();
    let text = std::fs::read(path).map_err(|source| Error::Read {
        path: name.clone(),
        source,
    })?;
    serde_json::from_slice(&text)
        .map_err(|e| wrong(format!("{name}: {e}"), "unpack the package again"))
}

/// Code points as in file names (lower-case hexadecimal, joined by `-`) without the variation selector, which sources
/// write or leave out as they like.
fn concept(hex: &str) -> String {
    hex.to_lowercase()
        .split('-')
        .filter(|p| *p != "fe0f")
        .collect::<Vec<_>>()
        .join("-")
}

fn concept_of_text(text: &str) -> String {
    concept(
        &text
            .chars()
            .map(|c| format!("{:04x}", u32::from(c)))
            .collect::<Vec<_>>()
            .join("-"),
    )
}

fn has_skin_tone(stem: &str) -> bool {
    stem.split('-')
        .skip(1)
        .any(|p| matches!(p, "1f3fb" | "1f3fc" | "1f3fd" | "1f3fe" | "1f3ff"))
}

/// Concepts in the category of flags.
fn flags(list: &Value) -> HashSet<String> {
    let entries = list.as_array().into_iter().flatten();
    entries
        .filter(|e| e["category"] == "Flags")
        .filter_map(|e| e["unified"].as_str().map(concept))
        .collect()
}

fn strings(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|v| v.as_str())
        .map(str::to_owned)
        .collect()
}

type Captions = BTreeMap<String, Vec<String>>;

/// CLDR: the short name as one caption, the keywords as another.
fn cldr(file: &Value) -> Captions {
    let entries = file["annotations"]["annotations"]
        .as_object()
        .into_iter()
        .flatten();
    let texts = |v: &Value| {
        let mut out = strings(&v["tts"]);
        let keywords = strings(&v["default"]).join(", ");
        out.extend(Some(keywords).filter(|k| !k.is_empty()));
        out
    };
    entries
        .map(|(text, v)| (concept_of_text(text), texts(v)))
        .collect()
}

/// emojilib: name and keywords in one list.
fn emojilib(file: &Value) -> Captions {
    let entries = file.as_object().into_iter().flatten();
    let text = |v: &Value| vec![strings(v).join(", ").replace('_', " ")];
    entries
        .map(|(emoji, v)| (concept_of_text(emoji), text(v)))
        .collect()
}

/// emojibase: label and tags.
fn emojibase(file: &Value) -> Captions {
    let mut out = HashMap::new();
    for entry in file.as_array().into_iter().flatten() {
        let (Some(hex), Some(label)) = (entry["hexcode"].as_str(), entry["label"].as_str()) else {
            continue;
        };
        let mut words = vec![label.to_owned()];
        words.extend(strings(&entry["tags"]));
        out.insert(concept(hex), vec![words.join(", ")]);
    }
    out.into_iter().collect()
}

/// The picture in the middle of a white square.
fn padded(picture: Picture) -> Picture {
    let side = picture.width.max(picture.height);
    if picture.width == picture.height {
        return picture;
    }
    let mut out = Picture::filled(side, side, picture.channels, 255);
    let c = usize::from(picture.channels);
    let (left, top) = (
        (side - picture.width) as usize / 2,
        (side - picture.height) as usize / 2,
    );
    let line = picture.width as usize * c;
    for (y, row) in picture.pixels.chunks_exact(line.max(1)).enumerate() {
        let start = ((top + y) * side as usize + left) * c;
        out.pixels[start..start + line].copy_from_slice(row);
    }
    out
}
