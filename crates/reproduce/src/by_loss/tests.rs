//! The view on made-up runs, whose cells are computed by hand, and on the findings that are stored beside the documents.

use super::{ATTACKS, Gathered, drawing, facts, made, marks, places, table, told};
use crate::fixture::{options, row, said, write};
use crate::{Made, ReproduceOptions, What};
use dualmd_audit::View;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn plan(seed: u64, source: &str, channels: u8) -> Value {
    json!({ "seed": seed, "data": { "source": source, "channels": channels } })
}

/// A run of grey images with a defence, and one of colour images at two lengths.
fn runs(dir: &Path) -> Vec<PathBuf> {
    let [grey, colour] = ["grey", "colour"].map(|name| dir.join(name));
    write(
        &grey,
        plan(0, "fashion", 1),
        &[
            "baseline none 1600 2 loss=0.99 secmi=0.60 pia=0.80 pian=0.70 sima=0.97",
            "student distillmd 1600 2 loss=0.60 secmi=0.51 pia=0.50",
            "dualmd dualmd 1600 2 nn=0.70",
            // Judged on its half, which it finds by 0.1 more.
            "teacher-1 teacher 1600 2 loss=0.80 secmi=0.55",
        ],
        0.0,
    );
    write(
        &colour,
        plan(1, "some/textures/", 3),
        &[
            "e500 none 500 2 loss=0.70 secmi=0.44 pia=0.30",
            "e4000 none 4000 2 loss=0.995 secmi=0.90 pia=0.60",
        ],
        0.0,
    );
    vec![grey, colour]
}

#[test]
fn runs_of_two_kinds_are_one_figure() {
    let dir = tempfile::tempdir().unwrap();
    let from = runs(dir.path());
    let gathered = Gathered::read(&from).unwrap();
    assert_eq!(gathered.kinds, ["fashion, grey", "textures, colour"]);
    assert!(gathered.notes.is_empty(), "{:?}", gathered.notes);
    let drawn = table(&gathered).unwrap();
    assert_eq!(drawn.rows.len(), 5);
    for (first, cells) in [
        (
            "fashion, grey | #1 | DistillMD | distillmd | - | ",
            "0.600 (0.580-0.620) | 0.510 (0.490-0.530) | 0.500 (0.480-0.520) | - | -",
        ),
        (
            "fashion, grey | #1 | teacher-1 | teacher | - | ",
            "0.900 (0.880-0.920) | 0.650 (0.630-0.670) | - | - | -",
        ),
        (
            "textures, colour | #2 | e500 | none | - | ",
            "0.700 (0.680-0.720) | 0.440 (0.420-0.460) | 0.300 (0.280-0.320) | - | -",
        ),
    ] {
        assert_eq!(row(&drawn, first), format!("{first}{cells}"));
    }
    said(
        &facts(&gathered).join("\n"),
        &[
            "fashion, grey: SecMI is above 0.5 on 2 of 3 models (the least memorised of them: loss 0.900). \
             Where the loss has 0.99 or more (1 of them), its AUC is 0.600 to 0.600.",
            "textures, colour: PIA is above 0.5 on 1 of 2 models (the least memorised of them: loss 0.995), and below 0.5 on 1. \
             Where the loss has 0.99 or more (1 of them), its AUC is 0.600 to 0.600.",
        ],
    );
    let figure = drawing(&gathered);
    said(
        &figure,
        &[
            ">fashion, grey<",
            ">textures, colour<",
            ">fashion, grey, defended<",
            ">SecMI<",
            ">SimA<",
            "<title>fashion, grey, #1 student: SecMI 0.510, loss 0.600</title>",
        ],
    );
    assert!(!figure.contains("NaN") && !figure.contains("textures, colour, defended"));

    let bytes = marks(&gathered, dir.path()).unwrap();
    let mut csv = csv::Reader::from_reader(bytes.as_slice());
    let lines: Vec<csv::StringRecord> = csv.records().collect::<Result<_, _>>().unwrap();
    // Four attacks on the baseline, two on the student, one on the teacher, two on each of the others.
    assert_eq!(lines.len(), 11);
    let own = lines.iter().find(|l| &l[4] == "e4000" && &l[11] == "secmi");
    let own: Vec<&str> = own.unwrap().iter().collect();
    assert_eq!(
        own[..7],
        [
            "textures, colour",
            "#2",
            "colour",
            "1",
            "e4000",
            "none",
            "all members"
        ]
    );
    assert_eq!([own[8], own[12]], ["0.995", "0.9"]);
}

#[test]
fn table_figure_and_files_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let args = ReproduceOptions {
        from: runs(dir.path()),
        out: dir.path().join("out"),
        ..options(What::ByLoss)
    };
    let foreseen = made(&ReproduceOptions {
        dry_run: true,
        ..args.clone()
    });
    let Made::Foreseen { text, problems } = foreseen.unwrap() else {
        panic!("a dry run wrote something")
    };
    assert!(
        problems.is_empty() && text.contains("5 models of 2 runs"),
        "{text}"
    );
    assert!(!args.out.exists());
    let Made::Written { text, files } = made(&args).unwrap() else {
        panic!("nothing was written")
    };
    said(
        &text,
        &[
            "# Attacks against how much is memorised (fashion, grey; textures, colour)",
            "## What it shows",
        ],
    );
    assert!(!text.contains("The seed is not known"), "{text}");
    for end in [".md", ".csv", ".json", ".svg", "-marks.csv"] {
        assert!(args.out.join(format!("by-loss{end}")).is_file(), "{end}");
    }
    assert_eq!(files.len(), 3);
    let page = std::fs::read_to_string(&files[0]).unwrap();
    said(
        &page,
        &[
            "![Attacks against how much is memorised](by-loss.svg)",
            "(#2, textures, colour, seed 1)",
        ],
    );
}

