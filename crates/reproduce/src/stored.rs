//! The numbers of the documents, recomputed from the reports that are stored beside them: the tables of `docs/results/paper-tables.md`,
//! and the CSV files of `docs/results/studies`.

use super::cell::{Cell, strongest};
use super::paper::Metric;
use super::read::{Evidence, Run, Set, read};
use super::tables::Record;
use super::{ablation, frontier, names, tables, text};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn results() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/results")
}

/// The stored runs of an image set.
fn stored(name: &str) -> Evidence {
    let folder = results().join("studies/cpu").join(name);
    let runs: Vec<Run> = (0..3)
        .map(|seed| read(seed, &folder.join(format!("seed-{seed}"))).unwrap())
        .collect();
    let set = Set {
        name: name.into(),
        title: name.into(),
        paper: None,
        brought: false,
        epochs: None,
        runs,
    };
    Evidence { sets: vec![set] }
}

fn document() -> String {
    std::fs::read_to_string(results().join("paper-tables.md")).unwrap()
}

/// The rows of the first table of a document whose head begins with these cells.
fn table(document: &str, head: &[&str]) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        let line = line.trim().trim_start_matches('|').trim_end_matches('|');
        line.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut lines = document.lines();
    lines
        .find(|line| {
            line.starts_with('|')
                && cells(line)
                    .starts_with(&head.iter().map(|h| (*h).to_owned()).collect::<Vec<_>>())
        })
        .unwrap_or_else(|| panic!("no table {head:?}"));
    lines
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(cells)
        .collect()
}

/// The decimal numbers of a cell as they are written.
fn decimals(cell: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    for c in cell.chars() {
        let last = out.last_mut().unwrap();
        if c.is_ascii_digit() || (c == '.' && !last.is_empty() && !last.contains('.')) {
            last.push(c);
        } else if !last.is_empty() {
            out.push(String::new());
        }
    }
    let number = |text: &String| text.trim_end_matches('.').contains('.');
    out.into_iter().filter(number).collect()
}

/// Are the numbers of a cell of the document the mean of `cell`, and its interval where the document has one?
fn compare(written: &str, cell: &Cell, what: &str, wrong: &mut Vec<String>) {
    let own = [cell.mean()]
        .into_iter()
        .chain(cell.interval().map_or([None; 2], |ci| ci.map(Some)))
        .map(|v| v.unwrap_or(f64::NAN));
    let found = decimals(written);
    if found.len() > 3 || found.is_empty() != cell.mean().is_none() {
        wrong.push(format!(
            "{what}: the document has {written:?}, the reports {}",
            cell.text(3)
        ));
        return;
    }
    for (text, value) in found.iter().zip(own) {
        let digits = text.split('.').nth(1).map_or(0, str::len);
        if super::cell::decimal(value, digits) != *text {
            wrong.push(format!(
                "{what}: the document has {written:?}, the reports {}",
                cell.text(4)
            ));
            return;
        }
    }
}

