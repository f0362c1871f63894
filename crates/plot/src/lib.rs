//! Figures as static SVG files: scatter plots with error bars, curves, and pictures in rows. No script, colours for light and dark, shapes
//! besides colours.

#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

pub mod palette;

use base64::Engine as _;
use palette::{CHANCE, Ink, MEMBERS, OTHERS, SERIES};
use std::fmt::Write as _;

/// A point; each coordinate is (mean, interval).
#[derive(Debug)]
pub struct Point {
    /// Across.
    pub x: (f64, Option<[f64; 2]>),
    /// Up.
    pub y: (f64, Option<[f64; 2]>),
    /// Index into the legend: colour and shape.
    pub style: usize,
    /// A word beside the point.
    pub label: Option<String>,
    /// What the point is, for those who point at it or cannot see it.
    pub tip: String,
}

/// One coordinate system.
#[derive(Debug, Default)]
pub struct Panel {
    /// Heading.
    pub title: String,
    /// What is along the horizontal axis.
    pub x_label: String,
    /// What is along the vertical axis.
    pub y_label: String,
    /// Both coordinates are decimal logarithms; ticks are powers of ten.
    pub decades: bool,
    /// Powers of two are equally far apart on the horizontal axis, and are its ticks.
    pub log2: bool,
    /// What is along the horizontal axis are shares or AUCs, and they are as far apart as the logarithms of their odds: 0.99 and 0.999 are
    /// told apart. What is nearer to 0 or 1 than 1e-5 is drawn at 1e-5 from it.
    pub odds: bool,
    /// Points.
    pub points: Vec<Point>,
    /// Lines through means: (style, points).
    pub lines: Vec<(usize, Vec<(f64, f64)>)>,
    /// A dashed line across, and what it is.
    pub level: Option<(f64, &'static str)>,
    /// Guessing, where it is not a level: a dashed grey line through these points, with its name.
    pub chance: Vec<(f64, f64)>,
    /// The first two styles are members and others, with the colours that these have everywhere.
    pub sides: bool,
}

const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 330.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 50.0;
/// Height of a line of the legend.
const ENTRY: f64 = 20.0;

/// Marks on a curve that has no points of its own.
const MARKS: usize = 4;
/// Styles before marks are hollow: the palette's series, the first of which is the ink of the text.
const SOLID: usize = SERIES.len();

/// Fonts, lines, and the colours by name; `sides`: the first two are those of members and others.
fn style(sides: bool) -> String {
    // The undefended model, or whatever else comes first, is drawn in the colour of the text.
    let [a, b, c, d, ink, e] = SERIES;
    let mut series = [ink, a, b, c, d, e];
    if sides {
        [series[0], series[1]] = [MEMBERS, OTHERS];
    }
    let colours = |of: fn(&Ink) -> &'static str| -> String {
        let mut out = format!("--chance:{}", of(&CHANCE));
        for (i, ink) in series.iter().enumerate() {
            let _ = write!(out, ";--c{i}:{}", of(ink));
        }
        out
    };
    format!(
        "svg{{--bg:#fff;--ink:#1d1f22;--soft:#5b6069;--rule:#d9d9d9;{}}}\
         @media(prefers-color-scheme:dark){{svg{{--bg:#141619;--ink:#e9e6df;--soft:#a5a9b1;--rule:#343940;{}}}}}\
         text{{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'Liberation Sans',sans-serif;fill:var(--ink)}}\
         .s{{fill:var(--soft);font-size:11px}}.h{{font-weight:600;font-size:13px}}.r{{stroke:var(--rule)}}.d{{fill:none;stroke:var(--chance);stroke-width:1.2;stroke-dasharray:4 3}}\
         .halo{{paint-order:stroke;stroke:var(--bg);stroke-width:3px}}.l{{fill:none;stroke-width:1.5}}.e{{stroke-width:1.2;opacity:.7}}",
        colours(|ink| ink.light),
        colours(|ink| ink.dark)
    )
}

