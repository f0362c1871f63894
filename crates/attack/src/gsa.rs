//! GSA: how each layer would have to change to fit the image better.
//!
//! *Paper*: Pang, Wang, Kang, Huai and Zhang 2023, "White-box Membership Inference Attacks against Diffusion Models" (arXiv
//! 2308.06405), gradient attacks with subsampling and aggregation, GSA1 and GSA2, as in their public code.
//!
//! *Equation*: with L_t = mean (eps_t - eps(sqrt(abar_t) x + sqrt(1 - abar_t) eps_t, t))^2 at K timesteps, the feature of
//! parameter tensor j is |d/dw_j mean_t L_t| (GSA1) or mean_t |d/dw_j L_t| (GSA2); score = log-odds of a logistic regression
//! on the logarithms of these norms, trained on known samples.
//!
//! *Threat model*: holds the weights (or is told the norms by whoever holds them, [`Denoiser::gradient_norms`]), and knows for a part
//! of the images whether this model was trained on them.
//!
//! *Queries per sample*: K (10) forward passes, and 1 (GSA1) or 10 (GSA2) backward. GSA2's gradients have GSA1's as their
//! mean: together they cost no more than GSA2.
//!
//! *What the score means*: at the end of a training the gradients of members have nearly vanished, and of which layer
//! says more than their sum.
//!
//! *Features that are left out*: some gradients are zero in theory, such as those of the bias of an attention's keys, which the
//! softmax does not see. What is computed for them is rounding, whose size follows other things than membership; to standardise
//! it would make a feature of it. So a tensor is left out whose gradient, over the known samples, is less than `ROUNDING` of
//! the whole gradient (root mean squares). The rule looks at no label.
//!
//! *Precision*: f32, also of a network that answers other attacks in bf16, because rounding to bf16 would be larger than many gradients.
//! The gradients of weights that are held in bf16 are rounded to it, each once.
//!
//! *What it misses*: models that never converged. The public code learns from shadow models by boosted trees and
//! standardises the target's features with the target's own members; here a fifth of the target's samples is known, the
//! classifier is a logistic regression, and nothing is fitted to the samples that are scored.

use crate::batch::Product;
use crate::{Access, AttackError, AttackInfo, Batch, Learned, Result, Rule, logistic};
use dualmd_diffusion::{Denoiser, GradientQuestion, Gradients};
use dualmd_record::AttackParameters;
use dualmd_torch::{Kind, Tensor, shim, tch};

/// Share of the whole gradient below which a tensor's is rounding: eight units in the last place of an f32, 8 x 2^-23. Fixed before
/// anything was measured. A gradient that is zero in theory comes out at one unit or less of the sums it is made of.
const ROUNDING: f64 = 9.5367431640625e-7;

/// The gradients of the mean loss. Default: t = 99, 199, ..., 999.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gsa1 {
    /// Timesteps, 0-based.
    pub timesteps: Vec<i64>,
}

/// The mean of the gradients' norms. Default: t = 99, 199, ..., 999.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gsa2 {
    /// Timesteps, 0-based.
    pub timesteps: Vec<i64>,
}

fn default_timesteps() -> Vec<i64> {
    (1..=10).map(|i| 100 * i - 1).collect()
}

impl Default for Gsa1 {
    fn default() -> Self {
        Self {
            timesteps: default_timesteps(),
        }
    }
}

impl Default for Gsa2 {
    fn default() -> Self {
        Self {
            timesteps: default_timesteps(),
        }
    }
}

