//! A folder in the layout of MLflow's file store, which `mlflow ui` shows.

use std::path::{Path, PathBuf};

use dualmd_files::Error;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::numbers::{made, note, numbers, numbers_of_audit};
use crate::{ExportError, Result};
use crate::{called, said, strongest, version, write};
use dualmd_audit::facts::{plan, run_name};
use dualmd_audit::report::{Finding, Report};

/// Writes the report as runs of MLflow into `folder`: `mlruns/0/RUN/` with `meta.yaml`, `metrics/`, `params/`, `tags/` and
/// `artifacts/`, for `mlflow ui --backend-store-uri folder/mlruns`. The audit is one run, which has `report.html`, `report.json` and
/// `findings.csv` as artifacts; each model is a run below it with its metrics: `auc` (of the strongest attack, with its corrected interval
/// `auc_low` and `auc_high`), `tpr_at_1_percent_fpr`, the same of every attack (`auc.sima`), `excess_frechet_distance`, `copies`. A void
/// report has no metrics. Runs that are in the folder stay; the same report written again replaces its own. Gives the audit's run folder.
///
/// # Errors
/// The folder cannot be made or a file in it cannot be written.
pub fn mlflow(report: &Report, folder: &Path) -> Result<PathBuf> {
    let store = folder.join("mlruns");
    dualmd_files::create_folder(&store)?;
    // The address of the artifacts is a whole one.
    let store = store.canonicalize().map_err(|source| {
        ExportError::Write(Error::Io {
            doing: "find",
            path: store.clone(),
            source,
        })
    })?;
    let experiment = store.join("0");
    let json = serde_json::to_vec_pretty(report)?;
    let time = made(report);
    let meta = experiment.join("meta.yaml");
    if !meta.exists() {
        let text = format!(
            "artifact_location: {}\ncreation_time: {time}\nexperiment_id: '0'\nlast_update_time: {time}\nlifecycle_stage: active\nname: Default\n",
            address(&experiment)
        );
        write(&meta, text.as_bytes())?;
    }
    let audit = Run::new(&json, "", run_name(report), time);
    let at = audit.write(
        &experiment,
        &numbers_of_audit(report),
        &params(report, None),
        &[
            ("mlflow.note.content", note(report)),
            ("dualmd.void", report.is_void().to_string()),
        ],
        &version(report),
    )?;
    let artifacts = at.join("artifacts");
    write(&artifacts.join("report.json"), &json)?;
    write(
        &artifacts.join("findings.csv"),
        report.findings_csv().as_bytes(),
    )?;
    write(
        &artifacts.join("report.html"),
        dualmd_audit::page(report).as_bytes(),
    )?;
    for model in said(report) {
        let run = Run::new(&json, &model.model.name, called(model.model), time);
        let advice = report
            .verdict
            .models
            .iter()
            .find(|v| v.model == model.model.name);
        run.write(
            &experiment,
            &numbers(&model),
            &params(report, Some(&model)),
            &[
                ("mlflow.parentRunId", audit.id.clone()),
                (
                    "mlflow.note.content",
                    format!("{}. {}", model.words, model.text),
                ),
                ("dualmd.finding", model.finding.name().to_owned()),
                (
                    "dualmd.advice",
                    advice.map_or_else(String::new, |v| v.advice.clone()),
                ),
            ],
            &version(report),
        )?;
    }
    Ok(at)
}

/// A run of MLflow.
struct Run {
    /// 32 hexadecimal digits, which follow from the report and the model.
    id: String,
    name: String,
    /// Milliseconds since 1970.
    time: i64,
}

impl Run {
    fn new(report: &[u8], model: &str, name: String, time: i64) -> Self {
        let mut hash = Sha256::new();
        hash.update(report);
        hash.update([0]);
        hash.update(model);
        let id = hash
            .finalize()
            .iter()
            .take(16)
            .map(|b| format!("{b:02x}"))
            .collect();
        Self { id, name, time }
    }

