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
//! Pairs that cannot be alike are passed over by bounds on means, a branch of a tree of pictures at a time; no pair that is
//! alike is missed for it. A branch that belongs to the picture's own group already is passed over too. So memory goes with
//! the number of pictures, and thousands of frames of one scene cost no more than one pass.

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
/// Parts of a picture: the whole, the whole less a pixel at any of four edges, and the inner part, moved in no or any of
/// eight directions.
const PARTS: usize = 16 + 9;
/// The whole, that crops are compared with.
const WHOLE: usize = 0;
/// The inner part at rest, that moved ones are compared with.
const INNER: usize = 16;
/// Most pictures of a leaf of the tree.
const LEAF: usize = 8;

/// Mean grey of the cells of a part, row by row.
type Sketch = [u8; CELLS * CELLS];

/// A part of a picture, in pixels: left, top, width, height.
type Part = (u32, u32, u32, u32);

/// The parts of a picture of this size; a small one has one.
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

    fn mirrored(&self) -> Self {
        Self {
            low: mirrored(&self.low),
            high: mirrored(&self.high),
        }
    }

    /// The least sum of squared differences between a sketch of one range and a sketch of the other.
    fn squares(&self, other: &Self) -> u32 {
        let gap = |k: usize| {
            let below = other.low[k].saturating_sub(self.high[k]);
            let above = self.low[k].saturating_sub(other.high[k]);
            u32::from(below.max(above)).pow(2)
        };
        (0..CELLS * CELLS).map(gap).sum()
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

/// What is kept of a picture for comparison.
struct Look {
    hash: u64,
    /// The picture at 16 x 16.
    small: Picture,
    sketches: Vec<Sketch>,
    /// Of all sketches, and of that of the picture at 16 x 16.
    cells: Range,
}

/// How far apart the sketches of alike pictures can be, as the sum of squares of grey levels from 0 to 255: by Cauchy and
/// Schwarz from the root mean squared difference, with room for rounding.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Of two parts, where one picture was mirrored, cut or moved.
    parts: u32,
    /// Of two pictures, not mirrored, that may also be alike as they are.
    upright: u32,
}

impl Bounds {
    fn new(options: &NearDuplicateOptions) -> Self {
        // Grey is a weighted sum of three colours: its differences are at most sqrt(3 * (0.299^2 + 0.587^2 + 0.114^2))
        // times theirs. Rounding to grey and to a sketch is less than one level a picture.
        let squares = |rmse: f64| {
            let level = rmse * 255.0 * 1.16 + 2.0;
            ((CELLS * CELLS) as f64 * level * level).ceil() as u32
        };
        let parts = squares(options.max_moved_rmse.max(options.max_cut_rmse));
        Self {
            parts,
            upright: parts.max(squares(options.max_rmse)),
        }
    }

    /// Whether some sketch of one may fit some sketch of the other, mirrored or not: what lies between two ranges lies
    /// between any two of their sketches. `mirrored` is the mirror image of `a`.
    fn may_fit(&self, a: &Range, mirrored: &Range, other: &Range) -> bool {
        a.squares(other) <= self.upright || mirrored.squares(other) <= self.parts
    }
}

