//! Which libtorch the workspace is built against.
//!
//! Set-up's whole effect is one symbolic link, `.cargo/libtorch`, that the committed `.cargo/config.toml` names in
//! `[env] LIBTORCH`; every binary is linked against what it leads to (`crates/torch/rpath.rs`). So plain cargo works
//! afterwards, a user's own `LIBTORCH` still wins, `cargo clean` does not undo the set-up, and two checkouts may use different engines.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::version;
use crate::wheels;
use crate::workspace::{self, Workspace};

/// A libtorch that was found, checked and linked.
#[derive(Debug, PartialEq)]
pub struct Engine {
    /// Folder with `include/` and `lib/`.
    pub path: PathBuf,
    /// Release number, without the local part.
    pub version: String,
    /// Where it came from, in words for the user.
    pub source: String,
    /// Whether our crates are built with the feature `cuda`.
    pub cuda: bool,
}

/// How freely `ensure` may choose.
#[derive(Clone, Copy)]
pub enum Choice {
    /// Stay with what an earlier set-up linked, unless the environment names another.
    Keep,
    /// Forget earlier choices.
    Afresh {
        /// Build the feature `cuda`; needs the user's own CUDA libtorch.
        cuda: bool,
    },
}

impl Engine {
    /// Arguments for cargo that build what this engine can do.
    pub fn cargo_features(&self) -> &'static [&'static str] {
        if self.cuda {
            &["--features", "dualmd-torch/cuda"]
        } else {
            &[]
        }
    }
}

/// Finds libtorch - the user's, the linked, the cached, or a download, in this order - and links it.
pub fn ensure(workspace: &Workspace, choice: Choice) -> Result<Engine> {
    check_compiler()?;
    let linked = linked(workspace);
    let user = user_engine(workspace)?;
    let engine = match (choice, user, linked) {
        (Choice::Afresh { cuda }, Some(user), _) => Engine { cuda, ..user },
        (Choice::Afresh { cuda: true }, None, _) => bail!(
            "--cuda needs your own CUDA build, the download is for the CPU: install PyTorch {} with CUDA and set \
             LIBTORCH_USE_PYTORCH=1, or unpack a CUDA libtorch {} and set LIBTORCH to its folder",
            version::REQUIRED,
            version::REQUIRED
        ),
        (Choice::Keep, Some(user), Some(linked)) if linked.path == user.path => Engine {
            cuda: linked.cuda,
            ..user
        },
        (Choice::Keep, Some(user), _) => user,
        (Choice::Keep, None, Some(linked)) => linked,
        (_, None, _) => Engine {
            path: wheels::engine(&workspace.cache)?,
            version: version::REQUIRED.into(),
            source: "the pinned wheels".into(),
            cuda: false,
        },
    };
    if engine.cuda && !engine.path.join("lib/libtorch_cuda.so").exists() {
        bail!(
            "--cuda: {} has no lib/libtorch_cuda.so, so it is a CPU build: install the CUDA build of version {}",
            engine.path.display(),
            version::REQUIRED
        );
    }
    link(workspace, &engine)?;
    Ok(engine)
}

/// The user's `LIBTORCH`, unless it is the value that our own `.cargo/config.toml` gives to every process.
pub fn user_libtorch(workspace: &Workspace) -> Option<PathBuf> {
    let value = PathBuf::from(std::env::var_os("LIBTORCH").filter(|value| !value.is_empty())?);
    (value != link_path(workspace)).then_some(value)
}

fn user_engine(workspace: &Workspace) -> Result<Option<Engine>> {
    // tch's build script asks for PyTorch first, so the order must be the same here.
    let (path, source) = if std::env::var_os("LIBTORCH_USE_PYTORCH").is_some() {
        (pytorch_folder()?, "LIBTORCH_USE_PYTORCH")
    } else if let Some(path) = user_libtorch(workspace) {
        let path = path.canonicalize().with_context(|| {
            format!("LIBTORCH={} is no folder: correct it, or unset it and let `cargo xtask setup` download", path.display())
        })?;
        (path, "LIBTORCH")
    } else {
        return Ok(None);
    };
    let version = version::check(&path, source)?;
    Ok(Some(Engine {
        path,
        version,
        source: source.into(),
        cuda: false,
    }))
}