/// Panels side by side with a common legend below; `about` says in a sentence what is seen.
pub fn draw(panels: &[Panel], legend: &[String], about: &str) -> String {
    let columns = panels.len().max(1);
    let width = WIDTH * columns as f64;
    let per_line = (width / 200.0).floor().max(1.0) as usize;
    let height = HEIGHT + ENTRY * legend.len().div_ceil(per_line) as f64 + 12.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">\
         <title>{}</title><style>{}</style><rect width=\"100%\" height=\"100%\" style=\"fill:var(--bg)\"/>\n",
        escape(about),
        style(panels.iter().any(|panel| panel.sides))
    );
    for (i, panel) in panels.iter().enumerate() {
        // Writing to a String cannot fail, here and below.
        let _ = write!(out, "<g transform=\"translate({} 0)\">", WIDTH * i as f64);
        draw_panel(&mut out, panel);
        out.push_str("</g>\n");
    }
    for (i, label) in legend.iter().enumerate() {
        let x = 20.0 + 200.0 * (i % per_line) as f64;
        let y = HEIGHT + 8.0 + ENTRY * (i / per_line) as f64;
        let _ = writeln!(
            out,
            "{}<text x=\"{}\" y=\"{}\">{}</text>",
            marker(i, x, y),
            x + 12.0,
            y + 4.0,
            escape(label)
        );
    }
    out.push_str("</svg>\n");
    out
}

fn draw_panel(out: &mut String, panel: &Panel) {
    let ends = |c: &(f64, Option<[f64; 2]>)| {
        let [low, high] = c.1.unwrap_or([c.0, c.0]);
        [c.0, low, high]
    };
    let lines = || {
        let own = panel.lines.iter().flat_map(|l| &l.1);
        own.chain(&panel.chance)
    };
    // A log axis cannot show what is not positive, and no error bar lies along it.
    let xs = panel.points.iter().flat_map(|p| match panel.log2 {
        true => [p.x.0; 3],
        false => ends(&p.x),
    });
    let xs = xs.chain(lines().map(|p| p.0));
    let x_range = range(
        xs.map(|v| if panel.odds { log_odds(v) } else { v }),
        panel.log2,
    );
    let ys = panel.points.iter().flat_map(|p| ends(&p.y));
    let y_range = range(
        ys.chain(lines().map(|p| p.1))
            .chain(panel.level.map(|l| l.0)),
        false,
    );
    let along = |v: f64| match (panel.log2, panel.odds) {
        (true, _) => v.max(1e-9).log2(),
        (false, true) => log_odds(v),
        (false, false) => v,
    };
    let x = |v: f64| {
        let share = (along(v) - x_range[0]) / (x_range[1] - x_range[0]);
        LEFT + share * (WIDTH - LEFT - RIGHT)
    };
    let y = |v: f64| {
        let share = (v - y_range[0]) / (y_range[1] - y_range[0]);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    };
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    let _ = write!(
        out,
        "<text class=\"h\" x=\"{LEFT}\" y=\"20\">{}</text>",
        escape(&panel.title)
    );
    let ticks = |range| match panel.decades {
        true => powers(range),
        false => ticks(range),
    };
    let number = |tick: f64| match panel.decades {
        true => number(10f64.powf(tick)),
        false => number(tick),
    };
    for tick in ticks(y_range) {
        let at = y(tick);
        let _ = write!(
            out,
            "<line class=\"r\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"s\" text-anchor=\"end\" x=\"{}\" y=\"{:.1}\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            number(tick)
        );
    }
    let x_ticks: Vec<f64> = match panel.log2 {
        true => {
            let mut all: Vec<f64> = lines().map(|p| p.0).collect();
            all.sort_by(f64::total_cmp);
            all.dedup();
            all
        }
        false if panel.odds => {
            let [low, high] = x_range;
            let all = SHARES.into_iter();
            all.filter(|share| (low..=high).contains(&log_odds(*share)))
                .collect()
        }
        false => ticks(x_range),
    };
    for tick in x_ticks {
        let at = x(tick);
        let _ = write!(
            out,
            "<line class=\"r\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
             <text class=\"s\" text-anchor=\"middle\" x=\"{at:.1}\" y=\"{}\">{}</text>",
            bottom + 16.0,
            number(tick)
        );
    }
    let _ = write!(
        out,
        "<text text-anchor=\"middle\" x=\"{:.1}\" y=\"{}\">{}</text>\
         <text text-anchor=\"middle\" transform=\"translate(15 {:.1}) rotate(-90)\">{}</text>",
        (LEFT + right) / 2.0,
        HEIGHT - 14.0,
        escape(&panel.x_label),
        (TOP + bottom) / 2.0,
        escape(&panel.y_label)
    );
    let to_be_seen: Vec<(f64, f64)> = panel.points.iter().map(|p| (x(p.x.0), y(p.y.0))).collect();
    if let Some((level, name)) = panel.level {
        let at = y(level);
        // Where no mark hides it.
        let room = |place: f64| {
            let near = |p: &(f64, f64)| (p.0 - place).hypot(p.1 - at - 9.0);
            to_be_seen.iter().map(near).fold(f64::INFINITY, f64::min)
        };
        let places = [LEFT + 24.0, (LEFT + right) / 2.0, right - 24.0];
        let best = places
            .into_iter()
            .max_by(|a, b| room(*a).total_cmp(&room(*b)));
        let _ = write!(
            out,
            "<line class=\"d\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"s halo\" text-anchor=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{name}</text>",
            best.unwrap_or(LEFT),
            at + 13.0
        );
    }
    if let [first, .., last] = panel.chance.as_slice() {
        let steps: Vec<String> = panel
            .chance
            .iter()
            .map(|(px, py)| format!("{:.1} {:.1}", x(*px), y(*py)))
            .collect();
        let middle = |a: f64, b: f64| f64::midpoint(a, b);
        let _ = write!(
            out,
            "<path class=\"d\" d=\"M{}\"/><text class=\"s halo\" x=\"{:.1}\" y=\"{:.1}\">chance</text>",
            steps.join("L"),
            middle(x(first.0), x(last.0)) + 6.0,
            middle(y(first.1), y(last.1)) + 13.0
        );
    }
    for (style, points) in &panel.lines {
        let steps: Vec<String> = points
            .iter()
            .map(|(px, py)| format!("{:.1} {:.1}", x(*px), y(*py)))
            .collect();
        let _ = write!(
            out,
            "<path class=\"l\" style=\"stroke:var(--c{})\" d=\"M{}\"/>",
            style % SOLID,
            steps.join("L")
        );
        if panel.points.iter().all(|p| p.style != *style) {
            for (px, py) in marks(points, *style, panel.lines.len()) {
                out.push_str(&marker(*style, x(px), y(py)));
            }
        }
    }
    for point in &panel.points {
        let (px, py) = (x(point.x.0), y(point.y.0));
        let _ = write!(out, "<g><title>{}</title>", escape(&point.tip));
        let mut bar = |x1: f64, y1: f64, x2: f64, y2: f64| {
            let _ = write!(
                out,
                "<line class=\"e\" style=\"stroke:var(--c{})\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>",
                point.style % SOLID
            );
        };
        if let Some([low, high]) = point.y.1 {
            bar(px, y(low), px, y(high));
        }
        if let (Some([low, high]), false) = (point.x.1, panel.log2) {
            bar(x(low), py, x(high), py);
        }
        out.push_str(&marker(point.style, px, py));
        if let Some(label) = &point.label {
            let _ = write!(
                out,
                "<text class=\"s\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                px + 8.0,
                py - 6.0,
                escape(label)
            );
        }
        out.push_str("</g>");
    }
}

