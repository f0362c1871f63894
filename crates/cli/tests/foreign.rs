//! Model folders of others, through the real binary: what is refused leaves nothing behind, and says why.

mod common;

use common::{fail, folder, succeed, text};
use dualmd_torch::Tensor;
use dualmd_torch::weights::{read_safetensors, write_safetensors};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";

fn golden(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden")).join(name)
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

/// Puts `value` into the first place of the first tensor; gives its name.
fn poison(path: &Path, value: f64) -> String {
    let mut all = read_safetensors(path).unwrap();
    let (name, tensor) = all.first_key_value().unwrap();
    let (name, bad) = (name.clone(), tensor.copy());
    let _ = bad.flatten(0, -1).get(0).fill_(value);
    all.insert(name.clone(), bad);
    let named = all
        .iter()
        .map(|(name, t): (&String, &Tensor)| (name.as_str(), t));
    write_safetensors(path, named, &[]).unwrap();
    name
}

#[test]
fn a_nan_in_the_weights_is_refused_by_every_command_that_opens_models() {
    let dir = tempfile::tempdir().unwrap();
    let (bad, good, out) = (
        dir.path().join("bad"),
        golden("tiny-grey"),
        dir.path().join("out"),
    );
    copy(&good, &bad);
    let name = poison(&bad.join(WEIGHTS), f64::NAN);
    let (model, out_text) = (text(&bad), text(&out));
    let (weights, config) = (bad.join(WEIGHTS), bad.join("unet/config.json"));
    let (members, nonmembers) = (dir.path().join("members"), dir.path().join("nonmembers"));
    folder("emoji#fluent3d", 6, &members);
    folder("emoji#twitter", 6, &nonmembers);
    let attacked = [
        "--members",
        text(&members),
        "--nonmembers",
        text(&nonmembers),
        "-o",
        out_text,
    ];
    for args in [
        vec!["sample", model, "-n", "2", "--steps", "2", "-o", out_text],
        vec![
            "sample",
            text(&good),
            model,
            "-n",
            "2",
            "--steps",
            "2",
            "-o",
            out_text,
        ],
        vec![
            "import",
            "unet",
            text(&weights),
            "--config",
            text(&config),
            "-o",
            out_text,
        ],
        vec!["export", "copy", model, "-o", out_text],
        vec!["export", "pair", text(&good), model, "-o", out_text],
        [&["attack", model][..], &attacked].concat(),
        [&["audit", model][..], &attacked].concat(),
    ] {
        let error = fail(&args);
        assert!(
            error.contains(&name) && error.contains("diffusion_pytorch_model.safetensors"),
            "{args:?}: {error}"
        );
        // An audit has taken its folder's lock by then.
        let left = std::fs::read_dir(&out).into_iter().flatten();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert!(
            left.iter().all(|name| name == ".lock"),
            "{args:?} left {left:?}"
        );
    }
}

#[test]
fn more_images_than_memory_holds_are_refused_before_they_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (model, out) = (golden("tiny-grey"), dir.path().join("out"));
    let sample = |n: &str, batch: &str| {
        fail(&[
            "sample",
            text(&model),
            "-n",
            n,
            "--batch",
            batch,
            "--steps",
            "2",
            "-o",
            text(&out),
        ])
    };
    assert!(sample("1000000000000", "1").contains("1..=1000000000"));
    assert!(sample("1", "18446744073709551615").contains("1..=1000000000"));
    let error = sample("1000000000", "64");
    assert!(
        error.contains("1000000000 images") && error.contains("-n"),
        "{error}"
    );
    assert!(!out.exists());
}

#[test]
fn a_checkpoint_and_its_scheduler_are_imported_as_the_refusal_says() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = dir.path().join("checkpoint-500");
    copy(&golden("tiny-scale-shift/unet"), &checkpoint.join("unet"));
    std::fs::write(checkpoint.join("optimizer.bin"), "").unwrap();
    let out = dir.path().join("out");
    let error = fail(&["sample", text(&checkpoint), "-n", "1", "-o", text(&out)]);
    let weights = checkpoint.join(WEIGHTS);
    let config = checkpoint.join("unet/config.json");
    for part in [
        "accelerate",
        "dualmd import unet",
        text(&weights),
        text(&config),
        "--scheduler",
    ] {
        assert!(error.contains(part), "{error} lacks {part}");
    }
    let scheduler = golden("tiny-scale-shift/scheduler/scheduler_config.json");
    let model = dir.path().join("model");
    let import = |scheduler: &Path| -> Vec<String> {
        [
            "import",
            "unet",
            text(&weights),
            "--config",
            text(&config),
            "--scheduler",
            text(scheduler),
            "-o",
            text(&model),
        ]
        .map(str::to_owned)
        .to_vec()
    };
    let run = |args: &[String]| succeed(&args.iter().map(String::as_str).collect::<Vec<_>>());
    run(&import(&scheduler));
    let written: Value = serde_json::from_slice(
        &std::fs::read(model.join("scheduler/scheduler_config.json")).unwrap(),
    )
    .unwrap();
    assert_eq!(written["beta_schedule"], "squaredcos_cap_v2");
    succeed(&[
        "sample",
        text(&model),
        "-n",
        "2",
        "--steps",
        "3",
        "-o",
        text(&out),
    ]);

    let other = dir.path().join("flow.json");
    let flow = json!({"_class_name": "FlowMatchHeunDiscreteScheduler", "shift": 3.0});
    std::fs::write(&other, flow.to_string()).unwrap();
    let args = import(&other);
    let error = fail(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(
        error.contains("flow.json") && error.contains("FlowMatchHeun"),
        "{error}"
    );
}

/// Found by the fuzzer: a negative offset, at which the parquet crate panics.
#[test]
fn a_panic_of_a_library_does_not_reach_the_user() {
    let dir = tempfile::tempdir().unwrap();
    let table = dir.path().join("table.parquet");
    let found = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fuzz/corpus/parquet/found-negative-offset"
    );
    std::fs::copy(found, &table).unwrap();
    let out = dir.path().join("split.json");
    // `fail` looks for the word panicked, too.
    let said = fail(&["split", text(&table), "--members", "2", "-o", text(&out)]);
    assert!(
        said.contains("table.parquet: the table is damaged") && said.trim().lines().count() == 1,
        "{said}"
    );
}
