//! Folders written here, read by Python's diffusers, and the other way. `DUALMD_TEST_PYTHON` names a Python with torch
//! and diffusers; `cargo xtask test --interop` makes one and sets it.

mod common;

use common::{TINY, succeed, text};
use dualmd_data::{LoadOptions, load, save_folder};
use dualmd_torch::weights::{read_npy, write_npy, write_safetensors};
use dualmd_torch::{Device, Kind, Tensor, noise};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

fn python() -> OsString {
    std::env::var_os("DUALMD_TEST_PYTHON")
        .expect("DUALMD_TEST_PYTHON names a Python; `cargo xtask test --interop` sets it")
}

/// Runs a script of interop/; panics with its words if it fails.
fn run_script(python: &OsStr, name: &str, args: &[impl AsRef<OsStr>]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop");
    let output = Command::new(python)
        .arg(script.join(name))
        .args(args)
        .env("OMP_NUM_THREADS", "1")
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .expect("Python starts");
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&said)
    );
}

/// Two steps on captioned emoji from a folder of Python's.
const FINE_TUNING: &str = r#"
seed = 2
[data]
source = "IMAGES"
image_size = 16
members = 4
nonmembers = 4
[model]
base = "BASE"
[train]
steps = 2
batch = 4
warmup = 1
learning_rate = 1e-3
ema = 0.9
dtype = "f32"
eval_every = 0
[[models]]
name = "tuned"
defense = "none"
"#;

const PROMPT: &str = "A red cat, 42!";
const STEPS: usize = 5;
const GUIDANCE: f64 = 3.0;

/// What `dualmd predict` and, for models of latents, `dualmd sample` make of a folder, beside its parts.
fn write_probe(model: &Path, [c, h, w]: [i64; 3], latent: bool) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut rng = dualmd_data::stream(1, "interop", 1);
    let x_t = noise::normal(&mut rng, &[4, c, h, w], Device::Cpu);
    let t = Tensor::from_slice(&[0i64, 10, 500, 999]);
    write_npy(&at("x.npy"), &x_t).unwrap();
    write_npy(&at("t.npy"), &t).unwrap();
    let mut named = vec![("x_t", x_t), ("t", t)];
    for (weights, name) in [("ema", "eps"), ("raw", "eps_raw")] {
        succeed(&[
            "predict",
            text(model),
            "--x",
            text(&at("x.npy")),
            "--t",
            text(&at("t.npy")),
            "--prompt",
            PROMPT,
            "--weights",
            weights,
            "-o",
            text(&at("eps.npy")),
        ]);
        named.push((name, read_npy(&at("eps.npy")).unwrap()));
    }
    if latent {
        let x_last = noise::normal(&mut rng, &[2, c, h, w], Device::Cpu);
        write_npy(&at("x_T.npy"), &x_last).unwrap();
        succeed(&[
            "sample",
            text(model),
            "-n",
            "2",
            "--steps",
            &STEPS.to_string(),
            "--guidance",
            &GUIDANCE.to_string(),
            "--prompt",
            PROMPT,
            "--noise",
            text(&at("x_T.npy")),
            "--format",
            "npy",
            "-o",
            text(&at("out")),
            "-q",
        ]);
        let sample = read_npy(&at("out").join("samples.npy")).unwrap();
        named.extend([("x_T", x_last), ("sample", sample)]);
    }
    let named = named.iter().map(|(name, tensor)| (*name, tensor));
    write_safetensors(&model.join("probe.safetensors"), named, &[]).unwrap();
    let settings = serde_json::json!({"prompt": PROMPT, "steps": STEPS, "guidance": GUIDANCE});
    std::fs::write(model.join("probe.json"), settings.to_string()).unwrap();
}

