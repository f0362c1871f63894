//! SecMI-NNs: a classifier on SecMI's residual image.
//!
//! *Paper*: Duan et al. 2023, "Are Diffusion Models Vulnerable to Membership Inference Attacks?" (ICML, arXiv
//! 2302.01316), the variant SecMI-NNs, as in its public code. Most likely the "SecMIA" of the DualMD paper's Tables 3 and 10.
//!
//! *Equation*: score = f(|z_s - w|), the residual image of [`crate::secmi`] through a ResNet-18 (see [`crate::resnet`])
//! that was trained to give 1 for known members and 0 for known non-members.
//!
//! *Threat model*: as SecMI, and knows for a part of the images (here a fifth) whether *this* model was trained on them. The
//! paper's authors train it on a shadow model in its place, and say that it carries over.
//!
//! *Queries per sample*: 11, all shared with SecMI.
//!
//! *What the score means*: where in the image the model's path is off, and how, not just by how much.
//!
//! *What it misses*: with a few dozen known images there is little to learn from, and the plain sum of squares can be
//! the better rule.

use crate::{Access, AttackInfo, Batch, Learned, Result, Rule, SecMi, resnet};
use dualmd_record::AttackParameters;
use dualmd_torch::Tensor;

/// SecMI-NNs. Default: the residual of SecMI's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SecMiNn(
    /// Whose residual.
    pub SecMi,
);

impl Learned for SecMiNn {
    fn info(&self) -> AttackInfo {
        use crate::Attack;
        let statistic = self.0.info();
        AttackInfo {
            name: "secmi-nn".into(),
            title: "SecMI-NNs (classifier)".into(),
            paper: "Duan et al. 2023, arXiv 2302.01316",
            access: Access::WhiteBox,
            formula: "ResNet-18(|z_s - w|), trained on known samples; z_s and w as in SecMI".into(),
            network_calls_per_sample: statistic.network_calls_per_sample,
            parameters: AttackParameters {
                secmi: Some(Box::new(statistic.parameters)),
                published_recipe_from: Some(resnet::PUBLISHED_FROM),
                ..AttackParameters::default()
            },
            misses: "learns from the known samples; with a few dozen of them there is little to learn",
        }
    }

    fn features(&self, batch: &mut Batch<'_>) -> Result<Tensor> {
        Ok(self.0.residual(batch)?.f_abs()?)
    }

    fn learn(&self, features: &Tensor, member: &[bool], seed: u64) -> Result<Rule> {
        resnet::learn("secmi-nn", features, member, seed)
    }
}
