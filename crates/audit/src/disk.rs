//! Bytes on the disk: pictures to embed, files replaced whole.

use std::path::{Component, Path};

use dualmd_files::shown;

use crate::error::{AuditError, Result};

/// A PNG file ready to be embedded.
#[derive(Debug, Clone)]
pub struct Png {
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// Width in pixels, from the header.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// Largest PNG that is embedded: the report has to stay a file one can mail.
const MAX_PNG_BYTES: u64 = 1 << 20;

impl Png {
    /// Reads `relative` below `base`, a run folder that may be a stranger's. `None` if it is absent.
    ///
    /// # Errors
    /// A sentence that names it: the path leaves `base`, goes through a link, is no regular file, too large or no PNG. What it
    /// says is embedded in a page that is passed on, so nothing from outside the folder may get in.
    pub fn read(base: &Path, relative: &str) -> std::result::Result<Option<Self>, String> {
        let refused = |why: &str| Err(format!("{}: {why}, not embedded", shown(relative)));
        let path = Path::new(relative);
        if relative.is_empty() {
            return Ok(None);
        }
        if !path.components().all(|c| matches!(c, Component::Normal(_))) {
            return refused("leads out of the run folder");
        }
        let mut at = base.to_path_buf();
        for part in path.components() {
            at.push(part);
            // Of the entry itself: a link is not followed, wherever it leads.
            match std::fs::symlink_metadata(&at) {
                Ok(found) if found.file_type().is_symlink() => return refused("is behind a link"),
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(e) => return refused(&format!("cannot be read ({e})")),
            }
        }
        let bytes = match dualmd_files::read(&at, MAX_PNG_BYTES) {
            Ok(bytes) => bytes,
            Err(e) => return refused(&format!("cannot be read ({e})")),
        };
        // Signature, then the IHDR chunk, which the format puts first: width and height at bytes 16 and 20.
        let size = || {
            let head = bytes.get(..24)?.strip_prefix(b"\x89PNG\r\n\x1a\n")?;
            let number =
                |at: usize| Some(u32::from_be_bytes(head.get(at..at + 4)?.try_into().ok()?));
            Some((number(8)?, number(12)?))
        };
        let Some((width, height)) = size() else {
            return refused("is no PNG file");
        };
        Ok(Some(Self {
            bytes,
            width,
            height,
        }))
    }
}

/// A name that is one folder and nothing else: it becomes part of paths.
pub fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!(
        (parts.next(), parts.next()),
        (Some(Component::Normal(_)), None)
    )
}

/// Writes a file whole, and the folder it lies in if it is not there.
///
/// # Errors
/// Names the file (a full disk, a folder that may not be written to).
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    folder
        .map_or(Ok(()), dualmd_files::create_folder)
        .and_then(|()| dualmd_files::write(path, bytes))
        .map_err(AuditError::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_never_come_from_outside_the_folder() {
        let dir = tempfile::tempdir().expect("temp dir");
        let inner = dir.path().join("run");
        std::fs::create_dir(&inner).expect("mkdir");
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        png.extend([0, 0, 0, 7, 0, 0, 0, 9]);
        std::fs::write(dir.path().join("secret.png"), &png).expect("write");
        std::fs::write(inner.join("ok.png"), &png).expect("write");
        std::fs::write(inner.join("text.png"), b"hello").expect("write");
        let refused = |path: &str| Png::read(&inner, path).expect_err(path);
        assert!(refused("../secret.png").contains("leads out"));
        let absolute = dir.path().join("secret.png");
        refused(absolute.to_str().expect("utf-8"));
        assert!(refused("text.png").contains("no PNG"));
        refused("ok.png/ok.png");
        assert!(Png::read(&inner, "none.png").expect("absent").is_none());
        #[cfg(unix)]
        {
            // A link to a file outside, to one inside, and a folder that is a link.
            let link = |to: &Path, name: &str| {
                std::os::unix::fs::symlink(to, inner.join(name)).expect("link");
            };
            link(&dir.path().join("secret.png"), "outside.png");
            link(Path::new("ok.png"), "inside.png");
            link(dir.path(), "folder");
            link(Path::new("/dev/zero"), "zero.png");
            for path in ["outside.png", "inside.png", "folder/secret.png", "zero.png"] {
                assert!(refused(path).contains("link"), "{path}");
            }
        }
        let ok = Png::read(&inner, "ok.png").expect("read").expect("png");
        assert_eq!((ok.width, ok.height), (7, 9));
        assert!(
            !is_plain_name("../x")
                && !is_plain_name("a/b")
                && !is_plain_name("")
                && is_plain_name("a b<c>")
        );
    }

    #[test]
    fn files_are_replaced_whole() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("new").join("x.txt");
        write(&path, b"one").expect("write");
        write(&path, b"two").expect("write");
        assert_eq!(std::fs::read(&path).expect("read"), b"two");
        assert_eq!(
            std::fs::read_dir(path.parent().expect("parent"))
                .expect("list")
                .count(),
            1
        );
        let error = write(&dir.path().join("new/x.txt/y"), b"")
            .expect_err("a file is no folder")
            .to_string();
        assert!(error.contains("x.txt"), "{error}");
    }
}
