//! Privacy against quality: what each model gives away beside what its images are worth, and which models are dominated.

use maud::{Markup, html};

use super::draw::{Scale, marker, px, series};
use super::figure;
use crate::conclusion::{half_that_leaks, inverted};
use crate::format::{grouped, interval, list, rate, significant};
use crate::release::is_product;
use crate::report::{Finding, ImageUtility, ModelReport, Release, Released, Report, View};

/// Plot area inside a view box of 760 x 404.
const LEFT: f64 = 92.0;
const RIGHT: f64 = 744.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 344.0;

/// Width of a letter and height of a line of a label, in units of the view box: a little more than in the fonts of the page.
const LETTER: f64 = 6.4;
const LINE: f64 = 13.0;

/// The axis of distances is logarithmic where the largest is this many times the smallest.
const MUCH: f64 = 5.0;

/// One model of the figure.
struct Point<'a> {
    model: &'a ModelReport,
    /// Excess Fréchet distance.
    excess: f64,
    /// For people.
    attack: &'a str,
    /// The members that the AUC is about.
    view: View,
    auc: f64,
    /// Interval of the AUC, corrected for the number of attacks.
    ci: [f64; 2],
}

impl<'a> Point<'a> {
    /// Of a model of which both are known.
    fn of(model: &'a ModelReport, features: &ImageUtility) -> Option<Self> {
        let utility = model.image_utility.as_ref()?;
        let same = utility.features == features.features && utility.equal_n == features.equal_n;
        let excess = utility.excess.filter(|e| same && e.is_finite())?;
        let strongest = model.strongest()?;
        let own = strongest.view(model.primary)?;
        let leaks = own.finding == Finding::Leak;
        // What a conclusion rests on: over all members, on one half, or with the score turned round.
        let other = half_that_leaks(model).or_else(|| inverted(model).into_iter().next());
        let (result, view, measured) = match other.filter(|_| !leaks) {
            Some(other) => other,
            None => (strongest, model.primary, own),
        };
        // Reports of earlier versions have no corrected intervals.
        let ci = match measured.auc_ci_adjusted {
            [_, high] if high <= 0.0 => measured.auc_ci,
            adjusted => adjusted,
        };
        Some(Self {
            model,
            excess,
            attack: &result.title,
            view,
            auc: measured.auc,
            ci,
        })
    }

    /// Distance from guessing, and its interval: an AUC below 0.5 gives as much away as one above.
    fn exposure(&self) -> (f64, [f64; 2]) {
        match self.auc >= 0.5 {
            true => (self.auc - 0.5, self.ci.map(|x| x - 0.5)),
            false => (0.5 - self.auc, [0.5 - self.ci[1], 0.5 - self.ci[0]]),
        }
    }

    /// Can the two give away equally much, as far as their intervals say?
    fn overlaps(&self, other: &Self) -> bool {
        let (own, theirs) = (self.exposure().1, other.exposure().1);
        own[0] <= theirs[1] && theirs[0] <= own[1]
    }

    /// Are the images of `self` at least as good and does it give no more away, one of them being better? A pair is attacked through its
    /// images, and whoever holds its two models has more: it is better than nobody.
    fn dominates(&self, other: &Self) -> bool {
        let (own, theirs) = (self.exposure().0, other.exposure().0);
        let no_worse = self.excess <= other.excess && own <= theirs;
        let better = self.excess < other.excess || own < theirs;
        no_worse && better && !self.model.is_pair()
    }
}

/// The models that can be compared: those that could be given out, with an attack and with images measured alike.
fn points(report: &Report) -> Vec<Point<'_>> {
    let products = || report.models.iter().filter(|m| is_product(m));
    let measured = |m: &&ModelReport| {
        let utility = m.image_utility.as_ref();
        m.strongest().is_some() && utility.is_some_and(|u| u.excess.is_some())
    };
    let features = products().find(measured);
    let Some(features) = features.and_then(|m| m.image_utility.as_ref()) else {
        return Vec::new();
    };
    products().filter_map(|m| Point::of(m, features)).collect()
}

