//! Samples under attack, with the model they are tried on.

use crate::{AttackError, Result};
use dualmd_diffusion::{Denoiser, NoiseSchedule};
use dualmd_torch::{Kind, Tensor, no_grad};
use std::collections::BTreeMap;

/// Network evaluations, counted per sample: a forward pass over a batch of 64 counts 64, so that the numbers do not
/// depend on the batch size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NetworkCalls {
    /// Evaluations that ran.
    pub made: u64,
    /// Evaluations of a clean image answered from memory, because another attack had already asked.
    pub saved: u64,
}

/// A batch of clean samples and the model under attack. Attacks reach the model only through here, so that calls are
/// counted and eps(x, t) of the clean image - which several attacks need - is computed once per batch and timestep.
pub struct Batch<'a> {
    denoiser: &'a dyn Denoiser,
    schedule: &'a NoiseSchedule,
    x: Tensor,
    ids: &'a [String],
    seed: u64,
    clean: BTreeMap<i64, Tensor>,
    calls: NetworkCalls,
}

impl<'a> Batch<'a> {
    /// `x`: [B, C, H, W] in [-1, 1], B at least 1, on the model's device; `ids`: one per sample, the same for every
    /// model that is to be attacked with the same noise; `seed`: of the noise.
    ///
    /// # Errors
    /// Another rank, an empty batch, or a number of ids that differs from B.
    pub fn new(
        denoiser: &'a dyn Denoiser,
        schedule: &'a NoiseSchedule,
        x: &Tensor,
        ids: &'a [String],
        seed: u64,
    ) -> Result<Self> {
        check_shape(x, ids.len())?;
        let x = x.f_to_kind(Kind::Float)?;
        let (clean, calls) = (BTreeMap::new(), NetworkCalls::default());
        Ok(Self {
            denoiser,
            schedule,
            x,
            ids,
            seed,
            clean,
            calls,
        })
    }

    /// The clean samples, [B, C, H, W] f32.
    pub fn x(&self) -> &Tensor {
        &self.x
    }

    /// The model's noise schedule.
    #[must_use]
    pub fn schedule(&self) -> &'a NoiseSchedule {
        self.schedule
    }

    /// The samples' ids, in the order of `x`.
    #[must_use]
    pub fn ids(&self) -> &'a [String] {
        self.ids
    }

    /// Seed of whatever noise an attack draws.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Network calls so far.
    #[must_use]
    pub fn calls(&self) -> NetworkCalls {
        self.calls
    }

    /// eps(x, t) at any input `x` [B, C, H, W]; runs the network, without gradients.
    ///
    /// # Errors
    /// A timestep outside the schedule, what the model refuses, or an answer of another shape.
    pub fn eps(&mut self, x: &Tensor, t: i64) -> Result<Tensor> {
        let timesteps = self.schedule.len();
        if usize::try_from(t).map_or(true, |t| t >= timesteps) {
            return Err(AttackError::Timestep { t, timesteps });
        }
        let size = x.size();
        let t = NoiseSchedule::timestep_tensor(t, size[0], x.device());
        let eps = no_grad(|| self.denoiser.predict_noise(x, &t, None))?;
        if eps.size() != size {
            return Err(AttackError::Samples(format!(
                "the model answered {:?} to an input of {size:?}: it does not predict noise of the image's shape",
                eps.size()
            )));
        }
        self.calls.made += size[0].unsigned_abs();
        Ok(eps)
    }

    /// eps(x, t) of the clean samples, remembered: the second attack to ask gets it for nothing. The tensor is shared;
    /// do not change it in place.
    ///
    /// # Errors
    /// As [`Batch::eps`].
    pub fn eps_clean(&mut self, t: i64) -> Result<Tensor> {
        if let Some(eps) = self.clean.get(&t) {
            self.calls.saved += self.ids.len() as u64;
            return Ok(eps.shallow_clone());
        }
        let x = self.x.shallow_clone();
        let eps = self.eps(&x, t)?;
        self.clean.insert(t, eps.shallow_clone());
        Ok(eps)
    }

    /// eps(x, t) of the clean samples if some attack has asked for it; never runs the network.
    #[must_use]
    pub fn remembered(&self, t: i64) -> Option<&Tensor> {
        self.clean.get(&t)
    }
}

pub(crate) fn check_shape(x: &Tensor, ids: usize) -> Result<()> {
    let size = x.size();
    if size.len() != 4 || size.contains(&0) {
        return Err(AttackError::Samples(format!(
            "samples of shape {size:?}: expected [N, C, H, W] with no dimension 0"
        )));
    }
    if size[0] != ids as i64 {
        return Err(AttackError::Samples(format!(
            "{} samples but {ids} ids: give one id per sample",
            size[0]
        )));
    }
    Ok(())
}
