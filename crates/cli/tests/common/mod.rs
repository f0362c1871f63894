//! A tiny experiment and the real binary.
#![allow(dead_code)]

use std::path::Path;
use std::process::{Command, Output};

/// Eight members at 8 px: a step takes milliseconds.
pub const TINY: &str = r#"
seed = 3
[data]
source = "fashion"
image_size = 8
members = 8
nonmembers = 40
[model]
preset = "tiny"
block_out_channels = [8, 16]
norm_num_groups = 4
attention_head_dim = 8
[train]
steps = 60
batch = 8
warmup = 5
dtype = "f32"
checkpoint_every = 10
log_every = 10
eval_every = 30
[sample]
n = 8
steps = 5
features = "none"
copies = "pixels"
[audit]
attacks = ["loss", "sima"]
[run]
jobs = 2
threads_per_model = 1
[[models]]
name = "baseline"
defense = "none"
[[models]]
name = "dualmd"
defense = "dualmd"
[[models]]
name = "student"
defense = "distillmd"
"#;

/// `dualmd` with `args`, one thread.
pub fn dualmd(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dualmd"));
    command.args(args).env("OMP_NUM_THREADS", "1");
    // The same with and without what set-up fetches.
    command.env("DUALMD_SSCD", "no-such-folder");
    command
}

/// Runs it; panics with its words if it fails.
pub fn succeed(args: &[&str]) -> Output {
    let output = dualmd(args).output().expect("the binary starts");
    assert!(
        output.status.success(),
        "dualmd {args:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Runs it; panics if it succeeds; gives stderr.
pub fn fail(args: &[&str]) -> String {
    let output = dualmd(args).output().expect("the binary starts");
    assert!(!output.status.success(), "dualmd {args:?} succeeded");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !text.contains("panicked"),
        "a panic reached the user:\n{text}"
    );
    text
}

/// blake3 of a model's averaged and raw weights.
pub fn weights(run: &Path, model: &str) -> [String; 2] {
    ["unet", "unet_raw"].map(|set| {
        let path = run
            .join("models")
            .join(model)
            .join(set)
            .join("diffusion_pytorch_model.safetensors");
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        blake3::hash(&bytes).to_hex().to_string()
    })
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}
