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
//! bound on mean colours says that no form can be alike anything in it, which misses no pair that is alike, and where all of it
//! belongs to the picture's own group already. The forms of one picture are near each other, so that one bound for all of them is
//! asked first. Thousands of frames of one scene cost no more than one pass.
//!
//! No index tells pictures apart whose sketches are all near each other and whose pixels are not, such as noise, cloth or scans of one thing.
//! There every picture would be compared with every other, pixel by pixel. So the search for one picture has limits ([`LIMITS`]), which count what came to
//! nothing. Where it meets one, it begins again with what is nearest, up to the same limits: copies are nearer than what is merely like them, and
//! are compared first. How many pictures that concerns is counted, and told. The time of all is bounded by the number of pictures, times the limits.
//!
//! An index of the hash alone, such as one of bands of its bits, would not do: the hash says nothing of pictures that were cut, moved
//! or mirrored. Of the others 8 of 64 bits may differ, so that one of nine bands agrees, of 7 bits each; of hashes that have nothing in
//! common that holds for one pair in fourteen, which grows with the square as well.
//!
//! What is kept of a picture is 288 bytes ([`Look`]), and some 300 more in the two trees. Pixels are asked for again where the bounds
//! leave a doubt, so that they may lie in a file ([`Pictures`]).

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::convert::Infallible;
use std::rc::Rc;

use crate::duplicates::{NearDuplicateOptions, UnionFind};
use crate::{Filter, ImageSet, Picture};

/// Pictures by their place, wherever they are.
pub(crate) trait Pictures {
    /// Why one cannot be had.
    type Failure;

    /// How many there are.
    fn count(&self) -> usize;

    /// The one at a place below [`Pictures::count`].
    fn picture(&self, place: usize) -> Result<Cow<'_, Picture>, Self::Failure>;
}

impl Pictures for ImageSet {
    type Failure = Infallible;

    fn count(&self) -> usize {
        self.len()
    }

    fn picture(&self, place: usize) -> Result<Cow<'_, Picture>, Infallible> {
        Ok(Cow::Borrowed(&self.records[place].picture))
    }
}

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

/// What a search costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Effort {
    /// Branches and pictures whose sketches are compared.
    looks: usize,
    /// Pictures that are compared pixel by pixel.
    pictures: usize,
}

/// What the search for one picture in one tree may cost and come to nothing. In usual sets few pictures are so near to another one that their
/// pixels are compared.
const LIMITS: Effort = Effort {
    looks: 50_000,
    pictures: 200,
};

/// Mean grey of the cells of a part, row by row.
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
struct Plane {
    stride: usize,
    sums: Vec<i64>,
}

impl Plane {
    fn new(width: u32, values: impl Iterator<Item = i64>) -> Self {
        let width = width.max(1) as usize;
        let stride = width + 1;
        let mut sums = vec![0; stride];
        let mut sum = 0;
        for (i, value) in values.enumerate() {
            if i % width == 0 {
                sums.push(0);
                sum = 0;
            }
            sum += value;
            sums.push(sums[sums.len() - stride] + sum);
        }
        Self { stride, sums }
    }

