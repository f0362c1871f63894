//! `memorisation.json`: what a model draws for prompts, and what follows from it about what it remembers.

use dualmd_stats::AttackSummary;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::RunFile;
use crate::plan::Versions;

/// What all prompts came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Memorisation {
    /// Folders of the model, or of two that alternate.
    pub models: Vec<String>,
    /// Hash of their weights.
    pub weights_blake3: String,
    /// Which of their weights: `ema` or `raw`.
    pub weights: String,
    /// Everything random follows from it.
    pub seed: u64,
    /// The command line.
    pub command: String,
    /// What measured it.
    pub versions: Versions,
    /// Number format of the network.
    pub dtype: String,
    /// Images for each prompt.
    pub generations: usize,
    /// DDIM steps of each.
    pub steps: usize,
    /// Classifier-free guidance.
    pub guidance: f64,
    /// Which of two models takes which step.
    pub order: String,
    /// Prompts that are said to be memorised.
    pub n_memorised: usize,
    /// Prompts that are not.
    pub n_others: usize,
    /// SecMI's t-error of what is drawn: small means memorised.
    pub t_error: PromptMeasure,
    /// Wen's norm, mean over all steps: large means memorised.
    pub mean_norm: PromptMeasure,
    /// Wen's norm at the first step.
    pub first_norm: PromptMeasure,
    /// Mean cosine between the prediction for pure noise without the prompt and what the prompt changes: large means memorised.
    pub alignment: PromptMeasure,
    /// `first_norm` and twice `alignment` (anisotropy): large means memorised.
    pub anisotropy: PromptMeasure,
    /// How much the pull of the prompt changes along itself, at pure noise: large means memorised.
    pub sharpness: PromptMeasure,
    /// How like its image a drawing is; null where prompts have no images.
    pub similarity: Option<Similarities>,
    /// CLIP scores; null without a CLIP folder.
    pub clip_score: Option<ClipScores>,
    /// How well images fit their prompts, by a head that was learnt for it; null if it was not asked for.
    pub fit: Option<FitScores>,
    /// What the remedy did; null without one.
    pub mitigation: Option<Remedied>,
}

impl RunFile for Memorisation {}

/// Something of the prompts that are said to be memorised, and of the others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(bound = "T: JsonSchema + Default")]
pub struct Sides<T> {
    /// Of those that are.
    pub memorised: T,
    /// Of the others.
    pub others: T,
}

/// A measure of every prompt.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PromptMeasure {
    /// Its spread; null of a side without prompts.
    #[serde(flatten)]
    pub spread: Sides<Option<Spread>>,
    /// Bars of both sides.
    pub histogram: Histogram,
    /// How well it tells the sides apart; null where there is one only.
    pub detection: Option<AttackSummary>,
    /// The timestep of a t-error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub t: Option<i64>,
}

/// Mean, standard deviation and quantiles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Spread {
    /// Values.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation; null of a single one.
    pub std: Option<f64>,
    /// The smallest.
    pub min: f64,
    /// 5 % lie below.
    pub q05: f64,
    /// Half lie below.
    pub median: f64,
    /// 95 % lie below.
    pub q95: f64,
    /// The largest.
    pub max: f64,
}

/// Bars of equal width from the smallest to the largest value of both sides.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Histogram {
    /// Edges, one more than bars.
    pub edges: Vec<f64>,
    /// Prompts in each bar.
    #[serde(flatten)]
    pub counts: Sides<Vec<u64>>,
}

/// Similarities between drawings and images.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Similarities {
    /// What they are compared by.
    pub features: String,
    /// Of a prompt's drawing and its own image.
    pub own: Sides<Option<Spread>>,
    /// Of a drawing and the member that is most like it.
    pub nearest_member: Sides<Option<Spread>>,
    /// Of a drawing and the held-out image that is most like it.
    pub nearest_heldout: Sides<Option<Spread>>,
    /// Share of the prompts whose drawing is like its own image by more than 0.5, as DCR counts copies.
    pub share_above_half: Sides<Option<f64>>,
    /// How many memorised prompts lie above what captions alone explain; null with fewer than 20 of the others.
    pub beyond_captions: Option<Beyond>,
}

/// Memorised prompts that draw something more like their image than nearly all captions that no model saw.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Beyond {
    /// The similarity that at most 5 % of the others lie above.
    pub threshold: f64,
    /// Others above it.
    pub others_above: usize,
    /// Others.
    pub n_others: usize,
    /// Memorised prompts above it.
    pub found: usize,
    /// Memorised prompts.
    pub n: usize,
    /// Their share.
    pub share: f64,
    /// Its exact 95 % interval.
    pub share_ci: [f64; 2],
}

/// CLIP scores.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ClipScores {
    /// The CLIP folder.
    pub model: String,
    /// The scores.
    #[serde(flatten)]
    pub scores: Sides<Option<Spread>>,
}

/// How well images fit their prompts, or why that was not measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FitScores {
    /// Measured.
    Measured(Box<Fits>),
    /// Not measured.
    Missing {
        /// Why.
        reason: String,
    },
}

impl FitScores {
    /// What was measured.
    #[must_use]
    pub fn measured(&self) -> Option<&Fits> {
        match self {
            Self::Measured(fits) => Some(fits),
            Self::Missing { .. } => None,
        }
    }
}

/// How well images fit their prompts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fits {
    /// The networks that the head joins.
    #[serde(default)]
    pub by: String,
    /// What the head is worth.
    #[serde(default)]
    pub calibration: Option<Calibration>,
    /// The fits.
    #[serde(flatten)]
    pub fits: Sides<Option<Spread>>,
    /// The same between 0 (a strange text) and 1 (the own text of a real image).
    pub relative: RelativeFits,
}

/// Fits between 0 (a strange text) and 1 (the own text of a real image).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RelativeFits {
    /// Of drawings.
    #[serde(flatten)]
    pub drawn: Sides<Option<Spread>>,
    /// Of the memorised prompts' own images.
    pub own_images: Option<Spread>,
}

/// What a fit is worth, on pairs that nothing was learnt from or chosen by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Calibration {
    /// Images that were learnt from.
    pub learnt: usize,
    /// Images that said when to stop.
    pub chosen_by: usize,
    /// Images that the following is about.
    pub images: usize,
    /// Updates.
    pub steps: u64,
    /// Mean fit of an image and its own main text.
    pub own: f64,
    /// Mean fit of an image and another's main text.
    pub other: f64,
    /// Share of the images whose own text fits best of all texts; chance is one in so many.
    pub found_first: f64,
    /// Chance that a text of its own fits an image better than a strange one, ties counting half.
    pub auc: f64,
}

impl Calibration {
    /// A fit between what strange texts reach (0) and what own texts of real images do (1).
    #[must_use]
    pub fn relative(&self, fit: f64) -> f64 {
        (fit - self.other) / (self.own - self.other)
    }
}

/// What a remedy did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Remedied {
    /// Which one: `wen`.
    pub how: String,
    /// The norm that ends it.
    pub target: f64,
    /// Most changes of an embedding.
    pub most_steps: usize,
    /// Of the optimiser.
    pub learning_rate: f64,
    /// Of the optimiser.
    pub weight_decay: f64,
    /// Prompts that reached the target.
    pub reached: usize,
    /// The norm before.
    pub loss_before: Option<Spread>,
    /// The norm after.
    pub loss_after: Option<Spread>,
}
