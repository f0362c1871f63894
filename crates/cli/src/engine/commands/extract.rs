//! `dualmd extract`: which training images can be got out of what a model generates.

use crate::asked::Asked as _;
use crate::session::session;
use crate::signals;
use anyhow::Result;
use dualmd::extraction::lines;
use dualmd::stages::generator::stopped;
use dualmd_front::args::{ExtractArgs, Global};
use dualmd_front::outln;
use std::process::ExitCode;

/// Generates, compares, and says what came of it.
pub fn extract(global: &Global, args: &ExtractArgs) -> Result<ExitCode> {
    let session = session(global)?;
    let found = match dualmd::extract(&session, &args.options(global)) {
        Ok(found) => found,
        Err(error) if stopped(&error) => {
            return Ok(signals::stopped(&args.out, session.reporter.as_ref()));
        }
        Err(error) => return Err(error),
    };
    if args.json {
        // As a value, whose keys are in alphabetical order as in the file.
        let found = serde_json::to_value(&found)?;
        outln!("{}", serde_json::to_string(&found)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for line in lines(&found) {
        outln!("{line}")?;
    }
    Ok(ExitCode::SUCCESS)
}
