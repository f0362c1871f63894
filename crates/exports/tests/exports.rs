//! A report in the forms of other programs: what each must have, that all say what the verdict says, and that no name gets out of its
//! place.

// Each test binary uses a part of the fixture.
#[allow(dead_code)]
#[path = "../../audit/tests/common/mod.rs"]
mod common;

use std::collections::BTreeSet;
use std::path::Path;

use dualmd_audit::{Finding, Report, build};
use dualmd_exports::{
    annex, junit, latex_table, markdown_table, mlflow, model_card, sarif, tensorboard,
};
use serde_json::{Value, json};

/// The fixture with all that a folder may hold.
fn fixture() -> Report {
    let dir = tempfile::tempdir().expect("temp dir");
    common::run_folder(dir.path());
    common::extras(dir.path());
    common::quality(dir.path());
    build(dir.path()).expect("build")
}

/// The same, void.
fn void() -> Report {
    let dir = tempfile::tempdir().expect("temp dir");
    common::run_folder(dir.path());
    common::void(dir.path());
    let report = build(dir.path()).expect("build");
    assert!(report.is_void());
    report
}

/// A report whose names try to leave their places.
fn hostile() -> Report {
    let mut report = fixture();
    let evil = "a\"]]>|`</x>\n# h\\end{tabular}$[l](u) {0} & --- \u{1}";
    report.run["name"] = evil.into();
    report.run["auditor"] = evil.into();
    report.run["command"] = format!("dualmd\n```\n{evil}").into();
    report.models[0].title = evil.into();
    report.models[0].results[0].title = evil.into();
    report.verdict.models[0].text = evil.into();
    report.verdict.summary[0] = evil.into();
    report.verdict.not_tested.push(evil.into());
    report
}

fn finding(report: &Report, model: &str) -> Finding {
    let mut all = report.verdict.models.iter();
    all.find(|m| m.model == model).expect("a verdict").finding
}

/// The keys of an object are among those that SARIF 2.1.0 gives it, which has no others; the required ones are there.
fn object<'a>(value: &'a Value, required: &[&str], allowed: &[&str]) -> &'a Value {
    let keys: BTreeSet<&str> = value
        .as_object()
        .unwrap_or_else(|| panic!("{value} is no object"))
        .keys()
        .map(String::as_str)
        .collect();
    for key in required {
        assert!(keys.contains(key), "`{key}` is missing in {value}");
    }
    for key in keys {
        assert!(
            required.contains(&key) || allowed.contains(&key),
            "`{key}` is no key of SARIF in {value}"
        );
    }
    value
}

/// A message: text, whose braces are doubled.
fn message(value: &Value) -> String {
    let text = object(
        value,
        &["text"],
        &["markdown", "id", "arguments", "properties"],
    )["text"]
        .as_str()
        .expect("text");
    assert!(!text.is_empty());
    let rest = text.replace("{{", "").replace("}}", "");
    assert!(!rest.contains(['{', '}']), "a place to fill in: {text}");
    text.to_owned()
}

