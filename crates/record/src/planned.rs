//! Parts of a run's plan, and what reports and tables read of a plan, whoever wrote it.

use std::collections::BTreeMap;
use std::fmt;

use dualmd_names::ModelKind;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::number::if_known;
use crate::recipe::CaptionChoice;

/// Captions of the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CaptionFacts {
    /// Members with one caption: with `captions = "any"` they are trained as with "first".
    pub one: usize,
    /// Members with several.
    pub several: usize,
}

/// What a training is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum JobKind {
    /// The images of `[pretrain]`, true noise: what all others start from.
    Pretrain,
    /// All members, true noise.
    Baseline,
    /// One half of the members, true noise (Algorithm 1).
    Teacher {
        /// 1 or 2.
        half: u8,
    },
    /// All members, each answered by the teacher that never saw it (Algorithm 2).
    Student,
    /// As many images that nobody else sees, true noise: what an attacker compares with.
    Reference,
    /// All members, answered by one ordinary model.
    Kd {
        /// Name of that model.
        teacher: String,
    },
    /// All members, gradients clipped and noised.
    DpSgd {
        /// What it may spend; `null` where the noise is given.
        epsilon: Option<f64>,
        /// The noise where it is given.
        noise_multiplier: Option<f64>,
        /// Largest norm of one image's gradient.
        clip: f64,
        /// Draws per image.
        noise_multiplicity: usize,
        /// delta of epsilon.
        delta: f64,
    },
    /// All members; the weights with the lowest loss on images kept for it.
    EarlyStopping {
        /// Measurements without improvement after which it ends; 0: never.
        patience: u64,
    },
    /// One of K disjoint shards of the members.
    Shard {
        /// K.
        shards: usize,
        /// 1 to K.
        shard: usize,
    },
    /// All members, each answered by the mean of the shards' models that never saw it.
    KWay {
        /// K.
        shards: usize,
    },
    /// Images that the two teachers drew in turns.
    Synthetic {
        /// How many; `null`: as many as there are members.
        images: Option<usize>,
    },
    /// K disjoint shards of the members in turn, the weights averaged after every round.
    Iterative {
        /// K.
        shards: usize,
        /// Rounds.
        rounds: u64,
    },
    /// All members, at high noise each under noise of its own.
    Ambient {
        /// Standard deviation of that noise.
        own_noise: f64,
    },
    /// All members, against an attacker that learns along, on images kept for it.
    Smp {
        /// Weight of the attacker's surprise in what the loss is divided by.
        alpha: f64,
        /// What the loss is divided by where the attacker is sure.
        beta: f64,
        /// The attacker's learning rate.
        attacker_rate: f64,
        /// Its steps for each of the model's.
        attacker_steps: u64,
    },
}

/// What reports and tables read of a plan: that of a run, of an audit, or of several that are compared, of this version, an earlier or a later
/// one. What is not there, or stands there in another form, is none.
#[derive(Debug, Default, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct AnyPlan {
    /// Name of the run; of an audit the model folders.
    #[serde(deserialize_with = "if_known")]
    pub name: Option<String>,
    /// The run's seed; of an audit that of the attacks' noise.
    #[serde(deserialize_with = "if_known")]
    pub seed: Option<u64>,
    /// Hash of the split file.
    #[serde(deserialize_with = "if_known")]
    pub split_hash: Option<String>,
    /// The images.
    #[serde(deserialize_with = "or_default")]
    pub data: PlannedData,
    /// The network; of several that are audited none.
    #[serde(deserialize_with = "or_default")]
    pub model: PlannedNetwork,
    /// `[train]`.
    #[serde(deserialize_with = "if_known")]
    pub train: Option<PlannedRecipe>,
    /// The trainings.
    #[serde(deserialize_with = "entries")]
    pub trainings: Vec<PlannedTraining>,
    /// The models that were to be audited.
    #[serde(deserialize_with = "entries")]
    pub models: Vec<PlannedModel>,
    /// `[sample]`.
    #[serde(deserialize_with = "or_default")]
    pub sample: PlannedSample,
    /// `[audit]`.
    #[serde(deserialize_with = "or_default")]
    pub audit: PlannedAudit,
}

impl AnyPlan {
    /// What is read of `plan`; of what is no object nothing.
    #[must_use]
    pub fn of(plan: &Value) -> Self {
        Self::deserialize(plan).unwrap_or_default()
    }

