//! Flow matching from the command line: a run, its folders, and audits of them.

mod common;

use common::{TINY, fail, json, succeed, text};
use dualmd_torch::weights::read_npy;
use std::path::Path;

/// The tiny experiment as one of flows.
fn experiment() -> String {
    TINY.replace(
        "[train]\n",
        "[train]\nobjective = \"flow\"\nlevels = \"logit-normal\"\n",
    )
    .replace(
        "[\"loss\", \"sima\"]",
        "[\"loss\", \"sima\", \"loss@snr=64\", \"loss@snr=0.015625\", \"loss-grid\", \"combined\"]",
    )
}

fn samples(folder: &Path) -> Vec<f32> {
    let images = read_npy(&folder.join("samples.npy")).unwrap();
    Vec::try_from(&images.view([-1])).unwrap()
}

#[test]
fn a_run_of_flows_is_trained_drawn_attacked_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let (file, run) = (dir.path().join("flow.toml"), dir.path().join("run"));
    std::fs::write(&file, experiment()).unwrap();
    let planned = succeed(&["run", text(&file), "--out", text(&run)]);
    let said = [planned.stdout, planned.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        said.contains("flow matching (logit-normal levels)"),
        "{said}"
    );
    for model in ["baseline", "teacher-1", "teacher-2", "student"] {
        let folder = run.join("models").join(model);
        let scheduler = json(&folder.join("scheduler/scheduler_config.json"));
        assert_eq!(scheduler["_class_name"], "FlowMatchEulerDiscreteScheduler");
        let training = json(&folder.join("training.json"));
        assert_eq!(training["recipe"]["objective"]["flow"], "logit-normal");
        assert!(training["member_loss"].as_f64().is_some_and(f64::is_finite));
    }
    for model in ["baseline", "dualmd", "student"] {
        assert!(run.join("samples").join(model).join("samples.npy").exists());
        let scores = json(&run.join("scores").join(format!("{model}.json")));
        for attack in scores["attacks"].as_array().unwrap() {
            assert_eq!(attack["status"], "ok", "{model}: {attack}");
        }
    }
    assert!(run.join("report.json").exists());

    // The pair of the run is what its two folders draw in turns, and neither of them alone.
    let (one, two) = (run.join("models/teacher-1"), run.join("models/teacher-2"));
    let own = samples(&run.join("samples/dualmd"));
    let mut drawn = Vec::new();
    for (name, models) in [("pair", vec![&one, &two]), ("alone", vec![&one])] {
        let out = dir.path().join(name);
        let mut args = vec!["sample"];
        args.extend(models.into_iter().map(|m| text(m)));
        args.extend([
            "-n", "8", "--steps", "5", "--seed", "3", "--format", "npy", "-q", "-o",
        ]);
        args.push(text(&out));
        succeed(&args);
        drawn.push(samples(&out));
    }
    let away = |a: &[f32], b: &[f32]| {
        assert_eq!(a.len(), b.len());
        a.iter()
            .zip(b)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max)
    };
    assert!(away(&drawn[0], &own) < 1e-4);
    assert!(away(&drawn[1], &own) > 1e-3);
    let out = dir.path().join("ancestral");
    let error = fail(&[
        "sample",
        text(&one),
        "-n",
        "1",
        "--sampler",
        "ddpm",
        "--steps",
        "5",
        "-q",
        "-o",
        text(&out),
    ]);
    assert!(error.contains("ddim"), "{error}");
    let out = dir.path().join("exported");
    let error = fail(&["export", "pair", text(&one), text(&two), "-o", text(&out)]);
    assert!(error.contains("DualMDPipeline"), "{error}");
}

/// The class-conditional model of the golden files with a flow's scheduler: its answers are taken for velocities.
#[test]
fn guidance_of_a_flow_may_begin_late() {
    let dir = tempfile::tempdir().unwrap();
    let golden = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/golden/families/classes"
    );
    let (golden, model) = (Path::new(golden), dir.path().join("model"));
    for part in ["unet", "scheduler"] {
        std::fs::create_dir_all(model.join(part)).unwrap();
    }
    for file in [
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ] {
        std::fs::copy(golden.join(file), model.join(file)).unwrap();
    }
    let class = "FlowMatchEulerDiscreteScheduler";
    let scheduler = format!("{{\"_class_name\": \"{class}\", \"shift\": 1.0}}");
    std::fs::write(model.join("scheduler/scheduler_config.json"), scheduler).unwrap();
    let index = std::fs::read_to_string(golden.join("model_index.json")).unwrap();
    let index = index.replace("DDPMScheduler", class);
    std::fs::write(model.join("model_index.json"), index).unwrap();
    let draw = |name: &str, more: &[&str]| {
        let out = dir.path().join(name);
        let mut args = vec!["sample", text(&model), "--prompt", "owl", "--guidance", "3"];
        args.extend(more);
        args.extend(["-n", "2", "--steps", "5", "--format", "npy", "-q", "-o"]);
        args.push(text(&out));
        succeed(&args);
        samples(&out)
    };
    let always = draw("always", &[]);
    let late = draw("late", &["--guidance-from", "500"]);
    assert_ne!(late, always);
    // The same scale at first is guidance throughout.
    let same = ["--guidance-from", "500", "--early-guidance", "3"];
    assert_eq!(draw("same", &same), always);
    let opposite = ["--guidance-from", "500", "--early-guidance", "-2"];
    assert_ne!(draw("opposite", &opposite), late);
}
