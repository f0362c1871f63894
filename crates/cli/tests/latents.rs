//! Models of latents that are told no text, from the command line: trained over an autoencoder, fine-tuned from diffusers' folders, attacked,
//! drawn from, and put together from parts.

mod common;

use common::{TINY, fail, json, succeed, text};
use dualmd_data::{LoadOptions, load, save_folder};
use dualmd_torch::weights::{read_npy, read_safetensors};
use dualmd_torch::{Kind, Tensor};
use std::path::{Path, PathBuf};

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// A transformer that is told a class and also predicts a variance, over an autoencoder, goes on with other images.
const TUNED: &str = r#"
seed = 3
[data]
source = "IMAGES"
image_size = 16
members = 8
nonmembers = 16
near_duplicates = "ignore"
labels = true
[model]
start = "START"
[train]
steps = 6
batch = 4
warmup = 1
label_dropout = 0.2
flip = true
dtype = "f32"
checkpoint_every = 3
eval_every = 3
[sample]
n = 4
steps = 3
label_guidance = 2.0
features = "none"
copies = "pixels"
[audit]
attacks = ["loss", "sima", "reference", "rounds@2"]
reference = "base"
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
name = "dp"
defense = "dp-sgd"
epsilon = 8.0
"#;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/golden")
        .join(name)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// Thirty drawings at 16 px, a cat, a dog and an owl in turn.
fn labelled(folder: &Path) {
    let options = LoadOptions {
        image_size: Some(16),
        ..LoadOptions::default()
    };
    let mut set = load("emoji#fluent3d", &options).unwrap();
    set.records.truncate(30);
    for (i, record) in set.records.iter_mut().enumerate() {
        record.label = Some(["cat", "dog", "owl"][i % 3].to_owned());
    }
    save_folder(&set, folder).unwrap();
}

/// Two images of a model.
fn drawn(model: &Path, out: &Path, more: &[&str]) -> Vec<f32> {
    let common = [
        "-n", "2", "--steps", "3", "--seed", "3", "--format", "npy", "-q", "-o",
    ];
    let mut args = vec!["sample", text(model)];
    args.extend(more);
    args.extend(common);
    args.push(text(out));
    succeed(&args);
    let images = read_npy(&out.join("samples.npy")).unwrap();
    assert_eq!(images.size(), [2, 3, 16, 16]);
    let images = Vec::<f32>::try_from(&images.view([-1])).unwrap();
    assert!(images.iter().all(|v| v.is_finite() && v.abs() <= 1.0));
    images
}

/// The rows of the last layer that make the noise, and those that make the variance.
fn last_layer(network: &Path) -> [Tensor; 2] {
    let mut all = read_safetensors(&network.join(WEIGHTS)).unwrap();
    let rows = all.remove("proj_out_2.weight").unwrap();
    // For each pixel of a square six channels: three of the noise, three of its variance.
    let rows = rows.view([4, 2, 3, -1]);
    [0, 1].map(|half| rows.select(1, half).contiguous())
}

