//! `dualmd`: trains diffusion models that do not give their training images away, and measures what any diffusion
//! model gives away.
//!
//! `args` is what was typed, `experiment` what was written in a file, `plan` what will be done; `stages` are the parts
//! of a run, each reading from and writing to the run's folder; `commands` puts them together.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod args;
mod choices;
mod commands;
mod engine;
mod errors;
mod experiment;
mod machine;
mod plan;
mod presets;
mod progress;
mod signals;
mod stages;
mod suggest;

use args::{Cli, Command};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    engine::settle_environment();
    leave_quietly_when_nobody_reads();
    let cli = Cli::parse();
    match run(&cli.global, cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{}", errors::render(&error));
            ExitCode::from(errors::exit_code(&error))
        }
    }
}

/// `dualmd ... | head`: when the reader of stdout has gone, the program ends, as others do, and does not panic.
fn leave_quietly_when_nobody_reads() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref::<String>();
        let text = text.map(String::as_str).unwrap_or_default();
        if text.starts_with("failed printing to stdout") && text.contains("Broken pipe") {
            // What a shell reports of a program that SIGPIPE ended.
            std::process::exit(141);
        }
        usual(info);
    }));
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
