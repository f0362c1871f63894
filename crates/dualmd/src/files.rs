//! Files of other programs and for them: splits, image folders, models.

use crate::bail_usage;
use crate::choices::SplitMethod;
use crate::reporter::{Reporter, meanwhile};
use crate::stages::pictures;
use crate::stages::prepare::{draw, group};
use anyhow::{Context, Result, bail};
use dualmd_audit::cells::cell;
use dualmd_data::{
    Groups, ImportReport, Listing, LoadOptions, Split, import_secmi_npz, save_folder,
};
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::schedule::SchedulerConfig;
use dualmd_diffusion::{
    Autoencoder, Backbone, BackboneConfig, Beside, Model, NoiseSchedule, Pipeline, read_json,
    read_network,
};
use dualmd_files::{Building, shown};
use dualmd_torch::{Device, weights};
use std::path::{Path, PathBuf};

pub use crate::options::SplitOptions;
pub use dualmd_diffusion::latent::export::export_pair;

/// A split that was drawn.
#[derive(Debug)]
pub struct DrawnSplit {
    /// Members, their halves, non-members.
    pub split: Split,
    /// Exact duplicates that were dropped.
    pub duplicates: usize,
    /// Groups of near-duplicates.
    pub groups: usize,
}

/// Draws a split and writes it to `out`.
///
/// # Errors
/// An odd number of members, unless coins are tossed; images that cannot be read; fewer than are asked for; another split, or another file,
/// at `out`.
pub fn split(options: &SplitOptions, out: &Path, reporter: &dyn Reporter) -> Result<DrawnSplit> {
    if options.method == SplitMethod::Half && !options.members.is_multiple_of(2) {
        bail_usage!(
            "--members {}: an even number is needed, because D1 and D2 are halves of the members",
            options.members
        );
    }
    let load = LoadOptions {
        alpha: options.alpha.into(),
        group_column: options.group_column.as_deref(),
        id_column: options.id_column.as_deref(),
        ..LoadOptions::default()
    };
    if let Some(folder) = options.copy_to.as_deref().filter(|f| f.exists()) {
        bail_usage!(
            "{} is there already: --copy-to makes a new folder",
            shown(folder)
        );
    }
    if let Some(folder) = options.copy_to.as_deref()
        && let Ok(absolute) = std::path::absolute(folder)
        // The folders above it that are not there yet will be made.
        && let (Some(above), Ok(data)) = (
            absolute.ancestors().find_map(|p| p.canonicalize().ok()),
            Path::new(&options.data).canonicalize(),
        )
        && above.starts_with(&data)
    {
        bail_usage!(
            "{} would lie in {}, which would then hold every image twice: choose another folder (--copy-to)",
            shown(folder),
            shown(&data)
        );
    }
    // The pixels wait beside the split, in a file that goes with this process.
    let mut listing = meanwhile(reporter, "", "reading images", || {
        listed(options, &load, dualmd_files::parent(out), reporter)
    })?;
    let duplicates = listing.dedupe()?.dropped.len();
    let groups = meanwhile(reporter, "", "near-duplicates", || {
        group(&listing, options.near_duplicates)
    })?;
    if let Some(note) = groups.note() {
        reporter.warn(&format!("warning: {}: {note}", shown(&options.data)));
    }
    let split = draw(
        listing.set(),
        &groups,
        options.method,
        options.members,
        options.nonmembers,
        options.seed,
        &|pool| group(&listing.part(pool)?, options.near_duplicates),
    )?;
    refuse_other(out, &split)?;
    // Before the split: what fails leaves neither.
    if let Some(folder) = &options.copy_to {
        copy(&listing, &split, folder)?;
    }
    split.save(out)?;
    Ok(DrawnSplit {
        split,
        duplicates,
        groups: groups.shared(),
    })
}

/// Side in pixels of the squares that images of several sizes are compared as.
const COMPARED: u32 = 64;

/// The images of a split. Those of several sizes are brought to one to be compared with each other: their content ids, which the split
/// holds, are those of the images as they are.
fn listed(
    options: &SplitOptions,
    load: &LoadOptions<'_>,
    folder: &Path,
    reporter: &dyn Reporter,
) -> Result<Listing> {
    let data = &options.data;
    let refused = match pictures::list(data, load, folder, reporter) {
        Err(refused @ dualmd_data::Error::Sizes { .. }) => refused,
        listing => return Ok(listing?),
    };
    if options.copy_to.is_some() {
        return Err(anyhow::Error::new(refused).context(
            "--copy-to writes images of one size: leave it out, and write each side with `dualmd export images`",
        ));
    }
    reporter.say(&format!(
        "note: {}: images of several sizes: duplicates are looked for among their middles at {COMPARED} x {COMPARED} pixels; the split \
         names the images as they are",
        shown(data)
    ));
    let compared = LoadOptions {
        image_size: Some(COMPARED),
        ..load.clone()
    };
    Ok(pictures::list(data, &compared, folder, reporter)?)
}

