//! Exit codes, which scripts rely on: 0, 1 failure, 2 wrong arguments, 3 and 4 what `--fail-on` names; and models beside each other.

mod common;

use common::{TINY, dualmd, json, sides, text};
use serde_json::json as value;
use std::path::{Path, PathBuf};

/// Exit code, stdout and stderr of a call.
fn call(args: &[&str]) -> (i32, String, String) {
    let output = dualmd(args).output().expect("the binary starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(!err.contains("panicked"), "{err}");
    (output.status.code().expect("a code"), out, err)
}

/// 40 members and 200 others under two attacks: `loss` knows nothing, `sima` shifts members by `shift`.
fn scores(path: &Path, shift: f64) {
    let mut csv = String::from("sample_id,group,member,attack,score\n");
    for (attack, shift) in [("loss", 0.0), ("sima", shift)] {
        for i in 0..240 {
            let (member, n) = if i < 40 { (1, 40) } else { (0, 200) };
            let even = f64::from(i * 37 % n) / f64::from(n);
            csv.push_str(&format!(
                "s{i:03},,{member},{attack},{}\n",
                even + f64::from(member) * shift
            ));
        }
    }
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, csv).unwrap();
}

#[test]
fn roc_fails_on_a_leak_by_the_rule_of_the_report() {
    let dir = tempfile::tempdir().unwrap();
    let csv = |name: &str, shift: f64| {
        let path = dir.path().join(name);
        scores(&path, shift);
        path.display().to_string()
    };
    let (none, leak, lower) = (
        csv("none.csv", 0.0),
        csv("leak.csv", 0.4),
        csv("lower.csv", -0.4),
    );
    let code = |args: &[&str]| call(&[&["roc"], args].concat()).0;
    assert_eq!(code(&[&none, "--fail-on", "leak,inverted"]), 0);
    assert_eq!(code(&[&leak]), 0);
    let (found, table, why) = call(&["roc", &leak, "--fail-on", "leak"]);
    assert_eq!((found, why.trim()), (3, "--fail-on: sima: leak"));
    assert!(table.starts_with("loss: AUC 0.4900"), "{table}");
    // Whatever rates are asked for, and in JSON as well.
    assert_eq!(
        code(&[&leak, "--fail-on", "leak", "--fpr", "0.5", "--json"]),
        3
    );
    assert_eq!(code(&[&lower, "--fail-on", "leak"]), 0);
    assert_eq!(code(&[&lower, "--fail-on", "inverted"]), 3);
    for wrong in ["void", "set", "copies", "leaks"] {
        assert_eq!(code(&[&leak, "--fail-on", wrong]), 2, "{wrong}");
    }
    assert_eq!(code(&["no-such.csv", "--fail-on", "leak"]), 1);
}

/// A report's findings, and that a void one has none: on the terminal, in the files, and to a script.
#[test]
fn report_fails_on_what_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    scores(&run.join("scores/model.csv"), 0.4);
    let report = |fail: &str| match fail {
        "" => call(&["report", text(&run)]),
        what => call(&["report", text(&run), "--fail-on", what]),
    };
    assert_eq!(report("").0, 0);
    let (code, out, why) = report("leak,void");
    assert_eq!((code, why.trim()), (3, "--fail-on: model: leak"));
    assert!(
        out.contains("model: leak. Strongest of 2 attacks: "),
        "{out}"
    );
    assert_eq!(report("void").0, 0);
    assert_eq!(report("set").0, 0);
    let (_, summary, _) = call(&["report", text(&run), "--summary"]);
    assert!(
        summary.lines().count() == 3 && summary.starts_with("leak: model\n"),
        "{summary}"
    );
    let controls = value!({"blind_baseline": {"auc": 0.93, "auc_ci": [0.90, 0.95]}});
    std::fs::write(run.join("controls.json"), controls.to_string()).unwrap();
    let (code, out, _) = report("leak,void");
    assert_eq!(code, 4);
    assert!(
        out.starts_with("VOID: A classifier that never saw the model"),
        "{out}"
    );
    assert!(!out.contains("0.82") && !out.contains("leak"), "{out}");
    // A void report does not pass for one without a leak.
    for named in ["leak", "set", "void"] {
        let (code, _, why) = report(named);
        assert!(
            code == 4 && why.contains("--fail-on: the report is void"),
            "{named}: {code} {why}"
        );
    }
    assert_eq!(report("").0, 0);
    let file = json(&run.join("report.json"));
    assert_eq!(file["verdict"]["models"][0]["finding"], "void");
    assert_eq!(file["models"][0]["results"][1]["finding"], "void");
    let csv = std::fs::read_to_string(run.join("findings.csv")).unwrap();
    assert!(csv.contains(",void,") && !csv.contains("leak"), "{csv}");
    assert_eq!(call(&["report", text(&dir.path().join("none"))]).0, 1);
}

