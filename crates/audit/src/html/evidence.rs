//! Lower bounds on epsilon, repeated trainings, tests of whole sets, and what public codes would have printed.

use dualmd_record::Words;
use dualmd_record::sets::SetTest;
use maud::{Markup, html};

use super::term;
use crate::conclusion::{can_tell, set_looks, tells_apart};
use crate::format::{fpr_name, interval, list, p_value, rate, significant};
use crate::report::{
    Chosen, Combined, Conclusion, EpsilonBound, ModelReport, OneRun, RepeatedAttack, Report, Sets,
};

/// A bound, rounded down to one decimal: more digits would be those of chance. `0` where it is below 0.1.
fn epsilon(value: f64) -> String {
    let tenths = (value * 10.0 + 1e-9).floor();
    match tenths >= 1.0 {
        true => format!("{:.1}", tenths / 10.0),
        false => "0".into(),
    }
}

/// The bound of a model: with more digits where it contradicts what the training claims, since rounded down it might not.
fn at_least(model: &ModelReport, bound: &EpsilonBound) -> String {
    let contradicted = claim(model).is_some_and(|(claimed, tighter, delta)| {
        let against = |epsilon| refuted(bound, epsilon, delta);
        against(claimed) || tighter.is_some_and(against)
    });
    match contradicted {
        true => significant(bound.lower),
        false => epsilon(bound.lower),
    }
}

/// What the training can no longer claim.
pub fn epsilon_section(report: &Report) -> Markup {
    let lines: Vec<(&ModelReport, &str, &EpsilonBound)> = report
        .models
        .iter()
        .filter_map(|m| {
            let c = m.chosen.as_ref()?;
            Some((m, c.title.as_str(), c.epsilon.as_ref()?))
        })
        .collect();
    let all: Vec<(&ModelReport, &str, &EpsilonBound)> = report
        .models
        .iter()
        .flat_map(|m| {
            let bound = m
                .results
                .iter()
                .filter_map(|r| Some((r, r.epsilon.as_ref()?)));
            bound.map(move |(r, b)| (m, r.title.as_str(), b))
        })
        .collect();
    let delta = all.first().map(|(_, _, b)| b.delta);
    html! {
        @if let Some(delta) = delta {
            section #epsilon {
                h2 { "What the training can no longer claim" }
                p.lede {
                    "Differential privacy puts a number, ε, on how much one image may change what a training gives away. The odds of any outcome change by a factor of at most e" sup { "ε" } ": "
                    "2.7 for ε = 1, 20 for ε = 3. Smaller is more private. An attack that works refutes every ε below some value. That value is given here. "
                    "0 means that no ε is refuted, and not that nothing was found: what was found stands in the verdict, and to refute an ε takes more. All bounds are from below; no upper bound is implied by any number here."
                }
                @if !lines.is_empty() { ul.lines { @for (m, attack, b) in &lines { li {
                    strong { (m.title) } ": ε is at least " strong { (at_least(m, b)) } " (" (attack) " on one half of the images: " (b.tp) " of " (b.n_members) " members found, " (b.fp) " of " (b.n_nonmembers) " non-members mistaken for one). "
                    @if b.lower <= 0.0 { (refutes_nothing(report.conclusion(&m.name))) }
                    @else if b.lower < 0.1 { "A bound below 0.1 is mostly chance. " }
                    "No attack on as many images could have shown more than " (epsilon(b.ceiling)) "."
                    @if let Some((claimed, tighter, delta)) = claim(m) {
                        " DP-SGD claims that it is at most " strong { (significant(claimed)) } " (at δ = " (delta) ")"
                        @if refuted(b, claimed, delta) { ": " strong { "the attack contradicts that" } ", so mechanism or accounting is at fault, or the images are not independent trials." }
                        @else if let Some(tighter) = tighter.filter(|t| refuted(b, *t, delta)) {
                            "; the PRV accountant finds at most " (significant(tighter)) ": " strong { "the attack contradicts that" } ", so mechanism or accounting is at fault, or the images are not independent trials."
                        }
                        @else { "; what lies between the two is not known." }
                    }
                } } } }
                (claims(report))
                p.caption {
                    "At δ = " (delta) " and 95 % confidence. Bounds are rounded down to one decimal; " code { "findings.csv" } " has all digits. δ is the chance with which the guarantee may fail. Attack and threshold (1 false alarm in 100) were chosen on one half of the images. The counts are from the other half, so the choice does not flatter them. "
                    "The images are treated as independent trials of the training, although they were trained on together: an indication and no proof. The audit by coin flips below needs no such assumption."
                    @if let Some(most) = too_large(report, delta) { " " strong { "Note. " } "With " (most) " members a δ above " (significant(1.0 / most as f64)) " would allow to publish one of them whole: choose a smaller one (audit.delta)." }
                }
                details {
                    summary { "Every attack by itself" }
                    p { "Each line is a bound of 95 % for that attack alone. The largest of several is too high by luck; the list above is free of that." }
                    div.scroll { table.plain data-sortable="" {
                        thead { tr { th scope="col" { "Model" } th scope="col" { "Attack" } th.n scope="col" { "ε at least" } th.n scope="col" { "Members found" } th.n scope="col" { "False alarms" } th.n scope="col" { "Most that could be shown" } } }
                        tbody { @for (m, attack, b) in &all { tr {
                            td { (m.title) } td { (attack) } td.n data-value=(b.lower) { (epsilon(b.lower)) }
                            td.n { (b.tp) "/" (b.n_members) } td.n { (b.fp) "/" (b.n_nonmembers) } td.n data-value=(b.ceiling) { (epsilon(b.ceiling)) }
                        } } }
                    } }
                }
                (one_run(report))
            }
        }
    }
}