/// Norms of the gradients per sample and parameter tensor, [2, B, P] f64: of the mean loss, and the mean over timesteps.
/// Without `each` (one backward pass per sample in place of one per timestep) the second half is the first. A model that shows
/// its weights is differentiated here; one that does not is asked for the norms, sample by sample, so that no answer takes long.
fn gradient_norms(batch: &mut Batch<'_>, timesteps: &[i64], each: bool) -> Result<Tensor> {
    if timesteps.is_empty() {
        return Err(AttackError::Parameter {
            attack: "gsa",
            reason: "no timesteps: choose at least one".into(),
        });
    }
    for &t in timesteps {
        batch.check_timestep(t)?;
    }
    let target = batch.target();
    let parameters = target.weights().filter(|p| !p.is_empty());
    let own = parameters.map(Gradients::by).transpose()?;
    let (rows, k) = (batch.ids().len(), timesteps.len());
    let t = Tensor::from_slice(timesteps).to_device(batch.x().device());
    // Draw k belongs to the k-th timestep.
    let draws = (0..k).map(|k| batch.draw(k)).collect::<Result<Vec<_>>>()?;
    let (mut all_of_mean, mut all_mean_of) = (Vec::new(), Vec::new());
    let mut tensors = None;
    for row in 0..rows as i64 {
        let x = batch.x().f_narrow(0, row, 1)?;
        let noise = draws
            .iter()
            .map(|d| Ok(d.f_narrow(0, row, 1)?))
            .collect::<Result<Vec<_>>>()?;
        let noise = Tensor::f_cat(&noise, 0)?;
        let x_t = timesteps
            .iter()
            .enumerate()
            .map(|(i, &t)| {
                let noise = noise.f_narrow(0, i as i64, 1)?;
                Ok(batch.schedule().add_noise_at(&x, &noise, t))
            })
            .collect::<Result<Vec<_>>>()?;
        let x_t = Tensor::f_cat(&x_t, 0)?;
        let condition = batch.condition_of_row(row, k as i64)?;
        let [of_mean, mean_of] = match &own {
            Some(own) => {
                let ask = || target.predict_noise(&x_t, &t, condition.as_ref());
                let losses = tch::with_grad(|| -> Result<Tensor> {
                    let eps = shim::without_autocast(ask)?;
                    let residual = &noise - eps;
                    Ok(residual.f_square()?.f_flatten(1, -1)?.f_mean_dim(
                        [1i64].as_slice(),
                        false,
                        Kind::Float,
                    )?)
                })?;
                own.norms(&losses, each)?
            }
            None => asked(
                target,
                &GradientQuestion {
                    x_t: &x_t,
                    t: &t,
                    noise: &noise,
                    condition: condition.as_ref(),
                    samples: 1,
                    each,
                },
            )?,
        };
        let p = *tensors.get_or_insert(of_mean.len());
        if [of_mean.len(), mean_of.len()] != [p, p] {
            return Err(AttackError::Samples(format!(
                "the model gave gradients of {} parameter tensors, and for another sample of {p}: they may not change",
                of_mean.len()
            )));
        }
        all_of_mean.extend(of_mean);
        all_mean_of.extend(mean_of);
    }
    batch.count(k as u64);
    let p = tensors.unwrap_or(0) as i64;
    all_of_mean.extend(all_mean_of);
    Ok(Tensor::from_slice(&all_of_mean).f_view([2, rows as i64, p])?)
}

/// The norms that a model gives of its own accord, for the one sample of the question.
fn asked(target: &dyn Denoiser, question: &GradientQuestion<'_>) -> Result<[Vec<f64>; 2]> {
    let norms = target
        .gradient_norms(question)
        .ok_or(AttackError::NoGradients)??;
    if norms.size().get(..2) != Some(&[2, 1]) {
        return Err(AttackError::Samples(format!(
            "the model gave norms of gradients of shape {:?} for one sample: they must be of [2, 1, P]",
            norms.size()
        )));
    }
    let half = |which: i64| -> Result<Vec<f64>> {
        let norms = norms.f_select(0, which)?.f_flatten(0, -1)?;
        Ok(Vec::<f64>::try_from(&norms)?)
    };
    Ok([half(0)?, half(1)?])
}

/// What is learnt on a shadow model is learnt of its parameter tensors by their places, and only two models that show their weights,
/// or two that do not, are known to name them in one order.
fn in_one_order(target: &dyn Denoiser, shadow: &dyn Denoiser) -> Result<()> {
    match target.weights().is_some() == shadow.weights().is_some() {
        true => Ok(()),
        false => Err(AttackError::Parameter {
            attack: "gsa",
            reason: "the model or its shadow is asked in another process and the other is not, so their layers may come in another order: \
                     audit both as folders, or leave out +shadow"
                .into(),
        }),
    }
}

/// ln of the norms; the smallest number stands for a gradient of exactly 0.
fn logarithms(norms: &Tensor) -> Result<Tensor> {
    Ok(norms
        .f_clamp_min(f64::MIN_POSITIVE)?
        .f_log()?
        .f_to_kind(Kind::Float)?)
}

/// The columns of `features` (logarithms of norms, [N, P]) that are more than rounding, ascending.
fn telling(features: &Tensor) -> Result<Vec<i64>> {
    let norms = features.f_to_kind(Kind::Double)?.f_exp()?;
    let scale = norms
        .f_square()?
        .f_mean_dim([0i64].as_slice(), false, Kind::Double)?
        .f_sqrt()?;
    let scale = Vec::<f64>::try_from(&scale)?;
    let whole = scale.iter().map(|s| s * s).sum::<f64>().sqrt();
    let columns = (0..).zip(&scale);
    Ok(columns
        .filter(|(_, s)| **s > ROUNDING * whole)
        .map(|(j, _)| j)
        .collect())
}

