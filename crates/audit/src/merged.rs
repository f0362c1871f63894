//! Several audits of the same images as one report.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use dualmd_names::{Defense, Part};
use dualmd_record::controls::Controls;
use serde_json::{Map, Value};

use crate::disk::is_plain_name;
use crate::error::{AuditError, Result};
use crate::files::{ModelFiles, RunFiles};
use crate::findings::assemble;
use crate::format::list;
use crate::report::Report;

/// Reads audits and runs and puts their models beside each other: all attacks on the same images, each model against the first or the
/// undefended one. `audits`: folders with the names that they have in the report. Repeated trainings are left out, and teachers, which nobody
/// gives out, but for those of a pair; `missing` names them. Of images' halves something is said where all have the same split; elsewhere
/// teachers of a pair whose audit knows its halves are left out, too, since they would be judged on members that they never saw. `made`:
/// further entries of the plan, such as who made it and when; when and by whom each audit was made stands in the plan's `compared`.
///
/// # Errors
/// As [`crate::build`]; fewer than two audits; names that are taken twice or could be no file names; audits of different images, or of the same
/// ones with other members.
pub fn compare(audits: &[(String, PathBuf)], made: Map<String, Value>) -> Result<Report> {
    if audits.len() < 2 {
        return Err(refused(
            "one audit is given",
            "name at least two folders of `dualmd audit` or `dualmd run`",
        ));
    }
    let mut read = Vec::new();
    for (label, folder) in audits {
        if !is_plain_name(label) {
            return Err(refused(
                &format!("{label:?} cannot be a name"),
                "give the audit another (NAME=FOLDER)",
            ));
        }
        read.push((label, folder, RunFiles::read(folder)?));
    }
    same_images(&read)?;
    let common = common_split(&read);
    let mut all = RunFiles {
        plan: plan(&read, made),
        split: common.then(|| read[0].2.split.clone()).flatten(),
        ..RunFiles::default()
    };
    for (label, _, files) in read {
        // The images are the same, so one control speaks for all: one that voids its audit, if there is any.
        let worse =
            files.controls.as_ref().is_some_and(voids) && !all.controls.as_ref().is_some_and(voids);
        if all.controls.is_none() || worse {
            all.controls = files.controls;
        }
        let said = |m: &String| format!("{label}: {m}");
        all.missing.extend(files.missing.iter().map(said));
        // Of a pair its teachers' weights are what is given out, so they come along.
        let half = |m: &ModelFiles| Part::half(&m.name).is_some();
        let pair = |m: &ModelFiles| m.defense.is(Defense::Dualmd) && !half(m);
        let pairs = files.models.iter().any(|m| m.scores.is_some() && pair(m));
        let teachers = pairs && (common || files.split.is_none());
        let scored = files.models.into_iter().filter(|m| m.scores.is_some());
        let (models, others): (Vec<_>, Vec<_>) =
            scored.partition(|m| m.repeat_of.is_none() && (teachers || !half(m)));
        if !others.is_empty() {
            let others: Vec<String> = others.into_iter().map(|m| m.name).collect();
            all.missing.push(format!(
                "{label}: left out of this comparison, and in the report of that audit: {}",
                list(&others)
            ));
        }
        let alone = models.iter().filter(|m| !half(m)).count() == 1;
        let called = |name: &str| match Part::half(name) {
            // So that it is known for a teacher.
            Some(_) => format!("{label}-{name}"),
            None if alone => label.clone(),
            None => format!("{label} {name}"),
        };
        for mut entry in files.exposed {
            if models.iter().any(|m| m.name == entry.entry.model) {
                entry.entry.model = called(&entry.entry.model);
                all.exposed.push(entry);
            }
        }
        for mut model in models {
            model.name = called(&model.name);
            model.audit = Some(label.clone());
            if all.models.iter().any(|m| m.name == model.name) {
                return Err(refused(
                    &format!("two models would be called {:?}", model.name),
                    "give their audits different names (NAME=FOLDER)",
                ));
            }
            all.models.push(model);
        }
    }
    assemble(all)
}

/// Does the blind baseline of these controls void an audit?
fn voids(controls: &Controls) -> bool {
    let blind = controls.blind_baseline.clone();
    blind.is_some_and(|b| crate::controls::blind(b).outcome == "void")
}

fn refused(problem: &str, remedy: &str) -> AuditError {
    AuditError::Compared {
        problem: problem.to_owned(),
        remedy: remedy.to_owned(),
    }
}

