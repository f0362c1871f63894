//! Model folders of others: what is opened, and what is refused with the reason.

use dualmd_diffusion::latent::Parts;
use dualmd_diffusion::latent::export::export_pair;
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::sampler::{SampleOptions, Sampler, initial_noise, sample};
use dualmd_diffusion::{
    BackboneConfig, Beside, Denoiser, Model, Pipeline, TextToImage, UNet2d, UNet2dConfig,
};
use dualmd_torch::weights::{read_npy, read_safetensors, write_npy, write_safetensors};
use dualmd_torch::{Device, Kind, Tensor, no_grad, noise};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

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

/// A folder that may be changed.
fn folder(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden(name), dir.path());
    dir
}

fn open(folder: &Path) -> Result<Model, String> {
    Model::load(folder, WeightSet::Ema, Device::Cpu).map_err(|e| e.to_string())
}

fn refused(folder: &Path) -> String {
    let error = open(folder)
        .map(|_| ())
        .expect_err("this folder is refused");
    assert!(!error.contains('\n'), "{error}");
    error
}

/// Sets keys of a JSON file.
fn edit(path: &Path, keys: &[(&str, Value)]) {
    let mut json: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for (key, value) in keys {
        json[key] = value.clone();
    }
    std::fs::write(path, json.to_string()).unwrap();
}

/// Writes the weights of `path` anew, each as `change` has it.
fn rewrite(path: &Path, change: impl Fn(&str, Tensor) -> (String, Tensor)) {
    let changed: Vec<(String, Tensor)> = read_safetensors(path)
        .unwrap()
        .into_iter()
        .map(|(name, tensor)| change(&name, tensor))
        .collect();
    let named = changed.iter().map(|(name, tensor)| (name.as_str(), tensor));
    write_safetensors(path, named, &[("format", "pt")]).unwrap();
}

fn eps_of(model: &Model, of: &Path) -> Tensor {
    let npy = |file: &str| read_npy(&of.join(file)).unwrap();
    no_grad(|| model.predict_noise(&npy("x_t.npy"), &npy("t.npy"), None)).unwrap()
}

/// Largest difference from the golden eps, of its largest value.
fn error_of(model: &Model, of: &Path) -> f64 {
    let expected = read_npy(&of.join("eps.npy")).unwrap();
    let largest = expected.abs().max().double_value(&[]);
    (eps_of(model, of) - expected).abs().max().double_value(&[]) / largest
}

#[test]
fn scale_shift_with_attention_in_the_middle_is_that_of_diffusers() {
    let model = open(&golden("tiny-scale-shift")).unwrap();
    let error = error_of(&model, &golden("tiny-scale-shift"));
    assert!(error < 1e-6, "{error:e}");
    let t = model.schedule();
    // The cosine schedule, of which the middle is known: diffusers' alphas_cumprod[500].
    assert!((t.alpha_bar(500) - 0.492_285_043).abs() < 5e-7);

    // A folder that an earlier version wrote says how it can be opened, and then it is.
    let dir = folder("tiny-scale-shift");
    let weights = dir.path().join("unet").join(WEIGHTS);
    let mut all = read_safetensors(&weights).unwrap();
    let ones = || Tensor::ones([16], (Kind::Float, Device::Cpu));
    for part in ["weight", "bias"] {
        all.insert(format!("mid_block.attentions.0.group_norm.{part}"), ones());
    }
    let named = all.iter().map(|(name, tensor)| (name.as_str(), tensor));
    write_safetensors(&weights, named, &[]).unwrap();
    let error = refused(dir.path());
    assert!(error.contains("\"attn_norm_num_groups\": 4"), "{error}");
    let config = dir.path().join("unet/config.json");
    edit(&config, &[("attn_norm_num_groups", json!(4))]);
    let normed = open(dir.path()).unwrap();
    assert!(error_of(&normed, &golden("tiny-scale-shift")) > 1e-3);
}

