//! Do the files of a folder belong together? Each mismatch makes some number meaningless: it voids the report, and is named.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use dualmd_files::shown;
use dualmd_record::split::SplitFile;

use crate::files::{ModelFiles, RunFiles};
use crate::scores::ScoreRow;

/// Rows named in one sentence.
const NAMED: usize = 5;

/// What a reader must know, and what voids the report.
#[derive(Debug, Default)]
pub struct Integrity {
    /// Sentences for the notes.
    pub warnings: Vec<String>,
    /// Sentences on files that contradict each other: who is a member is not known.
    pub contradictions: Vec<String>,
}

/// Looks at what the files say about each other; `planned`: the hash of the split that the plan names.
pub fn integrity(files: &RunFiles, planned: Option<&str>) -> Integrity {
    let mut out = Integrity::default();
    for model in &files.models {
        out.contradictions.extend(both_sides(model));
        out.contradictions.extend(doubled(model));
    }
    if let Some(split) = &files.split {
        against(split, files, planned, &mut out);
    }
    out.warnings.extend(groups(files));
    out
}

fn against(split: &SplitFile, files: &RunFiles, planned: Option<&str>, out: &mut Integrity) {
    let other = |hash: Option<&str>| {
        hash.is_some_and(|h| !h.is_empty() && !split.hash.is_empty() && h != split.hash)
    };
    if other(planned) {
        out.contradictions.push("split.json is not the split that plan.json names (their hashes differ): who is a member may be wrong throughout".into());
    }
    let members: BTreeSet<&str> = split.members.iter().map(|m| m.id.as_str()).collect();
    let nonmembers: BTreeSet<&str> = split.nonmembers.iter().map(|m| m.id.as_str()).collect();
    for model in files.models.iter().filter(|m| m.scores.is_some()) {
        let training = model.training.as_ref();
        if other(training.and_then(|t| t.split_hash.as_deref())) {
            out.contradictions.push(format!(
                "{} was trained with another split than split.json (models/{}/training.json names another hash): its scores say nothing about its training set",
                shown(&model.name), shown(&model.name)
            ));
        }
        let wrong = rows(model, |r| {
            let (own, other) = if r.member {
                (&members, &nonmembers)
            } else {
                (&nonmembers, &members)
            };
            match (
                own.contains(r.sample_id.as_str()),
                other.contains(r.sample_id.as_str()),
            ) {
                (true, _) => None,
                (false, true) if r.member => Some("a member here, a non-member in split.json"),
                (false, true) => Some("a non-member here, a member in split.json"),
                (false, false) => Some("not in split.json"),
            }
        });
        out.contradictions
            .extend(named(model, &wrong, "do not match split.json"));
        out.warnings.extend(left_out(model, &members, &nonmembers));
    }
}

/// Images of the split that no attack on a model scored, where none set them aside to learn from.
fn left_out(
    model: &ModelFiles,
    members: &BTreeSet<&str>,
    nonmembers: &BTreeSet<&str>,
) -> Option<String> {
    let learns = model
        .info
        .as_ref()
        .is_some_and(|i| i.attacks.iter().any(|a| a.trained_on.is_some()));
    let rows = model.scores.iter().flat_map(|s| &s.rows);
    let scored: BTreeSet<&str> = rows.map(|r| r.sample_id.as_str()).collect();
    let all = members.union(nonmembers);
    let (there, lacking) = all.fold((0, 0), |(there, lacking), id| match scored.contains(id) {
        true => (there + 1, lacking),
        false => (there, lacking + 1),
    });
    // Files without ids match no split.
    (lacking > 0 && there > 0 && !learns).then(|| {
        format!(
            "The scores of {} cover {there} of the {} images of split.json: what is said of it is about these only.",
            model.name,
            there + lacking
        )
    })
}

/// Rows of a model that have an id and something wrong with them: place (1 is the first row below the header) and what.
fn rows(
    model: &ModelFiles,
    wrong: impl Fn(&ScoreRow) -> Option<&'static str>,
) -> Vec<(usize, &ScoreRow, &'static str)> {
    let all = model.scores.iter().flat_map(|s| &s.rows).enumerate();
    // Files without ids match no split.
    all.filter(|(_, r)| !r.sample_id.is_empty())
        .filter_map(|(i, r)| Some((i + 1, r, wrong(r)?)))
        .collect()
}

/// A sample that one file has on both sides.
fn both_sides(model: &ModelFiles) -> Option<String> {
    let mut first: HashMap<&str, bool> = HashMap::new();
    for row in model.scores.iter().flat_map(|s| &s.rows) {
        first.entry(&row.sample_id).or_insert(row.member);
    }
    let wrong = rows(model, |r| {
        let before = first.get(r.sample_id.as_str())?;
        (*before != r.member).then_some("on the other side in an earlier row")
    });
    named(model, &wrong, "contradict earlier rows")
}

/// A sample that has two scores of one attack.
fn doubled(model: &ModelFiles) -> Option<String> {
    let mut seen: BTreeSet<(&str, &str)> = BTreeSet::new();
    let mut again = BTreeSet::new();
    for row in model.scores.iter().flat_map(|s| &s.rows) {
        let key = (row.sample_id.as_str(), row.attack.as_str());
        if !row.sample_id.is_empty() && !seen.insert(key) {
            again.insert(key);
        }
    }
    let (sample, attack) = again.first()?;
    Some(format!(
        "the scores of {} have {} images more than once under one attack (sample {}, attack {}): each would count so often",
        shown(&model.name),
        again.len(),
        shown(sample),
        shown(attack)
    ))
}

fn named(
    model: &ModelFiles,
    wrong: &[(usize, &ScoreRow, &'static str)],
    what: &str,
) -> Option<String> {
    if wrong.is_empty() {
        return None;
    }
    let mut list: Vec<String> = wrong
        .iter()
        .take(NAMED)
        .map(|(place, r, why)| {
            format!(
                "row {place} (sample {}, attack {}): {why}",
                shown(&r.sample_id),
                shown(&r.attack)
            )
        })
        .collect();
    if wrong.len() > NAMED {
        list.push(format!("and {} more", wrong.len() - NAMED));
    }
    let samples: BTreeSet<&str> = wrong.iter().map(|(_, r, _)| r.sample_id.as_str()).collect();
    Some(format!(
        "{} rows ({} samples) of the scores of {} {what}: {}",
        wrong.len(),
        samples.len(),
        shown(&model.name),
        list.join("; ")
    ))
}

/// Images that belong together make intervals too narrow.
fn groups(files: &RunFiles) -> Option<String> {
    let scored: BTreeMap<&str, &str> = files
        .models
        .iter()
        .flat_map(|m| m.scores.iter().flat_map(|s| &s.rows))
        .filter_map(|r| Some((r.sample_id.as_str(), r.group.as_deref()?)))
        .collect();
    let mut sizes: HashMap<&str, usize> = HashMap::new();
    for group in scored.values() {
        *sizes.entry(group).or_default() += 1;
    }
    let (groups, images) = sizes
        .values()
        .filter(|&&n| n > 1)
        .fold((0, 0), |(g, i), n| (g + 1, i + n));
    (groups > 0).then(|| {
        format!("{images} of the scored images belong to {groups} groups (near-duplicates, or patients, artists or classes that the data set names). Intervals treat every image as independent and are too narrow where the images of a group are alike; the table of groups counts each group once.")
    })
}
