//! `report.html`: one self-contained page, drawn without JavaScript; a short script sorts, filters and shows values.
//!
//! `maud` escapes every name, caption and path. A content security policy forbids all loading, and allows the one
//! script by its hash, so even a hole in the escaping could not run or fetch anything.

mod attackers;
mod attacks;
mod close;
mod copies;
mod counts;
mod curves;
mod draw;
mod evidence;
mod first;
mod frontier;
mod own;
mod pictures;
mod settings;
mod top;

use base64::Engine as _;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use crate::facts;
use crate::report::{Advice, AttackResult, Finding, Report};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The whole page. A report that an earlier version wrote is judged by the rules of this one, if it says what each attack found.
pub fn page(report: &Report) -> String {
    let found = |r: &AttackResult| {
        r.pooled
            .as_ref()
            .is_some_and(|m| m.finding != Finding::Unknown)
    };
    let judged;
    let report =
        match first::unjudged(report) && report.models.iter().flat_map(|m| &m.results).any(found) {
            true => {
                judged = report.clone().judged();
                &judged
            }
            false => report,
        };
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(SCRIPT));
    let policy = format!(
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'"
    );
    let name = facts::run_name(report);
    // Of a void report nothing is shown that looks like a result: neither figures nor captions.
    let result = |section: fn(&Report) -> Markup| match report.is_void() {
        true => html! {},
        false => section(report),
    };
    let sections: Vec<(&str, &str, Markup)> = [
        ("verdict", "Verdict", top::verdict(report)),
        ("untrusted", "Numbers", attacks::untrusted(report)),
        (
            "frontier",
            "Privacy against quality",
            result(frontier::section),
        ),
        ("attacks", "Attacks", result(attacks::section)),
        ("roc", "ROC curves", result(curves::roc_section)),
        ("scores", "Scores", result(curves::histogram_section)),
        ("sets", "Sets of images", result(evidence::sets_section)),
        ("epsilon", "Epsilon", result(evidence::epsilon_section)),
        (
            "repeats",
            "Repeated trainings",
            result(evidence::repeats_section),
        ),
        ("pictures", "Pictures", result(pictures::section)),
        ("copies", "Copies", result(copies::section)),
        ("utility", "Utility", result(settings::utility)),
        ("controls", "Controls", close::controls(report)),
        ("own", "Own images", result(own::section)),
        ("training", "Training", result(curves::training_section)),
        ("compat", "Public codes", result(evidence::compat_section)),
        ("settings", "Settings", settings::section(report)),
        ("edpb", "EDPB", close::edpb(report)),
        ("reading", "How to read this", close::how_to_read(report)),
        ("references", "References", close::references()),
        ("hashes", "Hashes", settings::hashes(report)),
    ]
    .into_iter()
    .filter(|(_, _, body)| !body.0.is_empty())
    .collect();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content="dualmd";
                title { "Membership audit: " (name) }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) (PreEscaped(margins(report, &name))) }
            }
            body {
                main {
                    (top::head(report, &name))
                    // The first screen, then the way to the rest.
                    @for (i, (_, _, body)) in sections.iter().enumerate() {
                        (body)
                        @if i == 0 { nav aria-label="Sections" { @for (id, label, _) in &sections[1..] { a href={ "#" (id) } { (label) } } } }
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
    .into_string()
}

/// What stands at the foot of every printed page: the run, its date, and the page's number.
fn margins(report: &Report, name: &str) -> String {
    let date = facts::plan(report, "/created").map_or_else(String::new, |d| facts::date(&d));
    let foot = quoted(&[name, &date].join("  ·  "));
    format!(
        "@page {{ @bottom-left {{ content: {foot}; font: 8px sans-serif; }} @bottom-right {{ content: counter(page) \" / \" counter(pages); font: 8px sans-serif; }} }}"
    )
}

/// Text as a string of CSS: whatever could end it, or the style, is written by its number.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars().take(120) {
        if c.is_alphanumeric() || " ·-_.,:+".contains(c) {
            out.push(c);
        } else {
            out.push_str(&format!("\\{:x} ", c as u32));
        }
    }
    out.push('"');
    out
}

/// A word, with the way to where the page explains it: an entry of [`close::how_to_read`].
fn term(id: &str, word: &str) -> Markup {
    html! { a.term href={ "#term-" (id) } { (word) } }
}

/// A figure with a caption that states what is to be seen.
fn figure(class: &str, body: Markup, caption: Markup) -> Markup {
    html! { figure class=(class) { (body) figcaption { (caption) } } }
}

/// What stands before the words of a mark, so that it survives black-and-white print.
enum Shape {
    Disc,
    Triangle,
    Square,
    Ring,
    Dash,
}

/// A shape and words, in the colour of `class`.
fn mark(class: &str, shape: Shape, words: &str) -> Markup {
    html! {
        span class={ "chip " (class) } {
            svg width="10" height="10" viewBox="0 0 10 10" aria-hidden="true" {
                @match shape {
                    Shape::Disc => { circle cx="5" cy="5" r="4.5" {} }
                    Shape::Triangle => { path d="M0.5 1.5h9L5 9.5z" {} }
                    Shape::Square => { path d="M0.5 0.5h9v9h-9z" {} }
                    Shape::Ring => { circle.hollow cx="5" cy="5" r="3.8" {} }
                    Shape::Dash => { path.hollow d="M1 5h8" {} }
                }
            }
            (words)
        }
    }
}

/// The mark of a finding.
fn chip(finding: Finding, words: &str) -> Markup {
    let shape = match finding {
        Finding::Leak => Shape::Disc,
        Finding::Inverted => Shape::Triangle,
        Finding::Set | Finding::Copies => Shape::Square,
        Finding::Chance => Shape::Ring,
        Finding::Unknown | Finding::Void => Shape::Dash,
    };
    mark(finding.name(), shape, words)
}

/// The mark of an advice.
fn chip_of(advice: Advice) -> Markup {
    let (class, shape) = match advice {
        Advice::Withhold => ("leak", Shape::Disc),
        Advice::IfNoSecret => ("set", Shape::Square),
        Advice::NothingFound => ("chance", Shape::Ring),
        Advice::MeasureAgain | Advice::NotTested => ("chance", Shape::Dash),
    };
    mark(class, shape, advice.words())
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_name_cannot_leave_its_string_in_the_style() {
        assert_eq!(quoted("a b-1.0"), "\"a b-1.0\"");
        let evil = quoted("\"; } </style><script>\n\\");
        assert!(
            !evil[1..evil.len() - 1].contains(['"', '<', '>', ';', '}', '\n']),
            "{evil}"
        );
        assert!(evil.contains("\\22 ") && evil.contains("\\5c "), "{evil}");
    }
}
