//! Salt, keys and commitments.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use blake3::{Hash, Hasher};
use dualmd_files::{Error, shown};
use rand::TryRngCore as _;
use rand::rngs::OsRng;

use dualmd_audit::{AuditError, Result};

/// What a commitment is computed over begins with this, so that it is no hash of anything else.
const COMMITMENT: &[u8] = b"dualmd evidence, commitment\0";
/// In front of a text that was taken out and sealed.
const SEALED: &str = "sealed:";
/// Most bytes of a file that holds a salt.
const SALT_BYTES: u64 = 1 << 10;

/// What is sealed. Two kinds of one text have different commitments.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Image,
    Group,
    Text,
}

/// The secret that all commitments of a folder are made with: 32 random bytes. Whoever has it can tell of every image that they
/// hold whether it is in the folder.
#[derive(Clone, PartialEq, Eq)]
pub struct Salt([u8; 32]);

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(secret)")
    }
}

impl Salt {
    /// A new one, from the operating system's random numbers.
    ///
    /// # Errors
    /// The operating system has none.
    pub fn new() -> Result<Self> {
        let mut bytes = [0; 32];
        OsRng
            .try_fill_bytes(&mut bytes)
            .map_err(|e| AuditError::Salt {
                problem: format!("the operating system gives no random numbers ({e})"),
                remedy: "give a file with 32 random bytes in hexadecimal digits",
            })?;
        Ok(Self(bytes))
    }

    /// Reads one: 64 hexadecimal digits.
    ///
    /// # Errors
    /// The file cannot be read or holds anything else.
    pub fn read(path: &Path) -> Result<Self> {
        let text = dualmd_files::read_text(path, SALT_BYTES).map_err(|e| {
            AuditError::read(
                e,
                "give the file of the salt, which was written beside the evidence folder",
            )
        })?;
        let hash = Hash::from_hex(text.trim()).map_err(|e| AuditError::Salt {
            problem: format!("{} holds no salt ({e})", shown(path)),
            remedy: "give the file of the salt, 64 hexadecimal digits, which was written beside the evidence folder",
        })?;
        Ok(Self(*hash.as_bytes()))
    }

    /// Writes it into a new file that only its owner may read.
    ///
    /// # Errors
    /// The file cannot be written; there is one of that name, which may be the only salt of another folder.
    pub fn save(&self, path: &Path) -> Result<()> {
        if path.symlink_metadata().is_ok() {
            return Err(AuditError::Salt {
                problem: format!("{} is there already", shown(path)),
                remedy: "move it away, or use the salt in it: without its salt no image of a folder can be opened",
            });
        }
        let line = Hash::from_bytes(self.0).to_hex().to_string() + "\n";
        dualmd_files::write_private(path, line.as_bytes()).map_err(AuditError::Write)
    }

    /// BLAKE3 of the salt: by it a salt is known to be the one of a folder.
    #[must_use]
    pub fn mark(&self) -> String {
        blake3::hash(&self.0).to_hex().to_string()
    }

    /// The key that opens one image and says nothing of any other.
    #[must_use]
    pub fn key(&self, id: &str) -> Key {
        self.derive(Kind::Image, id)
    }

    /// The commitment to an image; nothing where there is no id.
    pub(super) fn image(&self, id: &str) -> String {
        self.seal(Kind::Image, id)
    }

    /// The commitment to a group's name.
    pub(super) fn group(&self, name: &str) -> String {
        self.seal(Kind::Group, name)
    }

    /// What stands for a text that is taken out. The same text has the same, so that hashes can still be compared.
    pub(super) fn text(&self, text: &str) -> String {
        match self.seal(Kind::Text, text) {
            nothing if nothing.is_empty() => nothing,
            commitment => format!("{SEALED}{commitment}"),
        }
    }

    fn seal(&self, kind: Kind, text: &str) -> String {
        match text {
            "" => String::new(),
            text => self.derive(kind, text).commitment(text),
        }
    }

    fn derive(&self, kind: Kind, text: &str) -> Key {
        let kind: &[u8] = match kind {
            Kind::Image => b"image\0",
            Kind::Group => b"group\0",
            Kind::Text => b"text\0",
        };
        let mut hasher = Hasher::new_keyed(&self.0);
        hasher.update(kind).update(text.as_bytes());
        Key(hasher.finalize())
    }
}

/// What opens the commitment to one image, in 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(Hash);

impl Key {
    /// The commitment to an image of which this is the key.
    #[must_use]
    pub fn commitment(&self, id: &str) -> String {
        let mut hasher = Hasher::new();
        hasher
            .update(COMMITMENT)
            .update(self.0.as_bytes())
            .update(id.as_bytes());
        hasher.finalize().to_hex().to_string()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

impl FromStr for Key {
    type Err = AuditError;

    fn from_str(text: &str) -> Result<Self> {
        let hash = Hash::from_hex(text.trim()).map_err(|e| AuditError::Salt {
            problem: format!("this is no key of an image ({e})"),
            remedy: "give its 64 hexadecimal digits, which `dualmd verify` prints to whoever has the salt",
        })?;
        Ok(Self(hash))
    }
}

/// A failure of the file system while the folder is looked through.
pub(super) fn failed(doing: &'static str, path: &Path, source: std::io::Error) -> AuditError {
    let cause = Error::Io {
        doing,
        path: path.into(),
        source,
    };
    AuditError::read(cause, "give an evidence folder that may be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commitments_follow_from_salt_kind_and_text_alone() {
        let (one, other) = (Salt([1; 32]), Salt([2; 32]));
        let id = "aa11";
        assert_eq!(one.image(id), one.key(id).commitment(id));
        assert_eq!(one.image(id).len(), 64);
        let all = [
            one.image(id),
            one.group(id),
            one.image("aa12"),
            other.image(id),
            one.key("aa12").commitment(id),
            one.text(id)[SEALED.len()..].to_owned(),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all.iter().skip(i + 1).all(|b| a != b), "{all:?}");
        }
        assert_eq!(
            (one.image(""), one.text("")),
            (String::new(), String::new())
        );
        // By hand: the key is BLAKE3 in keyed mode over kind and id, the commitment BLAKE3 over domain, key and id.
        let key = blake3::keyed_hash(&[1; 32], b"image\0aa11");
        let by_hand = [
            &b"dualmd evidence, commitment\0"[..],
            key.as_bytes(),
            b"aa11",
        ]
        .concat();
        assert_eq!(one.image(id), blake3::hash(&by_hand).to_hex().to_string());
    }

    #[test]
    fn a_salt_is_read_as_it_was_saved_and_never_written_over() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("x.salt");
        let salt = Salt::new().expect("random");
        assert_ne!(salt, Salt::new().expect("random"));
        salt.save(&path).expect("save");
        assert_eq!(Salt::read(&path).expect("read"), salt);
        let again = salt.save(&path).expect_err("there already").to_string();
        assert!(again.contains("x.salt is there already"), "{again}");
        assert!(!format!("{salt:?}").contains(&std::fs::read_to_string(&path).expect("text")[..8]));
        std::fs::write(&path, "not a salt").expect("write");
        let error = Salt::read(&path).expect_err("no salt").to_string();
        assert!(error.contains("x.salt holds no salt"), "{error}");
        let key: Key = salt.key("a").to_string().parse().expect("a key");
        assert_eq!(key, salt.key("a"));
        assert!("zz".parse::<Key>().is_err());
    }
}
