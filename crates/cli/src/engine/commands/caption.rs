//! `dualmd caption`: several captions for every image, by a BLIP model that the user brings.

use crate::asked::Asked as _;
use crate::session::session;
use crate::signals;
use anyhow::Result;
use dualmd_front::args::{CaptionArgs, Global};
use std::process::ExitCode;

/// Writes captions as JSON lines; goes on with a file that an earlier call left.
pub fn caption(global: &Global, args: &CaptionArgs) -> Result<ExitCode> {
    let session = session(global)?;
    Ok(match dualmd::caption(&session, &args.options(global))? {
        true => ExitCode::SUCCESS,
        false => signals::stopped(&args.out, session.reporter.as_ref()),
    })
}
