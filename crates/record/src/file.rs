//! How a file is written and read, and its version.

use std::path::{Path, PathBuf};

use dualmd_files::shown;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What goes wrong with the files of a run folder.
pub type Result<T> = std::result::Result<T, RecordError>;

/// Key of the version.
const VERSION_KEY: &str = "schema";

/// In which order the keys of an object are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// In alphabetical order, at every depth.
    Alphabetical,
    /// The version, then the fields as the type lists them.
    AsListed,
}

/// A file of a run folder that is one JSON object.
pub trait RunFile: Serialize + DeserializeOwned + JsonSchema {
    /// The newest version that this program knows, which is the one that it writes.
    const VERSION: u32 = 1;

    /// Most bytes that are read of such a file.
    const LIMIT: u64 = dualmd_files::limit::TABLE;

    /// The order of its keys.
    const KEYS: Keys = Keys::Alphabetical;
}

/// Why the bytes of a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Not JSON, or not of this file.
    #[error(transparent)]
    Damaged(#[from] serde_json::Error),
    /// Of a version that this program does not know.
    #[error(
        "its schema is {found}, and this program knows those up to {known}: use the version of dualmd that wrote it, or a newer one"
    )]
    Newer {
        /// What the file says.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
}

/// A file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It is not there, or the operating system refuses.
    #[error(transparent)]
    File(#[from] dualmd_files::Error),
    /// It is there and cannot be used.
    #[error("{}: damaged ({source}); remove it", shown(path))]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Another version of this program wrote it.
    #[error("{}: {why}", shown(path))]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Which version.
        why: Unusable,
    },
}

impl RecordError {
    /// Is the file not there?
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::File(error) if error.is_absent())
    }

    fn of(path: &Path, why: Unusable) -> Self {
        let path = path.to_path_buf();
        match why {
            Unusable::Damaged(source) => Self::Damaged { path, source },
            Unusable::Newer { .. } => Self::Newer { path, why },
        }
    }
}

/// The version of a file; the rest is passed over.
#[derive(Deserialize)]
struct Version {
    #[serde(default)]
    schema: Option<u32>,
}

/// A file from its bytes. One without a version has version 1.
///
/// # Errors
/// Bytes that are no JSON of this type; a version that this program does not know.
pub fn parse<T: RunFile>(bytes: &[u8]) -> std::result::Result<T, Unusable> {
    check_version(bytes, T::VERSION)?;
    Ok(serde_json::from_slice(bytes)?)
}

/// Is a file of a version that this program knows, up to `known`?
///
/// # Errors
/// It is newer, or no JSON object.
pub fn check_version(bytes: &[u8], known: u32) -> std::result::Result<(), Unusable> {
    let version: Version = serde_json::from_slice(bytes)?;
    match version.schema {
        Some(found) if found > known => Err(Unusable::Newer { found, known }),
        _ => Ok(()),
    }
}

/// Reads a file.
///
/// # Errors
/// It is not there ([`RecordError::is_absent`]) or cannot be read; as [`parse`].
pub fn read<T: RunFile>(path: &Path) -> Result<T> {
    let bytes = dualmd_files::read(path, T::LIMIT)?;
    parse(&bytes).map_err(|why| RecordError::of(path, why))
}

/// Reads a file that can be made again: `None` if it is not there, cannot be read or is damaged.
///
/// # Errors
/// A version that this program does not know: that file is not to be written over.
pub fn read_if_usable<T: RunFile>(path: &Path) -> Result<Option<T>> {
    match read(path) {
        Ok(file) => Ok(Some(file)),
        Err(error @ RecordError::Newer { .. }) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Writes a file with its version, whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn write<T: RunFile>(path: &Path, file: &T) -> Result<()> {
    let text = match T::KEYS {
        Keys::AsListed => serde_json::to_vec_pretty(&WithVersion {
            schema: T::VERSION,
            file,
        }),
        // A value keeps its keys in alphabetical order.
        Keys::Alphabetical => serde_json::to_value(file).and_then(|mut value| {
            if let Value::Object(fields) = &mut value {
                fields.insert(VERSION_KEY.to_owned(), T::VERSION.into());
            }
            serde_json::to_vec_pretty(&value)
        }),
    };
    write_text(path, text)
}

/// Writes JSON that has no version, whole or not at all; keys stand as the type lists them.
///
/// # Errors
/// The file cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    write_text(path, serde_json::to_vec_pretty(value))
}

/// A file with its version in front.
#[derive(Serialize)]
struct WithVersion<'a, T> {
    schema: u32,
    #[serde(flatten)]
    file: &'a T,
}