/// A split file may be the only record of who was trained on: it is written over by the same split alone.
fn refuse_other(out: &Path, split: &Split) -> Result<()> {
    dualmd_files::check_target(out)?;
    if !out.exists() {
        return Ok(());
    }
    match Split::load(out) {
        Ok(before) if before.hash() == split.hash() => Ok(()),
        Ok(before) => bail_usage!(
            "{} is there already and holds another split ({} members of {}, seed {}, hash {}; this one has {}), which may be the only record of \
             who was trained on: choose another file (-o), or delete that one",
            shown(out),
            before.members().len(),
            shown(before.source()),
            before.seed(),
            before.hash(),
            split.hash()
        ),
        Err(_) => bail_usage!(
            "{} is there already and is not a split that can be read: choose another file (-o), or delete that one",
            shown(out)
        ),
    }
}

/// Writes the two sides of a split into a new folder.
fn copy(listing: &Listing, split: &Split, folder: &Path) -> Result<()> {
    let chosen = split.select(listing.set())?;
    let building = Building::new(folder)?;
    for (side, name) in [
        (&chosen.members, "members"),
        (&chosen.nonmembers, "nonmembers"),
    ] {
        listing
            .part(side)?
            .save_folder(&building.path().join(name))?;
    }
    Ok(building.finish()?)
}

/// Brings in a split of the SecMI and PIA code, whose numbers count the images of `data`, and writes it to `out`.
///
/// # Errors
/// Files that cannot be read; numbers that the set does not have; another split, or another file, at `out`.
pub fn import_split(
    file: &Path,
    data: &str,
    out: &Path,
    seed: u64,
    reporter: &dyn Reporter,
) -> Result<(Split, ImportReport)> {
    let set = pictures::load(data, &LoadOptions::default(), reporter)?;
    let (split, report) = import_secmi_npz(file, &set, &Groups::given(&set), seed)?;
    refuse_other(out, &split)?;
    split.save(out)?;
    Ok((split, report))
}

/// A network whose weights and configuration are in files of diffusers' form.
#[derive(Debug, Clone)]
pub struct UnetFiles {
    /// The weights, safetensors; or the network's folder, as `save_pretrained` of its class writes it.
    pub weights: PathBuf,
    /// The network's `config.json`; the one beside the weights if not given.
    pub config: Option<PathBuf>,
    /// The `scheduler_config.json` it was trained with; DDPM's linear schedule if not given.
    pub scheduler: Option<PathBuf>,
    /// The folder of the autoencoder whose latents it sees, or a pipeline's that has it; of a network of pixels none.
    pub autoencoder: Option<PathBuf>,
}

impl UnetFiles {
    /// The network's configuration: the one that is named, or `config.json` in the folder of the weights.
    fn config(&self) -> PathBuf {
        match &self.config {
            Some(path) => path.clone(),
            None if self.weights.is_dir() => self.weights.join("config.json"),
            None => self.weights.with_file_name("config.json"),
        }
    }
}

/// Makes a pipeline folder of weights and a configuration; returns the number of parameters.
///
/// # Errors
/// Files that cannot be read, or do not fit each other.
pub fn import_unet(files: &UnetFiles, out: &Path) -> Result<usize> {
    let path = files.config();
    let config = BackboneConfig::read(&read_json(&path)?).with_context(|| {
        format!(
            "{} is no config of a UNet2DModel or a DiTTransformer2DModel",
            path.display()
        )
    })?;
    let autoencoder = match &files.autoencoder {
        None => None,
        Some(folder) => {
            let part = Autoencoder::folder(folder)?;
            let autoencoder = Autoencoder::load(&part, Device::Cpu)?;
            let fits = autoencoder.check(&config);
            fits.with_context(|| format!("{} does not fit the config", part.display()))?;
            Some(autoencoder)
        }
    };
    let schedule = match &files.scheduler {
        None if autoencoder.is_some() => NoiseSchedule::new(SchedulerConfig::of_latents())?,
        None => NoiseSchedule::default(),
        Some(path) => SchedulerConfig::read(&read_json(path)?, None)
            .and_then(NoiseSchedule::new)
            .with_context(|| format!("{}", path.display()))?,
    };
    let tensors = match files.weights.is_dir() {
        true => read_network(&files.weights)?,
        false => weights::read_safetensors(&files.weights)?,
    };
    let network = Backbone::from_weights(&config, tensors, Device::Cpu)
        .with_context(|| format!("{} does not fit the config", files.weights.display()))?;
    let beside = Beside {
        labels: None,
        autoencoder: autoencoder.as_ref(),
    };
    save(out, &network, &schedule, beside)?;
    Ok(network.parameters().count())
}

