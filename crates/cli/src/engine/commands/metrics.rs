//! `dualmd metrics`: generated images against real ones.

use crate::session::short_session;
use anyhow::Result;
use dualmd::MetricsOptions;
use dualmd_front::args::{Global, MetricsArgs};
use dualmd_front::outln;
use dualmd_front::output::lines;
use std::process::ExitCode;

/// Compares and prints.
pub fn metrics(global: &Global, args: &MetricsArgs) -> Result<ExitCode> {
    let options = MetricsOptions {
        seed: global.seed(),
        ..args.options.clone()
    };
    let measured = dualmd::metrics(&short_session(global)?, &options)?;
    if args.json {
        // As a value, whose keys are in alphabetical order as in the files of a run.
        let measured = serde_json::to_value(&measured)?;
        outln!("{}", serde_json::to_string_pretty(&measured)?)?;
    } else {
        lines(measured.lines())?;
    }
    Ok(ExitCode::SUCCESS)
}
