//! Folders that lack something or do not fit, and arguments out of range: what is wrong is named, nothing panics.

mod common;

use common::{golden, pictures};
use dualmd_caption::{CaptionOptions, Captioner, Method};
use dualmd_data::Picture;
use dualmd_torch::weights::{read_safetensors, write_safetensors};
use dualmd_torch::{Device, Kind, Tensor};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tempfile::TempDir;

const WORDS: &str = "text_decoder.bert.embeddings.word_embeddings.weight";

/// A copy of a golden folder, to be damaged.
struct Folder(TempDir);

impl Folder {
    fn copy(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(golden(name)).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
        Self(dir)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn remove(self, file: &str) -> Self {
        std::fs::remove_file(self.path(file)).unwrap();
        self
    }

    fn write(self, file: &str, bytes: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.path(file), bytes).unwrap();
        self
    }

    fn json(self, file: &str, change: impl FnOnce(&mut Value)) -> Self {
        let path = self.path(file);
        let mut value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut value);
        std::fs::write(path, value.to_string()).unwrap();
        self
    }

    fn weights(self, change: impl FnOnce(&mut BTreeMap<String, Tensor>)) -> Self {
        let path = self.path("model.safetensors");
        let mut tensors = read_safetensors(&path).unwrap();
        change(&mut tensors);
        write_safetensors(&path, tensors.iter().map(|(n, t)| (n.as_str(), t)), &[]).unwrap();
        self
    }

    fn load(&self) -> Captioner {
        Captioner::load(self.0.path(), Device::Cpu).unwrap()
    }

    /// Its error has all of `words`.
    fn refused(&self, words: &[&str]) {
        let error = Captioner::load(self.0.path(), Device::Cpu)
            .unwrap_err()
            .to_string();
        for word in words {
            assert!(error.contains(word), "\"{word}\" is not in: {error}");
        }
    }
}

#[test]
fn missing_files_are_named() {
    let new = || Folder::copy("new");
    Folder(tempfile::tempdir().unwrap()).refused(&["config.json", "save_pretrained"]);
    new().remove("config.json").refused(&["config.json"]);
    new()
        .remove("model.safetensors")
        .refused(&["model.safetensors", "is missing"]);
    new()
        .remove("model.safetensors")
        .write("pytorch_model.bin", b"x")
        .refused(&["pytorch_model.bin", "pickle", "save_pretrained"]);
    new()
        .remove("processor_config.json")
        .refused(&["preprocessor_config.json", "is missing"]);
    new()
        .remove("tokenizer.json")
        .refused(&["tokenizer.json", "vocab.txt"]);
    Folder::copy("old")
        .remove("model-00002-of-00002.safetensors")
        .refused(&["model-00002-of-00002.safetensors"]);
}

#[test]
fn files_that_are_not_what_they_should_be_are_named() {
    let new = || Folder::copy("new");
    new().write("config.json", "{").refused(&["config.json"]);
    new()
        .write("tokenizer.json", "{}")
        .refused(&["tokenizer.json"]);
    let bytes = std::fs::read(golden("new").join("model.safetensors")).unwrap();
    new()
        .write("model.safetensors", &bytes[..bytes.len() / 2])
        .refused(&["model.safetensors", "whole"]);
    let old = || Folder::copy("old");
    old()
        .json("model.safetensors.index.json", |v| {
            v["weight_map"]["x"] = json!("../model.safetensors");
        })
        .refused(&["index.json", "outside its folder"]);
    old()
        .write("vocab.txt", "a\nb\n")
        .refused(&["vocab.txt", "[UNK]"]);
}

#[test]
fn values_that_are_not_implemented_are_named_with_file_and_key() {
    let cases: [(&str, Value, &str); 17] = [
        ("/model_type", json!("blip-2"), "model_type"),
        (
            "/architectures",
            json!(["BlipForQuestionAnswering"]),
            "BlipForConditionalGeneration",
        ),
        ("/tie_word_embeddings", json!(false), "tie_word_embeddings"),
        (
            "/text_config/hidden_act",
            json!("relu"),
            "text_config.hidden_act",
        ),
        (
            "/vision_config/hidden_act",
            json!("quick_gelu"),
            "vision_config.hidden_act",
        ),
        (
            "/text_config/is_decoder",
            json!(false),
            "text_config.is_decoder",
        ),
        (
            "/text_config/num_attention_heads",
            json!(3),
            "text_config.num_attention_heads",
        ),
        (
            "/vision_config/num_attention_heads",
            json!(0),
            "vision_config.num_attention_heads",
        ),
        ("/vision_config/image_size", json!("384"), "image_size"),
        (
            "/vision_config/image_size",
            json!([16, 20]),
            "vision_config.image_size",
        ),
        (
            "/vision_config/image_size",
            json!(i64::MAX),
            "vision_config.image_size",
        ),
        (
            "/vision_config/patch_size",
            json!(32),
            "vision_config.patch_size",
        ),
        (
            "/text_config/hidden_size",
            json!(-16),
            "text_config.hidden_size",
        ),
        (
            "/text_config/layer_norm_eps",
            json!(0.0),
            "text_config.layer_norm_eps",
        ),
        (
            "/text_config/sep_token_id",
            json!(111),
            "text_config.sep_token_id",
        ),
        (
            "/text_config/bos_token_id",
            json!(null),
            "text_config.bos_token_id",
        ),
        ("/text_config/vocab_size", json!("many"), "config.json"),
    ];
    for (pointer, value, key) in cases {
        Folder::copy("new")
            .json("config.json", |config| {
                *config.pointer_mut(pointer).unwrap() = value;
            })
            .refused(&["config.json", key]);
    }
    for place in ["text_config", "vision_config"] {
        Folder::copy("new")
            .json("config.json", |v| v[place]["rotary"] = json!(true))
            .refused(&["config.json", &format!("{place}.rotary = true")]);
    }
}

