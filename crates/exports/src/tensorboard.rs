//! A folder of event files, which TensorBoard shows.

use std::path::{Path, PathBuf};

use dualmd_record::events;
use sha2::{Digest as _, Sha256};

use crate::numbers::{made, note, numbers, numbers_of_audit};
use crate::{Result, called, said, write};
use dualmd_audit::facts::run_name;
use dualmd_audit::report::Report;

/// Writes the report as runs of TensorBoard into `folder`, for `tensorboard --logdir folder`: `AUDIT/` with the verdict as text and the
/// number of models with each finding, `AUDIT/MODEL/` with the numbers that [`mlflow`](crate::mlflow()) has, under `audit/` at step 0. A
/// void report has its reason and no number. `AUDIT` is the run's name with the beginning of a hash of the report: the same
/// report written again replaces its own files, other audits in the folder stay. Gives the audit's folder.
///
/// # Errors
/// The folder cannot be made or a file in it cannot be written.
pub fn tensorboard(report: &Report, folder: &Path) -> Result<PathBuf> {
    let json = serde_json::to_vec(report)?;
    let hash: String = Sha256::digest(&json)
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let audit = folder.join(format!("{}-{hash}", plain(&run_name(report))));
    let time = made(report) as f64 / 1e3;
    let one = |at: &Path, values: &[(String, f64)], words: &str| -> Result<()> {
        let values: Vec<(String, f64)> = values
            .iter()
            .filter(|(_, value)| value.is_finite())
            .map(|(name, value)| (format!("audit/{name}"), *value))
            .collect();
        let values: Vec<(&str, f64)> = values.iter().map(|(n, v)| (n.as_str(), *v)).collect();
        let mut bytes = events::head(time);
        bytes.extend(events::text(time, 0, "audit/verdict", words));
        if !values.is_empty() {
            bytes.extend(events::scalars(time, 0, &values));
        }
        write(
            &at.join(format!("events.out.tfevents.{time:.0}.dualmd.audit")),
            &bytes,
        )
    };
    one(&audit, &numbers_of_audit(report), &note(report))?;
    for (i, model) in said(report).iter().enumerate() {
        let words = format!("{}: {}. {}", called(model.model), model.words, model.text);
        // Two names may be the same in plain letters.
        let at = match plain(&model.model.name) {
            name if name == model.model.name => audit.join(name),
            name => audit.join(format!("{name}-{i}")),
        };
        one(&at, &numbers(model), &words)?;
    }
    Ok(audit)
}

/// A name as that of a folder: letters, digits, `_`, `-` and points that do not begin it, and `_` in place of all else.
fn plain(name: &str) -> String {
    let plain = |(i, c): (usize, char)| match c {
        c if c.is_ascii_alphanumeric() || "_-".contains(c) || (c == '.' && i > 0) => c,
        _ => '_',
    };
    name.chars().take(80).enumerate().map(plain).collect()
}
