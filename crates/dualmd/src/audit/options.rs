//! What is audited, and how.

use crate::choices::{self, Features, Order, Weights};
use crate::report::ReportOptions;
use crate::stages::score::Drawing;
use dualmd_data::Alpha;
use dualmd_diffusion::AdapterFolder;
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_names::AttackSpec;
use dualmd_remote::Place;
use std::path::PathBuf;
use std::time::Duration;

/// What [`attack`](super::attack) and [`audit`](super::audit()) share: models, images, attacks.
#[derive(Debug, Clone)]
pub struct ScoreOptions {
    /// Pipeline folders in the diffusers layout, each audited by itself under its folder's name (a single one as `model`).
    pub models: Vec<PathBuf>,
    /// Models with the names that they have in the report.
    pub named: Vec<(String, PathBuf)>,
    /// Two models that alternate: a DualMD pair. Empty: none.
    pub pair: Vec<PathBuf>,
    /// LoRA files (or folders of `pytorch_lora_weights.safetensors`) with the names that they may have in the report: each is audited
    /// over the one model, or both over the two of a pair.
    pub loras: Vec<(Option<String>, PathBuf)>,
    /// In place of all these, a model in another process.
    pub denoiser: Option<Place>,
    /// Images that the model generated, in place of drawing them; without a model, all that is known of it.
    pub generated: Option<String>,
    /// How long each of its answers may take.
    pub denoiser_timeout: Duration,
    /// Images the model was trained on: a folder, a file, or a bundled set.
    pub members: String,
    /// Images of the same kind that it never saw.
    pub nonmembers: String,
    /// Split file that `DATA#member` and `DATA#nonmember` refer to.
    pub split: Option<PathBuf>,
    /// Attacks; all usual ones that fit if none are named.
    pub attacks: Vec<AttackSpec>,
    /// Column that says what belongs together, such as patient or artist.
    pub group_column: Option<String>,
    /// Column of the images' names; the file's name or the row's number unless named.
    pub id_column: Option<String>,
    /// Column of the captions, where a set has several that may be.
    pub caption_column: Option<String>,
    /// Column of the labels, which a class-conditional model is told; `label`, or the folder of an image, unless named.
    pub label_column: Option<String>,
    /// What becomes of transparency: as in the training.
    pub alpha: Alpha,
    /// A model like this one, trained on other images: for the attack `reference`.
    pub reference: Option<PathBuf>,
    /// A shadow model with its images: for attacks that are learnt there.
    pub shadow: Option<ShadowOptions>,
    /// What images drawn for captions, those of `nn-features` and `density`, and generated and real images are compared by.
    pub features: Features,
    /// File of the features' network, or folder of a ViT.
    pub features_weights: Option<PathBuf>,
    /// Share of the images whose membership attacks that learn are told, in (0, 1); they score the rest.
    pub known_fraction: f64,
    /// What is drawn for the attacks that look at images.
    pub draw: DrawOptions,
    /// Which of the model's weights.
    pub weights: Weights,
    /// Images at a time.
    pub batch: usize,
    /// Everything random follows from it.
    pub seed: u64,
}

impl ScoreOptions {
    /// The usual attacks on nothing yet: add [`models`](Self::models).
    pub fn new(members: impl Into<String>, nonmembers: impl Into<String>) -> Self {
        Self {
            models: Vec::new(),
            named: Vec::new(),
            pair: Vec::new(),
            loras: Vec::new(),
            denoiser: None,
            generated: None,
            denoiser_timeout: dualmd_remote::TIMEOUT,
            members: members.into(),
            nonmembers: nonmembers.into(),
            split: None,
            attacks: Vec::new(),
            group_column: None,
            id_column: None,
            caption_column: None,
            label_column: None,
            alpha: Alpha::White,
            reference: None,
            shadow: None,
            features: Features::Auto,
            features_weights: None,
            known_fraction: dualmd_names::KNOWN_FRACTION,
            draw: DrawOptions::default(),
            weights: Weights::Ema,
            batch: 64,
            seed: 0,
        }
    }
}

