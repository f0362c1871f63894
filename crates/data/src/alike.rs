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
//! Pictures that belong together are found by walking from one to the next: what a group has taken is not looked at again, so
//! that memory goes with the number of pictures and thousands of frames of one scene cost no more than one pass. Pairs that
//! cannot be alike are passed over by bounds on means; no pair that is alike is missed for it.

use crate::duplicates::NearDuplicateOptions;
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
/// Means of a sketch that mirroring does not change: four bands of rows, the outer and the inner columns, all.
const MEANS: usize = 7;

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

/// What is kept of a picture for comparison.
struct Look {
    hash: u64,
    /// The picture at 16 x 16.
    small: Picture,
    sketches: Vec<Sketch>,
    /// Least and largest of every cell over all sketches.
    cells: (Sketch, Sketch),
    /// Least and largest of the means over all sketches.
    low: [u8; MEANS],
    high: [u8; MEANS],
}

/// How far apart means of parts can be that are alike when moved: of grey levels from 0 to 255, by Cauchy and Schwarz from the
/// root mean squared difference, with room for rounding.
struct Bounds {
    means: [u8; MEANS],
    /// Of two sketches, the sum of squares.
    sketch: u32,
    /// Of the means of the pictures as they are.
    whole: u8,
}

impl Bounds {
    fn new(options: &NearDuplicateOptions) -> Self {
        // Grey is a weighted sum of three colours: its differences are at most sqrt(3 * (0.299^2 + 0.587^2 + 0.114^2))
        // times theirs. Rounding to grey and to a sketch is less than one level a picture.
        let level = |rmse: f64| rmse * 255.0 * 1.16 + 2.0;
        let byte = |v: f64| v.ceil().clamp(0.0, 255.0) as u8;
        let moved = level(options.max_moved_rmse.max(options.max_cut_rmse));
        let (rows, columns) = (byte(2.0 * moved + 1.0), byte(2f64.sqrt() * moved + 1.0));
        Self {
            means: [rows, rows, rows, rows, columns, columns, byte(moved + 1.0)],
            sketch: (16.0 * moved * moved).ceil() as u32,
            whole: byte(
                level(
                    options
                        .max_rmse
                        .max(options.max_moved_rmse)
                        .max(options.max_cut_rmse),
                ) + 1.0,
            ),
        }
    }
}

impl Look {
    fn new(picture: &Picture, working: &Picture) -> Self {
        let small = shrink(picture, SIDE as u32, SIDE as u32);
        let grey = working.clone().with_channels(1);
        let sums = Sums::new(grey.width, &grey.pixels);
        let sketch = |part: Part| {
            let mut out = [0; CELLS * CELLS];
            for (to, mean) in out.iter_mut().zip(sums.cells(part, CELLS)) {
                *to = mean.round() as u8;
            }
            out
        };
        let sketches: Vec<Sketch> = parts(working.width, working.height)
            .into_iter()
            .map(sketch)
            .collect();
        let mut cells = ([255; CELLS * CELLS], [0; CELLS * CELLS]);
        for (k, &v) in sketches.iter().flat_map(|s| s.iter().enumerate()) {
            cells.0[k] = v.min(cells.0[k]);
            cells.1[k] = v.max(cells.1[k]);
        }
        let (mut low, mut high) = ([255; MEANS], [0; MEANS]);
        let mut widen = |k: usize, v: u8| {
            low[k] = low[k].min(v);
            high[k] = high[k].max(v);
        };
        for sketch in &sketches {
            means(sketch)
                .into_iter()
                .enumerate()
                .for_each(|(k, v)| widen(k, v));
        }
        let sum: u64 = small.pixels.iter().map(|&v| u64::from(v)).sum();
        widen(MEANS - 1, (sum / small.pixels.len().max(1) as u64) as u8);
        Self {
            hash: difference_hash(picture),
            small,
            sketches,
            cells,
            low,
            high,
        }
    }
}

