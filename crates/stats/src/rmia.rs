//! RMIA, the relative membership inference attack (Zarifzadeh, Liu & Shokri, "Low-Cost High-Power Membership Inference
//! Attacks", ICML 2024, arXiv 2312.03262).
//!
//! An image counts as a member when the target model likes it better than models in general do, by a factor that few
//! images of the population reach. With Pr(x | model) = exp(scale phi(x)), phi higher for members,
//!
//! ```text
//! ratio(x) = Pr(x | target) / Pr(x)
//! score(x) = share of the population images z with ratio(x) / ratio(z) >= gamma
//! ```
//!
//! Pr(x), the mean over models in general, comes from reference models ([`Marginal`]). One reference is enough.
//!
//! All images are compared with the same population, so the score orders images as ratio(x) does, with ties. What the
//! population adds is the scale: 1 - score is about the false-positive rate at which the image would be called a member
//! (for gamma 1 exactly that rate in the population), so a threshold can be fixed in advance. Where only the order
//! counts, [`RmiaScores::ln_ratios`] has no ties.
//!
//! **The scale of phi matters** where Pr is averaged. The paper takes the probability of the right class, between 0 and 1. A
//! diffusion model's statistic is a negative loss; it serves as a logarithm of a probability when `scale` brings its
//! differences to the order of 1. With [`Marginal::Offline`] at a = 1 and one reference, ratio(x) is exp(scale (phi_target
//! - phi_reference)) and the order does not depend on `scale`.

use serde::Serialize;

use crate::error::{StatsError, check_finite, check_rate};
use crate::lira::LiraVariance;
use crate::logs::ln_sum_exp;

/// Deviations below it are rounding errors of models that do not differ.
const SMALLEST_SPREAD: f64 = 1e-15;

/// How Pr(x) is estimated from reference models.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub enum Marginal {
    /// (mean over the models with x + mean over the models without x) / 2. Every image to be scored needs one of each;
    /// of a population image that has only one kind, the mean of that kind is taken.
    Online,
    /// ((1 + a) mean over the models without x + 1 - a) / 2: the mean over the models with x is taken to be a times
    /// that over the models without, plus 1 - a. `a` = 1 asks for no more than the models without x; the paper's values are
    /// between 0 and 1, fitted on a pair of reference models (0.3 for CIFAR-10). 1 stands for the largest probability: below
    /// a = 1 no phi may be above 0.
    Offline {
        /// Between 0 and 1.
        a: f64,
    },
}

/// Settings of [`rmia_scores`]; the default is offline with a = 1, gamma 2 (the paper's) and scale 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RmiaOptions {
    /// How many times likelier than z the image must be; positive, usually 1 or more.
    pub gamma: f64,
    /// What phi is multiplied by to be a logarithm of a probability; positive.
    pub scale: f64,
    /// Where Pr(x) comes from.
    pub marginal: Marginal,
}

impl Default for RmiaOptions {
    fn default() -> Self {
        Self {
            gamma: 2.0,
            scale: 1.0,
            marginal: Marginal::Offline { a: 1.0 },
        }
    }
}

/// The statistics of some images under the target and the reference models.
#[derive(Debug, Clone, Copy)]
pub struct RmiaImages<'a> {
    /// phi of each image under the target model, higher for members.
    pub target: &'a [f64],
    /// `references[model][image]`: phi under each reference model.
    pub references: &'a [Vec<f64>],
    /// `inside[model][image]`: whether that reference model was trained on the image.
    pub inside: &'a [Vec<bool>],
}

/// RMIA's scores, higher for members.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RmiaScores {
    /// Share of the population that the image beats by gamma, between 0 and 1; `None` where no reference model gives
    /// Pr(x).
    pub scores: Vec<Option<f64>>,
    /// ln ratio(x): the same order without ties.
    pub ln_ratios: Vec<Option<f64>>,
    /// Images of the population that were compared with.
    pub population: usize,
}

