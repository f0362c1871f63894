//! The table of defences on made-up runs; every expected cell is computed by hand.

use super::attackers::{Attacker, State};
use super::collect::{Collected, Expected, seed_in};
use super::view::{Drawn, cells, draw};
use super::{Family, pieces};
use crate::fixture::{model, options, row, said};
use crate::study::Study;
use crate::table::Table;
use crate::{ReproduceOptions, What};
use dualmd::experiment::Experiment;
use dualmd_names::{AttackSpec, Defense};
use dualmd_record::extraction::{Extracted, Extraction, ExtractionAttack};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What a report says of an attack more than the fixture does: whom it needs, and how many of 64 members it finds.
fn told(model: &mut Value, attack: &str, access: &str, found: usize) {
    let results = model["results"].as_array_mut().unwrap();
    let own = results.iter_mut().find(|r| r["attack"] == attack).unwrap();
    own["access"] = json!(access);
    own["tpr_at_fpr"][1]["tp"] = json!(found);
    own["tpr_at_fpr"][1]["n_members"] = json!(64);
}

/// `train` and the trainings of a plan: two models that need nothing and one that needs both, of 1,600 steps of 32 each.
fn plan(seed: u64) -> Value {
    json!({
        "seed": seed, "split_hash": format!("split {seed}"),
        "data": { "members": 64, "nonmembers": 512, "image_size": 16 },
        "train": { "steps": 1600, "batch": 32 },
        "sample": { "steps": 50 },
        "models": [
            { "name": "baseline", "parts": ["baseline"] },
            { "name": "dualmd", "parts": ["teacher-1", "teacher-2"] },
            { "name": "student", "parts": ["student"] },
        ],
        "trainings": [
            { "name": "baseline", "kind": "baseline", "needs": [] },
            { "name": "teacher-1", "kind": "teacher", "needs": [] },
            { "name": "teacher-2", "kind": "teacher", "needs": [] },
            { "name": "student", "kind": "student", "needs": ["teacher-1", "teacher-2"] },
        ],
    })
}

fn write(folder: &Path, plan: &Value, models: &[Value]) {
    std::fs::create_dir_all(folder).unwrap();
    let report = json!({ "schema": 1, "run": plan, "models": models });
    std::fs::write(folder.join("report.json"), report.to_string()).unwrap();
}

/// A run of the undefended model, the pair and the student; in seed 1 everything is 0.02 less.
fn main_run(folder: &Path, seed: u64) {
    let by = -0.02 * seed as f64;
    let mut baseline = model(
        "baseline none 1600 2 loss=0.99+ sima=0.90+ nn=0.60+ combined+shadow=0.95+",
        by,
    );
    told(&mut baseline, "loss", "white-box", 60);
    told(&mut baseline, "nn", "black-box", 5);
    baseline["weights_blake3"] = json!(format!("weights {seed}"));
    baseline["image_utility"]["at_equal_n"] = json!(12.5);
    baseline["image_utility"]["floor"] = json!(10.5);
    baseline["image_utility"]["precision"] = json!(0.75);
    let needed = match seed {
        0 => json!(2),
        _ => Value::Null,
    };
    baseline["sets"] = json!({ "features": null, "tests": [], "inference": {
        "features": ["loss", "sima"], "power": [power(1), power(2)], "images_needed": needed,
    } });
    let mut pair = model("dualmd dualmd 1600 6 nn=0.55+", by);
    told(&mut pair, "nn", "black-box", 2);
    let mut teacher = model("teacher-1 teacher 1600 6 loss=0.80 nn=0.50", 0.0);
    // Judged on its own half, which it finds by 0.1 more.
    teacher["primary"] = json!("d1");
    told(&mut teacher, "loss", "white-box", 50);
    let student = model("student distillmd 1600 4 loss=0.70+ nn=0.52+", by);
    write(folder, &plan(seed), &[baseline, pair, teacher, student]);
}

fn power(k: usize) -> Value {
    json!({ "k": k, "power": 0.5, "ci": [0.4, 0.6], "false_alarm": 0.05, "false_alarm_ci": [0.0, 0.1] })
}

fn rows() -> Vec<Expected> {
    let of = |name: &str, defense| Expected {
        name: name.to_owned(),
        defense,
    };
    vec![
        of("baseline", Defense::None),
        of("dualmd", Defense::Dualmd),
        of("student", Defense::Distillmd),
        of("early-stopping", Defense::EarlyStopping),
        of("smp", Defense::Smp),
    ]
}

