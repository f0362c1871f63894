//! DualMD inference (paper section 3.4): two models trained on disjoint halves take turns, step by step.
//!
//! The paper alternates per denoising step and (A.5) lets sub-model 1 take the first. Options: the other model first,
//! a random start per image, a random model per step and image (an attacker can then not align with either model).
//! Whichever model is meant, *it* does the whole step; solvers that would mix both models' histories do not exist here.

use crate::{Condition, Denoiser, Result, StepInfo};
use dualmd_data::stream;
use dualmd_torch::Tensor;
use rand::Rng;

/// Which model takes which step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelOrder {
    /// 1, 2, 1, 2, ... (paper)
    FirstStarts,
    /// 2, 1, 2, 1, ...
    SecondStarts,
    /// Alternating; a seeded coin per image decides who starts.
    RandomStart,
    /// A seeded coin per image and step.
    RandomEachStep,
}

/// Two models that alternate while generating.
pub struct DualDenoiser<D> {
    first: D,
    second: D,
    order: ModelOrder,
    seed: u64,
    timesteps: Vec<i64>,
}

impl<D: Denoiser> DualDenoiser<D> {
    /// `timesteps`: those of the sampling run, largest first. They also define who answers a question outside a
    /// sampling run (see [`Denoiser::predict_noise`] below). `seed` serves the random orders.
    pub fn new(first: D, second: D, order: ModelOrder, timesteps: Vec<i64>, seed: u64) -> Self {
        Self {
            first,
            second,
            order,
            seed,
            timesteps,
        }
    }

    /// Does the second model take step `index` of image `image`?
    #[must_use]
    pub fn second_takes(&self, index: usize, image: u64) -> bool {
        let odd = index % 2 == 1;
        match self.order {
            ModelOrder::FirstStarts => odd,
            ModelOrder::SecondStarts => !odd,
            ModelOrder::RandomStart => {
                odd ^ stream(self.seed, "dual/start", image).random::<bool>()
            }
            ModelOrder::RandomEachStep => {
                stream(self.seed, &format!("dual/step-{index}"), image).random::<bool>()
            }
        }
    }

    /// Does the second model take this step, for each of its images?
    fn takers(&self, step: StepInfo<'_>) -> Vec<bool> {
        let takes = |&image: &u64| self.second_takes(step.index, image);
        step.images.iter().map(takes).collect()
    }

    fn by_rows(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
        second: &[bool],
        ask: impl Fn(&D, &Tensor, &Tensor, Option<&Condition>) -> Result<Tensor>,
    ) -> Result<Tensor> {
        if second.iter().all(|s| !s) {
            return ask(&self.first, x_t, t, condition);
        }
        if second.iter().all(|s| *s) {
            return ask(&self.second, x_t, t, condition);
        }
        let out = x_t.zeros_like();
        for (model, takes) in [(&self.first, false), (&self.second, true)] {
            let rows: Vec<i64> = second
                .iter()
                .enumerate()
                .filter(|(_, s)| **s == takes)
                .map(|(i, _)| i as i64)
                .collect();
            let rows = Tensor::from_slice(&rows).to_device(x_t.device());
            let part = condition.map(|c| c.select(&rows));
            let answer = ask(
                model,
                &x_t.index_select(0, &rows),
                &t.index_select(0, &rows),
                part.as_ref(),
            )?;
            let _ = out.shallow_clone().index_copy_(0, &rows, &answer);
        }
        Ok(out)
    }
}

impl<D: Denoiser> Denoiser for DualDenoiser<D> {
    /// Outside a sampling run the model answers that would take the step which covers `t`: the step that starts at the
    /// smallest scheduled timestep not below `t` (as image 0 for the random orders).
    fn predict_noise(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor> {
        let times: Vec<i64> = Vec::try_from(t.to_device(dualmd_torch::Device::Cpu))?;
        let second: Vec<bool> = times
            .iter()
            .map(|&t| {
                self.second_takes(self.timesteps.iter().rposition(|&s| s >= t).unwrap_or(0), 0)
            })
            .collect();
        self.by_rows(x_t, t, condition, &second, D::predict_noise)
    }

    fn predict_noise_in_step(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
        step: StepInfo<'_>,
    ) -> Result<Tensor> {
        self.by_rows(x_t, t, condition, &self.takers(step), D::predict_noise)
    }

    /// Flows take turns too. Outside a sampling run a pair of them is asked for its noise.
    fn predict_velocity_in_step(
        &self,
        x_s: &Tensor,
        s: &Tensor,
        condition: Option<&Condition>,
        step: StepInfo<'_>,
    ) -> Result<Tensor> {
        let second = self.takers(step);
        self.by_rows(x_s, s, condition, &second, D::predict_velocity)
    }
}