    /// Writes its folder and gives its place.
    fn write(
        &self,
        experiment: &Path,
        metrics: &[(String, f64)],
        params: &[(&str, String)],
        tags: &[(&str, String)],
        version: &str,
    ) -> Result<PathBuf> {
        let at = experiment.join(&self.id);
        for part in ["metrics", "params", "tags", "artifacts"] {
            dualmd_files::create_folder(&at.join(part))?;
        }
        let Self { id, name, time } = self;
        for (metric, value) in metrics.iter().filter(|m| m.1.is_finite()) {
            write(
                &at.join("metrics").join(key(metric)),
                format!("{time} {value} 0\n").as_bytes(),
            )?;
        }
        for (param, value) in params {
            write(&at.join("params").join(param), value.as_bytes())?;
        }
        let source = format!("dualmd {version}");
        let own = [
            ("mlflow.runName", name.clone()),
            ("mlflow.source.name", source.clone()),
            ("mlflow.source.type", "LOCAL".to_owned()),
        ];
        for (tag, value) in own.iter().chain(tags).filter(|t| !t.1.is_empty()) {
            write(&at.join("tags").join(tag), value.as_bytes())?;
        }
        let text = format!(
            "artifact_uri: {}\nend_time: {time}\nentry_point_name: ''\nexperiment_id: '0'\nlifecycle_stage: active\nrun_id: {id}\nrun_name: {}\nrun_uuid: {id}\nsource_name: {}\nsource_type: 4\nsource_version: ''\nstart_time: {time}\nstatus: 3\ntags: []\nuser_id: ''\n",
            address(&at.join("artifacts")),
            Value::from(name.as_str()),
            Value::from(source),
            id = Value::from(id.as_str()),
        );
        // Last: a run without it is none.
        write(&at.join("meta.yaml"), text.as_bytes())?;
        Ok(at)
    }
}

fn params(report: &Report, said: Option<&super::Said>) -> Vec<(&'static str, String)> {
    let mut out: Vec<(&str, String)> = Vec::new();
    let whole = |pointer: &str| {
        report
            .run
            .pointer(pointer)
            .filter(|v| v.is_number())
            .map(Value::to_string)
    };
    out.extend(whole("/seed").map(|v| ("seed", v)));
    out.extend(whole("/data/members").map(|v| ("members", v)));
    out.extend(whole("/data/nonmembers").map(|v| ("nonmembers", v)));
    for (label, pointer) in [
        ("command", "/command"),
        ("auditor", "/auditor"),
        ("device", "/hardware/device"),
        ("members_blake3", "/data/members_blake3"),
        ("nonmembers_blake3", "/data/nonmembers_blake3"),
        ("split_hash", "/split_hash"),
    ] {
        out.extend(plan(report, pointer).map(|v| (label, v)));
    }
    if let Some(said) = said {
        let model = said.model;
        out.push(("model", model.name.clone()));
        out.push(("defense", model.defense.to_string()));
        out.extend(model.weights_blake3.clone().map(|h| ("weights_blake3", h)));
        if let Some((attack, _)) = strongest(model).filter(|_| said.finding != Finding::Void) {
            out.push(("strongest_attack", attack.attack.clone()));
        }
    }
    // A value is one line, and MLflow refuses long ones.
    for (_, value) in &mut out {
        *value = value
            .chars()
            .filter(|c| !c.is_control())
            .take(500)
            .collect();
    }
    out.retain(|(_, v)| !v.is_empty());
    out
}

/// A name of a metric: MLflow takes letters, digits, `_`, `-`, `.` and blanks. What else an attack's name has is written by its number, so
/// that no two names are one file.
fn key(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars().take(100) {
        match c {
            '@' => out.push_str("_at_"),
            '+' => out.push_str("_plus_"),
            c if c.is_ascii_alphanumeric() || "_-.".contains(c) => out.push(c),
            c => out.push_str(&format!("_u{:x}_", c as u32)),
        }
    }
    out
}

/// A folder as an address of a file.
fn address(path: &Path) -> String {
    let mut out = String::from("file://");
    for byte in path.to_string_lossy().bytes() {
        match byte {
            b if b.is_ascii_alphanumeric() || b"/-_.~".contains(&b) => out.push(char::from(b)),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_folder_and_apart() {
        assert_eq!(key("auc.sima@50"), "auc.sima_at_50");
        assert_eq!(key("auc.rounds@1+second"), "auc.rounds_at_1_plus_second");
        assert!(!key("auc.../../x").contains('/'));
        assert_ne!(key("a/b"), key("a:b"));
    }

    #[test]
    fn an_address_has_no_blanks() {
        assert_eq!(
            address(Path::new("/tmp/a b#ü")),
            "file:///tmp/a%20b%23%C3%BC"
        );
    }
}