    /// Between corners the sum grows as if every pixel were a square of one colour. In units of `1 / n` pixels, times `n * n`.
    fn at(&self, x: usize, y: usize, n: usize) -> i64 {
        let (column, row, fx, fy) = (x / n, y / n, (x % n) as i64, (y % n) as i64);
        let corner = |dx: usize, dy: usize| self.sums[(row + dy) * self.stride + column + dx];
        let n = n as i64;
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
        let corners: Vec<i64> = (0..=n)
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

/// The sum of squared differences of two sketches.
fn squares<const N: usize>(a: &[u8; N], b: &[u8; N]) -> u32 {
    let pairs = a.iter().zip(b);
    pairs.map(|(a, b)| u32::from(a.abs_diff(*b)).pow(2)).sum()
}

/// How many waves there are of the grey of a part's cells, and how many of each of two differences of colours of its quarters.
const GREYS: usize = CELLS * CELLS;
const COLOURS: usize = 4;

/// Means of a part's cells in the basis of Walsh and Hadamard, not scaled: the sum of all, the right half less the left one, and so
/// on. In pictures a few of these differ much and the rest little, where all cells differ as much: a range of them lies close around
/// what is in it.
type Wave = [i16; GREYS + 2 * COLOURS];

/// By how much a sum of squares over the cells is larger in that basis.
const SCALE: u32 = (CELLS * CELLS) as u32;

/// Red less green, and red and green less twice blue, are at right angles to grey and to each other. These are the weights that
/// make sums of squares in waves those of colours, four cells to a quarter: the roots of 16 / 6 and 16 / 18.
const WEIGHTS: [f32; 2] = [1.632_993_2, 0.942_809];

/// More than any value is, 16 times 255 at most, and so little that squares of its double can be summed in 32 bits.
const BEYOND: i16 = 6000;

fn walsh(values: &mut [f32]) {
    let mut step = 1;
    while step < values.len() {
        for start in (0..values.len()).step_by(2 * step) {
            for k in start..start + step {
                let (a, b) = (values[k], values[k + step]);
                (values[k], values[k + step]) = (a + b, a - b);
            }
        }
        step *= 2;
    }
}

/// The wave of the mirrored part.
fn mirrored_wave(wave: &Wave) -> Wave {
    let mut out = *wave;
    for (k, value) in out.iter_mut().enumerate() {
        // Columns are the lowest bits of a cell's place: two of them, and one of a quarter's.
        let columns = if k < GREYS { k & 3 } else { k & 1 };
        if columns.count_ones() % 2 == 1 {
            *value = -*value;
        }
    }
    out
}

/// Least and largest values of every wave over a number of sketches.
#[derive(Debug, Clone, Copy)]
struct Range {
    low: Wave,
    high: Wave,
}

impl Range {
    /// Further from everything than two sketches are.
    const EMPTY: Self = Self {
        low: [BEYOND; GREYS + 2 * COLOURS],
        high: [-BEYOND; GREYS + 2 * COLOURS],
    };

    fn with(self, other: &Self) -> Self {
        let mut out = self;
        for k in 0..GREYS + 2 * COLOURS {
            out.low[k] = out.low[k].min(other.low[k]);
            out.high[k] = out.high[k].max(other.high[k]);
        }
        out
    }

    /// The least sum of squared differences of a sketch of this range and one of the other, times [`SCALE`].
    fn gap(&self, other: &Self) -> u32 {
        let mut sum = 0;
        for k in 0..GREYS + 2 * COLOURS {
            let below = self.low[k] - other.high[k];
            let above = other.low[k] - self.high[k];
            // One of the two is nothing, unless a range is empty.
            let gap = u32::from(below.max(above).max(0).unsigned_abs());
            sum += gap * gap;
        }
        sum
    }

    /// Whether a sketch of this range and one of the other can have as small a sum of squared differences as `reach`.
    fn reaches(&self, other: &Self, reach: u32) -> bool {
        self.gap(other) <= reach.saturating_mul(SCALE)
    }
}

impl From<&Wave> for Range {
    fn from(wave: &Wave) -> Self {
        Self {
            low: *wave,
            high: *wave,
        }
    }
}

/// Three times the grey of a picture, and its two differences of colours, if it has colours.
struct Sums {
    grey: Plane,
    colours: Vec<Plane>,
}

impl Sums {
    fn new(picture: &Picture) -> Self {
        let channels = usize::from(picture.channels.max(1));
        let plane = |value: fn([i64; 3]) -> i64| {
            let pixels = picture
                .pixels
                .chunks_exact(channels)
                .map(|pixel| match pixel {
                    [r, g, b] => [*r, *g, *b].map(i64::from),
                    other => [i64::from(other.first().copied().unwrap_or(0)); 3],
                });
            Plane::new(picture.width, pixels.map(value))
        };
        let colours: Vec<Plane> = match channels {
            3 => vec![plane(|[r, g, _]| r - g), plane(|[r, g, b]| r + g - 2 * b)],
            _ => Vec::new(),
        };
        Self {
            grey: plane(|[r, g, b]| r + g + b),
            colours,
        }
    }

    /// Mean greys of the cells of a part, rounded.
    fn fine(&self, part: Part) -> Fine {
        let mut out = [0; FINE * FINE];
        for (to, mean) in out.iter_mut().zip(self.grey.cells(part, FINE)) {
            *to = (mean / 3.0).round() as u8;
        }
        out
    }

    fn wave(&self, part: Part) -> Wave {
        let mut out = [0; GREYS + 2 * COLOURS];
        let (greys, colours) = out.split_at_mut(GREYS);
        let fill = |out: &mut [i16], plane: &Plane, n: usize, weight: f32| {
            let mut values = plane.cells(part, n);
            walsh(&mut values);
            for (to, value) in out.iter_mut().zip(values) {
                *to = (value * weight).round() as i16;
            }
        };
        fill(greys, &self.grey, CELLS, 1.0 / 3.0);
        let planes = self.colours.iter().zip(WEIGHTS);
        for (out, (plane, weight)) in colours.chunks_exact_mut(COLOURS).zip(planes) {
            fill(out, plane, 2, weight);
        }
        out
    }
}

/// What is kept of a picture for comparison.
struct Look {
    hash: u64,
    /// Of the picture at 16 x 16.
    upright: Wave,
    /// Of the two places, as far as it has them.
    still: [Option<(Wave, Fine)>; PLACES.len()],
}

/// One way to lay a picture over another.
struct Form {
    way: Way,
    range: Range,
    /// The largest sum of squared differences between its cells and those of a picture that is alike in this way, and the same of
    /// smaller cells.
    reach: u32,
    fine_reach: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    AsItIs,
    /// A part, mirrored or not, over the whole or the inner part of the other picture.
    Part(usize, bool),
}

/// How far apart the means of `cells` cells of two alike pictures can be, as the sum of squares of levels from 0 to 255, by Cauchy and
/// Schwarz from the root mean squared difference on [0, 1]; `rounding`: levels that both together can be wrong by.
fn reach(rmse: f64, cells: usize, rounding: f64) -> u32 {
    let level = rmse * 255.0 + rounding;
    (cells as f64 * level * level).ceil() as u32
}

/// A distance as a part of the furthest that may be, in parts of 65,536: by that, distances of several kinds are compared.
fn part_of(distance: u32, furthest: u32) -> u64 {
    (u64::from(distance) << 16) / u64::from(furthest.max(1))
}

/// Half a unit in each of 24 waves, of both pictures, is sqrt(24) units, of which 16 are a level.
const ROUNDED_WAVES: f64 = 0.35;
/// Half a level in both, and what is left over for numbers of 32 bits.
const ROUNDED_GREYS: f64 = 1.05;

impl Look {
    fn new(picture: &Picture) -> Self {
        let working = working(picture);
        let sums = Sums::new(&working);
        let parts = parts(working.width, working.height);
        let still = PLACES.map(|place| {
            let &part = parts.get(place.part())?;
            Some((sums.wave(part), sums.fine(part)))
        });
        let small = small(picture);
        Self {
            hash: difference_hash(picture),
            upright: Sums::new(&small).wave((0, 0, small.width, small.height)),
            still,
        }
    }

    /// What must be in reach of a form in this place.
    fn range(&self, place: Place) -> Range {
        let still = self.still[place as usize].as_ref();
        let still = still.map_or(Range::EMPTY, |(wave, _)| wave.into());
        match place {
            Place::Whole => still.with(&(&self.upright).into()),
            Place::Inner => still,
        }
    }
}

/// A picture at 16 x 16.
fn small(picture: &Picture) -> Picture {
    shrink(picture, SIDE as u32, SIDE as u32)
}

/// A sketch of `side` cells a side, mirrored.
fn mirrored<const N: usize>(sketch: &[u8; N], side: usize) -> [u8; N] {
    let mut out = *sketch;
    out.chunks_exact_mut(side).for_each(<[u8]>::reverse);
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
pub(crate) struct Looks<'a, P> {
    pictures: &'a P,
    options: &'a NearDuplicateOptions,
    looks: Vec<Look>,
    limits: Effort,
    /// All that was looked at so far.
    spent: Cell<Effort>,
}

/// What a search for all that are alike came to.
pub(crate) struct Pairs {
    /// Each with one that it is alike: `n - 1` pairs for a group of `n`.
    pub pairs: Vec<(usize, usize)>,
    /// Pictures that were compared with the nearest of those that may be alike only.
    pub cut_short: usize,
}

impl<'a, P: Pictures> Looks<'a, P> {
    pub fn new(pictures: &'a P, options: &'a NearDuplicateOptions) -> Result<Self, P::Failure> {
        let look = |place| pictures.picture(place).map(|picture| Look::new(&picture));
        Ok(Self {
            pictures,
            options,
            looks: (0..pictures.count()).map(look).collect::<Result<_, _>>()?,
            limits: LIMITS,
            spent: Cell::default(),
        })
    }

    /// The most that the root mean squared difference may be.
    fn most(&self, way: Way) -> f64 {
        match way {
            Way::AsItIs => self.options.max_rmse,
            Way::Part(part, _) if part < INNER => self.options.max_cut_rmse,
            Way::Part(..) => self.options.max_moved_rmse,
        }
    }

    /// A record as it is laid over others.
    fn laid(&self, record: usize) -> Result<Rc<Laid<'a>>, P::Failure> {
        Ok(Rc::new(Laid::new(self.pictures.picture(record)?)))
    }

    /// A record, to be looked up in one of the two trees.
    fn query(&self, record: usize, place: Place, laid: &Rc<Laid<'a>>) -> Query<'a> {
        let form = |way: Way, wave: Wave| Form {
            way,
            range: (&wave).into(),
            reach: reach(self.most(way), CELLS * CELLS, ROUNDED_WAVES),
            fine_reach: reach(self.most(way), FINE * FINE, ROUNDED_GREYS),
        };
        let of_place = |part: &usize| (*part < INNER) == (place == Place::Whole);
        let mut forms = Vec::new();
        for part in (0..laid.parts.len()).filter(of_place) {
            let wave = laid.sums.wave(laid.parts[part]);
            forms.push(form(Way::Part(part, false), wave));
            forms.push(form(Way::Part(part, true), mirrored_wave(&wave)));
        }
        if place == Place::Whole {
            forms.push(form(Way::AsItIs, self.looks[record].upright));
        }
        Query {
            record,
            kinds: [0, 1, 2].map(|kind| Kind::of(&forms, kind)),
            forms,
            place,
            laid: Rc::clone(laid),
            fine: OnceCell::new(),
        }
    }

    /// How far a form is from what it is laid over.
    fn distance(&self, query: &Query<'_>, form: &Form, other: &Laid<'_>) -> Option<f64> {
        match form.way {
            Way::AsItIs => small(&query.laid.picture).rmse(&small(&other.picture)),
            Way::Part(part, flip) => other.distance(query.place.part(), &query.laid, part, flip),
        }
    }

    /// Those of some forms that may lie over record `b` by their finer sketches, and how near the nearest is ([`part_of`]).
    fn close_forms(&self, query: &Query<'_>, mask: Mask, b: usize) -> (Mask, u64) {
        let (x, y) = (&self.looks[query.record], &self.looks[b]);
        let (mut bits, mut out, mut nearest) = (mask.0, 0, u64::MAX);
        while let Some(form) = query.forms.get(bits.trailing_zeros() as usize) {
            if let Some(distance) = query.nearness(form, x, y, self.options) {
                out |= 1 << bits.trailing_zeros();
                nearest = nearest.min(distance);
            }
            bits &= bits - 1;
        }
        (Mask(out), nearest)
    }

    /// Whether some of the forms lie well enough over record `b`, pixel by pixel.
    fn any_over(&self, query: &Query<'_>, mask: Mask, b: usize) -> Result<bool, P::Failure> {
        let other = Laid::new(self.pictures.picture(b)?);
        let over = |form: &Form| {
            let distance = self.distance(query, form, &other);
            distance.is_some_and(|d| d <= self.most(form.way))
        };
        Ok(mask.forms(&query.forms).any(over))
    }

    /// Looks a picture up in a tree. `found` is told of each that is alike, and says whether to go on; those that are in the group of `own` by
    /// then are passed over. False if the limits ended the search, which then began again with what is nearest.
    fn look_up(
        &self,
        tree: &mut Tree,
        query: &Query<'_>,
        groups: &mut UnionFind,
        own: usize,
        found: &mut dyn FnMut(&mut UnionFind, usize) -> bool,
    ) -> Result<bool, P::Failure> {
        let deep = Waiting::Deep(Vec::new());
        if self.search(tree, query, groups, own, deep, found)? {
            return Ok(true);
        }
        let near = Waiting::Near(BinaryHeap::new());
        self.search(tree, query, groups, own, near, found)
    }

    /// As [`Looks::look_up`], in one order. False if the limits ended it.
    fn search(
        &self,
        tree: &mut Tree,
        query: &Query<'_>,
        groups: &mut UnionFind,
        own: usize,
        mut waiting: Waiting,
        found: &mut dyn FnMut(&mut UnionFind, usize) -> bool,
    ) -> Result<bool, P::Failure> {
        let (mut spent, mut all) = (Effort::default(), self.spent.get());
        let mut whole = true;
        let forms = Mask::all(&query.forms).of_kinds(query, &tree.nodes[ROOT].cells);
        waiting.push(|| 0, Step::Branch(ROOT), forms);
        while let Some((step, mask)) = waiting.pop() {
            if spent.looks > self.limits.looks || spent.pictures > self.limits.pictures {
                whole = false;
                break;
            }
            // What came to something is not held against the search: it happens once for each picture and each branch.
            let mut gained = false;
            match step {
                _ if mask.is_empty() => {}
                Step::Branch(at) => {
                    let known = tree.nodes[at].group.is_some();
                    if tree.is_of(at, own, groups) {
                        gained = !known;
                    } else if let Some(children) = tree.nodes[at].children {
                        (spent.looks, all.looks) = (spent.looks + 1, all.looks + 1);
                        for child in children {
                            let cells = &tree.nodes[child].cells;
                            let mask = mask.of_kinds(query, cells);
                            if !mask.is_empty() {
                                let nearness = || mask.nearness(query, cells);
                                waiting.push(nearness, Step::Branch(child), mask);
                            }
                        }
                    } else {
                        let mut looks = 1;
                        for place in tree.places(at) {
                            let b = tree.order[place];
                            if groups.find(own) == groups.find(b) {
                                continue;
                            }
                            looks += 1;
                            let forms = mask.within(query, &tree.leaves[place]);
                            let (close, nearest) = self.close_forms(query, forms, b);
                            if !close.is_empty() {
                                waiting.push(|| nearest, Step::Picture(b), close);
                            }
                        }
                        if looks == 1 {
                            tree.nodes[at].group = Some(own);
                            gained = true;
                        }
                        (spent.looks, all.looks) = (spent.looks + looks, all.looks + looks);
                    }
                }
                Step::Picture(b) if groups.find(own) == groups.find(b) => {}
                Step::Picture(b) => {
                    all.pictures += 1;
                    gained = self.any_over(query, mask, b)?;
                    if !gained {
                        spent.pictures += 1;
                    } else if !found(groups, b) {
                        break;
                    }
                }
            }
            if gained {
                spent.looks = spent.looks.saturating_sub(LEAF);
            }
        }
        self.spent.set(all);
        Ok(whole)
    }

    /// Joins all that are alike.
    pub fn pairs(&self) -> Result<Pairs, P::Failure> {
        let mut trees = PLACES.map(|place| Tree::new(&self.looks, place, 0..self.looks.len()));
        let mut groups = UnionFind::new(self.looks.len());
        let (mut pairs, mut cut_short) = (Vec::new(), 0);
        for a in 0..self.looks.len() {
            let laid = self.laid(a)?;
            let mut whole = true;
            for tree in &mut trees {
                let query = self.query(a, tree.place, &laid);
                let mut join = |groups: &mut UnionFind, b: usize| {
                    groups.union(a, b);
                    pairs.push((a.min(b), a.max(b)));
                    true
                };
                whole &= self.look_up(tree, &query, &mut groups, a, &mut join)?;
            }
            cut_short += usize::from(!whole);
        }
        pairs.sort_unstable();
        Ok(Pairs { pairs, cut_short })
    }

    /// Which of the first `n` records are alike one after them.
    pub fn across(&self, n: usize) -> Result<Vec<usize>, P::Failure> {
        let n = n.min(self.looks.len());
        let mut alike = vec![false; n];
        let sides = [0..n, n..self.looks.len()];
        // Those that are alike are a group, which nothing more is asked about: that of a number that is no record's.
        let settled = self.looks.len();
        let mut groups = UnionFind::new(settled + 1);
        // Either may be the one that was moved.
        for (moved, still) in [(0, 1), (1, 0)] {
            for place in PLACES {
                let mut tree = Tree::new(&self.looks, place, sides[still].clone());
                for a in sides[moved].clone() {
                    if moved == 0 && alike[a] {
                        continue;
                    }
                    let query = self.query(a, place, &self.laid(a)?);
                    let mut found = |groups: &mut UnionFind, b: usize| {
                        let first = a.min(b);
                        alike[first] = true;
                        groups.union(first, settled);
                        moved == 1
                    };
                    self.look_up(&mut tree, &query, &mut groups, settled, &mut found)?;
                }
            }
        }
        Ok((0..n).filter(|&i| alike[i]).collect())
    }
}

/// What is looked at next in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// A record, pixel by pixel.
    Picture(usize),
    /// A branch.
    Branch(usize),
}

/// What a search has still to look at, each for some of the forms.
enum Waiting {
    /// What came last is next.
    Deep(Vec<(Step, Mask)>),
    /// What is nearest is next.
    Near(BinaryHeap<Reverse<(u64, Step, Mask)>>),
}

impl Waiting {
    fn push(&mut self, nearness: impl FnOnce() -> u64, step: Step, mask: Mask) {
        match self {
            Self::Deep(stack) => stack.push((step, mask)),
            Self::Near(heap) => heap.push(Reverse((nearness(), step, mask))),
        }
    }

