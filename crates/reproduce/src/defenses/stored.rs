//! `docs/results/defenses.md`: its table is made of the reports that are stored beside it, which `condense.py` there leaves of runs.
//! `DUALMD_WRITE_DOCS=1` writes it, and its figure.

use super::collect::Collected;
use super::{expected, outcome, sources, view};
use crate::What;
use crate::fixture::options;
use crate::study::Study;
use crate::write::Place;
use std::path::{Path, PathBuf};

/// What stands around that of the page which is made here.
const MARKS: [&str; 2] = [
    "<!-- dualmd reproduce defenses: from the reports in defenses/ -->",
    "<!-- end -->",
];

/// Its figure, in the folder of the runs.
const FIGURE: &str = "defenses.svg";
/// Its cells one by one, there too.
const CELLS: &str = "defenses-cells.csv";

/// What the page says as long as no run is stored.
const NOTHING: &str = "Nothing is measured yet.";

fn results() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/results")
}

/// The part of the page, and the files beside it by name, of what is stored in this folder; the rows are those of the study.
fn page(stored: &Path) -> (String, Vec<(&'static str, Vec<u8>)>) {
    if !stored.is_dir() {
        return (NOTHING.to_owned(), Vec::new());
    }
    let study = Study::resolve(&options(What::Defenses)).unwrap();
    let dataset = study.datasets[0].dataset;
    let (name, title) = (dataset.name, dataset.title);
    let folder = stored.parent().unwrap().to_path_buf();
    let read = Collected::read(name, title, &[stored.to_path_buf()], &expected(&study));
    let collected = read.unwrap();
    let drawn = view::draw(&collected).unwrap();
    let files = vec![
        (FIGURE, drawn.figure.clone().into_bytes()),
        (
            CELLS,
            view::cells(&collected, &drawn.rows, &folder).unwrap(),
        ),
    ];
    let place = Place {
        folder: folder.clone(),
        stem: "defenses".into(),
        what: What::Defenses.as_str(),
        of: title.into(),
        scale: None,
        runs: sources(name, &collected),
        sets: Vec::new(),
    };
    let text = outcome(drawn, format!("defenses/{FIGURE}")).markdown(&place);
    // The page has a heading of its own, and no machine's folders.
    let (_, text) = text.split_once("\n\n").unwrap();
    let text = text.replace(&format!("{}/", folder.display()), "").replace(
        "the -cells.csv beside this table",
        &format!("[{CELLS}](defenses/{CELLS})"),
    );
    (text.trim_end().to_owned(), files)
}

#[test]
fn the_page_says_what_the_stored_runs_say() {
    let file = results().join("defenses.md");
    let written = std::fs::read_to_string(&file).unwrap();
    let [begin, end] = MARKS;
    let (before, rest) = written.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let stored = results().join("defenses");
    let (text, files) = page(&stored);
    let right = format!("{before}{begin}\n\n{text}\n\n{end}{after}");
    if std::env::var_os("DUALMD_WRITE_DOCS").is_some() {
        std::fs::write(&file, &right).unwrap();
        for (name, content) in files {
            std::fs::write(stored.join(name), content).unwrap();
        }
        return;
    }
    assert!(
        written == right,
        "docs/results/defenses.md is not what the reports beside it say: DUALMD_WRITE_DOCS=1 writes it again; it should have\n{text}"
    );
    for (name, content) in files {
        let there = std::fs::read(stored.join(name)).unwrap();
        assert!(there == content, "{name} is of other numbers");
    }
}

/// Two runs as `condense.py` leaves them.
#[test]
fn a_page_of_stored_runs() {
    let dir = tempfile::tempdir().unwrap();
    let stored = dir.path().join("defenses");
    assert_eq!(page(&stored), (NOTHING.to_owned(), Vec::new()));
    for (family, line) in [
        ("ordinary", "baseline none 3000 2 loss=0.99 nn=0.90"),
        ("iet", "iet iet 3000 3 loss=0.70 nn=0.60"),
    ] {
        let plan = serde_json::json!({ "seed": 0, "data": { "members": 24 } });
        let folder = stored.join(family).join("seed-0");
        crate::fixture::write(&folder, plan, &[line], 0.0);
    }
    let (text, files) = page(&stored);
    crate::fixture::said(
        &text,
        &[
            "| Iterative ensemble ",
            "0.700 (0.680-0.720) Loss",
            "## Quality and cost",
            "![Privacy against quality, every defence](defenses/defenses.svg)",
            "stands in [defenses-cells.csv](defenses/defenses-cells.csv).",
            "- defenses/iet/seed-0 (#1, seed 0)\n- defenses/ordinary/seed-0 (#2, seed 0)",
        ],
    );
    assert!(!text.contains("# Every defence"));
    let [(_, figure), (_, cells)] = &files[..] else {
        panic!("a figure and cells")
    };
    let [figure, cells] = [figure, cells].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(figure.starts_with("<svg"), "{figure}");
    let line = "iet,Iterative ensemble,0,queries-or-weights,loss,measured,";
    assert!(cells.contains(line), "{cells}");
    assert!(cells.contains(",#1,defenses/iet/seed-0"), "{cells}");
    let folder = dir.path().display().to_string();
    assert!(!text.contains(&folder), "{text}");
}