/// A tiny model that is trained as `experiment` says, in `dir`; beside it x.npy, t.npy and eps.npy of `dualmd predict`, and x_T.npy, from
/// which `dualmd sample` drew out/samples.npy in ten steps.
fn probed(dir: &Path, experiment: &str) -> PathBuf {
    let at = |name: &str| dir.join(name);
    std::fs::write(at("tiny.toml"), experiment).unwrap();
    let run = at("run");
    succeed(&[
        "train",
        text(&at("tiny.toml")),
        "--model",
        "baseline",
        "--out",
        text(&run),
        "--threads",
        "1",
        "-q",
    ]);
    let model = run.join("models/baseline");
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
    drawn(&model, &at("x_T.npy"), 10, &at("out"));
    model
}

/// What `dualmd sample` draws from `noise`, as an array in `out`.
fn drawn(model: &Path, noise: &Path, steps: usize, out: &Path) {
    succeed(&[
        "sample",
        text(model),
        "-n",
        "4",
        "--steps",
        &steps.to_string(),
        "--noise",
        text(noise),
        "--format",
        "npy",
        "-o",
        text(out),
    ]);
}

mod needs_python {
    use super::*;

    #[test]
    #[ignore = "needs Python with torch and diffusers: `cargo xtask test --interop`"]
    fn diffusers_computes_the_same_from_our_folder() {
        let python = python();
        let dir = tempfile::tempdir().unwrap();
        let model = probed(dir.path(), TINY);
        let at = |name: &str| dir.path().join(name);
        run_script(
            &python,
            "check_diffusers.py",
            &[
                model.as_os_str(),
                at("x.npy").as_os_str(),
                at("t.npy").as_os_str(),
                at("eps.npy").as_os_str(),
                OsStr::new("--noise"),
                at("x_T.npy").as_os_str(),
                OsStr::new("--sample"),
                at("out").join("samples.npy").as_os_str(),
            ],
        );
    }

    #[test]
    #[ignore = "needs Python with torch and diffusers: `cargo xtask test --interop`"]
    fn diffusers_draws_the_same_from_our_flow() {
        let python = python();
        let dir = tempfile::tempdir().unwrap();
        let experiment = TINY.replace("[train]\n", "[train]\nobjective = \"flow\"\n");
        let model = probed(dir.path(), &experiment);
        let at = |name: &str| dir.path().join(name);
        drawn(&model, &at("x_T.npy"), 1, &at("step"));
        run_script(
            &python,
            "check_flow.py",
            &[
                model.as_os_str(),
                at("x.npy").as_os_str(),
                at("t.npy").as_os_str(),
                at("eps.npy").as_os_str(),
                OsStr::new("--noise"),
                at("x_T.npy").as_os_str(),
                OsStr::new("--step"),
                at("step").join("samples.npy").as_os_str(),
                OsStr::new("--sample"),
                at("out").join("samples.npy").as_os_str(),
            ],
        );
    }

    #[test]
    #[ignore = "needs Python with torch and diffusers: `cargo xtask test --interop`"]
    fn a_folder_from_python_is_fine_tuned_and_goes_back() {
        let python = python();
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        run_script(
            &python,
            "check_finetune.py",
            &[OsStr::new("make"), at("start").as_os_str()],
        );
        let options = LoadOptions {
            image_size: Some(16),
            ..LoadOptions::default()
        };
        let mut set = load("emoji#fluent3d", &options).unwrap();
        set.records.truncate(24);
        save_folder(&set, &at("images")).unwrap();
        let mut checked = vec![OsString::from("check")];
        // The sides of what the network sees: latents of half the images' size, or the images.
        for (name, channels, side) in [("sd1", 4, 8), ("sd2", 4, 8), ("pixels", 3, 16)] {
            let (start, run) = (at("start").join(name), at(name));
            let experiment = FINE_TUNING
                .replace("IMAGES", text(&at("images")))
                .replace("BASE", text(&start));
            let file = at(&format!("{name}.toml"));
            std::fs::write(&file, experiment).unwrap();
            succeed(&[
                "train",
                text(&file),
                "--model",
                "tuned",
                "--out",
                text(&run),
                "--threads",
                "1",
                "-q",
            ]);
            let model = run.join("models/tuned");
            write_probe(&model, [channels, side, side], name != "pixels");
            checked.extend([start.into(), model.into()]);
        }
        run_script(&python, "check_finetune.py", &checked);
    }
}
