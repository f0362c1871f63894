//! `dualmd reproduce`: runs are made once, every table is a view of them, and nothing else is trained.

mod common;

use common::{dualmd, fail, json, succeed, text};
use serde_json::Value;

/// A study so small that a run takes seconds.
const TINY: [&str; 14] = [
    "data.image_size=8",
    "data.members=8",
    "data.nonmembers=110",
    "data.near_duplicates=ignore",
    "model.block_out_channels=[8, 16]",
    "model.norm_num_groups=4",
    "train.steps=6",
    "train.batch=4",
    "train.eval_every=3",
    "sample.n=20",
    "sample.steps=2",
    "sample.features=pixels",
    "sample.copies=pixels",
    "audit.attacks=[\"secmi\", \"pia\", \"sima\"]",
];
/// Two models in place of the study's eleven.
const MODELS: &str =
    "models=[{name=\"baseline\",defense=\"none\"},{name=\"student\",defense=\"distillmd\"}]";

fn args<'a>(what: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec![
        "reproduce",
        what,
        "--out",
        out,
        "--only",
        "fashion-16",
        "-q",
    ];
    for set in TINY.iter().chain([&MODELS]) {
        args.extend(["--set", set]);
    }
    args.extend(more);
    args
}

#[test]
fn tables_are_views_of_the_same_runs() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path();
    let dry = succeed(&args("table3", text(out), &["--seeds", "2", "--dry-run"]));
    let dry = String::from_utf8_lossy(&dry.stdout).into_owned();
    // baseline, two teachers, student: 4 x 6 steps.
    assert!(
        dry.contains("4 trainings, 24 steps") && dry.contains("2 of 2 runs to do"),
        "{dry}"
    );
    assert!(!out.join("cpu").exists());

    let printed = succeed(&args("table3", text(out), &["--seeds", "2"]));
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(
        printed.contains("| SecMI")
            && printed.contains("0.93 / 0.96 / 0.96 / 0.94")
            && printed.contains("What agrees"),
        "{printed}"
    );
    let table = json(&out.join("table3-cpu.json"));
    assert_eq!(table["seeds"], serde_json::json!([0, 1]));
    assert_eq!(table["set"].as_array().unwrap().len(), TINY.len() + 1);
    let reports = [0, 1].map(|s| json(&out.join(format!("cpu/fashion-16/seed-{s}/report.json"))));
    let auc = |report: &Value| {
        let models = report["models"].as_array().unwrap().iter();
        let model = models.clone().find(|m| m["name"] == "student").unwrap();
        let results = model["results"].as_array().unwrap().iter();
        let pia = results.clone().find(|r| r["attack"] == "pia").unwrap();
        pia["auc"].as_f64().unwrap()
    };
    let numbers = table["numbers"].as_array().unwrap();
    let cell = numbers
        .iter()
        .find(|n| n["attack"] == "pia" && n["model"] == "student" && n["metric"] == "auc")
        .unwrap();
    let mean = (auc(&reports[0]) + auc(&reports[1])) / 2.0;
    assert!(
        (cell["mean"].as_f64().unwrap() - mean).abs() < 1e-12,
        "{cell}"
    );
    assert_ne!(
        reports[0]["run"]["split_hash"],
        reports[1]["run"]["split_hash"]
    );

    // Nothing is opened again: with the networks gone, the other tables are still made.
    let written = |seed: u32| {
        out.join(format!("cpu/fashion-16/seed-{seed}/report.json"))
            .metadata()
            .unwrap()
            .modified()
            .unwrap()
    };
    let before = [written(0), written(1)];
    std::fs::remove_dir_all(out.join("cpu/fashion-16/seed-0/models/student/unet")).unwrap();
    for what in ["table2", "table10", "fig5", "frontier"] {
        succeed(&args(what, text(out), &["--seeds", "2"]));
        for extension in ["md", "csv", "json"] {
            assert!(
                out.join(format!("{what}-cpu.{extension}")).exists(),
                "{what}.{extension}"
            );
        }
    }
    assert_eq!([written(0), written(1)], before);
    let table2 = std::fs::read_to_string(out.join("table2-cpu.md")).unwrap();
    assert!(
        table2.contains("FD-pixels-8x8") && !table2.contains("fashion-16 FID"),
        "{table2}"
    );
    // Four rows (baseline, teachers, student) of 12 enlarged images (of 20), 2 pixels between them.
    let png = std::fs::read(out.join("fig5-cpu-fashion-16.png")).unwrap();
    let side = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    assert_eq!((side(16), side(20)), (12 * 50 + 2, 4 * 50 + 2));
    // With names before the rows.
    let rows = std::fs::read_to_string(out.join("fig5-cpu-fashion-16.svg")).unwrap();
    assert!(rows.contains(">Sub-Model 1<") && rows.contains(">DistillMD<"));
    let svg = std::fs::read_to_string(out.join("frontier-cpu-fashion-16.svg")).unwrap();
    assert!(svg.contains(">DistillMD<") && svg.contains("</svg>"));

    // A run with other settings is not passed off as this one.
    let other = fail(&args(
        "table3",
        text(out),
        &["--seeds", "2", "--set", "train.steps=7"],
    ));
    assert!(
        other.contains("another experiment") && other.contains("train.steps"),
        "{other}"
    );
}

