//! LoRA layers in the forms of other programs: PEFT's folder, and the file of kohya's trainer.

use super::file::{self, PEFT_CONFIG, PEFT_FILE};
use super::{Lora, blocks, metadata};
use crate::latent::files::{create, write_json};
use crate::{Result, UNet2dConditionConfig};
use dualmd_torch::{Tensor, weights};
use serde_json::{Value, json};
use std::path::Path;

/// Name of the file of kohya's form, which ComfyUI and AUTOMATIC1111's web UI open too.
pub const KOHYA_FILE: &str = "kohya.safetensors";

/// Writes `adapter_model.safetensors` and `adapter_config.json` into `folder`, as `model.save_pretrained` of PEFT does. `base`: the
/// folder of the model that the layers are added to.
///
/// # Errors
/// As [`crate::UNet2dCondition::save_lora`].
pub(super) fn write_peft(
    folder: &Path,
    lora: &Lora,
    tensors: Option<&[(String, Tensor)]>,
    base: &str,
) -> Result<()> {
    let path = folder.join(PEFT_FILE);
    let tensors = file::of(lora, tensors, &path)?;
    create(folder)?;
    let name = |(name, _): &(String, Tensor)| format!("base_model.model.{name}");
    let names: Vec<String> = tensors.iter().map(name).collect();
    let named = names.iter().map(String::as_str);
    weights::write_safetensors(
        &path,
        named.zip(tensors.iter().map(|(_, t)| t)),
        &[("format", "pt")],
    )?;
    let mut config = metadata::config(&lora.layers);
    let rest = [
        ("peft_type", json!("LORA")),
        ("task_type", Value::Null),
        ("base_model_name_or_path", json!(base)),
        ("inference_mode", json!(true)),
        ("bias", json!("none")),
        ("lora_dropout", json!(0.0)),
        ("use_dora", json!(false)),
        ("use_rslora", json!(false)),
    ];
    config.extend(rest.map(|(key, value)| (key.to_owned(), value)));
    // What says which file belongs to it goes last.
    write_json(&folder.join(PEFT_CONFIG), &config)
}

/// Writes [`KOHYA_FILE`] into `folder`: `lora_unet_LAYER.lora_down.weight`, `.lora_up.weight` and `.alpha`, dots of the layer's
/// name as underscores. Blocks of Stable Diffusion XL's U-Net have their original names there ([`blocks`]), those of others diffusers'.
///
/// # Errors
/// As [`crate::UNet2dCondition::save_lora`].
pub(super) fn write_kohya(
    folder: &Path,
    lora: &Lora,
    tensors: Option<&[(String, Tensor)]>,
    network: &UNet2dConditionConfig,
) -> Result<()> {
    let path = folder.join(KOHYA_FILE);
    let original = |layer: &str| match network.pooled_width() {
        Some(_) => blocks::original(layer, network.layers_per_block),
        None => None,
    };
    let tensors = file::of(lora, tensors, &path)?;
    create(folder)?;
    let mut named: Vec<(String, Tensor)> = Vec::new();
    // A and B of every layer follow each other, in the order of the layers.
    for ((layer, adapter), pair) in lora.layers.iter().zip(tensors.chunks(2)) {
        let name = original(layer).unwrap_or_else(|| layer.clone());
        let flat = format!("lora_unet_{}", name.replace('.', "_"));
        for ((_, tensor), part) in pair.iter().zip(["lora_down.weight", "lora_up.weight"]) {
            named.push((format!("{flat}.{part}"), tensor.shallow_clone()));
        }
        let alpha = Tensor::from(adapter.alpha as f32);
        named.push((format!("{flat}.alpha"), alpha));
    }
    let config = metadata::config(&lora.layers);
    let number = |key: &str| config.get(key).map_or_else(String::new, Value::to_string);
    weights::write_safetensors(
        &path,
        named.iter().map(|(name, tensor)| (name.as_str(), tensor)),
        &[
            ("ss_network_module", "networks.lora"),
            ("ss_network_dim", &number("r")),
            ("ss_network_alpha", &number("lora_alpha")),
        ],
    )?;
    Ok(())
}
