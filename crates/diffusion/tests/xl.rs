//! Models of Stable Diffusion XL's kind: two text encoders, a pooled text, sizes; their folders and LoRA files. A small random one, and
//! Python's diffusers (interop/check_sdxl.py).

use dualmd_diffusion::latent::{Guided, LatentSampling, Parts, sample_latents};
use dualmd_diffusion::lora::KOHYA_FILE;
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::{
    Condition, Denoiser, LoraConfig, LoraForm, Model, TextToImage, UNet2dCondition,
};
use dualmd_torch::weights::{read_safetensors, write_safetensors};
use dualmd_torch::{Device, Kind, Tensor, no_grad, noise};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

const PROMPTS: [&str; 2] = ["a cat", "a red dog, 42!"];

fn fresh() -> TextToImage {
    TextToImage::fresh("t2i-xl-small", 3, 1, Device::Cpu).unwrap()
}

fn load(folder: &Path) -> dualmd_diffusion::Result<TextToImage> {
    TextToImage::load(folder, WeightSet::Ema, Parts::ALL, Device::Cpu)
}

fn edit(path: &Path, key: &str, value: Value) {
    let mut json: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    json[key] = value;
    std::fs::write(path, json.to_string()).unwrap();
}

/// x_t and t for two images.
fn inputs() -> (Tensor, Tensor) {
    let mut rng = dualmd_data::stream(3, "xl", 0);
    let x = noise::normal(&mut rng, &[2, 4, 16, 16], Device::Cpu);
    (x, Tensor::from_slice(&[900i64, 100]))
}

fn answer(unet: &UNet2dCondition, told: &Condition) -> Tensor {
    let (x, t) = inputs();
    no_grad(|| unet.forward(&x, &t, told, false)).unwrap()
}

fn far(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    ((a - b).abs() / (b.abs() + 1.0)).max().double_value(&[])
}

/// LoRA layers of which every part matters.
fn shaken(unet: UNet2dCondition) -> UNet2dCondition {
    let unet = unet.with_lora(&LoraConfig::new(2), 3).unwrap();
    let mut rng = dualmd_data::stream(5, "test", 0);
    no_grad(|| {
        for mut tensor in unet.lora_parameters().unwrap().tensors() {
            let drawn = noise::normal(&mut rng, &tensor.size(), Device::Cpu) * 0.3;
            tensor.copy_(&drawn);
        }
    });
    unet
}

#[test]
fn a_folder_names_its_pipeline_and_comes_back() {
    let model = fresh();
    let dir = tempfile::tempdir().unwrap();
    model.save(dir.path(), None, None).unwrap();
    let index: Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("model_index.json")).unwrap())
            .unwrap();
    for (key, value) in [
        ("_class_name", json!("StableDiffusionXLPipeline")),
        (
            "text_encoder_2",
            json!(["transformers", "CLIPTextModelWithProjection"]),
        ),
        ("tokenizer_2", json!(["transformers", "CLIPTokenizer"])),
        ("force_zeros_for_empty_prompt", json!(true)),
    ] {
        assert_eq!(index[key], value, "{key}");
    }
    assert!(index.get("safety_checker").is_none());
    let back = load(dir.path()).unwrap();
    let (ours, theirs) = (model.told(&PROMPTS).unwrap(), back.told(&PROMPTS).unwrap());
    for (a, b) in ours.parts().into_iter().zip(theirs.parts()) {
        assert_eq!(a.is_some(), b.is_some());
        assert!(a.zip(b).is_none_or(|(a, b)| a.equal(b)));
    }
    assert!(answer(&model.unet, &ours).equal(&answer(&back.unet, &theirs)));
    // A pair of its folders has no pipeline for Python.
    let (other, pair) = (tempfile::tempdir().unwrap(), dir.path().join("pair"));
    model.save(other.path(), None, None).unwrap();
    let refused =
        dualmd_diffusion::latent::export::export_pair(dir.path(), other.path(), &pair).unwrap_err();
    assert!(
        refused.to_string().contains("two text encoders"),
        "{refused}"
    );
}

