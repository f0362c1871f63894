//! Exact and near duplicates. The defences assume disjoint halves and the attacks assume that non-members were not
//! trained on: a picture that is on two sides under two names breaks both.

use std::collections::HashMap;

use crate::{Filter, ImageSet, Picture};

/// What [`dedupe`] removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DedupeReport {
    /// Records dropped because an earlier one has the same content id.
    pub same_content: usize,
    /// Records dropped because an earlier one is the same after resizing.
    pub same_resized: usize,
    /// `(dropped, kept)` names, in the set's order.
    pub dropped: Vec<(String, String)>,
}

/// Drops every record whose picture, as decoded or as resized, is that of an earlier record. The earlier one keeps its
/// name, label and file facts, and its captions stay first; captions of the dropped one that it lacks come after them.
/// Groups that turn out to share a picture become one group. (Near duplicates are only grouped: each keeps its captions.)
pub fn dedupe(set: &mut ImageSet) -> DedupeReport {
    let mut report = DedupeReport::default();
    let mut by_id = HashMap::new();
    let mut by_pixels = HashMap::new();
    let mut kept: Vec<crate::Record> = Vec::with_capacity(set.records.len());
    let mut same_group: Vec<(String, String)> = Vec::new();
    for record in set.records.drain(..) {
        let pixels = record.picture.id();
        let (first, counter) = match (by_id.get(&record.id), by_pixels.get(&pixels)) {
            (Some(&first), _) => (first, &mut report.same_content),
            (None, Some(&first)) => (first, &mut report.same_resized),
            (None, None) => {
                by_id.insert(record.id.clone(), kept.len());
                by_pixels.insert(pixels, kept.len());
                kept.push(record);
                continue;
            }
        };
        *counter += 1;
        let original: &mut crate::Record = &mut kept[first];
        report.dropped.push((record.name, original.name.clone()));
        for caption in record.captions {
            if !original.captions.contains(&caption) {
                original.captions.push(caption);
            }
        }
        match (&original.group, record.group) {
            (None, group) => original.group = group,
            (Some(a), Some(b)) if *a != b => same_group.push((a.clone(), b)),
            _ => {}
        }
    }
    merge_group_names(&mut kept, &same_group);
    set.records = kept;
    report
}

fn merge_group_names(records: &mut [crate::Record], same: &[(String, String)]) {
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut names = Vec::new();
    for name in same.iter().flat_map(|(a, b)| [a, b]) {
        numbers.entry(name.clone()).or_insert_with(|| {
            names.push(name.clone());
            names.len() - 1
        });
    }
    let mut sets = UnionFind::new(names.len());
    for (a, b) in same {
        sets.union(numbers[a], numbers[b]);
    }
    for record in records {
        if let Some(&number) = record.group.as_ref().and_then(|g| numbers.get(g)) {
            record.group = Some(names[sets.find(number)].clone());
        }
    }
}

/// When two pictures count as nearly the same. Both conditions must hold: the hash finds copies that were compressed or
/// scaled again, and the pixel difference keeps flat drawings apart whose few edges happen to agree.
///
/// The defaults were chosen by looking at the pairs in the bundled sets: up to 0.04 they are hard to tell apart (the same
/// cut of trousers, clock faces, one emoji in two moods); from 0.05 on, plain trousers and shirts that merely look alike
/// begin to form one large group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NearDuplicateOptions {
    /// Most of the 64 bits of the difference hash that may differ.
    pub max_bits: u32,
    /// Most root mean squared difference per value on [0, 1] of the pictures at 16 x 16 pixels.
    pub max_rmse: f64,
}

impl Default for NearDuplicateOptions {
    fn default() -> Self {
        Self {
            max_bits: 8,
            max_rmse: 0.04,
        }
    }
}

/// Which records belong together: near duplicates and groups named by the user, joined where they overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// Group number of every record of the set, in its order; a record alone has a number of its own.
    pub of: Vec<usize>,
    /// Pairs of records that were found to be near duplicates.
    pub near_pairs: Vec<(usize, usize)>,
    /// By group number: the user's name (of the first record that has one), or `near-` and the start of the smallest
    /// id; None for a record alone.
    names: Vec<Option<String>>,
}

impl Groups {
    /// The user's groups only.
    #[must_use]
    pub fn given(set: &ImageSet) -> Self {
        Self::join(set, Vec::new())
    }

