//! How a file is written and read, and its version.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Seek as _, Write};
use std::path::{Path, PathBuf};

use dualmd_files::{Limited, shown};
use schemars::JsonSchema;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::de::IoRead;

use crate::sorted::{self, Unwritten};

/// What goes wrong with the files of a run folder.
pub type Result<T> = std::result::Result<T, RecordError>;

/// Key of the version.
const VERSION_KEY: &str = "schema";

/// Bytes of a file that are held while it is read or written.
const BUFFER: usize = 1 << 16;

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

impl Version {
    fn check(&self, known: u32) -> std::result::Result<(), Unusable> {
        match self.schema {
            Some(found) if found > known => Err(Unusable::Newer { found, known }),
            _ => Ok(()),
        }
    }
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
    version.check(known)
}

/// Reads a file, piece by piece: its text is never held.
///
/// # Errors
/// It is not there ([`RecordError::is_absent`]) or cannot be read; as [`parse`].
pub fn read<T: RunFile>(path: &Path) -> Result<T> {
    read_with::<T, T>(path, |json| T::deserialize(&mut *json))
}

/// JSON that is read from a file piece by piece.
pub(crate) type Json<'f> = serde_json::Deserializer<IoRead<BufReader<Limited<&'f File>>>>;

/// Reads what `take` takes of a file of the kind `T`.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_with<T: RunFile, V>(
    path: &Path,
    take: impl FnOnce(&mut Json<'_>) -> serde_json::Result<V>,
) -> Result<V> {
    let mut file = dualmd_files::open(path)?;
    check_file::<T>(&file, path)?;
    file.rewind()
        .map_err(|e| dualmd_files::Error::of_reading(path, T::LIMIT, e))?;
    from_here(&file, path, T::LIMIT, take)
}

/// The version first: what a newer file says may be another thing.
fn check_file<T: RunFile>(file: &File, path: &Path) -> Result<()> {
    let version = from_here(file, path, T::LIMIT, |json| {
        Version::deserialize(&mut *json)
    })?;
    let checked = version.check(T::VERSION);
    checked.map_err(|why| RecordError::of(path, why))
}

/// What `take` takes of the one value that a file holds from here to its end.
fn from_here<V>(
    file: &File,
    path: &Path,
    limit: u64,
    take: impl FnOnce(&mut Json<'_>) -> serde_json::Result<V>,
) -> Result<V> {
    let reader = BufReader::with_capacity(BUFFER, dualmd_files::limited(file, limit));
    let mut json = serde_json::Deserializer::from_reader(reader);
    let taken = take(&mut json).and_then(|value| json.end().map(|()| value));
    taken.map_err(|error| match error.is_io() {
        true => dualmd_files::Error::of_reading(path, limit, error.into()).into(),
        false => RecordError::of(path, error.into()),
    })
}

/// Which of the fields `known` the next key of an object is, once each; values of other keys are passed over. None at the object's end.
pub(crate) fn next_field<'de, A: MapAccess<'de>>(
    map: &mut A,
    known: &[&'static str],
    seen: &mut Vec<&'static str>,
) -> std::result::Result<Option<&'static str>, A::Error> {
    while let Some(key) = map.next_key::<String>()? {
        let Some(&field) = known.iter().find(|field| **field == key) else {
            map.next_value::<IgnoredAny>()?;
            continue;
        };
        if seen.contains(&field) {
            return Err(A::Error::duplicate_field(field));
        }
        seen.push(field);
        return Ok(Some(field));
    }
    Ok(None)
}

/// A list whose entries are handed on one by one, in their order.
pub(crate) struct Each<'a, T>(pub &'a mut dyn FnMut(T));

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Each<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> std::result::Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Each<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<(), A::Error> {
        let Self(take) = self;
        while let Some(entry) = list.next_element()? {
            take(entry);
        }
        Ok(())
    }
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

/// Whether a file is what [`write`](fn@write) would write, byte by byte: not so of one that is not there, cannot be read or is damaged.
///
/// # Errors
/// A version that this program does not know: that file is not to be written over.
pub fn holds<T: RunFile>(path: &Path, file: &T) -> Result<bool> {
    let Ok(mut there) = dualmd_files::open(path) else {
        return Ok(false);
    };
    match check_file::<T>(&there, path) {
        Ok(()) => {}
        Err(error @ RecordError::Newer { .. }) => return Err(error),
        Err(_) => return Ok(false),
    }
    if there.rewind().is_err() {
        return Ok(false);
    }
    let mut same = Same(BufReader::with_capacity(BUFFER, there));
    Ok(fill(&mut same, file).is_ok() && same.is_over())
}

/// Takes the bytes that are read from the file, in their order, and no others.
struct Same(BufReader<File>);

impl Same {
    fn is_over(&mut self) -> bool {
        self.0.fill_buf().is_ok_and(|rest| rest.is_empty())
    }
}

