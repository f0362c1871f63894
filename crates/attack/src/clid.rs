//! CLiD: a member's own caption helps the model more than another text would.
//!
//! *Paper*: Zhai et al. 2024, "Membership Inference on Text-to-Image Diffusion Models via
//! Conditional Likelihood Discrepancy" (NeurIPS, arXiv 2405.14800); timesteps, conditions and the threshold form as in
//! its public code.
//!
//! *Equation*: L(c) = mean over t in {440, 450, 460} and over channels and pixels of (eps_t - eps(x_t, t, c))^2, with one
//! draw eps_t per sample and timestep that all conditions share, at guidance 1. a = L(c), b = -mean_k (L(c_k) - L(c))
//! over the reduced captions c_k, of which the last is the empty prompt. On the known samples both are centred at their
//! median and divided by their interquartile range; score = -((1 - alpha) a + alpha b), with the alpha of 0, 0.1, ..., 1
//! that has the largest AUC there. And without anything to learn, `clid-gap` = L(empty) - L(c).
//!
//! *Threat model*: evaluates the noise predictor at inputs and with texts of the attacker's choice; no gradients. Knows the
//! caption that the image was trained with. `clid` also knows for a part of the images whether they were trained on.
//!
//! *Queries per sample*: 3 for each condition: 6 for `clid-gap`, 15 with three reduced captions as in the paper. Shared.
//!
//! *What the score means*: training fits eps(., c) at the pairs (x, c) that it saw. A difference of two losses of one
//! image with one noise is free of how hard the image is and of the draw's luck.
//!
//! *What it misses*: models trained with several captions per image (try `clid-gap+captions`), with captions dropped
//! often, or that do not listen to the text at all. Reduced captions come with the samples
//! ([`crate::Prompts::with_reduced`]): the thirds of the caption, as one of the public code's variants has it ([`thirds`]); another
//! replaces the 30, 50 and 70 % most important words by the end-of-text token. The paper's second form learns from all five losses,
//! by boosted trees; here (`clid-vec`) by logistic regression. And its public code draws unseeded noise, where ours belongs to
//! the sample.

use crate::batch::Model;
use crate::prompts::Caption;
use crate::reduce::add_mean_squares;
use crate::{Access, Attack, AttackError, AttackInfo, Batch, Learned, Result, Rule, logistic};
use dualmd_record::AttackParameters;
use dualmd_torch::{Kind, Tensor};

const PAPER: &str = "Zhai et al. 2024, arXiv 2405.14800";

/// The public code's distance between neighbouring timesteps.
const STEP: i64 = 10;

/// CLiD, threshold form. Default: t = 440, 450, 460, the public code's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clid {
    /// Timesteps, 0-based.
    pub timesteps: Vec<i64>,
}

/// The gap between the empty prompt and the sample's own. Default: t = 440, 450, 460, as [`Clid`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClidGap {
    /// Timesteps, 0-based.
    pub timesteps: Vec<i64>,
}

/// CLiD from all its losses, the paper's second form. Default: as [`Clid`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClidVec(
    /// Whose losses.
    pub Clid,
);

/// Reduced captions that samples have, as a rule.
const REDUCED: usize = 3;

/// The thirds of a caption, by its characters: what one of the public code's variants tells the model in place of the whole.
/// None of them is empty; a caption of fewer than three characters has fewer.
#[must_use]
pub fn thirds(caption: &str) -> Vec<String> {
    let letters: Vec<char> = caption.chars().collect();
    (0..REDUCED)
        .map(|k| &letters[k * letters.len() / REDUCED..(k + 1) * letters.len() / REDUCED])
        .filter(|part| !part.is_empty())
        .map(|part| part.iter().collect())
        .collect()
}

/// The three timesteps around `t`.
fn around(t: i64) -> Vec<i64> {
    vec![t - STEP, t, t + STEP]
}

impl Clid {
    /// At the three timesteps t - 10, t and t + 10.
    #[must_use]
    pub fn around(t: i64) -> Self {
        Self {
            timesteps: around(t),
        }
    }
}

