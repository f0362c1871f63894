//! LoRA files: written and read here, read by Python, and broken.

use crate::{FILES, Inputs, base, error, golden, shaken};
use dualmd_diffusion::{LoraConfig, UNet2dCondition};
use dualmd_torch::weights::{read_safetensors, write_safetensors};
use dualmd_torch::{Device, Kind, Tensor};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

const FILE: &str = "pytorch_lora_weights.safetensors";
const LAYER: &str = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q";

fn of_alpha(alpha: f64) -> LoraConfig {
    LoraConfig {
        alpha,
        ..LoraConfig::new(4)
    }
}

#[test]
fn a_file_comes_back_as_it_was_written() {
    let inputs = Inputs::read("sd1");
    let dir = tempfile::tempdir().unwrap();
    let unet = shaken(base("sd1"), &of_alpha(6.0));
    unet.save_lora(dir.path(), None).unwrap();
    let keys: Vec<String> = read_safetensors(&dir.path().join(FILE))
        .unwrap()
        .into_keys()
        .collect();
    assert_eq!(keys.len(), 96);
    assert!(keys.contains(&format!("unet.{LAYER}.lora_A.weight")));
    let output = inputs.output(&unet);
    // By folder and by file.
    for path in [dir.path().to_owned(), dir.path().join(FILE)] {
        let back = base("sd1").load_lora(&path).unwrap();
        assert!(inputs.output(&back).equal(&output));
        let tensors = back.lora_parameters().unwrap();
        assert!(tensors.tensors().iter().all(|t| !t.requires_grad()));
    }
    // Ranks and alphas that differ from layer to layer survive as well.
    for (name, folder) in FILES {
        let inputs = Inputs::read(folder);
        let unet = base(folder).load_lora(&golden("lora").join(name)).unwrap();
        unet.save_lora(dir.path(), None).unwrap();
        let back = base(folder).load_lora(dir.path()).unwrap();
        assert!(inputs.output(&back).equal(&inputs.output(&unet)), "{name}");
    }
}

/// An average of the weights, say, instead of the network's own.
#[test]
fn other_tensors_can_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let unet = shaken(base("sd1"), &of_alpha(4.0));
    let own = &unet.lora_parameters().unwrap().0;
    let halves: Vec<_> = own.iter().map(|(n, t)| (n.clone(), t * 0.5)).collect();
    unet.save_lora(dir.path(), Some(&halves)).unwrap();
    let back = base("sd1").load_lora(dir.path()).unwrap();
    for ((name, theirs), (_, ours)) in own.iter().zip(&back.lora_parameters().unwrap().0) {
        assert!(ours.equal(&(theirs * 0.5)), "{name}");
    }
    let message = unet
        .save_lora(dir.path(), Some(&halves[1..]))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains(FILE) && message.contains("named"),
        "{message}"
    );
    let message = base("sd1")
        .save_lora(dir.path(), None)
        .unwrap_err()
        .to_string();
    assert!(message.contains("no LoRA"), "{message}");
}

/// An alpha of its own for every layer (kohya's), and none: the rank.
#[test]
fn alphas_of_a_file_are_used() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    let mut tensors = read_safetensors(&golden("lora/kohya").join(FILE)).unwrap();
    let flat = format!("lora_unet_{}", LAYER.replace('.', "_"));
    let (a, b) = (
        tensors[&format!("{flat}.lora_down.weight")].shallow_clone(),
        tensors[&format!("{flat}.lora_up.weight")].shallow_clone(),
    );
    let key = format!("{LAYER}.weight");
    let weight = |unet: UNet2dCondition| unet.fuse().unwrap().parameters().copies()[&key].copy();
    let plain = weight(base("sd1"));
    for (alpha, scale) in [(Some(1.0f32), 0.5), (Some(7.0), 3.5), (None, 1.0)] {
        match alpha {
            Some(alpha) => tensors.insert(format!("{flat}.alpha"), Tensor::from(alpha)),
            None => tensors.remove(&format!("{flat}.alpha")),
        };
        write(&path, &tensors, &[]);
        let ours = weight(base("sd1").load_lora(&path).unwrap());
        assert_eq!(a.size()[0], 2);
        let expected = &plain + b.matmul(&a) * scale;
        assert!(error(&ours, &expected) < 1e-6, "{alpha:?}");
    }
}

fn write(path: &Path, tensors: &BTreeMap<String, Tensor>, metadata: &[(&str, &str)]) {
    write_safetensors(path, tensors.iter().map(|(n, t)| (n.as_str(), t)), metadata).unwrap();
}

