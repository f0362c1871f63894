//! Learnt on a shadow model: `NAME+shadow`, a variant of every attack that learns.
//!
//! *Paper*: Shokri, Stronati, Song and Shmatikov 2017, "Membership Inference Attacks against Machine Learning Models" (S&P, arXiv
//! 1610.05820); for diffusion models Pang et al. 2025 (GSA), Pang and Wang 2025, Zhai et al. 2024 (CLiD) learn so, and SecMI's
//! authors answer with it to the question whether their classifier may know members (their figures: a classifier that was
//! learnt on a shadow model does as well on the target).
//!
//! *Equation*: that of the attack, learnt from a model that the attacker trained like the target, on images of the same kind of
//! which none is under attack. What standardises the features there standardises them here.
//!
//! *Threat model*: that of the attack without its known samples. The attacker can train a model of the same kind with the same
//! defence, and needs images for it, but knows nobody's membership in the target.
//!
//! *Queries per sample*: as the attack's; and as many of the shadow model, for each of its samples.
//!
//! *What it misses*: what differs between the two models. A threshold of one need not fit the other; an AUC asks only that the
//! order is right.

use crate::{AttackInfo, Batch, Learned, Result, Rule};
use dualmd_diffusion::Denoiser;
use dualmd_names::Variant;
use dualmd_torch::Tensor;

/// An attack that learns, to be taught by a shadow model.
#[derive(Debug)]
pub(crate) struct Shadowed(pub(crate) Box<dyn Learned>);

/// What an attack is that is learnt on a shadow model.
pub(crate) fn described(mut plain: AttackInfo) -> AttackInfo {
    plain.name += Variant::Shadow.suffix();
    plain.title += ", learnt on a shadow model";
    plain.parameters.learnt_on = Some("shadow model".to_owned());
    let taught = plain
        .formula
        .replace("known samples", "a shadow model's samples");
    plain.formula = taught.replace("the a shadow", "a shadow").into();
    plain.misses = "what the model does not share with the shadow model; one that remembers more, or less, can teach an order that is worse \
                    than chance here";
    plain
}

impl Learned for Shadowed {
    fn info(&self) -> AttackInfo {
        described(self.0.info())
    }

    fn features(&self, batch: &mut Batch<'_>) -> Result<Tensor> {
        self.0.features(batch)
    }

    fn learn(&self, features: &Tensor, member: &[bool], seed: u64) -> Result<Rule> {
        self.0.learn(features, member, seed)
    }

    fn teaches(&self, target: &dyn Denoiser, shadow: &dyn Denoiser) -> Result<()> {
        self.0.teaches(target, shadow)
    }
}
