//! Every attack, and what holds of it.
//!
//! Scores of all of them have one direction: higher = more likely a member.

/// An attack, without timestep, rounds or variants; in the order in which reports name what was not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BaseAttack {
    /// `loss`.
    Loss,
    /// `secmi`.
    SecMi,
    /// `secmi-nn`.
    SecMiNn,
    /// `pia`.
    Pia,
    /// `pian`.
    Pian,
    /// `sima`.
    SimA,
    /// `pfami`.
    Pfami,
    /// `rediffuse`.
    ReDiffuse,
    /// `rediffuse-nn`.
    ReDiffuseNn,
    /// `loss-grid`.
    LossGrid,
    /// `combined`.
    Combined,
    /// `likelihood`: known from the literature, not to be run here.
    Likelihood,
    /// `gsa1`.
    Gsa1,
    /// `gsa2`.
    Gsa2,
    /// `lira`: made by `dualmd lira` out of many trainings.
    Lira,
    /// `lira-offline`: as `lira`, of trainings without the image alone.
    LiraOffline,
    /// `rmia`: made by `dualmd lira`, too.
    Rmia,
    /// `reference`.
    Reference,
    /// `teacher-difference`.
    TeacherDifference,
    /// `rounds@R`.
    Rounds,
    /// `clid`.
    Clid,
    /// `clid-vec`.
    ClidVec,
    /// `clid-gap`.
    ClidGap,
    /// `wen`.
    Wen,
    /// `pia-sd-2024`.
    PiaSd2024,
    /// `sim-mean`.
    SimMean,
    /// `pw-threshold`.
    PwThreshold,
    /// `pw-distribution`.
    PwDistribution,
    /// `pw-classifier`.
    PwClassifier,
    /// `nn`.
    Nearest,
    /// `nn-features`.
    NearestFeatures,
    /// `density`.
    Density,
}

/// What an attack needs beside the model under attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Needs {
    /// Nothing: one model suffices.
    Nothing,
    /// Samples whose membership is known.
    Known,
    /// Both models of a DualMD pair.
    Pair,
    /// A model of the same kind that saw none of the samples.
    Reference,
    /// Such a model, and the images that it saw and did not see: a shadow model. Of LiRA: many of them.
    Shadow,
}

/// How an attack comes to a score, which decides what variants it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Asks the network, by a formula: `@T`, `@snr=S`, `+flip`, `+lowpass`, `+pullback`, `+captions`.
    Formula,
    /// Asks the network, and learns what its answers mean: `@T`, `@snr=S`, `+shadow`.
    Learned,
    /// Compares with the images that were generated: no variants.
    Nearest,
    /// Compares with what the sample's caption draws: `+captions`, or where it learns `+shadow`.
    Likeness,
    /// The same, or `Nearest`, of what a pair draws in rounds: `@R`, `+second`, a way to compare.
    Rounds,
    /// Not run by its name.
    Elsewhere,
}

/// Models that an attack can be run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunsOn {
    /// Those with a network of their own, which a DualMD pair has not.
    Networks,
    /// Those that images were generated with; teachers are not asked to generate.
    Generators,
    /// A DualMD pair.
    Pairs,
    /// Those that are told a text: the attack compares captions, or what they draw.
    Text,
    /// All.
    Everything,
}

/// What an attack costs for each sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cost {
    /// Forward passes of the network.
    Calls,
    /// Gradients of all weights: a backward pass per image costs more than all other attacks together.
    Gradients,
    /// Generated images.
    Images,
    /// Models that the attacker trains.
    Trainings,
}

/// What holds of an attack: its row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Name in files and on the command line.
    pub name: &'static str,
    /// Short name for people.
    pub title: &'static str,
    /// Its paper, as `docs/attacks` has it.
    pub paper: &'static str,
    /// What it does, for the sentence that says it was not run; `None` where nobody misses it.
    pub does: Option<&'static str>,
    /// Models that it can be run on.
    pub runs_on: RunsOn,
    /// How it comes to a score.
    pub kind: Kind,
    /// What it needs beside the model under attack.
    pub needs: Needs,
    /// What it costs.
    pub cost: Cost,
    /// Is it part of what an audit runs unless attacks are named, where it can be run and its needs are met?
    pub usual: bool,
}

