//! Reports of run folders with known answers.

// Each test binary uses a part of the fixture.
#[allow(dead_code)]
mod common;

use dualmd_audit::report::Released;
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
        "from an unseen one. The strongest of 6 attacks is SimA. It ranks a random member above a random non-member ",
        &format!(
            "At 1 false alarm in 100 it finds {found} of 64 members; guessing finds less than 1."
        ),
        "Against the DistillMD student none of the 6 attacks run here did better than chance. The largest AUC is ",
        "With 64 members, leaks below AUC 0.60 would not have been seen.",
        "Pooling hides a difference between the halves (SecMI: AUC",
        "Compared with the undefended model: the strongest attack has AUC ",
        " and more than 0.999 there (SimA).",
    ] {
        assert!(summary.contains(part), "`{part}` is missing in\n{summary}");
    }
    // Of the pair only images were looked at: it is not held against an attacker with the weights of the other.
    let pair = report.verdict.summary.iter();
    let pair = pair
        .filter(|line| line.contains("the DualMD pair"))
        .find_map(|line| line.split_once("Compared with the undefended model: "))
        .expect("compared")
        .1;
    assert!(
        pair.contains(" here (Nearest image) and ")
            && pair.contains(" there (Nearest image), both by generated images alone."),
        "{pair}"
    );
    let not_tested = report.verdict.not_tested.join("\n");
    for part in [
        "Attacks not run on any model: a classifier trained on SecMI's errors (SecMI-NNs); fluctuation under crops (PFAMI)",
        "gradients of the loss, all timesteps at once (GSA1); gradients of the loss, timestep by timestep (GSA2); shadow models (LiRA); the loss against a reference model; the difference of the two teachers",
        "repeated partial generation against a pair (appendix A.5 of the DualMD paper); distance to generated images in the features of another network; the density of generated images against that of others (DOMIAS). Nothing in this report says what they would find. Why they were not run, and",
        "(grey-box): no attack of this kind was run.",
        "Whole sets of images: no test",
        "one training of each model was audited",
        "Extraction: no training image was looked for among generated ones here; the command dualmd extract does that",
        "attribute inference, model inversion",
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
    // What was run is not among what was not.
    for part in [
        "(SecMI)",
        "(PIA)",
        "(SimA)",
        "generated images.",
        "Run on other",
    ] {
        assert!(!not_tested.contains(part), "`{part}` in\n{not_tested}");
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

/// The attacks that were not run are one sentence in `report.json`, and a list on the page.
#[test]
fn attacks_that_were_not_run_are_a_list_on_the_page() {
    let (dir, report) = fixture();
    let not_run = dualmd_audit::not_run(&report).expect("some were not run");
    assert_eq!(not_run.line(), report.verdict.not_tested[0]);
    assert!(not_run.attacks.len() > 10, "{:?}", not_run.attacks);
    let page = page_of(dir.path(), &report);
    assert!(page.contains("<li>fluctuation under crops (PFAMI)</li>"));
    assert!(!page.contains("(PFAMI);"));
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
    // As of its own half, with 32 members and two looks for each of 5 attacks.
    let smallest = "With 32 members of D2, leaks below AUC 0.";
    assert!(text.contains(smallest), "{text}");
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
            && agreement.by_two == agreement.found_by_several.len()
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
fn without_images_nothing_shows_or_names_one() {
    let (dir, report) = fixture();
    let page = page_of(dir.path(), &report);
    assert!(page.contains("This page contains training images."));
    assert!(page.contains("and the most exposed members are left out: "));
    assert!(!page.contains("This page was made without pictures."));
    let stored = std::fs::read_to_string(dir.path().join("report.json")).expect("report.json");
    assert!(!stored.contains("images_left_out"));
    // A void report shows none, and its page does not say so.
    let mut void = report.clone();
    void.verdict.void = Some("the sets differ".into());
    let page = page_of(dir.path(), &void);
    assert!(!page.contains("data:image/png") && !page.contains("contains training images"));
    let ids: Vec<String> = report.exposed.iter().map(|e| e.id.clone()).collect();
    assert_eq!(ids.len(), 12);
    let summary = report.verdict.summary.clone();
    let report = report.without_images();
    let page = page_of(dir.path(), &report);
    assert!(!page.contains("data:image/png") && !page.contains("contains training images"));
    assert!(page.contains("This page was made without pictures."));
    // The name of the run stays, and the page does not claim otherwise.
    assert!(page.contains("<h1>demo</h1>"));
    assert!(page.contains("The name of the audit and those of its models stay"));
    assert!(!page.contains("the names of folders"));
    assert!(page.contains("and whether the attacks agree are left out: "));
    assert!(!page.contains("and the most exposed members are left out"));
    assert_eq!(report.verdict.summary, summary);
    // Nor a place: a folder may have somebody's name.
    assert!(page.contains("dualmd run --preset demo --out &lt;OUT&gt;"));
    assert!(!page.contains("runs/demo") && !page.contains("Experiment file"));
    for file in ["report.html", "report.json", "findings.csv"] {
        let text = std::fs::read_to_string(dir.path().join(file)).expect(file);
        for id in &ids {
            assert!(!text.contains(&id[..12]), "{file} names {id}");
        }
    }
}

/// Every link leads to a place on the page, and words of the first screen to where they are explained.
#[test]
fn words_of_the_first_screen_are_explained() {
    let (dir, report) = fixture();
    let page = page_of(dir.path(), &report);
    let after = |mark: &str| -> Vec<String> {
        let parts = page.split(mark).skip(1);
        parts
            .filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()))
            .collect()
    };
    let (ids, links) = (after(" id=\""), after("href=\"#"));
    assert!(links.len() > 15, "{links:?}");
    for link in &links {
        assert!(ids.contains(link), "#{link} leads nowhere");
    }
    let (first, _) = page.split_once("<nav").expect("the way to the sections");
    for term in ["auc", "intervals", "found", "halves", "families", "advice"] {
        assert!(first.contains(&format!("href=\"#term-{term}\"")), "{term}");
    }
    // One AUC has several intervals: each says which it is.
    let text = plain(&page);
    for part in [
        "(95 % interval, widened for the choice among the attacks, ",
        "(AUC 0.0",
        "95 % interval of this attack alone ",
        "AUC on the other half",
        "one AUC can have three",
    ] {
        assert!(text.contains(part), "`{part}` is missing");
    }
}

/// A count of copies alone is a whole file: the weights of the features' network may be missing.
#[test]
fn copies_stand_beside_what_unseen_images_score() {
    let found = |copies: usize, distinct: usize| {
        let share_ci = if copies > 10 {
            [0.11, 0.2]
        } else {
            [0.001, 0.03]
        };
        json!({"copies": copies, "share_ci": share_ci, "distinct": distinct, "threshold": 0.81})
    };
    let counted = |features: &str, likeness: &str, copies: usize| {
        json!({
            "features": features, "likeness": likeness, "n_generated": 256, "n_members": 64, "n_heldout": 512,
            "false_copy_rate": 5.0 / 513.0, "found": found(copies, 7),
            "control": {"n": 64, "false_copy_rate": 1.0 / 65.0, "members": found(copies - 1, 6), "heldout": found(2, 2)},
            "pairs": [{"generated": 17, "member_id": "abc", "likeness": 0.99}], "own_prompt": null,
        })
    };
    let dir = tempfile::tempdir().expect("temp dir");
    common::run_folder(dir.path());
    let utility = dir.path().join("utility");
    std::fs::create_dir_all(&utility).expect("folder");
    let file = |name: &str, value: Value| {
        std::fs::write(utility.join(format!("{name}.json")), value.to_string()).expect("file");
    };
    let [sscd, pixels] = [("sscd-512", "cosine", 41), ("pixels-28x28", "rmse", 3)]
        .map(|(features, likeness, copies)| counted(features, likeness, copies));
    file("baseline", json!({ "copies": [sscd, pixels] }));
    file(
        "student",
        json!({ "copies": [counted("pixels-28x28", "rmse", 3)] }),
    );
    let report = build(dir.path()).expect("build");
    let model = &report.models[0];
    assert!(model.image_utility.is_none(), "no distances were measured");
    assert_eq!(
        (model.copying.len(), model.copying[0].found.copies),
        (2, 41)
    );
    let written = write(dir.path(), &report).expect("write");
    let page = std::fs::read_to_string(written.html).expect("page");
    common::well_formed(&page);
    for part in [
        "<section id=\"copies\"",
        "above 0.810",
        "below 0.810",
        "16 % (11–20)",
        "40 of 256 generated images pass for copies of training images, where chance explains 2.",
        "a threshold that 1.5 % of real images of the other side pass",
    ] {
        assert!(page.contains(part), "`{part}` is missing");
    }
    // Two thresholds, two numbers: each says which it is, and the verdict has that of the first.
    let text = plain(&page);
    let row = "sscd-512 40 of 256 2 41 of 256 16 % (11–20) 7 above 0.810 cosine";
    assert!(text.contains(row), "{text}");
    let named = "held against all images by a threshold of its own";
    assert!(text.contains(named), "{text}");
    assert!(
        text_of(&report, "baseline").contains(
            "Copies: 40 of 256 generated images pass for copies of training images, where chance explains 2, compared by sscd-512."
        ),
        "{}",
        text_of(&report, "baseline")
    );
    assert!(!page.contains("own image, members"));
    let json: Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("report.json")).expect("report"))
            .expect("JSON");
    assert_eq!(
        json["models"][0]["copying"][0]["pairs"][0]["member_id"],
        "abc"
    );
    // With captions there is more to say; equal counts are no copying.
    let mut text = counted("sscd-distilled-512", "cosine", 3);
    text["own_prompt"] = json!({"members": 0.61, "heldout": 0.27});
    file("baseline", json!({ "copies": [text] }));
    let report = build(dir.path()).expect("build");
    let page =
        std::fs::read_to_string(write(dir.path(), &report).expect("write").html).expect("page");
    assert!(page.contains("own image, members") && page.contains("0.610"));
    assert!(page.contains("count is clearly beyond what chance explains"));
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

