//! Attacks that are learnt on a shadow model: the shadow of a run, and one that an auditor names.

mod common;

use common::{TEXT, TINY, fail, folder, json, succeed, text};
use std::collections::BTreeSet;
use std::path::Path;

/// Ids of a split's members and non-members.
fn ids(split: &Path) -> BTreeSet<String> {
    let split = json(split);
    let of = |side: &str| split[side].as_array().unwrap().clone();
    let id = |entry: &serde_json::Value| entry["id"].as_str().unwrap_or_default().to_owned();
    let all: BTreeSet<String> = [of("members"), of("nonmembers")]
        .concat()
        .iter()
        .map(id)
        .collect();
    assert!(all.len() > 1 && !all.contains(""), "{all:?}");
    all
}

#[test]
fn a_run_trains_its_shadow_on_other_images() {
    let dir = tempfile::tempdir().unwrap();
    let (experiment, run) = (dir.path().join("tiny.toml"), dir.path().join("run"));
    let with = |attacks: &str| {
        let toml = TINY
            .replace(r#"attacks = ["loss", "sima"]"#, attacks)
            .replace("steps = 60", "steps = 20")
            .replace("nonmembers = 40", "nonmembers = 12");
        std::fs::write(&experiment, toml).unwrap();
        let args = [
            "run",
            text(&experiment),
            "--out",
            text(&run),
            "--threads",
            "2",
        ];
        String::from_utf8_lossy(&succeed(&args).stderr).into_owned()
    };
    let said = with(r#"attacks = ["sima"]"#);
    assert!(
        !said.contains("shadow") && !run.join("shadow").exists(),
        "{said}"
    );
    // Asked for later, it is trained then.
    let said = with(r#"attacks = ["sima", "gsa1+shadow"]"#);
    assert!(
        said.contains("on 8 other members and 12 other non-members"),
        "{said}"
    );
    let shadow = run.join("shadow");
    assert!(ids(&run.join("split.json")).is_disjoint(&ids(&shadow.join("split.json"))));
    for model in ["baseline", "teacher-1", "teacher-2", "student"] {
        let training = json(&shadow.join("models").join(model).join("training.json"));
        assert_eq!(training["steps"], 20, "{model}");
        let scores = json(&run.join("scores").join(format!("{model}.json")));
        let [_, learnt, _nn] = &scores["attacks"].as_array().unwrap()[..] else {
            panic!("{scores}")
        };
        assert_eq!(
            (learnt["attack"].as_str(), learnt["status"].as_str()),
            (Some("gsa1+shadow"), Some("ok"))
        );
        assert!(learnt["trained_on"].is_null());
        // A teacher saw one half of the shadow's members.
        let seen = if model.starts_with("teacher") { 4 } else { 8 };
        let shadow = &learnt["shadow"];
        assert_eq!(
            (&shadow["members"], &shadow["nonmembers"]),
            (&seen.into(), &(20 - seen).into())
        );
        let rows = dualmd_audit::read_scores(&run.join("scores").join(format!("{model}.csv")));
        let rows = rows.unwrap().rows;
        let of = |attack: &str| rows.iter().filter(|r| r.attack == attack).count();
        assert_eq!(of("gsa1+shadow"), 20);
    }
    // It is neither drawn from nor attacked: nothing asked for that.
    assert!(!shadow.join("samples/baseline/samples.npy").exists());
    assert!(!shadow.join("scores").exists());
    let page = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(
        page.contains("the shadow model was trained on 8 other images and did not see 12 more")
    );
    // The same call again trains and scores nothing.
    let stamp = |path: &Path| std::fs::metadata(path).unwrap().modified().unwrap();
    let files = [
        shadow.join("models/student/training.json"),
        run.join("scores/student.csv"),
    ];
    let before = files.each_ref().map(|f| stamp(f));
    with(r#"attacks = ["sima", "gsa1+shadow"]"#);
    assert_eq!(before, files.each_ref().map(|f| stamp(f)));
    // Not asked for any more, while another one is: it stays, with what it was learnt from.
    let old = json(&files[1].with_extension("json"));
    with(r#"attacks = ["sima", "loss"]"#);
    let new = json(&files[1].with_extension("json"));
    let of = |scores: &serde_json::Value| {
        let all = scores["attacks"].as_array().unwrap();
        all.iter().find(|a| a["attack"] == "gsa1+shadow").cloned()
    };
    assert!(of(&old).is_some() && of(&old) == of(&new), "{new}");

    // An auditor names model and images.
    let out = dir.path().join("scores.csv");
    let (model, other) = (run.join("models/student"), shadow.join("models/student"));
    let (split, apart) = (run.join("split.json"), shadow.join("split.json"));
    let attack = |more: &[&str]| {
        let base = [
            "attack",
            text(&model),
            "--members",
            "fashion#member",
            "--nonmembers",
            "fashion#nonmember",
            "--split",
            text(&split),
            "-o",
            text(&out),
        ];
        [&base[..], more]
            .concat()
            .iter()
            .map(|a| (*a).to_owned())
            .collect::<Vec<_>>()
    };
    let named = [
        "--shadow",
        text(&other),
        "--shadow-members",
        "fashion#member",
        "--shadow-nonmembers",
        "fashion#nonmember",
    ];
    let call = |args: Vec<String>| args.iter().map(|a| a.to_owned()).collect::<Vec<_>>();
    let run_it = |args: Vec<String>| {
        let args = call(args);
        succeed(&args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let refuse = |args: Vec<String>| {
        let args = call(args);
        fail(&args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let own = ["--shadow-split", text(&apart), "--attacks", "gsa1+shadow"];
    run_it(attack(&[&named[..], &own[..]].concat()));
    let of = |path: &Path, attack: &str| -> Vec<f64> {
        let rows = dualmd_audit::read_scores(path).unwrap().rows;
        let rows = rows.into_iter().filter(|r| r.attack == attack);
        let mut rows: Vec<_> = rows.map(|r| (r.sample_id, r.score)).collect();
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        rows.into_iter().map(|r| r.1).collect()
    };
    assert_eq!(of(&out, "gsa1+shadow").len(), 20);

    let said = refuse(attack(&["--attacks", "gsa1+shadow"]));
    assert!(said.contains("--shadow-members DATA"), "{said}");
    let said = refuse(attack(&["--shadow", text(&other)]));
    assert!(said.contains("--shadow-members"), "{said}");
    let wrong = ["--shadow-split", text(&split), "--attacks", "gsa1+shadow"];
    let said = refuse(attack(&[&named[..], &wrong[..]].concat()));
    assert!(said.contains("was trained on the split"), "{said}");
    let twice = ["--shadow", text(&other), "--shadow-split", text(&apart)];
    let said = refuse(attack(&[&named[..], &twice[..]].concat()));
    assert!(said.contains("of the same kind"), "{said}");
    let mut itself = named;
    itself[1] = text(&model);
    let said = refuse(attack(&[&itself[..], &own[..]].concat()));
    assert!(said.contains("a shadow model is one that"), "{said}");
}

#[test]
fn what_prompts_draw_is_learnt_on_a_shadow_model() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    folder("emoji#fluent3d", 30, &at("fine"));
    folder("emoji#twitter", 24, &at("base"));
    let before = TEXT.find("attacks = [").unwrap()..TEXT.find("known_fraction").unwrap();
    let attacks = "attacks = [\"clid+shadow\", \"pw-threshold+shadow\", \"rounds@2+pw-distribution+shadow\"]\n";
    let models = TEXT.find("[[models]]\nname = \"lora\"").unwrap()
        ..TEXT.find("[[models]]\nname = \"pair\"").unwrap();
    let mut toml = TEXT.to_owned();
    toml.replace_range(models, "");
    toml.replace_range(before, attacks);
    let toml = toml
        .replace("FINE", text(&at("fine")))
        .replace("BASE", text(&at("base")));
    std::fs::write(at("t2i.toml"), &toml).unwrap();
    let (file, run) = (at("t2i.toml"), at("run"));
    succeed(&[
        "run",
        text(&file),
        "--out",
        text(&run),
        "--threads",
        "2",
        "-q",
    ]);
    let shadow = run.join("shadow");
    assert!(ids(&run.join("split.json")).is_disjoint(&ids(&shadow.join("split.json"))));
    // It starts from the run's base, as anybody could.
    assert!(run.join("models/base").exists() && !shadow.join("models/base").exists());
    let scores = |model: &str| json(&run.join("scores").join(format!("{model}.json")));
    let single = scores("baseline");
    let pair = scores("pair");
    for (scores, names) in [
        (&single, &["clid+shadow", "pw-threshold+shadow"][..]),
        (
            &pair,
            &["rounds@2+pw-distribution+shadow", "pw-threshold+shadow"],
        ),
    ] {
        for name in names {
            let found = scores["attacks"]
                .as_array()
                .unwrap()
                .iter()
                .find(|a| a["attack"] == *name);
            let found = found.unwrap_or_else(|| panic!("{name}: {scores}"));
            assert_eq!(found["status"], "ok", "{found}");
            assert_eq!(found["shadow"]["members"], 6);
        }
    }
    // What the shadow drew, it drew from other noise: the first sample is a member of either.
    let drawn = |folder: &Path| {
        dualmd_torch::weights::read_npy(&folder.join("samples/baseline/samples.npy")).unwrap()
    };
    assert_eq!(drawn(&shadow).size(), [24, 3, 8, 8]);
    assert!(json(&shadow.join("plan.json"))["seed"] != json(&run.join("plan.json"))["seed"]);

    // No images are left for a shadow: said before anything is trained.
    let more = toml.replace("nonmembers = 6", "nonmembers = 16");
    std::fs::write(at("more.toml"), more).unwrap();
    let said = fail(&[
        "run",
        text(&at("more.toml")),
        "--out",
        text(&at("none")),
        "-q",
    ]);
    assert!(
        said.contains("leave out the attacks that end with +shadow"),
        "{said}"
    );
    assert!(!at("none").join("models").exists());
}