/// Checks a log against what the schema of SARIF 2.1.0 asks of the parts it has, and gives its results.
fn valid_sarif(text: &str) -> Vec<Value> {
    let log: Value = serde_json::from_str(text).expect("json");
    object(
        &log,
        &["version", "runs"],
        &["$schema", "inlineExternalProperties", "properties"],
    );
    assert_eq!(log["version"], "2.1.0");
    let runs = log["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 1);
    let run = object(
        &runs[0],
        &["tool", "results"],
        &["automationDetails", "invocations", "properties"],
    );
    let driver = &object(&run["tool"], &["driver"], &["extensions", "properties"])["driver"];
    object(
        driver,
        &["name"],
        &["version", "semanticVersion", "rules", "informationUri"],
    );
    let rules = driver["rules"].as_array().expect("rules");
    let levels = ["none", "note", "warning", "error"];
    for rule in rules {
        object(
            rule,
            &["id"],
            &[
                "name",
                "shortDescription",
                "fullDescription",
                "help",
                "defaultConfiguration",
            ],
        );
        message(&rule["shortDescription"]);
        message(&rule["fullDescription"]);
        message(&rule["help"]);
        let level = rule["defaultConfiguration"]["level"].as_str();
        assert!(levels.contains(&level.expect("level")));
    }
    for invocation in run["invocations"].as_array().expect("invocations") {
        object(
            invocation,
            &["executionSuccessful"],
            &["commandLine", "toolExecutionNotifications"],
        );
        assert!(invocation["executionSuccessful"].is_boolean());
        let notes = invocation["toolExecutionNotifications"].as_array();
        for note in notes.expect("notifications") {
            object(note, &["message"], &["level"]);
            assert!(levels.contains(&note["level"].as_str().expect("level")));
            message(&note["message"]);
        }
    }
    let results = run["results"].as_array().expect("results").clone();
    for result in &results {
        object(
            result,
            &["message"],
            &[
                "ruleId",
                "ruleIndex",
                "kind",
                "level",
                "locations",
                "partialFingerprints",
                "properties",
            ],
        );
        message(&result["message"]);
        assert_eq!(result["kind"], "fail");
        assert!(levels.contains(&result["level"].as_str().expect("level")));
        let index = result["ruleIndex"].as_u64().expect("index") as usize;
        assert_eq!(rules[index]["id"], result["ruleId"]);
        for location in result["locations"].as_array().expect("locations") {
            object(location, &[], &["physicalLocation", "logicalLocations"]);
            let physical = object(
                &location["physicalLocation"],
                &["artifactLocation"],
                &["region"],
            );
            object(&physical["artifactLocation"], &[], &["uri"]);
            assert!(physical["region"]["startLine"].as_u64() >= Some(1));
            for logical in location["logicalLocations"].as_array().expect("logical") {
                object(logical, &[], &["name", "kind", "fullyQualifiedName"]);
            }
        }
        assert!(result["partialFingerprints"].is_object());
    }
    results
}

#[test]
fn sarif_has_a_result_for_each_model_with_a_finding() {
    let report = fixture();
    let results = valid_sarif(&sarif(&report));
    let model = |r: &Value| r["properties"]["model"].as_str().expect("name").to_owned();
    for verdict in &report.verdict.models {
        let own: Vec<&Value> = results
            .iter()
            .filter(|r| model(r) == verdict.model)
            .collect();
        match verdict.finding {
            Finding::Chance | Finding::Unknown => assert!(own.is_empty(), "{own:?}"),
            finding => {
                assert_eq!(own.len(), 1);
                assert_eq!(own[0]["ruleId"], finding.name());
                let text = own[0]["message"]["text"].as_str().expect("text");
                assert!(text.contains(&verdict.text), "{text}");
            }
        }
    }
    let baseline = results
        .iter()
        .find(|r| model(r) == "baseline")
        .expect("it leaks");
    assert_eq!(baseline["level"], "error");
    assert_eq!(baseline["properties"]["strongestAttack"], "sima");
    assert_eq!(baseline["properties"]["weightsBlake3"], "0a".repeat(32));
    let results = valid_sarif(&sarif(&void()));
    assert!(!results.is_empty() && results.iter().all(|r| r["ruleId"] == "void"));
    assert!(results.iter().all(|r| r["properties"].get("auc").is_none()));
    valid_sarif(&sarif(&hostile()));
}

/// The elements of XML in their order, as (name, attributes); every element is closed, every attribute quoted.
fn elements(xml: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut rest = xml
        .strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")
        .expect("a declaration");
    let (mut out, mut open) = (Vec::new(), Vec::new());
    while let Some(at) = rest.find('<') {
        assert!(!rest[..at].contains('>'), "a stray > in {}", &rest[..at]);
        let end = rest[at..].find('>').expect("a tag ends") + at;
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
            continue;
        }
        let inside = tag.trim_end_matches('/');
        let (name, mut attributes) = inside.split_once(' ').unwrap_or((inside, ""));
        let mut found = Vec::new();
        while let Some((key, more)) = attributes.split_once("=\"") {
            let (value, more) = more.split_once('"').expect("a quote ends");
            assert!(!value.contains('<'), "{value}");
            found.push((key.trim().to_owned(), value.to_owned()));
            attributes = more;
        }
        assert!(attributes.trim().is_empty(), "{attributes}");
        if !tag.ends_with('/') {
            open.push(name.to_owned());
        }
        out.push((name.to_owned(), found));
    }
    assert!(open.is_empty(), "left open: {open:?}");
    assert!(xml.chars().all(|c| c >= ' ' || c == '\n'));
    out
}

