//! What attacks need beside a model: known samples, reference models, shadow runs; and scores that are kept.

mod common;

use common::{TINY, dualmd, fail, json, sides, succeed, text};
use serde_json::Value;
use std::path::Path;

/// Attacks of a description with how they ended.
fn ended(description: &Value) -> Vec<(String, String)> {
    let attacks = description["attacks"].as_array().unwrap();
    let text = |a: &Value, key: &str| a[key].as_str().unwrap().to_owned();
    attacks
        .iter()
        .map(|a| (text(a, "attack"), text(a, "status")))
        .collect()
}

#[test]
fn other_attacks_can_be_asked_of_a_run_and_scores_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let experiment = dir.path().join("tiny.toml");
    let run = dir.path().join("run");
    let with = |attacks: &str| {
        let toml = TINY
            .replace(r#"attacks = ["loss", "sima"]"#, attacks)
            .replace("steps = 60", "steps = 20");
        std::fs::write(&experiment, toml).unwrap();
        succeed(&[
            "run",
            text(&experiment),
            "--out",
            text(&run),
            "--threads",
            "2",
            "-q",
        ]);
        json(&run.join("scores/student.json"))
    };
    let first = with(r#"attacks = ["loss", "sima"]"#);
    assert!(!run.join("models/reference").exists());
    let made = |d: &Value| d["network_calls_made"].as_u64().unwrap();
    assert_eq!(made(&first), 9 * 48);

    let more = r#"attacks = ["loss", "sima", "gsa1", "reference", "rounds@2"]
known_fraction = 0.4"#;
    let second = with(more);
    let names: Vec<String> = ended(&second).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["loss", "sima", "gsa1", "reference", "nn"]);
    assert!(
        ended(&second).iter().all(|(_, status)| status == "ok"),
        "{second}"
    );
    // loss, sima and nn were there; the loss of the target is part of the reference attack and is asked again.
    assert_eq!(made(&second), (10 + 16) * 48);
    for i in [0, 1] {
        assert_eq!(first["attacks"][i], second["attacks"][i], "kept as it was");
    }
    assert_eq!(
        second["attacks"][2]["trained_on"],
        serde_json::json!({"members": 3, "nonmembers": 16})
    );
    // The model's own images are scored by every attack with a formula on its network, as a control.
    let own: Vec<usize> = second["attacks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["own"]["scores"].as_array().map_or(0, Vec::len))
        .collect();
    assert_eq!(own, [8, 8, 0, 8, 0]);
    let report = json(&run.join("report.json"));
    let student = report["models"]
        .as_array()
        .unwrap()
        .iter()
        .find(|m| m["name"] == "student");
    let sima = student.unwrap()["results"]
        .as_array()
        .unwrap()
        .iter()
        .find(|r| r["attack"] == "sima");
    assert_eq!(sima.unwrap()["own"]["n"], 8);
    let training = json(&run.join("models/reference/training.json"));
    assert_eq!(
        (training["images"].as_u64(), training["defense"].as_str()),
        (Some(8), Some("reference"))
    );
    let pair = json(&run.join("scores/dualmd.json"));
    assert_eq!(ended(&pair)[0], ("rounds@2".into(), "ok".into()));

    // The known part has no scores, everybody else has one.
    let csv = std::fs::read_to_string(run.join("scores/student.csv")).unwrap();
    let rows = |attack: &str| {
        csv.lines()
            .filter(|l| l.split(',').nth(3) == Some(attack))
            .count()
    };
    assert_eq!([rows("sima"), rows("gsa1")], [48, 29]);

    // Nothing to do: nothing changes.
    let third = with(more);
    assert_eq!(third, second);
}

#[test]
fn an_audit_keeps_scores_and_takes_a_reference_model() {
    let dir = tempfile::tempdir().unwrap();
    let experiment = dir.path().join("tiny.toml");
    std::fs::write(&experiment, TINY.replace("steps = 60", "steps = 20")).unwrap();
    let run = dir.path().join("run");
    succeed(&[
        "run",
        text(&experiment),
        "--out",
        text(&run),
        "--threads",
        "2",
        "-q",
        "--until",
        "train",
    ]);
    let (student, baseline) = (run.join("models/student"), run.join("models/baseline"));
    let (split, out) = (run.join("split.json"), dir.path().join("audit"));
    let audit = |more: &[&str]| -> Vec<String> {
        let base = [
            "audit",
            text(&student),
            "--members",
            "fashion#member",
            "--nonmembers",
            "fashion#nonmember",
            "--split",
            text(&split),
            "-o",
            text(&out),
        ];
        base.iter().chain(more).map(|s| (*s).to_owned()).collect()
    };
    let call = |args: Vec<String>| {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        String::from_utf8_lossy(&succeed(&args).stderr).into_owned()
    };
    call(audit(&["--attacks", "loss,sima", "--auditor", "Jane Roe"]));
    let said = call(audit(&[
        "--attacks",
        "sima,pia,reference,loss",
        "--reference",
        text(&baseline),
    ]));
    assert!(
        said.contains("2 of 4 attacks: scores of the earlier run kept"),
        "{said}"
    );
    assert!(!said.contains("holds an earlier audit"), "{said}");
    let plan = json(&out.join("plan.json"));
    assert_eq!(
        plan["models"][0]["weights_blake3"].as_str().map(str::len),
        Some(64)
    );

    // What is not asked for again stays, where it still holds: there is no reference model now. What was said of it stays too.
    let notes = || json(&out.join("scores/model.json"))["warnings"].clone();
    let before = notes();
    let said = call(audit(&["--attacks", "nn"]));
    assert!(said.contains("an earlier call drew"), "{said}");
    assert_eq!((before[0].is_string(), notes()), (true, before));
    let scores = std::fs::read_to_string(out.join("scores/model.csv")).unwrap();
    for (attack, there) in [
        ("loss", true),
        ("pia", true),
        ("nn", true),
        ("reference", false),
    ] {
        assert_eq!(scores.contains(&format!(",{attack},")), there, "{attack}");
    }

    // Other noise: nothing can be kept.
    let said = call(audit(&["--attacks", "sima,loss", "--seed", "5"]));
    assert!(!said.contains("kept"), "{said}");

    let refuse = |args: Vec<String>| fail(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let said = refuse(audit(&["--attacks", "reference"]));
    assert!(said.contains("--reference MODEL"), "{said}");
    let said = refuse(audit(&[
        "--attacks",
        "reference",
        "--reference",
        text(&student),
    ]));
    assert!(said.contains("is the model itself"), "{said}");
    let said = refuse(audit(&["--attacks", "rounds@2"]));
    assert!(said.contains("name both model folders"), "{said}");

    // Two folders in place of the split: the model's run knows their images, and whose side they are on.
    let side = |name: &str| {
        let folder = dir.path().join(name);
        let images = format!("fashion#{name}");
        succeed(&[
            "export",
            "images",
            &images,
            "--split",
            text(&split),
            "-o",
            text(&folder),
        ]);
        folder
    };
    let (inside, outside) = (side("member"), side("nonmember"));
    let checked = |members: &std::path::Path, others: &std::path::Path| -> Vec<String> {
        let asked = ["audit", text(&student), "--attacks", "loss", "--check"];
        let images = ["--members", text(members), "--nonmembers", text(others)];
        let all = asked.iter().chain(&images).chain(&["-o", "checked"]);
        all.map(|s| (*s).to_owned()).collect()
    };
    call(checked(&inside, &outside));
    let said = refuse(checked(&outside, &inside));
    assert!(
        said.contains("of 40 members it was not trained on 40, and of 8 non-members it was on 8")
            && said.contains("split.json"),
        "{said}"
    );

    // Features without a network for them: said, and the rest goes on. The density ratio takes pixels then.
    let args = audit(&[
        "--attacks",
        "nn,nn-features,density",
        "--known-fraction",
        "0.4",
    ]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = dualmd(&args)
        .env("DUALMD_CACHE", dir.path())
        .env_remove("DUALMD_EFFLITE0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("nn-features failed") && said.contains("cargo xtask features"),
        "{said}"
    );
    let scores = json(&out.join("scores/model.json"));
    assert_eq!(ended(&scores)[0], ("nn".into(), "ok".into()));
    assert!(ended(&scores).contains(&("density".into(), "ok".into())));
    // The known part has no scores, and its non-members are what it compares with.
    let csv = std::fs::read_to_string(out.join("scores/model.csv")).unwrap();
    let rows = |attack: &str| csv.matches(&format!(",{attack},")).count();
    assert!(rows("density") > 0 && rows("density") < rows("nn"));
    let density = &scores["attacks"].as_array().unwrap()[2];
    assert_eq!(density["attack"], "density");
    assert_eq!(density["trained_on"]["members"], 0);
    assert!(density["trained_on"]["nonmembers"].as_u64() >= Some(8));
    // Copies are counted by pixels all the same, of the images that were drawn.
    let report = json(&out.join("report.json"));
    let copying = &report["models"][0]["copying"];
    assert_eq!(copying[0]["likeness"], "rmse");
    assert_eq!(copying[0]["n_generated"], 256);
    assert!(
        copying.as_array().unwrap().len() == 1 && report["models"][0]["image_utility"].is_null()
    );
}

/// Images that look almost the same are one group, and where they are on both sides the report says so.
#[test]
fn an_audit_sees_near_duplicates_across_the_sides() {
    let dir = tempfile::tempdir().unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/tiny-ddpm");
    let options = dualmd_data::LoadOptions {
        image_size: Some(16),
        ..Default::default()
    };
    let mut set = dualmd_data::load("emoji#twitter", &options).unwrap();
    set.records.truncate(24);
    let (members, others) = (dir.path().join("members"), dir.path().join("others"));
    let mut rest = set.records.split_off(12);
    dualmd_data::save_folder(&set, &members).unwrap();
    // A little brighter: another file, hardly another picture.
    let mut copy = set.records[3].clone();
    copy.picture
        .pixels
        .iter_mut()
        .for_each(|p| *p = p.saturating_add(2));
    copy.name = "copy".into();
    copy.id = copy.picture.id();
    rest.push(copy);
    set.records = rest;
    dualmd_data::save_folder(&set, &others).unwrap();
    let out = dir.path().join("out");
    let said = succeed(&[
        "audit",
        text(&model),
        "--members",
        text(&members),
        "--nonmembers",
        text(&others),
        "--attacks",
        "sima,nn",
        "--images",
        "20",
        "--steps",
        "3",
        "-o",
        text(&out),
    ]);
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    let warning = "1 of 12 members look almost the same as a non-member";
    assert!(said.contains(warning), "{said}");
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains(warning));
    let rows = dualmd_audit::read_scores(&out.join("scores/model.csv"))
        .unwrap()
        .rows;
    let grouped: Vec<_> = rows
        .iter()
        .filter(|r| r.attack == "sima" && r.group.is_some())
        .collect();
    assert_eq!(grouped.len(), 2);
    assert!(grouped[0].group == grouped[1].group && grouped[0].member != grouped[1].member);
    // As many images as were asked for.
    assert!(
        out.join("samples/model/0019.png").exists() && !out.join("samples/model/0020.png").exists()
    );
}

/// The report does not fall with a control that cannot be measured, and an earlier call's files do not stand for this one's.
#[test]
fn an_audit_without_a_blind_baseline_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/tiny-ddpm");
    let (members, others) = sides(dir.path(), 6);
    let audit = |more: &[&str]| {
        let (m, n) = (text(&members), text(&others));
        let args = [
            "audit",
            text(&model),
            "--members",
            m,
            "--nonmembers",
            n,
            "--attacks",
            "sima",
            "-o",
            text(&out),
        ];
        String::from_utf8_lossy(&succeed(&[&args[..], more].concat()).stderr).into_owned()
    };
    audit(&[]);
    assert!(out.join("controls.json").exists());
    // An earlier call had a split.
    std::fs::write(out.join("split.json"), "{}").unwrap();
    for folder in [&members, &others] {
        let mut table = String::from("file_name,of\n");
        for file in std::fs::read_dir(folder).unwrap() {
            let name = file.unwrap().file_name();
            if let Some(name) = name.to_str().filter(|n| n.ends_with(".png")) {
                table.push_str(&format!("{name},everybody\n"));
            }
        }
        std::fs::write(folder.join("metadata.csv"), table).unwrap();
        let _ = std::fs::remove_file(folder.join("metadata.jsonl"));
    }
    let said = audit(&["--group-column", "of"]);
    assert!(said.contains("all pictures belong to one group"), "{said}");
    assert!(!out.join("controls.json").exists() && !out.join("split.json").exists());
    let report = json(&out.join("report.json"));
    assert!(report["controls"]["blind_baseline"].is_null());
    assert!(
        report["missing"].to_string().contains("no blind baseline"),
        "{}",
        report["missing"]
    );
}

/// Another model, or other images, in the folder of an audit: what is lost is named.
#[test]
fn an_audit_over_another_one_says_what_differs() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/tiny-ddpm");
    let (members, others) = sides(dir.path(), 6);
    let audit = |members: &Path, others: &Path, model: &Path, attack: &str| {
        let line = [
            "audit",
            text(model),
            "--members",
            text(members),
            "--nonmembers",
            text(others),
            "--attacks",
            attack,
            "--images",
            "4",
            "--steps",
            "2",
            "--features",
            "none",
            "-q",
            "-o",
            text(&out),
        ];
        String::from_utf8_lossy(&succeed(&line).stderr).into_owned()
    };
    audit(&members, &others, &golden, "sima");
    // More attacks are the same audit.
    let said = audit(&members, &others, &golden, "sima,loss");
    assert!(!said.contains("earlier audit"), "{said}");
    let said = audit(&others, &members, &golden, "sima");
    assert!(
        said.contains(
            "holds an earlier audit of other members (6 images), of other non-members (6 images):"
        ) && said.contains("written over"),
        "{said}"
    );
    // The same network with other weights.
    let model = dir.path().join("other");
    for part in ["unet", "scheduler"] {
        std::fs::create_dir_all(model.join(part)).unwrap();
        for file in std::fs::read_dir(golden.join(part)).unwrap() {
            let file = file.unwrap().path();
            std::fs::copy(&file, model.join(part).join(file.file_name().unwrap())).unwrap();
        }
    }
    std::fs::copy(
        golden.join("model_index.json"),
        model.join("model_index.json"),
    )
    .unwrap();
    let weights = model.join("unet/diffusion_pytorch_model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let last = bytes.len() - 4;
    bytes[last] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let said = audit(&others, &members, &model, "sima");
    assert!(
        said.contains("holds an earlier audit of another model (") && said.contains("tiny-ddpm)"),
        "{said}"
    );
    assert!(!said.contains("other members"), "{said}");
}

#[test]
fn shadow_runs_are_repeated_attacked_and_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let experiment = dir.path().join("tiny.toml");
    let toml = TINY.replace("steps = 60", "steps = 12").replace(
        "[[models]]\nname = \"dualmd\"\ndefense = \"dualmd\"\n[[models]]\nname = \"student\"\ndefense = \"distillmd\"\n",
        "",
    );
    std::fs::write(&experiment, &toml).unwrap();
    let out = dir.path().join("lira");
    let args = [
        "lira",
        text(&experiment),
        "--models",
        "4",
        "--pool",
        "60",
        "--out",
        text(&out),
        "-q",
    ];
    let table = String::from_utf8_lossy(&succeed(&args).stdout).into_owned();
    assert!(
        table.contains("baseline") && table.contains("lira-offline"),
        "{table}"
    );

    // One pool, four coins.
    let sides: Vec<(Vec<String>, Vec<String>)> = (0..4)
        .map(|i| {
            let split = json(&out.join(format!("shadow-{i:03}/split.json")));
            let ids = |side: &str| {
                let list = split[side].as_array().unwrap();
                list.iter()
                    .map(|m| m["id"].as_str().unwrap().to_owned())
                    .collect()
            };
            (ids("members"), ids("nonmembers"))
        })
        .collect();
    let pool = |(a, b): &(Vec<String>, Vec<String>)| {
        let mut all = [a.clone(), b.clone()].concat();
        all.sort();
        all
    };
    assert!(
        sides
            .iter()
            .all(|s| pool(s) == pool(&sides[0]) && pool(s).len() == 60)
    );
    assert!(
        (1..4).all(|i| sides[i].0 != sides[0].0),
        "each shadow tosses its own coins"
    );

    // LiRA stands in the target's report beside the other attacks.
    let report = json(&out.join("shadow-000/report.json"));
    let results = report["models"][0]["results"].as_array().unwrap();
    assert!(results.iter().any(|r| r["attack"] == "lira"), "{results:?}");
    assert!(results.iter().any(|r| r["attack"] == "sima"));
    let lira = json(&out.join("lira.json"));
    // Called again, nothing is done anew; a program is told what the file says.
    let printed = succeed(&[&args[..], &["--json"]].concat()).stdout;
    let again: serde_json::Value = serde_json::from_slice(&printed).unwrap();
    assert_eq!(again["results"], lira["results"]);
    assert_eq!(lira["results"][0]["shadows"].as_array().unwrap().len(), 4);
    // RMIA beside it, on all but its population.
    assert!(results.iter().any(|r| r["attack"] == "rmia"), "{results:?}");
    assert!(table.contains("rmia"), "{table}");
    assert_eq!(lira["rmia"]["gamma"], 2.0);
    let target = &lira["results"][0]["shadows"][0];
    let called = &target["rmia_called"];
    let population = called["population"].as_u64().unwrap();
    let others = called["of_nonmembers"].as_u64().unwrap();
    // An image that all other runs saw has no score.
    assert!(
        population > 0 && population + others <= sides[0].1.len() as u64,
        "{called}"
    );
    assert_eq!(target["rmia"]["n_nonmembers"], called["of_nonmembers"]);

    // A phi that is lost is computed again and nothing else; the numbers stay.
    std::fs::remove_file(out.join("phi/baseline/shadow-002.csv")).unwrap();
    let again = String::from_utf8_lossy(&succeed(&args).stdout).into_owned();
    assert_eq!(again, table);

    std::fs::write(&experiment, toml.replace("seed = 3", "seed = 4")).unwrap();
    let said = fail(&args);
    assert!(
        said.contains("another experiment") && said.contains("--out"),
        "{said}"
    );
}