#[test]
fn weights_that_are_no_numbers_are_refused_wherever_they_are_read() {
    let poison = |path: &Path, tensor: &str, value: f64| {
        let found = std::cell::Cell::new(false);
        rewrite(path, |name, t| {
            if name == tensor {
                found.set(true);
                let _ = t.flatten(0, -1).get(0).fill_(value);
            }
            (name.to_owned(), t)
        });
        assert!(found.get(), "{tensor} is not in {}", path.display());
    };
    let dir = folder("tiny-grey");
    let path = dir.path().join("unet").join(WEIGHTS);
    poison(&path, "conv_in.weight", f64::NAN);
    let error = refused(dir.path());
    for part in ["\"conv_in.weight\"", WEIGHTS, "1 of 72", "[0, 0, 0, 0]"] {
        assert!(error.contains(part), "{error} lacks {part}");
    }
    // Copied as they are, and looked at all the same.
    let out = tempfile::tempdir().unwrap();
    let pair = out.path().join("pair");
    let error = export_pair(&golden("tiny-grey-2"), dir.path(), &pair).unwrap_err();
    assert!(
        error.to_string().contains("conv_in.weight") && !pair.exists(),
        "{error}"
    );

    for (part, file, tensor) in [
        ("unet", WEIGHTS, "conv_out.bias"),
        ("vae", WEIGHTS, "quant_conv.bias"),
        ("text_encoder", "model.safetensors", "final_layer_norm.bias"),
    ] {
        let dir = folder("conditional/sd1");
        poison(&dir.path().join(part).join(file), tensor, f64::INFINITY);
        let error = refused(dir.path());
        assert!(error.contains(tensor) && error.contains(part), "{error}");
    }
    let sd1 = TextToImage::load(
        &golden("conditional/sd1"),
        WeightSet::Ema,
        Parts::UNET,
        Device::Cpu,
    );
    let dir = folder("lora/kohya");
    let lora = dir.path().join("pytorch_lora_weights.safetensors");
    let first = read_safetensors(&lora).unwrap().into_keys().next().unwrap();
    poison(&lora, &first, f64::NAN);
    let error = sd1.unwrap().unet.load_lora(&lora).unwrap_err().to_string();
    assert!(error.contains(&first), "{error}");
}

/// Finite weights whose predictions are not: no image of NaN is drawn.
#[test]
fn predictions_that_overflow_are_no_images() {
    let dir = folder("tiny-grey");
    rewrite(&dir.path().join("unet").join(WEIGHTS), |name, t| {
        let t = if name == "conv_out.weight" {
            t * 0.0 + 3e38
        } else {
            t
        };
        (name.to_owned(), t)
    });
    let model = open(dir.path()).unwrap();
    let options = SampleOptions {
        sampler: Sampler::Ddim,
        steps: 2,
        batch: 1,
        seed: 0,
        clip: None,
        unbounded: false,
    };
    let x = initial_noise(0, 1, [1, 16, 16], Device::Cpu);
    let drawn = sample(&model, model.schedule(), &x, None, &options, |_| true);
    let error = drawn.unwrap_err().to_string();
    assert!(error.contains("no finite numbers"), "{error}");
}

