//! `dualmd split`, `import`, `export`: files of others and for others.

use anyhow::Result;
use dualmd::SplitOptions;
use dualmd::files::{self, UnetFiles};
use dualmd::reporter::meanwhile;
use dualmd_data::LoadOptions;
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_front::args::{Export, Global, Import, SplitArgs};
use dualmd_front::outln;
use dualmd_front::progress::Terminal;
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
            let (split, report) = meanwhile(&reporter, "", "reading images", || {
                files::import_split(file, data, out, global.seed(), &reporter)
            })?;
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
            autoencoder,
            out,
        } => {
            let unet = UnetFiles {
                weights: file.clone(),
                config: config.clone(),
                scheduler: scheduler.clone(),
                autoencoder: autoencoder.clone(),
            };
            let parameters = files::import_unet(&unet, out)?;
            outln!("{}: {parameters} parameters", out.display())?;
        }
    }
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
            let n = meanwhile(&reporter, "", "writing images", || {
                files::export_images(data, split.as_deref(), &options, out, &reporter)
            })?;
            outln!("{}: {n} images", out.display())?;
        }
        Export::Evidence { run, out, salt } => {
            let reporter = Terminal::new(global);
            let (bundle, salt) = meanwhile(&reporter, "", "evidence", || {
                dualmd::evidence::export(run, out, salt.as_deref())
            })?;
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
