//! Files of `samples/MODEL/`: what a model drew.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::number::present;
use crate::{Count, RunFile};

/// `nearest.json`: generated images against training images and against images that no model saw. Distances are root mean squared
/// errors per pixel on [0, 1].
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Nearest {
    /// How many images were generated for the medians.
    pub n_generated: Option<Count>,
    /// The generated images that lie nearest to a member, the nearest first.
    pub pairs: Vec<NearestPair>,
    /// Median distance of generated images to the nearest member.
    pub median_distance_members: Option<f64>,
    /// Median distance of generated images to the nearest held-out image.
    pub median_distance_heldout: Option<f64>,
    /// How near unseen images lie to the training set.
    pub heldout_reference: HeldoutReference,
    /// Generated images against as many members as held-out images; null where a side has fewer than two, or the images were drawn
    /// for captions of members. Files of earlier versions do not have it: the outer `None`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub equal: Option<Option<NearestEqual>>,
    /// Were the images drawn for captions of members? Then they lie near these for that alone.
    pub prompted: bool,
}

impl RunFile for Nearest {
    const LIMIT: u64 = dualmd_files::limit::SETTINGS;
}

/// A generated image beside its nearest training image.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NearestPair {
    /// File of the generated image, relative to `samples/MODEL`.
    pub sample: String,
    /// Content id of the nearest member.
    pub member_id: String,
    /// File of the nearest member, relative to `samples/MODEL`.
    pub member_png: String,
    /// Distance to the nearest member.
    pub distance: Option<f64>,
    /// Distance to the nearest held-out image.
    pub heldout_distance: Option<f64>,
}

/// Distances of held-out images to the nearest member: what "near" means without copying.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HeldoutReference {
    /// 5 % quantile.
    pub q05: Option<f64>,
    /// Median.
    pub median: Option<f64>,
}

/// Generated images against as many members as held-out images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NearestEqual {
    /// Real images on either side: as many as the smaller side has.
    pub n: usize,
    /// Generated images compared.
    pub generated: usize,
    /// Seeded draws of `n` images from the larger side.
    pub draws: usize,
    /// Seed of the draws.
    #[serde(default)]
    pub seed: u64,
    /// Median distance to the nearest of `n` members, mean over the draws.
    pub median_members: f64,
    /// The same to the nearest of `n` held-out images.
    pub median_others: f64,
    /// Share of the generated images that are nearer to a member; 0.5 is chance.
    pub share: f64,
    /// Central 95 % of that share over the draws, each with the generated images resampled.
    pub share_ci: [f64; 2],
    /// Of a permutation test: chance of as large a share or larger if membership means nothing.
    pub p_value: f64,
    /// Relabellings of that test.
    pub relabellings: usize,
}

/// One entry of `prompts.json`, a list: the text that a generated image was drawn for.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PromptedImage {
    /// File of the generated image, relative to `samples/MODEL`.
    pub png: String,
    /// The text; null for an image without a caption.
    pub prompt: Option<String>,
    /// Content id of the image whose caption it is.
    pub id: String,
    /// Is it the caption of a training image?
    pub member: bool,
}

/// `drawn.json` of an audit: all that the images beside it depend on. An audit that asks for the same uses them again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DrawnFrom {
    /// BLAKE3 hash of the model's weights.
    pub weights_blake3: String,
    /// `ema` or `raw`.
    pub weights: String,
    /// Number format of the network.
    pub dtype: String,
    /// Seed of the noise.
    pub seed: u64,
    /// Images of a model without text.
    pub images: usize,
    /// Sampling steps.
    pub steps: usize,
    /// Guidance scale.
    pub guidance: f64,
    /// Images for each caption.
    pub per_prompt: usize,
    /// The captions that were drawn for; null of a model without text.
    pub captions: Option<Vec<Option<String>>>,
    /// Channels, height and width of an image.
    pub shape: [usize; 3],
    /// Hash of the images, where they were given and not drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<String>,
}

impl RunFile for DrawnFrom {}
