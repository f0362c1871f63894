//! `split.json`: who is a member, of which half, and who is not.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer as _, Serialize};

use crate::file::{Each, next_field, read_with};
use crate::{Keys, Result, RunFile};

/// A membership split, before it is checked: `dualmd_data::Split` is one whose ids and hash are right.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SplitFile {
    /// How the sides were drawn: `half`, `coin-flip` or `import`.
    pub method: String,
    /// Seed of the draw.
    pub seed: u64,
    /// The set it was drawn from, as the user wrote it.
    pub source: String,
    /// Hash over ids, sides and halves.
    pub hash: String,
    /// Members by ascending id.
    pub members: Vec<Member>,
    /// Non-members by ascending id.
    pub nonmembers: Vec<NonMember>,
}

impl RunFile for SplitFile {
    const KEYS: Keys = Keys::AsListed;
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Member {
    /// Content id of the image.
    pub id: String,
    /// Its name where it came from: the file's, the row's number, or what the column of names says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// 1 = D1 (teacher 1 is trained on it), 2 = D2. Lists of others may not say.
    #[serde(default)]
    pub half: Option<u8>,
    /// The group it was kept together with.
    #[serde(default)]
    pub group: Option<String>,
}

/// A non-member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NonMember {
    /// Content id of the image.
    pub id: String,
    /// Its name where it came from: the file's, the row's number, or what the column of names says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The group it was kept together with.
    #[serde(default)]
    pub group: Option<String>,
}

/// A sample of a split file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sample {
    /// Trained on.
    Member(Member),
    /// Held out.
    NonMember(NonMember),
}

impl SplitFile {
    /// Reads the file sample by sample, for whoever would not hold what it says of all: `each` is given the members and the non-members, each
    /// kind in its order. What is returned has none.
    ///
    /// # Errors
    /// As [`crate::read`]; `each` may have been given some by then.
    pub fn read_each(path: &Path, mut each: impl FnMut(Sample)) -> Result<Self> {
        read_with::<Self, Self>(path, |json| json.deserialize_map(Fields(&mut each)))
    }

    /// Half (1 or 2) of every member that has one.
    #[must_use]
    pub fn halves(&self) -> BTreeMap<&str, u8> {
        self.members
            .iter()
            .filter_map(|m| Some((m.id.as_str(), m.half?)))
            .collect()
    }
}

const FIELDS: [&str; 6] = ["method", "seed", "source", "hash", "members", "nonmembers"];

/// The fields of the file, as they come.
struct Fields<'a>(&'a mut dyn FnMut(Sample));

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = SplitFile;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("struct SplitFile")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<SplitFile, A::Error> {
        let Self(each) = self;
        let mut file = SplitFile::default();
        let mut seen = Vec::new();
        while let Some(field) = next_field(&mut map, &FIELDS, &mut seen)? {
            match field {
                "method" => file.method = map.next_value()?,
                "seed" => file.seed = map.next_value()?,
                "source" => file.source = map.next_value()?,
                "hash" => file.hash = map.next_value()?,
                "members" => {
                    let mut hand_on = |member: Member| each(Sample::Member(member));
                    map.next_value_seed(Each(&mut hand_on))?;
                }
                _ => {
                    let mut hand_on = |other: NonMember| each(Sample::NonMember(other));
                    map.next_value_seed(Each(&mut hand_on))?;
                }
            }
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_by_sample_the_file_says_the_same() {
        let member = |i: u8| Member {
            id: format!("{i:032x}"),
            name: (i > 0).then(|| format!("{i}.png")),
            half: Some(1 + i % 2),
            group: None,
        };
        let nonmember = |i: u8| NonMember {
            id: format!("{i:032x}"),
            name: None,
            group: (i == 9).then(|| "g".into()),
        };
        let file = SplitFile {
            method: "half".into(),
            seed: u64::MAX,
            source: "here".into(),
            hash: "0".into(),
            members: (0..5).map(member).collect(),
            nonmembers: (5..12).map(nonmember).collect(),
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("split.json");
        crate::write(&path, &file).unwrap();
        let read = || {
            let (mut members, mut nonmembers) = (Vec::new(), Vec::new());
            let rest = SplitFile::read_each(&path, |sample| match sample {
                Sample::Member(member) => members.push(member),
                Sample::NonMember(other) => nonmembers.push(other),
            })?;
            assert!(rest.members.is_empty() && rest.nonmembers.is_empty());
            Result::Ok(SplitFile {
                members,
                nonmembers,
                ..rest
            })
        };
        assert_eq!(read().unwrap(), file);
        assert_eq!(crate::read::<SplitFile>(&path).unwrap(), file);
        // What others write, which may say less, and more.
        std::fs::write(
            &path,
            r#"{"later": 1, "nonmembers": [], "members": [{"id": "a", "more": {}}]}"#,
        )
        .unwrap();
        assert_eq!(read().unwrap(), crate::read::<SplitFile>(&path).unwrap());
        for damaged in [
            r#"{"members": [{"name": "a"}]}"#,
            r#"{"members": [], "seed": 1, "members": []}"#,
            r#"{"nonmembers": {}}"#,
            "[",
        ] {
            std::fs::write(&path, damaged).unwrap();
            let said = read().unwrap_err().to_string();
            assert!(said.contains("split.json: damaged"), "{said}");
            assert!(crate::read::<SplitFile>(&path).is_err(), "{damaged}");
        }
    }
}
