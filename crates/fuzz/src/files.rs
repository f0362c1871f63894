//! Several files in one input, and the folder they are written to.
//!
//! An input of a target that reads a folder looks like this:
//!
//! ```text
//! === unet/config.json
//! {"sample_size": 8}
//! === unet/diffusion_pytorch_model.safetensors
//! (bytes)
//! ```
//!
//! What comes before the first header is a file also, with a name that the target gives. Bytes of any kind are an input:
//! a header whose name could lead out of the folder is not one, and belongs to the file before it.

use std::io;
use std::path::Path;

use tempfile::TempDir;

/// Begins a line that names a file.
const HEADER: &[u8] = b"=== ";

/// Names and contents, in the order of the input. Of two files of one name the later one counts.
pub type Files = Vec<(String, Vec<u8>)>;

/// Takes an input apart; `first` is the name of what comes before the first header.
#[must_use]
pub fn unpack(input: &[u8], first: &str) -> Files {
    let mut files: Files = vec![(first.to_owned(), Vec::new())];
    for (number, line) in input.split(|&byte| byte == b'\n').enumerate() {
        if let Some(name) = line.strip_prefix(HEADER).and_then(name) {
            files.push((name.to_owned(), Vec::new()));
            continue;
        }
        if let Some((_, content)) = files.last_mut() {
            // No line break in front of a file's first line, nor of the input's.
            if number > 0 && !content.is_empty() {
                content.push(b'\n');
            }
            content.extend_from_slice(line);
        }
    }
    if files.len() > 1 && files.first().is_some_and(|(_, content)| content.is_empty()) {
        files.remove(0);
    }
    files
}

/// The reverse of [`unpack`] for files that do not begin with an empty line.
#[must_use]
pub fn pack<N: AsRef<str>, B: AsRef<[u8]>>(files: impl IntoIterator<Item = (N, B)>) -> Vec<u8> {
    let mut input = Vec::new();
    for (name, content) in files {
        if !input.is_empty() {
            input.push(b'\n');
        }
        input.extend_from_slice(HEADER);
        input.extend_from_slice(name.as_ref().as_bytes());
        input.push(b'\n');
        input.extend_from_slice(content.as_ref());
    }
    input
}

/// A name that stays inside the folder, in letters that every file system has.
fn name(bytes: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(bytes).ok()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let part = |part: &str| {
        !part.is_empty()
            && part.len() < 100
            && part.chars().all(plain)
            && !part.trim_matches('.').is_empty()
    };
    let parts: Vec<&str> = name.split('/').collect();
    (parts.len() <= 4 && parts.into_iter().all(part)).then_some(name)
}

/// A fresh folder that goes when the value does. It lies where `TMPDIR` says: `cargo xtask fuzz` names a folder in memory.
///
/// # Panics
/// Where there is no room for it: that is no finding, and must not look like a reader's refusal.
#[must_use]
pub fn scratch() -> TempDir {
    match tempfile::Builder::new().prefix("dualmd-fuzz-").tempdir() {
        Ok(folder) => folder,
        Err(error) => panic!("no folder for the input: {error}"),
    }
}

/// Writes the files below the folder. One that stands in another's way (`a` and `a/b`) is left out.
///
/// # Panics
/// When the disk is full.
pub fn write(folder: &Path, files: &Files) {
    for (name, content) in files {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        let written = std::fs::create_dir_all(parent).and_then(|()| std::fs::write(&path, content));
        if let Err(error) = written {
            assert!(
                error.kind() != io::ErrorKind::StorageFull,
                "no room for the input: {error}"
            );
        }
    }
}

/// One file in a fresh folder; gives its path to `read`.
pub fn with_file(name: &str, content: &[u8], read: impl FnOnce(&Path)) {
    let folder = scratch();
    write(folder.path(), &vec![(name.to_owned(), content.to_vec())]);
    read(&folder.path().join(name));
}

/// A template with the input's files over it, in a fresh folder; gives the folder to `read`.
pub fn with_folder(template: &Files, input: &[u8], first: &str, read: impl FnOnce(&Path)) {
    let folder = scratch();
    write(folder.path(), template);
    write(folder.path(), &unpack(input, first));
    read(folder.path());
}

/// All files below a folder, sorted, named relative to it.
///
/// # Errors
/// What reading gives.
pub fn read(folder: &Path) -> io::Result<Files> {
    let mut files = Files::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(name) = path.strip_prefix(folder) {
                files.push((name.to_string_lossy().into_owned(), std::fs::read(&path)?));
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &Files) -> Vec<&str> {
        files.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn files_come_back_from_one_input() {
        let files = vec![
            ("a.json".to_owned(), b"{\n}\n".to_vec()),
            ("b/c.bin".to_owned(), vec![0, b'\n', b'=', 255]),
            ("d".to_owned(), Vec::new()),
        ];
        assert_eq!(unpack(&pack(files.clone()), "first"), files);
        assert_eq!(
            unpack(b"{}", "first"),
            vec![("first".to_owned(), b"{}".to_vec())]
        );
        let both = unpack(b"x\n=== y\nz", "first");
        assert_eq!(names(&both), ["first", "y"]);
        assert_eq!(both[1].1, b"z");
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        for name in [
            "../a",
            "/a",
            "a/../b",
            "a//b",
            "",
            ".",
            "a/b/c/d/e",
            "a\0b",
            "ä",
        ] {
            let files = unpack(format!("=== {name}\nx").as_bytes(), "first");
            assert_eq!(names(&files), ["first"], "{name:?}");
        }
        let folder = scratch();
        write(
            folder.path(),
            &vec![
                ("a".to_owned(), b"1".to_vec()),
                ("a/b".to_owned(), b"2".to_vec()),
            ],
        );
        assert_eq!(
            read(folder.path()).unwrap(),
            vec![("a".to_owned(), b"1".to_vec())]
        );
    }
}
