//! The annex of a data-protection impact assessment: part A from the report, part B for the controller (`docs/dpia.md`).

use serde_json::Value;

use crate::markdown::{code, table, text};
use crate::{called, corrected, found, of_name, said, strongest, whom};
use dualmd_audit::conclusion::{can_tell, copies_in_words, set_looks, told_apart};
use dualmd_audit::facts::{Compared, HOLDS, compared, date, made_by, plan, run_name};
use dualmd_audit::format::{grouped, interval, list, p_value, percent_interval, rate, significant};
use dualmd_audit::release;
use dualmd_audit::report::{AttackResult, Report};
use dualmd_audit::{NotRun, not_run};

const NOT_RECORDED: &str = "not recorded";
const NONE_RUN: &str = "none was run";

/// A question that the annex of every report answers.
const GUARANTEE: &str = "A formal guarantee (differential privacy)";

/// The questions of part B.
const CONTROLLER: [&str; 10] = [
    "What is the model for? Was it made to give out data of the people in it?",
    "Whose data are these? What does it mean for a person to be known to be among them?",
    "Who will have the weights, who can query the model, who sees images?",
    "Do the attackers of A3 cover these people and the means they are reasonably likely to use?",
    "Which tests of the Opinion were not made (attribute inference, inversion, reconstruction, exfiltration), and why?",
    "Which measures were taken (selection, deduplication, minimisation, training, outputs)?",
    "What follows: publish the weights, offer a service, publish images only, publish nothing?",
    "What is left of the risk, and who was told?",
    "The data-protection officer's advice",
    "When must the audit be repeated (other weights, other data, a new attack, a date)?",
];

/// The report as an annex of a data-protection impact assessment (Article 35 GDPR), in Markdown that GitHub and pandoc read: what was
/// tested, the results in words, what an attacker must have, limits and what was not tested, the date, the auditor, the program's version and
/// commit, hashes of the weights and of both image sets; then the controller's questions and the signatures, left blank. What was not
/// recorded says so. Of a void report part A4 holds the reason and no number. No image and no name of an image is in it.
#[must_use]
pub fn annex(report: &Report) -> String {
    let mut out = format!(
        "# Annex: membership-inference audit of {}\n\nFor the file of a data-protection impact assessment (Article 35 GDPR). Part A was written by dualmd {} from the audit's `report.json`. Part B is the controller's. This is not legal advice, and no entry of it says that a model is anonymous.\n\n",
        text(&run_name(report)),
        env!("CARGO_PKG_VERSION")
    );
    out.push_str("Membership inference asks whether an image that somebody already holds was used to train a model. If it was, they know what being in that training set says about the person on it.\n\n");
    if let Some(reason) = &report.verdict.void {
        out.push_str(&format!(
            "**This audit is void. No result of it belongs in the file.** {}\n\n",
            text(reason)
        ));
    }
    out.push_str("## Part A: what was tested and what came out\n\n");
    for (title, body) in [
        ("A1. The model and the audit", audit(report)),
        ("A2. The images", images(report)),
        ("A3. The attackers", attackers(report)),
        ("A4. The results", results(report)),
        ("A5. The limits", limits(report)),
    ] {
        out.push_str(&format!("### {title}\n\n{body}\n"));
    }
    out.push_str("## Part B: the controller's\n\n");
    out.push_str(&table(
        &["question", "answer"],
        CONTROLLER
            .iter()
            .map(|q| vec![(*q).to_owned(), String::new()]),
    ));
    out.push('\n');
    let signs = ["Auditor", "Data-protection officer", "Controller"];
    let blank = |who: &str| vec![who.to_owned(), String::new(), String::new(), String::new()];
    out.push_str(&table(&["", "name", "date", "signature"], signs.map(blank)));
    out
}

/// An entry of the plan as text of Markdown.
fn entry(report: &Report, pointer: &str) -> String {
    let value = plan(report, pointer).filter(|v| !v.trim().is_empty());
    value.map_or_else(|| unknown(report).to_owned(), |v| text(&v))
}