fn page_of(dir: &std::path::Path, report: &Report) -> String {
    let page = std::fs::read_to_string(write(dir, report).expect("write").html).expect("page");
    common::well_formed(&page);
    page
}

/// The text of the page without its tags, spaces run together.
fn plain(page: &str) -> String {
    let (mut out, mut inside) = (String::new(), false);
    for c in page.chars() {
        match c {
            '<' => inside = true,
            '>' => {
                inside = false;
                out.push(' ');
            }
            c if !inside => out.push(c),
            _ => {}
        }
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn extended() -> (tempfile::TempDir, Report) {
    let dir = tempfile::tempdir().expect("temp dir");
    common::run_folder(dir.path());
    common::extras(dir.path());
    let report = build(dir.path()).expect("build");
    (dir, report)
}

#[test]
fn an_attack_that_learnt_is_judged_on_the_rest() {
    let (dir, report) = extended();
    let baseline = &report.models[0];
    let of = |name: &str| {
        let mut results = baseline.results.iter();
        results.find(|r| r.attack == name).expect(name)
    };
    // 64 members and 512 non-members without every fifth: 13 and 103 were told.
    let learnt = of("secmi-nn");
    assert_eq!(learnt.samples_scored, 576 - 116);
    let m = learnt.pooled.as_ref().expect("scores");
    assert_eq!((m.n_members, m.n_nonmembers), (51, 409));
    assert_eq!(of("secmi").samples_scored, 576);
    // Compared on what both scored, never on different images.
    let [same] = &baseline.same_images[..] else {
        panic!("{:?}", baseline.same_images);
    };
    assert_eq!(
        (same.attack.as_str(), same.other.as_str()),
        ("secmi-nn", "sima")
    );
    assert_eq!((same.n_members, same.n_nonmembers), (51, 409));
    assert_eq!(same.auc, m.auc);
    let agreement = baseline.agreement.as_ref().expect("agreement");
    assert_eq!(
        (
            agreement.attacks,
            agreement.n_members,
            agreement.n_nonmembers
        ),
        (7, 51, 409)
    );
    assert_eq!(baseline.chosen.as_ref().expect("chosen").compared, 7);
    let kd = report.models.iter().find(|m| m.name == "kd").expect("kd");
    let agreement = kd.agreement.as_ref().expect("agreement");
    assert_eq!((agreement.n_members, agreement.n_nonmembers), (64, 336));
    let page = page_of(dir.path(), &report);
    let text = plain(&page);
    for part in [
        "SecMI-NNs was told of 13 members and 103 non-members which they are, learnt from these, and is scored on the 460 images not used for its training (Undefended model (baseline) and DistillMD student).",
        "Nearest image scored 400 of 576 images (Ordinary distillation).",
        "460 images",
        "51 + 409",
    ] {
        assert!(text.contains(part), "`{part}` is missing");
    }
    let not_tested = report.verdict.not_tested.join("\n");
    assert!(
        not_tested.contains("Run on other models, but not on Ordinary distillation, Teacher 1 and Teacher 2: SecMI-NNs."),
        "{not_tested}"
    );
    assert!(!not_tested.contains("(SecMI-NNs)"), "{not_tested}");
}

/// Images that a model generated are counted at the attack's own threshold; they enter no other number.
#[test]
fn a_models_own_images_are_a_control() {
    let (dir, before) = fixture();
    let path = dir.path().join("scores/baseline.json");
    let mut info: Value = read_json(&path);
    let rows = read_scores(&dir.path().join("scores/baseline.csv"))
        .expect("scores")
        .rows;
    let others = || {
        rows.iter()
            .filter(|r| r.attack == "sima" && !r.member)
            .map(|r| r.score)
    };
    let (lowest, highest) = (
        others().fold(f64::MAX, f64::min),
        others().fold(f64::MIN, f64::max),
    );
    let sima = info["attacks"]
        .as_array_mut()
        .expect("attacks")
        .iter_mut()
        .find(|a| a["attack"] == "sima")
        .expect("sima");
    // Three above every non-member, one below.
    sima["own"] =
        json!({"of": "00", "scores": [highest + 1.0, highest + 2.0, highest + 3.0, lowest - 1.0]});
    std::fs::write(&path, serde_json::to_vec(&info).expect("json")).expect("written");
    let report = build(dir.path()).expect("build");
    let result = |report: &Report| {
        report.models[0]
            .results
            .iter()
            .find(|r| r.attack == "sima")
            .expect("sima")
            .clone()
    };
    let own = result(&report).own.expect("own images");
    assert_eq!((own.n, own.auc), (4, 0.75));
    assert!(
        own.counted_at_fpr
            .iter()
            .all(|p| p.tp == 3 && p.n_members == 4),
        "{own:?}"
    );
    assert_eq!(
        serde_json::to_value(result(&report).pooled).expect("json"),
        serde_json::to_value(result(&before).pooled).expect("json")
    );
    let text = plain(&page_of(dir.path(), &report));
    assert!(
        text.contains("3 of 4 images of Undefended model's own as members at 1 % false alarms"),
        "{text}"
    );
    assert!(!plain(&page_of(dir.path(), &before)).contains("Own images counted as members"));
}

fn read_json(path: &std::path::Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("read")).expect("json")
}

/// A comparison is void where one of its audits is, whichever comes first.
#[test]
fn a_comparison_with_a_void_audit_is_void() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().expect("temp dir"));
    for dir in &dirs {
        common::run_folder(dir.path());
    }
    let compared = |order: [usize; 2]| {
        let named = order.map(|i| (format!("audit-{i}"), dirs[i].path().to_owned()));
        dualmd_audit::compare(&named, serde_json::Map::new()).expect("compared")
    };
    assert!(compared([0, 1]).verdict.void.is_none());
    common::void(dirs[1].path());
    for order in [[0, 1], [1, 0]] {
        assert!(compared(order).verdict.void.is_some(), "{order:?}");
    }
}

