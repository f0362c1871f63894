//! One process at a time in a folder; or several that share it, and nobody alone.

use crate::{Error, Result, parent};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// File in a folder that its lock is on.
const FILE: &str = ".lock";

/// A folder, or a file, that this process alone works on, until this is dropped or the process ends, however it ends.
/// Processes that it starts do not inherit the lock. Dropped, it takes its file along; that of a killed process stays, and
/// holds nobody up.
///
/// Processes that do parts of one work share it ([`share`](Self::share)): while one of them has it, nobody gets it alone. They leave its
/// file where it is, until somebody has had it alone.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    path: PathBuf,
    certain: bool,
    shared: bool,
}

impl Lock {
    /// Takes the lock of a folder, which must be there. `command` is what another process is told of this one.
    ///
    /// # Errors
    /// Another process holds it ([`Error::Locked`]); the folder cannot be written to.
    pub fn take(folder: &Path, command: &str) -> Result<Self> {
        Self::at(folder.join(FILE), folder, command, false)
    }

    /// Takes the lock of a folder, which must be there, together with all others that share it.
    ///
    /// # Errors
    /// Another process has it alone ([`Error::Locked`]); the folder cannot be written to.
    pub fn share(folder: &Path, command: &str) -> Result<Self> {
        Self::at(folder.join(FILE), folder, command, true)
    }

    /// Takes the lock of one file, in a folder where other processes may write others. The file need not be there.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn of_file(path: &Path, command: &str) -> Result<Self> {
        Self::at(beside(path), path, command, false)
    }

    /// Takes the lock of one file together with all others that share it.
    ///
    /// # Errors
    /// As [`share`](Self::share).
    pub fn share_file(path: &Path, command: &str) -> Result<Self> {
        Self::at(beside(path), path, command, true)
    }

    /// Who works in a folder alone or shares it, as they wrote it; `None` where nobody does, or where that cannot be seen. Nothing is
    /// written, and nothing is kept from anybody for longer than the look takes.
    pub fn holder(folder: &Path) -> Option<String> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(folder.join(FILE))
            .ok()?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Some(who(&file)),
            Ok(()) | Err(TryLockError::Error(_)) => None,
        }
    }

    /// The lock on the file `path`, for what is `held` by it.
    fn at(path: PathBuf, held: &Path, command: &str, shared: bool) -> Result<Self> {
        loop {
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
            let taken = match shared {
                true => file.try_lock_shared(),
                false => file.try_lock(),
            };
            let certain = match taken {
                // Its last holder took it away after this process had opened it: another one may have made it anew.
                Ok(()) if !is_at(&file, &path) => continue,
                Ok(()) => true,
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::Locked {
                        path: held.to_path_buf(),
                        who: who(&file),
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
            let own = format!("process {} ({command})", std::process::id());
            let who = match shared {
                true => {
                    format!("processes that do parts of one work; the last that began is {own}")
                }
                false => own,
            };
            // On a full disk the lock is held all the same; it only does not say by whom.
            let _ = file
                .set_len(0)
                .and_then(|()| file.rewind())
                .and_then(|()| file.write_all(who.as_bytes()));
            return Ok(Self {
                _file: file,
                path,
                certain,
                shared,
            });
        }
    }

    /// False where the file system has no locks: then two processes can meet, and the user should be told.
    pub fn is_certain(&self) -> bool {
        self.certain
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked: whoever has opened it finds out that it is no longer there. One of several cannot know that it is the last.
        if self.certain && !self.shared {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// What the holder of a lock wrote into its file.
fn who(file: &File) -> String {
    let mut who = String::new();
    // It may be just about to write it.
    let _ = file.take(500).read_to_string(&mut who);
    match who.trim() {
        "" => "another process".to_owned(),
        who => crate::shown(who).to_string(),
    }
}

/// The file that the lock of a file is on.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    parent(path).join(format!(".{name}{FILE}"))
}

/// Is this open file the one of that name?
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), std::fs::symlink_metadata(path)) else {
        return false;
    };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
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
        let seen = Lock::holder(dir.path()).unwrap_or_default();
        assert!(expected.ends_with(&seen) && !seen.is_empty(), "{seen}");
        drop(first);
        assert_eq!(Lock::holder(dir.path()), None);
        assert!(!dir.path().join(FILE).exists());
        drop(Lock::take(dir.path(), "dualmd audit").unwrap());
        std::os::unix::fs::symlink("/dev/null", dir.path().join(FILE)).unwrap();
        assert!(Lock::take(dir.path(), "x").is_err());
        assert!(
            Lock::take(&dir.path().join("none"), "x")
                .unwrap_err()
                .is_absent()
        );
    }

    #[test]
    fn files_of_one_folder_have_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let first = Lock::of_file(&path("a.csv"), "dualmd attack").unwrap();
        let other = Lock::of_file(&path("b.csv"), "dualmd attack").unwrap();
        let error = Lock::of_file(&path("a.csv"), "dualmd attack").unwrap_err();
        let said = error.to_string();
        assert!(said.contains("a.csv is in use by process"), "{said}");
        drop((first, other));
        assert!(crate::list(dir.path()).unwrap().is_empty());
        // What a killed process left holds nobody up.
        std::fs::write(path(".a.csv.lock"), b"process 1 (killed)").unwrap();
        drop(Lock::of_file(&path("a.csv"), "dualmd attack").unwrap());
    }

    #[test]
    fn several_share_it_and_nobody_has_it_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (
            Lock::share(dir.path(), "dualmd attack --part 1/2").unwrap(),
            Lock::share(dir.path(), "dualmd attack --part 2/2").unwrap(),
        );
        let refused = || {
            Lock::take(dir.path(), "dualmd attack")
                .unwrap_err()
                .to_string()
        };
        let said = refused();
        assert!(
            said.contains("parts of one work; the last that began is process")
                && said.contains("(dualmd attack --part 2/2)"),
            "{said}"
        );
        drop(first);
        assert_eq!(refused(), said);
        drop(second);
        assert!(dir.path().join(FILE).exists());
        let alone = Lock::take(dir.path(), "dualmd attack").unwrap();
        let error = Lock::share(dir.path(), "dualmd attack --part 1/2").unwrap_err();
        assert!(error.to_string().contains("(dualmd attack)"), "{error}");
        drop(alone);
        assert!(!dir.path().join(FILE).exists());
        let path = dir.path().join("a.csv");
        drop((
            Lock::share_file(&path, "x").unwrap(),
            Lock::share_file(&path, "y").unwrap(),
        ));
        drop(Lock::of_file(&path, "z").unwrap());
        assert!(crate::list(dir.path()).unwrap().is_empty());
    }

    /// Many threads take and drop one lock: it is never held twice.
    #[test]
    fn never_two_at_a_time() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let dir = tempfile::tempdir().unwrap();
        let (inside, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut own = 0;
                    while own < 100 {
                        let Ok(lock) = Lock::take(dir.path(), "x") else {
                            continue;
                        };
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        own += 1;
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                    taken.fetch_add(own, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(taken.into_inner(), 400);
    }
}
