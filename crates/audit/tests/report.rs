//! Reports of run folders with known answers.

// Each test binary uses a part of the fixture.
#[allow(dead_code)]
mod common;

use dualmd_audit::{Finding, Report, build, read_scores, roc_table, write};
use serde_json::{Value, json};

fn fixture() -> (tempfile::TempDir, Report) {
    let dir = tempfile::tempdir().expect("temp dir");
    common::run_folder(dir.path());
    let report = build(dir.path()).expect("build");
    (dir, report)
}

fn text_of(report: &Report, model: &str) -> String {
    report
        .verdict
        .models
        .iter()
        .find(|m| m.model == model)
        .map(|m| m.text.clone())
        .expect("a verdict on the model")
}

fn finding_of(report: &Report, model: &str) -> Finding {
    report
        .verdict
        .models
        .iter()
        .find(|m| m.model == model)
        .map(|m| m.finding)
        .expect("a verdict on the model")
}

#[test]
fn the_verdict_says_what_the_numbers_say() {
    let (_dir, report) = fixture();
    assert!(report.verdict.void.is_none());
    let summary = report.verdict.summary.join("\n");
    let sima = report.models[0]
        .results
        .iter()
        .find(|r| r.attack == "sima")
        .and_then(|r| r.pooled.as_ref())
        .expect("sima");
    let found = sima
        .tpr_at_fpr
        .iter()
        .find(|p| p.fpr == 0.01)
        .expect("1 %")
        .tp;
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
    for part in [
        "gradients (GSA), shadow models (LiRA)",
        "0.1 % and below",
        "1,000 would be needed",
        "failed on at least one model: PIAN",
        "no formal guarantee",
    ] {
        assert!(
            not_tested.contains(part),
            "`{part}` is missing in\n{not_tested}"
        );
    }
    assert_eq!(finding_of(&report, "baseline"), Finding::Leak);
    assert_eq!(finding_of(&report, "kd"), Finding::Leak);
    // The student's SecMI is below chance on D1: not a leak to the attack as it is, and no protection either.
    assert_eq!(finding_of(&report, "student"), Finding::Inverted);
    assert!(
        text_of(&report, "student").contains("Inverted: SecMI on D1"),
        "{}",
        text_of(&report, "student")
    );
    assert!(text_of(&report, "kd").contains("PIAN failed and says nothing."));
}

#[test]
fn teachers_are_judged_on_their_own_half() {
    let (_dir, report) = fixture();
    let text = text_of(&report, "teacher-1");
    assert!(
        text.contains("Strongest of 5 attacks: SimA") && text.contains("of 32 members"),
        "{text}"
    );
    assert!(
        text.contains("Inverted: PIA (AUC 0.0") && text.contains("no protection"),
        "{text}"
    );
    assert!(
        text.contains("Members of D2, which it never saw, do not stand out"),
        "{text}"
    );
    assert!(!text.contains("Pooling hides"), "{text}");
}