/// A finished run is gone on with for attacks that it does not have, where its models are there: no model is trained again.
#[test]
fn a_finished_run_is_attacked_with_what_is_asked_for_now() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path();
    let run = out.join("cpu/fashion-16/seed-0");
    let more = |attacks: &str, flags: &[&str]| {
        let set = format!("audit.attacks={attacks}");
        let all = [&["--seeds", "1", "--set", &set][..], flags].concat();
        let output = succeed(&args("table3", text(out), &all));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    more(r#"["sima"]"#, &[]);
    let trained = || {
        let file = run.join("models/student/training.json");
        file.metadata().unwrap().modified().unwrap()
    };
    let before = trained();
    let asked = r#"["loss", "sima"]"#;
    let dry = more(asked, &["--dry-run"]);
    assert!(
        dry.contains("finished but for some attacks") && dry.contains("1 of 1 runs to do"),
        "{dry}"
    );
    let names = || {
        let report = json(&run.join("report.json"));
        let models = report["models"].as_array().unwrap();
        let student = models.iter().find(|m| m["name"] == "student").unwrap();
        let results = student["results"].as_array().unwrap();
        let names = results
            .iter()
            .map(|r| r["attack"].as_str().unwrap().to_owned());
        names.filter(|n| n != "nn").collect::<Vec<_>>()
    };
    // The plan of a call that was cut off names them already.
    let plan = run.join("plan.json");
    let text = std::fs::read_to_string(&plan).unwrap();
    let cut_off = text.replace(
        r#"attacks = [\"sima\"]"#,
        r#"attacks = [\"loss\", \"sima\"]"#,
    );
    assert_ne!(text, cut_off);
    std::fs::write(&plan, cut_off).unwrap();
    more(asked, &[]);
    assert_eq!(names(), ["loss", "sima"]);
    // Fewer are there as well.
    assert!(more(r#"["sima"]"#, &["--dry-run"]).contains("0 of 1 runs to do"));
    // Of a stored run only report and plan are left: its table has what it has.
    std::fs::rename(run.join("models"), out.join("models")).unwrap();
    more(r#"["loss", "pia", "sima"]"#, &[]);
    assert_eq!(names(), ["loss", "sima"]);
    std::fs::rename(out.join("models"), run.join("models")).unwrap();
    assert_eq!(trained(), before);
}

/// A text-to-image study so small that a run takes seconds.
const TINY_TEXT: [&str; 17] = [
    "data.image_size=8",
    "data.members=8",
    "data.nonmembers=24",
    "data.near_duplicates=ignore",
    "model.block_out_channels=[8, 8]",
    "model.norm_num_groups=4",
    "pretrain.source=emoji#twitter",
    "pretrain.train={ steps = 2, captions = \"any\" }",
    "train.steps=4",
    "train.batch=4",
    "train.eval_every=0",
    "sample.steps=2",
    "sample.per_prompt=1",
    "sample.features=pixels",
    "sample.copies=pixels",
    "audit.attacks=[\"pia\", \"pw-threshold\", \"sim-mean+captions\", \"rounds@1+second\", \"rounds@2\"]",
    "models=[{name=\"baseline\",defense=\"none\"},{name=\"dualmd\",defense=\"dualmd\"},{name=\"baseline-any\",defense=\"none\",train={captions=\"any\"}},{name=\"student\",defense=\"distillmd\"}]",
];

/// Every table and figure of the text-to-image half from one run.
#[test]
fn text_tables_are_views_of_one_run() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let make = |what: &str| {
        let mut args = vec!["reproduce", what, "--out", text(&out), "--seeds", "1", "-q"];
        TINY_TEXT.iter().for_each(|set| args.extend(["--set", set]));
        // Without the networks that set-up may have fetched: pixels compare.
        let output = dualmd(&args)
            .env("DUALMD_CACHE", dir.path())
            .env_remove("DUALMD_EFFLITE0")
            .env_remove("DUALMD_SSCD")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{what}: {said}");
        json(&out.join(format!("{what}-cpu.json")))
    };
    let numbers = |table: &Value, metric: &str| -> Vec<(String, String)> {
        let all = table["numbers"].as_array().unwrap().iter();
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        all.filter(|n| n["metric"] == metric)
            .map(|n| (text(&n["model"]), text(&n["attack"])))
            .collect()
    };
    let table5 = make("table5");
    let report = out.join("cpu/emoji-t2i/seed-0/report.json");
    let written = || report.metadata().unwrap().modified().unwrap();
    let before = written();
    let found = numbers(&table5, "auc");
    for (model, attack) in [
        ("baseline", "sim-mean"),
        ("baseline-any", "sim-mean+captions"),
        ("dualmd", "pw-threshold"),
        ("student", "sim-mean"),
    ] {
        let both = (model.to_owned(), attack.to_owned());
        assert!(found.contains(&both), "{both:?} in {found:?}");
    }
    let table9 = numbers(&make("table9"), "auc_d2");
    let rounds = |attack: &str| ("dualmd".to_owned(), attack.to_owned());
    assert!(
        table9.contains(&rounds("rounds@1+second")) && table9.contains(&rounds("rounds@2")),
        "{table9:?}"
    );
    let table8 = numbers(&make("table8"), "auc");
    assert!(
        table8.contains(&("baseline-any".into(), "pia".into())),
        "{table8:?}"
    );
    for what in ["table4", "table7", "fig4", "fig6", "fig7"] {
        make(what);
    }
    for file in [
        "fig4-cpu-emoji-t2i.svg",
        "fig6-cpu-emoji-t2i.png",
        "fig6-cpu-emoji-t2i.svg",
        "fig7-cpu-emoji-t2i.svg",
    ] {
        assert!(out.join(file).exists(), "{file}");
    }
    assert_eq!(written(), before, "the run was made once");
    // What prompts call up is measured beside the run.
    let table1 = make("table1");
    let methods = numbers(&table1, "similarity_own");
    assert_eq!(methods.len(), 4, "{table1}");
    let folder = out.join("cpu/emoji-t2i/seed-0/memorisation/dualmd");
    let found = json(&folder.join("memorisation.json"));
    assert_eq!(found["similarity"]["beyond_captions"]["n_others"], 24);
    make("fig3");
    assert!(out.join("fig3-cpu-emoji-t2i.svg").exists());
}

/// The studies train every model for every seed; 128 members are a set of its own, taken when it is named or all are asked for.
#[test]
fn studies_have_all_models_for_every_seed() {
    let dir = tempfile::tempdir().unwrap();
    let out = text(dir.path());
    let plan = |more: &[&str]| -> String {
        let mut args = vec![
            "reproduce",
            "table3",
            "--out",
            out,
            "--seeds",
            "2",
            "--dry-run",
        ];
        args.extend(more);
        String::from_utf8_lossy(&succeed(&args).stdout).into_owned()
    };
    let counts = |plan: &str| -> Vec<String> {
        let counts = plan.lines().filter_map(|line| {
            let (before, _) = line.split_once(" trainings")?;
            before.rsplit(' ').next().map(str::to_owned)
        });
        counts.collect()
    };
    // 5 of the demo, early stopping, K-way with 4 shards, synthetic, weight decay, augmentation, 2 of DP-SGD, 4 shorter ones and the
    // reference: 15 of 8,000 steps, 2 of 800, and 200 + 800 + 2,000 + 4,000.
    let fashion = plan(&["--only", "fashion-16"]);
    assert_eq!(counts(&fashion), ["21", "21"]);
    assert!(
        fashion.contains("64 members, 512 others; 21 trainings, 128600 steps of 32 images, 4,000 epochs over all members")
            && fashion.contains("2 of 2 runs to do, 257,200 training steps")
            && fashion.contains("estimated on this machine")
            && fashion.contains("fashion: 3000 pictures"),
        "{fashion}"
    );
    let usual = plan(&[]);
    assert!(
        usual.contains("emoji-16 (") && !usual.contains("fashion-16-128"),
        "{usual}"
    );
    let larger = plan(&["--only", "fashion-16-128"]);
    // baseline, two teachers, student, kd and the reference.
    assert_eq!(counts(&larger), ["6", "6"]);
    assert!(
        larger.contains("128 members") && larger.contains("96000 steps"),
        "{larger}"
    );
}

/// Every length of training is a run of its own below the image set, and one figure shows them all.
#[test]
fn lengths_of_training_are_compared() {
    let dir = tempfile::tempdir().unwrap();
    let out = text(dir.path());
    let mut args = vec!["reproduce", "epochs", "--out", out, "--seeds", "1", "-q"];
    args.extend(["--epochs", "4,1,2"]);
    let tiny = TINY.iter().filter(|set| !set.starts_with("train.steps"));
    tiny.for_each(|set| args.extend(["--set", set]));
    let printed = String::from_utf8_lossy(&succeed(&args).stdout).into_owned();
    // 8 members, batches of 4: an epoch is two steps.
    for (epochs, steps) in [(1, 2), (2, 4), (4, 8)] {
        let run = dir
            .path()
            .join(format!("cpu/epochs-fashion-16/e-{epochs}/seed-0"));
        let plan = json(&run.join("plan.json"));
        assert_eq!(plan["train"]["steps"], Value::from(steps));
        assert_eq!(plan["epochs"], Value::from(f64::from(epochs)));
        let teacher = json(&run.join("models/teacher-1/training.json"));
        assert_eq!(teacher["epochs"], f64::from(2 * epochs));
    }
    assert!(
        printed.contains("| epochs-fashion-16 | 1 ")
            && printed.contains("the shortest training at which an attack is told from 0.5"),
        "{printed}"
    );
    let table = json(&dir.path().join("epochs-cpu.json"));
    let numbers = table["numbers"].as_array().unwrap();
    let pair = numbers
        .iter()
        .filter(|n| n["model"] == "dualmd" && n["attack"] == "nn" && n["metric"] == "auc");
    assert_eq!(pair.count(), 3);
    let svg = std::fs::read_to_string(dir.path().join("epochs-cpu-epochs-fashion-16.svg")).unwrap();
    for wanted in [
        ">DualMD<",
        ">SimA<",
        "epochs (passes over all members)",
        ">4<",
    ] {
        assert!(svg.contains(wanted), "{wanted}");
    }
    let error = fail(&[
        "reproduce",
        "epochs",
        "--out",
        out,
        "--set",
        "train.steps=9",
    ]);
    assert!(error.contains("--epochs"), "{error}");
}

/// Finished runs of any images are drawn against how much is memorised, and nothing is trained.
#[test]
fn findings_are_drawn_by_loss() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let findings = concat!(
        "grey=",
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/results/epochs/findings-seed-1.csv"
    );
    let args = ["reproduce", "by-loss", "--from", findings, "--out"];
    let made = succeed(&[&args[..], &[text(&out), "-q"]].concat());
    let made = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(made.contains("grey: SecMI is above 0.5"), "{made}");
    assert!(out.join("by-loss.svg").is_file() && out.join("by-loss-marks.csv").is_file());
    let error = fail(&["reproduce", "table3", "--from", findings]);
    assert!(
        error.contains("--from is for defenses and by-loss"),
        "{error}"
    );
}

/// Rows of the table of defences are made one by one, drawn without another training, and taken from runs of other experiments.
#[test]
fn rows_of_defenses_are_made_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let rows = "models=[{name=\"baseline\",defense=\"none\"},{name=\"early-stopping\",defense=\"early-stopping\"},{name=\"mine\",defense=\"none\",train={weight_decay=0.1}}]";
    let make = |out: &str, more: &[&str]| -> String {
        let mut args = vec!["reproduce", "defenses", "--out", out, "--seeds", "1", "-q"];
        for set in TINY.iter().chain([&rows]) {
            args.extend(["--set", set]);
        }
        args.extend(more);
        String::from_utf8_lossy(&succeed(&args).stdout).into_owned()
    };
    let own = text(&out);
    let dry = make(own, &["--rows", "baseline", "--dry-run"]);
    assert!(dry.contains("1 of 1 runs to do, 6 training steps"), "{dry}");
    let error = fail(&["reproduce", "defenses", "--out", own, "--collect"]);
    assert!(error.contains("there is no finished run"), "{error}");

    let first = make(own, &["--rows", "none"]);
    let study = out.join("cpu/defenses-fashion-16");
    let report = |family: &str| study.join(family).join("seed-0/report.json");
    assert!(report("ordinary").exists() && !report("mine").exists());
    assert!(
        first.contains("dualmd reproduce defenses --rows early-stopping,mine"),
        "{first}"
    );
    let extraction = study.join("ordinary/seed-0/extraction/baseline/extraction.json");
    assert_eq!(json(&extraction)["generated"], 160);
    let written = || {
        let file = report("ordinary");
        file.metadata().unwrap().modified().unwrap()
    };
    let before = written();
    let second = make(own, &["--rows", "early-stopping,mine"]);
    assert!(!second.contains("Rows without any number"), "{second}");
    assert!(second.contains("| Early stopping ") && second.contains("| mine "));
    assert_eq!(written(), before);
    assert_eq!(make(own, &["--collect"]), second);
    let cells = std::fs::read_to_string(out.join("defenses-cpu-cells.csv")).unwrap();
    assert!(
        cells.contains("cpu/defenses-fashion-16/mine/seed-0")
            && cells.contains("cpu/defenses-fashion-16/ordinary/seed-0/extraction/baseline"),
        "{cells}"
    );
    for end in [".md", ".csv", ".json", ".svg"] {
        assert!(out.join(format!("defenses-cpu{end}")).exists(), "{end}");
    }
    // Somewhere else, from one of these runs and without a training.
    let other = dir.path().join("other");
    let run = study.join("mine/seed-0");
    let collected = make(text(&other), &["--from", text(&run)]);
    assert!(collected.contains("| mine "), "{collected}");
    assert!(!other.join("cpu").exists());
    let error = fail(&["reproduce", "table3", "--rows", "kd", "--out", own]);
    assert!(error.contains("--rows is for defenses"), "{error}");
}

#[test]
fn what_is_missing_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let out = text(dir.path());
    let code = |args: &[&str]| dualmd(args).output().unwrap().status.code();
    let paper = ["reproduce", "table10", "--scale", "paper", "--out", out];
    let error = fail(&paper);
    assert!(
        error.contains("--data cifar10=PATH") && error.contains("cifar-10-binary.tar.gz"),
        "{error}"
    );
    assert_eq!(code(&paper), Some(2));
    let error = fail(&["reproduce", "table3", "--only", "fashion-61", "--out", out]);
    assert!(error.contains("did you mean fashion-16"), "{error}");
    let error = fail(&["reproduce", "table3", "--data", "emoji-16=x", "--out", out]);
    assert!(error.contains("part of the program"), "{error}");
    // With images named, the plan has the paper's size: 5 trainings of 780,000 steps (two teachers) and 3 shorter ones, 682,500.
    let data = format!("cifar10={out}");
    let dry = |data: &str| {
        let args = [
            "reproduce",
            "table10",
            "--scale",
            "paper",
            "--data",
            data,
            "--dry-run",
            "--out",
            out,
        ];
        let output = dualmd(&args).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{data}");
        [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned())
    };
    let [plan, _] = dry(&data);
    // Three seeds of one image set: 13.7 million steps.
    assert!(
        plan.contains("25000 members, 25000 others; 8 trainings, 4582500 steps of 128 images, 3,994 epochs over all members")
            && plan.contains("3 of 3 runs to do, 13,747,500 training steps"),
        "{plan}"
    );
    // Sixteen pictures, and random bytes, are not CIFAR-10.
    let mut state = 1_u32;
    let bytes = |n: usize| -> Vec<u8> {
        (0..n * 3073)
            .map(|i| {
                if i % 3073 == 0 {
                    0
                } else {
                    (i / 3073 % 200) as u8
                }
            })
            .collect()
    };
    let file = dir.path().join("data_batch_1.bin");
    std::fs::write(&file, bytes(16)).unwrap();
    let named = format!("cifar10={}", text(&file));
    let [_, error] = dry(&named);
    assert!(
        error.contains("16 pictures, and 25000 members + 25000 non-members are needed"),
        "{error}"
    );
    let mut noise = bytes(40);
    for byte in noise.iter_mut() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    }
    std::fs::write(&file, noise).unwrap();
    let [_, error] = dry(&named);
    assert!(error.contains("as random bytes have"), "{error}");
}

