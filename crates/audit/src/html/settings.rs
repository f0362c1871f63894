//! Utility and cost, and everything needed to repeat the run.

use maud::{Markup, html};
use serde_json::Value;

use crate::facts::{Compared, compared, date, plan};
use crate::format::{count, grouped, joined, list, seconds, significant};
use crate::report::{AttackResult, ImageUtility, ModelReport, Report};

/// What the defences cost and what is left of the model's quality.
pub fn utility(report: &Report) -> Markup {
    let rows: Vec<&ModelReport> = report
        .models
        .iter()
        .filter(|m| m.utility.is_some())
        .collect();
    let number = |x: Option<f64>| html! { td.n data-value=[x] { @match x { Some(v) => (significant(v)), None => "-" } } };
    let whole = |x: Option<f64>| html! { td.n data-value=[x] { @match x { Some(v) => (grouped(v as i64)), None => "-" } } };
    html! {
        @if !rows.is_empty() || report.models.iter().any(|m| m.image_utility.is_some()) {
            section #utility {
                h2 { "Utility and cost" }
                // Of models trained elsewhere nothing is known of training.
                @if !rows.is_empty() { figure.wide {
                    div.scroll tabindex="0" role="region" aria-label="Utility and cost" { table.plain data-sortable="" {
                        thead { tr {
                            th scope="col" { "Model" } th.n scope="col" { "held-out loss" } th.n scope="col" { "member loss" } th.n scope="col" { "gap" }
                            th.n scope="col" { "images" } th.n scope="col" { "steps" small { "epochs" } } th.n scope="col" { "parameters" } th.n scope="col" { "training" small { "images/s" } } th.n scope="col" { "peak MB" } th.n scope="col" { "attack calls" }
                        } }
                        tbody { @for m in &rows {
                            @let u = m.utility.clone().unwrap_or_default();
                            tr {
                                th scope="row" { (m.title) @if !u.teachers.is_empty() { small { "taught by " (u.teachers.join(", ")) } } }
                                (number(u.heldout_loss)) (number(u.member_loss)) (number(u.heldout_loss.zip(u.member_loss).map(|(h, m)| h - m)))
                                (whole(u.images)) td.n data-value=[u.steps] { @match u.steps { Some(v) => (grouped(v as i64)), None => "-" } @if let Some(e) = u.epochs { small { (crate::epochs::text(e)) } } } (whole(u.parameters))
                                td.n data-value=[u.seconds] { @match u.seconds { Some(s) => (seconds(s)), None => "-" } @if let Some(v) = u.images_per_second { small { (significant(v)) } } @if let Some(n) = u.ranks { small { (count(n)) " ranks" } } }
                                (whole(u.peak_rss_mb))
                                td.n data-value=[m.network_calls_made] { @match m.network_calls_made { Some(n) => (grouped(n as i64)), None => "-" }
                                    @if let Some(saved) = m.network_calls_saved.filter(|s| *s > 0.0) { small { (grouped(saved as i64)) " saved" } } }
                            }
                        } }
                    } }
                    figcaption { (utility_caption(&rows)) }
                } }
                (images(report))
            }
        }
    }
}