#[test]
fn prompts_are_told_as_texts_pooled_texts_and_sizes() {
    let model = fresh();
    let told = model.told(&["a cat", "", "a cat"]).unwrap();
    let (text, pooled) = (told.texts().unwrap(), told.pooled.as_ref().unwrap());
    assert_eq!((text.size(), pooled.size()), (vec![3, 77, 96], vec![3, 48]));
    // 16 x 16 latents of an autoencoder with three levels, not cut.
    let size = Vec::<Vec<f64>>::try_from(told.size.as_ref().unwrap()).unwrap();
    assert_eq!(size, vec![[64.0, 64.0, 0.0, 0.0, 64.0, 64.0]; 3]);
    assert!(far(&text.get(0), &text.get(2)) < 1e-6 && far(&pooled.get(0), &pooled.get(2)) < 1e-6);
    // Nothing is zeros, as the folder says; or what the encoders make of it.
    let largest = |x: Tensor| x.abs().max().double_value(&[]);
    assert_eq!((largest(text.get(1)), largest(pooled.get(1))), (0.0, 0.0));
    let dir = tempfile::tempdir().unwrap();
    model.save(dir.path(), None, None).unwrap();
    let index = dir.path().join("model_index.json");
    edit(&index, "force_zeros_for_empty_prompt", json!(false));
    let other = load(dir.path()).unwrap().told(&["a cat", ""]).unwrap();
    assert!(far(&other.texts().unwrap().get(0), &text.get(0)) < 1e-6);
    assert!(largest(other.texts().unwrap().get(1)) > 0.1);
    assert!(largest(other.pooled.unwrap().get(1)) > 0.1);
    // The folder as a model tells the same.
    let whole = Model::load(dir.path(), WeightSet::Ema, Device::Cpu).unwrap();
    assert!(whole.told(&["a cat"]).unwrap().pooled.is_some());
}

/// The state before the last layer is the last of a model with a layer less, whose final layer norm changes nothing.
#[test]
fn the_penultimate_state_is_that_of_a_shorter_model() {
    let model = fresh();
    let text = model.text.unwrap();
    let ids = text.tokenizer.encode_all(&PROMPTS, 77).unwrap();
    let ours = no_grad(|| text.model.penultimate(&ids)).unwrap();
    assert!(ours.pooled.is_none());
    let mut config = text.model.config().clone();
    config.num_hidden_layers = 1;
    let weights = text.model.parameters().copies().into_iter();
    let weights: BTreeMap<_, _> = weights
        .filter(|(name, _)| !name.contains("layers.1."))
        .collect();
    let shorter =
        dualmd_diffusion::ClipTextModel::from_weights(&config, weights, Device::Cpu).unwrap();
    let last = no_grad(|| shorter.forward(&ids)).unwrap();
    let width = config.hidden_size;
    let normed = ours
        .state
        .layer_norm([width], None::<&Tensor>, None::<&Tensor>, 1e-5, false);
    assert!(last.allclose(&normed, 1e-5, 1e-6, false));
}

/// The token of the end stands for a prompt; 2 in a configuration means the highest id, which it is here.
#[test]
fn a_prompt_is_pooled_where_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let model = fresh();
    model.save(dir.path(), None, None).unwrap();
    let ours = model.told(&PROMPTS).unwrap().pooled.unwrap();
    let config = dir.path().join("text_encoder_2/config.json");
    for (end, same) in [(2, true), (513, true), (512, false)] {
        edit(&config, "eos_token_id", json!(end));
        let told = load(dir.path()).unwrap().told(&PROMPTS).unwrap();
        assert_eq!(told.pooled.unwrap().equal(&ours), same, "{end}");
    }
}

#[test]
fn the_network_listens_to_all_that_it_is_told() {
    let model = fresh();
    let told = model.told(&PROMPTS).unwrap();
    let plain = answer(&model.unet, &told);
    let cut = told.size.as_ref().unwrap() + 8.0;
    for other in [
        Condition {
            size: Some(cut),
            ..told.again()
        },
        Condition {
            pooled: told.pooled.as_ref().map(|t| t.flip([0])),
            ..told.again()
        },
        Condition {
            text: told.text.as_ref().map(|t| t.flip([0])),
            ..told.again()
        },
    ] {
        assert!(far(&answer(&model.unet, &other), &plain) > 1e-6);
    }
    let (x, t) = inputs();
    let refused = |told: Condition| {
        let error = model.predict_noise(&x, &t, Some(&told)).unwrap_err();
        error.to_string()
    };
    let text = || told.text.as_ref().unwrap().shallow_clone();
    assert!(refused(Condition::of_text(text())).contains("pooled text"));
    let sizeless = Condition {
        pooled: told.pooled.as_ref().map(Tensor::shallow_clone),
        ..Condition::of_text(text())
    };
    assert!(refused(sizeless).contains("sizes of images"));
}