/// Figure 3 at the paper's scale is about lists of prompts.
#[test]
fn prompts_are_brought_for_figure_3() {
    let dir = tempfile::tempdir().unwrap();
    let out = text(dir.path());
    let error = fail(&["reproduce", "fig3", "--scale", "paper", "--out", out]);
    assert!(
        error.contains("--memorised FILE --others FILE") && error.contains("500"),
        "{error}"
    );
    let lists = ["memorised.txt", "others.txt"].map(|name| dir.path().join(name));
    std::fs::write(&lists[0], "a red hat\n\na dog\n").unwrap();
    std::fs::write(&lists[1], "a cat\n").unwrap();
    let base = dir.path().join("sd");
    std::fs::create_dir_all(&base).unwrap();
    std::fs::write(base.join("model_index.json"), "{}").unwrap();
    let named = format!("sd15={}", text(&base));
    let args = [
        "reproduce",
        "fig3",
        "--scale",
        "paper",
        "--out",
        out,
        "--memorised",
        text(&lists[0]),
        "--others",
        text(&lists[1]),
        "--base",
        &named,
        "--dry-run",
    ];
    let said = String::from_utf8_lossy(&succeed(&args).stdout).into_owned();
    assert!(
        said.contains("2 prompts that are said to be memorised, 1 others; 12 images"),
        "{said}"
    );
    let error = fail(&[
        "reproduce",
        "table3",
        "--memorised",
        "x",
        "--others",
        "y",
        "--out",
        out,
    ]);
    assert!(error.contains("fig3 --scale paper"), "{error}");
}

