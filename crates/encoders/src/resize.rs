//! Pillow's bicubic and bilinear resize of 8-bit pictures, bit for bit.
//!
//! Why not a crate that is there already: Pillow rounds to 8 bits between its two passes, which at hard edges cuts off
//! what overshoots the range, so that the order of the passes shows. fast_image_resize (dualmd-data's) always takes the
//! vertical one first, image keeps fractions in between; both can differ from Pillow by several grey levels.
//!
//! Pillow up to 12 takes the horizontal pass first. Pillow 13 turns them round for pictures that lose many rows
//! (python-pillow/Pillow#9549); its rule, in [`to_square`], was found by comparing 1,470 resizes of noise with both
//! orders, and fits them all. Pictures it concerns come out of an older Pillow up to a few levels different.

/// Bits behind the point of a weight, as in Pillow's 8-bit resize: 32 less 8 of the pixel and 2 to spare.
const BITS: u32 = 22;

/// What a value of the new picture is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter {
    /// A triangle.
    Bilinear,
    /// Keys' cubic convolution (1981) with a = -0.5.
    Bicubic,
}

impl Filter {
    /// Half width, in pixels of the larger picture.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn at(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Self::Bilinear => (1.0 - x).max(0.0),
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Self::Bicubic => 0.0,
        }
    }
}

/// For each of `to` places: the first of `from` values it is made of, and their weights.
fn weights(from: usize, to: usize, filter: Filter) -> Vec<(usize, Vec<i32>)> {
    let scale = from as f64 / to as f64;
    // Shrinking widens the filter (antialiasing), stretching leaves it.
    let wide = scale.max(1.0);
    (0..to)
        .map(|place| {
            let centre = (place as f64 + 0.5) * scale;
            // Casts cut towards zero, so that a negative start becomes 0.
            let reach = filter.support() * wide;
            let start = (centre - reach + 0.5) as usize;
            let end = ((centre + reach + 0.5) as usize).min(from);
            let values: Vec<f64> = (start..end)
                .map(|i| filter.at((i as f64 - centre + 0.5) / wide))
                .collect();
            let sum: f64 = values.iter().sum();
            let whole = |w: &f64| (w / sum * f64::from(1 << BITS)).round() as i32;
            (start, values.iter().map(whole).collect())
        })
        .collect()
}

/// `lines` lines of `from` points of `point` values each to lines of `to` points.
fn pass(pixels: &[u8], [from, to]: [usize; 2], point: usize, filter: Filter) -> Vec<u8> {
    if from == to {
        return pixels.to_vec();
    }
    let table = weights(from, to, filter);
    let mut out = Vec::with_capacity(pixels.len() / from * to);
    let mut sums = vec![0i32; point];
    for line in pixels.chunks_exact(from * point) {
        for (start, weights) in &table {
            sums.fill(1 << (BITS - 1));
            for (values, weight) in line[start * point..].chunks_exact(point).zip(weights) {
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum += i32::from(*value) * weight;
                }
            }
            out.extend(sums.iter().map(|sum| (sum >> BITS).clamp(0, 255) as u8));
        }
    }
    out
}

/// `pixels` [height, width, 3] stretched to [side, side, 3]. The slice must be that long, and no number 0.
pub(crate) fn to_square(
    pixels: &[u8],
    [height, width]: [usize; 2],
    side: usize,
    filter: Filter,
) -> Vec<u8> {
    // In a vertical pass, rows are the points of one line.
    let (rows, columns) = (height.saturating_sub(side), width as i64 - side as i64);
    if rows > 0 && rows as i64 > 2 * columns {
        let low = pass(pixels, [height, side], width * 3, filter);
        pass(&low, [width, side], 3, filter)
    } else {
        let narrow = pass(pixels, [width, side], 3, filter);
        pass(&narrow, [height, side], side * 3, filter)
    }
}
