//! `pixels`: what is in the picture, how bright, how colourful, and which values occur.
//!
//! Finds a shift of brightness or contrast, another white balance, another mix of classes. A shift of few grey levels is
//! small against the spread between pictures, but it empties or fills the ends of the histogram; an amplified contrast
//! leaves levels between the ends that never occur.

use dualmd_data::Picture;

use super::plane::{Plane, quantile};
use super::sink::{Sink, mean};

/// Ranges of values, both ends included, whose shares are features: the ends of the histogram, finely.
const RANGES: [(f64, f64); 8] = [
    (0.0, 0.0),
    (1.0, 3.0),
    (4.0, 7.0),
    (8.0, 15.0),
    (240.0, 247.0),
    (248.0, 251.0),
    (252.0, 254.0),
    (255.0, 255.0),
];

pub(crate) fn describe(picture: &Picture, planes: &[Plane], sink: &mut Sink) {
    thumbnails(planes, sink);
    let channels = usize::from(picture.channels);
    for k in 0..channels {
        let name = match (channels, k) {
            (1, _) => "grey",
            (_, 0) => "red",
            (_, 1) => "green",
            _ => "blue",
        };
        histogram(&Plane::channel(picture, k), name, sink);
    }
    if channels == 3 {
        let chroma = mean(picture.pixels.chunks_exact(3).map(|p| {
            let (low, high) = (p[0].min(p[1]).min(p[2]), p[0].max(p[1]).max(p[2]));
            f64::from(high - low)
        }));
        sink.push(chroma, || "mean of largest minus smallest channel".into());
    }
}

fn thumbnails(planes: &[Plane], sink: &mut Sink) {
    for (k, plane) in planes.iter().enumerate() {
        let cells = if k == 0 { 4 } else { 2 };
        for (i, v) in plane.thumbnail(cells).into_iter().enumerate() {
            let what = ["brightness", "blueness", "redness"][k.min(2)];
            sink.push(v, || {
                format!(
                    "{what} of part {}, {} of {cells}",
                    i % cells + 1,
                    i / cells + 1
                )
            });
        }
    }
}

fn histogram(plane: &Plane, name: &str, sink: &mut Sink) {
    let average = mean(plane.v.iter().copied());
    let spread = mean(plane.v.iter().map(|v| (v - average).powi(2))).sqrt();
    sink.push(average, || format!("mean of {name}"));
    sink.push(spread, || format!("spread of {name}"));
    let mut sorted = plane.v.clone();
    sorted.sort_by(f64::total_cmp);
    for percent in [0, 1, 5, 25, 50, 75, 95, 99, 100] {
        sink.push(quantile(&sorted, f64::from(percent) / 100.0), || {
            format!("{percent} % quantile of {name}")
        });
    }
    let n = plane.v.len().max(1) as f64;
    for (low, high) in RANGES {
        let share = plane.v.iter().filter(|v| (low..=high).contains(*v)).count() as f64 / n;
        sink.push(share, || format!("share of {name} in {low}..={high}"));
    }
    // Levels strictly inside the darkest and lightest that never occur: few pixels leave many, so per pixel and level.
    let mut used = [false; 256];
    plane.v.iter().for_each(|v| used[*v as usize & 255] = true);
    let levels = used.iter().filter(|u| **u).count() as f64;
    let range = quantile(&sorted, 1.0) - quantile(&sorted, 0.0) + 1.0;
    sink.push(levels.ln(), || format!("log number of levels of {name}"));
    sink.push(levels / range, || {
        format!("share of levels in use between darkest and lightest {name}")
    });
}
