//! The program `dualmd-engine`: does what `dualmd` reads, and is not typed. All that is done is in the library `dualmd`
//! (`crates/dualmd`) and in `dualmd-reproduce`; what is typed and printed, in `dualmd-front`.

#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]
// Both panic where nothing can be written: see `dualmd_front::output`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod asked;
#[path = "../built.rs"]
mod built;
mod commands;
mod session;
mod signals;

use anyhow::{Error, Result};
use built::BUILD;
use dualmd_front::args::{Command, Global};
use dualmd_front::progress::Terminal;
use dualmd_front::{Failures, commands as front, ended, environment, read};
use std::process::ExitCode;

/// Failures of what computes: libtorch's have a remedy.
const FAILURES: Failures = Failures {
    words: dualmd::errors::render,
    code: dualmd::errors::exit_code,
};

/// Reads the command line, does what it says, and returns the exit status.
fn main() -> ExitCode {
    if let Some(commit) = BUILD.commit {
        dualmd::machine::built_from(commit);
    }
    let cli = match read(&BUILD) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    if computes(&cli.command) {
        environment::settle();
    }
    let done = dualmd_torch::caught(|| run(&cli.global, cli.command));
    let terminal = Terminal::new(&cli.global);
    ended(done.map_err(Error::from).flatten(), FAILURES, |said| {
        terminal.error(said);
    })
}

/// Does it calculate with tensors? To start once more for it takes some time, which all others need not wait.
fn computes(command: &Command) -> bool {
    !matches!(
        command,
        Command::Reading(_) | Command::About(_) | Command::Jobs(_) | Command::Split(_)
    )
}

fn run(global: &Global, command: Command) -> Result<ExitCode> {
    match command {
        Command::Demo(demo) => commands::run::run(global, &demo.into()),
        Command::Run(run) => commands::run::run(global, &run),
        Command::Tune(tune) => commands::tune::tune(global, &tune),
        Command::Train(train) => commands::train::train(global, &train),
        Command::Work(work) => commands::work::work(global, &work),
        Command::Jobs(jobs) => commands::work::jobs(&jobs),
        Command::Split(split) => commands::files::split(global, &split),
        Command::Sample(sample) => commands::model::sample(global, &sample),
        Command::Predict(predict) => commands::model::predict(global, &predict),
        Command::Attack(attack) => commands::audit::attack(global, &attack),
        Command::Audit(audit) => commands::audit::audit(global, &audit),
        Command::Metrics(metrics) => commands::metrics::metrics(global, &metrics),
        Command::Caption(caption) => commands::caption::caption(global, &caption),
        Command::Lira(lira) => commands::lira::lira(global, &lira),
        Command::Reproduce(reproduce) => commands::reproduce::reproduce(global, &reproduce),
        Command::Memorisation(asked) => commands::memorisation::memorisation(global, &asked),
        Command::Extract(asked) => commands::extract::extract(global, &asked),
        Command::LoraSize(asked) => commands::lora_size::lora_size(&asked),
        Command::Reading(command) => front::reading(global, &command, &BUILD),
        Command::Selftest(asked) => commands::selftest::selftest(global, &asked),
        Command::Import(import) => commands::files::import(global, &import.what),
        Command::Export(export) => commands::files::export(global, &export.what),
        Command::About(command) => front::about(&command, &BUILD),
    }
}
