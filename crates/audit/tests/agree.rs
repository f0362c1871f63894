//! The sentences of a report against each other, over a grid of synthetic runs: what the verdict, the cards, the captions, the tables,
//! `report.json`, `findings.csv` and the terminal say of one model must be one thing.

// Each test binary uses a part of the fixture.
#[allow(dead_code)]
mod common;

use std::path::Path;

use dualmd_audit::report::{Advice, Released};
use dualmd_audit::{Conclusion, Finding, Report, ScoreRow, build, write, write_scores};
use serde_json::{Value, json};

const MEMBERS: usize = 60;
const OTHERS: usize = 300;

/// What is planted in a run.
#[derive(Debug, Clone, Copy, Default)]
struct Planted {
    /// Members of both halves, of D1 alone, or nobody scores higher; or all score lower.
    images: Images,
    /// p-value of a test of whole sets.
    set: Option<f64>,
    /// Copies of members and of as many others.
    copies: Option<(usize, usize)>,
    /// Share of generated images nearer to a member, at equal numbers, and its p-value.
    nearer: Option<(f64, f64)>,
    void: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Images {
    #[default]
    Chance,
    Leak,
    OneHalf,
    Lower,
}

impl Planted {
    /// What has to come out, by the order that the rule gives.
    fn expected(&self, looks: usize) -> (&'static str, Finding) {
        let set = |p: Option<f64>| p.is_some_and(|p| p * looks as f64 <= 0.05);
        match self.images {
            _ if self.void => ("void", Finding::Void),
            Images::Leak => ("images", Finding::Leak),
            Images::OneHalf => ("one-half", Finding::Leak),
            Images::Lower => ("inverted", Finding::Inverted),
            Images::Chance if set(self.set) || set(self.nearer.map(|n| n.1)) => {
                ("whole-set", Finding::Set)
            }
            Images::Chance if self.copies.is_some_and(|(m, o)| m > o + 20) => {
                ("copies", Finding::Copies)
            }
            Images::Chance => ("nothing", Finding::Chance),
        }
    }
}

impl Planted {
    /// What is to be done with generated images, queries and weights: the rules of the guide. All attacks of this run need the weights.
    fn advice(&self, looks: usize) -> [Advice; 3] {
        let told = |p: Option<f64>| p.is_some_and(|p| p * looks as f64 <= 0.05);
        let copies = self.copies.is_some_and(|(m, o)| m > o + 20);
        let nearer = told(self.nearer.map(|n| n.1));
        let less = match (copies, nearer) {
            (true, _) => Advice::Withhold,
            (false, true) => Advice::IfNoSecret,
            (false, false) => Advice::NotTested,
        };
        let all = match self.images {
            Images::Chance if copies => Advice::Withhold,
            Images::Chance if nearer || told(self.set) => Advice::IfNoSecret,
            Images::Chance => Advice::NothingFound,
            _ => Advice::Withhold,
        };
        [less, less, all]
    }
}

fn save(path: &Path, value: &Value) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("mkdir");
    std::fs::write(path, value.to_string()).expect("write");
}