/// Writes a split as CSV: `sample_id,group,side,half,name`.
///
/// # Errors
/// A file that is no split, or cannot be written.
pub fn export_split(file: &Path, out: &Path) -> Result<()> {
    let split = Split::load(file)?;
    let mut text = csv::Writer::from_writer(Vec::new());
    text.write_record(["sample_id", "group", "side", "half", "name"])?;
    for m in split.members() {
        let half = u8::from(m.half).to_string();
        text.write_record([
            &*cell(m.id.as_str()),
            &*cell(m.group.as_deref().unwrap_or("")),
            "member",
            &half,
            &*cell(m.name.as_deref().unwrap_or("")),
        ])?;
    }
    for n in split.nonmembers() {
        text.write_record([
            &*cell(n.id.as_str()),
            &*cell(n.group.as_deref().unwrap_or("")),
            "nonmember",
            "",
            &*cell(n.name.as_deref().unwrap_or("")),
        ])?;
    }
    Ok(dualmd_files::write(out, &text.into_inner()?)?)
}

/// Writes the images of a set, or of one side of a split, as PNG files with `metadata.jsonl` into a new folder; returns their
/// number.
///
/// # Errors
/// Images that cannot be read; a folder that is there.
pub fn export_images(
    data: &str,
    split: Option<&Path>,
    options: &LoadOptions<'_>,
    out: &Path,
    reporter: &dyn Reporter,
) -> Result<usize> {
    let split = split.map(Split::load).transpose()?;
    let options = LoadOptions {
        split: split.as_ref(),
        ..options.clone()
    };
    let set = pictures::load(data, &options, reporter)?;
    save_folder(&set, out)?;
    Ok(set.len())
}

/// Writes a model's folder as Python's diffusers loads it, without what only this program needs; `set`: which of its weights.
///
/// # Errors
/// A folder that is no model.
pub fn export_copy(model: &Path, set: WeightSet, out: &Path) -> Result<()> {
    match Model::load(model, set, Device::Cpu)? {
        Model::Unconditional(p) => save(out, &p.network, &p.schedule, p.beside()),
        Model::TextToImage(t) => whole(out, |out| Ok(t.save(out, None, None)?)),
        Model::Foreign(_) => bail!("a model that is asked elsewhere has no folder"),
    }
}

fn save(
    out: &Path,
    network: &Backbone,
    schedule: &NoiseSchedule,
    beside: Beside<'_>,
) -> Result<()> {
    let named: Vec<_> = network
        .parameters()
        .named()
        .map(|(n, t)| (n.to_owned(), t.shallow_clone()))
        .collect();
    whole(out, |out| {
        Ok(Pipeline::save(
            out,
            network.config(),
            schedule,
            beside,
            &named,
            None,
        )?)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choices::{Alpha, NearDuplicates};
    use crate::reporter::Silent;
    use dualmd_data::{Picture, load, save_png};

    #[test]
    fn images_of_several_sizes_are_split_by_their_own_ids() {
        let dir = tempfile::tempdir().unwrap();
        let photos = dir.path().join("photos");
        std::fs::create_dir(&photos).unwrap();
        for i in 0..8_u8 {
            let picture = Picture::filled(8 + u32::from(i), 12, 3, i * 30);
            save_png(&photos.join(format!("{i}.png")), &picture).unwrap();
        }
        let mut options = SplitOptions {
            data: photos.to_str().unwrap().to_owned(),
            members: 4,
            nonmembers: Some(4),
            method: SplitMethod::Half,
            near_duplicates: NearDuplicates::Group,
            alpha: Alpha::White,
            group_column: None,
            id_column: None,
            copy_to: None,
            seed: 1,
        };
        let out = dir.path().join("split.json");
        options.members = 3;
        let odd = split(&options, &out, &Silent).unwrap_err().to_string();
        assert!(
            odd.starts_with("--members 3: an even number is needed"),
            "{odd}"
        );
        options.members = 4;
        let drawn = split(&options, &out, &Silent).unwrap();
        assert_eq!(drawn.duplicates, 0);
        // Whoever reads the images at the size of a model finds the same ones.
        let sized = LoadOptions {
            image_size: Some(16),
            ..LoadOptions::default()
        };
        let set = load(&options.data, &sized).unwrap();
        let found = drawn.split.select(&set).unwrap();
        assert_eq!((found.members.len(), found.nonmembers.len()), (4, 4));
        let first = Picture::filled(8, 12, 3, 0).id();
        assert!(drawn.split.side(first.as_str()).is_some());
        // A folder that training scripts read has images of one size.
        options.copy_to = Some(dir.path().join("copies"));
        let refused = split(&options, &out, &Silent).unwrap_err();
        let said = format!("{refused:#}");
        assert!(
            said.starts_with("--copy-to writes images of one size") && said.contains("8x12"),
            "{said}"
        );
        assert!(!dir.path().join("copies").exists());
    }
}
