//! Folders that are either whole or not there.

use crate::write::sync_folder;
use crate::{Error, HIDDEN, Result, parent, read};
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Makes a folder and those above it, if they are not there.
///
/// # Errors
/// The operating system's; a file of that name.
pub fn create_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|e| Error::io("make the folder", path, e))
}

/// As [`create_folder`]; the last one, if it is new, is its owner's alone (mode 0700). For what is as confidential as the
/// training images. A folder that is there keeps its mode.
///
/// # Errors
/// As [`create_folder`].
pub fn create_private_folder(path: &Path) -> Result<()> {
    create_folder(parent(path))?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other.map_err(|e| Error::io("make the folder", path, e)),
    }
}

/// Refuses a folder that could not be made, or in which nothing could be written: a file stands in the way, permission is missing, the file
/// system is read-only. Nothing is made, and nothing stays. To be called before work whose results go to `path`. Returns the folder that is
/// there: `path`, or the lowest one above it.
///
/// # Errors
/// As [`create_folder`], and as [`scratch`](crate::scratch) in the folder that is there.
pub fn check_folder(path: &Path) -> Result<PathBuf> {
    let fail = |e| Error::io("write to the folder", path, e);
    // Below what is no folder there is nothing either.
    let absent = |at: &Path| {
        let found = std::fs::symlink_metadata(at);
        found.is_err_and(|e| matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
    };
    let mut at = path;
    while absent(at) && at != parent(at) {
        at = parent(at);
    }
    match std::fs::metadata(at) {
        Ok(found) if found.is_dir() => {}
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(fail(e)),
        // A link that leads nowhere is there, and is no folder.
        Ok(_) | Err(_) => {
            return Err(Error::NotAFolder {
                path: path.to_path_buf(),
                there: at.to_path_buf(),
            });
        }
    }
    tempfile::tempfile_in(at).map_err(fail)?;
    Ok(at.to_path_buf())
}

/// Bytes that this user may still write on the disk of a folder that is there; `None` where the system does not say.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

/// What a folder is called in the hidden one that it is moved into.
const OLD: &str = "old";

/// A folder that is being filled under a hidden name; dropped before [`finish`](Self::finish), it is removed.
#[derive(Debug)]
pub struct Building {
    hidden: tempfile::TempDir,
    path: PathBuf,
}

impl Building {
    /// Begins the folder that will be `path`. The folder above it is made.
    ///
    /// # Errors
    /// The operating system's.
    pub fn new(path: &Path) -> Result<Self> {
        create_folder(parent(path))?;
        let hidden = tempfile::Builder::new()
            .prefix(HIDDEN)
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777))
            .tempdir_in(parent(path))
            .map_err(|e| Error::io("make the folder", path, e))?;
        Ok(Self {
            hidden,
            path: path.to_path_buf(),
        })
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        self.hidden.path()
    }

    /// Gives the folder its name. What had the name takes the hidden one in the same step and is then deleted: at any moment
    /// the old folder or the new one is there, whole. (File systems that cannot exchange two names, some network ones, have a
    /// moment with neither.) Files are expected to be synced, as [`crate::write`] does.
    ///
    /// # Errors
    /// The operating system's; the hidden folder is then removed.
    pub fn finish(self) -> Result<()> {
        let fail = |e| Error::io("write", &self.path, e);
        let hidden = self.hidden.path();
        sync_all(hidden).map_err(fail)?;
        let there = std::fs::symlink_metadata(&self.path).is_ok();
        if there && exchange(hidden, &self.path).is_ok() {
            sync_folder(parent(&self.path)).map_err(fail)?;
            // The hidden name is the old folder's now, or the old file's.
            let old = self.hidden.keep();
            return delete(&old, &self.path);
        }
        let old = move_away(&self.path)?;
        if let Err(e) = std::fs::rename(hidden, &self.path) {
            // Better the old one than none.
            if let Some(old) = &old {
                let _ = std::fs::rename(old.join(OLD), &self.path);
                let _ = std::fs::remove_dir(old);
            }
            return Err(fail(e));
        }
        let _ = self.hidden.keep();
        sync_folder(parent(&self.path)).map_err(fail)?;
        match old {
            Some(old) => delete(&old, &self.path),
            None => Ok(()),
        }
    }
}

