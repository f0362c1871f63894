//! Utility and cost, and everything needed to repeat the run.

use maud::{Markup, html};
use serde_json::Value;

use super::top::plan;
use crate::format::{count, grouped, seconds, significant};
use crate::report::{AttackResult, ModelReport, Report};

/// What the defences cost and what is left of the model's quality.
pub fn utility(report: &Report) -> Markup {
    let rows: Vec<&ModelReport> = report
        .models
        .iter()
        .filter(|m| m.utility.is_some() || m.network_calls_made.is_some())
        .collect();
    let number = |x: Option<f64>| html! { td.n data-value=[x] { @match x { Some(v) => (significant(v)), None => "-" } } };
    let whole = |x: Option<f64>| html! { td.n data-value=[x] { @match x { Some(v) => (grouped(v as i64)), None => "-" } } };
    html! {
        @if !rows.is_empty() {
            section #utility {
                h2 { "Utility and cost" }
                figure.wide {
                    div.scroll tabindex="0" role="region" aria-label="Utility and cost" { table.plain data-sortable="" {
                        thead { tr {
                            th scope="col" { "Model" } th.n scope="col" { "held-out loss" } th.n scope="col" { "member loss" } th.n scope="col" { "gap" }
                            th.n scope="col" { "images" } th.n scope="col" { "steps" } th.n scope="col" { "parameters" } th.n scope="col" { "training" } th.n scope="col" { "images/s" } th.n scope="col" { "peak MB" } th.n scope="col" { "attack calls" }
                        } }
                        tbody { @for m in &rows {
                            @let u = m.utility.clone().unwrap_or_default();
                            tr {
                                th scope="row" { (m.title) @if !u.teachers.is_empty() { small { "taught by " (u.teachers.join(", ")) } } }
                                (number(u.heldout_loss)) (number(u.member_loss)) (number(u.heldout_loss.zip(u.member_loss).map(|(h, m)| h - m)))
                                (whole(u.images)) (whole(u.steps)) (whole(u.parameters))
                                td.n data-value=[u.seconds] { @match u.seconds { Some(s) => (seconds(s)), None => "-" } }
                                (number(u.images_per_second)) (whole(u.peak_rss_mb))
                                td.n data-value=[m.network_calls_made] { @match m.network_calls_made { Some(n) => (grouped(n as i64)), None => "-" }
                                    @if let Some(saved) = m.network_calls_saved.filter(|s| *s > 0.0) { small { (grouped(saved as i64)) " saved" } } }
                            }
                        } }
                    } }
                    figcaption { (utility_caption(&rows)) }
                }
            }
        }
    }
}

fn utility_caption(rows: &[&ModelReport]) -> Markup {
    let loss = |m: &&&ModelReport| m.utility.as_ref().and_then(|u| u.heldout_loss);
    let best = rows.iter().filter(|m| loss(m).is_some()).min_by(|a, b| {
        loss(a)
            .unwrap_or(f64::MAX)
            .total_cmp(&loss(b).unwrap_or(f64::MAX))
    });
    html! {
        @match best {
            Some(m) => { "Lowest loss on unseen images: " (m.title) " (" (significant(loss(&m).unwrap_or_default())) "). " }
            None => { "No losses were recorded. " }
        }
        "A distilled model needs its teachers' training too, and the DualMD pair is stored and served as two models. Attack calls: calls of the network by all attacks together, one image each."
    }
}

