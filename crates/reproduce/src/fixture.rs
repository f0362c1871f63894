//! Made-up reports for tests; every expected cell is computed by hand.

use super::read::{Evidence, Run, Set, read};
use super::table::{Row, Table};
use serde_json::{Value, json};
use std::path::Path;

/// One attack on one model. The TPR is a tenth of the AUC; D1 is found by 0.1 more, D2 by 0.1 less.
fn attack(name: &str, auc: f64) -> Value {
    let around = |auc: f64| json!({ "auc": auc, "auc_ci": [auc - 0.02, auc + 0.02] });
    json!({
        "attack": name, "title": name, "status": "ok", "auc": auc, "auc_ci": [auc - 0.02, auc + 0.02],
        "tpr_at_fpr": [
            { "fpr": 0.1, "tpr": 0.9, "tpr_ci": [0.8, 1.0], "measurable": true },
            { "fpr": 0.01, "tpr": auc / 10.0, "tpr_ci": [0.0, 0.2], "measurable": true },
        ],
        "d1": around(auc + 0.1), "d2": around(auc - 0.1),
    })
}

/// An audited model; a step takes a tenth of a second.
pub fn model(name: &str, defense: &str, steps: f64, excess: f64, attacks: &[(&str, f64)]) -> Value {
    json!({
        "name": name, "defense": defense, "title": name,
        "results": attacks.iter().map(|(n, auc)| attack(n, *auc)).collect::<Vec<_>>(),
        "image_utility": {
            "features": "efflite0-1280", "frechet": excess + 10.0, "frechet_ci": [excess, excess + 20.0], "excess": excess,
            "inception_score": 3.0,
        },
        "utility": { "steps": steps, "seconds": steps / 10.0 },
    })
}

/// Writes report.json of a run.
pub fn write(folder: &Path, plan: Value, models: &[Value]) {
    std::fs::create_dir_all(folder).unwrap();
    let report = json!({ "schema": 1, "run": plan, "models": models });
    std::fs::write(folder.join("report.json"), report.to_string()).unwrap();
}

/// A run for each shift in a folder, where `report` writes it.
pub fn set(dir: &Path, shifts: &[f64], report: fn(&Path, f64)) -> Set {
    let runs = (0..).zip(shifts).map(|(seed, shift)| {
        let folder = dir.join(seed.to_string());
        report(&folder, *shift);
        read(seed, &folder).unwrap()
    });
    Set::of("toy", "Toy", runs.collect::<Vec<Run>>())
}

/// One set.
pub fn alone(set: Set) -> Evidence {
    Evidence { sets: vec![set] }
}

/// The row that begins with these cells.
pub fn row<'a>(table: &'a Table, first: &[&str]) -> Vec<&'a str> {
    let mut rows = table.rows.iter().filter_map(|row| match row {
        Row::Cells(cells) => Some(cells.iter().map(String::as_str).collect::<Vec<_>>()),
        Row::Heading(_) => None,
    });
    rows.find(|cells| cells.starts_with(first))
        .unwrap_or_else(|| panic!("no row {first:?} in {:?}", table.rows))
}

/// Is each of these said?
pub fn said(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(*wanted), "{wanted}\nin\n{text}");
    }
}
