//! `dualmd`: trains diffusion models that do not give their training images away, and measures what any diffusion
//! model gives away. This is the library; the program is `crates/cli`.
//!
//! A [`Session`] says with what the work is done, who hears of it and how it is stopped; there is a function for each thing to do, with
//! its options. [`experiment`] is what was written in a file, [`plan`] what will be done; [`stages`] are the parts of a run, each
//! reading from and writing to the run's folder. Nothing here prints.

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
pub mod engine;
pub mod errors;
pub mod files;
pub mod inputs;
pub mod launcher;
pub mod lira;
pub mod machine;
pub mod memorisation;
pub mod metrics;
pub mod report;
pub mod reporter;
pub mod room;
pub mod run;
pub mod sampling;
pub mod selftest;
pub mod session;
pub mod stages;
pub mod train;

pub use dualmd_experiment::{bail_usage, choices, experiment, plan, presets, suggest};

pub use audit::{AuditOptions, ScoreOptions, attack, audit};
#[cfg(feature = "caption")]
pub use caption::{CaptionsOptions, caption};
pub use engine::Engine;
pub use files::{SplitOptions, split};
pub use lira::{LiraOptions, lira};
pub use memorisation::{MemorisationOptions, memorisation};
pub use metrics::{MetricsOptions, metrics};
pub use report::report;
pub use reporter::Reporter;
pub use run::{RunOptions, run};
pub use sampling::{PredictOptions, SampleOptions, predict, sample};
pub use selftest::selftest;
pub use session::Session;
pub use train::{TrainOptions, train};
