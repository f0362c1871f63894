//! The programs' build script: where they look for libtorch (as all crates with programs), which one that is, and which commit they are
//! built from.
//!
//! Optimised builds alone carry a commit: in the others, which a developer makes all day, every commit would compile the program and its
//! tests again. What is read is this checkout's own git, if it has one and git is installed; nothing is fetched, and the same
//! files of the same commit give the same program. A package of the sources without `.git` names it by DUALMD_COMMIT.

use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "../torch/rpath.rs"]
mod rpath;

fn main() {
    rpath::main();
    let libtorch = std::env::var("DEP_DUALMD_TORCH_VERSION").unwrap_or_default();
    println!("cargo:rustc-env=DUALMD_LINKED_LIBTORCH={libtorch}");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=DUALMD_COMMIT");
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let commit = match std::env::var("DUALMD_COMMIT") {
        Ok(given) => is_commit(&given).then_some(given),
        Err(_) if std::env::var("PROFILE").is_ok_and(|p| p == "release") => of_checkout(),
        Err(_) => None,
    };
    match commit {
        Some(commit) => {
            println!("cargo:rustc-env=DUALMD_BUILT_FROM={commit}");
            println!("cargo:rustc-env=DUALMD_VERSION={version} (commit {commit})");
        }
        None => println!("cargo:rustc-env=DUALMD_VERSION={version}"),
    }
}

/// 40 or 64 hexadecimal digits, perhaps `+changes` behind them.
fn is_commit(text: &str) -> bool {
    let digits = text.strip_suffix("+changes").unwrap_or(text);
    matches!(digits.len(), 40 | 64) && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The commit of the checkout that this crate lies in; none without git, and none where the sources lie in somebody else's repository.
fn of_checkout() -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .ok()?;
    let top = PathBuf::from(git(&root, &["rev-parse", "--show-toplevel"])?)
        .canonicalize()
        .ok()?;
    if top != root {
        return None;
    }
    // Where the commit may change, and what would make the name of it a lie.
    for file in ["HEAD", "logs/HEAD"] {
        let place = root.join(git(&root, &["rev-parse", "--git-path", file])?);
        if place.exists() {
            println!("cargo:rerun-if-changed={}", place.display());
        }
    }
    let sources = ["crates", "assets", "Cargo.toml", "Cargo.lock"];
    for place in sources {
        println!("cargo:rerun-if-changed={}", root.join(place).display());
    }
    let commit = git(&root, &["rev-parse", "HEAD"]).filter(|c| is_commit(c))?;
    let changed = git(
        &root,
        &[&["status", "--porcelain", "--"][..], &sources].concat(),
    )?;
    Some(match changed.is_empty() {
        true => commit,
        false => format!("{commit}+changes"),
    })
}

/// What git says in a folder; none where it cannot.
fn git(folder: &Path, words: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("--no-optional-locks")
        .arg("-C")
        .arg(folder)
        .args(words)
        .output()
        .ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| said.trim().to_owned())
}
