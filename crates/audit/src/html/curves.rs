//! Sections 4 and 5 and the training curves: small multiples on common axes.

use maud::{Markup, html};

use super::draw::{self, Scale, marker, path, px, series};
use super::figure;
use crate::format::{fpr_name, grouped, rate, significant};
use crate::report::{AttackResult, Finding, ModelReport, Report, View};

/// Plot area of the ROC and loss plots inside a 338 x 290 view box.
const LEFT: f64 = 56.0;
const RIGHT: f64 = 320.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 244.0;

/// Rates of false alarms at which every curve has its marker.
const MARKED: [f64; 2] = [0.01, 0.1];

/// A report that was read from its file has numbers and no curves.
fn no_figures(report: &Report) -> bool {
    let mut results = report.models.iter().flat_map(|m| &m.results);
    results.all(|r| r.figures.is_none())
}

/// Section 4.
pub fn roc_section(report: &Report) -> Markup {
    let attacks = report.attacks();
    let style = |name: &str| series(attacks.iter().position(|a| a.0 == name).unwrap_or(0));
    let sizes = || {
        report
            .models
            .iter()
            .flat_map(|m| m.results.iter().filter_map(move |r| r.view(m.primary)))
    };
    // One axis for all plots: from the decade that the smallest resolvable rate lies in, at most five decades.
    let finest = sizes()
        .map(|m| 1.0 / m.n_members.max(m.n_nonmembers) as f64)
        .fold(0.1, f64::min);
    let low = 10f64.powf(finest.log10().floor()).max(1e-5);
    if no_figures(report) {
        return html! {};
    }
    html! {
        section #roc {
            h2 { "Members found against false alarms" }
            p.lede { "Both axes are logarithmic: what matters is the left, where few strangers are accused. A curve on the dashed diagonal is guessing. Markers stand at 1 and at 10 false alarms in 100; the first are the numbers of the table." }
            ul.legend {
                @for (name, title) in &attacks { li {
                    svg width="34" height="12" aria-hidden="true" { path class={ "line " (style(name).class) } stroke-dasharray=(style(name).dash) d="M0 6H34" {} (marker(style(name), 17.0, 6.0)) }
                    (title)
                } }
                li { svg width="34" height="12" aria-hidden="true" { path.chance d="M0 6H34" {} } "chance" }
                li { svg width="34" height="12" aria-hidden="true" { rect.blind width="34" height="12" {} } "not measurable" }
            }
            div.multiples {
                @for model in report.models.iter().filter(|m| m.strongest().is_some()) {
                    (figure("plot", roc(model, low, &style), roc_caption(model)))
                }
            }
        }
    }
}

fn roc(model: &ModelReport, low: f64, style: &dyn Fn(&str) -> draw::Series) -> Markup {
    let x = Scale::log(low, 1.0, LEFT, RIGHT);
    let y = Scale::log(low, 1.0, BOTTOM, TOP);
    let decades = (-low.log10()).round() as i32;
    let ticks: Vec<f64> = (0..=decades).map(|d| 10f64.powi(-d)).collect();
    let n0 = model
        .results
        .iter()
        .filter_map(|r| r.view(model.primary))
        .map(|m| m.n_nonmembers)
        .max()
        .unwrap_or(1);
    let strongest = model.strongest();
    let line = |r: &AttackResult| {
        let points: Vec<(f64, f64)> = r
            .figures
            .iter()
            .flat_map(|f| &f.roc)
            .map(|p| (x.at(p[0]), y.at(p[1])))
            .collect();
        path(&points)
    };
    let blind = x.at(1.0 / n0 as f64);
    html! {
        h3 { (model.title) @if model.primary != View::Pooled { small { " · members of " (model.primary.name()) } } }
        svg.roc viewBox="0 0 338 290" role="img" aria-label=(format!("ROC curves of {}", model.title)) data-low=(low) {
            rect.blind x=(LEFT) y=(TOP) width=(format!("{:.1}", blind - LEFT)) height=(BOTTOM - TOP) {}
            @for &t in &ticks {
                line.grid x1=(LEFT) x2=(RIGHT) y1=(px(y.at(t))) y2=(px(y.at(t))) {}
                line.grid x1=(px(x.at(t))) x2=(px(x.at(t))) y1=(TOP) y2=(BOTTOM) {}
                text.tick.end x=(LEFT - 6.0) y=(px(y.at(t) + 4.0)) { (fpr_name(t)) }
                text.tick.mid x=(px(x.at(t))) y=(BOTTOM + 16.0) { (fpr_name(t)) }
            }
            line.chance x1=(LEFT) y1=(BOTTOM) x2=(RIGHT) y2=(TOP) {}
            @if let Some(f) = strongest.and_then(|r| r.figures.as_ref()) { path.band d=(band(&f.band, x, y)) {} }
            @for r in model.results.iter().filter(|r| r.figures.is_some()) {
                path class={ "line " (style(&r.attack).class) } stroke-dasharray=(style(&r.attack).dash) d=(line(r)) data-name=(r.title) {}
            }
            @for r in &model.results {
                @for p in r.view(model.primary).iter().flat_map(|m| &m.tpr_at_fpr).filter(|p| p.measurable && MARKED.contains(&p.fpr)) {
                    (marker(style(&r.attack), x.at(p.fpr), y.at(p.tpr)))
                }
            }
            text.label.mid x=(px((LEFT + RIGHT) / 2.0)) y="280" { "false alarms among non-members" }
            text.label.mid transform=(format!("translate(11 {}) rotate(-90)", (TOP + BOTTOM) / 2.0)) { "members found" }
        }
    }
}