/// A comparison says of each audit when, by whom and how it was made, and keeps what all plans say alike.
#[test]
fn a_comparison_says_whence_its_audits_are() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().expect("temp dir"));
    for (i, dir) in dirs.iter().enumerate() {
        common::run_folder(dir.path());
        let path = dir.path().join("plan.json");
        let mut plan = read_json(&path);
        plan["created"] = format!("2026-11-2{i}T05:09:00Z").into();
        plan["auditor"] = "A. Auditor".into();
        plan["versions"]["commit"] = format!("commit-{i}").into();
        plan["data"]["source"] =
            format!("members photos/seen{i}, non-members photos/unseen").into();
        std::fs::write(&path, plan.to_string()).expect("written");
    }
    let named = [0, 1].map(|i| (format!("audit-{i}"), dirs[i].path().to_owned()));
    let made = json!({"created": "2026-12-01T10:00:00Z", "auditor": "C. Comparer"});
    let made = made.as_object().expect("an object").clone();
    let report = dualmd_audit::compare(&named, made).expect("compared");
    let audits = dualmd_audit::facts::compared(&report);
    assert_eq!(
        audits[1].created.as_deref(),
        Some("21 November 2026, 05:09 UTC")
    );
    assert_eq!(audits[1].commit.as_deref(), Some("commit-1"));
    assert_eq!(
        audits[0].command.as_deref(),
        Some("dualmd run --preset demo --out runs/demo")
    );
    // The sources differ, the rest of what is known of the images does not.
    assert_eq!(report.run["data"]["members"], 64);
    assert_eq!(report.run["data"]["source"], Value::Null);
    let out = tempfile::tempdir().expect("temp dir");
    let text = plain(&page_of(out.path(), &report));
    for part in [
        "put together 1 December 2026, 10:00 UTC",
        "All numbers come from the files of the audits that were put together: scores/*.csv in the folder of each",
        "Put together by C. Comparer",
        "audit-1 21 November 2026, 05:09 UTC A. Auditor 0.1.0 commit-1 members photos/seen1, non-members photos/unseen dualmd run --preset demo",
        "By whom: A. Auditor. When: 20 November 2026, 05:09 UTC (audit-0); 21 November 2026, 05:09 UTC (audit-1).",
    ] {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
    let folder = dirs[0].path().display().to_string();
    let away = serde_json::to_string(&report.without_images()).expect("json");
    assert!(
        !away.contains(&folder) && !away.contains("photos/") && away.contains("commit-1"),
        "{away}"
    );
}

