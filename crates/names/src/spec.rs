//! What the name of an attack asks for.
//!
//! The names are read in `parse`.

mod parse;

use crate::drawn::{BlackBox, Drawn, Rounds, Similarity};
use crate::facts::{BaseAttack, Kind, Needs};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// What is made of the scores under several captions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Over {
    /// Their maximum, `NAME+captions`.
    Best,
    /// Their mean, `NAME+captions-mean`.
    Mean,
}

impl Over {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Best, Self::Mean];
}

/// A signal-to-noise ratio abar_t / (1 - abar_t), finite and above 0: the same amount of noise under every schedule.
///
/// Numbers above 0 are in the order of their bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Snr(u64);

impl Snr {
    /// `None` of a ratio that is not finite or not above 0.
    #[must_use]
    pub fn new(ratio: f64) -> Option<Self> {
        (ratio.is_finite() && ratio > 0.0).then(|| Self(ratio.to_bits()))
    }

    /// The ratio.
    #[must_use]
    pub fn value(self) -> f64 {
        f64::from_bits(self.0)
    }
}

/// How much noise an attack adds, where its name says so; written behind `@`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// `@T`: that of timestep T of the model's schedule, counted from 0.
    Timestep(i64),
    /// `@snr=S`: that of the timestep whose signal-to-noise ratio is nearest to S.
    Snr(Snr),
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timestep(t) => write!(f, "{t}"),
            Self::Snr(snr) => write!(f, "{SNR}{}", snr.value()),
        }
    }
}

/// What stands before a signal-to-noise ratio.
const SNR: &str = "snr=";

/// A variant of an attack: a suffix of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variant {
    /// `+flip`: the mean over the image and its mirror image.
    Flip,
    /// `+lowpass`: on low frequencies.
    LowPass,
    /// `+pullback`: on what the decoder of a latent model shows.
    Pullback,
    /// `+captions`, `+captions-mean`: over all captions of a sample.
    Captions(Over),
    /// `+shadow`: learnt on a shadow model.
    Shadow,
}

impl Variant {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Flip,
        Self::LowPass,
        Self::Pullback,
        Self::Captions(Over::Best),
        Self::Captions(Over::Mean),
        Self::Shadow,
    ];

    /// Suffix of the attack's name.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Flip => "+flip",
            Self::LowPass => "+lowpass",
            Self::Pullback => "+pullback",
            Self::Captions(Over::Best) => "+captions",
            Self::Captions(Over::Mean) => "+captions-mean",
            Self::Shadow => "+shadow",
        }
    }
}

/// Suffix of the attacks whose rounds begin with the second model.
const SECOND: &str = "second";

/// An attack as files and the command line name it: parsed from the name, and printed as the same name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttackSpec {
    pub(crate) base: BaseAttack,
    pub(crate) level: Option<Level>,
    pub(crate) rounds: Option<Rounds>,
    pub(crate) form: Option<Similarity>,
    pub(crate) variants: Vec<Variant>,
}

/// The attack with its defaults. `rounds`, which has none, takes two rounds.
impl From<BaseAttack> for AttackSpec {
    fn from(base: BaseAttack) -> Self {
        let rounds = (base == BaseAttack::Rounds).then_some(Rounds {
            rounds: 2,
            second: false,
        });
        let form = Similarity::ALL.into_iter().find(|f| f.attack() == base);
        Self {
            base,
            level: None,
            rounds,
            form: form.or(rounds.map(|_| Similarity::Mean)),
            variants: Vec::new(),
        }
    }
}

impl AttackSpec {
    /// The nearest image of `rounds` rounds, at least 1, the first model beginning.
    #[must_use]
    pub fn in_rounds(rounds: usize) -> Self {
        let second = false;
        Self {
            rounds: Some(Rounds { rounds, second }),
            ..Self::from(BaseAttack::Rounds)
        }
    }

    /// The same, learnt on a shadow model; `None` of an attack that does not learn, or is learnt so already.
    #[must_use]
    pub fn on_shadow(mut self) -> Option<Self> {
        self.has(Variant::Shadow).then(|| {
            self.variants.push(Variant::Shadow);
            self
        })
    }

    /// The same, learnt from known samples.
    #[must_use]
    pub fn not_shadowed(mut self) -> Self {
        self.variants.retain(|variant| *variant != Variant::Shadow);
        self
    }

