//! `resize`: traces of another size on the way.
//!
//! A picture that was smaller once has little at the highest frequencies and changes little when it is made smaller
//! and large again; one that was enlarged is more predictable at some places than at others, in a rhythm that the
//! ratio of the sizes gives (Gallagher 2005; Popescu and Farid 2005). Enlarging without interpolation repeats values.

use dualmd_data::{Filter, Picture};

use super::dct;
use super::plane::Plane;
use super::sink::{Sink, log, mean};
use crate::ControlsError;

/// Largest side of the part that the spectrum is taken of.
const SPECTRUM: usize = 64;
const BANDS: usize = 10;

/// Sizes to go through and back, as a fraction of the picture's.
const DETOURS: [(u32, u32, &str); 6] = [
    (1, 2, "1/2"),
    (3, 4, "3/4"),
    (7, 8, "7/8"),
    (8, 7, "8/7"),
    (3, 2, "3/2"),
    (2, 1, "2"),
];

/// Rhythms, in cycles per pixel, of which enlargement leaves traces.
const RHYTHMS: [(f64, f64); 10] = [
    (1.0, 2.0),
    (1.0, 3.0),
    (1.0, 4.0),
    (1.0, 5.0),
    (2.0, 5.0),
    (1.0, 6.0),
    (1.0, 7.0),
    (2.0, 7.0),
    (3.0, 7.0),
    (1.0, 8.0),
];

pub(crate) fn describe(
    picture: &Picture,
    planes: &[Plane],
    sink: &mut Sink,
) -> Result<(), ControlsError> {
    let Some(luma) = planes.first() else {
        return Ok(());
    };
    spectrum(luma, sink);
    detours(picture, sink)?;
    rhythms(luma, sink);
    repeated_blocks(luma, sink);
    Ok(())
}

/// Energy by distance from frequency 0, and from band to band.
fn spectrum(luma: &Plane, sink: &mut Sink) {
    let part = luma.middle(SPECTRUM);
    let c = dct::transform(&part, &dct::matrix(part.w), &dct::matrix(part.h));
    let (mut sums, mut counts) = ([0.0; BANDS], [0usize; BANDS]);
    for (i, c) in c.iter().enumerate().skip(1) {
        let (u, v) = (
            (i % part.w) as f64 / part.w as f64,
            (i / part.w) as f64 / part.h as f64,
        );
        // Corners, beyond the frequency 1, form the last band.
        let band = ((u.hypot(v) * (BANDS - 1) as f64) as usize).min(BANDS - 1);
        sums[band] += c * c;
        counts[band] += 1;
    }
    let energy: Vec<f64> = (0..BANDS)
        .map(|i| log(sums[i] / counts[i].max(1) as f64, 0.05))
        .collect();
    for (i, e) in energy.iter().enumerate() {
        sink.push(*e, || {
            format!("log energy in frequency band {} of {BANDS}", i + 1)
        });
    }
    for (i, pair) in energy.windows(2).enumerate() {
        sink.push(pair[1] - pair[0], || {
            format!("energy in frequency band {} against the one below", i + 2)
        });
    }
}

fn detours(picture: &Picture, sink: &mut Sink) -> Result<(), ControlsError> {
    let grey = picture.clone().with_channels(1);
    let mut before: Option<f64> = None;
    for (up, down, name) in DETOURS {
        let through = |n: u32| (n.saturating_mul(up) / down).max(1);
        let back = grey
            .resize(through(grey.width), through(grey.height), Filter::Bilinear)?
            .resize(grey.width, grey.height, Filter::Bilinear)?;
        let change = log(255.0 * grey.rmse(&back).unwrap_or(0.0), 0.1);
        sink.push(change, || {
            format!("log change by a detour to {name} of the size")
        });
        if let Some(before) = before {
            sink.push(change - before, || {
                format!("change by a detour to {name} of the size against the one before")
            });
        }
        before = Some(change);
    }
    Ok(())
}

/// Power of the rhythms in the mean second difference by column and by row, against its mean.
fn rhythms(luma: &Plane, sink: &mut Sink) {
    let columns: Vec<f64> = (1..luma.w.saturating_sub(1))
        .map(|x| {
            mean(
                (0..luma.h)
                    .map(|y| (luma.at(x - 1, y) - 2.0 * luma.at(x, y) + luma.at(x + 1, y)).abs()),
            )
        })
        .collect();
    let rows: Vec<f64> = (1..luma.h.saturating_sub(1))
        .map(|y| {
            mean(
                (0..luma.w)
                    .map(|x| (luma.at(x, y - 1) - 2.0 * luma.at(x, y) + luma.at(x, y + 1)).abs()),
            )
        })
        .collect();
    for (cycles, pixels) in RHYTHMS {
        let power = [&columns, &rows].map(|line| {
            let level = mean(line.iter().copied());
            let (mut re, mut im) = (0.0, 0.0);
            for (i, v) in line.iter().enumerate() {
                let angle = std::f64::consts::TAU * cycles / pixels * i as f64;
                re += (v - level) * angle.cos();
                im += (v - level) * angle.sin();
            }
            re.hypot(im) / (line.len().max(1) as f64 * (level + 0.1))
        });
        sink.push(power[0] + power[1], || {
            format!("rhythm of {cycles} in {pixels} pixels")
        });
    }
}

/// Shares of 2 x 2 blocks of one value, at either phase: doubling without interpolation makes all of one phase such.
fn repeated_blocks(luma: &Plane, sink: &mut Sink) {
    let share = |phase: usize| {
        let (w, h) = (
            luma.w.saturating_sub(phase) / 2,
            luma.h.saturating_sub(phase) / 2,
        );
        mean((0..h).flat_map(|y| {
            (0..w).map(move |x| {
                let (x, y) = (2 * x + phase, 2 * y + phase);
                let v = luma.at(x, y);
                let same = |x, y| (luma.at(x, y) - v).abs() < 1e-6;
                f64::from(same(x + 1, y) && same(x, y + 1) && same(x + 1, y + 1))
            })
        }))
    };
    let shares = [share(0), share(1)];
    sink.push(shares[0], || "share of 2 x 2 blocks of one value".into());
    sink.push(shares[0] - shares[1], || {
        "share of 2 x 2 blocks of one value at even against odd places".into()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(picture: &Picture, name: &str) -> f64 {
        let mut sink = Sink::named();
        describe(picture, &Plane::jfif(picture), &mut sink).unwrap();
        let at = sink.names.unwrap().iter().position(|n| n == name).unwrap();
        sink.values[at]
    }

    fn rough() -> Picture {
        Picture {
            width: 28,
            height: 28,
            channels: 1,
            pixels: (0..28 * 28u32).map(|i| (i * i * 31 % 251) as u8).collect(),
        }
    }

    #[test]
    fn a_detour_costs_less_the_second_time() {
        let name = "log change by a detour to 1/2 of the size";
        let once = rough()
            .resize(14, 14, Filter::Bilinear)
            .unwrap()
            .resize(28, 28, Filter::Bilinear)
            .unwrap();
        assert!(value(&once, name) < value(&rough(), name) - 1.0);
    }

    #[test]
    fn doubling_is_seen() {
        let name = "share of 2 x 2 blocks of one value at even against odd places";
        let p = rough();
        let doubled = Picture {
            pixels: (0..28 * 28)
                .map(|i| p.pixels[i / 28 / 2 * 28 + i % 28 / 2])
                .collect(),
            ..p.clone()
        };
        assert!(value(&doubled, name) > 0.9);
        assert!(value(&p, name).abs() < 0.1);
    }
}
