//! The verdict in words: nothing that the numbers do not carry, never "anonymous", never "safe".

use dualmd_names::Defense;

use crate::conclusion::{
    self, copied, copies_in_words, families, half_that_leaks, set_looks, told_apart,
};
use crate::format::{
    counted, grouped, interval, list, p_value, percent_in_words, percent_interval, rate,
    rate_in_words,
};
use crate::measure::{FAMILY_ALPHA, minimum_detectable_auc};
use crate::release::{self, is_product};
use crate::report::{
    AttackResult, Conclusion, Controls, Finding, Measurement, ModelReport, ModelVerdict, Release,
    Released, Report, Verdict, View,
};
use crate::untested::not_tested;
use crate::words::{attacker, capital, member_of, subject};

/// What stands before an interval that is not of one attack alone.
const WIDENED: &str = "95 % interval, widened for the choice among the attacks,";

impl Report {
    /// The same with what the rules of this version make of its numbers: of a report that an earlier version wrote.
    #[must_use]
    pub fn judged(self) -> Self {
        let verdict = verdict(&self, self.verdict.void.clone());
        Self { verdict, ..self }
    }
}

/// Builds the verdict from everything else in the report; `void`: the reason why there is none.
pub fn verdict(report: &Report, void: Option<String>) -> Verdict {
    let looks = set_looks(&report.models);
    let concluded: Vec<(&ModelReport, Conclusion)> = report
        .models
        .iter()
        .map(|m| (m, Conclusion::of(m, looks, void.is_some())))
        .collect();
    let releases = match void {
        Some(_) => Vec::new(),
        None => release::releases(&report.models, looks),
    };
    let advice = |name: &str| {
        let lines = release::of_model(&releases, name);
        match lines.is_empty() {
            true => String::new(),
            false => release::headline(&lines).to_owned(),
        }
    };
    let models = concluded.iter().map(|(m, conclusion)| ModelVerdict {
        model: m.name.clone(),
        finding: conclusion.finding(),
        conclusion: conclusion.clone(),
        advice: advice(&m.name),
        text: model_text(report, &releases, m, conclusion, looks),
    });
    Verdict {
        models: models.collect(),
        summary: match void {
            Some(_) => Vec::new(),
            None => summary(report, &releases, &concluded, looks),
        },
        releases,
        false_alarms: match void {
            Some(_) => String::new(),
            None => false_alarms(families(report)),
        },
        void,
        not_tested: not_tested(report),
    }
}

/// The reason why nothing can be trusted, if there is one.
pub fn void(controls: &Controls, contradictions: &[String]) -> Option<String> {
    let mut reasons = Vec::new();
    let blind = controls.blind_baseline.as_ref();
    if let Some(blind) = blind.filter(|b| b.outcome == "void") {
        let look = if blind.why.is_empty() {
            "Look at file format, size and source."
        } else {
            blind.why.as_str()
        };
        reasons.push(format!(
            "A classifier that never saw the model separates the two image sets (AUC {}, {}). They differ in something other than membership, and no number of this audit can be trusted. {look}",
            rate(blind.auc),
            interval(blind.auc_ci)
        ));
    }
    if !contradictions.is_empty() {
        reasons.push(format!(
            "The files of this folder contradict each other about who is a member, and no number of this audit can be trusted: {}. Put back the files that belong together, or attack again (delete the scores and repeat the command).",
            contradictions.join(". ")
        ));
    }
    (!reasons.is_empty()).then(|| reasons.join(" "))
}

/// What to do with a void audit.
pub fn instead(controls: &Controls) -> &'static str {
    let blind = controls.blind_baseline.as_ref();
    match blind.is_some_and(|b| b.outcome == "void") {
        true => "Do not decide on this: draw new sets from one source and audit again.",
        false => "Do not decide on this: mend what is named and audit again.",
    }
}