/// Points of a curve, equally far apart along it, that carry its mark; those of several curves lie between each other.
fn marks(points: &[(f64, f64)], style: usize, curves: usize) -> Vec<(f64, f64)> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return Vec::new();
    };
    let shift = (style + 1) as f64 / (curves + 1) as f64;
    (0..MARKS)
        .filter_map(|k| {
            let wanted = first.0 + (last.0 - first.0) * (k as f64 + shift) / MARKS as f64;
            let mut all = points.iter();
            let far = |p: &(f64, f64)| (p.0 - wanted).abs();
            let best = all.next()?;
            Some(*all.fold(best, |best, p| if far(p) <= far(best) { p } else { best }))
        })
        .collect()
}

/// A shape of its own for each of eight styles; those whose colour was there before are hollow.
fn marker(style: usize, x: f64, y: f64) -> String {
    let paint = if style < SOLID {
        format!("fill:var(--c{style});stroke:var(--c{style})")
    } else {
        format!(
            "fill:var(--bg);stroke-width:1.6;stroke:var(--c{})",
            style % SOLID
        )
    };
    let shape = match style % 8 {
        0 => "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",
        1 => "M-4-4h8v8h-8z",
        2 => "M0-5.5L5 3.5H-5z",
        3 => "M0-5.5L5.5 0L0 5.5L-5.5 0z",
        4 => "M0 5.5L5-3.5H-5z",
        5 => "M-5-1.6h3.4v-3.4h3.2v3.4h3.4v3.2h-3.4v3.4h-3.2v-3.4h-3.4z",
        6 => "M0-6L1.6-1.6H6L2.5 1.2L3.8 5.6L0 3L-3.8 5.6L-2.5 1.2L-6-1.6H-1.6z",
        _ => "M-4.5-2.6L0-5.2L4.5-2.6V2.6L0 5.2L-4.5 2.6z",
    };
    format!("<path transform=\"translate({x:.1} {y:.1})\" style=\"{paint}\" d=\"{shape}\"/>")
}

