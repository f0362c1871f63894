//! Tables over seeds, made from stored findings: what stands in a page between `<!-- findings: FOLDER... -->` and `<!-- end -->`.
//! `DUALMD_WRITE_DOCS=1 cargo test -p dualmd-reproduce by_seed` writes it.
//!
//! A folder holds `findings-seed-N.csv` of each seed and, where image quality was measured, `frontier.csv` of them all, as `dualmd run`
//! writes these. A folder that is not there has not been measured.

use super::{Finding, MODELS, csv_rows, measured, results};
use crate::cell::Cell;
use crate::names;
use crate::paper::Metric;
use crate::read::Measured;
use std::fs;
use std::path::Path;

/// Pages with such tables.
const PAGES: [&str; 3] = ["../flow.md", "../labels.md", "../tune.md"];

const OPEN: &str = "<!-- findings: ";
const SHUT: &str = " -->\n";
const END: &str = "<!-- end -->";

const NOTHING: &str = "Not measured yet.";

/// (folder, how its models were trained).
const KINDS: [(&str, &str); 4] = [
    ("ddpm", "DDPM"),
    ("flow", "flow"),
    ("labels", "DDPM told classes"),
    ("tune", "adapters"),
];

/// The seeds of a folder.
struct Kind {
    title: &'static str,
    /// Findings of attacks that did not fail.
    seeds: Vec<(u64, Vec<Finding>)>,
    /// Rows of `frontier.csv`.
    frontier: Vec<Finding>,
}

impl Kind {
    fn read(root: &Path, folder: &str) -> Self {
        let known = KINDS.iter().find(|known| known.0 == folder);
        let title = known
            .unwrap_or_else(|| panic!("no kind of models {folder:?}"))
            .1;
        let folder = root.join(folder);
        let rows = |name: String| {
            let path = folder.join(name);
            path.is_file().then(|| csv_rows(&path))
        };
        let seed = |seed: u64| {
            let mut rows = rows(format!("findings-seed-{seed}.csv"))?;
            rows.retain(|row| row["status"] == "ok");
            Some((seed, rows))
        };
        Self {
            title,
            seeds: (0..100).filter_map(seed).collect(),
            frontier: rows("frontier.csv".into()).unwrap_or_default(),
        }
    }

    fn has(&self, model: &str) -> bool {
        let mut all = self.seeds.iter().flat_map(|(_, rows)| rows);
        all.any(|row| row["model"] == model)
    }

    /// Mean AUC with its interval, and the members found by all seeds.
    fn mean(&self, model: &str, attack: &str, members: &str) -> String {
        let mut numbers: Vec<(u64, Measured)> = Vec::new();
        let mut found = [0; 2];
        for (seed, rows) in &self.seeds {
            let own = rows.iter().find(|row| {
                row["model"] == model && row["attack"] == attack && row["members"] == members
            });
            let Some(row) = own else { continue };
            let number = |key: &str| row[key].parse::<f64>().unwrap();
            let interval = [number("auc_low"), number("auc_high")];
            numbers.push((*seed, (number("auc"), Some(interval))));
            for (sum, key) in found.iter_mut().zip(["tp_at_0.01", "n_members"]) {
                *sum += row[key].parse::<u64>().unwrap();
            }
        }
        let mut cell = Cell::new(&numbers, self.seeds.len()).unwrap();
        // As of every share: what the t interval says beyond 0 and 1 cannot be.
        if let Some(ci) = cell.summary.as_mut().and_then(|s| s.between_ci.as_mut()) {
            *ci = ci.map(|v| v.clamp(0.0, 1.0));
        }
        match cell.mean() {
            Some(_) => format!("{}, {}/{}", cell.text(3), found[0], found[1]),
            None => "-".into(),
        }
    }

    /// The excess of a model's images.
    fn excess(&self, model: &str) -> String {
        let metric = Metric::Excess;
        let mut rows = self.frontier.iter();
        let row = rows.find(|row| row["model"] == model && row["metric"] == metric.key());
        let values = row.map_or("", |row| row["values"].as_str());
        let numbers: Vec<(u64, Measured)> = values
            .split_terminator(';')
            .map(|value| {
                let (seed, number) = value.split_once('=').unwrap();
                (seed.parse().unwrap(), (number.parse().unwrap(), None))
            })
            .collect();
        let cell = Cell::new(&numbers, self.seeds.len()).unwrap();
        cell.text(metric.digits())
    }
}