/// Chance that something is found where there is nothing.
fn false_alarms(families: usize) -> String {
    let one = "False alarms: luck alone can look like a finding. Tests that are corrected together are one family of looks: the attacks on all members of a model, those on its halves, or the tests of whole sets. Where nothing leaks, a family shows a finding in at most 1 of 20 audits.";
    match families {
        0 => String::new(),
        1 => format!("{one} This report has one such family."),
        n => format!(
            "{one} This report has {n} such families. Were they independent, luck would show one finding or more in {:.0} of 100 reports with as many families. So a finding that stands alone and barely passes is weak.",
            100.0 * (1.0 - (1.0 - FAMILY_ALPHA).powi(i32::try_from(n).unwrap_or(i32::MAX)))
        ),
    }
}

/// A paragraph for every model that could be released, the undefended one first; for all models if none could be.
fn summary(
    report: &Report,
    releases: &[Release],
    concluded: &[(&ModelReport, Conclusion)],
    looks: usize,
) -> Vec<String> {
    let attacked = || concluded.iter().filter(|(m, _)| m.attacks_run() > 0);
    let mut shown: Vec<&(&ModelReport, Conclusion)> =
        attacked().filter(|(m, _)| is_product(m)).collect();
    if shown.is_empty() {
        shown = attacked().collect();
    }
    let baseline = (shown.iter().map(|s| s.0)).find(|m| m.defense.is(Defense::None));
    let is_baseline = |m: &ModelReport| baseline.is_some_and(|b| b.name == m.name);
    shown.sort_by_key(|(m, _)| !is_baseline(m));
    shown
        .into_iter()
        .map(|(model, conclusion)| {
            let mut text = vec![lead(model, conclusion)];
            text.extend(by_teachers(report, releases, model, conclusion));
            text.extend(beside(model, conclusion, looks));
            if let Some(baseline) = baseline.filter(|b| b.name != model.name) {
                text.extend(strongest_against_strongest(model, baseline));
            }
            if model.primary == View::Pooled {
                text.extend(halves(model));
            }
            text.extend(seeds(report, model));
            text.join(" ")
        })
        .collect()
}

/// The largest AUC on a model beside the largest on the undefended one, whatever attacks they are of, as long as these need no more than
/// attacks on the other model had: a pair of which images are all that was looked at is not held against an attacker with weights.
fn strongest_against_strongest(model: &ModelReport, baseline: &ModelReport) -> Option<String> {
    let most = |m: &ModelReport| {
        let measured = m.results.iter().filter(|r| r.view(m.primary).is_some());
        measured.map(Released::needed).max()
    };
    let (here, there) = (most(model)?, most(baseline)?);
    let kind = here.min(there);
    let best = |m: &ModelReport| {
        let result = m.strongest_with(kind)?;
        let auc = result.view(m.primary)?.auc;
        Some((result.title.clone(), rate_in_words(auc)))
    };
    let ((own, auc), (theirs, reference)) = (best(model)?, best(baseline)?);
    let with = match kind {
        _ if here == there => "",
        Released::Images => ", both by generated images alone",
        Released::Queries => ", both without the weights",
        Released::Weights => "",
    };
    Some(format!(
        "Compared with {}: the strongest attack has AUC {auc} here ({own}) and {reference} there ({theirs}){with}.",
        subject(baseline)
    ))
}

/// Of a pair in which nothing was found: that its teachers leak, whose weights it is made of.
fn by_teachers(
    report: &Report,
    releases: &[Release],
    model: &ModelReport,
    conclusion: &Conclusion,
) -> Option<String> {
    if conclusion.finding() == Finding::Leak {
        return None;
    }
    let strongest = release::through_teacher(&report.models, releases, &model.name)?;
    let mut own = release::of_model(releases, &model.name).into_iter();
    let both = own.find_map(|line| release::of_halves(line, &report.models));
    let both = both.map_or_else(String::new, |words| format!(" Whoever holds both {words}."));
    Some(format!(
        "So much for its images. Its weights are those of its teachers, which leak: {}, AUC {} ({WIDENED} {}).{both}",
        strongest.title,
        rate(strongest.auc),
        interval(strongest.auc_ci)
    ))
}

/// What else was found of a model, beside the first sentence: scores the wrong way round, the set as a whole, copies.
fn beside(model: &ModelReport, conclusion: &Conclusion, looks: usize) -> Vec<String> {
    if matches!(conclusion, Conclusion::Void | Conclusion::Unknown) {
        return Vec::new();
    }
    let mut text = Vec::new();
    if !matches!(conclusion, Conclusion::Images { .. }) {
        text.extend(inverted(model));
    }
    text.extend(whole_set(model, conclusion, looks));
    text.extend(copies(model));
    text
}