#[test]
fn never_a_clean_bill_of_health() {
    let (dir, report) = fixture();
    let written = write(dir.path(), &report).expect("write");
    let page = std::fs::read_to_string(written.html)
        .expect("page")
        .to_lowercase();
    for word in [
        "anonymous",
        "is safe",
        "are safe",
        "is private",
        "privacy-preserving",
        "gdpr-compliant",
    ] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn report_json_keeps_the_contract() {
    let (dir, report) = fixture();
    let written = write(dir.path(), &report).expect("write");
    let json: Value =
        serde_json::from_slice(&std::fs::read(written.json).expect("read")).expect("json");
    assert_eq!(json["schema"], 1);
    assert_eq!(
        json["run"]["command"],
        "dualmd run --preset demo --out runs/demo"
    );
    let student = json["models"]
        .as_array()
        .expect("models")
        .iter()
        .find(|m| m["name"] == "student")
        .expect("student");
    assert_eq!(student["defense"], "distillmd");
    let secmi = student["results"]
        .as_array()
        .expect("results")
        .iter()
        .find(|r| r["attack"] == "secmi")
        .expect("secmi");
    for key in [
        "access",
        "network_calls_per_sample",
        "seconds",
        "n_members",
        "n_nonmembers",
        "auc",
        "auc_ci",
        "tpr_at_fpr",
        "balanced_accuracy",
    ] {
        assert!(!secmi[key].is_null(), "{key}: {secmi}");
    }
    assert_eq!(
        (&secmi["n_members"], &secmi["n_nonmembers"]),
        (&json!(64), &json!(512))
    );
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
    let failed = json["models"][1]["results"]
        .as_array()
        .expect("results")
        .iter()
        .find(|r| r["attack"] == "pian")
        .expect("pian");
    assert_eq!(
        (&failed["status"], failed.get("auc")),
        (&json!("failed"), None)
    );
}

#[test]
fn defended_and_undefended_are_compared_on_the_same_samples() {
    let (_dir, report) = fixture();
    let of = |model: &str, attack: &str| {
        report
            .comparisons
            .iter()
            .find(|c| c.model == model && c.attack == attack)
            .expect("comparison")
    };
    assert!(of("student", "sima").difference_ci[0] > 0.3);
    assert!(of("student", "sima").p_value < 1e-6);
    assert!(
        report
            .comparisons
            .iter()
            .all(|c| !c.model.starts_with("teacher")),
        "teachers know other members"
    );
    let agreement = report.models[0].agreement.as_ref().expect("agreement");
    assert_eq!(
        (
            agreement.attacks,
            agreement.n_members,
            agreement.n_nonmembers
        ),
        (6, 64, 512)
    );
    assert!(
        agreement.by_one >= agreement.by_two
            && agreement.by_two >= agreement.by_all
            && agreement.by_one > 60
    );
    assert!(
        agreement.nonmembers_by_one <= 6 * 5,
        "each attack may mistake 5 of 512"
    );
}

#[test]
fn the_page_is_whole_small_and_loads_nothing() {
    let (dir, report) = fixture();
    let page =
        std::fs::read_to_string(write(dir.path(), &report).expect("write").html).expect("page");
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    common::well_formed(&page);
    for attribute in [
        "src=\"http",
        "href=\"http",
        "src=\"//",
        "@import",
        "url(",
        "<link rel=\"stylesheet\"",
        "<iframe",
    ] {
        assert!(!page.contains(attribute), "{attribute}");
    }
    assert!(page.contains("default-src 'none'"));
    // Samples of four models, six pairs for each of them, twelve exposed members.
    assert_eq!(
        page.matches("src=\"data:image/png;base64,").count(),
        4 + 4 * 12 + 12
    );
    for section in [
        "verdict",
        "attacks",
        "roc",
        "scores",
        "pictures",
        "utility",
        "controls",
        "training",
        "settings",
        "reading",
        "references",
    ] {
        assert!(
            page.contains(&format!("<section id=\"{section}\"")),
            "{section}"
        );
    }
}

#[test]
fn tables_for_the_terminal() {
    let (_dir, report) = fixture();
    let table = report.terminal_table();
    assert!(table.lines().all(|l| l.chars().count() <= 110), "{table}");
    let after = |name: &str| {
        table
            .lines()
            .skip_while(|l| !l.starts_with(name))
            .take(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let student = after("student");
    assert_eq!(student[0].split_whitespace().count(), 11, "{table}");
    assert_eq!(student[1].matches("/64").count(), 5, "{table}");
    assert!(
        after("teacher-1")[1].contains("(members of D1)") && after("teacher-1")[1].contains("/32"),
        "{table}"
    );
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
    std::fs::write(
        &path,
        "member,score\n1,0.9\n1,0.8\n1,0.4\n0,0.7\n0,0.4\n0,0.2\n0,0.1\n",
    )
    .expect("write");
    let scores = read_scores(&path).expect("read");
    let text = roc_table(&scores, &[0.25, 0.01], false).expect("text");
    // By hand: of 12 pairs, 10 in order and one tie.
    assert!(text.contains("AUC 0.8750"), "{text}");
    assert!(
        text.contains("TPR at  25 % FPR: 0.6667") && text.contains("2/3 members"),
        "{text}"
    );
    assert!(
        text.contains("TPR at   1 % FPR: not measurable with n = 4 non-members"),
        "{text}"
    );
    let json: Value =
        serde_json::from_str(&roc_table(&scores, &[0.25], true).expect("json")).expect("json");
    assert_eq!(json[0]["auc"], 0.875);
    assert_eq!(json[0]["tpr_at_fpr"][0]["tp"], 2);
    std::fs::write(&path, "member,score\n1,0.9\n").expect("write");
    let error = roc_table(&read_scores(&path).expect("read"), &[0.01], false)
        .expect_err("one side")
        .to_string();
    assert!(error.contains("1 members, 0 non-members"), "{error}");
}
