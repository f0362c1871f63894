//! Attacks by what a sample's caption draws: how images are compared, and how they are drawn.

use crate::facts::BaseAttack;
use crate::spec::{AttackSpec, Over, Variant};

/// How images that a caption draws are compared with the sample. The formulas are in `dualmd_attack::similarity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Similarity {
    /// `sim-mean`.
    Mean,
    /// `pw-threshold`.
    Threshold,
    /// `pw-distribution`.
    Distribution,
    /// `pw-classifier`.
    Classifier,
}

impl Similarity {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Mean,
        Self::Threshold,
        Self::Distribution,
        Self::Classifier,
    ];

    /// The attack that compares so, on images as any user gets them.
    #[must_use]
    pub const fn attack(self) -> BaseAttack {
        match self {
            Self::Mean => BaseAttack::SimMean,
            Self::Threshold => BaseAttack::PwThreshold,
            Self::Distribution => BaseAttack::PwDistribution,
            Self::Classifier => BaseAttack::PwClassifier,
        }
    }

    /// Name in files and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.attack().name()
    }

    /// Does it learn from samples whose membership is known?
    #[must_use]
    pub const fn learns(self) -> bool {
        !matches!(self, Self::Mean)
    }
}

/// How a pair's images are drawn in rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rounds {
    /// R, at least 1.
    pub rounds: usize,
    /// Every round begins with the second model, not the first.
    pub second: bool,
}

/// An attack by what a sample's caption draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Drawn {
    /// How images are compared.
    pub form: Similarity,
    /// How they are drawn; `None`: as any user gets them.
    pub rounds: Option<Rounds>,
    /// What is made of the likenesses under all captions of a sample; `None`: only its first is asked with.
    pub captions: Option<Over>,
    /// Is it learnt on a shadow model, not from known samples?
    pub shadow: bool,
}

impl Drawn {
    /// Name in files and on the command line.
    #[must_use]
    pub fn name(self) -> String {
        AttackSpec::from(self).to_string()
    }
}

impl From<Drawn> for AttackSpec {
    fn from(drawn: Drawn) -> Self {
        let base = match drawn.rounds {
            Some(_) => BaseAttack::Rounds,
            None => drawn.form.attack(),
        };
        let mut variants: Vec<Variant> =
            drawn.captions.map(Variant::Captions).into_iter().collect();
        if drawn.shadow {
            variants.push(Variant::Shadow);
        }
        Self {
            rounds: drawn.rounds,
            form: Some(drawn.form),
            variants,
            ..Self::from(base)
        }
    }
}
