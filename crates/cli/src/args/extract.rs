//! Arguments of `dualmd extract`.

use super::Global;
use super::files::fraction;
use super::memorisation::models;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use dualmd::ExtractOptions;
use dualmd::choices::{Features, Order, Sampler, Weights};
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

    /// A second one: the two take turns (DualMD)
    #[arg(value_name = "MODEL2")]
    pub model2: Option<PathBuf>,

    /// Images the model was trained on
    #[arg(help_heading = "Images", long, value_name = "DATA")]
    pub members: String,

    /// Images of the same kind that it never saw: one half sets the thresholds, the other is the control
    #[arg(help_heading = "Images", long, value_name = "DATA")]
    pub nonmembers: String,

    /// Split file that DATA#member and DATA#nonmember refer to
    #[arg(help_heading = "Images", long, value_name = "split.json")]
    pub split: Option<PathBuf>,

    /// Column that says which images belong together, such as patient or artist (default: group)
    #[arg(help_heading = "Images", long, value_name = "COLUMN")]
    pub group_column: Option<String>,

    /// Column of the captions, where a set has several that may be
    #[arg(help_heading = "Images", long, value_name = "COLUMN")]
    pub caption_column: Option<String>,

    /// Images to generate from a model without text
    #[arg(help_heading = "Generated images", long, value_name = "N", default_value_t = 4096, value_parser = at_least(2))]
    pub images: usize,

    /// Images to generate for each caption from a text-to-image model
    #[arg(help_heading = "Generated images", long, value_name = "K", default_value_t = 32, value_parser = at_least(2))]
    pub per_prompt: usize,

    /// Captions to ask for: at most so many of members, of images that set the thresholds, and of the control
    #[arg(help_heading = "Generated images", long, value_name = "N", default_value_t = 64, value_parser = at_least(2))]
    pub captions: usize,

    /// Sampler
    #[arg(help_heading = "Generated images", long, value_enum, value_name = "NAME", default_value_t = Sampler::Ddim)]
    pub sampler: Sampler,

    /// Denoising steps of an image (default: 50 for ddim, 1000 for ddpm)
    #[arg(help_heading = "Generated images", long, value_name = "K", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub steps: Option<usize>,

    /// Guidance scale of a text-to-image model (classifier-free guidance); 1 is none
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

    /// Others near a generated image that make it a candidate (default: 2, or one in 50 of the images for a caption)
    #[arg(help_heading = "Comparison", long, value_name = "N", value_parser = at_least(1))]
    pub clique: Option<usize>,

    /// Root mean square difference up to which images are near each other; of pixels from 0 to 1 (default: what held-out images say)
    #[arg(help_heading = "Comparison", long, value_name = "DISTANCE", value_parser = distance)]
    pub radius: Option<f64>,

    /// Share of the images that set the thresholds that may pass for extracted
    #[arg(help_heading = "Comparison", long, value_name = "SHARE", default_value_t = 0.01, value_parser = rate)]
    pub rate: f64,

    /// What images are compared by (auto: pixels where the weights of efflite0 are not at hand)
    #[arg(help_heading = "Comparison", long, value_enum, value_name = "NAME", default_value_t = Features::Pixels)]
    pub features: Features,

    /// File of the features' network (safetensors), or folder of a vit
    #[arg(help_heading = "Comparison", long, value_name = "FILE")]
    pub features_weights: Option<PathBuf>,

    /// Write extraction.json alone: no pictures, no names of single images, and generated images are not kept
    #[arg(long)]
    pub no_images: bool,

    /// Print the result as one line of JSON, and nothing else on standard output
    #[arg(long)]
    pub json: bool,

    /// Folder for extraction.json, extraction.csv, gallery.png and the generated images
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,
}

impl ExtractArgs {
    /// With the common flags.
    pub fn options(&self, global: &Global) -> ExtractOptions {
        ExtractOptions {
            models: models(&self.model, self.model2.as_ref()),
            members: self.members.clone(),
            nonmembers: self.nonmembers.clone(),
            split: self.split.clone(),
            group_column: self.group_column.clone(),
            caption_column: self.caption_column.clone(),
            images: self.images,
            per_prompt: self.per_prompt,
            captions: self.captions,
            clique: self.clique,
            radius: self.radius,
            rate: self.rate,
            sampler: self.sampler,
            steps: self.steps.unwrap_or(match self.sampler {
                Sampler::Ddim => 50,
                Sampler::Ddpm => 1000,
            }),
            guidance: self.guidance,
            order: self.order,
            features: self.features,
            features_weights: self.features_weights.clone(),
            weights: self.weights,
            batch: self.batch,
            pictures: !self.no_images,
            out: self.out.clone(),
            seed: global.seed(),
        }
    }
}
