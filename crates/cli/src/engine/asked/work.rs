//! Options of `dualmd work`, which takes no common flag.

use dualmd::WorkOptions;
use dualmd_front::args::WorkArgs;
use std::time::Duration;

/// What to take.
pub fn work(args: &WorkArgs) -> WorkOptions {
    WorkOptions {
        once: args.once,
        wait: args.wait.map(Duration::from_secs),
        lease: Duration::from_secs(args.lease),
        ..WorkOptions::new(args.folder.clone())
    }
}
