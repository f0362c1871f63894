//! The numbers of the documents, recomputed from the reports that are stored beside them: the tables of `docs/results/paper-tables.md`,
//! and the CSV files of `docs/results/studies`.

mod by_seed;

use super::cell::{Cell, decimal, strongest};
use super::fixture::alone;
use super::paper::Metric;
use super::read::{Evidence, Run, Set, read};
use super::table::Record;
use super::{ablation, frontier, layouts, names, tables};
use dualmd::experiment::{Experiment, Source};
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
    alone(Set::of(name, name, runs))
}

fn document(name: &str) -> String {
    std::fs::read_to_string(results().join(name)).unwrap()
}

/// The rows of the first table of a document whose head begins with these cells.
fn table(document: &str, head: &[&str]) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        let line = line.trim().trim_start_matches('|').trim_end_matches('|');
        line.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut lines = document.lines();
    let head: Vec<String> = head.iter().map(|h| (*h).to_owned()).collect();
    lines
        .find(|line| line.starts_with('|') && cells(line).starts_with(&head))
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

/// What of a document does not agree with the stored files.
#[derive(Default)]
struct Wrong(Vec<String>);

impl Wrong {
    /// Are the numbers of a cell of the document the mean of `cell`, and its interval where the document has one?
    fn compare(&mut self, written: &str, cell: &Cell, what: &str) {
        let own = [cell.mean()]
            .into_iter()
            .chain(cell.interval().map_or([None; 2], |ci| ci.map(Some)))
            .map(|v| v.unwrap_or(f64::NAN));
        let found = decimals(written);
        let differs = |(text, value): (&String, f64)| {
            let digits = text.split('.').nth(1).map_or(0, str::len);
            decimal(value, digits) != *text
        };
        if found.len() > 3
            || found.is_empty() != cell.mean().is_none()
            || found.iter().zip(own).any(differs)
        {
            let right = cell.text(4);
            self.0.push(format!(
                "{what}: the document has {written:?}, the reports {right}"
            ));
        }
    }

    /// The same with a number of a model.
    fn metric(&mut self, written: &str, set: &Set, model: &str, attack: Option<&str>, of: Metric) {
        let cell = Cell::metric(set, model, attack, of).unwrap();
        self.compare(written, &cell, &format!("{model}, {attack:?}, {of:?}"));
    }

    /// The same with the AUCs of a model, cell by cell.
    fn aucs(&mut self, written: &[String], set: &Set, model: &str, attacks: &[&str]) {
        for (written, attack) in written.iter().zip(attacks) {
            self.metric(written, set, model, Some(attack), Metric::Auc);
        }
    }

    /// Does a document have exactly this?
    fn same(&mut self, written: &str, right: &str, what: &str) {
        if written != right {
            self.0.push(format!("{what}: {written} is not {right}"));
        }
    }

    /// Is this in a document?
    fn said(&mut self, document: &str, text: &str) {
        if !document.contains(text) {
            self.0.push(format!("{text} is not in the text"));
        }
    }
}

impl Drop for Wrong {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.0.is_empty(), "{}", self.0.join("\n"));
        }
    }
}

/// The unconditional table: the strongest attack, SimA, excess, and the undefended model of equal quality.
#[test]
fn unconditional_models() {
    let (document, evidence) = (document("paper-tables.md"), stored("fashion-16"));
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
    let head = ["method", "strongest attack", "SimA", "FD excess"];
    let rows = table(&document, &head);
    assert_eq!(rows.len(), models.len());
    let mut wrong = Wrong::default();
    for row in rows {
        let model = models[row[0].as_str()];
        let (attack, best) = strongest(set, model).unwrap().unwrap();
        let name = names::attack(&attack).to_lowercase();
        wrong.said(&row[1].to_lowercase(), &name);
        wrong.compare(&row[1], &best, &format!("{model}, strongest"));
        wrong.aucs(&row[2..3], set, model, &["sima"]);
        wrong.metric(&row[3], set, model, None, Metric::Excess);
        if let Some(record) = equal(model).filter(|_| model != "baseline") {
            wrong.compare(&row[4], &record.cell, &format!("{model}, at equal FD"));
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
        let cell = Cell::auc(set, model, attack).unwrap();
        wrong.said(&document, &cell.text(3));
    }
    let (_, student) = strongest(set, "student").unwrap().unwrap();
    let difference = equal("student").unwrap().cell.less(&student).unwrap();
    wrong.said(&document, &format!("difference {}", difference.text(3)));
}

#[test]
fn the_ablation() {
    let document = document("paper-tables.md");
    let evidence = stored("ablation-fashion-16");
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
    let mut wrong = Wrong::default();
    let mut furthest = 0.0_f64;
    let attacks = ["loss", "secmi", "pia", "sima"];
    for row in rows {
        let model = models[row[0].as_str()];
        wrong.aucs(&row[1..5], set, model, &attacks);
        wrong.metric(&row[5], set, model, None, Metric::Excess);
        for attack in attacks.iter().filter(|_| model != "baseline") {
            let [own, ours] = [model, "student"].map(|model| {
                let cell = Cell::auc(set, model, attack);
                cell.unwrap().mean().unwrap()
            });
            furthest = furthest.max((own - ours).abs());
        }
    }
    // "no row differs from the defaults by more than ..."
    let most = decimal((furthest * 1000.0).ceil() / 1000.0, 3);
    wrong.said(&document, &format!("by more than {most}"));
}

/// Two tables of the text-to-image half: who holds the weights, and the adaptive attack.
#[test]
fn text_to_image_models() {
    let (document, evidence) = (document("paper-tables.md"), stored("emoji-t2i"));
    let set = &evidence.sets[0];
    let mut wrong = Wrong::default();
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
            wrong.metric(written, set, model, Some(attack), Metric::Auc);
        }
    }
    let rows = table(&document, &["rounds", "all members", "D1", "D2"]);
    assert_eq!(rows.len(), 4);
    let attacks = layouts::FIRST_BEGINS.iter().zip(layouts::SECOND_BEGINS);
    for (row, (first, second)) in rows.iter().zip(attacks) {
        for (attack, cells) in [(first, &row[1..4]), (second, &row[4..7])] {
            for (written, metric) in cells.iter().zip([Metric::Auc, Metric::D1, Metric::D2]) {
                wrong.metric(written, set, "dualmd", Some(attack), metric);
            }
        }
    }
}

