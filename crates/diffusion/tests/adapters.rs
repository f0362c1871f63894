//! LoRA files of other forms, of the text encoder, folders of an adapter alone, and two adapters over one base.

use dualmd_diffusion::latent::Parts;
use dualmd_diffusion::latent::export::export_pair;
use dualmd_diffusion::lora::{KOHYA_FILE, LORA_FILE, PEFT_CONFIG, PEFT_FILE};
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::{
    AdapterFolder, ClipTextModel, Condition, Denoiser, DualDenoiser, LoraConfig, LoraForm, Model,
    ModelOrder, StepInfo, TextToImage, UNet2dCondition,
};
use dualmd_torch::weights::{read_safetensors, write_safetensors};
use dualmd_torch::{Device, Kind, Tensor, no_grad, noise};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn base_folder() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/golden/conditional/sd1"
    ))
}

fn base() -> TextToImage {
    TextToImage::load(&base_folder(), WeightSet::Ema, Parts::ALL, Device::Cpu).unwrap()
}

/// LoRA layers of which every part matters.
fn shaken(seed: u64, alpha: f64) -> UNet2dCondition {
    let config = LoraConfig {
        alpha,
        ..LoraConfig::new(4)
    };
    let unet = base().unet.with_lora(&config, seed).unwrap();
    let mut rng = dualmd_data::stream(seed, "test", 0);
    no_grad(|| {
        for mut tensor in unet.lora_parameters().unwrap().tensors() {
            let drawn = noise::normal(&mut rng, &tensor.size(), Device::Cpu) * 0.3;
            tensor.copy_(&drawn);
        }
    });
    unet
}

/// Noisy latents, times, and a text for each.
fn question() -> (Tensor, Tensor, Condition) {
    let mut rng = dualmd_data::stream(1, "question", 0);
    let x = noise::normal(&mut rng, &[4, 4, 8, 8], Device::Cpu);
    let t = Tensor::from_slice(&[10i64, 200, 500, 900]);
    let texts = ["a cat", "a dog", "", "a red chair"];
    let embedding = base().text_embeddings(&texts).unwrap();
    (x, t, Condition::of_text(embedding))
}

fn asked(denoiser: &dyn Denoiser) -> Tensor {
    let (x, t, told) = question();
    no_grad(|| denoiser.predict_noise(&x, &t, Some(&told))).unwrap()
}

/// Largest |a - b| / (1 + |b|).
fn far(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    let off = (a - b).abs() / (b.abs() + 1.0);
    off.max().double_value(&[])
}

#[test]
fn every_form_of_a_file_is_the_same_lora() {
    let unet = shaken(3, 6.0);
    let expected = asked(&unet);
    let dir = tempfile::tempdir().unwrap();
    let forms = [
        (LoraForm::Diffusers, LORA_FILE),
        (LoraForm::Peft { base: "../base" }, PEFT_FILE),
        (LoraForm::Kohya, KOHYA_FILE),
    ];
    for (i, (form, file)) in forms.into_iter().enumerate() {
        let folder = dir.path().join(i.to_string());
        unet.save_lora_as(form, &folder, None).unwrap();
        let path = folder.join(file);
        let back = base().unet.load_lora(&path).unwrap();
        assert!(asked(&back).equal(&expected), "{file}");
        if form != LoraForm::Kohya {
            // By the folder's name, too.
            let back = base().unet.load_lora(&folder).unwrap();
            assert!(asked(&back).equal(&expected), "{file}");
        }
    }
    // Kohya's names, with an alpha for each layer.
    let kohya = read_safetensors(&dir.path().join("2").join(KOHYA_FILE)).unwrap();
    let layer = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_out_0";
    assert_eq!(kohya.len(), 3 * 48);
    assert_eq!(kohya[&format!("{layer}.lora_down.weight")].size(), [4, 16]);
    assert_eq!(kohya[&format!("{layer}.alpha")].size(), [0i64; 0]);
    assert_eq!(kohya[&format!("{layer}.alpha")].double_value(&[]), 6.0);
    // PEFT's: without its configuration the alpha would be the rank.
    let config = std::fs::read_to_string(dir.path().join("1").join(PEFT_CONFIG)).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["peft_type"], "LORA");
    assert_eq!(config["r"], 4);
    assert_eq!(config["lora_alpha"], 6);
    assert_eq!(config["base_model_name_or_path"], "../base");
    assert_eq!(config["target_modules"].as_array().unwrap().len(), 48);
    let alone = dir.path().join("alone.safetensors");
    std::fs::copy(dir.path().join("1").join(PEFT_FILE), &alone).unwrap();
    let other = asked(&base().unet.load_lora(&alone).unwrap());
    assert!(far(&other, &expected) > 1e-4);
}

