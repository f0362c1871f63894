//! The evidence folder of a run, and where one image stands in it. What is in it and what it shows: `docs/evidence.md`.

use anyhow::{Context, Result};
use dualmd_data::{LoadOptions, decode};
use dualmd_evidence::{Key, Opened, Salt, Side, opens, opens_with};
use dualmd_files::{limit, shown};
use std::path::Path;

pub use dualmd_evidence::{Bundle, Difference, Verified, export, verify};

/// With what an image is looked for.
#[derive(Debug, Clone)]
pub enum Opener {
    /// The salt, which opens every image.
    Salt(Salt),
    /// The key to this image.
    Key(Key),
}

impl Opener {
    /// The key itself, in hexadecimal digits, or else the file of the salt.
    ///
    /// # Errors
    /// Neither a key nor a file that holds a salt.
    pub fn read(text: &str) -> Result<Self> {
        match text.parse() {
            Ok(key) => Ok(Self::Key(key)),
            Err(_) => Salt::read(Path::new(text))
                .map(Self::Salt)
                .context("neither the key to an image nor the file of a salt"),
        }
    }
}

/// An image as it is known in a folder: the content id of a picture's file, or the text itself where there is no such file.
/// Transparency is laid over white, as `dualmd audit` does unless told otherwise.
///
/// # Errors
/// A file that is no picture.
pub fn id_of(image: &str) -> Result<String> {
    let path = Path::new(image);
    if !path.is_file() {
        return Ok(image.to_owned());
    }
    let bytes = dualmd_files::read(path, limit::PICTURE)?;
    let picture = decode::decode(&bytes, &shown(path).to_string(), &LoadOptions::default())?;
    Ok(picture.id().as_str().to_owned())
}

/// Where an image stands in an evidence folder, in words: a line for what it is, one for each score, and one for the key that opens it
/// for others. `image` as in [`id_of`].
///
/// # Errors
/// As [`id_of`], [`opens`] and [`opens_with`].
pub fn open(folder: &Path, image: &str, with: &Opener) -> Result<Vec<String>> {
    let id = id_of(image)?;
    let (opened, key) = match with {
        Opener::Key(key) => (opens_with(folder, key, &id)?, key.clone()),
        Opener::Salt(salt) => (opens(folder, salt, &id)?, salt.key(&id)),
    };
    let mut out = vec![side(&opened, with)];
    out.extend(opened.rows.iter().map(|row| {
        let side = if row.member { "member" } else { "non-member" };
        let (file, attack) = (shown(&row.file), shown(&row.attack));
        format!("{file}, row {}: {side}, {attack} {}", row.row, row.score)
    }));
    out.push(format!("key: {key} (opens this image and no other)"));
    Ok(out)
}

fn side(opened: &Opened, with: &Opener) -> String {
    match (opened.split, opened.is_absent(), with) {
        (Some(Side::Member(Some(half))), ..) => format!("a member, of half {half}"),
        (Some(Side::Member(None)), ..) => "a member".into(),
        (Some(Side::NonMember), ..) => "a non-member".into(),
        (None, false, _) => "in the scores, and not in the split".into(),
        (None, true, Opener::Salt(_)) => "not among the images of this folder".into(),
        (None, true, Opener::Key(_)) => {
            "not found, which says nothing: the key may be that of another image".into()
        }
    }
}
