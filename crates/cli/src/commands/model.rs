//! `dualmd sample` and `dualmd predict`: models, wherever they were trained.

use crate::args::{Global, PredictArgs, SampleArgs};
use crate::session::{session, short_session};
use anyhow::Result;
use std::process::ExitCode;

/// Generates images.
pub fn sample(global: &Global, args: &SampleArgs) -> Result<ExitCode> {
    dualmd::sample(&session(global)?, &args.options(global))?;
    Ok(ExitCode::SUCCESS)
}

/// One call of the network, for parity checks.
pub fn predict(global: &Global, args: &PredictArgs) -> Result<ExitCode> {
    dualmd::predict(&short_session(global)?, &args.options())?;
    Ok(ExitCode::SUCCESS)
}
