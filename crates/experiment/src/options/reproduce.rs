//! What is to be reproduced, and from what.

use crate::choices::Dtype;
#[cfg(feature = "clap")]
use clap::builder::RangedU64ValueParser;
use std::path::PathBuf;

/// Lengths of training that are compared unless others are named: the paper's models were trained for about 4,000 epochs.
pub const EPOCHS: [u64; 6] = [50, 200, 800, 2000, 4000, 8000];

/// A table or figure, and the runs behind it.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct ReproduceOptions {
    /// The table or figure
    #[cfg_attr(feature = "clap", arg(value_enum, value_name = "WHAT"))]
    pub what: What,
    /// cpu: bundled images, hours on two cores; paper: the paper's image sets and 780,000 steps a model, for a GPU
    #[cfg_attr(feature = "clap", arg(long, value_enum, value_name = "SCALE", default_value_t = Scale::Cpu))]
    pub scale: Scale,
    /// Runs per image set, with --seed (default 0) and those after it
    #[cfg_attr(feature = "clap", arg(long, value_name = "N", default_value_t = 3, value_parser = RangedU64ValueParser::<u64>::new().range(1..=1000)))]
    pub seeds: u64,
    /// Take all image sets
    ///
    /// Some repeat others at another size (fashion-16-128) and are left out unless --only names them.
    #[cfg_attr(feature = "clap", arg(long))]
    pub complete: bool,
    /// For epochs: lengths of training to compare, in passes over the members, separated by commas
    #[cfg_attr(feature = "clap", arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = EPOCHS, value_parser = RangedU64ValueParser::<u64>::new().range(1..=1_000_000)))]
    pub epochs: Vec<u64>,
    /// Folder of all runs and tables
    #[cfg_attr(
        feature = "clap",
        arg(long, value_name = "DIR", default_value = "runs/reproduce")
    )]
    pub out: PathBuf,
    /// Image sets to take, separated by commas (default: those of the paper's table)
    #[cfg_attr(
        feature = "clap",
        arg(long, value_name = "DATASET,...", value_delimiter = ',')
    )]
    pub only: Vec<String>,
    /// Where the images of a set are that is not part of the program (may be repeated)
    ///
    /// The sets: cifar10, cifar100, stl10, tiny-imagenet; ablation-cifar10; epochs-cifar10; pokemon-sd15, pokemon-sd21,
    /// naruto-sd15, naruto-sd21.
    #[cfg_attr(feature = "clap", arg(long, value_name = "NAME=PATH", value_parser = pair))]
    pub data: Vec<(String, String)>,
    /// For text to image at --scale paper: the folder of the model that a set is learnt from (may be repeated)
    #[cfg_attr(feature = "clap", arg(long, value_name = "NAME=FOLDER", value_parser = pair))]
    pub base: Vec<(String, String)>,
    /// For fig3 at --scale paper: a file of prompts that the model of --base is known to remember, one a line (the paper: 500)
    #[cfg_attr(feature = "clap", arg(long, value_name = "FILE", requires = "others"))]
    pub memorised: Option<PathBuf>,
    /// For fig3 at --scale paper: a file of other prompts (the paper: 500)
    #[cfg_attr(
        feature = "clap",
        arg(long, value_name = "FILE", requires = "memorised")
    )]
    pub others: Option<PathBuf>,
    /// For table1: a CLIP folder in the layout of transformers, for CLIP scores
    #[cfg_attr(feature = "clap", arg(long, value_name = "FOLDER"))]
    pub clip: Option<PathBuf>,
    /// The SecMI code's split of a set, instead of one drawn here (may be repeated)
    #[cfg_attr(feature = "clap", arg(long, value_name = "NAME=FILE.npz", value_parser = pair))]
    pub split: Vec<(String, String)>,
    /// Weights of FID's Inception network, for FID and IS as the paper has them
    ///
    /// The file is pt_inception-2015-12-05 as safetensors; docs/metrics.md says where it comes from and how it is converted.
    /// Without it images are compared by EfficientNet-Lite0, which is no FID.
    #[cfg_attr(feature = "clap", arg(long, value_name = "FILE"))]
    pub inception: Option<PathBuf>,
    /// For defenses: the defences whose runs are made, separated by commas (default: all); the table has all that are there
    ///
    /// A row is named as in the study (early-stopping, dp-sgd-weak), by its defence (distillmd), or with those that share its trainings
    /// (ordinary, teachers, shards, lengths).
    #[cfg_attr(
        feature = "clap",
        arg(long, value_name = "ROW,...", value_delimiter = ',')
    )]
    pub rows: Vec<String>,
    /// For defenses: finished runs of other experiments that belong into the table; without --rows nothing is trained. For by-loss: the
    /// runs that are drawn
    ///
    /// A run's folder, or that of several seeds; a report.json, findings.csv or extraction.json. For by-loss KIND=RUN says of which images
    /// a run is, which a findings.csv does not, and of a folder without a run all findings*.csv are taken.
    #[cfg_attr(feature = "clap", arg(long, value_name = "RUN", num_args = 1..))]
    pub from: Vec<PathBuf>,
    /// For defenses: train nothing, and draw the table of what is there
    #[cfg_attr(feature = "clap", arg(long, conflicts_with = "rows"))]
    pub collect: bool,
    /// Change a key in all runs, e.g. train.steps=600 (may be repeated)
    #[cfg_attr(feature = "clap", arg(long, value_name = "KEY=VALUE"))]
    pub set: Vec<String>,
    /// Say what would be run and how long it would take; check the images
    #[cfg_attr(feature = "clap", arg(long))]
    pub dry_run: bool,
    /// The first seed.
    #[cfg_attr(feature = "clap", arg(skip))]
    pub seed: u64,
    /// Number format of trainings, if not the experiments' own.
    #[cfg_attr(feature = "clap", arg(skip))]
    pub dtype: Option<Dtype>,
}

