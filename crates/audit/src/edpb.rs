//! What EDPB Opinion 28/2024 asks for when a model is claimed to be anonymous, and what an audit has to say on it.
//!
//! A map, not legal advice. The asks are in our words. Paragraphs were read in a third party's extraction of the 35-page PDF
//! (repository `latifo01/governance-brain`, `ingest/SRC-0019`, commit e47ad9b; SHA-256 of the PDF
//! addcafb4e28028fa87d13a15f91d593ac4b38c4d897be901e38556b5f816a50e): 20-67 and 134-136; of the rest only where sections 3.3
//! and 3.4 begin. Quotations of 34, 43, 55, 58(e)(i) and 134 in other repositories agree. The EDPB's own file was not reached:
//! compare the hash before quoting. `docs/edpb.md` is the same for people.

use serde::Serialize;

use dualmd_names::BaseAttack;

use crate::facts::{by_whom, when};
use crate::format::{grouped, interval, list, rate};
use crate::report::Conclusion;
use crate::report::{ModelReport, Report};

/// One thing the Opinion asks for.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Ask {
    /// Paragraphs of the Opinion; `None` where the number was not checked against the text.
    pub(crate) paragraphs: Option<&'static str>,
    /// A few words.
    pub(crate) topic: &'static str,
    /// The ask in our words, never a quotation.
    pub(crate) asks: &'static str,
    /// Where an answer is to be found.
    #[serde(skip)]
    pub(crate) answered_by: Answer,
}

