//! Section 6: samples of every model from the same noise, nearest training images, most exposed members.

use std::cell::Cell;

use base64::Engine as _;
use dualmd_record::exposed::Exposed;
use dualmd_record::samples::{Nearest, PromptedImage};
use maud::{Markup, html};

use super::figure;
use crate::conclusion::{set_looks, told_apart};
use crate::disk::Png;
use crate::files::{Pictured, ShownPair};
use crate::findings::NEARER;
use crate::format::{count, grouped, p_value, percent, percent_interval, significant};
use crate::report::{ModelReport, Report, View};

/// Bytes of pictures a page may carry, so that it stays a file one can mail (base64 adds a third).
const BUDGET: usize = 1_200_000;

/// Pairs shown per model, and exposed members shown per model.
const PAIRS: usize = 6;
const EXPOSED: usize = 12;

/// Embeds pictures until the budget is spent.
struct Embedder {
    left: Cell<usize>,
}

impl Embedder {
    fn image(&self, png: Option<&Png>, alt: &str) -> Markup {
        match png {
            None => html! { span.nopic { "no picture" } },
            Some(p) if p.bytes.len() > self.left.get() => {
                html! { span.nopic { "left out to keep this file small" } }
            }
            Some(p) => {
                self.left.set(self.left.get() - p.bytes.len());
                let data = base64::engine::general_purpose::STANDARD.encode(&p.bytes);
                html! { img src={ "data:image/png;base64," (data) } width=(p.width) height=(p.height) alt=(alt); }
            }
        }
    }
}

/// The section; nothing when the run has no pictures at all.
pub fn section(report: &Report) -> Markup {
    let grids: Vec<&ModelReport> = report
        .models
        .iter()
        .filter(|m| m.pictures.grid.is_some())
        .collect();
    let nearest: Vec<(&ModelReport, &Nearest)> = report
        .models
        .iter()
        .filter_map(|m| {
            Some((
                m,
                m.pictures
                    .nearest
                    .as_ref()
                    .filter(|n| !n.pairs.is_empty())?,
            ))
        })
        .collect();
    let embed = Embedder {
        left: Cell::new(BUDGET),
    };
    html! {
        @if !grids.is_empty() || !nearest.is_empty() || !report.exposed.is_empty() {
            section #pictures {
                h2 { "What the models draw, and whom they resemble" }
                @if !grids.is_empty() {
                    @if grids.len() > 1 {
                        h3 { "Samples from the same noise" }
                        p.lede { "The same place in each grid started from the same noise, so places can be compared across models." }
                    } @else { h3 { "Generated images" } }
                    div.grids { @for m in &grids { figure.sample { (embed.image(m.pictures.grid.as_ref(), &format!("Samples of {}", m.title))) figcaption { strong { (m.title) } } } } }
                }
                (prompted(report, &embed))
                @if !nearest.is_empty() {
                    h3 { "Generated images and their nearest training images" }
                    p.lede { "Left: generated; right: its nearest training image. The bars are distances to the nearest training image (orange) and to the nearest unseen image (blue outline): root mean squared errors per pixel, from 0 (a copy) to 1. The larger of two sets has the nearer neighbour by chance, so do not compare the bars. The sentences below compare with as many images of either kind." }
                    @let looks = set_looks(&report.models);
                    @for (m, n) in &nearest { (pairs(m, n, told_apart(m, looks).iter().any(|t| t.name == NEARER), &embed)) }
                }
                div.secondary { (exposed(report, &embed)) }
            }
        }
    }
}