    /// The training of a model; none of one that the plan does not train.
    #[must_use]
    pub fn training(&self, name: &str) -> Option<&PlannedTraining> {
        self.trainings.iter().find(|training| training.name == name)
    }

    /// The recipe of a model's training: its own, or that of all.
    #[must_use]
    pub fn recipe(&self, name: &str) -> Option<&PlannedRecipe> {
        let own = self.training(name).and_then(|t| t.train.as_ref());
        own.or(self.train.as_ref())
    }
}

/// The images of a plan.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PlannedData {
    /// As the experiment or the command names them.
    #[serde(deserialize_with = "if_known")]
    pub source: Option<String>,
    /// Side in pixels.
    #[serde(deserialize_with = "if_known")]
    pub image_size: Option<u64>,
    /// 1 or 3.
    #[serde(deserialize_with = "if_known")]
    pub channels: Option<u64>,
    /// Members.
    #[serde(deserialize_with = "if_known")]
    pub members: Option<u64>,
    /// Non-members.
    #[serde(deserialize_with = "if_known")]
    pub nonmembers: Option<u64>,
    /// Hash of all images of the source.
    #[serde(deserialize_with = "if_known")]
    pub content: Option<String>,
    /// Captions of the members.
    #[serde(deserialize_with = "if_known")]
    pub captions: Option<CaptionFacts>,
}

/// The network of a plan.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PlannedNetwork {
    /// Is it told a text? An audit does not say.
    #[serde(deserialize_with = "if_known")]
    pub text: Option<bool>,
}

/// How a plan's models are trained.
#[derive(Debug, Default, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct PlannedRecipe {
    /// Optimiser steps.
    #[serde(deserialize_with = "if_known")]
    pub steps: Option<u64>,
    /// Images per step.
    #[serde(deserialize_with = "if_known")]
    pub batch: Option<u64>,
    /// Which caption a model is told.
    #[serde(deserialize_with = "if_known")]
    pub captions: Option<CaptionChoice>,
    /// All other settings, as they stand there: by them recipes are told apart, also those that this version does not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// One training of a plan.
#[derive(Debug, Default, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct PlannedTraining {
    /// Folder under `models/`.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Models that it learns from.
    #[serde(deserialize_with = "or_default")]
    pub needs: Vec<String>,
    /// Its recipe, where it is not the plan's.
    #[serde(deserialize_with = "if_known")]
    pub train: Option<PlannedRecipe>,
    /// What it is.
    #[serde(flatten, deserialize_with = "if_known")]
    pub kind: Option<JobKind>,
}

/// One model of a plan that was to be audited.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PlannedModel {
    /// Its name in files.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Its defence.
    #[serde(deserialize_with = "or_default")]
    pub defense: ModelKind,
    /// The model whose recipe was trained again with another seed.
    #[serde(deserialize_with = "if_known")]
    pub repeat_of: Option<String>,
    /// Hash of its weights, of an audit.
    #[serde(deserialize_with = "if_known")]
    pub weights_blake3: Option<String>,
    /// Model folders that are loaded for it, of a run.
    #[serde(deserialize_with = "if_known")]
    pub parts: Option<Vec<String>>,
}

/// How a plan's images are generated.
#[derive(Debug, Default, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct PlannedSample {
    /// Images per model.
    #[serde(deserialize_with = "if_known")]
    pub n: Option<u64>,
    /// `ddim` or `ddpm`.
    #[serde(deserialize_with = "if_known")]
    pub sampler: Option<String>,
    /// Network calls per image.
    #[serde(deserialize_with = "if_known")]
    pub steps: Option<u64>,
    /// Images for each prompt.
    #[serde(deserialize_with = "if_known")]
    pub per_prompt: Option<u64>,
    /// Guidance scale.
    #[serde(deserialize_with = "if_known")]
    pub guidance: Option<f64>,
}

/// How a plan's models are audited.
#[derive(Debug, Default, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct PlannedAudit {
    /// Delta of bounds on epsilon.
    pub delta: Option<Written<f64>>,
    /// Rules of public codes.
    #[serde(deserialize_with = "entries")]
    pub compat: Vec<Written<String>>,
}