/// That members and non-members are told apart as a whole, and by how many tests; the table of whole sets names them.
fn whole_set(model: &ModelReport, conclusion: &Conclusion, looks: usize) -> Option<String> {
    let told = told_apart(model, looks);
    let largest = told.iter().map(|t| t.p_value).reduce(f64::max)?;
    let p = match told.len() {
        1 => format!("p = {}", p_value(largest)),
        _ => format!("p at most {}", p_value(largest)),
    };
    let by = match conclusion::tests(model).count() {
        1 => format!("by the one test of whole sets ({p})"),
        n => format!("by {} of {n} tests of whole sets ({p})", told.len()),
    };
    let said = match conclusion {
        Conclusion::Images { .. } | Conclusion::OneHalf { .. } => {
            "The set as a whole is told from unseen images too"
        }
        _ => {
            "The set as a whole: yes, the training images taken together are told from unseen ones"
        }
    };
    Some(format!("{said}, {by}."))
}

/// That what the model draws holds copies.
fn copies(model: &ModelReport) -> Option<String> {
    let c = copied(model)?;
    Some(format!(
        "Copies: {}, compared by {}.",
        copies_in_words(c),
        c.features
    ))
}

/// What other trainings of the same recipe gave under the strongest attack.
fn seeds(report: &Report, model: &ModelReport) -> Option<String> {
    let strongest = model.strongest()?;
    let repeated = report.repeated.iter().find(|r| r.base == model.name)?;
    let attack = repeated
        .attacks
        .iter()
        .find(|a| a.attack == strongest.attack)?;
    let s = attack.auc.summary;
    Some(format!(
        "Over {} trainings with different seeds the AUC of {} is {} on average (95 % interval of that mean {}).",
        s.n,
        attack.title,
        rate_in_words(s.mean),
        interval(s.between_ci?.map(|x| x.clamp(0.0, 1.0)))
    ))
}

/// The sentence on the strongest attack.
fn lead(model: &ModelReport, conclusion: &Conclusion) -> String {
    if let Conclusion::OneHalf { .. } = conclusion
        && let Some(text) = one_half(model)
    {
        return format!("Against {} {text}", subject(model));
    }
    let Some((best, m)) = model
        .strongest()
        .and_then(|r| Some((r, r.view(model.primary)?)))
    else {
        return format!(
            "{} was not attacked: nothing is known about it.",
            capital(&subject(model))
        );
    };
    match conclusion {
        Conclusion::Images { .. } => leak(model, best, m),
        Conclusion::WholeSet { .. } => {
            format!("Single images: no. {}", no_leak(model, best, m))
        }
        Conclusion::Unknown => format!(
            "Of {} nothing can be said: {}",
            subject(model),
            unseen(model, m)
        ),
        _ => no_leak(model, best, m),
    }
}

fn leak(model: &ModelReport, best: &AttackResult, m: &Measurement) -> String {
    let does = match m.auc {
        a if a >= 0.9 => "tells a training image from an unseen one",
        a if a >= 0.65 => "can often tell a training image from an unseen one",
        _ => "does better than chance at telling a training image from an unseen one",
    };
    let judged = match best.trained_on {
        Some(_) => format!(
            ", scored on the {} images not used for its training",
            grouped(best.samples_scored as i64)
        ),
        None => String::new(),
    };
    let (strongest, of) = match model.attacks_run() {
        1 => (
            format!("{}, the only attack run{judged},", best.title),
            "95 % interval",
        ),
        n => (
            format!("The strongest of {n} attacks is {}{judged}. It", best.title),
            WIDENED,
        ),
    };
    let found = match m.tpr_at_fpr.iter().find(|p| p.fpr == 0.01) {
        Some(p) if p.measurable => format!(
            " At 1 false alarm in 100 it finds {} of {} members; guessing finds {}.",
            grouped(p.tp as i64),
            grouped(m.n_members as i64),
            release::by_guessing(p.fpr * m.n_members as f64)
        ),
        Some(_) => format!(
            " How many it finds at 1 false alarm in 100 cannot be measured with {} non-members.",
            grouped(m.n_nonmembers as i64)
        ),
        None => String::new(),
    };
    format!(
        "{} {does}. {strongest} ranks a random {} above a random non-member {} of the time ({of} {} %).{found}",
        attacker(&best.access, &subject(model)),
        member_of(model),
        percent_in_words(m.auc),
        percent_interval(m.auc_ci_adjusted)
    )
}

