//! When two pictures look almost the same, and the search for all that do.
//!
//! A pair is alike if one of these holds, in either order:
//!
//! - *as it is*: at most `max_bits` of the difference hashes differ, and at most `max_rmse` of the pixels at 16 x 16: copies
//!   that were compressed or scaled again;
//! - *cut*: one, perhaps mirrored, is the other, or the other without one pixel at any of its edges, stretched again: at most
//!   `max_cut_rmse` between those parts at 16 x 16;
//! - *moved*: one, perhaps mirrored, shows what the other shows, moved by one pixel in any direction: at most
//!   `max_moved_rmse` between the parts that both show.
//!
//! The pictures are those of the set; one that is larger than [`WORKING`] is brought to that first, so that a pixel is never
//! less than a 64th of a side.
//!
//! Each picture is looked up, in all its forms (a part, mirrored or not), in a tree of the pictures that are not moved. A branch is passed over where a
//! bound on means says that no form can be alike anything in it, which misses no pair that is alike, and where all of it
//! belongs to the picture's own group already. So memory goes with the number of pictures, and thousands of frames of one
//! scene cost no more than one pass.

use std::cell::OnceCell;

use crate::duplicates::{NearDuplicateOptions, UnionFind};
use crate::{Filter, ImageSet, Picture};

/// Largest side, in pixels, of the pictures that are moved.
const WORKING: u32 = 64;
/// Smaller ones are not moved, only mirrored: a pixel would be too much of them.
const SMALLEST: u32 = 8;
/// Side of the pictures that are compared.
const SIDE: usize = 16;
/// Cells of a side of the sketches that a comparison begins with.
const CELLS: usize = 4;
/// And of those that it goes on with.
const FINE: usize = 8;
/// The whole, that crops are compared with.
const WHOLE: usize = 0;
/// The inner part at rest, that moved ones are compared with.
const INNER: usize = 16;
/// Most pictures of a leaf of the tree.
const LEAF: usize = 8;

/// Mean grey of the cells of a part, row by row.
type Sketch = [u8; CELLS * CELLS];

/// The same of smaller cells.
type Fine = [u8; FINE * FINE];

/// A part of a picture, in pixels: left, top, width, height.
type Part = (u32, u32, u32, u32);

/// The parts of a picture of this size: the whole, the whole less a pixel at any of four edges, and the inner part, at rest
/// and moved in eight directions. A small picture has the whole only.
fn parts(width: u32, height: u32) -> Vec<Part> {
    let mut out = vec![(0, 0, width, height)];
    if width.min(height) < SMALLEST {
        return out;
    }
    for edges in 1..16 {
        let [left, right, top, bottom] = [0, 1, 2, 3].map(|bit| edges >> bit & 1);
        out.push((left, top, width - left - right, height - top - bottom));
    }
    // At rest first.
    for (dx, dy) in [
        (1, 1),
        (0, 0),
        (1, 0),
        (2, 0),
        (0, 1),
        (2, 1),
        (0, 2),
        (1, 2),
        (2, 2),
    ] {
        out.push((dx, dy, width - 2, height - 2));
    }
    out
}

/// Sums of the values above and left of every corner of a picture's pixels.
struct Sums {
    stride: usize,
    sums: Vec<u64>,
}

impl Sums {
    fn new(width: u32, values: &[u8]) -> Self {
        let width = width.max(1) as usize;
        let stride = width + 1;
        let mut sums = vec![0; stride];
        for row in values.chunks_exact(width) {
            let above = sums.len() - stride;
            sums.push(0);
            let mut sum = 0;
            for (x, &value) in row.iter().enumerate() {
                sum += u64::from(value);
                sums.push(sums[above + x + 1] + sum);
            }
        }
        Self { stride, sums }
    }

    fn grey(picture: &Picture) -> Self {
        let grey = picture.clone().with_channels(1);
        Self::new(grey.width, &grey.pixels)
    }

