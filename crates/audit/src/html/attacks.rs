//! Section 3: the table of models and attacks, halves apart, and every operating point.

use dualmd_stats::OperatingPoint;
use maud::{Markup, html};

use super::{chip, draw, figure, term};
use crate::format::{count, fpr_name, grouped, interval, joined, list, rate, seconds};
use crate::release;
use crate::report::Chosen;
use crate::report::{AttackResult, Finding, Measurement, ModelReport, Report, View};
use crate::untested::never_run;

/// The section.
pub fn section(report: &Report) -> Markup {
    let attacks = report.attacks();
    html! {
        section #attacks {
            h2 { "What each attack found" }
            (figure("wide", table(report, &attacks), caption(report)))
            (super::attackers::table(report))
            (super::counts::table(report))
            div.secondary { (partial(report)) }
            (chosen(report))
            div.secondary { (agreement(report)) }
            (groups(report))
            (comparisons(report))
            @if report.models.iter().flat_map(|m| &m.results).any(|r| r.d1.is_some()) { (halves(report, &attacks)) }
            (operating_points(report))
            (costs(report))
        }
    }
}

/// What each attack took, and those that were not run: what they would take, and why they were not.
fn costs(report: &Report) -> Markup {
    let attacks = report.attacks();
    let of = |name: &str| -> Vec<&AttackResult> {
        let all = report.models.iter().flat_map(|m| &m.results);
        all.filter(|r| r.attack == name).collect()
    };
    let never = never_run(report);
    html! {
        details #costs {
            summary { "What the attacks cost, and those that were not run" }
            div.scroll tabindex="0" role="region" aria-label="Cost of the attacks" { table.plain data-sortable="" {
                thead { tr { th scope="col" { "Attack" } th scope="col" { "Access" } th.n scope="col" { "network calls an image" } th.n scope="col" { "models" } th.n scope="col" { "time, all models" } } }
                tbody { @for (name, title) in &attacks {
                    @let results = of(name);
                    @let time: Option<f64> = results.iter().filter_map(|r| r.seconds).reduce(|a, b| a + b);
                    @if let Some(first) = results.first() { tr {
                        th scope="row" { (title) } td { (crate::catalogue::access(name, &first.access)) }
                        td.n data-value=[first.network_calls_per_sample] { @match first.network_calls_per_sample { Some(n) => (count(n)), None => "-" } }
                        td.n { (results.len()) } td.n data-value=[time] { @match time { Some(t) => (seconds(t)), None => "-" } }
                    } }
                } }
            } }
            p.caption { "Attacks that ask the same questions share the answers, so together they take less than the sum. Images are generated once for all attacks that look at some." }
            @if !never.is_empty() {
                div.scroll tabindex="0" role="region" aria-label="Attacks that were not run" { table.plain.wraps {
                    thead { tr { th scope="col" { "Not run" } th scope="col" { "What it would cost" } th scope="col" { "Why it was not run, and how to" } } }
                    tbody { @for attack in &never { tr { th scope="row" { (attack.title()) } td { (attack.price()) } td { (attack.why_not_run()) } } } }
                } }
            }
        }
    }
}

/// What is left of the numbers of a void report, folded away; nothing of any other.
pub fn untrusted(report: &Report) -> Markup {
    let attacks = report.attacks();
    html! {
        @if report.is_void() {
            section #untrusted {
                details {
                    summary { "Numbers that cannot be trusted" }
                    p { "They are no result. Figures, pictures and everything that is computed from them are left out; " code { "findings.csv" } " and " code { "scores/" } " hold what there is." }
                    (table(report, &attacks))
                }
            }
        }
    }
}

/// Members listed per model that several attacks find.
const FOUND: usize = 30;

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
        "The large number is the " (term("auc", "AUC")) " on all images that the attack scored. Under it stands its 95 % interval, of this attack alone: the first screen has " (term("intervals", "wider ones")) ". "
        "Under an attack's name: what it needs (black-box generated images, grey-box queries, white-box the weights), and how often it calls the network for one image. The scale goes from 0 to 1 with chance in the middle. k/n: members found at 1 false alarm in 100. The strongest attack on each model is bold."
    }
}

