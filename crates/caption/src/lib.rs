//! Captions for images, by a BLIP folder that the user brings (transformers' `BlipForConditionalGeneration`, such as
//! Salesforce/blip-image-captioning-base and -large; Li et al. 2022, arXiv:2201.12086).
//!
//! * [`captioner`]: [`Captioner`], from a folder and pictures to captions.
//! * [`config`]: `config.json`, key for key that of transformers.
//! * [`vision`], [`text`], [`model`]: the vision transformer, the text decoder, and both with their weights.
//! * [`generate`]: greedy and nucleus sampling.
//!
//! Nothing is ever downloaded, and pickles are never opened.

#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

pub mod captioner;
pub mod config;
pub mod generate;
pub mod model;
pub mod text;
pub mod vision;

pub use captioner::Captioner;
pub use config::{BlipConfig, BlipTextConfig, BlipVisionConfig};
pub use generate::{CaptionOptions, Method};
pub use model::BlipModel;

use dualmd_encoders::EncoderError;
use dualmd_files::shown;
use std::path::Path;

/// What can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
pub enum CaptionError {
    /// The engine refused.
    #[error(transparent)]
    Torch(#[from] dualmd_torch::TorchError),
    /// libtorch refused.
    #[error("libtorch: {0}")]
    Tch(#[from] dualmd_torch::tch::TchError),
    /// A layer could not be made, or refused its input.
    #[error(transparent)]
    Network(#[from] dualmd_diffusion::DiffusionError),
    /// A file of the folder, its tokenizer, or the preparation of pictures.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// Options or arguments that do not fit each other or the model.
    #[error("{}", shown(.0))]
    Options(String),
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, CaptionError>;

/// A file of the folder that cannot be used.
fn file_error(path: &Path, reason: impl std::fmt::Display) -> CaptionError {
    dualmd_encoders::files::file_error(path, reason).into()
}