impl ClidGap {
    /// At the three timesteps t - 10, t and t + 10.
    #[must_use]
    pub fn around(t: i64) -> Self {
        Self {
            timesteps: around(t),
        }
    }
}

impl Default for Clid {
    fn default() -> Self {
        Self::around(450)
    }
}

impl Default for ClidGap {
    fn default() -> Self {
        Self::around(450)
    }
}

/// L(caption) per sample: draw k belongs to the k-th timestep, whatever the caption. `None`: the caption that is told now.
fn loss(
    batch: &mut Batch<'_>,
    attack: &'static str,
    caption: Option<Caption>,
    timesteps: &[i64],
) -> Result<Vec<f64>> {
    if timesteps.is_empty() {
        return Err(AttackError::Parameter {
            attack,
            reason: "no timesteps: choose at least one".into(),
        });
    }
    let ask = |batch: &mut Batch<'_>| {
        let mut sum = vec![0.0; batch.ids().len()];
        for (k, &t) in timesteps.iter().enumerate() {
            let residual = batch.draw(k)? - batch.eps_noisy(Model::Target, k, t)?;
            let residual = batch.residual(residual)?;
            add_mean_squares(&mut sum, &residual, 1.0 / timesteps.len() as f64)?;
        }
        Ok(sum)
    };
    match caption {
        Some(caption) => batch.with_caption(caption, ask),
        None => ask(batch),
    }
}

/// Of every sample L(c), then L(c_k) - L(c) of its reduced captions and, last, of the empty prompt.
fn losses(batch: &mut Batch<'_>, attack: &'static str, timesteps: &[i64]) -> Result<Vec<Vec<f64>>> {
    let counts = batch.reduced_captions()?;
    let own = loss(batch, attack, None, timesteps)?;
    let empty = loss(batch, attack, Some(Caption::Empty), timesteps)?;
    let mut rows: Vec<Vec<f64>> = own.iter().map(|&l| vec![l]).collect();
    for k in 0..counts.iter().copied().max().unwrap_or(0) {
        let reduced = loss(batch, attack, Some(Caption::Reduced(k)), timesteps)?;
        for (i, loss) in reduced.into_iter().enumerate() {
            if k < counts[i] {
                rows[i].push(loss - own[i]);
            }
        }
    }
    for (i, row) in rows.iter_mut().enumerate() {
        row.push(empty[i] - own[i]);
    }
    Ok(rows)
}

impl Learned for Clid {
    fn info(&self) -> AttackInfo {
        AttackInfo {
            name: "clid".into(),
            title: "CLiD (own caption against reduced ones)".into(),
            paper: PAPER,
            access: Access::WhiteBox,
            formula: "-((1 - alpha) a + alpha b), a = L(c), b = -mean_k (L(c_k) - L(c)), both scaled robustly and alpha chosen on known \
                      samples; L(c) = mean_t (eps - eps(x_t, t, c))^2".into(),
            network_calls_per_sample: (2 + REDUCED) * self.timesteps.len(),
            parameters: AttackParameters {
                timesteps: Some(self.timesteps.clone()),
                reduced_captions: Some(REDUCED),
                ..AttackParameters::default()
            },
            misses: "models that saw several captions of an image, or that do not listen to the text; with few known samples alpha is \
                     a guess",
        }
    }

    fn features(&self, batch: &mut Batch<'_>) -> Result<Tensor> {
        let rows: Vec<f64> = losses(batch, "clid", &self.timesteps)?
            .iter()
            .flat_map(|row| {
                let differences = &row[1..];
                let mean = differences.iter().sum::<f64>() / differences.len() as f64;
                [row[0], mean]
            })
            .collect();
        Ok(Tensor::from_slice(&rows).f_view([-1, 2])?)
    }