/// What a bound of 0 means beside the verdict on the model.
fn refutes_nothing(conclusion: &Conclusion) -> &'static str {
    match conclusion {
        Conclusion::Nothing | Conclusion::Void | Conclusion::Unknown => "No ε is refuted. ",
        _ => {
            "No ε is refuted, for which more or clearer hits would be needed; what the verdict says was found stands. "
        }
    }
}

/// The epsilon that the training of a model claims, the PRV accountant's upper bound where there is one, and their delta.
fn claim(model: &ModelReport) -> Option<(f64, Option<f64>, f64)> {
    let privacy = model.utility.as_ref()?.privacy.as_ref()?;
    let tighter = privacy.prv.map(|prv| prv.upper);
    Some((privacy.epsilon?, tighter, privacy.delta?))
}

/// A claim at a smaller delta holds at a larger one too; one at a larger says nothing about a smaller.
fn refuted(bound: &EpsilonBound, claimed: f64, delta: f64) -> bool {
    delta <= bound.delta && bound.lower > claimed
}

/// What the differentially private trainings claim, beside what attacks show.
fn claims(report: &Report) -> Markup {
    let rows: Vec<_> = report
        .models
        .iter()
        .filter_map(|m| Some((m, m.utility.as_ref()?.privacy.as_ref()?)))
        .collect();
    let number = |x: Option<f64>| html! { td.n data-value=[x] { @match x { Some(v) => (significant(v)), None => "not recorded" } } };
    html! {
        @if !rows.is_empty() {
            div.scroll { table.plain data-sortable="" {
                thead { tr { th scope="col" { "Model with a guarantee" } th.n scope="col" { "ε at most (claimed)" } th.n scope="col" { "ε by PRV" } th.n scope="col" { "at δ" } th.n scope="col" { "ε at least (attacked)" } th.n scope="col" { "at δ" } th.n scope="col" { "Noise multiplier" } th.n scope="col" { "Sampling rate" } th scope="col" { "Accountant" } } }
                tbody { @for (m, p) in &rows { @let bound = m.chosen.as_ref().and_then(|c| c.epsilon.as_ref()); tr {
                    th scope="row" { (m.title) } (number(p.epsilon))
                    @match p.prv {
                        Some(prv) => { td.n data-value=(prv.upper) { (significant(prv.lower)) " to " (significant(prv.upper)) } }
                        None => { td.n { "not recorded" } }
                    }
                    (number(p.delta))
                    @match bound {
                        Some(b) => { td.n data-value=(b.lower) { (at_least(m, b)) } td.n { (b.delta) } }
                        None => { td.n { "no bound" } td.n { "-" } }
                    }
                    (number(p.noise_multiplier)) (number(p.sampling_rate)) td { (p.accountant.as_deref().unwrap_or("not recorded")) }
                } } }
            } }
            p.caption {
                "The claim is a proof about the training as it was meant, for every attacker; it bounds nothing if the program has a fault. The attack is a measurement of this one training. The claim must not be the smaller one."
                @if rows.iter().any(|(_, p)| p.prv.is_some()) {
                    " It is the accountant's that the noise was chosen by. The PRV accountant bounds what the same training spends from both sides. Its upper bound is proven too, for the same steps. How far the claim lies above it is slack of the proof and no further privacy."
                }
            }
        }
    }
}