    fn join(set: &ImageSet, near_pairs: Vec<(usize, usize)>) -> Self {
        let records = &set.records;
        let mut sets = UnionFind::new(records.len());
        for &(a, b) in &near_pairs {
            sets.union(a, b);
        }
        let mut by_name: HashMap<&str, usize> = HashMap::new();
        let mut by_id: HashMap<&str, usize> = HashMap::new();
        for (i, record) in records.iter().enumerate() {
            if let Some(group) = &record.group {
                sets.union(i, *by_name.entry(group).or_insert(i));
            }
            // Exact duplicates, where the caller kept them.
            sets.union(i, *by_id.entry(record.id.as_str()).or_insert(i));
        }
        let mut numbers = HashMap::new();
        let mut members: Vec<Vec<usize>> = Vec::new();
        let of: Vec<usize> = (0..records.len())
            .map(|i| {
                let number = *numbers.entry(sets.find(i)).or_insert_with(|| {
                    members.push(Vec::new());
                    members.len() - 1
                });
                members[number].push(i);
                number
            })
            .collect();
        let name = |members: &Vec<usize>| {
            let given = members.iter().find_map(|&i| records[i].group.clone());
            let smallest = members.iter().map(|&i| records[i].id.as_str()).min()?;
            given.or_else(|| {
                (members.len() > 1).then(|| format!("near-{}", &smallest[..smallest.len().min(12)]))
            })
        };
        let names = members.iter().map(name).collect();
        Self {
            of,
            near_pairs,
            names,
        }
    }

    /// Number of groups, counting records alone.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are no records at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The records of every group.
    #[must_use]
    pub fn records(&self) -> Vec<Vec<usize>> {
        let mut records = vec![Vec::new(); self.names.len()];
        for (record, &group) in self.of.iter().enumerate() {
            records[group].push(record);
        }
        records
    }

    /// Number of groups of two or more records.
    #[must_use]
    pub fn shared(&self) -> usize {
        self.records().iter().filter(|r| r.len() > 1).count()
    }

    /// The name of a record's group, if it shares one or the user named it.
    #[must_use]
    pub fn name(&self, record: usize) -> Option<&str> {
        self.names.get(*self.of.get(record)?)?.as_deref()
    }
}

/// Finds near duplicates among the pictures as they are in the set (after resizing) and joins them, transitively, with
/// the user's groups. Compares all pairs of hashes: about a second for 50,000 pictures.
#[must_use]
pub fn near_duplicates(set: &ImageSet, options: &NearDuplicateOptions) -> Groups {
    let hashes: Vec<u64> = set
        .records
        .iter()
        .map(|r| difference_hash(&r.picture))
        .collect();
    let small: Vec<Picture> = set
        .records
        .iter()
        .map(|r| shrink(&r.picture, 16, 16))
        .collect();
    let mut pairs = Vec::new();
    for (i, a) in hashes.iter().enumerate() {
        for (j, b) in hashes.iter().enumerate().skip(i + 1) {
            if (a ^ b).count_ones() <= options.max_bits
                && small[i]
                    .rmse(&small[j])
                    .is_some_and(|d| d <= options.max_rmse)
            {
                pairs.push((i, j));
            }
        }
    }
    Groups::join(set, pairs)
}

/// Difference hash (dHash): the picture in grey at 9 x 8, one bit per horizontal step that goes down. A step counts only
/// if it is larger than noise: else the flat parts of drawings would give random bits after compression.
fn difference_hash(picture: &Picture) -> u64 {
    const NOISE: u8 = 3;
    let small = shrink(&picture.clone().with_channels(1), 9, 8);
    let steps = small.pixels.chunks_exact(9).flat_map(|row| row.windows(2));
    steps.fold(0, |hash, step| {
        hash << 1 | u64::from(step[0] > step[1].saturating_add(NOISE))
    })
}

fn shrink(picture: &Picture, width: u32, height: u32) -> Picture {
    // An empty picture cannot come from a reader; it would be like no other.
    picture
        .resize(width, height, Filter::Bilinear)
        .unwrap_or_else(|_| picture.clone())
}

/// Disjoint sets with path halving; the smaller number is the representative, so that results do not depend on order.
#[derive(Debug)]
pub struct UnionFind(Vec<usize>);