impl Write for Same {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let there = self.0.fill_buf()?;
        let n = there.len().min(bytes.len());
        if there[..n] != bytes[..n] {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.0.consume(n);
        // Of a file that has ended none: an error of whoever writes all.
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a file with its version, whole or not at all, and as it is made: its text is never held.
///
/// # Errors
/// The file cannot be written.
pub fn write<T: RunFile>(path: &Path, file: &T) -> Result<()> {
    write_by(path, |out| fill(out, file))
}

/// The text of a file with its version.
fn fill<T: RunFile>(out: &mut dyn Write, file: &T) -> std::result::Result<(), Unwritten> {
    match T::KEYS {
        Keys::AsListed => {
            let with_version = WithVersion {
                schema: T::VERSION,
                file,
            };
            serde_json::to_writer_pretty(&mut *out, &with_version)?;
        }
        Keys::Alphabetical => sorted::write_with(&mut *out, file, VERSION_KEY, T::VERSION)?,
    }
    Ok(out.write_all(b"\n")?)
}

/// Writes JSON that has no version, whole or not at all; keys stand as the type lists them.
///
/// # Errors
/// The file cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    write_by(path, |out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        Ok(out.write_all(b"\n")?)
    })
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
    let file = dualmd_files::open(path)?;
    from_here(&file, path, dualmd_files::limit::TABLE, |json| {
        Vec::deserialize(&mut *json)
    })
}

/// Writes a file that is a list, whole or not at all; the keys of each entry stand in alphabetical order.
///
/// # Errors
/// The file cannot be written.
pub fn write_list<T: Serialize>(path: &Path, entries: &[T]) -> Result<()> {
    write_by(path, |out| {
        sorted::write(&mut *out, entries)?;
        Ok(out.write_all(b"\n")?)
    })
}

/// Writes what `fill` makes, whole or not at all.
fn write_by(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> std::result::Result<(), Unwritten>,
) -> Result<()> {
    let mut no_json = None;
    let written = dualmd_files::write_with(path, |file| {
        let mut out = BufWriter::with_capacity(BUFFER, file);
        fill(&mut out).map_err(|why| match why {
            Unwritten::File(error) => error,
            Unwritten::Value(error) if error.is_io() => error.into(),
            Unwritten::Value(error) => {
                no_json = Some(error);
                io::ErrorKind::InvalidData.into()
            }
        })?;
        out.flush()
    });
    match no_json {
        Some(error) => Err(RecordError::of(path, error.into())),
        None => Ok(written?),
    }
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

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
    struct Many {
        of: Vec<Small>,
        a_map: std::collections::BTreeMap<String, u64>,
    }

    impl RunFile for Many {
        const LIMIT: u64 = 1 << 20;
    }

    /// Larger than what is held of it at a time.
    #[test]
    fn a_large_file_is_written_and_read_piece_by_piece() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("many.json");
        let many = |n: u64| Many {
            of: (0..n)
                .map(|i| Small {
                    zebra: i as f64 / 3.0,
                    ant: (i % 2 == 0).then_some(i),
                })
                .collect(),
            a_map: (0..n).map(|i| (format!("{i} \"\u{fc}\""), i)).collect(),
        };
        let file = many(3000);
        write(&path, &file).unwrap();
        let mut tree = serde_json::to_value(&file).unwrap();
        tree[VERSION_KEY] = 1.into();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.len() > 2 * BUFFER);
        assert_eq!(text, serde_json::to_string_pretty(&tree).unwrap() + "\n");
        assert_eq!(read::<Many>(&path).unwrap(), file);
        // Another length, another byte, something behind it, or nothing at all: it is not that file.
        assert!(holds(&path, &file).unwrap());
        for other in [many(2999), many(3001)] {
            assert!(!holds(&path, &other).unwrap());
        }
        let last = text.replace("2999 \\\"", "2998 \\\"");
        for other in [last, text.clone() + " ", text[..9].to_owned()] {
            assert_ne!(other, text);
            std::fs::write(&path, other).unwrap();
            assert!(!holds(&path, &file).unwrap());
        }
        assert!(!holds(&dir.path().join("none"), &file).unwrap());
        std::fs::write(&path, r#"{"schema": 2}"#).unwrap();
        assert!(matches!(
            holds(&path, &file),
            Err(RecordError::Newer { .. })
        ));
        // More than the limit.
        write(&path, &many(20_000)).unwrap();
        let said = read::<Many>(&path).unwrap_err().to_string();
        assert!(said.contains("more than 1048576 bytes"), "{said}");
        // And what follows the object.
        std::fs::write(&path, text + "x").unwrap();
        let said = read::<Many>(&path).unwrap_err().to_string();
        assert!(said.contains("many.json: damaged"), "{said}");
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