/// In a comparison, too, the weights of a pair are those of its own audit's teachers; what is left out is named.
#[test]
fn a_pair_that_is_compared_keeps_its_teachers() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().expect("temp dir"));
    for dir in &dirs {
        common::run_folder(dir.path());
        common::extras(dir.path());
    }
    let single = build(dirs[0].path()).expect("build");
    let named = [0, 1].map(|i| (format!("audit-{i}"), dirs[i].path().to_owned()));
    let report = dualmd_audit::compare(&named, serde_json::Map::new()).expect("compared");
    let weights = |report: &Report, model: &str| {
        let mut lines = report.verdict.releases.iter();
        let line = lines.find(|l| l.model == model && l.what == Released::Weights);
        line.expect("a line").clone()
    };
    let alone = weights(&single, "dualmd");
    let teacher = alone.strongest.expect("its teachers were attacked").model;
    for i in [0, 1] {
        let line = weights(&report, &format!("audit-{i} dualmd"));
        assert_eq!(line.advice, alone.advice);
        let strongest = line.strongest.expect("its teachers were attacked");
        assert_eq!(strongest.model, format!("audit-{i}-{teacher}"));
    }
    // Nobody is told to publish a teacher.
    let mut lines = report.verdict.releases.iter();
    assert!(lines.all(|l| !l.model.contains("teacher")));
    let not_tested = report.verdict.not_tested.join("\n");
    assert!(
        not_tested.contains("one training of each model is compared here"),
        "{not_tested}"
    );
    let missing = report.missing.join("\n");
    assert!(
        missing.contains("audit-1: left out of this comparison, and in the report of that audit: baseline.s1 and baseline.s2"),
        "{missing}"
    );
}

/// Where the audits divide the members otherwise, nobody knows which half a teacher saw: it is left out, and not judged on all members.
#[test]
fn teachers_of_another_split_are_not_compared() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().expect("temp dir"));
    for dir in &dirs {
        common::run_folder(dir.path());
    }
    std::fs::remove_file(dirs[1].path().join("split.json")).expect("removed");
    let exposed = dirs[0].path().join("exposed.json");
    let mut list = read_json(&exposed);
    list[0]["model"] = "teacher-1".into();
    std::fs::write(&exposed, list.to_string()).expect("written");
    let named = [0, 1].map(|i| (format!("audit-{i}"), dirs[i].path().to_owned()));
    let report = dualmd_audit::compare(&named, serde_json::Map::new()).expect("compared");
    let teachers = |audit: &str| {
        let own = format!("{audit}-teacher-");
        let models = report.models.iter();
        models.filter(|m| m.name.starts_with(&own)).count()
    };
    assert_eq!((teachers("audit-0"), teachers("audit-1")), (0, 2));
    // Nor are the members that it exposes most.
    let mut exposed = report.exposed.iter();
    assert!(exposed.all(|e| e.model.ends_with(" baseline")));
    assert_eq!(report.exposed.len(), 11 + 12);
    let missing = report.missing.join("\n");
    assert!(
        missing.contains("audit-0: left out of this comparison, and in the report of that audit: teacher-1 and teacher-2"),
        "{missing}"
    );
    let mut lines = report.verdict.releases.iter();
    let line = lines.find(|l| l.model == "audit-0 dualmd" && l.what == Released::Weights);
    let line = line.expect("a line");
    let said = dualmd_audit::release::with_less(line, &report.models);
    assert!(
        said.is_none_or(|said| said.ends_with("; its teachers are no part of this comparison")),
        "{line:?}"
    );
}

/// The head of a page calls folders by their own names; the settings have the whole way.
#[test]
fn the_head_has_the_folders_own_names() {
    let (dir, _) = fixture();
    let path = dir.path().join("plan.json");
    let mut plan = read_json(&path);
    plan["data"]["source"] =
        "members /srv/a/long/way/seen, non-members /srv/a/long/way/unseen".into();
    std::fs::write(&path, plan.to_string()).expect("written");
    let report = build(dir.path()).expect("build");
    let text = plain(&page_of(dir.path(), &report));
    let (head, rest) = text.split_once("Can someone").expect("the question");
    assert!(
        head.contains("members seen, non-members unseen at 16×16 pixels"),
        "{head}"
    );
    let whole = "members /srv/a/long/way/seen, non-members /srv/a/long/way/unseen";
    assert!(rest.contains(whole), "{rest}");
    let away = plain(&page_of(dir.path(), &report.without_images()));
    assert!(
        !away.contains("/srv") && !away.contains("members seen"),
        "{away}"
    );
}

