//! Which libtorch a folder holds.

use std::path::Path;

use anyhow::{Context, Result, bail};

/// The version that `tch` 0.26 generates its C++ calls for; its build script accepts no other.
pub const REQUIRED: &str = "2.13.0";

/// Reads the version of a libtorch or PyTorch folder, from `build-version` (zip distributions) or from the headers.
pub fn of_folder(folder: &Path) -> Result<String> {
    if let Ok(text) = std::fs::read_to_string(folder.join("build-version")) {
        return Ok(release(&text).to_owned());
    }
    // The second is where versions before 2.9 kept the numbers.
    let headers = [
        "include/torch/headeronly/version.h",
        "include/torch/csrc/api/include/torch/version.h",
    ];
    for header in headers {
        if let Ok(text) = std::fs::read_to_string(folder.join(header))
            && let Some(version) = from_header(&text)
        {
            return Ok(version);
        }
    }
    bail!(
        "{} is no libtorch folder: it has neither build-version nor {}",
        folder.display(),
        headers[0]
    )
}

/// Refuses a folder of another version, or one without the files a build needs.
pub fn check(folder: &Path, origin: &str) -> Result<String> {
    let version = of_folder(folder)
        .with_context(|| format!("{origin} is set, but does not lead to libtorch"))?;
    // The escape hatch of tch's own build script, honoured so that both agree.
    if version != REQUIRED && std::env::var_os("LIBTORCH_BYPASS_VERSION_CHECK").is_none() {
        bail!(
            "{origin} leads to libtorch {version} in {}, but {REQUIRED} is needed: install that version, or unset {origin} \
             and let `cargo xtask setup` download it",
            folder.display()
        );
    }
    for file in [
        "include/ATen/ATen.h",
        "lib/libtorch.so",
        "lib/libtorch_cpu.so",
        "lib/libc10.so",
    ] {
        if !folder.join(file).exists() {
            bail!(
                "{origin} leads to {}, which lacks {file}: it is not a complete Linux libtorch; install one, or unset \
                 {origin} and let `cargo xtask setup` download it",
                folder.display()
            );
        }
    }
    Ok(version)
}

/// `2.13.0+cu130` -> `2.13.0`.
pub fn release(version: &str) -> &str {
    let version = version.trim();
    version
        .split_once('+')
        .map_or(version, |(release, _)| release)
}

/// The three `#define TORCH_VERSION_*` numbers of the header.
fn from_header(text: &str) -> Option<String> {
    let number = |name: &str| {
        text.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("#define") && words.next() == Some(name))
                .then(|| words.next()?.parse::<u32>().ok())?
        })
    };
    Some(format!(
        "{}.{}.{}",
        number("TORCH_VERSION_MAJOR")?,
        number("TORCH_VERSION_MINOR")?,
        number("TORCH_VERSION_PATCH")?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "#pragma once\n\n/// major\n#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR 13\n\
        #define TORCH_VERSION_PATCH 0\n#define TORCH_VERSION \\\n  \"2.13.0\"\n";

    fn folder(version: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in [
            "include/ATen/ATen.h",
            "lib/libtorch.so",
            "lib/libtorch_cpu.so",
            "lib/libc10.so",
        ] {
            let file = dir.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "").unwrap();
        }
        std::fs::write(dir.path().join("build-version"), version).unwrap();
        dir
    }

    #[test]
    fn header_and_build_version_are_read() {
        assert_eq!(from_header(HEADER).as_deref(), Some("2.13.0"));
        assert_eq!(from_header("#define TORCH_VERSION_MAJOR 2\n"), None);
        assert_eq!(from_header("#define TORCH_VERSION_MAJOR two\n"), None);
        assert_eq!(release("2.13.0+cu130\n"), "2.13.0");

        let dir = tempfile::tempdir().unwrap();
        let header = dir.path().join("include/torch/headeronly/version.h");
        std::fs::create_dir_all(header.parent().unwrap()).unwrap();
        std::fs::write(header, HEADER).unwrap();
        assert_eq!(of_folder(dir.path()).unwrap(), "2.13.0");
    }

    #[test]
    fn wrong_folders_are_refused_with_the_remedy() {
        assert_eq!(
            check(folder("2.13.0+cpu").path(), "LIBTORCH").unwrap(),
            "2.13.0"
        );
        let old = check(folder("2.4.1").path(), "LIBTORCH")
            .unwrap_err()
            .to_string();
        assert!(
            old.contains("2.4.1")
                && old.contains("2.13.0 is needed")
                && old.contains("unset LIBTORCH"),
            "{old}"
        );
        let torn = folder("2.13.0");
        std::fs::remove_file(torn.path().join("lib/libc10.so")).unwrap();
        assert!(
            check(torn.path(), "LIBTORCH")
                .unwrap_err()
                .to_string()
                .contains("lib/libc10.so")
        );
        let none = format!(
            "{:#}",
            check(Path::new("/nonexistent"), "LIBTORCH").unwrap_err()
        );
        assert!(none.contains("no libtorch folder"), "{none}");
    }
}