    /// Between corners the sum grows as if every pixel were a square of one colour. In units of `1 / n` pixels, times `n * n`.
    fn at(&self, x: usize, y: usize, n: usize) -> u64 {
        let (column, row, fx, fy) = (x / n, y / n, (x % n) as u64, (y % n) as u64);
        let corner = |dx: usize, dy: usize| self.sums[(row + dy) * self.stride + column + dx];
        let n = n as u64;
        let mut sum = corner(0, 0) * (n - fx) * (n - fy);
        if fx > 0 {
            sum += corner(1, 0) * fx * (n - fy);
        }
        if fy > 0 {
            sum += corner(0, 1) * (n - fx) * fy;
        }
        if fx > 0 && fy > 0 {
            sum += corner(1, 1) * fx * fy;
        }
        sum
    }

    /// Means of `n` x `n` equal cells of a part, row by row.
    fn cells(&self, part: Part, n: usize) -> Vec<f32> {
        let (left, top, width, height) = part;
        let [left, top, width, height] = [left, top, width, height].map(|v| v as usize);
        let corners: Vec<u64> = (0..=n)
            .flat_map(|i| (0..=n).map(move |j| (left * n + j * width, top * n + i * height)))
            .map(|(x, y)| self.at(x, y, n))
            .collect();
        // A cell is width / n x height / n pixels, and the sums are n * n times too large.
        let area = (width * height).max(1) as f64;
        let cell = |i: usize, j: usize| {
            let corner = |i: usize, j: usize| corners[i * (n + 1) + j];
            let inside = corner(i + 1, j + 1) + corner(i, j) - corner(i + 1, j) - corner(i, j + 1);
            (inside as f64 / area) as f32
        };
        (0..n)
            .flat_map(|i| (0..n).map(move |j| (i, j)))
            .map(|(i, j)| cell(i, j))
            .collect()
    }
}

/// The sum of squared differences of two sketches of `side` cells a side, the second one mirrored or not.
fn squares(a: &[u8], b: &[u8], side: usize, flip: bool) -> u32 {
    let rows = a.chunks_exact(side).zip(b.chunks_exact(side));
    let row = |(a, b): (&[u8], &[u8])| -> u32 {
        let other = |j: usize| if flip { b[side - 1 - j] } else { b[j] };
        (0..side)
            .map(|j| u32::from(a[j].abs_diff(other(j))).pow(2))
            .sum()
    };
    rows.map(row).sum()
}

/// Least and largest mean grey of every cell over a number of sketches.
#[derive(Debug, Clone, Copy)]
struct Range {
    low: Sketch,
    high: Sketch,
}

impl Range {
    const EMPTY: Self = Self {
        low: [u8::MAX; CELLS * CELLS],
        high: [u8::MIN; CELLS * CELLS],
    };

    fn with(self, other: &Self) -> Self {
        let mut out = self;
        for k in 0..CELLS * CELLS {
            out.low[k] = out.low[k].min(other.low[k]);
            out.high[k] = out.high[k].max(other.high[k]);
        }
        out
    }

    /// The least sum of squared differences between a sketch and one of the range.
    fn squares(&self, sketch: &Sketch) -> u32 {
        let mut sum = 0;
        for ((low, high), v) in self.low.iter().zip(&self.high).zip(sketch) {
            // One of the two is nothing.
            let gap = u16::from(low.saturating_sub(*v) | v.saturating_sub(*high));
            sum += u32::from(gap * gap);
        }
        sum
    }
}

impl From<&Sketch> for Range {
    fn from(sketch: &Sketch) -> Self {
        Self {
            low: *sketch,
            high: *sketch,
        }
    }
}

impl Sums {
    /// The means of `n` x `n` cells of a part, rounded.
    fn sketch(&self, part: Part, n: usize, out: &mut [u8]) {
        for (to, mean) in out.iter_mut().zip(self.cells(part, n)) {
            *to = mean.round() as u8;
        }
    }
}

/// What is kept of a picture for comparison.
struct Look {
    hash: u64,
    /// The picture at 16 x 16.
    small: Picture,
    /// Of that one.
    upright: Sketch,
    /// Of the parts.
    sketches: Vec<Sketch>,
    /// Of the two places.
    fine: [Fine; PLACES.len()],
}

