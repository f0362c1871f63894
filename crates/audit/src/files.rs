//! The files of a run folder as types. Every field but the essential ones may be absent.

use std::collections::BTreeMap;

use dualmd_record::scores::Scores;
use dualmd_record::utility::Utility;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::disk::Png;
use crate::scores::ScoresFile;

/// Everything the report can use from a run folder.
#[derive(Debug, Default)]
pub struct RunFiles {
    /// `plan.json`, or an empty object.
    pub plan: Value,
    /// `split.json`, if it is there.
    pub split: Option<SplitFile>,
    /// One entry per model, in the order of the plan, then by name.
    pub models: Vec<ModelFiles>,
    /// `exposed.json`: the most exposed members with their thumbnails.
    pub exposed: Vec<Exposed>,
    /// `controls.json`, written by the attack stage.
    pub controls: Option<ControlsFile>,
    /// What is not there or could not be used, one sentence each.
    pub missing: Vec<String>,
}

/// The files of one model.
#[derive(Debug, Default)]
pub struct ModelFiles {
    /// Folder name under `models/` and stem of the score file.
    pub name: String,
    /// `none`, `dualmd`, `distillmd`, `kd`, ... as the plan says.
    pub defense: String,
    /// The plan's `repeat_of`: the model whose recipe was trained again here with another seed.
    pub repeat_of: Option<String>,
    /// The plan's `weights_blake3`: hash of the weights that were attacked.
    pub weights_blake3: Option<String>,
    /// `scores/NAME.csv`.
    pub scores: Option<ScoresFile>,
    /// `scores/NAME.json`.
    pub info: Option<Scores>,
    /// `models/NAME/training.json`.
    pub training: Option<Training>,
    /// `logs/NAME.jsonl`.
    pub log: Vec<LogPoint>,
    /// `utility/NAME.json`.
    pub utility: Option<Utility>,
    /// `samples/NAME/nearest.json`.
    pub nearest: Option<Nearest>,
    /// `samples/NAME/grid.png`.
    pub grid: Option<Png>,
    /// Of `samples/NAME/prompts.json` what the report shows.
    pub prompted: Vec<Prompted>,
    /// `sets/NAME.json`.
    pub sets: Option<SetsFile>,
}

/// `sets/NAME.json`: tests of whole sets of images, such as the members against the non-members.
///
/// ```json
/// { "features": "residuals of the network at t = 200, 64 dimensions",
///   "tests": [{ "name": "mmd-error-space", "title": "Errors of the model", "what": "members against non-members",
///               "members": 64, "nonmembers": 512, "statistic": 0.0031, "p_value": 0.002, "permutations": 1000 }] }
/// ```
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct SetsFile {
    /// What the images were turned into before they were compared: text, or anything else that describes it.
    pub features: Value,
    /// The tests that were made.
    pub tests: Vec<SetTest>,
}

/// One permutation test of two sets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SetTest {
    /// Short name, such as `mmd-error-space`.
    pub name: String,
    /// Name for people; `name` where it is empty.
    #[serde(default)]
    pub title: String,
    /// What was compared with what.
    #[serde(default)]
    pub what: String,
    /// Members used.
    pub members: usize,
    /// Non-members used.
    pub nonmembers: usize,
    /// The test's statistic, larger = further apart.
    pub statistic: f64,
    /// Share of permutations at least as extreme, the observation counted in: in (0, 1].
    pub p_value: f64,
    /// Permutations drawn.
    pub permutations: usize,
}

/// The parts of `split.json` that the report uses.
#[derive(Debug, Default, Deserialize)]
pub struct SplitFile {
    /// How the sides were drawn: `half`, `coin-flip` or `import`.
    #[serde(default)]
    pub method: String,
    /// Hash over ids and sides.
    #[serde(default)]
    pub hash: String,
    /// Members with their half.
    #[serde(default)]
    pub members: Vec<SplitMember>,
    /// Non-members.
    #[serde(default)]
    pub nonmembers: Vec<SplitMember>,
}