/// What was extracted from the model of some weights, or of a folder.
fn extraction(path: &Path, weights: &str, folder: &str, extracted: usize) {
    let of = |extracted: usize| Extracted {
        extracted,
        n: 64,
        share: extracted as f64 / 64.0,
        share_ci: [0.0, 1.0],
    };
    let attack = |name: &str, k: usize| ExtractionAttack {
        name: name.to_owned(),
        members: of(k),
        control: of(1),
        ..ExtractionAttack::default()
    };
    let found = Extraction {
        models: vec![folder.to_owned()],
        weights_blake3: weights.to_owned(),
        generated: 2048,
        attacks: vec![attack("cliques", extracted), attack("every", 64)],
        ..Extraction::default()
    };
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    dualmd_record::write(path, &found).unwrap();
}

fn collect(paths: &[PathBuf]) -> Collected {
    Collected::read("toy", "Toy", paths, &rows()).unwrap()
}

/// The cells of a row after its name.
fn cells_of(drawn: &Drawn, method: &str) -> Vec<String> {
    cells_in(&drawn.table, method)
}

/// The same of its quality and cost.
fn worth_of(drawn: &Drawn, method: &str) -> Vec<String> {
    cells_in(&drawn.table.also[0], method)
}

fn cells_in(table: &Table, method: &str) -> Vec<String> {
    let text = row(table, &format!("{method} | "));
    text.split(" | ").skip(1).map(str::to_owned).collect()
}

/// The lines of the table of cells, by (model, seed, attacker or metric).
fn lines(collected: &Collected, drawn: &Drawn, out: &Path) -> Vec<csv::StringRecord> {
    let bytes = cells(collected, &drawn.rows, out).unwrap();
    let mut csv = csv::Reader::from_reader(bytes.as_slice());
    csv.records().collect::<Result<_, _>>().unwrap()
}

fn line<'a>(
    lines: &'a [csv::StringRecord],
    model: &str,
    seed: &str,
    what: &str,
) -> &'a csv::StringRecord {
    let mut all = lines.iter();
    let found = all.find(|l| &l[0] == model && &l[2] == seed && (&l[3] == what || &l[6] == what));
    found.unwrap_or_else(|| panic!("no line {model} {seed} {what}"))
}

