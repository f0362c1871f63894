//! `lira.json`: LiRA over several runs of one experiment, every run in turn the target of the others.

use dualmd_names::ModelKind;
use dualmd_stats::{LiraVariance, SeedSummary};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::RunFile;

/// What `dualmd lira` found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Lira {
    /// The command line.
    pub command: String,
    /// Runs.
    pub models: usize,
    /// Runs that all attacks of the experiment attacked as well.
    pub targets: usize,
    /// What LiRA compares.
    pub statistic: Statistic,
    /// How RMIA compares it; null in files of earlier versions.
    #[serde(default)]
    pub rmia: Option<Rmia>,
    /// One entry per model of the experiment.
    pub results: Vec<LiraResult>,
}

impl RunFile for Lira {}

/// The statistic whose distribution LiRA compares between runs that saw an image and runs that did not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Statistic {
    /// The attack whose score it is.
    pub attack: String,
    /// Timestep, from 0.
    pub t: i64,
    /// Noise draws.
    pub draws: usize,
    /// Is it averaged over both mirror images?
    pub flip: bool,
}

/// RMIA's settings. They are fixed before anything is measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rmia {
    /// How many times likelier than an image of the population an image must be, to beat it.
    pub gamma: f64,
    /// a of the offline form: 1 compares with the runs that did not see the image, and assumes nothing about those that did.
    pub offline_a: f64,
    /// Share of a target's non-members that are its population, and are not scored.
    pub population: f64,
}

/// LiRA on one model of the experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LiraResult {
    /// Name of the model.
    pub model: String,
    /// Its defence.
    #[schemars(with = "String")]
    pub defense: ModelKind,
    /// How the variances were taken.
    pub variance: LiraVariance,
    /// Scores that could not be had, because the other runs are too few.
    pub missing_scores: usize,
    /// Images that membership was drawn from.
    pub pool: usize,
    /// Each attack over all runs.
    pub combined: Attacks<Combined>,
    /// Each run as the target.
    pub shadows: Vec<Target>,
}

/// Something for each of the attacks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Attacks<T> {
    /// The statistic alone.
    pub loss: T,
    /// Online LiRA.
    pub lira: T,
    /// Offline LiRA.
    #[serde(rename = "lira-offline")]
    pub lira_offline: T,
    /// RMIA, offline; null where no run could be attacked so, and in files of earlier versions.
    pub rmia: Option<T>,
}

/// One attack over all runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Combined {
    /// Mean AUC.
    pub auc_mean: f64,
    /// Mean TPR at the false-positive rate of the runs.
    pub tpr_mean: f64,
    /// The AUC over runs with its interval; null of one run.
    pub auc: Option<SeedSummary>,
    /// Runs.
    pub runs: usize,
}

/// One run as the target of the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// Number of the run.
    pub shadow: usize,
    /// The statistic alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Measured>,
    /// Online LiRA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lira: Option<Measured>,
    /// Offline LiRA.
    #[serde(
        default,
        rename = "lira-offline",
        skip_serializing_if = "Option::is_none"
    )]
    pub lira_offline: Option<Measured>,
    /// RMIA, offline, on the images outside its population.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rmia: Option<Measured>,
    /// What RMIA calls members at a threshold that is fixed in advance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rmia_called: Option<Called>,
}

/// Images that beat every image of the population by gamma. No label and no score of an audited image sets this threshold. An image
/// like those of the population passes it in 1 of `population` + 1 cases at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Called {
    /// Members that pass.
    pub members: usize,
    /// Of so many.
    pub of_members: usize,
    /// Non-members that pass.
    pub nonmembers: usize,
    /// Of so many.
    pub of_nonmembers: usize,
    /// Images of the population.
    pub population: usize,
}

/// One attack on one run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// AUC.
    pub auc: f64,
    /// Its 95 % interval.
    pub auc_ci: [f64; 2],
    /// Its standard error, from the width of the interval.
    pub auc_se: f64,
    /// TPR at `fpr`.
    pub tpr: f64,
    /// The false-positive rate.
    pub fpr: f64,
    /// Members with a score.
    pub n_members: usize,
    /// Non-members with a score.
    pub n_nonmembers: usize,
}