/// The section; nothing where fewer than two models can be compared.
pub fn section(report: &Report) -> Markup {
    let points = points(report);
    let Some(utility) = points.first().and_then(|p| p.model.image_utility.as_ref()) else {
        return html! {};
    };
    if points.len() < 2 {
        return html! {};
    }
    let body = html! {
        div.scroll tabindex="0" role="region" aria-label="Privacy against quality" { (plot(&points)) }
    };
    let caption = html! {
        (finding(&points)) " "
        (pairs(&points, &report.verdict.releases))
        "Upwards: more is given away, by the AUC of the strongest attack on each model. Its 95 % interval is widened for the choice among the attacks; the dashed line is guessing. "
        "To the right: worse images, by the Fréchet distance of generated images to real ones minus that between real ones (excess; features " code { (utility.features) }
        @if let Some(n) = utility.equal_n { ", " (grouped(n as i64)) " images a side" }
        "). The intervals do not cover the choice of the images that the distance was measured on."
    };
    html! {
        section #frontier {
            h2 { "Privacy against quality" }
            p.lede { "A model that draws worse images gives less away for that alone. A defence is worth its cost where no other model draws better images and gives less away as well." }
            (figure("frontier", body, caption))
            details {
                summary { "The numbers of this figure" }
                div.scroll { table.plain data-sortable="" {
                    thead { tr { th scope="col" { "Model" } th scope="col" { "Strongest attack" } th.n scope="col" { "AUC" } th.n scope="col" { "95 % interval" } th.n scope="col" { "excess distance" } th scope="col" { "Dominated by" } } }
                    tbody { @for (i, p) in points.iter().enumerate() { tr {
                        th scope="row" { span.keyed { svg width="14" height="12" aria-hidden="true" { (marker(series(i), 7.0, 6.0)) } (p.model.title) } }
                        td { (p.attack) @if p.view != View::Pooled { small { "on " (p.view.name()) } } }
                        td.n data-value=(p.auc) { (rate(p.auc)) } td.n { (interval(p.ci)) } td.n data-value=(p.excess) { (significant(p.excess)) }
                        td { (over(&points, p).map_or("no model", |o| o.model.title.as_str())) }
                    } } }
                } }
            }
        }
    }
}

/// Of the models that dominate one the one that gives least away.
fn over<'a, 'b>(points: &'b [Point<'a>], of: &Point) -> Option<&'b Point<'a>> {
    let above = points.iter().filter(|p| p.dominates(of));
    above.min_by(|a, b| a.exposure().0.total_cmp(&b.exposure().0))
}

/// Which models are dominated, and which are not.
fn finding(points: &[Point]) -> String {
    let mut dominated = Vec::new();
    let mut unclear = Vec::new();
    let mut free = Vec::new();
    for p in points {
        let Some(by) = over(points, p) else {
            free.push(p.model.title.clone());
            continue;
        };
        dominated.push(format!("{} (by {})", p.model.title, by.model.title));
        if by.exposure().1[1] >= p.exposure().1[0] {
            unclear.push(p.model.title.clone());
        }
    }
    if dominated.is_empty() {
        return undominated(points);
    }
    let luck = match unclear.len() {
        0 => String::new(),
        n if n == dominated.len() => {
            " In what they give away the intervals overlap, so that this may be luck.".to_owned()
        }
        _ => format!(
            " In what is given away the intervals overlap for {}, where this may be luck.",
            list(&unclear)
        ),
    };
    format!(
        "Dominated: {}. There the other model draws images at least as good and gives no more away. Not dominated: {}.{luck}",
        list(&dominated),
        list(&free)
    )
}

/// Where none is dominated: whether the numbers say which model gives more away. A pair is better than nobody, and nothing is said of it.
fn undominated(points: &[Point]) -> String {
    let compared: Vec<&Point> = points.iter().filter(|p| !p.model.is_pair()).collect();
    if compared.len() < 2 {
        return "No model is dominated.".to_owned();
    }
    let named = |points: &[&Point]| {
        let titles: Vec<String> = points.iter().map(|p| p.model.title.clone()).collect();
        list(&titles)
    };
    let mut unclear = Vec::new();
    let mut pairs = 0;
    for (i, a) in compared.iter().enumerate() {
        for b in &compared[i + 1..] {
            pairs += 1;
            if a.overlaps(b) {
                unclear.push(named(&[*a, *b]));
            }
        }
    }
    if unclear.len() == pairs {
        return format!(
            "No model is dominated, and these numbers do not tell {} apart: in what they give away the intervals overlap.",
            named(&compared)
        );
    }
    let luck = match unclear.is_empty() {
        true => String::new(),
        false => format!(
            " In what they give away the intervals overlap for {}: these numbers do not tell them apart.",
            unclear.join("; for ")
        ),
    };
    format!(
        "No model is dominated: of {}, whichever draws better images gives more away.{luck}",
        named(&compared)
    )
}