#[test]
fn numbers_out_of_range_are_refused_with_key_and_range() {
    let huge = json!(4_611_686_018_427_387_904i64);
    let unet: &[(&str, Value, &str)] = &[
        ("downsample_padding", json!(100), "from 0 to 1"),
        ("downsample_padding", json!(-1), "from 0 to 1"),
        ("sample_size", json!(-1), "from 1 to 4096"),
        ("sample_size", json!(1_000_000_000), "from 1 to 4096"),
        ("sample_size", huge.clone(), "from 1 to 4096"),
        ("sample_size", json!([16, -1]), "from 1 to 4096"),
        ("in_channels", json!(0), "from 1 to"),
        ("out_channels", huge.clone(), "from 1 to"),
        ("block_out_channels", json!([8, -16]), "from 1 to"),
        ("block_out_channels", json!(vec![8; 100]), "at most 16"),
        ("block_out_channels", json!([8, huge]), "from 1 to"),
        ("layers_per_block", huge.clone(), "from 1 to 64"),
        ("layers_per_block", json!(0), "from 1 to 64"),
        ("norm_num_groups", json!(0), "from 1 to"),
        ("norm_num_groups", json!(null), "from 1 to"),
        ("norm_eps", json!(-1.0), "a number from"),
        ("mid_block_scale_factor", json!(0), "a number from"),
        ("dropout", json!(2), "from 0 to 1"),
        ("freq_shift", json!(-3), "from 0 to"),
        ("freq_shift", json!(4), "below half"),
        ("attention_head_dim", json!(0), "from 1 to"),
        ("act_fn", json!(5), "act_fn = 5"),
    ];
    let scheduler: &[(&str, Value, &str)] = &[
        (
            "num_train_timesteps",
            json!(1_000_000_000),
            "from 2 to 100000",
        ),
        ("num_train_timesteps", huge.clone(), "from 2 to 100000"),
        ("num_train_timesteps", json!(-1), "from 2 to 100000"),
        ("steps_offset", json!(-7), "from 0 to"),
    ];
    for (base, more) in [
        (
            "tiny-grey",
            &[("attn_norm_num_groups", json!(-1), "from 1 to")][..],
        ),
        (
            "conditional/sd1",
            &[
                ("cross_attention_dim", json!(-1), "from 1 to"),
                ("transformer_layers_per_block", huge.clone(), "from 1 to 64"),
                (
                    "transformer_layers_per_block",
                    json!([1, 0]),
                    "from 1 to 64",
                ),
            ],
        ),
    ] {
        let all = unet
            .iter()
            .chain(more)
            .map(|case| ("unet/config.json", case));
        let all = all.chain(
            scheduler
                .iter()
                .map(|case| ("scheduler/scheduler_config.json", case)),
        );
        for (file, (key, value, words)) in all {
            let dir = folder(base);
            edit(&dir.path().join(file), &[(*key, value.clone())]);
            let error = refused(dir.path());
            for part in [*key, *words, file] {
                assert!(
                    error.contains(part),
                    "{base} {key} = {value}: {error} lacks {part}"
                );
            }
        }
    }
    for (file, key, value) in [
        ("vae/config.json", "latent_channels", json!(-4)),
        ("vae/config.json", "layers_per_block", huge.clone()),
        ("vae/config.json", "norm_num_groups", json!(0)),
        ("vae/config.json", "scaling_factor", json!(0)),
        ("vae/config.json", "block_out_channels", json!([8, huge])),
        ("text_encoder/config.json", "vocab_size", huge.clone()),
        ("text_encoder/config.json", "num_hidden_layers", json!(-1)),
        (
            "text_encoder/config.json",
            "max_position_embeddings",
            json!(1),
        ),
        ("text_encoder/config.json", "layer_norm_eps", json!(-1)),
        ("text_encoder/config.json", "hidden_size", json!(1.5)),
    ] {
        let dir = folder("conditional/sd1");
        edit(&dir.path().join(file), &[(key, value.clone())]);
        let error = refused(dir.path());
        assert!(
            error.contains(key) && error.contains(file) && error.contains("must be"),
            "{error}"
        );
    }
    // Widths that no memory holds are told before they are asked for.
    let wide = UNet2dConfig {
        block_out_channels: vec![65_536, 65_536],
        down_block_types: vec!["DownBlock2D".into(); 2],
        up_block_types: vec!["UpBlock2D".into(); 2],
        ..UNet2dConfig::default()
    };
    let error = UNet2d::fresh(&wide, 0, Device::Cpu)
        .unwrap_err()
        .to_string();
    assert!(error.contains("parameters"), "{error}");
}

