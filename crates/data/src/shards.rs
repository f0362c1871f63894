//! Sets in shards (WebDataset archives, parquet tables) that are read again in every epoch and never held as a whole: neither memory
//! nor a disk of one's own grows with them. The order is drawn by a seed, and goes on where it stopped.
//!
//! In each epoch the shards are shuffled. Some of them at a time are read, their pictures shuffled, and handed out: so two pictures
//! of one shard may follow each other, and of shards far apart in the order never do. More shards together are better mixed, and take
//! more memory.

use std::path::{Path, PathBuf};

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::read::{self, Collector};
use crate::{Error, LoadOptions, Record, Result, stream};

/// Where in its order a stream is: all that is needed to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// BLAKE3 over the shards' names and sizes, the seed, and how many are read together.
    pub shards: String,
    /// Epochs that are over.
    pub epoch: u64,
    /// Blocks of shards that are over in this one.
    pub block: usize,
    /// Pictures of this block that were handed out.
    pub picture: usize,
}

/// The pictures of all shards, epoch after epoch, without an end.
pub struct Shards<'a> {
    files: Vec<PathBuf>,
    options: LoadOptions<'a>,
    seed: u64,
    together: usize,
    at: Position,
    /// What is left of the block, the next one last; None before it is read.
    block: Option<Vec<Record>>,
    /// Whether this epoch has handed out a picture: shards without any would be read for ever.
    any: bool,
}

impl<'a> Shards<'a> {
    /// The archives and tables in a folder, `together` of them at a time. `options` says size and channels, so that pictures are
    /// alike whatever block they come in.
    ///
    /// # Errors
    /// A folder without shards; no size or channels; nothing together.
    pub fn open(
        folder: &Path,
        options: LoadOptions<'a>,
        together: usize,
        seed: u64,
    ) -> Result<Self> {
        if options.image_size.is_none() || options.channels.is_none() || together == 0 {
            return Err(Error::options(
                "shards are read with `image_size`, `channels`, and at least one together",
                "give all three",
            ));
        }
        let mut files = dualmd_files::list(folder)?;
        files.retain(|file| read::is_shard(file));
        if files.is_empty() {
            return Err(Error::format(
                folder.display().to_string(),
                "there is no .tar and no .parquet in it",
                "name the folder that holds the shards",
            ));
        }
        let mut hasher = blake3::Hasher::new();
        for file in &files {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let size = dualmd_files::open(file)?
                .metadata()
                .map_err(|e| Error::read(file, e))?
                .len();
            hasher.update(format!("{size} {name}\n").as_bytes());
        }
        hasher.update(format!("{seed} {together}").as_bytes());
        let at = Position {
            shards: hasher.finalize().to_hex().to_string(),
            epoch: 0,
            block: 0,
            picture: 0,
        };
        Ok(Self {
            files,
            options,
            seed,
            together,
            at,
            block: None,
            any: false,
        })
    }

    /// Goes to where a stream of the same shards was: what comes next there comes next here.
    ///
    /// # Errors
    /// Other shards, another seed, or more or fewer together.
    pub fn resume(&mut self, at: &Position) -> Result<()> {
        if at.shards != self.at.shards {
            return Err(Error::options(
                "the shards, the seed, or how many are read together are not those of the position to go on from",
                "bring back what it was begun with, or begin anew",
            ));
        }
        self.at = at.clone();
        self.block = None;
        self.any = at.block > 0 || at.picture > 0;
        Ok(())
    }

    /// Where the stream is, before the next picture.
    #[must_use]
    pub fn position(&self) -> &Position {
        &self.at
    }

    /// The next picture.
    ///
    /// # Errors
    /// A shard that cannot be read, as in [`crate::load()`]; no picture in any of them.
    pub fn draw(&mut self) -> Result<Record> {
        loop {
            let block = match &mut self.block {
                Some(block) => block,
                none => none.insert(self.at.read(
                    &self.files,
                    &self.options,
                    self.seed,
                    self.together,
                )?),
            };
            if let Some(record) = block.pop() {
                self.at.picture += 1;
                self.any = true;
                return Ok(record);
            }
            self.block = None;
            self.at.picture = 0;
            self.at.block += 1;
            if self.at.block * self.together >= self.files.len() {
                if !self.any {
                    return Err(Error::options(
                        format!("there is no picture in {} shards", self.files.len()),
                        "check what they should hold",
                    ));
                }
                self.at.block = 0;
                self.at.epoch += 1;
                self.any = false;
            }
        }
    }
}