/// What somebody wrote: of the kind that is asked for, or of another.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Written<T> {
    /// Of that kind.
    Known(T),
    /// Of another.
    Other(Value),
}

impl<T: fmt::Display> fmt::Display for Written<T> {
    /// Another kind as JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(known) => write!(f, "{known}"),
            Self::Other(value) => write!(f, "{value}"),
        }
    }
}

/// Deserialises what may stand there in another form: then it is the default.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    Ok(if_known(deserializer)?.unwrap_or_default())
}

/// Deserialises those entries of a list that are in a known form.
fn entries<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let all: Vec<Value> = or_default(deserializer)?;
    let known = all.into_iter().map(serde_json::from_value);
    Ok(known.filter_map(Result::ok).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_plan_of_a_run_is_read() {
        let plan = AnyPlan::of(&json!({
            "schema": 1, "name": "demo", "seed": 7, "split_hash": "abc", "model": { "text": true, "config": {} },
            "data": { "source": "fashion", "channels": 1, "members": 24, "captions": { "one": 3, "several": 21 } },
            "train": { "steps": 100, "batch": 8, "captions": "any", "clip": 1.0 },
            "trainings": [
                { "name": "base", "kind": "pretrain", "needs": [], "seed": 1, "train": { "steps": 5, "batch": 8, "clip": 1.0 } },
                { "name": "four", "kind": "k-way", "shards": 4, "needs": ["a", "b"], "seed": 1 },
            ],
            "models": [{ "name": "dualmd", "defense": "dualmd", "parts": ["teacher-1", "teacher-2"] }],
            "sample": { "n": 64, "steps": 50, "guidance": 3 }, "audit": { "delta": 0.001, "compat": ["pia"] },
        }));
        assert_eq!((plan.seed, plan.data.members), (Some(7), Some(24)));
        assert_eq!(plan.model.text, Some(true));
        let captions = plan.data.captions.unwrap();
        assert_eq!((captions.one, captions.several), (3, 21));
        let training = |name| plan.training(name).unwrap();
        assert_eq!(training("base").kind, Some(JobKind::Pretrain));
        assert_eq!(training("four").kind, Some(JobKind::KWay { shards: 4 }));
        assert_eq!(training("four").needs, ["a", "b"]);
        let recipe = |name| plan.recipe(name).unwrap();
        assert_eq!(recipe("four").captions, Some(CaptionChoice::Any));
        assert_eq!(
            (recipe("four").steps, recipe("base").steps),
            (Some(100), Some(5))
        );
        assert_eq!(recipe("base").other, recipe("four").other);
        assert_eq!(recipe("base").other.len(), 1);
        assert_eq!(plan.models[0].parts.as_ref().unwrap().len(), 2);
        assert_eq!(plan.sample.guidance, Some(3.0));
        assert_eq!(plan.audit.delta, Some(Written::Known(0.001)));
    }

    /// As an audit, another version or another program writes it.
    #[test]
    fn what_is_missing_or_of_another_form_is_none() {
        for nothing in [
            json!(null),
            json!([1]),
            json!("plan"),
            json!({}),
            json!({
                "name": 3, "seed": -1, "data": "images", "model": null, "train": [], "trainings": {}, "models": 4, "sample": { "n": "all" },
                "audit": { "delta": null, "compat": "pia" },
            }),
        ] {
            assert_eq!(AnyPlan::of(&nothing), AnyPlan::default(), "{nothing}");
        }
        let plan = AnyPlan::of(&json!({
            "trainings": [3, { "name": "later", "kind": "by-osmosis", "speed": 2 }, { "kind": "teacher", "half": 1 }],
            "models": [{ "name": ["two"], "defense": 7, "parts": "one" }],
            "audit": { "delta": "small", "compat": ["pia", 3] },
        }));
        assert_eq!(plan.trainings.len(), 2);
        let later = plan.training("later").unwrap();
        assert_eq!((&later.kind, &later.train), (&None, &None));
        assert_eq!(plan.trainings[1].kind, Some(JobKind::Teacher { half: 1 }));
        assert_eq!(plan.models, [PlannedModel::default()]);
        assert_eq!(plan.audit.delta.unwrap().to_string(), "\"small\"");
        let compat: Vec<String> = plan.audit.compat.iter().map(ToString::to_string).collect();
        assert_eq!(compat, ["pia", "3"]);
    }
}