    fn pop(&mut self) -> Option<(Step, Mask)> {
        match self {
            Self::Deep(stack) => stack.pop(),
            Self::Near(heap) => heap.pop().map(|Reverse((_, step, mask))| (step, mask)),
        }
    }
}

/// A picture whose parts are laid over others, or have some laid over them.
struct Laid<'a> {
    picture: Cow<'a, Picture>,
    working: Picture,
    /// Of the working picture.
    sums: Sums,
    parts: Vec<Part>,
    /// One for each channel, and each part at 16 x 16, once they are needed.
    channels: OnceCell<Vec<Plane>>,
    patches: Vec<OnceCell<Vec<f32>>>,
}

impl<'a> Laid<'a> {
    fn new(picture: Cow<'a, Picture>) -> Self {
        let working = working(&picture);
        let parts = parts(working.width, working.height);
        Self {
            picture,
            sums: Sums::new(&working),
            channels: OnceCell::new(),
            patches: parts.iter().map(|_| OnceCell::new()).collect(),
            parts,
            working,
        }
    }

    /// Root mean squared difference on [0, 1] between a part and one of another picture at 16 x 16, the second one mirrored or
    /// not; None where there is nothing to compare.
    fn distance(&self, part: usize, other: &Self, of_other: usize, flip: bool) -> Option<f64> {
        let (x, y) = (self.patch(part)?, other.patch(of_other)?);
        if x.len() != y.len() || x.is_empty() {
            return None;
        }
        let rows = x.chunks_exact(SIDE).zip(y.chunks_exact(SIDE));
        let squares = |(x, y): (&[f32], &[f32])| -> f64 {
            let other = |j: usize| if flip { y[SIDE - 1 - j] } else { y[j] };
            x.iter()
                .enumerate()
                .map(|(j, v)| f64::from(v - other(j)).powi(2))
                .sum()
        };
        Some((rows.map(squares).sum::<f64>() / x.len() as f64).sqrt() / 255.0)
    }

