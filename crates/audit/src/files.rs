//! Everything that a report is made of, as it was read from a run folder. The files themselves are types of `dualmd_record`.

use std::ops::Deref;

use dualmd_names::ModelKind;
use dualmd_record::controls::Controls;
use dualmd_record::evidence::Halves;
use dualmd_record::exposed::Exposed;
use dualmd_record::samples::{Nearest, NearestPair, PromptedImage};
use dualmd_record::scores::Scores;
use dualmd_record::sets::Sets;
use dualmd_record::split::SplitFile;
use dualmd_record::training::{LogLine, Training};
use dualmd_record::utility::Utility;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::disk::Png;
use crate::scores::ScoresFile;

/// Everything the report can use from a run folder.
#[derive(Debug, Default)]
pub struct RunFiles {
    /// `plan.json` as it stands there, which a report hands on, or an empty object. What is read of it is `AnyPlan`.
    pub plan: Value,
    /// `split.json`, if it is there.
    pub split: Option<SplitFile>,
    /// One entry per model, in the order of the plan, then by name.
    pub models: Vec<ModelFiles>,
    /// `exposed.json`: the most exposed members with their thumbnails.
    pub exposed: Vec<Pictured<Exposed>>,
    /// `controls.json`, written by the attack stage.
    pub controls: Option<Controls>,
    /// `halves.json`, of an evidence folder.
    pub halves: Option<Halves>,
    /// What is not there or could not be used, one sentence each.
    pub missing: Vec<String>,
}

/// The files of one model.
#[derive(Debug, Default)]
pub struct ModelFiles {
    /// Folder name under `models/` and stem of the score file.
    pub name: String,
    /// `none`, `dualmd`, `distillmd`, `kd`, ... as the plan says.
    pub defense: ModelKind,
    /// The plan's `repeat_of`: the model whose recipe was trained again here with another seed.
    pub repeat_of: Option<String>,
    /// Of a comparison: the name of the audit that it is from.
    pub audit: Option<String>,
    /// The plan's `weights_blake3`: hash of the weights that were attacked.
    pub weights_blake3: Option<String>,
    /// `scores/NAME.csv`.
    pub scores: Option<ScoresFile>,
    /// `scores/NAME.json`.
    pub info: Option<Scores>,
    /// `models/NAME/training.json`.
    pub training: Option<Training>,
    /// `logs/NAME.jsonl`.
    pub log: Vec<LogLine>,
    /// `utility/NAME.json`.
    pub utility: Option<Utility>,
    /// `samples/NAME/nearest.json`.
    pub nearest: Option<Nearest>,
    /// Its pairs with their pictures.
    pub pairs: Vec<ShownPair>,
    /// `samples/NAME/grid.png`.
    pub grid: Option<Png>,
    /// Of `samples/NAME/prompts.json` what the report shows.
    pub prompted: Vec<Pictured<PromptedImage>>,
    /// `sets/NAME.json`.
    pub sets: Option<Sets>,
}

/// An entry of a list with the picture that it names.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Pictured<T> {
    /// The entry.
    #[serde(flatten)]
    pub entry: T,
    /// The picture, where it could be read.
    #[serde(skip)]
    pub picture: Option<Png>,
}

impl<T> Deref for Pictured<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.entry
    }
}

/// A generated image beside its nearest training image, as a page shows them.
#[derive(Debug, Clone)]
pub struct ShownPair {
    /// Which, and how near.
    pub pair: NearestPair,
    /// The text that the generated image was drawn for, from `prompts.json`.
    pub prompt: Option<String>,
    /// The two pictures.
    pub pictures: (Option<Png>, Option<Png>),
}