impl Look {
    fn new(picture: &Picture, working: &Picture) -> Self {
        let small = shrink(picture, SIDE as u32, SIDE as u32);
        let sums = |p: &Picture| {
            let grey = p.clone().with_channels(1);
            Sums::new(grey.width, &grey.pixels)
        };
        let sketch = |sums: &Sums, part: Part| {
            let mut out = [0; CELLS * CELLS];
            for (to, mean) in out.iter_mut().zip(sums.cells(part, CELLS)) {
                *to = mean.round() as u8;
            }
            out
        };
        let of_working = sums(working);
        let sketches: Vec<Sketch> = parts(working.width, working.height)
            .into_iter()
            .map(|part| sketch(&of_working, part))
            .collect();
        let of_small = sketch(&sums(&small), (0, 0, small.width, small.height));
        let cells = sketches
            .iter()
            .chain([&of_small])
            .fold(Range::EMPTY, |range, s| range.with(&s.into()));
        Self {
            hash: difference_hash(picture),
            small,
            sketches,
            cells,
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
    bounds: Bounds,
    looks: Vec<Look>,
}

impl<'a> Looks<'a> {
    pub fn new(set: &'a ImageSet, options: &'a NearDuplicateOptions) -> Self {
        let look = |r: &crate::Record| Look::new(&r.picture, &working(&r.picture));
        Self {
            set,
            options,
            bounds: Bounds::new(options),
            looks: set.records.iter().map(look).collect(),
        }
    }

    /// Whether two records look almost the same; the order makes no difference.
    pub fn near(&self, a: usize, b: usize) -> bool {
        let (x, y) = (&self.looks[a], &self.looks[b]);
        let as_it_is = (x.hash ^ y.hash).count_ones() <= self.options.max_bits
            && x.small
                .rmse(&y.small)
                .is_some_and(|d| d <= self.options.max_rmse);
        as_it_is || self.moved(a, b)
    }

    fn moved(&self, a: usize, b: usize) -> bool {
        let of = |i: usize, part: usize| self.looks[i].sketches.get(part);
        for flip in [false, true] {
            let [x, mut y] = [a, b].map(|i| self.looks[i].cells);
            if flip {
                y = y.mirrored();
            }
            if x.squares(&y) > self.bounds.parts {
                continue;
            }
            for part in 0..PARTS {
                let (still, most) = match part < INNER {
                    true => (WHOLE, self.options.max_cut_rmse),
                    false => (INNER, self.options.max_moved_rmse),
                };
                // Either may be the one that was moved.
                for (still_of, moved_of) in [(a, b), (b, a)] {
                    let (Some(s), Some(m)) = (of(still_of, still), of(moved_of, part)) else {
                        continue;
                    };
                    let m = if flip { mirrored(m) } else { *m };
                    let squares = s
                        .iter()
                        .zip(&m)
                        .map(|(a, b)| u32::from(a.abs_diff(*b)).pow(2));
                    if squares.sum::<u32>() <= self.bounds.parts
                        && self.distance((still_of, still), (moved_of, part), flip) <= most
                    {
                        return true;
                    }
                }
            }
        }
        false
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
        let mut tree = Tree::new(&self.looks, (0..self.looks.len()).collect());
        let mut groups = UnionFind::new(self.looks.len());
        let mut pairs = Vec::new();
        for a in 0..self.looks.len() {
            let range = &self.looks[a].cells;
            let mirrored = range.mirrored();
            let mut waiting = vec![ROOT];
            while let Some(at) = waiting.pop() {
                // Pairs are looked at from the earlier one.
                if tree.nodes[at].last <= a
                    || tree.is_of(at, a, &mut groups)
                    || !self.bounds.may_fit(range, &mirrored, &tree.nodes[at].cells)
                {
                    continue;
                }
                let Some(children) = tree.nodes[at].children else {
                    for &b in tree.records(at) {
                        if b > a && groups.find(a) != groups.find(b) && self.near(a, b) {
                            groups.union(a, b);
                            pairs.push((a, b));
                        }
                    }
                    tree.settle(at, &mut groups);
                    continue;
                };
                waiting.extend(children);
            }
        }
        pairs.sort_unstable();
        pairs
    }

    /// Which of the first `n` records are alike one after them.
    pub fn across(&self, n: usize) -> Vec<usize> {
        let n = n.min(self.looks.len());
        let tree = Tree::new(&self.looks, (n..self.looks.len()).collect());
        let alike = |&a: &usize| {
            let range = &self.looks[a].cells;
            let mirrored = range.mirrored();
            let mut waiting = vec![ROOT];
            while let Some(at) = waiting.pop() {
                let node = &tree.nodes[at];
                if !self.bounds.may_fit(range, &mirrored, &node.cells) {
                    continue;
                }
                match node.children {
                    Some(children) => waiting.extend(children),
                    None if tree.records(at).iter().any(|&b| self.near(a, b)) => return true,
                    None => {}
                }
            }
            false
        };
        (0..n).filter(alike).collect()
    }
}

fn working(picture: &Picture) -> Picture {
    let side = |n: u32| n.min(WORKING);
    shrink(picture, side(picture.width), side(picture.height))
}

const ROOT: usize = 0;

/// Records in a binary tree: each branch knows the range of the sketches in it.
struct Tree {
    /// In the order of the leaves.
    order: Vec<usize>,
    nodes: Vec<Node>,
}

struct Node {
    cells: Range,
    /// Its records: a stretch of the order.
    start: usize,
    end: usize,
    /// The largest record.
    last: usize,
    children: Option<[usize; 2]>,
    /// A record, once all of the branch are of its group.
    group: Option<usize>,
}

impl Tree {
    fn new(looks: &[Look], order: Vec<usize>) -> Self {
        let mut tree = Self {
            nodes: Vec::with_capacity(order.len() / LEAF * 4 + 1),
            order,
        };
        tree.grow(looks, 0, tree.order.len());
        tree
    }

    /// Adds the branch of a stretch of the order, which it sorts: halves along the cell that differs most.
    fn grow(&mut self, looks: &[Look], start: usize, end: usize) -> usize {
        let records = &mut self.order[start..end];
        let of = |i: &usize| &looks[*i].cells;
        let cells = records.iter().map(of).fold(Range::EMPTY, |a, b| a.with(b));
        let at = self.nodes.len();
        self.nodes.push(Node {
            cells,
            start,
            end,
            last: records.iter().copied().max().unwrap_or(0),
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
                .map(|(start, end)| self.grow(looks, start, end));
            self.nodes[at].children = Some(children);
        }
        at
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
