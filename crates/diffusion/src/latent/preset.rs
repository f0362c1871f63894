//! Small text-to-image models that are trained from nothing.

use super::{SecondEncoder, TextEncoder, TextToImage};
use crate::clip::PROJECTS;
use crate::schedule::SchedulerConfig;
use crate::unet2d::ImageSize;
use crate::unet2d_condition::PerLevel;
use crate::{
    AutoencoderKl, AutoencoderKlConfig, ClipTextConfig, ClipTextModel, ClipTokenizer,
    DiffusionError, Result, UNet2dCondition, UNet2dConditionConfig,
};
use dualmd_torch::Device;
use serde_json::json;

/// A row of the table.
#[derive(Debug)]
pub struct LatentPreset {
    /// Name on the command line.
    pub name: &'static str,
    /// One line for `dualmd list presets`.
    pub about: &'static str,
    /// Side of the images in pixels.
    pub image_size: i64,
    /// Channels of the autoencoder's levels; empty: a model of pixels.
    vae: &'static [i64],
    /// Told as Stable Diffusion XL is: by two text encoders, with a pooled text and sizes.
    xl: bool,
}

/// The table. All have three levels of 32, 64 and 64 channels with cross-attention on the lower two, byte tokens,
/// and one or two untrained text encoders of two layers: embeddings that differ from prompt to prompt and mean nothing
/// before training.
pub const LATENT_PRESETS: &[LatentPreset] = &[
    LatentPreset {
        name: "t2i-pixels-32",
        about: "text to image, 32 px, without an autoencoder",
        image_size: 32,
        vae: &[],
        xl: false,
    },
    LatentPreset {
        name: "t2i-latent-small",
        about: "text to image, 64 px through an untrained autoencoder (16 x 16 latents)",
        image_size: 64,
        vae: &[16, 32, 32],
        xl: false,
    },
    LatentPreset {
        name: "t2i-xl-small",
        about: "the same told as Stable Diffusion XL is: two text encoders, pooled text, sizes",
        image_size: 64,
        vae: &[16, 32, 32],
        xl: true,
    },
];

/// Tokens of a prompt and width of its embedding.
const TOKENS: usize = 77;
const WIDTH: i64 = 64;
/// Of the second encoder: its width, that of its pooled text, and of the sinusoid of a size.
const SECOND: i64 = 32;
const POOLED: i64 = 48;
const SIZE: i64 = 16;
const GROUPS: i64 = 8;

impl TextToImage {
    /// A fresh model of a preset for images of `channels` channels (1 or 3); every weight from its own stream of `seed`.
    /// Schedules: DDPM's for pixels, Stable Diffusion's for latents.
    ///
    /// # Errors
    /// An unknown name (lists the known ones).
    pub fn fresh(name: &str, channels: i64, seed: u64, device: Device) -> Result<Self> {
        let Some(preset) = LATENT_PRESETS.iter().find(|p| p.name == name) else {
            let known: Vec<_> = LATENT_PRESETS.iter().map(|p| p.name).collect();
            return Err(DiffusionError::Config(format!(
                "unknown text-to-image preset \"{name}\": use {}",
                known.join(", ")
            )));
        };
        let vae = if preset.vae.is_empty() {
            None
        } else {
            let levels = preset.vae.len();
            let config = AutoencoderKlConfig {
                in_channels: channels,
                out_channels: channels,
                down_block_types: vec!["DownEncoderBlock2D".into(); levels],
                up_block_types: vec!["UpDecoderBlock2D".into(); levels],
                block_out_channels: preset.vae.to_vec(),
                norm_num_groups: GROUPS,
                ..AutoencoderKlConfig::default()
            };
            Some(AutoencoderKl::fresh(&config, seed, device)?)
        };
        let (side, seen) = vae.as_ref().map_or((preset.image_size, channels), |vae| {
            let config = vae.config();
            (
                preset.image_size / config.reduction(),
                config.latent_channels,
            )
        });
        let unet = UNet2dConditionConfig {
            sample_size: Some(ImageSize::Side(side)),
            in_channels: seen,
            out_channels: seen,
            down_block_types: [
                "DownBlock2D",
                "CrossAttnDownBlock2D",
                "CrossAttnDownBlock2D",
            ]
            .map(str::to_owned)
            .to_vec(),
            up_block_types: ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"]
                .map(str::to_owned)
                .to_vec(),
            block_out_channels: vec![32, 64, 64],
            layers_per_block: 1,
            norm_num_groups: GROUPS,
            cross_attention_dim: WIDTH,
            attention_head_dim: PerLevel::All(4),
            ..UNet2dConditionConfig::default()
        };
        let unet = match preset.xl {
            false => unet,
            // As there, lower levels have more layers and more heads of the same width.
            true => UNet2dConditionConfig {
                cross_attention_dim: WIDTH + SECOND,
                transformer_layers_per_block: PerLevel::Each(vec![1, 1, 2]),
                attention_head_dim: PerLevel::Each(vec![2, 4, 4]),
                use_linear_projection: true,
                addition_embed_type: Some("text_time".into()),
                addition_time_embed_dim: Some(SIZE),
                projection_class_embeddings_input_dim: Some(POOLED + 6 * SIZE),
                ..unet
            },
        };
        let tokenizer = ClipTokenizer::bytes(TOKENS)?;
        let text = clip(&tokenizer, "CLIPTextModel", WIDTH);
        let second = match preset.xl {
            false => None,
            true => {
                let tokenizer = ClipTokenizer::bytes_padded(TOKENS, "!")?;
                let mut config = ClipTextConfig {
                    hidden_act: "gelu".into(),
                    ..clip(&tokenizer, PROJECTS, SECOND)
                };
                let width = ("projection_dim".to_owned(), json!(POOLED));
                config.others.extend([width]);
                Some(SecondEncoder {
                    // Other weights than the first one's, whose names are the same.
                    model: ClipTextModel::fresh(&config, !seed, device)?,
                    tokenizer,
                    zeros_for_nothing: true,
                })
            }
        };
        let schedule = if vae.is_some() {
            SchedulerConfig::stable_diffusion()
        } else {
            SchedulerConfig {
                class_name: "DDIMScheduler".into(),
                ..SchedulerConfig::default()
            }
        };
        Self::new(
            UNet2dCondition::fresh(&unet, seed, device)?,
            schedule,
            vae,
            Some(TextEncoder {
                model: ClipTextModel::fresh(&text, seed, device)?,
                tokenizer,
                second,
            }),
        )
    }
}

/// An encoder of two layers for a tokenizer.
fn clip(tokenizer: &ClipTokenizer, class: &str, width: i64) -> ClipTextConfig {
    let tokens = tokenizer.vocabulary_size() as i64;
    ClipTextConfig {
        vocab_size: tokens,
        hidden_size: width,
        intermediate_size: 4 * width,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        max_position_embeddings: TOKENS as i64,
        others: [
            ("architectures".to_owned(), json!([class])),
            ("bos_token_id".to_owned(), json!(tokens - 2)),
            ("eos_token_id".to_owned(), json!(tokens - 1)),
            ("pad_token_id".to_owned(), json!(tokenizer.pad())),
        ]
        .into(),
        ..ClipTextConfig::default()
    }
}
