//! `dualmd split`, `import`, `export`: files of others and for others.

use crate::args::{Export, Global, Import, SplitArgs};
use crate::stages::pictures;
use crate::stages::prepare::{draw, group};
use anyhow::{Context, Result, bail};
use dualmd_audit::cells::cell;
use dualmd_data::{Groups, LoadOptions, Split, dedupe, import_secmi_npz, save_folder};
use dualmd_diffusion::latent::export::export_pair;
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::schedule::SchedulerConfig;
use dualmd_diffusion::{Model, NoiseSchedule, Pipeline, UNet2d, UNet2dConfig, read_json};
use dualmd_files::Building;
use dualmd_torch::{Device, weights};
use std::path::Path;
use std::process::ExitCode;

/// Draws a split.
pub fn split(global: &Global, args: &SplitArgs) -> Result<ExitCode> {
    let options = LoadOptions {
        alpha: args.alpha.into(),
        ..LoadOptions::default()
    };
    let mut set = pictures::load(&args.data, &options)?;
    let duplicates = dedupe(&mut set);
    let groups = group(&set, args.near_duplicates);
    let split = draw(
        &set,
        &groups,
        args.near_duplicates,
        args.method,
        args.members,
        args.nonmembers,
        global.seed.unwrap_or(0),
    )?;
    split.save(&args.out)?;
    outln!(
        "{}: {} members and {} non-members of {} ({} exact duplicates dropped, {} groups of near-duplicates), hash {}",
        args.out.display(),
        split.members().len(),
        split.nonmembers().len(),
        args.data,
        duplicates.dropped.len(),
        groups.shared(),
        split.hash()
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Files of other programs.
pub fn import(global: &Global, what: &Import) -> Result<ExitCode> {
    match what {
        Import::Split { file, data, out } => {
            let set = pictures::load(data, &LoadOptions::default())?;
            let (split, report) =
                import_secmi_npz(file, &set, &Groups::given(&set), global.seed.unwrap_or(0))?;
            split.save(out)?;
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
            let config = UNet2dConfig::read(&read_json(config)?)
                .with_context(|| format!("{} is no UNet2DModel config", config.display()))?;
            let schedule = match scheduler {
                None => NoiseSchedule::default(),
                Some(path) => SchedulerConfig::read(&read_json(path)?, None)
                    .and_then(NoiseSchedule::new)
                    .with_context(|| format!("{}", path.display()))?,
            };
            let unet = UNet2d::from_weights(&config, weights::read_safetensors(file)?, Device::Cpu)
                .with_context(|| format!("{} does not fit the config", file.display()))?;
            save(out, &unet, &schedule, None)?;
            outln!(
                "{}: {} parameters",
                out.display(),
                unet.parameters().count()
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Files for other programs.
pub fn export(what: &Export) -> Result<ExitCode> {
    match what {
        Export::Split { file, out } => {
            let split = Split::load(file)?;
            let mut text = csv::Writer::from_writer(Vec::new());
            text.write_record(["sample_id", "group", "side", "half"])?;
            for m in split.members() {
                let half = u8::from(m.half).to_string();
                text.write_record([
                    &*cell(m.id.as_str()),
                    &*cell(m.group.as_deref().unwrap_or("")),
                    "member",
                    &half,
                ])?;
            }
            for n in split.nonmembers() {
                text.write_record([
                    &*cell(n.id.as_str()),
                    &*cell(n.group.as_deref().unwrap_or("")),
                    "nonmember",
                    "",
                ])?;
            }
            dualmd_files::write(out, &text.into_inner()?)?;
            outln!("{}", out.display())?;
        }
        Export::Images {
            data,
            split,
            image_size,
            alpha,
            out,
        } => {
            let split = split.as_deref().map(Split::load).transpose()?;
            let options = LoadOptions {
                image_size: *image_size,
                alpha: (*alpha).into(),
                split: split.as_ref(),
                ..LoadOptions::default()
            };
            let set = pictures::load(data, &options)?;
            save_folder(&set, out)?;
            outln!("{}: {} images", out.display(), set.len())?;
        }
        Export::Pair { first, second, out } => {
            export_pair(first, second, out)?;
            outln!("{}", out.display())?;
        }
        Export::Copy { model, out, raw } => {
            let set = if *raw { WeightSet::Raw } else { WeightSet::Ema };
            match Model::load(model, set, Device::Cpu)? {
                Model::Unconditional(p) => save(out, &p.unet, &p.schedule, None)?,
                Model::TextToImage(t) => whole(out, |out| Ok(t.save(out, None, None)?))?,
                Model::Foreign(_) => bail!("a model that is asked elsewhere has no folder"),
            }
            outln!("{}", out.display())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn save(out: &Path, unet: &UNet2d, schedule: &NoiseSchedule, raw: Option<&UNet2d>) -> Result<()> {
    let named = |u: &UNet2d| {
        u.parameters()
            .named()
            .map(|(n, t)| (n.to_owned(), t.shallow_clone()))
            .collect::<Vec<_>>()
    };
    let raw = raw.map(named);
    whole(out, |out| {
        let (config, raw) = (unet.config(), raw.as_deref());
        Ok(Pipeline::save(out, config, schedule, &named(unet), raw)?)
    })
}

/// Fills a model folder: a new one is whole, or not there; one that is there has no index while it is written over.
fn whole(out: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if out.exists() {
        return fill(out);
    }
    let building = Building::new(out)?;
    fill(building.path())?;
    Ok(building.finish()?)
}