/// Upper edge forth, lower edge back.
fn band(points: &[[f64; 3]], x: Scale, y: Scale) -> String {
    let upper: Vec<(f64, f64)> = points.iter().map(|p| (x.at(p[0]), y.at(p[2]))).collect();
    let lower: Vec<(f64, f64)> = points
        .iter()
        .rev()
        .map(|p| (x.at(p[0]), y.at(p[1])))
        .collect();
    if upper.is_empty() {
        String::new()
    } else {
        format!("{}L{}Z", path(&upper), path(&lower).trim_start_matches('M'))
    }
}

fn roc_caption(model: &ModelReport) -> Markup {
    let points = || {
        model
            .results
            .iter()
            .filter_map(|r| Some((r, r.view(model.primary)?)))
    };
    let at = || {
        points().filter_map(|(r, m)| {
            Some((
                r,
                m,
                m.tpr_at_fpr
                    .iter()
                    .find(|p| p.fpr == 0.01 && p.measurable)?,
            ))
        })
    };
    let strongest = model.strongest().map(|r| r.attack.as_str());
    // Of attacks that find as many the one whose band is drawn.
    let best = at().max_by(|a, b| {
        let banded = |r: &AttackResult| strongest == Some(r.attack.as_str());
        (a.2.tpr.total_cmp(&b.2.tpr)).then(banded(a.0).cmp(&banded(b.0)))
    });
    html! {
        @match best {
            None => { "1 false alarm in 100 cannot be measured with so few non-members." }
            Some((_, m, p)) if p.tp == 0 => { "At 1 false alarm in 100 no attack finds any of the " (grouped(m.n_members as i64)) " members." }
            Some((r, m, p)) => {
                (r.title) " finds " (grouped(p.tp as i64)) " of " (grouped(m.n_members as i64)) " members at 1 false alarm in 100"
                @if m.finding == Finding::Leak { "." } @else { "; guessing would find about " (format!("{:.1}", 0.01 * m.n_members as f64)) "." }
            }
        }
        @if let Some(s) = model.strongest() { " Shaded: 95 % band of " (s.title) "." }
    }
}

/// Section 5.
pub fn histogram_section(report: &Report) -> Markup {
    if no_figures(report) {
        return html! {};
    }
    let attacks = report.attacks();
    let models: Vec<&ModelReport> = report
        .models
        .iter()
        .filter(|m| m.strongest().is_some())
        .collect();
    let ends = |best: bool| {
        let all = models.iter().flat_map(|m| {
            m.results
                .iter()
                .filter_map(move |r| Some((m, r, r.view(m.primary)?.auc)))
        });
        // Below 0.5 they stand apart as well.
        let apart = |one: &(_, _, f64)| (one.2 - 0.5).abs();
        match best {
            true => all.max_by(|a, b| apart(a).total_cmp(&apart(b))),
            false => all.min_by(|a, b| apart(a).total_cmp(&apart(b))),
        }
    };
    html! {
        section #scores {
            h2 { "Scores of members and non-members" }
            ul.legend {
                li { svg width="26" height="12" aria-hidden="true" { rect.members width="26" height="12" {} } "members (filled)" }
                li { svg width="26" height="12" aria-hidden="true" { rect.nonmembers x="1" y="1" width="24" height="10" {} } "non-members (outline)" }
            }
            @let body = html! { div.scroll tabindex="0" role="region" aria-label="Score histograms" { table.hists {
                thead { tr { th scope="col" { "Attack" } @for m in &models { th scope="col" { (m.title) } } } }
                tbody { @for (name, title) in &attacks { tr {
                    th scope="row" { (title) }
                    @for m in &models {
                        @match m.results.iter().find(|r| r.attack == *name).and_then(|r| Some((r.figures.as_ref()?, r.view(m.primary)?))) {
                            None => { td.none { small { (if m.results.iter().any(|r| r.attack == *name) { "failed" } else { "not run" }) } } }
                            Some((f, s)) => { td {
                                (draw::histogram(&f.histogram, &format!("Scores of {title} on {}, AUC {}", m.title, rate(s.auc))))
                                small { "AUC " (rate(s.auc)) @if f.histogram.log { span { "log axis" } } }
                            } }
                        }
                    }
                } } }
            } } };
            @let caption = html! {
                // Of two attacks that say the same there is no most and least.
                @if let (Some(best), Some(least)) = (ends(true), ends(false)) && rate(best.2) != rate(least.2) {
                    "Members stand apart most under " (best.1.title) " on " (best.0.title) " (AUC " (rate(best.2)) "); least under " (least.1.title) " on " (least.0.title) " (" (rate(least.2)) "). "
                }
                "Scores rise to the right, towards “member”; the outermost bins hold everything beyond them; each pair of shapes has its own axis."
            };
            (figure("wide", body, caption))
        }
    }
}

