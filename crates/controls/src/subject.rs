//! What the baseline is given.

use dualmd_data::{FileFacts, Picture};

/// A picture as the model would get it, with what is known of where it came from.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// The picture after loading, of the same size and channels as all others.
    pub picture: &'a Picture,
    /// What belongs together (near duplicates, an artist, a patient); never straddles folds.
    pub group: Option<&'a str>,
    /// The original file, where known.
    pub file: Option<FileFacts>,
}
