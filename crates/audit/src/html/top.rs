//! What a reader with 30 seconds sees: what was audited, the verdict, what was not tested, and one picture.

use maud::{Markup, html};
use serde_json::Value;

use super::{chip, draw, figure};
use crate::format::{grouped, list, rate};
use crate::report::Conclusion;
use crate::report::{Finding, Measurement, ModelReport, Report};

/// Name of the run.
pub fn run_name(report: &Report) -> String {
    report
        .run
        .get("name")
        .and_then(Value::as_str)
        .filter(|n| !n.is_empty())
        .unwrap_or("unnamed run")
        .to_owned()
}

/// Text or number at a JSON pointer of the plan.
pub fn plan(report: &Report, pointer: &str) -> Option<String> {
    match report.run.pointer(pointer)? {
        Value::String(s) if !s.is_empty() => Some(s.clone()),
        Value::Number(n) => Some(n.as_i64().map_or_else(|| n.to_string(), grouped)),
        Value::Bool(b) => Some(if *b { "yes" } else { "no" }.into()),
        _ => None,
    }
}

/// Title block: what, when, by which version, how to repeat it.
pub fn head(report: &Report, name: &str) -> Markup {
    let mut facts = Vec::new();
    match report.models.as_slice() {
        [only] => facts.push(only.title.clone()),
        all => facts.push(format!("{} models", all.len())),
    }
    let sizes = report
        .models
        .iter()
        .flat_map(|m| &m.results)
        .filter_map(|r| r.pooled.as_ref())
        .map(|m| (m.n_members, m.n_nonmembers))
        .max();
    if let Some((members, nonmembers)) = sizes {
        facts.push(format!(
            "{} training images, {} unseen",
            grouped(members as i64),
            grouped(nonmembers as i64)
        ));
    }
    if let Some(source) = plan(report, "/data/source") {
        let size = plan(report, "/data/image_size")
            .map(|s| format!(" at {s}×{s}"))
            .unwrap_or_default();
        facts.push(format!("{source}{size}"));
    }
    if let Some(created) = plan(report, "/created") {
        facts.push(date(&created));
    }
    let version =
        plan(report, "/versions/dualmd").map_or_else(|| "dualmd".into(), |v| format!("dualmd {v}"));
    html! {
        header {
            p.kicker { "Membership-inference audit" span { (version) } }
            h1 { (name) }
            p.facts { @for fact in &facts { span { (fact) } } }
            @if report.shows_images() {
                p.private { strong { "This page contains training images." } " It is as confidential as they are; " code { "dualmd report FOLDER --no-images" } " writes it without them." }
            }
            @if let Some(command) = plan(report, "/command") {
                p.repeat { "To repeat: " code { (command) } }
            }
        }
    }
}

/// `2026-11-24T05:09:00Z` as `24 November 2026, 05:09 UTC`; anything else as it is.
fn date(text: &str) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let parse = || {
        let (day, time) = text.split_once('T')?;
        let mut parts = day.split('-');
        let (y, m, d) = (
            parts.next()?,
            parts.next()?.parse::<usize>().ok()?,
            parts.next()?.parse::<u8>().ok()?,
        );
        let zone = if text.ends_with('Z') || text.ends_with("+00:00") {
            " UTC"
        } else {
            ""
        };
        Some(format!(
            "{d} {} {y}, {}{zone}",
            MONTHS.get(m.checked_sub(1)?)?,
            time.get(..5)?
        ))
    };
    parse().unwrap_or_else(|| text.to_owned())
}

