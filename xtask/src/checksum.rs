//! SHA-256 of files, the identity of everything that is downloaded.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// Lower-case hexadecimal SHA-256 of a file.
pub fn sha256(path: &Path) -> Result<String> {
    let explain = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(explain)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer).with_context(explain)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Makes sure that `path` is the pinned file: what is there already, or what `fetch` puts there.
///
/// A file with another checksum is deleted and fetched once more, because a torn download is likelier than an attack;
/// twice wrong is an error.
pub fn ensure(path: &Path, pinned: &str, mut fetch: impl FnMut() -> Result<()>) -> Result<()> {
    let mut found = String::new();
    let mut fetched = 0;
    loop {
        if path.exists() {
            found = sha256(path)?;
            if found == pinned {
                return Ok(());
            }
            std::fs::remove_file(path)
                .with_context(|| format!("cannot delete the damaged {}", path.display()))?;
        }
        if fetched == 2 {
            bail!(
                "{} has the SHA-256 {found} instead of {pinned} and was deleted: the package index or a proxy serves \
                 another file than the one this version of dualmd was made with",
                path.display()
            );
        }
        fetched += 1;
        fetch()?;
        if !path.exists() {
            bail!(
                "the download left no {}: the package index serves another file in its place",
                path.display()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-2, appendix B.1.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn golden_value() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("abc");
        std::fs::write(&file, "abc").unwrap();
        assert_eq!(sha256(&file).unwrap(), ABC);
        assert!(
            sha256(&dir.path().join("none"))
                .unwrap_err()
                .to_string()
                .contains("none")
        );
    }

    #[test]
    fn a_right_file_is_not_fetched_and_a_wrong_one_twice() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("abc");
        std::fs::write(&file, "abc").unwrap();
        ensure(&file, ABC, || panic!("fetched a file that is there")).unwrap();

        let mut fetches = 0;
        std::fs::write(&file, "torn").unwrap();
        let text = ["torn again", "abc"];
        ensure(&file, ABC, || {
            std::fs::write(&file, text[fetches]).unwrap();
            fetches += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(fetches, 2);

        let mut fetches = 0;
        std::fs::remove_file(&file).unwrap();
        let error = ensure(&file, ABC, || {
            fetches += 1;
            std::fs::write(&file, "other").unwrap();
            Ok(())
        })
        .unwrap_err()
        .to_string();
        assert!(
            fetches == 2 && error.contains(ABC) && !file.exists(),
            "{error}"
        );
        assert!(
            ensure(&file, ABC, || Ok(()))
                .unwrap_err()
                .to_string()
                .contains("left no")
        );
    }
}
