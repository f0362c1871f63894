//! `docs/schema/` holds what the types say. After a type has changed, `DUALMD_WRITE_SCHEMAS=1 cargo test -p dualmd --test
//! schemas` writes the files again. And reports of earlier versions can still be read.

use std::collections::BTreeSet;
use std::path::Path;

use dualmd_record::schemas::{self, Schema};

/// The schemas of all files, by name.
fn all() -> Vec<Schema> {
    let mut all = schemas::all();
    all.push(dualmd_audit::schema());
    all.push(schemas::other::<dualmd::plan::Plan>(
        "plan",
        "plan.json of `dualmd run`",
    ));
    all.sort_by_key(|s| s.name);
    all
}

/// The index of the folder, made from the list of schemas.
fn index() -> String {
    let mut text = String::from(
        "# Files of a run folder\n\nOne JSON schema (draft 2020-12) for each file, generated from the type that writes and reads it (`crates/record`; `crates/audit`\n\
         for the report, `crates/experiment` for a run's plan). Do not edit them: `DUALMD_WRITE_SCHEMAS=1 cargo test -p dualmd --test schemas` writes them again.\n\n\
         A file that is an object has a version in its field `schema`; one without it has version 1. A newer version than the program knows is\n\
         refused. Fields may be added without a new version, and readers pass over fields that they do not know.\n\n\
         | file | schema |\n|---|---|\n",
    );
    for Schema { name, file, .. } in all() {
        text.push_str(&format!(
            "| `{file}` | [{name}.schema.json]({name}.schema.json) |\n"
        ));
    }
    text
}

#[test]
fn the_files_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema");
    let mut files: Vec<(String, String)> = all()
        .iter()
        .map(|s| {
            let text = serde_json::to_string_pretty(&s.schema).unwrap();
            (format!("{}.schema.json", s.name), text + "\n")
        })
        .collect();
    files.push(("README.md".into(), index()));
    if std::env::var_os("DUALMD_WRITE_SCHEMAS").is_some() {
        for (name, text) in &files {
            std::fs::write(folder.join(name), text).unwrap();
        }
    }
    for (name, text) in &files {
        let there = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(
            there == *text,
            "docs/schema/{name} is not what the types say; write it again with DUALMD_WRITE_SCHEMAS=1"
        );
    }
    let named: BTreeSet<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let entries = std::fs::read_dir(&folder).unwrap();
    for entry in entries {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            named.contains(name.as_str()),
            "docs/schema/{name}: no type has this schema any more; remove it"
        );
    }
}

/// What a schema must say, by hand: the version, the fields with their descriptions, and that a count may have a fraction.
#[test]
fn a_schema_says_what_a_file_holds() {
    let all = all();
    let scores = &all.iter().find(|s| s.name == "scores").unwrap().schema;
    assert_eq!(scores["properties"]["schema"]["maximum"], 1);
    let attack = &scores["$defs"]["ScoredAttack"]["properties"];
    assert_eq!(attack["status"]["description"], "`ok` or `failed`.");
    assert!(scores["$defs"]["Count"]["anyOf"].is_array());
    let parameters = &scores["$defs"]["AttackParameters"]["properties"];
    assert!(parameters["timesteps"]["description"].is_string());
    // The distances stand beside the copies, not below them.
    let utility = &all.iter().find(|s| s.name == "utility").unwrap().schema;
    assert!(utility["properties"]["frechet"].is_object());
    assert!(utility["properties"]["copies"].is_object());
    assert!(utility.get("required").is_none(), "{utility}");
}

/// Reports that earlier versions wrote, some before most of today's fields were there.
#[test]
fn stored_reports_can_be_read() {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/results");
    let study = |name: &str, seed: u32| format!("studies/cpu/{name}/seed-{seed}");
    let mut folders = vec!["demo".to_owned(), "fashion-32".to_owned()];
    for name in ["emoji-t2i", "fashion-16", "ablation-fashion-16"] {
        folders.extend((0..3).map(|seed| study(name, seed)));
    }
    for folder in folders {
        let path = results.join(&folder).join("report.json");
        let report = dualmd_audit::read(&path).unwrap();
        let value: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let models = value["models"].as_array().unwrap();
        assert_eq!(report.models.len(), models.len(), "{folder}");
        for (read, there) in report.models.iter().zip(models) {
            let auc = |r: &dualmd_audit::report::AttackResult| r.pooled.as_ref().map(|m| m.auc);
            let results = there["results"].as_array().unwrap();
            assert_eq!(read.results.len(), results.len());
            for (read, there) in read.results.iter().zip(results) {
                assert_eq!(auc(read), there["auc"].as_f64(), "{folder}");
                let parameters = serde_json::to_value(&read.parameters).unwrap();
                assert_eq!(parameters, there["parameters"], "{folder}");
            }
        }
    }
}