/// In place of an entry that is not there: a comparison has what all its audits say alike.
fn unknown(report: &Report) -> &'static str {
    match report.run.get("compared").is_some() {
        true => "not recorded, or not the same in all audits",
        false => NOT_RECORDED,
    }
}

fn coded(value: Option<&str>) -> String {
    value
        .filter(|v| !v.is_empty())
        .map_or_else(|| NOT_RECORDED.to_owned(), code)
}

fn raw<'a>(report: &'a Report, pointer: &str) -> Option<&'a str> {
    report.run.pointer(pointer).and_then(Value::as_str)
}

fn pairs(rows: Vec<(&str, String)>) -> String {
    let rows = rows
        .into_iter()
        .map(|(question, answer)| vec![question.to_owned(), answer]);
    table(&["question", "answer"], rows)
}

fn audit(report: &Report) -> String {
    let audits = compared(report);
    let (when, by_whom) = match audits.is_empty() {
        true => ("When was it audited?", "By whom?"),
        false => (
            "When were the audits put together?",
            "Who put them together?",
        ),
    };
    let created =
        plan(report, "/created").map_or_else(|| NOT_RECORDED.to_owned(), |d| text(&date(&d)));
    let seed = report.run.get("seed").filter(|s| s.is_number());
    let mut out = pairs(vec![
        (when, created),
        (by_whom, entry(report, "/auditor")),
        (
            "With which program?",
            format!(
                "dualmd {}, libtorch {}",
                entry(report, "/versions/dualmd"),
                entry(report, "/versions/libtorch")
            ),
        ),
        (
            "Which commit of the program?",
            coded(raw(report, "/versions/commit")),
        ),
        ("With which command?", coded(raw(report, "/command"))),
        (
            "With which seed?",
            seed.map_or_else(|| unknown(report).to_owned(), Value::to_string),
        ),
        (
            "On which machine?",
            format!(
                "{}, device {}",
                entry(report, "/hardware/cpu"),
                entry(report, "/hardware/device")
            ),
        ),
    ]);
    if !audits.is_empty() {
        out.push_str(&put_together(&audits));
    }
    out.push_str("\nThe models:\n\n");
    let rows = report.models.iter().map(|m| {
        let known = m.is_teacher() || m.defense.defense().is_some();
        let made = match (known, m.defense.is_unknown()) {
            (true, _) => made_by(m).to_owned(),
            (false, true) => "not known".to_owned(),
            (false, false) => text(m.defense.as_str()),
        };
        let weights = match &m.weights_blake3 {
            None if m.is_pair() => "those of its two teachers".to_owned(),
            hash => coded(hash.as_deref()),
        };
        vec![text(&called(m)), made, weights]
    });
    out.push_str(&table(
        &["model", "how it was made", "weights (BLAKE3)"],
        rows,
    ));
    out
}

/// The audits of a comparison, each as its own plan has it.
fn put_together(audits: &[Compared]) -> String {
    let or_unknown = |value: &Option<String>| match value {
        Some(value) => text(value),
        None => NOT_RECORDED.to_owned(),
    };
    let rows = audits.iter().map(|a| {
        vec![
            text(&a.name),
            or_unknown(&a.created),
            or_unknown(&a.auditor),
            or_unknown(&a.dualmd),
            coded(a.commit.as_deref()),
            or_unknown(&a.source),
            coded(a.command.as_deref()),
        ]
    });
    let head = [
        "audit", "when", "by whom", "dualmd", "commit", "images", "command",
    ];
    format!(
        "\nThis report puts {} audits of the same images together:\n\n{}",
        audits.len(),
        table(&head, rows)
    )
}

