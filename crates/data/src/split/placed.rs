//! A split as places in a list of images: what a training holds of it.

use std::path::Path;

use dualmd_record::split::{Sample, SplitFile};

use super::{Half, Method, Selected, Split, line};
use crate::{Ids, Result, SampleId};

/// Of an image that the split does not name.
const NOT_NAMED: u8 = u8::MAX;
/// Of a non-member; members have their half, 1 or 2.
const HELD_OUT: u8 = 0;

/// Who is a member, of which half, and who is not, without ids, names and groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// As [`Split::hash`].
    pub hash: String,
    /// As [`Split::select`] gives them.
    pub selected: Selected,
}

impl Placed {
    /// Reads a split file and verifies it, sample by sample: beside what is returned, a byte for each image is held meanwhile. `ids`: those of the
    /// images, in their order; `source`: where they come from, for errors.
    ///
    /// # Errors
    /// As [`Split::load`]; samples that `ids` does not have.
    pub fn load(path: &Path, ids: &Ids, source: &str) -> Result<Self> {
        if let Some(placed) = Self::in_one_go(path, ids) {
            return Ok(placed);
        }
        // What is wrong with it is found, and said, where all of it is held.
        let split = Split::load(path)?;
        let place = |id: &str| ids.find(SampleId::number(id)?);
        Ok(Self {
            hash: split.hash().to_owned(),
            selected: split.select_by(&place, source)?,
        })
    }

    /// None of a file with anything amiss.
    fn in_one_go(path: &Path, ids: &Ids) -> Option<Self> {
        let mut sides = vec![NOT_NAMED; ids.len()];
        let mut selected = Selected::default();
        let mut sound = true;
        let mut place = |id: &str, side: u8| -> Option<usize> {
            let place = ids.find(SampleId::number(id)?)?;
            let known = sides.get_mut(place).filter(|known| **known == NOT_NAMED)?;
            *known = side;
            Some(place)
        };
        let file = SplitFile::read_each(path, |sample| {
            let placed = match sample {
                Sample::Member(member) => {
                    let half = member.half.and_then(|half| Half::try_from(half).ok());
                    half.and_then(|half| {
                        let i = place(&member.id, half.into())?;
                        selected.members.push(i);
                        match half {
                            Half::First => selected.d1.push(i),
                            Half::Second => selected.d2.push(i),
                        }
                        Some(())
                    })
                }
                Sample::NonMember(other) => {
                    let i = place(&other.id, HELD_OUT);
                    i.map(|i| selected.nonmembers.push(i))
                }
            };
            sound &= placed.is_some();
        })
        .ok()?;
        let mut hasher = blake3::Hasher::new();
        for (i, id) in ids.ascending() {
            let half = match sides.get(i) {
                None | Some(&NOT_NAMED) => continue,
                Some(&HELD_OUT) => None,
                Some(&half) => Some(half),
            };
            hasher.update(line(&format_args!("{id:032x}"), half).as_bytes());
        }
        let same = hasher.finalize().to_hex().as_str() == file.hash;
        let known = Method::ALL.iter().any(|m| m.name() == file.method);
        (sound && same && known).then_some(Self {
            hash: file.hash,
            selected,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Groups, ImageSet, Picture, Record};

    fn set(n: u8) -> ImageSet {
        let record = |i: u8| {
            let picture = Picture::filled(4, 4, 1, i);
            Record {
                id: picture.id(),
                picture,
                captions: vec![],
                group: i.is_multiple_of(5).then(|| "five".into()),
                label: None,
                name: i.to_string(),
                file: None,
            }
        };
        ImageSet::new("test".into(), None, (0..n).map(record).collect()).unwrap()
    }

    fn ids(set: &ImageSet) -> Ids {
        let number = |record: &Record| SampleId::number(record.id.as_str()).unwrap();
        Ids::new(set.records.iter().map(number).collect())
    }

    #[test]
    fn places_are_those_of_the_whole_split() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("split.json");
        let set = set(40);
        let groups = Groups::given(&set);
        for split in [
            Split::half(&set, &groups, 11, Some(20), 7).unwrap(),
            Split::coin_flip(&set, &groups, 3, 0.5).unwrap(),
        ] {
            split.save(&path).unwrap();
            let placed = Placed::in_one_go(&path, &ids(&set)).unwrap();
            assert_eq!(placed.hash, split.hash());
            assert_eq!(placed.selected, split.select(&set).unwrap());
            assert_eq!(Placed::load(&path, &ids(&set), "test").unwrap(), placed);
        }
    }

    #[test]
    fn what_is_wrong_is_said_as_of_the_whole_split() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("split.json");
        let set = set(30);
        let split = Split::half(&set, &Groups::given(&set), 11, Some(10), 7).unwrap();
        split.save(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let [a, b] = [0, 1].map(|i| split.members()[i].id.as_str());
        let cases = [
            (text.replacen("\"half\": 1", "\"half\": 2", 1), "hash"),
            (text.replacen("\"half\": 1", "\"half\": 3", 1), "half 3"),
            (
                text.replacen("\"half\": 1", "\"half\": null", 1),
                "has no half",
            ),
            (
                text.replacen("\"half\",", "\"third\",", 1),
                "method `third`",
            ),
            (
                text.replacen("\"schema\": 1", "\"schema\": 9", 1),
                "schema is 9",
            ),
            (text.replacen(a, b, 1), "twice"),
            (text.replacen(a, "../../etc/passwd", 1), "not a sample id"),
            (text[..text.len() / 2].to_owned(), "dualmd split"),
        ];
        for (changed, words) in cases {
            assert_ne!(changed, text);
            std::fs::write(&path, changed).unwrap();
            let said = Placed::load(&path, &ids(&set), "test")
                .unwrap_err()
                .to_string();
            assert!(
                said.contains(words) && said.contains("split.json"),
                "{said}"
            );
            assert_eq!(said, Split::load(&path).unwrap_err().to_string());
        }
        std::fs::write(&path, &text).unwrap();
        let mut less = set.clone();
        less.records.retain(|r| r.id != split.members()[0].id);
        let said = Placed::load(&path, &ids(&less), "test")
            .unwrap_err()
            .to_string();
        assert_eq!(said, split.select(&less).unwrap_err().to_string());
        assert!(said.contains("1 of the 21"), "{said}");
        std::fs::remove_file(&path).unwrap();
        assert!(Placed::load(&path, &ids(&set), "test").is_err());
    }
}
