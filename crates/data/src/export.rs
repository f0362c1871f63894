//! Writing a set as a folder for other programs.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;

use dualmd_files::Building;
use serde_json::{Map, Value};

use crate::read::ID;
use crate::{Error, ImageSet, Picture, Record, Result, encode_png};

/// Writes a set as PNG files and a `metadata.jsonl`, the form that [`crate::load()`], the `imagefolder` of Hugging Face's
/// `datasets` and diffusers' training scripts read. Captions, groups and labels go along, and the pictures are as in the
/// set: after resizing.
///
/// Files keep their names where these are different and harmless (`holiday/IMG 1.jpg` becomes `holiday_IMG 1.png`), and are numbered
/// in the set's order otherwise (`image-07.png`, which is no name of a set). The columns are `file_name`, `original` (the name as it was), `id` (the content id, as in split files)
/// and, where some record has them, `text`, `group` and `label`; `text` is a string where no record has two captions, and a list
/// everywhere else. `metadata.jsonl` is written last: a folder that has it is complete.
///
/// # Errors
/// A folder that holds something already, or cannot be written.
pub fn save_folder(set: &ImageSet, folder: &Path) -> Result<()> {
    save(set, &|i| Ok(Cow::Borrowed(&set.records[i].picture)), folder)
}

/// Where the pictures of a set are.
type Of<'a> = &'a dyn Fn(usize) -> Result<Cow<'a, Picture>>;

/// As [`save_folder`], with pictures that are asked for one by one.
pub(crate) fn save(set: &ImageSet, picture: Of<'_>, folder: &Path) -> Result<()> {
    if !folder.exists() {
        // A new folder is whole, or not there: a half one would be in the way of the same command.
        let building = Building::new(folder)?;
        fill(set, picture, building.path())?;
        return Ok(building.finish()?);
    }
    if !dualmd_files::list(folder)?.is_empty() {
        return Err(Error::format(
            folder.display().to_string(),
            "the folder is not empty",
            "name a new one: pictures of two sets must not be mixed",
        ));
    }
    fill(set, picture, folder)
}

fn fill(set: &ImageSet, picture: Of<'_>, folder: &Path) -> Result<()> {
    let records = &set.records;
    let most = records.iter().map(|r| r.captions.len()).max().unwrap_or(0);
    let grouped = records.iter().any(|r| r.group.is_some());
    let labelled = records.iter().any(|r| r.label.is_some());
    let mut lines = String::new();
    for (i, (name, record)) in file_names(records).into_iter().zip(records).enumerate() {
        let path = folder.join(&name);
        dualmd_files::write(&path, &encode_png(picture(i)?.as_ref())?)?;
        let mut line = Map::new();
        line.insert("file_name".into(), name.into());
        line.insert(ID.into(), record.name.clone().into());
        line.insert("id".into(), record.id.as_str().into());
        match most {
            0 => {}
            1 => drop(line.insert("text".into(), record.captions.first().cloned().into())),
            _ => drop(line.insert("text".into(), record.captions.clone().into())),
        }
        if grouped {
            line.insert("group".into(), record.group.clone().into());
        }
        if labelled {
            line.insert("label".into(), record.label.clone().into());
        }
        lines += &Value::Object(line).to_string();
        lines.push('\n');
    }
    Ok(dualmd_files::write(
        &folder.join("metadata.jsonl"),
        lines.as_bytes(),
    )?)
}

/// Longest name of a file that is kept, in bytes: file systems take 255.
const LONGEST: usize = 200;

/// The files' names: the old ones, or numbers where one of them cannot be kept or two would be the same. Names come from a stranger's
/// files, so that a name is kept only if it is a plain one.
fn file_names(records: &[Record]) -> Vec<String> {
    let kept: Option<Vec<String>> = records.iter().map(|r| file_name(&r.name)).collect();
    let different = |names: &[String]| {
        // Some file systems take names for the same that differ in case only.
        let folded: BTreeSet<String> = names.iter().map(|n| n.to_lowercase()).collect();
        folded.len() == names.len()
    };
    kept.filter(|names| different(names)).unwrap_or_else(|| {
        let digits = records.len().saturating_sub(1).to_string().len();
        (0..records.len())
            .map(|number| format!("image-{number:0digits$}.png"))
            .collect()
    })
}