/// Two runs of a seed and one of another: rows are put together, and each cell says where it is from.
#[test]
fn rows_of_several_runs_are_one_table() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for seed in [0, 1] {
        main_run(&at(&format!("main/seed-{seed}")), seed);
    }
    extraction(
        &at("main/seed-0/extraction/baseline/extraction.json"),
        "weights 0",
        "elsewhere",
        48,
    );
    extraction(
        &at("by-folder/extraction.json"),
        "",
        "old/seed-1/models/student",
        4,
    );
    // By its defence it is the row early-stopping; new-one has a row of its own.
    let early = model("early early-stopping 800 3 loss=0.65", 0.0);
    let new = model("new-one none 1600 3 loss=0.60", 0.0);
    let mut other = plan(0);
    other["train"]["weight_decay"] = json!(0.1);
    write(&at("other"), &other, &[early, new]);
    let collected = collect(&[at("main"), at("other"), at("by-folder")]);
    assert_eq!(collected.places.len(), 5);
    assert!(collected.notes.is_empty(), "{:?}", collected.notes);
    let drawn = draw(&collected).unwrap();
    // 0.99 and 0.97: mean 0.98, and 12.7062 x 0.01 beyond 1.
    let none = cells_of(&drawn, "No defense");
    assert_eq!(none[0], "0.590 [0.463-0.717] Nearest image, 5, 5 of 64");
    assert_eq!(none[1], "0.980 [0.853-1.000] Loss, 60, 60 of 64");
    assert!(
        none[2].starts_with("0.940 [0.813-1.000] combined, learnt on a shadow"),
        "{none:?}"
    );
    assert_eq!(none[3], "-");
    // Of one seed, and from a place of its own.
    assert_eq!(
        none[4],
        "48 of 64 (unseen 1 of 64) generate, 2048 images #4"
    );
    // In seed 1 two images do not suffice, and more were not tried.
    assert_eq!(none[5..], ["2, > 2", "#1 #2"]);
    let worth = worth_of(&drawn, "No defense");
    assert_eq!(
        worth[..3],
        ["2.00 [2.00-2.00]", "12.50 (10.50)", "0.75 [0.75-0.75]"]
    );
    // 1,600 steps of 32, in 160 s.
    assert_eq!(worth[3..], ["1,600", "51,200", "160", "50"]);
    // Through its weights the pair is its teachers, each on its own half: 0.8 + 0.1.
    let pair = cells_of(&drawn, "DualMD");
    assert_eq!(pair[1..3], ["-", "-"]);
    assert_eq!(pair[3], "0.900 [0.900-0.900] Loss on teacher-1");
    assert_eq!(pair[4], "missing");
    // The student and both teachers; it is answered by one of them.
    let student = cells_of(&drawn, "DistillMD");
    assert_eq!(worth_of(&drawn, "DistillMD")[3..5], ["4,800", "204,800"]);
    assert_eq!(
        student[4],
        "4 of 64 (unseen 1 of 64) generate, 2048 images #5"
    );
    let early = cells_of(&drawn, "Early stopping");
    assert_eq!(early[1], "0.650 (0.630-0.670) (1 of 2 seeds) Loss");
    assert_eq!(early.last().unwrap(), "#3");
    assert!(cells_of(&drawn, "new-one")[1].starts_with("0.600"));
    assert!(
        cells_of(&drawn, "Against an attacker")
            .iter()
            .all(|c| c == "missing" || c == "-")
    );
    let notes = drawn.table.notes.join("\n");
    said(
        &notes,
        &[
            "Measured in no row, and left out: images of one person; recall.",
            "Not measured, extracted: dualmd,",
            "dualmd reproduce defenses --rows smp",
        ],
    );

    let lines = lines(&collected, &drawn, dir.path());
    let own = line(&lines, "baseline", "1", "queries-or-weights");
    assert_eq!(
        [&own[4], &own[5], &own[10], &own[11], &own[14], &own[15]],
        ["loss", "measured", "60", "64", "#2", "main/seed-1"]
    );
    assert_eq!(own[7].parse::<f64>().unwrap(), 0.97);
    let own = line(&lines, "baseline", "0", "extraction");
    assert_eq!(
        [&own[10], &own[11], &own[12], &own[13], &own[15]],
        ["48", "64", "1", "64", "main/seed-0/extraction/baseline"]
    );
    let own = line(&lines, "baseline", "1", "extraction");
    assert_eq!([&own[5], &own[15]], ["missing", ""]);
    let own = line(&lines, "baseline", "1", "dataset-inference");
    assert_eq!([&own[4], &own[7], &own[11]], ["loss + sima", "", "2"]);
    let own = line(&lines, "early-stopping", "0", "queries-or-weights");
    assert_eq!([&own[4], &own[15]], ["loss", "other"]);
    assert_eq!(
        &line(&lines, "dualmd", "0", "shadow")[5],
        State::None.name()
    );
    assert_eq!(&line(&lines, "smp", "0", "training_steps")[5], "missing");
    said(
        &drawn.figure,
        &[">Early stopping<", ">DualMD<", "toy: images only"],
    );
    assert!(!drawn.figure.contains("NaN"));
}

/// The same model twice: attacks of the second count where its weights are the same, and nothing of it where they are not.
#[test]
fn a_model_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    let write_one = |name: &str, weights: &str, line: &str| -> PathBuf {
        let folder = dir.path().join(name);
        let mut one = model(line, 0.0);
        one["weights_blake3"] = json!(weights);
        write(&folder, &plan(0), &[one]);
        folder
    };
    let first = write_one("a", "same", "baseline none 1600 2 loss=0.70");
    let second = write_one("b", "same", "baseline none 1600 2 loss=0.99 pia=0.80");
    let third = write_one("c", "other", "baseline none 1600 2 sima=0.99");
    let collected = collect(&[first, second, third]);
    let drawn = draw(&collected).unwrap();
    // Nobody attacked generated images, so that there is no column of them.
    assert_eq!(
        cells_of(&drawn, "No defense")[0],
        "0.800 (0.780-0.820) PIA #2"
    );
    assert_eq!(collected.notes.len(), 1);
    said(
        &collected.notes[0],
        &["c: its baseline of seed 0 was passed over"],
    );
}

