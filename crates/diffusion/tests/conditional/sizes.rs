//! What is known of Stable Diffusion's configurations, and what is refused.

use crate::{FOLDERS, Golden, open};
use dualmd_diffusion::{
    AutoencoderKl, AutoencoderKlConfig, ClipTextModel, TextToImage, UNet2dCondition,
    UNet2dConditionConfig,
};
use dualmd_torch::Device;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// unet/config.json of Stable Diffusion 1.5.
fn sd15() -> Value {
    serde_json::from_str(include_str!("../../examples/full_size/sd15.json")).unwrap()
}

/// That of Stable Diffusion 2.1 (768 px).
fn sd21() -> Value {
    serde_json::from_str(include_str!("../../examples/full_size/sd21.json")).unwrap()
}

/// That of Stable Diffusion XL (1024 px).
fn sdxl() -> Value {
    serde_json::from_str(include_str!("../../examples/full_size/sdxl.json")).unwrap()
}

fn unet(config: Value) -> dualmd_diffusion::Result<UNet2dCondition> {
    let config: UNet2dConditionConfig = serde_json::from_value(config).unwrap();
    UNet2dCondition::outline(&config)
}

/// Sizes of the published models; counted without memory for the weights.
#[test]
fn stable_diffusion_has_its_parameter_counts() {
    assert_eq!(unet(sd15()).unwrap().parameters().count(), 859_520_964);
    assert_eq!(unet(sd21()).unwrap().parameters().count(), 865_910_724);
    let xl = UNet2dConditionConfig::read(&sdxl()).unwrap();
    assert!(xl.pooled_width() == Some(1280) && !xl.upcast_attention);
    let xl = UNet2dCondition::outline(&xl).unwrap();
    assert_eq!(xl.parameters().count(), 2_567_463_684);
    let vae = serde_json::from_value(json!({
        "_class_name": "AutoencoderKL", "act_fn": "silu", "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
        "in_channels": 3, "latent_channels": 4, "layers_per_block": 2, "norm_num_groups": 32,
        "out_channels": 3, "sample_size": 512,
        "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"],
    }))
    .unwrap();
    let vae = AutoencoderKl::outline(&vae).unwrap();
    assert_eq!(vae.parameters().count(), 83_653_863);
    assert_eq!(vae.config().scaling_factor, 0.18215);
    assert_eq!(vae.config().reduction(), 8);
    // XL's is of the same size; its file says by how much to scale, and what matters in f16 alone.
    let of_xl = AutoencoderKlConfig::read(&json!({
        "_class_name": "AutoencoderKL", "_diffusers_version": "0.20.0.dev0", "_name_or_path": "../sdxl-vae/", "act_fn": "silu",
        "block_out_channels": [128, 256, 512, 512], "down_block_types": vec!["DownEncoderBlock2D"; 4], "force_upcast": true,
        "in_channels": 3, "latent_channels": 4, "layers_per_block": 2, "norm_num_groups": 32, "out_channels": 3,
        "sample_size": 1024, "scaling_factor": 0.13025, "up_block_types": vec!["UpDecoderBlock2D"; 4],
    }))
    .unwrap();
    assert_eq!(of_xl.scaling_factor, 0.13025);
    let of_xl = AutoencoderKl::outline(&of_xl).unwrap();
    assert_eq!(of_xl.parameters().count(), vae.parameters().count());
    let text = |change: Value| {
        let mut config = json!({
            "architectures": ["CLIPTextModel"], "attention_dropout": 0.0, "bos_token_id": 0, "dropout": 0.0,
            "eos_token_id": 2, "hidden_act": "quick_gelu", "hidden_size": 768, "initializer_factor": 1.0,
            "initializer_range": 0.02, "intermediate_size": 3072, "layer_norm_eps": 1e-05,
            "max_position_embeddings": 77, "model_type": "clip_text_model", "num_attention_heads": 12,
            "num_hidden_layers": 12, "pad_token_id": 1, "projection_dim": 768, "torch_dtype": "float32",
            "transformers_version": "4.22.0.dev0", "vocab_size": 49408,
        });
        for (key, value) in change.as_object().unwrap() {
            config[key] = value.clone();
        }
        ClipTextModel::outline(&serde_json::from_value(config).unwrap())
    };
    assert_eq!(text(json!({})).unwrap().parameters().count(), 123_060_480);
    let second = json!({"hidden_act": "gelu", "hidden_size": 1024, "intermediate_size": 4096,
        "num_attention_heads": 16, "num_hidden_layers": 23});
    assert_eq!(text(second).unwrap().parameters().count(), 340_387_840);
    // The second of XL's, and its projection.
    let big = json!({"architectures": ["CLIPTextModelWithProjection"], "hidden_act": "gelu", "hidden_size": 1280, "intermediate_size": 5120,
        "num_attention_heads": 20, "num_hidden_layers": 32, "projection_dim": 1280});
    assert_eq!(text(big).unwrap().parameters().count(), 694_659_840);
    let error = text(json!({"hidden_act": "relu"})).unwrap_err().to_string();
    assert!(error.contains("hidden_act"), "{error}");
}