fn images(report: &Report) -> String {
    let count = |pointer: &str| entry(report, pointer);
    let groups = report.models.iter().find_map(|m| {
        let mut results = m.results.iter();
        results.find_map(|r| release::in_groups(m, &r.attack, r.view(m.primary)?.n_members))
    });
    let groups = match groups {
        Some(g) => format!(
            "{} among the training images, {} among the others (near-duplicates that nobody named are groups too)",
            grouped(g.member_groups as i64),
            grouped(g.nonmember_groups as i64)
        ),
        None => "not recorded: images were counted, and not persons. A few near-duplicates at most count as one"
            .to_owned(),
    };
    let blind = match &report.controls.blind_baseline {
        None => "not tested".to_owned(),
        Some(b) => {
            let outcome = match &*b.outcome {
                "passed" => {
                    "not seen: a classifier that never saw the model does not tell them apart"
                }
                "warning" => {
                    "a little: a classifier that never saw the model does better than chance"
                }
                _ => {
                    "yes: a classifier that never saw the model tells them apart, and the audit is void"
                }
            };
            let why = match b.why.is_empty() || b.outcome == "passed" {
                true => String::new(),
                false => format!(". {}", text(&b.why)),
            };
            let unseen = match &*b.outcome {
                "passed" => format!(
                    "; a difference of up to {} is not ruled out",
                    rate(b.auc_ci[1])
                ),
                _ => String::new(),
            };
            format!(
                "{outcome} (AUC {}, {}{unseen}){why}",
                rate(b.auc),
                interval(b.auc_ci)
            )
        }
    };
    let null = match &report.controls.null {
        None => "not tested".to_owned(),
        Some(n) if n.passed => "yes".to_owned(),
        Some(n) => format!(
            "no: it finds something that is not there (mean AUC {}), so its numbers cannot be relied on",
            rate(n.auc)
        ),
    };
    pairs(vec![
        ("Source", entry(report, "/data/source")),
        (
            "Training images that were tested (members)",
            count("/data/members"),
        ),
        (
            "Images the model never saw (non-members)",
            count("/data/nonmembers"),
        ),
        (
            "Members, hash (BLAKE3 over content ids)",
            coded(raw(report, "/data/members_blake3")),
        ),
        (
            "Non-members, hash",
            coded(raw(report, "/data/nonmembers_blake3")),
        ),
        ("Split, hash", coded(raw(report, "/split_hash"))),
        ("Persons or other groups among them", groups),
        (
            "Do the two sets differ in something else than membership?",
            blind,
        ),
        (
            "With membership drawn by lot, does the audit find nothing?",
            null,
        ),
    ])
}

fn attackers(report: &Report) -> String {
    let ran = |which: &dyn Fn(&AttackResult) -> bool| {
        let results = report.models.iter().flat_map(|m| &m.results);
        let mut titles: Vec<String> = Vec::new();
        for r in results.filter(|r| r.pooled.is_some() && which(r)) {
            if !titles.contains(&r.title) {
                titles.push(r.title.clone());
            }
        }
        let mut tried = report.models.iter().flat_map(|m| &m.results);
        match (titles.is_empty(), tried.any(which)) {
            (true, false) => NONE_RUN.to_owned(),
            (true, true) => "some were run, and none gave a result".to_owned(),
            (false, _) => text(&list(&titles)),
        }
    };
    let mut rows = Vec::new();
    for (access, who) in [
        ("white-box", "the picture and the weights"),
        (
            "grey-box",
            "the picture and a model that works on it at chosen steps (queries)",
        ),
        (
            "black-box",
            "the picture and images that the model generated",
        ),
        ("unknown", "not recorded what"),
    ] {
        let own = ran(&|r: &AttackResult| r.access == access);
        if access != "unknown" || own != NONE_RUN {
            rows.push(vec![who.to_owned(), own]);
        }
    }
    rows.push(vec![
        "besides: some pictures known to be training images".to_owned(),
        ran(&|r: &AttackResult| r.trained_on.is_some()),
    ]);
    rows.push(vec![
        "besides: a model of their own, trained on other images".to_owned(),
        ran(&|r: &AttackResult| r.shadow.is_some()),
    ]);
    let copies = match report.models.iter().any(|m| !m.copying.is_empty()) {
        true => ", but for copies among generated images",
        false => "",
    };
    let mut out = format!(
        "In every case the attacker must already hold the picture. Whether somebody who does not hold pictures can get them out of a model was not tested here{copies}.\n\n"
    );
    out.push_str(&table(
        &["the attacker must have", "attacks that were run"],
        rows,
    ));
    out
}