    fn learn(&self, features: &Tensor, member: &[bool], _seed: u64) -> Result<Rule> {
        let known = rows(features)?;
        if known.len() != member.len() || member.iter().all(|m| *m) || !member.contains(&true) {
            return Err(AttackError::Samples(format!(
                "{} known samples with {} labels: CLiD needs members and non-members to learn from",
                known.len(),
                member.len()
            )));
        }
        let scalers = [0, 1].map(|i| Robust::of(known.iter().map(|row| row[i]).collect()));
        let score = move |row: &[f64; 2], alpha: f64| {
            let (a, b) = (scalers[0].apply(row[0]), scalers[1].apply(row[1]));
            -((1.0 - alpha) * a + alpha * b)
        };
        let mut best = (f64::NEG_INFINITY, 0.0);
        for tenth in 0..=10 {
            let alpha = f64::from(tenth) / 10.0;
            let scores: Vec<f64> = known.iter().map(|row| score(row, alpha)).collect();
            let auc = auc(&scores, member);
            // Of equals the first, which trusts the plain loss most.
            if auc > best.0 {
                best = (auc, alpha);
            }
        }
        let alpha = best.1;
        Ok(Box::new(move |features| {
            Ok(rows(features)?
                .iter()
                .map(|row| score(row, alpha))
                .collect())
        }))
    }
}

impl Learned for ClidVec {
    fn info(&self) -> AttackInfo {
        AttackInfo {
            name: "clid-vec".into(),
            title: "CLiD (all losses, learned)".into(),
            paper: PAPER,
            access: Access::WhiteBox,
            formula: "log-odds by logistic regression on L(c), L(c_k) - L(c) of the reduced captions, and L(empty) - L(c); L(c) = \
                      mean_t (eps - eps(x_t, t, c))^2".into(),
            network_calls_per_sample: (2 + REDUCED) * self.0.timesteps.len(),
            parameters: AttackParameters {
                timesteps: Some(self.0.timesteps.clone()),
                reduced_captions: Some(REDUCED),
                ..AttackParameters::default()
            },
            misses: "models that saw several captions of an image, or that do not listen to the text; with few known samples there is \
                     little to learn from",
        }
    }

    fn features(&self, batch: &mut Batch<'_>) -> Result<Tensor> {
        let rows: Vec<f64> = losses(batch, "clid-vec", &self.0.timesteps)?
            .into_iter()
            .flat_map(|mut row| {
                // Where a caption has fewer parts, the empty prompt takes their place.
                let empty = row.pop().unwrap_or_default();
                row.resize(1 + REDUCED, empty);
                row.push(empty);
                row
            })
            .collect();
        Ok(Tensor::from_slice(&rows).f_view([-1, 2 + REDUCED as i64])?)
    }

    fn learn(&self, features: &Tensor, member: &[bool], seed: u64) -> Result<Rule> {
        logistic::learn("clid-vec", features, member, seed)
    }
}

impl Attack for ClidGap {
    fn info(&self) -> AttackInfo {
        AttackInfo {
            name: "clid-gap".into(),
            title: "Caption gap (own caption against none)".into(),
            paper: PAPER,
            access: Access::WhiteBox,
            formula: "L(empty) - L(c), L(c) = mean_t (eps - eps(x_t, t, c))^2".into(),
            network_calls_per_sample: 2 * self.timesteps.len(),
            parameters: AttackParameters {
                timesteps: Some(self.timesteps.clone()),
                ..AttackParameters::default()
            },
            misses: "models that saw several captions of an image, or that do not listen to the text; captions that describe the image \
                     well help whether it was trained on or not",
        }
    }

    fn score(&self, batch: &mut Batch<'_>) -> Result<Vec<f64>> {
        let empty = loss(batch, "clid-gap", Some(Caption::Empty), &self.timesteps)?;
        let own = loss(batch, "clid-gap", None, &self.timesteps)?;
        Ok(empty.into_iter().zip(own).map(|(e, o)| e - o).collect())
    }
}

/// Features (L(c), mean difference) as (a, b): lower speaks for a member in both.
fn rows(features: &Tensor) -> Result<Vec<[f64; 2]>> {
    let flat: Vec<f64> = Vec::try_from(features.f_to_kind(Kind::Double)?.f_flatten(0, -1)?)?;
    Ok(flat.chunks_exact(2).map(|row| [row[0], -row[1]]).collect())
}

