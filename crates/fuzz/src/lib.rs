//! What is done with a file of a stranger: one [`Target`] for each reader of this program.
//!
//! A target takes any bytes, gives them to a reader as the file (or the files) it expects, and uses what comes out as the
//! program would. The reader may refuse. It may not panic, not abort, not take much memory for a small file, and not
//! take long. Nothing is said about what is read; that is for the tests of each crate.
//!
//! The same bodies serve twice:
//! - `cargo xtask fuzz` lets libFuzzer look for inputs (`fuzz/` in the root of the checkout);
//! - `tests/replay.rs` gives every target the inputs under `fuzz/corpus/`, and mutants of them, in plain `cargo test`.
//!
//! | module | idea |
//! |---|---|
//! | [`files`] | several files in one input, and the folder that they are written to |
//! | `images` | pictures and image sets |
//! | `reports` | scores, splits, run folders |
//! | `models` (with the feature of that name) | what needs libtorch: networks, tokenizers, LoRA, experiments |
//! | [`templates`] | whole small folders in which an input replaces a file |

pub mod files;
mod images;
#[cfg(feature = "models")]
pub mod models;
mod reports;
pub mod templates;

/// One reader, and what is done with its input.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Name: that of its folder under `fuzz/corpus/`.
    pub name: &'static str,
    /// What an input is.
    pub about: &'static str,
    /// Whether it needs libtorch, and so belongs to the fuzzer `models` and not to `files`.
    pub models: bool,
    /// Reads the input.
    pub read: fn(&[u8]),
}

/// A target without libtorch.
const fn file(name: &'static str, about: &'static str, read: fn(&[u8])) -> Target {
    Target {
        name,
        about,
        models: false,
        read,
    }
}

/// Every target that was built in.
#[must_use]
pub fn targets() -> Vec<Target> {
    let mut all = vec![
        file("png", "a picture", images::picture),
        file("jpeg", "a picture", images::picture),
        file("webp", "a picture", images::picture),
        file("gif", "a picture", images::picture),
        file("bmp", "a picture", images::picture),
        file("idx", "IDX images", images::idx),
        file("idx-gz", "IDX images, gzipped", images::idx_gz),
        file("cifar", "CIFAR's binary version", images::cifar),
        file("npy", "an array of pictures", images::npy),
        file("npz", "an archive of arrays", images::npz),
        file("parquet", "a table of pictures", images::parquet),
        file("tar", "a WebDataset", images::tar),
        file(
            "image-folder",
            "metadata.jsonl, metadata.csv and other files of an image folder, see `files`",
            images::folder,
        ),
        file("split", "split.json", reports::split),
        file("scores", "a CSV of scores", reports::scores),
        file(
            "run-folder",
            "files of a run folder, see `files`",
            reports::run_folder,
        ),
    ];
    #[cfg(feature = "models")]
    all.extend(models::targets());
    all.sort_by_key(|target| target.name);
    all
}

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    targets().into_iter().find(|target| target.name == name)
}

/// The targets as `fuzz/targets.txt` lists them: the fuzzer that has it, and its name.
#[must_use]
pub fn list() -> String {
    let line = |target: &Target| {
        let program = if target.models { "models" } else { "files" };
        format!("{program} {}\n", target.name)
    };
    targets().iter().map(line).collect()
}

/// A refusal is fine, and must be something that can be printed.
fn said<T, E: std::fmt::Display>(result: Result<T, E>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            assert!(!error.to_string().is_empty(), "a refusal without a word");
            None
        }
    }
}