#[test]
fn wrong_arguments_are_told_from_failures() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tiny.toml");
    std::fs::write(&file, TINY).unwrap();
    let (file, out) = (text(&file), dir.path().join("out").display().to_string());
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/tiny-ddpm");
    let (members, others) = sides(dir.path(), 4);
    let csv = dir.path().join("s.csv").display().to_string();
    let images = ["--members", text(&members), "--nonmembers", text(&others)];
    let attack = |more: &[&'static str]| -> Vec<String> {
        let all = [
            &["attack", model][..],
            more,
            &images[..],
            &["-o", csv.as_str()],
        ]
        .concat();
        all.into_iter().map(str::to_owned).collect()
    };
    let of = |args: &[&str]| {
        args.iter()
            .map(|a| (*a).to_owned())
            .collect::<Vec<String>>()
    };
    for args in [
        of(&["run"]),
        of(&["run", "--out", &out]),
        of(&["run", "--preset", "nosuch"]),
        of(&["run", file, "--out", &out, "--set", "train.stps=3"]),
        of(&["run", file, "--out", &out, "--set", "train.steps=many"]),
        of(&["run", file, "--out", &out, "--set", "train.steps=0"]),
        of(&["run", file, "--out", &out, "--set", "models.9.name=x"]),
        of(&[
            "run",
            file,
            "--out",
            &out,
            "--until",
            "split",
            "--fail-on",
            "leak",
        ]),
        attack(&["--attacks", "clid"]),
        attack(&["--attacks", "nosuch"]),
        attack(&[model]),
    ] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (code, _, why) = call(&args);
        assert_eq!(code, 2, "{args:?}: {why}");
        assert!(why.starts_with("error: "), "{why}");
    }
    // What a file says is a failure, and so is a file that is not there.
    let wrong = dir.path().join("wrong.toml");
    std::fs::write(&wrong, TINY.replace("steps = 60", "steps = 0")).unwrap();
    assert_eq!(call(&["run", text(&wrong), "--out", &out]).0, 1);
    assert_eq!(call(&["run", "no-such.toml", "--out", &out]).0, 1);
}