/// One way to lay a picture over another.
struct Form {
    way: Way,
    sketch: Sketch,
    /// The largest sum of squared differences between this sketch and that of a picture that is alike in this way.
    reach: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    AsItIs,
    /// A part, mirrored or not, over the whole or the inner part of the other picture.
    Part(usize, bool),
}

/// How far apart the sketches of two alike pictures can be, as the sum of squares of grey levels from 0 to 255, by Cauchy and
/// Schwarz from the root mean squared difference on [0, 1], with room for rounding.
fn reach(rmse: f64) -> u32 {
    // Grey is a weighted sum of three colours: its differences are at most sqrt(3 * (0.299^2 + 0.587^2 + 0.114^2)) times
    // theirs. Rounding to grey and to a sketch is less than one level a picture.
    let level = rmse * 255.0 * 1.16 + 2.0;
    ((CELLS * CELLS) as f64 * level * level).ceil() as u32
}

impl Look {
    fn new(picture: &Picture, working: &Picture) -> Self {
        let small = shrink(picture, SIDE as u32, SIDE as u32);
        let of_working = Sums::grey(working);
        let parts = parts(working.width, working.height);
        let mut sketches = vec![[0; CELLS * CELLS]; parts.len()];
        for (sketch, part) in sketches.iter_mut().zip(&parts) {
            of_working.sketch(*part, CELLS, sketch);
        }
        let mut fine = [[0; FINE * FINE]; PLACES.len()];
        for (fine, place) in fine.iter_mut().zip(PLACES) {
            if let Some(&part) = parts.get(place.part()) {
                of_working.sketch(part, FINE, fine);
            }
        }
        let mut upright = [0; CELLS * CELLS];
        let whole = (0, 0, small.width, small.height);
        Sums::grey(&small).sketch(whole, CELLS, &mut upright);
        Self {
            hash: difference_hash(picture),
            small,
            upright,
            sketches,
            fine,
        }
    }
}

fn mirrored(sketch: &Sketch) -> Sketch {
    let mut out = *sketch;
    out.chunks_exact_mut(CELLS).for_each(<[u8]>::reverse);
    out
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

/// The pictures of a set, ready to be compared.
pub(crate) struct Looks<'a> {
    set: &'a ImageSet,
    options: &'a NearDuplicateOptions,
    looks: Vec<Look>,
}

impl<'a> Looks<'a> {
    pub fn new(set: &'a ImageSet, options: &'a NearDuplicateOptions) -> Self {
        let look = |r: &crate::Record| Look::new(&r.picture, &working(&r.picture));
        Self {
            set,
            options,
            looks: set.records.iter().map(look).collect(),
        }
    }

    /// The most that the root mean squared difference may be.
    fn most(&self, way: Way) -> f64 {
        match way {
            Way::AsItIs => self.options.max_rmse,
            Way::Part(part, _) if part < INNER => self.options.max_cut_rmse,
            Way::Part(..) => self.options.max_moved_rmse,
        }
    }

    /// The forms of a record to look up in one of the two trees.
    fn forms(&self, record: usize, place: Place) -> Vec<Form> {
        let look = &self.looks[record];
        let form = |way: Way, sketch: Sketch| Form {
            way,
            sketch,
            reach: reach(self.most(way)),
        };
        let of_place = |part: &usize| (*part < INNER) == (place == Place::Whole);
        let parts = (0..look.sketches.len()).filter(of_place);
        let mut forms: Vec<Form> = parts
            .flat_map(|part| [false, true].map(|flip| (part, flip)))
            .map(|(part, flip)| {
                let sketch = &look.sketches[part];
                let sketch = if flip { mirrored(sketch) } else { *sketch };
                form(Way::Part(part, flip), sketch)
            })
            .collect();
        if place == Place::Whole {
            forms.push(form(Way::AsItIs, look.upright));
        }
        forms
    }