/// A picture of pictures in rows and columns, as `dualmd_data::grid` lays them, with a label before each row and one above each column.
/// Columns without labels: `columns` is empty. `png`: the whole, of this width and height in pixels; it is embedded.
pub fn labelled(
    png: &[u8],
    [width, height]: [u32; 2],
    rows: &[String],
    columns: &[String],
    about: &str,
) -> String {
    // Half a character's width more than an average one is, so that none is cut.
    let longest = rows.iter().map(|r| r.chars().count()).max().unwrap_or(0);
    let left = 20.0 + 7.0 * longest as f64;
    let top = if columns.is_empty() { 8.0 } else { 26.0 };
    let (w, h) = (f64::from(width), f64::from(height));
    let (whole, tall) = (left + w + 8.0, top + h + 8.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {whole} {tall}\" width=\"{whole}\" height=\"{tall}\" role=\"img\">\
         <title>{}</title><style>{}</style><rect width=\"100%\" height=\"100%\" style=\"fill:var(--bg)\"/>\n\
         <image x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" style=\"image-rendering:pixelated\" href=\"data:image/png;base64,{}\"/>\n",
        escape(about),
        style(false),
        base64::engine::general_purpose::STANDARD.encode(png)
    );
    for (i, label) in rows.iter().enumerate() {
        let y = top + h * (i as f64 + 0.5) / rows.len() as f64 + 4.0;
        let _ = writeln!(
            out,
            "<text text-anchor=\"end\" x=\"{:.1}\" y=\"{y:.1}\">{}</text>",
            left - 10.0,
            escape(label)
        );
    }
    for (i, label) in columns.iter().enumerate() {
        let x = left + w * (i as f64 + 0.5) / columns.len() as f64;
        let _ = writeln!(
            out,
            "<text class=\"s\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"18\">{}</text>",
            escape(label)
        );
    }
    out.push_str("</svg>\n");
    out
}

/// Ticks of an axis of odds.
const SHARES: [f64; 9] = [0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999];

/// The natural logarithm of the odds of a share.
fn log_odds(share: f64) -> f64 {
    let share = share.clamp(1e-5, 1.0 - 1e-5);
    (share / (1.0 - share)).ln()
}

/// Smallest and largest with a margin.
fn range(values: impl Iterator<Item = f64>, log2: bool) -> [f64; 2] {
    let values = values.map(|v| if log2 { v.max(1e-9).log2() } else { v });
    let [low, high] = values
        .filter(|v| v.is_finite())
        .fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], v| {
            [low.min(v), high.max(v)]
        });
    if low > high {
        return [0.0, 1.0];
    }
    let margin = (0.06 * (high - low)).max(1e-3 * high.abs()).max(1e-6);
    [low - margin, high + margin]
}

/// About five round numbers.
fn ticks([low, high]: [f64; 2]) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    let decade = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|f| f * decade)
        .into_iter()
        .find(|s| *s >= rough)
        .unwrap_or(rough);
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (first..=last).map(|i| i as f64 * step).collect()
}

/// Whole numbers: the logarithms of powers of ten.
fn powers([low, high]: [f64; 2]) -> Vec<f64> {
    (low.ceil() as i64..=high.floor() as i64)
        .map(|i| i as f64)
        .collect()
}

