//! What people see without opening the report: the terminal's table, and `findings.csv` in a spreadsheet.

// Each test binary uses a part of the fixture.
#[allow(dead_code)]
mod common;

use dualmd_audit::{Conclusion, Finding, ScoreRow, build, write_scores};
use serde_json::json;

/// Who reads the terminal only reads the word too, and no number that looks like a result.
#[test]
fn a_void_audit_says_so_on_the_terminal() {
    let dir = tempfile::tempdir().expect("temp dir");
    common::run_folder(dir.path());
    let sound = build(dir.path()).expect("build").terminal_table();
    assert!(!sound.contains("VOID"), "{sound}");
    std::fs::write(
        dir.path().join("controls.json"),
        r#"{"blind_baseline": {"auc": 0.93, "auc_ci": [0.90, 0.95]}}"#,
    )
    .expect("write");
    let table = build(dir.path()).expect("build").terminal_table();
    assert!(
        table.starts_with("VOID: ") && table.contains("0.93"),
        "{table}"
    );
    assert!(
        !table.contains("at 1 % false alarms") && !table.contains("0.5 is chance"),
        "{table}"
    );
    assert!(table.lines().all(|l| l.chars().count() <= 110), "{table}");
}

/// A terminal of 40 characters: nothing is wrapped by the terminal, whatever was found, and no number is lost.
#[test]
fn a_narrow_terminal_has_short_lines() {
    let dir = tempfile::tempdir().expect("temp dir");
    common::run_folder(dir.path());
    let mut report = build(dir.path()).expect("build");
    let wide = report.terminal_table();
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for columns in [40, 60, 80, 100, 250] {
        let table = report.terminal_table_in(Some(columns));
        let longest = table.lines().map(|l| l.chars().count()).max();
        assert!(longest <= Some(columns), "{columns} {table}");
        for model in &report.models {
            assert!(table.contains(&model.name), "{columns} {table}");
            for m in model.results.iter().filter_map(|r| r.view(model.primary)) {
                let auc = dualmd_audit::format::rate(m.auc);
                assert!(table.contains(&auc), "{columns} {auc} {table}");
            }
        }
        for verdict in &report.verdict.models {
            let text = verdict.text.replace(['–', '−'], "-");
            assert!(words(&table).contains(&words(&text)), "{columns} {table}");
        }
    }
    let narrow = report.terminal_table_in(Some(40));
    assert!(narrow.contains("- loss: AUC 0.9"), "{narrow}");
    assert!(words(&narrow).contains("kd - loss: AUC "), "{narrow}");
    assert_ne!(narrow, wide);
    report.verdict.void = Some("the sets differ ".repeat(20));
    let void = report.terminal_table_in(Some(40));
    assert!(void.lines().all(|l| l.chars().count() <= 40), "{void}");
}

/// Two lines, in which a void report has no result and a name cannot move the cursor.
#[test]
fn a_report_has_a_summary_of_two_lines() {
    let dir = tempfile::tempdir().expect("temp dir");
    common::run_folder(dir.path());
    let mut report = build(dir.path()).expect("build");
    let [found, todo] = report.summary();
    let leak = format!("{}: baseline", report.conclusion("baseline").words());
    assert!(
        found.contains(&leak) && found.contains("student"),
        "{found}"
    );
    let advice = |name: &str| {
        let own = report.verdict.models.iter().find(|m| m.model == name);
        own.expect("a verdict").advice.clone()
    };
    for name in ["baseline", "student"] {
        let said = format!("{name}: {}", advice(name)).replace('–', "-");
        assert!(todo.contains(&said), "{said}\n{todo}");
    }
    report.verdict.models[0].model = "\u{1b}[2J\n".into();
    assert!(
        report
            .summary()
            .iter()
            .all(|l| !l.contains(['\u{1b}', '\n']))
    );
    report.verdict.void = Some("the sets differ".into());
    let [found, todo] = report.summary();
    assert_eq!(found, "VOID: the sets differ");
    assert!(!todo.contains("baseline"), "{todo}");
}

/// So few images that no leak could have been seen: nothing is called chance, and nobody reads that none was seen.
#[test]
fn a_handful_of_images_says_nothing() {
    let report = |n: usize| {
        let dir = tempfile::tempdir().expect("temp dir");
        let row = |i: usize| ScoreRow {
            sample_id: i.to_string(),
            name: None,
            group: None,
            member: i < n,
            attack: "sima".into(),
            score: (i * 7 % 5) as f64,
        };
        let rows: Vec<ScoreRow> = (0..2 * n).map(row).collect();
        write_scores(&dir.path().join("scores/model.csv"), &rows).expect("scores");
        let described =
            json!({"attack": "sima", "title": "SimA", "access": "white-box", "status": "ok"});
        std::fs::write(
            dir.path().join("scores/model.json"),
            json!({"attacks": [described]}).to_string(),
        )
        .expect("description");
        std::fs::write(
            dir.path().join("plan.json"),
            common::plan(&[("model", "unknown")]).to_string(),
        )
        .expect("plan");
        build(dir.path()).expect("build")
    };
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for (n, members) in [
        (1, "1 member and 1 non-member"),
        (2, "2 members and 2 non-members"),
    ] {
        let report = report(n);
        let verdict = &report.verdict.models[0];
        assert_eq!(
            (&verdict.conclusion, verdict.finding),
            (&Conclusion::Unknown, Finding::Unknown)
        );
        let table = words(&report.terminal_table());
        let said = format!(
            "model: unknown. Nothing can be said: with {members}, leaks below AUC 1.00 would not have been seen. Measure again before anything is published."
        );
        assert!(table.contains(&said), "{table}");
        assert!(
            report.verdict.summary[0].contains("nothing can be said: with "),
            "{:?}",
            report.verdict.summary
        );
        assert!(!table.contains("better than chance"), "{table}");
    }
    assert_eq!(report(12).verdict.models[0].finding, Finding::Chance);
}

#[test]
fn findings_are_text_to_a_spreadsheet() {
    let dir = tempfile::tempdir().expect("temp dir");
    let name = "=1+1";
    common::model_scores(dir.path(), name, "none", &[("loss", (2.0, 2.0))], 1);
    std::fs::write(
        dir.path().join("plan.json"),
        common::plan(&[(name, "none")]).to_string(),
    )
    .expect("plan");
    std::fs::write(
        dir.path().join("scores").join(format!("{name}.json")),
        json!({"attacks": [{"attack": "@boom", "status": "failed", "reason": "-2+3"}]}).to_string(),
    )
    .expect("description");
    let csv = build(dir.path()).expect("build").findings_csv();
    let mut rows = csv::Reader::from_reader(csv.as_bytes());
    let mut seen = Vec::new();
    for row in rows.records() {
        let row = row.expect("row");
        for cell in &row {
            let number = cell.parse::<f64>().is_ok();
            assert!(number || !cell.starts_with(['=', '+', '-', '@']), "{cell}");
            seen.push(cell.to_owned());
        }
    }
    for text in ["'=1+1", "'@boom", "'-2+3"] {
        assert!(seen.iter().any(|cell| cell == text), "{text} in {csv}");
    }
}
