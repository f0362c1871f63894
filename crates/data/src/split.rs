//! Who is a member, of which half, and who is not: by content id, so that renaming, reordering or resizing the set
//! changes nothing.

use std::collections::HashMap;
use std::path::Path;

use dualmd_record::split::SplitFile;
use dualmd_record::{RecordError, split as file};

use crate::{Error, ImageSet, Result, SampleId};

mod draw;
mod placed;
pub(crate) use draw::halve;
pub use placed::Placed;

/// How a split came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Given numbers of members and non-members, drawn at random.
    Half,
    /// Every group is a member with a fixed probability, independently; needed for one-run audits.
    CoinFlip,
    /// From a list that others published.
    Import,
}

impl Method {
    const ALL: [Self; 3] = [Self::Half, Self::CoinFlip, Self::Import];

    /// As the file spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Half => "half",
            Self::CoinFlip => "coin-flip",
            Self::Import => "import",
        }
    }
}

/// The half of the members that a teacher of the dual-model defence is trained on; 1 or 2 in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Half {
    /// D1, of teacher 1.
    First,
    /// D2, of teacher 2.
    Second,
}

impl From<Half> for u8 {
    fn from(half: Half) -> Self {
        match half {
            Half::First => 1,
            Half::Second => 2,
        }
    }
}

impl TryFrom<u8> for Half {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            1 => Ok(Self::First),
            2 => Ok(Self::Second),
            other => Err(format!("half {other}; halves are 1 and 2")),
        }
    }
}

/// The side of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Trained on, in this half.
    Member(Half),
    /// Held out.
    NonMember,
}

/// A member of a split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Content id.
    pub id: SampleId,
    /// Name where it came from; splits of earlier versions have none.
    pub name: Option<String>,
    /// D1 or D2.
    pub half: Half,
    /// The group it was kept together with.
    pub group: Option<String>,
}

/// A non-member of a split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NonMember {
    /// Content id.
    pub id: SampleId,
    /// Name where it came from; splits of earlier versions have none.
    pub name: Option<String>,
    /// The group it was kept together with.
    pub group: Option<String>,
}

/// What the file holds, before ids and hash are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Content {
    method: Method,
    seed: u64,
    source: String,
    hash: String,
    members: Vec<Member>,
    nonmembers: Vec<NonMember>,
}

/// A membership split. Members and non-members are disjoint, and listed by ascending id: the order of a content hash
/// says nothing about classes or files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    content: Content,
    /// By the number of the id, ascending.
    sides: Vec<(u128, Side)>,
}

/// Positions in an image set, side by side; each list in the split's order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selected {
    /// All members.
    pub members: Vec<usize>,
    /// Members of the first half.
    pub d1: Vec<usize>,
    /// Members of the second half.
    pub d2: Vec<usize>,
    /// Non-members.
    pub nonmembers: Vec<usize>,
}

impl Content {
    fn of(file: SplitFile, place: &str) -> Result<Self> {
        let wrong = |problem: String| Error::format(place, problem, REMEDY);
        let method = Method::ALL.into_iter().find(|m| m.name() == file.method);
        let method = method.ok_or_else(|| {
            let known = Method::ALL.map(Method::name).join(", ");
            wrong(format!("method `{}` is none of {known}", file.method))
        })?;
        let member = |member: file::Member| {
            let half = member
                .half
                .ok_or_else(|| wrong(format!("member {} has no half", member.id)))?;
            Ok(Member {
                id: SampleId::from(member.id.as_str()),
                name: member.name,
                half: Half::try_from(half).map_err(&wrong)?,
                group: member.group,
            })
        };
        let nonmember = |nonmember: file::NonMember| NonMember {
            id: SampleId::from(nonmember.id.as_str()),
            name: nonmember.name,
            group: nonmember.group,
        };
        Ok(Self {
            method,
            seed: file.seed,
            source: file.source,
            hash: file.hash,
            members: file
                .members
                .into_iter()
                .map(member)
                .collect::<Result<_>>()?,
            nonmembers: file.nonmembers.into_iter().map(nonmember).collect(),
        })
    }

    fn file(&self) -> SplitFile {
        let member = |member: &Member| file::Member {
            id: member.id.as_str().to_owned(),
            name: member.name.clone(),
            half: Some(member.half.into()),
            group: member.group.clone(),
        };
        let nonmember = |nonmember: &NonMember| file::NonMember {
            id: nonmember.id.as_str().to_owned(),
            name: nonmember.name.clone(),
            group: nonmember.group.clone(),
        };
        SplitFile {
            method: self.method.name().to_owned(),
            seed: self.seed,
            source: self.source.clone(),
            hash: self.hash.clone(),
            members: self.members.iter().map(member).collect(),
            nonmembers: self.nonmembers.iter().map(nonmember).collect(),
        }
    }
}

/// What to do about a file that is no split.
const REMEDY: &str = "name a split file written by `dualmd split`";

