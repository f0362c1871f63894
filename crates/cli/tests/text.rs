//! Text-to-image models from the command line: pre-training, fine-tuning with captions, samples for prompts, attacks.

mod common;

use common::{TEXT as EXPERIMENT, fail, folder, succeed, text};
use dualmd_diffusion::latent::Parts;
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::{Model, TextToImage};
use dualmd_torch::Device;
use dualmd_torch::weights::read_npy;
use std::path::Path;

fn weights(model: &Path) -> Vec<u8> {
    std::fs::read(model.join("unet/diffusion_pytorch_model.safetensors")).unwrap()
}

#[test]
fn a_run_of_text_to_image_models() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    folder("emoji#fluent3d", 30, &at("fine"));
    folder("emoji#twitter", 24, &at("base"));
    let experiment = EXPERIMENT
        .replace("FINE", text(&at("fine")))
        .replace("BASE", text(&at("base")));
    std::fs::write(at("t2i.toml"), experiment).unwrap();
    let (file, run) = (at("t2i.toml"), at("run"));
    let command = [
        "run",
        text(&file),
        "--out",
        text(&run),
        "--threads",
        "2",
        "-q",
    ];
    succeed(&command);

    let model = |name: &str| run.join("models").join(name);
    let open = |name: &str| {
        TextToImage::load(&model(name), WeightSet::Ema, Parts::ALL, Device::Cpu).unwrap()
    };
    let names = [
        "base",
        "baseline",
        "lora",
        "any-teacher-1",
        "any-teacher-2",
        "student",
    ];
    let embedding = |name: &str| open(name).text_embeddings(&["a cat"]).unwrap();
    for name in names {
        // The text encoder is everybody's; the networks are their own.
        assert_eq!(embedding(name), embedding("base"), "{name}");
        assert!(name == "base" || weights(&model(name)) != weights(&model("base")));
    }
    // LoRA changes the attention projections, and nothing else.
    let (base, lora) = (open("base"), open("lora"));
    for ((name, before), (_, after)) in base
        .unet
        .parameters()
        .named()
        .zip(lora.unet.parameters().named())
    {
        let projection = ["to_q", "to_k", "to_v", "to_out.0"]
            .iter()
            .any(|p| name.ends_with(&format!("{p}.weight")));
        assert_eq!(before == after, !projection, "{name}");
    }
    assert!(
        model("lora")
            .join("pytorch_lora_weights.safetensors")
            .exists()
    );
    // The LoRA alone, added to its base, is that model again.
    let over = Model::load(&model("base"), WeightSet::Ema, Device::Cpu).unwrap();
    let Model::TextToImage(over) = over.with_lora(&model("lora")).unwrap() else {
        panic!("a text-to-image model");
    };
    for ((name, own), (_, added)) in lora
        .unet
        .parameters()
        .named()
        .zip(over.unet.parameters().named())
    {
        let off = (own - added).abs().max().double_value(&[]);
        assert!(off < 1e-6, "{name}: {off}");
    }

    // Two images for each of the twelve captions, from noise that all models share.
    for name in ["baseline", "pair", "student"] {
        let samples = run.join("samples").join(name);
        assert_eq!(
            read_npy(&samples.join("samples.npy")).unwrap().size(),
            [24, 3, 8, 8]
        );
        let prompts = std::fs::read(samples.join("prompts.json")).unwrap();
        let prompts: Vec<serde_json::Value> = serde_json::from_slice(&prompts).unwrap();
        assert_eq!(prompts.len(), 24);
        assert_eq!(prompts.iter().filter(|p| p["member"] == true).count(), 12);
        assert!(
            prompts
                .iter()
                .all(|p| p["prompt"].as_str().is_some_and(|t| !t.is_empty()))
        );
        assert_eq!(prompts[0]["prompt"], prompts[1]["prompt"]);
    }
    let report = std::fs::read(run.join("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    let failed: Vec<_> = report["models"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|m| m["results"].as_array().unwrap())
        .filter(|r| r["status"] != "ok")
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    // Whoever knows half of the images is judged on the other half; a pair is asked in rounds, another model is not.
    for (name, rounds) in [("pair", 3), ("student", 0)] {
        let scores =
            dualmd_audit::read_scores(&run.join("scores").join(format!("{name}.csv"))).unwrap();
        let of = |attack: &str| -> Vec<f64> {
            let rows = scores.rows.iter().filter(|r| r.attack == attack);
            rows.map(|r| r.score).collect()
        };
        let in_rounds = scores
            .attacks()
            .iter()
            .filter(|a| a.starts_with("rounds"))
            .count();
        // Of several captions' likenesses the first caption's is one.
        let (one, best, mean) = (
            of("sim-mean"),
            of("sim-mean+captions"),
            of("sim-mean+captions-mean"),
        );
        assert_eq!([one.len(), best.len(), mean.len()], [12; 3], "{name}");
        for ((one, best), mean) in one.iter().zip(&best).zip(&mean) {
            assert!(one <= best && mean <= best, "{one} {best} {mean}");
        }
        assert!(one != best && one != mean, "{name}");
        assert_eq!((of("pw-threshold").len(), in_rounds), (6, rounds), "{name}");
        if rounds == 0 {
            continue;
        }
        // From the same noise, with other turns.
        assert_eq!(of("rounds@2").len(), 12);
        assert_ne!(of("rounds@2"), of("sim-mean"));
        let (plain, best) = (of("rounds@2"), of("rounds@2+captions"));
        assert!(plain != best && plain.iter().zip(&best).all(|(a, b)| a <= b));
        assert_eq!(of("rounds@2+second+pw-distribution").len(), 6);
        let model = report["models"].as_array().unwrap();
        let model = model.iter().find(|m| m["name"] == name).unwrap();
        let results = model["results"].as_array().unwrap();
        let result = results.iter().find(|r| r["attack"] == "rounds@2").unwrap();
        assert!(
            result["d1"]["n_members"] == 3 && result["d2"]["n_members"] == 3,
            "{result}"
        );
        assert_eq!(result["access"], "grey-box");
    }
    assert!(
        run.join("samples/baseline/during-training/2.png").exists()
            || run.join("samples/baseline").exists()
    );

    // A second time there is nothing to do, and nothing changes.
    let before = weights(&model("student"));
    succeed(&command);
    assert_eq!(weights(&model("student")), before);

    // The pair draws for a prompt; what it draws depends on the prompt.
    let (first, second) = (model("any-teacher-1"), model("any-teacher-2"));
    let drawn = |prompt: &str, out: &Path| {
        succeed(&[
            "sample",
            text(&first),
            text(&second),
            "-n",
            "2",
            "--steps",
            "3",
            "--prompt",
            prompt,
            "--format",
            "npy",
            "-o",
            text(out),
            "-q",
        ]);
        read_npy(&out.join("samples.npy")).unwrap()
    };
    let (cat, dog) = (drawn("a cat", &at("cat")), drawn("a dog", &at("dog")));
    assert_eq!(cat.size(), [2, 3, 8, 8]);
    assert_ne!(cat, dog);
    // An audit of the folder alone, by those who have the images and their captions. (In its run it knows what it was trained on, and
    // refuses these.)
    let alone = at("alone");
    succeed(&[
        "export",
        "copy",
        text(&model("baseline")),
        "-o",
        text(&alone),
    ]);
    succeed(&[
        "attack",
        text(&alone),
        "--members",
        text(&at("base")),
        "--nonmembers",
        text(&at("fine")),
        "--attacks",
        "loss,clid-gap,sima+captions,wen",
        "-o",
        text(&at("scores.csv")),
        "-q",
    ]);
    let scores = dualmd_audit::read_scores(&at("scores.csv")).unwrap();
    assert_eq!(scores.rows.len(), 4 * (24 + 30));

    // Images are compared by a DeiT of the user's where it is named, and the report says so.
    let deit = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/vit/deit");
    let audit = |weights: &str, out: &Path| {
        let (baseline, base, fine, out) =
            (alone.clone(), at("base"), at("fine"), text(out).to_owned());
        let args = [
            "audit",
            text(&baseline),
            "--members",
            text(&base),
            "--nonmembers",
            text(&fine),
            "--attacks",
            "sim-mean,pw-threshold",
            "--features",
            "vit",
            "--features-weights",
            weights,
            "-o",
            out.as_str(),
            "-q",
        ];
        args.map(str::to_owned)
    };
    let args = audit(deit, &at("audit"));
    succeed(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let report = std::fs::read_to_string(at("audit").join("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let features = &report["models"][0]["image_utility"]["features"];
    assert!(
        features.as_str().unwrap().starts_with("deit-"),
        "{features}"
    );
    let results = report["models"][0]["results"].as_array().unwrap();
    assert!(
        results.len() == 2 && results.iter().all(|r| r["auc"].is_f64()),
        "{results:?}"
    );
    let args = audit(text(&at("fine")), &at("other"));
    let refused = fail(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(refused.contains("config.json"), "{refused}");
    succeed(&[
        "export",
        "pair",
        text(&first),
        text(&second),
        "-o",
        text(&at("exported")),
    ]);
    assert!(at("exported").join("pipeline.py").exists());
}

#[test]
fn what_a_text_to_image_run_cannot_be_is_said_before_it_starts() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    folder("emoji#fluent3d", 30, &at("fine"));
    let refuse = |change: &[(&str, &str)], says: &str| {
        let mut experiment = EXPERIMENT
            .replace("FINE", text(&at("fine")))
            .replace("BASE", "emoji#twitter");
        for (from, to) in change {
            assert!(experiment.contains(from), "{from}");
            experiment = experiment.replace(from, to);
        }
        std::fs::write(at("t2i.toml"), experiment).unwrap();
        let (file, run) = (at("t2i.toml"), at("run"));
        let output = common::dualmd(&["run", text(&file), "--out", text(&run), "-q"])
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        assert!(error.contains(says), "{error}");
        assert!(!error.contains("panicked"), "{error}");
    };
    let fine = text(&at("fine")).to_owned();
    refuse(&[("emoji#twitter", &fine)], "pretrain.source");
    refuse(&[("rounds@2\"", "rounds@3\"")], "at most 2 rounds");
    refuse(
        &[("rounds@2\"", "rounds@2+third\"")],
        "it has no +third; ask for rounds@2 or rounds@2+second",
    );
    let inception = "features = \"inception-64\"\nfeatures_weights = \"none.safetensors\"";
    refuse(&[("features = \"none\"", inception)], "one vector an image");
    refuse(
        &[("preset = \"t2i-pixels-32\"", "preset = \"tiny\"")],
        "[pretrain] is for text-to-image models",
    );
    refuse(
        &[(
            "captions = \"any\" }\n[[models]]\nname = \"student\"",
            "captions = \"first\" }\n[[models]]\nname = \"student\"",
        )],
        "share the teachers any",
    );
    // A folder whose pictures have no captions.
    let metadata = at("fine").join("metadata.jsonl");
    std::fs::remove_file(metadata).unwrap();
    refuse(
        &[("emoji#twitter", &format!("{fine}/../fine"))],
        "has no caption",
    );
}

/// Wen's rule for training: an image whose text moves the prediction beyond the limit is left out. Below every norm that is all of
/// them, and nothing is learnt; above every norm it is none, and the training is the ordinary one.
#[test]
fn what_is_remembered_is_left_out_of_the_training() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    folder("emoji#fluent3d", 30, &at("fine"));
    folder("emoji#twitter", 24, &at("base"));
    let experiment = EXPERIMENT
        .replace("FINE", text(&at("fine")))
        .replace("BASE", text(&at("base")));
    let (settings, _) = experiment.split_once("[[models]]").unwrap();
    let models = r#"
        [[models]]
        name = "plain"
        defense = "none"
        [[models]]
        name = "all"
        defense = "none"
        train = { drop_memorised = 1e-9 }
        [[models]]
        name = "few"
        defense = "none"
        train = { drop_memorised = 1e9 }
    "#;
    std::fs::write(at("t2i.toml"), format!("{settings}{models}")).unwrap();
    let (file, run) = (at("t2i.toml"), at("run"));
    succeed(&[
        "run",
        text(&file),
        "--out",
        text(&run),
        "--until",
        "train",
        "-q",
    ]);
    let own = |name: &str| weights(&run.join("models").join(name));
    let left_out = |name: &str| {
        let log = std::fs::read_to_string(run.join("logs").join(format!("{name}.jsonl"))).unwrap();
        let last: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        last["left_out"].as_f64()
    };
    assert!(own("all") == own("base"), "weights moved");
    assert!(own("few") != own("base"));
    assert_eq!(
        [left_out("plain"), left_out("all"), left_out("few")],
        [None, Some(1.0), Some(0.0)]
    );
    let refused = fail(&[
        "run",
        text(&file),
        "--out",
        text(&at("other")),
        "--set",
        "train.drop_memorised=-1",
    ]);
    assert!(refused.contains("drop_memorised"), "{refused}");
}