/// Two models beside each other in one report; a pair only where it is asked for.
#[test]
fn two_models_are_two_models() {
    let dir = tempfile::tempdir().unwrap();
    let golden = |name: &str| -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/golden")
            .join(name)
    };
    let model = golden("tiny-ddpm");
    let (members, others) = sides(dir.path(), 12);
    let audit = |models: &[&str], out: &Path| {
        let images = ["--members", text(&members), "--nonmembers", text(&others)];
        let small = [
            "--attacks",
            "sima,loss",
            "--images",
            "6",
            "--steps",
            "2",
            "--features",
            "none",
        ];
        let rest = [
            "-o",
            text(out),
            "--fail-on",
            "leak,inverted,set,copies,void",
        ];
        call(&[&["audit"], models, &images[..], &small[..], &rest[..]].concat())
    };
    let named = |name: &str| format!("{name}={}", model.display());
    let both = dir.path().join("both");
    let (code, out, said) = audit(
        &["--model", &named("first"), "--model", &named("second")],
        &both,
    );
    assert!(
        said.contains("2 models, each by itself: first, second"),
        "{said}"
    );
    assert!(
        out.contains("\nfirst ") && out.contains("\nsecond ") || out.starts_with("VOID"),
        "{out}"
    );
    let report = json(&both.join("report.json"));
    let models = report["models"].as_array().unwrap();
    let names: Vec<&str> = models.iter().filter_map(|m| m["name"].as_str()).collect();
    assert_eq!(names, ["first", "second"]);
    assert!(
        models
            .iter()
            .all(|m| m["defense"] == "unknown" && m["weights_blake3"].is_string())
    );
    // The same weights give the same scores: attack by attack no difference on the same images.
    let compared = report["comparisons"].as_array().unwrap();
    assert_eq!(compared.len(), 2);
    assert!(
        compared
            .iter()
            .all(|c| c["baseline"] == "first" && c["difference"] == 0.0),
        "{compared:?}"
    );
    assert_eq!(report["verdict"]["models"].as_array().unwrap().len(), 2);
    let equal = &json(&both.join("samples/first/nearest.json"))["equal"];
    assert_eq!((&equal["n"], &equal["generated"]), (&12.into(), &6.into()));
    // The exit code is the report's.
    let findings: Vec<&str> = (report["verdict"]["models"].as_array().unwrap().iter())
        .filter_map(|m| m["finding"].as_str())
        .collect();
    let expected = match findings[0] {
        "chance" => 0,
        "void" => 4,
        _ => 3,
    };
    assert_eq!(code, expected, "{findings:?} {said}");
    // Scores of models that are not audited now would stand in the report as if they were.
    let (code, _, said) = audit(&[text(&model)], &both);
    assert!(
        code == 2 && said.contains("first.csv") && said.contains("--model first=FOLDER"),
        "{code} {said}"
    );
    // The same name twice; two folders are two models, and of what does not say that it is one, no pair.
    let (code, _, said) = audit(&[text(&model), text(&model)], &dir.path().join("twice"));
    assert!(
        code == 2 && said.contains("would both be called tiny-ddpm"),
        "{code} {said}"
    );
    let (code, _, said) = audit(&[text(&model), "no-such-model"], &dir.path().join("none"));
    assert!(code == 1 && said.contains("no-such-model"), "{code} {said}");
    assert!(
        !dir.path().join("none/scores/tiny-ddpm.csv").exists(),
        "said before the first is attacked"
    );
    let pair = dir.path().join("pair");
    let images = ["--members", text(&members), "--nonmembers", text(&others)];
    let of_pair = [
        "--pair",
        text(&model),
        text(&model),
        "--attacks",
        "nn",
        "--images",
        "6",
        "--steps",
        "2",
        "--features",
        "none",
    ];
    let (code, _, said) =
        call(&[&["audit"], &of_pair[..], &images[..], &["-o", text(&pair)]].concat());
    assert_eq!(code, 0, "{said}");
    assert_eq!(
        json(&pair.join("report.json"))["models"][0]["title"],
        "DualMD pair"
    );
}

