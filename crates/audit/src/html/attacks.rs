//! Section 3: the table of models and attacks, halves apart, and every operating point.

use dualmd_stats::OperatingPoint;
use maud::{Markup, html};

use super::{chip, draw, figure};
use crate::chosen::Chosen;
use crate::format::{count, fpr_name, interval, rate, seconds, significant};
use crate::report::{AttackResult, Finding, Measurement, ModelReport, Report, View};

/// The section.
pub fn section(report: &Report) -> Markup {
    let attacks = report.attacks();
    html! {
        section #attacks {
            h2 { "What each attack found" }
            (figure("wide", table(report, &attacks), caption(report)))
            (chosen(report))
            (agreement(report))
            (comparisons(report))
            @if report.models.iter().flat_map(|m| &m.results).any(|r| r.d1.is_some()) { (halves(report, &attacks)) }
            (operating_points(report))
        }
    }
}

fn caption(report: &Report) -> Markup {
    let all = || {
        report
            .models
            .iter()
            .flat_map(|m| m.results.iter().filter_map(move |r| r.view(m.primary)))
    };
    let leaks = all().filter(|m| m.finding == Finding::Leak).count();
    let inverted = all().filter(|m| m.finding == Finding::Inverted).count();
    html! {
        (leaks) " of " (all().count()) " combinations of model and attack leak beyond chance"
        @if inverted > 0 { ", " (inverted) " rank members below non-members" }
        " (filled marks; after correction for the number of attacks on each model). "
        "The large number is the AUC, the whisker its 95 % interval on a scale from 0 to 1 with chance in the middle; "
        "k/n counts the members found at 1 false alarm in 100; the strongest attack on each model is bold."
    }
}

