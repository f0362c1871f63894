//! `prepared/images.json`: the pictures of a run as its trainings take them, decoded and resized once.

use std::path::Path;

use schemars::JsonSchema;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer as _, Serialize};

use crate::file::{Each, next_field, read_with};
use crate::{Result, RunFile};

/// The pictures that trainings of a run need: members, non-members, and those that nobody else sees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Prepared {
    /// Where they came from, as the user wrote it.
    pub source: String,
    /// Licence, where the source says so.
    pub licence: Option<String>,
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// Name of the file beside this one that holds the pixels: 8 bits each, picture by picture, row by row, channels last. It is
    /// their BLAKE3.
    pub pixels: String,
    /// The pictures, in the source's order.
    pub records: Vec<PreparedRecord>,
    /// Places in that list of the pictures that are neither members nor non-members nor near-duplicates of any, in the order in
    /// which trainings take them.
    pub outside: Vec<usize>,
}

impl RunFile for Prepared {}

impl Prepared {
    /// Reads the file picture by picture, for whoever would not hold what it says of all: `each` is given the records in their order. What
    /// is returned has none.
    ///
    /// # Errors
    /// As [`crate::read`]; `each` may have been given some by then.
    pub fn read_each(path: &Path, mut each: impl FnMut(PreparedRecord)) -> Result<Self> {
        read_with::<Self, Self>(path, |json| json.deserialize_map(Fields(&mut each)))
    }
}

const FIELDS: [&str; 6] = ["source", "licence", "shape", "pixels", "records", "outside"];

/// The fields of the file, as they come.
struct Fields<'a>(&'a mut dyn FnMut(PreparedRecord));

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Prepared;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("struct Prepared")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Prepared, A::Error> {
        let Self(each) = self;
        let (mut source, mut licence, mut shape) = (None, None, None);
        let (mut pixels, mut records, mut outside) = (None, None, None);
        let mut seen = Vec::new();
        while let Some(field) = next_field(&mut map, &FIELDS, &mut seen)? {
            match field {
                "source" => source = Some(map.next_value()?),
                "licence" => licence = map.next_value()?,
                "shape" => shape = Some(map.next_value()?),
                "pixels" => pixels = Some(map.next_value()?),
                "records" => {
                    map.next_value_seed(Each(&mut *each))?;
                    records = Some(Vec::new());
                }
                _ => outside = Some(map.next_value()?),
            }
        }
        let missing = A::Error::missing_field;
        Ok(Prepared {
            source: source.ok_or_else(|| missing("source"))?,
            licence,
            shape: shape.ok_or_else(|| missing("shape"))?,
            pixels: pixels.ok_or_else(|| missing("pixels"))?,
            records: records.ok_or_else(|| missing("records"))?,
            outside: outside.ok_or_else(|| missing("outside"))?,
        })
    }
}

/// A picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PreparedRecord {
    /// Content id of the picture as decoded, before resizing.
    pub id: String,
    /// File name, or row.
    pub name: String,
    /// Captions, the main one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub captions: Vec<String>,
    /// What belongs together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Class label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picture_by_picture_the_file_says_the_same() {
        let record = |i: usize| PreparedRecord {
            id: format!("{i:032x}"),
            name: format!("{i}.png"),
            captions: vec!["a".into(); i % 3],
            group: (i == 1).then(|| "g".into()),
            label: None,
        };
        let file = Prepared {
            source: "here".into(),
            licence: Some("CC0".into()),
            shape: [3, 8, 8],
            pixels: "x.pixels".into(),
            records: (0..5).map(record).collect(),
            outside: vec![4, 2],
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("images.json");
        crate::write(&path, &file).unwrap();
        let read = || {
            let mut records = Vec::new();
            let rest = Prepared::read_each(&path, |record| records.push(record))?;
            assert!(rest.records.is_empty());
            Result::Ok(Prepared { records, ..rest })
        };
        assert_eq!(read().unwrap(), file);
        assert_eq!(crate::read::<Prepared>(&path).unwrap(), file);
        let text = std::fs::read_to_string(&path).unwrap();
        // Fields of later programs, and none that says a licence.
        let other = text.replace("\"licence\": \"CC0\"", "\"later\": [{\"a\": 1}]");
        std::fs::write(&path, other).unwrap();
        let none = Prepared {
            licence: None,
            ..file.clone()
        };
        assert_eq!(read().unwrap(), none);
        // What is missing, there twice, or not of this file is damage in both ways to read it.
        for (from, to) in [
            ("\"shape\"", "\"form\""),
            ("\"records\"", "\"rest\""),
            ("\"outside\": [", "\"records\": [], \"outside\": ["),
            ("\"id\"", "\"number\""),
            ("\"x.pixels\"", "7"),
        ] {
            let damaged = text.replacen(from, to, 1);
            assert_ne!(damaged, text);
            std::fs::write(&path, damaged).unwrap();
            for said in [
                read().unwrap_err(),
                crate::read::<Prepared>(&path).unwrap_err(),
            ] {
                let said = said.to_string();
                assert!(said.contains("images.json: damaged"), "{from}: {said}");
            }
        }
        std::fs::write(&path, text.replace("\"schema\": 1", "\"schema\": 9")).unwrap();
        let said = read().unwrap_err().to_string();
        assert!(said.contains("its schema is 9"), "{said}");
        std::fs::remove_file(&path).unwrap();
        assert!(read().unwrap_err().is_absent());
    }
}