/// Before hours of work: what would be done, what it takes, and what speaks against it; in three lines for a log.
#[test]
fn a_check_says_beforehand_what_speaks_against_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/tiny-ddpm");
    let (members, others) = sides(dir.path(), 12);
    let out = dir.path().join("audit");
    let check = |others: &Path, more: &[&str]| {
        let images = ["--members", text(&members), "--nonmembers", text(others)];
        let asked = [
            "audit",
            text(&model),
            "--attacks",
            "sima,loss",
            "-o",
            text(&out),
        ];
        call(&[&asked[..], &images[..], &["--check"], more].concat())
    };
    let (code, lines, _) = check(&others, &[]);
    assert_eq!(code, 0);
    for wanted in [
        "12 members and 12 non-members",
        "attacks on model: sima, loss",
        "to generate images",
        "look at: few images: with 12 members and 12 non-members a leak below AUC ",
        "look at: few non-members: ",
    ] {
        assert!(lines.contains(wanted), "{wanted}\n{lines}");
    }
    let (code, summary, _) = check(&others, &["--summary"]);
    assert_eq!((code, summary.lines().count()), (0, 3), "{summary}");
    assert!(summary.starts_with("1 model, 2 attacks; "), "{summary}");
    // The same for programs, in one line.
    let (code, line, _) = check(&others, &["--json"]);
    assert_eq!((code, line.lines().count()), (0, 1), "{line}");
    let found: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&found["n_members"], &found["n_nonmembers"]),
        (&12.into(), &12.into())
    );
    assert_eq!(found["models"][0]["name"], "model");
    assert_eq!(
        found["models"][0]["attacks"],
        serde_json::json!(["sima", "loss"])
    );
    for seconds in ["seconds_to_generate", "seconds_to_attack"] {
        assert!(found[seconds].as_f64().unwrap() >= 0.0, "{line}");
    }
    let problems = found["problems"].as_array().unwrap();
    let few = |said: &serde_json::Value| said.as_str().unwrap().starts_with("few images: ");
    assert!(problems.iter().any(few), "{line}");
    let all: Vec<&str> = lines.lines().collect();
    assert_eq!(found["lines"].as_array().unwrap().len(), all.len());
    // The same images on both sides are refused here, not after hours.
    let (code, _, why) = check(&members, &[]);
    assert!(
        code == 1 && why.contains("are the same image"),
        "{code} {why}"
    );
    assert!(!out.exists(), "nothing is written");

    // What no model of this schedule can be asked: told where others are left, refused where none is, with --check and without.
    let of = |attacks: &str, more: &[&str]| {
        let images = ["--members", text(&members), "--nonmembers", text(&others)];
        let asked = [
            "audit",
            text(&model),
            "--attacks",
            attacks,
            "-o",
            text(&out),
        ];
        call(&[&asked[..], &images[..], more].concat())
    };
    let (code, lines, why) = of("loss,sima@5000", &["--check"]);
    assert!(
        code == 0 && lines.contains("look at: attack sima@5000: timestep 5000 is outside"),
        "{lines}{why}"
    );
    for more in [&["--check"][..], &[]] {
        let (code, _, why) = of("sima@5000,secmi@155", more);
        assert!(
            code == 2 && why.contains("timestep 5000") && why.contains("t_sec = 155"),
            "{code} {why}"
        );
        assert!(!out.join("samples").exists(), "nothing is generated");
    }
}

/// A place that the report could not be written to is found by the check, and not after the work.
#[test]
fn a_check_finds_a_place_that_cannot_be_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/tiny-ddpm");
    let (members, others) = sides(dir.path(), 12);
    let at = |name: &str| dir.path().join(name);
    let check = |out: &Path, more: &[&str]| {
        let images = ["--members", text(&members), "--nonmembers", text(&others)];
        let asked = ["audit", text(&model), "--attacks", "loss", "-o", text(out)];
        call(&[&asked[..], &images[..], &["--check"], more].concat())
    };
    let refused = |out: &Path, more: &[&str], code: i32, word: &str| {
        let (found, printed, why) = check(out, more);
        assert!(found == code && why.contains(word), "{found} {word}: {why}");
        assert!(printed.is_empty(), "{printed}");
    };
    std::fs::write(at("file"), "").unwrap();
    refused(&at("file"), &[], 1, "cannot write to the folder");
    refused(&at("file/below"), &[], 1, "cannot write to the folder");
    // A run; scores of another model; a folder where the report should be.
    let folder = |name: &str| std::fs::create_dir_all(at(name)).unwrap();
    folder("run");
    std::fs::write(at("run/experiment.toml"), "").unwrap();
    refused(&at("run"), &[], 2, "holds a run of");
    scores(&at("other/scores/other.csv"), 0.0);
    refused(&at("other"), &[], 2, "other.csv");
    folder("taken/report.html");
    refused(&at("taken"), &[], 1, "report.html");
    // Another form of the report, too.
    let nowhere = format!("junit={}", at("no-folder/junit.xml").display());
    refused(&at("new"), &["--also", &nowhere], 1, "junit.xml");
    let beside = format!("junit={}", at("new/junit.xml").display());
    let (code, _, why) = check(&at("new"), &["--also", &beside]);
    assert_eq!(code, 0, "{why}");
    assert!(!at("new").exists() && !at("other/plan.json").exists());
}