#[test]
fn two_adapters_over_one_base_take_turns_and_share_its_weights() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    shaken(3, 4.0).save_lora(&at("one"), None).unwrap();
    shaken(7, 4.0).save_lora(&at("two"), None).unwrap();
    let alone = |name: &str| {
        let model = Model::load(&base_folder(), WeightSet::Ema, Device::Cpu).unwrap();
        model.with_lora(&at(name)).unwrap()
    };
    let shared = Model::load(&base_folder(), WeightSet::Ema, Device::Cpu).unwrap();
    let pair = shared.adapted_twice([&at("one"), &at("two")]).unwrap();
    let (one, two) = (asked(&alone("one")), asked(&alone("two")));
    assert!(far(&one, &two) > 1e-3);
    // Added while it is asked, or to the weights before: the same but for rounding.
    for (model, fused) in pair.iter().zip([&one, &two]) {
        assert!(far(&asked(model), fused) < 1e-4);
    }
    // One base in memory.
    let of = |model: &Model| {
        let named = model.text().unwrap().unet.parameters().named();
        let places: Vec<_> = named.map(|(_, t)| t.data_ptr()).collect();
        places
    };
    assert_eq!(of(&pair[0]), of(&pair[1]));
    // What they would be trained in is theirs.
    let own = |model: &Model| model.weights().unwrap()[0].data_ptr();
    assert_ne!(own(&pair[0]), own(&pair[1]));
    // The first keeps what turns texts and images into what the network sees.
    let texts = pair[0].text_embeddings(&["a cat"]).unwrap();
    assert!(texts.equal(&base().text_embeddings(&["a cat"]).unwrap()));

    let [first, second] = pair;
    let dual = DualDenoiser::new(&first, &second, ModelOrder::FirstStarts, vec![900, 0], 0);
    let (x, t, told) = question();
    for (index, expected) in [(0, &one), (1, &two), (2, &one)] {
        let images = [0, 1, 2, 3];
        let step = StepInfo {
            index,
            images: &images,
        };
        let answer = no_grad(|| dual.predict_noise_in_step(&x, &t, Some(&told), step)).unwrap();
        assert!(far(&answer, expected) < 1e-4, "step {index}");
    }
}

#[test]
fn a_folder_of_an_adapter_opens_with_its_base() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("adapter");
    let unet = shaken(3, 2.0);
    let base_folder = base_folder().canonicalize().unwrap();
    let named = base_folder.to_str().unwrap();
    unet.save_lora(&folder, None).unwrap();
    let peft = LoraForm::Peft { base: named };
    unet.save_lora_as(peft, &folder, None).unwrap();
    let found = AdapterFolder::of(&folder, WeightSet::Ema).unwrap().unwrap();
    assert_eq!(found.base, base_folder);
    let expected = asked(&unet);
    let model = Model::load(&folder, WeightSet::Ema, Device::Cpu).unwrap();
    assert!(far(&asked(&model), &expected) < 1e-4);
    // PEFT's files alone, as its save_pretrained writes them.
    std::fs::remove_file(folder.join(LORA_FILE)).unwrap();
    let model = TextToImage::load(&folder, WeightSet::Ema, Parts::ALL, Device::Cpu).unwrap();
    assert!(far(&asked(&model), &expected) < 1e-4);
    assert!(model.text.is_some() && model.vae.is_some());
    // In a pair for Python it stands added up.
    let out = dir.path().join("pair");
    export_pair(&folder, &base_folder, &out).unwrap();
    let weights = |part: &str| {
        let file = out.join(part).join("diffusion_pytorch_model.safetensors");
        read_safetensors(&file).unwrap()
    };
    let (one, two) = (weights("unet"), weights("unet_2"));
    let (sum, plain) = (
        model.unet.parameters().shared(),
        base().unet.parameters().shared(),
    );
    assert_eq!((one.len(), two.len()), (sum.len(), plain.len()));
    for (name, tensor) in &sum {
        assert!(far(&one[name], tensor) < 1e-6 && far(&two[name], &plain[name]) < 1e-6);
    }
    assert!(out.join("text_encoder").is_dir() && out.join("pipeline.py").is_file());
    // An adapter whose base is nowhere.
    let lost = dir.path().join("lost");
    unet.save_lora_as(LoraForm::Peft { base: "nowhere" }, &lost, None)
        .unwrap();
    let refused = export_pair(&folder, &lost, &dir.path().join("none"));
    assert!(refused.unwrap_err().to_string().contains("nowhere"));
}

