//! Arguments of `dualmd memorisation`, and those of Wen's remedy, which `dualmd sample` has too.

use clap::Args;
use clap::builder::RangedU64ValueParser;
use dualmd_experiment::choices::{Features, Mitigate, Order, Weights};
use std::path::PathBuf;

/// The remedy.
#[derive(Debug, Args)]
pub struct MitigateArgs {
    /// Change a prompt's embedding before generation, so that it no longer recalls a memorised image
    #[arg(long, value_enum, value_name = "HOW")]
    pub mitigate: Option<Mitigate>,

    /// Stop when the norm is at most this; 3 is for latents of Stable Diffusion
    ///
    /// The norm is over the noise of four images; of fewer it is taken in proportion to the root of their number.
    #[arg(
        long,
        value_name = "NORM",
        default_value_t = 3.0,
        requires = "mitigate"
    )]
    pub mitigate_target: f64,

    /// The largest number of updates
    #[arg(long, value_name = "N", default_value_t = 10, requires = "mitigate", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub mitigate_steps: usize,
}

/// `dualmd memorisation`
#[derive(Debug, Args)]
pub struct MemorisationArgs {
    /// Folder of a text-to-image model in the diffusers layout
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,

    /// A second one: the two take turns (DualMD)
    #[arg(value_name = "MODEL2")]
    pub model2: Option<PathBuf>,

    /// Images it was trained on, whose first captions are the prompts
    #[arg(
        long,
        value_name = "DATA",
        required_unless_present = "memorised",
        conflicts_with_all = ["memorised", "others"]
    )]
    pub members: Option<String>,

    /// Images it never saw: their captions are prompts too, for comparison
    #[arg(long, value_name = "DATA", requires = "members")]
    pub nonmembers: Option<String>,

    /// A file of prompts that are known to be memorised, one a line
    #[arg(long, value_name = "FILE")]
    pub memorised: Option<PathBuf>,

    /// A file of prompts that are not
    #[arg(long, value_name = "FILE", requires = "memorised")]
    pub others: Option<PathBuf>,

    /// Split file that DATA#member and DATA#nonmember refer to
    #[arg(long, value_name = "split.json")]
    pub split: Option<PathBuf>,

    /// Column of the captions, where a set has several that may be
    #[arg(long, value_name = "COLUMN")]
    pub caption_column: Option<String>,

    /// Images to generate for each prompt
    #[arg(short = 'n', long = "number", value_name = "N", default_value_t = 4, value_parser = RangedU64ValueParser::<usize>::new().range(1..=64))]
    pub n: usize,

    /// DDIM steps of each
    #[arg(long, value_name = "K", default_value_t = 50, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub steps: usize,

    /// Guidance scale of generated images (classifier-free guidance); the t-error is measured at 1
    #[arg(long, value_name = "SCALE", default_value_t = 7.5)]
    pub guidance: f64,

    /// Timestep of SecMI's step up and back; the error is measured ten before (default: 150 for latents, 100 for pixels)
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(i64).range(20..=990))]
    pub t_sec: Option<i64>,

    /// Which of two models takes which step
    #[arg(long, value_enum, value_name = "ORDER", default_value_t = Order::First, requires = "model2")]
    pub order: Order,

    /// What generated images and training images are compared by (auto: pixels where the weights of efflite0 are not at hand)
    #[arg(long, value_enum, value_name = "NAME", default_value_t = Features::Auto)]
    pub features: Features,

    /// File of the features' network (safetensors), or folder of a vit
    #[arg(long, value_name = "FILE")]
    pub features_weights: Option<PathBuf>,

    /// Also measure how well images fit their prompts, by this CLIP folder of yours (CLIPModel, as transformers writes it)
    #[arg(long, value_name = "DIR")]
    pub clip: Option<PathBuf>,

    /// Also measure how well images fit their prompts, without CLIP: by a small head learnt from these captioned images
    ///
    /// Images that are measured are left out. May be repeated. Needs what `cargo xtask features` fetches in a source checkout, or DUALMD_MINILM and
    /// DUALMD_EFFLITE0 name elsewhere.
    #[arg(long, value_name = "DATA")]
    pub fit: Vec<String>,

    /// Where that head is kept, to be used again with the same images [default: fit.safetensors in the folder]
    #[arg(long, value_name = "FILE", requires = "fit")]
    pub fit_head: Option<PathBuf>,

    /// The remedy.
    #[command(flatten)]
    pub remedy: MitigateArgs,

    /// The model's averaged weights (unet/) or those the optimiser left (unet_raw/)
    #[arg(long, value_enum, value_name = "WEIGHTS", default_value_t = Weights::Ema)]
    pub weights: Weights,

    /// Images at a time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub batch: usize,

    /// Folder for memorisation.json, memorisation.csv and images/
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,
}
