//! `prepared/images.json`: the pictures of a run as its trainings take them, decoded and resized once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::RunFile;

/// The pictures that trainings of a run need: members, non-members, and those that nobody else sees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Prepared {
    /// Where they came from, as the user wrote it.
    pub source: String,
    /// Licence, where the source says so.
    pub licence: Option<String>,
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// Name of the file beside this one that holds the pixels: 8 bits each, picture by picture, row by row, channels last. It is
    /// their BLAKE3.
    pub pixels: String,
    /// The pictures, in the source's order.
    pub records: Vec<PreparedRecord>,
    /// Places in that list of the pictures that are neither members nor non-members nor near-duplicates of any, in the order in
    /// which trainings take them.
    pub outside: Vec<usize>,
}

impl RunFile for Prepared {}

/// A picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PreparedRecord {
    /// Content id of the picture as decoded, before resizing.
    pub id: String,
    /// File name, or row.
    pub name: String,
    /// Captions, the main one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub captions: Vec<String>,
    /// What belongs together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Class label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}