/// RMIA's scores of `images` against `population`: images that the target was not trained on and that are not scored.
///
/// ```
/// use dualmd_stats::{RmiaImages, RmiaOptions, rmia_scores};
/// // Negative losses under the target and one reference model, which has seen none of them.
/// let images = RmiaImages {
///     target: &[-1.0, -3.0],
///     references: &[vec![-3.0, -3.0]],
///     inside: &[vec![false, false]],
/// };
/// let population = RmiaImages {
///     target: &[-2.0, -4.0, -1.0, -0.5],
///     references: &[vec![-2.0, -4.1, -1.2, -3.0]],
///     inside: &[vec![false; 4]],
/// };
/// let found = rmia_scores(images, population, RmiaOptions::default())?;
/// assert_eq!(found.scores, [Some(0.75), Some(0.0)]);
/// # Ok::<(), dualmd_stats::StatsError>(())
/// ```
///
/// # Errors
/// [`StatsError::Lengths`] for tables that differ in shape, [`StatsError::NotFinite`], [`StatsError::OutOfRange`] for a
/// setting out of range or a phi above 0 below a = 1, or [`StatsError::TooFew`] when no reference model serves the
/// population or any image.
pub fn rmia_scores(
    images: RmiaImages<'_>,
    population: RmiaImages<'_>,
    options: RmiaOptions,
) -> Result<RmiaScores, StatsError> {
    check_options(&options)?;
    check_images(&images, &options)?;
    check_images(&population, &options)?;
    let models = images.references.len();
    if population.references.len() != models {
        return Err(StatsError::Lengths {
            what: "reference models of the population",
            got: population.references.len(),
            expected: models,
            per: "reference model of the images",
        });
    }
    let ln_ratios = ratios(&images, &options, true);
    let mut against: Vec<f64> = ratios(&population, &options, false)
        .into_iter()
        .flatten()
        .collect();
    against.sort_unstable_by(f64::total_cmp);
    for (what, got, remedy) in [
        (
            "population images with a ratio",
            against.len(),
            "give images that some reference model was not trained on",
        ),
        (
            "images with a ratio",
            ln_ratios.iter().flatten().count(),
            "train reference models without these images (online: and with them)",
        ),
    ] {
        if got == 0 {
            return Err(StatsError::TooFew {
                what,
                got,
                needed: 1,
                remedy,
            });
        }
    }
    let margin = options.gamma.ln();
    let share = |ratio: f64| {
        let beaten = against.partition_point(|&z| z <= ratio - margin);
        beaten as f64 / against.len() as f64
    };
    Ok(RmiaScores {
        scores: ln_ratios.iter().map(|r| r.map(share)).collect(),
        ln_ratios,
        population: against.len(),
    })
}

/// RMIA with a pool of models that serve as one another's references, as in [`crate::lira_scores`]: the scores of model
/// `target`, with the images at the places `population` to compare with.
///
/// `phi[model][image]` and `inside[model][image]` are LiRA's tables. The images of the population are not scored (`None`).
/// The target must not have been trained on them, which its attacker has to know: they are no part of the audit.
///
/// # Errors
/// As [`rmia_scores`], and [`StatsError::OutOfRange`] for a target or a place that does not exist, a place given twice, or
/// a population image that is a member of the target.
pub fn rmia_pool_scores(
    phi: &[Vec<f64>],
    inside: &[Vec<bool>],
    target: usize,
    population: &[usize],
    options: RmiaOptions,
) -> Result<RmiaScores, StatsError> {
    let refuse = |name, value: usize, expected| {
        Err(StatsError::OutOfRange {
            name,
            value: value as f64,
            expected,
        })
    };
    let (Some(statistics), Some(members)) = (phi.get(target), inside.get(target)) else {
        return refuse("target model", target, "one of the models");
    };
    crate::lira::check_tables(phi, inside)?;
    let mut in_population = vec![false; statistics.len()];
    for &place in population {
        match in_population.get_mut(place) {
            None => return refuse("place of a population image", place, "one of the images"),
            Some(true) => return refuse("place of a population image", place, "given once"),
            Some(flag) => *flag = true,
        }
        if members[place] {
            let expected = "an image that the target was not trained on";
            return refuse("place of a population image", place, expected);
        }
    }
    let side = |wanted: bool| {
        let places: Vec<usize> = (0..statistics.len())
            .filter(|&i| in_population[i] == wanted)
            .collect();
        let others = || (0..phi.len()).filter(|&m| m != target);
        let of = |m: usize| places.iter().map(|&i| phi[m][i]).collect::<Vec<f64>>();
        let flags = |m: usize| places.iter().map(|&i| inside[m][i]).collect::<Vec<bool>>();
        let references: Vec<Vec<f64>> = others().map(of).collect();
        let seen: Vec<Vec<bool>> = others().map(flags).collect();
        Side {
            target: of(target),
            references,
            inside: seen,
            places,
        }
    };
    let (scored, compared) = (side(false), side(true));
    let found = rmia_scores(scored.images(), compared.images(), options)?;
    let spread = |values: &[Option<f64>]| {
        let mut all = vec![None; statistics.len()];
        for (&place, &value) in scored.places.iter().zip(values) {
            all[place] = value;
        }
        all
    };
    Ok(RmiaScores {
        scores: spread(&found.scores),
        ln_ratios: spread(&found.ln_ratios),
        population: found.population,
    })
}

