//! Adam and the exponential moving average, both over all parameters in one call.

use crate::options::{ema_decay, rate};
use crate::{DefenseError, KeptAt, Result, TrainOptions};
use dualmd_diffusion::nn::Parameters;
use dualmd_torch::shim::{AdamOptions, clip_grad_norm, clip_grad_norm_there, fused_adam, lerp_all};
use dualmd_torch::{Device, Kind, Tensor, no_grad};
use std::collections::BTreeMap;

/// Weights under training with their optimiser state.
pub struct Optimizer {
    names: Vec<String>,
    params: Vec<Tensor>,
    first: Vec<Tensor>,
    second: Vec<Tensor>,
    ema: Vec<Tensor>,
    step: Tensor,
    /// The averages that early stopping holds on to.
    kept: Option<(KeptAt, Vec<Tensor>)>,
    /// What a recipe carries from step to step beside all this, by name.
    carried: BTreeMap<String, Tensor>,
}

/// How names of what is carried begin in a checkpoint.
const CARRIED: &str = "carried/";

impl Optimizer {
    /// Starts at zero moments; the EMA starts as a copy of the weights. Parameters begin to require gradients.
    #[must_use]
    pub fn new(parameters: &Parameters) -> Self {
        let params: Vec<Tensor> = parameters
            .tensors()
            .into_iter()
            .map(|t| t.set_requires_grad(true))
            .collect();
        let device = params.first().map_or(Device::Cpu, Tensor::device);
        no_grad(|| Self {
            names: parameters.0.iter().map(|(n, _)| n.clone()).collect(),
            first: params.iter().map(Tensor::zeros_like).collect(),
            second: params.iter().map(Tensor::zeros_like).collect(),
            ema: params.iter().map(|p| p.detach().copy()).collect(),
            step: Tensor::zeros([], (Kind::Float, device)),
            params,
            kept: None,
            carried: BTreeMap::new(),
        })
    }

    /// What a recipe carries under this name.
    pub(crate) fn carried(&self, name: &str) -> Option<&Tensor> {
        self.carried.get(name)
    }

    /// Carries this from now on, into checkpoints too.
    pub(crate) fn carry(&mut self, name: &str, tensor: Tensor) {
        self.carried.insert(name.to_owned(), tensor);
    }

    /// Weights and averages by names of their own.
    fn weights(&self) -> Vec<(String, Tensor)> {
        let of = |prefix: &str, list: Vec<(String, Tensor)>| {
            let named = list.into_iter();
            named
                .map(|(name, tensor)| (format!("{prefix}/{name}"), tensor))
                .collect::<Vec<_>>()
        };
        let mut all = of("raw", self.raw());
        all.extend(of("ema", self.ema()));
        all
    }

    /// Remembers weights and averages as what a round of [`crate::iterative`] begins with.
    pub(crate) fn begin_round(&mut self) {
        for (name, tensor) in self.weights() {
            let (start, sum) = no_grad(|| (tensor.copy(), tensor.zeros_like()));
            self.carry(&format!("start/{name}"), start);
            self.carry(&format!("sum/{name}"), sum);
        }
    }

    /// Ends a turn of [`crate::iterative`]: adds weights and averages times `share` to the round's sums, and goes back to what the round
    /// began with; or on from the sums after the `last` turn. Adam begins anew.
    ///
    /// # Errors
    /// A round that was not begun: the checkpoint belongs to another training.
    pub(crate) fn end_turn(&mut self, share: f64, last: bool) -> Result<()> {
        for (name, tensor) in self.weights() {
            let of = |part: &str| {
                let found = self.carried(&format!("{part}/{name}"));
                found.map(Tensor::shallow_clone).ok_or_else(|| {
                    DefenseError::Setting(format!(
                        "checkpoint: it does not say what the round of iet began with (\"{name}\")"
                    ))
                })
            };
            let (mut start, mut sum) = (of("start")?, of("sum")?);
            no_grad(|| -> Result<()> {
                let _ = sum.f_add_(&(&tensor * share))?;
                if last {
                    start.f_copy_(&sum)?;
                    let _ = sum.f_zero_()?;
                }
                tensor.shallow_clone().f_copy_(&start)?;
                Ok(())
            })?;
        }
        no_grad(|| -> Result<()> {
            for moment in self.first.iter_mut().chain(&mut self.second) {
                let _ = moment.f_zero_()?;
            }
            let _ = self.step.f_zero_()?;
            Ok(())
        })
    }