/// The generated images against real ones.
fn images(report: &Report) -> Markup {
    let rows: Vec<(&ModelReport, &ImageUtility)> = report
        .models
        .iter()
        .filter_map(|m| Some((m, m.image_utility.as_ref()?)))
        .collect();
    let Some((_, first)) = rows.first() else {
        return html! {};
    };
    let number = |x: Option<f64>| html! { td.n data-value=[x] { @match x { Some(v) => (significant(v)), None => "-" } } };
    let with = |x: Option<f64>, beside: Option<String>| html! { td.n data-value=[x] { @match x { Some(v) => { (significant(v)) @if let Some(text) = beside { small { (text) } } }, None => "-" } } };
    let missing: Vec<String> = rows
        .iter()
        .flat_map(|(m, u)| {
            u.missing
                .iter()
                .map(|reason| format!("{}, {reason}", m.title))
        })
        .collect();
    html! {
        figure.wide {
            div.scroll tabindex="0" role="region" aria-label="Generated images against real ones" { table.plain data-sortable="" {
                thead { tr {
                    th scope="col" { "Model" } th.n scope="col" { "Fréchet distance" small { "95 % interval" } }
                    th.n scope="col" { "at equal n" small { "real against real" } } th.n scope="col" { "excess" }
                    th.n scope="col" { "KID" small { "± s.e." } } th.n scope="col" { "precision" } th.n scope="col" { "recall" } th.n scope="col" { "gap to members" }
                } }
                tbody { @for (m, u) in &rows {
                    tr {
                        th scope="row" { (m.title) }
                        (with(u.frechet, u.frechet_ci.map(|[low, high]| joined(&significant(low), &significant(high), '–'))))
                        (with(u.at_equal_n, u.floor.map(significant))) (number(u.excess))
                        (with(u.kid, u.kid_se.map(|se| format!("± {}", significant(se))))) (number(u.precision)) (number(u.recall)) (number(u.gap))
                    }
                } }
            } }
            figcaption {
                (quality_finding(&rows)) " "
                (grouped(first.n_generated as i64)) " generated images per model against " (grouped(first.n_real as i64))
                " real ones that no model saw, by the features " code { (first.features) } ". A distance depends on the features and on the number of images, and is FID only with "
                code { "inception-2048" } "; compare within this table. "
                @if let Some(n) = first.equal_n { "At equal n: generated against real and, in small print, real against real images, " (grouped(n as i64)) " a side. " }
                "Real against real is what a perfect model would score with as few images; the excess over it is the model's own. KID: another distance between the two sets, with its standard error. Precision: the share of generated images that look like real ones. Recall: the share of real images that the model could have drawn. Gap to members: distance to members minus that to as many others. Below 0 what it draws lies nearer to what it learnt from."
                @if !missing.is_empty() { " Not measured: " (missing.join("; ")) "." }
            }
        }
    }
}

/// Whose images are the best and the worst, and whose lie nearer to members than to others.
fn quality_finding(rows: &[(&ModelReport, &ImageUtility)]) -> String {
    let (which, measure): (&str, fn(&ImageUtility) -> Option<f64>) =
        match rows.iter().any(|(_, u)| u.excess.is_some()) {
            true => ("excess", |u| u.excess),
            false => ("distance", |u| u.frechet),
        };
    let mut values: Vec<(&str, f64)> = rows
        .iter()
        .filter_map(|(m, u)| Some((m.title.as_str(), measure(u)?)))
        .collect();
    values.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut text = match values.as_slice() {
        [] => "No distance could be measured.".to_owned(),
        [(one, value)] => format!(
            "What {one} draws has {} {which} of {}.",
            if which == "excess" { "an" } else { "a" },
            significant(*value)
        ),
        [(best, least), .., (worst, most)] => format!(
            "Best images: {best} ({which} {}); worst: {worst} ({}).",
            significant(*least),
            significant(*most)
        ),
    };
    let gap = |(m, u): &(&ModelReport, &ImageUtility)| Some((m.title.clone(), u.gap?));
    let nearer: Vec<String> = rows
        .iter()
        .filter_map(gap)
        .filter(|(_, gap)| *gap < 0.0)
        .map(|(title, gap)| format!("{title} ({})", significant(gap)))
        .collect();
    if !nearer.is_empty() {
        text.push_str(&format!(
            " Nearer to members than to as many others: {}.",
            list(&nearer)
        ));
    }
    text
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
        @if rows.iter().any(|m| m.utility.as_ref().is_some_and(|u| u.ranks.is_some())) { "Ranks: processes that trained the model together. " }
        "An epoch is a pass over the images that the model itself was trained on: a teacher makes twice as many with the same steps. A distilled model needs its teachers' training too, and the DualMD pair is stored and served as two models. Loss: how badly the model predicts the noise in an image; held-out images are images that it was not trained on. Peak MB: memory of the training. Attack calls: calls of the network by all attacks together, one image each; those saved were shared by several attacks."
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
        ("Generated images", "/audit/generated"),
    ]);
    let mut machine = facts(&[
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
    ]);
    let audits = compared(report);
    // Whoever put audits together did not make them.
    let (made, maker) = match audits.is_empty() {
        true => ("Created", "Auditor"),
        false => ("Put together", "Put together by"),
    };
    machine.extend(plan(report, "/created").map(|d| (made.to_owned(), date(&d))));
    machine.push((
        maker.into(),
        plan(report, "/auditor")
            .filter(|a| !a.trim().is_empty())
            .unwrap_or_else(|| "not recorded".into()),
    ));
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
            @if let Some(command) = plan(report, "/command") {
                p.repeat { "To repeat: " code { (command) } }
            }
            (put_together(&audits))
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