/// What brings the statistics of a pool to the order of 1: one over the standard deviation of phi between the models, the target
/// left out, that were not trained on an image, about each image's own mean. `target`'s statistics and memberships are not looked
/// at, and gamma then counts in these deviations: 2 is ln 2 = 0.69 of them.
///
/// # Errors
/// [`StatsError::Lengths`], [`StatsError::NotFinite`], [`StatsError::OutOfRange`] for a target that does not exist or statistics
/// that do not vary, [`StatsError::TooFew`] when no image was left out by two models besides the target.
pub fn rmia_scale(
    phi: &[Vec<f64>],
    inside: &[Vec<bool>],
    target: usize,
) -> Result<f64, StatsError> {
    crate::lira::check_tables(phi, inside)?;
    if target >= phi.len() {
        return Err(StatsError::OutOfRange {
            name: "target model",
            value: target as f64,
            expected: "one of the models",
        });
    }
    let fits = crate::lira::fits(phi, inside, target, false, LiraVariance::Global);
    let Some(fit) = fits.into_iter().flatten().next() else {
        return Err(StatsError::TooFew {
            what: "images that two reference models were not trained on",
            got: 0,
            needed: 1,
            remedy: "train more models",
        });
    };
    let scale = 1.0 / fit.sd;
    if scale > 1.0 / SMALLEST_SPREAD {
        return Err(StatsError::OutOfRange {
            name: "standard deviation of the statistics between models",
            value: fit.sd,
            expected: "positive: models that were trained apart must differ",
        });
    }
    Ok(scale)
}

/// Some images of a pool.
struct Side {
    target: Vec<f64>,
    references: Vec<Vec<f64>>,
    inside: Vec<Vec<bool>>,
    places: Vec<usize>,
}

impl Side {
    fn images(&self) -> RmiaImages<'_> {
        RmiaImages {
            target: &self.target,
            references: &self.references,
            inside: &self.inside,
        }
    }
}

fn check_options(options: &RmiaOptions) -> Result<(), StatsError> {
    for (name, value) in [("gamma", options.gamma), ("scale", options.scale)] {
        if !(value > 0.0 && value.is_finite()) {
            return Err(StatsError::OutOfRange {
                name,
                value,
                expected: "a positive number",
            });
        }
    }
    match options.marginal {
        Marginal::Offline { a } => check_rate("a", a),
        Marginal::Online => Ok(()),
    }
}

fn check_images(images: &RmiaImages<'_>, options: &RmiaOptions) -> Result<(), StatsError> {
    crate::lira::check_tables(images.references, images.inside)?;
    let (models, n) = (images.references.len(), images.target.len());
    if models == 0 {
        return Err(StatsError::TooFew {
            what: "reference models",
            got: 0,
            needed: 1,
            remedy: "train at least one model without the images",
        });
    }
    if images.references[0].len() != n {
        return Err(StatsError::Lengths {
            what: "statistics of a reference model",
            got: images.references[0].len(),
            expected: n,
            per: "statistic of the target model",
        });
    }
    check_finite("statistic of the target model", images.target)?;
    let bounded = matches!(options.marginal, Marginal::Offline { a } if a < 1.0);
    let mut all = images.references.iter().flatten().chain(images.target);
    if let Some(&value) = all.find(|&&v| bounded && v > 0.0) {
        return Err(StatsError::OutOfRange {
            name: "a statistic",
            value,
            expected: "at most 0 where a is below 1; give negative losses, or a = 1",
        });
    }
    Ok(())
}

/// ln ratio of each image; `strict` asks the online form for models of both kinds.
fn ratios(images: &RmiaImages<'_>, options: &RmiaOptions, strict: bool) -> Vec<Option<f64>> {
    let marginal = |image: usize| -> Option<f64> {
        let mean = |side: bool| {
            let terms: Vec<f64> = (0..images.references.len())
                .filter(|&m| images.inside[m][image] == side)
                .map(|m| options.scale * images.references[m][image])
                .collect();
            (!terms.is_empty()).then(|| ln_sum_exp(&terms) - (terms.len() as f64).ln())
        };
        match options.marginal {
            Marginal::Online => match (mean(true), mean(false)) {
                (Some(within), Some(out)) => Some(ln_sum_exp(&[within, out]) - 2.0_f64.ln()),
                (within, out) => within.or(out).filter(|_| !strict),
            },
            Marginal::Offline { a } => {
                let out = mean(false)?;
                Some(ln_sum_exp(&[a.ln_1p() + out, (1.0 - a).ln()]) - 2.0_f64.ln())
            }
        }
    };
    (0..images.target.len())
        .map(|image| Some(options.scale * images.target[image] - marginal(image)?))
        .collect()
}

#[cfg(test)]
mod tests;
