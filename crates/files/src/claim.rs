//! A file that says that somebody works on something, on any file system that several machines see: no locks are needed, and no clock.
//!
//! Whoever makes the file has the claim, and shows that it lives by writing to the file it made: into what it holds open, and not under a
//! name, so that one who has slept through the loss of its claim writes into nobody else's. A claim that nobody renews is moved away by
//! whoever is sure of that, in one step, so that of several only one does it; and what was moved is looked at once more.

use crate::lock::is_at;
use crate::write::sync_folder;
use crate::{Error, HIDDEN, Result, limit, parent, read};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::NamedTempFile;

/// How long a name may be away while somebody looks at what it stands for.
const LOOK: Duration = Duration::from_millis(100);

/// A claim of this process. It stays when this is dropped, as after a crash: [`release`](Self::release) gives it up.
#[derive(Debug)]
pub struct Claim {
    file: File,
    path: PathBuf,
}

impl Claim {
    /// Makes the file, with these bytes. None if it is there: the claim is another's.
    ///
    /// # Errors
    /// The operating system's.
    pub fn take(path: &Path, bytes: &[u8]) -> Result<Option<Self>> {
        let fail = |e| Error::io("write", path, e);
        // Written and synced before it has its name: nobody reads half of it.
        let mut file = tempfile::Builder::new()
            .prefix(HIDDEN)
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(parent(path))
            .map_err(fail)?;
        file.write_all(bytes).map_err(fail)?;
        file.as_file().sync_all().map_err(fail)?;
        match file.persist_noclobber(path) {
            Ok(file) => {
                sync_folder(parent(path)).map_err(fail)?;
                Ok(Some(Self {
                    file,
                    path: path.to_path_buf(),
                }))
            }
            Err(e) if e.error.kind() == ErrorKind::AlreadyExists => Ok(Self::linked(e.file, path)),
            // It can neither rename without replacing, nor give a file a second name.
            Err(e)
                if matches!(
                    e.error.kind(),
                    ErrorKind::PermissionDenied | ErrorKind::Unsupported
                ) =>
            {
                Self::make(path, bytes)
            }
            Err(e) => Err(fail(e.error)),
        }
    }

    /// The claim that this file is, if it has got its name in spite of an answer that the name is taken: NFS gives that where it was asked twice.
    fn linked(file: NamedTempFile, path: &Path) -> Option<Self> {
        is_at(file.as_file(), path).then(|| Self {
            file: file.into_file(),
            path: path.to_path_buf(),
        })
    }

    /// As [`take`](Self::take), under the name from the beginning: for a moment somebody may read half of it, which is a claim of nobody that is
    /// known.
    fn make(path: &Path, bytes: &[u8]) -> Result<Option<Self>> {
        let fail = |e| Error::io("write", path, e);
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o666)
            .open(path);
        let mut file = match made {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(None),
            other => other.map_err(fail)?,
        };
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        if let Err(e) = written.and_then(|()| sync_folder(parent(path))) {
            // On a full disk it would keep others from the job until it is taken for dead.
            let _ = std::fs::remove_file(path);
            return Err(fail(e));
        }
        Ok(Some(Self {
            file,
            path: path.to_path_buf(),
        }))
    }

    /// Takes the place of a claim that was last seen with the bytes `seen`. None if it is another one by now, has been renewed or given up,
    /// or somebody was quicker.
    ///
    /// # Errors
    /// The operating system's.
    pub fn instead(path: &Path, seen: &[u8], bytes: &[u8]) -> Result<Option<Self>> {
        match remove_claim(path, seen)? {
            true => Self::take(path, bytes),
            false => Ok(None),
        }
    }

    /// Writes other bytes into the file, at least as many as it has. False if the claim is another's by now.
    ///
    /// # Errors
    /// The operating system's.
    pub fn renew(&self, bytes: &[u8]) -> Result<bool> {
        if !is_at(&self.file, &self.path) {
            std::thread::sleep(LOOK);
            if !is_at(&self.file, &self.path) {
                return Ok(false);
            }
        }
        let written = self.file.write_all_at(bytes, 0);
        match written.and_then(|()| self.file.sync_all()) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::StaleNetworkFileHandle => Ok(false),
            Err(e) => Err(Error::io("write", &self.path, e)),
        }
    }

    /// Gives the claim up: the file goes, unless it is another's by now.
    ///
    /// # Errors
    /// The operating system's.
    pub fn release(self) -> Result<()> {
        withdraw(&self.path, |path| is_at(&self.file, path)).map(drop)
    }
}

/// Removes a claim that was last seen with the bytes `seen`, whose owner is gone. False if it is another one by now, or has been renewed or
/// given up.
///
/// # Errors
/// The operating system's.
pub fn remove_claim(path: &Path, seen: &[u8]) -> Result<bool> {
    withdraw(path, |path| {
        read(path, limit::SETTINGS).is_ok_and(|bytes| bytes == seen)
    })
}

/// Removes what is at `path`, if `is_it` says so of it both before and after it was moved away. Of several that do so at once, one is told
/// true. What was moved and is another one by then is put back: its owner has not lost it.
fn withdraw(path: &Path, is_it: impl Fn(&Path) -> bool) -> Result<bool> {
    let fail = |e| Error::io("remove", path, e);
    if !is_it(path) {
        return Ok(false);
    }
    // An own folder to move it into, which goes at the end with what is in it.
    let away = tempfile::Builder::new()
        .prefix(HIDDEN)
        .tempdir_in(parent(path))
        .map_err(fail)?;
    let moved = away.path().join("claim");
    match std::fs::rename(path, &moved) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
        other => other.map_err(fail)?,
    }
    if is_it(&moved) {
        return Ok(true);
    }
    put_back(&moved, path).map_err(fail)?;
    Ok(false)
}