/// Layers for the first attention of the text encoder, of rank 2 and alpha 1, under names that `name` makes.
fn text_file(path: &Path, name: impl Fn(&str, &str) -> String, alpha: Option<f32>) {
    let width = base().text.unwrap().model.config().hidden_size;
    let mut tensors = BTreeMap::new();
    for (i, layer) in ["q_proj", "out_proj"].into_iter().enumerate() {
        let mut rng = dualmd_data::stream(i as u64, "text", 0);
        let mut drawn = |size: &[i64]| noise::normal(&mut rng, size, Device::Cpu) * 0.3;
        tensors.insert(name(layer, "A"), drawn(&[2, width]));
        tensors.insert(name(layer, "B"), drawn(&[width, 2]));
        if let Some(alpha) = alpha {
            tensors.insert(name(layer, "alpha"), Tensor::from(alpha));
        }
    }
    let named = tensors.iter().map(|(n, t)| (n.as_str(), t));
    write_safetensors(path, named, &[]).unwrap();
}

#[test]
fn a_file_may_change_the_text_encoder() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(format!("{name}.safetensors"));
    let texts = ["a cat", "a dog"];
    let before = base().text_embeddings(&texts).unwrap();
    let layer = |layer: &str| format!("text_model.encoder.layers.0.self_attn.{layer}");
    // kohya's names, those of diffusers with PEFT, and of diffusers before it.
    text_file(
        &at("kohya"),
        |name, part| {
            let flat = layer(name).replace('.', "_");
            let part = match part {
                "A" => "lora_down.weight",
                "B" => "lora_up.weight",
                other => other,
            };
            format!("lora_te_{flat}.{part}")
        },
        Some(1.0),
    );
    text_file(
        &at("peft"),
        |name, part| format!("text_encoder.{}.lora_{part}.weight", layer(name)),
        None,
    );
    text_file(
        &at("old"),
        |name, part| {
            let part = if part == "A" { "down" } else { "up" };
            let name = layer(name);
            format!("text_encoder.{name}.lora_linear_layer.{part}.weight")
        },
        None,
    );
    // What it should be: the sum, by hand. Without an alpha it is the rank.
    let by_hand = |scale: f64| {
        let text = base().text.unwrap().model;
        let file = read_safetensors(&at("peft")).unwrap();
        let mut weights = text.parameters().copies();
        for name in ["q_proj", "out_proj"] {
            let of =
                |part: &str| &file[&format!("text_encoder.{}.lora_{part}.weight", layer(name))];
            let added = of("B").matmul(of("A")) * scale;
            let weight = weights.get_mut(&format!("{}.weight", layer(name))).unwrap();
            *weight = &*weight + added;
        }
        let changed = ClipTextModel::from_weights(text.config(), weights, Device::Cpu).unwrap();
        let mut model = base();
        model.text.as_mut().unwrap().model = changed;
        model.text_embeddings(&texts).unwrap()
    };
    for (name, scale) in [("kohya", 0.5), ("peft", 1.0), ("old", 1.0)] {
        let model = base().with_lora(&at(name)).unwrap();
        let after = model.text_embeddings(&texts).unwrap();
        assert!(far(&after, &before) > 1e-3, "{name}");
        assert!(far(&after, &by_hand(scale)) < 1e-5, "{name}");
        // The network is what it was.
        assert!(asked(&model).equal(&asked(&base())), "{name}");
        // Whoever has no text encoder of its own refuses it.
        for refused in [
            base().adapted(&at(name)).map(drop),
            base().unet.load_lora(&at(name)).map(drop),
        ] {
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains("text encoder"), "{refused}");
        }
    }
    // Layers that the text encoder does not have, or of another width.
    let width = base().text.unwrap().model.config().hidden_size;
    let key = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj";
    for (key, width, why) in [
        ("text_encoder.text_model.nowhere", width, "does not have"),
        (key, width + 1, "another network"),
    ] {
        let zeros = |size: [i64; 2]| Tensor::zeros(size, (Kind::Float, Device::Cpu));
        let (a, b) = (zeros([2, width]), zeros([width, 2]));
        let names = [
            format!("{key}.lora_A.weight"),
            format!("{key}.lora_B.weight"),
        ];
        let named = names.iter().map(String::as_str).zip([&a, &b]);
        write_safetensors(&at("wrong"), named, &[]).unwrap();
        let refused = base().with_lora(&at("wrong")).unwrap_err().to_string();
        assert!(refused.contains(why) && refused.contains(key), "{refused}");
    }
}
