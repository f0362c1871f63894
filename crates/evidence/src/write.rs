//! From a run to an evidence folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dualmd_files::Building;
use dualmd_record::{RunFile, RunFolder};
use serde_json::Value;

use crate::differ::{Compared, differences};
use crate::seal::Salt;
use crate::{MANIFEST, REPORT, manifest, redact, rows};
use dualmd_audit::files::{ModelFiles, RunFiles};
use dualmd_audit::{AuditError, Result};
use dualmd_audit::{HALVES, Report, with_halves};

/// Fields of a report that hold texts, or what an evidence folder does not have.
const OTHERS: [&str; 3] = ["missing", "run", "warnings"];

/// An evidence folder that was written.
#[derive(Debug)]
pub struct Bundle {
    /// The hash over the whole folder, in 64 hexadecimal digits. To be told to the other party before they get the folder.
    pub root: String,
    /// Files in it, without the manifest.
    pub files: usize,
    /// Scores in it.
    pub rows: u64,
    /// The report that follows from it, without images.
    pub report: Report,
}

/// Writes the evidence of a run or an audit into the new folder `out`. Nothing of the salt is in it.
///
/// # Errors
/// As [`dualmd_audit::build`]; there is something at `out`; the folder cannot be written; a number of the report would not follow from
/// the folder.
pub fn write(run: &Path, out: &Path, salt: &Salt) -> Result<Bundle> {
    if out.symlink_metadata().is_ok() {
        return Err(refused(out, "there is something of that name already"));
    }
    let files = RunFiles::read(run)?;
    let building = Building::new(out).map_err(AuditError::Write)?;
    let folder = RunFolder(building.path().to_path_buf());
    let single = !run.join("scores").is_dir();
    let scores = write_files(&folder, &files, single, salt)?;
    let (report, halves) = with_halves(files)?;
    record(&folder.0.join(HALVES), &halves)?;

    let sealed = dualmd_audit::build(&folder.0)?.without_images();
    let value = json(&sealed)?;
    agree(run, &json(&report.without_images())?, &value)?;
    dualmd_record::write_json(&folder.0.join(REPORT), &value).map_err(|e| written(&e))?;
    let manifest = manifest::of(&folder.0, salt.mark(), &scores)?;
    record(&folder.0.join(MANIFEST), &manifest)?;
    building.finish().map_err(AuditError::Write)?;
    Ok(Bundle {
        root: manifest.root,
        files: manifest.files.len(),
        rows: scores.values().sum(),
        report: sealed,
    })
}

/// As [`write()`], with the salt in a file: the one that is given, else a new one in a new file beside `out`, with `.salt` at the end of
/// its name. Gives the file of the salt, too.
///
/// # Errors
/// As [`write()`]; the salt cannot be read or written, or the new one would take the place of another. Nothing is left then.
pub fn export(run: &Path, out: &Path, salt: Option<&Path>) -> Result<(Bundle, PathBuf)> {
    if let Some(path) = salt {
        return Ok((write(run, out, &Salt::read(path)?)?, path.to_path_buf()));
    }
    // Without a slash at the end, which would put the salt into the folder.
    let mut path: PathBuf = out.components().collect();
    path.as_mut_os_string().push(".salt");
    if out.file_name().is_none() {
        return Err(refused(out, "this is no name for a new folder"));
    }
    let salt = Salt::new()?;
    dualmd_files::create_folder(dualmd_files::parent(&path)).map_err(AuditError::Write)?;
    salt.save(&path)?;
    match write(run, out, &salt) {
        Ok(bundle) => Ok((bundle, path)),
        Err(e) => {
            let _ = std::fs::remove_file(&path);
            Err(e)
        }
    }
}

fn refused(out: &Path, problem: &str) -> AuditError {
    AuditError::Evidence {
        path: out.into(),
        problem: problem.into(),
        remedy: "choose a new folder (-o)",
    }
}

/// Writes all that a report is made of; says how many rows each score file has. `single`: the scores of the only model lie at
/// the top of the folder, as they do in the run.
fn write_files(
    to: &RunFolder,
    files: &RunFiles,
    single: bool,
    salt: &Salt,
) -> Result<BTreeMap<String, u64>> {
    let scored = files.models.iter().filter(|m| m.scores.is_some());
    let names: Vec<&str> = scored.map(|m| m.name.as_str()).collect();
    let plan = redact::plan(&files.plan, salt, &names);
    dualmd_record::write_json(&to.plan(), &plan).map_err(|e| written(&e))?;
    if let Some(split) = &files.split {
        record(&to.split(), &redact::split(split, salt))?;
    }
    if let Some(controls) = &files.controls {
        record(&to.controls(), &redact::controls(controls, salt))?;
    }
    let mut rows = BTreeMap::new();
    for model in &files.models {
        let stem = match single {
            true => "scores".to_owned(),
            false => format!("scores/{}", model.name),
        };
        rows.extend(write_model(to, model, &stem, salt)?);
    }
    Ok(rows)
}

/// Writes the files of a model; gives its score file and how many rows it has.
fn write_model(
    to: &RunFolder,
    model: &ModelFiles,
    stem: &str,
    salt: &Salt,
) -> Result<Option<(String, u64)>> {
    let name = &model.name;
    let mut scored = None;
    if let Some(scores) = &model.scores {
        let path = format!("{stem}.csv");
        rows::write(&to.0.join(&path), &scores.rows, salt)?;
        scored = Some((path, scores.rows.len() as u64));
    }
    if let Some(info) = &model.info {
        let path = to.0.join(format!("{stem}.json"));
        record(&path, &redact::scores(info, salt))?;
    }
    if let Some(training) = &model.training {
        record(&to.training(name), &redact::training(training, salt))?;
    }
    if let Some(utility) = &model.utility {
        record(&to.utility(name), &redact::utility(utility, salt))?;
    }
    if let Some(nearest) = &model.nearest {
        record(&to.nearest(name), &redact::nearest(nearest))?;
    }
    if let Some(sets) = &model.sets {
        record(&to.sets(name), &redact::sets(sets, salt))?;
    }
    Ok(scored)
}

/// Every number of the run's report follows from the folder, or it is not written.
fn agree(run: &Path, of_run: &Value, of_folder: &Value) -> Result<()> {
    let numbers = |report: &Value| {
        let mut report = report.clone();
        for field in OTHERS {
            report[field] = Value::Null;
        }
        report
    };
    let (differ, _) = differences(&numbers(of_folder), &numbers(of_run), Compared::Numbers);
    let Some(first) = differ.first() else {
        return Ok(());
    };
    Err(AuditError::Evidence {
        path: run.into(),
        problem: format!(
            "{} of its report is {}, and {} would follow from the evidence folder (fields that differ: {})",
            first.at,
            first.other,
            first.one,
            differ.len()
        ),
        remedy: "this is a mistake of the program: please report it; nothing was written",
    })
}

fn json(report: &Report) -> Result<Value> {
    serde_json::to_value(report).map_err(|e| AuditError::write(Path::new(REPORT), e.into()))
}

/// Writes a file with a version, and the folder it lies in.
fn record<T: RunFile>(path: &Path, file: &T) -> Result<()> {
    dualmd_files::create_folder(dualmd_files::parent(path)).map_err(AuditError::Write)?;
    dualmd_record::write(path, file).map_err(|e| written(&e))
}

fn written(error: &dualmd_record::RecordError) -> AuditError {
    AuditError::write(
        Path::new("evidence"),
        std::io::Error::other(error.to_string()),
    )
}
