//! The attacks that this program knows: their names in score files, for people, and in the list of what was not run.

use crate::report::ModelReport;

/// One kind of attack. Variants of it carry a suffix in score files: `sima@50`, `loss+flip`.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// Name in score files.
    pub name: &'static str,
    /// Name for people, where the attack stage left none.
    pub title: &'static str,
    /// Its paper, as `docs/attacks` has it; `None` where there is none.
    pub paper: Option<&'static str>,
    /// What it does, for the sentence that says it was not run.
    pub does: &'static str,
    /// Models that it can be run on.
    applies: Applies,
}

/// Models that an attack can be run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Applies {
    /// Those with a network of their own, which a DualMD pair has not.
    Networks,
    /// Those that images were generated with; teachers are not asked to generate.
    Generators,
    /// A DualMD pair.
    Pairs,
    /// Those that are told a text.
    Text,
    /// All.
    Everything,
}

/// All attacks, error attacks first.
#[rustfmt::skip]
pub const ATTACKS: [Known; 26] = [
    known("loss", "Loss", Some("Matsumoto et al. 2023"), "the training loss (Loss)", Applies::Networks),
    known("secmi", "SecMI", Some("Duan et al. 2023"), "the error of one deterministic step (SecMI)", Applies::Networks),
    known("secmi-nn", "SecMI-NNs", Some("Duan et al. 2023"), "a classifier trained on SecMI's errors (SecMI-NNs)", Applies::Networks),
    known("pia", "PIA", Some("Kong et al. 2024"), "proximal initialisation (PIA)", Applies::Networks),
    known("pian", "PIAN", Some("Kong et al. 2024"), "normalised proximal initialisation (PIAN)", Applies::Networks),
    known("sima", "SimA", Some("Rao et al. 2025"), "the size of the predicted noise (SimA)", Applies::Networks),
    known("pfami", "PFAMI", Some("Fu et al. 2023"), "fluctuation under crops (PFAMI)", Applies::Networks),
    known("rediffuse", "ReDiffuse", Some("Li et al. 2024"), "image variation (ReDiffuse)", Applies::Networks),
    known("rediffuse-nn", "ReDiffuse-NNs", Some("Li et al. 2024"), "a classifier trained on image variations (ReDiffuse-NNs)", Applies::Networks),
    known("likelihood", "Likelihood", Some("Hu and Pang 2023"), "the likelihood of the image", Applies::Networks),
    known("gsa1", "GSA1", Some("Pang et al. 2023"), "gradients of the loss, all timesteps at once (GSA1)", Applies::Networks),
    known("gsa2", "GSA2", Some("Pang et al. 2023"), "gradients of the loss, timestep by timestep (GSA2)", Applies::Networks),
    known("lira", "LiRA", Some("Carlini et al. 2022"), "shadow models (LiRA)", Applies::Everything),
    known("reference", "Loss against a reference model", Some("Watson et al. 2022"), "the loss against a reference model", Applies::Networks),
    known("teacher-difference", "Difference of the two teachers", Some("after Watson et al. 2022"), "the difference of the two teachers", Applies::Pairs),
    known("rounds", "Adaptive rounds", Some("appendix A.5 of the DualMD paper"), "repeated partial generation against a pair (appendix A.5 of the DualMD paper)", Applies::Pairs),
    known("clid", "CLiD", Some("Zhai et al. 2024"), "the loss with and without the caption (CLiD)", Applies::Text),
    known("clid-vec", "CLiD, all losses", Some("Zhai et al. 2024"), "the losses with the caption, parts of it and none, learnt (CLiD)", Applies::Text),
    known("clid-gap", "CLiD, unlearned", Some("after Zhai et al. 2024"), "the loss without the caption less that with it", Applies::Text),
    known("wen", "Wen's norm", Some("Wen et al. 2024"), "how strongly the caption pulls (Wen et al.)", Applies::Text),
    known("sim-mean", "Similarity of generated images", Some("after Pang and Wang 2025"), "likeness to what the caption draws (after Pang and Wang)", Applies::Text),
    known("pw-threshold", "Pang & Wang, threshold", Some("Pang and Wang 2025"), "a threshold on the likeness to what the caption draws, learnt (Pang and Wang)", Applies::Text),
    known("pw-distribution", "Pang & Wang, distribution", Some("Pang and Wang 2025"), "two Gaussians of that likeness, learnt (Pang and Wang)", Applies::Text),
    known("pw-classifier", "Pang & Wang, classifier", Some("Pang and Wang 2025"), "a classifier on such likenesses, learnt (Pang and Wang)", Applies::Text),
    known("nn", "Nearest generated image", Some("Chen et al. 2020"), "distance to generated images", Applies::Generators),
    known("nn-features", "Nearest generated image, by features", Some("after Chen et al. 2020"), "distance to generated images in the features of another network", Applies::Generators),
];

const fn known(
    name: &'static str,
    title: &'static str,
    paper: Option<&'static str>,
    does: &'static str,
    applies: Applies,
) -> Known {
    Known {
        name,
        title,
        paper,
        does,
        applies,
    }
}

impl Known {
    /// Can it be run on this model?
    pub fn applies_to(&self, model: &ModelReport) -> bool {
        let pair = model.is_pair();
        match self.applies {
            Applies::Networks => !pair,
            Applies::Generators => !model.is_teacher(),
            Applies::Pairs => pair,
            // A model that was attacked by what it draws for captions has a text.
            Applies::Text => model.results.iter().any(|r| of_text(&r.attack)),
            Applies::Everything => true,
        }
    }
}

/// Is it an attack on models that are told a text?
fn of_text(attack: &str) -> bool {
    find(attack).is_some_and(|known| known.applies == Applies::Text)
}

/// `sima@50` and `loss+flip` are variants of `sima` and `loss`.
pub fn base(attack: &str) -> &str {
    attack.split(['@', '+']).next().unwrap_or(attack)
}

/// The entry of an attack or of what it is a variant of.
pub fn find(attack: &str) -> Option<&'static Known> {
    ATTACKS.iter().find(|k| k.name == base(attack))
}

/// Title for score files that come without their JSON.
pub fn title(attack: &str) -> String {
    match find(attack) {
        Some(known) if known.name == attack => known.title.into(),
        Some(known) => format!("{} ({attack})", known.title),
        None => attack.into(),
    }
}

/// Access in words: gradients need more than forward passes of the weights.
pub fn access(attack: &str, access: &str) -> String {
    match base(attack) {
        "gsa" | "gsa1" | "gsa2" if access == "white-box" => "white-box, with gradients".into(),
        _ => access.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_have_the_title_of_their_base() {
        assert_eq!(title("gsa2"), "GSA2");
        assert_eq!(title("sima@50"), "SimA (sima@50)");
        assert_eq!(title("mine"), "mine");
        assert_eq!(find("loss+flip").map(|k| k.name), Some("loss"));
        assert!(find("losses").is_none());
        assert_eq!(access("gsa1@x", "white-box"), "white-box, with gradients");
        assert_eq!(access("gsa1", "unknown"), "unknown");
        assert_eq!(access("lira", "black-box"), "black-box");
    }
}
