//! The verdict in words: nothing that the numbers do not carry, never "anonymous", never "safe".

use crate::format::{
    grouped, interval, list, percent_in_words, percent_interval, rate, rate_in_words,
};
use crate::measure::minimum_detectable_auc;
use crate::report::{
    AttackResult, Finding, Measurement, ModelReport, ModelVerdict, Report, Verdict, View,
};
use crate::untested::not_tested;
use crate::words::{attacker, capital, member_of, subject};

/// Builds the verdict from everything else in the report.
pub fn verdict(report: &Report) -> Verdict {
    Verdict {
        void: void(report),
        summary: summary(report),
        models: report
            .models
            .iter()
            .map(|m| ModelVerdict {
                model: m.name.clone(),
                finding: finding(m),
                text: model_text(m),
            })
            .collect(),
        not_tested: not_tested(report),
    }
}

/// The reason why nothing can be trusted, if there is one.
fn void(report: &Report) -> Option<String> {
    let blind = report
        .controls
        .blind_baseline
        .as_ref()
        .filter(|b| b.outcome == "void")?;
    let look = if blind.why.is_empty() {
        "Look at file format, size and source."
    } else {
        blind.why.as_str()
    };
    Some(format!(
        "A classifier that never saw the model separates the two image sets (AUC {}, {}). They differ in something other than membership, and no number below can be trusted. {look}",
        rate(blind.auc),
        interval(blind.auc_ci)
    ))
}

/// The undefended model, the best-known defence, and the step between them.
fn summary(report: &Report) -> Vec<String> {
    let scored = |m: &&ModelReport| m.attacks_run() > 0;
    let baseline = report
        .models
        .iter()
        .filter(scored)
        .find(|m| m.defense == "none" && m.repeat_of.is_none());
    let other = |m: &&ModelReport| {
        baseline.is_none_or(|b| b.name != m.name) && !m.is_teacher() && m.repeat_of.is_none()
    };
    let defended = report
        .models
        .iter()
        .filter(scored)
        .find(|m| m.defense == "distillmd" && m.repeat_of.is_none())
        .or_else(|| report.models.iter().filter(scored).find(other));
    let mut out = Vec::new();
    for model in [baseline, defended].into_iter().flatten() {
        let mut text = vec![lead(model)];
        text.extend(leaks_elsewhere(model));
        if finding(model) != Finding::Leak {
            text.extend(inverted(model));
        }
        if model.primary == View::Pooled {
            text.extend(halves(model));
        }
        text.extend(seeds(report, model));
        out.push(text.join(" "));
    }
    if let (Some(baseline), Some(defended)) = (baseline, defended)
        && let Some(strongest) = baseline.strongest()
        && let Some(c) = report
            .comparisons
            .iter()
            .find(|c| c.model == defended.name && c.attack == strongest.attack)
        && let (Some(before), Some(after)) = (
            &strongest.pooled,
            defended
                .results
                .iter()
                .find(|r| r.attack == c.attack)
                .and_then(|r| r.pooled.as_ref()),
        )
        && c.difference_ci[0] > 0.0
    {
        out.push(format!(
            "On the same images, the AUC of {} falls from {} to {} (difference {}, {}).",
            strongest.title,
            rate_in_words(before.auc),
            rate_in_words(after.auc),
            rate(c.difference),
            interval(c.difference_ci)
        ));
    }
    out
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
        "Over {} trainings with different seeds the AUC of {} is {} on average ({} between trainings).",
        s.n,
        attack.title,
        rate_in_words(s.mean),
        interval(s.between_ci?.map(|x| x.clamp(0.0, 1.0)))
    ))
}

/// The worst finding on the members that the model was trained on.
fn finding(model: &ModelReport) -> Finding {
    let views: &[View] = if model.primary == View::Pooled {
        &[View::Pooled, View::D1, View::D2]
    } else {
        std::slice::from_ref(&model.primary)
    };
    let findings: Vec<Finding> = model
        .results
        .iter()
        .flat_map(|r| views.iter().filter_map(|v| r.view(*v)))
        .map(|m| m.finding)
        .collect();
    if findings.is_empty() {
        return Finding::Unknown;
    }
    [Finding::Leak, Finding::Inverted]
        .into_iter()
        .find(|f| findings.contains(f))
        .unwrap_or(Finding::Chance)
}