/// The largest number of members, if `delta` is above its inverse.
fn too_large(report: &Report, delta: f64) -> Option<usize> {
    let results = report.models.iter().flat_map(|m| &m.results);
    let most = results
        .filter_map(|r| Some(r.pooled.as_ref()?.n_members))
        .max()?;
    (delta * most as f64 > 1.0).then_some(most)
}

fn one_run(report: &Report) -> Markup {
    let runs: Vec<(&ModelReport, &OneRun)> = report
        .models
        .iter()
        .filter_map(|m| Some((m, m.one_run.as_ref()?)))
        .collect();
    // One sentence per reason, with the models that it holds for.
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for model in report.models.iter().filter(|m| m.attacks_run() > 0) {
        let Some(reason) = model.one_run_missing.as_deref() else {
            continue;
        };
        match reasons.iter_mut().find(|r| r.0 == reason) {
            Some(entry) => entry.1.push(model.title.clone()),
            None => reasons.push((reason, vec![model.title.clone()])),
        }
    }
    html! {
        h3 { "Audit of one training by coin flips" }
        @if runs.is_empty() {
            p { strong { "Not applicable. " } @for (reason, _) in &reasons { (reason) " " }
                "For this bound a fair coin must have decided on every image before training. To have it for a model trained here, train anew with " code { "--set data.method=coin-flip" } "." }
        } @else {
            div.scroll { table.plain data-sortable="" {
                thead { tr { th scope="col" { "Model" } th scope="col" { "Attack chosen" } th.n scope="col" { "ε at least" } th.n scope="col" { "Guesses right" } th.n scope="col" { "Coin flips" } th.n scope="col" { "Most that could be shown" } } }
                tbody { @for (m, o) in &runs { tr {
                    th scope="row" { (m.title) } td { (o.title) small { "of " (o.compared) } } td.n data-value=(o.lower) { (epsilon(o.lower)) }
                    td.n { (o.correct) "/" (o.guess_in + o.guess_out) small { (o.guess_in) " in, " (o.guess_out) " out" } } td.n { (o.canaries) } td.n data-value=(o.ceiling) { (epsilon(o.ceiling)) }
                } } }
            } }
            p.caption {
                "Steinke, Nasr and Jagielski (2023): a coin decided on every image. The attack guesses some of the coins, and a training that is (ε, δ)-private lets it be right only so often. 95 % confidence, δ = "
                (runs.first().map_or(0.0, |r| r.1.delta)) ", for the whole procedure from the split to the model. Attack and number of guesses were fixed on one half of the images, drawn without regard to membership; the guesses are about the other half. "
                "Attacks that learn from known memberships take no part: what they leave is no longer a coin per image."
            }
            @for (reason, models) in &reasons { p.caption { "Not for " (list(models)) ": " (reason) } }
        }
    }
}

/// One recipe, several trainings.
pub fn repeats_section(report: &Report) -> Markup {
    let title = |name: &str| {
        let mut models = report.models.iter();
        models
            .find(|m| m.name == name)
            .map_or_else(|| name.to_owned(), |m| m.title.clone())
    };
    html! {
        @if !report.repeated.is_empty() {
            section #repeats {
                h2 { "Repeated trainings" }
                p.lede { "The same recipe trained again with other seeds: how much of a result is the recipe, and how much the luck of one training." }
                div.scroll { table.plain data-sortable="" {
                    thead { tr { th scope="col" { "Recipe" } th scope="col" { "Attack" } th.n scope="col" { "AUC, mean" } th.n scope="col" { "members found at 1 %, mean" } th.n scope="col" { "trainings" } th scope="col" { "AUC of each" } } }
                    tbody { @for r in &report.repeated { @for a in &r.attacks { tr data-model=(title(&r.base)) {
                        th scope="row" { (title(&r.base)) } td { (a.title) } (combined(Some(&a.auc))) (combined(a.tpr_at_1_percent.as_ref())) td.n { (a.auc.summary.n) } td.wrap { (singles(a)) }
                    } } } }
                } }
                p.caption {
                    "In small print: the 95 % interval of the mean over trainings (Student's t, wide with few trainings). Then the standard error that the choice of images gives within one training (±). "
                    "They are two different things and are not added: more trainings on the same images do not make the second smaller."
                }
            }
        }
    }
}