/// The strongest attack on a model at one threshold: whom it calls a training image, and whom it does not.
#[test]
fn calls_are_counted_four_ways() {
    let (dir, report) = fixture();
    let strongest = report.models[0].strongest().expect("attacked");
    let measured = strongest.view(report.models[0].primary).expect("scores");
    let mut points = measured.tpr_at_fpr.iter();
    let p = points.find(|p| p.fpr == 0.01).expect("1 %");
    assert!(p.tp > 60 && p.fp <= 5, "{p:?}");
    let text = plain(&page_of(dir.path(), &report));
    let (_, table) = text
        .split_once("Right and wrong calls of the strongest attack")
        .expect("the table");
    let row = format!(
        "Undefended model {} {} {} {} {}",
        strongest.title,
        p.tp,
        64 - p.tp,
        p.fp,
        512 - p.fp
    );
    assert!(table.contains(&row), "{row} in\n{table}");
    // A teacher is judged on its own half.
    assert!(table.contains("Teacher 1 on D1 SimA "), "{table}");
    // A void report counts nobody.
    let mut void = report.clone();
    void.verdict.void = Some("the sets differ".into());
    assert!(!page_of(dir.path(), &void).contains("Right and wrong calls"));
}

/// Every kind of attacker has a row with the strongest attack of that kind, and one that was not tested says so.
#[test]
fn who_could_do_it() {
    let (dir, _) = extended();
    let path = dir.path().join("scores/student.json");
    let text = std::fs::read_to_string(&path).expect("student.json");
    let mut info: Value = serde_json::from_str(&text).expect("json");
    // On the student the classifier was taught by a shadow model.
    for attack in info["attacks"].as_array_mut().expect("attacks") {
        if attack["attack"] == "secmi-nn" {
            attack["trained_on"] = Value::Null;
            attack["shadow"] = json!({"members": 64, "nonmembers": 512});
        }
    }
    std::fs::write(&path, info.to_string()).expect("written");
    let report = build(dir.path()).expect("build");
    let text = plain(&page_of(dir.path(), &report));
    let table = text.split_once("Who could do it").expect("the table").1;
    let table = table
        .split_once("The strongest attack of each kind")
        .expect("its caption")
        .0;
    let row = |who: &str| {
        let (_, rest) = table
            .split_once(who)
            .unwrap_or_else(|| panic!("{who} in {table}"));
        // Up to the next kind of attacker.
        let ends = ["sees generated", "queries the model", "holds the weights"];
        let end = ends.iter().filter_map(|e| rest.find(e)).min();
        rest[..end.unwrap_or(rest.len())].to_owned()
    };
    assert!(row("sees generated images black-box").contains("Nearest image"));
    let grey = row("queries the model at chosen steps grey-box");
    assert_eq!(
        grey.matches("not tested").count(),
        report.models.len(),
        "{grey}"
    );
    assert!(row("holds the weights white-box").contains("SimA, of "));
    let shadow = row("holds the weights, trains such models on other images white-box");
    assert_eq!(shadow.matches("SecMI-NNs").count(), 1, "{shadow}");
    assert_eq!(
        shadow.matches("not tested").count(),
        report.models.len() - 1
    );
    let told = row("holds the weights, knows a part of the members white-box");
    assert_eq!(told.matches("SecMI-NNs").count(), 1, "{told}");
    assert!(text.contains(
        "SecMI-NNs: the shadow model was trained on 64 other images and did not see 512 more"
    ));
}

#[test]
fn bounds_on_epsilon() {
    let (dir, report) = fixture();
    let of = |model: &str, attack: &str| {
        let mut models = report.models.iter();
        let model = models.find(|m| m.name == model).expect(model);
        let mut results = model.results.iter();
        let result = results.find(|r| r.attack == attack).expect(attack);
        result.epsilon.clone().expect("a bound")
    };
    let strong = of("baseline", "sima");
    assert_eq!((strong.n_members, strong.n_nonmembers), (32, 256));
    assert!(
        strong.lower > 1.0 && strong.lower <= strong.ceiling,
        "{strong:?}"
    );
    // All of 32 and none of 256, each bound at 2.5 % one-sided.
    let (found, alarms) = (
        0.025_f64.powf(1.0 / 32.0),
        1.0 - 0.025_f64.powf(1.0 / 256.0),
    );
    assert!((strong.ceiling - ((found - 1e-5) / alarms).ln()).abs() < 1e-9);
    assert_eq!(of("student", "loss").lower, 0.0);
    // A teacher's bound is about its own half of the members.
    assert_eq!(of("teacher-1", "sima").n_members, 16);
    let text = plain(&page_of(dir.path(), &report));
    for part in [
        "ε is at least",
        "No ε is refuted",
        "No attack on as many images could have shown more than",
        "no upper bound is implied",
        "At δ = 0.00001 and 95 % confidence",
        // Of 32 members and 256 non-members; rounded down to one decimal.
        "No attack on as many images could have shown more than 4.1.",
        "Not applicable. Members and non-members were drawn in fixed numbers",
        "--set data.method=coin-flip",
    ] {
        assert!(text.contains(part), "`{part}` is missing");
    }
    let csv = report.findings_csv();
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers().expect("header").clone();
    let at = |name: &str| header.iter().position(|h| h == name).expect("column");
    let row = reader
        .records()
        .map(|r| r.expect("row"))
        .find(|r| &r[0] == "baseline" && &r[2] == "sima" && &r[3] == "all")
        .expect("row");
    assert_eq!(row[at("epsilon_lower")], strong.lower.to_string());
    assert_eq!(&row[at("epsilon_delta")], "0.00001");
    assert_eq!(&row[at("samples_scored")], "576");
    assert_eq!(&row[at("one_run_epsilon_lower")], "");
}