/// Where what is added is nothing, the network is the one without it.
#[test]
fn an_addition_of_nothing_leaves_the_network_as_it_is_without() {
    let model = fresh();
    let mut config = model.unet.config().clone();
    let mut weights = model.unet.parameters().copies();
    for layer in ["weight", "bias"] {
        let name = format!("add_embedding.linear_2.{layer}");
        let zeros = weights[&name].zeros_like();
        weights.insert(name, zeros);
    }
    let deaf = UNet2dCondition::from_weights(&config, weights, Device::Cpu).unwrap();
    let weights = deaf.parameters().copies().into_iter();
    let weights = weights.filter(|(name, _)| !name.starts_with("add_embedding"));
    config.addition_embed_type = None;
    let without = UNet2dCondition::from_weights(&config, weights.collect(), Device::Cpu).unwrap();
    let told = model.told(&PROMPTS).unwrap();
    let text = Condition::of_text(told.texts().unwrap().shallow_clone());
    assert!(answer(&deaf, &told).equal(&answer(&without, &text)));
    assert!(far(&answer(&model.unet, &told), &answer(&deaf, &told)) > 1e-6);
}

#[test]
fn parts_that_do_not_fit_are_named() {
    let dir = tempfile::tempdir().unwrap();
    fresh().save(dir.path(), None, None).unwrap();
    let at = |name: &str| dir.path().join(name);
    let refused = || load(dir.path()).unwrap_err().to_string();
    let unet = at("unet/config.json");
    for (key, value, says) in [
        ("addition_embed_type", json!("image"), "text_time"),
        (
            "addition_time_embed_dim",
            json!(null),
            "addition_time_embed_dim",
        ),
        (
            "projection_class_embeddings_input_dim",
            json!(96),
            "projection_class_embeddings_input_dim",
        ),
    ] {
        let before: Value = serde_json::from_slice(&std::fs::read(&unet).unwrap()).unwrap();
        edit(&unet, key, value);
        let error = refused();
        assert!(error.contains(says) && error.contains("unet"), "{error}");
        std::fs::write(&unet, before.to_string()).unwrap();
    }
    edit(
        &at("tokenizer_2/tokenizer_config.json"),
        "model_max_length",
        json!(40),
    );
    assert!(refused().contains("as many"), "{}", refused());
    edit(
        &at("tokenizer_2/tokenizer_config.json"),
        "model_max_length",
        json!(77),
    );
    load(dir.path()).unwrap();
    edit(
        &at("model_index.json"),
        "requires_aesthetics_score",
        json!(true),
    );
    assert!(refused().contains("refiner"), "{}", refused());
    edit(
        &at("model_index.json"),
        "requires_aesthetics_score",
        json!(false),
    );
    edit(
        &at("model_index.json"),
        "text_encoder_2",
        json!([null, null]),
    );
    assert!(refused().contains("text_encoder_2"), "{}", refused());
}

/// diffusers' names, and in kohya's file the original ones.
#[test]
fn lora_files_come_back_in_every_form() {
    let told = fresh().told(&PROMPTS).unwrap();
    let unet = shaken(fresh().unet);
    let expected = answer(&unet, &told);
    assert!(far(&expected, &answer(&fresh().unet, &told)) > 1e-3);
    let dir = tempfile::tempdir().unwrap();
    for (form, file) in [
        (LoraForm::Diffusers, "pytorch_lora_weights.safetensors"),
        (LoraForm::Peft { base: "base" }, "adapter_model.safetensors"),
        (LoraForm::Kohya, KOHYA_FILE),
    ] {
        unet.save_lora_as(form, dir.path(), None).unwrap();
        let back = fresh().unet.load_lora(&dir.path().join(file)).unwrap();
        assert!(answer(&back, &told).equal(&expected), "{file}");
    }
    let keys = read_safetensors(&dir.path().join(KOHYA_FILE)).unwrap();
    // One residual block per level: level 1 begins with entry 3 on the way down, and with entry 2 on the way up.
    for place in ["input_blocks_3_1", "middle_block_1", "output_blocks_2_1"] {
        let key = format!("lora_unet_{place}_transformer_blocks_0_attn1_to_q.lora_down.weight");
        assert!(keys.contains_key(&key), "{key}");
    }
    // Files for the network alone are nothing that another kind of network has.
    let other = TextToImage::fresh("t2i-latent-small", 3, 1, Device::Cpu).unwrap();
    assert!(other.unet.load_lora(&dir.path().join(KOHYA_FILE)).is_err());
}

