//! Pictures prepared once: the run that reads, resizes and compares its images keeps those that its trainings need, and they take
//! them from there, batch by batch: none holds them all.

use super::prepare::Images;
use super::text::Told;
use super::train_images::{Collected, TrainImages};
use super::{RunFolder, files_in, remove};
use anyhow::{Context, Result, bail};
use dualmd_data::{Ids, ImageSet, Listing, Picture, Pixels, Placed, Record, SampleId, Split};
use dualmd_files::{create_folder, shown};
use dualmd_record::prepared::{Prepared, PreparedRecord};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Error, Seek, Write};
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
/// Images that cannot be read; the folder cannot be written to.
pub fn write(run: &RunFolder, images: &Images, outside: &[usize]) -> Result<()> {
    let s = &images.selected;
    let mut positions = [&s.members[..], &s.nonmembers, outside].concat();
    positions.sort_unstable();
    positions.dedup();
    let places: BTreeMap<usize, usize> = positions.iter().copied().zip(0..).collect();
    let mut hasher = blake3::Hasher::new();
    let mut records = Vec::new();
    for &i in &positions {
        let record = &images.set().records[i];
        hasher.update(&images.listing.picture(i)?.pixels);
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
        source: images.set().source.clone(),
        licence: images.set().licence.clone(),
        shape: images.set().shape(),
        pixels: name.clone(),
        records,
        outside: outside
            .iter()
            .filter_map(|i| places.get(i).copied())
            .collect(),
    };
    let folder = folder(run);
    let index = folder.join(INDEX);
    // What is there is not held any longer than that.
    let same = dualmd_record::holds(&index, &prepared)?;
    if same && checked(&folder, &name).is_ok() {
        return Ok(());
    }
    create_folder(&folder)?;
    // One after the other: they are never together in memory.
    dualmd_files::write_with(&folder.join(&name), |file| {
        let mut file = BufWriter::new(file);
        for &i in &positions {
            let picture = images.listing.picture(i).map_err(Error::other)?;
            file.write_all(&picture.pixels)?;
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
    let mut file = match dualmd_files::open(&path) {
        Err(error) if error.is_absent() => bail!(
            "{} is not there, and the trainings of the run learn from it: repeat the command that prepared the run, and it is written \
             again",
            shown(&path)
        ),
        other => other?,
    };
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

/// What [`write()`] kept. The pixels stay in their file, which is compared with its name once, here: whoever replaces it later does
/// so under another name, and what is open stays.
///
/// # Errors
/// Files that are missing or damaged; a split of other images.
pub fn read(run: &RunFolder, split: Split) -> Result<Images> {
    let index = folder(run).join(INDEX);
    let found: Prepared = dualmd_record::read(&index)?;
    let damaged = || damaged(&index);
    let pixels = pixels(&index, &found, found.records.len())?;
    let [channels, height, width] = found.shape;
    let size = Picture {
        width: u32::try_from(width).with_context(damaged)?,
        height: u32::try_from(height).with_context(damaged)?,
        channels: u8::try_from(channels).with_context(damaged)?,
        pixels: Vec::new(),
    };
    let record = |of: PreparedRecord| Record {
        id: SampleId::from(of.id.as_str()),
        picture: size.clone(),
        captions: of.captions,
        group: of.group,
        label: of.label,
        name: of.name,
        file: None,
    };
    let records = found.records.into_iter().map(record).collect();
    let set = ImageSet::new(found.source, found.licence, records)?;
    let listing = Listing::over(set, pixels).with_context(damaged)?;
    let selected = split.select(listing.set())?;
    Ok(Images {
        listing,
        groups: None,
        split,
        selected,
        outside: Some(found.outside),
    })
}

/// As [`read`], with what a training needs of the images: the index and the split are read piece by piece. `told`: what it tells its network of
/// them.
///
/// # Errors
/// As [`read`]; those of the run's split.
pub fn read_to_train(run: &RunFolder, told: Told) -> Result<TrainImages> {
    let index = folder(run).join(INDEX);
    let (mut n, mut numbers, mut words) = (0, Vec::new(), Collected::default());
    let found = Prepared::read_each(&index, |record| {
        numbers.extend(SampleId::number(&record.id));
        words.push(told, record.captions, record.label.as_deref(), &record.name);
        n += 1;
    })?;
    if numbers.len() != n {
        bail!("{}", damaged(&index));
    }
    let pixels = pixels(&index, &found, n)?;
    let placed = Placed::load(&run.split(), &Ids::new(numbers), &found.source)?;
    Ok(TrainImages {
        source: found.source,
        pixels,
        selected: placed.selected,
        outside: found.outside,
        words: words.end(),
        split_hash: placed.hash,
    })
}

/// The pixels of the `n` pictures that an index has.
fn pixels(index: &Path, found: &Prepared, n: usize) -> Result<Pixels> {
    // The name may not lead out of the folder.
    if Path::new(&found.pixels).file_name() != Some(found.pixels.as_ref()) {
        bail!("{}", damaged(index));
    }
    let folder = dualmd_files::parent(index);
    let file = checked(folder, &found.pixels)?;
    let pixels = Pixels::stored(file, &folder.join(&found.pixels), found.shape, n);
    let pixels = pixels.with_context(|| damaged(index))?;
    if found.outside.iter().any(|&i| i >= n) {
        bail!("{}", damaged(index));
    }
    Ok(pixels)
}

fn damaged(index: &Path) -> String {
    format!(
        "{} is damaged; remove it, and the run prepares its images again",
        shown(index)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_data::{Groups, LoadOptions};
    use dualmd_torch::{Device, Tensor};

    /// A run of 16 of the bundled images, and its images as they are held in memory.
    fn run(folder: &Path) -> (RunFolder, Images, ImageSet) {
        let load = LoadOptions {
            image_size: Some(8),
            ..LoadOptions::default()
        };
        let listing = Listing::of("fashion", &load, folder).unwrap();
        let listing = listing.part(&(0..24).collect::<Vec<_>>()).unwrap();
        let set = listing.held(&(0..24).collect::<Vec<_>>()).unwrap();
        let groups = Groups::given(&set);
        let split = Split::half(&set, &groups, 8, Some(8), 3).unwrap();
        let images = Images {
            selected: split.select(&set).unwrap(),
            listing,
            groups: Some(groups),
            split,
            outside: None,
        };
        (RunFolder(folder.join("run")), images, set)
    }

    fn bits(tensor: &Tensor) -> Vec<u32> {
        let values = Vec::<f32>::try_from(tensor.flatten(0, -1)).unwrap();
        values.into_iter().map(f32::to_bits).collect()
    }

    fn pixels_of(run: &RunFolder) -> PathBuf {
        let found = files_in(&folder(run), |path| {
            path.extension().is_some_and(|e| e == "pixels")
        });
        let [path] = found.unwrap().try_into().unwrap();
        path
    }

    #[test]
    fn what_is_prepared_is_what_was_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let (run, images, set) = run(dir.path());
        std::fs::create_dir(&run.0).unwrap();
        let outside = images.outside(3, crate::choices::NearDuplicates::Ignore, 1);
        let outside = outside.unwrap();
        write(&run, &images, &outside).unwrap();
        let split = images.split.clone();
        let again = read(&run, split.clone()).unwrap();
        assert_eq!(again.set().len(), 19);
        // Those that nobody else sees, in the order in which they are taken.
        let ids = |images: &Images, at: &[usize]| -> Vec<String> {
            let of = |&i: &usize| images.set().records[i].id.to_string();
            at.iter().map(of).collect()
        };
        let drawn = again.outside(3, crate::choices::NearDuplicates::Ignore, 9);
        assert_eq!(ids(&again, &drawn.unwrap()), ids(&images, &outside));
        // To the last bit what the set in memory is made into.
        let held = super::super::pictures::tensor(&set, &images.selected.members);
        for images in [&images, &again] {
            let own = images.tensor(&images.selected.members, Device::Cpu);
            assert_eq!(bits(&own.unwrap()), bits(&held));
        }
        let (both, members) = again.held().unwrap();
        assert_eq!((both.len(), members), (16, 8));
        // The same again changes no file.
        let path = pixels_of(&run);
        let before = path.metadata().unwrap().modified().unwrap();
        write(&run, &images, &outside).unwrap();
        assert_eq!(path.metadata().unwrap().modified().unwrap(), before);
    }

    #[test]
    fn a_training_has_what_the_run_has() {
        let dir = tempfile::tempdir().unwrap();
        let (run, mut images, _) = run(dir.path());
        for (i, record) in images.listing.set_mut().records.iter_mut().enumerate() {
            record.captions = vec![format!("text {}", i % 3)];
            record.label = Some(format!("class {}", i % 2));
        }
        std::fs::create_dir(&run.0).unwrap();
        let outside = images.outside(3, crate::choices::NearDuplicates::Ignore, 1);
        write(&run, &images, &outside.unwrap()).unwrap();
        images.split.save(&run.split()).unwrap();
        let whole = read(&run, images.split.clone()).unwrap();
        let own = read_to_train(&run, Told::Captions).unwrap();
        assert_eq!(own.selected, whole.selected);
        assert_eq!(own.split_hash, whole.split.hash());
        assert_eq!(own.source, whole.set().source);
        assert_eq!(own.outside(3).unwrap(), whole.outside.as_deref().unwrap());
        let said = own.outside(4).unwrap_err().to_string();
        assert!(
            said.contains("4 more images") && said.contains("has 3"),
            "{said}"
        );
        let classes = read_to_train(&run, Told::Class).unwrap();
        for (i, record) in whole.set().records.iter().enumerate() {
            let picture = whole.listing.picture(i).unwrap();
            assert_eq!(own.pixels.picture(i).unwrap(), picture);
            assert_eq!(own.words(i).unwrap(), record.captions);
            let class = Told::Class.words(whole.set(), record).unwrap();
            assert_eq!(classes.words(i).unwrap(), class);
        }
        // What is read whole to be trained on comes to the same.
        let of = TrainImages::of(read(&run, images.split.clone()).unwrap(), Told::Captions);
        assert_eq!((of.selected, of.split_hash), (own.selected, own.split_hash));
        assert_eq!(of.pixels.len(), own.pixels.len());
        // Without words the picture is named; without an id the file is no index.
        let index = folder(&run).join(INDEX);
        let file: Prepared = dualmd_record::read(&index).unwrap();
        let mut lacking = file.clone();
        lacking.records[2].captions.clear();
        dualmd_record::write(&index, &lacking).unwrap();
        let own = read_to_train(&run, Told::Captions).unwrap();
        let said = own.words(2).unwrap_err().to_string();
        let name = format!("picture {} has no caption", file.records[2].name);
        assert!(said.contains(&name) && own.words(1).is_ok(), "{said}");
        let mut damaged = file.clone();
        damaged.records[2].id = "two".into();
        dualmd_record::write(&index, &damaged).unwrap();
        let said = read_to_train(&run, Told::Nothing).err().unwrap();
        assert!(
            said.to_string().contains("images.json is damaged"),
            "{said}"
        );
    }

    #[test]
    fn a_file_that_is_cut_changed_or_missing_is_named_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let (run, images, _) = run(dir.path());
        std::fs::create_dir(&run.0).unwrap();
        write(&run, &images, &[]).unwrap();
        let path = pixels_of(&run);
        let bytes = std::fs::read(&path).unwrap();
        let said = || {
            let error = read(&run, images.split.clone()).err().unwrap();
            format!("{error:#}")
        };
        let name = path.file_name().unwrap().to_str().unwrap();
        let mut changed = bytes.clone();
        changed[5] ^= 1;
        for other in [&bytes[..100], &changed[..]] {
            std::fs::write(&path, other).unwrap();
            let said = said();
            assert!(
                said.contains(name) && said.contains("is damaged") && said.contains("remove it"),
                "{said}"
            );
        }
        std::fs::remove_file(&path).unwrap();
        let said = said();
        assert!(
            said.contains(name) && said.contains("is not there") && said.contains("repeat"),
            "{said}"
        );
        // As it says.
        write(&run, &images, &[]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        let open = read(&run, images.split.clone()).unwrap();
        std::fs::write(&path, &bytes[..100]).unwrap();
        let last = open.set().len() - 1;
        let said = open.tensor(&[last], Device::Cpu).unwrap_err().to_string();
        assert!(
            said.contains(name) && said.contains("it was cut while it was in use"),
            "{said}"
        );
        // An index of more pictures.
        write(&run, &images, &[]).unwrap();
        let index = folder(&run).join(INDEX);
        let mut file: Prepared = dualmd_record::read(&index).unwrap();
        file.records.push(file.records[0].clone());
        dualmd_record::write(&index, &file).unwrap();
        let said = format!("{:#}", read(&run, images.split.clone()).err().unwrap());
        assert!(said.contains("images.json is damaged"), "{said}");
    }
}