#[test]
fn parameter_counts_of_the_small_folders_equal_pythons() {
    for name in FOLDERS {
        let (golden, model) = (Golden::read(name), open(name));
        let counts = &golden.settings["parameters"];
        assert_eq!(model.unet.parameters().count() as u64, counts["unet"]);
        let vae = model.vae.as_ref().unwrap().parameters().count();
        assert_eq!(vae as u64, counts["vae"]);
        let text = model.text.as_ref().unwrap().model.parameters().count();
        assert_eq!(text as u64, counts["text_encoder"]);
    }
}

#[test]
fn what_would_compute_something_else_is_refused_by_name() {
    for (key, value) in [
        ("dual_cross_attention", json!(true)),
        ("only_cross_attention", json!([true, false, false, false])),
        ("class_embed_type", json!("timestep")),
        ("mid_block_type", Value::Null),
        ("addition_embed_type", json!("text_time")),
        ("attention_head_dim", json!([5, 10])),
        ("attention_head_dim", json!(7)),
        ("down_block_types", json!(["DownBlock2D"])),
        (
            "up_block_types",
            json!(["UpBlock2D", "UpBlock2D", "UpBlock2D", "AttnUpBlock2D"]),
        ),
        ("in_channels", json!(9)),
        ("norm_num_groups", json!(33)),
        ("a_key_of_the_future", json!("on")),
    ] {
        let mut config = sd15();
        config[key] = value;
        let error = unet(config).unwrap_err().to_string();
        let named = key == "in_channels" || key == "down_block_types" || error.contains(key);
        assert!(named, "{key}: {error}");
    }
}

/// PyTorch's default initialisation: every weight and bias of a convolution within 1 / sqrt(fan-in), and spread over it.
#[test]
fn fresh_weights_are_spread_as_pytorch_spreads_them() {
    let model = TextToImage::fresh("t2i-pixels-32", 3, 7, Device::Cpu).unwrap();
    let parameters: BTreeMap<_, _> = model.unet.parameters().named().collect();
    for (name, fan_in) in [
        ("conv_in", 27.0f64),
        ("mid_block.resnets.0.conv1", 576.0),
        (
            "mid_block.attentions.0.transformer_blocks.0.ff.net.2",
            256.0,
        ),
    ] {
        let bound = fan_in.powf(-0.5);
        let weight = parameters[format!("{name}.weight").as_str()];
        let largest = weight.abs().max().double_value(&[]);
        assert!(largest <= bound && largest > 0.98 * bound, "{name}");
        let deviation = weight.std(false).double_value(&[]);
        assert!(
            (deviation / (bound / 3f64.sqrt()) - 1.0).abs() < 0.1,
            "{name}"
        );
        let bias = parameters[format!("{name}.bias").as_str()].abs().max();
        let bias = bias.double_value(&[]);
        assert!(bias > 0.3 * bound && bias <= bound, "{name}");
    }
}
