//! Pictures prepared once: the run that reads, resizes and compares its images keeps those that its trainings need, and they take
//! them from there.

use super::prepare::Images;
use super::{RunFolder, files_in, remove};
use anyhow::{Context, Result, bail};
use dualmd_data::{ImageSet, Picture, Record, SampleId, Split};
use dualmd_files::{create_folder, limit, shown};
use dualmd_record::prepared::{Prepared, PreparedRecord};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Folder in a run.
pub use super::held::PREPARED as FOLDER;
const INDEX: &str = "images.json";

fn folder(run: &RunFolder) -> PathBuf {
    run.0.join(FOLDER)
}

/// Is a run prepared, plan and pictures?
pub fn is_there(run: &RunFolder) -> bool {
    // Written last.
    run.plan().is_file() && folder(run).join(INDEX).is_file()
}

/// Keeps the members, the non-members and the pictures at `outside`, in that order of these.
///
/// # Errors
/// The folder cannot be written to.
pub fn write(run: &RunFolder, images: &Images, outside: &[usize]) -> Result<()> {
    let s = &images.selected;
    let mut positions = [&s.members[..], &s.nonmembers, outside].concat();
    positions.sort_unstable();
    positions.dedup();
    let places: BTreeMap<usize, usize> = positions.iter().copied().zip(0..).collect();
    let mut pixels = Vec::new();
    let mut records = Vec::new();
    for &i in &positions {
        let record = &images.set.records[i];
        pixels.extend_from_slice(&record.picture.pixels);
        records.push(PreparedRecord {
            id: record.id.as_str().to_owned(),
            name: record.name.clone(),
            captions: record.captions.clone(),
            group: record.group.clone(),
            label: record.label.clone(),
        });
    }
    let name = format!("{}.pixels", blake3::hash(&pixels).to_hex());
    let prepared = Prepared {
        source: images.set.source.clone(),
        licence: images.set.licence.clone(),
        shape: images.set.shape(),
        pixels: name.clone(),
        records,
        outside: outside
            .iter()
            .filter_map(|i| places.get(i).copied())
            .collect(),
    };
    let folder = folder(run);
    let index = folder.join(INDEX);
    let before: Option<Prepared> = dualmd_record::read_if_usable(&index)?;
    if before.as_ref() == Some(&prepared) && checked(&folder, &name).is_ok() {
        return Ok(());
    }
    create_folder(&folder)?;
    dualmd_files::write(&folder.join(&name), &pixels)?;
    dualmd_record::write(&index, &prepared)?;
    // Those of other images.
    let others = files_in(&folder, |path| {
        path.extension().is_some_and(|e| e == "pixels") && !path.ends_with(&name)
    })?;
    others.iter().try_for_each(|path| remove(path))
}

/// The pixels of a file whose name is their hash.
fn checked(folder: &Path, name: &str) -> Result<Vec<u8>> {
    let path = folder.join(name);
    let pixels = dualmd_files::read(&path, limit::WEIGHTS)?;
    if format!("{}.pixels", blake3::hash(&pixels).to_hex()) != name {
        bail!(
            "{} is damaged: its content is not what its name says; remove it, and the run prepares its images again",
            shown(&path)
        );
    }
    Ok(pixels)
}

/// What [`write()`] kept.
///
/// # Errors
/// Files that are missing or damaged; a split of other images.
pub fn read(run: &RunFolder, split: Split) -> Result<Images> {
    let folder = folder(run);
    let index = folder.join(INDEX);
    let found: Prepared = dualmd_record::read(&index)?;
    let damaged = || {
        format!(
            "{} is damaged; remove it, and the run prepares its images again",
            shown(&index)
        )
    };
    let [channels, height, width] = found.shape;
    // The name may not lead out of the folder.
    if Path::new(&found.pixels).file_name() != Some(found.pixels.as_ref()) {
        bail!("{}", damaged());
    }
    let pixels = checked(&folder, &found.pixels)?;
    let each = channels * height * width;
    if each == 0 || pixels.len() != each * found.records.len() {
        bail!("{}", damaged());
    }
    let mut records = Vec::with_capacity(found.records.len());
    for (of, pixels) in found.records.into_iter().zip(pixels.chunks_exact(each)) {
        records.push(Record {
            id: SampleId::from(of.id.as_str()),
            picture: Picture {
                width: u32::try_from(width).with_context(damaged)?,
                height: u32::try_from(height).with_context(damaged)?,
                channels: u8::try_from(channels).with_context(damaged)?,
                pixels: pixels.to_vec(),
            },
            captions: of.captions,
            group: of.group,
            label: of.label,
            name: of.name,
            file: None,
        });
    }
    if found.outside.iter().any(|&i| i >= records.len()) {
        bail!("{}", damaged());
    }
    let set = ImageSet::new(found.source, found.licence, records)?;
    let selected = split.select(&set)?;
    Ok(Images {
        set,
        split,
        selected,
        outside: Some(found.outside),
    })
}