/// A run of models, of which each holds what is planted. Scores are spread evenly, so nothing is left to luck.
fn run(dir: &Path, models: &[(&str, &str, Planted)]) {
    let place = |i: usize, n: usize, turn: usize| ((i * 37 + turn * 11) % n) as f64 / n as f64;
    for (name, _, planted) in models {
        let mut rows = Vec::new();
        for (turn, attack) in ["loss", "sima"].into_iter().enumerate() {
            for i in 0..MEMBERS + OTHERS {
                let member = i < MEMBERS;
                // Evenly over [0, 1) for the members of either half and for the others.
                let even = match member {
                    true => place(i / 2, MEMBERS / 2, turn),
                    false => place(i - MEMBERS, OTHERS, turn),
                };
                let score = match planted.images {
                    Images::Leak if member => even + 0.4,
                    // D1 higher, D2 lower by as much: over all members together it does not show.
                    Images::OneHalf if member && i % 2 == 0 => 0.60 + 0.37 * even,
                    Images::OneHalf if member => 0.35 * even,
                    Images::Lower if member => even - 0.4,
                    _ => even,
                };
                rows.push(ScoreRow {
                    sample_id: format!("{}{i:03}", if member { "m" } else { "n" }),
                    name: None,
                    group: None,
                    member,
                    attack: attack.into(),
                    score,
                });
            }
        }
        write_scores(&dir.join(format!("scores/{name}.csv")), &rows).expect("scores");
        let described = ["loss", "sima"].map(|a| json!({"attack": a, "title": a.to_uppercase(), "access": "white-box", "status": "ok"}));
        save(
            &dir.join(format!("scores/{name}.json")),
            &json!({"attacks": described}),
        );
        if let Some(p) = planted.set {
            let test = json!({"name": "mmd", "title": "Errors", "members": MEMBERS, "nonmembers": OTHERS, "statistic": 0.01, "p_value": p, "permutations": 999});
            save(
                &dir.join(format!("sets/{name}.json")),
                &json!({"features": "x", "tests": [test]}),
            );
        }
        if let Some((share, p_value)) = planted.nearer {
            save(
                &dir.join(format!("samples/{name}/nearest.json")),
                &json!({"n_generated": 256, "pairs": [{"sample": "0000.png", "member_id": "m000", "member_png": "x.png", "distance": 0.1}],
                    "median_distance_members": 0.119, "median_distance_heldout": 0.116,
                    "equal": {"n": MEMBERS, "generated": 256, "draws": 1000, "seed": 0, "median_members": 0.119, "median_others": 0.142,
                        "share": share, "share_ci": [share - 0.06, share + 0.06], "p_value": p_value, "relabellings": 999}}),
            );
        }
        if let Some((members, others)) = planted.copies {
            let found = |copies: usize| {
                let share = copies as f64 / 256.0;
                json!({"copies": copies, "distinct": copies, "share_ci": [share * 0.7, share * 1.3 + 0.01], "threshold": 0.1})
            };
            let count = json!({"features": "pixels", "likeness": "rmse", "n_generated": 256, "n_members": MEMBERS, "n_heldout": OTHERS, "false_copy_rate": 0.01,
                "found": found(members), "control": {"n": MEMBERS, "false_copy_rate": 0.02, "members": found(members), "heldout": found(others)}});
            save(
                &dir.join(format!("utility/{name}.json")),
                &json!({"copies": [count]}),
            );
        }
    }
    let members: Vec<Value> = (0..MEMBERS)
        .map(|i| json!({"id": format!("m{i:03}"), "half": 1 + i % 2}))
        .collect();
    let others: Vec<Value> = (MEMBERS..MEMBERS + OTHERS)
        .map(|i| json!({"id": format!("n{i:03}")}))
        .collect();
    save(
        &dir.join("split.json"),
        &json!({"method": "half", "hash": "5b1f0c", "members": members, "nonmembers": others}),
    );
    let named: Vec<(&str, &str)> = models.iter().map(|(n, d, _)| (*n, *d)).collect();
    save(&dir.join("plan.json"), &common::plan(&named));
    let auc = if models.iter().any(|m| m.2.void) {
        0.9
    } else {
        0.5
    };
    save(
        &dir.join("controls.json"),
        &json!({"blind_baseline": {"auc": auc, "auc_ci": [auc - 0.05, auc + 0.05]}}),
    );
}

