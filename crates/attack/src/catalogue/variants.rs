//! Variants of an attack: another timestep, both mirror images.

use crate::{Attack, AttackInfo, Batch, Learned, Result, Rule};
use dualmd_names::Variant;
use dualmd_torch::Tensor;
use serde_json::json;

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
        info.parameters["flip"] = json!(true);
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
