//! Emoji of one vendor in colour, without skin tones and flags, with captions joined from three sources.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use dualmd_data::decode::decode;
use dualmd_data::{Error, Filter, LoadOptions, Picture, Result, encode_png};
use serde_json::Value;

use crate::table::Row;

/// The table's columns beside pictures and captions.
pub const COLUMNS: [&str; 2] = ["concept", "vendor"];
const CAPTIONS: &str = "captions Unicode-3.0 (Unicode CLDR) and MIT (emojilib, emojibase)";
const SIZE: u32 = 32;
const MAX_PIXELS: u64 = 1 << 24;

/// Whose drawings, and where they are.
pub struct Vendor {
    /// As in `emoji#NAME`.
    pub name: &'static str,
    /// Start of the package's folder.
    package: &'static str,
    /// Folder of the pictures in it, and their ending.
    pictures: (&'static str, &'static str),
    /// What the paths in the table start with: those of the first vendor are older than the others.
    prefix: &'static str,
    licence: &'static str,
}

pub const VENDORS: [Vendor; 3] = [
    Vendor {
        name: "google",
        package: "emoji-datasource-google-",
        pictures: ("img/google/64", "png"),
        prefix: "",
        licence: "Apache-2.0, (c) Google (Noto Emoji)",
    },
    Vendor {
        name: "twitter",
        package: "emoji-datasource-twitter-",
        pictures: ("img/twitter/64", "png"),
        prefix: "twitter/",
        licence: "CC-BY-4.0, (c) Twitter, Inc and other contributors (Twemoji), changed: composited over white and resized",
    },
    Vendor {
        name: "fluent3d",
        package: "lobehub-fluent-emoji-3d-",
        pictures: ("assets", "webp"),
        prefix: "fluent3d/",
        licence: "MIT, (c) Microsoft Corporation (Fluent Emoji)",
    },
];

impl Vendor {
    /// The licence line of the table.
    pub fn licence(&self) -> String {
        format!("{}; {CAPTIONS}", self.licence)
    }
}

pub fn rows(folder: &Path, vendor: &Vendor) -> Result<Vec<Row>> {
    // The list of concepts, from the package that has it, serves all vendors.
    let list = package(folder, "emoji-datasource-google-")?.join("emoji.json");
    let flags = flags(&json(&list)?);
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
    let (pictures, ending) = vendor.pictures;
    let pictures = package(folder, vendor.package)?.join(pictures);
    let (mut seen, mut concepts, mut rows) = (HashSet::new(), HashSet::new(), Vec::new());
    for stem in stems(&pictures, ending)? {
        let key = concept(&stem);
        // With an underscore: flags of parts of a country.
        if has_skin_tone(&stem) || stem.contains('_') || flags.contains(&key) {
            continue;
        }
        let path = pictures.join(format!("{stem}.{ending}"));
        let place = path.display().to_string();
        let bytes = std::fs::read(&path).map_err(|source| Error::Read {
            path: place.clone(),
            source,
        })?;
        let picture = decode(&bytes, &place, &LoadOptions::default())?.with_channels(3);
        // Made square by padding, not by the loader's cropping.
        let picture = padded(picture).to_square(SIZE, Filter::Lanczos3, MAX_PIXELS)?;
        // The same drawing, or another encoding of it under another spelling of the name.
        if !seen.insert(picture.id()) || !concepts.insert(key.clone()) {
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
            path: format!("{}{stem}.png", vendor.prefix),
            captions: texts,
            more: vec![key, vendor.name.to_owned()],
        });
    }
    Ok(rows)
}

/// Names without ending of the files in a folder, sorted.
fn stems(folder: &Path, ending: &str) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let entries = entries.map_err(|source| Error::Read {
        path: folder.display().to_string(),
        source,
    })?;
    let mut names: Vec<String> = entries
        .iter()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(&format!(".{ending}")))
        .collect();
    // With the ending, as the loader sorts the files of a folder.
    names.sort();
    let stem = |name: String| name.trim_end_matches(&format!(".{ending}")).to_owned();
    Ok(names.into_iter().map(stem).collect())
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

/// Code points as in file names (lower-case hexadecimal of at least four digits, joined by `-`) without the variation
/// selector, which sources write or leave out as they like.
fn concept(hex: &str) -> String {
    hex.to_lowercase()
        .split('-')
        .filter(|p| *p != "fe0f")
        .map(|p| format!("{p:0>4}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_concept_are_one() {
        for spelling in ["0023-fe0f-20e3", "23-20e3", "0023-20E3"] {
            assert_eq!(concept(spelling), "0023-20e3");
        }
        assert_eq!(concept_of_text("#\u{fe0f}\u{20e3}"), "0023-20e3");
        assert_ne!(concept("1f44b-1f3fb"), concept("1f44b"));
    }

    #[test]
    fn skin_tones_are_modifiers_only() {
        assert!(has_skin_tone("1f44b-1f3fd") && !has_skin_tone("1f44b"));
        assert!(!has_skin_tone("1f3fb"));
    }
}
