//! The one door for files. Whatever comes from outside is opened here: a regular file and nothing else, no more bytes than
//! the caller said, its name harmless on a terminal. Whatever is written goes out here: whole or not at all, under a hidden
//! name that cannot be guessed, synced with its folder, with the user's umask. And a folder that is worked in is locked here, or work in it claimed.

#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod claim;
mod folder;
mod lock;
mod name;
mod panics;
mod read;
mod write;

pub use claim::{Claim, remove_claim};
pub use folder::{
    Building, check_folder, create_folder, create_private_folder, free_bytes, remove_folder, sweep,
};
pub use lock::Lock;
pub use name::{Shown, grouped, shown};
pub use panics::quietly;
pub use read::{Limited, limit, limited, list, open, read, read_text};
pub use write::{check_target, scratch, write, write_private, write_with};

use std::path::{Path, PathBuf};

/// What a hidden file or folder that is not complete begins with; [`sweep`] removes what a killed process left of them.
pub const HIDDEN: &str = ".partial-";

/// Why a file or folder could not be used. Each message is one line, with the name escaped, and says what to do where that
/// is not plain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {doing} {}: {source}", shown(path))]
    Io {
        /// `read`, `write`, `make the folder`, ...
        doing: &'static str,
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not a regular file: a device, a FIFO, a socket or a folder.
    #[error("{}: this is {what}, not a regular file; name a file", shown(path))]
    NotAFile {
        /// Which one.
        path: PathBuf,
        /// What it is, with its article.
        what: &'static str,
    },
    /// Something else stands where a folder is wanted, or above it.
    #[error(
        "cannot write to the folder {}: {} is no folder",
        shown(path),
        shown(there)
    )]
    NotAFolder {
        /// The folder that is wanted.
        path: PathBuf,
        /// What stands in its way.
        there: PathBuf,
    },
    /// More bytes than such a file may have.
    #[error(
        "{}: more than {limit} bytes, which is more than such a file may have here; is it the right file?",
        shown(path)
    )]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },
    /// A text file that is not UTF-8.
    #[error("{}: not UTF-8 text (byte {at}); is it the right file?", shown(path))]
    NotText {
        /// Which file.
        path: PathBuf,
        /// Bytes before the first that is wrong.
        at: usize,
    },
    /// A folder with more entries, or links, than can be meant.
    #[error("{}: more than {limit} entries; name a smaller folder", shown(path))]
    TooMany {
        /// Which folder.
        path: PathBuf,
        /// The most that are listed.
        limit: usize,
    },
    /// A file that its owner made read-only.
    #[error(
        "{}: this file is read-only, and is not replaced; choose another name or make it writable",
        shown(path)
    )]
    ReadOnly {
        /// Which file.
        path: PathBuf,
    },
    /// Another process works in the folder.
    #[error(
        "{} is in use by {who}: wait for it, stop it, or choose another folder",
        shown(path)
    )]
    Locked {
        /// The folder.
        path: PathBuf,
        /// Process id, command and start, as far as the other process wrote them.
        who: String,
    },
}

impl Error {
    fn io(doing: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            doing,
            path: path.to_path_buf(),
            source,
        }
    }

    /// What a reader gave that [`limited`] stands in: of a file that is read piece by piece.
    pub fn of_reading(path: &Path, limit: u64, source: std::io::Error) -> Self {
        match source.kind() {
            std::io::ErrorKind::FileTooLarge => Self::TooLarge {
                path: path.to_path_buf(),
                limit,
            },
            _ => Self::io("read", path, source),
        }
    }

    /// The operating system's kind of failure, for callers that treat an absent file as no failure.
    pub fn kind(&self) -> std::io::ErrorKind {
        match self {
            Self::Io { source, .. } => source.kind(),
            Self::NotText { .. } => std::io::ErrorKind::InvalidData,
            Self::TooLarge { .. } | Self::TooMany { .. } => std::io::ErrorKind::FileTooLarge,
            Self::ReadOnly { .. } => std::io::ErrorKind::PermissionDenied,
            Self::Locked { .. } => std::io::ErrorKind::ResourceBusy,
            Self::NotAFile { .. } => std::io::ErrorKind::InvalidInput,
            Self::NotAFolder { .. } => std::io::ErrorKind::NotADirectory,
        }
    }

    /// Whether nothing stands under that name.
    pub fn is_absent(&self) -> bool {
        self.kind() == std::io::ErrorKind::NotFound
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        Self::new(error.kind(), error)
    }
}

/// Results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// The folder that a file lies in; `.` of a bare name.
pub fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}