/// Every file below a folder, with when it was written.
fn written(folder: &Path) -> Vec<(PathBuf, std::time::SystemTime)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            match entry.path().is_dir() {
                true => folders.push(entry.path()),
                false => found.push((entry.path(), entry.metadata().unwrap().modified().unwrap())),
            }
        }
    }
    found.sort();
    found
}

/// The same of a run: about what it takes, what would stop it now or after hours, and nothing is written.
#[test]
fn a_check_of_a_run_says_beforehand_what_it_takes_and_what_would_stop_it() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let file = at("tiny.toml");
    std::fs::write(&file, TINY).unwrap();
    let run = |out: &Path, more: &[&str]| {
        let asked = ["run", text(&file), "--out", text(out), "--threads", "2"];
        call(&[&asked[..], more].concat())
    };
    let check = |out: &Path, more: &[&str]| run(out, &[&["--check"][..], more].concat());
    let out = at("runs/tiny");
    let (code, lines, why) = check(&out, &[]);
    assert_eq!(code, 0, "{lines}{why}");
    for wanted in [
        "images: 8 members and 40 non-members of ",
        "\nstage    models  about\n",
        "2 at a time with 1 thread each",
        "\n  teacher-1 ",
        "\nmemory: about ",
        "\ndisk: about ",
        "\nestimated: at most 3 steps of every kind of training were timed",
    ] {
        assert!(lines.contains(wanted), "{wanted}\n{lines}");
    }
    assert!(!lines.contains("problem"), "{lines}");
    let (code, printed, why) = check(&out, &["--json", "--seeds", "2"]);
    assert_eq!(code, 0, "{printed}{why}");
    let found: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(
        (&found["schema"], &found["seeds"]),
        (&value!(1), &value!(2))
    );
    assert_eq!(found["problems"], value!([]));
    assert_eq!(found["images"]["members"], 8);
    let above = |number: &serde_json::Value| number.as_f64().is_some_and(|n| n > 0.0);
    let trainings = found["trainings"].as_array().unwrap();
    let names: Vec<&str> = trainings
        .iter()
        .filter_map(|training| training["name"].as_str())
        .collect();
    assert_eq!(names, ["teacher-1", "teacher-2", "baseline", "student"]);
    for training in trainings {
        assert_eq!(
            (&training["steps"], &training["timed_batch"]),
            (&value!(60), &value!(8))
        );
        assert!(
            above(&training["step_seconds"]) && above(&training["seconds"]),
            "{training}"
        );
    }
    let stages = found["stages"].as_array().unwrap();
    let of: Vec<&serde_json::Value> = stages.iter().map(|stage| &stage["models"]).collect();
    assert_eq!(of, [4, 5, 5], "{found}");
    let each: f64 = stages
        .iter()
        .filter_map(|stage| stage["seconds"].as_f64())
        .sum();
    let all = found["seconds"].as_f64().unwrap();
    assert!(
        each > 0.0 && (all - 2.0 * each).abs() < 1e-9 * all,
        "{found}"
    );
    assert!(
        above(&found["memory"]["one_gb"]) && above(&found["disk"]["needed_gb"]),
        "{found}"
    );
    let (code, summary, _) = check(&out, &["--summary", "--until", "train"]);
    assert_eq!((code, summary.lines().count()), (0, 3), "{summary}");
    assert!(
        summary.contains("tiny: train 4 models\nabout "),
        "{summary}"
    );
    assert!(!at("runs").exists(), "nothing is written");

    // What would stop it, each with its remedy; the estimate stands below it.
    let stops = |out: &Path, more: &[&str], wanted: &str| {
        let (code, lines, why) = check(out, more);
        assert_eq!(code, 1, "{lines}{why}");
        let problem = lines.lines().next().unwrap_or_default();
        assert!(
            problem.starts_with("problem: ") && problem.contains(wanted),
            "{wanted}: {lines}"
        );
        assert!(lines.contains("\nstage "), "{lines}");
    };
    let many = ["--set", "data.members=100000"];
    stops(&out, &many, "not enough for 100000 members");
    stops(
        &file,
        &[],
        "tiny.toml is no folder: choose another folder (--out)",
    );
    stops(
        &file.join("run"),
        &[],
        "tiny.toml is no folder: choose another folder (--out)",
    );
    let private = [
        "--set",
        "models.0.defense=dp-sgd",
        "--set",
        "models.0.noise_multiplier=1.0",
        "--set",
        "train.batch=16",
    ];
    stops(
        &out,
        &private,
        "model baseline: train.batch = 16: with DP-SGD at most",
    );
    let late = [
        "--set",
        "audit.attacks=[\"loss\", \"sima@5000\", \"secmi@155\"]",
    ];
    let why = "audit.attacks: attack sima@5000: timestep 5000 is outside the model's schedule: choose 0 to 999; attack secmi@155: ";
    stops(&out, &late, why);
    let nowhere = text(&file).replace("tiny.toml", "none");
    let nowhere = format!("sample.features_weights={nowhere}");
    let features = ["--set", "sample.features=vit", "--set", &nowhere];
    stops(&out, &features, "sample.features");
    assert!(!at("runs").exists(), "nothing is written");
    // The run itself says so before it trains.
    let refused: [(&[&str], &str); 3] = [
        (&late, "sima@5000"),
        (&features, "sample.features"),
        (&private, "train.batch = 16"),
    ];
    for (place, (asked, wanted)) in refused.into_iter().enumerate() {
        let late = at(&format!("late-{place}"));
        let (code, _, why) = run(&late, asked);
        assert!(code > 0 && why.contains(wanted), "{code} {why}");
        assert!(!late.join("models").exists(), "{why}");
    }
    let (code, lines, why) = check(&out, &["--set", "train.stepz=3"]);
    assert!(
        code == 2 && lines.is_empty() && why.contains("train.stepz") && why.contains("train.steps"),
        "{code} {lines} {why}"
    );

    // A folder that is there stays as it is, whether it is this experiment's or another one's.
    let there = at("there");
    let (code, _, why) = run(&there, &["--until", "split"]);
    assert_eq!(code, 0, "{why}");
    let before = written(&there);
    let (code, lines, _) = check(&there, &[]);
    assert_eq!(code, 0, "{lines}");
    let other = ["--set", "train.steps=61"];
    stops(
        &there,
        &other,
        "another experiment: train.steps was 60, now it is 61",
    );
    assert_eq!(written(&there), before);
}

