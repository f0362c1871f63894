//! The report of a folder, several reports as one, and what a program that was told to fail on findings leaves with.

use crate::errors::{FOUND, VOID};
use crate::machine;
use crate::reporter::Reporter;
use anyhow::Result;
use dualmd_audit::report::{ModelVerdict, Verdict};
use dualmd_audit::{Finding, Report};
use dualmd_experiment::bail_usage;
use dualmd_experiment::choices::FailOn;
use dualmd_experiment::plan::Versions;
use dualmd_files::shown;
use std::path::{Path, PathBuf};

/// What a report holds.
#[derive(Debug, Clone, Copy)]
pub struct ReportOptions {
    /// Pictures, texts, and which members are exposed most. Without them it can leave the house.
    pub images: bool,
}

impl Default for ReportOptions {
    fn default() -> Self {
        Self { images: true }
    }
}

/// A report that was written.
#[derive(Debug)]
pub struct Written {
    /// What it says.
    pub report: Report,
    /// The page.
    pub html: PathBuf,
    /// The same for programs.
    pub json: PathBuf,
}

/// Builds `report.html`, `report.json` and `findings.csv` from the files of a run or an audit. No model and no image is read.
///
/// # Errors
/// A folder without scores; a file that is damaged, which the message names.
pub fn report(folder: &Path, options: ReportOptions) -> Result<Written> {
    write(folder, dualmd_audit::build(folder)?, options)
}

/// Was the report that a folder has written without images? Not so where there is none that can be read.
#[must_use]
pub fn is_redacted(folder: &Path) -> bool {
    let before = dualmd_audit::read(&folder.join("report.json"));
    before.is_ok_and(|report| report.images_left_out)
}

/// Does a folder hold a report that another command than this one's made?
#[must_use]
pub fn holds_another(out: &Path, maker: &Maker) -> bool {
    let path = out.join("report.json");
    let Ok(bytes) = dualmd_files::read(&path, dualmd_files::limit::TABLE) else {
        return path.exists();
    };
    let before: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    before["run"]["command"].as_str() != Some(maker.command.as_str())
}

/// Who makes a comparison, and by what.
#[derive(Debug, Clone)]
pub struct Maker {
    /// The command that repeats it, as one would type it.
    pub command: String,
    /// The person, if named.
    pub auditor: Option<String>,
    /// The program and its libtorch.
    pub versions: Versions,
}

/// Several audits, or runs, of the same images as one report in a folder, where an earlier one is written over; `audits` with the names
/// that they have in it, or none: those of their folders.
///
/// # Errors
/// As [`dualmd_audit::compare`]; a folder `out` that holds a run or an audit.
pub fn compare(
    maker: &Maker,
    audits: &[(Option<String>, PathBuf)],
    out: &Path,
    options: ReportOptions,
) -> Result<Written> {
    if out.join("plan.json").exists() || out.join("scores").exists() {
        bail_usage!(
            "{} holds a run or an audit, whose report a comparison would overwrite: choose another folder (-o)",
            shown(out)
        );
    }
    let named: Vec<(String, PathBuf)> = audits
        .iter()
        .map(|(name, folder)| {
            let name = name.clone().unwrap_or_else(|| dualmd_audit::stem(folder));
            (name, folder.clone())
        })
        .collect();
    let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
    let made = serde_json::Map::from_iter([
        ("name".to_owned(), names.join(", ").into()),
        ("created".to_owned(), machine::now().into()),
        ("command".to_owned(), maker.command.clone().into()),
        (
            "versions".to_owned(),
            serde_json::to_value(&maker.versions)?,
        ),
        ("auditor".to_owned(), maker.auditor.clone().into()),
    ]);
    let report = dualmd_audit::compare(&named, made)?;
    write(out, report, options)
}

/// Writes a report into a folder.
///
/// # Errors
/// A file that cannot be written.
pub fn write(folder: &Path, mut report: Report, options: ReportOptions) -> Result<Written> {
    if !options.images {
        report = report.without_images();
    }
    let dualmd_audit::Written { html, json, .. } = dualmd_audit::write(folder, &report)?;
    Ok(Written { report, html, json })
}

