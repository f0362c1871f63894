//! Exact and near duplicates. The defences assume disjoint halves and the attacks assume that non-members were not
//! trained on: a picture that is on two sides under two names breaks both.

use std::collections::{HashMap, HashSet};

use crate::alike::{Looks, Pairs};
use crate::{ImageSet, Record, SampleId};

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
    let mut dropping = Dropping::default();
    for record in set.records.drain(..) {
        let pixels = record.picture.id();
        dropping.offer(record, pixels);
    }
    let (records, report) = dropping.end();
    set.records = records;
    report
}

/// Records of which the later ones of equal pictures are dropped.
#[derive(Default)]
pub(crate) struct Dropping {
    report: DedupeReport,
    /// Places among those kept, by the id of the picture as decoded and as resized.
    by_id: HashMap<SampleId, usize>,
    by_pixels: HashMap<SampleId, usize>,
    kept: Vec<Record>,
    /// Captions of those kept that others were the same as: a million of these may have one each.
    captions: HashMap<usize, HashSet<String>>,
    same_group: Vec<(String, String)>,
}

impl Dropping {
    /// Whether the record is kept; `pixels`: the id of its picture as it is now.
    pub fn offer(&mut self, record: Record, pixels: SampleId) -> bool {
        let (first, counter) = match (self.by_id.get(&record.id), self.by_pixels.get(&pixels)) {
            (Some(&first), _) => (first, &mut self.report.same_content),
            (None, Some(&first)) => (first, &mut self.report.same_resized),
            (None, None) => {
                self.by_id.insert(record.id.clone(), self.kept.len());
                self.by_pixels.insert(pixels, self.kept.len());
                self.kept.push(record);
                return true;
            }
        };
        *counter += 1;
        let original = &mut self.kept[first];
        self.report
            .dropped
            .push((record.name, original.name.clone()));
        let known = self
            .captions
            .entry(first)
            .or_insert_with(|| original.captions.iter().cloned().collect());
        for caption in record.captions {
            if known.insert(caption.clone()) {
                original.captions.push(caption);
            }
        }
        match (&original.group, record.group) {
            (None, group) => original.group = group,
            (Some(a), Some(b)) if *a != b => self.same_group.push((a.clone(), b)),
            _ => {}
        }
        false
    }

    /// What is left, and what was dropped.
    pub fn end(mut self) -> (Vec<Record>, DedupeReport) {
        merge_group_names(&mut self.kept, &self.same_group);
        (self.kept, self.report)
    }
}

fn merge_group_names(records: &mut [Record], same: &[(String, String)]) {
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

/// When two pictures count as nearly the same: as they are, or after one of them was mirrored, moved or cut by a pixel.
///
/// As they are, both conditions must hold: the hash finds copies that were compressed or scaled again, and the pixel
/// difference keeps flat drawings apart whose few edges happen to agree. The defaults were chosen by looking at the pairs in
/// the bundled sets: up to 0.04 they are hard to tell apart (the same cut of trousers, clock faces, one emoji in two moods);
/// from 0.05 on, plain trousers and shirts that merely look alike begin to form one large group.
///
/// Of a hundred ways to lay one picture over another, some fit by chance, so that a moved copy must be nearer: of the 3,000
/// pictures of `fashion` at 16 x 16, no two different ones come below 0.023 when moved, or below 0.030 when cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NearDuplicateOptions {
    /// Most of the 64 bits of the difference hash that may differ.
    pub max_bits: u32,
    /// Most root mean squared difference per value on [0, 1] of the pictures at 16 x 16 pixels.
    pub max_rmse: f64,
    /// The same where one was mirrored, or is without a pixel at its edges.
    pub max_cut_rmse: f64,
    /// The same of what both show, where one was moved by a pixel, mirrored or not.
    pub max_moved_rmse: f64,
}

impl Default for NearDuplicateOptions {
    fn default() -> Self {
        Self {
            max_bits: 8,
            max_rmse: 0.04,
            max_cut_rmse: 0.028,
            max_moved_rmse: 0.02,
        }
    }
}

/// Which records belong together: near duplicates and groups named by the user, joined where they overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// Group number of every record of the set, in its order; a record alone has a number of its own.
    pub of: Vec<usize>,
    /// Pairs of near duplicates, enough to join every group: of `n` pictures that look almost the same, each with one of the
    /// others, `n - 1` pairs.
    pub near_pairs: Vec<(usize, usize)>,
    /// Pictures whose near duplicates may not all be known ([`Groups::note`]).
    pub cut_short: usize,
    /// By group number: the user's name (of the first record that has one), or `near-` and the start of the smallest
    /// id; None for a record alone.
    names: Vec<Option<String>>,
}

