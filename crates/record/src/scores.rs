//! `scores/MODEL.json`: how the scores beside it, in `scores/MODEL.csv`, came about.

use dualmd_names::ModelKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parameters::{AttackParameters, parameters_or_none};
use crate::{Count, RunFile};

/// `status` of an attack that gave scores.
pub const OK: &str = "ok";
/// `status` of an attack that gave none.
pub const FAILED: &str = "failed";

/// How the scores of one model came about.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Scores {
    /// Name of the model in files.
    pub model: String,
    /// Its defence.
    #[schemars(with = "String")]
    pub defense: ModelKind,
    /// One entry per attack that was asked for, failed ones included.
    pub attacks: Vec<ScoredAttack>,
    /// Calls of the network over all attacks.
    pub network_calls_made: Option<Count>,
    /// Calls that were saved by sharing them between attacks.
    pub network_calls_saved: Option<Count>,
    /// Sentences for the reader, e.g. that eps(x, 0) is far from unit variance.
    pub warnings: Vec<String>,
    /// `ema` or `raw`.
    pub weights: Option<String>,
    /// Number format that the network ran in.
    pub dtype: Option<String>,
    /// BLAKE3 hash of the weights that were attacked.
    pub weights_blake3: Option<String>,
    /// Share of the samples whose membership attacks that learn were told.
    pub known_fraction: Option<f64>,
    /// Name of the features that black-box attacks compared images by.
    pub compared_by: Option<String>,
}

impl RunFile for Scores {}

/// One attack on one model.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ScoredAttack {
    /// Name as in the score file.
    pub attack: String,
    /// Name for people.
    pub title: Option<String>,
    /// `white-box`, `grey-box` or `black-box`.
    pub access: Option<String>,
    /// Calls of the network per sample, when nothing is shared with another attack.
    pub network_calls_per_sample: Option<Count>,
    /// Wall time over all samples, s.
    pub seconds: Option<f64>,
    /// `ok` or `failed`.
    pub status: Option<String>,
    /// Why it failed.
    pub reason: Option<String>,
    /// Timesteps, norms and the like; which there are depends on the attack.
    #[serde(deserialize_with = "parameters_or_none")]
    pub parameters: Option<AttackParameters>,
    /// Where it comes from.
    pub paper: Option<String>,
    /// What the score is, higher = more likely a member.
    pub formula: Option<String>,
    /// What it is blind to.
    pub misses: Option<String>,
    /// Hash of all that the scores depend on; empty where there are none. Scores that were not made by asking this one model,
    /// such as LiRA's, have no such hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Samples whose membership it was told to learn from; they have no score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trained_on: Option<TrainedOn>,
    /// What it says of images that the model generated itself: a control.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own: Option<OwnImages>,
    /// The shadow model from which it learnt; none of that model's samples is among the audited ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<LearntOnShadow>,
}

impl ScoredAttack {
    /// Did it give scores?
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.status.as_deref() == Some(OK)
    }

    /// Did it give none?
    #[must_use]
    pub fn failed(&self) -> bool {
        self.status.as_deref() == Some(FAILED)
    }
}

/// Images that the model generated, scored as if they were under attack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OwnImages {
    /// BLAKE3 hash of the images.
    pub of: String,
    /// One score each, in the order of the images; higher = more likely a member.
    pub scores: Vec<f64>,
}

/// The samples that an attack learnt from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrainedOn {
    /// Members.
    pub members: usize,
    /// Non-members.
    pub nonmembers: usize,
}

/// The shadow model and the samples of it that an attack learnt from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LearntOnShadow {
    /// Samples that the shadow model was trained on.
    pub members: usize,
    /// Samples that it was not trained on.
    pub nonmembers: usize,
    /// BLAKE3 hash of its weights.
    #[serde(default)]
    pub weights_blake3: Option<String>,
    /// What stands for the shadow model in what the scores depend on.
    #[serde(default)]
    pub of: Option<String>,
}

impl LearntOnShadow {
    /// Its samples.
    #[must_use]
    pub fn samples(&self) -> TrainedOn {
        TrainedOn {
            members: self.members,
            nonmembers: self.nonmembers,
        }
    }
}