/// Gives a file its name again, unless another one has it by now: then whoever made that has the claim, and the owner of this one finds out.
fn put_back(moved: &Path, path: &Path) -> std::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    if renameat_with(CWD, moved, CWD, path, RenameFlags::NOREPLACE).is_ok() {
        return Ok(());
    }
    // Some network file systems cannot rename so; a second name for the same file replaces nothing either.
    match std::fs::hard_link(moved, path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        // Or cannot do that: whoever takes the claim in this moment finds out that it has none.
        Err(_) if std::fs::symlink_metadata(path).is_err() => std::fs::rename(moved, path),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    /// What `n` threads come to that begin at the same moment.
    fn race<T: Send>(n: usize, claim: impl Fn(usize) -> T + Sync) -> Vec<T> {
        let barrier = Barrier::new(n);
        std::thread::scope(|scope| {
            let (barrier, claim) = (&barrier, &claim);
            let start = |i: usize| {
                scope.spawn(move || {
                    barrier.wait();
                    claim(i)
                })
            };
            let threads: Vec<_> = (0..n).map(start).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        })
    }

    #[test]
    fn of_several_one_gets_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.claim");
        for round in 0..30 {
            let taken = race(6, |i| {
                Claim::take(&path, format!("{round} {i}").as_bytes()).unwrap()
            });
            let winners: Vec<usize> = (0..6).filter(|&i| taken[i].is_some()).collect();
            assert_eq!(winners.len(), 1, "{winners:?}");
            let said = std::fs::read_to_string(&path).unwrap();
            assert_eq!(said, format!("{round} {}", winners[0]));
            for claim in taken.into_iter().flatten() {
                claim.release().unwrap();
            }
            assert_eq!(crate::list(dir.path()).unwrap(), Vec::<PathBuf>::new());
        }
    }

    #[test]
    fn of_several_one_gets_it_also_where_no_file_has_two_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.claim");
        for round in 0..30 {
            let taken = race(6, |i| {
                Claim::make(&path, format!("{round} {i}").as_bytes()).unwrap()
            });
            let winners: Vec<usize> = (0..6).filter(|&i| taken[i].is_some()).collect();
            assert_eq!(winners.len(), 1, "{winners:?}");
            let said = std::fs::read_to_string(&path).unwrap();
            assert_eq!(said, format!("{round} {}", winners[0]));
            let claim = taken.into_iter().flatten().next().unwrap();
            assert!(claim.renew(format!("{said}, renewed").as_bytes()).unwrap());
            claim.release().unwrap();
            assert!(crate::list(dir.path()).unwrap().is_empty());
        }
        assert!(Claim::make(&dir.path().join("none/a.claim"), b"x").is_err());
    }

    /// A server that made the link and was asked again says that the name is taken.
    #[test]
    fn a_name_that_was_got_in_spite_of_the_answer_is_got() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.claim");
        let file = || tempfile::NamedTempFile::new_in(dir.path()).unwrap();
        let own = file();
        std::fs::hard_link(own.path(), &path).unwrap();
        assert!(Claim::linked(file(), &path).is_none());
        let claim = Claim::linked(own, &path).unwrap();
        assert!(claim.renew(b"beat 1").unwrap());
        assert_eq!(
            crate::list(dir.path()).unwrap(),
            std::slice::from_ref(&path)
        );
        claim.release().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn of_several_one_takes_it_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.claim");
        for round in 0..10 {
            let old = Claim::take(&path, b"of a dead process").unwrap().unwrap();
            let taken = race(6, |i| {
                let own = format!("{round} {i}");
                Claim::instead(&path, b"of a dead process", own.as_bytes()).unwrap()
            });
            let winners: Vec<usize> = (0..6).filter(|&i| taken[i].is_some()).collect();
            assert_eq!(winners.len(), 1, "{winners:?}");
            let said = std::fs::read_to_string(&path).unwrap();
            assert_eq!(said, format!("{round} {}", winners[0]));
            // It was not dead: it finds out, and disturbs nobody.
            assert!(!old.renew(b"of a dead process, which lives").unwrap());
            old.release().unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), said);
            for claim in taken.into_iter().flatten() {
                assert!(claim.renew(b"renewed by who has it").unwrap());
                claim.release().unwrap();
            }
            assert!(crate::list(dir.path()).unwrap().is_empty());
        }
    }

    #[test]
    fn a_claim_that_was_renewed_is_not_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.claim");
        let claim = Claim::take(&path, b"beat 1").unwrap().unwrap();
        assert!(claim.renew(b"beat 2").unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"beat 2");
        assert!(
            Claim::instead(&path, b"beat 1", b"other")
                .unwrap()
                .is_none()
        );
        assert!(!remove_claim(&path, b"beat 1").unwrap());
        assert!(claim.renew(b"beat 3").unwrap(), "it is still its owner's");
        assert!(remove_claim(&path, b"beat 3").unwrap());
        assert!(!claim.renew(b"beat 4").unwrap());
        assert!(!remove_claim(&path, b"beat 3").unwrap());
        assert!(crate::list(dir.path()).unwrap().is_empty());
    }

    /// What was moved away by mistake has its name again, and a newer one is not replaced.
    #[test]
    fn what_is_put_back_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("a.claim"), dir.path().join("moved"));
        std::fs::write(&moved, b"first").unwrap();
        put_back(&moved, &path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        std::fs::write(&moved, b"second").unwrap();
        put_back(&moved, &path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        // At the second look it is another one: it is not removed.
        let looks = std::cell::Cell::new(0);
        let once = |_: &Path| looks.replace(looks.get() + 1) == 0;
        assert!(!withdraw(&path, once).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
    }
}
