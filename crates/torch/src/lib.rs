//! The engine room: the only crate with C++ or `unsafe`.
//!
//! * [`shim`]: what `tch` lacks - bf16 autocast on CPU, fused Adam, multi-tensor EMA and gradient clipping, the fused
//!   GroupNorm+SiLU operation.
//! * [`noise`]: Gaussian tensors from the project's named random streams.
//! * [`weights`]: safetensors and npy files, never pickles.
//! * [`device`]: devices, dtypes and threads as users name them.
//!
//! Nothing here knows what diffusion or privacy is.

pub mod device;
pub mod noise;
pub mod shim;
pub mod weights;

pub use tch::{self, Device, IndexOp, Kind, Tensor, no_grad};

/// Version of the libtorch this program was built against.
pub const LIBTORCH_VERSION: &str = env!("DUALMD_LIBTORCH_VERSION");

/// What can go wrong in the engine.
#[derive(Debug, thiserror::Error)]
pub enum TorchError {
    /// libtorch refused an operation; the text is its own.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
    /// The shim's C++ side threw; the text is libtorch's own.
    #[error("libtorch: {0}")]
    Shim(String),
    /// A file could not be read or written.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A device, dtype or thread count that cannot be had.
    #[error("{0}")]
    Setting(String),
}

/// Result of engine calls.
pub type Result<T> = std::result::Result<T, TorchError>;
