//! Run folders that are broken, incomplete, mixed up or malicious.

// Each test binary uses a part of the fixture.
#[allow(dead_code)]
mod common;

use std::path::Path;

use dualmd_audit::{ScoreRow, build, write, write_scores};
use serde_json::json;

#[test]
fn names_cannot_break_out() {
    let dir = tempfile::tempdir().expect("temp dir");
    let evil = "x\"'><script>alert(1)<b>&amp;";
    common::model_scores(dir.path(), "plain", "none", &[("loss", (2.0, 2.0))], 1);
    let row = |i: usize| ScoreRow {
        sample_id: format!("{evil}{i}"),
        name: None,
        group: Some(evil.into()),
        member: i < 20,
        attack: evil.into(),
        score: (i * 7919 % 101) as f64,
    };
    write_scores(
        &dir.path().join("scores").join(format!("{evil}.csv")),
        &(0..120).map(row).collect::<Vec<_>>(),
    )
    .expect("scores");
    let mut plan = common::plan(&[("plain", "none"), (evil, evil), ("../../escape", "none")]);
    for key in [
        "name",
        "command",
        "created",
        "split_hash",
        "experiment_toml",
    ] {
        plan[key] = json!(evil);
    }
    plan["data"]["source"] = json!(evil);
    plan["auditor"] = json!(evil);
    plan["models"][1]["weights_blake3"] = json!(evil);
    plan["models"][0]["repeat_of"] = json!(evil);
    plan["audit"]["compat"] = json!(["pia", evil]);
    plan["audit"]["delta"] = json!(evil);
    let test = json!({"name": evil, "title": evil, "what": evil, "members": 2, "nonmembers": 2, "statistic": 0.1, "p_value": 0.5, "permutations": 9});
    std::fs::create_dir_all(dir.path().join("sets")).expect("mkdir");
    std::fs::write(
        dir.path().join("sets").join(format!("{evil}.json")),
        json!({"features": {evil: evil}, "tests": [test]}).to_string(),
    )
    .expect("sets");
    plan["train"][evil] = json!(evil);
    std::fs::write(dir.path().join("plan.json"), plan.to_string()).expect("plan");
    let info = json!({"attacks": [{"attack": evil, "title": evil, "access": evil, "status": "ok", "parameters": {evil: evil}, "paper": evil, "formula": evil, "misses": evil, "trained_on": {"members": 1, "nonmembers": 1}}, {"attack": "boom", "status": "failed", "reason": evil}], "warnings": [evil], "weights": evil, "dtype": evil});
    std::fs::write(
        dir.path().join("scores").join(format!("{evil}.json")),
        info.to_string(),
    )
    .expect("info");
    std::fs::write(dir.path().join("exposed.json"), json!([{"model": evil, "attack": evil, "id": evil, "png": "../secret.png", "score": 1.0, "rank": 1}]).to_string()).expect("exposed");
    std::fs::write(dir.path().join("controls.json"), json!({"blind_baseline": {"auc": 0.5, "auc_ci": [0.4, 0.6], "features": [evil], "method": evil}}).to_string()).expect("controls");
    let report = build(dir.path()).expect("build");
    assert_eq!(report.models.len(), 2, "a model's name is never a path");
    let page =
        std::fs::read_to_string(write(dir.path(), &report).expect("write").html).expect("page");
    assert!(page.contains("&lt;script&gt;alert(1)"));
    // The new files were read, not passed over.
    assert!(page.contains("<section id=\"sets\"") && page.contains("<section id=\"compat\""));
    let said = |part: &str| report.warnings.iter().any(|w| w.contains(part));
    assert!(
        said("audit.compat") && said("audit.delta"),
        "{:?}",
        report.warnings
    );
    assert_eq!(
        page.matches("<script").count(),
        1,
        "only the page's own script"
    );
    assert!(!page.contains("<b>&"), "unescaped");
    common::well_formed(&page);
}

