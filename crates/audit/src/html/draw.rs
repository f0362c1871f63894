//! Hand-written SVG: scales, paths and the small charts that several sections share.
//!
//! Strips use percentages and no `viewBox`, so their dots stay round at any width; plots use a `viewBox` and scale.

use std::fmt::Write as _;

use maud::{Markup, html};

use crate::format::{interval, rate};
use crate::report::{Finding, Histogram, Measurement};

/// How an attack's line and marker look; never told apart by colour alone.
#[derive(Clone, Copy)]
pub struct Series {
    /// Class with the colour (see style.css).
    pub class: &'static str,
    /// Dash pattern.
    pub dash: &'static str,
    /// Marker shape, an index into [`marker`].
    shape: usize,
}

/// Style of the `i`-th attack or model. After six the colours come round again with other markers and other dashes.
pub fn series(i: usize) -> Series {
    const CLASSES: [&str; 6] = ["s0", "s1", "s2", "s3", "s4", "s5"];
    const DASHES: [&str; 5] = ["none", "7 3", "2 3", "9 3 2 3", "4 2"];
    Series {
        class: CLASSES[i % 6],
        dash: DASHES[i % 5],
        shape: (i + i / 6) % 6,
    }
}

/// A marker of the series centred on (x, y).
pub fn marker(s: Series, x: f64, y: f64) -> Markup {
    let r = 4.0;
    let d = match s.shape {
        0 => format!(
            "M{:.1} {y:.1}a{r} {r} 0 1 0 {:.1} 0a{r} {r} 0 1 0 {:.1} 0z",
            x - r,
            2.0 * r,
            -2.0 * r
        ),
        1 => format!("M{:.1} {:.1}h7v7h-7z", x - 3.5, y - 3.5),
        2 => format!("M{x:.1} {:.1}l4.6 8h-9.2z", y - 5.0),
        3 => format!("M{x:.1} {:.1}l4.8 4.8l-4.8 4.8l-4.8-4.8z", y - 4.8),
        4 => format!("M{x:.1} {:.1}l4.6-8h-9.2z", y + 5.0),
        _ => format!("M{:.1} {:.1}h3v-3h3v3h3v3h-3v3h-3v-3h-3z", x - 4.5, y - 1.5),
    };
    html! { path class={ "mark " (s.class) } d=(d) {} }
}

/// A coordinate of a plot.
pub fn px(value: f64) -> String {
    format!("{value:.1}")
}

/// Where an AUC lies on a strip, in per cent of its width, with room for a dot at both ends.
fn along(auc: f64) -> String {
    format!("{:.2}%", 3.0 + 94.0 * auc.clamp(0.0, 1.0))
}

/// AUC from 0 to 1 with the chance line in the middle: interval as a whisker, estimate as a dot.
pub fn whisker(m: &Measurement, label: &str) -> Markup {
    let dot = match m.finding {
        Finding::Leak => "dot leak",
        Finding::Inverted => "dot inverted",
        _ => "dot",
    };
    html! {
        svg.strip width="100%" height="16" role="img" aria-label=(format!("{label}: AUC {}, 95 % interval {}", rate(m.auc), interval(m.auc_ci))) {
            line.axis x1="3%" x2="97%" y1="8" y2="8" {}
            line.chance x1="50%" x2="50%" y1="1" y2="15" {}
            line.whisk x1=(along(m.auc_ci[0])) x2=(along(m.auc_ci[1])) y1="8" y2="8" {}
            circle class=(dot) cx=(along(m.auc)) cy="8" r="4" {}
        }
    }
}

/// Attacks on one model on one strip; the strongest with its interval, filled where it leaks.
pub fn overview(all: &[(&str, &Measurement)], auc: f64, ci: [f64; 2], leaks: bool) -> Markup {
    html! {
        svg.strip.overview width="100%" height="30" role="img" aria-label=(format!("AUC of {} attacks between 0 and 1", all.len())) {
            line.axis x1="3%" x2="97%" y1="15" y2="15" {}
            @for tick in [0.0, 1.0] { line.axis x1=(along(tick)) x2=(along(tick)) y1="11" y2="19" {} }
            line.chance x1="50%" x2="50%" y1="0" y2="30" {}
            line.whisk x1=(along(ci[0])) x2=(along(ci[1])) y1="15" y2="15" {}
            @for (title, m) in all {
                circle class="dot other" cx=(along(m.auc)) cy="15" r="4.5" { title { (title) ": AUC " (rate(m.auc)) " (" (interval(m.auc_ci)) ")" } }
            }
            circle class=(if leaks { "dot leak" } else { "dot best" }) cx=(along(auc)) cy="15" r="5.5" {}
        }
    }
}

