//! Folders written here, read by Python's diffusers. Runs where `DUALMD_TEST_PYTHON` names a Python with torch and
//! diffusers (`cargo xtask test --interop` makes one); `cargo xtask test` says when this was left out.

mod common;

use common::{TINY, succeed, text};
use dualmd_torch::weights::write_npy;
use dualmd_torch::{Device, Kind, Tensor, noise};
use std::process::Command;

#[test]
fn diffusers_computes_the_same_from_our_folder() {
    let Some(python) = std::env::var_os("DUALMD_TEST_PYTHON") else {
        eprintln!("left out: DUALMD_TEST_PYTHON is not set");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let experiment = dir.path().join("tiny.toml");
    std::fs::write(&experiment, TINY).unwrap();
    let run = dir.path().join("run");
    succeed(&[
        "train",
        text(&experiment),
        "--model",
        "baseline",
        "--out",
        text(&run),
        "--threads",
        "1",
        "-q",
    ]);
    let model = run.join("models/baseline");
    let at = |name: &str| dir.path().join(name);
    let mut rng = dualmd_data::stream(1, "interop", 0);
    write_npy(
        &at("x.npy"),
        &noise::normal(&mut rng, &[4, 1, 8, 8], Device::Cpu),
    )
    .unwrap();
    write_npy(&at("t.npy"), &Tensor::from_slice(&[0i64, 10, 500, 999])).unwrap();
    write_npy(
        &at("x_T.npy"),
        &noise::normal(&mut rng, &[4, 1, 8, 8], Device::Cpu).to_kind(Kind::Float),
    )
    .unwrap();
    succeed(&[
        "predict",
        text(&model),
        "--x",
        text(&at("x.npy")),
        "--t",
        text(&at("t.npy")),
        "-o",
        text(&at("eps.npy")),
    ]);
    succeed(&[
        "sample",
        text(&model),
        "-n",
        "4",
        "--steps",
        "10",
        "--noise",
        text(&at("x_T.npy")),
        "--format",
        "npy",
        "-o",
        text(&at("out")),
    ]);
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../interop/check_diffusers.py"
    );
    let output = Command::new(python)
        .arg(script)
        .args([&model, &at("x.npy"), &at("t.npy"), &at("eps.npy")])
        .arg("--noise")
        .arg(at("x_T.npy"))
        .arg("--sample")
        .arg(at("out").join("samples.npy"))
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .expect("Python starts");
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}
