//! `dualmd tune`: adapters on a tiny random base, from images to the report.

mod common;

use common::{TEXT, fail, folder, json, succeed, text};
use dualmd_torch::Tensor;
use dualmd_torch::weights::{read_npy, read_safetensors};
use serde_json::Value;
use std::path::{Path, PathBuf};

const LORA: &str = "pytorch_lora_weights.safetensors";

/// A text-to-image folder of pixels at 8 px that learnt next to nothing.
fn base(dir: &Path) -> PathBuf {
    let at = |name: &str| dir.join(name);
    folder("emoji#twitter", 24, &at("pretraining"));
    folder("emoji#google", 12, &at("others"));
    let experiment = TEXT
        .replace("FINE", text(&at("others")))
        .replace("BASE", text(&at("pretraining")));
    let (settings, _) = experiment.split_once("[[models]]").unwrap();
    let file = at("base.toml");
    let model = "[[models]]\nname = \"m\"\ndefense = \"none\"\n";
    std::fs::write(&file, format!("{settings}{model}")).unwrap();
    let out = at("first");
    let command = [
        "run",
        text(&file),
        "--out",
        text(&out),
        "--until",
        "train",
        "-q",
    ];
    succeed(&command);
    out.join("models/base")
}

/// What keeps a run to moments.
const QUICK: [&str; 12] = [
    "train.steps=4",
    "train.batch=4",
    "train.dtype=f32",
    "train.learning_rate=0.05",
    "data.near_duplicates=ignore",
    "sample.steps=2",
    "sample.per_prompt=1",
    "sample.guidance=2",
    "sample.features=none",
    "sample.copies=pixels",
    "run.jobs=2",
    "run.threads_per_model=1",
];

fn line(base: &Path, images: &Path, out: &Path, more: &[&str]) -> Vec<String> {
    let own = [
        "tune",
        text(base),
        "--images",
        text(images),
        "-o",
        text(out),
        "--threads",
        "2",
        "-q",
    ];
    let sets = QUICK.iter().flat_map(|set| ["--set", *set]);
    let all = own.into_iter().chain(sets).chain(more.iter().copied());
    all.map(str::to_owned).collect()
}

fn words(line: &[String]) -> Vec<&str> {
    line.iter().map(String::as_str).collect()
}

/// What a model of pixels predicts for the caption "a cat".
fn predicted(dir: &Path, model: &[&str]) -> Tensor {
    common::predicted(dir, 3, model)
}

