//! The engine room: the only crate with C++ or `unsafe`.
//!
//! * [`shim`]: what `tch` lacks - bf16 autocast on CPU, fused Adam, multi-tensor EMA and gradient clipping, the fused
//!   GroupNorm+SiLU operation.
//! * [`noise`]: Gaussian tensors from the project's named random streams.
//! * [`weights`]: safetensors and npy files, never pickles.
//! * [`exceptions`]: what libtorch throws, as errors.
//! * [`device`]: devices, dtypes and threads as users name them.
//! * [`profile`]: how long libtorch's operations take.
//! * [`ranks`]: several processes that train one model.
//!
//! Nothing here knows what diffusion or privacy is.

#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

pub mod device;
pub mod exceptions;
pub mod noise;
pub mod profile;
pub mod ranks;
pub mod shim;
pub mod weights;

use dualmd_files::shown;
pub use exceptions::{caught, memory_remedy};
pub use tch::{self, Device, IndexOp, Kind, Tensor, no_grad};

/// The rows of `x` [N, D] in f64, each divided by its length (1e-12 at least): products of two such tables are cosines.
///
/// # Errors
/// Another number of axes.
pub fn unit_rows(x: &Tensor) -> Result<Tensor> {
    let x = x.f_to_kind(Kind::Double)?;
    let lengths = (&x * &x)
        .f_sum_dim_intlist([1i64].as_slice(), true, Kind::Double)?
        .f_sqrt()?;
    Ok(x.f_div(&lengths.f_clamp_min(1e-12)?)?)
}

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
    /// libtorch threw where no error was expected; see [`caught`].
    #[error("libtorch: {reason}; {remedy}")]
    Exception {
        /// The first line of libtorch's own text.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A file could not be read or written; the message names it.
    #[error(transparent)]
    Files(#[from] dualmd_files::Error),
    /// A file that does not hold what it should.
    #[error("{}: {}", shown(path), shown(reason))]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_length_one_and_a_row_of_nothing() {
        let x = Tensor::from_slice(&[3f32, 4.0, 0.0, 0.0]).view([2, 2]);
        let unit = unit_rows(&x).unwrap();
        assert_eq!(unit.kind(), Kind::Double);
        let values = Vec::<f64>::try_from(unit.flatten(0, -1)).unwrap();
        assert_eq!(values, [0.6, 0.8, 0.0, 0.0]);
        assert!(unit_rows(&Tensor::from_slice(&[1f32])).is_err());
    }
}