/// Reads a file that is a list and has no version.
///
/// # Errors
/// It is not there ([`RecordError::is_absent`]), cannot be read, or is no list of these.
pub fn read_list<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let bytes = dualmd_files::read(path, dualmd_files::limit::TABLE)?;
    serde_json::from_slice(&bytes).map_err(|e| RecordError::of(path, e.into()))
}

/// Writes a file that is a list, whole or not at all; the keys of each entry stand in alphabetical order.
///
/// # Errors
/// The file cannot be written.
pub fn write_list<T: Serialize>(path: &Path, entries: &[T]) -> Result<()> {
    let text = serde_json::to_value(entries).and_then(|value| serde_json::to_vec_pretty(&value));
    write_text(path, text)
}

fn write_text(path: &Path, text: serde_json::Result<Vec<u8>>) -> Result<()> {
    let mut text = text.map_err(|e| RecordError::of(path, e.into()))?;
    text.push(b'\n');
    Ok(dualmd_files::write(path, &text)?)
}

/// The JSON schema of a file, with its version among the properties.
#[must_use]
pub fn schema<T: RunFile>() -> Value {
    let mut schema = schemars::schema_for!(T).to_value();
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        let version = serde_json::Map::from_iter([
            ("type".to_owned(), "integer".into()),
            ("minimum".to_owned(), 1.into()),
            ("maximum".to_owned(), T::VERSION.into()),
            (
                "description".to_owned(),
                "Version of the file; 1 where it is absent.".into(),
            ),
        ]);
        properties.insert(VERSION_KEY.to_owned(), version.into());
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(default)]
    struct Small {
        zebra: f64,
        ant: Option<u64>,
    }

    impl RunFile for Small {
        const VERSION: u32 = 2;
    }

    #[test]
    fn a_file_comes_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("small.json");
        let file = Small {
            zebra: 0.1 + 0.2,
            ant: None,
        };
        write(&path, &file).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let expected =
            "{\n  \"ant\": null,\n  \"schema\": 2,\n  \"zebra\": 0.30000000000000004\n}\n";
        assert_eq!(text, expected);
        assert_eq!(read::<Small>(&path).unwrap(), file);
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    struct AsListed {
        zebra: f64,
        ant: Option<u64>,
    }

    impl RunFile for AsListed {
        const KEYS: Keys = Keys::AsListed;
    }

    #[test]
    fn keys_as_they_are_listed_and_lists() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.json");
        let file = AsListed {
            zebra: 1.0,
            ant: Some(u64::MAX),
        };
        write(&path, &file).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let expected =
            "{\n  \"schema\": 1,\n  \"zebra\": 1.0,\n  \"ant\": 18446744073709551615\n}\n";
        assert_eq!(text, expected);
        assert_eq!(read::<AsListed>(&path).unwrap(), file);

        write_list(&path, std::slice::from_ref(&file)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = "[\n  {\n    \"ant\": 18446744073709551615,\n    \"zebra\": 1.0\n  }\n]\n";
        assert_eq!(text, expected);
        assert_eq!(read_list::<AsListed>(&path).unwrap(), [file]);
    }

    #[test]
    fn versions() {
        let of = |text: &str| parse::<Small>(text.as_bytes());
        let one = Small {
            zebra: 1.0,
            ant: None,
        };
        for earlier in [
            "",
            r#""schema": null,"#,
            r#""schema": 1,"#,
            r#""schema": 2,"#,
        ] {
            let text = format!(r#"{{{earlier} "zebra": 1, "unknown": []}}"#);
            assert_eq!(of(&text).unwrap(), one, "{text}");
        }
        let newer = of(r#"{"schema": 3, "zebra": "three"}"#).unwrap_err();
        assert!(matches!(newer, Unusable::Newer { found: 3, known: 2 }));
        assert!(matches!(of("{"), Err(Unusable::Damaged(_))));

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("small.json");
        assert!(read::<Small>(&path).unwrap_err().is_absent());
        assert_eq!(read_if_usable::<Small>(&path).unwrap(), None);
        std::fs::write(&path, r#"{"zebra": []}"#).unwrap();
        assert_eq!(read_if_usable::<Small>(&path).unwrap(), None);
        let damaged = read::<Small>(&path).unwrap_err().to_string();
        assert!(damaged.contains("small.json: damaged"), "{damaged}");
        std::fs::write(&path, r#"{"schema": 3}"#).unwrap();
        let newer = read_if_usable::<Small>(&path).unwrap_err().to_string();
        assert!(newer.contains("small.json: its schema is 3"), "{newer}");
    }
}