    fn query(&self, record: usize, place: Place) -> Query {
        Query {
            record,
            forms: self.forms(record, place),
            place,
            fine: OnceCell::new(),
        }
    }

    /// Fine sketches of the parts of a record.
    fn fine(&self, record: usize) -> Vec<Fine> {
        let picture = working(&self.set.records[record].picture);
        let sums = Sums::grey(&picture);
        let fine = |part: Part| {
            let mut out = [0; FINE * FINE];
            sums.sketch(part, FINE, &mut out);
            out
        };
        let parts = parts(picture.width, picture.height);
        parts.into_iter().map(fine).collect()
    }

    /// Whether a form lies well enough over record `b`: what is cheap is asked first.
    fn lies_over(&self, query: &Query, form: &Form, b: usize) -> bool {
        let (x, y) = (&self.looks[query.record], &self.looks[b]);
        let Way::Part(part, flip) = form.way else {
            return (x.hash ^ y.hash).count_ones() <= self.options.max_bits
                && x.small
                    .rmse(&y.small)
                    .is_some_and(|d| d <= self.options.max_rmse);
        };
        let still = query.place.part();
        let Some(coarse) = y.sketches.get(still) else {
            return false;
        };
        // Four times the cells, four times the sum.
        let fine_reach = form.reach * (FINE * FINE / (CELLS * CELLS)) as u32;
        squares(coarse, &form.sketch, CELLS, false) <= form.reach
            && query
                .fine
                .get_or_init(|| self.fine(query.record))
                .get(part)
                .is_some_and(|fine| {
                    squares(&y.fine[query.place as usize], fine, FINE, flip) <= fine_reach
                })
            && self.distance((b, still), (query.record, part), flip) <= self.most(form.way)
    }

    /// Root mean squared difference on [0, 1] between two parts at 16 x 16, the second one mirrored or not.
    fn distance(&self, a: (usize, usize), b: (usize, usize), flip: bool) -> f64 {
        let (x, y) = (self.patch(a), self.patch(b));
        if x.len() != y.len() || x.is_empty() {
            return f64::INFINITY;
        }
        let rows = x.chunks_exact(SIDE).zip(y.chunks_exact(SIDE));
        let squares = |(x, y): (&[f32], &[f32])| -> f64 {
            let other = |j: usize| if flip { y[SIDE - 1 - j] } else { y[j] };
            x.iter()
                .enumerate()
                .map(|(j, v)| f64::from(v - other(j)).powi(2))
                .sum()
        };
        (rows.map(squares).sum::<f64>() / x.len() as f64).sqrt() / 255.0
    }

    /// A part of a record's picture at 16 x 16, one channel after another.
    fn patch(&self, (record, part): (usize, usize)) -> Vec<f32> {
        let picture = working(&self.set.records[record].picture);
        let channels = usize::from(picture.channels);
        let Some(&part) = parts(picture.width, picture.height).get(part) else {
            return Vec::new();
        };
        let channel = |c: usize| {
            let values: Vec<u8> = picture
                .pixels
                .iter()
                .skip(c)
                .step_by(channels.max(1))
                .copied()
                .collect();
            Sums::new(picture.width, &values).cells(part, SIDE)
        };
        (0..channels).flat_map(channel).collect()
    }

    /// Joins all that are alike, each with one that it is alike: `n - 1` pairs for a group of `n`.
    pub fn pairs(&self) -> Vec<(usize, usize)> {
        let mut trees = PLACES.map(|place| Tree::new(&self.looks, place, 0..self.looks.len()));
        let mut groups = UnionFind::new(self.looks.len());
        let mut pairs = Vec::new();
        let mut waiting = Vec::new();
        for a in 0..self.looks.len() {
            for tree in &mut trees {
                let query = self.query(a, tree.place);
                waiting.push((ROOT, Mask::all(&query.forms)));
                while let Some((at, mask)) = waiting.pop() {
                    if tree.is_of(at, a, &mut groups) {
                        continue;
                    }
                    let Some(mask) = tree.descend(&query, at, mask, &mut waiting) else {
                        continue;
                    };
                    for &b in tree.records(at) {
                        if groups.find(a) != groups.find(b)
                            && mask
                                .forms(&query.forms)
                                .any(|form| self.lies_over(&query, form, b))
                        {
                            groups.union(a, b);
                            pairs.push((a.min(b), a.max(b)));
                        }
                    }
                    tree.settle(at, &mut groups);
                }
            }
        }
        pairs.sort_unstable();
        pairs
    }

