//! What is to be reproduced, and from what.

use dualmd::choices::Dtype;
use std::path::PathBuf;

/// Lengths of training that are compared unless others are named: the paper's models were trained for about 4,000 epochs.
pub const EPOCHS: [u64; 6] = [50, 200, 800, 2000, 4000, 8000];

/// A table or figure, and the runs behind it.
#[derive(Debug, Clone)]
pub struct ReproduceOptions {
    /// The table or figure.
    pub what: What,
    /// How much is computed.
    pub scale: Scale,
    /// The first seed.
    pub seed: u64,
    /// Runs per image set, with that seed and those after it; at least 1.
    pub seeds: u64,
    /// Number format of trainings, if not the experiments' own.
    pub dtype: Option<Dtype>,
    /// Take the image sets too that are left out unless they are named.
    pub complete: bool,
    /// For [`What::Epochs`]: lengths of training to compare, in passes over the members.
    pub epochs: Vec<u64>,
    /// Folder of all runs and tables.
    pub out: PathBuf,
    /// Image sets to take; those of the paper's table if none is named.
    pub only: Vec<String>,
    /// Where the images of a set are that may not be shipped.
    pub data: Vec<(String, String)>,
    /// For text to image at the paper's scale: the folder of the model that a set is learnt from.
    pub base: Vec<(String, String)>,
    /// For figure 3 at the paper's scale: a file of prompts that the model is known to remember.
    pub memorised: Option<PathBuf>,
    /// For figure 3 at the paper's scale: a file of other prompts.
    pub others: Option<PathBuf>,
    /// For table 1: a CLIP folder in the layout of transformers.
    pub clip: Option<PathBuf>,
    /// The SecMI code's split of a set, instead of one drawn here.
    pub split: Vec<(String, String)>,
    /// Weights of the Inception network of FID.
    pub inception: Option<PathBuf>,
    /// Changes of keys in all runs, `train.steps=600`.
    pub set: Vec<String>,
    /// Say only what would be run, and how much it is.
    pub dry_run: bool,
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
}

impl What {
    /// Is it about text-to-image models?
    pub fn is_text(self) -> bool {
        matches!(
            self,
            Self::Table1
                | Self::Table4
                | Self::Table5
                | Self::Table7
                | Self::Table8
                | Self::Table9
                | Self::Fig3
                | Self::Fig4
                | Self::Fig6
                | Self::Fig7
        )
    }

    /// As it is typed; also the stem of the files written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Table1 => "table1",
            Self::Table2 => "table2",
            Self::Table3 => "table3",
            Self::Table4 => "table4",
            Self::Table5 => "table5",
            Self::Table7 => "table7",
            Self::Table8 => "table8",
            Self::Table9 => "table9",
            Self::Table10 => "table10",
            Self::Fig3 => "fig3",
            Self::Fig4 => "fig4",
            Self::Fig5 => "fig5",
            Self::Fig6 => "fig6",
            Self::Fig7 => "fig7",
            Self::Frontier => "frontier",
            Self::Ablation => "ablation",
            Self::Epochs => "epochs",
        }
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
