//! Variants of an attack: another timestep, by number or by its noise, and both mirror images.

use super::{Plain, Space, of_images, table};
use crate::{Attack, AttackError, AttackInfo, Batch, Learned, Result, Rule};
use dualmd_diffusion::Denoiser;
use dualmd_names::{BaseAttack, Level, Snr, Variant};
use dualmd_record::AttackParameters;
use dualmd_torch::Tensor;

/// An attack at a timestep that is not its default, under a name that says so.
#[derive(Debug)]
pub(super) struct At<A: ?Sized> {
    pub(super) t: i64,
    pub(super) attack: Box<A>,
}

fn renamed(info: AttackInfo, t: i64) -> AttackInfo {
    AttackInfo {
        name: format!("{}@{t}", info.name),
        title: format!("{}, t = {t}", info.title),
        ..info
    }
}

impl Attack for At<dyn Attack> {
    fn info(&self) -> AttackInfo {
        renamed(self.attack.info(), self.t)
    }

    fn score(&self, batch: &mut Batch<'_>) -> Result<Vec<f64>> {
        self.attack.score(batch)
    }
}

impl Learned for At<dyn Learned> {
    fn info(&self) -> AttackInfo {
        renamed(self.attack.info(), self.t)
    }

    fn features(&self, batch: &mut Batch<'_>) -> Result<Tensor> {
        self.attack.features(batch)
    }

    fn learn(&self, features: &Tensor, member: &[bool], seed: u64) -> Result<Rule> {
        self.attack.learn(features, member, seed)
    }

    fn teaches(&self, target: &dyn Denoiser, shadow: &dyn Denoiser) -> Result<()> {
        self.attack.teaches(target, shadow)
    }
}

/// An attack at the timestep with a certain amount of noise, which only the model's schedule tells.
#[derive(Debug)]
pub(super) struct AtSnr<A: ?Sized> {
    /// The attack at some timestep: what it says about itself, and how it learns.
    pub(super) attack: Box<A>,
    pub(super) base: BaseAttack,
    pub(super) space: Space,
    pub(super) snr: Snr,
}

impl<A: ?Sized> AtSnr<A> {
    /// The attack at that timestep of the schedule.
    fn on(&self, batch: &Batch<'_>) -> Result<Plain> {
        let (schedule, ratio) = (batch.schedule(), self.snr.value());
        let Some(t) = schedule.timestep_at_snr(ratio) else {
            return Err(AttackError::Snr {
                ratio,
                lowest: schedule.snr(schedule.len() as i64 - 1),
                highest: schedule.snr(0),
            });
        };
        table::made(self.base, self.space, Some(t)).ok_or_else(|| of_images(self.base))
    }

    fn renamed(&self, info: AttackInfo) -> AttackInfo {
        let parameters = AttackParameters {
            snr: Some(self.snr.value()),
            ..without_timesteps(info.parameters)
        };
        AttackInfo {
            name: format!("{}@{}", info.name, Level::Snr(self.snr)),
            title: format!("{}, SNR = {}", info.title, self.snr.value()),
            parameters,
            ..info
        }
    }
}

/// The parameters but for the timesteps, which follow from the schedule.
fn without_timesteps(all: AttackParameters) -> AttackParameters {
    let within = |inner: Box<AttackParameters>| Box::new(without_timesteps(*inner));
    let of = all.of.map(|of| {
        of.into_iter()
            .map(|(name, inner)| (name, without_timesteps(inner)))
            .collect()
    });
    AttackParameters {
        t: None,
        t_sec: None,
        timesteps: None,
        stride: None,
        secmi: all.secmi.map(within),
        rediffuse: all.rediffuse.map(within),
        of,
        ..all
    }
}

impl Attack for AtSnr<dyn Attack> {
    fn info(&self) -> AttackInfo {
        self.renamed(self.attack.info())
    }

    fn score(&self, batch: &mut Batch<'_>) -> Result<Vec<f64>> {
        match self.on(batch)? {
            Plain::Formula(attack) => attack.score(batch),
            Plain::Learned(_) => Err(of_images(self.base)),
        }
    }
}

impl Learned for AtSnr<dyn Learned> {
    fn info(&self) -> AttackInfo {
        self.renamed(self.attack.info())
    }

    fn features(&self, batch: &mut Batch<'_>) -> Result<Tensor> {
        match self.on(batch)? {
            Plain::Learned(attack) => attack.features(batch),
            Plain::Formula(_) => Err(of_images(self.base)),
        }
    }

    fn learn(&self, features: &Tensor, member: &[bool], seed: u64) -> Result<Rule> {
        self.attack.learn(features, member, seed)
    }

    fn teaches(&self, target: &dyn Denoiser, shadow: &dyn Denoiser) -> Result<()> {
        self.attack.teaches(target, shadow)
    }
}

/// An attack averaged over the image and its mirror image. No public attack does this, although all train with flips: a
/// model that saw both orientations knows both, and the mean of two looks is less noisy than one.
#[derive(Debug)]
pub(super) struct Flip(pub(super) Box<dyn Attack>);

impl Attack for Flip {
    fn info(&self) -> AttackInfo {
        let mut info = self.0.info();
        info.name += Variant::Flip.suffix();
        info.title += ", both mirror images";
        info.network_calls_per_sample *= 2;
        info.parameters.flip = Some(true);
        info
    }

    fn score(&self, batch: &mut Batch<'_>) -> Result<Vec<f64>> {
        let upright = self.0.score(batch)?;
        let mirrored = self.0.score(batch.mirrored()?)?;
        Ok(upright
            .into_iter()
            .zip(mirrored)
            .map(|(a, b)| f64::midpoint(a, b))
            .collect())
    }
}