#[test]
fn what_a_pipeline_is_of_is_read_and_not_guessed() {
    let index = "model_index.json";
    let scheduler = "scheduler/scheduler_config.json";
    let class = |value: &str| vec![("_class_name", json!(value))];
    let part =
        |name: &'static str, library: &str, class: &str| vec![(name, json!([library, class]))];
    for (base, file, keys, words) in [
        ("tiny-grey", index, class("LDMPipeline"), "names no vqvae"),
        (
            "tiny-grey",
            index,
            class("LDMTextToImagePipeline"),
            "LDMTextToImagePipeline",
        ),
        (
            "tiny-grey",
            index,
            class("DiTPipeline"),
            "a part unet (UNet2DModel)",
        ),
        (
            "tiny-grey",
            index,
            part("vqvae", "diffusers", "VQModel"),
            "vqvae",
        ),
        (
            "tiny-grey",
            index,
            part("scheduler", "diffusers", "EDMEulerScheduler"),
            "EDMEulerScheduler",
        ),
        (
            "tiny-grey",
            scheduler,
            class("FlowMatchEulerDiscreteScheduler"),
            "flow matching",
        ),
        (
            "tiny-grey",
            scheduler,
            class("ScoreSdeVeScheduler"),
            "ScoreSdeVeScheduler",
        ),
        (
            "tiny-grey",
            scheduler,
            class("KarrasVeScheduler"),
            "KarrasVeScheduler",
        ),
        (
            "tiny-grey",
            scheduler,
            class("IPNDMScheduler"),
            "IPNDMScheduler",
        ),
        (
            "tiny-grey",
            scheduler,
            class("ConsistencyDecoderScheduler"),
            "ConsistencyDecoderScheduler",
        ),
        (
            "tiny-grey",
            scheduler,
            vec![("prediction_type", json!("flow"))],
            "prediction_type \"flow\"",
        ),
        (
            "tiny-grey",
            scheduler,
            vec![("new_key", json!(1))],
            "new_key = 1",
        ),
        (
            "tiny-grey",
            "unet/config.json",
            class("UNet1DModel"),
            "UNet1DModel",
        ),
        (
            "tiny-grey",
            "unet/config.json",
            vec![("mid_block_type", json!("X"))],
            "mid_block_type",
        ),
        (
            "tiny-grey",
            "unet/config.json",
            vec![("time_embedding_dim", json!(7))],
            "time_embedding_dim",
        ),
        (
            "tiny-grey",
            "unet/config.json",
            vec![("num_class_embeds", json!(10))],
            "class_embedding.weight",
        ),
        (
            "tiny-grey",
            "unet/config.json",
            vec![("num_class_embeds", json!(0))],
            "num_class_embeds = 0",
        ),
        (
            "tiny-grey",
            "unet/config.json",
            vec![("class_embed_type", json!("timestep"))],
            "class_embed_type = \"timestep\"",
        ),
        (
            "conditional/sd1",
            index,
            class("StableDiffusionInpaintPipeline"),
            "StableDiffusionInpaint",
        ),
        (
            "conditional/sd1",
            index,
            part("vae", "diffusers", "AutoencoderTiny"),
            "AutoencoderTiny",
        ),
        (
            "conditional/sd1",
            index,
            part("text_encoder", "transformers", "T5EncoderModel"),
            "T5EncoderModel",
        ),
        (
            "conditional/sd1",
            index,
            part("tokenizer", "transformers", "T5Tokenizer"),
            "T5Tokenizer",
        ),
        (
            "conditional/sd1",
            index,
            part("scheduler", "diffusers", "LCMScheduler"),
            "LCMScheduler",
        ),
        (
            "conditional/sd1",
            scheduler,
            vec![("use_flow_sigmas", json!(true))],
            "use_flow_sigmas",
        ),
    ] {
        let dir = folder(base);
        edit(&dir.path().join(file), &keys);
        let error = refused(dir.path());
        assert!(error.contains(words), "{base} {file} {keys:?}: {error}");
    }
}