impl Building {
    /// As [`finish`](Self::finish), but what has the name already stays, unless it is an empty folder: then this is false, and the
    /// hidden folder is removed. Of several processes that build the same folder at once, one is told true.
    ///
    /// # Errors
    /// The operating system's, also where the name is a file's; the hidden folder is then removed.
    pub fn finish_unless_there(self) -> Result<bool> {
        let fail = |e| Error::io("write", &self.path, e);
        let hidden = self.hidden.path();
        sync_all(hidden).map_err(fail)?;
        // No system renames a folder over one that holds something, also where nothing else can be asked of it (NFS).
        match std::fs::rename(hidden, &self.path) {
            Ok(()) => {}
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists
                ) =>
            {
                return Ok(false);
            }
            Err(e) => return Err(fail(e)),
        }
        let _ = self.hidden.keep();
        sync_folder(parent(&self.path)).map_err(fail)?;
        Ok(true)
    }
}

/// Exchanges two names in one step.
fn exchange(one: &Path, other: &Path) -> rustix::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)
}

/// Syncs the entries of a folder and of those in it.
fn sync_all(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_all(&entry.path())?;
        }
    }
    sync_folder(folder)
}

/// Deletes a folder and all that is in it: it is renamed away first, so that a half-deleted one has no name. One that is not
/// there is no failure; a link is removed and not followed.
///
/// # Errors
/// The operating system's.
pub fn remove_folder(path: &Path) -> Result<()> {
    match move_away(path)? {
        Some(away) => delete(&away, path),
        None => Ok(()),
    }
}

/// Gives what is at `path` a hidden name in the same folder; None if nothing is there.
fn move_away(path: &Path) -> Result<Option<PathBuf>> {
    let fail = |e| Error::io("remove", path, e);
    if let Err(e) = std::fs::symlink_metadata(path) {
        return if e.kind() == std::io::ErrorKind::NotFound {
            Ok(None)
        } else {
            Err(fail(e))
        };
    }
    // An own folder to move it into: its random name is ours alone, and what is renamed may be a file or a folder.
    let away = tempfile::Builder::new()
        .prefix(HIDDEN)
        .tempdir_in(parent(path))
        .map_err(fail)?
        .keep();
    if let Err(e) = std::fs::rename(path, away.join(OLD)) {
        let _ = std::fs::remove_dir(&away);
        return Err(fail(e));
    }
    sync_folder(parent(path)).map_err(fail)?;
    Ok(Some(away))
}

/// Deletes what was given a hidden name, a folder or a file.
fn delete(away: &Path, path: &Path) -> Result<()> {
    let folder = std::fs::symlink_metadata(away).is_ok_and(|m| m.is_dir());
    let deleted = if folder {
        std::fs::remove_dir_all(away)
    } else {
        std::fs::remove_file(away)
    };
    deleted.map_err(|e| Error::io("remove", path, e))
}