#[test]
fn broken_files_are_named_with_their_keys() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    let whole = read_safetensors(&golden("lora/script").join(FILE)).unwrap();
    let down = format!("unet.{LAYER}.lora.down.weight");
    let up = format!("unet.{LAYER}.lora.up.weight");
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, Device::Cpu));
    let refusal = |change: &dyn Fn(&mut BTreeMap<String, Tensor>), metadata: &[(&str, &str)]| {
        let mut tensors: BTreeMap<_, _> = whole
            .iter()
            .map(|(n, t)| (n.clone(), t.shallow_clone()))
            .collect();
        change(&mut tensors);
        write(&path, &tensors, metadata);
        let message = base("sd1").load_lora(&path).unwrap_err().to_string();
        assert!(message.contains(FILE), "{message}");
        message
    };
    let put = |key: &str, tensor: &Tensor| {
        let (key, tensor) = (key.to_owned(), tensor.shallow_clone());
        move |tensors: &mut BTreeMap<String, Tensor>| {
            tensors.insert(key.clone(), tensor.shallow_clone());
        }
    };
    let metadata = |text| [("lora_adapter_metadata", text)];
    let conv = zeros(&[2, 16, 1, 1]);
    for (message, parts) in [
        (
            refusal(&|t| drop(t.remove(&up)), &[]),
            [down.as_str(), "other half"],
        ),
        (
            refusal(&put(&down, &zeros(&[3, 16])), &[]),
            [&down, "ranks differ"],
        ),
        (
            refusal(&put(&down, &zeros(&[2, 17])), &[]),
            [&down, "16 inputs"],
        ),
        (refusal(&put(&down, &conv), &[]), [&down, "convolution"]),
        (
            refusal(&put(&format!("{LAYER}.lora_A.weight"), &conv), &[]),
            [&down, "same tensor"],
        ),
        (
            refusal(
                &put("unet.nowhere.to_q.lora_A.weight", &zeros(&[2, 16])),
                &[],
            ),
            ["unet.nowhere.to_q.lora_A.weight", "does not have"],
        ),
        (
            refusal(
                &|t| {
                    t.insert("unet.conv_in.lora_A.weight".into(), zeros(&[2, 4]));
                    t.insert("unet.conv_in.lora_B.weight".into(), zeros(&[8, 2]));
                },
                &[],
            ),
            ["unet.conv_in.lora_A.weight", "not linear"],
        ),
        (
            refusal(&put("text_encoder.x.lora_A.weight", &zeros(&[2, 4])), &[]),
            ["text_encoder.x.lora_A.weight", "fuse_lora"],
        ),
        (
            refusal(&put("conv_in.bias", &zeros(&[8])), &[]),
            ["conv_in.bias", "not a tensor of LoRA's kind"],
        ),
        (
            refusal(&put(&format!("{LAYER}.alpha"), &zeros(&[2])), &[]),
            [&format!("{LAYER}.alpha"), "one number"],
        ),
        (
            refusal(
                &put(&format!("{LAYER}.alpha"), &zeros(&[])),
                &metadata(r#"{"unet.lora_alpha": 2}"#),
            ),
            [&format!("{LAYER}.alpha"), "lora_adapter_metadata"],
        ),
        (
            refusal(&|_| {}, &metadata(r#"{"unet.use_dora": true}"#)),
            ["lora_adapter_metadata", "use_dora"],
        ),
        (
            refusal(&|_| {}, &metadata("no")),
            ["lora_adapter_metadata", "expected"],
        ),
        (
            refusal(&BTreeMap::clear, &[("format", "pt")]),
            ["no tensors", FILE],
        ),
    ] {
        for part in parts {
            assert!(message.contains(part), "{part}: {message}");
        }
    }
    let missing = dir.path().join("none");
    let message = base("sd1").load_lora(&missing).unwrap_err().to_string();
    assert!(message.contains("none"), "{message}");
    let other = base("sd2").load_lora(&golden("lora/today")).unwrap_err();
    assert!(other.to_string().contains("another network"), "{other}");
}

mod needs_python {
    use super::*;

    /// `DUALMD_TEST_PYTHON` names a Python with torch, diffusers, transformers and peft.
    #[test]
    #[ignore = "needs Python with torch and diffusers: `cargo xtask test --interop`"]
    fn diffusers_computes_the_same_with_files_written_here() {
        let python = std::env::var_os("DUALMD_TEST_PYTHON")
            .expect("DUALMD_TEST_PYTHON names a Python; `cargo xtask test --interop` sets it");
        let written: [(&str, UNet2dCondition); 3] = [
            ("sd1", shaken(base("sd1"), &of_alpha(6.0))),
            (
                "sd2",
                shaken(
                    base("sd2"),
                    &LoraConfig {
                        targets: ["to_q", "attn2.to_k", "proj_out", "net.2", "linear_2"]
                            .map(str::to_owned)
                            .to_vec(),
                        ..of_alpha(2.5)
                    },
                ),
            ),
            // Ranks and alphas by layer.
            (
                "sd2",
                base("sd2").load_lora(&golden("lora/adapter")).unwrap(),
            ),
        ];
        for (folder, unet) in written {
            let inputs = Inputs::read(folder);
            let dir = tempfile::tempdir().unwrap();
            unet.save_lora(dir.path(), None).unwrap();
            let output = inputs.output(&unet);
            let fused = inputs.output(&unet.fuse().unwrap());
            let probe = dir.path().join("probe.safetensors");
            let named = [
                ("x_t", &inputs.x_t),
                ("t", &inputs.t),
                ("text", &inputs.text),
                ("output", &output),
                ("fused", &fused),
            ];
            write_safetensors(&probe, named, &[]).unwrap();
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../interop/check_lora.py");
            let answer = Command::new(&python)
                .arg(script)
                .args([&golden("conditional").join(folder), dir.path(), &probe])
                .env_remove("LD_LIBRARY_PATH")
                .output()
                .expect("Python starts");
            let said =
                String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).into_owned();
            println!("{said}");
            assert!(answer.status.success(), "{said}");
        }
    }
}
