//! Drawing splits: whole groups, by seeded chance.

use rand::Rng;
use rand::seq::SliceRandom;

use super::{Content, Half, Member, Method, NonMember, Split, hash};
use crate::{Error, Groups, ImageSet, Result, stream, stream_for_id};

impl Split {
    /// Draws `members` members and `nonmembers` non-members (all others for None) at random, and halves the members.
    /// A group is never divided. Sizes are exact unless groups make that impossible, which is an error; with an odd
    /// number of members the first half has one more.
    ///
    /// # Errors
    /// Fewer than two members, or not enough records for the wish.
    pub fn half(
        set: &ImageSet,
        groups: &Groups,
        members: usize,
        nonmembers: Option<usize>,
        seed: u64,
    ) -> Result<Self> {
        if members < 2 || nonmembers == Some(0) {
            return Err(Error::options(
                format!(
                    "a split into {members} members and {} non-members",
                    nonmembers.unwrap_or(0)
                ),
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
                    set.source,
                    set.len(),
                    groups.len(),
                    nonmembers.unwrap_or(1)
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
            return Err(Error::options(
                format!("a coin with probability {p}"),
                "give a number between 0 and 1",
            ));
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
        method: Method,
        seed: u64,
        set: &ImageSet,
        groups: &Groups,
        parts: [&[Vec<usize>]; 3],
    ) -> Result<Self> {
        let group = |i: usize| groups.name(i).map(str::to_owned);
        let id = |i: usize| set.records[i].id.clone();
        let name = |i: usize| Some(set.records[i].name.clone());
        let member = |half| {
            move |&i: &usize| Member {
                id: id(i),
                name: name(i),
                half,
                group: group(i),
            }
        };
        let [d1, d2, rest] = parts;
        if parts.iter().any(|part| part.is_empty()) {
            let problem = format!(
                "a side of the split of {} is empty (groups in D1, D2 and non-members: {}, {}, {})",
                set.source,
                d1.len(),
                d2.len(),
                rest.len()
            );
            return Err(Error::options(
                problem,
                "bring more pictures, or use another seed",
            ));
        }
        let first = d1.iter().flatten().map(member(Half::First));
        let mut members: Vec<_> = first
            .chain(d2.iter().flatten().map(member(Half::Second)))
            .collect();
        let mut nonmembers: Vec<_> = rest
            .iter()
            .flatten()
            .map(|&i| NonMember {
                id: id(i),
                name: name(i),
                group: group(i),
            })
            .collect();
        members.sort_by(|a, b| a.id.cmp(&b.id));
        nonmembers.sort_by(|a, b| a.id.cmp(&b.id));
        let source = set.source.clone();
        let mut content = Content {
            method,
            seed,
            source,
            hash: String::new(),
            members,
            nonmembers,
        };
        content.hash = hash(&content);
        Self::checked(content, "the new split")
    }
}

/// Whole groups as lists of record positions, each sorted by id, ordered by their smallest id: the draw does not depend
/// on the order of files.
fn units(set: &ImageSet, groups: &Groups) -> Result<Vec<Vec<usize>>> {
    if groups.of.len() != set.len() {
        return Err(Error::options(
            format!(
                "groups of {} records for a set of {}",
                groups.of.len(),
                set.len()
            ),
            "find the groups after dropping duplicates",
        ));
    }
    let mut units = groups.records();
    units.retain(|unit| !unit.is_empty());
    units
        .iter_mut()
        .for_each(|unit| unit.sort_by(|&a, &b| set.records[a].id.cmp(&set.records[b].id)));
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
