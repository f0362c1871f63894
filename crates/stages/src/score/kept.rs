//! Scores that are there already, and how they are replaced.

use anyhow::Result;
use dualmd_audit::{ScoreRow, read_scores, write_scores};
use dualmd_names::AttackSpec;
use dualmd_record::scores::{ScoredAttack, Scores};
use std::collections::BTreeMap;
use std::path::Path;

/// The scores of an earlier run over the same files, by what they depend on.
#[derive(Default)]
pub struct Kept {
    pub(super) scores: BTreeMap<String, (ScoredAttack, Vec<ScoreRow>)>,
    /// What a reader of them must know.
    pub(super) warnings: Vec<String>,
}

impl Kept {
    /// Scores and description as an earlier run left them; nothing if either is missing or damaged.
    ///
    /// # Errors
    /// A newer version of this program wrote the description.
    pub fn read(csv: &Path, json: &Path) -> Result<Self> {
        let description: Option<Scores> = dualmd_record::read_if_usable(json)?;
        let (Some(description), true) = (description, csv.exists()) else {
            return Ok(Self::default());
        };
        let Ok(scores) = read_scores(csv) else {
            return Ok(Self::default());
        };
        let mut rows: BTreeMap<&str, Vec<ScoreRow>> = BTreeMap::new();
        for row in &scores.rows {
            rows.entry(&row.attack).or_default().push(row.clone());
        }
        let attacks = description.attacks.into_iter();
        let kept = attacks.filter(ScoredAttack::succeeded).filter_map(|entry| {
            let rows = rows.remove(entry.attack.as_str())?;
            Some((entry.fingerprint.clone()?, (entry, rows)))
        });
        Ok(Self {
            scores: kept.collect(),
            warnings: description.warnings,
        })
    }

    /// What stood for the shadow model that an attack was learnt on; nothing if it was not.
    pub(super) fn shadow(&self, spec: &AttackSpec) -> Option<String> {
        let name = spec.to_string();
        let mut entries = self.scores.values().map(|(entry, _)| entry);
        let own = entries.find(|entry| entry.attack == name)?;
        own.shadow.as_ref()?.of.clone()
    }

    /// The attacks that are not among these, in the order of their names.
    pub(super) fn beside(&self, asked: &[AttackSpec]) -> Vec<AttackSpec> {
        let names = self.scores.values().map(|(entry, _)| &entry.attack);
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
pub fn write(csv: &Path, json: &Path, rows: &[ScoreRow], description: &Scores) -> Result<()> {
    if let Some(mut before) = dualmd_record::read_if_usable::<Scores>(json)? {
        let all = before.attacks.len();
        let now = &description.attacks;
        before.attacks.retain(|attack| now.contains(attack));
        if before.attacks.len() < all {
            dualmd_record::write(json, &before)?;
        }
    }
    write_scores(csv, rows)?;
    Ok(dualmd_record::write(json, description)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_record::scores::OK;

    fn row(attack: &str, score: f64) -> ScoreRow {
        ScoreRow {
            sample_id: "a".into(),
            name: None,
            group: None,
            member: true,
            attack: attack.into(),
            score,
        }
    }

    fn entry(attack: &str, fingerprint: &str) -> ScoredAttack {
        ScoredAttack {
            attack: attack.into(),
            status: Some(OK.into()),
            fingerprint: Some(fingerprint.into()),
            ..ScoredAttack::default()
        }
    }

    fn description(attacks: impl IntoIterator<Item = ScoredAttack>) -> Scores {
        Scores {
            attacks: attacks.into_iter().collect(),
            ..Scores::default()
        }
    }

    /// A score that is no number stops the writing where a kill might: the earlier description no longer speaks of what
    /// changes.
    #[test]
    fn no_score_stands_under_another_s_description() {
        let dir = tempfile::tempdir().unwrap();
        let (csv, json) = (dir.path().join("m.csv"), dir.path().join("m.json"));
        let first = description([entry("loss", "f1"), entry("sima", "f2")]);
        write(&csv, &json, &[row("loss", 1.0), row("sima", 2.0)], &first).unwrap();
        assert_eq!(Kept::read(&csv, &json).unwrap().scores.len(), 2);
        let rows = [row("loss", 1.0), row("sima", 3.0)];
        let second = description([entry("loss", "f1"), entry("sima", "f3")]);
        write(&csv, &json, &[row("sima", f64::NAN)], &second).unwrap_err();
        let left: Scores = dualmd_record::read(&json).unwrap();
        assert_eq!(left, description([entry("loss", "f1")]));
        write(&csv, &json, &rows, &second).unwrap();
        let kept = Kept::read(&csv, &json).unwrap().scores;
        assert_eq!(kept["f1"].1, [row("loss", 1.0)]);
        assert_eq!(kept["f3"].1, [row("sima", 3.0)]);
    }
}