fn results(report: &Report) -> String {
    if let Some(reason) = &report.verdict.void {
        return format!("None: the audit is void. {}\n", text(reason));
    }
    let mut out = String::new();
    for sentence in &report.verdict.summary {
        out.push_str(&format!("- {}\n", text(sentence)));
    }
    if !out.is_empty() {
        out.push('\n');
    }
    let rows = said(report).into_iter().map(|s| {
        let (attack, auc, members) = match strongest(s.model) {
            None => ("none".to_owned(), "-".to_owned(), "-".to_owned()),
            Some((attack, m)) => (
                text(&attack.title),
                format!("{} ({})", text(&rate(m.auc)), interval(corrected(m))),
                found(m).map_or_else(
                    || "not measurable".to_owned(),
                    |(tp, n)| {
                        format!(
                            "{} of {} (guessing: {})",
                            grouped(tp as i64),
                            grouped(n as i64),
                            release::by_guessing(0.01 * n as f64)
                        )
                    },
                ),
            ),
        };
        vec![
            text(&called(s.model)),
            s.words.to_owned(),
            attack,
            auc,
            members,
            whom(s.model).to_owned(),
        ]
    });
    out.push_str(&table(
        &[
            "model",
            "finding",
            "strongest attack",
            "AUC (95 % interval)",
            "found at 1 false alarm in 100",
            "judged on",
        ],
        rows,
    ));
    out.push_str("\nAUC: the chance that a random training image scores above a random unseen one; 0.5 is guessing, 1 certainty. The intervals are widened for the number of attacks. A false alarm is an unseen image that an attack takes for a training image.\n");
    out.push_str(&released(report));
    out.push_str(&further(report));
    out
}

/// What each thing that could be given out gives away, and what to do.
fn released(report: &Report) -> String {
    let lines = &report.verdict.releases;
    if lines.is_empty() {
        return String::new();
    }
    let rows = lines.iter().map(|line| {
        let found = match (line.tried(), release::in_words_of(line, &report.models)) {
            (None, _) => "not tested".to_owned(),
            (Some(_), Some(words)) => text(&words),
            (Some(s), None) => format!("AUC {}", rate(s.auc)),
        };
        vec![
            text(&of_name(report, &line.model)),
            line.what.title().to_owned(),
            found,
            line.advice.words().to_owned(),
            text(&line.because),
        ]
    });
    format!(
        "\nWhat each thing that could be given out gives away, and the program's advice by its rules of thumb. Members are counted at 1 false alarm in 100 where no other rate is named. No advice makes a model safe:\n\n{}",
        table(
            &[
                "model",
                "given out",
                "an attacker with it",
                "advice",
                "because"
            ],
            rows
        )
    )
}

