//! LiRA, the likelihood-ratio attack (Carlini et al., "Membership Inference Attacks From First Principles", S&P 2022),
//! in its leave-one-out form.
//!
//! Some images have a low loss under every model; a global threshold calls them members. LiRA asks instead how this
//! image's statistic is spread over models that were trained with it and models that were not. N models, each trained
//! on an independent half of the pool, serve as one another's shadows: each takes its turn as the target, the others
//! give the two spreads (Aerni et al., 2024, arXiv 2404.17399). For target model j and sample i
//!
//! ```text
//! score = log N(phi_ji; mean_in, sd_in) - log N(phi_ji; mean_out, sd_out)
//! ```
//!
//! with the fits over the models other than j that contain i, and that do not. For DualMD and DistillMD a "model" is
//! the whole pipeline: split, two teachers, student.
//!
//! One target's scores make one audit. Pooled over targets they are neither independent (each sample comes N times)
//! nor the view of any attacker, who has one target: intervals from pooled scores are too narrow.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{StatsError, check_finite};
use crate::ranks::mean;

/// Models below which [`LiraVariance::Auto`] takes one variance for all samples.
const FEW_MODELS: usize = 32;

/// Keeps the density finite when all models agree, as in the code of Aerni et al.
const SMALLEST_SD: f64 = 1e-30;

/// Where the standard deviations of the fits come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LiraVariance {
    /// One for every sample, from its own models: needs two on either side, and many to be any good.
    PerSample,
    /// One for all samples, "in" and "out" apart: the mean square deviation from each sample's own mean. Needs one model
    /// on either side. (The codes of Carlini et al. and Aerni et al. take the spread of all statistics together, which
    /// counts the difference between easy and hard samples as noise and shrinks all scores.)
    Global,
    /// `Global` below 32 models, else `PerSample`.
    #[default]
    Auto,
}

/// LiRA's scores, higher for members.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LiraScores {
    /// `scores[model][sample]`; `None` where the other models are too few to fit.
    pub scores: Vec<Vec<Option<f64>>>,
    /// How the variances were taken; never `Auto`.
    pub variance: LiraVariance,
    /// Models that a sample needs on either side (offline: on the "out" side), the target not counted.
    pub needed: usize,
    /// Scores that are `None`.
    pub missing: usize,
}

impl LiraScores {
    /// The scores of one target model as (members, non-members), missing ones left out.
    ///
    /// `None` when there is no such model in the scores or in `inside`.
    pub fn of_model(&self, model: usize, inside: &[Vec<bool>]) -> Option<(Vec<f64>, Vec<f64>)> {
        let (scores, flags) = (self.scores.get(model)?, inside.get(model)?);
        let side = |member| {
            let kept = scores
                .iter()
                .zip(flags)
                .filter(|&(_, &inside)| inside == member);
            kept.filter_map(|(score, _)| *score).collect()
        };
        Some((side(true), side(false)))
    }
}

/// Online LiRA, every model in turn the target of the others.
///
/// `phi[model][sample]` is a statistic that is higher for members (a negative loss, averaged over noises and flips
/// that are the same for all models), `inside[model][sample]` says whether the model was trained on the sample.
///
/// # Errors
/// [`StatsError::Lengths`] when the two tables differ in shape, [`StatsError::NotFinite`] (numbered by model), or
/// [`StatsError::TooFew`] when no sample has the models that its fits need.
pub fn lira_scores(
    phi: &[Vec<f64>],
    inside: &[Vec<bool>],
    variance: LiraVariance,
) -> Result<LiraScores, StatsError> {
    scores(phi, inside, variance, true)
}

/// Offline LiRA: only models without the sample, so it also serves where no shadow contains the samples in question.
///
/// The score is (phi - mean_out) / sd_out. Carlini et al. report the normal probability of being below phi, which
/// orders the scores alike but is 1 for all that lie far above.
///
/// # Errors
/// As [`lira_scores`].
pub fn lira_offline_scores(
    phi: &[Vec<f64>],
    inside: &[Vec<bool>],
    variance: LiraVariance,
) -> Result<LiraScores, StatsError> {
    scores(phi, inside, variance, false)
}

