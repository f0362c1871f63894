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

    /// Stop changing the embedding when the norm is at most this
    ///
    /// 3 is for latents of Stable Diffusion. The norm is over the noise of four images; for fewer it is scaled by the root of their number.
    #[arg(
        long,
        value_name = "NORM",
        default_value_t = 3.0,
        requires = "mitigate"
    )]
    pub mitigate_target: f64,

    /// Largest number of updates of the embedding
    #[arg(long, value_name = "N", default_value_t = 10, requires = "mitigate", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub mitigate_steps: usize,
}

/// `dualmd memorisation`
#[derive(Debug, Args)]
pub struct MemorisationArgs {
    /// Folder of a text-to-image model in the diffusers layout
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,

    /// A second model: the two take turns (DualMD)
    #[arg(value_name = "MODEL2")]
    pub model2: Option<PathBuf>,

    /// Images that the model was trained on, whose first captions are the prompts
    #[arg(
        long,
        value_name = "DATA",
        required_unless_present = "memorised",
        conflicts_with_all = ["memorised", "others"]
    )]
    pub members: Option<String>,

    /// Images that it never saw, whose first captions are prompts too, for comparison
    #[arg(long, value_name = "DATA", requires = "members")]
    pub nonmembers: Option<String>,

    /// A file of prompts that are known to be memorised, one a line
    #[arg(long, value_name = "FILE")]
    pub memorised: Option<PathBuf>,

    /// A file of prompts that are not memorised, one a line
    #[arg(long, value_name = "FILE", requires = "memorised")]
    pub others: Option<PathBuf>,

    /// Split file that DATA#member and DATA#nonmember refer to
    #[arg(long, value_name = "split.json")]
    pub split: Option<PathBuf>,

    /// Column of the captions, where a set has several candidates
    #[arg(long, value_name = "COLUMN")]
    pub caption_column: Option<String>,

    /// Images to generate for each prompt
    #[arg(short = 'n', long = "number", value_name = "N", default_value_t = 4, value_parser = RangedU64ValueParser::<usize>::new().range(1..=64))]
    pub n: usize,

    /// DDIM steps of each image
    #[arg(long, value_name = "K", default_value_t = 50, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub steps: usize,

    /// Classifier-free guidance scale of generated images; the t-error is measured at 1
    #[arg(long, value_name = "SCALE", default_value_t = 7.5)]
    pub guidance: f64,

    /// Timestep of SecMI's step up and back (default: 150 for latents, 100 for pixels)
    ///
    /// The error is measured ten timesteps before it.
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(i64).range(20..=990))]
    pub t_sec: Option<i64>,

    /// Which of two models takes which step
    #[arg(long, value_enum, value_name = "ORDER", default_value_t = Order::First, requires = "model2")]
    pub order: Order,

    /// Features that generated and training images are compared by (auto: efflite0, or pixels without its weights)
    #[arg(long, value_enum, value_name = "NAME", default_value_t = Features::Auto)]
    pub features: Features,

    /// File of the features' network (safetensors), or folder of a vit
    #[arg(long, value_name = "FILE")]
    pub features_weights: Option<PathBuf>,

    /// Also measure how well images fit their prompts, by a CLIP folder of yours (CLIPModel, as transformers writes it)
    #[arg(long, value_name = "DIR")]
    pub clip: Option<PathBuf>,

    /// Also measure how well images fit their prompts, by a small network learnt from these captioned images (may be repeated)
    ///
    /// Images that are measured are left out of its training. It needs MiniLM and EfficientNet-Lite0: `cargo xtask features` fetches them in a
    /// source checkout, DUALMD_MINILM and DUALMD_EFFLITE0 name them elsewhere.
    #[arg(long, value_name = "DATA")]
    pub fit: Vec<String>,

    /// File that keeps the network of --fit, to be used again with the same images [default: fit.safetensors in the folder]
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

    /// Print what is in memorisation.json as one line of JSON, and nothing else on standard output
    #[arg(long)]
    pub json: bool,

    /// Folder for memorisation.json, memorisation.csv and images/
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,
}