/// The audits of a comparison: when, by whom and how each was made.
fn put_together(audits: &[Compared]) -> Markup {
    let cell = |value: &Option<String>| value.clone().unwrap_or_else(|| "not recorded".into());
    html! {
        @if !audits.is_empty() {
            h3 { "The audits that were put together" }
            div.scroll tabindex="0" role="region" aria-label="The audits that were put together" { table.plain.wraps {
                thead { tr { th scope="col" { "Audit" } th scope="col" { "Made" } th scope="col" { "By" } th scope="col" { "dualmd" } th scope="col" { "Images" } th scope="col" { "To repeat it" } } }
                tbody { @for a in audits { tr {
                    th scope="row" { (a.name) }
                    td { (cell(&a.created)) } td { (cell(&a.auditor)) } td { (cell(&a.dualmd)) @if let Some(commit) = &a.commit { small { (commit) } } }
                    td { (cell(&a.source)) }
                    td { @match &a.command { Some(command) => { code { (command) } } None => { "not recorded" } } }
                } } }
            } }
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

/// What the audit was about, exactly: hashes of the weights and of the images. Without them nobody can say later that it was these.
pub fn hashes(report: &Report) -> Markup {
    let images: Vec<(&str, String)> = [
        ("Members", "/data/members_blake3"),
        ("Non-members", "/data/nonmembers_blake3"),
        ("Split", "/split_hash"),
        ("Commit of dualmd", "/versions/commit"),
    ]
    .into_iter()
    .filter_map(|(label, pointer)| Some((label, plan(report, pointer)?)))
    .collect();
    html! {
        section #hashes {
            h2 { "Hashes" }
            dl.hashes {
                @for m in &report.models { div {
                    dt { "Weights of " (m.title) }
                    dd { @match &m.weights_blake3 {
                        Some(hash) => { code { (hash) } }
                        None if m.is_pair() => { "no weights of its own: those of its two teachers" }
                        None => { "not recorded" }
                    } }
                } }
                @for (label, hash) in &images { div { dt { (label) } dd { code { (hash) } } } }
            }
            p.caption { "BLAKE3; of images over their content ids in ascending order. Who holds weights or images computes the same and knows whether this audit was of them." }
        }
    }
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
            div.scroll { table.plain.wraps data-sortable="" {
                thead { tr { th scope="col" { "Attack" } th scope="col" { "Access" } th.n scope="col" { "calls per sample" } th scope="col" { "Parameters" } th scope="col" { "What it misses" } } }
                tbody { @for (name, title) in report.attacks() { @if let Some(r) = first(&name) { tr {
                    th scope="row" { (title) small { (name) @if let Some(paper) = &r.paper { ", " (paper) } } } td { (crate::catalogue::access(&name, &r.access)) }
                    td.n { @match r.network_calls_per_sample { Some(n) => (count(n)), None => "-" } }
                    td { @if let Some(formula) = &r.formula { small { (formula) } } code { @match &r.parameters { Some(parameters) => (parameters.to_string()), None => "-" } } }
                    td { (r.misses.as_deref().unwrap_or("not recorded")) }
                } } } }
            } }
            @for (m, text) in &numeric { p.caption { (m.title) ": " (text) "." } }
        }
    }
}