impl Position {
    /// The rest of the block, the next one last.
    fn read(
        &self,
        files: &[PathBuf],
        options: &LoadOptions<'_>,
        seed: u64,
        together: usize,
    ) -> Result<Vec<Record>> {
        let mut order: Vec<&PathBuf> = files.iter().collect();
        order.shuffle(&mut stream(seed, "shards", self.epoch));
        let mut collector = Collector::new(options);
        for file in order.iter().skip(self.block * together).take(together) {
            read::read(&file.to_string_lossy(), &[], &mut collector)?;
        }
        let mut records = collector.records;
        let blocks = files.len().div_ceil(together) as u64;
        let number = self.epoch.wrapping_mul(blocks) + self.block as u64;
        records.shuffle(&mut stream(seed, "pictures of shards", number));
        records.reverse();
        records.truncate(records.len().saturating_sub(self.picture));
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Picture, encode_png};
    use std::collections::BTreeSet;

    /// Archives of so many pictures each, no two alike.
    fn archives(sizes: &[u8]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (shard, &size) in sizes.iter().enumerate() {
            let mut archive = tar::Builder::new(Vec::new());
            for i in 0..size {
                let picture = Picture::filled(4, 4, 3, shard as u8 * 20 + i);
                let bytes = encode_png(&picture).unwrap();
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o644);
                let name = format!("{shard}-{i}.png");
                archive
                    .append_data(&mut header, &name, bytes.as_slice())
                    .unwrap();
            }
            let bytes = archive.into_inner().unwrap();
            std::fs::write(dir.path().join(format!("{shard}.tar")), bytes).unwrap();
        }
        dir
    }

    fn options() -> LoadOptions<'static> {
        LoadOptions {
            image_size: Some(4),
            channels: Some(3),
            ..LoadOptions::default()
        }
    }

    fn take(shards: &mut Shards<'_>, n: usize) -> Vec<String> {
        (0..n).map(|_| shards.draw().unwrap().name).collect()
    }

    #[test]
    fn each_epoch_has_every_picture_once_in_an_order_of_its_own() {
        let dir = archives(&[3, 0, 5, 2, 4]);
        let mut shards = Shards::open(dir.path(), options(), 2, 7).unwrap();
        let epochs: Vec<Vec<String>> = (0..3).map(|_| take(&mut shards, 14)).collect();
        let sets: Vec<BTreeSet<&String>> = epochs.iter().map(|e| e.iter().collect()).collect();
        assert!(sets.iter().all(|set| set.len() == 14 && *set == sets[0]));
        assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2]);
        let again = take(&mut Shards::open(dir.path(), options(), 2, 7).unwrap(), 14);
        assert_eq!(again, epochs[0]);
        let other = take(&mut Shards::open(dir.path(), options(), 2, 8).unwrap(), 14);
        assert_ne!(other, epochs[0]);
        // Shards that are read together are mixed.
        let whole = take(&mut Shards::open(dir.path(), options(), 5, 7).unwrap(), 14);
        let changes = whole.windows(2).filter(|w| w[0][..1] != w[1][..1]).count();
        assert!(changes > 4, "{whole:?}");
    }

    #[test]
    fn a_stream_goes_on_exactly_where_it_stopped() {
        let dir = archives(&[3, 0, 5, 2, 4]);
        let mut shards = Shards::open(dir.path(), options(), 2, 7).unwrap();
        let mut positions = Vec::new();
        let mut names = Vec::new();
        for _ in 0..40 {
            positions.push(serde_json::to_string(shards.position()).unwrap());
            names.push(shards.draw().unwrap().name);
        }
        for (i, position) in positions.iter().enumerate() {
            let at: Position = serde_json::from_str(position).unwrap();
            let mut resumed = Shards::open(dir.path(), options(), 2, 7).unwrap();
            resumed.resume(&at).unwrap();
            assert_eq!(take(&mut resumed, 40 - i), names[i..], "{position}");
        }
    }

    #[test]
    fn what_cannot_be_streamed_is_refused() {
        let refused = |error: Error, word: &str| {
            let said = error.to_string();
            assert!(said.contains(word), "{said}");
        };
        let dir = archives(&[2, 2]);
        let open = |options, together| Shards::open(dir.path(), options, together, 0);
        refused(open(LoadOptions::default(), 1).err().unwrap(), "image_size");
        refused(open(options(), 0).err().unwrap(), "together");
        let at = open(options(), 1).unwrap().position().clone();
        refused(
            open(options(), 2).unwrap().resume(&at).unwrap_err(),
            "not those",
        );
        let empty = archives(&[0, 0]);
        let mut shards = Shards::open(empty.path(), options(), 1, 0).unwrap();
        refused(shards.draw().unwrap_err(), "no picture in 2 shards");
        let none = tempfile::tempdir().unwrap();
        let found = Shards::open(none.path(), options(), 1, 0);
        refused(found.err().unwrap(), "no .tar and no .parquet");
    }
}
