//! Arguments of `dualmd caption`.

use super::fraction;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use std::path::PathBuf;

fn share(text: &str) -> Result<f64, String> {
    fraction(text, "probability", "0.9")
}

/// `dualmd caption`
#[derive(Debug, Args)]
pub struct CaptionArgs {
    /// Images: a folder, parquet, tar, npz..., or `fashion`, `emoji`
    #[arg(value_name = "DATA")]
    pub data: String,

    /// A BLIP folder of your own, as transformers writes it (BlipForConditionalGeneration)
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,

    /// Captions for each image
    #[arg(short = 'n', long = "number", value_name = "N", default_value_t = 5, value_parser = RangedU64ValueParser::<usize>::new().range(1..=100))]
    pub n: usize,

    /// Take the most likely word each time instead of sampling; needs -n 1
    #[arg(long)]
    pub greedy: bool,

    /// Sample each word from the most likely ones that together have this probability (nucleus sampling)
    #[arg(
        long,
        value_name = "P",
        default_value_t = 0.9,
        value_parser = share,
        conflicts_with = "greedy"
    )]
    pub top_p: f64,

    /// Beginning of every caption, e.g. "a drawing of"
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,

    /// Side in pixels that images are scaled to first (default: the model's own)
    #[arg(long, value_name = "SIDE")]
    pub image_size: Option<u32>,

    /// Column of the captions that are there already, where the set has several candidates
    #[arg(long, value_name = "COLUMN")]
    pub caption_column: Option<String>,

    /// Captions at a time
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub batch: usize,

    /// File to write the captions to, one line for each image
    #[arg(short, long, value_name = "CAPTIONS.jsonl")]
    pub out: PathBuf,
}
