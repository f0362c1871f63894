//! `dualmd`: trains diffusion models with defences against membership inference, and measures what a diffusion model gives away about
//! its training images. This is the library; the program is `crates/cli`.
//!
//! A [`Session`] says with what the work is done, who hears of it and how it is stopped; there is a function for each thing to do, with
//! its options. [`experiment`] is what was written in a file, [`plan`] what will be done; [`stages`] are the parts of a run, each
//! reading from and writing to the run's folder. Nothing here prints.
//!
//! A model that has memorised its images, in closed form, and its audit from images to a typed report:
//!
//! ```
//! use dualmd::audit::{DrawOptions, audit_denoiser};
//! use dualmd::stages::pictures::tensor_of_all;
//! use dualmd::{AuditOptions, Engine, ScoreOptions, Session};
//! use dualmd_data::{LoadOptions, Picture, load, save_png, stream};
//! use dualmd_diffusion::{Given, MemorisedDenoiser, NoiseSchedule};
//! use rand::Rng;
//!
//! # fn main() -> anyhow::Result<()> {
//! // Two folders of random pictures: those that the model knows by heart, and others.
//! let folder = tempfile::tempdir()?;
//! let side = |name: &str| folder.path().join(name).display().to_string();
//! for (name, n) in [("members", 20), ("others", 40)] {
//!     std::fs::create_dir(side(name))?;
//!     for i in 0..n {
//!         let mut pixels = vec![0; 64];
//!         stream(0, name, i).fill(&mut pixels[..]);
//!         let picture = Picture { width: 8, height: 8, channels: 1, pixels };
//!         save_png(&folder.path().join(format!("{name}/{i}.png")), &picture)?;
//!     }
//! }
//! let known = tensor_of_all(&load(&side("members"), &LoadOptions::default())?);
//! let schedule = NoiseSchedule::default();
//! let oracle = MemorisedDenoiser::new(&known, schedule.clone())?;
//! let oracle = Given::new(Box::new(oracle), schedule, [1, 8, 8], "an oracle");
//!
//! let session = Session::new(Engine::new("cpu", None, 1)?);
//! let options = AuditOptions {
//!     score: ScoreOptions {
//!         draw: DrawOptions { images: 8, steps: 5, ..DrawOptions::default() },
//!         ..ScoreOptions::new(side("members"), side("others"))
//!     },
//!     ..AuditOptions::new(side("audit"))
//! };
//! let report = audit_denoiser(&session, oracle, "of this page", &options)?.report;
//! let loss = report.models[0].results.iter().find(|r| r.attack == "loss");
//! assert_eq!(loss.and_then(|r| r.pooled.as_ref()).map(|found| found.auc), Some(1.0));
//! # Ok(())
//! # }
//! ```

#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod audit;
#[cfg(feature = "caption")]
pub mod caption;
pub mod check;
pub mod estimate;
pub mod extraction;
pub mod files;
pub mod jobs;
pub mod lira;
pub mod listing;
pub mod lora_size;
pub mod memorisation;
pub mod metrics;
pub mod report;
pub mod run;
pub mod sampling;
pub mod selftest;
pub mod train;
pub mod tune;
pub mod whole;
pub mod work;

pub use dualmd_attack::Share;
pub use dualmd_experiment::{bail_usage, choices, experiment, options, plan, presets, suggest};
pub use dualmd_runs::{evidence, forms, reporter};
pub use dualmd_stages as stages;
pub use dualmd_stages::{engine, errors, in_process, launcher, machine, room, session};

pub use audit::{AuditOptions, ScoreOptions, attack, audit};
#[cfg(feature = "caption")]
pub use caption::{CaptionsOptions, caption};
pub use check::check;
pub use engine::Engine;
pub use extraction::{ExtractOptions, extract};
pub use files::{SplitOptions, split};
pub use jobs::{jobs, slurm};
pub use lira::{LiraOptions, lira};
pub use lora_size::{LoraSizeOptions, lora_size};
pub use memorisation::{MemorisationOptions, memorisation};
pub use metrics::{MetricsOptions, metrics};
pub use report::{compare, report};
pub use reporter::Reporter;
pub use run::{RunOptions, run};
pub use sampling::{PredictOptions, SampleOptions, predict, sample, sample_part};
pub use selftest::selftest;
pub use session::Session;
pub use train::{TrainOptions, train};
pub use tune::{TuneOptions, tune};
pub use work::{WorkOptions, work};