fn apart(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

#[test]
fn a_transformer_of_latents_goes_on_from_diffusers_folder_with_every_defence() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    labelled(&at("images"));
    let (start, run) = (golden("dit/latents"), at("run"));
    let experiment = TUNED
        .replace("IMAGES", text(&at("images")))
        .replace("START", text(&start));
    std::fs::write(at("tuned.toml"), experiment).unwrap();
    let args = ["run", text(&at("tuned.toml")), "--out", text(&run)].map(str::to_owned);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    succeed(&args);
    let plan = json(&run.join("plan.json"));
    assert_eq!(plan["model"]["labels"][1], "hound, dog");
    assert_eq!(plan["model"]["config"]["out_channels"], 6);
    assert!(plan["model"]["base"].is_string() && plan["model"]["text"] == false);
    let before = last_layer(&start.join("transformer"));
    let vae = read_safetensors(&start.join("vae").join(WEIGHTS)).unwrap();
    for model in ["baseline", "teacher-1", "teacher-2", "student", "dp"] {
        let folder = run.join("models").join(model);
        let index = json(&folder.join("model_index.json"));
        assert_eq!(index["_class_name"], "DiTPipeline");
        assert_eq!(index["vae"][1], "AutoencoderKL");
        assert_eq!(index["scheduler"][1], "DDIMScheduler");
        assert_eq!(index["id2label"]["1"], "hound, dog");
        // Neither the schedule nor the autoencoder is touched.
        let scheduler = json(&folder.join("scheduler/scheduler_config.json"));
        assert_eq!(scheduler["clip_sample"], false);
        let own = read_safetensors(&folder.join("vae").join(WEIGHTS)).unwrap();
        assert_eq!(own.len(), vae.len());
        assert!(own.iter().all(|(name, tensor)| *tensor == vae[name]));
        let after = last_layer(&folder.join("transformer_raw"));
        assert!(apart(&after[0], &before[0]) > 1e-6, "{model}");
        if model != "dp" {
            // Nothing is learnt of the variance, and nothing forgotten. (DP-SGD's noise falls on every parameter.)
            assert_eq!(apart(&after[1], &before[1]), 0.0, "{model}");
        }
        let training = json(&folder.join("training.json"));
        assert!(training["member_loss"].as_f64().is_some_and(f64::is_finite));
    }
    for model in ["baseline", "dualmd", "student", "dp"] {
        let samples = run.join("samples").join(model).join("samples.npy");
        let samples = read_npy(&samples).unwrap();
        assert_eq!(samples.size(), [4, 3, 16, 16]);
        let scores = json(&run.join("scores").join(format!("{model}.json")));
        for attack in scores["attacks"].as_array().unwrap() {
            assert_eq!(attack["status"], "ok", "{model}: {attack}");
        }
    }
    assert!(!run.join("models/reference").exists());
    assert!(run.join("report.json").exists());
    // What is there is not made again.
    succeed(&args);

    let model = run.join("models/baseline");
    let own = drawn(&model, &at("own"), &["--prompt", "owl"]);
    assert_ne!(own, drawn(&model, &at("cat"), &["--prompt", "cat"]));
    let guided = ["--prompt", "owl", "--guidance", "3"];
    assert_ne!(own, drawn(&model, &at("guided"), &guided));
    assert_ne!(own, drawn(&start, &at("before"), &["--prompt", "owl"]));
    let exported = at("copy");
    succeed(&["export", "copy", text(&model), "-o", text(&exported)]);
    assert_eq!(own, drawn(&exported, &at("of-copy"), &["--prompt", "owl"]));

    // Images of another size, and of a class that it does not know, are refused before anything is trained.
    let other = at("other");
    let mut more = vec!["run", args[1], "--out", text(&other), "--set"];
    more.push("data.image_size=32");
    let error = fail(&more);
    assert!(error.contains("16x16"), "{error}");
    more.pop();
    let set = format!("model.start={}", text(&golden("families/kl")));
    more.push(&set);
    let error = fail(&more);
    assert!(error.contains("told no class"), "{error}");
    assert!(!other.join("models").exists());
}

/// `TINY` on images of 16 px in colour, over an autoencoder that makes latents of 8 px.
fn over(autoencoder: &Path) -> String {
    TINY.replace("image_size = 8\n", "image_size = 16\nchannels = 3\n")
        .replace(
            "[model]\n",
            &format!("[model]\nautoencoder = \"{}\"\n", text(autoencoder)),
        )
        .replace("steps = 60\n", "steps = 12\n")
}

#[test]
fn a_fresh_network_learns_the_latents_of_a_codebook() {
    let dir = tempfile::tempdir().unwrap();
    let (file, run) = (dir.path().join("vq.toml"), dir.path().join("run"));
    std::fs::write(&file, over(&golden("families/vq"))).unwrap();
    let planned = succeed(&["run", text(&file), "--out", text(&run)]);
    let said = [planned.stdout, planned.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("of latents"), "{said}");
    let plan = json(&run.join("plan.json"));
    assert_eq!(plan["model"]["config"]["in_channels"], 3);
    assert_eq!(plan["model"]["config"]["sample_size"], 8);
    assert!(plan["model"]["autoencoder"].is_string());
    for model in ["baseline", "teacher-1", "student"] {
        let folder = run.join("models").join(model);
        let index = json(&folder.join("model_index.json"));
        assert_eq!(index["_class_name"], "LDMPipeline");
        assert_eq!(index["vqvae"][1], "VQModel");
        let scheduler = json(&folder.join("scheduler/scheduler_config.json"));
        assert_eq!(scheduler["clip_sample"], false);
    }
    for model in ["baseline", "dualmd", "student"] {
        let scores = json(&run.join("scores").join(format!("{model}.json")));
        for attack in scores["attacks"].as_array().unwrap() {
            assert_eq!(attack["status"], "ok", "{model}: {attack}");
        }
    }
    // What the codebook is asked with is one latent, with no deviation.
    let encoded = std::fs::read_dir(run.join("encoded")).unwrap();
    let mut found = 0;
    for file in encoded {
        let latents = read_safetensors(&file.unwrap().path()).unwrap();
        let deviation = &latents["deviation"];
        assert_eq!(deviation.abs().sum(Kind::Double).double_value(&[]), 0.0);
        assert_eq!(latents["mean"].size()[1..], [3, 8, 8]);
        found += 1;
    }
    assert_eq!(found, 1, "all trainings see the same latents");
    drawn(&run.join("models/student"), &dir.path().join("out"), &[]);
}

