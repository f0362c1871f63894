//! A learnt combination of the error attacks: what a serious attacker does with scores that cost nothing more.
//!
//! *Source*: stacking (Wolpert 1992, "Stacked Generalization"); Carlini et al. 2022 (arXiv 2112.03570) and Wu et al. 2025 (arXiv
//! 2503.12008) learn membership from several signals in the same way. No paper of this list combines these seven.
//!
//! *Equation*: score = w_0 + sum_a w_a (s_a - m_a) / d_a over the scores s_a of [`crate::loss`], [`crate::secmi`], [`crate::pia`],
//! [`crate::pian`], [`crate::sima`], [`crate::pfami`] and [`crate::rediffuse`]; w by logistic regression with an L2 penalty on known
//! samples, m_a and d_a their means and deviations.
//!
//! *Threat model*: that of the error attacks, and knows for a part of the images whether this model was trained on them; learnt on a
//! shadow model (`combined+shadow`) nobody's.
//!
//! *Queries per sample*: those of the seven attacks, all shared with them where they are run too.
//!
//! *What the score means*: log-odds of membership where members and non-members are as many.
//!
//! *What it misses*: with a few dozen known samples seven weights are learnt badly, and the best single attack can be the better one.
//! Its interval is honest about the choice, because the weights never saw the samples that it is judged on.

use crate::catalogue::{Plain, table};
use crate::{Access, AttackInfo, Batch, Learned, Result, Rule, Space, logistic};
use dualmd_names::BaseAttack;
use dualmd_record::AttackParameters;
use dualmd_torch::Tensor;

/// The attacks whose scores are combined.
const PARTS: [BaseAttack; 7] = [
    BaseAttack::Loss,
    BaseAttack::SecMi,
    BaseAttack::Pia,
    BaseAttack::Pian,
    BaseAttack::SimA,
    BaseAttack::Pfami,
    BaseAttack::ReDiffuse,
];

/// The combination. Default: of the attacks with their defaults for pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Combined {
    /// Whose defaults its parts have.
    pub space: Space,
    /// The timestep of all parts, where it is not each one's own.
    pub t: Option<i64>,
}

impl Combined {
    fn parts(self) -> impl Iterator<Item = Box<dyn crate::Attack>> {
        let made = move |attack| match table::made(attack, self.space, self.t) {
            Some(Plain::Formula(attack)) => Some(attack),
            // None of the parts.
            _ => None,
        };
        PARTS.into_iter().filter_map(made)
    }
}

impl Learned for Combined {
    fn info(&self) -> AttackInfo {
        let parts: Vec<AttackInfo> = self.parts().map(|attack| attack.info()).collect();
        let parameters = parts
            .iter()
            .map(|part| (part.name.clone(), part.parameters.clone()));
        AttackInfo {
            name: "combined".into(),
            title: "Learnt combination of the error attacks".into(),
            paper: "stacking, Wolpert 1992",
            access: Access::WhiteBox,
            formula: "log-odds by logistic regression on the scores of loss, secmi, pia, pian, sima, pfami and rediffuse, learnt on known samples"
                .into(),
            network_calls_per_sample: parts.iter().map(|part| part.network_calls_per_sample).sum(),
            parameters: AttackParameters {
                of: Some(parameters.collect()),
                ..AttackParameters::default()
            },
            misses: "learns seven weights from the known samples; with a few dozen of them the best single attack can be better",
        }
    }

    fn features(&self, batch: &mut Batch<'_>) -> Result<Tensor> {
        let scores = self
            .parts()
            .map(|attack| Ok(Tensor::from_slice(&attack.score(batch)?)))
            .collect::<Result<Vec<_>>>()?;
        Ok(Tensor::f_stack(&scores, 1)?)
    }

    fn learn(&self, features: &Tensor, member: &[bool], seed: u64) -> Result<Rule> {
        logistic::learn("combined", features, member, seed)
    }
}