fn none_wrong(wrong: &[String]) {
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The unconditional table: the strongest attack, SimA, excess, and the undefended model of equal quality.
#[test]
fn unconditional_models() {
    let (document, evidence) = (document(), stored("fashion-16"));
    let set = &evidence.sets[0];
    let (drawn, _) = frontier::build(&evidence).unwrap();
    let equal = |model: &str| {
        let own = |r: &&Record| {
            r.model == model && r.metric == "auc_undefended_at_equal_fd" && r.attack.is_none()
        };
        drawn.records.iter().find(own)
    };
    let models = BTreeMap::from([
        ("no defence", "baseline"),
        ("DualMD (its images only)", "dualmd"),
        ("DistillMD", "student"),
        ("ordinary distillation", "kd"),
        ("early stopping", "early-stopping"),
        ("K-way, K = 4", "k-way-4"),
        ("DP-SGD, epsilon 10 (one seed)", "dp-sgd"),
        ("DP-SGD, little noise (one seed)", "dp-sgd-weak"),
    ]);
    let rows = table(
        &document,
        &["method", "strongest attack", "SimA", "FD excess"],
    );
    assert_eq!(rows.len(), models.len());
    let mut wrong = Vec::new();
    for row in rows {
        let model = models[row[0].as_str()];
        let (attack, best) = strongest(set, model).unwrap().unwrap();
        let name = names::attack(&attack).to_lowercase();
        if !row[1].to_lowercase().contains(&name) {
            wrong.push(format!("{model}: {} is not {name}", row[1]));
        }
        compare(&row[1], &best, &format!("{model}, strongest"), &mut wrong);
        let sima = Cell::metric(set, model, Some("sima"), Metric::Auc).unwrap();
        compare(&row[2], &sima, &format!("{model}, SimA"), &mut wrong);
        let excess = Cell::metric(set, model, None, Metric::Excess).unwrap();
        compare(&row[3], &excess, &format!("{model}, excess"), &mut wrong);
        if let Some(record) = equal(model).filter(|_| model != "baseline") {
            compare(
                &row[4],
                &record.cell,
                &format!("{model}, at equal FD"),
                &mut wrong,
            );
        }
    }
    // Sentences below the table.
    for (model, attack) in [
        ("baseline", "pia"),
        ("student", "pia"),
        ("baseline", "secmi"),
        ("student", "secmi"),
        ("student", "loss"),
        ("dualmd", "nn"),
    ] {
        let cell = Cell::metric(set, model, Some(attack), Metric::Auc).unwrap();
        if !document.contains(&cell.text(3)) {
            wrong.push(format!(
                "{model}, {attack}: {} is not in the text",
                cell.text(3)
            ));
        }
    }
    let (_, student) = strongest(set, "student").unwrap().unwrap();
    let difference = equal("student").unwrap().cell.less(&student).unwrap();
    let said = format!("difference {}", difference.text(3));
    if !document.contains(&said) {
        wrong.push(format!("{said} is not in the text"));
    }
    none_wrong(&wrong);
}

#[test]
fn the_ablation() {
    let (document, evidence) = (document(), stored("ablation-fashion-16"));
    let set = &evidence.sets[0];
    let models = BTreeMap::from([
        ("no defence", "baseline"),
        ("DistillMD, our defaults", "student"),
        ("a batch mixes both halves (Figure 1)", "example"),
        ("teachers answer with raw weights", "raw"),
        ("teachers answer with dropout on", "dropout"),
        (
            "the student begins with teacher 1's initial weights",
            "shared",
        ),
    ]);
    let rows = table(&document, &["student", "loss", "SecMI", "PIA", "SimA"]);
    assert_eq!(rows.len(), models.len());
    let mut wrong = Vec::new();
    let mut furthest = 0.0_f64;
    for row in rows {
        let model = models[row[0].as_str()];
        for (written, attack) in row[1..5].iter().zip(["loss", "secmi", "pia", "sima"]) {
            let cell = Cell::metric(set, model, Some(attack), Metric::Auc).unwrap();
            compare(written, &cell, &format!("{model}, {attack}"), &mut wrong);
            let ours = Cell::metric(set, "student", Some(attack), Metric::Auc).unwrap();
            if model != "baseline" {
                furthest = furthest.max((cell.mean().unwrap() - ours.mean().unwrap()).abs());
            }
        }
        let excess = Cell::metric(set, model, None, Metric::Excess).unwrap();
        compare(&row[5], &excess, &format!("{model}, excess"), &mut wrong);
    }
    // "no row differs from the defaults by more than ..."
    let said = format!(
        "by more than {}",
        super::cell::decimal((furthest * 1000.0).ceil() / 1000.0, 3)
    );
    if !document.contains(&said) {
        wrong.push(format!("{said} ({furthest}) is not in the text"));
    }
    none_wrong(&wrong);
}

/// Two tables of the text-to-image half: who holds the weights, and the adaptive attack.
#[test]
fn text_to_image_models() {
    let (document, evidence) = (document(), stored("emoji-t2i"));
    let set = &evidence.sets[0];
    let mut wrong = Vec::new();
    let attacks = BTreeMap::from([
        ("loss", "loss"),
        ("PIA", "pia"),
        (
            "PIA as its public code for Stable Diffusion computes it",
            "pia-sd-2024",
        ),
        ("SimA", "sima"),
        ("`clid-gap`", "clid-gap"),
        ("SecMI", "secmi"),
    ]);
    let rows = table(&document, &["attack", "undefended", "with PD", "DistillMD"]);
    assert_eq!(rows.len(), attacks.len());
    for row in rows {
        let attack = attacks[row[0].as_str()];
        let models = ["baseline", "baseline-any", "student", "student-any"];
        for (written, model) in row[1..5].iter().zip(models) {
            let cell = Cell::metric(set, model, Some(attack), Metric::Auc).unwrap();
            compare(written, &cell, &format!("{model}, {attack}"), &mut wrong);
        }
    }
    let rows = table(&document, &["rounds", "all members", "D1", "D2"]);
    assert_eq!(rows.len(), 4);
    let first = ["sim-mean", "rounds@2", "rounds@3", "rounds@6"];
    let second = [
        "rounds@1+second",
        "rounds@2+second",
        "rounds@3+second",
        "rounds@6+second",
    ];
    for (i, row) in rows.iter().enumerate() {
        for (attack, cells) in [(first[i], &row[1..4]), (second[i], &row[4..7])] {
            for (written, metric) in cells.iter().zip([Metric::Auc, Metric::D1, Metric::D2]) {
                let cell = Cell::metric(set, "dualmd", Some(attack), metric).unwrap();
                compare(written, &cell, &format!("{attack}, {metric:?}"), &mut wrong);
            }
        }
    }
    none_wrong(&wrong);
}

/// What of a number has to agree: where it stands, its mean and interval, and its values by seed.
type Row = (String, String, String);

fn rows_of(records: &[Record]) -> BTreeMap<Row, Cell> {
    let key = |r: &Record| {
        let attack = r.attack.clone().unwrap_or_default();
        (attack, r.model.clone(), r.metric.to_owned())
    };
    records.iter().map(|r| (key(r), r.cell.clone())).collect()
}

/// Every row of a stored CSV is what its reports give today.
fn check_csv(what: &str, records: &[Record], wrong: &mut Vec<String>) {
    let computed = rows_of(records);
    let path = results().join(format!("studies/{what}-cpu.csv"));
    let mut csv = csv::Reader::from_path(&path).unwrap();
    let mut count = 0;
    for row in csv.records() {
        let row = row.unwrap();
        count += 1;
        let key = (row[2].to_owned(), row[3].to_owned(), row[5].to_owned());
        let Some(cell) = computed.get(&key) else {
            wrong.push(format!("{what}: {key:?} is in the CSV only"));
            continue;
        };
        let near = |text: &str, value: Option<f64>| match (text.parse::<f64>(), value) {
            (Ok(text), Some(value)) => (text - value).abs() <= 1e-9 * (1.0 + value.abs()),
            (written, value) => written.is_err() && value.is_none(),
        };
        let values: Vec<String> = cell
            .values
            .iter()
            .map(|(s, v)| format!("{s}={v}"))
            .collect();
        let interval = cell.interval();
        let same = near(&row[6], cell.mean())
            && near(&row[7], interval.map(|ci| ci[0]))
            && near(&row[8], interval.map(|ci| ci[1]))
            && row[11] == values.join(";");
        if !same {
            wrong.push(format!(
                "{what}: {key:?} is {row:?} in the CSV, {} by the reports",
                cell.text(6)
            ));
        }
    }
    assert!(
        count > 0 && count == records.len(),
        "{what}: {count} rows, {} numbers",
        records.len()
    );
}

#[test]
fn stored_numbers() {
    let mut wrong = Vec::new();
    let fashion = stored("fashion-16");
    for number in [2, 3, 10] {
        let built = tables::build(number, &fashion).unwrap();
        check_csv(&format!("table{number}"), &built.records, &mut wrong);
    }
    let (drawn, _) = frontier::build(&fashion).unwrap();
    check_csv("frontier", &drawn.records, &mut wrong);
    let (built, _) = ablation::build(&stored("ablation-fashion-16")).unwrap();
    check_csv("ablation", &built.records, &mut wrong);
    let emoji = stored("emoji-t2i");
    for number in [4, 5, 7, 8, 9] {
        let built = text::build(number, &emoji).unwrap();
        check_csv(&format!("table{number}"), &built.records, &mut wrong);
    }
    none_wrong(&wrong);
}

/// The stored runs were short ones, and their tables say so.
#[test]
fn stored_runs_say_how_long_they_were_trained() {
    let note = super::length::note(&stored("fashion-16"), false).unwrap();
    assert!(
        note.contains("fashion-16 400 (No defense, DistillMD,")
            && note.contains("800 (teacher-1, teacher-2)")
            && note.contains("The paper: 3,994 on CIFAR-10")
            && note.contains("weak results of SecMI and PIA may be due to it"),
        "{note}"
    );
    let note = super::length::note(&stored("emoji-t2i"), true).unwrap();
    assert!(
        note.contains("emoji-t2i 1,500 (teacher-1, teacher-2")
            && note.contains("; 750 (No defense, DistillMD")
            && note.contains("769 on Pokemon"),
        "{note}"
    );
}

/// Extraction from the models of one seed, in `docs/results/demo.md`, from the files under `docs/results/epochs`.
#[test]
fn extraction_at_the_papers_epochs() {
    let document = std::fs::read_to_string(results().join("demo.md")).unwrap();
    let files = BTreeMap::from([
        ("undefended", "baseline"),
        ("DualMD pair", "pair"),
        ("DistillMD student", "student"),
        ("ordinary distillation", "kd"),
    ]);
    let rows = table(&document, &["seed", "model", "candidates"]);
    assert_eq!(rows.len(), files.len());
    let mut wrong = Vec::new();
    for row in &rows {
        let name = format!(
            "epochs/extraction-{}-seed-{}.json",
            files[row[1].as_str()],
            row[0]
        );
        let text = std::fs::read_to_string(results().join(name)).unwrap();
        let found: dualmd_record::extraction::Extraction = serde_json::from_str(&text).unwrap();
        let mut cells = vec![found.candidates.to_string()];
        for attack in &found.attacks {
            let (of, control) = (&attack.members, &attack.control);
            let [low, high] = of.share_ci.map(|s| 100.0 * s);
            cells.push(format!("{}/{} ({low:.1}-{high:.1} %)", of.extracted, of.n));
            cells.push(format!("{}/{}", control.extracted, control.n));
            cells.push(match attack.p_value {
                p if p < 1e-3 => format!("{p:.1e}"),
                p => format!("{p:.3}"),
            });
        }
        for (cell, right) in row[2..].iter().zip(&cells) {
            if cell != right {
                wrong.push(format!("{}: {cell} is not {right}", row[1]));
            }
        }
        assert_eq!(row.len(), cells.len() + 2);
    }
    none_wrong(&wrong);
}

/// The f32 trainings at 4,000 epochs of `docs/results/demo.md`, from the findings under `docs/results/epochs`.
#[test]
fn trainings_at_the_papers_epochs() {
    let document = std::fs::read_to_string(results().join("demo.md")).unwrap();
    let attacks = [
        "loss",
        "secmi",
        "secmi-nn",
        "pia",
        "pian",
        "sima",
        "pfami",
        "rediffuse",
        "nn",
        "loss@snr=1",
        "loss-grid",
        "combined",
    ];
    let models = BTreeMap::from([
        ("undefended", ("baseline", "all")),
        ("teacher 1, own half", ("teacher-1", "d1")),
        ("teacher 2, own half", ("teacher-2", "d2")),
        ("DualMD pair", ("dualmd", "all")),
        ("DistillMD student", ("student", "all")),
        ("ordinary distillation", ("kd", "all")),
    ]);
    let rows = table(&document, &["seed", "model", "loss", "SecMI", "SecMI-NNs"]);
    let mut wrong = Vec::new();
    let mut compared = 0;
    for row in &rows {
        let (model, members) = models[row[1].as_str()];
        let path = results().join(format!("epochs/findings-seed-{}.csv", row[0]));
        let mut csv = csv::Reader::from_path(&path).unwrap();
        let found: Vec<BTreeMap<String, String>> =
            csv.deserialize().collect::<Result<_, _>>().unwrap();
        for (attack, cell) in attacks.iter().zip(&row[2..]) {
            let text = measured(&found, model, attack, members);
            if *cell != text {
                wrong.push(format!(
                    "seed {}, {model}, {attack}: {cell} is not {text}",
                    row[0]
                ));
            }
            compared += usize::from(text != "-");
        }
    }
    assert!(compared >= 30, "only {compared} cells");
    none_wrong(&wrong);
}

/// The curve over epochs of `docs/results/demo.md`, from the findings at each length under `docs/results/epochs`.
#[test]
fn attacks_by_length_of_training() {
    let document = std::fs::read_to_string(results().join("demo.md")).unwrap();
    let attacks = ["loss", "secmi", "secmi-nn", "pia", "pian", "sima", "nn"];
    let models = BTreeMap::from([
        ("undefended", "baseline"),
        ("DualMD pair", "dualmd"),
        ("DistillMD student", "student"),
    ]);
    let rows = table(&document, &["epochs", "model", "loss", "SecMI"]);
    let mut wrong = Vec::new();
    for row in &rows {
        let (epochs, model) = (row[0].replace(',', ""), models[row[1].as_str()]);
        let path = results().join(format!("epochs/findings-epochs-{epochs}.csv"));
        let mut csv = csv::Reader::from_path(&path).unwrap();
        let found: Vec<BTreeMap<String, String>> =
            csv.deserialize().collect::<Result<_, _>>().unwrap();
        for (attack, cell) in attacks.iter().zip(&row[2..]) {
            let text = measured(&found, model, attack, "all");
            if *cell != text {
                wrong.push(format!("{epochs}, {model}, {attack}: {cell} is not {text}"));
            }
        }
    }
    assert_eq!(rows.len(), 15);
    none_wrong(&wrong);
}

/// AUC with its interval and the members found at 1 % false alarms, as the documents write them; `-` of what was not run.
fn measured(
    found: &[BTreeMap<String, String>],
    model: &str,
    attack: &str,
    members: &str,
) -> String {
    let own = found
        .iter()
        .find(|f| f["model"] == model && f["attack"] == attack && f["members"] == members);
    own.map_or("-".to_owned(), |f| {
        let number = |key: &str| f[key].parse::<f64>().unwrap();
        format!(
            "{:.3} ({:.3}-{:.3}), {}/{}",
            number("auc"),
            number("auc_low"),
            number("auc_high"),
            f["tp_at_0.01"],
            f["n_members"]
        )
    })
}

/// The run of the preset `fashion-flow` in `docs/flow.md`, from its findings.
#[test]
fn a_flow_beside_the_demo() {
    let document = std::fs::read_to_string(results().join("../flow.md")).unwrap();
    let path = results().join("fashion-flow/findings.csv");
    let mut csv = csv::Reader::from_path(&path).unwrap();
    let found: Vec<BTreeMap<String, String>> = csv.deserialize().collect::<Result<_, _>>().unwrap();
    let rows = table(&document, &["model", "loss", "SecMI", "PIA"]);
    let mut wrong = Vec::new();
    for row in &rows {
        let (model, members) = match row[0].as_str() {
            "undefended" => ("baseline", "all"),
            "teacher 1, own half" => ("teacher-1", "d1"),
            "teacher 2, own half" => ("teacher-2", "d2"),
            "DualMD pair" => ("dualmd", "all"),
            "DistillMD student" => ("student", "all"),
            "ordinary distillation" => ("kd", "all"),
            other => panic!("{other}"),
        };
        let attacks = ["loss", "secmi", "pia", "pian", "sima", "nn"];
        for (attack, cell) in attacks.iter().zip(&row[1..]) {
            let text = measured(&found, model, attack, members);
            if *cell != text {
                wrong.push(format!("{model}, {attack}: {cell} is not {text}"));
            }
        }
    }
    assert_eq!(rows.len(), 6);
    none_wrong(&wrong);
}
