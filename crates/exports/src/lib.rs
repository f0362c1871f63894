//! A report in the forms of other programs, and as an annex for the file.
//!
//! | function | form |
//! |---|---|
//! | [`sarif`] | SARIF 2.1.0, for code scanning |
//! | [`junit`] | JUnit XML, for continuous integration |
//! | [`model_card`] | a block for a model card of Hugging Face |
//! | [`annex`] | Markdown, part A of the annex of a data-protection impact assessment filled in |
//! | [`markdown_table`], [`latex_table`] | models x attacks, for a page or a paper |
//! | [`mlflow`] | a folder that `mlflow ui` shows |
//! | [`tensorboard`] | a folder that TensorBoard shows |
//!
//! All of them state the findings and sentences of the report's verdict and decide nothing themselves. A void report has no result in
//! any of them. None shows images; [`annex`] and [`model_card`] hold the command line and the auditor's name as the plan has them, with
//! the paths in it.

#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

mod annex;
mod card;
mod junit;
mod markdown;
mod mlflow;
mod numbers;
mod sarif;
mod tables;
mod tensorboard;

pub use annex::annex;
pub use card::model_card;
pub use junit::junit;
pub use mlflow::mlflow;
pub use sarif::sarif;
pub use tables::{latex_table, markdown_table};
pub use tensorboard::tensorboard;

use dualmd_audit::facts::plan;
use std::path::Path;

use dualmd_audit::release;
use dualmd_audit::report::{Finding, Measurement, ModelReport, Report, View};

/// What can go wrong where a form is a folder.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file or folder cannot be written.
    #[error(transparent)]
    Write(#[from] dualmd_files::Error),
    /// The report is no JSON.
    #[error("the report cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// What came of it.
pub type Result<T> = std::result::Result<T, ExportError>;

/// Writes a file whole, and the folder it lies in if it is not there.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        dualmd_files::create_folder(folder)?;
    }
    Ok(dualmd_files::write(path, bytes)?)
}

/// What the verdict says of one model.
struct Said<'a> {
    model: &'a ModelReport,
    finding: Finding,
    /// In a few words.
    words: &'static str,
    /// The verdict's sentences, and what to do.
    text: String,
}

/// The verdict on every model. Of a void report the reason; of a model without a verdict, as reports of early versions have them, that
/// there is none.
fn said<'a>(report: &'a Report) -> Vec<Said<'a>> {
    let of = |model: &'a ModelReport| {
        let mut verdicts = report.verdict.models.iter();
        let own = verdicts.find(|v| v.model == model.name);
        let (finding, words, text) = match (&report.verdict.void, own) {
            (Some(reason), _) => (Finding::Void, Finding::Void.words(), reason.clone()),
            (None, Some(own)) => (
                own.finding,
                release::finding_in_words(report, own),
                format!("{} {}", own.text, own.advice).trim().to_owned(),
            ),
            (None, None) => (
                Finding::Unknown,
                "no verdict recorded",
                "This report holds no verdict on the model: write it again with `dualmd report FOLDER`.".to_owned(),
            ),
        };
        Said {
            model,
            finding,
            words,
            text,
        }
    };
    report.models.iter().map(of).collect()
}

/// As [`called`], of the model of this name; the name where there is no such model.
fn of_name(report: &Report, name: &str) -> String {
    let mut models = report.models.iter();
    models
        .find(|m| m.name == name)
        .map_or_else(|| name.to_owned(), called)
}

/// A title that names the model even where several have the same.
fn called(model: &ModelReport) -> String {
    match model.title.is_empty() || model.title == model.name {
        true => model.name.clone(),
        false if model.title.contains(&model.name) => model.title.clone(),
        false => format!("{} ({})", model.title, model.name),
    }
}

/// Version of the program that made the audit, where the plan says it; else of this one.
fn version(report: &Report) -> String {
    plan(report, "/versions/dualmd").unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned())
}

/// The strongest attack on a model and what it measured.
fn strongest(model: &ModelReport) -> Option<(&dualmd_audit::report::AttackResult, &Measurement)> {
    let result = model.strongest()?;
    Some((result, result.view(model.primary)?))
}

/// The interval that the verdict states; reports of early versions have none that is corrected.
fn corrected(m: &Measurement) -> [f64; 2] {
    match m.auc_ci_adjusted {
        [_, high] if high <= 0.0 => m.auc_ci,
        adjusted => adjusted,
    }
}

/// Members found at 1 false alarm in 100, and of how many, where that can be measured.
fn found(m: &Measurement) -> Option<(usize, usize)> {
    let mut points = m.tpr_at_fpr.iter();
    let point = points.find(|p| p.fpr == 0.01 && p.measurable)?;
    Some((point.tp, m.n_members))
}

/// "all members", or the half that a teacher was trained on.
fn whom(model: &ModelReport) -> &'static str {
    match model.primary {
        View::Pooled => "all members",
        own => own.name(),
    }
}
