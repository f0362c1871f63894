//! Arguments of `dualmd reproduce`.

use super::Global;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use dualmd_reproduce::options::EPOCHS;
use dualmd_reproduce::{ReproduceOptions, Scale, What};
use std::path::PathBuf;

/// `dualmd reproduce`
#[derive(Debug, Args)]
pub struct ReproduceArgs {
    /// The table or figure
    #[arg(value_enum, value_name = "WHAT")]
    pub what: What,

    /// cpu: bundled images, hours on two cores; paper: the paper's image sets and 780,000 steps a model, for a GPU
    #[arg(long, value_enum, value_name = "SCALE", default_value_t = Scale::Cpu)]
    pub scale: Scale,

    /// Runs per image set, with --seed (default 0) and those after it
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = RangedU64ValueParser::<u64>::new().range(1..=1000))]
    pub seeds: u64,

    /// Take all image sets
    ///
    /// Some repeat others at another size (fashion-16-128) and are left out unless --only names them.
    #[arg(long)]
    pub complete: bool,

    /// For epochs: lengths of training to compare, in passes over the members, separated by commas
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = EPOCHS, value_parser = RangedU64ValueParser::<u64>::new().range(1..=1_000_000))]
    pub epochs: Vec<u64>,

    /// Folder of all runs and tables
    #[arg(long, value_name = "DIR", default_value = "runs/reproduce")]
    pub out: PathBuf,

    /// Image sets to take, separated by commas (default: those of the paper's table)
    #[arg(long, value_name = "DATASET,...", value_delimiter = ',')]
    pub only: Vec<String>,

    /// Where the images of a set are that is not part of the program (may be repeated)
    ///
    /// The sets: cifar10, cifar100, stl10, tiny-imagenet; ablation-cifar10; epochs-cifar10; pokemon-sd15, pokemon-sd21,
    /// naruto-sd15, naruto-sd21.
    #[arg(long, value_name = "NAME=PATH", value_parser = pair)]
    pub data: Vec<(String, String)>,

    /// For text to image at --scale paper: the folder of the model that a set is learnt from (may be repeated)
    #[arg(long, value_name = "NAME=FOLDER", value_parser = pair)]
    pub base: Vec<(String, String)>,

    /// For fig3 at --scale paper: a file of prompts that the model of --base is known to remember, one a line (the paper: 500)
    #[arg(long, value_name = "FILE", requires = "others")]
    pub memorised: Option<PathBuf>,

    /// For fig3 at --scale paper: a file of other prompts (the paper: 500)
    #[arg(long, value_name = "FILE", requires = "memorised")]
    pub others: Option<PathBuf>,

    /// For table1: a CLIP folder in the layout of transformers, for CLIP scores
    #[arg(long, value_name = "FOLDER")]
    pub clip: Option<PathBuf>,

    /// The SecMI code's split of a set, instead of one drawn here (may be repeated)
    #[arg(long, value_name = "NAME=FILE.npz", value_parser = pair)]
    pub split: Vec<(String, String)>,

    /// Weights of FID's Inception network, for FID and IS as the paper has them
    ///
    /// The file is pt_inception-2015-12-05 as safetensors; docs/metrics.md says where it comes from and how it is converted.
    /// Without it images are compared by EfficientNet-Lite0, which is no FID.
    #[arg(long, value_name = "FILE")]
    pub inception: Option<PathBuf>,

    /// Change a key in all runs, e.g. train.steps=600 (may be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Say what would be run and how long it would take; check the images
    #[arg(long)]
    pub dry_run: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok((name.to_owned(), path.to_owned()))
        }
        _ => Err("write it as NAME=PATH, e.g. cifar10=cifar-10-batches-bin".into()),
    }
}

impl ReproduceArgs {
    /// With the common flags.
    pub fn options(&self, global: &Global) -> ReproduceOptions {
        ReproduceOptions {
            what: self.what,
            scale: self.scale,
            seed: global.seed(),
            seeds: self.seeds,
            dtype: global.dtype,
            complete: self.complete,
            epochs: self.epochs.clone(),
            out: self.out.clone(),
            only: self.only.clone(),
            data: self.data.clone(),
            base: self.base.clone(),
            memorised: self.memorised.clone(),
            others: self.others.clone(),
            clip: self.clip.clone(),
            split: self.split.clone(),
            inception: self.inception.clone(),
            set: self.set.clone(),
            dry_run: self.dry_run,
        }
    }
}