#[test]
fn settings_of_images_that_are_not_implemented_are_named_with_file_and_key() {
    let cases = [
        ("resample", json!(2)),
        ("do_resize", json!(false)),
        ("do_normalize", json!(false)),
        ("do_center_crop", json!(true)),
        ("size", json!({"height": 16, "width": 20})),
        ("size", json!({"shortest_edge": 16})),
        ("size", json!(0)),
        ("size", json!(32)),
        ("image_std", json!([0.0, 1.0, 1.0])),
        ("new_step", json!(1)),
    ];
    for (key, value) in cases {
        let (alone, nested) = (value.clone(), value);
        Folder::copy("old")
            .json("preprocessor_config.json", |v| v[key] = alone)
            .refused(&["preprocessor_config.json", key]);
        Folder::copy("new")
            .json("processor_config.json", |v| {
                v["image_processor"][key] = nested
            })
            .refused(&["processor_config.json", key]);
    }
    // What transformers 4 wrote before sizes had names, and 5 writes for defaults.
    Folder::copy("old")
        .json("preprocessor_config.json", |v| {
            v["size"] = json!(16);
            v["do_pad"] = json!(null);
        })
        .load();
}

#[test]
fn weights_that_do_not_fit_are_named() {
    let damaged = |change: &dyn Fn(&mut BTreeMap<String, Tensor>)| {
        Folder::copy("new").weights(|tensors| change(tensors))
    };
    for name in [
        WORDS,
        "vision_model.embeddings.position_embedding",
        "vision_model.encoder.layers.1.self_attn.qkv.weight",
        "text_decoder.bert.encoder.layer.0.crossattention.self.key.weight",
        "text_decoder.cls.predictions.bias",
    ] {
        damaged(&|t| assert!(t.remove(name).is_some())).refused(&["has no tensor", name]);
        damaged(&|t| {
            let longer = Tensor::cat(&[&t[name], &t[name]], 0);
            t.insert(name.into(), longer);
        })
        .refused(&[name, "shape"]);
    }
    damaged(&|t| {
        t.insert("text_encoder.x".into(), Tensor::from_slice(&[1.0f32]));
    })
    .refused(&["text_encoder.x"]);
    // One more layer than there is; one layer fewer.
    for (layers, words) in [(3, "has no tensor"), (1, "no place for")] {
        Folder::copy("new")
            .json("config.json", |v| {
                v["text_config"]["num_hidden_layers"] = json!(layers)
            })
            .refused(&[words, "text_decoder.bert.encoder.layer"]);
    }
    // The text decoder looks at images of another width.
    Folder::copy("new")
        .json("config.json", |v| {
            v["vision_config"]["hidden_size"] = json!(24)
        })
        .refused(&["shape", "vision_model"]);
}

#[test]
fn output_weights_may_stand_under_either_name_but_must_be_tied() {
    let head = "text_decoder.cls.predictions.decoder.weight";
    let with = |change: &dyn Fn(&mut BTreeMap<String, Tensor>)| {
        Folder::copy("new").weights(|tensors| change(tensors))
    };
    let renamed = with(&|t| {
        let words = t.remove(WORDS).unwrap();
        t.insert(head.into(), words);
    });
    assert_eq!(
        renamed.load().model().parameters(),
        Folder::copy("new").load().model().parameters()
    );
    with(&|t| {
        let other = &t[WORDS] * 2.0;
        t.insert(head.into(), other);
    })
    .refused(&[WORDS, head, "tie_word_embeddings"]);
}

