//! Who is a member, of which half, and who is not: by content id, so that renaming, reordering or resizing the set
//! changes nothing.

use std::collections::HashMap;
use std::path::Path;

use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::{Error, Groups, ImageSet, Result, SampleId, stream, stream_for_id, write_atomic};

/// Version of the file format.
const SCHEMA: u32 = 1;

/// How a split came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Given numbers of members and non-members, drawn at random.
    Half,
    /// Every group is a member with a fixed probability, independently; needed for one-run audits.
    CoinFlip,
    /// From a list that others published.
    Import,
}

/// The half of the members that a teacher of the dual-model defence is trained on; 1 or 2 in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
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

/// A member in a split file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Content id.
    pub id: SampleId,
    /// D1 or D2.
    pub half: Half,
    /// The group it was kept together with.
    pub group: Option<String>,
}

/// A non-member in a split file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NonMember {
    /// Content id.
    pub id: SampleId,
    /// The group it was kept together with.
    pub group: Option<String>,
}

/// What the file holds, before it is checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    schema: u32,
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
    sides: HashMap<SampleId, Side>,
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

impl Split {
    /// Draws `members` members and `nonmembers` non-members (all others for None) at random, and halves the members.
    /// A group is never divided. Sizes are exact unless groups make that impossible, which is an error; with an odd
    /// number of members the first half has one more.
    ///
    /// # Errors
    /// Fewer than two members, or not enough records for the wish.
    pub fn half(
        set: &ImageSet, groups: &Groups, members: usize, nonmembers: Option<usize>, seed: u64,
    ) -> Result<Self> {
        if members < 2 || nonmembers == Some(0) {
            return Err(Error::options(
                format!("a split into {members} members and {} non-members", nonmembers.unwrap_or(0)),
                "ask for at least two members (one per half) and one non-member",
            ));
        }
        let mut units = units(set, groups)?;
        units.shuffle(&mut stream(seed, "split", 0));
        let d1 = take(&mut units, members.div_ceil(2));
        let d2 = take(&mut units, members / 2);
        let rest = take(&mut units, nonmembers.unwrap_or(usize::MAX));
        let count = |part: &[Vec<usize>]| part.iter().map(Vec::len).sum::<usize>();
        let drawn = count(&d1) + count(&d2);
        if drawn < members || count(&rest) < nonmembers.unwrap_or(1) {
            return Err(Error::options(
                format!(
                    "{} has {} different pictures in {} groups, not enough for {members} members and {} non-members",
                    set.source, set.len(), groups.len(), nonmembers.unwrap_or(1)
                ),
                "ask for fewer, or bring more pictures",
            ));
        }
        Self::build(Method::Half, seed, set, groups, [&d1, &d2, &rest])
    }

    /// Makes every group a member with probability `p`, each by its own coin: adding pictures to the set does not
    /// change the others' fate. The members are then halved as in [`Split::half`].
    ///
    /// # Errors
    /// `p` outside (0, 1), or no member in a half or no non-member at all.
    pub fn coin_flip(set: &ImageSet, groups: &Groups, seed: u64, p: f64) -> Result<Self> {
        if !(p > 0.0 && p < 1.0) {
            return Err(Error::options(format!("a coin with probability {p}"), "give a number between 0 and 1"));
        }
        let flip = |unit: &Vec<usize>| {
            stream_for_id(seed, "coin-flip", set.records[unit[0]].id.as_str()).random_bool(p)
        };
        let (mut members, rest): (Vec<_>, Vec<_>) = units(set, groups)?.into_iter().partition(flip);
        let [d1, d2] = halve(&mut members, seed);
        Self::build(Method::CoinFlip, seed, set, groups, [&d1, &d2, &rest])
    }

    /// A split from lists of groups: first half, second half, non-members.
    pub(crate) fn build(
        method: Method, seed: u64, set: &ImageSet, groups: &Groups, parts: [&[Vec<usize>]; 3],
    ) -> Result<Self> {
        let group = |i: usize| groups.name(i).map(str::to_owned);
        let id = |i: usize| set.records[i].id.clone();
        let member = |half| move |&i: &usize| Member { id: id(i), half, group: group(i) };
        let [d1, d2, rest] = parts;
        if parts.iter().any(|part| part.is_empty()) {
            let problem = format!(
                "a side of the split of {} is empty (groups in D1, D2 and non-members: {}, {}, {})",
                set.source, d1.len(), d2.len(), rest.len()
            );
            return Err(Error::options(problem, "bring more pictures, or use another seed"));
        }
        let first = d1.iter().flatten().map(member(Half::First));
        let mut members: Vec<_> = first.chain(d2.iter().flatten().map(member(Half::Second))).collect();
        let mut nonmembers: Vec<_> =
            rest.iter().flatten().map(|&i| NonMember { id: id(i), group: group(i) }).collect();
        members.sort_by(|a, b| a.id.cmp(&b.id));
        nonmembers.sort_by(|a, b| a.id.cmp(&b.id));
        let source = set.source.clone();
        let mut content = Content { schema: SCHEMA, method, seed, source, hash: String::new(), members, nonmembers };
        content.hash = hash(&content);
        Self::checked(content, "the new split")
    }

