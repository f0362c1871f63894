//! The Python environment with torch and diffusers: the other side of the parity tests and of the benchmark.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::engine::write_atomically;
use crate::wheels;
use crate::workspace::{self, Workspace};

const REQUIREMENTS: &str = include_str!("python-interop.txt");

/// Fails unless every pinned distribution is there in its version and the two that matter import.
const CHECK: &str = "
import importlib.metadata, sys
for line in sys.argv[1].splitlines():
    if line and not line.startswith(('#', ' ')):
        name, version = line.rstrip(' \\\\').split('==')
        if importlib.metadata.version(name) != version:
            sys.exit(f'{name} is not {version}')
import torch, diffusers
";

/// Holds the requirements that were installed, and is written last.
const STAMP: &str = "dualmd-complete.txt";

/// Installs the environment into the cache if it is not there, and returns its interpreter.
pub fn ensure(workspace: &Workspace) -> Result<PathBuf> {
    let folder = folder(workspace);
    let python = folder.join("bin/python");
    if fs::read_to_string(folder.join(STAMP)).is_ok_and(|text| text == REQUIREMENTS)
        && python.exists()
    {
        return Ok(python);
    }
    if !is_right(&python) {
        install(workspace, &folder, &python)?;
    }
    write_atomically(&folder.join(STAMP), REQUIREMENTS)?;
    Ok(python)
}

fn install(workspace: &Workspace, folder: &Path, python: &Path) -> Result<()> {
    eprintln!(
        "installing Python's torch and diffusers into {} (about 5 GB)",
        folder.display()
    );
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(folder);
    workspace::run(venv)
        .context("cannot make a Python environment; python3 3.11 or newer with venv is needed (Debian: apt install python3-venv)")?;
    let requirements = folder.join("python-interop.txt");
    fs::write(&requirements, REQUIREMENTS)
        .with_context(|| format!("cannot write {}", requirements.display()))?;
    let mut pip = Command::new(python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        // Wheels with the checksums of the file, and nothing else: a source package would run its own set-up.
        "--only-binary=:all:",
        "--require-hashes",
        "--no-deps",
        "--find-links",
    ])
    .arg(wheels::downloads(&workspace.cache))
    .arg("--requirement")
    .arg(requirements);
    workspace::run(pip).context("cannot install Python's torch and diffusers: check the network, disk space and pip's index settings")
}

/// An interpreter that tests may use: the user's, ours if it was installed, or a `python3` that has what it takes.
pub fn find(workspace: &Workspace) -> Option<PathBuf> {
    if let Some(python) = std::env::var_os("DUALMD_TEST_PYTHON").filter(|value| !value.is_empty()) {
        return Some(python.into());
    }
    let ours = folder(workspace).join("bin/python");
    [ours, "python3".into()].into_iter().find(|python| {
        let mut command = Command::new(python);
        command.args([
            "-c",
            "import torch, diffusers, transformers, peft, safetensors, scipy, dp_accounting, onnxruntime",
        ]);
        workspace::output(command).is_ok()
    })
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.cache.join("python-interop")
}

fn is_right(python: &Path) -> bool {
    let mut command = Command::new(python);
    command.args(["-c", CHECK, REQUIREMENTS]);
    workspace::output(command).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_requirement_is_pinned_and_torch_is_the_engine_s() {
        // `name==version \` and, indented, one checksum for each Python.
        let mut pins: Vec<(&str, Vec<&str>)> = Vec::new();
        for line in REQUIREMENTS.lines().filter(|line| !line.starts_with('#')) {
            let text = line.trim_end_matches('\\').trim();
            match text.strip_prefix("--hash=sha256:") {
                Some(hash) => pins.last_mut().unwrap().1.push(hash),
                None => pins.push((text, Vec::new())),
            }
        }
        for (pin, hashes) in &pins {
            assert_eq!(pin.matches("==").count(), 1, "{pin}");
            let whole =
                |hash: &&str| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
            assert!(
                !hashes.is_empty() && hashes.iter().all(whole),
                "{pin}: {hashes:?}"
            );
        }
        let lines: Vec<&str> = pins.iter().map(|(pin, _)| *pin).collect();
        for name in [
            "diffusers",
            "transformers",
            "safetensors",
            "numpy",
            "scipy",
            "pillow",
        ] {
            assert!(
                lines
                    .iter()
                    .any(|line| line.starts_with(&format!("{name}=="))),
                "{name}"
            );
        }
        assert!(lines.contains(&format!("torch=={}", crate::version::REQUIRED).as_str()));
    }
}
