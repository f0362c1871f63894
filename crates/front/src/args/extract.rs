//! Arguments of `dualmd extract`.

use super::fraction;
use super::runs::ReadArgs;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use dualmd_experiment::choices::{ExtractMethod, Features, Order, Sampler, Weights};
use dualmd_names::{SEARCH_STEPS, SIDE_CLUSTERS, SIDE_SCALE};
use std::path::PathBuf;

fn rate(text: &str) -> Result<f64, String> {
    fraction(text, "rate", "0.01")
}

/// A number of at least 0.
fn distance(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err("a distance of at least 0 is needed, e.g. 0.05".to_owned()),
    }
}

/// The same of a strength.
fn scale(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err("a number of at least 0 is needed, e.g. 5".to_owned()),
    }
}

/// Counts of images: more than any machine holds is told by what it would take.
fn at_least(least: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(least..=1_000_000_000)
}

/// `dualmd extract`
#[derive(Debug, Args)]
pub struct ExtractArgs {
    /// Pipeline folder in the diffusers layout
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,

    /// A second model: the two take turns (DualMD)
    #[arg(value_name = "MODEL2")]
    pub model2: Option<PathBuf>,

    /// The model that MODEL was fine-tuned from: images show what was learnt beyond it (FineXtract)
    #[arg(long, value_name = "BASE")]
    pub base: Option<PathBuf>,

    /// Factor of the difference to --base; 1 is the model itself
    #[arg(long, value_name = "W", default_value_t = 4.0, requires = "base")]
    pub contrast: f64,

    /// Images that the model was trained on
    #[arg(help_heading = "Images", long, value_name = "DATA")]
    pub members: String,

    /// Images of the same kind that it never saw; one half sets the thresholds, the other is the control
    #[arg(help_heading = "Images", long, value_name = "DATA")]
    pub nonmembers: String,

    /// How they are read.
    #[command(flatten)]
    pub read: ReadArgs,

    /// Method of extraction
    #[arg(help_heading = "Generated images", long, value_enum, value_name = "METHOD", default_value_t = ExtractMethod::Generate)]
    pub method: ExtractMethod,

    /// Number of images to generate from a model without text
    #[arg(help_heading = "Generated images", long, value_name = "N", default_value_t = 4096, value_parser = at_least(2))]
    pub images: usize,

    /// Number of images for each caption from a text-to-image model, or of restorations of each image with --method inpaint
    #[arg(help_heading = "Generated images", long, value_name = "K", default_value_t = 32, value_parser = at_least(2))]
    pub per_prompt: usize,

    /// Largest number of captions, or of images to restore, of each kind
    ///
    /// The kinds are members, images that set the thresholds, and images of the control.
    #[arg(help_heading = "Generated images", long, value_name = "N", default_value_t = 64, value_parser = at_least(2))]
    pub captions: usize,

    /// Updates of each embedding with --method search
    #[arg(help_heading = "Generated images", long, value_name = "N", default_value_t = SEARCH_STEPS, value_parser = at_least(1))]
    pub search_steps: usize,

    /// Largest number of groups of similar images that --method side leads the model to
    #[arg(help_heading = "Generated images", long, value_name = "N", default_value_t = SIDE_CLUSTERS, value_parser = at_least(1))]
    pub clusters: usize,

    /// Strength of the classifier's guidance with --method side; 0 is none
    #[arg(help_heading = "Generated images", long, value_name = "SCALE", default_value_t = SIDE_SCALE, value_parser = scale)]
    pub lead: f64,

    /// Sampler
    #[arg(help_heading = "Generated images", long, value_enum, value_name = "NAME", default_value_t = Sampler::Ddim)]
    pub sampler: Sampler,

    /// Denoising steps of an image (default: 50 for ddim, 1000 for ddpm)
    #[arg(help_heading = "Generated images", long, value_name = "K", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub steps: Option<usize>,

    /// Classifier-free guidance scale of a text-to-image model; 1 is none
    ///
    /// Class-conditional models generate without guidance.
    #[arg(
        help_heading = "Generated images",
        long,
        value_name = "SCALE",
        default_value_t = 7.5
    )]
    pub guidance: f64,

    /// Which of two models takes which step
    #[arg(help_heading = "Generated images", long, value_enum, value_name = "ORDER", default_value_t = Order::First, requires = "model2")]
    pub order: Order,

    /// The models' averaged weights (unet/) or those the optimiser left (unet_raw/)
    #[arg(help_heading = "Generated images", long, value_enum, value_name = "WEIGHTS", default_value_t = Weights::Ema)]
    pub weights: Weights,

    /// Images at a time
    #[arg(help_heading = "Generated images", long, value_name = "N", default_value_t = 64, value_parser = at_least(1))]
    pub batch: usize,

    /// Number of similar images that make a generated image a candidate (default: 2, or one in 50 of the images for a caption)
    #[arg(help_heading = "Comparison", long, value_name = "N", value_parser = at_least(1))]
    pub clique: Option<usize>,

    /// Largest distance of images that count as similar (default: set by held-out images)
    ///
    /// For pixels it is the root mean square difference of values from 0 to 1.
    #[arg(help_heading = "Comparison", long, value_name = "DISTANCE", value_parser = distance)]
    pub radius: Option<f64>,

    /// Largest share of the images that set the thresholds that may pass as extracted
    #[arg(help_heading = "Comparison", long, value_name = "SHARE", default_value_t = 0.01, value_parser = rate)]
    pub rate: f64,

    /// Features that images are compared by (auto: efflite0, or pixels without its weights)
    #[arg(help_heading = "Comparison", long, value_enum, value_name = "NAME", default_value_t = Features::Pixels)]
    pub features: Features,

    /// File of the features' network (safetensors), or folder of a vit
    #[arg(help_heading = "Comparison", long, value_name = "FILE")]
    pub features_weights: Option<PathBuf>,

    /// Write only extraction.json: no pictures, no names of single images, and no generated images
    #[arg(long)]
    pub no_images: bool,

    /// Print the result as one line of JSON, and nothing else on standard output
    #[arg(long)]
    pub json: bool,

    /// Folder for extraction.json, extraction.csv, gallery.png and the generated images
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,
}
