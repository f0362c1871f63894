//! The error enum of this crate.

use dualmd_files::shown;

/// Why a metric could not be computed.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// A table of features that cannot be one.
    #[error("features {extractor}: {reason}")]
    Features {
        /// Name of the extractor.
        extractor: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// Not enough images for what was asked.
    #[error("there are {got} {what}, but at least {needed} are needed; {remedy}")]
    TooFew {
        /// What is missing.
        what: &'static str,
        /// How many there are.
        got: usize,
        /// How many it takes.
        needed: usize,
        /// What to do.
        remedy: &'static str,
    },
    /// Two sides that were not measured in the same way.
    #[error(
        "cannot compare {first} with {second}: extract the features of both sides with the same network and layer"
    )]
    Mismatch {
        /// One side: extractor and width.
        first: String,
        /// The other side.
        second: String,
    },
    /// Something that this program was built without.
    #[error(
        "this program was built without {what}: build it with its feature `{feature}`, which is on by default"
    )]
    NotBuilt {
        /// What is missing.
        what: &'static str,
        /// The feature of the crate and of the program.
        feature: &'static str,
    },
    /// A parameter outside its range.
    #[error("{name} is {value}, but must be {expected}")]
    OutOfRange {
        /// The parameter.
        name: &'static str,
        /// What was given.
        value: usize,
        /// The range, in words.
        expected: &'static str,
    },
    /// A share that is none.
    #[error("the {name} is {value}, but must lie between 0 and 1, both left out")]
    Share {
        /// The parameter.
        name: &'static str,
        /// What was given.
        value: f64,
    },
    /// An eigenvalue computation gave up; it does so for numbers near the limits of f64 only.
    #[error(
        "the eigenvalues of a {size} x {size} covariance did not converge: look for features of absurd size"
    )]
    Decomposition {
        /// Rows of the matrix.
        size: usize,
    },
    /// Pictures that the extractors do not take.
    #[error("images: {reason}")]
    Images {
        /// What is wrong and what to do.
        reason: String,
    },
    /// A file could not be read or written; the message names it.
    #[error(transparent)]
    Files(#[from] dualmd_files::Error),
    /// A file that cannot be read or written, or does not hold what it should.
    #[error("{}: {}", shown(path), shown(reason))]
    File {
        /// The file.
        path: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A statistic that cannot be had.
    #[error(transparent)]
    Stats(#[from] dualmd_stats::StatsError),
    /// The engine refused.
    #[error(transparent)]
    Torch(#[from] dualmd_torch::TorchError),
    /// libtorch refused an operation; the text is its own.
    #[error("libtorch: {0}")]
    Tch(#[from] dualmd_torch::tch::TchError),
}

/// Result of this crate's calls.
pub type Result<T> = std::result::Result<T, MetricsError>;

pub(crate) fn file_error(path: &std::path::Path, reason: impl std::fmt::Display) -> MetricsError {
    MetricsError::File {
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
}
