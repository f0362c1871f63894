//! What the name of an attack asks for.
//!
//! ```text
//! NAME[@T][+flip | +lowpass | +captions | +captions-mean]...    a formula on the network's answers; variants from left to right
//! NAME[@T][+shadow]                                              learnt from them
//! nn | nn-features                                               the nearest generated image
//! sim-mean[+captions | +captions-mean]                           what the caption draws
//! pw-...[+shadow]                                                the same, learnt
//! rounds@R[+second][+pw-...][+captions | +captions-mean | +shadow]
//! ```
//!
//! An attack has one name: `loss@07` is refused, because it is `loss@7`.

use crate::drawn::{Drawn, Rounds, Similarity};
use crate::error::{NameError, near};
use crate::facts::{BaseAttack, Kind, Needs};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

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

/// A variant of an attack: a suffix of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variant {
    /// `+flip`: the mean over the image and its mirror image.
    Flip,
    /// `+lowpass`: on low frequencies.
    LowPass,
    /// `+captions`, `+captions-mean`: over all captions of a sample.
    Captions(Over),
    /// `+shadow`: learnt on a shadow model.
    Shadow,
}

impl Variant {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Flip,
        Self::LowPass,
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
    pub(crate) timestep: Option<i64>,
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
            timestep: None,
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

    /// The attack without timestep and variants.
    #[must_use]
    pub fn base(&self) -> BaseAttack {
        self.base
    }

    /// Its timestep, where the name says one.
    #[must_use]
    pub fn timestep(&self) -> Option<i64> {
        self.timestep
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

    /// Name for people: that of the attack, with the name in brackets where there is more to it.
    #[must_use]
    pub fn title(&self) -> String {
        title(&self.to_string())
    }

    /// Can this variant be added?
    fn has(&self, variant: Variant) -> bool {
        let learns = self.learns();
        match (self.base.facts().kind, variant) {
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
        if let Some(t) = self.timestep {
            name += &format!("@{t}");
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

impl FromStr for AttackSpec {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let (head, suffixes) = match name.find('+') {
            Some(at) => name.split_at(at),
            None => (name, ""),
        };
        let (word, number) = match head.split_once('@') {
            Some((word, number)) => (word, Some(number)),
            None => (head, None),
        };
        let mut spec = Self::from(BaseAttack::named(word).ok_or_else(|| unknown(name, word))?);
        spec.read_number(name, number)?;
        spec.read_suffixes(name, head.len(), suffixes)?;
        Ok(spec)
    }
}

impl AttackSpec {
    fn refused(&self, name: &str, remedy: String) -> NameError {
        NameError::Variant {
            attack: self.base.name(),
            name: name.to_owned(),
            remedy,
        }
    }

    /// What stands behind `@`: the timestep, or the number of rounds.
    fn read_number(&mut self, name: &str, number: Option<&str>) -> Result<(), NameError> {
        let base = self.base.name();
        match (self.base.facts().kind, number) {
            (Kind::Elsewhere, _) => Err(self.refused(
                name,
                "it is not run by its name (`dualmd lira` makes LiRA's scores); leave it out"
                    .into(),
            )),
            (Kind::Rounds, number) => {
                let rounds: Option<usize> = number.and_then(|n| n.parse().ok());
                let Some(rounds) = rounds.filter(|&r| r >= 1 && number == Some(&r.to_string()))
                else {
                    return Err(self.refused(
                        name,
                        format!("write {base}@R with a whole number R from 1 on, such as {base}@2"),
                    ));
                };
                self.rounds = Some(Rounds {
                    rounds,
                    second: false,
                });
                Ok(())
            }
            (_, None) => Ok(()),
            (Kind::Formula | Kind::Learned, Some(number)) => {
                let t: Option<i64> = number.parse().ok();
                let Some(t) = t.filter(|t| t.to_string() == number) else {
                    return Err(self.refused(
                        name,
                        format!("write {base}@T with a whole number T, such as {base}@100"),
                    ));
                };
                self.timestep = Some(t);
                Ok(())
            }
            (Kind::Nearest | Kind::Likeness, Some(_)) => {
                Err(self.refused(name, format!("it has no timestep; ask for {base}")))
            }
        }
    }

    /// What stands behind each `+`, from byte `start` of the name on.
    fn read_suffixes(&mut self, name: &str, start: usize, suffixes: &str) -> Result<(), NameError> {
        let mut end = start;
        for word in suffixes.split('+').skip(1) {
            let plain = &name[..end];
            end += 1 + word.len();
            let so_far = &name[..end];
            if self.read_way_of_rounds(word) {
                continue;
            }
            let known = Variant::ALL.into_iter().find(|v| v.suffix()[1..] == *word);
            let Some(variant) = known else {
                return Err(self.refused(so_far, self.choices(word, plain)));
            };
            if !self.has(variant) {
                let suffix = variant.suffix();
                let remedy = match (variant, self.learns()) {
                    (Variant::Shadow, _) => format!(
                        "only attacks that learn are learnt on a shadow model; ask for {plain}"
                    ),
                    (_, true) => format!("attacks that learn have no {suffix}; ask for {plain}"),
                    _ => format!("it has no {suffix}; ask for {plain}"),
                };
                return Err(self.refused(so_far, remedy));
            }
            self.variants.push(variant);
        }
        Ok(())
    }

    /// Of `rounds@R`: who begins, then how images are compared; each once, and before the variants.
    fn read_way_of_rounds(&mut self, word: &str) -> bool {
        let (Some(rounds), Some(Similarity::Mean), []) =
            (&mut self.rounds, self.form, self.variants.as_slice())
        else {
            return false;
        };
        if word == SECOND && !rounds.second {
            rounds.second = true;
            return true;
        }
        let form = Similarity::ALL
            .into_iter()
            .find(|form| form.learns() && form.name() == word);
        self.form = form.or(self.form);
        form.is_some()
    }

    /// Variants that there are in place of one that there is not.
    fn choices(&self, word: &str, plain: &str) -> String {
        let ways = [SECOND].into_iter().chain(
            Similarity::ALL
                .into_iter()
                .filter(|form| form.learns())
                .map(Similarity::name),
        );
        let ways = ways.filter(|way| self.clone().read_way_of_rounds(way));
        let variants = Variant::ALL.into_iter().filter(|v| self.has(*v));
        let there: Vec<&'static str> = ways.chain(variants.map(|v| &v.suffix()[1..])).collect();
        let meant = match near(word, there.iter().copied()).as_slice() {
            [] => there,
            some => some.to_vec(),
        };
        match meant.as_slice() {
            [] => format!("it has no +{}; ask for {plain}", dualmd_files::shown(word)),
            some => format!(
                "it has no +{}; ask for {plain} or {plain}+{}",
                dualmd_files::shown(word),
                some.join(&format!(" or {plain}+"))
            ),
        }
    }
}

fn unknown(name: &str, word: &str) -> NameError {
    let asked = || BaseAttack::ALL.into_iter().filter(|a| a.can_be_asked());
    let known: Vec<&'static str> = asked()
        .map(|attack| match attack {
            BaseAttack::Rounds => "rounds@2",
            other => other.name(),
        })
        .collect();
    NameError::Unknown {
        name: name.to_owned(),
        near: near(word, asked().map(BaseAttack::name)),
        known,
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