fn no_leak(model: &ModelReport, best: &AttackResult, m: &Measurement) -> String {
    let n = model.attacks_run();
    let which = match n {
        1 => format!(
            "the one attack run here ({}) did no better than chance: AUC {} (95 % interval {})",
            best.title,
            rate(m.auc),
            interval(m.auc_ci)
        ),
        n => format!(
            "none of the {n} attacks run here did better than chance. The largest AUC is {} ({WIDENED} {}), of {}",
            rate(m.auc),
            interval(m.auc_ci_adjusted),
            best.title
        ),
    };
    format!(
        "Against {} {which}. With {}, leaks below AUC {:.2} would not have been seen.",
        subject(model),
        counted(m.n_members, "member"),
        detectable(model, m)
    )
}

/// Why so few images say nothing: the end of a sentence.
fn unseen(model: &ModelReport, m: &Measurement) -> String {
    format!(
        "with {} and {}, leaks below AUC {:.2} would not have been seen.",
        counted(m.n_members, "member"),
        counted(m.n_nonmembers, "non-member"),
        detectable(model, m)
    )
}

/// That all members together show no leak and one half alone does.
fn one_half(model: &ModelReport) -> Option<String> {
    let (result, half, m) = half_that_leaks(model)?;
    let best = model.strongest()?;
    let all = best.view(model.primary)?;
    let found = m.tpr_at_fpr.iter().find(|p| p.fpr == 0.01 && p.measurable);
    let found = found.map_or_else(String::new, |p| {
        format!(
            " and finds {} of {} of them at 1 false alarm in 100",
            grouped(p.tp as i64),
            grouped(m.n_members as i64)
        )
    });
    Some(format!(
        "one half of the members leaks by itself: {} reaches AUC {} ({WIDENED} {}) on the members of {}{found}. Over all members together it does not show: the largest AUC is {} ({WIDENED} {}), of {}.",
        result.title,
        rate(m.auc),
        interval(m.auc_ci_adjusted),
        half.name(),
        rate(all.auc),
        interval(all.auc_ci_adjusted),
        best.title
    ))
}

/// The strongest attack in one line, for the card of a model.
fn short(model: &ModelReport, conclusion: &Conclusion) -> String {
    if let Conclusion::OneHalf { .. } = conclusion
        && let Some(text) = one_half(model)
    {
        return capital(&text);
    }
    let Some((best, m)) = model
        .strongest()
        .and_then(|r| Some((r, r.view(model.primary)?)))
    else {
        return lead(model, conclusion);
    };
    if let Conclusion::Unknown = conclusion {
        return format!("Nothing can be said: {}", unseen(model, m));
    }
    let n = model.attacks_run();
    let which = if n == 1 {
        best.title.clone()
    } else {
        format!("Strongest of {n} attacks: {}", best.title)
    };
    let of = match n > 1 || model.primary != View::Pooled {
        true => WIDENED,
        false => "95 % interval",
    };
    let auc = format!("AUC {} ({of} {})", rate(m.auc), interval(m.auc_ci_adjusted));
    if !matches!(conclusion, Conclusion::Images { .. }) {
        let none = if n == 1 {
            format!("{} did no better than chance: {auc}", best.title)
        } else {
            format!(
                "None of {n} attacks did better than chance; largest: {}, {auc}",
                best.title
            )
        };
        let single = match conclusion {
            Conclusion::WholeSet { .. } => "Single images: no. ",
            _ => "",
        };
        return format!(
            "{single}{none}. Leaks below AUC {:.2} would not have been seen.",
            detectable(model, m)
        );
    }
    match m.tpr_at_fpr.iter().find(|p| p.fpr == 0.01 && p.measurable) {
        Some(p) => format!(
            "{which}, {auc}; it finds {} of {} members at 1 false alarm in 100.",
            grouped(p.tp as i64),
            grouped(m.n_members as i64)
        ),
        None => format!("{which}, {auc}."),
    }
}