/// Fewer tokens than embeddings: textual inversion was left out, and prompts would mean something else.
#[test]
fn an_encoder_that_knows_more_than_the_tokenizer_is_refused() {
    let dir = folder("conditional/sd1");
    let path = dir.path().join("text_encoder/model.safetensors");
    rewrite(&path, |name, t| {
        let t = if name.ends_with("token_embedding.weight") {
            Tensor::cat(&[&t, &t.narrow(0, 0, 2)], 0)
        } else {
            t
        };
        (name.to_owned(), t)
    });
    edit(
        &dir.path().join("text_encoder/config.json"),
        &[("vocab_size", json!(542))],
    );
    let error = refused(dir.path());
    assert!(
        error.contains("540 tokens") && error.contains("542 embeddings"),
        "{error}"
    );
    std::fs::write(
        dir.path().join("tokenizer/added_tokens.json"),
        r#"{"<cat-toy>": 540, "<style>": 541}"#,
    )
    .unwrap();
    let Model::TextToImage(model) = open(dir.path()).unwrap() else {
        panic!("another kind");
    };
    let ids = model
        .text
        .as_ref()
        .unwrap()
        .tokenizer
        .encode("a <cat-toy>", 6)
        .unwrap();
    assert_eq!(ids[1..4], [320, 540, 539]);
}

/// The scheduler of most Stable Diffusion folders that were saved with DPM-Solver.
#[test]
fn pythons_json_is_read_and_written_back_byte_for_byte() {
    let dir = folder("conditional/sd1");
    let path = dir.path().join("scheduler/scheduler_config.json");
    let text = "{\n  \"_class_name\": \"DPMSolverMultistepScheduler\",\n  \"beta_start\": 0.00085, \"beta_end\": 0.012,\n  \
                \"beta_schedule\": \"scaled_linear\", \"lambda_min_clipped\": -Infinity,\n  \"variance_type\": null,\n  \
                \"prediction_type\": \"epsilon\", \"num_train_timesteps\": 1000\n}\n";
    std::fs::write(&path, text).unwrap();
    let before = open(&golden("conditional/sd1")).unwrap();
    let Model::TextToImage(model) = open(dir.path()).unwrap() else {
        panic!("another kind");
    };
    assert_eq!(
        model.schedule.alpha_bar(200),
        before.schedule().alpha_bar(200)
    );
    let out = tempfile::tempdir().unwrap();
    model.save(out.path(), None, None).unwrap();
    let written = std::fs::read_to_string(out.path().join("scheduler/scheduler_config.json"));
    assert_eq!(written.unwrap(), text);

    let dir = folder("tiny-grey");
    let path = dir.path().join("unet/config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("1e-05", "NaN")).unwrap();
    let error = refused(dir.path());
    assert!(error.contains("norm_eps = \"NaN\""), "{error}");
}

#[test]
fn a_folder_with_its_files_in_the_root_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let from = golden("tiny-ddpm");
    for (file, part) in [
        ("model_index.json", ""),
        ("config.json", "unet"),
        (WEIGHTS, "unet"),
        ("scheduler_config.json", "scheduler"),
    ] {
        std::fs::copy(from.join(part).join(file), dir.path().join(file)).unwrap();
    }
    let model = open(dir.path()).unwrap();
    let error = error_of(&model, &from);
    assert!(error < 1e-5, "{error:e}");
    // For Python the pair needs a folder for each part.
    let out = dir.path().join("pair");
    let pair = export_pair(dir.path(), &golden("tiny-grey"), &out);
    assert!(pair.unwrap_err().to_string().contains("export copy"));
}

