//! `dualmd new`, `completions` and `man`: what the program has in itself, as files.

use crate::args::{Cli, NewArgs};
use anyhow::Result;
use clap_complete::Shell;
use dualmd_experiment::{bail_usage, presets};
use std::path::Path;
use std::process::ExitCode;

/// A preset as a file.
///
/// # Errors
/// No such preset; a file that is there, or cannot be written.
pub fn new(args: &NewArgs) -> Result<ExitCode> {
    let preset = presets::find(&args.preset)?;
    let file = &args.file;
    if file.symlink_metadata().is_ok() {
        bail_usage!(
            "{}: there is such a file already: choose another name",
            file.display()
        );
    }
    dualmd_files::write(file, preset.text.as_bytes())?;
    outln!("{}: dualmd run {0}", file.display())?;
    Ok(ExitCode::SUCCESS)
}

/// Completions on standard output.
///
/// # Errors
/// They cannot be written.
pub fn completions(shell: Shell, version: &'static str) -> Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::definition(version), "dualmd", &mut text);
    out!("{}", String::from_utf8_lossy(&text))?;
    Ok(ExitCode::SUCCESS)
}

/// A man page for each command.
///
/// # Errors
/// They cannot be written.
pub fn man(folder: &Path, version: &'static str) -> Result<ExitCode> {
    dualmd_files::create_folder(folder)?;
    let mut program = Cli::definition(version);
    program.build();
    let mut pages = vec![program.clone().name("dualmd")];
    while let Some(command) = pages.pop() {
        let name = command
            .get_display_name()
            .unwrap_or_else(|| command.get_name());
        let path = folder.join(format!("{name}.1"));
        let mut text = Vec::new();
        clap_mangen::Man::new(command.clone()).render(&mut text)?;
        dualmd_files::write(&path, &text)?;
        let own = command.get_subcommands().filter(|c| c.get_name() != "help");
        pages.extend(own.cloned());
    }
    outln!("{}", folder.display())?;
    Ok(ExitCode::SUCCESS)
}