/// The smallest AUC that would have been told from chance. Halves are a family of their own with twice as many looks.
fn detectable(model: &ModelReport, m: &Measurement) -> f64 {
    let looks = if model.primary == View::Pooled {
        model.attacks_run()
    } else {
        2 * model.attacks_run()
    };
    minimum_detectable_auc(m.n_members, m.n_nonmembers, looks)
}

/// Everything worth a sentence about one model.
fn model_text(
    report: &Report,
    releases: &[Release],
    model: &ModelReport,
    conclusion: &Conclusion,
    looks: usize,
) -> String {
    if let Conclusion::Void = conclusion {
        return "Void: nothing follows from its numbers.".into();
    }
    let mut text = vec![short(model, conclusion)];
    text.extend(by_teachers(report, releases, model, conclusion));
    if let Conclusion::Images { .. } = conclusion {
        text.extend(inverted(model));
    }
    text.extend(beside(model, conclusion, looks));
    match model.primary {
        View::Pooled => text.extend(halves(model)),
        own => text.extend(other_half(model, own)),
    }
    let failed: Vec<String> = model
        .results
        .iter()
        .filter(|r| r.status != "ok")
        .map(|r| r.title.clone())
        .collect();
    if !failed.is_empty() {
        text.push(format!(
            "{} failed and {} nothing.",
            list(&failed),
            if failed.len() == 1 { "says" } else { "say" }
        ));
    }
    text.join(" ")
}

/// Attacks that rank members below non-members.
fn inverted(model: &ModelReport) -> Option<String> {
    let inverted: Vec<String> = conclusion::inverted(model)
        .into_iter()
        .map(|(r, v, m)| {
            let whom = if v == model.primary {
                String::new()
            } else {
                format!(" on {}", v.name())
            };
            format!(
                "{}{whom} (AUC {}, 95 % interval of this attack alone {})",
                r.title,
                rate(m.auc),
                interval(m.auc_ci)
            )
        })
        .collect();
    if inverted.is_empty() {
        return None;
    }
    Some(format!(
        "Inverted: {} {} members below non-members. That is information too, for an attacker who turns the score round, and no protection.",
        list(&inverted),
        if inverted.len() == 1 { "ranks" } else { "rank" }
    ))
}

/// Attacks whose intervals on D1 and D2 do not overlap.
fn halves(model: &ModelReport) -> Option<String> {
    let differ: Vec<String> = model
        .results
        .iter()
        .filter(|r| r.halves_differ)
        .filter_map(|r| {
            Some(format!(
                "{}: AUC {} on D1, {} on D2",
                r.title,
                rate(r.d1.as_ref()?.auc),
                rate(r.d2.as_ref()?.auc)
            ))
        })
        .collect();
    if differ.is_empty() {
        return None;
    }
    Some(format!(
        "Pooling hides a difference between the halves ({}).",
        differ.join("; ")
    ))
}

/// What a teacher gives away about the half it never saw.
fn other_half(model: &ModelReport, own: View) -> Option<String> {
    let other = if own == View::D1 { View::D2 } else { View::D1 };
    let (result, m) = model
        .results
        .iter()
        .filter_map(|r| Some((r, r.view(other)?)))
        .max_by(|a, b| a.1.auc.total_cmp(&b.1.auc))?;
    let verb = match m.finding {
        Finding::Leak => "also stand out",
        _ => "do not stand out",
    };
    // As of its own half: a few members may hide a leak.
    let hidden = match m.finding {
        Finding::Leak => String::new(),
        _ => format!(
            " With {} of {}, leaks below AUC {:.2} would not have been seen.",
            counted(m.n_members, "member"),
            other.name(),
            detectable(model, m)
        ),
    };
    Some(format!(
        "Members of {}, which it never saw, {verb} (largest AUC {}, {}; 95 % interval of this attack alone {}).{hidden}",
        other.name(),
        rate(m.auc),
        result.title,
        interval(m.auc_ci)
    ))
}