/// A tick's label without digits that say nothing.
fn number(value: f64) -> String {
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".into()
    } else {
        text.into()
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let got: Vec<String> = ticks([0.47, 1.02]).into_iter().map(number).collect();
        assert_eq!(got, ["0.6", "0.8", "1"]);
        let got: Vec<String> = ticks([-3.0, 41.0]).into_iter().map(number).collect();
        assert_eq!(got, ["0", "10", "20", "30", "40"]);
    }

    #[test]
    fn a_plot_has_axes_legend_and_bars_and_no_script() {
        let panel = Panel {
            title: "a < b".into(),
            x_label: "distance".into(),
            y_label: "AUC".into(),
            points: vec![Point {
                x: (1.0, Some([0.5, 1.5])),
                y: (0.6, None),
                style: 9,
                label: Some("9 steps".into()),
                tip: "one & only".into(),
            }],
            lines: vec![(0, vec![(1.0, 0.6), (2.0, 0.9)])],
            level: Some((0.5, "chance")),
            ..Panel::default()
        };
        let svg = draw(&[panel], &["No defense".into()], "about");
        for wanted in [
            "a &lt; b",
            "one &amp; only",
            ">distance<",
            ">AUC<",
            ">chance<",
            ">9 steps<",
            ">No defense<",
            "prefers-color-scheme:dark",
        ] {
            assert!(svg.contains(wanted), "{wanted}\n{svg}");
        }
        assert!(!svg.contains("<script") && !svg.contains("NaN"));
        assert_eq!(svg.matches("class=\"e\"").count(), 1);
    }

    #[test]
    fn decades_have_their_own_ticks() {
        let panel = Panel {
            decades: true,
            lines: vec![(0, vec![(-2.1, -1.0), (0.0, 0.0)])],
            ..Panel::default()
        };
        let svg = draw(&[panel], &[], "");
        for wanted in [">0.01<", ">0.1<", ">1<"] {
            assert!(svg.contains(wanted), "{wanted}\n{svg}");
        }
        assert!(!svg.contains(">0.001<") && !svg.contains(">-1<"), "{svg}");
    }

    /// 0.5, 0.9 and 0.99 are 0, 2.20 and 4.60 along, 1 is where 1 - 1e-5 is, and the ends of error bars are moved as their points are.
    #[test]
    fn odds_spread_what_is_near_one() {
        let at = |x: f64, ci| Point {
            x: (x, ci),
            y: (0.5, None),
            style: 0,
            label: None,
            tip: String::new(),
        };
        let panel = Panel {
            odds: true,
            points: vec![
                at(0.5, None),
                at(0.9, Some([0.5, 0.99])),
                at(0.99, None),
                at(1.0, Some([0.99, 1.0])),
            ],
            ..Panel::default()
        };
        let svg = draw(&[panel], &[], "");
        for wanted in [">0.5<", ">0.9<", ">0.99<", ">0.999<", ">0.9999<"] {
            assert!(svg.contains(wanted), "{wanted}\n{svg}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains(">0.1<"));
        let marks: Vec<f64> = svg
            .split("translate(")
            .filter_map(|rest| rest.split(' ').next()?.parse::<f64>().ok())
            .filter(|x| *x > LEFT)
            .collect();
        let [half, often, nearly, always] = marks[..] else {
            panic!("{marks:?}\n{svg}")
        };
        let share = |x: f64| (x - half) / (always - half);
        assert!((share(often) - 9f64.ln() / 99_999f64.ln()).abs() < 2e-3);
        assert!((share(nearly) - 99f64.ln() / 99_999f64.ln()).abs() < 2e-3);
        // The bar of the second point ends at the first and the third.
        for end in [
            format!("x1=\"{half:.1}\" y1="),
            format!("x2=\"{nearly:.1}\" y2="),
        ] {
            assert!(svg.contains(&end), "{end}\n{svg}");
        }
    }

    /// A curve without points carries its mark, chance is grey and dashed, and members and others have their own colours.
    #[test]
    fn curves_carry_marks_and_chance_is_grey() {
        let panel = Panel {
            decades: true,
            lines: vec![
                (0, vec![(-2.0, -1.0), (-1.0, -0.5), (0.0, 0.0)]),
                (1, vec![(-2.0, -2.0), (0.0, 0.0)]),
            ],
            chance: vec![(-2.0, -2.0), (0.0, 0.0)],
            ..Panel::default()
        };
        let svg = draw(&[panel], &["a".into(), "b".into()], "");
        let body = svg.split("</style>").nth(1).expect("the drawing");
        // Four marks on each curve and one in the legend.
        assert_eq!(body.matches("style=\"fill:var(--c0)").count(), 5);
        assert_eq!(body.matches("style=\"fill:var(--c1)").count(), 5);
        assert_eq!(body.matches("<path class=\"d\"").count(), 1);
        assert!(svg.contains("--chance:#777777") && body.contains(">chance<"));
        assert!(!svg.contains("--c0:#D55E00"));
        let sides = Panel {
            sides: true,
            ..Panel::default()
        };
        let svg = draw(&[sides], &[], "");
        assert!(svg.contains("--c0:#D55E00;--c1:#0072B2"), "{svg}");
    }

    #[test]
    fn pictures_have_labels_before_their_rows() {
        let rows = ["No defense".to_owned(), "a < b".to_owned()];
        let svg = labelled(b"png", [100, 80], &rows, &["1".to_owned()], "what & why");
        for wanted in [
            "data:image/png;base64,cG5n",
            ">No defense</text>",
            ">a &lt; b</text>",
            "y=\"18\">1</text>",
            "what &amp; why",
            // The second of two rows of 40 pixels, below 26 of the labels.
            "y=\"90.0\"",
        ] {
            assert!(svg.contains(wanted), "{wanted}\n{svg}");
        }
    }

    #[test]
    fn nothing_to_draw_is_drawn() {
        assert!(!draw(&[Panel::default()], &[], "").contains("NaN"));
    }
}