/// What is wrong before the flags are understood is an object a line too, however many lines it has.
#[test]
fn refusals_are_json_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let settings = dir.path().join("config.toml");
    std::fs::write(&settings, "thread = 3\n").unwrap();
    let given = |variables: &[(&str, &str)], args: &[&str]| {
        let mut command = dualmd(args);
        command.envs(variables.iter().copied());
        let output = command.output().expect("the binary starts");
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), said)
    };
    let bogus = ["audit", "--bogus", "--log-format", "json"];
    let list = ["list", "attacks", "--log-format=json"];
    let several = [
        "audit",
        "m",
        "--members",
        "a",
        "--nonmembers",
        "b",
        "-o",
        "c",
        "--attacks",
        "simaa",
        "--check",
        "--log-format",
        "json",
    ];
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], &'a str);
    let cases: [Case<'_>; 4] = [
        (&[], &bogus, "--bogus"),
        (&[], &several, "simaa"),
        (&[("DUALMD_THREADS", "abc")], &list, "DUALMD_THREADS"),
        (&[("DUALMD_CONFIG", text(&settings))], &list, "config.toml"),
    ];
    for (variables, args, word) in cases {
        let (code, said) = given(variables, args);
        assert_eq!((code, said.lines().count()), (Some(2), 1), "{said}");
        let value: serde_json::Value = serde_json::from_str(said.trim_end()).unwrap();
        assert_eq!(value["event"], "error");
        assert!(value["text"].as_str().unwrap().contains(word), "{said}");
    }
    // Without the flag it is for people.
    let (code, said) = given(&[], &["audit", "--bogus"]);
    assert!(code == Some(2) && said.lines().count() > 1, "{said}");
}

