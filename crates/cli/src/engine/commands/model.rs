//! `dualmd sample` and `dualmd predict`: models, wherever they were trained.

use crate::asked::Asked as _;
use crate::session::{session, short_session};
use anyhow::Result;
use dualmd::PredictOptions;
use dualmd::errors::INTERRUPTED;
use dualmd::stages::generator::stopped;
use dualmd_front::args::{Global, SampleArgs};
use std::process::ExitCode;

/// Generates images, or some of the batches.
pub fn sample(global: &Global, args: &SampleArgs) -> Result<ExitCode> {
    let (session, options) = (session(global)?, args.options(global));
    let done = match args.part.part {
        Some(share) => dualmd::sample_part(&session, &options, share).map(drop),
        None => dualmd::sample(&session, &options),
    };
    match done {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if stopped(&error) => {
            session.warn("stopped: the same command generates what is missing");
            Ok(ExitCode::from(INTERRUPTED))
        }
        Err(error) => Err(error),
    }
}

/// One call of the network, for parity checks.
pub fn predict(global: &Global, args: &PredictOptions) -> Result<ExitCode> {
    dualmd::predict(&short_session(global)?, args)?;
    Ok(ExitCode::SUCCESS)
}