fn far(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

#[test]
fn adapters_are_trained_attacked_and_reported_in_one_command() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let base = base(dir.path());
    // Captions of the bundled emoji: several for each.
    folder("emoji#fluent3d", 60, &at("images"));
    let out = at("out");
    let more = [
        "--members",
        "6",
        "--nonmembers",
        "6",
        "--rank",
        "2",
        "--rival",
        "early-stopping,dp-sgd",
        "--set",
        "models.4.noise_multiplicity=1",
    ];
    let command = line(&base, &at("images"), &out, &more);
    succeed(&words(&command));

    // It was a run of the preset: the file repeats it.
    let experiment = std::fs::read_to_string(out.join("experiment.toml")).unwrap();
    for key in [
        "lora_rank = 2",
        "lora_save = \"adapter\"",
        "reference = \"base\"",
        "captions = \"any\"",
        "steps = 4",
    ] {
        assert!(experiment.contains(key), "{key}: {experiment}");
    }
    let model = |name: &str| out.join("models").join(name);
    let trained = [
        "plain",
        "teacher-1",
        "teacher-2",
        "student",
        "early-stopping",
        "dp-sgd",
    ];
    let absolute = base.canonicalize().unwrap();
    for name in trained {
        let folder = model(name);
        // An adapter in three forms, and no network.
        for file in [LORA, "adapter_model.safetensors", "kohya.safetensors"] {
            assert!(folder.join(file).is_file(), "{name}: {file}");
        }
        assert!(!folder.join("unet").exists() && !folder.join("vae").exists());
        let config = json(&folder.join("adapter_config.json"));
        assert_eq!(config["r"], 2);
        let named = config["base_model_name_or_path"].as_str().unwrap();
        assert_eq!(Path::new(named).canonicalize().unwrap(), absolute, "{name}");
        let tensors = read_safetensors(&folder.join(LORA)).unwrap();
        let moved = tensors
            .iter()
            .filter(|(key, _)| key.contains("lora_B"))
            .any(|(_, b)| b.abs().max().double_value(&[]) > 0.0);
        assert!(moved, "{name} learnt nothing");
        // Nor do checkpoints hold more.
        let checkpoints = dualmd_files::list(&out.join("checkpoints").join(name)).unwrap();
        let mut seen = 0;
        for folder in checkpoints.iter().filter(|path| path.is_dir()) {
            for part in ["unet", "unet_ema"] {
                let file = folder
                    .join(part)
                    .join("diffusion_pytorch_model.safetensors");
                for key in read_safetensors(&file).unwrap().keys() {
                    assert!(key.contains(".lora_"), "{key}");
                    seen += 1;
                }
            }
        }
        assert!(seen > 0, "{name} has no checkpoint");
    }
    assert!(!model("reference").exists(), "the base is the reference");

    // An adapter's folder is base and adapter together.
    let folder_of = |name: &str| model(name).to_str().unwrap().to_owned();
    let plain = predicted(dir.path(), &[&folder_of("plain")]);
    let by_file = predicted(
        dir.path(),
        &[text(&base), "--lora", text(&model("plain").join(LORA))],
    );
    assert!(far(&plain, &by_file) < 1e-6);
    let kohya = model("plain").join("kohya.safetensors");
    let by_kohya = predicted(dir.path(), &[text(&base), "--lora", text(&kohya)]);
    assert!(far(&plain, &by_kohya) < 1e-6);
    assert!(far(&plain, &predicted(dir.path(), &[text(&base)])) > 1e-4);

    // The pair by its folders is the pair by its files over one base.
    let sample = |name: &str, model: &[&str]| {
        let out = at(name);
        let rest = [
            "-n",
            "2",
            "--steps",
            "4",
            "--prompt",
            "a cat",
            "--format",
            "npy",
            "-q",
            "-o",
            text(&out),
        ];
        succeed(&[&["sample"][..], model, &rest].concat());
        read_npy(&out.join("samples.npy")).unwrap()
    };
    let (one, two) = (folder_of("teacher-1"), folder_of("teacher-2"));
    let pair = sample("pair", &[&one, &two]);
    let files = sample("files", &[text(&base), "--lora", &one, "--lora", &two]);
    assert!(pair == files);
    assert!(pair != sample("alone", &[&one]));

    // All attacks ran on what they can be run on, the comparison with the base among them.
    let report = json(&out.join("report.json"));
    let models = report["models"].as_array().unwrap();
    let of = |name: &str| models.iter().find(|m| m["name"] == name).unwrap();
    for name in ["plain", "pair", "student", "early-stopping", "dp-sgd"] {
        let results = of(name)["results"].as_array().unwrap();
        let failed: Vec<_> = results.iter().filter(|r| r["status"] != "ok").collect();
        assert!(failed.is_empty(), "{name}: {failed:?}");
        let reference = results.iter().any(|r| r["attack"] == "reference");
        assert_eq!(reference, name != "pair", "{name}");
    }
    let rounds = of("pair")["results"].as_array().unwrap();
    assert!(rounds.iter().any(|r| r["attack"] == "rounds@2"));

    // A second time there is nothing to do; `dualmd run` on the folder is the same.
    let before = std::fs::read(model("student").join(LORA)).unwrap();
    succeed(&words(&command));
    succeed(&["run", "--out", text(&out), "--threads", "2", "-q"]);
    assert!(std::fs::read(model("student").join(LORA)).unwrap() == before);

    // Adapters over one base, audited beside each other: the base is the reference without being named.
    // (A folder that holds images which they were not trained on, too, is refused as members.)
    let images = at("images");
    let said = succeed(&[
        "audit",
        &folder_of("plain"),
        &folder_of("student"),
        "--members",
        &format!("{}#member", images.display()),
        "--nonmembers",
        &format!("{}#nonmember", images.display()),
        "--split",
        text(&out.join("split.json")),
        "--check",
        "-o",
        text(&at("x")),
    ]);
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains("reference"), "{said}");

    // One adapter as a whole folder, for programs that know no adapters.
    let whole = at("whole");
    succeed(&["export", "copy", &folder_of("student"), "-o", text(&whole)]);
    let student = predicted(dir.path(), &[&folder_of("student")]);
    assert!(far(&student, &predicted(dir.path(), &[text(&whole)])) < 1e-6);
}

