//! Named configurations of U-Nets ([`crate::dit::DIT_PRESETS`]: those of transformers).

use crate::dit::DIT_PRESETS;
use crate::unet2d::ImageSize;
use crate::{DiffusionError, Result, UNet2dConfig};

/// A row of the preset table.
#[derive(Debug)]
pub struct Preset {
    /// Name on the command line.
    pub name: &'static str,
    /// One line for `dualmd list presets`.
    pub about: &'static str,
    size: i64,
    widths: &'static [i64],
    layers: i64,
    /// Levels that have attention.
    attention: &'static [usize],
    /// Attention in the middle block.
    middle: bool,
    head: Option<i64>,
    groups: i64,
    dropout: f64,
    ddpm: bool,
}

/// The table. `ddpm-cifar10` is the network of Ho et al. 2020 and of the paper (35,746,307 parameters with 3 channels).
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "tiny",
        about: "16 px demonstrations on two CPU cores",
        size: 16,
        widths: &[16, 32],
        layers: 1,
        attention: &[],
        middle: false,
        head: Some(16),
        groups: 8,
        dropout: 0.0,
        ddpm: false,
    },
    Preset {
        name: "small",
        about: "32 px experiments of an hour or two on two CPU cores",
        size: 32,
        widths: &[32, 64, 64],
        layers: 1,
        attention: &[2],
        middle: true,
        head: Some(16),
        groups: 8,
        dropout: 0.0,
        ddpm: false,
    },
    Preset {
        name: "medium",
        about: "32 px, a workstation or a long CPU run",
        size: 32,
        widths: &[64, 128, 128],
        layers: 1,
        attention: &[2],
        middle: true,
        head: Some(32),
        groups: 16,
        dropout: 0.0,
        ddpm: false,
    },
    Preset {
        name: "ddpm-cifar10",
        about: "the DDPM of the paper's CIFAR experiments, for a GPU",
        size: 32,
        widths: &[128, 256, 256, 256],
        layers: 2,
        attention: &[1],
        middle: true,
        head: None,
        groups: 32,
        dropout: 0.1,
        ddpm: true,
    },
];

/// The configuration of a preset for images of `channels` channels (1 or 3) and `image_size` pixels.
///
/// # Errors
/// An unknown name (lists the known ones), or an image size the network's down-samplings do not divide.
pub fn preset(name: &str, channels: i64, image_size: i64) -> Result<UNet2dConfig> {
    let Some(p) = PRESETS.iter().find(|p| p.name == name) else {
        let others = DIT_PRESETS.iter().map(|p| p.name);
        let known: Vec<_> = PRESETS.iter().map(|p| p.name).chain(others).collect();
        return Err(DiffusionError::Config(format!(
            "unknown model preset \"{name}\": use {}",
            known.join(", ")
        )));
    };
    let levels = p.widths.len();
    let block = |kind: &str, level: usize| {
        format!(
            "{}{kind}Block2D",
            if p.attention.contains(&level) {
                "Attn"
            } else {
                ""
            }
        )
    };
    let config = UNet2dConfig {
        sample_size: Some(ImageSize::Side(image_size)),
        in_channels: channels,
        out_channels: channels,
        freq_shift: i64::from(p.ddpm),
        flip_sin_to_cos: !p.ddpm,
        down_block_types: (0..levels).map(|level| block("Down", level)).collect(),
        up_block_types: (0..levels).rev().map(|level| block("Up", level)).collect(),
        block_out_channels: p.widths.to_vec(),
        layers_per_block: p.layers,
        downsample_padding: i64::from(!p.ddpm),
        dropout: p.dropout,
        add_attention: p.middle,
        attention_head_dim: p.head,
        norm_num_groups: p.groups,
        norm_eps: if p.ddpm { 1e-6 } else { 1e-5 },
        ..UNet2dConfig::default()
    };
    config.check()?;
    if image_size % config.size_multiple() != 0 || image_size <= 0 {
        return Err(DiffusionError::Config(format!(
            "image_size = {image_size}: preset \"{name}\" needs a multiple of {} (it is made for {})",
            config.size_multiple(),
            p.size
        )));
    }
    Ok(config)
}