/// What DP-SGD claims stands beside what the attacks show, and a contradiction is said aloud; one at a larger delta is none.
#[test]
fn a_guarantee_stands_beside_the_bound() {
    for (claimed, delta, contradicted) in [
        (0.01, 1e-6, true),
        (100.0, 1e-6, false),
        (0.01, 1e-3, false),
    ] {
        let dir = tempfile::tempdir().expect("temp dir");
        common::run_folder(dir.path());
        let path = dir.path().join("models/baseline/training.json");
        let text = std::fs::read(&path).expect("training.json");
        let mut training: Value = serde_json::from_slice(&text).expect("json");
        training["privacy"] = serde_json::json!({ "epsilon": claimed, "delta": delta, "noise_multiplier": 1.5, "accountant": "RDP" });
        std::fs::write(&path, training.to_string()).expect("written");
        let report = build(dir.path()).expect("build");
        let text = plain(&page_of(dir.path(), &report));
        assert!(text.contains("DP-SGD claims that it is at most"), "{text}");
        assert_eq!(
            text.contains("the attack contradicts that"),
            contradicted,
            "{claimed} {delta}"
        );
        assert!(
            text.contains("Model with a guarantee") && text.contains("not recorded RDP"),
            "{text}"
        );
        let json: Value = serde_json::to_value(&report).expect("json");
        assert_eq!(json["models"][0]["utility"]["privacy"]["epsilon"], claimed);
    }
    let (dir, report) = fixture();
    assert!(!plain(&page_of(dir.path(), &report)).contains("Model with a guarantee"));
}

/// The second accountant's bounds stand beside the claim, and a contradiction of the tighter one is said, too.
#[test]
fn both_accountants_stand_in_the_report() {
    for (upper, shown, contradicted) in [
        (90.0, "0.0100 to 90.0", false),
        (0.02, "0.0100 to 0.0200", true),
    ] {
        let dir = tempfile::tempdir().expect("temp dir");
        common::run_folder(dir.path());
        let path = dir.path().join("models/baseline/training.json");
        let text = std::fs::read(&path).expect("training.json");
        let mut training: Value = serde_json::from_slice(&text).expect("json");
        training["privacy"] = json!({
            "epsilon": 100.0, "delta": 1e-6, "accountant": "RDP",
            "prv": { "lower": 0.01, "estimate": 0.015, "upper": upper }
        });
        std::fs::write(&path, training.to_string()).expect("written");
        let report = build(dir.path()).expect("build");
        let text = plain(&page_of(dir.path(), &report));
        assert!(text.contains(shown), "{text}");
        assert!(text.contains("slack of the proof"), "{text}");
        let said = "PRV accountant finds at most";
        assert_eq!(text.contains(said), contradicted, "{text}");
        let json: Value = serde_json::to_value(&report).expect("json");
        let prv = &json["models"][0]["utility"]["privacy"]["prv"];
        assert_eq!(prv["upper"], upper);
    }
}

#[test]
fn coin_flips_allow_the_audit_of_one_run() {
    let dir = tempfile::tempdir().expect("temp dir");
    common::coin_flips(dir.path(), "coin-flip", 3.0);
    let report = build(dir.path()).expect("build");
    let run = report.models[0].one_run.as_ref().expect("applies");
    assert_eq!((run.canaries, run.compared), (300, 1));
    assert!(run.lower > 1.5 && run.lower <= run.ceiling, "{run:?}");
    let json: Value = serde_json::to_value(&report).expect("json");
    assert_eq!(json["models"][0]["one_run"]["lower"], run.lower);
    let text = plain(&page_of(dir.path(), &report));
    assert!(text.contains("a coin decided on every image") && !text.contains("Not applicable."));
    let csv = report.findings_csv();
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers().expect("header").clone();
    let at = header.iter().position(|h| h == "one_run_epsilon_lower");
    let row = reader.records().next().expect("a row").expect("row");
    assert_eq!(row[at.expect("column")], run.lower.to_string());
    // The same scores from a split of fixed size: not a word of it.
    common::coin_flips(dir.path(), "half", 3.0);
    let report = build(dir.path()).expect("build");
    assert!(report.models[0].one_run.is_none());
    let why = report.models[0].one_run_missing.as_deref();
    assert!(why.is_some_and(|w| w.contains("fixed numbers")), "{why:?}");
    // Delta is the plan's, and nonsense there is said.
    let mut plan = common::plan(&[("baseline", "none")]);
    for (delta, used, said) in [(json!(1e-3), 1e-3, false), (json!(2), 1e-5, true)] {
        plan["audit"]["delta"] = delta;
        std::fs::write(dir.path().join("plan.json"), plan.to_string()).expect("plan");
        let report = build(dir.path()).expect("build");
        let bound = report.models[0].results[0].epsilon.as_ref().expect("bound");
        assert_eq!(bound.delta, used);
        let warned = report.warnings.iter().any(|w| w.contains("audit.delta"));
        assert_eq!(warned, said);
    }
}