fn pytorch_folder() -> Result<PathBuf> {
    // In a virtual environment `python` is the environment's; tch's build script makes the same distinction.
    let python = if std::env::var_os("VIRTUAL_ENV").is_some() {
        "python"
    } else {
        "python3"
    };
    let mut command = Command::new(python);
    command.args([
        "-c",
        "import os, torch; print(os.path.dirname(torch.__file__))",
    ]);
    let folder = workspace::output(command).with_context(|| {
        format!(
            "LIBTORCH_USE_PYTORCH is set, but {python} cannot import torch: install torch=={}, or unset it",
            version::REQUIRED
        )
    })?;
    Ok(PathBuf::from(folder))
}

fn check_compiler() -> Result<()> {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let mut words = compiler.split_whitespace();
    let Some(program) = words.next() else {
        bail!("CXX is empty: unset it, or name a C++20 compiler")
    };
    let mut command = Command::new(program);
    command.args(words).arg("--version");
    workspace::output(command).map(drop).with_context(|| {
        format!("no C++ compiler (`{compiler}`): install one (Debian: apt install g++)")
    })
}

fn link_path(workspace: &Workspace) -> PathBuf {
    workspace.root.join(".cargo/libtorch")
}

fn state_path(workspace: &Workspace) -> PathBuf {
    workspace.root.join(".cargo/engine.json")
}

/// What an earlier set-up linked, if it is still there and still right.
fn linked(workspace: &Workspace) -> Option<Engine> {
    let state: serde_json::Value =
        serde_json::from_slice(&std::fs::read(state_path(workspace)).ok()?).ok()?;
    let path = std::fs::read_link(link_path(workspace)).ok()?;
    let version = version::check(&path, "the link .cargo/libtorch").ok()?;
    (state["path"].as_str() == path.to_str() && state["version"].as_str() == Some(&version))
        .then_some(())?;
    Some(Engine {
        path,
        version,
        source: state["source"].as_str()?.into(),
        cuda: state["cuda"].as_bool()?,
    })
}

/// Makes the link, and forgets what was compiled against another engine.
fn link(workspace: &Workspace, engine: &Engine) -> Result<()> {
    let link = link_path(workspace);
    let before = std::fs::read_link(&link).ok();
    if before.as_ref() != Some(&engine.path) {
        replace_link(&engine.path, &link)?;
    }
    if before.is_some_and(|path| path != engine.path) {
        // Build scripts watch the variable LIBTORCH, whose value (the link) stayed the same.
        for profile in ["dev", "release"] {
            workspace::run(workspace.cargo(&[
                "clean",
                "--quiet",
                "--profile",
                profile,
                "--package",
                "torch-sys",
                "--package",
                "dualmd-torch",
            ]))?;
        }
    }
    let state = json!({
        "path": engine.path.to_str(), "version": engine.version, "source": engine.source, "cuda": engine.cuda,
    });
    write_atomically(&state_path(workspace), &format!("{state:#}\n"))
}

fn replace_link(to: &Path, link: &Path) -> Result<()> {
    let explain = || format!("cannot make the link {}", link.display());
    if let Some(parent) = link.parent() {
        std::fs::create_dir_all(parent).with_context(explain)?;
    }
    let fresh = link.with_extension(format!("new-{}", std::process::id()));
    #[cfg(unix)]
    std::os::unix::fs::symlink(to, &fresh).with_context(explain)?;
    #[cfg(not(unix))]
    bail!(
        "links to libtorch are made on Linux only: set LIBTORCH={} yourself",
        to.display()
    );
    #[cfg(unix)]
    std::fs::rename(&fresh, link).with_context(explain)
}

/// Writes beside the file and renames, so that a reader sees the old or the new text and nothing between.
pub fn write_atomically(path: &Path, text: &str) -> Result<()> {
    let explain = || format!("cannot write {}", path.display());
    let fresh = path.with_extension(format!("new-{}", std::process::id()));
    std::fs::write(&fresh, text).with_context(explain)?;
    std::fs::rename(&fresh, path).with_context(explain)
}