/// The sentence on the strongest attack.
fn lead(model: &ModelReport) -> String {
    let Some((best, m)) = model
        .strongest()
        .and_then(|r| Some((r, r.view(model.primary)?)))
    else {
        return format!(
            "{} was not attacked: nothing is known about it.",
            capital(&subject(model))
        );
    };
    match m.finding {
        Finding::Leak => leak(model, best, m),
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
    let strongest = match model.attacks_run() {
        1 => format!("{} (the only attack run{judged})", best.title),
        n => format!("the strongest of {n} attacks ({}{judged})", best.title),
    };
    let found = match m.tpr_at_fpr.iter().find(|p| p.fpr == 0.01) {
        Some(p) if p.measurable => format!(
            " and, at 1 false alarm in 100, finds {} of {} members",
            p.tp, m.n_members
        ),
        Some(_) => format!(
            "; how many it finds at 1 false alarm in 100 cannot be measured with {} non-members",
            m.n_nonmembers
        ),
        None => String::new(),
    };
    let chosen = match model.attacks_run() {
        1 => "",
        _ => ", widened for the choice among them",
    };
    format!(
        "{} {does}: {strongest} ranks a random {} above a random non-member {} of the time (95 % interval {}{chosen}){found}.",
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
            "the one attack run here ({}) did no better than chance (AUC {}, {})",
            best.title,
            rate(m.auc),
            interval(m.auc_ci)
        ),
        n => format!(
            "none of the {n} attacks run here did better than chance (best: {}, AUC {}, {}, widened for the choice among them)",
            best.title,
            rate(m.auc),
            interval(m.auc_ci_adjusted)
        ),
    };
    format!(
        "Against {} {which}. With {} members, leaks below AUC {:.2} would not have been seen.",
        subject(model),
        m.n_members,
        detectable(model, m)
    )
}

/// The strongest attack in one line, for the card of a model.
fn short(model: &ModelReport) -> String {
    let Some((best, m)) = model
        .strongest()
        .and_then(|r| Some((r, r.view(model.primary)?)))
    else {
        return lead(model);
    };
    let n = model.attacks_run();
    let which = if n == 1 {
        best.title.clone()
    } else {
        format!("Strongest of {n} attacks: {}", best.title)
    };
    let auc = format!("AUC {} ({})", rate(m.auc), interval(m.auc_ci_adjusted));
    if m.finding != Finding::Leak {
        let none = if n == 1 {
            format!("{} did no better than chance: {auc}", best.title)
        } else {
            format!(
                "None of {n} attacks did better than chance; best: {}, {auc}",
                best.title
            )
        };
        return format!(
            "{none}. Leaks below AUC {:.2} would not have been seen.",
            detectable(model, m)
        );
    }
    match m.tpr_at_fpr.iter().find(|p| p.fpr == 0.01 && p.measurable) {
        Some(p) => format!(
            "{which}, {auc}; it finds {} of {} members at 1 false alarm in 100.",
            p.tp, m.n_members
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
fn model_text(model: &ModelReport) -> String {
    let mut text = vec![short(model)];
    if let Some(sentence) = leaks_elsewhere(model) {
        text.push(sentence);
    }
    text.extend(inverted(model));
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
    let views: &[View] = if model.primary == View::Pooled {
        &[View::Pooled, View::D1, View::D2]
    } else {
        std::slice::from_ref(&model.primary)
    };
    let inverted: Vec<String> = model
        .results
        .iter()
        // The first view that is inverted says it for the attack: pooled before the halves.
        .filter_map(|r| {
            views.iter().find_map(|v| {
                Some((
                    r,
                    *v,
                    r.view(*v).filter(|m| m.finding == Finding::Inverted)?,
                ))
            })
        })
        .map(|(r, v, m)| {
            let whom = if v == model.primary {
                String::new()
            } else {
                format!(" on {}", v.name())
            };
            format!(
                "{}{whom} (AUC {}, {})",
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

/// Pooled scores show no leak, but one half alone does.
fn leaks_elsewhere(model: &ModelReport) -> Option<String> {
    let leaks = |r: &AttackResult, v: View| r.view(v).is_some_and(|m| m.finding == Finding::Leak);
    if model.primary != View::Pooled || model.results.iter().any(|r| leaks(r, View::Pooled)) {
        return None;
    }
    let (result, view, m) = model
        .results
        .iter()
        .flat_map(|r| [View::D1, View::D2].map(|v| (r, v)))
        .filter(|(r, v)| leaks(r, *v))
        .filter_map(|(r, v)| Some((r, v, r.view(v)?)))
        .max_by(|a, b| a.2.auc.total_cmp(&b.2.auc))?;
    Some(format!(
        "One half leaks by itself: {} reaches AUC {} ({}) on the members of {}.",
        result.title,
        rate(m.auc),
        interval(m.auc_ci),
        view.name()
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
    Some(format!(
        "Members of {}, which it never saw, {verb} (largest AUC {}, {}, {}).",
        other.name(),
        rate(m.auc),
        interval(m.auc_ci),
        result.title
    ))
}