/// Sets, copies, images of one person, guarantees.
fn further(report: &Report) -> String {
    let mut rows: Vec<(&str, String)> = Vec::new();
    for model in &report.models {
        let name = text(&called(model));
        if let Some(sets) = model.sets.as_ref().filter(|s| !s.tests.is_empty()) {
            let looks = set_looks(&report.models);
            let told = told_apart(model, looks);
            let answer = match told.is_empty() {
                true => {
                    let able = sets.tests.iter().filter(|t| can_tell(t, looks)).count();
                    let few = "with too few random divisions to tell";
                    match (able, sets.tests.len() - able) {
                        (0, n) => format!("{name}: not known: {} {few}", tests(n)),
                        (able, 0) => format!("{name}: not seen, by {}", tests(able)),
                        (able, n) => {
                            format!("{name}: not seen, by {}; {n} more {few}", tests(able))
                        }
                    }
                }
                false => {
                    let tests: Vec<String> = told
                        .iter()
                        .map(|t| {
                            format!(
                                "{} (p = {})",
                                text(t.title.trim_end_matches('?')),
                                text(&p_value(t.p_value))
                            )
                        })
                        .collect();
                    format!("{name}: yes: {}", tests.join("; "))
                }
            };
            rows.push((
                "Can the training images taken together be recognised?",
                answer,
            ));
        }
        for c in &model.copying {
            rows.push((
                "Copies among generated images",
                format!(
                    "{name}, by {}: {} (95 % interval of the first share {} %)",
                    text(&c.features),
                    copies_in_words(c),
                    percent_interval(c.control.members.share_ci)
                ),
            ));
        }
        if let Some(chosen) = &model.chosen {
            let needed = match (chosen.images_needed, chosen.power.last()) {
                (Some(k), _) => k.to_string(),
                (None, Some(most)) => format!("more than {}", most.k),
                (None, None) => "not measurable".to_owned(),
            };
            rows.push((
                "Pictures of one person that prove use (8 of 10 cases, 5 % false alarms)",
                format!("{name}: {needed}"),
            ));
        }
        let privacy = model.utility.as_ref().and_then(|u| u.privacy.as_ref());
        if let Some((p, epsilon)) = privacy.and_then(|p| Some((p, p.epsilon?))) {
            let delta = p
                .delta
                .map_or_else(|| NOT_RECORDED.to_owned(), |d| d.to_string());
            rows.push((
                GUARANTEE,
                format!("{name}: ε at most {} at δ = {delta}", significant(epsilon)),
            ));
        }
    }
    if !rows.iter().any(|row| row.0 == GUARANTEE) {
        rows.push((GUARANTEE, "none is recorded of any model".to_owned()));
    }
    format!("\nFurther:\n\n{}", pairs(rows))
}

/// "1 test", "3 tests".
fn tests(n: usize) -> String {
    format!("{n} test{}", if n == 1 { "" } else { "s" })
}

/// Attacks that were not run, as an item of a list that has a list of its own.
fn listed(not_run: &NotRun) -> String {
    let mut out = format!("{}:\n\n", text(&not_run.said));
    for attack in &not_run.attacks {
        out.push_str(&format!("  - {}\n", text(attack)));
    }
    out.push_str(&format!("\n  {}", text(not_run.then)));
    out
}

fn limits(report: &Report) -> String {
    let verdict = &report.verdict;
    let mut out = String::new();
    let mut part = |title: &str, items: Vec<String>| {
        if !items.is_empty() {
            out.push_str(&format!("{title}:\n\n"));
            for item in items {
                out.push_str(&format!("- {item}\n"));
            }
            out.push('\n');
        }
    };
    let not_run = not_run(report).map(|n| (n.line(), n));
    let item = |item: &String| match &not_run {
        Some((line, n)) if line == item => listed(n),
        _ => text(item),
    };
    part("Not tested", verdict.not_tested.iter().map(item).collect());
    let luck = Some(&verdict.false_alarms).filter(|f| !f.is_empty());
    part(
        "How often luck alone finds something",
        luck.map(|f| text(f)).into_iter().collect(),
    );
    let mut notes = report.warnings.clone();
    for model in &report.models {
        for warning in &model.warnings {
            // The report's own list has it already, with the model's name before it.
            let said = |n: &String| {
                n.ends_with(warning.as_str())
                    && (n.starts_with(&model.title) || n.starts_with(&model.name))
            };
            if !notes.iter().any(|n| n == warning || said(n)) {
                notes.push(format!("{}: {warning}", called(model)));
            }
        }
    }
    let texts = |items: &[String]| items.iter().map(|i| text(i)).collect::<Vec<_>>();
    part("What a reader must know of these numbers", texts(&notes));
    part("What was missing", texts(&report.missing));
    out.push_str("Tests that find no leak are evidence about these attacks only (EDPB Opinion 28/2024, paragraph 55).\n");
    if verdict.void.is_none() {
        out.push_str(&format!("\n{HOLDS}\n"));
    }
    out
}
