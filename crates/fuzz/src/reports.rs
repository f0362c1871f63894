//! Scores, splits and run folders: what `report` and `roc` read.

use std::sync::OnceLock;

use dualmd_audit::{build, compat_table, read_scores, roc_table, write_scores};
use dualmd_data::{Ids, Placed, SampleId, Split};
use dualmd_stats::CompatRule;

use crate::files::{Files, with_file, with_folder};
use crate::{said, templates};

/// The false-positive rates that `dualmd roc` is asked for by default.
const RATES: [f64; 2] = [0.01, 0.1];

pub fn split(input: &[u8]) {
    with_file("split.json", input, |path| {
        let Some(split) = said(Split::load(path)) else {
            // Nor is it a split to whoever reads it sample by sample.
            assert!(said(Placed::load(path, &Ids::default(), "")).is_none());
            return;
        };
        let members = split.members().iter().map(|m| m.id.as_str());
        let all = members.chain(split.nonmembers().iter().map(|n| n.id.as_str()));
        let ids = Ids::new(all.filter_map(SampleId::number).collect());
        let placed = said(Placed::load(path, &ids, ""));
        let found = placed.map(|placed| (placed.hash, placed.selected.members.len()));
        let own = (split.hash().to_owned(), split.members().len());
        assert_eq!(found, Some(own));
        for member in split.members() {
            assert!(split.side(member.id.as_str()).is_some());
        }
        let copy = path.with_file_name("copy.json");
        said(split.save(&copy));
        let again = said(Split::load(&copy));
        assert_eq!(again.as_ref().map(Split::hash), Some(split.hash()));
    });
}

pub fn scores(input: &[u8]) {
    with_file("scores.csv", input, |path| {
        let Some(scores) = said(read_scores(path)) else {
            return;
        };
        for json in [false, true] {
            said(roc_table(&scores, &RATES, json));
        }
        for rule in [CompatRule::SecMi, CompatRule::PangWang] {
            said(compat_table(&scores, rule, &RATES, false));
        }
        let copy = path.with_file_name("copy.csv");
        said(write_scores(&copy, &scores.rows));
        let again = said(read_scores(&copy)).map(|file| file.rows);
        assert_eq!(
            again.as_ref(),
            Some(&scores.rows),
            "scores changed on their way through a file"
        );
    });
}

/// A small run in which the input replaces some files.
pub fn run_folder(input: &[u8]) {
    static TEMPLATE: OnceLock<Files> = OnceLock::new();
    let template = TEMPLATE.get_or_init(templates::run_folder);
    with_folder(template, input, "plan.json", |folder| {
        let Some(report) = said(build(folder)) else {
            return;
        };
        report.terminal_table();
        report.findings_csv();
        said(dualmd_audit::write(folder, &report));
    });
}