/// Runs of other images are refused, and so is what is no run.
#[test]
fn what_does_not_belong_together_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let one = dir.path().join("one");
    main_run(&one, 0);
    let two = dir.path().join("two");
    let mut other = plan(1);
    other["data"]["members"] = json!(128);
    write(&two, &other, &[model("baseline none 1600 2 loss=0.9", 0.0)]);
    let error = |paths: &[PathBuf]| {
        let read = Collected::read("toy", "Toy", paths, &rows());
        format!("{:#}", read.unwrap_err())
    };
    let said_of = error(&[one.clone(), two]);
    assert!(said_of.contains("data.members"), "{said_of}");
    let empty = dir.path().join("empty");
    std::fs::create_dir_all(&empty).unwrap();
    let said_of = error(&[one, empty]);
    assert!(said_of.contains("there is no run"), "{said_of}");
}

/// The findings that are stored beside the documents, of three seeds, and what was extracted in one of them, are the documents' numbers.
#[test]
fn stored_findings_are_a_table() {
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/results/epochs");
    let mut paths: Vec<PathBuf> = (0..3)
        .map(|seed| stored.join(format!("findings-seed-{seed}.csv")))
        .collect();
    for model in ["baseline", "pair", "student", "kd"] {
        paths.push(stored.join(format!("extraction-{model}-seed-2.json")));
    }
    let collected = collect(&paths);
    assert_eq!(collected.set.runs.len(), 3);
    assert_eq!(collected.extracted.len(), 4, "{:?}", collected.notes);
    let drawn = draw(&collected).unwrap();
    // Nothing was learnt on a shadow model.
    let none = cells_of(&drawn, "No defense");
    assert!(none[3].starts_with("51 of 64 (unseen 0 of 64)"), "{none:?}");
    let pair = cells_of(&drawn, "DualMD");
    assert!(pair[3].starts_with("6 of 64 (unseen 0 of 64)"), "{pair:?}");
    // Its teachers' weights, each on the half that it was trained on.
    assert!(pair[2].contains(" on teacher-"), "{pair:?}");
    // Neither quality nor cost is in a table of findings.
    assert!(drawn.table.also.is_empty());
    let notes = drawn.table.notes.join("\n");
    let wanted = "left out: AUC, with a shadow model; images of one person;";
    said(&notes, &[wanted]);
    let lines = lines(&collected, &drawn, &stored);
    let own = line(&lines, "baseline", "0", "queries-or-weights");
    assert_eq!(&own[15], "findings-seed-0.csv");
    let path = stored.join("findings-seed-0.csv");
    let mut csv = csv::Reader::from_path(path).unwrap();
    let all: Vec<csv::StringRecord> = csv.records().collect::<Result<_, _>>().unwrap();
    let there = all
        .iter()
        .find(|l| &l[0] == "baseline" && l[2] == own[4] && &l[3] == "all");
    assert_eq!(there.unwrap()[11], own[7]);
}

