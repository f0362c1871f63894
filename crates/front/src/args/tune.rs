//! Arguments of `dualmd tune`.

use super::runs::FailArgs;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use dualmd_names::Defense;
use std::path::PathBuf;

fn count(low: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(low..=1_000_000_000)
}

/// `dualmd tune`
#[derive(Debug, Args)]
pub struct TuneArgs {
    /// Folder of a text-to-image model in the diffusers layout, which is not changed
    #[arg(value_name = "BASE")]
    pub base: PathBuf,

    /// Your images, with captions in NAME.txt beside NAME.png or in metadata.jsonl
    #[arg(long, value_name = "DATA")]
    pub images: String,

    /// The run's folder; the adapters are in DIR/models, one folder for each
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,

    /// Number of images to train on; even, because they are divided into two halves (default: three quarters)
    #[arg(long, value_name = "N", value_parser = count(2))]
    pub members: Option<usize>,

    /// Number of images to keep back for the audit, which no adapter sees (default: all others)
    #[arg(long, value_name = "N", value_parser = count(1))]
    pub nonmembers: Option<usize>,

    /// Rank of the adapters (default: 4)
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub rank: Option<u64>,

    /// Passes over the images (default: 100)
    #[arg(long, value_name = "N")]
    pub epochs: Option<f64>,

    /// A BLIP folder of yours, which writes several captions for each image, for prompt diversification
    #[arg(long, value_name = "DIR")]
    pub caption_model: Option<PathBuf>,

    /// Captions that --caption-model adds to each image
    #[arg(long, value_name = "N", default_value_t = 5, requires = "caption_model", value_parser = RangedU64ValueParser::<usize>::new().range(1..=100))]
    pub captions: usize,

    /// Column of the captions, where the set has several candidates
    #[arg(long, value_name = "COLUMN")]
    pub caption_column: Option<String>,

    /// Other defences to train for comparison: early-stopping, dp-sgd
    #[arg(long = "rival", value_name = "DEFENCE,...", value_delimiter = ',')]
    pub rivals: Vec<Defense>,

    /// Privacy budget epsilon of dp-sgd
    #[arg(long, value_name = "E", default_value_t = 8.0, requires = "rivals")]
    pub epsilon: f64,

    /// Change a key of the experiment, e.g. train.learning_rate=1e-3 (may be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Run it with this many seeds, each in a folder seed-S of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,

    /// Check whether the run can begin, estimate the time, and exit before the run, as `dualmd run --check` does
    #[arg(long)]
    pub check: bool,

    /// Name of whoever makes the run, for the report
    #[arg(long, value_name = "NAME")]
    pub auditor: Option<String>,

    /// The report.
    #[command(flatten)]
    pub fail: FailArgs,
}