impl Split {
    fn checked(content: Content, place: &str) -> Result<Self> {
        let wrong = |problem: String, remedy: &str| Err(Error::format(place, problem, remedy));
        let members = content
            .members
            .iter()
            .map(|m| (&m.id, Side::Member(m.half)));
        let all = members.chain(content.nonmembers.iter().map(|n| (&n.id, Side::NonMember)));
        let mut sides = Vec::with_capacity(content.members.len() + content.nonmembers.len());
        for (id, side) in all {
            let Some(number) = SampleId::number(id.as_str()) else {
                return wrong(
                    format!("`{id}` is not a sample id"),
                    "ids are 32 lower-case hexadecimal digits",
                );
            };
            sides.push((number, side));
        }
        sides.sort_unstable_by_key(|(number, _)| *number);
        if let Some(pair) = sides.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return wrong(
                format!("sample {:032x} is listed twice", pair[0].0),
                "drop duplicates from the set, then split again",
            );
        }
        let computed = hash(&content);
        if computed != content.hash {
            let problem = format!(
                "its hash is {}, and its content gives {computed}",
                content.hash
            );
            return wrong(
                problem,
                "the file was changed by hand or damaged: restore it, or draw the split again",
            );
        }
        Ok(Self { content, sides })
    }

    /// Reads a split file and verifies it.
    ///
    /// # Errors
    /// Not there, not JSON, another version, an id on two sides, or a hash that does not belong to the content.
    pub fn load(path: &Path) -> Result<Self> {
        let place = path.display().to_string();
        let file = dualmd_record::read(path).map_err(|error| match error {
            RecordError::File(error) => error.into(),
            RecordError::Damaged { source, .. } => {
                Error::format(&place, source.to_string(), REMEDY)
            }
            RecordError::Newer { why, .. } => Error::format(
                &place,
                why.to_string(),
                "or draw the split again with its seed",
            ),
        })?;
        Self::checked(Content::of(file, &place)?, &place)
    }

    /// Writes the split file atomically.
    ///
    /// # Errors
    /// As [`dualmd_files::write`].
    pub fn save(&self, path: &Path) -> Result<()> {
        dualmd_record::write(path, &self.content.file()).map_err(|error| match error {
            RecordError::File(error) => error.into(),
            other => Error::Write(std::io::Error::other(other)),
        })
    }

    /// Hash over ids, sides and halves (64 hexadecimal digits): models carry it and refuse a split that is not theirs.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.content.hash
    }

    /// How the split came about.
    #[must_use]
    pub fn method(&self) -> Method {
        self.content.method
    }

    /// Seed of the draw.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.content.seed
    }

    /// The set it was drawn from, as the user wrote it.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.content.source
    }

    /// Members by ascending id.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.content.members
    }

    /// Non-members by ascending id.
    #[must_use]
    pub fn nonmembers(&self) -> &[NonMember] {
        &self.content.nonmembers
    }

    /// The side of a sample; None for one that the split does not know.
    #[must_use]
    pub fn side(&self, id: &str) -> Option<Side> {
        let number = SampleId::number(id)?;
        let found = self.sides.binary_search_by_key(&number, |(id, _)| *id);
        found.ok().map(|i| self.sides[i].1)
    }

    /// Finds the split's samples in a set.
    ///
    /// # Errors
    /// Samples that the set does not have.
    pub fn select(&self, set: &ImageSet) -> Result<Selected> {
        let mut places: HashMap<&str, usize> = HashMap::new();
        for (i, record) in set.records.iter().enumerate() {
            places.entry(record.id.as_str()).or_insert(i);
        }
        self.select_by(&|id| places.get(id).copied(), &set.source)
    }

    /// The same with the places of ids in a set, and where that comes from.
    fn select_by(&self, place: &dyn Fn(&str) -> Option<usize>, source: &str) -> Result<Selected> {
        let (mut selected, mut missing) = (Selected::default(), 0usize);
        for member in self.members() {
            match place(member.id.as_str()) {
                Some(i) => {
                    selected.members.push(i);
                    if member.half == Half::First {
                        selected.d1.push(i)
                    } else {
                        selected.d2.push(i)
                    }
                }
                None => missing += 1,
            }
        }
        for nonmember in self.nonmembers() {
            match place(nonmember.id.as_str()) {
                Some(i) => selected.nonmembers.push(i),
                None => missing += 1,
            }
        }
        if missing > 0 {
            return Err(Error::options(
                format!(
                    "{missing} of the {} samples of the split (drawn from {}) are not in {source}",
                    self.sides.len(),
                    self.source(),
                ),
                "use the data the split was drawn from: the same files, not re-encoded (resizing by `image_size` is fine)",
            ));
        }
        Ok(selected)
    }
}

/// BLAKE3 over one line per sample, sorted by id.
fn hash(content: &Content) -> String {
    let members = content.members.iter();
    let mut all: Vec<(&SampleId, Option<u8>)> = members
        .map(|m| (&m.id, Some(u8::from(m.half))))
        .chain(content.nonmembers.iter().map(|n| (&n.id, None)))
        .collect();
    all.sort();
    let mut hasher = blake3::Hasher::new();
    for (id, half) in all {
        hasher.update(line(id, half).as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// What is hashed of a sample: the id, `member` or `nonmember`, and the half.
fn line(id: &dyn std::fmt::Display, half: Option<u8>) -> String {
    match half {
        Some(half) => format!("{id} member {half}\n"),
        None => format!("{id} nonmember\n"),
    }
}

#[cfg(test)]
mod tests;
