//! Nothing is lost: a training that is killed at any moment ends, with the same command, at bit-identical weights.

mod common;

use common::{TINY, dualmd, fail, folder, sides, succeed, text, weights};
use dualmd_torch::weights::{read_safetensors, write_safetensors};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

fn experiment(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("tiny.toml");
    std::fs::write(&path, TINY).unwrap();
    path
}

fn train(experiment: &Path, out: &Path, more: &[&str]) -> Vec<String> {
    let mut args = vec![
        "train",
        text(experiment),
        "--model",
        "baseline",
        "--threads",
        "1",
        "--out",
        text(out),
        "-q",
    ];
    args.extend(more);
    args.into_iter().map(str::to_owned).collect()
}

fn run(args: &[String]) {
    succeed(&args.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn sigkill_at_several_points_changes_no_bit() {
    let dir = tempfile::tempdir().unwrap();
    let experiment = experiment(dir.path());
    let whole = dir.path().join("whole");
    run(&train(&experiment, &whole, &[]));
    let expected = weights(&whole, "baseline");

    // Killed as soon as the first, third and fifth checkpoint exist: before, between and while writing others.
    for checkpoints in [1, 3, 5] {
        let out = dir.path().join(format!("killed-{checkpoints}"));
        let args = train(&experiment, &out, &[]);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut child = dualmd(&args).stderr(Stdio::null()).spawn().unwrap();
        let wanted = format!("checkpoint-{}", checkpoints * 10);
        let folder = out.join("checkpoints/baseline");
        let began = Instant::now();
        while !folder.join(&wanted).exists() && began.elapsed() < Duration::from_secs(120) {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = child.kill();
        child.wait().unwrap();
        run(&train(&experiment, &out, &[]));
        assert_eq!(weights(&out, "baseline"), expected, "killed at {wanted}");
    }

    // In slots of 7 steps, as a short queue gives them.
    let out = dir.path().join("slots");
    for _ in 0..20 {
        run(&train(&experiment, &out, &["--max-steps-now", "7"]));
    }
    assert_eq!(weights(&out, "baseline"), expected);
}

#[cfg(unix)]
#[test]
fn sigterm_leaves_a_checkpoint_and_a_truncated_one_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let experiment = experiment(dir.path());
    let whole = dir.path().join("whole");
    run(&train(&experiment, &whole, &[]));
    let out = dir.path().join("stopped");
    run(&train(&experiment, &out, &["--max-steps-now", "23"]));
    let newest = out.join("checkpoints/baseline/checkpoint-23");
    assert!(newest.exists(), "a slot ends with a checkpoint");
    let file = newest.join("unet/diffusion_pytorch_model.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let args = train(&experiment, &out, &[]);
    let output = succeed(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("checkpoint-23") && said.contains("damaged"),
        "{said}"
    );
    assert_eq!(
        weights(&out, "baseline"),
        weights(&whole, "baseline"),
        "goes on from checkpoint-20"
    );
}

/// A folder of images that has moved, or is named another way, holds the same images; one with an image more does not.
#[test]
fn images_may_move_while_a_run_waits() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    folder("fashion", 60, &path("images"));
    let file = path("tiny.toml");
    let of = |images: &Path| TINY.replace("fashion", text(images));
    std::fs::write(&file, of(&path("images"))).unwrap();
    let whole = path("whole");
    run(&train(&file, &whole, &[]));
    let out = path("run");
    run(&train(&file, &out, &["--max-steps-now", "20"]));

    std::fs::rename(path("images"), path("moved")).unwrap();
    let refused = |more: &[&str]| {
        let args = train(&file, &out, more);
        fail(&args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let said = refused(&[]);
    assert!(said.contains("--set data.source=PATH"), "{said}");
    folder("fashion", 61, &path("more"));
    let more = format!("data.source={}", text(&path("more")));
    let said = refused(&["--set", &more]);
    assert!(
        said.contains("data.source was") && said.contains("not the same images"),
        "{said}"
    );
    let moved = format!("data.source={}", text(&path("moved")));
    run(&train(
        &file,
        &out,
        &["--set", &moved, "--max-steps-now", "20"],
    ));
    let args = train(&file, &out, &["--set", "data.source=moved"]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let last = dualmd(&args).current_dir(dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&last.stderr);
    assert!(last.status.success() && !said.contains("warning"), "{said}");
    assert_eq!(weights(&out, "baseline"), weights(&whole, "baseline"));
}

#[test]
fn a_checkpoint_of_other_settings_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let experiment = experiment(dir.path());
    let out = dir.path().join("run");
    run(&train(&experiment, &out, &["--max-steps-now", "10"]));
    let changed = dir.path().join("changed.toml");
    std::fs::write(&changed, TINY.replace("batch = 8", "batch = 4")).unwrap();
    let args = train(&changed, &out, &[]);
    let said = fail(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(
        said.contains("train.batch") && said.contains("--out"),
        "{said}"
    );
}

#[test]
fn a_loss_that_is_no_number_ends_with_the_step_and_keeps_the_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wild.toml");
    let wild = TINY.replace("warmup = 5", "warmup = 0\nlearning_rate = 1e30\nclip = 0.0");
    std::fs::write(&path, wild).unwrap();
    let out = dir.path().join("run");
    let args = train(&path, &out, &[]);
    let said = fail(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(
        said.contains("step ") && said.contains("learning_rate"),
        "{said}"
    );
    assert!(!out.join("models/baseline/model_index.json").exists());
}

/// Scores of batches that were done are not lost with the process: the same command goes on after them, to the same file.
#[test]
fn a_killed_attack_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/tiny-ddpm");
    let (members, others) = sides(dir.path(), 60);
    let args = |out: &Path| {
        let args = [
            "attack",
            text(&model),
            "--members",
            text(&members),
            "--nonmembers",
            text(&others),
            "--batch",
            "4",
            "--attacks",
            "loss,secmi,pfami,rediffuse",
            "-q",
            "-o",
            text(out),
        ];
        args.map(str::to_owned)
    };
    let (whole, cut) = (dir.path().join("whole.csv"), dir.path().join("cut.csv"));
    run(&args(&whole));
    let all = args(&cut);
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let mut child = dualmd(&all).stderr(Stdio::null()).spawn().unwrap();
    let parts = dir.path().join("cut.parts");
    let began = Instant::now();
    while !parts.join("4.safetensors").exists() && began.elapsed() < Duration::from_secs(120) {
        assert!(child.try_wait().unwrap().is_none(), "too fast to be killed");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!cut.exists() && parts.join("0.safetensors").exists());
    // One score of a part is changed: it is what the file will have, and shows that the part was not made again.
    let part = parts.join("0.safetensors");
    let mut tensors = read_safetensors(&part).unwrap();
    let first = tensors["0"].get(0).double_value(&[]);
    let _ = tensors["0"].get(0).fill_(first - 1000.0);
    let named = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
    write_safetensors(&part, named, &[]).unwrap();
    tensors.clear();
    let output = dualmd(&all).output().unwrap();
    assert!(output.status.success() && !parts.exists());
    let read = |path: &Path| dualmd_audit::read_scores(path).unwrap().rows;
    let both: Vec<_> = read(&cut).into_iter().zip(read(&whole)).collect();
    assert_eq!(both.len(), 4 * 120);
    let differ: Vec<f64> = both
        .iter()
        .filter(|(a, b)| a != b)
        .map(|(a, b)| b.score - a.score)
        .collect();
    assert!(
        differ.len() == 1 && (differ[0] - 1000.0).abs() < 1e-6,
        "{differ:?}"
    );
}