fn line(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// Both tables of some folders: means over seeds, and each seed.
fn tables(root: &Path, folders: &str) -> String {
    let kinds: Vec<Kind> = folders
        .split_whitespace()
        .map(|folder| Kind::read(root, folder))
        .filter(|kind| !kind.seeds.is_empty())
        .collect();
    if kinds.is_empty() {
        return NOTHING.into();
    }
    let mut attacks: Vec<&str> = Vec::new();
    let seeds = kinds.iter().flat_map(|kind| &kind.seeds);
    for row in seeds.flat_map(|(_, rows)| rows) {
        let attack = row["attack"].as_str();
        if !attacks.contains(&attack) {
            attacks.push(attack);
        }
    }
    let head = |first: &[&str], last: &[&str]| {
        let titles = attacks.iter().map(|attack| names::attack(attack));
        let first = first.iter().map(|word| (*word).to_owned());
        let last = last.iter().map(|word| (*word).to_owned());
        let cells: Vec<String> = first.chain(titles).chain(last).collect();
        line(&cells) + "|" + &"---|".repeat(cells.len()) + "\n"
    };
    let mut means = head(&["model", "trained as", "seeds"], &["excess"]);
    let mut each = head(&["model", "trained as", "seed"], &[]);
    for (label, model, members) in MODELS {
        for kind in kinds.iter().filter(|kind| kind.has(model)) {
            let count = kind.seeds.len().to_string();
            let mut cells = vec![label.to_owned(), kind.title.to_owned(), count];
            cells.extend(attacks.iter().map(|a| kind.mean(model, a, members)));
            cells.push(kind.excess(model));
            means += &line(&cells);
            for (seed, rows) in &kind.seeds {
                let mut cells = vec![label.to_owned(), kind.title.to_owned(), seed.to_string()];
                cells.extend(attacks.iter().map(|a| measured(rows, model, a, members)));
                each += &line(&cells);
            }
        }
    }
    format!(
        "Mean AUC over the seeds [95 % interval between seeds, Student's t; of one seed: over its images], and members found at 1 % false \
         alarms, of all seeds together. Excess: Fréchet distance of generated images to unseen ones less that of real images.\n\n{means}\n\
         Each seed: AUC with its 95 % interval over the images, and members found.\n\n{each}"
    )
}

/// The page with its tables made anew.
fn filled(page: &str, root: &Path) -> String {
    let mut out = String::new();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once(OPEN) {
        let (folders, after) = after.split_once(SHUT).unwrap();
        let (_, after) = after.split_once(END).unwrap();
        let tables = tables(root, folders);
        let tables = tables.trim_end();
        out += &format!("{before}{OPEN}{folders}{SHUT}\n{tables}\n\n{END}");
        rest = after;
    }
    out + rest
}

#[test]
fn pages_have_the_tables_that_follow_from_the_findings() {
    for name in PAGES {
        let path = results().join(name);
        let page = fs::read_to_string(&path).unwrap();
        assert!(page.contains(OPEN), "{name} has no such table");
        let right = filled(&page, &results());
        if std::env::var_os("DUALMD_WRITE_DOCS").is_some() {
            fs::write(&path, &right).unwrap();
        }
        let there = fs::read_to_string(&path).unwrap();
        assert!(
            there == right,
            "{name} has not the tables of docs/results; write them again with DUALMD_WRITE_DOCS=1"
        );
    }
}

const MADE_UP: &str = "model,attack,members,status,auc,auc_low,auc_high,tp_at_0.01,n_members\n";

/// Two flows and one DDPM of two attacks, by hand: 0.9 and 0.8 have a mean of 0.85 and, with one degree of freedom, t = 12.7 standard errors of
/// 0.05 to either side.
#[test]
fn tables_are_made_of_the_seeds_that_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let write = |file: &str, rows: &str| {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, rows).unwrap();
    };
    let page = "A\n\n<!-- findings: ddpm flow -->\n\nold\n\n<!-- end -->\n\nB\n";
    let empty = filled(page, dir.path());
    assert_eq!(empty, page.replace("old", NOTHING));
    // Once more nothing changes.
    assert_eq!(filled(&empty, dir.path()), empty);

    let flow = |auc: f64, found: u64| {
        format!(
            "{MADE_UP}baseline,loss,all,ok,{auc},0.7,0.95,{found},24\nbaseline,loss,d1,ok,0.1,0.0,0.2,0,12\n\
             baseline,pfami,all,failed,,,,,\ndualmd,nn,all,ok,0.6,0.5,0.7,1,24\n"
        )
    };
    write("flow/findings-seed-0.csv", &flow(0.9, 20));
    write("flow/findings-seed-2.csv", &flow(0.8, 7));
    write(
        "flow/frontier.csv",
        "what,model,metric,values\nfrontier,baseline,auc,0=1;2=1\nfrontier,baseline,frechet_excess,0=30;2=31\n",
    );
    write(
        "ddpm/findings-seed-0.csv",
        &format!("{MADE_UP}teacher-1,loss,d1,ok,0.75,0.7,0.8,3,12\n"),
    );
    let page = filled(page, dir.path());
    for line in [
        "| model | trained as | seeds | Loss | Nearest image | excess |",
        "|---|---|---|---|---|---|",
        "| undefended | flow | 2 | 0.850 [0.215-1.000], 27/48 | - | 30.50 [24.15-36.85] |",
        "| teacher 1, own half | DDPM | 1 | 0.750 (0.700-0.800), 3/12 | - | - |",
        "| DualMD pair | flow | 2 | - | 0.600 [0.600-0.600], 2/48 | - |",
        "| model | trained as | seed | Loss | Nearest image |",
        "| undefended | flow | 2 | 0.800 (0.700-0.950), 7/24 | - |",
        "| teacher 1, own half | DDPM | 0 | 0.750 (0.700-0.800), 3/12 | - |",
    ] {
        assert!(page.contains(&format!("{line}\n")), "{line}:\n{page}");
    }
    assert!(!page.contains("pfami") && !page.contains("PFAMI"), "{page}");
    assert!(page.ends_with("|\n\n<!-- end -->\n\nB\n"), "{page}");
    assert_eq!(filled(&page, dir.path()), page);
}
