//! The blind baseline: a classifier that never sees the model (crate `dualmd-controls`), to `controls.json`.

use super::score::subject::Label;
use crate::reporter::meanwhile;
use crate::session::Session;
use anyhow::Result;
use dualmd_controls::{Subject, blind_baseline};
use dualmd_data::Record;
use dualmd_record::controls::{BlindBaseline, BlindFamily, Controls};
use std::path::Path;

/// Measures the baseline and writes `controls.json`. `records` and `labels` belong together.
pub fn write(
    path: &Path,
    records: &[&Record],
    labels: &[Label],
    seed: u64,
    session: &Session,
) -> Result<()> {
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
    let measured = meanwhile(session.reporter.as_ref(), "", "blind baseline", || {
        blind_baseline(&side(true), &side(false), seed)
    });
    match measured {
        Ok(baseline) => {
            let controls = Controls {
                blind_baseline: Some(recorded(baseline)),
            };
            dualmd_record::write(path, &controls)?;
        }
        Err(error) => {
            // The attacks are done: their report does not fall with the control, it says that the control is missing.
            session.warn(&format!(
                "warning: the blind baseline could not be measured, so nothing rules out that the two sets of images differ in more than \
                 membership: {error}"
            ));
            super::remove(path)?;
        }
    }
    Ok(())
}

/// The baseline as the file has it.
fn recorded(measured: dualmd_controls::BlindBaseline) -> BlindBaseline {
    let families = measured.families.into_iter().map(|family| BlindFamily {
        name: family.name,
        auc: family.auc,
        auc_ci: family.auc_ci,
        p_value: Some(family.p_value),
        telling: family.telling,
    });
    BlindBaseline {
        auc: measured.auc,
        auc_ci: measured.auc_ci,
        p_value: Some(measured.p_value),
        void: Some(measured.void),
        families: families.collect(),
        why: measured.why,
        features: Some(measured.features.into()),
        method: Some(measured.method.into()),
        file_findings: measured.file_findings,
    }
}
