//! The program `dualmd`: what is typed, and what is printed. All that is done is in the library of the same name (`crates/dualmd`)
//! and in `dualmd-reproduce`.

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
mod commands;
mod defaults;
mod environment;
mod progress;
mod session;
mod signals;

use args::{Cli, Command};
use defaults::Defaults;
use dualmd::errors;
use progress::Terminal;
use std::io::Write as _;
use std::process::ExitCode;

/// Reads the command line, does what it says, and returns the exit status.
fn main() -> ExitCode {
    if let Some(commit) = option_env!("DUALMD_BUILT_FROM") {
        dualmd::machine::built_from(commit);
    }
    let defaults = match Defaults::of_process() {
        Ok(defaults) => defaults,
        Err(error) => return ended(Err(error), |said| tell!("{said}")),
    };
    let cli = match Cli::read_with(std::env::args_os(), defaults) {
        Ok(cli) => cli,
        // Wrong arguments: clap says which, on stderr, with code 2.
        Err(refused) if refused.use_stderr() => refused.exit(),
        // --help and --version.
        Err(page) => {
            let printed = page.print().and_then(|()| std::io::stdout().flush());
            let done = output::told(printed).map(|()| ExitCode::SUCCESS);
            return ended(done, |said| tell!("{said}"));
        }
    };
    if computes(&cli.command) {
        environment::settle();
    }
    let done = dualmd_torch::caught(|| run(&cli.global, cli.command));
    let terminal = Terminal::new(&cli.global);
    ended(done.map_err(anyhow::Error::from).flatten(), |said| {
        terminal.error(said);
    })
}

/// Does it calculate with tensors? To start once more for it takes some time, which all others need not wait.
fn computes(command: &Command) -> bool {
    !matches!(
        command,
        Command::List(_)
            | Command::Jobs(_)
            | Command::New(_)
            | Command::Completions(_)
            | Command::Man(_)
            | Command::Compare(_)
            | Command::Report(_)
            | Command::Roc(_)
            | Command::Split(_)
            | Command::Verify(_)
    )
}

/// The code to leave with; a failure is told before.
fn ended(result: anyhow::Result<ExitCode>, tell: impl FnOnce(&str)) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) if error.is::<output::NobodyReads>() => ExitCode::from(output::NOBODY_READS),
        Err(error) => {
            tell(&errors::render(&error));
            ExitCode::from(errors::exit_code(&error))
        }
    }
}

fn run(global: &args::Global, command: Command) -> anyhow::Result<ExitCode> {
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
        Command::Roc(roc) => commands::report::roc(global, &roc),
        Command::Compare(compare) => commands::report::compare(global, &compare),
        Command::Report(report) => commands::report::report(global, &report),
        Command::Verify(asked) => commands::evidence::verify(&asked),
        Command::Selftest => commands::selftest::selftest(global),
        Command::Import(import) => commands::files::import(global, &import.what),
        Command::Export(export) => commands::files::export(global, &export.what),
        Command::List(list) => commands::list::list(&list),
        Command::New(new) => commands::files::new(&new),
        Command::Man(man) => commands::files::man(&man.folder),
        Command::Completions(asked) => commands::files::completions(asked.shell),
    }
}
