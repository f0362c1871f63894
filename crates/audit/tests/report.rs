//! Reports of run folders with known answers.

// Each test binary uses a part of the fixture.
#[allow(dead_code)]
mod common;

use std::path::Path;

use dualmd_audit::{Finding, Report, ScoreRow, build, read_scores, roc_table, write, write_scores};
use serde_json::{Value, json};

fn fixture() -> (tempfile::TempDir, Report) {
    let dir = tempfile::tempdir().expect("temp dir");
    common::run_folder(dir.path());
    let report = build(dir.path()).expect("build");
    (dir, report)
}

fn text_of(report: &Report, model: &str) -> String {
    report.verdict.models.iter().find(|m| m.model == model).map(|m| m.text.clone()).expect("a verdict on the model")
}

fn finding_of(report: &Report, model: &str) -> Finding {
    report.verdict.models.iter().find(|m| m.model == model).map(|m| m.finding).expect("a verdict on the model")
}

#[test]
fn the_verdict_says_what_the_numbers_say() {
    let (_dir, report) = fixture();
    assert!(report.verdict.void.is_none());
    let summary = report.verdict.summary.join("\n");
    let sima = report.models[0].results.iter().find(|r| r.attack == "sima").and_then(|r| r.pooled.as_ref()).expect("sima");
    let found = sima.tpr_at_fpr.iter().find(|p| p.fpr == 0.01).expect("1 %").tp;
    for part in [
        "An attacker who holds the weights of the undefended model tells a training image from an unseen one",
        "the strongest of 6 attacks (SimA)",
        &format!("at 1 false alarm in 100, finds {found} of 64 members"),
        "Against the DistillMD student none of the 6 attacks run here did better than chance",
        "With 64 members, leaks below AUC 0.60 would not have been seen.",
        "Pooling hides a difference between the halves (SecMI: AUC",
        "On the same images, the AUC of SimA falls from more than 0.999 to",
    ] {
        assert!(summary.contains(part), "`{part}` is missing in\n{summary}");
    }
    let not_tested = report.verdict.not_tested.join("\n");
    for part in ["gradients (GSA), shadow models (LiRA)", "0.1 % and below", "1,000 would be needed", "failed on at least one model: PIAN", "no formal guarantee"] {
        assert!(not_tested.contains(part), "`{part}` is missing in\n{not_tested}");
    }
    assert_eq!(finding_of(&report, "baseline"), Finding::Leak);
    assert_eq!(finding_of(&report, "kd"), Finding::Leak);
    // The student's SecMI is below chance on D1: not a leak to the attack as it is, and no protection either.
    assert_eq!(finding_of(&report, "student"), Finding::Inverted);
    assert!(text_of(&report, "student").contains("Inverted: SecMI on D1"), "{}", text_of(&report, "student"));
    assert!(text_of(&report, "kd").contains("PIAN failed and says nothing."));
}

#[test]
fn teachers_are_judged_on_their_own_half() {
    let (_dir, report) = fixture();
    let text = text_of(&report, "teacher-1");
    assert!(text.contains("Strongest of 5 attacks: SimA") && text.contains("of 32 members"), "{text}");
    assert!(text.contains("Inverted: PIA (AUC 0.0") && text.contains("no protection"), "{text}");
    assert!(text.contains("Members of D2, which it never saw, do not stand out"), "{text}");
    assert!(!text.contains("Pooling hides"), "{text}");
}

