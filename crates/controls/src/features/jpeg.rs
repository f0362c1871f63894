//! `jpeg`: traces of a JPEG round trip.
//!
//! JPEG rounds the cosine coefficients of 8 x 8 blocks to multiples of a step that grows with frequency. What remains in
//! the decoded picture: small coefficients are zero, the others stand on a comb, and the blocks do not quite meet. Coding
//! at quality q once more changes such a picture less than one that never was coded at q; by Parseval's theorem that
//! distance is the distance of the coefficients to the comb, so no encoder is needed. Steps are those of Annex K of ITU-T T.81,
//! scaled by quality as in libjpeg. Blocks are cut at the picture's corner; the block borders are sought at all 8 phases, for
//! pictures that were cropped afterwards. Resizing afterwards removes most of it: then the file's format is the better witness.

use super::dct;
use super::plane::Plane;
use super::sink::{Sink, log, mean};

/// Qualities that are tried: the usual defaults and their neighbours.
const QUALITIES: [u32; 9] = [50, 60, 70, 75, 80, 85, 90, 95, 98];
const COLOUR_QUALITIES: [u32; 5] = [60, 75, 85, 90, 95];

/// Luminance steps at quality 50 (ITU-T T.81, table K.1).
const LUMA_STEPS: [u32; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113,
    92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
];

/// Chrominance steps at quality 50 (ITU-T T.81, table K.2).
const COLOUR_STEPS: [u32; 64] = [
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
];

/// libjpeg's scaling of the tables.
fn steps(table: &[u32; 64], quality: u32) -> [f64; 64] {
    let scale = if quality < 50 {
        5000 / quality.max(1)
    } else {
        200 - 2 * quality.min(100)
    };
    table.map(|step| f64::from(((step * scale + 50) / 100).clamp(1, 255)))
}

pub(crate) fn describe(planes: &[Plane], sink: &mut Sink) {
    let Some(luma) = planes.first() else { return };
    let blocks = blocks(luma);
    borders(luma, sink);
    bands(&blocks, sink);
    for quality in QUALITIES {
        combs(
            &blocks,
            &steps(&LUMA_STEPS, quality),
            &format!("of brightness, quality {quality}"),
            sink,
        );
    }
    let [_, blue, red] = planes else { return };
    // Colour is stored at full or at half resolution.
    for (scale, at) in [(1, "full"), (2, "half")] {
        let mut both = self::blocks(&blue.shrunk(scale));
        both.extend(self::blocks(&red.shrunk(scale)));
        for quality in COLOUR_QUALITIES {
            combs(
                &both,
                &steps(&COLOUR_STEPS, quality),
                &format!("of colour at {at} resolution, quality {quality}"),
                sink,
            );
        }
    }
    for (plane, what) in [(blue, "blue"), (red, "red")] {
        sink.push(log(half_resolution_residual(plane), 0.05), || {
            format!("log change of {what} difference when halved and doubled")
        });
    }
}

/// Coefficients of the whole 8 x 8 blocks, after the level shift of 128, which moves only the first.
fn blocks(plane: &Plane) -> Vec<[f64; 64]> {
    let cosines = dct::matrix(8);
    let mut out = Vec::new();
    for top in (0..plane.h / 8).map(|i| i * 8) {
        for left in (0..plane.w / 8).map(|i| i * 8) {
            let mut v = Vec::with_capacity(64);
            for y in top..top + 8 {
                let start = y * plane.w + left;
                v.extend(plane.v[start..start + 8].iter().map(|v| v - 128.0));
            }
            let c = dct::transform(&Plane { w: 8, h: 8, v }, &cosines, &cosines);
            let mut block = [0.0; 64];
            block.copy_from_slice(&c);
            out.push(block);
        }
    }
    out
}

/// Shares of coefficients that round to zero and mean size, by band u + v, over blocks that are not flat: a flat block
/// is all zeros in every format.
fn bands(blocks: &[[f64; 64]], sink: &mut Sink) {
    let busy = |b: &&[f64; 64]| b[1..].iter().any(|c| c.abs() > 1.0);
    for (band, upto) in [
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 4),
        (5, 6),
        (7, 8),
        (9, 11),
        (12, 14),
    ] {
        let places: Vec<usize> = (0..64)
            .filter(|i| (band..=upto).contains(&(i % 8 + i / 8)))
            .collect();
        let values = || {
            blocks
                .iter()
                .filter(busy)
                .flat_map(|b| places.iter().map(|&i| b[i].abs()))
        };
        sink.push(mean(values().map(|c| f64::from(c < 0.5))), || {
            format!("share of zero cosine coefficients, band {band} to {upto}")
        });
        sink.push(mean(values().map(|c| f64::from(c < 1.5))), || {
            format!("share of small cosine coefficients, band {band} to {upto}")
        });
        sink.push(log(mean(values()), 0.1), || {
            format!("log mean cosine coefficient, band {band} to {upto}")
        });
    }
}