/// Where a classifier tells the sets apart without a model the table says so, and that nothing was inferred of a set.
#[test]
fn sets_that_differ_without_a_model_are_named() {
    let dir = tempfile::tempdir().unwrap();
    for (seed, outcome) in [(0, "passed"), (1, "void")] {
        let mut one = model("baseline none 1600 2 loss=0.90", 0.0);
        if outcome == "void" {
            one["sets"] = json!({ "features": null, "tests": [], "inference": {
                "features": ["loss", "sima"], "refused": "the sets differ", "power": [],
            } });
        }
        let auc = 0.5 + 0.25 * seed as f64;
        let report = json!({
            "schema": 1, "run": plan(seed), "models": [one],
            "controls": { "blind_baseline": { "auc": auc, "auc_ci": [0.4, 0.6], "outcome": outcome } },
        });
        let folder = dir.path().join(format!("seed-{seed}"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("report.json"), report.to_string()).unwrap();
    }
    let collected = collect(&[dir.path().to_path_buf()]);
    let drawn = draw(&collected).unwrap();
    assert_eq!(cells_of(&drawn, "No defense")[1..], ["refused", "#1 #2"]);
    let wanted = "AUC 0.50 (0.40-0.60) in seed 0, 0.75 (0.40-0.60) in seed 1. Seed 1: the sets differ without any model";
    said(&drawn.table.notes.join("\n"), &[wanted]);
    let lines = lines(&collected, &drawn, dir.path());
    let own = line(&lines, "baseline", "1", "dataset-inference");
    assert_eq!([&own[5], &own[7], &own[11]], ["refused", "", ""]);
}

#[test]
fn seeds_are_read_from_paths() {
    let seed = |path: &str| seed_in(Path::new(path));
    assert_eq!(seed("runs/seed-3/models/baseline"), Some(3));
    assert_eq!(seed("findings-seed-12.csv"), Some(12));
    assert_eq!(seed("seed-1/findings-seed-2.csv"), Some(2));
    assert_eq!(seed("runs/baseline"), None);
}

fn args(rows: &[&str]) -> ReproduceOptions {
    ReproduceOptions {
        rows: rows.iter().map(|row| (*row).to_owned()).collect(),
        ..options(What::Defenses)
    }
}

/// What shares trainings is one run; a row is named by its model, its defence or its family; a model that nobody knows is a row too.
#[test]
fn rows_are_runs_of_their_own() {
    let text = include_str!("../../studies/defenses.toml");
    let more = format!("{text}\n[[models]]\nname = \"mine\"\ndefense = \"iet\"\nshards = 2\n");
    let study = Experiment::parse(&more, "defenses", &[]).unwrap();
    let asked = |args: &ReproduceOptions| -> Vec<String> {
        let all = pieces(&study, args).unwrap().into_iter();
        let asked = all.filter(|piece| !piece.left_out);
        asked.map(|piece| piece.family.unwrap().name).collect()
    };
    let all = asked(&args(&[]));
    assert_eq!(all[..3], ["ordinary", "teachers", "shards"]);
    assert!(all.contains(&"lengths".to_owned()) && all.contains(&"mine".to_owned()));
    assert_eq!(asked(&args(&["mine", "skip-easy"])), ["skip-easy", "mine"]);
    assert_eq!(asked(&args(&["distillmd"])), ["teachers"]);
    assert_eq!(asked(&args(&["none"])), ["ordinary"]);
    assert_eq!(asked(&args(&["iet"])), ["iet"]);
    assert_eq!(asked(&args(&["shards", "kd"])), ["ordinary", "shards"]);
    let family = pieces(&study, &args(&[])).unwrap().remove(0).family;
    let ordinary = Family {
        name: "ordinary".into(),
        models: vec!["baseline".into(), "kd".into()],
    };
    assert_eq!(family, Some(ordinary));
    let error = pieces(&study, &args(&["skipeasy"])).unwrap_err();
    assert!(
        error.to_string().contains("did you mean skip-easy"),
        "{error}"
    );
    // Runs of other experiments are collected without a training.
    let collected = ReproduceOptions {
        from: vec![PathBuf::from("runs")],
        ..args(&[])
    };
    assert!(asked(&collected).is_empty());
    let drawn = ReproduceOptions {
        collect: true,
        ..args(&[])
    };
    assert!(asked(&drawn).is_empty());
}

/// What takes the two models of a pair is asked of the run that has one: no other run warns of an attack without a model.
#[test]
fn attacks_on_pairs_are_asked_where_there_is_one() {
    let study = Study::resolve(&args(&[])).unwrap();
    assert!(study.datasets.len() > 10);
    for runs in &study.datasets {
        let family = &runs.family.as_ref().unwrap().name;
        let attacks = &runs.runs[0].experiment.audit.attacks;
        let asked = attacks.iter().any(AttackSpec::takes_pair);
        assert_eq!(asked, family == "teachers", "{family}");
    }
}

#[test]
fn attackers_are_told_by_what_they_need() {
    let of = |attack: &str, access: &str| {
        Attacker::of(&dualmd_audit::report::AttackResult {
            attack: attack.into(),
            access: access.into(),
            ..Default::default()
        })
    };
    assert_eq!(of("nn", "black-box"), Attacker::Images);
    assert_eq!(of("nn", ""), Attacker::Images);
    assert_eq!(of("loss@snr=1", "white-box"), Attacker::Model);
    assert_eq!(of("rediffuse", "grey-box"), Attacker::Model);
    assert_eq!(of("combined+shadow", "white-box"), Attacker::Shadow);
    assert_eq!(of("reference", "white-box"), Attacker::Shadow);
    assert_eq!(of("teacher-difference", "white-box"), Attacker::Parts);
    assert_eq!(of("of-somebody-else", ""), Attacker::Model);
}
