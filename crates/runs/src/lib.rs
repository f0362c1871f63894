//! What is done with the folder of a run or an audit without a model: reports and their forms, the evidence folder, who may work in a
//! folder and who trains which model there; and what every part of the program has in common that needs no tensor: who hears how far
//! the work is, how a failure is told, what the machine is.
//!
//! Nothing here links libtorch.

#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod claims;
pub mod errors;
pub mod evidence;
pub mod forms;
pub mod held;
pub mod machine;
pub mod report;
pub mod reporter;

use anyhow::{Context, Result};
use dualmd_files::shown;
use std::path::Path;

/// Makes a folder and those above it.
///
/// # Errors
/// It cannot be made.
pub fn create_folder(path: &Path) -> Result<()> {
    Ok(dualmd_files::create_folder(path)?)
}

/// Removes a file that an earlier call may have left.
///
/// # Errors
/// It is there and cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", shown(path)))
        }
        _ => Ok(()),
    }
}
