//! The parts of a run. Each reads its inputs from the run's folder and writes its outputs into it, whole files only; a
//! part whose outputs are there is passed over.
//!
//! With what they work ([`session`]), how trainings are started ([`launcher`]), and what the machine is and holds ([`machine`], [`room`]), is
//! here, too. Whoever puts parts together is `dualmd`, which has all of this under its own name.

#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod attack;
pub mod batches;
pub mod beforehand;
pub mod blind;
pub mod brought;
pub mod captions;
pub mod copies;
pub mod draw;
pub mod engine;
pub mod errors;
pub mod features;
pub mod fit;
pub mod generator;
pub mod hashes;
pub mod in_process;
pub mod launcher;
pub mod lesson;
pub mod machine;
pub mod memorisation;
pub mod mitigation;
pub mod nearer;
pub mod pictures;
pub mod prepare;
pub mod prepared;
pub mod real;
pub mod room;
pub mod sample;
pub mod score;
pub mod session;
pub mod sets;
pub mod shadow;
pub mod similar;
pub mod text;
pub mod train;
pub mod train_images;
pub mod trainings;
pub mod utility;
pub mod vit;
pub mod watched;

use anyhow::{Context, Result, bail};
use dualmd_experiment::{bail_usage, choices, experiment, plan};
use dualmd_files::shown;
pub use dualmd_record::RunFolder;
use dualmd_runs::reporter;
pub use dualmd_runs::{claims, create_folder, held, remove};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// BLAKE3 over the contents of files, in this order.
pub fn hash_files(files: &[PathBuf]) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for path in files {
        let explain = || format!("cannot read {}", shown(path));
        let file = dualmd_files::open(path)?;
        // The length keeps the end of one file and the beginning of the next apart.
        let length = file.metadata().with_context(explain)?.len();
        hasher.update(&length.to_le_bytes());
        let before = hasher.count();
        // One byte more than the length tells a file that grows, or whose entry says less than it gives.
        let whole = file.take(length.saturating_add(1));
        hasher.update_reader(whole).with_context(explain)?;
        if hasher.count() - before != length {
            bail!(
                "{}: its length changed while it was read; start again when nobody writes to it",
                shown(path)
            );
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// The files right in a folder that `wanted` takes, by name.
pub fn files_in(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
    let mut files = dualmd_files::list(folder)?;
    files.retain(|path| path.is_file() && wanted(path));
    Ok(files)
}

/// Places of one image of each group and of every image without one, of members and of others; `None` where no group has two images of a
/// side. Tests that draw labels anew may look at these only: the images of a group were divided together.
pub fn alone(members: &[Option<String>], others: &[Option<String>]) -> Option<[Vec<usize>; 2]> {
    let first = |groups: &[Option<String>]| {
        let mut seen = std::collections::BTreeSet::new();
        let places = (0..groups.len()).filter(|&i| match &groups[i] {
            Some(group) => seen.insert(group.clone()),
            None => true,
        });
        places.collect::<Vec<_>>()
    };
    let sides = [first(members), first(others)];
    (sides[0].len() < members.len() || sides[1].len() < others.len()).then_some(sides)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_image_of_each_group_and_all_without() {
        let groups = |names: &[&str]| -> Vec<Option<String>> {
            let group = |n: &&str| (!n.is_empty()).then(|| (*n).to_owned());
            names.iter().map(group).collect()
        };
        let (own, others) = (groups(&["a", "", "a", "b", ""]), groups(&["c", "a"]));
        assert_eq!(alone(&own, &others), Some([vec![0, 1, 3, 4], vec![0, 1]]));
        // A class that both sides have counts on each.
        assert_eq!(alone(&groups(&["a", ""]), &groups(&["a"])), None);
    }
}