#[test]
fn junit_has_a_test_for_each_model() {
    let report = fixture();
    let xml = elements(&junit(&report));
    let number = |name: &str| xml.iter().filter(|e| e.0 == name).count();
    assert_eq!(number("testcase"), report.models.len());
    let of = |wanted: &dyn Fn(Finding) -> bool| {
        report
            .verdict
            .models
            .iter()
            .filter(|m| wanted(m.finding))
            .count()
    };
    let chance = of(&|f| f == Finding::Chance);
    assert_eq!(
        number("failure"),
        of(&|f| !matches!(f, Finding::Chance | Finding::Unknown))
    );
    assert_eq!(number("system-out"), chance);
    assert_eq!(number("error"), 0);
    let attribute = |element: &str, key: &str| {
        let (_, attributes) = xml.iter().find(|e| e.0 == element).expect("element");
        let found = attributes.iter().find(|a| a.0 == key);
        found.map(|a| a.1.clone()).expect("attribute")
    };
    assert_eq!(
        attribute("testsuites", "tests"),
        report.models.len().to_string()
    );
    assert_eq!(
        attribute("testsuites", "failures"),
        number("failure").to_string()
    );
    assert_eq!(attribute("testsuite", "timestamp"), "2026-11-24T05:09:12");
    assert_eq!(
        attribute("failure", "type"),
        finding(&report, "baseline").name()
    );
    let void = elements(&junit(&void()));
    let errors = void.iter().filter(|e| e.0 == "error").count();
    assert_eq!(errors, void.iter().filter(|e| e.0 == "testcase").count());
    assert!(void.iter().all(|e| e.0 != "failure"));
    let hostile = elements(&junit(&hostile()));
    assert_eq!(hostile.len(), xml.len());
    // Nothing was tested: that is no success.
    let empty = Report {
        models: Vec::new(),
        ..fixture()
    };
    assert!(junit(&empty).contains("errors=\"1\""));
}

#[test]
fn counts_at_another_rate_of_false_alarms_name_it() {
    let mut report = fixture();
    for line in &mut report.verdict.releases {
        line.found_groups = None;
        if let Some(found) = &mut line.found {
            found.fpr = 0.1;
            found.by_guessing = 0.1 * found.total as f64;
        }
    }
    let counts = |text: &str| {
        let rows = text
            .lines()
            .filter(|l| l.contains("finds ") || l.contains("not told from guessing: "))
            .filter(|l| l.starts_with('|'));
        let rows: Vec<String> = rows.map(str::to_owned).collect();
        assert!(!rows.is_empty(), "{text}");
        rows
    };
    for text in [model_card(&report), annex(&report)] {
        for row in counts(&text) {
            assert!(row.contains(" at 10 % false alarms"), "{row}");
        }
    }
    for row in counts(&model_card(&fixture())) {
        assert!(!row.contains("false alarms"), "{row}");
    }
}

