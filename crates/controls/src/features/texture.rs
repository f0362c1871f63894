//! `texture`: how much changes from pixel to pixel, at which scale, and how often nothing does.
//!
//! Finds blur, sharpening, noise, denoising and what compression leaves in flat areas. All energies are logarithms, so that
//! a filter, which multiplies them, shifts every picture alike; ratios between neighbouring operators and scales are features of
//! their own, because pictures differ far more in energy than in them.

use super::plane::{Plane, quantile};
use super::sink::{Sink, log, mean};

/// Floor of mean absolute differences, in grey levels.
const FLOOR: f64 = 0.05;

pub(crate) fn describe(planes: &[Plane], sink: &mut Sink) {
    for (k, plane) in planes.iter().enumerate() {
        let what = ["brightness", "blue difference", "red difference"][k.min(2)];
        let scales: &[usize] = if k == 0 { &[1, 2, 4] } else { &[1, 2] };
        energies(plane, scales, what, sink);
        repeats(plane, what, sink);
        if k == 0 {
            flat_regions(plane, sink);
        }
    }
}

fn energies(plane: &Plane, scales: &[usize], what: &str, sink: &mut Sink) {
    let mut before: Option<[f64; 4]> = None;
    for &scale in scales {
        let p = plane.shrunk(scale);
        let e = [
            log(mean_difference(&p, 1, 0), FLOOR),
            log(mean_difference(&p, 0, 1), FLOOR),
            log(mean_difference(&p, 1, 1), FLOOR),
            log(laplacian(&p), FLOOR),
        ];
        for (value, kind) in e
            .iter()
            .zip(["horizontal", "vertical", "diagonal", "Laplacian"])
        {
            sink.push(*value, || {
                format!("log {kind} change of {what}, scale {scale}")
            });
        }
        sink.push(e[3] - (e[0] + e[1]) / 2.0, || {
            format!("Laplacian against plain change of {what}, scale {scale}")
        });
        if let Some(b) = before {
            sink.push(b[0] + b[1] - e[0] - e[1], || {
                format!("change of {what} at the scale before {scale} against it")
            });
            sink.push(b[3] - e[3], || {
                format!("Laplacian of {what} at the scale before {scale} against it")
            });
        }
        before = Some(e);
    }
    sink.push(log(noise(plane), FLOOR), || format!("log noise of {what}"));
}

/// Mean |v(x + dx, y + dy) - v(x, y)|.
fn mean_difference(p: &Plane, dx: usize, dy: usize) -> f64 {
    let (w, h) = (p.w.saturating_sub(dx), p.h.saturating_sub(dy));
    mean((0..h).flat_map(|y| (0..w).map(move |x| (p.at(x + dx, y + dy) - p.at(x, y)).abs())))
}

fn inner(p: &Plane) -> impl Iterator<Item = (usize, usize)> + use<> {
    let (w, h) = (p.w.saturating_sub(1), p.h.saturating_sub(1));
    (1..h).flat_map(move |y| (1..w).map(move |x| (x, y)))
}

fn laplacian(p: &Plane) -> f64 {
    mean(inner(p).map(|(x, y)| {
        (4.0 * p.at(x, y) - p.at(x - 1, y) - p.at(x + 1, y) - p.at(x, y - 1) - p.at(x, y + 1)).abs()
    }))
}

/// The operator of Immerkaer (1996), which is blind to planes and to single straight edges along the axes.
fn noise(p: &Plane) -> f64 {
    mean(inner(p).map(|(x, y)| {
        let corners =
            p.at(x - 1, y - 1) + p.at(x + 1, y - 1) + p.at(x - 1, y + 1) + p.at(x + 1, y + 1);
        let sides = p.at(x, y - 1) + p.at(x, y + 1) + p.at(x - 1, y) + p.at(x + 1, y);
        (corners - 2.0 * sides + 4.0 * p.at(x, y)).abs()
    })) / 6.0
}

/// Shares of neighbours that are equal, nearly equal, and a little different.
fn repeats(p: &Plane, what: &str, sink: &mut Sink) {
    for (dx, dy, way) in [(1, 0, "beside"), (0, 1, "above")] {
        let (w, h) = (p.w.saturating_sub(dx), p.h.saturating_sub(dy));
        let mut counts = [0usize; 3];
        for y in 0..h {
            for x in 0..w {
                let d = (p.at(x + dx, y + dy) - p.at(x, y)).abs();
                // Luma is a sum of three integers, equal only up to rounding.
                let bin = match d {
                    d if d < 1e-6 => 0,
                    d if d < 2.5 => 1,
                    d if d < 6.5 => 2,
                    _ => continue,
                };
                counts[bin] += 1;
            }
        }
        for (count, size) in counts
            .iter()
            .zip(["equal", "within 2 levels", "within 3 to 6 levels"])
        {
            sink.push(*count as f64 / (w * h).max(1) as f64, || {
                format!("share of {what} {size} of the one {way}")
            });
        }
    }
}

/// Variances of 3 x 3 neighbourhoods: the low quantiles are noise, the high ones are edges.
fn flat_regions(p: &Plane, sink: &mut Sink) {
    let mut variances: Vec<f64> = inner(p)
        .map(|(x, y)| {
            let (mut sum, mut squares) = (0.0, 0.0);
            for row in y - 1..=y + 1 {
                for v in &p.v[row * p.w + x - 1..row * p.w + x + 2] {
                    sum += v;
                    squares += v * v;
                }
            }
            (squares / 9.0 - (sum / 9.0).powi(2)).max(0.0)
        })
        .collect();
    variances.sort_by(f64::total_cmp);
    for percent in [5, 10, 25, 50, 75, 90] {
        sink.push(
            log(quantile(&variances, f64::from(percent) / 100.0), 0.05),
            || format!("log {percent} % quantile of local variance"),
        );
    }
    let flat = variances.iter().filter(|v| **v < 1e-6).count();
    sink.push(flat as f64 / variances.len().max(1) as f64, || {
        "share of 3 x 3 neighbourhoods of one value".into()
    });
}
