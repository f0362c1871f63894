//! `dualmd verify`.

use crate::args::{Global, VerifyArgs};
use crate::progress::Terminal;
use anyhow::Result;
use dualmd_runs::evidence::{self, Opener};
use dualmd_runs::reporter::meanwhile;
use std::process::ExitCode;

/// Checks an evidence folder, and says where an image stands in it.
///
/// # Errors
/// A folder that is none; files that cannot be read.
pub fn verify(global: &Global, args: &VerifyArgs) -> Result<ExitCode> {
    let reporter = Terminal::new(global);
    let mut checked = meanwhile(&reporter, "", "evidence", || evidence::verify(&args.bundle))?;
    if let Some(root) = &args.root {
        checked = checked.against(root);
    }
    for difference in &checked.differences {
        outln!("{difference}")?;
    }
    if let (Some(image), Some(with)) = (&args.image, &args.with) {
        for line in evidence::open(&args.bundle, image, &Opener::read(with)?)? {
            outln!("{line}")?;
        }
    }
    outln!("root: {}\n{}", checked.root, checked.conclusion())?;
    Ok(ExitCode::from(u8::from(!checked.holds())))
}