#[test]
fn void_is_said_first() {
    let dir = tempfile::tempdir().expect("temp dir");
    common::run_folder(dir.path());
    std::fs::write(
        dir.path().join("controls.json"),
        r#"{"blind_baseline": {"auc": 0.93, "auc_ci": [0.90, 0.95]}}"#,
    )
    .expect("write");
    let report = build(dir.path()).expect("build");
    let void = report.verdict.void.as_deref().expect("void");
    assert!(
        void.contains(
            "A classifier that never saw the model separates the two image sets (AUC 0.93"
        ) && void.contains("no number of this audit can be trusted"),
        "{void}"
    );
    let page =
        std::fs::read_to_string(write(dir.path(), &report).expect("write").html).expect("page");
    let at = |part: &str| page.find(part).unwrap_or_else(|| panic!("{part}"));
    assert!(at("VOID") < at("Can someone who already has a picture"));
    assert!(at("Can someone who already has a picture") < at("Verdict</h2>"));
    assert!(
        at("Verdict</h2>")
            < at("Do not decide on this: draw new sets from one source and audit again.")
    );
}

#[test]
fn scores_alone_make_a_report_that_says_what_is_missing() {
    let dir = tempfile::tempdir().expect("temp dir");
    let rows: Vec<ScoreRow> = (0..60)
        .map(|i| ScoreRow {
            sample_id: i.to_string(),
            name: None,
            group: None,
            member: i < 30,
            attack: "loss".into(),
            score: f64::from(i * 37 % 61),
        })
        .collect();
    write_scores(&dir.path().join("scores.csv"), &rows).expect("scores");
    let report = build(dir.path()).expect("build");
    assert_eq!(report.models.len(), 1);
    assert_eq!(report.models[0].title, "Audited model");
    let summary = report.verdict.summary.join(" ");
    assert!(summary.contains("the audited model"), "{summary}");
    let missing = report.missing.join("\n");
    for file in [
        "plan.json",
        "split.json",
        "controls.json",
        "scores.json",
        "models/model/training.json",
        "logs/model.jsonl",
    ] {
        assert!(missing.contains(file), "{file} is missing in\n{missing}");
    }
    let page =
        std::fs::read_to_string(write(dir.path(), &report).expect("write").html).expect("page");
    common::well_formed(&page);
    // 60 images cannot speak about 1 in 100 among 30 non-members.
    assert!(page.contains("not measurable"));
}

#[test]
fn damaged_files_are_named() {
    let dir = tempfile::tempdir().expect("temp dir");
    let empty = build(dir.path()).expect_err("nothing there").to_string();
    assert!(
        empty.contains("no scores") && empty.contains("dualmd attack"),
        "{empty}"
    );
    common::run_folder(dir.path());
    std::fs::write(dir.path().join("split.json"), "{\"schema\":1,").expect("write");
    let report = build(dir.path()).expect("an optional file is not fatal");
    assert!(
        report
            .missing
            .iter()
            .any(|m| m.starts_with("split.json cannot be used")),
        "{:?}",
        report.missing
    );
    assert!(
        report
            .models
            .iter()
            .all(|m| m.results.iter().all(|r| r.d1.is_none()))
    );
    std::fs::write(dir.path().join("plan.json"), "{").expect("write");
    let error = build(dir.path()).expect_err("a damaged plan").to_string();
    assert!(
        error.contains("plan.json") && error.contains("delete it"),
        "{error}"
    );
    let error = build(Path::new("no/such/run"))
        .expect_err("no folder")
        .to_string();
    assert!(
        error.contains("no/such/run") && error.contains("dualmd run"),
        "{error}"
    );
}