#[test]
fn half_precision_alone_wrappers_and_shards_are_opened() {
    let of = golden("tiny-ddpm");
    let dir = folder("tiny-ddpm");
    let unet = dir.path().join("unet");
    std::fs::rename(
        unet.join(WEIGHTS),
        unet.join("diffusion_pytorch_model.fp16.safetensors"),
    )
    .unwrap();
    let error = error_of(&open(dir.path()).unwrap(), &of);
    assert!(error < 1e-5, "{error:e}");

    for wrapper in ["_orig_mod.", "module.", "module._orig_mod."] {
        let dir = folder("tiny-ddpm");
        let path = dir.path().join("unet").join(WEIGHTS);
        rewrite(&path, |name, t| (format!("{wrapper}{name}"), t));
        let model = open(dir.path()).unwrap();
        assert!(error_of(&model, &of) < 1e-5);
        let Model::Unconditional(pipeline) = model else {
            panic!("another kind");
        };
        let named = pipeline.network.parameters().named();
        let names: Vec<&str> = named.map(|(n, _)| n).collect();
        assert!(names.contains(&"conv_in.weight"));
        let out = dir.path().join("pair");
        let pair = export_pair(dir.path(), &of, &out).unwrap_err().to_string();
        assert!(pair.contains("every name") && !out.exists(), "{pair}");
    }
    // One name without it: no wrapper, and a file of another network.
    let dir = folder("tiny-ddpm");
    let path = dir.path().join("unet").join(WEIGHTS);
    rewrite(&path, |name, t| match name {
        "conv_in.bias" => (name.to_owned(), t),
        _ => (format!("module.{name}"), t),
    });
    assert!(refused(dir.path()).contains("no tensor"));
}

mod needs_python {
    use super::*;

    /// `DUALMD_TEST_PYTHON` names a Python with torch and diffusers.
    #[test]
    #[ignore = "needs Python with torch and diffusers: `cargo xtask test --interop`"]
    fn diffusers_computes_the_same_from_a_scale_shift_folder_written_here() {
        let python = std::env::var_os("DUALMD_TEST_PYTHON")
            .expect("DUALMD_TEST_PYTHON names a Python; `cargo xtask test --interop` sets it");
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../interop/make_scale_shift_golden.py"
        );
        let base = match open(&golden("tiny-scale-shift")).unwrap() {
            Model::Unconditional(pipeline) => pipeline,
            Model::TextToImage(_) | Model::Foreign(_) => panic!("another kind"),
        };
        let BackboneConfig::UNet(of_base) = base.network.config() else {
            panic!("another network");
        };
        // The golden weights, under which f32 is exact to 1e-6; where the attention has a norm, one that does something.
        for groups in [None, Some(8)] {
            let config = UNet2dConfig {
                attn_norm_num_groups: groups,
                ..(*of_base).clone()
            };
            let fresh = UNet2d::fresh(&config, 3, Device::Cpu).unwrap();
            let mut known = base.network.parameters().copies();
            let mut rng = dualmd_data::stream(3, "test", 0);
            let weights: Vec<(String, Tensor)> = fresh
                .parameters()
                .named()
                .map(|(name, t)| {
                    let weight = known.remove(name).unwrap_or_else(|| {
                        t + noise::normal(&mut rng, &t.size(), Device::Cpu) * 0.1
                    });
                    (name.to_owned(), weight)
                })
                .collect();
            assert!(known.is_empty());
            let dir = tempfile::tempdir().unwrap();
            let beside = Beside::default();
            Pipeline::save(dir.path(), &config, &base.schedule, beside, &weights, None).unwrap();
            for file in ["x_t.npy", "t.npy"] {
                std::fs::copy(golden("tiny-scale-shift").join(file), dir.path().join(file))
                    .unwrap();
            }
            let eps = eps_of(&open(dir.path()).unwrap(), dir.path());
            write_npy(&dir.path().join("eps.npy"), &eps).unwrap();
            let output = Command::new(&python)
                .args([script, "check"])
                .arg(dir.path())
                .env_remove("LD_LIBRARY_PATH")
                .output()
                .expect("Python starts");
            let said = [output.stdout, output.stderr].concat();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&said)
            );
        }
    }
}
