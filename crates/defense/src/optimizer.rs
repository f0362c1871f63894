//! Adam and the exponential moving average, both over all parameters in one call.

use crate::{DefenseError, Result, TrainOptions};
use dualmd_diffusion::nn::Parameters;
use dualmd_torch::shim::{AdamOptions, clip_grad_norm, fused_adam, lerp_all};
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
}

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
        })
    }

    /// Clips, steps and averages; returns the gradient norm before clipping and forgets the gradients.
    ///
    /// # Errors
    /// A gradient norm that is not finite (nothing is changed then), or what the engine refuses.
    pub fn step(&mut self, step: u64, options: &TrainOptions) -> Result<f64> {
        let grads: Vec<Tensor> = self.params.iter().map(Tensor::grad).collect();
        let norm = clip_grad_norm(&grads, (options.clip > 0.0).then_some(options.clip))?;
        if !norm.is_finite() {
            return Err(DefenseError::NotFinite {
                step,
                what: "gradient norm",
                value: norm,
            });
        }
        let adam = AdamOptions {
            learning_rate: options.rate(step),
            beta1: 0.9,
            beta2: 0.999,
            weight_decay: options.weight_decay,
            decoupled: false,
            eps: 1e-8,
        };
        fused_adam(
            &self.params,
            &grads,
            &self.first,
            &self.second,
            &self.step,
            &adam,
        )?;
        lerp_all(&self.ema, &self.params, 1.0 - options.ema_decay(step))?;
        for p in &mut self.params {
            p.zero_grad();
        }
        Ok(norm)
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

    /// Moments and step counter under `first/NAME`, `second/NAME`, `step`.
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
        copy(&self.step, state, "step")
    }
}
