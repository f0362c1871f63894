//! In place of `dualmd caption`, where it was not built in.

use anyhow::{Result, bail};
use dualmd_front::args::{CaptionArgs, Global};
use std::process::ExitCode;

/// Refuses, with the feature that is missing.
pub fn caption(_: &Global, _: &CaptionArgs) -> Result<ExitCode> {
    bail!(
        "this program was built without `caption`: build it with its feature `caption`, which is on by default"
    );
}