fn combined(value: Option<&Combined>) -> Markup {
    html! {
        @match value {
            None => { td.n.none data-value="-1" { "not measurable" } }
            Some(c) => { td.n data-value=(c.summary.mean) { (rate(c.summary.mean)) small {
                @if let Some(ci) = c.summary.between_ci { (interval(ci.map(|x| x.clamp(0.0, 1.0)))) }
                @if let Some(se) = c.summary.within_se { ", ±" (significant(se)) }
            } } }
        }
    }
}

/// The values one after the other, then the models in the same order.
fn singles(attack: &RepeatedAttack) -> Markup {
    let values = attack.auc.values.iter();
    let (models, aucs): (Vec<&str>, Vec<String>) = values
        .map(|(model, auc)| (model.as_str(), rate(*auc)))
        .unzip();
    html! { (aucs.join(", ")) small { (models.join(", ")) } }
}

/// Tests of whole sets, and how many images prove use.
pub fn sets_section(report: &Report) -> Markup {
    let tested: Vec<_> = report
        .models
        .iter()
        .filter_map(|m| Some((m, m.sets.as_ref().filter(|s| !s.tests.is_empty())?)))
        .collect();
    let powers: Vec<_> = report
        .models
        .iter()
        .filter_map(|m| Some((m, m.chosen.as_ref().filter(|c| !c.power.is_empty())?)))
        .collect();
    let mut ks: Vec<usize> = powers
        .iter()
        .flat_map(|(_, c)| c.power.iter().map(|p| p.k))
        .collect();
    ks.sort_unstable();
    ks.dedup();
    let looks = set_looks(&report.models);
    html! {
        @if !tested.is_empty() || !powers.is_empty() {
            section #sets {
                h2 { "Sets of images" }
                p.lede { "Where single images cannot be told apart, many of them together may: the images of one person, or the whole training set." }
                @if !powers.is_empty() {
                    h3 { "How often k images of one person prove that they were used" }
                    div.scroll { table.plain data-sortable="" {
                        thead { tr { th scope="col" { "Model" } th scope="col" { "Attack" } @for k in &ks { th.n scope="col" { "k = " (k) } } } }
                        tbody { @for (m, c) in &powers { tr {
                            th scope="row" { (m.title) } td { (c.title) }
                            @for k in &ks { @match c.power.iter().find(|p| p.k == *k) {
                                Some(p) => { td.n data-value=(p.power) { (rate(p.power)) small { (interval(p.ci)) } } }
                                None => { td.n.none data-value="-1" { "n/a" } }
                            } }
                        } } }
                    } }
                    p.caption { (fewest(&powers)) " Each number is a share of sets of k members: of those that the mean of their scores shows to have been used, at 5 % false alarms. Beside it its 95 % interval; 0.05 is guessing. Measured on the half of the images that did not choose the attack. n/a: too few images for that k." }
                }
                (inference(&tested))
                @if !tested.is_empty() {
                    h3 { "Are two whole sets different?" }
                    div.scroll { table.plain data-sortable="" {
                        thead { tr { th scope="col" { "Model" } th scope="col" { "Test" } th.n scope="col" { "members" } th.n scope="col" { "non-members" } th.n scope="col" { "statistic" } th.n scope="col" { "p" } th scope="col" { "" } } }
                        tbody { @for (m, s) in &tested { @for t in &s.tests { tr {
                            th scope="row" { (m.title) } td.wrap { (t.title) @if !t.what.is_empty() { small { (t.what) } } }
                            td.n { (t.members) } td.n { (t.nonmembers) } td.n data-value=(t.statistic) { (significant(t.statistic)) }
                            td.n data-value=(t.p_value) { (p_value(t.p_value)) small { "of " (t.permutations) } }
                            td { (outcome(t, looks)) }
                        } } } }
                    } }
                    p.caption {
                        (sets_told(&tested, looks)) " "
                        "Permutation tests: " (term("p", "p")) " is the share of random divisions that differ as much. Told apart: p at most 0.05 divided by the " (looks) " tests of this table. "
                        @if tested.iter().flat_map(|(_, s)| &s.tests).any(|t| !can_tell(t, looks)) { "Cannot tell: with so few random divisions no p is as small as that. " }
                        "Such a test speaks of the sets, not of any one image: where it tells them apart and no attack does, the images were used, and who among them cannot be said. One that sees nothing takes nothing back of what an attack finds. "
                        @for (m, s) in &tested { @if let Some(text) = s.features.as_ref().and_then(features) { "Compared for " (m.title) ": " (text) ". " } }
                    }
                }
            }
        }
    }
}