    /// The parameters, sharing storage.
    pub(crate) fn parameters(&self) -> &[Tensor] {
        &self.params
    }

    /// The gradients that the backward passes since the last step left, sharing storage.
    pub(crate) fn gradients(&self) -> Vec<Tensor> {
        self.params.iter().map(Tensor::grad).collect()
    }

    /// All that ranks have to have in common: weights, averages, moments, what a recipe carries, and what early stopping kept; sharing
    /// storage.
    pub(crate) fn everything(&self) -> Vec<Tensor> {
        let own = [&self.params, &self.ema, &self.first, &self.second];
        let kept = self.kept.iter().map(|(_, weights)| weights);
        let all = own.into_iter().chain(kept).flatten();
        let all = all.chain(self.carried.values()).chain([&self.step]);
        all.map(Tensor::detach).collect()
    }

    /// Forgets the gradients.
    pub(crate) fn forget(&mut self) {
        for p in &mut self.params {
            p.zero_grad();
        }
    }

    /// Clips `grads`, one per parameter, in place to the norm `clip`, steps and averages; returns the gradient norm before
    /// clipping and forgets the gradients.
    ///
    /// # Errors
    /// A gradient norm that is not finite (nothing is changed then), or what the engine refuses.
    pub(crate) fn step_along(
        &mut self,
        grads: &[Tensor],
        clip: Option<f64>,
        step: u64,
        options: &TrainOptions,
    ) -> Result<f64> {
        let norm = clip_grad_norm(grads, clip)?;
        if !norm.is_finite() {
            return Err(DefenseError::NotFinite {
                step,
                what: "gradient norm",
                value: norm,
            });
        }
        self.move_along(grads, step, options)?;
        Ok(norm)
    }

    /// As [`Self::step_along`], without waiting for the device: the norm stays there. One that is not finite spoils weights and averages, so it
    /// must be read before they go anywhere.
    ///
    /// # Errors
    /// What the engine refuses.
    pub(crate) fn step_unread(
        &mut self,
        grads: &[Tensor],
        clip: Option<f64>,
        step: u64,
        options: &TrainOptions,
    ) -> Result<Tensor> {
        let norm = clip_grad_norm_there(grads, clip)?;
        self.move_along(grads, step, options)?;
        Ok(norm)
    }

    /// Steps along `grads` as they are, averages, and forgets the gradients.
    fn move_along(&mut self, grads: &[Tensor], step: u64, options: &TrainOptions) -> Result<()> {
        let adam = AdamOptions {
            learning_rate: rate(options, step),
            beta1: 0.9,
            beta2: 0.999,
            weight_decay: options.weight_decay,
            decoupled: options.decoupled,
            eps: 1e-8,
        };
        fused_adam(
            &self.params,
            grads,
            &self.first,
            &self.second,
            &self.step,
            &adam,
        )?;
        lerp_all(&self.ema, &self.params, 1.0 - ema_decay(options, step))?;
        self.forget();
        Ok(())
    }

    /// Keeps a copy of the averages as they are now, in place of any kept before.
    pub(crate) fn keep(&mut self, at: KeptAt) {
        self.kept = Some((at, no_grad(|| self.ema.iter().map(Tensor::copy).collect())));
    }

    /// Which averages early stopping kept, if any.
    #[must_use]
    pub fn kept_at(&self) -> Option<KeptAt> {
        self.kept.as_ref().map(|(at, _)| *at)
    }

    /// The weights the training is for, by name (sharing storage): those early stopping kept, or the averages.
    #[must_use]
    pub fn result(&self) -> Vec<(String, Tensor)> {
        self.kept_weights().unwrap_or_else(|| self.ema())
    }

    /// The weights early stopping kept, by name (sharing storage).
    #[must_use]
    pub fn kept_weights(&self) -> Option<Vec<(String, Tensor)>> {
        let (_, weights) = self.kept.as_ref()?;
        let weights = weights.iter().map(Tensor::shallow_clone);
        Some(self.names.iter().cloned().zip(weights).collect())
    }

    /// The raw weights, by name.
    #[must_use]
    pub fn raw(&self) -> Vec<(String, Tensor)> {
        self.names
            .iter()
            .cloned()
            .zip(self.params.iter().map(Tensor::detach))
            .collect()
    }

    /// The averaged weights, by name (sharing storage).
    #[must_use]
    pub fn ema(&self) -> Vec<(String, Tensor)> {
        self.names
            .iter()
            .cloned()
            .zip(self.ema.iter().map(Tensor::shallow_clone))
            .collect()
    }

