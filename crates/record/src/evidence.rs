//! Files of an evidence folder that a run folder does not have: `manifest.json` and `halves.json`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Keys, RunFile};

/// `manifest.json`: the files of an evidence folder, each with its hash, and one hash over all.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// Version of the program that made the folder.
    pub program: String,
    /// BLAKE3 of the 32 bytes of the salt, in 64 hexadecimal digits: by it a salt that is shown later is known to be the one.
    pub salt_blake3: String,
    /// BLAKE3 over program, salt and the lines of all files, in 64 hexadecimal digits. It stands for the whole folder.
    pub root: String,
    /// The files in ascending order of their paths, all but this one.
    pub files: Vec<Listed>,
}

impl RunFile for Manifest {
    const LIMIT: u64 = dualmd_files::limit::SETTINGS;
    const KEYS: Keys = Keys::AsListed;
}

/// A file of an evidence folder.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listed {
    /// Path below the folder, with `/` between its parts.
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
    /// BLAKE3 of the bytes, in 64 hexadecimal digits.
    pub blake3: String,
    /// Rows below the header, of a score file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

/// `halves.json`: which samples chose and which reported. In a run these halves follow from the images' ids, which an evidence
/// folder does not have.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Halves {
    /// One entry per division.
    pub divisions: Vec<Division>,
}

impl RunFile for Halves {
    const KEYS: Keys = Keys::AsListed;
}

/// One division of the samples of one model.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Division {
    /// Name of the model.
    pub model: String,
    /// What it is for.
    pub purpose: Purpose,
    /// The attack whose samples they are, where the purpose is of one attack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attack: Option<String>,
    /// One letter per sample: `c` calibration half, `r` report half, `-` neither. Members first, in the order of the score
    /// file, then non-members; of coin flips all samples in the order of the score file.
    pub halves: String,
}

/// What samples are divided for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Choosing the best of several attacks.
    #[default]
    Choice,
    /// Setting the threshold of one attack's bound on epsilon.
    Epsilon,
    /// Choosing attack and guesses of the audit by coin flips.
    OneRun,
}
