//! `dualmd list attacks` and `dualmd list presets`: what attacks and networks say of themselves.

use anyhow::Result;
use dualmd::listing;
use dualmd_front::commands::list::Known;
use dualmd_front::{out, outln};
use std::process::ExitCode;

/// Prints a table, or the attacks as JSON.
pub fn list(asked: Known) -> Result<ExitCode> {
    match asked {
        Known::Attacks { json: true } => {
            outln!("{}", serde_json::to_string(&listing::attacks()?)?)?;
        }
        Known::Attacks { json: false } => out!("{}", listing::attacks_text()?)?,
        Known::Presets => out!("{}", listing::presets_text()?)?,
    }
    Ok(ExitCode::SUCCESS)
}
