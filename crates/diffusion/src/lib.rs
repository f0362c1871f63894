//! Diffusion models: noise schedules, denoisers, samplers and pipeline folders. No training, no attacks.
//!
//! * [`denoiser`]: the one interface everything turns on, [`Denoiser`].
//! * [`gradients`]: norms of the gradients of losses, for attacks and for servers of models.
//! * [`ghost`]: gradients of single images out of one pass over all of them, for DP-SGD.
//! * [`schedule`]: the noise schedule (0-based timesteps, f64 tables).
//! * [`unet2d`]: the DDPM U-Net in the layout of diffusers' `UNet2DModel`.
//! * [`dit`]: the diffusion transformer, diffusers' `DiTTransformer2DModel`; [`backbone`]: it or the DDPM U-Net.
//! * [`unet2d_condition`]: Stable Diffusion's U-Net, diffusers' `UNet2DConditionModel`.
//! * [`checkpointing`]: a training pass that keeps little and computes the rest again.
//! * [`lora`]: low-rank additions to the conditional U-Net, and their files; [`adapter`]: folders of such additions alone.
//! * [`vae`]: the autoencoders between images and latents, diffusers' `AutoencoderKL` and `VQModel`.
//! * [`clip`]: CLIP's text model and tokenizer.
//! * [`preset`]: named network configurations.
//! * [`oracle`]: closed-form denoisers that have memorised everything, or nothing.
//! * [`dual`]: [`DualDenoiser`], two models that alternate while generating.
//! * [`contrast`]: [`Contrasted`], a fine-tuned model and its base, what it learnt made stronger.
//! * [`sampler`]: DDIM and ancestral sampling.
//! * [`pipeline`]: folders in the diffusers layout.
//! * [`labels`]: the classes of a class-conditional network, by name and number.
//! * [`latent`]: text-to-image folders, guidance and sampling.
//! * [`model`]: folders of either kind.

#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

pub mod adapter;
pub mod backbone;
mod bare;
mod blocks;
pub mod checkpointing;
pub mod clip;
pub mod contrast;
pub mod denoiser;
pub mod dit;
pub mod dual;
pub mod ghost;
mod given;
pub mod gradients;
mod index;
mod json;
pub mod labels;
pub mod latent;
pub mod lora;
pub mod model;
pub mod nn;
pub mod oracle;
pub mod pipeline;
pub mod preset;
mod ranges;
pub mod sampler;
pub mod schedule;
mod unet;
pub mod unet2d;
pub mod unet2d_condition;
pub mod vae;

pub use adapter::AdapterFolder;
pub use backbone::{Backbone, BackboneConfig};
pub use checkpointing::{Keep, Pass};
pub use clip::{ClipTextConfig, ClipTextModel, ClipTokenizer};
pub use contrast::Contrasted;
pub use denoiser::{Condition, Denoiser, GradientQuestion, Question, StepInfo};
pub use dit::{Dit, DitConfig};
pub use dual::{DualDenoiser, ModelOrder};
pub use given::Given;
pub use gradients::Gradients;
pub use index::{check_text_to_image, network_folder, raw_network_folder, scheduler_file};
pub use json::read_json;
pub use labels::Labels;
pub use latent::TextToImage;
pub use latent::files::{read_network, read_shards};
pub use lora::{LoraConfig, LoraForm, LoraInit};
pub use model::{Asked, Foreign, Model};
pub use oracle::{GaussianDenoiser, MemorisedDenoiser};
pub use pipeline::{Beside, Pipeline};
pub use schedule::NoiseSchedule;
pub use unet2d::{UNet2d, UNet2dConfig};
pub use unet2d_condition::{UNet2dCondition, UNet2dConditionConfig};
pub use vae::{Autoencoder, AutoencoderKl, AutoencoderKlConfig, VqModel, VqModelConfig};

use dualmd_files::shown;

/// What can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
pub enum DiffusionError {
    /// The engine refused.
    #[error(transparent)]
    Torch(#[from] dualmd_torch::TorchError),
    /// libtorch refused.
    #[error("libtorch: {0}")]
    Tch(#[from] dualmd_torch::tch::TchError),
    /// A file could not be read or written; the message names it.
    #[error(transparent)]
    Files(#[from] dualmd_files::Error),
    /// A configuration or weights file that cannot be used.
    #[error("{}: {}", shown(path), shown(reason))]
    File {
        /// The file or folder.
        path: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A configuration that names something this program does not have, or that contradicts itself.
    #[error("{}", shown(.0))]
    Config(String),
    /// What a model elsewhere could not do ([`model::Foreign`]), with its names made harmless already.
    #[error("{0}")]
    Foreign(String),
    /// Asked to stop before the end.
    #[error("stopped")]
    Stopped,
    /// A tensor of the wrong shape.
    #[error("{what}: expected {expected}, got {got:?}")]
    Shape {
        /// Which argument.
        what: &'static str,
        /// The shape it must have.
        expected: String,
        /// The shape it has.
        got: Vec<i64>,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, DiffusionError>;
