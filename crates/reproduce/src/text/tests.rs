//! Made-up reports; every expected cell is computed by hand.

use super::super::read::{Evidence, Run, Set, read};
use super::super::tests::row;
use super::figures::roc;
use super::{BLACK_BOX, EVERY_CAPTION, FIRST_BEGINS, OTHERS, SECOND_BEGINS, build, facts, paper};
use dualmd_names::AttackSpec;
use serde_json::{Value, json};
use std::path::Path;

fn model(name: &str, defense: &str, attacks: &[(&str, f64)]) -> Value {
    let attack = |(name, auc): &(&str, f64)| {
        json!({
            "attack": name, "title": name, "status": "ok", "auc": auc, "auc_ci": [auc - 0.02, auc + 0.02],
            "tpr_at_fpr": [{ "fpr": 0.01, "tpr": 0.05, "tpr_ci": [0.0, 0.2], "measurable": true }],
            "d1": { "auc": auc + 0.1, "auc_ci": [auc, auc + 0.2] }, "d2": { "auc": auc - 0.1, "auc_ci": [auc - 0.2, auc] },
        })
    };
    json!({
        "name": name, "defense": defense, "title": name, "results": attacks.iter().map(attack).collect::<Vec<_>>(),
        "image_utility": { "features": "efflite0-1280", "frechet": 10.0, "excess": 2.0, "inception_score": 3.0 },
    })
}

fn report(folder: &Path, shift: f64) {
    let models = [
        model(
            "baseline",
            "none",
            &[
                ("secmi", 0.80 + shift),
                ("pia", 0.60 + shift),
                ("sim-mean", 0.90 + shift),
            ],
        ),
        model("dualmd", "dualmd", &[("sim-mean", 0.80 + shift)]),
        model("student", "distillmd", &[("secmi", 0.52 + shift)]),
        model(
            "baseline-any",
            "none",
            &[
                ("loss", 0.60),
                ("loss+captions", 0.70 + shift),
                ("sim-mean", 0.50 + shift),
            ],
        ),
        model(
            "dualmd-any",
            "dualmd",
            &[
                ("sim-mean", 0.52 + shift),
                ("sim-mean+captions", 0.50 + shift),
                ("rounds@2", 0.55 + shift),
                ("rounds@3", 0.61 + shift),
                ("rounds@2+second", 0.66 + shift),
                ("rounds@3+second", 0.65 + shift),
            ],
        ),
    ];
    std::fs::create_dir_all(folder).unwrap();
    // A hundred others, and two members above all but one of them and above half: the least false-alarm rate is 1 %.
    let mut scores = String::from(
        "sample_id,group,member,attack,score\na,,1,sim-mean,98.5\nb,,1,sim-mean,50.5\n",
    );
    for i in 0..100 {
        scores.push_str(&format!("o{i},,0,sim-mean,{i}\n"));
    }
    std::fs::create_dir_all(folder.join("scores")).unwrap();
    for name in ["baseline", "dualmd", "dualmd-any"] {
        std::fs::write(folder.join(format!("scores/{name}.csv")), &scores).unwrap();
    }
    let report = json!({ "schema": 1, "run": {}, "models": models });
    std::fs::write(folder.join("report.json"), report.to_string()).unwrap();
}

fn evidence() -> Evidence {
    evidence_in(tempfile::tempdir().unwrap().path())
}

/// The same in a folder that lasts, for what reads more than the reports.
fn evidence_in(dir: &Path) -> Evidence {
    let runs: Vec<Run> = (0..)
        .zip([-0.01, 0.0, 0.01])
        .map(|(seed, shift)| {
            let folder = dir.join(seed.to_string());
            report(&folder, shift);
            read(seed, &folder).unwrap()
        })
        .collect();
    let set = Set {
        name: "toy".into(),
        title: "Toy".into(),
        paper: None,
        brought: false,
        epochs: None,
        runs,
    };
    Evidence { sets: vec![set] }
}

/// Members with one caption are not diversified: the tables that say "PD" say of how many that is.
#[test]
fn members_with_one_caption_are_counted_below_the_table() {
    let with = |captions: Value, table| {
        let mut evidence = evidence();
        for run in &mut evidence.sets[0].runs {
            run.captions = captions.clone();
        }
        build(table, &evidence).unwrap().notes.join("\n")
    };
    let some = json!({ "one": 16, "several": 400 });
    assert!(with(some.clone(), 5).contains("Toy: 16 of 416 members have one caption"));
    assert!(!with(some, 4).contains("have one caption"));
    for none in [json!({ "one": 0, "several": 416 }), Value::Null] {
        assert!(!with(none, 5).contains("have one caption"));
    }
}

#[test]
fn table_4_has_the_papers_four_columns_in_one() {
    let table = build(4, &evidence()).unwrap();
    assert_eq!(
        table.columns,
        [
            "Attack",
            "Method",
            "toy AUC",
            "toy TPR@1%FPR",
            "paper AUC",
            "paper TPR@1%FPR"
        ]
    );
    assert_eq!(
        row(&table, &["SecMI", "No defense"])[2..],
        [
            "0.800 [0.775-0.825]",
            "0.050 [0.050-0.050]",
            "0.99 / 0.98 / 0.93 / 0.90",
            "0.79 / 0.189 / 0.475 / 0.333"
        ]
    );
    // A model without that attack has no row, and models with prompt diversification are not in this table.
    let text = format!("{:?}", table.rows);
    assert!(
        !text.contains("0.700") && !text.contains("DualMD"),
        "{text}"
    );
}

