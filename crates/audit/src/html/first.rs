//! The first screen: what was asked, what each thing that could be given out gives away, and what to do.

use maud::{Markup, html};

use super::{chip_of, draw, figure, term};
use crate::format::{interval, list, rate};
use crate::release;
use crate::report::{
    Advice, Conclusion, Finding, Measurement, ModelReport, Release, Released, Report, View,
};
use crate::words::capital;

/// What was asked, and what somebody must have to try it.
pub fn asked(report: &Report) -> Markup {
    let which = match report.models.len() {
        1 => "this model",
        _ => "one of these models",
    };
    html! {
        div.asked {
            p.question { "Can someone who already has a picture find out whether " (which) " was trained on it?" }
            (answer(report))
            p { "Such a person needs the picture itself and one of three things: images that the model generated, a way to let it work on pictures of their own (queries), or its weights. Whoever has the weights can do all of it. Being found means that the picture was in the training set, with all that this says about the person on it." }
        }
    }
}

/// What to do, before anything that explains it: one line for each advice, with the models that it is for where there are several.
fn answer(report: &Report) -> Markup {
    let mut lines: Vec<(&str, Vec<String>)> = Vec::new();
    for own in report
        .verdict
        .models
        .iter()
        .filter(|m| !m.advice.is_empty())
    {
        let mut models = report.models.iter();
        let model = models.find(|m| m.name == own.model);
        let title = model.map_or_else(|| own.model.clone(), |m| m.title.clone());
        match lines.iter_mut().find(|line| line.0 == own.advice) {
            Some(line) => line.1.push(title),
            None => lines.push((&own.advice, vec![title])),
        }
    }
    html! {
        @if !lines.is_empty() {
            div.answer {
                p { "What to do, by " (term("advice", "rules of thumb")) ", none of which makes a model safe:" }
                ul { @for (advice, models) in &lines { li {
                    strong { (advice) } @if report.models.len() > 1 { " " (list(models)) "." }
                } } }
            }
        }
    }
}

/// Has nobody said what follows for the models, as in reports of early versions?
pub fn unjudged(report: &Report) -> bool {
    let unknown = |m: &ModelReport| matches!(report.conclusion(&m.name), Conclusion::Unknown);
    !report.is_void()
        && report.verdict.releases.is_empty()
        && report
            .models
            .iter()
            .filter(|m| m.strongest().is_some())
            .all(unknown)
}

/// Every model on one scale: what could be given out, line by line; then the models that are not for release.
pub fn overview(report: &Report) -> Markup {
    let v = &report.verdict;
    let all_models = report.models.iter();
    let measured: Vec<&ModelReport> = all_models.filter(|m| m.strongest().is_some()).collect();
    let concluded = |wanted: fn(&Conclusion) -> bool| -> Vec<String> {
        let own = measured.iter();
        own.filter(|m| wanted(report.conclusion(&m.name)))
            .map(|m| m.title.clone())
            .collect()
    };
    let unjudged = unjudged(report);
    let caption = match unjudged {
        true => "What follows for each model is not in this report, which an earlier version wrote or somebody shortened: the command for it is dualmd report FOLDER.".to_owned(),
        false => caption(measured.len(), concluded),
    };
    let lines = |m: &ModelReport| release::of_model(&v.releases, &m.name);
    let (for_release, others): (Vec<_>, Vec<_>) = measured
        .iter()
        .map(|&model| (model, lines(model)))
        .partition(|(_, lines)| !lines.is_empty());
    let mut results = measured.iter().flat_map(|m| &m.results);
    let halves = results.any(|r| r.d1.is_some());
    let body = html! {
        div.overview-grid {
            div.gap {} div.gap {} div.gap {}
            div.scale aria-hidden="true" { span { "0" } span { "chance 0.5" } span { "AUC 1" } }
            @for (model, lines) in &for_release { (of_release(model, lines, &report.models)) }
            @if !others.is_empty() { div.title { strong { @if unjudged { "Strongest attacks" } @else { "Not for release" } } } }
            @for (model, _) in others {
                @if let Some((best, m)) = model.strongest().and_then(|r| Some((r, r.view(model.primary)?))) {
                    div.who { (model.title) @if model.primary != View::Pooled { small { " on " (model.primary.name()) } } }
                    div.value { strong { (rate(m.auc)) } small { " " (best.title) } }
                    div.todo {}
                    (draw::overview(&all(model, Released::Weights), m.auc, m.auc_ci_adjusted, m.finding == Finding::Leak))
                }
            }
        }
    };
    figure(
        "overview",
        body,
        html! {
            (caption) " One circle per attack, placed by its " (term("auc", "AUC")) ": how often it ranks a random training image above a random unseen one. 0.5 is guessing, 1 is certainty. "
            "The strongest is drawn large. Intervals here are " (term("intervals", "widened")) " for the choice among the attacks; the table further down has those of each attack alone. "
            (term("member", "Members")) " are training images. \"Finds\": how many of them are found at 1 " (term("found", "false alarm")) " in 100, so that at most 1 in 100 unseen images is taken for a member"
            @if report.verdict.releases.iter().any(|r| release::other_rate(r).is_some()) { ", or at as many as the line says" }
            "." @if halves { " " (term("halves", "D1 and D2")) " are the two halves of the members." }
        },
    )
}

/// One model: its three lines, and why each advises what it does.
fn of_release(model: &ModelReport, lines: &[&Release], models: &[ModelReport]) -> Markup {
    html! {
        div.title {
            strong { (model.title) }
            details.because { summary { "Why" } ul { @for line in lines { li { strong { (line.what.title()) ": " } (line.because) } } } }
        }
        @for line in lines {
            div.who { (line.what.title()) }
            div.value {
                @match line.tried() {
                    Some(s) => {
                        @if let Some(words) = release::in_words_of(line, models) { (capital(&words)) }
                        @else { "AUC " (rate(s.auc)) }
                        small { " " (s.title) ", AUC " (rate(s.auc)) " (" (interval(s.auc_ci)) ")" @if let Some(less) = release::with_less(line, models) { "; " (less) } }
                    }
                    None => { span.none { "Not tested" } }
                }
            }
            div.todo title=(line.because) { (chip_of(line.advice)) }
            @match line.tried() {
                Some(s) => {
                    @let of = models.iter().find(|m| m.name == s.model).unwrap_or(model);
                    (draw::overview(&all(of, line.what), s.auc, s.auc_ci, line.advice == Advice::Withhold))
                }
                None => { div.strip.empty {} }
            }
        }
    }
}

/// The attacks on a model that whoever holds `what` can run, with their titles.
fn all(model: &ModelReport, what: Released) -> Vec<(&str, &Measurement)> {
    let own = model.results.iter();
    own.filter(|r| Released::needed(r) <= what)
        .filter_map(|r| Some((r.title.as_str(), r.view(model.primary)?)))
        .collect()
}

/// Which models are told from chance, and what the picture of single images does not show.
fn caption(total: usize, concluded: impl Fn(fn(&Conclusion) -> bool) -> Vec<String>) -> String {
    let far = concluded(|c| matches!(c, Conclusion::Images { .. }));
    let mut caption = match (far.len(), total) {
        (0, _) => "No model's strongest attack lies above chance (the dashed line) by more than luck allows.".to_owned(),
        (n, total) if n == total && n > 1 => {
            "Every model is further from chance (the dashed line) than luck allows.".to_owned()
        }
        _ => format!(
            "Further from chance (the dashed line) than luck allows: {}.",
            list(&far)
        ),
    };
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
            "Too few images for anything to be said",
            concluded(|c| matches!(c, Conclusion::Unknown)),
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
    caption
}
