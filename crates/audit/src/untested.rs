//! What was not tested: as prominent as what was.

use dualmd_names::{BaseAttack, Defense};

use crate::catalogue::applies_to;
use crate::format::{fpr_name, grouped, list};
use crate::report::{ModelReport, Report};

/// Threats without a test, and what the tests that were run cannot resolve.
pub fn not_tested(report: &Report) -> Vec<String> {
    let results = || report.models.iter().flat_map(|m| &m.results);
    let mut out = attacks(report);
    let unknown = results().any(|r| r.access == "unknown");
    // Without the attacks' description nobody can say which kinds are absent.
    for (access, who) in [
        ("white-box", "who hold the weights"),
        ("grey-box", "who can query the model at chosen steps"),
        ("black-box", "who only see generated images"),
    ]
    .into_iter()
    .filter(|_| !unknown)
    {
        let mut own = results().filter(|r| r.access == access).peekable();
        let none = match own.peek() {
            None => "no attack of this kind was run",
            Some(_) => "attacks of this kind were run, and none gave a result",
        };
        if !own.any(|r| r.pooled.is_some()) {
            out.push(format!("Attackers {who} ({access}): {none}."));
        }
    }
    let mut failed: Vec<String> = results()
        .filter(|r| r.status != "ok")
        .map(|r| r.title.clone())
        .collect();
    failed.sort();
    failed.dedup();
    if !failed.is_empty() {
        out.push(format!(
            "Attacks that failed on at least one model: {}. The reasons stand in the table.",
            list(&failed)
        ));
    }
    let tested = |m: &&ModelReport| m.sets.as_ref().is_some_and(|s| !s.tests.is_empty());
    let sets: Vec<String> = report
        .models
        .iter()
        .filter(tested)
        .map(|m| m.title.clone())
        .collect();
    if sets.is_empty() {
        out.push("Whole sets of images: no test of whether the members, taken together, can be told from the non-members.".into());
    } else if sets.len() < report.models.len() {
        out.push(format!(
            "Whole sets of images: tested on {} only.",
            list(&sets)
        ));
    }
    if let Some(n) = results()
        .filter_map(|r| r.pooled.as_ref())
        .map(|m| m.n_nonmembers)
        .max()
    {
        let rates: Vec<f64> = crate::measure::FPRS
            .iter()
            .copied()
            .filter(|f| f * (n as f64) < 1.0)
            .collect();
        if let Some(largest) = rates.iter().copied().reduce(f64::max) {
            out.push(format!(
                "False-alarm rates of {} and below: with {} non-members they cannot be measured ({} would be needed).",
                fpr_name(largest),
                grouped(n as i64),
                grouped((1.0 / largest).ceil() as i64)
            ));
        }
    }
    out.push(trainings(report));
    if report.models.iter().any(|m| {
        matches!(
            m.defense.defense(),
            Some(Defense::Dualmd | Defense::Distillmd)
        )
    }) {
        out.push("A worst-case bound: DualMD and DistillMD come with no formal guarantee (no ε), whatever the numbers here are.".into());
    }
    let tried = match report.models.iter().any(|m| !m.copying.is_empty()) {
        true => {
            "copies were counted among the generated images, and nothing else was tried to get training images out of a model"
        }
        false => "no training image was looked for among generated ones here",
    };
    out.push(format!("Extraction: {tried}; the command dualmd extract does that, beside a control. Its result is a file of its own."));
    out.push("Other threats: this program has no test for attribute inference, model inversion or the reconstruction of training images from the weights.".into());
    out
}

/// Was the attack, in whatever variant, started on the model?
fn tried(attack: BaseAttack, model: &ModelReport) -> bool {
    let mut results = model.results.iter();
    results.any(|r| BaseAttack::of(&r.attack) == Some(attack))
}

/// Attacks that could have been run on a model of the report, or gave a result on one, and whose absence says something: those that gave
/// a result, and those that did not.
fn possible(report: &Report) -> (Vec<BaseAttack>, Vec<BaseAttack>) {
    let ran = |attack: BaseAttack, model: &ModelReport| {
        let mut results = model.results.iter();
        results.any(|r| BaseAttack::of(&r.attack) == Some(attack) && r.pooled.is_some())
    };
    let models = || report.models.iter();
    BaseAttack::ALL
        .into_iter()
        .filter(|a| a.facts().does.is_some())
        .filter(|a| models().any(|m| applies_to(*a, m) || ran(*a, m)))
        .partition(|a| models().any(|m| ran(*a, m)))
}

/// Attacks that could have been run, and were run on no model.
pub fn never_run(report: &Report) -> Vec<BaseAttack> {
    let (_, none) = possible(report);
    none.into_iter()
        .filter(|a| !report.models.iter().any(|m| tried(*a, m)))
        .collect()
}

/// The attacks that could have been run on a model of the report, and were run on none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotRun {
    /// What they are, without a stop: to stand before their list.
    pub said: String,
    /// What each does, in a few words.
    pub attacks: Vec<String>,
    /// What follows, in sentences.
    pub then: &'static str,
}