/// Every row of a stored CSV is what its reports give today, in this order: where a number stands, its mean and interval, its values by
/// seed, and the paper's.
fn check_csv(what: &str, records: &[Record], wrong: &mut Wrong) {
    let path = results().join(format!("studies/{what}-cpu.csv"));
    let mut csv = csv::Reader::from_path(&path).unwrap();
    let rows: Vec<csv::StringRecord> = csv.records().collect::<Result<_, _>>().unwrap();
    assert_eq!(rows.len(), records.len(), "{what}");
    for (row, record) in rows.iter().zip(records) {
        let Record { cell, paper, .. } = record;
        let near = |text: &str, value: Option<f64>| match (text.parse::<f64>(), value) {
            (Ok(text), Some(value)) => (text - value).abs() <= 1e-9 * (1.0 + value.abs()),
            (written, value) => written.is_err() && value.is_none(),
        };
        let values = cell.values.iter().map(|(s, v)| format!("{s}={v}"));
        let paper = paper.iter().map(|(place, v)| format!("{place}={v}"));
        let interval = cell.interval();
        let same = row[1] == record.dataset
            && row[2] == *record.attack.as_deref().unwrap_or_default()
            && row[3] == record.model
            && row[5] == *record.metric
            && near(&row[6], cell.mean())
            && near(&row[7], interval.map(|ci| ci[0]))
            && near(&row[8], interval.map(|ci| ci[1]))
            && row[11] == values.collect::<Vec<_>>().join(";")
            && row[12] == paper.collect::<Vec<_>>().join(";");
        if !same {
            wrong.0.push(format!(
                "{what}: the CSV has {row:?}, the reports {record:?}"
            ));
        }
    }
}

#[test]
fn stored_numbers() {
    let mut wrong = Wrong::default();
    let [fashion, emoji] = ["fashion-16", "emoji-t2i"].map(stored);
    for layout in &layouts::LAYOUTS {
        let evidence = if layout.text { &emoji } else { &fashion };
        let built = tables::build(layout, evidence).unwrap();
        check_csv(
            &format!("table{}", layout.number),
            &built.records,
            &mut wrong,
        );
    }
    let (drawn, _) = frontier::build(&fashion).unwrap();
    check_csv("frontier", &drawn.records, &mut wrong);
    let (built, _) = ablation::build(&stored("ablation-fashion-16")).unwrap();
    check_csv("ablation", &built.records, &mut wrong);
}

/// The stored runs were short ones, and their tables say so.
#[test]
fn stored_runs_say_how_long_they_were_trained() {
    let mut wrong = Wrong::default();
    let note = super::length::note(&stored("fashion-16"), false).unwrap();
    for text in [
        "fashion-16 400 (No defense, DistillMD,",
        "800 (teacher-1, teacher-2)",
        "The paper: 3,994 on CIFAR-10",
        "weak results of SecMI and PIA may be due to it",
    ] {
        wrong.said(&note, text);
    }
    let note = super::length::note(&stored("emoji-t2i"), true).unwrap();
    for text in [
        "emoji-t2i 1,500 (teacher-1, teacher-2",
        "; 750 (No defense, DistillMD",
        "769 on Pokemon",
    ] {
        wrong.said(&note, text);
    }
}