/// The exit code of reports: [`FOUND`] if a model that could be released has a finding that `fail_on` names, else [`VOID`] if it names anything and one is void,
/// else 0. Nothing can be found in a void report, so it never passes for one in which nothing was found. The reason goes to `reporter`.
pub fn exit_code<'a>(
    verdicts: impl IntoIterator<Item = &'a Verdict>,
    fail_on: &[FailOn],
    reporter: &dyn Reporter,
) -> u8 {
    let verdicts: Vec<&Verdict> = verdicts.into_iter().collect();
    for model in verdicts.iter().flat_map(|v| &v.models) {
        reporter.concluded(&model.model, model.finding.name());
    }
    let models = verdicts.iter().flat_map(|v| for_release(v));
    let found = models
        .filter(|model| model.finding != Finding::Void)
        .map(|model| {
            (
                model.model.as_str(),
                model.finding,
                model.conclusion.words(),
            )
        });
    let mut code = exit_code_of(found, fail_on, reporter);
    let void = verdicts.iter().any(|v| v.void.is_some());
    if void && !fail_on.is_empty() {
        reporter.warn(match names(fail_on, Finding::Void) {
            true => "--fail-on: the report is void",
            false => "--fail-on: the report is void, so nothing that it names can be ruled out",
        });
        code = if code == 0 { VOID } else { code };
    }
    code
}

/// The models that could be released. Teachers could not: each gives away its half, so that every training with the defence would fail. All
/// models of reports that do not say it, as those of early versions.
fn for_release(verdict: &Verdict) -> impl Iterator<Item = &ModelVerdict> {
    let is = |model: &&ModelVerdict| {
        let mut lines = verdict.releases.iter();
        verdict.releases.is_empty() || lines.any(|line| line.model == model.model)
    };
    verdict.models.iter().filter(is)
}

/// The exit code of findings: [`FOUND`] if one is named by `fail_on`, else 0. `found`: of what, the finding, and its words for
/// `reporter`.
pub fn exit_code_of<'a>(
    found: impl IntoIterator<Item = (&'a str, Finding, &'a str)>,
    fail_on: &[FailOn],
    reporter: &dyn Reporter,
) -> u8 {
    let mut code = 0;
    for (what, finding, words) in found {
        if names(fail_on, finding) {
            reporter.warn(&format!("--fail-on: {}: {words}", shown(what)));
            code = FOUND;
        }
    }
    code
}

fn names(fail_on: &[FailOn], finding: Finding) -> bool {
    fail_on.iter().any(|f| match f {
        FailOn::Leak => finding == Finding::Leak,
        FailOn::Inverted => finding == Finding::Inverted,
        FailOn::Set => finding == Finding::Set,
        FailOn::Copies => finding == Finding::Copies,
        FailOn::Void => finding == Finding::Void,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reporter::Silent;

    #[test]
    fn teachers_are_not_for_release_and_fail_nothing() {
        let verdict = |releases: &str, student: &str| -> Verdict {
            let model = |name: &str, finding: &str| {
                format!(r#"{{"model": "{name}", "finding": "{finding}", "text": ""}}"#)
            };
            let models = [model("teacher-1", "leak"), model("student", student)].join(", ");
            let text = format!(r#"{{"releases": [{releases}], "models": [{models}]}}"#);
            serde_json::from_str(&text).unwrap()
        };
        let line = r#"{"model": "student", "what": "weights", "attacks": 0, "strongest": null, "found": null,
            "found_groups": null, "advice": "withhold", "because": ""}"#;
        let code = |verdict: &Verdict| exit_code([verdict], &[FailOn::Leak], &Silent);
        assert_eq!(code(&verdict(line, "chance")), 0);
        assert_eq!(code(&verdict(line, "leak")), FOUND);
        // An early report does not say who could be released.
        assert_eq!(code(&verdict("", "chance")), FOUND);
    }

    #[test]
    fn a_comparison_of_another_command_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let maker = |command: &str| Maker {
            command: command.into(),
            auditor: None,
            versions: Versions::default(),
        };
        let (one, other) = (
            maker("dualmd compare a b -o x"),
            maker("dualmd compare a c -o x"),
        );
        assert!(!holds_another(dir.path(), &one));
        let report = dir.path().join("report.json");
        std::fs::write(
            &report,
            r#"{"run": {"command": "dualmd compare a b -o x"}}"#,
        )
        .unwrap();
        assert!(!holds_another(dir.path(), &one) && holds_another(dir.path(), &other));
        // Of one without a command, or a damaged one, nothing is known.
        for text in ["{}", "x"] {
            std::fs::write(&report, text).unwrap();
            assert!(holds_another(dir.path(), &one), "{text}");
        }
    }
}
