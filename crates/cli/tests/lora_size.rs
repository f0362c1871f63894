//! `dualmd lora-size` from the command line.

mod common;

use common::{dualmd, succeed, text};
use dualmd_torch::Tensor;
use dualmd_torch::weights::write_safetensors;
use std::path::Path;

/// A LoRA of one layer with this largest singular value, in kohya's form.
fn lora(path: &Path, value: f32) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let down = Tensor::from_slice(&[1.0_f32, 0.0, 0.0, 1.0]).view([2, 2]);
    let up = Tensor::from_slice(&[value, 0.0, 0.0, 0.5]).view([2, 2]);
    let tensors = [
        ("lora_unet_x_to_q.lora_down.weight", &down),
        ("lora_unet_x_to_q.lora_up.weight", &up),
    ];
    write_safetensors(path, tensors, &[]).unwrap();
}

#[test]
fn the_size_of_a_training_set_is_said_with_what_it_is_worth() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for (name, value) in [("8/a", 5.0), ("8/b", 5.2), ("32/a", 2.0), ("32/b", 2.2)] {
        lora(&at(&format!("references/{name}.safetensors")), value);
    }
    let (mine, references) = (at("mine.safetensors"), at("references"));
    lora(&mine, 2.4);
    let call = ["lora-size", text(&mine), "--references", text(&references)];
    let said = String::from_utf8(succeed(&call).stdout).unwrap();
    assert!(said.contains("about 32 images, as 1 of 1 layers"), "{said}");
    assert!(said.contains("of 4 references"), "{said}");
    let printed = succeed(&[&call[..], &["--json"]].concat());
    let found: serde_json::Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(found["size"], 32);
    assert_eq!((&found["recovered"], &found["n"]), (&4.into(), &4.into()));
    assert_eq!(found["mean_error"], 0.0);
    assert_eq!(found["votes"]["32"], 1);

    // Without references nothing is said.
    std::fs::create_dir(at("empty")).unwrap();
    let empty = at("empty");
    let refused = dualmd(&["lora-size", text(&mine), "--references", text(&empty)]).output();
    let refused = refused.unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("there is no reference"), "{said}");
    let alone = dualmd(&["lora-size", text(&mine)]).output().unwrap();
    assert_eq!(alone.status.code(), Some(2));
}