/// Settings, seeds, hashes, versions, hardware.
pub fn section(report: &Report) -> Markup {
    let facts = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs
            .iter()
            .filter_map(|(label, pointer)| Some(((*label).to_owned(), plan(report, pointer)?)))
            .collect()
    };
    let data = facts(&[
        ("Source", "/data/source"),
        ("Licence", "/data/licence"),
        ("Image size", "/data/image_size"),
        ("Channels", "/data/channels"),
        ("Records", "/data/records"),
        ("Exact duplicates dropped", "/data/duplicates_dropped"),
        ("Near-duplicate groups", "/data/near_duplicate_groups"),
        ("Members", "/data/members"),
        ("D1", "/data/d1"),
        ("D2", "/data/d2"),
        ("Non-members", "/data/nonmembers"),
        ("Split hash", "/split_hash"),
    ]);
    let machine = facts(&[
        ("dualmd", "/versions/dualmd"),
        ("libtorch", "/versions/libtorch"),
        ("Processor", "/hardware/cpu"),
        ("Cores", "/hardware/cores"),
        ("Memory, GB", "/hardware/memory_gb"),
        ("Device", "/hardware/device"),
        ("Number format", "/hardware/dtype"),
        ("Threads per model", "/hardware/threads_per_model"),
        ("Models at once", "/hardware/parallel_models"),
        ("Seed", "/seed"),
        ("Created", "/created"),
    ]);
    let mut model = facts(&[
        ("Preset", "/model/preset"),
        ("Parameters", "/model/parameters"),
    ]);
    model.extend(map(report, "/train"));
    if let Some(weights) = plan(report, "/audit/weights") {
        model.push(("Attacked weights".into(), weights));
    }
    html! {
        section #settings {
            h2 { "Settings" }
            div.facts-grid {
                (definitions("Data and split", &data))
                (definitions("Model and training", &model))
                (definitions("Machine and versions", &machine))
            }
            (attack_settings(report))
            @if let Some(text) = report.run.get("experiment_toml").and_then(Value::as_str).filter(|t| !t.trim().is_empty()) {
                details { summary { "Experiment file" } pre { code { (text) } } }
            }
            @if let Some(config) = report.run.pointer("/model/config").filter(|c| !c.is_null()) {
                details { summary { "Network configuration" } pre { code { (serde_json::to_string_pretty(config).unwrap_or_default()) } } }
            }
        }
    }
}

fn definitions(title: &str, facts: &[(String, String)]) -> Markup {
    html! { div { h3 { (title) } @if facts.is_empty() { p.none { "Not recorded." } } dl { @for (label, value) in facts { div { dt { (label) } dd { (value) } } } } } }
}

/// The scalar entries of an object of the plan, `learning_rate` as "Learning rate".
fn map(report: &Report, pointer: &str) -> Vec<(String, String)> {
    let Some(object) = report.run.pointer(pointer).and_then(Value::as_object) else {
        return Vec::new();
    };
    object
        .keys()
        .filter_map(|k| {
            Some((
                readable(k),
                plan(
                    report,
                    &format!("{pointer}/{}", k.replace('~', "~0").replace('/', "~1")),
                )?,
            ))
        })
        .collect()
}

fn readable(key: &str) -> String {
    let text = key.replace('_', " ");
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

/// Parameters of every attack, once per attack.
fn attack_settings(report: &Report) -> Markup {
    let first = |name: &str| -> Option<&AttackResult> {
        report
            .models
            .iter()
            .flat_map(|m| &m.results)
            .find(|r| r.attack == name)
    };
    let numeric: Vec<(&ModelReport, String)> = report
        .models
        .iter()
        .filter(|m| m.weights.is_some() || m.dtype.is_some())
        .map(|m| {
            (
                m,
                [
                    m.weights.clone().map(|w| format!("{w} weights")),
                    m.dtype.clone(),
                ]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(", "),
            )
        })
        .collect();
    html! {
        details {
            summary { "Settings of the attacks" }
            div.scroll { table.plain {
                thead { tr { th scope="col" { "Attack" } th scope="col" { "Access" } th.n scope="col" { "calls per sample" } th scope="col" { "Parameters" } } }
                tbody { @for (name, title) in report.attacks() { @if let Some(r) = first(&name) { tr {
                    th scope="row" { (title) small { (name) } } td { (r.access) }
                    td.n { @match r.network_calls_per_sample { Some(n) => (count(n)), None => "-" } }
                    td { code { (parameters(&r.parameters)) } }
                } } } }
            } }
            @for (m, text) in &numeric { p.caption { (m.title) ": " (text) "." } }
        }
    }
}

fn parameters(value: &Value) -> String {
    match value.as_object() {
        Some(map) => map
            .iter()
            .map(|(k, v)| {
                format!(
                    "{k} = {}",
                    v.as_str().map_or_else(|| v.to_string(), str::to_owned)
                )
            })
            .collect::<Vec<_>>()
            .join(", "),
        None if value.is_null() => "-".into(),
        None => value.to_string(),
    }
}
