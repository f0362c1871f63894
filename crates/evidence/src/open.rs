//! Where an image stands in an evidence folder.

use std::path::Path;

use dualmd_record::RunFolder;
use dualmd_record::split::SplitFile;

use crate::manifest;
use crate::seal::{Key, Salt};
use dualmd_audit::read_scores;
use dualmd_audit::{AuditError, Result};

/// Where an image stands in an evidence folder, and on which side.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    /// Its commitment, in 64 hexadecimal digits.
    pub commitment: String,
    /// What the split says of it; `None` where it is not in it, or there is no split.
    pub split: Option<Side>,
    /// Its scores.
    pub rows: Vec<OpenedRow>,
}

impl Opened {
    /// Is the image nowhere in the folder, under this key?
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.split.is_none() && self.rows.is_empty()
    }
}

/// What a split says of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// A member, of this half (1 or 2) where it has one.
    Member(Option<u8>),
    /// A non-member.
    NonMember,
}

/// One score of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenedRow {
    /// The score file, by its path below the folder.
    pub file: String,
    /// The row, from 1 below the header.
    pub row: u64,
    /// Name of the attack.
    pub attack: String,
    /// Is it a member there?
    pub member: bool,
    /// Higher = more likely a member.
    pub score: f64,
}

/// Looks for an image, by its content id, with the salt. That nothing is found says that the image is not in the folder under this salt.
///
/// # Errors
/// The folder cannot be read, see [`crate::verify()`]; the salt is that of another folder.
pub fn opens(folder: &Path, salt: &Salt, id: &str) -> Result<Opened> {
    manifest::files(folder)?;
    if manifest::read(folder)?.salt_blake3 != salt.mark() {
        return Err(AuditError::Salt {
            problem: "this is the salt of another folder: its hash is not the one in manifest.json"
                .into(),
            remedy: "give the salt that was written when this folder was",
        });
    }
    opens_with(folder, &salt.key(id), id)
}

/// Looks for an image with the key to it alone. What is found is proven; that nothing is found says nothing, since the key may be a
/// wrong one.
///
/// # Errors
/// The folder cannot be read, see [`crate::verify()`].
pub fn opens_with(folder: &Path, key: &Key, id: &str) -> Result<Opened> {
    // Refuses links, which would lead out of the folder.
    let there = manifest::files(folder)?;
    let manifest = manifest::read(folder)?;
    let commitment = key.commitment(id);
    let mut rows = Vec::new();
    let scored = manifest.files.iter().filter(|f| f.rows.is_some());
    for file in scored.filter(|f| there.contains_key(&f.path)) {
        let scores = read_scores(&folder.join(&file.path))?;
        for (place, row) in scores.rows.into_iter().enumerate() {
            if row.sample_id == commitment {
                rows.push(OpenedRow {
                    file: file.path.clone(),
                    row: place as u64 + 1,
                    attack: row.attack,
                    member: row.member,
                    score: row.score,
                });
            }
        }
    }
    let split = match there.contains_key("split.json") {
        true => side(folder, &commitment)?,
        false => None,
    };
    Ok(Opened {
        commitment,
        split,
        rows,
    })
}

fn side(folder: &Path, commitment: &str) -> Result<Option<Side>> {
    let path = RunFolder(folder.to_path_buf()).split();
    let split: SplitFile = dualmd_record::read(&path).map_err(|e| AuditError::Evidence {
        path,
        problem: e.to_string(),
        remedy: "ask for the folder again, and check it with `dualmd verify`",
    })?;
    let member = split.members.iter().find(|m| m.id == commitment);
    let other = split.nonmembers.iter().any(|m| m.id == commitment);
    Ok(match (member, other) {
        (Some(member), _) => Some(Side::Member(member.half)),
        (None, true) => Some(Side::NonMember),
        (None, false) => None,
    })
}