/// What the models draw for the same texts: a row for each text, a column for each model.
fn prompted(report: &Report, embed: &Embedder) -> Markup {
    let models = || {
        let all = report.models.iter();
        all.filter(|m| !m.pictures.prompted.is_empty())
    };
    let mut texts: Vec<(&str, bool)> = Vec::new();
    for image in models().flat_map(|m| &m.pictures.prompted) {
        let text = (image.prompt.as_deref().unwrap_or_default(), image.member);
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    let drawn = |m: &ModelReport, text: (&str, bool)| {
        let of = |p: &&Pictured<PromptedImage>| {
            (p.prompt.as_deref(), p.member) == (Some(text.0), text.1)
        };
        let found = m.pictures.prompted.iter().find(of);
        let alt = format!("{} for: {}", m.title, text.0);
        embed.image(found.and_then(|p| p.picture.as_ref()), &alt)
    };
    html! {
        @if !texts.is_empty() {
            h3 { "Images for the same prompts" }
            p.lede { "The first prompts of the run, each with the first image drawn for it; in a row all models began with the same noise." }
            div.scroll tabindex="0" role="region" aria-label="Images for the same prompts" { table.plain.prompted {
                thead { tr { th scope="col" { "Prompt" } @for m in models() { th scope="col" { (m.title) } } } }
                tbody { @for text in &texts { tr {
                    th scope="row" { (text.0) small { (if text.1 { "trained on" } else { "never seen" }) } }
                    @for m in models() { td { (drawn(m, *text)) } }
                } } }
            } }
        }
    }
}

fn pairs(model: &ModelReport, nearest: &Nearest, told: bool, embed: &Embedder) -> Markup {
    let mut order: Vec<_> = model.pictures.pairs.iter().collect();
    order.sort_by(|a, b| {
        let distance = |shown: &ShownPair| shown.pair.distance.unwrap_or(f64::INFINITY);
        distance(a).total_cmp(&distance(b))
    });
    let reference = &nearest.heldout_reference;
    let body = html! {
        h4 { (model.title) }
        div.pairs { @for shown in order.iter().take(PAIRS) { @let pair = &shown.pair; div.pair {
            div.two {
                (embed.image(shown.pictures.0.as_ref(), "Generated image"))
                (embed.image(shown.pictures.1.as_ref(), &format!("Nearest training image, {}", pair.member_id)))
            }
            @if let Some(d) = pair.distance {
                (distance("training", "members", d))
            }
            @if let Some(d) = pair.heldout_distance {
                (distance("unseen", "nonmembers", d))
            }
            @if let Some(prompt) = &shown.prompt { p.prompt { (prompt) } }
        } } }
    };
    let caption = html! {
        (equally_many(model, nearest, told))
        @if let (Some(q05), Some(median)) = (reference.q05, reference.median) {
            "Shown are those that come nearest to a training image. For comparison: half of the unseen images lie further than " (short(median)) " from every training image, and 95 % further than " (short(q05)) "."
        }
    };
    figure("nearest", body, caption)
}

/// Whether what a model draws lies nearer to members than to as many unseen images: the sentence follows the test of the table of
/// whole sets.
fn equally_many(model: &ModelReport, nearest: &Nearest, told: bool) -> Markup {
    let medians = nearest
        .median_distance_members
        .zip(nearest.median_distance_heldout);
    html! {
        @match (nearest.equal.flatten(), medians) {
            _ if nearest.prompted => {
                "Drawn for captions of training images, which these generated images resemble for that alone. So their distances by themselves show no copying. "
            }
            (Some(e), _) => {
                @if told { "Nearer to training images than to as many unseen ones: " }
                @else if model.primary != View::Pooled { "Against the members of both halves: " }
                @else { "No nearer to training images than to as many unseen ones, as far as this can be told: " }
                "median distance " (short(e.median_members)) " against " (short(e.median_others)) " to the nearest of " (grouped(e.n as i64)) " of either kind; "
                (percent(e.share)) " of " (grouped(e.generated as i64)) " generated images lie nearer to a member, where chance is 50 % (95 % interval " (percent_interval(e.share_ci)) " %; p = " (p_value(e.p_value)) "). "
            }
            (None, Some((member, heldout))) => {
                "Median distance " (short(member)) " to the nearest member and " (short(heldout)) " to the nearest unseen image"
                @if let Some(n) = nearest.n_generated { " over " (count(n.as_f64())) " generated images" }
                ". The two sets may be of different size here, and the larger has the nearer neighbour by chance: this says nothing about copying. "
            }
            (None, None) => {}
        }
    }
}

fn short(distance: f64) -> String {
    format!("{distance:.3}")
}

/// A bar whose full length is a distance of 0.4: a photograph against an unrelated one of its kind.
fn distance(label: &str, class: &str, value: f64) -> Markup {
    let width = format!("{:.1}%", (value / 0.4).clamp(0.0, 1.0) * 100.0);
    html! { div.distance { span { (label) } svg width="100%" height="8" aria-hidden="true" { rect class=(class) x="0.5" y="0.5" width=(width) height="7" {} } b { (short(value)) } } }
}

fn exposed(report: &Report, embed: &Embedder) -> Markup {
    let title = |name: &str| {
        report
            .attacks()
            .into_iter()
            .find(|a| a.0 == name)
            .map_or_else(|| name.to_owned(), |a| a.1)
    };
    html! {
        @if !report.exposed.is_empty() {
            h3 { "Most exposed members" }
            p.lede { "These training images score highest. " @if report.exposed.iter().any(|e| e.attack == "mean rank") { "Mean rank: where an image stands among all that were scored, averaged over the attacks; 1 is above every other. " } "If they show persons, treat this page like the images themselves." }
            @for model in &report.models {
                @let list = ranked(report, &model.name);
                @if !list.is_empty() {
                    h4 { (model.title) }
                    div.exposed { @for e in list.iter().take(EXPOSED) { div.one {
                        (embed.image(e.picture.as_ref(), &format!("Member {}", called(e))))
                        span { "#" (e.rank) " " (title(&e.attack)) } span { "score " (significant(e.score)) } code title=(e.id) { (called(e)) }
                    } } }
                }
            }
        }
    }
}

/// What an image is called: its name where that is known, else the beginning of its id.
fn called(image: &Exposed) -> String {
    (image.name.clone()).unwrap_or_else(|| image.id.chars().take(8).collect())
}

/// The exposed members of one model, the most exposed first.
fn ranked<'a>(report: &'a Report, model: &str) -> Vec<&'a Pictured<Exposed>> {
    let mut list: Vec<_> = report.exposed.iter().filter(|e| e.model == model).collect();
    list.sort_by_key(|e| e.rank);
    list
}