#[test]
fn parts_of_different_models_are_told() {
    let words: Vec<String> = (0..200).map(|i| format!("word{i}")).collect();
    let vocabulary = format!("[PAD]\n[UNK]\n[CLS]\n[SEP]\n{}\n", words.join("\n"));
    Folder::copy("old")
        .write("vocab.txt", vocabulary)
        .refused(&["tokenizer has 204 tokens", "vocab_size"]);
    Folder::copy("old")
        .write("vocab.txt", "[PAD]\n[UNK]\n")
        .refused(&["no token 3", "sep_token_id"]);
}

#[test]
fn damaged_weights_do_not_become_captions() {
    let filled = |value: f64| {
        Folder::copy("new").weights(|tensors| {
            let broken = tensors[WORDS].full_like(value);
            tensors.insert(WORDS.into(), broken);
        })
    };
    filled(f64::NAN).refused(&[WORDS, "no finite numbers"]);
    // Finite, and too large to compute with.
    let folder = filled(3e38);
    let (pictures, _) = pictures();
    for options in [CaptionOptions::greedy(), CaptionOptions::nucleus(1)] {
        let error = folder
            .load()
            .caption(&[&pictures[0]], &["x"], 1, &options)
            .unwrap_err()
            .to_string();
        assert!(error.contains("not finite"), "{error}");
    }
}

#[test]
fn arguments_out_of_range_are_refused() {
    let captioner = Folder::copy("new").load();
    let (pictures, _) = pictures();
    let first = &pictures[0];
    let refused = |n: usize, options: CaptionOptions, word: &str| {
        let error = captioner
            .caption(&[first], &["x"], n, &options)
            .unwrap_err()
            .to_string();
        assert!(error.contains(word), "\"{word}\" is not in: {error}");
    };
    let nucleus = || CaptionOptions::nucleus(1);
    let nucleus_of = |top_p: f64| CaptionOptions {
        method: Method::Nucleus { top_p, top_k: 50 },
        ..nucleus()
    };
    refused(2, CaptionOptions::greedy(), "all be the same");
    refused(0, nucleus(), "at least 1");
    for top_p in [0.0, 1.5, f64::NAN] {
        refused(1, nucleus_of(top_p), "top_p");
    }
    for repetition_penalty in [0.0, f64::INFINITY] {
        let options = CaptionOptions {
            repetition_penalty,
            ..nucleus()
        };
        refused(1, options, "repetition_penalty");
    }
    let lengths = |min_new_tokens, max_new_tokens| CaptionOptions {
        min_new_tokens,
        max_new_tokens,
        ..nucleus()
    };
    refused(1, lengths(0, 0), "at least 1");
    refused(1, lengths(6, 5), "not below");
    // The model has 40 positions.
    refused(1, lengths(5, 40), "max_position_embeddings");
    captioner
        .caption(&[first], &["x"], 1, &lengths(39, 39))
        .unwrap();
    let options = CaptionOptions {
        prompt: "a cat ".repeat(15),
        ..nucleus()
    };
    refused(1, options, "max_position_embeddings");
    refused(
        1,
        CaptionOptions {
            batch: 0,
            ..nucleus()
        },
        "batch",
    );

    let caption = |images: &[&Picture], ids: &[&str]| captioner.caption(images, ids, 1, &nucleus());
    assert!(caption(&[first], &["x", "y"]).is_err());
    assert_eq!(caption(&[], &[]).unwrap(), Vec::<Vec<String>>::new());
    let torn = Picture {
        pixels: vec![0; 7],
        ..first.clone()
    };
    assert!(caption(&[&torn], &["x"]).is_err());
    assert!(caption(&[&Picture::filled(0, 4, 3, 0)], &["x"]).is_err());
    // The same torn picture where nothing would have to be resized.
    let square = Picture {
        width: 16,
        height: 16,
        ..torn
    };
    assert!(caption(&[&square], &["x"]).is_err());

    let model = captioner.model();
    let zeros = |shape: &[i64], kind: Kind| Tensor::zeros(shape, (kind, Device::Cpu));
    assert!(model.see(&zeros(&[1, 3, 16, 20], Kind::Float)).is_err());
    assert!(model.see(&zeros(&[1, 3, 16, 16], Kind::Double)).is_err());
    let seen = model.see(&zeros(&[1, 3, 16, 16], Kind::Float)).unwrap();
    assert!(
        model
            .logits(&seen, &Tensor::from_slice2(&[[111i64]]))
            .is_err()
    );
    assert!(
        model
            .logits(&seen, &Tensor::from_slice2(&[[0i64; 41]]))
            .is_err()
    );
    assert!(
        model
            .generate(&seen, &["x", "y"], 1, &[], &nucleus())
            .is_err()
    );
    assert!(model.generate(&seen, &["x"], 1, &[-1], &nucleus()).is_err());
}
