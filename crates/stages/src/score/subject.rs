//! What is attacked: a model with what is known of it, and the samples.

use super::super::generator::Generator;
use crate::choices::{self, Order, Weights};
use dualmd_metrics::Extractor;
use dualmd_names::{AttackSpec, ModelKind};
use dualmd_torch::Tensor;
use std::path::Path;

/// A sample under attack: its id, its near-duplicate or personal group, and the truth.
#[derive(Debug, Clone)]
pub struct Label {
    /// Content id.
    pub id: String,
    /// Name where it came from.
    pub name: String,
    /// Group.
    pub group: Option<String>,
    /// Member?
    pub member: bool,
}

impl Label {
    /// What is known as a whole or not at all: its group, or the image alone.
    pub fn key(&self) -> String {
        match &self.group {
            Some(group) => format!("group {group}"),
            None => self.id.clone(),
        }
    }
}

/// Images that black-box attacks draw for themselves.
#[derive(Debug, Clone, Copy)]
pub struct Drawing {
    /// How many.
    pub n: usize,
    /// Steps of each.
    pub steps: usize,
    /// How a step is made where the attack does not say: as in the images that are there already.
    pub sampler: choices::Sampler,
    /// Which model of a pair begins where the attack does not say.
    pub order: Order,
    /// For each caption of a text-to-image model, in place of `n`.
    pub per_prompt: usize,
    /// At this guidance.
    pub guidance: f64,
}

/// A model like the one under attack, trained by the attacker on other images: what attacks learn from that are learnt on a
/// shadow model.
#[derive(Clone, Copy)]
pub struct Shadow<'a> {
    /// The model.
    pub generator: &'a Generator,
    /// Images of which it was trained on some, [M, C, H, W] in [-1, 1].
    pub x: &'a Tensor,
    /// Which.
    pub labels: &'a [Label],
    /// Their captions, for a text-to-image model; the class of each, for a class-conditional one.
    pub captions: Option<&'a [&'a [String]]>,
    /// Images it generated for these captions, as those of the subject.
    pub generated: Option<&'a Tensor>,
}

/// What is attacked, and with what.
pub struct Subject<'a> {
    /// Name in files.
    pub name: &'a str,
    /// Defence, for the record.
    pub defense: ModelKind,
    /// Attacks.
    pub attacks: &'a [AttackSpec],
    /// The model.
    pub generator: &'a Generator,
    /// A model of the same kind that saw none of the samples.
    pub reference: Option<&'a Generator>,
    /// A shadow model.
    pub shadow: Option<Shadow<'a>>,
    /// Images it generated, [n, C, H, W] in [-1, 1], for `nn`, `nn-features`, `density` and `sim-mean`; of a text-to-image model k in a row
    /// for each sample's caption.
    pub generated: Option<&'a Tensor>,
    /// The captions of every sample, the main one first, for a text-to-image model; the class of every sample, for a
    /// class-conditional one.
    pub captions: Option<&'a [&'a [String]]>,
    /// What `nn-features`, `density` and the attacks by captions compare by.
    pub extractor: Option<&'a dyn Extractor>,
    /// How other black-box attacks draw theirs.
    pub drawing: Drawing,
    /// Share of the samples whose membership is known to attacks that learn.
    pub known: f64,
    /// Samples per batch.
    pub batch: usize,
    /// Seed of the attacks' noise.
    pub seed: u64,
    /// Which weights were loaded.
    pub weights: Weights,
    /// Folder for what is done on the way ([`parts::beside`](super::parts::beside)).
    pub parts: &'a Path,
}