fn scores(
    phi: &[Vec<f64>],
    inside: &[Vec<bool>],
    variance: LiraVariance,
    online: bool,
) -> Result<LiraScores, StatsError> {
    check_tables(phi, inside)?;
    let variance = match variance {
        LiraVariance::Auto if phi.len() < FEW_MODELS => LiraVariance::Global,
        LiraVariance::Auto => LiraVariance::PerSample,
        chosen => chosen,
    };
    let needed = if variance == LiraVariance::Global {
        1
    } else {
        2
    };
    let per_model = |target: usize| {
        let out = fits(phi, inside, target, false, variance);
        let within = online.then(|| fits(phi, inside, target, true, variance));
        let score = |sample: usize| {
            let x = phi[target][sample];
            let out = out[sample].as_ref()?;
            match &within {
                Some(within) => Some(within[sample].as_ref()?.ln_density(x) - out.ln_density(x)),
                None => Some((x - out.mean) / out.sd),
            }
        };
        (0..phi[target].len()).map(score).collect::<Vec<_>>()
    };
    let scores: Vec<Vec<Option<f64>>> = (0..phi.len()).map(per_model).collect();
    let all: usize = scores.iter().map(Vec::len).sum();
    let missing = scores.iter().flatten().filter(|s| s.is_none()).count();
    if missing == all {
        return Err(StatsError::TooFew {
            what: "samples with enough models besides the target",
            got: 0,
            needed: 1,
            remedy: match (online, needed) {
                (true, 1) => {
                    "train more: at least 1 with and 1 without each sample, and 2 of each for some sample"
                }
                (true, _) => {
                    "train more: at least 2 with and 2 without each sample, or use the global variance"
                }
                (false, 1) => "train more: at least 1 without each sample, and 2 for some sample",
                (false, _) => {
                    "train more: at least 2 without each sample, or use the global variance"
                }
            },
        });
    }
    Ok(LiraScores {
        scores,
        variance,
        needed,
        missing,
    })
}

/// Refuses tables of different shapes and statistics that are not finite.
pub(crate) fn check_tables(phi: &[Vec<f64>], inside: &[Vec<bool>]) -> Result<(), StatsError> {
    let samples = phi.first().map_or(0, Vec::len);
    if inside.len() != phi.len() {
        return Err(StatsError::Lengths {
            what: "rows of memberships",
            got: inside.len(),
            expected: phi.len(),
            per: "model",
        });
    }
    for (index, (values, flags)) in phi.iter().zip(inside).enumerate() {
        for (what, got) in [
            ("statistics of a model", values.len()),
            ("memberships of a model", flags.len()),
        ] {
            if got != samples {
                return Err(StatsError::Lengths {
                    what,
                    got,
                    expected: samples,
                    per: "sample",
                });
            }
        }
        if check_finite("statistic", values).is_err() {
            let what = "some statistic of model";
            return Err(StatsError::NotFinite { what, index });
        }
    }
    Ok(())
}

/// A normal distribution.
pub(crate) struct Fit {
    mean: f64,
    pub(crate) sd: f64,
}

impl Fit {
    /// Without the constant ln sqrt(2 pi), which cancels.
    fn ln_density(&self, x: f64) -> f64 {
        let z = (x - self.mean) / self.sd;
        -z * z / 2.0 - self.sd.ln()
    }
}

/// The fit of each sample over the models on one side, the target left out; `None` where they are too few.
pub(crate) fn fits(
    phi: &[Vec<f64>],
    inside: &[Vec<bool>],
    target: usize,
    side: bool,
    variance: LiraVariance,
) -> Vec<Option<Fit>> {
    let spreads: Vec<Spread> = (0..phi[target].len())
        .map(|sample| {
            let others = (0..phi.len()).filter(|&m| m != target && inside[m][sample] == side);
            Spread::new(&others.map(|m| phi[m][sample]).collect::<Vec<_>>())
        })
        .collect();
    let pooled = |of: fn(&Spread) -> f64| spreads.iter().map(of).sum::<f64>();
    let global = pooled(|s| s.squares) / pooled(|s| s.n.saturating_sub(1) as f64);
    spreads
        .iter()
        .map(|s| {
            let variance = match variance {
                LiraVariance::PerSample => s.squares / (s.n as f64 - 1.0),
                _ => global,
            };
            // 0 / 0: no degree of freedom.
            (s.n > 0 && !variance.is_nan()).then(|| Fit {
                mean: s.mean,
                sd: variance.sqrt() + SMALLEST_SD,
            })
        })
        .collect()
}

/// Count, mean and sum of squared deviations.
struct Spread {
    n: usize,
    mean: f64,
    squares: f64,
}

impl Spread {
    fn new(values: &[f64]) -> Self {
        let mean = mean(values);
        Self {
            n: values.len(),
            mean,
            squares: values.iter().map(|v| (v - mean).powi(2)).sum(),
        }
    }
}

#[cfg(test)]
mod tests;
