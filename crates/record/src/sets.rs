//! `sets/MODEL.json`: tests of whole sets of images, such as the members against the non-members.

use dualmd_stats::PowerPoint;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Keys, RunFile, Words};

/// The tests that were made on one model.
///
/// ```json
/// { "features": "residuals of the network at t = 200, 64 dimensions",
///   "tests": [{ "name": "mmd-error-space", "title": "Errors of the model", "what": "members against non-members",
///               "members": 64, "nonmembers": 512, "statistic": 0.0031, "p_value": 0.002, "permutations": 1000 }] }
/// ```
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Sets {
    /// What the images were turned into before they were compared.
    pub features: Option<Words>,
    /// The tests.
    pub tests: Vec<SetTest>,
    /// Dataset inference; null where images or attacks were too few for it, and in files of earlier versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inference: Option<Inference>,
}

impl RunFile for Sets {
    const KEYS: Keys = Keys::AsListed;
}

/// How many images prove use to someone who has as many that certainly were not used: the plan of CDI (Dubinski et al. 2025), by a
/// permutation test. The same test on all images is `dataset-inference` among the tests.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Inference {
    /// Names of the attacks whose scores, as ranks, are an image's features.
    pub features: Vec<String>,
    /// Why it was not made: a difference of the sets that is no training would pass for use.
    pub refused: Option<String>,
    /// Level of the test.
    pub alpha: f64,
    /// Relabellings of each set that was drawn.
    pub relabellings: usize,
    /// Share of sets of k members, against k non-members, that are shown to have been used.
    pub power: Vec<PowerPoint>,
    /// The first of these k for which that share is 0.8 or more; null if there is none.
    pub images_needed: Option<usize>,
}

/// One permutation test of two sets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