    /// A part at 16 x 16, one channel after another.
    fn patch(&self, part: usize) -> Option<&[f32]> {
        let (&part, patch) = self.parts.get(part).zip(self.patches.get(part))?;
        let cells = |plane: &Plane| plane.cells(part, SIDE);
        Some(patch.get_or_init(|| self.channels().iter().flat_map(cells).collect()))
    }

    fn channels(&self) -> &[Plane] {
        let channels = usize::from(self.working.channels);
        let plane = |c: usize| {
            let values = self.working.pixels.iter().skip(c).step_by(channels.max(1));
            Plane::new(self.working.width, values.map(|v| i64::from(*v)))
        };
        self.channels
            .get_or_init(|| (0..channels).map(plane).collect())
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
struct Query<'a> {
    record: usize,
    forms: Vec<Form>,
    /// The parts, the mirrored ones, and the picture as it is.
    kinds: [Kind; 3],
    place: Place,
    laid: Rc<Laid<'a>>,
    /// Of its parts, once they are needed.
    fine: OnceCell<Vec<Fine>>,
}

/// Forms that are near each other, and what holds of all of them.
struct Kind {
    forms: Mask,
    range: Range,
    reach: u32,
}

impl Kind {
    fn of(forms: &[Form], kind: usize) -> Self {
        let mut out = Self {
            forms: Mask(0),
            range: Range::EMPTY,
            reach: 0,
        };
        for (k, form) in forms.iter().enumerate() {
            let own = match form.way {
                Way::Part(_, flip) => usize::from(flip),
                Way::AsItIs => 2,
            };
            if own == kind {
                out.forms.0 |= 1 << k;
                out.range = out.range.with(&form.range);
                out.reach = out.reach.max(form.reach);
            }
        }
        out
    }
}

impl Query<'_> {
    /// How near a form is to the picture of look `y` by their sketches ([`part_of`]), `x` being the look of this one; None where it cannot lie
    /// over it.
    fn nearness(
        &self,
        form: &Form,
        x: &Look,
        y: &Look,
        options: &NearDuplicateOptions,
    ) -> Option<u64> {
        let Way::Part(part, flip) = form.way else {
            let few = (x.hash ^ y.hash).count_ones() <= options.max_bits;
            let gap = Range::from(&y.upright).gap(&form.range);
            return few.then(|| part_of(gap, form.reach.saturating_mul(SCALE)));
        };
        let (_, fine) = y.still[self.place as usize].as_ref()?;
        let own = self.fine().get(part)?;
        let own = if flip { mirrored(own, FINE) } else { *own };
        let distance = squares(fine, &own);
        (distance <= form.fine_reach).then(|| part_of(distance, form.fine_reach))
    }