impl NotRun {
    /// All in one line, as it stands in [`Verdict::not_tested`](crate::report::Verdict::not_tested).
    #[must_use]
    pub fn line(&self) -> String {
        // Some of them have commas of their own.
        format!("{}: {}. {}", self.said, self.attacks.join("; "), self.then)
    }
}

/// The attacks that were not run, for pages that have them as a list; `None` where there are none.
#[must_use]
pub fn not_run(report: &Report) -> Option<NotRun> {
    let attacks: Vec<String> = never_run(report)
        .iter()
        .filter_map(|a| a.facts().does.map(str::to_owned))
        .collect();
    let models = match report.models.len() {
        1 => "the model",
        _ => "any model",
    };
    (!attacks.is_empty()).then(|| NotRun {
        said: format!("Attacks not run on {models}"),
        attacks,
        then: "Nothing in this report says what they would find. Why they were not run, and what each would cost, stands in report.html below the tables of attacks.",
    })
}

/// Attacks that gave no result anywhere, and those that gave one on some models only. Failed ones are named elsewhere.
fn attacks(report: &Report) -> Vec<String> {
    let (some, _) = possible(report);
    let mut out = Vec::new();
    out.extend(not_run(report).map(|n| n.line()));
    // Models with the same gaps share a sentence.
    let mut gaps: Vec<(Vec<String>, Vec<String>)> = Vec::new();
    for model in report.models.iter().filter(|m| m.attacks_run() > 0) {
        let missing: Vec<String> = some
            .iter()
            .filter(|a| applies_to(**a, model) && !tried(**a, model))
            .map(|a| a.title().to_owned())
            .collect();
        if missing.is_empty() {
            continue;
        }
        match gaps.iter_mut().find(|g| g.0 == missing) {
            Some(gap) => gap.1.push(model.title.clone()),
            None => gaps.push((missing, vec![model.title.clone()])),
        }
    }
    for (missing, models) in gaps {
        out.push(format!(
            "Run on other models, but not on {}: {}.",
            list(&models),
            list(&missing)
        ));
    }
    let silent: Vec<String> = report
        .models
        .iter()
        .filter(|m| m.attacks_run() == 0)
        .map(|m| m.title.clone())
        .collect();
    if !silent.is_empty() {
        out.push(format!(
            "Models without any result: {}. Nothing is known about them.",
            list(&silent)
        ));
    }
    out
}

/// What one training says about the next.
pub fn trainings(report: &Report) -> String {
    let repeated = |m: &ModelReport| report.repeated.iter().any(|r| r.base == m.base());
    let attacked = || report.models.iter().filter(|m| m.attacks_run() > 0);
    if !attacked().any(&repeated) {
        // Repeated trainings are left out of a comparison, which may have been audited.
        let one = match report.run.get("compared").is_some() {
            true => "one training of each model is compared here",
            false => "one training of each model was audited",
        };
        return format!(
            "Other trainings: {one}. The intervals cover the choice of images, and not what another training with another seed would give."
        );
    }
    let once: Vec<String> = attacked()
        .filter(|m| !repeated(m))
        .map(|m| m.title.clone())
        .collect();
    let numbers: Vec<usize> = report.repeated.iter().map(|r| r.models.len()).collect();
    let fewest = numbers.iter().min().copied().unwrap_or_default();
    let most = numbers.iter().max().copied().unwrap_or_default();
    let times = if fewest == most {
        format!("{most} times")
    } else {
        format!("{fewest} to {most} times")
    };
    let rest = if once.is_empty() {
        String::new()
    } else {
        format!(
            "; trained once only, so that nothing is known about another training: {}",
            list(&once)
        )
    };
    format!("Other trainings: recipes were trained {times} with different seeds{rest}.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::AttackResult;

    /// Where copies were counted the page has their number: it is not said that nobody looked.
    #[test]
    fn copies_that_were_counted_were_looked_for() {
        let mut report: Report =
            serde_json::from_str(r#"{"schema": 1, "models": [{"name": "m"}]}"#).expect("a report");
        let extraction = |report: &Report| {
            let mut all = not_tested(report).into_iter();
            all.find(|item| item.starts_with("Extraction: "))
                .expect("said")
        };
        assert!(extraction(&report).contains("no training image was looked for"));
        report.models[0].copying.push(Default::default());
        let said = extraction(&report);
        assert!(
            said.contains("copies were counted") && said.contains("dualmd extract"),
            "{said}"
        );
    }

    #[test]
    fn a_kind_of_attack_that_failed_is_not_one_that_was_not_run() {
        let failed = AttackResult {
            access: "grey-box".into(),
            status: "failed".into(),
            ..AttackResult::named("rediffuse")
        };
        let report = Report {
            models: vec![ModelReport {
                name: "m".into(),
                results: vec![failed],
                ..ModelReport::default()
            }],
            ..serde_json::from_str(r#"{"schema": 1, "models": []}"#).expect("a report")
        };
        let text = not_tested(&report).join("\n");
        assert!(
            text.contains("(grey-box): attacks of this kind were run, and none gave a result."),
            "{text}"
        );
        assert!(
            text.contains("(white-box): no attack of this kind was run."),
            "{text}"
        );
    }
}
