//! The program `dualmd`: reads the command line, refuses what is wrong, and does what needs no libtorch. For all the rest it becomes
//! `dualmd-engine`, which lies beside it (`engine/main.rs`).
//!
//! It names no crate that links libtorch, which is why none is linked: a test looks (`tests/front.rs`).

#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod built;

use anyhow::Result;
use built::BUILD;
use dualmd_front::args::{Cli, Command};
use dualmd_front::environment::become_engine;
use dualmd_front::progress::Terminal;
use dualmd_front::{Failures, commands, ended, read};
use std::process::ExitCode;

/// Reads the command line, does what it says or becomes the program that does, and returns the exit status.
fn main() -> ExitCode {
    let cli = match read(&BUILD) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let done = run(&cli);
    let terminal = Terminal::new(&cli.global);
    ended(done, Failures::PLAIN, |said| terminal.error(said))
}

fn run(cli: &Cli) -> Result<ExitCode> {
    match &cli.command {
        Command::Reading(command) => commands::reading(&cli.global, command, &BUILD),
        Command::About(command) => commands::about(command, &BUILD),
        _ => become_engine(),
    }
}
