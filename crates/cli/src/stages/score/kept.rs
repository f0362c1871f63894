//! Scores that are there already.

use super::check_name;
use dualmd_audit::{ScoreRow, read_scores};
use dualmd_files::limit;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The scores of an earlier run over the same files, by what they depend on.
#[derive(Default)]
pub struct Kept {
    pub(super) scores: BTreeMap<String, (Value, Vec<ScoreRow>)>,
    /// What a reader of them must know.
    pub(super) warnings: Vec<String>,
}

impl Kept {
    /// Scores and description as an earlier run left them; nothing if either is missing or damaged.
    pub fn read(csv: &Path, json: &Path) -> Self {
        let description = dualmd_files::read(json, limit::TABLE)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        let (Some(description), true) = (description, csv.exists()) else {
            return Self::default();
        };
        let Ok(scores) = read_scores(csv) else {
            return Self::default();
        };
        let mut rows: BTreeMap<&str, Vec<ScoreRow>> = BTreeMap::new();
        for row in &scores.rows {
            rows.entry(&row.attack).or_default().push(row.clone());
        }
        let attacks = description["attacks"].as_array().into_iter().flatten();
        let kept = attacks.filter(|a| a["status"] == "ok").filter_map(|a| {
            let rows = rows.remove(a["attack"].as_str()?)?;
            Some((a["fingerprint"].as_str()?.to_owned(), (a.clone(), rows)))
        });
        let said = description["warnings"].as_array().into_iter().flatten();
        Self {
            scores: kept.collect(),
            warnings: said.filter_map(|w| Some(w.as_str()?.to_owned())).collect(),
        }
    }

    /// What stood for the shadow model that attack `name` was learnt on; null if it was not.
    pub(super) fn shadow(&self, name: &str) -> Value {
        let mut entries = self.scores.values().map(|(entry, _)| entry);
        let own = entries.find(|entry| entry["attack"] == name);
        own.map_or(Value::Null, |entry| entry["shadow"]["of"].clone())
    }

    /// The attacks that are not among these, by name.
    pub(super) fn beside(&self, asked: &[String]) -> Vec<String> {
        let names = self
            .scores
            .values()
            .filter_map(|(entry, _)| entry["attack"].as_str());
        let mut names: Vec<String> = names
            .filter(|name| check_name(name).is_ok() && !asked.iter().any(|a| a == name))
            .map(str::to_owned)
            .collect();
        names.sort();
        names
    }
}