/// What answers an ask. The text says what it is worth and what remains for the controller.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    /// Attacks with one of these kinds of access (or any) that gave a result, with their papers.
    AttacksRun(&'static [&'static str], &'static str),
    /// The verdict on each model that was attacked.
    MembershipInference(&'static str),
    /// Images, attacks and seeds.
    RateAndScopeOfTesting(&'static str),
    /// By whom, when and how, as far as the plan says.
    Documentation(&'static str),
    /// A section of the page (its anchor), if the audit holds what belongs there.
    Section(&'static str, fn(&Report) -> bool, &'static str),
    /// A kind of attack that audits do not try. The text names what this program has beside them, or is empty.
    NotTested(&'static str),
    /// Nothing that measuring a model can answer.
    NotCovered(&'static str),
}

/// How far this audit answers an ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// It holds evidence, for or against the claim.
    Evidence,
    /// It holds some; the rest is the controller's.
    Partly,
    /// It could have held some and does not.
    Missing,
    /// No audit by attacks can answer it.
    Outside,
}

/// An ask with this audit's answer.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    #[serde(flatten)]
    pub(crate) ask: &'static Ask,
    pub(crate) status: Status,
    pub(crate) answer: String,
    /// Anchor of the section of the page that holds the numbers.
    pub(crate) section: Option<&'static str>,
    /// What stands near the ask in two other texts; empty where nothing does. See [`BESIDE`].
    pub(crate) beside: &'static str,
}

/// To stand above the table.
pub(crate) const PREAMBLE: &str = "This table sorts what the audit holds by what EDPB Opinion 28/2024 (17 December 2024) asks supervisory authorities to look at. It is not legal advice and decides nothing. Tests that find no leak are evidence about those attacks only (paragraph 55). The likelihood must be insignificant for any person, so read members found at few false alarms before averages (43). The Opinion's list is neither prescriptive nor exhaustive, and no entry is conclusive by its presence or absence (47, 48).";

/// All asks, in the order of the Opinion.
#[rustfmt::skip]
pub(crate) const ASKS: &[Ask] = &[
    Ask { paragraphs: Some("29, 30"), topic: "Purpose of the model", asks: "Was the model made to give out data of the people it was trained on?", answered_by: Answer::NotCovered("If it was (one example there is a model tuned to mimic a person's voice), paragraph 29 rules the claim out and no test changes that.") },
    Ask { paragraphs: Some("41, 42, 46"), topic: "Attackers and release", asks: "Who could reach the model, with what further knowledge, time and technology? A public model may need other tests than an internal one.", answered_by: Answer::NotCovered("For the controller. Access, network calls and seconds of each attack say which attackers were tried and what it cost them.") },
    Ask { paragraphs: Some("43(i), 44"), topic: "Extraction from the model itself", asks: "With direct access to the model, is the likelihood of extracting training data about people insignificant?", answered_by: Answer::AttacksRun(&["white-box"], "This is membership inference; nothing was extracted. The command dualmd extract looks for training images in what the model generates.") },
    Ask { paragraphs: Some("43(ii)"), topic: "Obtaining from queries", asks: "By queries, intended or not, is the likelihood of obtaining such data insignificant?", answered_by: Answer::AttacksRun(&["grey-box", "black-box"], "This is membership inference; nothing was obtained. The command dualmd extract looks for training images in what the model generates.") },
    Ask { paragraphs: Some("50, 58(c)"), topic: "Selection of training data", asks: "Are the sources fit for the purpose, unfit ones left out, and the measures for each documented?", answered_by: Answer::Section("settings", |r| r.run.pointer("/data/source").is_some(), "Source and, where known, licence are recorded. Why these, and what was left out, is for the controller to say.") },
    Ask { paragraphs: Some("51"), topic: "Preparation and minimisation", asks: "Was data without personal reference, or pseudonymised data, considered, the volume kept down, irrelevant personal data filtered out?", answered_by: Answer::Section("settings", |r| r.run.pointer("/data/duplicates_dropped").is_some(), "Duplicates are counted. Pseudonymisation and minimisation are for the controller to describe.") },
    Ask { paragraphs: Some("52(i)"), topic: "Overfitting", asks: "Do the training methods favour generalisation, such as by regularisation?", answered_by: Answer::Section("utility", |r| r.models.iter().any(|m| m.utility.as_ref().is_some_and(|u| u.member_loss.is_some() && u.heldout_loss.is_some())), "The gap between the losses on seen and unseen images is measured.") },
    Ask { paragraphs: Some("52(ii)"), topic: "Privacy-protecting technique", asks: "Was an appropriate and effective technique used, such as differential privacy?", answered_by: Answer::Section("attacks", |r| r.models.iter().any(|m| !matches!(m.defense.as_str(), "" | "none" | "unknown" | "teacher")), "Which defence each model has, and how well it held against these attacks, stands there. Only a differentially private training comes with a formal guarantee (ε).") },
    Ask { paragraphs: Some("53"), topic: "Measures on outputs", asks: "Do added measures make it less likely that queries return training data?", answered_by: Answer::NotCovered("Filters and limits on queries belong to the service around the model. A DualMD pair is such a measure, and none against whoever holds its two models.") },
    Ask { paragraphs: Some("54"), topic: "Engineering governance", asks: "Was the design carried out as planned, with audits of documents, code reviews, a theoretical analysis?", answered_by: Answer::NotCovered("For the controller.") },
    Ask { paragraphs: Some("55"), topic: "Rate and scope of testing", asks: "What were the scope, frequency, quantity and quality of the tests?", answered_by: Answer::RateAndScopeOfTesting("One audit at one time: repeat it when model, data or known attacks change.") },
    Ask { paragraphs: Some("55(i)"), topic: "Membership inference", asks: "Structured tests against it.", answered_by: Answer::MembershipInference("Intervals and both halves stand in the table of attacks.") },
    Ask { paragraphs: Some("55(i)"), topic: "Attribute inference", asks: "Structured tests against it.", answered_by: Answer::NotTested("") },
    Ask { paragraphs: Some("55(ii)"), topic: "Exfiltration", asks: "Structured tests against it.", answered_by: Answer::NotTested(EXTRACT) },
    Ask { paragraphs: Some("55(iii)"), topic: "Regurgitation", asks: "Structured tests against outputs that relate directly to training data.", answered_by: Answer::Section("pictures", |r| r.models.iter().any(|m| m.copies.is_some()), "Generated images are compared with training and unseen images, pixel by pixel, where a cropped or recoloured copy is not seen, and by copy detection where its network was at hand.") },
    Ask { paragraphs: Some("55(iv)"), topic: "Model inversion", asks: "Structured tests against it.", answered_by: Answer::NotTested(EXTRACT_ONLY) },
    Ask { paragraphs: Some("55(v)"), topic: "Reconstruction", asks: "Structured tests against it.", answered_by: Answer::NotTested(EXTRACT_ONLY) },
    Ask { paragraphs: Some("55, 58(e)(ii)"), topic: "State of the art", asks: "Do tests and metrics follow the current state of the art?", answered_by: Answer::AttacksRun(&[], "Attacks that were not run are named beside the verdict.") },
    Ask { paragraphs: Some("56, 58(a), 58(b)"), topic: "DPIA and DPO", asks: "Is the processing documented, with any DPIA or the decision against one (Article 35 GDPR) and the DPO's advice?", answered_by: Answer::NotCovered("For the controller. This report can be an annex of a DPIA.") },
    Ask { paragraphs: Some("58(c), 58(d)"), topic: "Measures and threat model", asks: "Which measures at every stage reduced identifiability or verified it, and on what threat model and risk assessment?", answered_by: Answer::NotCovered("For the controller. This report is one check of one model at one time.") },
    Ask { paragraphs: Some("58(e)(i)"), topic: "Data and parameters", asks: "How does the amount of training data compare with the number of parameters, and what follows?", answered_by: Answer::Section("settings", |r| r.run.pointer("/model/parameters").is_some_and(|p| !p.is_null()) || r.models.iter().any(|m| m.utility.as_ref().is_some_and(|u| u.images.is_some() && u.parameters.is_some())), "Numbers of images and parameters stand there. What follows is for the controller to analyse.") },
    Ask { paragraphs: Some("58(e)(iii)"), topic: "Documentation of the tests", asks: "By whom, when, how and to which extent was the model tested?", answered_by: Answer::Documentation("Command, version, seed and hash of the split, where recorded, stand in the settings; write what is not recorded beside this report.") },
    Ask { paragraphs: Some("58(e)(iv)"), topic: "Results of the tests", asks: "What came out?", answered_by: Answer::Section("attacks", |r| r.models.iter().any(|m| m.attacks_run() > 0), "All digits stand in findings.csv and report.json, one score per image in the folder scores/ of the audit.") },
    Ask { paragraphs: Some("58(f)"), topic: "Residual risks", asks: "What are deployers and data subjects told about measures and remaining risks?", answered_by: Answer::Section("verdict", |r| !r.verdict.not_tested.is_empty(), "Leaks and what was not tested are in words there. Telling people is for the controller.") },
    Ask { paragraphs: Some("59-108"), topic: "Legal basis", asks: "Is there a legal basis, and does legitimate interest pass its three steps?", answered_by: Answer::NotCovered("A legal question that no measurement answers.") },
    Ask { paragraphs: Some("109-135"), topic: "Earlier unlawful processing", asks: "What follows if the model was developed unlawfully?", answered_by: Answer::NotCovered("A legal question that no measurement answers. A bare claim of anonymity is not enough (134).") },
];

/// (topic, what stands near it) in OWASP AISVS, C11.3, and in CNIL's sheet of 22 July 2025. `docs/edpb.md` has them in our words.
const BESIDE: &[(&str, &str)] = &[
    ("Extraction from the model itself", "CNIL, opening"),
    ("Obtaining from queries", "CNIL, opening"),
    ("Privacy-protecting technique", "AISVS 11.3.2"),
    ("Measures on outputs", "AISVS 11.3.1"),
    ("Membership inference", "AISVS 11.3.3"),
];

/// What was read of the two other texts, and what not.
pub(crate) const BESIDE_READ: &str = "AISVS is OWASP's Artificial Intelligence Security Verification Standard, read in two drafts of its public repository: whether the released version has these numbers was not checked. CNIL is its sheet of 22 July 2025 on the status of AI models under the GDPR, of which the opening alone was read: its method, the tests that it asks for, how to document them, and filters around a model were not checked.";

const NOTHING: &str = "Nothing on this in the audit's files.";
const NOT_TESTED: &str = "Not tested. Membership inference is no substitute.";
const EXTRACT: &str = " The command dualmd extract counts the training images that come out of generated ones, beside a control; its result is a file of its own.";
const EXTRACT_ONLY: &str = " The command dualmd extract counts the training images that come out of generated ones, beside a control; it reconstructs nothing from the weights.";
const VOID: &str = "The audit is void, see the verdict: no number of it counts.";

/// The table for one audit. Needs the verdict to be filled in.
pub(crate) fn rows(report: &Report) -> Vec<Row> {
    ASKS.iter().map(|ask| row(ask, report)).collect()
}

fn row(ask: &'static Ask, report: &Report) -> Row {
    use Status::{Evidence, Missing, Outside, Partly};
    let said = |status, section, text: String, note: &str| match text.is_empty() {
        true => (Missing, None, NOTHING.to_owned()),
        false => (status, Some(section), format!("{text}. {note}")),
    };
    let (status, section, answer) = match ask.answered_by {
        Answer::NotCovered(note) => (Outside, None, note.into()),
        Answer::NotTested(note) => (Missing, None, format!("{NOT_TESTED}{note}")),
        Answer::Section(_, held, _) if !held(report) => (Missing, None, NOTHING.into()),
        Answer::Section("settings", _, note) => (Partly, Some("settings"), note.into()),
        Answer::Documentation(note) => said(Partly, "settings", documentation(report), note),
        _ if report.verdict.void.is_some() => (Missing, Some("verdict"), VOID.into()),
        Answer::Section(id, _, note) => (Partly, Some(id), note.into()),
        Answer::AttacksRun(access, note) => {
            said(Partly, "attacks", list(&attacks(report, access)), note)
        }
        Answer::MembershipInference(note) => said(Evidence, "verdict", verdicts(report), note),
        Answer::RateAndScopeOfTesting(note) => said(Partly, "controls", scope(report), note),
    };
    Row {
        ask,
        status,
        answer,
        section,
        beside: BESIDE
            .iter()
            .find(|(topic, _)| *topic == ask.topic)
            .map_or("", |own| own.1),
    }
}

/// Attacks that gave a result, each with its paper.
fn attacks(report: &Report, access: &[&str]) -> Vec<String> {
    let mut out = Vec::new();
    for r in report.models.iter().flat_map(|m| &m.results) {
        let known = BaseAttack::of(&r.attack).map(|a| a.facts().paper);
        let paper = r.paper.as_deref().or(known);
        let paper = paper.unwrap_or("paper not known here");
        let text = format!("{} ({paper})", r.title);
        let wanted = access.is_empty() || access.contains(&r.access.as_str());
        if wanted && r.pooled.is_some() && !out.contains(&text) {
            out.push(text);
        }
    }
    out
}

fn verdicts(report: &Report) -> String {
    let on = |m: &ModelReport| {
        let best = m.strongest()?;
        let auc = best.view(m.primary)?;
        let found = match report.conclusion(&m.name) {
            Conclusion::Unknown => return None,
            Conclusion::Inverted { .. } => "inverted, members below non-members",
            other => other.words(),
        };
        let (n, name, range) = (m.attacks_run(), &best.title, interval(auc.auc_ci_adjusted));
        let of = match n {
            1 => "95 % interval",
            _ => "95 % interval, widened for the choice among them,",
        };
        let auc = format!("AUC {} ({of} {range})", rate(auc.auc));
        Some(format!(
            "{}: {found} (strongest of {n}: {name}, {auc})",
            m.title
        ))
    };
    let all: Vec<String> = report.models.iter().filter_map(on).collect();
    all.join("; ")
}

fn scope(report: &Report) -> String {
    let results = report.models.iter().flat_map(|m| &m.results);
    let results = results.filter_map(|r| r.pooled.as_ref());
    let sizes = results.map(|m| (m.n_members, m.n_nonmembers)).max();
    let n = attacks(report, &[]).len();
    let blind = report.controls.blind_baseline.as_ref();
    let blind = blind.map_or("not run", |b| &*b.outcome);
    sizes.map_or_else(String::new, |(seen, unseen)| {
        let trainings = crate::untested::trainings(report);
        let trainings = trainings.trim_end_matches('.');
        let (seen, unseen) = (grouped(seen as i64), grouped(unseen as i64));
        format!("Attacks: {n}; members: {seen}; non-members: {unseen}; blind baseline: {blind}. {trainings}")
    })
}

/// By whom, when, and which weights; each said even where it is not recorded, unless nothing is.
fn documentation(report: &Report) -> String {
    const UNKNOWN: &str = "not recorded";
    let (auditor, created) = (by_whom(report), when(report));
    let or_unknown = |text: Option<String>| text.unwrap_or_else(|| UNKNOWN.to_owned());
    let hashed = |m: &&ModelReport| m.weights_blake3.is_some();
    // A pair is its two teachers; it has no weights of its own.
    let own = || report.models.iter().filter(|m| !m.is_pair());
    let (n, all) = (own().filter(hashed).count(), own().count());
    if auditor.is_none() && created.is_none() && n == 0 {
        return String::new();
    }
    let weights = match n {
        0 => UNKNOWN.to_owned(),
        n => format!("recorded for {n} of {all} models"),
    };
    format!(
        "By whom: {}. When: {}. Hashes of the weights: {weights}",
        or_unknown(auditor),
        or_unknown(created)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{ModelFiles, RunFiles};
    use crate::scores::{ScoreRow, ScoresFile};

    /// 40 members that all score above 200 non-members, or no scores at all.
    fn report(scored: bool) -> Report {
        let row = |i: u32| ScoreRow {
            sample_id: i.to_string(),
            name: None,
            group: None,
            member: i < 40,
            attack: "sima@50".into(),
            score: -f64::from(i),
        };
        let model = ModelFiles {
            name: "baseline".into(),
            defense: "none".into(),
            scores: scored.then(|| ScoresFile {
                rows: (0..240).map(row).collect(),
            }),
            ..ModelFiles::default()
        };
        let files = RunFiles {
            plan: serde_json::json!({"data": {"source": "a folder"}}),
            models: vec![model],
            ..RunFiles::default()
        };
        crate::findings::assemble(files).expect("a report")
    }

    fn of(report: &Report, topic: &str) -> (Status, String) {
        let row = rows(report)
            .into_iter()
            .find(|r| r.ask.topic == topic)
            .expect("topic");
        (row.status, row.answer)
    }

    #[test]
    fn a_leak_is_evidence_and_nothing_else_is_claimed() {
        let leaky = report(true);
        let (status, answer) = of(&leaky, "Membership inference");
        assert!(
            status == Status::Evidence
                && answer.starts_with("Undefended model: leak (strongest of 1: "),
            "{answer}"
        );
        assert_eq!(
            rows(&leaky)
                .iter()
                .filter(|r| r.status == Status::Evidence)
                .count(),
            1
        );
        assert!(
            of(&leaky, "State of the art")
                .1
                .contains("(Rao et al. 2025)")
        );
        assert_eq!(of(&leaky, "Selection of training data").0, Status::Partly);
        for topic in [
            "Attribute inference",
            "Regurgitation",
            "Model inversion",
            "Overfitting",
            "Privacy-protecting technique",
        ] {
            assert_eq!(of(&leaky, topic).0, Status::Missing, "{topic}");
        }
    }

    #[test]
    fn without_scores_or_void_there_is_no_evidence() {
        let mut void = report(true);
        void.verdict.void = Some("the sets differ".into());
        for report in [report(false), void] {
            for topic in [
                "Membership inference",
                "Results of the tests",
                "Rate and scope of testing",
            ] {
                assert_eq!(of(&report, topic).0, Status::Missing, "{topic}");
            }
        }
    }

    #[test]
    fn long_numbers_stand_in_groups_of_three() {
        let mut report = report(true);
        let result = report.models[0].results[0].pooled.as_mut();
        result.expect("scored").n_nonmembers = 25_000;
        let answer = of(&report, "Rate and scope of testing").1;
        assert!(
            answer.contains("members: 40; non-members: 25,000;"),
            "{answer}"
        );
    }

    #[test]
    fn documentation_says_what_is_recorded_and_what_is_not() {
        let topic = "Documentation of the tests";
        let mut report = report(true);
        assert_eq!(of(&report, topic).0, Status::Missing);
        report.run["auditor"] = "an auditor".into();
        let (status, answer) = of(&report, topic);
        assert_eq!(status, Status::Partly);
        assert!(
            answer.starts_with(
                "By whom: an auditor. When: not recorded. Hashes of the weights: not recorded. "
            ),
            "{answer}"
        );
        report.models[0].weights_blake3 = Some("ab".into());
        report.run["created"] = "2026-11-24T05:09:00Z".into();
        let answer = of(&report, topic).1;
        assert!(
            answer.contains("When: 24 November 2026, 05:09 UTC. Hashes")
                && answer.contains("recorded for 1 of 1 models"),
            "{answer}"
        );
    }

    #[test]
    fn what_audits_do_not_try_names_the_command_that_does() {
        let report = report(true);
        for topic in ["Exfiltration", "Model inversion", "Reconstruction"] {
            let (status, answer) = of(&report, topic);
            assert_eq!(status, Status::Missing, "{topic}");
            assert!(
                answer.starts_with(NOT_TESTED) && answer.contains("dualmd extract"),
                "{answer}"
            );
        }
        assert_eq!(of(&report, "Attribute inference").1, NOT_TESTED);
    }

    /// Each of the two other texts' places has its row, and the page for people has the same.
    #[test]
    fn what_stands_near_is_named_where_it_belongs() {
        let page = include_str!("../../../docs/edpb.md");
        for (topic, near) in BESIDE {
            let rows = rows(&report(true));
            let own = rows.iter().filter(|r| r.ask.topic == *topic);
            let named: Vec<&str> = own.map(|r| r.beside).collect();
            assert_eq!(named, [*near], "{topic}");
            let (text, place) = near.split_once([' ', ',']).expect("a text and its place");
            let place = place.trim_start();
            assert!(
                page.contains(text) && page.contains(&format!("| {place} |")),
                "{near} is not in docs/edpb.md"
            );
        }
        let html = crate::html::page(&report(true));
        assert!(html.contains("<td>AISVS 11.3.3</td>") && html.contains("were not checked"));
    }

    #[test]
    fn asks_quote_nothing() {
        assert!(
            ASKS.iter()
                .all(|a| !a.asks.contains(['"', '\u{201c}', '\u{2018}']))
        );
    }
}
