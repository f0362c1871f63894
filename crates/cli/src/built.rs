//! What the two programs are built from.

use dualmd_front::Build;

/// As this package's build script knows it.
pub const BUILD: Build = Build {
    version: env!("DUALMD_VERSION"),
    commit: option_env!("DUALMD_BUILT_FROM"),
    libtorch: env!("DUALMD_LINKED_LIBTORCH"),
};