/// Extraction from the models of one seed, in `docs/results/demo.md`, from the files under `docs/results/epochs`.
#[test]
fn extraction_at_the_papers_epochs() {
    let files = BTreeMap::from([
        ("undefended", "baseline"),
        ("DualMD pair", "pair"),
        ("DistillMD student", "student"),
        ("ordinary distillation", "kd"),
    ]);
    let rows = table(&document("demo.md"), &["seed", "model", "candidates"]);
    assert_eq!(rows.len(), files.len());
    let mut wrong = Wrong::default();
    for row in &rows {
        let model = files[row[1].as_str()];
        let text = document(&format!("epochs/extraction-{model}-seed-{}.json", row[0]));
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
        assert_eq!(row.len(), cells.len() + 2);
        for (cell, right) in row[2..].iter().zip(&cells) {
            wrong.same(cell, right, model);
        }
    }
}

/// A row of findings, by its columns.
type Finding = BTreeMap<String, String>;

/// The models of tables of findings: (row, model, members that it was trained on).
const MODELS: [(&str, &str, &str); 8] = [
    ("undefended", "baseline", "all"),
    ("plain adapter", "plain", "all"),
    ("teacher 1, own half", "teacher-1", "d1"),
    ("teacher 2, own half", "teacher-2", "d2"),
    ("DualMD pair", "dualmd", "all"),
    ("DualMD pair of adapters", "pair", "all"),
    ("DistillMD student", "student", "all"),
    ("ordinary distillation", "kd", "all"),
];

/// All rows of a table of findings.
fn csv_rows(path: &Path) -> Vec<Finding> {
    let mut csv = csv::Reader::from_path(path).unwrap();
    csv.deserialize().collect::<Result<_, _>>().unwrap()
}

/// Compares rows, each of the model that its cell `at` names, with findings; `file` is that of a row, and the cells after `at` are of
/// `attacks`. Gives how many of them have a number.
fn findings(
    rows: &[Vec<String>],
    at: usize,
    attacks: &[&str],
    file: impl Fn(&[String]) -> String,
) -> usize {
    let mut wrong = Wrong::default();
    let mut compared = 0;
    for row in rows {
        let known = MODELS.iter().find(|known| known.0 == row[at]);
        let (_, model, members) = known.unwrap_or_else(|| panic!("{}", row[at]));
        let found = csv_rows(&results().join(file(row)));
        for (attack, cell) in attacks.iter().zip(&row[at + 1..]) {
            let text = measured(&found, model, attack, members);
            wrong.same(cell, &text, &format!("{:?}, {attack}", &row[..=at]));
            compared += usize::from(text != "-");
        }
    }
    compared
}

/// The f32 trainings at 4,000 epochs of `docs/results/demo.md`, from the findings under `docs/results/epochs`.
#[test]
fn trainings_at_the_papers_epochs() {
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
    let head = ["seed", "model", "loss", "SecMI", "SecMI-NNs"];
    let rows = table(&document("demo.md"), &head);
    let compared = findings(&rows, 1, &attacks, |row| {
        format!("epochs/findings-seed-{}.csv", row[0])
    });
    assert!(compared >= 30, "only {compared} cells");
}

/// The curve over epochs of `docs/results/demo.md`, from the findings at each length under `docs/results/epochs`.
#[test]
fn attacks_by_length_of_training() {
    let attacks = ["loss", "secmi", "secmi-nn", "pia", "pian", "sima", "nn"];
    let rows = table(&document("demo.md"), &["epochs", "model", "loss", "SecMI"]);
    findings(&rows, 1, &attacks, |row| {
        format!("epochs/findings-epochs-{}.csv", row[0].replace(',', ""))
    });
    assert_eq!(rows.len(), 15);
}

/// The run of the preset `fashion-flow` in `docs/flow.md`, from its findings.
#[test]
fn a_flow_beside_the_demo() {
    let attacks = ["loss", "secmi", "pia", "pian", "sima", "nn"];
    let rows = table(&document("../flow.md"), &["model", "loss", "SecMI", "PIA"]);
    findings(&rows, 0, &attacks, |_| "fashion-flow/findings.csv".into());
    assert_eq!(rows.len(), 6);
}

/// The flows and the class-conditional models that stand beside the demo have its recipe in f32, and the base of the adapters is an experiment.
#[test]
fn experiments_beside_the_demo_have_its_recipe() {
    let load = |source: Source| Experiment::load(&source, &[]).unwrap();
    for (file, preset) in [
        ("flow-demo.toml", "fashion-flow"),
        ("labels-demo.toml", "fashion-labels"),
    ] {
        let own = load(Source::File(results().join(file)));
        let mut demo = load(Source::Preset(preset.into()));
        demo.train.dtype = own.train.dtype;
        assert_eq!(own.train, demo.train, "{file}");
        assert_eq!((&own.data, &own.model), (&demo.data, &demo.model), "{file}");
        assert_eq!(own.sample, demo.sample, "{file}");
        for attack in &demo.audit.attacks {
            assert!(own.audit.attacks.contains(attack), "{file}: {attack}");
        }
    }
    assert!(load(Source::File(results().join("tune/base.toml"))).is_text());
}

/// AUC with its interval and the members found at 1 % false alarms, as the documents write them; `-` of what was not run.
fn measured(found: &[Finding], model: &str, attack: &str, members: &str) -> String {
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
