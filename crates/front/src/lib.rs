//! The front of the program: what is typed and what is printed, and the commands that need no libtorch.
//!
//! * [`args`]: what can be typed, of all commands.
//! * [`defaults`]: a user's own defaults of common flags.
//! * [`output`]: the doors to standard output and standard error; [`progress`]: how far the work is.
//! * [`commands`]: the commands that are done here; [`listing`]: what some of them list.
//! * [`environment`]: how `dualmd` becomes the program that computes.
//!
//! Two programs stand on it (`crates/cli`). `dualmd` has nothing else: it reads the command line, refuses what is wrong, does what is in
//! [`commands`], and becomes `dualmd-engine` for all the rest. So a report, a page of help or a mistyped flag need not wait until
//! libtorch is loaded. Nothing here links it.

#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]
// Both panic where nothing can be written: see `output`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

// First: its macros are for all others.
#[macro_use]
pub mod output;

pub mod args;
pub mod commands;
pub mod defaults;
pub mod environment;
pub mod listing;
pub mod progress;

use anyhow::{Error, Result};
use args::Cli;
use defaults::Defaults;
use dualmd_experiment::plan::Versions;
use dualmd_runs::errors;
use progress::Terminal;
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

/// What a program is built from, as its build script knows it. (A build script of this crate would compile it and both programs again
/// after every commit.)
#[derive(Debug, Clone, Copy)]
pub struct Build {
    /// What `--version` prints: the version, and of optimised builds the commit.
    pub version: &'static str,
    /// The commit, where it is known.
    pub commit: Option<&'static str>,
    /// The libtorch that `dualmd-engine` is linked with.
    pub libtorch: &'static str,
}

impl Build {
    /// As plans and reports have it.
    pub fn versions(&self) -> Versions {
        Versions {
            dualmd: env!("CARGO_PKG_VERSION").into(),
            libtorch: self.libtorch.into(),
            commit: self.commit.map(str::to_owned),
        }
    }
}

/// The exit code of wrong arguments, as clap has it.
const WRONG: u8 = 2;

/// How a program tells failures.
#[derive(Debug, Clone, Copy)]
pub struct Failures {
    /// Its words.
    pub words: fn(&Error) -> String,
    /// The exit code.
    pub code: fn(&Error) -> u8,
}

impl Failures {
    /// Of what needs no libtorch.
    pub const PLAIN: Self = Self {
        words: errors::render,
        code: errors::exit_code,
    };
}

/// Reads the command line of this process.
///
/// # Errors
/// The code to leave with, where nothing is to be done any more: a page of help or the version was printed; the user's own defaults are
/// wrong, which was told, in JSON where the arguments ask for it; so are wrong arguments. Without JSON these end the process here, by clap,
/// with code 2.
pub fn read(build: &Build) -> Result<Cli, ExitCode> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let json = Terminal::json_of(&words);
    let tell = |said: &str| match &json {
        Some(json) => json.error(said),
        None => tell!("{said}"),
    };
    let leave = |result| ended(result, Failures::PLAIN, tell);
    let defaults = Defaults::of_process().map_err(|error| leave(Err(error)))?;
    match Cli::read_with(words, build.version, defaults) {
        Ok(cli) => Ok(cli),
        Err(refused) if refused.use_stderr() && json.is_some() => {
            let said = refused.to_string();
            tell(&errors::harmless(said.trim_end()));
            Err(ExitCode::from(WRONG))
        }
        // Wrong arguments: clap says which, on stderr, with code 2.
        Err(refused) if refused.use_stderr() => refused.exit(),
        // --help and --version.
        Err(page) => {
            let printed = page.print().and_then(|()| std::io::stdout().flush());
            Err(leave(output::told(printed).map(|()| ExitCode::SUCCESS)))
        }
    }
}

/// The code to leave with; a failure is told before.
pub fn ended(result: Result<ExitCode>, failures: Failures, tell: impl FnOnce(&str)) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) if error.is::<output::NobodyReads>() => ExitCode::from(output::NOBODY_READS),
        Err(error) => {
            tell(&(failures.words)(&error));
            ExitCode::from((failures.code)(&error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;
    use dualmd_experiment::Usage;

    #[test]
    fn a_failure_is_told_once_and_a_closed_pipe_is_not() {
        let told = |error: Error| {
            let mut said = Vec::new();
            let code = ended(Err(error), Failures::PLAIN, |text| {
                said.push(text.to_owned())
            });
            (format!("{code:?}"), said)
        };
        let code = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(
            told(anyhow!("disk full").context("no split")),
            (
                code(1),
                vec!["error: no split\n  because: disk full".to_owned()]
            )
        );
        assert_eq!(told(Usage("two models".into()).into()).0, code(2));
        assert_eq!(told(output::NobodyReads.into()), (code(141), vec![]));
        let quiet = ended(Ok(ExitCode::SUCCESS), Failures::PLAIN, |_| unreachable!());
        assert_eq!(format!("{quiet:?}"), code(0));
    }

    #[test]
    fn a_build_says_what_plans_keep() {
        let build = Build {
            version: "0.1.0 (commit 0a)",
            commit: Some("0a"),
            libtorch: "2.13.0",
        };
        let versions = build.versions();
        assert_eq!(versions.dualmd, env!("CARGO_PKG_VERSION"));
        assert_eq!(
            (versions.libtorch.as_str(), versions.commit.as_deref()),
            ("2.13.0", Some("0a"))
        );
    }
}