/// Logistic regression on the features that are more than rounding.
fn learn(name: &'static str, features: &Tensor, member: &[bool], seed: u64) -> Result<Rule> {
    let columns = telling(features)?;
    if columns.is_empty() {
        return Err(AttackError::Samples(
            "all gradients of the known samples are 0: the weights do not take part in the answer"
                .into(),
        ));
    }
    let columns = Tensor::from_slice(&columns).to_device(features.device());
    let rule = logistic::learn(name, &features.f_index_select(1, &columns)?, member, seed)?;
    Ok(Box::new(move |features| {
        let columns = columns.to_device(features.device());
        rule(&features.f_index_select(1, &columns)?)
    }))
}

impl Learned for Gsa1 {
    fn info(&self) -> AttackInfo {
        AttackInfo {
            name: "gsa1".into(),
            title: "GSA1 (gradients)".into(),
            paper: "Pang et al. 2023, arXiv 2308.06405",
            access: Access::WhiteBox,
            formula: "log-odds by logistic regression on ln |d/dw_j mean_t L_t| of every parameter tensor j whose gradient is more than rounding".into(),
            network_calls_per_sample: self.timesteps.len(),
            parameters: AttackParameters {
                timesteps: Some(self.timesteps.clone()),
                backward_passes: Some(1),
                ..AttackParameters::default()
            },
            misses: "models that never converged; learns from the known samples, of which it needs many",
        }
    }

    fn features(&self, batch: &mut Batch<'_>) -> Result<Tensor> {
        let product = Product::GradientNorms(self.timesteps.clone());
        let norms = match batch.known_product(product) {
            Some(norms) => norms,
            None => gradient_norms(batch, &self.timesteps, false)?,
        };
        logarithms(&norms.f_select(0, 0)?)
    }

    fn learn(&self, features: &Tensor, member: &[bool], seed: u64) -> Result<Rule> {
        learn("gsa1", features, member, seed)
    }

    fn teaches(&self, target: &dyn Denoiser, shadow: &dyn Denoiser) -> Result<()> {
        in_one_order(target, shadow)
    }
}

impl Learned for Gsa2 {
    fn info(&self) -> AttackInfo {
        AttackInfo {
            name: "gsa2".into(),
            title: "GSA2 (gradients, timestep by timestep)".into(),
            paper: "Pang et al. 2023, arXiv 2308.06405",
            access: Access::WhiteBox,
            formula: "log-odds by logistic regression on ln mean_t |d/dw_j L_t| of every parameter tensor j whose gradient is more than rounding".into(),
            network_calls_per_sample: self.timesteps.len(),
            parameters: AttackParameters {
                timesteps: Some(self.timesteps.clone()),
                backward_passes: Some(self.timesteps.len()),
                ..AttackParameters::default()
            },
            misses: "models that never converged; learns from the known samples, of which it needs many",
        }
    }

    fn features(&self, batch: &mut Batch<'_>) -> Result<Tensor> {
        let norms = batch.product(Product::GradientNorms(self.timesteps.clone()), |batch| {
            gradient_norms(batch, &self.timesteps, true)
        })?;
        logarithms(&norms.f_select(0, 1)?)
    }

    fn learn(&self, features: &Tensor, member: &[bool], seed: u64) -> Result<Rule> {
        learn("gsa2", features, member, seed)
    }

