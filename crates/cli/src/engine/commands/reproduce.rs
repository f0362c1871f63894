//! `dualmd reproduce`: the paper's tables and figures.

use crate::session::session;
use crate::signals;
use anyhow::{Result, bail};
use dualmd_front::args::Global;
use dualmd_front::{out, outln};
use dualmd_reproduce::{Made, ReproduceOptions};
use std::process::ExitCode;

/// Makes the runs that are missing, and writes and prints the table or figure.
pub fn reproduce(global: &Global, args: &ReproduceOptions) -> Result<ExitCode> {
    let session = session(global)?;
    let options = ReproduceOptions {
        seed: global.seed(),
        dtype: global.dtype,
        ..args.clone()
    };
    match dualmd_reproduce::reproduce(&session, &options)? {
        None => return Ok(signals::stopped(&args.out, session.reporter.as_ref())),
        Some(Made::Foreseen { text, problems }) => {
            out!("{text}")?;
            if !problems.is_empty() {
                bail!("the study cannot be made so:\n{}", problems.join("\n"));
            }
        }
        Some(Made::Written { text, files }) => {
            out!("{text}")?;
            for file in files {
                outln!("written: {}", file.display())?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