fn table(report: &Report, attacks: &[(String, String)]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Models and attacks" {
            table.matrix {
                thead { tr {
                    th scope="col" { "Model" }
                    @for (name, title) in attacks { th scope="col" { (title) small { (about(report, name)) } } }
                } }
                tbody {
                    @for model in &report.models {
                        @let strongest = model.strongest().map(|r| r.attack.as_str());
                        tr {
                            th scope="row" { (model.title) small { (members(model)) } }
                            @for (name, _) in attacks {
                                (cell(model, model.results.iter().find(|r| r.attack == *name), strongest == Some(name.as_str())))
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Access and cost under an attack's name.
fn about(report: &Report, attack: &str) -> String {
    let Some(r) = report
        .models
        .iter()
        .flat_map(|m| &m.results)
        .find(|r| r.attack == attack)
    else {
        return String::new();
    };
    match r.network_calls_per_sample {
        Some(n) => format!(
            "{}, {} {}",
            r.access,
            count(n),
            if n == 1.0 { "call" } else { "calls" }
        ),
        None => r.access.clone(),
    }
}

fn members(model: &ModelReport) -> String {
    let n = model
        .results
        .iter()
        .find_map(|r| r.view(model.primary))
        .map(|m| m.n_members);
    match (n, model.primary) {
        (None, _) => "not attacked".into(),
        (Some(n), View::Pooled) => format!("{n} members"),
        (Some(n), own) => format!("{n} members, {}", own.name()),
    }
}

fn cell(model: &ModelReport, result: Option<&AttackResult>, strongest: bool) -> Markup {
    let Some(result) = result else {
        return html! { td.none { "not run" } };
    };
    let Some(m) = result.view(model.primary) else {
        return html! { td.none { strong { "failed" } @if let Some(reason) = &result.reason { small { (reason) } } } };
    };
    let found = m.tpr_at_fpr.iter().find(|p| p.fpr == 0.01);
    html! {
        td class=(if strongest { "best" } else { "" }) {
            div.figures {
                span.auc { (rate(m.auc)) }
                @match found {
                    Some(p) if p.measurable => { span.found title="members found at 1 false alarm in 100" { (p.tp) "/" (m.n_members) } }
                    _ => { span.found title="too few non-members" { "n/a" } }
                }
            }
            (draw::whisker(m, &format!("{} on {}", result.title, model.title)))
            div.ci { (interval(m.auc_ci))
                @if m.finding == Finding::Inverted { span.flag { "inverted" } }
                @if result.halves_differ && model.primary == View::Pooled { span.flag { "D1 ≠ D2" } }
            }
        }
    }
}

/// The same table with the two halves of the members apart.
fn halves(report: &Report, attacks: &[(String, String)]) -> Markup {
    let differ = report
        .models
        .iter()
        .filter(|m| m.primary == View::Pooled)
        .flat_map(|m| &m.results)
        .filter(|r| r.halves_differ)
        .count();
    html! {
        details #halves {
            summary { "D1 and D2 apart" @if differ > 0 { " - pooling hides a difference in " (differ) " " (if differ == 1 { "place" } else { "places" }) } }
            p { "Teacher 1 was trained on D1, teacher 2 on D2. Each half of the members against all non-members; intervals of 95 %, not corrected." }
            div.scroll tabindex="0" role="region" aria-label="Halves apart" {
                table.matrix.small {
                    thead { tr { th scope="col" { "Model" } @for (_, title) in attacks { th scope="col" { (title) } } } }
                    tbody {
                        @for model in &report.models { @for view in [View::D1, View::D2] {
                            tr class=(if view == View::D1 { "first" } else { "" }) {
                                th scope="row" { @if view == View::D1 { (model.title) } small { (view.name()) } }
                                @for (name, _) in attacks {
                                    @match model.results.iter().find(|r| r.attack == *name).and_then(|r| r.view(view)) {
                                        None => { td.none { "-" } }
                                        Some(m) => { td {
                                            div.figures { span.auc { (rate(m.auc)) } span.ci { (interval(m.auc_ci)) } }
                                            (draw::whisker(m, &format!("{name}, {}", view.name())))
                                        } }
                                    }
                                }
                            }
                        } }
                    }
                }
            }
        }
    }
}

/// Members that several attacks agree on.
fn agreement(report: &Report) -> Markup {
    let rows: Vec<_> = report
        .models
        .iter()
        .filter_map(|m| Some((m, m.agreement.as_ref()?)))
        .collect();
    html! {
        @if !rows.is_empty() {
            h3 { "Do the attacks agree on whom they find?" }
            div.scroll { table.plain {
                thead { tr {
                    th scope="col" { "Model" } th.n scope="col" { "by ≥ 1 attack" } th.n scope="col" { "by ≥ 2" } th.n scope="col" { "by all" } th.n scope="col" { "non-members by ≥ 1" }
                } }
                tbody { @for (m, a) in &rows { tr {
                    th scope="row" { (m.title) }
                    td.n { (a.by_one) "/" (a.n_members) } td.n { (a.by_two) "/" (a.n_members) }
                    td.n { (a.by_all) "/" (a.n_members) small { " of " (a.attacks) } } td.n { (a.nonmembers_by_one) "/" (a.n_nonmembers) }
                } } }
            } }
            p.caption { "Members found at 1 false alarm in 100 per attack. A member that every attack finds is exposed whatever the attacker prefers; the last column is the price: non-members that at least one attack takes for members." }
        }
    }
}

/// The best attack without the luck of the best, and what it does with several images of one person.
fn chosen(report: &Report) -> Markup {
    let rows: Vec<_> = report
        .models
        .iter()
        .filter_map(|m| Some((m, m.chosen.as_ref()?)))
        .collect();
    html! {
        @if !rows.is_empty() {
            h3 { "The best attack, chosen on one half and measured on the other" }
            div.scroll { table.plain {
                thead { tr {
                    th scope="col" { "Model" } th scope="col" { "Attack chosen" } th.n scope="col" { "AUC" } th.n scope="col" { "Members found" } th.n scope="col" { "False alarms" } th.n scope="col" { "Images that prove use" }
                } }
                tbody { @for (m, c) in &rows {
                    @let t = &c.selection.transferred;
                    tr {
                        th scope="row" { (m.title) }
                        td { (c.title) small { "of " (c.compared) } }
                        td.n { (rate(c.selection.auc.auc)) small { (interval([c.selection.auc.low, c.selection.auc.high])) } }
                        td.n { (t.tp) "/" (t.n_members) small { (interval(t.tpr_ci)) } }
                        td.n { (t.fp) "/" (t.n_nonmembers) small { (interval(t.fpr_ci)) } }
                        td.n { (needed(c)) }
                    }
                } }
            } }
            p.caption {
                "One half of the images chose the attack with the largest AUC and set its threshold for 1 false alarm in 100; all numbers are from the other half, so they owe nothing to "
                "the choice. The last column: how many images of one person suffice to show in at least 8 of 10 cases that they were trained on, at 5 % false alarms, by averaging their scores "
                "(images drawn at random from the members; a person's own images resemble each other and would count for fewer)."
            }
        }
    }
}

fn needed(chosen: &Chosen) -> String {
    match (chosen.images_needed, chosen.power.last()) {
        (Some(k), _) => k.to_string(),
        (None, Some(most)) => format!("more than {}", most.k),
        (None, None) => "not measurable".into(),
    }
}

/// The defence's effect attack by attack, on the same samples.
fn comparisons(report: &Report) -> Markup {
    let title = |name: &str| {
        report
            .models
            .iter()
            .find(|m| m.name == name)
            .map_or_else(|| name.to_owned(), |m| m.title.clone())
    };
    let attack = |name: &str| {
        report
            .attacks()
            .into_iter()
            .find(|a| a.0 == name)
            .map_or_else(|| name.to_owned(), |a| a.1)
    };
    html! {
        @if !report.comparisons.is_empty() {
            details {
                summary { "Difference to the undefended model, attack by attack" }
                p { "AUC of the undefended model minus AUC of the other, on the same images (DeLong's test for paired curves; p-values are not corrected). A difference of AUCs says nothing about which side of 0.5 they are on: read it beside the table above." }
                div.scroll { table.plain data-sortable="" {
                    thead { tr { th scope="col" { "Model" } th scope="col" { "Attack" } th.n scope="col" { "Difference" } th.n scope="col" { "95 % interval" } th.n scope="col" { "p" } } }
                    tbody { @for c in &report.comparisons { tr {
                        td { (title(&c.model)) } td { (attack(&c.attack)) }
                        td.n data-value=(c.difference) { (signed(c.difference)) } td.n { (signed(c.difference_ci[0])) " to " (signed(c.difference_ci[1])) }
                        td.n data-value=(c.p_value) { @if c.p_value < 0.001 { "<0.001" } @else { (significant(c.p_value)) } }
                    } } }
                } }
            }
        }
    }
}

fn signed(value: f64) -> String {
    if value < 0.0 {
        format!("−{:.2}", -value)
    } else {
        format!("{value:.2}")
    }
}

/// Every operating point with realised rates, counts and intervals.
fn operating_points(report: &Report) -> Markup {
    html! {
        details {
            summary { "All operating points, with counts and exact intervals" }
            p.on-paper { "The halves have a table of their own above; all of their operating points are in findings.csv." }
            p.filter hidden { label { "Show " select #filter { option value="" { "all models" } @for m in &report.models { option { (m.title) } } } } }
            div.scroll tabindex="0" role="region" aria-label="All operating points" {
                table.plain #points data-sortable="" {
                    thead { tr {
                        th scope="col" { "Model" } th scope="col" { "Attack" } th scope="col" { "Members" } th.n scope="col" { "AUC" } th.n scope="col" { "corrected interval" } th.n scope="col" { "bal. acc." }
                        @for fpr in crate::measure::FPRS { th.n scope="col" { "TPR at " (fpr_name(fpr)) } }
                        th.n scope="col" { "time" } th scope="col" { "Finding" }
                    } }
                    tbody { @for model in &report.models { @for r in &model.results { @for view in [View::Pooled, View::D1, View::D2] {
                        @if let Some(m) = r.view(view) { tr.half[view != View::Pooled && view != model.primary] data-model=(model.title) {
                            td { (model.title) } td { (r.title) } td { (view.name()) } td.n data-value=(m.auc) { (rate(m.auc)) } td.n { (interval(m.auc_ci_adjusted)) } td.n { (rate(m.balanced_accuracy)) }
                            @for p in &m.tpr_at_fpr { (point(p, m)) }
                            td.n data-value=[r.seconds] { @match r.seconds { Some(s) => (seconds(s)), None => "" } } td { (chip(m.finding)) }
                        } }
                    } } } }
                }
            }
        }
    }
}

fn point(p: &OperatingPoint, m: &Measurement) -> Markup {
    html! {
        @if p.measurable {
            td.n data-value=(p.tpr) { (rate(p.tpr)) small { (p.tp) "/" (m.n_members) ", " (interval(p.tpr_ci)) ", at " (p.fp) "/" (m.n_nonmembers) } }
        } @else {
            td.n.none data-value="-1" { "not measurable" small { "with n = " (m.n_nonmembers) } }
        }
    }
}
