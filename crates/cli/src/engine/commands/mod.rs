//! One function per command that computes; the others are in `dualmd_front::commands`.

pub mod audit;
#[cfg(feature = "caption")]
pub mod caption;
#[cfg(not(feature = "caption"))]
#[path = "no_caption.rs"]
pub mod caption;
pub mod extract;
pub mod files;
pub mod lira;
pub mod lora_size;
pub mod memorisation;
pub mod metrics;
pub mod model;
pub mod reproduce;
pub mod run;
pub mod selftest;
pub mod train;
pub mod tune;
pub mod work;
