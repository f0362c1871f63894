//! Files that are either whole or not there.

use crate::read::not_a_file;
use crate::{Error, HIDDEN, Result, parent};
use std::fs::{File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Links of links that are followed before a name is taken for a circle, as in Linux.
const LINKS: usize = 40;

/// Writes `bytes` to `path`: a reader, or a process that was killed, sees the old file or the new one, never half of it. A new
/// file may be read by whom the umask lets.
///
/// # Errors
/// The operating system's (a full disk, a missing folder, no permission); the name stands for a device, a FIFO, a folder, or
/// a read-only file.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |file| file.write_all(bytes))
}

/// As [`write()`], for what only its owner may read: mode 0600.
///
/// # Errors
/// As [`write()`].
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, 0o600, |file| file.write_all(bytes))
}

/// As [`write()`], with contents that `fill` writes.
///
/// # Errors
/// As [`write()`]; what `fill` gives.
pub fn write_with(path: &Path, fill: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<()> {
    replace(path, 0o666, fill)
}

fn replace(
    path: &Path,
    mode: u32,
    fill: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> Result<()> {
    let fail = |e| Error::io("write", path, e);
    let target = target(path)?;
    let folder = parent(&target);
    // Made exclusively, under a random name, so that nobody can have laid a link there. The umask applies to the mode.
    let mut file = tempfile::Builder::new()
        .prefix(HIDDEN)
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder)
        .map_err(fail)?;
    fill(file.as_file_mut()).map_err(fail)?;
    file.as_file().sync_all().map_err(fail)?;
    file.into_temp_path()
        .persist(&target)
        .map_err(|e| fail(e.error))?;
    sync_folder(folder).map_err(fail)
}

/// A file without a name in `folder`, to write to and to read from, which goes when it is closed, whatever ends the process.
///
/// # Errors
/// The operating system's (no permission, a missing folder).
pub fn scratch(folder: &Path) -> Result<File> {
    tempfile::tempfile_in(folder).map_err(|e| Error::io("write in", folder, e))
}

/// Refuses what [`write()`] would refuse for what stands there: a device, a FIFO, a folder, a read-only file. To be called
/// before work whose result goes to `path`.
///
/// # Errors
/// As [`write()`].
pub fn check_target(path: &Path) -> Result<()> {
    let folder = parent(&target(path)?).to_path_buf();
    match std::fs::metadata(&folder) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(std::io::Error::from_raw_os_error(libc::ENOTDIR)),
        Err(e) => Err(e),
    }
    .map_err(|e| Error::io("write", path, e))
}

/// Where a file of that name goes: links are followed, also to what is not there yet; what is not a file is refused.
fn target(path: &Path) -> Result<PathBuf> {
    let fail = |e| Error::io("write", path, e);
    let mut at = path.to_path_buf();
    for _ in 0..LINKS {
        let found = match std::fs::symlink_metadata(&at) {
            Ok(found) => found,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(at),
            Err(e) => return Err(fail(e)),
        };
        let kind = found.file_type();
        if kind.is_symlink() {
            let to = std::fs::read_link(&at).map_err(fail)?;
            at = parent(&at).join(to);
        } else if !kind.is_file() {
            return Err(not_a_file(path, kind));
        } else if found.permissions().mode() & 0o222 == 0 {
            return Err(Error::ReadOnly { path: at });
        } else {
            return Ok(at);
        }
    }
    Err(fail(std::io::Error::from_raw_os_error(libc::ELOOP)))
}

/// Makes a rename in this folder survive a power cut. File systems that cannot say so (some network ones) are passed over.
pub(crate) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    match File::open(folder)?.sync_all() {
        Err(e)
            if matches!(
                e.raw_os_error(),
                Some(libc::EINVAL | libc::EBADF | libc::EROFS)
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    /// The process's umask, asked of the kernel without changing it.
    fn umask() -> u32 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix("Umask:"))
            .unwrap();
        u32::from_str_radix(line.trim(), 8).unwrap()
    }

    #[test]
    fn a_scratch_file_has_no_name() {
        use std::io::{Read, Seek};
        let dir = tempfile::tempdir().unwrap();
        let mut file = scratch(dir.path()).unwrap();
        file.write_all(b"abc").unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
        let error = scratch(&dir.path().join("none")).unwrap_err();
        assert!(error.to_string().contains("none"), "{error}");
    }

    #[test]
    fn whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(mode(&path), 0o666 & !umask());
        let full = write_with(&path, |file| {
            file.write_all(b"half")?;
            Err(std::io::Error::from_raw_os_error(libc::ENOSPC))
        });
        assert!(full.unwrap_err().to_string().contains("No space left"));
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(crate::list(dir.path()).unwrap(), [path.as_path()]);
        write_private(&path, b"three").unwrap();
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn links_are_followed_and_devices_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("elsewhere")).unwrap();
        symlink("elsewhere/new", path("link")).unwrap();
        for text in [b"one", b"two"] {
            write(&path("link"), text).unwrap();
            assert_eq!(std::fs::read(path("elsewhere/new")).unwrap(), text);
            assert!(path("link").is_symlink());
        }
        symlink("circle", path("circle")).unwrap();
        assert!(write(&path("circle"), b"x").is_err());
        symlink("/dev/null", path("null")).unwrap();
        for device in ["/dev/null", "/dev/full"]
            .map(PathBuf::from)
            .iter()
            .chain([&path("null")])
        {
            let error = write(device, b"x").unwrap_err().to_string();
            assert_eq!(check_target(device).unwrap_err().to_string(), error);
            assert!(error.contains("a device"), "{error}");
        }
        assert!(
            write(dir.path(), b"x")
                .unwrap_err()
                .to_string()
                .contains("a folder")
        );
        assert!(write(&path("none/x"), b"x").unwrap_err().is_absent());
        assert!(check_target(&path("none/x")).unwrap_err().is_absent());
        check_target(&path("link")).unwrap();
        check_target(&path("new")).unwrap();
        assert!(!path("new").exists());
    }

    #[test]
    fn a_read_only_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, b"kept").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
        assert!(matches!(write(&path, b"y"), Err(Error::ReadOnly { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"kept");
    }
}
