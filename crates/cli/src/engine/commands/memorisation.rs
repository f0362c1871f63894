//! `dualmd memorisation`: which prompts call up images that a model remembers, and how like these are.

use crate::asked::Asked as _;
use crate::session::session;
use anyhow::Result;
use dualmd::errors::INTERRUPTED;
use dualmd::stages::generator::stopped;
use dualmd_front::args::{Global, MemorisationArgs};
use dualmd_front::outln;
use std::process::ExitCode;

/// Measures every prompt, writes the table and says what came of it.
pub fn memorisation(global: &Global, args: &MemorisationArgs) -> Result<ExitCode> {
    let session = session(global)?;
    match dualmd::memorisation(&session, &args.options(global)) {
        Ok(_) if args.json => {
            let found = serde_json::to_value(dualmd::memorisation::read(&args.out)?)?;
            outln!("{found}")?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(lines) => {
            for line in lines {
                outln!("{line}")?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if stopped(&error) => {
            session.warn("stopped: the same command begins anew");
            Ok(ExitCode::from(INTERRUPTED))
        }
        Err(error) => Err(error),
    }
}