#[test]
fn what_cannot_be_drawn_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |args: ReproduceOptions| -> String { format!("{:#}", made(&args).unwrap_err()) };
    let own = || ReproduceOptions {
        from: vec![dir.path().join("run")],
        out: dir.path().join("out"),
        ..options(What::ByLoss)
    };
    write(
        &dir.path().join("run"),
        plan(0, "fashion", 1),
        &[
            "dualmd dualmd 1600 2 nn=0.70",
            "other none 1600 2 loss=0.70 nn=0.60",
        ],
        0.0,
    );
    let error = refused(own());
    assert!(error.contains("no model of these runs"), "{error}");
    let error = refused(ReproduceOptions {
        from: Vec::new(),
        ..own()
    });
    assert!(error.contains("--from RUN"), "{error}");
    let error = refused(ReproduceOptions {
        rows: vec!["kd".into()],
        ..own()
    });
    assert!(error.contains("--rows is not for by-loss"), "{error}");
    let error = refused(ReproduceOptions {
        from: vec![stored().join("findings-seed-0.csv")],
        ..own()
    });
    assert!(error.contains("--from KIND="), "{error}");
    assert!(!dir.path().join("out").exists());
}

#[test]
fn kinds_are_named_before_a_path() {
    let dir = tempfile::tempdir().unwrap();
    let odd = dir.path().join("a=b");
    std::fs::create_dir(&odd).unwrap();
    assert_eq!(told(&odd), (None, odd.clone()));
    let of = |text: &str| told(Path::new(text));
    let grey = (Some("grey photographs".to_owned()), PathBuf::from("x/y=z"));
    assert_eq!(of("grey photographs=x/y=z"), grey);
    assert_eq!(of("x/y").0, None);
    assert_eq!(of("=x").0, None);
}

fn stored() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/results/epochs")
}

/// The stored findings of grey photographs: five lengths of training, and three seeds.
fn grey() -> Gathered {
    let lengths = [50, 200, 800, 2000, 4000].map(|n| format!("findings-epochs-{n}.csv"));
    let seeds = [0, 1, 2].map(|n| format!("findings-seed-{n}.csv"));
    let files = lengths.iter().chain(&seeds);
    let from: Vec<PathBuf> = files
        .map(|name| PathBuf::from(format!("grey={}", stored().join(name).display())))
        .collect();
    Gathered::read(&from).unwrap()
}

/// The run of 4,000 epochs is that of seed 0, and counts once.
#[test]
fn stored_findings_are_drawn() {
    let gathered = grey();
    assert_eq!(gathered.kinds, ["grey"]);
    let paths = gathered.places.iter().map(|taken| &taken.path);
    let files: Vec<PathBuf> = paths.cloned().collect();
    let folder = places(&stored()).unwrap();
    assert!(files.iter().all(|file| folder.contains(file)), "{folder:?}");
    let twice = |note: &&String| note.contains("counts once");
    assert_eq!(gathered.notes.iter().filter(twice).count(), 4);
    assert_eq!(gathered.marks.len(), 29);
    for mark in &gathered.marks {
        let file = &files[mark.place];
        let mut csv = csv::Reader::from_path(file).unwrap();
        let found: Vec<BTreeMap<String, String>> =
            csv.deserialize().collect::<Result<_, _>>().unwrap();
        let members = match mark.members {
            View::Pooled => "all",
            View::D1 => "d1",
            View::D2 => "d2",
        };
        assert_eq!(members == "all", !mark.model.starts_with("teacher"));
        let number = |attack: &str| -> Option<f64> {
            let own = found.iter().find(|f| {
                f["model"] == mark.model && f["attack"] == attack && f["members"] == members
            });
            own.map(|f| f["auc"].parse().unwrap())
        };
        assert_eq!(
            number("loss"),
            Some(mark.loss.0),
            "{file:?}, {}",
            mark.model
        );
        for (attack, own) in ATTACKS.into_iter().zip(mark.others) {
            assert_eq!(number(attack), own.map(|own| own.0), "{file:?}, {attack}");
        }
    }
    let notes = table(&gathered).unwrap().notes.join("\n");
    said(
        &notes,
        &["The seed is not known of #1, #2, #3, #4, #5; 0 stands"],
    );
}

/// The sentences of the page are those of the program, from what is stored.
#[test]
fn the_page_says_what_the_findings_say() {
    let page = std::fs::read_to_string(stored().join("../by-loss.md")).unwrap();
    for fact in facts(&grey()) {
        assert!(
            page.contains(&fact),
            "{fact}\nis not in docs/results/by-loss.md"
        );
    }
}
