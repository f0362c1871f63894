//! Made-up reports for tests; every expected cell is computed by hand.

use super::read::{Evidence, Run, Set, read};
use super::table::{Row, Table};
use crate::{ReproduceOptions, Scale, What};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

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

/// An audited model, of a line such as `student distillmd 1600 4 secmi=0.52+ nn=0.60`: name, defence, steps (each takes a tenth of a
/// second), excess of its images, and AUCs, to which `shift` is added where they end in +.
pub fn model(line: &str, shift: f64) -> Value {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [steps, excess]: [f64; 2] = [words[2], words[3]].map(|number| number.parse().unwrap());
    let results = words[4..].iter().map(|word| {
        let (name, auc) = word.split_once('=').unwrap();
        let (auc, by) = match auc.strip_suffix('+') {
            Some(auc) => (auc, shift),
            None => (auc, 0.0),
        };
        attack(name, auc.parse::<f64>().unwrap() + by)
    });
    json!({
        "name": words[0], "defense": words[1], "title": words[0], "results": results.collect::<Vec<_>>(),
        "image_utility": {
            "features": "efflite0-1280", "frechet": excess + 10.0, "frechet_ci": [excess, excess + 20.0], "excess": excess,
            "inception_score": 3.0,
        },
        "utility": { "steps": steps, "seconds": steps / 10.0 },
    })
}

/// Writes report.json of a run of such models.
pub fn write(folder: &Path, plan: Value, models: &[&str], shift: f64) {
    std::fs::create_dir_all(folder).unwrap();
    let models: Vec<Value> = models.iter().map(|line| model(line, shift)).collect();
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

/// What is typed where nothing but a view is.
pub fn options(what: What) -> ReproduceOptions {
    ReproduceOptions {
        what,
        scale: Scale::Cpu,
        seeds: 1,
        complete: false,
        epochs: Vec::new(),
        out: PathBuf::from("out"),
        only: Vec::new(),
        data: Vec::new(),
        base: Vec::new(),
        memorised: None,
        others: None,
        clip: None,
        split: Vec::new(),
        inception: None,
        rows: Vec::new(),
        from: Vec::new(),
        collect: false,
        set: Vec::new(),
        dry_run: false,
        seed: 0,
        dtype: None,
    }
}

/// One set.
pub fn alone(set: Set) -> Evidence {
    Evidence { sets: vec![set] }
}

/// The row that begins so, its cells with bars between them.
pub fn row(table: &Table, first: &str) -> String {
    let mut rows = table.rows.iter().filter_map(|row| match row {
        Row::Cells(cells) => Some(cells.join(" | ")),
        Row::Heading(_) => None,
    });
    rows.find(|row| row.starts_with(first))
        .unwrap_or_else(|| panic!("no row {first} in {:?}", table.rows))
}

/// Is each of these said?
pub fn said(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(*wanted), "{wanted}\nin\n{text}");
    }
}
