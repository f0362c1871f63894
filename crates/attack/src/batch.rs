//! Samples under attack, with the model they are tried on.

mod calls;
mod captions;

pub use calls::NetworkCalls;

use crate::lowpass::LowPass;
use crate::prompts::Caption;
use crate::{AttackError, Result};
use captions::Told;
use dualmd_data::stream_for_id;
use dualmd_diffusion::{Denoiser, NoiseSchedule};
use dualmd_torch::device::bring;
use dualmd_torch::{Device, Kind, Tensor, no_grad, noise};
use std::collections::BTreeMap;

/// Which of the models at hand is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Model {
    /// The model under attack.
    Target,
    /// The first of two teachers trained on disjoint halves.
    Teacher1,
    /// The second.
    Teacher2,
    /// A model of the same kind that saw none of the samples.
    Reference,
}

/// Models that an attacker may hold beside the target.
#[derive(Clone, Copy, Default)]
pub struct Others<'a> {
    /// The two models of a DualMD pair.
    pub teachers: Option<[&'a dyn Denoiser; 2]>,
    /// A model of the same kind that saw none of the samples under attack.
    pub reference: Option<&'a dyn Denoiser>,
}

/// What several attacks make of many network calls: kept under the name and parameters of the computation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Product {
    /// SecMI's change of the predicted noise: t_sec, k.
    SecMi(i64, i64),
    /// The mean of ReDiffuse's variations: t, stride, draws.
    Variations(i64, i64, usize),
    /// Norms of gradients: timesteps.
    GradientNorms(Vec<i64>),
}

/// What a model is shown: an input that several attacks ask about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Input {
    /// The image as it is.
    Clean,
    /// The image with noise draw number k, at the level of the timestep.
    Noisy(usize),
    /// Noise draw number k, without an image.
    Noise(usize),
}