/// The name of the PNG file for an image of some name; `None` if it cannot be kept.
fn file_name(name: &str) -> Option<String> {
    let (folders, file) = name.rsplit_once('/').unwrap_or(("", name));
    let stem = match file.rsplit_once('.') {
        Some((stem, ending)) if ending.len() <= 4 && ending.chars().all(char::is_alphanumeric) => {
            stem
        }
        _ => file,
    };
    let whole = match folders {
        "" => stem.to_owned(),
        folders => format!("{}_{stem}", folders.replace('/', "_")),
    };
    let harmless = |c: char| c.is_alphanumeric() || " _-+.,()@".contains(c);
    let first = whole.chars().next()?;
    let fits = whole.len() <= LONGEST && whole.chars().all(harmless);
    (fits && (first.is_alphanumeric() || first == '_') && !whole.ends_with([' ', '.']))
        .then(|| format!("{whole}.png"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LoadOptions, Picture, Record, load};

    fn set(captions: [&[&str]; 3]) -> ImageSet {
        let record = |(i, captions): (usize, &[&str])| {
            let mut picture = Picture::filled(4, 4, 3, 0);
            picture.pixels[0] = i as u8;
            Record {
                id: picture.id(),
                picture,
                captions: captions.iter().map(|&c| c.to_owned()).collect(),
                group: (i < 2).then(|| "one, \"two\"".to_owned()),
                label: None,
                name: i.to_string(),
                file: None,
            }
        };
        let records = captions.into_iter().enumerate().map(record).collect();
        ImageSet::new("s".into(), None, records).unwrap()
    }

    #[test]
    fn a_folder_returns_with_captions_and_groups() {
        let root = tempfile::tempdir().unwrap();
        for (name, captions, first) in [
            (
                "lists",
                [&["a", "b"][..], &[], &["c"]],
                r#""text":["a","b"]"#,
            ),
            (
                "strings",
                [&["a"][..], &[], &["line\nline"]],
                r#""text":"a""#,
            ),
            ("none", [&[][..], &[], &[]], r#""group""#),
        ] {
            let set = set(captions);
            let folder = root.path().join(name);
            save_folder(&set, &folder).unwrap();
            let text = std::fs::read_to_string(folder.join("metadata.jsonl")).unwrap();
            assert!(text.lines().next().unwrap().contains(first), "{text}");
            assert!(text.contains(set.records[2].id.as_str()) && !text.contains("label"));
            assert_eq!(text.contains("text"), name != "none");
            assert_eq!(dualmd_files::list(&folder).unwrap().len(), 4);
            let mut back = load(&folder.display().to_string(), &LoadOptions::default()).unwrap();
            assert_eq!(back.records[1].name, "1", "as it was called");
            for (back, record) in back.records.iter_mut().zip(&set.records) {
                back.file = None;
                back.name.clone_from(&record.name);
            }
            assert_eq!(back.records, set.records, "{name}");
        }
    }

    #[test]
    fn nothing_is_mixed_or_lost() {
        let root = tempfile::tempdir().unwrap();
        let set = set([&[], &[], &[]]);
        std::fs::write(root.path().join("notes"), "x").unwrap();
        let error = save_folder(&set, root.path()).unwrap_err().to_string();
        assert!(error.contains("not empty"), "{error}");
        let error = save_folder(&set, &root.path().join("notes")).unwrap_err();
        assert!(error.to_string().contains("notes"), "{error}");
        // What is refused half-way leaves no half a folder.
        let mut wrong = set;
        wrong.records[2].picture.pixels.pop();
        assert!(save_folder(&wrong, &root.path().join("new")).is_err());
        let left = dualmd_files::list(root.path()).unwrap();
        assert_eq!(left, [root.path().join("notes")]);
    }

    #[test]
    fn names_are_kept_where_they_are_harmless() {
        let record = |name: &str| Record {
            name: name.into(),
            ..set([&[], &[], &[]]).records[0].clone()
        };
        let names = |names: &[&str]| {
            let records: Vec<Record> = names.iter().map(|n| record(n)).collect();
            file_names(&records)
        };
        assert_eq!(
            names(&["/a/IMG 1.jpg", "b.png", "übung.tar.gz", "12", "v1.25"]),
            ["_a_IMG 1.png", "b.png", "übung.tar.png", "12.png", "v1.png"]
        );
        let numbers = ["image-0.png", "image-1.png"];
        // Two that would be the same file; names that lead out of the folder, are hidden, or move a cursor.
        for evil in [
            "B.jpg",
            "../x.png",
            ".hidden",
            "x\u{1b}[2J",
            "a:b",
            "",
            "trailing ",
            "-rf",
        ] {
            assert_eq!(names(&["b.png", evil]), numbers, "{evil:?}");
        }
        assert_eq!(names(&["b", &"x".repeat(300)]), numbers);
    }
}
