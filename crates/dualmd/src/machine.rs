//! What the machine is, and the versions of what works on it.

use dualmd_experiment::plan::Versions;

pub use dualmd_runs::machine::*;

/// The versions of this program and of its libtorch.
pub fn versions() -> Versions {
    Versions {
        dualmd: env!("CARGO_PKG_VERSION").into(),
        libtorch: dualmd_torch::LIBTORCH_VERSION.into(),
    }
}