/// A batch of clean samples and the models of an attack. Attacks reach a model only through here, so that calls are
/// counted and every (model, caption, input, timestep) that several attacks need is computed once per batch: eps(x, t)
/// of the clean image serves SecMI, PIA and PIAN, eps of the image with noise draw k serves the loss, PFAMI and
/// ReDiffuse.
pub struct Batch<'a> {
    denoiser: &'a dyn Denoiser,
    others: Others<'a>,
    schedule: &'a NoiseSchedule,
    x: Tensor,
    ids: &'a [String],
    seed: u64,
    known: BTreeMap<(Model, Caption, Input, i64), Tensor>,
    products: BTreeMap<(Caption, Product), (Tensor, u64)>,
    draws: BTreeMap<usize, Tensor>,
    low_pass: Option<LowPass>,
    /// What counts of every sample under `+pullback`.
    mask: Option<Tensor>,
    /// Is that variant asked for?
    masked: bool,
    told: Option<Told<'a>>,
    caption: Caption,
    mirrored: Option<Box<Batch<'a>>>,
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
        Ok(Self {
            denoiser,
            others: Others::default(),
            schedule,
            x: x.f_to_kind(Kind::Float)?,
            ids,
            seed,
            known: BTreeMap::new(),
            products: BTreeMap::new(),
            draws: BTreeMap::new(),
            low_pass: None,
            mask: None,
            masked: false,
            told: None,
            caption: Caption::Original,
            mirrored: None,
            calls: NetworkCalls::default(),
        })
    }

    /// Models beside the target, for the attacks that compare with them.
    #[must_use]
    pub fn with_others(mut self, others: Others<'a>) -> Self {
        self.others = others;
        self
    }

    /// Noise draws 0, 1, ... in place of the seeded ones, each shaped like the samples: for comparisons with other
    /// programs, whose generators differ.
    ///
    /// # Errors
    /// A draw of another shape.
    pub fn with_draws(mut self, draws: &[Tensor]) -> Result<Self> {
        if let Some(odd) = draws.iter().find(|d| d.size() != self.x.size()) {
            return Err(AttackError::Samples(format!(
                "noise of shape {:?} for samples of shape {:?}: they must agree",
                odd.size(),
                self.x.size()
            )));
        }
        self.draws = draws
            .iter()
            .map(Tensor::shallow_clone)
            .enumerate()
            .collect();
        Ok(self)
    }

    /// What counts of every sample under `+pullback`, [B, C, H, W] on the samples' device.
    pub(crate) fn with_mask(mut self, mask: Tensor) -> Self {
        self.mask = Some(mask);
        self
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

    /// Network calls so far, those of the mirrored samples included.
    #[must_use]
    pub fn calls(&self) -> NetworkCalls {
        let mirrored = self.mirrored.as_ref().map(|m| m.calls());
        self.calls + mirrored.unwrap_or_default()
    }

    /// The same samples as their mirror images, with the same noise and captions. What was computed there is kept as well.
    ///
    /// # Errors
    /// What the engine refuses.
    pub fn mirrored(&mut self) -> Result<&mut Batch<'a>> {
        let batch = match self.mirrored.take() {
            Some(batch) => batch,
            None => {
                let x = self.x.f_flip([3i64].as_slice())?;
                let mut batch = Batch::new(self.denoiser, self.schedule, &x, self.ids, self.seed)?
                    .with_others(self.others);
                batch.draws = self
                    .draws
                    .iter()
                    .map(|(&k, d)| (k, d.shallow_clone()))
                    .collect();
                batch.told = self.told.as_ref().map(Told::share);
                batch.mask = match &self.mask {
                    Some(mask) => Some(mask.f_flip([3i64].as_slice())?),
                    None => None,
                };
                Box::new(batch)
            }
        };
        let mirrored = self.mirrored.insert(batch).as_mut();
        mirrored.low_pass = self.low_pass;
        mirrored.masked = self.masked;
        mirrored.caption = self.caption;
        Ok(mirrored)
    }

    /// Standard normal noise, draw number `k`, one per sample and shaped like it. It belongs to the sample (its id, the
    /// draw's number and the seed), so every model and every attack meets the same noise whatever the batch size:
    /// differences between models are then not differences between draws.
    ///
    /// # Errors
    /// What the engine refuses.
    pub fn draw(&mut self, k: usize) -> Result<Tensor> {
        if let Some(draw) = self.draws.get(&k) {
            return Ok(draw.shallow_clone());
        }
        let purpose = format!("attack/loss/{k}");
        let shape = self.x.size();
        let rows: Vec<Tensor> = self
            .ids
            .iter()
            .map(|id| {
                let mut rng = stream_for_id(self.seed, &purpose, id);
                noise::normal(&mut rng, &shape[1..], Device::Cpu)
            })
            .collect();
        // All at once: a GPU is asked for nothing image by image.
        let draw = bring(&Tensor::f_stack(&rows, 0)?, self.x.device());
        self.draws.insert(k, draw.shallow_clone());
        Ok(draw)
    }

    /// eps(x, t) at any input `x` [B, C, H, W], with the samples' captions where they have some, without guidance; runs the
    /// network, without gradients.
    ///
    /// # Errors
    /// A timestep outside the schedule, what the model refuses, or an answer of another shape.
    pub fn eps(&mut self, x: &Tensor, t: i64) -> Result<Tensor> {
        self.eps_of(Model::Target, x, t)
    }

    /// As [`Batch::eps`], of any of the models.
    ///
    /// # Errors
    /// As [`Batch::eps`]; a teacher when there is none.
    pub fn eps_of(&mut self, model: Model, x: &Tensor, t: i64) -> Result<Tensor> {
        let denoiser = match (model, self.others.teachers) {
            (Model::Target, _) => self.denoiser,
            (Model::Reference, _) => self.others.reference.ok_or(AttackError::NoReference)?,
            (Model::Teacher1, Some([first, _])) => first,
            (Model::Teacher2, Some([_, second])) => second,
            (_, None) => return Err(AttackError::NoTeachers),
        };
        self.check_timestep(t)?;
        let size = x.size();
        let condition = self.condition(size[0])?;
        let t = NoiseSchedule::timestep_tensor(t, size[0], x.device());
        let eps = no_grad(|| denoiser.predict_noise(x, &t, condition.as_ref()))?;
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
        self.remember(Model::Target, Input::Clean, t)
    }

    /// eps(x_t, t) of `model`, where x_t is the sample with noise draw `k`; remembered like [`Batch::eps_clean`].
    ///
    /// # Errors
    /// As [`Batch::eps_of`].
    pub fn eps_noisy(&mut self, model: Model, k: usize, t: i64) -> Result<Tensor> {
        self.remember(model, Input::Noisy(k), t)
    }

    /// eps(e, t) of the model under attack, where e is noise draw `k` itself, without the sample; remembered like
    /// [`Batch::eps_clean`].
    ///
    /// # Errors
    /// As [`Batch::eps`].
    pub fn eps_noise(&mut self, k: usize, t: i64) -> Result<Tensor> {
        self.remember(Model::Target, Input::Noise(k), t)
    }

    /// The model under attack itself, for gradients; what is asked of it directly is not counted: see [`Batch::count`].
    pub(crate) fn target(&self) -> &'a dyn Denoiser {
        self.denoiser
    }

    /// Counts network calls made past [`Batch::eps`], per sample.
    pub(crate) fn count(&mut self, per_sample: u64) {
        self.calls.made += per_sample * self.ids.len() as u64;
    }

    /// `compute`, or what it gave an earlier attack of this batch. The tensor is shared; do not change it in place.
    pub(crate) fn product(
        &mut self,
        product: Product,
        compute: impl FnOnce(&mut Self) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let product = (self.caption, product);
        if let Some((known, calls)) = self.products.get(&product) {
            self.calls.saved += calls;
            return Ok(known.shallow_clone());
        }
        let before = self.calls;
        let made = compute(self)?;
        let calls = self.calls.made + self.calls.saved - before.made - before.saved;
        self.products.insert(product, (made.shallow_clone(), calls));
        Ok(made)
    }

    /// What was already computed under `product`, counting its calls as saved.
    pub(crate) fn known_product(&mut self, product: Product) -> Option<Tensor> {
        let (known, calls) = self.products.get(&(self.caption, product))?;
        self.calls.saved += calls;
        Some(known.shallow_clone())
    }

    /// `score` with every residual low-passed.
    pub(crate) fn with_low_pass<T>(
        &mut self,
        filter: LowPass,
        score: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let before = self.low_pass.replace(filter);
        let result = score(self);
        self.low_pass = before;
        result
    }

    /// `score` with every residual masked.
    pub(crate) fn with_mask_on<T>(
        &mut self,
        score: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        if self.mask.is_none() {
            return Err(AttackError::NoDecoder);
        }
        let before = std::mem::replace(&mut self.masked, true);
        let result = score(self);
        self.masked = before;
        result
    }

    /// The part of a residual [B, C, H, W] that counts: all of it, unless a low-pass or a mask was asked for.
    pub(crate) fn residual(&self, residual: Tensor) -> Result<Tensor> {
        let residual = match self.low_pass {
            Some(filter) => filter.apply(&residual)?,
            None => residual,
        };
        match (self.masked, &self.mask) {
            (true, Some(mask)) => Ok(residual.f_to_kind(Kind::Double)?.f_mul(mask)?),
            _ => Ok(residual),
        }
    }

    pub(crate) fn check_timestep(&self, t: i64) -> Result<()> {
        let timesteps = self.schedule.len();
        if usize::try_from(t).map_or(true, |t| t >= timesteps) {
            return Err(AttackError::Timestep { t, timesteps });
        }
        Ok(())
    }

    fn remember(&mut self, model: Model, input: Input, t: i64) -> Result<Tensor> {
        let key = (model, self.caption, input, t);
        if let Some(eps) = self.known.get(&key) {
            self.calls.saved += self.ids.len() as u64;
            return Ok(eps.shallow_clone());
        }
        let x = match input {
            Input::Clean => self.x.shallow_clone(),
            Input::Noisy(k) => {
                self.check_timestep(t)?;
                let draw = self.draw(k)?;
                self.schedule.add_noise_at(&self.x, &draw, t)
            }
            Input::Noise(k) => self.draw(k)?,
        };
        let eps = self.eps_of(model, &x, t)?;
        self.known.insert(key, eps.shallow_clone());
        Ok(eps)
    }

    /// eps(x, t) of the clean samples, with their own captions, if some attack has asked for it; never runs the network.
    #[must_use]
    pub fn remembered(&self, t: i64) -> Option<&Tensor> {
        self.known
            .get(&(Model::Target, Caption::Original, Input::Clean, t))
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