#[test]
fn a_file_may_change_both_text_encoders() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    let drawn = |size: [i64; 2]| {
        let mut rng = dualmd_data::stream(9, "lora", 0);
        noise::normal(&mut rng, &size, Device::Cpu) * 0.3
    };
    let layer = "text_model.encoder.layers.0.self_attn.v_proj";
    let write = |prefix: &str, layer: &str, parts: [&str; 2], width: i64| {
        let names = parts.map(|part| format!("{prefix}{layer}.{part}"));
        let tensors = [drawn([2, width]), drawn([width, 2])];
        let named = names.iter().map(String::as_str).zip(&tensors);
        write_safetensors(&path, named, &[]).unwrap();
    };
    let peft = ["lora_A.weight", "lora_B.weight"];
    let kohya = ["lora_down.weight", "lora_up.weight"];
    let flat = layer.replace('.', "_");
    let before = fresh().told(&["a cat"]).unwrap();
    for (prefix, layer, parts, width, second) in [
        ("text_encoder.", layer, peft, 64, false),
        ("text_encoder_2.", layer, peft, 32, true),
        ("lora_te1_", flat.as_str(), kohya, 64, false),
        ("lora_te2_", flat.as_str(), kohya, 32, true),
    ] {
        write(prefix, layer, parts, width);
        let after = fresh().with_lora(&path).unwrap().told(&["a cat"]).unwrap();
        // The first encoder's 64 features come first; the pooled text is the second one's.
        let changed = |from: i64, n: i64| {
            let part = |told: &Condition| told.texts().unwrap().narrow(2, from, n);
            far(&part(&after), &part(&before)) > 1e-4
        };
        assert_eq!(
            (changed(0, 64), changed(64, 32)),
            (!second, second),
            "{prefix}"
        );
        let pooled = |told: &Condition| told.pooled.as_ref().unwrap().shallow_clone();
        assert_eq!(
            far(&pooled(&after), &pooled(&before)) > 1e-4,
            second,
            "{prefix}"
        );
        // Whoever takes turns is told the same; a model of one encoder has no place for it.
        assert!(
            fresh()
                .adapted(&path)
                .unwrap_err()
                .to_string()
                .contains("fuse")
        );
        if prefix != "text_encoder." {
            let one = TextToImage::fresh("t2i-latent-small", 3, 1, Device::Cpu).unwrap();
            let refused = one.with_lora(&path).unwrap_err().to_string();
            assert!(refused.contains("one of two text encoders"), "{refused}");
        }
    }
}

/// What is held in bf16 stays so under LoRA layers, which are in f32 and alone have gradients; two adapters share it.
#[test]
fn lora_layers_lie_over_weights_in_half_precision() {
    let config = fresh().unet.config().clone();
    let held = UNet2dCondition::fresh_bf16(&config, 1, Device::Cpu).unwrap();
    let network = shaken(held.shared().unwrap());
    for ((_, a), (_, b)) in network.parameters().named().zip(held.parameters().named()) {
        assert!(a.kind() == Kind::BFloat16 && a.data_ptr() == b.data_ptr());
    }
    let told = fresh().told(&PROMPTS).unwrap();
    let (x, t) = inputs();
    let out = network.forward(&x, &t, &told, true).unwrap();
    out.square().mean(Kind::Float).backward();
    for (name, tensor) in network.lora_parameters().unwrap().named() {
        assert_eq!(tensor.kind(), Kind::Float);
        let gradient = tensor.grad();
        let finite = gradient.defined() && gradient.isfinite().all().double_value(&[]) == 1.0;
        assert!(finite, "{name}");
    }
    let fused = network.fuse().unwrap();
    let kinds = fused
        .parameters()
        .named()
        .all(|(_, t)| t.kind() == Kind::Float);
    assert!(kinds && far(&answer(&fused, &told), &out.detach()) < 0.1);
}

