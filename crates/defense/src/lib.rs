//! Training diffusion models, with and without defences: one loop, and what the defences change of it.
//!
//! * [`recipe`]: the interface of a defence: which images a step draws, and what the target is.
//! * [`plain`]: no defence, and Algorithm 1 (the same training on one half of the data).
//! * [`distillmd`]: Algorithm 2.
//! * [`kway`]: Algorithm 2 with K shards instead of two halves.
//! * [`distillation`]: ordinary distillation from one teacher that saw everything (the baseline of Table 10).
//! * [`dp`]: DP-SGD and its accountant, the only one here with a formal guarantee.
//! * [`iterative`]: one model trained on shards in turn, its weights averaged after every round (IET).
//! * [`ambient`]: images with noise of their own where much noise lies on them.
//! * [`smp`]: training against an attacker that learns along.
//! * [`ensemble`]: several models that answer with their average, when images are drawn.
//! * [`network`]: what is trained; [`captions`]: the texts of the images, prompt diversification.
//! * [`objective`]: noise, or the velocity of a flow.
//! * [`early`]: early stopping; [`augment`]: cutout. Both go with any recipe. So does leaving out easy images
//!   ([`TrainOptions::skip_easy`]).
//! * [`images`]: the images of a training, in memory or in a file; [`indices`]: their numbers, in few bytes.
//! * `together`: what several ranks of one training do together; `unread`: losses that stay on a GPU until they are needed.
//! * [`trainer`]: the loop; [`options`] its settings; [`optimizer`] Adam with EMA; [`checkpoint`] resuming;
//!   [`journal`] logs as JSON lines and for TensorBoard.

#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

pub mod ambient;
pub mod augment;
pub mod captions;
pub mod checkpoint;
pub mod distillation;
pub mod distillmd;
pub mod dp;
pub mod early;
mod easy;
pub mod ensemble;
mod evaluation;
pub mod images;
pub mod indices;
pub mod iterative;
pub mod journal;
pub mod kway;
pub mod network;
pub mod objective;
pub mod optimizer;
pub mod options;
pub mod order;
pub mod plain;
pub mod recipe;
pub mod smp;
mod step;
mod together;
pub mod trainer;
mod unread;

pub use ambient::Ambient;
pub use augment::Cutout;
pub use captions::{Captions, Lists};
pub use distillation::Distillation;
pub use distillmd::{DistillMd, Routing};
pub use dp::{DpSgd, Privacy};
pub use early::{EarlyStopping, KeptAt};
pub use ensemble::EnsembleDenoiser;
pub use images::Images;
pub use indices::Indices;
pub use iterative::Iterative;
pub use kway::KWay;
pub use network::Network;
pub use objective::{Levels, Objective};
pub use options::TrainOptions;
pub use plain::Plain;
pub use recipe::{Draw, Recipe, Target};
pub use smp::{Against, Smp};
pub use trainer::{
    Additions, Evaluation, Finished, Observer, Outcome, Progress, Trainer, TrainingSet,
};

use dualmd_files::shown;

/// What can go wrong while training.
#[derive(Debug, thiserror::Error)]
pub enum DefenseError {
    /// The engine refused.
    #[error(transparent)]
    Torch(#[from] dualmd_torch::TorchError),
    /// libtorch refused.
    #[error("libtorch: {0}")]
    Tch(#[from] dualmd_torch::tch::TchError),
    /// The network or a pipeline folder.
    #[error(transparent)]
    Diffusion(#[from] dualmd_diffusion::DiffusionError),
    /// A file could not be read or written; the message names it.
    #[error(transparent)]
    Files(#[from] dualmd_files::Error),
    /// The images of a training could not be read; the message names the file.
    #[error(transparent)]
    Data(#[from] dualmd_data::Error),
    /// A file that does not hold what it should, or belongs to another run.
    #[error("{}: {}", shown(path), shown(reason))]
    File {
        /// The file.
        path: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The loss or a gradient stopped being a number.
    #[error(
        "step {step}: the {what} is {value}; training cannot go on. The last good checkpoint is kept: lower \
         train.learning_rate or set train.clip, and start again from it or anew"
    )]
    NotFinite {
        /// The step that failed.
        step: u64,
        /// Loss or gradient norm.
        what: &'static str,
        /// The value.
        value: f64,
    },
    /// Another rank of the training is gone, does not answer, or does something else.
    #[error(transparent)]
    Ranks(#[from] dualmd_torch::ranks::RanksError),
    /// Settings that contradict each other.
    #[error("{0}")]
    Setting(String),
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, DefenseError>;