/// One image of a split.
#[derive(Debug, Deserialize)]
pub struct SplitMember {
    /// Content hash of the image.
    pub id: String,
    /// 1 = D1 (teacher 1 trained on it), 2 = D2; absent for non-members.
    #[serde(default)]
    pub half: Option<u8>,
}

impl SplitFile {
    /// Half (1 or 2) of every member that has one.
    pub fn halves(&self) -> BTreeMap<&str, u8> {
        self.members
            .iter()
            .filter_map(|m| Some((m.id.as_str(), m.half?)))
            .collect()
    }
}

/// `models/NAME/training.json`. Absent fields stay `None` and are shown as not recorded.
#[derive(Debug, Default, Clone, Deserialize, Serialize)]
#[serde(default)]
pub struct Training {
    /// Optimiser steps.
    pub steps: Option<f64>,
    /// Passes over the images that it was trained on. Where a training of an earlier version does not say: steps times batch by images.
    pub epochs: Option<f64>,
    /// Images per step.
    pub batch: Option<f64>,
    /// Peak learning rate.
    pub learning_rate: Option<f64>,
    /// Seed of this model's training.
    pub seed: Option<u64>,
    /// Hash of the split it was trained with.
    pub split_hash: Option<String>,
    /// Trainable parameters.
    pub parameters: Option<f64>,
    /// Images it was trained on.
    pub images: Option<f64>,
    /// Mean squared error of the noise prediction at the end, on training batches.
    pub train_loss: Option<f64>,
    /// The same on all members without dropout or augmentation.
    pub member_loss: Option<f64>,
    /// The same on non-members.
    pub heldout_loss: Option<f64>,
    /// Wall time, s.
    pub seconds: Option<f64>,
    /// Training speed.
    pub images_per_second: Option<f64>,
    /// Threads used.
    pub threads: Option<f64>,
    /// `f32` or `bf16`.
    pub dtype: Option<String>,
    /// Peak resident memory, MB.
    pub peak_rss_mb: Option<f64>,
    /// Names of the teachers, if it was distilled.
    pub teachers: Vec<String>,
    /// What DP-SGD guarantees; `None` for trainings that promise nothing.
    pub privacy: Option<Guarantee>,
}

/// The guarantee of a differentially private training, as its accountant computed it. Absent fields stay `None`.
#[derive(Debug, Default, Clone, Deserialize, Serialize)]
#[serde(default)]
pub struct Guarantee {
    /// Upper bound on epsilon.
    pub epsilon: Option<f64>,
    /// The delta that it holds at.
    pub delta: Option<f64>,
    /// Standard deviation of the noise over the clipping norm.
    pub noise_multiplier: Option<f64>,
    /// Probability of an image to be in a batch.
    pub sampling_rate: Option<f64>,
    /// `RDP`.
    pub accountant: Option<String>,
    /// What neighbouring sets of images are.
    pub adjacency: Option<String>,
}

/// One line of `logs/NAME.jsonl`.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub struct LogPoint {
    /// Optimiser step.
    pub step: f64,
    /// Training loss.
    pub loss: Option<f64>,
    /// Loss on members.
    pub member_loss: Option<f64>,
    /// Loss on non-members.
    pub heldout_loss: Option<f64>,
}

/// `samples/NAME/nearest.json`; distances are root mean squared errors per pixel on [0, 1].
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub struct Nearest {
    /// How many images were generated for the medians.
    pub n_generated: Option<f64>,
    /// Generated images with their nearest training image.
    pub pairs: Vec<NearestPair>,
    /// Median distance of generated images to the nearest member.
    pub median_distance_members: Option<f64>,
    /// Median distance of generated images to the nearest held-out image.
    pub median_distance_heldout: Option<f64>,
    /// How near unseen images lie to the training set.
    pub heldout_reference: HeldoutReference,
    /// As many members as held-out images. Files of earlier versions have none.
    pub equal: Option<NearestEqual>,
    /// Were the images drawn for captions of members? Then they lie near these for that alone.
    pub prompted: bool,
}