mod needs_python {
    use super::*;
    use std::process::Command;

    const GUIDANCE: f64 = 4.0;

    /// Runs interop/check_sdxl.py; panics with its words if it fails.
    fn check(args: &[&Path]) {
        let python = std::env::var_os("DUALMD_TEST_PYTHON")
            .expect("DUALMD_TEST_PYTHON names a Python; `cargo xtask test --interop` sets it");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../interop/check_sdxl.py");
        let answer = Command::new(python)
            .arg(script)
            .args(args)
            .env_remove("LD_LIBRARY_PATH")
            .output()
            .expect("Python starts");
        let said = String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).into_owned();
        println!("{said}");
        assert!(answer.status.success(), "{said}");
    }

    #[test]
    #[ignore = "needs Python with torch and diffusers: `cargo xtask test --interop`"]
    fn the_pipeline_draws_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let model = fresh();
        let folder = dir.path().join("model");
        model.save(&folder, None, None).unwrap();
        let (x, _) = inputs();
        let guided = Guided {
            unconditional: model.told(&[""]).unwrap(),
            scale: GUIDANCE,
            model: &model,
        };
        let told = model.told(&PROMPTS).unwrap();
        let drawn = |steps: usize| {
            let options = LatentSampling {
                steps,
                batch: 2,
                clip: model.clip(),
            };
            sample_latents(&guided, &model.schedule, &x, &told, &options, |_| true).unwrap()
        };
        let (step, sample) = (drawn(1), drawn(5));
        let probe = dir.path().join("probe.safetensors");
        let named = [("noise", &x), ("step", &step), ("sample", &sample)];
        write_safetensors(&probe, named, &[]).unwrap();
        check(&[Path::new("pipeline"), &folder, &probe]);
    }

    #[test]
    #[ignore = "needs Python with torch and diffusers: `cargo xtask test --interop`"]
    fn diffusers_reads_lora_files_written_here() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("model");
        let model = fresh();
        model.save(&folder, None, None).unwrap();
        let told = model.told(&PROMPTS).unwrap();
        let unet = shaken(model.unet);
        let files = dir.path().join("lora");
        for form in [LoraForm::Diffusers, LoraForm::Kohya] {
            unet.save_lora_as(form, &files, None).unwrap();
        }
        let ((x, t), output) = (inputs(), answer(&unet, &told));
        let probe = dir.path().join("probe.safetensors");
        let named = [
            ("x_t", &x),
            ("t", &t),
            ("text", told.texts().unwrap()),
            ("pooled", told.pooled.as_ref().unwrap()),
            ("size", told.size.as_ref().unwrap()),
            ("output", &output),
        ];
        write_safetensors(&probe, named, &[]).unwrap();
        check(&[Path::new("lora"), &folder, &files, &probe]);
    }

    #[test]
    #[ignore = "needs Python with torch and diffusers: `cargo xtask test --interop`"]
    fn a_file_of_diffusers_changes_network_and_both_encoders() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, out) = (dir.path().join("model"), dir.path().join("lora"));
        let model = fresh();
        model.save(&folder, None, None).unwrap();
        check(&[Path::new("make"), &folder, &out]);
        let expected = read_safetensors(&out.join("expected.safetensors")).unwrap();
        let plain = model.told(&PROMPTS).unwrap();
        let model = model.with_lora(&out).unwrap();
        let told = model.told(&PROMPTS).unwrap();
        for (name, part, before) in [
            ("text", &told.text, &plain.text),
            ("pooled", &told.pooled, &plain.pooled),
            ("size", &told.size, &plain.size),
        ] {
            let (part, before) = (part.as_ref().unwrap(), before.as_ref().unwrap());
            let error = far(part, &expected[name]);
            assert!(error < 1e-5, "{name}: {error:e}");
            assert_eq!(far(before, &expected[name]) > 1e-3, name != "size");
        }
        let (x, t) = (&expected["x_t"], &expected["t"]);
        let output = no_grad(|| model.unet.forward(x, t, &told, false)).unwrap();
        let error = far(&output, &expected["output"]);
        assert!(error < 1e-5, "{error:e}");
    }
}
