//! The folders xtask works in, and the processes it starts.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::engine::Engine;

/// The program that is typed.
pub const FRONT: &str = "dualmd";
/// The program that computes, which lies beside it.
pub const ENGINE: &str = "dualmd-engine";

/// The checkout and the two folders outside its sources.
pub struct Workspace {
    /// The root of the checkout.
    pub root: PathBuf,
    /// Downloads and what was unpacked from them; shared by all checkouts.
    pub cache: PathBuf,
    /// Cargo's build folder (`target`, or where `CARGO_TARGET_DIR` says).
    pub target: PathBuf,
}

impl Workspace {
    /// Finds the checkout from the manifest that cargo names, the build folder by asking cargo.
    pub fn find() -> Result<Self> {
        // At run time, so that a moved checkout works; the compiled-in path is for a binary started by hand.
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map(PathBuf::from)
            .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
        let root = manifest
            .parent()
            .context("xtask lies in no workspace: run it as `cargo xtask`")?
            .to_path_buf();
        let cache = cache_dir(|name| std::env::var_os(name))?;
        let target = target_dir(&root)?;
        Ok(Self {
            root,
            cache,
            target,
        })
    }

    /// The program as `build_release` leaves it; the one that computes lies beside it.
    pub fn program(&self) -> PathBuf {
        self.target.join("release").join(FRONT)
    }

    /// A cargo command in the checkout, seeing the environment a user's own cargo would see.
    pub fn cargo(&self, args: &[&str]) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(args).current_dir(&self.root);
        if crate::engine::user_libtorch(self).is_none() {
            // Cargo gave us its own `[env]` value; as an inherited variable it would look like the user's.
            command.env_remove("LIBTORCH");
        }
        command
    }

    /// `cargo build --release` of the two programs, with CUDA if set-up chose it, and with these variables.
    pub fn build_release(&self, engine: &Engine, variables: &[(&str, &str)]) -> Result<()> {
        let mut command = self.cargo(&["build", "--release", "--package", "dualmd-cli"]);
        command
            .args(engine.cargo_features())
            .envs(variables.iter().copied());
        run(command)
    }
}

/// A folder of this process that goes in the end, however its use ended.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// Makes one.
    pub fn new(parent: &Path, name: &str) -> Result<Self> {
        let folder = parent.join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Only space depends on it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `$DUALMD_CACHE`, or `dualmd` in the user's cache folder.
fn cache_dir(env: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let set = |name| {
        env(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let folder = set("DUALMD_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("dualmd")))
        .or_else(|| set("HOME").map(|dir| dir.join(".cache/dualmd")))
        .context("no HOME to keep downloads in: set DUALMD_CACHE to a folder")?;
    // Absolute, because links and child processes with other working folders refer to it.
    std::path::absolute(&folder)
        .with_context(|| format!("cannot resolve the cache folder {}", folder.display()))
}

/// Cargo's own answer: it knows `CARGO_TARGET_DIR`, the user's configuration and the default.
fn target_dir(root: &Path) -> Result<PathBuf> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("cannot run `cargo metadata`")?;
    if !output.status.success() {
        bail!(
            "`cargo metadata` failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("`cargo metadata` did not print JSON")?;
    let folder = metadata["target_directory"]
        .as_str()
        .context("`cargo metadata` names no target_directory")?;
    Ok(PathBuf::from(folder))
}

/// Runs a command to its end, sharing our terminal; anything but success is an error that names it.
pub fn run(mut command: Command) -> Result<()> {
    let shown = show(&command);
    let status = command
        .status()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// Runs a command and returns what it printed, trimmed; its stderr goes into the error.
pub fn output(mut command: Command) -> Result<String> {
    let shown = show(&command);
    let output = command
        .output()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        bail!(
            "`{shown}` failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Becomes the command; returns only if it could not be started.
pub fn replace_process(mut command: Command) -> Result<()> {
    let shown = show(&command);
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        Err(command.exec()).with_context(|| format!("cannot start `{shown}`"))
    }
    #[cfg(not(unix))]
    {
        let status = command
            .status()
            .with_context(|| format!("cannot start `{shown}`"))?;
        std::process::exit(status.code().unwrap_or(1))
    }
}

/// A command as one would type it; long inline scripts are cut.
fn show(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| {
        let a = a.to_string_lossy();
        if a.contains('\n') {
            "'...'".to_owned()
        } else {
            a.into_owned()
        }
    }));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(set: &[(&str, &str)]) -> Result<PathBuf> {
        cache_dir(|name| {
            set.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.into())
        })
    }

    #[test]
    fn cache_folder_follows_the_environment() {
        assert_eq!(
            cache(&[("DUALMD_CACHE", "/a"), ("HOME", "/h")]).unwrap(),
            Path::new("/a")
        );
        assert_eq!(
            cache(&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")]).unwrap(),
            Path::new("/x/dualmd")
        );
        assert_eq!(
            cache(&[("XDG_CACHE_HOME", ""), ("HOME", "/h")]).unwrap(),
            Path::new("/h/.cache/dualmd")
        );
        assert!(cache(&[]).unwrap_err().to_string().contains("DUALMD_CACHE"));
    }

    /// A relative one is a trap for a program that is copied to a shared folder; see crates/torch/rpath.rs.
    #[test]
    fn no_program_looks_for_libraries_beside_itself() {
        let config = include_str!("../../.cargo/config.toml");
        let scripts = include_str!("../../crates/torch/build.rs");
        assert!(!config.contains("$ORIGIN") && !scripts.contains("$ORIGIN"));
    }

    #[test]
    fn a_failing_command_is_named() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo why >&2; exit 3"]);
        let error = output(command).unwrap_err().to_string();
        assert!(
            error.contains("sh -c") && error.contains("why") && error.contains('3'),
            "{error}"
        );
    }
}
