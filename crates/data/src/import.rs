//! Splits that others published.

use std::collections::HashSet;
use std::path::Path;

use crate::read::read_npz_i64;
use crate::split::{Method, halve};
use crate::{Error, Groups, ImageSet, Result, Split};

/// What an import had to change because the same picture is in the set more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImportReport {
    /// Rows left out because the same picture is already on that side.
    pub repeated: usize,
    /// Non-member rows left out because the same picture is a member: it was trained on.
    pub nonmembers_trained_on: usize,
}

/// Reads the member lists of the SecMI and PIA code: an `.npz` with `mia_train_idxs` (members) and `mia_eval_idxs`
/// (non-members), int64 row numbers of the official training set. Give the set as loaded, in the official order and
/// before [`crate::dedupe`], or rows would be numbered differently.
///
/// The lists have no halves: D1 and D2 are drawn with `seed`, near duplicates (`groups`) together. The lists do divide
/// near duplicates between members and non-members; that is kept as published.
///
/// # Errors
/// Not such a file, or row numbers that do not belong to this set.
pub fn import_secmi_npz(
    path: &Path,
    set: &ImageSet,
    groups: &Groups,
    seed: u64,
) -> Result<(Split, ImportReport)> {
    let members = rows(path, "mia_train_idxs", set)?;
    let nonmembers = rows(path, "mia_eval_idxs", set)?;
    let listed = members.len() + nonmembers.len();
    if listed != set.len() {
        return Err(Error::format(
            path.display().to_string(),
            format!(
                "it lists {listed} pictures, and {} has {}",
                set.source,
                set.len()
            ),
            "load the whole official training set the list was made for, before dropping duplicates",
        ));
    }
    if groups.of.len() != set.len() {
        return Err(Error::options(
            "groups of another set",
            "find the groups in the set that is imported",
        ));
    }
    let mut report = ImportReport::default();
    let mut seen = HashSet::new();
    let mut kept_members = Vec::new();
    for i in members {
        if seen.insert(set.records[i].id.as_str()) {
            kept_members.push(i)
        } else {
            report.repeated += 1
        }
    }
    let trained: HashSet<&str> = seen.clone();
    let mut kept_nonmembers = Vec::new();
    for i in nonmembers {
        let id = set.records[i].id.as_str();
        if trained.contains(id) {
            report.nonmembers_trained_on += 1;
        } else if seen.insert(id) {
            kept_nonmembers.push(vec![i]);
        } else {
            report.repeated += 1;
        }
    }
    // By id, so that the halves do not depend on the order of the list.
    kept_members.sort_by(|&a, &b| set.records[a].id.cmp(&set.records[b].id));
    let mut units: Vec<Vec<usize>> = Vec::new();
    let mut unit_of = std::collections::HashMap::new();
    for i in kept_members {
        let unit = *unit_of.entry(groups.of[i]).or_insert_with(|| {
            units.push(Vec::new());
            units.len() - 1
        });
        units[unit].push(i);
    }
    let [d1, d2] = halve(&mut units, seed);
    Ok((
        Split::build(
            Method::Import,
            seed,
            set,
            groups,
            [&d1, &d2, &kept_nonmembers],
        )?,
        report,
    ))
}