    /// Which of the first `n` records are alike one after them.
    pub fn across(&self, n: usize) -> Vec<usize> {
        let n = n.min(self.looks.len());
        let mut alike = vec![false; n];
        let sides = [0..n, n..self.looks.len()];
        // Either may be the one that was moved.
        for (moved, still) in [(0, 1), (1, 0)] {
            for place in PLACES {
                let tree = Tree::new(&self.looks, place, sides[still].clone());
                for a in sides[moved].clone() {
                    if moved == 0 && alike[a] {
                        continue;
                    }
                    let query = self.query(a, place);
                    let mut waiting = vec![(ROOT, Mask::all(&query.forms))];
                    while let Some((at, mask)) = waiting.pop() {
                        let Some(mask) = tree.descend(&query, at, mask, &mut waiting) else {
                            continue;
                        };
                        for &b in tree.records(at) {
                            let first = a.min(b);
                            alike[first] = alike[first]
                                || mask
                                    .forms(&query.forms)
                                    .any(|form| self.lies_over(&query, form, b));
                        }
                        if moved == 0 && alike[a] {
                            waiting.clear();
                        }
                    }
                }
            }
        }
        (0..n).filter(|&i| alike[i]).collect()
    }
}

fn working(picture: &Picture) -> Picture {
    let side = |n: u32| n.min(WORKING);
    shrink(picture, side(picture.width), side(picture.height))
}

/// What another picture is laid over.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    /// The whole picture, for cut ones and those that are as they were.
    Whole,
    /// Its inner part, for moved ones.
    Inner,
}

const PLACES: [Place; 2] = [Place::Whole, Place::Inner];

impl Place {
    /// The part that stands in this place.
    fn part(self) -> usize {
        match self {
            Self::Whole => WHOLE,
            Self::Inner => INNER,
        }
    }
}

/// A picture that is looked up.
struct Query {
    record: usize,
    forms: Vec<Form>,
    place: Place,
    /// Of its parts, once they are needed.
    fine: OnceCell<Vec<Fine>>,
}

/// Some of the forms of a picture: a bit for each.
#[derive(Debug, Clone, Copy)]
struct Mask(u64);

impl Mask {
    fn all(forms: &[Form]) -> Self {
        Self(u64::MAX >> (64 - forms.len().clamp(1, 64)))
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn forms(self, forms: &[Form]) -> impl Iterator<Item = &Form> {
        let mut bits = self.0;
        std::iter::from_fn(move || {
            let form = forms.get(bits.trailing_zeros() as usize)?;
            bits &= bits - 1;
            Some(form)
        })
    }

    /// Those that may lie over something in a range.
    fn within(self, forms: &[Form], range: &Range) -> Self {
        let mut out = 0;
        for (k, form) in forms.iter().enumerate() {
            let near = self.0 >> k & 1 == 1 && range.squares(&form.sketch) <= form.reach;
            out |= u64::from(near) << k;
        }
        Self(out)
    }
}

const ROOT: usize = 0;

/// Records in a binary tree: each branch knows the range of the sketches in it.
struct Tree {
    place: Place,
    /// In the order of the leaves.
    order: Vec<usize>,
    nodes: Vec<Node>,
}

struct Node {
    cells: Range,
    /// Its records: a stretch of the order.
    start: usize,
    end: usize,
    children: Option<[usize; 2]>,
    /// A record, once all of the branch are of its group.
    group: Option<usize>,
}

impl Tree {
    fn new(looks: &[Look], place: Place, records: std::ops::Range<usize>) -> Self {
        let range = |look: &Look| match place {
            Place::Whole => look.sketches[WHOLE..=WHOLE]
                .iter()
                .fold(Range::from(&look.upright), |r, s| r.with(&s.into())),
            Place::Inner => look
                .sketches
                .get(place.part())
                .map_or(Range::EMPTY, |s| s.into()),
        };
        let ranges: Vec<Range> = looks.iter().map(range).collect();
        let mut tree = Self {
            place,
            nodes: Vec::with_capacity(records.len() / LEAF * 4 + 1),
            order: records.collect(),
        };
        tree.grow(&ranges, 0, tree.order.len());
        tree
    }