/// The reason of a void report stands where no table follows.
#[test]
fn the_reason_of_a_void_report_points_at_nothing_below_it() {
    let void = void();
    for text in [junit(&void), sarif(&void), void.terminal_table()] {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            text.contains("no number of this audit can be trusted"),
            "{text}"
        );
        assert!(!text.contains("number below"), "{text}");
    }
}

/// Two reports of a warning are one, whatever the model is called before it.
#[test]
fn a_warning_stands_in_the_annex_once() {
    let mut report = fixture();
    report.warnings = vec!["Audited model (model): the steps were guessed.".into()];
    report.models.truncate(2);
    report.models[0].title = "Audited model".into();
    report.models[0].name = "model".into();
    for model in &mut report.models {
        model.warnings = vec!["the steps were guessed.".into()];
    }
    // Another model's warning of the same words is another warning.
    assert_eq!(annex(&report).matches("the steps were guessed.").count(), 2);
    report.models.truncate(1);
    assert_eq!(annex(&report).matches("the steps were guessed.").count(), 1);
}

#[test]
fn a_model_card_has_numbers_words_and_limits() {
    let report = fixture();
    let card = model_card(&report);
    let (front, section) = card
        .strip_prefix("---\n")
        .and_then(|c| c.split_once("---\n\n"))
        .expect("a front matter");
    assert!(
        front.starts_with("model-index:\n- name: \"Undefended model (baseline)\"\n"),
        "{front}"
    );
    for part in [
        "type: unconditional-image-generation",
        "- type: membership_inference_auc_weights\n",
        "- type: membership_inference_tpr_at_1_percent_fpr_weights\n",
        "- type: excess_frechet_distance\n",
        "name: \"64 training images, 512 unseen images\"",
    ] {
        assert!(front.contains(part), "`{part}` is missing in\n{front}");
    }
    // Neither a teacher nor a repeat is given out.
    assert!(
        !front.contains("- name: \"Teacher") && !front.contains("baseline.s1"),
        "{front}"
    );
    for part in [
        "## Membership-inference audit\n",
        "Audited on 24 November 2026, 05:09 UTC by A. Auditor, for the hospital with dualmd 0.1.0.",
        "tells a training image from an unseen one",
        "Not tested:",
        "| Undefended model (baseline) | Weights |",
        "dualmd run --preset demo --out runs/demo",
        "Attacks not run on any model",
    ] {
        assert!(section.contains(part), "`{part}` is missing in\n{section}");
    }
    let void = model_card(&void());
    assert!(void.starts_with("## Membership-inference audit\n") && !void.contains("model-index"));
    assert!(
        void.contains("The audit is void") && !void.contains("AUC 0.99"),
        "{void}"
    );
    // Only in the block of code that the command is in may a line be what it likes.
    let hostile = model_card(&hostile());
    let (before, _) = hostile.split_once("\n````\n").expect("a longer fence");
    assert!(!before.contains("\n# h"), "{hostile}");
    assert!(hostile.contains("\n````\ndualmd\n```\n"), "{hostile}");
}

#[test]
fn tables_hold_every_attack_and_every_model() {
    let report = fixture();
    let markdown = markdown_table(&report);
    let rows: Vec<&str> = markdown
        .lines()
        .take_while(|l| l.starts_with('|'))
        .collect();
    assert_eq!(rows.len(), report.models.len() + 2);
    let cells = report.attacks().len() + 1;
    // A row has one bar more than cells.
    assert!(
        rows.iter().all(|r| r.matches('|').count() == cells + 1),
        "{markdown}"
    );
    assert_eq!(
        markdown.matches("**").count(),
        2 * report
            .models
            .iter()
            .filter(|m| m.strongest().is_some())
            .count()
    );
    let latex = latex_table(&report);
    assert!(
        latex.contains("\\begin{tabular}{lcccc}\n\\toprule\n")
            && latex.ends_with("chance. In bold the strongest attack on each model.\n")
    );
    for line in latex.lines().filter(|l| l.ends_with("\\\\")) {
        assert_eq!(line.replace("\\&", "").matches('&').count(), 4, "{line}");
    }
    for (_, title) in report.attacks() {
        assert!(latex.contains(&title), "{title} is missing in\n{latex}");
    }
    for text in [markdown_table(&void()), latex_table(&void())] {
        assert!(text.contains("VOID.") && !text.contains("0.99"), "{text}");
    }
    let hostile = hostile();
    let latex = latex_table(&hostile);
    assert_eq!(latex.matches("\\end{tabular}").count(), 1, "{latex}");
    let rows: Vec<String> = markdown_table(&hostile)
        .replace("\\|", "")
        .lines()
        .take_while(|l| l.starts_with('|'))
        .map(str::to_owned)
        .collect();
    assert!(
        rows.iter().all(|r| r.matches('|').count() == cells + 1),
        "{rows:?}"
    );
}