/// The line of the guide for pipelines: one object on standard output, an object a line on standard error, and a report that may
/// be kept.
#[test]
fn a_pipeline_reads_json_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let image = |set: &str, name: &str| {
        let (code, _, said) = call(&[
            "export",
            "images",
            set,
            "--split",
            &path("split.json"),
            "--image-size",
            "16",
            "-o",
            &path(name),
        ]);
        assert_eq!(code, 0, "{said}");
    };
    let (code, _, said) = call(&[
        "split",
        "fashion",
        "--members",
        "12",
        "--nonmembers",
        "12",
        "-o",
        &path("split.json"),
    ]);
    assert_eq!(code, 0, "{said}");
    image("fashion#member", "members");
    image("fashion#nonmember", "others");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/tiny-ddpm");
    let audit = |model: &str| {
        call(&[
            "audit",
            model,
            "--members",
            &path("members"),
            "--nonmembers",
            &path("others"),
            "--attacks",
            "loss,sima",
            "--images",
            "4",
            "--steps",
            "2",
            "-o",
            &path("audit"),
            "--fail-on",
            "leak,void",
            "--json",
            "--no-images",
            "-q",
            "--log-format",
            "json",
        ])
    };
    let (code, out, log) = audit(&model.display().to_string());
    assert!(matches!(code, 0 | 3 | 4), "{code}: {log}");
    let concluded: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(concluded["verdict"]["models"].is_array(), "{out}");
    assert_eq!(out.lines().count(), 1);
    let events = |log: &str| -> Vec<String> {
        let lines = log.lines().map(|line| {
            let value: serde_json::Value =
                serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
            value["event"].as_str().unwrap().to_owned()
        });
        lines.collect()
    };
    assert!(events(&log).contains(&"progress".to_owned()), "{log}");
    // Every line has a time; work has a stage and how much of it is done; what was found is there too.
    let mut stages = std::collections::BTreeSet::new();
    let mut results = Vec::new();
    for line in log.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let keys = value.as_object().unwrap();
        assert!(
            value["time"].as_str().is_some_and(|t| t.ends_with('Z')),
            "{line}"
        );
        let (allowed, needed): (&[&str], &[&str]) = match value["event"].as_str().unwrap() {
            "progress" => (
                &[
                    "epoch",
                    "loss",
                    "task",
                    "run_seconds_left",
                    "run_left_without",
                ],
                &["model", "stage", "step", "total", "images_per_second"],
            ),
            "finished" => (&[], &["model", "note"]),
            "working" => (&["model", "task"], &["seconds"]),
            "result" => (&[], &["model", "finding"]),
            "message" | "error" => (&[], &["text"]),
            other => panic!("{other}: {line}"),
        };
        assert!(needed.iter().all(|key| keys.contains_key(*key)), "{line}");
        let known = |key: &str| ["event", "time"].contains(&key) || needed.contains(&key);
        assert!(
            keys.keys()
                .all(|key| known(key) || allowed.contains(&key.as_str())),
            "{line}"
        );
        // A model is a model of the report, whatever is done with it.
        if keys.contains_key("model") {
            assert_eq!(value["model"], "model", "{line}");
        }
        match value["event"].as_str() {
            Some("progress") => {
                assert!(value["step"].as_u64() <= value["total"].as_u64(), "{line}");
                stages.insert(value["stage"].as_str().unwrap().to_owned());
            }
            Some("result") => results.push(value["finding"].clone()),
            _ => {}
        }
    }
    assert!(
        stages.contains("generate") && stages.contains("attack"),
        "{stages:?}"
    );
    assert_eq!(
        results,
        [concluded["verdict"]["models"][0]["finding"].clone()]
    );
    let page = std::fs::read_to_string(dir.path().join("audit/report.html")).unwrap();
    assert!(!page.contains("data:image/png"));
    // Made to be passed on, it stays so when it is written anew, unless its images are asked for.
    let folder = path("audit");
    let anew = |more: &[&str]| {
        let asked = ["report", folder.as_str()];
        let (code, _, said) = call(&[&asked[..], more].concat());
        assert_eq!(code, 0, "{said}");
        let json = std::fs::read_to_string(dir.path().join("audit/report.json")).unwrap();
        let report: serde_json::Value = serde_json::from_str(&json).unwrap();
        let told = said.contains("written without images and stays so");
        (report["images_left_out"] == true, told)
    };
    assert_eq!(anew(&[]), (true, true));
    assert_eq!(anew(&["--no-images"]), (true, false));
    assert_eq!(anew(&["--with-images"]), (false, false));
    assert_eq!(anew(&[]), (false, false));
    // A failure is an object as well.
    let (code, out, log) = audit(&path("no-such-model"));
    assert_eq!(
        (code, out.as_str(), events(&log)),
        (1, "", vec!["error".to_owned()])
    );
}