/// Who is a member, of everybody that an audit scored.
fn scored(files: &RunFiles) -> BTreeMap<&str, bool> {
    let scores = files.models.iter().filter_map(|m| m.scores.as_ref());
    let rows = scores.flat_map(|s| &s.rows);
    rows.map(|r| (r.sample_id.as_str(), r.member)).collect()
}

/// # Errors
/// Audits whose numbers are of other images.
fn same_images(read: &[(&String, &PathBuf, RunFiles)]) -> Result<()> {
    let mut all = read.iter();
    let Some((_, one, first)) = all.next() else {
        return Ok(());
    };
    let expected = scored(first);
    if expected.contains_key("") {
        return Err(refused(
            &format!("the scores in {} name no images", one.display()),
            "a comparison needs to know that they are the same: write the column sample_id",
        ));
    }
    for (_, other, files) in all {
        let theirs = scored(files);
        let turned = expected
            .iter()
            .filter(|(id, member)| theirs.get(*id).is_some_and(|m| m != *member))
            .count();
        if turned > 0 {
            return Err(refused(
                &format!(
                    "{turned} images are members in {} and none in {}, or the other way round",
                    one.display(),
                    other.display()
                ),
                "compare audits with the same members: of models that were trained on the same images",
            ));
        }
        let ids =
            |m: &BTreeMap<&str, bool>| m.keys().map(|k| (*k).to_owned()).collect::<BTreeSet<_>>();
        let (ours, others) = (ids(&expected), ids(&theirs));
        let apart = ours.symmetric_difference(&others).count();
        if apart > 0 {
            return Err(refused(
                &format!(
                    "{apart} images were scored in only one of {} and {}",
                    one.display(),
                    other.display()
                ),
                "audit both with the same --members and --nonmembers: numbers of different images cannot be compared",
            ));
        }
    }
    Ok(())
}

/// Have all the same split?
fn common_split(read: &[(&String, &PathBuf, RunFiles)]) -> bool {
    let hash = |files: &RunFiles| files.split.as_ref().map(|s| s.hash.clone());
    let first = read.first().and_then(|(_, _, f)| hash(f));
    first.is_some() && read.iter().all(|(_, _, f)| hash(f) == first)
}

/// What all plans say alike, and of each audit whence it is.
fn plan(read: &[(&String, &PathBuf, RunFiles)], made: Map<String, Value>) -> Value {
    let mut plan = made;
    let audits: Vec<Value> = read
        .iter()
        .map(|(label, folder, files)| origin(label, folder, &files.plan))
        .collect();
    plan.insert("compared".into(), audits.into());
    for key in ["audit", "data", "hardware", "model", "seed", "split_hash"] {
        let of = |files: &RunFiles| files.plan.get(key).cloned().unwrap_or(Value::Null);
        let mut all = read.iter().map(|(_, _, files)| of(files));
        let first = all.next().unwrap_or(Value::Null);
        let common = all.fold(first, |common, own| alike(common, &own));
        if !common.is_null() {
            plan.insert(key.into(), common);
        }
    }
    Value::Object(plan)
}

/// An audit of a comparison: its name there, its folder, and of its own plan when, by whom, by which program and command it was made, and
/// of which images.
fn origin(label: &str, folder: &Path, own: &Value) -> Value {
    let mut out = Map::new();
    out.insert("name".into(), label.into());
    out.insert("folder".into(), folder.display().to_string().into());
    for key in ["created", "auditor", "command", "versions", "seed"] {
        if let Some(value) = own.get(key).filter(|v| !v.is_null()) {
            out.insert(key.into(), value.clone());
        }
    }
    if let Some(source) = own.pointer("/data/source").filter(|v| !v.is_null()) {
        let data = Map::from_iter([("source".to_owned(), source.clone())]);
        out.insert("data".into(), data.into());
    }
    Value::Object(out)
}

/// What two plans have alike of one entry: of objects the fields that are equal, of anything else nothing unless it is equal.
fn alike(one: Value, other: &Value) -> Value {
    match (one, other) {
        (Value::Object(mut fields), Value::Object(others)) => {
            fields.retain(|key, value| others.get(key) == Some(&*value));
            Value::Object(fields)
        }
        (one, other) if one == *other => one,
        _ => Value::Null,
    }
}

/// The name of an audit that has none: of its folder.
#[must_use]
pub fn stem(folder: &Path) -> String {
    let name = folder.file_name().and_then(|n| n.to_str());
    name.unwrap_or_default().to_owned()
}
