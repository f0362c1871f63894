//! The baselines beside the paper's defences: each an entry of an experiment, with one loop under all of them.

mod common;

use common::{TINY, fail, json, succeed, text, weights};
use std::path::Path;

/// The tiny experiment with these models in place of its own.
fn with_models(models: &str) -> String {
    let start = TINY.find("[[models]]").unwrap();
    format!("{}{models}", &TINY[..start]).replace("steps = 60", "steps = 20")
}

#[test]
fn every_baseline_trains_samples_and_is_audited() {
    let dir = tempfile::tempdir().unwrap();
    let experiment = dir.path().join("all.toml");
    let toml = with_models(
        r#"
[[models]]
name = "dp"
defense = "dp-sgd"
epsilon = 8.0
noise_multiplicity = 2
[[models]]
name = "early"
defense = "early-stopping"
train = { eval_every = 5 }
[[models]]
name = "kway"
defense = "k-way"
shards = 3
[[models]]
name = "average"
defense = "ensemble"
shards = 3
[[models]]
name = "synthetic"
defense = "synthetic"
images = 12
[[models]]
name = "rounds"
defense = "iet"
shards = 3
rounds = 2
[[models]]
name = "ambient"
defense = "ambient"
[[models]]
name = "against"
defense = "smp"
attacker_rate = 1e-3
[[models]]
name = "hard"
defense = "none"
train = { skip_easy = 2.0 }
[[models]]
name = "altered"
defense = "none"
train = { weight_decay = 5e-4, flip = true, cutout_side = 2, steps = 10 }
"#,
    )
    .replace("batch = 8", "batch = 4");
    std::fs::write(&experiment, &toml).unwrap();
    let run = dir.path().join("run");
    let out = text(&run);
    let plan = succeed(&["run", text(&experiment), "--out", out, "--threads", "2"]);
    let plan = String::from_utf8_lossy(&plan.stderr).into_owned();
    assert!(
        plan.contains("DP-SGD with epsilon 8 at delta 0.00001"),
        "{plan}"
    );
    assert!(plan.contains("with a recipe of its own"), "{plan}");

    let training = |name: &str| json(&run.join("models").join(name).join("training.json"));
    let privacy = &training("dp")["privacy"];
    let spent = privacy["epsilon"].as_f64().unwrap();
    assert!(spent <= 8.0 && spent > 7.9, "{privacy}");
    assert_eq!(privacy["sampling_rate"], 0.5);
    assert!(training("early")["kept"]["step"].as_u64().unwrap() <= 20);
    assert!(
        !run.join("models/early/unet_raw").exists(),
        "weights that were passed over"
    );
    assert_eq!(training("kway")["teachers"].as_array().unwrap().len(), 3);
    let shards: u64 = (1..=3)
        .map(|i| {
            training(&format!("shard-{i}-of-3"))["images"]
                .as_u64()
                .unwrap()
        })
        .sum();
    assert_eq!(shards, 8, "shards are disjoint and complete");
    assert_eq!(training("synthetic")["images"], 12);
    assert!(plan.contains("against an attacker"), "{plan}");
    for name in ["rounds", "ambient", "against", "hard"] {
        assert_eq!(training(name)["images"], 8, "{name}");
    }
    assert_eq!(training("altered")["steps"], 10);
    assert_eq!(training("altered")["additions"]["cutout"]["side"], 2);

    // The secret stays where it is, and nothing that is published names it.
    let secret = std::fs::read_to_string(run.join("checkpoints/dp/secret")).unwrap();
    assert_eq!(secret.len(), 64);
    for file in [
        "plan.json",
        "report.json",
        "models/dp/training.json",
        "experiment.toml",
    ] {
        let told = std::fs::read_to_string(run.join(file)).unwrap();
        assert!(!told.contains(&secret), "{file}");
    }
    // An ensemble has no one network to ask.
    let report = json(&run.join("report.json"));
    let attacks = |name: &str| -> Vec<String> {
        let models = report["models"].as_array().unwrap();
        let model = models.iter().find(|m| m["name"] == name).unwrap();
        let results = model["results"].as_array().unwrap();
        results
            .iter()
            .map(|r| r["attack"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(attacks("average"), ["nn"]);
    assert_eq!(attacks("synthetic"), ["loss", "sima", "nn"]);
}

#[test]
fn private_and_synthetic_trainings_go_on_where_they_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let experiment = dir.path().join("dp.toml");
    let dp = "[[models]]\nname = \"dp\"\ndefense = \"dp-sgd\"\nnoise_multiplier = 0.5\nnoise_multiplicity = 1\n";
    std::fs::write(&experiment, with_models(dp)).unwrap();
    let train = |out: &Path, slots: usize| {
        for _ in 0..slots {
            let slot = (20 / slots).to_string();
            let args = [
                "train",
                text(&experiment),
                "--model",
                "dp",
                "--out",
                text(out),
                "--threads",
                "1",
                "-q",
                "--max-steps-now",
                &slot,
            ];
            succeed(&args);
        }
    };
    let (whole, slots) = (dir.path().join("whole"), dir.path().join("slots"));
    train(&whole, 1);
    // The same secret, or the noise is another.
    std::fs::create_dir_all(slots.join("checkpoints/dp")).unwrap();
    std::fs::copy(
        whole.join("checkpoints/dp/secret"),
        slots.join("checkpoints/dp/secret"),
    )
    .unwrap();
    train(&slots, 4);
    assert_eq!(weights(&whole, "dp"), weights(&slots, "dp"));
    let other = dir.path().join("other");
    train(&other, 1);
    assert_ne!(
        weights(&whole, "dp"),
        weights(&other, "dp"),
        "every run has a secret of its own"
    );
}

#[test]
fn what_contradicts_itself_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let experiment = dir.path().join("wrong.toml");
    let out = dir.path().join("run");
    let refuse = |models: &str| {
        std::fs::write(&experiment, with_models(models)).unwrap();
        fail(&["run", text(&experiment), "--out", text(&out)])
    };
    for (models, words) in [
        (
            "[[models]]\nname = \"dp\"\ndefense = \"dp-sgd\"\n",
            "either epsilon",
        ),
        (
            "[[models]]\nname = \"a\"\ndefense = \"none\"\nepsilon = 3.0\n",
            "epsilon is for defense = \"dp-sgd\"",
        ),
        (
            "[[models]]\nname = \"a\"\ndefense = \"ensemble\"\nshards = 2\n",
            "3 to the number of members",
        ),
        (
            "[[models]]\nname = \"a\"\ndefense = \"none\"\ntrain = { stepz = 3 }\n",
            "did you mean",
        ),
        (
            "[[models]]\nname = \"a\"\ndefense = \"none\"\ntrain = { steps = 0 }\n",
            "model a: train.steps = 0",
        ),
        (
            "[[models]]\nname = \"shard-1-of-4\"\ndefense = \"none\"\n",
            "choose another",
        ),
        (
            "[[models]]\nname = \"e\"\ndefense = \"early-stopping\"\ntrain = { eval_every = 0 }\n",
            "set train.eval_every",
        ),
    ] {
        let said = refuse(models);
        assert!(said.contains(words), "{words}: {said}");
    }
}