    /// Fine sketches of the parts.
    fn fine(&self) -> &[Fine] {
        let fine = |&part: &Part| self.laid.sums.fine(part);
        let parts = &self.laid.parts;
        self.fine.get_or_init(|| parts.iter().map(fine).collect())
    }
}

/// Some of the forms of a picture: a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

    /// Those of the kinds of which one may lie over something in a range.
    fn of_kinds(self, query: &Query<'_>, range: &Range) -> Self {
        let mut out = 0;
        for kind in &query.kinds {
            let bits = self.0 & kind.forms.0;
            if bits != 0 && range.reaches(&kind.range, kind.reach) {
                out |= bits;
            }
        }
        Self(out)
    }

    /// How near something in a range may be to the nearest of their kinds ([`part_of`]).
    fn nearness(self, query: &Query<'_>, range: &Range) -> u64 {
        let kinds = query.kinds.iter();
        let kinds = kinds.filter(|kind| self.0 & kind.forms.0 != 0);
        kinds
            .map(|kind| part_of(range.gap(&kind.range), kind.reach.saturating_mul(SCALE)))
            .min()
            .unwrap_or(u64::MAX)
    }

    /// Those that may lie over something in a range.
    fn within(self, query: &Query<'_>, range: &Range) -> Self {
        let mut bits = self.of_kinds(query, range).0;
        let mut out = 0;
        while let Some(form) = query.forms.get(bits.trailing_zeros() as usize) {
            out |= u64::from(range.reaches(&form.range, form.reach)) << bits.trailing_zeros();
            bits &= bits - 1;
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
    /// What each of them spans, in that order.
    leaves: Vec<Range>,
    nodes: Vec<Node>,
}

/// How far numbers lie apart: their variance, times the square of how many there are.
fn spread(values: impl Iterator<Item = i64>) -> i128 {
    let (mut n, mut sum, mut squares) = (0_i64, 0_i64, 0_i64);
    for value in values {
        n += 1;
        sum += value;
        squares += value * value;
    }
    // Of a million bright pictures each of the two is beyond 64 bits.
    i128::from(squares) * i128::from(n) - i128::from(sum) * i128::from(sum)
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
        let ranges: Vec<Range> = looks.iter().map(|look| look.range(place)).collect();
        let mut tree = Self {
            place,
            nodes: Vec::with_capacity(records.len() / LEAF * 4 + 1),
            order: records.collect(),
            leaves: Vec::new(),
        };
        tree.grow(&ranges, 0, tree.order.len());
        tree.leaves = tree.order.iter().map(|&record| ranges[record]).collect();
        tree
    }

    /// Adds the branch of a stretch of the order, which it sorts: halves along the wave that differs most, of grey or of colour.
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
            let middle = |i: &usize, k: usize| i64::from(of(i).low[k]) + i64::from(of(i).high[k]);
            let spread = |k: &usize| spread(records.iter().map(|i| middle(i, *k)));
            let widest = (0..GREYS + 2 * COLOURS).max_by_key(spread).unwrap_or(0);
            let half = records.len() / 2;
            records.select_nth_unstable_by_key(half, |i| (middle(i, widest), *i));
            let children = [(start, start + half), (start + half, end)]
                .map(|(start, end)| self.grow(ranges, start, end));
            self.nodes[at].children = Some(children);
        }
        at
    }

    /// The places of a leaf's records in the order.
    fn places(&self, at: usize) -> std::ops::Range<usize> {
        self.nodes[at].start..self.nodes[at].end
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
}

