//! What the baseline is given.

use dualmd_data::Picture;
use serde::{Deserialize, Serialize};

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

/// What the original file of a picture was like, before decoding and resizing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    /// Size of the encoded picture in bytes.
    pub bytes: u64,
    /// Format, e.g. `png`; compared without regard to case.
    pub format: String,
    /// Width in pixels as stored.
    pub width: u32,
    /// Height in pixels as stored.
    pub height: u32,
}