/// Member and held-out loss during training.
pub fn training_section(report: &Report) -> Markup {
    let models: Vec<&ModelReport> = report.models.iter().filter(|m| m.curve.len() > 1).collect();
    let losses = || {
        models
            .iter()
            .flat_map(|m| &m.curve)
            .flat_map(|p| [p.member, p.heldout])
            .filter(|l| *l > 0.0)
    };
    let (low, high) = (
        losses().fold(f64::INFINITY, f64::min),
        losses().fold(0.0, f64::max),
    );
    let last = models
        .iter()
        .flat_map(|m| &m.curve)
        .map(|p| p.step)
        .fold(0.0, f64::max);
    html! {
        @if !models.is_empty() && high > 0.0 {
            section #training {
                h2 { "What training did" }
                p.lede { "The loss says how badly a model predicts the noise that was added to an image. Held-out images are images that it was not trained on. The attacks live on the gap between the two lines." }
                ul.legend {
                    li { svg width="34" height="12" aria-hidden="true" { path.curve.members d="M0 6H34" {} } "members" }
                    li { svg width="34" height="12" aria-hidden="true" { path.curve.nonmembers d="M0 6H34" {} } "held-out (dashed)" }
                }
                div.multiples { @for m in &models { (figure("plot", loss(m, low, high, last), loss_caption(m))) } }
            }
        }
    }
}

fn loss(model: &ModelReport, low: f64, high: f64, last: f64) -> Markup {
    let x = Scale::linear(0.0, last, LEFT, RIGHT);
    let y = Scale::log(low * 0.9, high * 1.1, BOTTOM, TOP);
    // 1, 2 and 5 times powers of ten that lie inside the axis.
    let ticks: Vec<f64> = (-7..3)
        .flat_map(|e| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(e)))
        .filter(|t| (low * 0.9..=high * 1.1).contains(t))
        .collect();
    let line = |value: &dyn Fn(&crate::report::CurvePoint) -> f64| {
        path(
            &model
                .curve
                .iter()
                .map(|p| (x.at(p.step), y.at(value(p))))
                .collect::<Vec<_>>(),
        )
    };
    html! {
        h3 { (model.title) }
        svg viewBox="0 0 338 290" role="img" aria-label=(format!("Losses of {} during training", model.title)) {
            @for &t in &ticks {
                line.grid x1=(LEFT) x2=(RIGHT) y1=(px(y.at(t))) y2=(px(y.at(t))) {}
                text.tick.end x=(LEFT - 6.0) y=(px(y.at(t) + 4.0)) { (format!("{t}")) }
            }
            @for share in [0.0, 0.5, 1.0] { text.tick.mid x=(px(x.at(last * share))) y=(BOTTOM + 16.0) { (significant(last * share)) } }
            path.curve.nonmembers d=(line(&|p| p.heldout)) {}
            path.curve.members d=(line(&|p| p.member)) {}
            text.label.mid x=(px((LEFT + RIGHT) / 2.0)) y="280" { "step" }
            text.label.mid transform=(format!("translate(11 {}) rotate(-90)", (TOP + BOTTOM) / 2.0)) { "loss" }
        }
    }
}

fn loss_caption(model: &ModelReport) -> Markup {
    let Some(end) = model.curve.last() else {
        return html! {};
    };
    html! {
        @if end.heldout > end.member {
            "At the end the loss on held-out images (" (significant(end.heldout)) ") is " (significant(end.heldout / end.member)) " times that on members (" (significant(end.member)) ")."
        } @else {
            "At the end the loss on members (" (significant(end.member)) ") is no smaller than that on held-out images (" (significant(end.heldout)) ")."
        }
    }
}
