//! Arguments of `dualmd reproduce`.

use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};
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

    /// Folder of all runs and tables
    #[arg(long, value_name = "DIR", default_value = "runs/reproduce")]
    pub out: PathBuf,

    /// Image sets to take, separated by commas (default: those of the paper's table)
    #[arg(long, value_name = "DATASET,...", value_delimiter = ',')]
    pub only: Vec<String>,

    /// Where the images of a set are that may not be shipped: cifar10, cifar100, stl10, tiny-imagenet (may be repeated)
    #[arg(long, value_name = "NAME=PATH", value_parser = pair)]
    pub data: Vec<(String, String)>,

    /// The SecMI code's split of a set, instead of one drawn here (may be repeated)
    #[arg(long, value_name = "NAME=FILE.npz", value_parser = pair)]
    pub split: Vec<(String, String)>,

    /// Change a key in all runs, e.g. train.steps=600 (may be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Say what would be run, and how much it is
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

/// What can be reproduced: views of the same runs, but for the ablation, which has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// quality of the images of each defence
    Table2,
    /// SecMI and PIA on no defence and on DistillMD, and on the others
    Table3,
    /// SecMI on no defence, ordinary distillation and DistillMD
    Table10,
    /// images of each defence from the same noise
    Fig5,
    /// privacy against quality, with the undefended model at equal quality (not in the paper)
    Frontier,
    /// what the paper leaves open about DistillMD, one choice at a time (not in the paper)
    Ablation,
}

impl What {
    /// As it is typed; also the stem of the files written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Table2 => "table2",
            Self::Table3 => "table3",
            Self::Table10 => "table10",
            Self::Fig5 => "fig5",
            Self::Frontier => "frontier",
            Self::Ablation => "ablation",
        }
    }
}

/// How much is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scale {
    /// bundled images at 16 px and small networks
    Cpu,
    /// the paper's image sets, network and steps
    Paper,
}

impl Scale {
    /// As it is typed; also a folder's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Paper => "paper",
        }
    }
}
