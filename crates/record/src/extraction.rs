//! `extraction.json`: how many training images were got out of a model's generated images, beside as many that it never saw.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::RunFile;
use crate::plan::Versions;

/// What `dualmd extract` found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Extraction {
    /// Folders of the model, or of two that alternate.
    pub models: Vec<String>,
    /// Hash of their weights.
    pub weights_blake3: String,
    /// Which of their weights: `ema` or `raw`.
    pub weights: String,
    /// The model that it was fine-tuned from, where images were drawn by the difference to it.
    pub base: Option<Contrast>,
    /// Everything random follows from it.
    pub seed: u64,
    /// The command line.
    pub command: String,
    /// What measured it.
    pub versions: Versions,
    /// Number format of the network.
    pub dtype: String,
    /// `ddim` or `ddpm`.
    pub sampler: String,
    /// Denoising steps of each image.
    pub steps: usize,
    /// Which of two models takes which step.
    pub order: String,
    /// How captions were asked for; null of a model without text.
    pub prompted: Option<Prompted>,
    /// How half of each image was hidden and restored; null where whole images were generated.
    pub inpainted: Option<Inpainted>,
    /// How embeddings were searched for; null where the model was told captions, or nothing.
    pub searched: Option<Searched>,
    /// How a classifier led the model; null where nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub led: Option<Led>,
    /// Images that were generated.
    pub generated: usize,
    /// What images are compared by.
    pub features: String,
    /// Root mean square difference of two images, in these features, up to which they are near each other.
    pub radius: f64,
    /// Was the radius given? Otherwise it follows from held-out images.
    pub radius_given: bool,
    /// Others that lie near a candidate, at least.
    pub clique: usize,
    /// Candidates that were found.
    pub candidates: usize,
    /// Weight of the neighbours in the ratio.
    pub alpha: f64,
    /// Neighbours in the ratio, at most.
    pub neighbours: usize,
    /// Share of calibration images that may pass for extracted.
    pub rate: f64,
    /// Members and control images that were compared: equally many, one of each group.
    pub n: usize,
    /// Held-out images that set the thresholds, one of each group. They are not among the control.
    pub n_calibration: usize,
    /// All members.
    pub n_members: usize,
    /// All held-out images.
    pub n_heldout: usize,
    /// Members that look almost the same as a held-out image: these make the control look worse than it is.
    pub alike: usize,
    /// What each way of choosing images came to.
    pub attacks: Vec<ExtractionAttack>,
    /// What the images cost.
    pub cost: ExtractionCost,
}

impl RunFile for Extraction {}

/// Drawing by the difference between a model and the one that it was fine-tuned from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Contrast {
    /// Folder of the model that it was fine-tuned from.
    pub model: String,
    /// How far the difference was followed: 1 is the model itself.
    pub weight: f64,
}

/// How captions were asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Prompted {
    /// Captions.
    pub captions: usize,
    /// Images for each.
    pub per_prompt: usize,
    /// Classifier-free guidance.
    pub guidance: f64,
}

/// How images were restored of which a part was hidden.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Inpainted {
    /// Images of members, of those that set the thresholds, and of the control.
    pub images: usize,
    /// Restorations of each.
    pub each: usize,
    /// Rows from the top that the model was shown.
    pub shown: usize,
    /// Rows of an image.
    pub rows: usize,
}

/// How it was searched for what the model is to be told of each image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Searched {
    /// Images of members, of those that set the thresholds, and of the control.
    pub images: usize,
    /// Updates of each embedding.
    pub steps: usize,
    /// Timesteps and noises of each update.
    pub draws: usize,
    /// Adam's learning rate.
    pub learning_rate: f64,
}

/// How a classifier of generated images led the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Led {
    /// Images that were generated first, which groups were looked for among.
    pub pool: usize,
    /// Groups that were found.
    pub groups: usize,
    /// Groups that the model was led to: those whose images lie close together, or all large ones where none do.
    pub kept: usize,
    /// Images of the pool in these, by which the classifier was trained.
    pub grouped: usize,
    /// Steps of its training.
    pub steps: u64,
    /// How strongly it led.
    pub scale: f64,
    /// Images that were generated so, among all that were.
    pub images: usize,
    /// Gradients of the classifier for these images, which are not among the network calls.
    pub gradients: u64,
}

/// One way to choose among the generated images, and what it extracts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExtractionAttack {
    /// `cliques`: candidates alone, which someone finds who has no training image. `every`: all generated images, as someone looks
    /// through them who knows what to look for.
    pub name: String,
    /// An image is extracted where the ratio is below this.
    pub threshold: f64,
    /// Calibration images that pass it.
    pub calibration_passed: usize,
    /// How often another held-out image passes, at most, over draws of the calibration images.
    pub false_rate: f64,
    /// Members that are extracted.
    pub members: Extracted,
    /// Held-out images that pass for extracted, although no model saw them.
    pub control: Extracted,
    /// One-sided exact test (Fisher) that more members are extracted than control images.
    pub p_value: f64,
    /// The same count of all members; null where it is limited who is asked for, and no control belongs to it.
    pub all_members: Option<Extracted>,
    /// Network calls for each extracted member; null where there is none.
    pub calls_per_extracted: Option<f64>,
    /// Seconds for each extracted member; null where there is none, or nothing was generated by this call.
    pub seconds_per_extracted: Option<f64>,
}

/// Images that are extracted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Extracted {
    /// How many.
    pub extracted: usize,
    /// Of so many.
    pub n: usize,
    /// Their share.
    pub share: f64,
    /// Its exact 95 % interval (Clopper-Pearson).
    pub share_ci: [f64; 2],
}

/// What the generated images cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExtractionCost {
    /// Network calls for all images, each image's counted by itself.
    pub network_calls: u64,
    /// Images that this call generated; the others were there.
    pub generated_now: usize,
    /// Seconds for all images, from those that this call generated; null if it generated none.
    pub seconds: Option<f64>,
}
