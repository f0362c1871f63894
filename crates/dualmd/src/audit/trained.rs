//! What a model that was trained here knows of its own training images: it is not attacked as if it had been trained on others.

use anyhow::{Result, bail};
use dualmd_data::{ImageSet, Side, Split};
use dualmd_files::shown;
use dualmd_names::ModelKind;
use dualmd_record::folder::{RunFolder, TRAINING};
use dualmd_record::training::Training;
use std::path::{Path, PathBuf};

/// A model that knows its split (trained here) is not attacked with another one.
///
/// # Errors
/// It was trained on another split, or on one half of the members.
pub(crate) fn refuse_foreign_split(models: &[PathBuf], members: &str, split: &Split) -> Result<()> {
    for model in models {
        let Some(training) = training(model)? else {
            continue;
        };
        let own = training.split_hash.as_deref().unwrap_or_default();
        // Of a pair, each knows a half: together they know all members.
        if models.len() == 1
            && let Some(half) = training.half
            && members.ends_with("#member")
        {
            bail!(
                "{} is a teacher that saw D{half} only: half of {} are strangers to it; use #d{half} in its place",
                model.display(),
                members
            );
        }
        if !own.is_empty() && own != split.hash() {
            bail!(
                "{} was trained on the split {own}, the one given is {}: scores against the wrong members mean nothing; \
                 give the run's own split.json",
                model.display(),
                split.hash()
            );
        }
    }
    Ok(())
}

/// Compares images with the split that a model of this program was trained on: the one that is `given`, which
/// [`refuse_foreign_split`] has passed, or else `split.json` of the run in whose `models` it lies. Images are known by their content,
/// whatever set they came in; members are the first. Returns what a reader must know where members cannot be compared; nothing for
/// models from elsewhere.
///
/// # Errors
/// A member that the model was not trained on, a non-member that it was; a damaged `training.json`.
pub(super) fn unlike_training(
    models: &[PathBuf],
    given: Option<&Split>,
    [members, others]: [&ImageSet; 2],
) -> Result<Option<String>> {
    let mut halves = Vec::new();
    let mut own: Option<String> = None;
    for model in models {
        let Some(training) = training(model)? else {
            return Ok(None);
        };
        // Which members the model of a shard saw is not recorded; a reference model and a base saw none.
        let whole = training.defense.defense().is_some();
        let part = training.defense == ModelKind::Part && training.half.is_some();
        let hash = training.split_hash.filter(|hash| !hash.is_empty());
        let Some(hash) = hash.filter(|_| whole || part) else {
            return Ok(None);
        };
        if *own.get_or_insert_with(|| hash.clone()) != hash {
            return Ok(Some(
                "its two models were trained on different splits: whether these are their members was not checked".to_owned(),
            ));
        }
        halves.push(training.half);
    }
    let (Some(model), Some(own)) = (models.first(), own) else {
        return Ok(None);
    };
    let place = split_of_run(model);
    let found;
    let split = match (given, &place) {
        (Some(split), _) => split,
        (None, Some(place)) => match Split::load(place) {
            Ok(split) if split.hash() == own => {
                found = split;
                &found
            }
            _ => return Ok(Some(not_there(model, &own))),
        },
        (None, None) => return Ok(Some(not_there(model, &own))),
    };
    // Nothing of an image that the split does not have.
    let saw = |id: &str| -> Option<bool> {
        match split.side(id)? {
            Side::Member(half) => {
                let half = u8::from(half);
                Some(halves.iter().any(|of| of.is_none_or(|of| of == half)))
            }
            Side::NonMember => Some(false),
        }
    };
    let count = |set: &ImageSet, answer: Option<bool>| {
        let asked = set.records.iter().map(|r| saw(r.id.as_str()));
        asked.filter(|found| *found == answer).count()
    };
    let (unseen, seen) = (count(members, Some(false)), count(others, Some(true)));
    if unseen + seen > 0 {
        let remedy = match place.filter(|_| given.is_none()) {
            Some(place) => format!(
                "name the images by its own split, --split {} (DATA#member, DATA#nonmember)",
                shown(&place)
            ),
            None => "name the images by the split (DATA#member, DATA#nonmember)".to_owned(),
        };
        bail!(
            "{}: of {} members it was not trained on {unseen}, and of {} non-members it was on {seen}: scores against the wrong members mean \
             nothing; {remedy}",
            shown(model),
            members.len(),
            others.len()
        );
    }
    let strange = count(members, None);
    Ok((strange > 0).then(|| {
        format!(
            "{strange} of {} members are not in the split that this model was trained on: whether it saw them is not known. An image that was \
             scaled or changed is another one there",
            members.len()
        )
    }))
}

/// A model's record of its training; none of models from elsewhere.
fn training(model: &Path) -> Result<Option<Training>> {
    match dualmd_record::read(&model.join(TRAINING)) {
        Err(e) if e.is_absent() => Ok(None),
        other => Ok(Some(other?)),
    }
}

/// Where the split is if `model` is `RUN/models/NAME`, by whatever path.
fn split_of_run(model: &Path) -> Option<PathBuf> {
    let real = model.canonicalize().ok()?;
    let run = real.parent()?.parent()?;
    Some(RunFolder(run.to_owned()).split())
}

