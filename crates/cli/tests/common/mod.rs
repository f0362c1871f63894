//! A tiny experiment and the real binary.
#![allow(dead_code)]

pub mod chance;
pub mod python;
pub mod same;

use dualmd_data::{LoadOptions, load, save_folder};
use dualmd_torch::weights::{read_npy, write_npy};
use dualmd_torch::{Device, Kind, Tensor};
use std::path::{Path, PathBuf};
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

/// Two teachers, a student, an ordinary model, one distilled from it, and the pair. `TRAIN`: how many steps, and what is done
/// between them; `IMAGES`: the folder that [`Given`] makes.
pub const MANY: &str = r#"
seed = 3
[data]
source = "IMAGES"
image_size = 8
members = 8
nonmembers = 20
[model]
preset = "tiny"
block_out_channels = [4, 8]
norm_num_groups = 4
attention_head_dim = 8
[train]
TRAIN
batch = 4
warmup = 2
dtype = "f32"
checkpoint_every = 2
log_every = 2
[sample]
n = 4
steps = 2
features = "none"
copies = "pixels"
[audit]
attacks = ["loss", "sima", "nn"]
batch = 8
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
[[models]]
name = "kd"
defense = "kd"
teacher = "baseline"
"#;

/// Six members of one vendor, after a few drawings of another.
pub const TEXT: &str = r#"
seed = 1
[data]
source = "FINE"
image_size = 8
members = 6
nonmembers = 6
near_duplicates = "ignore"
[model]
preset = "t2i-pixels-32"
block_out_channels = [8, 8, 8]
norm_num_groups = 4
attention_head_dim = 2
[pretrain]
source = "BASE"
train = { steps = 2, caption_dropout = 0.5, captions = "any" }
[train]
steps = 4
batch = 4
warmup = 1
dtype = "f32"
eval_every = 0
sample_every = 2
[sample]
steps = 2
guidance = 2.0
per_prompt = 2
features = "none"
copies = "pixels"
[audit]
attacks = ["loss", "sima", "clid-gap", "wen", "loss+captions", "pw-threshold", "rounds@2", "rounds@2+second+pw-distribution",
           "sim-mean+captions", "sim-mean+captions-mean", "rounds@2+captions"]
known_fraction = 0.5
[run]
jobs = 2
threads_per_model = 1
[[models]]
name = "baseline"
defense = "none"
[[models]]
name = "lora"
defense = "none"
train = { lora_rank = 2, captions = "any" }
[[models]]
name = "pair"
defense = "dualmd"
teachers = "any"
train = { captions = "any" }
[[models]]
name = "student"
defense = "distillmd"
teachers = "any"
train = { captions = "any" }
"#;

/// The first `n` drawings of a vendor as a folder with captions.
pub fn folder(vendor: &str, n: usize, path: &Path) {
    let options = LoadOptions {
        image_size: Some(8),
        ..LoadOptions::default()
    };
    let mut set = load(vendor, &options).unwrap();
    set.records.truncate(n);
    save_folder(&set, path).unwrap();
}

/// A folder with an experiment in it.
pub struct Given {
    /// Everything is in it.
    pub dir: tempfile::TempDir,
    /// The experiment's file.
    pub experiment: PathBuf,
}

impl Given {
    /// `IMAGES` in the experiment becomes a folder of sixty pictures.
    pub fn new(experiment: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let images = dir.path().join("images");
        if experiment.contains("IMAGES") {
            folder("fashion", 60, &images);
        }
        let path = dir.path().join("tiny.toml");
        std::fs::write(&path, experiment.replace("IMAGES", text(&images))).unwrap();
        Self {
            experiment: path,
            dir,
        }
    }

    /// NAME/run, which does not exist yet.
    pub fn out(&self, name: &str) -> PathBuf {
        self.dir.path().join(name).join("run")
    }

    /// The arguments of a run in a folder.
    pub fn args<'a>(&'a self, out: &'a Path) -> [&'a str; 6] {
        let experiment = text(&self.experiment);
        ["run", experiment, "--out", text(out), "--threads", "2"]
    }
}

/// `dualmd` with `args`, one thread.
pub fn dualmd(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dualmd"));
    settled(command.args(args));
    command
}

/// One thread, and the same with and without what set-up fetches.
pub fn settled(command: &mut Command) -> &mut Command {
    command
        .env("OMP_NUM_THREADS", "1")
        .env("DUALMD_SSCD", "no-such-folder")
}

/// A program as root: by itself, or through sudo.
pub fn as_root(program: &str) -> Command {
    let user = Command::new("id").arg("-u").output().unwrap();
    if user.stdout.trim_ascii() == b"0" {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["--non-interactive", program]);
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

/// A JSON file.
pub fn json(path: &Path) -> serde_json::Value {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&bytes).unwrap()
}

/// Two sides of twelve images each, in a folder for all that a test makes.
pub struct Images {
    pub dir: tempfile::TempDir,
    pub members: PathBuf,
    pub others: PathBuf,
}

impl Images {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (members, others) = sides(dir.path(), 12);
        Self {
            dir,
            members,
            others,
        }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// Two folders in `dir` of `n` drawings each at 16 px: members and others for `tiny-ddpm`.
pub fn sides(dir: &Path, n: usize) -> (PathBuf, PathBuf) {
    let options = LoadOptions {
        image_size: Some(16),
        ..LoadOptions::default()
    };
    let mut set = load("emoji#twitter", &options).unwrap();
    set.records.truncate(2 * n);
    let (members, others) = (dir.join("members"), dir.join("others"));
    let rest = set.records.split_off(n);
    save_folder(&set, &members).unwrap();
    set.records = rest;
    save_folder(&set, &others).unwrap();
    (members, others)
}

/// What a text-to-image model predicts for the prompt "a cat" at two timesteps, of fixed inputs [2, channels, 8, 8] that stay in `dir`.
/// `model`: its folder and what else is named of it.
pub fn predicted(dir: &Path, channels: i64, model: &[&str]) -> Tensor {
    let at = |name: &str| dir.join(name);
    let (x, t, out) = (at("x.npy"), at("t.npy"), at("eps.npy"));
    if !x.exists() {
        let values: Vec<f32> = (0..2 * channels * 64)
            .map(|i| (i as f32 * 0.7).sin())
            .collect();
        let values = Tensor::from_slice(&values).reshape([2, channels, 8, 8]);
        write_npy(&x, &values).unwrap();
        write_npy(&t, &Tensor::from_slice(&[100_i64, 700])).unwrap();
    }
    let rest = [
        "--x",
        text(&x),
        "--t",
        text(&t),
        "--prompt",
        "a cat",
        "-o",
        text(&out),
    ];
    succeed(&[&["predict"][..], model, &rest].concat());
    read_npy(&out)
        .unwrap()
        .to_kind(Kind::Double)
        .to_device(Device::Cpu)
}