/// By a formula on the network's answers.
const FORMULA: Facts = Facts {
    name: "",
    title: "",
    paper: "",
    does: None,
    runs_on: RunsOn::Networks,
    kind: Kind::Formula,
    needs: Needs::Nothing,
    cost: Cost::Calls,
    usual: true,
};
/// Learnt from the network's answers.
const LEARNED: Facts = Facts {
    kind: Kind::Learned,
    needs: Needs::Known,
    ..FORMULA
};
/// Learnt from gradients.
const GRADIENTS: Facts = Facts {
    cost: Cost::Gradients,
    usual: false,
    ..LEARNED
};
/// By what a caption draws.
const LIKENESS: Facts = Facts {
    runs_on: RunsOn::Text,
    kind: Kind::Likeness,
    cost: Cost::Images,
    ..FORMULA
};
/// The same, learnt.
const LEARNED_LIKENESS: Facts = Facts {
    needs: Needs::Known,
    ..LIKENESS
};
/// By generated images alone.
const NEAREST: Facts = Facts {
    runs_on: RunsOn::Generators,
    kind: Kind::Nearest,
    cost: Cost::Images,
    ..FORMULA
};
/// Out of many trainings.
const TRAININGS: Facts = Facts {
    runs_on: RunsOn::Everything,
    kind: Kind::Elsewhere,
    needs: Needs::Shadow,
    cost: Cost::Trainings,
    usual: false,
    ..FORMULA
};

impl Facts {
    const fn of(
        self,
        name: &'static str,
        title: &'static str,
        paper: &'static str,
        does: &'static str,
    ) -> Self {
        Self {
            name,
            title,
            paper,
            does: Some(does),
            ..self
        }
    }

    /// Nobody misses it where it was not run.
    const fn unmissed(self) -> Self {
        Self { does: None, ..self }
    }

    const fn on(self, runs_on: RunsOn) -> Self {
        Self { runs_on, ..self }
    }

    const fn needing(self, needs: Needs) -> Self {
        Self { needs, ..self }
    }

    const fn unusual(self) -> Self {
        Self {
            usual: false,
            ..self
        }
    }

    const fn kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }
}

impl BaseAttack {
    /// All, in the order of the enum.
    pub const ALL: [Self; 32] = [
        Self::Loss,
        Self::SecMi,
        Self::SecMiNn,
        Self::Pia,
        Self::Pian,
        Self::SimA,
        Self::Pfami,
        Self::ReDiffuse,
        Self::ReDiffuseNn,
        Self::LossGrid,
        Self::Combined,
        Self::Likelihood,
        Self::Gsa1,
        Self::Gsa2,
        Self::Lira,
        Self::LiraOffline,
        Self::Rmia,
        Self::Reference,
        Self::TeacherDifference,
        Self::Rounds,
        Self::Clid,
        Self::ClidVec,
        Self::ClidGap,
        Self::Wen,
        Self::PiaSd2024,
        Self::SimMean,
        Self::PwThreshold,
        Self::PwDistribution,
        Self::PwClassifier,
        Self::Nearest,
        Self::NearestFeatures,
        Self::Density,
    ];