#[test]
fn a_transformer_learns_latents_as_a_flow_and_another_autoencoder_is_another_run() {
    let dir = tempfile::tempdir().unwrap();
    let (file, run) = (dir.path().join("kl.toml"), dir.path().join("run"));
    let unet = "preset = \"tiny\"\nblock_out_channels = [8, 16]\nnorm_num_groups = 4\nattention_head_dim = 8\n";
    let flow = |autoencoder: &Path| {
        over(autoencoder)
            .replace(unet, "preset = \"dit-tiny\"\nnum_layers = 1\n")
            .replace("[train]\n", "[train]\nobjective = \"flow\"\n")
    };
    let train = |more: &[&str]| -> Vec<String> {
        let args = [
            "train",
            text(&file),
            "--model",
            "baseline",
            "--out",
            text(&run),
            "-q",
        ];
        let all = args.iter().chain(more);
        all.map(|arg| (*arg).to_owned()).collect()
    };
    std::fs::write(&file, flow(&golden("families/kl"))).unwrap();
    let args = train(&["--max-steps-now", "4"]);
    succeed(&args.iter().map(String::as_str).collect::<Vec<_>>());
    // The same weights from another place are the same run; another autoencoder is another.
    let moved = dir.path().join("moved");
    copy(&golden("families/kl"), &moved);
    std::fs::write(&file, flow(&golden("families/vq"))).unwrap();
    let args = train(&[]);
    let error = fail(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(error.contains("another run"), "{error}");
    std::fs::write(&file, flow(&moved)).unwrap();
    succeed(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let model = run.join("models/baseline");
    let index = json(&model.join("model_index.json"));
    assert_eq!(index["_class_name"], "DiTPipeline");
    assert_eq!(index["vae"][1], "AutoencoderKL");
    assert_eq!(index["scheduler"][1], "FlowMatchEulerDiscreteScheduler");
    drawn(&model, &dir.path().join("out"), &[]);
}

#[test]
fn parts_alone_become_a_model_as_the_refusal_says() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (whole, network) = (golden("dit/latents"), at("parts/transformer"));
    for part in ["transformer", "vae", "scheduler"] {
        copy(&whole.join(part), &at("parts").join(part));
    }
    let sample = |model: &Path| fail(&["sample", text(model), "-n", "1", "-o", text(&at("none"))]);
    let error = sample(&network);
    let scheduler = at("parts/scheduler/scheduler_config.json");
    let command = format!(
        "dualmd import unet {} --scheduler {} --autoencoder {} -o NEW",
        text(&network),
        text(&scheduler),
        text(&at("parts/vae"))
    );
    assert!(error.contains(&command), "{error} lacks {command}");
    let made = at("made");
    let remedy = command.replace("NEW", text(&made));
    let args: Vec<&str> = remedy.split(' ').skip(1).collect();
    succeed(&args);
    let own = drawn(&made, &at("own"), &["--prompt", "2"]);
    assert_eq!(own, drawn(&whole, &at("of-whole"), &["--prompt", "2"]));

    // Of a whole pipeline its folder is named; an autoencoder and a schedule are no models.
    std::fs::copy(whole.join("model_index.json"), at("parts/model_index.json")).unwrap();
    assert!(sample(&network).contains("one part (DiTTransformer2DModel) of the pipeline folder"));
    std::fs::remove_file(at("parts/model_index.json")).unwrap();
    assert!(sample(&at("parts/vae")).contains("is an autoencoder alone"));
    assert!(sample(&at("parts/scheduler")).contains("a noise schedule alone"));
    let error = sample(&at("parts"));
    assert!(
        error.contains("says what its parts are") && error.contains(&command),
        "{error}"
    );
    let unfit = golden("conditional/sd1");
    let error = fail(&[
        "import",
        "unet",
        text(&network),
        "--autoencoder",
        text(&unfit),
        "-o",
        text(&at("unfit")),
    ]);
    assert!(error.contains("4 latent channels"), "{error}");
    assert!(!at("unfit").exists());
    std::fs::remove_file(network.join("config.json")).unwrap();
    let error = fail(&["import", "unet", text(&network), "-o", text(&at("unfit"))]);
    assert!(error.contains("config.json"), "{error}");
}

mod needs_python {
    use super::*;
    use common::python::python;
    use dualmd_torch::weights::write_npy;
    use dualmd_torch::{Device, noise};
    use std::process::Command;

    /// Runs `interop/check_latents.py`; panics with its words if it fails.
    fn script(args: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop/check_latents.py");
        let output = Command::new(python())
            .arg(script)
            .args(args)
            .env("OMP_NUM_THREADS", "1")
            .env_remove("LD_LIBRARY_PATH")
            .output()
            .expect("Python starts");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success(), "{args:?}: {said}");
        println!("{said}");
    }

    /// What `dualmd predict` answers, and with `drawn` what `dualmd sample` draws, into `probe`.
    fn ask(model: &Path, probe: &Path, told: &[&str], draws: bool) {
        std::fs::create_dir(probe).unwrap();
        let at = |name: &str| probe.join(name);
        let mut rng = dualmd_data::stream(1, "interop", 2);
        let x_t = noise::normal(&mut rng, &[4, 3, 8, 8], Device::Cpu);
        write_npy(&at("x_t.npy"), &x_t).unwrap();
        write_npy(&at("t.npy"), &Tensor::from_slice(&[0i64, 250, 600, 999])).unwrap();
        for (weights, name) in [("ema", "eps.npy"), ("raw", "eps_raw.npy")] {
            let (x, t, out) = (at("x_t.npy"), at("t.npy"), at(name));
            let mut args = vec!["predict", text(model), "--x", text(&x), "--t", text(&t)];
            args.extend(told);
            args.extend(["--weights", weights, "-o", text(&out)]);
            succeed(&args);
        }
        if !draws {
            return;
        }
        let (begin, out) = (at("x_T.npy"), at("out"));
        write_npy(&begin, &noise::normal(&mut rng, &[2, 3, 8, 8], Device::Cpu)).unwrap();
        let mut args = vec!["sample", text(model), "-n", "2", "--steps", "5"];
        args.extend(told);
        args.extend(["--guidance", "3", "--noise", text(&begin)]);
        args.extend(["--format", "npy", "-q", "-o", text(&out)]);
        succeed(&args);
        std::fs::copy(out.join("samples.npy"), at("samples.npy")).unwrap();
    }

    #[test]
    #[ignore = "needs Python with torch and diffusers: `cargo xtask test --interop`"]
    fn folders_of_latents_go_to_diffusers_and_back() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let starts = at("starts");
        script(&["make", text(&starts)]);
        labelled(&at("images"));
        for name in ["kl", "vq", "ldm"] {
            let (start, run, file) = (starts.join(name), at(name), at(&format!("{name}.toml")));
            let mut experiment = TUNED
                .replace("IMAGES", text(&at("images")))
                .replace("START", text(&start));
            let told = name != "ldm";
            if !told {
                for key in [
                    "labels = true\n",
                    "label_dropout = 0.2\n",
                    "label_guidance = 2.0\n",
                ] {
                    experiment = experiment.replace(key, "");
                }
            }
            std::fs::write(&file, experiment).unwrap();
            let common = ["--model", "baseline", "--threads", "1", "-q", "--out"];
            let mut args = vec!["train", text(&file)];
            args.extend(common);
            args.push(text(&run));
            succeed(&args);
            let (model, probe) = (run.join("models/baseline"), at(&format!("{name}-probe")));
            let class = match told {
                true => &["--prompt", "owl"][..],
                false => &[][..],
            };
            ask(&model, &probe, class, name == "kl");
            script(&["check", text(&start), text(&model), text(&probe)]);
        }
    }
}