#[test]
fn repeated_trainings_are_combined() {
    let (dir, report) = extended();
    let [repeated] = &report.repeated[..] else {
        panic!("{:?}", report.repeated);
    };
    assert_eq!(repeated.base, "baseline");
    assert_eq!(repeated.models, ["baseline", "baseline.s1", "baseline.s2"]);
    // The attacks that the repeats have, and no other.
    let names: Vec<&str> = repeated.attacks.iter().map(|a| a.attack.as_str()).collect();
    assert_eq!(names, ["loss", "nn"]);
    let nn = &repeated.attacks[1].auc;
    let values: Vec<f64> = nn.values.iter().map(|v| v.1).collect();
    let mean = values.iter().sum::<f64>() / 3.0;
    assert!((nn.summary.mean - mean).abs() < 1e-12);
    let sd = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
    let [low, high] = nn.summary.between_ci.expect("three trainings");
    // Student's t with two degrees of freedom: 4.303.
    assert!((high - low - 2.0 * 4.302_653 * sd / 3.0_f64.sqrt()).abs() < 1e-6);
    let single = report.models[0].results.iter().find(|r| r.attack == "nn");
    let ci = single.and_then(|r| r.pooled.as_ref()).expect("nn").auc_ci;
    let within = nn.summary.within_se.expect("standard error");
    assert!((within - (ci[1] - ci[0]) / 3.92).abs() < 0.01, "{within}");
    // Repeats are no defended models: nothing is compared with the undefended one for them.
    assert!(report.comparisons.iter().all(|c| !c.model.contains(".s")));
    let not_tested = report.verdict.not_tested.join("\n");
    assert!(
        not_tested.contains("recipes were trained 3 times with different seeds; trained once only"),
        "{not_tested}"
    );
    let json: Value = serde_json::to_value(&report).expect("json");
    assert_eq!(json["repeated"][0]["attacks"][1]["auc"]["n"], 3);
    assert_eq!(json["models"][7]["repeat_of"], "baseline");
    let page = page_of(dir.path(), &report);
    assert!(page.contains("<section id=\"repeats\""));
    // With one training each there is nothing to combine.
    let (dir, report) = fixture();
    assert!(report.repeated.is_empty());
    assert!(!page_of(dir.path(), &report).contains("Repeated trainings"));
}

#[test]
fn public_codes_speak_only_when_asked() {
    let (dir, report) = extended();
    let sima = report.models[0]
        .results
        .iter()
        .find(|r| r.attack == "sima")
        .expect("sima");
    let rules: Vec<&str> = sima.compat.iter().map(|c| &*c.rule).collect();
    assert_eq!(rules, ["secmi", "midm"]);
    let secmi = sima.compat[0].summary.as_ref().expect("numbers");
    assert!(secmi.auc.is_some_and(|auc| auc > 0.5) && secmi.tpr_at_fpr.len() == 2);
    let page = page_of(dir.path(), &report);
    let section = page
        .split("<section id=\"compat\"")
        .nth(1)
        .expect("section");
    assert!(plain(section).contains("Not for conclusions."));
    let (dir, report) = fixture();
    assert!(!page_of(dir.path(), &report).contains("<section id=\"compat\""));
    let json: Value = serde_json::to_value(&report).expect("json");
    assert!(json["models"][0]["results"][0].get("compat").is_none());
}

#[test]
fn whole_sets_are_shown_and_impossible_p_values_are_not() {
    let (dir, report) = extended();
    let mut models = report.models.iter();
    let student = models.find(|m| m.name == "student").expect("student");
    let sets = student.sets.as_ref().expect("sets");
    let titles: Vec<&str> = sets.tests.iter().map(|t| t.title.as_str()).collect();
    assert_eq!(titles, ["Errors of the model", "mmd-pixels"]);
    assert!(
        report
            .warnings
            .iter()
            .any(|w| w.contains("broken") && w.contains("p-value 0")),
        "{:?}",
        report.warnings
    );
    let not_tested = report.verdict.not_tested.join("\n");
    assert!(
        not_tested.contains("Whole sets of images: tested on DistillMD student only."),
        "{not_tested}"
    );
    let text = plain(&page_of(dir.path(), &report));
    for part in [
        "Compared for DistillMD student: residuals at t = 200.",
        "0.004 of 999 told apart",
        "0.41 of 999 not told apart",
        "How often k images of one person prove that they were used",
    ] {
        assert!(text.contains(part), "`{part}` is missing");
    }
    std::fs::write(dir.path().join("sets/student.json"), "{\"tests\": 3}").expect("write");
    let report = build(dir.path()).expect("an optional file is not fatal");
    assert!(
        report
            .missing
            .iter()
            .any(|m| m.starts_with("sets/student.json cannot be used")),
        "{:?}",
        report.missing
    );
}

#[test]
fn who_audited_which_weights() {
    let (dir, report) = extended();
    let text = plain(&page_of(dir.path(), &report));
    for part in [
        "Auditor A. Auditor, for the hospital",
        &"0a".repeat(32),
        "no weights of its own",
        "By whom: A. Auditor, for the hospital. When: 24 November 2026, 05:09 UTC. Hashes of the weights: recorded for 1 of 7 models.",
    ] {
        assert!(text.contains(part), "`{part}` is missing");
    }
    let (dir, report) = fixture();
    let text = plain(&page_of(dir.path(), &report));
    assert!(text.contains("Auditor not recorded"));
    assert!(text.contains(
        "By whom: not recorded. When: 24 November 2026, 05:09 UTC. Hashes of the weights: not recorded."
    ));
}

/// Of a text-to-image run: what each model drew for the same texts, a few of members and a few of others, and the text beside a
/// generated image and its nearest training image.
#[test]
fn images_stand_beside_their_prompts() {
    let (dir, _) = fixture();
    for model in ["baseline", "student"] {
        let entry = |i: usize| {
            // Two images for each text: six texts of members, then six of others. The files of the last are not there.
            json!({"png": format!("{i:04}.png"), "prompt": format!("a <coat> & hat, {}", i / 2), "id": "x", "member": i < 12})
        };
        let entries: Vec<Value> = (0..24).map(entry).collect();
        let path = dir.path().join("samples").join(model).join("prompts.json");
        std::fs::write(path, serde_json::to_vec(&entries).expect("json")).expect("write");
    }
    let report = dualmd_audit::build(dir.path()).expect("report");
    let page = page_of(dir.path(), &report);
    common::well_formed(&page);
    let section = |page: &str| {
        let (_, rest) = page.split_once("<h3>Images for the same prompts</h3>")?;
        rest.split_once("</table>")
            .map(|(table, _)| table.to_owned())
    };
    let table = section(&page).expect("a table of prompts");
    assert!(!table.contains("<coat>"), "texts are escaped");
    let rows: Vec<&str> = table.split("<tr>").skip(2).collect();
    let seen: Vec<bool> = rows.iter().map(|r| r.contains("trained on")).collect();
    assert_eq!(seen, [true, true, true, true, true, false, false, false]);
    assert!(
        rows[1].contains("a &lt;coat&gt; &amp; hat, 1<"),
        "{}",
        rows[1]
    );
    assert_eq!(rows[1].matches("<img").count(), 2);
    assert_eq!(rows[7].matches("no picture").count(), 2, "{}", rows[7]);
    // The pair whose generated image is the third was drawn for the second text.
    assert!(page.contains("<p class=\"prompt\">a &lt;coat&gt; &amp; hat, 1</p>"));
    // A run without prompts has neither.
    let (dir, report) = fixture();
    assert!(section(&page_of(dir.path(), &report)).is_none());
}

