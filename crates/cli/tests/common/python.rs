//! The Python package, and scripts of interop/ that use it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What `DUALMD_TEST_PYTHON` names: a Python with torch, diffusers, transformers and peft.
pub fn python() -> OsString {
    std::env::var_os("DUALMD_TEST_PYTHON")
        .expect("DUALMD_TEST_PYTHON names a Python; `cargo xtask test --interop` sets it")
}

/// The Python package as a wheel would install it, around the program under test.
pub fn installed(folder: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let package = folder.join("dualmd");
    std::fs::create_dir_all(package.join("bin")).unwrap();
    for file in std::fs::read_dir(root.join("python/dualmd")).unwrap() {
        let file = file.unwrap().path();
        if file.extension().is_some_and(|e| e == "py") {
            std::fs::copy(&file, package.join(file.file_name().unwrap())).unwrap();
        }
    }
    let pins = r#"{"version": "2.13.0", "wheels": [], "pip": []}"#;
    std::fs::write(package.join("engine.json"), pins).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_dualmd"), package.join("bin/dualmd")).unwrap();
    let info = folder.join("dualmd-0.1.0.dist-info");
    std::fs::create_dir(&info).unwrap();
    std::fs::write(
        info.join("METADATA"),
        "Metadata-Version: 2.1\nName: dualmd\nVersion: 0.1.0\n",
    )
    .unwrap();
}

/// That Python with the package in `package`.
pub fn in_python(package: &Path) -> Command {
    let mut command = Command::new(python());
    let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cargo/libtorch");
    let engine = std::env::var_os("LIBTORCH").map_or(engine, PathBuf::from);
    command
        .env("PYTHONPATH", package)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("DUALMD_LIBTORCH", engine)
        .env("DUALMD_SSCD", "no-such-folder")
        .env("OMP_NUM_THREADS", "1")
        .env_remove("LD_LIBRARY_PATH");
    command
}

/// Runs a script of interop/ where the package is installed; panics with its words if it fails.
pub fn check(script: &str, args: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    installed(dir.path());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop");
    let output = in_python(dir.path())
        .arg(folder.join(script))
        .args(args)
        .output()
        .expect("Python starts");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{script} {args:?}: {said}");
    println!("{said}");
}
