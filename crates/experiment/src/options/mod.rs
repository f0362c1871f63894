//! Options that are just what a command takes as its flags. With the feature `clap` they are flags themselves.

mod lora_size;
mod metrics;
mod predict;
pub mod reproduce;
mod split;

pub use lora_size::LoraSizeOptions;
pub use metrics::MetricsOptions;
pub use predict::PredictOptions;
pub use reproduce::{ReproduceOptions, Scale, What};
pub use split::SplitOptions;
