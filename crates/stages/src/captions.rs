//! A file of captions beside an image set (`data.captions`), as `dualmd caption` writes it.

use anyhow::{Context, Result, bail};
use dualmd_data::ImageSet;
use dualmd_files::{limit, shown};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What is read of a line.
#[derive(Deserialize)]
struct Line {
    /// Content id.
    id: String,
    /// The main caption first.
    text: Vec<String>,
}

/// Gives the images the captions that `path` has for their content ids, in place of those that they have. One that the file does not
/// name keeps its own. Captions are trimmed, and empty ones dropped.
///
/// # Errors
/// A file that cannot be read, a line that is none of captions, or a file of other images.
pub fn take(set: &mut ImageSet, path: &Path) -> Result<()> {
    let text = dualmd_files::read_text(path, limit::TABLE)?;
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let Line { id, text } = serde_json::from_str(line).with_context(|| {
            format!(
                "data.captions: {}, line {}: no captions of an image (\"id\", and a list \"text\")",
                shown(path),
                number + 1
            )
        })?;
        let captions = text.iter().map(|caption| caption.trim());
        let captions = captions.filter(|caption| !caption.is_empty());
        found.insert(id, captions.map(str::to_owned).collect());
    }
    let mut matched = 0;
    for record in &mut set.records {
        if let Some(captions) = found.remove(record.id.as_str()) {
            record.captions = captions;
            matched += 1;
        }
    }
    if matched == 0 {
        bail!(
            "data.captions: {} has captions for none of the images of {}: it was written for others, or before they were changed",
            shown(path),
            set.source
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_data::{Picture, Record};

    #[test]
    fn captions_are_found_by_the_content_of_images() {
        let record = |value: u8| {
            let picture = Picture {
                width: 1,
                height: 1,
                channels: 1,
                pixels: vec![value],
            };
            Record {
                id: picture.id(),
                picture,
                captions: vec!["own".into()],
                group: None,
                label: None,
                name: value.to_string(),
                file: None,
            }
        };
        let records = vec![record(1), record(2)];
        let mut set = ImageSet::new("here".into(), None, records).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("captions.jsonl");
        let id = set.records[1].id.as_str().to_owned();
        let line = format!("{{\"id\": \"{id}\", \"text\": [\" a \", \"\", \"b\"], \"more\": 1}}\n");
        std::fs::write(&path, &line).unwrap();
        take(&mut set, &path).unwrap();
        assert_eq!(set.records[0].captions, ["own"]);
        assert_eq!(set.records[1].captions, ["a", "b"]);
        set.records.truncate(1);
        let error = format!("{:#}", take(&mut set, &path).unwrap_err());
        assert!(error.contains("none of the images of here"), "{error}");
        std::fs::write(&path, format!("{line}a\n")).unwrap();
        let error = format!("{:#}", take(&mut set, &path).unwrap_err());
        assert!(error.contains("line 2"), "{error}");
    }
}