/// The median and the range between the quartiles (linear interpolation), as scikit-learn's RobustScaler: a range of 0
/// counts as 1.
#[derive(Debug, Clone, Copy)]
struct Robust {
    median: f64,
    range: f64,
}

impl Robust {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let quantile = |q: f64| {
            let at = q * (values.len() - 1) as f64;
            let (low, high) = (values[at.floor() as usize], values[at.ceil() as usize]);
            low + (high - low) * at.fract()
        };
        let range = quantile(0.75) - quantile(0.25);
        Self {
            median: quantile(0.5),
            range: if range > 0.0 { range } else { 1.0 },
        }
    }

    fn apply(self, value: f64) -> f64 {
        (value - self.median) / self.range
    }
}

/// The chance that a member scores higher, ties counting half.
fn auc(scores: &[f64], member: &[bool]) -> f64 {
    let mut order: Vec<(f64, bool)> = scores.iter().copied().zip(member.iter().copied()).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut wins, mut others_below) = (0.0, 0.0);
    for tied in order.chunk_by(|a, b| a.0 == b.0) {
        let members = tied.iter().filter(|(_, m)| *m).count() as f64;
        let others = tied.len() as f64 - members;
        wins += members * (others_below + others / 2.0);
        others_below += others;
    }
    wins / (others_below * (scores.len() as f64 - others_below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caption_falls_into_thirds() {
        assert_eq!(thirds("a red hat"), ["a r", "ed ", "hat"]);
        assert_eq!(thirds("größer"), ["gr", "öß", "er"]);
        assert_eq!(thirds("ab"), ["a", "b"]);
        assert!(thirds("").is_empty());
    }

    #[test]
    fn scaling_is_that_of_scikit_learn() {
        // np.percentile([1, 2, 4, 8, 100], [25, 50, 75]) = [2, 4, 8]
        let scaler = Robust::of(vec![100.0, 1.0, 4.0, 2.0, 8.0]);
        assert_eq!((scaler.median, scaler.range), (4.0, 6.0));
        // np.percentile([0, 1, 2, 5], [25, 50, 75]) = [0.75, 1.5, 2.75]
        let scaler = Robust::of(vec![0.0, 1.0, 2.0, 5.0]);
        assert_eq!((scaler.median, scaler.range), (1.5, 2.0));
        assert_eq!(Robust::of(vec![3.0; 4]).apply(5.0), 2.0);
    }

    #[test]
    fn ties_count_half() {
        assert_eq!(
            auc(&[2.0, 1.0, 1.0, 0.0], &[true, true, false, false]),
            0.875
        );
        assert_eq!(auc(&[1.0; 3], &[true, false, false]), 0.5);
    }

    /// The loss tells nothing, the difference everything, or the other way round: alpha follows the known samples.
    #[test]
    fn alpha_is_chosen_on_the_known_samples() {
        let noise = [0.3, 0.1, 0.2, 0.1, 0.3, 0.2];
        let telling = [1.0, 1.1, 1.2, 0.0, 0.1, 0.2];
        let member = [true, true, true, false, false, false];
        for swap in [false, true] {
            let rows: Vec<f64> = (0..6)
                // A large difference speaks for a member, a large loss against.
                .flat_map(|i| {
                    if swap {
                        [-telling[i], noise[i]]
                    } else {
                        [noise[i], telling[i]]
                    }
                })
                .collect();
            let features = Tensor::from_slice(&rows).view([6, 2]);
            let rule = Clid::default().learn(&features, &member, 0).unwrap();
            assert_eq!(auc(&rule(&features).unwrap(), &member), 1.0);
        }
        let one_sided = Clid::default().learn(
            &Tensor::zeros([2, 2], (Kind::Float, dualmd_torch::Device::Cpu)),
            &[true; 2],
            0,
        );
        assert!(
            one_sided
                .err()
                .unwrap()
                .to_string()
                .contains("members and non-members")
        );
    }
}
