//! JSON of model folders, as Python writes it: with `NaN`, `Infinity` and `-Infinity`, which JSON does not have.

use crate::{DiffusionError, Result};
use serde::de::DeserializeOwned;
use std::path::Path;

/// Most bytes of a JSON file: a tokenizer.json of a large vocabulary has some ten million.
const LIMIT: u64 = 1 << 28;

/// What Python writes for floats that JSON has no word for; the longer words first.
const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// Reads a JSON file. The three words of Python's that JSON lacks are read as strings ("NaN", ...): a key that is to be a number
/// then refuses them by name, and one that changes nothing here keeps nobody from opening the folder.
///
/// # Errors
/// A file that cannot be read, or that is not JSON of this form, by name.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = dualmd_files::read_text(path, LIMIT)?;
    parse(&text).map_err(|e| DiffusionError::File {
        path: path.display().to_string(),
        reason: e.to_string(),
    })
}

/// As [`read_json`], from a text.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    match quoted(text) {
        Some(text) => serde_json::from_str(&text),
        None => serde_json::from_str(text),
    }
}

/// The text with Python's words in quotation marks; nothing if there are none outside of strings.
fn quoted(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = String::new();
    let (mut inside, mut escaped) = (false, false);
    // What stands before `done` is in `out` or was a word.
    let (mut done, mut at) = (0, 0);
    while let Some(&byte) = bytes.get(at) {
        let word = WORDS.iter().find(|w| {
            !inside
                && bytes
                    .get(at..)
                    .is_some_and(|rest| rest.starts_with(w.as_bytes()))
        });
        if let Some(word) = word {
            out.push_str(text.get(done..at)?);
            out.push('"');
            out.push_str(word);
            out.push('"');
            at += word.len();
            done = at;
            continue;
        }
        match byte {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => inside = !inside,
            _ => {}
        }
        at += 1;
    }
    if done == 0 {
        return None;
    }
    out.push_str(text.get(done..)?);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn pythons_words_are_read_and_strings_are_left_alone() {
        let text = r#"{"a": -Infinity, "b": [NaN, Infinity,1e3], "NaN": "is \"NaN, Infinity\\", "é": null}"#;
        let value: Value = parse(text).unwrap();
        assert_eq!(
            value,
            json!({"a": "-Infinity", "b": ["NaN", "Infinity", 1e3], "NaN": "is \"NaN, Infinity\\", "é": null})
        );
        for plain in ["{\"x\": \"-Infinity\"}", "[1]", "", "\"a\\"] {
            assert!(quoted(plain).is_none(), "{plain}");
        }
        for broken in [
            "{\"x\": nan}",
            "{\"x\": NaNN}",
            "{\"x\": -NaN}",
            "{NaN: 1}}",
            "{\"x\": InfinityNaN}",
        ] {
            assert!(parse::<Value>(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.json");
        let error = read_json::<Value>(&path).unwrap_err().to_string();
        assert!(error.contains("c.json"), "{error}");
        std::fs::write(&path, "{").unwrap();
        let error = read_json::<Value>(&path).unwrap_err().to_string();
        assert!(error.contains("c.json"), "{error}");
        std::fs::write(&path, "[NaN]").unwrap();
        assert_eq!(read_json::<Value>(&path).unwrap(), json!(["NaN"]));
        // A number stays a number.
        assert!(read_json::<Vec<f64>>(&path).is_err());
    }
}