/// 1,800 steps of 64 on 64 images, and on 32 for the teachers: fewer passes than the 4,096 of SecMI's paper. Longer trainings, and
/// models on which neither SecMI nor PIA was run, are not spoken of.
#[test]
fn models_that_were_trained_shorter_than_the_attacks_papers_are_named() {
    let (dir, report) = fixture();
    let of = |report: &Report| {
        let own = |w: &&String| w.contains("epochs");
        report
            .warnings
            .iter()
            .filter(own)
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of(&report),
        [
            "5 models were trained 1,800 to 3,600 epochs (passes over a model's own training images); the papers of SecMI and PIA trained \
          about 4,000: weak results of these attacks may be due to that."
        ]
    );
    let value = serde_json::to_value(&report).expect("json");
    assert_eq!(value["models"][0]["utility"]["epochs"], 1800.0);
    let page = plain(&page_of(dir.path(), &report));
    assert!(page.contains("epochs") && page.contains("3,600"), "{page}");
    // Longer trainings: only the student's is short, and it says so itself.
    for name in ["baseline", "teacher-1", "teacher-2", "kd", "student"] {
        let path = dir.path().join(format!("models/{name}/training.json"));
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let mut training: Value = serde_json::from_str(&text).expect("json");
        training["steps"] = json!(8000);
        if name == "student" {
            training["epochs"] = json!(12.5);
        }
        std::fs::write(&path, training.to_string()).expect("write");
    }
    let report = build(dir.path()).expect("build");
    let [one] = &of(&report)[..] else {
        panic!("{:?}", report.warnings)
    };
    assert!(
        one.starts_with("DistillMD student was trained 12.5 epochs"),
        "{one}"
    );
}

/// Of a training of one process, or of an earlier version, nothing is said of ranks.
#[test]
fn a_report_says_how_many_ranks_trained_a_model() {
    let (dir, report) = fixture();
    let value = serde_json::to_value(&report).expect("json");
    assert_eq!(value["models"][0]["utility"]["ranks"], Value::Null);
    assert!(!page_of(dir.path(), &report).contains("Ranks: processes"));
    let path = dir.path().join("models/baseline/training.json");
    let text = std::fs::read_to_string(&path).expect("training.json");
    let mut training: Value = serde_json::from_str(&text).expect("json");
    training["ranks"] = json!(4);
    std::fs::write(&path, training.to_string()).expect("write");
    let report = build(dir.path()).expect("build");
    let value = serde_json::to_value(&report).expect("json");
    assert_eq!(value["models"][0]["utility"]["ranks"], 4.0);
    let page = page_of(dir.path(), &report);
    assert!(page.contains("4 ranks") && page.contains("Ranks: processes"));
}

/// What is read is what was written, pictures and curves apart; a newer report is refused.
#[test]
fn a_report_comes_back_from_its_file() {
    let dir = tempfile::tempdir().expect("temp dir");
    common::run_folder(dir.path());
    common::extras(dir.path());
    let report = build(dir.path()).expect("build");
    let written = write(dir.path(), &report).expect("write");
    let text = std::fs::read_to_string(&written.json).expect("report.json");
    let read = dualmd_audit::read(&written.json).expect("read");
    assert_eq!(serde_json::to_string_pretty(&read).expect("a report"), text);
    let newer = text.replacen("\"schema\": 1", "\"schema\": 2", 1);
    std::fs::write(&written.json, newer).expect("write");
    let error = dualmd_audit::read(&written.json).expect_err("newer");
    assert!(error.to_string().contains("its schema is 2"), "{error}");
}

#[test]
fn privacy_stands_beside_quality_where_both_were_measured() {
    let dir = tempfile::tempdir().expect("temp dir");
    common::run_folder(dir.path());
    let page = |report: &Report| {
        let written = write(dir.path(), report).expect("write");
        let page = std::fs::read_to_string(written.html).expect("page");
        common::well_formed(&page);
        page
    };
    let without = build(dir.path()).expect("build");
    assert!(!page(&without).contains("id=\"frontier\""));
    common::quality(dir.path());
    let report = build(dir.path()).expect("build");
    let page = page(&report);
    let figure = page
        .split("<section id=\"frontier\"")
        .nth(1)
        .and_then(|t| t.split("</section>").next())
        .expect("the figure is there");
    for part in [
        "Dominated: Ordinary distillation (by ",
        "Not dominated: ",
        "DualMD pair stands where its own images put it and is not counted as better than another model: whoever holds its two models is at AUC ",
        "excess Fréchet distance",
        "chance 0.5",
        "efflite0-1280",
    ] {
        assert!(figure.contains(part), "`{part}` is missing in\n{figure}");
    }
    // Four models: a marker each in the plot and in the table, a name each, and no teacher.
    assert_eq!(figure.matches("<path class=\"mark ").count(), 8);
    assert_eq!(figure.matches("<text class=\"name\"").count(), 4);
    assert!(!figure.contains("Teacher 1</text>"));
}
