//! What a reader with 30 seconds sees: what was audited, the verdict, what was not tested, and one picture.

use maud::{Markup, html};

use super::{chip, first, term};
use crate::facts::{HOLDS, date, made_by, plan, short_source};
use crate::format::grouped;
use crate::release::{finding_in_words, is_product};
use crate::report::{Finding, Report};
use crate::untested::not_run;
use crate::verdict::instead;

/// Title block: what, when, by which version.
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
    // Of a report that may leave the house nothing is known of a place but that there was one.
    if let Some(source) = plan(report, "/data/source").filter(|s| !s.contains('<')) {
        let size = plan(report, "/data/image_size")
            .map(|s| format!(" at {s}×{s} pixels"))
            .unwrap_or_default();
        facts.push(format!("{}{size}", short_source(&source)));
    }
    if let Some(created) = plan(report, "/created") {
        let put_together = match report.run.get("compared").is_some() {
            true => "put together ",
            false => "",
        };
        facts.push(format!("{put_together}{}", date(&created)));
    }
    let version =
        plan(report, "/versions/dualmd").map_or_else(|| "dualmd".into(), |v| format!("dualmd {v}"));
    let exposed = !report.is_void() && !report.exposed.is_empty();
    html! {
        header {
            p.kicker { "Membership-inference audit" span { (version) } }
            h1 { (name) }
            p.facts { @for fact in &facts { span { (fact) } } }
            @if report.shows_images() {
                p.private { strong { "This page contains training images." } " It is as confidential as they are; " code { @if report.run.get("compared").is_some() { "dualmd compare ... --no-images" } @else { "dualmd report FOLDER --no-images" } } " writes it without them." }
            }
            @if report.images_left_out {
                details.private { summary { strong { "This page was made without pictures." } " What that leaves out, and what not" }
                    p { "Left out of it and of " code { "report.json" } ": pictures, texts, names and scores of single images, the most exposed members, and where folders and files lie. Counts, rates and intervals are all there." }
                    p { "The name of the audit and those of its models stay, and may be the last part of a folder's name: rename that folder before the audit where it says who is shown. The folder of the audit still has everything, and is as confidential as the training images." }
                }
            }
            p.on-paper { "On paper the folded parts" @if exposed { ", whether the attacks agree, and the most exposed members" } @else { " and whether the attacks agree" } " are left out: " code { "report.html" } " has them, " code { "findings.csv" } " and " code { "report.json" } " have the numbers." }
        }
    }
}

/// The first screen, the verdict in words, and what was not tested beside it at the same size.
pub fn verdict(report: &Report) -> Markup {
    let v = &report.verdict;
    let not_run = not_run(report).map(|n| (n.line(), n));
    html! {
        section #verdict {
            @if let Some(void) = &v.void {
                div.void role="alert" { strong { "VOID" } p { (void) } }
            }
            (first::asked(report))
            @if v.void.is_none() {
                h2 { "What each thing gives away" }
                (first::overview(report))
            }
            div.panel {
                div.said {
                    h2 { "Verdict" }
                    @if v.void.is_some() {
                        p { "None: nothing follows from numbers that cannot be trusted." }
                        p { strong { (instead(&report.controls)) } }
                    }
                    @for sentence in &v.summary { p { (sentence) } }
                    @if !v.false_alarms.is_empty() { p.caption { (v.false_alarms) " (" (term("families", "more")) ")" } }
                    @if v.void.is_none() { p.caption { (HOLDS) } }
                }
                @if v.void.is_none() {
                    div.unsaid {
                        h2 { "Not tested" }
                        ul { @for item in &v.not_tested {
                            @match &not_run {
                                Some((line, n)) if line == item => { li { (n.said) ":" ul { @for attack in &n.attacks { li { (attack) } } } (n.then) } }
                                _ => { li { (item) } }
                            }
                        } }
                    }
                }
            }
            (notes(report))
            @if v.void.is_none() && !v.models.is_empty() {
                details.cards { summary { "Every model by itself" @if report.models.iter().any(|m| !is_product(m)) { ", those not for release too" } }
                    div.models { @for mv in &v.models {
                        @if let Some(model) = report.models.iter().find(|m| m.name == mv.model) {
                            article class=(if mv.finding == Finding::Leak { "leaks" } else { "" }) {
                                h3 { (model.title) " " (chip(mv.finding, finding_in_words(report, mv))) }
                                p.name { code { (model.name) } " · " (made_by(model)) }
                                p { (mv.text) }
                            }
                        }
                    } }
                }
            }
        }
    }
}

/// Notes on the numbers: the first two, and the rest folded; then what this folder has not.
fn notes(report: &Report) -> Markup {
    const SHOWN: usize = 2;
    let notes = &report.warnings;
    let (first, rest) = notes.split_at(SHOWN.min(notes.len()));
    // What an audit of a model that was trained elsewhere cannot have is not missing from its folder.
    let foreign = !report.models.is_empty()
        && report
            .models
            .iter()
            .all(|m| m.utility.is_none() && m.defense.is_unknown());
    let missing = match report.run.get("compared").is_some() {
        true => "Missing from the folders of the audits, or left out: ",
        false if foreign => "Not known of a model that was trained elsewhere: ",
        false => "Missing from this run folder: ",
    };
    if notes.is_empty() && report.missing.is_empty() {
        return html! {};
    }
    html! {
        div.notes {
            @for w in first { (note(w)) }
            @if !rest.is_empty() {
                details { summary { (rest.len()) " more " (if rest.len() == 1 { "note" } else { "notes" }) }
                    @for w in rest { (note(w)) } }
            }
            @if !report.missing.is_empty() {
                details { summary { (missing) (report.missing.len()) }
                    ul { @for m in &report.missing { li { (m) } } } }
            }
        }
    }
}

/// A note as a sentence: some come without a stop.
fn note(text: &str) -> Markup {
    html! { p { strong { "Note. " } (text) @if !text.ends_with(['.', '!', '?']) { "." } } }
}
