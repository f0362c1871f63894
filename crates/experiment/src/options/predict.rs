//! A single call of a network.

use crate::choices::Weights;
use std::path::PathBuf;

/// A single call of a network.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct PredictOptions {
    /// Pipeline folder in the diffusers layout
    #[cfg_attr(feature = "clap", arg(value_name = "MODEL"))]
    pub model: PathBuf,
    /// A LoRA to add to the model: a .safetensors file of diffusers or kohya, or the folder of diffusers' file
    #[cfg_attr(feature = "clap", arg(long, value_name = "FILE"))]
    pub lora: Option<PathBuf>,
    /// Noisy images, f32 [N, C, H, W]
    #[cfg_attr(feature = "clap", arg(long, value_name = "X.npy"))]
    pub x: PathBuf,
    /// Timesteps, one i64 for each image
    #[cfg_attr(feature = "clap", arg(long, value_name = "T.npy"))]
    pub t: PathBuf,
    /// What a text-to-image model is told (default: the empty text), or the class of a class-conditional one, its name or number (default: none)
    #[cfg_attr(feature = "clap", arg(long, value_name = "TEXT"))]
    pub prompt: Option<String>,
    /// The model's averaged weights (unet/) or those the optimiser left (unet_raw/)
    #[cfg_attr(feature = "clap", arg(long, value_enum, value_name = "WEIGHTS", default_value_t = Weights::Ema))]
    pub weights: Weights,
    /// Where to write the predicted noise, f32 [N, C, H, W]
    #[cfg_attr(feature = "clap", arg(short, long, value_name = "EPS.npy"))]
    pub out: PathBuf,
}
