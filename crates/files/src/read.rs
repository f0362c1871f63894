//! Reading what comes from outside.

use crate::{Error, Result};
use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How much is read of a file, by what it is. Generous: several times what such a file has in practice.
pub mod limit {
    /// A small JSON or TOML file: configurations, experiments, descriptions. 64 MiB.
    pub const SETTINGS: u64 = 64 << 20;
    /// Tables of text: scores, splits, metadata, captions, tokenizers. 4 GiB.
    pub const TABLE: u64 = 4 << 30;
    /// One encoded picture. 256 MiB.
    pub const PICTURE: u64 = 256 << 20;
    /// An array or a file of weights that is read whole. 256 GiB, so that only what cannot be memory is refused.
    pub const WEIGHTS: u64 = 256 << 30;
}

/// Most entries of a folder that are listed.
const ENTRIES: usize = 20_000_000;

/// Opens a regular file for reading; links to one are followed. A FIFO does not block, a device is not touched.
///
/// # Errors
/// The file is absent, may not be read, or is not a regular file.
pub fn open(path: &Path) -> Result<File> {
    let fail = |e| Error::io("read", path, e);
    // Without O_NONBLOCK a FIFO without a writer would keep open(2) waiting for ever. On regular files it has no effect.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        // A socket, or a device without a driver.
        Err(e) if e.raw_os_error() == Some(libc::ENXIO) => {
            return Err(not_a_file(
                path,
                std::fs::metadata(path).map_err(fail)?.file_type(),
            ));
        }
        Err(e) => return Err(fail(e)),
    };
    let kind = file.metadata().map_err(fail)?.file_type();
    if kind.is_file() {
        Ok(file)
    } else {
        Err(not_a_file(path, kind))
    }
}

pub(crate) fn not_a_file(path: &Path, kind: FileType) -> Error {
    let what = if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a pipe (FIFO)"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Error::NotAFile {
        path: path.to_path_buf(),
        what,
    }
}

/// All bytes of a regular file, at most `limit` of them (see [`limit`]). What counts is what is read, not what the file's
/// entry says.
///
/// # Errors
/// As [`open`]; the file has more than `limit` bytes.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = open(path)?;
    let length = file.metadata().map_or(0, |m| m.len());
    let mut bytes = Vec::new();
    // Room for what is there, but not on the word of an entry alone.
    bytes
        .try_reserve(usize::try_from(length.min(limit).min(1 << 30)).unwrap_or(0))
        .map_err(|e| Error::io("read", path, io::Error::new(io::ErrorKind::OutOfMemory, e)))?;
    let read = file
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|e| Error::io("read", path, e))?;
    if read as u64 > limit {
        return Err(Error::TooLarge {
            path: path.to_path_buf(),
            limit,
        });
    }
    Ok(bytes)
}

/// As [`read`], as UTF-8 text. A byte order mark in front, which Windows editors leave, is dropped.
///
/// # Errors
/// As [`read`]; the file is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> Result<String> {
    let mut text = String::from_utf8(read(path, limit)?).map_err(|e| Error::NotText {
        path: path.to_path_buf(),
        at: e.utf8_error().valid_up_to(),
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

/// The entries of a folder, sorted by name.
///
/// # Errors
/// The folder or an entry cannot be read; there are more entries than can be meant.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let fail = |e| Error::io("read", folder, e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        if found.len() == ENTRIES {
            return Err(Error::TooMany {
                path: folder.to_path_buf(),
                limit: ENTRIES,
            });
        }
        found.push(entry.map_err(fail)?.path());
    }
    found.sort();
    Ok(found)
}

/// A reader that fails, rather than ends, where its budget does: what [`limited`] gives.
#[derive(Debug)]
pub struct Limited<R> {
    inner: R,
    left: u64,
    budget: u64,
}

/// Gives at most `budget` bytes of `inner`, which may unpack to any number; one more is an error of kind `FileTooLarge`.
pub fn limited<R: Read>(inner: R, budget: u64) -> Limited<R> {
    Limited {
        inner,
        left: budget,
        budget,
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            let mut one = [0];
            return match self.inner.read(&mut one)? {
                0 => Ok(0),
                _ => Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    format!("unpacks to more than {} bytes", self.budget),
                )),
            };
        }
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(out.len());
        let read = self.inner.read(&mut out[..most])?;
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_more_than_was_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, b"\xef\xbb\xbfabc").unwrap();
        assert_eq!(read(&path, 6).unwrap(), b"\xef\xbb\xbfabc");
        assert_eq!(read_text(&path, 6).unwrap(), "abc");
        let error = read(&path, 5).unwrap_err();
        assert!(matches!(error, Error::TooLarge { limit: 5, .. }), "{error}");
        std::fs::write(&path, b"ab\xff").unwrap();
        assert!(matches!(
            read_text(&path, 9),
            Err(Error::NotText { at: 2, .. })
        ));
        assert!(read(&dir.path().join("none"), 9).unwrap_err().is_absent());
    }

    #[test]
    fn regular_files_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("file"), b"x").unwrap();
        symlink(path("file"), path("link")).unwrap();
        symlink("/dev/zero", path("zero")).unwrap();
        assert_eq!(read(&path("link"), 1).unwrap(), b"x");
        let made = std::process::Command::new("mkfifo")
            .arg(path("fifo"))
            .status();
        assert!(made.unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        for (name, what) in [
            ("zero", "a device"),
            ("fifo", "a pipe (FIFO)"),
            ("socket", "a socket"),
            ("", "a folder"),
        ] {
            let error = open(&path(name)).unwrap_err().to_string();
            assert!(error.contains(what), "{name}: {error}");
        }
    }

    #[test]
    fn a_budget_ends_in_an_error() {
        let all = |budget| {
            let mut out = Vec::new();
            limited(&b"abcdef"[..], budget)
                .read_to_end(&mut out)
                .map(|_| out)
        };
        assert_eq!(all(6).unwrap(), b"abcdef");
        assert_eq!(all(5).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        let path = Path::new("some.json");
        let said = Error::of_reading(path, 5, all(5).unwrap_err());
        assert!(matches!(said, Error::TooLarge { limit: 5, .. }), "{said}");
        let said = Error::of_reading(path, 5, io::ErrorKind::InvalidData.into());
        assert!(said.to_string().contains("cannot read some.json"), "{said}");
        // A source without end costs the budget and no more.
        let endless = limited(io::repeat(0), 1000).read_to_end(&mut Vec::new());
        assert!(
            endless
                .unwrap_err()
                .to_string()
                .contains("more than 1000 bytes")
        );
    }

    #[test]
    fn entries_come_sorted() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b", "a", "c"] {
            std::fs::write(dir.path().join(name), b"").unwrap();
        }
        let names: Vec<_> = list(dir.path()).unwrap();
        assert_eq!(names, ["a", "b", "c"].map(|n| dir.path().join(n)));
        assert!(list(&dir.path().join("a")).is_err());
    }
}
