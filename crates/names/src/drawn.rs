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

/// The attacks that see generated images only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlackBox {
    /// The nearest of the images the model draws.
    Nearest,
    /// The same in features: `nn-features`.
    Features,
    /// Their density in features, against that of known non-members: `density`.
    Density,
    /// The same on images that a DualMD pair drew in several rounds, so that one of the two models decides what is in them
    /// (DualMD paper, A.5): `rounds@R`. Needs a service that lets its user choose where a generation starts; half of the
    /// images favour the first model, half the second.
    Rounds(usize),
}

impl BlackBox {
    /// Of an attack that looks at generated images only, how it does; `None` of all others. Of a model that is told a text,
    /// `rounds@R` is another attack ([`Drawn`]).
    #[must_use]
    pub fn of(spec: &AttackSpec) -> Option<Self> {
        match (spec.base(), spec.rounds()) {
            (BaseAttack::Nearest, _) => Some(Self::Nearest),
            (BaseAttack::NearestFeatures, _) => Some(Self::Features),
            (BaseAttack::Density, _) => Some(Self::Density),
            // With nothing behind the number.
            (BaseAttack::Rounds, Some(r)) if r.rounds >= 2 => {
                (*spec == AttackSpec::in_rounds(r.rounds)).then_some(Self::Rounds(r.rounds))
            }
            _ => None,
        }
    }

    /// Does it compare features of images, and not pixels alone?
    #[must_use]
    pub const fn compares_features(self) -> bool {
        matches!(self, Self::Features | Self::Density)
    }

    /// Does it look at the images that were drawn anyway, as they are?
    #[must_use]
    pub const fn takes_drawn(self) -> bool {
        matches!(self, Self::Nearest | Self::Features | Self::Density)
    }
}