fn not_there(model: &Path, hash: &str) -> String {
    format!(
        "{} was trained here, on the split {}, which is not beside it: whether these are its members was not checked; name it with --split",
        shown(model),
        hash.get(..12).unwrap_or(hash)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_data::{Groups, Picture, Record};

    /// One grey picture for each value.
    fn set(values: &[u8]) -> ImageSet {
        let record = |&value: &u8| {
            let picture = Picture::filled(4, 4, 1, value);
            Record {
                id: picture.id(),
                picture,
                captions: vec![],
                group: None,
                label: None,
                name: format!("{value}.png"),
                file: None,
            }
        };
        ImageSet::new("images".into(), None, values.iter().map(record).collect()).unwrap()
    }

    /// A run of one baseline and one teacher of the first half, on a split of ten images; the values of both halves and of non-members.
    fn run(folder: &Path) -> (Split, [Vec<u8>; 3]) {
        let values: Vec<u8> = (0..10).collect();
        let all = set(&values);
        let split = Split::half(&all, &Groups::given(&all), 4, Some(6), 1).unwrap();
        split.save(&folder.join("split.json")).unwrap();
        for (name, half) in [("none", "null"), ("teacher", "1")] {
            let model = folder.join("models").join(name);
            std::fs::create_dir_all(&model).unwrap();
            let hash = split.hash();
            let record =
                format!(r#"{{"defense": "{name}", "half": {half}, "split_hash": "{hash}"}}"#);
            std::fs::write(model.join(TRAINING), record).unwrap();
        }
        let selected = split.select(&all).unwrap();
        let of = |places: &[usize]| places.iter().map(|&i| values[i]).collect();
        let sides = [&selected.d1, &selected.d2, &selected.nonmembers].map(|p| of(p));
        (split, sides)
    }

    /// What is said of these images, and whether it is a refusal.
    fn said(model: &Path, members: &[u8], others: &[u8]) -> (bool, String) {
        let (members, others) = (set(members), set(others));
        match unlike_training(&[model.to_owned()], None, [&members, &others]) {
            Ok(said) => (false, said.unwrap_or_default()),
            Err(error) => (true, error.to_string()),
        }
    }

    #[test]
    fn images_of_the_wrong_side_are_found_by_content() {
        let folder = tempfile::tempdir().unwrap();
        let (_, [d1, d2, others]) = run(folder.path());
        let model = folder.path().join("models/none");
        let members = [d1.clone(), d2.clone()].concat();
        assert_eq!(said(&model, &members, &others), (false, String::new()));
        // One side strayed into the other, each way.
        let (refused, why) = said(&model, &[d1[0], others[0], others[1]], &[d2[0], others[2]]);
        assert!(
            refused
                && why.contains(
                    "of 3 members it was not trained on 2, and of 2 non-members it was on 1"
                )
                && why.contains("--split ")
                && why.contains("split.json"),
            "{why}"
        );
        // What the split does not have may have been changed, or be a stranger.
        let (refused, why) = said(&model, &[d1[0], 200, 201], &[others[0], 202]);
        assert!(
            !refused && why.starts_with("2 of 3 members are not in the split"),
            "{why}"
        );
    }

    #[test]
    fn a_teacher_saw_its_half_alone_and_a_pair_both() {
        let folder = tempfile::tempdir().unwrap();
        let (split, [d1, d2, others]) = run(folder.path());
        let first = folder.path().join("models/teacher");
        assert_eq!(said(&first, &d1, &d2), (false, String::new()));
        assert!(said(&first, &d2, &others).0);
        let second = folder.path().join("models/teacher-2");
        std::fs::create_dir_all(&second).unwrap();
        let hash = split.hash();
        let record = format!(r#"{{"defense": "teacher", "half": 2, "split_hash": "{hash}"}}"#);
        std::fs::write(second.join(TRAINING), record).unwrap();
        let (members, others) = (set(&[d1, d2].concat()), set(&others));
        let pair = [first, second];
        assert!(
            unlike_training(&pair, None, [&members, &others])
                .unwrap()
                .is_none()
        );
        assert!(unlike_training(&pair, None, [&others, &members]).is_err());
    }

    #[test]
    fn where_the_split_is_not_there_a_reader_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (split, [d1, _, others]) = run(folder.path());
        let model = folder.path().join("models/none");
        std::fs::remove_file(folder.path().join("split.json")).unwrap();
        let (refused, why) = said(&model, &others, &d1);
        assert!(
            !refused && why.contains(&split.hash()[..12]) && why.contains("--split"),
            "{why}"
        );
        // Named, it is compared with.
        let (members, strangers) = (set(&d1), set(&others));
        let models = [model];
        let compared = |sides| unlike_training(&models, Some(&split), sides);
        assert!(compared([&members, &strangers]).unwrap().is_none());
        assert!(compared([&strangers, &members]).is_err());
        // A model from elsewhere says nothing.
        assert_eq!(said(folder.path(), &others, &d1), (false, String::new()));
    }
}