    /// The attack without level and variants.
    #[must_use]
    pub fn base(&self) -> BaseAttack {
        self.base
    }

    /// How much noise it adds, where the name says so.
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        self.level
    }

    /// Its rounds, of `rounds@R`.
    #[must_use]
    pub fn rounds(&self) -> Option<Rounds> {
        self.rounds
    }

    /// Its variants, in the order in which they are applied.
    #[must_use]
    pub fn variants(&self) -> &[Variant] {
        &self.variants
    }

    /// Does it learn what scores are to mean, from known samples or on a shadow model?
    #[must_use]
    pub fn learns(&self) -> bool {
        self.base.learns() || self.form.is_some_and(Similarity::learns)
    }

    /// Is it learnt on a shadow model?
    #[must_use]
    pub fn is_shadowed(&self) -> bool {
        self.variants.contains(&Variant::Shadow)
    }

    /// What it makes of several captions, where it asks with several.
    #[must_use]
    pub fn captions(&self) -> Option<Over> {
        self.variants.iter().rev().find_map(|v| match v {
            Variant::Captions(over) => Some(*over),
            _ => None,
        })
    }

    /// What it needs beside the model under attack.
    #[must_use]
    pub fn needs(&self) -> Needs {
        match self.is_shadowed() {
            true => Needs::Shadow,
            false => self.base.needs(),
        }
    }

    /// Does it take the two models of a DualMD pair, or what they draw in turns?
    #[must_use]
    pub fn takes_pair(&self) -> bool {
        self.base.needs() == Needs::Pair
    }

    /// Does it compare captions, or what they draw? Then it needs a text-to-image model and a caption for every sample.
    #[must_use]
    pub fn compares_captions(&self) -> bool {
        self.base.compares_captions() || self.captions().is_some()
    }

    /// How it compares a sample with what its caption draws, and how that is drawn; `None` of other attacks. Of a model that is
    /// told no text, `rounds@R` compares with the nearest image instead.
    #[must_use]
    pub fn drawn(&self) -> Option<Drawn> {
        Some(Drawn {
            form: self.form?,
            rounds: self.rounds,
            captions: self.captions(),
            shadow: self.is_shadowed(),
        })
    }

    /// Does it compare samples with the images that the model draws anyway for their captions?
    #[must_use]
    pub fn compares_drawn(&self) -> bool {
        self.base.facts().kind == Kind::Likeness
    }

    /// Does it need the images that the model drew, as they are?
    #[must_use]
    pub fn needs_images(&self) -> bool {
        self.compares_drawn() || BlackBox::of(self).is_some_and(BlackBox::takes_drawn)
    }

    /// Name for people: that of the attack, with the name in brackets where there is more to it.
    #[must_use]
    pub fn title(&self) -> String {
        title(&self.to_string())
    }

    /// Can this variant be added?
    fn has(&self, variant: Variant) -> bool {
        let learns = self.learns();
        match (self.base.facts().kind, variant) {
            (Kind::Nearest, _) => false,
            (_, Variant::Shadow) => learns && !self.is_shadowed(),
            (Kind::Formula, _) => true,
            // Of several captions there is one best likeness.
            (Kind::Likeness | Kind::Rounds, Variant::Captions(_)) => {
                !learns && self.captions().is_none()
            }
            _ => false,
        }
    }
}

/// Name for people of an attack as a score file names it, which may be another program's.
#[must_use]
pub fn title(attack: &str) -> String {
    match BaseAttack::of(attack) {
        Some(base) if base.name() == attack => base.title().into(),
        Some(base) => format!("{} ({attack})", base.title()),
        None => attack.into(),
    }
}

impl fmt::Display for AttackSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut name = self.base.name().to_owned();
        if let Some(level) = self.level {
            name += &format!("@{level}");
        }
        if let Some(Rounds { rounds, second }) = self.rounds {
            name += &format!("@{rounds}");
            if second {
                name += &format!("+{SECOND}");
            }
            if let Some(form) = self.form.filter(|form| form.learns()) {
                name += &format!("+{}", form.name());
            }
        }
        for variant in &self.variants {
            name += variant.suffix();
        }
        f.pad(&name)
    }
}

impl Serialize for AttackSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AttackSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