    /// The row of the table.
    #[rustfmt::skip]
    #[must_use]
    pub const fn facts(self) -> Facts {
        use RunsOn::{Networks, Pairs, Text};
        match self {
            Self::Loss => FORMULA.of("loss", "Loss", "Matsumoto et al. 2023", "the training loss (Loss)"),
            Self::SecMi => FORMULA.of("secmi", "SecMI", "Duan et al. 2023", "the error of one deterministic step (SecMI)"),
            Self::SecMiNn => LEARNED.of("secmi-nn", "SecMI-NNs", "Duan et al. 2023", "a classifier trained on SecMI's errors (SecMI-NNs)"),
            Self::Pia => FORMULA.of("pia", "PIA", "Kong et al. 2024", "proximal initialisation (PIA)"),
            Self::Pian => FORMULA.of("pian", "PIAN", "Kong et al. 2024", "normalised proximal initialisation (PIAN)"),
            Self::SimA => FORMULA.of("sima", "SimA", "Rao et al. 2025", "the size of the predicted noise (SimA)"),
            Self::Pfami => FORMULA.of("pfami", "PFAMI", "Fu et al. 2023", "fluctuation under crops (PFAMI)"),
            Self::ReDiffuse => FORMULA.of("rediffuse", "ReDiffuse", "Li et al. 2024", "image variation (ReDiffuse)"),
            Self::ReDiffuseNn => LEARNED.of("rediffuse-nn", "ReDiffuse-NNs", "Li et al. 2024", "a classifier trained on image variations (ReDiffuse-NNs)"),
            Self::LossGrid => LEARNED.of("loss-grid", "Losses at many noise levels", "after Wu et al. 2025", "the losses at many noise levels, learnt").unusual(),
            Self::Combined => LEARNED.of("combined", "Learnt combination", "-", "a learnt combination of the error attacks").unusual(),
            Self::Likelihood => FORMULA.of("likelihood", "Likelihood", "Hu and Pang 2023", "the likelihood of the image").kind(Kind::Elsewhere).unusual(),
            Self::Gsa1 => GRADIENTS.of("gsa1", "GSA1", "Pang et al. 2023", "gradients of the loss, all timesteps at once (GSA1)"),
            Self::Gsa2 => GRADIENTS.of("gsa2", "GSA2", "Pang et al. 2023", "gradients of the loss, timestep by timestep (GSA2)"),
            Self::Lira => TRAININGS.of("lira", "LiRA", "Carlini et al. 2022", "shadow models (LiRA)"),
            Self::LiraOffline => TRAININGS.of("lira-offline", "LiRA, offline", "Carlini et al. 2022", "").unmissed(),
            Self::Rmia => TRAININGS.of("rmia", "RMIA", "Zarifzadeh et al. 2024", "").unmissed(),
            Self::Reference => FORMULA.of("reference", "Loss against a reference model", "Watson et al. 2022", "the loss against a reference model").needing(Needs::Reference).on(Networks),
            Self::TeacherDifference => FORMULA.of("teacher-difference", "Difference of the two teachers", "after Watson et al. 2022", "the difference of the two teachers").needing(Needs::Pair).on(Pairs),
            Self::Rounds => NEAREST.of("rounds", "Adaptive rounds", "appendix A.5 of the DualMD paper", "repeated partial generation against a pair (appendix A.5 of the DualMD paper)").needing(Needs::Pair).on(Pairs).kind(Kind::Rounds),
            Self::Clid => LEARNED.of("clid", "CLiD", "Zhai et al. 2024", "the loss with and without the caption (CLiD)").on(Text),
            Self::ClidVec => LEARNED.of("clid-vec", "CLiD, all losses", "Zhai et al. 2024", "the losses with the caption, parts of it and none, learnt (CLiD)").on(Text),
            Self::ClidGap => FORMULA.of("clid-gap", "CLiD, unlearned", "after Zhai et al. 2024", "the loss without the caption less that with it").on(Text),
            Self::Wen => FORMULA.of("wen", "Wen's norm", "Wen et al. 2024", "how strongly the caption pulls (Wen et al.)").on(Text),
            Self::PiaSd2024 => FORMULA.of("pia-sd-2024", "PIA for Stable Diffusion as published in 2024", "Kong et al. 2024", "").unmissed().on(Text).unusual(),
            Self::SimMean => LIKENESS.of("sim-mean", "Similarity of generated images", "after Pang and Wang 2025", "likeness to what the caption draws (after Pang and Wang)"),
            Self::PwThreshold => LEARNED_LIKENESS.of("pw-threshold", "Pang & Wang, threshold", "Pang and Wang 2025", "a threshold on the likeness to what the caption draws, learnt (Pang and Wang)"),
            Self::PwDistribution => LEARNED_LIKENESS.of("pw-distribution", "Pang & Wang, distribution", "Pang and Wang 2025", "two Gaussians of that likeness, learnt (Pang and Wang)"),
            Self::PwClassifier => LEARNED_LIKENESS.of("pw-classifier", "Pang & Wang, classifier", "Pang and Wang 2025", "a classifier on such likenesses, learnt (Pang and Wang)"),
            Self::Nearest => NEAREST.of("nn", "Nearest generated image", "Chen et al. 2020", "distance to generated images"),
            Self::NearestFeatures => NEAREST.of("nn-features", "Nearest generated image, by features", "after Chen et al. 2020", "distance to generated images in the features of another network"),
            Self::Density => NEAREST.of("density", "Density ratio of generated images", "after van Breugel et al. 2023", "the density of generated images against that of others (DOMIAS)").needing(Needs::Known).unusual(),
        }
    }