/// Verdict, what was not tested beside it at the same size, and all models on one scale.
pub fn verdict(report: &Report) -> Markup {
    let v = &report.verdict;
    html! {
        section #verdict {
            @if let Some(void) = &v.void {
                div.void role="alert" { strong { "VOID" } p { (void) } }
            }
            div.panel {
                div.said {
                    h2 { "Verdict" }
                    @if v.void.is_some() { p { "None: nothing follows from numbers that cannot be trusted." } }
                    @for sentence in &v.summary { p { (sentence) } }
                    @if !v.false_alarms.is_empty() { p.caption { (v.false_alarms) } }
                }
                @if v.void.is_none() {
                    div.unsaid {
                        h2 { "Not tested" }
                        ul { @for item in &v.not_tested { li { (item) } } }
                    }
                }
            }
            @if !report.warnings.is_empty() || !report.missing.is_empty() {
                div.notes {
                    @for w in &report.warnings { p { strong { "Note. " } (w) } }
                    @if !report.missing.is_empty() {
                        details { summary { "Missing from this run folder: " (report.missing.len()) }
                            ul { @for m in &report.missing { li { (m) } } } }
                    }
                }
            }
            @if v.void.is_none() {
                (overview(report))
                div.models {
                    @for mv in &v.models {
                        @if let Some(model) = report.models.iter().find(|m| m.name == mv.model) {
                            article class=(if mv.finding == Finding::Leak { "leaks" } else { "" }) {
                                h3 { (model.title) " " (chip(mv.finding, mv.conclusion.words())) }
                                p.name { code { (model.name) } " · " (made_by(model)) }
                                p { (mv.text) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What a model is, in a few words.
fn made_by(model: &ModelReport) -> &'static str {
    match (model.is_teacher(), model.defense.defense()) {
        (true, _) => "trained on one half of the members",
        (false, Some(defense)) => defense.facts().made_by,
        (false, None) if model.defense.is_unknown() => "no defence recorded",
        (false, None) => "defence as named in the plan",
    }
}

/// One line of the overview.
struct Row<'a> {
    model: &'a ModelReport,
    /// Title of the strongest attack.
    title: &'a str,
    best: &'a Measurement,
    /// Every attack with its title.
    all: Vec<(&'a str, &'a Measurement)>,
}

/// One strip per model, all on the same axis from 0 to 1.
fn overview(report: &Report) -> Markup {
    let rows: Vec<Row> = report
        .models
        .iter()
        .filter_map(|model| {
            let best = model.strongest()?;
            Some(Row {
                model,
                title: &best.title,
                best: best.view(model.primary)?,
                all: model
                    .results
                    .iter()
                    .filter_map(|r| Some((r.title.as_str(), r.view(model.primary)?)))
                    .collect(),
            })
        })
        .collect();
    let concluded = |wanted: fn(&Conclusion) -> bool| -> Vec<String> {
        let own = rows.iter().map(|r| r.model);
        own.filter(|m| wanted(report.conclusion(&m.name)))
            .map(|m| m.title.clone())
            .collect()
    };
    let far = concluded(|c| matches!(c, Conclusion::Images { .. }));
    let mut caption = match (far.len(), rows.len()) {
        (0, _) => "No model's strongest attack is told from chance (the dashed line).".to_owned(),
        (n, total) if n == total && n > 1 => {
            "Every model is further from chance (the dashed line) than luck allows.".to_owned()
        }
        _ => format!(
            "Further from chance (the dashed line) than luck allows: {}.",
            list(&far)
        ),
    };
    // What this picture of single images does not show.
    for (what, models) in [
        (
            "One half of the members leaks by itself",
            concluded(|c| matches!(c, Conclusion::OneHalf { .. })),
        ),
        (
            "Members below non-members",
            concluded(|c| matches!(c, Conclusion::Inverted { .. })),
        ),
        (
            "Told apart as a whole set only",
            concluded(|c| matches!(c, Conclusion::WholeSet { .. })),
        ),
        (
            "Copies among the generated images",
            concluded(|c| matches!(c, Conclusion::Copies { .. })),
        ),
    ] {
        if !models.is_empty() {
            caption.push_str(&format!(" {what}: {}.", list(&models)));
        }
    }
    let body = html! {
        div.overview-grid {
            div.gap {} div.gap {}
            div.scale aria-hidden="true" { span { "0" } span { "chance 0.5" } span { "AUC 1" } }
            @for Row { model, title, best, all } in &rows {
                div.who { (model.title) @if model.primary != crate::report::View::Pooled { small { " on " (model.primary.name()) } } }
                div.value { strong { (rate(best.auc)) } small { " " (title) } }
                (draw::overview(all, best))
            }
        }
    };
    figure(
        "overview",
        body,
        html! { (caption) " One circle per attack; the strongest is drawn large, with its 95 % interval." },
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates() {
        assert_eq!(
            super::date("2026-11-24T05:09:00Z"),
            "24 November 2026, 05:09 UTC"
        );
        assert_eq!(super::date("2026-13-24T05:09:00Z"), "2026-13-24T05:09:00Z");
        assert_eq!(super::date("yesterday"), "yesterday");
    }
}
