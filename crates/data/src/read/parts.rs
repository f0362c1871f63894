//! Parts of a set (training, validation, test) that lie in one folder, by the names of files and folders. To read them as one
//! set would put what a model was trained on beside what it was not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::folder::relative;
use super::{Collector, number, some};
use crate::{Error, Result};

/// Words that name a part, and what the part is called then: those that Hugging Face's `datasets` looks for.
const WORDS: [(&str, &str); 10] = [
    ("train", "train"),
    ("training", "train"),
    ("validation", "validation"),
    ("valid", "validation"),
    ("val", "validation"),
    ("dev", "validation"),
    ("test", "test"),
    ("testing", "test"),
    ("eval", "test"),
    ("evaluation", "test"),
];

/// The part that a word names.
fn word(text: &str) -> Option<&'static str> {
    WORDS
        .iter()
        .find(|(w, _)| text.eq_ignore_ascii_case(w))
        .map(|(_, part)| *part)
}

/// The part that some word of a name names.
fn of_name(name: &str) -> Option<&'static str> {
    name.split(|c: char| !c.is_alphabetic()).find_map(word)
}

/// What stands before `-00000-of-00002`, the numbers of shards; what stands behind does not count.
fn before_shard(stem: &str) -> Option<&str> {
    let (before, behind) = stem.split_once("-of-")?;
    let digits = |text: &str| text.len() >= 4 && text.bytes().all(|b| b.is_ascii_digit());
    let (name, number) = before.rsplit_once('-')?;
    let of = behind.split('-').next().unwrap_or_default();
    (digits(number) && digits(of) && !name.is_empty()).then_some(name)
}

/// The part of a set that a shard belongs to, by its name or else by the folders it is in.
fn of_shard(root: &Path, file: &Path) -> Option<String> {
    let path = relative(root, file);
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", &path));
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    if let Some(name) = before_shard(stem) {
        let last = name.rsplit('-').next().unwrap_or(name);
        return Some(word(last).unwrap_or(name).to_owned());
    }
    let of_folder = || folders.rsplit('/').find_map(of_name);
    of_name(stem).or_else(of_folder).map(str::to_owned)
}

/// Of the shards of a folder, those of the wanted parts.
///
/// # Errors
/// Several parts, and none chosen; a part that is not there.
pub(super) fn choose(
    root: &Path,
    files: Vec<PathBuf>,
    into: &mut Collector<'_>,
) -> Result<Vec<PathBuf>> {
    let total = files.len();
    let named = files
        .into_iter()
        .map(|file| (of_shard(root, &file), file))
        .collect();
    let kept = wanted(root, named, into)?;
    if total > 1 {
        let names: Vec<String> = kept
            .iter()
            .take(super::NAMED)
            .map(|f| relative(root, f))
            .collect();
        into.say(format!(
            "{} of {} files were read: {}",
            number(kept.len()),
            number(total),
            some(&names, kept.len())
        ));
    }
    Ok(kept)
}

/// Of the pictures of a folder, those of the wanted parts: where all lie in folders whose names are names of parts (`train/`,
/// `test/`), below whatever folder they share.
///
/// # Errors
/// As [`choose`].
pub(super) fn choose_pictures(
    root: &Path,
    pictures: &[PathBuf],
    into: &mut Collector<'_>,
) -> Result<Vec<PathBuf>> {
    let folders: Vec<Vec<String>> = pictures
        .iter()
        .map(|p| {
            let path = relative(root, p);
            let mut folders: Vec<String> = path.split('/').map(str::to_owned).collect();
            folders.pop();
            folders
        })
        .collect();
    // The first level at which they part; where they do not, the last is the one that may be named.
    let at = |level: usize| {
        folders
            .iter()
            .map(move |f| f.get(level).map(String::as_str))
    };
    let same = |level: &usize| {
        let first = at(*level).next().flatten();
        first.is_some_and(|f| word(f).is_none()) && at(*level).all(|f| f == first)
    };
    let level = (0..).take_while(same).count();
    let parts: Option<Vec<&str>> = at(level).map(|f| f.and_then(word)).collect();
    let parts = parts.unwrap_or_default();
    let named = pictures
        .iter()
        .enumerate()
        .map(|(i, p)| (parts.get(i).map(|p| (*p).to_owned()), p.clone()))
        .collect();
    wanted(root, named, into)
}

fn wanted(
    root: &Path,
    named: Vec<(Option<String>, PathBuf)>,
    into: &mut Collector<'_>,
) -> Result<Vec<PathBuf>> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in named.iter().filter_map(|(name, _)| name.as_deref()) {
        *counts.entry(name).or_default() += 1;
    }
    let place = root.display().to_string();
    let names = || counts.keys().copied().collect::<Vec<_>>().join(", ");
    if into.parts.is_empty() {
        if counts.len() > 1 {
            let list: Vec<String> = counts
                .iter()
                .map(|(name, n)| format!("{name}: {n}"))
                .collect();
            let first = counts.keys().next().copied().unwrap_or_default();
            return Err(Error::format(
                &place,
                format!(
                    "it holds several parts of a set (files of {})",
                    list.join(", ")
                ),
                format!(
                    "name the one that is meant, as {place}#{first}, or several, as {place}#{}",
                    counts.keys().copied().collect::<Vec<_>>().join("+")
                ),
            ));
        }
        return Ok(named.into_iter().map(|(_, file)| file).collect());
    }
    let asked: Vec<&str> = into.parts.iter().map(|p| word(p).unwrap_or(p)).collect();
    if let Some(missing) = asked.iter().find(|p| !counts.contains_key(**p)) {
        let there = if counts.is_empty() {
            "no file or folder in it is called after a part".to_owned()
        } else {
            format!("it has {}", names())
        };
        return Err(Error::format(
            &place,
            format!("there is no part `{missing}` ({there})"),
            "name one that is there; #member, #nonmember, #d1 and #d2 are sides of a split",
        ));
    }
    let keep = |name: &Option<String>| name.as_deref().is_some_and(|n| asked.contains(&n));
    Ok(named
        .into_iter()
        .filter(|(name, _)| keep(name))
        .map(|(_, file)| file)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_shards() {
        let root = Path::new("set");
        for (path, part) in [
            ("data/train-00000-of-00002.parquet", Some("train")),
            ("data/test-00000-of-00001-0a1b2c.parquet", Some("test")),
            ("train_sft-00000-of-00004.parquet", Some("train_sft")),
            (
                "cifar10-validation-00000-of-00001.parquet",
                Some("validation"),
            ),
            ("default/train/0000.parquet", Some("train")),
            ("val.tar", Some("validation")),
            ("cc3m-train-0001.tar", Some("train")),
            ("imagenet_eval_07.tar", Some("test")),
            ("00000.tar", None),
            ("medieval.parquet", None),
            ("part-00000-of-00002.parquet", Some("part")),
        ] {
            assert_eq!(of_shard(root, &root.join(path)).as_deref(), part, "{path}");
        }
    }
}
