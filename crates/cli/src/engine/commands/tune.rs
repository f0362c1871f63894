//! `dualmd tune`: adapters on a text-to-image base, in one command.

use super::run::{Told, told};
use crate::asked::Asked as _;
use crate::session::{session, short_session};
use crate::signals;
use anyhow::Result;
use dualmd::bail_usage;
use dualmd::tune::PRESET;
use dualmd_front::args::{Global, TuneArgs};
use std::process::ExitCode;
use std::time::Instant;

/// Trains the adapters, attacks them and reports; or goes on with that.
pub fn tune(global: &Global, args: &TuneArgs) -> Result<ExitCode> {
    let began = Instant::now();
    if args.seeds > 1 && !args.fail.also.is_empty() {
        bail_usage!(
            "--also: {} seeds have a report each, which would all be written to one place: `dualmd report RUN/seed-S --also ...` writes one",
            args.seeds
        );
    }
    let options = args.options(global);
    // Before hours of work, not after.
    for also in &args.fail.also {
        also.check(&options.out)?;
    }
    if args.check {
        let checked = dualmd::tune::check(&short_session(global)?, &options)?;
        return told(&checked, &args.fail);
    }
    let session = session(global)?.by(args.auditor.clone());
    let Some(ran) = dualmd::tune(&session, &options)? else {
        return Ok(signals::stopped(&options.out, session.reporter.as_ref()));
    };
    let done = Told {
        name: PRESET,
        out: &options.out,
        sets: &args.set,
        fail: &args.fail,
        began,
    };
    done.of(&ran, &session)
}