fn table(report: &Report, attacks: &[(String, String)]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Models and attacks" {
            table.matrix data-sortable="" {
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
    let access = crate::catalogue::access(attack, &r.access);
    match r.network_calls_per_sample {
        Some(n) => format!(
            "{access}, {} {}",
            count(n),
            if n == 1.0 { "call" } else { "calls" }
        ),
        None => access,
    }
}

/// Images that the attack with the most of them scored.
fn most_scored(model: &ModelReport) -> usize {
    let results = model.results.iter().filter(|r| r.pooled.is_some());
    results.map(|r| r.samples_scored).max().unwrap_or(0)
}

/// Attacks that scored a part of the images, why, and how they compare on that part.
fn partial(report: &Report) -> Markup {
    // One sentence per attack and counts, with the models that it holds for.
    let mut sentences: Vec<(String, Vec<String>)> = Vec::new();
    let mut shadows: Vec<(String, Vec<String>)> = Vec::new();
    for (model, r) in report
        .models
        .iter()
        .flat_map(|m| m.results.iter().map(move |r| (m, r)))
        .filter(|(_, r)| r.pooled.is_some())
    {
        let n = grouped(r.samples_scored as i64);
        let text = match (r.trained_on, r.shadow) {
            (_, Some(t)) => format!(
                "{}: the shadow model was trained on {} other images and did not see {} more, none of which is audited; what was learnt \
                 from these scores all {n} audited images",
                r.title, t.members, t.nonmembers
            ),
            (Some(t), None) if t.members == 0 => format!(
                "{} compares with {} images that are known to be non-members, and is scored on the {n} images whose membership is not known",
                r.title, t.nonmembers
            ),
            (Some(t), None) => format!(
                "{} was told of {} members and {} non-members which they are, learnt from these, and is scored on the {n} images not used for its training",
                r.title, t.members, t.nonmembers
            ),
            (None, None) if r.samples_scored < most_scored(model) => format!(
                "{} scored {n} of {} images",
                r.title,
                grouped(most_scored(model) as i64)
            ),
            (None, None) => continue,
        };
        let lines = match r.shadow {
            Some(_) => &mut shadows,
            None => &mut sentences,
        };
        match lines.iter_mut().find(|s| s.0 == text) {
            Some(entry) => entry.1.push(model.title.clone()),
            None => lines.push((text, vec![model.title.clone()])),
        }
    }
    let rows: Vec<_> = report
        .models
        .iter()
        .flat_map(|m| m.same_images.iter().map(move |s| (m, s)))
        .collect();
    let title = |name: &str| -> String {
        let attacks = report.attacks();
        attacks
            .into_iter()
            .find(|a| a.0 == name)
            .map_or_else(|| name.to_owned(), |a| a.1)
    };
    html! {
        @if !sentences.is_empty() {
            h3 { "Attacks that scored a part of the images" }
            ul.lines { @for (text, models) in &sentences { li { (text) " (" (list(models)) ")." } } }
        }
        @if !shadows.is_empty() {
            h3 { "Attacks learnt on a shadow model" }
            ul.lines { @for (text, models) in &shadows { li { (text) " (" (list(models)) ")." } } }
        }
        @if !rows.is_empty() {
            div.scroll { table.plain data-sortable="" {
                thead { tr { th scope="col" { "Model" } th scope="col" { "Attack" } th scope="col" { "Against" } th.n scope="col" { "images of both" } th.n scope="col" { "AUC" } th.n scope="col" { "AUC of the other" } th.n scope="col" { "Difference" } th.n scope="col" { "p" } } }
                tbody { @for (m, s) in &rows { tr {
                    th scope="row" { (m.title) } td { (title(&s.attack)) } td { (title(&s.other)) }
                    td.n { (s.n_members) " + " (s.n_nonmembers) } td.n data-value=(s.auc) { (rate(s.auc)) } td.n data-value=(s.other_auc) { (rate(s.other_auc)) }
                    td.n data-value=(s.difference) { (signed(s.difference)) small { (signed_interval(s.difference_ci)) } } td.n data-value=(s.p_value) { (p_value(s.p_value)) }
                } } }
            } }
            p.caption { "Each of them against the strongest attack that scored all images, on the images that both scored (members + non-members). DeLong's test, not corrected; where interval and p disagree, as they may for an AUC near 1, go by the interval. The other was picked for its AUC on these images, which favours it a little." }
        }
    }
}

fn p_value(p: f64) -> String {
    if p < 0.001 {
        "<0.001".into()
    } else {
        crate::format::p_value(p)
    }
}

fn members(model: &ModelReport) -> String {
    let n = model
        .results
        .iter()
        .filter_map(|r| r.view(model.primary))
        .map(|m| m.n_members)
        .max();
    match (n, model.primary) {
        (None, _) => "not attacked".into(),
        (Some(n), View::Pooled) => format!("{} members", grouped(n as i64)),
        (Some(n), own) => format!("{} members, {}", grouped(n as i64), own.name()),
    }
}

fn cell(model: &ModelReport, result: Option<&AttackResult>, strongest: bool) -> Markup {
    let Some(result) = result else {
        return html! { td.none data-value="-1" { "not run" } };
    };
    let Some(m) = result.view(model.primary) else {
        return html! { td.none data-value="-1" { strong { "failed" } @if let Some(reason) = &result.reason { small { (reason) } } } };
    };
    let found = m.tpr_at_fpr.iter().find(|p| p.fpr == 0.01);
    html! {
        td class=(if strongest { "best" } else { "" }) data-value=(m.auc) {
            div.figures {
                span.auc { (rate(m.auc)) }
                @match found {
                    Some(p) if p.measurable => { span.found title="members found at 1 false alarm in 100" { (grouped(p.tp as i64)) "/" (grouped(m.n_members as i64)) } }
                    _ => { span.found title="too few non-members" { "n/a" } }
                }
            }
            (draw::whisker(m, &format!("{} on {}", result.title, model.title)))
            div.ci { span.whole { (interval(m.auc_ci)) }
                @if m.finding == Finding::Inverted { span.flag { "inverted" } }
                @if result.samples_scored < most_scored(model) { span.flag title="see below the table" { (result.samples_scored) " images" } }
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
            p { @if report.models.iter().any(ModelReport::is_teacher) { "Teacher 1 was trained on D1, teacher 2 on D2. " } "Each half of the members against all non-members. Intervals are of 95 %, of each attack alone." }
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
            div.scroll { table.plain data-sortable="" {
                thead { tr {
                    th scope="col" { "Model" } th.n scope="col" { "members" small { "found by 1 attack or more" } } th.n scope="col" { "members" small { "by 2 or more" } } th.n scope="col" { "members" small { "by all" } } th.n scope="col" { "non-members" small { "taken for members by 1 or more" } }
                } }
                tbody { @for (m, a) in &rows { tr {
                    th scope="row" { (m.title) }
                    td.n { (a.by_one) "/" (a.n_members) } td.n { (a.by_two) "/" (a.n_members) }
                    td.n { (a.by_all) "/" (a.n_members) small { (a.attacks) " attacks" } } td.n { (a.nonmembers_by_one) "/" (a.n_nonmembers) }
                } } }
            } }
            p.caption { "Members found at 1 false alarm in 100 per attack, among the images that all these attacks scored. A member that every attack finds is exposed whatever the attacker prefers; the last column is the price: non-members that at least one attack takes for members." }
            @for (m, a) in rows.iter().filter(|(_, a)| !a.found_by_several.is_empty()) {
                details { summary { "Members of " (m.title) " that several attacks find" }
                    ul.found { @for found in a.found_by_several.iter().take(FOUND) { li {
                        code title=(found.id) { @match &found.name { Some(name) => (name), None => (found.id.chars().take(12).collect::<String>()) } } " by " (found.attacks.join(", "))
                    } } }
                    @if a.found_by_several.len() > FOUND { p.caption { "The first " (FOUND) " of " (a.found_by_several.len()) "; all of them in report.json." } }
                }
            }
        }
    }
}

/// The attacks by whole groups.
fn groups(report: &Report) -> Markup {
    let models = || report.models.iter().filter(|m| !m.by_groups.is_empty());
    html! {
        @if models().next().is_some() {
            details #groups {
                summary { "Whole groups instead of images" }
                p { "A group (a patient, an artist, near-duplicates, a class) has the mean score of its images. The AUC is how often a random group of members ranks above a random one of others. Groups are independent where their images are not. Intervals are of 95 %, of each attack alone." }
                div.scroll tabindex="0" role="region" aria-label="Whole groups" { table.plain data-sortable="" {
                    thead { tr { th scope="col" { "Model" } th scope="col" { "Attack" } th.n scope="col" { "AUC by groups" } th.n scope="col" { "95 %" } th.n scope="col" { "groups found" } th.n scope="col" { "groups of either side" } } }
                    tbody { @for m in models() { @for g in &m.by_groups { tr {
                        th scope="row" { (m.title) } td { (g.title) } td.n data-value=(g.auc) { (rate(g.auc)) } td.n { (interval(g.auc_ci)) }
                        @match release::found(&g.tpr_at_fpr) {
                            Some(f) => { td.n data-value=(f.found) { (f.found) "/" (f.total) small { "guessing: " (release::by_guessing(f.by_guessing)) ", at " (fpr_name(f.fpr)) " false alarms" } } }
                            None => { td.n { "not measurable" } }
                        }
                        td.n { (g.member_groups) " / " (g.nonmember_groups) }
                    } } } }
                } }
            }
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
            div.scroll { table.plain data-sortable="" {
                thead { tr {
                    th scope="col" { "Model" } th scope="col" { "Attack chosen" } th.n scope="col" { "AUC" small { "on the other half" } } th.n scope="col" { "Members found" small { "of the other half" } } th.n scope="col" { "False alarms" small { "of the other half" } } th.n scope="col" { "Images that prove use" }
                } }
                tbody { @for (m, c) in &rows {
                    @let t = &c.selection.transferred;
                    tr {
                        th scope="row" { (m.title) }
                        td { (c.title) small { "of " (c.compared) } }
                        td.n data-value=(c.selection.auc.auc) { (rate(c.selection.auc.auc)) small { (interval([c.selection.auc.low, c.selection.auc.high])) } }
                        td.n data-value=(t.tpr) { (t.tp) "/" (t.n_members) small { (interval(t.tpr_ci)) } }
                        td.n data-value=(t.fpr) { (t.fp) "/" (t.n_nonmembers) small { (interval(t.fpr_ci)) } }
                        td.n data-value=(c.images_needed.unwrap_or(usize::MAX)) { (needed(c)) }
                    }
                } }
            } }
            p.caption {
                "One half of the images chose the attack with the largest AUC and set its threshold for 1 false alarm in 100. All numbers are from the other half, so the choice does not flatter "
                "them. That is why they differ from those of all images above, and why their intervals are wider. The last column: how many images of one person show in at least 8 of 10 cases that "
                "they were trained on. Their scores are averaged, at 5 % false alarms. The images are drawn at random from the members; a person's own resemble each other and would count for fewer."
                @for (m, c) in rows.iter().filter(|(_, c)| !c.left_out.is_empty()) {
                    " " (m.title) ": not compared, for want of common images: " (list(&c.left_out)) "."
                }
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
        @if let Some(first) = report.comparisons.first() {
            @let baseline = report.models.iter().find(|m| m.name == first.baseline).map_or_else(|| first.baseline.clone(), crate::words::subject);
            details {
                summary { "Difference to " (baseline) ", attack by attack" }
                p { "AUC of " (baseline) " minus AUC of the other, on the same images, all that both attacks scored. DeLong's test for paired curves; p-values are not corrected. Where interval and p disagree, as they may for an AUC near 1, go by the interval. A difference of AUCs does not say on which side of 0.5 they are: read it beside the table above." }
                div.scroll { table.plain data-sortable="" {
                    thead { tr { th scope="col" { "Model" } th scope="col" { "Attack" } th.n scope="col" { "Difference" } th.n scope="col" { "95 % interval" } th.n scope="col" { "p" } } }
                    tbody { @for c in &report.comparisons { tr {
                        td { (title(&c.model)) } td { (attack(&c.attack)) }
                        td.n data-value=(c.difference) { (signed(c.difference)) } td.n { (signed_interval(c.difference_ci)) }
                        td.n data-value=(c.p_value) { (p_value(c.p_value)) }
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

fn signed_interval([low, high]: [f64; 2]) -> String {
    joined(&signed(low), &signed(high), '–')
}

/// Every operating point with realised rates, counts and intervals.
fn operating_points(report: &Report) -> Markup {
    html! {
        details {
            summary { "All operating points, with counts and exact intervals" }
            p { "Balanced accuracy: the mean of the shares of members and of non-members that the best threshold decides rightly. That threshold is picked on these very images, so guessing reads a little above 0.5. TPR at 1 %: the share of members found where at most 1 % of the non-members are called members." }
            p.on-paper { "What is about one half alone is left out on paper: it is in findings.csv." }
            p.filter hidden {
                label { "Model " select #filter { option value="" { "all" } @for m in &report.models { option { (m.title) } } } }
                label { "Members " select #filter-members { option value="" { "all" } @for v in [View::Pooled, View::D1, View::D2] { option { (v.name()) } } } }
                label { "Finding " select #filter-finding { option value="" { "all" } @for f in ["leak", "inverted", "no leak seen"] { option { (f) } } } }
            }
            div.scroll tabindex="0" role="region" aria-label="All operating points" {
                table.plain #points data-sortable="" {
                    thead { tr {
                        th scope="col" { "Model" } th scope="col" { "Attack" } th scope="col" { "Members" } th.n scope="col" { "AUC" } th.n scope="col" { "95 % interval" small { "widened" } } th.n scope="col" { "balanced accuracy" }
                        @for fpr in crate::measure::FPRS { th.n scope="col" { "TPR at " (fpr_name(fpr)) } }
                        th.n scope="col" { "time" } th scope="col" { "Finding" }
                    } }
                    tbody { @for model in &report.models { @for r in &model.results { @for view in [View::Pooled, View::D1, View::D2] {
                        @if let Some(m) = r.view(view) { tr.half[view != View::Pooled && view != model.primary] data-model=(model.title) data-members=(view.name()) data-finding=(m.finding.words()) {
                            td { (model.title) } td { (r.title) } td { (view.name()) } td.n data-value=(m.auc) { (rate(m.auc)) } td.n { (interval(m.auc_ci_adjusted)) } td.n { (rate(m.balanced_accuracy)) }
                            @for p in &m.tpr_at_fpr { (point(p, m)) }
                            td.n data-value=[r.seconds] { @match r.seconds { Some(s) => (seconds(s)), None => "" } } td { (chip(m.finding, m.finding.words())) }
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
