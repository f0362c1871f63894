//! The views of text-to-image runs on made-up reports; every expected cell is computed by hand.

use super::super::fixture::{alone, row, said, set, write};
use super::super::read::{Evidence, Run, Set};
use super::super::table::{Row, Table};
use super::super::{layouts, tables};
use super::figures::roc;
use super::histograms::{Histogram, histogram};
use super::measured::{ROWS, folder};
use super::memorised;
use dualmd_record::planned::AnyPlan;
use serde_json::{Value, json};
use std::path::Path;

fn report(folder: &Path, shift: f64) {
    let models = [
        "baseline     none      1600 2 secmi=0.80+ pia=0.60+ sim-mean=0.90+",
        "dualmd       dualmd    1600 2 sim-mean=0.80+",
        "student      distillmd 1600 2 secmi=0.52+",
        "baseline-any none      1600 2 loss=0.60 loss+captions=0.70+ sim-mean=0.50+",
        "dualmd-any   dualmd    1600 2 sim-mean=0.52+ sim-mean+captions=0.50+ rounds@2=0.55+ rounds@3=0.61+ rounds@2+second=0.66+ \
         rounds@3+second=0.65+",
    ];
    write(folder, json!({}), &models, shift);
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
}

fn evidence() -> Evidence {
    evidence_in(tempfile::tempdir().unwrap().path())
}

/// The same in a folder that lasts, for what reads more than the reports.
fn evidence_in(dir: &Path) -> Evidence {
    alone(set(dir, &[-0.01, 0.0, 0.01], report))
}

fn build(number: u8, evidence: &Evidence) -> Table {
    tables::build(layouts::numbered(number).unwrap(), evidence).unwrap()
}

fn facts(number: u8) -> String {
    let layout = layouts::numbered(number).unwrap();
    super::facts(layout, &evidence()).unwrap().join("\n")
}