    /// Adds the branch of a stretch of the order, which it sorts: halves along the cell that differs most.
    fn grow(&mut self, ranges: &[Range], start: usize, end: usize) -> usize {
        let records = &mut self.order[start..end];
        let of = |i: &usize| &ranges[*i];
        let cells = records.iter().map(of).fold(Range::EMPTY, |a, b| a.with(b));
        let at = self.nodes.len();
        self.nodes.push(Node {
            cells,
            start,
            end,
            children: None,
            group: None,
        });
        if records.len() > LEAF {
            let middle = |i: &usize, k: usize| u16::from(of(i).low[k]) + u16::from(of(i).high[k]);
            let spread = |k: &usize| {
                let middles = records.iter().map(|i| u64::from(middle(i, *k)));
                let (sum, squares) = middles.fold((0, 0), |(s, q), v| (s + v, q + v * v));
                squares * records.len() as u64 - sum * sum
            };
            let widest = (0..CELLS * CELLS).max_by_key(spread).unwrap_or(0);
            let half = records.len() / 2;
            records.select_nth_unstable_by_key(half, |i| (middle(i, widest), *i));
            let children = [(start, start + half), (start + half, end)]
                .map(|(start, end)| self.grow(ranges, start, end));
            self.nodes[at].children = Some(children);
        }
        at
    }

    /// The forms that may lie over something in a leaf; none elsewhere: the branches below are put on the list of those that
    /// wait, if any form may lie over something there.
    fn descend(
        &self,
        query: &Query,
        at: usize,
        mask: Mask,
        waiting: &mut Vec<(usize, Mask)>,
    ) -> Option<Mask> {
        let node = &self.nodes[at];
        let mask = mask.within(&query.forms, &node.cells);
        if mask.is_empty() {
            return None;
        }
        let Some(children) = node.children else {
            return Some(mask);
        };
        waiting.extend(children.map(|child| (child, mask)));
        None
    }

    fn records(&self, at: usize) -> &[usize] {
        let node = &self.nodes[at];
        &self.order[node.start..node.end]
    }

    /// Whether all of a branch are of a record's group, as far as is known.
    fn is_of(&mut self, at: usize, record: usize, groups: &mut UnionFind) -> bool {
        let node = &self.nodes[at];
        if node.group.is_none()
            && let Some([a, b]) = node.children
            && let (Some(x), Some(y)) = (self.nodes[a].group, self.nodes[b].group)
            && groups.find(x) == groups.find(y)
        {
            self.nodes[at].group = Some(x);
        }
        let group = self.nodes[at].group;
        group.is_some_and(|g| groups.find(g) == groups.find(record))
    }

    /// Notes whether all of a leaf are of one group.
    fn settle(&mut self, at: usize, groups: &mut UnionFind) {
        let records = self.records(at);
        let Some(&first) = records.first() else {
            return;
        };
        let group = groups.find(first);
        if records.iter().all(|&r| groups.find(r) == group) {
            self.nodes[at].group = Some(first);
        }
    }
}

#[cfg(test)]
impl Looks<'_> {
    /// Whether some form of `a` lies over `b`, without a tree.
    pub fn near(&self, a: usize, b: usize) -> bool {
        PLACES.iter().any(|&place| {
            let query = self.query(a, place);
            let over = |form| self.lies_over(&query, form, b);
            query.forms.iter().any(over)
        })
    }
}
