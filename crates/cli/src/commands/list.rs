//! `dualmd list`: what there is.

use crate::args::{ListArgs, Listing};
use anyhow::Result;
use dualmd::{bail_usage, listing};
use std::process::ExitCode;

/// Prints a table, or with --json the attacks as JSON.
pub fn list(args: &ListArgs) -> Result<ExitCode> {
    if args.json {
        if args.what != Listing::Attacks {
            bail_usage!("--json: only the list of attacks is there as JSON; leave it out");
        }
        outln!("{}", serde_json::to_string(&listing::attacks()?)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let text = match args.what {
        Listing::Attacks => listing::attacks_text()?,
        Listing::Defenses => listing::defenses_text()?,
        Listing::Presets => listing::presets_text()?,
        Listing::Keys => listing::keys_text()?,
        Listing::Datasets => listing::DATASETS.to_owned(),
    };
    out!("{text}")?;
    Ok(ExitCode::SUCCESS)
}