#[cfg(test)]
impl<P: Pictures> Looks<'_, P> {
    /// Whether some form of `a` lies over `b`, without a tree and without bounds.
    pub fn near(&self, a: usize, b: usize) -> Result<bool, P::Failure> {
        let other = Laid::new(self.pictures.picture(b)?);
        for place in PLACES {
            let query = self.query(a, place, &self.laid(a)?);
            for form in &query.forms {
                let distance = self.distance(&query, form, &other);
                let bits = (self.looks[a].hash ^ self.looks[b].hash).count_ones();
                let few = form.way != Way::AsItIs || bits <= self.options.max_bits;
                if few && distance.is_some_and(|d| d <= self.most(form.way)) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    /// Pictures that differ a little, much, or in colour only.
    fn pictures(channels: u8) -> Vec<Picture> {
        let mut rng = crate::stream(0, "waves", u64::from(channels));
        let mut out = Vec::new();
        for _ in 0..12 {
            let side = 1 << rng.random_range(0..5);
            let n = side * side * u32::from(channels);
            let pattern = Picture {
                width: side,
                height: side,
                channels,
                pixels: (0..n).map(|_| rng.random()).collect(),
            };
            let first = pattern.resize(24, 20, Filter::Bilinear).unwrap();
            for most in [2, 9, 60] {
                let mut next = first.clone();
                let from = rng.random_range(0..next.pixels.len());
                for v in &mut next.pixels[from..] {
                    *v = v.saturating_add(rng.random_range(0..most));
                }
                out.push(next);
            }
            out.push(first);
        }
        out
    }

    #[test]
    fn waves_and_fine_sketches_bound_the_distance_of_parts() {
        for channels in [1, 3] {
            let pictures = pictures(channels);
            let laid: Vec<Laid<'_>> = pictures
                .iter()
                .map(|p| Laid::new(Cow::Borrowed(p)))
                .collect();
            let mut close = 0;
            for (x, y) in laid.iter().flat_map(|x| laid.iter().map(move |y| (x, y))) {
                for (still, part) in [(WHOLE, WHOLE), (WHOLE, 7), (INNER, INNER + 3)] {
                    for flip in [false, true] {
                        let distance = x.distance(still, y, part, flip).unwrap();
                        let own = Range::from(&x.sums.wave(x.parts[still]));
                        let wave = y.sums.wave(y.parts[part]);
                        let wave = if flip { mirrored_wave(&wave) } else { wave };
                        let reached = |level: f64| {
                            let reach = reach(level.max(0.0), CELLS * CELLS, ROUNDED_WAVES);
                            own.reaches(&Range::from(&wave), reach)
                        };
                        assert!(reached(distance), "{distance}");
                        close += usize::from(distance > 0.1 && !reached(distance / 2.0));
                        let fine = y.sums.fine(y.parts[part]);
                        let fine = if flip { mirrored(&fine, FINE) } else { fine };
                        let most = reach(distance, FINE * FINE, ROUNDED_GREYS);
                        assert!(squares(&x.sums.fine(x.parts[still]), &fine) <= most);
                    }
                }
            }
            assert!(close > 1000, "the bound bounds nothing: {close}");
        }
    }

    #[test]
    fn bright_pictures_by_the_million_do_not_overflow_the_spread() {
        let most = 2 * 16 * 255;
        assert_eq!(spread(std::iter::repeat_n(most, 1_000_000)), 0);
        let both = (0..1_000_000).map(|i| if i % 2 == 0 { 0 } else { most });
        assert_eq!(
            spread(both),
            i128::from(most * most / 4) * 1_000_000_000_000
        );
        assert_eq!(spread([1, 2, 4].into_iter()), 14);
        assert_eq!(spread(std::iter::empty()), 0);
    }

    /// Grey noise of 32 px, as which all is alike to the sketches and nothing to the pixels; of the first `copies` a copy each, which is a little
    /// brighter and coarser.
    fn noises(n: usize, copies: usize) -> ImageSet {
        let mut rng = crate::stream(0, "noises", 0);
        let mut pictures: Vec<Picture> = (0..n)
            .map(|_| Picture {
                width: 32,
                height: 32,
                channels: 1,
                pixels: (0..32 * 32).map(|_| rng.random_range(86..171)).collect(),
            })
            .collect();
        let mut copies = pictures[..copies].to_vec();
        for v in copies.iter_mut().flat_map(|copy| &mut copy.pixels) {
            *v += rng.random_range(0..5_u8);
        }
        pictures.append(&mut copies);
        set(pictures)
    }

    fn set(pictures: Vec<Picture>) -> ImageSet {
        let record = |picture: Picture| crate::Record {
            id: picture.id(),
            picture,
            captions: Vec::new(),
            group: None,
            label: None,
            name: String::new(),
            file: None,
        };
        let records = pictures.into_iter().map(record).collect();
        ImageSet::new("s".into(), None, records).unwrap()
    }

    /// In every picture's search of two trees, twice: deep first, and nearest first.
    const SEARCHES: usize = 4;

    #[test]
    fn pictures_that_no_index_tells_apart_cost_no_more_than_the_limits_and_copies_are_found() {
        let (n, copies) = (120, 20);
        let set = noises(n, copies);
        let options = NearDuplicateOptions::default();
        let Ok(mut looks) = Looks::new(&set, &options);
        looks.limits.pictures = 3;
        let Ok(found) = looks.pairs();
        let expected: Vec<(usize, usize)> = (0..copies).map(|i| (i, n + i)).collect();
        assert_eq!(found.pairs, expected);
        assert!(found.cut_short > n, "{}", found.cut_short);
        // One more than the limit ends a search, and a copy is no waste.
        let most = (n + copies) * SEARCHES * (looks.limits.pictures + 1) + copies;
        let spent = looks.spent.get();
        assert!(spent.pictures <= most, "{spent:?}");
        // Without a limit each is compared with nearly each.
        let all = (n + copies) * (n + copies - 1);
        assert!(spent.pictures * 4 < all, "{spent:?} and {all}");
        // From one side to the other.
        let Ok(across) = looks.across(n);
        assert_eq!(across, (0..copies).collect::<Vec<_>>());

        let Ok(mut looks) = Looks::new(&set, &options);
        looks.limits = Effort {
            looks: 20,
            pictures: 3,
        };
        let Ok(found) = looks.pairs();
        assert!(found.cut_short > n, "{}", found.cut_short);
        // The step that passes the limit may look at a whole leaf.
        let most = (n + copies) * (SEARCHES * (20 + 1 + LEAF) + LEAF);
        assert!(looks.spent.get().looks <= most, "{:?}", looks.spent.get());
    }

    #[test]
    fn what_is_alike_costs_no_more_than_in_proportion_and_meets_no_limit() {
        let mut rng = crate::stream(0, "alike", 0);
        let base: Vec<u8> = (0..64).map(|_| rng.random()).collect();
        let mut frames = |n: usize| {
            let frame = |_| Picture {
                width: 8,
                height: 8,
                channels: 1,
                pixels: base
                    .iter()
                    .map(|v| v.saturating_add(rng.random_range(0..5)))
                    .collect(),
            };
            set((0..n).map(frame).collect())
        };
        for n in [500, 4000] {
            let set = frames(n);
            let options = NearDuplicateOptions::default();
            let Ok(mut looks) = Looks::new(&set, &options);
            // Far fewer than there are.
            looks.limits = Effort {
                looks: 64,
                pictures: 4,
            };
            let Ok(found) = looks.pairs();
            assert_eq!((found.pairs.len(), found.cut_short), (n - 1, 0));
            let spent = looks.spent.replace(Effort::default());
            assert!(spent.looks <= 8 * n && spent.pictures <= 2 * n, "{spent:?}");
            let Ok(across) = looks.across(n / 2);
            assert_eq!(across.len(), n / 2);
            let spent = looks.spent.get();
            assert!(
                spent.looks <= 32 * n && spent.pictures <= 2 * n,
                "{spent:?}"
            );
        }
    }

    /// What docs/scaling.md says of memory.
    #[test]
    fn a_look_has_288_bytes() {
        assert_eq!(size_of::<Look>(), 288);
        assert_eq!((size_of::<Range>(), size_of::<Node>()), (96, 152));
    }

    #[test]
    fn a_range_reaches_what_is_in_it_and_an_empty_one_nothing() {
        let waves: Vec<Wave> = pictures(3)
            .iter()
            .map(|p| Laid::new(Cow::Borrowed(p)))
            .map(|laid| laid.sums.wave(laid.parts[WHOLE]))
            .collect();
        let ranges: Vec<Range> = waves.iter().map(Range::from).collect();
        let all = ranges.iter().fold(Range::EMPTY, |a, b| a.with(b));
        let far = reach(1.0, CELLS * CELLS, ROUNDED_WAVES);
        for range in &ranges {
            assert!(all.reaches(range, 0) && range.reaches(&all, 0));
            assert!(!range.reaches(&Range::EMPTY, far) && !Range::EMPTY.reaches(range, far));
        }
        assert!(!Range::EMPTY.reaches(&Range::EMPTY, far));
        let extremes = [0, 255].map(|v| Picture::filled(16, 16, 3, v));
        let [black, white] = extremes.map(|p| {
            let laid = Laid::new(Cow::Owned(p));
            Range::from(&laid.sums.wave(laid.parts[WHOLE]))
        });
        assert!(black.reaches(&white, far) && !black.reaches(&white, far / 2));
    }
}