fn rows(path: &Path, key: &str, set: &ImageSet) -> Result<Vec<usize>> {
    let place = || format!("{}, array {key}", path.display());
    let mut seen = HashSet::new();
    let convert = |index: i64| {
        let row = usize::try_from(index)
            .ok()
            .filter(|&i| i < set.len())
            .ok_or_else(|| {
                let problem = format!("row {index}, and {} has {} pictures", set.source, set.len());
                Error::format(
                    place(),
                    problem,
                    "load the whole official training set the list was made for",
                )
            })?;
        if !seen.insert(row) {
            return Err(Error::format(
                place(),
                format!("row {row} is listed twice"),
                "take the file from its origin",
            ));
        }
        Ok(row)
    };
    read_npz_i64(path, key)?.into_iter().map(convert).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Half, Picture, Record, near_duplicates};
    use std::io::Write;

    pub(crate) fn npz(arrays: &[(&str, &[i64])]) -> tempfile::NamedTempFile {
        let file = tempfile::Builder::new().suffix(".npz").tempfile().unwrap();
        let mut zip = zip::ZipWriter::new(file.reopen().unwrap());
        for (name, values) in arrays {
            zip.start_file(
                format!("{name}.npy"),
                zip::write::SimpleFileOptions::default(),
            )
            .unwrap();
            let mut header = format!(
                "{{'descr': '<i8', 'fortran_order': False, 'shape': ({},), }}",
                values.len()
            );
            while !(header.len() + 11).is_multiple_of(64) {
                header.push(' ');
            }
            header.push('\n');
            zip.write_all(b"\x93NUMPY\x01\x00").unwrap();
            zip.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
            zip.write_all(header.as_bytes()).unwrap();
            values
                .iter()
                .for_each(|v| zip.write_all(&v.to_le_bytes()).unwrap());
        }
        zip.finish().unwrap();
        file
    }

    /// Flat pictures of these values; equal values are the same picture.
    fn set(values: &[u8]) -> ImageSet {
        let record = |(i, &v): (usize, &u8)| {
            let picture = Picture::filled(4, 4, 1, v);
            Record {
                id: picture.id(),
                picture,
                captions: vec![],
                group: None,
                label: None,
                name: i.to_string(),
                file: None,
            }
        };
        ImageSet::new(
            "cifar".into(),
            None,
            values.iter().enumerate().map(record).collect(),
        )
        .unwrap()
    }

    #[test]
    fn lists_keep_their_sides() {
        let set = set(&[0, 40, 80, 120, 160, 200, 240, 255]);
        let groups = near_duplicates(&set, &Default::default());
        let file = npz(&[
            ("mia_train_idxs", &[5, 0, 2, 7]),
            ("mia_eval_idxs", &[1, 3, 4, 6]),
        ]);
        let (split, report) = import_secmi_npz(file.path(), &set, &groups, 1).unwrap();
        assert_eq!(report, ImportReport::default());
        let selected = split.select(&set).unwrap();
        let sorted = |mut v: Vec<usize>| {
            v.sort_unstable();
            v
        };
        assert_eq!(sorted(selected.members), [0, 2, 5, 7]);
        assert_eq!(sorted(selected.nonmembers), [1, 3, 4, 6]);
        assert_eq!((selected.d1.len(), selected.d2.len()), (2, 2));
        assert_eq!(split.method(), Method::Import);
    }

    #[test]
    fn repeated_pictures_are_members_once() {
        let set = set(&[0, 80, 0, 80, 80, 160, 240]);
        let groups = Groups::given(&set);
        let file = npz(&[
            ("mia_train_idxs", &[0, 5, 2]),
            ("mia_eval_idxs", &[1, 3, 4, 6]),
        ]);
        let (split, report) = import_secmi_npz(file.path(), &set, &groups, 1).unwrap();
        assert_eq!(
            report,
            ImportReport {
                repeated: 3,
                nonmembers_trained_on: 0
            }
        );
        assert_eq!((split.members().len(), split.nonmembers().len()), (2, 2));
        let file = npz(&[
            ("mia_train_idxs", &[0, 1, 5]),
            ("mia_eval_idxs", &[2, 3, 4, 6]),
        ]);
        let (split, report) = import_secmi_npz(file.path(), &set, &groups, 1).unwrap();
        assert_eq!(report.nonmembers_trained_on, 3);
        assert!(split.members().iter().any(|m| m.half == Half::Second));
    }

    #[test]
    fn lists_of_another_set_are_refused() {
        let set = set(&[0, 80, 160]);
        let groups = Groups::given(&set);
        let fails = |arrays: &[(&str, &[i64])], words: &str| {
            let error = import_secmi_npz(npz(arrays).path(), &set, &groups, 1)
                .unwrap_err()
                .to_string();
            assert!(error.contains(words), "{error}");
        };
        fails(
            &[("mia_train_idxs", &[0, 3]), ("mia_eval_idxs", &[1])],
            "row 3",
        );
        fails(
            &[("mia_train_idxs", &[0, -1]), ("mia_eval_idxs", &[1])],
            "row -1",
        );
        fails(
            &[("mia_train_idxs", &[0, 0]), ("mia_eval_idxs", &[1])],
            "twice",
        );
        fails(
            &[("mia_train_idxs", &[0]), ("mia_eval_idxs", &[1])],
            "lists 2",
        );
        fails(&[("mia_train_idxs", &[0])], "mia_eval_idxs");
    }
}