/// What a test says: one whose p-value cannot be small enough says nothing.
fn outcome(test: &SetTest, looks: usize) -> &'static str {
    match (tells_apart(test, looks), can_tell(test, looks)) {
        (true, _) => "told apart",
        (false, true) => "not told apart",
        (false, false) => "cannot tell",
    }
}

/// How many images prove use to someone who has as many that were not used.
fn inference(tested: &[(&ModelReport, &Sets)]) -> Markup {
    let made: Vec<_> = tested
        .iter()
        .filter_map(|(m, s)| Some((*m, s.inference.as_ref()?)))
        .collect();
    let mut ks: Vec<usize> = made
        .iter()
        .flat_map(|(_, i)| i.power.iter().map(|p| p.k))
        .collect();
    ks.sort_unstable();
    ks.dedup();
    // The sets are the same for all models.
    let refused = made.iter().find_map(|(_, i)| i.refused.as_deref());
    html! {
        @if !ks.is_empty() || refused.is_some() {
            h3 { "What someone can prove who has k images, and k more that were not used" }
        }
        @if let Some(reason) = refused {
            p { "Not made: " (reason) "." }
        }
        @if !ks.is_empty() {
            div.scroll { table.plain data-sortable="" {
                thead { tr { th scope="col" { "Model" } @for k in &ks { th.n scope="col" { "k = " (k) } } th.n scope="col" { "images needed" } } }
                tbody { @for (m, i) in made.iter().filter(|(_, i)| !i.power.is_empty()) { tr {
                    th scope="row" { (m.title) }
                    @for k in &ks { @match i.power.iter().find(|p| p.k == *k) {
                        Some(p) => { td.n data-value=(p.power) { (rate(p.power)) small { (interval(p.ci)) } } }
                        None => { td.n.none data-value="-1" { "n/a" } }
                    } }
                    td.n data-value=[i.images_needed] { @match (i.images_needed, i.power.last()) {
                        (Some(k), _) => (k),
                        (None, Some(most)) => { "more than " (most.k) }
                        (None, None) => "n/a",
                    } }
                } } }
            } }
            p.caption {
                "Dataset inference: the share of sets of k members that are shown to differ from k images that were not used, at 5 % false alarms, with a 95 % interval. "
                "A classifier looks at the scores of all attacks together, and is fitted anew for every relabelling. "
                "Needed: the first k with 8 of 10. Members drawn at random; the pictures of one person resemble each other and count for fewer."
            }
        }
    }
}

/// Against which model the fewest images of one person suffice, and against which none of these numbers does.
fn fewest(powers: &[(&ModelReport, &Chosen)]) -> String {
    let needed = powers
        .iter()
        .filter_map(|(m, c)| Some((m.title.clone(), c.images_needed?)));
    let least = needed.clone().map(|(_, k)| k).min();
    let never: Vec<String> = powers
        .iter()
        .filter(|(_, c)| c.images_needed.is_none())
        .map(|(m, _)| m.title.clone())
        .collect();
    let Some(k) = least else {
        return "Against no model do as many images as were tried prove use in 8 of 10 cases."
            .to_owned();
    };
    let most: Vec<String> = needed.filter(|n| n.1 == k).map(|n| n.0).collect();
    let images = match k {
        1 => "1 image proves".to_owned(),
        k => format!("{k} images prove"),
    };
    let mut text = format!(
        "Against {} {images} use in at least 8 of 10 cases, the fewest here",
        list(&most)
    );
    if !never.is_empty() {
        text.push_str(&format!(
            "; against {} as many as were tried do not",
            list(&never)
        ));
    }
    text + "."
}