    fn teaches(&self, target: &dyn Denoiser, shadow: &dyn Denoiser) -> Result<()> {
        in_one_order(target, shadow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_data::stream;
    use dualmd_diffusion::pipeline::WeightSet;
    use dualmd_diffusion::{Backbone, Pipeline};
    use dualmd_torch::device::Precision;
    use dualmd_torch::weights::read_npy;
    use dualmd_torch::{Device, noise};
    use std::collections::BTreeMap;
    use std::path::Path;

    /// A small network, and images of its size.
    fn tiny() -> (Pipeline, Tensor) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/tiny-ddpm");
        let model = Pipeline::load(&folder, WeightSet::Ema, Device::Cpu).unwrap();
        (model, read_npy(&folder.join("x.npy")).unwrap())
    }

    /// Of a real network exactly the biases of the keys are left out: their gradient is zero in theory.
    #[test]
    fn the_bias_of_the_keys_is_rounding_and_nothing_else_is() {
        let (model, x) = tiny();
        let ids: Vec<String> = (0..x.size()[0]).map(|i| i.to_string()).collect();
        let mut batch = Batch::new(&model, &model.schedule, &x, &ids, 0).unwrap();
        let names: Vec<&str> = model.network.parameters().named().map(|(n, _)| n).collect();
        for features in [
            Gsa1::default().features(&mut batch).unwrap(),
            Gsa2::default().features(&mut batch).unwrap(),
        ] {
            assert_eq!(features.size()[1] as usize, names.len());
            let kept = telling(&features).unwrap();
            let left: Vec<&str> = (0..names.len())
                .filter(|j| !kept.contains(&(*j as i64)))
                .map(|j| names[j])
                .collect();
            let zero: Vec<&str> = names
                .iter()
                .copied()
                .filter(|n| n.ends_with("to_k.bias"))
                .collect();
            assert!(!zero.is_empty());
            assert_eq!(left, zero);
        }
    }

    /// A network that answers in bf16 has the gradients of f32, and weights held in bf16 round them once: by 2^-8 at most. In bf16 the biases
    /// of the keys would no longer be found to be rounding.
    #[test]
    fn gradients_are_those_of_f32_also_in_bf16() {
        let (model, x) = tiny();
        let ids: Vec<String> = (0..x.size()[0]).map(|i| i.to_string()).collect();
        let weights = |kind: Kind| -> BTreeMap<String, Tensor> {
            let copies = model.network.parameters().copies().into_iter();
            copies
                .map(|(name, t)| (name, t.to_kind(Kind::BFloat16).to_kind(kind)))
                .collect()
        };
        let config = model.network.config();
        let plain = || Backbone::from_weights(&config, weights(Kind::Float), Device::Cpu).unwrap();
        let held = Backbone::from_halves(&config, weights(Kind::BFloat16), Device::Cpu).unwrap();
        assert!(held.weights().unwrap()[0].kind() == Kind::BFloat16);
        let features = |network: &Backbone, each: bool| {
            let mut batch = Batch::new(network, &model.schedule, &x, &ids, 0).unwrap();
            match each {
                false => Gsa1::default().features(&mut batch).unwrap(),
                true => Gsa2::default().features(&mut batch).unwrap(),
            }
        };
        for each in [false, true] {
            let wanted = features(&plain(), each);
            let kept = telling(&wanted).unwrap();
            assert!(kept.len() < wanted.size()[1] as usize);
            for network in [&plain().with_precision(Precision::Bf16), &held] {
                let found = features(network, each);
                assert_eq!(telling(&found).unwrap(), kept);
                let columns = Tensor::from_slice(&kept);
                let apart = (found - &wanted).index_select(1, &columns).abs().max();
                assert!(apart.double_value(&[]) < 0.004, "each {each}: {apart:?}");
            }
        }
    }

    /// Rounding that happens to tell members from others by its size is no feature, whatever it is.
    #[test]
    fn what_is_rounding_does_not_move_a_score() {
        let n = 60;
        let member: Vec<bool> = (0..n).map(|i| i % 3 == 0).collect();
        let noise = noise::normal(&mut stream(5, "gsa", 0), &[n, 3], Device::Cpu);
        let with = |rounding: &dyn Fn(bool) -> f64| {
            let column: Vec<f64> = member.iter().map(|&m| rounding(m)).collect();
            let column = Tensor::from_slice(&column).view([n, 1]).log();
            Tensor::cat(&[noise.to_kind(Kind::Double), column], 1).to_kind(Kind::Float)
        };
        let scores = |features: &Tensor| {
            let rule = learn("gsa1", features, &member, 0).unwrap();
            rule(features).unwrap()
        };
        let quiet = scores(&with(&|_| 1e-8));
        let telltale = scores(&with(&|m| if m { 2e-8 } else { 1e-8 }));
        assert_eq!(quiet, telltale);
        // The same difference in a gradient that is one: found.
        let real = scores(&with(&|m| if m { 2e-3 } else { 1e-3 }));
        assert!(real.iter().zip(&member).all(|(s, m)| (*s > 0.0) == *m));
        let nothing = Tensor::full([n, 2], f64::MIN_POSITIVE.ln(), (Kind::Float, Device::Cpu));
        assert!(
            learn("gsa1", &nothing, &member, 0).is_err_and(|e| e.to_string().contains("gradients"))
        );
    }
}