impl ScoreOptions {
    /// The model that `reference` compares with: the one that is named, or the base of LoRAs, which is there at no cost.
    pub fn reference(&self) -> Option<PathBuf> {
        let base = || {
            let named = self.named.iter().map(|(_, folder)| folder);
            let all: Vec<&PathBuf> = self.models.iter().chain(named).collect();
            match all.as_slice() {
                [only] if !self.loras.is_empty() => Some((*only).clone()),
                all => base_of_adapters(all),
            }
        };
        let base = || base().filter(|_| self.pair.is_empty());
        self.reference.clone().or_else(base)
    }
}

/// The one base of folders that hold adapters alone.
fn base_of_adapters(folders: &[&PathBuf]) -> Option<PathBuf> {
    let base = |folder: &&PathBuf| {
        let adapter = AdapterFolder::of(folder, WeightSet::Ema).ok().flatten()?;
        adapter.base.canonicalize().ok()
    };
    let mut bases = folders.iter().map(base);
    let first = bases.next()??;
    bases
        .all(|other| other.as_ref() == Some(&first))
        .then_some(first)
}

/// A shadow model, trained like the one under attack by whoever attacks it, and its images.
#[derive(Debug, Clone)]
pub struct ShadowOptions {
    /// One folder, or two that alternate.
    pub models: Vec<PathBuf>,
    /// Images it was trained on.
    pub members: String,
    /// Images of the same kind that it never saw.
    pub nonmembers: String,
    /// What `#member` refers to there.
    pub split: Option<PathBuf>,
}

/// The images that an attack or an audit draws from a model, by DDIM; of a pair the first model begins.
#[derive(Debug, Clone, Copy)]
pub struct DrawOptions {
    /// Images to draw from a model that is told no text, at least 2.
    pub images: usize,
    /// Images to draw for each caption from one that is (Pang and Wang: 3).
    pub per_prompt: usize,
    /// Denoising steps of each, 1 to 1000.
    pub steps: usize,
    /// How strongly a caption is followed (classifier-free guidance), at least 0.
    pub guidance: f64,
}

impl Default for DrawOptions {
    fn default() -> Self {
        Self {
            images: 256,
            per_prompt: 3,
            steps: 50,
            guidance: 7.5,
        }
    }
}

impl DrawOptions {
    /// Said of what was asked for and changes nothing, for a model that is `told` a text or is not.
    pub(super) fn idle(&self, told: bool) -> Vec<String> {
        let usual = Self::default();
        let mut out = Vec::new();
        let mut say = |flag: &str, changed: bool, why: &str| {
            if changed {
                out.push(format!("note: --{flag} changes nothing here: {why}"));
            }
        };
        let drawn =
            "the model is told a text, and --per-prompt images are generated for each caption";
        let untold = "the model is told no text";
        if told {
            say("images", self.images != usual.images, drawn);
        } else {
            say("per-prompt", self.per_prompt != usual.per_prompt, untold);
            say("guidance", self.guidance != usual.guidance, untold);
        }
        out
    }

    /// As attacks take it.
    pub(super) fn drawing(&self) -> Drawing {
        Drawing {
            n: self.images,
            steps: self.steps,
            sampler: choices::Sampler::Ddim,
            order: Order::First,
            per_prompt: self.per_prompt,
            guidance: self.guidance,
        }
    }
}

/// An audit.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// What is attacked, and how.
    pub score: ScoreOptions,
    /// Rules of public attack codes whose numbers the report states, too.
    pub compat: Vec<dualmd_stats::CompatRule>,
    /// Folder for scores and report.
    pub out: PathBuf,
    /// What the report holds.
    pub report: ReportOptions,
}

impl AuditOptions {
    /// An audit of nothing yet, into a folder: add [`score`](Self::score).
    pub fn new(out: impl Into<PathBuf>) -> Self {
        Self {
            score: ScoreOptions::new("", ""),
            compat: Vec::new(),
            out: out.into(),
            report: ReportOptions::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_change_nothing_are_said() {
        let usual = DrawOptions::default();
        assert!(usual.idle(true).is_empty() && usual.idle(false).is_empty());
        let asked = DrawOptions {
            images: 8,
            per_prompt: 1,
            guidance: 1.0,
            ..usual
        };
        let said = asked.idle(true);
        assert!(said.len() == 1 && said[0].contains("--images"), "{said:?}");
        let said = asked.idle(false);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("--per-prompt changes nothing here: the model is told no text"));
    }
}
