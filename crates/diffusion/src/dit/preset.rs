//! Named network configurations.

use super::DitConfig;
use crate::{DiffusionError, Result};

/// A row of the preset table.
#[derive(Debug)]
pub struct DitPreset {
    /// Name on the command line.
    pub name: &'static str,
    /// One line for `dualmd list presets`.
    pub about: &'static str,
    heads: i64,
    head: i64,
    layers: i64,
    patch: i64,
}

/// The table. `dit-tiny` takes about as many multiplications as `tiny` at 16 px, some 15 million for an image: 64 tokens of width 64 in
/// 4 blocks, each 12 width^2 a token and 2 tokens^2 width for attention.
pub const DIT_PRESETS: &[DitPreset] = &[DitPreset {
    name: "dit-tiny",
    about: "a transformer (DiT) in place of `tiny`, 16 or 32 px",
    heads: 4,
    head: 16,
    layers: 4,
    patch: 2,
}];

impl DitPreset {
    /// The preset of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        DIT_PRESETS.iter().find(|p| p.name == name)
    }

    /// The configuration for images of `channels` channels (1 or 3) and `image_size` pixels, told no class.
    ///
    /// # Errors
    /// An image size that squares of pixels do not divide.
    pub fn config(&self, channels: i64, image_size: i64) -> Result<DitConfig> {
        if image_size % self.patch != 0 || image_size <= 0 {
            return Err(DiffusionError::Config(format!(
                "image_size = {image_size}: preset \"{}\" needs a multiple of {}",
                self.name, self.patch
            )));
        }
        let config = DitConfig {
            num_attention_heads: self.heads,
            attention_head_dim: self.head,
            in_channels: channels,
            out_channels: Some(channels),
            num_layers: self.layers,
            sample_size: image_size,
            patch_size: self.patch,
            num_embeds_ada_norm: 0,
            ..DitConfig::default()
        };
        config.check()?;
        Ok(config)
    }
}