#[test]
fn the_annex_is_filled_and_leaves_room_to_sign() {
    let mut report = fixture();
    report.run["data"]["members_blake3"] = "11".repeat(32).into();
    report.run["data"]["nonmembers_blake3"] = "22".repeat(32).into();
    report.run["versions"]["commit"] = "bb1034e".into();
    report.run["versions"]["dualmd"] = "0.0.9".into();
    let mut verdicts = report.verdict.models.iter_mut();
    let pair = verdicts.find(|v| v.model == "dualmd").expect("the pair");
    (pair.finding, pair.conclusion) = (Finding::Chance, dualmd_audit::Conclusion::Nothing);
    let text = annex(&report);
    for part in [
        "# Annex: membership-inference audit of demo\n",
        "| By whom? | A. Auditor, for the hospital |",
        "| With which program? | dualmd 0.0.9, libtorch 2.13.0 |",
        concat!(
            "Part A was written by dualmd ",
            env!("CARGO_PKG_VERSION"),
            " from"
        ),
        "| With membership drawn by lot, does the audit find nothing? | yes |",
        " | trained on all members, no defence | ",
        "A false alarm is an unseen image that an attack takes for a training image.",
        "| A formal guarantee (differential privacy) | ",
        "| Which commit of the program? | `bb1034e` |",
        &format!(
            "| Members, hash (BLAKE3 over content ids) | `{}` |",
            "11".repeat(32)
        ),
        &format!("| Non-members, hash | `{}` |", "22".repeat(32)),
        &format!("| `{}` |", "0a".repeat(32)),
        "those of its two teachers",
        "In every case the attacker must already hold the picture.",
        "| the picture and the weights | ",
        "tells a training image from an unseen one",
        "Can the training images taken together be recognised?",
        "- Attacks not run on any model:\n\n  - ",
        "\n  - fluctuation under crops (PFAMI)\n",
        "\nHow long this holds: the audit is about these weights and these images. Repeat it after another training,",
        "| Auditor |  |  |  |",
        "| Data-protection officer |  |  |  |",
    ] {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
    // Every finding of the verdict is in the table of results, in the same words.
    for verdict in &report.verdict.models {
        let words = dualmd_audit::release::finding_in_words(&report, verdict);
        let row = |l: &&str| l.starts_with("| ") && l.contains(&verdict.model) && l.contains(words);
        assert!(text.lines().any(|l| row(&l)), "{}: {words}", verdict.model);
    }
    assert!(
        text.contains("| no leak seen in its images, its weights leak |"),
        "{text}"
    );
    // The report's list of warnings has what the models' lists have: nothing stands there twice.
    let warning = "far from 1: PIA compares at an input";
    assert_eq!(text.matches(warning).count(), 1, "{text}");
    assert!(text.contains("| Persons or other groups among them | not recorded: "));
    // Part B is that of the page that explains it.
    let page = include_str!("../../../docs/dpia.md");
    let part_b = text.split("## Part B").nth(1).expect("part B");
    let asked = |l: &&str| l.ends_with(" |  |") && l.matches('|').count() == 3;
    assert_eq!(part_b.lines().filter(asked).count(), 10);
    for question in part_b.lines().filter(asked) {
        let question = question.trim_end_matches("|  |").trim();
        assert!(page.contains(question), "{question} is not in docs/dpia.md");
    }
    let old: Report = serde_json::from_value(json!({"schema": 1, "models": []})).expect("report");
    assert!(annex(&old).contains("| When was it audited? | not recorded |"));
    let void = annex(&void());
    assert!(void.contains("**This audit is void.") && void.contains("None: the audit is void."));
    assert!(!void.contains("found at 1 false alarm"), "{void}");
    assert!(!void.contains("How long this holds"), "{void}");
    let hostile = annex(&hostile());
    assert!(!hostile.contains("\n# h"), "{hostile}");
    let bars = |line: &str| line.replace("\\|", "").matches('|').count();
    let lines: Vec<&str> = hostile.lines().collect();
    for pair in lines
        .windows(2)
        .filter(|p| p.iter().all(|l| l.starts_with('|')))
    {
        assert_eq!(bars(pair[0]), bars(pair[1]), "{pair:?}");
    }
}

/// What was not looked for is not said to be tested, and tests that could not tell are not said to have seen nothing.
#[test]
fn the_annex_tells_not_seen_from_not_known() {
    let mut report = fixture();
    for model in &mut report.models {
        model.copying.clear();
        for test in model.sets.iter_mut().flat_map(|s| &mut s.tests) {
            (test.p_value, test.permutations) = (0.5, 9);
        }
    }
    let few = "with too few random divisions to tell";
    report.models[0].defense = "own-recipe".into();
    let text = annex(&report);
    assert!(text.contains(" | own-recipe | "), "{text}");
    assert!(text.contains("get them out of a model was not tested here.\n"));
    assert!(text.contains(&format!(" {few} |")) && text.contains(": not known: "));
    assert!(!text.contains(": not seen, by"), "{text}");
    let mut models = report.models.iter_mut();
    let sets = models.find_map(|m| m.sets.as_mut()).expect("tests");
    sets.tests[0].permutations = 999_999;
    let more = sets.tests.len() - 1;
    let wanted = match more {
        0 => ": not seen, by 1 test |".to_owned(),
        n => format!(": not seen, by 1 test; {n} more {few} |"),
    };
    let text = annex(&report);
    assert!(text.contains(&wanted), "{wanted} is missing in\n{text}");
}

/// Attacks that gave no result are not said to be absent, and absent ones are not said to have given none.
#[test]
fn the_annex_tells_not_run_from_without_a_result() {
    let mut report = fixture();
    for result in report.models.iter_mut().flat_map(|m| &mut m.results) {
        result.pooled = None;
    }
    let who = "| the picture and the weights |";
    let row = format!("{who} some were run, and none gave a result |");
    let text = annex(&report);
    assert!(text.contains(&row), "{text}");
    for model in &mut report.models {
        model.results.clear();
    }
    let text = annex(&report);
    assert!(text.contains(&format!("{who} none was run |")), "{text}");
}

/// A classifier that sees nothing does not rule out what its interval has.
#[test]
fn the_annex_says_what_the_blind_test_does_not_rule_out() {
    let mut report = fixture();
    let blind = report
        .controls
        .blind_baseline
        .as_mut()
        .expect("a blind test");
    blind.outcome = "passed".into();
    (blind.auc, blind.auc_ci) = (0.65, [0.39, 0.86]);
    let text = annex(&report);
    let said = "; a difference of up to 0.86 is not ruled out)";
    assert!(
        text.contains(said) && text.contains("| not seen: a classifier"),
        "{text}"
    );
}

/// Of a comparison the annex has each audit's date, auditor and command, and does not take whoever compared for whoever audited.
#[test]
fn the_annex_of_a_comparison_names_each_audit() {
    let mut report = fixture();
    report.run["compared"] = json!([
        {"name": "before", "created": "2026-11-20T05:09:00Z", "auditor": "A. First", "command": "dualmd audit a",
            "versions": {"dualmd": "0.1.0", "commit": "ab12"}, "data": {"source": "members x, non-members y"}},
        {"name": "after", "created": "2026-11-21T05:09:00Z", "auditor": "B. Second"},
    ]);
    report.run["auditor"] = "C. Third".into();
    report.run["seed"] = Value::Null;
    let text = annex(&report);
    for part in [
        "| When were the audits put together? | 24 November 2026, 05:09 UTC |",
        "| Who put them together? | C. Third |",
        "| With which seed? | not recorded, or not the same in all audits |",
        "This report puts 2 audits of the same images together:",
        "| before | 20 November 2026, 05:09 UTC | A. First | 0.1.0 | `ab12` | members x, non-members y | `dualmd audit a` |",
        "| after | 21 November 2026, 05:09 UTC | B. Second | not recorded | not recorded | not recorded | not recorded |",
    ] {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
    assert!(!text.contains("When was it audited?"));
    let card = model_card(&report);
    assert!(
        card.contains("by A. First (before); B. Second (after) with dualmd"),
        "{card}"
    );
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn mlflow_finds_a_run_for_the_audit_and_one_for_each_model() {
    let dir = tempfile::tempdir().expect("temp dir");
    let report = fixture();
    let audit = mlflow(&report, dir.path()).expect("mlflow");
    let experiment = dir.path().join("mlruns/0");
    assert!(read(&experiment.join("meta.yaml")).contains("experiment_id: '0'\n"));
    let runs = || -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(&experiment).expect("list");
        let folders = entries
            .map(|e| e.expect("entry").path())
            .filter(|p| p.is_dir());
        folders.collect()
    };
    assert_eq!(runs().len(), 1 + report.models.len());
    let id = audit.file_name().and_then(|n| n.to_str()).expect("an id");
    assert!(id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit()));
    for run in runs() {
        let meta = read(&run.join("meta.yaml"));
        let own = run.file_name().and_then(|n| n.to_str()).expect("an id");
        for line in [
            format!("run_id: \"{own}\""),
            "status: 3".into(),
            "start_time: 1795496952000".into(),
            "lifecycle_stage: active".into(),
        ] {
            assert!(
                meta.lines().any(|l| l == line),
                "`{line}` is missing in\n{meta}"
            );
        }
        for file in std::fs::read_dir(run.join("metrics")).expect("metrics") {
            let text = read(&file.expect("entry").path());
            let parts: Vec<&str> = text.trim_end().split(' ').collect();
            assert!(
                parts.len() == 3 && parts[1].parse::<f64>().is_ok(),
                "{text}"
            );
        }
        if run != audit {
            assert_eq!(read(&run.join("tags/mlflow.parentRunId")), id);
        }
    }
    assert!(audit.join("artifacts/report.html").is_file());
    let student = runs()
        .into_iter()
        .find(|r| r.join("params/model").exists() && read(&r.join("params/model")) == "student")
        .expect("the student's run");
    let auc: f64 = read(&student.join("metrics/auc.sima"))
        .split(' ')
        .nth(1)
        .and_then(|v| v.parse().ok())
        .expect("a number");
    let model = report
        .models
        .iter()
        .find(|m| m.name == "student")
        .expect("student");
    let sima = model
        .results
        .iter()
        .find(|r| r.attack == "sima")
        .expect("sima");
    assert_eq!(Some(auc), sima.pooled.as_ref().map(|m| m.auc));
    assert_eq!(
        read(&student.join("tags/dualmd.finding")),
        finding(&report, "student").name()
    );
    // The same report again is the same runs; another one stands beside it.
    mlflow(&report, dir.path()).expect("mlflow");
    assert_eq!(runs().len(), 1 + report.models.len());
    let void = void();
    let second = mlflow(&void, dir.path()).expect("mlflow");
    assert_eq!(runs().len(), 2 + report.models.len() + void.models.len());
    assert_eq!(
        std::fs::read_dir(second.join("metrics"))
            .expect("list")
            .count(),
        0
    );
    assert_eq!(read(&second.join("tags/dualmd.void")), "true");
    mlflow(&hostile(), dir.path()).expect("mlflow");
    let blocked = dir.path().join("blocked");
    std::fs::write(&blocked, "a file").expect("write");
    let error = mlflow(&report, &blocked).expect_err("a file is no folder");
    assert!(error.to_string().contains("blocked"), "{error}");
}

/// What a reader of TensorBoard's event files finds: the records' data, with both sums checked.
fn records(bytes: &[u8]) -> Vec<Vec<u8>> {
    let masked = |data: &[u8]| {
        let crc = !data.iter().fold(!0u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |c, _| {
                (c >> 1) ^ (0x82f6_3b78 & (0u32.wrapping_sub(c & 1)))
            })
        });
        crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
    };
    let (mut rest, mut out) = (bytes, Vec::new());
    while !rest.is_empty() {
        let (head, after) = rest.split_at(12);
        assert_eq!(head[8..], masked(&head[..8]));
        let n = u64::from_le_bytes(head[..8].try_into().expect("eight bytes")) as usize;
        let (data, after) = after.split_at(n);
        assert_eq!(after[..4], masked(data));
        out.push(data.to_owned());
        rest = &after[4..];
    }
    out
}