/// Removes what killed processes left in a folder and the folders in it: entries that begin with [`HIDDEN`]. Links are not
/// followed. To be called with the folder's [`crate::Lock`] in hand, since what another process is writing looks the same.
/// Gives how many were removed.
///
/// # Errors
/// The operating system's.
pub fn sweep(folder: &Path) -> Result<usize> {
    let mut removed = 0;
    for path in read::list(folder)? {
        let fail = |e| Error::io("remove", &path, e);
        let kind = match std::fs::symlink_metadata(&path) {
            Ok(found) => found.file_type(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(fail(e)),
        };
        let hidden = path
            .file_name()
            .is_some_and(|n| n.as_encoded_bytes().starts_with(HIDDEN.as_bytes()));
        if hidden && kind.is_dir() {
            std::fs::remove_dir_all(&path).map_err(fail)?;
        } else if hidden {
            std::fs::remove_file(&path).map_err(fail)?;
        } else {
            if kind.is_dir() {
                removed += sweep(&path)?;
            }
            continue;
        }
        removed += 1;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    fn names(folder: &Path) -> Vec<String> {
        let name = |p: PathBuf| p.file_name().unwrap().to_string_lossy().into_owned();
        crate::list(folder).unwrap().into_iter().map(name).collect()
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_is_found_before() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["new", "new/deep/er"] {
            assert_eq!(check_folder(&at(name)).unwrap(), dir.path());
        }
        assert_eq!(check_folder(dir.path()).unwrap(), dir.path());
        assert_eq!(check_folder(Path::new("no-such")).unwrap(), Path::new("."));
        assert!(names(dir.path()).is_empty(), "nothing is made");
        std::fs::write(at("file"), b"").unwrap();
        symlink(at("nowhere"), at("link")).unwrap();
        for (name, there) in [("file", "file"), ("file/be/low", "file"), ("link", "link")] {
            let error = check_folder(&at(name)).unwrap_err().to_string();
            let [wanted, there] = [name, there].map(|name| at(name).display().to_string());
            assert_eq!(
                error,
                format!("cannot write to the folder {wanted}: {there} is no folder")
            );
        }
        // No right to write: nobody but root does all the same.
        let barred = at("barred");
        DirBuilder::new().mode(0o500).create(&barred).unwrap();
        if std::fs::metadata(&barred).unwrap().uid() != 0 {
            assert!(check_folder(&barred).is_err() && check_folder(&barred.join("x")).is_err());
        }
    }

    #[test]
    fn a_disk_says_what_room_it_has() {
        let dir = tempfile::tempdir().unwrap();
        assert!(free_bytes(dir.path()).is_some());
        assert_eq!(free_bytes(&dir.path().join("none")), None);
    }

    #[test]
    fn a_folder_is_whole_or_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("models/one");
        for text in ["first", "second"] {
            let building = Building::new(&path).unwrap();
            std::fs::write(building.path().join(text), text).unwrap();
            building.finish().unwrap();
            assert_eq!(names(&path), [text]);
            assert_eq!(names(&dir.path().join("models")), ["one"]);
        }
        // A file that has the name goes, too.
        std::fs::write(dir.path().join("models/two"), b"").unwrap();
        Building::new(&dir.path().join("models/two"))
            .unwrap()
            .finish()
            .unwrap();
        assert!(names(&dir.path().join("models/two")).is_empty());
        remove_folder(&dir.path().join("models/two")).unwrap();
        drop(Building::new(&path).unwrap());
        assert_eq!(names(&dir.path().join("models")), ["one"]);
        remove_folder(&path).unwrap();
        remove_folder(&path).unwrap();
        assert!(names(&dir.path().join("models")).is_empty());
    }

    #[test]
    fn of_many_who_build_one_folder_one_is_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("parts");
        let build = |name: &str| {
            let building = Building::new(&path).unwrap();
            std::fs::write(building.path().join(name), name).unwrap();
            building.finish_unless_there()
        };
        let first = std::sync::Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for name in ["a", "b", "c", "d"] {
                let (build, first) = (&build, &first);
                scope.spawn(move || {
                    if build(name).unwrap() {
                        first.lock().unwrap().push(name.to_owned());
                    }
                });
            }
        });
        assert_eq!(first.lock().unwrap().len(), 1);
        assert_eq!(names(&path), *first.lock().unwrap());
        assert_eq!(names(dir.path()), ["parts"]);
        assert!(!build("e").unwrap());
        // An empty folder is nobody's work; a file is somebody's.
        remove_folder(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(build("f").unwrap());
        assert_eq!(names(&path), ["f"]);
        remove_folder(&path).unwrap();
        std::fs::write(&path, b"mine").unwrap();
        assert!(build("g").is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        assert_eq!(names(dir.path()), ["parts"]);
    }

    #[test]
    fn what_a_killed_process_left_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(path("a/.partial-x/deep")).unwrap();
        std::fs::write(path("a/.partial-x/deep/f"), b"").unwrap();
        std::fs::write(path(".partial-y"), b"").unwrap();
        std::fs::write(path("a/kept"), b"").unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join(".partial-z"), b"").unwrap();
        symlink(outside.path(), path("link")).unwrap();
        symlink(outside.path(), path(".partial-link")).unwrap();
        assert_eq!(sweep(dir.path()).unwrap(), 3);
        assert_eq!(names(dir.path()), ["a", "link"]);
        assert_eq!(names(&path("a")), ["kept"]);
        assert_eq!(names(outside.path()), [".partial-z"]);
    }

    #[test]
    fn private_folders_are_their_owner_s() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("above/run");
        create_private_folder(&path).unwrap();
        create_private_folder(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        std::fs::write(dir.path().join("file"), b"").unwrap();
        assert!(create_private_folder(&dir.path().join("file")).is_err());
        assert!(create_private_folder(&dir.path().join("file/x")).is_err());
    }
}