/// Folders that hold the sum: the same training.
#[test]
fn merged_or_alone_an_adapter_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let base = base(dir.path());
    folder("emoji#fluent3d", 16, &at("images"));
    let train = |out: &Path, more: &[&str]| {
        let mut command = line(&base, &at("images"), out, &["--members", "6"]);
        command.extend(more.iter().map(|word| (*word).to_owned()));
        succeed(&words(&command));
    };
    let (alone, merged) = (at("alone"), at("merged"));
    let small = ["--set", "audit.attacks=[\"loss\"]"];
    train(&alone, &small);
    train(
        &merged,
        &[&small[..], &["--set", "train.lora_save=merged"]].concat(),
    );
    assert!(merged.join("models/plain/unet").is_dir());
    for name in ["plain", "teacher-1", "teacher-2"] {
        let tensors = |run: &Path| {
            let folder = run.join("models").join(name);
            read_safetensors(&folder.join(LORA)).unwrap()
        };
        let (alone, merged) = (tensors(&alone), tensors(&merged));
        assert_eq!(alone.len(), merged.len());
        for (key, tensor) in &alone {
            assert!(*tensor == merged[key], "{name}: {key}");
        }
    }
    // The student's teachers answered by additions or by sums: the same but for rounding.
    let student = |run: &Path| {
        let folder = run.join("models/student");
        predicted(dir.path(), &[text(&folder)])
    };
    assert!(far(&student(&alone), &student(&merged)) < 1e-2);
}

#[test]
fn what_cannot_be_tuned_is_said_before_it_starts() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let base = base(dir.path());
    folder("emoji#fluent3d", 16, &at("images"));
    // What can be is looked at as any run is: the plain adapter, two teachers, a student.
    let checked = succeed(&words(&line(
        &base,
        &at("images"),
        &at("out"),
        &["--check", "--json"],
    )));
    let found: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(found["problems"], serde_json::json!([]), "{found}");
    assert_eq!(
        found["trainings"].as_array().map(Vec::len),
        Some(4),
        "{found}"
    );
    assert!(
        found["seconds"].as_f64().is_some_and(|all| all > 0.0),
        "{found}"
    );
    assert!(!at("out").exists());
    // A bundled set with captions is named as everywhere, and the additions may be to other linear layers.
    let bundled = Path::new("emoji#fluent3d");
    let more = [
        "--check",
        "--json",
        "--members",
        "32",
        "--nonmembers",
        "128",
        "--rank",
        "32",
        "--epochs",
        "1000",
        "--set",
        "train.lora_targets=[\"to_q\", \"ff.net.0.proj\", \"ff.net.2\"]",
    ];
    let checked = succeed(&words(&line(&base, bundled, &at("out"), &more)));
    let found: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(found["problems"], serde_json::json!([]), "{found}");
    assert!(!at("out").exists());
    let refused = |base: &Path, images: &Path, more: &[&str]| {
        let said = fail(&words(&line(base, images, &at("out"), more)));
        assert!(!at("out").join("plan.json").exists());
        said
    };
    let ddpm = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/golden/tiny-ddpm"
    ));
    let transformer = ddpm.with_file_name("dit").join("latents");
    folder("emoji#fluent3d", 1, &at("one"));
    for (base, images, more, says) in [
        (&ddpm, at("images"), &[][..], "text-to-image"),
        (
            &at("nowhere"),
            at("images"),
            &[][..],
            "nothing is downloaded",
        ),
        (
            &base.join("unet"),
            at("images"),
            &[][..],
            "name that folder",
        ),
        (&transformer, at("images"), &[][..], "told no text"),
        (&base, at("images"), &["--members", "5"][..], "--members 5"),
        (&base, at("one"), &[][..], "has 1 image: too few"),
        (&base, at("nowhere"), &[][..], "nowhere"),
        (&base, at("images"), &["--rival", "kd"][..], "--rival kd"),
        (
            &base,
            at("images"),
            &["--rival", "early-stopping"][..],
            "early stopping",
        ),
        (
            &base,
            at("images"),
            &["--members", "12", "--nonmembers", "9"][..],
            "4 are left",
        ),
    ] {
        let said = refused(base, &images, more);
        assert!(said.contains(says), "{more:?}: {said}");
    }
    std::fs::remove_file(at("images").join("metadata.jsonl")).unwrap();
    let said = refused(&base, &at("images"), &[]);
    assert!(
        said.contains("have no caption") && said.contains("--caption-model"),
        "{said}"
    );
}

