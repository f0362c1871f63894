//! The build script of every crate with programs, tests or examples that run libtorch: they look for it where it was when
//! they were linked, by its whole path.
//!
//! A path relative to the program (`$ORIGIN/..`) would serve as well here, and would be a trap elsewhere: a copy of the
//! program in a shared folder would load whatever library a stranger puts beside that folder.

fn main() {
    println!("cargo:rerun-if-changed=../torch/rpath.rs");
    // What build.rs of this folder says of the libtorch that it links; only direct dependents hear of it. Without it
    // (the fuzzers' crate without its models) there is nothing to look for.
    if let Ok(folder) = std::env::var("DEP_DUALMD_TORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
    }
}
