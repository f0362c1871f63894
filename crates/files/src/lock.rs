//! One process at a time in a folder.

use crate::{Error, Result};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// File in a folder that its lock is on.
const FILE: &str = ".lock";

/// A folder that this process alone works in, until this is dropped or the process ends, however it ends. Processes that it
/// starts do not inherit the lock.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    certain: bool,
}

impl Lock {
    /// Takes the lock of a folder, which must be there. `command` is what another process is told of this one.
    ///
    /// # Errors
    /// Another process holds it ([`Error::Locked`]); the folder cannot be written to.
    pub fn take(folder: &Path, command: &str) -> Result<Self> {
        let path = folder.join(FILE);
        let fail = |e| Error::io("write", &path, e);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            // A link that somebody laid there is not followed.
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .mode(0o600)
            .open(&path)
            .map_err(fail)?;
        let certain = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => {
                let mut who = String::new();
                // Its holder may be just about to write it.
                let _ = (&file).take(500).read_to_string(&mut who);
                return Err(Error::Locked {
                    path: folder.to_path_buf(),
                    who: match who.trim() {
                        "" => "another process".to_owned(),
                        who => crate::shown(who).to_string(),
                    },
                });
            }
            Err(TryLockError::Error(e))
                if matches!(
                    e.raw_os_error(),
                    Some(libc::ENOLCK | libc::ENOSYS | libc::EOPNOTSUPP)
                ) =>
            {
                false
            }
            Err(TryLockError::Error(e)) => return Err(fail(e)),
        };
        let who = format!("process {} ({command})", std::process::id());
        file.set_len(0).map_err(fail)?;
        file.rewind().map_err(fail)?;
        file.write_all(who.as_bytes()).map_err(fail)?;
        Ok(Self {
            _file: file,
            certain,
        })
    }

    /// False where the file system has no locks: then two processes can meet, and the user should be told.
    pub fn is_certain(&self) -> bool {
        self.certain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path(), "dualmd run").unwrap();
        assert!(first.is_certain());
        let error = Lock::take(dir.path(), "dualmd audit").unwrap_err();
        let expected = format!("in use by process {} (dualmd run)", std::process::id());
        assert!(error.to_string().contains(&expected), "{error}");
        drop(first);
        Lock::take(dir.path(), "dualmd audit").unwrap();
        std::fs::remove_file(dir.path().join(FILE)).unwrap();
        std::os::unix::fs::symlink("/dev/null", dir.path().join(FILE)).unwrap();
        assert!(Lock::take(dir.path(), "x").is_err());
        assert!(
            Lock::take(&dir.path().join("none"), "x")
                .unwrap_err()
                .is_absent()
        );
    }
}
