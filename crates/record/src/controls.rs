//! `controls.json`: the blind baseline, a classifier that sees the images and never the model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{RunFile, Words};

/// Controls of an audit.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Controls {
    /// The blind baseline.
    pub blind_baseline: Option<BlindBaseline>,
}

impl RunFile for Controls {}

/// The blind baseline as it was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BlindBaseline {
    /// AUC of all families of features together, higher = members score higher; below 0.5 it is left there.
    pub auc: f64,
    /// Its 95 % interval.
    pub auc_ci: [f64; 2],
    /// Chance that the most telling family is as telling or more when membership means nothing, corrected for their number.
    pub p_value: Option<f64>,
    /// Do the sets differ in themselves, at the baseline's own level? Files of earlier versions do not say.
    pub void: Option<bool>,
    /// Every family of features on its own, and `all` as the last.
    #[serde(default)]
    pub families: Vec<BlindFamily>,
    /// What tells the sets apart and what to look at, in words.
    #[serde(default)]
    pub why: String,
    /// What the classifier looked at: text, or a list.
    #[serde(default)]
    pub features: Option<Words>,
    /// How it was trained and judged.
    #[serde(default)]
    pub method: Option<Words>,
    /// Differences between the original files, in words; empty when none was found or the files are not known.
    #[serde(default)]
    pub file_findings: Vec<String>,
}

/// The blind baseline on one family of features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BlindFamily {
    /// `pixels`, `texture`, `jpeg`, `resize`, `file` or `all`.
    pub name: String,
    /// AUC of the out-of-fold scores.
    pub auc: f64,
    /// 95 % interval.
    pub auc_ci: [f64; 2],
    /// p-value, corrected for the number of families.
    pub p_value: Option<f64>,
    /// Does it tell the sets apart, after that correction?
    pub telling: bool,
}