/// The script of the guide, as a pipeline runs it: what may be kept is there and shows nobody, every line of the log is an object, and
/// the step's exit code is the report's.
#[test]
fn the_script_for_pipelines_fails_on_what_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/tiny-ddpm");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ci/audit.sh");
    let (members, others) = sides(dir.path(), 12);
    let out = dir.path().join("job");
    let folder = Path::new(env!("CARGO_BIN_EXE_dualmd")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let run = |model: &Path| {
        let output = std::process::Command::new("sh")
            .arg(&script)
            .args([model, members.as_path(), others.as_path(), out.as_path()])
            .args(["--attacks", "loss,sima", "--images", "4", "--steps", "2"])
            .env("PATH", &path)
            .env("OMP_NUM_THREADS", "1")
            .env("DUALMD_SSCD", "no-such-folder")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code().unwrap(), said)
    };
    let (code, said) = run(&model);
    assert_eq!(said.lines().count(), 3, "{said}");
    let kept = |name: &str| std::fs::read_to_string(out.join("kept").join(name)).unwrap();
    let verdict: serde_json::Value = serde_json::from_str(&kept("verdict.json")).unwrap();
    let finding = verdict["verdict"]["models"][0]["finding"].as_str().unwrap();
    let expected = match finding {
        "chance" | "unknown" => 0,
        "void" => 4,
        _ => 3,
    };
    assert_eq!(code, expected, "{finding}");
    let log = kept("log.jsonl");
    assert!(log.lines().count() > 2);
    for line in log.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            value["event"].is_string() && value["time"].is_string(),
            "{line}"
        );
    }
    assert!(kept("junit.xml").starts_with("<?xml") && kept("report.sarif").contains("2.1.0"));
    for file in ["report.html", "report.json", "findings.csv"] {
        let text = kept(file);
        assert!(!text.contains("data:image/png"), "{file}");
        // The ids of the images are those of the scores.
        let scores = std::fs::read_to_string(out.join("audit/scores/model.csv")).unwrap();
        let id = scores.lines().nth(1).unwrap().split(',').next().unwrap();
        assert!(id.len() > 20 && !text.contains(id), "{file} has {id}");
    }
    // What cannot be opened fails before anything is computed.
    assert_eq!(run(&dir.path().join("no-model")).0, 1);
}