#[test]
fn table_5_has_both_kinds_of_captions() {
    let table = build(5, &evidence()).unwrap();
    assert_eq!(table.columns.len(), 2 + 4 + 4);
    let dualmd = row(&table, &["sim-mean", "DualMD"]);
    assert_eq!(dualmd[2], "0.800 [0.775-0.825]");
    assert_eq!(dualmd[4], "0.520 [0.495-0.545]");
    assert_eq!(dualmd[6..], ["0.82", "0.35", "0.52", "0.014"]);
    let said = facts(5, &evidence()).unwrap().join("\n");
    for wanted in [
        "yes: toy, w/o PD, sim-mean: DualMD moves the AUC from 0.900 [0.875-0.925] to 0.800 [0.775-0.825], above 0.5; no defence \
         less DualMD: 0.100 [0.100-0.100]; paper 0.90 to 0.82.",
        "yes: toy, prompt diversification alone brings No defense from 0.900 [0.875-0.925] to 0.500 [0.475-0.525], not told from 0.5",
    ] {
        assert!(said.contains(wanted), "{wanted}\nin\n{said}");
    }
}

#[test]
fn the_three_questions_are_answered_from_the_numbers() {
    let (eight, nine) = (
        facts(8, &evidence()).unwrap().join("\n"),
        facts(9, &evidence()).unwrap().join("\n"),
    );
    for wanted in [
        "no: toy, PIA cannot attack a fine-tuned model: on No defense 0.600 [0.575-0.625] (above 0.5); paper",
        "toy, baseline-any: asked with all captions of an image instead of the first, Loss finds more (0.700 [0.675-0.725] instead \
         of 0.600 [0.600-0.600]; difference 0.100 [0.075-0.125]).",
    ] {
        assert!(eight.contains(wanted), "{wanted}\nin\n{eight}");
    }
    assert!(
        nine.contains(
            "toy, dualmd-any, all members, the first model beginning: AUC 0.520 [0.495-0.545], 0.550 [0.525-0.575], 0.610 [0.585, \
             0.635] with 1, 2, 3 rounds (it grows; last less first 0.090 [0.090-0.090])."
        ) && nine.contains(
            "toy, dualmd-any, members of D1, the first model beginning: AUC 0.620 [0.595-0.645], 0.650"
        ) && nine.contains(
            "toy, dualmd-any, members of D2, the second model beginning: AUC 0.560 [0.535-0.585], 0.550 [0.525-0.575] with 2, 3 \
             rounds (it does not grow steadily; last less first -0.010 [-0.010 to -0.010])."
        ),
        "{nine}"
    );
    let five = facts(5, &evidence()).unwrap().join("\n");
    assert!(
        five.contains(
            "toy, dualmd-any: asked with all captions of an image instead of the first, sim-mean finds no more (0.500 [0.475-0.525] \
             instead of 0.520 [0.495-0.545]; difference -0.020 [-0.020 to -0.020])."
        ),
        "{five}"
    );
    let table = build(9, &evidence()).unwrap();
    assert_eq!(
        row(&table, &["3"])[5..],
        [
            "0.610 [0.585-0.635]",
            "0.050 [0.050-0.050]",
            "0.710 [0.685-0.735]",
            "0.510 [0.485-0.535]",
            "-",
            "-",
            "0.51",
            "0.048"
        ][..]
    );
}

#[test]
fn quality_and_curves() {
    let dir = tempfile::tempdir().unwrap();
    let evidence = evidence_in(dir.path());
    let table = build(7, &evidence).unwrap();
    let student = row(&table, &["DistillMD"]);
    assert_eq!(
        student[1..4],
        [
            "10.00 [10.00-10.00]",
            "3.00 [3.00-3.00]",
            "2.00 [2.00-2.00]"
        ]
    );
    assert!(
        student.contains(&"0.44 / 0.41 / 0.22 / 0.20"),
        "{student:?}"
    );
    let drawing = roc(&evidence.sets[0]).unwrap().unwrap();
    for wanted in [
        "Toy (w/o PD)",
        "Toy (w/ PD)",
        ">DualMD<",
        ">0.01<",
        ">chance<",
    ] {
        assert!(drawing.contains(wanted), "{wanted}\n{drawing}");
    }
    assert!(!drawing.contains("NaN"));
}

#[test]
fn the_tables_name_attacks_that_there_are() {
    let rounds = [&FIRST_BEGINS[..], &SECOND_BEGINS, &EVERY_CAPTION].concat();
    let rounds = rounds.into_iter().map(|(name, _)| name);
    let of_paper = paper::numbers().into_iter().filter_map(|n| n.attack);
    let other = super::super::paper::numbers();
    let other = other.into_iter().filter_map(|n| n.attack);
    let all = BLACK_BOX.into_iter().chain(OTHERS).chain(rounds);
    for name in all.chain(of_paper).chain(other) {
        let spec: AttackSpec = name.parse().unwrap();
        assert_eq!(spec.to_string(), name);
    }
}