impl Groups {
    /// The user's groups only.
    #[must_use]
    pub fn given(set: &ImageSet) -> Self {
        let pairs = Pairs {
            pairs: Vec::new(),
            cut_short: 0,
        };
        Self::join(set, pairs)
    }

    /// Those of these pairs and of the user.
    pub(crate) fn join(set: &ImageSet, found: Pairs) -> Self {
        let near_pairs = found.pairs;
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
            cut_short: found.cut_short,
            names,
        }
    }

    /// What is to be told where the search had to be cut short.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        let (some, all) = (self.cut_short, self.of.len());
        (some > 0).then(|| {
            format!(
                "{some} of {all} images look alike from afar, as noise or cloth does: each was compared with the nearest of them only, so that \
                 near-duplicates among them may not all be known"
            )
        })
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
/// the user's groups. Memory goes with the number of pictures (`docs/results/performance.md`). So does time, at most: where pictures differ too
/// little for an index, the search for each is limited, and [`Groups::cut_short`] counts them.
#[must_use]
pub fn near_duplicates(set: &ImageSet, options: &NearDuplicateOptions) -> Groups {
    let Ok(pairs) = Looks::new(set, options).and_then(|looks| looks.pairs());
    Groups::join(set, pairs)
}

/// Which of the first `n` records of a set look almost the same as one after them, by position. The search is limited as that of
/// [`near_duplicates`] is.
#[must_use]
pub fn alike_across(set: &ImageSet, n: usize, options: &NearDuplicateOptions) -> Vec<usize> {
    let Ok(alike) = Looks::new(set, options).and_then(|looks| looks.across(n));
    alike
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
    use crate::{Filter, Picture};

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
    fn captions_of_many_copies_are_kept_once_each_in_their_order() {
        let black = record(Picture::filled(1, 1, 1, 0), None);
        let n = 20_000;
        let copies = (0..n).map(|i| Record {
            captions: vec![format!("{}", i % (n / 2)), "a".into()],
            ..black.clone()
        });
        let mut s = set(std::iter::once(black.clone()).chain(copies).collect());
        assert_eq!(dedupe(&mut s).same_content, n);
        let expected = std::iter::once("a".to_owned()).chain((0..n / 2).map(|i| i.to_string()));
        assert_eq!(s.records[0].captions, expected.collect::<Vec<_>>());
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
    fn a_search_that_was_cut_short_is_told() {
        let s = set(vec![record(noise(1), None), record(noise(2), None)]);
        assert_eq!(Groups::given(&s).note(), None);
        let found = Pairs {
            pairs: Vec::new(),
            cut_short: 1,
        };
        let note = Groups::join(&s, found).note().unwrap();
        assert!(note.starts_with("1 of 2 images "), "{note}");
        assert!(!note.contains("  "), "{note}");
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
    fn moved_copies_are_grouped() {
        let picture = noise(7);
        let (w, h) = (picture.width, picture.height);
        let mirror = |p: &Picture| {
            let mut out = p.clone();
            let c = usize::from(p.channels);
            for row in out.pixels.chunks_exact_mut(p.width as usize * c) {
                row.reverse();
            }
            out
        };
        // One row down, the first one repeated; a pixel cut from the left and the top, and stretched again.
        let mut down = picture.clone();
        down.pixels.rotate_right(w as usize);
        down.pixels.copy_within(w as usize..2 * w as usize, 0);
        let cut = picture
            .cut(1, 1, w - 1, h - 1)
            .resize(w, h, Filter::Bilinear)
            .unwrap();
        let copies = [
            mirror(&picture),
            down.clone(),
            cut.clone(),
            mirror(&down),
            mirror(&cut),
        ];
        for (number, copy) in copies.into_iter().enumerate() {
            // In either order.
            for pair in [[&picture, &copy], [&copy, &picture]] {
                let records = pair.map(|p| record(p.clone(), None));
                let s = set([records.to_vec(), vec![record(noise(8), None)]].concat());
                let options = NearDuplicateOptions::default();
                let groups = near_duplicates(&s, &options);
                assert_eq!(groups.near_pairs, [(0, 1)], "copy {number}");
                assert_eq!(alike_across(&s, 1, &options), [0]);
                assert_eq!(alike_across(&s, 2, &options), [0; 0]);
            }
        }
    }

    #[test]
    fn thousands_of_alike_frames_are_one_group() {
        use rand::Rng;
        let mut rng = crate::stream(0, "frames", 0);
        let base: Vec<u8> = (0..192).map(|_| rng.random()).collect();
        let frame = |_| {
            let pixels = base
                .iter()
                .map(|v| v.saturating_add(rng.random_range(0..5)))
                .collect();
            record(
                Picture {
                    width: 8,
                    height: 8,
                    channels: 3,
                    pixels,
                },
                None,
            )
        };
        let s = set((0..5000).map(frame).collect());
        let groups = near_duplicates(&s, &NearDuplicateOptions::default());
        assert_eq!((groups.len(), groups.near_pairs.len()), (1, 4999));
        assert_eq!(
            alike_across(&s, 2000, &NearDuplicateOptions::default()).len(),
            2000
        );
    }

    /// Each frame of a scene is like the next one only, as in a film, and scenes lie between one another.
    #[test]
    fn the_tree_finds_what_comparing_all_pairs_finds() {
        use rand::Rng;
        let mut rng = crate::stream(1, "scenes", 0);
        let mut records = Vec::new();
        for seed in 0..14 {
            let mut picture = noise(seed);
            for _ in 0..rng.random_range(1..8) {
                records.push(record(picture.clone(), None));
                let to = rng.random_range(0..picture.pixels.len());
                let step = rng.random_range(2..14);
                picture.pixels[to..]
                    .iter_mut()
                    .for_each(|v| *v = v.saturating_add(step));
                if rng.random_bool(0.2) {
                    picture = mirror(&moved(&picture, 1, 0));
                }
            }
        }
        rand::seq::SliceRandom::shuffle(&mut records[..], &mut rng);
        assert!(as_all_pairs(records) > 8);
    }

    /// Patterns of one to sixteen patches in colour, each in several versions: one colour is stronger, by little or by much, and some
    /// are moved.
    #[test]
    fn the_tree_finds_in_colour_what_comparing_all_pairs_finds() {
        use rand::Rng;
        let mut rng = crate::stream(2, "colours", 0);
        let mut records = Vec::new();
        for _ in 0..12 {
            let side = rng.random_range(1..5_u32);
            let pattern = Picture {
                width: side,
                height: side,
                channels: 3,
                pixels: (0..side * side * 3).map(|_| rng.random()).collect(),
            };
            let mut picture = pattern.resize(12, 12, Filter::Bilinear).unwrap();
            for _ in 0..rng.random_range(1..6) {
                records.push(record(picture.clone(), None));
                let (channel, step) = (rng.random_range(0..3), rng.random_range(2..30));
                let values = picture.pixels.iter_mut().skip(channel).step_by(3);
                values.for_each(|v| *v = v.saturating_add(step));
                if rng.random_bool(0.3) {
                    // Down by a row.
                    picture.pixels.rotate_right(36);
                }
            }
        }
        rand::seq::SliceRandom::shuffle(&mut records[..], &mut rng);
        assert!(as_all_pairs(records) > 5);
    }

    /// Compares what the trees find with what all pairs are, and gives the number of alike pairs.
    fn as_all_pairs(records: Vec<Record>) -> usize {
        let s = set(records);
        let options = NearDuplicateOptions::default();
        let Ok(looks) = Looks::new(&s, &options);
        let near = |a, b| looks.near(a, b).unwrap() || looks.near(b, a).unwrap();
        let mut all = UnionFind::new(s.len());
        let mut pairs = 0;
        for a in 0..s.len() {
            for b in a + 1..s.len() {
                if near(a, b) {
                    all.union(a, b);
                    pairs += 1;
                }
            }
        }
        let expected: Vec<usize> = (0..s.len()).map(|i| all.find(i)).collect();
        let mut found = UnionFind::new(s.len());
        let Ok(searched) = looks.pairs();
        assert_eq!(searched.cut_short, 0);
        for (a, b) in searched.pairs {
            assert!(near(a, b));
            assert_ne!(found.find(a), found.find(b), "a pair more than needed");
            found.union(a, b);
        }
        assert_eq!(
            (0..s.len()).map(|i| found.find(i)).collect::<Vec<_>>(),
            expected
        );
        let half = s.len() / 2;
        let across: Vec<usize> = (0..half)
            .filter(|&a| (half..s.len()).any(|b| near(a, b)))
            .collect();
        assert_eq!(looks.across(half).unwrap(), across);
        pairs
    }

    /// The first 90 pictures of `fashion` at 28 pixels, each beside a changed copy: how many of the copies are grouped with
    /// their original.
    fn found(change: impl Fn(&Picture) -> Picture) -> usize {
        let fashion = crate::load("fashion", &crate::LoadOptions::default()).unwrap();
        let originals = &fashion.records[..90];
        let copies = originals.iter().map(|r| record(change(&r.picture), None));
        let s = set(originals.iter().cloned().chain(copies).collect());
        let groups = near_duplicates(&s, &NearDuplicateOptions::default());
        (0..90)
            .filter(|&i| groups.of[i] == groups.of[i + 90])
            .count()
    }

    /// The picture moved by (dx, dy) pixels, black where nothing is.
    fn moved(p: &Picture, dx: i64, dy: i64) -> Picture {
        let mut out = Picture::filled(p.width, p.height, 1, 0);
        let (w, h) = (i64::from(p.width), i64::from(p.height));
        for y in 0..h {
            for x in 0..w {
                let (u, v) = (x - dx, y - dy);
                if (0..w).contains(&u) && (0..h).contains(&v) {
                    out.pixels[(y * w + x) as usize] = p.pixels[(v * w + u) as usize];
                }
            }
        }
        out
    }

    fn mirror(p: &Picture) -> Picture {
        let mut out = p.clone();
        out.pixels
            .chunks_exact_mut(p.width as usize)
            .for_each(<[u8]>::reverse);
        out
    }

    fn cut(p: &Picture, by: u32) -> Picture {
        let (w, h) = (p.width, p.height);
        let inner = p.cut(by, by, w - 2 * by, h - 2 * by);
        inner.resize(w, h, Filter::Bilinear).unwrap()
    }

    fn jpeg(p: &Picture, quality: u8) -> Picture {
        let mut out = Vec::new();
        let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut out, quality);
        let grey = image::GrayImage::from_raw(p.width, p.height, p.pixels.clone()).unwrap();
        grey.write_with_encoder(encoder).unwrap();
        crate::decode::decode(&out, "x", &crate::LoadOptions::default()).unwrap()
    }

    /// Turned about the middle by `degrees`, bilinear, black where nothing is.
    fn turned(p: &Picture, degrees: f64) -> Picture {
        let (w, h) = (i64::from(p.width), i64::from(p.height));
        let (sin, cos) = degrees.to_radians().sin_cos();
        let (cx, cy) = ((w - 1) as f64 / 2.0, (h - 1) as f64 / 2.0);
        let value = |x: i64, y: i64| match (0..w).contains(&x) && (0..h).contains(&y) {
            true => f64::from(p.pixels[(y * w + x) as usize]),
            false => 0.0,
        };
        let mut out = p.clone();
        for (i, v) in out.pixels.iter_mut().enumerate() {
            let (x, y) = ((i as i64 % w) as f64 - cx, (i as i64 / w) as f64 - cy);
            let (u, t) = (cos * x - sin * y + cx, sin * x + cos * y + cy);
            let (u0, t0) = (u.floor() as i64, t.floor() as i64);
            let (fu, ft) = (u - u.floor(), t - t.floor());
            let top = value(u0, t0) * (1.0 - fu) + value(u0 + 1, t0) * fu;
            let bottom = value(u0, t0 + 1) * (1.0 - fu) + value(u0 + 1, t0 + 1) * fu;
            *v = (top * (1.0 - ft) + bottom * ft).round() as u8;
        }
        out
    }

    /// These numbers stand in docs/guide.md.
    #[test]
    fn rates_of_changed_copies() {
        let rates: Vec<(&str, usize)> = vec![
            ("JPEG 75", found(|p| jpeg(p, 75))),
            ("mirrored", found(mirror)),
            ("mirrored, JPEG 75", found(|p| jpeg(&mirror(p), 75))),
            ("moved by 1", found(|p| moved(p, 1, 0))),
            ("moved by 1 across and down", found(|p| moved(p, -1, 1))),
            ("moved by 1, mirrored", found(|p| mirror(&moved(p, 1, 0)))),
            ("moved by 1, JPEG 75", found(|p| jpeg(&moved(p, 0, 1), 75))),
            ("cut by 1 all round", found(|p| cut(p, 1))),
            (
                "cut by 1 all round, mirrored",
                found(|p| mirror(&cut(p, 1))),
            ),
            ("moved by 2", found(|p| moved(p, 2, 0))),
            ("cut by 2 all round", found(|p| cut(p, 2))),
            ("turned by 1 degree", found(|p| turned(p, 1.0))),
            ("turned by 3 degrees", found(|p| turned(p, 3.0))),
            (
                "upside down",
                found(|p| {
                    let mut out = mirror(p);
                    out.pixels.reverse();
                    out
                }),
            ),
        ];
        let counts: Vec<usize> = rates.iter().map(|(_, found)| *found).collect();
        let known = [90, 90, 90, 90, 90, 90, 90, 79, 79, 0, 0, 90, 24, 0];
        assert_eq!(counts, known, "{rates:?}");
    }

    #[test]
    fn rates_in_the_bundled_sets() {
        for (name, size, pairs, groups, largest) in
            [("fashion", 16, 13, 11, 4), ("emoji", 32, 77, 49, 18)]
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
