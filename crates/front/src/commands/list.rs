//! `dualmd list`: what there is.

use crate::args::{ListArgs, Listing};
use crate::listing;
use anyhow::Result;
use dualmd_experiment::bail_usage;

/// What the networks and the attacks say of themselves, which live beside libtorch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// The attacks: as a table, or as JSON.
    Attacks {
        /// As JSON.
        json: bool,
    },
    /// The experiments that are part of the program, and the networks.
    Presets,
}

/// Prints a list; or says what is to be listed elsewhere.
///
/// # Errors
/// `--json` with what is not there as JSON; what cannot be written.
pub fn list(args: &ListArgs) -> Result<Option<Known>> {
    if args.json && args.what != Listing::Attacks {
        bail_usage!("--json: only the list of attacks is there as JSON; leave it out");
    }
    let text = match args.what {
        Listing::Attacks => return Ok(Some(Known::Attacks { json: args.json })),
        Listing::Presets => return Ok(Some(Known::Presets)),
        Listing::Defenses => listing::defenses()?,
        Listing::Keys => listing::keys()?,
        Listing::Datasets => listing::DATASETS.to_owned(),
    };
    out!("{text}")?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beside_libtorch_is_listed_elsewhere() {
        let asked = |what, json| list(&ListArgs { what, json });
        let attacks = |json| Some(Known::Attacks { json });
        assert_eq!(asked(Listing::Attacks, false).unwrap(), attacks(false));
        assert_eq!(asked(Listing::Attacks, true).unwrap(), attacks(true));
        assert_eq!(
            asked(Listing::Presets, false).unwrap(),
            Some(Known::Presets)
        );
        assert!(asked(Listing::Presets, true).is_err());
        assert!(asked(Listing::Keys, true).is_err());
    }
}