/// What the points of pairs are silent on.
fn pairs(points: &[Point], releases: &[Release]) -> String {
    let mut text = String::new();
    for p in points.iter().filter(|p| p.model.is_pair()) {
        let mut lines = releases.iter();
        let weights = lines.find(|r| r.model == p.model.name && r.what == Released::Weights);
        let strongest = weights.and_then(|w| w.strongest.as_ref());
        let more = match strongest.filter(|s| s.model != p.model.name) {
            Some(s) => format!("is at AUC {} ({})", rate(s.auc), s.title),
            None => "has more".to_owned(),
        };
        text.push_str(&format!(
            "{} stands where its own images put it and is not counted as better than another model: whoever holds its two models {more}. ",
            p.model.title
        ));
    }
    text
}

/// A rectangle in units of the view box.
#[derive(Clone, Copy)]
struct Area {
    x: [f64; 2],
    y: [f64; 2],
}

impl Area {
    fn around(x: f64, y: f64, half_width: f64, half_height: f64) -> Self {
        Self {
            x: [x - half_width, x + half_width],
            y: [y - half_height, y + half_height],
        }
    }

    fn overlaps(self, other: Self) -> bool {
        let along = |a: [f64; 2], b: [f64; 2]| a[0] < b[1] && b[0] < a[1];
        along(self.x, other.x) && along(self.y, other.y)
    }

    fn inside(self) -> bool {
        self.x[0] >= LEFT + 2.0
            && self.x[1] <= RIGHT
            && self.y[0] >= TOP
            && self.y[1] <= BOTTOM - 1.0
    }
}

/// A name beside its marker.
struct Label {
    /// Left end of the base line.
    x: f64,
    y: f64,
    /// Where a thin line leads from the marker to a name that stands further away.
    leader: Option<(f64, f64)>,
}

/// Places for the names: none covers a marker, a whisker, the line of chance at `chance` or another name. A name that finds no room beside its marker has a line to it,
/// which crosses no name, and a marker or a whisker only where there is no other way. None where there is no room left: the table has
/// it.
fn labels(marks: &[(f64, f64, [f64; 2])], names: &[&str], chance: f64) -> Vec<Option<Label>> {
    let mut drawn = vec![Area {
        x: [LEFT, RIGHT],
        y: [chance - 1.0, chance + 1.0],
    }];
    for &(x, y, [low, high]) in marks {
        drawn.push(Area::around(x, y, 6.5, 6.5));
        drawn.push(Area {
            x: [x - 3.0, x + 3.0],
            y: [low.min(high), low.max(high)],
        });
    }
    let hits = |taken: &[Area], a: Area| taken.iter().any(|other| a.overlaps(*other));
    let mut written: Vec<Area> = Vec::new();
    let mut out = Vec::new();
    for (&(x, y, _), name) in marks.iter().zip(names) {
        let width = LETTER * name.chars().count() as f64;
        let area = |(cx, cy): (f64, f64)| Area {
            x: [cx, cx + width],
            y: [cy - LINE / 2.0, cy + LINE / 2.0],
        };
        let free = |at: &(f64, f64)| {
            let a = area(*at);
            a.inside() && !hits(&drawn, a) && !hits(&written, a)
        };
        // Beside the marker: right, left, above and below on either side.
        let left = x - width;
        let near = [
            (x + 10.0, y),
            (left - 10.0, y),
            (x + 7.0, y - 11.0),
            (x + 7.0, y + 11.0),
            (left - 7.0, y - 11.0),
            (left - 7.0, y + 11.0),
        ];
        let mut found = near.into_iter().find(free).map(|at| (at, None));
        if found.is_none() {
            // Where the line ends: at the side of the name that is nearer.
            let end = |(cx, cy): (f64, f64)| match cx > x {
                true => (cx - 2.0, cy),
                false => ((cx + width + 2.0).min(x), cy),
            };
            let far = |at: &(f64, f64)| {
                let (ex, ey) = end(*at);
                (ex - x).hypot(ey - y)
            };
            let rows = (0..46).map(|row| TOP + 7.0 + 7.0 * f64::from(row));
            let columns =
                |cy| (0..80).map(move |column| (LEFT + 4.0 + 8.0 * f64::from(column), cy));
            let mut spots: Vec<(f64, f64)> = rows.flat_map(columns).filter(free).collect();
            spots.sort_by(|a, b| far(a).total_cmp(&far(b)));
            let clear = |at: &&(f64, f64), drawn: &[Area]| {
                let steps = way((x, y), end(**at));
                !steps.iter().any(|a| hits(drawn, *a) || hits(&written, *a))
            };
            let spot = spots.iter().find(|at| clear(at, &drawn));
            let spot = spot.or_else(|| spots.iter().find(|at| clear(at, &[])));
            found = spot.map(|at| (*at, Some(end(*at))));
        }
        out.push(found.map(|(at, leader)| {
            written.push(area(at));
            if let Some(end) = leader {
                written.extend(way((x, y), end));
            }
            Label {
                x: at.0,
                y: at.1 + 4.0,
                leader,
            }
        }));
    }
    out
}

