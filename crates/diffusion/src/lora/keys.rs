//! The names that LoRA tensors have in files.

use crate::{DiffusionError, Result};

/// The network of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// The U-Net.
    Unet,
    /// The text encoder of Stable Diffusion 1 and 2, or the first of XL's.
    Text,
    /// The second text encoder of XL's.
    Second,
}

/// What a tensor is to its layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// [rank, in].
    A,
    /// [out, rank].
    B,
    /// One number.
    Alpha,
}

/// The layer of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Layer {
    /// By its name.
    Name(String),
    /// By its name with underscores for dots (kohya's trainer).
    Flat(String),
}

const SUFFIXES: &[(&str, &str, Role)] = &[
    (".lora_A.weight", "", Role::A),
    (".lora_B.weight", "", Role::B),
    (".lora.down.weight", "", Role::A),
    (".lora.up.weight", "", Role::B),
    (".lora_linear_layer.down.weight", "", Role::A),
    (".lora_linear_layer.up.weight", "", Role::B),
    (".to_q_lora.down.weight", ".to_q", Role::A),
    (".to_q_lora.up.weight", ".to_q", Role::B),
    (".to_k_lora.down.weight", ".to_k", Role::A),
    (".to_k_lora.up.weight", ".to_k", Role::B),
    (".to_v_lora.down.weight", ".to_v", Role::A),
    (".to_v_lora.up.weight", ".to_v", Role::B),
    (".to_out_lora.down.weight", ".to_out.0", Role::A),
    (".to_out_lora.up.weight", ".to_out.0", Role::B),
    (".alpha", "", Role::Alpha),
];

/// What kohya's trainer writes before the names of a part's layers.
const FLAT: [(&str, Part); 4] = [
    ("lora_unet_", Part::Unet),
    ("lora_te_", Part::Text),
    (FIRST_OF_TWO, Part::Text),
    ("lora_te2_", Part::Second),
];
const FIRST_OF_TWO: &str = "lora_te1_";

/// Does the tensor belong to one of two text encoders, as Stable Diffusion XL has them?
pub(super) fn is_of_two(key: &str, part: Part) -> bool {
    part == Part::Second || key.starts_with(FIRST_OF_TWO)
}

/// Network, layer and role of the tensor `key`.
///
/// # Errors
/// Keys of variants of LoRA, and of anything else.
pub(super) fn parse(key: &str) -> Result<(Part, Layer, Role)> {
    let refuse = |reason: &str| Err(DiffusionError::Config(format!("\"{key}\" {reason}")));
    if key.contains("dora_scale") || key.contains("lora_magnitude_vector") {
        return refuse("belongs to DoRA, which is not supported: train with use_dora=False");
    }
    if key.ends_with(".lora_B.bias") {
        return refuse("is a bias of LoRA, which is not supported: train with lora_bias=False");
    }
    let flat = FLAT
        .iter()
        .find_map(|(prefix, part)| Some((key.strip_prefix(prefix)?, *part)));
    if let Some((rest, part)) = flat {
        let role = |suffix: &str| match suffix {
            "lora_down.weight" => Some(Role::A),
            "lora_up.weight" => Some(Role::B),
            "alpha" => Some(Role::Alpha),
            _ => None,
        };
        if let Some((flat, suffix)) = rest.split_once('.')
            && let Some(role) = role(suffix)
        {
            return Ok((part, Layer::Flat(flat.to_owned()), role));
        }
        return refuse("is not a tensor of LoRA's kind known here");
    }
    let of_text = [
        ("text_encoder.", Part::Text),
        ("text_encoder_2.", Part::Second),
    ]
    .into_iter()
    .find_map(|(prefix, part)| Some((part, key.strip_prefix(prefix)?)));
    let (part, name) =
        of_text.unwrap_or_else(|| (Part::Unet, key.strip_prefix("unet.").unwrap_or(key)));
    let name = name.strip_prefix("base_model.model.").unwrap_or(name);
    let name = name.replace(".processor.", ".");
    for (suffix, layer, role) in SUFFIXES {
        if let Some(before) = name.strip_suffix(suffix) {
            return Ok((part, Layer::Name(format!("{before}{layer}")), *role));
        }
    }
    refuse(
        "is not a tensor of LoRA's kind known here (LAYER.lora_A.weight and LAYER.lora_B.weight, for example); \
         save the file with diffusers' save_lora_weights",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_naming_gives_the_layer() {
        let named = |layer: &str, role| (Part::Unet, Layer::Name(layer.into()), role);
        let of_text = |layer: &str, role| (Part::Text, Layer::Name(layer.into()), role);
        for (key, expected) in [
            ("unet.m.to_q.lora_A.weight", named("m.to_q", Role::A)),
            (
                "base_model.model.m.to_out.0.lora_B.weight",
                named("m.to_out.0", Role::B),
            ),
            (
                "unet.m.to_out.0.lora.up.weight",
                named("m.to_out.0", Role::B),
            ),
            (
                "m.attn1.processor.to_out_lora.down.weight",
                named("m.attn1.to_out.0", Role::A),
            ),
            (
                "unet.m.processor.to_k_lora.up.weight",
                named("m.to_k", Role::B),
            ),
            ("m.to_k.alpha", named("m.to_k", Role::Alpha)),
            (
                "lora_unet_m_to_out_0.lora_down.weight",
                (Part::Unet, Layer::Flat("m_to_out_0".into()), Role::A),
            ),
            (
                "lora_te_text_model_q_proj.alpha",
                (
                    Part::Text,
                    Layer::Flat("text_model_q_proj".into()),
                    Role::Alpha,
                ),
            ),
            (
                "text_encoder.text_model.q_proj.lora_linear_layer.up.weight",
                of_text("text_model.q_proj", Role::B),
            ),
            (
                "text_encoder.text_model.q_proj.lora_A.weight",
                of_text("text_model.q_proj", Role::A),
            ),
            (
                "text_encoder_2.text_model.q_proj.lora_A.weight",
                (
                    Part::Second,
                    Layer::Name("text_model.q_proj".into()),
                    Role::A,
                ),
            ),
            (
                "lora_te1_text_model_q_proj.lora_up.weight",
                (Part::Text, Layer::Flat("text_model_q_proj".into()), Role::B),
            ),
            (
                "lora_te2_text_projection.lora_down.weight",
                (Part::Second, Layer::Flat("text_projection".into()), Role::A),
            ),
        ] {
            assert_eq!(parse(key).unwrap(), expected, "{key}");
        }
        for (key, reason) in [
            ("lora_te2_x.lora_mid.weight", "not a tensor of LoRA's kind"),
            ("lora_te_x.lora_mid.weight", "not a tensor of LoRA's kind"),
            ("unet.m.to_q.lora_magnitude_vector", "DoRA"),
            ("unet.m.to_q.lora_B.bias", "bias"),
            ("lora_unet_m.lora_mid.weight", "not a tensor of LoRA's kind"),
            ("conv_in.weight", "not a tensor of LoRA's kind"),
        ] {
            let error = parse(key).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(reason), "{error}");
        }
    }
}
