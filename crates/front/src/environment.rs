//! Variables that must be set before the program begins that computes, and how it begins.

use anyhow::{Context, Result, bail};
use dualmd_files::shown;
use dualmd_runs::machine::ENGINE;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Variables that libraries read when they are loaded, before `main`:
///
/// * libtorch's OpenMP threads spin while they wait, which makes a machine with more threads than free cores crawl;
/// * glibc returns every large tensor's memory to the system as soon as it is freed, and each training step pays for
///   fetching (and clearing) it again: a third of the time of a small network's step went into the kernel.
pub const EARLY: [(&str, &str); 4] = [
    ("OMP_WAIT_POLICY", "PASSIVE"),
    ("MALLOC_MMAP_THRESHOLD_", "4294967296"),
    ("MALLOC_TRIM_THRESHOLD_", "8589934592"),
    ("MALLOC_TOP_PAD_", "67108864"),
];

/// Marks a process that was started with them.
const SETTLED: &str = "DUALMD_SETTLED";

/// Why there is nothing to become: the launcher of the Python package has found no libtorch.
const NO_ENGINE: &str = "DUALMD_NO_ENGINE";

/// Those of [`EARLY`] that the user has not set.
fn unset() -> impl Iterator<Item = (&'static str, &'static str)> {
    let all = EARLY.into_iter();
    all.filter(|(name, _)| std::env::var_os(name).is_none())
}

/// Becomes the program that computes, which lies beside this one: the same process with the same arguments, and with the variables of
/// [`EARLY`] that the user has not set. Returns only where that cannot be.
///
/// # Errors
/// The other program is not there, is a stranger's, or cannot be started; there is no libtorch for it.
pub fn become_engine() -> Result<ExitCode> {
    if let Ok(why) = std::env::var(NO_ENGINE) {
        bail!("{why}");
    }
    let this = std::env::current_exe().context("cannot find this program's own file")?;
    let engine = this.with_file_name(ENGINE);
    let owner = |path: &Path| path.metadata().map(|about| about.uid());
    if let (Ok(own), Ok(other)) = (owner(&this), owner(&engine))
        && !is_ours(own, other)
    {
        bail!(
            "{} belongs to another user than {}, and is not started: keep both files in a folder that is yours, or install dualmd again",
            shown(&engine),
            shown(&this)
        );
    }
    let error = replace(&engine);
    Err(error).with_context(|| {
        format!(
            "cannot start {}, the part of the program that computes: the two files dualmd and {ENGINE} belong into one folder; install dualmd again",
            shown(&engine)
        )
    })
}

/// May a program of one owner become that of another? In a folder that many write to, a stranger's file can lie beside a copy of ours.
const fn is_ours(own: u32, other: u32) -> bool {
    other == own || other == 0
}

/// Sets the variables of [`EARLY`] that the user has not set, and starts the program once more with them: for the program that computes,
/// where somebody has started it by itself.
pub fn settle() {
    if std::env::var_os(SETTLED).is_none()
        && unset().next().is_some()
        && let Ok(program) = std::env::current_exe()
    {
        // Returns only if it fails; then the program runs on, just slower.
        let _ = replace(&program);
    }
}

/// Becomes a program. What it is called stays, since the commands in plans and reports begin with it.
fn replace(program: &Path) -> std::io::Error {
    let mut words = std::env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = words.next() {
        command.arg0(name);
    }
    command.args(words).envs(unset()).env(SETTLED, "1").exec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_s_program_is_none_of_ours() {
        assert!(is_ours(1000, 1000) && is_ours(1000, 0) && is_ours(0, 0));
        assert!(!is_ours(1000, 1001) && !is_ours(0, 1000));
    }
}
