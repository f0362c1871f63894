//! `dualmd split`, `import`, `export`: files of others and for others.

use crate::args::{Cli, Export, Global, Import, NewArgs, SplitArgs};
use crate::progress::Terminal;
use anyhow::Result;
use clap_complete::Shell;
use dualmd::SplitOptions;
use dualmd::bail_usage;
use dualmd::files::{self, UnetFiles};
use dualmd::presets;
use dualmd_data::LoadOptions;
use dualmd_diffusion::pipeline::WeightSet;
use std::path::Path;
use std::process::ExitCode;

/// Draws a split.
pub fn split(global: &Global, args: &SplitArgs) -> Result<ExitCode> {
    let options = SplitOptions {
        seed: global.seed(),
        ..args.options.clone()
    };
    let drawn = dualmd::split(&options, &args.out, &Terminal::new(global))?;
    outln!(
        "{}: {} members and {} non-members of {} ({} exact duplicates dropped, {} groups that stay together), hash {}",
        args.out.display(),
        drawn.split.members().len(),
        drawn.split.nonmembers().len(),
        options.data,
        drawn.duplicates,
        drawn.groups,
        drawn.split.hash()
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Files of other programs.
pub fn import(global: &Global, what: &Import) -> Result<ExitCode> {
    match what {
        Import::Split { file, data, out } => {
            let reporter = Terminal::new(global);
            let (split, report) = files::import_split(file, data, out, global.seed(), &reporter)?;
            outln!(
                "{}: {} members and {} non-members; {} rows repeated, {} non-member rows that were trained on left out",
                out.display(),
                split.members().len(),
                split.nonmembers().len(),
                report.repeated,
                report.nonmembers_trained_on
            )?;
        }
        Import::Unet {
            file,
            config,
            scheduler,
            out,
        } => {
            let unet = UnetFiles {
                weights: file.clone(),
                config: config.clone(),
                scheduler: scheduler.clone(),
            };
            let parameters = files::import_unet(&unet, out)?;
            outln!("{}: {parameters} parameters", out.display())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A preset as a file.
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
pub fn completions(shell: Shell) -> Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::definition(), "dualmd", &mut text);
    out!("{}", String::from_utf8_lossy(&text))?;
    Ok(ExitCode::SUCCESS)
}

/// A man page for each command.
pub fn man(folder: &Path) -> Result<ExitCode> {
    dualmd_files::create_folder(folder)?;
    let mut program = Cli::definition();
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

/// Files for other programs.
pub fn export(global: &Global, what: &Export) -> Result<ExitCode> {
    match what {
        Export::Split { file, out } => {
            files::export_split(file, out)?;
            outln!("{}", out.display())?;
        }
        Export::Images {
            data,
            split,
            image_size,
            alpha,
            group_column,
            caption_column,
            id_column,
            out,
        } => {
            let reporter = Terminal::new(global);
            let options = LoadOptions {
                image_size: *image_size,
                alpha: (*alpha).into(),
                group_column: group_column.as_deref(),
                caption_column: caption_column.as_deref(),
                id_column: id_column.as_deref(),
                ..LoadOptions::default()
            };
            let n = files::export_images(data, split.as_deref(), &options, out, &reporter)?;
            outln!("{}: {n} images", out.display())?;
        }
        Export::Evidence { run, out, salt } => {
            let (bundle, salt) = dualmd::evidence::export(run, out, salt.as_deref())?;
            let (files, rows) = (bundle.files, bundle.rows);
            outln!("{}: {files} files, {rows} scores", out.display())?;
            outln!("salt: {} (keep it: it opens every image)", salt.display())?;
            outln!("root: {} (tell it before you give the folder)", bundle.root)?;
        }
        Export::Pair { first, second, out } => {
            files::export_pair(first, second, out)?;
            outln!("{}", out.display())?;
        }
        Export::Copy { model, out, raw } => {
            let set = if *raw { WeightSet::Raw } else { WeightSet::Ema };
            files::export_copy(model, set, out)?;
            outln!("{}", out.display())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
