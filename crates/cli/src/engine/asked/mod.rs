//! What was typed, as the library takes it: the options of the commands that compute.

mod audit;
#[cfg(feature = "caption")]
mod caption;
mod extract;
mod memorisation;
mod sample;
#[cfg(test)]
mod tests;
mod tune;
mod work;

pub use work::work;

use dualmd_front::args::Global;
use std::path::{Path, PathBuf};

/// Arguments of a command.
pub trait Asked {
    /// What the library takes.
    type Options;

    /// With the common flags.
    fn options(&self, global: &Global) -> Self::Options;
}

/// One folder, or two that alternate.
fn models(first: &Path, second: Option<&PathBuf>) -> Vec<PathBuf> {
    std::iter::once(first.to_path_buf())
        .chain(second.cloned())
        .collect()
}