#[test]
fn tensorboard_finds_a_run_for_the_audit_and_one_for_each_model() {
    let dir = tempfile::tempdir().expect("temp dir");
    let report = fixture();
    let audit = tensorboard(&report, dir.path()).expect("tensorboard");
    let file = |folder: &Path| -> Vec<Vec<u8>> {
        let entries = std::fs::read_dir(folder).expect("list");
        let mut files = entries
            .map(|e| e.expect("entry").path())
            .filter(|p| p.is_file());
        let file = files.next().expect("an event file");
        assert!(files.next().is_none());
        let name = file
            .file_name()
            .and_then(|n| n.to_str())
            .expect("a name")
            .to_owned();
        assert!(
            name.starts_with("events.out.tfevents.1795496952."),
            "{name}"
        );
        records(&std::fs::read(file).expect("read"))
    };
    let holds = |data: &[u8], text: &[u8]| data.windows(text.len()).any(|w| w == text);
    for model in &report.models {
        let own = file(&audit.join(&model.name));
        // Version, verdict in words, numbers.
        assert_eq!(own.len(), 3, "{}", model.name);
        assert!(holds(&own[0], b"brain.Event:2"));
        assert!(holds(&own[1], b"audit/verdict") && holds(&own[1], b"text"));
        let Some(sima) = model.results.iter().find(|r| r.attack == "sima") else {
            continue;
        };
        let auc = sima.view(model.primary).map_or(f64::NAN, |m| m.auc) as f32;
        let mut wanted = b"audit/auc.sima\x15".to_vec();
        wanted.extend(auc.to_le_bytes());
        assert!(holds(&own[2], &wanted), "{}", model.name);
    }
    // The same report again replaces its own files; a void one stands beside it, without a number.
    tensorboard(&report, dir.path()).expect("tensorboard");
    file(&audit);
    let void = tensorboard(&void(), dir.path()).expect("tensorboard");
    assert_ne!(void, audit);
    let own = file(&void);
    assert!(own.len() == 2 && holds(&own[1], b"VOID"));
    // A name cannot leave the folder.
    let mut hostile = hostile();
    hostile.models[0].name = "../../x".into();
    hostile.verdict.models[0].model = "../../x".into();
    let at = tensorboard(&hostile, dir.path()).expect("tensorboard");
    assert_eq!(at.parent(), Some(dir.path()));
    assert!(at.join("_._.._x-0").is_dir());
}