    fn checked(content: Content, place: &str) -> Result<Self> {
        let wrong = |problem: String, remedy: &str| Err(Error::format(place, problem, remedy));
        if content.schema != SCHEMA {
            let problem = format!("split format {}, and this program knows {SCHEMA}", content.schema);
            return wrong(problem, "use the program that wrote it, or draw the split again with its seed");
        }
        let members = content.members.iter().map(|m| (&m.id, Side::Member(m.half)));
        let all = members.chain(content.nonmembers.iter().map(|n| (&n.id, Side::NonMember)));
        let mut sides = HashMap::new();
        for (id, side) in all {
            if !id.is_well_formed() {
                return wrong(format!("`{id}` is not a sample id"), "ids are 32 lower-case hexadecimal digits");
            }
            if sides.insert(id.clone(), side).is_some() {
                return wrong(format!("sample {id} is listed twice"), "drop duplicates from the set, then split again");
            }
        }
        let computed = hash(&content);
        if computed != content.hash {
            let problem = format!("its hash is {}, and its content gives {computed}", content.hash);
            return wrong(problem, "the file was changed by hand or damaged: restore it, or draw the split again");
        }
        Ok(Self { content, sides })
    }

    /// Reads a split file and verifies it.
    ///
    /// # Errors
    /// Not there, not JSON, another version, an id on two sides, or a hash that does not belong to the content.
    pub fn load(path: &Path) -> Result<Self> {
        let place = path.display().to_string();
        let text = std::fs::read(path).map_err(|e| Error::read(path, e))?;
        let content = serde_json::from_slice(&text)
            .map_err(|e| Error::format(&place, e.to_string(), "name a split file written by `dualmd split`"))?;
        Self::checked(content, &place)
    }

    /// Writes the split file atomically.
    ///
    /// # Errors
    /// As [`write_atomic`].
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(&self.content).map_err(|e| Error::Write(e.into()))?;
        text.push(b'\n');
        write_atomic(path, &text).map_err(Error::Write)
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
        self.sides.get(id).copied()
    }

    /// The half of a member; None for everything else.
    #[must_use]
    pub fn half_of(&self, id: &str) -> Option<Half> {
        match self.side(id)? {
            Side::Member(half) => Some(half),
            Side::NonMember => None,
        }
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
        let (mut selected, mut missing) = (Selected::default(), 0usize);
        for member in self.members() {
            match places.get(member.id.as_str()) {
                Some(&i) => {
                    selected.members.push(i);
                    if member.half == Half::First { selected.d1.push(i) } else { selected.d2.push(i) }
                }
                None => missing += 1,
            }
        }
        for nonmember in self.nonmembers() {
            match places.get(nonmember.id.as_str()) {
                Some(&i) => selected.nonmembers.push(i),
                None => missing += 1,
            }
        }
        if missing > 0 {
            return Err(Error::options(
                format!(
                    "{missing} of the {} samples of the split (drawn from {}) are not in {}",
                    self.sides.len(), self.source(), set.source
                ),
                "use the data the split was drawn from: the same files, not re-encoded (resizing by `image_size` is fine)",
            ));
        }
        Ok(selected)
    }
}

/// Whole groups as lists of record positions, each sorted by id, ordered by their smallest id: the draw does not depend
/// on the order of files.
fn units(set: &ImageSet, groups: &Groups) -> Result<Vec<Vec<usize>>> {
    if groups.of.len() != set.len() {
        return Err(Error::options(
            format!("groups of {} records for a set of {}", groups.of.len(), set.len()),
            "find the groups after dropping duplicates",
        ));
    }
    let mut units = vec![Vec::new(); groups.len()];
    groups.of.iter().enumerate().for_each(|(i, &g)| units[g].push(i));
    units.retain(|unit| !unit.is_empty());
    units.iter_mut().for_each(|unit| unit.sort_by(|&a, &b| set.records[a].id.cmp(&set.records[b].id)));
    units.sort_by(|a, b| set.records[a[0]].id.cmp(&set.records[b[0]].id));
    Ok(units)
}

/// Takes groups from the front until `wanted` records are together; a group too large for what is left stays in line.
fn take(units: &mut Vec<Vec<usize>>, wanted: usize) -> Vec<Vec<usize>> {
    let mut left = wanted;
    let (taken, kept) = std::mem::take(units).into_iter().partition(|unit| {
        let fits = unit.len() <= left;
        left -= if fits { unit.len() } else { 0 };
        fits
    });
    *units = kept;
    taken
}

/// Two random halves of whole groups, as equal as the groups allow; the first has the extra record of an odd number.
pub(crate) fn halve(units: &mut Vec<Vec<usize>>, seed: u64) -> [Vec<Vec<usize>>; 2] {
    units.shuffle(&mut stream(seed, "halves", 0));
    // The largest groups first, so that the single ones can even things out; random among equals.
    units.sort_by_key(|unit| std::cmp::Reverse(unit.len()));
    let (mut halves, mut sizes) = ([Vec::new(), Vec::new()], [0, 0]);
    for unit in units.drain(..) {
        let to = usize::from(sizes[1] < sizes[0]);
        sizes[to] += unit.len();
        halves[to].push(unit);
    }
    if sizes[0] < sizes[1] {
        halves.swap(0, 1);
    }
    halves
}

/// BLAKE3 over one line per sample, sorted by id: the id, `member` or `nonmember`, and the half.
fn hash(content: &Content) -> String {
    let members = content.members.iter().map(|m| format!("{} member {}\n", m.id, u8::from(m.half)));
    let mut lines: Vec<_> = members.chain(content.nonmembers.iter().map(|n| format!("{} nonmember\n", n.id))).collect();
    lines.sort();
    let mut hasher = blake3::Hasher::new();
    lines.iter().for_each(|line| {
        hasher.update(line.as_bytes());
    });
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests;