/// A run at paper scale on 160 noise pictures in the form of CIFAR-10, with a member list in the form of the SecMI code.
#[test]
fn a_published_split_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let out = text(dir.path());
    let images = dir.path().join("data_batch_1.bin");
    let mut state = 1_u32;
    let bytes: Vec<u8> = (0..160 * 3073)
        .map(|i| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if i % 3073 == 0 {
                0
            } else {
                (state >> 24) as u8
            }
        })
        .collect();
    std::fs::write(&images, bytes).unwrap();
    let golden = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/golden/reproduce/split.npz"
    );
    let (data, split) = (
        format!("cifar10={}", text(&images)),
        format!("cifar10={golden}"),
    );
    let run = dir.path().join("paper/cifar10/seed-0");
    let mut args = vec![
        "reproduce",
        "table10",
        "--scale",
        "paper",
        "--out",
        out,
        "--seeds",
        "1",
        "-q",
    ];
    args.extend(["--data", &data, "--split", &split]);
    let models = "models=[{name=\"baseline\",defense=\"none\"}]";
    for set in TINY.iter().chain([&"model.preset=tiny", &models]) {
        args.extend(["--set", set]);
    }
    // A split that was drawn here is not taken for the published one.
    std::fs::create_dir_all(&run).unwrap();
    let file = run.join("split.json");
    succeed(&["split", text(&images), "--members", "40", "-o", text(&file)]);
    let error = fail(&args);
    assert!(error.contains("was drawn here"), "{error}");
    std::fs::remove_file(&file).unwrap();

    let printed = succeed(&args);
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(
        printed.contains("paper CIFAR10 AUC") && printed.contains("One seed"),
        "{printed}"
    );
    let split = json(&file);
    assert_eq!(split["method"], "import");
    assert_eq!(json(&run.join("report.json"))["run"]["data"]["members"], 40);
    let table = json(&dir.path().join("table10-paper.json"));
    assert_eq!(
        table["numbers"][0]["paper"],
        serde_json::json!([["CIFAR10", 0.93]])
    );
}