/// The text of the page without its tags.
fn plain(page: &str) -> String {
    let mut out = String::new();
    for part in page.split('<') {
        let (tag, text) = part.split_once('>').unwrap_or(("", part));
        if !tag.starts_with("style") && !tag.starts_with("script") {
            out.push(' ');
            out.push_str(text);
        }
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Sentences that claim a leak of single images, and those that deny one. Of one model a report holds one kind.
const CLAIMS: [&str; 4] = [
    "tells a training image from an unseen one",
    "can often tell a training image",
    "does better than chance at telling",
    "leaks by itself",
];
const DENIALS: [&str; 3] = [
    "did better than chance",
    "did no better than chance",
    "no leak seen",
];

fn says(text: &str, sentences: &[&str]) -> bool {
    sentences.iter().any(|s| text.contains(s))
}

/// All that the files say of a run, held against what is expected.
fn check(dir: &Path, report: &Report, models: &[(&str, &str, Planted)]) {
    let looks: usize = models
        .iter()
        .map(|m| usize::from(m.2.set.is_some()) + usize::from(m.2.nearer.is_some()))
        .sum();
    let written = write(dir, report).expect("write");
    let page = std::fs::read_to_string(&written.html).expect("page");
    common::well_formed(&page);
    let text = plain(&page);
    let file: Value =
        serde_json::from_slice(&std::fs::read(&written.json).expect("json")).expect("json");
    let csv = std::fs::read_to_string(&written.csv).expect("csv");
    let terminal = report.terminal_table();
    let joined = terminal.split_whitespace().collect::<Vec<_>>().join(" ");
    for (i, (name, _, planted)) in models.iter().enumerate() {
        let (kind, finding) = planted.expected(looks);
        let about = format!("{name} {planted:?}\n{joined}\n{:?}", report.verdict.summary);
        let verdict = &report.verdict.models[i];
        assert_eq!(verdict.finding, finding, "{about}");
        assert_eq!(
            file["verdict"]["models"][i]["finding"],
            finding.name(),
            "{about}"
        );
        assert_eq!(
            file["verdict"]["models"][i]["conclusion"]["kind"], kind,
            "{about}"
        );
        let lines: Vec<_> = (report.verdict.releases.iter())
            .filter(|r| r.model == *name)
            .collect();
        if planted.void {
            assert!(lines.is_empty() && verdict.advice.is_empty(), "{about}");
        } else {
            let found: Vec<_> = lines.iter().map(|l| (l.what, l.advice)).collect();
            let expected: Vec<_> = [Released::Images, Released::Queries, Released::Weights]
                .into_iter()
                .zip(planted.advice(looks))
                .collect();
            assert_eq!(found, expected, "{lines:?}\n{about}");
            assert!(
                page.contains(&verdict.advice) && joined.contains(&verdict.advice),
                "{about}"
            );
            // What the lines say of a model is what its finding says.
            let worst = lines.iter().any(|l| l.advice == Advice::Withhold);
            let copied = planted.copies.is_some_and(|(m, o)| m > o + 20);
            assert_eq!(
                worst,
                copied || matches!(finding, Finding::Leak | Finding::Inverted),
                "{about}"
            );
        }
        let result = file["models"][i]["results"].as_array().expect("results");
        if planted.void {
            assert!(
                result.iter().all(|r| ["", "/d1", "/d2"].iter().all(|v| r
                    .pointer(&format!("{v}/finding"))
                    .is_none_or(|f| f == "void"))),
                "{about}"
            );
            continue;
        }
        let leak = result.iter().any(|r| r["finding"] == "leak");
        assert_eq!(leak, kind == "images", "{about}");
        // The paragraph of the verdict, the card and the terminal: the same claim, and not its opposite.
        let paragraph = &report.verdict.summary[i];
        let card = page
            .split("<article")
            .find(|a| a.contains(&format!("<code>{name}</code> · ")))
            .expect("a card");
        let (card, _) = card.split_once("</article>").expect("its end");
        let card = plain(&format!("<{card}"));
        let own = joined
            .split(&format!("{name}: "))
            .nth(1)
            .expect("a line on the terminal");
        let own = models.iter().fold(own, |o, m| {
            o.split(&format!(" {}: ", m.0)).next().unwrap_or(o)
        });
        for said in [paragraph.as_str(), &card, own] {
            let claimed = matches!(finding, Finding::Leak);
            assert!(!claimed || !says(said, &DENIALS), "denied: {said}\n{about}");
            assert!(claimed || !says(said, &CLAIMS), "claimed: {said}\n{about}");
            assert_eq!(
                said.contains("The set as a whole: yes"),
                kind == "whole-set" || kind == "inverted" && said.contains("told from unseen ones"),
                "{said}\n{about}"
            );
            assert_eq!(
                said.contains("Inverted:"),
                kind == "inverted" || kind == "one-half" && said.contains("Inverted:"),
                "{said}\n{about}"
            );
        }
        assert_eq!(
            says(paragraph, &CLAIMS),
            finding == Finding::Leak,
            "{about}"
        );
        assert!(
            own.starts_with(verdict.conclusion.words())
                && card.contains(verdict.conclusion.words()),
            "{own}\n{card}"
        );
        // The tables and captions further down.
        let told = planted.set.is_some_and(|p| p * looks as f64 <= 0.05)
            || planted
                .nearer
                .is_some_and(|(_, p)| p * looks as f64 <= 0.05);
        assert_eq!(paragraph.contains("The set as a whole"), told, "{about}");
        if let Conclusion::Nothing = verdict.conclusion {
            assert!(!says(&card, &["Copies:", "told from unseen"]), "{card}");
        }
        let copied = planted.copies.is_some_and(|(m, o)| m > o + 20);
        assert_eq!(paragraph.contains("Copies: "), copied, "{about}");
    }
    if report.is_void() {
        assert!(
            text.contains("VOID") && terminal.starts_with("VOID: "),
            "{terminal}"
        );
        assert!(report.verdict.summary.is_empty());
        for section in [
            "frontier", "attacks", "roc", "scores", "sets", "epsilon", "pictures", "copies",
            "utility",
        ] {
            assert!(
                !page.contains(&format!("<section id=\"{section}\"")),
                "{section}"
            );
        }
        // All but the glossary.
        let shown = text.split("AUC The chance").next().expect("text");
        assert!(
            !says(shown, &CLAIMS) && !says(shown, &DENIALS) && !shown.contains("told apart"),
            "{shown}"
        );
        assert!(
            !says(&joined, &CLAIMS) && !says(&joined, &DENIALS) && !joined.contains("LOSS"),
            "{joined}"
        );
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        let at = reader
            .headers()
            .expect("header")
            .iter()
            .position(|h| h == "finding")
            .expect("column");
        assert!(
            reader.records().all(|r| &r.expect("row")[at] == "void"),
            "{csv}"
        );
        return;
    }
    let images = |wanted: &[&str]| {
        models
            .iter()
            .any(|m| wanted.contains(&m.2.expected(looks).0))
    };
    assert_eq!(
        text.contains("No model's strongest attack lies above chance"),
        !images(&["images"]),
        "{text}"
    );
    assert_eq!(
        text.contains("One half of the members leaks by itself:"),
        images(&["one-half"])
    );
    assert_eq!(
        text.contains("Told apart as a whole set only:"),
        images(&["whole-set"])
    );
    assert_eq!(
        text.contains("Copies among the generated images:"),
        images(&["copies"])
    );
    assert!(
        !text.contains("The attack proves nothing"),
        "beside a verdict that says otherwise"
    );
    // The table of whole sets: one row for each test, as the verdict counts it.
    let told = models
        .iter()
        .flat_map(|m| [m.2.set, m.2.nearer.map(|n| n.1)])
        .flatten();
    let told = told.filter(|p| p * looks as f64 <= 0.05).count();
    assert_eq!(page.matches("<td>told apart</td>").count(), told);
    assert_eq!(
        page.matches("<td>not told apart</td>").count(),
        looks - told
    );
    assert_eq!(
        text.matches("Nearer to training images than to as many unseen ones:")
            .count(),
        models
            .iter()
            .filter(|m| m.2.nearer.is_some_and(|(_, p)| p * looks as f64 <= 0.05))
            .count()
    );
    let clear = models
        .iter()
        .any(|m| m.2.copies.is_some_and(|(m, o)| m > o + 20));
    if models.iter().any(|m| m.2.copies.is_some()) {
        assert_eq!(text.contains("Most beyond chance:"), clear);
    }
}

fn report_of(models: &[(&str, &str, Planted)]) {
    let dir = tempfile::tempdir().expect("temp dir");
    run(dir.path(), models);
    let report = build(dir.path()).expect("build");
    check(dir.path(), &report, models);
}

#[test]
fn the_sections_of_a_report_agree() {
    let images = [Images::Chance, Images::Leak, Images::OneHalf, Images::Lower];
    for images in images {
        for set in [None, Some(0.019), Some(0.4)] {
            for nearer in [None, Some((0.76, 0.001)), Some((0.52, 0.3))] {
                for copies in [None, Some((60, 2)), Some((3, 2))] {
                    for void in [false, true] {
                        let planted = Planted {
                            images,
                            set,
                            copies,
                            nearer,
                            void,
                        };
                        report_of(&[("baseline", "none", planted)]);
                    }
                }
            }
        }
    }
}

#[test]
fn several_models_agree_too() {
    let planted = |images| Planted {
        images,
        ..Planted::default()
    };
    let whole = Planted {
        set: Some(0.019),
        ..Planted::default()
    };
    let copies = Planted {
        copies: Some((60, 2)),
        ..Planted::default()
    };
    report_of(&[
        ("baseline", "none", planted(Images::Leak)),
        ("dualmd", "dualmd", planted(Images::Leak)),
        ("student", "distillmd", whole),
        ("kd", "kd", copies),
        ("dp", "dp-sgd", planted(Images::OneHalf)),
        ("early", "early-stopping", planted(Images::Chance)),
    ]);
    // The same p-value beside six other tests tells nothing apart any more, anywhere.
    let tested = Planted {
        set: Some(0.019),
        nearer: Some((0.53, 0.2)),
        ..Planted::default()
    };
    report_of(&[
        ("baseline", "none", planted(Images::Leak)),
        ("student", "distillmd", tested),
        ("kd", "kd", tested),
        ("dp", "dp-sgd", tested),
    ]);
}

/// Of a pair in which nothing was found but by its teachers' weights, every place says both.
#[test]
fn a_pair_whose_teachers_leak_is_not_called_quiet() {
    let dir = tempfile::tempdir().expect("temp dir");
    let planted = |images| Planted {
        images,
        ..Planted::default()
    };
    run(
        dir.path(),
        &[
            ("dualmd", "dualmd", planted(Images::Chance)),
            ("teacher-1", "dualmd", planted(Images::Leak)),
            ("teacher-2", "dualmd", planted(Images::Leak)),
        ],
    );
    let mut report = build(dir.path()).expect("build");
    let words = "no leak seen in its images, its weights leak";
    let own = |report: &Report| {
        let mut all = report.verdict.models.iter();
        all.find(|m| m.model == "dualmd").expect("the pair").clone()
    };
    let pair = own(&report);
    assert_eq!(pair.finding, Finding::Chance);
    let said = "So much for its images. Its weights are those of its teachers, which leak: ";
    assert!(pair.text.contains(said), "{}", pair.text);
    let paragraph = |report: &Report| {
        let mut all = report.verdict.summary.iter();
        let found = all.find(|s| s.starts_with("Against the DualMD pair "));
        found.expect("a paragraph").clone()
    };
    assert!(paragraph(&report).contains(said));
    let terminal = report.terminal_table();
    let terminal = terminal.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        terminal.contains(&format!("dualmd: {words}. ")),
        "{terminal}"
    );
    assert!(report.summary()[0].contains(&format!("{words}: dualmd")));
    let page = write(dir.path(), &report).expect("write").html;
    let page = std::fs::read_to_string(page).expect("page");
    assert!(plain(&page).contains(words));
    // Without its teachers nothing is known of its weights, and nothing is said of them.
    report.models.retain(|m| !m.name.starts_with("teacher"));
    let report = report.judged();
    assert!(!own(&report).text.contains(said));
    assert!(!paragraph(&report).contains(said));
    assert!(!report.terminal_table().contains("its weights leak"));
}

/// One line for each model that could be released, strongest attack against strongest attack; how often luck finds something.
#[test]
fn every_model_that_could_be_released_has_its_line() {
    let dir = tempfile::tempdir().expect("temp dir");
    common::run_folder(dir.path());
    let report = build(dir.path()).expect("build");
    let released = [
        "the undefended model",
        "the student of ordinary distillation",
        "the DualMD pair",
        "the DistillMD student",
    ];
    assert_eq!(
        report.verdict.summary.len(),
        released.len(),
        "{:#?}",
        report.verdict.summary
    );
    for (line, subject) in report.verdict.summary.iter().zip(released) {
        assert!(line.contains(subject), "{subject}: {line}");
        let compared =
            line.contains("Compared with the undefended model: the strongest attack has AUC ");
        assert_eq!(compared, subject != "the undefended model", "{line}");
    }
    // Six models with two families each, but for the teachers, which are judged on one half; 1 - 0.95^10.
    assert!(
        report
            .verdict
            .false_alarms
            .contains("This report has 10 such families. Were they independent, luck would show one finding or more in 40 of 100 reports"),
        "{}",
        report.verdict.false_alarms
    );
    assert!(report.terminal_table().contains("False alarms:"));
}
