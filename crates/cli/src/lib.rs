//! `dualmd`: trains diffusion models that do not give their training images away, and measures what any diffusion
//! model gives away.
//!
//! `args` is what was typed, `experiment` what was written in a file, `plan` what will be done; `stages` are the parts
//! of a run, each reading from and writing to the run's folder; `commands` puts them together.
//!
//! It is a library for one reason: what a fuzzer is to call must be callable from outside. [`main`] is the program, and
//! [`inputs`] are the readers of files that no library crate has. Nothing else is public, and neither is a contract.

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
mod output;

mod args;
mod choices;
mod commands;
mod engine;
mod errors;
mod experiment;
pub mod inputs;
mod machine;
mod plan;
mod presets;
mod progress;
mod room;
mod signals;
mod stages;
mod suggest;

use args::{Cli, Command};
use clap::Parser;
use std::io::Write as _;
use std::process::ExitCode;

/// The program: reads the command line, does what it says, and returns the exit status.
#[must_use]
pub fn main() -> ExitCode {
    engine::settle_environment();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Wrong arguments: clap says which, on stderr, with code 2.
        Err(refused) if refused.use_stderr() => refused.exit(),
        // --help and --version.
        Err(page) => {
            let printed = page.print().and_then(|()| std::io::stdout().flush());
            return ended(output::told(printed).map(|()| ExitCode::SUCCESS));
        }
    };
    let done = dualmd_torch::caught(|| run(&cli.global, cli.command));
    ended(done.map_err(anyhow::Error::from).flatten())
}

/// The code to leave with; a failure is told before.
fn ended(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) if error.is::<output::NobodyReads>() => ExitCode::from(output::NOBODY_READS),
        Err(error) => {
            tell!("{}", errors::render(&error));
            ExitCode::from(errors::exit_code(&error))
        }
    }
}

fn run(global: &args::Global, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Demo(demo) => commands::run::run(global, &demo.into()),
        Command::Run(run) => commands::run::run(global, &run),
        Command::Train(train) => commands::train::train(global, &train),
        Command::Split(split) => commands::data::split(global, &split),
        Command::Sample(sample) => commands::model::sample(global, &sample),
        Command::Predict(predict) => commands::model::predict(global, &predict),
        Command::Attack(attack) => commands::audit::attack(global, &attack),
        Command::Audit(audit) => commands::audit::audit(global, &audit),
        Command::Metrics(metrics) => commands::metrics::metrics(global, &metrics),
        Command::Caption(caption) => commands::caption::caption(global, &caption),
        Command::Lira(lira) => commands::lira::lira(global, &lira),
        Command::Reproduce(reproduce) => commands::reproduce::reproduce(global, &reproduce),
        Command::Memorisation(asked) => commands::memorisation::memorisation(global, &asked),
        Command::Roc(roc) => commands::report::roc(&roc),
        Command::Report(report) => commands::report::report(&report),
        Command::Selftest => commands::selftest::selftest(global),
        Command::Import(import) => commands::data::import(global, &import.what),
        Command::Export(export) => commands::data::export(&export.what),
        Command::List(list) => commands::list::list(list.what),
    }
}