/// How far the coefficients are from the comb of a quality, against how far they would be if they did not know of it.
fn combs(blocks: &[[f64; 64]], steps: &[f64; 64], what: &str, sink: &mut Sink) {
    let (mut all, mut expected) = (0.0, 0.0);
    let (mut near, mut large) = (0.0, 0.0);
    for block in blocks {
        for (c, step) in block.iter().zip(steps) {
            let off = (c - step * (c / step).round()).powi(2);
            all += off;
            expected += (c * c).min(step * step / 12.0);
            // The tooth at zero says nothing: every smooth picture has it. Steps of 1 and 2 are below the rounding noise.
            if c.abs() > step / 2.0 && *step > 2.0 {
                near += off;
                large += step * step / 12.0;
            }
        }
    }
    let n = (blocks.len() * 64).max(1) as f64;
    sink.push(log(all / n, 0.1), || {
        format!("log change by coding again {what}")
    });
    sink.push(log(all / n, 0.1) - log(expected / n, 0.1), || {
        format!("change by coding again against expectation {what}")
    });
    sink.push(log(near / n, 0.02) - log(large / n, 0.02), || {
        format!("distance to the comb {what}")
    });
}

/// Jump between columns (rows) i and i + 1 less the mean of the jumps beside it, by i modulo 8, against the mean jump.
fn borders(plane: &Plane, sink: &mut Sink) {
    let turned = Plane {
        w: plane.h,
        h: plane.w,
        v: (0..plane.w)
            .flat_map(|x| (0..plane.h).map(move |y| plane.at(x, y)))
            .collect(),
    };
    for (p, what) in [(plane, "columns"), (&turned, "rows")] {
        let jump = |x: usize, y: usize| (p.at(x + 1, y) - p.at(x, y)).abs();
        let width = p.w.saturating_sub(1);
        let overall = mean((0..p.h).flat_map(|y| (0..width).map(move |x| jump(x, y))));
        for phase in 0..8 {
            let excess = mean((0..p.h).flat_map(|y| {
                (1..width.saturating_sub(1))
                    .filter(move |x| x % 8 == phase)
                    .map(move |x| jump(x, y) - (jump(x - 1, y) + jump(x + 1, y)) / 2.0)
            }));
            sink.push(excess / (overall + 0.5), || {
                format!("jump between {what} {phase} and {} of every 8", phase + 1)
            });
        }
    }
}

/// Mean |difference| to the mean of the 2 x 2 block, which colour stored at half resolution lacks.
fn half_resolution_residual(plane: &Plane) -> f64 {
    let small = plane.shrunk(2);
    mean((0..small.h * 2).flat_map(|y| {
        let small = &small;
        (0..small.w * 2).map(move |x| (plane.at(x, y) - small.at(x / 2, y / 2)).abs())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_scale_as_in_libjpeg() {
        assert_eq!(steps(&LUMA_STEPS, 50).map(|s| s as u32), LUMA_STEPS);
        // (16 * 20 + 50) / 100 = 3 and (99 * 20 + 50) / 100 = 20 at quality 90.
        let q = steps(&LUMA_STEPS, 90);
        assert_eq!((q[0], q[63]), (3.0, 20.0));
        assert!(steps(&COLOUR_STEPS, 100).iter().all(|s| *s == 1.0));
    }

    #[test]
    fn a_picture_on_the_comb_does_not_change_when_coded_again() {
        let table = steps(&LUMA_STEPS, 75);
        let on: [f64; 64] = std::array::from_fn(|i| table[i] * f64::from(i as u32 % 3));
        let off: [f64; 64] = std::array::from_fn(|i| table[i] * (f64::from(i as u32 % 3) + 0.4));
        let read = |block| {
            let mut sink = Sink::default();
            combs(&[block], &table, "", &mut sink);
            sink.values
        };
        assert!(read(on)[1] < -3.0 && read(on)[2] < -3.0, "{:?}", read(on));
        assert!(read(off)[1] > 0.0 && read(off)[2] > 0.0, "{:?}", read(off));
    }

    #[test]
    fn block_borders_are_seen_at_their_phase() {
        // Columns 0-7 dark, 8-15 light, and so on: all change lies between columns 7 and 8 of every 8.
        let v = (0..24 * 24)
            .map(|i| f64::from(i % 24 / 8 % 2 * 100))
            .collect();
        let mut sink = Sink::default();
        borders(&Plane { w: 24, h: 24, v }, &mut sink);
        let largest = (0..8).max_by(|&a, &b| sink.values[a].total_cmp(&sink.values[b]));
        assert_eq!(largest, Some(7));
        assert!(sink.values[8..].iter().all(|v| *v == 0.0));
    }
}