#[cfg(feature = "clap")]
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok((name.to_owned(), path.to_owned()))
        }
        _ => Err("write it as NAME=PATH, e.g. cifar10=cifar-10-batches-bin".into()),
    }
}

/// What can be reproduced: views of the unconditional runs, of the text-to-image runs, or of the ablation's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum What {
    /// text to image: how like its training images each model draws, and what Wen's remedy does
    Table1,
    /// quality of the images of each defence
    Table2,
    /// SecMI and PIA on no defence and on DistillMD, and on the others
    Table3,
    /// text to image: SecMI and PIA on no defence and on DistillMD, without prompt diversification
    Table4,
    /// text to image: black-box attacks on every defence, without and with prompt diversification
    Table5,
    /// text to image: quality of the images of each defence (also the right of the paper's table 2)
    Table7,
    /// text to image: SecMI and PIA, without and with prompt diversification
    Table8,
    /// text to image: the adaptive attack on DualMD, round by round
    Table9,
    /// SecMI on no defence, ordinary distillation and DistillMD
    Table10,
    /// text to image: the t-error of prompts of members and of others
    Fig3,
    /// images of each defence from the same noise
    Fig5,
    /// text to image: ROC curves of the black-box attack
    Fig4,
    /// text to image: images for the same prompts, without prompt diversification
    Fig6,
    /// text to image: the same with prompt diversification
    Fig7,
    /// privacy against quality, with the undefended model at equal quality (not in the paper)
    Frontier,
    /// what the paper leaves open about DistillMD, one choice at a time (not in the paper)
    Ablation,
    /// how far each attack gets, and what the images are worth, by length of training (not in the paper)
    Epochs,
    /// every defence against every kind of attacker, with quality and cost (not in the paper)
    Defenses,
    /// SecMI, PIA, PIAN and SimA against how much a model memorised, from finished runs of any images (not in the paper)
    ByLoss,
}

impl What {
    /// As it is typed, and whether it is about text-to-image models.
    const fn facts(self) -> (&'static str, bool) {
        match self {
            Self::Table1 => ("table1", true),
            Self::Table2 => ("table2", false),
            Self::Table3 => ("table3", false),
            Self::Table4 => ("table4", true),
            Self::Table5 => ("table5", true),
            Self::Table7 => ("table7", true),
            Self::Table8 => ("table8", true),
            Self::Table9 => ("table9", true),
            Self::Table10 => ("table10", false),
            Self::Fig3 => ("fig3", true),
            Self::Fig4 => ("fig4", true),
            Self::Fig5 => ("fig5", false),
            Self::Fig6 => ("fig6", true),
            Self::Fig7 => ("fig7", true),
            Self::Frontier => ("frontier", false),
            Self::Ablation => ("ablation", false),
            Self::Epochs => ("epochs", false),
            Self::Defenses => ("defenses", false),
            Self::ByLoss => ("by-loss", false),
        }
    }

    /// Is it about text-to-image models?
    pub fn is_text(self) -> bool {
        self.facts().1
    }

    /// As it is typed; also the stem of the files written.
    pub fn as_str(self) -> &'static str {
        self.facts().0
    }
}

/// How much is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
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