/// Rows and labels that do not match the split void the report, which names them; so does a model or a plan of another split.
#[test]
fn files_that_contradict_each_other_void_the_report() {
    let void = |change: &dyn Fn(&Path)| -> Option<String> {
        let dir = tempfile::tempdir().expect("temp dir");
        common::run_folder(dir.path());
        change(dir.path());
        let report = build(dir.path()).expect("build");
        let terminal = report.terminal_table();
        assert_eq!(
            terminal.starts_with("VOID: "),
            report.verdict.void.is_some()
        );
        let page = write(dir.path(), &report).expect("write").html;
        let page = std::fs::read_to_string(page).expect("page");
        assert_eq!(
            page.contains("Do not decide on this: mend what is named and audit again."),
            report.verdict.void.is_some()
        );
        report.verdict.void
    };
    assert_eq!(void(&|_| ()), None);
    let twice = void(&|dir| {
        let path = dir.join("scores/student.csv");
        let text = std::fs::read_to_string(&path).expect("read");
        let row = text.lines().nth(1).expect("a row").to_owned();
        std::fs::write(&path, format!("{text}{row}\n")).expect("write");
    });
    assert!(
        twice.is_some_and(
            |why| why.contains("student have 1 images more than once under one attack")
        ),
        "a doubled row"
    );
    let edit = |file: &str, from: &str, to: &str, dir: &Path| {
        let path = dir.join(file);
        let text = std::fs::read_to_string(&path).expect("read");
        assert!(text.contains(from), "{from}");
        std::fs::write(&path, text.replacen(from, to, 1)).expect("write");
    };
    let says = |void: Option<String>, parts: &[&str]| {
        let void = void.expect("void");
        for part in parts {
            assert!(void.contains(part), "`{part}` is missing in {void}");
        }
    };
    let id = |side: &str, i: usize| format!("{side}{i:030x}");
    // The label of one row is turned: that row is named.
    let row = format!("{},,1,loss", id("aa", 2));
    let turned = format!("{},,0,loss", id("aa", 2));
    let found = void(&|dir| edit("scores/student.csv", &row, &turned, dir));
    says(
        found,
        &[
            "1 rows (1 samples) of the scores of student do not match split.json: row 3",
            &id("aa", 2),
            "a non-member here, a member in split.json",
        ],
    );
    // An image that the split does not know.
    let found = void(&|dir| edit("scores/kd.csv", &id("bb", 0), "cc01", dir));
    says(
        found,
        &[
            "of the scores of kd",
            "row 65 (sample cc01, attack loss): not in split.json",
        ],
    );
    // A member of the split that became a non-member there: every attack's row of it, the first five by name.
    let found = void(&|dir| {
        let path = dir.join("split.json");
        let text = std::fs::read(&path).expect("read");
        let mut split: serde_json::Value = serde_json::from_slice(&text).expect("json");
        let one = split["members"].as_array_mut().expect("members").remove(0);
        split["nonmembers"]
            .as_array_mut()
            .expect("others")
            .push(one);
        std::fs::write(&path, split.to_string()).expect("write");
    });
    says(
        found,
        &[
            "6 rows (1 samples) of the scores of baseline",
            "a member here, a non-member in split.json",
            "and 1 more",
        ],
    );
    // A model, or the plan, of another split.
    let found = void(&|dir| edit("models/student/training.json", "5b1f0c", "beef", dir));
    says(
        found,
        &["student was trained with another split than split.json"],
    );
    let found = void(&|dir| edit("plan.json", "5b1f0c", "beef", dir));
    says(found, &["not the split that plan.json names"]);
    // Without a split: a sample that is on both sides.
    let found = void(&|dir| {
        std::fs::remove_file(dir.join("split.json")).expect("remove");
        let row = format!("{},,1,pia", id("aa", 2));
        edit("scores/student.csv", &row, &row.replace(",1,", ",0,"), dir);
    });
    says(
        found,
        &[
            "1 rows (1 samples) of the scores of student contradict earlier rows",
            "attack pia",
        ],
    );
}