/// `dualmd run --seeds` makes a run per seed and draws privacy against quality of the user's own models.
#[test]
fn an_experiment_with_several_seeds_has_a_frontier() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("own.toml");
    let toml = r#"
        [data]
        source = "fashion"
        [model]
        preset = "tiny"
        [[models]]
        name = "plain"
        defense = "none"
        [[models]]
        name = "short"
        defense = "none"
        train = { steps = 3 }
        [[models]]
        name = "decay"
        defense = "none"
        train = { weight_decay = 0.1 }
    "#;
    std::fs::write(&file, toml).unwrap();
    let out = dir.path().join("runs");
    let run = |seeds: &str| {
        let mut args = vec![
            "run",
            text(&file),
            "--out",
            text(&out),
            "-q",
            "--seeds",
            seeds,
        ];
        for set in &TINY {
            args.extend(["--set", set]);
        }
        args.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()
    };
    let two = run("2");
    let two: Vec<&str> = two.iter().map(String::as_str).collect();
    let printed = String::from_utf8_lossy(&succeed(&two).stdout).into_owned();
    assert!(printed.contains("privacy against quality:"), "{printed}");
    let seeds =
        [0, 1].map(|s| json(&out.join(format!("seed-{s}/report.json")))["run"]["seed"].clone());
    assert_eq!(seeds, [0, 1].map(Value::from));
    let table = std::fs::read_to_string(out.join("frontier.md")).unwrap();
    for row in [
        "| plain ",
        "| decay ",
        "2 seeds",
        "frontier-steps.svg",
        "- seed-1 (seed 1)",
    ] {
        assert!(table.contains(row), "{row}: {table}");
    }
    // At fewer steps it is the undefended model still: on its line, and in no row.
    assert!(!table.contains("| short "), "{table}");
    // The images have their own name, and not that of the experiment's file.
    assert!(
        table.contains("| fashion ") && !table.contains("| own.toml "),
        "{table}"
    );
    let numbers = json(&out.join("frontier.json"));
    assert_eq!(
        (&numbers["scale"], &numbers["seeds"]),
        (&Value::Null, &serde_json::json!([0, 1]))
    );
    assert!(
        std::fs::read_to_string(out.join("frontier.svg"))
            .unwrap()
            .contains(">decay<")
    );
    // One seed's run is not put among the others.
    let one = run("1");
    let one: Vec<&str> = one.iter().map(String::as_str).collect();
    let error = fail(&one);
    assert!(error.contains("--seeds"), "{error}");
}