fn means(sketch: &Sketch) -> [u8; MEANS] {
    let cell = |i: usize, j: usize| u32::from(sketch[i * CELLS + j]);
    let row = |i: usize| (0..CELLS).map(|j| cell(i, j)).sum::<u32>();
    let columns = |a: usize, b: usize| (0..CELLS).map(|i| cell(i, a) + cell(i, b)).sum::<u32>();
    let all = (0..CELLS).map(row).sum::<u32>();
    let (outer, inner) = (columns(0, 3), columns(1, 2));
    [
        row(0) / 4,
        row(1) / 4,
        row(2) / 4,
        row(3) / 4,
        outer / 8,
        inner / 8,
        all / 16,
    ]
    .map(|v| v as u8)
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
        as_it_is || self.may_be_moved(x, y) && self.moved(a, b)
    }

    /// Whether no mean rules it out.
    fn may_be_moved(&self, x: &Look, y: &Look) -> bool {
        (0..MEANS).all(|k| {
            let room = self.bounds.means[k];
            x.low[k] <= y.high[k].saturating_add(room) && y.low[k] <= x.high[k].saturating_add(room)
        })
    }

    /// Whether some part of one may fit some part of the other: what lies between the ranges of their cells lies between any
    /// two of their sketches.
    fn may_fit(&self, x: &Look, y: &Look, flip: bool) -> bool {
        let (low, high) = match flip {
            true => (mirrored(&y.cells.0), mirrored(&y.cells.1)),
            false => y.cells,
        };
        let mut squares = 0;
        for k in 0..CELLS * CELLS {
            let below = low[k].saturating_sub(x.cells.1[k]);
            let above = x.cells.0[k].saturating_sub(high[k]);
            squares += u32::from(below.max(above)).pow(2);
        }
        squares <= self.bounds.sketch
    }

    fn moved(&self, a: usize, b: usize) -> bool {
        let of = |i: usize, part: usize| self.looks[i].sketches.get(part);
        for flip in [false, true] {
            if !self.may_fit(&self.looks[a], &self.looks[b], flip) {
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
                    if squares.sum::<u32>() <= self.bounds.sketch
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
        let mut line = Line::new(&self.looks);
        let mut pairs = Vec::new();
        let mut waiting = Vec::new();
        for first in 0..self.looks.len() {
            if !line.take(first) {
                continue;
            }
            waiting.push(first);
            while let Some(place) = waiting.pop() {
                let a = line.order[place];
                let (mut at, end) = line.reach(&self.looks[a], self.bounds.whole);
                while let Some(next) = line.from(at).filter(|&next| next < end) {
                    let b = line.order[next];
                    if self.near(a, b) {
                        line.take(next);
                        waiting.push(next);
                        pairs.push((a.min(b), a.max(b)));
                    }
                    at = next + 1;
                }
            }
        }
        pairs.sort_unstable();
        pairs
    }

    /// Which of the first `n` records are alike one after them.
    pub fn across(&self, n: usize) -> Vec<usize> {
        let line = Line::new(&self.looks);
        let alike = |&a: &usize| {
            let (start, end) = line.reach(&self.looks[a], self.bounds.whole);
            line.order[start..end]
                .iter()
                .any(|&b| b >= n && self.near(a, b))
        };
        (0..n.min(self.looks.len())).filter(alike).collect()
    }
}

fn working(picture: &Picture) -> Picture {
    let side = |n: u32| n.min(WORKING);
    shrink(picture, side(picture.width), side(picture.height))
}

/// Records in the order of their least mean, so that those which may be alike stand in one stretch, and which of them are
/// still to be taken.
struct Line {
    order: Vec<usize>,
    /// By least mean, the first place; and the end.
    starts: Vec<usize>,
    /// Largest difference between the largest and the least mean of a record.
    spread: u8,
    /// The first place from here on that is not taken, or a step on the way to it.
    next: Vec<usize>,
}

impl Line {
    fn new(looks: &[Look]) -> Self {
        let low = |i: &usize| looks[*i].low[MEANS - 1];
        let mut order: Vec<usize> = (0..looks.len()).collect();
        order.sort_by_key(low);
        let starts = (0..=256)
            .map(|v| order.partition_point(|i| usize::from(low(i)) < v))
            .collect();
        let spread = looks
            .iter()
            .map(|l| l.high[MEANS - 1].abs_diff(l.low[MEANS - 1]));
        Self {
            spread: spread.max().unwrap_or(0),
            next: (0..=order.len()).collect(),
            order,
            starts,
        }
    }

    /// The places that may be alike one: from, to.
    fn reach(&self, look: &Look, room: u8) -> (usize, usize) {
        let (low, high) = (look.low[MEANS - 1], look.high[MEANS - 1]);
        let from = usize::from(low.saturating_sub(room).saturating_sub(self.spread));
        let to = usize::from(high.saturating_add(room)) + 1;
        (self.starts[from], self.starts[to])
    }

    /// The first place from `at` on that is not taken.
    fn from(&mut self, at: usize) -> Option<usize> {
        let mut at = at.min(self.order.len());
        while self.next[at] != at {
            self.next[at] = self.next[self.next[at]];
            at = self.next[at];
        }
        (at < self.order.len()).then_some(at)
    }

    /// Takes a place; false: it was taken.
    fn take(&mut self, place: usize) -> bool {
        let free = self.next[place] == place;
        if free {
            self.next[place] = place + 1;
        }
        free
    }
}