/// Which models' sets are told apart.
fn sets_told(tested: &[(&ModelReport, &Sets)], looks: usize) -> String {
    let told: Vec<String> = tested
        .iter()
        .filter_map(|(m, s)| {
            let by = s.tests.iter().filter(|t| tells_apart(t, looks)).count();
            (by > 0).then(|| format!("{} (by {by} of {} tests)", m.title, s.tests.len()))
        })
        .collect();
    match (told.is_empty(), looks) {
        (false, _) => format!(
            "Members and non-members are told apart as a whole for {}.",
            list(&told)
        ),
        (true, 1) => "The test tells no sets apart.".to_owned(),
        (true, n) => format!("None of the {n} tests tells members from non-members as a whole."),
    }
}

fn features(words: &Words) -> Option<String> {
    let text = words.to_string();
    Some(text.trim_end_matches('.').to_owned()).filter(|t| !t.is_empty())
}

/// The public codes' numbers, if the plan asks for them.
pub fn compat_section(report: &Report) -> Markup {
    let rows: Vec<_> = report
        .models
        .iter()
        .flat_map(|m| {
            m.results
                .iter()
                .flat_map(move |r| r.compat.iter().map(move |c| (m, r, c)))
        })
        .collect();
    let mut rules: Vec<(&str, &str)> = Vec::new();
    for (_, _, c) in &rows {
        if let Some(s) = &c.summary
            && rules.iter().all(|r| *r.0 != c.rule)
        {
            rules.push((&c.rule, &s.definition));
        }
    }
    let number = |x: Option<f64>| html! { td.n data-value=[x] { @match x { Some(v) => (format!("{v:.4}")), None => "-" } } };
    html! {
        @if !rows.is_empty() {
            section #compat {
                h2 { "What the public codes would have printed" }
                p.lede { strong { "Not for conclusions. " } "For a line beside a published number only. These rules pick thresholds on the very scores they are judged on. They may exceed the false-alarm rate they name, and some count the non-members as the positives. The exact numbers are in the table of attacks." }
                details {
                    summary { "The numbers, by the rules of " (rules.iter().map(|r| r.0).collect::<Vec<_>>().join(", ")) }
                    div.scroll { table.plain data-sortable="" {
                        thead { tr { th scope="col" { "Model" } th scope="col" { "Attack" } th scope="col" { "Rule" } th.n scope="col" { "“AUC”" } th.n scope="col" { "“accuracy”" } @for fpr in crate::compat::FPRS { th.n scope="col" { "“TPR at " (fpr_name(fpr)) "”" } } } }
                        tbody { @for (m, r, c) in &rows { tr {
                            td { (m.title) } td { (r.title) } td { (c.rule) }
                            @match &c.summary {
                                None => { td.none colspan="4" { (c.reason.as_deref().unwrap_or("no result")) } }
                                Some(s) => {
                                    (number(s.auc)) (number(s.asr))
                                    @for fpr in crate::compat::FPRS { @match s.tpr_at_fpr.iter().find(|p| p.target_fpr == fpr) {
                                        Some(p) => { td.n data-value=(p.tpr) { (format!("{:.4}", p.tpr)) small { "at " (format!("{:.4}", p.realised_fpr)) } } }
                                        None => { td.n { "-" } }
                                    } }
                                }
                            }
                        } } }
                    } }
                    dl.terms { @for (rule, definition) in &rules { dt { (rule) } dd { (definition) } } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_rounded_down_to_one_decimal() {
        let shown = [0.0, 0.04, 0.1, 0.933, 3.9396, 4.0].map(epsilon);
        assert_eq!(shown, ["0", "0", "0.1", "0.9", "3.9", "4.0"]);
    }

    #[test]
    fn a_test_with_few_divisions_cannot_tell() {
        let test = |p_value, permutations| SetTest {
            name: "fréchet".into(),
            title: String::new(),
            what: String::new(),
            members: 24,
            nonmembers: 24,
            statistic: 64.2,
            p_value,
            permutations,
        };
        // 1 in 100 is above 0.05 / 14, and is the smallest that 99 divisions allow.
        assert_eq!(outcome(&test(0.01, 99), 14), "cannot tell");
        assert_eq!(outcome(&test(0.01, 99), 5), "told apart");
        assert_eq!(outcome(&test(0.4, 99), 5), "not told apart");
        assert_eq!(outcome(&test(0.011, 999), 14), "not told apart");
        assert_eq!(outcome(&test(0.001, 999), 14), "told apart");
    }
}
