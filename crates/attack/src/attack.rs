//! What an attack is.

use crate::{Batch, Result};
use dualmd_diffusion::Denoiser;
use dualmd_record::AttackParameters;
use dualmd_torch::Tensor;
use serde::Serialize;
use std::borrow::Cow;

/// What an attacker must be able to do with the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Holds the model and evaluates it at inputs and timesteps of their choice (the DualMD paper's white box; some
    /// papers call an attack that needs no gradients grey-box).
    WhiteBox,
    /// Sees intermediate results of a service, but not the parameters.
    GreyBox,
    /// Sees generated images only.
    BlackBox,
}

impl Access {
    /// As files and people call it: `white-box`, `grey-box`, `black-box`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WhiteBox => "white-box",
            Self::GreyBox => "grey-box",
            Self::BlackBox => "black-box",
        }
    }
}

/// What an attack says about itself, for reports and score files.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AttackInfo {
    /// Name in files and on the command line: `secmi`, or `secmi@150` at another timestep.
    pub name: String,
    /// Name for readers.
    pub title: String,
    /// Where it was published.
    pub paper: &'static str,
    /// What the attacker must be able to do.
    pub access: Access,
    /// The score, higher = more likely a member.
    pub formula: Cow<'static, str>,
    /// Network evaluations per sample when nothing is shared with another attack.
    pub network_calls_per_sample: usize,
    /// Timesteps, exponents, numbers of draws.
    pub parameters: AttackParameters,
    /// What a low result of this attack does not show.
    pub misses: &'static str,
}

/// A way to score samples with a model.
pub trait Attack: std::fmt::Debug + Send + Sync {
    /// What the attack is.
    fn info(&self) -> AttackInfo;

    /// One score per sample of the batch, in its order; higher = more likely a member. A sample's score depends on
    /// that sample, the model and the seed only, never on its neighbours in the batch.
    ///
    /// # Errors
    /// Parameters that make no sense, timesteps the schedule lacks, what the model or the engine refuses.
    fn score(&self, batch: &mut Batch<'_>) -> Result<Vec<f64>>;
}

/// What an attack has learnt: features like those it learnt from, [N, ...], to N scores, higher = more likely a member.
pub type Rule = Box<dyn Fn(&Tensor) -> Result<Vec<f64>>>;

/// A way to score samples that is learnt from samples whose membership is known: some of those under attack
/// ([`crate::Known`]), or those of a shadow model ([`crate::Shadow`]).
pub trait Learned: std::fmt::Debug + Send + Sync {
    /// What the attack is.
    fn info(&self) -> AttackInfo;

    /// What the attack looks at: [B, ...] f32 for the B samples of the batch. As for [`Attack::score`], a sample's
    /// features do not depend on its neighbours.
    ///
    /// # Errors
    /// As [`Attack::score`].
    fn features(&self, batch: &mut Batch<'_>) -> Result<Tensor>;

    /// Learns from the `features` [N, ...] of known samples; `member`: the truth about each.
    ///
    /// # Errors
    /// What the engine refuses, or features that are not finite.
    fn learn(&self, features: &Tensor, member: &[bool], seed: u64) -> Result<Rule>;

    /// Whether what is learnt on `shadow` holds for `target`: the features mean the same of both.
    ///
    /// # Errors
    /// Why they do not.
    fn teaches(&self, target: &dyn Denoiser, shadow: &dyn Denoiser) -> Result<()> {
        let _ = (target, shadow);
        Ok(())
    }
}

/// An attack of either kind.
#[derive(Debug)]
pub enum Method {
    /// A formula, fixed in advance.
    Formula(Box<dyn Attack>),
    /// A rule learnt from samples whose membership is known; scores the others.
    Learned(Box<dyn Learned>),
    /// A rule learnt on a shadow model ([`crate::Shadow`]); scores everybody.
    Shadowed(Box<dyn Learned>),
}

impl Method {
    /// What the attack is.
    #[must_use]
    pub fn info(&self) -> AttackInfo {
        match self {
            Self::Formula(attack) => attack.info(),
            Self::Learned(attack) | Self::Shadowed(attack) => attack.info(),
        }
    }
}

impl<A: Attack + 'static> From<A> for Method {
    fn from(attack: A) -> Self {
        Self::Formula(Box::new(attack))
    }
}
