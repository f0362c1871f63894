//! Pictures prepared once: the run that reads, resizes and compares its images keeps those that its trainings need, and they take
//! them from there.

use super::prepare::Images;
use super::{RunFolder, files_in, remove};
use anyhow::{Context, Result, bail};
use dualmd_data::{ImageSet, Picture, Record, SampleId, Split};
use dualmd_files::{create_folder, shown};
use dualmd_record::prepared::{Prepared, PreparedRecord};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
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
    let mut hasher = blake3::Hasher::new();
    let mut records = Vec::new();
    for &i in &positions {
        let record = &images.set.records[i];
        hasher.update(&record.picture.pixels);
        records.push(PreparedRecord {
            id: record.id.as_str().to_owned(),
            name: record.name.clone(),
            captions: record.captions.clone(),
            group: record.group.clone(),
            label: record.label.clone(),
        });
    }
    let name = named(&hasher);
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
    // One after the other: they are never together in memory once more.
    dualmd_files::write_with(&folder.join(&name), |file| {
        let mut file = BufWriter::new(file);
        for &i in &positions {
            file.write_all(&images.set.records[i].picture.pixels)?;
        }
        file.flush()
    })?;
    dualmd_record::write(&index, &prepared)?;
    // Those of other images.
    let others = files_in(&folder, |path| {
        path.extension().is_some_and(|e| e == "pixels") && !path.ends_with(&name)
    })?;
    others.iter().try_for_each(|path| remove(path))
}

/// What a file of these pixels is called.
fn named(hasher: &blake3::Hasher) -> String {
    format!("{}.pixels", hasher.finalize().to_hex())
}

/// A file of pixels whose name is their hash, at its beginning.
fn checked(folder: &Path, name: &str) -> Result<File> {
    let path = folder.join(name);
    let mut file = dualmd_files::open(&path)?;
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut file, &mut hasher)
        .and_then(|_| file.rewind())
        .with_context(|| format!("cannot read {}", shown(&path)))?;
    if named(&hasher) != name {
        bail!(
            "{} is damaged: its content is not what its name says; remove it, and the run prepares its images again",
            shown(&path)
        );
    }
    Ok(file)
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
    let file = checked(&folder, &found.pixels)?;
    let each = [height, width]
        .into_iter()
        .try_fold(channels, usize::checked_mul)
        .filter(|each| *each > 0);
    let each = each.with_context(damaged)?;
    let all = each.checked_mul(found.records.len());
    let held = file.metadata().with_context(damaged)?.len();
    if all.and_then(|all| u64::try_from(all).ok()) != Some(held) {
        bail!("{}", damaged());
    }
    let mut file = BufReader::new(file);
    let mut records = Vec::with_capacity(found.records.len());
    for of in found.records {
        let mut pixels = vec![0; each];
        file.read_exact(&mut pixels).with_context(damaged)?;
        records.push(Record {
            id: SampleId::from(of.id.as_str()),
            picture: Picture {
                width: u32::try_from(width).with_context(damaged)?,
                height: u32::try_from(height).with_context(damaged)?,
                channels: u8::try_from(channels).with_context(damaged)?,
                pixels,
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
