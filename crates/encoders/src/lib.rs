//! Networks that turn pictures and texts into vectors, from folders of transformers.
//!
//! * [`clip`]: [`ClipModel`], how well pictures fit texts.
//! * [`fit`]: the same by a small head that is learnt from pairs, between [`sentence`]s and features of images.
//! * [`vit`]: [`Vit`], ViT and DeiT, what images are compared by.
//! * [`preprocess`]: from a picture to what a network sees, as transformers' image processors.
//! * [`tokenizer`]: BERT's WordPiece tokenizer.
//! * [`files`], [`bert`]: the files of such a folder, and BERT's layers; the crate `caption` builds on both.
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

pub mod bert;
pub mod clip;
mod encoder;
pub mod files;
pub mod fit;
pub mod preprocess;
mod resize;
pub mod sentence;
pub mod tokenizer;
pub mod vit;

pub use clip::ClipModel;
pub use fit::{Fit, Pairs};
pub use preprocess::ImageProcessor;
pub use sentence::SentenceEncoder;
pub use tokenizer::WordPieceTokenizer;
pub use vit::Vit;

use dualmd_files::shown;

/// What can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
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
pub type Result<T> = std::result::Result<T, EncoderError>;
