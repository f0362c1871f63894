//! Membership inference attacks: how much more at home a model is on its own training images.
//!
//! Every attack turns a sample into one number, **higher = more likely a member**. Each lives in one file that can be
//! read alone, beside its paper:
//!
//! * [`loss`], [`secmi`], [`pia`], [`pian`], [`sima`], [`pfami`], [`rediffuse`]: error attacks on the noise predictor.
//! * [`secmi_nn`], [`rediffuse_nn`]: the same residuals through a classifier that learns from known samples; [`gsa`]: so do
//!   the norms of gradients. [`resnet`] and `logistic` are the classifiers, [`known`] who is known.
//! * [`loss_grid`], [`combined`]: losses at many noise levels, and all error attacks together, learnt from known samples.
//! * [`mod@reference`]: the loss against that of a model that cannot have seen the image.
//! * [`clid`], [`wen`], [`pia_sd_2024`]: attacks on text-to-image models, which compare captions; [`captions`]: a variant of
//!   every error attack that tries several.
//! * [`shadow`]: a variant of every attack that learns: on a model of the attacker's own.
//! * [`lowpass`]: low frequencies only, a variant of every error attack; [`pullback`]: of a latent what its decoder shows.
//! * [`teacher_difference`]: an attack on this project's own defence, for someone who holds both models of a pair.
//! * [`nn`]: distance to the nearest generated image (black box; needs images, not a model); [`mod@density`]: their density against that of
//!   other images. [`similarity`]: to the
//!   images that a sample's caption generates (black box; needs features of images); [`drawn`]: how these are drawn.
//! * [`memorisation`]: not about samples but about prompts: which ones are memorised, and Wen's remedy. [`extraction`]: about generated
//!   images: which of them are training images; [`mod@search`]: what must be told to generate one; [`side`]: how a model
//!   that is told nothing is led to what it draws again and again.
//! * [`lora_size`]: about the file of a LoRA: how many images it was trained on.
//!
//! And around them:
//!
//! * [`attack`]: the [`Attack`] and [`Learned`] traits and what an attack says about itself.
//! * [`prompts`]: the samples' captions, for text-to-image models.
//! * [`batch`]: the samples under attack with the models; counts network calls and shares the common ones.
//! * [`catalogue`]: attacks by name (parsed by `dualmd_names`), and the default set.
//! * [`evaluate`]: runs attacks over members and non-members on one code path; [`rehearsal`]: what of them no model of a noise schedule allows.
//! * [`parts`]: what a run leaves on the way, for one that was cut off; [`share`]: how far several processes are that make
//!   its batches.
//! * [`clean_noise`]: eps(x, 0), the input three attacks start from, and the warning when it is no noise at all.
//!
//! Timesteps are 0-based and the clean image is treated as x at t = 0, as in the public code of every attack, although
//! abar_0 is not quite 1. Statistics (ROC, intervals) are made elsewhere, from the scores.

#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

mod adam;
pub mod attack;
pub mod batch;
pub mod captions;
pub mod catalogue;
pub mod clean_noise;
pub mod clid;
pub mod combined;
pub mod density;
pub mod drawn;
mod error;
pub mod evaluate;
pub mod extraction;
pub mod gsa;
pub mod known;
mod logistic;
pub mod lora_size;
pub mod loss;
pub mod loss_grid;
pub mod lowpass;
pub mod memorisation;
pub mod nn;
pub mod parts;
mod pass;
pub mod pfami;
pub mod pia;
pub mod pia_sd_2024;
pub mod pian;
pub mod prompts;
pub mod pullback;
pub mod rediffuse;
pub mod rediffuse_nn;
mod reduce;
pub mod reference;
pub mod rehearsal;
pub mod resnet;
pub mod search;
pub mod secmi;
pub mod secmi_nn;
pub mod shadow;
pub mod share;
pub mod side;
pub mod sima;
pub mod similarity;
pub mod teacher_difference;
pub mod wen;

pub use attack::{Access, Attack, AttackInfo, Learned, Method, Rule};
pub use batch::{Batch, Model, NetworkCalls, Others};
pub use captions::Over;
pub use catalogue::{ALL, Space, by_name, by_name_for, default_set, default_set_for, method};
pub use clean_noise::CleanNoise;
pub use clid::{Clid, ClidGap, ClidVec, thirds};
pub use combined::Combined;
pub use dualmd_names::Share;
pub use error::{AttackError, Result};
pub use evaluate::{
    AttackResult, Looked, Outcome, RunOptions, Samples, Shadow, run, run_share, there,
};
pub use gsa::{Gsa1, Gsa2};
pub use known::Known;
pub use loss::Loss;
pub use loss_grid::LossGrid;
pub use parts::Parts;
pub use pfami::Pfami;
pub use pia::Pia;
pub use pia_sd_2024::PiaSd2024;
pub use pian::Pian;
pub use prompts::{Caption, Prompts};
pub use rediffuse::ReDiffuse;
pub use rediffuse_nn::ReDiffuseNn;
pub use reference::Reference;
pub use search::{Search, search};
pub use secmi::SecMi;
pub use secmi_nn::SecMiNn;
pub use share::Batches;
pub use sima::SimA;
pub use teacher_difference::TeacherDifference;
pub use wen::Wen;