/// Members with one caption are not diversified: the tables that say "PD" say of how many that is.
#[test]
fn members_with_one_caption_are_counted_below_the_table() {
    let with = |captions: Value, table| {
        let mut evidence = evidence();
        for run in &mut evidence.sets[0].runs {
            run.plan = AnyPlan::of(&json!({ "data": { "captions": captions } }));
        }
        build(table, &evidence).notes.join("\n")
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
    let table = build(4, &evidence());
    assert_eq!(
        table.columns.join(" | "),
        "Attack | Method | toy AUC | toy TPR@1%FPR | paper AUC | paper TPR@1%FPR"
    );
    assert_eq!(
        row(&table, "SecMI | No defense"),
        "SecMI | No defense | 0.800 [0.775-0.825] | 0.080 [0.078-0.082] | 0.99 / 0.98 / 0.93 / 0.90 | 0.79 / 0.189 / 0.475 / 0.333"
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
    let table = build(5, &evidence());
    assert_eq!(table.columns.len(), 2 + 4 + 4);
    assert_eq!(
        row(&table, "sim-mean | DualMD"),
        "sim-mean | DualMD | 0.800 [0.775-0.825] | 0.080 [0.078-0.082] | 0.520 [0.495-0.545] | 0.052 [0.050-0.054] | 0.82 | 0.35 | 0.52 \
         | 0.014"
    );
    let wanted = [
        "yes: toy, w/o PD, sim-mean: DualMD moves the AUC from 0.900 [0.875-0.925] to 0.800 [0.775-0.825], above 0.5; no defence \
         less DualMD: 0.100 [0.100-0.100]; paper 0.90 to 0.82.",
        "yes: toy, prompt diversification alone brings No defense from 0.900 [0.875-0.925] to 0.500 [0.475-0.525], not told from 0.5",
    ];
    said(&facts(5), &wanted);
}

#[test]
fn the_three_questions_are_answered_from_the_numbers() {
    let eight = [
        "no: toy, PIA cannot attack a fine-tuned model: on No defense 0.600 [0.575-0.625] (above 0.5); paper",
        "toy, baseline-any: asked with all captions of an image instead of the first, Loss finds more (0.700 [0.675-0.725] instead \
         of 0.600 [0.600-0.600]; difference 0.100 [0.075-0.125]).",
    ];
    said(&facts(8), &eight);
    let nine = [
        "toy, dualmd-any, all members, the first model beginning: AUC 0.520 [0.495-0.545], 0.550 [0.525-0.575], 0.610 [0.585-0.635] \
         with 1, 2, 3 rounds (it grows; last less first 0.090 [0.090-0.090]).",
        "toy, dualmd-any, members of D1, the first model beginning: AUC 0.620 [0.595-0.645], 0.650",
        "toy, dualmd-any, members of D2, the second model beginning: AUC 0.560 [0.535-0.585], 0.550 [0.525-0.575] with 2, 3 \
         rounds (it does not grow steadily; last less first -0.010 [-0.010 to -0.010]).",
    ];
    said(&facts(9), &nine);
    let five = "toy, dualmd-any: asked with all captions of an image instead of the first, sim-mean finds no more (0.500 [0.475-0.525] \
         instead of 0.520 [0.495-0.545]; difference -0.020 [-0.020 to -0.020]).";
    said(&facts(5), &[five]);
    let table = build(9, &evidence());
    assert_eq!(
        row(&table, "3 |"),
        "3 | - | - | - | - | 0.610 [0.585-0.635] | 0.061 [0.059-0.063] | 0.710 [0.685-0.735] | 0.510 [0.485-0.535] | - | - | 0.51 | 0.048"
    );
}

#[test]
fn quality_and_curves() {
    let dir = tempfile::tempdir().unwrap();
    let evidence = evidence_in(dir.path());
    let table = build(7, &evidence);
    let wanted = [
        "DistillMD | 12.00 [12.00-12.00] | 3.00 [3.00-3.00] | 2.00 [2.00-2.00] |",
        "| 0.44 / 0.41 / 0.22 / 0.20 |",
    ];
    said(&row(&table, "DistillMD"), &wanted);
    let drawing = roc(&evidence.sets[0]).unwrap().unwrap();
    let wanted = [
        "Toy (w/o PD)",
        "Toy (w/ PD)",
        ">DualMD<",
        ">0.01<",
        ">chance<",
    ];
    said(&drawing, &wanted);
    assert!(!drawing.contains("NaN"));
}

/// (own, unseen) of the rows in order: memory is 0.4, 0.1, 0.3, 0.0.
#[test]
fn table_1_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let rows = [(0.8, 0.4), (0.5, 0.4), (0.7, 0.4), (0.4, 0.4)];
    for (method, (own, unseen)) in ROWS.iter().zip(rows) {
        let out = folder(dir.path(), method.folder);
        std::fs::create_dir_all(&out).unwrap();
        let report = json!({
            "similarity": {
                "features": "efflite0-1280",
                "own": { "memorised": { "mean": own }, "others": { "mean": unseen } },
                "nearest_heldout": { "memorised": { "mean": 0.3 } },
            },
            "fit": { "memorised": null, "others": null, "relative": { "memorised": { "mean": own / 2.0 } } },
            "t_error": {
                "t": 90, "memorised": { "n": 2, "median": 0.5, "q05": 0.25, "q95": 0.75 }, "histogram": { "edges": [0.0, 1.0, 2.0], "memorised": [2, 0], "others": [0, 2] },
                "detection": {
                    "n_members": 2, "n_nonmembers": 2, "auc": 1.0, "auc_ci": [0.9, 1.0], "auc_ci_method": "delong-newcombe",
                    "tpr_at_fpr": [], "balanced_accuracy": 1.0,
                },
            },
        });
        std::fs::write(out.join("memorisation.json"), report.to_string()).unwrap();
    }
    let run = Run {
        seed: 0,
        folder: dir.path().to_path_buf(),
        models: Vec::new(),
        plan: AnyPlan::default(),
        members: None,
        blind: None,
    };
    let set = Set::of("toy", "Toy", vec![run]);
    let Histogram {
        drawing,
        fact,
        rows,
    } = histogram(&set).unwrap().unwrap();
    let first = ["toy", "members' prompts", "2", "0.5000", "0.2500 to 0.7500"];
    assert_eq!(rows[0], Row::Cells(first.map(str::to_owned).to_vec()));
    assert!(drawing.contains("t = 90") && !drawing.contains("NaN"));
    let wanted = "members' prompts from prompts never seen with AUC 1.000 (0.900-1.000)";
    said(&fact, &[wanted]);
    let (table, facts) = memorised::build(&alone(set)).unwrap();
    assert_eq!(
        row(&table, "Wen"),
        "Wen et al. 2024 | 0.500 | 0.400 | 0.300 | - | 0.250 | 0.28 | 0.25"
    );
    // The paper has Wen above DistillMD by a hair, as here.
    let wanted = [
        "yes: toy, most to least alike: here No mitigation, DualMD, Wen et al. 2024, DistillMD",
        "No mitigation 0.400, Wen et al. 2024 0.100, DualMD 0.300, DistillMD 0.000",
    ];
    said(&facts.join("\n"), &wanted);
}
