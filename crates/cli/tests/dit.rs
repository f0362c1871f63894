//! Transformers from the command line: runs of them, their folders, and what reads these.

mod common;

use common::{TINY, fail, json, succeed, text};
use dualmd_torch::weights::read_npy;
use std::path::Path;

/// The tiny experiment with two blocks of a transformer.
fn experiment() -> String {
    let unet = "preset = \"tiny\"\nblock_out_channels = [8, 16]\nnorm_num_groups = 4\nattention_head_dim = 8\n";
    assert!(TINY.contains(unet));
    TINY.replace(
        unet,
        "preset = \"dit-tiny\"\nnum_layers = 2\nattention_head_dim = 8\n",
    )
}

/// `count` images of a model, drawn as `more` says.
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
    Vec::try_from(&images.view([-1])).unwrap()
}

#[test]
fn a_run_of_transformers_with_classes_is_trained_drawn_attacked_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let (file, run) = (dir.path().join("dit.toml"), dir.path().join("run"));
    let labelled = experiment()
        .replace("[data]\n", "[data]\nlabels = true\n")
        .replace("[train]\n", "[train]\nlabel_dropout = 0.2\n")
        .replace("[sample]\n", "[sample]\nlabel_guidance = 2.0\n")
        .replace("batch = 8", "batch = 4")
        + "[[models]]\nname = \"dp\"\ndefense = \"dp-sgd\"\nepsilon = 8.0\n";
    std::fs::write(&file, labelled).unwrap();
    succeed(&["run", text(&file), "--out", text(&run)]);
    let plan = json(&run.join("plan.json"));
    assert_eq!(plan["model"]["config"]["num_embeds_ada_norm"], 10);
    assert_eq!(
        plan["model"]["config"]["_class_name"],
        "DiTTransformer2DModel"
    );
    for model in ["baseline", "teacher-1", "teacher-2", "student", "dp"] {
        let folder = run.join("models").join(model);
        let index = json(&folder.join("model_index.json"));
        assert_eq!(index["_class_name"], "DiTPipeline");
        assert_eq!(index["id2label"].as_object().unwrap().len(), 10);
        assert!(folder.join("transformer/config.json").is_file());
        assert!(!folder.join("unet").exists());
        let training = json(&folder.join("training.json"));
        assert!(training["member_loss"].as_f64().is_some_and(f64::is_finite));
    }
    for model in ["baseline", "dualmd", "student", "dp"] {
        let scores = json(&run.join("scores").join(format!("{model}.json")));
        for attack in scores["attacks"].as_array().unwrap() {
            assert_eq!(attack["status"], "ok", "{model}: {attack}");
        }
    }
    assert!(run.join("report.json").exists());

    // A copy, and the bare network made a folder again, draw what the model draws; raw weights draw something else.
    let at = |name: &str| dir.path().join(name);
    let model = run.join("models/baseline");
    let own = drawn(&model, &at("own"), &["--prompt", "3"]);
    assert!(own.iter().all(|v| v.is_finite()));
    assert_ne!(own, drawn(&model, &at("other"), &["--prompt", "4"]));
    let raw = ["--prompt", "3", "--weights", "raw"];
    assert_ne!(own, drawn(&model, &at("raw"), &raw));
    let copy = at("copy");
    succeed(&["export", "copy", text(&model), "-o", text(&copy)]);
    assert_eq!(own, drawn(&copy, &at("of-copy"), &["--prompt", "3"]));
    let network = model.join("transformer");
    let error = fail(&["sample", text(&network), "-n", "1", "-o", text(&at("none"))]);
    assert!(error.contains("name that folder"), "{error}");
    // The folder, or its weights with the configuration that lies beside them.
    let weights = network.join("diffusion_pytorch_model.safetensors");
    let beside = at("beside");
    succeed(&["import", "unet", text(&weights), "-o", text(&beside)]);
    assert_eq!(own, drawn(&beside, &at("of-beside"), &["--prompt", "3"]));
    let imported = at("imported");
    succeed(&["import", "unet", text(&network), "-o", text(&imported)]);
    assert_eq!(
        own,
        drawn(&imported, &at("of-imported"), &["--prompt", "3"])
    );
}

#[test]
fn a_flow_of_transformers_is_trained_in_bf16_with_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let (file, run) = (dir.path().join("flow.toml"), dir.path().join("run"));
    let flow = experiment()
        .replace(
            "[train]\n",
            "[train]\nobjective = \"flow\"\ngradient_checkpointing = true\n",
        )
        .replace("dtype = \"f32\"", "dtype = \"bf16\"");
    std::fs::write(&file, flow).unwrap();
    succeed(&["run", text(&file), "--out", text(&run)]);
    let plan = json(&run.join("plan.json"));
    // Without classes there is one embedding, which stands for all images.
    assert_eq!(plan["model"]["config"]["num_embeds_ada_norm"], 0);
    for model in ["baseline", "dualmd", "student"] {
        assert!(run.join("samples").join(model).join("samples.npy").exists());
    }
    let training = json(&run.join("models/student/training.json"));
    assert!(training["member_loss"].as_f64().is_some_and(f64::is_finite));
    // Of another network's keys none is taken.
    let wrong = experiment().replace("num_layers = 2\n", "layers_per_block = 2\n");
    std::fs::write(&file, wrong).unwrap();
    let error = fail(&["run", text(&file), "--out", text(&dir.path().join("other"))]);
    assert!(error.contains("layers_per_block"), "{error}");
}