impl UnionFind {
    /// Everything alone.
    #[must_use]
    pub fn new(n: usize) -> Self {
        Self((0..n).collect())
    }

    /// The representative of the set that `i` is in.
    pub fn find(&mut self, mut i: usize) -> usize {
        while self.0[i] != i {
            self.0[i] = self.0[self.0[i]];
            i = self.0[i];
        }
        i
    }

    /// Joins the sets of `a` and `b`.
    pub fn union(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.0[a.max(b)] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Record;

    fn noise(seed: u64) -> Picture {
        use rand::Rng;
        let mut rng = crate::stream(seed, "test picture", 0);
        // Smooth: an upscaled 4 x 4 pattern, as photographs have structure that survives shrinking.
        let small = Picture {
            width: 4,
            height: 4,
            channels: 1,
            pixels: (0..16).map(|_| rng.random()).collect(),
        };
        small.resize(32, 32, Filter::Bilinear).unwrap()
    }

    fn record(picture: Picture, group: Option<&str>) -> Record {
        let id = picture.id();
        let name = id.to_string();
        Record {
            id,
            picture,
            captions: vec!["a".into()],
            group: group.map(Into::into),
            label: None,
            name,
            file: None,
        }
    }

    fn set(records: Vec<Record>) -> ImageSet {
        ImageSet::new("s".into(), None, records).unwrap()
    }

    #[test]
    fn exact_duplicates_go_and_their_groups_join() {
        let mut again = record(noise(1), Some("y"));
        again.captions.push("b".into());
        let mut resized = record(noise(2), None);
        resized.id = noise(9).id();
        let mut s = set(vec![
            record(noise(1), Some("x")),
            again,
            record(noise(2), None),
            resized,
            record(noise(3), Some("y")),
            record(noise(4), None),
        ]);
        let report = dedupe(&mut s);
        assert_eq!(
            (
                report.same_content,
                report.same_resized,
                report.dropped.len(),
                s.len()
            ),
            (1, 1, 2, 4)
        );
        assert_eq!(s.records[0].captions, ["a", "b"]);
        // y's other picture is bound to x now, because they share a picture.
        assert_eq!(s.records[0].group, s.records[2].group);
        assert_eq!(s.records[3].group, None);
    }

    #[test]
    fn copies_with_noise_are_grouped_and_others_are_not() {
        let mut brighter = noise(1);
        brighter
            .pixels
            .iter_mut()
            .for_each(|v| *v = v.saturating_add(4));
        let s = set(vec![
            record(noise(1), None),
            record(noise(2), Some("artist")),
            record(brighter, None),
            record(noise(3), Some("artist")),
            record(noise(4), None),
        ]);
        let groups = near_duplicates(&s, &NearDuplicateOptions::default());
        assert_eq!(groups.near_pairs, [(0, 2)]);
        assert_eq!(groups.of, [0, 1, 0, 1, 2]);
        assert_eq!((groups.len(), groups.shared()), (3, 2));
        assert_eq!(groups.name(1), Some("artist"));
        assert!(groups.name(0).unwrap().starts_with("near-") && groups.name(0) == groups.name(2));
        assert_eq!(groups.name(4), None);
    }

    #[test]
    fn flat_pictures_are_compared_by_value() {
        let s = set(vec![
            record(Picture::filled(8, 8, 1, 10), None),
            record(Picture::filled(8, 8, 1, 90), None),
        ]);
        assert_eq!(
            near_duplicates(&s, &NearDuplicateOptions::default()).shared(),
            0
        );
    }

    #[test]
    fn rates_in_the_bundled_sets() {
        for (name, size, pairs, groups, largest) in
            [("fashion", 16, 13, 11, 4), ("emoji", 32, 67, 26, 18)]
        {
            let options = crate::LoadOptions {
                image_size: Some(size),
                ..Default::default()
            };
            let mut s = crate::load(name, &options).unwrap();
            assert_eq!(dedupe(&mut s), DedupeReport::default());
            let found = near_duplicates(&s, &NearDuplicateOptions::default());
            let mut sizes = vec![0; found.len()];
            found.of.iter().for_each(|&g| sizes[g] += 1);
            let counts = (
                found.near_pairs.len(),
                found.shared(),
                sizes.into_iter().max().unwrap(),
            );
            assert_eq!(counts, (pairs, groups, largest), "{name}");
        }
    }
}
