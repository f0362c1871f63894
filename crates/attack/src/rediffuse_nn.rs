//! ReDiffuse as its public code has it: a classifier on the difference between the image and its variations.
//!
//! *Paper*: Li et al. 2024, "Towards Black-Box Membership Inference Attack for Diffusion Models" (arXiv 2405.20771).
//!
//! *Equation*: score = f(|x - (1/K) sum_k g_k|), the difference image of [`crate::rediffuse`] through a ResNet-18 (see
//! [`crate::resnet`]) that was trained on known samples.
//!
//! *Threat model*: a service that varies images the attacker sends; knows for a part of the images (here a fifth) whether
//! this model was trained on them.
//!
//! *Queries per sample*: 20, all shared with ReDiffuse.
//!
//! *What the score means*: where the variations differ from the image, and how.
//!
//! *What it misses*: as SecMI-NNs, it has little to learn from when few images are known.

use crate::{Access, AttackInfo, Batch, Learned, ReDiffuse, Result, Rule, resnet};
use dualmd_record::AttackParameters;
use dualmd_torch::Tensor;

/// ReDiffuse's classifier. Default: the difference of ReDiffuse's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReDiffuseNn(
    /// Whose difference.
    pub ReDiffuse,
);

impl Learned for ReDiffuseNn {
    fn info(&self) -> AttackInfo {
        use crate::Attack;
        let plain = self.0.info();
        AttackInfo {
            name: "rediffuse-nn".into(),
            title: "ReDiffuse (classifier)".into(),
            paper: "Li et al. 2024, arXiv 2405.20771",
            access: Access::GreyBox,
            formula:
                "ResNet-18(|x - (1/K) sum_k g_k|), trained on known samples; g_k as in ReDiffuse"
                    .into(),
            network_calls_per_sample: plain.network_calls_per_sample,
            parameters: AttackParameters {
                rediffuse: Some(Box::new(plain.parameters)),
                published_recipe_from: Some(resnet::PUBLISHED_FROM),
                ..AttackParameters::default()
            },
            misses: "learns from the known samples; with a few dozen of them there is little to learn",
        }
    }

    fn features(&self, batch: &mut Batch<'_>) -> Result<Tensor> {
        Ok(self.0.difference(batch)?.f_abs()?)
    }

    fn learn(&self, features: &Tensor, member: &[bool], seed: u64) -> Result<Rule> {
        resnet::learn("rediffuse-nn", features, member, seed)
    }
}
