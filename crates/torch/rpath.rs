//! The build script of every crate with programs, tests or examples that run libtorch: they look for it where it was when
//! they were linked, by its whole path.
//!
//! A path relative to the program (`$ORIGIN/..`) would serve as well here, and would be a trap elsewhere: a copy of the
//! program in a shared folder would load whatever library a stranger puts beside that folder.
//!
//! `DUALMD_RPATH` names another place, or none if it is empty: the program of the Python package is told by its launcher.

/// Tells the linker; the program's own build script calls it.
pub fn main() {
    println!("cargo:rerun-if-changed=../torch/rpath.rs");
    // What build.rs of this folder says of the libtorch that it links; only direct dependents hear of it. Without it
    // (the fuzzers' crate without its models) there is nothing to look for.
    println!("cargo:rerun-if-env-changed=DUALMD_RPATH");
    let linked = std::env::var("DEP_DUALMD_TORCH_LIB").ok();
    let folder = linked.map(|linked| std::env::var("DUALMD_RPATH").unwrap_or(linked));
    if let Some(folder) = folder.filter(|folder| !folder.is_empty()) {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
    }
}
