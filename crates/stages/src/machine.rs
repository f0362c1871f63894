//! What the machine is, and the versions of what works on it.

use dualmd_experiment::plan::Versions;
use std::sync::OnceLock;

pub use dualmd_runs::machine::*;

/// The commit that the program around this library was built from.
static COMMIT: OnceLock<&'static str> = OnceLock::new();

/// Says which commit the program was built from: plans have it among their versions. The first call counts. (A build script of this
/// crate would compile it and all above it again after every commit; one of the program compiles the program.)
pub fn built_from(commit: &'static str) {
    let _ = COMMIT.set(commit);
}

/// The versions of this program and of its libtorch.
pub fn versions() -> Versions {
    Versions {
        dualmd: env!("CARGO_PKG_VERSION").into(),
        libtorch: dualmd_torch::LIBTORCH_VERSION.into(),
        commit: COMMIT.get().map(|commit| (*commit).to_owned()),
    }
}