    /// Moments and step counter under `first/NAME`, `second/NAME`, `step`, and what is carried under `carried/NAME`.
    #[must_use]
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let part = |prefix: &'static str, list: &[Tensor]| {
            let list: Vec<Tensor> = list.iter().map(Tensor::shallow_clone).collect();
            self.names
                .clone()
                .into_iter()
                .zip(list)
                .map(move |(n, t)| (format!("{prefix}/{n}"), t))
        };
        part("first", &self.first)
            .chain(part("second", &self.second))
            .chain([("step".to_owned(), self.step.view([1]))])
            .chain(
                self.carried
                    .iter()
                    .map(|(n, t)| (format!("{CARRIED}{n}"), t.shallow_clone())),
            )
            .collect()
    }

    /// Puts weights, averages and state back.
    ///
    /// # Errors
    /// A missing or misshapen tensor: the checkpoint belongs to another network.
    pub fn restore(
        &mut self,
        raw: &BTreeMap<String, Tensor>,
        ema: &BTreeMap<String, Tensor>,
        state: &BTreeMap<String, Tensor>,
    ) -> Result<()> {
        let copy = |target: &Tensor, map: &BTreeMap<String, Tensor>, name: &str| -> Result<()> {
            let source = map
                .get(name)
                .filter(|t| t.numel() == target.numel())
                .ok_or_else(|| {
                    DefenseError::Setting(format!(
                        "checkpoint: tensor \"{name}\" is missing or has another shape"
                    ))
                })?;
            no_grad(|| target.shallow_clone().f_copy_(&source.view_as(target)))?;
            Ok(())
        };
        for (i, name) in self.names.iter().enumerate() {
            copy(&self.params[i], raw, name)?;
            copy(&self.ema[i], ema, name)?;
            copy(&self.first[i], state, &format!("first/{name}"))?;
            copy(&self.second[i], state, &format!("second/{name}"))?;
        }
        copy(&self.step, state, "step")?;
        let carried = state
            .iter()
            .filter_map(|(name, t)| Some((name.strip_prefix(CARRIED)?, t)));
        self.carried = carried
            .map(|(name, t)| (name.to_owned(), t.to_device(self.step.device()).copy()))
            .collect();
        Ok(())
    }

    /// Puts back what early stopping had kept.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub(crate) fn restore_kept(
        &mut self,
        at: KeptAt,
        weights: &BTreeMap<String, Tensor>,
    ) -> Result<()> {
        let kept = self
            .names
            .iter()
            .zip(&self.ema)
            .map(|(name, like)| {
                weights
                    .get(name)
                    .filter(|t| t.size() == like.size())
                    .map(|t| t.to_device(like.device()))
                    .ok_or_else(|| {
                        DefenseError::Setting(format!(
                            "checkpoint: kept tensor \"{name}\" is missing or has another shape"
                        ))
                    })
            })
            .collect::<Result<_>>()?;
        self.kept = Some((at, kept));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One step at rate 0.1 and decay 0.5 from 2. AdamW with gradient 0: 2 (1 - 0.05). Adam with gradient 0.25: the first step of
    /// Adam is the rate, whatever the gradient.
    #[test]
    fn decay_is_apart_from_the_gradient_or_part_of_it() {
        for (decoupled, want) in [(true, 1.9), (false, 1.9)] {
            let one = Tensor::from_slice(&[2.0f32]);
            let parameters = Parameters(vec![("w".into(), one.shallow_clone())]);
            let mut optimizer = Optimizer::new(&parameters);
            let options = TrainOptions {
                learning_rate: 0.1,
                warmup: 1,
                decay_fraction: 0.0,
                weight_decay: 0.5,
                decoupled,
                ..TrainOptions::default()
            };
            let gradient = if decoupled { 0.0f32 } else { 0.25 };
            let gradients = [Tensor::from_slice(&[gradient])];
            optimizer.step_along(&gradients, None, 0, &options).unwrap();
            let got = optimizer.raw()[0].1.double_value(&[0]);
            assert!((got - want).abs() < 1e-6, "{decoupled}: {got}");
            // The moments know the decay only where it is part of the gradient: 0.25 + 0.5 x 2, times 1 - 0.9.
            let moment = optimizer.first[0].double_value(&[0]);
            let want = if decoupled { 0.0 } else { 0.125 };
            assert!((moment - want).abs() < 1e-7, "{decoupled}: {moment}");
        }
    }
}