/// A line from a marker to a name as small squares, without its first steps, which lie on the marker itself.
fn way(from: (f64, f64), to: (f64, f64)) -> Vec<Area> {
    let length = (to.0 - from.0).hypot(to.1 - from.1);
    let steps = (length / 3.0).ceil().max(1.0);
    (0..=steps as usize)
        .map(|i| i as f64 / steps)
        .filter(|share| share * length > 8.0)
        .map(|share| {
            let x = from.0 + share * (to.0 - from.0);
            let y = from.1 + share * (to.1 - from.1);
            Area::around(x, y, 0.8, 0.8)
        })
        .collect()
}

fn plot(points: &[Point]) -> Markup {
    let excess = || points.iter().map(|p| p.excess);
    let smallest = excess().fold(f64::INFINITY, f64::min);
    let largest = excess().fold(f64::NEG_INFINITY, f64::max);
    let log = smallest > 0.0 && largest / smallest >= MUCH;
    let [from, to] = match log {
        true => [smallest / 1.25, largest * 1.25],
        false => {
            let room = 0.08 * (largest - smallest.min(0.0)).max(1e-9);
            [(smallest - room).min(0.0), largest + room]
        }
    };
    let x = match log {
        true => Scale::log(from, to, LEFT, RIGHT),
        false => Scale::linear(from, to, LEFT, RIGHT),
    };
    let lowest = points.iter().map(|p| p.ci[0]).fold(0.45, f64::min);
    let bottom = ((lowest * 10.0).floor() / 10.0).clamp(0.0, 0.4);
    let y = Scale::linear(bottom, 1.0, BOTTOM, TOP + 6.0);
    let tenths = (bottom * 10.0).round() as i32;
    let marks: Vec<(f64, f64, [f64; 2])> = points
        .iter()
        .map(|p| (x.at(p.excess), y.at(p.auc), p.ci.map(|v| y.at(v))))
        .collect();
    let names: Vec<&str> = points.iter().map(|p| p.model.title.as_str()).collect();
    let placed = labels(&marks, &names, y.at(0.5));
    html! {
        svg viewBox="0 0 760 404" role="img" aria-label=(format!("AUC of the strongest attack against excess Fréchet distance of {} models", points.len())) {
            @for tenth in tenths..=10 {
                @let value = f64::from(tenth) / 10.0;
                @if tenth != 5 {
                    line.grid x1=(LEFT) x2=(RIGHT) y1=(px(y.at(value))) y2=(px(y.at(value))) {}
                    text.tick.end x=(LEFT - 7.0) y=(px(y.at(value) + 4.0)) { (format!("{value:.1}")) }
                }
            }
            line.chance x1=(LEFT) x2=(RIGHT) y1=(px(y.at(0.5))) y2=(px(y.at(0.5))) {}
            text.tick.end x=(LEFT - 7.0) y=(px(y.at(0.5) + 4.0)) { "chance 0.5" }
            @for t in ticks(from, to, log) {
                line.grid x1=(px(x.at(t))) x2=(px(x.at(t))) y1=(TOP) y2=(BOTTOM) {}
                text.tick.mid x=(px(x.at(t))) y=(BOTTOM + 16.0) { (number(t)) }
            }
            @for (i, (cx, _, [low, high])) in marks.iter().enumerate() {
                line class={ "whisk " (series(i).class) } x1=(px(*cx)) x2=(px(*cx)) y1=(px(*low)) y2=(px(*high)) {}
            }
            @for (label, (cx, cy, _)) in placed.iter().zip(&marks) {
                @if let Some((ex, ey)) = label.as_ref().and_then(|l| l.leader) { line.leader x1=(px(*cx)) y1=(px(*cy)) x2=(px(ex)) y2=(px(ey)) {} }
            }
            @for (i, (cx, cy, _)) in marks.iter().enumerate() { (marker(series(i), *cx, *cy)) }
            @for (label, name) in placed.iter().zip(&names) {
                @if let Some(l) = label { text.name x=(px(l.x)) y=(px(l.y)) { (name) } }
            }
            text.label.mid x=(px((LEFT + RIGHT) / 2.0)) y="382" { "how far the images are from real ones (excess Fréchet distance" @if log { ", logarithmic" } ")" }
            text.label x=(LEFT) y="398" { "← better images" }
            text.label.end x=(RIGHT) y="398" { "worse images →" }
            text.label.mid transform=(format!("translate(14 {}) rotate(-90)", (TOP + BOTTOM) / 2.0)) { "how much is given away (AUC of the strongest attack)" }
        }
    }
}

