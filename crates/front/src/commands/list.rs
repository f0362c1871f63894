//! `dualmd list`: what there is.

use crate::args::{ListArgs, Listing};
use crate::listing;
use anyhow::Result;
use dualmd_experiment::bail_usage;
use std::process::ExitCode;

/// Prints a table, or with --json the attacks as JSON.
///
/// # Errors
/// `--json` with what is not there as JSON; what cannot be written.
pub fn list(args: &ListArgs) -> Result<ExitCode> {
    if args.json && args.what != Listing::Attacks {
        bail_usage!("--json: only the list of attacks is there as JSON; leave it out");
    }
    let text = match args.what {
        Listing::Attacks if args.json => listing::ATTACKS_JSON.to_owned(),
        Listing::Attacks => listing::ATTACKS.to_owned(),
        Listing::Defenses => listing::defenses()?,
        Listing::Presets => listing::PRESETS.to_owned(),
        Listing::Keys => listing::keys()?,
        Listing::Datasets => listing::DATASETS.to_owned(),
    };
    out!("{text}")?;
    Ok(ExitCode::SUCCESS)
}