/// Generated images against as many members as held-out images (`dualmd_stats::nearer`).
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
pub struct NearestEqual {
    /// Real images on either side.
    pub n: usize,
    /// Generated images compared.
    pub generated: usize,
    /// Seeded draws of `n` images from the larger side.
    pub draws: usize,
    /// Median distance to the nearest of `n` members, mean over the draws.
    pub median_members: f64,
    /// The same to the nearest of `n` held-out images.
    pub median_others: f64,
    /// Share of the generated images that are nearer to a member; 0.5 is chance.
    pub share: f64,
    /// Its 95 % interval.
    pub share_ci: [f64; 2],
    /// Of a permutation test: chance of as large a share or larger if membership means nothing.
    pub p_value: f64,
    /// Relabellings of that test.
    pub relabellings: usize,
}

/// One entry of `samples/NAME/prompts.json`: the text that a generated image was drawn for.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub struct Prompted {
    /// File of the generated image, relative to `samples/NAME`.
    pub png: String,
    /// The text; none for an image without a caption.
    pub prompt: Option<String>,
    /// Is it the caption of a training image?
    pub member: bool,
    /// The picture, read from the file above.
    #[serde(skip)]
    pub picture: Option<Png>,
}

/// Distances of held-out images to the nearest member: what "near" means without copying.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub struct HeldoutReference {
    /// 5 % quantile.
    pub q05: Option<f64>,
    /// Median.
    pub median: Option<f64>,
}

/// A generated image beside its nearest training image.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub struct NearestPair {
    /// File of the generated image, relative to `samples/NAME`.
    pub sample: String,
    /// Id of the nearest member.
    pub member_id: String,
    /// File of the nearest member, relative to `samples/NAME`.
    pub member_png: String,
    /// Distance to the nearest member.
    pub distance: Option<f64>,
    /// Distance to the nearest held-out image.
    pub heldout_distance: Option<f64>,
    /// The text that the generated image was drawn for, from `prompts.json`.
    #[serde(skip)]
    pub prompt: Option<String>,
    /// The two pictures, read from the files above.
    #[serde(skip)]
    pub pictures: (Option<Png>, Option<Png>),
}

/// One entry of `exposed.json`.
#[derive(Debug, Default, Clone, Deserialize, Serialize)]
#[serde(default)]
pub struct Exposed {
    /// Model under attack.
    pub model: String,
    /// Attack that found the member.
    pub attack: String,
    /// Id of the member.
    pub id: String,
    /// Thumbnail, relative to the run folder.
    pub png: String,
    /// Its score.
    pub score: f64,
    /// 1 = the most exposed.
    pub rank: u32,
    /// The thumbnail.
    #[serde(skip)]
    pub picture: Option<Png>,
}

/// `controls.json`.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub struct ControlsFile {
    /// A classifier that sees images only, never the model.
    pub blind_baseline: Option<BlindBaselineFile>,
}

/// The blind baseline as the attack stage measured it.
#[derive(Debug, Clone, Deserialize)]
pub struct BlindBaselineFile {
    /// Its AUC.
    pub auc: f64,
    /// 95 % interval.
    pub auc_ci: [f64; 2],
    /// What it looked at.
    #[serde(default)]
    pub features: Value,
    /// How it was trained and judged.
    #[serde(default)]
    pub method: Value,
    /// Chance of being as telling or more when membership means nothing, all families of features together.
    pub p_value: Option<f64>,
    /// Do the sets differ, at the baseline's own level? Files of earlier versions do not say.
    pub void: Option<bool>,
    /// Families of features on their own, and `all`.
    #[serde(default)]
    pub families: Vec<BlindFamily>,
    /// What tells the sets apart, in words.
    #[serde(default)]
    pub why: String,
}

/// The blind baseline on one family of features.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BlindFamily {
    /// `pixels`, `texture`, `jpeg`, `resize`, `file` or `all`.
    pub name: String,
    /// Its AUC.
    pub auc: f64,
    /// 95 % interval.
    pub auc_ci: [f64; 2],
    /// Does it tell the sets apart, after correction for the number of families?
    pub telling: bool,
}