/// What a link in a run folder leads to is not embedded, and the report says that it is not.
#[cfg(unix)]
#[test]
fn pictures_behind_links_are_not_embedded() {
    let dir = tempfile::tempdir().expect("temp dir");
    let run = dir.path().join("run");
    common::run_folder(&run);
    let secret = common::png(5, 7, &[201; 35]);
    std::fs::write(dir.path().join("secret.png"), &secret).expect("write");
    let grid = run.join("samples/baseline/grid.png");
    std::fs::remove_file(&grid).expect("remove");
    std::os::unix::fs::symlink(dir.path().join("secret.png"), &grid).expect("link");
    // A whole folder of samples elsewhere.
    let (student, away) = (run.join("samples/student"), dir.path().join("away"));
    std::fs::rename(&student, &away).expect("rename");
    std::os::unix::fs::symlink(&away, &student).expect("link");
    let exposed = run.join("exposed/3.png");
    std::fs::remove_file(&exposed).expect("remove");
    std::os::unix::fs::symlink("/dev/zero", &exposed).expect("link");
    let report = build(&run).expect("build");
    let page = std::fs::read_to_string(write(&run, &report).expect("write").html).expect("page");
    assert!(!page.contains("width=\"5\" height=\"7\""));
    let missing = report.missing.join("\n");
    for part in [
        "samples/baseline/grid.png: is behind a link",
        "samples/student/grid.png: is behind a link",
        "samples/student/0000.png",
        "exposed/3.png: is behind a link",
    ] {
        assert!(missing.contains(part), "{part} in\n{missing}");
    }
    // Models with pictures but for the two grids, the student's eight pairs and one thumbnail (compare the whole page's test).
    assert_eq!(
        page.matches("src=\"data:image/png;base64,").count(),
        2 + 3 * 12 + 11
    );
}

#[test]
fn pipes_and_devices_in_a_run_folder_are_not_read() {
    use std::os::unix::fs::symlink;
    let make = |link: bool, path: &Path| {
        let _ = std::fs::remove_file(path);
        if link {
            symlink("/dev/zero", path).expect("link");
        } else {
            let made = std::process::Command::new("mkfifo").arg(path).status();
            assert!(made.expect("mkfifo").success());
        }
    };
    for (link, what) in [(true, "a device"), (false, "a pipe (FIFO)")] {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = |name: &str| dir.path().join(name);
        common::model_scores(dir.path(), "plain", "none", &[("loss", (2.0, 2.0))], 1);
        // What a report can do without is left out, and it says so.
        for name in [
            "split.json",
            "controls.json",
            "logs/plain.jsonl",
            "samples/plain/grid.png",
            "sets/plain.json",
            "models/plain/training.json",
        ] {
            let path = path(name);
            std::fs::create_dir_all(path.parent().expect("folder")).expect("mkdir");
            make(link, &path);
        }
        let report = build(dir.path()).expect("build");
        let missing = report.missing.join("\n");
        for name in ["split.json", "controls.json", "sets/plain.json"] {
            let line = missing.lines().find(|l| l.starts_with(name));
            assert!(line.is_some_and(|l| l.contains(what)), "{name}: {missing}");
        }
        // Scores and the plan it cannot.
        for name in ["plan.json", "scores/plain.csv"] {
            let path = path(name);
            make(link, &path);
            let error = build(dir.path()).expect_err("refused").to_string();
            assert!(error.contains(what) && error.contains(name), "{error}");
            std::fs::remove_file(&path).expect("remove");
        }
    }
}

#[test]
fn names_in_a_score_file_do_nothing_on_a_terminal() {
    let dir = tempfile::tempdir().expect("temp dir");
    let evil = "\u{1b}[2J\nfake: AUC 0.5";
    common::model_scores(dir.path(), evil, "none", &[(evil, (2.0, 2.0))], 1);
    let report = build(dir.path()).expect("build");
    let scores = dir.path().join("scores").join(format!("{evil}.csv"));
    let scores = dualmd_audit::read_scores(&scores).expect("scores");
    let rule = dualmd_stats::CompatRule::ALL[0];
    for text in [
        report.terminal_table(),
        dualmd_audit::roc_table(&scores, &[0.1], false).expect("roc"),
        dualmd_audit::compat_table(&scores, rule, &[0.1], false).expect("rule"),
    ] {
        assert!(text.contains("\\u{1b}[2J\\u{a}fake"), "{text:?}");
        assert!(
            !text.contains('\u{1b}') && !text.contains("\nfake"),
            "{text:?}"
        );
    }
    let odd = dir.path().join("\u{1b}[2J.csv");
    std::fs::write(&odd, "member,\u{1b}]0;x\u{7}\n1,2\n").expect("write");
    let error = dualmd_audit::read_scores(&odd)
        .expect_err("no score")
        .to_string();
    assert!(!error.contains(char::is_control), "{error:?}");
    assert!(error.contains("\\u{1b}]0;x\\u{7}"), "{error}");
}