#[test]
fn never_a_clean_bill_of_health() {
    let (dir, report) = fixture();
    let written = write(dir.path(), &report).expect("write");
    let page = std::fs::read_to_string(written.html).expect("page").to_lowercase();
    for word in ["anonymous", "is safe", "are safe", "is private", "privacy-preserving", "gdpr-compliant"] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn report_json_keeps_the_contract() {
    let (dir, report) = fixture();
    let written = write(dir.path(), &report).expect("write");
    let json: Value = serde_json::from_slice(&std::fs::read(written.json).expect("read")).expect("json");
    assert_eq!(json["schema"], 1);
    assert_eq!(json["run"]["command"], "dualmd run --preset demo --out runs/demo");
    let student = json["models"].as_array().expect("models").iter().find(|m| m["name"] == "student").expect("student");
    assert_eq!(student["defense"], "distillmd");
    let secmi = student["results"].as_array().expect("results").iter().find(|r| r["attack"] == "secmi").expect("secmi");
    for key in ["access", "network_calls_per_sample", "seconds", "n_members", "n_nonmembers", "auc", "auc_ci", "tpr_at_fpr", "balanced_accuracy"] {
        assert!(!secmi[key].is_null(), "{key}: {secmi}");
    }
    assert_eq!((&secmi["n_members"], &secmi["n_nonmembers"]), (&json!(64), &json!(512)));
    assert!(secmi["d1"]["auc"].as_f64() < secmi["d2"]["auc"].as_f64());
    assert_eq!(secmi["halves_differ"], true);
    for key in ["fpr", "realised_fpr", "tpr", "tpr_ci", "measurable"] {
        assert!(!secmi["tpr_at_fpr"][0][key].is_null(), "{key}");
    }
    // 0.1 % of 512 is less than one non-member.
    assert_eq!(secmi["tpr_at_fpr"][2]["measurable"], false);
    assert!(student["utility"]["heldout_loss"].is_number());
    assert_eq!(json["controls"]["blind_baseline"]["outcome"], "passed");
    assert_eq!(json["controls"]["null"]["passed"], true);
    let failed = json["models"][1]["results"].as_array().expect("results").iter().find(|r| r["attack"] == "pian").expect("pian");
    assert_eq!((&failed["status"], failed.get("auc")), (&json!("failed"), None));
}

#[test]
fn defended_and_undefended_are_compared_on_the_same_samples() {
    let (_dir, report) = fixture();
    let of = |model: &str, attack: &str| report.comparisons.iter().find(|c| c.model == model && c.attack == attack).expect("comparison");
    assert!(of("student", "sima").difference_ci[0] > 0.3);
    assert!(of("student", "sima").p_value < 1e-6);
    assert!(report.comparisons.iter().all(|c| !c.model.starts_with("teacher")), "teachers know other members");
    let agreement = report.models[0].agreement.as_ref().expect("agreement");
    assert_eq!((agreement.attacks, agreement.n_members, agreement.n_nonmembers), (6, 64, 512));
    assert!(agreement.by_one >= agreement.by_two && agreement.by_two >= agreement.by_all && agreement.by_one > 60);
    assert!(agreement.nonmembers_by_one <= 6 * 5, "each attack may mistake 5 of 512");
}

#[test]
fn the_page_is_whole_small_and_loads_nothing() {
    let (dir, report) = fixture();
    let page = std::fs::read_to_string(write(dir.path(), &report).expect("write").html).expect("page");
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    well_formed(&page);
    for attribute in ["src=\"http", "href=\"http", "src=\"//", "@import", "url(", "<link rel=\"stylesheet\"", "<iframe"] {
        assert!(!page.contains(attribute), "{attribute}");
    }
    assert!(page.contains("default-src 'none'"));
    // Samples of four models, six pairs for each of them, twelve exposed members.
    assert_eq!(page.matches("src=\"data:image/png;base64,").count(), 4 + 4 * 12 + 12);
    for section in ["verdict", "attacks", "roc", "scores", "pictures", "utility", "controls", "training", "settings", "reading", "references"] {
        assert!(page.contains(&format!("<section id=\"{section}\"")), "{section}");
    }
}

#[test]
fn names_cannot_break_out() {
    let dir = tempfile::tempdir().expect("temp dir");
    let evil = "x\"'><script>alert(1)<b>&amp;";
    common::model_scores(dir.path(), "plain", "none", &[("loss", (2.0, 2.0))], 1);
    let row = |i: usize| ScoreRow { sample_id: format!("{evil}{i}"), group: Some(evil.into()), member: i < 20, attack: evil.into(), score: (i * 7919 % 101) as f64 };
    write_scores(&dir.path().join("scores").join(format!("{evil}.csv")), &(0..120).map(row).collect::<Vec<_>>()).expect("scores");
    let mut plan = common::plan(&[("plain", "none"), (evil, evil), ("../../escape", "none")]);
    for key in ["name", "command", "created", "split_hash", "experiment_toml"] {
        plan[key] = json!(evil);
    }
    plan["data"]["source"] = json!(evil);
    plan["train"][evil] = json!(evil);
    std::fs::write(dir.path().join("plan.json"), plan.to_string()).expect("plan");
    let info = json!({"attacks": [{"attack": evil, "title": evil, "access": evil, "status": "ok", "parameters": {evil: evil}}, {"attack": "boom", "status": "failed", "reason": evil}], "warnings": [evil], "weights": evil, "dtype": evil});
    std::fs::write(dir.path().join("scores").join(format!("{evil}.json")), info.to_string()).expect("info");
    std::fs::write(dir.path().join("exposed.json"), json!([{"model": evil, "attack": evil, "id": evil, "png": "../secret.png", "score": 1.0, "rank": 1}]).to_string()).expect("exposed");
    std::fs::write(dir.path().join("controls.json"), json!({"blind_baseline": {"auc": 0.5, "auc_ci": [0.4, 0.6], "features": [evil], "method": evil}}).to_string()).expect("controls");
    let report = build(dir.path()).expect("build");
    assert_eq!(report.models.len(), 2, "a model's name is never a path");
    let page = std::fs::read_to_string(write(dir.path(), &report).expect("write").html).expect("page");
    assert!(page.contains("&lt;script&gt;alert(1)"));
    assert_eq!(page.matches("<script").count(), 1, "only the page's own script");
    assert!(!page.contains("<b>&"), "unescaped");
    well_formed(&page);
}

#[test]
fn void_is_said_first() {
    let dir = tempfile::tempdir().expect("temp dir");
    common::run_folder(dir.path());
    std::fs::write(dir.path().join("controls.json"), r#"{"blind_baseline": {"auc": 0.93, "auc_ci": [0.90, 0.95]}}"#).expect("write");
    let report = build(dir.path()).expect("build");
    let void = report.verdict.void.as_deref().expect("void");
    assert!(void.contains("A classifier that never saw the model separates the two image sets (AUC 0.93") && void.contains("no number below can be trusted"), "{void}");
    let page = std::fs::read_to_string(write(dir.path(), &report).expect("write").html).expect("page");
    assert!(page.find("VOID").expect("banner") < page.find("Verdict</h2>").expect("verdict"));
}

#[test]
fn scores_alone_make_a_report_that_says_what_is_missing() {
    let dir = tempfile::tempdir().expect("temp dir");
    let rows: Vec<ScoreRow> =
        (0..60).map(|i| ScoreRow { sample_id: i.to_string(), group: None, member: i < 30, attack: "loss".into(), score: f64::from(i * 37 % 61) }).collect();
    write_scores(&dir.path().join("scores.csv"), &rows).expect("scores");
    let report = build(dir.path()).expect("build");
    assert_eq!(report.models.len(), 1);
    let missing = report.missing.join("\n");
    for file in ["plan.json", "split.json", "controls.json", "scores.json", "models/model/training.json", "logs/model.jsonl"] {
        assert!(missing.contains(file), "{file} is missing in\n{missing}");
    }
    let page = std::fs::read_to_string(write(dir.path(), &report).expect("write").html).expect("page");
    well_formed(&page);
    // 60 images cannot speak about 1 in 100 among 30 non-members.
    assert!(page.contains("not measurable"));
}

#[test]
fn damaged_files_are_named() {
    let dir = tempfile::tempdir().expect("temp dir");
    let empty = build(dir.path()).expect_err("nothing there").to_string();
    assert!(empty.contains("no scores") && empty.contains("dualmd attack"), "{empty}");
    common::run_folder(dir.path());
    std::fs::write(dir.path().join("split.json"), "{\"schema\":1,").expect("write");
    let report = build(dir.path()).expect("an optional file is not fatal");
    assert!(report.missing.iter().any(|m| m.starts_with("split.json cannot be used")), "{:?}", report.missing);
    assert!(report.models.iter().all(|m| m.results.iter().all(|r| r.d1.is_none())));
    std::fs::write(dir.path().join("plan.json"), "{").expect("write");
    let error = build(dir.path()).expect_err("a damaged plan").to_string();
    assert!(error.contains("plan.json") && error.contains("delete it"), "{error}");
    let error = build(Path::new("no/such/run")).expect_err("no folder").to_string();
    assert!(error.contains("no/such/run") && error.contains("dualmd run"), "{error}");
}

#[test]
fn files_of_another_run_raise_a_warning() {
    let dir = tempfile::tempdir().expect("temp dir");
    common::run_folder(dir.path());
    let path = dir.path().join("models/student/training.json");
    let text = std::fs::read_to_string(&path).expect("read").replace("5b1f0c", "beef");
    std::fs::write(&path, text).expect("write");
    let report = build(dir.path()).expect("build");
    assert!(report.warnings.iter().any(|w| w.starts_with("student was trained with another split")), "{:?}", report.warnings);
}

#[test]
fn tables_for_the_terminal() {
    let (_dir, report) = fixture();
    let table = report.terminal_table();
    assert!(table.lines().all(|l| l.chars().count() <= 110), "{table}");
    let after = |name: &str| table.lines().skip_while(|l| !l.starts_with(name)).take(2).map(str::to_owned).collect::<Vec<_>>();
    let student = after("student");
    assert_eq!(student[0].split_whitespace().count(), 11, "{table}");
    assert_eq!(student[1].matches("/64").count(), 5, "{table}");
    assert!(after("teacher-1")[1].contains("(members of D1)") && after("teacher-1")[1].contains("/32"), "{table}");
    assert!(after("kd")[0].contains("failed"), "{table}");
    let csv = report.findings_csv();
    assert!(csv.starts_with("model,defense,attack,members,status"));
    let columns = csv.lines().next().expect("header").split(',').count();
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    assert!(reader.records().all(|r| r.expect("row").len() == columns));
}

#[test]
fn statistics_of_any_score_file() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("s.csv");
    std::fs::write(&path, "member,score\n1,0.9\n1,0.8\n1,0.4\n0,0.7\n0,0.4\n0,0.2\n0,0.1\n").expect("write");
    let scores = read_scores(&path).expect("read");
    let text = roc_table(&scores, &[0.25, 0.01], false).expect("text");
    // By hand: of 12 pairs, 10 in order and one tie.
    assert!(text.contains("AUC 0.8750"), "{text}");
    assert!(text.contains("TPR at  25 % FPR: 0.6667") && text.contains("2/3 members"), "{text}");
    assert!(text.contains("TPR at   1 % FPR: not measurable with n = 4 non-members"), "{text}");
    let json: Value = serde_json::from_str(&roc_table(&scores, &[0.25], true).expect("json")).expect("json");
    assert_eq!(json[0]["auc"], 0.875);
    assert_eq!(json[0]["tpr_at_fpr"][0]["tp"], 2);
    std::fs::write(&path, "member,score\n1,0.9\n").expect("write");
    let error = roc_table(&read_scores(&path).expect("read"), &[0.01], false).expect_err("one side").to_string();
    assert!(error.contains("1 members, 0 non-members"), "{error}");
}

/// Every tag closed in order, no stray `<`, attributes quoted.
fn well_formed(page: &str) {
    const VOID: [&str; 5] = ["meta", "link", "img", "br", "input"];
    let mut open: Vec<String> = Vec::new();
    let mut rest = page.strip_prefix("<!DOCTYPE html>").expect("doctype");
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let end = rest.find('>').expect("an open tag ends");
        let tag = &rest[..end];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closing tag");
        } else {
            let name = tag.split_whitespace().next().expect("a name").to_owned();
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "`<{tag}` is no tag");
            assert_eq!(tag.matches('"').count() % 2, 0, "quotes in <{tag}>");
            if name == "style" || name == "script" {
                let close = rest.find(&format!("</{name}>")).expect("closed");
                rest = &rest[close + name.len() + 3..];
                continue;
            }
            if !VOID.contains(&name.as_str()) {
                open.push(name);
            }
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "left open: {open:?}");
}