/// 1, 2 and 5 times powers of ten on a logarithmic axis, four to nine round numbers on a linear one.
fn ticks(from: f64, to: f64, log: bool) -> Vec<f64> {
    if log {
        let decades = from.log10().floor() as i32..=to.log10().ceil() as i32;
        return decades
            .flat_map(|e| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(e)))
            .filter(|t| (from..=to).contains(t))
            .collect();
    }
    let step = 10f64.powf(((to - from) / 4.0).log10().floor());
    let step = [step, 2.0 * step, 5.0 * step]
        .into_iter()
        .find(|s| (to - from) / s <= 9.0)
        .unwrap_or(10.0 * step);
    let first = (from / step).ceil() as i64;
    let last = (to / step).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// A round number of an axis.
fn number(value: f64) -> String {
    match value == value.round() && value.abs() < 1e15 {
        true => grouped(value as i64),
        false => significant(value)
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{AttackResult, Measurement};

    fn measurement(auc: f64, half: f64, finding: Finding) -> Measurement {
        let ci = [auc - half, auc + half];
        Measurement {
            n_members: 100,
            n_nonmembers: 100,
            auc,
            auc_ci: ci,
            auc_ci_method: dualmd_stats::IntervalMethod::default(),
            auc_ci_adjusted: ci,
            tpr_at_fpr: Vec::new(),
            balanced_accuracy: auc,
            exceedance_p: None,
            finding,
        }
    }

    fn model(name: &str, excess: f64, auc: f64, half: f64) -> ModelReport {
        let finding = match auc {
            a if a - half > 0.5 => Finding::Leak,
            a if a + half < 0.5 => Finding::Inverted,
            _ => Finding::Chance,
        };
        ModelReport {
            name: name.into(),
            title: name.into(),
            image_utility: Some(ImageUtility {
                features: "inception-2048".into(),
                excess: Some(excess),
                ..ImageUtility::default()
            }),
            results: vec![AttackResult {
                pooled: Some(measurement(auc, half, finding)),
                ..AttackResult::named("loss")
            }],
            ..ModelReport::default()
        }
    }

    fn report(models: Vec<ModelReport>) -> Report {
        Report {
            models,
            ..serde_json::from_str(r#"{"schema": 1, "models": []}"#).expect("a report")
        }
    }

    #[test]
    fn the_caption_says_who_is_dominated_and_by_whom() {
        let all = report(vec![
            model("undefended", 10.0, 0.9, 0.02),
            model("student", 12.0, 0.6, 0.02),
            model("kd", 14.0, 0.8, 0.02),
            model("noisy", 20.0, 0.61, 0.02),
        ]);
        let text = finding(&points(&all));
        assert!(
            text.contains(
                "kd (by student) and noisy (by student). There the other model draws images at least as good and gives no more away. Not dominated: undefended and student."
            ),
            "{text}"
        );
        assert!(text.contains("overlap for noisy"), "{text}");
        let two = report(vec![
            model("a", 10.0, 0.9, 0.02),
            model("b", 12.0, 0.6, 0.02),
        ]);
        assert!(finding(&points(&two)).starts_with("No model is dominated: of a and b"));
    }

    #[test]
    fn overlapping_intervals_do_not_say_who_gives_more_away() {
        let said = |models: Vec<ModelReport>| finding(&points(&report(models)));
        let text = said(vec![
            model("a", 216.0, 0.72, 0.19),
            model("b", 220.0, 0.68, 0.19),
        ]);
        assert!(
            text.contains("do not tell a and b apart") && !text.contains("gives more away"),
            "{text}"
        );
        // One of three is clearly apart.
        let text = said(vec![
            model("a", 10.0, 0.9, 0.02),
            model("b", 12.0, 0.62, 0.02),
            model("c", 14.0, 0.6, 0.02),
        ]);
        assert!(
            text.contains("of a, b and c, whichever draws better images gives more away")
                && text.contains("overlap for b and c: these numbers do not tell them apart"),
            "{text}"
        );
        // A pair draws better and gives less away, and is not counted as better.
        let mut pair = model("pair", 5.0, 0.52, 0.01);
        pair.defense = dualmd_names::Defense::Dualmd.into();
        let text = said(vec![pair, model("a", 10.0, 0.9, 0.02)]);
        assert_eq!(text, "No model is dominated.");
    }

    #[test]
    fn an_inverted_attack_gives_as_much_away() {
        // 0.1 is as far from guessing as 0.9: it does not dominate 0.6.
        let all = report(vec![
            model("low", 10.0, 0.1, 0.02),
            model("high", 12.0, 0.6, 0.02),
        ]);
        let points = points(&all);
        assert!(!points[0].dominates(&points[1]));
        assert!((points[0].exposure().0 - 0.4).abs() < 1e-9);
        let [low, high] = points[0].exposure().1;
        assert!((low - 0.38).abs() < 1e-9 && (high - 0.42).abs() < 1e-9);
    }

    #[test]
    fn a_pair_is_better_than_nobody() {
        let mut pair = model("pair", 5.0, 0.52, 0.02);
        pair.defense = dualmd_names::Defense::Dualmd.into();
        let all = report(vec![pair, model("a", 10.0, 0.9, 0.02)]);
        let points = points(&all);
        assert!(!points[0].dominates(&points[1]) && !points[1].dominates(&points[0]));
        let said = pairs(&points, &[]);
        assert!(
            said.starts_with("pair stands where its own images put it")
                && said.contains("whoever holds its two models has more."),
            "{said}"
        );
    }

    #[test]
    fn one_model_or_other_features_are_no_comparison() {
        let one = report(vec![model("a", 10.0, 0.9, 0.02)]);
        assert!(section(&one).0.is_empty());
        let mut other = model("b", 12.0, 0.6, 0.02);
        if let Some(utility) = &mut other.image_utility {
            utility.features = "efflite0-1280".into();
        }
        let mixed = report(vec![model("a", 10.0, 0.9, 0.02), other]);
        assert!(section(&mixed).0.is_empty());
        let two = report(vec![
            model("a", 10.0, 0.9, 0.02),
            model("b", 12.0, 0.6, 0.02),
        ]);
        let page = section(&two).0;
        assert!(page.contains("class=\"chance\"") && page.matches("class=\"mark ").count() == 4);
    }

    #[test]
    fn names_cover_nothing() {
        // Thirteen models in a corner, some on top of each other.
        let marks: Vec<(f64, f64, [f64; 2])> = (0..13)
            .map(|i| {
                let x = 200.0 + 9.0 * f64::from(i % 5);
                let y = 150.0 + 8.0 * f64::from(i % 4);
                (x, y, [y + 20.0, y - 20.0])
            })
            .collect();
        let names = vec!["A model of some name"; 13];
        let placed = labels(&marks, &names, 300.0);
        let areas: Vec<Area> = placed
            .iter()
            .flatten()
            .map(|l| Area {
                x: [l.x, l.x + LETTER * 20.0],
                y: [l.y - 4.0 - LINE / 2.0, l.y - 4.0 + LINE / 2.0],
            })
            .collect();
        assert!(areas.len() >= 10, "{} names found room", areas.len());
        for (i, a) in areas.iter().enumerate() {
            assert!(areas[i + 1..].iter().all(|b| !a.overlaps(*b)));
            let mark = |m: &(f64, f64, [f64; 2])| Area::around(m.0, m.1, 6.0, 6.0);
            assert!(marks.iter().all(|m| !a.overlaps(mark(m))));
            assert!(a.inside());
        }
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks(20.0, 340.0, true), [20.0, 50.0, 100.0, 200.0]);
        assert_eq!(
            ticks(0.0, 70.0, false),
            [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0]
        );
        assert_eq!(ticks(-0.1, 0.35, false).len(), 5);
        assert_eq!(number(0.1), "0.1");
        assert_eq!(number(20.0), "20");
    }
}
