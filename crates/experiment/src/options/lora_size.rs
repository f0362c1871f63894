//! A LoRA whose training set is to be sized.

use std::path::PathBuf;

/// A LoRA, and others like it.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct LoraSizeOptions {
    /// LoRA file (safetensors), or a folder with pytorch_lora_weights.safetensors or adapter_model.safetensors
    #[cfg_attr(feature = "clap", arg(value_name = "LORA"))]
    pub lora: PathBuf,
    /// Folder of LoRAs of known sizes, which you trained like this one: N/NAME.safetensors, or N/NAME/ with such a file, N being the number
    /// of images
    #[cfg_attr(feature = "clap", arg(long, value_name = "DIR"))]
    pub references: PathBuf,
}