/// A logarithmic or linear map from data to the pixels of a plot.
#[derive(Clone, Copy)]
pub struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    log: bool,
}

impl Scale {
    /// Logarithmic; values at or below `low` land on its end of the axis.
    pub fn log(low: f64, high: f64, from: f64, to: f64) -> Self {
        Self {
            low: low.ln(),
            high: high.ln(),
            from,
            to,
            log: true,
        }
    }

    /// Linear; an empty range is widened so that it can be drawn.
    pub fn linear(low: f64, high: f64, from: f64, to: f64) -> Self {
        Self {
            low,
            high: if high > low { high } else { low + 1.0 },
            from,
            to,
            log: false,
        }
    }

    /// Pixel of a value.
    pub fn at(self, value: f64) -> f64 {
        let v = if self.log {
            value.max(1e-300).ln()
        } else {
            value
        };
        let share = ((v - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        self.from + share * (self.to - self.from)
    }
}

/// A path through pixel points. Points that change nothing visible (less than 0.4 px away, or on the straight line
/// between their neighbours along an axis) are left out: a report is mailed, and a curve has hundreds of them.
pub fn path(points: &[(f64, f64)]) -> String {
    let mut kept: Vec<(f64, f64)> = Vec::new();
    for (i, &p) in points.iter().enumerate() {
        let last = i + 1 == points.len();
        if let Some(&q) = kept.last()
            && !last
            && (p.0 - q.0).abs() < 0.4
            && (p.1 - q.1).abs() < 0.4
        {
            continue;
        }
        if let [.., a, b] = kept[..] {
            let straight = |f: fn(&(f64, f64)) -> f64| {
                (f(&a) - f(&b)).abs() < 0.05 && (f(&b) - f(&p)).abs() < 0.05
            };
            if straight(|q| q.0) || straight(|q| q.1) {
                kept.pop();
            }
        }
        kept.push(p);
    }
    let mut d = String::new();
    for (i, (x, y)) in kept.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(d, "{}{x:.1} {y:.1}", if i == 0 { "M" } else { "L" });
    }
    d
}

/// Members as a filled shape, non-members as an outline, on a common score axis.
pub fn histogram(h: &Histogram, label: &str) -> Markup {
    let (width, height) = (160.0, 64.0);
    let top = h
        .members
        .iter()
        .chain(&h.nonmembers)
        .copied()
        .fold(0.0, f64::max)
        .max(1e-9);
    let outline = |bins: &[f64]| {
        let step = width / bins.len() as f64;
        let mut points = vec![(0.0, height)];
        for (i, share) in bins.iter().enumerate() {
            let y = height - share / top * (height - 4.0);
            points.extend([(i as f64 * step, y), ((i + 1) as f64 * step, y)]);
        }
        points.push((width, height));
        path(&points)
    };
    html! {
        svg.hist viewBox="0 0 160 66" preserveAspectRatio="none" role="img" aria-label=(label) {
            path.members d=(outline(&h.members)) {}
            path.nonmembers d=(outline(&h.nonmembers)) {}
            line.axis x1="0" x2="160" y1="64.5" y2="64.5" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_keep_corners_and_drop_what_cannot_be_seen() {
        let points = [
            (0.0, 10.0),
            (0.0, 9.0),
            (0.0, 5.0),
            (0.1, 5.1),
            (3.0, 5.0),
            (9.0, 5.0),
        ];
        assert_eq!(path(&points), "M0.0 10.0L0.0 5.0L9.0 5.0");
    }

    #[test]
    fn no_two_of_thirty_six_series_have_both_colour_and_marker() {
        let seen: std::collections::BTreeSet<(&str, usize)> = (0..36)
            .map(|i| (series(i).class, series(i).shape))
            .collect();
        assert_eq!(seen.len(), 36);
        assert_ne!(series(36 - 6).dash, series(24).dash);
    }

    #[test]
    fn scales_clamp() {
        let s = Scale::log(0.001, 1.0, 0.0, 300.0);
        assert!((s.at(0.01) - 100.0).abs() < 1e-9);
        assert_eq!(s.at(0.0), 0.0);
        assert_eq!(Scale::linear(2.0, 2.0, 0.0, 10.0).at(2.0), 0.0);
    }
}
