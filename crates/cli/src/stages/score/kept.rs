//! Scores that are there already, and how they are replaced.

use super::super::write_json;
use anyhow::Result;
use dualmd_audit::{ScoreRow, read_scores, write_scores};
use dualmd_files::limit;
use dualmd_names::AttackSpec;
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

    /// What stood for the shadow model that an attack was learnt on; null if it was not.
    pub(super) fn shadow(&self, spec: &AttackSpec) -> Value {
        let name = spec.to_string();
        let mut entries = self.scores.values().map(|(entry, _)| entry);
        let own = entries.find(|entry| entry["attack"] == name);
        own.map_or(Value::Null, |entry| entry["shadow"]["of"].clone())
    }

    /// The attacks that are not among these, in the order of their names.
    pub(super) fn beside(&self, asked: &[AttackSpec]) -> Vec<AttackSpec> {
        let names = self
            .scores
            .values()
            .filter_map(|(entry, _)| entry["attack"].as_str());
        // LiRA's scores, say, are none that could be made again here.
        let specs = names.filter_map(|name| name.parse::<AttackSpec>().ok());
        let mut specs: Vec<AttackSpec> = specs.filter(|spec| !asked.contains(spec)).collect();
        specs.sort_by_cached_key(ToString::to_string);
        specs
    }
}

/// Writes scores and their description over those of an earlier run. Two files cannot be replaced in one step: first the
/// earlier description loses what is not the same in the new one, so that it speaks of no scores but those that both score
/// files have. A process that is killed between them leaves fewer scores to keep, and none under another's description.
///
/// # Errors
/// The files cannot be written.
pub fn write(csv: &Path, json: &Path, rows: &[ScoreRow], description: &Value) -> Result<()> {
    let before = dualmd_files::read(json, limit::TABLE)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    if let Some(mut before) = before
        && let Some(attacks) = before["attacks"].as_array_mut()
    {
        let all = attacks.len();
        let now = description["attacks"].as_array();
        attacks.retain(|attack| now.is_some_and(|now| now.contains(attack)));
        if attacks.len() < all {
            write_json(json, &before)?;
        }
    }
    write_scores(csv, rows)?;
    write_json(json, description)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(attack: &str, score: f64) -> ScoreRow {
        ScoreRow {
            sample_id: "a".into(),
            group: None,
            member: true,
            attack: attack.into(),
            score,
        }
    }

    fn entry(attack: &str, fingerprint: &str) -> Value {
        json!({ "attack": attack, "status": "ok", "fingerprint": fingerprint })
    }

    /// A score that is no number stops the writing where a kill might: the earlier description no longer speaks of what
    /// changes.
    #[test]
    fn no_score_stands_under_another_s_description() {
        let dir = tempfile::tempdir().unwrap();
        let (csv, json) = (dir.path().join("m.csv"), dir.path().join("m.json"));
        let first = json!({ "attacks": [entry("loss", "f1"), entry("sima", "f2")] });
        write(&csv, &json, &[row("loss", 1.0), row("sima", 2.0)], &first).unwrap();
        assert_eq!(Kept::read(&csv, &json).scores.len(), 2);
        let rows = [row("loss", 1.0), row("sima", 3.0)];
        let second = json!({ "attacks": [entry("loss", "f1"), entry("sima", "f3")] });
        write(&csv, &json, &[row("sima", f64::NAN)], &second).unwrap_err();
        let left: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
        assert_eq!(left, json!({ "attacks": [entry("loss", "f1")] }));
        write(&csv, &json, &rows, &second).unwrap();
        let kept = Kept::read(&csv, &json).scores;
        assert_eq!(kept["f1"].1, [row("loss", 1.0)]);
        assert_eq!(kept["f3"].1, [row("sima", 3.0)]);
    }
}
