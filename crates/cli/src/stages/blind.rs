//! The blind baseline: a classifier that never sees the model (crate `dualmd-controls`), to `controls.json`.

use super::score::Label;
use crate::stages::write_json;
use anyhow::Result;
use dualmd_controls::{Subject, blind_baseline};
use dualmd_data::Record;
use serde_json::json;
use std::path::Path;

/// Measures the baseline and writes `controls.json`. `records` and `labels` belong together.
pub fn write(path: &Path, records: &[&Record], labels: &[Label], seed: u64) -> Result<()> {
    let side = |member: bool| -> Vec<Subject<'_>> {
        records
            .iter()
            .zip(labels)
            .filter(|(_, label)| label.member == member)
            .map(|(record, label)| Subject {
                picture: &record.picture,
                group: label.group.as_deref(),
                file: record.file.clone(),
            })
            .collect()
    };
    match blind_baseline(&side(true), &side(false), seed) {
        Ok(baseline) => write_json(path, &json!({ "blind_baseline": baseline }))?,
        Err(error) => {
            // The attacks are done: their report does not fall with the control, it says that the control is missing.
            tell!(
                "warning: the blind baseline could not be measured, so nothing rules out that the two sets of images differ in more than \
                 membership: {error}"
            );
            super::remove(path)?;
        }
    }
    Ok(())
}
