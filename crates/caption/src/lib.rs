//! Captions for images, by a BLIP folder that the user brings (transformers' `BlipForConditionalGeneration`, such as
//! Salesforce/blip-image-captioning-base and -large; Li et al. 2022, arXiv:2201.12086), and how well images fit texts, by a
//! CLIP folder or by a head that is learnt here.
//!
//! * [`clip`]: [`ClipModel`], how well pictures fit texts.
//! * [`fit`]: the same by a small head that is learnt from pairs, between [`sentence`]s and features of images.
//! * [`captioner`]: [`Captioner`], from a folder and pictures to captions.
//! * [`config`]: `config.json`, key for key that of transformers.
//! * [`preprocess`]: from a picture to what the network sees, as `BlipImageProcessor`.
//! * [`vision`], [`text`], [`model`]: the vision transformer, the text decoder, and both with their weights.
//! * [`tokenizer`]: BERT's WordPiece tokenizer.
//! * [`generate`]: greedy and nucleus sampling.
//!
//! Nothing is ever downloaded, and pickles are never opened.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod bert;
pub mod captioner;
pub mod clip;
pub mod config;
mod encoder;
mod files;
pub mod fit;
pub mod generate;
pub mod model;
pub mod preprocess;
mod resize;
pub mod sentence;
pub mod text;
pub mod tokenizer;
pub mod vision;
pub mod vit;

pub use captioner::Captioner;
pub use clip::ClipModel;
pub use config::{BlipConfig, BlipTextConfig, BlipVisionConfig};
pub use fit::{Fit, Pairs};
pub use generate::{CaptionOptions, Method};
pub use model::BlipModel;
pub use preprocess::ImageProcessor;
pub use sentence::SentenceEncoder;
pub use tokenizer::WordPieceTokenizer;
pub use vit::Vit;

use dualmd_files::shown;

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
    /// A file could not be read or written; the message names it.
    #[error(transparent)]
    Files(#[from] dualmd_files::Error),
    /// A file of the folder that cannot be used.
    #[error("{}: {}", shown(path), shown(reason))]
    File {
        /// The file or folder.
        path: String,
        /// What is wrong (with the key, where there is one) and what to do.
        reason: String,
    },
    /// Options or arguments that do not fit each other or the model.
    #[error("{}", shown(.0))]
    Options(String),
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, CaptionError>;