    /// Name in files and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// Short name for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.facts().title
    }

    /// What it needs beside the model under attack.
    #[must_use]
    pub const fn needs(self) -> Needs {
        self.facts().needs
    }

    /// Does it learn what scores are to mean?
    #[must_use]
    pub const fn learns(self) -> bool {
        matches!(self.needs(), Needs::Known)
    }

    /// Does it compare captions, or what they draw? Then it needs a text-to-image model and a caption for every sample.
    #[must_use]
    pub const fn compares_captions(self) -> bool {
        matches!(self.facts().runs_on, RunsOn::Text)
    }

    /// What it costs, in words.
    #[must_use]
    pub const fn price(self) -> &'static str {
        if matches!(self, Self::Likelihood) {
            return "forward passes along the whole trajectory of each image";
        }
        match (self.facts().kind, self.facts().cost) {
            (Kind::Rounds, _) => "the pair's images drawn anew, once for each round",
            (_, Cost::Calls) => "forward passes: the cheapest kind",
            (_, Cost::Gradients) => {
                "a backward pass for each image and timestep: more than all attacks by forward passes together"
            }
            (_, Cost::Images) => "none beside the generated images",
            (_, Cost::Trainings) => "many trainings of the whole recipe",
        }
    }

    /// Why an audit or a run may not have run it, and what to do for it in either.
    #[must_use]
    pub const fn why_not_run(self) -> &'static str {
        match self {
            Self::Likelihood => {
                "this program does not have it: it integrates the model's whole trajectory for each image"
            }
            Self::Lira | Self::LiraOffline | Self::Rmia => {
                "the recipe has to be known and is trained many times: dualmd lira EXPERIMENT"
            }
            Self::NearestFeatures => {
                "run by name only, since it depends on a network that compares images: --attacks nn-features (in an experiment: audit.attacks)"
            }
            _ => match (self.needs(), self.facts().cost, self.facts().usual) {
                (_, Cost::Gradients, _) => {
                    "run by name only, for its cost: --attacks gsa2,gsa1 (in an experiment: audit.attacks)"
                }
                (Needs::Reference, ..) => {
                    "needs a model of the same kind, trained on other images: --reference MODEL (an experiment trains one where audit.attacks names reference)"
                }
                (Needs::Pair, ..) => {
                    "is of a pair: --pair MODEL1 MODEL2 (in an experiment: audit.attacks)"
                }
                (_, Cost::Images, _) => {
                    "was not among the attacks that were asked for (--attacks; in an experiment: audit.attacks)"
                }
                (.., false) => "run by name only (--attacks; in an experiment: audit.attacks)",
                (.., true) => {
                    "one of the usual ones, and not among the attacks chosen here (--attacks; in an experiment: audit.attacks)"
                }
            },
        }
    }

    /// Can it be asked for by its name?
    #[must_use]
    pub const fn can_be_asked(self) -> bool {
        !matches!(self.facts().kind, Kind::Elsewhere)
    }

    /// Is it part of what an audit runs unless attacks are named, where its needs are met? `text`: of a text-to-image model.
    #[must_use]
    pub const fn is_usual(self, text: bool) -> bool {
        self.facts().usual && (text || !self.compares_captions())
    }

    /// The attack of exactly this name, without timestep or variant.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|attack| attack.name() == name)
    }

    /// The attack that a name of a score file begins with, whatever follows: `sima` for `sima@50`, `sima+flip` and `sima`.
    /// Score files may be of other programs, so a name need not be one that [`crate::AttackSpec`] knows.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::named(name.split(['@', '+']).next().unwrap_or(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is missed where it was not run has a price and a reason, and a flag that is named there exists for it.
    #[test]
    fn what_was_not_run_has_a_price_and_a_reason() {
        for attack in BaseAttack::ALL {
            assert!(
                !attack.price().is_empty() && attack.price().len() < 110,
                "{}",
                attack.name()
            );
            let why = attack.why_not_run();
            let flag = match (attack.needs(), attack.facts().cost) {
                _ if !attack.can_be_asked() => "dualmd",
                (_, Cost::Gradients) => attack.name(),
                (Needs::Reference, _) => "--reference",
                (Needs::Pair, _) => "--pair",
                _ => "--attacks",
            };
            let told = why.contains(flag) || attack == BaseAttack::Likelihood;
            assert!(told, "{}: {why}", attack.name());
            // A run has no such flags: its settings are named beside them.
            assert_eq!(
                why.contains("audit.attacks"),
                attack.can_be_asked(),
                "{}: {why}",
                attack.name()
            );
        }
        assert!(BaseAttack::Gsa1.price().contains("backward"));
        assert!(BaseAttack::Loss.why_not_run().contains("usual"));
        // It integrates from the image to noise, which is not cheap.
        let likelihood = BaseAttack::Likelihood.price();
        assert!(
            likelihood.contains("trajectory") && !likelihood.contains("cheap"),
            "{likelihood}"
        );
    }
}