/// Captions of a file take the place of the folder's, by what is in the images.
#[test]
fn captions_of_a_file_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    folder("emoji#twitter", 24, &at("pretraining"));
    folder("emoji#fluent3d", 20, &at("images"));
    let set = dualmd_data::load(text(&at("images")), &dualmd_data::LoadOptions::default()).unwrap();
    let line = |record: &dualmd_data::Record| {
        let id = record.id.as_str();
        format!("{{\"id\": \"{id}\", \"text\": [\"one of mine\", \"another\"]}}\n")
    };
    let lines: String = set.records.iter().map(line).collect();
    std::fs::write(at("captions.jsonl"), lines).unwrap();
    std::fs::remove_file(at("images").join("metadata.jsonl")).unwrap();
    let experiment = TEXT
        .replace("FINE", text(&at("images")))
        .replace("BASE", text(&at("pretraining")));
    std::fs::write(at("t.toml"), experiment).unwrap();
    let (file, run, captions) = (at("t.toml"), at("run"), at("captions.jsonl"));
    let set = format!("data.captions={}", text(&captions));
    let command = |more: &[&str]| {
        let own = [
            "run",
            text(&file),
            "--out",
            text(&run),
            "--until",
            "split",
            "-q",
        ];
        [&own[..], more]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let said = fail(&words(&command(&[])));
    assert!(said.contains("has no caption"), "{said}");
    succeed(&words(&command(&["--set", &set])));
    let plan: Value = json(&run.join("plan.json"));
    assert_eq!(plan["data"]["captions"]["several"], 6, "{plan}");
    std::fs::write(&captions, "{\"id\": \"x\", \"text\": []}\n").unwrap();
    let said = fail(&words(&command(&["--set", &set])));
    assert!(said.contains("none of the images"), "{said}");
}

mod needs_python {
    use super::*;
    use common::python::check;
    use dualmd_torch::Kind;
    use dualmd_torch::weights::{write_npy, write_safetensors};

    #[test]
    #[ignore = "needs Python with torch and diffusers: `cargo xtask test --interop`"]
    fn what_was_tuned_opens_in_diffusers_peft_and_the_node() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        // A model of latents, which diffusers has a pipeline for, and one of pixels, which it has none for.
        let latents = root.join("tests/golden/conditional/sd1");
        let dir = tempfile::tempdir().unwrap();
        for (base, channels) in [(latents, 4), (base(dir.path()), 3)] {
            opens(&base, channels);
        }
    }

    /// Adapters over a base whose network sees 8 x 8.
    fn opens(base: &Path, channels: i64) {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        folder("emoji#fluent3d", 16, &at("images"));
        // All linear layers of its transformers, whose names each form writes in its own way.
        let small = [
            "--members",
            "6",
            "--set",
            "audit.attacks=[\"loss\"]",
            "--set",
            "train.lora_targets=[\"to_q\", \"to_k\", \"to_v\", \"to_out.0\", \"ff.net.0.proj\", \"ff.net.2\"]",
        ];
        succeed(&words(&line(base, &at("images"), &at("out"), &small)));
        let count = 2 * channels * 64;
        let values: Vec<f32> = (0..count).map(|i| (i as f32 * 0.7).sin()).collect();
        let x = Tensor::from_slice(&values).reshape([2, channels, 8, 8]);
        let t = Tensor::from_slice(&[700_i64, 100]);
        write_npy(&at("x.npy"), &x).unwrap();
        write_npy(&at("t.npy"), &t).unwrap();
        let asked = |name: &str| {
            let folder = at("out").join("models").join(name);
            common::predicted(dir.path(), channels, &[text(&folder)]).to_kind(Kind::Float)
        };
        let answers = ["plain", "teacher-1", "teacher-2", "student"].map(asked);
        let [plain, first, second, student] = &answers;
        let probe = at("probe.safetensors");
        let named = [
            ("x_t", &x),
            ("t", &t),
            ("plain", plain),
            ("first", first),
            ("second", second),
            ("student", student),
        ];
        write_safetensors(&probe, named, &[]).unwrap();
        let run = at("out");
        check("check_tune.py", &[text(base), text(&run), text(&probe)]);
    }
}
